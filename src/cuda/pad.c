/* Padding and its adjoint on the GPU. */
#include "cuda/cuda.h"

static pk_pad pad_of(const plumb_call *call, const plumb_view *x, const plumb_view *y)
{
    const plumb_attr_pad *attr = call->attr;
    pk_pad p = {.x = plumb_cuda_view(x), .y = plumb_cuda_view(y), .mode = attr->mode};
    memcpy(p.before, attr->before, sizeof p.before);
    return p;
}

static plumb_status run_pad(const plumb_call *call)
{
    pk_pad p = pad_of(call, &call->in[0], &call->out[0]);
    double value = ((const plumb_attr_pad *)call->attr)->value;
    return plumb_cuda_check(call, "plumb_k_pad", plumb_k_pad(plumb_cuda_stream(call), &p, value));
}

static plumb_status run_pad_backward(const plumb_call *call)
{
    pk_pad p = pad_of(call, &call->out[0], &call->in[0]);
    return plumb_cuda_check(call, "plumb_k_pad_backward", plumb_k_pad_backward(plumb_cuda_stream(call), &p));
}

const plumb_impl plumb_impl_pad_cuda = {
    .op = &plumb_op_pad,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_pad,
};
const plumb_impl plumb_impl_pad_backward_cuda = {
    .op = &plumb_op_pad_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_pad_backward,
};
