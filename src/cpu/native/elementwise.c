/* Element-wise ops on f32, bf16 and f16. Each scalar function is one line below; it is compiled for every
 * instruction set in the forms that matter (operands side by side, or one element for the whole row) and in a
 * plain one for any strides. What f32 alone would not do well is computed in double, in vectors as well (wide.h), a
 * block at a time, so that there is one form of it. The functions without a vector form go through the C library in
 * double, on all threads.
 *
 * Low operands are widened, computed on in f32 and rounded a block at a time, in a buffer that stays in the
 * nearest cache: memory sees each operand once. Rounding what f32 has rounded is as good as rounding once for
 * sums, products, quotients and roots (half.c), and far within the bounds of the others. */
#include "cpu/native/functions.h"
#include "cpu/native/half.h"
#include "cpu/native/strided.h"
#include "cpu/native/wide.h"
#include "op/attr.h"

/* A row: y[i] = f(a[i], b[i], c[i]), elements stride[...] apart in the order y, a, b, c; `n` the op's
 * numbers. */
struct numbers {
    float a, b, low, high;
};
typedef void kernel(void *y, const void *a, const void *b, const void *c, const int64_t *stride,
                    int64_t count, const struct numbers *n);

/* clang-format off */
/* op, expression of x */
#define UNARY(X, isa, TARGET)                                                                                \
    X(isa, TARGET, affine, n->a * x + n->b)                                                                  \
    X(isa, TARGET, neg, -x)                                                                                  \
    X(isa, TARGET, abs, fabsf(x))                                                                            \
    X(isa, TARGET, sign, x > 0 ? 1.0f : x < 0 ? -1.0f : 0 * x)                                                  \
    X(isa, TARGET, exp, native_exp_any(x))                                                                   \
    X(isa, TARGET, log, native_log(x))                                                                       \
    X(isa, TARGET, sqrt, sqrtf(x))                                                                           \
    X(isa, TARGET, rsqrt, 1.0f / sqrtf(x))                                                                   \
    X(isa, TARGET, square, x * x)                                                                            \
    X(isa, TARGET, reciprocal, 1.0f / x)                                                                     \
    X(isa, TARGET, sigmoid, native_sigmoid(x))                                                               \
    X(isa, TARGET, tanh, native_tanh(x))                                                                     \
    X(isa, TARGET, floor, floorf(x))                                                                         \
    X(isa, TARGET, ceil, ceilf(x))                                                                           \
    X(isa, TARGET, round, rintf(x))                                                                          \
    X(isa, TARGET, trunc, truncf(x))                                                                         \
    X(isa, TARGET, relu, x <= 0 ? 0.0f : x)                                                                  \
    X(isa, TARGET, leaky_relu, x > 0 ? x : n->a * x)                                                         \
    X(isa, TARGET, huber, fabsf(x) <= n->a ? 0.5f * x * x : n->a * (fabsf(x) - 0.5f * n->a))                 \
    X(isa, TARGET, clamp, x < n->low ? n->a : x > n->high ? n->b : x)

/* op, expression of x in double */
#define WIDE(X, isa, TARGET)                                                                                 \
    X(isa, TARGET, expm1, wide_expm1(x))                                                                     \
    X(isa, TARGET, erf, wide_erf(x))                                                                         \
    X(isa, TARGET, erfc, wide_erfc(x))                                                                       \
    X(isa, TARGET, elu, x > 0 ? x : (double)n->a * wide_expm1(x))                                            \
    X(isa, TARGET, gelu, wide_gated(x, 0.5 * wide_erfc(-x * M_SQRT1_2)))                                     \
    X(isa, TARGET, gelu_tanh, wide_gated(x, wide_sigmoid(M_SQRT2 * M_2_SQRTPI * (x + 0.044715 * x * x * x)))) \
    X(isa, TARGET, mish, wide_gated(x, wide_mish_gate(x)))                                                   \
    X(isa, TARGET, silu, wide_gated(x, wide_sigmoid(x)))                                                     \
    X(isa, TARGET, softplus, wide_softplus(x))

#define LIBRARY(X)                                                                                           \
    X(log1p, log1p(x))                                                                                       \
    X(sin, sin(x))                                                                                           \
    X(cos, cos(x))                                                                                           \
    X(tan, tan(x))                                                                                           \
    X(asin, asin(x))                                                                                         \
    X(acos, acos(x))                                                                                         \
    X(atan, atan(x))                                                                                         \
    X(sinh, sinh(x))                                                                                         \
    X(cosh, cosh(x))                                                                                         \
    X(asinh, asinh(x))                                                                                       \
    X(acosh, acosh(x))                                                                                       \
    X(atanh, atanh(x))

/* op, result type, expression of a and b */
#define BINARY(X, isa, TARGET)                                                                               \
    X(isa, TARGET, add, float, a + b)                                                                        \
    X(isa, TARGET, sub, float, a - b)                                                                        \
    X(isa, TARGET, mul, float, a * b)                                                                        \
    X(isa, TARGET, div, float, a / b)                                                                        \
    X(isa, TARGET, maximum, float, a >= b || a != a ? a : b)                                                 \
    X(isa, TARGET, minimum, float, a <= b || a != a ? a : b)                                                 \
    X(isa, TARGET, prelu, float, a > 0 ? a : a * b)                                                          \
    X(isa, TARGET, equal, uint8_t, a == b)                                                                   \
    X(isa, TARGET, not_equal, uint8_t, a != b)                                                               \
    X(isa, TARGET, less, uint8_t, a < b)                                                                     \
    X(isa, TARGET, less_equal, uint8_t, a <= b)                                                              \
    X(isa, TARGET, sigmoid_backward, float, b * a * (1.0f - a))                                              \
    X(isa, TARGET, tanh_backward, float, b * ((1.0f - a) * (1.0f + a)))                                      \
    X(isa, TARGET, relu_backward, float, a <= 0 ? 0.0f : b)                                                  \
    X(isa, TARGET, leaky_relu_backward, float, a <= 0 ? n->a * b : b)                                        \
    X(isa, TARGET, elu_backward, float, a > 0 ? b : n->a * native_exp_any(a) * b)                            \
    X(isa, TARGET, clamp_backward, float, a < n->low || a > n->high ? 0.0f : b)

/* op, expression of a and b in double */
#define LIBRARY_OF_TWO(X)                                                                                    \
    X(pow, pow(a, b))                                                                                        \
    X(fmod, fmod(a, b))                                                                                      \
    X(remainder, remainder_of(a, b))                                                                         \
    X(atan2, atan2(a, b))                                                                                    \
    X(logaddexp, a == b ? a + M_LN2 : (a > b || isnan(a) ? a : b) + log1p(exp(-fabs(a - b))))

/* clang-format on */

/* ---- rows ---- */

#define UNARY_ROW(isa, TARGET, name, expression)                                                             \
    TARGET static void name##_##isa(void *y_, const void *a_, const void *b_, const void *c_,                \
                                    const int64_t *stride, int64_t count, const struct numbers *n_)          \
    {                                                                                                        \
        const struct numbers copy = *n_, *n = &copy;                                                         \
        const float *in = a_;                                                                                \
        float *y = y_;                                                                                       \
        (void)b_, (void)c_, (void)n;                                                                         \
        if (stride[0] == 1 && stride[1] == 1) {                                                              \
            NATIVE_LOOP                                                                                      \
            for (int64_t i = 0; i < count; i++) {                                                            \
                float x = in[i];                                                                             \
                y[i] = expression;                                                                           \
            }                                                                                                \
            return;                                                                                          \
        }                                                                                                    \
        for (int64_t i = 0; i < count; i++) {                                                                \
            float x = in[i * stride[1]];                                                                     \
            y[i * stride[0]] = expression;                                                                   \
        }                                                                                                    \
    }
#define UNARY_ROWS(isa, TARGET) UNARY(UNARY_ROW, isa, TARGET)
NATIVE_EACH_ISA(UNARY_ROWS)

#define BINARY_LOOP(result, of_a, of_b, of_y, expression)                                                    \
    for (int64_t i = 0; i < count; i++) {                                                                    \
        float a = p[of_a], b = q[of_b];                                                                      \
        y[of_y] = (result)(expression);                                                                      \
    }
/* clang-format off */
#define BINARY_ROW(isa, TARGET, name, result, expression)                                                    \
    TARGET static void name##_##isa(void *y_, const void *a_, const void *b_, const void *c_,                \
                                    const int64_t *stride, int64_t count, const struct numbers *n_)          \
    {                                                                                                        \
        const struct numbers copy = *n_, *n = &copy;                                                         \
        const float *p = a_, *q = b_;                                                                        \
        result *y = y_;                                                                                      \
        (void)c_, (void)n;                                                                                   \
        if (stride[0] == 1 && stride[1] == 1 && stride[2] == 1) {                                            \
            NATIVE_LOOP BINARY_LOOP(result, i, i, i, expression)                                             \
        } else if (stride[0] == 1 && stride[1] == 1 && stride[2] == 0) {                                     \
            const float one = q[0];                                                                          \
            q = &one;                                                                                        \
            NATIVE_LOOP BINARY_LOOP(result, i, 0, i, expression)                                             \
        } else if (stride[0] == 1 && stride[1] == 0 && stride[2] == 1) {                                     \
            const float one = p[0];                                                                          \
            p = &one;                                                                                        \
            NATIVE_LOOP BINARY_LOOP(result, 0, i, i, expression)                                             \
        } else {                                                                                             \
            BINARY_LOOP(result, i * stride[1], i * stride[2], i * stride[0], expression)                     \
        }                                                                                                    \
    }
/* clang-format on */
#define BINARY_ROWS(isa, TARGET) BINARY(BINARY_ROW, isa, TARGET)
NATIVE_EACH_ISA(BINARY_ROWS)

#define WHERE_LOOP(of_a, of_b)                                                                               \
    for (int64_t i = 0; i < count; i++) {                                                                    \
        float first = a[of_a], second = b[of_b];                                                             \
        y[i] = condition[i] ? first : second;                                                                \
    }
#define WHERE_ROW(isa, TARGET)                                                                               \
    TARGET static void where_##isa(void *y_, const void *a_, const void *b_, const void *c_,                 \
                                   const int64_t *stride, int64_t count, const struct numbers *n)            \
    {                                                                                                        \
        const uint8_t *condition = a_;                                                                       \
        const float *a = b_, *b = c_;                                                                        \
        float *y = y_;                                                                                       \
        bool side_by_side = stride[0] == 1 && stride[1] == 1;                                                \
        (void)n;                                                                                             \
        if (side_by_side && stride[2] == 1 && stride[3] == 1) {                                              \
            NATIVE_LOOP WHERE_LOOP(i, i)                                                                     \
        } else if (side_by_side && stride[2] == 1 && stride[3] == 0) {                                       \
            NATIVE_LOOP WHERE_LOOP(i, 0)                                                                     \
        } else if (side_by_side && stride[2] == 0 && stride[3] == 1) {                                       \
            NATIVE_LOOP WHERE_LOOP(0, i)                                                                     \
        } else {                                                                                             \
            for (int64_t i = 0; i < count; i++) {                                                            \
                y[i * stride[0]] = condition[i * stride[1]] ? a[i * stride[2]] : b[i * stride[3]];           \
            }                                                                                                \
        }                                                                                                    \
    }
NATIVE_EACH_ISA(WHERE_ROW)

enum { WIDE_BLOCK = 64 };

/* n <= WIDE_BLOCK elements of a row side by side, zeros behind them. */
static void take_block(float *block, const float *x, int64_t stride, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        block[i] = x[i * stride];
    }
    memset(block + n, 0, (size_t)(WIDE_BLOCK - n) * sizeof *block);
}

static void give_block(float *y, int64_t stride, const float *block, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        y[i * stride] = block[i];
    }
}

#define WIDE_ROW(isa, TARGET, name, expression)                                                              \
    TARGET static void name##_##isa(void *y_, const void *a_, const void *b_, const void *c_,                \
                                    const int64_t *stride, int64_t count, const struct numbers *n_)          \
    {                                                                                                        \
        const struct numbers copy = *n_, *n = &copy;                                                         \
        const float *in = a_;                                                                                \
        float *y = y_;                                                                                       \
        _Alignas(64) float block[WIDE_BLOCK];                                                                \
        (void)b_, (void)c_, (void)n;                                                                         \
        for (int64_t done = 0; done < count; done += WIDE_BLOCK) {                                           \
            int64_t here = count - done < WIDE_BLOCK ? count - done : WIDE_BLOCK;                            \
            take_block(block, in + done * stride[1], stride[1], here);                                       \
            NATIVE_LOOP                                                                                      \
            for (int i = 0; i < WIDE_BLOCK; i++) {                                                           \
                double x = (double)block[i];                                                                 \
                block[i] = (float)(expression);                                                              \
            }                                                                                                \
            give_block(y + done * stride[0], stride[0], block, here);                                        \
        }                                                                                                    \
    }
#define WIDE_ROWS(isa, TARGET) WIDE(WIDE_ROW, isa, TARGET)
NATIVE_EACH_ISA(WIDE_ROWS)

#define LIBRARY_ROW(name, expression)                                                                        \
    static void name##_row(void *y_, const void *a_, const void *b_, const void *c_, const int64_t *stride,  \
                           int64_t count, const struct numbers *n)                                           \
    {                                                                                                        \
        const float *in = a_;                                                                                \
        float *y = y_;                                                                                       \
        (void)b_, (void)c_, (void)n;                                                                         \
        for (int64_t i = 0; i < count; i++) {                                                                \
            double x = in[i * stride[1]];                                                                    \
            y[i * stride[0]] = (float)(expression);                                                          \
        }                                                                                                    \
    }
LIBRARY(LIBRARY_ROW)

static double remainder_of(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

#define LIBRARY_OF_TWO_ROW(name, expression)                                                                 \
    static void name##_row(void *y_, const void *a_, const void *b_, const void *c_, const int64_t *stride,  \
                           int64_t count, const struct numbers *n)                                           \
    {                                                                                                        \
        const float *left = a_, *right = b_;                                                                 \
        float *y = y_;                                                                                       \
        (void)c_, (void)n;                                                                                   \
        for (int64_t i = 0; i < count; i++) {                                                                \
            double a = left[i * stride[1]], b = right[i * stride[2]];                                        \
            y[i * stride[0]] = (float)(expression);                                                          \
        }                                                                                                    \
    }
LIBRARY_OF_TWO(LIBRARY_OF_TWO_ROW)

/* Truth values and pictures. */
static void cast_row(void *y_, const void *a_, const void *b_, const void *c_, const int64_t *stride,
                     int64_t count, const struct numbers *n)
{
    const uint8_t *a = a_;
    float *y = y_;
    (void)b_, (void)c_, (void)n;
    if (stride[0] == 1 && stride[1] == 1) {
        NATIVE_LOOP
        for (int64_t i = 0; i < count; i++) {
            y[i] = a[i];
        }
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        y[i * stride[0]] = a[i * stride[1]];
    }
}

/* ---- calls ---- */

enum { BLOCK = 512 }; /* elements: of four operands in f32, 8 KiB */

struct elementwise {
    kernel *row;
    char *base[STRIDED_OPERANDS];
    int64_t size[STRIDED_OPERANDS];
    plumb_convert *convert[STRIDED_OPERANDS]; /* to f32, the result's from f32; NULL: is not low */
    bool low;
    struct numbers n;
};

/* n <= BLOCK elements through f32. One that stands for the whole row does so when widened, too. */
static void run_block(const struct elementwise *e, int operands, char *const *p, const int64_t *stride, int64_t n)
{
    _Alignas(64) float wide[STRIDED_OPERANDS][BLOCK];
    void *q[STRIDED_OPERANDS] = {NULL};
    int64_t step[STRIDED_OPERANDS] = {0};
    for (int i = 0; i < operands; i++) {
        q[i] = e->convert[i] ? (void *)wide[i] : p[i];
        step[i] = e->convert[i] && stride[i] != 0 ? 1 : stride[i];
        if (i > 0 && e->convert[i]) {
            e->convert[i](wide[i], 1, p[i], stride[i], stride[i] == 0 ? 1 : n);
        }
    }
    e->row(q[0], q[1], q[2], q[3], step, n, &e->n);
    if (e->convert[0]) {
        e->convert[0](p[0], stride[0], wide[0], 1, n);
    }
}

static void run_row(const void *user, const struct plumb_strided *s, const int64_t *at, int64_t n)
{
    const struct elementwise *e = user;
    int64_t stride[STRIDED_OPERANDS] = {0};
    char *p[STRIDED_OPERANDS] = {NULL};
    for (int i = 0; i < s->operands; i++) {
        stride[i] = s->stride[i][s->rank - 1];
        p[i] = e->base[i] + at[i] * e->size[i];
    }
    if (!e->low) {
        e->row(p[0], p[1], p[2], p[3], stride, n, &e->n);
        return;
    }
    for (int64_t done = 0; done < n; done += BLOCK) {
        run_block(e, s->operands, p, stride, n - done < BLOCK ? n - done : BLOCK);
        for (int i = 0; i < s->operands; i++) {
            p[i] += BLOCK * stride[i] * e->size[i];
        }
    }
}

static plumb_status run(const plumb_call *call, kernel *row, struct numbers numbers)
{
    struct elementwise e = {.row = row, .n = numbers};
    struct plumb_strided s;
    plumb_strided_begin(&s, &call->out[0]);
    for (int i = 0; i <= call->n_in; i++) {
        const plumb_view *view = i == 0 ? &call->out[0] : &call->in[i - 1];
        e.base[i] = view->data;
        e.size[i] = (int64_t)plumb_dtype_size(view->dtype);
        if (view->dtype == PLUMB_BF16 || view->dtype == PLUMB_F16) {
            e.low = true;
            e.convert[i] = i > 0 ? plumb_convert_for(PLUMB_F32, view->dtype, call->isa)
                                 : plumb_convert_for(view->dtype, PLUMB_F32, call->isa);
        }
        if (i > 0) {
            plumb_strided_add(&s, view);
        }
    }
    plumb_strided_simplify(&s);
    plumb_strided_run(call->pool, &s, run_row, &e);
    return PLUMB_OK;
}

static float rounded(double value, plumb_dtype dtype)
{
    uint64_t element;
    plumb_put(&element, dtype, 0, value);
    return (float)plumb_get(&element, dtype, 0);
}

/* x < low in double is x < numbers.low in f32, and likewise above. */
static struct numbers numbers_of(const plumb_call *call)
{
    struct numbers n = {0};
    if (call->op->attr_size == sizeof(plumb_attr_numbers)) {
        const plumb_attr_numbers *attr = call->attr;
        n = (struct numbers){
            .a = (float)attr->a, .b = (float)attr->b, .low = (float)attr->a, .high = (float)attr->b};
        n.low = (double)n.low < attr->a ? nextafterf(n.low, INFINITY) : n.low;
        n.high = (double)n.high > attr->b ? nextafterf(n.high, -INFINITY) : n.high;
        if (call->op->tolerance == PLUMB_TOL_EXACT) { /* a result may be a number itself: rounded once */
            n.a = rounded(attr->a, call->out[0].dtype);
            n.b = rounded(attr->b, call->out[0].dtype);
        }
    }
    return n;
}

static bool supports_cast(const plumb_call *call) { return call->out[0].dtype == PLUMB_F32; }

#define SINGLE_AND_LOW (PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16))
#define IMPLEMENTATION(op_name, which_dtypes, which_flags, picked, ...)                                      \
    static plumb_status run_##op_name(const plumb_call *call)                                                \
    {                                                                                                        \
        return run(call, picked, numbers_of(call));                                                          \
    }                                                                                                        \
    const plumb_impl plumb_impl_##op_name##_native = {                                                       \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.native",                                                                                \
        .dtypes = (which_dtypes),                                                                            \
        .flags = (which_flags) | PLUMB_IMPL_ANY_LAYOUT,                                                      \
        __VA_ARGS__.run = run_##op_name,                                                                     \
    };
#define OF_UNARY(none, TARGET, name, expression)                                                             \
    IMPLEMENTATION(name, SINGLE_AND_LOW, 0, NATIVE_PICK(name, call->isa))
#define OF_BINARY(none, TARGET, name, result, expression)                                                    \
    IMPLEMENTATION(name, SINGLE_AND_LOW, PLUMB_IMPL_EXACT, NATIVE_PICK(name, call->isa))
#define OF_LIBRARY(name, expression) IMPLEMENTATION(name, SINGLE_AND_LOW, 0, name##_row)

UNARY(OF_UNARY, , )
BINARY(OF_BINARY, , )
WIDE(OF_UNARY, , )
LIBRARY(OF_LIBRARY)
LIBRARY_OF_TWO(OF_LIBRARY)
IMPLEMENTATION(where, SINGLE_AND_LOW, PLUMB_IMPL_EXACT, NATIVE_PICK(where, call->isa))
IMPLEMENTATION(cast, PLUMB_BIT(PLUMB_U8), PLUMB_IMPL_EXACT, cast_row, .supports = supports_cast, )
