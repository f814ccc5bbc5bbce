/* The reference convolution and its adjoints, straight from the definition
 *
 *     y[n][o][oh][ow] = bias[o] + sum over i, kh, kw of
 *                       w[o][i][kh][kw] x[n][g C/groups + i][oh s - p + kh d][ow s - p + kw d]
 *
 * in double, followed by the activation. Picture, filter and output planes are unpacked into rows of doubles; all three ops then visit
 * the same pairs of rows, one tap (kh, kw) at a time, and differ in what they do there. A flipped filter
 * is turned as it is unpacked. */
#include "cpu/ref/activate.h"
#include "cpu/ref/unpack.h"
#include "cpu/ref/walk.h"

struct shapes {
    const plumb_attr_conv2d *attr;
    int64_t images, groups;
    int64_t inputs, outputs; /* channels of one group */
    int64_t h, w, kh, kw, oh, ow;
    double *picture; /* (C, H, W): x or dx of one image */
    double *plane;   /* (OH, OW): y or dy of one channel */
    double *filter;  /* (I, KH, KW) of one output channel; dw whole in backward_filter */
};

static struct shapes shapes_of(const plumb_call *call, const plumb_view *x, const plumb_view *w,
                               const plumb_view *y)
{
    const plumb_attr_conv2d *attr = call->attr;
    struct shapes s = {.attr = attr,
                       .images = x->dim[0],
                       .groups = attr->groups,
                       .inputs = w->dim[1],
                       .outputs = w->dim[0] / attr->groups,
                       .h = x->dim[2],
                       .w = x->dim[3],
                       .kh = w->dim[2],
                       .kw = w->dim[3],
                       .oh = y->dim[2],
                       .ow = y->dim[3],
                       .picture = call->workspace};
    s.plane = s.picture + x->dim[1] * s.h * s.w;
    s.filter = s.plane + s.oh * s.ow;
    return s;
}

static size_t room_for(const plumb_view *x, const plumb_view *y, int64_t filter)
{
    return sizeof(double) * (size_t)(1 + x->dim[1] * x->dim[2] * x->dim[3] + y->dim[2] * y->dim[3] + filter);
}

static int64_t one_filter(const plumb_view *w) { return w->dim[1] * w->dim[2] * w->dim[3]; }

static void turn(double *filter, int64_t inputs, int64_t taps)
{
    for (int64_t i = 0; i < inputs; i++) {
        double *f = filter + i * taps;
        for (int64_t a = 0, b = taps - 1; a < b; a++, b--) {
            double swap = f[a];
            f[a] = f[b];
            f[b] = swap;
        }
    }
}

static void load_filter(const struct shapes *s, const plumb_view *w, int64_t o)
{
    unpack(w, 1, o * w->stride[0], s->filter);
    if (s->attr->flip)
        turn(s->filter, s->inputs, s->kh * s->kw);
}

/* The outputs [*first, *end) along one axis whose tap k lies inside the picture: 0 <= o stride + shift <
 * size. */
static void inside(int64_t size, int64_t outputs, int64_t stride, int64_t shift, int64_t *first, int64_t *end)
{
    *first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    *end = shift < size ? (size - shift - 1) / stride + 1 : 0;
    if (*end > outputs)
        *end = outputs;
}

enum what { FORWARD, DATA, FILTER };

/* One filter plane (KH, KW) against one picture plane (H, W) and one output plane (OH, OW). */
static void taps(const struct shapes *s, enum what what, double *w, double *x, double *y)
{
    int64_t sh = s->attr->stride[0], sw = s->attr->stride[1], h0, h1, w0, w1;
    for (int64_t t = 0; t < s->kh * s->kw; t++) {
        int64_t down = t / s->kw * s->attr->dilation[0] - s->attr->padding[0];
        int64_t right = t % s->kw * s->attr->dilation[1] - s->attr->padding[1];
        inside(s->h, s->oh, sh, down, &h0, &h1);
        inside(s->w, s->ow, sw, right, &w0, &w1);
        for (int64_t oh = h0; oh < h1; oh++) {
            double *px = x + (oh * sh + down) * s->w + right, *py = y + oh * s->ow;
            if (what == FORWARD)
                for (int64_t ow = w0; ow < w1; ow++)
                    py[ow] += w[t] * px[ow * sw];
            else if (what == DATA)
                for (int64_t ow = w0; ow < w1; ow++)
                    px[ow * sw] += w[t] * py[ow];
            else
                for (int64_t ow = w0; ow < w1; ow++)
                    w[t] += px[ow * sw] * py[ow];
        }
    }
}

/* All input channels of output channel o's group; `filter` is (I, KH, KW). */
static void channels(const struct shapes *s, enum what what, int64_t o, double *filter)
{
    double *x = s->picture + o / s->outputs * s->inputs * s->h * s->w;
    for (int64_t i = 0; i < s->inputs; i++)
        taps(s, what, filter + i * s->kh * s->kw, x + i * s->h * s->w, s->plane);
}

/* ---- the three ops ---- */

static size_t workspace_conv2d(const plumb_call *call)
{
    return room_for(&call->in[0], &call->out[0], one_filter(&call->in[1]));
}

static plumb_status run_conv2d(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *w = &call->in[1], *bias = call->n_in > 2 ? &call->in[2] : NULL,
                     *y = call->out;
    struct shapes s = shapes_of(call, x, w, y);
    for (int64_t n = 0; n < s.images; n++) {
        unpack(x, 1, n * x->stride[0], s.picture);
        for (int64_t o = 0; o < w->dim[0]; o++) {
            double start = bias ? view_get(bias, o * bias->stride[0]) : 0;
            for (int64_t i = 0; i < s.oh * s.ow; i++)
                s.plane[i] = start;
            load_filter(&s, w, o);
            channels(&s, FORWARD, o, s.filter);
            for (int64_t i = 0; i < s.oh * s.ow; i++)
                s.plane[i] = activated(s.attr->activation, s.plane[i]);
            pack(y, 2, view_offset4(y, n, o, 0, 0), s.plane);
        }
    }
    return PLUMB_OK;
}

static size_t workspace_data(const plumb_call *call)
{
    return room_for(&call->out[0], &call->in[0], one_filter(&call->in[1]));
}

static plumb_status run_data(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *w = &call->in[1], *dx = call->out;
    struct shapes s = shapes_of(call, dx, w, dy);
    for (int64_t n = 0; n < s.images; n++) {
        memset(s.picture, 0, sizeof(double) * (size_t)(dx->dim[1] * s.h * s.w));
        for (int64_t o = 0; o < w->dim[0]; o++) {
            unpack(dy, 2, view_offset4(dy, n, o, 0, 0), s.plane);
            load_filter(&s, w, o);
            channels(&s, DATA, o, s.filter);
        }
        pack(dx, 1, n * dx->stride[0], s.picture);
    }
    return PLUMB_OK;
}

static size_t workspace_filter(const plumb_call *call)
{
    return room_for(&call->in[0], &call->in[1], plumb_view_count(&call->out[0]));
}

static plumb_status run_filter(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *dy = &call->in[1], *dw = call->out;
    struct shapes s = shapes_of(call, x, dw, dy);
    memset(s.filter, 0, sizeof(double) * (size_t)plumb_view_count(dw));
    for (int64_t n = 0; n < s.images; n++) {
        unpack(x, 1, n * x->stride[0], s.picture);
        for (int64_t o = 0; o < dw->dim[0]; o++) {
            unpack(dy, 2, view_offset4(dy, n, o, 0, 0), s.plane);
            channels(&s, FILTER, o, s.filter + o * one_filter(dw));
        }
    }
    if (s.attr->flip)
        turn(s.filter, dw->dim[0] * dw->dim[1], s.kh * s.kw);
    pack(dw, 0, 0, s.filter);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_conv2d_ref = {
    .op = &plumb_op_conv2d,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_conv2d,
    .run = run_conv2d,
};

const plumb_impl plumb_impl_conv2d_backward_data_ref = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_data,
    .run = run_data,
};

const plumb_impl plumb_impl_conv2d_backward_filter_ref = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_filter,
    .run = run_filter,
};
