/* conv2d and its gradient of the data, f32 and f64: one engine over shifted windows (conv.h).
 *
 * The filter is packed once per call into strips of a few output channels. A chunk of work is a band of rows
 * (or, where pictures are small, a few whole pictures) of some groups, for all or some of the strips: its
 * planes are loaded, then strip after strip is swept over the output positions. Two sweeps: *flat* reads the
 * planes in place and computes the positions that wrap around row ends for nothing; *dense* gathers panels of
 * true positions first, which pays when many output channels share a panel and rows are short. All cuts
 * depend on shapes and the instruction set alone. */
#include "cpu/native/conv.h"
#include "cpu/native/epilogue.h"

enum {
    GATHERED = 768,    /* k of a gathered panel */
    MOST_PICTURES = 8, /* of a dense unit */
    ENOUGH_CHUNKS = 8
};

typedef struct task {
    plumb_conv conv;
    const plumb_view *bias;
    plumb_epilogue *epilogue; /* of bias and activation; NULL: a bias alone is added as sums are stored */
    int height;     /* output channels of a strip */
    int64_t width;  /* positions of a tile */
    int64_t taps;   /* of all output phases: those of the filter that any output reads */
    int64_t strips; /* of a group */
    bool dense;
    int64_t pictures, units; /* of a unit (1 unless dense); units: picture groups times bands */
    int64_t groups_at_once, group_parts, strip_parts;
    char *workspace;
    size_t filter_at, offset_at, linear_at,
        parts_at;                   /* shared: strips, tap offsets, p*width for gathered panels */
    size_t part, sums_at, panel_at; /* per worker: planes at 0 */
} task;

/* A phase of the output (conv.h); forward there is one. */
typedef struct phase {
    int64_t fh, fw, taps, first; /* first: taps of the phases before */
} phase;

static bool next_phase(const task *t, phase *p)
{
    const plumb_conv_axis *h = &t->conv.axis[0], *w = &t->conv.axis[1];
    p->first += p->taps;
    if (++p->fw >= plumb_least(w->phases, w->target))
        p->fw = 0, p->fh++;
    if (p->fh >= plumb_least(h->phases, h->target) || w->target == 0)
        return false;
    p->taps = plumb_conv_taps(&t->conv, p->fh, p->fw, 0, NULL);
    return true;
}
static const phase before_phases = {.fw = -1, .fh = 0};

/* Positions computed per position stored, when planes are read in place. */
static double flat_cost(const task *t)
{
    const plumb_conv_axis *h = &t->conv.axis[0], *w = &t->conv.axis[1];
    int64_t flat = (h->span - 1) * (w->span + w->reach) + w->span;
    return (double)plumb_round_up(flat, t->conv.kernels->lanes) / (double)(h->span * w->span);
}

/* The same when panels are gathered, for the best number of pictures; gathering an element costs about six
 * sums. */
static double dense_cost(const task *t, int64_t *pictures)
{
    int64_t points = t->conv.axis[0].span * t->conv.axis[1].span;
    int64_t bytes = t->conv.sources * t->conv.channel * (int64_t)t->conv.size;
    double best = 1e30;
    for (int64_t n = 1; n <= plumb_least(MOST_PICTURES, t->conv.images); n++) {
        double cost = (double)plumb_round_up(n * points, t->conv.kernels->lanes) / (double)(n * points);
        if (n > 1 && n * bytes > 2 * PLUMB_CONV_PLANES)
            break;
        if (cost < best * 0.97)
            best = cost, *pictures = n;
    }
    return best * (1 + 6.0 / (double)t->conv.targets);
}

static void choose_sweep(task *t)
{
    plumb_conv *conv = &t->conv;
    int64_t pictures = 1;
    plumb_conv_band(conv, conv->sources, PLUMB_CONV_PLANES, t->height);
    t->pictures = 1;
    if (conv->axis[0].phases == 1 && conv->axis[1].phases == 1 && conv->targets >= 16 && conv->images > 0 &&
        conv->axis[0].span > 0 && conv->axis[1].span > 0) {
        plumb_conv whole = *conv;
        plumb_conv_band(&whole, conv->sources, 2 * PLUMB_CONV_PLANES, 0);
        task try = *t;
        try.conv = whole;
        if (whole.bands == 1 && dense_cost(&try, &pictures) < flat_cost(t)) {
            *conv = whole;
            t->dense = true, t->pictures = pictures;
        }
    }
    t->units = plumb_parts(conv->images, t->pictures) * conv->bands;
}

static void plan(const plumb_call *call, bool adjoint, task *t)
{
    memset(t, 0, sizeof *t);
    const plumb_view *first = &call->in[0], *w = &call->in[1], *out = &call->out[0];
    plumb_conv *conv = &t->conv;
    plumb_conv_plan(call, adjoint ? out : first, w, adjoint ? first : out, adjoint, conv);
    t->bias = !adjoint && call->n_in > 2 ? &call->in[2] : NULL;
    int activation = ((const plumb_attr_conv2d *)call->attr)->activation;
    t->epilogue = plumb_epilogue_for(out->dtype, call->isa, activation, false);
    t->height = plumb_strip_height(conv->targets, conv->kernels->rows);
    t->width = (int64_t)conv->kernels->vectors[t->height] * conv->kernels->lanes;
    t->strips = plumb_parts(conv->targets, t->height);
    choose_sweep(t);
    phase p = before_phases;
    while (next_phase(t, &p))
        t->taps = p.first + p.taps;

    double unit = (double)conv->rows * (double)conv->axis[1].span * (double)t->pictures;
    double group =
        unit * (double)conv->targets * (double)conv->sources * (double)t->taps; /* multiplications */
    t->groups_at_once = 1 + (int64_t)(PLUMB_CONV_SMALL / (group + 1));
    t->groups_at_once = plumb_least(t->groups_at_once, conv->groups);
    t->group_parts = plumb_parts(conv->groups, plumb_most(t->groups_at_once, 1));
    t->strip_parts = 1;
    while (t->units * t->group_parts * t->strip_parts < ENOUGH_CHUNKS && 2 * t->strip_parts <= t->strips &&
           group / (double)t->strip_parts > 2.0 * PLUMB_CONV_SMALL)
        t->strip_parts *= 2;

    int64_t k = conv->sources * t->taps, flat = conv->rows * conv->width;
    t->offset_at = plumb_lines(conv->groups * conv->targets * k, conv->size);
    t->linear_at = t->offset_at + plumb_lines(k, sizeof(int32_t));
    t->parts_at = t->linear_at + plumb_lines(GATHERED, sizeof(int32_t));
    t->sums_at = plumb_lines(t->pictures * conv->sources * conv->channel, conv->size);
    t->panel_at = t->sums_at + plumb_lines(t->dense ? t->width * conv->targets
                                                    : t->height * plumb_round_up(flat, conv->kernels->lanes),
                                           conv->size);
    t->part = t->panel_at + (t->dense ? plumb_lines(t->width * plumb_least(GATHERED, k), conv->size) : 0);
}

/* ---- the filter, packed: for each group and output phase its strips (k, rows), k = (source channel, tap)
 * ---- */

static void *strip_of(const task *t, int64_t group, const phase *p, int64_t strip)
{
    int64_t k = t->conv.sources * p->taps;
    int64_t at = (group * t->taps + p->first) * t->conv.targets * t->conv.sources + strip * t->height * k;
    return plumb_at(t->workspace + t->filter_at, at, t->conv.size);
}

static int64_t strip_rows(const task *t, int64_t strip)
{
    return plumb_least(t->height, t->conv.targets - strip * t->height);
}

static void pack_strip(const task *t, int64_t group, const phase *p, int64_t strip)
{
    const plumb_conv *conv = &t->conv;
    const int64_t *stride = conv->filter->stride;
    int64_t rows = strip_rows(t, strip), taps_h = conv->axis[0].taps, taps_w = conv->axis[1].taps;
    char *to = strip_of(t, group, p, strip);
    /* all taps of a source channel in a row, and all source channels: */
    bool lined =
        p->taps == taps_h * taps_w && (taps_w == 1 || stride[3] == 1) && (taps_h == 1 || stride[2] == taps_w);
    bool all = lined && conv->filter_source == p->taps;
    for (int64_t c = 0; c < conv->sources; c++) {
        const void *from = plumb_at(conv->filter->data,
                                    group * conv->filter_group + c * conv->filter_source +
                                        strip * t->height * conv->filter_target,
                                    conv->size);
        if (lined) {
            conv->kernels->interleave(to, rows, from, conv->filter_target, rows,
                                      all ? conv->sources * p->taps : p->taps);
            to = plumb_at(to, rows * p->taps, conv->size);
            if (all)
                return;
            continue;
        }
        for (int th = 0; th < conv->axis[0].taps; th++)
            for (int tw = 0; tw < taps_w; tw++)
                if (conv->axis[0].phase[th] == p->fh && conv->axis[1].phase[tw] == p->fw) {
                    conv->kernels->move(
                        &(plumb_move){.to = to,
                                      .from = plumb_at(from, th * stride[2] + tw * stride[3], conv->size),
                                      .rows = 1,
                                      .columns = rows,
                                      .to_step = 1,
                                      .from_step = conv->filter_target});
                    to = plumb_at(to, rows, conv->size);
                }
    }
}

static void pack_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    phase p = before_phases;
    (void)worker;
    while (next_phase(t, &p))
        pack_strip(t, chunk / t->strips, &p, chunk % t->strips);
}

static void pack_filter(const plumb_call *call, task *t)
{
    const plumb_conv *conv = &t->conv;
    int64_t chunks = conv->groups * t->strips;
    int32_t *offset = (int32_t *)(void *)(t->workspace + t->offset_at);
    int32_t *linear = (int32_t *)(void *)(t->workspace + t->linear_at);
    phase p = before_phases;
    while (next_phase(t, &p))
        plumb_conv_taps(conv, p.fh, p.fw, conv->sources, offset + p.first * conv->sources);
    for (int i = 0; i < GATHERED; i++)
        linear[i] = (int32_t)(i * t->width);
    if (conv->groups * conv->targets * conv->sources * t->taps > PLUMB_CONV_SMALL)
        plumb_pool_run(call->pool, chunks, pack_chunk, t);
    else
        for (int64_t i = 0; i < chunks; i++)
            pack_chunk(t, i, 0);
}

/* ---- sweeps ---- */

typedef struct unit {
    const task *t;
    char *planes, *sums, *panel;
    int64_t image, images, row, group, strip0, strip1;
} unit;

static const void *bias_of(const task *t, int64_t channel)
{
    return t->bias ? plumb_at(t->bias->data, channel * t->bias->stride[0], t->conv.size) : NULL;
}

static void *target_of(const unit *u, int64_t image, int64_t channel)
{
    const plumb_view *out = u->t->conv.target;
    return plumb_at(out->data, (image * out->dim[1] + channel) * out->dim[2] * out->dim[3], u->t->conv.size);
}

/* Stores a strip's sums of one phase, a row for each output channel, `stride` apart. */
static void store_flat(const unit *u, const phase *p, int64_t strip, int64_t rows, int64_t columns,
                       int64_t stride)
{
    const plumb_conv *conv = &u->t->conv;
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    plumb_move m = {.rows = rows,
                    .columns = columns,
                    .to_row = h->phases * w->target,
                    .to_step = w->phases,
                    .from_row = conv->width,
                    .from_step = 1};
    if (w->phases == 1 && h->phases == 1 && columns == conv->width)
        m.columns *= rows, m.rows = 1;
    int64_t first = (u->row * h->phases + p->fh) * w->target + p->fw;
    for (int64_t i = 0; i < strip_rows(u->t, strip); i++) {
        int64_t channel = u->group * conv->targets + strip * u->t->height + i;
        m.to = plumb_at(target_of(u, u->image, channel), first, conv->size);
        m.from = plumb_at(u->sums, i * stride, conv->size);
        m.bias = bias_of(u->t, channel);
        conv->kernels->move(&m);
        if (u->t->epilogue) /* forward: the rows follow each other */
            u->t->epilogue(m.to, rows * columns, NULL, 0);
    }
}

static void sweep_flat(const unit *u)
{
    const task *t = u->t;
    const plumb_conv *conv = &t->conv;
    const int32_t *offset = (const int32_t *)(const void *)(t->workspace + t->offset_at);
    phase p = before_phases;
    while (next_phase(t, &p)) {
        int64_t rows = plumb_least(u->row + conv->rows, plumb_conv_phase_size(&conv->axis[0], p.fh)) - u->row;
        int64_t columns = plumb_conv_phase_size(&conv->axis[1], p.fw), k = conv->sources * p.taps;
        if (rows <= 0)
            continue;
        int64_t lanes = conv->kernels->lanes,
                stride = plumb_round_up((rows - 1) * conv->width + columns, lanes);
        for (int64_t s = u->strip0; s < u->strip1; s++) {
            const void *a = strip_of(t, u->group, &p, s);
            plumb_gemm_tile *const *tile = conv->kernels->tile[strip_rows(t, s)];
            for (int64_t j = 0; j < stride; j += t->width)
                tile[plumb_least(t->width, stride - j) / lanes](
                    k, a, plumb_at(u->planes, j, conv->size), offset + p.first * conv->sources,
                    plumb_at(u->sums, j, conv->size), stride, false);
            store_flat(u, &p, s, rows, columns, stride);
        }
    }
}

enum { MOST_RUNS = PLUMB_TILE_VECTORS * 64 / 4 };

/* The runs of plane elements under the output positions [first, first + count) of a unit. */
static int64_t runs_of(const unit *u, int64_t first, int64_t count, int32_t *run, int32_t *at)
{
    const plumb_conv *conv = &u->t->conv;
    int64_t h = conv->axis[0].span, w = conv->axis[1].span, runs = 0, done = 0;
    bool joined = conv->width == w;
    for (; done < count; runs++) {
        int64_t image = (first + done) / (h * w), in_image = (first + done) % (h * w);
        int64_t left = joined ? h * w - in_image : w - in_image % w;
        run[runs] =
            (int32_t)(image * conv->sources * conv->channel + in_image / w * conv->width + in_image % w);
        at[runs] = (int32_t)done;
        done += plumb_least(left, count - done);
    }
    at[runs] = (int32_t)count;
    return runs;
}

static void store_dense(const unit *u, int64_t first, int64_t count)
{
    const task *t = u->t;
    const plumb_conv *conv = &t->conv;
    int64_t points = conv->axis[0].span * conv->axis[1].span,
            channel = u->group * conv->targets + u->strip0 * t->height;
    int64_t rows = plumb_least(u->strip1 * t->height, conv->targets) - u->strip0 * t->height;
    for (int64_t i = 0; i < rows && t->epilogue; i++)
        t->epilogue(plumb_at(u->sums, i * t->width, conv->size), count, bias_of(t, channel + i), 0);
    for (int64_t done = 0; done < count;) {
        int64_t at = (first + done) % points, run = plumb_least(points - at, count - done);
        conv->kernels->move(&(plumb_move){
            .to = plumb_at(target_of(u, u->image + (first + done) / points, channel), at, conv->size),
            .from = plumb_at(u->sums, done, conv->size),
            .rows = rows,
            .columns = run,
            .to_row = points,
            .to_step = 1,
            .from_row = t->width,
            .from_step = 1,
            .bias = t->epilogue ? NULL : bias_of(t, channel),
            .bias_row = t->bias ? t->bias->stride[0] : 0});
        done += run;
    }
}

static void sweep_dense(const unit *u)
{
    const task *t = u->t;
    const plumb_conv *conv = &t->conv;
    const int32_t *offset = (const int32_t *)(const void *)(t->workspace + t->offset_at);
    const int32_t *linear = (const int32_t *)(const void *)(t->workspace + t->linear_at);
    int64_t lanes = conv->kernels->lanes, k = conv->sources * t->taps;
    int64_t points = u->images * conv->axis[0].span * conv->axis[1].span;
    int32_t run[MOST_RUNS], at[MOST_RUNS + 1];
    phase p = before_phases;
    next_phase(t, &p);
    for (int64_t j = 0; j < points; j += t->width) {
        int64_t count = plumb_least(t->width, points - j), runs = runs_of(u, j, count, run, at);
        for (int64_t k0 = 0; k0 < k || k0 == 0; k0 += GATHERED) {
            int64_t depth = plumb_least(GATHERED, k - k0);
            conv->kernels->gather(u->panel, t->width, u->planes, offset + k0, depth, run, at, runs);
            for (int64_t s = u->strip0; s < u->strip1; s++) {
                int64_t rows = strip_rows(t, s);
                conv->kernels->tile[rows][plumb_parts(count, lanes)](
                    depth, plumb_at(strip_of(t, u->group, &p, s), k0 * rows, conv->size), u->panel, linear,
                    plumb_at(u->sums, (s - u->strip0) * t->height * t->width, conv->size), t->width, k0 > 0);
            }
        }
        store_dense(u, j, count);
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    const plumb_conv *conv = &t->conv;
    unit u = {.t = t, .planes = t->workspace + t->parts_at + t->part * (size_t)worker};
    u.sums = u.planes + t->sums_at, u.panel = u.planes + t->panel_at;
    int64_t part = chunk % t->strip_parts, rest = chunk / t->strip_parts;
    int64_t groups = rest % t->group_parts * t->groups_at_once, index = rest / t->group_parts;
    u.strip0 = t->strips * part / t->strip_parts, u.strip1 = t->strips * (part + 1) / t->strip_parts;
    u.image = index / conv->bands * t->pictures, u.row = index % conv->bands * conv->rows;
    u.images = plumb_least(t->pictures, conv->images - u.image);
    for (u.group = groups; u.group < plumb_least(groups + t->groups_at_once, conv->groups); u.group++) {
        for (int64_t i = 0; i < u.images; i++)
            plumb_conv_load(conv, u.image + i, u.group * conv->sources, conv->sources, u.row,
                            plumb_at(u.planes, i * conv->sources * conv->channel, conv->size));
        if (t->dense)
            sweep_dense(&u);
        else
            sweep_flat(&u);
    }
}

static size_t workspace(const plumb_call *call, bool adjoint)
{
    task t;
    size_t batch = plumb_conv_batch_workspace(call, adjoint ? PLUMB_CONV_DATA : PLUMB_CONV_FORWARD);
    if (batch)
        return batch;
    plan(call, adjoint, &t);
    return t.parts_at + t.part * (size_t)plumb_pool_size(call->pool);
}

static plumb_status run(const plumb_call *call, bool adjoint)
{
    task t;
    enum plumb_conv_what what = adjoint ? PLUMB_CONV_DATA : PLUMB_CONV_FORWARD;
    if (plumb_view_count(&call->out[0]) == 0)
        return PLUMB_OK;
    if (plumb_conv_batch_workspace(call, what)) {
        plumb_conv_batch_run(call, what);
        return PLUMB_OK;
    }
    plan(call, adjoint, &t);
    const plumb_conv *conv = &t.conv;
    t.workspace = call->workspace;
    pack_filter(call, &t);
    int64_t filter = conv->groups * conv->targets * conv->sources * t.taps;
    if (conv->padded && !conv->kernels->finite(t.workspace + t.filter_at, filter)) {
        plumb_conv_plain(call, what);
        return PLUMB_OK;
    }
    for (int i = 0; i < plumb_pool_size(call->pool); i++)
        memset(t.workspace + t.parts_at + t.part * (size_t)i, 0, t.sums_at);
    plumb_pool_run(call->pool, t.units * t.group_parts * t.strip_parts, run_chunk, &t);
    return PLUMB_OK;
}

static bool forward_supports(const plumb_call *call)
{
    return plumb_conv_supports(call, &call->in[0], &call->in[1], &call->out[0]);
}
static size_t forward_workspace(const plumb_call *call) { return workspace(call, false); }
static plumb_status forward_run(const plumb_call *call) { return run(call, false); }

static bool data_supports(const plumb_call *call)
{
    return plumb_conv_supports(call, &call->out[0], &call->in[1], &call->in[0]);
}
static size_t data_workspace(const plumb_call *call) { return workspace(call, true); }
static plumb_status data_run(const plumb_call *call) { return run(call, true); }

const plumb_impl plumb_impl_conv2d_native = {
    .op = &plumb_op_conv2d,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),
    .flags = PLUMB_IMPL_EXACT,
    .supports = forward_supports,
    .workspace = forward_workspace,
    .run = forward_run,
};

const plumb_impl plumb_impl_conv2d_backward_data_native = {
    .op = &plumb_op_conv2d_backward_data,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),
    .flags = PLUMB_IMPL_EXACT,
    .supports = data_supports,
    .workspace = data_workspace,
    .run = data_run,
};
