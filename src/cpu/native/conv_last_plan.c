/* Geometry of the convolutions over channels-last pictures, and which calls they take. See conv_last.h for the idea. */
#include "cpu/native/conv_last.h"

enum {
    LANES_WORTH = 16,   /* channels in the lanes below which row-major kernels are faster */
    CHANNELS_WORTH = 8, /* the same of those that are added up, unless there are many lanes */
    MANY_LANES = 32,
    WAY = 4096, /* bytes: of a first-level cache, which keeps eight lines so far apart; a tile reads one a position */
    FOLDED_CHANNELS = 12, /* fewer are folded: a cache line holds those of more than one tap */
    LONGEST_ROW = 256 /* positions; longer rows are cut into bands */
};

const plumb_last_kernels *plumb_last_kernels_for(int isa)
{
#if PLUMB_NATIVE_X86
    if (isa >= PLUMB_ISA_AVX512)
        return &plumb_last_avx512;
    if (isa >= PLUMB_ISA_AVX2)
        return &plumb_last_avx2;
#else
    (void)isa;
#endif
    return &plumb_last_portable;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Target position t reads source position t*stride + at - before forward, (t + before - at) / stride back. */
static void plan_axis(plumb_last_axis *axis, int64_t stride, int64_t dilation, int64_t before, bool flip, bool adjoint)
{
    axis->step = adjoint ? 1 : stride, axis->phases = adjoint ? stride : 1;
    int count = 0;
    for (int64_t f = 0; f < axis->phases; f++) {
        axis->first[f] = count;
        for (int i = 0; i < axis->taps; i++) {
            int t = flip != adjoint ? axis->taps - 1 - i : i; /* shifts ascend */
            int64_t at = (flip ? axis->taps - 1 - t : t) * dilation - before;
            if (adjoint && f - at - floor_div(f - at, stride) * stride != 0)
                continue;
            axis->shift[count] = adjoint ? floor_div(f - at, stride) : at;
            axis->tap[count++] = t;
        }
    }
    axis->first[axis->phases] = count;
}

/* A convolution of single positions is one long row of them, whatever the pictures. */
static void flatten(plumb_last *last)
{
    plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    bool single = h->taps == 1 && w->taps == 1 && h->step * h->phases == 1 && w->step * w->phases == 1;
    if (!single || h->shift[0] || w->shift[0] || h->source != h->target || w->source != w->target)
        return;
    w->source = w->target = last->images * h->source * w->source;
    h->source = h->target = last->images = 1;
}

/* The taps of a row become one with as many times the channels, which lies inside the picture everywhere. */
static void fold(plumb_last *last, bool dense)
{
    plumb_last_axis *w = &last->axis[1];
    if (!dense || w->taps < 2 || last->groups > 1 || last->sources >= FOLDED_CHANNELS)
        return;
    last->fold = w->taps, last->width = w->source, last->left = w->shift[0];
    last->sources *= w->taps;
    w->taps = w->first[1] = 1, w->shift[0] = 0;
    w->source = (w->target - 1) * w->step + 1;
}

void plumb_last_plan(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y, bool adjoint,
                     bool folds, plumb_last *last)
{
    const plumb_attr_conv2d *attr = call->attr;
    memset(last, 0, sizeof *last);
    last->kernels = plumb_last_kernels_for(call->isa);
    last->images = x->dim[0], last->groups = attr->groups;
    int64_t inputs = w->dim[1], outputs = w->dim[0] / attr->groups;
    last->sources = adjoint ? outputs : inputs, last->targets = adjoint ? inputs : outputs;
    last->taps = w->dim[2] * w->dim[3], last->depth = last->taps * last->sources;
    last->pixel = last->groups * last->sources, last->fold = 1;
    for (int d = 0; d < 2; d++) {
        plumb_last_axis *axis = &last->axis[d];
        axis->source = (adjoint ? y : x)->dim[2 + d], axis->target = (adjoint ? x : y)->dim[2 + d];
        axis->taps = (int)w->dim[2 + d];
        plan_axis(axis, attr->stride[d], attr->dilation[d], attr->padding[d], attr->flip, adjoint);
    }
    flatten(last);
    fold(last, folds && !adjoint && attr->dilation[1] == 1);
    int64_t span = plumb_last_span(&last->axis[1], 0), lanes = last->kernels->lanes;
    last->bands = plumb_parts(span, LONGEST_ROW);
    last->band = plumb_parts(span, last->bands);
    last->units = last->images * last->axis[0].target * last->bands;
    int64_t step = last->axis[1].step * last->pixel * (int64_t)sizeof(float), low = last->kernels->rows[4];
    last->line = last->fold > 1 ? ((last->band - 1) * last->axis[1].step + last->fold) * last->pixel : 0;
    last->vectors = low && (span <= low || step % WAY == 0 || last->fold > 1) ? 4 : 2;
    last->vectors = plumb_least(last->vectors, plumb_parts(last->targets, lanes));
    last->blocks = plumb_parts(last->targets, last->vectors * lanes);
}

int64_t plumb_last_span(const plumb_last_axis *axis, int64_t phase)
{
    return phase < axis->target ? plumb_parts(axis->target - phase, axis->phases) : 0;
}

void plumb_last_inside(const plumb_last_axis *axis, int64_t shift, int64_t from, int64_t to, int64_t *first, int64_t *end)
{
    int64_t begin = shift < 0 ? plumb_parts(-shift, axis->step) : 0;
    int64_t beyond = shift < axis->source ? plumb_parts(axis->source - shift, axis->step) : 0;
    *first = plumb_most(begin, from);
    *end = plumb_most(plumb_least(beyond, to), *first);
}

plumb_last_unit plumb_last_unit_at(const plumb_last *last, int64_t u)
{
    int64_t row = u / last->bands, height = last->axis[0].target;
    return (plumb_last_unit){.image = row / height, .row = row % height, .band = u % last->bands};
}

void plumb_last_columns(const plumb_last *last, const plumb_last_unit *u, int64_t fw, int64_t *from, int64_t *to)
{
    *from = u->band * last->band;
    *to = plumb_least(*from + last->band, plumb_last_span(&last->axis[1], fw));
}

void plumb_last_copy(const plumb_last *last, const plumb_last_unit *u, const float *source, float *to)
{
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    int64_t from, end;
    plumb_last_columns(last, u, 0, &from, &end);
    int64_t first = from * w->step + last->left, count = (end - from - 1) * w->step + last->fold;
    int64_t inside = plumb_least(plumb_most(-first, 0), count);
    int64_t beyond = plumb_most(plumb_least(last->width - first, count), inside);
    for (int a = 0; a < h->taps; a++, to += last->line) {
        int64_t row = u->row * h->step + h->shift[a];
        if (row < 0 || row >= h->source)
            continue;
        const float *x = source + ((u->image * h->source + row) * last->width + first + inside) * last->pixel;
        memset(to, 0, (size_t)(inside * last->pixel) * sizeof(float));
        memcpy(to + inside * last->pixel, x, (size_t)((beyond - inside) * last->pixel) * sizeof(float));
        memset(to + beyond * last->pixel, 0, (size_t)((count - beyond) * last->pixel) * sizeof(float));
    }
}

void plumb_last_offsets(const plumb_last *last, bool adjoint, int32_t *offset)
{
    const plumb_last_axis *h = &last->axis[0], *w = &last->axis[1];
    int64_t row = 0, channels = last->sources / last->fold, width = last->taps / h->taps;
    for (int64_t fh = 0; fh < h->phases; fh++)
        for (int64_t fw = 0; fw < w->phases; fw++)
            for (int a = h->first[fh]; a < h->first[fh + 1]; a++)
                for (int64_t b = w->first[fw]; b < w->first[fw + 1] * last->fold; b++, row += channels)
                    offset[h->tap[a] * width + w->tap[b]] = (int32_t)row;
    for (int64_t j = last->taps; !adjoint && j < last->depth; j++)
        offset[j] = offset[j - last->taps] + 1;
}

bool plumb_last_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y,
                         bool adjoint)
{
    const plumb_attr_conv2d *attr = call->attr;
    int64_t inputs = w->dim[1], outputs = w->dim[0] / attr->groups;
    int64_t lanes = adjoint ? inputs : outputs, added = adjoint ? outputs : inputs;
    if (lanes < LANES_WORTH || (added < CHANNELS_WORTH && lanes < MANY_LANES) || added == 0)
        return false;
    for (int d = 0; d < 2; d++)
        if (w->dim[2 + d] > PLUMB_LAST_TAPS || (adjoint && attr->stride[d] > PLUMB_LAST_PHASES))
            return false;
    return plumb_view_channels_last(x) && plumb_view_channels_last(y) && plumb_view_contiguous(w) &&
           plumb_view_count(x) > 0 && plumb_view_count(y) > 0 && (double)plumb_view_count(w) < INT32_MAX / 2;
}
