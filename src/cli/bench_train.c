/* bench train: a whole training step, loader included, compared with the reference and then timed; or, with --profile,
 * taken apart op by op, unchecked, because that is for looking and not for figures. */
#include "cli/bench.h"

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
    bool profile, nodes;
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
    bool profile = b->profile || b->nodes;
    if (!status && !profile) {
        status = check_step(b, &worst);
    }
    close_reference(b);
    if (!status) {
        s->program = plumb_compile_training(s->net.graph, s->state, s->net.loss,
                                            &(plumb_optimizer){.size = sizeof(plumb_optimizer),
                                                               .rule = b->optimizer,
                                                               .precision = cli_precision(b->precision)},
                                            &s->net.logits, 1);
        status = s->program ? PLUMB_OK : plumb_last_status(s->context);
    }
    if (!status && profile) {
        return bench_profile(s->context, s->program, one_step, s, (int)b->samples, b->nodes, b->common.json);
    }
    if (!status) {
        status = bench_time(one_step, s, (int)b->samples, &times);
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

int command_bench_train(int argc, char **argv)
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
        {"profile", NULL, "show instead where the time goes, by op and implementation; checks nothing", OPTION_FLAG,
         &b.profile, 0, 0, NULL},
        {"profile-nodes", NULL, "the same op by op, with shapes", OPTION_FLAG, &b.nodes, 0, 0, NULL},
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
