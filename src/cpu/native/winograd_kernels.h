/* The bodies of Winograd's kernels, written once with vector extensions and included once per instruction set. Before
 * inclusion define VB (bytes of a vector), ROWS (tiles of a strip whose sums fill the registers), NAME(x) and TABLE, and
 * WIDEN(from) where compilers do not find the instruction.
 *
 * With points 0, +-a, +-b, infinity, writing aa for a*a and n for the product of a point's distances to the others, the
 * transforms along one axis are
 *   input   aa bb d0 - (aa+bb) d2 + d4;  (d4 - bb d2) +- a (d3 - bb d1);  (d4 - aa d2) +- b (d3 - aa d1);
 *           aa bb d1 - (aa+bb) d3 + d5
 *   filter  g0/n;  (g0 + aa g2)/n +- a g1/n;  (g0 + bb g2)/n +- b g1/n;  g2
 *   output  m0 + s + t;  a u + b v;  aa s + bb t;  a^3 u + b^3 v + m5
 *           with s, u = m1 +- m2 and t, v = m3 +- m4
 * All constants of the first and the last are exact in f32. */
#define LANES ((int)(VB / sizeof(float)))
#define BLOCK (WINOGRAD_VECTORS * LANES)
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef float NAME(vec) __attribute__((vector_size(VB)));
typedef int32_t NAME(mask) __attribute__((vector_size(VB)));
typedef float NAME(vec_at) __attribute__((vector_size(VB), aligned(sizeof(float))));
typedef uint32_t NAME(words) __attribute__((vector_size(VB)));
typedef uint16_t NAME(low) __attribute__((vector_size(VB / 2)));
typedef uint16_t NAME(low_at) __attribute__((vector_size(VB / 2), aligned(sizeof(uint16_t))));
#define VEC NAME(vec)
#define WORDS NAME(words)

INLINE VEC NAME(load)(const float *from)
{
    return *(const NAME(vec_at) *)from;
}
INLINE void NAME(store)(float *to, VEC x)
{
    *(NAME(vec_at) *)to = x;
}

INLINE VEC NAME(widen)(const uint16_t *from)
{
#ifdef WIDEN
    return (VEC)WIDEN(from);
#else
    return (VEC)(__builtin_convertvector(*(const NAME(low_at) *)from, WORDS) << 16);
#endif
}
INLINE NAME(low) NAME(narrow)(VEC x)
{
    const WORDS bits = (WORDS)x, nan = (WORDS)(x != x), rounded = bits + 0x7fff + (bits >> 16 & 1);
    return __builtin_convertvector(((rounded & ~nan) | ((bits | 0x400000) & nan)) >> 16, NAME(low));
}

static const float NAME(a) = 0.625f, NAME(b) = 1.5f;
#define A NAME(a)
#define B NAME(b)
#define AA (A * A)
#define BB (B * B)

/* ---- inputs ---- */

/* A row of six through the transform along it, to six points; returns where the next goes. */
INLINE float *NAME(input_row)(const VEC *d, float *to, int64_t point)
{
    VEC p = d[4] - BB * d[2], q = d[3] - BB * d[1], r = d[4] - AA * d[2], s = d[3] - AA * d[1];
    NAME(store)(to, d[4] - (AA + BB) * d[2] + AA * BB * d[0]);
    NAME(store)(to += point, p + A * q);
    NAME(store)(to += point, p - A * q);
    NAME(store)(to += point, r + B * s);
    NAME(store)(to += point, r - B * s);
    NAME(store)(to += point, d[5] - (AA + BB) * d[3] + AA * BB * d[1]);
    return to + point;
}

/* Down the columns first, for one or two of the six rows of points at a time: what is between fits in registers, and
 * reading the tile more than once is cheaper than spilling. */
INLINE void NAME(input_vector)(const void *const *from, int64_t c, float *to, int64_t point)
{
    VEC d[WINOGRAD_SIDE], e[WINOGRAD_SIDE];
#define IN(row) NAME(load)((const float *)from[(row)*WINOGRAD_SIDE + j] + c)
    UNROLL
    for (int j = 0; j < WINOGRAD_SIDE; j++)
        d[j] = IN(4) - (AA + BB) * IN(2) + AA * BB * IN(0);
    to = NAME(input_row)(d, to, point);
    UNROLL
    for (int j = 0; j < WINOGRAD_SIDE; j++) {
        VEC even = IN(4) - BB * IN(2), odd = IN(3) - BB * IN(1);
        d[j] = even + A * odd, e[j] = even - A * odd;
    }
    to = NAME(input_row)(d, to, point);
    to = NAME(input_row)(e, to, point);
    UNROLL
    for (int j = 0; j < WINOGRAD_SIDE; j++) {
        VEC even = IN(4) - AA * IN(2), odd = IN(3) - AA * IN(1);
        d[j] = even + B * odd, e[j] = even - B * odd;
    }
    to = NAME(input_row)(d, to, point);
    to = NAME(input_row)(e, to, point);
    UNROLL
    for (int j = 0; j < WINOGRAD_SIDE; j++)
        d[j] = IN(5) - (AA + BB) * IN(3) + AA * BB * IN(1);
    NAME(input_row)(d, to, point);
#undef IN
}

static void NAME(input)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step)
{
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES, to += step)
        NAME(input_vector)(from, c, to, point);
    if (c == channels)
        return;
    float rest[WINOGRAD_POINTS][LANES] = {{0}};
    const void *at[WINOGRAD_POINTS];
    for (int i = 0; i < WINOGRAD_POINTS; i++) {
        for (int64_t j = 0; c + j < channels; j++)
            rest[i][j] = ((const float *)from[i])[c + j];
        at[i] = rest[i];
    }
    NAME(input_vector)(at, 0, to, point);
}

/* The positions of a tile from channel c on, widened; lanes past the channels are zero. */
INLINE void NAME(widen_tile)(const void *const *from, const int positions, int64_t c, int64_t channels,
                             float to[][LANES])
{
    if (c + LANES <= channels) {
        UNROLL
        for (int i = 0; i < positions; i++)
            NAME(store)(to[i], NAME(widen)((const uint16_t *)from[i] + c));
        return;
    }
    uint16_t rest[LANES] = {0};
    for (int i = 0; i < positions; i++) {
        for (int64_t j = 0; c + j < channels; j++)
            rest[j] = ((const uint16_t *)from[i])[c + j];
        NAME(store)(to[i], NAME(widen)(rest));
    }
}

static void NAME(low_input)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step)
{
    float wide[WINOGRAD_POINTS][LANES] __attribute__((aligned(VB)));
    const void *at[WINOGRAD_POINTS];
    for (int i = 0; i < WINOGRAD_POINTS; i++)
        at[i] = wide[i];
    for (int64_t c = 0; c < channels; c += LANES, to += step) {
        NAME(widen_tile)(from, WINOGRAD_POINTS, c, channels, wide);
        NAME(input_vector)(at, 0, to, point);
    }
}

/* ---- filters ---- */

INLINE void NAME(filter_axis)(VEC g0, VEC g1, VEC g2, VEC *to)
{
    const float n0 = 1 / (AA * BB), na = 1 / (2 * AA * (AA - BB)), nb = 1 / (2 * BB * (BB - AA));
    VEC even = na * g0 + AA * na * g2, odd = A * na * g1;
    to[0] = n0 * g0;
    to[1] = even + odd, to[2] = even - odd;
    even = nb * g0 + BB * nb * g2, odd = B * nb * g1;
    to[3] = even + odd, to[4] = even - odd;
    to[5] = g2;
}

static void NAME(filter)(const float *taps, int64_t count, bool turned, float *to, int64_t point)
{
    const int64_t step = turned ? -LANES : LANES;
    if (turned)
        taps += 8 * LANES;
    for (int64_t i = 0; i < count; i++, taps += 9 * LANES, to += BLOCK) {
        VEC column[3][WINOGRAD_SIDE], row[WINOGRAD_SIDE];
        float *at = to;
        UNROLL
        for (int j = 0; j < 3; j++)
            NAME(filter_axis)(NAME(load)(taps + j * step), NAME(load)(taps + (j + 3) * step),
                              NAME(load)(taps + (j + 6) * step), column[j]);
        UNROLL
        for (int p = 0; p < WINOGRAD_SIDE; p++) {
            NAME(filter_axis)(column[0][p], column[1][p], column[2][p], row);
            UNROLL
            for (int q = 0; q < WINOGRAD_SIDE; q++, at += point)
                NAME(store)(at, row[q]);
        }
    }
}

/* ---- products ---- */

INLINE void NAME(product)(const int rows, const int vectors, int64_t k, const float *v, const float *u, float *m,
                          bool add)
{
    VEC sum[WINOGRAD_ROWS][WINOGRAD_VECTORS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++)
            sum[i][j] = add ? NAME(load)(m + i * BLOCK + j * LANES) : (VEC){0};
    }
    for (; k > 0; k -= LANES, v += rows * LANES) {
        const int64_t lanes = k < LANES ? k : LANES;
        for (int64_t c = 0; c < lanes; c++, u += BLOCK) {
            VEC x[WINOGRAD_VECTORS];
            UNROLL
            for (int j = 0; j < vectors; j++)
                x[j] = NAME(load)(u + j * LANES);
            UNROLL
            for (int i = 0; i < rows; i++) {
                UNROLL
                for (int j = 0; j < vectors; j++)
                    sum[i][j] += v[i * LANES + c] * x[j];
            }
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < vectors; j++)
            NAME(store)(m + i * BLOCK + j * LANES, sum[i][j]);
    }
}

#define PRODUCT(vectors, r)                                                                                           \
    static void NAME(product_##vectors##_##r)(int64_t k, const float *v, const float *u, float *m, bool add)          \
    {                                                                                                                 \
        NAME(product)(r, vectors, k, v, u, m, add);                                                                   \
    }
#define EACH_LOW(what, v) what(v, 1) what(v, 2) what(v, 3) what(v, 4) what(v, 5) what(v, 6)
#define EACH_HIGH(what, v)                                                                                            \
    what(v, 7) what(v, 8) what(v, 9) what(v, 10) what(v, 11) what(v, 12) what(v, 13) what(v, 14)
EACH_LOW(PRODUCT, 1)
EACH_LOW(PRODUCT, 2)
#if ROWS > 6
EACH_HIGH(PRODUCT, 1)
EACH_HIGH(PRODUCT, 2)
#endif

/* ---- outputs ---- */

INLINE void NAME(output_axis)(const VEC *m, VEC *to)
{
    VEC s = m[1] + m[2], u = m[1] - m[2], t = m[3] + m[4], v = m[3] - m[4];
    to[0] = m[0] + s + t;
    to[1] = A * u + B * v;
    to[2] = AA * s + BB * t;
    to[3] = m[5] + A * AA * u + B * BB * v;
}

INLINE void NAME(put_low)(uint16_t *to, NAME(low) x, int64_t lanes, const bool whole)
{
    if (whole)
        *(NAME(low_at) *)to = x;
    else
        for (int64_t e = 0; e < lanes; e++)
            to[e] = x[e];
}

/* `whole`: all sixteen outputs and all lanes exist. */
INLINE void NAME(output_vector)(const float *m, int64_t point, const winograd_store *s, int64_t c, const bool whole,
                                const bool low)
{
    VEC y[WINOGRAD_SIDE][WINOGRAD_TILE], bias = {0}, spoiled = NAME(load)(s->spoiled);
    const int64_t lanes = whole ? LANES : plumb_least(s->channels - c, LANES);
    const float *at = m + c;
    UNROLL
    for (int i = 0; i < WINOGRAD_SIDE; i++) {
        VEC row[WINOGRAD_SIDE];
        UNROLL
        for (int j = 0; j < WINOGRAD_SIDE; j++, at += point)
            row[j] = NAME(load)(at);
        NAME(output_axis)(row, y[i]);
    }
    if (s->bias && whole)
        bias = NAME(load)(s->bias + c);
    else if (s->bias)
        for (int64_t e = 0; e < lanes; e++)
            bias[e] = s->bias[c + e];
    UNROLL
    for (int j = 0; j < WINOGRAD_TILE; j++) {
        VEC column[WINOGRAD_SIDE], out[WINOGRAD_TILE];
        UNROLL
        for (int i = 0; i < WINOGRAD_SIDE; i++)
            column[i] = y[i][j];
        NAME(output_axis)(column, out);
        UNROLL
        for (int i = 0; i < WINOGRAD_TILE; i++) {
            if (!whole && (i >= s->rows || j >= s->columns))
                continue;
            const int64_t place = i * s->row + j * s->column + c;
            VEC x = out[i];
            spoiled += x * 0.0f;
            x += bias;
            if (s->relu)
                x = (VEC)((NAME(mask))x & ~(x <= 0));
            if (low)
                NAME(put_low)((uint16_t *)s->to + place, NAME(narrow)(x), lanes, whole);
            else if (whole)
                NAME(store)((float *)s->to + place, x);
            else
                for (int64_t e = 0; e < lanes; e++)
                    ((float *)s->to)[place + e] = x[e];
        }
    }
    NAME(store)(s->spoiled, spoiled);
}

INLINE void NAME(outputs)(const float *m, int64_t point, const winograd_store *store, const bool low)
{
    for (int64_t c = 0; c < store->channels; c += LANES)
        if (store->rows == WINOGRAD_TILE && store->columns == WINOGRAD_TILE && c + LANES <= store->channels)
            NAME(output_vector)(m, point, store, c, true, low);
        else
            NAME(output_vector)(m, point, store, c, false, low);
}

static void NAME(output)(const float *m, int64_t point, const winograd_store *store)
{
    if (store->low)
        NAME(outputs)(m, point, store, true);
    else
        NAME(outputs)(m, point, store, false);
}

/* ---- the gradient of the filter: the transposed output's and filter's transforms ---- */

INLINE void NAME(gradient_axis)(VEC y0, VEC y1, VEC y2, VEC y3, VEC *to)
{
    VEC even = y0 + AA * y2, odd = A * y1 + A * AA * y3;
    to[0] = y0;
    to[1] = even + odd, to[2] = even - odd;
    even = y0 + BB * y2, odd = B * y1 + B * BB * y3;
    to[3] = even + odd, to[4] = even - odd;
    to[5] = y3;
}

static void NAME(low_gradient)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step)
{
    float wide[WINOGRAD_TILE * WINOGRAD_TILE][LANES] __attribute__((aligned(VB)));
    for (int64_t c = 0; c < channels; c += LANES, to += step) {
        VEC column[WINOGRAD_TILE][WINOGRAD_SIDE], row[WINOGRAD_SIDE];
        float *at = to;
        NAME(widen_tile)(from, WINOGRAD_TILE * WINOGRAD_TILE, c, channels, wide);
        UNROLL
        for (int j = 0; j < WINOGRAD_TILE; j++)
            NAME(gradient_axis)(NAME(load)(wide[j]), NAME(load)(wide[j + 4]), NAME(load)(wide[j + 8]),
                                NAME(load)(wide[j + 12]), column[j]);
        UNROLL
        for (int p = 0; p < WINOGRAD_SIDE; p++) {
            NAME(gradient_axis)(column[0][p], column[1][p], column[2][p], column[3][p], row);
            UNROLL
            for (int q = 0; q < WINOGRAD_SIDE; q++, at += point)
                NAME(store)(at, row[q]);
        }
    }
}

INLINE void NAME(taps_axis)(const VEC *m, VEC *to)
{
    const float n0 = 1 / (AA * BB), na = 1 / (2 * AA * (AA - BB)), nb = 1 / (2 * BB * (BB - AA));
    VEC s = na * (m[1] + m[2]), u = na * (m[1] - m[2]), t = nb * (m[3] + m[4]), v = nb * (m[3] - m[4]);
    to[0] = n0 * m[0] + s + t;
    to[1] = A * u + B * v;
    to[2] = AA * s + BB * t + m[5];
}

static void NAME(taps)(const float *m, int64_t point, int64_t vectors, bool turned, float *to, int64_t tap,
                       float *spoiled)
{
    VEC not_finite = NAME(load)(spoiled);
    if (turned)
        to += 8 * tap, tap = -tap;
    for (; vectors > 0; vectors--, m += LANES, to += LANES) {
        VEC y[WINOGRAD_SIDE][3];
        const float *at = m;
        UNROLL
        for (int i = 0; i < WINOGRAD_SIDE; i++) {
            VEC row[WINOGRAD_SIDE];
            UNROLL
            for (int j = 0; j < WINOGRAD_SIDE; j++, at += point)
                row[j] = NAME(load)(at);
            NAME(taps_axis)(row, y[i]);
        }
        UNROLL
        for (int j = 0; j < 3; j++) {
            VEC column[WINOGRAD_SIDE], out[3];
            UNROLL
            for (int i = 0; i < WINOGRAD_SIDE; i++)
                column[i] = y[i][j];
            NAME(taps_axis)(column, out);
            UNROLL
            for (int i = 0; i < 3; i++) {
                not_finite += out[i] * 0.0f;
                NAME(store)(to + (i * 3 + j) * tap, out[i]);
            }
        }
    }
    NAME(store)(spoiled, not_finite);
}

#define CELL(v, r) [r] = NAME(product_##v##_##r),
const winograd_kernels TABLE = {
    .lanes = VB / sizeof(float),
    .rows = ROWS,
    .input = NAME(input),
    .low_input = NAME(low_input),
    .filter = NAME(filter),
#if ROWS > 6
    .product = {{EACH_LOW(CELL, 1) EACH_HIGH(CELL, 1)}, {EACH_LOW(CELL, 2) EACH_HIGH(CELL, 2)}},
#else
    .product = {{EACH_LOW(CELL, 1)}, {EACH_LOW(CELL, 2)}},
#endif
    .output = NAME(output),
    .low_gradient = NAME(low_gradient),
    .taps = NAME(taps),
};
