/* Sorting positions by the place they belong to, so that a thread finds what falls on its element in one run and in order: a
 * stable radix sort, 8 bits a pass, of integers only. The result depends on nothing but the keys. */
#ifndef PLUMB_ENTRIES_CUH
#define PLUMB_ENTRIES_CUH

#include "number.cuh"

namespace {

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, ROUNDS = 8, TILE = PK_THREADS * ROUNDS, WARPS = PK_THREADS / 32 };

static_assert((int)DIGITS == (int)PK_THREADS, "a thread looks after a digit");

struct entry {
    int64_t key, position;
};

__device__ inline int digit_of(int64_t key, int shift) { return (int)(key >> shift) & (DIGITS - 1); }

/* counts[digit * tiles + tile]: how many of the tile's entries have the digit. */
__global__ void __launch_bounds__(PK_THREADS) count_digits(const entry *from, int64_t count, int shift, int64_t *counts)
{
    PLUMB_SHARED(int, seen, [DIGITS]);
    int64_t tiles = (count + TILE - 1) / TILE;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        seen[threadIdx.x] = 0;
        __syncthreads();
        for (int round = 0; round < ROUNDS; round++) {
            int64_t i = tile * TILE + round * PK_THREADS + threadIdx.x;
            if (i < count) {
                atomicAdd(&seen[digit_of(from[i].key, shift)], 1);
            }
        }
        __syncthreads();
        counts[(int64_t)threadIdx.x * tiles + tile] = seen[threadIdx.x];
        __syncthreads();
    }
}

/* Inclusive sum over the block; *total is that of all. */
__device__ inline int64_t block_scan(int64_t mine, int64_t *total)
{
    PLUMB_SHARED(long long, sums, [WARPS]);
    int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32);
    for (int step = 1; step < 32; step *= 2) {
        long long before = __shfl_up_sync(0xffffffffu, (long long)mine, step);
        mine += lane >= step ? before : 0;
    }
    if (lane == 31) {
        sums[warp] = mine;
    }
    __syncthreads();
    *total = 0;
    int64_t earlier = 0;
    for (int w = 0; w < WARPS; w++) {
        earlier += w < warp ? sums[w] : 0;
        *total += sums[w];
    }
    __syncthreads();
    return mine + earlier;
}

/* counts -> where each (digit, tile) begins; one block walks over all of them, as they are few: a word for every eight
 * entries. */
__global__ void __launch_bounds__(PK_THREADS) begin_digits(int64_t *counts, int64_t length)
{
    int64_t begun = 0;
    for (int64_t base = 0; base < length; base += PK_THREADS) {
        int64_t i = base + threadIdx.x, mine = i < length ? counts[i] : 0, total;
        int64_t up_to = block_scan(mine, &total);
        if (i < length) {
            counts[i] = begun + up_to - mine;
        }
        begun += total;
    }
}

/* Entries go to their places in the order they come: round by round, warp by warp, lane by lane. */
__global__ void __launch_bounds__(PK_THREADS)
    move_entries(const entry *from, entry *to, int64_t count, int shift, const int64_t *begins)
{
    PLUMB_SHARED(int, here, [WARPS][DIGITS]); /* of this round, by warp */
    PLUMB_SHARED(long long, next, [DIGITS]);
    int64_t tiles = (count + TILE - 1) / TILE;
    int lane = (int)(threadIdx.x % 32), warp = (int)(threadIdx.x / 32);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        next[threadIdx.x] = begins[(int64_t)threadIdx.x * tiles + tile];
        for (int round = 0; round < ROUNDS; round++) {
            for (int w = 0; w < WARPS; w++) {
                here[w][threadIdx.x] = 0;
            }
            __syncthreads();
            int64_t i = tile * TILE + round * PK_THREADS + threadIdx.x;
            entry mine = i < count ? from[i] : entry{0, 0};
            int digit = i < count ? digit_of(mine.key, shift) : DIGITS; /* DIGITS: no entry */
            unsigned peers = __match_any_sync(0xffffffffu, digit);
            int before = __popc(peers & ((1u << lane) - 1));
            if (i < count && before == 0) {
                here[warp][digit] = __popc(peers);
            }
            __syncthreads();
            if (i < count) {
                int64_t place = next[digit] + before;
                for (int w = 0; w < warp; w++) {
                    place += here[w][digit];
                }
                to[place] = mine;
            }
            __syncthreads();
            for (int w = 0; w < WARPS; w++) {
                next[threadIdx.x] += here[w][threadIdx.x];
            }
            __syncthreads();
        }
    }
}

/* Of the workspace, in bytes; what follows `end` is the user's. */
struct entries_layout {
    int64_t tiles;
    size_t entries[2], counts, end;
};

inline entries_layout entries_layout_of(int64_t count)
{
    entries_layout l;
    l.tiles = (count + TILE - 1) / TILE;
    l.entries[0] = 0;
    l.entries[1] = (size_t)count * sizeof(entry);
    l.counts = 2 * l.entries[1];
    l.end = l.counts + (size_t)l.tiles * DIGITS * sizeof(int64_t);
    return l;
}

/* Sorts the entries that lie at the workspace's beginning, whose keys are 0 .. bound; *sorted is where they are then. */
inline cudaError_t sort_entries(cudaStream_t stream, void *workspace, int64_t count, int64_t bound, entry **sorted)
{
    entries_layout l = entries_layout_of(count);
    unsigned char *base = (unsigned char *)workspace;
    entry *from = (entry *)(base + l.entries[0]), *to = (entry *)(base + l.entries[1]);
    int64_t *counts = (int64_t *)(base + l.counts);
    unsigned blocks = blocks_for(l.tiles * PK_THREADS);
    cudaError_t code = cudaSuccess;
    for (int shift = 0; code == cudaSuccess && shift < 63 && bound >> shift != 0; shift += DIGIT_BITS) {
        code = PLUMB_LAUNCH(count_digits, blocks, PK_THREADS, 0, stream, from, count, shift, counts);
        if (code == cudaSuccess) {
            code = PLUMB_LAUNCH(begin_digits, 1, PK_THREADS, 0, stream, counts, l.tiles * DIGITS);
        }
        if (code == cudaSuccess) {
            code = PLUMB_LAUNCH(move_entries, blocks, PK_THREADS, 0, stream, from, to, count, shift, counts);
        }
        entry *other = from;
        from = to;
        to = other;
    }
    *sorted = from;
    return code;
}

/* The first of `count` sorted entries whose key is k or more. */
__device__ inline int64_t first_entry(const entry *sorted, int64_t count, int64_t k)
{
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (sorted[middle].key < k) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

} // namespace

#endif
