/* Non-maximum suppression and RoI align on the GPU. */
#include "cuda/cuda.h"

static int64_t most_of(const plumb_call *call)
{
    int64_t most = ((const plumb_attr_nms *)call->attr)->most, boxes = call->in[0].dim[1];
    return most > 0 && most < boxes ? most : boxes;
}

static plumb_status run_nms(const plumb_call *call)
{
    const plumb_attr_nms *attr = call->attr;
    pk_nms p = {
        .boxes = plumb_cuda_view(&call->in[0]),
        .scores = plumb_cuda_view(&call->in[1]),
        .selection = plumb_cuda_view(&call->out[0]),
        .count = call->out[1].data,
        .workspace = call->workspace,
        .most = most_of(call),
        .overlap = attr->overlap,
        .score = attr->score,
        .centre = attr->centre,
        .inclusive = attr->inclusive,
    };
    return plumb_cuda_check(call, "plumb_k_nms", plumb_k_nms(plumb_cuda_stream(call), (int)call->in[0].dtype, &p));
}

static size_t workspace_nms(const plumb_call *call)
{
    const plumb_view *scores = &call->in[1];
    return plumb_k_nms_bytes(scores->dim[0] * scores->dim[1], scores->dim[2], most_of(call));
}

static pk_roi roi_of(const plumb_call *call, const plumb_view *x, const plumb_view *y)
{
    const plumb_attr_roi *attr = call->attr;
    return (pk_roi){
        .x = plumb_cuda_view(x),
        .rois = plumb_cuda_view(&call->in[1]),
        .batch = plumb_cuda_view(&call->in[2]),
        .y = plumb_cuda_view(y),
        .scale = attr->scale,
        .sampling = attr->sampling,
        .workspace = call->workspace,
        .fault = plumb_cuda_fault(call),
        .watch = plumb_cuda_watch(call, "picture"),
        .aligned = attr->aligned,
    };
}

static plumb_status run_roi_align(const plumb_call *call)
{
    pk_roi r = roi_of(call, &call->in[0], &call->out[0]);
    return plumb_cuda_check(call, "plumb_k_roi_align",
                            plumb_k_roi_align(plumb_cuda_stream(call), (int)call->in[0].dtype, &r));
}

static size_t workspace_roi_align_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *dx = &call->out[0];
    return plumb_k_roi_align_backward_bytes(dy->dim[0], dy->dim[2], dx->dim[2], dy->dim[3], dx->dim[3]);
}

static plumb_status run_roi_align_backward(const plumb_call *call)
{
    pk_roi r = roi_of(call, &call->out[0], &call->in[0]);
    return plumb_cuda_check(call, "plumb_k_roi_align_backward",
                            plumb_k_roi_align_backward(plumb_cuda_stream(call), (int)call->in[0].dtype, &r));
}

#define ROW(op_name, short_name, which_flags, bytes)                                                                  \
    const plumb_impl plumb_impl_##op_name##_cuda = {.op = &plumb_op_##op_name,                                        \
                                                    .name = "cuda.native",                                            \
                                                    .dtypes = PLUMB_FLOATS,                                           \
                                                    .flags = (which_flags),                                           \
                                                    .workspace = bytes,                                               \
                                                    .run = run_##short_name};
ROW(non_max_suppression, nms, PLUMB_IMPL_EXACT, workspace_nms)
ROW(roi_align, roi_align, 0, NULL)
ROW(roi_align_backward, roi_align_backward, 0, workspace_roi_align_backward)
