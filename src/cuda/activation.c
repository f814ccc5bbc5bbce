/* Back through an activation on the GPU: channels as walks, which of the two forms, and into how many chunks a channel is
 * cut: by shapes and strides alone. */
#include "cuda/cuda.h"

/* A block takes 2048 elements of a channel, or 64 of each of 32 channels, and more where a channel would have over 64
 * chunks: how many there are follows from shapes and strides alone. */
static int64_t chunks_of(const pk_back *p, int64_t elements)
{
    enum { ALONG = 2048, ACROSS = 64, MOST = 64 };
    int64_t each = p->across ? ACROSS : ALONG, chunks = (elements + each - 1) / each;
    return chunks < 1 ? 1 : chunks > MOST ? MOST : chunks;
}

static pk_back back_of(const plumb_call *call)
{
    const plumb_attr_activation *attr = call->attr;
    const plumb_view *dy = &call->in[0], *y = &call->in[1], *dx = &call->out[0], *dbias = &call->out[1];
    int axis = attr->axis + (attr->axis < 0 ? dx->rank : 0);
    int32_t width = 16 / (int32_t)plumb_dtype_size(dx->dtype);
    pk_back p = {
        .at = plumb_cuda_channels((const plumb_view *const[]){dy, y, dx}, 3, axis),
        .dbias = {dbias->data, dbias->stride[0]},
        .channels = dbias->dim[0],
        .activation = attr->activation,
        .width = 1,
        .partial = call->workspace,
    };
    const pk_walk *w = &p.at.walk;
    p.across = w->rank == 0 || llabs(p.at.step[2]) < llabs(w->stride[2][w->rank - 1]);
    p.chunks = chunks_of(&p, w->count);
    if (!p.across && plumb_cuda_packs_well(&p.at, width)) {
        p.width = width;
        plumb_cuda_in_packs(&p.at.walk, width);
    }
    p.count = p.at.walk.count;
    p.chunk = (p.count + p.chunks - 1) / p.chunks;
    return p;
}

static size_t workspace(const plumb_call *call)
{
    const pk_back p = back_of(call);
    size_t each = call->out[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return p.chunks > 1 ? each * (size_t)(p.channels * p.chunks) : 0;
}

static plumb_status run(const plumb_call *call)
{
    const pk_back p = back_of(call);
    return plumb_cuda_check(call, "plumb_k_activation_backward",
                            plumb_k_activation_backward(plumb_cuda_stream(call), (int)call->out[0].dtype, &p));
}

const plumb_impl plumb_impl_activation_backward_cuda = {
    .op = &plumb_op_activation_backward,
    .name = "cuda.native",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace,
    .run = run,
};
