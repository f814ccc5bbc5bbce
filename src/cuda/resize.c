/* Resizing and its adjoint on the GPU: the dimensions that change are named one by one. */
#include "cuda/cuda.h"

static pk_resize resize_of(const plumb_call *call, const plumb_view *x, const plumb_view *y)
{
    const plumb_attr_resize *attr = call->attr;
    pk_resize r = {
        .x = plumb_cuda_view(x),
        .y = plumb_cuda_view(y),
        .mode = attr->mode,
        .coordinates = attr->coordinates,
        .nearest = attr->nearest,
        .exclude_outside = attr->exclude_outside && attr->mode != PLUMB_RESIZE_NEAREST,
        .cubic_a = attr->cubic_a,
        .extrapolation = attr->extrapolation,
    };
    for (int d = 0; d < x->rank; d++) {
        int64_t n = x->dim[d], m = y->dim[d];
        if (plumb_resize_changes(attr, d, n, m))
            r.axis[r.axes++] = (pk_resize_axis){
                .n = n,
                .m = m,
                .scale = attr->scale[d] != 0 ? attr->scale[d] : n ? (double)m / (double)n : 1,
                .start = attr->start[d],
                .end = attr->end[d],
                .dim = d,
            };
    }
    return r;
}

static plumb_status run_resize(const plumb_call *call)
{
    pk_resize r = resize_of(call, &call->in[0], &call->out[0]);
    return plumb_cuda_check(call, "plumb_k_resize", plumb_k_resize(plumb_cuda_stream(call), &r));
}

static plumb_status run_resize_backward(const plumb_call *call)
{
    pk_resize r = resize_of(call, &call->out[0], &call->in[0]);
    return plumb_cuda_check(call, "plumb_k_resize_backward", plumb_k_resize_backward(plumb_cuda_stream(call), &r));
}

const plumb_impl plumb_impl_resize_cuda = {
    .op = &plumb_op_resize,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .run = run_resize,
};
const plumb_impl plumb_impl_resize_backward_cuda = {
    .op = &plumb_op_resize_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .run = run_resize_backward,
};
