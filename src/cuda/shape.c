/* Ops that move elements, on the GPU. The op's own view rule says where the elements of the result lie in the operand;
 * what is then left is a copy between two views of one shape. Only reshape may need to count in two shapes. */
#include "cuda/cuda.h"

/* Copies are casts from a type to itself: any type of the same size will do. */
static int type_of_size(plumb_dtype dtype)
{
    switch (plumb_dtype_size(dtype)) {
    case 1: return PK_U8;
    case 2: return PK_F16;
    case 4: return PK_I32;
    default: return PK_I64;
    }
}

static plumb_status copy_walk(const plumb_call *call, const pk_walk *w)
{
    int type = type_of_size(call->out[0].dtype);
    pk_turn turn;
    if (plumb_cuda_turned(w, &turn))
        return plumb_cuda_check(call, "plumb_k_turn",
                                plumb_k_turn(plumb_cuda_stream(call), (int)plumb_dtype_size(call->out[0].dtype), &turn));
    return plumb_cuda_check(call, "plumb_k_cast", plumb_k_cast(plumb_cuda_stream(call), type, type, w));
}

static plumb_status copy_same_shape(const plumb_call *call, const plumb_view *out, const plumb_view *x)
{
    const plumb_view *operands[] = {x, out};
    pk_walk w = plumb_cuda_walk(operands, 2);
    return copy_walk(call, &w);
}

static void *element(const plumb_view *view, int64_t offset)
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
    return copy_same_shape(call, &call->out[0], &shown);
}

static plumb_status run_reshape(const plumb_call *call)
{
    pk_walk from = plumb_cuda_walk_in_order(&call->in[0]), to = plumb_cuda_walk_in_order(&call->out[0]);
    if (from.rank <= 1 && to.rank <= 1) { /* both evenly spaced: one shape after all */
        to.operands = 2;
        to.data[1] = to.data[0];
        to.data[0] = from.data[0];
        to.stride[1][0] = to.stride[0][0];
        to.stride[0][0] = from.stride[0][0];
        return copy_walk(call, &to);
    }
    return plumb_cuda_check(call, "plumb_k_move",
                            plumb_k_move(plumb_cuda_stream(call), (int)plumb_dtype_size(call->out[0].dtype), &from, &to));
}

static plumb_status run_concat(const plumb_call *call)
{
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    axis += axis < 0 ? call->out[0].rank : 0;
    int64_t start = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < call->n_in && status == PLUMB_OK; i++) {
        plumb_view part = call->out[0];
        part.data = element(&call->out[0], start * part.stride[axis]);
        part.dim[axis] = call->in[i].dim[axis];
        status = copy_same_shape(call, &part, &call->in[i]);
        start += part.dim[axis];
    }
    return status;
}

static plumb_status run_slice_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *out = &call->out[0];
    pk_walk all = plumb_cuda_walk(&out, 1);
    plumb_status status = plumb_cuda_check(call, "plumb_k_fill",
                                           plumb_k_fill(plumb_cuda_stream(call), type_of_size(out->dtype), 0, &all));
    plumb_view slice = *dy;
    int64_t offset = 0;
    plumb_op_slice.view(call->attr, out, &slice, &offset);
    slice.data = element(out, offset);
    return status == PLUMB_OK ? copy_same_shape(call, &slice, dy) : status;
}

#define ROW(op_name, function)                                                                                        \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_ALL_DTYPES,                                                                                   \
        .flags = PLUMB_IMPL_EXACT,                                                                                    \
        .run = function,                                                                                              \
    };

ROW(reshape, run_reshape)
ROW(transpose, run_view)
ROW(expand, run_view)
ROW(slice, run_view)
ROW(concat, run_concat)
ROW(slice_backward, run_slice_backward)
