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

#define ROW(op_name, run_family, what)                                                                                \
    static plumb_status run_##op_name(const plumb_call *call)                                                         \
    {                                                                                                                 \
        return run_family(call, what);                                                                                \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##op_name##_cuda = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.native",                                                                                        \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .run = run_##op_name,                                                                                         \
    };

ROW(affine, run_unary, PK_AFFINE)
ROW(neg, run_unary, PK_NEG)
ROW(abs, run_unary, PK_ABS)
ROW(sign, run_unary, PK_SIGN)
ROW(exp, run_unary, PK_EXP)
ROW(expm1, run_unary, PK_EXPM1)
ROW(log, run_unary, PK_LOG)
ROW(log1p, run_unary, PK_LOG1P)
ROW(sqrt, run_unary, PK_SQRT)
ROW(rsqrt, run_unary, PK_RSQRT)
ROW(square, run_unary, PK_SQUARE)
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
ROW(clamp, run_unary, PK_CLAMP)
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
