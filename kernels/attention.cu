/* Attention and its way back without the matrix of weights. A block takes ROWS rows of one head (queries, or keys for their
 * gradients) and walks over the columns COLUMNS at a time; 16 threads share a row, and each holds two of the scores of a
 * step. Products of features are summed over parts of PART features that pass through shared memory, so any number of
 * features fits. Results are up to WIDE columns a block: the grid's y cuts what is wider, and the scores are computed again.
 * Sums are taken in the order of the columns: equal bits from run to run. */
#include "number.cuh"

namespace {

enum { ROWS = 16, COLUMNS = 32, PART = 32, LANES = 16, THREADS = ROWS * LANES };
template <class N> constexpr int WIDE = sizeof(N) == 4 ? 128 : 64;

template <class T> struct matrix { /* rows by features of one head */
    const T *first;
    int64_t row, column, rows, features;
    __device__ number<T> at(int64_t i, int64_t d) const
    {
        return i < rows && d < features ? load(first[i * row + d * column]) : (number<T>)0;
    }
};

template <class T> __device__ inline matrix<T> head_of(const pk_heads &x, int64_t n, int64_t h, int64_t rows, int64_t features)
{
    return {(const T *)x.data + n * x.stride[0] + h * x.stride[1], x.stride[2], x.stride[3], rows, features};
}

template <class N> struct tiles {
    N a[ROWS][PART + 1], b[COLUMNS][PART + 1];
};

/* Two sums of products: of row `row` of a, from i0, with the columns lane and lane + LANES of b, from j0. */
template <class T>
__device__ inline void products(const matrix<T> &a, int64_t i0, const matrix<T> &b, int64_t j0, tiles<number<T>> &t, number<T> sum[2])
{
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    sum[0] = sum[1] = 0;
    for (int64_t d0 = 0; d0 < a.features; d0 += PART) {
        __syncthreads(); /* whoever still reads the part before */
        for (int e = threadIdx.x; e < ROWS * PART; e += THREADS) {
            t.a[e / PART][e % PART] = a.at(i0 + e / PART, d0 + e % PART);
        }
        for (int e = threadIdx.x; e < COLUMNS * PART; e += THREADS) {
            t.b[e / PART][e % PART] = b.at(j0 + e / PART, d0 + e % PART);
        }
        __syncthreads();
        const int count = (int)(a.features - d0 < (int64_t)PART ? a.features - d0 : (int64_t)PART);
        for (int d = 0; d < count; d++) {
            sum[0] += t.a[row][d] * t.b[lane][d];
            sum[1] += t.a[row][d] * t.b[lane + LANES][d];
        }
    }
}

/* The score of query i and key j from their product. */
template <class T> __device__ inline number<T> score(const pk_attention &p, int64_t n, int64_t h, int64_t i, int64_t j, number<T> product)
{
    typedef number<T> N;
    if (i >= p.queries || j >= p.keys || (p.causal && j > i)) {
        return -(N)INFINITY;
    }
    N value = product * (N)p.scale;
    if (!p.mask.data) {
        return value;
    }
    const int64_t at = n * p.mask.stride[0] + h * p.mask.stride[1] + i * p.mask.stride[2] + j * p.mask.stride[3];
    if (p.mask_is_u8) {
        return ((const uint8_t *)p.mask.data)[at] ? value : -(N)INFINITY;
    }
    return value + load(((const T *)p.mask.data)[at]);
}

template <class N> __device__ inline N row_sum(N x)
{
#pragma unroll
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, lanes);
    }
    return x;
}

template <class N> __device__ inline N row_max(N x)
{
#pragma unroll
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        const N other = __shfl_xor_sync(0xffffffffu, x, lanes);
        x = other > x ? other : x;
    }
    return x;
}

/* total[c] += sum over the step's columns j of weight[row][j] b[j][first + lane + c LANES]; part: room for the rows of b */
template <class T, int W>
__device__ inline void accumulate(number<T> weight[ROWS][COLUMNS + 1], const matrix<T> &b, int64_t j0, int64_t first,
                                  number<T> part[COLUMNS][W + 1], number<T> total[W / LANES])
{
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    __syncthreads(); /* the weights are there */
    for (int e = threadIdx.x; e < COLUMNS * W; e += THREADS) {
        part[e / W][e % W] = b.at(j0 + e / W, first + e % W);
    }
    __syncthreads();
    for (int j = 0; j < COLUMNS; j++) {
        const number<T> w = weight[row][j];
        if (w != 0) { /* what is not looked at may be a NaN */
#pragma unroll
            for (int c = 0; c < W / LANES; c++) {
                total[c] += w * part[j][lane + c * LANES];
            }
        }
    }
    __syncthreads(); /* weights and rows may be written again */
}

struct place { /* which part of the work a block has */
    int64_t n, h, row; /* row: the first */
};

__device__ inline place place_of(const pk_attention &p, int64_t block, int64_t rows)
{
    const int64_t blocks = (rows + ROWS - 1) / ROWS, head = block / blocks;
    return {head / p.heads, head % p.heads, block % blocks * ROWS};
}

template <class T, int W>
__device__ inline void write(const pk_heads &to, const place &at, int64_t rows, int64_t features, int64_t first,
                             const number<T> total[W / LANES])
{
    const int lane = threadIdx.x % LANES;
    const int64_t i = at.row + threadIdx.x / LANES;
#pragma unroll
    for (int c = 0; c < W / LANES; c++) {
        const int64_t e = first + lane + c * LANES;
        if (i < rows && e < features) {
            ((T *)to.data)[at.n * to.stride[0] + at.h * to.stride[1] + i * to.stride[2] + e * to.stride[3]] = store<T>(total[c]);
        }
    }
}

template <class T> __device__ inline int64_t lse_at(const pk_attention &p, const place &at, int64_t i)
{
    return at.n * p.lse.stride[0] + at.h * p.lse.stride[1] + i * p.lse.stride[2];
}

/* No key that query `last` or one before it sees lies at or behind this. */
__device__ inline int64_t keys_end(const pk_attention &p, int64_t last)
{
    return p.causal && last + 1 < p.keys ? last + 1 : p.keys;
}

template <class T> __global__ void __launch_bounds__(THREADS) forward(const pk_attention p)
{
    typedef number<T> N;
    constexpr int W = WIDE<N>;
    PLUMB_SHARED(tiles<N>, tile);
    PLUMB_SHARED(N, weight, [ROWS][COLUMNS + 1]);
    PLUMB_SHARED(N, part, [COLUMNS][W + 1]);
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int64_t first = (int64_t)blockIdx.y * W, blocks = p.batch * p.heads * ((p.queries + ROWS - 1) / ROWS);
    for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
        const place at = place_of(p, block, p.queries);
        const matrix<T> q = head_of<T>(p.q, at.n, at.h, p.queries, p.features), k = head_of<T>(p.k, at.n, at.h, p.keys, p.features);
        const matrix<T> v = head_of<T>(p.v, at.n, at.h, p.keys, p.values);
        const int64_t i = at.row + row, end = keys_end(p, at.row + ROWS - 1);
        N most = -(N)INFINITY, sum = 0, total[W / LANES] = {};
        for (int64_t j0 = 0; j0 < end; j0 += COLUMNS) {
            N s[2];
            products<T>(q, at.row, k, j0, tile, s);
            s[0] = score<T>(p, at.n, at.h, i, j0 + lane, s[0]);
            s[1] = score<T>(p, at.n, at.h, i, j0 + lane + LANES, s[1]);
            /* A NaN is overlooked here: it comes back from the exponential. */
            const N before = most, step = row_max(s[1] > s[0] ? s[1] : s[0]);
            most = step > most ? step : most;
            const N keep = before == most ? (N)1 : m_exp(before - most);
            N here = 0;
#pragma unroll
            for (int c = 0; c < 2; c++) {
                const N w = s[c] == -(N)INFINITY ? (N)0 : m_exp(s[c] - most);
                weight[row][lane + c * LANES] = w;
                here += w;
            }
            sum = sum * keep + row_sum(here);
#pragma unroll
            for (int c = 0; c < W / LANES; c++) {
                total[c] *= keep;
            }
            accumulate<T, W>(weight, v, j0, first, part, total);
        }
        const bool blind = sum == 0; /* not where it is a NaN */
#pragma unroll
        for (int c = 0; c < W / LANES; c++) {
            total[c] = blind ? (N)0 : total[c] / sum;
        }
        write<T, W>(p.y, at, p.queries, p.values, first, total);
        if (blockIdx.y == 0 && lane == 0 && i < p.queries) {
            ((N *)p.lse.data)[lse_at<T>(p, at, i)] = blind ? (N)INFINITY : most + m_log(sum);
        }
    }
}

/* delta = sum of dy y for each query, (N, H, T) packed */
template <class T> __global__ void __launch_bounds__(PK_THREADS) deltas(const pk_attention p)
{
    typedef number<T> N;
    for (int64_t e = first_element(); e < p.batch * p.heads * p.queries; e += element_stride()) {
        const int64_t i = e % p.queries, head = e / p.queries, n = head / p.heads, h = head % p.heads;
        const matrix<T> y = head_of<T>(p.y, n, h, p.queries, p.values), dy = head_of<T>(p.dy, n, h, p.queries, p.values);
        N sum = 0;
        for (int64_t c = 0; c < p.values; c++) {
            sum += dy.at(i, c) * y.at(i, c);
        }
        ((N *)p.delta)[e] = sum;
    }
}

/* A weight, and the gradient of its score, from the two products q k and dy v. */
template <class T>
__device__ inline void step_back(const pk_attention &p, const place &at, int64_t i, int64_t j, number<T> qk, number<T> dyv,
                                 number<T> *weight, number<T> *ds)
{
    typedef number<T> N;
    const N s = score<T>(p, at.n, at.h, i, j, qk);
    *weight = *ds = 0;
    if (s != -(N)INFINITY) {
        const N lse = ((const N *)p.lse.data)[lse_at<T>(p, at, i)];
        const N delta = ((const N *)p.delta)[(at.n * p.heads + at.h) * p.queries + i];
        *weight = m_exp(s - lse);
        *ds = *weight * (dyv - delta) * (N)p.scale;
    }
}

template <class T> __global__ void __launch_bounds__(THREADS) backward_queries(const pk_attention p)
{
    typedef number<T> N;
    constexpr int W = WIDE<N>;
    PLUMB_SHARED(tiles<N>, tile);
    PLUMB_SHARED(N, weight, [ROWS][COLUMNS + 1]);
    PLUMB_SHARED(N, part, [COLUMNS][W + 1]);
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int64_t first = (int64_t)blockIdx.y * W, blocks = p.batch * p.heads * ((p.queries + ROWS - 1) / ROWS);
    for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
        const place at = place_of(p, block, p.queries);
        const matrix<T> q = head_of<T>(p.q, at.n, at.h, p.queries, p.features), k = head_of<T>(p.k, at.n, at.h, p.keys, p.features);
        const matrix<T> v = head_of<T>(p.v, at.n, at.h, p.keys, p.values), dy = head_of<T>(p.dy, at.n, at.h, p.queries, p.values);
        const int64_t end = keys_end(p, at.row + ROWS - 1);
        N total[W / LANES] = {};
        for (int64_t j0 = 0; j0 < end; j0 += COLUMNS) {
            N qk[2], dyv[2], w, ds[2];
            products<T>(q, at.row, k, j0, tile, qk);
            products<T>(dy, at.row, v, j0, tile, dyv);
#pragma unroll
            for (int c = 0; c < 2; c++) {
                step_back<T>(p, at, at.row + row, j0 + lane + c * LANES, qk[c], dyv[c], &w, &ds[c]);
                weight[row][lane + c * LANES] = ds[c];
            }
            accumulate<T, W>(weight, k, j0, first, part, total);
        }
        write<T, W>(p.dq, at, p.queries, p.features, first, total);
    }
}

/* Rows are keys here, and columns queries. */
template <class T> __global__ void __launch_bounds__(THREADS) backward_keys(const pk_attention p)
{
    typedef number<T> N;
    constexpr int W = WIDE<N> / 2; /* of two results */
    PLUMB_SHARED(tiles<N>, tile);
    PLUMB_SHARED(N, weights, [2][ROWS][COLUMNS + 1]);
    PLUMB_SHARED(N, part, [COLUMNS][W + 1]);
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int64_t first = (int64_t)blockIdx.y * W, blocks = p.batch * p.heads * ((p.keys + ROWS - 1) / ROWS);
    for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
        const place at = place_of(p, block, p.keys);
        const matrix<T> q = head_of<T>(p.q, at.n, at.h, p.queries, p.features), k = head_of<T>(p.k, at.n, at.h, p.keys, p.features);
        const matrix<T> v = head_of<T>(p.v, at.n, at.h, p.keys, p.values), dy = head_of<T>(p.dy, at.n, at.h, p.queries, p.values);
        N dv[W / LANES] = {}, dk[W / LANES] = {};
        for (int64_t i0 = p.causal ? at.row / COLUMNS * COLUMNS : 0; i0 < p.queries; i0 += COLUMNS) {
            N qk[2], dyv[2];
            products<T>(k, at.row, q, i0, tile, qk);
            products<T>(v, at.row, dy, i0, tile, dyv);
#pragma unroll
            for (int c = 0; c < 2; c++) {
                N w, ds;
                step_back<T>(p, at, i0 + lane + c * LANES, at.row + row, qk[c], dyv[c], &w, &ds);
                weights[0][row][lane + c * LANES] = w;
                weights[1][row][lane + c * LANES] = ds;
            }
            accumulate<T, W>(weights[0], dy, i0, first, part, dv);
            accumulate<T, W>(weights[1], q, i0, first, part, dk);
        }
        write<T, W>(p.dv, at, p.keys, p.values, first, dv);
        write<T, W>(p.dk, at, p.keys, p.features, first, dk);
    }
}

dim3 grid_of(const pk_attention *p, int64_t rows, int64_t columns, int wide)
{
    const int64_t blocks = p->batch * p->heads * ((rows + ROWS - 1) / ROWS), parts = (columns + wide - 1) / wide;
    return dim3((unsigned)(blocks > 1 << 20 ? 1 << 20 : blocks), (unsigned)(parts > 0 ? parts : 1));
}

template <class T> cudaError_t forward_of(cudaStream_t stream, const pk_attention *p)
{
    return PLUMB_LAUNCH(forward<T>, grid_of(p, p->queries, p->values, WIDE<number<T>>), THREADS, 0, stream, *p);
}

template <class T> cudaError_t backward_of(cudaStream_t stream, const pk_attention *p)
{
    const int64_t wider = p->features > p->values ? p->features : p->values, heads = p->batch * p->heads;
    cudaError_t code = cudaSuccess;
    if (heads * p->queries > 0) {
        code = PLUMB_LAUNCH(deltas<T>, blocks_for(heads * p->queries), PK_THREADS, 0, stream, *p);
        if (code == cudaSuccess) {
            code = PLUMB_LAUNCH(backward_queries<T>, grid_of(p, p->queries, p->features, WIDE<number<T>>), THREADS, 0, stream, *p);
        }
    }
    if (code == cudaSuccess && heads * p->keys > 0) {
        code = PLUMB_LAUNCH(backward_keys<T>, grid_of(p, p->keys, wider, WIDE<number<T>> / 2), THREADS, 0, stream, *p);
    }
    return code;
}

} // namespace

extern "C" cudaError_t plumb_k_attention(cudaStream_t stream, int dtype, const pk_attention *p)
{
    if (p->batch * p->heads * p->queries == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define CASE(number, type) \
    case number: return forward_of<type>(stream, p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_attention_backward(cudaStream_t stream, int dtype, const pk_attention *p)
{
    switch (dtype) {
#define CASE(number, type) \
    case number: return backward_of<type>(stream, p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}
