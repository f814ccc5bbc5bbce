/* Loops that the compiler vectorises, written once and compiled per instruction set. Bodies are NATIVE_INLINE and reach
 * the wider instructions by being inlined into wrappers with a target of their own (target.h's regions cannot be opened
 * inside a macro):
 *
 *     NATIVE_INLINE void body(...) { NATIVE_LOOP for (...) ... }
 *     #define WRAPPERS(isa, TARGET) TARGET static void kernel_##isa(...) { body(...); }
 *     NATIVE_EACH_ISA(WRAPPERS)
 *
 * and NATIVE_PICK(kernel, call->isa) is the one to call. Sums and maxima run in NATIVE_LANES fixed lanes joined in a
 * fixed tree, so that results do not depend on the width of the registers beyond fused multiply-add. */
#ifndef PLUMB_NATIVE_VECTOR_H
#define PLUMB_NATIVE_VECTOR_H

#include "core/core.h"

#define NATIVE_INLINE static inline __attribute__((always_inline))

/* The loop's iterations are independent even where its arrays are the same memory (in place). */
#if defined(__clang__)
#define NATIVE_LOOP _Pragma("clang loop vectorize(assume_safety)")
/* A wish, not a demand: sanitizers keep some loops from being vectorised. */
#pragma clang diagnostic ignored "-Wpass-failed"
#else
#define NATIVE_LOOP _Pragma("GCC ivdep")
#endif

#if defined(__clang__)
#define NATIVE_WIDE
#else
#define NATIVE_WIDE ",prefer-vector-width=512"
#endif

/* Beside AVX2, which every x86 processor of the last ten years has, the base has to be right and may be slow. */
#if defined(__clang__)
#define NATIVE_SMALL
#else
#define NATIVE_SMALL __attribute__((optimize("Os")))
#endif

#if defined(__x86_64__)
/* clang-format off */
#define NATIVE_EACH_ISA(wrappers)                                                                            \
    wrappers(base, NATIVE_SMALL)                                                                             \
    wrappers(avx2, __attribute__((target("avx2,fma"))))                                                      \
    wrappers(avx512, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma" NATIVE_WIDE))))
/* clang-format on */
#define NATIVE_PICK(kernel, isa)                                                                             \
    ((isa) >= PLUMB_ISA_AVX512 ? kernel##_avx512 : (isa) >= PLUMB_ISA_AVX2 ? kernel##_avx2 : kernel##_base)
#else
#define NATIVE_EACH_ISA(wrappers) wrappers(base, )
#define NATIVE_PICK(kernel, isa) ((void)(isa), kernel##_base)
#endif

#define NATIVE_LANES 16

NATIVE_INLINE float native_max_join(float *lane)
{
    for (int half = NATIVE_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = lane[i + half] > lane[i] ? lane[i + half] : lane[i];
    return lane[0];
}

NATIVE_INLINE float native_sum_join(float *lane)
{
    for (int half = NATIVE_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

/* e^x for x <= 0 within about 1 ulp; 0 below the smallest normal number (also for -inf), NaN for NaN. x = n ln 2 + r,
 * |r| <= ln 2 / 2; n is read off the low bits after adding 1.5 * 2^23; ln 2 in two parts; polynomial of Cephes. */
NATIVE_INLINE float native_exp(float x)
{
    const float magic = 12582912.0f;
    union {
        float f;
        uint32_t u;
    } n = {.f = x * 1.44269504088896341f + magic}, power;
    float whole = n.f - magic, r = x - whole * 0.693359375f;
    r = r - whole * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    power.u = (n.u << 23) + 0x3f800000u;
    return x < -87.3f ? 0.0f : p * power.f;
}

#endif
