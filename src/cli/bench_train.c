/* bench train: whole training steps, loader included, of networks with random pictures. Any of models, batches, threads,
 * precisions and devices may be a list; every combination is opened, checked as bench.h says, and all are timed in turns.
 * With --profile the steps are taken apart op by op, unchecked, because that is for looking and not for figures. */
#include "cli/bench.h"

/* One combination. */
struct run {
    plumb_context *context;
    const char *device;
    struct bench_net net;
    struct bench_agreement agreement;
    double flops, bytes; /* of a step */
};

struct bench_train {
    struct common_options common;
    const char *models, *batches, *threads, *precisions, *devices, *optimizer, *check;
    int64_t classes, samples, picture;
    bool profile, nodes;
    struct run *run;
    int n_runs;
};

/* ---- checking ---- */

static bool same_check(const struct bench_net_options *a, const struct bench_net_options *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->precision, b->precision) == 0 && a->batch == b->batch &&
           a->picture.dim[1] == b->picture.dim[1];
}

/* Checks run `i`, unless an earlier one on the same device came down to the same. */
static plumb_status check(struct bench_train *b, int i, int *code)
{
    struct run *r = &b->run[i];
    bool full = strcmp(b->check, "full") == 0;
    plumb_status status = bench_shrink(r->context, &r->net.options, full, &r->agreement.options);
    for (int k = 0; !status && k < i; k++) {
        if (strcmp(b->run[k].device, r->device) == 0 && same_check(&b->run[k].agreement.options, &r->agreement.options)) {
            r->agreement = b->run[k].agreement;
            return PLUMB_OK;
        }
    }
    if (status) {
        return status;
    }
    plumb_context *reference = bench_open_reference(&b->common, code);
    if (!reference) {
        return PLUMB_FAILED;
    }
    status = bench_agree(r->context, reference, &r->agreement);
    plumb_close(reference);
    return status;
}

/* ---- printing ---- */

static void print_run(const struct bench_train *b, const struct run *r, const struct bench_times *t)
{
    const struct bench_net_options *o = &r->net.options;
    const struct bench_agreement *a = &r->agreement;
    double rate = (double)o->batch / t->median;
    bool checked = strcmp(b->check, "none") != 0;
    if (b->common.json) {
        printf("{\"bench\":\"train\",\"model\":\"%s\",\"device\":\"%s\",\"precision\":\"%s\",\"optimizer\":\"%s\"", o->model,
               r->device, o->precision, o->optimizer);
        printf(",\"batch\":%lld,\"height\":%lld,\"threads\":%d,\"checked\":", (long long)o->batch,
               (long long)r->net.net.input_shape.dim[1], plumb_threads(r->context));
        if (checked) {
            printf("{\"batch\":%lld,\"height\":%lld,\"ops\":", (long long)a->options.batch,
                   (long long)a->options.picture.dim[1]);
            json_number(stdout, a->ops);
            printf(",\"loss\":");
            json_number(stdout, a->loss);
            printf(",\"gradients\":");
            json_number(stdout, a->gradients);
            printf("}");
        } else {
            printf("false");
        }
        bench_json_times(t);
        printf(",\"images_per_s\":");
        json_number(stdout, rate);
        printf(",\"gflops\":");
        json_number(stdout, r->flops / t->median / 1e9);
        printf(",\"peak_memory_bytes\":%lld}\n", (long long)plumb_memory_peak(r->context));
        return;
    }
    printf("%s, batch %lld, %s, %s, %s, %d threads: %.3f ms a step (%.3f to %.3f, spread %.0f%%), %.0f images/s, %.1f "
           "GFLOP/s\n",
           o->model, (long long)o->batch, o->optimizer, o->precision, r->device, plumb_threads(r->context), 1e3 * t->median,
           1e3 * t->low, 1e3 * t->high, 100 * bench_spread(t), rate, r->flops / t->median / 1e9);
    if (checked) {
        printf("    checked with batch %lld, %lld x %lld: ops within %.2g of the reference, loss %.2g, gradients %.2g\n",
               (long long)a->options.batch, (long long)a->options.picture.dim[1], (long long)a->options.picture.dim[2],
               a->ops, a->loss, a->gradients);
    }
}

/* ---- running ---- */

static plumb_status open_run(struct bench_train *b, int i, int *code)
{
    struct run *r = &b->run[i];
    plumb_status status = PLUMB_OK;
    if (!b->profile && strcmp(b->check, "none") != 0) {
        status = check(b, i, code);
    }
    status = status ? status : bench_net_make(&r->net, r->context, &r->net.options);
    status = status ? status : bench_net_data(&r->net);
    status = status ? status : bench_net_training(&r->net);
    status = status ? status : plumb_bind(r->net.program, PLUMB_BATCH, r->net.options.batch);
    return status ? status : plumb_program_cost(r->net.program, &r->flops, &r->bytes);
}

static plumb_status time_runs(struct bench_train *b, int *failed)
{
    plumb_context *context = b->run[0].context;
    struct bench_timed *timed = plumb_zalloc(context, sizeof(*timed) * (size_t)b->n_runs);
    double *seconds = plumb_alloc(context, sizeof(double) * (size_t)(b->n_runs * b->samples));
    plumb_status status = timed && seconds ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; !status && i < b->n_runs; i++) {
        timed[i] = (struct bench_timed){
            .step = bench_net_step, .user = &b->run[i].net, .seconds = seconds + i * b->samples};
    }
    status = status ? status : bench_time(timed, b->n_runs, (int)b->samples, failed);
    for (int i = 0; !status && i < b->n_runs; i++) {
        print_run(b, &b->run[i], &timed[i].times);
    }
    plumb_free(context, timed);
    plumb_free(context, seconds);
    return status;
}

static plumb_status run_all(struct bench_train *b, int *failed, int *code)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < b->n_runs; i++) {
        *failed = i;
        status = open_run(b, i, code);
    }
    if (status || !b->profile) {
        return status ? status : time_runs(b, failed);
    }
    for (int i = 0; !status && i < b->n_runs; i++) {
        struct bench_net *n = &b->run[i].net;
        *failed = i;
        status = bench_profile(n->context, n->program, bench_net_step, n, (int)b->samples, b->nodes, b->common.json);
    }
    return status;
}

/* ---- what was asked for ---- */

struct lists {
    const char *models[BENCH_LIST_MAX], *precisions[BENCH_LIST_MAX], *devices[BENCH_LIST_MAX];
    int64_t batches[BENCH_LIST_MAX], threads[BENCH_LIST_MAX];
    int n_models, n_precisions, n_devices, n_batches, n_threads;
};

/* Devices are not a fixed list of names: cut the text at its commas, in place. */
static int cut_devices(char *text, const char **devices)
{
    int count = 0;
    for (char *at = text; at && count < BENCH_LIST_MAX;) {
        devices[count++] = at;
        at = strchr(at, ',');
        if (at) {
            *at++ = 0;
        }
    }
    return count;
}

static bool read_lists(struct bench_train *b, struct lists *l, char *devices)
{
    const char *name = "bench train";
    l->threads[0] = 0; /* as many as there are */
    l->n_models = bench_names(name, "model", b->models, cli_model_name, l->models);
    l->n_precisions =
        l->n_models ? bench_names(name, "precision", b->precisions, cli_precision_name, l->precisions) : 0;
    l->n_batches = l->n_precisions ? bench_numbers(name, "batch", b->batches, 1, 65536, l->batches) : 0;
    l->n_threads = 1;
    if (b->threads) {
        l->n_threads = l->n_batches ? bench_numbers(name, "threads", b->threads, 1, 1024, l->threads) : 0;
    }
    l->n_devices = cut_devices(devices, l->devices);
    return l->n_batches && l->n_threads;
}

/* Run i of all combinations: devices vary fastest, so that they are printed side by side. */
static bool make_run(struct bench_train *b, const struct lists *l, int i, int *code)
{
    struct run *r = &b->run[i];
    struct common_options common = b->common;
    r->device = common.device = l->devices[i % l->n_devices];
    i /= l->n_devices;
    r->net.options.precision = l->precisions[i % l->n_precisions];
    i /= l->n_precisions;
    common.threads = l->threads[i % l->n_threads];
    i /= l->n_threads;
    r->net.options.batch = l->batches[i % l->n_batches];
    r->net.options.model = l->models[i / l->n_batches];
    r->net.options.optimizer = b->optimizer;
    r->net.options.classes = b->classes;
    if (b->picture) {
        r->net.options.picture = (plumb_shape){.rank = 3, .dim = {3, b->picture, b->picture}};
        for (int k = 0; cli_model_name(k); k++) {
            if (strcmp(cli_model_name(k), r->net.options.model) == 0) {
                r->net.options.picture.dim[0] = plumb_model_input_shape(k).dim[0];
            }
        }
    }
    r->context = cli_open(&common, code);
    return r->context != NULL;
}

static int run_lists(struct bench_train *b, const struct lists *l)
{
    int code = 0, all = l->n_models * l->n_batches * l->n_threads * l->n_precisions * l->n_devices, failed = 0;
    b->run = calloc((size_t)all, sizeof(*b->run));
    if (!b->run) {
        return cli_refuse("bench train", "out of memory");
    }
    while (b->n_runs < all && make_run(b, l, b->n_runs, &code)) {
        b->n_runs++;
    }
    if (!code) {
        plumb_status status = run_all(b, &failed, &code);
        code = status && !code ? cli_fail("bench train", b->run[failed].context, status) : code;
    }
    for (int i = 0; i < b->n_runs; i++) {
        plumb_close(b->run[i].context);
    }
    free(b->run);
    return code;
}

static const char *optimizer_name(int index)
{
    return index < plumb_optimizer_count() ? plumb_optimizer_rule(index) : NULL;
}

static const char *check_name(int index)
{
    static const char *const names[] = {"small", "full", "none"};
    return index < 3 ? names[index] : NULL;
}

int command_bench_train(int argc, char **argv)
{
    struct bench_train b = {.common = COMMON_DEFAULTS, .models = "lenet5", .batches = "64", .precisions = "f32",
                            .devices = "cpu", .optimizer = "adam", .check = "small", .samples = 21};
    const struct option_row rows[] = {
        {"model", "LIST", "the networks (default lenet5)", OPTION_TEXT, &b.models, 0, 0, NULL},
        {"batch", "LIST", "examples in a step (default 64)", OPTION_TEXT, &b.batches, 0, 0, NULL},
        {"threads", "LIST", "threads to use (default: as many as the process may)", OPTION_TEXT, &b.threads, 0, 0, NULL},
        {"precision", "LIST", "computed in: f32, bf16, f16; default f32", OPTION_TEXT, &b.precisions, 0, 0, NULL},
        {"device", "LIST", "cpu (default), cuda, cuda:N, auto", OPTION_TEXT, &b.devices, 0, 0, NULL},
        {"classes", "N", "of the models (default: their own)", OPTION_WHOLE, &b.classes, 2, 100000, NULL},
        {"picture", "N", "height and width of the pictures (default: the model's)", OPTION_WHOLE, &b.picture, 1, 4096, NULL},
        {"optimizer", "RULE", "default adam", OPTION_NAME, &b.optimizer, 0, 0, optimizer_name},
        {"samples", "N", "of at least 0.05 s each (default 21)", OPTION_WHOLE, &b.samples, 3,
         BENCH_SAMPLES_MAX, NULL},
        {"check", "HOW", "before timing: at a size that takes some seconds, as timed, or not at all", OPTION_NAME, &b.check, 0,
         0, check_name},
        {"profile", NULL, "show instead where the time goes, by op and implementation; checks nothing", OPTION_FLAG,
         &b.profile, 0, 0, NULL},
        {"profile-nodes", NULL, "the same op by op, with shapes", OPTION_FLAG, &b.nodes, 0, 0, NULL},
        COMMON_REST(b.common),
    };
    static const struct command self = {"bench train", "",
                                        "Times training steps of random pictures, loader included.", NULL};
    static const char notes[] = "A LIST is separated by commas; all combinations are timed in turns.\n";
    struct lists lists = {0};
    int code = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), NULL, notes}, argc, argv, &code)) {
        return code;
    }
    char devices[4097];
    snprintf(devices, sizeof(devices), "%s", b.devices);
    if (!read_lists(&b, &lists, devices)) {
        return PLUMB_BAD_INPUT;
    }
    b.profile |= b.nodes;
    return run_lists(&b, &lists);
}
