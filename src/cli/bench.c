/* bench: never times what was not checked first. A training step is compared with the same step on the reference
 * implementations (loss and every gradient), an op with the reference's result; then it is timed in samples of about a
 * tenth of a second, and the median is reported with its spread. References are the CPU's, whatever device is timed, so
 * they compute in a context of their own, which is closed before the clock starts. */
#include <math.h>

#include "cli/bench.h"

/* ---- timing ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

plumb_status bench_time(plumb_status (*step)(void *user), void *user, int samples, struct bench_times *t)
{
    double seconds[BENCH_SAMPLES_MAX];
    plumb_status status = PLUMB_OK;
    int64_t per_sample = 1;
    for (double spent = 0; !status && spent < 0.05; per_sample *= 2) { /* also warms up */
        double begin = plumb_seconds();
        for (int64_t i = 0; !status && i < per_sample; i++) {
            status = step(user);
        }
        spent = plumb_seconds() - begin;
    }
    for (int s = 0; !status && s < samples; s++) {
        double begin = plumb_seconds();
        for (int64_t i = 0; !status && i < per_sample; i++) {
            status = step(user);
        }
        seconds[s] = (plumb_seconds() - begin) / (double)per_sample;
    }
    if (!status) {
        qsort(seconds, (size_t)samples, sizeof(double), compare);
        *t = (struct bench_times){.median = seconds[samples / 2],
                                  .low = seconds[samples / 10],
                                  .high = seconds[samples - 1 - samples / 10],
                                  .samples = samples,
                                  .per_sample = per_sample};
    }
    return status;
}

double bench_spread(const struct bench_times *t)
{
    return t->median > 0 ? (t->high - t->low) / t->median : 0;
}

/* ---- comparing ---- */

plumb_context *bench_open_reference(const struct common_options *common, int *code)
{
    struct common_options of_cpu = *common;
    of_cpu.device = "cpu";
    of_cpu.implementations = NULL;
    return cli_open(&of_cpu, code);
}

plumb_status bench_say(plumb_context *context, const plumb_context *reference, plumb_status status)
{
    const char *message = status && reference ? plumb_message(reference) : "";
    return *message ? plumb_fail(context, status, "reference: %s", message) : status;
}

plumb_status bench_difference(plumb_context *context, plumb_program *a, plumb_t of_a, plumb_program *b, plumb_t of_b,
                              double *worst)
{
    plumb_shape shape = plumb_output_shape(a, of_a), other = plumb_output_shape(b, of_b);
    int64_t count = plumb_shape_count(&shape);
    if (count != plumb_shape_count(&other)) {
        return plumb_fail(context, PLUMB_FAILED, "bench: the reference's result has another shape");
    }
    if (count < 1) {
        return PLUMB_OK;
    }
    float *x = plumb_alloc(context, (size_t)count * sizeof(float)),
          *y = plumb_alloc(context, (size_t)count * sizeof(float));
    plumb_status status = x && y ? plumb_fetch(a, of_a, x, (size_t)count * sizeof(float)) : PLUMB_FAILED;
    if (!status) {
        status = plumb_fetch(b, of_b, y, (size_t)count * sizeof(float));
    }
    double difference = 0, size = 0;
    for (int64_t i = 0; !status && i < count; i++) {
        double d = (double)x[i] - (double)y[i];
        difference += d * d;
        size += (double)y[i] * (double)y[i];
    }
    double relative =
        difference > 0 ? sqrt(difference / (size > 0 ? size : 1)) : difference; /* NaN stays NaN */
    if (!status && !(relative <= *worst)) {
        *worst = relative;
    }
    plumb_free(context, x);
    plumb_free(context, y);
    return status;
}

/* ---- a training step ---- */

/* The network and its data in one context: by seed and name the same values in each. */
struct bench_side {
    plumb_context *context;
    plumb_model net;
    plumb_state *state;
    plumb_dataset *data;
    plumb_loader *loader;
    plumb_program *program;
    plumb_t out[257]; /* what is compared: the loss, then its gradients */
};

struct bench_train {
    struct common_options common;
    const char *model, *optimizer, *precision;
    int64_t batch, classes, samples;
    struct bench_side timed, reference;
};

static plumb_status make_data(const struct bench_train *b, struct bench_side *s)
{
    int64_t count = b->batch * 16, item = plumb_shape_count(&s->net.input_shape), all = 0;
    if (!plumb_mul_size(count, item, &all) || all > (int64_t)1 << 32) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "bench: a batch of %lld pictures is too large",
                          (long long)b->batch);
    }
    uint8_t *x = plumb_alloc(s->context, (size_t)all);
    int32_t *y = plumb_alloc(s->context, (size_t)count * sizeof(int32_t));
    if (x && y) {
        for (int64_t i = 0; i < all; i++) {
            x[i] = (uint8_t)(plumb_random_word(plumb_seed(s->context), 0x6264u, 0, i) >> 24);
        }
        for (int64_t n = 0; n < count; n++) {
            y[n] = (int32_t)(plumb_random_word(plumb_seed(s->context), 0x6264u, 1, n) %
                             (uint32_t)s->net.classes);
        }
        s->data = plumb_dataset_arrays(s->context, PLUMB_U8, s->net.input_shape, count, x, y, s->net.classes);
    }
    plumb_free(s->context, x);
    plumb_free(s->context, y);
    s->loader = s->data
                    ? plumb_loader_new(s->data, &(plumb_loader_options){.size = sizeof(plumb_loader_options),
                                                                        .batch = b->batch,
                                                                        .shuffle = true})
                    : NULL;
    return s->loader ? plumb_fit_scaling(&s->net, s->state, s->data, PLUMB_SCALING_STANDARD)
                     : plumb_last_status(s->context);
}

static plumb_status make_side(const struct bench_train *b, struct bench_side *s)
{
    const plumb_model_options options = {.size = sizeof(options), .classes = (int)b->classes};
    plumb_status status = plumb_model_build(s->context, b->model, &options, &s->net);
    if (!status) {
        s->state = plumb_state_new(s->net.graph);
        status = s->state ? make_data(b, s) : plumb_last_status(s->context);
    }
    return status;
}

/* Loss and gradients of the first batch. */
static plumb_status run_side(const struct bench_train *b, struct bench_side *s, const char *implementations, int *n)
{
    plumb_t wrt[256];
    *n = plumb_parameters(s->net.graph, wrt, 256);
    if (*n > 256) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "bench: more than 256 parameters");
    }
    plumb_status status = plumb_gradients(s->net.graph, s->net.loss, wrt, *n, s->out + 1);
    s->out[0] = s->net.loss;
    if (status) {
        return status;
    }
    s->program = plumb_compile(s->net.graph, s->state,
                               &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                        .outputs = s->out,
                                                        .n_outputs = *n + 1,
                                                        .training = true,
                                                        .precision = cli_precision(b->precision),
                                                        .implementations = implementations});
    status = s->program ? plumb_loader_seek(s->loader, 0, 0) : plumb_last_status(s->context);
    if (!status && plumb_loader_next(s->loader, s->program, s->net.input, s->net.label) < 0) {
        status = plumb_last_status(s->context);
    }
    return status ? status : plumb_run(s->program);
}

static plumb_status check_step(struct bench_train *b, double *worst)
{
    struct bench_side *timed = &b->timed, *reference = &b->reference;
    int n = 0, n_reference = 0;
    plumb_status status = run_side(b, timed, NULL, &n);
    if (!status) {
        status = make_side(b, reference);
        status = status ? status : run_side(b, reference, "*=cpu.ref", &n_reference);
        status = bench_say(timed->context, reference->context, status);
    }
    for (int i = 0; !status && i <= n; i++) {
        status = bench_difference(timed->context, timed->program, timed->out[i], reference->program,
                                  reference->out[i], worst);
    }
    plumb_program_free(timed->program);
    timed->program = NULL;
    double agree = cli_precision(b->precision) == PLUMB_F32 ? BENCH_AGREE : BENCH_AGREE_LOW;
    if (!status && !(*worst <= agree)) {
        return plumb_fail(
            timed->context, PLUMB_FAILED,
            "bench: loss or gradients differ from the reference by %.3g, allowed is %.3g: not timed", *worst,
            agree);
    }
    return status;
}

static plumb_status one_step(void *user)
{
    struct bench_side *s = user;
    int64_t count = plumb_loader_next(s->loader, s->program, s->net.input, s->net.label);
    if (count == 0) {
        count = plumb_loader_next(s->loader, s->program, s->net.input, s->net.label);
    }
    double loss;
    plumb_status status = count < 0 ? plumb_last_status(s->context) : plumb_run(s->program);
    return status ? status : plumb_fetch_number(s->program, s->net.loss, &loss);
}

static void print_train(const struct bench_train *b, const struct bench_times *t, double worst)
{
    double rate = (double)b->batch / t->median;
    if (b->common.json) {
        printf("{\"bench\":\"train\",\"model\":");
        json_text(stdout, b->model);
        printf(",\"precision\":\"%s\"", b->precision);
        printf(",\"batch\":%lld,\"threads\":%d,\"difference\":", (long long)b->batch,
               plumb_threads(b->timed.context));
        json_number(stdout, worst);
        printf(",\"step_seconds\":");
        json_number(stdout, t->median);
        printf(",\"step_seconds_low\":");
        json_number(stdout, t->low);
        printf(",\"step_seconds_high\":");
        json_number(stdout, t->high);
        printf(",\"samples\":%d,\"images_per_s\":", t->samples);
        json_number(stdout, rate);
        printf(",\"peak_memory_bytes\":%lld}\n", (long long)plumb_memory_peak(b->timed.context));
        return;
    }
    printf("checked: loss and gradients are within %.2g of the reference\n", worst);
    printf("%s, batch %lld, %s, %s, %d threads: %.3f ms a step (%.3f to %.3f, spread %.0f%%), %.0f images/s\n",
           b->model, (long long)b->batch, b->optimizer, b->precision, plumb_threads(b->timed.context), 1e3 * t->median,
           1e3 * t->low, 1e3 * t->high, 100 * bench_spread(t), rate);
}

/* What `make_side` and `run_side` made goes with its context. */
static void close_reference(struct bench_train *b)
{
    plumb_close(b->reference.context);
    b->reference.context = NULL;
}

static plumb_status run_train(struct bench_train *b)
{
    double worst = 0;
    struct bench_times times;
    struct bench_side *s = &b->timed;
    plumb_status status = make_side(b, s);
    if (!status) {
        status = check_step(b, &worst);
    }
    close_reference(b);
    if (!status) {
        s->program = plumb_compile_training(s->net.graph, s->state, s->net.loss,
                                            &(plumb_optimizer){.size = sizeof(plumb_optimizer),
                                                               .rule = b->optimizer,
                                                               .precision = cli_precision(b->precision)},
                                            &s->net.logits, 1);
        status = s->program ? bench_time(one_step, s, (int)b->samples, &times) : plumb_last_status(s->context);
    }
    if (!status) {
        print_train(b, &times, worst);
    }
    return status;
}

static const char *optimizer_name(int index)
{
    return index < plumb_optimizer_count() ? plumb_optimizer_rule(index) : NULL;
}

static int command_bench_train(int argc, char **argv)
{
    struct bench_train b = {
        .common = COMMON_DEFAULTS, .optimizer = "adam", .precision = "f32", .batch = 64, .classes = 10, .samples = 21};
    const struct option_row rows[] = {
        {"model", "NAME", "the network (default lenet5)", OPTION_NAME, &b.model, 0, 0, cli_model_name},
        {"batch", "N", "examples in a step (default 64)", OPTION_WHOLE, &b.batch, 1, 65536, NULL},
        {"classes", "N", "of the model (default 10)", OPTION_WHOLE, &b.classes, 2, 256, NULL},
        {"optimizer", "RULE", "default adam", OPTION_NAME, &b.optimizer, 0, 0, optimizer_name},
        {"precision", "DTYPE", "computed in, default f32", OPTION_NAME, &b.precision, 0, 0,
         cli_precision_name},
        {"samples", "N", "of at least 0.05 s each (default 21)", OPTION_WHOLE, &b.samples, 3,
         BENCH_SAMPLES_MAX, NULL},
        COMMON_ROWS(b.common),
    };
    static const struct command self = {"bench train", "",
                                        "Times a training step of random pictures, loader included.", NULL};
    int code = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), NULL, NULL}, argc, argv, &code) ||
        !cli_pick_model("bench train", NULL, &b.model, &code)) {
        return code;
    }
    b.timed.context = cli_open(&b.common, &code);
    b.reference.context = b.timed.context ? bench_open_reference(&b.common, &code) : NULL;
    if (b.reference.context) {
        plumb_status status = run_train(&b);
        code = status ? cli_fail("bench train", b.timed.context, status) : 0;
    }
    plumb_close(b.timed.context);
    return code;
}

int command_bench(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "train") == 0) {
        return command_bench_train(argc - 1, argv + 1);
    }
    if (argc > 0 && strcmp(argv[0], "op") == 0) {
        return command_bench_op(argc - 1, argv + 1);
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("Usage: plumb bench train [options]\n       plumb bench op [OP] [options]\n%s\n\n"
               "plumb bench train --help and plumb bench op --help list the options.\n",
               cli_command("bench")->summary);
        return 0;
    }
    return cli_refuse("bench", "what? plumb bench train, or plumb bench op conv2d");
}
