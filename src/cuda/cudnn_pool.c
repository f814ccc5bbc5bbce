/* Average pooling as graphs of cuDNN. Maximum pooling is not given to it: our op returns where each maximum lay, as i64,
 * and which of equal values wins is part of what it promises; the library's index is a private code of the window. */
#include "cuda/cudnn.h"

/* The last window must end within the padded picture: with ceil_mode it may not, and then divisors are ours. */
static bool windows_fit(const plumb_attr_pool2d *attr, const plumb_view *x, const plumb_view *y)
{
    for (int i = 0; i < 2; i++) {
        int64_t end = (y->dim[i + 2] - 1) * attr->stride[i] + attr->window[i];
        if (end > attr->padding[i] + x->dim[i + 2] + attr->padding[i + 2]) {
            return false;
        }
    }
    return true;
}

static const char *write_average(const plumb_call *call, plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind,
                                 const plumb_view *x, const plumb_view *y)
{
    const plumb_attr_pool2d *attr = call->attr;
    if (attr->adaptive || !windows_fit(attr, x, y)) {
        return "a window ends beyond the padding, or is a bin";
    }
    plumb_cudnn_operand(graph, call, 0);
    plumb_cudnn_operand(graph, call, -1);
    plumb_cudnn_op *op =
        plumb_cudnn_add(graph, kind, attr->exclude_padding ? CD_AVGPOOL_EXCLUDE_PADDING : CD_AVGPOOL_INCLUDE_PADDING,
                        x->dtype == PLUMB_F64 ? CD_DOUBLE : CD_FLOAT);
    op->tensor[0] = 1;
    op->tensor[1] = 2;
    for (int i = 0; i < 2; i++) {
        op->before[i] = attr->padding[i];
        op->after[i] = attr->padding[i + 2];
        op->stride[i] = attr->stride[i];
        op->extent[i] = attr->window[i];
    }
    return NULL;
}

static const char *write_forward(const plumb_call *call, plumb_cudnn_graph *graph)
{
    return write_average(call, graph, PLUMB_CUDNN_RESAMPLE, &call->in[0], &call->out[0]);
}

static const char *write_backward(const plumb_call *call, plumb_cudnn_graph *graph)
{
    return write_average(call, graph, PLUMB_CUDNN_RESAMPLE_BACKWARD, &call->out[0], &call->in[0]);
}

PLUMB_CUDNN_IMPL(average_pool2d, PLUMB_FLOATS, 0, write_forward)
PLUMB_CUDNN_IMPL(average_pool2d_backward, PLUMB_FLOATS, 0, write_backward)
