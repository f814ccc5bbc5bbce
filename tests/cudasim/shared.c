/* The shared memory of the running launch: each array a block of its exact size, filled anew for each block of the grid. */
#include "checker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARED = 64 };

uint64_t cudasim_launch_serial;

static struct region {
    char *data;
    size_t bytes;
} shared[MAX_SHARED];
static int shared_count;
static void *dynamic;

#ifdef CUDASIM_CHECKER
static void *shared_take(size_t bytes) { return cudasim_check_shared(bytes); }
static void shared_give(void *data) { (void)data; }
#else
static void *shared_take(size_t bytes)
{
    void *data = NULL;
    return posix_memalign(&data, 16, bytes) ? NULL : data;
}
static void shared_give(void *data) { free(data); }
#endif

static void *shared_new(size_t bytes)
{
    void *data = shared_count < MAX_SHARED ? shared_take(bytes ? bytes : 1) : NULL;
    if (!data) {
        fprintf(stderr, "cudasim: no room for shared memory\n");
        abort();
    }
    memset(data, 0xFF, bytes ? bytes : 1);
    shared[shared_count++] = (struct region){data, bytes};
    return data;
}

void *cudasim_shared_new(cudasim_shared *tag, size_t bytes, const char *name)
{
    size_t total = bytes;
    for (int i = 0; i < shared_count; i++) {
        total += shared[i].data == dynamic ? 0 : shared[i].bytes;
    }
    if (total > (48u << 10)) {
        cudasim_error("shared-size", "%zu bytes of static shared memory with '%s', of at most 48 KiB", total, name);
    }
    tag->data = shared_new(bytes);
    tag->launch = cudasim_launch_serial;
    return tag->data;
}

void *cudasim_dyn_shared_get(void) { return dynamic; }

void cudasim_shared_begin(size_t bytes)
{
    cudasim_launch_serial++;
    dynamic = shared_new(bytes);
}

void cudasim_shared_fill(void)
{
    for (int i = 0; i < shared_count; i++) {
        memset(shared[i].data, 0xFF, shared[i].bytes); /* NaN, or -1 */
    }
}

void cudasim_shared_end(void)
{
    for (int i = 0; i < shared_count; i++) {
        shared_give(shared[i].data);
    }
    shared_count = 0;
    cudasim_launch_serial++; /* no tag is of the next launch */
}
