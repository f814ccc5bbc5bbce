/* Geometry of the native convolutions: axes, planes, offsets of taps. See conv.h for the idea. */
#include "cpu/native/conv.h"

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static void forward_axis(plumb_conv_axis *axis, int64_t stride, int64_t dilation, int64_t before, bool flip)
{
    axis->step = stride, axis->start = -before, axis->phases = 1, axis->span = axis->target;
    for (int t = 0; t < axis->taps; t++) {
        int64_t at = (flip ? axis->taps - 1 - t : t) * dilation, phase = at % stride;
        axis->shift[t] = at / stride;
        axis->reach = plumb_most(axis->reach, axis->shift[t]);
        int slot = 0;
        while (slot < axis->slots && axis->slot_phase[slot] != phase)
            slot++;
        if (slot == axis->slots)
            axis->slot_phase[axis->slots++] = phase;
        axis->slot[t] = slot;
    }
}

/* x[j*s + f] gets dy[j + e] through the tap at `at` where f + before - at = e*s. */
static void adjoint_axis(plumb_conv_axis *axis, int64_t stride, int64_t dilation, int64_t before, bool flip)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    axis->step = 1, axis->phases = stride, axis->span = plumb_parts(axis->target, stride), axis->slots = 1;
    for (int t = 0; t < axis->taps; t++) {
        int64_t shift = (flip ? axis->taps - 1 - t : t) * dilation - before;
        axis->phase[t] = shift - floor_div(shift, stride) * stride;
        axis->shift[t] = (axis->phase[t] - shift) / stride;
        first = plumb_least(first, axis->shift[t]), last = plumb_most(last, axis->shift[t]);
    }
    axis->start = axis->taps ? first : 0;
    axis->reach = axis->taps ? last - first : 0;
    for (int t = 0; t < axis->taps; t++)
        axis->shift[t] -= axis->start;
}

void plumb_conv_plan(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y,
                     bool adjoint, plumb_conv *conv)
{
    const plumb_attr_conv2d *attr = call->attr;
    memset(conv, 0, sizeof *conv);
    conv->kernels = plumb_kernels_for(y->dtype, call->isa);
    conv->size = conv->kernels->size;
    conv->images = x->dim[0], conv->groups = attr->groups;
    conv->source = adjoint ? y : x, conv->target = adjoint ? x : y, conv->filter = w;
    int64_t inputs = w->dim[1], outputs = w->dim[0] / attr->groups;
    conv->sources = adjoint ? outputs : inputs, conv->targets = adjoint ? inputs : outputs;
    conv->filter_group = outputs * w->stride[0];
    conv->filter_source = w->stride[adjoint ? 0 : 1], conv->filter_target = w->stride[adjoint ? 1 : 0];
    for (int d = 0; d < 2; d++) {
        plumb_conv_axis *axis = &conv->axis[d];
        axis->source = conv->source->dim[2 + d], axis->target = conv->target->dim[2 + d];
        axis->taps = (int)w->dim[2 + d];
        if (adjoint)
            adjoint_axis(axis, attr->stride[d], attr->dilation[d], attr->padding[d], attr->flip);
        else
            forward_axis(axis, attr->stride[d], attr->dilation[d], attr->padding[d], attr->flip);
    }
    conv->padded = adjoint || attr->padding[0] || attr->padding[1] || attr->padding[2] || attr->padding[3];
}

void plumb_conv_band(plumb_conv *conv, int64_t channels, int64_t bytes, int64_t beside)
{
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    conv->width = w->span + w->reach;
    int64_t slots = (int64_t)h->slots * w->slots, row = conv->width * (int64_t)conv->size;
    int64_t rows = bytes / plumb_most(channels * slots * row, 1) - h->reach;
    if (beside)
        rows = plumb_least(rows, PLUMB_CONV_SUMS / plumb_most(beside * row, 1));
    rows = plumb_most(plumb_least(rows, h->span), 1);
    conv->bands = plumb_parts(h->span, rows);
    conv->rows = plumb_parts(h->span, plumb_most(conv->bands, 1));
    conv->height = conv->rows + h->reach;
    conv->channel = slots * conv->height * conv->width;
}

int64_t plumb_conv_phase_size(const plumb_conv_axis *axis, int64_t phase)
{
    return phase < axis->target ? plumb_parts(axis->target - phase, axis->phases) : 0;
}

/* The positions [*first, *end) of `count` from position `at` on that lie inside the source, for one phase. */
static void inside(const plumb_conv_axis *axis, int slot, int64_t at, int64_t count, int64_t *first,
                   int64_t *end)
{
    int64_t origin = at * axis->step + axis->slot_phase[slot] + axis->start;
    *first = origin < 0 ? plumb_least(plumb_parts(-origin, axis->step), count) : 0;
    *end = origin < axis->source ? plumb_least(plumb_parts(axis->source - origin, axis->step), count) : 0;
    *end = plumb_most(*end, *first);
}

static void load_plane(const plumb_conv *conv, const void *from, int sh, int sw, int64_t row, char *to)
{
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    int64_t r0, r1, c0, c1, width = conv->width;
    inside(h, sh, row, conv->height, &r0, &r1);
    inside(w, sw, 0, width, &c0, &c1);
    if (r1 == r0 || c1 == c0)
        r0 = r1 = 0;
    size_t line = (size_t)width * conv->size;
    memset(to, 0, (size_t)r0 * line);
    memset(to + (size_t)r1 * line, 0, (size_t)(conv->height - r1) * line);
    if (r1 == r0)
        return;
    int64_t top = (row + r0) * h->step + h->slot_phase[sh] + h->start;
    int64_t left = c0 * w->step + w->slot_phase[sw] + w->start;
    int64_t down = conv->source->stride[2], right = conv->source->stride[3];
    plumb_move m = {.to = plumb_at(to, r0 * width + c0, conv->size),
                    .rows = r1 - r0,
                    .columns = c1 - c0,
                    .from = plumb_at(from, top * down + left * right, conv->size),
                    .to_row = width,
                    .to_step = 1,
                    .from_row = h->step * down,
                    .from_step = w->step * right};
    if (m.columns == 1)
        m.from_step = 1;
    if (m.columns == width && m.from_step == 1 && m.from_row == width)
        m.columns *= m.rows, m.rows = 1;
    conv->kernels->move(&m);
}

void plumb_conv_load(const plumb_conv *conv, int64_t image, int64_t channel, int64_t channels, int64_t row,
                     void *to)
{
    const int64_t *stride = conv->source->stride;
    char *plane = to;
    size_t bytes = (size_t)(conv->height * conv->width) * conv->size;
    for (int64_t c = 0; c < channels; c++) {
        const void *from =
            plumb_at(conv->source->data, image * stride[0] + (channel + c) * stride[1], conv->size);
        for (int sh = 0; sh < conv->axis[0].slots; sh++)
            for (int sw = 0; sw < conv->axis[1].slots; sw++, plane += bytes)
                load_plane(conv, from, sh, sw, row, plane);
    }
}

int64_t plumb_conv_taps(const plumb_conv *conv, int64_t fh, int64_t fw, int64_t channels, int32_t *offset)
{
    const plumb_conv_axis *h = &conv->axis[0], *w = &conv->axis[1];
    int64_t taps = 0;
    for (int th = 0; th < h->taps; th++)
        for (int tw = 0; tw < w->taps; tw++)
            if (h->phase[th] == fh && w->phase[tw] == fw) {
                int64_t plane = (int64_t)h->slot[th] * w->slots + w->slot[tw];
                if (channels > 0)
                    offset[taps] =
                        (int32_t)((plane * conv->height + h->shift[th]) * conv->width + w->shift[tw]);
                taps++;
            }
    for (int64_t i = taps; i < channels * taps; i++)
        offset[i] = (int32_t)(offset[i - taps] + conv->channel);
    return taps;
}

bool plumb_conv_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w,
                         const plumb_view *y)
{
    const plumb_attr_conv2d *attr = call->attr;
    double plane = (double)(w->dim[2] * attr->dilation[0] + attr->stride[0]) * (double)w->dim[3];
    double row = (double)(y->dim[3] + x->dim[3]) + (double)w->dim[3] * (double)attr->dilation[1];
    double channels = (double)(w->dim[0] + w->dim[1]); /* planes of one output row, generously, in elements */
    return plumb_kernels_for(call->out[0].dtype, call->isa) && plumb_view_contiguous(&call->out[0]) &&
           w->dim[2] <= PLUMB_CONV_TAPS && w->dim[3] <= PLUMB_CONV_TAPS &&
           plane * row * channels < INT32_MAX && (double)plumb_view_count(w) < INT32_MAX;
}
