/* bench data: what the loader does for a step and nothing else, in pictures a second: shuffling every epoch, gathering a
 * batch of bytes from all over the set, making floats of them where the program will read them. And how long reading and
 * unpacking the files takes. */
#include "cli/bench.h"

struct bench_data {
    struct common_options common;
    const char *data, *batches;
    int64_t samples;
    plumb_context *context;
    plumb_dataset *set;
};

struct gathering {
    plumb_context *context;
    plumb_program *program;
    plumb_loader *loader;
    plumb_t image, label;
    int64_t batch;
};

static plumb_status next_batch(void *user)
{
    struct gathering *g = user;
    int64_t count = plumb_loader_next(g->loader, g->program, g->image, g->label);
    if (count == 0) {
        count = plumb_loader_next(g->loader, g->program, g->image, g->label);
    }
    return count < 0 ? plumb_last_status(g->context) : PLUMB_OK;
}

/* A program that takes pictures and labels, and is never run. */
static plumb_status open_gathering(struct gathering *g, const struct bench_data *b, plumb_graph *graph, int64_t batch)
{
    const plumb_loader_options options = {.size = sizeof(options), .batch = batch, .shuffle = true, .drop_last = true};
    const plumb_compile_options compile = {.size = sizeof(compile), .outputs = (plumb_t[]){g->image, g->label}, .n_outputs = 2};
    g->context = b->context;
    g->batch = batch;
    g->program = plumb_compile(graph, NULL, &compile);
    g->loader = g->program ? plumb_loader_new(b->set, &options) : NULL;
    return g->loader ? PLUMB_OK : plumb_last_status(b->context);
}

static void print_data(const struct bench_data *b, const struct gathering *g, const struct bench_times *t)
{
    plumb_shape shape = plumb_dataset_shape(b->set);
    double rate = (double)g->batch / t->median, bytes = rate * (double)plumb_shape_count(&shape) * sizeof(float);
    if (b->common.json) {
        printf("{\"bench\":\"data\",\"data\":");
        json_text(stdout, b->data);
        printf(",\"batch\":%lld,\"threads\":%d", (long long)g->batch, plumb_threads(b->context));
        bench_json_times(t);
        printf(",\"images_per_s\":%.6g,\"gb_per_s\":%.4g}\n", rate, bytes / 1e9);
        return;
    }
    printf("batch %6lld: %10.1f us (spread %3.0f%%), %12.0f pictures/s, %.2f GB/s of floats\n", (long long)g->batch,
           1e6 * t->median, 100 * bench_spread(t), rate, bytes / 1e9);
}

static plumb_status time_batches(struct bench_data *b, const int64_t *batch, int count)
{
    struct gathering g[BENCH_LIST_MAX];
    struct bench_timed timed[BENCH_LIST_MAX];
    plumb_shape one = plumb_dataset_shape(b->set);
    plumb_graph *graph = plumb_graph_new(b->context, "data");
    double *seconds = plumb_alloc(b->context, sizeof(double) * (size_t)(count * b->samples));
    plumb_status status = graph && seconds ? PLUMB_OK : PLUMB_FAILED;
    plumb_t image = plumb_input(graph, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, one.dim[0], one.dim[1], one.dim[2]));
    plumb_t label = plumb_input(graph, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    for (int i = 0; !status && i < count; i++) {
        g[i] = (struct gathering){.image = image, .label = label};
        timed[i] = (struct bench_timed){.step = next_batch, .user = &g[i], .seconds = seconds + i * b->samples};
        status = open_gathering(&g[i], b, graph, batch[i]);
    }
    int failed;
    status = status ? status : bench_time(timed, count, (int)b->samples, &failed);
    for (int i = 0; !status && i < count; i++) {
        print_data(b, &g[i], &timed[i].times);
    }
    plumb_free(b->context, seconds);
    return status;
}

static plumb_status read_set(struct bench_data *b)
{
    double begin = plumb_seconds();
    b->set = plumb_dataset_find(b->context, b->data, "train", &(plumb_dataset_options){.size = sizeof(plumb_dataset_options),
                                                                                      .classes = 256});
    double seconds = plumb_seconds() - begin;
    if (!b->set) {
        return plumb_last_status(b->context);
    }
    long long count = (long long)plumb_dataset_count(b->set);
    if (b->common.json) {
        printf("{\"bench\":\"read\",\"data\":");
        json_text(stdout, b->data);
        printf(",\"examples\":%lld,\"seconds\":%.6g}\n", count, seconds);
    } else {
        printf("read %lld pictures in %.3f s\n", count, seconds);
    }
    return PLUMB_OK;
}

int command_bench_data(int argc, char **argv)
{
    struct bench_data b = {.common = COMMON_DEFAULTS, .data = "fashion-mnist", .batches = "1,64,512", .samples = 11};
    const struct option_row rows[] = {
        {"data", "SET", "name or folder (default fashion-mnist)", OPTION_TEXT, &b.data, 0, 0, NULL},
        {"batch", "LIST", "default 1,64,512", OPTION_TEXT, &b.batches, 0, 0, NULL},
        {"samples", "N", "of at least 0.05 s each (default 11)", OPTION_WHOLE, &b.samples, 3, BENCH_SAMPLES_MAX, NULL},
        COMMON_ROWS(b.common),
    };
    static const struct command self = {"bench data", "", "Times reading a data set and gathering batches of it.", NULL};
    int64_t batch[BENCH_LIST_MAX];
    int code = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    int count = bench_numbers("bench data", "batch", b.batches, 1, 65536, batch);
    if (count == 0) {
        return PLUMB_BAD_INPUT;
    }
    b.context = cli_open(&b.common, &code);
    if (b.context) {
        plumb_status status = read_set(&b);
        status = status ? status : time_batches(&b, batch, count);
        code = status ? cli_fail("bench data", b.context, status) : 0;
    }
    plumb_close(b.context);
    return code;
}
