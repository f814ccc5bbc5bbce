/* Connectionist temporal classification on the GPU: a launch each way. */
#include "cuda/cuda.h"

static pk_ctc ctc_of(const plumb_call *call)
{
    const plumb_attr_ctc *attr = call->attr;
    const plumb_view *in = call->in;
    return (pk_ctc){.x = plumb_cuda_view(&in[0]), .targets = plumb_cuda_view(&in[1]), .steps = plumb_cuda_view(&in[2]),
                    .lengths = plumb_cuda_view(&in[3]), .places = 2 * in[1].dim[in[1].rank - 1] + 1, .blank = attr->blank,
                    .rows = call->workspace, .fault = plumb_cuda_fault(call), .zero_infinity = attr->zero_infinity != 0,
                    .watch_label = plumb_cuda_watch(call, "label"), .watch_steps = plumb_cuda_watch(call, "input length"),
                    .watch_length = plumb_cuda_watch(call, "target length")};
}

static size_t rows_of_places(const plumb_call *call, int64_t rows)
{
    const plumb_view *targets = &call->in[1];
    size_t size = call->in[0].dtype == PLUMB_F64 ? sizeof(double) : sizeof(float);
    return size * (size_t)(call->in[0].dim[1] * rows * (2 * targets->dim[targets->rank - 1] + 1));
}

static size_t workspace_ctc_loss(const plumb_call *call) { return rows_of_places(call, 2); }
static size_t workspace_ctc_loss_backward(const plumb_call *call) { return rows_of_places(call, call->in[0].dim[0] + 2); }

static plumb_status run_ctc_loss(const plumb_call *call)
{
    pk_ctc p = ctc_of(call);
    p.loss = plumb_cuda_view(&call->out[0]);
    return plumb_cuda_check(call, "plumb_k_ctc_loss", plumb_k_ctc_loss(plumb_cuda_stream(call), &p));
}

static plumb_status run_ctc_loss_backward(const plumb_call *call)
{
    pk_ctc p = ctc_of(call);
    p.dloss = plumb_cuda_view(&call->in[4]);
    p.dx = plumb_cuda_view(&call->out[0]);
    return plumb_cuda_check(call, "plumb_k_ctc_loss_backward", plumb_k_ctc_loss_backward(plumb_cuda_stream(call), &p));
}

#define ROW(op_name)                                                                                                  \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = workspace_##op_name,                                                                             \
        .run = run_##op_name,                                                                                         \
    };
ROW(ctc_loss)
ROW(ctc_loss_backward)
