/* Training in mixed precision: how the loss scale moves, that nothing else moves with it, that bf16 and f16 go where f32
 * goes, on any number of threads, and go on after a pause as they would have without. */
#include "check.h"
#include "core/core.h"
#include "nets.h"
#include "plumb/plumb.h"

#include <unistd.h>

/* ---- the loss scale ---- */

struct tiny { /* w (2, 2) under loss = sum(x w), whose gradient in every column is x */
    plumb_context *context;
    plumb_graph *g;
    plumb_t x, loss;
    plumb_state *state;
    plumb_program *program;
};

static bool open_tiny(struct tiny *t, const plumb_optimizer *optimizer)
{
    memset(t, 0, sizeof *t);
    t->context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 3, .strict_memory = true});
    t->g = t->context ? plumb_graph_new(t->context, "tiny") : NULL;
    t->x = plumb_input(t->g, "x", PLUMB_F32, PLUMB_SHAPE(1, 2));
    plumb_t w = plumb_variable(t->g, "w", PLUMB_F32, PLUMB_SHAPE(2, 2),
                               &(plumb_variable_options){.size = sizeof(plumb_variable_options),
                                                          .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}});
    t->loss = plumb_sum(t->g, plumb_matmul(t->g, t->x, w, false, false), NULL, 0, false);
    t->state = t->g ? plumb_state_new(t->g) : NULL;
    t->program = t->state ? plumb_compile_training(t->g, t->state, t->loss, optimizer, NULL, 0) : NULL;
    CHECK_MSG(t->program, "%s", t->context ? plumb_message(t->context) : "no context");
    return t->program != NULL;
}

/* One step on x full of `value`; then what the state says. */
static void tiny_step(struct tiny *t, float value, double scale, int64_t steps, double good, double w)
{
    const float x[2] = {value, value};
    float weights[4] = {NAN};
    double now = NAN, count = NAN;
    int64_t applied = -1;
    CHECK_MSG(plumb_feed(t->program, t->x, x, sizeof x) == PLUMB_OK && plumb_run(t->program) == PLUMB_OK, "%s",
              plumb_message(t->context));
    CHECK(plumb_state_get_number(t->state, "sgd/loss_scale:", &now) == PLUMB_OK);
    CHECK(plumb_state_get_number(t->state, "sgd/good_steps:", &count) == PLUMB_OK);
    CHECK(plumb_get_steps(t->state, "sgd", &applied) == PLUMB_OK);
    CHECK(plumb_state_get(t->state, "w", weights, sizeof weights) == PLUMB_OK);
    CHECK_MSG(now == scale && applied == steps && count == good && weights[0] == (float)w && weights[3] == (float)w,
              "scale %g (%g), %lld steps (%lld), %g good (%g), w %.9g (%.9g)", now, scale, (long long)applied,
              (long long)steps, count, good, (double)weights[0], w);
}

/* A gradient of 2^16 is infinite in f16: the step is skipped, the weights stay as they are to the bit, and the scale is
 * halved; after three good steps it doubles, and so on. The steps that are taken are those of f32. */
PLUMB_TEST(loss_scale, scale_backs_off_and_grows)
{
    struct tiny t;
    if (open_tiny(&t, PLUMB_SGD(.lr = 0.25, .precision = PLUMB_F16, .loss_scale_every = 3))) {
        tiny_step(&t, 1, 0x1p15, 0, 0, 1); /* 2^16 overflows */
        tiny_step(&t, 1, 0x1p15, 1, 1, 0.75);
        tiny_step(&t, 1, 0x1p15, 2, 2, 0.5);
        tiny_step(&t, 0.5f, 0x1p16, 3, 0, 0.375);
        tiny_step(&t, 1, 0x1p15, 3, 0, 0.375);
        tiny_step(&t, 3e4f, 0x1p14, 3, 0, 0.375); /* x fits, the gradient does not */
        tiny_step(&t, 0.25f, 0x1p14, 4, 1, 0.3125);
        tiny_step(&t, 3e4f, 0x1p13, 4, 0, 0.3125); /* and counting starts over */
    }
    plumb_close(t.context);
}

/* Nothing lowers the scale below 1 or raises it above 2^24. */
PLUMB_TEST(loss_scale, scale_has_bounds)
{
    struct tiny t;
    if (open_tiny(&t, PLUMB_SGD(.lr = 0.25, .loss_scale = PLUMB_DYNAMIC_LOSS_SCALE, .loss_scale_every = 1))) {
        CHECK(plumb_state_set_number(t.state, "sgd/loss_scale:", 2) == PLUMB_OK);
        tiny_step(&t, INFINITY, 1, 0, 0, 1);
        tiny_step(&t, NAN, 1, 0, 0, 1);
        CHECK(plumb_state_set_number(t.state, "sgd/loss_scale:", 0x1p23) == PLUMB_OK);
        tiny_step(&t, 1, 0x1p24, 1, 0, 0.75);
        tiny_step(&t, 1, 0x1p24, 2, 0, 0.5);
    }
    plumb_close(t.context);
}

/* Two optimisers of one graph: what overflows in one is skipped there, and only its scale falls. */
PLUMB_TEST(loss_scale, scales_are_each_optimizers_own)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "two");
    const plumb_variable_options one = {.size = sizeof one, .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}};
    const char *const names[2] = {"a", "b"};
    plumb_t x[2], w[2], loss[2];
    for (int i = 0; i < 2; i++) {
        x[i] = plumb_input(g, i ? "y" : "x", PLUMB_F32, PLUMB_SHAPE(2));
        w[i] = plumb_variable(g, i ? "v" : "w", PLUMB_F32, PLUMB_SHAPE(2), &one);
        loss[i] = plumb_sum(g, plumb_mul(g, x[i], w[i]), NULL, 0, false);
    }
    for (int i = 0; i < 2; i++)
        CHECK(plumb_minimize(g, loss[i], &w[i], 1, PLUMB_SGD(.name = names[i], .lr = 0.5, .loss_scale = PLUMB_DYNAMIC_LOSS_SCALE)) ==
              PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .training = true, .effects = true});
    REQUIRE(program);
    const float fine[2] = {1, 1}, large[2] = {INFINITY, 1};
    for (int step = 0; step < 3; step++) { /* both fine; only b; only a */
        CHECK(plumb_feed(program, x[0], step == 1 ? large : fine, sizeof fine) == PLUMB_OK);
        CHECK(plumb_feed(program, x[1], step == 2 ? large : fine, sizeof fine) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    }
    double scale[2], good[2];
    float weights[2][2];
    for (int i = 0; i < 2; i++) {
        CHECK(plumb_state_get_number(state, i ? "b/loss_scale:" : "a/loss_scale:", &scale[i]) == PLUMB_OK);
        CHECK(plumb_state_get_number(state, i ? "b/good_steps:" : "a/good_steps:", &good[i]) == PLUMB_OK);
        CHECK(plumb_state_get(state, i ? "v" : "w", weights[i], sizeof weights[i]) == PLUMB_OK);
        CHECK_MSG(scale[i] == 0x1p15 && weights[i][0] == 0, "%s: scale %g, weight %g", names[i], scale[i], (double)weights[i][0]);
    }
    CHECK_MSG(good[0] == 1 && good[1] == 0, "%g and %g good steps", good[0], good[1]);
    plumb_close(context);
}

PLUMB_TEST(loss_scale, odd_optimizers_are_refused)
{
    static const struct {
        plumb_optimizer o;
        const char *says;
    } row[] = {
        {{.size = sizeof(plumb_optimizer), .loss_scale = -2}, "loss_scale -2 must be positive"},
        {{.size = sizeof(plumb_optimizer), .loss_scale = INFINITY}, "loss_scale inf"},
        {{.size = sizeof(plumb_optimizer), .loss_scale_every = -1}, "loss_scale_every -1"},
        {{.size = sizeof(plumb_optimizer), .precision = PLUMB_I32}, "precision i32"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        plumb_context *context = plumb_open(NULL);
        struct net net;
        REQUIRE(context && net_mlp(context, &net) == PLUMB_OK);
        plumb_state *state = plumb_state_new(net.g);
        CHECK(!plumb_compile_training(net.g, state, net.loss, &row[i].o, NULL, 0));
        CHECK_MSG(plumb_last_status(context) == PLUMB_BAD_INPUT && strstr(plumb_message(context), row[i].says), "%s",
                  plumb_message(context));
        plumb_close(context);
    }
}

/* ---- training ---- */

enum { STEPS = 30, BATCH = 8 };

struct course {
    plumb_context *context;
    struct net net;
    plumb_state *state;
    plumb_program *program;
};

static bool open_course(struct course *c, net_builder build, const plumb_optimizer *optimizer, int threads)
{
    memset(c, 0, sizeof *c);
    c->context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = threads, .seed = 21});
    bool built = c->context && build(c->context, &c->net) == PLUMB_OK;
    c->state = built ? plumb_state_new(c->net.g) : NULL;
    c->program = c->state ? plumb_compile_training(c->net.g, c->state, c->net.loss, optimizer, NULL, 0) : NULL;
    CHECK_MSG(c->program, "%s", c->context ? plumb_message(c->context) : "no context");
    return c->program != NULL;
}

static void take_steps(struct course *c, int first, int count, double *loss)
{
    for (int i = first; i < first + count; i++) {
        plumb_status status = net_feed(&c->net, c->program, BATCH, (uint64_t)(i % 4)); /* four batches, over and over */
        status = status == PLUMB_OK ? plumb_run(c->program) : status;
        status = status == PLUMB_OK ? plumb_fetch_number(c->program, c->net.loss, &loss[i]) : status;
        CHECK_MSG(status == PLUMB_OK, "step %d: %s", i, plumb_message(c->context));
    }
}

/* Every value of the state, as bytes. */
static size_t all_bytes(const plumb_state *state, unsigned char *to, size_t room)
{
    size_t used = 0;
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        size_t bytes = plumb_dtype_size(plumb_state_dtype(state, name));
        for (int d = 0; d < shape.rank; d++)
            bytes *= (size_t)shape.dim[d];
        CHECK(used + bytes <= room && plumb_state_get(state, name, to + used, bytes) == PLUMB_OK);
        used += bytes;
    }
    return used;
}

static size_t trained(net_builder build, const plumb_optimizer *optimizer, int threads, double *loss, unsigned char *state,
                      size_t room)
{
    struct course c;
    size_t bytes = 0;
    if (open_course(&c, build, optimizer, threads)) {
        take_steps(&c, 0, STEPS, loss);
        bytes = all_bytes(c.state, state, room);
    }
    plumb_close(c.context);
    return bytes;
}

static plumb_status net_of_model(plumb_context *context, const char *name, struct net *net)
{
    plumb_model model;
    plumb_status status = plumb_model_build(context, name, NULL, &model);
    if (status == PLUMB_OK)
        *net = (struct net){.g = model.graph, .x = model.input, .label = model.label, .out = model.logits, .loss = model.loss,
                            .per_example = plumb_shape_count(&model.input_shape), .classes = model.classes};
    return status;
}

static plumb_status net_lenet5(plumb_context *context, struct net *net) { return net_of_model(context, "lenet5", net); }
static plumb_status net_resnet(plumb_context *context, struct net *net) { return net_of_model(context, "resnet8-cifar", net); }

enum { SMALL = 3, NETS = 5 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COMPARED = SMALL }; /* which have time budgets */
#else
enum { COMPARED = NETS };
#endif
static const net_builder builders[NETS] = {net_mlp, net_cnn, net_views, net_lenet5, net_resnet};
static const double rates[NETS] = {0.2, 0.2, 0.2, 0.01, 0.1}; /* at which courses do not part whatever the digits */
static const char *const builder_names[NETS] = {"mlp", "cnn with a skip and batch norm", "views", "lenet5", "resnet8-cifar"};

/* In f32 a scale that is a power of two changes nothing, to the bit: every gradient is the same digits with another
 * exponent. A forgotten factor anywhere, clipping's norm included, would show. */
PLUMB_TEST(loss_scale, scaling_alone_changes_nothing)
{
    static unsigned char plain[1 << 16], scaled[1 << 16];
    const plumb_optimizer optimizer[] = {
        {.size = sizeof(plumb_optimizer), .lr = 0.01, .clip_norm = 0.1, .l2 = 0.01, .skip_bad_steps = true},
        {.size = sizeof(plumb_optimizer), .lr = 0.01, .clip_norm = 0.1, .l2 = 0.01, .skip_bad_steps = true, .loss_scale = 1024}};
    double loss[2][STEPS];
    for (int n = 0; n < SMALL; n++) {
        size_t a = trained(builders[n], &optimizer[0], 1, loss[0], plain, sizeof plain);
        size_t b = trained(builders[n], &optimizer[1], 1, loss[1], scaled, sizeof scaled);
        CHECK_MSG(a > 1000 && a == b && memcmp(plain, scaled, a) == 0, "%s: a scaled step differs", builder_names[n]);
        CHECK(memcmp(loss[0], loss[1], sizeof loss[0]) == 0);
    }
}

/* The loss of every step beside f32's. On its deepest path a step rounds some ten times, each by at most u (2^-8 in bf16,
 * 2^-11 in f16) of the activations and with either sign: sqrt(10) u of losses that are about 1; the weights carry the
 * gradients' roundings of the steps before, which are of the same kind: twice that, and some. The scale of f16 is one that
 * no step overflows, since a skipped step would shift the course. Measured: at most 3 u. */
static void compare_courses(plumb_dtype low, double u)
{
    static unsigned char state[1 << 20];
    for (int n = 0; n < COMPARED; n++) {
        double loss[2][STEPS], worst = 0;
        for (int k = 0; k < 2; k++)
            trained(builders[n], PLUMB_MOMENTUM(.lr = rates[n], .precision = k ? low : PLUMB_F32, .loss_scale = 256), 1, loss[k],
                    state, sizeof state);
        for (int i = 0; i < STEPS; i++) {
            double error = fabs(loss[1][i] - loss[0][i]) / (1 + fabs(loss[0][i]));
            worst = !(error <= worst) ? error : worst;
        }
        CHECK_MSG(worst <= 8 * u, "%s in %s: a loss differs by %g, %.1f u", builder_names[n], plumb_dtype_name(low), worst,
                  worst / u);
        CHECK_MSG(worst > 0, "%s in %s: nothing was rounded", builder_names[n], plumb_dtype_name(low));
        double first = 0, last = 0;
        for (int i = 0; i < 4; i++) {
            first += loss[1][i];
            last += loss[1][STEPS - 1 - i];
        }
        CHECK_MSG(last < first, "%s in %s does not learn", builder_names[n], plumb_dtype_name(low));
    }
}

PLUMB_TEST(loss_scale, trains_as_in_f32)
{
    compare_courses(PLUMB_BF16, 0x1p-8);
    compare_courses(PLUMB_F16, 0x1p-11);
}

PLUMB_TEST(loss_scale, does_not_depend_on_threads)
{
    static unsigned char one[1 << 16], four[1 << 16];
    static const plumb_dtype dtype[] = {PLUMB_BF16, PLUMB_F16};
    double loss[STEPS];
    for (int i = 0; i < 2; i++) {
        size_t a = trained(net_cnn, PLUMB_ADAM(.precision = dtype[i]), 1, loss, one, sizeof one);
        size_t b = trained(net_cnn, PLUMB_ADAM(.precision = dtype[i]), 4, loss, four, sizeof four);
        CHECK(a > 1000 && a == b && memcmp(one, four, a) == 0);
    }
}

/* Saved in the middle and loaded into another state, the training goes on as if it had not stopped: moments, steps, the
 * scale and its count are all in the file. The interval is such that the scale moves on both sides. */
PLUMB_TEST(loss_scale, resumes_to_the_bit)
{
    static unsigned char whole[1 << 16], halves[1 << 16];
    const plumb_optimizer *optimizer = PLUMB_ADAM(.precision = PLUMB_F16, .loss_scale_every = 4);
    char path[] = "/tmp/plumb-precision-XXXXXX";
    double loss[STEPS], again[STEPS], scale = 0;
    struct course first, second;
    int file = mkstemp(path);
    REQUIRE(file >= 0);
    size_t bytes = trained(net_mlp, optimizer, 1, loss, whole, sizeof whole);
    if (open_course(&first, net_mlp, optimizer, 1) && open_course(&second, net_mlp, optimizer, 1)) {
        take_steps(&first, 0, STEPS / 2, again);
        CHECK(plumb_state_save(first.state, path, NULL) == PLUMB_OK);
        CHECK_MSG(plumb_state_load(second.state, path, false) == PLUMB_OK, "%s", plumb_message(second.context));
        CHECK(plumb_state_get_number(second.state, "adam/loss_scale:", &scale) == PLUMB_OK && scale > 0 && scale != 0x1p16);
        take_steps(&second, STEPS / 2, STEPS - STEPS / 2, again);
        size_t same = all_bytes(second.state, halves, sizeof halves);
        CHECK(bytes > 1000 && bytes == same && memcmp(whole, halves, bytes) == 0 && memcmp(loss, again, sizeof loss) == 0);
    }
    plumb_close(first.context);
    plumb_close(second.context);
    close(file);
    unlink(path);
}
