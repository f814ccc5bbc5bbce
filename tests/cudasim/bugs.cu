/* The bugs that the simulator must notice, each as small as it can be: see bugs.h. */
#include "planted.h"

namespace {

/* ---- kernels ---- */

__global__ void k_missing_barrier(float *y)
{
    PLUMB_SHARED(float, kept, [N]);
    kept[threadIdx.x] = (float)threadIdx.x;
    y[threadIdx.x] = kept[N - 1 - threadIdx.x];
}

__global__ void k_missing_second_barrier(const float *x, float *y)
{
    PLUMB_SHARED(float, kept, [N]);
    float sum = 0.0f;
    for (int turn = 0; turn < 2; turn++) {
        kept[threadIdx.x] = x[threadIdx.x] + (float)turn;
        __syncthreads();
        sum += kept[N - 1 - threadIdx.x];
    }
    y[threadIdx.x] = sum;
}

__global__ void k_barrier_in_branch(float *y)
{
    if (threadIdx.x < 100) {
        __syncthreads();
    }
    y[threadIdx.x] = 0.0f;
}

__global__ void k_early_return(float *y, int n)
{
    if ((int)threadIdx.x >= n) {
        return;
    }
    y[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = 2.0f;
}

__global__ void k_two_barriers(float *y)
{
    if (threadIdx.x % 2) {
        y[threadIdx.x] = 1.0f;
        __syncthreads();
    } else {
        y[threadIdx.x] = 2.0f;
        __syncthreads();
    }
}

__global__ void k_shuffle_in_branch(float *y)
{
    float v = (float)threadIdx.x;
    if (threadIdx.x < 16) {
        v += __shfl_xor_sync(ALL, v, 1);
        y[threadIdx.x] = v;
    }
}

__global__ void k_shuffle_against_barrier(float *y)
{
    float v = (float)threadIdx.x;
    if (threadIdx.x < 16) {
        v += __shfl_xor_sync(ALL, v, 1);
    }
    __syncthreads();
    y[threadIdx.x] = v;
}

__global__ void k_different_collectives(int *y)
{
    int v = 0;
    if (threadIdx.x < 16) {
        v = __any_sync(ALL, v);
    } else {
        v = (int)__ballot_sync(ALL, v);
    }
    y[threadIdx.x] = v;
}

__global__ void k_lane_not_named(float *y) { y[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0); }
__global__ void k_shuffle_width(float *y) { y[threadIdx.x] = __shfl_sync(ALL, 1.0f, 0, 12); }

__global__ void k_warp_synchronous(float *y)
{
    PLUMB_SHARED(float, kept, [32]);
    kept[threadIdx.x] = 1.0f;
    for (int offset = 16; offset > 0; offset /= 2) {
        if ((int)threadIdx.x < offset) {
            kept[threadIdx.x] += kept[threadIdx.x + (unsigned)offset];
        }
    }
    if (threadIdx.x == 0) {
        *y = kept[0];
    }
}

__global__ void k_block_order(float *y)
{
    if (threadIdx.x == 0) {
        y[blockIdx.x] = blockIdx.x ? y[blockIdx.x - 1] + 1.0f : 0.0f;
    }
}

__global__ void k_spin_wait(volatile int *flag)
{
    if (blockIdx.x == 0) {
        while (*flag != 1) {
        }
    } else {
        *flag = 1;
    }
}

__global__ void k_global(float *y, int offset) { y[(int)threadIdx.x + offset] = 1.0f; }

__global__ void k_shared_overrun(float *y)
{
    PLUMB_SHARED(float, kept, [32]);
    float *p = kept;
    p[threadIdx.x + 1] = 1.0f;
    y[threadIdx.x] = p[threadIdx.x];
}

__global__ void k_shared_index(float *y)
{
    PLUMB_SHARED(float, kept, [31]);
    kept[threadIdx.x] = 1.0f;
    y[threadIdx.x] = kept[threadIdx.x];
}

__global__ void k_dynamic(float *y)
{
    PLUMB_DYN_SHARED(float, kept);
    kept[threadIdx.x] = 1.0f;
    y[threadIdx.x] = kept[threadIdx.x];
}

__global__ void k_local_overrun(float *y, int n)
{
    float kept[8];
    for (int i = 0; i < n; i++) {
        kept[i] = (float)i;
    }
    y[threadIdx.x] = kept[threadIdx.x % 8];
}

__global__ void k_uninitialised_shared(float *y)
{
    PLUMB_SHARED(float, kept, [32]);
    if (threadIdx.x < 31) {
        kept[threadIdx.x] = 1.0f;
    }
    __syncthreads();
    y[threadIdx.x] = kept[threadIdx.x];
}

__global__ void k_shared_of_block_before(float *y)
{
    PLUMB_SHARED(float, kept, [1]);
    if (blockIdx.x == 0) {
        kept[0] = 5.0f;
    }
    y[blockIdx.x] = kept[0];
}

__global__ void k_copy(const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }
__global__ void k_vector(const float *x, float4 *y) { y[0] = *reinterpret_cast<const float4 *>(x + 1); }
__global__ void k_shift(int *y, int by) { y[threadIdx.x] = 1 << by; }

__attribute__((noinline)) float deep(const float *above, int n)
{
    volatile float kept[512];
    kept[n & 511] = *above;
    const float v = kept[n & 511];
    return n ? deep(&v, n - 1) + kept[0] : v;
}
__global__ void k_stack_overflow(float *y)
{
    const float zero = 0.0f;
    *y = deep(&zero, 100000);
}

__global__ void k_too_much_shared(float *y)
{
    PLUMB_SHARED(float, kept, [13 * 1024]);
    kept[0] = 1.0f;
    *y = kept[0];
}

__global__ void k_view(sample_view x, float *y) { *y = x.data[0]; }

} // namespace

namespace planted {

/* ---- barriers and warps ---- */

void missing_barrier()
{
    float *y = device(N);
    launch_and_wait(PLUMB_LAUNCH(k_missing_barrier, 1, N, 0, 0, y));
    need(fetch(y, N - 1) == 0.0f);
}

void missing_second_barrier()
{
    float *x = ramp(N), *y = device(N);
    launch_and_wait(PLUMB_LAUNCH(k_missing_second_barrier, 1, N, 0, 0, x, y));
    for (int i = 0; i < N; i++) {
        need(fetch(y, i) == 2.0f * (float)(N - 1 - i) + 1.0f);
    }
}

#define ONE(name, block) \
    void name() \
    { \
        float *y = device(N); \
        launch_and_wait(PLUMB_LAUNCH(k_##name, 1, block, 0, 0, y)); \
    }
ONE(barrier_in_branch, 128)
ONE(two_barriers, 64)
ONE(shuffle_in_branch, 32)
ONE(shuffle_against_barrier, 32)
ONE(lane_not_named, 32)
ONE(shuffle_width, 32)
ONE(shared_overrun, 32)
ONE(shared_index, 32)
ONE(stack_overflow, 1)
ONE(too_much_shared, 1)

void early_return()
{
    launch_and_wait(PLUMB_LAUNCH(k_early_return, 1, 64, 0, 0, device(64), 60));
}

void different_collectives()
{
    launch_and_wait(PLUMB_LAUNCH(k_different_collectives, 1, 32, 0, 0, reinterpret_cast<int *>(device(32))));
}

void warp_synchronous()
{
    float *y = device(1);
    launch_and_wait(PLUMB_LAUNCH(k_warp_synchronous, 1, 32, 0, 0, y));
    need(fetch(y, 0) == 32.0f);
}

void block_order()
{
    float *y = device(8);
    launch_and_wait(PLUMB_LAUNCH(k_block_order, 8, 32, 0, 0, y));
    need(fetch(y, 7) == 7.0f);
}

void spin_wait()
{
    launch_and_wait(PLUMB_LAUNCH(k_spin_wait, 2, 1, 0, 0, reinterpret_cast<int *>(ramp(1))));
}

/* ---- memory ---- */

void global_overrun() { launch_and_wait(PLUMB_LAUNCH(k_global, 1, N, 0, 0, device(N), 1)); }
void global_underrun() { launch_and_wait(PLUMB_LAUNCH(k_global, 1, N, 0, 0, device(N), -1)); }
void dynamic_overrun() { launch_and_wait(PLUMB_LAUNCH(k_dynamic, 1, 32, 31 * sizeof(float), 0, device(32))); }
void local_overrun() { launch_and_wait(PLUMB_LAUNCH(k_local_overrun, 1, 1, 0, 0, device(1), 9)); }

void uninitialised_shared()
{
    float *y = device(32);
    launch_and_wait(PLUMB_LAUNCH(k_uninitialised_shared, 1, 32, 0, 0, y));
    need(fetch(y, 31) == fetch(y, 31));
}

void shared_of_block_before()
{
    float *y = device(2);
    launch_and_wait(PLUMB_LAUNCH(k_shared_of_block_before, 2, 1, 0, 0, y));
    need(fetch(y, 1) == 5.0f);
}

void uninitialised_global()
{
    float *y = device(32);
    launch_and_wait(PLUMB_LAUNCH(k_copy, 1, 32, 0, 0, device(32), y));
    need(fetch(y, 0) == fetch(y, 0));
}

void misaligned_vector()
{
    launch_and_wait(PLUMB_LAUNCH(k_vector, 1, 1, 0, 0, ramp(8), reinterpret_cast<float4 *>(device(4))));
}

void wide_shift() { launch_and_wait(PLUMB_LAUNCH(k_shift, 1, 1, 0, 0, reinterpret_cast<int *>(device(1)), 32)); }

/* ---- host code ---- */

void host_pointer()
{
    float x[32] = {1.0f};
    launch_and_wait(PLUMB_LAUNCH(k_copy, 1, 32, 0, 0, x, device(32)));
}

void host_pointer_in_struct()
{
    float *x = new float[4]();
    launch_and_wait(PLUMB_LAUNCH(k_view, 1, 1, 0, 0, (sample_view{x, 4, 1}), device(1)));
    delete[] x;
}

void freed_pointer()
{
    float *x = ramp(32);
    ok(cudaFree(x));
    launch_and_wait(PLUMB_LAUNCH(k_copy, 1, 32, 0, 0, x, device(32)));
}

void freed_pointer_in_struct()
{
    float *x = ramp(32);
    ok(cudaFree(x));
    launch_and_wait(PLUMB_LAUNCH(k_view, 1, 1, 0, 0, (sample_view{x, 4, 1}), device(1)));
}

void host_reads_device() { need(ramp(4)[1] == 1.0f); }

void host_copies_device()
{
    float x[4];
    memcpy(x, ramp(4), sizeof x);
    need(x[1] == 1.0f);
}

void double_free()
{
    float *x = device(4);
    ok(cudaFree(x));
    ok(cudaFree(x));
}

void free_of_inside() { ok(cudaFree(device(4) + 1)); }
void leak() { device(4); }

void copy_overrun()
{
    float x[8] = {0.0f};
    ok(cudaMemcpy(device(4), x, sizeof x, cudaMemcpyHostToDevice));
}

void copy_direction()
{
    float x[4] = {0.0f};
    ok(cudaMemcpy(device(4), x, sizeof x, cudaMemcpyDeviceToHost));
}

void zero_grid() { ok(PLUMB_LAUNCH(k_copy, 0, 32, 0, 0, device(4), device(4))); }
void large_block() { ok(PLUMB_LAUNCH(k_copy, 1, 1025, 0, 0, device(4), device(4))); }

/* ---- streams and captures ---- */

void no_wait_for_stream()
{
    float *x = ramp(32), *to = pinned(32);
    ok(cudaMemcpyAsync(to, x, 32 * sizeof(float), cudaMemcpyDeviceToHost, stream()));
    need(to[5] == 5.0f);
}

void no_event_between_streams()
{
    float *x = ramp(32), *y = device(32), *z = device(32);
    cudaStream_t first = stream(), second = stream();
    ok(PLUMB_LAUNCH(k_copy, 1, 32, 0, first, x, y));
    ok(PLUMB_LAUNCH(k_copy, 1, 32, 0, second, y, z));
    ok(cudaStreamSynchronize(second));
    ok(cudaStreamSynchronize(first));
    need(fetch(z, 5) == 5.0f);
}

void pinned_used_again()
{
    float *from = pinned(1), *d = device(1);
    cudaStream_t s = stream();
    from[0] = 1.0f;
    ok(cudaMemcpyAsync(d, from, sizeof(float), cudaMemcpyHostToDevice, s));
    from[0] = 2.0f;
    ok(cudaStreamSynchronize(s));
    need(fetch(d, 0) == 1.0f);
}

void wait_in_capture()
{
    cudaStream_t s = stream();
    ok(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    ok(cudaStreamSynchronize(s));
}

void malloc_in_capture()
{
    cudaStream_t s = stream();
    ok(cudaStreamBeginCapture(s, cudaStreamCaptureModeGlobal));
    device(4);
}

} // namespace planted

void sample_bug(int number)
{
    static void (*const bugs[])() = {
#define BUG(name, options, plain, asan, checker) planted::name,
#include "bugs.h"
    };
    bugs[number]();
}
