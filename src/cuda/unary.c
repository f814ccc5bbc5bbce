/* Element-wise ops of one operand and their backward forms on the GPU: one walk, one launch. */
#include "cuda/cuda.h"

/* The op's numbers; ops without attributes have none. */
static plumb_attr_numbers numbers(const plumb_call *call)
{
    plumb_attr_numbers none = {0, 0};
    return call->op->attr_size == sizeof(plumb_attr_numbers) ? *(const plumb_attr_numbers *)call->attr : none;
}

static plumb_status run_unary(const plumb_call *call, enum pk_unary what)
{
    const plumb_view *operands[] = {&call->in[0], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 2);
    plumb_attr_numbers n = numbers(call);
    return plumb_cuda_check(call, "plumb_k_unary",
                            plumb_k_unary(plumb_cuda_stream(call), what, (int)call->in[0].dtype, n.a, n.b, &w));
}

static plumb_status run_backward(const plumb_call *call, enum pk_binary what)
{
    const plumb_view *operands[] = {&call->in[0], &call->in[1], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 3);
    plumb_attr_numbers n = numbers(call);
    return plumb_cuda_check(call, "plumb_k_binary",
                            plumb_k_binary(plumb_cuda_stream(call), what, (int)call->in[0].dtype, n.a, n.b, &w));
}

#define ROW(op_name, run_family, what) OF_DTYPES(op_name, run_family, what, PLUMB_FLOATS)
#define OF_DTYPES(op_name, run_family, what, which_dtypes)                                                            \
    static plumb_status run_##op_name(const plumb_call *call)                                                         \
    {                                                                                                                 \
        return run_family(call, what);                                                                                \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = (which_dtypes),                                                                                     \
        .run = run_##op_name,                                                                                         \
    };

ROW(affine, run_unary, PK_AFFINE)
OF_DTYPES(neg, run_unary, PK_NEG, PLUMB_ALL_DTYPES)
OF_DTYPES(abs, run_unary, PK_ABS, PLUMB_ALL_DTYPES)
OF_DTYPES(sign, run_unary, PK_SIGN, PLUMB_ALL_DTYPES)
ROW(exp, run_unary, PK_EXP)
ROW(expm1, run_unary, PK_EXPM1)
ROW(log, run_unary, PK_LOG)
ROW(log1p, run_unary, PK_LOG1P)
ROW(sqrt, run_unary, PK_SQRT)
ROW(rsqrt, run_unary, PK_RSQRT)
OF_DTYPES(square, run_unary, PK_SQUARE, PLUMB_ALL_DTYPES)
ROW(reciprocal, run_unary, PK_RECIPROCAL)
ROW(sin, run_unary, PK_SIN)
ROW(cos, run_unary, PK_COS)
ROW(erf, run_unary, PK_ERF)
ROW(sigmoid, run_unary, PK_SIGMOID)
ROW(tanh, run_unary, PK_TANH)
ROW(relu, run_unary, PK_RELU)
ROW(leaky_relu, run_unary, PK_LEAKY_RELU)
ROW(elu, run_unary, PK_ELU)
ROW(gelu, run_unary, PK_GELU)
ROW(silu, run_unary, PK_SILU)
ROW(softplus, run_unary, PK_SOFTPLUS)
ROW(huber, run_unary, PK_HUBER)
OF_DTYPES(clamp, run_unary, PK_CLAMP, PLUMB_ALL_DTYPES)
ROW(tan, run_unary, PK_TAN)
ROW(asin, run_unary, PK_ASIN)
ROW(acos, run_unary, PK_ACOS)
ROW(atan, run_unary, PK_ATAN)
ROW(sinh, run_unary, PK_SINH)
ROW(cosh, run_unary, PK_COSH)
ROW(asinh, run_unary, PK_ASINH)
ROW(acosh, run_unary, PK_ACOSH)
ROW(atanh, run_unary, PK_ATANH)
ROW(floor, run_unary, PK_FLOOR)
ROW(ceil, run_unary, PK_CEIL)
ROW(round, run_unary, PK_ROUND)
ROW(trunc, run_unary, PK_TRUNC)
ROW(erfc, run_unary, PK_ERFC)
ROW(gelu_tanh, run_unary, PK_GELU_TANH)
ROW(mish, run_unary, PK_MISH)
ROW(sigmoid_backward, run_backward, PK_SIGMOID_BACKWARD)
ROW(tanh_backward, run_backward, PK_TANH_BACKWARD)
ROW(relu_backward, run_backward, PK_RELU_BACKWARD)
ROW(leaky_relu_backward, run_backward, PK_LEAKY_RELU_BACKWARD)
ROW(elu_backward, run_backward, PK_ELU_BACKWARD)
ROW(clamp_backward, run_backward, PK_CLAMP_BACKWARD)

static plumb_status run_cast(const plumb_call *call)
{
    const plumb_view *operands[] = {&call->in[0], &call->out[0]};
    pk_walk w = plumb_cuda_walk(operands, 2);
    return plumb_cuda_check(call, "plumb_k_cast",
                            plumb_k_cast(plumb_cuda_stream(call), (int)call->in[0].dtype, (int)call->out[0].dtype, &w));
}

#define CAST(op_name)                                                                                                 \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_ALL_DTYPES,                                                                                   \
        .flags = PLUMB_IMPL_EXACT,                                                                                    \
        .run = run_cast,                                                                                              \
    };

CAST(cast)
CAST(stop_gradient)
