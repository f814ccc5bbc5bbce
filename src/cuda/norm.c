/* Batch normalisation on the GPU: views without their channels as walks, into how many chunks a channel is cut, and
 * where values move in packs. */
#include "cuda/cuda.h"

static pk_vector vector(const plumb_view *view)
{
    return (pk_vector){view->data, view->stride[0]};
}

static pk_norm norm_of(const plumb_call *call)
{
    const plumb_attr_batch_norm *attr = call->attr;
    return (pk_norm){
        .channels = call->in[0].dim[1],
        .epsilon = attr->epsilon,
        .momentum = attr->momentum,
        .biased_running = attr->biased_running,
        .vectors = (int32_t)call->in[1].dtype,
        .relu = attr->activation == PLUMB_ACTIVATION_RELU,
        .width = 1,
        .partial = call->workspace,
    };
}

/* A block takes up to 2048 values, and more where a channel would have over 64 chunks: how many chunks there are
 * follows from shapes alone. In packs, where all operands allow it. */
static void cut(pk_norm *p, size_t size)
{
    enum { VALUES = 2048, MOST = 64 };
    int32_t width = PK_NORM_PACK(size);
    p->count = p->write.walk.count;
    p->chunks = (p->count + VALUES - 1) / VALUES;
    p->chunks = p->chunks < 1 ? 1 : p->chunks > MOST ? MOST : p->chunks;
    if (plumb_cuda_packs_well(&p->read, width) && plumb_cuda_packs_well(&p->write, width)) {
        p->width = width;
        plumb_cuda_in_packs(&p->read.walk, width);
        plumb_cuda_in_packs(&p->write.walk, width);
    }
    p->chunk = (p->count / p->width + p->chunks - 1) / p->chunks;
}

static pk_norm forward_of(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *residual = call->n_in > 5 ? &call->in[5] : x;
    pk_norm p = norm_of(call);
    p.read = plumb_cuda_channels(&x, 1, 1);
    p.write = plumb_cuda_channels((const plumb_view *const[]){x, residual, &call->out[0]}, 3, 1);
    p.residual = residual != x;
    p.scale = vector(&call->in[1]);
    p.shift = vector(&call->in[2]);
    p.mean = vector(&call->in[3]);
    p.spread = vector(&call->in[4]);
    cut(&p, plumb_dtype_size(x->dtype));
    return p;
}

/* dy before relu is left in the residual's gradient, or else where dx will be. */
static pk_norm backward_of(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *dy = &call->in[4], *dx = &call->out[0], *y = x, *left = x;
    pk_norm p = norm_of(call);
    if (p.relu) {
        y = &call->in[5];
        left = &call->out[call->n_out > 3 ? 3 : 0];
    }
    p.read = plumb_cuda_channels((const plumb_view *const[]){x, dy, y, left}, 4, 1);
    p.write = plumb_cuda_channels((const plumb_view *const[]){x, p.relu ? left : dy, dx}, 3, 1);
    p.scale = vector(&call->in[1]);
    p.mean = vector(&call->in[2]);
    p.spread = vector(&call->in[3]);
    cut(&p, plumb_dtype_size(x->dtype));
    return p;
}

/* By the number of chunks, which is the same forward and backward. */
static size_t workspace(const plumb_call *call)
{
    size_t each = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    const plumb_view *x = &call->in[0];
    pk_norm p = norm_of(call);
    p.read = p.write = plumb_cuda_channels(&x, 1, 1);
    cut(&p, plumb_dtype_size(x->dtype));
    return 2 * each * (size_t)p.channels * (size_t)(p.chunks + 1);
}

static plumb_status run_training(const plumb_call *call)
{
    pk_norm p = forward_of(call);
    if (p.count == 1 && p.channels > 0) {
        return plumb_call_fail(call, PLUMB_BAD_INPUT, "training needs more than one value per channel");
    }
    for (int i = 0; i < 4; i++) {
        p.out[i] = vector(&call->out[i + 1]);
    }
    return plumb_cuda_check(call, "plumb_k_batch_norm",
                            plumb_k_batch_norm(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static plumb_status run_inference(const plumb_call *call)
{
    pk_norm p = forward_of(call);
    return plumb_cuda_check(call, "plumb_k_batch_norm_inference",
                            plumb_k_batch_norm_inference(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static plumb_status run_backward(const plumb_call *call)
{
    pk_norm p = backward_of(call);
    for (int i = 0; i < 2; i++) {
        p.out[i] = vector(&call->out[i + 1]);
    }
    return plumb_cuda_check(call, "plumb_k_batch_norm_backward",
                            plumb_k_batch_norm_backward(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

const plumb_impl plumb_impl_batch_norm_cuda = {
    .op = &plumb_op_batch_norm,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace,
    .run = run_training,
};

const plumb_impl plumb_impl_batch_norm_inference_cuda = {
    .op = &plumb_op_batch_norm_inference,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .run = run_inference,
};

const plumb_impl plumb_impl_batch_norm_backward_cuda = {
    .op = &plumb_op_batch_norm_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace,
    .run = run_backward,
};
