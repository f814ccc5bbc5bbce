/* bench op: single ops on shapes that matter, forward and backward, checked against the reference, then timed. */
#include <math.h>

#include "cli/bench.h"

#define INPUTS_MAX 3

/* A problem: inputs of these shapes, made into one tensor. */
struct problem {
    const char *op, *label;
    int n_in;
    plumb_shape in[INPUTS_MAX];
    plumb_t (*build)(plumb_graph *g, const plumb_t *in);
};

#define SHAPE(...)                                                                                           \
    {                                                                                                        \
        .rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = { __VA_ARGS__ }            \
    }

static plumb_t build_conv_same(plumb_graph *g, const plumb_t *in)
{
    return plumb_conv2d(
        g, in[0], in[1], PLUMB_NONE,
        &(plumb_conv2d_options){.size = sizeof(plumb_conv2d_options), .padding = {2, 2, 2, 2}});
}

static plumb_t build_conv_valid(plumb_graph *g, const plumb_t *in)
{
    return plumb_conv2d(g, in[0], in[1], PLUMB_NONE, NULL);
}

static plumb_t build_conv_3x3(plumb_graph *g, const plumb_t *in)
{
    return plumb_conv2d(
        g, in[0], in[1], PLUMB_NONE,
        &(plumb_conv2d_options){.size = sizeof(plumb_conv2d_options), .padding = {1, 1, 1, 1}});
}

static plumb_t build_matmul(plumb_graph *g, const plumb_t *in)
{
    return plumb_matmul(g, in[0], in[1], false, false);
}

static plumb_t build_max_pool(plumb_graph *g, const plumb_t *in)
{
    return plumb_max_pool2d(g, in[0],
                            &(plumb_pool2d_options){.size = sizeof(plumb_pool2d_options), .window = {2, 2}});
}

static plumb_t build_average_pool(plumb_graph *g, const plumb_t *in)
{
    return plumb_average_pool2d(
        g, in[0], &(plumb_pool2d_options){.size = sizeof(plumb_pool2d_options), .window = {2, 2}});
}

static plumb_t build_relu(plumb_graph *g, const plumb_t *in) { return plumb_relu(g, in[0]); }

static plumb_t build_add(plumb_graph *g, const plumb_t *in) { return plumb_add(g, in[0], in[1]); }

static plumb_t build_softmax(plumb_graph *g, const plumb_t *in) { return plumb_softmax(g, in[0], -1); }

static plumb_t build_sum(plumb_graph *g, const plumb_t *in)
{
    return plumb_sum(g, in[0], PLUMB_AXES(0, 2, 3), false);
}

static const struct problem problems[] = {
    {"conv2d", "lenet conv1, batch 64", 2, {SHAPE(64, 1, 28, 28), SHAPE(6, 1, 5, 5)}, build_conv_same},
    {"conv2d", "lenet conv2, batch 64", 2, {SHAPE(64, 6, 14, 14), SHAPE(16, 6, 5, 5)}, build_conv_valid},
    {"conv2d",
     "3x3 64 to 64 at 32x32, batch 8",
     2,
     {SHAPE(8, 64, 32, 32), SHAPE(64, 64, 3, 3)},
     build_conv_3x3},
    {"matmul", "lenet fc1, batch 64", 2, {SHAPE(64, 400), SHAPE(400, 120)}, build_matmul},
    {"matmul", "512 x 512 x 512", 2, {SHAPE(512, 512), SHAPE(512, 512)}, build_matmul},
    {"max_pool2d", "lenet pool1, batch 64", 1, {SHAPE(64, 6, 28, 28)}, build_max_pool},
    {"average_pool2d", "lenet pool1, batch 64", 1, {SHAPE(64, 6, 28, 28)}, build_average_pool},
    {"relu", "64 x 6 x 28 x 28", 1, {SHAPE(64, 6, 28, 28)}, build_relu},
    {"add", "a row to 1024 x 1024", 2, {SHAPE(1024, 1024), SHAPE(1024)}, build_add},
    {"softmax", "1024 x 1000", 1, {SHAPE(1024, 1000)}, build_softmax},
    {"sum", "to channels, 64 x 16 x 28 x 28", 1, {SHAPE(64, 16, 28, 28)}, build_sum},
};
#define PROBLEMS ((int)(sizeof(problems) / sizeof(problems[0])))

static const char *op_name(const void *user, int index)
{
    (void)user;
    return index < PROBLEMS ? problems[index].op : NULL;
}

struct bench_op {
    struct common_options common;
    const char *op;
    int64_t samples;
    plumb_context *context, *reference;
};

/* A problem in one context. */
struct made {
    plumb_graph *graph;
    plumb_t in[INPUTS_MAX + 1]; /* the last one is dy */
    plumb_shape shapes[INPUTS_MAX + 1];
    plumb_t y, d[INPUTS_MAX];
};

static plumb_status feed_random(plumb_context *context, plumb_program *program, plumb_t input,
                                plumb_shape shape, uint32_t stream)
{
    int64_t count = plumb_shape_count(&shape);
    float *x = plumb_alloc(context, (size_t)count * sizeof(float));
    if (!x) {
        return PLUMB_FAILED;
    }
    for (int64_t i = 0; i < count; i++) {
        x[i] = (float)(2 * plumb_uniform_of_word(plumb_random_word(plumb_seed(context), stream, 0, i)) - 1);
    }
    plumb_status status = plumb_feed(program, input, x, (size_t)count * sizeof(float));
    plumb_free(context, x);
    return status;
}

static plumb_status run_program(void *user) { return plumb_run(user); }

static void print_result(const struct bench_op *b, const struct problem *p, const char *direction,
                         double worst, const struct bench_times *t, double flops)
{
    double rate = flops / t->median / 1e9;
    if (b->common.json) {
        printf("{\"bench\":\"op\",\"op\":\"%s\",\"problem\":\"%s\",\"direction\":\"%s\",\"difference\":",
               p->op, p->label, direction);
        json_number(stdout, worst);
        printf(",\"seconds\":");
        json_number(stdout, t->median);
        printf(",\"seconds_low\":");
        json_number(stdout, t->low);
        printf(",\"seconds_high\":");
        json_number(stdout, t->high);
        printf(",\"gflops\":");
        json_number(stdout, rate);
        printf(",\"threads\":%d}\n", plumb_threads(b->context));
        return;
    }
    printf("%-14s %-34s %-8s %10.4f %9.0f%% %10.1f %10.1e\n", p->op, p->label, direction, 1e3 * t->median,
           100 * bench_spread(t), rate, worst);
    fflush(stdout);
}

/* Runs it forward or backward with the chosen implementations, or with the reference's. */
static plumb_status run_made(plumb_context *context, const struct problem *p, const struct made *m, bool backward,
                             const char *implementations, plumb_program **program)
{
    *program = plumb_compile(m->graph, NULL,
                             &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                      .outputs = backward ? m->d : &m->y,
                                                      .n_outputs = backward ? p->n_in : 1,
                                                      .training = true,
                                                      .implementations = implementations});
    plumb_status status = *program ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; !status && i < p->n_in + backward; i++) {
        status = feed_random(context, *program, m->in[i], m->shapes[i], 0x6f70u + (uint32_t)i);
    }
    return status ? status : plumb_run(*program);
}

/* Compares with the reference, and times. */
static plumb_status check_and_time(const struct bench_op *b, const struct problem *p, const struct made m[2],
                                   bool backward)
{
    const char *direction = backward ? "backward" : "forward";
    plumb_program *programs[2] = {NULL, NULL};
    double worst = 0, flops = 0, bytes = 0;
    plumb_status status = run_made(b->context, p, &m[0], backward, NULL, &programs[0]);
    if (!status) {
        status = run_made(b->reference, p, &m[1], backward, "*=cpu.ref", &programs[1]);
        status = bench_say(b->context, b->reference, status);
    }
    for (int i = 0; !status && i < (backward ? p->n_in : 1); i++) {
        status = bench_difference(b->context, programs[0], backward ? m[0].d[i] : m[0].y, programs[1],
                                  backward ? m[1].d[i] : m[1].y, &worst);
    }
    if (!status && !(worst <= BENCH_AGREE)) {
        status = plumb_fail(b->context, PLUMB_FAILED,
                            "bench: %s (%s, %s) differs from the reference by %.3g: not timed", p->op,
                            p->label, direction, worst);
    }
    double seconds[BENCH_SAMPLES_MAX];
    struct bench_timed timed = {.step = run_program, .user = programs[0], .seconds = seconds};
    int failed;
    if (!status) {
        status = plumb_program_cost(programs[0], &flops, &bytes);
    }
    if (!status) {
        status = bench_time(&timed, 1, (int)b->samples, &failed);
    }
    if (!status) {
        print_result(b, p, direction, worst, &timed.times, flops);
    }
    plumb_program_free(programs[0]);
    plumb_program_free(programs[1]);
    return status;
}

static plumb_status make_problem(plumb_context *context, const struct problem *p, struct made *m)
{
    static const char *const names[INPUTS_MAX + 1] = {"a", "b", "c", "d"};
    m->graph = plumb_graph_new(context, p->op);
    if (!m->graph) {
        return plumb_last_status(context);
    }
    for (int i = 0; i < p->n_in; i++) {
        m->shapes[i] = p->in[i];
        m->in[i] = plumb_input(m->graph, names[i], PLUMB_F32, m->shapes[i]);
    }
    m->y = p->build(m->graph, m->in);
    m->shapes[p->n_in] = plumb_shape_of(m->graph, m->y);
    m->in[p->n_in] = plumb_input(m->graph, names[p->n_in], PLUMB_F32, m->shapes[p->n_in]);
    return plumb_gradients_from(m->graph, &m->y, &m->in[p->n_in], 1, m->in, p->n_in, m->d);
}

static plumb_status run_problem(const struct bench_op *b, const struct problem *p)
{
    struct made m[2] = {{0}, {0}};
    plumb_status status = make_problem(b->context, p, &m[0]);
    if (!status) {
        status = bench_say(b->context, b->reference, make_problem(b->reference, p, &m[1]));
    }
    for (int backward = 0; !status && backward < 2; backward++) {
        status = check_and_time(b, p, m, backward);
    }
    plumb_graph_free(m[0].graph);
    plumb_graph_free(m[1].graph);
    return status;
}

int command_bench_op(int argc, char **argv)
{
    struct bench_op b = {.common = COMMON_DEFAULTS, .samples = 11};
    const struct option_row rows[] = {
        {"samples", "N", "of at least 0.05 s each (default 11)", OPTION_WHOLE, &b.samples, 3,
         BENCH_SAMPLES_MAX, NULL},
        COMMON_ROWS(b.common),
    };
    static const struct command self = {"bench op", "[OP]",
                                        "Times single ops, or one of them, forward and backward.", NULL};
    int code = 0, ran = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), &b.op, NULL}, argc, argv, &code)) {
        return code;
    }
    for (int i = 0; b.op && i < PROBLEMS; i++) {
        ran += strcmp(b.op, problems[i].op) == 0;
    }
    if (b.op && ran == 0) {
        const char *near = cli_nearest(b.op, op_name, NULL);
        return cli_refuse("bench op", "there is no problem for '%s'%s%s%s", b.op,
                          near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    b.context = cli_open(&b.common, &code);
    b.reference = b.context ? bench_open_reference(&b.common, &code) : NULL;
    if (!b.reference) {
        plumb_close(b.context);
        return code;
    }
    if (!b.common.json) {
        printf("%-14s %-34s %-8s %10s %10s %10s %10s\n", "op", "problem", "", "ms", "spread", "GFLOP/s",
               "difference");
    }
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < PROBLEMS; i++) {
        if (!b.op || strcmp(b.op, problems[i].op) == 0) {
            status = run_problem(&b, &problems[i]);
        }
    }
    code = status ? cli_fail("bench op", b.context, status) : 0;
    plumb_close(b.reference);
    plumb_close(b.context);
    return code;
}
