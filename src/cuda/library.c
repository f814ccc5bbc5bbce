/* Opening a vendor's library where the loader finds it (its cache, LD_LIBRARY_PATH), else where the toolkit installs
 * itself, which the loader is often not told of. A library that lacks a function we need is as good as none. */
#include "cuda/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define TOOLKIT "/usr/local/cuda/lib64/"

static void *open_one(const char *name)
{
    char path[160];
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(path, sizeof path, TOOLKIT "%s", name);
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    return handle;
}

static void *open_first(const char *const *names, char file[64])
{
    for (; *names; names++) {
        void *handle = open_one(*names);
        if (handle) {
            snprintf(file, 64, "%s", *names);
            return handle;
        }
    }
    return NULL;
}

static void list_names(const char *const *names, char *text, size_t room)
{
    size_t used = 0;
    for (int i = 0; names[i] && used < room; i++) {
        int n = snprintf(text + used, room - used, "%s%s", i ? ", " : "", names[i]);
        used += n > 0 ? (size_t)n : room;
    }
}

/* The name of a symbol that is needed and missing; NULL: none. */
static const char *find_symbols(void *handle, const struct plumb_cuda_symbol *symbols, int n, void *table)
{
    for (int i = 0; i < n; i++) {
        void *symbol = dlsym(handle, symbols[i].name);
        if (!symbol && !symbols[i].optional) {
            return symbols[i].name;
        }
        memcpy((char *)table + symbols[i].at, &symbol, sizeof symbol);
    }
    return NULL;
}

bool plumb_cuda_library_open(struct plumb_cuda_library *library, const char *const *names,
                             const struct plumb_cuda_symbol *symbols, int n_symbols, void *table, char *reason,
                             size_t room)
{
    library->handle = open_first(names, library->file);
    if (!library->handle) {
        char text[128] = "";
        const char *why = dlerror();
        list_names(names, text, sizeof text);
        snprintf(reason, room, "none of %s can be opened: %.200s", text, why ? why : "no reason is told");
        return false;
    }
    const char *missing = find_symbols(library->handle, symbols, n_symbols, table);
    if (missing) {
        snprintf(reason, room, "%s has no function %s", library->file, missing);
        plumb_cuda_library_close(library);
        return false;
    }
    return true;
}

void plumb_cuda_library_close(struct plumb_cuda_library *library)
{
    if (library->handle) {
        dlclose(library->handle);
    }
    library->handle = NULL;
}
