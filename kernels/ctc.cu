/* Connectionist temporal classification: a block walks through the steps of one sequence, its threads over the places (a
 * blank, a label, a blank ..). Rows of places lie in the workspace, which a block's threads see of each other behind a
 * barrier. A class's expected number at a step is summed by the thread of its first place, over its places in their order:
 * no atomics, equal bits from run to run. */
#include "fault.cuh"
#include "number.cuh"

namespace {

struct sequence {
    int64_t n, steps, labels, first, places;
    bool wrong;
};

__device__ inline int64_t whole(const pk_view &v, int64_t at)
{
    return v.dtype == PK_I32 ? ((const int32_t *)v.data)[at] : ((const int64_t *)v.data)[at];
}

__device__ inline int64_t label(const pk_ctc &p, const sequence &q, int64_t k)
{
    const pk_view &v = p.targets;
    return whole(v, v.rank == 2 ? q.n * v.stride[0] + k * v.stride[1] : (q.first + k) * v.stride[0]);
}

__device__ inline int64_t class_at(const pk_ctc &p, const sequence &q, int64_t s)
{
    return s % 2 ? label(p, q, s / 2) : p.blank;
}

template <class T> __device__ inline number<T> log_p(const pk_ctc &p, const sequence &q, int64_t t, int64_t s)
{
    return load(((const T *)p.x.data)[t * p.x.stride[0] + q.n * p.x.stride[1] + class_at(p, q, s) * p.x.stride[2]]);
}

__device__ inline bool may_skip(const pk_ctc &p, const sequence &q, int64_t s)
{
    return s >= 2 && s % 2 && class_at(p, q, s) != class_at(p, q, s - 2);
}

template <class N> __device__ inline N joined(N a, N b, N c)
{
    N most = a > b ? a : b;
    most = c > most ? c : most;
    return most == -(N)INFINITY ? a + b + c : most + m_log(m_exp(a - most) + m_exp(b - most) + m_exp(c - most));
}

/* All threads read the same; the first one notes what is wrong. */
__device__ inline sequence read(const pk_ctc &p, int64_t n)
{
    const bool notes = threadIdx.x == 0, rows = p.targets.rank == 2;
    sequence q = {n, whole(p.steps, n * p.steps.stride[0]), whole(p.lengths, n * p.lengths.stride[0]), 0, 0, false};
    for (int64_t m = 0; m < n && !rows; m++) {
        const int64_t length = whole(p.lengths, m * p.lengths.stride[0]), left = p.targets.dim[0] - q.first;
        q.first += length < 0 ? 0 : length > left ? left : length; /* what is wrong there is noted there */
    }
    const int64_t room = rows ? p.targets.dim[1] : p.targets.dim[0] - q.first;
    if (q.steps < 0 || q.steps > p.x.dim[0]) {
        q.wrong = true;
        if (notes) {
            note_fault(p.fault, p.watch_steps, n, q.steps, 0, p.x.dim[0] + 1);
        }
    } else if (q.labels < 0 || q.labels > room) {
        q.wrong = true;
        if (notes) {
            note_fault(p.fault, p.watch_length, n, q.labels, 0, room + 1);
        }
    }
    for (int64_t k = 0; k < q.labels && !q.wrong; k++) {
        const int64_t value = label(p, q, k);
        if (value < 0 || value >= p.x.dim[2]) {
            q.wrong = true;
            if (notes) {
                note_fault(p.fault, p.watch_label, rows ? n * p.targets.dim[1] + k : q.first + k, value, 0, p.x.dim[2]);
            }
        }
    }
    q.places = 2 * q.labels + 1;
    return q;
}

template <class T>
__device__ inline void advance(const pk_ctc &p, const sequence &q, int64_t t, const number<T> *before, number<T> *to)
{
    typedef number<T> N;
    const N never = -(N)INFINITY;
    for (int64_t s = threadIdx.x; s < q.places; s += PK_THREADS) {
        const N a = t > 0 ? before[s] : s < 2 ? (N)0 : never, b = t > 0 && s > 0 ? before[s - 1] : never;
        const N c = t > 0 && may_skip(p, q, s) ? before[s - 2] : never;
        to[s] = joined(a, b, c) + log_p<T>(p, q, t, s);
    }
    __syncthreads();
}

template <class N> __device__ inline N total(const sequence &q, const N *last)
{
    if (q.steps == 0) {
        return q.labels == 0 ? (N)0 : -(N)INFINITY;
    }
    return joined(last[q.places - 1], q.labels > 0 ? last[q.places - 2] : -(N)INFINITY, -(N)INFINITY);
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) losses(const pk_ctc p)
{
    typedef number<T> N;
    for (int64_t n = blockIdx.x; n < p.x.dim[1]; n += gridDim.x) {
        const sequence q = read(p, n);
        N *row[2] = {(N *)p.rows + n * 2 * p.places, (N *)p.rows + (n * 2 + 1) * p.places};
        for (int64_t t = 0; t < q.steps && !q.wrong; t++) {
            advance<T>(p, q, t, row[(t + 1) % 2], row[t % 2]);
        }
        if (threadIdx.x == 0) {
            N value = q.wrong ? (N)NAN : -total<N>(q, row[(q.steps + 1) % 2]);
            value = p.zero_infinity && value == (N)INFINITY ? (N)0 : value;
            ((T *)p.loss.data)[n * p.loss.stride[0]] = store<T>(value);
        }
    }
}

template <class T>
__device__ inline void retreat(const pk_ctc &p, const sequence &q, int64_t t, const number<T> *behind, number<T> *back)
{
    typedef number<T> N;
    const N never = -(N)INFINITY;
    const bool last = t == q.steps - 1;
    for (int64_t s = threadIdx.x; s < q.places; s += PK_THREADS) {
        const N a = last ? (s >= q.places - 2 ? (N)0 : never) : behind[s];
        const N b = !last && s + 1 < q.places ? behind[s + 1] : never;
        const N c = !last && s + 2 < q.places && may_skip(p, q, s + 2) ? behind[s + 2] : never;
        back[s] = joined(a, b, c) + log_p<T>(p, q, t, s);
    }
    __syncthreads();
}

/* weight[s] becomes what place s has of step t */
template <class T>
__device__ inline void weigh(const pk_ctc &p, const sequence &q, int64_t t, number<T> *weight, const number<T> *back, number<T> all)
{
    typedef number<T> N;
    for (int64_t s = threadIdx.x; s < q.places; s += PK_THREADS) {
        const N a = weight[s], b = back[s];
        weight[s] = a == -(N)INFINITY || b == -(N)INFINITY ? (N)0 : m_exp(a + b - log_p<T>(p, q, t, s) - all);
    }
    __syncthreads();
}

template <class T> __device__ inline T *result(const pk_ctc &p, int64_t t, int64_t n, int64_t c)
{
    return (T *)p.dx.data + t * p.dx.stride[0] + n * p.dx.stride[1] + c * p.dx.stride[2];
}

/* Each class's row of dx at step t, of weights by place; `other` is what classes of no place have. */
template <class T>
__device__ inline void write(const pk_ctc &p, const sequence &q, int64_t t, const number<T> *weight, number<T> d, number<T> other)
{
    typedef number<T> N;
    for (int64_t c = threadIdx.x; c < p.x.dim[2]; c += PK_THREADS) {
        *result<T>(p, t, q.n, c) = store<T>(other);
    }
    __syncthreads();
    for (int64_t s = threadIdx.x; weight && s < q.places; s += PK_THREADS) {
        const int64_t c = class_at(p, q, s);
        bool first = true;
        for (int64_t k = 0; k < s && first; k++) {
            first = class_at(p, q, k) != c;
        }
        N sum = 0;
        for (int64_t k = s; k < q.places && first; k++) {
            sum += class_at(p, q, k) == c ? weight[k] : (N)0;
        }
        if (first) {
            *result<T>(p, t, q.n, c) = store<T>(-d * sum);
        }
    }
    __syncthreads();
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) gradients(const pk_ctc p)
{
    typedef number<T> N;
    for (int64_t n = blockIdx.x; n < p.x.dim[1]; n += gridDim.x) {
        const sequence q = read(p, n);
        N *alpha = (N *)p.rows + n * (p.x.dim[0] + 2) * p.places, *beta = alpha + p.x.dim[0] * p.places;
        for (int64_t t = 0; t < q.steps && !q.wrong; t++) {
            advance<T>(p, q, t, t > 0 ? alpha + (t - 1) * p.places : nullptr, alpha + t * p.places);
        }
        const N d = load(((const T *)p.dloss.data)[n * p.dloss.stride[0]]);
        const N all = q.wrong ? (N)NAN : total<N>(q, q.steps > 0 ? alpha + (q.steps - 1) * p.places : nullptr);
        const bool lost = all == -(N)INFINITY || q.wrong, zero = lost && p.zero_infinity && !q.wrong;
        __syncthreads(); /* every thread has read the last row, which becomes weights */
        for (int64_t t = p.x.dim[0] - 1; t >= 0; t--) {
            if (zero || (t >= q.steps && !q.wrong)) {
                write<T>(p, q, t, (const N *)nullptr, d, (N)0);
            } else if (lost) {
                write<T>(p, q, t, (const N *)nullptr, d, (N)NAN);
            } else {
                N *back = beta + t % 2 * p.places;
                retreat<T>(p, q, t, beta + (t + 1) % 2 * p.places, back);
                weigh<T>(p, q, t, alpha + t * p.places, back, all);
                write<T>(p, q, t, alpha + t * p.places, d, -d * (N)0);
            }
        }
    }
}

unsigned blocks_of(int64_t sequences) { return (unsigned)(sequences > 1 << 20 ? 1 << 20 : sequences); }

} // namespace

extern "C" cudaError_t plumb_k_ctc_loss(cudaStream_t stream, const pk_ctc *p)
{
    if (p->x.dim[1] == 0) {
        return cudaSuccess;
    }
    switch (p->x.dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(losses<type>, blocks_of(p->x.dim[1]), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_ctc_loss_backward(cudaStream_t stream, const pk_ctc *p)
{
    if (p->x.dim[1] == 0) {
        return cudaSuccess;
    }
    switch (p->x.dtype) {
#define CASE(number, type) \
    case number: return PLUMB_LAUNCH(gradients<type>, blocks_of(p->x.dim[1]), PK_THREADS, 0, stream, *p);
        PK_FLOAT_CASES(CASE)
#undef CASE
    default: return cudaErrorInvalidValue;
    }
}
