/* The context: device, threads, memory, messages. Everything else hangs from one.
 *
 * Thread rule: one thread at a time per context; different contexts are independent and may run in parallel. A thread
 * pool may be shared by several contexts. */
#ifndef PLUMB_CONTEXT_H
#define PLUMB_CONTEXT_H

#include "plumb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Host memory. alloc returns 64-byte-aligned memory or NULL; free gets the size back. */
typedef struct plumb_allocator {
    void *user;
    void *(*alloc)(void *user, size_t bytes);
    void (*free)(void *user, void *memory, size_t bytes);
} plumb_allocator;

/* Files. Each function behaves as the POSIX call of its name: -1 and errno on failure, short counts allowed. */
typedef struct plumb_io {
    void *user;
    int (*open)(void *user, const char *path, int flags, int mode);
    int64_t (*read)(void *user, int fd, void *to, size_t bytes);
    int64_t (*write)(void *user, int fd, const void *from, size_t bytes);
    int (*sync)(void *user, int fd);
    int (*close)(void *user, int fd);
    int (*rename)(void *user, const char *from, const char *to);
    int (*unlink)(void *user, const char *path);
    /* Calls each(to, name) for what is in the folder, in any order; 0, or -1 and errno. */
    int (*list)(void *user, const char *folder, void (*each)(void *to, const char *name), void *to);
} plumb_io;

typedef enum plumb_log_level { PLUMB_LOG_DEBUG, PLUMB_LOG_INFO, PLUMB_LOG_WARNING } plumb_log_level;

/* Filled when plumb_open fails, because then there is no context to ask. */
typedef struct plumb_error {
    plumb_status status;
    char message[1024];
} plumb_error;

/* What vendors' libraries may do to be faster; nothing of it unless asked for. The first three are for GPUs. */
enum {
    PLUMB_ALLOW_TF32 = 1 << 0,            /* products of f32 with 10 bits of mantissa (sums stay f32) */
    PLUMB_ALLOW_REDUCED_SUMS = 1 << 1,    /* partial sums of bf16 and f16 products kept in bf16 and f16 */
    PLUMB_ALLOW_NONDETERMINISTIC = 1 << 2, /* sums whose order, and so last bits, may differ from run to run */
    PLUMB_ALLOW_VENDOR_THREADS = 1 << 3   /* on the CPU, a library's own threads, as many as it is set to: then results
                                             may depend on their number */
};

/* What kernels on the CPU do not do if it is forbidden here. */
enum {
    /* Convolutions of 3 x 3 with stride 1 in f32 and bf16, and their gradients of the data, by Winograd's F(4x4, 3x3), which is
     * used where it is faster: up to three times. Beside f64 the error (root mean square over that of the results, 64
     * to 512 channels) is 8e-7 to 2e-6 with it and 4e-7 to 1.2e-6 without: up to twice as large. An output is as exact
     * as the largest values within six pixels allow. Results are deterministic either way. In bf16, too, where it is faster, and
     * there also the gradients of filters: computed in f32 and rounded once, the error is that of plain sums. */
    PLUMB_FORBID_WINOGRAD = 1 << 0
};

typedef struct plumb_options {
    size_t size;
    const char *device;               /* "cpu" (default), "cuda", "cuda:1", "auto": cuda or cpu, "null", "faulty:N" */
    uint64_t seed;                    /* of every random number drawn under this context */
    int threads;                      /* 0: as many as the process may use; results do not depend on it */
    plumb_pool *pool;                 /* share this pool instead (not owned) */
    const char *implementations;      /* "conv2d=cpu.ref,*=cpu.native": force choices; also PLUMB_IMPL */
    const plumb_allocator *allocator; /* copied; NULL: the C library's */
    const plumb_io *io;               /* copied; NULL: POSIX */
    void (*log)(void *user, plumb_log_level level, const char *line); /* NULL: silent */
    void *log_user;
    plumb_error *error;               /* told why when plumb_open returns NULL */
    const char *isa;                  /* limit CPU kernels: "scalar", "avx2", "avx512", "avx512_bf16"; NULL: the best */
    bool strict_memory;               /* poison and guard planned memory (slower; finds overruns and stale reads) */
    unsigned allow;                   /* PLUMB_ALLOW_...: f32 stays f32, sums are f32, results deterministic otherwise */
    unsigned forbid;                  /* PLUMB_FORBID_...: what is faster and less exact; 0: all of it is used */
} plumb_options;

PLUMB_API PLUMB_MUST_CHECK plumb_context *plumb_open(const plumb_options *options); /* NULL options: all defaults */
PLUMB_API void plumb_close(plumb_context *context);                                 /* frees all; NULL is fine */

/* The first error since the last plumb_clear_error, or "". Owned by the context. */
PLUMB_API const char *plumb_message(const plumb_context *context);
PLUMB_API plumb_status plumb_last_status(const plumb_context *context);
PLUMB_API void plumb_clear_error(plumb_context *context);

PLUMB_API const char *plumb_device_name(const plumb_context *context); /* "cpu", "cuda" */
PLUMB_API int plumb_threads(const plumb_context *context);
PLUMB_API uint64_t plumb_seed(const plumb_context *context);

/* Bytes held now and at most, host and device together, of everything this context allocated. */
PLUMB_API int64_t plumb_memory_now(const plumb_context *context);
PLUMB_API int64_t plumb_memory_peak(const plumb_context *context);

/* A pool of threads that contexts may share. threads 0: as many as the process may use. NULL when out of memory. */
PLUMB_API PLUMB_MUST_CHECK plumb_pool *plumb_pool_new(int threads);
PLUMB_API void plumb_pool_free(plumb_pool *pool); /* after the contexts that use it were closed */

#ifdef __cplusplus
}
#endif
#endif
