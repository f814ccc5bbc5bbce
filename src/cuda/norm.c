/* Batch normalisation on the GPU: views without their channels as walks, and into how many chunks a channel is cut. */
#include "cuda/cuda.h"

/* Channel 0 of (N, C, ..): (N, ..). */
static plumb_view one_channel(const plumb_view *view)
{
    plumb_view part = *view;
    part.rank--;
    for (int d = 1; d < part.rank; d++) {
        part.dim[d] = view->dim[d + 1];
        part.stride[d] = view->stride[d + 1];
    }
    return part;
}

static pk_vector vector(const plumb_view *view)
{
    return (pk_vector){view->data, view->stride[0]};
}

/* A block takes up to 2048 values, and more where a channel would have over 64 chunks. By shapes alone. */
static void cut(pk_norm *p)
{
    enum { VALUES = 2048, MOST = 64 };
    p->chunks = (p->values.count + VALUES - 1) / VALUES;
    p->chunks = p->chunks < 1 ? 1 : p->chunks > MOST ? MOST : p->chunks;
    p->chunk = (p->values.count + p->chunks - 1) / p->chunks;
}

static pk_norm norm_of(const plumb_call *call, const plumb_view *const *operands, int count)
{
    const plumb_attr_batch_norm *attr = call->attr;
    plumb_view part[PK_WALK_OPERANDS];
    const plumb_view *parts[PK_WALK_OPERANDS];
    pk_norm p = {
        .channels = operands[0]->dim[1],
        .epsilon = attr->epsilon,
        .momentum = attr->momentum,
        .biased_running = attr->biased_running,
        .vectors = (int32_t)call->in[1].dtype,
        .partial = call->workspace,
    };
    for (int i = 0; i < count; i++) {
        part[i] = one_channel(operands[i]);
        parts[i] = &part[i];
        p.channel_stride[i] = operands[i]->stride[1];
    }
    p.values = plumb_cuda_walk(parts, count);
    cut(&p);
    return p;
}

static pk_norm forward_of(const plumb_call *call)
{
    const plumb_view *operands[] = {&call->in[0], &call->out[0]};
    pk_norm p = norm_of(call, operands, 2);
    p.scale = vector(&call->in[1]);
    p.shift = vector(&call->in[2]);
    p.mean = vector(&call->in[3]);
    p.spread = vector(&call->in[4]);
    return p;
}

static pk_norm backward_of(const plumb_call *call)
{
    const plumb_view *operands[] = {&call->in[0], &call->in[4], &call->out[0]};
    pk_norm p = norm_of(call, operands, 3);
    p.scale = vector(&call->in[1]);
    p.mean = vector(&call->in[2]);
    p.spread = vector(&call->in[3]);
    return p;
}

static size_t workspace(const plumb_call *call)
{
    size_t each = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    pk_norm p = forward_of(call);
    return 2 * each * (size_t)p.channels * (size_t)(p.chunks + 1);
}

static plumb_status run_training(const plumb_call *call)
{
    pk_norm p = forward_of(call);
    if (p.values.count == 1 && p.channels > 0) {
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
