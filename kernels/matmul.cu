/* Matrix products over the last two dimensions, the leading ones broadcast, any strides: a transposed operand is one
 * with its strides exchanged. Two sizes of tiles; which one depends on shapes only. */
#include "activation.cuh"
#include "tile.cuh"

namespace {

/* `lines` x `depth` elements from element `first` on become a slab, zeros beyond. */
template <class T, class N, int PER>
__device__ inline void fetch(slab<N, PER> &to, const T *from, int64_t first, int64_t lines, int64_t depth,
                             int64_t line_stride, int64_t k_stride, bool along_k)
{
#pragma unroll
    for (int r = 0; r < PER; r++) {
        int k, line;
        slab_place<PER>(r, along_k, &k, &line);
        to[k][line] = line < lines && k < depth ? load(from[first + line * line_stride + k * k_stride]) : (N)0;
    }
}

template <class T, int TM, int TN>
__global__ void __launch_bounds__(PK_TILE_THREADS) matmul_tiles(const pk_matmul p, int64_t tiles)
{
    typedef number<T> N;
    PLUMB_SHARED(N, left, [PK_TILE_K][PK_SIDE * TM + PK_PAD<N>]);
    PLUMB_SHARED(N, right, [PK_TILE_K][PK_SIDE * TN + PK_PAD<N>]);
    const int64_t across = pieces(p.columns, PK_SIDE * TN), down = pieces(p.rows, PK_SIDE * TM);
    const bool a_along_k = nearer(p.a_inner, p.a_row), b_along_k = nearer(p.b_inner, p.b_column);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int64_t column0 = tile % across * (PK_SIDE * TN), row0 = tile / across % down * (PK_SIDE * TM);
        int64_t at[3];
        walk_at<3>(p.batch, tile / across / down, at);
        const T *a = (const T *)p.batch.data[0], *b = (const T *)p.batch.data[1];
        T *c = (T *)p.batch.data[2];
        const int64_t a_first = at[0] + row0 * p.a_row, b_first = at[1] + column0 * p.b_column;
        N sum[TM][TN];
        clear<N, TM, TN>(sum);
        for (int64_t k = 0; k < p.inner; k += PK_TILE_K) {
            fetch<T, N, TM>(left, a, a_first + k * p.a_inner, p.rows - row0, p.inner - k, p.a_row, p.a_inner,
                            a_along_k);
            fetch<T, N, TN>(right, b, b_first + k * p.b_inner, p.columns - column0, p.inner - k, p.b_column,
                            p.b_inner, b_along_k);
            __syncthreads();
            multiply<N, TM, TN, false>(left, right, sum);
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < TM; i++) {
            const int64_t row = row0 + (int)threadIdx.x / PK_SIDE * TM + i;
#pragma unroll
            for (int j = 0; j < TN; j++) {
                const int64_t column = column0 + (int)threadIdx.x % PK_SIDE + PK_SIDE * j;
                if (row < p.rows && column < p.columns) {
                    const T *bias = (const T *)p.bias;
                    const N plus = bias ? load(bias[row * p.bias_row + column * p.bias_column]) : (N)0;
                    c[at[2] + row * p.c_row + column * p.c_column] = store<T>(activated(p.activation, sum[i][j] + plus));
                }
            }
        }
    }
}

template <class T, int TM, int TN> cudaError_t launch_tiles(cudaStream_t stream, const pk_matmul *p)
{
    const int64_t tiles = pieces(p->rows, PK_SIDE * TM) * pieces(p->columns, PK_SIDE * TN) * p->batch.count;
    return tiles == 0 ? cudaSuccess
                      : PLUMB_LAUNCH((matmul_tiles<T, TM, TN>), blocks_for_tiles(tiles), PK_TILE_THREADS, 0, stream, *p,
                                     tiles);
}

/* Large tiles read each operand half as often, but are worth it only where there are enough of them for a GPU. */
template <class T> cudaError_t matmul_of(cudaStream_t stream, const pk_matmul *p)
{
    const int64_t large = p->rows / 128 * (p->columns / 128) * p->batch.count;
    return large >= 128 ? launch_tiles<T, 8, 8>(stream, p) : launch_tiles<T, 4, 4>(stream, p);
}
/* Halves go to the tensor cores. */
template <> cudaError_t matmul_of<bf16>(cudaStream_t stream, const pk_matmul *p)
{
    return plumb_k_matmul_tensor(stream, PK_BF16, p);
}
template <> cudaError_t matmul_of<f16>(cudaStream_t stream, const pk_matmul *p)
{
    return plumb_k_matmul_tensor(stream, PK_F16, p);
}
/* In f64 the large tile would not leave its threads enough registers. */
template <> cudaError_t matmul_of<double>(cudaStream_t stream, const pk_matmul *p)
{
    return launch_tiles<double, 4, 4>(stream, p);
}

} // namespace

extern "C" cudaError_t plumb_k_matmul(cudaStream_t stream, int dtype, const pk_matmul *p)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return matmul_of<T>(stream, p);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
