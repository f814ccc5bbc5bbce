/* Convolutions of 3 x 3 with stride 1 and their gradients of the data by Winograd's F(4x4, 3x3), of f32 and of bf16 (which
 * is computed in f32 between its ends), channels-last: how the work is cut (winograd.h: what it is). Tiles of 4 x 4 outputs
 * are transformed, multiplied with the transformed filter for each of 36 points, and transformed back, never leaving the
 * second cache on the way. Two ways:
 *
 * - *By tiles*: the filter is transformed once, whole. A chunk is a few strips of tiles, whose inputs are transformed to
 *   all points; then, block after block of output channels, products and outputs. For many tiles and filters that the
 *   caches keep.
 * - *By blocks*: with many channels and few tiles the transformed filter, four times the filter, is what moves. The tiles'
 *   inputs are transformed first; a chunk is then a block of output channels, whose filter is transformed a few
 *   input channels at a time and used at once for all tiles.
 *
 * A transform mixes a tile's elements, so an infinity or NaN, or a sum that overflows between, spoils neighbours. Every
 * point has a part in some output, so a spoiled call shows in its sums; it is computed again by the definition.
 * All cuts depend on shapes and the instruction set alone. F(2x2, 3x3) is not here: on no square map of more than 2 x 2
 * outputs has it fewer products. */
#include "cpu/native/conv.h"
#include "cpu/native/conv_bf16.h"
#include "cpu/native/epilogue.h"
#include "cpu/native/half.h"
#include "cpu/native/winograd.h"

enum {
    FILTER_KEPT = 12 << 20,   /* bytes of a transformed filter that goes by tiles */
    TILES_MANY = 48,          /* fewer go by blocks, which keeps the filter's transform in the cache */
    INPUTS_KEPT = 16 << 20,   /* bytes of transformed inputs at a time, by blocks */
    INPUTS_NEAR = 288 << 10,  /* of a chunk by tiles: with products and filters passing by in the second cache */
    PRODUCTS_NEAR = 448 << 10, /* of a chunk by blocks */
    DEPTH = 64,               /* input channels of a filter transformed at once, by blocks */
    TAPS_AT_ONCE = 16,        /* input channels whose taps are interleaved at once */
    FILTERS_AHEAD = 16,       /* input channels whose taps are asked for before they are wanted */
    ENOUGH_CHUNKS = 8,
    PIECE = 8                 /* vectors of a tile's channels that a chunk transforms, by blocks */
};

typedef struct task {
    const winograd_kernels *kernels;
    void (*interleave)(void *to, int64_t ld, const void *from, int64_t from_row, int64_t rows, int64_t columns);
    plumb_convert *widen;     /* of bf16; NULL: f32 */
    int64_t size;             /* bytes of an element of the pictures and the filter */
    const plumb_view *source, *target;
    const char *filter;
    const float *bias;
    plumb_epilogue *epilogue; /* of an activation that the kernels do not know */
    bool adjoint, turned, relu, by_tiles;
    int64_t sources, targets; /* channels */
    int64_t top, left;        /* padding above and beside the source */
    int64_t across, per_image, tiles;
    int64_t lanes, vectors;   /* of the sources */
    int64_t block, blocks;    /* of the targets */
    int64_t part, parts;      /* tiles of a chunk */
    int64_t stage;            /* parts whose inputs are transformed at a time, by blocks */
    int64_t strip;            /* tiles of a strip */
    /* elements from one point to the next, of the transformed inputs, filter and products */
    int64_t v_point, u_point, m_point;
    const char *zeros;        /* channels of a position outside the source */
    float *shared;            /* the whole filter, or the inputs of a stage */
    char *workers;
    size_t bias_at, shared_at, workers_at, worker; /* bytes; zeros are first */
    size_t m_at, taps_at, wide_at; /* of a worker, behind its inputs or filter; its spoiled lanes are first */
    int64_t first_part;       /* of the stage */
} task;

enum { SPOILED = 64 }; /* bytes of a vector */

const winograd_kernels *winograd_kernels_for(int isa)
{
#if PLUMB_NATIVE_X86
    if (isa >= PLUMB_ISA_AVX512)
        return &winograd_kernels_avx512;
    if (isa >= PLUMB_ISA_AVX2)
        return &winograd_kernels_avx2;
#endif
    (void)isa;
    return &winograd_kernels_portable;
}

/* ---- the plan ---- */

/* An odd number of cache lines, so that the 36 points of an element do not meet in one set of a cache. */
static int64_t point_of(int64_t elements)
{
    return (plumb_parts(elements, 16) | 1) * 16;
}

static void cut(task *t)
{
    int64_t input = WINOGRAD_POINTS * t->vectors * t->lanes * (int64_t)sizeof(float); /* bytes of a tile */
    int64_t product = WINOGRAD_POINTS * t->block * (int64_t)sizeof(float);
    int64_t most = t->by_tiles ? INPUTS_NEAR / input : PRODUCTS_NEAR / product, rows = t->kernels->rows;
    most = plumb_most(most / rows * rows, rows);
    int64_t enough = t->by_tiles ? ENOUGH_CHUNKS : plumb_parts(ENOUGH_CHUNKS, t->blocks);
    most = plumb_least(most, plumb_most(plumb_parts(t->tiles, enough), 1));
    t->part = plumb_parts(t->tiles, plumb_parts(t->tiles, most));
    t->parts = plumb_parts(t->tiles, t->part);
    t->stage = t->by_tiles ? t->parts : plumb_least(plumb_most(INPUTS_KEPT / (input * t->part), 1), t->parts);
    t->strip = plumb_strip_height(t->part, (int)rows);
}

static void plan(const plumb_call *call, bool adjoint, task *t)
{
    const plumb_attr_conv2d *attr = call->attr;
    memset(t, 0, sizeof *t);
    t->kernels = winograd_kernels_for(call->isa);
    t->interleave = plumb_kernels_for(PLUMB_F32, call->isa)->interleave;
    t->source = &call->in[0], t->target = &call->out[0];
    t->size = native_size(t->source->dtype);
    t->widen = t->source->dtype == PLUMB_F32 ? NULL : plumb_convert_for(PLUMB_F32, PLUMB_BF16, call->isa);
    t->filter = call->in[1].data;
    t->bias = !adjoint && call->n_in > 2 ? call->in[2].data : NULL;
    t->relu = attr->activation == PLUMB_ACTIVATION_RELU;
    if (!t->relu)
        t->epilogue = plumb_epilogue_for(PLUMB_F32, call->isa, attr->activation, false);
    t->adjoint = adjoint, t->turned = adjoint != (attr->flip != 0);
    t->sources = t->source->dim[1], t->targets = t->target->dim[1];
    t->top = adjoint ? 2 - attr->padding[0] : attr->padding[0];
    t->left = adjoint ? 2 - attr->padding[1] : attr->padding[1];
    t->across = plumb_parts(t->target->dim[3], WINOGRAD_TILE);
    t->per_image = t->across * plumb_parts(t->target->dim[2], WINOGRAD_TILE);
    t->tiles = t->per_image * t->target->dim[0];
    t->lanes = t->kernels->lanes, t->vectors = plumb_parts(t->sources, t->lanes);
    t->block = t->lanes * WINOGRAD_VECTORS, t->blocks = plumb_parts(t->targets, t->block);
    int64_t filter = WINOGRAD_POINTS * t->sources * t->block * t->blocks * (int64_t)sizeof(float);
    t->by_tiles = filter <= FILTER_KEPT && t->tiles >= TILES_MANY;
    cut(t);

    t->v_point = point_of((t->by_tiles ? 1 : t->stage) * t->part * t->vectors * t->lanes);
    t->u_point = point_of((t->by_tiles ? t->sources : plumb_least(DEPTH, t->sources)) * t->block);
    t->m_point = point_of(t->part * t->block);
    size_t inputs = plumb_lines(WINOGRAD_POINTS * t->v_point, sizeof(float));
    size_t filters = plumb_lines(WINOGRAD_POINTS * t->u_point, sizeof(float));
    t->bias_at = plumb_lines(t->vectors * t->lanes, (size_t)t->size);
    bool wide_bias = t->widen && !adjoint && call->n_in > 2;
    t->shared_at = t->bias_at + (wide_bias ? plumb_lines(t->targets, sizeof(float)) : 0);
    t->workers_at = t->shared_at + (t->by_tiles ? filters * (size_t)t->blocks : inputs);
    t->m_at = SPOILED + (t->by_tiles ? inputs : filters);
    t->taps_at = t->m_at + plumb_lines(WINOGRAD_POINTS * t->m_point, sizeof(float));
    size_t taps = plumb_lines(TAPS_AT_ONCE * 9 * t->lanes, sizeof(float));
    t->wide_at = t->taps_at + taps;
    t->worker = t->wide_at + (t->widen ? taps : 0);
}

/* ---- transforms ---- */

/* Of a block's output channels; the last block may have fewer. */
static int64_t vectors_of(const task *t, int64_t b)
{
    return plumb_least(plumb_parts(t->targets - b * t->block, t->lanes), WINOGRAD_VECTORS);
}

/* taps[columns][lanes] of `rows` lanes of the filter, whose taps from element `from` on are `apart` from those of the next
 * lane; bf16 is widened first. */
static void turn_taps(const task *t, int64_t from, int64_t apart, int64_t rows, int64_t columns, float *taps, float *wide)
{
    const char *filter = t->filter + from * t->size;
    const int64_t pieces = apart == columns ? 1 : rows, piece = rows * columns / pieces;
    for (int64_t i = 0; i < pieces && t->widen; i++)
        t->widen(wide + i * piece, 1, filter + i * apart * t->size, 1, piece);
    if (t->widen)
        t->interleave(taps, t->lanes, wide, columns, rows, columns);
    else
        t->interleave(taps, t->lanes, filter, apart, rows, columns);
}

/* Input channels [k, k + count) of block b of the filter, to `to` + point * u_point + (channel - k) * block. `work`: of a
 * worker. */
static void transform_filter(const task *t, int64_t b, int64_t k, int64_t count, char *work, float *to)
{
    const int64_t lanes = t->lanes;
    float *taps = (float *)(void *)(work + t->taps_at), *wide = (float *)(void *)(work + t->wide_at);
    for (int64_t v = 0; v < vectors_of(t, b); v++)
        for (int64_t i = 0; i < count; i += TAPS_AT_ONCE) {
            int64_t first = b * t->block + v * lanes, rows = plumb_least(t->targets - first, lanes);
            int64_t some = plumb_least(count - i, TAPS_AT_ONCE);
            if (rows < lanes)
                memset(taps, 0, (size_t)(some * 9 * lanes) * sizeof(float));
            if (!t->adjoint)
                turn_taps(t, (first * t->sources + k + i) * 9, t->sources * 9, rows, some * 9, taps, wide);
            for (int64_t j = 0; j < some && t->adjoint; j++) {
                int64_t from = ((k + i + j) * t->targets + first) * 9;
                const char *ahead = t->filter + (from + FILTERS_AHEAD * t->targets * 9) * t->size;
                for (int64_t e = 0; e < rows * 9 * t->size && k + i + j + FILTERS_AHEAD < t->sources; e += 64)
                    __builtin_prefetch(ahead + e);
                turn_taps(t, from, 9, rows, 9, taps + j * 9 * lanes, wide);
            }
            t->kernels->filter(taps, some, t->turned, to + i * t->block + v * lanes, t->u_point);
        }
}

/* Where the inputs under a tile are, from channel `channel` on. */
static void find_inputs(const task *t, int64_t tile, int64_t channel, const void *from[WINOGRAD_POINTS])
{
    const plumb_view *s = t->source;
    const int64_t height = s->dim[2], width = s->dim[3];
    int64_t image = tile / t->per_image, place = tile % t->per_image;
    int64_t y = place / t->across * WINOGRAD_TILE - t->top, x = place % t->across * WINOGRAD_TILE - t->left;
    const char *data = (const char *)s->data + (image * height * width * t->sources + channel) * t->size;
    for (int i = 0; i < WINOGRAD_SIDE; i++)
        for (int j = 0; j < WINOGRAD_SIDE; j++)
            from[i * WINOGRAD_SIDE + j] = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width
                                              ? data + ((y + i) * width + x + j) * t->sources * t->size
                                              : t->zeros + channel * t->size;
}

/* Vectors [v0, v1) of a strip's inputs, to `to` + point * v_point. */
static void transform_inputs(const task *t, int64_t first, int64_t rows, int64_t v0, int64_t v1, float *to)
{
    const void *from[WINOGRAD_POINTS];
    const int64_t channel = v0 * t->lanes, step = rows * t->lanes;
    for (int64_t i = 0; i < rows; i++) {
        find_inputs(t, first + i, channel, from);
        (t->widen ? t->kernels->low_input : t->kernels->input)(from, plumb_least(t->sources, v1 * t->lanes) - channel,
                                                               to + v0 * step + i * t->lanes, t->v_point, step);
    }
}

static void transform_outputs(const task *t, int64_t first, int64_t tiles, int64_t b, const float *m, float *spoiled)
{
    const plumb_view *y = t->target;
    const int64_t height = y->dim[2], width = y->dim[3], channel = b * t->block;
    winograd_store s = {.row = width * t->targets,
                        .column = t->targets,
                        .low = t->widen,
                        .channels = plumb_least(t->block, t->targets - channel),
                        .bias = t->bias ? t->bias + channel : NULL,
                        .relu = t->relu,
                        .spoiled = spoiled};
    for (int64_t i = 0; i < tiles; i++) {
        int64_t image = (first + i) / t->per_image, place = (first + i) % t->per_image;
        int64_t h = place / t->across * WINOGRAD_TILE, w = place % t->across * WINOGRAD_TILE;
        s.rows = (int)plumb_least(WINOGRAD_TILE, height - h), s.columns = (int)plumb_least(WINOGRAD_TILE, width - w);
        s.to = (char *)y->data + (((image * height + h) * width + w) * t->targets + channel) * t->size;
        t->kernels->output(m + i * t->block, t->m_point, &s);
        for (int j = 0; j < s.rows * s.columns && t->epilogue; j++)
            t->epilogue((float *)s.to + j / s.columns * s.row + j % s.columns * s.column, s.channels, NULL, 0);
    }
}

/* ---- products ---- */

static int64_t tiles_of(const task *t, int64_t part)
{
    return part < t->parts ? plumb_least(t->part, t->tiles - part * t->part) : 0;
}

winograd_soon winograd_soon_of(const plumb_view *view, int64_t across, int64_t per_image, int64_t tile, int64_t tiles,
                               int64_t channel, int64_t channels, int64_t products)
{
    const int64_t size = native_size(view->dtype);
    return (winograd_soon){.view = view,
                           .across = across,
                           .per_image = per_image,
                           .tile = tile,
                           .end = tile + tiles,
                           .channel = channel * size,
                           .bytes = channels * size,
                           .pace = plumb_parts(tiles * WINOGRAD_TILE * WINOGRAD_TILE, plumb_most(products, 1))};
}

void winograd_ask(winograd_soon *s)
{
    const int64_t height = s->view->dim[2], width = s->view->dim[3];
    const int64_t column = s->view->dim[1] * native_size(s->view->dtype);
    for (int64_t n = s->pace; n > 0 && s->tile < s->end; n--) {
        if (s->place == 0) {
            int64_t place = s->tile % s->per_image;
            s->h = place / s->across * WINOGRAD_TILE, s->w = place % s->across * WINOGRAD_TILE;
            s->at = (const char *)s->view->data + s->channel +
                    ((s->tile / s->per_image * height + s->h) * width + s->w) * column;
        }
        int64_t h = s->place / WINOGRAD_TILE, w = s->place % WINOGRAD_TILE;
        for (int64_t b = 0; b < s->bytes && s->h + h < height && s->w + w < width; b += 64)
            __builtin_prefetch(s->at + (h * width + w) * column + b);
        s->place = (s->place + 1) % (WINOGRAD_TILE * WINOGRAD_TILE);
        s->tile += s->place == 0;
    }
}

/* Of a part's inputs v and the input channels [k, k + count) of a block's filter u. */
static void multiply(const task *t, int64_t tiles, int64_t b, const float *v, const float *u, int64_t k, int64_t count,
                     float *m, winograd_soon *inputs, winograd_soon *outputs)
{
    winograd_product *const *product = t->kernels->product[vectors_of(t, b) - 1];
    for (int p = 0; p < WINOGRAD_POINTS; p++)
        for (int64_t i = 0; i < tiles; i += t->strip) {
            int64_t rows = plumb_least(t->strip, tiles - i);
            product[rows](count, v + p * t->v_point + i * t->vectors * t->lanes + k * rows, u + p * t->u_point,
                          m + p * t->m_point + i * t->block, k > 0);
            winograd_ask(inputs);
            winograd_ask(outputs);
        }
}

static float *block_filter(const task *t, int64_t b)
{
    return t->shared + b * (int64_t)(plumb_lines(WINOGRAD_POINTS * t->u_point, sizeof(float)) / sizeof(float));
}

/* ---- by tiles ---- */

static void whole_filter_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t slices = plumb_parts(t->sources, DEPTH), k = chunk % slices * DEPTH, b = chunk / slices;
    char *mine = t->workers + t->worker * (size_t)worker;
    transform_filter(t, b, k, plumb_least(DEPTH, t->sources - k), mine, block_filter(t, b) + k * t->block);
}

static void tiles_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    char *mine = t->workers + t->worker * (size_t)worker;
    float *v = (float *)(void *)(mine + SPOILED), *m = (float *)(void *)(mine + t->m_at);
    int64_t first = chunk * t->part, tiles = tiles_of(t, chunk);
    for (int64_t i = 0; i < tiles; i += t->strip)
        transform_inputs(t, first + i, plumb_least(t->strip, tiles - i), 0, t->vectors,
                         v + i * t->vectors * t->lanes);
    int64_t products = WINOGRAD_POINTS * plumb_parts(tiles, t->strip);
    winograd_soon inputs = winograd_soon_of(t->source, t->across, t->per_image, (chunk + 1) * t->part,
                                            tiles_of(t, chunk + 1), 0, t->sources, products * t->blocks);
    for (int64_t b = 0; b < t->blocks; b++) {
        winograd_soon outputs = winograd_soon_of(t->target, t->across, t->per_image, first, tiles, b * t->block,
                                                 plumb_least(t->block, t->targets - b * t->block), products);
        multiply(t, tiles, b, v, block_filter(t, b), 0, t->sources, m, &inputs, &outputs);
        transform_outputs(t, first, tiles, b, m, (float *)(void *)mine);
    }
}

/* ---- by blocks ---- */

static void inputs_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    (void)worker;
    int64_t pieces = plumb_parts(t->vectors, PIECE), strips = plumb_parts(t->part, t->strip);
    int64_t v = chunk % pieces * PIECE, strip = chunk / pieces % strips, part = chunk / pieces / strips;
    int64_t i = strip * t->strip, rows = plumb_least(t->strip, tiles_of(t, t->first_part + part) - i);
    if (rows > 0)
        transform_inputs(t, (t->first_part + part) * t->part + i, rows, v, plumb_least(v + PIECE, t->vectors),
                         t->shared + (part * t->part + i) * t->vectors * t->lanes);
}

static void block_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    char *mine = t->workers + t->worker * (size_t)worker;
    float *u = (float *)(void *)(mine + SPOILED), *m = (float *)(void *)(mine + t->m_at);
    int64_t b = chunk % t->blocks, part = chunk / t->blocks, tiles = tiles_of(t, t->first_part + part);
    const float *v = t->shared + part * t->part * t->vectors * t->lanes;
    winograd_soon none = {.view = t->source};
    for (int64_t k = 0; k < t->sources; k += DEPTH) {
        int64_t count = plumb_least(DEPTH, t->sources - k);
        transform_filter(t, b, k, count, mine, u);
        multiply(t, tiles, b, v, u, k, count, m, &none, &none);
    }
    transform_outputs(t, (t->first_part + part) * t->part, tiles, b, m, (float *)(void *)mine);
}

/* ---- a call ---- */

static void run_by_blocks(plumb_pool *pool, task *t)
{
    int64_t pieces = plumb_parts(t->vectors, PIECE) * plumb_parts(t->part, t->strip);
    for (t->first_part = 0; t->first_part < t->parts; t->first_part += t->stage) {
        int64_t parts = plumb_least(t->stage, t->parts - t->first_part);
        plumb_pool_run(pool, parts * pieces, inputs_chunk, t);
        plumb_pool_run(pool, parts * t->blocks, block_chunk, t);
    }
}

/* It meets what is not finite as the definition does. */
static const plumb_impl *direct_of_bf16(bool adjoint)
{
    return adjoint ? &plumb_impl_conv2d_backward_data_bf16 : &plumb_impl_conv2d_bf16;
}

static plumb_status run(const plumb_call *call, bool adjoint)
{
    task t;
    plan(call, adjoint, &t);
    if (t.tiles == 0)
        return PLUMB_OK;
    char *workspace = call->workspace;
    t.zeros = workspace, t.shared = (float *)(void *)(workspace + t.shared_at);
    t.workers = workspace + t.workers_at;
    memset(workspace, 0, t.bias_at);
    if (t.shared_at > t.bias_at) {
        float *bias = (float *)(void *)(workspace + t.bias_at);
        t.widen(bias, 1, call->in[2].data, call->in[2].stride[0], t.targets);
        t.bias = bias;
    }
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        memset(t.workers + t.worker * (size_t)i, 0, SPOILED);
    if (t.by_tiles) {
        plumb_pool_run(call->pool, t.blocks * plumb_parts(t.sources, DEPTH), whole_filter_chunk, &t);
        plumb_pool_run(call->pool, t.parts, tiles_chunk, &t);
    } else {
        run_by_blocks(call->pool, &t);
    }
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        if (!plumb_kernels_for(PLUMB_F32, call->isa)->finite(t.workers + t.worker * (size_t)i, t.lanes)) {
            if (t.widen)
                return direct_of_bf16(adjoint)->run(call);
            plumb_conv_plain(call, adjoint ? PLUMB_CONV_DATA : PLUMB_CONV_FORWARD);
            break;
        }
    return PLUMB_OK;
}

static size_t workspace(const plumb_call *call, bool adjoint)
{
    task t;
    plan(call, adjoint, &t);
    size_t bytes = t.workers_at + t.worker * (size_t)plumb_pool_size(call->pool);
    size_t direct = t.widen ? direct_of_bf16(adjoint)->workspace(call) : 0;
    return bytes > direct ? bytes : direct;
}

double winograd_taps(int64_t in, int64_t out, int64_t before)
{
    int64_t taps = 0;
    for (int64_t t = 0; t < 3; t++)
        taps += plumb_most(plumb_least(out, in + before - t) - plumb_most(before - t, 0), 0);
    return (double)taps;
}

/* Of both axes. */
static double taps_of(const plumb_call *call, bool adjoint)
{
    const int64_t *in = call->in[0].dim, *out = call->out[0].dim;
    const int64_t *padding = ((const plumb_attr_conv2d *)call->attr)->padding;
    return winograd_taps(in[2], out[2], adjoint ? 2 - padding[0] : padding[0]) *
           winograd_taps(in[3], out[3], adjoint ? 2 - padding[1] : padding[1]);
}

/* Is it faster? Both forms in steps of one lane of an FMA, as measured on Zen 4: transforms of a tile's inputs and outputs
 * take 350 and 300 for a channel, a filter's 220, which is also what a direct form takes to pack it. In f32 it must win
 * clearly, because its error is larger: not with few channels, nor where maps fill tiles badly. In bf16 its error is that of
 * the direct form, which with vdpbf16ps is twice as fast. */
static bool pays(const plumb_call *call, bool adjoint)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    double c = (double)x->dim[1], o = (double)y->dim[1];
    double padded = (double)plumb_round_up(y->dim[1], winograd_kernels_for(call->isa)->lanes);
    double tiles = (double)(y->dim[0] * plumb_parts(y->dim[2], WINOGRAD_TILE) * plumb_parts(y->dim[3], WINOGRAD_TILE));
    double taps = (double)y->dim[0] * taps_of(call, adjoint), filter = 220 * c * o;
    bool pairs = x->dtype == PLUMB_BF16 && call->isa >= PLUMB_ISA_AVX512_BF16;
    return (pairs ? 0.5 : 1) * taps * c * o + filter >
           (x->dtype == PLUMB_BF16 ? 1.1 : 1.4) * (tiles * (WINOGRAD_POINTS * c * padded + 350 * c + 300 * o) + filter);
}

/* Activations but relu are made of f32 results in place. */
static bool bf16_supports(const plumb_call *call, bool adjoint)
{
    int activation = adjoint ? PLUMB_ACTIVATION_NONE : ((const plumb_attr_conv2d *)call->attr)->activation;
    return (activation == PLUMB_ACTIVATION_NONE || activation == PLUMB_ACTIVATION_RELU) &&
           direct_of_bf16(adjoint)->supports(call);
}

static bool supports(const plumb_call *call, bool adjoint)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *w = &call->in[1];
    return !(call->context->options.forbid & PLUMB_FORBID_WINOGRAD) && attr->groups == 1 && attr->stride[0] == 1 &&
           attr->stride[1] == 1 && attr->dilation[0] == 1 && attr->dilation[1] == 1 && w->dim[2] == 3 &&
           w->dim[3] == 3 && plumb_view_contiguous(w) && plumb_view_channels_last(&call->in[0]) &&
           plumb_view_channels_last(&call->out[0]) && pays(call, adjoint) &&
           (call->in[0].dtype == PLUMB_F32 || bf16_supports(call, adjoint));
}

/* An output that no tap reaches is zero; its neighbours' rounding would make something else of it. */
static bool forward_supports(const plumb_call *call)
{
    const int64_t *padding = ((const plumb_attr_conv2d *)call->attr)->padding;
    for (int i = 0; i < 4; i++)
        if (padding[i] > 2)
            return false;
    return supports(call, false) && (call->n_in < 3 || call->in[2].dim[0] == 1 || call->in[2].stride[0] == 1);
}
static size_t forward_workspace(const plumb_call *call)
{
    return workspace(call, false);
}
static plumb_status forward_run(const plumb_call *call)
{
    return run(call, false);
}
static bool data_supports(const plumb_call *call)
{
    return supports(call, true);
}
static size_t data_workspace(const plumb_call *call)
{
    return workspace(call, true);
}
static plumb_status data_run(const plumb_call *call)
{
    return run(call, true);
}

/* Error. Of independent elements of equal size the transforms amplify what is rounded at the points: the standard
 * deviation of an output's error, beside that of a plain sum of the same terms, has the factor
 *     root(a_i a_j), a_i = sum over points p of A[i][p]^2 |G[p]|^2 |B[p]|^2 / 3,
 * of the rows of the output's, filter's and input's transforms, which is 8.2 in the corners of a tile and 2.1 in its middle;
 * absolute sums in place of squares give 63, which no error came near. So 8 times the bound of the op, whose terms
 * are of the output's own window: at the border of a picture that may be one tap of the nine. Worst measured: 0.8 of the
 * op's own bound there, 0.3 elsewhere. That is so of bf16, too, beside the rounding of a result, since all between is f32.
 * Were the transformed tiles and filters rounded to bf16 for vdpbf16ps, these factors would multiply 2^-9 twice: of normal
 * values, 64 channels, the error is 1.1e-2 of the results' root mean square, by F(2x2, 3x3) 4.2e-3, where the direct form
 * and this one have 1.65e-3, the rounding of the result. Too much to be chosen for its speed. */
#define SLACK 8

const plumb_impl plumb_impl_conv2d_winograd = {
    .op = &plumb_op_conv2d,
    .name = "cpu.native.winograd",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_WANTS_LAST,
    .supports = forward_supports,
    .workspace = forward_workspace,
    .run = forward_run,
    .slack = SLACK,
};

const plumb_impl plumb_impl_conv2d_backward_data_winograd = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cpu.native.winograd",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_WANTS_LAST,
    .supports = data_supports,
    .workspace = data_workspace,
    .run = data_run,
    .slack = SLACK,
};
