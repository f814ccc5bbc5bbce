/* Winograd's kernels for AVX2 with FMA: sixteen registers hold a strip of 6 tiles by two vectors. */
#include "cpu/native/winograd.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"
PLUMB_TARGET_AVX2

#define VB 32
#define ROWS 6
#define NAME(x) avx2_##x
#define TABLE winograd_kernels_avx2
#include "cpu/native/winograd_kernels.h"

PLUMB_TARGET_END
#endif
