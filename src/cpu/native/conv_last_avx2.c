/* Inner kernels over channels-last pictures for AVX2 with FMA: sixteen registers hold 6 x 2 sums, or 12 of one vector. */
#include "cpu/native/conv_last.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"
PLUMB_TARGET_AVX2

#define VB 32
#define FEW 12
#define SOME 6
#define MANY 0
#define TABLE plumb_last_avx2
#include "cpu/native/conv_last_kernels.h"

PLUMB_TARGET_END
#endif
