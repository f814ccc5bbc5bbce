/* What the parts of the CUDA simulator know of each other: the scheduler (fiber.c), the fake runtime (runtime.c) and the
 * device functions that kernels see (cudasim.h). Plain C, no sanitizer is ever on in it. */
#ifndef CUDASIM_SIM_H
#define CUDASIM_SIM_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what kernels call ---- */

typedef struct cudasim_shared { /* static storage of one PLUMB_SHARED: which launch made the block, and the block */
    uint64_t launch;
    void *data;
} cudasim_shared;

void *cudasim_shared_new(cudasim_shared *tag, size_t bytes, const char *name);
extern uint64_t cudasim_launch_serial; /* of the launch that is running */
void *cudasim_dyn_shared_get(void);

/* Known to the checker build, whose kernels are compiled with -fsanitize=thread: an atomic on so many bytes, called from
 * `from`, and a fence. Functions of the simulator that are compiled with kernels are kept out of its sight. */
#if defined __SANITIZE_THREAD__ && defined __cplusplus
void cudasim_atomic(const void *address, size_t bytes, const void *from);
void cudasim_fence(void);
#define CUDASIM_UNSEEN __attribute__((noinline, no_sanitize_thread))
#define CUDASIM_TELL_ATOMIC(address) cudasim_atomic(address, sizeof *(address), __builtin_return_address(0))
#define CUDASIM_TELL_FENCE() cudasim_fence()
#else
#define CUDASIM_UNSEEN
#define CUDASIM_TELL_ATOMIC(address) ((void)0)
#define CUDASIM_TELL_FENCE() ((void)0)
#endif

CUDASIM_UNSEEN static inline void *cudasim_shared_get(cudasim_shared *tag, size_t bytes, const char *name)
{
    return tag->launch == cudasim_launch_serial ? tag->data : cudasim_shared_new(tag, bytes, name);
}

/* Lanes of a warp that meet: `in` and `out` of lane l lie on that lane's sleeping stack. */
typedef struct cudasim_meet {
    unsigned lanes;      /* who takes part: named, and alive */
    const void *in[32];  /* NULL for absent lanes */
    void *out[32];
    int arg[32], width[32];
    int size;            /* bytes of a value */
} cudasim_meet;

typedef void (*cudasim_combine)(const cudasim_meet *meet);

typedef struct cudasim_place {
    const char *file;
    int line;
} cudasim_place;

/* Blocks until all lanes of `mask` that are alive have called it; the last one runs `combine`. */
void cudasim_warp(const char *what, unsigned mask, cudasim_combine combine, const void *in, void *out, int size, int arg,
                  int width, cudasim_place place);
/* Blocks until the whole block has come; returns how many gave a predicate that is not 0. */
int cudasim_barrier(const char *what, int predicate, cudasim_place place);

/* ---- launches ---- */

typedef struct cudasim_kernel {
    const char *name;
    void (*invoke)(void *closure);  /* runs one CUDA thread */
    void (*destroy)(void *closure);
    void *closure;                  /* owned */
    size_t closure_bytes;
    const void *function;           /* address of the kernel, for its attributes */
    dim3 grid, block;
    size_t shared;
    const void *const *pointers;    /* the pointer arguments, for a check; borrowed */
    int pointer_count;
    const void *const *structs;     /* arguments that are structures: scanned for host pointers; borrowed */
    const size_t *struct_bytes;
    int struct_count;
} cudasim_kernel;

/* Takes the closure in all cases. */
cudaError_t cudasim_launch(const cudasim_kernel *kernel, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
