/* Element-wise kernels. Two forms of each: packed, when every operand lies side by side (or is one scalar) and is
 * aligned, moving 16 bytes of the first operand at once; and walked, for any strides. Formulas are those of
 * src/cpu/ref, written so that a not-a-number comes through. */
#include "activation.cuh"
#include "number.cuh"

namespace {

/* ---- the two forms ---- */

template <class X, class Y, class F>
__global__ void __launch_bounds__(PK_THREADS) one_walked(const pk_walk w, const F f)
{
    const X *x = (const X *)w.data[0];
    Y *y = (Y *)w.data[1];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[2];
        walk_at<2>(w, i, at);
        y[at[1]] = f(x[at[0]]);
    }
}

template <class X, class Y, class F, int N>
__global__ void __launch_bounds__(PK_THREADS) one_packed(const X *x, Y *y, int64_t count, const F f)
{
    int64_t packs = count / N;
    for (int64_t i = first_element(); i < packs; i += element_stride()) {
        pack<X, N> from = ((const pack<X, N> *)x)[i];
        pack<Y, N> to;
#pragma unroll
        for (int k = 0; k < N; k++) {
            to.at[k] = f(from.at[k]);
        }
        ((pack<Y, N> *)y)[i] = to;
    }
    for (int64_t i = packs * N + first_element(); i < count; i += element_stride()) {
        y[i] = f(x[i]);
    }
}

template <class A, class Y, class F>
__global__ void __launch_bounds__(PK_THREADS) two_walked(const pk_walk w, const F f)
{
    const A *a = (const A *)w.data[0], *b = (const A *)w.data[1];
    Y *y = (Y *)w.data[2];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[3];
        walk_at<3>(w, i, at);
        y[at[2]] = f(a[at[0]], b[at[1]]);
    }
}

/* N elements, or N times the scalar where `step` is 0. */
template <class T, int N> __device__ inline pack<T, N> fetched(const T *from, int64_t i, int64_t step)
{
    if (step) {
        return ((const pack<T, N> *)from)[i];
    }
    pack<T, N> p;
#pragma unroll
    for (int k = 0; k < N; k++) {
        p.at[k] = from[0];
    }
    return p;
}

template <class A, class Y, class F, int N>
__global__ void __launch_bounds__(PK_THREADS) two_packed(const pk_walk w, const F f)
{
    const A *a = (const A *)w.data[0], *b = (const A *)w.data[1];
    Y *y = (Y *)w.data[2];
    int64_t packs = w.count / N, step_a = w.stride[0][0], step_b = w.stride[1][0];
    for (int64_t i = first_element(); i < packs; i += element_stride()) {
        pack<A, N> left = fetched<A, N>(a, i, step_a), right = fetched<A, N>(b, i, step_b);
        pack<Y, N> to;
#pragma unroll
        for (int k = 0; k < N; k++) {
            to.at[k] = f(left.at[k], right.at[k]);
        }
        ((pack<Y, N> *)y)[i] = to;
    }
    for (int64_t i = packs * N + first_element(); i < w.count; i += element_stride()) {
        y[i] = f(a[i * step_a], b[i * step_b]);
    }
}

/* ---- which form ---- */

/* Operand k may be moved N elements of `size` bytes at once. */
bool packs_well(const pk_walk *w, int k, size_t size, int n)
{
    return (w->stride[k][0] == 1 && aligned(w->data[k], size * (size_t)n)) ||
           (w->stride[k][0] == 0 && k < w->operands - 1);
}

template <class X, class Y, class F> cudaError_t run_one(cudaStream_t stream, const pk_walk *w, const F &f)
{
    constexpr int n = 16 / sizeof(X) * sizeof(Y) > 16 ? 16 / sizeof(Y) : 16 / sizeof(X);
    if (w->count == 0) {
        return cudaSuccess;
    }
    if (w->rank == 1 && w->stride[0][0] == 1 && packs_well(w, 0, sizeof(X), n) && packs_well(w, 1, sizeof(Y), n)) {
        return PLUMB_LAUNCH((one_packed<X, Y, F, n>), blocks_for(w->count / n + 1), PK_THREADS, 0, stream,
                            (const X *)w->data[0], (Y *)w->data[1], w->count, f);
    }
    return PLUMB_LAUNCH((one_walked<X, Y, F>), blocks_for(w->count), PK_THREADS, 0, stream, *w, f);
}

template <class A, class Y, class F> cudaError_t run_two(cudaStream_t stream, const pk_walk *w, const F &f)
{
    constexpr int n = 16 / sizeof(A);
    if (w->count == 0) {
        return cudaSuccess;
    }
    if (w->rank == 1 && packs_well(w, 0, sizeof(A), n) && packs_well(w, 1, sizeof(A), n) &&
        packs_well(w, 2, sizeof(Y), n)) {
        return PLUMB_LAUNCH((two_packed<A, Y, F, n>), blocks_for(w->count / n + 1), PK_THREADS, 0, stream, *w, f);
    }
    return PLUMB_LAUNCH((two_walked<A, Y, F>), blocks_for(w->count), PK_THREADS, 0, stream, *w, f);
}

/* ---- one operand: structs of the op's numbers a, b with the formula ---- */

/* A shut gate gives 0 even where x is infinite. */
template <class N> __device__ inline N gated(N x, N gate)
{
    return gate == 0 ? (x < 0 ? (N)-0.0 : (N)0) : x * gate;
}

/* In double: the tail of erfc multiplies the rounding of its argument by its square. */
template <class N> __device__ inline N gelu_of(N x)
{
    double wide = (double)x;
    return (N)gated(wide, 0.5 * erfc(-wide * 0.70710678118654752440));
}

template <class N> __device__ inline N softplus_of(N x)
{
    return is_nan(x) ? x : (x > 0 ? x : 0) + m_log1p(m_exp(-m_abs(x)));
}

template <class N> __device__ inline N huber_of(N x, N delta)
{
    N size = m_abs(x);
    return size <= delta ? (N)0.5 * x * x : delta * (size - (N)0.5 * delta);
}

#define UNARY(name, expression) \
    template <class T> struct name { \
        typedef number<T> N; \
        N a, b; \
        __device__ T operator()(T element) const \
        { \
            N x = load(element); \
            return store<T>((N)(expression)); \
        } \
    };

UNARY(op_affine, a * x + b)
UNARY(op_neg, -x)
UNARY(op_abs, m_abs(x))
UNARY(op_sign, x > 0 ? 1 : x < 0 ? -1 : x)
UNARY(op_exp, m_exp(x))
UNARY(op_expm1, m_expm1(x))
UNARY(op_log, m_log(x))
UNARY(op_log1p, m_log1p(x))
UNARY(op_sqrt, m_sqrt(x))
UNARY(op_rsqrt, 1 / m_sqrt(x))
UNARY(op_square, x * x)
UNARY(op_reciprocal, 1 / x)
UNARY(op_sin, m_sin(x))
UNARY(op_cos, m_cos(x))
UNARY(op_erf, m_erf(x))
UNARY(op_sigmoid, logistic(x))
UNARY(op_tanh, m_tanh(x))
UNARY(op_relu, x > 0 || is_nan(x) ? x : 0)
UNARY(op_leaky_relu, x > 0 ? x : a * x)
UNARY(op_elu, x > 0 ? x : a * m_expm1(x))
UNARY(op_gelu, gelu_of(x))
UNARY(op_silu, gated(x, logistic(x)))
UNARY(op_softplus, softplus_of(x))
UNARY(op_huber, huber_of(x, a))
UNARY(op_clamp, x < a ? a : x > b ? b : x)

template <template <class> class Op>
cudaError_t unary_of(cudaStream_t stream, int dtype, double a, double b, const pk_walk *w)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return run_one<T, T>(stream, w, Op<T>{(number<T>)a, (number<T>)b});
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

/* ---- two operands ---- */

#define BINARY(name, expression) \
    template <class T> struct name { \
        typedef number<T> N; \
        N p, q; \
        __device__ T operator()(T left, T right) const \
        { \
            N a = load(left), b = load(right); \
            return store<T>((N)(expression)); \
        } \
    };
#define COMPARISON(name, expression) \
    template <class T> struct name { \
        typedef number<T> N; \
        N p, q; \
        __device__ uint8_t operator()(T left, T right) const \
        { \
            N a = load(left), b = load(right); \
            return (uint8_t)(expression); \
        } \
    };

/* Integers wrap, as unsigned numbers do; toward zero, by zero 0, and the one quotient that does not fit wraps. */
template <class N> __device__ inline N sum(N a, N b) { return a + b; }
template <class N> __device__ inline N difference(N a, N b) { return a - b; }
template <class N> __device__ inline N product(N a, N b) { return a * b; }
template <class N> __device__ inline N quotient(N a, N b) { return a / b; }
template <> __device__ inline int64_t sum(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
template <> __device__ inline int64_t difference(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
template <> __device__ inline int64_t product(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
template <> __device__ inline int64_t quotient(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

/* In double: powf of the GPU may be off by several units in the last place. */
template <class N> __device__ inline N power(N a, N b) { return (N)pow((double)a, (double)b); }

BINARY(op_add, sum(a, b))
BINARY(op_sub, difference(a, b))
BINARY(op_mul, product(a, b))
BINARY(op_div, quotient(a, b))
BINARY(op_maximum, a >= b || is_nan(a) ? a : b)
BINARY(op_minimum, a <= b || is_nan(a) ? a : b)
COMPARISON(op_equal, a == b)
COMPARISON(op_less, a < b)
COMPARISON(op_less_equal, a <= b)
BINARY(op_pow, power(a, b))
BINARY(op_sigmoid_backward, b * a * (1 - a))
BINARY(op_tanh_backward, b * ((1 - a) * (1 + a)))
BINARY(op_relu_backward, a > 0 || is_nan(a) ? b : 0)
BINARY(op_leaky_relu_backward, a > 0 || is_nan(a) ? b : p * b)
BINARY(op_elu_backward, a > 0 ? b : p * m_exp(a) * b)
BINARY(op_clamp_backward, a < p || a > q ? 0 : b)

template <template <class> class Op>
cudaError_t binary_of(cudaStream_t stream, int dtype, double p, double q, const pk_walk *w)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return run_two<T, T>(stream, w, Op<T>{(number<T>)p, (number<T>)q});
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

template <template <class> class Op> cudaError_t arithmetic_of(cudaStream_t stream, int dtype, const pk_walk *w)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return run_two<T, T>(stream, w, Op<T>{0, 0});
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

template <template <class> class Op> cudaError_t comparison_of(cudaStream_t stream, int dtype, const pk_walk *w)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return run_two<T, uint8_t>(stream, w, Op<T>{0, 0});
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

/* ---- where and cast ---- */

template <class T> __global__ void __launch_bounds__(PK_THREADS) where_walked(const pk_walk w)
{
    const uint8_t *condition = (const uint8_t *)w.data[0];
    const T *a = (const T *)w.data[1], *b = (const T *)w.data[2];
    T *y = (T *)w.data[3];
    for (int64_t i = first_element(); i < w.count; i += element_stride()) {
        int64_t at[4];
        walk_at<4>(w, i, at);
        y[at[3]] = condition[at[0]] ? a[at[1]] : b[at[2]];
    }
}

template <class T> cudaError_t where_of(cudaStream_t stream, const pk_walk *w)
{
    return w->count == 0 ? cudaSuccess
                         : PLUMB_LAUNCH(where_walked<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w);
}

template <class X, class Y> struct op_cast {
    __device__ Y operator()(X x) const { return store<Y>(load(x)); }
};
/* Equal types are copied bit for bit; an integer that does not fit its new type goes to the nearest that does. */
template <class X> struct op_cast<X, X> {
    __device__ X operator()(X x) const { return x; }
};
template <> struct op_cast<int64_t, int32_t> {
    __device__ int32_t operator()(int64_t x) const { return (int32_t)clipped(x, INT32_MIN, INT32_MAX); }
};
template <> struct op_cast<int64_t, uint8_t> {
    __device__ uint8_t operator()(int64_t x) const { return (uint8_t)clipped(x, 0, 255); }
};
template <> struct op_cast<int32_t, uint8_t> {
    __device__ uint8_t operator()(int32_t x) const { return (uint8_t)clipped((int64_t)x, 0, 255); }
};

template <class X> cudaError_t cast_from(cudaStream_t stream, int to, const pk_walk *w)
{
    switch (to) {
#define ROW(number_of_type, Y) \
    case number_of_type: return run_one<X, Y>(stream, w, op_cast<X, Y>{});
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

} // namespace

/* ---- launchers ---- */

extern "C" cudaError_t plumb_k_unary(cudaStream_t stream, enum pk_unary what, int dtype, double a, double b,
                                     const pk_walk *w)
{
    switch (what) {
#define ROW(number, name) \
    case number: return unary_of<name>(stream, dtype, a, b, w);
        ROW(PK_AFFINE, op_affine)
        ROW(PK_NEG, op_neg)
        ROW(PK_ABS, op_abs)
        ROW(PK_SIGN, op_sign)
        ROW(PK_EXP, op_exp)
        ROW(PK_EXPM1, op_expm1)
        ROW(PK_LOG, op_log)
        ROW(PK_LOG1P, op_log1p)
        ROW(PK_SQRT, op_sqrt)
        ROW(PK_RSQRT, op_rsqrt)
        ROW(PK_SQUARE, op_square)
        ROW(PK_RECIPROCAL, op_reciprocal)
        ROW(PK_SIN, op_sin)
        ROW(PK_COS, op_cos)
        ROW(PK_ERF, op_erf)
        ROW(PK_SIGMOID, op_sigmoid)
        ROW(PK_TANH, op_tanh)
        ROW(PK_RELU, op_relu)
        ROW(PK_LEAKY_RELU, op_leaky_relu)
        ROW(PK_ELU, op_elu)
        ROW(PK_GELU, op_gelu)
        ROW(PK_SILU, op_silu)
        ROW(PK_SOFTPLUS, op_softplus)
        ROW(PK_HUBER, op_huber)
        ROW(PK_CLAMP, op_clamp)
#undef ROW
    }
    return cudaErrorInvalidValue;
}

extern "C" cudaError_t plumb_k_binary(cudaStream_t stream, enum pk_binary what, int dtype, double a, double b,
                                      const pk_walk *w)
{
    switch (what) {
    case PK_ADD: return arithmetic_of<op_add>(stream, dtype, w);
    case PK_SUB: return arithmetic_of<op_sub>(stream, dtype, w);
    case PK_MUL: return arithmetic_of<op_mul>(stream, dtype, w);
    case PK_DIV: return arithmetic_of<op_div>(stream, dtype, w);
    case PK_MAXIMUM: return arithmetic_of<op_maximum>(stream, dtype, w);
    case PK_MINIMUM: return arithmetic_of<op_minimum>(stream, dtype, w);
    case PK_EQUAL: return comparison_of<op_equal>(stream, dtype, w);
    case PK_LESS: return comparison_of<op_less>(stream, dtype, w);
    case PK_LESS_EQUAL: return comparison_of<op_less_equal>(stream, dtype, w);
    case PK_POW: return binary_of<op_pow>(stream, dtype, a, b, w);
    case PK_SIGMOID_BACKWARD: return binary_of<op_sigmoid_backward>(stream, dtype, a, b, w);
    case PK_TANH_BACKWARD: return binary_of<op_tanh_backward>(stream, dtype, a, b, w);
    case PK_RELU_BACKWARD: return binary_of<op_relu_backward>(stream, dtype, a, b, w);
    case PK_LEAKY_RELU_BACKWARD: return binary_of<op_leaky_relu_backward>(stream, dtype, a, b, w);
    case PK_ELU_BACKWARD: return binary_of<op_elu_backward>(stream, dtype, a, b, w);
    case PK_CLAMP_BACKWARD: return binary_of<op_clamp_backward>(stream, dtype, a, b, w);
    }
    return cudaErrorInvalidValue;
}

extern "C" cudaError_t plumb_k_where(cudaStream_t stream, int size, const pk_walk *w)
{
    switch (size) {
    case 1: return where_of<uint8_t>(stream, w);
    case 2: return where_of<uint16_t>(stream, w);
    case 4: return where_of<uint32_t>(stream, w);
    case 8: return where_of<uint64_t>(stream, w);
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_cast(cudaStream_t stream, int from, int to, const pk_walk *w)
{
    switch (from) {
#define ROW(number_of_type, X) \
    case number_of_type: return cast_from<X>(stream, to, w);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
