/* Which vector instructions the CPU kernels may use: asked of the processor and the operating system at run time, so
 * one build serves all machines. */
#include "core/core.h"

int plumb_isa_detect(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return PLUMB_ISA_SCALAR;
    }
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!avx512) {
        return PLUMB_ISA_AVX2;
    }
    return __builtin_cpu_supports("avx512bf16") ? PLUMB_ISA_AVX512_BF16 : PLUMB_ISA_AVX512;
#else
    return PLUMB_ISA_SCALAR;
#endif
}

const char *plumb_isa_name(int isa)
{
    static const char *const names[PLUMB_ISA_COUNT] = {
        [PLUMB_ISA_SCALAR] = "scalar",
        [PLUMB_ISA_AVX2] = "avx2",
        [PLUMB_ISA_AVX512] = "avx512",
        [PLUMB_ISA_AVX512_BF16] = "avx512_bf16",
    };
    return isa >= 0 && isa < PLUMB_ISA_COUNT ? names[isa] : "?";
}
