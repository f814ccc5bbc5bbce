/* Filling, and the new value of a variable, on the GPU. The gate of an assignment is read by the kernel: the host never
 * waits to know it, so a gated step can be captured. */
#include "cuda/cuda.h"

static plumb_status run_full(const plumb_call *call)
{
    const plumb_view *out = &call->out[0];
    pk_walk w = plumb_cuda_walk(&out, 1);
    double value = ((const plumb_attr_leaf *)call->attr)->value;
    return plumb_cuda_check(call, "plumb_k_fill",
                            plumb_k_fill(plumb_cuda_stream(call), (int)out->dtype, value, &w));
}

static plumb_status run_assign(const plumb_call *call)
{
    const plumb_view *now = &call->in[0], *next = &call->in[1], *out = &call->out[0];
    if (call->n_in < 3) {
        const plumb_view *operands[] = {next, out};
        pk_walk w = plumb_cuda_walk(operands, 2);
        return plumb_cuda_check(call, "plumb_k_cast",
                                plumb_k_cast(plumb_cuda_stream(call), (int)out->dtype, (int)out->dtype, &w));
    }
    plumb_view gate = call->in[2];
    gate.rank = 0; /* one element, for all */
    const plumb_view *operands[] = {&gate, next, now, out};
    pk_walk w = plumb_cuda_walk(operands, 4);
    return plumb_cuda_check(call, "plumb_k_where",
                            plumb_k_where(plumb_cuda_stream(call), (int)plumb_dtype_size(out->dtype), &w));
}

const plumb_impl plumb_impl_full_cuda = {
    .op = &plumb_op_full,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_full,
};

const plumb_impl plumb_impl_assign_cuda = {
    .op = &plumb_op_assign,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_assign,
};
