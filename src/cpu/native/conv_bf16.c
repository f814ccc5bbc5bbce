/* conv2d of bf16 and its gradient of the data over channels-last pictures (conv_bf16.h).
 *
 * The filter is packed once per call into panels of target channels: for each tap, source channels in pairs. A chunk is a
 * run of rows by a few panels; panels change slowest, so that a panel stays in the second cache while rows pass it.
 *
 * Where source channels are few, as of a stem, pairs of them would be half empty and sums many short ones. Then a row of taps
 * counts as the channels of one (*folded*), and the source is copied with its padding on the left and right. Zeros are
 * then multiplied, so it is done only with what is finite. */
#include "cpu/native/conv_bf16.h"

enum {
    PANEL_BYTES = 512 * 1024, /* of the panels of a chunk, at most, if there is more than one */
    PACK_PAIRS = 32,          /* rows of pairs that are packed as one chunk */
    LANES_WORTH = 16,         /* filters; */
    CHANNELS_WORTH = 8,       /* input channels, unless there are */
    FOLD_CHANNELS = 5,        /* fewer are folded */
    MANY_LANES = 32,          /* so many filters */
    ENOUGH_CHUNKS = 16,       /* chunks are not made larger where there would be fewer, */
    CHUNK_CYCLES = 150 * 1000 /* nor than this */
};

/* Columns of a target row that read the same taps. */
typedef struct run {
    int64_t from, count;
} run;

typedef struct task {
    const plumb_pair_kernels *kernels;
    const plumb_kernels *words; /* of elements as large as a pair */
    plumb_pair_finish finish;
    const plumb_view *source_view, *w, *target_view;
    plumb_pair_axis axis[2];
    int64_t images, sources, targets, pairs; /* pairs of source channels */
    int64_t w_line, w_step;                  /* strides in w of target and source channels */
    int64_t column, row, image;              /* bytes between source positions */
    bool copied;                             /* source channels are odd: they are copied to an even number; or folded */
    int64_t fold, channels, left;            /* taps that are one (1: not folded), of so many channels; columns before */
    char *spoiled;                           /* [images]: folded, something is not finite */
    int64_t step;                            /* target columns of a tile are so far apart, */
    bool over_images;                        /* unless its rows are images */
    int64_t height;                          /* of a tile, at most */
    int64_t groups;                          /* of images; units: groups x target rows */
    int64_t width, panels;                   /* columns of a panel */
    int64_t packs;                           /* chunks of packing a panel */
    int64_t chunk_units, unit_chunks, chunk_panels;
    size_t packed_at, table_at, run_at, copy_at, spoiled_at, part_at; /* in the workspace; bias at 0 */
    const uint16_t *source;
    uint32_t *packed;
    int64_t *table; /* [target column][tap] source column or -1 */
    run *runs;
    int64_t n_runs;
    char *work; /* of the workers, `part` bytes each: pairs while packing, then the sums of a tile */
    size_t part;
} task;

/* ---- geometry ---- */

plumb_pair_axis plumb_pair_axis_of(const plumb_attr_conv2d *attr, const plumb_view *source, const plumb_view *w,
                                   const plumb_view *target, int axis, bool adjoint)
{
    return (plumb_pair_axis){.source = source->dim[2 + axis], .target = target->dim[2 + axis],
                             .stride = attr->stride[axis], .dilation = attr->dilation[axis],
                             .before = attr->padding[axis], .taps = w->dim[2 + axis],
                             .adjoint = adjoint, .flip = attr->flip};
}

int64_t plumb_pair_source(const plumb_pair_axis *axis, int64_t target, int64_t tap)
{
    int64_t shift = (axis->flip ? axis->taps - 1 - tap : tap) * axis->dilation - axis->before;
    int64_t at = axis->adjoint ? target - shift : target * axis->stride + shift;
    if (axis->adjoint && at >= 0)
        at = at % axis->stride ? -1 : at / axis->stride;
    return at < axis->source ? at : -1;
}

/* With few channels most lanes or pairs would be idle, and pictures are not worth another layout. */
bool plumb_pair_conv_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y)
{
    const plumb_attr_conv2d *attr = call->attr;
    bool worth = w->dim[0] >= LANES_WORTH && (w->dim[1] >= CHANNELS_WORTH || w->dim[0] >= MANY_LANES);
    return worth && attr->groups == 1 && plumb_view_channels_last(x) &&
           plumb_view_channels_last(y) && w->dim[2] <= PLUMB_PAIR_SEGMENTS && w->dim[3] <= PLUMB_PAIR_SEGMENTS &&
           w->dim[2] * w->dim[3] <= PLUMB_PAIR_SEGMENTS;
}

/* The time that `count` positions take, as that of so many rows of tiles: one of few rows waits for its sums, and each
 * tile is begun and ended. */
static double tiles(const task *t, int64_t count)
{
    int64_t height = t->kernels->rows, strips = plumb_parts(count, height);
    return (double)strips * (double)(plumb_most(plumb_parts(count, plumb_most(strips, 1)), (height + 1) / 2) + 1);
}

static void choose_tiles(task *t)
{
    int64_t border = plumb_least(t->axis[1].taps - 1, t->axis[1].target), inner = t->axis[1].target - border;
    double columns = tiles(t, plumb_parts(inner, t->step)) * (double)t->step + (double)border * tiles(t, 1);
    double pictures = tiles(t, t->images) * (double)t->axis[1].target;
    t->over_images = pictures < columns * (double)t->images;
    t->height = t->over_images ? plumb_strip_height(t->images, t->kernels->rows) : t->kernels->rows;
    t->groups = t->over_images ? plumb_parts(t->images, t->height) : t->images;
}

static void choose_chunks(task *t)
{
    const int64_t taps = t->axis[0].taps * t->axis[1].taps, units = t->groups * t->axis[0].target;
    int64_t depth = plumb_most(taps * t->pairs, 1);
    t->chunk_panels = plumb_least(plumb_most(PANEL_BYTES / (depth * t->width * 4), 1), plumb_most(t->panels, 1));
    int64_t positions = t->axis[1].target * (t->over_images ? t->height : 1) / (t->axis[1].adjoint ? t->step : 1);
    int64_t cycles = plumb_most(positions, 1) * depth * plumb_least(t->chunk_panels * t->width, t->targets);
    int64_t parts = plumb_parts(t->panels, t->chunk_panels);
    t->chunk_units = plumb_least(plumb_parts((int64_t)CHUNK_CYCLES * t->kernels->lanes, plumb_most(cycles, 1)),
                                 plumb_most(units * parts / ENOUGH_CHUNKS, 1));
    t->unit_chunks = plumb_parts(units, t->chunk_units);
}

/* A row of taps becomes one tap of as many channels. */
static void fold_row(task *t)
{
    plumb_pair_axis *row = &t->axis[1];
    t->fold = row->taps, t->channels = t->sources, t->left = row->before;
    t->sources *= row->taps;
    row->source = plumb_most((row->target - 1) * row->stride + row->taps, row->before + row->source);
    row->taps = 1, row->before = 0;
    t->column = 2 * t->channels, t->row = 2 * plumb_round_up(t->channels * row->source + 1, 2);
}

static void plan(const plumb_call *call, bool adjoint, bool fold, task *t)
{
    const plumb_view *source = &call->in[0], *w = &call->in[1], *target = &call->out[0];
    const plumb_attr_conv2d *attr = call->attr;
    *t = (task){.kernels = plumb_pair_kernels_for(call->isa), .words = plumb_kernels_for(PLUMB_F32, call->isa),
                .source_view = source, .w = w, .target_view = target,
                .images = source->dim[0], .sources = source->dim[1], .targets = target->dim[1],
                .w_line = w->stride[adjoint], .w_step = w->stride[!adjoint]};
    bool bias = !adjoint && call->n_in > 2;
    for (int d = 0; d < 2; d++)
        t->axis[d] = plumb_pair_axis_of(attr, source, w, target, d, adjoint);
    t->finish = plumb_pair_finish_for(call, adjoint ? PLUMB_ACTIVATION_NONE : attr->activation, bias);
    t->fold = 1, t->column = 4 * ((t->sources + 1) / 2), t->row = t->column * source->dim[3];
    if (fold && !adjoint && t->sources < FOLD_CHANNELS && t->axis[1].taps > 1 && t->axis[1].dilation == 1 &&
        t->axis[1].target > 0)
        fold_row(t);
    t->pairs = (t->sources + 1) / 2;
    t->copied = t->sources % 2 || t->fold > 1;
    t->image = t->row * source->dim[2];
    t->step = adjoint ? attr->stride[1] : 1;
    t->width = (int64_t)t->kernels->vectors * t->kernels->lanes;
    t->panels = plumb_parts(t->targets, t->width);
    t->packs = plumb_parts(t->pairs, PACK_PAIRS);
    choose_tiles(t);
    choose_chunks(t);
    int64_t depth = t->axis[0].taps * t->axis[1].taps * t->pairs, columns = t->axis[1].target;
    t->packed_at = bias ? plumb_lines(t->targets, sizeof(float)) : 0;
    t->table_at = t->packed_at + plumb_lines(depth * plumb_round_up(t->targets, t->kernels->lanes), 4);
    t->run_at = t->table_at + plumb_lines(columns * t->axis[1].taps, sizeof(int64_t));
    t->copy_at = t->run_at + plumb_lines(columns, sizeof(run));
    t->spoiled_at = t->copy_at + (t->copied ? plumb_lines(t->images * t->image, 1) : 0);
    t->part_at = t->spoiled_at + (t->fold > 1 ? plumb_lines(t->images, 1) : 0);
    t->part = plumb_lines(plumb_most(depth / plumb_most(t->pairs, 1), PLUMB_PAIR_ROWS) * PLUMB_PAIR_WIDTH, sizeof(float));
}

/* The source columns of every target column, and the runs of target columns that read the same taps. */
static void find_columns(task *t)
{
    const plumb_pair_axis *axis = &t->axis[1];
    for (int64_t j = 0; j < axis->target; j++)
        for (int64_t k = 0; k < axis->taps; k++)
            t->table[j * axis->taps + k] = plumb_pair_source(axis, j, k);
    for (int64_t phase = 0; phase < plumb_least(t->step, axis->target); phase++)
        for (int64_t j = phase; j < axis->target; j += t->step) {
            const int64_t *here = t->table + j * axis->taps;
            bool same = j > phase;
            for (int64_t k = 0; same && k < axis->taps; k++)
                same = (here[k] < 0) == (here[k - t->step * axis->taps] < 0);
            if (!same)
                t->runs[t->n_runs++] = (run){.from = j};
            t->runs[t->n_runs - 1].count++;
        }
}

/* ---- packing ---- */

static bool is_finite(const uint16_t *x, int64_t count)
{
    uint32_t found = 0;
    for (int64_t i = 0; i < count; i++)
        found |= (x[i] & 0x7f80) == 0x7f80;
    return !found;
}

/* Rows with their padding. */
static void run_copy_folded(void *user, int64_t image, int worker)
{
    const task *t = user;
    const int64_t height = t->source_view->dim[2], width = t->source_view->dim[3] * t->channels;
    const uint16_t *from = (const uint16_t *)t->source_view->data + image * height * width;
    char *to = (char *)(uintptr_t)t->source + image * t->image;
    (void)worker;
    t->spoiled[image] = !is_finite(from, height * width);
    for (int64_t i = 0; i < height; i++, from += width, to += t->row) {
        size_t before = (size_t)(t->left * t->column), bytes = (size_t)width * sizeof *from;
        memset(to, 0, before);
        memcpy(to + before, from, bytes);
        memset(to + before + bytes, 0, (size_t)t->row - before - bytes);
    }
}

static void run_copy(void *user, int64_t image, int worker)
{
    const task *t = user;
    int64_t positions = t->axis[0].source * t->axis[1].source, c = t->sources;
    const uint16_t *from = (const uint16_t *)t->source_view->data + image * positions * c;
    uint16_t *to = (uint16_t *)(uintptr_t)t->source + image * positions * (c + 1);
    (void)worker;
    for (int64_t i = 0; i < positions; i++, from += c, to += c + 1) {
        for (int64_t k = 0; k < c; k++)
            to[k] = from[k];
        to[c] = 0;
    }
}

static int64_t panel_width(const task *t, int64_t panel)
{
    return plumb_least(t->width, plumb_round_up(t->targets - panel * t->width, t->kernels->lanes));
}

/* A panel: (tap, pair of source channels, target channel). */
static const uint32_t *panel_at(const task *t, int64_t panel)
{
    return t->packed + panel * t->width * t->axis[0].taps * t->axis[1].taps * t->pairs;
}

/* Row q of pairs of some lines of w, for each tap in a row of its own, `apart` elements from the last tap's. w lies any
 * way. */
static void pack_lines(const task *t, const uint16_t *w, int64_t q, int64_t lines, uint32_t *to, int64_t apart)
{
    bool both = 2 * q + 1 < t->sources;
    for (int64_t ky = 0; ky < t->axis[0].taps; ky++)
        for (int64_t kx = 0; kx < t->axis[1].taps; kx++, to += apart) {
            const uint16_t *from = w + 2 * q * t->w_step + ky * t->w->stride[2] + kx * t->w->stride[3];
            for (int64_t j = 0; j < lines; j++, from += t->w_line)
                to[j] = from[0] | (both ? (uint32_t)from[t->w_step] << 16 : 0);
        }
}

static uint16_t folded_tap(const task *t, const uint16_t *w, int64_t at)
{
    int64_t tap = at / t->channels, channel = at % t->channels;
    return at < t->sources ? w[channel * t->w_step + (t->axis[1].flip ? t->fold - 1 - tap : tap) * t->w->stride[3]] : 0;
}

static void pack_folded(const task *t, const uint16_t *w, int64_t q, int64_t lines, uint32_t *to, int64_t apart)
{
    for (int64_t ky = 0; ky < t->axis[0].taps; ky++, to += apart) {
        const uint16_t *from = w + ky * t->w->stride[2];
        for (int64_t j = 0; j < lines; j++, from += t->w_line)
            to[j] = folded_tap(t, from, 2 * q) | (uint32_t)folded_tap(t, from, 2 * q + 1) << 16;
    }
}

/* The same of a w that is packed, its taps together: pairs are made in its order, then transposed by the f32 kernels. */
static void pack_packed(const task *t, const uint16_t *w, int64_t q, int64_t lines, uint32_t *to, int64_t apart,
                        uint32_t *pairs)
{
    int64_t taps = t->axis[0].taps * t->axis[1].taps;
    const uint16_t *from = w + 2 * q * t->w_step;
    if (t->w_line == taps)
        t->kernels->interleave(taps == 1 ? to : pairs, from, from + t->w_step, lines * taps);
    else
        t->kernels->couple(pairs, from, t->w_line, lines, taps);
    if (t->w_line != 1)
        t->words->interleave(to, apart, pairs, taps, lines, taps);
}

static void run_pack(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t part = chunk % t->packs, panel = chunk / t->packs, width = panel_width(t, panel), apart = t->pairs * width;
    int64_t lines = plumb_least(t->targets - panel * t->width, width), taps = t->axis[0].taps * t->axis[1].taps;
    const uint16_t *w = (const uint16_t *)t->w->data + panel * t->width * t->w_line;
    uint32_t *to = (uint32_t *)(uintptr_t)panel_at(t, panel);
    uint32_t *work = (uint32_t *)(void *)(t->work + (size_t)worker * t->part);
    int64_t first = part * PACK_PAIRS, end = plumb_least(first + PACK_PAIRS, t->pairs);
    bool packed = plumb_view_contiguous(t->w) && t->fold == 1;
    if (packed && taps == 1 && t->w_step == 1 && t->sources % 2 == 0 && (uintptr_t)t->w->data % 4 == 0 && lines == width) {
        t->words->interleave(to + first * width, width, w + 2 * first, t->pairs, lines, end - first); /* pairs already */
        return;
    }
    for (int64_t q = first; q < end; q++) {
        if (t->fold > 1)
            pack_folded(t, w, q, lines, to + q * width, apart);
        else if (packed && 2 * q + 1 < t->sources)
            pack_packed(t, w, q, lines, to + q * width, apart, work);
        else
            pack_lines(t, w, q, lines, to + q * width, apart);
        for (int64_t tap = 0; tap < taps && lines < width; tap++)
            memset(to + q * width + tap * apart + lines, 0, (size_t)(width - lines) * sizeof *to);
    }
}

/* ---- products ---- */

/* One row of target positions against one panel. */
typedef struct unit {
    const task *t;
    plumb_pairs pairs;
    int64_t image, images, row, panel, width;
    int64_t rows[PLUMB_PAIR_SEGMENTS]; /* [tap]: where the source row begins, -1: outside */
    int64_t a_at[PLUMB_PAIR_SEGMENTS], b_at[PLUMB_PAIR_SEGMENTS];
} unit;

static void begin_unit(unit *u, int64_t index)
{
    const task *t = u->t;
    int64_t group = index / t->axis[0].target, height = t->over_images ? t->height : 1;
    u->image = group * height;
    u->images = plumb_least(height, t->images - u->image);
    u->row = index % t->axis[0].target;
    for (int64_t k = 0; k < t->axis[0].taps; k++) {
        int64_t at = plumb_pair_source(&t->axis[0], u->row, k);
        u->rows[k] = at < 0 ? -1 : at * t->row;
    }
}

/* The taps that target column `j` reads become segments. */
static void find_segments(unit *u, int64_t j)
{
    const task *t = u->t;
    const int64_t taps = t->axis[1].taps, *columns = t->table + j * taps, tap_bytes = t->pairs * u->width * 4;
    int64_t n = 0;
    for (int64_t ky = 0; ky < t->axis[0].taps; ky++)
        for (int64_t kx = 0; kx < taps && u->rows[ky] >= 0; kx++)
            if (columns[kx] >= 0) {
                u->a_at[n] = u->rows[ky] + columns[kx] * t->column;
                u->b_at[n++] = (ky * taps + kx) * tap_bytes;
            }
    u->pairs.segments = n;
}

/* `count` positions, target column `j` being the first. */
static void run_tiles(unit *u, int64_t j, int64_t count)
{
    const task *t = u->t;
    const plumb_view *y = t->target_view;
    int64_t column = u->panel * t->width, columns = plumb_least(t->width, t->targets - column);
    int64_t between = t->over_images ? y->dim[2] * y->dim[3] * t->targets : t->step * t->targets;
    int64_t height = plumb_strip_height(count, t->kernels->rows);
    uint16_t *to = (uint16_t *)y->data + ((u->image * y->dim[2] + u->row) * y->dim[3] + j) * t->targets + column;
    find_segments(u, j);
    u->pairs.a_row = t->over_images ? t->image : t->column * (t->axis[1].adjoint ? 1 : t->axis[1].stride);
    u->pairs.a = (const char *)t->source + u->image * t->image;
    for (int64_t i = 0; i < count; i += height, u->pairs.a += height * u->pairs.a_row, to += height * between) {
        int64_t here = plumb_least(height, count - i);
        plumb_pair_tile(&t->finish, &u->pairs, here, columns, column, to, between);
    }
}

static void run_units(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t part = chunk / t->unit_chunks, first = chunk % t->unit_chunks * t->chunk_units;
    int64_t end = plumb_least(first + t->chunk_units, t->groups * t->axis[0].target);
    unit u = {.t = t, .pairs = {.length = t->pairs, .a_step = 4}};
    u.pairs.c = (float *)(void *)(t->work + (size_t)worker * t->part);
    u.pairs.a_at = u.a_at, u.pairs.b_at = u.b_at;
    for (u.panel = part * t->chunk_panels; u.panel < plumb_least((part + 1) * t->chunk_panels, t->panels); u.panel++) {
        u.width = panel_width(t, u.panel);
        u.pairs.b = (const char *)panel_at(t, u.panel);
        u.pairs.b_step = 4 * u.width;
        for (int64_t index = first; index < end; index++) {
            begin_unit(&u, index);
            if (t->over_images)
                for (int64_t j = 0; j < t->axis[1].target; j++)
                    run_tiles(&u, j, u.images);
            else
                for (int64_t r = 0; r < t->n_runs; r++)
                    run_tiles(&u, t->runs[r].from, t->runs[r].count);
        }
    }
}

static plumb_status convolve(const plumb_call *call, bool adjoint, bool fold)
{
    task t;
    char *work = call->workspace;
    plan(call, adjoint, fold, &t);
    if (plumb_view_count(&call->out[0]) == 0)
        return PLUMB_OK;
    t.packed = (uint32_t *)(void *)(work + t.packed_at);
    t.table = (int64_t *)(void *)(work + t.table_at);
    t.runs = (run *)(void *)(work + t.run_at);
    t.work = work + t.part_at, t.spoiled = work + t.spoiled_at;
    t.source = t.copied ? (const uint16_t *)(void *)(work + t.copy_at) : t.source_view->data;
    if (t.fold > 1) {
        if (!plumb_view_dense(t.w) || !is_finite(t.w->data, plumb_view_count(t.w)))
            return convolve(call, adjoint, false);
        plumb_pool_run(call->pool, t.images, run_copy_folded, &t);
        if (memchr(t.spoiled, true, (size_t)t.images))
            return convolve(call, adjoint, false);
    } else if (t.copied) {
        plumb_pool_run(call->pool, t.images, run_copy, &t);
    }
    if (t.packed_at) {
        plumb_pair_bias(call, &call->in[2], call->workspace);
        t.finish.bias = call->workspace;
    }
    find_columns(&t);
    plumb_pool_run(call->pool, t.panels * t.packs, run_pack, &t);
    plumb_pool_run(call->pool, plumb_parts(t.panels, t.chunk_panels) * t.unit_chunks, run_units, &t);
    return PLUMB_OK;
}

static size_t workspace_of(const plumb_call *call, bool adjoint, bool fold)
{
    task t;
    plan(call, adjoint, fold, &t);
    return t.part_at + (size_t)plumb_pool_size(call->pool) * t.part;
}

static size_t workspace(const plumb_call *call, bool adjoint)
{
    size_t folded = workspace_of(call, adjoint, true), plain = workspace_of(call, adjoint, false);
    return folded > plain ? folded : plain;
}

static bool forward_supports(const plumb_call *call)
{
    return plumb_pair_conv_supports(call, &call->in[0], &call->in[1], &call->out[0]);
}

static size_t forward_workspace(const plumb_call *call) { return workspace(call, false); }
static plumb_status forward_run(const plumb_call *call) { return convolve(call, false, true); }

static bool data_supports(const plumb_call *call)
{
    return plumb_pair_conv_supports(call, &call->out[0], &call->in[1], &call->in[0]);
}

static size_t data_workspace(const plumb_call *call) { return workspace(call, true); }
static plumb_status data_run(const plumb_call *call) { return convolve(call, true, false); }

const plumb_impl plumb_impl_conv2d_bf16 = {
    .op = &plumb_op_conv2d,
    .name = "cpu.native.bf16",
    .dtypes = PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = forward_supports,
    .workspace = forward_workspace,
    .run = forward_run,
};
const plumb_impl plumb_impl_conv2d_backward_data_bf16 = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cpu.native.bf16",
    .dtypes = PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = data_supports,
    .workspace = data_workspace,
    .run = data_run,
};
