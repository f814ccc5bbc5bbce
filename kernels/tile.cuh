/* The matrix product that matmul and the convolutions share: a block of 256 threads, 16 by 16, makes a tile of
 * 16 TM x 16 TN results, each thread TM x TN of them, from slabs of PK_TILE_K terms that lie in shared memory in the
 * accumulator's type. How a slab gets there is the caller's affair. Terms are added in order, whatever the grid. */
#ifndef PLUMB_TILE_CUH
#define PLUMB_TILE_CUH

#include "number.cuh"

namespace {

enum { PK_TILE_K = 16, PK_SIDE = 16, PK_TILE_THREADS = PK_SIDE * PK_SIDE };

/* A slab is [PK_TILE_K][PK_SIDE * PER + PK_PAD<N>]: 16 bytes of padding keep rows on different banks, but for two each
 * when a warp stores along k, and aligned for the widest loads. */
template <class N> constexpr int PK_PAD = 16 / sizeof(N);
template <class N, int PER> using slab = N[PK_TILE_K][PK_SIDE * PER + PK_PAD<N>];

/* A place of the right operand where there is nothing to multiply with (padding of a picture): not even a left factor
 * that is infinite or not a number counts there. It is a not-a-number with a payload of its own; those of the data
 * are given the usual one when they are loaded. */
__device__ inline float hole(float) { return __int_as_float(0x7fc5a5a5); }
__device__ inline double hole(double) { return __longlong_as_double(0x7ff85a5a5a5a5a5all); }
__device__ inline bool is_hole(float x) { return __float_as_int(x) == 0x7fc5a5a5; }
__device__ inline bool is_hole(double x) { return __double_as_longlong(x) == 0x7ff85a5a5a5a5a5all; }
__device__ inline float no_hole(float x) { return x != x ? __int_as_float(0x7fc00000) : x; }
__device__ inline double no_hole(double x) { return x != x ? __longlong_as_double(0x7ff8000000000000ll) : x; }

/* sum += left right over one slab. Thread (row, column) has rows row TM.. and columns column, column + 16, ..: reads of
 * `left` are the same for half a warp, reads of `right` and stores of results lie side by side. */
template <class N, int TM, int TN, bool HOLES>
__device__ inline void multiply(const slab<N, TM> &left, const slab<N, TN> &right, N (&sum)[TM][TN])
{
    const int row = (int)threadIdx.x / PK_SIDE, column = (int)threadIdx.x % PK_SIDE;
#pragma unroll
    for (int k = 0; k < PK_TILE_K; k++) {
        N a[TM], b[TN];
#pragma unroll
        for (int i = 0; i < TM; i++) {
            a[i] = left[k][row * TM + i];
        }
#pragma unroll
        for (int j = 0; j < TN; j++) {
            b[j] = right[k][column + PK_SIDE * j];
        }
#pragma unroll
        for (int j = 0; j < TN; j++) {
            if (!HOLES || !is_hole(b[j])) {
#pragma unroll
                for (int i = 0; i < TM; i++) {
                    sum[i][j] += a[i] * b[j];
                }
            }
        }
    }
}

/* Which element of a slab this thread brings in its r-th turn: neighbouring threads run along k, or across lines (rows
 * of the left operand, columns of the right one). */
template <int PER> __device__ inline void slab_place(int r, bool along_k, int *k, int *line)
{
    const int e = (int)threadIdx.x + PK_TILE_THREADS * r;
    *k = along_k ? e % PK_TILE_K : e / (PK_SIDE * PER);
    *line = along_k ? e / PK_TILE_K : e % (PK_SIDE * PER);
}

template <class N, int TM, int TN> __device__ inline void clear(N (&sum)[TM][TN])
{
#pragma unroll
    for (int i = 0; i < TM; i++) {
#pragma unroll
        for (int j = 0; j < TN; j++) {
            sum[i][j] = 0;
        }
    }
}

/* Which of two strides keeps neighbours closer together. */
__device__ inline bool nearer(int64_t a, int64_t b) { return (a < 0 ? -a : a) < (b < 0 ? -b : b); }

__host__ __device__ inline int64_t pieces(int64_t count, int64_t each) { return (count + each - 1) / each; }

/* Blocks for so many tiles; beyond the limit a block makes several. */
inline unsigned blocks_for_tiles(int64_t tiles) { return (unsigned)(tiles > 1 << 30 ? 1 << 30 : tiles); }

} // namespace

/* matmul_tensor.cu: bf16 and f16 on the tensor cores. */
extern "C" cudaError_t plumb_k_matmul_tensor(cudaStream_t stream, int dtype, const pk_matmul *p);

#endif
