/* Norms of rows on the GPU: operands as volumes (N, C, S), and into how many chunks of examples the sums for scale and shift
 * are cut, by shapes alone. */
#include "cuda/cuda.h"

static pk_volume volume(const plumb_view *v)
{
    return (pk_volume){v->data, {v->stride[0], v->stride[1], v->stride[2]}};
}
static pk_vector vector(const plumb_view *v) { return (pk_vector){v->data, v->stride[0]}; }
static pk_matrix matrix(const plumb_view *v) { return (pk_matrix){v->data, {v->stride[0], v->stride[1]}}; }

static pk_row_norm norm_of(const plumb_call *call)
{
    enum { VALUES = 64, MOST = 64 }; /* of a channel in a chunk, at least; chunks */
    const plumb_attr_row_norm *attr = call->attr;
    const plumb_view *x = &call->in[0];
    pk_row_norm p = {
        .x = volume(x),
        .y = volume(&call->out[0]),
        .n = x->dim[0],
        .groups = attr->groups,
        .channels = x->dim[1] / attr->groups,
        .s = x->dim[2],
        .epsilon = attr->epsilon,
        .vectors = (int32_t)x->dtype,
        .partial = call->workspace,
    };
    p.chunks = p.n * p.s / VALUES;
    p.chunks = p.chunks > p.n ? p.n : p.chunks;
    p.chunks = p.chunks < 1 ? 1 : p.chunks > MOST ? MOST : p.chunks;
    p.per_chunk = (p.n + p.chunks - 1) / p.chunks;
    return p;
}

static plumb_status run_forward(const plumb_call *call)
{
    pk_row_norm p = norm_of(call);
    p.invstd = matrix(&call->out[1]);
    if (call->n_out > 2) {
        p.mean = matrix(&call->out[2]);
    }
    if (call->n_in > 1) {
        p.scale = vector(&call->in[1]);
        p.vectors = (int32_t)call->in[1].dtype;
    }
    if (call->n_in > 2) {
        p.shift = vector(&call->in[2]);
    }
    return plumb_cuda_check(call, "plumb_k_row_norm",
                            plumb_k_row_norm(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static size_t workspace_backward(const plumb_call *call)
{
    pk_row_norm p = norm_of(call);
    size_t each = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return call->n_out > 1 ? 2 * each * (size_t)(p.chunks * p.groups * p.channels) : 0;
}

static plumb_status run_backward(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    pk_row_norm p = norm_of(call);
    p.dy = volume(&call->in[1]);
    p.invstd = matrix(&call->in[2]);
    if (attr->centred) {
        p.mean = matrix(&call->in[3]);
    }
    if (attr->affine) {
        p.scale = vector(&call->in[3 + attr->centred]);
        p.vectors = (int32_t)call->in[3 + attr->centred].dtype;
        p.dscale = vector(&call->out[1]);
    }
    if (attr->affine > 1) {
        p.dshift = vector(&call->out[2]);
    }
    return plumb_cuda_check(call, "plumb_k_row_norm_backward",
                            plumb_k_row_norm_backward(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

#define ROW(op_name, which_workspace, which_run)                                                                      \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = which_workspace,                                                                                 \
        .run = which_run,                                                                                             \
    };

ROW(layer_norm, NULL, run_forward)
ROW(group_norm, NULL, run_forward)
ROW(rms_norm, NULL, run_forward)
ROW(row_norm_backward, workspace_backward, run_backward)
