/* The bodies of the inner kernels, written once with vector extensions and included once per element type and
 * instruction set. Before inclusion define T (element type), WIDE (its bytes, for the preprocessor), VB
 * (bytes of a vector), NAME(x) (a name of its own for each inclusion), ROWS and VECTORS (the tile whose sums
 * fill the registers), TALL (the vectors of tiles of more than six rows, 0: there are none), DOT_ROWS and
 * TABLE (the table's name). T, WIDE, NAME and TABLE are undefined again at the end.
 *
 * Sums run over k in order in each lane, so a result depends on the table, never on who computes it. */
#define LANES ((int)(VB / sizeof(T)))
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* Values have their natural alignment; memory is read through the types named ..._at, which have an element's. One type
 * for both would put spilled registers on the stack at any address, where aligned moves fault. */
typedef T NAME(vec) __attribute__((vector_size(VB)));
typedef T NAME(vec_at) __attribute__((vector_size(VB), aligned(sizeof(T))));
#define VEC NAME(vec)

INLINE VEC NAME(load)(const T *from) { return *(const NAME(vec_at) *)from; }
INLINE void NAME(store)(T *to, VEC x) { *(NAME(vec_at) *)to = x; }

INLINE void NAME(tile)(const int rows, const int vectors, int64_t k, const T *a, const T *b,
                       const int32_t *offset, T *c, int64_t ldc, bool add)
{
    VEC sum[PLUMB_TILE_ROWS][PLUMB_TILE_VECTORS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[i][v] = add ? NAME(load)(c + i * ldc + v * LANES) : (VEC){0};
    }
    for (int64_t p = 0; p < k; p++, a += rows) {
        const T *row = b + offset[p];
        VEC x[PLUMB_TILE_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            x[v] = NAME(load)(row + v * LANES);
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[i][v] += a[i] * x[v];
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            NAME(store)(c + i * ldc + v * LANES, sum[i][v]);
    }
}

/* The sums of four vectors' lanes: halves on halves down to four (two) lanes, then a transposed addition. */
#if VB / WIDE > 4
typedef T NAME(four) __attribute__((vector_size(4 * WIDE)));
typedef T NAME(four_at) __attribute__((vector_size(4 * WIDE), aligned(sizeof(T))));
#else
typedef VEC NAME(four);
typedef NAME(vec_at) NAME(four_at);
#endif

INLINE NAME(four) NAME(fold)(VEC x)
{
#if VB / WIDE == 16
    typedef T octet __attribute__((vector_size(32)));
    octet y = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
              __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    return __builtin_shufflevector(y, y, 0, 1, 2, 3) + __builtin_shufflevector(y, y, 4, 5, 6, 7);
#elif VB / WIDE == 8
    return __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
#else
    return x;
#endif
}

INLINE void NAME(totals)(T *c, bool add, VEC w, VEC x, VEC y, VEC z)
{
    NAME(four) a = NAME(fold)(w), b = NAME(fold)(x), d = NAME(fold)(y), e = NAME(fold)(z);
#if VB / WIDE == 2
    NAME(four) low = __builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3);
    NAME(four) high = __builtin_shufflevector(d, e, 0, 2) + __builtin_shufflevector(d, e, 1, 3);
    *(NAME(four_at) *)c = add ? *(NAME(four_at) *)c + low : low;
    *(NAME(four_at) *)(c + 2) = add ? *(NAME(four_at) *)(c + 2) + high : high;
#else
    NAME(four) ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
    NAME(four) de = __builtin_shufflevector(d, e, 0, 4, 1, 5) + __builtin_shufflevector(d, e, 2, 6, 3, 7);
    NAME(four) sum = __builtin_shufflevector(ab, de, 0, 1, 4, 5) + __builtin_shufflevector(ab, de, 2, 3, 6, 7);
    *(NAME(four_at) *)c = add ? *(NAME(four_at) *)c + sum : sum;
#endif
}

/* A vector whose first `skip` lanes are zeros, whatever lies there. */
#if WIDE == 4
typedef int32_t NAME(bits) __attribute__((vector_size(VB)));
#else
typedef int64_t NAME(bits) __attribute__((vector_size(VB)));
#endif
INLINE VEC NAME(behind)(const T *from, int64_t skip)
{
    NAME(bits) lane, least;
    UNROLL
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    least = (NAME(bits)){0} + (typeof(lane[0]))skip;
    return (VEC)((NAME(bits))NAME(load)(from) & (lane >= least));
}

INLINE void NAME(dot)(const int rows, const plumb_dots *d)
{
    const int64_t whole = d->length / LANES * LANES, ar = d->ar;
    const T *a = d->a, *b = d->b;
    T *c = d->c, rest[PLUMB_DOT_ROWS][PLUMB_DOT_COLUMNS] = {{0}};
    VEC sum[PLUMB_DOT_ROWS][PLUMB_DOT_COLUMNS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < PLUMB_DOT_COLUMNS; j++)
            sum[i][j] = (VEC){0};
    }
    for (int64_t s = 0; s < d->segments; s++, a += d->as, b += d->bs) {
        const T *b0 = b + d->offset[0], *b1 = b + d->offset[1];
        const T *b2 = b + d->offset[2], *b3 = b + d->offset[3];
        for (int64_t p = 0; p < whole; p += LANES) {
            VEC x0 = NAME(load)(b0 + p), x1 = NAME(load)(b1 + p);
            VEC x2 = NAME(load)(b2 + p), x3 = NAME(load)(b3 + p);
            UNROLL
            for (int i = 0; i < rows; i++) {
                VEC y = NAME(load)(a + i * ar + p);
                sum[i][0] += y * x0;
                sum[i][1] += y * x1;
                sum[i][2] += y * x2;
                sum[i][3] += y * x3;
            }
        }
        if (whole && whole < d->length) { /* a vector up to the end, of which only what is new counts */
            const int64_t p = d->length - LANES;
            VEC x0 = NAME(behind)(b0 + p, whole - p), x1 = NAME(behind)(b1 + p, whole - p);
            VEC x2 = NAME(behind)(b2 + p, whole - p), x3 = NAME(behind)(b3 + p, whole - p);
            UNROLL
            for (int i = 0; i < rows; i++) {
                VEC y = NAME(behind)(a + i * ar + p, whole - p);
                sum[i][0] += y * x0;
                sum[i][1] += y * x1;
                sum[i][2] += y * x2;
                sum[i][3] += y * x3;
            }
        }
        for (int64_t p = 0; p < d->length && !whole; p++)
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < PLUMB_DOT_COLUMNS; j++)
                    rest[i][j] += a[i * ar + p] * b[d->offset[j] + p];
    }
    UNROLL
    for (int i = 0; i < rows; i++)
        NAME(totals)(c + i * d->ldc, d->add, sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    for (int i = 0; i < rows && !whole; i++)
        for (int j = 0; j < PLUMB_DOT_COLUMNS; j++)
            c[i * d->ldc + j] += rest[i][j];
}

#define TILE(r, v)                                                                                                    \
    static void NAME(tile_##r##_##v)(int64_t k, const void *a, const void *b, const int32_t *offset, void *c,         \
                                     int64_t ldc, bool add)                                                           \
    {                                                                                                                 \
        NAME(tile)(r, v, k, a, b, offset, c, ldc, add);                                                               \
    }
#define DOT(r)                                                                                                        \
    static void NAME(dot_##r)(const plumb_dots *dots)                                                                 \
    {                                                                                                                 \
        NAME(dot)(r, dots);                                                                                           \
    }
#define EACH_ROW(what, v) what(1, v) what(2, v) what(3, v) what(4, v) what(5, v) what(6, v)
#if TALL > 0
#define TALL_ROWS(what) what(7, 1) what(7, 2) what(7, 3) what(8, 1) what(8, 2) what(8, 3)
#else
#define TALL_ROWS(what)
#endif
#if VECTORS > 2
#define EACH_TILE(what) EACH_ROW(what, 1) EACH_ROW(what, 2) EACH_ROW(what, 3) EACH_ROW(what, 4) TALL_ROWS(what)
#else
#define EACH_TILE(what) EACH_ROW(what, 1) EACH_ROW(what, 2) TALL_ROWS(what)
#endif
EACH_TILE(TILE)
DOT(1) DOT(2) DOT(3)
#if DOT_ROWS > 3
DOT(4) DOT(5) DOT(6)
#endif

/* Short rows are the rule in convolutions: a row is whole vectors and one more that overlaps them; a row
 * shorter than a vector is the same with vectors of half the size. Source and destination never overlap. */
typedef T NAME(half_at) __attribute__((vector_size(VB / 2), aligned(sizeof(T))));
typedef T NAME(quarter_at) __attribute__((vector_size(VB / 4 > 8 ? VB / 4 : 8), aligned(sizeof(T))));
#define SPAN(type, bias)                                                                                              \
    do {                                                                                                              \
        const int64_t width = (int64_t)(sizeof(type) / sizeof(T));                                                    \
        if (n >= width) {                                                                                             \
            int64_t j = 0;                                                                                            \
            for (; j + width <= n; j += width)                                                                        \
                *(type *)(to + j) = *(const type *)(from + j) bias;                                                   \
            if (j < n)                                                                                                \
                *(type *)(to + n - width) = *(const type *)(from + n - width) bias;                                   \
            return;                                                                                                   \
        }                                                                                                             \
    } while (0)

INLINE void NAME(copy_short_row)(T *to, const T *from, int64_t n)
{
    SPAN(NAME(half_at), );
    SPAN(NAME(quarter_at), );
    for (int64_t j = 0; j < n; j++)
        to[j] = from[j];
}

INLINE void NAME(copy_row)(T *to, const T *from, int64_t n)
{
    SPAN(NAME(vec_at), );
    NAME(copy_short_row)(to, from, n);
}

/* A tile's last vector, of which only the first `count` elements lie in C. Those of B are read by mask as well, where there
 * are masks; then half a vector does for what fits into it, in half the time. Elsewhere B's vectors are whole. */
#if VB == 64
typedef T NAME(low) __attribute__((vector_size(VB / 2)));
#define MASK(bits, count) ((__mmask##bits)((1u << (count)) - 1))
#if WIDE == 4
INLINE VEC NAME(load_part)(const T *from, int count) { return (VEC)_mm512_maskz_loadu_ps(MASK(16, count), from); }
INLINE void NAME(store_part)(T *to, VEC x, int count) { _mm512_mask_storeu_ps(to, MASK(16, count), (__m512)x); }
INLINE NAME(low) NAME(load_low)(const T *from, int count) { return (NAME(low))_mm256_maskz_loadu_ps(MASK(8, count), from); }
INLINE void NAME(store_low)(T *to, NAME(low) x, int count) { _mm256_mask_storeu_ps(to, MASK(8, count), (__m256)x); }
#else
INLINE VEC NAME(load_part)(const T *from, int count) { return (VEC)_mm512_maskz_loadu_pd(MASK(8, count), from); }
INLINE void NAME(store_part)(T *to, VEC x, int count) { _mm512_mask_storeu_pd(to, MASK(8, count), (__m512d)x); }
INLINE NAME(low) NAME(load_low)(const T *from, int count) { return (NAME(low))_mm256_maskz_loadu_pd(MASK(8, count), from); }
INLINE void NAME(store_low)(T *to, NAME(low) x, int count) { _mm256_mask_storeu_pd(to, MASK(8, count), (__m256d)x); }
#endif
#define LOAD_LAST(from, count) NAME(load_part)(from, count)
#undef MASK
#else
typedef VEC NAME(low);
INLINE VEC NAME(load_part)(const T *from, int count)
{
    T part[LANES] = {0};
    if (count == LANES)
        return NAME(load)(from);
    NAME(copy_short_row)(part, from, count);
    return NAME(load)(part);
}
INLINE void NAME(store_part)(T *to, VEC x, int count)
{
    T part[LANES];
    NAME(store)(count == LANES ? to : part, x);
    if (count < LANES)
        NAME(copy_short_row)(to, part, count);
}
/* nothing has halves here */
INLINE VEC NAME(load_low)(const T *from, int count) { return NAME(load_part)(from, count); }
INLINE void NAME(store_low)(T *to, VEC x, int count) { NAME(store_part)(to, x, count); }
#define LOAD_LAST(from, count) NAME(load)(from)
#endif

INLINE void NAME(panel)(const int rows, const int vectors, const bool half, const plumb_panel *p)
{
    const int64_t ar = p->a_row, ak = p->a_k, br = p->b_row, ldc = p->ldc, last = (vectors - 1) * LANES;
    const T *a0 = p->a, *a3 = a0 + 3 * ar, *a6 = a3 + 3 * ar, *b = p->b; /* three rows from each: addresses of one index */
    const int tail = p->tail, whole = vectors - half;
    T *c = p->c;
    VEC sum[PLUMB_TILE_ROWS][PLUMB_TILE_VECTORS];
    NAME(low) low[PLUMB_TILE_ROWS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors - 1; v++)
            sum[i][v] = p->add ? NAME(load)(c + i * ldc + v * LANES) : (VEC){0};
        if (half)
            low[i] = p->add ? NAME(load_low)(c + i * ldc + last, tail) : (NAME(low)){0};
        else
            sum[i][vectors - 1] = p->add ? NAME(load_part)(c + i * ldc + last, tail) : (VEC){0};
    }
    for (int64_t q = p->k; q > 0; q--, a0 += ak, a3 += ak, a6 += ak, b += br) {
        VEC x[PLUMB_TILE_VECTORS];
        NAME(low) z;
        UNROLL
        for (int v = 0; v < vectors - 1; v++)
            x[v] = NAME(load)(b + v * LANES);
        if (half)
            z = NAME(load_low)(b + last, tail);
        else
            x[vectors - 1] = LOAD_LAST(b + last, tail);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const T y = (i < 3 ? a0 : i < 6 ? a3 : a6)[i % 3 * ar];
            UNROLL
            for (int v = 0; v < whole; v++)
                sum[i][v] += y * x[v];
            if (half)
                low[i] += y * z;
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors - 1; v++)
            NAME(store)(c + i * ldc + v * LANES, sum[i][v]);
        if (half)
            NAME(store_low)(c + i * ldc + last, low[i], tail);
        else
            NAME(store_part)(c + i * ldc + last, sum[i][vectors - 1], tail);
    }
}

#define PANEL(r, v)                                                                                                   \
    static void NAME(panel_##r##_##v)(const plumb_panel *panel)                                                       \
    {                                                                                                                 \
        NAME(panel)(r, v, false, panel);                                                                              \
    }
#define HALF_PANEL(r, v)                                                                                              \
    static void NAME(half_panel_##r##_##v)(const plumb_panel *panel)                                                  \
    {                                                                                                                 \
        NAME(panel)(r, v, true, panel);                                                                               \
    }
EACH_TILE(PANEL)
#if VB == 64
EACH_TILE(HALF_PANEL)
#endif

INLINE void NAME(add_row)(T *to, const T *from, int64_t n, T bias)
{
    SPAN(NAME(vec_at), +bias);
    SPAN(NAME(half_at), +bias);
    SPAN(NAME(quarter_at), +bias);
    for (int64_t j = 0; j < n; j++)
        to[j] = from[j] + bias;
}

static void NAME(move)(const plumb_move *m)
{
    T *to = m->to;
    const T *from = m->from, *bias = m->bias;
    bool plain = m->to_step == 1 && m->from_step == 1;
    for (int64_t i = 0; i < m->rows; i++, to += m->to_row, from += m->from_row) {
        if (plain && bias)
            NAME(add_row)(to, from, m->columns, bias[i * m->bias_row]);
        else if (plain)
            NAME(copy_row)(to, from, m->columns);
        else if (bias)
            for (int64_t j = 0; j < m->columns; j++)
                to[j * m->to_step] = from[j * m->from_step] + bias[i * m->bias_row];
        else
            for (int64_t j = 0; j < m->columns; j++)
                to[j * m->to_step] = from[j * m->from_step];
    }
}

#if WIDE == 4 && VB >= 32
/* An 8 x 8 block through registers: pairs, then fours, then halves change places. Rows from `rows` on are
 * taken as zeros; the columns are written in order, eight elements each. */
typedef T NAME(eight) __attribute__((vector_size(32)));
typedef T NAME(eight_at) __attribute__((vector_size(32), aligned(sizeof(T))));
INLINE void NAME(block)(T *to, int64_t ld, const T *from, int64_t row, int64_t rows)
{
    NAME(eight) r[8], s[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = i < rows ? *(const NAME(eight_at) *)(from + i * row) : (NAME(eight)){0};
    UNROLL
    for (int i = 0; i < 8; i += 2) {
        s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = __builtin_shufflevector(s[i], s[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 1] = __builtin_shufflevector(s[i], s[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        r[i + 2] = __builtin_shufflevector(s[i + 1], s[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        r[i + 3] = __builtin_shufflevector(s[i + 1], s[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    UNROLL
    for (int i = 0; i < 4; i++)
        *(NAME(eight_at) *)(to + i * ld) = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    UNROLL
    for (int i = 0; i < 4; i++)
        *(NAME(eight_at) *)(to + (i + 4) * ld) =
            __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
}
#else
INLINE void NAME(block)(T *to, int64_t ld, const T *from, int64_t row, int64_t rows)
{
    for (int j = 0; j < 8; j++)
        for (int64_t i = 0; i < rows; i++)
            to[j * ld + i] = from[i * row + j];
}
#endif

/* Fewer than eight rows in all go through blocks too: what a column writes too much, the next column writes
 * over, and the last column is written element by element. */
static void NAME(interleave)(void *to_start, int64_t ld, const void *from_start, int64_t row, int64_t rows,
                             int64_t columns)
{
    T *to = to_start;
    const T *from = from_start;
    int64_t i = 0;
    for (; i + 8 <= rows || (i == 0 && rows > 3 && ld == rows); i += 8) {
        const int64_t high = plumb_least(rows - i, 8), whole = (columns - (high < 8)) / 8 * 8;
        for (int64_t j = 0; j < whole && high == 8; j += 8)
            NAME(block)(to + j * ld + i, ld, from + i * row + j, row, 8);
        for (int64_t j = 0; j < whole && high < 8; j += 8)
            NAME(block)(to + j * ld + i, ld, from + i * row + j, row, high);
        for (int64_t j = whole; j < columns; j++)
            for (int64_t e = i; e < i + high; e++)
                to[j * ld + e] = from[e * row + j];
    }
    for (; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[j * ld + i] = from[i * row + j];
}

static void NAME(gather)(void *to_start, int64_t width, const void *from, const int32_t *offset, int64_t k,
                         const int32_t *run, const int32_t *at, int64_t runs)
{
    T *to = to_start;
    for (int64_t p = 0; p < k; p++, to += width) {
        const T *row = (const T *)from + offset[p];
        for (int64_t s = 0; s < runs; s++)
            NAME(copy_row)(to + at[s], row + run[s], at[s + 1] - at[s]);
    }
}

static void NAME(fill)(void *to_start, const void *value, int64_t count)
{
    T *to = to_start;
    const T x = *(const T *)value;
    const VEC y = (VEC){0} + x;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        NAME(store)(to + i, y);
    for (; i < count; i++)
        to[i] = x;
}

static void NAME(add)(void *to_start, const void *from_start, int64_t count)
{
    T *to = to_start;
    const T *from = from_start;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        NAME(store)(to + i, NAME(load)(to + i) + NAME(load)(from + i));
    for (; i < count; i++)
        to[i] += from[i];
}

/* Whatever is not finite gives NaN times zero, and NaN stays. */
static bool NAME(finite)(const void *x_start, int64_t count)
{
    const T *x = x_start;
    VEC sum[4] = {{0}, {0}, {0}, {0}};
    T rest = 0;
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        UNROLL
        for (int v = 0; v < 4; v++)
            sum[v] += NAME(load)(x + i + v * LANES) * (T)0;
    }
    for (; i < count; i++)
        rest += x[i] * (T)0;
    for (int v = 0; v < 4; v++)
        for (int e = 0; e < LANES; e++)
            rest += sum[v][e];
    return rest == 0;
}

#define CELL(r, v) [r][v] = NAME(tile_##r##_##v),
#define CELL_PANEL(r, v) [false][r][v] = NAME(panel_##r##_##v),
#define CELL_HALF(r, v) [true][r][v] = NAME(half_panel_##r##_##v),
#define CELL_DOT(r) [r] = NAME(dot_##r),
const plumb_kernels TABLE = {
    .size = sizeof(T),
    .lanes = VB / sizeof(T),
    .rows = ROWS,
    .vectors = {0, VECTORS, VECTORS, VECTORS, VECTORS, VECTORS, VECTORS, TALL, TALL},
    .dot_rows = DOT_ROWS,
    .tile = {EACH_TILE(CELL)},
#if VB == 64
    .masked = true,
    .panel = {EACH_TILE(CELL_PANEL) EACH_TILE(CELL_HALF)},
#else
    .panel = {EACH_TILE(CELL_PANEL)},
#endif
    .dot =
        {
            CELL_DOT(1) CELL_DOT(2) CELL_DOT(3)
#if DOT_ROWS > 3
                CELL_DOT(4) CELL_DOT(5) CELL_DOT(6)
#endif
        },
    .move = NAME(move),
    .interleave = NAME(interleave),
    .gather = NAME(gather),
    .fill = NAME(fill),
    .add = NAME(add),
    .finite = NAME(finite),
};

#undef LANES
#undef INLINE
#undef UNROLL
#undef VEC
#undef TILE
#undef DOT
#undef PANEL
#undef HALF_PANEL
#undef LOAD_LAST
#undef EACH_ROW
#undef TALL_ROWS
#undef EACH_TILE
#undef SPAN
#undef CELL
#undef CELL_PANEL
#undef CELL_HALF
#undef CELL_DOT
#undef T
#undef WIDE
#undef NAME
#undef TABLE
