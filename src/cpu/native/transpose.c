/* Copies between tensors that each have another idea of which dimension is the innermost, such as pictures in rows and
 * channels-last ones: the memory's speed is the limit, if cache lines are read and written whole.
 *
 * A tile is one cache line wide in both tensors. It is read four (of 16 bits: eight) lines at a time, turned in registers
 * into a buffer, and written from there line by line, so that strides of whole pages, where all lines compete for the
 * same places of the cache, do not read or write a line twice. Tiles at the edges overlap their neighbours. Sizes below a
 * tile, and elements of other sizes than 2 and 4 bytes, go one by one. Registers of 16 bytes are enough for that. */
#include "cpu/native/transpose.h"

typedef uint32_t four __attribute__((vector_size(16)));
typedef uint16_t eight __attribute__((vector_size(16)));

#define LINE 64 /* bytes */

/* ---- micro tiles: rows of `from` become columns of `to`; strides in elements ---- */

static inline void turn_uint32_t(uint32_t *to, int64_t to_stride, const uint32_t *from, int64_t from_stride)
{
    four r[4], t[4];
    for (int i = 0; i < 4; i++)
        memcpy(&r[i], from + i * from_stride, sizeof r[i]);
    for (int i = 0; i < 2; i++) {
        t[2 * i] = __builtin_shufflevector(r[i], r[i + 2], 0, 4, 1, 5);
        t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 2], 2, 6, 3, 7);
    }
    for (int i = 0; i < 2; i++) {
        r[2 * i] = __builtin_shufflevector(t[i], t[i + 2], 0, 4, 1, 5);
        r[2 * i + 1] = __builtin_shufflevector(t[i], t[i + 2], 2, 6, 3, 7);
    }
    for (int i = 0; i < 4; i++)
        memcpy(to + i * to_stride, &r[i], sizeof r[i]);
}

/* The same step three times: row i meets row i + 4, and their elements alternate. */
static inline void interleave(eight *to, const eight *from)
{
    for (int i = 0; i < 4; i++) {
        to[2 * i] = __builtin_shufflevector(from[i], from[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
}

static inline void turn_uint16_t(uint16_t *to, int64_t to_stride, const uint16_t *from, int64_t from_stride)
{
    eight r[8], t[8];
    for (int i = 0; i < 8; i++)
        memcpy(&r[i], from + i * from_stride, sizeof r[i]);
    interleave(t, r);
    interleave(r, t);
    interleave(t, r);
    for (int i = 0; i < 8; i++)
        memcpy(to + i * to_stride, &t[i], sizeof t[i]);
}

/* ---- blocks: to[j * to_b + i] = from[i * from_a + j] for i < a, j < b ---- */

#define EACH(type)                                                                                                    \
    static void each_##type(type *to, const type *from, int64_t to_b, int64_t from_a, int64_t a, int64_t b)           \
    {                                                                                                                 \
        for (int64_t j = 0; j < b; j++)                                                                               \
            for (int64_t i = 0; i < a; i++)                                                                           \
                to[j * to_b + i] = from[i * from_a + j];                                                              \
    }
EACH(uint8_t)
EACH(uint16_t)
EACH(uint32_t)
EACH(uint64_t)

#define TILED(type, MICRO)                                                                                            \
    static void tile_##type(type *to, const type *from, int64_t to_b, int64_t from_a)                                 \
    {                                                                                                                 \
        enum { TILE = LINE / sizeof(type) };                                                                          \
        _Alignas(LINE) type line[TILE][TILE];                                                                         \
        for (int i = 0; i < TILE; i += (MICRO))                                                                       \
            for (int j = 0; j < TILE; j += (MICRO))                                                                   \
                turn_##type(&line[j][i], TILE, from + i * from_a + j, from_a);                                        \
        for (int j = 0; j < TILE; j++)                                                                                \
            memcpy(to + j * to_b, line[j], LINE);                                                                     \
    }                                                                                                                 \
    static void tiles_##type(type *to, const type *from, int64_t to_b, int64_t from_a, int64_t a, int64_t b)          \
    {                                                                                                                 \
        const int64_t tile = LINE / (int64_t)sizeof(type);                                                            \
        if (a < tile || b < tile) {                                                                                   \
            each_##type(to, from, to_b, from_a, a, b);                                                                \
            return;                                                                                                   \
        }                                                                                                             \
        for (int64_t i = 0; i < a; i += tile) {                                                                       \
            int64_t at = i + tile <= a ? i : a - tile;                                                                \
            for (int64_t j = 0; j < b; j += tile) {                                                                   \
                int64_t beside = j + tile <= b ? j : b - tile;                                                        \
                tile_##type(to + beside * to_b + at, from + at * from_a + beside, to_b, from_a);                      \
            }                                                                                                         \
        }                                                                                                             \
    }
TILED(uint16_t, 8)
TILED(uint32_t, 4)

/* ---- the whole ---- */

struct work {
    const struct plumb_transpose *t;
    int64_t width, parts; /* of dimension b, for a chunk; chunks for each of the other dimensions' places */
};

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    const struct plumb_transpose *t = w->t;
    int64_t begin = chunk % w->parts * w->width, b = t->b - begin < w->width ? t->b - begin : w->width;
    int64_t to = begin * t->to_b, from = begin, rest = chunk / w->parts;
    (void)worker;
    for (int d = t->rank - 1; d >= 0; d--) {
        to += rest % t->dim[d] * t->to_stride[d];
        from += rest % t->dim[d] * t->from_stride[d];
        rest /= t->dim[d];
    }
    void *y = (char *)t->to + to * t->size;
    const void *x = (const char *)t->from + from * t->size;
    if (t->size == 4)
        tiles_uint32_t(y, x, t->to_b, t->from_a, t->a, b);
    else if (t->size == 2)
        tiles_uint16_t(y, x, t->to_b, t->from_a, t->a, b);
    else if (t->size == 8)
        each_uint64_t(y, x, t->to_b, t->from_a, t->a, b);
    else
        each_uint8_t(y, x, t->to_b, t->from_a, t->a, b);
}

void plumb_transpose_run(plumb_pool *pool, const struct plumb_transpose *t)
{
    enum { CHUNK = 1 << 14, LEAST = 64 }; /* elements; of dimension b, a multiple of all tiles */
    int64_t width = CHUNK / t->a / LEAST * LEAST, count = 1;
    struct work w = {.t = t, .width = width > LEAST ? width : LEAST};
    w.parts = (t->b + w.width - 1) / w.width;
    for (int d = 0; d < t->rank; d++)
        count *= t->dim[d];
    plumb_pool_run(pool, count * w.parts, run_chunk, &w);
}
