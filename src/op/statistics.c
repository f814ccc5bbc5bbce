/* Further reductions over axes: products, sums of absolute values and of squares, variance, log-sum-exp, any and all;
 * and what is composed of them: norms, standard deviation, cumulative product.
 *
 * Decided here, as PyTorch has it but for what is said: a product over nothing is 1, sums of nothing are 0, log-sum-exp of
 * nothing is minus infinity, any of nothing is false and all true, a variance with nothing to divide by is not a number.
 * Not-a-number is true. The gradient of a product is right where factors are 0: the product of all the others goes down
 * a tree of halves, so that it and its derivatives need no division (sizes of the axes must be known for it). Square
 * roots have the gradient 0 at 0, and log-sum-exp over minus infinities alone has 0, where PyTorch 1.13 has not-a-number. */
#include "op/reduce.h"

#include <math.h>

static plumb_status infer_float(plumb_infer *q)
{
    return plumb_need_float(q, 0) ? PLUMB_BAD_INPUT : plumb_infer_reduce(q);
}

static plumb_status infer_truth(plumb_infer *q)
{
    if (plumb_infer_reduce(q)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0].dtype = PLUMB_U8;
    return PLUMB_OK;
}

/* Elements [begin, end) along one axis of a tensor of this rank. */
static plumb_t piece(plumb_graph *g, plumb_t x, int rank, int axis, int64_t begin, int64_t end)
{
    int64_t from[PLUMB_MAX_RANK], to[PLUMB_MAX_RANK];
    for (int d = 0; d < rank; d++) {
        from[d] = d == axis ? begin : 0;
        to[d] = d == axis ? end : PLUMB_END;
    }
    return plumb_slice(g, x, from, to, NULL);
}

/* ---- products ---- */

enum { LEVELS = 63 };

struct halves { /* a level of the tree: elements i and half + i are multiplied, an odd one goes up as it is */
    plumb_t low, high;
    int64_t half;
    bool odd;
};

/* d, of size 1 along the axis, times the product of all elements of x along it but the one in place. */
static plumb_t times_others(plumb_graph *g, plumb_t x, plumb_t d, int axis)
{
    plumb_shape shape = plumb_shape_of(g, x);
    struct halves level[LEVELS];
    int64_t n = shape.dim[axis];
    int levels = 0;
    for (plumb_t at = x; n > 1; levels++) {
        struct halves *l = &level[levels];
        *l = (struct halves){.half = n / 2, .odd = n % 2};
        l->low = piece(g, at, shape.rank, axis, 0, l->half);
        l->high = piece(g, at, shape.rank, axis, l->half, 2 * l->half);
        plumb_t up[2] = {plumb_mul(g, l->low, l->high), PLUMB_NONE};
        if (l->odd) {
            up[1] = piece(g, at, shape.rank, axis, n - 1, n);
        }
        at = l->odd ? plumb_concat(g, up, 2, axis) : up[0];
        n = l->half + l->odd;
    }
    while (levels > 0) {
        const struct halves *l = &level[--levels];
        plumb_t both = l->odd ? piece(g, d, shape.rank, axis, 0, l->half) : d;
        plumb_t down[3] = {plumb_mul(g, both, l->high), plumb_mul(g, both, l->low), PLUMB_NONE};
        if (l->odd) {
            down[2] = piece(g, d, shape.rank, axis, l->half, l->half + 1);
        }
        d = plumb_concat(g, down, 2 + l->odd, axis);
    }
    return d;
}

/* Axis after axis: the gradient of what the product over one of them left is at hand when its turn comes. */
static plumb_status prod_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_shape shape = plumb_shape_of(g, q->in[0]);
    uint32_t axes = plumb_reduced_axes(q->attr, shape.rank);
    plumb_t left[PLUMB_MAX_RANK + 1] = {q->in[0]}, d = plumb_unreduced(q, q->dout[0]);
    int axis[PLUMB_MAX_RANK], n = 0;
    for (int i = 0; i < shape.rank; i++) {
        if ((axes >> i & 1) == 0) {
            continue;
        }
        if (shape.dim[i] < 0) {
            plumb_poison(g, "prod '%s': the derivative needs the size of axis %d to be known", q->name, i);
            return PLUMB_BAD_INPUT;
        }
        axis[n] = i;
        left[n + 1] = plumb_prod(g, left[n], &i, 1, true);
        n++;
    }
    d = n > 0 ? plumb_reshape_like(g, d, left[n]) : d;
    while (n-- > 0) {
        d = times_others(g, left[n], d, axis[n]);
    }
    q->din[0] = plumb_expand_like(g, d, q->in[0]); /* from one to none, where there are no factors */
    return PLUMB_OK;
}

/* ---- the other gradients ---- */

static plumb_status abs_sum_gradient(plumb_grad *q)
{
    q->din[0] = plumb_mul(q->graph, plumb_sign(q->graph, q->in[0]), plumb_unreduced(q, q->dout[0]));
    return PLUMB_OK;
}

static plumb_t signs(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)attr;
    (void)out;
    return plumb_sign(graph, in[0]);
}

static plumb_status square_sum_gradient(plumb_grad *q)
{
    plumb_t twice = plumb_affine(q->graph, q->in[0], 2, 0);
    q->din[0] = plumb_mul(q->graph, twice, plumb_unreduced(q, q->dout[0]));
    return PLUMB_OK;
}

/* 2 (x - mean) / (n - correction) */
static plumb_status variance_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_attr_reduce attr = *(const plumb_attr_reduce *)q->attr;
    plumb_t d = plumb_affine(g, plumb_over_count(q, q->dout[0], attr.correction), 2, 0);
    attr.correction = 0;
    plumb_t mean = plumb_emit(g, &plumb_op_mean, &attr, q->in, 1);
    q->din[0] = plumb_mul(g, plumb_sub(g, q->in[0], plumb_unreduced(q, mean)), plumb_unreduced(q, d));
    return PLUMB_OK;
}

static plumb_t scalar_like(plumb_graph *g, plumb_t x, double value)
{
    return plumb_scalar(g, plumb_dtype_of(g, x), value);
}

static plumb_status log_sum_exp_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t y = q->out[0], none = plumb_equal(g, y, scalar_like(g, y, -INFINITY));
    plumb_t shift = plumb_unreduced(q, plumb_where(g, none, scalar_like(g, y, 0), y));
    plumb_t share = plumb_exp(g, plumb_sub(g, q->in[0], shift));
    q->din[0] = plumb_mul(g, share, plumb_unreduced(q, q->dout[0]));
    return PLUMB_OK;
}

static plumb_t the_result(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

PLUMB_REDUCE(prod, plumb_infer_reduce, prod_gradient, .tolerance = PLUMB_TOL_DOT, .print = plumb_print_reduce)
PLUMB_REDUCE(abs_sum, plumb_infer_reduce, abs_sum_gradient, .tolerance = PLUMB_TOL_DOT, .print = plumb_print_reduce,
             .branch = signs)
PLUMB_REDUCE(square_sum, plumb_infer_reduce, square_sum_gradient, .tolerance = PLUMB_TOL_DOT,
             .print = plumb_print_reduce)
PLUMB_REDUCE(variance, infer_float, variance_gradient, .tolerance = PLUMB_TOL_NORM, .print = plumb_print_reduce)
PLUMB_REDUCE(log_sum_exp, infer_float, log_sum_exp_gradient, .tolerance = PLUMB_TOL_NORM,
             .print = plumb_print_reduce)
PLUMB_REDUCE(any, infer_truth, plumb_reduce_no_gradient, .tolerance = PLUMB_TOL_EXACT, .print = plumb_print_reduce,
             .branch = the_result)
PLUMB_REDUCE(all, infer_truth, plumb_reduce_no_gradient, .tolerance = PLUMB_TOL_EXACT, .print = plumb_print_reduce,
             .branch = the_result)

/* ---- builders ---- */

PLUMB_REDUCE_BUILDER(prod)
PLUMB_REDUCE_BUILDER(abs_sum)
PLUMB_REDUCE_BUILDER(square_sum)
PLUMB_REDUCE_BUILDER(log_sum_exp)
PLUMB_REDUCE_BUILDER(any)
PLUMB_REDUCE_BUILDER(all)

plumb_t plumb_variance(plumb_graph *g, plumb_t x, const int *axes, int n_axes, int correction, bool keep)
{
    return plumb_reduce_by(g, &plumb_op_variance, x, axes, n_axes, keep, correction);
}

/* s^power with the gradient 0 where s is 0: the root is taken of 1 there. */
static plumb_t root(plumb_graph *g, plumb_t s, double power)
{
    plumb_t zero = scalar_like(g, s, 0), nothing = plumb_equal(g, s, zero);
    plumb_t safe = plumb_where(g, nothing, scalar_like(g, s, 1), s);
    plumb_t y = power == 0.5 ? plumb_sqrt(g, safe) : plumb_pow(g, safe, scalar_like(g, s, power));
    return plumb_where(g, nothing, zero, y);
}

plumb_t plumb_deviation(plumb_graph *g, plumb_t x, const int *axes, int n_axes, int correction, bool keep)
{
    return root(g, plumb_variance(g, x, axes, n_axes, correction, keep), 0.5);
}

plumb_t plumb_norm(plumb_graph *g, plumb_t x, double p, const int *axes, int n_axes, bool keep)
{
    if (isnan(p)) {
        return plumb_poison(g, "norm: p is not a number");
    }
    if (p == 1) {
        return plumb_abs_sum(g, x, axes, n_axes, keep);
    }
    if (p == 2) {
        return root(g, plumb_square_sum(g, x, axes, n_axes, keep), 0.5);
    }
    if (p == 0) {
        plumb_t zeros = plumb_cast(g, plumb_equal(g, x, scalar_like(g, x, 0)), plumb_dtype_of(g, x));
        return plumb_sum(g, plumb_affine(g, zeros, -1, 1), axes, n_axes, keep);
    }
    plumb_t size = plumb_abs(g, x);
    if (isinf(p)) {
        return p > 0 ? plumb_max(g, size, axes, n_axes, keep) : plumb_min(g, size, axes, n_axes, keep);
    }
    return root(g, plumb_sum(g, plumb_pow(g, size, scalar_like(g, x, p)), axes, n_axes, keep), 1 / p);
}
