/* The bodies of the tiles of pairs.h, included once per instruction set. Before inclusion define VB (bytes of a vector),
 * NAME(x) (a name of its own for each inclusion), ROWS and VECTORS (the tile whose sums fill the registers), TABLE (the
 * table's name), and DOT(sum, x, y), NARROW(x) and COUPLE(...) where instructions add both products of pairs, round sums,
 * and make pairs of at most as many as a vector has. All are undefined at the end. */
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

typedef float NAME(sums) __attribute__((vector_size(VB)));
typedef float NAME(sums_at) __attribute__((vector_size(VB), aligned(4)));
typedef uint32_t NAME(words) __attribute__((vector_size(VB)));
typedef uint32_t NAME(words_at) __attribute__((vector_size(VB), aligned(4)));
typedef uint16_t NAME(low) __attribute__((vector_size(VB / 2)));
typedef uint16_t NAME(low_at) __attribute__((vector_size(VB / 2), aligned(2)));
#define SUMS NAME(sums)
#define WORDS NAME(words)

#ifdef DOT
INLINE SUMS NAME(dot)(SUMS sum, uint32_t a, WORDS b) { return DOT(sum, (WORDS){0} + a, b); }
#else
INLINE SUMS NAME(dot)(SUMS sum, uint32_t a, WORDS b)
{
    const WORDS x = (WORDS){0} + a, high = (WORDS){0} + 0xffff0000u;
    sum += (SUMS)(x << 16) * (SUMS)(b << 16);
    return sum + (SUMS)(x & high) * (SUMS)(b & high);
}
#endif

#ifdef NARROW
INLINE NAME(low) NAME(narrow)(SUMS sum) { return NARROW(sum); }
#else
INLINE NAME(low) NAME(narrow)(SUMS sum)
{
    const WORDS x = (WORDS)sum, nan = (WORDS)(sum != sum), rounded = x + 0x7fff + (x >> 16 & 1);
    return __builtin_convertvector(((rounded & ~nan) | ((x | 0x400000) & nan)) >> 16, NAME(low));
}
#endif

INLINE void NAME(store)(const plumb_pairs *t, int i, int v, SUMS sum)
{
    enum { LANES = VB / 4 };
    if (!t->y) {
        *(NAME(sums_at) *)(t->c + i * t->ldc + v * LANES) = sum;
        return;
    }
    if (t->bias)
        sum += *(const NAME(sums_at) *)(t->bias + v * LANES);
    if (t->relu)
        sum = (SUMS)((WORDS)sum & ~(WORDS)(sum <= 0));
    *(NAME(low_at) *)(t->y + i * t->y_row + v * LANES) = NAME(narrow)(sum);
}

INLINE void NAME(tile)(const int rows, const int vectors, const plumb_pairs *t)
{
    enum { LANES = VB / 4 };
    const int64_t a_row = t->a_row, a_step = t->a_step, b_step = t->b_step, length = t->length;
    SUMS sum[ROWS][VECTORS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[i][v] = t->add ? *(const NAME(sums_at) *)(t->c + i * t->ldc + v * LANES) : (SUMS){0};
    }
    for (int64_t s = 0; s < t->segments; s++) {
        const char *a = t->a + t->a_at[s], *b = t->b + t->b_at[s];
        for (int64_t p = 0; p < length; p++, a += a_step, b += b_step) {
            WORDS y[VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++)
                y[v] = *(const NAME(words_at) *)(const void *)(b + v * VB);
            UNROLL
            for (int i = 0; i < rows; i++) {
                uint32_t x;
                memcpy(&x, a + i * a_row, sizeof x);
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[i][v] = NAME(dot)(sum[i][v], x, y[v]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            NAME(store)(t, i, v, sum[i][v]);
    }
}

static void NAME(interleave)(uint32_t *to, const uint16_t *low, const uint16_t *high, int64_t count)
{
    if (!high)
        for (int64_t j = 0; j < count; j++)
            to[j] = low[j];
    else
        for (int64_t j = 0; j < count; j++)
            to[j] = low[j] | (uint32_t)high[j] << 16;
}

static void NAME(couple)(uint32_t *to, const uint16_t *from, int64_t line, int64_t lines, int64_t count)
{
#ifdef COUPLE
    if (count <= VB / 4) {
        COUPLE(to, from, line, lines, count);
        return;
    }
#endif
    for (int64_t j = 0; j < lines; j++, from += line, to += count)
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i] | (uint32_t)from[count + i] << 16;
}

#define TILE(r, v)                                                                                                    \
    static void NAME(tile_##r##_##v)(const plumb_pairs *pairs) { NAME(tile)(r, v, pairs); }
#define CELL(r, v) [r][v] = NAME(tile_##r##_##v),
#if ROWS > 4
#define EACH_ROW(what, v) what(1, v) what(2, v) what(3, v) what(4, v) what(5, v) what(6, v)
#else
#define EACH_ROW(what, v) what(1, v) what(2, v) what(3, v) what(4, v)
#endif
#if VECTORS > 2
#define EACH(what) EACH_ROW(what, 1) EACH_ROW(what, 2) EACH_ROW(what, 3) EACH_ROW(what, 4)
#else
#define EACH(what) EACH_ROW(what, 1) EACH_ROW(what, 2)
#endif
EACH(TILE)
static const plumb_pair_kernels TABLE = {
    .lanes = VB / 4,
    .rows = ROWS,
    .vectors = VECTORS,
    .tile = {EACH(CELL)},
    .interleave = NAME(interleave),
    .couple = NAME(couple),
};

#undef INLINE
#undef UNROLL
#undef SUMS
#undef WORDS
#undef TILE
#undef CELL
#undef EACH_ROW
#undef EACH
#undef VB
#undef NAME
#undef ROWS
#undef VECTORS
#undef TABLE
#undef DOT
#undef NARROW
#undef COUPLE
