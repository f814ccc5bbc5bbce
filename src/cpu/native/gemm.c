/* Which table of inner kernels a call gets. */
#include "cpu/native/gemm.h"

const plumb_kernels *plumb_kernels_for(plumb_dtype dtype, int isa)
{
    if (dtype != PLUMB_F32 && dtype != PLUMB_F64)
        return NULL;
    bool wide = dtype == PLUMB_F64;
#if PLUMB_NATIVE_X86
    if (isa >= PLUMB_ISA_AVX512)
        return wide ? &plumb_kernels_avx512_f64 : &plumb_kernels_avx512_f32;
    if (isa >= PLUMB_ISA_AVX2)
        return wide ? &plumb_kernels_avx2_f64 : &plumb_kernels_avx2_f32;
#else
    (void)isa;
#endif
    return wide ? &plumb_kernels_portable_f64 : &plumb_kernels_portable_f32;
}
