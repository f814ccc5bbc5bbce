/* Losses, as compositions of ops: how a loss per element becomes a number, and the element-wise losses.
 *
 * Decided here:
 * - Prediction and target must have one shape. Broadcasting (N) against (N, 1) is a classic silent mistake, so it is
 *   refused; labels that truly broadcast can be expanded first.
 * - MEAN is over every element of the per-element loss (cross-entropy: over the examples). With weights it is
 *   sum(w l) / sum(w), the sum of weights counted after broadcasting; where all weights are 0 (everything masked or
 *   ignored) it is 0, not 0/0, and so are the gradients. SUM is sum(w l), NONE is w l itself.
 * - A missing target (ignore_index) is an element of loss and weight 0, whatever the prediction is.
 * - Binary cross-entropy on logits is softplus(x) - x y, whose gradient is exactly sigmoid(x) - y, also at x = 0. On
 *   probabilities the logarithms stop at that of the smallest normal number of f32 (f16: of f16), so 0 and 1 give a
 *   large finite loss.
 * - Focal loss on logits is of that form, too: 1 - p of the right answer is a sigmoid, not a difference.
 * - The Kullback-Leibler divergence of a target of 0 is 0, also where the log-probability is -inf. */
#include "op/loss.h"

#include <float.h>
#include <math.h>

plumb_loss_options plumb_loss_read(const plumb_loss_options *options)
{
    plumb_loss_options o;
    memset(&o, 0, sizeof o);
    if (options) {
        size_t size = options->size && options->size < sizeof o ? options->size : sizeof o;
        memcpy(&o, options, size);
    }
    return o;
}

double plumb_loss_default(double value, double otherwise) { return value == 0 && !signbit(value) ? otherwise : value; }

bool plumb_loss_reduces(plumb_graph *g, const char *loss, plumb_reduce reduce)
{
    if (reduce == PLUMB_REDUCE_MEAN || reduce == PLUMB_REDUCE_SUM || reduce == PLUMB_REDUCE_NONE)
        return true;
    plumb_poison(g, "%s: unknown reduce %d", loss, (int)reduce);
    return false;
}

bool plumb_loss_alike(plumb_graph *g, const char *loss, plumb_t a, plumb_t b)
{
    plumb_shape x = plumb_shape_of(g, a), y = plumb_shape_of(g, b);
    bool same = x.rank == y.rank;
    if (plumb_graph_status(g) != PLUMB_OK)
        return false;
    for (int i = 0; same && i < x.rank; i++)
        same = plumb_dims_agree(x.dim[i], y.dim[i]);
    char first[160], second[160];
    if (!same)
        plumb_poison(g, "%s: prediction %s and target %s must have the same shape", loss,
                     plumb_shape_text(&x, first, sizeof first), plumb_shape_text(&y, second, sizeof second));
    return same;
}

plumb_t plumb_loss_weighted_mean(plumb_graph *g, plumb_t total, plumb_t weight)
{
    plumb_t none = plumb_equal(g, weight, plumb_full_like(g, weight, 0));
    return plumb_div(g, total, plumb_where(g, none, plumb_full_like(g, weight, 1), weight));
}

plumb_t plumb_loss_reduced(plumb_graph *g, plumb_t loss, plumb_t weight, plumb_reduce reduce)
{
    if (weight != PLUMB_NONE) {
        weight = plumb_expand_like(g, weight, loss);
        loss = plumb_mul(g, loss, weight);
    }
    if (reduce == PLUMB_REDUCE_NONE)
        return loss;
    if (reduce == PLUMB_REDUCE_SUM)
        return plumb_sum(g, loss, NULL, 0, false);
    if (weight == PLUMB_NONE)
        return plumb_mean(g, loss, NULL, 0, false);
    return plumb_loss_weighted_mean(g, plumb_sum(g, loss, NULL, 0, false), plumb_sum(g, weight, NULL, 0, false));
}

plumb_t plumb_loss_product(plumb_graph *g, plumb_t a, plumb_t b)
{
    return a == PLUMB_NONE ? b : b == PLUMB_NONE ? a : plumb_mul(g, a, b);
}

plumb_t plumb_loss_root(plumb_graph *g, plumb_t x)
{
    plumb_t zero = plumb_full_like(g, x, 0), none = plumb_equal(g, x, zero);
    return plumb_where(g, none, zero, plumb_sqrt(g, plumb_where(g, none, plumb_full_like(g, x, 1), x)));
}

plumb_t plumb_loss_power(plumb_graph *g, plumb_t x, double power)
{
    if (power == 0)
        return plumb_full_like(g, x, 1);
    if (power == 1 || power == 2)
        return power < 2 ? x : plumb_square(g, x);
    double least = plumb_dtype_of(g, x) == PLUMB_F16 ? 0x1p-14 : FLT_MIN;
    return plumb_pow(g, plumb_clamp(g, x, least, 1), plumb_full_like(g, x, power));
}

/* The common frame of the element-wise losses. */
typedef plumb_t elementwise(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *o);

static plumb_t element_loss(plumb_graph *g, const char *name, elementwise *loss, plumb_t prediction,
                            plumb_t target, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    if (!plumb_loss_alike(g, name, prediction, target) || !plumb_loss_reduces(g, name, o.reduce))
        return PLUMB_NONE;
    plumb_t each = loss(g, prediction, target, &o), weights = o.weights;
    if (o.use_ignore_index) {
        plumb_t missing = plumb_equal(g, target, plumb_full_like(g, target, (double)o.ignore_index));
        each = plumb_where(g, missing, plumb_full_like(g, each, 0), each);
        weights = plumb_loss_product(g, plumb_affine(g, plumb_cast(g, missing, plumb_dtype_of(g, each)), -1, 1), weights);
    }
    return plumb_loss_reduced(g, each, weights, o.reduce);
}

static plumb_t bce_logits(plumb_graph *g, plumb_t x, plumb_t y, const plumb_loss_options *o)
{
    if (o->pos_weight == PLUMB_NONE)
        return plumb_sub(g, plumb_softplus(g, x), plumb_mul(g, x, y));
    plumb_t weight = plumb_expand_like(g, o->pos_weight, x);
    plumb_t hit = plumb_mul(g, plumb_mul(g, weight, y), plumb_softplus(g, plumb_neg(g, x)));
    return plumb_add(g, hit, plumb_mul(g, plumb_affine(g, y, -1, 1), plumb_softplus(g, x)));
}

static plumb_t bce_probabilities(plumb_graph *g, plumb_t p, plumb_t y, const plumb_loss_options *o)
{
    (void)o;
    double least = plumb_dtype_of(g, p) == PLUMB_F16 ? 0x1p-14 : 0x1p-126;
    plumb_t hit = plumb_mul(g, y, plumb_log(g, plumb_clamp(g, p, least, 1)));
    plumb_t miss = plumb_mul(g, plumb_affine(g, y, -1, 1),
                             plumb_log(g, plumb_clamp(g, plumb_affine(g, p, -1, 1), least, 1)));
    return plumb_neg(g, plumb_add(g, hit, miss));
}

static plumb_t squared(plumb_graph *g, plumb_t p, plumb_t t, const plumb_loss_options *o)
{
    (void)o;
    return plumb_square(g, plumb_sub(g, p, t));
}

static plumb_t half_squared(plumb_graph *g, plumb_t p, plumb_t t, const plumb_loss_options *o)
{
    return plumb_affine(g, squared(g, p, t, o), 0.5, 0);
}

static plumb_t absolute(plumb_graph *g, plumb_t p, plumb_t t, const plumb_loss_options *o)
{
    (void)o;
    return plumb_abs(g, plumb_sub(g, p, t));
}

/* 1 - p of the right answer, to the power gamma, times the cross-entropy */
static plumb_t focal(plumb_graph *g, plumb_t x, plumb_t y, const plumb_loss_options *o)
{
    plumb_loss_options plain = *o;
    plain.pos_weight = PLUMB_NONE;
    double gamma = plumb_loss_default(o->gamma, 2);
    if (!(gamma >= 0) || !(o->alpha >= 0 && o->alpha < 1))
        return plumb_poison(g, "focal_with_logits: gamma %g must not be negative, alpha %g be in [0, 1)", gamma, o->alpha);
    plumb_t loss = bce_logits(g, x, y, &plain), other = plumb_affine(g, y, -1, 1);
    plumb_t miss = plumb_add(g, plumb_mul(g, y, plumb_sigmoid(g, plumb_neg(g, x))), plumb_mul(g, other, plumb_sigmoid(g, x)));
    loss = plumb_mul(g, plumb_loss_power(g, miss, gamma), loss);
    return o->alpha > 0 ? plumb_mul(g, loss, plumb_affine(g, y, 2 * o->alpha - 1, 1 - o->alpha)) : loss;
}

static plumb_t hinge(plumb_graph *g, plumb_t x, plumb_t y, const plumb_loss_options *o)
{
    plumb_t short_of = plumb_relu(g, plumb_affine(g, plumb_mul(g, x, y), -1, plumb_loss_default(o->margin, 1)));
    return o->squared ? plumb_square(g, short_of) : short_of;
}

static plumb_t divergence(plumb_graph *g, plumb_t log_p, plumb_t t, const plumb_loss_options *o)
{
    if (o->log_targets)
        return plumb_mul(g, plumb_exp(g, t), plumb_sub(g, t, log_p));
    plumb_t zero = plumb_full_like(g, t, 0), none = plumb_equal(g, t, zero);
    plumb_t log_t = plumb_log(g, plumb_where(g, none, plumb_full_like(g, t, 1), t));
    return plumb_mul(g, t, plumb_sub(g, log_t, plumb_where(g, none, zero, log_p)));
}

static plumb_t smooth(plumb_graph *g, plumb_t p, plumb_t t, const plumb_loss_options *o)
{
    double beta = plumb_loss_default(o->delta, 1);
    if (!(beta >= 0))
        return plumb_poison(g, "smooth_l1: delta %g must not be negative", beta);
    return beta > 0 ? plumb_affine(g, plumb_huber(g, plumb_sub(g, p, t), beta), 1 / beta, 0) : absolute(g, p, t, o);
}

static plumb_t huber(plumb_graph *g, plumb_t p, plumb_t t, const plumb_loss_options *o)
{
    if (!(o->delta >= 0))
        return plumb_poison(g, "huber_error: delta %g must be positive", o->delta);
    return plumb_huber(g, plumb_sub(g, p, t), o->delta > 0 ? o->delta : 1);
}

plumb_t plumb_bce_with_logits(plumb_graph *g, plumb_t logits, plumb_t targets,
                              const plumb_loss_options *options)
{
    return element_loss(g, "bce_with_logits", bce_logits, logits, targets, options);
}

plumb_t plumb_bce(plumb_graph *g, plumb_t probabilities, plumb_t targets, const plumb_loss_options *options)
{
    return element_loss(g, "bce", bce_probabilities, probabilities, targets, options);
}

plumb_t plumb_squared_error(plumb_graph *g, plumb_t prediction, plumb_t target,
                            const plumb_loss_options *options)
{
    return element_loss(g, "squared_error", squared, prediction, target, options);
}

plumb_t plumb_half_squared_error(plumb_graph *g, plumb_t prediction, plumb_t target,
                                 const plumb_loss_options *options)
{
    return element_loss(g, "half_squared_error", half_squared, prediction, target, options);
}

plumb_t plumb_absolute_error(plumb_graph *g, plumb_t prediction, plumb_t target,
                             const plumb_loss_options *options)
{
    return element_loss(g, "absolute_error", absolute, prediction, target, options);
}

plumb_t plumb_huber_error(plumb_graph *g, plumb_t prediction, plumb_t target,
                          const plumb_loss_options *options)
{
    return element_loss(g, "huber_error", huber, prediction, target, options);
}

plumb_t plumb_rmse(plumb_graph *g, plumb_t prediction, plumb_t target)
{
    return plumb_sqrt(g, plumb_squared_error(g, prediction, target, NULL));
}

plumb_t plumb_smooth_l1(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options)
{
    return element_loss(g, "smooth_l1", smooth, prediction, target, options);
}

plumb_t plumb_focal_with_logits(plumb_graph *g, plumb_t logits, plumb_t targets, const plumb_loss_options *options)
{
    return element_loss(g, "focal_with_logits", focal, logits, targets, options);
}

plumb_t plumb_hinge(plumb_graph *g, plumb_t scores, plumb_t targets, const plumb_loss_options *options)
{
    return element_loss(g, "hinge", hinge, scores, targets, options);
}

plumb_t plumb_kl_divergence(plumb_graph *g, plumb_t log_probabilities, plumb_t targets,
                            const plumb_loss_options *options)
{
    return element_loss(g, "kl_divergence", divergence, log_probabilities, targets, options);
}

static plumb_t mean_softplus(plumb_graph *g, plumb_t x, bool negated)
{
    return plumb_mean(g, plumb_softplus(g, negated ? plumb_neg(g, x) : x), NULL, 0, false);
}

plumb_t plumb_gan_discriminator(plumb_graph *g, plumb_t real_logits, plumb_t fake_logits)
{
    return plumb_add(g, mean_softplus(g, real_logits, true), mean_softplus(g, fake_logits, false));
}

plumb_t plumb_gan_generator(plumb_graph *g, plumb_t fake_logits, bool saturating)
{
    plumb_t mean = mean_softplus(g, fake_logits, !saturating);
    return saturating ? plumb_neg(g, mean) : mean;
}
