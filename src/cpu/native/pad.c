/* Padding as copies: along each dimension the result falls into pieces in which one step is one step in x forwards, backwards
 * or none at all, and every combination of pieces is one strided copy. Padding by less than the size has three pieces a
 * dimension, in the mode for constants one and the value around it. */
#include "cpu/native/strided.h"
#include "op/attr.h"

struct piece {
    int64_t begin, count, from, step; /* in y; in x */
};

static char *element(const plumb_view *view, int64_t offset)
{
    return (char *)view->data + offset * (int64_t)plumb_dtype_size(view->dtype);
}

/* The piece that begins at `begin` of m positions. from -1: outside, where there is nothing to copy. */
static struct piece piece_at(const plumb_attr_pad *attr, int d, int64_t begin, int64_t n, int64_t m)
{
    struct piece p = {.begin = begin, .count = 1, .from = plumb_pad_source(attr->mode, begin - attr->before[d], n)};
    int64_t next = begin + 1 < m ? plumb_pad_source(attr->mode, begin + 1 - attr->before[d], n) : p.from;
    if (begin + 1 >= m || (p.from < 0) != (next < 0) || next - p.from > 1 || next - p.from < -1) {
        return p;
    }
    p.step = next - p.from;
    int64_t at = begin - attr->before[d];
    bool inside = at >= 0 && at < n;
    /* Steps of 1 inside x are known to go on to its end; others are followed. */
    p.count = inside && p.step == 1 ? (n - at < m - begin ? n - at : m - begin) : 2;
    while (begin + p.count < m &&
           plumb_pad_source(attr->mode, begin + p.count - attr->before[d], n) == p.from + p.step * p.count) {
        p.count++;
    }
    return p;
}

static void copy_pieces(const plumb_call *call, int d, plumb_view *y, plumb_view *x)
{
    const plumb_view *whole_x = &call->in[0], *whole_y = &call->out[0];
    if (d == whole_y->rank) {
        plumb_strided_copy(call->pool, y, x);
        return;
    }
    const plumb_view before_y = *y, before_x = *x;
    for (int64_t at = 0; at < whole_y->dim[d];) {
        struct piece p = piece_at(call->attr, d, at, whole_x->dim[d], whole_y->dim[d]);
        at += p.count;
        if (p.from >= 0) {
            y->data = element(&before_y, p.begin * whole_y->stride[d]);
            x->data = element(&before_x, p.from * whole_x->stride[d]);
            y->dim[d] = x->dim[d] = p.count;
            x->stride[d] = p.step * whole_x->stride[d];
            copy_pieces(call, d + 1, y, x);
        }
        *y = before_y;
        *x = before_x;
    }
}

static plumb_status run_pad(const plumb_call *call)
{
    const plumb_attr_pad *attr = call->attr;
    plumb_view y = call->out[0], x = call->in[0];
    if (plumb_view_count(&y) == 0) {
        return PLUMB_OK;
    }
    if (attr->mode == PLUMB_PAD_CONSTANT) {
        uint64_t bits = 0;
        plumb_view one = {.data = &bits, .dtype = y.dtype};
        plumb_put(&bits, one.dtype, 0, attr->value);
        plumb_strided_copy(call->pool, &y, &one);
    }
    copy_pieces(call, 0, &y, &x);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_pad_native = {
    .op = &plumb_op_pad,
    .name = "cpu.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_pad,
};
