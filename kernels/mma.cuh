/* The tensor cores' product of fragments, C += A B with A of 16 x 16, B of 16 x 8 and C of 16 x 8 elements, A and B of
 * bf16 or f16, C of f32. The only inline PTX there is.
 *
 * Lane l of the warp has, with g = l / 4 and t = l % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
 *
 *     a[0]: row g,     columns 2t, 2t+1        b[0]: rows 2t, 2t+1,       column g      c[0], c[1]: row g,     columns 2t, 2t+1
 *     a[1]: row g + 8, columns 2t, 2t+1        b[1]: rows 2t + 8, 2t + 9, column g      c[2], c[3]: row g + 8, columns 2t, 2t+1
 *     a[2]: row g,     columns 2t + 8, 2t + 9
 *     a[3]: row g + 8, columns 2t + 8, 2t + 9
 *
 * Products are exact; how the hardware rounds sums on the way is not specified, so only whole numbers may be compared
 * bit for bit. GPUs before sm_80 lack the instruction: there lanes pass each other the elements. The simulator makes the
 * product in one meeting of the lanes, from the table above; scripts/gpu-validate asks a GPU whether it is true. */
#ifndef PLUMB_MMA_CUH
#define PLUMB_MMA_CUH

#include "number.cuh"

namespace {

/* The lower and the upper half of a register, as numbers. */
template <class T> __device__ inline float half_of(uint32_t pair, int upper);
template <> __device__ inline float half_of<bf16>(uint32_t pair, int upper)
{
    return load(__ushort_as_bfloat16((unsigned short)(upper ? pair >> 16 : pair)));
}
template <> __device__ inline float half_of<f16>(uint32_t pair, int upper)
{
    return load(__ushort_as_half((unsigned short)(upper ? pair >> 16 : pair)));
}

/* By shuffles: what lanes without tensor cores do. A loop that is not unrolled: it is slow in any case, and compiles fast. */
template <class T> __device__ inline void mma_shuffled(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    const int lane = (int)threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll 1
    for (int k = 0; k < 16; k++) {
        const int holder = k % 8 / 2; /* among the four lanes of a row of A, or of a column of B */
        const uint32_t top = __shfl_sync(0xffffffffu, k < 8 ? a[0] : a[2], row * 4 + holder);
        const uint32_t low = __shfl_sync(0xffffffffu, k < 8 ? a[1] : a[3], row * 4 + holder);
        const uint32_t left = __shfl_sync(0xffffffffu, k < 8 ? b[0] : b[1], column * 4 + holder);
        const uint32_t right = __shfl_sync(0xffffffffu, k < 8 ? b[0] : b[1], column * 4 + 4 + holder);
        c[0] += half_of<T>(top, k % 2) * half_of<T>(left, k % 2);
        c[1] += half_of<T>(top, k % 2) * half_of<T>(right, k % 2);
        c[2] += half_of<T>(low, k % 2) * half_of<T>(left, k % 2);
        c[3] += half_of<T>(low, k % 2) * half_of<T>(right, k % 2);
    }
}

#if defined(__CUDACC__)

#define PLUMB_MMA(type) \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, " \
        "{%0, %1, %2, %3};" \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <class T> __device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <> __device__ inline void mma<bf16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#if __CUDA_ARCH__ >= 800
    PLUMB_MMA("bf16");
#else
    mma_shuffled<bf16>(c, a, b);
#endif
}
template <> __device__ inline void mma<f16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
#if __CUDA_ARCH__ >= 800
    PLUMB_MMA("f16");
#else
    mma_shuffled<f16>(c, a, b);
#endif
}
#undef PLUMB_MMA

#else

struct mma_lane {
    uint32_t a[4], b[2];
    float c[4];
};

/* All lanes have met: the whole matrices are put together from the fragments, multiplied and taken apart again. */
template <class T> CUDASIM_UNSEEN void mma_meeting(const cudasim_meet *m)
{
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const mma_lane *from = static_cast<const mma_lane *>(m->in[l]);
        for (int e = 0; from && e < 8; e++) {
            a[l / 4 + (e / 2 % 2) * 8][l % 4 * 2 + e % 2 + e / 4 * 8] = half_of<T>(from->a[e / 2], e % 2);
        }
        for (int e = 0; from && e < 4; e++) {
            b[l % 4 * 2 + e % 2 + e / 2 * 8][l / 4] = half_of<T>(from->b[e / 2], e % 2);
        }
    }
    for (int l = 0; l < 32; l++) {
        const mma_lane *from = static_cast<const mma_lane *>(m->in[l]);
        mma_lane *to = static_cast<mma_lane *>(m->out[l]);
        for (int e = 0; from && e < 4; e++) {
            const int row = l / 4 + e / 2 * 8, column = l % 4 * 2 + e % 2;
            float sum = from->c[e];
            for (int k = 0; k < 16; k++) {
                sum += a[row][k] * b[k][column];
            }
            to->c[e] = sum;
        }
    }
}

template <class T>
inline void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char *file = __builtin_FILE(),
                int line = __builtin_LINE())
{
    const mma_lane in = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {c[0], c[1], c[2], c[3]}};
    mma_lane out = in;
    cudasim_warp("mma", 0xffffffffu, mma_meeting<T>, &in, &out, (int)sizeof in, 0, 32, cudasim_place{file, line});
    memcpy(c, out.c, sizeof c);
}

#endif

} // namespace

#endif
