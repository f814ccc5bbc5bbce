/* Back through an activation with channels in lanes, f32 or bf16: rows of features, channels-last pictures (columns.h).
 * dx is written and its channel sums are taken in one pass over dy and y. */
#include "cpu/native/activation.h"
#include "cpu/native/columns.h"
#include "cpu/native/half.h"
#include "op/attr.h"

struct work {
    const plumb_call *call;
    struct columns m;
    double *partial; /* [chunk][width]: sums, after the chunk all of them in the first copy of the channels */
    void (*kernel)(const struct work *w, int64_t begin, int64_t end, double *sum);
};

/* As the ops by themselves (elementwise.c): y is the activation's result, dy its gradient. */
NATIVE_INLINE float through(int activation, float y, float dy)
{
    if (activation == PLUMB_ACTIVATION_RELU)
        return y <= 0 ? 0.0f : dy;
    return activation == PLUMB_ACTIVATION_SIGMOID ? dy * y * (1.0f - y) : dy * ((1.0f - y) * (1.0f + y));
}

NATIVE_INLINE void sum_rows(plumb_dtype type, int activation, int64_t width, const char *dy, const char *y, int64_t count,
                            double *sum)
{
    if (count == COLUMNS_TREE * width) {
        NATIVE_LOOP
        for (int64_t j = 0; j < width; j++) {
            float d[COLUMNS_TREE];
            for (int k = 0; k < COLUMNS_TREE; k++)
                d[k] = through(activation, native_load(type, y, k * width + j), native_load(type, dy, k * width + j));
            sum[j] += (double)columns_tree(d);
        }
        return;
    }
    for (int64_t at = 0; at < count; at += width) {
        int64_t n = count - at < width ? count - at : width;
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            sum[j] += (double)through(activation, native_load(type, y, at + j), native_load(type, dy, at + j));
    }
}

/* A few rows at a time: first their sums, then dx, which may lie over dy. */
NATIVE_INLINE void chunk(plumb_dtype type, int activation, const struct work *w, int64_t begin, int64_t end, double *sum)
{
    const plumb_call *call = w->call;
    const int64_t size = native_size(type), at = begin * size, rows = COLUMNS_TREE * w->m.width;
    const char *dy = (const char *)call->in[0].data + at, *y = (const char *)call->in[1].data + at;
    char *dx = (char *)call->out[0].data + at;
    memset(sum, 0, sizeof *sum * (size_t)w->m.width);
    for (int64_t left = end - begin; left > 0; left -= rows, dy += rows * size, y += rows * size, dx += rows * size) {
        int64_t n = left < rows ? left : rows;
        sum_rows(type, activation, w->m.width, dy, y, n, sum);
        NATIVE_LOOP
        for (int64_t i = 0; i < n; i++)
            native_store(type, dx, i, through(activation, native_load(type, y, i), native_load(type, dy, i)));
    }
    columns_fold(&w->m, sum);
}

#define KERNEL(isa, TARGET, name, type, activation)                                                                   \
    TARGET static void name##_##isa(const struct work *w, int64_t begin, int64_t end, double *sum)                    \
    {                                                                                                                 \
        chunk(type, activation, w, begin, end, sum);                                                                  \
    }
#define EACH(isa, TARGET)                                                                                             \
    KERNEL(isa, TARGET, relu_f32, PLUMB_F32, PLUMB_ACTIVATION_RELU)                                                   \
    KERNEL(isa, TARGET, relu_bf16, PLUMB_BF16, PLUMB_ACTIVATION_RELU)                                                 \
    KERNEL(isa, TARGET, sigmoid_f32, PLUMB_F32, PLUMB_ACTIVATION_SIGMOID)                                             \
    KERNEL(isa, TARGET, sigmoid_bf16, PLUMB_BF16, PLUMB_ACTIVATION_SIGMOID)                                           \
    KERNEL(isa, TARGET, tanh_f32, PLUMB_F32, PLUMB_ACTIVATION_TANH)                                                   \
    KERNEL(isa, TARGET, tanh_bf16, PLUMB_BF16, PLUMB_ACTIVATION_TANH)
NATIVE_EACH_ISA(EACH)
#define PICK(name, call)                                                                                              \
    ((call)->in[0].dtype == PLUMB_F32 ? NATIVE_PICK(name##_f32, (call)->isa) : NATIVE_PICK(name##_bf16, (call)->isa))

static struct columns cut(const plumb_call *call)
{
    int64_t channels = call->out[1].dim[0];
    return columns_of(channels > 0 ? plumb_view_count(&call->in[0]) / channels : 0, channels);
}

static void run_chunk(void *user, int64_t number, int worker)
{
    const struct work *w = user;
    (void)worker;
    w->kernel(w, number * w->m.per_chunk, columns_end(&w->m, number), w->partial + number * w->m.width);
}

bool plumb_activation_columns_supports(const plumb_call *call)
{
    const plumb_view *const view[] = {&call->in[0], &call->in[1], &call->out[0]};
    int rank = view[0]->rank, axis = ((const plumb_attr_activation *)call->attr)->axis;
    bool good = true;
    axis += axis < 0 ? rank : 0;
    for (int k = 0; k < 3; k++)
        good = good && (axis == rank - 1 ? plumb_view_contiguous(view[k]) : axis == 1 && columns_fit(view[k]));
    return good;
}

size_t plumb_activation_columns_workspace(const plumb_call *call)
{
    struct columns m = cut(call);
    return sizeof(double) * (size_t)(m.width * m.chunks);
}

plumb_status plumb_activation_columns_run(const plumb_call *call)
{
    const plumb_view *dbias = &call->out[1];
    struct work w = {.call = call, .m = cut(call), .partial = call->workspace};
    switch (((const plumb_attr_activation *)call->attr)->activation) {
    case PLUMB_ACTIVATION_RELU: w.kernel = PICK(relu, call); break;
    case PLUMB_ACTIVATION_SIGMOID: w.kernel = PICK(sigmoid, call); break;
    default: w.kernel = PICK(tanh, call);
    }
    plumb_pool_run(call->pool, w.m.chunks, run_chunk, &w);
    for (int64_t c = 0; c < w.m.channels; c++) {
        double sum = 0;
        for (int64_t k = 0; k < w.m.chunks; k++)
            sum += w.partial[k * w.m.width + c];
        native_store(dbias->dtype, dbias->data, c * dbias->stride[0], (float)sum);
    }
    return PLUMB_OK;
}
