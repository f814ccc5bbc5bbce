/* Updates of the optimisers: many tensors in one launch, each cut into chunks, a block a chunk. The rules are those of
 * src/op/update.c, in the tensors' own type. What changes from step to step (apply, learning rate, scale, count) is
 * read from device memory, so that a captured step can be replayed. Outputs may lie over their inputs. */
#include "number.cuh"

namespace {

enum { CHUNK = 16 * PK_THREADS };

template <class N> struct terms { /* what all elements share */
    N lr, scale, beta1, beta2, rest1, rest2; /* rest: 1 - beta */
    N correct1, correct2;                    /* Adam's 1 - beta^t */
    N epsilon, decay, l2, l1;                /* decay: lr * weight_decay */
    bool classic;
};

/* Powers are in double: a float's 1 - beta^t has lost most of its bits at the first steps. */
template <class N> __device__ inline terms<N> terms_of(const pk_update_rule &r, bool adam)
{
    terms<N> t;
    t.lr = *(const N *)r.lr;
    t.scale = *(const N *)r.scale;
    t.beta1 = (N)r.beta1;
    t.beta2 = (N)r.beta2;
    t.rest1 = (N)(1 - r.beta1);
    t.rest2 = (N)(1 - r.beta2);
    double count = (double)*r.step + 1;
    t.correct1 = adam ? (N)(1 - pow(r.beta1, count)) : (N)1;
    t.correct2 = adam ? (N)(1 - pow(r.beta2, count)) : (N)1;
    t.epsilon = (N)r.epsilon;
    t.decay = (N)((double)t.lr * r.weight_decay);
    t.l2 = (N)r.l2;
    t.l1 = (N)r.l1;
    t.classic = r.classic != 0;
    return t;
}

/* Each rule changes its moments a, b and returns the step to subtract. */
struct rule_sgd {
    static constexpr int slots = 0;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &, N &) { return t.lr * g; }
};
struct rule_momentum {
    static constexpr int slots = 1;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &a, N &)
    {
        a = t.beta1 * a + (t.classic ? g : t.rest1 * g);
        return t.lr * a;
    }
};
struct rule_nesterov {
    static constexpr int slots = 1;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &a, N &)
    {
        a = t.beta1 * a + t.lr * g;
        return t.lr * g + t.beta1 * a;
    }
};
struct rule_adagrad {
    static constexpr int slots = 1;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &a, N &)
    {
        a += g * g;
        return t.lr * g / m_sqrt(a + t.epsilon);
    }
};
struct rule_rmsprop {
    static constexpr int slots = 1;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &a, N &)
    {
        a = t.beta2 * a + t.rest2 * g * g;
        return t.lr * g / (m_sqrt(a) + t.epsilon);
    }
};
struct rule_adam {
    static constexpr int slots = 2;
    template <class N> static __device__ N step(const terms<N> &t, N g, N &a, N &b)
    {
        a = t.beta1 * a + t.rest1 * g;
        b = t.beta2 * b + t.rest2 * g * g;
        return t.lr * (a / t.correct1) / (m_sqrt(b / t.correct2) + t.epsilon);
    }
};

/* One element: p, g, a, b -> p, a, b. */
template <class Rule, class N> __device__ inline void change(const terms<N> &t, N &p, N gradient, N &a, N &b)
{
    N sign = (N)((p > 0) - (p < 0));
    N g = t.scale * gradient + t.l2 * p + t.l1 * sign;
    N step = Rule::step(t, g, a, b);
    p = p - step - t.decay * p;
}

/* ---- tensors that are packed alike ---- */

struct chunk { /* one block's work */
    int64_t begin, end;
    int tensor;
};

/* A few tensors at most: the block looks through them. */
__device__ inline chunk chunk_of(const pk_update_tensors &t, int64_t index)
{
    for (int i = 0; i < t.tensors; i++) {
        int64_t chunks = (t.count[i] + CHUNK - 1) / CHUNK;
        if (index < chunks) {
            int64_t end = (index + 1) * CHUNK;
            return {index * CHUNK, end < t.count[i] ? end : t.count[i], i};
        }
        index -= chunks;
    }
    return {0, 0, 0};
}

/* N elements of every tensor at `i` (in units of N). */
template <class T, class Rule, int N>
__device__ inline void change_pack(const terms<T> &t, void *const *data, int64_t i, bool apply)
{
    typedef pack<T, N> P;
    P p = ((const P *)data[0])[i], a = {}, b = {};
    if (Rule::slots > 0) {
        a = ((const P *)data[2])[i];
    }
    if (Rule::slots > 1) {
        b = ((const P *)data[3])[i];
    }
    if (apply) {
        P g = ((const P *)data[1])[i];
#pragma unroll
        for (int k = 0; k < N; k++) {
            change<Rule>(t, p.at[k], g.at[k], a.at[k], b.at[k]);
        }
    }
    ((P *)data[4])[i] = p;
    if (Rule::slots > 0) {
        ((P *)data[5])[i] = a;
    }
    if (Rule::slots > 1) {
        ((P *)data[6])[i] = b;
    }
}

template <class T> __device__ inline bool all_aligned(void *const *data)
{
    bool good = true;
#pragma unroll
    for (int k = 0; k < PK_UPDATE_OPERANDS; k++) {
        good = good && (uint64_t)data[k] % 16 == 0;
    }
    return good;
}

template <class T, class Rule>
__global__ void __launch_bounds__(PK_THREADS) update(const pk_update_rule r, const pk_update_tensors tensors)
{
    PLUMB_SHARED(terms<T>, shared, [1]); /* one thread takes the powers */
    if (threadIdx.x == 0) {
        shared[0] = terms_of<T>(r, Rule::slots == 2);
    }
    __syncthreads();
    terms<T> t = shared[0];
    bool apply = *r.apply != 0;
    chunk c = chunk_of(tensors, blockIdx.x);
    void *const *data = tensors.data[c.tensor];
    int64_t done = c.begin;
    if (all_aligned<T>(data)) {
        constexpr int n = 16 / (int)sizeof(T);
        for (int64_t i = c.begin / n + threadIdx.x; i < c.end / n; i += PK_THREADS) {
            change_pack<T, Rule, n>(t, data, i, apply);
        }
        done = c.end / n * n;
    }
    for (int64_t i = done + threadIdx.x; i < c.end; i += PK_THREADS) {
        change_pack<T, Rule, 1>(t, data, i, apply);
    }
}

/* ---- one tensor of any strides ---- */

template <class T, class Rule>
__global__ void __launch_bounds__(PK_THREADS) update_strided(const pk_update_rule r, const pk_update_strided s)
{
    PLUMB_SHARED(terms<T>, shared, [1]);
    if (threadIdx.x == 0) {
        shared[0] = terms_of<T>(r, Rule::slots == 2);
    }
    __syncthreads();
    terms<T> t = shared[0];
    bool apply = *r.apply != 0;
    for (int64_t i = first_element(); i < s.count; i += element_stride()) {
        void *data[PK_UPDATE_OPERANDS];
        int64_t rest = i, index[PK_MAX_RANK];
        for (int d = s.rank - 1; d >= 0; d--) {
            index[d] = rest % s.dim[d];
            rest /= s.dim[d];
        }
        for (int k = 0; k < PK_UPDATE_OPERANDS; k++) {
            T *element = (T *)s.data[k];
            for (int d = 0; element && d < s.rank; d++) {
                element += index[d] * s.stride[k][d];
            }
            data[k] = element;
        }
        change_pack<T, Rule, 1>(t, data, 0, apply);
    }
}

template <class T, class Rule>
cudaError_t update_by(cudaStream_t stream, const pk_update_rule *r, const pk_update_tensors *t,
                      const pk_update_strided *s)
{
    if (s) {
        return PLUMB_LAUNCH((update_strided<T, Rule>), blocks_for(s->count), PK_THREADS, 0, stream, *r, *s);
    }
    int64_t chunks = 0;
    for (int i = 0; i < t->tensors; i++) {
        chunks += (t->count[i] + CHUNK - 1) / CHUNK;
    }
    if (chunks > INT32_MAX) {
        return cudaErrorInvalidConfiguration;
    }
    return chunks == 0 ? cudaSuccess
                       : PLUMB_LAUNCH((update<T, Rule>), (unsigned)chunks, PK_THREADS, 0, stream, *r, *t);
}

template <class T>
cudaError_t update_of(cudaStream_t stream, enum pk_update what, const pk_update_rule *r, const pk_update_tensors *t,
                      const pk_update_strided *s)
{
    switch (what) {
    case PK_SGD: return update_by<T, rule_sgd>(stream, r, t, s);
    case PK_MOMENTUM: return update_by<T, rule_momentum>(stream, r, t, s);
    case PK_NESTEROV: return update_by<T, rule_nesterov>(stream, r, t, s);
    case PK_ADAGRAD: return update_by<T, rule_adagrad>(stream, r, t, s);
    case PK_RMSPROP: return update_by<T, rule_rmsprop>(stream, r, t, s);
    case PK_ADAM: return update_by<T, rule_adam>(stream, r, t, s);
    }
    return cudaErrorInvalidValue;
}

cudaError_t update_typed(cudaStream_t stream, enum pk_update what, int dtype, const pk_update_rule *r,
                         const pk_update_tensors *t, const pk_update_strided *s)
{
    switch (dtype) {
    case PK_F32: return update_of<float>(stream, what, r, t, s);
    case PK_F64: return update_of<double>(stream, what, r, t, s);
    default: return cudaErrorInvalidValue;
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_update(cudaStream_t stream, enum pk_update what, int dtype, const pk_update_rule *rule,
                                      const pk_update_tensors *t)
{
    return update_typed(stream, what, dtype, rule, t, NULL);
}

extern "C" cudaError_t plumb_k_update_strided(cudaStream_t stream, enum pk_update what, int dtype,
                                              const pk_update_rule *rule, const pk_update_strided *t)
{
    return t->count == 0 ? cudaSuccess : update_typed(stream, what, dtype, rule, NULL, t);
}
