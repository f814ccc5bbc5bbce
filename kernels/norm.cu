/* Batch normalisation, with a residual and relu in it where the call says so. A channel's values are cut into chunks,
 * whose number depends on shapes only; a block reduces one in a fixed tree, a thread of a second kernel adds a channel's
 * chunks in order, and a third kernel writes the elements. Mean and variance are gathered together by Welford's rule: no
 * difference of large sums is ever taken, and equal values have variance 0 exactly. Backward through relu, the first
 * kernel leaves dy before relu where the third one reads it, so y and dy are read once.
 *
 * T is the type of values, W how many of them move at once; what is per channel has a type of its own, told at run time. */
#include "number.cuh"

namespace {

/* ---- what is reduced: add values, join what another thread or chunk has ---- */

template <class N> struct moments {
    N count, mean, squares; /* squares: sum of squared distances from the mean */

    __device__ static moments none() { return moments{0, 0, 0}; }
    /* Of W values, a power of two: summed in pairs, so that the mean of equal values is that value. */
    template <int W> __device__ static moments of(const N (&x)[W])
    {
        N sum[W], squares = 0;
#pragma unroll
        for (int k = 0; k < W; k++) {
            sum[k] = x[k];
        }
#pragma unroll
        for (int half = W / 2; half > 0; half /= 2) {
#pragma unroll
            for (int k = 0; k < half; k++) {
                sum[k] += sum[k + half];
            }
        }
        const N mean = sum[0] / W;
#pragma unroll
        for (int k = 0; k < W; k++) {
            squares += (x[k] - mean) * (x[k] - mean);
        }
        return moments{(N)W, mean, squares};
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

/* Piece `piece` of all: its channel, and its packs [first, end). */
struct span {
    int64_t channel, chunk, first, end;
};
__device__ inline span span_of(const pk_norm &p, int64_t piece)
{
    const int64_t packs = p.count / p.width;
    span s;
    s.channel = piece / p.chunks;
    s.chunk = piece % p.chunks;
    s.first = s.chunk * p.chunk < packs ? s.chunk * p.chunk : packs;
    s.end = s.first + p.chunk < packs ? s.first + p.chunk : packs;
    return s;
}

/* Where pack i of a channel begins, for the first OPERANDS operands. */
template <int OPERANDS>
__device__ inline void pack_at(const pk_channels &v, int64_t channel, int64_t i, int64_t *at)
{
    walk_at<OPERANDS>(v.walk, i, at);
#pragma unroll
    for (int k = 0; k < OPERANDS; k++) {
        at[k] += channel * v.step[k];
    }
}

template <class T, int W> __device__ inline pack<T, W> packed(const pk_channels &v, int operand, int64_t at)
{
    return *(const pack<T, W> *)((const T *)v.walk.data[operand] + at);
}
template <class T, int W> __device__ inline void put_packed(const pk_channels &v, int operand, int64_t at, pack<T, W> x)
{
    *(pack<T, W> *)((T *)v.walk.data[operand] + at) = x;
}

template <class N> __device__ inline N of_channel(const pk_norm &p, const pk_vector &v, int64_t channel)
{
    const int64_t at = channel * v.stride;
    switch (p.vectors) {
    case PK_F32: return load(((const float *)v.data)[at]);
    case PK_F64: return (N)load(((const double *)v.data)[at]);
    case PK_BF16: return load(((const bf16 *)v.data)[at]);
    default: return load(((const f16 *)v.data)[at]);
    }
}
template <class N> __device__ inline void put_channel(const pk_norm &p, const pk_vector &v, int64_t channel, N x)
{
    const int64_t at = channel * v.stride;
    switch (p.vectors) {
    case PK_F32: ((float *)v.data)[at] = store<float>(x); break;
    case PK_F64: ((double *)v.data)[at] = store<double>(x); break;
    case PK_BF16: ((bf16 *)v.data)[at] = store<bf16>(x); break;
    default: ((f16 *)v.data)[at] = store<f16>(x); break;
    }
}

/* Two accumulators of each chunk, then two of each channel. */
template <class N> __device__ inline N *chunk_room(const pk_norm &p, int64_t channel, int64_t chunk)
{
    return (N *)p.partial + 2 * (channel * p.chunks + chunk);
}
template <class N> __device__ inline N *channel_room(const pk_norm &p, int64_t channel)
{
    return (N *)p.partial + 2 * (p.channels * p.chunks + channel);
}

/* ---- training ---- */

template <class T, int W> __global__ void __launch_bounds__(PK_THREADS) norm_moments(const pk_norm p)
{
    typedef number<T> N;
    PLUMB_SHARED(moments<N>, room, [PK_THREADS / 32]);
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        moments<N> all = moments<N>::none();
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[1];
            pack_at<1>(p.read, s.channel, i, at);
            const pack<T, W> x = packed<T, W>(p.read, 0, at[0]);
            N values[W];
#pragma unroll
            for (int k = 0; k < W; k++) {
                values[k] = load(x.at[k]);
            }
            all.join(moments<N>::of(values));
        }
        all = joined(all, room);
        if (threadIdx.x == 0) {
            chunk_room<N>(p, s.channel, s.chunk)[0] = all.mean;
            chunk_room<N>(p, s.channel, s.chunk)[1] = all.squares;
        }
    }
}

template <class N> __global__ void __launch_bounds__(PK_THREADS) norm_statistics(const pk_norm p)
{
    for (int64_t c = first_element(); c < p.channels; c += element_stride()) {
        moments<N> all = moments<N>::none();
        for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
            const span s = span_of(p, c * p.chunks + chunk);
            const N *from = chunk_room<N>(p, c, chunk);
            all.join(moments<N>{(N)((s.end - s.first) * p.width), from[0], from[1]});
        }
        const N m = (N)p.count, variance = m > 0 ? all.squares / m : 0;
        const N observed = p.biased_running ? variance : all.squares / (m - 1);
        const N kept = (N)(1 - p.momentum), rate = (N)p.momentum, deviation = 1 / m_sqrt(variance + (N)p.epsilon);
        const N mean = of_channel<N>(p, p.mean, c), spread = of_channel<N>(p, p.spread, c);
        channel_room<N>(p, c)[0] = all.mean;
        channel_room<N>(p, c)[1] = deviation;
        put_channel<N>(p, p.out[0], c, all.mean);
        put_channel<N>(p, p.out[1], c, deviation);
        put_channel<N>(p, p.out[2], c, m > 0 ? kept * mean + rate * all.mean : mean);
        put_channel<N>(p, p.out[3], c, m > 0 ? kept * spread + rate * observed : spread);
    }
}

/* y = relu(scale ((x - mean) invstd) + shift + residual), by the batch's statistics or by the running ones. */
template <class T, int W, bool RUNNING> __global__ void __launch_bounds__(PK_THREADS) norm_apply(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const N scale = of_channel<N>(p, p.scale, s.channel), shift = of_channel<N>(p, p.shift, s.channel);
        const N mean = RUNNING ? of_channel<N>(p, p.mean, s.channel) : channel_room<N>(p, s.channel)[0];
        const N invstd = RUNNING ? 1 / m_sqrt(of_channel<N>(p, p.spread, s.channel) + (N)p.epsilon)
                                 : channel_room<N>(p, s.channel)[1];
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[3];
            pack_at<3>(p.write, s.channel, i, at);
            const pack<T, W> x = packed<T, W>(p.write, 0, at[0]);
            pack<T, W> plus = x, y;
            if (p.residual) {
                plus = packed<T, W>(p.write, 1, at[1]);
            }
#pragma unroll
            for (int k = 0; k < W; k++) {
                N value = scale * ((load(x.at[k]) - mean) * invstd) + shift;
                value = p.residual ? value + load(plus.at[k]) : value;
                y.at[k] = store<T>(p.relu && value <= 0 ? (N)0 : value);
            }
            put_packed<T, W>(p.write, 2, at[2], y);
        }
    }
}

/* ---- backward: dx = scale invstd (dy - mean(dy) - z mean(dy z)), z = (x - mean) invstd, dy before relu ---- */

template <class T, int W> __global__ void __launch_bounds__(PK_THREADS) norm_sums(const pk_norm p)
{
    typedef number<T> N;
    PLUMB_SHARED(sums<N>, room, [PK_THREADS / 32]);
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const N mean = of_channel<N>(p, p.mean, s.channel), invstd = of_channel<N>(p, p.spread, s.channel);
        sums<N> all = sums<N>::none();
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[4];
            pack_at<4>(p.read, s.channel, i, at);
            const pack<T, W> x = packed<T, W>(p.read, 0, at[0]);
            pack<T, W> dy = packed<T, W>(p.read, 1, at[1]);
            if (p.relu) {
                const pack<T, W> y = packed<T, W>(p.read, 2, at[2]);
#pragma unroll
                for (int k = 0; k < W; k++) {
                    dy.at[k] = load(y.at[k]) <= 0 ? store<T>((N)0) : dy.at[k];
                }
                put_packed<T, W>(p.read, 3, at[3], dy);
            }
#pragma unroll
            for (int k = 0; k < W; k++) {
                const N d = load(dy.at[k]);
                all.join(sums<N>{d * ((load(x.at[k]) - mean) * invstd), d});
            }
        }
        all = joined(all, room);
        if (threadIdx.x == 0) {
            chunk_room<N>(p, s.channel, s.chunk)[0] = all.weighted;
            chunk_room<N>(p, s.channel, s.chunk)[1] = all.plain;
        }
    }
}

template <class N> __global__ void __launch_bounds__(PK_THREADS) norm_add_sums(const pk_norm p)
{
    for (int64_t c = first_element(); c < p.channels; c += element_stride()) {
        sums<N> all = sums<N>::none();
        for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
            const N *from = chunk_room<N>(p, c, chunk);
            all.join(sums<N>{from[0], from[1]});
        }
        channel_room<N>(p, c)[0] = all.weighted / (N)p.count; /* read only where there are values */
        channel_room<N>(p, c)[1] = all.plain / (N)p.count;
        put_channel<N>(p, p.out[0], c, all.weighted);
        put_channel<N>(p, p.out[1], c, all.plain);
    }
}

/* dy may lie where dx does. */
template <class T, int W> __global__ void __launch_bounds__(PK_THREADS) norm_apply_backward(const pk_norm p)
{
    typedef number<T> N;
    for (int64_t piece = blockIdx.x; piece < p.channels * p.chunks; piece += gridDim.x) {
        const span s = span_of(p, piece);
        const N mean = of_channel<N>(p, p.mean, s.channel), invstd = of_channel<N>(p, p.spread, s.channel);
        const N factor = of_channel<N>(p, p.scale, s.channel) * invstd;
        const N weighted = channel_room<N>(p, s.channel)[0], plain = channel_room<N>(p, s.channel)[1];
        for (int64_t i = s.first + threadIdx.x; i < s.end; i += PK_THREADS) {
            int64_t at[3];
            pack_at<3>(p.write, s.channel, i, at);
            const pack<T, W> x = packed<T, W>(p.write, 0, at[0]), dy = packed<T, W>(p.write, 1, at[1]);
            pack<T, W> dx;
#pragma unroll
            for (int k = 0; k < W; k++) {
                const N z = (load(x.at[k]) - mean) * invstd;
                dx.at[k] = store<T>(factor * (load(dy.at[k]) - plain - z * weighted));
            }
            put_packed<T, W>(p.write, 2, at[2], dx);
        }
    }
}

/* ---- launches ---- */

unsigned piece_blocks(const pk_norm *p)
{
    const int64_t count = p->channels * p->chunks;
    return (unsigned)(count > 1 << 20 ? 1 << 20 : count);
}

template <class T, int W> cudaError_t training(cudaStream_t stream, const pk_norm *p)
{
    cudaError_t code = PLUMB_LAUNCH((norm_moments<T, W>), piece_blocks(p), PK_THREADS, 0, stream, *p);
    if (code == cudaSuccess) {
        code = PLUMB_LAUNCH(norm_statistics<number<T>>, blocks_for(p->channels), PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess || p->count == 0
               ? code
               : PLUMB_LAUNCH((norm_apply<T, W, false>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

template <class T, int W> cudaError_t inference(cudaStream_t stream, const pk_norm *p)
{
    return p->count == 0 ? cudaSuccess
                         : PLUMB_LAUNCH((norm_apply<T, W, true>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

template <class T, int W> cudaError_t backward(cudaStream_t stream, const pk_norm *p)
{
    cudaError_t code = PLUMB_LAUNCH((norm_sums<T, W>), piece_blocks(p), PK_THREADS, 0, stream, *p);
    if (code == cudaSuccess) {
        code = PLUMB_LAUNCH(norm_add_sums<number<T>>, blocks_for(p->channels), PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess || p->count == 0
               ? code
               : PLUMB_LAUNCH((norm_apply_backward<T, W>), piece_blocks(p), PK_THREADS, 0, stream, *p);
}

} // namespace

#define WIDTH_CASE(kernels, number, type) \
    case number: \
        return p->width == 1 ? kernels<type, 1>(stream, p) : kernels<type, PK_NORM_PACK(sizeof(type))>(stream, p);
#define LAUNCHER(name, kernels) \
    extern "C" cudaError_t name(cudaStream_t stream, int dtype, const pk_norm *p) \
    { \
        if (p->channels == 0) { \
            return cudaSuccess; \
        } \
        switch (dtype) { \
            WIDTH_CASE(kernels, PK_F32, float) \
            WIDTH_CASE(kernels, PK_F64, double) \
            WIDTH_CASE(kernels, PK_BF16, bf16) \
            WIDTH_CASE(kernels, PK_F16, f16) \
        default: return cudaErrorInvalidValue; \
        } \
    }

LAUNCHER(plumb_k_batch_norm, training)
LAUNCHER(plumb_k_batch_norm_inference, inference)
LAUNCHER(plumb_k_batch_norm_backward, backward)
