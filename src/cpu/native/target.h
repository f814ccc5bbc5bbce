/* Compiles the functions between PLUMB_TARGET_AVX2, _AVX512 or _AVX512_BF16 and PLUMB_TARGET_END for an
 * instruction set above the build's baseline. Include the headers such a file needs before the first of them:
 * what is inside may only be reached after the instruction set was found. */
#ifndef PLUMB_NATIVE_TARGET_H
#define PLUMB_NATIVE_TARGET_H

#if defined(__clang__)
#define PLUMB_TARGET_AVX2                                                                                             \
    _Pragma("clang attribute push(__attribute__((target(\"avx2,fma\"))), apply_to = function)")
#define PLUMB_TARGET_AVX512                                                                                           \
    _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512bw,avx512dq,avx512vl,avx2,fma\"))), apply_to = function)")
#define PLUMB_TARGET_AVX512_BF16                                                                                      \
    _Pragma("clang attribute push(__attribute__((target(\"avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma\"))), apply_to = function)")
#define PLUMB_TARGET_END _Pragma("clang attribute pop")
#else
#define PLUMB_TARGET_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma\")")
#define PLUMB_TARGET_AVX512                                                                                           \
    _Pragma("GCC push_options") _Pragma("GCC target(\"avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512\")")
#define PLUMB_TARGET_AVX512_BF16                                                                                      \
    _Pragma("GCC push_options") _Pragma("GCC target(\"avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512\")")
#define PLUMB_TARGET_END _Pragma("GCC pop_options")
#endif

#endif
