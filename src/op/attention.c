/* Scaled-dot-product attention, y = softmax(scale q k' + mask) v, and its backward op.
 *
 * Decided here:
 * - As Dao et al. 2022 have it, neither way keeps the T x S weights: the forward op leaves y and, for each row of scores, lse,
 *   the logarithm of its sum of exponentials, and the way back makes a weight again as exp(score - lse):
 *       delta = sum(dy y), ds = p (dy v' - delta), dq = scale ds k, dk = scale ds' q, dv = p' dy
 * - lse is f32 where the rest is bf16 or f16: its digits are digits of every weight.
 * - A row that sees no key, all its scores being -inf, has y = 0 and gradients of 0; its lse is +inf, which makes its
 *   weights 0 on the way back without asking. NaN and +inf in a row make it NaN.
 * - A key whose score is -inf is not looked at: what its k and v are, or the query's dy, changes nothing, be it NaN.
 * - A mask is u8 (0 hides) or is added; it stretches to (N, H, T, S). `causal` lets query i see keys 0 .. i, whatever S is.
 * - The mask's gradient, that of lse, and second derivatives are those of the composition of simple ops. */
#include "op/attr.h"

#include <math.h>

enum { Q, K, V, FORWARD_MASK, Y = 3, LSE, DY, BACKWARD_MASK };

/* ---- shape rules ---- */

static plumb_status refuse_shape(const plumb_infer *q, int input, const char *what, const char *expected)
{
    char text[160];
    return plumb_refuse(q, "%s has shape %s, expected %s", what,
                        plumb_shape_text(&q->in[input].shape, text, sizeof text), expected);
}

static plumb_dtype lse_dtype(plumb_dtype dtype) { return dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32; }

/* q (N, H, T, D), k (N, H, S, D), v (N, H, S, E) */
static plumb_status check_operands(const plumb_infer *q)
{
    const plumb_shape *x = &q->in[Q].shape, *k = &q->in[K].shape, *v = &q->in[V].shape;
    const plumb_attr_attention *attr = q->attr;
    if (plumb_need_float(q, Q) || plumb_need_same_dtype(q, Q, K) || plumb_need_same_dtype(q, Q, V))
        return PLUMB_BAD_INPUT;
    if (x->rank != 4)
        return refuse_shape(q, Q, "q", "(N, heads, queries, features)");
    if (k->rank != 4 || !plumb_dims_agree(k->dim[0], x->dim[0]) || !plumb_dims_agree(k->dim[1], x->dim[1]) ||
        !plumb_dims_agree(k->dim[3], x->dim[3]))
        return refuse_shape(q, K, "k", "(N, heads, keys, features) of q's N, heads and features");
    if (v->rank != 4 || !plumb_dims_agree(v->dim[0], x->dim[0]) || !plumb_dims_agree(v->dim[1], x->dim[1]) ||
        !plumb_dims_agree(v->dim[2], k->dim[2]))
        return refuse_shape(q, V, "v", "(N, heads, keys, features) of k's N, heads and keys");
    return isfinite(attr->scale) ? PLUMB_OK : plumb_refuse(q, "scale %g is not finite", attr->scale);
}

static plumb_status check_mask(const plumb_infer *q, int mask)
{
    if (q->n_in <= mask)
        return PLUMB_OK;
    const plumb_shape *m = &q->in[mask].shape, *x = &q->in[Q].shape;
    const int64_t full[4] = {x->dim[0], x->dim[1], x->dim[2], q->in[K].shape.dim[2]};
    bool fits = m->rank == 4;
    for (int d = 0; fits && d < 4; d++)
        fits = m->dim[d] == 1 || plumb_dims_agree(m->dim[d], full[d]);
    if (!fits)
        return refuse_shape(q, mask, "mask", "one that stretches to (N, heads, queries, keys)");
    return q->in[mask].dtype == PLUMB_U8 ? PLUMB_OK : plumb_need_same_dtype(q, Q, mask);
}

static plumb_type output_type(const plumb_infer *q)
{
    plumb_type y = q->in[Q];
    y.shape.dim[3] = q->in[V].shape.dim[3];
    return y;
}

static plumb_type lse_type(const plumb_infer *q)
{
    plumb_type lse = {.dtype = lse_dtype(q->in[Q].dtype), .shape = q->in[Q].shape};
    lse.shape.rank = 3;
    lse.shape.dim[3] = 0;
    return lse;
}

static plumb_status infer_attention(plumb_infer *q)
{
    if (check_operands(q) || check_mask(q, FORWARD_MASK))
        return PLUMB_BAD_INPUT;
    q->out[0] = output_type(q);
    q->out[1] = lse_type(q);
    return PLUMB_OK;
}

static bool type_agrees(const plumb_type *a, const plumb_type *b)
{
    bool agrees = a->dtype == b->dtype && a->shape.rank == b->shape.rank;
    for (int d = 0; agrees && d < a->shape.rank; d++)
        agrees = plumb_dims_agree(a->shape.dim[d], b->shape.dim[d]);
    return agrees;
}

static plumb_status infer_attention_backward(plumb_infer *q)
{
    if (check_operands(q) || check_mask(q, BACKWARD_MASK))
        return PLUMB_BAD_INPUT;
    plumb_type y = output_type(q), lse = lse_type(q);
    if (!type_agrees(&q->in[Y], &y))
        return refuse_shape(q, Y, "y", "(N, heads, queries, v's features) of q's dtype");
    if (!type_agrees(&q->in[LSE], &lse))
        return refuse_shape(q, LSE, "lse", "(N, heads, queries) of f32, or f64 beside f64");
    if (!type_agrees(&q->in[DY], &y))
        return refuse_shape(q, DY, "dy", "y's, and q's dtype");
    for (int i = 0; i < 3; i++)
        q->out[i] = q->in[i];
    return PLUMB_OK;
}

/* ---- the composition ---- */

static plumb_t less_than_all(plumb_graph *g, plumb_t x) { return plumb_full_like(g, x, -INFINITY); }

/* (T, S), u8: key <= query. T and S must be known. */
static plumb_t causal_mask(plumb_graph *g, int64_t queries, int64_t keys)
{
    plumb_context *context = plumb_graph_context(g);
    uint8_t *seen = plumb_alloc(context, (size_t)(queries * keys) + 1);
    if (!seen)
        return PLUMB_NONE;
    for (int64_t i = 0; i < queries; i++)
        for (int64_t j = 0; j < keys; j++)
            seen[i * keys + j] = j <= i;
    plumb_t mask = plumb_constant(g, PLUMB_U8, PLUMB_SHAPE(queries, keys), seen);
    plumb_free(context, seen);
    return mask;
}

/* (N, H, T, S); `mask` may be PLUMB_NONE */
static plumb_t scores(plumb_graph *g, const plumb_attr_attention *attr, const plumb_t *in, plumb_t mask)
{
    plumb_t s = plumb_affine(g, plumb_matmul(g, in[Q], in[K], false, true), attr->scale, 0);
    if (mask != PLUMB_NONE)
        s = plumb_dtype_of(g, mask) == PLUMB_U8 ? plumb_where(g, mask, s, less_than_all(g, s)) : plumb_add(g, s, mask);
    if (attr->causal) {
        plumb_shape shape = plumb_shape_of(g, s);
        if (shape.dim[2] < 0 || shape.dim[3] < 0)
            return plumb_poison(g, "attention: this derivative needs the numbers of queries and keys to be known");
        s = plumb_where(g, causal_mask(g, shape.dim[2], shape.dim[3]), s, less_than_all(g, s));
    }
    return s;
}

/* (N, H, T) -> (N, H, T, 1), of like's dtype */
static plumb_t column(plumb_graph *g, plumb_t x, plumb_t like)
{
    plumb_shape shape = plumb_shape_of(g, x);
    shape.dim[shape.rank++] = 1;
    return plumb_cast(g, plumb_reshape(g, x, shape), plumb_dtype_of(g, like));
}

/* y and lse from (q, k, v[, mask]) */
static void compose_forward(plumb_graph *g, const void *attr, const plumb_t *in, int n_in, plumb_t *out)
{
    plumb_t s = scores(g, attr, in, n_in > FORWARD_MASK ? in[FORWARD_MASK] : PLUMB_NONE);
    if (plumb_shape_of(g, in[K]).dim[2] == 0) { /* no key, no maximum */
        plumb_t none = plumb_sum(g, s, PLUMB_AXES(3), false);
        out[0] = plumb_matmul(g, s, in[V], false, false);
        out[1] = plumb_cast(g, plumb_add(g, none, plumb_full_like(g, none, INFINITY)), lse_dtype(plumb_dtype_of(g, in[Q])));
        return;
    }
    plumb_t most = plumb_stop_gradient(g, plumb_max(g, s, PLUMB_AXES(3), true)); /* no matter which shift it is */
    plumb_t blind = plumb_equal(g, most, less_than_all(g, most)), zero = plumb_full_like(g, most, 0);
    plumb_t e = plumb_exp(g, plumb_sub(g, s, plumb_where(g, blind, zero, most)));
    plumb_t sum = plumb_sum(g, e, PLUMB_AXES(3), true), safe = plumb_where(g, blind, plumb_full_like(g, sum, 1), sum);
    out[0] = plumb_matmul(g, plumb_div(g, e, safe), in[V], false, false);
    plumb_t lse = plumb_where(g, blind, plumb_full_like(g, most, INFINITY), plumb_add(g, most, plumb_log(g, safe)));
    out[1] = plumb_cast(g, plumb_sum(g, lse, PLUMB_AXES(3), false), lse_dtype(plumb_dtype_of(g, in[Q])));
}

/* dq, dk, dv and ds, (N, H, T, S), from the backward op's inputs */
static void compose_backward(plumb_graph *g, const void *attr, const plumb_t *in, int n_in, plumb_t out[4])
{
    const plumb_attr_attention *a = attr;
    plumb_t s = scores(g, a, in, n_in > BACKWARD_MASK ? in[BACKWARD_MASK] : PLUMB_NONE);
    plumb_t p = plumb_exp(g, plumb_sub(g, s, column(g, in[LSE], s)));
    plumb_t delta = plumb_sum(g, plumb_mul(g, in[DY], in[Y]), PLUMB_AXES(3), true);
    plumb_t ds = plumb_mul(g, p, plumb_sub(g, plumb_matmul(g, in[DY], in[V], false, true), delta));
    out[Q] = plumb_affine(g, plumb_matmul(g, ds, in[K], false, false), a->scale, 0);
    out[K] = plumb_affine(g, plumb_matmul(g, ds, in[Q], true, false), a->scale, 0);
    out[V] = plumb_matmul(g, p, in[DY], true, false);
    out[3] = ds;
}

/* A tensor equal to x, at which the derivative can be taken without the paths on which x reaches the others. */
static plumb_t fresh(plumb_graph *g, plumb_t x)
{
    plumb_attr_shape attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    return plumb_emit(g, &plumb_op_reshape, &attr, (const plumb_t[]){x, x}, 2);
}

typedef void composition(plumb_graph *g, const void *attr, const plumb_t *in, int n_in, plumb_t *out);

static plumb_status through(plumb_grad *q, composition *compose)
{
    plumb_graph *g = q->graph;
    plumb_t in[8], out[4], y[4], dy[4], wrt[8], d[8];
    int n_y = 0, n_wrt = 0, from[8];
    for (int i = 0; i < q->n_in; i++) {
        in[i] = fresh(g, q->in[i]);
        q->din[i] = PLUMB_NO_GRADIENT;
    }
    compose(g, q->attr, in, q->n_in, out);
    for (int i = 0; i < q->n_out; i++)
        if (q->dout[i] != PLUMB_NONE) {
            y[n_y] = out[i];
            dy[n_y++] = q->dout[i];
        }
    for (int i = 0; i < q->n_in; i++)
        if (q->want[i] && plumb_dtype_of(g, q->in[i]) != PLUMB_U8) {
            from[n_wrt] = i;
            wrt[n_wrt++] = in[i];
        }
    plumb_status status = plumb_gradients_from(g, y, dy, n_y, wrt, n_wrt, d);
    for (int i = 0; i < n_wrt; i++)
        q->din[from[i]] = d[i];
    return status;
}

/* ---- gradient rules ---- */

static plumb_status gradient_attention(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    bool masked = q->n_in > FORWARD_MASK;
    if (q->dout[1] != PLUMB_NONE) /* reached by second derivatives only, or by who asks for lse */
        return through(q, compose_forward);
    const plumb_t in[] = {q->in[Q], q->in[K], q->in[V], q->out[0], q->out[1], q->dout[0], masked ? q->in[FORWARD_MASK] : PLUMB_NONE};
    plumb_t first = plumb_emit(g, &plumb_op_attention_backward, q->attr, in, masked ? 7 : 6);
    if (first == PLUMB_NONE)
        return PLUMB_BAD_INPUT;
    for (int i = 0; i < 3; i++)
        q->din[i] = plumb_output(g, first, i);
    if (!masked)
        return PLUMB_OK;
    q->din[FORWARD_MASK] = PLUMB_NO_GRADIENT;
    if (q->want[FORWARD_MASK] && plumb_dtype_of(g, q->in[FORWARD_MASK]) != PLUMB_U8) {
        plumb_t each[4];
        compose_backward(g, q->attr, in, 7, each);
        q->din[FORWARD_MASK] = plumb_sum_to_like(g, each[3], q->in[FORWARD_MASK]);
    }
    return PLUMB_OK;
}

static plumb_status gradient_attention_backward(plumb_grad *q) { return through(q, compose_backward); }

/* ---- facts ---- */

static double product_flops(const plumb_call *call, double per_score)
{
    const plumb_view *x = &call->in[Q];
    return per_score * (double)x->dim[0] * (double)x->dim[1] * (double)x->dim[2] * (double)call->in[K].dim[2];
}

static double flops_attention(const plumb_call *call)
{
    return product_flops(call, 2 * (double)(call->in[Q].dim[3] + call->in[V].dim[3]));
}

static double flops_attention_backward(const plumb_call *call)
{
    return product_flops(call, 2 * (3 * (double)call->in[Q].dim[3] + 2 * (double)call->in[V].dim[3]));
}

/* A score's error is an error of every weight of its row, and of what is summed with them. */
static double terms_attention(const plumb_call *call)
{
    const plumb_view *x = &call->in[Q], *v = &call->in[V];
    return (double)(x->dim[3] + v->dim[3] + 1) * (double)(x->dim[2] + v->dim[2] + 1);
}

static void print_attention(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_attention *attr = opaque;
    plumb_text_add(text, "scale=%g%s", attr->scale, attr->causal ? " causal" : "");
}

const plumb_op plumb_op_attention = {
    .name = "attention",
    .min_in = 3,
    .max_in = 4,
    .n_out = 2,
    .attr_size = sizeof(plumb_attr_attention),
    .infer = infer_attention,
    .gradient = gradient_attention,
    .flops = flops_attention,
    .terms = terms_attention,
    .tolerance = PLUMB_TOL_NORM,
    .precision = PLUMB_PRECISION_LOWER,
    .print = print_attention,
};

const plumb_op plumb_op_attention_backward = {
    .name = "attention_backward",
    .min_in = 6,
    .max_in = 7,
    .n_out = 3,
    .attr_size = sizeof(plumb_attr_attention),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_attention_backward,
    .gradient = gradient_attention_backward,
    .flops = flops_attention_backward,
    .terms = terms_attention,
    .tolerance = PLUMB_TOL_NORM,
    .precision = PLUMB_PRECISION_LOWER,
    .in_f32 = 1u << LSE,
    .print = print_attention,
};

/* ---- builder ---- */

plumb_t plumb_attention(plumb_graph *g, plumb_t q, plumb_t k, plumb_t v, const plumb_attention_options *options)
{
    plumb_attention_options o;
    plumb_attr_attention attr;
    plumb_shape shape = plumb_shape_of(g, q);
    memset(&o, 0, sizeof o);
    memset(&attr, 0, sizeof attr);
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    if (plumb_graph_status(g) != PLUMB_OK)
        return PLUMB_NONE;
    if (o.scale == 0 && shape.rank == 4 && shape.dim[3] < 0)
        return plumb_poison(g, "attention: the scale 1 / sqrt(features) needs the number of features to be known");
    attr.scale = o.scale != 0 ? o.scale : shape.rank == 4 && shape.dim[3] > 0 ? 1 / sqrt((double)shape.dim[3]) : 1;
    attr.causal = o.causal;
    if (o.mask != PLUMB_NONE) { /* leading dimensions of 1 */
        plumb_shape mask = plumb_shape_of(g, o.mask), four = {.rank = 4, .dim = {1, 1, 1, 1}};
        for (int d = 0; d < mask.rank && mask.rank < 4; d++)
            four.dim[4 - mask.rank + d] = mask.dim[d];
        if (mask.rank < 4)
            o.mask = plumb_reshape(g, o.mask, four);
    }
    const plumb_t in[] = {q, k, v, o.mask};
    return plumb_emit(g, &plumb_op_attention, &attr, in, o.mask == PLUMB_NONE ? 3 : 4);
}
