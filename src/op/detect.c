/* Ops of object detection that are kernels of their own: non-maximum suppression, and RoI align with its adjoint. What is a
 * composition (overlaps, encoding, anchors) is in boxes.c.
 *
 * Decided here:
 * - Non-maximum suppression is greedy for each class of each picture: of the boxes whose score is above the threshold the
 *   best is selected, of equal ones the first, and those that overlap it by more than the threshold are dropped (by as much
 *   or more, if `inclusive`). A score that is not a number is never selected, nor minus infinity; boxes with an overlap that
 *   is none drop nothing. Overlaps are computed in double, each step rounded, so that all providers select the same.
 * - The selection has room for all that could be selected; rows behind the `count` that were are -1.
 * - RoI align averages bilinear samples (He et al. 2017). Samples more than one element outside are 0, others outside lie on
 *   the edge. A bin of no size, or of more than 4096 elements where these say how many samples it takes, is 0. It is linear
 *   in x, which alone has a gradient. */
#include "op/attr.h"

#include <math.h>

/* ---- non-maximum suppression ---- */

static plumb_status infer_nms(plumb_infer *q)
{
    const plumb_attr_nms *attr = q->attr;
    const plumb_shape *boxes = &q->in[0].shape, *scores = &q->in[1].shape;
    char a[160], b[160];
    if (plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1))
        return PLUMB_BAD_INPUT;
    if (boxes->rank != 3 || scores->rank != 3 || boxes->dim[2] != 4 || !plumb_dims_agree(boxes->dim[0], scores->dim[0]) ||
        !plumb_dims_agree(boxes->dim[1], scores->dim[2]))
        return plumb_refuse(q, "boxes (N, B, 4) and scores (N, C, B) are expected, not %s and %s",
                            plumb_shape_text(boxes, a, sizeof a), plumb_shape_text(scores, b, sizeof b));
    if (attr->most < 0 || attr->score != attr->score || attr->overlap != attr->overlap)
        return plumb_refuse(q, "at most %lld boxes, scores above %g, overlaps below %g", (long long)attr->most, attr->score,
                            attr->overlap);
    int64_t n = scores->dim[0], c = scores->dim[1], each = scores->dim[2], rows = 0;
    bool known = n >= 0 && c >= 0 && each >= 0;
    each = attr->most > 0 && attr->most < each ? attr->most : each;
    if (known && (!plumb_mul_size(n, c, &rows) || !plumb_mul_size(rows, each, &rows)))
        return plumb_refuse(q, "the size of the selection overflows");
    q->out[0] = (plumb_type){.dtype = PLUMB_I64, .shape = PLUMB_SHAPE(known ? rows : PLUMB_UNKNOWN, 3)};
    q->out[1] = (plumb_type){.dtype = PLUMB_I64, .shape = PLUMB_SCALAR_SHAPE};
    return PLUMB_OK;
}

static plumb_status nms_gradient(plumb_grad *q)
{
    q->din[0] = q->din[1] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static void print_nms(const void *attr, struct plumb_text *text)
{
    const plumb_attr_nms *a = attr;
    plumb_text_add(text, "most=%lld score>%g overlap%s%g", (long long)a->most, a->score, a->inclusive ? "<" : "<=",
                   a->overlap);
}

/* ---- RoI align ---- */

static plumb_status need_rois(const plumb_infer *q, const plumb_shape *x, plumb_shape *y)
{
    const plumb_attr_roi *attr = q->attr;
    const plumb_shape *rois = &q->in[1].shape, *batch = &q->in[2].shape;
    char a[160], b[160], c[160];
    if (plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1) || plumb_need_index(q, 2))
        return PLUMB_BAD_INPUT;
    if (x->rank != 4 || rois->rank != 2 || rois->dim[1] != 4 || batch->rank != 1 ||
        !plumb_dims_agree(rois->dim[0], batch->dim[0]))
        return plumb_refuse(q, "pictures (N, C, H, W), boxes (K, 4) and picture numbers (K) are expected, not %s, %s and %s",
                            plumb_shape_text(x, a, sizeof a), plumb_shape_text(rois, b, sizeof b),
                            plumb_shape_text(batch, c, sizeof c));
    if (attr->height < 1 || attr->width < 1 || attr->sampling < 0 || !(attr->scale > 0))
        return plumb_refuse(q, "%lld x %lld bins, %lld samples, a scale of %g", (long long)attr->height,
                            (long long)attr->width, (long long)attr->sampling, attr->scale);
    *y = PLUMB_SHAPE(rois->dim[0], x->dim[1], attr->height, attr->width);
    return PLUMB_OK;
}

static plumb_status infer_roi_align(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    return need_rois(q, &q->in[0].shape, &q->out[0].shape);
}

static plumb_status infer_roi_align_backward(plumb_infer *q)
{
    plumb_shape x, y;
    if (plumb_lent_shape(q, &x) || need_rois(q, &x, &y) || plumb_need_made(q, 0, &y, "RoI align"))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

static plumb_status roi_align_gradient(plumb_grad *q)
{
    plumb_attr_roi attr = *(const plumb_attr_roi *)q->attr;
    attr.shape.rank = -1;
    q->din[1] = q->din[2] = PLUMB_NO_GRADIENT;
    if (q->want[0])
        q->din[0] = plumb_emit(q->graph, &plumb_op_roi_align_backward, &attr,
                               (const plumb_t[]){q->dout[0], q->in[1], q->in[2], q->in[0]}, 4);
    return PLUMB_OK;
}

static plumb_status roi_align_backward_gradient(plumb_grad *q)
{
    plumb_attr_roi attr = *(const plumb_attr_roi *)q->attr;
    memset(&attr.shape, 0, sizeof attr.shape);
    for (int i = 1; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    if (q->want[0])
        q->din[0] = plumb_emit(q->graph, &plumb_op_roi_align, &attr, (const plumb_t[]){q->dout[0], q->in[1], q->in[2]}, 3);
    return PLUMB_OK;
}

static double terms_roi(const plumb_call *call) { return 16 * (double)plumb_view_count(&call->in[2]); }

static void print_roi(const void *attr, struct plumb_text *text)
{
    const plumb_attr_roi *a = attr;
    plumb_text_add(text, "%lldx%lld scale=%g sampling=%lld%s", (long long)a->height, (long long)a->width, a->scale,
                   (long long)a->sampling, a->aligned ? " aligned" : "");
}

const plumb_op plumb_op_non_max_suppression = {
    .name = "non_max_suppression",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .attr_size = sizeof(plumb_attr_nms),
    .infer = infer_nms,
    .gradient = nms_gradient,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_nms,
};

const plumb_op plumb_op_roi_align = {
    .name = "roi_align",
    .min_in = 3,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_roi),
    .infer = infer_roi_align,
    .gradient = roi_align_gradient,
    .terms = terms_roi,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_roi,
};

const plumb_op plumb_op_roi_align_backward = {
    .name = "roi_align_backward",
    .min_in = 3,
    .max_in = 4,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_roi),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_roi_align_backward,
    .gradient = roi_align_backward_gradient,
    .terms = terms_roi,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_roi,
};

/* ---- builders ---- */

plumb_t plumb_non_max_suppression(plumb_graph *g, plumb_t boxes, plumb_t scores, const plumb_nms_options *options)
{
    plumb_nms_options o = {.size = 0};
    plumb_attr_nms attr;
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    memset(&attr, 0, sizeof attr);
    attr.most = o.most;
    attr.overlap = o.overlap;
    attr.score = o.use_score ? o.score : -HUGE_VAL;
    attr.centre = o.centre;
    attr.inclusive = o.inclusive;
    return plumb_emit(g, &plumb_op_non_max_suppression, &attr, (const plumb_t[]){boxes, scores}, 2);
}

plumb_t plumb_roi_align(plumb_graph *g, plumb_t x, plumb_t rois, plumb_t batch, const plumb_roi_options *options)
{
    plumb_roi_options o = {.size = 0};
    plumb_attr_roi attr;
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    memset(&attr, 0, sizeof attr);
    int64_t fine = o.max ? o.sampling : 1;
    attr.height = (o.height ? o.height : 1) * fine;
    attr.width = (o.width ? o.width : 1) * fine;
    attr.scale = o.scale != 0 ? o.scale : 1;
    attr.sampling = o.max ? 1 : o.sampling;
    attr.aligned = o.aligned;
    if (o.max && o.sampling < 1)
        return plumb_poison(g, "roi_align: the largest of samples needs their number, got %lld", (long long)o.sampling);
    plumb_t y = plumb_emit(g, &plumb_op_roi_align, &attr, (const plumb_t[]){x, rois, batch}, 3);
    if (!o.max || y == PLUMB_NONE)
        return y;
    plumb_shape s = plumb_shape_of(g, y); /* each sample a bin of its own */
    y = plumb_reshape(g, y, PLUMB_SHAPE(s.dim[0], s.dim[1], s.dim[2] / fine, fine, s.dim[3] / fine, fine));
    return plumb_max(g, y, PLUMB_AXES(3, 5), false);
}
