/* The dialect of CUDA C++17 in which the kernels are written, so that the same .cu file is compiled by nvcc for a GPU
 * and by g++ for the simulator of tests/cudasim. A kernel file includes this header first. Everything that is not
 * named here is plain CUDA; what a plain C++ compiler cannot parse goes through these macros:
 *
 *   PLUMB_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)   an expression of type cudaError_t;
 *                                              a kernel's name with a comma in it is parenthesised: (k<float, 16>)
 *   PLUMB_SHARED(float, tile, [16][17]);       a static shared array; PLUMB_SHARED(bool, last); a scalar
 *   PLUMB_DYN_SHARED(float, buffer);           the dynamic shared memory of the launch, as a pointer
 *
 * Kernels lie in an anonymous namespace; a raw __shared__ or <<<>>> does not compile in the simulator; no grid-wide
 * barrier, no __activemask(), inline PTX in mma.cuh only. __restrict__, __launch_bounds__, #pragma unroll, __syncthreads and its
 * counting forms, __syncwarp, __shfl_*_sync, votes, __reduce_*_sync, __match_*_sync, atomics, fences, __ldg, vector
 * types, half and bfloat16 are as in CUDA. See docs/CUDASIM.md. */
#ifndef PLUMB_CUDA_DIALECT_H
#define PLUMB_CUDA_DIALECT_H

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define PLUMB_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    (kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), cudaGetLastError())

#define PLUMB_SHARED(type, name, ...) __shared__ __align__(16) type name __VA_ARGS__

/* One untyped array for all kernels: arrays of one name and different types clash across template instances. */
#define PLUMB_DYN_SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char plumb_dyn_shared[]; \
    type *name = reinterpret_cast<type *>(plumb_dyn_shared)

#else

#include "cudasim.h"

#define PLUMB_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    cudasim::launch(#kernel, kernel, (grid), (block), (shared_bytes), (stream)__VA_OPT__(, ) __VA_ARGS__)

#define PLUMB_SHARED(type, name, ...) \
    typedef type plumb_shared_##name __VA_ARGS__; \
    static cudasim_shared plumb_tag_##name; \
    plumb_shared_##name &name = *static_cast<plumb_shared_##name *>( \
        cudasim_shared_get(&plumb_tag_##name, sizeof(plumb_shared_##name), #name))

#define PLUMB_DYN_SHARED(type, name) type *name = static_cast<type *>(cudasim_dyn_shared_get())

#endif

#endif
