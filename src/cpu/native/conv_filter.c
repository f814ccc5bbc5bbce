/* conv2d's gradient of the filter, f32 and f64.
 *
 * dw[o][c][t] is a dot product over all output positions of dy and x shifted by the tap. With x in padded planes
 * (conv.h) and dy spread to the planes' width, zeros between, both are contiguous: no patch is ever built. Threads
 * claim (part of the batch, group, block of input channels); every part sums into a filter of its own, and the parts
 * are added in order at the end. How many there are depends on shapes alone.
 *
 * The zeros between dy's rows meet real elements of x. Where those are not finite a NaN appears that no tap makes, so
 * a result that is not finite is computed again from the definition. */
#include "cpu/native/conv.h"

enum {
    SEGMENT = 2048,               /* positions of one dot product: long enough to forget the final addition of lanes */
    ENOUGH_CHUNKS = 16,
    MOST_PARTIAL = 4 * 1024 * 1024 /* elements of all partial filters */
};

typedef struct task {
    plumb_conv conv;
    const plumb_view *dy;
    int height;                        /* output channels of a dot product */
    int64_t taps, columns;             /* of a filter plane; of dw: C/groups * taps */
    int64_t units;                     /* images times bands */
    int64_t parts, block, blocks;      /* of the batch; input channels at once; how many such blocks */
    int64_t at_once, length;           /* units in one dot product; positions of a unit */
    int64_t filter;                    /* elements of dw */
    char *dw, *workspace;
    size_t partial_at, parts_at, part, dy_at; /* shared: tap offsets at 0, partial filters; per worker: planes, dy */
} task;

static void cut(task *t)
{
    plumb_conv *conv = &t->conv;
    double work = (double)t->filter * (double)conv->images * (double)conv->axis[0].span * (double)conv->axis[1].span;
    int64_t enough = plumb_least(ENOUGH_CHUNKS, 1 + (int64_t)plumb_least((int64_t)(work / PLUMB_CONV_SMALL), 1 << 20));
    t->parts = plumb_most(plumb_least(enough, MOST_PARTIAL / plumb_most(t->filter, 1)), 1);
    t->parts = plumb_most(plumb_least(t->parts, conv->images), 1);
    t->blocks = plumb_parts(enough, plumb_most(t->parts * conv->groups, 1));
    t->block = plumb_parts(conv->sources, plumb_most(plumb_least(t->blocks, conv->sources), 1));
    t->blocks = plumb_parts(conv->sources, plumb_most(t->block, 1));
    int64_t slots = (int64_t)conv->axis[0].slots * conv->axis[1].slots;
    plumb_conv_band(conv, t->block + plumb_parts(conv->targets, slots), 2 * PLUMB_CONV_PLANES, 0);
    t->units = conv->images * conv->bands;
    t->parts = plumb_most(plumb_least(t->parts, t->units), 1);
    t->length = plumb_round_up((conv->rows - 1) * conv->width + conv->axis[1].span, conv->kernels->lanes);
}

static void plan(const plumb_call *call, task *t)
{
    const plumb_view *x = &call->in[0], *dy = &call->in[1], *dw = &call->out[0];
    plumb_call narrow = *call;
    memset(t, 0, sizeof *t);
    for (;;) {
        plumb_conv *conv = &t->conv;
        plumb_conv_plan(&narrow, x, dw, dy, false, conv);
        t->dy = dy;
        t->taps = (int64_t)conv->axis[0].taps * conv->axis[1].taps;
        t->columns = conv->sources * t->taps;
        t->filter = conv->groups * conv->targets * t->columns;
        cut(t);
        /* Small pictures may fill shorter vectors better; where AVX-512 exists those are worth as much. */
        int64_t flat = (conv->rows - 1) * conv->width + conv->axis[1].span, half = conv->kernels->lanes / 2;
        if (narrow.isa < PLUMB_ISA_AVX512 || 5 * t->length <= 6 * plumb_round_up(flat, half))
            break;
        narrow.isa = PLUMB_ISA_AVX2;
    }
    const plumb_conv *conv = &t->conv;
    t->height = plumb_strip_height(conv->targets, conv->kernels->dot_rows);
    int64_t bytes = (t->block * conv->channel + conv->targets * t->length) * (int64_t)conv->size;
    t->at_once = plumb_least(SEGMENT / plumb_most(t->length, 1), 2 * PLUMB_CONV_PLANES / plumb_most(bytes, 1));
    t->at_once = plumb_most(plumb_least(t->at_once, plumb_parts(t->units, t->parts)), 1);
    t->partial_at = plumb_lines(t->block * t->taps, sizeof(int32_t));
    t->parts_at = t->partial_at + plumb_lines((t->parts - 1) * t->filter, conv->size);
    t->dy_at = plumb_lines(t->at_once * t->block * conv->channel, conv->size);
    t->part = t->dy_at + plumb_lines(t->at_once * conv->targets * t->length, conv->size);
}

/* dy's channels of a group, one image or band: (O/groups, length), rows at the planes' width. */
static void load_dy(const task *t, int64_t image, int64_t group, int64_t row, char *to)
{
    const plumb_conv *conv = &t->conv;
    const int64_t *stride = t->dy->stride;
    int64_t rows = plumb_least(conv->rows, conv->axis[0].span - row), used = rows * conv->width;
    plumb_move m = {.rows = rows, .columns = conv->axis[1].span, .to_row = conv->width, .to_step = 1,
                    .from_row = stride[2], .from_step = conv->axis[1].span == 1 ? 1 : stride[3]};
    if (m.columns == conv->width && m.from_step == 1 && m.from_row == m.columns)
        m.columns *= m.rows, m.rows = 1;
    for (int64_t o = 0; o < conv->targets; o++, to += t->length * (int64_t)conv->size) {
        m.to = to;
        m.from = plumb_at(t->dy->data, image * stride[0] + (group * conv->targets + o) * stride[1] + row * stride[2],
                          conv->size);
        conv->kernels->move(&m);
        if (used < t->length)
            memset(plumb_at(to, used, conv->size), 0, (size_t)(t->length - used) * conv->size);
    }
}

/* Adds (or sets) dw's columns from `units` units of planes and dy: one group, one block of input channels. */
static void multiply(const task *t, const char *planes, const char *dy, int64_t units, int64_t channels, char *dw,
                     bool add)
{
    const plumb_conv *conv = &t->conv;
    const int32_t *offset = (const int32_t *)(const void *)t->workspace;
    double edge[PLUMB_DOT_ROWS * PLUMB_DOT_COLUMNS]; /* of either type */
    plumb_dots d = {.segments = units, .length = t->length, .b = planes, .ar = t->length,
                    .as = conv->targets * t->length, .bs = t->block * conv->channel, .add = add};
    for (int64_t o = 0; o < conv->targets; o += t->height) {
        int64_t rows = plumb_least(t->height, conv->targets - o);
        d.a = plumb_at(dy, o * t->length, conv->size);
        for (int64_t j = 0; j < channels * t->taps; j += PLUMB_DOT_COLUMNS) {
            int64_t columns = plumb_least(PLUMB_DOT_COLUMNS, channels * t->taps - j);
            char *c = plumb_at(dw, o * t->columns + j, conv->size);
            for (int64_t e = 0; e < PLUMB_DOT_COLUMNS; e++)
                d.offset[e] = offset[j + plumb_least(e, columns - 1)];
            if (columns == PLUMB_DOT_COLUMNS) {
                d.c = c, d.ldc = t->columns;
                conv->kernels->dot[rows](&d);
                continue;
            }
            plumb_move m = {.to = edge, .from = c, .rows = rows, .columns = columns, .to_row = PLUMB_DOT_COLUMNS,
                            .to_step = 1, .from_row = t->columns, .from_step = 1};
            if (add)
                conv->kernels->move(&m);
            d.c = edge, d.ldc = PLUMB_DOT_COLUMNS;
            conv->kernels->dot[rows](&d);
            m.to = c, m.from = edge, m.to_row = t->columns, m.from_row = PLUMB_DOT_COLUMNS;
            conv->kernels->move(&m);
        }
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
    int64_t block = chunk % t->blocks, group = chunk / t->blocks % conv->groups;
    int64_t part = chunk / t->blocks / conv->groups, first = block * t->block;
    int64_t channels = plumb_least(t->block, conv->sources - first);
    int64_t unit = t->units * part / t->parts, end = t->units * (part + 1) / t->parts;
    char *planes = t->workspace + t->parts_at + t->part * (size_t)worker, *dy = planes + t->dy_at;
    char *dw = plumb_at(partial(t, part), group * conv->targets * t->columns + first * t->taps, conv->size);
    for (bool add = false; unit < end; add = true) {
        int64_t count = plumb_least(t->at_once, end - unit);
        for (int64_t i = 0; i < count; i++, unit++) {
            int64_t image = unit / conv->bands, row = unit % conv->bands * conv->rows;
            plumb_conv_load(conv, image, group * conv->sources + first, channels, row,
                            plumb_at(planes, i * t->block * conv->channel, conv->size));
            load_dy(t, image, group, row, plumb_at(dy, i * conv->targets * t->length, conv->size));
        }
        multiply(t, planes, dy, count, channels, dw, add);
    }
}

enum { SUM_AT_ONCE = 1 << 14 };

static void add_parts(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    int64_t first = chunk * SUM_AT_ONCE, count = plumb_least(SUM_AT_ONCE, t->filter - first);
    (void)worker;
    for (int64_t part = 1; part < t->parts; part++)
        t->conv.kernels->add(plumb_at(t->dw, first, t->conv.size), plumb_at(partial(t, part), first, t->conv.size),
                             count);
}

static bool filter_supports(const plumb_call *call)
{
    return plumb_conv_supports(call, &call->in[0], &call->out[0], &call->in[1]);
}

static size_t filter_workspace(const plumb_call *call)
{
    task t;
    plan(call, &t);
    return t.parts_at + t.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status filter_run(const plumb_call *call)
{
    task t;
    plan(call, &t);
    t.workspace = call->workspace, t.dw = call->out[0].data;
    if (t.filter == 0)
        return PLUMB_OK;
    if (t.units == 0 || t.conv.axis[1].span == 0) {
        memset(t.dw, 0, (size_t)t.filter * t.conv.size);
        return PLUMB_OK;
    }
    plumb_conv_taps(&t.conv, 0, 0, t.block, (int32_t *)(void *)t.workspace);
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        memset(t.workspace + t.parts_at + t.part * (size_t)i, 0, t.part);
    plumb_pool_run(call->pool, t.parts * t.conv.groups * t.blocks, run_chunk, &t);
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
