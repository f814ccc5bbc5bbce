/* Reference pooling: one plane (H, W) after the other is unpacked into doubles, its windows are visited
 * one by one, and the result is packed again. */
#include <math.h>

#include "cpu/ref/unpack.h"
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* The part of output (oh, ow)'s window that lies in the picture: rows top, top + dilation, .. < bottom;
 * columns alike. */
struct window {
    int64_t top, bottom, left, right;
    double divisor; /* of the average */
};

static void clip(const plumb_attr_pool2d *attr, int axis, int64_t o, int64_t size, int64_t *begin,
                 int64_t *end, int64_t *padded)
{
    if (attr->adaptive) {
        *begin = o * size / attr->window[axis];
        *end = ((o + 1) * size + attr->window[axis] - 1) / attr->window[axis];
        *padded = *end - *begin;
        return;
    }
    int64_t start = o * attr->stride[axis] - attr->padding[axis], dilation = attr->dilation[axis];
    int64_t stop = start + dilation * (attr->window[axis] - 1) + 1, edge = size + attr->padding[axis + 2];
    *padded = (stop < edge ? stop : edge) - start; /* the extent inside the padded picture */
    *begin = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
    *end = stop < size ? stop : size;
}

static struct window window_at(const plumb_attr_pool2d *attr, int64_t oh, int64_t ow, int64_t h, int64_t w)
{
    struct window at;
    int64_t high, wide;
    clip(attr, 0, oh, h, &at.top, &at.bottom, &high);
    clip(attr, 1, ow, w, &at.left, &at.right, &wide);
    at.divisor =
        attr->exclude_padding ? (double)((at.bottom - at.top) * (at.right - at.left)) : (double)(high * wide);
    return at;
}

/* The first of the largest, a NaN counting as larger than any number. */
static int64_t largest(const plumb_attr_pool2d *attr, const double *x, struct window at, int64_t w)
{
    int64_t best = at.top * w + at.left;
    for (int64_t h = at.top; h < at.bottom; h += attr->dilation[0]) {
        for (int64_t i = at.left; i < at.right; i += attr->dilation[1]) {
            double value = x[h * w + i];
            if (value > x[best] || (isnan(value) && !isnan(x[best])))
                best = h * w + i;
        }
    }
    return best;
}

/* ---- max ---- */

static size_t plane_of_x(const plumb_call *call)
{
    return sizeof(double) * (size_t)(1 + call->in[0].dim[2] * call->in[0].dim[3]);
}

static size_t plane_of_dx(const plumb_call *call)
{
    return sizeof(double) * (size_t)(1 + call->out[0].dim[2] * call->out[0].dim[3]);
}

static plumb_status run_max(const plumb_call *call)
{
    const plumb_attr_pool2d *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0], *index = &call->out[1];
    int64_t h = x->dim[2], w = x->dim[3], area = y->dim[2] * y->dim[3];
    double *plane = call->workspace;
    for (int64_t p = 0; p < x->dim[0] * x->dim[1]; p++) {
        int64_t n = p / x->dim[1], c = p % x->dim[1];
        unpack(x, 2, view_offset4(x, n, c, 0, 0), plane);
        for (int64_t i = 0; i < area; i++) {
            int64_t oh = i / y->dim[3], ow = i % y->dim[3];
            int64_t best = largest(attr, plane, window_at(attr, oh, ow, h, w), w);
            view_put(y, view_offset4(y, n, c, oh, ow), plane[best]);
            view_put_int(index, view_offset4(index, n, c, oh, ow), best);
        }
    }
    return PLUMB_OK;
}

static plumb_status bad_index(const plumb_call *call, int64_t at, int64_t h, int64_t w)
{
    return plumb_call_fail(call, PLUMB_BAD_INPUT, "index %lld is outside a plane of %lldx%lld", (long long)at,
                           (long long)h, (long long)w);
}

static plumb_status run_max_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *index = &call->in[1], *dx = &call->out[0];
    int64_t h = dx->dim[2], w = dx->dim[3], area = dy->dim[2] * dy->dim[3];
    double *plane = call->workspace;
    for (int64_t p = 0; p < dx->dim[0] * dx->dim[1]; p++) {
        int64_t n = p / dx->dim[1], c = p % dx->dim[1];
        memset(plane, 0, sizeof(double) * (size_t)(h * w));
        for (int64_t i = 0; i < area; i++) {
            int64_t oh = i / dy->dim[3], ow = i % dy->dim[3];
            int64_t at = view_get_int(index, view_offset4(index, n, c, oh, ow));
            if (at < 0 || at >= h * w)
                return bad_index(call, at, h, w);
            plane[at] += view_get(dy, view_offset4(dy, n, c, oh, ow));
        }
        pack(dx, 2, view_offset4(dx, n, c, 0, 0), plane);
    }
    return PLUMB_OK;
}

static plumb_status run_select(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *index = &call->in[1], *y = &call->out[0];
    int64_t h = x->dim[2], w = x->dim[3], area = y->dim[2] * y->dim[3];
    for (int64_t p = 0; p < y->dim[0] * y->dim[1]; p++) {
        int64_t n = p / y->dim[1], c = p % y->dim[1];
        for (int64_t i = 0; i < area; i++) {
            int64_t oh = i / y->dim[3], ow = i % y->dim[3];
            int64_t at = view_get_int(index, view_offset4(index, n, c, oh, ow));
            if (at < 0 || at >= h * w)
                return bad_index(call, at, h, w);
            view_copy(y, view_offset4(y, n, c, oh, ow), x, view_offset4(x, n, c, at / w, at % w));
        }
    }
    return PLUMB_OK;
}

/* ---- average ---- */

static plumb_status run_average(const plumb_call *call)
{
    const plumb_attr_pool2d *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    int64_t w = x->dim[3], area = y->dim[2] * y->dim[3];
    double *plane = call->workspace;
    for (int64_t p = 0; p < x->dim[0] * x->dim[1]; p++) {
        int64_t n = p / x->dim[1], c = p % x->dim[1];
        unpack(x, 2, view_offset4(x, n, c, 0, 0), plane);
        for (int64_t i = 0; i < area; i++) {
            int64_t oh = i / y->dim[3], ow = i % y->dim[3];
            struct window at = window_at(attr, oh, ow, x->dim[2], w);
            double sum = 0;
            for (int64_t row = at.top; row < at.bottom; row++)
                for (int64_t column = at.left; column < at.right; column++)
                    sum += plane[row * w + column];
            view_put(y, view_offset4(y, n, c, oh, ow), sum / at.divisor);
        }
    }
    return PLUMB_OK;
}

static plumb_status run_average_backward(const plumb_call *call)
{
    const plumb_attr_pool2d *attr = call->attr;
    const plumb_view *dy = &call->in[0], *dx = &call->out[0];
    int64_t h = dx->dim[2], w = dx->dim[3], area = dy->dim[2] * dy->dim[3];
    double *plane = call->workspace;
    for (int64_t p = 0; p < dx->dim[0] * dx->dim[1]; p++) {
        int64_t n = p / dx->dim[1], c = p % dx->dim[1];
        memset(plane, 0, sizeof(double) * (size_t)(h * w));
        for (int64_t i = 0; i < area; i++) {
            int64_t oh = i / dy->dim[3], ow = i % dy->dim[3];
            struct window at = window_at(attr, oh, ow, h, w);
            double share = view_get(dy, view_offset4(dy, n, c, oh, ow)) / at.divisor;
            for (int64_t row = at.top; row < at.bottom; row++)
                for (int64_t column = at.left; column < at.right; column++)
                    plane[row * w + column] += share;
        }
        pack(dx, 2, view_offset4(dx, n, c, 0, 0), plane);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_max_pool2d_ref = {
    .op = &plumb_op_max_pool2d,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = plane_of_x,
    .run = run_max,
};

const plumb_impl plumb_impl_max_pool2d_backward_ref = {
    .op = &plumb_op_max_pool2d_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = plane_of_dx,
    .run = run_max_backward,
};

const plumb_impl plumb_impl_max_pool2d_select_ref = {
    .op = &plumb_op_max_pool2d_select,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_select,
};

const plumb_impl plumb_impl_average_pool2d_ref = {
    .op = &plumb_op_average_pool2d,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = plane_of_x,
    .run = run_average,
};

const plumb_impl plumb_impl_average_pool2d_backward_ref = {
    .op = &plumb_op_average_pool2d_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = plane_of_dx,
    .run = run_average_backward,
};
