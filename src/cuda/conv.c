/* Convolution and its adjoints on the GPU: which operand of the product each tensor is (see pk_conv). A turned filter
 * is one with negative strides that begins at its last tap. */
#include "cuda/cuda.h"

/* Element (0, 0, 0, 0) of the filter as it is slid over the picture, and the strides of (height, width) from there. */
struct filter {
    void *data;
    int64_t channel, h, w;
};

static struct filter filter_of(const plumb_view *w, const plumb_attr_conv2d *attr)
{
    struct filter f = {w->data, w->stride[1], w->stride[2], w->stride[3]};
    if (attr->flip) {
        int64_t last = (w->dim[2] - 1) * f.h + (w->dim[3] - 1) * f.w;
        f.data = (char *)w->data + last * (int64_t)plumb_dtype_size(w->dtype);
        f.h = -f.h;
        f.w = -f.w;
    }
    return f;
}

/* Pixels of y meet pixels of x: x is what is gathered, of `channels` channels a group. */
static void gather_x(pk_conv *p, const plumb_view *x, int64_t channels, const plumb_attr_conv2d *attr)
{
    p->b = x->data;
    p->b_group = channels * x->stride[1];
    p->b_image = x->stride[0];
    p->b_stride = (pk_triple){x->stride[1], x->stride[2], x->stride[3]};
    for (int i = 0; i < 2; i++) {
        p->b_size[i] = x->dim[i + 2];
        p->from[i] = -attr->padding[i];
        p->pixel_step[i] = attr->stride[i];
        p->tap_step[i] = attr->dilation[i];
        p->divide[i] = 1;
    }
}

static plumb_status run_conv2d(const plumb_call *call)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *x = &call->in[0], *w = &call->in[1], *bias = call->n_in > 2 ? &call->in[2] : NULL, *y = call->out;
    const struct filter f = filter_of(w, attr);
    pk_conv p = {
        .a = f.data,
        .bias = bias ? bias->data : NULL,
        .c = y->data,
        .groups = attr->groups,
        .rows = w->dim[0] / attr->groups,
        .pixels = {y->dim[0], y->dim[2], y->dim[3]},
        .taps = {w->dim[1], w->dim[2], w->dim[3]},
        .a_row = w->stride[0],
        .a_k = {f.channel, f.h, f.w},
        .c_row = y->stride[1],
        .c_column = {y->stride[0], y->stride[2], y->stride[3]},
        .bias_stride = bias ? bias->stride[0] : 0,
        .activation = attr->activation,
    };
    gather_x(&p, x, w->dim[1], attr);
    p.a_group = p.rows * p.a_row;
    p.c_group = p.rows * p.c_row;
    return plumb_cuda_check(call, "plumb_k_conv2d", plumb_k_conv2d(plumb_cuda_stream(call), (int)y->dtype, &p));
}

/* dx[pixel] = sum over (output channel, tap) of w dy[(pixel + padding - tap dilation) / stride] */
static plumb_status run_data(const plumb_call *call)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *dy = &call->in[0], *w = &call->in[1], *dx = call->out;
    const struct filter f = filter_of(w, attr);
    const int64_t outputs = w->dim[0] / attr->groups;
    pk_conv p = {
        .a = f.data,
        .b = dy->data,
        .c = dx->data,
        .groups = attr->groups,
        .rows = w->dim[1],
        .pixels = {dx->dim[0], dx->dim[2], dx->dim[3]},
        .taps = {outputs, w->dim[2], w->dim[3]},
        .a_group = outputs * w->stride[0],
        .a_row = f.channel,
        .a_k = {w->stride[0], f.h, f.w},
        .b_group = outputs * dy->stride[1],
        .b_image = dy->stride[0],
        .b_stride = {dy->stride[1], dy->stride[2], dy->stride[3]},
        .c_group = w->dim[1] * dx->stride[1],
        .c_row = dx->stride[1],
        .c_column = {dx->stride[0], dx->stride[2], dx->stride[3]},
    };
    for (int i = 0; i < 2; i++) {
        p.b_size[i] = dy->dim[i + 2];
        p.from[i] = attr->padding[i];
        p.pixel_step[i] = 1;
        p.tap_step[i] = -attr->dilation[i];
        p.divide[i] = attr->stride[i];
    }
    return plumb_cuda_check(call, "plumb_k_conv2d", plumb_k_conv2d(plumb_cuda_stream(call), (int)dx->dtype, &p));
}

/* Into how many parts the pixels are cut: so that there are some hundred tiles, of at least 256 pixels each. By shapes
 * alone, hence the same on every GPU. */
static void cut(pk_conv *p)
{
    enum { WANTED = 256, LEAST = 256, SIDE = 64, TERMS = 16 };
    int64_t pixels = p->pixels.outer * p->pixels.h * p->pixels.w, taps = p->taps.outer * p->taps.h * p->taps.w;
    int64_t tiles = p->groups * ((p->rows + SIDE - 1) / SIDE) * ((taps + SIDE - 1) / SIDE);
    int64_t splits = tiles > 0 ? WANTED / tiles : 1;
    splits = splits < pixels / LEAST ? splits : pixels / LEAST;
    splits = splits > 1 ? splits : 1;
    p->part = (pixels + splits - 1) / splits;
    p->part = (p->part + TERMS - 1) / TERMS * TERMS;
    p->splits = p->part > 0 ? (pixels + p->part - 1) / p->part : 1;
}

static pk_conv filter_product(const plumb_call *call)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *x = &call->in[0], *dy = &call->in[1], *dw = call->out;
    pk_conv p = {
        .a = dy->data,
        .groups = attr->groups,
        .rows = dw->dim[0] / attr->groups,
        .pixels = {dy->dim[0], dy->dim[2], dy->dim[3]},
        .taps = {dw->dim[1], dw->dim[2], dw->dim[3]},
        .a_row = dy->stride[1],
        .a_k = {dy->stride[0], dy->stride[2], dy->stride[3]},
        .c_row = dw->stride[0],
    };
    gather_x(&p, x, dw->dim[1], attr);
    p.a_group = p.rows * p.a_row;
    p.c_group = p.rows * p.c_row;
    cut(&p);
    return p;
}

static size_t workspace_filter(const plumb_call *call)
{
    const plumb_view *dw = call->out;
    size_t each = dw->dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return each * (size_t)filter_product(call).splits * (size_t)plumb_view_count(dw);
}

static plumb_status run_filter(const plumb_call *call)
{
    const plumb_view *dw = call->out;
    const struct filter f = filter_of(dw, call->attr);
    pk_conv p = filter_product(call);
    p.c = f.data;
    p.c_column = (pk_triple){f.channel, f.h, f.w};
    return plumb_cuda_check(call, "plumb_k_conv2d_filter",
                            plumb_k_conv2d_filter(plumb_cuda_stream(call), (int)dw->dtype, &p, call->workspace));
}

const plumb_impl plumb_impl_conv2d_cuda = {
    .op = &plumb_op_conv2d,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_conv2d,
};

const plumb_impl plumb_impl_conv2d_backward_data_cuda = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_data,
};

const plumb_impl plumb_impl_conv2d_backward_filter_cuda = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_filter,
    .run = run_filter,
};
