/* Reference lookup. Rows move element by element, bit for bit; sums of the adjoint are made in double, in the order of
 * the indices. The conventions are decided in src/op/gather.c. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* x is seen as (outer.., n, inner..); y as (outer.., indices.., inner..). A `row` is what one index moves. */
static int64_t read_index(const plumb_call *call, int64_t offset, int64_t n)
{
    int64_t i = view_get_int(&call->in[1], offset);
    return i < 0 ? i + n : i;
}

static int axis_of(const plumb_call *call, int rank)
{
    int axis = ((const plumb_attr_gather *)call->attr)->axis;
    return axis < 0 ? axis + rank : axis;
}

/* All indices are checked before anything is read or written. */
static plumb_status check_indices(const plumb_call *call, int64_t n)
{
    const plumb_view *indices = &call->in[1];
    struct walk w;
    walk_begin(&w, indices->rank, indices->dim);
    int at = walk_add(&w, indices);
    int64_t total = w.left;
    for (; w.left > 0; walk_step(&w)) {
        int64_t i = view_get_int(indices, w.at[at]);
        if (i < -n || i >= n)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "index %lld at %lld is outside [%lld, %lld)",
                                   (long long)i, (long long)(total - w.left), (long long)-n, (long long)n);
    }
    return PLUMB_OK;
}

/* A walk over one row: x's dimensions with the axis made 1. */
static void begin_row(struct walk *w, const plumb_view *x, int axis)
{
    int64_t dim[PLUMB_MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        dim[d] = d == axis ? 1 : x->dim[d];
    walk_begin(w, x->rank, dim);
}

/* The strides of y that belong to the row, laid out as x's dimensions; those of the indices stay for the outer walk. */
static plumb_view row_of(const plumb_view *y, const plumb_view *x, int axis)
{
    plumb_view row = *x;
    int shift = y->rank - x->rank;
    row.data = y->data;
    row.dtype = y->dtype;
    for (int d = 0; d < x->rank; d++)
        row.stride[d] = d < axis ? y->stride[d] : d > axis ? y->stride[d + shift] : 0;
    return row;
}

/* The part of y that follows the indices. */
static plumb_view index_part(const plumb_view *y, const plumb_view *indices, int axis)
{
    plumb_view part = *indices;
    for (int d = 0; d < indices->rank; d++)
        part.stride[d] = y->stride[axis + d];
    return part;
}

static plumb_status run_gather(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *indices = &call->in[1], *y = &call->out[0];
    int axis = axis_of(call, x->rank);
    int64_t n = x->dim[axis];
    plumb_status status = check_indices(call, n);
    if (status)
        return status;
    const plumb_view to = row_of(y, x, axis), part = index_part(y, indices, axis);
    struct walk outer, row;
    walk_begin(&outer, indices->rank, indices->dim);
    int i = walk_add(&outer, indices), p = walk_add(&outer, &part);
    for (; outer.left > 0; walk_step(&outer)) {
        int64_t from = read_index(call, outer.at[i], n) * x->stride[axis];
        begin_row(&row, x, axis);
        int a = walk_add(&row, x), b = walk_add(&row, &to);
        for (; row.left > 0; walk_step(&row))
            view_copy(y, outer.at[p] + row.at[b], x, from + row.at[a]);
    }
    return PLUMB_OK;
}

static size_t workspace_gather_backward(const plumb_call *call)
{
    return sizeof(double) * (size_t)plumb_view_count(&call->out[0]);
}

/* dx[.., k, ..] = sum of dy over the positions whose index is k, added in the order of the positions. The sums are made
 * in the workspace, in double, so that narrow types are rounded once. */
static plumb_status run_gather_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *indices = &call->in[1], *dx = &call->out[0];
    int axis = axis_of(call, dx->rank);
    int64_t n = dx->dim[axis];
    plumb_status status = check_indices(call, n);
    if (status)
        return status;
    plumb_view sums = *dx;
    sums.data = call->workspace;
    sums.dtype = PLUMB_F64;
    plumb_view_pack(&sums);
    double *sum = call->workspace;
    for (int64_t i = 0; i < plumb_view_count(dx); i++)
        sum[i] = 0;
    const plumb_view from = row_of(dy, dx, axis), part = index_part(dy, indices, axis);
    struct walk outer, row;
    walk_begin(&outer, indices->rank, indices->dim);
    int i = walk_add(&outer, indices), p = walk_add(&outer, &part);
    for (; outer.left > 0; walk_step(&outer)) {
        int64_t to = read_index(call, outer.at[i], n) * sums.stride[axis];
        begin_row(&row, dx, axis);
        int a = walk_add(&row, &sums), b = walk_add(&row, &from);
        for (; row.left > 0; walk_step(&row))
            sum[to + row.at[a]] += view_get(dy, outer.at[p] + row.at[b]);
    }
    walk_begin(&row, dx->rank, dx->dim);
    int a = walk_add(&row, &sums), b = walk_add(&row, dx);
    for (; row.left > 0; walk_step(&row))
        view_put(dx, row.at[b], sum[row.at[a]]);
    return PLUMB_OK;
}

static plumb_status run_one_hot(const plumb_call *call)
{
    const plumb_attr_one_hot *attr = call->attr;
    const plumb_view *indices = &call->in[0], *y = &call->out[0];
    int axis = attr->axis + (attr->axis < 0 ? y->rank : 0);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    plumb_view spread = *y; /* the indices, standing still along the classes */
    for (int d = 0; d < y->rank; d++)
        spread.stride[d] = d == axis ? 0 : indices->stride[d < axis ? d : d - 1];
    int i = walk_add(&w, &spread), at = walk_add(&w, y);
    for (; w.left > 0; walk_step(&w)) {
        int64_t index = view_get_int(indices, w.at[i]);
        index += index < 0 && attr->from_end ? attr->classes : 0;
        view_put(y, w.at[at], index == w.index[axis] ? attr->on : attr->off);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_gather_ref = {.op = &plumb_op_gather,
                                          .name = "cpu.ref",
                                          .dtypes = PLUMB_ALL_DTYPES,
                                          .flags = PLUMB_IMPL_EXACT,
                                          .run = run_gather};
const plumb_impl plumb_impl_gather_backward_ref = {.op = &plumb_op_gather_backward,
                                                   .name = "cpu.ref",
                                                   .dtypes = PLUMB_FLOATS,
                                                   .flags = PLUMB_IMPL_EXACT,
                                                   .workspace = workspace_gather_backward,
                                                   .run = run_gather_backward};
const plumb_impl plumb_impl_one_hot_ref = {.op = &plumb_op_one_hot,
                                           .name = "cpu.ref",
                                           .dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64),
                                           .flags = PLUMB_IMPL_EXACT,
                                           .run = run_one_hot};
