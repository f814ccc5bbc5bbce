/* The bodies of the inner kernels over channels-last pictures (conv_last.h), written once with vector extensions and
 * included once per instruction set. Before inclusion define VB (bytes of a vector), FEW, SOME and MANY (the most rows of
 * tiles of one, of two, and of three or four vectors; MANY 0: there are none) and TABLE (the table's name).
 *
 * Both products are a broadcast of an element of x times a few vectors, sums in registers. They differ in where rows and
 * steps of k lie: positions are a step apart and k lies together, or the other way round. */
#include "cpu/native/conv_last.h"

#define LANES ((int)(VB / sizeof(float)))
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#if defined(__GNUC__)
#define KEEP(pointer) __asm__("" : "+r"(pointer))
#else
#define KEEP(pointer) (void)(pointer)
#endif

enum {
    LINE = 16, /* elements of a cache line */
    AHEAD = 24 /* positions that sums over them ask for before they come to them */
};

typedef float vec __attribute__((vector_size(VB)));
typedef float vec_at __attribute__((vector_size(VB), aligned(sizeof(float))));
typedef vec sums[PLUMB_LAST_ROWS][PLUMB_LAST_VECTORS];

INLINE void begin(const int rows, const int vectors, vec sum[][PLUMB_LAST_VECTORS], const float *c, int64_t ld, bool add)
{
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[i][v] = add ? (vec) * (const vec_at *)(c + i * ld + v * LANES) : (vec){0};
    }
}

INLINE void finish(const int rows, const int vectors, vec sum[][PLUMB_LAST_VECTORS], float *c, int64_t ld)
{
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            *(vec_at *)(c + i * ld + v * LANES) = sum[i][v];
    }
}

/* One piece for positions [low, rows - high). Every third position has a pointer of its own, from which the next two are
 * reached by index registers; the empty statement keeps the compiler from making others, of which it would run out. What
 * the next tile reads is asked for. */
INLINE void piece(const int rows, const int vectors, const int low, const int high, vec sum[][PLUMB_LAST_VECTORS],
                  const plumb_last_piece *from, int64_t offset, int64_t step)
{
    const float *at[(PLUMB_LAST_ROWS + 2) / 3], *w = from->w;
    UNROLL
    for (int g = 0; 3 * g < rows; g++) {
        at[g] = (const float *)from->x + offset + 3 * g * step;
        KEEP(at[g]);
    }
    for (int64_t left = from->length; left > 0; left -= LINE) {
        const int64_t length = left < LINE ? left : LINE;
        UNROLL
        for (int i = low; i < rows - high; i++)
            __builtin_prefetch(at[i / 3] + (i % 3 + rows) * step);
        for (int64_t p = 0; p < length; p++, w += vectors * LANES) {
            vec b[PLUMB_LAST_VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++)
                b[v] = *(const vec_at *)(w + v * LANES);
            UNROLL
            for (int i = low; i < rows - high; i++) {
                const float a = at[i / 3][i % 3 * step];
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[i][v] += a * b[v];
            }
            UNROLL
            for (int g = 0; 3 * g < rows; g++)
                at[g]++;
        }
    }
}

INLINE void tile(const int rows, const int vectors, const plumb_last_piece *from, int64_t pieces, int64_t step, float *y,
                 int64_t ldy, int64_t offset, bool add)
{
    sums sum;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v += LINE / LANES)
            __builtin_prefetch(y + i * ldy + v * LANES, 1);
    }
    begin(rows, vectors, sum, y, ldy, add);
    for (const plumb_last_piece *end = from + pieces; from < end; from++) {
        if (rows == 1 || from->skip == 0)
            piece(rows, vectors, 0, 0, sum, from, offset, step);
        else if (from->skip == 1)
            piece(rows, vectors, 1, 0, sum, from, offset, step);
        else if (from->skip == 2)
            piece(rows, vectors, 0, 1, sum, from, offset, step);
        else
            piece(rows, vectors, 1, 1, sum, from, offset, step);
    }
    finish(rows, vectors, sum, y, ldy);
}

INLINE void outer(const int rows, const int vectors, const plumb_last_outer *o)
{
    sums sum;
    const int64_t x_step = o->x_step, y_step = o->y_step;
    begin(rows, vectors, sum, o->dw, o->ldw, o->add);
    for (int64_t r = 0; r < o->runs; r++) {
        const float *x = (const float *)o->x + o->run[r].x, *y = (const float *)o->y + o->run[r].y;
        for (int64_t p = o->run[r].length; p > 0; p--, x += x_step, y += y_step) {
            vec b[PLUMB_LAST_VECTORS];
            UNROLL
            for (int v = 0; v < vectors; v++)
                b[v] = *(const vec_at *)(y + v * LANES);
            UNROLL
            for (int v = 0; v < vectors; v += LINE / LANES)
                __builtin_prefetch(y + AHEAD * y_step + v * LANES, 0, 2);
            __builtin_prefetch(x + AHEAD * x_step, 0, 2);
            UNROLL
            for (int i = 0; i < rows; i++) {
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[i][v] += x[i] * b[v];
            }
        }
    }
    finish(rows, vectors, sum, o->dw, o->ldw);
}

#define KERNELS(r, v)                                                                                                 \
    static void tile_##r##_##v(const plumb_last_piece *from, int64_t pieces, int64_t step, int64_t tiles, void *y,    \
                               int64_t ldy, bool add)                                                                 \
    {                                                                                                                 \
        for (int64_t t = 0; t < tiles * r; t += r)                                                                    \
            tile(r, v, from, pieces, step, (float *)y + t * ldy, ldy, t * step, add);                                 \
    }                                                                                                                 \
    static void outer_##r##_##v(const plumb_last_outer *o) { outer(r, v, o); }

#define UP_TO_4(what, v) what(1, v) what(2, v) what(3, v) what(4, v)
#define UP_TO_6(what, v) UP_TO_4(what, v) what(5, v) what(6, v)
#define UP_TO_7(what, v) UP_TO_6(what, v) what(7, v)
#define UP_TO_12(what, v) UP_TO_7(what, v) what(8, v) what(9, v) what(10, v) what(11, v) what(12, v)
#define UP_TO_14(what, v) UP_TO_12(what, v) what(13, v) what(14, v)
#define UP_TO_0(what, v)
#define PASTE(a, b) a##b
#define UP_TO(most) PASTE(UP_TO_, most)
#define EACH(what) UP_TO(FEW)(what, 1) UP_TO(SOME)(what, 2) UP_TO(MANY)(what, 3) UP_TO(MANY)(what, 4)
EACH(KERNELS)

/* A block of LANES rows and columns changes places through registers: pairs, then fours, then the four-lane parts. */
#if VB == 64
#define SHUFFLE(x, y, a, b, c, d)                                                                                     \
    __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, \
                            c + 12, d + 12)
#define QUARTERS(x, y, a, b, c, d)                                                                                    \
    __builtin_shufflevector(x, y, 4 * a, 4 * a + 1, 4 * a + 2, 4 * a + 3, 4 * b, 4 * b + 1, 4 * b + 2, 4 * b + 3,     \
                            4 * c, 4 * c + 1, 4 * c + 2, 4 * c + 3, 4 * d, 4 * d + 1, 4 * d + 2, 4 * d + 3)
#elif VB == 32
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4)
#else
#define SHUFFLE(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#endif

INLINE void swap(vec r[LANES])
{
    vec s[LANES];
    UNROLL
    for (int i = 0; i < LANES; i += 2) {
        s[i] = SHUFFLE(r[i], r[i + 1], 0, LANES, 1, LANES + 1);
        s[i + 1] = SHUFFLE(r[i], r[i + 1], 2, LANES + 2, 3, LANES + 3);
    }
    UNROLL
    for (int i = 0; i < LANES; i += 4) {
        r[i] = SHUFFLE(s[i], s[i + 2], 0, 1, LANES, LANES + 1);
        r[i + 1] = SHUFFLE(s[i], s[i + 2], 2, 3, LANES + 2, LANES + 3);
        r[i + 2] = SHUFFLE(s[i + 1], s[i + 3], 0, 1, LANES, LANES + 1);
        r[i + 3] = SHUFFLE(s[i + 1], s[i + 3], 2, 3, LANES + 2, LANES + 3);
    }
#if VB == 64
    UNROLL
    for (int i = 0; i < 4; i++) {
        s[i] = QUARTERS(r[i], r[i + 4], 0, 1, 4, 5);
        s[i + 4] = QUARTERS(r[i], r[i + 4], 2, 3, 6, 7);
        s[i + 8] = QUARTERS(r[i + 8], r[i + 12], 0, 1, 4, 5);
        s[i + 12] = QUARTERS(r[i + 8], r[i + 12], 2, 3, 6, 7);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = QUARTERS(s[i], s[i + 8], 0, 2, 4, 6);
        r[i + 4] = QUARTERS(s[i], s[i + 8], 1, 3, 5, 7);
        r[i + 8] = QUARTERS(s[i + 4], s[i + 12], 0, 2, 4, 6);
        r[i + 12] = QUARTERS(s[i + 4], s[i + 12], 1, 3, 5, 7);
    }
#elif VB == 32
    UNROLL
    for (int i = 0; i < 4; i++) {
        s[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        s[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = s[i];
#endif
}

/* The last columns are a block that overlaps the one before. */
static int64_t next_block(int64_t j, int64_t columns)
{
    return j + 2 * LANES > columns && j + LANES < columns ? columns - LANES : j + LANES;
}

/* Columns that are fewer than a block are a block of which the rest is not stored, where that may be read. */
static void turn_columns(const plumb_last_turn *t, const float *from, float *to)
{
    const int64_t rows = t->rows, row = t->row, columns = t->columns;
    if (columns == 1 && row == 1 && rows == LANES) {
        *(vec_at *)(to + t->offset[0] * t->width) = *(const vec_at *)from;
        return;
    }
    if (columns < LANES && from + (rows - 1) * row + LANES > (const float *)t->end) {
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < LANES; i++)
                to[t->offset[j] * t->width + i] = i < rows ? from[i * row + j] : 0;
        return;
    }
    for (int64_t j = 0; j < columns; j = next_block(j, columns)) {
        const int64_t stored = columns - j < LANES ? columns - j : LANES;
        vec r[LANES];
        UNROLL
        for (int i = 0; i < LANES; i++) {
            r[i] = i < rows ? (vec) * (const vec_at *)(from + i * row + j) : (vec){0};
            __builtin_prefetch(from + i * row + j + 4 * LINE);
        }
        swap(r);
        UNROLL
        for (int i = 0; i < LANES; i++)
            if (i < stored)
                *(vec_at *)(to + t->offset[j + i] * t->width) = r[i];
    }
}

static void turn(const plumb_last_turn *t)
{
    for (int64_t i = 0; i < t->count; i++)
        turn_columns(t, (const float *)t->matrix + i * t->matrix_step, (float *)t->turned + i * t->turned_step);
}

static void unturn(const plumb_last_turn *t)
{
    float *to = t->matrix;
    const float *from = t->turned;
    const int64_t rows = t->rows, row = t->row, columns = t->columns;
    for (int64_t j = 0; j < columns && columns < LANES; j++)
        for (int64_t i = 0; i < rows; i++) {
            const float *column = from + t->offset[j] * t->width + i;
            float sum = *column;
            for (int64_t part = 1; part < t->parts; part++)
                sum += column[part * t->part];
            to[i * row + j] = sum;
        }
    for (int64_t j = 0; j < columns && columns >= LANES; j = next_block(j, columns)) {
        vec r[LANES];
        UNROLL
        for (int i = 0; i < LANES; i++) {
            const float *column = from + t->offset[j + i] * t->width;
            r[i] = *(const vec_at *)column;
            for (int64_t part = 1; part < t->parts; part++)
                r[i] += *(const vec_at *)(column + part * t->part);
        }
        swap(r);
        UNROLL
        for (int i = 0; i < LANES; i++)
            if (i < rows)
                *(vec_at *)(to + i * row + j) = r[i];
    }
}

#define TILE_CELL(r, v) [r][v] = tile_##r##_##v,
#define OUTER_CELL(r, v) [r][v] = outer_##r##_##v,
const plumb_last_kernels TABLE = {
    .lanes = LANES,
    .rows = {0, FEW, SOME, MANY, MANY},
    .tile = {EACH(TILE_CELL)},
    .outer = {EACH(OUTER_CELL)},
    .turn = turn,
    .unturn = unturn,
};
