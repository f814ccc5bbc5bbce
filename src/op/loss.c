/* Losses, as compositions of ops: what the per-element loss is, and how it becomes a number.
 *
 * Decided here:
 * - Prediction and target must have one shape. Broadcasting (N) against (N, 1) is a classic silent mistake, so it is
 *   refused; labels that truly broadcast can be expanded first.
 * - MEAN is over every element of the per-element loss (cross-entropy: over the examples). With weights it is
 *   sum(w l) / sum(w), the sum of weights counted after broadcasting; where all weights are 0 (everything masked or
 *   ignored) it is 0, not 0/0, and so are the gradients. SUM is sum(w l), NONE is w l itself.
 * - Binary cross-entropy on logits is softplus(x) - x y, whose gradient is exactly sigmoid(x) - y, also at x = 0. On
 *   probabilities the logarithms stop at that of the smallest normal number of f32 (f16: of f16), so 0 and 1 give a
 *   large finite loss.
 * - With class weights the cross-entropy of integer labels divides by the summed weight of the labels; that of soft
 *   targets divides by the number of examples. Both as in PyTorch. */
#include "op/attr.h"

/* The caller's struct may be of another size than ours: what it lacks is default. */
static plumb_loss_options read_options(const plumb_loss_options *options)
{
    plumb_loss_options o;
    memset(&o, 0, sizeof o);
    if (options) {
        size_t size = options->size && options->size < sizeof o ? options->size : sizeof o;
        memcpy(&o, options, size);
    }
    return o;
}

static bool check_reduce(plumb_graph *g, const char *loss, plumb_reduce reduce)
{
    if (reduce == PLUMB_REDUCE_MEAN || reduce == PLUMB_REDUCE_SUM || reduce == PLUMB_REDUCE_NONE)
        return true;
    plumb_poison(g, "%s: unknown reduce %d", loss, (int)reduce);
    return false;
}

static bool same_shape(plumb_graph *g, const char *loss, plumb_t a, plumb_t b)
{
    plumb_shape x = plumb_shape_of(g, a), y = plumb_shape_of(g, b);
    bool same = x.rank == y.rank;
    for (int i = 0; same && i < x.rank; i++)
        same = plumb_dims_agree(x.dim[i], y.dim[i]);
    char first[160], second[160];
    if (!same)
        plumb_poison(g, "%s: prediction %s and target %s must have the same shape", loss,
                     plumb_shape_text(&x, first, sizeof first), plumb_shape_text(&y, second, sizeof second));
    return same;
}

/* total / weight, and 0 where the weight is 0 (total is 0 then) */
static plumb_t weighted_mean(plumb_graph *g, plumb_t total, plumb_t weight)
{
    plumb_t none = plumb_equal(g, weight, plumb_full_like(g, weight, 0));
    return plumb_div(g, total, plumb_where(g, none, plumb_full_like(g, weight, 1), weight));
}

/* `loss` per element; `weight`, if any, is stretched to its shape (which refuses to stretch the loss instead). */
static plumb_t reduced(plumb_graph *g, plumb_t loss, plumb_t weight, plumb_reduce reduce)
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
    return weighted_mean(g, plumb_sum(g, loss, NULL, 0, false), plumb_sum(g, weight, NULL, 0, false));
}

plumb_t plumb_softmax_cross_entropy(plumb_graph *g, plumb_t logits, plumb_t labels,
                                    const plumb_loss_options *options)
{
    const plumb_loss_options o = read_options(options);
    plumb_attr_cross_entropy attr;
    memset(&attr, 0, sizeof attr);
    attr.use_ignore_index = o.use_ignore_index;
    attr.ignore_index = o.use_ignore_index ? o.ignore_index : 0;
    attr.label_smoothing = o.label_smoothing;
    if (!check_reduce(g, "softmax_cross_entropy", o.reduce))
        return PLUMB_NONE;
    const plumb_t in[] = {logits, labels, o.class_weights};
    plumb_t loss = plumb_emit(g, &plumb_op_cross_entropy, &attr, in, o.class_weights == PLUMB_NONE ? 2 : 3);
    bool uneven = o.class_weights != PLUMB_NONE || o.use_ignore_index; /* else every example weighs 1 */
    if (!uneven || o.reduce != PLUMB_REDUCE_MEAN)
        return reduced(g, loss, o.weights, o.reduce);
    plumb_t weight = plumb_output(g, loss, 1);
    if (o.weights != PLUMB_NONE) {
        plumb_t example = plumb_expand_like(g, o.weights, loss);
        loss = plumb_mul(g, loss, example);
        weight = plumb_mul(g, weight, example);
    }
    return weighted_mean(g, plumb_sum(g, loss, NULL, 0, false), plumb_sum(g, weight, NULL, 0, false));
}

plumb_t plumb_softmax_cross_entropy_soft(plumb_graph *g, plumb_t logits, plumb_t targets,
                                         const plumb_loss_options *options)
{
    const plumb_loss_options o = read_options(options);
    const char *name = "softmax_cross_entropy_soft";
    plumb_shape shape = plumb_shape_of(g, logits);
    if (plumb_graph_status(g) != PLUMB_OK || !check_reduce(g, name, o.reduce) ||
        !same_shape(g, name, logits, targets))
        return PLUMB_NONE;
    if (shape.rank != 2)
        return plumb_poison(g, "%s: logits must have shape (N, C), got rank %d", name, shape.rank);
    if (!(o.label_smoothing >= 0 && o.label_smoothing < 1))
        return plumb_poison(g, "%s: label smoothing %g is outside [0, 1)", name, o.label_smoothing);
    if (o.label_smoothing > 0 && shape.dim[1] <= 0)
        return plumb_poison(g, "%s: label smoothing needs the number of classes to be known", name);
    if (o.label_smoothing > 0)
        targets = plumb_affine(g, targets, 1 - o.label_smoothing, o.label_smoothing / (double)shape.dim[1]);
    if (o.class_weights != PLUMB_NONE)
        targets = plumb_mul(g, targets, o.class_weights);
    plumb_t terms = plumb_mul(g, targets, plumb_log_softmax(g, logits, 1));
    return reduced(g, plumb_neg(g, plumb_sum(g, terms, PLUMB_AXES(1), false)), o.weights, o.reduce);
}

/* The common frame of the element-wise losses. */
typedef plumb_t elementwise(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *o);

static plumb_t element_loss(plumb_graph *g, const char *name, elementwise *loss, plumb_t prediction,
                            plumb_t target, const plumb_loss_options *options)
{
    const plumb_loss_options o = read_options(options);
    if (plumb_graph_status(g) != PLUMB_OK || !check_reduce(g, name, o.reduce) ||
        !same_shape(g, name, prediction, target))
        return PLUMB_NONE;
    return reduced(g, loss(g, prediction, target, &o), o.weights, o.reduce);
}

static plumb_t bce_logits(plumb_graph *g, plumb_t x, plumb_t y, const plumb_loss_options *o)
{
    (void)o;
    return plumb_sub(g, plumb_softplus(g, x), plumb_mul(g, x, y));
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
