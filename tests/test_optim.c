/* Optimisers: every rule against a double loop written here from the notes' formulas; what is refused; what a bad step
 * leaves alone; schedules and averages against their golden numbers. */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

static plumb_context *open_cpu(void)
{
    return plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = 5});
}

static plumb_t variable(plumb_graph *g, const char *name, plumb_dtype dtype, plumb_shape shape, double value)
{
    const plumb_variable_options o = {.size = sizeof(o), .init = {.rule = PLUMB_INIT_CONSTANT, .a = value}};
    return plumb_variable(g, name, dtype, shape, &o);
}

/* ---- traces ----
 *
 * The model: W (2, 3) and b (3), loss = sum(k (W - t)^2) / 2 + sum(sin(b)), k and t below; so gradients are
 * k (W - t) and cos(b), which the loop here knows in closed form. */

enum { W = 6, B = 3, P = W + B, STEPS = 30 };
static const double stiff[W] = {1, 2, .5, 3, .1, 4}, goal[W] = {1, -1, 2, .5, -3, 0};
static const double start[P] = {0, .5, -1, 2, 1, -.25, .3, 0, -1.2};

struct trace {
    double p[P], a[P], b[P]; /* parameters, first and second moment */
    double lr;
};

static void gradients(const double *p, double *g)
{
    for (int i = 0; i < W; i++) {
        g[i] = stiff[i] * (p[i] - goal[i]);
    }
    for (int i = W; i < P; i++) {
        g[i] = cos(p[i]);
    }
}

static double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

/* One step, from the formulas in include/plumb/optim.h with every field given explicitly. */
static void step_by_hand(struct trace *t, const plumb_optimizer *o, int step)
{
    double g[P], norm = 0;
    gradients(t->p, g);
    for (int i = 0; i < P; i++) {
        norm += g[i] * g[i];
    }
    double scale = o->clip_norm > 0 && sqrt(norm) > o->clip_norm ? o->clip_norm / sqrt(norm) : 1;
    for (int i = 0; i < P; i++) {
        bool decays = i < W || o->decay_all;
        double p = t->p[i], x = scale * g[i] + (decays ? o->l2 * p + o->l1 * sign_of(p) : 0), d = 0;
        if (!strcmp(o->rule, "sgd")) {
            d = t->lr * x;
        } else if (!strcmp(o->rule, "momentum")) {
            t->a[i] = o->momentum * t->a[i] + (o->classic ? 1 : 1 - o->momentum) * x;
            d = t->lr * t->a[i];
        } else if (!strcmp(o->rule, "nesterov")) {
            t->a[i] = o->momentum * t->a[i] + t->lr * x;
            d = t->lr * x + o->momentum * t->a[i];
        } else if (!strcmp(o->rule, "adagrad")) {
            t->a[i] += x * x;
            d = t->lr * x / sqrt(t->a[i] + o->epsilon);
        } else if (!strcmp(o->rule, "rmsprop")) {
            t->a[i] = o->beta2 * t->a[i] + (1 - o->beta2) * x * x;
            d = t->lr * x / (sqrt(t->a[i]) + o->epsilon);
        } else { /* adam, adamw */
            t->a[i] = o->beta1 * t->a[i] + (1 - o->beta1) * x;
            t->b[i] = o->beta2 * t->b[i] + (1 - o->beta2) * x * x;
            double m = t->a[i] / (1 - pow(o->beta1, step + 1)), s = t->b[i] / (1 - pow(o->beta2, step + 1));
            d = t->lr * m / (sqrt(s) + o->epsilon);
        }
        t->p[i] = p - d - (decays ? t->lr * o->weight_decay * p : 0);
    }
}

static plumb_t constant_of(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, const double *values)
{
    return plumb_cast(g, plumb_constant(g, PLUMB_F64, shape, values), dtype);
}

static plumb_graph *trace_model(plumb_context *context, plumb_dtype dtype, plumb_t *loss)
{
    plumb_graph *g = plumb_graph_new(context, "trace");
    plumb_t w = variable(g, "w", dtype, PLUMB_SHAPE(2, 3), 0), b = variable(g, "b", dtype, PLUMB_SHAPE(3), 0);
    plumb_t k = constant_of(g, dtype, PLUMB_SHAPE(2, 3), stiff),
            t = constant_of(g, dtype, PLUMB_SHAPE(2, 3), goal);
    plumb_t square = plumb_affine(g, plumb_mul(g, k, plumb_square(g, plumb_sub(g, w, t))), 0.5, 0);
    *loss = plumb_add(g, plumb_sum(g, square, NULL, 0, false), plumb_sum(g, plumb_sin(g, b), NULL, 0, false));
    return g;
}

static bool set_values(plumb_state *state, const char *name, plumb_dtype dtype, const double *values,
                       int count)
{
    float narrow[16];
    for (int i = 0; i < count; i++) {
        narrow[i] = (float)values[i];
    }
    size_t size = dtype == PLUMB_F32 ? sizeof(float) : sizeof(double);
    return plumb_state_set(state, name, dtype == PLUMB_F32 ? (const void *)narrow : values,
                           size * (size_t)count) == PLUMB_OK;
}

static bool get_values(plumb_state *state, const char *name, plumb_dtype dtype, double *values, int count)
{
    float narrow[16];
    if (dtype == PLUMB_F64) {
        return plumb_state_get(state, name, values, sizeof(double) * (size_t)count) == PLUMB_OK;
    }
    if (plumb_state_get(state, name, narrow, sizeof(float) * (size_t)count) != PLUMB_OK) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        values[i] = (double)narrow[i];
    }
    return true;
}

static void check_trace(const plumb_optimizer *o, plumb_dtype dtype)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_t loss;
    plumb_graph *g = trace_model(context, dtype, &loss);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = plumb_compile_training(g, state, loss, o, NULL, 0);
    CHECK_MSG(program != NULL, "%s: %s", o->rule, plumb_message(context));
    struct trace t = {.lr = o->lr};
    memcpy(t.p, start, sizeof(start));
    CHECK(set_values(state, "w", dtype, start, W) && set_values(state, "b", dtype, start + W, B));
    double p[P], tolerance = dtype == PLUMB_F32 ? 2e-5 : 1e-12;
    for (int step = 0; program && step < STEPS && check_failures() == 0; step++) {
        if (step == STEPS / 2) { /* the learning rate is in the state and may change under way */
            t.lr /= 4;
            CHECK(plumb_set_lr(state, o->name ? o->name : o->rule, t.lr) == PLUMB_OK);
        }
        step_by_hand(&t, o, step);
        CHECK(plumb_run(program) == PLUMB_OK);
        CHECK(get_values(state, "w", dtype, p, W) && get_values(state, "b", dtype, p + W, B));
        for (int i = 0; i < P; i++) {
            CHECK_MSG(fabs(p[i] - t.p[i]) <= tolerance * (1 + fabs(t.p[i])),
                      "%s step %d: parameter %d is %.15g, not %.15g", o->rule, step, i, p[i], t.p[i]);
        }
    }
    int64_t steps = -1;
    CHECK(plumb_get_steps(state, o->name ? o->name : o->rule, &steps) == PLUMB_OK && steps == STEPS);
    plumb_close(context);
}

static void check_traces(const plumb_optimizer *o)
{
    plumb_optimizer with = *o;
    const struct {
        double weight_decay, l2, l1, clip;
        bool all;
    } extras[] = {
        {0, 0, 0, 0, false},     {.1, 0, 0, 0, false}, {0, .3, .05, 0, false},
        {.05, .1, .02, 2, true}, {0, 0, 0, 1e9, true},
    };
    for (int i = 0; i < 5; i++) {
        with.weight_decay = extras[i].weight_decay > 0 ? extras[i].weight_decay : PLUMB_ZERO;
        with.l2 = extras[i].l2;
        with.l1 = extras[i].l1;
        with.clip_norm = extras[i].clip;
        with.decay_all = extras[i].all;
        check_trace(&with, PLUMB_F64);
        check_trace(&with, PLUMB_F32);
    }
}

PLUMB_TEST(optim, sgd_trace) { check_traces(PLUMB_SGD(.lr = 0.1)); }
PLUMB_TEST(optim, momentum_trace) { check_traces(PLUMB_MOMENTUM(.lr = 0.2, .momentum = 0.9)); }
PLUMB_TEST(optim, classic_momentum_trace)
{
    check_traces(PLUMB_MOMENTUM(.lr = 0.02, .momentum = 0.8, .classic = true));
}
PLUMB_TEST(optim, nesterov_trace) { check_traces(PLUMB_NESTEROV(.lr = 0.02, .momentum = 0.9)); }
PLUMB_TEST(optim, adagrad_trace) { check_traces(PLUMB_ADAGRAD(.lr = 0.5, .epsilon = 1e-6)); }
PLUMB_TEST(optim, rmsprop_trace) { check_traces(PLUMB_RMSPROP(.lr = 0.02, .beta2 = 0.9, .epsilon = 1e-6)); }
PLUMB_TEST(optim, adam_trace)
{
    check_traces(PLUMB_ADAM(.lr = 0.1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8));
}
PLUMB_TEST(optim, adamw_trace)
{
    check_traces(PLUMB_ADAMW(.name = "mine", .lr = 0.1, .beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-6));
}

/* Defaults, and that 0 means them while PLUMB_ZERO means zero. */
PLUMB_TEST(optim, defaults_and_zeros)
{
    plumb_optimizer o = {
        .size = sizeof(o), .rule = "adam", .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
    struct trace full = {.lr = 1e-3}, zero = {.lr = 0.1};
    memcpy(full.p, start, sizeof(start));
    memcpy(zero.p, start, sizeof(start));
    plumb_optimizer without = {
        .size = sizeof(o), .rule = "adam", .name = "zero", .lr = 0.1, .beta2 = 0.999, .epsilon = 1e-8};
    for (int step = 0; step < 3; step++) {
        step_by_hand(&full, &o, step);
        step_by_hand(&zero, &without, step);
    }
    const plumb_optimizer asked[] = {{0}, {.name = "zero", .lr = 0.1, .beta1 = PLUMB_ZERO}};
    for (int k = 0; k < 2; k++) {
        plumb_context *context = open_cpu();
        REQUIRE(context);
        plumb_t loss;
        plumb_graph *g = trace_model(context, PLUMB_F64, &loss);
        plumb_state *state = plumb_state_new(g);
        plumb_program *program = plumb_compile_training(g, state, loss, k ? &asked[1] : NULL, NULL, 0);
        CHECK(set_values(state, "w", PLUMB_F64, start, W) && set_values(state, "b", PLUMB_F64, start + W, B));
        for (int step = 0; step < 3; step++) {
            CHECK(plumb_run(program) == PLUMB_OK);
        }
        double p[P];
        CHECK(get_values(state, "w", PLUMB_F64, p, W) && get_values(state, "b", PLUMB_F64, p + W, B));
        for (int i = 0; i < P; i++) {
            CHECK_NEAR(p[i], k ? zero.p[i] : full.p[i], 1e-12);
        }
        plumb_close(context);
    }
}

/* The stored parameter of nesterov is W - beta V of the original form, whose gradient is taken away from W. */
PLUMB_TEST(optim, nesterov_is_the_look_ahead_form)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_t loss;
    plumb_graph *g = trace_model(context, PLUMB_F64, &loss);
    plumb_state *state = plumb_state_new(g);
    const double beta = 0.9, lr = 0.02;
    plumb_program *program =
        plumb_compile_training(g, state, loss, PLUMB_NESTEROV(.lr = lr, .momentum = beta), NULL, 0);
    CHECK(set_values(state, "w", PLUMB_F64, start, W) && set_values(state, "b", PLUMB_F64, start + W, B));
    double w[P], v[P] = {0}, p[P], stored[P];
    memcpy(w, start, sizeof(start));
    for (int step = 0; program && step < STEPS; step++) {
        double ahead[P], d[P];
        for (int i = 0; i < P; i++) {
            ahead[i] = w[i] - beta * v[i];
        }
        gradients(ahead, d);
        for (int i = 0; i < P; i++) {
            v[i] = beta * v[i] + lr * d[i];
            w[i] -= v[i];
        }
        CHECK(plumb_run(program) == PLUMB_OK);
    }
    CHECK(get_values(state, "w", PLUMB_F64, p, W) && get_values(state, "b", PLUMB_F64, p + W, B));
    CHECK(get_values(state, "nesterov/v:w", PLUMB_F64, stored, W) &&
          get_values(state, "nesterov/v:b", PLUMB_F64, stored + W, B));
    for (int i = 0; i < P; i++) {
        CHECK_NEAR(stored[i], v[i], 1e-13);
        CHECK_NEAR(p[i] + beta * stored[i], w[i], 1e-12);
    }
    plumb_close(context);
}

/* ---- the notes' own examples ---- */

PLUMB_TEST(optim, parabola_finds_five)
{
    const plumb_optimizer *const all[] = {
        PLUMB_SGD(.lr = 0.1),
        PLUMB_MOMENTUM(.lr = 0.1),
        PLUMB_MOMENTUM(.lr = 0.02, .classic = true),
        PLUMB_NESTEROV(.lr = 0.02),
        PLUMB_ADAGRAD(.lr = 1),
        PLUMB_RMSPROP(.lr = 0.003),
        PLUMB_ADAM(.lr = 0.05),
        PLUMB_ADAMW(.lr = 0.05, .weight_decay = PLUMB_ZERO),
    };
    for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++) {
        plumb_context *context = open_cpu();
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "parabola");
        plumb_t w = variable(g, "w", PLUMB_F32, PLUMB_SCALAR_SHAPE, 0);
        plumb_t loss = plumb_add(g, plumb_square(g, w), plumb_affine(g, w, -10, 25));
        plumb_state *state = plumb_state_new(g);
        plumb_program *program = plumb_compile_training(g, state, loss, all[k], NULL, 0);
        CHECK_MSG(program != NULL, "%s: %s", all[k]->rule, plumb_message(context));
        for (int i = 0; program && i < 3000; i++) {
            if (plumb_run(program) != PLUMB_OK) {
                CHECK_MSG(false, "%s: %s", all[k]->rule, plumb_message(context));
                break;
            }
        }
        double value = 0;
        CHECK(plumb_state_get_number(state, "w", &value) == PLUMB_OK);
        CHECK_MSG(fabs(value - 5) < 0.01, "%s reached %g", all[k]->rule, value);
        plumb_close(context);
    }
}

PLUMB_TEST(optim, any_cost_is_differentiated)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "3(a + bc)");
    plumb_t p[] = {variable(g, "a", PLUMB_F64, PLUMB_SCALAR_SHAPE, 5),
                   variable(g, "b", PLUMB_F64, PLUMB_SCALAR_SHAPE, 3),
                   variable(g, "c", PLUMB_F64, PLUMB_SCALAR_SHAPE, 2)},
            d[3];
    plumb_t j = plumb_affine(g, plumb_add(g, p[0], plumb_mul(g, p[1], p[2])), 3, 0);
    CHECK(plumb_gradients(g, j, p, 3, d) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    const plumb_t all[] = {j, d[0], d[1], d[2]};
    const double want[] = {33, 3, 6, 9};
    for (int i = 0; i < 4; i++) {
        double value = 0;
        CHECK(plumb_eval(g, state, NULL, 0, all[i], &value, sizeof(value)) == PLUMB_OK);
        CHECK(value == want[i]);
    }
    plumb_close(context);
}

/* ---- programs ---- */

PLUMB_TEST(optim, training_leaves_the_graph_alone_and_knows_its_ids)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "line");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH)),
            y = plumb_input(g, "y", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t slope = variable(g, "slope", PLUMB_F32, PLUMB_SCALAR_SHAPE, 0),
            shift = variable(g, "shift", PLUMB_F32, PLUMB_SCALAR_SHAPE, 0);
    plumb_t line = plumb_add(g, plumb_mul(g, x, slope), shift),
            loss = plumb_half_squared_error(g, line, y, NULL);
    char *before = plumb_graph_text(g);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = plumb_compile_training(g, state, loss, PLUMB_SGD(.lr = 0.1), &line, 1);
    CHECK_MSG(program != NULL, "%s", plumb_message(context));
    char *after = plumb_graph_text(g);
    CHECK(before && after && strcmp(before, after) == 0);
    plumb_text_free(context, before);
    plumb_text_free(context, after);
    plumb_graph_free(g); /* the program does not need it */
    const float xs[] = {-1, 0, 1, 2}, ys[] = {-1, 1, 3, 5};
    double first = 0, last = 0;
    for (int i = 0; program && i < 500; i++) {
        CHECK(plumb_feed(program, x, xs, sizeof(xs)) == PLUMB_OK &&
              plumb_feed(program, y, ys, sizeof(ys)) == PLUMB_OK);
        CHECK(plumb_run(program) == PLUMB_OK);
        CHECK(plumb_fetch_number(program, loss, i ? &last : &first) == PLUMB_OK);
    }
    float prediction[4], a = 0, b = 0;
    CHECK(plumb_fetch(program, line, prediction, sizeof(prediction)) == PLUMB_OK);
    CHECK_NEAR(prediction[3], 5, 1e-3);
    CHECK(plumb_state_get(state, "slope", &a, sizeof(a)) == PLUMB_OK &&
          plumb_state_get(state, "shift", &b, sizeof(b)) == PLUMB_OK);
    CHECK_NEAR(a, 2, 1e-3);
    CHECK_NEAR(b, 1, 1e-3);
    CHECK_NEAR(first, 4.5, 1e-6);
    CHECK(last < 1e-6);
    plumb_close(context);
}

PLUMB_TEST(optim, two_optimisers_share_a_graph)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "two");
    plumb_t a = variable(g, "a", PLUMB_F64, PLUMB_SCALAR_SHAPE, 4),
            b = variable(g, "b", PLUMB_F64, PLUMB_SCALAR_SHAPE, 4);
    plumb_t loss = plumb_mul(g, plumb_square(g, a), plumb_square(g, b));
    CHECK(plumb_minimize(g, loss, &a, 1, PLUMB_SGD(.name = "down", .lr = 1e-3)) == PLUMB_OK);
    CHECK(plumb_minimize(g, plumb_neg(g, loss), &b, 1, PLUMB_SGD(.name = "up", .lr = 2e-3)) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    const plumb_compile_options o = {
        .size = sizeof(o), .outputs = &loss, .n_outputs = 1, .training = true, .effects = true};
    plumb_program *program = plumb_compile(g, state, &o);
    CHECK_MSG(program != NULL, "%s", plumb_message(context));
    CHECK(plumb_run(program) == PLUMB_OK);
    double value = 0;
    CHECK(plumb_state_get_number(state, "a", &value) == PLUMB_OK);
    CHECK_NEAR(value, 4 - 1e-3 * 2 * 4 * 16, 1e-12);
    CHECK(plumb_state_get_number(state, "b", &value) == PLUMB_OK); /* all reads before all writes */
    CHECK_NEAR(value, 4 + 2e-3 * 2 * 4 * 16, 1e-12);
    CHECK(plumb_state_has(state, "down/lr:") && plumb_state_has(state, "up/step:"));
    CHECK(plumb_set_lr(state, "sideways", 1) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "no optimizer 'sideways'");
    plumb_clear_error(context);
    CHECK(plumb_set_lr(state, "up", NAN) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_minimize(g, loss, &a, 1, PLUMB_SGD(.name = "up")) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "name already");
    plumb_close(context);
}

/* A bad batch: nothing in the state moves, batch-norm statistics and step count included; the next good one counts. */
PLUMB_TEST(optim, bad_steps_change_nothing)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "guarded");
    const plumb_variable_options frozen = {
        .size = sizeof(frozen), .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}, .frozen = true};
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(4, 2));
    plumb_t scale = variable(g, "scale", PLUMB_F32, PLUMB_SHAPE(2), 1),
            shift = variable(g, "shift", PLUMB_F32, PLUMB_SHAPE(2), 0);
    plumb_t mean = plumb_variable(g, "mean", PLUMB_F32, PLUMB_SHAPE(2), &frozen);
    plumb_t var = plumb_variable(g, "var", PLUMB_F32, PLUMB_SHAPE(2), &frozen);
    plumb_t y = plumb_batch_norm(g, x, scale, shift, mean, var, NULL);
    plumb_t loss = plumb_mean(g, plumb_square(g, plumb_affine(g, y, 1, -1)), NULL, 0, false);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program =
        plumb_compile_training(g, state, loss, PLUMB_ADAM(.skip_bad_steps = true), NULL, 0);
    CHECK_MSG(program != NULL, "%s", plumb_message(context));
    float good[8] = {1, 2, 3, 5, 8, 13, 21, 34}, bad[8] = {1, 2, 3, NAN, 5, 6, 7, 8};
    CHECK(plumb_feed(program, x, good, sizeof(good)) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    plumb_state *copy = plumb_state_clone(state);
    for (int i = 0; i < 3; i++) {
        bad[3] = i == 0 ? NAN : i == 1 ? INFINITY : 3e38f; /* the last overflows under way */
        CHECK(plumb_feed(program, x, bad, sizeof(bad)) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    }
    CHECK(plumb_state_count(state) >= 10);
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        double was[4] = {0}, is[4] = {0};
        plumb_shape shape = plumb_state_shape(state, name);
        size_t bytes =
            plumb_dtype_size(plumb_state_dtype(state, name)) * (shape.rank ? (size_t)shape.dim[0] : 1);
        CHECK(bytes <= sizeof(was));
        CHECK(plumb_state_get(copy, name, was, bytes) == PLUMB_OK &&
              plumb_state_get(state, name, is, bytes) == PLUMB_OK);
        CHECK_MSG(memcmp(was, is, sizeof(was)) == 0, "%s changed in a bad step", name);
    }
    int64_t steps = 0;
    CHECK(plumb_feed(program, x, good, sizeof(good)) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_get_steps(state, "adam", &steps) == PLUMB_OK && steps == 2);
    plumb_close(context);
}

/* ---- refusals ---- */

static void check_refused(const plumb_optimizer *o, const char *part)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_t loss;
    plumb_graph *g = trace_model(context, PLUMB_F32, &loss);
    plumb_state *state = plumb_state_new(g);
    CHECK(plumb_compile_training(g, state, loss, o, NULL, 0) == NULL);
    CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), part);
    CHECK(plumb_graph_status(g) == PLUMB_OK); /* the user's graph is not poisoned */
    plumb_close(context);
}

PLUMB_TEST(optim, bad_numbers_are_refused)
{
    check_refused(PLUMB_SGD(.lr = NAN), "lr nan");
    check_refused(PLUMB_SGD(.lr = -1), "lr -1");
    check_refused(PLUMB_SGD(.lr = INFINITY), "lr inf");
    check_refused(PLUMB_ADAM(.beta1 = 1), "beta1 1 must be in [0, 1)");
    check_refused(PLUMB_ADAM(.beta2 = 1), "beta2 1 must be in [0, 1)");
    check_refused(PLUMB_ADAM(.beta2 = -0.5), "beta2 -0.5");
    check_refused(PLUMB_MOMENTUM(.momentum = 1.5), "momentum 1.5");
    check_refused(PLUMB_ADAM(.epsilon = -1e-8), "epsilon");
    check_refused(PLUMB_RMSPROP(.epsilon = PLUMB_ZERO), "epsilon");
    check_refused(PLUMB_ADAM(.l2 = -1), "l2 -1");
    check_refused(PLUMB_ADAM(.clip_norm = NAN), "clip_norm nan");
    check_refused(PLUMB_OPTIMIZER("adan", .lr = 1), "did you mean \"adam\"?");
    check_refused(PLUMB_OPTIMIZER("steepest", .lr = 1),
                  "known rules: sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw");
    check_refused(PLUMB_SGD(.name = ""), "name is empty");
}

PLUMB_TEST(optim, bad_graphs_are_refused)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "no parameters");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SCALAR_SHAPE);
    CHECK(plumb_minimize(g, x, NULL, 0, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "no trainable parameters");
    plumb_clear_error(context);
    g = plumb_graph_new(context, "vector loss");
    plumb_t w = variable(g, "w", PLUMB_F32, PLUMB_SHAPE(3), 1);
    CHECK(plumb_minimize(g, w, NULL, 0, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "floating scalar, got f32 (3)");
    plumb_clear_error(context);
    g = plumb_graph_new(context, "not a variable");
    w = variable(g, "w", PLUMB_F32, PLUMB_SCALAR_SHAPE, 1);
    plumb_t y = plumb_square(g, w), twice[] = {w, w};
    CHECK(plumb_minimize(g, y, &y, 1, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "not a variable");
    plumb_clear_error(context);
    g = plumb_graph_new(context, "twice");
    w = variable(g, "w", PLUMB_F32, PLUMB_SCALAR_SHAPE, 1);
    twice[0] = twice[1] = w;
    CHECK(plumb_minimize(g, plumb_square(g, w), twice, 2, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "'w' is listed twice");
    plumb_close(context);
}

/* ---- learning rates and averages ---- */

PLUMB_TEST(optim, schedules_of_the_notes)
{
    static const double inverse[] = {.1, .0667, .05, .04}, power[] = {.19, .1805, .1715, .1629};
    plumb_schedule s = {.size = sizeof(s), .lr = .2, .decay = 1, .rule = "inverse"};
    for (int e = 1; e <= 4; e++) {
        CHECK_NEAR(plumb_schedule_lr(&s, e, 0), inverse[e - 1], 5e-5);
    }
    s = (plumb_schedule){.size = sizeof(s), .lr = .2, .decay = .95, .rule = "exponential"};
    for (int e = 1; e <= 4; e++) {
        CHECK_NEAR(plumb_schedule_lr(&s, e, 0), power[e - 1], 5e-5);
    }
    s = (plumb_schedule){.size = sizeof(s), .lr = .2, .k = .5, .rule = "sqrt_epoch"};
    CHECK_NEAR(plumb_schedule_lr(&s, 0, 100), .1, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 3, 100), .05, 1e-15);
    s.rule = "sqrt_step";
    CHECK_NEAR(plumb_schedule_lr(&s, 3, 24), .02, 1e-15);
    s = (plumb_schedule){.size = sizeof(s), .lr = .2, .decay = .5, .every = 10, .rule = "staircase"};
    CHECK_NEAR(plumb_schedule_lr(&s, 9.9, 0), .2, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 10, 0), .1, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 35, 0), .025, 1e-15);
    static const double list[] = {.3, .2, .1};
    s = (plumb_schedule){.size = sizeof(s), .values = list, .n_values = 3, .rule = "manual"};
    CHECK(plumb_schedule_lr(&s, 1.5, 0) == .2 && plumb_schedule_lr(&s, 99, 0) == .1 &&
          plumb_schedule_lr(&s, 1e300, 0) == .1);
}

PLUMB_TEST(optim, schedules_beyond_the_notes)
{
    plumb_schedule s = {.size = sizeof(s), .lr = .4, .lr_end = .1, .epochs = 20, .rule = "cosine"};
    CHECK_NEAR(plumb_schedule_lr(&s, 0, 0), .4, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 10, 0), .25, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 20, 0), .1, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 50, 0), .1, 1e-15);
    s.rule = "one_cycle";
    CHECK_NEAR(plumb_schedule_lr(&s, 0, 0), .016, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 6, 0), .4, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 13, 0), .25, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 20, 0), .1, 1e-15);
    s = (plumb_schedule){.size = sizeof(s), .lr = .4, .warmup = 4};
    CHECK_NEAR(plumb_schedule_lr(&s, 1, 0), .1, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 4, 0), .4, 1e-15);
    CHECK_NEAR(plumb_schedule_lr(&s, 40, 0), .4, 1e-15);
    s.rule = "cosin";
    CHECK(isnan(plumb_schedule_lr(&s, 1, 0)));
    s.rule = "cosine";
    CHECK(isnan(plumb_schedule_lr(&s, 1, 0))); /* over how many epochs? */
    s.rule = "manual";
    CHECK(isnan(plumb_schedule_lr(&s, 1, 0)));
    CHECK(isnan(plumb_schedule_lr(&s, -1, 0)) && isnan(plumb_schedule_lr(&s, NAN, 0)) &&
          isnan(plumb_schedule_lr(NULL, 1, 0)));
}

PLUMB_TEST(optim, weighted_average_forgets_and_is_corrected)
{
    CHECK_NEAR(pow(.9, 10), 1 / exp(1), .02);
    CHECK_NEAR(pow(.98, 50), 1 / exp(1), .005);
    plumb_ewa a = {.beta = .9};
    CHECK_NEAR(plumb_ewa_add(&a, 40), 40, 1e-12); /* uncorrected it would say 4 */
    CHECK_NEAR(a.v, 4, 1e-12);
    CHECK_NEAR(plumb_ewa_add(&a, 49), (.09 * 40 + .1 * 49) / .19, 1e-12);
    plumb_ewa steady = {.beta = .98}, pulse = {.beta = .9};
    double last = 0;
    for (int i = 0; i < 100; i++) {
        last = plumb_ewa_add(&steady, 7);
    }
    CHECK_NEAR(last, 7, 1e-12);
    plumb_ewa_add(&pulse, 1);
    double first = pulse.v;
    for (int i = 0; i < 10; i++) {
        plumb_ewa_add(&pulse, 0);
    }
    CHECK_NEAR(pulse.v / first, .349, 5e-4);
}

PLUMB_TEST(optim, rules_have_names)
{
    CHECK(plumb_optimizer_count() == 9);
    CHECK(strcmp(plumb_optimizer_rule(0), "sgd") == 0 && strcmp(plumb_optimizer_rule(8), "muon") == 0);
    CHECK(plumb_optimizer_rule(9) == NULL && plumb_optimizer_rule(-1) == NULL);
}
