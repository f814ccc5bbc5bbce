/* The part of cuBLASLt's interface that Plumb uses, declared here so that building needs no header of it. Names of ours
 * for what the header calls otherwise. The interface is stable within the major versions 12 and 13. */
#ifndef PLUMB_CUBLASLT_ABI_H
#define PLUMB_CUBLASLT_ABI_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

typedef int plumb_lt_status;
typedef void *plumb_lt_handle;

enum { PLUMB_LT_SUCCESS = 0, PLUMB_LT_ALLOC_FAILED = 3 };

/* X(name, result, parameters) */
#define PLUMB_LT_FUNCTIONS(X)                                                                                           \
    X(cublasLtGetVersion, size_t, (void))                                                                               \
    X(cublasLtCreate, plumb_lt_status, (plumb_lt_handle *handle))                                                       \
    X(cublasLtDestroy, plumb_lt_status, (plumb_lt_handle handle))

#define PLUMB_LT_MEMBER(name, result, parameters) result(*name) parameters;
typedef struct plumb_lt_functions {
    PLUMB_LT_FUNCTIONS(PLUMB_LT_MEMBER)
} plumb_lt_functions;
#undef PLUMB_LT_MEMBER

#endif
