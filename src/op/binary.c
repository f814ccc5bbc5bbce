/* Element-wise ops of two operands (and where, of three), broadcasting as NumPy does.
 *
 * Decided here: integers wrap, an integer divided by zero gives 0, and so does its remainder; comparisons with NaN
 * are false, but not_equal's; a number is true unless it is zero; maximum and minimum pass NaN on and give the
 * gradient of a tie to `a`. An integer to a negative power is its reciprocal's, toward zero. A shift by as many
 * bits as there are, or more, or by a negative number, leaves what shifting one by one would: zeros, or copies of
 * the sign to the right. A gradient is first formed at the result's
 * shape, then summed over what the operand was stretched along. */
#include "op/attr.h"

static plumb_status need_dtype(const plumb_infer *q, int input, bool integers)
{
    plumb_dtype dtype = q->in[input].dtype;
    return integers && !plumb_dtype_is_float(dtype) && plumb_dtype_size(dtype) > 0
               ? PLUMB_OK
               : plumb_need_float(q, input);
}

static plumb_status infer_pair(plumb_infer *q, bool integers, plumb_dtype result)
{
    if (need_dtype(q, 0, integers) || plumb_need_same_dtype(q, 0, 1)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0].dtype = result == PLUMB_NO_DTYPE ? q->in[0].dtype : result;
    return plumb_broadcast(q, &q->in[0].shape, &q->in[1].shape, &q->out[0].shape);
}

static plumb_status infer_numbers(plumb_infer *q) { return infer_pair(q, true, PLUMB_NO_DTYPE); }

static plumb_status infer_floats(plumb_infer *q) { return infer_pair(q, false, PLUMB_NO_DTYPE); }

static plumb_status infer_integers(plumb_infer *q)
{
    plumb_dtype dtype = q->in[0].dtype;
    if (plumb_dtype_is_float(dtype) || plumb_dtype_size(dtype) == 0) {
        return plumb_refuse(q, "input 0 is %s, expected integers", plumb_dtype_name(dtype));
    }
    return infer_pair(q, true, PLUMB_NO_DTYPE);
}

static plumb_status infer_comparison(plumb_infer *q) { return infer_pair(q, true, PLUMB_U8); }

static plumb_status infer_where(plumb_infer *q)
{
    plumb_shape both = {0};
    if (q->in[0].dtype != PLUMB_U8) {
        return plumb_refuse(q, "the condition is %s, expected u8", plumb_dtype_name(q->in[0].dtype));
    }
    if (plumb_need_same_dtype(q, 1, 2) || plumb_broadcast(q, &q->in[1].shape, &q->in[2].shape, &both)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0].dtype = q->in[1].dtype;
    return plumb_broadcast(q, &q->in[0].shape, &both, &q->out[0].shape);
}

/* ---- gradients ---- */

/* d(out)/d(operand i), at the result's shape, becomes the operand's gradient. */
static void give(plumb_grad *q, int i, plumb_t d) { q->din[i] = plumb_sum_to_like(q->graph, d, q->in[i]); }

static plumb_t zero(const plumb_grad *q)
{
    return plumb_scalar(q->graph, plumb_dtype_of(q->graph, q->dout[0]), 0);
}

static plumb_status add_gradient(plumb_grad *q)
{
    for (int i = 0; i < 2; i++) {
        if (q->want[i]) {
            give(q, i, q->dout[0]);
        }
    }
    return PLUMB_OK;
}

static plumb_status sub_gradient(plumb_grad *q)
{
    if (q->want[0]) {
        give(q, 0, q->dout[0]);
    }
    if (q->want[1]) { /* summed first: there is less to negate */
        q->din[1] = plumb_neg(q->graph, plumb_sum_to_like(q->graph, q->dout[0], q->in[1]));
    }
    return PLUMB_OK;
}

static plumb_status mul_gradient(plumb_grad *q)
{
    for (int i = 0; i < 2; i++) {
        if (q->want[i]) {
            give(q, i, plumb_mul(q->graph, q->dout[0], q->in[1 - i]));
        }
    }
    return PLUMB_OK;
}

static plumb_status div_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t over_b = plumb_div(g, q->dout[0], q->in[1]);
    if (q->want[0]) {
        give(q, 0, over_b);
    }
    if (q->want[1]) { /* -dy * (a/b) / b */
        give(q, 1, plumb_neg(g, plumb_mul(g, over_b, q->out[0])));
    }
    return PLUMB_OK;
}

/* d/da = b a^(b-1), and 0 where b = 0 even if a = 0; d/db = y ln a, and 0 where a = 0. */
static plumb_status pow_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t a = q->in[0], b = q->in[1], dy = q->dout[0], none = zero(q);
    if (q->want[0]) {
        plumb_t slope = plumb_mul(g, b, plumb_pow(g, a, plumb_affine(g, b, 1, -1)));
        give(q, 0, plumb_where(g, plumb_equal(g, b, none), none, plumb_mul(g, dy, slope)));
    }
    if (q->want[1]) {
        plumb_t slope = plumb_mul(g, q->out[0], plumb_log(g, a));
        give(q, 1, plumb_where(g, plumb_equal(g, a, none), none, plumb_mul(g, dy, slope)));
    }
    return PLUMB_OK;
}

/* y = a - n b, n = trunc(a / b) or floor(a / b): which of the two, y says. */
static plumb_t quotient_behind(plumb_graph *g, const plumb_t *in, plumb_t y)
{
    return plumb_round(g, plumb_div(g, plumb_sub(g, in[0], y), in[1]));
}

static plumb_status remainder_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    if (q->want[0]) {
        give(q, 0, q->dout[0]);
    }
    if (q->want[1]) {
        give(q, 1, plumb_neg(g, plumb_mul(g, q->dout[0], quotient_behind(g, q->in, q->out[0]))));
    }
    return PLUMB_OK;
}

/* d/da = b / (a^2 + b^2), d/db = -a / (a^2 + b^2). */
static plumb_status atan2_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t squares = plumb_add(g, plumb_square(g, q->in[0]), plumb_square(g, q->in[1]));
    plumb_t d = plumb_div(g, q->dout[0], squares);
    if (q->want[0]) {
        give(q, 0, plumb_mul(g, d, q->in[1]));
    }
    if (q->want[1]) {
        give(q, 1, plumb_neg(g, plumb_mul(g, d, q->in[0])));
    }
    return PLUMB_OK;
}

/* d/da = e^a / (e^a + e^b) = sigmoid(a - b). */
static plumb_status logaddexp_gradient(plumb_grad *q)
{
    for (int i = 0; i < 2; i++) {
        if (q->want[i]) {
            plumb_t ahead = plumb_sub(q->graph, q->in[i], q->in[1 - i]);
            give(q, i, plumb_mul(q->graph, q->dout[0], plumb_sigmoid(q->graph, ahead)));
        }
    }
    return PLUMB_OK;
}

static plumb_status prelu_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t none = zero(q), dy = q->dout[0], passes = plumb_less(g, none, q->in[0]);
    if (q->want[0]) {
        give(q, 0, plumb_where(g, passes, dy, plumb_mul(g, dy, q->in[1])));
    }
    if (q->want[1]) {
        give(q, 1, plumb_where(g, passes, none, plumb_mul(g, dy, q->in[0])));
    }
    return PLUMB_OK;
}

static plumb_status choice_gradient(plumb_grad *q, plumb_t chose_a)
{
    plumb_graph *g = q->graph;
    plumb_t none = zero(q);
    if (q->want[0]) {
        give(q, 0, plumb_where(g, chose_a, q->dout[0], none));
    }
    if (q->want[1]) {
        give(q, 1, plumb_where(g, chose_a, none, q->dout[0]));
    }
    return PLUMB_OK;
}

static plumb_status maximum_gradient(plumb_grad *q)
{
    return choice_gradient(q, plumb_less_equal(q->graph, q->in[1], q->in[0]));
}

static plumb_status minimum_gradient(plumb_grad *q)
{
    return choice_gradient(q, plumb_less_equal(q->graph, q->in[0], q->in[1]));
}

static plumb_status comparison_gradient(plumb_grad *q)
{
    q->din[0] = q->din[1] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status where_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t none = zero(q);
    q->din[0] = PLUMB_NO_GRADIENT;
    if (q->want[1]) {
        give(q, 1, plumb_where(g, q->in[0], q->dout[0], none));
    }
    if (q->want[2]) {
        give(q, 2, plumb_where(g, q->in[0], none, q->dout[0]));
    }
    return PLUMB_OK;
}

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

static plumb_t which_is_less(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)attr;
    (void)out;
    return plumb_less(graph, in[0], in[1]);
}

static plumb_t the_result(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

static plumb_t which_multiple(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)attr;
    return quotient_behind(graph, in, out[0]);
}

static plumb_t side_of_first(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)attr;
    (void)out;
    return plumb_sign(graph, in[0]);
}

#define PAIR(op_name, rule, more_flags, ...)                                                                 \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 2,                                                                                         \
        .max_in = 2,                                                                                         \
        .n_out = 1,                                                                                          \
        .flags = PLUMB_OP_ELEMENTWISE | (more_flags),                                                        \
        .infer = infer_##rule,                                                                               \
        __VA_ARGS__,                                                                                         \
    };                                                                                                       \
    plumb_t plumb_##op_name(plumb_graph *g, plumb_t a, plumb_t b)                                            \
    {                                                                                                        \
        return plumb_emit(g, &plumb_op_##op_name, NULL, (const plumb_t[]){a, b}, 2);                         \
    }
#define FOLLOW .precision = PLUMB_PRECISION_FOLLOW

PAIR(add, numbers, PLUMB_OP_COMMUTATIVE, .gradient = add_gradient, .in_place = over_first, FOLLOW,
     .tolerance = PLUMB_TOL_SCALAR)
PAIR(sub, numbers, 0, .gradient = sub_gradient, .in_place = over_first, FOLLOW, .tolerance = PLUMB_TOL_SCALAR)
PAIR(mul, numbers, PLUMB_OP_COMMUTATIVE, .gradient = mul_gradient, .in_place = over_first, FOLLOW,
     .tolerance = PLUMB_TOL_SCALAR)
PAIR(div, numbers, 0, .gradient = div_gradient, .in_place = over_first, FOLLOW, .tolerance = PLUMB_TOL_SCALAR)
PAIR(pow, numbers, 0, .gradient = pow_gradient, .in_place = over_first, .tolerance = PLUMB_TOL_SCALAR,
     .ulps = 3)
PAIR(maximum, numbers, 0, .gradient = maximum_gradient, .in_place = over_first, FOLLOW,
     .tolerance = PLUMB_TOL_EXACT, .branch = which_is_less)
PAIR(minimum, numbers, 0, .gradient = minimum_gradient, .in_place = over_first, FOLLOW,
     .tolerance = PLUMB_TOL_EXACT, .branch = which_is_less)
PAIR(fmod, numbers, 0, .gradient = remainder_gradient, .in_place = over_first, .tolerance = PLUMB_TOL_EXACT,
     .branch = which_multiple)
PAIR(remainder, numbers, 0, .gradient = remainder_gradient, .in_place = over_first,
     .tolerance = PLUMB_TOL_SCALAR, .branch = which_multiple)
PAIR(atan2, floats, 0, .gradient = atan2_gradient, .in_place = over_first, .tolerance = PLUMB_TOL_SCALAR,
     .ulps = 3)
PAIR(logaddexp, floats, PLUMB_OP_COMMUTATIVE, .gradient = logaddexp_gradient, .in_place = over_first,
     .tolerance = PLUMB_TOL_SCALAR, .ulps = 3)
PAIR(prelu, floats, 0, .gradient = prelu_gradient, .in_place = over_first, FOLLOW, .tolerance = PLUMB_TOL_SCALAR,
     .branch = side_of_first)
PAIR(equal, comparison, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, FOLLOW,
     .tolerance = PLUMB_TOL_EXACT, .branch = the_result)
PAIR(not_equal, comparison, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, FOLLOW,
     .tolerance = PLUMB_TOL_EXACT, .branch = the_result)
PAIR(less, comparison, 0, .gradient = comparison_gradient, FOLLOW, .tolerance = PLUMB_TOL_EXACT,
     .branch = the_result)
PAIR(less_equal, comparison, 0, .gradient = comparison_gradient, FOLLOW, .tolerance = PLUMB_TOL_EXACT,
     .branch = the_result)
PAIR(logical_and, comparison, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .tolerance = PLUMB_TOL_EXACT,
     .branch = the_result)
PAIR(logical_or, comparison, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .tolerance = PLUMB_TOL_EXACT,
     .branch = the_result)
PAIR(logical_xor, comparison, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .tolerance = PLUMB_TOL_EXACT,
     .branch = the_result)
PAIR(bitwise_and, integers, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .in_place = over_first,
     .tolerance = PLUMB_TOL_EXACT)
PAIR(bitwise_or, integers, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .in_place = over_first,
     .tolerance = PLUMB_TOL_EXACT)
PAIR(bitwise_xor, integers, PLUMB_OP_COMMUTATIVE, .gradient = comparison_gradient, .in_place = over_first,
     .tolerance = PLUMB_TOL_EXACT)
PAIR(shift_left, integers, 0, .gradient = comparison_gradient, .in_place = over_first, .tolerance = PLUMB_TOL_EXACT)
PAIR(shift_right, integers, 0, .gradient = comparison_gradient, .in_place = over_first, .tolerance = PLUMB_TOL_EXACT)

const plumb_op plumb_op_where = {
    .name = "where",
    .typed = 1,
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .flags = PLUMB_OP_ELEMENTWISE,
    .infer = infer_where,
    .gradient = where_gradient,
    .in_place = over_second,
    .tolerance = PLUMB_TOL_EXACT,
    .precision = PLUMB_PRECISION_FOLLOW,
};

plumb_t plumb_where(plumb_graph *g, plumb_t condition_u8, plumb_t a, plumb_t b)
{
    return plumb_emit(g, &plumb_op_where, NULL, (const plumb_t[]){condition_u8, a, b}, 3);
}
