/* Numbers in a row and triangles of matrices on the GPU: operands without data say by their strides where an element is. */
#include "cuda/cuda.h"

static plumb_status run_iota(const plumb_call *call)
{
    const plumb_attr_iota *attr = call->attr;
    plumb_view position = call->out[0];
    position.data = NULL;
    plumb_view_pack(&position);
    const plumb_view *operands[] = {&position, &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 2);
    return plumb_cuda_check(call, "plumb_k_iota",
                            plumb_k_iota(plumb_cuda_stream(call), (int)call->out[0].dtype, attr->start, attr->step, &w));
}

static plumb_status run_triangle(const plumb_call *call)
{
    const plumb_attr_triangle *attr = call->attr;
    const plumb_view *y = &call->out[0];
    plumb_view diagonal = *y;
    diagonal.data = NULL;
    memset(diagonal.stride, 0, sizeof diagonal.stride);
    diagonal.stride[y->rank - 1] = 1;
    diagonal.stride[y->rank - 2] = -1;
    const plumb_view *operands[] = {&diagonal, &call->in[0], y};
    pk_walk w = plumb_cuda_walk(operands, 3);
    return plumb_cuda_check(call, "plumb_k_triangle",
                            plumb_k_triangle(plumb_cuda_stream(call), (int)plumb_dtype_size(y->dtype), attr->k,
                                             attr->upper, &w));
}

const plumb_impl plumb_impl_iota_cuda = {
    .op = &plumb_op_iota,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_iota,
};
const plumb_impl plumb_impl_triangle_cuda = {
    .op = &plumb_op_triangle,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_triangle,
};
