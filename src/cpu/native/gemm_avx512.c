/* Inner kernels for AVX-512: thirty-two registers hold tiles of 6 x 4 or 8 x 3 vectors. Only
 * plumb_kernels_for hands them out, after the instruction set was found. */
#include "cpu/native/gemm.h"

#if PLUMB_NATIVE_X86
#include <immintrin.h>

#include "cpu/native/target.h"
PLUMB_TARGET_AVX512

#define VB 64
#define ROWS 8
#define VECTORS 4
#define TALL 3
#define DOT_ROWS 6

#define T float
#define WIDE 4
#define NAME(x) f32_##x
#define TABLE plumb_kernels_avx512_f32
#include "cpu/native/gemm_kernels.h"

#define T double
#define WIDE 8
#define NAME(x) f64_##x
#define TABLE plumb_kernels_avx512_f64
#include "cpu/native/gemm_kernels.h"

PLUMB_TARGET_END
#endif
