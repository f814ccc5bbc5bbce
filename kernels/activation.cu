/* Back through an activation, with the bias's gradient: dy and y are read once, dx is written, and its sums over channels
 * are taken on the way. Two forms: a block for a piece of a channel, its threads side by side in it (along), and a thread
 * column for each channel, neighbouring channels side by side (across). What a thread has is joined in a fixed tree; a
 * channel's chunks, whose number follows from shapes alone, are added in order by a second kernel. */
#include "activation.cuh"

namespace {

enum { ACROSS_WIDTH = 32, ACROSS_HEIGHT = PK_THREADS / ACROSS_WIDTH };

/* One pack: writes dx and returns the sum of its values. */
template <class T, int W> __device__ inline number<T> go_back(const pk_back &p, int64_t channel, int64_t i)
{
    typedef number<T> N;
    int64_t at[3];
    walk_at<3>(p.at.walk, i, at);
#pragma unroll
    for (int k = 0; k < 3; k++) {
        at[k] += channel * p.at.step[k];
    }
    const pack<T, W> dy = *(const pack<T, W> *)((const T *)p.at.walk.data[0] + at[0]);
    const pack<T, W> y = *(const pack<T, W> *)((const T *)p.at.walk.data[1] + at[1]);
    pack<T, W> dx;
    N sum = 0;
#pragma unroll
    for (int k = 0; k < W; k++) {
        const N d = activated_backward(p.activation, load(y.at[k]), load(dy.at[k]));
        dx.at[k] = store<T>(d);
        sum += d;
    }
    *(pack<T, W> *)((T *)p.at.walk.data[2] + at[2]) = dx;
    return sum;
}

template <class T> __device__ inline void put_bias(const pk_back &p, int64_t channel, number<T> sum)
{
    ((T *)p.dbias.data)[channel * p.dbias.stride] = store<T>(sum);
}

/* A chunk's sum: the result where there is one chunk. */
template <class T> __device__ inline void put_chunk(const pk_back &p, int64_t channel, int64_t chunk, number<T> sum)
{
    if (p.chunks == 1) {
        put_bias<T>(p, channel, sum);
    } else {
        ((number<T> *)p.partial)[channel * p.chunks + chunk] = sum;
    }
}

__device__ inline int64_t chunk_end(const pk_back &p, int64_t chunk)
{
    return (chunk + 1) * p.chunk < p.count ? (chunk + 1) * p.chunk : p.count;
}

template <class T, int W> __global__ void __launch_bounds__(PK_THREADS) back_along(const pk_back p)
{
    typedef number<T> N;
    PLUMB_SHARED(N, room, [PK_THREADS / 32]);
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const int64_t channel = piece / p.chunks, chunk = piece % p.chunks, end = chunk_end(p, chunk);
        N sum = 0;
        for (int64_t i = chunk * p.chunk + threadIdx.x; i < end; i += PK_THREADS) {
            sum += go_back<T, W>(p, channel, i);
        }
        for (unsigned lanes = 16; lanes > 0; lanes /= 2) {
            sum += __shfl_down_sync(0xffffffffu, sum, lanes);
        }
        if (threadIdx.x % 32 == 0) {
            room[threadIdx.x / 32] = sum;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int warp = 1; warp < PK_THREADS / 32; warp++) {
                sum += room[warp];
            }
            put_chunk<T>(p, channel, chunk, sum);
        }
        __syncthreads();
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) back_across(const pk_back p)
{
    typedef number<T> N;
    PLUMB_SHARED(N, room, [ACROSS_HEIGHT][ACROSS_WIDTH]);
    const int column = (int)threadIdx.x % ACROSS_WIDTH, line = (int)threadIdx.x / ACROSS_WIDTH;
    const int64_t strips = (p.channels + ACROSS_WIDTH - 1) / ACROSS_WIDTH;
    for (int64_t piece = blockIdx.x; piece < strips * p.chunks; piece += gridDim.x) {
        const int64_t channel = piece % strips * ACROSS_WIDTH + column, chunk = piece / strips;
        const int64_t end = channel < p.channels ? chunk_end(p, chunk) : 0;
        N sum = 0;
        for (int64_t i = chunk * p.chunk + line; i < end; i += ACROSS_HEIGHT) {
            sum += go_back<T, 1>(p, channel, i);
        }
        room[line][column] = sum;
        __syncthreads();
        if (line == 0 && channel < p.channels) {
            for (int other = 1; other < ACROSS_HEIGHT; other++) {
                sum += room[other][column];
            }
            put_chunk<T>(p, channel, chunk, sum);
        }
        __syncthreads();
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) back_join(const pk_back p)
{
    for (int64_t channel = first_element(); channel < p.channels; channel += element_stride()) {
        const number<T> *partial = (const number<T> *)p.partial + channel * p.chunks;
        number<T> sum = partial[0];
        for (int64_t chunk = 1; chunk < p.chunks; chunk++) {
            sum += partial[chunk];
        }
        put_bias<T>(p, channel, sum);
    }
}

template <class T> cudaError_t backward_of(cudaStream_t stream, const pk_back *p)
{
    constexpr int W = 16 / (int)sizeof(T);
    const int64_t strips = p->across ? (p->channels + ACROSS_WIDTH - 1) / ACROSS_WIDTH : p->channels;
    const int64_t pieces = strips * p->chunks;
    const unsigned blocks = (unsigned)(pieces > 1 << 20 ? 1 << 20 : pieces);
    if (p->channels == 0) {
        return cudaSuccess;
    }
    cudaError_t code;
    if (p->across) {
        code = PLUMB_LAUNCH((back_across<T>), blocks, PK_THREADS, 0, stream, *p);
    } else if (p->width == 1) {
        code = PLUMB_LAUNCH((back_along<T, 1>), blocks, PK_THREADS, 0, stream, *p);
    } else {
        code = PLUMB_LAUNCH((back_along<T, W>), blocks, PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess || p->chunks == 1
               ? code
               : PLUMB_LAUNCH((back_join<T>), blocks_for(p->channels), PK_THREADS, 0, stream, *p);
}

} // namespace

extern "C" cudaError_t plumb_k_activation_backward(cudaStream_t stream, int dtype, const pk_back *p)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return backward_of<T>(stream, p);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
