/* Softmax family and cross-entropy in f32: one pass each for the maximum, the exponentials with their sum, the result.
 * Two walks: rows, where the axis is innermost; and strips of neighbouring columns, where it is not (a picture's
 * channels), so that both read memory in order. Conventions: src/op/softmax.c. */
#include "cpu/native/vector.h"
#include "op/attr.h"

#include <math.h>

enum { STRIP = 64, CHUNK = 1 << 14 }; /* columns at a time; elements per piece of work */

/* ---- rows of n elements ---- */

NATIVE_INLINE float row_max(const float *x, int64_t n)
{
    float lane[NATIVE_LANES], most = -INFINITY;
    int64_t i = 0;
    if (n >= NATIVE_LANES) {
        memcpy(lane, x, sizeof lane);
        for (i = NATIVE_LANES; i + NATIVE_LANES <= n; i += NATIVE_LANES)
            for (int l = 0; l < NATIVE_LANES; l++)
                lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
        most = native_max_join(lane);
    }
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

NATIVE_INLINE float row_sum(const float *x, int64_t n)
{
    float lane[NATIVE_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++)
            lane[l] += x[i + l];
    for (; i < n; i++)
        sum += x[i];
    return native_sum_join(lane) + sum;
}

NATIVE_INLINE float row_dot(const float *x, const float *y, int64_t n)
{
    float lane[NATIVE_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++)
            lane[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        sum += x[i] * y[i];
    return native_sum_join(lane) + sum;
}

/* sum of e^(x - most), nothing stored */
NATIVE_INLINE float row_sum_exp(const float *x, int64_t n, float most)
{
    float lane[NATIVE_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++)
            lane[l] += native_exp(x[i + l] - most);
    for (; i < n; i++)
        sum += native_exp(x[i] - most);
    return native_sum_join(lane) + sum;
}

/* y = e^(x - most); y may be x */
NATIVE_INLINE void row_exp(const float *x, float *y, int64_t n, float most)
{
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        y[i] = native_exp(x[i] - most);
}

NATIVE_INLINE void row_softmax(const float *x, const float *unused, float *y, int64_t n)
{
    (void)unused;
    row_exp(x, y, n, row_max(x, n));
    float scale = 1 / row_sum(y, n);
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

NATIVE_INLINE void row_log_softmax(const float *x, const float *unused, float *y, int64_t n)
{
    (void)unused;
    float most = row_max(x, n), shift = logf(row_sum_exp(x, n, most));
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - most) - shift;
}

NATIVE_INLINE void row_softmax_backward(const float *y, const float *dy, float *dx, int64_t n)
{
    float sum = row_dot(y, dy, n);
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - sum);
}

NATIVE_INLINE void row_log_softmax_backward(const float *y, const float *dy, float *dx, int64_t n)
{
    float sum = row_sum(dy, n);
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] - native_exp(y[i]) * sum;
}

/* ---- strips: `width` <= STRIP neighbouring columns, elements of a column `step` apart ---- */

NATIVE_INLINE void strip_max(const float *x, int64_t n, int64_t step, int width, float *most)
{
    for (int j = 0; j < width; j++)
        most[j] = -INFINITY;
    for (int64_t i = 0; i < n; i++, x += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            most[j] = x[j] > most[j] ? x[j] : most[j];
    }
}

NATIVE_INLINE void strip_sum_exp(const float *x, int64_t n, int64_t step, int width, const float *most,
                                 float *sum)
{
    for (int j = 0; j < width; j++)
        sum[j] = 0;
    for (int64_t i = 0; i < n; i++, x += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            sum[j] += native_exp(x[j] - most[j]);
    }
}

NATIVE_INLINE void strip_softmax(const float *x, const float *unused, float *y, int64_t n, int64_t step,
                                 int width)
{
    float most[STRIP], sum[STRIP];
    (void)unused;
    strip_max(x, n, step, width, most);
    strip_sum_exp(x, n, step, width, most, sum);
    for (int j = 0; j < width; j++)
        sum[j] = 1 / sum[j];
    for (int64_t i = 0; i < n; i++, x += step, y += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            y[j] = native_exp(x[j] - most[j]) * sum[j];
    }
}

NATIVE_INLINE void strip_log_softmax(const float *x, const float *unused, float *y, int64_t n, int64_t step,
                                     int width)
{
    float most[STRIP], sum[STRIP];
    (void)unused;
    strip_max(x, n, step, width, most);
    strip_sum_exp(x, n, step, width, most, sum);
    for (int j = 0; j < width; j++)
        sum[j] = logf(sum[j]);
    for (int64_t i = 0; i < n; i++, x += step, y += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            y[j] = (x[j] - most[j]) - sum[j];
    }
}

NATIVE_INLINE void strip_softmax_backward(const float *y, const float *dy, float *dx, int64_t n, int64_t step,
                                          int width)
{
    float sum[STRIP] = {0};
    for (int64_t i = 0; i < n; i++) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            sum[j] += y[i * step + j] * dy[i * step + j];
    }
    for (int64_t i = 0; i < n; i++, y += step, dy += step, dx += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            dx[j] = y[j] * (dy[j] - sum[j]);
    }
}

NATIVE_INLINE void strip_log_softmax_backward(const float *y, const float *dy, float *dx, int64_t n,
                                              int64_t step, int width)
{
    float sum[STRIP] = {0};
    for (int64_t i = 0; i < n; i++) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            sum[j] += dy[i * step + j];
    }
    for (int64_t i = 0; i < n; i++, y += step, dy += step, dx += step) {
        NATIVE_LOOP
        for (int j = 0; j < width; j++)
            dx[j] = dy[j] - native_exp(y[j]) * sum[j];
    }
}

typedef void row_kernel(const float *a, const float *b, float *y, int64_t n);
typedef void strip_kernel(const float *a, const float *b, float *y, int64_t n, int64_t step, int width);

#define SOFTMAX_KERNELS(name, isa, TARGET)                                                                   \
    TARGET static void rows_##name##_##isa(const float *a, const float *b, float *y, int64_t n)              \
    {                                                                                                        \
        row_##name(a, b, y, n);                                                                              \
    }                                                                                                        \
    TARGET static void strips_##name##_##isa(const float *a, const float *b, float *y, int64_t n,            \
                                             int64_t step, int width)                                        \
    {                                                                                                        \
        strip_##name(a, b, y, n, step, width);                                                               \
    }
#define SOFTMAX_WRAPPERS(isa, TARGET)                                                                        \
    SOFTMAX_KERNELS(softmax, isa, TARGET)                                                                    \
    SOFTMAX_KERNELS(log_softmax, isa, TARGET)                                                                \
    SOFTMAX_KERNELS(softmax_backward, isa, TARGET)                                                           \
    SOFTMAX_KERNELS(log_softmax_backward, isa, TARGET)
NATIVE_EACH_ISA(SOFTMAX_WRAPPERS)

/* ---- work ---- */

struct softmax_work {
    const float *a, *b; /* b: the second input, or the first again */
    float *y;
    int64_t n, inner, strips, units, per_chunk; /* a unit is a row, or a strip of one outer index */
    row_kernel *row;
    strip_kernel *strip;
};

static void softmax_chunk(void *user, int64_t chunk, int worker)
{
    const struct softmax_work *w = user;
    (void)worker;
    int64_t end = (chunk + 1) * w->per_chunk < w->units ? (chunk + 1) * w->per_chunk : w->units;
    for (int64_t u = chunk * w->per_chunk; u < end; u++) {
        if (w->inner == 1) {
            w->row(w->a + u * w->n, w->b + u * w->n, w->y + u * w->n, w->n);
            continue;
        }
        int64_t column = u % w->strips * STRIP, at = u / w->strips * w->n * w->inner + column;
        int width = (int)(w->inner - column < STRIP ? w->inner - column : STRIP);
        w->strip(w->a + at, w->b + at, w->y + at, w->n, w->inner, width);
    }
}

static plumb_status run_along(const plumb_call *call, row_kernel *row, strip_kernel *strip)
{
    const plumb_view *x = &call->in[0];
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    if (axis < 0)
        axis += x->rank;
    struct softmax_work w = {.a = x->data,
                             .b = call->in[call->n_in - 1].data,
                             .y = call->out[0].data,
                             .n = x->dim[axis],
                             .inner = 1,
                             .row = row,
                             .strip = strip};
    for (int d = axis + 1; d < x->rank; d++)
        w.inner *= x->dim[d];
    int64_t count = plumb_view_count(x);
    if (count == 0)
        return PLUMB_OK;
    w.strips = (w.inner + STRIP - 1) / STRIP;
    w.units = count / w.n / w.inner * w.strips;
    int64_t unit = w.n * (w.inner < STRIP ? w.inner : STRIP);
    w.per_chunk = unit < CHUNK ? CHUNK / unit : 1;
    plumb_pool_run(call->pool, (w.units + w.per_chunk - 1) / w.per_chunk, softmax_chunk, &w);
    return PLUMB_OK;
}

static bool supports_contiguous(const plumb_call *call)
{
    bool good = true;
    for (int i = 0; i < call->n_in; i++)
        good = good && plumb_view_contiguous(&call->in[i]);
    for (int i = 0; i < call->n_out; i++)
        good = good && plumb_view_contiguous(&call->out[i]);
    return good;
}

/* ---- cross-entropy: a row of logits per example ---- */

struct entropy_work {
    const plumb_call *call;
    const float *x, *weights; /* weights NULL: all 1 */
    const float *dloss;       /* backward */
    float *loss, *weight, *dx;
    double smoothing;
    bool logarithms;
    int64_t rows, classes, per_chunk;
    void (*kernel)(const struct entropy_work *w, int64_t begin, int64_t end);
};

/* Labels were checked before; ignored ones give -1. */
static int64_t label_of(const plumb_call *call, int64_t n)
{
    const plumb_attr_cross_entropy *attr = call->attr;
    const plumb_view *v = &call->in[1];
    int64_t label = v->dtype == PLUMB_I32 ? ((const int32_t *)v->data)[n] : ((const int64_t *)v->data)[n];
    return attr->use_ignore_index && label == attr->ignore_index ? -1 : label;
}

static plumb_status check_labels(const plumb_call *call)
{
    const plumb_attr_cross_entropy *attr = call->attr;
    const plumb_view *v = &call->in[1];
    int64_t classes = call->in[0].dim[1];
    for (int64_t n = 0; n < v->dim[0]; n++) {
        int64_t label = v->dtype == PLUMB_I32 ? ((const int32_t *)v->data)[n] : ((const int64_t *)v->data)[n];
        bool good =
            (label >= 0 && label < classes) || (attr->use_ignore_index && label == attr->ignore_index);
        if (!good)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "label %lld at %lld is outside [0, %lld)",
                                   (long long)label, (long long)n, (long long)classes);
    }
    return PLUMB_OK;
}

static float weight_of(const struct entropy_work *w, int64_t c) { return w->weights ? w->weights[c] : 1; }

/* What a class of mass `mass` adds to the loss; mass 0 adds nothing, even to -log 0. */
static double entropy_term(double mass, double minus_log_p)
{
    return mass == 0 && !isnan(minus_log_p) ? 0 : mass * minus_log_p;
}

NATIVE_INLINE void entropy_rows(const struct entropy_work *w, int64_t begin, int64_t end)
{
    for (int64_t n = begin; n < end; n++) {
        const float *x = w->x + n * w->classes;
        int64_t label = label_of(w->call, n);
        w->loss[n] = w->weight[n] = 0;
        if (label < 0)
            continue;
        float most = w->logarithms ? 0 : row_max(x, w->classes);
        double shift = w->logarithms ? 0 : log((double)row_sum_exp(x, w->classes, most));
        double total =
            entropy_term((1 - w->smoothing) * weight_of(w, label), shift - (double)(x[label] - most));
        if (w->smoothing > 0) {
            double each = w->smoothing / (double)w->classes;
            for (int64_t c = 0; c < w->classes; c++)
                total += entropy_term(each * weight_of(w, c), shift - (double)(x[c] - most));
        }
        w->loss[n] = (float)total;
        w->weight[n] = weight_of(w, label);
    }
}

/* dx = dloss (softmax * sum(t) - t) */
NATIVE_INLINE void entropy_backward_rows(const struct entropy_work *w, int64_t begin, int64_t end)
{
    int64_t classes = w->classes;
    double each = w->smoothing / (double)classes, spread = 0;
    for (int64_t c = 0; c < classes && w->smoothing > 0; c++)
        spread += each * weight_of(w, c);
    for (int64_t n = begin; n < end; n++) {
        const float *x = w->x + n * classes;
        float *dx = w->dx + n * classes;
        int64_t label = label_of(w->call, n);
        if (label < 0) {
            memset(dx, 0, sizeof *dx * (size_t)classes);
            continue;
        }
        double at_label = (1 - w->smoothing) * weight_of(w, label), d = w->dloss[n];
        float scale = 0, flat = (float)(d * each);
        if (w->logarithms) {
            for (int64_t c = 0; c < classes; c++)
                dx[c] = (float)(d * 0); /* which a NaN is not */
        } else {
            row_exp(x, dx, classes, row_max(x, classes));
            scale = (float)(d * (at_label + spread) / row_sum(dx, classes));
        }
        if (w->smoothing > 0) {
            for (int64_t c = 0; c < classes; c++)
                dx[c] = dx[c] * scale - flat * weight_of(w, c);
        } else {
            NATIVE_LOOP
            for (int64_t c = 0; c < classes; c++)
                dx[c] *= scale;
        }
        dx[label] -= (float)(d * at_label);
    }
}

#define ENTROPY_WRAPPERS(isa, TARGET)                                                                        \
    TARGET static void entropy_##isa(const struct entropy_work *w, int64_t begin, int64_t end)               \
    {                                                                                                        \
        entropy_rows(w, begin, end);                                                                         \
    }                                                                                                        \
    TARGET static void entropy_backward_##isa(const struct entropy_work *w, int64_t begin, int64_t end)      \
    {                                                                                                        \
        entropy_backward_rows(w, begin, end);                                                                \
    }
NATIVE_EACH_ISA(ENTROPY_WRAPPERS)

static void entropy_chunk(void *user, int64_t chunk, int worker)
{
    const struct entropy_work *w = user;
    (void)worker;
    int64_t end = (chunk + 1) * w->per_chunk;
    w->kernel(w, chunk * w->per_chunk, end < w->rows ? end : w->rows);
}

static plumb_status run_entropy(const plumb_call *call, struct entropy_work *w)
{
    plumb_status status = check_labels(call);
    if (status)
        return status;
    w->call = call;
    w->x = call->in[0].data;
    w->rows = call->in[0].dim[0];
    w->classes = call->in[0].dim[1];
    w->smoothing = ((const plumb_attr_cross_entropy *)call->attr)->label_smoothing;
    w->logarithms = ((const plumb_attr_cross_entropy *)call->attr)->logarithms;
    w->per_chunk = w->classes > 0 && w->classes < CHUNK ? CHUNK / w->classes : 1;
    plumb_pool_run(call->pool, (w->rows + w->per_chunk - 1) / w->per_chunk, entropy_chunk, w);
    return PLUMB_OK;
}

static plumb_status run_cross_entropy(const plumb_call *call)
{
    struct entropy_work w = {.loss = call->out[0].data,
                             .weight = call->out[1].data,
                             .weights = call->n_in > 2 ? call->in[2].data : NULL,
                             .kernel = NATIVE_PICK(entropy, call->isa)};
    return run_entropy(call, &w);
}

static plumb_status run_cross_entropy_backward(const plumb_call *call)
{
    struct entropy_work w = {.dloss = call->in[2].data,
                             .dx = call->out[0].data,
                             .weights = call->n_in > 3 ? call->in[3].data : NULL,
                             .kernel = NATIVE_PICK(entropy_backward, call->isa)};
    return run_entropy(call, &w);
}

#define SOFTMAX_IMPL(name_)                                                                                  \
    static plumb_status run_##name_(const plumb_call *call)                                                  \
    {                                                                                                        \
        return run_along(call, NATIVE_PICK(rows_##name_, call->isa),                                         \
                         NATIVE_PICK(strips_##name_, call->isa));                                            \
    }                                                                                                        \
    ENTROPY_IMPL(name_)
#define ENTROPY_IMPL(name_)                                                                                  \
    const plumb_impl plumb_impl_##name_##_native = {.op = &plumb_op_##name_,                                 \
                                                    .name = "cpu.native",                                    \
                                                    .dtypes = PLUMB_BIT(PLUMB_F32),                          \
                                                    .supports = supports_contiguous,                         \
                                                    .run = run_##name_}

SOFTMAX_IMPL(softmax);
SOFTMAX_IMPL(log_softmax);
SOFTMAX_IMPL(softmax_backward);
SOFTMAX_IMPL(log_softmax_backward);
ENTROPY_IMPL(cross_entropy);
ENTROPY_IMPL(cross_entropy_backward);
