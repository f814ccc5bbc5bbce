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
 * reached by index registers; the empty statement keeps the compiler from making others, of which it would run out. */
INLINE void piece(const int rows, const int vectors, const int low, const int high, vec sum[][PLUMB_LAST_VECTORS],
                  const plumb_last_piece *from, int64_t step)
{
    const float *at[(PLUMB_LAST_ROWS + 2) / 3], *w = from->w;
    const int64_t length = from->length;
    UNROLL
    for (int g = 0; 3 * g < rows; g++) {
        at[g] = (const float *)from->x + 3 * g * step;
#if defined(__GNUC__)
        __asm__("" : "+r"(at[g]));
#endif
    }
    for (int64_t p = 0; p < length; p++, w += vectors * LANES) {
        vec b[PLUMB_LAST_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            b[v] = *(const vec_at *)(w + v * LANES);
        UNROLL
        for (int i = low; i < rows - high; i++) {
            const float a = at[i / 3][i % 3 * step + p];
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[i][v] += a * b[v];
        }
    }
}

INLINE void tile(const int rows, const int vectors, const plumb_last_piece *from, int64_t pieces, int64_t step, float *y,
                 int64_t ldy, bool add)
{
    sums sum;
    begin(rows, vectors, sum, y, ldy, add);
    for (const plumb_last_piece *end = from + pieces; from < end; from++) {
        if (rows == 1 || from->skip == 0)
            piece(rows, vectors, 0, 0, sum, from, step);
        else if (from->skip == 1)
            piece(rows, vectors, 1, 0, sum, from, step);
        else if (from->skip == 2)
            piece(rows, vectors, 0, 1, sum, from, step);
        else
            piece(rows, vectors, 1, 1, sum, from, step);
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
    static void tile_##r##_##v(const plumb_last_piece *from, int64_t pieces, int64_t step, void *y, int64_t ldy,      \
                               bool add)                                                                              \
    {                                                                                                                 \
        tile(r, v, from, pieces, step, y, ldy, add);                                                                  \
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

#if VB >= 32
/* Eight rows and columns change places through registers: pairs, then fours, then halves. */
typedef float eight __attribute__((vector_size(32)));
typedef float eight_at __attribute__((vector_size(32), aligned(sizeof(float))));
INLINE void swap(eight r[8])
{
    eight s[8];
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
    for (int i = 0; i < 4; i++) {
        s[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        s[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        r[i] = s[i];
}

/* The last columns are a block that overlaps the one before. */
static int64_t next_block(int64_t j, int64_t columns) { return j + 16 > columns && j + 8 < columns ? columns - 8 : j + 8; }

/* Returns the columns that were done: all, or none where they are too few. */
static int64_t turn_blocks(const plumb_last_turn *t, int64_t first)
{
    const float *from = (const float *)t->matrix + first * t->row;
    float *to = (float *)t->turned + first;
    const int64_t rows = t->rows - first, row = t->row;
    if (t->columns < 8)
        return 0;
    for (int64_t j = 0; j < t->columns; j = next_block(j, t->columns)) {
        eight r[8];
        UNROLL
        for (int i = 0; i < 8; i++)
            r[i] = i < rows ? (eight) * (const eight_at *)(from + i * row + j) : (eight){0};
        swap(r);
        UNROLL
        for (int i = 0; i < 8; i++)
            *(eight_at *)(to + t->offset[j + i] * t->width) = r[i];
    }
    return t->columns;
}

static int64_t unturn_blocks(const plumb_last_turn *t, int64_t first)
{
    float *to = (float *)t->matrix + first * t->row;
    const float *from = (const float *)t->turned + first;
    const int64_t rows = t->rows - first, row = t->row;
    if (t->columns < 8)
        return 0;
    for (int64_t j = 0; j < t->columns; j = next_block(j, t->columns)) {
        eight r[8];
        UNROLL
        for (int i = 0; i < 8; i++) {
            const float *column = from + t->offset[j + i] * t->width;
            r[i] = *(const eight_at *)column;
            for (int64_t part = 1; part < t->parts; part++)
                r[i] += *(const eight_at *)(column + part * t->part);
        }
        swap(r);
        UNROLL
        for (int i = 0; i < 8; i++)
            if (i < rows)
                *(eight_at *)(to + i * row + j) = r[i];
    }
    return t->columns;
}
#else
static int64_t turn_blocks(const plumb_last_turn *t, int64_t first)
{
    (void)t, (void)first;
    return 0;
}
static int64_t unturn_blocks(const plumb_last_turn *t, int64_t first) { return turn_blocks(t, first); }
#endif

enum { BLOCK = LANES < 8 ? LANES : 8 };

static void turn(const plumb_last_turn *t)
{
    for (int64_t first = 0; first < LANES; first += BLOCK)
        for (int64_t j = turn_blocks(t, first); j < t->columns; j++) {
            float *to = (float *)t->turned + t->offset[j] * t->width + first;
            for (int64_t i = 0; i < BLOCK; i++)
                to[i] = first + i < t->rows ? ((const float *)t->matrix)[(first + i) * t->row + j] : 0;
        }
}

static void unturn(const plumb_last_turn *t)
{
    for (int64_t first = 0; first < t->rows; first += BLOCK)
        for (int64_t j = unturn_blocks(t, first); j < t->columns; j++) {
            const float *from = (const float *)t->turned + t->offset[j] * t->width + first;
            for (int64_t i = 0; i < BLOCK && first + i < t->rows; i++) {
                float sum = from[i];
                for (int64_t part = 1; part < t->parts; part++)
                    sum += from[i + part * t->part];
                ((float *)t->matrix)[(first + i) * t->row + j] = sum;
            }
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
