/* Ops that move elements about without computing: reshape, transpose, expand and its kin, concat, slice. Most
 * can be a view of their operand: the view rules here say when no element needs to move.
 *
 * Decided here: slices follow NumPy, clipping included, so the shape rule never refuses a begin or end;
 * reshape cancels equal symbols on both sides, so that (N, 6, 14, 14) to (N, inferred) knows that it makes
 * (N, 1176). The *_like builders return their operand itself where it certainly has the shape already.
 * sum_to's row is in reduce.c. */
#include "op/attr.h"

#include <stdio.h>

static void cannot(const plumb_shape *x, const plumb_shape *to, char *text, size_t room)
{
    char a[160], b[160];
    snprintf(text, room, "%s to %s", plumb_shape_text(x, a, sizeof a), plumb_shape_text(to, b, sizeof b));
}

/* ---- shape rules ---- */

/* The product of a shape's numbers, after its symbols were cancelled against the other's. *open: something
 * unknown is left. false: overflow. */
static bool known_part(const plumb_shape *shape, const plumb_shape *other, int64_t *product, bool *open)
{
    bool used[PLUMB_MAX_RANK] = {false};
    *product = 1;
    for (int d = 0; d < shape->rank; d++) {
        int partner = -1;
        if (shape->dim[d] >= 0) {
            if (!plumb_mul_size(*product, shape->dim[d], product)) {
                return false;
            }
            continue;
        }
        if (shape->dim[d] == PLUMB_INFER) {
            continue;
        }
        for (int e = 0; e < other->rank && shape->dim[d] != PLUMB_UNKNOWN; e++) {
            if (!used[e] && other->dim[e] == shape->dim[d]) {
                partner = e;
            }
        }
        if (partner < 0) {
            *open = true;
        } else {
            used[partner] = true;
        }
    }
    return true;
}

static plumb_status infer_reshape(plumb_infer *q)
{
    const plumb_attr_shape *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    plumb_attr_shape without = *attr;
    plumb_infer ask = *q;
    int inferred = -1, count = 0;
    for (int d = 0; d < attr->shape.rank && d < PLUMB_MAX_RANK; d++) {
        if (attr->shape.dim[d] == PLUMB_INFER) {
            inferred = d;
            count++;
            without.shape.dim[d] = 0; /* looks like a number to the check of the others */
        }
    }
    ask.attr = &without;
    plumb_shape to;
    if (count > 1) {
        return plumb_refuse(q, "%d dimensions to infer, at most one can be", count);
    }
    if (plumb_lent_shape(&ask, &to)) {
        return PLUMB_BAD_INPUT;
    }
    if (inferred >= 0) {
        to.dim[inferred] = PLUMB_INFER;
    }
    int64_t have = 0, want = 0;
    bool open = false;
    char text[360];
    cannot(x, &to, text, sizeof text);
    if (!known_part(x, &to, &have, &open) || !known_part(&to, x, &want, &open)) {
        return plumb_refuse(q, "the size of %s overflows", text);
    }
    if (!open && (inferred < 0 ? have != want : want == 0 || have % want != 0)) {
        return plumb_refuse(q, "cannot reshape %s", text);
    }
    if (inferred >= 0) {
        to.dim[inferred] = open ? PLUMB_UNKNOWN : have / want;
    }
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = to};
    return PLUMB_OK;
}

static int source_axis(const plumb_attr_transpose *attr, int rank, int d)
{
    return attr->reverse ? rank - 1 - d : attr->order[d];
}

static plumb_status infer_transpose(plumb_infer *q)
{
    const plumb_attr_transpose *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    uint32_t seen = 0;
    char text[160];
    plumb_shape_text(x, text, sizeof text);
    if (!attr->reverse && attr->rank != x->rank) {
        return plumb_refuse(q, "an order of %d axes does not fit the shape %s", attr->rank, text);
    }
    q->out[0] = q->in[0];
    for (int d = 0; d < x->rank; d++) {
        int from = source_axis(attr, x->rank, d);
        if (from < 0 || from >= x->rank || seen >> from & 1) {
            return plumb_refuse(q, "axis %d is %s the order for shape %s", from,
                                from < 0 || from >= x->rank ? "out of range in" : "twice in", text);
        }
        seen |= 1u << from;
        q->out[0].shape.dim[d] = x->dim[from];
    }
    return PLUMB_OK;
}

static plumb_status infer_expand(plumb_infer *q)
{
    const plumb_shape *x = &q->in[0].shape;
    plumb_shape to;
    if (plumb_lent_shape(q, &to)) {
        return PLUMB_BAD_INPUT;
    }
    bool fits = x->rank <= to.rank;
    for (int d = 0; fits && d < x->rank; d++) {
        fits = x->dim[d] == 1 || plumb_dims_agree(x->dim[d], to.dim[d + to.rank - x->rank]);
    }
    if (!fits) {
        char text[360];
        cannot(x, &to, text, sizeof text);
        return plumb_refuse(q, "cannot stretch %s", text);
    }
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = to};
    return PLUMB_OK;
}

static plumb_status infer_concat(plumb_infer *q)
{
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    if (plumb_need_axis(q, q->in[0].shape.rank, &axis)) {
        return PLUMB_BAD_INPUT;
    }
    plumb_type out = q->in[0];
    char text[360];
    for (int i = 1; i < q->n_in; i++) {
        const plumb_shape *x = &q->in[i].shape;
        bool fits = x->rank == out.shape.rank;
        if (plumb_need_same_dtype(q, 0, i)) {
            return PLUMB_BAD_INPUT;
        }
        cannot(x, &out.shape, text, sizeof text);
        for (int d = 0; fits && d < x->rank; d++) {
            int64_t *size = &out.shape.dim[d];
            if (d == axis) {
                *size = *size < 0 || x->dim[d] < 0 ? PLUMB_UNKNOWN : *size + x->dim[d];
            } else {
                fits = plumb_dims_agree(*size, x->dim[d]);
                *size = *size < 0 && x->dim[d] >= 0 ? x->dim[d] : *size;
            }
        }
        if (!fits) {
            return plumb_refuse(q, "input %d cannot be joined along axis %d: %s", i, axis, text);
        }
    }
    q->out[0] = out;
    return PLUMB_OK;
}

static int64_t clip(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

plumb_range plumb_slice_range(const plumb_attr_slice *attr, int d, int64_t size)
{
    int64_t begin = attr->begin[d], end = attr->end[d], step = attr->step[d];
    bool last = end == PLUMB_END, back = step < 0;
    int64_t low = back ? -1 : 0, high = back ? size - 1 : size;
    step = step < -INT64_MAX ? -INT64_MAX : step;
    begin = clip(begin < 0 ? begin + size : begin, low, high);
    end = last ? (back ? -1 : size) : clip(end < 0 ? end + size : end, low, high);
    int64_t span = back ? begin - end : end - begin;
    return (plumb_range){
        .start = begin, .step = step, .count = span > 0 ? (span - 1) / (back ? -step : step) + 1 : 0};
}

/* The shape that a slice of a tensor of shape `x` has. */
static plumb_status slice_shape(const plumb_infer *q, const plumb_shape *x, plumb_shape *out)
{
    const plumb_attr_slice *attr = q->attr;
    if (attr->rank != x->rank) {
        char text[160];
        return plumb_refuse(q, "a slice of %d dimensions does not fit the shape %s", attr->rank,
                            plumb_shape_text(x, text, sizeof text));
    }
    *out = *x;
    for (int d = 0; d < x->rank; d++) {
        bool whole = attr->begin[d] == 0 && attr->end[d] == PLUMB_END && attr->step[d] == 1;
        if (attr->step[d] == 0) {
            return plumb_refuse(q, "the step along axis %d is 0", d);
        }
        if (!whole) {
            out->dim[d] = x->dim[d] < 0 ? PLUMB_UNKNOWN : plumb_slice_range(attr, d, x->dim[d]).count;
        }
    }
    return PLUMB_OK;
}

static plumb_status infer_slice(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    return slice_shape(q, &q->in[0].shape, &q->out[0].shape);
}

static plumb_status infer_slice_backward(plumb_infer *q)
{
    plumb_shape x, slice;
    const plumb_shape *dy = &q->in[0].shape;
    if (plumb_lent_shape(q, &x) || slice_shape(q, &x, &slice)) {
        return PLUMB_BAD_INPUT;
    }
    bool agree = dy->rank == slice.rank;
    for (int d = 0; agree && d < dy->rank; d++) {
        agree = plumb_dims_agree(dy->dim[d], slice.dim[d]);
    }
    char a[160], b[160];
    if (!agree) {
        return plumb_refuse(q, "input 0 has shape %s, the slice has %s", plumb_shape_text(dy, a, sizeof a),
                            plumb_shape_text(&slice, b, sizeof b));
    }
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

/* ---- gradients ---- */

/* The lender of a *_like has no gradient. */
static void none_for_lender(plumb_grad *q)
{
    for (int i = 1; i < q->n_in; i++) {
        q->din[i] = PLUMB_NO_GRADIENT;
    }
}

static plumb_status reshape_gradient(plumb_grad *q)
{
    none_for_lender(q);
    q->din[0] = plumb_reshape_like(q->graph, q->dout[0], q->in[0]);
    return PLUMB_OK;
}

static plumb_status transpose_gradient(plumb_grad *q)
{
    plumb_attr_transpose inverse = *(const plumb_attr_transpose *)q->attr;
    for (int d = 0; !inverse.reverse && d < inverse.rank; d++) {
        inverse.order[((const plumb_attr_transpose *)q->attr)->order[d]] = d;
    }
    q->din[0] = plumb_emit(q->graph, &plumb_op_transpose, &inverse, q->dout, 1);
    return PLUMB_OK;
}

static plumb_status expand_gradient(plumb_grad *q)
{
    none_for_lender(q);
    q->din[0] = plumb_sum_to_like(q->graph, q->dout[0], q->in[0]);
    return PLUMB_OK;
}

/* Input i's part of the gradient. Its place is counted from the front, or from the end where an input before
 * it has an unknown size. */
static plumb_t concat_part(const plumb_grad *q, int axis, int i)
{
    plumb_attr_slice attr;
    memset(&attr, 0, sizeof attr);
    attr.rank = plumb_shape_of(q->graph, q->in[0]).rank;
    int64_t before = 0, after = 0, own = plumb_shape_of(q->graph, q->in[i]).dim[axis];
    bool front = true, back = true;
    for (int k = 0; k < q->n_in; k++) {
        int64_t size = plumb_shape_of(q->graph, q->in[k]).dim[axis];
        if (k < i) {
            front = front && size >= 0;
            before += size;
        } else if (k > i) {
            back = back && size >= 0;
            after += size;
        }
    }
    for (int d = 0; d < attr.rank; d++) {
        attr.end[d] = PLUMB_END;
        attr.step[d] = 1;
    }
    if (!(front && (back || own >= 0)) && !(back && own >= 0)) {
        return plumb_poison(q->graph,
                            "concat '%s': more than one input has an unknown size along axis %d, so its "
                            "gradient cannot be cut",
                            q->name, axis);
    }
    attr.begin[axis] = front ? before : -(after + own);
    if (front && own >= 0) {
        attr.end[axis] = before + own;
    } else if (after > 0 || own == 0) {
        attr.end[axis] = -after; /* of an empty part in front of nothing: 0, as its begin */
    }
    return plumb_emit(q->graph, &plumb_op_slice, &attr, q->dout, 1);
}

static plumb_status concat_gradient(plumb_grad *q)
{
    int axis = ((const plumb_attr_axis *)q->attr)->axis;
    axis += axis < 0 ? plumb_shape_of(q->graph, q->in[0]).rank : 0;
    for (int i = 0; i < q->n_in; i++) {
        if (q->want[i]) {
            q->din[i] = concat_part(q, axis, i);
        }
    }
    return PLUMB_OK;
}

static plumb_status slice_gradient(plumb_grad *q)
{
    plumb_attr_slice attr = *(const plumb_attr_slice *)q->attr;
    attr.shape.rank = -1;
    q->din[0] =
        plumb_emit(q->graph, &plumb_op_slice_backward, &attr, (const plumb_t[]){q->dout[0], q->in[0]}, 2);
    return PLUMB_OK;
}

static plumb_status slice_backward_gradient(plumb_grad *q)
{
    plumb_attr_slice attr = *(const plumb_attr_slice *)q->attr;
    none_for_lender(q);
    memset(&attr.shape, 0, sizeof attr.shape);
    q->din[0] = plumb_emit(q->graph, &plumb_op_slice, &attr, q->dout, 1);
    return PLUMB_OK;
}

/* ---- views ---- */

/* NumPy's rule: walk both shapes in groups of dimensions with equal products; a group can be re-divided if
 * its input dimensions lie as one run. */
static bool view_reshape(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    int64_t dim[PLUMB_MAX_RANK], stride[PLUMB_MAX_RANK];
    int rank = 0, i = 0, o = 0;
    (void)attr;
    *offset = 0;
    plumb_view_pack(out);
    if (plumb_view_count(in) == 0) {
        return true;
    }
    for (int d = 0; d < in->rank; d++) {
        if (in->dim[d] != 1) {
            dim[rank] = in->dim[d];
            stride[rank++] = in->stride[d];
        }
    }
    while (i < rank && o < out->rank) {
        int first_in = i, first_out = o;
        int64_t product_in = dim[i++], product_out = out->dim[o++];
        while (product_in != product_out) {
            if (product_in < product_out) {
                product_in *= dim[i++];
            } else {
                product_out *= out->dim[o++];
            }
        }
        for (int d = first_in; d + 1 < i; d++) {
            if (stride[d] != stride[d + 1] * dim[d + 1]) {
                return false;
            }
        }
        int64_t run = stride[i - 1];
        for (int d = o - 1; d >= first_out; d--) {
            out->stride[d] = run;
            run *= out->dim[d];
        }
    }
    return true;
}

static bool view_transpose(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    for (int d = 0; d < in->rank; d++) {
        out->stride[d] = in->stride[source_axis(attr, in->rank, d)];
    }
    *offset = 0;
    return true;
}

static bool view_expand(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    (void)attr;
    for (int d = 0; d < out->rank; d++) {
        int from = d - (out->rank - in->rank);
        bool stretched = from < 0 || (in->dim[from] == 1 && out->dim[d] != 1);
        out->stride[d] = stretched ? 0 : in->stride[from];
    }
    *offset = 0;
    return true;
}

static bool view_slice(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset)
{
    *offset = 0;
    for (int d = 0; d < in->rank; d++) {
        plumb_range range = plumb_slice_range(attr, d, in->dim[d]);
        out->stride[d] = range.count > 1 ? range.step * in->stride[d] : in->stride[d];
        *offset += range.count > 0 ? range.start * in->stride[d] : 0;
    }
    if (plumb_view_count(out) == 0) {
        *offset = 0;
    }
    return true;
}

/* ---- rows ---- */

static double no_flops(const plumb_call *call)
{
    (void)call;
    return 0;
}

static void print_transpose(const void *attr, struct plumb_text *text)
{
    const plumb_attr_transpose *a = attr;
    plumb_text_add(text, a->reverse ? "reversed" : "order=");
    for (int d = 0; !a->reverse && d < a->rank; d++) {
        plumb_text_add(text, "%s%d", d ? "," : "", a->order[d]);
    }
}

static void print_axis(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "axis=%d", ((const plumb_attr_axis *)attr)->axis);
}

static void print_slice(const void *attr, struct plumb_text *text)
{
    const plumb_attr_slice *a = attr;
    plumb_text_add(text, "[");
    for (int d = 0; d < a->rank; d++) {
        plumb_text_add(text, "%s%lld:", d ? ", " : "", (long long)a->begin[d]);
        if (a->end[d] != PLUMB_END) {
            plumb_text_add(text, "%lld", (long long)a->end[d]);
        }
        if (a->step[d] != 1) {
            plumb_text_add(text, ":%lld", (long long)a->step[d]);
        }
    }
    plumb_text_add(text, "]");
}

#define SHAPE_ROW(op_name, most, attr_type, ...)                                                             \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .min_in = 1,                                                                                         \
        .max_in = (most),                                                                                    \
        .n_out = 1,                                                                                          \
        .attr_size = sizeof(attr_type),                                                                      \
        .infer = infer_##op_name,                                                                            \
        .gradient = op_name##_gradient,                                                                      \
        .flops = no_flops,                                                                                   \
        .tolerance = PLUMB_TOL_EXACT, .precision = PLUMB_PRECISION_FOLLOW,                                   \
        __VA_ARGS__,                                                                                         \
    };

SHAPE_ROW(reshape, 2, plumb_attr_shape, .flags = PLUMB_OP_LIKE, .view = view_reshape,
          .print = plumb_print_shape)
SHAPE_ROW(transpose, 1, plumb_attr_transpose, .view = view_transpose, .print = print_transpose)
SHAPE_ROW(expand, 2, plumb_attr_shape, .flags = PLUMB_OP_LIKE, .view = view_expand,
          .print = plumb_print_shape)
SHAPE_ROW(concat, -1, plumb_attr_axis, .print = print_axis, .pictures = 0xffff | 0x1 << 16) /* the first 16, all */
SHAPE_ROW(slice, 1, plumb_attr_slice, .view = view_slice, .print = print_slice)
SHAPE_ROW(slice_backward, 2, plumb_attr_slice, .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
          .print = print_slice, .pictures = 0x1 | 0x1 << 16) /* dy, dx */

/* ---- builders ---- */

static plumb_t to_shape(plumb_graph *g, const plumb_op *op, plumb_t x, plumb_shape to)
{
    plumb_attr_shape attr;
    if (to.rank < 0 || to.rank > PLUMB_MAX_RANK) {
        return plumb_poison(g, "%s: a shape of rank %d was given, expected 0 to %d", op->name, to.rank,
                            PLUMB_MAX_RANK);
    }
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = to.rank;
    memcpy(attr.shape.dim, to.dim, sizeof to.dim[0] * (size_t)to.rank);
    return plumb_emit(g, op, &attr, &x, 1);
}

/* Certainly the same shape, whatever symbols are bound to. */
static bool same_shape(const plumb_graph *g, plumb_t a, plumb_t b)
{
    plumb_shape of_a = plumb_shape_of(g, a), of_b = plumb_shape_of(g, b);
    bool same = plumb_dtype_of(g, a) != PLUMB_NO_DTYPE && plumb_dtype_of(g, b) != PLUMB_NO_DTYPE &&
                of_a.rank == of_b.rank;
    for (int d = 0; same && d < of_a.rank; d++) {
        same = of_a.dim[d] == of_b.dim[d] && of_a.dim[d] != PLUMB_UNKNOWN;
    }
    return same;
}

static plumb_t to_shape_of(plumb_graph *g, const plumb_op *op, plumb_t x, plumb_t like)
{
    plumb_attr_shape attr;
    if (same_shape(g, x, like)) {
        return x;
    }
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    return plumb_emit(g, op, &attr, (const plumb_t[]){x, like}, 2);
}

plumb_t plumb_reshape(plumb_graph *g, plumb_t x, plumb_shape to)
{
    return to_shape(g, &plumb_op_reshape, x, to);
}

plumb_t plumb_reshape_like(plumb_graph *g, plumb_t x, plumb_t like)
{
    return to_shape_of(g, &plumb_op_reshape, x, like);
}

plumb_t plumb_flatten(plumb_graph *g, plumb_t x, int axis)
{
    if (plumb_dtype_of(g, x) == PLUMB_NO_DTYPE)
        return plumb_reshape(g, x, PLUMB_SCALAR_SHAPE); /* the emitter says what is wrong with x */
    plumb_shape from = plumb_shape_of(g, x);
    int at = axis < 0 ? axis + from.rank : axis;
    if (at < 0 || at > from.rank) {
        return plumb_poison(g, "flatten: axis %d is outside a shape of rank %d", axis, from.rank);
    }
    plumb_shape front = {.rank = at}, back = {.rank = from.rank - at};
    memcpy(front.dim, from.dim, sizeof front.dim);
    memcpy(back.dim, from.dim + at, sizeof back.dim[0] * (size_t)back.rank);
    int64_t rows = at == 1 && plumb_is_symbol(from.dim[0]) ? from.dim[0] : plumb_shape_count(&front);
    int64_t columns = plumb_shape_count(&back);
    if (rows == -1 && columns == -1) {
        return plumb_poison(g, "flatten: both halves of the shape have unknown sizes");
    }
    return plumb_reshape(g, x, PLUMB_SHAPE(rows, columns)); /* a count of -1 is also PLUMB_INFER */
}

plumb_t plumb_transpose(plumb_graph *g, plumb_t x, const int *order)
{
    plumb_attr_transpose attr;
    memset(&attr, 0, sizeof attr);
    attr.reverse = !order;
    for (int d = 0; order && d < plumb_shape_of(g, x).rank; d++) {
        attr.order[attr.rank++] = order[d];
    }
    return plumb_emit(g, &plumb_op_transpose, &attr, &x, 1);
}

plumb_t plumb_expand(plumb_graph *g, plumb_t x, plumb_shape to)
{
    return to_shape(g, &plumb_op_expand, x, to);
}

plumb_t plumb_expand_like(plumb_graph *g, plumb_t x, plumb_t like)
{
    return to_shape_of(g, &plumb_op_expand, x, like);
}

plumb_t plumb_sum_to(plumb_graph *g, plumb_t x, plumb_shape to)
{
    return to_shape(g, &plumb_op_sum_to, x, to);
}

plumb_t plumb_sum_to_like(plumb_graph *g, plumb_t x, plumb_t like)
{
    return to_shape_of(g, &plumb_op_sum_to, x, like);
}

plumb_t plumb_concat(plumb_graph *g, const plumb_t *x, int count, int axis)
{
    plumb_attr_axis attr;
    memset(&attr, 0, sizeof attr);
    attr.axis = axis;
    return plumb_emit(g, &plumb_op_concat, &attr, x, count);
}

plumb_t plumb_slice(plumb_graph *g, plumb_t x, const int64_t *begin, const int64_t *end, const int64_t *step)
{
    plumb_attr_slice attr;
    memset(&attr, 0, sizeof attr);
    attr.rank = plumb_shape_of(g, x).rank;
    for (int d = 0; d < attr.rank; d++) {
        attr.begin[d] = begin[d];
        attr.end[d] = end[d];
        attr.step[d] = step ? step[d] : 1;
    }
    return plumb_emit(g, &plumb_op_slice, &attr, &x, 1);
}
