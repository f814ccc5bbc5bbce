/* Reference: filling, and the new value of a variable. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

static plumb_status run_full(const plumb_call *call)
{
    double value = ((const plumb_attr_leaf *)call->attr)->value;
    struct walk w;
    walk_begin(&w, call->out[0].rank, call->out[0].dim);
    int y = walk_add(&w, &call->out[0]);
    for (; w.left > 0; walk_step(&w)) {
        view_put(&call->out[0], w.at[y], value);
    }
    return PLUMB_OK;
}

static plumb_status run_assign(const plumb_call *call)
{
    const plumb_view *out = &call->out[0];
    bool open = call->n_in < 3 || view_get_int(&call->in[2], 0) != 0;
    const plumb_view *from = &call->in[open ? 1 : 0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int x = walk_add(&w, from), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_copy(out, w.at[y], from, w.at[x]);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_full_ref = {
    .op = &plumb_op_full,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_full,
};

const plumb_impl plumb_impl_assign_ref = {
    .op = &plumb_op_assign,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_assign,
};
