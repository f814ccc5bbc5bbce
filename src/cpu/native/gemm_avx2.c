/* Inner kernels for AVX2 with FMA: sixteen registers hold tiles of 6 x 2 vectors. Only plumb_kernels_for
 * hands them out, after the instruction set was found. */
#include "cpu/native/gemm.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"
PLUMB_TARGET_AVX2

#define VB 32
#define ROWS 6
#define VECTORS 2
#define TALL 0
#define DOT_ROWS 3

#define T float
#define WIDE 4
#define NAME(x) f32_##x
#define TABLE plumb_kernels_avx2_f32
#include "cpu/native/gemm_kernels.h"

#define T double
#define WIDE 8
#define NAME(x) f64_##x
#define TABLE plumb_kernels_avx2_f64
#include "cpu/native/gemm_kernels.h"

PLUMB_TARGET_END
#endif
