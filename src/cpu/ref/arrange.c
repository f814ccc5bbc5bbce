/* Reference: numbers in a row and triangles of matrices. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

static plumb_status run_iota(const plumb_call *call)
{
    const plumb_attr_iota *attr = call->attr;
    const plumb_view *y = &call->out[0];
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int to = walk_add(&w, y);
    for (int64_t i = 0; w.left > 0; walk_step(&w), i++)
        view_put(y, w.at[to], attr->start + attr->step * (double)i);
    return PLUMB_OK;
}

static plumb_status run_triangle(const plumb_call *call)
{
    const plumb_attr_triangle *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int from = walk_add(&w, x), to = walk_add(&w, y);
    for (; w.left > 0; walk_step(&w)) {
        int64_t diagonal = w.index[y->rank - 1] - w.index[y->rank - 2];
        if (attr->upper ? diagonal >= attr->k : diagonal <= attr->k)
            view_copy(y, w.at[to], x, w.at[from]);
        else
            view_put(y, w.at[to], 0);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_iota_ref = {
    .op = &plumb_op_iota,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_iota,
};
const plumb_impl plumb_impl_triangle_ref = {
    .op = &plumb_op_triangle,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_triangle,
};
