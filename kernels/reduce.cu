/* Reductions. Two forms: a block for each result, its threads taking elements in turn (rows); and a thread column for
 * each result, neighbouring results side by side (columns). What each thread has is joined in a fixed tree, and where
 * there are few results and much to reduce, chunks of it are reduced apart and joined by a second launch: the order of
 * every addition follows from shapes alone. A not-a-number wins every comparison, the first one where a place is told. */
#include "number.cuh"

namespace {

enum { ROW_THREADS = 256, COLUMN_WIDTH = 32, COLUMN_HEIGHT = 8 };

/* ---- what is folded: start, take an element, join two, finish ---- */

template <class N> struct sum_type { typedef N type; };
template <> struct sum_type<int64_t> { typedef uint64_t type; }; /* wraps */

template <class T> struct fold_sum {
    typedef typename sum_type<number<T>>::type A;
    typedef T Y;
    static __device__ A start() { return 0; }
    static __device__ A take(A a, T x, int64_t) { return a + (A)load(x); }
    static __device__ A join(A a, A b) { return a + b; }
    static __device__ Y finish(A a, int64_t) { return store<T>((number<T>)a); }
};

template <class T> struct fold_mean : fold_sum<T> {
    typedef typename fold_sum<T>::A A;
    static __device__ T finish(A a, int64_t count) { return store<T>((number<T>)a / (number<T>)count); }
};

template <class T> struct fold_prod : fold_sum<T> {
    typedef typename fold_sum<T>::A A;
    static __device__ A start() { return 1; }
    static __device__ A take(A a, T x, int64_t) { return a * (A)load(x); }
    static __device__ A join(A a, A b) { return a * b; }
};

template <class T> struct fold_abs_sum : fold_sum<T> {
    typedef typename fold_sum<T>::A A;
    static __device__ A take(A a, T x, int64_t)
    {
        return a + (load(x) < 0 ? (A)0 - (A)load(x) : (A)load(x));
    }
};

template <class T> struct fold_square_sum : fold_sum<T> {
    typedef typename fold_sum<T>::A A;
    static __device__ A take(A a, T x, int64_t) { return a + (A)load(x) * (A)load(x); }
};

/* Number, mean, sum of squared differences from it; two parts join by Chan, Golub & LeVeque (1979). */
template <class N> struct spread {
    N mean, squares;
    int64_t count;
};

template <class T> struct fold_variance {
    typedef number<T> N;
    typedef spread<N> A;
    typedef T Y;
    static __device__ A start() { return A{0, 0, 0}; }
    static __device__ A take(A a, T x, int64_t)
    {
        N value = load(x), from = value - a.mean, mean = a.mean + from / (N)(a.count + 1);
        return A{mean, a.squares + from * (value - mean), a.count + 1};
    }
    static __device__ A join(A a, A b)
    {
        if (a.count == 0 || b.count == 0) {
            return a.count == 0 ? b : a;
        }
        N total = (N)(a.count + b.count), apart = b.mean - a.mean, share = (N)b.count / total;
        return A{a.mean + apart * share, a.squares + b.squares + apart * apart * (N)a.count * share, a.count + b.count};
    }
    static __device__ Y finish(A a, int64_t divisor) { return store<T>(a.squares / (N)divisor); }
};

/* The greatest element and the sum of e^(x - it): 0 while there is nothing but minus infinity. */
template <class N> struct scaled_sum {
    N most, sum;
};

template <class T> struct fold_log_sum_exp {
    typedef number<T> N;
    typedef scaled_sum<N> A;
    typedef T Y;
    static __device__ A start() { return A{-(N)INFINITY, 0}; }
    static __device__ A join(A a, A b)
    {
        N most = is_nan(a.most) ? a.most : b.most > a.most || is_nan(b.most) ? b.most : a.most;
        if (!(m_abs(most) < (N)INFINITY)) {
            return A{most, 0};
        }
        return A{most, a.sum * m_exp(a.most - most) + b.sum * m_exp(b.most - most)};
    }
    static __device__ A take(A a, T x, int64_t) { return join(a, A{load(x), 1}); }
    static __device__ Y finish(A a, int64_t)
    {
        return store<T>(m_abs(a.most) < (N)INFINITY ? a.most + m_log(a.sum) : a.most);
    }
};

template <class T> struct fold_any {
    typedef uint32_t A;
    typedef uint8_t Y;
    static __device__ A start() { return 0; }
    static __device__ A take(A a, T x, int64_t) { return a | (uint32_t)(load(x) != 0); }
    static __device__ A join(A a, A b) { return a | b; }
    static __device__ Y finish(A a, int64_t) { return (uint8_t)a; }
};

template <class T> struct fold_all_true {
    typedef uint32_t A;
    typedef uint8_t Y;
    static __device__ A start() { return 1; }
    static __device__ A take(A a, T x, int64_t) { return a & (uint32_t)(load(x) != 0); }
    static __device__ A join(A a, A b) { return a & b; }
    static __device__ Y finish(A a, int64_t) { return (uint8_t)a; }
};

template <class N> struct limits;
template <> struct limits<float> {
    static __device__ float low() { return -INFINITY; }
    static __device__ float high() { return INFINITY; }
};
template <> struct limits<double> {
    static __device__ double low() { return -(double)INFINITY; }
    static __device__ double high() { return (double)INFINITY; }
};
template <> struct limits<int64_t> {
    static __device__ int64_t low() { return INT64_MIN; }
    static __device__ int64_t high() { return INT64_MAX; }
};

template <class T> struct fold_max {
    typedef number<T> A;
    typedef T Y;
    static __device__ A start() { return limits<A>::low(); }
    static __device__ A join(A a, A b) { return is_nan(a) ? a : b > a || is_nan(b) ? b : a; }
    static __device__ A take(A a, T x, int64_t) { return join(a, load(x)); }
    static __device__ Y finish(A a, int64_t) { return store<T>(a); }
};

template <class T> struct fold_min {
    typedef number<T> A;
    typedef T Y;
    static __device__ A start() { return limits<A>::high(); }
    static __device__ A join(A a, A b) { return is_nan(a) ? a : b < a || is_nan(b) ? b : a; }
    static __device__ A take(A a, T x, int64_t) { return join(a, load(x)); }
    static __device__ Y finish(A a, int64_t) { return store<T>(a); }
};

template <class N> struct place {
    N best;
    int64_t at; /* -1: nothing yet */
};

template <class T, bool smaller, bool last> struct fold_place {
    typedef place<number<T>> A;
    typedef int64_t Y;
    static __device__ A start() { return A{0, -1}; }
    static __device__ A join(A a, A b)
    {
        if (a.at < 0 || b.at < 0) {
            return a.at < 0 ? b : a;
        }
        bool nan_a = is_nan(a.best), nan_b = is_nan(b.best);
        if (nan_a != nan_b) {
            return nan_a ? a : b;
        }
        if (nan_a || a.best == b.best) {
            return (a.at < b.at) != last ? a : b;
        }
        return (a.best > b.best) != smaller ? a : b;
    }
    static __device__ A take(A a, T x, int64_t at) { return join(a, A{load(x), at}); }
    static __device__ Y finish(A a, int64_t) { return a.at; }
};
template <class T> struct fold_argmax : fold_place<T, false, false> {};
template <class T> struct fold_argmax_last : fold_place<T, false, true> {};
template <class T> struct fold_argmin : fold_place<T, true, false> {};
template <class T> struct fold_argmin_last : fold_place<T, true, true> {};

template <class T> struct fold_sum_squares {
    typedef number<T> A;
    typedef A Y;
    static __device__ A start() { return 0; }
    static __device__ A take(A a, T x, int64_t) { return a + load(x) * load(x); }
    static __device__ A join(A a, A b) { return a + b; }
    static __device__ Y finish(A a, int64_t) { return a; }
};

template <class T> struct fold_all_finite {
    typedef uint32_t A;
    typedef uint8_t Y;
    static __device__ A start() { return 1; }
    static __device__ A take(A a, T x, int64_t) { return a & (uint32_t)(load(x) - load(x) == 0); }
    static __device__ A join(A a, A b) { return a & b; }
    static __device__ Y finish(A a, int64_t) { return (uint8_t)a; }
};

/* ---- kernels ---- */

struct part { /* the reduced elements [from, to) of one chunk */
    int64_t from, to;
};
__device__ inline part part_of(int64_t count, int64_t chunks, int64_t chunk)
{
    int64_t size = (count + chunks - 1) / chunks, from = chunk * size;
    return part{from < count ? from : count, from + size < count ? from + size : count};
}

/* Joins what the threads of a block hold; thread 0 has the result. To be called by all; `held` may be used again only
 * after a barrier. */
template <class F, int THREADS> __device__ inline void join_block(typename F::A *held, typename F::A mine)
{
    held[threadIdx.x] = mine;
    __syncthreads();
#pragma unroll
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            held[threadIdx.x] = F::join(held[threadIdx.x], held[threadIdx.x + half]);
        }
        __syncthreads();
    }
}

template <class T, class F>
__global__ void __launch_bounds__(ROW_THREADS)
    fold_rows(const pk_walk kept, const pk_walk gone, int64_t chunks, typename F::A *partial, int64_t first, int64_t count)
{
    typedef typename F::A A;
    PLUMB_SHARED(A, held, [ROW_THREADS]);
    part p = part_of(gone.count, chunks, blockIdx.y);
    for (int64_t k = blockIdx.x; k < kept.count; k += gridDim.x) {
        int64_t base[2], at[1];
        walk_at<2>(kept, k, base);
        const T *x = (const T *)kept.data[0] + base[0];
        A mine = F::start();
        for (int64_t i = p.from + threadIdx.x; i < p.to; i += ROW_THREADS) {
            walk_at<1>(gone, i, at);
            mine = F::take(mine, x[at[0]], i);
        }
        join_block<F, ROW_THREADS>(held, mine);
        if (threadIdx.x == 0) {
            if (partial) {
                partial[first + k * chunks + blockIdx.y] = held[0];
            } else {
                ((typename F::Y *)kept.data[1])[base[1]] = F::finish(held[0], count);
            }
        }
        __syncthreads();
    }
}

template <class T, class F>
__global__ void __launch_bounds__(COLUMN_WIDTH *COLUMN_HEIGHT)
    fold_columns(const pk_walk kept, const pk_walk gone, int64_t chunks, typename F::A *partial, int64_t first, int64_t count)
{
    typedef typename F::A A;
    PLUMB_SHARED(A, held, [COLUMN_HEIGHT][COLUMN_WIDTH]);
    part p = part_of(gone.count, chunks, blockIdx.y);
    for (int64_t start = (int64_t)blockIdx.x * COLUMN_WIDTH; start < kept.count; start += (int64_t)gridDim.x * COLUMN_WIDTH) {
        int64_t k = start + threadIdx.x, base[2] = {0, 0}, at[1];
        A mine = F::start();
        if (k < kept.count) {
            walk_at<2>(kept, k, base);
            const T *x = (const T *)kept.data[0] + base[0];
            for (int64_t i = p.from + threadIdx.y; i < p.to; i += COLUMN_HEIGHT) {
                walk_at<1>(gone, i, at);
                mine = F::take(mine, x[at[0]], i);
            }
        }
        held[threadIdx.y][threadIdx.x] = mine;
        __syncthreads();
        if (threadIdx.y == 0 && k < kept.count) {
            for (int i = 1; i < COLUMN_HEIGHT; i++) {
                mine = F::join(mine, held[i][threadIdx.x]);
            }
            if (partial) {
                partial[first + k * chunks + blockIdx.y] = mine;
            } else {
                ((typename F::Y *)kept.data[1])[base[1]] = F::finish(mine, count);
            }
        }
        __syncthreads();
    }
}

template <class F>
__global__ void __launch_bounds__(ROW_THREADS)
    fold_finish(const pk_walk kept, int64_t count, int64_t chunks, const typename F::A *partial)
{
    typedef typename F::A A;
    PLUMB_SHARED(A, held, [ROW_THREADS]);
    for (int64_t k = blockIdx.x; k < kept.count; k += gridDim.x) {
        A mine = F::start();
        for (int64_t c = threadIdx.x; c < chunks; c += ROW_THREADS) {
            mine = F::join(mine, partial[k * chunks + c]);
        }
        join_block<F, ROW_THREADS>(held, mine);
        if (threadIdx.x == 0) {
            int64_t base[2];
            walk_at<2>(kept, k, base);
            ((typename F::Y *)kept.data[1])[base[1]] = F::finish(held[0], count);
        }
        __syncthreads();
    }
}

/* ---- launching ---- */

unsigned grid_for(int64_t blocks)
{
    return (unsigned)(blocks > 1 << 20 ? 1 << 20 : blocks);
}

struct fold_call {
    cudaStream_t stream;
    const pk_walk *kept, *gone;
    int columns;
    int64_t chunks, count;
    void *partial;
    int64_t first;
};

template <class T, class F> cudaError_t fold_of(const fold_call &c)
{
    typedef typename F::A A;
    static_assert(sizeof(A) <= PK_FOLD_SLOT, "a partial result has its place");
    if (c.kept->count == 0) {
        return cudaSuccess;
    }
    if (!c.gone) {
        return PLUMB_LAUNCH((fold_finish<F>), grid_for(c.kept->count), ROW_THREADS, 0, c.stream, *c.kept, c.count,
                            c.chunks, (const A *)c.partial);
    }
    if (c.columns) {
        return PLUMB_LAUNCH((fold_columns<T, F>),
                            dim3(grid_for((c.kept->count + COLUMN_WIDTH - 1) / COLUMN_WIDTH), (unsigned)c.chunks),
                            dim3(COLUMN_WIDTH, COLUMN_HEIGHT), 0, c.stream, *c.kept, *c.gone, c.chunks, (A *)c.partial,
                            c.first, c.count);
    }
    return PLUMB_LAUNCH((fold_rows<T, F>), dim3(grid_for(c.kept->count), (unsigned)c.chunks), ROW_THREADS, 0, c.stream,
                        *c.kept, *c.gone, c.chunks, (A *)c.partial, c.first, c.count);
}

template <template <class> class F> cudaError_t fold_floats(int dtype, const fold_call &c)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return fold_of<T, F<T>>(c);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

template <template <class> class F> cudaError_t fold_all(int dtype, const fold_call &c)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return fold_of<T, F<T>>(c);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

cudaError_t fold(enum pk_fold what, int dtype, const fold_call &c)
{
    switch (what) {
    case PK_SUM: return fold_all<fold_sum>(dtype, c);
    case PK_MEAN: return fold_all<fold_mean>(dtype, c);
    case PK_MAX: return fold_all<fold_max>(dtype, c);
    case PK_MIN: return fold_all<fold_min>(dtype, c);
    case PK_ARGMAX: return fold_all<fold_argmax>(dtype, c);
    case PK_ARGMAX_LAST: return fold_all<fold_argmax_last>(dtype, c);
    case PK_ARGMIN: return fold_all<fold_argmin>(dtype, c);
    case PK_ARGMIN_LAST: return fold_all<fold_argmin_last>(dtype, c);
    case PK_PROD: return fold_all<fold_prod>(dtype, c);
    case PK_ABS_SUM: return fold_all<fold_abs_sum>(dtype, c);
    case PK_SQUARE_SUM: return fold_all<fold_square_sum>(dtype, c);
    case PK_VARIANCE: return fold_floats<fold_variance>(dtype, c);
    case PK_LOG_SUM_EXP: return fold_floats<fold_log_sum_exp>(dtype, c);
    case PK_ANY: return fold_all<fold_any>(dtype, c);
    case PK_ALL: return fold_all<fold_all_true>(dtype, c);
    case PK_SUM_SQUARES: return fold_floats<fold_sum_squares>(dtype, c);
    case PK_ALL_FINITE: return fold_floats<fold_all_finite>(dtype, c);
    }
    return cudaErrorInvalidValue;
}

} // namespace

extern "C" cudaError_t plumb_k_fold(cudaStream_t stream, enum pk_fold what, int dtype, const pk_walk *kept,
                                    const pk_walk *gone, int columns, int64_t chunks, void *partial, int64_t first,
                                    int64_t count)
{
    return fold(what, dtype, fold_call{stream, kept, gone, columns, chunks, count, partial, first});
}

extern "C" cudaError_t plumb_k_fold_finish(cudaStream_t stream, enum pk_fold what, int dtype, const pk_walk *kept,
                                           int64_t count, int64_t chunks, const void *partial)
{
    return fold(what, dtype, fold_call{stream, kept, nullptr, 0, chunks, count, const_cast<void *>(partial), 0});
}
