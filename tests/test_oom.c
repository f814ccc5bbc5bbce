/* What if memory, or the device, fails? Every allocation of each scenario fails once, and once from there on; every
 * device call fails once. Each time: an error with a message, nothing leaked, and the same context works afterwards. */
#include "check.h"
#include "echo.h"
#include "files.h"
#include "nets.h"
#include "numpy_npz.h"
#include "pictures.h"

#include "plumb/check.h"

#include <unistd.h>

typedef plumb_status (*scenario)(plumb_context *context);

/* ---- scenarios: each makes what it needs and frees it ---- */

static plumb_status build_only(plumb_context *context)
{
    struct net net;
    plumb_status status = net_cnn(context, &net);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status status_of(plumb_context *context, const void *made)
{
    return made ? PLUMB_OK : plumb_last_status(context);
}

static plumb_status state_only(plumb_context *context)
{
    struct net net;
    plumb_status status = net_mlp(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL, *copy = NULL;
    if (status == PLUMB_OK) {
        status = status_of(context, state);
    }
    if (status == PLUMB_OK) {
        copy = plumb_state_clone(state);
        status = status_of(context, copy);
    }
    if (status == PLUMB_OK) {
        status = plumb_state_reset(copy);
    }
    plumb_state_free(state);
    plumb_state_free(copy);
    plumb_graph_free(net.g);
    return status;
}

/* Forward, then with other batch sizes, more than the program keeps plans for. */
static plumb_status infer_with(plumb_context *context, net_builder build)
{
    struct net net;
    plumb_status status = build(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_compile_options options = {.size = sizeof(options), .outputs = &net.out, .n_outputs = 1, .max_bindings = 2};
    plumb_program *program = state ? plumb_compile(net.g, state, &options) : NULL;
    if (status == PLUMB_OK) {
        status = status_of(context, program);
    }
    for (int batch = 1; status == PLUMB_OK && batch <= 3; batch++) {
        status = net_feed(&net, program, batch, 1);
        if (status == PLUMB_OK) {
            status = plumb_run(program);
        }
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status infer_mlp(plumb_context *context)
{
    return infer_with(context, net_mlp);
}

static plumb_status infer_views(plumb_context *context)
{
    return infer_with(context, net_views);
}

static plumb_status train_with(plumb_context *context, net_builder build, const plumb_optimizer *optimizer, bool file)
{
    struct net net;
    char path[64];
    plumb_status status = build(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_program *step = state ? plumb_compile_training(net.g, state, net.loss, optimizer, &net.out, 1) : NULL;
    if (status == PLUMB_OK) {
        status = status_of(context, step);
    }
    for (int i = 0; status == PLUMB_OK && i < 2; i++) {
        status = net_feed(&net, step, 3, (uint64_t)i);
        if (status == PLUMB_OK) {
            status = plumb_run(step);
        }
    }
    if (file) {
        snprintf(path, sizeof(path), "/tmp/plumb-test-oom-%d.safetensors", (int)getpid());
        const char *metadata[] = {"key", "value", NULL};
        if (status == PLUMB_OK) {
            status = plumb_state_save(state, path, metadata);
        }
        if (status == PLUMB_OK) {
            status = plumb_state_load(state, path, true);
        }
        unlink(path);
    }
    plumb_program_free(step);
    plumb_state_free(state);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status train_mlp(plumb_context *context)
{
    return train_with(context, net_mlp, PLUMB_ADAM(.clip_norm = 1, .skip_bad_steps = true), false);
}

static plumb_status train_cnn(plumb_context *context)
{
    return train_with(context, net_cnn, PLUMB_SGD(.l2 = 0.01), false);
}

/* The pass that lowers, and the loss scale. */
static plumb_status train_low(plumb_context *context)
{
    return train_with(context, net_mlp, PLUMB_ADAM(.precision = PLUMB_F16), false);
}

static plumb_status save_and_load(plumb_context *context)
{
    return train_with(context, net_mlp, PLUMB_MOMENTUM(.lr = 0.1), true);
}

static plumb_status texts(plumb_context *context)
{
    struct net net;
    plumb_status status = net_mlp(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_compile_options options = {.size = sizeof(options), .outputs = &net.out, .n_outputs = 1};
    plumb_program *program = state ? plumb_compile(net.g, state, &options) : NULL;
    char *text[3] = {NULL, NULL, NULL};
    if (status == PLUMB_OK) {
        status = status_of(context, program);
    }
    for (int i = 0; status == PLUMB_OK && i < 3; i++) {
        if (i == 2 && (status = plumb_bind(program, PLUMB_BATCH, 2)) != PLUMB_OK) {
            break;
        }
        text[i] = i == 0 ? plumb_graph_text(net.g) : i == 1 ? plumb_graph_dot(net.g) : plumb_program_text(program);
        status = status_of(context, text[i]);
    }
    for (int i = 0; i < 3; i++) {
        plumb_text_free(context, text[i]);
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status evaluate_one(plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "eval");
    plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(2, 3)), d;
    plumb_t loss = plumb_sum(g, plumb_square(g, plumb_sigmoid(g, x)), NULL, 0, false);
    const double data[6] = {1, 2, 3, 4, 5, 6};
    double result[6];
    plumb_binding binding = {x, data, sizeof(data)};
    plumb_status status = g ? plumb_gradients(g, loss, &x, 1, &d) : plumb_last_status(context);
    if (status == PLUMB_OK) {
        status = plumb_gradients(g, plumb_sum(g, d, NULL, 0, false), &x, 1, &d);
    }
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(g) : NULL;
    if (status == PLUMB_OK) {
        status = state ? plumb_eval(g, state, &binding, 1, d, result, sizeof(result)) : plumb_last_status(context);
    }
    plumb_state_free(state);
    plumb_graph_free(g);
    return status;
}

static plumb_status check_gradients(plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "check");
    plumb_variable_options normal = {.size = sizeof(normal), .init = {.rule = PLUMB_INIT_NORMAL, .b = 1}};
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(3), &normal);
    plumb_t loss = plumb_sum(g, plumb_mul(g, plumb_relu(g, w), plumb_exp(g, w)), NULL, 0, false);
    plumb_gradcheck_options options = {.size = sizeof(options), .directions = 1, .allow_zero = true, .no_course = true};
    plumb_status status = g ? plumb_gradcheck(g, NULL, loss, NULL, 0, &options, NULL) : plumb_last_status(context);
    plumb_graph_free(g);
    return status;
}

/* A loader that augments, over part of a set: a batch. */
static plumb_status load_batch(plumb_context *context)
{
    static const float x[3 * 12] = {1};
    static const int32_t y[3] = {0, 1, 0};
    static const plumb_augment augment = {.crop = 1, .elastic = 2, .elastic_sigma = 1};
    float out[24], labels[2];
    struct echo echo;
    plumb_dataset *parts[2] = {NULL, NULL};
    plumb_dataset *set = plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(3, 2, 2), 3, x, y, 2);
    plumb_status status = status_of(context, set);
    if (status == PLUMB_OK) {
        status = plumb_dataset_split(set, (const double[2]){2, 1}, 2, NULL, parts);
    }
    plumb_loader_options options = {.size = sizeof(options), .batch = 2, .augment = &augment};
    plumb_loader *loader = status == PLUMB_OK ? plumb_loader_new(parts[0], &options) : NULL;
    if (status == PLUMB_OK) {
        status = status_of(context, loader);
    }
    if (status == PLUMB_OK && (status = echo_open(context, PLUMB_SHAPE(3, 2, 2), &echo)) == PLUMB_OK) {
        status = echo_next(&echo, loader, out, labels, NULL, NULL) == 2 ? PLUMB_OK : plumb_last_status(context);
    }
    if (loader) {
        echo_close(&echo);
    }
    plumb_loader_free(loader);
    plumb_dataset_free(parts[0]);
    plumb_dataset_free(parts[1]);
    plumb_dataset_free(set);
    return status;
}

/* Files for read_sets, made before and removed after it is run. */
static char folder[64];

static void make_sets(void)
{
    files_begin(folder);
    files_put(folder, "t.csv", "a,b,label\n1,2,0\n3,x,1\n5,6,1\n", 0);
    files_put(folder, "t.npz", numpy_npz, sizeof(numpy_npz));
    files_put(folder, "p/a/1", rgb_png, sizeof(rgb_png));
    files_put(folder, "p/a/2", "no picture", 0);
    files_put(folder, "p/b/3", rgb_png, sizeof(rgb_png));
}

/* Sets out of files: opened, looked into, freed. */
static plumb_status read_sets(plumb_context *context)
{
    plumb_status status = PLUMB_OK;
    static const char *const names[] = {"t.csv", "t.npz", "p", "p"};
    for (int i = 0; status == PLUMB_OK && i < 4; i++) {
        plumb_dataset_options options = {.size = sizeof(options), .max_bad = 0.5, .keep_bytes = i == 3 ? -1 : 0};
        plumb_dataset *set = plumb_dataset_find(context, files_name(folder, names[i]), "train", &options);
        double shift, scale;
        status = status_of(context, set);
        if (status == PLUMB_OK) {
            status = plumb_dataset_scaling(set, PLUMB_SCALING_UNIT, 1, &shift, &scale);
        }
        plumb_dataset_free(set);
    }
    if (strstr(plumb_message(context), "this build has no")) {
        plumb_clear_error(context);
        status = PLUMB_OK;
    }
    return status;
}

static const struct {
    const char *name;
    scenario run;
} scenarios[] = {
    {"build", build_only},       {"state", state_only},         {"infer mlp", infer_mlp},
    {"infer views", infer_views}, {"train mlp", train_mlp},     {"train cnn", train_cnn},
    {"save and load", save_and_load}, {"texts", texts},         {"evaluate", evaluate_one},
    {"check gradients", check_gradients}, {"train low", train_low},
    {"load a batch", load_batch}, {"read sets", read_sets},
};
enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]), MANY = 100000 };

/* ---- memory ---- */

/* One failure at allocation `at`; true when the scenario ended before that many. */
static bool fail_allocation(const char *name, scenario run, int64_t at, bool from_there_on)
{
    struct counting counting = {.fail_at = at, .from_there_on = from_there_on};
    plumb_allocator allocator = counting_allocator(&counting);
    plumb_error error = {.status = PLUMB_OK};
    plumb_context *context = plumb_open(&(plumb_options){
        .size = sizeof(plumb_options), .device = "cpu", .threads = 1, .allocator = &allocator, .error = &error});
    if (!context) {
        CHECK_MSG(error.status != PLUMB_OK && error.message[0], "%s: no reason at %lld", name, (long long)at);
    } else {
        plumb_status status = run(context);
        if (counting.failed > 0) {
            CHECK_MSG(status != PLUMB_OK, "%s: allocation %lld failed unnoticed", name, (long long)at);
            CHECK_MSG(plumb_message(context)[0], "%s: no message at allocation %lld", name, (long long)at);
            CHECK_MSG(plumb_last_status(context) == status, "%s: returned %s, recorded %s at allocation %lld", name,
                      plumb_status_name(status), plumb_status_name(plumb_last_status(context)), (long long)at);
            plumb_clear_error(context);
            counting.fail_at = 0;
            status = run(context);
        }
        CHECK_MSG(status == PLUMB_OK, "%s: after the failure at %lld: %s", name, (long long)at, plumb_message(context));
        plumb_close(context);
    }
    CHECK_MSG(counting.blocks == 0 && counting.bytes == 0, "%s: %lld blocks of %lld bytes left after a failure at %lld",
              name, (long long)counting.blocks, (long long)counting.bytes, (long long)at);
    return counting.failed == 0;
}

static void fail_all_allocations(int which)
{
    for (int mode = 0; mode < 2; mode++) {
        int64_t at = 1;
        while (at < MANY && check_failures() < 20 &&
               !fail_allocation(scenarios[which].name, scenarios[which].run, at, mode == 1)) {
            at++;
        }
        CHECK_MSG(at < MANY, "%s never ended", scenarios[which].name);
        printf("  %-16s %lld allocations failed %s\n", scenarios[which].name, (long long)at - 1,
               mode ? "from there on" : "once");
    }
}

PLUMB_TEST(oom, build) { fail_all_allocations(0); }
PLUMB_TEST(oom, state) { fail_all_allocations(1); }
PLUMB_TEST(oom, infer_mlp) { fail_all_allocations(2); }
PLUMB_TEST(oom, infer_views) { fail_all_allocations(3); }
PLUMB_TEST(oom, train_mlp) { fail_all_allocations(4); }
PLUMB_TEST(oom, train_cnn) { fail_all_allocations(5); }
PLUMB_TEST(oom, save_and_load) { fail_all_allocations(6); }
PLUMB_TEST(oom, texts) { fail_all_allocations(7); }
PLUMB_TEST(oom, evaluate) { fail_all_allocations(8); }
PLUMB_TEST(oom, check_gradients) { fail_all_allocations(9); }
PLUMB_TEST(oom, train_low) { fail_all_allocations(10); }
PLUMB_TEST(oom, load_a_batch) { fail_all_allocations(11); }
PLUMB_TEST(oom, read_sets)
{
    make_sets();
    fail_all_allocations(12);
    files_end(folder);
}

/* ---- the device ---- */

static bool fail_device_call(const char *name, scenario run, int64_t at)
{
    char device[32];
    struct counting counting = {.fail_at = 0};
    plumb_allocator allocator = counting_allocator(&counting);
    plumb_error error = {.status = PLUMB_OK};
    snprintf(device, sizeof(device), "faulty:%lld", (long long)at);
    plumb_context *context = plumb_open(&(plumb_options){
        .size = sizeof(plumb_options), .device = device, .threads = 1, .allocator = &allocator, .error = &error});
    bool ended = false;
    if (!context) {
        CHECK_MSG(error.status == PLUMB_DEVICE_ERROR && error.message[0], "%s: no reason at %lld", name, (long long)at);
    } else {
        plumb_status status = run(context);
        ended = status == PLUMB_OK;
        if (!ended) {
            CHECK_MSG(status == PLUMB_DEVICE_ERROR, "%s: %s at device call %lld", name, plumb_status_name(status),
                      (long long)at);
            CHECK_TEXT(plumb_message(context), "faulty device");
            plumb_clear_error(context);
            CHECK_MSG(run(context) == PLUMB_OK, "%s: after device call %lld: %s", name, (long long)at,
                      plumb_message(context));
        }
        plumb_close(context);
    }
    CHECK_MSG(counting.blocks == 0, "%s: %lld blocks left after device call %lld", name, (long long)counting.blocks,
              (long long)at);
    return ended;
}

PLUMB_TEST(oom, every_device_call)
{
    make_sets();
    for (int which = 0; which < SCENARIOS; which++) {
        int64_t at = 1;
        while (at < MANY && check_failures() < 20 && !fail_device_call(scenarios[which].name, scenarios[which].run, at)) {
            at++;
        }
        CHECK_MSG(at < MANY, "%s never ended", scenarios[which].name);
        printf("  %-16s %lld device calls failed\n", scenarios[which].name, (long long)at - 1);
    }
    files_end(folder);
}
