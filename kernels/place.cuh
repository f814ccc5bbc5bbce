/* Where the i-th element of a tensor lies when each dimension means something to the kernel: its index along each, for
 * kernels whose operands are not walked side by side. */
#ifndef PLUMB_PLACE_CUH
#define PLUMB_PLACE_CUH

#include "number.cuh"

namespace {

/* index[d] of element i in row-major order. */
__device__ inline void split(const pk_view &v, int64_t i, int64_t *index)
{
    for (int d = v.rank - 1; d >= 0; d--) {
        int64_t rest = i / v.dim[d];
        index[d] = i - rest * v.dim[d];
        i = rest;
    }
}

__device__ inline int64_t offset_of(const pk_view &v, const int64_t *index)
{
    int64_t offset = 0;
    for (int d = 0; d < v.rank; d++) {
        offset += index[d] * v.stride[d];
    }
    return offset;
}

inline int64_t count_of(const pk_view &v)
{
    int64_t count = 1;
    for (int d = 0; d < v.rank; d++) {
        count *= v.dim[d];
    }
    return count;
}

__device__ inline int64_t modulo(int64_t a, int64_t n) { return a % n < 0 ? a % n + n : a % n; }

} // namespace

#endif
