/* What the fakes of the vendors' libraries share. A fake implements the functions that Plumb calls with loops on the CPU,
 * refuses what the real library refuses, and puts its work into the stream as a kernel would be. It checks host code: what
 * it computes says nothing about the real library, and results on fakes are never counted as results of that library.
 *
 * A new fake is a file with its functions, a row in library.c's list, and a line in cmake/cudasim.cmake. */
#ifndef CUDASIM_FAKES_H
#define CUDASIM_FAKES_H

#include "calls.h"

#include "core/core.h"

typedef void cudasim_any_function(void);

typedef struct cudasim_fake {
    const char *name;   /* as cudasim_vendor calls it */
    const char *soname; /* what the names under which it is asked for begin with */
    int64_t version;    /* its usual one */
    struct {
        const char *name;
        cudasim_any_function *function;
    } functions[48]; /* closed by a NULL name */
} cudasim_fake;

extern const cudasim_fake cudasim_fake_cublaslt, cudasim_fake_cudnn;

/* The version it is to say. */
int64_t cudasim_fake_version(const char *name);

/* What a call of a fake begins with: counts it, and says whether it is to fail (or the device is lost). */
bool cudasim_fake_fails(const char *function);

/* Objects of a fake that live (handles, descriptors): zeroed memory that a leak check counts and a magic number tells
 * from others. */
void *cudasim_fake_new(size_t bytes, uint32_t kind);
bool cudasim_fake_is(const void *object, uint32_t kind);
void cudasim_fake_delete(void *object);

/* Whether [p, p + bytes) lies in one live block of device memory. */
bool cudasim_fake_on_device(const void *p, size_t bytes);

/* An element of device memory, as plumb_get and plumb_put have it. Inline, because the checker sees what a fake's own file
 * reads and writes, and nothing of the library's. */
static inline double cudasim_fake_get(const void *data, plumb_dtype dtype, int64_t at)
{
    union {
        uint64_t eight;
        uint32_t four;
        uint16_t two;
    } element = {0};
    switch (plumb_dtype_size(dtype)) {
    case 8: element.eight = ((const uint64_t *)data)[at]; break;
    case 4: element.four = ((const uint32_t *)data)[at]; break;
    default: element.two = ((const uint16_t *)data)[at]; break;
    }
    return plumb_get(&element, dtype, 0);
}

static inline void cudasim_fake_put(void *data, plumb_dtype dtype, int64_t at, double value)
{
    union {
        uint64_t eight;
        uint32_t four;
        uint16_t two;
    } element = {0};
    plumb_put(&element, dtype, 0, value);
    switch (plumb_dtype_size(dtype)) {
    case 8: ((uint64_t *)data)[at] = element.eight; break;
    case 4: ((uint32_t *)data)[at] = element.four; break;
    default: ((uint16_t *)data)[at] = element.two; break;
    }
}

/* Work in the order of the stream, captured where the stream is: run(closure) with device memory open, as often as it is
 * replayed. Takes the closure, a heap block, in all cases. */
cudaError_t cudasim_fake_work(cudaStream_t stream, void (*run)(void *closure), void *closure);

#endif
