/* Convolutions whose vector lanes are pictures: for small pictures, few channels and a batch that fills the
 * lanes.
 *
 * As many pictures as a vector has lanes are interleaved, so that every position of a plane is a vector.
 * Nothing then depends on how wide a picture is: the forward product and the filter's gradient run over
 * exactly the positions there are, and the gradient of the data over exactly the taps that reach a position,
 * instead of meeting a border of zeros. A chunk of work is one such group of pictures and one group of
 * channels; filter gradients of chunks are added in order at the end. Strides of one only. */
#include "cpu/native/conv.h"
#include "cpu/native/epilogue.h"

enum {
    MOST_FILTER = 1 << 16,   /* elements: beyond, other forms reach the same speed */
    MOST_PLANES = 768 * 1024 /* bytes of interleaved pictures, in and out */
};

typedef struct task {
    plumb_conv conv; /* forward geometry, whatever is computed; a band is the whole picture */
    const plumb_view *x, *w, *y, *bias;
    enum plumb_conv_what what;
    plumb_epilogue *epilogue;      /* of the activation; NULL: none */
    int height;                    /* of a strip */
    int64_t lanes, width;          /* pictures of a group; positions of a tile */
    int64_t taps, columns, points; /* of a filter plane; C/groups * taps; of an output plane */
    int64_t inputs, outputs, batches;
    char *workspace;
    /* shared: strips at 0, offsets, partial filters; per worker: x's (or dx's) planes at 0, y's, */
    size_t offset_at, partial_at, parts_at, part, y_at;
} task;

/* The vector multiplications of all the positions that count, per those this form and the others do: moving
 * an element between the layouts costs about six. */
static bool pays(const task *t)
{
    const plumb_conv *conv = &t->conv;
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    double points = (double)t->points, lanes = (double)t->lanes, moved = 6, own = 1.05, other;
    double full = (double)plumb_round_up(conv->images, t->lanes) / (double)conv->images;
    moved *= (double)(t->inputs * h->source * w->source + t->outputs * t->points) /
             (points * (double)t->outputs * (double)t->columns);
    if (t->what == PLUMB_CONV_DATA) {
        double flat = (double)((h->source - 1) * (w->source + w->reach) + w->source);
        other = (flat + lanes / 2) / points;
    } else {
        double flat = (double)plumb_round_up((h->span - 1) * conv->width + w->span, t->lanes);
        other = flat / points;
        if (1 + 6 / (double)t->outputs < other)
            other = 1 + 6 / (double)t->outputs;
    }
    return full * (own + moved) * 1.05 < other;
}

/* false where this form cannot be used or does not pay. */
static bool plan(const plumb_call *call, enum plumb_conv_what what, task *t)
{
    const plumb_attr_conv2d *attr = call->attr;
    const plumb_view *in = call->in, *out = call->out;
    memset(t, 0, sizeof *t);
    t->what = what;
    t->x = what == PLUMB_CONV_DATA ? out : &in[0];
    t->w = what == PLUMB_CONV_FILTER ? out : &in[1];
    t->y = what == PLUMB_CONV_FORWARD ? out : what == PLUMB_CONV_DATA ? &in[0] : &in[1];
    t->bias = what == PLUMB_CONV_FORWARD && call->n_in > 2 ? &in[2] : NULL;
    t->epilogue = plumb_epilogue_for(out->dtype, call->isa, attr->activation, false);
    plumb_conv *conv = &t->conv;
    plumb_conv_plan(call, t->x, t->w, t->y, false, conv);
    t->inputs = conv->sources, t->outputs = conv->targets, t->lanes = conv->kernels->lanes;
    t->taps = (int64_t)conv->axis[0].taps * conv->axis[1].taps, t->columns = t->inputs * t->taps;
    t->points = t->y->dim[2] * t->y->dim[3];
    if (attr->stride[0] != 1 || attr->stride[1] != 1 || conv->images < t->lanes ||
        plumb_view_count(t->w) == 0 || plumb_view_count(t->w) > MOST_FILTER || t->points == 0 ||
        (t->x->dim[3] > 1 && t->x->stride[3] != 1) || (t->y->dim[3] > 1 && t->y->stride[3] != 1))
        return false;
    plumb_conv_band(conv, 0, INT32_MAX, 0);
    int64_t vector = t->lanes * (int64_t)conv->size;
    if ((t->inputs * conv->channel + t->outputs * t->points) * vector > MOST_PLANES || !pays(t))
        return false;

    t->batches = plumb_parts(conv->images, t->lanes);
    t->height = plumb_strip_height(what == PLUMB_CONV_DATA ? t->inputs : t->outputs,
                                   what == PLUMB_CONV_FILTER ? conv->kernels->dot_rows : conv->kernels->rows);
    t->width = conv->kernels->vectors[t->height];
    t->offset_at = what == PLUMB_CONV_FILTER ? 0 : plumb_lines(plumb_view_count(t->w), conv->size);
    t->partial_at = t->offset_at + plumb_lines(plumb_most(t->columns, t->outputs * conv->axis[1].taps), sizeof(int32_t));
    t->parts_at = t->partial_at;
    if (what == PLUMB_CONV_FILTER)
        t->parts_at += plumb_lines((t->batches - 1) * plumb_view_count(t->w), conv->size);
    t->y_at = plumb_lines(t->inputs * conv->channel * t->lanes, conv->size);
    t->part =
        t->y_at +
        plumb_lines((what == PLUMB_CONV_FORWARD ? t->height : t->outputs) * t->points * t->lanes, conv->size);
    return true;
}

/* ---- one chunk: a group of pictures, a group of channels ---- */

typedef struct share {
    const task *t;
    char *x, *y; /* (C/groups, height, width, lanes), (channels, points, lanes) */
    int64_t image, images, group, batch;
} share;

static int32_t *offsets(const task *t) { return (int32_t *)(void *)(t->workspace + t->offset_at); }

/* Where x's element (0, 0) of channel c lies in its planes. */
static int64_t corner(const task *t, int64_t c)
{
    const plumb_conv *conv = &t->conv;
    return (c * conv->channel - conv->axis[0].start * conv->width - conv->axis[1].start) * t->lanes;
}

/* What of x is inside the planes: rows and columns past the last tap's reach are not. */
static void seen(const task *t, int64_t *rows, int64_t *columns)
{
    const plumb_conv *conv = &t->conv;
    *rows = plumb_least(conv->axis[0].source, conv->height + conv->axis[0].start);
    *columns = plumb_least(conv->axis[1].source, conv->width + conv->axis[1].start);
    if (*rows < 0 || *columns < 0)
        *rows = *columns = 0;
}

static void load_x(const share *s)
{
    const task *t = s->t;
    const plumb_kernels *kernels = t->conv.kernels;
    const int64_t *stride = t->x->stride;
    int64_t rows, columns;
    if (t->conv.padded || s->images < t->lanes)
        memset(s->x, 0, t->y_at);
    seen(t, &rows, &columns);
    if (columns == t->conv.width && (stride[2] == columns || rows == 1))
        columns *= rows, rows = rows > 0;
    for (int64_t c = 0; c < t->inputs; c++)
        for (int64_t r = 0; r < rows; r++)
            kernels->interleave(
                plumb_at(s->x, corner(t, c) + r * t->conv.width * t->lanes, kernels->size), t->lanes,
                plumb_at(t->x->data,
                         s->image * stride[0] + (s->group * t->inputs + c) * stride[1] + r * stride[2],
                         kernels->size),
                stride[0], s->images, columns);
}

static void load_y(const share *s)
{
    const task *t = s->t;
    const plumb_kernels *kernels = t->conv.kernels;
    const int64_t *stride = t->y->stride;
    int64_t rows = t->y->dim[2], columns = t->y->dim[3];
    if (stride[2] == columns || rows == 1)
        columns *= rows, rows = 1;
    for (int64_t o = 0; o < t->outputs; o++)
        for (int64_t r = 0; r < rows; r++)
            kernels->interleave(
                plumb_at(s->y, (o * t->points + r * columns) * t->lanes, kernels->size), t->lanes,
                plumb_at(t->y->data,
                         s->image * stride[0] + (s->group * t->outputs + o) * stride[1] + r * stride[2],
                         kernels->size),
                stride[0], s->images, columns);
}

/* Sweeps positions [from, to) of a row in tiles of nearly equal width. `b` and `c` are at the row's position 0. */
static void sweep(const task *t, int64_t rows, int64_t k, const void *a, const char *b, const int32_t *offset,
                  char *c, int64_t ldc, int64_t from, int64_t to, bool add)
{
    const plumb_conv *conv = &t->conv;
    int64_t positions = to - from, tiles = plumb_parts(positions, t->width);
    for (int64_t i = 0; i < tiles; i++) {
        int64_t first = from + positions * i / tiles, count = from + positions * (i + 1) / tiles - first;
        conv->kernels->tile[rows][count](k, a, plumb_at(b, first * t->lanes, conv->size), offset,
                                         plumb_at(c, first * t->lanes, conv->size), ldc, add);
    }
}

static void forward(const share *s)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    size_t row_y = (size_t)(conv->axis[1].span * t->lanes) * conv->size;
    size_t row_x = (size_t)(conv->width * t->lanes) * conv->size;
    load_x(s);
    for (int64_t o = 0; o < t->outputs; o += t->height) {
        int64_t rows = plumb_least(t->height, t->outputs - o), first = s->group * t->outputs + o;
        for (int64_t i = 0; i < rows && t->bias; i++)
            conv->kernels->fill(plumb_at(s->y, i * t->points * t->lanes, conv->size),
                                plumb_at(t->bias->data, (first + i) * t->bias->stride[0], conv->size),
                                t->points * t->lanes);
        const void *a = plumb_at(t->workspace, first * t->columns, conv->size);
        for (int64_t r = 0; r < conv->axis[0].span; r++)
            sweep(t, rows, t->columns, a, s->x + (size_t)r * row_x, offsets(t), s->y + (size_t)r * row_y,
                  t->points * t->lanes, 0, conv->axis[1].span, t->bias != NULL);
        if (t->epilogue) /* of lanes without a picture, too: nobody reads those */
            t->epilogue(s->y, rows * t->points * t->lanes, NULL, 0);
        for (int64_t i = 0; i < rows; i++) {
            int64_t image = t->y->dim[1] * t->points;
            conv->kernels->interleave(
                plumb_at(t->y->data, s->image * image + (first + i) * t->points, conv->size), image,
                plumb_at(s->y, i * t->points * t->lanes, conv->size), t->lanes, t->points, s->images);
        }
    }
}

static void store_dx(const share *s)
{
    const task *t = s->t;
    const plumb_kernels *kernels = t->conv.kernels;
    int64_t rows, columns, width = t->x->dim[3], plane = t->x->dim[2] * width, image = t->x->dim[1] * plane;
    seen(t, &rows, &columns);
    bool whole = rows == t->x->dim[2] && columns == width;
    if (whole && columns == t->conv.width)
        columns *= rows, rows = 1;
    for (int64_t c = 0; c < t->inputs; c++) {
        char *to = plumb_at(t->x->data, s->image * image + (s->group * t->inputs + c) * plane, kernels->size);
        for (int64_t i = 0; i < s->images && !whole; i++) /* what no tap reads has no gradient */
            memset(plumb_at(to, i * image, kernels->size), 0, (size_t)plane * kernels->size);
        for (int64_t r = 0; r < rows; r++)
            kernels->interleave(plumb_at(to, r * width, kernels->size), image,
                                plumb_at(s->x, corner(t, c) + r * t->conv.width * t->lanes, kernels->size),
                                t->lanes, columns, s->images);
    }
}

static bool reaches(const plumb_conv_axis *axis, int tap, int64_t p)
{
    return p >= axis->shift[tap] && p - axis->shift[tap] < axis->span;
}

/* Taps [*first, *end) of an axis add to plane position p: those whose output position p - shift exists. Shifts ascend, or,
 * flipped, descend. */
static void taps_at(const plumb_conv_axis *axis, int64_t p, int *first, int *end)
{
    *first = 0, *end = axis->taps;
    while (*first < *end && !reaches(axis, *first, p))
        ++*first;
    while (*first < *end && !reaches(axis, *end - 1, p))
        --*end;
}

/* Row `row` of dx's planes at columns [from, to), to which taps [first, end) of a filter row add: a product over these
 * taps and the output channels for each filter row that reaches it. */
static void data_row(const share *s, int64_t row, int64_t from, int64_t to, int first, int end)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    int top, bottom;
    taps_at(h, row, &top, &bottom);
    if (first == end)
        top = bottom; /* no tap at all */
    for (int64_t c = 0; c < t->inputs; c += t->height) {
        int64_t rows = plumb_least(t->height, t->inputs - c);
        char *dx = plumb_at(s->x, (c * conv->channel + row * conv->width) * t->lanes, conv->size);
        const char *strip = plumb_at(t->workspace, (s->group * t->inputs + c) * t->taps * t->outputs, conv->size);
        for (int64_t i = 0; i < rows && top == bottom; i++)
            memset(plumb_at(dx, (i * conv->channel + from) * t->lanes, conv->size), 0,
                   (size_t)((to - from) * t->lanes) * conv->size);
        for (int tap = top; tap < bottom; tap++)
            sweep(t, rows, (end - first) * t->outputs,
                  plumb_at(strip, (tap * w->taps + first) * t->outputs * rows, conv->size),
                  plumb_at(s->y, (row - h->shift[tap]) * w->span * t->lanes, conv->size),
                  offsets(t) + first * t->outputs, dx, conv->channel * t->lanes, from, to, tap > top);
    }
}

/* Each position of dx gathers what reaches it, so borders cost no multiplication and sums stay in registers for long. */
static void data(const share *s)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    load_y(s);
    for (int64_t row = 0; row < conv->height; row++)
        for (int64_t from = 0, to; from < conv->width; from = to) {
            int first, end, next_first = 0, next_end = 0;
            taps_at(&conv->axis[1], from, &first, &end);
            for (to = from + 1; to < conv->width; to++) {
                taps_at(&conv->axis[1], to, &next_first, &next_end);
                if (next_first != first || next_end != end)
                    break;
            }
            data_row(s, row, from, to, first, end);
        }
    store_dx(s);
}

static char *partial(const task *t, int64_t batch)
{
    int64_t filter = plumb_view_count(t->w);
    return batch == 0 ? t->w->data
                      : plumb_at(t->workspace + t->partial_at, (batch - 1) * filter, t->conv.size);
}

static void filter(const share *s)
{
    const task *t = s->t;
    const plumb_conv *conv = &t->conv;
    const int32_t *offset = offsets(t);
    double edge[PLUMB_DOT_ROWS * PLUMB_DOT_COLUMNS]; /* of either type */
    if (s->images < t->lanes) /* the lanes left over are summed too */
        memset(s->y, 0, t->part - t->y_at);
    load_x(s);
    load_y(s);
    plumb_dots d = {.segments = conv->axis[0].span,
                    .length = conv->axis[1].span * t->lanes,
                    .b = s->x,
                    .ar = t->points * t->lanes,
                    .as = conv->axis[1].span * t->lanes,
                    .bs = conv->width * t->lanes};
    for (int64_t o = 0; o < t->outputs; o += t->height) {
        int64_t rows = plumb_least(t->height, t->outputs - o);
        d.a = plumb_at(s->y, o * d.ar, conv->size);
        for (int64_t j = 0; j < t->columns; j += PLUMB_DOT_COLUMNS) {
            int64_t count = plumb_least(PLUMB_DOT_COLUMNS, t->columns - j);
            for (int64_t e = 0; e < PLUMB_DOT_COLUMNS; e++)
                d.offset[e] = offset[j + plumb_least(e, count - 1)];
            char *to = plumb_at(partial(t, s->batch), (s->group * t->outputs + o) * t->columns + j, conv->size);
            bool whole = count == PLUMB_DOT_COLUMNS;
            d.c = whole ? (void *)to : edge, d.ldc = whole ? t->columns : PLUMB_DOT_COLUMNS;
            conv->kernels->dot[rows](&d);
            if (!whole)
                conv->kernels->move(&(plumb_move){.to = to,
                                                  .from = edge,
                                                  .rows = rows,
                                                  .columns = count,
                                                  .to_row = t->columns,
                                                  .to_step = 1,
                                                  .from_row = PLUMB_DOT_COLUMNS,
                                                  .from_step = 1});
        }
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const task *t = user;
    share s = {.t = t, .x = t->workspace + t->parts_at + t->part * (size_t)worker};
    s.y = s.x + t->y_at;
    s.group = chunk % t->conv.groups, s.batch = chunk / t->conv.groups;
    s.image = s.batch * t->lanes, s.images = plumb_least(t->lanes, t->conv.images - s.image);
    if (t->what == PLUMB_CONV_FORWARD)
        forward(&s);
    else if (t->what == PLUMB_CONV_DATA)
        data(&s);
    else
        filter(&s);
}

/* ---- the filter as strips: forward (columns, rows) for each strip of outputs; for the data (taps, outputs, rows) for
 * each group and strip of inputs ---- */

static void pack(const task *t)
{
    const int64_t *stride = t->w->stride;
    const plumb_kernels *kernels = t->conv.kernels;
    bool forward = t->what == PLUMB_CONV_FORWARD;
    int64_t strided = forward ? t->outputs : t->inputs, taps_w = t->w->dim[3];
    int64_t depth = forward ? t->columns : t->taps * t->outputs, inner = forward ? t->taps : t->outputs;
    char *to = t->workspace;
    for (int64_t g = 0; g < t->conv.groups; g++)
        for (int64_t m = 0; m < strided; m += t->height) {
            plumb_move p = {.rows = 1,
                            .columns = plumb_least(t->height, strided - m),
                            .to_step = 1,
                            .from_step = stride[forward ? 0 : 1]};
            for (int64_t k = 0; k < depth; k++) {
                int64_t tap = forward ? k % inner : k / inner, o = g * t->outputs + (forward ? m : k % inner);
                int64_t c = forward ? k / inner : m;
                p.from = plumb_at(t->w->data,
                                  o * stride[0] + c * stride[1] + tap / taps_w * stride[2] +
                                      tap % taps_w * stride[3],
                                  kernels->size);
                p.to = to;
                kernels->move(&p);
                to = plumb_at(to, p.columns, kernels->size);
            }
        }
}

size_t plumb_conv_batch_workspace(const plumb_call *call, enum plumb_conv_what what)
{
    task t;
    return plan(call, what, &t) ? t.parts_at + t.part * (size_t)plumb_pool_size(call->pool) : 0;
}

void plumb_conv_batch_run(const plumb_call *call, enum plumb_conv_what what)
{
    task t;
    plan(call, what, &t);
    t.workspace = call->workspace;
    const plumb_kernels *kernels = t.conv.kernels;
    int64_t elements = plumb_view_count(t.w);
    if (what == PLUMB_CONV_DATA) {
        const plumb_conv_axis *w = &t.conv.axis[1];
        for (int64_t i = 0; i < w->taps * t.outputs; i++)
            offsets(&t)[i] =
                (int32_t)((i % t.outputs * t.points - w->shift[i / t.outputs]) * t.lanes);
    } else {
        plumb_conv_taps(&t.conv, 0, 0, t.inputs, offsets(&t));
        for (int64_t i = 0; i < t.columns; i++)
            offsets(&t)[i] *= (int32_t)t.lanes;
    }
    if (what != PLUMB_CONV_FILTER)
        pack(&t);
    if (what == PLUMB_CONV_FORWARD && t.conv.padded && !kernels->finite(t.workspace, elements)) {
        plumb_conv_plain(call, what);
        return;
    }
    plumb_pool_run(call->pool, t.batches * t.conv.groups, run_chunk, &t);
    for (int64_t batch = 1; what == PLUMB_CONV_FILTER && batch < t.batches; batch++)
        kernels->add(t.w->data, partial(&t, batch), elements);
    if (what == PLUMB_CONV_FILTER && !kernels->finite(t.w->data, elements))
        plumb_conv_plain(call, what);
}
