/* Softmax along an axis and the cross-entropy of integer labels on the GPU: one launch each. */
#include "cuda/cuda.h"

static pk_lanes lanes_of(const plumb_call *call)
{
    const plumb_view *from[] = {&call->in[0], &call->in[call->n_in - 1], &call->out[0]};
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    axis += axis < 0 ? from[0]->rank : 0;
    plumb_view across[3];
    const plumb_view *operands[3];
    pk_lanes l = {.n = from[0]->dim[axis]};
    for (int i = 0; i < 3; i++) {
        across[i] = *from[i];
        across[i].dim[axis] = 1;
        operands[i] = &across[i];
        l.step[i] = from[i]->stride[axis];
    }
    l.walk = plumb_cuda_walk(operands, 3);
    return l;
}

static plumb_status run_along(const plumb_call *call, enum pk_softmax what)
{
    pk_lanes l = lanes_of(call);
    return plumb_cuda_check(call, "plumb_k_softmax",
                            plumb_k_softmax(plumb_cuda_stream(call), what, (int)call->in[0].dtype, &l));
}

/* `weights` is the place of the class weights among the inputs. */
static pk_cross_entropy cross_entropy_of(const plumb_call *call, int weights)
{
    const plumb_attr_cross_entropy *attr = call->attr;
    double classes = (double)call->in[0].dim[1], e = attr->label_smoothing;
    pk_cross_entropy c = {
        .logits = plumb_cuda_view(&call->in[0]),
        .labels = plumb_cuda_view(&call->in[1]),
        .out = plumb_cuda_view(&call->out[0]),
        .miss = classes > 0 ? e / classes : 0,
        .ignore = attr->ignore_index,
        .use_ignore = attr->use_ignore_index,
        .logarithms = attr->logarithms,
        .fault = plumb_cuda_fault(call),
        .watch = plumb_cuda_watch(call, "label"),
    };
    c.hit = 1 - e + c.miss;
    if (call->n_in > weights) {
        c.weights = plumb_cuda_view(&call->in[weights]);
    }
    return c;
}

static plumb_status run_cross_entropy(const plumb_call *call)
{
    pk_cross_entropy c = cross_entropy_of(call, 2);
    c.weight = plumb_cuda_view(&call->out[1]);
    return plumb_cuda_check(call, "plumb_k_cross_entropy", plumb_k_cross_entropy(plumb_cuda_stream(call), &c));
}

static plumb_status run_cross_entropy_backward(const plumb_call *call)
{
    pk_cross_entropy c = cross_entropy_of(call, 3);
    c.dloss = plumb_cuda_view(&call->in[2]);
    return plumb_cuda_check(call, "plumb_k_cross_entropy_backward",
                            plumb_k_cross_entropy_backward(plumb_cuda_stream(call), &c));
}

#define ROW(op_name)                                                                                                  \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .run = run_##op_name,                                                                                         \
    };
#define ALONG(op_name, what)                                                                                          \
    static plumb_status run_##op_name(const plumb_call *call)                                                         \
    {                                                                                                                 \
        return run_along(call, what);                                                                                 \
    }                                                                                                                 \
    ROW(op_name)

ALONG(softmax, PK_SOFTMAX)
ALONG(softmax_backward, PK_SOFTMAX_BACKWARD)
ALONG(log_softmax, PK_LOG_SOFTMAX)
ALONG(log_softmax_backward, PK_LOG_SOFTMAX_BACKWARD)
ALONG(hardmax, PK_HARDMAX)
ROW(cross_entropy)
ROW(cross_entropy_backward)
