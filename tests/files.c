/* Files that tests of readers make. */
#include "files.h"

#include <ftw.h>
#include <sys/stat.h>

#include "check.h"

void files_begin(char *to)
{
    strcpy(to, "/tmp/plumb-files-XXXXXX");
    CHECK(mkdtemp(to));
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

void files_end(const char *folder) { CHECK(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0); }

const char *files_name(const char *folder, const char *name)
{
    static char names[8][600];
    static int next;
    char *to = names[next++ % 8];
    snprintf(to, 600, "%s/%s", folder, name);
    return to;
}

const char *files_put(const char *folder, const char *name, const void *data, size_t bytes)
{
    const char *path = files_name(folder, name);
    char part[600];
    for (const char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        mkdir(part, 0700);
    }
    FILE *file = fopen(path, "wb");
    size_t count = bytes ? bytes : strlen(data);
    CHECK(file && fwrite(data, 1, count, file) == count);
    if (file) {
        fclose(file);
    }
    return path;
}

char *files_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    char *data = NULL;
    *bytes = 0;
    if (file && fstat(fileno(file), &st) == 0) {
        data = calloc(1, (size_t)st.st_size + 1);
        *bytes = fread(data, 1, (size_t)st.st_size, file);
    }
    if (file) {
        fclose(file);
    }
    return data;
}
