/* Lookup by index, the scatter-add that undoes it, and one-hot vectors. Lookup moves bits. The scatter-add sorts the
 * positions by their index (a stable radix sort, 8 bits a pass: integers only), after which each element of the result
 * adds up its own terms in the order of the positions: no float atomics, the same bits every time, and work that grows
 * with the number of indices rather than with its square. */
#include "fault.cuh"
#include "number.cuh"

namespace {

__device__ inline int64_t index_at(const void *indices, int32_t dtype, int64_t at)
{
    return dtype == PK_I32 ? ((const int32_t *)indices)[at] : ((const int64_t *)indices)[at];
}

__device__ inline bool within(int64_t index, int64_t n) { return index >= -n && index < n; }

/* ---- gather ---- */

/* What a wrong index asks for has all bits set: a not-a-number, so that a gated training step changes nothing. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) gather(const pk_gather g)
{
    const T *x = (const T *)g.w.data[1];
    T *y = (T *)g.w.data[3];
    for (int64_t i = first_element(); i < g.w.count; i += element_stride()) {
        int64_t at[4];
        walk_at<4>(g.w, i, at);
        int64_t index = index_at(g.w.data[0], g.index_dtype, at[0]);
        if (within(index, g.n)) {
            y[at[3]] = x[at[1] + (index < 0 ? index + g.n : index) * g.step];
        } else {
            note_fault(g.fault, g.watch, at[2], index, -g.n, g.n);
            y[at[3]] = (T)~(T)0;
        }
    }
}

/* Where there is nothing to move, wrong indices are still wrong. */
__global__ void __launch_bounds__(PK_THREADS) check_indices(const pk_gather g)
{
    for (int64_t i = first_element(); i < g.indices.count; i += element_stride()) {
        int64_t at[1];
        walk_at<1>(g.indices, i, at);
        int64_t index = index_at(g.indices.data[0], g.index_dtype, at[0]);
        if (!within(index, g.n)) {
            note_fault(g.fault, g.watch, i, index, -g.n, g.n);
        }
    }
}

template <class T> cudaError_t gather_of(cudaStream_t stream, const pk_gather *g)
{
    return PLUMB_LAUNCH(gather<T>, blocks_for(g->w.count), PK_THREADS, 0, stream, *g);
}

/* ---- the sort: keys (rows, 0 .. n; n for wrong ones) with their positions ---- */

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, ROUNDS = 8, TILE = PK_THREADS * ROUNDS, WARPS = PK_THREADS / 32 };

static_assert((int)DIGITS == (int)PK_THREADS, "a thread looks after a digit");

struct entry {
    int64_t key, position;
};

__device__ inline int digit_of(int64_t key, int shift) { return (int)(key >> shift) & (DIGITS - 1); }

__global__ void __launch_bounds__(PK_THREADS) make_entries(const pk_gather_backward g, entry *entries)
{
    for (int64_t i = first_element(); i < g.indices.count; i += element_stride()) {
        int64_t at[1];
        walk_at<1>(g.indices, i, at);
        int64_t index = index_at(g.indices.data[0], g.index_dtype, at[0]);
        bool good = within(index, g.n);
        if (!good) {
            note_fault(g.fault, g.watch, i, index, -g.n, g.n);
        }
        entries[i] = {good ? (index < 0 ? index + g.n : index) : g.n, i};
    }
}

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

/* begins[k]: the first entry whose key is k or more, for k in 0 .. n. */
__global__ void __launch_bounds__(PK_THREADS) begin_rows(const entry *sorted, int64_t count, int64_t n, int64_t *begins)
{
    for (int64_t k = first_element(); k <= n; k += element_stride()) {
        int64_t low = 0, high = count;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (sorted[middle].key < k) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        begins[k] = low;
    }
}

template <class T>
__global__ void __launch_bounds__(PK_THREADS)
    sum_rows(const pk_gather_backward g, const entry *sorted, const int64_t *begins)
{
    const T *dy = (const T *)g.w.data[0];
    T *dx = (T *)g.w.data[2];
    for (int64_t i = first_element(); i < g.w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(g.w, i, at);
        number<T> sum = 0;
        for (int64_t e = begins[at[1]]; e < begins[at[1] + 1]; e++) {
            int64_t part[1];
            walk_at<1>(g.part, sorted[e].position, part);
            sum += load(dy[at[0] + part[0]]);
        }
        dx[at[2]] = store<T>(begins[g.n] < g.indices.count ? (number<T>)NAN : sum); /* some index was wrong */
    }
}

struct layout { /* of the workspace, in bytes */
    int64_t tiles;
    size_t entries[2], counts, begins, end;
};

layout layout_of(int64_t indices, int64_t n)
{
    layout l;
    l.tiles = (indices + TILE - 1) / TILE;
    l.entries[0] = 0;
    l.entries[1] = (size_t)indices * sizeof(entry);
    l.counts = 2 * l.entries[1];
    l.begins = l.counts + (size_t)l.tiles * DIGITS * sizeof(int64_t);
    l.end = l.begins + ((size_t)n + 1) * sizeof(int64_t);
    return l;
}

/* Sorts; *sorted is where the entries are in the end. */
cudaError_t sort_entries(cudaStream_t stream, const pk_gather_backward *g, const layout &l, entry **sorted)
{
    unsigned char *base = (unsigned char *)g->workspace;
    entry *from = (entry *)(base + l.entries[0]), *to = (entry *)(base + l.entries[1]);
    int64_t *counts = (int64_t *)(base + l.counts), count = g->indices.count;
    unsigned blocks = blocks_for(l.tiles * PK_THREADS);
    cudaError_t code = PLUMB_LAUNCH(make_entries, blocks_for(count), PK_THREADS, 0, stream, *g, from);
    for (int shift = 0; code == cudaSuccess && shift < 63 && g->n >> shift != 0; shift += DIGIT_BITS) {
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

/* ---- one-hot ---- */

template <class T> __global__ void __launch_bounds__(PK_THREADS) one_hot(const pk_walk w, int index_dtype)
{
    T *y = (T *)w.data[2];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(w, i, at);
        y[at[2]] = store<T>((int64_t)(index_at(w.data[0], index_dtype, at[0]) == at[1] ? 1 : 0));
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_gather(cudaStream_t stream, int size, const pk_gather *g)
{
    if (g->indices.count == 0) {
        return cudaSuccess;
    }
    if (g->w.count == 0) {
        return PLUMB_LAUNCH(check_indices, blocks_for(g->indices.count), PK_THREADS, 0, stream, *g);
    }
    switch (size) {
    case 1: return gather_of<uint8_t>(stream, g);
    case 2: return gather_of<uint16_t>(stream, g);
    case 4: return gather_of<uint32_t>(stream, g);
    case 8: return gather_of<uint64_t>(stream, g);
    default: return cudaErrorInvalidValue;
    }
}

extern "C" size_t plumb_k_gather_backward_bytes(int64_t indices, int64_t n)
{
    return layout_of(indices, n).end;
}

extern "C" cudaError_t plumb_k_gather_backward(cudaStream_t stream, int dtype, const pk_gather_backward *g)
{
    layout l = layout_of(g->indices.count, g->n);
    int64_t *begins = (int64_t *)((unsigned char *)g->workspace + l.begins);
    entry *sorted = (entry *)g->workspace;
    cudaError_t code = g->indices.count == 0 ? cudaSuccess : sort_entries(stream, g, l, &sorted);
    if (code != cudaSuccess || g->w.count == 0) {
        return code;
    }
    int64_t count = g->indices.count;
    code = PLUMB_LAUNCH(begin_rows, blocks_for(g->n + 1), PK_THREADS, 0, stream, sorted, count, g->n, begins);
    if (code != cudaSuccess) {
        return code;
    }
    unsigned blocks = blocks_for(g->w.count);
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(sum_rows<T>, blocks, PK_THREADS, 0, stream, *g, sorted, begins);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_one_hot(cudaStream_t stream, int index_dtype, int dtype, const pk_walk *w)
{
    if (w->count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(one_hot<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w, index_dtype);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
