/* Tiles of pairs for every instruction set, which of them a call gets, and what becomes of their sums (pairs.h). */
#include "cpu/native/pairs.h"

#if PLUMB_NATIVE_X86
#include <immintrin.h>
#endif

#define VB 16
#define ROWS 4
#define VECTORS 2
#define NAME(x) portable_##x
#define TABLE portable
#include "cpu/native/pairs_kernels.h"

#if PLUMB_NATIVE_X86
#include "cpu/native/target.h"

PLUMB_TARGET_AVX2
#define VB 32
#define ROWS 4
#define VECTORS 2
#define NAME(x) avx2_##x
#define TABLE avx2
#include "cpu/native/pairs_kernels.h"
PLUMB_TARGET_END

PLUMB_TARGET_AVX512
/* The couples of a line, at most 16 of them, by one permutation. */
static void couple_lines(uint32_t *to, const uint16_t *from, int64_t line, int64_t lines, int64_t count)
{
    const __mmask32 read = (__mmask32)((UINT64_C(1) << 2 * count) - 1);
    const __mmask16 write = (__mmask16)((1u << count) - 1);
    uint16_t order[32];
    for (int i = 0; i < 32; i++)
        order[i] = (uint16_t)(i / 2 + i % 2 * count);
    const __m512i index = _mm512_loadu_si512(order);
    for (int64_t j = 0; j < lines; j++, from += line, to += count)
        _mm512_mask_storeu_epi32(to, write, _mm512_permutexvar_epi16(index, _mm512_maskz_loadu_epi16(read, from)));
}

#define VB 64
#define ROWS 6
#define VECTORS 4
#define NAME(x) avx512_##x
#define TABLE avx512
#define COUPLE couple_lines
#include "cpu/native/pairs_kernels.h"
PLUMB_TARGET_END

PLUMB_TARGET_AVX512_BF16
#define VB 64
#define ROWS 6
#define VECTORS 4
#define NAME(x) avx512_bf16_##x
#define TABLE avx512_bf16
#define COUPLE couple_lines
#define DOT(sum, x, y) ((avx512_bf16_sums)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(x), (__m512bh)(y)))
#define NARROW(x) ((avx512_bf16_low)_mm512_cvtneps_pbh((__m512)(x)))
#include "cpu/native/pairs_kernels.h"
PLUMB_TARGET_END
#endif

const plumb_pair_kernels *plumb_pair_kernels_for(int isa)
{
#if PLUMB_NATIVE_X86
    if (isa >= PLUMB_ISA_AVX512_BF16)
        return &avx512_bf16;
    if (isa >= PLUMB_ISA_AVX512)
        return &avx512;
    if (isa >= PLUMB_ISA_AVX2)
        return &avx2;
#else
    (void)isa;
#endif
    return &portable;
}

plumb_pair_finish plumb_pair_finish_for(const plumb_call *call, int activation, bool bias)
{
    return (plumb_pair_finish){.kernels = plumb_pair_kernels_for(call->isa),
                               .epilogue = plumb_epilogue_for(PLUMB_F32, call->isa, activation, bias),
                               .narrow = plumb_convert_for(PLUMB_BF16, PLUMB_F32, call->isa),
                               .relu = activation == PLUMB_ACTIVATION_RELU,
                               .in_tiles = activation == PLUMB_ACTIVATION_NONE || activation == PLUMB_ACTIVATION_RELU};
}

void plumb_pair_tile(const plumb_pair_finish *finish, plumb_pairs *pairs, int64_t rows, int64_t columns, int64_t column,
                     uint16_t *y, int64_t row)
{
    const int64_t lanes = finish->kernels->lanes, vectors = plumb_parts(columns, lanes);
    const float *bias = finish->bias ? finish->bias + column : NULL;
    bool whole = finish->in_tiles && columns == vectors * lanes;
    pairs->ldc = vectors * lanes;
    pairs->y = whole ? y : NULL, pairs->y_row = row, pairs->bias = bias, pairs->relu = finish->relu;
    finish->kernels->tile[rows][vectors](pairs);
    for (int64_t i = 0; i < rows && !whole; i++) {
        float *sums = pairs->c + i * pairs->ldc;
        if (finish->epilogue)
            finish->epilogue(sums, columns, bias, 1);
        finish->narrow(y + i * row, 1, sums, 1, columns);
    }
}

void plumb_pair_bias(const plumb_call *call, const plumb_view *bias, float *to)
{
    plumb_convert_for(PLUMB_F32, PLUMB_BF16, call->isa)(to, 1, bias->data, bias->stride[0], bias->dim[0]);
}
