/* conv2d's gradient of the filter over channels-last pictures of bf16 (conv_bf16.h).
 *
 * dw[o][c][t] is a sum over pictures and positions. Pictures are taken two at a time: a pair is the same element of both,
 * so that a tap's shift needs no other pairs than its neighbour's. A few rows of x and dy (a load) are interleaved so, then
 * each tap adds its sums over them: rows of a tile are input channels, its lanes output channels, its segments the parts of
 * rows whose tap lies inside the picture.
 *
 * Where input channels are few, as of a stem, they would leave tiles nearly empty. Then rows of a tile are the channels of
 * all taps of a row of the filter, which lie one behind the other (*folded*); columns of padding are zeros in a load. What is
 * not finite would meet those zeros: if such a gradient is not finite, it is computed again without.
 *
 * Threads claim (part of the loads, block of input channels, of output channels); each has sums of its own, which are added
 * in order while they are turned into w's order. The cuts depend on shapes and the instruction set alone. */
#include "cpu/native/conv_bf16.h"

enum {
    POSITIONS = 256,          /* of a load, if a row is not longer */
    SUM_BYTES = 320 * 1024,   /* of a chunk's sums: they stay in the second cache */
    PARTIAL_BYTES = 24 << 20, /* of all sums */
    OUT_PANELS = 4,           /* of output channels in a chunk, at most */
    IN_CHANNELS = 128,        /* of input channels */
    FEW_CHANNELS = 32,        /* input channels that are not cut further */
    TURN_CHANNELS = 16,       /* input channels whose sums are turned at once */
    ENOUGH_CHUNKS = 16
};

typedef struct task {
    const plumb_pair_kernels *kernels;
    plumb_filter_sums sums;  /* of one part: the workers have their block */
    const plumb_view *x, *y;
    plumb_pair_axis axis[2]; /* from x to y */
    int64_t images, width;   /* columns of a panel */
    int64_t fold;            /* taps that are one; 1: not folded */
    int64_t x_width, x_left; /* columns of a row of x in a load; how many of them are before the picture's */
    int64_t couples, couples_at_once; /* pairs of pictures */
    int64_t rows_at_once, bands;      /* rows of dy in a load; loads of a picture */
    int64_t x_rows;                   /* most rows of x under a load's rows of one couple */
    int64_t loads, part_loads;
    size_t workers_at;     /* of the workers, which hold */
    size_t dy_at, sums_at; /* x and dy of a load, or what is turned; sums */
} task;

static void choose_blocks(task *t)
{
    t->sums.in_block = plumb_least(plumb_most(t->sums.ins, 1), IN_CHANNELS);
    t->sums.out_block = plumb_least(OUT_PANELS * t->width, plumb_round_up(plumb_most(t->sums.outs, 1), t->kernels->lanes));
    while (t->sums.taps * t->sums.in_block * t->sums.out_block * 4 > SUM_BYTES) {
        bool narrower = t->sums.out_block > t->width &&
                        (t->sums.out_block > t->sums.in_block || t->sums.in_block <= FEW_CHANNELS);
        if (!narrower && t->sums.in_block <= FEW_CHANNELS)
            break;
        if (narrower)
            t->sums.out_block = plumb_round_up(t->sums.out_block / 2, t->width);
        else
            t->sums.in_block = plumb_parts(t->sums.in_block, 2);
    }
    int64_t blocks = plumb_parts(t->sums.ins, t->sums.in_block) * plumb_parts(t->sums.outs, t->sums.out_block);
    if (blocks < ENOUGH_CHUNKS && 2 * blocks >= ENOUGH_CHUNKS && t->sums.in_block > FEW_CHANNELS)
        t->sums.in_block = plumb_parts(t->sums.in_block, 2); /* sooner than two parts that must be added */
}

static void choose_loads(task *t)
{
    const plumb_pair_axis *rows = &t->axis[0];
    int64_t height = plumb_most(rows->target, 1), picture = height * plumb_most(t->axis[1].target, 1);
    t->couples = (t->images + 1) / 2;
    t->rows_at_once = plumb_most(plumb_least(plumb_least(POSITIONS * height / picture, height), PLUMB_PAIR_SEGMENTS), 1);
    int64_t couples = t->rows_at_once == height ? plumb_least(POSITIONS / picture, PLUMB_PAIR_SEGMENTS / height) : 1;
    t->couples_at_once = plumb_most(plumb_least(couples, t->couples), 1);
    t->bands = plumb_parts(height, t->rows_at_once);
    t->loads = plumb_parts(t->couples, t->couples_at_once) * t->bands;
    int64_t reach = (t->rows_at_once - 1) * rows->stride + (rows->taps - 1) * rows->dilation + 1;
    t->x_rows = plumb_least(reach, rows->source);
    int64_t blocks = plumb_most(t->sums.in_blocks * t->sums.out_blocks, 1);
    int64_t parts = plumb_least(plumb_parts(ENOUGH_CHUNKS, blocks),
                                plumb_most(PARTIAL_BYTES / (4 * blocks * t->sums.block), 1));
    t->part_loads = plumb_most(plumb_parts(t->loads, parts), 1);
    t->sums.parts = plumb_most(plumb_parts(t->loads, t->part_loads), 1);
}

static void plan(const plumb_call *call, bool fold, task *t)
{
    const plumb_view *x = &call->in[0], *y = &call->in[1], *dw = &call->out[0];
    *t = (task){.kernels = plumb_pair_kernels_for(call->isa), .x = x, .y = y, .images = x->dim[0],
                .sums = {.ins = dw->dim[1], .outs = dw->dim[0], .taps = dw->dim[2] * dw->dim[3]}};
    for (int d = 0; d < 2; d++)
        t->axis[d] = plumb_pair_axis_of(call->attr, x, dw, y, d, false);
    t->width = (int64_t)t->kernels->vectors * t->kernels->lanes;
    const plumb_pair_axis *row = &t->axis[1];
    fold = fold && row->taps > 1 && row->dilation == 1 && !row->flip && t->sums.ins < t->kernels->rows && row->target > 0;
    t->fold = fold ? row->taps : 1, t->x_left = fold ? row->before : 0;
    t->x_width = fold ? plumb_most((row->target - 1) * row->stride + row->taps, row->before + row->source) : row->source;
    choose_blocks(t);
    plumb_filter_sums_plan(call, &t->sums);
    choose_loads(t);
    int64_t all = t->sums.parts * t->sums.in_blocks * t->sums.out_blocks * t->sums.block;
    t->workers_at = t->sums.parts > 1 ? plumb_lines(all, sizeof(float)) : 0;
    t->dy_at = plumb_lines(t->couples_at_once * t->x_rows * t->x_width * t->sums.in_block, sizeof(uint32_t));
    size_t dy = plumb_lines(t->couples_at_once * t->rows_at_once * t->axis[1].target * t->sums.out_block, sizeof(uint32_t));
    t->sums_at = t->dy_at + dy > t->sums.work ? t->dy_at + dy : t->sums.work;
    t->sums.worker = t->sums_at + (t->sums.parts > 1 ? 0 : plumb_lines(t->sums.block, sizeof(float)));
}

/* ---- loads ---- */

/* What a worker has before it: some rows of dy of some couples, and the rows of x that they read. */
typedef struct load {
    const task *t;
    uint32_t *x, *dy;
    int64_t couple, couples, row, rows, x_row, x_rows;
    int64_t in, ins, out, outs; /* channels */
    int64_t panel;              /* elements of a whole panel of dy */
} load;

static int64_t panel_width(const load *l, int64_t column)
{
    return plumb_least(l->t->width, plumb_round_up(l->outs - column, l->t->kernels->lanes));
}

static void interleave_x(const load *l)
{
    const task *t = l->t;
    const plumb_view *x = t->x;
    int64_t row = x->dim[3] * t->sums.ins, image = x->dim[2] * row;
    bool whole = l->ins == t->sums.ins;
    int64_t after = (t->x_width - t->x_left - x->dim[3]) * l->ins, before = t->x_left * l->ins;
    for (int64_t c = 0; c < l->couples; c++) {
        const uint16_t *low = (const uint16_t *)x->data + 2 * (l->couple + c) * image + l->x_row * row + l->in;
        const uint16_t *high = 2 * (l->couple + c) + 1 < t->images ? low + image : NULL;
        uint32_t *to = l->x + c * t->x_rows * t->x_width * l->ins;
        for (int64_t i = 0; i < l->x_rows && t->fold > 1; i++, to += after) {
            memset(to, 0, (size_t)before * sizeof *to);
            to += before;
            t->kernels->interleave(to, low + i * row, high ? high + i * row : NULL, row);
            to += row;
            memset(to, 0, (size_t)after * sizeof *to);
        }
        int64_t count = whole ? l->x_rows * row : l->ins, times = whole ? 1 : l->x_rows * x->dim[3];
        for (int64_t i = 0; i < times && t->fold == 1; i++, to += count)
            t->kernels->interleave(to, low + i * t->sums.ins, high ? high + i * t->sums.ins : NULL, count);
    }
}

static void interleave_dy(const load *l)
{
    const task *t = l->t;
    const plumb_view *y = t->y;
    int64_t row = y->dim[3] * t->sums.outs, image = y->dim[2] * row, positions = l->rows * y->dim[3];
    for (int64_t c = 0; c < l->couples; c++) {
        const uint16_t *low = (const uint16_t *)y->data + 2 * (l->couple + c) * image + l->row * row + l->out;
        const uint16_t *high = 2 * (l->couple + c) + 1 < t->images ? low + image : NULL;
        for (int64_t column = 0; column < l->outs; column += t->width) {
            int64_t width = panel_width(l, column), count = plumb_least(width, l->outs - column);
            uint32_t *to = l->dy + column / t->width * l->panel + c * positions * width;
            for (int64_t i = 0; i < positions; i++, to += width) {
                int64_t at = i * t->sums.outs + column;
                t->kernels->interleave(to, low + at, high ? high + at : NULL, count);
                memset(to + count, 0, (size_t)(width - count) * sizeof *to);
            }
        }
    }
}

static void begin_load(load *l, int64_t index)
{
    const task *t = l->t;
    const plumb_pair_axis *axis = &t->axis[0];
    l->couple = index / t->bands * t->couples_at_once;
    l->couples = plumb_least(t->couples_at_once, t->couples - l->couple);
    l->row = index % t->bands * t->rows_at_once;
    l->rows = plumb_least(t->rows_at_once, axis->target - l->row);
    l->panel = l->couples * l->rows * t->axis[1].target * t->width;
    int64_t last = (l->row + l->rows - 1) * axis->stride + (axis->taps - 1) * axis->dilation - axis->before;
    l->x_row = plumb_least(plumb_most(l->row * axis->stride - axis->before, 0), axis->source);
    l->x_rows = plumb_most(plumb_least(last + 1, axis->source) - l->x_row, 0);
    interleave_x(l);
    interleave_dy(l);
}

/* ---- sums ---- */

/* The target columns [*from, *end) whose tap kx lies inside the picture. */
static void columns_inside(const plumb_pair_axis *axis, int64_t kx, int64_t *from, int64_t *end)
{
    for (*from = 0; *from < axis->target && plumb_pair_source(axis, *from, kx) < 0;)
        ++*from;
    for (*end = axis->target; *end > *from && plumb_pair_source(axis, *end - 1, kx) < 0;)
        --*end;
}

/* All products of one tap of the load, folded: of a row of taps, added to sums (input, output). */
static void run_tap(const load *l, int64_t ky, int64_t kx, float *sums, bool add)
{
    const task *t = l->t;
    const int64_t ow = t->axis[1].target, height = t->kernels->rows, rows = t->fold * l->ins;
    int64_t a_at[PLUMB_PAIR_SEGMENTS], b_at[PLUMB_PAIR_SEGMENTS], positions[PLUMB_PAIR_SEGMENTS], from = 0, end = ow, n = 0;
    if (t->fold == 1)
        columns_inside(&t->axis[1], kx, &from, &end);
    int64_t column = t->fold == 1 && from < end ? plumb_pair_source(&t->axis[1], from, kx) : 0;
    for (int64_t c = 0; c < l->couples && from < end; c++)
        for (int64_t i = 0; i < l->rows; i++) {
            int64_t at = plumb_pair_source(&t->axis[0], l->row + i, ky);
            if (at < 0)
                continue;
            a_at[n] = 4 * ((c * t->x_rows + at - l->x_row) * t->x_width + column) * l->ins;
            positions[n++] = (c * l->rows + i) * ow + from;
        }
    plumb_pairs p = {.segments = n, .length = end - from, .a_at = a_at, .b_at = b_at, .a_row = 4,
                     .a_step = 4 * t->axis[1].stride * l->ins, .ldc = t->sums.out_block, .add = add};
    for (int64_t j = 0; j < l->outs; j += t->width) {
        int64_t width = panel_width(l, j);
        p.b = (const char *)(l->dy + j / t->width * l->panel), p.b_step = 4 * width;
        for (int64_t s = 0; s < n; s++)
            b_at[s] = positions[s] * 4 * width;
        for (int64_t c = 0; c < rows; c += height) {
            p.a = (const char *)(l->x + c), p.c = sums + c * t->sums.out_block + j;
            t->kernels->tile[plumb_least(height, rows - c)][width / t->kernels->lanes](&p);
        }
    }
}

void plumb_filter_sums_plan(const plumb_call *call, plumb_filter_sums *s)
{
    s->words = plumb_kernels_for(PLUMB_F32, call->isa);
    s->narrow = plumb_convert_for(PLUMB_BF16, PLUMB_F32, call->isa);
    s->dw = &call->out[0];
    s->taps = s->dw->dim[2] * s->dw->dim[3], s->ins = s->dw->dim[1], s->outs = s->dw->dim[0];
    s->in_blocks = plumb_parts(s->ins, s->in_block), s->out_blocks = plumb_parts(s->outs, s->out_block);
    s->block = s->taps * s->in_block * s->out_block;
    s->turns = plumb_parts(s->in_block, TURN_CHANNELS);
    s->turned_at = plumb_lines(s->taps * s->out_block * TURN_CHANNELS, sizeof(uint16_t));
    s->work = s->turned_at + plumb_lines(s->taps * s->out_block * TURN_CHANNELS, sizeof(float));
}

/* Input channels [first, first + count) of a block, whose parts are `apart` elements from each other. */
static void turn(const plumb_filter_sums *s, int64_t block, int64_t first, int64_t count, const float *sums,
                 int64_t apart, char *work)
{
    int64_t in = block / s->out_blocks * s->in_block + first, out = block % s->out_blocks * s->out_block;
    int64_t row = count * s->taps, outs = plumb_least(s->out_block, s->outs - out);
    float *sum = (float *)(void *)work, *turned = (float *)(void *)(work + s->turned_at);
    uint16_t *low = (uint16_t *)(void *)work, *dw = (uint16_t *)s->dw->data + (out * s->ins + in) * s->taps;
    for (int64_t c = 0; c < count; c++) {
        for (int64_t tap = 0; tap < s->taps; tap++) {
            const float *from = sums + (tap * s->in_block + first + c) * s->out_block;
            memcpy(sum + tap * outs, from, (size_t)outs * sizeof *sum);
            for (int64_t part = 1; part < s->parts; part++)
                s->words->add(sum + tap * outs, from + part * apart, outs);
        }
        s->words->interleave(turned + c * s->taps, row, sum, outs, s->taps, outs);
    }
    s->narrow(low, 1, turned, 1, outs * row);
    for (int64_t o = 0; o < outs; o++)
        memcpy(dw + o * s->ins * s->taps, low + o * row, (size_t)row * sizeof *low);
}

void plumb_filter_sums_turn(const plumb_filter_sums *s, int64_t block, const float *sums, char *work)
{
    int64_t ins = plumb_least(s->in_block, s->ins - block / s->out_blocks * s->in_block);
    for (int64_t c = 0; c < ins; c += TURN_CHANNELS)
        turn(s, block, c, plumb_least(TURN_CHANNELS, ins - c), sums, 0, work);
}

static void run_turn(void *user, int64_t chunk, int worker)
{
    const plumb_filter_sums *s = user;
    int64_t block = chunk / s->turns, blocks = s->in_blocks * s->out_blocks, first = chunk % s->turns * TURN_CHANNELS;
    int64_t ins = plumb_least(s->in_block, s->ins - block / s->out_blocks * s->in_block);
    if (first < ins)
        turn(s, block, first, plumb_least(TURN_CHANNELS, ins - first), s->sums + block * s->block, blocks * s->block,
             s->workers + (size_t)worker * s->worker);
}

void plumb_filter_sums_turn_all(const plumb_call *call, const plumb_filter_sums *s)
{
    plumb_pool_run(call->pool, s->in_blocks * s->out_blocks * s->turns, run_turn, (void *)(uintptr_t)s);
}

/* A block whose sums have but one part is turned at once, while they are in the cache. */
static void run_part(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t out = chunk % t->sums.out_blocks, in = chunk / t->sums.out_blocks % t->sums.in_blocks;
    int64_t part = chunk / t->sums.out_blocks / t->sums.in_blocks, first = part * t->part_loads;
    char *work = t->sums.workers + (size_t)worker * t->sums.worker;
    load l = {.t = t, .x = (uint32_t *)(void *)work, .dy = (uint32_t *)(void *)(work + t->dy_at)};
    l.in = in * t->sums.in_block, l.ins = plumb_least(t->sums.in_block, t->sums.ins - l.in);
    l.out = out * t->sums.out_block, l.outs = plumb_least(t->sums.out_block, t->sums.outs - l.out);
    float *sums = t->sums.parts > 1 ? t->sums.sums + chunk * t->sums.block : (float *)(void *)(work + t->sums_at);
    for (int64_t index = first; index < plumb_least(first + t->part_loads, t->loads); index++) {
        begin_load(&l, index);
        for (int64_t tap = 0; tap < t->sums.taps; tap += t->fold)
            run_tap(&l, tap / t->axis[1].taps, tap % t->axis[1].taps, sums + tap * t->sums.in_block * t->sums.out_block,
                    index > first);
    }
    if (t->sums.parts == 1)
        plumb_filter_sums_turn(&t->sums, chunk, sums, work);
}

static bool supports(const plumb_call *call)
{
    return plumb_pair_conv_supports(call, &call->in[0], &call->out[0], &call->in[1]) &&
           plumb_view_contiguous(&call->out[0]);
}

static size_t workspace_of(const plumb_call *call, bool fold)
{
    task t;
    plan(call, fold, &t);
    return t.workers_at + t.sums.worker * (size_t)plumb_pool_size(call->pool);
}

static size_t workspace(const plumb_call *call)
{
    size_t folded = workspace_of(call, true), plain = workspace_of(call, false);
    return folded > plain ? folded : plain;
}

static bool is_finite(const plumb_view *w)
{
    const uint16_t *at = w->data;
    for (int64_t i = 0, count = plumb_view_count(w); i < count; i++)
        if ((at[i] & 0x7f80) == 0x7f80)
            return false;
    return true;
}

static plumb_status run_as(const plumb_call *call, bool fold)
{
    task t;
    plan(call, fold, &t);
    if (plumb_view_count(&call->out[0]) == 0)
        return PLUMB_OK;
    t.sums.sums = call->workspace;
    t.sums.workers = (char *)call->workspace + t.workers_at;
    if (t.images == 0) {
        memset(call->out[0].data, 0, (size_t)plumb_view_count(&call->out[0]) * sizeof(uint16_t));
        return PLUMB_OK;
    }
    plumb_pool_run(call->pool, t.sums.parts * t.sums.in_blocks * t.sums.out_blocks, run_part, &t);
    if (t.sums.parts > 1)
        plumb_filter_sums_turn_all(call, &t.sums);
    return t.fold > 1 && !is_finite(&call->out[0]) ? run_as(call, false) : PLUMB_OK;
}

static plumb_status run(const plumb_call *call)
{
    return run_as(call, true);
}

const plumb_impl plumb_impl_conv2d_backward_filter_bf16 = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cpu.native.bf16",
    .dtypes = PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = supports,
    .workspace = workspace,
    .run = run,
};
