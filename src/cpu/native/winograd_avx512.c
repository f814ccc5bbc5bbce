/* Winograd's kernels for AVX-512: thirty-two registers hold a strip of 14 tiles by two vectors. */
#include "cpu/native/winograd.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"
PLUMB_TARGET_AVX512

#define VB 64
#define ROWS 14
#define NAME(x) avx512_##x
#define TABLE winograd_kernels_avx512
#include "cpu/native/winograd_kernels.h"

PLUMB_TARGET_END
#endif
