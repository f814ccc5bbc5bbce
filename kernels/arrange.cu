/* Numbers in a row, and triangles of matrices. */
#include "number.cuh"

namespace {

/* Rounded after each step, not fused: every provider makes the same number. */
template <class T>
__global__ void __launch_bounds__(PK_THREADS) iota(const pk_walk w, double start, double step)
{
    T *y = (T *)w.data[1];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[2];
        walk_at<2>(w, i, at);
        y[at[1]] = store<T>(__dadd_rn(start, __dmul_rn(step, (double)at[0])));
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) triangle(const pk_walk w, int64_t k, int upper)
{
    const T *x = (const T *)w.data[1];
    T *y = (T *)w.data[2];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(w, i, at);
        bool kept = upper ? at[0] >= k : at[0] <= k;
        y[at[2]] = kept ? x[at[1]] : (T)0;
    }
}

template <class T> cudaError_t triangle_of(cudaStream_t stream, int64_t k, int upper, const pk_walk *w)
{
    return PLUMB_LAUNCH(triangle<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w, k, upper);
}

} // namespace

extern "C" cudaError_t plumb_k_iota(cudaStream_t stream, int dtype, double start, double step, const pk_walk *w)
{
    if (w->count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(iota<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w, start, step);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_triangle(cudaStream_t stream, int size, int64_t k, int upper, const pk_walk *w)
{
    if (w->count == 0) {
        return cudaSuccess;
    }
    switch (size) {
    case 1: return triangle_of<uint8_t>(stream, k, upper, w);
    case 2: return triangle_of<uint16_t>(stream, k, upper, w);
    case 4: return triangle_of<uint32_t>(stream, k, upper, w);
    case 8: return triangle_of<uint64_t>(stream, k, upper, w);
    default: return cudaErrorInvalidValue;
    }
}
