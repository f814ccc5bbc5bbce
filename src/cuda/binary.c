/* Element-wise ops of two operands (and where, of three) on the GPU: one walk, one launch. */
#include "cuda/cuda.h"

static plumb_status run_pair(const plumb_call *call, enum pk_binary what)
{
    const plumb_view *operands[] = {&call->in[0], &call->in[1], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 3);
    return plumb_cuda_check(call, "plumb_k_binary",
                            plumb_k_binary(plumb_cuda_stream(call), what, (int)call->in[0].dtype, 0, 0, &w));
}

#define ROW(op_name, what, which_dtypes, which_flags)                                                                 \
    static plumb_status run_##op_name(const plumb_call *call)                                                         \
    {                                                                                                                 \
        return run_pair(call, what);                                                                                  \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = (which_dtypes),                                                                                     \
        .flags = (which_flags),                                                                                       \
        .run = run_##op_name,                                                                                         \
    };

ROW(add, PK_ADD, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(sub, PK_SUB, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(mul, PK_MUL, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(div, PK_DIV, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(maximum, PK_MAXIMUM, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(minimum, PK_MINIMUM, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(equal, PK_EQUAL, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(less, PK_LESS, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(less_equal, PK_LESS_EQUAL, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(not_equal, PK_NOT_EQUAL, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(logical_and, PK_LOGICAL_AND, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(logical_or, PK_LOGICAL_OR, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(logical_xor, PK_LOGICAL_XOR, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(bitwise_and, PK_BITWISE_AND, PLUMB_INTS, PLUMB_IMPL_EXACT)
ROW(bitwise_or, PK_BITWISE_OR, PLUMB_INTS, PLUMB_IMPL_EXACT)
ROW(bitwise_xor, PK_BITWISE_XOR, PLUMB_INTS, PLUMB_IMPL_EXACT)
ROW(shift_left, PK_SHIFT_LEFT, PLUMB_INTS, PLUMB_IMPL_EXACT)
ROW(shift_right, PK_SHIFT_RIGHT, PLUMB_INTS, PLUMB_IMPL_EXACT)
ROW(fmod, PK_FMOD, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(remainder, PK_REMAINDER, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(pow, PK_POW, PLUMB_ALL_DTYPES, 0)
ROW(atan2, PK_ATAN2, PLUMB_FLOATS, 0)
ROW(logaddexp, PK_LOGADDEXP, PLUMB_FLOATS, 0)
ROW(prelu, PK_PRELU, PLUMB_FLOATS, 0)

static plumb_status run_where(const plumb_call *call)
{
    const plumb_view *operands[] = {&call->in[0], &call->in[1], &call->in[2], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 4);
    return plumb_cuda_check(call, "plumb_k_where",
                            plumb_k_where(plumb_cuda_stream(call), (int)plumb_dtype_size(call->out[0].dtype), &w));
}

const plumb_impl plumb_impl_where_cuda = {
    .op = &plumb_op_where,
    .name = "cuda.native",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_where,
};
