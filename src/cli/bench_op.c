/* bench op: single ops, from the command line, from named sets, or as a model's training step has them, each checked and
 * then timed with one implementation or several in turns. Ops are found by running a program and looking at its steps, so
 * that gradients, fused forms, layouts and inputs (labels, indices of maxima) are those of the real thing. */
#include <math.h>

#include "cli/bench.h"

/* ---- named sets ---- */

struct problem {
    const char *set, *op, *shapes, *attributes;
};

static const struct problem problems[] = {
    {"basic", "conv2d", "64x1x28x28,6x1x5x5", "padding=2"},
    {"basic", "conv2d", "64x6x14x14,16x6x5x5", NULL},
    {"basic", "conv2d", "8x64x32x32,64x64x3x3", "padding=1"},
    {"basic", "matmul", "64x400,400x120", NULL},
    {"basic", "matmul", "512x512,512x512", NULL},
    {"basic", "max_pool2d", "64x6x28x28", NULL},
    {"basic", "average_pool2d", "64x6x28x28", NULL},
    {"basic", "relu", "64x6x28x28", NULL},
    {"basic", "add", "1024x1024,1024", NULL},
    {"basic", "softmax", "1024x1000", NULL},
    {"basic", "sum", "64x16x28x28", "axes=0x2x3"},
    {"gemm", "matmul", "64x784,128x784", "transpose_b=1"},
    {"gemm", "matmul", "64x400,120x400", "transpose_b=1"},
    {"gemm", "matmul", "64x120,84x120", "transpose_b=1"},
    {"gemm", "matmul", "64x84,10x84", "transpose_b=1"},
    {"gemm", "matmul", "64x64,64x64", NULL},
    {"gemm", "matmul", "128x128,128x128", NULL},
    {"gemm", "matmul", "256x256,256x256", NULL},
    {"gemm", "matmul", "512x512,512x512", NULL},
    {"gemm-large", "matmul", "2048x2048,2048x2048", NULL},
};
#define PROBLEMS ((int)(sizeof(problems) / sizeof(problems[0])))

/* The sets, each once, then the models. */
static const char *set_name(int index)
{
    for (int i = 0; i < PROBLEMS; i++) {
        if (i == 0 || strcmp(problems[i].set, problems[i - 1].set) != 0) {
            if (index-- == 0) {
                return problems[i].set;
            }
        }
    }
    return cli_model_name(index);
}

static bool is_model(const char *name)
{
    bool found = false;
    for (int i = 0; cli_model_name(i); i++) {
        found = found || strcmp(cli_model_name(i), name) == 0;
    }
    return found;
}

/* ---- what is being done ---- */

struct bench_op {
    struct common_options common;
    struct bench_spec spec; /* op NULL: all of the set */
    const char *set, *dtype, *compare, *layout, *direction, *check;
    int64_t samples, batch, picture;
    double least;
    struct bench_case_options options;
    struct bench_ceilings ceilings;
    plumb_context *context, *reference;
    struct program *program;                  /* the one that runs */
    bool of_model;
    int ran, compared;
    double logs, lowest, first, second;       /* of ratios; seconds of all ops of the set */
};

/* "conv2d" is also its backward ops. */
static bool is_asked_for(const struct bench_op *b, const plumb_call *call)
{
    size_t n = b->spec.op ? strlen(b->spec.op) : 0;
    bool forward = b->of_model ? !(call->op->flags & PLUMB_OP_BACKWARD) : strcmp(call->name, BENCH_FORWARD) == 0;
    if (strcmp(b->direction, "all") != 0 && forward != (strcmp(b->direction, "forward") == 0)) {
        return false;
    }
    if (!b->of_model || n == 0) {
        return true;
    }
    return strncmp(call->op->name, b->spec.op, n) == 0 &&
           (call->op->name[n] == 0 || strncmp(call->op->name + n, "_backward", 9) == 0);
}

static bool same_call(const plumb_call *a, const plumb_call *b)
{
    bool same = a->op == b->op && a->n_in == b->n_in && a->n_out == b->n_out &&
                (a->op->attr_size == 0 || memcmp(a->attr, b->attr, a->op->attr_size) == 0);
    for (int k = 0; same && k < a->n_in + a->n_out; k++) {
        same = a->in[k].dtype == b->in[k].dtype && plumb_views_alike(&a->in[k], &b->in[k]);
    }
    return same;
}

/* ---- printing ---- */

static void print_json(const struct bench_op *b, const plumb_call *call, const struct bench_result *r, int count)
{
    char shapes[512], attributes[256];
    plumb_dtype dtype = plumb_call_dtype(call);
    double rate = r->flops / r->times.median, moved = r->bytes / r->times.median, peak = bench_peak_of(&b->ceilings, dtype);
    printf("{\"bench\":\"op\",\"op\":\"%s\",\"name\":", call->op->name);
    json_text(stdout, call->name);
    printf(",\"shapes\":\"%s\",\"attributes\":\"%s\",\"count\":%d,\"dtype\":\"%s\",\"implementation\":\"%s\",\"layout\":\"%s\"",
           bench_shapes(call, shapes, sizeof(shapes)), bench_attributes(call, attributes, sizeof(attributes)), count,
           plumb_dtype_name(dtype), r->implementation, r->layout);
    printf(",\"threads\":%d,\"difference\":", plumb_threads(b->context));
    json_number(stdout, b->options.check ? r->difference : (double)NAN);
    bench_json_times(&r->times);
    printf(",\"gflops\":");
    json_number(stdout, rate / 1e9);
    printf(",\"share_of_peak\":");
    json_number(stdout, peak > 0 ? rate / peak : (double)NAN);
    printf(",\"gb_per_s\":");
    json_number(stdout, moved / 1e9);
    printf(",\"share_of_triad\":");
    json_number(stdout, b->ceilings.bytes > 0 ? moved / b->ceilings.bytes : (double)NAN);
    printf("}\n");
}

static void print_share(double value, double of)
{
    if (of > 0) {
        printf(" %4.0f%%", 100 * value / of);
    } else {
        printf(" %5s", "");
    }
}

static void print_table(const struct bench_op *b, const plumb_call *call, const struct bench_result *r, int n, int count)
{
    char shapes[512], attributes[256];
    double peak = bench_peak_of(&b->ceilings, plumb_call_dtype(call));
    printf("%s %s", call->op->name, bench_shapes(call, shapes, sizeof(shapes)));
    if (*bench_attributes(call, attributes, sizeof(attributes))) {
        printf("[%s] ", attributes);
    }
    printf(count > 1 ? "%d times\n" : "\n", count);
    for (int i = 0; i < n; i++) {
        double rate = r[i].flops / r[i].times.median, moved = r[i].bytes / r[i].times.median;
        printf("    %-20s %-4s %10.4f ms +-%3.0f%% %9.1f GFLOP/s", r[i].implementation, r[i].layout, 1e3 * r[i].times.median,
               50 * bench_spread(&r[i].times), rate / 1e9);
        print_share(rate, peak);
        printf(" %8.1f GB/s", moved / 1e9);
        print_share(moved, b->ceilings.bytes);
        if (b->options.check) {
            printf("   differs by %.1e", r[i].difference);
        }
        printf(i ? "   the first is %.2f times as fast\n" : "\n", r[i].times.median / r[0].times.median);
    }
}

static void print_ceilings(const struct bench_op *b)
{
    const struct bench_ceilings *c = &b->ceilings;
    if (c->flops <= 0) {
        return;
    }
    if (b->common.json) {
        printf("{\"bench\":\"ceilings\",\"isa\":\"%s\",\"threads\":%d,\"gflops\":%.1f,\"gflops_bf16\":%.1f,"
               "\"triad_gb_per_s\":%.1f,\"launch_seconds\":%.3g}\n",
               plumb_isa_name(b->context->isa), plumb_threads(b->context), c->flops / 1e9, c->flops_bf16 / 1e9,
               c->bytes / 1e9, c->launch);
        return;
    }
    printf("at most, %s, %d threads: %.1f GFLOP/s in f32", plumb_isa_name(b->context->isa), plumb_threads(b->context),
           c->flops / 1e9);
    if (c->flops_bf16 > 0) {
        printf(", %.1f in bf16", c->flops_bf16 / 1e9);
    }
    printf(", %.1f GB/s in a triad; a run of the threads takes %.2f us\n", c->bytes / 1e9, 1e6 * c->launch);
}

/* What the first is compared with. */
static const char *others(const struct bench_op *b) { return strchr(b->compare, ',') + 1; }

static void print_summary(const struct bench_op *b)
{
    if (b->compared == 0) {
        return;
    }
    double mean = exp(b->logs / b->compared);
    if (b->common.json) {
        printf("{\"bench\":\"ratio\",\"of\":\"%s\",\"to\":\"%s\",\"ops\":%d,\"geometric_mean\":%.4f,\"least\":%.4f,"
               "\"seconds\":%.6g,\"seconds_to\":%.6g}\n",
               b->options.names[0], others(b), b->compared, mean, b->lowest, b->first, b->second);
        return;
    }
    printf("%s is %.3f times as fast as %s over %d ops (geometric mean; %.3f at least; all of them %.3f and %.3f ms)\n",
           b->options.names[0], mean, others(b), b->compared, b->lowest, 1e3 * b->first, 1e3 * b->second);
}

/* ---- running ---- */

/* The first implementation beside the best of the others. */
static void keep_ratio(struct bench_op *b, const struct bench_result *r, int n, int count)
{
    double best = INFINITY;
    if (n < 2 || strncmp(r[0].implementation, b->options.names[0], strlen(r[0].implementation)) != 0) {
        return;
    }
    for (int i = 1; i < n; i++) {
        best = fmin(best, r[i].times.median);
    }
    double ratio = best / r[0].times.median;
    b->lowest = b->compared && b->lowest < ratio ? b->lowest : ratio;
    b->logs += log(ratio);
    b->first += count * r[0].times.median;
    b->second += count * best;
    b->compared++;
}

/* A step of the program is about to run: its inputs are there. */
static plumb_status look(void *user, int index, const struct plumb_step *step)
{
    struct bench_op *b = user;
    const struct plumb_plan *plan = plumb_current_plan(b->program);
    struct bench_result results[BENCH_LIST_MAX];
    int n = 0, count = 1;
    if (!is_asked_for(b, &step->call)) {
        return PLUMB_OK;
    }
    for (int i = 0; i < plan->n_steps; i++) {
        if (i != index && same_call(&plan->step[i].call, &step->call)) {
            if (i < index) {
                return PLUMB_OK; /* it was done there */
            }
            count++;
        }
    }
    plumb_status status = bench_case(&step->call, b->reference, &b->options, results, &n);
    b->ran += n > 0;
    for (int i = 0; !status && i < n && b->common.json; i++) {
        print_json(b, &step->call, &results[i], count);
    }
    if (!status && n > 0) {
        keep_ratio(b, results, n, count);
        if (!b->common.json) {
            print_table(b, &step->call, results, n, count);
        }
    }
    fflush(stdout);
    return status;
}

static plumb_status run_watched(struct bench_op *b, plumb_program *program, plumb_status (*step)(void *user), void *user)
{
    const struct plumb_watch watch = {look, NULL, b};
    b->program = plumb_program_get(program);
    plumb_watch_steps(program, &watch);
    plumb_status status = step(user);
    plumb_watch_steps(program, NULL);
    return status;
}

static plumb_status run_program(void *user) { return plumb_run(user); }

/* Numbers in -1 to 1; whole ones are indices that every dimension has. */
static plumb_status feed(plumb_context *context, plumb_program *program, const struct bench_built *built, int i,
                         plumb_t input, plumb_type type)
{
    int64_t count = plumb_shape_count(&type.shape), high = type.dtype == PLUMB_U8 ? 2 : 1 << 30;
    size_t bytes = (size_t)count * plumb_dtype_size(type.dtype);
    for (int k = 0; k < built->n_in && type.dtype != PLUMB_U8; k++) {
        for (int d = 0; d < built->type[k].shape.rank; d++) {
            high = built->type[k].shape.dim[d] < high ? built->type[k].shape.dim[d] : high;
        }
    }
    void *x = plumb_alloc(context, bytes);
    for (int64_t k = 0; x && k < count; k++) {
        double u = plumb_uniform_of_word(plumb_random_word(plumb_seed(context), 0x6f70u + (uint32_t)i, 0, k));
        plumb_put(x, type.dtype, k, plumb_dtype_is_float(type.dtype) ? 2 * u - 1 : floor(u * (double)high));
    }
    plumb_status status = x ? plumb_feed(program, input, x, bytes) : PLUMB_FAILED;
    plumb_free(context, x);
    return status;
}

/* The gradient of the result by each input that may have one. */
static plumb_status add_gradients(plumb_graph *graph, struct bench_built *built, plumb_t *dy, plumb_t *out, int *n_out)
{
    plumb_t wrt[BENCH_INPUTS_MAX];
    int n = 0;
    for (int i = 0; i < built->n_in; i++) {
        if (plumb_dtype_is_float(built->type[i].dtype)) {
            wrt[n++] = built->in[i];
        }
    }
    *dy = plumb_input(graph, "dy", plumb_dtype_of(graph, built->y), plumb_shape_of(graph, built->y));
    plumb_status status = plumb_gradients_from(graph, &built->y, dy, 1, wrt, n, out + *n_out);
    *n_out += n;
    return status;
}

static plumb_status run_spec(struct bench_op *b, const struct bench_spec *spec)
{
    struct bench_built built = {0};
    plumb_t out[BENCH_INPUTS_MAX + 1], dy = PLUMB_NONE;
    plumb_graph *graph = plumb_graph_new(b->context, spec->op);
    plumb_status status = graph ? bench_spec_build(spec, graph, &built) : plumb_last_status(b->context);
    const plumb_op *op = plumb_op_named(spec->op);
    int n_out = 1;
    out[0] = built.y;
    if (!status && strcmp(b->direction, "forward") != 0 && op->gradient && !(op->flags & PLUMB_OP_BACKWARD) &&
        plumb_dtype_is_float(plumb_dtype_of(graph, built.y))) {
        status = add_gradients(graph, &built, &dy, out, &n_out);
    }
    /* Nothing is fused or left out: what was asked for is what is timed. */
    const plumb_compile_options options = {.size = sizeof(options), .outputs = out, .n_outputs = n_out, .training = true,
                                           .passes_off = ~(unsigned)PLUMB_PASS_DCE};
    plumb_program *program = status ? NULL : plumb_compile(graph, NULL, &options);
    if (!status && !program) {
        status = plumb_last_status(b->context);
    }
    for (int i = 0; !status && i < built.n_in; i++) {
        status = feed(b->context, program, &built, i, built.in[i], built.type[i]);
    }
    if (!status && dy != PLUMB_NONE) {
        plumb_type type = {plumb_dtype_of(graph, dy), plumb_shape_of(graph, dy)};
        status = feed(b->context, program, &built, built.n_in, dy, type);
    }
    status = status ? status : run_watched(b, program, run_program, program);
    plumb_program_free(program);
    plumb_graph_free(graph);
    return status;
}

static plumb_status run_model(struct bench_op *b)
{
    struct bench_net_options options = {.model = b->set, .optimizer = "adam", .precision = b->dtype, .batch = b->batch};
    struct bench_net net;
    b->of_model = true;
    for (int i = 0; b->picture && cli_model_name(i); i++) {
        if (strcmp(cli_model_name(i), b->set) == 0) {
            options.picture = (plumb_shape){
                .rank = 3, .dim = {plumb_model_input_shape(i).dim[0], b->picture, b->picture}};
        }
    }
    plumb_status status = bench_net_make(&net, b->context, &options);
    status = status ? status : bench_net_data(&net);
    status = status ? status : bench_net_training(&net);
    status = status ? status : run_watched(b, net.program, bench_net_step, &net);
    bench_net_free(&net);
    return status;
}

static plumb_status run_set(struct bench_op *b)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < PROBLEMS; i++) {
        const struct problem *p = &problems[i];
        if (strcmp(p->set, b->set) == 0 && (!b->spec.op || strcmp(p->op, b->spec.op) == 0)) {
            const struct bench_spec spec = {p->op, p->shapes, p->attributes, b->spec.dtype};
            status = run_spec(b, &spec);
        }
    }
    return status;
}

/* ---- the command ---- */

static const char *name_of_op(const void *user, int index)
{
    (void)user;
    return plumb_op_at(index) ? plumb_op_at(index)->name : NULL;
}

static const char *pick(const char *const *names, int count, int index) { return index < count ? names[index] : NULL; }

static const char *layout_name(int index)
{
    static const char *const names[] = {"auto", "rows", "last", "planned"};
    return pick(names, 4, index);
}

static const char *direction_name(int index)
{
    static const char *const names[] = {"all", "forward", "backward"};
    return pick(names, 3, index);
}

static const char *check_name(int index)
{
    static const char *const names[] = {"full", "none"};
    return pick(names, 2, index);
}

static const char *dtype_name(int index)
{
    return index + 1 < PLUMB_DTYPE_COUNT ? plumb_dtype_name((plumb_dtype)(index + 1)) : NULL;
}

/* 0, or the exit code after refusing. */
static int settle(struct bench_op *b)
{
    static char names[BENCH_LIST_MAX][64];
    if (b->spec.op && !plumb_op_named(b->spec.op)) {
        const char *near = cli_nearest(b->spec.op, name_of_op, NULL);
        return cli_refuse("bench op", "no op is called '%s'%s%s%s", b->spec.op, near ? "; did you mean " : "",
                          near ? near : "", near ? "?" : "");
    }
    if (b->spec.shapes && (!b->spec.op || b->set)) {
        return cli_refuse("bench op", b->set ? "--shapes and --set-of exclude each other" : "--shapes: of which op?");
    }
    if (b->spec.set && !b->spec.shapes) {
        return cli_refuse("bench op", "--set: needs the --shapes of the inputs");
    }
    for (const char *at = b->compare; at && b->options.n_names < BENCH_LIST_MAX;) {
        size_t n = strcspn(at, ",");
        snprintf(names[b->options.n_names], 64, "%.*s", (int)(n < 64 ? n : 63), at);
        b->options.names[b->options.n_names] = names[b->options.n_names];
        b->options.n_names++;
        at = at[n] ? at + n + 1 : NULL;
    }
    for (int d = 1; d < PLUMB_DTYPE_COUNT; d++) {
        b->spec.dtype = strcmp(plumb_dtype_name((plumb_dtype)d), b->dtype) == 0 ? (plumb_dtype)d : b->spec.dtype;
    }
    b->set = b->set ? b->set : "basic";
    b->options.implementations = b->common.implementations;
    b->options.layout = b->layout;
    b->options.check = strcmp(b->check, "none") != 0;
    b->options.samples = (int)b->samples;
    b->options.least = b->least;
    return 0;
}

static int run_it(struct bench_op *b)
{
    plumb_status status = bench_measure_ceilings(b->context, &b->ceilings);
    if (!status) {
        print_ceilings(b);
        status = b->spec.shapes ? run_spec(b, &b->spec) : is_model(b->set) ? run_model(b) : run_set(b);
    }
    if (status) {
        return cli_fail("bench op", b->context, status);
    }
    print_summary(b);
    return b->ran ? 0
                  : cli_refuse("bench op", "nothing was timed: %s",
                               b->compare ? "no implementation of --compare takes the ops"
                                          : "the set has none of these ops; give their --shapes");
}

int command_bench_op(int argc, char **argv)
{
    struct bench_op b = {.common = COMMON_DEFAULTS, .samples = 11, .batch = 32, .least = 0.05, .dtype = "f32",
                         .layout = "auto", .direction = "all", .check = "full"};
    const struct option_row rows[] = {
        {"shapes", "LIST", "of the inputs: 64x32x28x28,16x32x3x3; 64:i32; scalar", OPTION_TEXT, &b.spec.shapes, 0, 0, NULL},
        {"set", "LIST", "attributes: padding=1,stride=2x2,activation=relu", OPTION_TEXT, &b.spec.set, 0, 0, NULL},
        {"set-of", "NAME", "a set of problems, or all different ops of a model's step", OPTION_NAME, &b.set, 0, 0, set_name},
        {"batch", "N", "examples in the model's step (default 32)", OPTION_WHOLE, &b.batch, 1, 65536, NULL},
        {"picture", "N", "height and width of the model's pictures (default: its own)", OPTION_WHOLE, &b.picture, 1, 4096,
         NULL},
        {"dtype", "DTYPE", "of inputs that are given none, and the model's precision; default f32", OPTION_NAME, &b.dtype, 0,
         0, dtype_name},
        {"direction", "HOW", "default all", OPTION_NAME, &b.direction, 0, 0, direction_name},
        {"layout", "HOW", "of pictures; auto: what an implementation wants", OPTION_NAME, &b.layout, 0, 0, layout_name},
        {"compare", "LIST", "implementations, timed in turns: cpu.native,cpu.onednn@last,cpu.onednn@rows", OPTION_TEXT, &b.compare, 0, 0, NULL},
        {"check", "HOW", "against the reference before timing; default full", OPTION_NAME, &b.check, 0, 0, check_name},
        {"samples", "N", "default 11", OPTION_WHOLE, &b.samples, 3, BENCH_SAMPLES_MAX, NULL},
        {"least", "SECONDS", "that a sample takes (default 0.05)", OPTION_NUMBER, &b.least, 1e-4, 10, NULL},
        COMMON_ROWS(b.common),
    };
    static const struct command self = {"bench op", "[OP]",
                                        "Times single ops beside what the machine can do at most.", NULL};
    int code = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), &b.spec.op, NULL}, argc, argv, &code)) {
        return code;
    }
    code = settle(&b);
    if (code) {
        return code;
    }
    b.context = cli_open(&b.common, &code);
    b.reference = b.context ? bench_open_reference(&b.common, &code) : NULL;
    code = b.reference ? run_it(&b) : code;
    plumb_close(b.reference);
    plumb_close(b.context);
    return code;
}
