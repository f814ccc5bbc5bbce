/* Element-wise kernels of two operands, and `where`. Two forms of each: packed, when every operand lies side by side (or is one scalar) and
 * is aligned, moving 16 bytes of the first operand at once; and walked, for any strides. Formulas are those of
 * src/cpu/ref, written so that a not-a-number comes through. */
#include "elementwise.cuh"

namespace {

/* ---- the two forms ---- */

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

/* ---- structs of the op's numbers p, q with the formula ---- */

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

template <> __device__ inline int64_t power(int64_t a, int64_t b)
{
    uint64_t result = 1, base = (uint64_t)a;
    if (b < 0) {
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    }
    for (; b > 0; b >>= 1, base *= base) {
        result *= b & 1 ? base : 1;
    }
    return (int64_t)result;
}

/* The remainder with a's sign, and that with b's. */
__device__ inline float left_over(float a, float b) { return fmodf(a, b); }
__device__ inline double left_over(double a, double b) { return fmod(a, b); }
__device__ inline int64_t left_over(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
template <class N> __device__ inline N remainder_of(N a, N b)
{
    N r = left_over(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* In double: where the result is about 0, the two parts cancel. */
template <class N> __device__ inline N logaddexp_of(N left, N right)
{
    double a = (double)left, b = (double)right;
    return (N)(a == b ? a + 0.69314718055994530942 : (a > b || is_nan(a) ? a : b) + log1p(exp(-fabs(a - b))));
}

__device__ inline int64_t left_shift(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b); }
__device__ inline int64_t right_shift(int64_t a, int64_t b) { return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b; }

BINARY(op_add, sum(a, b))
BINARY(op_sub, difference(a, b))
BINARY(op_mul, product(a, b))
BINARY(op_div, quotient(a, b))
BINARY(op_maximum, a >= b || is_nan(a) ? a : b)
BINARY(op_minimum, a <= b || is_nan(a) ? a : b)
COMPARISON(op_equal, a == b)
COMPARISON(op_less, a < b)
COMPARISON(op_less_equal, a <= b)
COMPARISON(op_not_equal, a != b)
COMPARISON(op_logical_and, a != 0 && b != 0)
COMPARISON(op_logical_or, a != 0 || b != 0)
COMPARISON(op_logical_xor, (a != 0) != (b != 0))
BINARY(op_bitwise_and, a & b)
BINARY(op_bitwise_or, a | b)
BINARY(op_bitwise_xor, a ^ b)
BINARY(op_shift_left, left_shift(a, b))
BINARY(op_shift_right, right_shift(a, b))
BINARY(op_fmod, left_over(a, b))
BINARY(op_remainder, remainder_of(a, b))
BINARY(op_pow, power(a, b))
BINARY(op_atan2, atan2((double)a, (double)b))
BINARY(op_logaddexp, logaddexp_of(a, b))
BINARY(op_prelu, a > 0 ? a : a * b)
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

template <template <class> class Op> cudaError_t integers_of(cudaStream_t stream, int dtype, const pk_walk *w)
{
    switch (dtype) {
    case PK_I32: return run_two<int32_t, int32_t>(stream, w, Op<int32_t>{0, 0});
    case PK_I64: return run_two<int64_t, int64_t>(stream, w, Op<int64_t>{0, 0});
    case PK_U8: return run_two<uint8_t, uint8_t>(stream, w, Op<uint8_t>{0, 0});
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

/* ---- where ---- */

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

template <class T, int N> __global__ void __launch_bounds__(PK_THREADS) where_packed(const pk_walk w)
{
    const uint8_t *condition = (const uint8_t *)w.data[0];
    const T *a = (const T *)w.data[1], *b = (const T *)w.data[2];
    T *y = (T *)w.data[3];
    int64_t packs = w.count / N, step = w.stride[0][0], step_a = w.stride[1][0], step_b = w.stride[2][0];
    for (int64_t i = first_element(); i < packs; i += element_stride()) {
        pack<uint8_t, N> take = fetched<uint8_t, N>(condition, i, step);
        pack<T, N> left = fetched<T, N>(a, i, step_a), right = fetched<T, N>(b, i, step_b);
        pack<T, N> to;
#pragma unroll
        for (int k = 0; k < N; k++) {
            to.at[k] = take.at[k] ? left.at[k] : right.at[k];
        }
        ((pack<T, N> *)y)[i] = to;
    }
    for (int64_t i = packs * N + first_element(); i < w.count; i += element_stride()) {
        y[i] = condition[i * step] ? a[i * step_a] : b[i * step_b];
    }
}

template <class T> cudaError_t where_of(cudaStream_t stream, const pk_walk *w)
{
    constexpr int n = 16 / sizeof(T);
    if (w->count == 0) {
        return cudaSuccess;
    }
    if (w->rank == 1 && packs_well(w, 0, 1, n) && packs_well(w, 1, sizeof(T), n) && packs_well(w, 2, sizeof(T), n) &&
        packs_well(w, 3, sizeof(T), n)) {
        return PLUMB_LAUNCH((where_packed<T, n>), blocks_for(w->count / n + 1), PK_THREADS, 0, stream, *w);
    }
    return PLUMB_LAUNCH(where_walked<T>, blocks_for(w->count), PK_THREADS, 0, stream, *w);
}

} // namespace

/* ---- launchers ---- */

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
    case PK_NOT_EQUAL: return comparison_of<op_not_equal>(stream, dtype, w);
    case PK_LOGICAL_AND: return comparison_of<op_logical_and>(stream, dtype, w);
    case PK_LOGICAL_OR: return comparison_of<op_logical_or>(stream, dtype, w);
    case PK_LOGICAL_XOR: return comparison_of<op_logical_xor>(stream, dtype, w);
    case PK_BITWISE_AND: return integers_of<op_bitwise_and>(stream, dtype, w);
    case PK_BITWISE_OR: return integers_of<op_bitwise_or>(stream, dtype, w);
    case PK_BITWISE_XOR: return integers_of<op_bitwise_xor>(stream, dtype, w);
    case PK_SHIFT_LEFT: return integers_of<op_shift_left>(stream, dtype, w);
    case PK_SHIFT_RIGHT: return integers_of<op_shift_right>(stream, dtype, w);
    case PK_FMOD: return arithmetic_of<op_fmod>(stream, dtype, w);
    case PK_REMAINDER: return arithmetic_of<op_remainder>(stream, dtype, w);
    case PK_POW: return arithmetic_of<op_pow>(stream, dtype, w);
    case PK_ATAN2: return binary_of<op_atan2>(stream, dtype, a, b, w);
    case PK_LOGADDEXP: return binary_of<op_logaddexp>(stream, dtype, a, b, w);
    case PK_PRELU: return binary_of<op_prelu>(stream, dtype, a, b, w);
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
