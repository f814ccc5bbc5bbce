/* conv2d's gradient of the filter, f32 and f64.
 *
 * dw[o][c][t] is a dot product over all output positions of dy and x shifted by the tap. With x in padded
 * planes (conv.h) and dy spread to the planes' width, zeros between, both are contiguous, and no patch is
 * ever built. Where rows are short and output channels many it pays to gather x's true positions instead
 * (*dense*), a few input channels at a time. Threads claim (part of the batch, group, blocks of output and
 * input channels); every part sums into a filter of its own, and the parts are added in order at the end. How
 * many there are depends on shapes alone.
 *
 * The zeros between dy's rows meet real elements of x. Where those are not finite a NaN appears that no tap
 * makes, so a result that is not finite is computed again from the definition. */
#include "cpu/native/conv.h"

enum {
    POSITIONS = 1024, /* of one dot product: long enough to forget the final addition of lanes */
    ENOUGH_CHUNKS = 16,
    LEAST_BLOCK = 8,   /* input channels worth a chunk of their own */
    MOST_BLOCK = 128,  /* output channels at once: POSITIONS of dy of so many stay in the second cache */
    PANEL = 64 * 1024, /* bytes of gathered rows */
    MOST_PARTIAL = 4 * 1024 * 1024 /* elements of all partial filters */
};

typedef struct task {
    plumb_conv conv;
    const plumb_view *dy;
    int height;                    /* output channels of a dot product */
    int64_t taps, columns, filter; /* of a filter plane; of a row of dw: C/groups * taps; of dw */
    int64_t units, parts;          /* images times bands; parts of them that sum apart */
    int64_t block, blocks;         /* input channels at once, and how many such blocks there are */
    int64_t out_block, out_blocks; /* output channels */
    bool dense;
    int64_t at_once, length;      /* units of one dot product; positions of a unit */
    int64_t line, panel_channels; /* positions of a row of dy; input channels of a panel */
    char *dw, *workspace;
    /* shared: tap offsets at 0, runs and where they go, partial filters; per worker: planes at 0, dy, a panel
     * */
    size_t run_at, partial_at, parts_at, part, dy_at, panel_at;
} task;

static int64_t at_least_one(int64_t n) { return n > 1 ? n : 1; }

static void cut(task *t)
{
    plumb_conv *conv = &t->conv;
    int64_t positions = conv->images * conv->axis[0].span * conv->axis[1].span;
    double work = (double)t->filter * (double)positions / PLUMB_CONV_SMALL;
    int64_t enough = work < ENOUGH_CHUNKS ? 1 + (int64_t)work : ENOUGH_CHUNKS;
    t->out_blocks = plumb_parts(conv->targets, MOST_BLOCK);
    t->out_block = plumb_parts(conv->targets, at_least_one(t->out_blocks));
    int64_t blocks = plumb_parts(enough, at_least_one(conv->groups * t->out_blocks));
    blocks = at_least_one(plumb_least(blocks, conv->sources / LEAST_BLOCK));
    t->block = plumb_parts(conv->sources, blocks);
    t->blocks = plumb_parts(conv->sources, at_least_one(t->block));
    t->parts = plumb_parts(enough, at_least_one(conv->groups * t->out_blocks * t->blocks));
    t->parts = plumb_least(t->parts, plumb_parts(positions, POSITIONS));
    t->parts = plumb_least(t->parts, MOST_PARTIAL / at_least_one(t->filter));
    int64_t slots = (int64_t)conv->axis[0].slots * conv->axis[1].slots;
    plumb_conv_band(conv, t->block + plumb_parts(t->out_block, slots), 2 * PLUMB_CONV_PLANES, 0);
    t->units = conv->images * conv->bands;
    t->parts = at_least_one(plumb_least(t->parts, t->units));
}

static void plan(const plumb_call *call, task *t)
{
    const plumb_view *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    plumb_conv *conv = &t->conv;
    memset(t, 0, sizeof *t);
    plumb_conv_plan(call, x, dw, dy, false, conv);
    t->dy = dy;
    t->taps = (int64_t)conv->axis[0].taps * conv->axis[1].taps;
    t->columns = conv->sources * t->taps;
    t->filter = conv->groups * conv->targets * t->columns;
    cut(t);
    t->height = plumb_strip_height(t->out_block, conv->kernels->dot_rows);
    int64_t lanes = conv->kernels->lanes, points = conv->rows * conv->axis[1].span;
    t->length = plumb_round_up((conv->rows - 1) * conv->width + conv->axis[1].span, lanes);
    /* Gathering an element costs about eight multiplications. */
    t->dense = conv->bands == 1 &&
               (double)t->length * (double)t->out_block > (double)points * (double)(t->out_block + 8);
    if (t->dense)
        t->length = points;
    int64_t bytes = (t->block * conv->channel + t->out_block * t->length) * (int64_t)conv->size;
    t->at_once =
        plumb_least(2 * POSITIONS / at_least_one(t->length), 2 * PLUMB_CONV_PLANES / at_least_one(bytes));
    t->at_once = at_least_one(plumb_least(t->at_once, plumb_parts(t->units, t->parts)));
    t->line = plumb_round_up(t->at_once * t->length, lanes);
    t->panel_channels = at_least_one(PANEL / at_least_one(t->taps * t->line * (int64_t)conv->size));
    t->panel_channels = plumb_least(t->panel_channels, t->block);
    t->run_at = plumb_lines(t->block * t->taps, sizeof(int32_t));
    int64_t runs = t->dense ? t->at_once * conv->rows + 1 : 0;
    t->partial_at = t->run_at + 2 * plumb_lines(runs, sizeof(int32_t));
    t->parts_at = t->partial_at + plumb_lines((t->parts - 1) * t->filter, conv->size);
    t->dy_at = plumb_lines(t->at_once * t->block * conv->channel, conv->size);
    t->panel_at = t->dy_at + plumb_lines(t->out_block * t->line, conv->size);
    t->part = t->panel_at + (t->dense ? plumb_lines(t->panel_channels * t->taps * t->line, conv->size) : 0);
}

/* The runs of plane elements under the positions of `at_once` units, one after another: those of fewer units
 * are the first of them. */
static void fill_runs(const task *t, int32_t *run, int32_t *at)
{
    const plumb_conv *conv = &t->conv;
    for (int64_t i = 0; i < t->at_once * conv->rows; i++) {
        int64_t unit = i / conv->rows, row = i % conv->rows;
        run[i] = (int32_t)(unit * t->block * conv->channel + row * conv->width);
        at[i] = (int32_t)(i * conv->axis[1].span);
    }
    at[t->at_once * conv->rows] = (int32_t)(t->at_once * t->length);
}

/* One chunk's share: output channels from `out` on, input channels from `in` on (of all groups). */
typedef struct share {
    const task *t;
    char *planes, *dy, *panel, *dw;
    int64_t out, outs, in, ins, units;
} share;

/* dy's channels of one image or band: rows of `line` positions in which the unit has its place. */
static void load_dy(const share *s, int64_t image, int64_t row, int64_t unit)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    const int64_t *stride = t->dy->stride, span = conv->axis[1].span, to_row = t->dense ? span : conv->width;
    int64_t rows = plumb_least(conv->rows, conv->axis[0].span - row);
    int64_t used = rows * to_row;
    plumb_move m = {.rows = rows,
                    .columns = span,
                    .to_row = to_row,
                    .to_step = 1,
                    .from_row = stride[2],
                    .from_step = span == 1 ? 1 : stride[3]};
    if (span == to_row && m.from_step == 1 && (m.from_row == span || rows == 1))
        m.columns *= m.rows, m.rows = 1;
    for (int64_t o = 0; o < s->outs; o++) {
        m.to = plumb_at(s->dy, o * t->line + unit * t->length, conv->size);
        m.from =
            plumb_at(t->dy->data, image * stride[0] + (s->out + o) * stride[1] + row * stride[2], conv->size);
        conv->kernels->move(&m);
        if (used < t->length)
            memset(plumb_at(m.to, used, conv->size), 0, (size_t)(t->length - used) * conv->size);
    }
}

/* Adds (or sets) `columns` columns of dw: rows of dy times what d->b holds at the offsets. */
static void multiply(const share *s, plumb_dots *d, const int32_t *offset, int64_t step, int64_t columns,
                     char *dw)
{
    const task *t = s->t;
    const plumb_kernels *kernels = t->conv.kernels;
    double edge[PLUMB_DOT_ROWS * PLUMB_DOT_COLUMNS]; /* of either type */
    for (int64_t o = 0; o < s->outs; o += t->height) {
        int64_t rows = plumb_least(t->height, s->outs - o);
        d->a = plumb_at(s->dy, o * t->line, kernels->size);
        for (int64_t j = 0; j < columns; j += PLUMB_DOT_COLUMNS) {
            int64_t count = plumb_least(PLUMB_DOT_COLUMNS, columns - j);
            char *c = plumb_at(dw, o * t->columns + j, kernels->size);
            for (int64_t e = 0; e < PLUMB_DOT_COLUMNS; e++) { /* past the last column: the last one again */
                int64_t column = j + plumb_least(e, count - 1);
                d->offset[e] = offset ? offset[column] : column * step;
            }
            if (count == PLUMB_DOT_COLUMNS) {
                d->c = c, d->ldc = t->columns;
                kernels->dot[rows](d);
                continue;
            }
            plumb_move m = {.to = edge,
                            .from = c,
                            .rows = rows,
                            .columns = count,
                            .to_row = PLUMB_DOT_COLUMNS,
                            .to_step = 1,
                            .from_row = t->columns,
                            .from_step = 1};
            if (d->add)
                kernels->move(&m);
            d->c = edge, d->ldc = PLUMB_DOT_COLUMNS;
            kernels->dot[rows](d);
            m.to = c, m.from = edge, m.to_row = t->columns, m.from_row = PLUMB_DOT_COLUMNS;
            kernels->move(&m);
        }
    }
}

static void multiply_flat(const share *s, bool add)
{
    const task *t = s->t;
    plumb_dots d = {.segments = s->units,
                    .length = t->length,
                    .b = s->planes,
                    .ar = t->line,
                    .as = t->length,
                    .bs = t->block * t->conv.channel,
                    .add = add};
    multiply(s, &d, (const int32_t *)(const void *)t->workspace, 0, s->ins * t->taps, s->dw);
}

static void multiply_dense(const share *s, bool add)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    const int32_t *offset = (const int32_t *)(const void *)t->workspace;
    const int32_t *run = (const int32_t *)(const void *)(t->workspace + t->run_at);
    const int32_t *at = run + plumb_lines(t->at_once * conv->rows + 1, sizeof(int32_t)) / sizeof(int32_t);
    int64_t used = s->units * t->length, length = plumb_round_up(used, conv->kernels->lanes);
    for (int64_t o = 0; o < s->outs && length > used; o++)
        memset(plumb_at(s->dy, o * t->line + used, conv->size), 0, (size_t)(length - used) * conv->size);
    plumb_dots d = {.segments = 1, .length = length, .b = s->panel, .ar = t->line, .add = add};
    for (int64_t c = 0; c < s->ins; c += t->panel_channels) {
        int64_t columns = plumb_least(t->panel_channels, s->ins - c) * t->taps;
        conv->kernels->gather(s->panel, t->line, s->planes, offset + c * t->taps, columns, run, at,
                              s->units * conv->rows);
        multiply(s, &d, NULL, t->line, columns, plumb_at(s->dw, c * t->taps, conv->size));
    }
}

static char *partial(const task *t, int64_t part)
{
    return part == 0 ? t->dw : plumb_at(t->workspace + t->partial_at, (part - 1) * t->filter, t->conv.size);
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_conv *conv = &t->conv;
    int64_t in_block = chunk % t->blocks, rest = chunk / t->blocks;
    int64_t out_block = rest % t->out_blocks, group = rest / t->out_blocks % conv->groups;
    int64_t part = rest / t->out_blocks / conv->groups;
    int64_t in = in_block * t->block, out = out_block * t->out_block;
    share s = {.t = t, .planes = t->workspace + t->parts_at + t->part * (size_t)worker};
    s.dy = s.planes + t->dy_at, s.panel = s.planes + t->panel_at;
    s.out = group * conv->targets + out, s.outs = plumb_least(t->out_block, conv->targets - out);
    s.in = group * conv->sources + in, s.ins = plumb_least(t->block, conv->sources - in);
    s.dw = plumb_at(partial(t, part), s.out * t->columns + in * t->taps, conv->size);
    int64_t unit = t->units * part / t->parts, end = t->units * (part + 1) / t->parts;
    for (bool add = false; unit < end; add = true) {
        s.units = plumb_least(t->at_once, end - unit);
        for (int64_t i = 0; i < s.units; i++, unit++) {
            int64_t image = unit / conv->bands, row = unit % conv->bands * conv->rows;
            plumb_conv_load(conv, image, s.in, s.ins, row,
                            plumb_at(s.planes, i * t->block * conv->channel, conv->size));
            load_dy(&s, image, row, i);
        }
        if (t->dense)
            multiply_dense(&s, add);
        else
            multiply_flat(&s, add);
    }
}

enum { SUM_AT_ONCE = 1 << 14 };

static void add_parts(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t first = chunk * SUM_AT_ONCE, count = plumb_least(SUM_AT_ONCE, t->filter - first);
    (void)worker;
    for (int64_t part = 1; part < t->parts; part++)
        t->conv.kernels->add(plumb_at(t->dw, first, t->conv.size),
                             plumb_at(partial(t, part), first, t->conv.size), count);
}

static bool filter_supports(const plumb_call *call)
{
    return plumb_conv_supports(call, &call->in[0], &call->out[0], &call->in[1]);
}

static size_t filter_workspace(const plumb_call *call)
{
    task t;
    size_t batch = plumb_conv_batch_workspace(call, PLUMB_CONV_FILTER);
    if (batch)
        return batch;
    plan(call, &t);
    return t.parts_at + t.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status filter_run(const plumb_call *call)
{
    task t;
    if (plumb_conv_batch_workspace(call, PLUMB_CONV_FILTER)) {
        plumb_conv_batch_run(call, PLUMB_CONV_FILTER);
        return PLUMB_OK;
    }
    plan(call, &t);
    t.workspace = call->workspace, t.dw = call->out[0].data;
    if (t.filter == 0)
        return PLUMB_OK;
    if (t.units == 0 || t.conv.axis[1].span == 0) {
        memset(t.dw, 0, (size_t)t.filter * t.conv.size);
        return PLUMB_OK;
    }
    plumb_conv_taps(&t.conv, 0, 0, t.block, (int32_t *)(void *)t.workspace);
    if (t.dense) {
        int32_t *run = (int32_t *)(void *)(t.workspace + t.run_at);
        fill_runs(&t, run, run + plumb_lines(t.at_once * t.conv.rows + 1, sizeof(int32_t)) / sizeof(int32_t));
    }
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        memset(t.workspace + t.parts_at + t.part * (size_t)i, 0, t.part);
    plumb_pool_run(call->pool, t.parts * t.conv.groups * t.out_blocks * t.blocks, run_chunk, &t);
    if (t.parts > 1)
        plumb_pool_run(call->pool, plumb_parts(t.filter, SUM_AT_ONCE), add_parts, &t);
    if (!t.conv.kernels->finite(t.dw, t.filter))
        plumb_conv_plain(call, PLUMB_CONV_FILTER);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_conv2d_backward_filter_native = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),
    .flags = PLUMB_IMPL_EXACT,
    .supports = filter_supports,
    .workspace = filter_workspace,
    .run = filter_run,
};
