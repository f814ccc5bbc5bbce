/* Reference: every element of the padded tensor asks which element of x it stands for (plumb_pad_source); the adjoint adds
 * each to that element, in double, in row-major order. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* The offset in a view of x of what position `index` of the padded tensor stands for; false: of nothing. */
static bool source(const plumb_attr_pad *attr, const plumb_view *x, const int64_t *index, int64_t *offset)
{
    *offset = 0;
    for (int d = 0; d < x->rank; d++) {
        int64_t from = plumb_pad_source(attr->mode, index[d] - attr->before[d], x->dim[d]);
        if (from < 0)
            return false;
        *offset += from * x->stride[d];
    }
    return true;
}

static plumb_status run_pad(const plumb_call *call)
{
    const plumb_attr_pad *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int to = walk_add(&w, y);
    for (; w.left > 0; walk_step(&w)) {
        int64_t from;
        if (source(attr, x, w.index, &from))
            view_copy(y, w.at[to], x, from);
        else
            view_put(y, w.at[to], attr->value);
    }
    return PLUMB_OK;
}

static size_t workspace_backward(const plumb_call *call)
{
    return sizeof(double) * (size_t)plumb_view_count(&call->out[0]);
}

static plumb_status run_pad_backward(const plumb_call *call)
{
    const plumb_attr_pad *attr = call->attr;
    const plumb_view *dy = &call->in[0], *dx = &call->out[0];
    plumb_view sums = *dx;
    double *sum = sums.data = call->workspace;
    plumb_view_pack(&sums);
    memset(sum, 0, workspace_backward(call));
    struct walk w;
    walk_begin(&w, dy->rank, dy->dim);
    int from = walk_add(&w, dy);
    for (; w.left > 0; walk_step(&w)) {
        int64_t to;
        if (source(attr, &sums, w.index, &to))
            sum[to] += view_get(dy, w.at[from]);
    }
    walk_begin(&w, dx->rank, dx->dim);
    int s = walk_add(&w, &sums), to = walk_add(&w, dx);
    for (; w.left > 0; walk_step(&w))
        view_put(dx, w.at[to], sum[w.at[s]]);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_pad_ref = {
    .op = &plumb_op_pad,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_pad,
};
const plumb_impl plumb_impl_pad_backward_ref = {
    .op = &plumb_op_pad_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .workspace = workspace_backward,
    .run = run_pad_backward,
};
