/* Lookup and replacement by an index for every element (gather_elements, scatter_elements) or a tuple of indices for every
 * row (gather_nd, scatter_nd), as ONNX has them.
 *
 * Decided here:
 * - Indices in [-n, n) are allowed, negative ones count from the end; others are an error of the run that names index
 *   and position.
 * - Several updates may fall on one element. They are taken in row-major order of the indices, after x's own value: with
 *   no reduction the last one stays, sums and products are made in that order.
 * - Indices of *_elements may have fewer elements than x along the other axes (PyTorch).
 * - Gradients are written with these same ops. Where no reduction is made only the update that stayed has one; the largest
 *   and the smallest share theirs equally among ties, x's own element included; that of a product divides by the update,
 *   and where an update is 0, multiplies what the others make (whose second derivative is then not followed there). */
#include "op/attr.h"

static const char *const reduce_name[] = {"none", "add", "mul", "max", "min"};

static plumb_status need_reduce(const plumb_infer *q)
{
    int reduce = ((const plumb_attr_scatter *)q->attr)->reduce;
    if (reduce < PLUMB_SCATTER_NONE || reduce > PLUMB_SCATTER_MIN)
        return plumb_refuse(q, "reduction %d is not one of plumb_scatter_reduce", reduce);
    return PLUMB_OK;
}

/* ---- an index for every element ---- */

static plumb_status need_elements(const plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape, *indices = &q->in[1].shape;
    int axis = ((const plumb_attr_scatter *)q->attr)->axis;
    if (plumb_need_index(q, 1) || plumb_need_axis(q, x->rank, &axis))
        return PLUMB_BAD_INPUT;
    bool fits = x->rank == indices->rank;
    for (int d = 0; fits && d < x->rank; d++)
        fits = d == axis || x->dim[d] < 0 || indices->dim[d] <= x->dim[d];
    char a[160], b[160];
    if (!fits)
        return plumb_refuse(q, "indices of shape %s do not lie within %s but for axis %d",
                            plumb_shape_text(indices, a, sizeof a), plumb_shape_text(x, b, sizeof b), axis);
    return PLUMB_OK;
}

static plumb_status infer_gather_elements(plumb_infer *q)
{
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = q->in[1].shape};
    return need_elements(q);
}

static plumb_status infer_scatter_elements(plumb_infer *q)
{
    q->out[0] = q->in[0];
    return need_elements(q) || need_reduce(q) || plumb_need_same_dtype(q, 0, 2) ? PLUMB_BAD_INPUT
                                                                                : plumb_need_same_shape(q, 1, 2);
}

/* ---- a tuple for every row ---- */

/* The shape of what the tuples name: batch and places, then the rest of x. */
static plumb_status named_shape(const plumb_infer *q, plumb_shape *named)
{
    const plumb_shape *x = &q->in[0].shape, *indices = &q->in[1].shape;
    int batch = ((const plumb_attr_scatter *)q->attr)->batch;
    char a[160], b[160];
    plumb_shape_text(x, a, sizeof a);
    plumb_shape_text(indices, b, sizeof b);
    if (plumb_need_index(q, 1))
        return PLUMB_BAD_INPUT;
    if (batch < 0 || batch >= indices->rank || batch >= x->rank)
        return plumb_refuse(q, "%d batch dimensions do not fit x of %s and indices of %s", batch, a, b);
    int64_t k = indices->dim[indices->rank - 1];
    bool fits = k >= 1 && k <= x->rank - batch;
    for (int d = 0; fits && d < batch; d++)
        fits = plumb_dims_agree(x->dim[d], indices->dim[d]);
    if (!fits)
        return plumb_refuse(q, "indices of %s, %d of it batch dimensions, do not name places in %s", b, batch, a);
    int rest = x->rank - batch - (int)k;
    if (indices->rank - 1 + rest > PLUMB_MAX_RANK)
        return plumb_refuse(q, "the result would have rank %d, at most %d is possible", indices->rank - 1 + rest,
                            PLUMB_MAX_RANK);
    *named = *indices;
    named->rank--;
    for (int d = 0; d < rest; d++)
        named->dim[named->rank++] = x->dim[batch + (int)k + d];
    return PLUMB_OK;
}

static plumb_status infer_gather_nd(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    return named_shape(q, &q->out[0].shape);
}

static plumb_status infer_scatter_nd(plumb_infer *q)
{
    plumb_shape named;
    const plumb_shape *updates = &q->in[2].shape;
    if (named_shape(q, &named) || need_reduce(q) || plumb_need_same_dtype(q, 0, 2))
        return PLUMB_BAD_INPUT;
    bool agree = updates->rank == named.rank;
    for (int d = 0; agree && d < named.rank; d++)
        agree = plumb_dims_agree(updates->dim[d], named.dim[d]);
    char a[160], b[160];
    if (!agree)
        return plumb_refuse(q, "updates have shape %s, the indices name %s", plumb_shape_text(updates, a, sizeof a),
                            plumb_shape_text(&named, b, sizeof b));
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

/* ---- gradients ---- */

/* The pair an op belongs to: elements, or rows named by tuples. */
struct pair {
    plumb_graph *g;
    const plumb_op *gather, *scatter;
    plumb_attr_scatter attr;
    plumb_t indices;
};

static struct pair pair_of(const plumb_grad *q)
{
    bool tuples = q->op == &plumb_op_gather_nd || q->op == &plumb_op_scatter_nd;
    return (struct pair){
        .g = q->graph,
        .gather = tuples ? &plumb_op_gather_nd : &plumb_op_gather_elements,
        .scatter = tuples ? &plumb_op_scatter_nd : &plumb_op_scatter_elements,
        .attr = *(const plumb_attr_scatter *)q->attr,
        .indices = q->in[1],
    };
}

static plumb_t look_up(const struct pair *p, plumb_t x)
{
    plumb_attr_scatter attr = p->attr;
    attr.reduce = 0;
    return plumb_emit(p->g, p->gather, &attr, (const plumb_t[]){x, p->indices}, 2);
}

static plumb_t put(const struct pair *p, plumb_t x, plumb_t updates, plumb_scatter_reduce reduce)
{
    plumb_attr_scatter attr = p->attr;
    attr.reduce = (int32_t)reduce;
    return plumb_emit(p->g, p->scatter, &attr, (const plumb_t[]){x, p->indices, updates}, 3);
}

static plumb_t zeros_like(plumb_graph *g, plumb_t x) { return plumb_full_like(g, x, 0); }

static plumb_status gather_gradient(plumb_grad *q)
{
    struct pair p = pair_of(q);
    q->din[1] = PLUMB_NO_GRADIENT;
    if (q->want[0])
        q->din[0] = put(&p, zeros_like(p.g, q->in[0]), q->dout[0], PLUMB_SCATTER_ADD);
    return PLUMB_OK;
}

static void gradient_of_none(plumb_grad *q, const struct pair *p)
{
    plumb_graph *g = p->g;
    if (q->want[0])
        q->din[0] = put(p, q->dout[0], zeros_like(g, q->in[2]), PLUMB_SCATTER_NONE);
    if (q->want[2]) { /* each place remembers whose update stayed */
        plumb_t who = plumb_iota_like(g, PLUMB_I64, q->in[2], 0, 1);
        plumb_t stayed = put(p, plumb_cast(g, zeros_like(g, q->in[0]), PLUMB_I64), who, PLUMB_SCATTER_NONE);
        q->din[2] = plumb_where(g, plumb_equal(g, look_up(p, stayed), who), look_up(p, q->dout[0]), zeros_like(g, q->in[2]));
    }
}

static void gradient_of_product(plumb_grad *q, const struct pair *p)
{
    plumb_graph *g = p->g;
    plumb_t updates = q->in[2], dy = q->dout[0];
    if (q->want[0])
        q->din[0] = put(p, dy, updates, PLUMB_SCATTER_MUL);
    if (q->want[2]) {
        plumb_t zero = zeros_like(g, updates), one = plumb_full_like(g, updates, 1);
        plumb_t is_zero = plumb_equal(g, updates, zero), nonzero = plumb_where(g, is_zero, one, updates);
        plumb_t others = look_up(p, plumb_mul(g, dy, put(p, q->in[0], nonzero, PLUMB_SCATTER_MUL)));
        plumb_t marks = plumb_where(g, is_zero, one, zero);
        plumb_t zeros = look_up(p, put(p, zeros_like(g, dy), marks, PLUMB_SCATTER_ADD));
        q->din[2] = plumb_where(g, plumb_equal(g, zeros, marks), plumb_div(g, others, nonzero), zero);
    }
}

static void gradient_of_extreme(plumb_grad *q, const struct pair *p)
{
    plumb_graph *g = p->g;
    plumb_t x = q->in[0], updates = q->in[2], y = q->out[0], dy = q->dout[0];
    plumb_t own = plumb_equal(g, x, y), theirs = plumb_equal(g, updates, look_up(p, y));
    plumb_t zero_x = zeros_like(g, x), zero_u = zeros_like(g, updates);
    plumb_t ties = put(p, plumb_where(g, own, plumb_full_like(g, x, 1), zero_x),
                       plumb_where(g, theirs, plumb_full_like(g, updates, 1), zero_u), PLUMB_SCATTER_ADD);
    plumb_t share = plumb_div(g, dy, ties);
    q->din[0] = plumb_where(g, own, share, zero_x);
    q->din[2] = plumb_where(g, theirs, look_up(p, share), zero_u);
}

static plumb_status scatter_gradient(plumb_grad *q)
{
    struct pair p = pair_of(q);
    q->din[1] = PLUMB_NO_GRADIENT;
    switch (p.attr.reduce) {
    case PLUMB_SCATTER_NONE: gradient_of_none(q, &p); break;
    case PLUMB_SCATTER_ADD:
        q->din[0] = q->dout[0];
        q->din[2] = look_up(&p, q->dout[0]);
        break;
    case PLUMB_SCATTER_MUL: gradient_of_product(q, &p); break;
    default: gradient_of_extreme(q, &p);
    }
    return PLUMB_OK;
}

/* ---- rows ---- */

static double no_flops(const plumb_call *call)
{
    (void)call;
    return 0;
}

static double flops_updates(const plumb_call *call) { return (double)plumb_view_count(&call->in[2]); }

/* All updates may fall on one element. */
static double terms_updates(const plumb_call *call) { return 1 + (double)plumb_view_count(&call->in[1]); }

/* Which update is the largest, or the smallest. */
static plumb_t chosen(plumb_graph *g, const struct pair *p, plumb_t updates, plumb_t y)
{
    return p->attr.reduce < PLUMB_SCATTER_MAX ? PLUMB_NONE : plumb_equal(g, updates, look_up(p, y));
}

static plumb_t branch_elements(plumb_graph *g, const void *attr, const plumb_t *in, const plumb_t *out)
{
    struct pair p = {g, &plumb_op_gather_elements, NULL, *(const plumb_attr_scatter *)attr, in[1]};
    return chosen(g, &p, in[2], out[0]);
}

static plumb_t branch_nd(plumb_graph *g, const void *attr, const plumb_t *in, const plumb_t *out)
{
    struct pair p = {g, &plumb_op_gather_nd, NULL, *(const plumb_attr_scatter *)attr, in[1]};
    return chosen(g, &p, in[2], out[0]);
}

static void print_elements(const void *attr, struct plumb_text *text)
{
    const plumb_attr_scatter *a = attr;
    plumb_text_add(text, "axis=%d", (int)a->axis);
    if (a->reduce > 0 && a->reduce <= PLUMB_SCATTER_MIN)
        plumb_text_add(text, " %s", reduce_name[a->reduce]);
}

static void print_nd(const void *attr, struct plumb_text *text)
{
    const plumb_attr_scatter *a = attr;
    plumb_text_add(text, "batch=%d", (int)a->batch);
    if (a->reduce > 0 && a->reduce <= PLUMB_SCATTER_MIN)
        plumb_text_add(text, " %s", reduce_name[a->reduce]);
}

#define SCATTER_ROW(op_name, inputs, rule, ...)                                                                       \
    const plumb_op plumb_op_##op_name = {                                                                             \
        .name = #op_name,                                                                                             \
        .min_in = (inputs),                                                                                           \
        .max_in = (inputs),                                                                                           \
        .n_out = 1,                                                                                                   \
        .attr_size = sizeof(plumb_attr_scatter),                                                                      \
        .infer = infer_##op_name,                                                                                     \
        .gradient = rule,                                                                                             \
        .precision = PLUMB_PRECISION_FOLLOW,                                                                          \
        __VA_ARGS__,                                                                                                  \
    };
SCATTER_ROW(gather_elements, 2, gather_gradient, .flops = no_flops, .tolerance = PLUMB_TOL_EXACT, .print = print_elements)
SCATTER_ROW(gather_nd, 2, gather_gradient, .flops = no_flops, .tolerance = PLUMB_TOL_EXACT, .print = print_nd)
SCATTER_ROW(scatter_elements, 3, scatter_gradient, .flops = flops_updates, .terms = terms_updates,
            .tolerance = PLUMB_TOL_DOT, .branch = branch_elements, .print = print_elements)
SCATTER_ROW(scatter_nd, 3, scatter_gradient, .flops = flops_updates, .terms = terms_updates,
            .tolerance = PLUMB_TOL_DOT, .branch = branch_nd, .print = print_nd)

/* ---- builders ---- */

/* Valid negative axes are counted from the end here, so that equal ops have equal attributes. */
static plumb_attr_scatter by_element(const plumb_graph *g, plumb_t x, int axis)
{
    plumb_attr_scatter attr;
    memset(&attr, 0, sizeof attr);
    int rank = plumb_shape_of(g, x).rank;
    attr.axis = axis < 0 && axis >= -rank ? axis + rank : axis;
    return attr;
}

plumb_t plumb_gather_elements(plumb_graph *g, plumb_t x, plumb_t indices, int axis)
{
    plumb_attr_scatter attr = by_element(g, x, axis);
    return plumb_emit(g, &plumb_op_gather_elements, &attr, (const plumb_t[]){x, indices}, 2);
}

plumb_t plumb_scatter_elements(plumb_graph *g, plumb_t x, plumb_t indices, plumb_t updates, int axis,
                               plumb_scatter_reduce reduce)
{
    plumb_attr_scatter attr = by_element(g, x, axis);
    attr.reduce = (int32_t)reduce;
    return plumb_emit(g, &plumb_op_scatter_elements, &attr, (const plumb_t[]){x, indices, updates}, 3);
}

plumb_t plumb_gather_nd(plumb_graph *g, plumb_t x, plumb_t indices, int batch)
{
    plumb_attr_scatter attr;
    memset(&attr, 0, sizeof attr);
    attr.batch = batch;
    return plumb_emit(g, &plumb_op_gather_nd, &attr, (const plumb_t[]){x, indices}, 2);
}

plumb_t plumb_scatter_nd(plumb_graph *g, plumb_t x, plumb_t indices, plumb_t updates, plumb_scatter_reduce reduce)
{
    plumb_attr_scatter attr;
    memset(&attr, 0, sizeof attr);
    attr.reduce = (int32_t)reduce;
    return plumb_emit(g, &plumb_op_scatter_nd, &attr, (const plumb_t[]){x, indices, updates}, 3);
}
