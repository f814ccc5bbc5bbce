/* Groups of threads that work on one lane of elements: one thread, a warp, or the block; and how their values meet, in an
 * order that depends on the group's size alone. */
#ifndef PLUMB_GROUP_CUH
#define PLUMB_GROUP_CUH

#include "number.cuh"

namespace {

template <int G> __device__ inline int64_t first_lane()
{
    return ((int64_t)blockIdx.x * PK_THREADS + threadIdx.x) / G;
}
template <int G> __device__ inline int64_t lane_step() { return (int64_t)gridDim.x * (PK_THREADS / G); }
template <int G> __device__ inline int member() { return (int)(threadIdx.x % G); }

__device__ inline float across(float v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }
__device__ inline double across(double v, int lanes) { return __shfl_xor_sync(0xffffffffu, v, lanes); }

/* All members of the group get both(...) of all their values; `both` is commutative, so all get the same bits. */
template <int G, class V, class F> __device__ inline V meet(V mine, F both)
{
    if constexpr (G > 1) {
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            mine = both(mine, across(mine, lanes));
        }
    }
    if constexpr (G > 32) {
        PLUMB_SHARED(V, partial, [G / 32]);
        __syncthreads(); /* whoever still reads the last meeting's */
        if (threadIdx.x % 32 == 0) {
            partial[threadIdx.x / 32] = mine;
        }
        __syncthreads();
        mine = partial[0];
        for (int warp = 1; warp < G / 32; warp++) {
            mine = both(mine, partial[warp]);
        }
    }
    return mine;
}

struct the_sum {
    template <class N> __device__ N operator()(N a, N b) const { return a + b; }
};

} // namespace

#endif
