/* Ops along one axis on the GPU: a walk over all dimensions but the axis, and the steps along it. */
#include "cuda/cuda.h"

static int axis_of(const plumb_call *call, int axis) { return axis < 0 ? axis + call->in[0].rank : axis; }

/* The operands without the axis; `step` is the way from one element to the next along it. */
static pk_walk lanes_of(const plumb_view *const *operands, int count, int axis, int64_t *step)
{
    plumb_view across[3];
    const plumb_view *each[3];
    for (int i = 0; i < count; i++) {
        across[i] = *operands[i];
        across[i].dim[axis] = 1;
        each[i] = &across[i];
        step[i] = operands[i]->stride[axis];
    }
    return plumb_cuda_walk(each, count);
}

static plumb_status run_cumsum(const plumb_call *call)
{
    const plumb_attr_scan *attr = call->attr;
    const plumb_view *operands[] = {&call->in[0], &call->out[0]};
    int axis = axis_of(call, attr->axis);
    int64_t step[2];
    pk_scan s = {
        .walk = lanes_of(operands, 2, axis, step),
        .n = call->in[0].dim[axis],
        .exclusive = attr->exclusive,
        .reverse = attr->reverse,
    };
    s.x_step = step[0];
    s.y_step = step[1];
    return plumb_cuda_check(call, "plumb_k_scan",
                            plumb_k_scan(plumb_cuda_stream(call), (int)call->in[0].dtype, &s));
}

static pk_order order_of(const plumb_call *call)
{
    const plumb_attr_order *attr = call->attr;
    const plumb_view *operands[] = {&call->in[0], &call->out[0], &call->out[1]};
    int axis = axis_of(call, attr->axis);
    pk_order o = {
        .n = call->in[0].dim[axis],
        .k = call->out[0].dim[axis],
        .workspace = call->workspace,
        .descending = attr->descending,
    };
    o.walk = lanes_of(operands, 3, axis, o.step);
    return o;
}

static size_t order_bytes(const plumb_call *call)
{
    pk_order o = order_of(call);
    return plumb_k_order_bytes(o.walk.count, o.n);
}

static plumb_status run_order(const plumb_call *call)
{
    pk_order o = order_of(call);
    return plumb_cuda_check(call, "plumb_k_order",
                            plumb_k_order(plumb_cuda_stream(call), (int)call->in[0].dtype, &o));
}

const plumb_impl plumb_impl_cumsum_cuda = {
    .op = &plumb_op_cumsum,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_cumsum,
};
#define ORDER(op_name)                                                                                                \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_ALL_DTYPES,                                                                                   \
        .flags = PLUMB_IMPL_EXACT,                                                                                    \
        .workspace = order_bytes,                                                                                     \
        .run = run_order,                                                                                             \
    };

ORDER(sort)
ORDER(top_k)
