/* Reference: ops that move elements. The op's own view rule says where the elements of the result lie in the
 * operand; what cannot be a view (reshape of some strides, concat, the adjoint of slice) finds them by
 * counting. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* Copies element for element between views of one shape. */
static void copy_same_shape(const plumb_view *out, const plumb_view *x)
{
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int from = walk_add(&w, x), to = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_copy(out, w.at[to], x, w.at[from]);
    }
}

static char *element(const plumb_view *view, int64_t offset)
{
    return (char *)view->data + offset * (int64_t)plumb_dtype_size(view->dtype);
}

/* transpose, expand, slice: always a view of the operand. */
static plumb_status run_view(const plumb_call *call)
{
    plumb_view shown = call->out[0];
    int64_t offset = 0;
    call->op->view(call->attr, &call->in[0], &shown, &offset);
    shown.data = element(&call->in[0], offset);
    copy_same_shape(&call->out[0], &shown);
    return PLUMB_OK;
}

/* Two walks side by side: both go in row-major order. */
static plumb_status run_reshape(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    struct walk from, to;
    walk_begin(&from, x->rank, x->dim);
    walk_begin(&to, out->rank, out->dim);
    walk_add(&from, x);
    walk_add(&to, out);
    for (; to.left > 0; walk_step(&to), walk_step(&from)) {
        view_copy(out, to.at[0], x, from.at[0]);
    }
    return PLUMB_OK;
}

static plumb_status run_concat(const plumb_call *call)
{
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    axis += axis < 0 ? call->out[0].rank : 0;
    int64_t start = 0;
    for (int i = 0; i < call->n_in; i++) {
        plumb_view part = call->out[0];
        part.data = element(&call->out[0], start * part.stride[axis]);
        part.dim[axis] = call->in[i].dim[axis];
        copy_same_shape(&part, &call->in[i]);
        start += part.dim[axis];
    }
    return PLUMB_OK;
}

static plumb_status run_slice_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *out = &call->out[0];
    plumb_view slice = *dy;
    int64_t offset = 0;
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        memset(element(out, w.at[at]), 0, plumb_dtype_size(out->dtype));
    }
    plumb_op_slice.view(call->attr, out, &slice, &offset);
    slice.data = element(out, offset);
    copy_same_shape(&slice, dy);
    return PLUMB_OK;
}

#define ROW(op_name, function)                                                                               \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = PLUMB_ALL_DTYPES,                                                                          \
        .flags = PLUMB_IMPL_EXACT,                                                                           \
        .run = function,                                                                                     \
    };

ROW(reshape, run_reshape)
ROW(transpose, run_view)
ROW(expand, run_view)
ROW(slice, run_view)
ROW(concat, run_concat)
ROW(slice_backward, run_slice_backward)
