/* Matrix products of bf16 and f16 on the tensor cores. A block makes a tile of C; slabs of A and B, 32 terms deep, lie in
 * shared memory as pairs of neighbouring terms, which is what a fragment's register holds, whatever the operands'
 * strides. While a slab is multiplied the next one is on its way in registers.
 *
 * A line of a slab is 16 pairs and takes 20 words: then the 32 lanes that read a fragment (8 lines, 4 pairs) meet 32
 * different banks. Terms are added in order, 16 at a time, whatever the grid. */
#include "activation.cuh"
#include "mma.cuh"
#include "tile.cuh"

namespace {

enum { PK_PAIRS = 16, PK_PITCH = 20, PK_DEPTH = 2 * PK_PAIRS };

/* What a thread brings of a slab: PER pairs of raw elements of `lines` x `depth`, zeros beyond. */
template <int PER> struct slab_part {
    uint32_t pair[PER];
};

__device__ inline uint32_t bits_of(bf16 x) { return __bfloat16_as_ushort(x); }
__device__ inline uint32_t bits_of(f16 x) { return __half_as_ushort(x); }

struct pair_place {
    int line, pair;
};

/* Lanes run along the terms where these are neighbours in memory; else 16 lines side by side, two pairs each, which
 * fills the sectors that are read and makes no more than two lanes store to one bank. */
template <int LINES, int THREADS> __device__ inline pair_place pair_of(int r, bool along_k)
{
    const int e = (int)threadIdx.x + THREADS * r;
    if (along_k) {
        return {e / PK_PAIRS, e % PK_PAIRS};
    }
    const int group = e / 32;
    return {group % (LINES / 16) * 16 + e % 16, group / (LINES / 16) * 2 + e / 16 % 2};
}

/* `whole`: two neighbouring terms may be read as one word. */
template <int LINES, int THREADS, int PER>
__device__ inline void fetch(slab_part<PER> &to, const uint16_t *from, int64_t first, int64_t lines, int64_t depth,
                             int64_t line_stride, int64_t k_stride, bool along_k, bool whole)
{
#pragma unroll
    for (int r = 0; r < PER; r++) {
        const pair_place at = pair_of<LINES, THREADS>(r, along_k);
        const int64_t k = 2 * at.pair, place = first + at.line * line_stride + k * k_stride;
        uint32_t pair = 0;
        if (at.line < lines && k + 1 < depth) {
            pair = whole ? *reinterpret_cast<const uint32_t *>(from + place)
                         : from[place] | (uint32_t)from[place + k_stride] << 16;
        } else if (at.line < lines && k < depth) {
            pair = from[place];
        }
        to.pair[r] = pair;
    }
}

template <int LINES, int THREADS, int PER>
__device__ inline void put(uint32_t (&to)[LINES][PK_PITCH], const slab_part<PER> &from, bool along_k)
{
#pragma unroll
    for (int r = 0; r < PER; r++) {
        const pair_place at = pair_of<LINES, THREADS>(r, along_k);
        to[at.line][at.pair] = from.pair[r];
    }
}

/* Each warp has MI x NI fragments of C, 16 x 8 each, from row `row` and column `column` of the tile on. */
template <class T, int MI, int NI, int ROWS, int COLUMNS>
__device__ inline void multiply_slabs(const uint32_t (&left)[ROWS][PK_PITCH], const uint32_t (&right)[COLUMNS][PK_PITCH],
                                      int row, int column, float (&sum)[MI][NI][4])
{
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < PK_PAIRS; k += 8) {
        uint32_t a[MI][4], b[NI][2];
#pragma unroll
        for (int i = 0; i < MI; i++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                a[i][e] = left[row + 16 * i + g + e % 2 * 8][k + t + e / 2 * 4];
            }
        }
#pragma unroll
        for (int j = 0; j < NI; j++) {
            b[j][0] = right[column + 8 * j + g][k + t];
            b[j][1] = right[column + 8 * j + g][k + t + 4];
        }
#pragma unroll
        for (int i = 0; i < MI; i++) {
#pragma unroll
            for (int j = 0; j < NI; j++) {
                mma<T>(sum[i][j], a[i], b[j]);
            }
        }
    }
}

__device__ inline bool even_and_aligned(const void *data, int64_t first, int64_t line_stride, int64_t k_stride)
{
    return k_stride == 1 && line_stride % 2 == 0 && (reinterpret_cast<uintptr_t>(data) / 2 + (uint64_t)first) % 2 == 0;
}

/* Two neighbouring results, in one word where they can be: sectors are half filled otherwise. */
template <class T> __device__ inline void put_pair(const pk_matmul &p, T *c, int64_t y, int64_t x, float left, float right)
{
    const T *bias = (const T *)p.bias;
    T *to = c + y * p.c_row + x * p.c_column;
    const bool in = y < p.rows && x < p.columns, both = in && x + 1 < p.columns;
    if (bias && in) {
        left += load(bias[y * p.bias_row + x * p.bias_column]);
        right += both ? load(bias[y * p.bias_row + (x + 1) * p.bias_column]) : 0;
    }
    const T first = store<T>(activated(p.activation, left)), second = store<T>(activated(p.activation, right));
    if (both && p.c_column == 1 && reinterpret_cast<uintptr_t>(to) % 4 == 0) {
        *reinterpret_cast<uint32_t *>(to) = bits_of(first) | bits_of(second) << 16;
    } else if (in) {
        *to = first;
        if (both) {
            to[p.c_column] = second;
        }
    }
}

/* WM x WN warps, so that a tile is 16 MI WM x 8 NI WN. */
template <class T, int MI, int NI, int WM, int WN>
__global__ void __launch_bounds__(32 * WM * WN) matmul_fragments(const pk_matmul p, int64_t tiles)
{
    constexpr int ROWS = 16 * MI * WM, COLUMNS = 8 * NI * WN, THREADS = 32 * WM * WN;
    constexpr int A_PER = ROWS * PK_PAIRS / THREADS, B_PER = COLUMNS * PK_PAIRS / THREADS;
    PLUMB_SHARED(uint32_t, left, [ROWS][PK_PITCH]);
    PLUMB_SHARED(uint32_t, right, [COLUMNS][PK_PITCH]);
    const int64_t across = pieces(p.columns, COLUMNS), down = pieces(p.rows, ROWS);
    const int warp = (int)threadIdx.x / 32, row = warp / WN * (16 * MI), column = warp % WN * (8 * NI);
    const bool a_along_k = nearer(p.a_inner, p.a_row), b_along_k = nearer(p.b_inner, p.b_column);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int64_t column0 = tile % across * COLUMNS, row0 = tile / across % down * ROWS;
        int64_t at[3];
        walk_at<3>(p.batch, tile / across / down, at);
        const uint16_t *a = (const uint16_t *)p.batch.data[0], *b = (const uint16_t *)p.batch.data[1];
        const int64_t a_first = at[0] + row0 * p.a_row, b_first = at[1] + column0 * p.b_column;
        const bool a_whole = even_and_aligned(a, a_first, p.a_row, p.a_inner);
        const bool b_whole = even_and_aligned(b, b_first, p.b_column, p.b_inner);
        slab_part<A_PER> a_part;
        slab_part<B_PER> b_part;
        float sum[MI][NI][4] = {};
        fetch<ROWS, THREADS>(a_part, a, a_first, p.rows - row0, p.inner, p.a_row, p.a_inner, a_along_k, a_whole);
        fetch<COLUMNS, THREADS>(b_part, b, b_first, p.columns - column0, p.inner, p.b_column, p.b_inner, b_along_k, b_whole);
        for (int64_t k = 0; k < p.inner; k += PK_DEPTH) {
            put<ROWS, THREADS>(left, a_part, a_along_k);
            put<COLUMNS, THREADS>(right, b_part, b_along_k);
            __syncthreads();
            const int64_t next = k + PK_DEPTH;
            if (next < p.inner) {
                fetch<ROWS, THREADS>(a_part, a, a_first + next * p.a_inner, p.rows - row0, p.inner - next, p.a_row,
                                     p.a_inner, a_along_k, a_whole);
                fetch<COLUMNS, THREADS>(b_part, b, b_first + next * p.b_inner, p.columns - column0, p.inner - next,
                                        p.b_column, p.b_inner, b_along_k, b_whole);
            }
            multiply_slabs<T>(left, right, row, column, sum);
            __syncthreads();
        }
        T *c = (T *)p.batch.data[2];
        const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < MI; i++) {
#pragma unroll
            for (int j = 0; j < NI; j++) {
#pragma unroll
                for (int e = 0; e < 4; e += 2) {
                    const int64_t y = row0 + row + 16 * i + g + e * 4, x = column0 + column + 8 * j + 2 * t;
                    put_pair(p, c + at[2], y, x, sum[i][j][e], sum[i][j][e + 1]);
                }
            }
        }
    }
}

template <class T, int MI, int NI, int WM, int WN> cudaError_t launch_fragments(cudaStream_t stream, const pk_matmul *p)
{
    const int64_t tiles = pieces(p->rows, 16 * MI * WM) * pieces(p->columns, 8 * NI * WN) * p->batch.count;
    return tiles == 0 ? cudaSuccess
                      : PLUMB_LAUNCH((matmul_fragments<T, MI, NI, WM, WN>), blocks_for_tiles(tiles), 32 * WM * WN, 0,
                                     stream, *p, tiles);
}

/* 64 x 64, or 128 x 128 where there are enough of those for a GPU. */
template <class T> cudaError_t matmul_halves(cudaStream_t stream, const pk_matmul *p)
{
    const int64_t large = p->rows / 128 * (p->columns / 128) * p->batch.count;
    return large >= 128 ? launch_fragments<T, 4, 4, 2, 4>(stream, p) : launch_fragments<T, 2, 4, 2, 2>(stream, p);
}

} // namespace

extern "C" cudaError_t plumb_k_matmul_tensor(cudaStream_t stream, int dtype, const pk_matmul *p)
{
    switch (dtype) {
    case PK_BF16: return matmul_halves<bf16>(stream, p);
    case PK_F16: return matmul_halves<f16>(stream, p);
    default: return cudaErrorInvalidValue;
    }
}
