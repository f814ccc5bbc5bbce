/* Ops that make fewer elements out of many: sums, means, extrema over axes, the adjoint of expand, and the
 * two checks over many tensors that training steps are gated by.
 *
 * Decided here: a sum over nothing is 0, a mean over nothing is not a number, a maximum over nothing is
 * refused. Axes are a bit mask once built. A gradient finds its way back by broadcasting: reduced dimensions
 * are put back at size 1 where alignment at the right would not do, and the tensor that was reduced lends its
 * shape, which may be symbolic. */
#include "op/attr.h"

static uint32_t reduced_axes(const plumb_attr_reduce *attr, int rank)
{
    return attr->all ? (1u << rank) - 1u : attr->axes;
}

static plumb_status infer_reduce(plumb_infer *q)
{
    const plumb_attr_reduce *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    plumb_shape *out = &q->out[0].shape;
    uint32_t axes = reduced_axes(attr, x->rank);
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

static plumb_status infer_mean(plumb_infer *q)
{
    return plumb_need_float(q, 0) ? PLUMB_BAD_INPUT : infer_reduce(q);
}

static plumb_status infer_extremum(plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape;
    uint32_t axes = reduced_axes(q->attr, x->rank);
    char text[160];
    for (int d = 0; d < x->rank; d++) {
        if (axes >> d & 1 && x->dim[d] == 0) {
            return plumb_refuse(q, "nothing to choose from along axis %d of %s", d,
                                plumb_shape_text(x, text, sizeof text));
        }
    }
    return infer_reduce(q);
}

static plumb_status infer_argmax(plumb_infer *q)
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
static plumb_t unreduced(const plumb_grad *q, plumb_t d)
{
    plumb_attr_reduce attr = *(const plumb_attr_reduce *)q->attr;
    uint32_t axes = reduced_axes(&attr, plumb_shape_of(q->graph, q->in[0]).rank);
    if (attr.keep || (axes & (axes + 1)) == 0) {
        return d;
    }
    attr.keep = 1;
    return plumb_reshape_like(q->graph, d, plumb_emit(q->graph, &plumb_op_sum, &attr, q->in, 1));
}

static plumb_status sum_gradient(plumb_grad *q)
{
    q->din[0] = plumb_expand_like(q->graph, unreduced(q, q->dout[0]), q->in[0]);
    return PLUMB_OK;
}

/* One over the number of elements averaged, while that number is still a symbol: ones are summed, in f32 at
 * least because f16 ends at 65504. */
static plumb_t one_over_count(const plumb_grad *q, plumb_dtype dtype)
{
    plumb_graph *g = q->graph;
    plumb_attr_leaf ones;
    memset(&ones, 0, sizeof ones);
    ones.made.shape.rank = -1;
    ones.made.dtype = dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32;
    ones.value = 1;
    plumb_t count = plumb_emit(g, &plumb_op_full, &ones, q->in, 1);
    plumb_t inverse = plumb_reciprocal(g, plumb_emit(g, &plumb_op_sum, q->attr, &count, 1));
    return dtype == ones.made.dtype ? inverse : plumb_cast(g, inverse, dtype);
}

static plumb_status mean_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_shape x = plumb_shape_of(g, q->in[0]), averaged = {0};
    uint32_t axes = reduced_axes(q->attr, x.rank);
    for (int d = 0; d < x.rank; d++) {
        if (axes >> d & 1) {
            averaged.dim[averaged.rank++] = x.dim[d];
        }
    }
    int64_t count = plumb_shape_count(&averaged);
    plumb_t d = count >= 0 ? plumb_affine(g, q->dout[0], 1.0 / (double)(count > 0 ? count : 1), 0)
                           : plumb_mul(g, q->dout[0], one_over_count(q, plumb_dtype_of(g, q->in[0])));
    q->din[0] = plumb_expand_like(g, unreduced(q, d), q->in[0]);
    return PLUMB_OK;
}

/* Where an element equals the extremum: u8 of the operand's shape. */
static plumb_t chosen(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    plumb_grad q = {.graph = graph, .attr = attr, .in = in};
    return plumb_equal(graph, in[0], unreduced(&q, out[0]));
}

static plumb_status extremum_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    plumb_dtype dtype = plumb_dtype_of(g, q->in[0]);
    plumb_t mask = plumb_cast(g, chosen(g, q->attr, q->in, q->out), dtype);
    plumb_t ties = plumb_emit(g, &plumb_op_sum, q->attr, &mask, 1);
    q->din[0] = plumb_mul(g, mask, unreduced(q, plumb_div(g, q->dout[0], ties)));
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

static plumb_status no_gradient(plumb_grad *q)
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

static double read_elements(const plumb_call *call)
{
    double count = 0;
    for (int i = 0; i < call->n_in; i++) {
        count += (double)plumb_view_count(&call->in[i]);
    }
    return count;
}

static double read_per_result(const plumb_call *call)
{
    int64_t results = plumb_view_count(&call->out[0]);
    return (double)plumb_view_count(&call->in[0]) / (double)(results > 0 ? results : 1);
}

static double square_and_add(const plumb_call *call) { return 2 * read_elements(call); }

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

static void print_reduce(const void *attr, struct plumb_text *text)
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
}

static void print_argmax(const void *attr, struct plumb_text *text)
{
    const plumb_attr_reduce *a = attr;
    plumb_text_add(text, "axis=%d%s", a->axis, a->keep ? " kept" : "");
}

#define REDUCE(op_name, rule, rule_of_gradient, ...)                                                         \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 1,                                                                                         \
        .max_in = 1,                                                                                         \
        .n_out = 1,                                                                                          \
        .attr_size = sizeof(plumb_attr_reduce),                                                              \
        .infer = infer_##rule,                                                                               \
        .gradient = rule_of_gradient,                                                                        \
        .flops = read_elements,                                                                              \
        .terms = read_per_result,                                                                            \
        __VA_ARGS__,                                                                                         \
    };

REDUCE(sum, reduce, sum_gradient, .tolerance = PLUMB_TOL_DOT, .print = print_reduce,
       .precision = PLUMB_PRECISION_ADJOINT)
REDUCE(mean, mean, mean_gradient, .tolerance = PLUMB_TOL_DOT, .print = print_reduce)
REDUCE(max, extremum, extremum_gradient, .tolerance = PLUMB_TOL_EXACT, .print = print_reduce,
       .branch = chosen, .precision = PLUMB_PRECISION_FOLLOW)
REDUCE(min, extremum, extremum_gradient, .tolerance = PLUMB_TOL_EXACT, .print = print_reduce,
       .branch = chosen, .precision = PLUMB_PRECISION_FOLLOW)
REDUCE(argmax, argmax, no_gradient, .tolerance = PLUMB_TOL_EXACT, .print = print_argmax, .branch = the_result,
       .precision = PLUMB_PRECISION_FOLLOW)

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
    .flops = read_elements,
    .terms = read_per_result,
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
    .gradient = no_gradient,
    .flops = read_elements,
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
    .terms = read_elements,
    .tolerance = PLUMB_TOL_DOT,
};

/* ---- builders ---- */

static plumb_t reduce(plumb_graph *g, const plumb_op *op, plumb_t x, const int *axes, int n_axes, bool keep)
{
    int rank = plumb_shape_of(g, x).rank;
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof attr);
    attr.keep = keep;
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

plumb_t plumb_sum(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep)
{
    return reduce(g, &plumb_op_sum, x, axes, n_axes, keep);
}

plumb_t plumb_mean(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep)
{
    return reduce(g, &plumb_op_mean, x, axes, n_axes, keep);
}

plumb_t plumb_max(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep)
{
    return reduce(g, &plumb_op_max, x, axes, n_axes, keep);
}

plumb_t plumb_min(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep)
{
    return reduce(g, &plumb_op_min, x, axes, n_axes, keep);
}

plumb_t plumb_argmax(plumb_graph *g, plumb_t x, int axis, bool keep)
{
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof attr);
    attr.axis = axis;
    attr.keep = keep;
    return plumb_emit(g, &plumb_op_argmax, &attr, &x, 1);
}

plumb_t plumb_all_finite(plumb_graph *g, const plumb_t *x, int count)
{
    return plumb_emit(g, &plumb_op_all_finite, NULL, x, count);
}

plumb_t plumb_sum_squares(plumb_graph *g, const plumb_t *x, int count)
{
    return plumb_emit(g, &plumb_op_sum_squares, NULL, x, count);
}
