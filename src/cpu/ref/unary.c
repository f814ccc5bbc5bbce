/* Reference: element-wise ops of one operand and their backward forms. Every scalar function is written once,
 * below, as an expression in double; n->a and n->b are the op's numbers. Written so that a not-a-number comes
 * through. */
#include "cpu/ref/activate.h"
#include "cpu/ref/walk.h"

typedef double unary(double x, const plumb_attr_numbers *n);
typedef double backward(double from, double dy, const plumb_attr_numbers *n);

static plumb_status run_unary(const plumb_call *call, unary *f)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_x = walk_add(&w, x), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_put(out, w.at[y], f(view_get(x, w.at[at_x]), call->attr));
    }
    return PLUMB_OK;
}

static plumb_status run_integers(const plumb_call *call, int64_t (*f)(int64_t x, const plumb_attr_numbers *n))
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_x = walk_add(&w, x), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_put_int(out, w.at[y], f(view_get_int(x, w.at[at_x]), call->attr));
    }
    return PLUMB_OK;
}

static plumb_status run_backward(const plumb_call *call, backward *f)
{
    const plumb_view *from = &call->in[0], *dy = &call->in[1], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_from = walk_add(&w, from), at_dy = walk_add(&w, dy), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_put(out, w.at[y], f(view_get(from, w.at[at_from]), view_get(dy, w.at[at_dy]), call->attr));
    }
    return PLUMB_OK;
}

static double logistic(double x) { return activated(PLUMB_ACTIVATION_SIGMOID, x); }

/* A shut gate gives 0 even where x is infinite. */
static double gated(double x, double gate) { return gate == 0 ? copysign(0, x) : x * gate; }

#define IMPLEMENTATION(op_name) ROW(op_name, PLUMB_FLOATS)
#define ROW(op_name, which_dtypes)                                                                           \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = (which_dtypes),                                                                            \
        .run = run_##op_name,                                                                                \
    };

#define UNARY(op_name, expression)                                                                           \
    static double op_name##_of(double x, const plumb_attr_numbers *n)                                        \
    {                                                                                                        \
        (void)n;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    static plumb_status run_##op_name(const plumb_call *call) { return run_unary(call, op_name##_of); }      \
    IMPLEMENTATION(op_name)

/* x as an unsigned number wraps; `n` as above. */
#define WITH_INTEGERS(op_name, expression, integer_expression)                                               \
    static double op_name##_of(double x, const plumb_attr_numbers *n)                                        \
    {                                                                                                        \
        (void)n;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    static int64_t op_name##_integer(int64_t x, const plumb_attr_numbers *n)                                 \
    {                                                                                                        \
        (void)n;                                                                                             \
        return (integer_expression);                                                                         \
    }                                                                                                        \
    static plumb_status run_##op_name(const plumb_call *call)                                                \
    {                                                                                                        \
        return plumb_dtype_is_float(call->in[0].dtype) ? run_unary(call, op_name##_of)                       \
                                                       : run_integers(call, op_name##_integer);              \
    }                                                                                                        \
    ROW(op_name, PLUMB_ALL_DTYPES)

#define BACKWARD(op_name, expression)                                                                        \
    static double op_name##_of(double from, double dy, const plumb_attr_numbers *n)                          \
    {                                                                                                        \
        (void)n;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    static plumb_status run_##op_name(const plumb_call *call) { return run_backward(call, op_name##_of); }   \
    IMPLEMENTATION(op_name)

static int64_t negated(int64_t x) { return (int64_t)(0 - (uint64_t)x); }

/* Between the whole numbers of the range, as far as 64 bits reach. */
static int64_t clamped(int64_t x, const plumb_attr_numbers *n)
{
    int64_t low, high;
    plumb_put(&low, PLUMB_I64, 0, ceil(n->a));
    plumb_put(&high, PLUMB_I64, 0, floor(n->b));
    return x < low ? low : x > high ? high : x;
}

/* clang-format off */
UNARY(affine, n->a * x + n->b)
WITH_INTEGERS(neg, -x, negated(x))
WITH_INTEGERS(abs, fabs(x), x < 0 ? negated(x) : x)
WITH_INTEGERS(sign, x > 0 ? 1 : x < 0 ? -1 : x, (x > 0) - (x < 0))
UNARY(exp, exp(x))
UNARY(expm1, expm1(x))
UNARY(log, log(x))
UNARY(log1p, log1p(x))
UNARY(sqrt, sqrt(x))
UNARY(rsqrt, 1 / sqrt(x))
WITH_INTEGERS(square, x * x, (int64_t)((uint64_t)x * (uint64_t)x))
UNARY(reciprocal, 1 / x)
UNARY(sin, sin(x))
UNARY(cos, cos(x))
UNARY(tan, tan(x))
UNARY(asin, asin(x))
UNARY(acos, acos(x))
UNARY(atan, atan(x))
UNARY(sinh, sinh(x))
UNARY(cosh, cosh(x))
UNARY(asinh, asinh(x))
UNARY(acosh, acosh(x))
UNARY(atanh, atanh(x))
UNARY(floor, floor(x))
UNARY(ceil, ceil(x))
UNARY(round, rint(x)) /* halves to the even neighbour */
UNARY(trunc, trunc(x))
UNARY(erf, erf(x))
UNARY(erfc, erfc(x))
UNARY(sigmoid, activated(PLUMB_ACTIVATION_SIGMOID, x))
UNARY(tanh, activated(PLUMB_ACTIVATION_TANH, x))
UNARY(relu, activated(PLUMB_ACTIVATION_RELU, x))
UNARY(leaky_relu, x > 0 ? x : n->a * x)
UNARY(elu, x > 0 ? x : n->a * expm1(x))
UNARY(gelu, gated(x, 0.5 * erfc(-x * M_SQRT1_2)))
UNARY(gelu_tanh, gated(x, logistic(M_SQRT2 * M_2_SQRTPI * (x + 0.044715 * x * x * x))))
UNARY(mish, gated(x, tanh(log1p(exp(x)))))
UNARY(silu, gated(x, logistic(x)))
UNARY(softplus, isnan(x) ? x : fmax(x, 0) + log1p(exp(-fabs(x))))
UNARY(huber, fabs(x) <= n->a ? 0.5 * x * x : n->a * (fabs(x) - 0.5 * n->a))
WITH_INTEGERS(clamp, x < n->a ? n->a : x > n->b ? n->b : x, clamped(x, n))

BACKWARD(sigmoid_backward, activated_backward(PLUMB_ACTIVATION_SIGMOID, from, dy))
BACKWARD(tanh_backward, activated_backward(PLUMB_ACTIVATION_TANH, from, dy))
BACKWARD(relu_backward, activated_backward(PLUMB_ACTIVATION_RELU, from, dy))
BACKWARD(leaky_relu_backward, from > 0 || isnan(from) ? dy : n->a * dy)
BACKWARD(elu_backward, from > 0 ? dy : n->a * exp(from) * dy)
BACKWARD(clamp_backward, from < n->a || from > n->b ? 0 : dy)
/* clang-format on */

/* An i64 as a double that rounds to any shorter float as the i64 does: beyond 53 bits, the last that is kept says whether
 * any were dropped, so that nothing is rounded twice. */
static double sticky(int64_t x)
{
    uint64_t size = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    if (size >> 53 != 0) {
        size = (size >> 11 | ((size & 2047) != 0)) << 11;
    }
    return x < 0 ? -(double)size : (double)size;
}

/* Equal dtypes are copied bit for bit: i64 does not fit in a double. */
static plumb_status run_cast(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_x = walk_add(&w, x), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        if (x->dtype == out->dtype) {
            view_copy(out, w.at[y], x, w.at[at_x]);
        } else if (x->dtype == PLUMB_I64 && plumb_dtype_is_float(out->dtype) && out->dtype != PLUMB_F64) {
            view_put(out, w.at[y], sticky(view_get_int(x, w.at[at_x])));
        } else {
            view_put(out, w.at[y], view_get(x, w.at[at_x]));
        }
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_cast_ref = {
    .op = &plumb_op_cast,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_cast,
};

const plumb_impl plumb_impl_stop_gradient_ref = {
    .op = &plumb_op_stop_gradient,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_cast,
};
