/* Dropout in f32: Philox for many blocks at once, as loops over arrays that vectorise (the rounds are the same as in
 * core/random.c, which the cross-check compares bit for bit through the mask). */
#include "cpu/native/vector.h"
#include "op/attr.h"

#include <math.h>

enum {
    BLOCKS = 64,
    PIECE = 8192
}; /* blocks of four words at a time; elements per piece of work, a multiple of 256 */

struct dropout_work {
    const float *x;
    float *y;
    int64_t n;
    uint32_t key0, key1, stream, step0, step1, threshold; /* keeps where word >= threshold */
    float scale;
    void (*kernel)(const struct dropout_work *w, int64_t begin, int64_t end);
};

/* The words of elements [4 * block, 4 * (block + BLOCKS)), in order. */
NATIVE_INLINE void random_words(const struct dropout_work *w, uint32_t block, uint32_t *word)
{
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS], k0 = w->key0, k1 = w->key1;
    for (int i = 0; i < BLOCKS; i++) {
        c0[i] = block + (uint32_t)i;
        c1[i] = w->stream;
        c2[i] = w->step0;
        c3[i] = w->step1;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            uint64_t p0 = (uint64_t)0xd2511f53 * c0[i], p1 = (uint64_t)0xcd9e8d57 * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)p1;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)p0;
        }
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    for (int i = 0; i < BLOCKS; i++) {
        word[4 * i] = c0[i];
        word[4 * i + 1] = c1[i];
        word[4 * i + 2] = c2[i];
        word[4 * i + 3] = c3[i];
    }
}

/* begin is a multiple of 4 * BLOCKS */
NATIVE_INLINE void drop(const struct dropout_work *w, int64_t begin, int64_t end)
{
    uint32_t word[4 * BLOCKS];
    for (int64_t at = begin; at < end; at += 4 * BLOCKS) {
        int64_t n = end - at < 4 * BLOCKS ? end - at : 4 * BLOCKS;
        random_words(w, (uint32_t)(at >> 2), word);
        const float *x = w->x + at;
        float *y = w->y + at, scale = w->scale;
        uint32_t threshold = w->threshold;
        NATIVE_LOOP
        for (int64_t i = 0; i < n; i++)
            y[i] = word[i] >= threshold ? x[i] * scale : 0.0f;
    }
}

#define DROP_WRAPPERS(isa, TARGET)                                                                           \
    TARGET static void drop_##isa(const struct dropout_work *w, int64_t begin, int64_t end)                  \
    {                                                                                                        \
        drop(w, begin, end);                                                                                 \
    }
NATIVE_EACH_ISA(DROP_WRAPPERS)

static void drop_chunk(void *user, int64_t chunk, int worker)
{
    const struct dropout_work *w = user;
    (void)worker;
    int64_t end = (chunk + 1) * PIECE;
    w->kernel(w, chunk * PIECE, end < w->n ? end : w->n);
}

/* word * 2^-32 >= drop, in whole numbers */
static double threshold_of(const plumb_call *call)
{
    return ceil(((const plumb_attr_random *)call->attr)->a * 4294967296.0);
}

static bool supports(const plumb_call *call)
{
    return plumb_view_contiguous(&call->in[0]) && plumb_view_contiguous(&call->out[0]) &&
           threshold_of(call) <= 4294967295.0;
}

static plumb_status run(const plumb_call *call)
{
    const plumb_attr_random *attr = call->attr;
    const int64_t *key = call->in[1].data;
    uint64_t seed = (uint64_t)key[0], step = (uint64_t)key[call->in[1].stride[0]];
    struct dropout_work w = {
        .x = call->in[0].data,
        .y = call->out[0].data,
        .n = plumb_view_count(&call->out[0]),
        .key0 = (uint32_t)seed,
        .key1 = (uint32_t)(seed >> 32),
        .stream = attr->stream,
        .step0 = (uint32_t)step,
        .step1 = (uint32_t)(step >> 32),
        .threshold = (uint32_t)threshold_of(call),
        .scale = (float)(1 / (1 - attr->a)),
        .kernel = NATIVE_PICK(drop, call->isa),
    };
    plumb_pool_run(call->pool, (w.n + PIECE - 1) / PIECE, drop_chunk, &w);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_dropout_native = {.op = &plumb_op_dropout,
                                              .name = "cpu.native",
                                              .dtypes = PLUMB_BIT(PLUMB_F32),
                                              .supports = supports,
                                              .run = run};
