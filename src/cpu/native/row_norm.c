/* Layer, group, instance and RMS norm of f32 and bf16, computed in f32; parameters and statistics are f32. A row (a group of
 * an example) lies in one piece, so sums run along it in lanes, and blocks of them are added in double; the mean is
 * corrected by what is left over when it is taken off, so that equal values have variance 0 exactly.
 *
 * Work is cut into chunks of rows by shapes alone. A chunk sums for scale and shift into accumulators of its own: with one
 * value to a channel a few rows are added in f32 and go to doubles, otherwise the sums over a channel's places do. */
#include "cpu/native/half.h"
#include "op/attr.h"

#include <math.h>

enum { BLOCK = 512, ROWS = 16, CHUNK = 1 << 13, CHUNKS = 32 }; /* values and rows added in f32; values of a chunk; chunks */
enum { Y, INVSTD, MEAN };
enum { B_X, B_DY, B_INVSTD, B_REST };

struct work {
    const char *x, *dy;
    char *y;                   /* or dx */
    const float *scale, *shift; /* (channels); ones and zeros where there are none */
    float *invstd, *mean;      /* (rows); mean NULL: not centred */
    int64_t groups, channels, s, rows, per_chunk, chunks; /* channels of an example */
    float epsilon;
    double *sums;              /* [chunk][2][channels], of dy z and of dy; NULL: not wanted */
    float *few;                /* the same, of the last rows */
    void (*kernel)(const struct work *w, int64_t chunk);
};

/* ---- rows ---- */

/* sum (x - centre), and of its square */
NATIVE_INLINE void row_moments(plumb_dtype type, const char *x, int64_t n, float centre, double *sum, double *square)
{
    *sum = *square = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        float first[NATIVE_LANES] = {0}, second[NATIVE_LANES] = {0}, rest = 0, rest_square = 0;
        int64_t end = at + BLOCK < n ? at + BLOCK : n, i = at;
        for (; i + NATIVE_LANES <= end; i += NATIVE_LANES)
            for (int l = 0; l < NATIVE_LANES; l++) {
                float d = native_load(type, x, i + l) - centre;
                first[l] += d;
                second[l] += d * d;
            }
        for (; i < end; i++) {
            float d = native_load(type, x, i) - centre;
            rest += d;
            rest_square += d * d;
        }
        *sum += (double)(native_sum_join(first) + rest);
        *square += (double)(native_sum_join(second) + rest_square);
    }
}

/* sum dy, and of dy (x - mean) */
NATIVE_INLINE void row_products(plumb_dtype type, const char *x, const char *dy, int64_t n, float mean, double *plain,
                                double *weighted)
{
    *plain = *weighted = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        float first[NATIVE_LANES] = {0}, second[NATIVE_LANES] = {0}, rest = 0, rest_product = 0;
        int64_t end = at + BLOCK < n ? at + BLOCK : n, i = at;
        for (; i + NATIVE_LANES <= end; i += NATIVE_LANES)
            for (int l = 0; l < NATIVE_LANES; l++) {
                float d = native_load(type, dy, i + l);
                first[l] += d;
                second[l] += d * (native_load(type, x, i + l) - mean);
            }
        for (; i < end; i++) {
            float d = native_load(type, dy, i);
            rest += d;
            rest_product += d * (native_load(type, x, i) - mean);
        }
        *plain += (double)(native_sum_join(first) + rest);
        *weighted += (double)(native_sum_join(second) + rest_product);
    }
}

/* The same where every value is a channel: sum d and d (x - mean) with d = dy scale; what goes to the channels is added. */
NATIVE_INLINE void row_products_by_channel(plumb_dtype type, const char *x, const char *dy, int64_t n, float mean,
                                           float invstd, const float *scale, float *dscale, float *dshift, double *plain,
                                           double *weighted)
{
    *plain = *weighted = 0;
    for (int64_t at = 0; at < n; at += BLOCK) {
        float first[NATIVE_LANES] = {0}, second[NATIVE_LANES] = {0};
        int64_t end = at + BLOCK < n ? at + BLOCK : n;
        for (int64_t i = at; i < end; i += NATIVE_LANES) {
            int lanes = end - i < NATIVE_LANES ? (int)(end - i) : NATIVE_LANES;
            NATIVE_LOOP
            for (int l = 0; l < lanes; l++) {
                float d = native_load(type, dy, i + l), c = native_load(type, x, i + l) - mean, scaled = d * scale[i + l];
                dscale[i + l] += d * (c * invstd);
                dshift[i + l] += d;
                first[l] += scaled;
                second[l] += scaled * c;
            }
        }
        *plain += (double)native_sum_join(first);
        *weighted += (double)native_sum_join(second);
    }
}

/* ---- forward ---- */

NATIVE_INLINE void forward(plumb_dtype type, const struct work *w, int64_t r)
{
    int64_t channels = w->channels / w->groups, m = channels * w->s, c = r % w->groups * channels, size = native_size(type);
    const char *x = w->x + r * m * size;
    char *y = w->y + r * m * size;
    double sum, square;
    float mean = 0, left = 0; /* left: what the mean is more than `mean`; between close values it counts */
    if (w->mean) {
        row_moments(type, x, m, 0, &sum, &square);
        mean = m > 0 ? (float)(sum / (double)m) : 0;
    }
    row_moments(type, x, m, mean, &sum, &square);
    if (w->mean && m > 0) {
        left = (float)(sum / (double)m);
        square -= sum * sum / (double)m;
        square = square < 0 ? 0 : square;
    }
    float invstd = (float)(1 / sqrt((m > 0 ? square / (double)m : 0) + (double)w->epsilon));
    w->invstd[r] = invstd;
    if (w->mean)
        w->mean[r] = mean + left;
    if (w->s == 1) {
        const float *scale = w->scale + c, *shift = w->shift + c;
        NATIVE_LOOP
        for (int64_t i = 0; i < m; i++)
            native_store(type, y, i, (native_load(type, x, i) - mean - left) * invstd * scale[i] + shift[i]);
        return;
    }
    for (int64_t k = c; k < c + channels; k++, x += w->s * size, y += w->s * size) {
        float scale = w->scale[k], shift = w->shift[k];
        NATIVE_LOOP
        for (int64_t i = 0; i < w->s; i++)
            native_store(type, y, i, (native_load(type, x, i) - mean - left) * invstd * scale + shift);
    }
}

NATIVE_INLINE int64_t chunk_end(const struct work *w, int64_t chunk)
{
    return (chunk + 1) * w->per_chunk < w->rows ? (chunk + 1) * w->per_chunk : w->rows;
}

NATIVE_INLINE void forward_chunk(plumb_dtype type, const struct work *w, int64_t chunk)
{
    for (int64_t r = chunk * w->per_chunk; r < chunk_end(w, chunk); r++)
        forward(type, w, r);
}

/* ---- backward: dx = invstd (d - mean(d) - z mean(d z)), d = dy scale, z = (x - mean) invstd ---- */

/* Sums of one row; those of the channels are added to `sums`, or to `few` where every value is a channel. */
NATIVE_INLINE void backward_sums(plumb_dtype type, const struct work *w, int64_t r, double *sums, float *few, double *plain,
                                 double *weighted)
{
    int64_t channels = w->channels / w->groups, c = r % w->groups * channels, size = native_size(type);
    const char *x = w->x + r * channels * w->s * size, *dy = w->dy + r * channels * w->s * size;
    float mean = w->mean ? w->mean[r] : 0, invstd = w->invstd[r];
    if (w->s == 1) {
        row_products_by_channel(type, x, dy, channels, mean, invstd, w->scale + c, few + c, few + w->channels + c, plain,
                                weighted);
        return;
    }
    *plain = *weighted = 0;
    for (int64_t k = c; w->s > 0 && k < c + channels; k++, x += w->s * size, dy += w->s * size) {
        double first, second;
        row_products(type, x, dy, w->s, mean, &first, &second);
        *plain += first * (double)w->scale[k];
        *weighted += second * (double)w->scale[k];
        sums[k] += second * (double)invstd;
        sums[w->channels + k] += first;
    }
}

NATIVE_INLINE void backward(plumb_dtype type, const struct work *w, int64_t r, double plain, double weighted)
{
    int64_t channels = w->channels / w->groups, m = channels * w->s, c = r % w->groups * channels, size = native_size(type);
    const char *x = w->x + r * m * size, *dy = w->dy + r * m * size;
    char *dx = w->y + r * m * size;
    float mean = w->mean ? w->mean[r] : 0, invstd = w->invstd[r];
    float level = w->mean ? (float)(plain / (double)m * (double)invstd) : 0;
    float slope = (float)(weighted / (double)m * (double)invstd * (double)invstd * (double)invstd);
    if (w->s == 1) {
        const float *scale = w->scale + c;
        NATIVE_LOOP
        for (int64_t i = 0; i < m; i++)
            native_store(type, dx, i, native_load(type, dy, i) * scale[i] * invstd - level - (native_load(type, x, i) - mean) * slope);
        return;
    }
    for (int64_t k = c; k < c + channels; k++, x += w->s * size, dy += w->s * size, dx += w->s * size) {
        float factor = w->scale[k] * invstd;
        NATIVE_LOOP
        for (int64_t i = 0; i < w->s; i++)
            native_store(type, dx, i, native_load(type, dy, i) * factor - level - (native_load(type, x, i) - mean) * slope);
    }
}

NATIVE_INLINE void empty(float *few, double *sums, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        sums[i] += (double)few[i];
        few[i] = 0;
    }
}

NATIVE_INLINE void backward_chunk(plumb_dtype type, const struct work *w, int64_t chunk)
{
    double *sums = w->sums + chunk * 2 * w->channels, plain, weighted;
    float *few = w->few + chunk * 2 * w->channels;
    int64_t begin = chunk * w->per_chunk;
    memset(sums, 0, sizeof *sums * 2 * (size_t)w->channels);
    memset(few, 0, sizeof *few * 2 * (size_t)w->channels);
    for (int64_t r = begin; r < chunk_end(w, chunk); r++) {
        backward_sums(type, w, r, sums, few, &plain, &weighted);
        backward(type, w, r, plain, weighted);
        if ((r - begin) % (ROWS * w->groups) == ROWS * w->groups - 1)
            empty(few, sums, 2 * w->channels);
    }
    empty(few, sums, 2 * w->channels);
}

#define KERNEL(isa, TARGET, name, type)                                                                               \
    TARGET static void name##_##type##_##isa(const struct work *w, int64_t chunk) { name(PLUMB_##type, w, chunk); }
#define EACH(isa, TARGET)                                                                                             \
    KERNEL(isa, TARGET, forward_chunk, F32)                                                                           \
    KERNEL(isa, TARGET, forward_chunk, BF16)                                                                          \
    KERNEL(isa, TARGET, backward_chunk, F32)                                                                          \
    KERNEL(isa, TARGET, backward_chunk, BF16)
NATIVE_EACH_ISA(EACH)
#define PICK(name, call)                                                                                              \
    ((call)->in[0].dtype == PLUMB_F32 ? NATIVE_PICK(name##_F32, (call)->isa) : NATIVE_PICK(name##_BF16, (call)->isa))

/* ---- work ---- */

/* Everything in one piece, parameters in f32. */
static bool supports(const plumb_call *call)
{
    bool good = true;
    for (int i = 0; i < call->n_in; i++)
        good = good && plumb_view_contiguous(&call->in[i]) &&
               (call->in[i].rank == 3 || call->in[i].dtype == PLUMB_F32);
    for (int i = 0; i < call->n_out; i++)
        good = good && plumb_view_contiguous(&call->out[i]);
    return good;
}

static struct work work_of(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    const plumb_view *x = &call->in[0];
    struct work w = {.x = x->data, .y = call->out[0].data, .groups = attr->groups, .channels = x->dim[1], .s = x->dim[2],
                     .rows = x->dim[0] * attr->groups, .epsilon = (float)attr->epsilon};
    int64_t count = plumb_view_count(x), most = count / CHUNK < CHUNKS ? count / CHUNK : CHUNKS;
    most = most < 1 ? 1 : most;
    w.per_chunk = (w.rows + most - 1) / most;
    w.per_chunk = w.per_chunk < 1 ? 1 : w.per_chunk;
    w.chunks = (w.rows + w.per_chunk - 1) / w.per_chunk;
    return w;
}

/* Ones, zeros; backward: the sums of chunks. */
static size_t workspace_forward(const plumb_call *call) { return 2 * sizeof(float) * (size_t)call->in[0].dim[1]; }
static size_t workspace_backward(const plumb_call *call)
{
    struct work w = work_of(call);
    return (size_t)w.channels * (sizeof(float) + (size_t)w.chunks * 2 * (sizeof(double) + sizeof(float)));
}

static const float *filled(float *room, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++)
        room[i] = value;
    return room;
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    (void)worker;
    w->kernel(w, chunk);
}

static plumb_status run_forward(const plumb_call *call)
{
    struct work w = work_of(call);
    float *room = call->workspace;
    w.scale = call->n_in > 1 ? call->in[1].data : filled(room, w.channels, 1);
    w.shift = call->n_in > 2 ? call->in[2].data : filled(room + w.channels, w.channels, 0);
    w.invstd = call->out[INVSTD].data;
    w.mean = call->n_out > MEAN ? call->out[MEAN].data : NULL;
    w.kernel = PICK(forward_chunk, call);
    plumb_pool_run(call->pool, w.chunks, run_chunk, &w);
    return PLUMB_OK;
}

static plumb_status run_backward(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    struct work w = work_of(call);
    w.dy = call->in[B_DY].data;
    w.invstd = call->in[B_INVSTD].data;
    w.mean = attr->centred ? call->in[B_REST].data : NULL;
    w.sums = call->workspace;
    w.few = (float *)(w.sums + 2 * w.chunks * w.channels);
    w.scale = attr->affine ? call->in[B_REST + attr->centred].data : filled(w.few + 2 * w.chunks * w.channels, w.channels, 1);
    w.kernel = PICK(backward_chunk, call);
    plumb_pool_run(call->pool, w.chunks, run_chunk, &w);
    for (int i = 1; i < call->n_out; i++) {
        float *to = call->out[i].data;
        for (int64_t c = 0; c < w.channels; c++) {
            double sum = 0;
            for (int64_t k = 0; k < w.chunks; k++)
                sum += w.sums[(2 * k + i - 1) * w.channels + c];
            to[c] = (float)sum;
        }
    }
    return PLUMB_OK;
}

#define ROW(op_name, which_workspace, which_run)                                                                      \
    const plumb_impl plumb_impl_##op_name##_native = {                                                                \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.native",                                                                                         \
        .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),                                                       \
        .supports = supports,                                                                                         \
        .workspace = which_workspace,                                                                                 \
        .run = which_run,                                                                                             \
    };

ROW(layer_norm, workspace_forward, run_forward)
ROW(group_norm, workspace_forward, run_forward)
ROW(rms_norm, workspace_forward, run_forward)
ROW(row_norm_backward, workspace_backward, run_backward)
