/* Planted bugs whose results are right here, whatever the order of threads, blocks and streams: only the checker build
 * can tell. See bugs.h. */
#include "planted.h"

namespace planted {

int variable_of_the_host = 7; /* others might change it */

} // namespace planted

namespace {

__global__ void k_counter(unsigned *n) { *n += 1; }

__global__ void k_counter_read(unsigned *n, unsigned *y)
{
    atomicAdd(n, 1u);
    y[threadIdx.x] = *n > 0; /* others add meanwhile */
}

template <bool BEFORE, bool AFTER> __global__ void k_last_block(float *parts, unsigned *done, float *total)
{
    parts[blockIdx.x] = 1.0f;
    if (BEFORE) {
        __threadfence();
    }
    if (atomicAdd(done, 1u) != gridDim.x - 1) {
        return;
    }
    if (AFTER) {
        __threadfence();
    }
    float sum = 0.0f;
    for (unsigned i = 0; i < gridDim.x; i++) {
        sum += parts[i];
    }
    *total = sum;
}

/* __syncwarp where two warps share. */
__global__ void k_warp_barrier(float *y)
{
    PLUMB_SHARED(float, kept, [64]);
    kept[threadIdx.x] = 1.0f;
    __syncwarp();
    if (threadIdx.x >= 32) { /* the first warp ran before */
        y[threadIdx.x] = kept[threadIdx.x - 32];
    }
}

/* A shuffle is no barrier for memory. */
__global__ void k_shuffle(float *y)
{
    PLUMB_SHARED(float, kept, [32]);
    kept[threadIdx.x] = 1.0f;
    const float other = __shfl_xor_sync(ALL, 1.0f, 1);
    y[threadIdx.x] = kept[threadIdx.x ^ 1] + other;
}

__global__ void k_one_place(float *y) { *y = 1.0f; }

__global__ void k_half_and_whole(unsigned *y)
{
    if (threadIdx.x == 0) {
        *y = 0x00010001u;
    } else {
        *(reinterpret_cast<unsigned short *>(y) + 1) = 1;
    }
}

__global__ void k_byte(unsigned char *y) { y[threadIdx.x / 2] = 1; }

/* Threads come in order: each reads its neighbour's before that is written. */
__global__ void k_shift_down(float *x)
{
    if (threadIdx.x + 1 < blockDim.x) {
        x[threadIdx.x] = x[threadIdx.x + 1];
    }
}

/* All but the last thread only read. */
__global__ void k_read_then_write(float *x, float *y)
{
    y[threadIdx.x] = x[0];
    if (threadIdx.x == blockDim.x - 1) {
        x[0] = 5.0f;
    }
}

__global__ void k_blocks_read_then_write(float *x, float *y)
{
    y[blockIdx.x] = x[0];
    if (blockIdx.x == gridDim.x - 1) {
        x[0] = 5.0f;
    }
}

__global__ void k_ignored(const unsigned *x, unsigned *y, unsigned mask) { y[threadIdx.x] = x[threadIdx.x] & mask; }
__global__ void k_write_half(unsigned short *x) { x[2 * threadIdx.x] = 1; }

__global__ void k_gap(float *y)
{
    PLUMB_SHARED(float, first, [4]);
    PLUMB_SHARED(float, second, [4]);
    float *p = first;
    p[threadIdx.x + 1] = second[threadIdx.x] = 1.0f;
    y[threadIdx.x] = second[threadIdx.x];
}

__global__ void k_local(float *y)
{
    PLUMB_SHARED(float *, whose, );
    volatile float mine = (float)threadIdx.x;
    if (threadIdx.x == 0) {
        whose = const_cast<float *>(&mine);
    }
    __syncthreads();
    y[threadIdx.x] = *whose;
    __syncthreads();
}

__global__ void k_variable(int *y) { y[threadIdx.x] = variable_of_the_host; }

__global__ void k_columns(float *y)
{
    PLUMB_SHARED(float, tile, [32][32]);
    tile[threadIdx.x][0] = 1.0f;
    y[threadIdx.x] = 1.0f;
}

__global__ void k_strided(float *y) { y[threadIdx.x * 32] = 1.0f; }

__global__ void k_move(const float *x, float *y) { y[threadIdx.x] = x[threadIdx.x]; }

unsigned *words(int n) { return reinterpret_cast<unsigned *>(device(n)); }

unsigned *zeros(int n)
{
    unsigned *p = words(n);
    ok(cudaMemset(p, 0, (size_t)n * sizeof(unsigned)));
    return p;
}

} // namespace

namespace planted {

void counter_without_atomic() { launch_and_wait(PLUMB_LAUNCH(k_counter, 1, N, 0, 0, zeros(1))); }
void counter_read_between_atomics() { launch_and_wait(PLUMB_LAUNCH(k_counter_read, 1, 32, 0, 0, zeros(1), words(32))); }

void missing_fence()
{
    launch_and_wait(PLUMB_LAUNCH((k_last_block<false, true>), 8, 1, 0, 0, device(8), zeros(1), device(1)));
}

void fence_on_one_side()
{
    launch_and_wait(PLUMB_LAUNCH((k_last_block<true, false>), 8, 1, 0, 0, device(8), zeros(1), device(1)));
}

void barrier_of_a_warp_only() { launch_and_wait(PLUMB_LAUNCH(k_warp_barrier, 1, 64, 0, 0, device(64))); }
void shuffle_as_barrier() { launch_and_wait(PLUMB_LAUNCH(k_shuffle, 1, 32, 0, 0, device(32))); }
void blocks_write_one_place() { launch_and_wait(PLUMB_LAUNCH(k_one_place, 2, 1, 0, 0, device(1))); }
void half_and_whole() { launch_and_wait(PLUMB_LAUNCH(k_half_and_whole, 1, 2, 0, 0, words(1))); }

void byte_by_two()
{
    launch_and_wait(PLUMB_LAUNCH(k_byte, 1, 8, 0, 0, reinterpret_cast<unsigned char *>(words(1))));
}

void written_after_read() { launch_and_wait(PLUMB_LAUNCH(k_shift_down, 1, 33, 0, 0, ramp(33))); }
void read_by_many_then_written() { launch_and_wait(PLUMB_LAUNCH(k_read_then_write, 1, 64, 0, 0, ramp(1), device(64))); }

void read_by_blocks_then_written()
{
    launch_and_wait(PLUMB_LAUNCH(k_blocks_read_then_write, 3, 1, 0, 0, ramp(1), device(3)));
}

void unwritten_but_ignored() { launch_and_wait(PLUMB_LAUNCH(k_ignored, 1, 8, 0, 0, words(8), words(8), 0u)); }

void unwritten_half()
{
    unsigned *x = words(8);
    launch_and_wait(PLUMB_LAUNCH(k_write_half, 1, 8, 0, 0, reinterpret_cast<unsigned short *>(x)));
    launch_and_wait(PLUMB_LAUNCH(k_ignored, 1, 8, 0, 0, x, words(8), 0xffffu));
}

void unwritten_copied()
{
    unsigned *x = words(8), *copy = zeros(8);
    ok(cudaMemcpy(copy, x, 8 * sizeof *x, cudaMemcpyDeviceToDevice));
    launch_and_wait(PLUMB_LAUNCH(k_ignored, 1, 8, 0, 0, copy, words(8), 0u));
}

void unwritten_fetched() { fetch(device(8), 3); }
void shared_gap() { launch_and_wait(PLUMB_LAUNCH(k_gap, 1, 4, 0, 0, device(4))); }
void local_of_other_thread() { launch_and_wait(PLUMB_LAUNCH(k_local, 1, 32, 0, 0, device(32))); }

void variable_of_host()
{
    launch_and_wait(PLUMB_LAUNCH(k_variable, 1, 4, 0, 0, reinterpret_cast<int *>(device(4))));
}

/* Each runs at once, so that the order is the one that was meant. */

void no_event_by_luck()
{
    float *x = ramp(32), *y = device(32), *z = device(32);
    cudaStream_t first = stream(), second = stream();
    ok(PLUMB_LAUNCH(k_move, 1, 32, 0, first, x, y));
    launch_and_wait(PLUMB_LAUNCH(k_move, 1, 32, 0, second, y, z));
}

void copy_beside_kernel()
{
    float *x = ramp(32), *y = device(32), *to = pinned(32);
    ok(PLUMB_LAUNCH(k_move, 1, 32, 0, stream(), x, y));
    ok(cudaMemcpyAsync(to, y, 32 * sizeof(float), cudaMemcpyDeviceToHost, stream()));
}

void fill_beside_kernel()
{
    float *x = ramp(32), *y = device(32);
    ok(PLUMB_LAUNCH(k_move, 1, 32, 0, stream(), x, y));
    ok(cudaMemsetAsync(x, 0, 32 * sizeof(float), stream()));
}

/* The event is recorded before what it should cover. */
void event_of_work_before()
{
    float *x = ramp(32), *y = device(32), *z = device(32);
    cudaStream_t first = stream(), second = stream();
    cudaEvent_t event = nullptr;
    ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    ok(cudaEventRecord(event, first));
    ok(PLUMB_LAUNCH(k_move, 1, 32, 0, first, x, y));
    ok(cudaStreamWaitEvent(second, event, 0));
    launch_and_wait(PLUMB_LAUNCH(k_move, 1, 32, 0, second, y, z));
}

void bank_conflict()
{
    launch_and_wait(PLUMB_LAUNCH(k_columns, 1, 32, 0, 0, device(32)));
    exit(4); /* the lint is written at exit */
}

void strided_access()
{
    launch_and_wait(PLUMB_LAUNCH(k_strided, 1, 32, 0, 0, device(1024)));
    exit(4);
}

} // namespace planted
