/* Filling, and moving elements between tensors of different shapes. Copies between tensors of one shape are the cast
 * kernels of unary.cu, from a type to itself. */
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

/* A tile goes through shared memory, so that both sides are touched side by side; its rows are one element longer, so
 * that what a warp reads of a column lies in different banks. */
enum { TURN_SIDE = 32, TURN_LINES = PK_THREADS / TURN_SIDE };

template <class T> __global__ void __launch_bounds__(PK_THREADS) turn_tiles(const pk_turn t, int64_t tiles)
{
    PLUMB_SHARED(T, tile, [TURN_SIDE][TURN_SIDE + 1]);
    const T *x = (const T *)t.rest.data[0];
    T *y = (T *)t.rest.data[1];
    const int64_t across = (t.columns + TURN_SIDE - 1) / TURN_SIDE, down = (t.rows + TURN_SIDE - 1) / TURN_SIDE;
    const int lane = (int)threadIdx.x % TURN_SIDE, line = (int)threadIdx.x / TURN_SIDE;
    for (int64_t i = blockIdx.x; i < tiles; i += gridDim.x) {
        const int64_t column = i % across * TURN_SIDE, row = i / across % down * TURN_SIDE;
        int64_t at[2];
        walk_at<2>(t.rest, i / across / down, at);
        for (int k = line; k < TURN_SIDE && row + lane < t.rows && column + k < t.columns; k += TURN_LINES) {
            tile[k][lane] = x[at[0] + (row + lane) * t.x_row + (column + k) * t.x_column];
        }
        __syncthreads();
        for (int k = line; k < TURN_SIDE && row + k < t.rows && column + lane < t.columns; k += TURN_LINES) {
            y[at[1] + (row + k) * t.y_row + (column + lane) * t.y_column] = tile[lane][k];
        }
        __syncthreads();
    }
}

template <class T> cudaError_t turn_of(cudaStream_t stream, const pk_turn *t)
{
    const int64_t tiles =
        (t->rows + TURN_SIDE - 1) / TURN_SIDE * ((t->columns + TURN_SIDE - 1) / TURN_SIDE) * t->rest.count;
    return tiles == 0 ? cudaSuccess
                      : PLUMB_LAUNCH(turn_tiles<T>, (unsigned)(tiles > 1 << 20 ? 1 << 20 : tiles), PK_THREADS, 0, stream,
                                     *t, tiles);
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

extern "C" cudaError_t plumb_k_turn(cudaStream_t stream, int size, const pk_turn *t)
{
    switch (size) {
    case 1: return turn_of<uint8_t>(stream, t);
    case 2: return turn_of<uint16_t>(stream, t);
    case 4: return turn_of<uint32_t>(stream, t);
    case 8: return turn_of<uint64_t>(stream, t);
    default: return cudaErrorInvalidValue;
    }
}
