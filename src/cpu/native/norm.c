/* Batch normalisation: the choice of a form, and that of row-major f32 tensors (N, C, S), S the elements of a plane. The
 * other form, channels in lanes, is norm_columns.c's.
 *
 * Training reads x twice: once for the sums, once to write y; the backward form likewise. Sums are kept in
 * double, of values less a number near the channel's mean, so that a mean large against the spread costs
 * no digits. Work is cut into blocks of images times channels; the sums of the blocks of a channel meet in
 * order, so results do not depend on who computed what. Where there is an activation to go back through, the
 * sums' pass leaves dy before it where the second pass finds it: in the residual's gradient, or else in dx. */
#include "cpu/native/columns.h"
#include "cpu/native/norm.h"
#include "cpu/native/vector.h"

#include <math.h>

enum { CHUNK = 1 << 14 }; /* elements per piece of work */

/* Two sums over one channel of one block. */
struct sums {
    double first, second;
};

struct norm_work {
    const plumb_call *call;
    const float *x, *dy;             /* dy NULL: forward */
    const float *residual;           /* forward; NULL: none */
    const float *y, *raw;            /* backward through relu, else NULL: dy is `raw` where y > 0 */
    int64_t raw_step[2];             /* between images, channels */
    bool raw_next;                   /* false: it is one number over each plane */
    float *masked;                   /* dy, which the sums' pass makes of these */
    float *to;                       /* y or dx */
    bool relu;                       /* forward */
    int64_t n, c, s, images, blocks; /* images in a block, blocks of a channel */
    struct sums *sums;               /* [c][blocks] */
    struct norm_line *line;               /* [c] */
    void (*sum)(struct norm_work *t, int64_t channel, int64_t block);
    void (*apply)(struct norm_work *t, int64_t channel, int64_t block);
};

/* ---- rows of a plane ---- */

/* Vectors are spelt out where sums change type on the way: compilers do not find them in such loops. */
enum { LANES = 4, SETS = 4 };
typedef float lanes_f32 __attribute__((vector_size(LANES * 4)));
typedef double lanes_f64 __attribute__((vector_size(LANES * 8)));

NATIVE_INLINE void load(const float *x, lanes_f64 *to)
{
    lanes_f32 narrow;
    memcpy(&narrow, x, sizeof narrow);
    *to = __builtin_convertvector(narrow, lanes_f64);
}

/* The two sums of a block while they are added up: in lanes, and what is left of each row. */
struct lanes {
    lanes_f64 first[SETS], second[SETS];
    struct sums rest;
};

NATIVE_INLINE double join(const lanes_f64 *set)
{
    lanes_f64 four = (set[0] + set[1]) + (set[2] + set[3]);
    return (four[0] + four[1]) + (four[2] + four[3]);
}

/* Forward: sum (x - centre) and sum (x - centre)^2. Backward: sum dy and sum dy (x - centre). */
NATIVE_INLINE void row_sums(const float *x, const float *dy, int64_t n, double centre, struct lanes *sum)
{
    int64_t i = 0;
    for (; i + LANES * SETS <= n; i += LANES * SETS) {
        for (int k = 0; k < SETS; k++) {
            lanes_f64 d, e;
            load(x + i + k * LANES, &d);
            d -= centre;
            if (dy)
                load(dy + i + k * LANES, &e);
            else
                e = d;
            sum->first[k] += e;
            sum->second[k] += e * d;
        }
    }
    for (; i < n; i++) {
        double d = (double)x[i] - centre, e = dy ? (double)dy[i] : d;
        sum->rest.first += e;
        sum->rest.second += e * d;
    }
}

/* What relu lets through: not-a-numbers too. */
NATIVE_INLINE void row_mask(const float *raw, bool next, const float *y, int64_t n, float *dy)
{
    float same = n > 0 ? raw[0] : 0;
    if (next) {
        NATIVE_LOOP
        for (int64_t i = 0; i < n; i++)
            dy[i] = y[i] <= 0 ? 0 : raw[i];
        return;
    }
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++)
        dy[i] = y[i] <= 0 ? 0 : same;
}

/* Image n, channels (or a plane of) c.. */
NATIVE_INLINE void mask(const struct norm_work *t, int64_t n, int64_t c, int64_t count)
{
    int64_t at = (n * t->c + c) * t->s;
    row_mask(t->raw + n * t->raw_step[0] + c * t->raw_step[1], t->raw_next, t->y + at, count, t->masked + at);
}

/* `plus` and `relu` are constants where this is called, so each loop has one form. */
NATIVE_INLINE void row_forward(const float *x, const float *residual, int64_t n, struct norm_line a, float *to, bool plus,
                               bool relu)
{
    NATIVE_LOOP
    for (int64_t i = 0; i < n; i++) {
        float y = (x[i] - a.centre) * a.factor + a.shift;
        y = plus ? y + residual[i] : y;
        to[i] = relu && y <= 0 ? 0 : y;
    }
}

NATIVE_INLINE void row_apply(const struct norm_work *t, int64_t at, struct norm_line a)
{
    const float *x = t->x + at, *dy = t->dy, *residual = t->residual;
    float *to = t->to + at;
    int64_t n = t->s;
    if (dy) {
        dy += at;
        NATIVE_LOOP
        for (int64_t i = 0; i < n; i++)
            to[i] = dy[i] * a.factor + ((x[i] - a.centre) * a.slope + a.shift);
    } else if (residual && t->relu) {
        row_forward(x, residual + at, n, a, to, true, true);
    } else if (residual) {
        row_forward(x, residual + at, n, a, to, true, false);
    } else if (t->relu) {
        row_forward(x, NULL, n, a, to, false, true);
    } else {
        row_forward(x, NULL, n, a, to, false, false);
    }
}

/* ---- blocks of planes of one channel ---- */

NATIVE_INLINE int64_t block_end(const struct norm_work *t, int64_t block)
{
    return (block + 1) * t->images < t->n ? (block + 1) * t->images : t->n;
}

NATIVE_INLINE void sum_planes(struct norm_work *t, int64_t c, int64_t block)
{
    struct lanes sum;
    double centre = (double)t->line[c].centre;
    int64_t begin = block * t->images, end = block_end(t, block), step = t->c * t->s;
    const float *x = t->x + (begin * t->c + c) * t->s, *dy = t->dy ? t->dy + (begin * t->c + c) * t->s : NULL;
    memset(&sum, 0, sizeof sum);
    for (int64_t n = begin; t->y && n < end; n++)
        mask(t, n, c, t->s);
    if (dy)
        for (int64_t n = begin; n < end; n++, x += step, dy += step)
            row_sums(x, dy, t->s, centre, &sum);
    else
        for (int64_t n = begin; n < end; n++, x += step)
            row_sums(x, NULL, t->s, centre, &sum);
    t->sums[c * t->blocks + block] =
        (struct sums){join(sum.first) + sum.rest.first, join(sum.second) + sum.rest.second};
}

NATIVE_INLINE void apply_planes(struct norm_work *t, int64_t c, int64_t block)
{
    for (int64_t n = block * t->images; n < block_end(t, block); n++)
        row_apply(t, (n * t->c + c) * t->s, t->line[c]);
}

#define NORM_WRAPPER(name, isa, TARGET)                                                                      \
    TARGET static void name##_##isa(struct norm_work *t, int64_t channel, int64_t block)                     \
    {                                                                                                        \
        name(t, channel, block);                                                                             \
    }
#define NORM_WRAPPERS(isa, TARGET)                                                                           \
    NORM_WRAPPER(sum_planes, isa, TARGET)                                                                    \
    NORM_WRAPPER(apply_planes, isa, TARGET)
NATIVE_EACH_ISA(NORM_WRAPPERS)

/* ---- work ---- */

static void sum_chunk(void *user, int64_t chunk, int worker)
{
    struct norm_work *t = user;
    (void)worker;
    t->sum(t, chunk / t->blocks, chunk % t->blocks);
}

static void apply_chunk(void *user, int64_t chunk, int worker)
{
    struct norm_work *t = user;
    (void)worker;
    t->apply(t, chunk / t->blocks, chunk % t->blocks);
}

/* Sizes, and how the images are cut into blocks. */
static struct norm_work cut(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    struct norm_work t = {.call = call, .n = x->dim[0], .c = x->dim[1], .s = 1};
    for (int d = 2; d < x->rank; d++)
        t.s *= x->dim[d];
    t.images = t.s < CHUNK ? CHUNK / (t.s + 1) : 1;
    t.blocks = (t.n + t.images - 1) / t.images;
    return t;
}

static struct norm_work prepare(const plumb_call *call)
{
    struct norm_work t = cut(call);
    t.x = call->in[0].data;
    t.to = call->out[0].data;
    t.sums = call->workspace;
    t.line = (struct norm_line *)(void *)(t.sums + t.c * t.blocks);
    t.sum = NATIVE_PICK(sum_planes, call->isa);
    t.apply = NATIVE_PICK(apply_planes, call->isa);
    return t;
}

/* One number over each plane, as the gradient of a mean is: it is looked at once, to be masked. */
static bool one_each(const plumb_view *dy)
{
    int64_t plane = 1;
    bool same = true;
    for (int d = 2; d < dy->rank; d++) {
        plane *= dy->dim[d];
        same = same && (dy->dim[d] == 1 || dy->stride[d] == 0);
    }
    return same && plane > 1;
}

static struct norm_work prepare_forward(const plumb_call *call)
{
    const plumb_attr_batch_norm *attr = call->attr;
    struct norm_work t = prepare(call);
    t.residual = call->n_in > 5 ? call->in[5].data : NULL;
    t.relu = attr->activation == PLUMB_ACTIVATION_RELU;
    return t;
}

static struct norm_work prepare_backward(const plumb_call *call)
{
    struct norm_work t = prepare(call);
    t.dy = call->in[4].data;
    if (call->n_in > 5) {
        const plumb_view *raw = &call->in[4];
        t.raw = raw->data;
        t.raw_step[0] = raw->stride[0], t.raw_step[1] = raw->stride[1];
        t.raw_next = !one_each(raw);
        t.y = call->in[5].data;
        t.dy = t.masked = call->out[call->n_out > 3 ? 3 : 0].data;
    }
    return t;
}

static int64_t chunks(const struct norm_work *t) { return t->c * t->blocks; }

static struct sums total(const struct norm_work *t, int64_t c)
{
    struct sums sum = {0, 0};
    for (int64_t b = 0; b < t->blocks; b++) {
        sum.first += t->sums[c * t->blocks + b].first;
        sum.second += t->sums[c * t->blocks + b].second;
    }
    return sum;
}

static const float *channels(const plumb_view *view) { return view->data; }

/* y = scale (x - mean) invstd + shift; what rounding takes from the mean goes into the shift. */
static struct norm_line forward_line(double mean, double invstd, double scale, double shift)
{
    struct norm_line a = {.centre = (float)mean, .factor = (float)(scale * invstd)};
    a.shift = (float)(shift - (mean - (double)a.centre) * scale * invstd);
    return a;
}

struct norm_line plumb_norm_finish(const plumb_call *call, int64_t c, int64_t m, double mean, double variance)
{
    const plumb_attr_batch_norm *attr = call->attr;
    if (variance < 0) /* rounding; a NaN stays */
        variance = 0;
    double invstd = 1 / sqrt(variance + attr->epsilon), rate = m ? attr->momentum : 0;
    double observed = attr->biased_running || m < 2 ? variance : variance * (double)m / (double)(m - 1);
    ((float *)call->out[1].data)[c] = (float)mean;
    ((float *)call->out[2].data)[c] = (float)invstd;
    ((float *)call->out[3].data)[c] = (float)((1 - rate) * channels(&call->in[3])[c] + rate * mean);
    ((float *)call->out[4].data)[c] = (float)((1 - rate) * channels(&call->in[4])[c] + rate * observed);
    return forward_line(mean, invstd, channels(&call->in[1])[c], channels(&call->in[2])[c]);
}

struct norm_line plumb_norm_running(const plumb_call *call, int64_t c)
{
    const plumb_attr_batch_norm *attr = call->attr;
    double invstd = 1 / sqrt((double)channels(&call->in[4])[c] + attr->epsilon);
    return forward_line(channels(&call->in[3])[c], invstd, channels(&call->in[1])[c], channels(&call->in[2])[c]);
}

/* With z = (x - mean) invstd: dx = scale invstd (dy - mean(dy) - z mean(dy z)). */
struct norm_line plumb_norm_finish_backward(const plumb_call *call, int64_t c, int64_t m, double sum, double weighted)
{
    double invstd = channels(&call->in[3])[c], factor = channels(&call->in[1])[c] * invstd;
    double dscale = m > 0 ? weighted * invstd : 0; /* of nothing: 0, even times a NaN */
    ((float *)call->out[1].data)[c] = (float)dscale;
    ((float *)call->out[2].data)[c] = (float)sum;
    return (struct norm_line){.centre = channels(&call->in[2])[c],
                              .factor = (float)factor,
                              .slope = (float)(-factor * invstd * dscale / (double)m),
                              .shift = (float)(-factor * sum / (double)m)};
}

/* ---- runs ---- */

static plumb_status run_batch_norm(const plumb_call *call)
{
    int64_t m = columns_rows(&call->in[0]);
    if (m == 1 && call->in[0].dim[1] > 0)
        return plumb_call_fail(call, PLUMB_BAD_INPUT, "training needs more than one value per channel");
    if (plumb_norm_columns_supports(call))
        return plumb_norm_columns_training(call);
    struct norm_work t = prepare_forward(call);
    for (int64_t c = 0; c < t.c; c++)
        t.line[c].centre = m ? t.x[c * t.s] : 0;
    plumb_pool_run(call->pool, chunks(&t), sum_chunk, &t);
    for (int64_t c = 0; c < t.c; c++) {
        struct sums sum = total(&t, c);
        double offset = m ? sum.first / (double)m : 0, variance = m ? sum.second / (double)m - offset * offset : 0;
        t.line[c] = plumb_norm_finish(call, c, m, (double)t.line[c].centre + offset, variance);
    }
    plumb_pool_run(call->pool, chunks(&t), apply_chunk, &t);
    return PLUMB_OK;
}

static plumb_status run_inference(const plumb_call *call)
{
    if (plumb_norm_columns_supports(call))
        return plumb_norm_columns_inference(call);
    struct norm_work t = prepare_forward(call);
    for (int64_t c = 0; c < t.c; c++)
        t.line[c] = plumb_norm_running(call, c);
    plumb_pool_run(call->pool, chunks(&t), apply_chunk, &t);
    return PLUMB_OK;
}

static plumb_status run_backward(const plumb_call *call)
{
    if (plumb_norm_columns_supports(call))
        return plumb_norm_columns_backward(call);
    struct norm_work t = prepare_backward(call);
    for (int64_t c = 0; c < t.c; c++)
        t.line[c].centre = channels(&call->in[2])[c];
    plumb_pool_run(call->pool, chunks(&t), sum_chunk, &t);
    for (int64_t c = 0; c < t.c; c++) {
        struct sums sum = total(&t, c);
        t.line[c] = plumb_norm_finish_backward(call, c, t.n * t.s, sum.first, sum.second);
    }
    plumb_pool_run(call->pool, chunks(&t), apply_chunk, &t);
    return PLUMB_OK;
}

/* ---- rows of the table ---- */

static bool supports_planes(const plumb_call *call)
{
    bool good = call->in[0].dtype == PLUMB_F32, masks = call->op == &plumb_op_batch_norm_backward && call->n_in > 5;
    for (int i = 0; i < call->n_in; i++)
        good = good && (plumb_view_contiguous(&call->in[i]) || (masks && i == 4 && one_each(&call->in[4])));
    for (int i = 0; i < call->n_out; i++)
        good = good && plumb_view_contiguous(&call->out[i]);
    return good;
}

static bool supports(const plumb_call *call) { return plumb_norm_columns_supports(call) || supports_planes(call); }

static size_t workspace(const plumb_call *call)
{
    if (plumb_norm_columns_supports(call))
        return plumb_norm_columns_workspace(call);
    struct norm_work t = cut(call);
    return sizeof(struct sums) * (size_t)(t.c * t.blocks) + sizeof(struct norm_line) * (size_t)t.c;
}

const plumb_impl plumb_impl_batch_norm_native = {
    .op = &plumb_op_batch_norm,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run_batch_norm,
};

const plumb_impl plumb_impl_batch_norm_inference_native = {
    .op = &plumb_op_batch_norm_inference,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run_inference,
};

const plumb_impl plumb_impl_batch_norm_backward_native = {
    .op = &plumb_op_batch_norm_backward,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run_backward,
};
