/* Reference: back through an activation, channel by channel, with the channel's sum in double beside it. */
#include "cpu/ref/activate.h"
#include "cpu/ref/walk.h"

/* Element i along `axis`, as a view of the same rank. */
static plumb_view slab_of(const plumb_view *view, int axis, int64_t i)
{
    plumb_view slab = *view;
    slab.data = (char *)view->data + i * view->stride[axis] * (int64_t)plumb_dtype_size(view->dtype);
    slab.dim[axis] = 1;
    return slab;
}

static plumb_status run(const plumb_call *call)
{
    const plumb_attr_activation *attr = call->attr;
    const plumb_view *dbias = &call->out[1];
    int axis = attr->axis + (attr->axis < 0 ? call->in[0].rank : 0);
    for (int64_t c = 0; c < dbias->dim[0]; c++) {
        plumb_view dy = slab_of(&call->in[0], axis, c), y = slab_of(&call->in[1], axis, c);
        plumb_view dx = slab_of(&call->out[0], axis, c);
        struct walk w;
        double sum = 0;
        walk_begin(&w, dx.rank, dx.dim);
        int at_dy = walk_add(&w, &dy), at_y = walk_add(&w, &y), at_dx = walk_add(&w, &dx);
        for (; w.left > 0; walk_step(&w)) {
            double d = activated_backward(attr->activation, view_get(&y, w.at[at_y]), view_get(&dy, w.at[at_dy]));
            view_put(&dx, w.at[at_dx], d);
            sum += d;
        }
        view_put(dbias, c * dbias->stride[0], sum);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_activation_backward_ref = {
    .op = &plumb_op_activation_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .flags = PLUMB_IMPL_EXACT,
    .run = run,
};
