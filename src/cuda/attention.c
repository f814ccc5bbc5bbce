/* Attention on the GPU: one launch forward, three back. */
#include "cuda/cuda.h"

static pk_heads heads_of(const plumb_view *view)
{
    pk_heads x = {.data = view->data};
    memcpy(x.stride, view->stride, sizeof x.stride);
    return x;
}

/* `mask` is the place of the mask among the inputs. */
static pk_attention attention_of(const plumb_call *call, int mask)
{
    const plumb_attr_attention *attr = call->attr;
    const plumb_view *in = call->in;
    pk_attention p = {.q = heads_of(&in[0]), .k = heads_of(&in[1]), .v = heads_of(&in[2]), .batch = in[0].dim[0],
                      .heads = in[0].dim[1], .queries = in[0].dim[2], .keys = in[1].dim[2], .features = in[0].dim[3],
                      .values = in[2].dim[3], .scale = attr->scale, .causal = attr->causal != 0};
    if (call->n_in > mask) {
        p.mask = heads_of(&in[mask]);
        p.mask_is_u8 = in[mask].dtype == PLUMB_U8;
        for (int d = 0; d < 4; d++) {
            p.mask.stride[d] = in[mask].dim[d] == 1 ? 0 : p.mask.stride[d];
        }
    }
    return p;
}

static plumb_status run_attention(const plumb_call *call)
{
    pk_attention p = attention_of(call, 3);
    p.y = heads_of(&call->out[0]);
    p.lse = heads_of(&call->out[1]);
    return plumb_cuda_check(call, "plumb_k_attention", plumb_k_attention(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static size_t workspace(const plumb_call *call)
{
    const int64_t *dim = call->in[0].dim;
    size_t size = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return size * (size_t)(dim[0] * dim[1] * dim[2]);
}

static plumb_status run_attention_backward(const plumb_call *call)
{
    pk_attention p = attention_of(call, 6);
    p.y = heads_of(&call->in[3]);
    p.lse = heads_of(&call->in[4]);
    p.dy = heads_of(&call->in[5]);
    p.dq = heads_of(&call->out[0]);
    p.dk = heads_of(&call->out[1]);
    p.dv = heads_of(&call->out[2]);
    p.delta = call->workspace;
    return plumb_cuda_check(call, "plumb_k_attention_backward",
                            plumb_k_attention_backward(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

const plumb_impl plumb_impl_attention_cuda = {
    .op = &plumb_op_attention,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .run = run_attention,
};

const plumb_impl plumb_impl_attention_backward_cuda = {
    .op = &plumb_op_attention_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace,
    .run = run_attention_backward,
};
