/* Back through an activation: the choice of a form, and that of f32 in any strides; activation_columns.c has channels in
 * lanes. dx is written and its channel sums are taken in one pass over dy and y.
 *
 * Dimensions other than the bias's axis are merged where they can be; rows of the last of them belong to one channel. Long
 * sums are cut into parts whose number depends on the shape alone; their results lie in the workspace as doubles and are
 * added in order. */
#include "cpu/native/activation.h"
#include "cpu/native/vector.h"
#include "op/attr.h"

enum { DX, DY, Y, OPERANDS, BLOCK = 256, TILE = 2048, CHUNK = 1 << 13, MOST_PARTS = 64 };

/* dx, dy and y at one place each, and how far their neighbours are. */
struct row {
    float *at[OPERANDS];
    int64_t step[OPERANDS];
};

struct back {
    int64_t channels, channel[OPERANDS]; /* the axis, and its strides */
    int64_t n, step[OPERANDS];           /* a row */
    int rank;                            /* of the other dimensions: `steps` rows of a channel */
    int64_t dim[PLUMB_MAX_RANK], stride[PLUMB_MAX_RANK][OPERANDS], steps;
    int64_t parts, per_chunk, groups; /* of steps; channels of a chunk; chunks of a part */
    float *base[OPERANDS];
    double *partial; /* [part][channel] */
    int64_t at_once;          /* channels whose rows follow each other in all three tensors and are done as one row */
    void (*along)(const struct row *row, int64_t n);
    double (*total)(const float *x, int64_t step, int64_t n);
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
/* As the ops by themselves (elementwise.c): a is the activation's result, b its gradient. */
#define EACH(isa, TARGET)                                                                                             \
    ALONG(isa, TARGET, relu, a <= 0 ? 0.0f : b)                                                                       \
    ALONG(isa, TARGET, sigmoid, b * a * (1.0f - a))                                                                   \
    ALONG(isa, TARGET, tanh, b * ((1.0f - a) * (1.0f + a)))
NATIVE_EACH_ISA(EACH)

static void pick(struct back *b, int activation, int isa)
{
    switch (activation) {
    case PLUMB_ACTIVATION_RELU: b->along = NATIVE_PICK(relu_along, isa); break;
    case PLUMB_ACTIVATION_SIGMOID: b->along = NATIVE_PICK(sigmoid_along, isa); break;
    default: b->along = NATIVE_PICK(tanh_along, isa);
    }
}

/* ---- the plan ---- */

/* A dimension behind those there are, merged with the last where all three tensors go on as they began. */
static void add_dim(struct back *b, const plumb_view *const *view, int d)
{
    int last = b->rank - 1;
    bool joins = last >= 0;
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
    for (int d = 0; d < rank; d++)
        if (d != axis)
            add_dim(b, view, d);
    if (b->rank > 0) {
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
    bool joined = b->n > 0;
    for (int k = 0; k < OPERANDS; k++)
        joined = joined && b->channel[k] == b->n * b->step[k];
    b->at_once = joined && b->n < TILE ? TILE / b->n : 1;
    b->per_chunk = b->n > 0 && b->n < CHUNK ? CHUNK / b->n : 1;
    int64_t work = b->steps * b->n * (b->channels < b->per_chunk ? b->channels : b->per_chunk);
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
    memcpy(row.step, b->step, sizeof row.step);
    return row;
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
    for (int64_t step = begin; step < end; step++)
        for (int64_t c = 0; c < count; c += b->at_once) { /* in the order in which pictures lie */
            int64_t channels = count - c < b->at_once ? count - c : b->at_once;
            struct row row = row_at(b, step, first + c);
            b->along(&row, channels * b->n);
            for (int64_t i = 0; i < channels; i++)
                total[c + i] += b->total(row.at[DX] + i * b->channel[DX], row.step[DX], b->n);
        }
}

static bool supports(const plumb_call *call)
{
    return call->in[0].dtype == PLUMB_F32 || plumb_activation_columns_supports(call);
}

static size_t workspace(const plumb_call *call)
{
    if (plumb_activation_columns_supports(call))
        return plumb_activation_columns_workspace(call);
    struct back b;
    plan(call, &b);
    return sizeof(double) * (size_t)(b.parts * b.channels);
}

static plumb_status run(const plumb_call *call)
{
    const plumb_view *dbias = &call->out[1];
    if (plumb_activation_columns_supports(call))
        return plumb_activation_columns_run(call);
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
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = supports,
    .workspace = workspace,
    .run = run,
};
