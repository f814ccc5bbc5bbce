/* bf16 and f16 as operands of kernels that compute in f32: conversions of one element, which compilers put into vectors,
 * and loads and stores for kernels that are written once for f32 and bf16.
 *
 * The conversions are integer arithmetic, but for denormal f16, which are exact sums with a power of two; so flushing
 * denormals does not touch them. NaN stays NaN. */
#ifndef PLUMB_NATIVE_HALF_H
#define PLUMB_NATIVE_HALF_H

#include "cpu/native/vector.h"

union bits {
    float f;
    uint32_t u;
};

/* All ones where it holds: choosing by masks keeps the loops free of branches, and so vectorised. */
NATIVE_INLINE uint32_t mask(bool holds) { return 0 - (uint32_t)holds; }

NATIVE_INLINE float widen_bf16(uint16_t h)
{
    union bits x = {.u = (uint32_t)h << 16};
    return x.f;
}

NATIVE_INLINE uint16_t narrow_bf16(float f)
{
    union bits x = {.f = f};
    uint32_t is_nan = mask((x.u & 0x7fffffff) > 0x7f800000), rounded = x.u + ((0x7fff + (x.u >> 16 & 1)) & ~is_nan);
    return (uint16_t)((rounded | (is_nan & 0x400000)) >> 16);
}

NATIVE_INLINE float widen_f16(uint16_t h)
{
    const union bits least = {.u = 113u << 23}; /* 2^-14, the smallest normal f16 */
    uint32_t exponent = h & 0x7c00u, digits = (h & 0x3ffu) << 13;
    union bits low = {.u = least.u | digits}, x;
    low.f -= least.f;
    uint32_t high = 0x7f800000u | digits | (mask(digits != 0) & 0x400000u), normal = ((h & 0x7fffu) << 13) + (112u << 23);
    uint32_t is_low = mask(exponent == 0), is_high = mask(exponent == 0x7c00u);
    x.u = (low.u & is_low) | (high & is_high) | (normal & ~(is_low | is_high)) | (uint32_t)(h & 0x8000u) << 16;
    return x.f;
}

NATIVE_INLINE uint16_t narrow_f16(float f)
{
    const union bits ulp = {.u = 126u << 23}; /* 0.5: its last digit is the smallest f16 denormal */
    union bits x = {.f = f}, low;
    uint32_t sign = x.u & 0x80000000u, size = x.u ^ sign;
    low.u = size;
    low.f += ulp.f;
    uint32_t normal = (size - (112u << 23) + 0xfffu + (size >> 13 & 1)) >> 13;
    uint32_t high = 0x7c00u | (mask(size > 0x7f800000u) & (0x200u | (size >> 13 & 0x3ffu)));
    uint32_t is_high = mask(size >= 0x47800000u), is_low = mask(size < 113u << 23);
    uint32_t h = (high & is_high) | ((low.u - ulp.u) & is_low) | (normal & ~(is_high | is_low));
    return (uint16_t)(h | sign >> 16);
}

/* Element i of f32 or bf16 data as f32, and back. `dtype` is a constant where these are called (a kernel is compiled for
 * both), so only one branch is left. f16 is not among them: no kernel of products or convolutions takes it as it is, so
 * nothing is gained by the others doing so. */
NATIVE_INLINE float native_load(plumb_dtype dtype, const void *x, int64_t i)
{
    return dtype == PLUMB_F32 ? ((const float *)x)[i] : widen_bf16(((const uint16_t *)x)[i]);
}

NATIVE_INLINE void native_store(plumb_dtype dtype, void *y, int64_t i, float value)
{
    if (dtype == PLUMB_F32)
        ((float *)y)[i] = value;
    else
        ((uint16_t *)y)[i] = narrow_bf16(value);
}

/* Rows: y[i * to] = x[i * from], i < count; strides in elements. One of the dtypes is F32, the other BF16 or F16. */
typedef void plumb_convert(void *y, int64_t to, const void *x, int64_t from, int64_t count);
plumb_convert *plumb_convert_for(plumb_dtype to, plumb_dtype from, int isa);

NATIVE_INLINE int64_t native_size(plumb_dtype dtype) { return dtype == PLUMB_F32 ? 4 : 2; }

#endif
