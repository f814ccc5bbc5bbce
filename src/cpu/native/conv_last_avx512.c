/* Inner kernels over channels-last pictures for AVX-512: 28 sums, four vectors of the filter or fewer, and one element
 * of x fill the thirty-two registers. */
#include "cpu/native/conv_last.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"
PLUMB_TARGET_AVX512

#define VB 64
#define FEW 14
#define SOME 14
#define MANY 7
#define TABLE plumb_last_avx512
#include "cpu/native/conv_last_kernels.h"

PLUMB_TARGET_END
#endif
