/* Local response normalisation on the GPU. */
#include "cuda/cuda.h"

static pk_volume volume(const plumb_view *v)
{
    return (pk_volume){v->data, {v->stride[0], v->stride[1], v->stride[2]}};
}

static pk_lrn lrn_of(const plumb_call *call)
{
    const plumb_attr_lrn *attr = call->attr;
    const plumb_view *x = &call->in[0];
    return (pk_lrn){
        .x = volume(x),
        .dy = volume(&call->in[call->n_in - 1]),
        .y = volume(&call->out[0]),
        .n = x->dim[0],
        .channels = x->dim[1],
        .s = x->dim[2],
        .before = attr->before,
        .after = attr->after,
        .scale = attr->scale,
        .beta = attr->beta,
        .bias = attr->bias,
        .terms = call->workspace,
    };
}

static plumb_status run(const plumb_call *call)
{
    pk_lrn p = lrn_of(call);
    return plumb_cuda_check(call, "plumb_k_lrn", plumb_k_lrn(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static plumb_status run_backward(const plumb_call *call)
{
    pk_lrn p = lrn_of(call);
    return plumb_cuda_check(call, "plumb_k_lrn_backward",
                            plumb_k_lrn_backward(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static size_t terms(const plumb_call *call)
{
    size_t each = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return each * (size_t)plumb_view_count(&call->in[0]);
}

const plumb_impl plumb_impl_lrn_cuda = {
    .op = &plumb_op_lrn,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .run = run,
};

const plumb_impl plumb_impl_lrn_backward_cuda = {
    .op = &plumb_op_lrn_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .workspace = terms,
    .run = run_backward,
};
