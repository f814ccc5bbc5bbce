/* Reference: every element of the resized tensor is a weighted sum over the stencils of its dimensions (plumb_resize_stencil);
 * the adjoint adds it, so weighted, to the elements it was made of, in double, in row-major order. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* The elements of x that one element of the result is made of: all combinations of its stencils. */
struct combination {
    plumb_stencil stencil[PLUMB_MAX_RANK];
    int pick[PLUMB_MAX_RANK];
    int64_t left;
};

static bool begin(struct combination *c, const plumb_attr_resize *attr, const plumb_view *x, const plumb_view *y,
                  const int64_t *index)
{
    c->left = 1;
    for (int d = 0; d < x->rank; d++) {
        c->stencil[d] = (plumb_stencil){.count = 1, .at = {index[d]}, .weight = {1}};
        c->pick[d] = 0;
        if (plumb_resize_changes(attr, d, x->dim[d], y->dim[d]))
            plumb_resize_stencil(attr, d, x->dim[d], y->dim[d], index[d], &c->stencil[d]);
        c->left *= c->stencil[d].count;
    }
    return c->left > 0;
}

/* Offset in x and weight of the current one, then on to the next. */
static double next(struct combination *c, const plumb_view *x, int64_t *at)
{
    double weight = 1;
    *at = 0;
    for (int d = 0; d < x->rank; d++) {
        weight *= c->stencil[d].weight[c->pick[d]];
        *at += c->stencil[d].at[c->pick[d]] * x->stride[d];
    }
    for (int d = x->rank - 1; d >= 0 && ++c->pick[d] == c->stencil[d].count; d--)
        c->pick[d] = 0;
    c->left--;
    return weight;
}

static plumb_status run_resize(const plumb_call *call)
{
    const plumb_attr_resize *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int to = walk_add(&w, y);
    for (; w.left > 0; walk_step(&w)) {
        struct combination c;
        double sum = 0;
        int64_t at;
        if (!begin(&c, attr, x, y, w.index)) {
            view_put(y, w.at[to], attr->extrapolation);
            continue;
        }
        if (attr->mode == PLUMB_RESIZE_NEAREST) {
            next(&c, x, &at);
            view_copy(y, w.at[to], x, at);
            continue;
        }
        while (c.left > 0) {
            double weight = next(&c, x, &at);
            if (weight != 0)
                sum += weight * view_get(x, at);
        }
        view_put(y, w.at[to], sum);
    }
    return PLUMB_OK;
}

static size_t workspace_backward(const plumb_call *call)
{
    return sizeof(double) * (size_t)plumb_view_count(&call->out[0]);
}

static plumb_status run_resize_backward(const plumb_call *call)
{
    const plumb_attr_resize *attr = call->attr;
    const plumb_view *dy = &call->in[0], *dx = &call->out[0];
    plumb_view sums = *dx;
    double *sum = sums.data = call->workspace;
    plumb_view_pack(&sums);
    for (int64_t i = 0; i < plumb_view_count(dx); i++)
        sum[i] = 0;
    struct walk w;
    walk_begin(&w, dy->rank, dy->dim);
    int from = walk_add(&w, dy);
    for (; w.left > 0; walk_step(&w)) {
        struct combination c;
        for (begin(&c, attr, &sums, dy, w.index); c.left > 0;) {
            int64_t at;
            double weight = next(&c, &sums, &at);
            if (weight != 0)
                sum[at] += weight * view_get(dy, w.at[from]);
        }
    }
    walk_begin(&w, dx->rank, dx->dim);
    int s = walk_add(&w, &sums), to = walk_add(&w, dx);
    for (; w.left > 0; walk_step(&w))
        view_put(dx, w.at[to], sum[w.at[s]]);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_resize_ref = {
    .op = &plumb_op_resize,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .run = run_resize,
};
const plumb_impl plumb_impl_resize_backward_ref = {
    .op = &plumb_op_resize_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace_backward,
    .run = run_resize_backward,
};
