/* Pooling: the choice of a form, and that of row-major f32 pictures, plane by plane (pool_columns.c has channels-last
 * ones). A window is walked tap by tap over a strip of
 * neighbouring outputs, so that the inner loop runs along a row of the picture; 2x2 windows that tile the
 * plane, the usual case, have loops of their own that read every element once. Conventions: src/op/pool.c. */
#include "cpu/native/pool.h"
#include "cpu/native/vector.h"

#include <math.h>

enum { STRIP = 64, CHUNK = 1 << 14 }; /* outputs at a time; elements of x per piece of work */

/* The outputs [*first, *end) along one axis whose tap lies inside the picture: 0 <= o stride + shift <
 * size. */
NATIVE_INLINE void inside(int64_t size, int64_t outputs, int64_t stride, int64_t shift, int64_t *first,
                          int64_t *end)
{
    *first = shift < 0 ? (-shift + stride - 1) / stride : 0;
    *end = shift < size ? (size - shift - 1) / stride + 1 : 0;
    if (*end > outputs)
        *end = outputs;
}

/* A tap over a strip: outputs [begin, end) of the strip that starts at `ow`, and where the first of them
 * reads. */
struct tap {
    int64_t begin, end, at;
};

NATIVE_INLINE struct tap tap_at(const struct pool_work *t, int64_t row, int64_t kw, int64_t ow, int64_t width,
                                int64_t step)
{
    int64_t shift = kw * t->attr->dilation[1] - t->attr->padding[1], first, end;
    inside(t->w, t->ow, step, shift, &first, &end);
    struct tap tap = {first > ow ? first - ow : 0, end < ow + width ? end - ow : width, 0};
    tap.at = row * t->w + shift + (ow + tap.begin) * step;
    return tap;
}

/* ---- max ---- */

/* Whether v takes the place of best: it is larger, or a NaN where there was none. */
NATIVE_INLINE int beats(float v, float best) { return !(v <= best) & (best == best); }

NATIVE_INLINE void max_strip(struct pool_work *t, const float *x, int64_t oh, int64_t ow, int64_t step,
                             float *y, int64_t *index)
{
    const plumb_attr_pool2d *attr = t->attr;
    int64_t width = t->ow - ow < STRIP ? t->ow - ow : STRIP;
    float best[STRIP];
    int32_t at[STRIP];
    for (int j = 0; j < STRIP; j++) {
        best[j] = -INFINITY;
        at[j] = -1;
    }
    for (int64_t kh = 0; kh < attr->window[0]; kh++) {
        int64_t row = oh * attr->stride[0] - attr->padding[0] + kh * attr->dilation[0];
        if (row < 0 || row >= t->h)
            continue;
        for (int64_t kw = 0; kw < attr->window[1]; kw++) {
            struct tap tap = tap_at(t, row, kw, ow, width, step);
            int32_t here = (int32_t)tap.at;
            const float *px = x + tap.at;
            float *b = best + tap.begin;
            int32_t *a = at + tap.begin;
            int32_t count = (int32_t)(tap.end - tap.begin);
            NATIVE_LOOP
            for (int32_t j = 0; j < count; j++) {
                float v = px[j * step];
                int take = beats(v, b[j]) | (a[j] < 0);
                b[j] = take ? v : b[j];
                a[j] = take ? here + j * (int32_t)step : a[j];
            }
        }
    }
    for (int64_t j = 0; j < width; j++) {
        y[ow + j] = best[j];
        index[ow + j] = at[j];
    }
}

/* A row of 2x2 tiles, STRIP at a time: indices stay as narrow as the elements until the end, for the
 * compiler's sake. */
NATIVE_INLINE void max_tiles(const float *restrict a, const float *restrict b, int64_t outputs, int64_t first,
                             int32_t w, float *restrict y, int64_t *restrict index)
{
    for (int64_t done = 0; done < outputs;
         done += STRIP, a += 2 * STRIP, b += 2 * STRIP, y += STRIP, index += STRIP) {
        int32_t at[STRIP], count = (int32_t)(outputs - done < STRIP ? outputs - done : STRIP);
        NATIVE_LOOP
        for (int32_t j = 0; j < count; j++) {
            float best = a[2 * j], v = a[2 * j + 1];
            int32_t k = 0;
            k = beats(v, best) ? 1 : k;
            best = beats(v, best) ? v : best;
            v = b[2 * j];
            k = beats(v, best) ? w : k;
            best = beats(v, best) ? v : best;
            v = b[2 * j + 1];
            k = beats(v, best) ? w + 1 : k;
            y[j] = beats(v, best) ? v : best;
            at[j] = k;
        }
        NATIVE_LOOP
        for (int32_t j = 0; j < count; j++)
            index[j] = first + 2 * (done + j) + at[j];
    }
}

NATIVE_INLINE void max_plane(struct pool_work *t, int64_t plane)
{
    const float *x = t->from + plane * t->h * t->w;
    if (t->tiles && t->avx512) {
        plumb_max_tiles_avx512(t, plane);
        return;
    }
    for (int64_t oh = 0; oh < t->oh; oh++) {
        float *y = t->to + (plane * t->oh + oh) * t->ow;
        int64_t *index = t->index_out + (plane * t->oh + oh) * t->ow, first = 2 * oh * t->w;
        if (t->tiles) {
            max_tiles(x + first, x + first + t->w, t->ow, first, (int32_t)t->w, y, index);
            continue;
        }
        for (int64_t ow = 0; ow < t->ow; ow += STRIP) {
            if (t->attr->stride[1] == 1)
                max_strip(t, x, oh, ow, 1, y, index);
            else if (t->attr->stride[1] == 2)
                max_strip(t, x, oh, ow, 2, y, index);
            else
                max_strip(t, x, oh, ow, t->attr->stride[1], y, index);
        }
    }
}

/* One row of tiles of dx, if every index points into its own tile; false: some does not, nothing of use
 * was written. */
NATIVE_INLINE bool max_backward_tiles(const float *restrict dy, const int64_t *restrict index,
                                      int64_t outputs, int64_t first, int32_t w, float *restrict a,
                                      float *restrict b)
{
    int32_t strange = 0;
    NATIVE_LOOP
    for (int64_t j = 0; j < outputs; j++) {
        int64_t distance = index[j] - first - 2 * j;
        int32_t at = (int32_t)distance;
        int32_t e0 = at == 0, e1 = at == 1, e2 = at == w, e3 = at == w + 1;
        strange |= !(e0 | e1 | e2 | e3) | (distance != at);
        a[2 * j] = e0 ? dy[j] : 0;
        a[2 * j + 1] = e1 ? dy[j] : 0;
        b[2 * j] = e2 ? dy[j] : 0;
        b[2 * j + 1] = e3 ? dy[j] : 0;
    }
    return strange == 0;
}

NATIVE_INLINE bool max_backward_tiled(struct pool_work *t, const float *dy, const int64_t *index, float *dx)
{
    for (int64_t oh = 0; oh < t->oh; oh++) {
        float *a = dx + 2 * oh * t->w, *b = a + t->w;
        if (!max_backward_tiles(dy + oh * t->ow, index + oh * t->ow, t->ow, 2 * oh * t->w, (int32_t)t->w, a,
                                b))
            return false;
        if (t->w > 2 * t->ow)
            a[t->w - 1] = b[t->w - 1] = 0;
    }
    memset(dx + 2 * t->oh * t->w, 0, sizeof(float) * (size_t)((t->h - 2 * t->oh) * t->w));
    return true;
}

/* Indices come from outside, so none is trusted. */
NATIVE_INLINE void max_backward_plane(struct pool_work *t, int64_t plane)
{
    int64_t area = t->h * t->w, count = t->oh * t->ow;
    const float *dy = t->from + plane * count;
    const int64_t *index = t->index + plane * count;
    float *dx = t->to + plane * area;
    bool bad = false;
    if (t->tiles &&
        (t->avx512 ? plumb_max_backward_tiles_avx512(t, plane) : max_backward_tiled(t, dy, index, dx)))
        return;
    memset(dx, 0, sizeof(float) * (size_t)area);
    for (int64_t i = 0; i < count; i++) {
        if (index[i] < 0 || index[i] >= area)
            bad = true;
        else
            dx[index[i]] += dy[i];
    }
    if (bad)
        atomic_store_explicit(&t->bad_index, true, memory_order_relaxed);
}

NATIVE_INLINE void select_plane(struct pool_work *t, int64_t plane)
{
    int64_t area = t->h * t->w, count = t->oh * t->ow;
    const float *x = t->from + plane * area;
    const int64_t *index = t->index + plane * count;
    float *y = t->to + plane * count;
    bool bad = false;
    for (int64_t i = 0; i < count; i++) {
        bool good = index[i] >= 0 && index[i] < area;
        bad |= !good;
        y[i] = good ? x[index[i]] : 0;
    }
    if (bad)
        atomic_store_explicit(&t->bad_index, true, memory_order_relaxed);
}

/* ---- average ---- */

float plumb_pool_extent(const plumb_attr_pool2d *attr, int axis, int64_t o, int64_t size)
{
    int64_t start = o * attr->stride[axis] - attr->padding[axis], end = start + attr->window[axis];
    int64_t low = attr->exclude_padding && start < 0 ? 0 : start;
    int64_t high = size + (attr->exclude_padding ? 0 : attr->padding[axis + 2]);
    return (float)((end < high ? end : high) - low);
}

NATIVE_INLINE void average_strip(struct pool_work *t, const float *x, int64_t oh, int64_t ow, int64_t step,
                                 float *y)
{
    const plumb_attr_pool2d *attr = t->attr;
    int64_t width = t->ow - ow < STRIP ? t->ow - ow : STRIP;
    float sum[STRIP] = {0}, high = plumb_pool_extent(attr, 0, oh, t->h);
    for (int64_t kh = 0; kh < attr->window[0]; kh++) {
        int64_t row = oh * attr->stride[0] - attr->padding[0] + kh;
        if (row < 0 || row >= t->h)
            continue;
        for (int64_t kw = 0; kw < attr->window[1]; kw++) {
            struct tap tap = tap_at(t, row, kw, ow, width, step);
            const float *px = x + tap.at;
            float *s = sum + tap.begin;
            NATIVE_LOOP
            for (int64_t j = 0; j < tap.end - tap.begin; j++)
                s[j] += px[j * step];
        }
    }
    for (int64_t j = 0; j < width; j++)
        y[ow + j] = sum[j] / (high * t->wide[ow + j]);
}

NATIVE_INLINE void average_tiles(const float *restrict a, const float *restrict b, int64_t outputs,
                                 float *restrict y)
{
    NATIVE_LOOP
    for (int64_t j = 0; j < outputs; j++)
        y[j] = ((a[2 * j] + a[2 * j + 1]) + (b[2 * j] + b[2 * j + 1])) * 0.25f;
}

NATIVE_INLINE void average_plane(struct pool_work *t, int64_t plane)
{
    const float *x = t->from + plane * t->h * t->w;
    for (int64_t oh = 0; oh < t->oh; oh++) {
        float *y = t->to + (plane * t->oh + oh) * t->ow;
        if (t->tiles) {
            average_tiles(x + 2 * oh * t->w, x + (2 * oh + 1) * t->w, t->ow, y);
            continue;
        }
        for (int64_t ow = 0; ow < t->ow; ow += STRIP) {
            if (t->attr->stride[1] == 1)
                average_strip(t, x, oh, ow, 1, y);
            else if (t->attr->stride[1] == 2)
                average_strip(t, x, oh, ow, 2, y);
            else
                average_strip(t, x, oh, ow, t->attr->stride[1], y);
        }
    }
}

NATIVE_INLINE void average_backward_strip(struct pool_work *t, float *dx, int64_t oh, int64_t ow,
                                          int64_t step, const float *dy)
{
    const plumb_attr_pool2d *attr = t->attr;
    int64_t width = t->ow - ow < STRIP ? t->ow - ow : STRIP;
    float share[STRIP], high = plumb_pool_extent(attr, 0, oh, t->h);
    for (int64_t j = 0; j < width; j++)
        share[j] = dy[ow + j] / (high * t->wide[ow + j]);
    for (int64_t kh = 0; kh < attr->window[0]; kh++) {
        int64_t row = oh * attr->stride[0] - attr->padding[0] + kh;
        if (row < 0 || row >= t->h)
            continue;
        for (int64_t kw = 0; kw < attr->window[1]; kw++) {
            struct tap tap = tap_at(t, row, kw, ow, width, step);
            float *px = dx + tap.at;
            const float *s = share + tap.begin;
            NATIVE_LOOP
            for (int64_t j = 0; j < tap.end - tap.begin; j++)
                px[j * step] += s[j];
        }
    }
}

NATIVE_INLINE void average_backward_tiles(const float *restrict dy, int64_t outputs, float *restrict a,
                                          float *restrict b)
{
    NATIVE_LOOP
    for (int64_t j = 0; j < outputs; j++)
        a[2 * j] = a[2 * j + 1] = b[2 * j] = b[2 * j + 1] = dy[j] * 0.25f;
}

NATIVE_INLINE void average_backward_plane(struct pool_work *t, int64_t plane)
{
    float *dx = t->to + plane * t->h * t->w;
    if (!t->tiles || t->h != 2 * t->oh || t->w != 2 * t->ow)
        memset(dx, 0, sizeof(float) * (size_t)(t->h * t->w));
    for (int64_t oh = 0; oh < t->oh; oh++) {
        const float *dy = t->from + (plane * t->oh + oh) * t->ow;
        if (t->tiles) {
            average_backward_tiles(dy, t->ow, dx + 2 * oh * t->w, dx + (2 * oh + 1) * t->w);
            continue;
        }
        for (int64_t ow = 0; ow < t->ow; ow += STRIP) {
            if (t->attr->stride[1] == 1)
                average_backward_strip(t, dx, oh, ow, 1, dy);
            else if (t->attr->stride[1] == 2)
                average_backward_strip(t, dx, oh, ow, 2, dy);
            else
                average_backward_strip(t, dx, oh, ow, t->attr->stride[1], dy);
        }
    }
}

#define POOL_WRAPPER(name, isa, TARGET)                                                                      \
    TARGET static void name##_##isa(struct pool_work *t, int64_t plane) { name##_plane(t, plane); }
#define POOL_WRAPPERS(isa, TARGET)                                                                           \
    POOL_WRAPPER(max, isa, TARGET)                                                                           \
    POOL_WRAPPER(max_backward, isa, TARGET)                                                                  \
    POOL_WRAPPER(select, isa, TARGET)                                                                        \
    POOL_WRAPPER(average, isa, TARGET)                                                                       \
    POOL_WRAPPER(average_backward, isa, TARGET)
NATIVE_EACH_ISA(POOL_WRAPPERS)

/* ---- work ---- */

static void pool_chunk(void *user, int64_t chunk, int worker)
{
    struct pool_work *t = user;
    (void)worker;
    int64_t end = (chunk + 1) * t->per_chunk < t->planes ? (chunk + 1) * t->per_chunk : t->planes;
    for (int64_t plane = chunk * t->per_chunk; plane < end; plane++)
        t->kernel(t, plane);
}

plumb_status plumb_pool_bad_index(const plumb_call *call, int64_t h, int64_t w)
{
    return plumb_call_fail(call, PLUMB_BAD_INPUT, "an index is outside a plane of %lldx%lld", (long long)h,
                           (long long)w);
}

/* x: the tensor (N, C, H, W), or its gradient; y: the pooled one, or its gradient. */
static plumb_status run_planes(const plumb_call *call, const plumb_view *x, const plumb_view *y,
                               struct pool_work *t)
{
    const plumb_attr_pool2d *attr = call->attr;
    t->attr = attr;
    t->avx512 = call->isa >= PLUMB_ISA_AVX512;
    t->from = call->in[0].data;
    t->to = call->out[0].data;
    t->h = x->dim[2];
    t->w = x->dim[3];
    t->oh = y->dim[2];
    t->ow = y->dim[3];
    t->planes = x->dim[0] * x->dim[1];
    t->tiles = attr->window[0] == 2 && attr->window[1] == 2 && attr->stride[0] == 2 && attr->stride[1] == 2 &&
               attr->dilation[0] == 1 && attr->dilation[1] == 1 && attr->padding[0] == 0 &&
               attr->padding[1] == 0 && 2 * t->oh <= t->h && 2 * t->ow <= t->w;
    if (t->planes == 0 || plumb_view_count(y) == 0)
        return PLUMB_OK;
    t->per_chunk = t->h * t->w < CHUNK ? CHUNK / (1 + t->h * t->w) : 1;
    plumb_pool_run(call->pool, (t->planes + t->per_chunk - 1) / t->per_chunk, pool_chunk, t);
    return atomic_load(&t->bad_index) ? plumb_pool_bad_index(call, t->h, t->w) : PLUMB_OK;
}

static plumb_status run_max(const plumb_call *call)
{
    if (plumb_pool_columns_supports(call))
        return plumb_pool_columns_max(call);
    struct pool_work t = {.index_out = call->out[1].data, .kernel = NATIVE_PICK(max, call->isa)};
    return run_planes(call, &call->in[0], &call->out[0], &t);
}

static plumb_status run_max_backward(const plumb_call *call)
{
    if (plumb_pool_columns_supports(call))
        return plumb_pool_columns_max_backward(call);
    struct pool_work t = {.index = call->in[1].data, .kernel = NATIVE_PICK(max_backward, call->isa)};
    return run_planes(call, &call->out[0], &call->in[0], &t);
}

static plumb_status run_select(const plumb_call *call)
{
    struct pool_work t = {.index = call->in[1].data, .kernel = NATIVE_PICK(select, call->isa)};
    return run_planes(call, &call->in[0], &call->out[0], &t);
}

static size_t average_workspace(const plumb_call *call)
{
    if (plumb_pool_columns_supports(call))
        return plumb_pool_columns_workspace(call);
    const plumb_view *x = &call->in[0], *y = &call->out[0]; /* one of them is the pooled one: the narrower */
    return sizeof(float) * (size_t)(x->dim[3] > y->dim[3] ? x->dim[3] : y->dim[3]);
}

static void measure(const plumb_call *call, const plumb_view *x, const plumb_view *y)
{
    float *wide = call->workspace;
    for (int64_t ow = 0; ow < y->dim[3]; ow++)
        wide[ow] = plumb_pool_extent(call->attr, 1, ow, x->dim[3]);
}

static plumb_status run_average(const plumb_call *call)
{
    if (plumb_pool_columns_supports(call))
        return plumb_pool_columns_average(call);
    struct pool_work t = {.wide = call->workspace, .kernel = NATIVE_PICK(average, call->isa)};
    measure(call, &call->in[0], &call->out[0]);
    return run_planes(call, &call->in[0], &call->out[0], &t);
}

static plumb_status run_average_backward(const plumb_call *call)
{
    if (plumb_pool_columns_supports(call))
        return plumb_pool_columns_average_backward(call);
    struct pool_work t = {.wide = call->workspace, .kernel = NATIVE_PICK(average_backward, call->isa)};
    measure(call, &call->out[0], &call->in[0]);
    return run_planes(call, &call->out[0], &call->in[0], &t);
}

/* Positions within a plane are computed in 32 bits. Bins that do not divide a side are rare, and the reference's. */
static bool supports_planes(const plumb_call *call)
{
    bool good = call->in[0].dtype == PLUMB_F32 && !((const plumb_attr_pool2d *)call->attr)->adaptive;
    for (int i = 0; i < call->n_in; i++)
        good = good && plumb_view_contiguous(&call->in[i]) &&
               call->in[i].dim[2] * call->in[i].dim[3] < INT32_MAX / 4;
    for (int i = 0; i < call->n_out; i++)
        good = good && plumb_view_contiguous(&call->out[i]) &&
               call->out[i].dim[2] * call->out[i].dim[3] < INT32_MAX / 4;
    return good;
}

static bool supports(const plumb_call *call) { return plumb_pool_columns_supports(call) || supports_planes(call); }

static size_t workspace(const plumb_call *call)
{
    return plumb_pool_columns_supports(call) ? plumb_pool_columns_workspace(call) : 0;
}

const plumb_impl plumb_impl_max_pool2d_native = {
    .op = &plumb_op_max_pool2d,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run_max,
};

const plumb_impl plumb_impl_max_pool2d_backward_native = {
    .op = &plumb_op_max_pool2d_backward,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run_max_backward,
};

const plumb_impl plumb_impl_max_pool2d_select_native = {
    .op = &plumb_op_max_pool2d_select,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32),
    .flags = PLUMB_IMPL_EXACT,
    .supports = supports_planes,
    .run = run_select,
};

const plumb_impl plumb_impl_average_pool2d_native = {
    .op = &plumb_op_average_pool2d,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = average_workspace,
    .run = run_average,
};

const plumb_impl plumb_impl_average_pool2d_backward_native = {
    .op = &plumb_op_average_pool2d_backward,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = average_workspace,
    .run = run_average_backward,
};
