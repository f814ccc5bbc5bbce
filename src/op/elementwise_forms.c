/* Element-wise functions that are short compositions of ops: they have no row in the table, no kernel and no gradient
 * rule of their own.
 *
 * Decided here: what is asked for rarely, or costs a pass over memory more where that does not matter, is composed; what
 * people expect to be one kernel is an op (unary.c, binary.c). Compositions are chosen so that a not-a-number comes
 * through: what is dropped is what compares as small, never what does not compare as large. */
#include "op/op.h"

#include <math.h>

static plumb_t number(plumb_graph *g, plumb_t like, double value)
{
    return plumb_scalar(g, plumb_dtype_of(g, like), value);
}

/* ---- comparisons and truth values ---- */

plumb_t plumb_greater(plumb_graph *g, plumb_t a, plumb_t b) { return plumb_less(g, b, a); }

plumb_t plumb_greater_equal(plumb_graph *g, plumb_t a, plumb_t b) { return plumb_less_equal(g, b, a); }

plumb_t plumb_logical_not(plumb_graph *g, plumb_t x) { return plumb_equal(g, x, number(g, x, 0)); }

plumb_t plumb_bitwise_not(plumb_graph *g, plumb_t x)
{
    return plumb_bitwise_xor(g, x, number(g, x, plumb_dtype_of(g, x) == PLUMB_U8 ? 255 : -1));
}

plumb_t plumb_is_nan(plumb_graph *g, plumb_t x) { return plumb_not_equal(g, x, x); }

plumb_t plumb_is_finite(plumb_graph *g, plumb_t x)
{
    return plumb_less(g, plumb_abs(g, x), number(g, x, INFINITY));
}

plumb_t plumb_is_inf(plumb_graph *g, plumb_t x, bool positive, bool negative)
{
    if (positive && negative) {
        return plumb_equal(g, plumb_abs(g, x), number(g, x, INFINITY));
    }
    if (!positive && !negative) {
        return plumb_less(g, x, x); /* nowhere */
    }
    return plumb_equal(g, x, number(g, x, positive ? INFINITY : -INFINITY));
}

/* ---- arithmetic ---- */

plumb_t plumb_clamp_between(plumb_graph *g, plumb_t x, plumb_t low, plumb_t high)
{
    plumb_t least = low == PLUMB_NONE ? x : plumb_maximum(g, x, low);
    return high == PLUMB_NONE ? least : plumb_minimum(g, least, high);
}

plumb_t plumb_exp2(plumb_graph *g, plumb_t x) { return plumb_pow(g, number(g, x, 2), x); }

plumb_t plumb_log2(plumb_graph *g, plumb_t x) { return plumb_affine(g, plumb_log(g, x), M_LOG2E, 0); }

plumb_t plumb_log10(plumb_graph *g, plumb_t x) { return plumb_affine(g, plumb_log(g, x), M_LOG10E, 0); }

/* ---- activations ---- */

/* Klambauer et al. 2017: the constants make zero mean and unit variance a fixed point. */
plumb_t plumb_selu(plumb_graph *g, plumb_t x)
{
    return plumb_affine(g, plumb_elu(g, x, 1.67326324235437728482), 1.05070098735548049342, 0);
}

plumb_t plumb_celu(plumb_graph *g, plumb_t x, double alpha)
{
    double a = alpha == 0 ? 1 : alpha;
    if (!(a > 0)) {
        return plumb_poison(g, "celu: alpha is %g, expected a positive number", a);
    }
    return plumb_affine(g, plumb_elu(g, plumb_affine(g, x, 1 / a, 0), 1), a, 0);
}

plumb_t plumb_softsign(plumb_graph *g, plumb_t x)
{
    return plumb_div(g, x, plumb_affine(g, plumb_abs(g, x), 1, 1));
}

plumb_t plumb_hard_sigmoid(plumb_graph *g, plumb_t x, double alpha, double beta)
{
    return plumb_clamp(g, plumb_affine(g, x, alpha, beta), 0, 1);
}

plumb_t plumb_hard_swish(plumb_graph *g, plumb_t x)
{
    return plumb_mul(g, x, plumb_hard_sigmoid(g, x, 1.0 / 6, 0.5));
}

plumb_t plumb_thresholded_relu(plumb_graph *g, plumb_t x, double alpha)
{
    return plumb_where(g, plumb_less_equal(g, x, number(g, x, alpha)), number(g, x, 0), x);
}

/* x - bias sign(x), and 0 within the threshold. */
plumb_t plumb_shrink(plumb_graph *g, plumb_t x, double threshold, double bias)
{
    plumb_t within = plumb_less_equal(g, plumb_abs(g, x), number(g, x, threshold));
    plumb_t nearer = bias == 0 ? x : plumb_sub(g, x, plumb_affine(g, plumb_sign(g, x), bias, 0));
    return plumb_where(g, within, number(g, x, 0), nearer);
}

plumb_t plumb_log_sigmoid(plumb_graph *g, plumb_t x)
{
    return plumb_neg(g, plumb_softplus(g, plumb_neg(g, x)));
}
