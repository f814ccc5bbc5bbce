/* conv2d's gradient of the filter over channels-last pictures, f32.
 *
 * dw[o][c][t] is a sum over positions of x[position through t][c] * dy[position][o]. A tile holds the sums of some input
 * channels times a few vectors of output channels and walks over positions: runs of them, as far as a tap lies inside the
 * picture, a row each. Threads claim (part of the rows, group, output channels, input channels); every part sums into
 * packed filters of its own (conv_last.h), which are added up in order as they are turned into w's order. The cuts are
 * those that read least; they depend on shapes and the instruction set alone.
 *
 * Where output channels do not fill their vectors, dy is copied to rows that do, a few rows of positions at a time. */
#include "cpu/native/conv_last.h"

enum {
    UNITS = 128,                /* rows of positions at once, at most */
    BLOCK_BYTES = 256 * 1024,   /* of x and dy under them */
    FILTER_BYTES = 320 * 1024,  /* of sums that stay in the second cache */
    CHUNK_CYCLES = 50 * 1000,   /* of multiplications, which a chunk should take at least */
    PARTIAL_BYTES = 48 << 20    /* of all partial filters */
};

typedef struct task {
    plumb_last last;
    const float *x, *y;
    float *dw, *sums;
    int64_t filter;            /* elements of a packed filter */
    int64_t outs, ins;         /* vectors of output channels, and input channels, of a chunk */
    int64_t out_chunks, in_chunks, parts;
    int64_t at_once;           /* units */
    bool copies;               /* dy's rows are copied to whole vectors */
    size_t offset_at, copy_at, copy, fold_at; /* in the workspace: rows of dw in sums; per worker: dy's rows, x's folded */
} task;

static int64_t out_vectors(const plumb_last *last) { return plumb_parts(last->targets, last->kernels->lanes); }

/* Bytes read from beyond the second cache when output channels are cut into `outs` and input channels into `ins`. */
static double traffic(const task *t, int64_t outs, int64_t ins, int64_t parts)
{
    const plumb_last *last = &t->last;
    double positions = (double)last->images * (double)last->axis[0].target * (double)last->axis[1].target;
    double x = (double)last->images * (double)last->axis[0].source * (double)last->axis[1].source *
               (double)(last->sources / last->fold) * 4;
    double y = positions * (double)last->targets * 4, filter = (double)t->filter / (double)last->groups * 4;
    double blocks = (x / (double)ins + y / (double)outs) / (double)parts / BLOCK_BYTES;
    double region = filter / (double)outs / (double)ins;
    double again = region > FILTER_BYTES && blocks > 1 ? 2 * filter * blocks * (double)parts : 0;
    return x * (double)outs + y * (double)ins + 3 * filter * (double)parts + again;
}

static void cut(task *t)
{
    const plumb_last *last = &t->last;
    int64_t vectors = out_vectors(last), groups = last->groups;
    double positions = (double)last->images * (double)last->axis[0].target * (double)last->axis[1].target;
    double cycles = positions * (double)t->filter / last->kernels->lanes, best = 1e300;
    double enough = cycles / CHUNK_CYCLES / (double)groups;
    enough = enough < 1 ? 1 : enough < PLUMB_LAST_CHUNKS ? enough : PLUMB_LAST_CHUNKS;
    for (int64_t outs = 1; outs == 1 || outs * last->vectors <= vectors; outs *= 2)
        for (int64_t ins = 1; ins == 1 || last->sources / ins >= 32; ins *= 2) {
            int64_t parts = (int64_t)(enough / (double)(outs * ins) + 0.99);
            parts = plumb_least(parts, PARTIAL_BYTES / (t->filter * (int64_t)sizeof(float)));
            parts = plumb_most(plumb_least(parts, last->units), 1);
            double cost = traffic(t, outs, ins, parts);
            if ((double)(outs * ins * parts) < enough * 0.7)
                cost *= 8;
            if (cost < best) {
                best = cost, t->parts = parts;
                t->outs = plumb_round_up(plumb_parts(vectors, outs), last->vectors);
                t->ins = plumb_parts(last->sources, ins);
                if (ins > 1)
                    t->ins = plumb_round_up(t->ins, 16);
            }
        }
    t->out_chunks = plumb_parts(vectors, t->outs);
    t->in_chunks = plumb_parts(last->sources, t->ins);
}

static void plan(const plumb_call *call, bool fold, task *t)
{
    memset(t, 0, sizeof *t);
    plumb_last *last = &t->last;
    plumb_last_plan(call, &call->in[0], &call->out[0], &call->in[1], false, fold, last);
    t->x = call->in[0].data, t->y = call->in[1].data, t->dw = call->out[0].data;
    int64_t lanes = last->kernels->lanes, vectors = out_vectors(last);
    last->vectors = last->sources / last->fold <= last->kernels->rows[4] ? 4 : 2;
    last->vectors = plumb_least(last->vectors, vectors);
    last->blocks = plumb_parts(vectors, last->vectors);
    t->filter = last->groups * vectors * lanes * last->depth;
    cut(t);
    t->copies = last->targets % lanes != 0;
    int64_t across = last->fold > 1 ? last->axis[0].taps * last->line : last->band * last->axis[1].step * t->ins;
    int64_t bytes = (across + last->band * t->outs * lanes) * (int64_t)sizeof(float);
    t->at_once = plumb_most(plumb_least(BLOCK_BYTES / bytes, UNITS), 1);
    t->offset_at = plumb_lines(t->parts * t->filter, sizeof(float));
    t->copy_at = t->offset_at + plumb_lines(last->depth, sizeof(int32_t));
    t->fold_at = t->copies ? plumb_lines(t->at_once * last->band * t->outs * lanes, sizeof(float)) : 0;
    t->copy = t->fold_at + (last->fold > 1 ? plumb_lines(t->at_once * across, sizeof(float)) : 0);
}

/* One chunk's share. */
typedef struct share {
    const task *t;
    int64_t group, out, outs, in, ins; /* vectors of output channels, input channels */
    int64_t first, units;
    const float *x, *y; /* what runs' places are behind */
    int64_t y_step;
    float *copy, *folded, *sums; /* sums: of the part */
    plumb_last_run run[UNITS];
} share;

static void copy_rows(share *s)
{
    const task *t = s->t;
    const plumb_last *last = &t->last;
    int64_t lanes = last->kernels->lanes, pixel = last->groups * last->targets, from, to, channel = s->out * lanes;
    int64_t count = plumb_least(s->outs * lanes, last->targets - channel);
    for (int64_t u = 0; u < s->units; u++) {
        plumb_last_unit at = plumb_last_unit_at(last, s->first + u);
        plumb_last_columns(last, &at, 0, &from, &to);
        const float *y = t->y + ((at.image * last->axis[0].target + at.row) * last->axis[1].target + from) * pixel +
                         s->group * last->targets + channel;
        float *copy = s->copy + u * last->band * s->y_step;
        for (int64_t i = from; i < to; i++, y += pixel, copy += s->y_step) {
            memcpy(copy, y, (size_t)count * sizeof(float));
            memset(copy + count, 0, (size_t)(s->y_step - count) * sizeof(float));
        }
    }
}

/* The runs of positions that a tap (a, b) reads inside the picture; returns how many. */
static int64_t runs_of(share *s, int a, int b)
{
    const task *t = s->t;
    const plumb_last *last = &t->last;
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    int64_t pixel = last->pixel, count = 0, from, to, first, end;
    for (int64_t u = 0; u < s->units; u++) {
        plumb_last_unit at = plumb_last_unit_at(last, s->first + u);
        int64_t row = at.row * h->step + h->shift[a];
        if (row < 0 || row >= h->source)
            continue;
        plumb_last_columns(last, &at, 0, &from, &to);
        plumb_last_inside(w, w->shift[b], from, to, &first, &end);
        if (first >= end)
            continue;
        int64_t y = t->copies ? u * last->band + first - from : (at.image * h->target + at.row) * w->target + first;
        int64_t x = ((at.image * h->source + row) * w->source + first * w->step + w->shift[b]) * pixel;
        if (last->fold > 1)
            x = (u * h->taps + a) * last->line;
        s->run[count++] = (plumb_last_run){.x = x, .y = y * s->y_step, .length = end - first};
    }
    return count;
}

/* All channels of the share through one tap. */
static void run_tap(share *s, int64_t tap, int64_t runs, bool add)
{
    const task *t = s->t;
    const plumb_last *last = &t->last;
    int64_t lanes = last->kernels->lanes, vectors = out_vectors(last), block;
    plumb_last_outer o = {.run = s->run,
                          .runs = runs,
                          .x_step = last->axis[1].step * last->pixel,
                          .y_step = s->y_step,
                          .add = add};
    for (int64_t v = s->out; v < s->out + s->outs; v += block) {
        block = plumb_least(last->vectors, s->out + s->outs - v);
        o.y = s->y + (v - (t->copies ? s->out : 0)) * lanes, o.ldw = block * lanes;
        float *sums = s->sums + (s->group * vectors + v) * lanes * last->depth;
        int64_t height = plumb_strip_height(s->ins, last->kernels->rows[block]);
        for (int64_t c = s->in; c < s->in + s->ins; c += height) {
            o.x = s->x + c;
            o.dw = sums + (tap * last->sources + c) * o.ldw;
            last->kernels->outer[plumb_least(height, s->in + s->ins - c)][block](&o);
        }
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_last *last = &t->last;
    share s = {.t = t, .in = chunk % t->in_chunks * t->ins};
    int64_t rest = chunk / t->in_chunks, lanes = last->kernels->lanes;
    s.out = rest % t->out_chunks * t->outs, rest /= t->out_chunks;
    s.group = rest % last->groups;
    int64_t part = rest / last->groups, end = last->units * (part + 1) / t->parts;
    s.ins = plumb_least(t->ins, last->sources - s.in);
    s.outs = plumb_least(t->outs, out_vectors(last) - s.out);
    s.sums = t->sums + part * t->filter;
    s.copy = (float *)(void *)((char *)t->sums + t->copy_at + t->copy * (size_t)worker);
    s.folded = s.copy + t->fold_at / sizeof(float);
    s.x = last->fold > 1 ? s.folded : t->x + s.group * last->sources;
    s.y_step = t->copies ? s.outs * lanes : last->groups * last->targets;
    s.y = t->copies ? s.copy : t->y + s.group * last->targets;
    s.first = last->units * part / t->parts;
    for (bool add = false; s.first < end; s.first += s.units, add = true) {
        s.units = plumb_least(t->at_once, end - s.first);
        if (t->copies)
            copy_rows(&s);
        for (int64_t u = 0; u < s.units && last->fold > 1; u++) {
            plumb_last_unit at = plumb_last_unit_at(last, s.first + u);
            plumb_last_copy(last, &at, t->x, s.folded + u * last->axis[0].taps * last->line);
        }
        for (int a = 0; a < last->axis[0].taps; a++)
            for (int b = 0; b < last->axis[1].taps; b++)
                run_tap(&s, (int64_t)a * last->axis[1].taps + b, runs_of(&s, a, b), add);
    }
}

/* A vector of output channels out of the sums of all parts. */
static void turn_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_last *last = &t->last;
    int64_t lanes = last->kernels->lanes, vectors = out_vectors(last), group = chunk / vectors, v = chunk % vectors;
    int64_t block = v / last->vectors, columns = last->depth;
    plumb_last_turn turn = {.rows = plumb_least(lanes, last->targets - v * lanes),
                            .row = columns,
                            .columns = columns,
                            .count = 1,
                            .width = plumb_least(last->vectors, vectors - block * last->vectors) * lanes,
                            .offset = (const int32_t *)(const void *)((const char *)t->sums + t->offset_at),
                            .parts = t->parts,
                            .part = t->filter};
    (void)worker;
    turn.matrix = t->dw + (group * last->targets + v * lanes) * columns;
    turn.turned = t->sums + (group * vectors + block * last->vectors) * lanes * columns + v % last->vectors * lanes;
    last->kernels->unturn(&turn);
}

static bool filter_supports(const plumb_call *call)
{
    return plumb_last_supports(call, &call->in[0], &call->out[0], &call->in[1], false);
}

static size_t workspace(const plumb_call *call, bool fold)
{
    task t;
    plan(call, fold, &t);
    return t.copy_at + t.copy * (size_t)plumb_pool_size(call->pool);
}

static size_t filter_workspace(const plumb_call *call)
{
    size_t folded = workspace(call, true), plain = workspace(call, false);
    return folded > plain ? folded : plain;
}

static void run(const plumb_call *call, bool fold, task *t)
{
    plan(call, fold, t);
    const plumb_last *last = &t->last;
    t->sums = call->workspace;
    plumb_last_offsets(last, false, (int32_t *)(void *)((char *)call->workspace + t->offset_at));
    plumb_pool_run(call->pool, t->parts * last->groups * t->out_chunks * t->in_chunks, run_chunk, t);
    plumb_pool_run(call->pool, last->groups * out_vectors(last), turn_chunk, t);
}

static plumb_status filter_run(const plumb_call *call)
{
    task t;
    run(call, true, &t);
    int64_t count = plumb_view_count(&call->out[0]);
    if (t.last.fold > 1 && !plumb_kernels_for(PLUMB_F32, call->isa)->finite(t.dw, count))
        run(call, false, &t);
    return PLUMB_OK;
}

const plumb_impl plumb_impl_conv2d_backward_filter_last = {
    .op = &plumb_op_conv2d_backward_filter,
    .name = "cpu.native.last",
    .dtypes = PLUMB_BIT(PLUMB_F32),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_WANTS_LAST,
    .supports = filter_supports,
    .workspace = filter_workspace,
    .run = filter_run,
};
