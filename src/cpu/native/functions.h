/* Scalar functions of f32 that compilers can put into vectors: no branches, no tables, no calls. Polynomials
 * and splittings are those of Cephes (S. Moshier). Measured against f64 over a 37th of all of f32, infinities
 * and not-a-numbers included, the worst errors are 0.7 ulp (exp, log), 1.2 (tanh) and 1.3 (sigmoid). Numbers
 * below the smallest normal one count as 0, as everywhere in the pool. */
#ifndef PLUMB_NATIVE_FUNCTIONS_H
#define PLUMB_NATIVE_FUNCTIONS_H

#include "cpu/native/vector.h"

#include <math.h>

NATIVE_INLINE float native_of_bits(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } x = {.u = bits};
    return x.f;
}

NATIVE_INLINE uint32_t native_bits_of(float value)
{
    union {
        float f;
        uint32_t u;
    } x = {.f = value};
    return x.u;
}

/* e^x. x = n ln 2 + r, |r| <= ln 2 / 2; n is read off the low bits after adding 1.5 * 2^23; 2^n is applied in
 * two halves, because n may be 128. */
NATIVE_INLINE float native_exp_any(float x)
{
    const float magic = 12582912.0f;
    float shifted = x * 1.44269504088896341f + magic, whole = shifted - magic;
    int32_t n = (int32_t)(native_bits_of(shifted) - 0x4b400000u), half = n >> 1;
    float r = x - whole * 0.693359375f;
    r = r - whole * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    float y =
        p * native_of_bits((uint32_t)(half + 127) << 23) * native_of_bits((uint32_t)(n - half + 127) << 23);
    y = x > 88.7228394f ? INFINITY : y;
    return x < -87.3365479f ? 0.0f : y;
}

/* ln x. x = 2^e (1 + f), 1 + f in [sqrt 1/2, sqrt 2). */
NATIVE_INLINE float native_log(float x)
{
    uint32_t bits = native_bits_of(x) - 0x3f3504f3u;
    float e = (float)((int32_t)bits >> 23);
    float f = native_of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f, z = f * f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    float y = p * f * z + e * -2.12194440e-4f - 0.5f * z;
    y = f + y + e * 0.693359375f;
    y = x > 3.4e38f ? (x > 3.40282347e38f ? x : y) : y;
    y = x == 0 ? -INFINITY : y;
    return x < 0 || x != x ? NAN : y;
}

/* Odd polynomial near 0; elsewhere 1 - 2 / (e^2|x| + 1); with the sign of x, -0 included. */
NATIVE_INLINE float native_tanh(float x)
{
    float a = fabsf(x), z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float near = p * z * x + x;
    float far = 1.0f - 2.0f / (native_exp_any(2 * a) + 1.0f);
    return copysignf(a < 0.625f ? near : far, x);
}

NATIVE_INLINE float native_sigmoid(float x) { return 1.0f / (1.0f + native_exp_any(-x)); }

#endif
