/* Softmax along an axis and the cross-entropy of integer labels. A group of threads works on one lane (the elements
 * along the axis): one thread where lanes are short or lie across memory, a warp, or the block. Sums are made in an
 * order that depends on the shape alone: each thread adds every G-th element, then neighbours meet in a fixed tree.
 * The maximum may overlook a not-a-number: it reaches the sum of exponentials anyway. Outputs may lie over inputs: a
 * thread writes only what it alone still reads. */
#include "fault.cuh"
#include "group.cuh"

namespace {

/* ---- the best of a lane ---- */

template <class N> struct best { /* the largest so far and where it is; at < 0: none yet */
    N value;
    int64_t at;
};

template <class N> __device__ inline best<N> across(best<N> v, int lanes)
{
    best<N> other;
    other.value = across(v.value, lanes);
    other.at = __shfl_xor_sync(0xffffffffu, (long long)v.at, lanes);
    return other;
}

struct the_larger {
    template <class N> __device__ N operator()(N a, N b) const { return a > b ? a : b; }
};
/* The first of the largest; a not-a-number counts as largest. */
struct the_better {
    template <class N> __device__ best<N> operator()(best<N> a, best<N> b) const
    {
        if (a.at < 0 || b.at < 0) {
            return a.at < 0 ? b : a;
        }
        bool lower = a.at < b.at;
        best<N> first = lower ? a : b, second = lower ? b : a;
        bool stays = is_nan(first.value) || !(second.value > first.value || is_nan(second.value));
        return stays ? first : second;
    }
};

template <class T> struct line { /* elements along the axis */
    T *first;
    int64_t step;
    __device__ T &operator[](int64_t i) const { return first[i * step]; }
};

template <class N> struct moments { /* of a lane: its largest element, and sum exp(x - most) */
    N most, sum;
};

template <int G, class T> __device__ inline moments<number<T>> moments_of(line<const T> x, int64_t n)
{
    typedef number<T> N;
    N most = -(N)INFINITY, sum = 0;
    for (int64_t i = member<G>(); i < n; i += G) {
        N v = load(x[i]);
        most = v > most ? v : most;
    }
    most = meet<G>(most, the_larger());
    for (int64_t i = member<G>(); i < n; i += G) {
        sum += m_exp(load(x[i]) - most);
    }
    return {most, meet<G>(sum, the_sum())};
}

/* ---- the family along an axis: x, z (the second input), y ---- */

struct op_softmax {
    template <int G, class T> static __device__ void lane(line<const T> x, line<const T>, line<T> y, int64_t n)
    {
        moments<number<T>> m = moments_of<G>(x, n);
        for (int64_t i = member<G>(); i < n; i += G) {
            y[i] = store<T>(m_exp(load(x[i]) - m.most) / m.sum);
        }
    }
};

struct op_log_softmax {
    template <int G, class T> static __device__ void lane(line<const T> x, line<const T>, line<T> y, int64_t n)
    {
        moments<number<T>> m = moments_of<G>(x, n);
        number<T> shift = m_log(m.sum);
        for (int64_t i = member<G>(); i < n; i += G) {
            y[i] = store<T>(load(x[i]) - m.most - shift);
        }
    }
};

/* dx = y (dy - sum(y dy)) */
struct op_softmax_backward {
    template <int G, class T> static __device__ void lane(line<const T> y, line<const T> dy, line<T> dx, int64_t n)
    {
        number<T> sum = 0;
        for (int64_t i = member<G>(); i < n; i += G) {
            sum += load(y[i]) * load(dy[i]);
        }
        sum = meet<G>(sum, the_sum());
        for (int64_t i = member<G>(); i < n; i += G) {
            dx[i] = store<T>(load(y[i]) * (load(dy[i]) - sum));
        }
    }
};

/* dx = dy - exp(y) sum(dy) */
struct op_log_softmax_backward {
    template <int G, class T> static __device__ void lane(line<const T> y, line<const T> dy, line<T> dx, int64_t n)
    {
        number<T> sum = 0;
        for (int64_t i = member<G>(); i < n; i += G) {
            sum += load(dy[i]);
        }
        sum = meet<G>(sum, the_sum());
        for (int64_t i = member<G>(); i < n; i += G) {
            dx[i] = store<T>(load(dy[i]) - m_exp(load(y[i])) * sum);
        }
    }
};

struct op_hardmax {
    template <int G, class T> static __device__ void lane(line<const T> x, line<const T>, line<T> y, int64_t n)
    {
        typedef number<T> N;
        best<N> largest = {0, -1};
        for (int64_t i = member<G>(); i < n; i += G) {
            largest = the_better()(largest, best<N>{load(x[i]), i});
        }
        largest = meet<G>(largest, the_better());
        for (int64_t i = member<G>(); i < n; i += G) {
            y[i] = store<T>((N)(i == largest.at ? 1 : 0));
        }
    }
};

template <class T, int G, class Op> __global__ void __launch_bounds__(PK_THREADS) along(const pk_lanes l)
{
    for (int64_t lane = first_lane<G>(); lane < l.walk.count; lane += lane_step<G>()) {
        int64_t at[3];
        walk_at<3>(l.walk, lane, at);
        Op::template lane<G, T>({(const T *)l.walk.data[0] + at[0], l.step[0]},
                                {(const T *)l.walk.data[1] + at[1], l.step[1]},
                                {(T *)l.walk.data[2] + at[2], l.step[2]}, l.n);
    }
}

/* Threads for a lane of n elements that lie `step` apart. */
int group_for(int64_t n, int64_t step)
{
    bool across_memory = step != 1 && step != -1;
    return n <= (across_memory ? 256 : 8) ? 1 : n <= 1024 ? 32 : PK_THREADS;
}

template <class T, class Op> cudaError_t along_of(cudaStream_t stream, const pk_lanes *l)
{
    int64_t lanes = l->walk.count;
    switch (group_for(l->n, l->step[2])) {
    case 1: return PLUMB_LAUNCH((along<T, 1, Op>), blocks_for(lanes), PK_THREADS, 0, stream, *l);
    case 32: return PLUMB_LAUNCH((along<T, 32, Op>), blocks_for(lanes * 32), PK_THREADS, 0, stream, *l);
    default:
        return PLUMB_LAUNCH((along<T, PK_THREADS, Op>), blocks_for(lanes * PK_THREADS), PK_THREADS, 0, stream, *l);
    }
}

template <class T> cudaError_t softmax_of(cudaStream_t stream, enum pk_softmax what, const pk_lanes *l)
{
    switch (what) {
    case PK_SOFTMAX: return along_of<T, op_softmax>(stream, l);
    case PK_SOFTMAX_BACKWARD: return along_of<T, op_softmax_backward>(stream, l);
    case PK_LOG_SOFTMAX: return along_of<T, op_log_softmax>(stream, l);
    case PK_LOG_SOFTMAX_BACKWARD: return along_of<T, op_log_softmax_backward>(stream, l);
    case PK_HARDMAX: return along_of<T, op_hardmax>(stream, l);
    }
    return cudaErrorInvalidValue;
}

/* ---- cross-entropy: logits (N, C), labels (N), class weights (C) or none ---- */

__device__ inline int64_t label_at(const pk_cross_entropy &c, int64_t n)
{
    int64_t at = n * c.labels.stride[0];
    return c.labels.dtype == PK_I32 ? ((const int32_t *)c.labels.data)[at] : ((const int64_t *)c.labels.data)[at];
}

template <class T> __device__ inline number<T> element(const pk_view &v, int64_t n)
{
    return load(((const T *)v.data)[n * v.stride[0]]);
}

template <class T> __device__ inline number<T> class_weight(const pk_cross_entropy &c, int64_t k)
{
    return c.weights.data ? element<T>(c.weights, k) : (number<T>)1;
}

/* w[k] ((1 - e) [k == label] + e / C); a class without a share is not asked for its weight */
template <class T> __device__ inline number<T> target_mass(const pk_cross_entropy &c, int64_t label, int64_t k)
{
    number<T> share = (number<T>)(k == label ? c.hit : c.miss);
    return share > 0 ? share * class_weight<T>(c, k) : 0;
}

/* Log-probabilities need no shift: moments whose logarithm is 0. */
template <int G, class T>
__device__ inline moments<number<T>> moments_of_row(const pk_cross_entropy &c, line<const T> x, int64_t classes)
{
    return c.logarithms ? moments<number<T>>{0, 1} : moments_of<G>(x, classes);
}

enum label_kind { LABELLED, IGNORED, WRONG };

template <int G> __device__ inline label_kind read_label(const pk_cross_entropy &c, int64_t n, int64_t *label)
{
    *label = label_at(c, n);
    if (c.use_ignore && *label == c.ignore) {
        return IGNORED;
    }
    int64_t classes = c.logits.dim[1];
    if (*label >= 0 && *label < classes) {
        return LABELLED;
    }
    if (member<G>() == 0) {
        note_fault(c.fault, c.watch, n, *label, 0, classes);
    }
    return WRONG;
}

/* A wrong label makes the outputs not-a-number: a training step that is gated by finiteness then changes nothing. */
template <class T, int G> __global__ void __launch_bounds__(PK_THREADS) cross_entropy(const pk_cross_entropy c)
{
    typedef number<T> N;
    int64_t classes = c.logits.dim[1];
    for (int64_t n = first_lane<G>(); n < c.logits.dim[0]; n += lane_step<G>()) {
        int64_t label;
        label_kind kind = read_label<G>(c, n, &label);
        N total = kind == WRONG ? (N)NAN : 0, weight = total;
        if (kind == LABELLED) {
            line<const T> x = {(const T *)c.logits.data + n * c.logits.stride[0], c.logits.stride[1]};
            moments<N> m = moments_of_row<G, T>(c, x, classes);
            N shift = m_log(m.sum);
            for (int64_t k = member<G>(); k < classes; k += G) {
                N mass = target_mass<T>(c, label, k), log_p = load(x[k]) - m.most - shift;
                bool asked = !c.logarithms || k == label || c.miss > 0;
                if (mass != 0 || (is_nan(log_p) && asked)) {
                    total -= mass * log_p;
                }
            }
            total = meet<G>(total, the_sum());
            weight = class_weight<T>(c, label);
        }
        if (member<G>() == 0) {
            ((T *)c.out.data)[n * c.out.stride[0]] = store<T>(total);
            ((T *)c.weight.data)[n * c.weight.stride[0]] = store<T>(weight);
        }
    }
}

/* dlogits = dloss (softmax sum(t) - t) with t the target mass */
template <class T, int G> __global__ void __launch_bounds__(PK_THREADS) cross_entropy_backward(const pk_cross_entropy c)
{
    typedef number<T> N;
    int64_t classes = c.logits.dim[1];
    for (int64_t n = first_lane<G>(); n < c.logits.dim[0]; n += lane_step<G>()) {
        int64_t label;
        label_kind kind = read_label<G>(c, n, &label);
        line<const T> x = {(const T *)c.logits.data + n * c.logits.stride[0], c.logits.stride[1]};
        line<T> dx = {(T *)c.out.data + n * c.out.stride[0], c.out.stride[1]};
        if (kind != LABELLED) {
            for (int64_t k = member<G>(); k < classes; k += G) {
                dx[k] = store<T>(kind == WRONG ? (N)NAN : (N)0);
            }
            continue;
        }
        moments<N> m = moments_of_row<G, T>(c, x, classes);
        N mass = 0, d = element<T>(c.dloss, n);
        for (int64_t k = member<G>(); k < classes; k += G) {
            mass += target_mass<T>(c, label, k);
        }
        mass = meet<G>(mass, the_sum());
        for (int64_t k = member<G>(); k < classes; k += G) {
            N push = c.logarithms ? 0 : m_exp(load(x[k]) - m.most) / m.sum * mass;
            dx[k] = store<T>(d * (push - target_mass<T>(c, label, k)));
        }
    }
}

template <class T, int G> cudaError_t cross_entropy_in(cudaStream_t stream, bool backward, const pk_cross_entropy *c)
{
    unsigned blocks = blocks_for(c->logits.dim[0] * G);
    return backward ? PLUMB_LAUNCH((cross_entropy_backward<T, G>), blocks, PK_THREADS, 0, stream, *c)
                    : PLUMB_LAUNCH((cross_entropy<T, G>), blocks, PK_THREADS, 0, stream, *c);
}

template <class T> cudaError_t cross_entropy_of(cudaStream_t stream, bool backward, const pk_cross_entropy *c)
{
    switch (group_for(c->logits.dim[1], c->logits.stride[1])) {
    case 1: return cross_entropy_in<T, 1>(stream, backward, c);
    case 32: return cross_entropy_in<T, 32>(stream, backward, c);
    default: return cross_entropy_in<T, PK_THREADS>(stream, backward, c);
    }
}

cudaError_t cross_entropy_typed(cudaStream_t stream, bool backward, const pk_cross_entropy *c)
{
    if (c->logits.dim[0] == 0) {
        return cudaSuccess;
    }
    switch (c->logits.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return cross_entropy_of<T>(stream, backward, c);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_softmax(cudaStream_t stream, enum pk_softmax what, int dtype, const pk_lanes *l)
{
    if (l->walk.count == 0 || l->n == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return softmax_of<T>(stream, what, l);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_cross_entropy(cudaStream_t stream, const pk_cross_entropy *c)
{
    return cross_entropy_typed(stream, false, c);
}

extern "C" cudaError_t plumb_k_cross_entropy_backward(cudaStream_t stream, const pk_cross_entropy *c)
{
    return cross_entropy_typed(stream, true, c);
}
