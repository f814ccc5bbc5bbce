/* Softmax along one axis, and the cross-entropy of integer labels built on it.
 *
 * Decided here:
 * - Rows are shifted by their maximum, so no finite logit overflows. A row that holds +inf or NaN, or only -inf,
 *   has no softmax: all of it is NaN, as in PyTorch. -inf beside finite values has probability 0.
 * - The backward forms take the output y rather than x: it is at hand and saves the exponentials.
 *   softmax_backward (y, dy), log_softmax_backward (y, dy), along the same axis.
 * - hardmax is 1 at the first of the largest (a NaN counts as largest, as in argmax); it has no gradient.
 * - cross_entropy follows PyTorch: with smoothing e, class weights w and C classes the target mass of class c is
 *   t[c] = w[c] * ((1 - e) [c == label] + e / C), the loss -sum_c t[c] log_softmax(x)[c], the weight w[label];
 *   an ignored label has loss and weight 0. A class of mass 0 adds nothing, even where its log-probability is -inf.
 *   With `logarithms` the input is the log-probabilities themselves (negative log-likelihood), whose gradient is -t;
 *   classes without a share of the target are then not looked at. */
#include "op/attr.h"

/* ---- shape rules ---- */

static plumb_status infer_softmax(plumb_infer *q)
{
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    if (plumb_need_float(q, 0) || plumb_need_axis(q, q->in[0].shape.rank, &axis))
        return PLUMB_BAD_INPUT;
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static plumb_status need_same_shape(const plumb_infer *q, int a, int b)
{
    const plumb_shape *x = &q->in[a].shape, *y = &q->in[b].shape;
    bool same = x->rank == y->rank;
    for (int i = 0; same && i < x->rank; i++)
        same = plumb_dims_agree(x->dim[i], y->dim[i]);
    char first[160], second[160];
    return same ? PLUMB_OK
                : plumb_refuse(q, "inputs %d and %d differ in shape: %s and %s", a, b,
                               plumb_shape_text(x, first, sizeof first),
                               plumb_shape_text(y, second, sizeof second));
}

static plumb_status infer_softmax_backward(plumb_infer *q)
{
    if (infer_softmax(q) || plumb_need_same_dtype(q, 0, 1))
        return PLUMB_BAD_INPUT;
    return need_same_shape(q, 0, 1);
}

/* logits (N, C), labels (N), and the class weights (C) at `weights` if there is such an input */
static plumb_status check_cross_entropy(plumb_infer *q, int weights)
{
    const plumb_attr_cross_entropy *attr = q->attr;
    if (plumb_need_float(q, 0) || plumb_need_rank(q, 0, 2) || plumb_need_index(q, 1) ||
        plumb_need_rank(q, 1, 1))
        return PLUMB_BAD_INPUT;
    char first[160], second[160];
    const plumb_shape *logits = &q->in[0].shape, *labels = &q->in[1].shape;
    if (!plumb_dims_agree(logits->dim[0], labels->dim[0]))
        return plumb_refuse(q, "logits %s and labels %s differ in the number of examples",
                            plumb_shape_text(logits, first, sizeof first),
                            plumb_shape_text(labels, second, sizeof second));
    if (!(attr->label_smoothing >= 0 && attr->label_smoothing < 1))
        return plumb_refuse(q, "label smoothing %g is outside [0, 1)", attr->label_smoothing);
    if (q->n_in <= weights)
        return PLUMB_OK;
    if (plumb_need_same_dtype(q, 0, weights) || plumb_need_rank(q, weights, 1))
        return PLUMB_BAD_INPUT;
    if (!plumb_dims_agree(logits->dim[1], q->in[weights].shape.dim[0]))
        return plumb_refuse(q, "logits %s need as many class weights as classes, got %s",
                            plumb_shape_text(logits, first, sizeof first),
                            plumb_shape_text(&q->in[weights].shape, second, sizeof second));
    return PLUMB_OK;
}

static plumb_status infer_cross_entropy(plumb_infer *q)
{
    if (check_cross_entropy(q, 2))
        return PLUMB_BAD_INPUT;
    for (int i = 0; i < 2; i++)
        q->out[i] =
            (plumb_type){.dtype = q->in[0].dtype, .shape = {.rank = 1, .dim = {q->in[0].shape.dim[0]}}};
    return PLUMB_OK;
}

static plumb_status infer_cross_entropy_backward(plumb_infer *q)
{
    if (check_cross_entropy(q, 3) || plumb_need_same_dtype(q, 0, 2) || plumb_need_rank(q, 2, 1))
        return PLUMB_BAD_INPUT;
    if (need_same_shape(q, 1, 2))
        return PLUMB_BAD_INPUT;
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

/* ---- gradient rules ---- */

static plumb_t sum_along(plumb_graph *g, plumb_t x, int axis) { return plumb_sum(g, x, &axis, 1, true); }

static plumb_t emit_along(plumb_graph *g, const plumb_op *op, plumb_t a, plumb_t b, int axis)
{
    plumb_attr_axis attr;
    memset(&attr, 0, sizeof attr);
    attr.axis = axis;
    return plumb_emit(g, op, &attr, (const plumb_t[]){a, b}, b == PLUMB_NONE ? 1 : 2);
}

static plumb_status gradient_softmax(plumb_grad *q)
{
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    q->din[0] = emit_along(q->graph, &plumb_op_softmax_backward, q->out[0], q->dout[0], axis);
    return PLUMB_OK;
}

static plumb_status gradient_log_softmax(plumb_grad *q)
{
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    q->din[0] = emit_along(q->graph, &plumb_op_log_softmax_backward, q->out[0], q->dout[0], axis);
    return PLUMB_OK;
}

/* dx = y (dy - sum(y dy)). With G for the gradient of dx:
 * to y:  G (dy - sum(y dy)) - dy sum(G y);  to dy:  y (G - sum(y G)), the same op again. */
static plumb_status gradient_softmax_backward(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    plumb_t y = q->in[0], dy = q->in[1], G = q->dout[0];
    if (q->want[0]) {
        plumb_t centred = plumb_sub(g, dy, sum_along(g, plumb_mul(g, y, dy), axis));
        plumb_t shared = plumb_mul(g, dy, sum_along(g, plumb_mul(g, G, y), axis));
        q->din[0] = plumb_sub(g, plumb_mul(g, G, centred), shared);
    }
    if (q->want[1])
        q->din[1] = emit_along(g, &plumb_op_softmax_backward, y, G, axis);
    return PLUMB_OK;
}

/* dx = dy - exp(y) sum(dy). To y: -G exp(y) sum(dy);  to dy: G - sum(G exp(y)). */
static plumb_status gradient_log_softmax_backward(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    plumb_t dy = q->in[1], G = q->dout[0], weighted = plumb_mul(g, G, plumb_exp(g, q->in[0]));
    if (q->want[0])
        q->din[0] = plumb_neg(g, plumb_mul(g, weighted, sum_along(g, dy, axis)));
    if (q->want[1])
        q->din[1] = plumb_sub(g, G, sum_along(g, weighted, axis));
    return PLUMB_OK;
}

static plumb_status no_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* The target mass per unit of class weight, (N, C): (1 - e) [c == label] + e / C, and 0 in the rows of ignored labels.
 * `hot`, (N, C), gets the part at the label alone. Only the rarer gradients (of class weights, of the second order)
 * need these as tensors. */
static plumb_t shares(plumb_grad *q, plumb_t *hot)
{
    plumb_graph *g = q->graph;
    const plumb_attr_cross_entropy *attr = q->attr;
    plumb_t logits = q->in[0], labels = q->in[1];
    plumb_dtype dtype = plumb_dtype_of(g, logits);
    int64_t classes = plumb_shape_of(g, logits).dim[1];
    if (classes < 0)
        return plumb_poison(g, "%s '%s': this gradient needs the number of classes to be known", q->op->name,
                            q->name);
    *hot = plumb_one_hot(g, labels, classes, dtype);
    plumb_t share = *hot;
    if (attr->label_smoothing > 0)
        share = plumb_affine(g, *hot, 1 - attr->label_smoothing,
                             attr->label_smoothing / (double)(classes ? classes : 1));
    if (attr->use_ignore_index) {
        plumb_t index = plumb_scalar(g, plumb_dtype_of(g, labels), (double)attr->ignore_index);
        plumb_t kept = plumb_affine(g, plumb_cast(g, plumb_equal(g, labels, index), dtype), -1, 1);
        plumb_t column = plumb_reshape(g, kept, PLUMB_SHAPE(PLUMB_INFER, 1));
        *hot = plumb_mul(g, *hot, column);
        share = plumb_mul(g, share, column);
    }
    return share;
}

static bool takes_logarithms(const void *attr) { return ((const plumb_attr_cross_entropy *)attr)->logarithms; }

static plumb_t column(plumb_graph *g, plumb_t x) { return plumb_reshape(g, x, PLUMB_SHAPE(PLUMB_INFER, 1)); }

/* loss[n] = -sum_c w[c] share[n, c] logp[n, c], weight[n] = w[label] */
static plumb_status gradient_cross_entropy(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t dloss = q->dout[0], dweight = q->dout[1];
    q->din[1] = PLUMB_NO_GRADIENT;
    if (q->want[0]) {
        const plumb_t in[] = {q->in[0], q->in[1], dloss, q->n_in > 2 ? q->in[2] : PLUMB_NONE};
        q->din[0] = dloss == PLUMB_NONE
                        ? PLUMB_NO_GRADIENT
                        : plumb_emit(g, &plumb_op_cross_entropy_backward, q->attr, in, q->n_in + 1);
    }
    if (q->n_in > 2 && q->want[2]) {
        plumb_t hot = PLUMB_NONE, total = PLUMB_NONE, share = shares(q, &hot);
        if (dloss != PLUMB_NONE) {
            plumb_t log_p = takes_logarithms(q->attr) ? q->in[0] : plumb_log_softmax(g, q->in[0], 1);
            total = plumb_mul(g, plumb_mul(g, share, plumb_neg(g, log_p)), column(g, dloss));
        }
        if (dweight != PLUMB_NONE) {
            plumb_t part = plumb_mul(g, hot, column(g, dweight));
            total = total == PLUMB_NONE ? part : plumb_add(g, total, part);
        }
        q->din[2] = plumb_sum(g, total, PLUMB_AXES(0), false);
    }
    return PLUMB_OK;
}

/* D = -dloss t with t = w share: linear in dloss and in w, and free of the log-probabilities. */
static plumb_status gradient_of_logarithms_backward(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t hot = PLUMB_NONE, share = shares(q, &hot), pull = plumb_neg(g, plumb_mul(g, share, q->dout[0]));
    q->din[0] = q->din[1] = PLUMB_NO_GRADIENT;
    if (q->want[2])
        q->din[2] = plumb_sum(g, q->n_in > 3 ? plumb_mul(g, pull, q->in[3]) : pull, PLUMB_AXES(1), false);
    if (q->n_in > 3 && q->want[3])
        q->din[3] = plumb_sum(g, plumb_mul(g, pull, column(g, q->in[2])), PLUMB_AXES(0), false);
    return PLUMB_OK;
}

/* D = dloss (p S - t) with t = w share, S = sum_c t, p = softmax(logits). With G for the gradient of D:
 * to dloss: sum_c G (p S - t);  to logits: dloss S softmax_backward(p, G);  to w: dloss share (sum(G p) - G). */
static plumb_status gradient_cross_entropy_backward(plumb_grad *q)
{
    if (takes_logarithms(q->attr))
        return gradient_of_logarithms_backward(q);
    plumb_graph *g = q->graph;
    plumb_t dloss = column(g, q->in[2]), G = q->dout[0], hot = PLUMB_NONE;
    plumb_t p = plumb_softmax(g, q->in[0], 1), share = shares(q, &hot);
    plumb_t target = q->n_in > 3 ? plumb_mul(g, share, q->in[3]) : share, mass = sum_along(g, target, 1);
    q->din[1] = PLUMB_NO_GRADIENT;
    if (q->want[0])
        q->din[0] =
            plumb_mul(g, plumb_mul(g, dloss, mass), emit_along(g, &plumb_op_softmax_backward, p, G, 1));
    if (q->want[2])
        q->din[2] =
            plumb_sum(g, plumb_mul(g, G, plumb_sub(g, plumb_mul(g, p, mass), target)), PLUMB_AXES(1), false);
    if (q->n_in > 3 && q->want[3]) {
        plumb_t pull = plumb_sub(g, sum_along(g, plumb_mul(g, G, p), 1), G);
        q->din[3] = plumb_sum(g, plumb_mul(g, plumb_mul(g, share, pull), dloss), PLUMB_AXES(0), false);
    }
    return PLUMB_OK;
}

/* ---- facts ---- */

static double terms_along_axis(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    return (double)x->dim[axis < 0 ? axis + x->rank : axis];
}

static double terms_classes(const plumb_call *call) { return (double)call->in[0].dim[1]; }

/* maximum, subtract, exponential, sum, divide */
static double flops_softmax(const plumb_call *call) { return 5.0 * (double)plumb_view_count(&call->in[0]); }

static int over_input_0(const void *attr, int output)
{
    (void)attr;
    return output == 0 ? 0 : -1;
}

/* softmax_backward and log_softmax_backward: dx may lie over dy */
static int over_input_1(const void *attr, int output)
{
    (void)attr;
    return output == 0 ? 1 : -1;
}

/* The value is the branch: it changes only where another element becomes the largest. */
static plumb_t branch_hardmax(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

static void print_axis(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "axis=%d", ((const plumb_attr_axis *)attr)->axis);
}

static void print_cross_entropy(const void *attr, struct plumb_text *text)
{
    const plumb_attr_cross_entropy *a = attr;
    const char *gap = "";
    if (a->use_ignore_index) {
        plumb_text_add(text, "ignore=%lld", (long long)a->ignore_index);
        gap = " ";
    }
    if (a->label_smoothing > 0) {
        plumb_text_add(text, "%ssmoothing=%g", gap, a->label_smoothing);
        gap = " ";
    }
    if (a->logarithms)
        plumb_text_add(text, "%slogarithms", gap);
}

/* ---- rows ---- */

const plumb_op plumb_op_softmax = {
    .name = "softmax",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_axis),
    .infer = infer_softmax,
    .gradient = gradient_softmax,
    .in_place = over_input_0,
    .flops = flops_softmax,
    .terms = terms_along_axis,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_axis,
};

const plumb_op plumb_op_softmax_backward = {
    .name = "softmax_backward",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_axis),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_softmax_backward,
    .gradient = gradient_softmax_backward,
    .in_place = over_input_1,
    .flops = flops_softmax,
    .terms = terms_along_axis,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_axis,
};

const plumb_op plumb_op_log_softmax = {
    .name = "log_softmax",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_axis),
    .infer = infer_softmax,
    .gradient = gradient_log_softmax,
    .in_place = over_input_0,
    .flops = flops_softmax,
    .terms = terms_along_axis,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_axis,
};

const plumb_op plumb_op_log_softmax_backward = {
    .name = "log_softmax_backward",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_axis),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_softmax_backward,
    .gradient = gradient_log_softmax_backward,
    .in_place = over_input_1,
    .flops = flops_softmax,
    .terms = terms_along_axis,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_axis,
};

const plumb_op plumb_op_hardmax = {
    .name = "hardmax",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_axis),
    .infer = infer_softmax,
    .gradient = no_gradient,
    .terms = terms_along_axis,
    .tolerance = PLUMB_TOL_EXACT,
    .branch = branch_hardmax,
    .print = print_axis,
};

const plumb_op plumb_op_cross_entropy = {
    .name = "cross_entropy",
    .min_in = 2,
    .max_in = 3,
    .n_out = 2,
    .attr_size = sizeof(plumb_attr_cross_entropy),
    .infer = infer_cross_entropy,
    .gradient = gradient_cross_entropy,
    .flops = flops_softmax,
    .terms = terms_classes,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_cross_entropy,
};

const plumb_op plumb_op_cross_entropy_backward = {
    .name = "cross_entropy_backward",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_cross_entropy),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_cross_entropy_backward,
    .gradient = gradient_cross_entropy_backward,
    .in_place = over_input_0,
    .flops = flops_softmax,
    .terms = terms_classes,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_cross_entropy,
};

/* ---- builders ---- */

/* Valid negative axes are counted from the end here, so that equal ops have equal attributes; the shape rule refuses
 * the rest. */
static plumb_t along(plumb_graph *g, const plumb_op *op, plumb_t x, int axis)
{
    int rank = plumb_shape_of(g, x).rank;
    return emit_along(g, op, x, PLUMB_NONE, axis < 0 && axis >= -rank ? axis + rank : axis);
}

plumb_t plumb_softmax(plumb_graph *g, plumb_t x, int axis) { return along(g, &plumb_op_softmax, x, axis); }
plumb_t plumb_log_softmax(plumb_graph *g, plumb_t x, int axis)
{
    return along(g, &plumb_op_log_softmax, x, axis);
}
plumb_t plumb_hardmax(plumb_graph *g, plumb_t x, int axis) { return along(g, &plumb_op_hardmax, x, axis); }
