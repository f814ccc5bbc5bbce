/* Two-dimensional convolution and its two adjoints. Convolution is linear in x and in w, so each of the three
 * ops has the other two as its gradients, and differentiation never leaves the family.
 *
 * Decided here:
 * - Images (N, C, H, W), filters (O, C/groups, KH, KW); group g reads channels g C/groups.. and makes outputs
 *   g O/groups...
 * - The filter is slid without being turned (cross-correlation) unless `flip` is set.
 * - OH = floor((H + top + bottom - dilation (KH - 1) - 1) / stride) + 1. A filter that is larger than the
 *   padded picture is refused, as is an empty one; an empty batch or no channels at all are fine (the result
 *   is then empty, or the bias).
 * - conv2d may apply an activation to its results; its adjoints are of the linear part.
 * - Strides, dilations and paddings are limited to 2^31 - 1, so that positions cannot overflow anywhere. */
#include "op/attr.h"

enum { HEIGHT, WIDTH };

/* ---- shape rules ---- */

static plumb_status check_options(const plumb_infer *q, const plumb_attr_conv2d *attr)
{
    for (int i = 0; i < 2; i++) {
        if (attr->stride[i] < 1 || attr->stride[i] > INT32_MAX)
            return plumb_refuse(q, "stride %lld is outside 1 to %d", (long long)attr->stride[i], INT32_MAX);
        if (attr->dilation[i] < 1 || attr->dilation[i] > INT32_MAX)
            return plumb_refuse(q, "dilation %lld is outside 1 to %d", (long long)attr->dilation[i],
                                INT32_MAX);
    }
    for (int i = 0; i < 4; i++)
        if (attr->padding[i] < 0 || attr->padding[i] > INT32_MAX)
            return plumb_refuse(q, "padding %lld is outside 0 to %d", (long long)attr->padding[i], INT32_MAX);
    if (attr->groups < 1)
        return plumb_refuse(q, "%lld groups, expected at least 1", (long long)attr->groups);
    return PLUMB_OK;
}

/* The output size along one axis; PLUMB_UNKNOWN while the picture's size is not known. */
static plumb_status output_size(const plumb_infer *q, int axis, int64_t size, int64_t kernel, int64_t *out)
{
    const plumb_attr_conv2d *attr = q->attr;
    const char *what = axis == HEIGHT ? "high" : "wide";
    int64_t reach, padded;
    *out = PLUMB_UNKNOWN;
    if (kernel == 0)
        return plumb_refuse(q, "the filter is 0 %s", what);
    if (size < 0 || kernel < 0)
        return PLUMB_OK;
    if (__builtin_mul_overflow(attr->dilation[axis], kernel - 1, &reach) || reach > INT64_MAX - 1 ||
        __builtin_add_overflow(size, attr->padding[axis] + attr->padding[axis + 2], &padded))
        return plumb_refuse(q, "a filter %lld %s over %lld with dilation %lld overflows", (long long)kernel,
                            what, (long long)size, (long long)attr->dilation[axis]);
    if (reach + 1 > padded)
        return plumb_refuse(q, "the filter reaches over %lld, but the padded input is only %lld %s",
                            (long long)reach + 1, (long long)padded, what);
    *out = (padded - reach - 1) / attr->stride[axis] + 1;
    return PLUMB_OK;
}

/* The shape of conv2d's y from those of x and w. */
static plumb_status output_shape(const plumb_infer *q, const plumb_shape *x, const plumb_shape *w,
                                 plumb_shape *y)
{
    const plumb_attr_conv2d *attr = q->attr;
    int64_t channels;
    if (check_options(q, attr))
        return PLUMB_BAD_INPUT;
    if (w->dim[1] >= 0) {
        if (__builtin_mul_overflow(w->dim[1], attr->groups, &channels))
            return plumb_refuse(q, "%lld groups of %lld channels overflow", (long long)attr->groups,
                                (long long)w->dim[1]);
        if (x->dim[1] >= 0 && x->dim[1] != channels)
            return attr->groups == 1
                       ? plumb_refuse(q, "input has %lld channels, weight expects %lld", (long long)x->dim[1],
                                      (long long)channels)
                       : plumb_refuse(
                             q, "input has %lld channels, weight expects %lld (%lld in each of %lld groups)",
                             (long long)x->dim[1], (long long)channels, (long long)w->dim[1],
                             (long long)attr->groups);
    }
    if (w->dim[0] >= 0 && w->dim[0] % attr->groups != 0)
        return plumb_refuse(q, "%lld filters do not divide into %lld groups", (long long)w->dim[0],
                            (long long)attr->groups);
    *y = (plumb_shape){.rank = 4, .dim = {x->dim[0], w->dim[0]}};
    if (output_size(q, HEIGHT, x->dim[2], w->dim[2], &y->dim[2]) ||
        output_size(q, WIDTH, x->dim[3], w->dim[3], &y->dim[3]))
        return PLUMB_BAD_INPUT;
    bool known = true;
    for (int i = 0; i < 4; i++)
        known = known && y->dim[i] >= 0;
    if (known && plumb_shape_count(y) < 0)
        return plumb_refuse(q, "the output would be (%lld, %lld, %lld, %lld), which is too large",
                            (long long)y->dim[0], (long long)y->dim[1], (long long)y->dim[2],
                            (long long)y->dim[3]);
    return PLUMB_OK;
}

static plumb_status need_pictures(const plumb_infer *q)
{
    return plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1) || plumb_need_rank(q, 0, 4) ||
                   plumb_need_rank(q, 1, 4)
               ? PLUMB_BAD_INPUT
               : PLUMB_OK;
}

static plumb_status infer_conv2d(plumb_infer *q)
{
    const plumb_shape *w = &q->in[1].shape;
    char text[160];
    q->out[0].dtype = q->in[0].dtype;
    if (need_pictures(q) || output_shape(q, &q->in[0].shape, w, &q->out[0].shape) ||
        plumb_need_activation(q, ((const plumb_attr_conv2d *)q->attr)->activation))
        return PLUMB_BAD_INPUT;
    if (q->n_in < 3)
        return PLUMB_OK;
    if (plumb_need_same_dtype(q, 0, 2) || plumb_need_rank(q, 2, 1))
        return PLUMB_BAD_INPUT;
    if (!plumb_dims_agree(q->in[2].shape.dim[0], w->dim[0]))
        return plumb_refuse(q, "bias has shape %s, weight has %lld filters",
                            plumb_shape_text(&q->in[2].shape, text, sizeof text), (long long)w->dim[0]);
    return PLUMB_OK;
}

static plumb_status no_activation(const plumb_infer *q)
{
    const plumb_attr_conv2d *attr = q->attr;
    return attr->activation ? plumb_refuse(q, "activation %d, expected none", attr->activation) : PLUMB_OK;
}

/* The shape of the result of the backward forms. */
static plumb_status lent_pictures(const plumb_infer *q, plumb_shape *shape)
{
    char text[160];
    if (plumb_lent_shape(q, shape))
        return PLUMB_BAD_INPUT;
    if (shape->rank != 4)
        return plumb_refuse(q, "the result's shape is %s, expected rank 4",
                            plumb_shape_text(shape, text, sizeof text));
    return PLUMB_OK;
}

/* Whether dy has the shape that conv2d makes from x and w. */
static plumb_status check_dy(const plumb_infer *q, const plumb_shape *x, const plumb_shape *w,
                             const plumb_shape *dy)
{
    plumb_shape y;
    char text_dy[160], text_y[160];
    if (output_shape(q, x, w, &y))
        return PLUMB_BAD_INPUT;
    for (int i = 0; i < 4; i++)
        if (!plumb_dims_agree(dy->dim[i], y.dim[i]))
            return plumb_refuse(q, "the output's gradient has shape %s, the output %s",
                                plumb_shape_text(dy, text_dy, sizeof text_dy),
                                plumb_shape_text(&y, text_y, sizeof text_y));
    return PLUMB_OK;
}

static plumb_status infer_backward_data(plumb_infer *q)
{
    plumb_shape x;
    if (need_pictures(q) || no_activation(q) || lent_pictures(q, &x) ||
        check_dy(q, &x, &q->in[1].shape, &q->in[0].shape))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

static plumb_status infer_backward_filter(plumb_infer *q)
{
    plumb_shape w;
    if (need_pictures(q) || no_activation(q) || lent_pictures(q, &w) ||
        check_dy(q, &q->in[0].shape, &w, &q->in[1].shape))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = w};
    return PLUMB_OK;
}

/* ---- gradients: each of y, dx and dw is a sum of products of the two others, so each rule names two ops ---- */

static plumb_t emit_conv(plumb_graph *g, const plumb_op *op, const plumb_attr_conv2d *from, plumb_t a,
                         plumb_t b, plumb_t third)
{
    plumb_attr_conv2d attr = *from;
    memset(&attr.shape, 0, sizeof attr.shape);
    attr.activation = PLUMB_ACTIVATION_NONE;
    if (op != &plumb_op_conv2d)
        attr.shape.rank = -1; /* `third` lends it */
    return plumb_emit(g, op, &attr, (const plumb_t[]){a, b, third}, third == PLUMB_NONE ? 2 : 3);
}

static plumb_status gradient_conv2d(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t x = q->in[0], w = q->in[1];
    plumb_t dy =
        plumb_activation_gradient(g, ((const plumb_attr_conv2d *)q->attr)->activation, q->out[0], q->dout[0]);
    if (q->want[0])
        q->din[0] = emit_conv(g, &plumb_op_conv2d_backward_data, q->attr, dy, w, x);
    if (q->want[1])
        q->din[1] = emit_conv(g, &plumb_op_conv2d_backward_filter, q->attr, x, dy, w);
    if (q->n_in > 2 && q->want[2])
        q->din[2] = plumb_sum(g, dy, PLUMB_AXES(0, 2, 3), false);
    return PLUMB_OK;
}

static plumb_status gradient_backward_data(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t dy = q->in[0], w = q->in[1], d = q->dout[0]; /* d is shaped as x */
    if (q->want[0])
        q->din[0] = emit_conv(g, &plumb_op_conv2d, q->attr, d, w, PLUMB_NONE);
    if (q->want[1])
        q->din[1] = emit_conv(g, &plumb_op_conv2d_backward_filter, q->attr, d, dy, w);
    if (q->n_in > 2)
        q->din[2] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status gradient_backward_filter(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_t x = q->in[0], dy = q->in[1], d = q->dout[0]; /* d is shaped as w */
    if (q->want[0])
        q->din[0] = emit_conv(g, &plumb_op_conv2d_backward_data, q->attr, dy, d, x);
    if (q->want[1])
        q->din[1] = emit_conv(g, &plumb_op_conv2d, q->attr, x, d, PLUMB_NONE);
    if (q->n_in > 2)
        q->din[2] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* ---- facts ---- */

static double area(const plumb_view *v) { return (double)v->dim[2] * (double)v->dim[3]; }

/* Numbers added into one element, at most. */
static double terms_conv2d(const plumb_call *call)
{
    const plumb_view *w = &call->in[1];
    return (double)w->dim[1] * area(w) + (call->n_in > 2 ? 1 : 0);
}

static double terms_backward_data(const plumb_call *call)
{
    const plumb_view *w = &call->in[1];
    return (double)w->dim[0] / (double)((const plumb_attr_conv2d *)call->attr)->groups * area(w);
}

static double terms_backward_filter(const plumb_call *call)
{
    const plumb_view *dy = &call->in[1];
    return (double)dy->dim[0] * area(dy);
}

/* A multiply and an add for every tap of every output. */
static double multiply_adds(const plumb_view *y, const plumb_view *w)
{
    return 2 * (double)plumb_view_count(y) * (double)w->dim[1] * area(w);
}

static double flops_conv2d(const plumb_call *call)
{
    const plumb_attr_conv2d *attr = call->attr;
    double activation = attr->activation ? (double)plumb_view_count(&call->out[0]) : 0;
    return multiply_adds(&call->out[0], &call->in[1]) + activation;
}
static double flops_backward_data(const plumb_call *call)
{
    return multiply_adds(&call->in[0], &call->in[1]);
}
static double flops_backward_filter(const plumb_call *call)
{
    return multiply_adds(&call->in[1], &call->out[0]);
}

static void print_conv2d(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_conv2d *a = opaque;
    const int64_t *p = a->padding;
    plumb_text_add(text, "stride=%lldx%lld", (long long)a->stride[0], (long long)a->stride[1]);
    if (p[0] || p[1] || p[2] || p[3])
        plumb_text_add(text, " padding=%lld,%lld,%lld,%lld", (long long)p[0], (long long)p[1],
                       (long long)p[2], (long long)p[3]);
    if (a->dilation[0] != 1 || a->dilation[1] != 1)
        plumb_text_add(text, " dilation=%lldx%lld", (long long)a->dilation[0], (long long)a->dilation[1]);
    if (a->groups != 1)
        plumb_text_add(text, " groups=%lld", (long long)a->groups);
    if (a->flip)
        plumb_text_add(text, " flip");
    plumb_print_activation(a->activation, text);
}

static void linear_conv2d(void *attr) { ((plumb_attr_conv2d *)attr)->activation = PLUMB_ACTIVATION_NONE; }

static plumb_t branch_conv2d(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)in;
    return plumb_activation_branch(graph, ((const plumb_attr_conv2d *)attr)->activation, out[0]);
}

/* ---- rows ---- */

const plumb_op plumb_op_conv2d = {
    .name = "conv2d",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_conv2d),
    .infer = infer_conv2d,
    .gradient = gradient_conv2d,
    .flops = flops_conv2d,
    .terms = terms_conv2d,
    .tolerance = PLUMB_TOL_DOT,
    .linear = linear_conv2d,
    .branch = branch_conv2d,
    .print = print_conv2d,
    .precision = PLUMB_PRECISION_LOWER,
    .pictures = 0x1 | 0x1 << 16, /* x, y */
};

const plumb_op plumb_op_conv2d_backward_data = {
    .name = "conv2d_backward_data",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_conv2d),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_backward_data,
    .gradient = gradient_backward_data,
    .flops = flops_backward_data,
    .terms = terms_backward_data,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_conv2d,
    .precision = PLUMB_PRECISION_LOWER,
    .pictures = 0x1 | 0x1 << 16, /* dy, dx */
};

const plumb_op plumb_op_conv2d_backward_filter = {
    .name = "conv2d_backward_filter",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_conv2d),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_backward_filter,
    .gradient = gradient_backward_filter,
    .flops = flops_backward_filter,
    .terms = terms_backward_filter,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_conv2d,
    .precision = PLUMB_PRECISION_LOWER,
    .pictures = 0x3, /* x, dy */
};

/* ---- builders ---- */

/* Options as attributes: every default written out, so that equal convolutions have equal attributes. */
static plumb_attr_conv2d attr_of(const plumb_conv2d_options *options)
{
    plumb_conv2d_options o = {0};
    plumb_attr_conv2d attr;
    memset(&attr, 0, sizeof attr);
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    for (int i = 0; i < 2; i++) {
        attr.stride[i] = o.stride[i] ? o.stride[i] : 1;
        attr.dilation[i] = o.dilation[i] ? o.dilation[i] : 1;
    }
    memcpy(attr.padding, o.padding, sizeof attr.padding);
    attr.groups = o.groups ? o.groups : 1;
    attr.flip = o.flip;
    return attr;
}

plumb_t plumb_conv2d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv2d_options *options)
{
    plumb_attr_conv2d attr = attr_of(options);
    return emit_conv(g, &plumb_op_conv2d, &attr, x, w, bias);
}

plumb_t plumb_conv2d_backward_data(plumb_graph *g, plumb_t dy, plumb_t w, plumb_t like_x,
                                   const plumb_conv2d_options *options)
{
    plumb_attr_conv2d attr = attr_of(options);
    if (like_x == PLUMB_NONE)
        return plumb_poison(g, "conv2d_backward_data: no tensor to take the shape from");
    return emit_conv(g, &plumb_op_conv2d_backward_data, &attr, dy, w, like_x);
}

plumb_t plumb_conv2d_backward_filter(plumb_graph *g, plumb_t x, plumb_t dy, plumb_t like_w,
                                     const plumb_conv2d_options *options)
{
    plumb_attr_conv2d attr = attr_of(options);
    if (like_w == PLUMB_NONE)
        return plumb_poison(g, "conv2d_backward_filter: no tensor to take the shape from");
    return emit_conv(g, &plumb_op_conv2d_backward_filter, &attr, x, dy, like_w);
}
