/* Numbers in a row, triangles of matrices, and the arrangements that are compositions of views and copies: tile, flip, roll,
 * split, stack, squeeze, the exchange of space and depth.
 *
 * Decided here: a composition moves its elements once (reshape, expand, transpose and slice are views of their operand where
 * they can be), so it needs no kernel of its own. Sizes may be symbols where the result's can be said with one inferred
 * dimension. linspace and iota compute start + step * i in double and round once; integers are exact to 2^53. */
#include "op/attr.h"

#include <math.h>

/* ---- iota, triangle ---- */

static plumb_status infer_iota(plumb_infer *q)
{
    const plumb_attr_iota *attr = q->attr;
    if (plumb_dtype_size(attr->made.dtype) == 0)
        return plumb_refuse(q, "invalid dtype %d", (int)attr->made.dtype);
    q->out[0].dtype = attr->made.dtype;
    return plumb_lent_shape(q, &q->out[0].shape);
}

static plumb_status iota_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status infer_triangle(plumb_infer *q)
{
    q->out[0] = q->in[0];
    return q->in[0].shape.rank >= 2
               ? PLUMB_OK
               : plumb_refuse(q, "a tensor of rank %d has no matrices, expected at least 2", q->in[0].shape.rank);
}

static plumb_status triangle_gradient(plumb_grad *q)
{
    q->din[0] = plumb_emit(q->graph, &plumb_op_triangle, q->attr, q->dout, 1);
    return PLUMB_OK;
}

static double no_flops(const plumb_call *call)
{
    (void)call;
    return 0;
}

static int over_input(const void *attr, int output)
{
    (void)attr;
    (void)output;
    return 0;
}

static void print_iota(const void *attr, struct plumb_text *text)
{
    const plumb_attr_iota *a = attr;
    plumb_text_add(text, "start=%g step=%g", a->start, a->step);
}

static void print_triangle(const void *attr, struct plumb_text *text)
{
    const plumb_attr_triangle *a = attr;
    plumb_text_add(text, "%s k=%lld", a->upper ? "upper" : "lower", (long long)a->k);
}

const plumb_op plumb_op_iota = {
    .name = "iota",
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_iota),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_DTYPE,
    .infer = infer_iota,
    .gradient = iota_gradient,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_iota,
};

const plumb_op plumb_op_triangle = {
    .name = "triangle",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_triangle),
    .infer = infer_triangle,
    .gradient = triangle_gradient,
    .in_place = over_input,
    .flops = no_flops,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_triangle,
    .precision = PLUMB_PRECISION_FOLLOW,
};

static plumb_t iota(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, plumb_t like, double start, double step)
{
    plumb_attr_iota attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.made.shape.rank = shape.rank;
    for (int d = 0; d < shape.rank && d < PLUMB_MAX_RANK; d++)
        attr.made.shape.dim[d] = shape.dim[d];
    attr.start = start;
    attr.step = step;
    return plumb_emit(g, &plumb_op_iota, &attr, &like, shape.rank < 0);
}

plumb_t plumb_iota(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double start, double step)
{
    if (shape.rank < 0)
        return plumb_poison(g, "iota: a shape of rank %d was given", shape.rank);
    return iota(g, dtype, shape, PLUMB_NONE, start, step);
}

plumb_t plumb_iota_like(plumb_graph *g, plumb_dtype dtype, plumb_t like, double start, double step)
{
    return iota(g, dtype, (plumb_shape){.rank = -1}, like, start, step);
}

plumb_t plumb_arange(plumb_graph *g, plumb_dtype dtype, double start, double end, double step)
{
    double count = ceil((end - start) / step);
    if (!(step != 0) || !(fabs(count) < 0x1p53)) /* also what is not a number */
        return plumb_poison(g, "arange: from %g to %g by %g has no end", start, end, step);
    return plumb_iota(g, dtype, PLUMB_SHAPE(count > 0 ? (int64_t)count : 0), start, step);
}

plumb_t plumb_linspace(plumb_graph *g, plumb_dtype dtype, double start, double end, int64_t count)
{
    if (count < 0)
        return plumb_poison(g, "linspace: %lld elements", (long long)count);
    return plumb_iota(g, dtype, PLUMB_SHAPE(count), start, count > 1 ? (end - start) / (double)(count - 1) : 0);
}

plumb_t plumb_eye(plumb_graph *g, plumb_dtype dtype, int64_t rows, int64_t columns, int64_t k)
{
    return plumb_one_hot(g, plumb_iota(g, PLUMB_I64, PLUMB_SHAPE(rows), (double)k, 1), columns, dtype);
}

static plumb_t triangle(plumb_graph *g, plumb_t x, int64_t k, bool upper)
{
    plumb_attr_triangle attr;
    memset(&attr, 0, sizeof attr);
    attr.k = k;
    attr.upper = upper;
    return plumb_emit(g, &plumb_op_triangle, &attr, &x, 1);
}

plumb_t plumb_triu(plumb_graph *g, plumb_t x, int64_t k) { return triangle(g, x, k, true); }
plumb_t plumb_tril(plumb_graph *g, plumb_t x, int64_t k) { return triangle(g, x, k, false); }

/* ---- axes that are given to builders ---- */

/* Valid axes are counted from the front; -1 after poisoning the graph, or if it is poisoned. */
static int need_axis(plumb_graph *g, const char *op, plumb_t x, int axis, int rank)
{
    if (plumb_graph_status(g) != PLUMB_OK || plumb_dtype_of(g, x) == PLUMB_NO_DTYPE) {
        plumb_reshape(g, x, PLUMB_SCALAR_SHAPE); /* the emitter says what is wrong with x */
        return -1;
    }
    if (axis < -rank || axis >= rank) {
        plumb_poison(g, "%s: axis %d is outside a shape of rank %d", op, axis, rank);
        return -1;
    }
    return axis < 0 ? axis + rank : axis;
}

/* begin <= i < end along one axis. */
static plumb_t part(plumb_graph *g, plumb_t x, int axis, int64_t begin, int64_t end, int64_t step)
{
    int64_t from[PLUMB_MAX_RANK] = {0}, to[PLUMB_MAX_RANK], by[PLUMB_MAX_RANK];
    for (int d = 0; d < PLUMB_MAX_RANK; d++) {
        to[d] = PLUMB_END;
        by[d] = 1;
    }
    from[axis] = begin;
    to[axis] = end;
    by[axis] = step;
    return plumb_slice(g, x, from, to, by);
}

/* ---- compositions ---- */

plumb_t plumb_squeeze(plumb_graph *g, plumb_t x, const int *axes, int n_axes)
{
    plumb_shape from = plumb_shape_of(g, x), to = {.rank = 0};
    uint32_t gone = 0;
    for (int i = 0; i < n_axes; i++) {
        int axis = need_axis(g, "squeeze", x, axes[i], from.rank);
        if (axis < 0)
            return PLUMB_NONE;
        if (from.dim[axis] != 1)
            return plumb_poison(g, "squeeze: axis %d has %lld elements, expected 1", axes[i], (long long)from.dim[axis]);
        gone |= 1u << axis;
    }
    for (int d = 0; d < from.rank; d++)
        if (axes ? !(gone >> d & 1) : from.dim[d] != 1)
            to.dim[to.rank++] = from.dim[d];
    return plumb_reshape(g, x, to);
}

plumb_t plumb_unsqueeze(plumb_graph *g, plumb_t x, const int *axes, int n_axes)
{
    plumb_shape from = plumb_shape_of(g, x), to = {.rank = from.rank + n_axes};
    uint32_t added = 0;
    if (to.rank > PLUMB_MAX_RANK)
        return plumb_poison(g, "unsqueeze: the result would have rank %d, at most %d is possible", to.rank, PLUMB_MAX_RANK);
    for (int i = 0; i < n_axes; i++) {
        int axis = need_axis(g, "unsqueeze", x, axes[i], to.rank);
        if (axis < 0)
            return PLUMB_NONE;
        if (added >> axis & 1)
            return plumb_poison(g, "unsqueeze: axis %d is given twice", axes[i]);
        added |= 1u << axis;
    }
    for (int d = 0, k = 0; d < to.rank; d++)
        to.dim[d] = added >> d & 1 ? 1 : from.dim[k++];
    return plumb_reshape(g, x, to);
}

plumb_t plumb_stack(plumb_graph *g, const plumb_t *x, int count, int axis)
{
    enum { ROOM = 64 };
    plumb_t part_of[ROOM];
    if (count < 1 || count > ROOM)
        return plumb_poison(g, "stack: %d tensors, expected 1 to %d", count, ROOM);
    for (int i = 0; i < count; i++)
        part_of[i] = plumb_unsqueeze(g, x[i], &axis, 1);
    return plumb_concat(g, part_of, count, axis);
}

plumb_status plumb_split(plumb_graph *g, plumb_t x, int axis, const int64_t *sizes, int count, plumb_t *parts)
{
    plumb_shape shape = plumb_shape_of(g, x);
    int64_t begin = 0, total = 0;
    axis = need_axis(g, "split", x, axis, shape.rank);
    int64_t have = axis < 0 ? -1 : shape.dim[axis];
    for (int i = 0; i < count; i++)
        parts[i] = PLUMB_NONE;
    if (axis >= 0 && (have < 0 || count < 1))
        plumb_poison(g, "split: %d parts of an axis of %s size", count, have < 0 ? "unknown" : "known");
    int64_t each = count > 0 ? (have + count - 1) / count : 0; /* the last part is what remains, maybe less (ONNX) */
    for (int i = 0; sizes && i < count; i++) {
        if (sizes[i] < 0 || sizes[i] > have - total) {
            total = -1;
            break;
        }
        total += sizes[i];
    }
    if (axis >= 0 && sizes && total != have)
        plumb_poison(g, "split: the sizes do not add up to the %lld elements of axis %d", (long long)have, axis);
    for (int i = 0; i < count && plumb_graph_status(g) == PLUMB_OK; i++) {
        int64_t end = begin + (sizes ? sizes[i] : each);
        end = end > have ? have : end;
        parts[i] = part(g, x, axis, begin, end, 1);
        begin = end;
    }
    return plumb_graph_status(g);
}

plumb_status plumb_unstack(plumb_graph *g, plumb_t x, int axis, int count, plumb_t *parts)
{
    plumb_shape shape = plumb_shape_of(g, x);
    axis = need_axis(g, "unstack", x, axis, shape.rank);
    if (axis >= 0 && shape.dim[axis] != count)
        plumb_poison(g, "unstack: %d parts of the %lld of axis %d", count, (long long)shape.dim[axis], axis);
    for (int i = 0; i < count; i++)
        parts[i] = plumb_graph_status(g) != PLUMB_OK ? PLUMB_NONE
                                                     : plumb_squeeze(g, part(g, x, axis, i, i + 1, 1), &axis, 1);
    return plumb_graph_status(g);
}

plumb_t plumb_flip(plumb_graph *g, plumb_t x, const int *axes, int n_axes)
{
    int64_t from[PLUMB_MAX_RANK], to[PLUMB_MAX_RANK], by[PLUMB_MAX_RANK];
    int rank = plumb_shape_of(g, x).rank;
    for (int d = 0; d < PLUMB_MAX_RANK; d++) {
        from[d] = axes ? 0 : PLUMB_END;
        to[d] = PLUMB_END;
        by[d] = axes ? 1 : -1;
    }
    for (int i = 0; i < n_axes; i++) {
        int axis = need_axis(g, "flip", x, axes[i], rank);
        if (axis < 0)
            return PLUMB_NONE;
        from[axis] = PLUMB_END;
        by[axis] = -1;
    }
    return plumb_slice(g, x, from, to, by);
}

plumb_t plumb_roll(plumb_graph *g, plumb_t x, int64_t shift, int axis)
{
    plumb_shape shape = plumb_shape_of(g, x);
    axis = need_axis(g, "roll", x, axis, shape.rank);
    if (axis < 0)
        return PLUMB_NONE;
    int64_t n = shape.dim[axis];
    if (n > 0) /* of an unknown size, the shift may be any that is smaller */
        shift = shift % n < 0 ? shift % n + n : shift % n;
    if (shift == 0 || n == 0)
        return x;
    plumb_t halves[] = {part(g, x, axis, -shift, PLUMB_END, 1), part(g, x, axis, 0, -shift, 1)};
    return plumb_concat(g, halves, 2, axis);
}

/* One axis: x is seen as (outer, 1, n * inner) and stretched; or, to keep symbols, with a dimension of 1 before the axis. */
static plumb_t tile_axis(plumb_graph *g, plumb_t x, int axis, int64_t times)
{
    plumb_shape from = plumb_shape_of(g, x), front = {.rank = axis}, open = {.rank = 0}, result = from;
    memcpy(front.dim, from.dim, sizeof front.dim);
    int64_t outer = plumb_shape_count(&front), all = plumb_shape_count(&from);
    result.dim[axis] = from.dim[axis] < 0 ? PLUMB_INFER : from.dim[axis] * times;
    if (outer > 0 && all >= 0) {
        open = PLUMB_SHAPE(outer, 1, all / outer);
        axis = 1;
    } else if (from.rank == PLUMB_MAX_RANK) {
        return plumb_poison(g, "tile: rank %d and an unknown size at once", PLUMB_MAX_RANK);
    } else {
        for (int d = 0; d <= from.rank; d++)
            open.dim[open.rank++] = d == axis ? 1 : from.dim[d < axis ? d : d - 1];
    }
    plumb_shape wide = open;
    wide.dim[axis] = times;
    return plumb_reshape(g, plumb_expand(g, plumb_reshape(g, x, open), wide), result);
}

plumb_t plumb_tile(plumb_graph *g, plumb_t x, const int64_t *times)
{
    plumb_shape shape = plumb_shape_of(g, x);
    for (int d = 0; d < shape.rank; d++) {
        if (times[d] < 0 || (shape.dim[d] > 0 && times[d] > INT64_MAX / shape.dim[d]))
            return plumb_poison(g, "tile: axis %d is repeated %lld times", d, (long long)times[d]);
    }
    for (int d = shape.rank - 1; d >= 0; d--) /* inner copies first: the outer ones then move whole blocks */
        if (times[d] != 1)
            x = tile_axis(g, x, d, times[d]);
    return x;
}

/* (N, C, H, W) with blocks of b x b; the axes that hold the block's row, its column and the channel are named apart. */
plumb_t plumb_depth_to_space(plumb_graph *g, plumb_t x, int64_t block, bool channels_first)
{
    plumb_shape s = plumb_shape_of(g, x);
    if (s.rank != 4 || block < 1 || s.dim[1] < 0 || s.dim[1] % (block * block) != 0 || s.dim[2] < 0 || s.dim[3] < 0) {
        char text[160];
        return plumb_poison(g, "depth_to_space: blocks of %lld need (N, C, H, W) with C a multiple of its square, got %s",
                            (long long)block, plumb_shape_text(&s, text, sizeof text));
    }
    int64_t c = s.dim[1] / (block * block);
    plumb_shape apart = channels_first ? PLUMB_SHAPE(s.dim[0], c, block, block, s.dim[2], s.dim[3])
                                       : PLUMB_SHAPE(s.dim[0], block, block, c, s.dim[2], s.dim[3]);
    const int first[] = {0, 1, 4, 2, 5, 3}, behind[] = {0, 3, 4, 1, 5, 2};
    plumb_t turned = plumb_transpose(g, plumb_reshape(g, x, apart), channels_first ? first : behind);
    return plumb_reshape(g, turned, PLUMB_SHAPE(s.dim[0], c, s.dim[2] * block, s.dim[3] * block));
}

plumb_t plumb_space_to_depth(plumb_graph *g, plumb_t x, int64_t block, bool channels_first)
{
    plumb_shape s = plumb_shape_of(g, x);
    if (s.rank != 4 || block < 1 || s.dim[1] < 0 || s.dim[2] < 0 || s.dim[2] % block != 0 || s.dim[3] < 0 ||
        s.dim[3] % block != 0) {
        char text[160];
        return plumb_poison(g, "space_to_depth: blocks of %lld need (N, C, H, W) with H and W multiples of it, got %s",
                            (long long)block, plumb_shape_text(&s, text, sizeof text));
    }
    plumb_shape apart = PLUMB_SHAPE(s.dim[0], s.dim[1], s.dim[2] / block, block, s.dim[3] / block, block);
    const int first[] = {0, 1, 3, 5, 2, 4}, behind[] = {0, 3, 5, 1, 2, 4};
    plumb_t turned = plumb_transpose(g, plumb_reshape(g, x, apart), channels_first ? first : behind);
    return plumb_reshape(g, turned, PLUMB_SHAPE(s.dim[0], s.dim[1] * block * block, s.dim[2] / block, s.dim[3] / block));
}
