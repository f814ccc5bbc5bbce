/* Batch normalisation: over every dimension but the channel, which is dimension 1 of x (N, C, ..).
 *
 * Decided here:
 * - The biased variance normalises. running := (1 - momentum) running + momentum batch, where the variance of
 *   the batch is the unbiased one (m/(m-1), as in PyTorch) unless `biased_running`.
 * - Training over a single value per channel (m = 1) is refused when sizes are bound: the normalised value
 *   would be the shift whatever x is. Over no values at all (an empty batch) mean is 0, invstd that of a zero
 *   variance, and the running statistics stay.
 * - Outside training the op becomes batch_norm_inference, which reads the running statistics; its other
 *   outputs are then these statistics, unchanged, and its backward form takes them for constants. Derivatives
 *   of derivatives are those of training, unless the layer is `fixed`.
 * - Scale, shift and statistics have the dtype of x, or are f32 where x is bf16 or f16: statistics of many
 *   steps would be lost to rounding there. All of them alike; what is computed per channel is computed in it.
 * - A residual and relu may be part of the op, forward and backward, so that a block of a residual network is
 *   read once less in each direction. Backward, relu is gone through before all else.
 * - y is differentiated by batch_norm_backward. The rarer gradients (of the statistics, of the backward
 *   form, of the inference form) are those of a composition of simple ops, so that they are exact at any
 *   order. */
#include "op/attr.h"
#include "op/compose.h"

#include <math.h>

enum { X, SCALE, SHIFT, RUNNING_MEAN, RUNNING_VAR, RESIDUAL }; /* inputs of batch_norm, batch_norm_inference */
enum { B_X, B_SCALE, B_MEAN, B_INVSTD, B_DY, B_Y };            /* inputs of batch_norm_backward */
enum { Y, MEAN, INVSTD, NEW_RUNNING_MEAN, NEW_RUNNING_VAR }; /* outputs of batch_norm */

/* ---- shape rules ---- */

/* Inputs first..last: one number for each channel of x, of one dtype, which may be f32 for narrower data. */
static plumb_status need_channels(const plumb_infer *q, int first, int last)
{
    char text_x[160], text[160];
    const plumb_shape *x = &q->in[0].shape;
    if (plumb_need_float(q, 0))
        return PLUMB_BAD_INPUT;
    if (x->rank < 2)
        return plumb_refuse(q, "input has shape %s, expected rank 2 or more",
                            plumb_shape_text(x, text_x, sizeof text_x));
    bool wider = q->in[first].dtype == PLUMB_F32 && plumb_dtype_size(q->in[0].dtype) == 2;
    for (int i = first; i <= last; i++) {
        if (plumb_need_same_dtype(q, wider ? first : 0, i) || plumb_need_rank(q, i, 1))
            return PLUMB_BAD_INPUT;
        if (!plumb_dims_agree(q->in[i].shape.dim[0], x->dim[1]))
            return plumb_refuse(q, "input %s has %lld channels, input %d has shape %s",
                                plumb_shape_text(x, text_x, sizeof text_x), (long long)x->dim[1], i,
                                plumb_shape_text(&q->in[i].shape, text, sizeof text));
    }
    return PLUMB_OK;
}

static plumb_status check_options(const plumb_infer *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    if (!(attr->epsilon >= 0) || isinf(attr->epsilon))
        return plumb_refuse(q, "epsilon %g, expected a finite number that is not negative", attr->epsilon);
    if (!(attr->momentum >= 0 && attr->momentum <= 1))
        return plumb_refuse(q, "momentum %g is outside [0, 1]", attr->momentum);
    if (attr->activation != PLUMB_ACTIVATION_NONE && attr->activation != PLUMB_ACTIVATION_RELU)
        return plumb_refuse(q, "activation %d, expected none or relu", attr->activation);
    return PLUMB_OK;
}

/* An input of x's very type: a residual, dy or y. */
static plumb_status need_like_x(const plumb_infer *q, int input)
{
    return plumb_need_same_dtype(q, X, input) || plumb_need_same_shape(q, X, input) ? PLUMB_BAD_INPUT : PLUMB_OK;
}

/* Values per channel, negative while not known. */
static int64_t values_per_channel(const plumb_shape *x)
{
    plumb_shape others = *x;
    others.dim[1] = 1;
    return plumb_shape_count(&others);
}

static plumb_type per_channel(const plumb_infer *q)
{
    return (plumb_type){.dtype = q->in[SCALE].dtype, .shape = {.rank = 1, .dim = {q->in[0].shape.dim[1]}}};
}

static plumb_status check_forward(const plumb_infer *q)
{
    if (need_channels(q, SCALE, RUNNING_VAR) || check_options(q))
        return PLUMB_BAD_INPUT;
    return q->n_in > RESIDUAL ? need_like_x(q, RESIDUAL) : PLUMB_OK;
}

static plumb_status infer_batch_norm(plumb_infer *q)
{
    char text[160];
    if (check_forward(q))
        return PLUMB_BAD_INPUT;
    if (q->symbols && values_per_channel(&q->in[X].shape) == 1)
        return plumb_refuse(q, "training needs more than one value per channel, the input is %s",
                            plumb_shape_text(&q->in[X].shape, text, sizeof text));
    q->out[Y] = q->in[X];
    for (int i = MEAN; i <= NEW_RUNNING_VAR; i++)
        q->out[i] = per_channel(q);
    return PLUMB_OK;
}

static plumb_status infer_inference(plumb_infer *q)
{
    if (check_forward(q))
        return PLUMB_BAD_INPUT;
    q->out[0] = q->in[X];
    return PLUMB_OK;
}

static int outputs_backward(const void *attr, int n_in)
{
    (void)n_in;
    return ((const plumb_attr_batch_norm *)attr)->residual ? 4 : 3;
}

static plumb_status infer_backward(plumb_infer *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    bool active = attr->activation != PLUMB_ACTIVATION_NONE;
    if (need_channels(q, B_SCALE, B_INVSTD) || check_options(q) || need_like_x(q, B_DY) ||
        (q->n_in > B_Y && need_like_x(q, B_Y)))
        return PLUMB_BAD_INPUT;
    if (active != (q->n_in > B_Y))
        return plumb_refuse(q, "%d inputs, expected %d: y where there is an activation", q->n_in,
                            active ? B_Y + 1 : B_Y);
    if (attr->residual && !active)
        return plumb_refuse(q, "the residual's gradient is dy where there is no activation");
    q->out[0] = q->in[B_X];
    q->out[1] = q->out[2] = per_channel(q);
    if (attr->residual)
        q->out[3] = q->in[B_X];
    return PLUMB_OK;
}

/* ---- compositions, and gradients through them ---- */

/* (C) -> (1, C, 1, ..), to meet x */
static plumb_t spread(plumb_graph *g, plumb_t per_c, plumb_t x)
{
    plumb_shape shape = {.rank = plumb_shape_of(g, x).rank};
    for (int i = 0; i < shape.rank; i++)
        shape.dim[i] = i == 1 ? PLUMB_INFER : 1;
    return plumb_reshape(g, per_c, shape);
}

/* (1, C, 1, ..) -> (C) */
static plumb_t flat(plumb_graph *g, plumb_t x) { return plumb_reshape(g, x, PLUMB_SHAPE(PLUMB_INFER)); }

/* Every axis but the channel's; returns how many. */
static int other_axes(plumb_graph *g, plumb_t x, int axes[PLUMB_MAX_RANK])
{
    int count = 0;
    for (int i = 0; i < plumb_shape_of(g, x).rank; i++)
        if (i != 1)
            axes[count++] = i;
    return count;
}

static plumb_t mean_of(plumb_graph *g, plumb_t x)
{
    int axes[PLUMB_MAX_RANK], count = other_axes(g, x, axes);
    return plumb_mean(g, x, axes, count, true);
}

static plumb_t sum_of(plumb_graph *g, plumb_t x)
{
    int axes[PLUMB_MAX_RANK], count = other_axes(g, x, axes);
    return plumb_sum(g, x, axes, count, true);
}

/* The biased variance times m/(m-1); where m is not known yet it is counted. */
static plumb_t unbiased(plumb_graph *g, plumb_t variance, plumb_t x)
{
    plumb_shape shape = plumb_shape_of(g, x);
    int64_t m = values_per_channel(&shape);
    if (m >= 0)
        return plumb_affine(g, variance, m > 1 ? (double)m / (double)(m - 1) : 1, 0);
    plumb_t count = sum_of(g, plumb_full_like(g, x, 1));
    return plumb_mul(g, variance, plumb_div(g, count, plumb_affine(g, count, 1, -1)));
}

/* d(statistics of x)/dx for whichever of the outputs from MEAN on have gradients; PLUMB_NONE if none has. */
static plumb_t through_statistics(const plumb_grad *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    plumb_graph *g = q->graph;
    plumb_t y[4], dy[4], dx = PLUMB_NONE;
    int count = 0;
    if (q->dout[MEAN] == PLUMB_NONE && q->dout[INVSTD] == PLUMB_NONE &&
        q->dout[NEW_RUNNING_MEAN] == PLUMB_NONE && q->dout[NEW_RUNNING_VAR] == PLUMB_NONE)
        return PLUMB_NONE;
    plumb_t of = plumb_fresh(g, q->in[X]), x = plumb_as(g, of, q->in[SCALE]), mean = mean_of(g, x);
    plumb_t variance = mean_of(g, plumb_square(g, plumb_sub(g, x, mean)));
    for (int i = MEAN; i <= NEW_RUNNING_VAR; i++) {
        if (q->dout[i] == PLUMB_NONE)
            continue;
        plumb_t value = mean;
        if (i == INVSTD)
            value = plumb_rsqrt(g, plumb_affine(g, variance, 1, attr->epsilon));
        else if (i == NEW_RUNNING_VAR)
            value = attr->biased_running ? variance : unbiased(g, variance, x);
        if (i >= NEW_RUNNING_MEAN)
            value = plumb_affine(g, value, attr->momentum, 0);
        y[count] = flat(g, value);
        dy[count++] = q->dout[i];
    }
    plumb_gradients_from(g, y, dy, count, &of, 1, &dx);
    return dx;
}

static plumb_status gradient_batch_norm(plumb_grad *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    plumb_graph *g = q->graph;
    plumb_t dx = q->want[X] ? through_statistics(q) : PLUMB_NONE;
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    if (q->dout[Y] != PLUMB_NONE) {
        const plumb_t in[] = {q->in[X], q->in[SCALE], q->out[MEAN], q->out[INVSTD], q->dout[Y], q->out[Y]};
        bool active = attr->activation != PLUMB_ACTIVATION_NONE;
        plumb_attr_batch_norm back;
        memcpy(&back, attr, sizeof back);
        back.residual = active && q->n_in > RESIDUAL && q->want[RESIDUAL];
        plumb_t first = plumb_emit(g, &plumb_op_batch_norm_backward, &back, in, active ? 6 : 5);
        dx = dx == PLUMB_NONE ? first : plumb_add(g, first, dx);
        q->din[SCALE] = plumb_output(g, first, 1);
        q->din[SHIFT] = plumb_output(g, first, 2);
        if (q->n_in > RESIDUAL)
            q->din[RESIDUAL] = back.residual ? plumb_output(g, first, 3) : q->dout[Y];
    }
    if (dx != PLUMB_NONE)
        q->din[X] = dx;
    plumb_shape shape = plumb_shape_of(g, q->in[X]);
    double kept = values_per_channel(&shape) == 0 ? 1 : 1 - attr->momentum;
    for (int i = 0; i < 2; i++)
        if (q->want[RUNNING_MEAN + i] && q->dout[NEW_RUNNING_MEAN + i] != PLUMB_NONE)
            q->din[RUNNING_MEAN + i] = plumb_affine(g, q->dout[NEW_RUNNING_MEAN + i], kept, 0);
    return PLUMB_OK;
}

/* Of d, dy before the activation: dx = scale invstd (d - mean(d) - z mean(d z)), dscale = sum(d z), dshift = sum(d),
 * z = (x - mean) invstd, dresidual = d. Where statistics are given and not x's own, dx = scale invstd d. */
static void compose_backward(plumb_graph *g, const plumb_attr_batch_norm *attr, const plumb_t *in, int n_in,
                             bool own_statistics, plumb_t y[4])
{
    y[3] = n_in > B_Y ? plumb_activation_gradient(g, attr->activation, in[B_Y], in[B_DY]) : in[B_DY];
    plumb_t scale = in[B_SCALE], x = plumb_as(g, in[B_X], scale), d = plumb_as(g, y[3], scale), invstd = spread(g, in[B_INVSTD], x);
    plumb_t z = plumb_mul(g, plumb_sub(g, x, spread(g, in[B_MEAN], x)), invstd);
    plumb_t weighted = plumb_mul(g, d, z), rest = d;
    if (own_statistics)
        rest = plumb_sub(g, plumb_sub(g, d, mean_of(g, d)), plumb_mul(g, z, mean_of(g, weighted)));
    y[0] = plumb_as(g, plumb_mul(g, plumb_mul(g, spread(g, scale, x), invstd), rest), in[B_X]);
    y[1] = flat(g, sum_of(g, weighted));
    y[2] = flat(g, sum_of(g, d));
}

static plumb_status gradient_backward(plumb_grad *q)
{
    plumb_t in[6], y[4];
    for (int i = 0; i < q->n_in; i++)
        in[i] = plumb_fresh(q->graph, q->in[i]);
    compose_backward(q->graph, q->attr, in, q->n_in, true, y);
    plumb_status status = plumb_through(q, in, y, q->dout);
    if (q->n_in > B_Y)
        q->din[B_Y] = PLUMB_NO_GRADIENT; /* relu's second derivative */
    return status;
}

/* The mean and invstd it was given have become those of the running statistics, which do not depend on x. */
static plumb_status inference_backward(plumb_rewrite *q)
{
    plumb_t y[4];
    compose_backward(q->graph, q->attr, q->in, q->n_in, false, y);
    memcpy(q->out, y, sizeof *y * (size_t)q->n_out);
    return PLUMB_OK;
}

static plumb_t invstd_of(plumb_graph *g, plumb_t variance, double epsilon)
{
    return plumb_rsqrt(g, plumb_affine(g, variance, 1, epsilon));
}

static plumb_status gradient_inference(plumb_grad *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    plumb_graph *g = q->graph;
    plumb_t in[6], dy = q->dout[0];
    for (int i = 0; i < q->n_in; i++)
        in[i] = plumb_fresh(g, q->in[i]);
    plumb_t factor = plumb_mul(g, invstd_of(g, in[RUNNING_VAR], attr->epsilon), in[SCALE]);
    plumb_t x = plumb_as(g, in[X], in[SCALE]);
    plumb_t centred = plumb_sub(g, x, spread(g, in[RUNNING_MEAN], x));
    plumb_t y = plumb_add(g, plumb_mul(g, centred, spread(g, factor, x)), spread(g, in[SHIFT], x));
    y = plumb_as(g, y, in[X]);
    y = q->n_in > RESIDUAL ? plumb_add(g, y, in[RESIDUAL]) : y;
    dy = plumb_activation_gradient(g, attr->activation, q->out[0], dy);
    return plumb_through(q, in, &y, &dy);
}

static plumb_status inference_form(plumb_rewrite *q)
{
    const plumb_attr_batch_norm *attr = q->attr;
    q->out[Y] = plumb_emit(q->graph, &plumb_op_batch_norm_inference, attr, q->in, q->n_in);
    q->out[MEAN] = q->out[NEW_RUNNING_MEAN] = q->in[RUNNING_MEAN];
    q->out[INVSTD] = invstd_of(q->graph, q->in[RUNNING_VAR], attr->epsilon);
    q->out[NEW_RUNNING_VAR] = q->in[RUNNING_VAR];
    return PLUMB_OK;
}

/* ---- facts ---- */

static int over_residual(const void *attr, int output)
{
    (void)attr;
    return output == Y ? RESIDUAL : -1;
}

/* What becomes of dy before the activation, where that is asked for, or else dx. */
static int over_dy(const void *attr, int output)
{
    return output == (((const plumb_attr_batch_norm *)attr)->residual ? 3 : 0) ? B_DY : -1;
}

static double terms_channel(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    return x->dim[1] > 0 ? (double)plumb_view_count(x) / (double)x->dim[1] : 1;
}

static double flops_training(const plumb_call *call) { return 6 * (double)plumb_view_count(&call->in[0]); }
static double flops_inference(const plumb_call *call) { return 2 * (double)plumb_view_count(&call->in[0]); }
static double flops_backward(const plumb_call *call) { return 10 * (double)plumb_view_count(&call->in[0]); }

static plumb_t branch_forward(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)in;
    return plumb_activation_branch(graph, ((const plumb_attr_batch_norm *)attr)->activation, out[Y]);
}

static plumb_t branch_backward(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)out;
    int activation = ((const plumb_attr_batch_norm *)attr)->activation;
    return activation ? plumb_activation_branch(graph, activation, in[B_Y]) : PLUMB_NONE;
}

static void print_batch_norm(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_batch_norm *a = opaque;
    plumb_text_add(text, "epsilon=%g momentum=%g%s", a->epsilon, a->momentum,
                   a->biased_running ? " biased_running" : "");
    plumb_print_activation(a->activation, text);
    plumb_text_add(text, "%s", a->residual ? " residual" : "");
}

/* ---- rows ---- */

const plumb_op plumb_op_batch_norm = {
    .name = "batch_norm",
    .min_in = 5,
    .max_in = 6,
    .n_out = 5,
    .attr_size = sizeof(plumb_attr_batch_norm),
    .infer = infer_batch_norm,
    .gradient = gradient_batch_norm,
    .in_place = over_residual,
    .inference = inference_form,
    .flops = flops_training,
    .terms = terms_channel,
    .tolerance = PLUMB_TOL_NORM,
    .branch = branch_forward,
    .print = print_batch_norm,
    .precision = PLUMB_PRECISION_FOLLOW,
    .in_f32 = 0x1e, /* scale, shift and running statistics */
    .pictures = 0x21 | 0x1 << 16, /* x, residual, y */
};

const plumb_op plumb_op_batch_norm_inference = {
    .name = "batch_norm_inference",
    .min_in = 5,
    .max_in = 6,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_batch_norm),
    .infer = infer_inference,
    .gradient = gradient_inference,
    .in_place = over_residual,
    .flops = flops_inference,
    .tolerance = PLUMB_TOL_NORM,
    .branch = branch_forward,
    .print = print_batch_norm,
    .precision = PLUMB_PRECISION_FOLLOW,
    .in_f32 = 0x1e, /* scale, shift and running statistics */
    .pictures = 0x21 | 0x1 << 16, /* x, residual, y */
};

const plumb_op plumb_op_batch_norm_backward = {
    .name = "batch_norm_backward",
    .min_in = 5,
    .max_in = 6,
    .attr_size = sizeof(plumb_attr_batch_norm),
    .flags = PLUMB_OP_BACKWARD | PLUMB_OP_VARIADIC,
    .outputs = outputs_backward,
    .infer = infer_backward,
    .gradient = gradient_backward,
    .in_place = over_dy,
    .inference = inference_backward,
    .flops = flops_backward,
    .terms = terms_channel,
    .tolerance = PLUMB_TOL_NORM,
    .branch = branch_backward,
    .print = print_batch_norm,
    .precision = PLUMB_PRECISION_FOLLOW,
    .in_f32 = 0xe, /* scale, mean and invstd */
    .pictures = 0x31 | 0x9 << 16, /* x, dy, y, dx, dresidual */
};

/* ---- builder ---- */

plumb_t plumb_batch_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, plumb_t running_mean,
                         plumb_t running_var, const plumb_batch_norm_options *options)
{
    plumb_batch_norm_options o = {0};
    plumb_attr_batch_norm attr;
    memset(&attr, 0, sizeof attr);
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    attr.epsilon = plumb_chosen(o.epsilon, 1e-5);
    attr.momentum = plumb_chosen(o.momentum, 0.1);
    attr.biased_running = o.biased_running;
    const plumb_t in[] = {x, scale, shift, running_mean, running_var};
    if (o.fixed)
        return plumb_emit(g, &plumb_op_batch_norm_inference, &attr, in, 5);
    plumb_t y = plumb_emit(g, &plumb_op_batch_norm, &attr, in, 5);
    if (y == PLUMB_NONE)
        return PLUMB_NONE;
    if (plumb_is_variable(g, running_mean))
        plumb_assign(g, running_mean, plumb_output(g, y, NEW_RUNNING_MEAN), PLUMB_NONE);
    if (plumb_is_variable(g, running_var))
        plumb_assign(g, running_var, plumb_output(g, y, NEW_RUNNING_VAR), PLUMB_NONE);
    return y;
}
