/* Lookup by index on the GPU. What of y belongs to x and what to the indices is told by strides: operands of y's shape
 * that stand still in the dimensions that are not theirs. */
#include "cuda/cuda.h"

static int axis_of(const plumb_call *call, int rank)
{
    int axis = ((const plumb_attr_gather *)call->attr)->axis;
    return axis < 0 ? axis + rank : axis;
}

/* A view of `shape`'s dimensions that stands still; data-less ones count coordinates. */
static plumb_view still(const plumb_view *shape, void *data)
{
    plumb_view v = *shape;
    v.data = data;
    memset(v.stride, 0, sizeof v.stride);
    return v;
}

static pk_gather gather_of(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *indices = &call->in[1], *y = &call->out[0];
    int axis = axis_of(call, x->rank);
    plumb_view packed = *indices, by_index = still(y, indices->data), of_x = still(y, x->data);
    plumb_view position = still(y, NULL);
    plumb_view_pack(&packed);
    for (int d = 0; d < y->rank; d++) {
        if (d < axis) {
            of_x.stride[d] = x->stride[d];
        } else if (d < axis + indices->rank) {
            by_index.stride[d] = indices->stride[d - axis];
            position.stride[d] = packed.stride[d - axis];
        } else {
            of_x.stride[d] = x->stride[d - indices->rank + 1];
        }
    }
    const plumb_view *operands[] = {&by_index, &of_x, &position, y};
    return (pk_gather){
        .w = plumb_cuda_walk(operands, 4),
        .n = x->dim[axis],
        .step = x->stride[axis],
        .indices = plumb_cuda_walk_in_order(indices),
        .fault = plumb_cuda_fault(call),
        .watch = plumb_cuda_watch(call, "index"),
        .index_dtype = (int32_t)indices->dtype,
    };
}

static plumb_status run_gather(const plumb_call *call)
{
    pk_gather g = gather_of(call);
    int size = (int)plumb_dtype_size(call->in[0].dtype);
    return plumb_cuda_check(call, "plumb_k_gather", plumb_k_gather(plumb_cuda_stream(call), size, &g));
}

static size_t workspace_gather_backward(const plumb_call *call)
{
    const plumb_view *dx = &call->out[0];
    return plumb_k_gather_backward_bytes(plumb_view_count(&call->in[1]), dx->dim[axis_of(call, dx->rank)]);
}

static plumb_status run_gather_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *indices = &call->in[1], *dx = &call->out[0];
    int axis = axis_of(call, dx->rank);
    plumb_view of_dy = still(dx, dy->data), coordinate = still(dx, NULL), part = still(indices, NULL);
    for (int d = 0; d < dx->rank; d++) {
        of_dy.stride[d] = d < axis ? dy->stride[d] : d > axis ? dy->stride[d + indices->rank - 1] : 0;
    }
    coordinate.stride[axis] = 1;
    for (int d = 0; d < indices->rank; d++) {
        part.stride[d] = dy->stride[axis + d];
    }
    const plumb_view *operands[] = {&of_dy, &coordinate, dx};
    pk_gather_backward g = {
        .w = plumb_cuda_walk(operands, 3),
        .part = plumb_cuda_walk_in_order(&part),
        .indices = plumb_cuda_walk_in_order(indices),
        .n = dx->dim[axis],
        .workspace = call->workspace,
        .fault = plumb_cuda_fault(call),
        .watch = plumb_cuda_watch(call, "index"),
        .index_dtype = (int32_t)indices->dtype,
    };
    return plumb_cuda_check(call, "plumb_k_gather_backward",
                            plumb_k_gather_backward(plumb_cuda_stream(call), (int)dy->dtype, &g));
}

static plumb_status run_one_hot(const plumb_call *call)
{
    const plumb_view *indices = &call->in[0], *y = &call->out[0];
    const plumb_attr_one_hot *attr = call->attr;
    int axis = attr->axis + (attr->axis < 0 ? y->rank : 0);
    plumb_view by_index = still(y, indices->data), class = still(y, NULL);
    for (int d = 0; d < indices->rank; d++) {
        by_index.stride[d < axis ? d : d + 1] = indices->stride[d];
    }
    class.stride[axis] = 1;
    const plumb_view *operands[] = {&by_index, &class, y};
    pk_walk w = plumb_cuda_walk(operands, 3);
    return plumb_cuda_check(call, "plumb_k_one_hot",
                            plumb_k_one_hot(plumb_cuda_stream(call), (int)indices->dtype, (int)y->dtype,
                                            attr->from_end ? attr->classes : 0, attr->on, attr->off, &w));
}

const plumb_impl plumb_impl_gather_cuda = {
    .op = &plumb_op_gather,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_gather,
};
const plumb_impl plumb_impl_gather_backward_cuda = {
    .op = &plumb_op_gather_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_gather_backward,
    .run = run_gather_backward,
};
const plumb_impl plumb_impl_one_hot_cuda = {
    .op = &plumb_op_one_hot,
    .name = "cuda.native",
    .dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64),
    .flags = PLUMB_IMPL_EXACT,
    .run = run_one_hot,
};
