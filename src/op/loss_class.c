/* Losses of one right class among several: cross-entropy and what is made of it, from logits (N, C, d1, ..) and labels
 * (N, d1, ..), as PyTorch and ONNX have them.
 *
 * Decided here:
 * - Everything goes through the op cross_entropy (softmax.c), which checks labels, knows ignored ones and gives each
 *   example its class's weight: positions d1, .. are examples of their own, laid out behind each other.
 * - With class weights the mean over integer labels divides by the summed weight of the labels; that over soft targets
 *   divides by the number of examples. Both as in PyTorch.
 * - Where every label is ignored the mean is 0 and so are the gradients (PyTorch: NaN). */
#include "op/loss.h"

/* An example per label: rows (M, C) and labels (M) of logits (N, C, d1, ..) and labels (N, d1, ..). */
typedef struct examples {
    plumb_t rows, labels, shaped_like; /* shaped_like: what losses are given the shape of; PLUMB_NONE: they have it */
} examples;

static bool flattened(plumb_graph *g, const char *name, plumb_t logits, plumb_t labels, examples *to)
{
    plumb_shape x = plumb_shape_of(g, logits), y = plumb_shape_of(g, labels);
    *to = (examples){.rows = logits, .labels = labels, .shaped_like = PLUMB_NONE};
    if (x.rank <= 2) /* anything but (N, C) is refused by the op */
        return plumb_graph_status(g) == PLUMB_OK;
    int order[PLUMB_MAX_RANK];
    bool agree = y.rank == x.rank - 1;
    for (int i = 0; i < x.rank; i++)
        order[i] = i == 0 ? 0 : i == x.rank - 1 ? 1 : i + 1;
    for (int i = 0; agree && i < y.rank; i++)
        agree = plumb_dims_agree(y.dim[i], x.dim[order[i]]);
    char first[160], second[160];
    if (!agree || x.dim[1] < 0) {
        plumb_poison(g, "%s: logits %s and labels %s, expected (N, C, d1, ..) with known C, and (N, d1, ..)", name,
                     plumb_shape_text(&x, first, sizeof first), plumb_shape_text(&y, second, sizeof second));
        return false;
    }
    int64_t count = x.dim[1] ? PLUMB_INFER : 1; /* of no classes: count them for the op to refuse or accept */
    for (int i = 0; i < y.rank && count != PLUMB_INFER; i++)
        count = y.dim[i] < 0 ? PLUMB_INFER : count * y.dim[i];
    to->rows = plumb_reshape(g, plumb_transpose(g, logits, order), PLUMB_SHAPE(count, x.dim[1]));
    to->labels = plumb_reshape(g, labels, PLUMB_SHAPE(PLUMB_INFER));
    to->shaped_like = labels;
    return true;
}

/* The op, of examples: losses times the class's weight, and the weights by `weight`. */
static plumb_t emit_loss(plumb_graph *g, const examples *e, const plumb_loss_options *o, bool logarithms, plumb_t *weight)
{
    plumb_attr_cross_entropy attr;
    memset(&attr, 0, sizeof attr);
    attr.use_ignore_index = o->use_ignore_index;
    attr.ignore_index = o->use_ignore_index ? o->ignore_index : 0;
    attr.label_smoothing = o->label_smoothing;
    attr.logarithms = logarithms;
    const plumb_t in[] = {e->rows, e->labels, o->class_weights};
    plumb_t loss = plumb_emit(g, &plumb_op_cross_entropy, &attr, in, o->class_weights == PLUMB_NONE ? 2 : 3);
    *weight = plumb_output(g, loss, 1);
    return loss;
}

static plumb_t shaped(plumb_graph *g, plumb_t x, const examples *e)
{
    return e->shaped_like == PLUMB_NONE ? x : plumb_reshape_like(g, x, e->shaped_like);
}

/* `loss` is times the class's weight already, `weight` that weight; both (M). */
static plumb_t finish(plumb_graph *g, plumb_t loss, plumb_t weight, const examples *e, const plumb_loss_options *o)
{
    bool uneven = o->class_weights != PLUMB_NONE || o->use_ignore_index; /* else every example weighs 1 */
    loss = shaped(g, loss, e);
    if (!uneven || o->reduce != PLUMB_REDUCE_MEAN)
        return plumb_loss_reduced(g, loss, o->weights, o->reduce);
    weight = shaped(g, weight, e);
    if (o->weights != PLUMB_NONE) {
        plumb_t example = plumb_expand_like(g, o->weights, loss);
        loss = plumb_mul(g, loss, example);
        weight = plumb_mul(g, weight, example);
    }
    return plumb_loss_weighted_mean(g, plumb_sum(g, loss, NULL, 0, false), plumb_sum(g, weight, NULL, 0, false));
}

static plumb_t of_labels(plumb_graph *g, const char *name, plumb_t x, plumb_t labels, const plumb_loss_options *o,
                         bool logarithms)
{
    examples e;
    plumb_t weight;
    if (!plumb_loss_reduces(g, name, o->reduce) || !flattened(g, name, x, labels, &e))
        return PLUMB_NONE;
    plumb_t loss = emit_loss(g, &e, o, logarithms, &weight);
    return finish(g, loss, weight, &e, o);
}

plumb_t plumb_softmax_cross_entropy(plumb_graph *g, plumb_t logits, plumb_t labels,
                                    const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    return of_labels(g, "softmax_cross_entropy", logits, labels, &o, false);
}

plumb_t plumb_nll(plumb_graph *g, plumb_t log_probabilities, plumb_t labels, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    return of_labels(g, "nll", log_probabilities, labels, &o, true);
}

plumb_t plumb_perplexity(plumb_graph *g, plumb_t logits, plumb_t labels, const plumb_loss_options *options)
{
    plumb_loss_options o = plumb_loss_read(options);
    o.reduce = PLUMB_REDUCE_MEAN;
    return plumb_exp(g, of_labels(g, "perplexity", logits, labels, &o, false));
}

plumb_t plumb_softmax_focal(plumb_graph *g, plumb_t logits, plumb_t labels, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    plumb_loss_options plain = o;
    examples e;
    plumb_t weight, unused;
    double gamma = plumb_loss_default(o.gamma, 2);
    if (!(gamma >= 0) || o.label_smoothing != 0)
        return plumb_poison(g, "softmax_focal: gamma %g must not be negative, and labels are not smoothed", gamma);
    if (!plumb_loss_reduces(g, "softmax_focal", o.reduce) || !flattened(g, "softmax_focal", logits, labels, &e))
        return PLUMB_NONE;
    plumb_t weighted = emit_loss(g, &e, &o, false, &weight);
    plain.class_weights = PLUMB_NONE;
    plumb_t loss = o.class_weights == PLUMB_NONE ? weighted : emit_loss(g, &e, &plain, false, &unused);
    plumb_t miss = plumb_neg(g, plumb_expm1(g, plumb_neg(g, loss))); /* 1 - p, accurate near 0 */
    return finish(g, plumb_mul(g, plumb_loss_power(g, miss, gamma), weighted), weight, &e, &o);
}

plumb_t plumb_multi_margin(plumb_graph *g, plumb_t scores, plumb_t labels, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    plumb_loss_options plain = o;
    plumb_shape shape = plumb_shape_of(g, scores);
    examples e = {.rows = scores, .labels = labels, .shaped_like = PLUMB_NONE};
    plumb_t weight, unused;
    if (plumb_graph_status(g) != PLUMB_OK || !plumb_loss_reduces(g, "multi_margin", o.reduce))
        return PLUMB_NONE;
    if (shape.rank != 2 || shape.dim[1] < 1 || o.label_smoothing != 0)
        return plumb_poison(g, "multi_margin: scores must have shape (N, C) with known C, and labels are not smoothed");
    plumb_t picked = emit_loss(g, &e, &o, true, &weight); /* -w times the score of the label */
    plain.class_weights = PLUMB_NONE;
    picked = plumb_neg(g, o.class_weights == PLUMB_NONE ? picked : emit_loss(g, &e, &plain, true, &unused));
    plumb_t column = plumb_reshape(g, picked, PLUMB_SHAPE(PLUMB_INFER, 1));
    plumb_t over = plumb_relu(g, plumb_affine(g, plumb_sub(g, scores, column), 1, plumb_loss_default(o.margin, 1)));
    plumb_t own = plumb_one_hot(g, labels, shape.dim[1], PLUMB_U8);
    over = plumb_where(g, own, plumb_full_like(g, over, 0), o.squared ? plumb_square(g, over) : over);
    return finish(g, plumb_mul(g, plumb_mean(g, over, PLUMB_AXES(1), false), weight), weight, &e, &o);
}

plumb_t plumb_softmax_cross_entropy_soft(plumb_graph *g, plumb_t logits, plumb_t targets,
                                         const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    const char *name = "softmax_cross_entropy_soft";
    plumb_shape shape = plumb_shape_of(g, logits);
    if (!plumb_loss_reduces(g, name, o.reduce) || !plumb_loss_alike(g, name, logits, targets))
        return PLUMB_NONE;
    if (shape.rank < 2)
        return plumb_poison(g, "%s: logits must have shape (N, C) or (N, C, d1, ..), got rank %d", name, shape.rank);
    if (!(o.label_smoothing >= 0 && o.label_smoothing < 1))
        return plumb_poison(g, "%s: label smoothing %g is outside [0, 1)", name, o.label_smoothing);
    if (o.label_smoothing > 0 && shape.dim[1] <= 0)
        return plumb_poison(g, "%s: label smoothing needs the number of classes to be known", name);
    if (o.label_smoothing > 0)
        targets = plumb_affine(g, targets, 1 - o.label_smoothing, o.label_smoothing / (double)shape.dim[1]);
    if (o.class_weights != PLUMB_NONE) {
        plumb_shape along = {.rank = shape.rank - 1, .dim = {PLUMB_INFER}};
        for (int i = 1; i < along.rank; i++)
            along.dim[i] = 1;
        targets = plumb_mul(g, targets, plumb_reshape(g, o.class_weights, along)); /* (C, 1, ..) */
    }
    plumb_t terms = plumb_mul(g, targets, plumb_log_softmax(g, logits, 1));
    return plumb_loss_reduced(g, plumb_neg(g, plumb_sum(g, terms, PLUMB_AXES(1), false)), o.weights, o.reduce);
}
