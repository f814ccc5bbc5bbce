/* The activations that kernels apply to results before they store them, and the way back. Formulas are those of the
 * element-wise kernels, so that one kernel in place of two changes no bit in f32 and f64. */
#ifndef PLUMB_KERNELS_ACTIVATION_CUH
#define PLUMB_KERNELS_ACTIVATION_CUH

#include "number.cuh"

namespace {

template <class N> __device__ inline N logistic(N x)
{
    N e = m_exp(-m_abs(x)); /* never overflows */
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

template <class N> __device__ inline N activated(int32_t activation, N x)
{
    switch (activation) { /* the same for all threads */
    case PK_ACTIVATION_RELU: return x > 0 || is_nan(x) ? x : 0;
    case PK_ACTIVATION_SIGMOID: return logistic(x);
    case PK_ACTIVATION_TANH: return m_tanh(x);
    default: return x;
    }
}

/* dy times the derivative where the result was y. */
template <class N> __device__ inline N activated_backward(int32_t activation, N y, N dy)
{
    switch (activation) {
    case PK_ACTIVATION_RELU: return y > 0 || is_nan(y) ? dy : 0;
    case PK_ACTIVATION_SIGMOID: return dy * y * (1 - y);
    default: return dy * ((1 - y) * (1 + y));
    }
}

} // namespace

#endif
