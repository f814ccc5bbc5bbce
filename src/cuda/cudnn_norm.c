/* Batch normalisation in training, forward and backward, as graphs of cuDNN: data of f32, bf16 or f16, everything that is
 * one number for each channel f32. Its inference form is not given to it: no engine of cuDNN 9.19 takes it, and it is a
 * plain element-wise op. Nor is what the pass `fuse` makes of it: our own kernels compute that. */
#include "cuda/cudnn.h"

enum { LARGEST_RANK = 4, INPUTS = 5 /* of both ops, when nothing is fused into them */ };

/* NULL: the library takes these tensors. */
static const char *check(const plumb_call *call)
{
    const plumb_attr_batch_norm *attr = call->attr;
    const plumb_view *x = &call->in[0], *vector = &call->in[1];
    if (call->n_in != INPUTS || attr->activation) {
        return "an activation or a residual is part of it";
    }
    if (x->rank > LARGEST_RANK) {
        return "the data has more than four dimensions";
    }
    if (vector->dtype != PLUMB_F32) {
        return "what is one number for each channel is not f32";
    }
    return plumb_view_count(x) == x->dim[1] ? "there is one value for each channel" : NULL;
}

/* Operands in the order of roles: inputs, then outputs. */
static plumb_cudnn_op *add_norm(const plumb_call *call, plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind)
{
    plumb_cudnn_op *op = plumb_cudnn_add(graph, kind, CD_BATCH_NORM, CD_FLOAT);
    for (int i = 0; i < call->n_in + call->n_out; i++) {
        plumb_cudnn_operand(graph, call, i < call->n_in ? i : call->n_in - 1 - i);
        op->tensor[i] = i + 1;
    }
    return op;
}

static const char *write_forward(const plumb_call *call, plumb_cudnn_graph *graph)
{
    const plumb_attr_batch_norm *attr = call->attr;
    const char *why = check(call);
    if (why || attr->biased_running) {
        return why ? why : "it keeps running variances unbiased only";
    }
    plumb_cudnn_op *op = add_norm(call, graph, PLUMB_CUDNN_NORM);
    op->tensor[10] = plumb_cudnn_number(graph, attr->epsilon) + 1;
    op->tensor[11] = plumb_cudnn_number(graph, attr->momentum) + 1;
    return NULL;
}

static const char *write_backward(const plumb_call *call, plumb_cudnn_graph *graph)
{
    const char *why = check(call);
    if (!why) {
        add_norm(call, graph, PLUMB_CUDNN_NORM_BACKWARD);
    }
    return why;
}

#define DTYPES (PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16))
PLUMB_CUDNN_IMPL(batch_norm, DTYPES, 0, write_forward)
PLUMB_CUDNN_IMPL(batch_norm_backward, DTYPES, 0, write_backward)
