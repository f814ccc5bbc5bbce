/* First measurements on a GPU: what its memory and its multipliers give at most, what a launch in a captured graph costs,
 * single ops beside those ceilings, whole training steps. benchmarks/peers/pytorch_cuda.py measures the same under the
 * same names, so that ratios can be made. Random data throughout: zeros draw less power and run faster.
 *
 * A sample is some runs of the program, queued one after the other, and one small fetch that waits for them all. */
#include "validate.h"

#include <math.h>
#include <stdio.h>

enum { SAMPLES = 9, LIST = 8 };

struct work {
    plumb_context *context;
    plumb_program *program;
    plumb_t wait; /* one number */
};

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static plumb_status run_some(const struct work *w, int64_t runs, double *seconds)
{
    double from = plumb_seconds(), value;
    plumb_status status = PLUMB_OK;
    for (int64_t i = 0; i < runs && !status; i++) {
        status = plumb_run(w->program);
    }
    status = status ? status : plumb_fetch_number(w->program, w->wait, &value);
    *seconds = plumb_seconds() - from;
    return status;
}

/* Seconds of one run: least, median, greatest. */
static plumb_status time_it(const struct validate *v, const struct work *w, double seconds[3])
{
    double sample[SAMPLES] = {0}, spent = 0;
    int64_t runs = 1;
    plumb_status status = run_some(w, 3, &spent); /* warms up; captures */
    for (spent = 0; !status && !v->small && spent < 0.03; runs *= 2) {
        status = run_some(w, runs, &spent);
    }
    for (int i = 0; i < SAMPLES && !status; i++) {
        status = run_some(w, runs, &sample[i]);
        sample[i] /= (double)runs;
    }
    if (!status) {
        qsort(sample, SAMPLES, sizeof *sample, ascending);
        memcpy(seconds, (double[]){sample[0], sample[SAMPLES / 2], sample[SAMPLES - 1]}, 3 * sizeof(double));
    }
    return status;
}

/* `amount` per run; amount 0: microseconds of a run. */
static void measure(struct validate *v, const struct work *w, const char *name, double amount, const char *unit)
{
    double t[3] = {0};
    plumb_status status = w->program ? time_it(v, w, t) : plumb_last_status(w->context);
    if (status) {
        validate_check(v, false, name, "%s", plumb_message(w->context));
        plumb_clear_error(w->context);
        return;
    }
    double rate[3] = {amount / t[2], amount / t[1], amount / t[0]};
    double us[3] = {1e6 * t[0], 1e6 * t[1], 1e6 * t[2]};
    validate_measure(name, amount > 0 ? rate : us, unit, 1e3 * t[1]);
    v->passed++;
}

static bool wanted(const struct validate *v, const char *name)
{
    return !v->only || strncmp(name, v->only, strlen(v->only)) == 0;
}

/* ---- single ops: their results are variables' values, so that nothing is fed or computed twice ---- */

static plumb_t variable(plumb_graph *g, const char *name, plumb_dtype dtype, plumb_shape shape)
{
    plumb_variable_options options = {.size = sizeof options, .init = {.rule = PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_variable(g, name, dtype, shape, &options);
}

static void measure_graph(struct validate *v, plumb_context *context, plumb_graph *g, const plumb_t *out, int n_out,
                          const char *name, double amount, const char *unit)
{
    plumb_t outputs[LIST];
    memcpy(outputs, out, (size_t)n_out * sizeof *out);
    outputs[n_out] = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(1), 1); /* what is waited for */
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = state ? plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                                      .outputs = outputs,
                                                                                      .n_outputs = n_out + 1,
                                                                                      .training = true})
                                   : NULL;
    measure(v, &(struct work){context, program, outputs[n_out]}, name, amount, unit);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
}

static const struct {
    plumb_dtype dtype;
    const char *name;
} widths[] = {{PLUMB_F32, "f32"}, {PLUMB_BF16, "bf16"}, {PLUMB_F16, "f16"}};

static void memory_bound(struct validate *v, plumb_context *context)
{
    static const char *const what[] = {"copy", "add", "sum", "softmax"};
    int64_t rows = v->small ? 8 : 65536, columns = v->small ? 32 : 1024;
    for (int d = 0; d < 3; d++) {
        for (int k = 0; k < 4; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s %s", what[k], widths[d].name);
            if (!wanted(v, name)) {
                continue;
            }
            plumb_graph *g = plumb_graph_new(context, name);
            plumb_t x = variable(g, "x", widths[d].dtype, PLUMB_SHAPE(rows, columns));
            plumb_t other = k == 1 ? variable(g, "other", widths[d].dtype, PLUMB_SHAPE(rows, columns)) : x;
            plumb_t y = k == 0   ? plumb_affine(g, x, 1.5, 0)
                        : k == 1 ? plumb_add(g, x, other)
                        : k == 2 ? plumb_sum(g, x, PLUMB_AXES(1), false)
                                 : plumb_softmax(g, x, 1);
            double passes = k == 1 ? 3 : k == 2 ? 1 : 2;
            double bytes = passes * (double)(rows * columns) * (double)plumb_dtype_size(widths[d].dtype);
            measure_graph(v, context, g, &y, 1, name, bytes / 1e9, "GB/s");
        }
    }
}

static void products(struct validate *v, plumb_context *context)
{
    for (int d = 0; d < 3; d++) {
        for (int64_t n = 1024; n <= 8192; n *= 2) {
            char name[64];
            snprintf(name, sizeof name, "matmul %lld %s", (long long)n, widths[d].name);
            if (!wanted(v, name) || (v->small && n > 1024)) {
                continue;
            }
            int64_t size = v->small ? 32 : n;
            plumb_graph *g = plumb_graph_new(context, name);
            plumb_t a = variable(g, "a", widths[d].dtype, PLUMB_SHAPE(size, size));
            plumb_t b = variable(g, "b", widths[d].dtype, PLUMB_SHAPE(size, size));
            plumb_t c = plumb_matmul(g, a, b, false, false);
            measure_graph(v, context, g, &c, 1, name, 2e-12 * pow((double)size, 3), "TFLOP/s");
        }
    }
}

/* Some convolutions of ResNet-50: channels in, out, filter, stride, height. */
static const int64_t convs[][5] = {{64, 64, 1, 1, 56},   {64, 64, 3, 1, 56},    {128, 128, 3, 2, 56}, {256, 1024, 1, 1, 14},
                                   {256, 256, 3, 1, 14}, {512, 2048, 1, 1, 7}, {512, 512, 3, 1, 7}};

static void convolve(struct validate *v, plumb_context *context, const int64_t *c, int d, int64_t batch)
{
    static const char *const way[] = {"forward", "data", "filter"};
    int64_t out_height = (c[4] - 1) / c[3] + 1;
    double flops = 2e-12 * (double)(batch * c[1] * out_height * out_height * c[0] * c[2] * c[2]);
    for (int k = 0; k < 3; k++) {
        char name[96];
        snprintf(name, sizeof name, "conv %s %lld>%lld %lldx%lld/%lld @%lld %s", way[k], (long long)c[0], (long long)c[1],
                 (long long)c[2], (long long)c[2], (long long)c[3], (long long)c[4], widths[d].name);
        if (!wanted(v, name)) {
            continue;
        }
        int64_t pad = c[2] / 2;
        const plumb_conv2d_options options = {.size = sizeof options, .stride = {c[3], c[3]}, .padding = {pad, pad, pad, pad}};
        plumb_graph *g = plumb_graph_new(context, name);
        plumb_t x = variable(g, "x", widths[d].dtype, PLUMB_SHAPE(batch, c[0], c[4], c[4]));
        plumb_t w = variable(g, "w", widths[d].dtype, PLUMB_SHAPE(c[1], c[0], c[2], c[2]));
        plumb_t dy = variable(g, "dy", widths[d].dtype, PLUMB_SHAPE(batch, c[1], out_height, out_height));
        plumb_t y = k == 0   ? plumb_conv2d(g, x, w, PLUMB_NONE, &options)
                    : k == 1 ? plumb_conv2d_backward_data(g, dy, w, x, &options)
                             : plumb_conv2d_backward_filter(g, x, dy, w, &options);
        measure_graph(v, context, g, &y, 1, name, flops, "TFLOP/s");
    }
}

static void convolutions(struct validate *v, plumb_context *context)
{
    for (int d = 0; d < 3; d++) {
        for (size_t i = 0; i < sizeof convs / sizeof *convs; i++) {
            if (!v->small || (i == 5 && d == 0)) {
                convolve(v, context, convs[i], d, v->small ? 1 : 64);
            }
        }
    }
}

/* A chain of launches, each waiting for the one before: what one costs is the slope between two lengths. */
static void launches(struct validate *v, plumb_context *context)
{
    static const int lengths[] = {1, 10, 100, 400};
    for (int i = 0; i < (v->small ? 2 : 4); i++) {
        char name[64];
        snprintf(name, sizeof name, "launch graph of %d", lengths[i]);
        if (!wanted(v, name)) {
            continue;
        }
        plumb_graph *g = plumb_graph_new(context, name);
        plumb_t y = variable(g, "x", PLUMB_F32, PLUMB_SHAPE(1));
        for (int k = 0; k < lengths[i]; k++) {
            y = plumb_sin(g, y);
        }
        measure_graph(v, context, g, &y, 1, name, 0, "us");
    }
}

/* ---- training ---- */

/* One update of all parameters: gradients are what the loss, a sum of products, has for them. Adam reads four numbers
 * and writes three: 28 bytes a parameter in f32. The gradient is a variable's value. */
static void adam(struct validate *v, plumb_context *context, int tensors, int64_t each)
{
    char name[64];
    snprintf(name, sizeof name, "adam %d x %lld", tensors, (long long)each);
    if (!wanted(v, name)) {
        return;
    }
    each = v->small ? 100 : each;
    plumb_graph *g = plumb_graph_new(context, name);
    plumb_t loss = PLUMB_NONE;
    for (int i = 0; i < tensors; i++) {
        char text[32];
        snprintf(text, sizeof text, "w%d", i);
        plumb_t w = variable(g, text, PLUMB_F32, PLUMB_SHAPE(each));
        snprintf(text, sizeof text, "g%d", i);
        plumb_t d = variable(g, text, PLUMB_F32, PLUMB_SHAPE(each));
        plumb_set_frozen(g, d, true);
        plumb_t part = plumb_sum(g, plumb_mul(g, w, d), NULL, 0, false);
        loss = i == 0 ? part : plumb_add(g, loss, part);
    }
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = state ? plumb_compile_training(g, state, loss, PLUMB_ADAM(.lr = 1e-6), NULL, 0) : NULL;
    /* beside the update's 28 bytes, the loss is made: 8 bytes read, 4 written, 4 read, and 4 written for the gradient */
    measure(v, &(struct work){context, program, loss}, name, (double)(tensors * each) * 48 / 1e9, "GB/s");
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
}

static void step(struct validate *v, plumb_context *context, const char *model_name, int64_t batch)
{
    char name[96];
    bool known = false;
    snprintf(name, sizeof name, "train %s b%lld f32", model_name, (long long)batch);
    for (int i = 0; i < plumb_model_count(); i++) {
        known = known || strcmp(plumb_model_name(i), model_name) == 0;
    }
    if (!known || !wanted(v, name)) {
        return;
    }
    batch = v->small ? 2 : batch;
    plumb_model model;
    plumb_status status = plumb_model_build(context, model_name, NULL, &model);
    plumb_state *state = status ? NULL : plumb_state_new(model.graph);
    plumb_program *program = state ? plumb_compile_training(model.graph, state, model.loss, PLUMB_ADAM(.lr = 1e-6), NULL, 0)
                                   : NULL;
    int64_t all = status ? 0 : batch * plumb_shape_count(&model.input_shape);
    float *x = plumb_alloc(context, (size_t)all * sizeof *x);
    int32_t *y = plumb_alloc(context, (size_t)batch * sizeof *y);
    for (int64_t i = 0; x && y && i < all; i++) {
        x[i] = (float)plumb_uniform_of_word(plumb_random_word(5, 0, 0, i));
        y[i % batch] = (int32_t)(i % batch % 10);
    }
    if (program && x && y && plumb_feed(program, model.input, x, (size_t)all * sizeof *x) == PLUMB_OK &&
        plumb_feed(program, model.label, y, (size_t)batch * sizeof *y) == PLUMB_OK) {
        measure(v, &(struct work){context, program, model.loss}, name, (double)batch, "images/s");
    } else {
        validate_check(v, false, name, "%s", plumb_message(context));
        plumb_clear_error(context);
    }
    plumb_free(context, x);
    plumb_free(context, y);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(status ? NULL : model.graph);
}

void validate_bench(struct validate *v)
{
    plumb_context *context = validate_open(v, v->device);
    if (!context) {
        return;
    }
    step(v, context, "lenet5", 64);
    if (!v->small) {
        step(v, context, "lenet5", 1024);
        step(v, context, "resnet18-cifar", 128);
    }
    memory_bound(v, context);
    products(v, context);
    convolutions(v, context);
    launches(v, context);
    adam(v, context, 62, 180000); /* as many parameters as ResNet-18 for CIFAR has */
    adam(v, context, 1, 100000000);
    plumb_close(context);
}
