/* Element-wise kernels of one operand, casts among them. Two forms of each: packed, when every operand lies side by side (or is one scalar) and
 * is aligned, moving 16 bytes of the first operand at once; and walked, for any strides. Formulas are those of
 * src/cpu/ref, written so that a not-a-number comes through. */
#include "elementwise.cuh"

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

/* ---- structs of the op's numbers a, b with the formula ---- */

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

template <class N> __device__ inline N negated(N x) { return -x; }
template <> __device__ inline int64_t negated(int64_t x) { return (int64_t)(0 - (uint64_t)x); } /* wraps */
template <class N> __device__ inline N magnitude(N x) { return m_abs(x); }
template <> __device__ inline int64_t magnitude(int64_t x) { return x < 0 ? negated(x) : x; }
template <class N> __device__ inline N squared(N x) { return x * x; }
template <> __device__ inline int64_t squared(int64_t x) { return (int64_t)((uint64_t)x * (uint64_t)x); }

/* In double, too: the exponent's rounding is a relative error of its size. */
template <class N> __device__ inline N gelu_tanh_of(N x)
{
    double wide = (double)x, twice = 1.5957691216057307117 * (wide + 0.044715 * wide * wide * wide);
    return (N)gated(wide, 1 / (1 + exp(-twice)));
}

template <class N> __device__ inline N mish_of(N x)
{
    double wide = (double)x;
    return (N)gated(wide, tanh(log1p(exp(wide))));
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
UNARY(op_neg, negated(x))
UNARY(op_abs, magnitude(x))
UNARY(op_sign, x > 0 ? 1 : x < 0 ? -1 : x)
UNARY(op_exp, m_exp(x))
UNARY(op_expm1, m_expm1(x))
UNARY(op_log, m_log(x))
UNARY(op_log1p, m_log1p(x))
UNARY(op_sqrt, m_sqrt(x))
UNARY(op_rsqrt, 1 / m_sqrt(x))
UNARY(op_square, squared(x))
UNARY(op_reciprocal, 1 / x)
UNARY(op_sin, m_sin(x))
UNARY(op_cos, m_cos(x))
/* In double are those whose form in f32 may be off by three or four units in the last place on a GPU. */
UNARY(op_tan, tan((double)x))
UNARY(op_asin, m_asin(x))
UNARY(op_acos, m_acos(x))
UNARY(op_atan, m_atan(x))
UNARY(op_sinh, sinh((double)x))
UNARY(op_cosh, m_cosh(x))
UNARY(op_asinh, asinh((double)x))
UNARY(op_acosh, acosh((double)x))
UNARY(op_atanh, atanh((double)x))
UNARY(op_floor, m_floor(x))
UNARY(op_ceil, m_ceil(x))
UNARY(op_round, m_rint(x))
UNARY(op_trunc, m_trunc(x))
UNARY(op_erf, m_erf(x))
UNARY(op_erfc, erfc((double)x))
UNARY(op_sigmoid, logistic(x))
UNARY(op_tanh, m_tanh(x))
UNARY(op_relu, x > 0 || is_nan(x) ? x : 0)
UNARY(op_leaky_relu, x > 0 ? x : a * x)
UNARY(op_elu, x > 0 ? x : a * m_expm1(x))
UNARY(op_gelu, gelu_of(x))
UNARY(op_gelu_tanh, gelu_tanh_of(x))
UNARY(op_mish, mish_of(x))
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

inline int64_t whole(double x)
{
    return x >= 9223372036854775808.0 ? INT64_MAX : x > -9223372036854775808.0 ? (int64_t)x : INT64_MIN;
}

/* Of integers, a and b are whole numbers that fit, rounded into the range. */
template <template <class> class Op>
cudaError_t number_of_any(cudaStream_t stream, int dtype, double a, double b, const pk_walk *w)
{
    int64_t low = whole(ceil(a)), high = whole(floor(b));
    switch (dtype) {
    case PK_I32: return run_one<int32_t, int32_t>(stream, w, Op<int32_t>{low, high});
    case PK_I64: return run_one<int64_t, int64_t>(stream, w, Op<int64_t>{low, high});
    case PK_U8: return run_one<uint8_t, uint8_t>(stream, w, Op<uint8_t>{low, high});
    default: return unary_of<Op>(stream, dtype, a, b, w);
    }
}

/* ---- casts ---- */

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
#define WITH_INTEGERS(number, name) \
    case number: return number_of_any<name>(stream, dtype, a, b, w);
        ROW(PK_AFFINE, op_affine)
        WITH_INTEGERS(PK_NEG, op_neg)
        WITH_INTEGERS(PK_ABS, op_abs)
        WITH_INTEGERS(PK_SIGN, op_sign)
        ROW(PK_EXP, op_exp)
        ROW(PK_EXPM1, op_expm1)
        ROW(PK_LOG, op_log)
        ROW(PK_LOG1P, op_log1p)
        ROW(PK_SQRT, op_sqrt)
        ROW(PK_RSQRT, op_rsqrt)
        WITH_INTEGERS(PK_SQUARE, op_square)
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
        WITH_INTEGERS(PK_CLAMP, op_clamp)
        ROW(PK_TAN, op_tan)
        ROW(PK_ASIN, op_asin)
        ROW(PK_ACOS, op_acos)
        ROW(PK_ATAN, op_atan)
        ROW(PK_SINH, op_sinh)
        ROW(PK_COSH, op_cosh)
        ROW(PK_ASINH, op_asinh)
        ROW(PK_ACOSH, op_acosh)
        ROW(PK_ATANH, op_atanh)
        ROW(PK_FLOOR, op_floor)
        ROW(PK_CEIL, op_ceil)
        ROW(PK_ROUND, op_round)
        ROW(PK_TRUNC, op_trunc)
        ROW(PK_ERFC, op_erfc)
        ROW(PK_GELU_TANH, op_gelu_tanh)
        ROW(PK_MISH, op_mish)
#undef ROW
#undef WITH_INTEGERS
    }
    return cudaErrorInvalidValue;
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
