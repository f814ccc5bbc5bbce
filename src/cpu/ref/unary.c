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

#define IMPLEMENTATION(op_name)                                                                              \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = PLUMB_FLOATS,                                                                              \
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

#define BACKWARD(op_name, expression)                                                                        \
    static double op_name##_of(double from, double dy, const plumb_attr_numbers *n)                          \
    {                                                                                                        \
        (void)n;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    static plumb_status run_##op_name(const plumb_call *call) { return run_backward(call, op_name##_of); }   \
    IMPLEMENTATION(op_name)

/* clang-format off */
UNARY(affine, n->a * x + n->b)
UNARY(neg, -x)
UNARY(abs, fabs(x))
UNARY(sign, x > 0 ? 1 : x < 0 ? -1 : x)
UNARY(exp, exp(x))
UNARY(expm1, expm1(x))
UNARY(log, log(x))
UNARY(log1p, log1p(x))
UNARY(sqrt, sqrt(x))
UNARY(rsqrt, 1 / sqrt(x))
UNARY(square, x * x)
UNARY(reciprocal, 1 / x)
UNARY(sin, sin(x))
UNARY(cos, cos(x))
UNARY(erf, erf(x))
UNARY(sigmoid, activated(PLUMB_ACTIVATION_SIGMOID, x))
UNARY(tanh, activated(PLUMB_ACTIVATION_TANH, x))
UNARY(relu, activated(PLUMB_ACTIVATION_RELU, x))
UNARY(leaky_relu, x > 0 ? x : n->a * x)
UNARY(elu, x > 0 ? x : n->a * expm1(x))
UNARY(gelu, gated(x, 0.5 * erfc(-x * M_SQRT1_2)))
UNARY(silu, gated(x, logistic(x)))
UNARY(softplus, isnan(x) ? x : fmax(x, 0) + log1p(exp(-fabs(x))))
UNARY(huber, fabs(x) <= n->a ? 0.5 * x * x : n->a * (fabs(x) - 0.5 * n->a))
UNARY(clamp, x < n->a ? n->a : x > n->b ? n->b : x)

BACKWARD(sigmoid_backward, activated_backward(PLUMB_ACTIVATION_SIGMOID, from, dy))
BACKWARD(tanh_backward, activated_backward(PLUMB_ACTIVATION_TANH, from, dy))
BACKWARD(relu_backward, activated_backward(PLUMB_ACTIVATION_RELU, from, dy))
BACKWARD(leaky_relu_backward, from > 0 || isnan(from) ? dy : n->a * dy)
BACKWARD(elu_backward, from > 0 ? dy : n->a * exp(from) * dy)
BACKWARD(clamp_backward, from < n->a || from > n->b ? 0 : dy)
/* clang-format on */

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
