/* Convolutions as graphs of cuDNN: the product, and for conv2d a bias and an activation behind it, whose inputs stay in the
 * engine. Arithmetic is f32, f64 for f64. A turned filter is the library's true convolution; padding is given for each
 * side, so what is asymmetric is the library's to refuse. */
#include "cuda/cudnn.h"

static uint32_t compute_of(const plumb_call *call)
{
    return call->out[0].dtype == PLUMB_F64 ? CD_DOUBLE : CD_FLOAT;
}

static plumb_cudnn_op *add_product(const plumb_call *call, plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind)
{
    const plumb_attr_conv2d *attr = call->attr;
    plumb_cudnn_op *op = plumb_cudnn_add(graph, kind, attr->flip ? CD_TRUE_CONVOLUTION : CD_CROSS_CORRELATION,
                                         compute_of(call));
    for (int i = 0; i < 2; i++) {
        op->before[i] = attr->padding[i];
        op->after[i] = attr->padding[i + 2];
        op->stride[i] = attr->stride[i];
        op->extent[i] = attr->dilation[i];
    }
    return op;
}

/* x, w[, bias] -> y: y, or what is added or activated to become it, is as wide as the arithmetic. */
static const char *write_forward(const plumb_call *call, plumb_cudnn_graph *graph)
{
    const plumb_attr_conv2d *attr = call->attr;
    static const uint32_t modes[] = {[PLUMB_ACTIVATION_RELU] = CD_POINTWISE_RELU_FWD,
                                     [PLUMB_ACTIVATION_SIGMOID] = CD_POINTWISE_SIGMOID_FWD,
                                     [PLUMB_ACTIVATION_TANH] = CD_POINTWISE_TANH_FWD};
    enum { X, W, Y };
    const uint32_t compute = compute_of(call);
    bool bias = call->n_in > 2, activation = attr->activation != PLUMB_ACTIVATION_NONE;
    plumb_cudnn_operand(graph, call, 0);
    plumb_cudnn_operand(graph, call, 1);
    plumb_cudnn_operand(graph, call, -1);
    int next = bias || activation ? plumb_cudnn_virtual(graph, Y, compute) : Y;
    plumb_cudnn_op *product = add_product(call, graph, PLUMB_CUDNN_CONV);
    product->tensor[0] = X + 1;
    product->tensor[1] = W + 1;
    product->tensor[2] = next + 1;
    if (bias) {
        plumb_cudnn_operand(graph, call, 2);
        plumb_cudnn_op *sum = plumb_cudnn_add(graph, PLUMB_CUDNN_POINTWISE, CD_POINTWISE_ADD, compute);
        sum->tensor[0] = next + 1;
        sum->tensor[1] = graph->n_tensors;
        next = activation ? plumb_cudnn_virtual(graph, Y, compute) : Y;
        sum->tensor[2] = next + 1;
    }
    if (activation) {
        plumb_cudnn_op *op = plumb_cudnn_add(graph, PLUMB_CUDNN_POINTWISE, modes[attr->activation], compute);
        op->tensor[0] = next + 1;
        op->tensor[2] = Y + 1;
    }
    return NULL;
}

/* Roles are in the order of the op's inputs and then its output: dy, w -> dx; x, dy -> dw. */
static const char *write_backward(const plumb_call *call, plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind)
{
    plumb_cudnn_operand(graph, call, 0);
    plumb_cudnn_operand(graph, call, 1);
    plumb_cudnn_operand(graph, call, -1);
    plumb_cudnn_op *product = add_product(call, graph, kind);
    for (int i = 0; i < 3; i++) {
        product->tensor[i] = i + 1;
    }
    return NULL;
}

static const char *write_data(const plumb_call *call, plumb_cudnn_graph *graph)
{
    return write_backward(call, graph, PLUMB_CUDNN_CONV_DATA);
}

static const char *write_filter(const plumb_call *call, plumb_cudnn_graph *graph)
{
    return write_backward(call, graph, PLUMB_CUDNN_CONV_FILTER);
}

PLUMB_CUDNN_IMPL(conv2d, PLUMB_FLOATS, PLUMB_IMPL_EXACT, write_forward)
PLUMB_CUDNN_IMPL(conv2d_backward_data, PLUMB_FLOATS, PLUMB_IMPL_EXACT, write_data)
PLUMB_CUDNN_IMPL(conv2d_backward_filter, PLUMB_FLOATS, PLUMB_IMPL_EXACT, write_filter)
