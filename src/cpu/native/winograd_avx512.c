/* Winograd's kernels for AVX-512: thirty-two registers hold a strip of 14 tiles by two vectors. */
#include "cpu/native/winograd.h"

#if PLUMB_NATIVE_X86
#include <immintrin.h>

#include "cpu/native/target.h"
PLUMB_TARGET_AVX512

#define WIDEN(from) _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(from))), 16)
#define VB 64
#define ROWS 14
#define NAME(x) avx512_##x
#define TABLE winograd_kernels_avx512
#include "cpu/native/winograd_kernels.h"

PLUMB_TARGET_END
#endif
