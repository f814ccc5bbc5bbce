/* cuBLASLt as a device uses it: the library, a handle, and what was chosen for each product. */
#ifndef PLUMB_CUBLASLT_H
#define PLUMB_CUBLASLT_H

#include "cuda/cublaslt_abi.h"
#include "cuda/vendor.h"

struct plumb_cublaslt {
    struct plumb_cuda_library library;
    plumb_lt_functions f;
    plumb_lt_handle handle;
    plumb_cuda_cache cache;
};

#endif
