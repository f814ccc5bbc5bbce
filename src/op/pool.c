/* Pooling over windows of a picture: the maximum with where it lay, and the average; with their adjoints.
 *
 * Decided here:
 * - max_pool2d has two outputs, y and the index within H*W of x's plane of each maximum: the first one in
 *   row-major order of the window, a NaN counting as larger than everything. Padding never wins. Its gradient
 *   is routed by that index (max_pool2d_backward), whose gradient in turn gathers by it (max_pool2d_select);
 *   these two are each other's adjoint and need x no more.
 * - Sizes and divisors are PyTorch's: with ceil_mode the output size is rounded up and a window that would
 *   start in the right padding is dropped; an average divides by the part of the window inside the padded
 *   picture, or, with exclude_padding, by the part inside the picture.
 * - Adaptive pooling cuts an axis of H into OH bins that differ by one at most and may overlap, PyTorch's. Where OH divides H
 *   they are windows, and builders say so, because windows are what is fast.
 * - Unpooling is max_pool2d_backward: each value goes where its index says, values of one place are added.
 * - Padding must be smaller than the window, and every window must hold at least one element of the
 *   picture. */
#include "op/attr.h"

/* ---- shape rules ---- */

static plumb_status check_axis(const plumb_infer *q, const plumb_attr_pool2d *attr, int axis)
{
    int64_t window = attr->window[axis], stride = attr->stride[axis], dilation = attr->dilation[axis];
    if (attr->adaptive && (stride != 1 || dilation != 1 || attr->padding[axis] || attr->padding[axis + 2]))
        return plumb_refuse(q, "adaptive pooling has no stride, dilation or padding");
    if (window < 1 || window > INT32_MAX)
        return plumb_refuse(q, "window %lld is outside 1 to %d", (long long)window, INT32_MAX);
    if (stride < 1 || stride > INT32_MAX)
        return plumb_refuse(q, "stride %lld is outside 1 to %d", (long long)stride, INT32_MAX);
    if (dilation < 1 || dilation > INT32_MAX)
        return plumb_refuse(q, "dilation %lld is outside 1 to %d", (long long)dilation, INT32_MAX);
    if (q->op != &plumb_op_max_pool2d && q->op != &plumb_op_max_pool2d_backward && dilation != 1)
        return plumb_refuse(q, "dilation %lld; only max pooling has one", (long long)dilation);
    for (int i = axis; i < 4; i += 2)
        if (attr->padding[i] < 0 || attr->padding[i] >= window)
            return plumb_refuse(q,
                                "padding %lld is outside 0 to %lld (a window of %lld must reach the picture)",
                                (long long)attr->padding[i], (long long)window - 1, (long long)window);
    return PLUMB_OK;
}

/* With dilation a window may step over the whole of a small picture. Only windows that start in the
 * padding can. */
static bool window_misses(const plumb_attr_pool2d *attr, int axis, int64_t size, int64_t outputs)
{
    int64_t dilation = attr->dilation[axis];
    for (int64_t o = 0; o < outputs && o * attr->stride[axis] < attr->padding[axis]; o++) {
        int64_t before = attr->padding[axis] - o * attr->stride[axis];
        int64_t tap = (before + dilation - 1) / dilation;
        if (tap >= attr->window[axis] || tap * dilation - before >= size)
            return true;
    }
    return false;
}

static plumb_status output_size(const plumb_infer *q, const plumb_attr_pool2d *attr, int axis, int64_t size,
                                int64_t *out)
{
    int64_t stride = attr->stride[axis], reach = attr->dilation[axis] * (attr->window[axis] - 1) + 1;
    const char *what = axis == 0 ? "high" : "wide";
    *out = PLUMB_UNKNOWN;
    if (attr->adaptive)
        *out = attr->window[axis];
    if (size < 0 || (attr->adaptive && size > 0 && size <= INT32_MAX))
        return PLUMB_OK;
    int64_t padded = size + attr->padding[axis] + attr->padding[axis + 2];
    if (size == 0 || padded < reach)
        return plumb_refuse(q, "a window that reaches over %lld meets an input that is %lld %s, padded %lld",
                            (long long)reach, (long long)size, what, (long long)padded);
    *out = (padded - reach + (attr->ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (attr->ceil_mode && (*out - 1) * stride >= size + attr->padding[axis])
        --*out;
    if (window_misses(attr, axis, size, *out))
        return plumb_refuse(q, "a window with dilation %lld holds no element of an input that is %lld %s",
                            (long long)attr->dilation[axis], (long long)size, what);
    return PLUMB_OK;
}

static plumb_status output_shape(const plumb_infer *q, const plumb_shape *x, plumb_shape *y)
{
    const plumb_attr_pool2d *attr = q->attr;
    *y = (plumb_shape){.rank = 4, .dim = {x->dim[0], x->dim[1]}};
    for (int axis = 0; axis < 2; axis++)
        if (check_axis(q, attr, axis) || output_size(q, attr, axis, x->dim[axis + 2], &y->dim[axis + 2]))
            return PLUMB_BAD_INPUT;
    return PLUMB_OK;
}

static plumb_status infer_pool(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    if (plumb_need_float(q, 0) || plumb_need_rank(q, 0, 4) ||
        output_shape(q, &q->in[0].shape, &q->out[0].shape))
        return PLUMB_BAD_INPUT;
    if (q->n_out > 1)
        q->out[1] = (plumb_type){.dtype = PLUMB_I64, .shape = q->out[0].shape};
    return PLUMB_OK;
}

static plumb_status need_agreement(const plumb_infer *q, const char *what, const plumb_shape *a,
                                   const char *than, const plumb_shape *b, int dims)
{
    char text_a[160], text_b[160];
    for (int i = 0; i < dims; i++)
        if (!plumb_dims_agree(a->dim[i], b->dim[i]))
            return plumb_refuse(q, "%s has shape %s, %s %s", what, plumb_shape_text(a, text_a, sizeof text_a),
                                than, plumb_shape_text(b, text_b, sizeof text_b));
    return PLUMB_OK;
}

static plumb_status need_indices(const plumb_infer *q, int input)
{
    if (q->in[input].dtype != PLUMB_I64)
        return plumb_refuse(q, "input %d is %s, expected i64", input, plumb_dtype_name(q->in[input].dtype));
    return plumb_need_rank(q, input, 4);
}

/* dy[, index][, lender x] -> dx */
static plumb_status infer_backward(plumb_infer *q)
{
    char text[160];
    plumb_shape x, y;
    if (plumb_need_float(q, 0) || plumb_need_rank(q, 0, 4) || plumb_lent_shape(q, &x))
        return PLUMB_BAD_INPUT;
    if (x.rank != 4)
        return plumb_refuse(q, "the result's shape is %s, expected rank 4",
                            plumb_shape_text(&x, text, sizeof text));
    if (output_shape(q, &x, &y) ||
        need_agreement(q, "the output's gradient", &q->in[0].shape, "the output", &y, 4))
        return PLUMB_BAD_INPUT;
    if (q->op->min_in > 1 &&
        (need_indices(q, 1) ||
         need_agreement(q, "the index", &q->in[1].shape, "the output's gradient", &q->in[0].shape, 4)))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

/* x (N, C, H, W), index (N, C, OH, OW) within H*W -> the elements of x there */
static plumb_status infer_select(plumb_infer *q)
{
    if (plumb_need_float(q, 0) || plumb_need_rank(q, 0, 4) || need_indices(q, 1) ||
        need_agreement(q, "the index", &q->in[1].shape, "the input", &q->in[0].shape, 2))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = q->in[1].shape};
    return PLUMB_OK;
}

/* ---- gradients ---- */

static plumb_t emit_pool(plumb_graph *g, const plumb_op *op, const plumb_attr_pool2d *from, const plumb_t *in,
                         int n_in)
{
    plumb_attr_pool2d attr = *from;
    memset(&attr.shape, 0, sizeof attr.shape);
    if (op->flags & PLUMB_OP_LIKE)
        attr.shape.rank = -1; /* the last input lends it */
    return plumb_emit(g, op, &attr, in, n_in);
}

static plumb_status gradient_max(plumb_grad *q)
{
    if (q->dout[0] == PLUMB_NONE) {
        q->din[0] = PLUMB_NO_GRADIENT;
        return PLUMB_OK;
    }
    const plumb_t in[] = {q->dout[0], q->out[1], q->in[0]};
    q->din[0] = emit_pool(q->graph, &plumb_op_max_pool2d_backward, q->attr, in, 3);
    return PLUMB_OK;
}

static plumb_status gradient_max_backward(plumb_grad *q)
{
    const plumb_t in[] = {q->dout[0], q->in[1]};
    if (q->want[0])
        q->din[0] = emit_pool(q->graph, &plumb_op_max_pool2d_select, q->attr, in, 2);
    for (int i = 1; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status gradient_select(plumb_grad *q)
{
    const plumb_t in[] = {q->dout[0], q->in[1], q->in[0]};
    if (q->want[0])
        q->din[0] = emit_pool(q->graph, &plumb_op_max_pool2d_backward, q->attr, in, 3);
    q->din[1] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status gradient_average(plumb_grad *q)
{
    const plumb_t in[] = {q->dout[0], q->in[0]};
    q->din[0] = emit_pool(q->graph, &plumb_op_average_pool2d_backward, q->attr, in, 2);
    return PLUMB_OK;
}

static plumb_status gradient_average_backward(plumb_grad *q)
{
    if (q->want[0])
        q->din[0] = emit_pool(q->graph, &plumb_op_average_pool2d, q->attr, q->dout, 1);
    if (q->n_in > 1)
        q->din[1] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* ---- facts ---- */

/* Of a window; of the larger side's share of a bin, and those around it, in adaptive pooling. */
static double taps(const plumb_call *call)
{
    const plumb_attr_pool2d *attr = call->attr;
    const plumb_view *a = &call->in[0], *b = &call->out[0];
    double count = 1;
    for (int i = 0; i < 2; i++) {
        double x = (double)(a->dim[i + 2] > b->dim[i + 2] ? a->dim[i + 2] : b->dim[i + 2]);
        double y = (double)(a->dim[i + 2] < b->dim[i + 2] ? a->dim[i + 2] : b->dim[i + 2]);
        count *= !attr->adaptive ? (double)attr->window[i] : y > 0 ? x / y + 2 : 1;
    }
    return count;
}

static double flops_forward(const plumb_call *call)
{
    return taps(call) * (double)plumb_view_count(&call->out[0]);
}
static double flops_max_backward(const plumb_call *call) { return (double)plumb_view_count(&call->in[0]); }
static double flops_average_backward(const plumb_call *call) { return taps(call) * flops_max_backward(call); }

/* The index says which of the elements won: where it changes there is a kink. */
static plumb_t branch_max(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[1];
}

static void print_pool(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_pool2d *a = opaque;
    const int64_t *p = a->padding;
    if (a->adaptive) {
        plumb_text_add(text, "adaptive=%lldx%lld", (long long)a->window[0], (long long)a->window[1]);
        return;
    }
    plumb_text_add(text, "window=%lldx%lld stride=%lldx%lld", (long long)a->window[0],
                   (long long)a->window[1], (long long)a->stride[0], (long long)a->stride[1]);
    if (p[0] || p[1] || p[2] || p[3])
        plumb_text_add(text, " padding=%lld,%lld,%lld,%lld", (long long)p[0], (long long)p[1],
                       (long long)p[2], (long long)p[3]);
    if (a->dilation[0] != 1 || a->dilation[1] != 1)
        plumb_text_add(text, " dilation=%lldx%lld", (long long)a->dilation[0], (long long)a->dilation[1]);
    if (a->ceil_mode)
        plumb_text_add(text, " ceil");
    if (a->exclude_padding)
        plumb_text_add(text, " exclude_padding");
}

/* ---- rows ---- */

const plumb_op plumb_op_max_pool2d = {
    .name = "max_pool2d",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .attr_size = sizeof(plumb_attr_pool2d),
    .infer = infer_pool,
    .gradient = gradient_max,
    .flops = flops_forward,
    .tolerance = PLUMB_TOL_EXACT,
    .branch = branch_max,
    .print = print_pool,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x1 | 0x3 << 16, /* x, y, index */
};

const plumb_op plumb_op_max_pool2d_backward = {
    .name = "max_pool2d_backward",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pool2d),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_backward,
    .gradient = gradient_max_backward,
    .flops = flops_max_backward,
    .terms = taps,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_pool,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x3 | 0x1 << 16, /* dy, index, dx */
};

const plumb_op plumb_op_max_pool2d_select = {
    .name = "max_pool2d_select",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pool2d),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_select,
    .gradient = gradient_select,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_pool,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x3 | 0x1 << 16, /* x, index, y */
};

const plumb_op plumb_op_average_pool2d = {
    .name = "average_pool2d",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pool2d),
    .infer = infer_pool,
    .gradient = gradient_average,
    .flops = flops_forward,
    .terms = taps,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_pool,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x1 | 0x1 << 16, /* x, y */
};

const plumb_op plumb_op_average_pool2d_backward = {
    .name = "average_pool2d_backward",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pool2d),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_backward,
    .gradient = gradient_average_backward,
    .flops = flops_average_backward,
    .terms = taps,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_pool,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x1 | 0x1 << 16, /* dy, dx */
};

/* ---- builders ---- */

/* Options as attributes: every default written out, so that equal poolings have equal attributes. */
static plumb_attr_pool2d attr_of(const plumb_pool2d_options *options)
{
    plumb_pool2d_options o = {0};
    plumb_attr_pool2d attr;
    memset(&attr, 0, sizeof attr);
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    for (int i = 0; i < 2; i++) {
        attr.window[i] = o.window[i];
        attr.stride[i] = o.stride[i] ? o.stride[i] : o.window[i];
        attr.dilation[i] = o.dilation[i] ? o.dilation[i] : 1;
    }
    memcpy(attr.padding, o.padding, sizeof attr.padding);
    attr.ceil_mode = o.ceil_mode;
    attr.exclude_padding = o.exclude_padding;
    return attr;
}

plumb_t plumb_max_pool2d(plumb_graph *g, plumb_t x, const plumb_pool2d_options *options)
{
    plumb_attr_pool2d attr = attr_of(options);
    attr.exclude_padding = 0; /* padding never wins: the choice has no meaning */
    return emit_pool(g, &plumb_op_max_pool2d, &attr, &x, 1);
}

plumb_t plumb_average_pool2d(plumb_graph *g, plumb_t x, const plumb_pool2d_options *options)
{
    plumb_attr_pool2d attr = attr_of(options);
    return emit_pool(g, &plumb_op_average_pool2d, &attr, &x, 1);
}

/* Bins as windows where the sizes are known and divide. */
static plumb_attr_pool2d adaptive_attr(plumb_graph *g, plumb_t x, int64_t height, int64_t width)
{
    const int64_t out[2] = {height, width};
    plumb_shape shape = plumb_shape_of(g, x);
    plumb_attr_pool2d attr;
    memset(&attr, 0, sizeof attr);
    bool divides = shape.rank == 4;
    for (int i = 0; i < 2; i++)
        divides = divides && out[i] > 0 && shape.dim[i + 2] > 0 && shape.dim[i + 2] % out[i] == 0;
    attr.adaptive = !divides;
    for (int i = 0; i < 2; i++) {
        attr.window[i] = divides ? shape.dim[i + 2] / out[i] : out[i];
        attr.stride[i] = divides ? attr.window[i] : 1;
        attr.dilation[i] = 1;
    }
    return attr;
}

plumb_t plumb_adaptive_average_pool2d(plumb_graph *g, plumb_t x, int64_t height, int64_t width)
{
    plumb_attr_pool2d attr = adaptive_attr(g, x, height, width);
    return emit_pool(g, &plumb_op_average_pool2d, &attr, &x, 1);
}

plumb_t plumb_adaptive_max_pool2d(plumb_graph *g, plumb_t x, int64_t height, int64_t width)
{
    plumb_attr_pool2d attr = adaptive_attr(g, x, height, width);
    return emit_pool(g, &plumb_op_max_pool2d, &attr, &x, 1);
}

plumb_t plumb_max_unpool2d(plumb_graph *g, plumb_t x, plumb_t index, const plumb_pool2d_options *options,
                           const int64_t output_size[2])
{
    char text[160];
    plumb_attr_pool2d attr = attr_of(options);
    plumb_shape shape = plumb_shape_of(g, x);
    if (plumb_graph_status(g) != PLUMB_OK || x == PLUMB_NONE)
        return plumb_poison(g, "max_unpool2d: no input");
    attr.exclude_padding = attr.ceil_mode = 0;
    if (shape.rank != 4 || shape.dim[0] == PLUMB_UNKNOWN || shape.dim[1] == PLUMB_UNKNOWN)
        return plumb_poison(g, "max_unpool2d: input has shape %s, expected (N, C, H, W) with N and C known",
                            plumb_shape_text(&shape, text, sizeof text));
    attr.shape = shape;
    for (int i = 0; i < 2; i++) {
        int64_t size = shape.dim[i + 2], steps, usual = 0, asked = output_size ? output_size[i] : 0;
        bool known = size > 0 && attr.stride[i] > 0 && plumb_mul_size(size - 1, attr.stride[i], &steps);
        if (known)
            usual = steps + attr.dilation[i] * (attr.window[i] - 1) + 1 - attr.padding[i] - attr.padding[i + 2];
        if (!known && asked <= 0)
            return plumb_poison(g, "max_unpool2d: the result's size does not follow from %s and was not given",
                                plumb_shape_text(&shape, text, sizeof text));
        if (known && asked > 0 && asked < usual)
            attr.ceil_mode = 1; /* the last window ended outside */
        attr.shape.dim[i + 2] = asked > 0 ? asked : usual;
    }
    return plumb_emit(g, &plumb_op_max_pool2d_backward, &attr, (const plumb_t[]){x, index}, 2);
}

plumb_t plumb_global_average_pool2d(plumb_graph *g, plumb_t x)
{
    plumb_shape shape = plumb_shape_of(g, x);
    char text[160];
    if (x != PLUMB_NONE && plumb_graph_status(g) == PLUMB_OK && shape.rank != 4)
        return plumb_poison(g, "global_average_pool2d: input has shape %s, expected rank 4",
                            plumb_shape_text(&shape, text, sizeof text));
    return plumb_mean(g, x, PLUMB_AXES(2, 3), true);
}
