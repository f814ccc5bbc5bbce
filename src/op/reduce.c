/* Ops that make fewer elements out of many: sums, means, extrema over axes, the adjoint of expand, and the
 * two checks over many tensors that training steps are gated by. Further reductions are in statistics.c.
 *
 * Decided here: a sum over nothing is 0, a mean over nothing is not a number (of integers refused), a maximum over
 * nothing is refused. A mean of integers is their sum (64 bits, wrapping) divided toward zero. Axes are a bit mask once built. A gradient finds its way back by broadcasting: reduced dimensions
 * are put back at size 1 where alignment at the right would not do, and the tensor that was reduced lends its
 * shape, which may be symbolic. */
#include "op/reduce.h"

uint32_t plumb_reduced_axes(const plumb_attr_reduce *attr, int rank)
{
    return attr->all ? (1u << rank) - 1u : attr->axes;
}

plumb_status plumb_infer_reduce(plumb_infer *q)
{
    const plumb_attr_reduce *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    plumb_shape *out = &q->out[0].shape;
    uint32_t axes = plumb_reduced_axes(attr, x->rank);
    if (axes >> x->rank) {
        char text[160];
        return plumb_refuse(q, "an axis is outside the shape %s", plumb_shape_text(x, text, sizeof text));
    }
    q->out[0].dtype = q->in[0].dtype;
    out->rank = 0;
    for (int d = 0; d < x->rank; d++) {
        bool reduced = axes >> d & 1;
        if (!reduced || attr->keep) {
            out->dim[out->rank++] = reduced ? 1 : x->dim[d];
        }
    }
    return PLUMB_OK;
}

/* For what makes no sense of no elements. */
static plumb_status infer_extremum(plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape;
    uint32_t axes = plumb_reduced_axes(q->attr, x->rank);
    char text[160];
    for (int d = 0; d < x->rank; d++) {
        if (axes >> d & 1 && x->dim[d] == 0) {
            return plumb_refuse(q, "nothing is there along axis %d of %s", d,
                                plumb_shape_text(x, text, sizeof text));
        }
    }
    return plumb_infer_reduce(q);
}

static plumb_status infer_mean(plumb_infer *q)
{
    return plumb_dtype_is_float(q->in[0].dtype) ? plumb_infer_reduce(q) : infer_extremum(q);
}

static plumb_status infer_arg(plumb_infer *q)
{
    plumb_attr_reduce attr = *(const plumb_attr_reduce *)q->attr;
    plumb_infer along = *q;
    int axis = attr.axis;
    if (plumb_need_axis(q, q->in[0].shape.rank, &axis)) {
        return PLUMB_BAD_INPUT;
    }
    attr.axes = 1u << axis;
    attr.all = 0;
    along.attr = &attr;
    if (infer_extremum(&along)) {
        return PLUMB_BAD_INPUT;
    }
    q->out[0].dtype = PLUMB_I64;
    return PLUMB_OK;
}

static plumb_status infer_sum_to(plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape;
    plumb_shape to;
    if (plumb_lent_shape(q, &to)) {
        return PLUMB_BAD_INPUT;
    }
    bool fits = to.rank <= x->rank;
    for (int d = 0; fits && d < to.rank; d++) {
        fits = to.dim[d] == 1 || plumb_dims_agree(to.dim[d], x->dim[d + x->rank - to.rank]);
    }
    char a[160], b[160];
    if (!fits) {
        return plumb_refuse(q, "shape %s is not %s stretched", plumb_shape_text(x, a, sizeof a),
                            plumb_shape_text(&to, b, sizeof b));
    }
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = to};
    return PLUMB_OK;
}

static plumb_status infer_all_finite(plumb_infer *q)
{
    for (int i = 0; i < q->n_in; i++) {
        if (plumb_need_float(q, i)) {
            return PLUMB_BAD_INPUT;
        }
    }
    q->out[0] = (plumb_type){.dtype = PLUMB_U8, .shape = PLUMB_SCALAR_SHAPE};
    return PLUMB_OK;
}

static plumb_status infer_sum_squares(plumb_infer *q)
{
    if (infer_all_finite(q)) {
        return PLUMB_BAD_INPUT;
    }
    for (int i = 1; i < q->n_in; i++) {
        if (plumb_need_same_dtype(q, 0, i)) {
            return PLUMB_BAD_INPUT;
        }
    }
    q->out[0].dtype = q->in[0].dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32;
    return PLUMB_OK;
}

/* ---- gradients ---- */

/* `d`, of the result's shape, made to broadcast against the operand: reduced dimensions return at size 1.
 * Where they were kept, or all stood in front, `d` does so already. Otherwise a reduction that keeps them
 * lends its shape. */
plumb_t plumb_unreduced(const plumb_grad *q, plumb_t d)
{
    plumb_attr_reduce attr = *(const plumb_attr_reduce *)q->attr;
    uint32_t axes = plumb_reduced_axes(&attr, plumb_shape_of(q->graph, q->in[0]).rank);
    if (attr.keep || (axes & (axes + 1)) == 0) {
        return d;
    }
    attr.keep = 1;
    attr.last = attr.correction = 0;
    return plumb_reshape_like(q->graph, d, plumb_emit(q->graph, &plumb_op_sum, &attr, q->in, 1));
}

static plumb_status sum_gradient(plumb_grad *q)
{
    q->din[0] = plumb_expand_like(q->graph, plumb_unreduced(q, q->dout[0]), q->in[0]);
    return PLUMB_OK;
}

/* One over the number of elements reduced, less some, while that number is still a symbol: ones are summed, in f32 at
 * least because f16 ends at 65504. */
static plumb_t one_over_count(const plumb_grad *q, plumb_dtype dtype, int less)
{
    plumb_graph *g = q->graph;
    plumb_attr_leaf ones;
    plumb_attr_reduce attr = *(const plumb_attr_reduce *)q->attr;
    memset(&ones, 0, sizeof ones);
    ones.made.shape.rank = -1;
    ones.made.dtype = dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32;
    ones.value = 1;
    attr.correction = 0;
    plumb_t count = plumb_emit(g, &plumb_op_full, &ones, q->in, 1);
    count = plumb_emit(g, &plumb_op_sum, &attr, &count, 1);
    plumb_t inverse = plumb_reciprocal(g, less ? plumb_affine(g, count, 1, -less) : count);
    return dtype == ones.made.dtype ? inverse : plumb_cast(g, inverse, dtype);
}

plumb_t plumb_over_count(const plumb_grad *q, plumb_t d, int less)
{
    plumb_shape x = plumb_shape_of(q->graph, q->in[0]), over = {0};
    uint32_t axes = plumb_reduced_axes(q->attr, x.rank);
    for (int i = 0; i < x.rank; i++) {
        if (axes >> i & 1) {
            over.dim[over.rank++] = x.dim[i];
        }
    }
    int64_t count = plumb_shape_count(&over);
    if (count < 0) {
        return plumb_mul(q->graph, d, one_over_count(q, plumb_dtype_of(q->graph, q->in[0]), less));
    }
    return plumb_affine(q->graph, d, 1.0 / (double)(count > less ? count - less : 1), 0);
}

static plumb_status mean_gradient(plumb_grad *q)
{
    q->din[0] = plumb_expand_like(q->graph, plumb_unreduced(q, plumb_over_count(q, q->dout[0], 0)), q->in[0]);
    return PLUMB_OK;
}

/* Where an element equals the extremum: u8 of the operand's shape. */
static plumb_t chosen(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    plumb_grad q = {.graph = graph, .attr = attr, .in = in};
    return plumb_equal(graph, in[0], plumb_unreduced(&q, out[0]));
}

static plumb_status extremum_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_dtype dtype = plumb_dtype_of(g, q->in[0]);
    plumb_t mask = plumb_cast(g, chosen(g, q->attr, q->in, q->out), dtype);
    plumb_t ties = plumb_emit(g, &plumb_op_sum, q->attr, &mask, 1);
    q->din[0] = plumb_mul(g, mask, plumb_unreduced(q, plumb_div(g, q->dout[0], ties)));
    return PLUMB_OK;
}

static plumb_status sum_to_gradient(plumb_grad *q)
{
    for (int i = 1; i < q->n_in; i++) {
        q->din[i] = PLUMB_NO_GRADIENT;
    }
    if (q->want[0]) {
        q->din[0] = plumb_expand_like(q->graph, q->dout[0], q->in[0]);
    }
    return PLUMB_OK;
}

plumb_status plumb_reduce_no_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++) {
        q->din[i] = PLUMB_NO_GRADIENT;
    }
    return PLUMB_OK;
}

static plumb_status sum_squares_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_dtype dtype = plumb_dtype_of(g, q->in[0]);
    plumb_t d = plumb_dtype_of(g, q->dout[0]) == dtype ? q->dout[0] : plumb_cast(g, q->dout[0], dtype);
    for (int i = 0; i < q->n_in; i++) {
        if (q->want[i]) {
            q->din[i] = plumb_mul(g, plumb_affine(g, q->in[i], 2, 0), d);
        }
    }
    return PLUMB_OK;
}

/* ---- facts ---- */

double plumb_reduce_reads(const plumb_call *call)
{
    double count = 0;
    for (int i = 0; i < call->n_in; i++) {
        count += (double)plumb_view_count(&call->in[i]);
    }
    return count;
}

double plumb_reduce_terms(const plumb_call *call)
{
    int64_t results = plumb_view_count(&call->out[0]);
    return (double)plumb_view_count(&call->in[0]) / (double)(results > 0 ? results : 1);
}

static double square_and_add(const plumb_call *call) { return 2 * plumb_reduce_reads(call); }

static plumb_t the_result(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

/* Nothing to sum: the elements as they lie, without the leading dimensions of size 1 that are gone. */
static bool view_sum_to(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    (void)attr;
    if (plumb_view_count(in) != plumb_view_count(out)) {
        return false;
    }
    for (int d = 0; d < out->rank; d++) {
        out->stride[d] = in->stride[d + in->rank - out->rank];
    }
    *offset = 0;
    return true;
}

void plumb_print_reduce(const void *attr, struct plumb_text *text)
{
    const plumb_attr_reduce *a = attr;
    const char *gap = "axes=";
    for (int d = 0; !a->all && d < PLUMB_MAX_RANK; d++) {
        if (a->axes >> d & 1) {
            plumb_text_add(text, "%s%d", gap, d);
            gap = ",";
        }
    }
    plumb_text_add(text, "%s%s", a->all ? "all axes" : "", a->keep ? " kept" : "");
    if (a->correction) {
        plumb_text_add(text, " correction=%d", a->correction);
    }
}

static void print_arg(const void *attr, struct plumb_text *text)
{
    const plumb_attr_reduce *a = attr;
    plumb_text_add(text, "axis=%d%s%s", a->axis, a->keep ? " kept" : "", a->last ? " last" : "");
}

PLUMB_REDUCE(sum, plumb_infer_reduce, sum_gradient, .tolerance = PLUMB_TOL_DOT, .print = plumb_print_reduce,
             .precision = PLUMB_PRECISION_ADJOINT)
PLUMB_REDUCE(mean, infer_mean, mean_gradient, .tolerance = PLUMB_TOL_DOT, .print = plumb_print_reduce)
PLUMB_REDUCE(max, infer_extremum, extremum_gradient, .tolerance = PLUMB_TOL_EXACT, .print = plumb_print_reduce,
             .branch = chosen, .precision = PLUMB_PRECISION_FOLLOW)
PLUMB_REDUCE(min, infer_extremum, extremum_gradient, .tolerance = PLUMB_TOL_EXACT, .print = plumb_print_reduce,
             .branch = chosen, .precision = PLUMB_PRECISION_FOLLOW)
PLUMB_REDUCE(argmax, infer_arg, plumb_reduce_no_gradient, .tolerance = PLUMB_TOL_EXACT, .print = print_arg,
             .branch = the_result, .precision = PLUMB_PRECISION_FOLLOW)
PLUMB_REDUCE(argmin, infer_arg, plumb_reduce_no_gradient, .tolerance = PLUMB_TOL_EXACT, .print = print_arg,
             .branch = the_result, .precision = PLUMB_PRECISION_FOLLOW)

const plumb_op plumb_op_sum_to = {
    .name = "sum_to",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_shape),
    .flags = PLUMB_OP_LIKE,
    .infer = infer_sum_to,
    .gradient = sum_to_gradient,
    .view = view_sum_to,
    .flops = plumb_reduce_reads,
    .terms = plumb_reduce_terms,
    .tolerance = PLUMB_TOL_DOT,
    .print = plumb_print_shape,
    .precision = PLUMB_PRECISION_FOLLOW,
};

const plumb_op plumb_op_all_finite = {
    .name = "all_finite",
    .min_in = 1,
    .max_in = -1,
    .n_out = 1,
    .infer = infer_all_finite,
    .gradient = plumb_reduce_no_gradient,
    .flops = plumb_reduce_reads,
    .tolerance = PLUMB_TOL_EXACT,
    .branch = the_result,
};

const plumb_op plumb_op_sum_squares = {
    .name = "sum_squares",
    .min_in = 1,
    .max_in = -1,
    .n_out = 1,
    .infer = infer_sum_squares,
    .gradient = sum_squares_gradient,
    .flops = square_and_add,
    .terms = plumb_reduce_reads,
    .tolerance = PLUMB_TOL_DOT,
};

/* ---- builders ---- */

plumb_t plumb_reduce_by(plumb_graph *g, const plumb_op *op, plumb_t x, const int *axes, int n_axes, bool keep,
                        int correction)
{
    int rank = plumb_shape_of(g, x).rank;
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof attr);
    attr.keep = keep;
    attr.correction = correction;
    attr.all = !axes || n_axes <= 0;
    for (int i = 0; !attr.all && i < n_axes && plumb_dtype_of(g, x) != PLUMB_NO_DTYPE; i++) {
        int axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank || attr.axes >> axis & 1) {
            return plumb_poison(g, "%s: axis %d is %s a shape of rank %d", op->name, axes[i],
                                axis < 0 || axis >= rank ? "outside" : "given twice for", rank);
        }
        attr.axes |= 1u << axis;
    }
    return plumb_emit(g, op, &attr, &x, 1);
}

PLUMB_REDUCE_BUILDER(sum)
PLUMB_REDUCE_BUILDER(mean)
PLUMB_REDUCE_BUILDER(max)
PLUMB_REDUCE_BUILDER(min)

static plumb_t arg(plumb_graph *g, const plumb_op *op, plumb_t x, int axis, bool keep, bool last)
{
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof attr);
    attr.axis = axis;
    attr.keep = keep;
    attr.last = last;
    return plumb_emit(g, op, &attr, &x, 1);
}

plumb_t plumb_argmax(plumb_graph *g, plumb_t x, int axis, bool keep)
{
    return arg(g, &plumb_op_argmax, x, axis, keep, false);
}

plumb_t plumb_argmax_last(plumb_graph *g, plumb_t x, int axis, bool keep)
{
    return arg(g, &plumb_op_argmax, x, axis, keep, true);
}

plumb_t plumb_argmin(plumb_graph *g, plumb_t x, int axis, bool keep)
{
    return arg(g, &plumb_op_argmin, x, axis, keep, false);
}

plumb_t plumb_argmin_last(plumb_graph *g, plumb_t x, int axis, bool keep)
{
    return arg(g, &plumb_op_argmin, x, axis, keep, true);
}

plumb_t plumb_all_finite(plumb_graph *g, const plumb_t *x, int count)
{
    return plumb_emit(g, &plumb_op_all_finite, NULL, x, count);
}

plumb_t plumb_sum_squares(plumb_graph *g, const plumb_t *x, int count)
{
    return plumb_emit(g, &plumb_op_sum_squares, NULL, x, count);
}
