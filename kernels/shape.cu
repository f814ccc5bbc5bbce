/* Filling, and moving elements between tensors of different shapes. Copies between tensors of one shape are the cast
 * kernels of elementwise.cu, from a type to itself. */
#include "number.cuh"

namespace {

template <class T> __global__ void __launch_bounds__(PK_THREADS) fill_walked(const pk_walk w, const T value)
{
    T *y = (T *)w.data[0];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[1];
        walk_at<1>(w, i, at);
        y[at[0]] = value;
    }
}

template <class T> cudaError_t fill_of(cudaStream_t stream, double value, const pk_walk *w)
{
    return w->count == 0 ? cudaSuccess
                         : PLUMB_LAUNCH(fill_walked<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w, store<T>(value));
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) move_walked(const pk_walk from, const pk_walk to)
{
    const T *x = (const T *)from.data[0];
    T *y = (T *)to.data[0];
    for (int64_t i = first_element(); i < to.count; i += element_stride()) {
        int64_t at_x[1], at_y[1];
        walk_at<1>(from, i, at_x);
        walk_at<1>(to, i, at_y);
        y[at_y[0]] = x[at_x[0]];
    }
}

template <class T> cudaError_t move_of(cudaStream_t stream, const pk_walk *from, const pk_walk *to)
{
    return to->count == 0 ? cudaSuccess
                          : PLUMB_LAUNCH(move_walked<T>, blocks_for(to->count), PK_THREADS, 0, stream, *from, *to);
}

} // namespace

extern "C" cudaError_t plumb_k_fill(cudaStream_t stream, int dtype, double value, const pk_walk *w)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return fill_of<T>(stream, value, w);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_move(cudaStream_t stream, int size, const pk_walk *from, const pk_walk *to)
{
    switch (size) {
    case 1: return move_of<uint8_t>(stream, from, to);
    case 2: return move_of<uint16_t>(stream, from, to);
    case 4: return move_of<uint32_t>(stream, from, to);
    case 8: return move_of<uint64_t>(stream, from, to);
    default: return cudaErrorInvalidValue;
    }
}
