/* The cuDNN provider on the simulator, where cuDNN is a fake: opened or not and why, which engines are chosen under which
 * rules, what is kept on disk, whole networks with it, and every call of it failing once. What ops compute through it is
 * the cross-check's matter. */
#include "check.h"
#include "control.h"
#include "cuda/cudnn.h"
#include "nets.h"
#include "plumb/plumb.h"

#include <unistd.h>

static plumb_context *open_allowing(unsigned allow)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1, .allow = allow});
}

static bool nothing_left(void)
{
    cudasim_alive alive = cudasim_count();
    return alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0 && cudasim_vendor_alive() == 0;
}

static plumb_cudnn *library_of(plumb_context *context)
{
    return plumb_cuda_vendor_state((struct plumb_cuda *)context->device, PLUMB_CUDA_CUDNN);
}

static const char *told(plumb_context *context)
{
    return ((struct plumb_cuda *)context->device)->vendor[PLUMB_CUDA_CUDNN].text;
}

/* ---- opening ---- */

PLUMB_TEST(cudnn, opens_or_says_why_not)
{
    static const struct {
        int64_t version;
        const char *text;
    } rows[] = {{-1, "9.19.0, libcudnn.so.9"}, {0, "can be opened"}, {8907, "is version 8 or older"}, {90000, "9.0.0"},
                {100100, "is version 10.1.0, but 9 is needed"}};
    for (int i = 0; i < 5; i++) {
        cudasim_vendor("cudnn", rows[i].version);
        plumb_context *context = open_allowing(0);
        REQUIRE(context);
        CHECK((library_of(context) != NULL) == (i == 0 || i == 3));
        CHECK_TEXT(told(context), rows[i].text);
        CHECK(plumb_last_status(context) == PLUMB_OK);
        plumb_close(context);
        CHECK(nothing_left());
    }
    cudasim_vendor("cudnn", -1);
    for (int n = 1; n <= 3; n++) { /* the opening, the handle, its stream */
        cudasim_fail(CUDASIM_VENDOR, n);
        plumb_context *context = open_allowing(0);
        CHECK(context && !library_of(context) && cudasim_failed());
        CHECK_TEXT(told(context), n == 1 ? "can be opened" : "does not start on this device");
        plumb_close(context);
        CHECK(nothing_left());
    }
    cudasim_fail(CUDASIM_VENDOR, 0);
}

/* ---- which engine ---- */

/* A convolution of 2 x 8 x 6 x 6 by 4 x 8 x 3 x 3, as it is planned. */
struct asked {
    plumb_attr_conv2d attr;
    plumb_view view[3];
    plumb_call call;
};

static void ask(struct asked *a, plumb_context *context, plumb_dtype dtype)
{
    static const int64_t dims[3][4] = {{2, 8, 6, 6}, {4, 8, 3, 3}, {2, 4, 6, 6}};
    memset(a, 0, sizeof *a);
    a->attr.groups = 1;
    for (int i = 0; i < 4; i++) {
        a->attr.padding[i] = 1;
        a->attr.stride[i % 2] = a->attr.dilation[i % 2] = 1;
    }
    for (int i = 0; i < 3; i++) {
        a->view[i].dtype = dtype;
        a->view[i].rank = 4;
        memcpy(a->view[i].dim, dims[i], sizeof dims[i]);
        plumb_view_pack(&a->view[i]);
    }
    a->call = (plumb_call){.context = context, .device = context->device, .op = &plumb_op_conv2d, .name = "", .n_in = 2,
                           .n_out = 1, .attr = &a->attr, .in = a->view, .out = a->view + 2};
}

struct only {
    plumb_cudnn_plan *plan;
    plumb_cudnn_graph graph;
};

static void see(void *user, const void *key, size_t bytes, void *plan)
{
    struct only *only = user;
    CHECK(bytes == sizeof only->graph && !only->plan);
    memcpy(&only->graph, key, sizeof only->graph);
    only->plan = plan;
}

static struct only only_plan(plumb_context *context)
{
    struct only only = {.plan = NULL};
    plumb_plans_visit(&library_of(context)->plans, see, &only);
    return only;
}

extern const plumb_impl plumb_impl_conv2d_cudnn;

/* The engine that is chosen (numbers of tests/cudasim/cudnn_check.c), -1: the call is declined. */
static int64_t engine_of(unsigned allow, plumb_dtype dtype, uintptr_t address, int64_t below)
{
    struct asked a;
    plumb_context *context = open_allowing(allow);
    ask(&a, context, dtype);
    a.view[0].data = (void *)address;
    a.attr.padding[2] = below;
    a.view[2].dim[2] = 5 + below;
    plumb_view_pack(&a.view[2]);
    bool taken = plumb_impl_conv2d_cudnn.supports(&a.call);
    struct only only = only_plan(context);
    CHECK(plumb_last_status(context) == PLUMB_OK);
    CHECK((only.plan && only.plan->plan) == taken && !only.plan->cached);
    CHECK(plumb_impl_conv2d_cudnn.workspace(&a.call) == (size_t)(taken ? only.plan->workspace : 0));
    int64_t engine = taken ? only.plan->choice.engine : -1;
    plumb_close(context);
    CHECK(nothing_left());
    return engine;
}

enum { LOOPS, TENSOR_CORES, NONDETERMINISTIC, REDUCED = 6, GOOD };

PLUMB_TEST(cudnn, engines_keep_to_what_is_allowed)
{
    CHECK(engine_of(0, PLUMB_F32, 0, 1) == GOOD);
    CHECK(engine_of(PLUMB_ALLOW_TF32, PLUMB_F32, 0, 1) == TENSOR_CORES);
    CHECK(engine_of(PLUMB_ALLOW_NONDETERMINISTIC, PLUMB_F32, 0, 1) == NONDETERMINISTIC);
    CHECK(engine_of(PLUMB_ALLOW_REDUCED_SUMS, PLUMB_F32, 0, 1) == REDUCED);
    CHECK(engine_of(0, PLUMB_BF16, 0, 1) == TENSOR_CORES); /* products of bf16 are exact in f32 */
    CHECK(engine_of(0, PLUMB_F16, 0, 1) == TENSOR_CORES);
    CHECK(engine_of(0, PLUMB_F64, 0, 1) == LOOPS);
    CHECK(engine_of(PLUMB_ALLOW_NONDETERMINISTIC, PLUMB_F64, 0, 1) == NONDETERMINISTIC);
    CHECK(engine_of(0, PLUMB_F32, 4, 1) == LOOPS); /* where the address is no multiple of 16 */
    CHECK(engine_of(0, PLUMB_F32, 48, 1) == GOOD);
    CHECK(engine_of(0, PLUMB_F32, 0, 2) == LOOPS); /* padding that differs from side to side */
}

PLUMB_TEST(cudnn, declines_with_a_reason)
{
    struct asked a;
    plumb_context *context = open_allowing(0);
    REQUIRE(context);
    ask(&a, context, PLUMB_F32);
    a.view[0].stride[3] = 2; /* not packed */
    CHECK(!plumb_impl_conv2d_cudnn.supports(&a.call));
    ask(&a, context, PLUMB_F32);
    a.view[0].dim[0] = a.view[2].dim[0] = 0;
    CHECK(!plumb_impl_conv2d_cudnn.supports(&a.call));
    CHECK(!only_plan(context).plan); /* neither came as far as the library */
    CHECK(plumb_impl_conv2d_cudnn.run(&a.call) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "was not asked about this call");
    plumb_clear_error(context);
    ask(&a, context, PLUMB_F32);
    a.view[1].dim[2] = 5; /* shapes that do not meet: the shape rule would have refused them */
    plumb_view_pack(&a.view[1]);
    CHECK(!plumb_impl_conv2d_cudnn.supports(&a.call));
    CHECK_TEXT(only_plan(context).plan->reason, "the graph is refused: CUDNN_STATUS_BAD_PARAM");
    plumb_close(context);
    CHECK(nothing_left());
}

/* Each call on the way to a plan fails once: declined or chosen otherwise, never an error, and nothing is left. */
PLUMB_TEST(cudnn, planning_survives_every_failing_call)
{
    int declined = 0, otherwise = 0;
    for (int64_t n = 4;; n++) { /* the first three open the library */
        struct asked a;
        plumb_context *context = open_allowing(0);
        REQUIRE(context);
        cudasim_fail(CUDASIM_VENDOR, n);
        ask(&a, context, PLUMB_F32);
        bool taken = plumb_impl_conv2d_cudnn.supports(&a.call), failed = cudasim_failed();
        CHECK(plumb_last_status(context) == PLUMB_OK);
        CHECK(plumb_impl_conv2d_cudnn.supports(&a.call) == taken); /* remembered */
        plumb_cudnn_plan *plan = only_plan(context).plan;
        CHECK_MSG(plan && (taken || plan->reason[0]), "call %lld", (long long)n);
        declined += !taken;
        otherwise += taken && plan->choice.engine != GOOD;
        cudasim_fail(CUDASIM_VENDOR, 0);
        plumb_close(context);
        CHECK_MSG(nothing_left(), "call %lld: something is left", (long long)n);
        if (!failed || check_failures() > 3) {
            break;
        }
    }
    CHECK(declined > 20 && otherwise > 5);
}

/* ---- the cache ---- */

static struct only plan_again(plumb_context **context, int64_t forged, const plumb_cudnn_graph *graph)
{
    struct asked a;
    *context = open_allowing(0);
    if (graph) {
        plumb_cudnn_choice choice = {.engine = forged};
        plumb_cuda_cache_add(&library_of(*context)->cache, graph, sizeof *graph, &choice, sizeof choice);
    }
    ask(&a, *context, PLUMB_F32);
    CHECK(plumb_impl_conv2d_cudnn.supports(&a.call));
    return only_plan(*context);
}

PLUMB_TEST(cudnn, choices_are_kept_and_judged_again)
{
    char folder[] = "/tmp/plumb-cudnn-XXXXXX", command[64];
    REQUIRE(mkdtemp(folder) && setenv("PLUMB_CACHE_DIR", folder, 1) == 0);
    plumb_context *context;
    struct only first = plan_again(&context, 0, NULL);
    plumb_cudnn_choice made = first.plan->choice;
    CHECK(!first.plan->cached && made.engine == GOOD && made.knobs == 1 && made.knob[0].value == 1);
    plumb_close(context);
    struct only again = plan_again(&context, 0, NULL);
    CHECK(again.plan->cached && memcmp(&again.plan->choice, &made, sizeof made) == 0);
    plumb_close(context);
    cudasim_vendor("cudnn", 91801); /* another version asks again */
    again = plan_again(&context, 0, NULL);
    CHECK(!again.plan->cached);
    plumb_close(context);
    cudasim_vendor("cudnn", -1);
    static const int64_t forged[] = {TENSOR_CORES, 3, 5, 11, -1, 1000}; /* forbidden, failing, too large, not for this, none */
    for (int i = 0; i < 6; i++) {
        again = plan_again(&context, forged[i], &first.graph);
        CHECK_MSG(!again.plan->cached && again.plan->choice.engine == GOOD, "engine %lld was believed", (long long)forged[i]);
        plumb_close(context);
    }
    setenv("PLUMB_CACHE_DIR", "", 1);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    CHECK(system(command) == 0);
    CHECK(nothing_left());
}

/* ---- networks ---- */

enum { STEPS = 4, BATCH = 5, STRIDE = 17 }; /* steps: one by one, captured, replayed twice */

static plumb_status net_lenet5(plumb_context *context, struct net *net)
{
    plumb_model model;
    memset(net, 0, sizeof *net);
    plumb_status status = plumb_model_build(context, "lenet5-classic", NULL, &model);
    if (status == PLUMB_OK) {
        *net = (struct net){.g = model.graph, .x = model.input, .label = model.label,
                            .loss = model.loss, .per_example = 32 * 32, .classes = 10};
    }
    return status;
}

static plumb_status train(plumb_context *context, net_builder build, double *losses)
{
    struct net net;
    plumb_status status = build(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_program *step = state ? plumb_compile_training(net.g, state, net.loss, PLUMB_MOMENTUM(.lr = 0.05), NULL, 0) : NULL;
    status = step ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; i < STEPS && status == PLUMB_OK; i++) {
        status = net_feed(&net, step, BATCH, 7);
        status = status ? status : plumb_run(step);
        status = status ? status : plumb_fetch_number(step, net.loss, &losses[i]);
    }
    plumb_program_free(step);
    plumb_state_free(state);
    plumb_graph_free(net.g);
    return status;
}

static uint64_t executions(void)
{
    return cudasim_vendor_calls("cudnnBackendExecute");
}

static void trains_as_on_the_cpu(net_builder build)
{
    double here[STEPS] = {0}, there[STEPS] = {0}, native[STEPS] = {0};
    plumb_context *cpu = plumb_open(NULL), *cuda = open_allowing(0);
    REQUIRE(cpu && cuda);
    uint64_t before = executions();
    CHECK(train(cpu, build, here) == PLUMB_OK);
    CHECK_MSG(train(cuda, build, there) == PLUMB_OK, "%s", plumb_message(cuda));
    uint64_t executed = executions() - before;
    CHECK_MSG(executed >= 4 && executed % 2 == 0, "%d executions", (int)executed); /* run once, captured once */
    for (int i = 0; i < STEPS; i++) {
        CHECK_NEAR(there[i], here[i], 1e-4); /* f32 sums in another order, over four steps */
    }
    plumb_close(cpu);
    plumb_close(cuda);
    cudasim_vendor("cudnn", 0); /* without the library our own kernels serve */
    cuda = open_allowing(0);
    before = executions();
    CHECK(train(cuda, build, native) == PLUMB_OK && executions() == before);
    for (int i = 0; i < STEPS; i++) {
        CHECK_NEAR(native[i], here[i], 1e-4);
    }
    plumb_close(cuda);
    cudasim_vendor("cudnn", -1);
    CHECK(nothing_left());
}

PLUMB_TEST(cudnn, a_small_network_trains_as_on_the_cpu)
{
    trains_as_on_the_cpu(net_cnn);
}

PLUMB_TEST(cudnn, lenet5_trains_as_on_the_cpu)
{
    trains_as_on_the_cpu(net_lenet5);
}

/* The n-th call of the library fails, in planning or in a run: the numbers are right, or there is an error that says so,
 * and nothing is left behind. Every STRIDE-th: planning was tried call by call above, and opening a device takes long. */
PLUMB_TEST(cudnn, training_survives_every_failing_call)
{
    double right[STEPS] = {0}, losses[STEPS];
    plumb_context *cpu = plumb_open(NULL);
    REQUIRE(cpu && train(cpu, net_cnn, right) == PLUMB_OK);
    plumb_close(cpu);
    int refused = 0, points = 0;
    for (int64_t n = 1;; n += STRIDE) {
        plumb_context *context = open_allowing(0);
        REQUIRE(context);
        cudasim_fail(CUDASIM_VENDOR, n);
        plumb_status status = train(context, net_cnn, losses);
        CHECK_MSG((status != PLUMB_OK) == (plumb_message(context)[0] != '\0'), "call %d: %s", (int)n, plumb_message(context));
        for (int i = 0; i < STEPS && status == PLUMB_OK; i++) {
            CHECK_NEAR(losses[i], right[i], 1e-4);
        }
        if (status != PLUMB_OK) {
            CHECK_TEXT(plumb_message(context), "cudnnBackendExecute returned status");
        }
        refused += status != PLUMB_OK;
        bool happened = cudasim_failed();
        cudasim_fail(CUDASIM_VENDOR, 0);
        plumb_close(context);
        CHECK_MSG(nothing_left(), "call %d: something is left", (int)n);
        points += happened;
        if (!happened || check_failures() > 3) {
            break;
        }
    }
    CHECK_MSG(refused > 0 && points > 50, "%d errors at %d points", refused, points);
}
