/* Max pooling over 2x2 tiles for AVX-512, sixteen outputs at a time. Pictures are often narrower than that
 * (14 or 5 outputs a row in LeNet), so rows end in masked loads and stores rather than in a loop over
 * single elements; compilers make the latter. */
#include "cpu/native/pool.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu/native/target.h"
PLUMB_TARGET_AVX512

enum { LANES = 16 };

/* The lowest `count` lanes; none below 0, all from LANES on. */
static inline __mmask16 lowest(int64_t count)
{
    return (__mmask16)(count >= LANES ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

struct pairs {
    __m512 even, odd;
};

/* Of the 2 * count elements at x, those at even and at odd places. */
static inline struct pairs load_pairs(const float *x, int64_t count)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512 low = _mm512_maskz_loadu_ps(lowest(2 * count), x);
    __m512 high = _mm512_maskz_loadu_ps(lowest(2 * count - LANES), x + LANES);
    return (struct pairs){_mm512_permutex2var_ps(low, even, high), _mm512_permutex2var_ps(low, odd, high)};
}

static inline void store_pairs(float *x, int64_t count, __m512 even, __m512 odd)
{
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    _mm512_mask_storeu_ps(x, lowest(2 * count), _mm512_permutex2var_ps(even, first, odd));
    _mm512_mask_storeu_ps(x + LANES, lowest(2 * count - LANES), _mm512_permutex2var_ps(even, second, odd));
}

struct best {
    __m512 value;
    __m512i at;
};

/* v takes the place of the best where it is larger, or a NaN where there was none. */
static inline struct best better(struct best b, __m512 v, int32_t at)
{
    __mmask16 not_below = _mm512_cmp_ps_mask(v, b.value, _CMP_NLE_UQ);
    __mmask16 take = _mm512_mask_cmp_ps_mask(not_below, b.value, b.value, _CMP_ORD_Q);
    b.value = _mm512_mask_mov_ps(b.value, take, v);
    b.at = _mm512_mask_mov_epi32(b.at, take, _mm512_set1_epi32(at));
    return b;
}

static inline __m512i twice_lane(void)
{
    return _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}

void plumb_max_tiles_avx512(struct pool_work *t, int64_t plane)
{
    int32_t w = (int32_t)t->w;
    const float *x = t->from + plane * t->h * t->w;
    float *y = t->to + plane * t->oh * t->ow;
    int64_t *index = t->index_out + plane * t->oh * t->ow;
    for (int64_t oh = 0; oh < t->oh; oh++, y += t->ow, index += t->ow) {
        for (int64_t ow = 0; ow < t->ow; ow += LANES) {
            int64_t count = t->ow - ow, first = 2 * oh * t->w + 2 * ow;
            struct pairs top = load_pairs(x + first, count), bottom = load_pairs(x + first + t->w, count);
            struct best b = {top.even, _mm512_setzero_si512()};
            b = better(b, top.odd, 1);
            b = better(b, bottom.even, w);
            b = better(b, bottom.odd, w + 1);
            _mm512_mask_storeu_ps(y + ow, lowest(count), b.value);
            __m512i at =
                _mm512_add_epi32(b.at, _mm512_add_epi32(twice_lane(), _mm512_set1_epi32((int32_t)first)));
            __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(at));
            __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(at, 1));
            _mm512_mask_storeu_epi64(index + ow, (__mmask8)lowest(count), low);
            _mm512_mask_storeu_epi64(index + ow + 8, (__mmask8)(lowest(count) >> 8), high);
        }
    }
}

/* Sixteen indices less `first` and less the even number of their lane; lanes of `*far` do not fit in 32
 * bits. */
static inline __m512i distances(const int64_t *index, int64_t first, int64_t count, __mmask16 *far)
{
    const __m512i base = _mm512_set1_epi64(first), limit = _mm512_set1_epi64(INT32_MAX);
    __mmask16 lanes = lowest(count);
    __m512i low = _mm512_sub_epi64(_mm512_maskz_loadu_epi64((__mmask8)lanes, index), base);
    __m512i high = _mm512_sub_epi64(_mm512_maskz_loadu_epi64((__mmask8)(lanes >> 8), index + 8), base);
    *far = (__mmask16)(_mm512_cmpgt_epu64_mask(low, limit) | (_mm512_cmpgt_epu64_mask(high, limit) << 8));
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low)),
                                      _mm512_cvtepi64_epi32(high), 1);
    return _mm512_sub_epi32(both, twice_lane());
}

bool plumb_max_backward_tiles_avx512(struct pool_work *t, int64_t plane)
{
    __m512i w = _mm512_set1_epi32((int32_t)t->w), one = _mm512_set1_epi32(1);
    float *dx = t->to + plane * t->h * t->w;
    const float *dy = t->from + plane * t->oh * t->ow;
    const int64_t *index = t->index + plane * t->oh * t->ow;
    unsigned strange = 0;
    for (int64_t oh = 0; oh < t->oh; oh++, dy += t->ow, index += t->ow) {
        for (int64_t ow = 0; ow < t->ow; ow += LANES) {
            int64_t count = t->ow - ow, first = 2 * oh * t->w + 2 * ow;
            __mmask16 lanes = lowest(count), far;
            __m512i at = distances(index + ow, first, count, &far);
            __m512 d = _mm512_maskz_loadu_ps(lanes, dy + ow);
            __mmask16 a = _mm512_cmpeq_epi32_mask(at, _mm512_setzero_si512()),
                      b = _mm512_cmpeq_epi32_mask(at, one);
            __mmask16 c = _mm512_cmpeq_epi32_mask(at, w);
            __mmask16 e = _mm512_cmpeq_epi32_mask(at, _mm512_add_epi32(w, one));
            strange |= lanes & (far | (~(unsigned)(a | b | c | e)));
            store_pairs(dx + first, count, _mm512_maskz_mov_ps(a, d), _mm512_maskz_mov_ps(b, d));
            store_pairs(dx + first + t->w, count, _mm512_maskz_mov_ps(c, d), _mm512_maskz_mov_ps(e, d));
        }
        if (t->w > 2 * t->ow)
            dx[2 * oh * t->w + t->w - 1] = dx[(2 * oh + 1) * t->w + t->w - 1] = 0;
    }
    memset(dx + 2 * t->oh * t->w, 0, sizeof(float) * (size_t)((t->h - 2 * t->oh) * t->w));
    return strange == 0;
}

PLUMB_TARGET_END
#endif
