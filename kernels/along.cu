/* Along one axis: cumulative sums, and sorting.
 *
 * A lane is what lies along the axis. Cumulative sums: a thread a lane where neighbouring lanes lie side by side or lanes
 * are short, else a block, which goes over its lane tile by tile and adds in a fixed tree within each. Sorting is of pairs
 * (key, index): keys are whole numbers in the order of the elements, so that no two pairs are equal and any correct sort
 * gives the same bits. A block sorts a tile (bitonic, in shared memory); sorted runs are merged two by two, each pair
 * finding its place by a binary search in the other run. */
#include "number.cuh"

namespace {

/* ---- cumulative sums ---- */

template <class N> struct sum_type { typedef N type; };
template <> struct sum_type<int64_t> { typedef uint64_t type; }; /* wraps */

__device__ inline int64_t place_of(const pk_scan &s, int64_t i) { return s.reverse ? s.n - 1 - i : i; }

template <class T> __global__ void __launch_bounds__(PK_THREADS) scan_thread(const pk_scan s)
{
    typedef typename sum_type<number<T>>::type A;
    for (int64_t lane = first_element(); lane < s.walk.count; lane += element_stride()) {
        int64_t at[2];
        walk_at<2>(s.walk, lane, at);
        const T *x = (const T *)s.walk.data[0] + at[0];
        T *y = (T *)s.walk.data[1] + at[1];
        A sum = 0;
        for (int64_t i = 0; i < s.n; i++) {
            int64_t p = place_of(s, i);
            A before = sum;
            sum += (A)load(x[p * s.x_step]);
            y[p * s.y_step] = store<T>((number<T>)(s.exclusive ? before : sum));
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) scan_block(const pk_scan s)
{
    typedef typename sum_type<number<T>>::type A;
    PLUMB_SHARED(A, held, [PK_THREADS]);
    int t = (int)threadIdx.x;
    for (int64_t lane = blockIdx.x; lane < s.walk.count; lane += gridDim.x) {
        int64_t at[2];
        walk_at<2>(s.walk, lane, at);
        const T *x = (const T *)s.walk.data[0] + at[0];
        T *y = (T *)s.walk.data[1] + at[1];
        A carried = 0;
        for (int64_t base = 0; base < s.n; base += PK_THREADS) {
            int64_t i = base + t, p = place_of(s, i);
            A mine = i < s.n ? (A)load(x[p * s.x_step]) : (A)0;
            held[t] = mine;
            __syncthreads();
            for (int step = 1; step < PK_THREADS; step *= 2) {
                A before = t >= step ? held[t - step] : (A)0;
                __syncthreads();
                mine = t >= step ? before + mine : mine;
                held[t] = mine;
                __syncthreads();
            }
            A before = t > 0 ? held[t - 1] : (A)0;
            if (i < s.n) {
                y[p * s.y_step] = store<T>((number<T>)(carried + (s.exclusive ? before : mine)));
            }
            carried += held[PK_THREADS - 1];
            __syncthreads();
        }
    }
}

template <class T> cudaError_t scan_of(cudaStream_t stream, const pk_scan *s)
{
    enum { FEW = 64, MANY = 4096 };
    bool beside = s->x_step == 1 || s->x_step == -1;
    if (s->n >= FEW && (beside || s->walk.count < MANY)) {
        int64_t blocks = s->walk.count < 1 << 20 ? s->walk.count : 1 << 20;
        return PLUMB_LAUNCH(scan_block<T>, (unsigned)blocks, PK_THREADS, 0, stream, *s);
    }
    return PLUMB_LAUNCH(scan_thread<T>, blocks_for(s->walk.count), PK_THREADS, 0, stream, *s);
}

/* ---- sorting ---- */

enum { TILE = 1024 };

struct entry {
    uint64_t key;
    int64_t at;
};

__device__ inline bool precedes(const entry &a, const entry &b)
{
    return a.key < b.key || (a.key == b.key && a.at < b.at);
}

/* Whole numbers in the order of the elements: not-a-number last, minus zero as zero. */
__device__ inline uint64_t key_of(double x)
{
    if (x != x) {
        return ~(uint64_t)0;
    }
    uint64_t bits = (uint64_t)__double_as_longlong(x == 0 ? 0.0 : x), top = (uint64_t)1 << 63;
    return bits & top ? ~bits : bits | top;
}
__device__ inline uint64_t key_of(float x) { return key_of((double)x); }
__device__ inline uint64_t key_of(int64_t x) { return (uint64_t)x ^ (uint64_t)1 << 63; }

/* The smallest power of two that holds a tile of n. */
__host__ __device__ inline int width_of(int64_t n)
{
    int width = 1;
    while (width < n && width < TILE) {
        width *= 2;
    }
    return width;
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) sort_tiles(const pk_order o, entry *to)
{
    PLUMB_SHARED(entry, held, [TILE]);
    int64_t tiles = (o.n + TILE - 1) / TILE, count = o.walk.count * tiles;
    int width = width_of(o.n), t = (int)threadIdx.x;
    for (int64_t tile = blockIdx.x; tile < count; tile += gridDim.x) {
        int64_t lane = tile / tiles, base = tile % tiles * TILE, at[1];
        walk_at<1>(o.walk, lane, at);
        const T *x = (const T *)o.walk.data[0] + at[0];
        for (int i = t; i < width; i += PK_THREADS) {
            entry e = {~(uint64_t)0, INT64_MAX}; /* beyond the end: last */
            if (base + i < o.n) {
                uint64_t key = key_of(load(x[(base + i) * o.step[0]]));
                e = {o.descending ? ~key : key, base + i};
            }
            held[i] = e;
        }
        __syncthreads();
        for (int run = 2; run <= width; run *= 2) {
            for (int apart = run / 2; apart > 0; apart /= 2) {
                for (int p = t; p < width / 2; p += PK_THREADS) {
                    int i = p / apart * 2 * apart + p % apart, j = i + apart;
                    entry a = held[i], b = held[j];
                    if (precedes(b, a) == ((i & run) == 0)) {
                        held[i] = b;
                        held[j] = a;
                    }
                }
                __syncthreads();
            }
        }
        for (int i = t; i < width && base + i < o.n; i += PK_THREADS) {
            to[lane * o.n + base + i] = held[i];
        }
        __syncthreads();
    }
}

__global__ void __launch_bounds__(PK_THREADS) merge_runs(const entry *from, entry *to, int64_t lanes, int64_t n, int64_t run)
{
    for (int64_t i = first_element(); i < lanes * n; i += element_stride()) {
        int64_t base = i / n * n, at = i - base, pair = at / (2 * run) * (2 * run);
        bool second = at >= pair + run;
        int64_t low = second ? pair : pair + run, high = low + run;
        low = low < n ? low : n;
        high = high < n ? high : n;
        int64_t begin = low;
        entry mine = from[i];
        while (low < high) { /* how many of the other run come before */
            int64_t middle = low + (high - low) / 2;
            if (precedes(from[base + middle], mine)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        to[base + at - (second ? run : 0) + low - begin] = mine;
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) pick(const pk_order o, const entry *sorted)
{
    for (int64_t i = first_element(); i < o.walk.count * o.k; i += element_stride()) {
        int64_t lane = i / o.k, j = i - lane * o.k, at[3], from = sorted[lane * o.n + j].at;
        walk_at<3>(o.walk, lane, at);
        ((T *)o.walk.data[1])[at[1] + j * o.step[1]] = ((const T *)o.walk.data[0])[at[0] + from * o.step[0]];
        ((int64_t *)o.walk.data[2])[at[2] + j * o.step[2]] = from;
    }
}

template <class T> cudaError_t order_of(cudaStream_t stream, const pk_order *o)
{
    int64_t count = o->walk.count * o->n, tiles = o->walk.count * ((o->n + TILE - 1) / TILE);
    entry *from = (entry *)o->workspace, *to = from + count;
    unsigned blocks = (unsigned)(tiles < 1 << 20 ? tiles : 1 << 20);
    cudaError_t code = PLUMB_LAUNCH(sort_tiles<T>, blocks, PK_THREADS, 0, stream, *o, from);
    for (int64_t run = TILE; code == cudaSuccess && run < o->n; run *= 2) {
        code = PLUMB_LAUNCH(merge_runs, blocks_for(count), PK_THREADS, 0, stream, from, to, o->walk.count, o->n, run);
        entry *other = from;
        from = to;
        to = other;
    }
    return code != cudaSuccess ? code
                               : PLUMB_LAUNCH(pick<T>, blocks_for(o->walk.count * o->k), PK_THREADS, 0, stream, *o, from);
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_scan(cudaStream_t stream, int dtype, const pk_scan *s)
{
    if (s->walk.count == 0 || s->n == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return scan_of<T>(stream, s);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" size_t plumb_k_order_bytes(int64_t lanes, int64_t n)
{
    return (size_t)(lanes * n) * sizeof(entry) * (n > TILE ? 2 : 1);
}

extern "C" cudaError_t plumb_k_order(cudaStream_t stream, int dtype, const pk_order *o)
{
    if (o->walk.count == 0 || o->k == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return order_of<T>(stream, o);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
