/* Back through an activation, f32: dx is written and its channel sums are taken in one pass over dy and y.
 *
 * Dimensions other than the bias's axis are merged where they can be. Where the innermost of them lies behind the axis
 * (pictures), a row of it belongs to one channel; else (rows of features) a row holds one element of each channel. Long
 * sums are cut into parts whose number depends on the shape alone; their results lie in the workspace as doubles and are
 * added in order. */
#include "cpu/native/vector.h"
#include "op/attr.h"

enum { DX, DY, Y, OPERANDS, STRIP = 256, BLOCK = 256, TILE = 2048, CHUNK = 1 << 13, MOST_PARTS = 64 };

/* dx, dy and y at one place each, and how far their neighbours are. */
struct row {
    float *at[OPERANDS];
    int64_t step[OPERANDS];
};

struct back {
    int64_t channels, channel[OPERANDS]; /* the axis, and its strides */
    int64_t n, step[OPERANDS];           /* a row of one channel; 1 where rows are across channels */
    bool across;
    int rank;                            /* of the other dimensions: `steps` rows of a channel, or across all */
    int64_t dim[PLUMB_MAX_RANK], stride[PLUMB_MAX_RANK][OPERANDS], steps;
    int64_t parts, per_chunk, groups; /* of steps; channels of a chunk; chunks of a part */
    float *base[OPERANDS];
    double *partial; /* [part][channel] */
    int64_t at_once;          /* channels whose rows follow each other in all three tensors and are done as one row */
    void (*along)(const struct row *row, int64_t n);
    double (*total)(const float *x, int64_t step, int64_t n);
    void (*beside)(const struct row *row, int64_t n, float *sum);
};

/* ---- rows ---- */

#define ALONG(isa, TARGET, name, expression)                                                                          \
    TARGET static void name##_along_##isa(const struct row *row, int64_t n)                                           \
    {                                                                                                                 \
        float *dx = row->at[DX];                                                                                      \
        const float *dy = row->at[DY], *y = row->at[Y];                                                               \
        if (row->step[DX] == 1 && row->step[DY] == 1 && row->step[Y] == 1) {                                          \
            NATIVE_LOOP                                                                                               \
            for (int64_t i = 0; i < n; i++) {                                                                         \
                float a = y[i], b = dy[i];                                                                            \
                dx[i] = expression;                                                                                   \
            }                                                                                                         \
            return;                                                                                                   \
        }                                                                                                             \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            float a = y[i * row->step[Y]], b = dy[i * row->step[DY]];                                                 \
            dx[i * row->step[DX]] = expression;                                                                       \
        }                                                                                                             \
    }
/* The sum of n elements: in lanes over BLOCK of them, joined in double. */
#define TOTAL(isa, TARGET)                                                                                            \
    TARGET static double total_##isa(const float *x, int64_t step, int64_t n)                                         \
    {                                                                                                                 \
        double total = 0;                                                                                             \
        for (int64_t i = 0, end; i < n;) {                                                                            \
            float lane[NATIVE_LANES] = {0};                                                                           \
            end = n - i < BLOCK ? n : i + BLOCK;                                                                      \
            for (; step == 1 && i + NATIVE_LANES <= end; i += NATIVE_LANES) {                                         \
                for (int l = 0; l < NATIVE_LANES; l++) {                                                              \
                    lane[l] += x[i + l];                                                                              \
                }                                                                                                     \
            }                                                                                                         \
            for (int l = 0; i < end; i++, l = (l + 1) % NATIVE_LANES) {                                               \
                lane[l] += x[i * step];                                                                               \
            }                                                                                                         \
            total += (double)native_sum_join(lane);                                                                   \
        }                                                                                                             \
        return total;                                                                                                 \
    }
NATIVE_EACH_ISA(TOTAL)
#define BESIDE(isa, TARGET, name, expression)                                                                         \
    TARGET static void name##_beside_##isa(const struct row *row, int64_t n, float *sum)                              \
    {                                                                                                                 \
        float *dx = row->at[DX];                                                                                      \
        const float *dy = row->at[DY], *y = row->at[Y];                                                               \
        if (row->step[DX] == 1 && row->step[DY] == 1 && row->step[Y] == 1) {                                          \
            NATIVE_LOOP                                                                                               \
            for (int64_t i = 0; i < n; i++) {                                                                         \
                float a = y[i], b = dy[i], d = expression;                                                            \
                dx[i] = d;                                                                                            \
                sum[i] += d;                                                                                          \
            }                                                                                                         \
            return;                                                                                                   \
        }                                                                                                             \
        for (int64_t i = 0; i < n; i++) {                                                                             \
            float a = y[i * row->step[Y]], b = dy[i * row->step[DY]], d = expression;                                 \
            dx[i * row->step[DX]] = d;                                                                                \
            sum[i] += d;                                                                                              \
        }                                                                                                             \
    }
/* As the ops by themselves (elementwise.c): a is the activation's result, b its gradient. */
#define EACH(isa, TARGET)                                                                                             \
    ALONG(isa, TARGET, relu, a <= 0 ? 0.0f : b)                                                                       \
    ALONG(isa, TARGET, sigmoid, b * a * (1.0f - a))                                                                   \
    ALONG(isa, TARGET, tanh, b * ((1.0f - a) * (1.0f + a)))                                                           \
    BESIDE(isa, TARGET, relu, a <= 0 ? 0.0f : b)                                                                      \
    BESIDE(isa, TARGET, sigmoid, b * a * (1.0f - a))                                                                  \
    BESIDE(isa, TARGET, tanh, b * ((1.0f - a) * (1.0f + a)))
NATIVE_EACH_ISA(EACH)

static void pick(struct back *b, int activation, int isa)
{
    switch (activation) {
    case PLUMB_ACTIVATION_RELU: b->along = NATIVE_PICK(relu_along, isa), b->beside = NATIVE_PICK(relu_beside, isa); break;
    case PLUMB_ACTIVATION_SIGMOID:
        b->along = NATIVE_PICK(sigmoid_along, isa), b->beside = NATIVE_PICK(sigmoid_beside, isa);
        break;
    default: b->along = NATIVE_PICK(tanh_along, isa), b->beside = NATIVE_PICK(tanh_beside, isa);
    }
}

/* ---- the plan ---- */

/* A dimension behind those there are, merged with the last where all three tensors go on as they began. `from`: the
 * first that may be merged with. */
static void add_dim(struct back *b, const plumb_view *const *view, int d, int from)
{
    int last = b->rank - 1;
    bool joins = last >= from;
    for (int k = 0; k < OPERANDS; k++)
        joins = joins && b->stride[last][k] == view[k]->stride[d] * view[k]->dim[d];
    if (view[DX]->dim[d] == 1)
        return;
    if (joins)
        b->dim[last] *= view[DX]->dim[d];
    else
        b->dim[b->rank++] = view[DX]->dim[d];
    for (int k = 0; k < OPERANDS; k++)
        b->stride[b->rank - 1][k] = view[k]->stride[d];
}

static void plan(const plumb_call *call, struct back *b)
{
    const plumb_attr_activation *attr = call->attr;
    const plumb_view *const view[OPERANDS] = {&call->out[0], &call->in[0], &call->in[1]};
    int rank = view[DX]->rank, axis = attr->axis + (attr->axis < 0 ? rank : 0);
    memset(b, 0, sizeof *b);
    pick(b, attr->activation, call->isa);
    b->total = NATIVE_PICK(total, call->isa);
    b->channels = view[DX]->dim[axis];
    b->n = b->steps = 1;
    for (int d = 0; d < axis; d++)
        add_dim(b, view, d, 0);
    int before = b->rank;
    for (int d = axis + 1; d < rank; d++)
        add_dim(b, view, d, before);
    b->across = b->rank == before;
    if (!b->across) {
        b->rank--;
        b->n = b->dim[b->rank];
        memcpy(b->step, b->stride[b->rank], sizeof b->step);
    }
    for (int d = 0; d < b->rank; d++)
        b->steps *= b->dim[d];
    for (int k = 0; k < OPERANDS; k++) {
        b->channel[k] = view[k]->stride[axis];
        b->base[k] = view[k]->data;
    }
    bool joined = !b->across && b->n > 0;
    for (int k = 0; k < OPERANDS; k++)
        joined = joined && b->channel[k] == b->n * b->step[k];
    b->at_once = joined && b->n < TILE ? TILE / b->n : 1;
    int64_t row = b->across ? 1 : b->n;
    b->per_chunk = b->across ? STRIP : CHUNK / (row > 0 ? row : 1) > 1 ? CHUNK / (row > 0 ? row : 1) : 1;
    int64_t work = b->steps * row * (b->channels < b->per_chunk ? b->channels : b->per_chunk);
    b->parts = work / CHUNK < MOST_PARTS ? work / CHUNK : MOST_PARTS;
    b->parts = b->parts < b->steps ? b->parts : b->steps;
    b->parts = b->parts > 1 ? b->parts : 1;
    b->groups = (b->channels + b->per_chunk - 1) / b->per_chunk;
}

static struct row row_at(const struct back *b, int64_t step, int64_t channel)
{
    struct row row;
    int64_t at[OPERANDS] = {channel * b->channel[DX], channel * b->channel[DY], channel * b->channel[Y]};
    for (int d = b->rank - 1; d >= 0; d--) {
        for (int k = 0; k < OPERANDS; k++)
            at[k] += step % b->dim[d] * b->stride[d][k];
        step /= b->dim[d];
    }
    for (int k = 0; k < OPERANDS; k++)
        row.at[k] = b->base[k] + at[k];
    memcpy(row.step, b->across ? b->channel : b->step, sizeof row.step);
    return row;
}

/* Sums are kept in f32 over BLOCK rows, joined in double. */
static void run_across(const struct back *b, int64_t begin, int64_t end, int64_t channel, int64_t width, double *total)
{
    while (begin < end) {
        float sum[STRIP] = {0};
        for (int64_t stop = end - begin < BLOCK ? end : begin + BLOCK; begin < stop; begin++) {
            struct row row = row_at(b, begin, channel);
            b->beside(&row, width, sum);
        }
        for (int64_t j = 0; j < width; j++)
            total[j] += (double)sum[j];
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    const struct back *b = user;
    int64_t part = chunk / b->groups, first = chunk % b->groups * b->per_chunk;
    int64_t begin = b->steps * part / b->parts, end = b->steps * (part + 1) / b->parts;
    int64_t count = b->channels - first < b->per_chunk ? b->channels - first : b->per_chunk;
    double *total = b->partial + part * b->channels + first;
    (void)worker;
    memset(total, 0, sizeof *total * (size_t)count);
    if (b->across) {
        run_across(b, begin, end, first, count, total);
        return;
    }
    for (int64_t step = begin; step < end; step++)
        for (int64_t c = 0; c < count; c += b->at_once) { /* in the order in which pictures lie */
            int64_t channels = count - c < b->at_once ? count - c : b->at_once;
            struct row row = row_at(b, step, first + c);
            b->along(&row, channels * b->n);
            for (int64_t i = 0; i < channels; i++)
                total[c + i] += b->total(row.at[DX] + i * b->channel[DX], row.step[DX], b->n);
        }
}

static size_t workspace(const plumb_call *call)
{
    struct back b;
    plan(call, &b);
    return sizeof(double) * (size_t)(b.parts * b.channels);
}

static plumb_status run(const plumb_call *call)
{
    const plumb_view *dbias = &call->out[1];
    struct back b;
    plan(call, &b);
    b.partial = call->workspace;
    plumb_pool_run(call->pool, b.parts * b.groups, run_chunk, &b);
    for (int64_t c = 0; c < b.channels; c++) {
        double sum = 0;
        for (int64_t part = 0; part < b.parts; part++)
            sum += b.partial[part * b.channels + c];
        ((float *)dbias->data)[c * dbias->stride[0]] = (float)sum;
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_activation_backward_native = {
    .op = &plumb_op_activation_backward,
    .name = "cpu.native",
    .dtypes = PLUMB_BIT(PLUMB_F32),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .workspace = workspace,
    .run = run,
};
