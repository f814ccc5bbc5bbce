/* Inner kernels for any CPU: four f32 or two f64 lanes, which every 64-bit machine has. */
#include "cpu/native/gemm.h"

#define VB 16
#define ROWS 6
#define VECTORS 2
#define TALL 0
#define DOT_ROWS 3

#define T float
#define WIDE 4
#define NAME(x) f32_##x
#define TABLE plumb_kernels_portable_f32
#include "cpu/native/gemm_kernels.h"

#define T double
#define WIDE 8
#define NAME(x) f64_##x
#define TABLE plumb_kernels_portable_f64
#include "cpu/native/gemm_kernels.h"
