/* What the vendors' libraries share: they are opened when the first op asks for one, remembered as usable or not with the
 * reason, and what was chosen for a call lies in a table under a key made of the call, and on disk for the next process.
 *
 * The rule for implementations on top: supports() and workspace() are asked while a program is planned. There the
 * algorithm or plan is chosen and put into a table; run() makes the same key, finds it, and allocates nothing, waits for
 * nothing and asks no heuristics, for it may be captured. */
#ifndef PLUMB_CUDA_VENDOR_H
#define PLUMB_CUDA_VENDOR_H

#include "core/plans.h"
#include "cuda/cuda.h"
#include "cuda/library.h"

/* ---- libraries: each has its place in vendor.c's list ---- */

typedef struct plumb_cuda_vendor {
    const char *name; /* as `plumb doctor` calls it */
    /* What calls of this device need, or NULL when it cannot be had. `text` is the version used, or the reason. */
    void *(*open)(struct plumb_cuda *cuda, char *text, size_t room);
    void (*close)(struct plumb_cuda *cuda, void *state);
} plumb_cuda_vendor;

/* Opens it at the first call; NULL from then on when it is not usable. Not an error: the context's stays as it was. */
void *plumb_cuda_vendor_state(struct plumb_cuda *cuda, enum plumb_cuda_vendor_index which);

/* After a call of a library within an op: remembers it as a launch; fails where `status` is not 0, with what the CUDA
 * runtime knows of it if it knows of anything. */
plumb_status plumb_cuda_vendor_check(const plumb_call *call, const char *function, int status);

extern const plumb_cuda_vendor plumb_cuda_vendor_cublaslt, plumb_cuda_vendor_cudnn;

/* ---- cache.c: choices of earlier processes ---- */

/* One file for a library's version on a kind of GPU, `identity`: read when it is opened, written when it is closed if
 * something was added. What cannot be read is as if it were not there, what cannot be written is lost: never an error. */
typedef struct plumb_cuda_cache {
    plumb_context *context;
    char *path; /* NULL: nothing is kept */
    char identity[256];
    plumb_plans choices;
    bool changed;
} plumb_cuda_cache;

typedef struct plumb_cuda_choice {
    size_t bytes;
    unsigned char data[];
} plumb_cuda_choice;

void plumb_cuda_cache_open(plumb_cuda_cache *cache, plumb_context *context, const char *name, const char *identity);
void plumb_cuda_cache_close(plumb_cuda_cache *cache);
const plumb_cuda_choice *plumb_cuda_cache_find(const plumb_cuda_cache *cache, const void *key, size_t bytes);
void plumb_cuda_cache_add(plumb_cuda_cache *cache, const void *key, size_t bytes, const void *choice, size_t choice_bytes);

#endif
