/* Lookup: rows of a tensor by index, the scatter-add that undoes it, and one-hot vectors.
 *
 * Decided here:
 * - gather is NumPy's take: out = x.shape[:axis] + indices.shape + x.shape[axis+1:]; an index i in [-n, n) is allowed,
 *   negative ones count from the end; others are an error of the run that names index and position.
 * - gather_backward adds up what fell on the same row in the order of the indices, so the result does not depend on
 *   threads; indices outside the range are errors there too.
 * - one_hot of an index outside [0, classes) is all zeros (no counting from the end): that is how a missing label is
 *   written. ONNX's form (one_hot_of) counts from the end. The result has no gradient, being a function of integers. */
#include "op/attr.h"

static plumb_status infer_gather(plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape, *index = &q->in[1].shape;
    int axis = ((const plumb_attr_gather *)q->attr)->axis, rank = x->rank - 1 + index->rank;
    if (plumb_need_index(q, 1) || plumb_need_axis(q, x->rank, &axis))
        return PLUMB_BAD_INPUT;
    if (rank > PLUMB_MAX_RANK)
        return plumb_refuse(q, "the result would have rank %d, at most %d is possible", rank, PLUMB_MAX_RANK);
    plumb_type *out = &q->out[0];
    out->dtype = q->in[0].dtype;
    out->shape.rank = 0;
    for (int i = 0; i < axis; i++)
        out->shape.dim[out->shape.rank++] = x->dim[i];
    for (int i = 0; i < index->rank; i++)
        out->shape.dim[out->shape.rank++] = index->dim[i];
    for (int i = axis + 1; i < x->rank; i++)
        out->shape.dim[out->shape.rank++] = x->dim[i];
    return PLUMB_OK;
}

static plumb_status infer_gather_backward(plumb_infer *q)
{
    const plumb_attr_gather *attr = q->attr;
    plumb_shape x;
    if (plumb_lent_shape(q, &x))
        return PLUMB_BAD_INPUT;
    const plumb_shape *dy = &q->in[0].shape, *index = &q->in[1].shape;
    int axis = attr->axis;
    if (plumb_need_float(q, 0) || plumb_need_index(q, 1) || plumb_need_axis(q, x.rank, &axis))
        return PLUMB_BAD_INPUT;
    bool agree = dy->rank == x.rank - 1 + index->rank;
    for (int i = 0; agree && i < dy->rank; i++) {
        int64_t want = i < axis                 ? x.dim[i]
                       : i < axis + index->rank ? index->dim[i - axis]
                                                : x.dim[i - index->rank + 1];
        agree = plumb_dims_agree(dy->dim[i], want);
    }
    char a[160], b[160], c[160];
    if (!agree)
        return plumb_refuse(
            q, "a gradient of shape %s does not come from gathering %s at indices %s along axis %d",
            plumb_shape_text(dy, a, sizeof a), plumb_shape_text(&x, b, sizeof b),
            plumb_shape_text(index, c, sizeof c), axis);
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

static plumb_status infer_one_hot(plumb_infer *q)
{
    const plumb_attr_one_hot *attr = q->attr;
    if (plumb_need_index(q, 0))
        return PLUMB_BAD_INPUT;
    if (attr->classes < 0)
        return plumb_refuse(q, "%lld classes", (long long)attr->classes);
    if (plumb_dtype_size(attr->made.dtype) == 0)
        return plumb_refuse(q, "invalid dtype %d", (int)attr->made.dtype);
    const plumb_shape *indices = &q->in[0].shape;
    int axis = attr->axis;
    if (indices->rank == PLUMB_MAX_RANK)
        return plumb_refuse(q, "the indices have rank %d already", PLUMB_MAX_RANK);
    if (plumb_need_axis(q, indices->rank + 1, &axis))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = attr->made.dtype, .shape = {.rank = indices->rank + 1}};
    for (int d = 0; d < indices->rank; d++)
        q->out[0].shape.dim[d < axis ? d : d + 1] = indices->dim[d];
    q->out[0].shape.dim[axis] = attr->classes;
    return PLUMB_OK;
}

static plumb_status gradient_gather(plumb_grad *q)
{
    q->din[1] = PLUMB_NO_GRADIENT;
    if (!q->want[0])
        return PLUMB_OK;
    plumb_attr_gather attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    attr.axis = ((const plumb_attr_gather *)q->attr)->axis;
    q->din[0] = plumb_emit(q->graph, &plumb_op_gather_backward, &attr,
                           (const plumb_t[]){q->dout[0], q->in[1], q->in[0]}, 3);
    return PLUMB_OK;
}

/* The adjoint of the adjoint is gather again. The lender gives its shape only. */
static plumb_status gradient_gather_backward(plumb_grad *q)
{
    const plumb_attr_gather *attr = q->attr;
    if (q->want[0])
        q->din[0] = plumb_gather(q->graph, q->dout[0], q->in[1], attr->axis);
    for (int i = 1; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status no_gradient(plumb_grad *q)
{
    q->din[0] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* At most every index falls on one element. */
static double terms_indices(const plumb_call *call) { return (double)plumb_view_count(&call->in[1]); }
static double flops_none(const plumb_call *call)
{
    (void)call;
    return 0;
}
static double flops_scatter(const plumb_call *call) { return (double)plumb_view_count(&call->in[0]); }

static void print_gather(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "axis=%d", ((const plumb_attr_gather *)attr)->axis);
}

static void print_one_hot(const void *attr, struct plumb_text *text)
{
    const plumb_attr_one_hot *a = attr;
    plumb_text_add(text, "classes=%lld", (long long)a->classes);
    if (a->axis != -1)
        plumb_text_add(text, " axis=%d", (int)a->axis);
    if (a->on != 1 || a->off != 0)
        plumb_text_add(text, " on=%g off=%g", a->on, a->off);
}

const plumb_op plumb_op_gather = {
    .name = "gather",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_gather),
    .infer = infer_gather,
    .gradient = gradient_gather,
    .flops = flops_none,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_gather,
    .precision = PLUMB_PRECISION_FOLLOW,
};

const plumb_op plumb_op_gather_backward = {
    .name = "gather_backward",
    .min_in = 2,
    .max_in = 3,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_gather),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_gather_backward,
    .gradient = gradient_gather_backward,
    .flops = flops_scatter,
    .terms = terms_indices,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_gather,
    .precision = PLUMB_PRECISION_FOLLOW,
};

const plumb_op plumb_op_one_hot = {
    .name = "one_hot",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_one_hot),
    .flags = PLUMB_OP_DTYPE,
    .infer = infer_one_hot,
    .gradient = no_gradient,
    .flops = flops_none,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_one_hot,
};

/* Valid negative axes are counted from the end here, so that equal ops have equal attributes; the shape rule refuses
 * the rest. */
plumb_t plumb_gather(plumb_graph *g, plumb_t x, plumb_t indices, int axis)
{
    plumb_attr_gather attr;
    memset(&attr, 0, sizeof attr);
    int rank = plumb_shape_of(g, x).rank;
    attr.axis = axis < 0 && axis >= -rank ? axis + rank : axis;
    return plumb_emit(g, &plumb_op_gather, &attr, (const plumb_t[]){x, indices}, 2);
}

plumb_t plumb_embedding(plumb_graph *g, plumb_t table, plumb_t indices)
{
    plumb_shape shape = plumb_shape_of(g, table);
    if (plumb_graph_status(g) == PLUMB_OK && shape.rank != 2) {
        char text[160];
        return plumb_poison(g, "embedding: the table must have shape (words, features), got %s",
                            plumb_shape_text(&shape, text, sizeof text));
    }
    return plumb_gather(g, table, indices, 0);
}

plumb_t plumb_one_hot(plumb_graph *g, plumb_t indices, int64_t classes, plumb_dtype dtype)
{
    plumb_attr_one_hot attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.classes = classes;
    attr.axis = -1;
    attr.on = 1;
    return plumb_emit(g, &plumb_op_one_hot, &attr, &indices, 1);
}

plumb_t plumb_one_hot_of(plumb_graph *g, plumb_t indices, int64_t classes, plumb_dtype dtype, int axis, double on, double off)
{
    plumb_attr_one_hot attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.classes = classes;
    int rank = plumb_shape_of(g, indices).rank + 1; /* the last axis is written -1, as plumb_one_hot does */
    attr.axis = axis == rank - 1 ? -1 : axis < -1 && axis >= -rank ? axis + rank : axis;
    attr.from_end = 1;
    attr.on = on;
    attr.off = off;
    return plumb_emit(g, &plumb_op_one_hot, &attr, &indices, 1);
}
