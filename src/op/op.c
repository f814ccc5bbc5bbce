/* What shape rules and implementations of every family share: refusals that name the op, the common checks,
 * NumPy broadcasting, and small facts about views. */
#include "op/attr.h"

#include <stdio.h>

#define MESSAGE_ROOM 768
#define SHAPE_ROOM 160

/* "conv2d 'conv1': " + text, recorded in the context. */
static plumb_status fail_named(plumb_context *context, plumb_status status, const plumb_op *op,
                               const char *name, const char *format, va_list args)
{
    char text[MESSAGE_ROOM];
    vsnprintf(text, sizeof text, format, args);
    if (name && name[0]) {
        return plumb_fail(context, status, "%s '%s': %s", op->name, name, text);
    }
    return plumb_fail(context, status, "%s: %s", op->name, text);
}

plumb_status plumb_refuse(const plumb_infer *q, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    plumb_status status = fail_named(q->context, PLUMB_BAD_INPUT, q->op, q->name, format, args);
    va_end(args);
    return status;
}

plumb_status plumb_call_fail(const plumb_call *call, plumb_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    status = fail_named(call->context, status, call->op, call->name, format, args);
    va_end(args);
    return status;
}

plumb_shape plumb_bound(const plumb_infer *q, plumb_shape shape)
{
    for (int d = 0; q->symbols && d < shape.rank; d++) {
        if (plumb_is_symbol(shape.dim[d]) && q->symbols[plumb_symbol_index(shape.dim[d])] >= 0) {
            shape.dim[d] = q->symbols[plumb_symbol_index(shape.dim[d])];
        }
    }
    return shape;
}

plumb_status plumb_need_float(const plumb_infer *q, int input)
{
    if (plumb_dtype_is_float(q->in[input].dtype)) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "input %d is %s, expected a floating dtype", input,
                        plumb_dtype_name(q->in[input].dtype));
}

plumb_status plumb_need_rank(const plumb_infer *q, int input, int rank)
{
    char shape[SHAPE_ROOM];
    if (q->in[input].shape.rank == rank) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "input %d has shape %s, expected rank %d", input,
                        plumb_shape_text(&q->in[input].shape, shape, sizeof shape), rank);
}

plumb_status plumb_need_same_dtype(const plumb_infer *q, int a, int b)
{
    if (q->in[a].dtype == q->in[b].dtype) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "input %d is %s and input %d is %s, expected the same dtype", a,
                        plumb_dtype_name(q->in[a].dtype), b, plumb_dtype_name(q->in[b].dtype));
}

plumb_status plumb_need_same_shape(const plumb_infer *q, int a, int b)
{
    const plumb_shape *x = &q->in[a].shape, *y = &q->in[b].shape;
    char text_x[SHAPE_ROOM], text_y[SHAPE_ROOM];
    bool agree = x->rank == y->rank;
    for (int d = 0; agree && d < x->rank; d++) {
        agree = plumb_dims_agree(x->dim[d], y->dim[d]);
    }
    if (agree) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "shapes %s and %s differ", plumb_shape_text(x, text_x, sizeof text_x),
                        plumb_shape_text(y, text_y, sizeof text_y));
}

plumb_status plumb_need_index(const plumb_infer *q, int input)
{
    plumb_dtype dtype = q->in[input].dtype;
    if (dtype == PLUMB_I32 || dtype == PLUMB_I64) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "input %d is %s, expected i32 or i64", input, plumb_dtype_name(dtype));
}

/* One dimension of a broadcast result; false: the two cannot meet. A size that is not known yet may turn out
 * to be 1, so it meets every number (which is then the result) and every unknown size; two different symbols
 * never meet. */
static bool broadcast_dim(int64_t a, int64_t b, int64_t *out)
{
    if (a == b || b == 1) {
        *out = a;
    } else if (a == 1) {
        *out = b;
    } else if (a >= 0 && b >= 0) {
        return false;
    } else if (a >= 0 || b >= 0) {
        *out = a >= 0 ? a : b;
    } else {
        *out = PLUMB_UNKNOWN;
        return a == PLUMB_UNKNOWN || b == PLUMB_UNKNOWN;
    }
    return true;
}

plumb_status plumb_broadcast(const plumb_infer *q, const plumb_shape *a, const plumb_shape *b,
                             plumb_shape *out)
{
    plumb_shape result = {.rank = a->rank > b->rank ? a->rank : b->rank};
    char text_a[SHAPE_ROOM], text_b[SHAPE_ROOM];
    for (int d = 0; d < result.rank; d++) {
        int at_a = d - (result.rank - a->rank), at_b = d - (result.rank - b->rank);
        int64_t dim_a = at_a >= 0 ? a->dim[at_a] : 1, dim_b = at_b >= 0 ? b->dim[at_b] : 1;
        if (!broadcast_dim(dim_a, dim_b, &result.dim[d])) {
            return plumb_refuse(q, "shapes %s and %s do not broadcast",
                                plumb_shape_text(a, text_a, sizeof text_a),
                                plumb_shape_text(b, text_b, sizeof text_b));
        }
    }
    *out = result;
    return PLUMB_OK;
}

plumb_status plumb_lent_shape(const plumb_infer *q, plumb_shape *shape)
{
    const plumb_shape *own = q->attr; /* LIKE attributes begin with it */
    if (own->rank < 0 && q->n_in > q->op->min_in) {
        *shape = q->in[q->n_in - 1].shape;
        return PLUMB_OK;
    }
    if (own->rank < 0 || own->rank > PLUMB_MAX_RANK) {
        return plumb_refuse(q, "a shape of rank %d was given, expected 0 to %d", own->rank, PLUMB_MAX_RANK);
    }
    for (int d = 0; d < own->rank; d++) {
        if (own->dim[d] < 0 && !plumb_is_symbol(own->dim[d])) {
            return plumb_refuse(q, "dimension %d of the given shape is %lld", d, (long long)own->dim[d]);
        }
    }
    *shape = plumb_bound(q, *own);
    return PLUMB_OK;
}

plumb_status plumb_need_made(const plumb_infer *q, int input, const plumb_shape *made, const char *by)
{
    const plumb_shape *shape = &q->in[input].shape;
    bool agree = shape->rank == made->rank;
    char a[160], b[160];
    for (int d = 0; agree && d < made->rank; d++) {
        agree = plumb_dims_agree(shape->dim[d], made->dim[d]);
    }
    if (agree) {
        return PLUMB_OK;
    }
    return plumb_refuse(q, "input %d has shape %s, %s makes %s", input, plumb_shape_text(shape, a, sizeof(a)), by,
                        plumb_shape_text(made, b, sizeof(b)));
}

plumb_status plumb_need_axis(const plumb_infer *q, int rank, int *axis)
{
    if (*axis < -rank || *axis >= rank) {
        return plumb_refuse(q, "axis %d is outside a shape of rank %d", *axis, rank);
    }
    *axis += *axis < 0 ? rank : 0;
    return PLUMB_OK;
}

int64_t plumb_view_count(const plumb_view *view)
{
    int64_t count = 1;
    for (int d = 0; d < view->rank; d++) {
        count *= view->dim[d];
    }
    return count;
}

bool plumb_view_contiguous(const plumb_view *view)
{
    int64_t expected = 1;
    if (plumb_view_count(view) == 0) {
        return true;
    }
    for (int d = view->rank - 1; d >= 0; d--) {
        if (view->dim[d] != 1 && view->stride[d] != expected) {
            return false;
        }
        expected *= view->dim[d];
    }
    return true;
}

bool plumb_view_channels_last(const plumb_view *view)
{
    plumb_view packed = *view;
    if (view->rank != 4) {
        return false;
    }
    plumb_view_pack_as(&packed, PLUMB_CHANNELS_LAST);
    return plumb_view_count(view) == 0 || plumb_views_alike(view, &packed);
}

bool plumb_view_lies(const plumb_view *view, enum plumb_layout_kind layout)
{
    return layout == PLUMB_ROWS ? plumb_view_contiguous(view) : plumb_view_channels_last(view);
}

/* Each stride is the number of elements in the dimensions inside of it: followed from the innermost one outwards. */
bool plumb_view_dense(const plumb_view *view)
{
    int64_t count = plumb_view_count(view), inside = 1;
    while (inside < count) {
        int next = -1;
        for (int d = 0; d < view->rank; d++) {
            if (view->dim[d] != 1 && view->stride[d] == inside) {
                next = d;
            }
        }
        if (next < 0) {
            return false;
        }
        inside *= view->dim[next];
    }
    return true;
}

bool plumb_views_alike(const plumb_view *a, const plumb_view *b)
{
    bool alike = a->rank == b->rank;
    for (int d = 0; alike && d < a->rank; d++) {
        alike = a->dim[d] == b->dim[d] && (a->dim[d] == 1 || a->stride[d] == b->stride[d]);
    }
    return alike;
}

void plumb_view_pack(plumb_view *view)
{
    int64_t stride = 1;
    for (int d = view->rank - 1; d >= 0; d--) {
        view->stride[d] = stride;
        stride *= view->dim[d];
    }
}

void plumb_view_pack_as(plumb_view *view, enum plumb_layout_kind layout)
{
    plumb_view_pack(view);
    if (layout == PLUMB_CHANNELS_LAST && view->rank == 4) {
        view->stride[1] = 1;
        view->stride[3] = view->dim[1];
        view->stride[2] = view->dim[3] * view->stride[3];
    }
}

static bool shaped_as(const plumb_view *a, const plumb_view *b)
{
    bool same = a->rank == b->rank;
    for (int d = 0; same && d < a->rank; d++) {
        same = a->dim[d] == b->dim[d];
    }
    return same;
}

bool plumb_op_picture_in(const plumb_call *call, int input)
{
    if (call->op->flags & PLUMB_OP_ELEMENTWISE) {
        return call->in[input].rank == 4 && shaped_as(&call->in[input], &call->out[0]);
    }
    return call->in[input].rank == 4 && input < 16 && (call->op->pictures >> input & 1);
}

bool plumb_op_picture_out(const plumb_call *call, int output)
{
    bool is = call->op->flags & PLUMB_OP_ELEMENTWISE || (output < 16 && (call->op->pictures >> (16 + output) & 1));
    return is && call->out[output].rank == 4;
}

/* Element-wise implementations get inputs in any strides: they may be broadcast, and a copy would cost what it saves. */
static bool all_last(const plumb_call *call)
{
    int pictures = 0;
    for (int k = 0; k < call->n_in && !(call->op->flags & PLUMB_OP_ELEMENTWISE); k++) {
        if (plumb_op_picture_in(call, k)) {
            pictures++;
            if (!plumb_view_channels_last(&call->in[k])) {
                return false;
            }
        }
    }
    for (int k = 0; k < call->n_out; k++) {
        bool picture = plumb_op_picture_out(call, k);
        pictures += picture;
        if (!(picture ? plumb_view_channels_last(&call->out[k]) : plumb_view_contiguous(&call->out[k]))) {
            return false;
        }
    }
    return pictures > 0;
}

bool plumb_impl_fits(const plumb_impl *impl, const plumb_call *call)
{
    if (impl->flags & (PLUMB_IMPL_ANY_LAYOUT | PLUMB_IMPL_WANTS_LAST) && all_last(call)) {
        return true;
    }
    bool rows = !(impl->flags & PLUMB_IMPL_WANTS_LAST);
    for (int k = 0; k < call->n_out && rows; k++) {
        rows = plumb_view_contiguous(&call->out[k]);
    }
    return rows;
}

plumb_dtype plumb_call_dtype(const plumb_call *call)
{
    int typed = call->op->typed;
    return typed >= 0 && typed < call->n_in ? call->in[typed].dtype : call->out[0].dtype;
}

void plumb_print_shape(const void *attr, struct plumb_text *text)
{
    const plumb_attr_shape *a = attr;
    char shape[160];
    if (a->shape.rank >= 0) {
        plumb_text_add(text, "to=%s", plumb_shape_text(&a->shape, shape, sizeof shape));
    }
}
