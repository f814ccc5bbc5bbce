/* In place of src/cuda/library.c: opening a vendor's library gives its fake, if it is not to be absent. And what the fakes
 * share: counts, failures on request, objects, work in streams. */
#include "fakes.h"

#include "cuda/library.h"

enum { COUNTED = 128 };

static const cudasim_fake *const fakes[] = {&cudasim_fake_cublaslt, &cudasim_fake_cudnn};
enum { FAKES = sizeof fakes / sizeof *fakes };

static struct {
    bool set;
    int64_t version;
} told[FAKES];

static struct {
    const char *name;
    uint64_t calls;
} counted[COUNTED];

static int64_t alive;

/* Tests leave no choices behind them unless they ask for it. */
__attribute__((constructor)) static void keep_no_choices(void)
{
    setenv("PLUMB_CACHE_DIR", "", 0);
}

/* ---- control ---- */

static int find(const char *name)
{
    for (int i = 0; i < FAKES; i++) {
        if (!strcmp(fakes[i]->name, name)) {
            return i;
        }
    }
    fprintf(stderr, "cudasim: there is no fake of %s\n", name);
    abort();
}

void cudasim_vendor(const char *name, int64_t version)
{
    LOCK();
    int first = name ? find(name) : 0, end = name ? first + 1 : FAKES;
    for (int i = first; i < end; i++) {
        told[i].set = version >= 0;
        told[i].version = version;
    }
}

int64_t cudasim_fake_version(const char *name)
{
    int i = find(name);
    return told[i].set ? told[i].version : fakes[i]->version;
}

uint64_t cudasim_vendor_calls(const char *function)
{
    LOCK();
    for (int i = 0; i < COUNTED && counted[i].name; i++) {
        if (!strcmp(counted[i].name, function)) {
            return counted[i].calls;
        }
    }
    return 0;
}

int64_t cudasim_vendor_alive(void)
{
    LOCK();
    return alive;
}

/* ---- what fakes use ---- */

bool cudasim_fake_fails(const char *function)
{
    LOCK();
    int i = 0;
    while (i < COUNTED - 1 && counted[i].name && strcmp(counted[i].name, function) != 0) {
        i++;
    }
    counted[i].name = function;
    counted[i].calls++;
    return cudasim_gate(CUDASIM_VENDOR) != cudaSuccess;
}

struct object {
    uint32_t kind, padding;
    max_align_t data[];
};

void *cudasim_fake_new(size_t bytes, uint32_t kind)
{
    LOCK();
    struct object *o = calloc(1, sizeof *o + bytes);
    if (!o) {
        return NULL;
    }
    o->kind = kind;
    alive++;
    return o->data;
}

static struct object *object_of(const void *data)
{
    return (struct object *)((uintptr_t)data - offsetof(struct object, data));
}

bool cudasim_fake_is(const void *object, uint32_t kind)
{
    return object && object_of(object)->kind == kind;
}

void cudasim_fake_delete(void *object)
{
    LOCK();
    struct object *o = object_of(object);
    o->kind = 0;
    free(o);
    alive--;
}

bool cudasim_fake_on_device(const void *p, size_t bytes)
{
    LOCK();
    const cudasim_block *b = cudasim_block_at(p, false);
    return b && b->kind != CUDASIM_PINNED && bytes <= b->bytes - (size_t)((const char *)p - b->data);
}

cudaError_t cudasim_fake_work(cudaStream_t stream, void (*run)(void *closure), void *closure)
{
    LOCK();
    cudasim_step *step = cudasim_step_new(STEP_VENDOR);
    cudasim_work_item *work = step ? calloc(1, sizeof *work) : NULL;
    if (!work) {
        free(step);
        free(closure);
        return cudaErrorMemoryAllocation;
    }
    work->kernel.invoke = run;
    work->kernel.destroy = free;
    work->kernel.closure = closure;
    work->references = 1;
    step->work = work;
    return cudasim_put(cudasim_stream_of(stream), step);
}

/* ---- opening ---- */

static const cudasim_fake *fake_of(const char *const *names, const char **name)
{
    for (; *names; names++) {
        for (int i = 0; i < FAKES; i++) {
            if (!strncmp(fakes[i]->soname, *names, strlen(fakes[i]->soname))) {
                *name = *names;
                return fakes[i];
            }
        }
    }
    return NULL;
}

static cudasim_any_function *find_function(const cudasim_fake *fake, const char *name)
{
    for (int i = 0; fake->functions[i].name; i++) {
        if (!strcmp(fake->functions[i].name, name)) {
            return fake->functions[i].function;
        }
    }
    return NULL;
}

bool plumb_cuda_library_open(struct plumb_cuda_library *library, const char *const *names,
                             const struct plumb_cuda_symbol *symbols, int n_symbols, void *table, char *reason,
                             size_t room)
{
    const char *name = names[0];
    const cudasim_fake *fake = fake_of(names, &name);
    library->handle = NULL;
    if (!fake || !cudasim_fake_version(fake->name) || cudasim_fake_fails("dlopen")) {
        snprintf(reason, room, "none of %s... can be opened: the simulator has none", name);
        return false;
    }
    for (int i = 0; i < n_symbols; i++) {
        cudasim_any_function *function = find_function(fake, symbols[i].name);
        if (!function && !symbols[i].optional) {
            snprintf(reason, room, "%s has no function %s", name, symbols[i].name);
            return false;
        }
        memcpy((char *)table + symbols[i].at, &function, sizeof function);
    }
    library->handle = (void *)(uintptr_t)fake;
    snprintf(library->file, sizeof library->file, "%s (a fake)", name);
    return true;
}

void plumb_cuda_library_close(struct plumb_cuda_library *library)
{
    library->handle = NULL;
}
