/* conv2d and its gradient of the data over channels-last pictures, f32 (conv_last.h).
 *
 * The filter is packed once per call into blocks of target channels, as wide as the tiles' vectors. A chunk of work is a
 * run of rows and of blocks; which is cut more follows from what would be read more often otherwise, the rows or the
 * filter. Within a chunk a block's filter, or so many of its source channels as stay in the second cache, goes over all
 * of the chunk's positions before the next. All cuts depend on shapes and the instruction set alone. */
#include "cpu/native/conv_last.h"
#include "cpu/native/epilogue.h"

enum {
    FILTER_BYTES = 256 * 1024,  /* of a block's filter at once */
    PICTURE_BYTES = 384 * 1024, /* of the pictures a chunk reads and writes */
    CHUNK_CYCLES = 50 * 1000,   /* of multiplications, which a chunk should take at least */
    PACK_SERIAL = 1 << 14,      /* elements that one thread packs sooner than two */
    PACK_ROWS = 16,             /* source channels that one chunk packs, adjoint */
    PIECES = PLUMB_LAST_TAPS * PLUMB_LAST_TAPS
};

typedef struct task {
    plumb_last last;
    const float *source;
    float *target, *filter;
    const plumb_view *w, *bias;
    plumb_epilogue *epilogue;
    bool adjoint;
    int64_t depth;               /* source channels at once */
    int64_t chunk_units, parts;  /* units of a chunk; of runs of so many blocks: */
    int64_t chunk_blocks;
    int64_t unit_chunks;
    size_t offset_at, copy_at, copy; /* in the workspace: rows of w in the filter; per worker: copied rows */
} task;

static int64_t filter_count(const plumb_last *last)
{
    int64_t lanes = last->kernels->lanes;
    return last->groups * plumb_round_up(last->targets, lanes) * last->depth;
}

/* Cuts that read least: every run of units reads the whole filter, every run of blocks all of the pictures. */
static void cut(task *t)
{
    const plumb_last *last = &t->last;
    double positions = (double)last->images * (double)last->axis[0].target * (double)last->axis[1].target;
    double filter = (double)filter_count(last) * 4, cycles = positions * filter / 4 / last->kernels->lanes;
    cycles /= (double)(last->axis[0].phases * last->axis[1].phases);
    double source = (double)last->images * (double)last->axis[0].source * (double)last->axis[1].source *
                    (double)last->pixel * 4;
    double target = positions * (double)last->targets * 4;
    double enough = cycles / CHUNK_CYCLES / (double)last->groups, best = 1e300;
    enough = enough < 1 ? 1 : enough < PLUMB_LAST_CHUNKS ? enough : PLUMB_LAST_CHUNKS;
    for (int64_t parts = 1; parts <= last->blocks; parts *= 2) {
        int64_t bands = plumb_most((int64_t)(enough / (double)parts + 0.99),
                                   (int64_t)((source + target / (double)parts) / PICTURE_BYTES));
        bands = plumb_most(plumb_least(bands, last->units), 1);
        if (parts > 1 && (double)parts > enough)
            break;
        double traffic = (double)bands * filter + (double)parts * source;
        if ((double)(bands * parts) < enough * 0.9)
            traffic *= 4 * enough / (double)(bands * parts); /* too few for all threads is worse than any traffic */
        if (traffic < best) {
            best = traffic;
            t->chunk_units = plumb_parts(last->units, bands);
            t->chunk_blocks = plumb_parts(last->blocks, parts);
        }
    }
    t->unit_chunks = plumb_parts(last->units, t->chunk_units);
    t->parts = plumb_parts(last->blocks, t->chunk_blocks);
}

static void plan(const plumb_call *call, bool adjoint, bool fold, task *t)
{
    memset(t, 0, sizeof *t);
    const plumb_view *w = &call->in[1], *x = adjoint ? &call->out[0] : &call->in[0];
    const plumb_view *y = adjoint ? &call->in[0] : &call->out[0];
    plumb_last *last = &t->last;
    plumb_last_plan(call, x, w, y, adjoint, fold, last);
    t->source = call->in[0].data, t->target = call->out[0].data, t->w = w, t->adjoint = adjoint;
    t->bias = !adjoint && call->n_in > 2 ? &call->in[2] : NULL;
    t->epilogue = plumb_epilogue_for(PLUMB_F32, call->isa, ((const plumb_attr_conv2d *)call->attr)->activation, t->bias);
    int64_t row = plumb_parts(last->depth / last->sources, last->axis[0].phases * last->axis[1].phases) * last->vectors *
                  last->kernels->lanes * (int64_t)sizeof(float);
    int64_t cuts = plumb_parts(last->sources * row, FILTER_BYTES);
    t->depth = plumb_least(plumb_round_up(plumb_parts(last->sources, cuts), 16), last->sources);
    cut(t);
    t->offset_at = plumb_lines(filter_count(last), sizeof(float));
    t->copy_at = t->offset_at + plumb_lines(adjoint ? last->taps : last->depth, sizeof(int32_t));
    t->copy = last->fold > 1 ? plumb_lines(last->axis[0].taps * last->line, sizeof(float)) : 0;
}

/* ---- the filter ---- */

static int64_t block_vectors(const plumb_last *last, int64_t block)
{
    return plumb_least(last->vectors, plumb_parts(last->targets, last->kernels->lanes) - block * last->vectors);
}

static float *block_filter(const task *t, int64_t group, int64_t block)
{
    const plumb_last *last = &t->last;
    int64_t lanes = last->kernels->lanes, width = plumb_round_up(last->targets, lanes);
    return t->filter + (group * width + block * last->vectors * lanes) * last->depth;
}

/* Rows [first, end) of w's output channels, so that they are read once and in order: those of a block where outputs are
 * targets, some of the sources of all blocks where they are sources. */
static void pack_rows(const task *t, int64_t group, int64_t block, int64_t first, int64_t end)
{
    const plumb_last *last = &t->last;
    int64_t lanes = last->kernels->lanes, vectors = block_vectors(last, block), target = block * last->vectors * lanes;
    int64_t filter = t->w->dim[1] * last->taps, outputs = t->w->dim[0] / last->groups;
    const float *w = t->w->data;
    plumb_last_turn turn = {.end = w + t->w->dim[0] * filter,
                            .width = vectors * lanes,
                            .count = end - first,
                            .matrix_step = filter,
                            .turned_step = vectors * lanes,
                            .row = t->adjoint ? last->taps : filter,
                            .columns = t->adjoint ? last->taps : filter,
                            .offset = (const int32_t *)(const void *)((const char *)t->filter + t->offset_at)};
    w += (group * outputs + first) * filter;
    for (int64_t v = 0; v < vectors; v++, target += lanes) {
        turn.matrix = (float *)(uintptr_t)(w + target * turn.row);
        turn.turned = block_filter(t, group, block) + first * turn.width + v * lanes;
        turn.rows = plumb_least(lanes, last->targets - target);
        last->kernels->turn(&turn);
    }
}

static void pack_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_last *last = &t->last;
    (void)worker;
    if (!t->adjoint) {
        pack_rows(t, chunk / last->blocks, chunk % last->blocks, 0, 1);
        return;
    }
    int64_t parts = plumb_parts(last->sources, PACK_ROWS), first = chunk % parts * PACK_ROWS;
    for (int64_t block = 0; block < last->blocks; block++)
        pack_rows(t, chunk / parts, block, first, plumb_least(first + PACK_ROWS, last->sources));
}

static void pack(const plumb_call *call, task *t)
{
    const plumb_last *last = &t->last;
    int64_t chunks = last->groups * (t->adjoint ? plumb_parts(last->sources, PACK_ROWS) : last->blocks);
    if (filter_count(last) > PACK_SERIAL)
        plumb_pool_run(call->pool, chunks, pack_chunk, t);
    else
        for (int64_t i = 0; i < chunks; i++)
            pack_chunk(t, i, 0);
}

/* ---- tiles ---- */

typedef struct sweep {
    const task *t;
    int64_t group, block, vectors, width; /* width: lanes of the block */
    const float *filter;                  /* of the block */
    int64_t channel, depth;               /* source channels at once, from `channel` on */
    plumb_last_unit unit;
    float *copy; /* folded: the rows that the unit reads, from column `first` on */
    int64_t first;
    int64_t fh, fw, phase_first; /* phase_first: taps of the phases before */
} sweep;

static bool skips(int64_t first, int64_t end, int64_t from, int64_t to)
{
    return first >= end || (first - from <= 1 && to - end <= 1);
}

/* The tiles from `from` on: how many positions one has, and how many follow each other that read alike. Even shares of
 * the positions up to `to`, fewer where a tap leaves out more than the first or the last. */
static int64_t tile_rows(const plumb_last_axis *axis, int64_t fw, int64_t from, int64_t to, int64_t most, int64_t *tiles)
{
    int64_t parts = plumb_parts(to - from, most), rows = plumb_parts(to - from, parts), whole = to, first, end;
    int64_t even = plumb_most(to - from - parts * (rows - 1), 1);
    for (int b = axis->first[fw]; b < axis->first[fw + 1]; b++) {
        plumb_last_inside(axis, axis->shift[b], from, to, &first, &end);
        whole = first > from ? from : plumb_least(whole, end);
        for (plumb_last_inside(axis, axis->shift[b], from, from + rows, &first, &end);
             rows > 1 && !skips(first, end, from, from + rows);
             plumb_last_inside(axis, axis->shift[b], from, from + rows, &first, &end))
            rows--;
    }
    *tiles = plumb_most(plumb_least(even, (whole - from) / rows), 1);
    return rows;
}

/* The pieces of the tile of positions [from, from + rows) of a unit's row. */
static int64_t pieces_of(const sweep *s, int64_t from, int64_t rows, plumb_last_piece *piece)
{
    const plumb_last *last = &s->t->last;
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    int64_t pixel = last->pixel, j = s->unit.row / h->phases, count = 0, column = from * w->step;
    int64_t across = w->first[s->fw + 1] - w->first[s->fw];
    for (int a = h->first[s->fh]; a < h->first[s->fh + 1]; a++) {
        int64_t row = j * h->step + h->shift[a];
        if (row < 0 || row >= h->source)
            continue;
        const float *x = s->t->source + ((s->unit.image * h->source + row) * w->source + column) * pixel +
                         s->group * last->sources + s->channel;
        if (last->fold > 1)
            x = s->copy + a * last->line + (from - s->first) * w->step * pixel;
        int64_t tap = s->phase_first + (a - h->first[s->fh]) * across;
        bool joins = false; /* the piece before ends where this one begins */
        for (int b = w->first[s->fw]; b < w->first[s->fw + 1]; b++, tap++) {
            int64_t first, end;
            plumb_last_inside(w, w->shift[b], from, from + rows, &first, &end);
            int skip = (first > from) + 2 * (end < from + rows);
            if (first >= end) {
                joins = false;
                continue;
            }
            if (joins && skip == 0 && w->shift[b] == w->shift[b - 1] + 1) {
                piece[count - 1].length += s->depth;
                continue;
            }
            piece[count++] = (plumb_last_piece){.x = x + w->shift[b] * pixel,
                                                .w = s->filter + (tap * last->sources + s->channel) * s->width,
                                                .length = s->depth,
                                                .skip = skip};
            joins = skip == 0 && s->depth == pixel;
        }
    }
    return count;
}

static void run_tiles(const sweep *s, int64_t from, int64_t rows, int64_t tiles)
{
    const task *t = s->t;
    const plumb_last *last = &t->last;
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    plumb_last_piece piece[PIECES];
    float edge[PLUMB_LAST_ROWS * PLUMB_LAST_VECTORS * 16];
    int64_t pieces = pieces_of(s, from, rows, piece), step = w->step * last->pixel;
    int64_t pixel = last->groups * last->targets, lane = s->block * last->vectors * last->kernels->lanes;
    int64_t width = plumb_least(s->width, last->targets - lane), channel = s->group * last->targets + lane;
    int64_t position = (s->unit.image * h->target + s->unit.row) * w->target + from * w->phases + s->fw;
    float *y = t->target + position * pixel + channel;
    bool add = s->channel > 0, done = s->channel + s->depth == last->sources;
    plumb_last_tile *tile = last->kernels->tile[rows][s->vectors];
    if (width == s->width)
        tile(piece, pieces, step, tiles, y, pixel * w->phases, add);
    else {
        for (int64_t i = 0; i < rows && add; i++)
            memcpy(edge + i * s->width, y + i * pixel * w->phases, (size_t)width * sizeof(float));
        tile(piece, pieces, step, 1, edge, s->width, add);
        for (int64_t i = 0; i < rows; i++)
            memcpy(y + i * pixel * w->phases, edge + i * s->width, (size_t)width * sizeof(float));
    }
    if (t->epilogue && done)
        for (int64_t i = 0; i < rows * tiles; i++)
            t->epilogue(y + i * pixel * w->phases, width,
                        t->bias ? (const float *)t->bias->data + channel * t->bias->stride[0] : NULL,
                        t->bias ? t->bias->stride[0] : 0);
}

/* A row that no tap reaches is zeros, written at once where the chunk has all of its channels. */
static bool is_empty(const sweep *s)
{
    const task *t = s->t;
    const plumb_last *last = &t->last;
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    int64_t fh = s->unit.row % h->phases, wide = last->band * w->phases, from = s->unit.band * wide;
    if (h->first[fh] < h->first[fh + 1] || t->parts > 1 || last->groups > 1)
        return false;
    int64_t first = (s->unit.image * h->target + s->unit.row) * w->target + from;
    if (s->block == 0 && s->channel == 0)
        memset(t->target + first * last->targets, 0,
               (size_t)(plumb_least(wide, w->target - from) * last->targets) * sizeof(float));
    return true;
}

static void run_row(sweep *s)
{
    const plumb_last *last = &s->t->last;
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    if (is_empty(s))
        return;
    s->fh = s->unit.row % h->phases;
    s->phase_first = h->first[s->fh] * w->taps;
    int64_t high = h->first[s->fh + 1] - h->first[s->fh], from, to;
    if (last->fold > 1) {
        plumb_last_columns(last, &s->unit, 0, &s->first, &to);
        plumb_last_copy(last, &s->unit, s->t->source, s->copy);
    }
    for (s->fw = 0; s->fw < w->phases; s->fw++) {
        for (plumb_last_columns(last, &s->unit, s->fw, &from, &to); from < to;) {
            int64_t tiles, rows = tile_rows(w, s->fw, from, to, last->kernels->rows[s->vectors], &tiles);
            if (s->block * last->vectors * last->kernels->lanes + s->width > last->targets)
                tiles = 1; /* through a place of its own */
            run_tiles(s, from, rows, tiles);
            from += rows * tiles;
        }
        s->phase_first += high * (w->first[s->fw + 1] - w->first[s->fw]);
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_last *last = &t->last;
    int64_t part = chunk % t->parts, units = chunk / t->parts % t->unit_chunks * t->chunk_units;
    sweep s = {.t = t, .group = chunk / t->parts / t->unit_chunks};
    s.copy = (float *)(void *)((char *)t->filter + t->copy_at + t->copy * (size_t)worker);
    int64_t end = plumb_least(units + t->chunk_units, last->units);
    for (s.block = part * t->chunk_blocks; s.block < plumb_least((part + 1) * t->chunk_blocks, last->blocks); s.block++) {
        s.filter = block_filter(t, s.group, s.block);
        s.vectors = block_vectors(last, s.block), s.width = s.vectors * last->kernels->lanes;
        for (s.channel = 0; s.channel < last->sources; s.channel += s.depth) {
            s.depth = plumb_least(t->depth, last->sources - s.channel);
            for (int64_t u = units; u < end; u++) {
                s.unit = plumb_last_unit_at(last, u);
                run_row(&s);
            }
        }
    }
}

/* ---- the two ops ---- */

static size_t workspace(const plumb_call *call, bool adjoint)
{
    task t;
    plan(call, adjoint, true, &t);
    return t.copy_at + t.copy * (size_t)plumb_pool_size(call->pool);
}

static plumb_status run(const plumb_call *call, bool adjoint)
{
    task t;
    const plumb_view *w = &call->in[1];
    plan(call, adjoint, true, &t);
    if (t.last.fold > 1 && !plumb_kernels_for(PLUMB_F32, call->isa)->finite(w->data, plumb_view_count(w)))
        plan(call, adjoint, false, &t);
    t.filter = call->workspace;
    plumb_last_offsets(&t.last, adjoint, (int32_t *)(void *)((char *)call->workspace + t.offset_at));
    pack(call, &t);
    plumb_pool_run(call->pool, t.last.groups * t.unit_chunks * t.parts, run_chunk, &t);
    return PLUMB_OK;
}

static bool forward_supports(const plumb_call *call)
{
    return plumb_last_supports(call, &call->in[0], &call->in[1], &call->out[0], false);
}
static size_t forward_workspace(const plumb_call *call) { return workspace(call, false); }
static plumb_status forward_run(const plumb_call *call) { return run(call, false); }

static bool data_supports(const plumb_call *call)
{
    return plumb_last_supports(call, &call->out[0], &call->in[1], &call->in[0], true);
}
static size_t data_workspace(const plumb_call *call) { return workspace(call, true); }
static plumb_status data_run(const plumb_call *call) { return run(call, true); }

const plumb_impl plumb_impl_conv2d_last = {
    .op = &plumb_op_conv2d,
    .name = "cpu.native.last",
    .dtypes = PLUMB_BIT(PLUMB_F32),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = forward_supports,
    .workspace = forward_workspace,
    .run = forward_run,
};

const plumb_impl plumb_impl_conv2d_backward_data_last = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cpu.native.last",
    .dtypes = PLUMB_BIT(PLUMB_F32),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = data_supports,
    .workspace = data_workspace,
    .run = data_run,
};
