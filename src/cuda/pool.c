/* Pooling on the GPU. */
#include "cuda/cuda.h"

/* Sizes and options; x, y (dx, dy in the backward forms) and index are laid out as in pk_pooling. */
static pk_pooling pooling_of(const plumb_call *call, const plumb_view *x, const plumb_view *y, const plumb_view *index)
{
    const plumb_attr_pool2d *attr = call->attr;
    pk_pooling p = {
        .x = x->data,
        .y = y->data,
        .index = index ? index->data : NULL,
        .n = x->dim[0],
        .c = x->dim[1],
        .h = x->dim[2],
        .w = x->dim[3],
        .oh = y->dim[2],
        .ow = y->dim[3],
        .exclude_padding = attr->exclude_padding,
        .adaptive = attr->adaptive,
    };
    memcpy(p.x_stride, x->stride, sizeof p.x_stride);
    memcpy(p.y_stride, y->stride, sizeof p.y_stride);
    if (index) {
        memcpy(p.index_stride, index->stride, sizeof p.index_stride);
    }
    memcpy(p.window, attr->window, sizeof p.window);
    memcpy(p.step, attr->stride, sizeof p.step);
    memcpy(p.padding, attr->padding, sizeof p.padding);
    memcpy(p.dilation, attr->dilation, sizeof p.dilation);
    return p;
}

static plumb_status launch(const plumb_call *call, enum pk_pool what, const pk_pooling *p)
{
    return plumb_cuda_check(call, "plumb_k_pool2d",
                            plumb_k_pool2d(plumb_cuda_stream(call), what, (int)call->out[0].dtype, p));
}

static void watch_indices(const plumb_call *call, pk_pooling *p)
{
    p->fault = plumb_cuda_fault(call);
    p->watch = plumb_cuda_watch(call, "index");
}

static plumb_status run_max(const plumb_call *call)
{
    pk_pooling p = pooling_of(call, &call->in[0], &call->out[0], &call->out[1]);
    return launch(call, PK_MAX_POOL, &p);
}

/* One number for each plane. */
static size_t planes(const plumb_call *call)
{
    return sizeof(int32_t) * (size_t)(call->out[0].dim[0] * call->out[0].dim[1]);
}

static plumb_status run_max_backward(const plumb_call *call)
{
    pk_pooling p = pooling_of(call, &call->out[0], &call->in[0], &call->in[1]);
    p.elsewhere = call->workspace;
    watch_indices(call, &p);
    return launch(call, PK_MAX_POOL_BACKWARD, &p);
}

static plumb_status run_select(const plumb_call *call)
{
    pk_pooling p = pooling_of(call, &call->in[0], &call->out[0], &call->in[1]);
    watch_indices(call, &p);
    return launch(call, PK_MAX_POOL_SELECT, &p);
}

static plumb_status run_average(const plumb_call *call)
{
    pk_pooling p = pooling_of(call, &call->in[0], &call->out[0], NULL);
    return launch(call, PK_AVERAGE_POOL, &p);
}

static plumb_status run_average_backward(const plumb_call *call)
{
    pk_pooling p = pooling_of(call, &call->out[0], &call->in[0], NULL);
    return launch(call, PK_AVERAGE_POOL_BACKWARD, &p);
}

#define ROW(op_name, which_workspace, which_run)                                                                      \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .flags = PLUMB_IMPL_EXACT,                                                                                    \
        .workspace = (which_workspace),                                                                               \
        .run = (which_run),                                                                                           \
    };

ROW(max_pool2d, NULL, run_max)
ROW(max_pool2d_backward, planes, run_max_backward)
ROW(max_pool2d_select, NULL, run_select)
ROW(average_pool2d, NULL, run_average)
ROW(average_pool2d_backward, NULL, run_average_backward)
