/* Element-wise ops of one operand, and the backward forms that the gradients of some of them are.
 *
 * Decided here: where the derivative follows from the result (sigmoid, tanh, relu ...) the gradient reads the
 * result and not the operand, so the op may run in place. At a kink the gradient is the one ops.h states. A
 * backward form is written f_backward(what the derivative is read from, dy) and is an ordinary op with a
 * gradient of its own. */
#include "op/attr.h"

#include <math.h>

static plumb_status infer_float(plumb_infer *q)
{
    if (plumb_need_float(q, 0)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

/* Integers, too. */
static plumb_status infer_number(plumb_infer *q)
{
    plumb_dtype dtype = q->in[0].dtype;
    if (plumb_dtype_is_float(dtype) || plumb_dtype_size(dtype) == 0) {
        return infer_float(q);
    }
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static plumb_status infer_any(plumb_infer *q)
{
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static plumb_status infer_huber(plumb_infer *q)
{
    const plumb_attr_numbers *attr = q->attr;
    if (!(attr->a > 0)) {
        return plumb_refuse(q, "delta is %g, expected a positive number", attr->a);
    }
    return infer_float(q);
}

static plumb_status need_range(const plumb_infer *q)
{
    const plumb_attr_numbers *attr = q->attr;
    if (!(attr->a <= attr->b)) {
        return plumb_refuse(q, "the range [%g, %g] is empty", attr->a, attr->b);
    }
    return PLUMB_OK;
}

/* Of integers a range must hold one that the dtype has: what is outside then goes to such a one. */
static plumb_status infer_clamp(plumb_infer *q)
{
    const plumb_attr_numbers *attr = q->attr;
    plumb_dtype dtype = q->in[0].dtype;
    if (need_range(q) || infer_number(q)) {
        return PLUMB_BAD_INPUT;
    }
    if (!plumb_dtype_is_float(dtype)) {
        double least = dtype == PLUMB_U8 ? 0 : dtype == PLUMB_I32 ? INT32_MIN : -0x1p63;
        double beyond = dtype == PLUMB_U8 ? 0x1p8 : dtype == PLUMB_I32 ? 0x1p31 : 0x1p63;
        if (!(fmax(ceil(attr->a), least) <= floor(attr->b) && ceil(attr->a) < beyond)) {
            return plumb_refuse(q, "no %s is in [%g, %g]", plumb_dtype_name(dtype), attr->a, attr->b);
        }
    }
    return PLUMB_OK;
}

static plumb_status infer_cast(plumb_infer *q)
{
    const plumb_attr_cast *attr = q->attr;
    if (plumb_dtype_size(attr->made.dtype) == 0) {
        return plumb_refuse(q, "invalid dtype %d", (int)attr->made.dtype);
    }
    q->out[0].shape = q->in[0].shape;
    q->out[0].dtype = attr->made.dtype;
    return PLUMB_OK;
}

/* Two operands of one shape: backward forms do not broadcast. */
static plumb_status infer_backward(plumb_infer *q)
{
    const plumb_shape *a = &q->in[0].shape, *b = &q->in[1].shape;
    if (plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1) || plumb_need_same_shape(q, 0, 1)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0] = q->in[0];
    for (int d = 0; d < a->rank; d++) {
        q->out[0].shape.dim[d] = a->dim[d] < 0 ? b->dim[d] : a->dim[d];
    }
    return PLUMB_OK;
}

static plumb_status infer_clamp_backward(plumb_infer *q)
{
    return need_range(q) ? PLUMB_BAD_INPUT : infer_backward(q);
}

/* ---- gradients ---- */

/* g graph, x operand, y result, dy gradient of the result; an expression for the operand's gradient. */
#define GRADIENT(op_name, expression)                                                                        \
    static plumb_status op_name##_gradient(plumb_grad *q)                                                    \
    {                                                                                                        \
        plumb_graph *g = q->graph;                                                                           \
        plumb_t x = q->in[0], y = q->out[0], dy = q->dout[0];                                                \
        const plumb_attr_numbers *attr = q->attr;                                                            \
        (void)g, (void)x, (void)y, (void)dy, (void)attr;                                                     \
        q->din[0] = (expression);                                                                            \
        return PLUMB_OK;                                                                                     \
    }

static plumb_t backward_form(plumb_graph *g, const plumb_op *op, const void *attr, plumb_t from, plumb_t dy)
{
    return plumb_emit(g, op, attr, (const plumb_t[]){from, dy}, 2);
}

/* Phi(x) + x phi(x), the normal distribution's function and density. */
static plumb_t gelu_slope(plumb_graph *g, plumb_t x)
{
    plumb_t below = plumb_affine(g, plumb_erf(g, plumb_affine(g, x, M_SQRT1_2, 0)), 0.5, 0.5);
    plumb_t density = plumb_affine(g, plumb_exp(g, plumb_affine(g, plumb_square(g, x), -0.5, 0)),
                                   0.5 * M_SQRT1_2 * M_2_SQRTPI, 0);
    return plumb_add(g, below, plumb_mul(g, x, density));
}

/* s (1 + x (1 - s)), s = sigmoid(x). */
static plumb_t silu_slope(plumb_graph *g, plumb_t x)
{
    plumb_t s = plumb_sigmoid(g, x);
    return plumb_mul(g, s, plumb_affine(g, plumb_mul(g, x, plumb_affine(g, s, -1, 1)), 1, 1));
}

/* y = x s, s = sigmoid(k (x + c x^3)): s (1 + x (1 - s) k (1 + 3 c x^2)). Beyond 16 it is 0 or 1 to the last digit, and
 * there x^2 may not fit in f16. */
static plumb_t gelu_tanh_slope(plumb_graph *g, plumb_t beyond)
{
    const double k = 2 * M_SQRT2 * 0.5 * M_2_SQRTPI, c = 0.044715;
    plumb_t x = plumb_clamp(g, beyond, -16, 16), square = plumb_square(g, x);
    plumb_t s = plumb_sigmoid(g, plumb_mul(g, x, plumb_affine(g, square, k * c, k)));
    plumb_t inner = plumb_mul(g, plumb_affine(g, s, -1, 1), plumb_affine(g, square, 3 * k * c, k));
    return plumb_mul(g, s, plumb_affine(g, plumb_mul(g, x, inner), 1, 1));
}

/* t + x (1 - t^2) sigmoid(x), t = tanh(softplus(x)). */
static plumb_t mish_slope(plumb_graph *g, plumb_t x)
{
    plumb_t t = plumb_tanh(g, plumb_softplus(g, x));
    plumb_t rest = plumb_mul(g, plumb_affine(g, plumb_square(g, t), -1, 1), plumb_sigmoid(g, x));
    return plumb_add(g, t, plumb_mul(g, x, rest));
}

/* (1 - x) (1 + x): 1 - x^2 would lose the digits near 1. */
static plumb_t one_minus_square(plumb_graph *g, plumb_t x)
{
    return plumb_mul(g, plumb_affine(g, x, -1, 1), plumb_affine(g, x, 1, 1));
}

GRADIENT(affine, plumb_affine(g, dy, attr->a, 0))
GRADIENT(neg, plumb_neg(g, dy))
GRADIENT(abs, plumb_mul(g, dy, plumb_sign(g, x)))
GRADIENT(sign, PLUMB_NO_GRADIENT)
GRADIENT(exp, plumb_mul(g, dy, y))
GRADIENT(expm1, plumb_mul(g, dy, plumb_exp(g, x))) /* y + 1 would lose the digits of a small slope */
GRADIENT(log, plumb_div(g, dy, x))
GRADIENT(log1p, plumb_div(g, dy, plumb_affine(g, x, 1, 1)))
GRADIENT(sqrt, plumb_affine(g, plumb_div(g, dy, y), 0.5, 0))
GRADIENT(rsqrt, plumb_affine(g, plumb_mul(g, dy, plumb_mul(g, y, plumb_square(g, y))), -0.5, 0))
GRADIENT(square, plumb_mul(g, dy, plumb_affine(g, x, 2, 0)))
GRADIENT(reciprocal, plumb_neg(g, plumb_mul(g, dy, plumb_square(g, y))))
GRADIENT(sin, plumb_mul(g, dy, plumb_cos(g, x)))
GRADIENT(cos, plumb_neg(g, plumb_mul(g, dy, plumb_sin(g, x))))
GRADIENT(tan, plumb_mul(g, dy, plumb_affine(g, plumb_square(g, y), 1, 1)))
GRADIENT(asin, plumb_mul(g, dy, plumb_rsqrt(g, one_minus_square(g, x))))
GRADIENT(acos, plumb_neg(g, plumb_mul(g, dy, plumb_rsqrt(g, one_minus_square(g, x)))))
GRADIENT(atan, plumb_div(g, dy, plumb_affine(g, plumb_square(g, x), 1, 1)))
GRADIENT(sinh, plumb_mul(g, dy, plumb_cosh(g, x)))
GRADIENT(cosh, plumb_mul(g, dy, plumb_sinh(g, x)))
GRADIENT(asinh, plumb_div(g, dy, plumb_cosh(g, y))) /* sqrt(x^2 + 1), where x^2 may not fit */
GRADIENT(acosh, plumb_div(g, dy, plumb_sinh(g, y))) /* sqrt(x^2 - 1) likewise */
GRADIENT(atanh, plumb_div(g, dy, one_minus_square(g, x)))
GRADIENT(floor, PLUMB_NO_GRADIENT)
GRADIENT(ceil, PLUMB_NO_GRADIENT)
GRADIENT(round, PLUMB_NO_GRADIENT)
GRADIENT(trunc, PLUMB_NO_GRADIENT)
GRADIENT(erfc,
         plumb_mul(g, dy, plumb_affine(g, plumb_exp(g, plumb_neg(g, plumb_square(g, x))), -M_2_SQRTPI, 0)))
GRADIENT(erf,
         plumb_mul(g, dy, plumb_affine(g, plumb_exp(g, plumb_neg(g, plumb_square(g, x))), M_2_SQRTPI, 0)))
GRADIENT(sigmoid, backward_form(g, &plumb_op_sigmoid_backward, NULL, y, dy))
GRADIENT(tanh, backward_form(g, &plumb_op_tanh_backward, NULL, y, dy))
GRADIENT(relu, backward_form(g, &plumb_op_relu_backward, NULL, y, dy)) /* y > 0 just where x > 0 */
GRADIENT(leaky_relu, backward_form(g, &plumb_op_leaky_relu_backward, attr, attr->a >= 0 ? y : x, dy))
GRADIENT(elu, backward_form(g, &plumb_op_elu_backward, attr, x, dy))
GRADIENT(gelu, plumb_mul(g, dy, gelu_slope(g, x)))
GRADIENT(gelu_tanh, plumb_mul(g, dy, gelu_tanh_slope(g, x)))
GRADIENT(mish, plumb_mul(g, dy, mish_slope(g, x)))
GRADIENT(silu, plumb_mul(g, dy, silu_slope(g, x)))
GRADIENT(softplus, plumb_mul(g, dy, plumb_sigmoid(g, x)))
GRADIENT(huber, plumb_mul(g, dy, plumb_clamp(g, x, -attr->a, attr->a)))
GRADIENT(clamp, backward_form(g, &plumb_op_clamp_backward, attr, x, dy))
GRADIENT(stop_gradient, PLUMB_NO_GRADIENT)
GRADIENT(cast, plumb_dtype_is_float(plumb_dtype_of(g, x)) && plumb_dtype_is_float(plumb_dtype_of(g, y))
                   ? plumb_cast(g, dy, plumb_dtype_of(g, x))
                   : PLUMB_NO_GRADIENT)

/* ---- gradients of the backward forms ---- */

/* `from` is the first operand, dy the second, d the result's gradient. All are linear in dy, so its gradient
 * is the same form of d. */
#define BACKWARD_GRADIENT(op_name, of_from)                                                                  \
    static plumb_status op_name##_backward_gradient(plumb_grad *q)                                           \
    {                                                                                                        \
        plumb_graph *g = q->graph;                                                                           \
        plumb_t from = q->in[0], dy = q->in[1], d = q->dout[0];                                              \
        (void)from, (void)dy;                                                                                \
        if (q->want[0]) {                                                                                    \
            q->din[0] = (of_from);                                                                           \
        }                                                                                                    \
        if (q->want[1]) {                                                                                    \
            q->din[1] = backward_form(g, q->op, q->attr, q->in[0], d);                                       \
        }                                                                                                    \
        return PLUMB_OK;                                                                                     \
    }

/* alpha e^x dy (which is the result) where x <= 0, else 0; times d. */
static plumb_t elu_curvature(const plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t zero = plumb_scalar(g, plumb_dtype_of(g, q->in[0]), 0);
    return plumb_where(g, plumb_less(g, zero, q->in[0]), zero, plumb_mul(g, q->dout[0], q->out[0]));
}

BACKWARD_GRADIENT(sigmoid, plumb_mul(g, plumb_mul(g, d, dy), plumb_affine(g, from, -2, 1)))
BACKWARD_GRADIENT(tanh, plumb_mul(g, plumb_mul(g, d, dy), plumb_affine(g, from, -2, 0)))
BACKWARD_GRADIENT(relu, PLUMB_NO_GRADIENT)
BACKWARD_GRADIENT(leaky_relu, PLUMB_NO_GRADIENT)
BACKWARD_GRADIENT(elu, elu_curvature(q))
BACKWARD_GRADIENT(clamp, PLUMB_NO_GRADIENT)

/* ---- facts ---- */

static int over_first(const void *attr, int output)
{
    (void)attr;
    (void)output;
    return 0;
}

static int over_second(const void *attr, int output)
{
    (void)attr;
    (void)output;
    return 1;
}

static bool same_elements(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    (void)attr;
    memcpy(out->stride, in->stride, sizeof out->stride);
    *offset = 0;
    return true;
}

static plumb_t sign_of_first(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)attr;
    (void)out;
    return plumb_sign(graph, in[0]);
}

static plumb_t the_result(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

/* Below, inside or above the range: the sign of what clamping removes. */
static plumb_t side_of_clamp(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    const plumb_attr_numbers *range = attr;
    (void)out;
    return plumb_sign(graph, plumb_sub(graph, in[0], plumb_clamp(graph, in[0], range->a, range->b)));
}

static plumb_t side_of_huber(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    double delta = ((const plumb_attr_numbers *)attr)->a;
    (void)out;
    return plumb_sign(graph, plumb_sub(graph, in[0], plumb_clamp(graph, in[0], -delta, delta)));
}

static void print_affine(const void *attr, struct plumb_text *text)
{
    const plumb_attr_numbers *a = attr;
    plumb_text_add(text, "scale=%g shift=%g", a->a, a->b);
}

static void print_slope(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "slope=%g", ((const plumb_attr_numbers *)attr)->a);
}

static void print_alpha(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "alpha=%g", ((const plumb_attr_numbers *)attr)->a);
}

static void print_delta(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "delta=%g", ((const plumb_attr_numbers *)attr)->a);
}

static void print_clamp(const void *attr, struct plumb_text *text)
{
    const plumb_attr_numbers *a = attr;
    plumb_text_add(text, "low=%g high=%g", a->a, a->b);
}

static void print_cast(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "to=%s", plumb_dtype_name(((const plumb_attr_cast *)attr)->made.dtype));
}

/* ---- rows ---- */

#define ROW(op_name, rule, ...)                                                                              \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 1,                                                                                         \
        .max_in = 1,                                                                                         \
        .n_out = 1,                                                                                          \
        .infer = infer_##rule,                                                                               \
        .gradient = op_name##_gradient,                                                                      \
        __VA_ARGS__,                                                                                         \
    };
#define UNARY(op_name, ...) OF_NUMBERS(op_name, float, __VA_ARGS__)
#define OF_NUMBERS(op_name, rule, ...)                                                                       \
    ROW(op_name, rule, .flags = PLUMB_OP_ELEMENTWISE, .in_place = over_first, __VA_ARGS__)                  \
    plumb_t plumb_##op_name(plumb_graph *g, plumb_t x)                                                       \
    {                                                                                                        \
        return plumb_emit(g, &plumb_op_##op_name, NULL, &x, 1);                                              \
    }
#define WITH_NUMBERS(op_name, rule, ...)                                                                     \
    ROW(op_name, rule, .attr_size = sizeof(plumb_attr_numbers), .flags = PLUMB_OP_ELEMENTWISE,               \
        .in_place = over_first, __VA_ARGS__)
#define BACKWARD(op_name, rule, size, ...)                                                                   \
    const plumb_op plumb_op_##op_name##_backward = {                                                         \
        .name = #op_name "_backward",                                                                        \
        .min_in = 2,                                                                                         \
        .max_in = 2,                                                                                         \
        .n_out = 1,                                                                                          \
        .attr_size = (size),                                                                                 \
        .flags = PLUMB_OP_ELEMENTWISE | PLUMB_OP_BACKWARD,                                                   \
        .infer = infer_##rule,                                                                               \
        .gradient = op_name##_backward_gradient,                                                             \
        .in_place = over_second,                                                                             \
        .precision = PLUMB_PRECISION_FOLLOW,                                                                 \
        __VA_ARGS__,                                                                                         \
    };
#define EXACT .tolerance = PLUMB_TOL_EXACT
#define ROUNDED .tolerance = PLUMB_TOL_SCALAR
#define WITHIN(n) .tolerance = PLUMB_TOL_SCALAR, .ulps = (n)
#define FOLLOW .precision = PLUMB_PRECISION_FOLLOW

OF_NUMBERS(neg, number, EXACT, FOLLOW)
OF_NUMBERS(abs, number, EXACT, FOLLOW, .branch = sign_of_first)
OF_NUMBERS(sign, number, EXACT, FOLLOW, .branch = sign_of_first)
UNARY(exp, WITHIN(3))
UNARY(expm1, WITHIN(3))
UNARY(log, WITHIN(3))
UNARY(log1p, WITHIN(3))
UNARY(sqrt, ROUNDED, FOLLOW)
UNARY(rsqrt, WITHIN(3))
OF_NUMBERS(square, number, ROUNDED)
UNARY(reciprocal, ROUNDED)
UNARY(sin, WITHIN(3), FOLLOW)
UNARY(cos, WITHIN(3), FOLLOW)
UNARY(tan, WITHIN(3))
UNARY(asin, WITHIN(3))
UNARY(acos, WITHIN(3))
UNARY(atan, WITHIN(3))
UNARY(sinh, WITHIN(3))
UNARY(cosh, WITHIN(3))
UNARY(asinh, WITHIN(3))
UNARY(acosh, WITHIN(3))
UNARY(atanh, WITHIN(3))
UNARY(floor, EXACT, .branch = the_result)
UNARY(ceil, EXACT, .branch = the_result)
UNARY(round, EXACT, .branch = the_result)
UNARY(trunc, EXACT, .branch = the_result)
UNARY(erf, WITHIN(3), FOLLOW)
UNARY(erfc, WITHIN(3))
UNARY(sigmoid, WITHIN(3), FOLLOW)
UNARY(tanh, WITHIN(3), FOLLOW)
UNARY(relu, EXACT, FOLLOW, .branch = sign_of_first)
UNARY(gelu, WITHIN(3), FOLLOW)
UNARY(gelu_tanh, WITHIN(3), FOLLOW)
UNARY(mish, WITHIN(3), FOLLOW)
UNARY(silu, WITHIN(3), FOLLOW)
UNARY(softplus, WITHIN(3))
WITH_NUMBERS(affine, float, FOLLOW, .tolerance = PLUMB_TOL_NORM, .print = print_affine)
WITH_NUMBERS(leaky_relu, float, FOLLOW, WITHIN(1), .branch = sign_of_first, .print = print_slope)
WITH_NUMBERS(elu, float, FOLLOW, WITHIN(3), .branch = sign_of_first, .print = print_alpha)
WITH_NUMBERS(huber, huber, WITHIN(3), .branch = side_of_huber, .print = print_delta)
WITH_NUMBERS(clamp, clamp, ROUNDED, .branch = side_of_clamp, .print = print_clamp)
ROW(cast, cast, .attr_size = sizeof(plumb_attr_cast), .flags = PLUMB_OP_ELEMENTWISE | PLUMB_OP_DTYPE, ROUNDED,
    .print = print_cast)
ROW(stop_gradient, any, .flags = PLUMB_OP_ELEMENTWISE, .in_place = over_first, .view = same_elements, EXACT, FOLLOW)
BACKWARD(sigmoid, backward, 0, WITHIN(3))
BACKWARD(tanh, backward, 0, WITHIN(3))
BACKWARD(relu, backward, 0, EXACT, .branch = sign_of_first)
BACKWARD(leaky_relu, backward, sizeof(plumb_attr_numbers), WITHIN(1), .branch = sign_of_first,
         .print = print_slope)
BACKWARD(elu, backward, sizeof(plumb_attr_numbers), WITHIN(3), .branch = sign_of_first, .print = print_alpha)
BACKWARD(clamp, clamp_backward, sizeof(plumb_attr_numbers), EXACT, .branch = side_of_clamp,
         .print = print_clamp)

/* ---- builders of the ops that have attributes ---- */

static plumb_t with_numbers(plumb_graph *g, const plumb_op *op, plumb_t x, double a, double b)
{
    plumb_attr_numbers attr;
    memset(&attr, 0, sizeof attr);
    attr.a = a;
    attr.b = b;
    return plumb_emit(g, op, &attr, &x, 1);
}

/* A zeroed option means the default; PLUMB_ZERO is zero itself. */
static double or_default(double value, double fallback)
{
    return value == 0 && !signbit(value) ? fallback : value;
}

plumb_t plumb_affine(plumb_graph *g, plumb_t x, double scale, double shift)
{
    return with_numbers(g, &plumb_op_affine, x, scale, shift);
}

plumb_t plumb_leaky_relu(plumb_graph *g, plumb_t x, double slope)
{
    return with_numbers(g, &plumb_op_leaky_relu, x, or_default(slope, 0.01), 0);
}

plumb_t plumb_elu(plumb_graph *g, plumb_t x, double alpha)
{
    return with_numbers(g, &plumb_op_elu, x, or_default(alpha, 1), 0);
}

plumb_t plumb_huber(plumb_graph *g, plumb_t x, double delta)
{
    return with_numbers(g, &plumb_op_huber, x, delta, 0);
}

plumb_t plumb_clamp(plumb_graph *g, plumb_t x, double low, double high)
{
    return with_numbers(g, &plumb_op_clamp, x, low, high);
}

plumb_t plumb_cast(plumb_graph *g, plumb_t x, plumb_dtype to)
{
    plumb_attr_cast attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = to;
    return plumb_emit(g, &plumb_op_cast, &attr, &x, 1);
}

plumb_t plumb_stop_gradient(plumb_graph *g, plumb_t x)
{
    return plumb_emit(g, &plumb_op_stop_gradient, NULL, &x, 1);
}
