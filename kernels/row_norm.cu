/* Layer, group, instance and RMS norm: a group of threads takes a row, one thread where rows are short, a warp, or the block.
 * The mean is corrected by what its rounding left, so that equal values have variance 0 and a mean that is large against
 * the spread costs no more digits than x itself has. Sums over examples, for scale and shift, are taken before dx is
 * written, which may lie over dy: by chunks of examples, then each channel's chunks in order. */
#include "group.cuh"

namespace {

template <class T> __device__ inline T &at(const pk_volume &v, int64_t n, int64_t c, int64_t s)
{
    return ((T *)v.data)[n * v.stride[0] + c * v.stride[1] + s * v.stride[2]];
}
template <class N> __device__ inline N &of_row(const pk_matrix &m, const pk_row_norm &p, int64_t r)
{
    return ((N *)m.data)[r / p.groups * m.stride[0] + r % p.groups * m.stride[1]];
}

template <class N> __device__ inline N of_channel(const pk_row_norm &p, const pk_vector &v, int64_t c)
{
    const int64_t i = c * v.stride;
    switch (p.vectors) {
    case PK_F32: return load(((const float *)v.data)[i]);
    case PK_F64: return (N)load(((const double *)v.data)[i]);
    case PK_BF16: return load(((const bf16 *)v.data)[i]);
    default: return load(((const f16 *)v.data)[i]);
    }
}
template <class N> __device__ inline void put_channel(const pk_row_norm &p, const pk_vector &v, int64_t c, N x)
{
    const int64_t i = c * v.stride;
    switch (p.vectors) {
    case PK_F32: ((float *)v.data)[i] = store<float>(x); break;
    case PK_F64: ((double *)v.data)[i] = store<double>(x); break;
    case PK_BF16: ((bf16 *)v.data)[i] = store<bf16>(x); break;
    default: ((f16 *)v.data)[i] = store<f16>(x); break;
    }
}

/* Value j of row r. */
struct place {
    int64_t n, c, s;
};
__device__ inline place place_of(const pk_row_norm &p, int64_t r, int64_t j)
{
    place a = {r / p.groups, r % p.groups * p.channels, 0};
    if (p.s == 1) {
        a.c += j;
    } else if (j <= 0x7fffffff && p.s <= 0x7fffffff) {
        const uint32_t c = (uint32_t)j / (uint32_t)p.s;
        a.c += c;
        a.s = (uint32_t)j - c * (uint32_t)p.s;
    } else {
        a.c += j / p.s;
        a.s = j % p.s;
    }
    return a;
}

template <class T, int G> __global__ void __launch_bounds__(PK_THREADS) norm_rows(const pk_row_norm p)
{
    typedef number<T> N;
    const int64_t m = p.channels * p.s;
    for (int64_t r = first_lane<G>(); r < p.n * p.groups; r += lane_step<G>()) {
        N mean = 0, rest = 0, square = 0, left = 0; /* left: what the mean is more than `mean` */
        if (p.mean.data) {
            for (int64_t j = member<G>(); j < m; j += G) {
                const place a = place_of(p, r, j);
                mean += load(at<const T>(p.x, a.n, a.c, a.s));
            }
            mean = meet<G>(mean, the_sum());
            mean = m > 0 ? mean / (N)m : 0;
        }
        for (int64_t j = member<G>(); j < m; j += G) {
            const place a = place_of(p, r, j);
            const N d = load(at<const T>(p.x, a.n, a.c, a.s)) - mean;
            rest += d;
            square += d * d;
        }
        square = meet<G>(square, the_sum());
        if (p.mean.data && m > 0) {
            left = meet<G>(rest, the_sum()) / (N)m;
            square -= left * left * (N)m;
            square = square < 0 ? (N)0 : square;
        }
        const N invstd = 1 / m_sqrt((m > 0 ? square / (N)m : (N)0) + (N)p.epsilon);
        for (int64_t j = member<G>(); j < m; j += G) {
            const place a = place_of(p, r, j);
            N y = (load(at<const T>(p.x, a.n, a.c, a.s)) - mean - left) * invstd;
            y = p.scale.data ? y * of_channel<N>(p, p.scale, a.c) : y;
            y = p.shift.data ? y + of_channel<N>(p, p.shift, a.c) : y;
            at<T>(p.y, a.n, a.c, a.s) = store<T>(y);
        }
        if (member<G>() == 0) {
            of_row<N>(p.invstd, p, r) = invstd;
            if (p.mean.data) {
                of_row<N>(p.mean, p, r) = mean + left;
            }
        }
    }
}

/* Value j of row r before and behind the norm: z = (x - mean) invstd and d = dy scale. */
template <class T, class N> struct pair {
    N z, d;
    __device__ pair(const pk_row_norm &p, const place &a, N mean, N invstd)
    {
        z = (load(at<const T>(p.x, a.n, a.c, a.s)) - mean) * invstd;
        d = load(at<const T>(p.dy, a.n, a.c, a.s));
        d = p.scale.data ? d * of_channel<N>(p, p.scale, a.c) : d;
    }
};

/* dx = invstd (d - mean(d) - z mean(d z)), without the first mean where not centred. */
template <class T, int G> __global__ void __launch_bounds__(PK_THREADS) norm_rows_backward(const pk_row_norm p)
{
    typedef number<T> N;
    const int64_t m = p.channels * p.s;
    for (int64_t r = first_lane<G>(); r < p.n * p.groups; r += lane_step<G>()) {
        const N invstd = of_row<const N>(p.invstd, p, r), mean = p.mean.data ? of_row<const N>(p.mean, p, r) : 0;
        N plain = 0, weighted = 0;
        for (int64_t j = member<G>(); j < m; j += G) {
            const pair<T, N> v(p, place_of(p, r, j), mean, invstd);
            plain += v.d;
            weighted += v.d * v.z;
        }
        weighted = meet<G>(weighted, the_sum()) / (N)m; /* read only where there are values */
        plain = p.mean.data ? meet<G>(plain, the_sum()) / (N)m : 0;
        for (int64_t j = member<G>(); j < m; j += G) {
            const place a = place_of(p, r, j);
            const pair<T, N> v(p, a, mean, invstd);
            at<T>(p.y, a.n, a.c, a.s) = store<T>(invstd * (v.d - plain - v.z * weighted));
        }
    }
}

/* Sums over a chunk of examples: neighbouring threads (or warps) take neighbouring channels. */
template <class T, int G> __global__ void __launch_bounds__(PK_THREADS) norm_channel_sums(const pk_row_norm p)
{
    typedef number<T> N;
    const int64_t channels = p.groups * p.channels;
    for (int64_t i = first_lane<G>(); i < p.chunks * channels; i += lane_step<G>()) {
        const int64_t c = i % channels, first = i / channels * p.per_chunk;
        const int64_t end = first + p.per_chunk < p.n ? first + p.per_chunk : p.n;
        N plain = 0, weighted = 0;
        for (int64_t n = first; n < end; n++) {
            const int64_t r = n * p.groups + c / p.channels;
            const N invstd = of_row<const N>(p.invstd, p, r), mean = p.mean.data ? of_row<const N>(p.mean, p, r) : 0;
            for (int64_t s = member<G>(); s < p.s; s += G) {
                const N dy = load(at<const T>(p.dy, n, c, s));
                plain += dy;
                weighted += dy * ((load(at<const T>(p.x, n, c, s)) - mean) * invstd);
            }
        }
        weighted = meet<G>(weighted, the_sum());
        plain = meet<G>(plain, the_sum());
        if (member<G>() == 0) {
            ((N *)p.partial)[2 * i] = weighted;
            ((N *)p.partial)[2 * i + 1] = plain;
        }
    }
}

template <class N> __global__ void __launch_bounds__(PK_THREADS) norm_add_chunks(const pk_row_norm p)
{
    const int64_t channels = p.groups * p.channels;
    for (int64_t c = first_element(); c < channels; c += element_stride()) {
        N plain = 0, weighted = 0;
        for (int64_t k = 0; k < p.chunks; k++) {
            const N *from = (const N *)p.partial + 2 * (k * channels + c);
            weighted += from[0];
            plain += from[1];
        }
        put_channel<N>(p, p.dscale, c, weighted);
        if (p.dshift.data) {
            put_channel<N>(p, p.dshift, c, plain);
        }
    }
}

/* ---- launches ---- */

int group_for(int64_t values) { return values <= 8 ? 1 : values <= 1024 ? 32 : PK_THREADS; }

template <class T> cudaError_t forward_of(cudaStream_t stream, const pk_row_norm *p)
{
    const int64_t rows = p->n * p->groups;
    if (rows == 0) {
        return cudaSuccess;
    }
    switch (group_for(p->channels * p->s)) {
    case 1: return PLUMB_LAUNCH((norm_rows<T, 1>), blocks_for(rows), PK_THREADS, 0, stream, *p);
    case 32: return PLUMB_LAUNCH((norm_rows<T, 32>), blocks_for(rows * 32), PK_THREADS, 0, stream, *p);
    default: return PLUMB_LAUNCH((norm_rows<T, PK_THREADS>), blocks_for(rows * PK_THREADS), PK_THREADS, 0, stream, *p);
    }
}

template <class T> cudaError_t channel_sums_of(cudaStream_t stream, const pk_row_norm *p)
{
    const int64_t channels = p->groups * p->channels, pieces = p->chunks * channels;
    cudaError_t code = cudaSuccess;
    if (channels == 0) {
        return code;
    }
    if (p->s < 32) {
        code = PLUMB_LAUNCH((norm_channel_sums<T, 1>), blocks_for(pieces), PK_THREADS, 0, stream, *p);
    } else {
        code = PLUMB_LAUNCH((norm_channel_sums<T, 32>), blocks_for(pieces * 32), PK_THREADS, 0, stream, *p);
    }
    return code != cudaSuccess
               ? code
               : PLUMB_LAUNCH(norm_add_chunks<number<T>>, blocks_for(channels), PK_THREADS, 0, stream, *p);
}

template <class T> cudaError_t backward_of(cudaStream_t stream, const pk_row_norm *p)
{
    const int64_t rows = p->n * p->groups, values = p->channels * p->s;
    cudaError_t code = p->dscale.data ? channel_sums_of<T>(stream, p) : cudaSuccess;
    if (code != cudaSuccess || rows * values == 0) {
        return code;
    }
    switch (group_for(values)) {
    case 1: return PLUMB_LAUNCH((norm_rows_backward<T, 1>), blocks_for(rows), PK_THREADS, 0, stream, *p);
    case 32: return PLUMB_LAUNCH((norm_rows_backward<T, 32>), blocks_for(rows * 32), PK_THREADS, 0, stream, *p);
    default:
        return PLUMB_LAUNCH((norm_rows_backward<T, PK_THREADS>), blocks_for(rows * PK_THREADS), PK_THREADS, 0, stream, *p);
    }
}

} // namespace

#define FORWARD(code, type) case code: return forward_of<type>(stream, p);
#define BACKWARD(code, type) case code: return backward_of<type>(stream, p);
#define LAUNCHER(name, dtype_case)                                                               \
    extern "C" cudaError_t name(cudaStream_t stream, int dtype, const pk_row_norm *p)            \
    {                                                                                            \
        switch (dtype) {                                                                         \
            PK_FLOAT_CASES(dtype_case)                                                           \
        default: return cudaErrorInvalidValue;                                                   \
        }                                                                                        \
    }
LAUNCHER(plumb_k_row_norm, FORWARD)
LAUNCHER(plumb_k_row_norm_backward, BACKWARD)
