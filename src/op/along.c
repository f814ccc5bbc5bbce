/* Ops along one axis: cumulative sums, sorting, the k largest or smallest.
 *
 * Decided here: the order is total and that of PyTorch: not-a-number comes after everything else (all of them alike, minus
 * and plus zero are equal, too), and among equals the lower index is first, whatever the direction. So results do not
 * depend on the provider, and values keep their bits. What is picked is always sorted. The gradient of values goes back
 * to where they were; indices have none. A cumulative product is composed of log2(n) multiplications of shifted copies,
 * so that its derivatives are right where factors are 0. */
#include "op/attr.h"

#include <math.h>

static int axis_of(int axis, int rank) { return axis < 0 ? axis + rank : axis; }

static plumb_status infer_cumsum(plumb_infer *q)
{
    int axis = ((const plumb_attr_scan *)q->attr)->axis;
    q->out[0] = q->in[0];
    return plumb_need_axis(q, q->in[0].shape.rank, &axis);
}

static plumb_status infer_order(plumb_infer *q)
{
    const plumb_attr_order *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    int axis = attr->axis;
    if (plumb_need_axis(q, x->rank, &axis)) {
        return PLUMB_BAD_INPUT;
    }
    int64_t n = x->dim[axis], k = attr->k;
    char text[160];
    if (k < -1 || (n >= 0 && k > n)) {
        return plumb_refuse(q, "%lld elements asked for along axis %d of %s", (long long)k, axis,
                            plumb_shape_text(x, text, sizeof text));
    }
    q->out[0] = q->in[0];
    q->out[0].shape.dim[axis] = k < 0 ? n : k;
    q->out[1] = (plumb_type){.dtype = PLUMB_I64, .shape = q->out[0].shape};
    return PLUMB_OK;
}

/* What was added to all that follow, adds up what followed. */
static plumb_status cumsum_gradient(plumb_grad *q)
{
    plumb_attr_scan attr = *(const plumb_attr_scan *)q->attr;
    attr.reverse = !attr.reverse;
    q->din[0] = plumb_emit(q->graph, &plumb_op_cumsum, &attr, q->dout, 1);
    return PLUMB_OK;
}

/* Where the picked elements lie among all of x, counted row by row: where the first of their lane lies, and on from there. */
static plumb_t positions(plumb_graph *g, plumb_t x, plumb_t indices, int axis)
{
    plumb_shape shape = plumb_shape_of(g, x);
    int64_t step = 1, begin[PLUMB_MAX_RANK] = {0}, end[PLUMB_MAX_RANK];
    for (int d = 0; d < shape.rank; d++) {
        end[d] = d == axis ? 1 : PLUMB_END;
        if (d > axis && shape.dim[d] < 0) {
            return plumb_poison(g, "sorting along axis %d: the derivative needs the sizes behind it to be known", axis);
        }
        step *= d > axis ? shape.dim[d] : 1;
    }
    plumb_attr_leaf ones;
    memset(&ones, 0, sizeof ones);
    ones.made.shape.rank = -1;
    ones.made.dtype = PLUMB_I64;
    ones.value = 1;
    plumb_t each = plumb_reshape(g, plumb_emit(g, &plumb_op_full, &ones, &x, 1), PLUMB_SHAPE(PLUMB_INFER));
    plumb_t place = plumb_reshape_like(g, plumb_cumsum(g, each, 0, true, false), x);
    plumb_t along = plumb_mul(g, indices, plumb_scalar(g, PLUMB_I64, (double)step));
    return plumb_add(g, plumb_slice(g, place, begin, end, NULL), along);
}

static plumb_status order_gradient(plumb_grad *q)
{
    plumb_graph *g = q->graph;
    int axis = axis_of(((const plumb_attr_order *)q->attr)->axis, plumb_shape_of(g, q->in[0]).rank);
    plumb_attr_gather attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    q->din[0] = PLUMB_NO_GRADIENT;
    if (q->dout[0] != PLUMB_NONE) {
        plumb_t flat = plumb_reshape(g, q->in[0], PLUMB_SHAPE(PLUMB_INFER));
        const plumb_t in[] = {q->dout[0], positions(g, q->in[0], q->out[1], axis), flat};
        q->din[0] = plumb_reshape_like(g, plumb_emit(g, &plumb_op_gather_backward, &attr, in, 3), q->in[0]);
    }
    return PLUMB_OK;
}

static plumb_t places(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[1];
}

static double scan_terms(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    return (double)x->dim[axis_of(((const plumb_attr_scan *)call->attr)->axis, x->rank)];
}

static double order_flops(const plumb_call *call)
{
    double n = (double)plumb_view_count(&call->in[0]);
    return n > 1 ? n * log2(n) : n;
}

static void print_scan(const void *attr, struct plumb_text *text)
{
    const plumb_attr_scan *a = attr;
    plumb_text_add(text, "axis=%d%s%s", a->axis, a->exclusive ? " exclusive" : "", a->reverse ? " reverse" : "");
}

static void print_order(const void *attr, struct plumb_text *text)
{
    const plumb_attr_order *a = attr;
    plumb_text_add(text, "axis=%d%s", a->axis, a->descending ? " descending" : "");
    if (a->k >= 0) {
        plumb_text_add(text, " k=%lld", (long long)a->k);
    }
}

const plumb_op plumb_op_cumsum = {
    .name = "cumsum",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_scan),
    .infer = infer_cumsum,
    .gradient = cumsum_gradient,
    .terms = scan_terms,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_scan,
};

#define ORDER(op_name)                                                                                       \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 1,                                                                                         \
        .max_in = 1,                                                                                         \
        .n_out = 2,                                                                                          \
        .attr_size = sizeof(plumb_attr_order),                                                               \
        .infer = infer_order,                                                                                \
        .gradient = order_gradient,                                                                          \
        .flops = order_flops,                                                                                \
        .tolerance = PLUMB_TOL_EXACT,                                                                        \
        .branch = places,                                                                                    \
        .precision = PLUMB_PRECISION_FOLLOW,                                                                 \
        .print = print_order,                                                                                \
    };

ORDER(sort)
ORDER(top_k)

/* ---- builders ---- */

plumb_t plumb_cumsum(plumb_graph *g, plumb_t x, int axis, bool exclusive, bool reverse)
{
    plumb_attr_scan attr;
    memset(&attr, 0, sizeof attr);
    attr.axis = axis;
    attr.exclusive = exclusive;
    attr.reverse = reverse;
    return plumb_emit(g, &plumb_op_cumsum, &attr, &x, 1);
}

static plumb_t order(plumb_graph *g, const plumb_op *op, plumb_t x, int64_t k, int axis, bool descending)
{
    plumb_attr_order attr;
    memset(&attr, 0, sizeof attr);
    attr.k = k;
    attr.axis = axis;
    attr.descending = descending;
    return plumb_emit(g, op, &attr, &x, 1);
}

plumb_t plumb_sort(plumb_graph *g, plumb_t x, int axis, bool descending)
{
    return order(g, &plumb_op_sort, x, -1, axis, descending);
}

plumb_t plumb_argsort(plumb_graph *g, plumb_t x, int axis, bool descending)
{
    return plumb_output(g, plumb_sort(g, x, axis, descending), 1);
}

plumb_t plumb_top_k(plumb_graph *g, plumb_t x, int64_t k, int axis, bool smallest)
{
    if (k < 0) {
        return plumb_poison(g, "top_k: k %lld is negative", (long long)k);
    }
    return order(g, &plumb_op_top_k, x, k, axis, !smallest);
}

/* After the step of size s every element is the product of the last 2 s up to it. */
plumb_t plumb_cumprod(plumb_graph *g, plumb_t x, int axis)
{
    plumb_shape shape = plumb_shape_of(g, x);
    int at = axis_of(axis, shape.rank);
    if (plumb_dtype_of(g, x) == PLUMB_NO_DTYPE) {
        return plumb_emit(g, &plumb_op_mul, NULL, (const plumb_t[]){x, x}, 2); /* says what is wrong with x */
    }
    if (at < 0 || at >= shape.rank || shape.dim[at] < 0) {
        return plumb_poison(g, "cumprod: axis %d of rank %d must be there, of a known size", axis, shape.rank);
    }
    int64_t n = shape.dim[at], zero[PLUMB_MAX_RANK] = {0}, begin[PLUMB_MAX_RANK] = {0}, end[PLUMB_MAX_RANK],
            all[PLUMB_MAX_RANK];
    for (int d = 0; d < shape.rank; d++) {
        end[d] = all[d] = PLUMB_END;
    }
    for (int64_t s = 1; s < n; s *= 2) {
        begin[at] = s;
        end[at] = s;
        plumb_t done = plumb_slice(g, x, zero, end, NULL), later = plumb_slice(g, x, begin, all, NULL);
        end[at] = n - s;
        plumb_t both[] = {done, plumb_mul(g, later, plumb_slice(g, x, zero, end, NULL))};
        x = plumb_concat(g, both, 2, at);
    }
    return x;
}
