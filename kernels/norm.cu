/* Batch normalisation. A channel's values are cut into chunks, whose number depends on shapes only; a block reduces
 * one in a fixed tree, a thread of a second kernel adds a channel's chunks in order, and a third kernel writes the
 * elements. Mean and variance are gathered together by Welford's rule: no difference of large sums is ever taken, and
 * equal values have variance 0 exactly. T is the type of values, V that of what is per channel. */
#include "number.cuh"

namespace {

/* ---- what is reduced: add a value, join what another thread or chunk has ---- */

template <class N> struct moments {
    N count, mean, squares; /* squares: sum of squared distances from the mean */

    __device__ static moments none() { return moments{0, 0, 0}; }
    __device__ void add(N x)
    {
        count += 1;
        const N distance = x - mean;
        mean += distance / count;
        squares += distance * (x - mean);
    }
    __device__ void join(const moments &other)
    {
        if (other.count == 0) {
            return;
        }
        if (count == 0) {
            *this = other;
            return;
        }
        const N distance = other.mean - mean, all = count + other.count, part = other.count / all;
        mean += distance * part;
        squares += other.squares + distance * distance * count * part;
        count = all;
    }
    __device__ moments lower(unsigned lanes) const
    {
        return moments{__shfl_down_sync(0xffffffffu, count, lanes), __shfl_down_sync(0xffffffffu, mean, lanes),
                       __shfl_down_sync(0xffffffffu, squares, lanes)};
    }
};

template <class N> struct sums { /* of dy z and of dy */
    N weighted, plain;

    __device__ static sums none() { return sums{0, 0}; }
    __device__ void join(const sums &other)
    {
        weighted += other.weighted;
        plain += other.plain;
    }
    __device__ sums lower(unsigned lanes) const
    {
        return sums{__shfl_down_sync(0xffffffffu, weighted, lanes), __shfl_down_sync(0xffffffffu, plain, lanes)};
    }
};

/* What all threads of the block have, joined; thread 0 gets it. `room`: one for each warp. */
template <class S> __device__ inline S joined(S mine, S *room)
{
    for (unsigned lanes = 16; lanes > 0; lanes /= 2) {
        mine.join(mine.lower(lanes));
    }
    if (threadIdx.x % 32 == 0) {
        room[threadIdx.x / 32] = mine;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < PK_THREADS / 32; warp++) {
            mine.join(room[warp]);
        }
    }
    __syncthreads();
    return mine;
}

/* ---- pieces of a channel ---- */

/* Piece `piece` of all: its channel, and its values [first, end). */
struct span {
    int64_t channel, chunk, first, end;
};
__device__ inline span span_of(const pk_norm &p, int64_t piece)
{
    span s;
    s.channel = piece / p.chunks;
    s.chunk = piece % p.chunks;
    s.first = s.chunk * p.chunk;
    s.end = s.first + p.chunk < p.values.count ? s.first + p.chunk : p.values.count;
    return s;
}

/* Offsets of value i of a channel, of the first OPERANDS operands. */
template <int OPERANDS>
__device__ inline void value_at(const pk_norm &p, int64_t channel, int64_t i, int64_t *at)
{
    walk_at<OPERANDS>(p.values, i, at);
#pragma unroll
    for (int k = 0; k < OPERANDS; k++) {
        at[k] += channel * p.channel_stride[k];
    }
}

template <class V> __device__ inline number<V> of_channel(const pk_vector &v, int64_t channel)
{
    return load(((const V *)v.data)[channel * v.stride]);
}
template <class V> __device__ inline void put_channel(const pk_vector &v, int64_t channel, number<V> x)
{
    ((V *)v.data)[channel * v.stride] = store<V>(x);
}

/* Two accumulators of each chunk, then two of each channel. */
template <class T> __device__ inline number<T> *chunk_room(const pk_norm &p, int64_t channel, int64_t chunk)
{
    return (number<T> *)p.partial + 2 * (channel * p.chunks + chunk);
}
template <class T> __device__ inline number<T> *channel_room(const pk_norm &p, int64_t channel)
{
    return (number<T> *)p.partial + 2 * (p.channels * p.chunks + channel);
}

/* ---- training ---- */

template <class T> __global__ void __launch_bounds__(PK_THREADS) norm_moments(const pk_norm p)
{
    typedef number<T> N;
    PLUMB_SHARED(moments<N>, room, [PK_THREADS / 32]);
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const T *x = (const T *)p.values.data[0];
        moments<N> all = moments<N>::none();
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[1];
            value_at<1>(p, s.channel, i, at);
            all.add(load(x[at[0]]));
        }
        all = joined(all, room);
        if (threadIdx.x == 0) {
            chunk_room<T>(p, s.channel, s.chunk)[0] = all.mean;
            chunk_room<T>(p, s.channel, s.chunk)[1] = all.squares;
        }
    }
}

template <class T, class V> __global__ void __launch_bounds__(PK_THREADS) norm_statistics(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t c = first_element(); c < p.channels; c += element_stride()) {
        moments<N> all = moments<N>::none();
        for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
            const span s = span_of(p, c * p.chunks + chunk);
            const N *from = chunk_room<T>(p, c, chunk);
            all.join(moments<N>{(N)(s.end - s.first), from[0], from[1]});
        }
        const N m = (N)p.values.count, variance = m > 0 ? all.squares / m : 0;
        const N observed = p.biased_running ? variance : all.squares / (m - 1);
        const N kept = (N)(1 - p.momentum), rate = (N)p.momentum, deviation = 1 / m_sqrt(variance + (N)p.epsilon);
        const N mean = of_channel<V>(p.mean, c), spread = of_channel<V>(p.spread, c);
        channel_room<T>(p, c)[0] = all.mean;
        channel_room<T>(p, c)[1] = deviation;
        put_channel<V>(p.out[0], c, all.mean);
        put_channel<V>(p.out[1], c, deviation);
        put_channel<V>(p.out[2], c, m > 0 ? kept * mean + rate * all.mean : mean);
        put_channel<V>(p.out[3], c, m > 0 ? kept * spread + rate * observed : spread);
    }
}

/* y = scale ((x - mean) invstd) + shift, by the batch's statistics or by the running ones. */
template <class T, class V, bool RUNNING> __global__ void __launch_bounds__(PK_THREADS) norm_apply(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const T *x = (const T *)p.values.data[0];
        T *y = (T *)p.values.data[1];
        const N scale = of_channel<V>(p.scale, s.channel), shift = of_channel<V>(p.shift, s.channel);
        const N mean = RUNNING ? of_channel<V>(p.mean, s.channel) : channel_room<T>(p, s.channel)[0];
        const N invstd = RUNNING ? 1 / m_sqrt(of_channel<V>(p.spread, s.channel) + (N)p.epsilon)
                                 : channel_room<T>(p, s.channel)[1];
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[2];
            value_at<2>(p, s.channel, i, at);
            y[at[1]] = store<T>(scale * ((load(x[at[0]]) - mean) * invstd) + shift);
        }
    }
}

/* ---- backward: dx = scale invstd (dy - mean(dy) - z mean(dy z)), z = (x - mean) invstd ---- */

template <class T, class V> __global__ void __launch_bounds__(PK_THREADS) norm_sums(const pk_norm p)
{
    typedef number<T> N;
    PLUMB_SHARED(sums<N>, room, [PK_THREADS / 32]);
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const T *x = (const T *)p.values.data[0];
        const T *dy = (const T *)p.values.data[1];
        const N mean = of_channel<V>(p.mean, s.channel), invstd = of_channel<V>(p.spread, s.channel);
        sums<N> all = sums<N>::none();
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[2];
            value_at<2>(p, s.channel, i, at);
            const N d = load(dy[at[1]]);
            all.join(sums<N>{d * ((load(x[at[0]]) - mean) * invstd), d});
        }
        all = joined(all, room);
        if (threadIdx.x == 0) {
            chunk_room<T>(p, s.channel, s.chunk)[0] = all.weighted;
            chunk_room<T>(p, s.channel, s.chunk)[1] = all.plain;
        }
    }
}

template <class T, class V> __global__ void __launch_bounds__(PK_THREADS) norm_add_sums(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t c = first_element(); c < p.channels; c += element_stride()) {
        sums<N> all = sums<N>::none();
        for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
            const N *from = chunk_room<T>(p, c, chunk);
            all.join(sums<N>{from[0], from[1]});
        }
        channel_room<T>(p, c)[0] = all.weighted / (N)p.values.count; /* read only where there are values */
        channel_room<T>(p, c)[1] = all.plain / (N)p.values.count;
        put_channel<V>(p.out[0], c, all.weighted);
        put_channel<V>(p.out[1], c, all.plain);
    }
}

template <class T, class V> __global__ void __launch_bounds__(PK_THREADS) norm_apply_backward(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const T *x = (const T *)p.values.data[0];
        const T *dy = (const T *)p.values.data[1];
        T *dx = (T *)p.values.data[2];
        const N mean = of_channel<V>(p.mean, s.channel), invstd = of_channel<V>(p.spread, s.channel);
        const N factor = of_channel<V>(p.scale, s.channel) * invstd;
        const N weighted = channel_room<T>(p, s.channel)[0], plain = channel_room<T>(p, s.channel)[1];
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[3];
            value_at<3>(p, s.channel, i, at);
            const N z = (load(x[at[0]]) - mean) * invstd;
            dx[at[2]] = store<T>(factor * (load(dy[at[1]]) - plain - z * weighted));
        }
    }
}

/* ---- launches ---- */

unsigned piece_blocks(const pk_norm *p)
{
    const int64_t count = p->channels * p->chunks;
    return (unsigned)(count > 1 << 20 ? 1 << 20 : count);
}

template <class T, class V> cudaError_t training(cudaStream_t stream, const pk_norm *p)
{
    cudaError_t code = PLUMB_LAUNCH(norm_moments<T>, piece_blocks(p), PK_THREADS, 0, stream, *p);
    if (code == cudaSuccess) {
        code = PLUMB_LAUNCH((norm_statistics<T, V>), blocks_for(p->channels), PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess || p->values.count == 0
               ? code
               : PLUMB_LAUNCH((norm_apply<T, V, false>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

template <class T, class V> cudaError_t inference(cudaStream_t stream, const pk_norm *p)
{
    return p->values.count == 0 ? cudaSuccess
                                : PLUMB_LAUNCH((norm_apply<T, V, true>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

template <class T, class V> cudaError_t backward(cudaStream_t stream, const pk_norm *p)
{
    cudaError_t code = PLUMB_LAUNCH((norm_sums<T, V>), piece_blocks(p), PK_THREADS, 0, stream, *p);
    if (code == cudaSuccess) {
        code = PLUMB_LAUNCH((norm_add_sums<T, V>), blocks_for(p->channels), PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess || p->values.count == 0
               ? code
               : PLUMB_LAUNCH((norm_apply_backward<T, V>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

} // namespace

#define OF_TYPES(kernels, values, T, per_channel, V) \
    if (dtype == values && p->vectors == per_channel) { \
        return kernels<T, V>(stream, p); \
    }
#define LAUNCHER(name, kernels) \
    extern "C" cudaError_t name(cudaStream_t stream, int dtype, const pk_norm *p) \
    { \
        if (p->channels == 0) { \
            return cudaSuccess; \
        } \
        OF_TYPES(kernels, PK_F32, float, PK_F32, float) \
        OF_TYPES(kernels, PK_F64, double, PK_F64, double) \
        OF_TYPES(kernels, PK_BF16, bf16, PK_BF16, bf16) \
        OF_TYPES(kernels, PK_BF16, bf16, PK_F32, float) \
        OF_TYPES(kernels, PK_F16, f16, PK_F16, f16) \
        OF_TYPES(kernels, PK_F16, f16, PK_F32, float) \
        return cudaErrorInvalidValue; \
    }

LAUNCHER(plumb_k_batch_norm, training)
LAUNCHER(plumb_k_batch_norm_inference, inference)
LAUNCHER(plumb_k_batch_norm_backward, backward)
