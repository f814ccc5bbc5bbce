/* Calls of the CUDA runtime and of the vendors' libraries fail, one at a time: while a context is opened and closed,
 * programs are made, run, captured and replayed and memory is outgrown, each call; while networks are trained and states
 * saved and loaded, a share of them. Each time: the message says what failed; the same context then does the same again
 * with the same numbers, or says that the device is lost; and nothing is left of device, pinned or host memory. The points
 * are counted, and there must be at least LEAST of them. */
#include "check.h"
#include "control.h"
#include "device/device.h"
#include "nets.h"
#include "plumb/plumb.h"

#include <unistd.h>

enum { LEAST = 1000, NUMBERS = 16, MANY = 20000 };

/* Fills what it likes of `numbers`; the rest stays 0. */
typedef plumb_status (*scenario)(plumb_context *context, double *numbers);

static plumb_status status_of(plumb_context *context, const void *made)
{
    return made ? PLUMB_OK : plumb_last_status(context);
}

/* ---- what is tried ---- */

static plumb_status nothing(plumb_context *context, double *numbers)
{
    (void)numbers;
    return plumb_last_status(context);
}

static plumb_status device_calls(plumb_context *context, double *numbers)
{
    enum { BYTES = 3000 };
    plumb_device *device = context->device;
    const plumb_device_table *table = device->table;
    unsigned char host[BYTES] = {1, 2, 3}, back[BYTES] = {0};
    void *a = NULL, *b = NULL, *mark = NULL;
    plumb_status status = table->alloc(device, BYTES, &a);
    status = status ? status : table->alloc(device, BYTES, &b);
    status = status ? status : table->upload(device, a, host, BYTES);
    status = status ? status : table->mark(device, &mark);
    status = status ? status : table->fill(device, b, 7, BYTES);
    status = status ? status : table->copy(device, b, a, BYTES / 2);
    status = status ? status : table->sync(device);
    status = status ? status : table->download(device, back, b, BYTES);
    numbers[0] = back[1];
    numbers[1] = back[BYTES - 1];
    table->mark_free(device, mark);
    table->free(device, a);
    table->free(device, b);
    return status;
}

/* As often as `runs` says with each size of batch: the second run of a size is captured, the third replayed; the memory
 * of activations grows. */
static plumb_status infer(plumb_context *context, net_builder build, int runs, int sizes, double *numbers)
{
    struct net net;
    plumb_status status = build(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_compile_options options = {.size = sizeof options, .outputs = &net.out, .n_outputs = 1, .max_bindings = 2};
    plumb_program *program = state ? plumb_compile(net.g, state, &options) : NULL;
    status = status ? status : status_of(context, program);
    for (int i = 0; status == PLUMB_OK && i < runs * sizes; i++) {
        int batch = 1 + 4 * (i / runs);
        float out[64] = {0};
        status = net_feed(&net, program, batch, 1);
        status = status ? status : plumb_run(program);
        status = status ? status : plumb_fetch(program, net.out, out, (size_t)(batch * net.classes) * sizeof(float));
        numbers[i % NUMBERS] += (double)out[0] + 2 * (double)out[1];
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status infer_mlp(plumb_context *context, double *numbers) { return infer(context, net_mlp, 3, 3, numbers); }
static plumb_status infer_views(plumb_context *context, double *numbers) { return infer(context, net_views, 3, 1, numbers); }

/* Steps one by one, captured and replayed, then the state to a file and back. */
static plumb_status train(plumb_context *context, plumb_graph *g, plumb_t loss, const plumb_optimizer *optimizer,
                          const struct net *net, const plumb_model *model, double *numbers)
{
    static float picture[28 * 28];
    static const int32_t label = 3;
    char path[64];
    plumb_state *state = plumb_state_new(g);
    plumb_program *step = state ? plumb_compile_training(g, state, loss, optimizer, NULL, 0) : NULL;
    plumb_status status = status_of(context, step);
    for (int i = 0; i < 28 * 28; i++) {
        picture[i] = (float)((i * 37 + i / 29 * 11) % 256) / 255;
    }
    for (int i = 0; status == PLUMB_OK && i < 3; i++) {
        if (net) {
            status = net_feed(net, step, 3, (uint64_t)i);
        } else {
            status = plumb_feed(step, model->input, picture, sizeof picture);
            status = status ? status : plumb_feed(step, model->label, &label, sizeof label);
        }
        status = status ? status : plumb_run(step);
        status = status ? status : plumb_fetch_number(step, loss, &numbers[i]);
    }
    snprintf(path, sizeof path, "/tmp/plumb-test-failures-%d.safetensors", (int)getpid());
    status = status ? status : plumb_state_save(state, path, NULL);
    status = status ? status : plumb_state_reset(state);
    status = status ? status : plumb_state_load(state, path, true);
    unlink(path);
    plumb_program_free(step);
    plumb_state_free(state);
    return status;
}

static plumb_status train_net(plumb_context *context, net_builder build, const plumb_optimizer *optimizer, double *numbers)
{
    struct net net;
    plumb_status status = build(context, &net);
    status = status ? status : train(context, net.g, net.loss, optimizer, &net, NULL, numbers);
    plumb_graph_free(net.g);
    return status;
}

static plumb_status train_mlp(plumb_context *context, double *numbers)
{
    return train_net(context, net_mlp, PLUMB_ADAM(.clip_norm = 1, .skip_bad_steps = true), numbers);
}

static plumb_status train_cnn(plumb_context *context, double *numbers)
{
    return train_net(context, net_cnn, PLUMB_MOMENTUM(.lr = 0.05), numbers);
}

static plumb_status train_lenet5(plumb_context *context, double *numbers)
{
    plumb_model model;
    plumb_status status = plumb_model_build(context, "lenet5", NULL, &model);
    if (status == PLUMB_OK) {
        status = train(context, model.graph, model.loss, PLUMB_MOMENTUM(.lr = 0.05), NULL, &model, numbers);
        plumb_graph_free(model.graph);
    }
    return status;
}

/* ---- trying ---- */

struct attempt {
    plumb_status status;
    char message[sizeof ((plumb_error *)0)->message];
    double numbers[NUMBERS];
};

static void attempt(plumb_context *context, scenario run, struct attempt *a)
{
    memset(a, 0, sizeof *a);
    a->status = run(context, a->numbers);
    snprintf(a->message, sizeof a->message, "%s", plumb_message(context));
    plumb_clear_error(context);
}

static bool nothing_left(const struct counting *host)
{
    cudasim_alive alive = cudasim_count();
    return alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0 && cudasim_vendor_alive() == 0 &&
           host->blocks == 0 && host->bytes == 0;
}

/* To the rounding of other kernels: what a library fails to plan another implementation computes. */
static bool same(const double *a, const double *b)
{
    for (int i = 0; i < NUMBERS; i++) {
        if (!(fabs(a[i] - b[i]) <= 1e-5 * (1 + fabs(b[i])))) {
            return false;
        }
    }
    return true;
}

/* The n-th call fails; 0: none does. *told: it was reported. false: there are fewer calls. */
static bool fails_at(const char *name, scenario run, int64_t n, const double *right, struct attempt *first, bool *told)
{
    struct counting host = {0};
    plumb_allocator allocator = counting_allocator(&host);
    plumb_error error = {.message = ""};
    struct attempt again;
    cudasim_reset();
    cudasim_fail(CUDASIM_ANY, n);
    plumb_context *context = plumb_open(&(plumb_options){
        .size = sizeof(plumb_options), .device = "cuda", .threads = 1, .allocator = &allocator, .error = &error});
    if (context) {
        attempt(context, run, first);
        bool happened = cudasim_failed(), lost = strstr(first->message, "lost") != NULL;
        if (happened) { /* what fails next would be a second failure */
            attempt(context, run, &again);
            CHECK_MSG(lost ? again.status == PLUMB_DEVICE_ERROR && strstr(again.message, "lost") != NULL
                           : again.status == PLUMB_OK && same(again.numbers, right),
                      "%s, call %d: after \"%s\" the same again ends with %s \"%s\"", name, (int)n, first->message,
                      plumb_status_name(again.status), again.message);
        }
    } else {
        memset(first, 0, sizeof *first);
        first->status = error.status;
        snprintf(first->message, sizeof first->message, "%s", error.message);
    }
    plumb_close(context);
    bool happened = cudasim_failed();
    *told = first->status != PLUMB_OK;
    CHECK_MSG(nothing_left(&host), "%s, call %d: something is left after \"%s\"", name, (int)n, first->message);
    /* "cuda: allocating: ...", "matmul: cublasLtMatmul returned ...": where, and which call or kernel */
    CHECK_MSG(*told ? strstr(first->message, ": ") && strstr(first->message, "cu")
                    : !right || same(first->numbers, right),
              "%s, call %d: %s \"%s\"", name, (int)n, plumb_status_name(first->status), first->message);
    cudasim_reset();
    return happened;
}

/* One call after the other, or every `stride`-th. Returns how many were made to fail. */
static int64_t every_call(const char *name, scenario run, int stride)
{
    struct attempt first;
    double right[NUMBERS];
    bool told = false;
    int64_t n = 1, tried = 0, reported = 0;
    fails_at(name, run, 0, NULL, &first, &told);
    CHECK_MSG(first.status == PLUMB_OK, "%s: %s", name, first.message);
    memcpy(right, first.numbers, sizeof right);
    while (n < MANY && check_failures() < 4 && fails_at(name, run, n, right, &first, &told)) {
        reported += told;
        tried++;
        n += stride;
    }
    printf("%-16s %5d points, %5d of them reported\n", name, (int)tried, (int)reported);
    CHECK_MSG(reported > 0 || run == nothing, "%s: no failure was reported", name);
    return tried;
}

PLUMB_TEST(failures, every_call_fails_once)
{
    static const struct {
        const char *name;
        scenario run;
        int stride;
    } rows[] = {{"open and close", nothing, 1}, {"device calls", device_calls, 1}, {"infer mlp", infer_mlp, 1},
                {"infer views", infer_views, 1}, {"train mlp", train_mlp, 4}, {"train cnn", train_cnn, 4},
                {"train lenet5", train_lenet5, 40}}; /* steps take longer, and make the same calls again and again */
    int64_t points = 0;
    CHECK(cudasim_set("streams=lazy")); /* quicker, and an error may come long after its cause, as on a GPU */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        points += every_call(rows[i].name, rows[i].run, rows[i].stride);
    }
    CHECK(cudasim_set("streams=eager"));
    printf("%d injected failure points\n", (int)points);
    CHECK_MSG(points >= LEAST, "%d points", (int)points);
}
