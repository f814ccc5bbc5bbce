/* Correct kernels for the tests of the simulator: see samples.h. */
#include "plumb_cuda.h"

#include "samples.h"

namespace {

__device__ __forceinline__ int64_t element() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }

unsigned blocks_for(int n, int each) { return (unsigned)((n + each - 1) / each); }

__global__ void scale(const float *__restrict__ x, float *__restrict__ y, int n, float a)
{
    const int64_t i = element();
    if (i < n) {
        y[i] = a * __ldg(x + i);
    }
}

__global__ void scale4(const float4 *x, float4 *y, int n, float a)
{
    const int64_t i = element();
    if (i < n) {
        const float4 v = x[i];
        y[i] = make_float4(a * v.x, a * v.y, a * v.z, a * v.w);
    }
}

__global__ void gather(sample_view x, float *y)
{
    const int64_t i = element();
    if (i < x.count) {
        y[i] = x.data[i * x.stride];
    }
}

template <int threads> __device__ float block_sum(float v)
{
    PLUMB_SHARED(float, part, [threads / 32]);
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    }
    if (threadIdx.x % 32 == 0) {
        part[threadIdx.x / 32] = v;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        v = threadIdx.x < threads / 32 ? part[threadIdx.x] : 0.0f;
        for (int offset = threads / 64; offset > 0; offset /= 2) {
            v += __shfl_down_sync(0xffffffffu, v, (unsigned)offset);
        }
    }
    __syncthreads();
    return v;
}

__global__ void __launch_bounds__(256) block_sums(const float *x, float *sums, int n)
{
    const int64_t i = element();
    const float sum = block_sum<256>(i < n ? x[i] : 0.0f);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
    }
}

/* The last block to finish adds the parts of all, in their order. */
__global__ void __launch_bounds__(256) total(const float *x, float *parts, unsigned *done, float *out, int n)
{
    PLUMB_SHARED(bool, last);
    const int64_t i = element();
    const float sum = block_sum<256>(i < n ? x[i] : 0.0f);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(done, 1u) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float all = 0.0f;
        for (unsigned b = 0; b < gridDim.x; b++) {
            all += parts[b];
        }
        *out = all;
        *done = 0;
    }
}

__global__ void matmul(const float *a, const float *b, float *c, int m, int n, int k)
{
    PLUMB_SHARED(float, at, [16][17]);
    PLUMB_SHARED(float, bt, [16][17]);
    const int row = (int)(blockIdx.y * 16 + threadIdx.y), column = (int)(blockIdx.x * 16 + threadIdx.x);
    float sum = 0.0f;
    for (int from = 0; from < k; from += 16) {
        const int ak = from + (int)threadIdx.x, bk = from + (int)threadIdx.y;
        at[threadIdx.y][threadIdx.x] = row < m && ak < k ? a[row * k + ak] : 0.0f;
        bt[threadIdx.y][threadIdx.x] = bk < k && column < n ? b[bk * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < 16; i++) {
            sum += at[threadIdx.y][i] * bt[i][threadIdx.x];
        }
        __syncthreads();
    }
    if (row < m && column < n) {
        c[row * n + column] = sum;
    }
}

template <class T> __global__ void reverse(const T *x, T *y, int n)
{
    PLUMB_DYN_SHARED(T, kept);
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = kept[n - 1 - (int)threadIdx.x];
}

/* Wrong on purpose, for the tests of what follows a fault. */
__global__ void reverse_wrong(const int *x, int *y)
{
    PLUMB_SHARED(int, kept, [100]);
    if (threadIdx.x == 99) {
        return;
    }
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = kept[98 - threadIdx.x];
}

__global__ void histogram(const unsigned char *x, unsigned *counts, int n)
{
    PLUMB_SHARED(unsigned, bins, [256]);
    bins[threadIdx.x] = 0;
    __syncthreads();
    for (int64_t i = element(); i < n; i += (int64_t)gridDim.x * blockDim.x) {
        atomicAdd(&bins[x[i]], 1u);
    }
    __syncthreads();
    atomicAdd(&counts[threadIdx.x], bins[threadIdx.x]);
}

__global__ void warp(int *out)
{
    const unsigned all = 0xffffffffu;
    const int lane = (int)threadIdx.x;
    int *mine = out + lane * 16;
    mine[0] = __shfl_sync(all, lane, 5);
    mine[1] = __shfl_sync(all, lane, 9, 8);
    mine[2] = __shfl_up_sync(all, lane, 3);
    mine[3] = __shfl_up_sync(all, lane, 1, 4);
    mine[4] = __shfl_down_sync(all, lane, 30);
    mine[5] = __shfl_down_sync(all, lane, 2, 4);
    mine[6] = __shfl_xor_sync(all, lane, 1);
    mine[7] = (int)__ballot_sync(all, lane % 3 == 0);
    mine[8] = __any_sync(all, lane == 31);
    mine[9] = __all_sync(all, lane < 31);
    mine[10] = (int)__match_any_sync(all, lane % 4);
    mine[11] = __reduce_add_sync(all, lane);
    mine[12] = __reduce_min_sync(all, lane - 7);
    mine[13] = __reduce_max_sync(all, lane);
    mine[14] = -1;
    if (lane < 16) { /* half of the warp meets by itself */
        mine[14] = (int)__shfl_sync(0xffffu, (long long)lane * 3, 15);
    }
    __syncwarp();
    mine[15] = __popc(__ballot_sync(all, 1)) + __clz(1) + __ffs(8);
}

__global__ void halves(const __half *x, __nv_bfloat16 *y, double *sum, int n)
{
    double s = 0.0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        const float v = __half2float(x[i]);
        y[i] = __float2bfloat16(v);
        s += v;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        s += __shfl_down_sync(0xffffffffu, s, (unsigned)offset);
    }
    if (threadIdx.x == 0) {
        *sum = s;
    }
}

__global__ void counts(const int *x, int *out)
{
    const int v = x[threadIdx.x], count = __syncthreads_count(v > 0), any = __syncthreads_or(v == 50),
              all = __syncthreads_and(v >= 0);
    if (threadIdx.x == 99) {
        out[0] = count;
        out[1] = any;
        out[2] = all;
    }
}

__global__ void indices(int *out)
{
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
    out[i] = (int)i;
}

__global__ void large_shared(float *out, int n)
{
    PLUMB_DYN_SHARED(float, kept);
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        kept[i] = (float)i;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        *out = kept[n - 1];
    }
}

} // namespace

cudaError_t sample_scale(cudaStream_t stream, const float *x, float *y, int n, float a)
{
    return PLUMB_LAUNCH(scale, blocks_for(n, 64), 64, 0, stream, x, y, n, a);
}

cudaError_t sample_scale4(cudaStream_t stream, const float *x, float *y, int n, float a)
{
    return PLUMB_LAUNCH(scale4, blocks_for(n / 4, 64), 64, 0, stream, reinterpret_cast<const float4 *>(x),
                        reinterpret_cast<float4 *>(y), n / 4, a);
}

cudaError_t sample_gather(cudaStream_t stream, sample_view x, float *y)
{
    return PLUMB_LAUNCH(gather, blocks_for((int)x.count, 128), 128, 0, stream, x, y);
}

cudaError_t sample_block_sums(cudaStream_t stream, const float *x, float *sums, int n)
{
    return PLUMB_LAUNCH(block_sums, blocks_for(n, 256), 256, 0, stream, x, sums, n);
}

cudaError_t sample_total(cudaStream_t stream, const float *x, float *parts, unsigned *done, float *out, int n)
{
    return PLUMB_LAUNCH(total, blocks_for(n, 256), 256, 0, stream, x, parts, done, out, n);
}

cudaError_t sample_matmul(cudaStream_t stream, const float *a, const float *b, float *c, int m, int n, int k)
{
    return PLUMB_LAUNCH(matmul, dim3(blocks_for(n, 16), blocks_for(m, 16)), dim3(16, 16), 0, stream, a, b, c, m, n, k);
}

cudaError_t sample_reverse(cudaStream_t stream, const int *x, int *y, int n)
{
    return PLUMB_LAUNCH(reverse<int>, 1, (unsigned)n, (size_t)n * sizeof(int), stream, x, y, n);
}

cudaError_t sample_reverse_wrong(cudaStream_t stream, const int *x, int *y)
{
    return PLUMB_LAUNCH(reverse_wrong, 2, 100, 0, stream, x, y);
}

cudaError_t sample_histogram(cudaStream_t stream, const unsigned char *x, unsigned *counts, int n)
{
    return PLUMB_LAUNCH(histogram, 3, 256, 0, stream, x, counts, n);
}

cudaError_t sample_warp(cudaStream_t stream, int *out) { return PLUMB_LAUNCH(warp, 1, 32, 0, stream, out); }

cudaError_t sample_halves(cudaStream_t stream, const void *f16, void *bf16, double *sum, int n)
{
    return PLUMB_LAUNCH(halves, 1, 32, 0, stream, static_cast<const __half *>(f16), static_cast<__nv_bfloat16 *>(bf16), sum,
                        n);
}

cudaError_t sample_counts(cudaStream_t stream, const int *x, int *out)
{
    return PLUMB_LAUNCH(counts, 1, 100, 0, stream, x, out);
}

cudaError_t sample_indices(cudaStream_t stream, int *out)
{
    return PLUMB_LAUNCH(indices, dim3(2, 3, 2), dim3(4, 2, 3), 0, stream, out);
}

cudaError_t sample_large_shared(cudaStream_t stream, float *out, size_t bytes)
{
    cudaError_t code = cudaFuncSetAttribute(reinterpret_cast<const void *>(large_shared),
                                            cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    return code ? code : PLUMB_LAUNCH(large_shared, 1, 64, bytes, stream, out, (int)(bytes / sizeof(float)));
}
