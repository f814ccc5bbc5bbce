/* Losses, softmax, lookup and dropout through graphs: golden values, conventions at the edges, gradients in closed
 * form. Each is tried in f64 (the reference) and, where it matters, in f32 (the native kernels). */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

struct bench {
    plumb_context *context;
    plumb_graph *g;
};

static struct bench open_bench(void)
{
    struct bench b = {.context = plumb_open(&(plumb_options){
                          .size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = 7})};
    b.g = b.context ? plumb_graph_new(b.context, "loss") : NULL;
    return b;
}

static plumb_t constant(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, const double *values)
{
    int64_t count = 1;
    for (int i = 0; i < shape.rank; i++) {
        count *= shape.dim[i];
    }
    float narrow[64];
    for (int64_t i = 0; i < count && i < 64; i++) {
        narrow[i] = (float)values[i];
    }
    return plumb_constant(g, dtype, shape, dtype == PLUMB_F32 ? (const void *)narrow : (const void *)values);
}

/* Runs all outputs in one program; element e of output k goes to to[k][e], as double. */
static plumb_status run(struct bench *b, bool training, const plumb_t *outputs, int n, double (*to)[64])
{
    plumb_state *state = plumb_state_new(b->g);
    const plumb_compile_options options = {
        .size = sizeof(options), .outputs = outputs, .n_outputs = n, .training = training};
    plumb_program *program = state ? plumb_compile(b->g, state, &options) : NULL;
    plumb_status status = program ? plumb_run(program) : PLUMB_BAD_INPUT;
    for (int k = 0; status == PLUMB_OK && k < n; k++) {
        plumb_shape shape = plumb_output_shape(program, outputs[k]);
        size_t count = 1;
        for (int i = 0; i < shape.rank; i++) {
            count *= (size_t)shape.dim[i];
        }
        if (plumb_dtype_of(b->g, outputs[k]) == PLUMB_F32) {
            float narrow[64];
            status = plumb_fetch(program, outputs[k], narrow, count * sizeof(float));
            for (size_t i = 0; i < count; i++) {
                to[k][i] = (double)narrow[i];
            }
        } else {
            status = plumb_fetch(program, outputs[k], to[k], count * sizeof(double));
        }
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return status;
}

static const plumb_dtype both[] = {PLUMB_F32, PLUMB_F64};
static double fine(plumb_dtype dtype) { return dtype == PLUMB_F32 ? 2e-6 : 1e-12; }

/* ---- softmax ---- */

PLUMB_TEST(loss, softmax_of_the_notes)
{
    static const double x[] = {5, 2, -1, 3}, y[] = {0.842, 0.042, 0.002, 0.114};
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[3][64];
        plumb_t logits = constant(b.g, both[d], PLUMB_SHAPE(1, 4), x);
        plumb_t out[] = {plumb_softmax(b.g, logits, -1), plumb_log_softmax(b.g, logits, 1),
                         plumb_hardmax(b.g, logits, 1)};
        CHECK(run(&b, false, out, 3, to) == PLUMB_OK);
        double sum = exp(5) + exp(2) + exp(-1) + exp(3);
        for (int i = 0; i < 4; i++) {
            CHECK_NEAR(to[0][i], y[i], 5e-4);
            CHECK_NEAR(to[0][i], exp(x[i]) / sum, fine(both[d]));
            CHECK_NEAR(to[1][i], x[i] - log(sum), fine(both[d]));
            CHECK(to[2][i] == (i == 0));
        }
        plumb_close(b.context);
    }
}

PLUMB_TEST(loss, two_classes_are_logistic)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    static const double pairs[] = {0, 0, 1, 0, -3, 0, 2.5, 4, -20, 20}, differences[] = {0, 1, -3, -1.5, -40};
    double to[2][64];
    plumb_t out[] = {plumb_softmax(b.g, constant(b.g, PLUMB_F64, PLUMB_SHAPE(5, 2), pairs), 1),
                     plumb_sigmoid(b.g, constant(b.g, PLUMB_F64, PLUMB_SHAPE(5), differences))};
    CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
    for (int i = 0; i < 5; i++) {
        CHECK_NEAR(to[0][2 * i], to[1][i], 1e-15);
        CHECK_NEAR(to[0][2 * i + 1], 1 - to[1][i], 1e-15);
    }
    plumb_close(b.context);
}

PLUMB_TEST(loss, softmax_at_the_edges)
{
    static const double x[] = {1e30,      0,         -1e30, INFINITY, 0,   1, -INFINITY, -INFINITY,
                               -INFINITY, -INFINITY, 0,     0,        NAN, 0, 1};
    for (int d = 0; d < 2; d++) {
        for (int along_rows = 0; along_rows < 2; along_rows++) { /* rows, and strips of the transpose */
            struct bench b = open_bench();
            REQUIRE(b.g);
            double to[2][64];
            plumb_t logits = constant(b.g, both[d], PLUMB_SHAPE(5, 3), x);
            int axis = along_rows ? 1 : 0;
            if (!along_rows) {
                logits = plumb_transpose(b.g, logits, NULL);
            }
            plumb_t p = plumb_softmax(b.g, logits, axis), lp = plumb_log_softmax(b.g, logits, axis);
            plumb_t out[] = {along_rows ? p : plumb_transpose(b.g, p, NULL),
                             along_rows ? lp : plumb_transpose(b.g, lp, NULL)};
            CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
            CHECK(to[0][0] == 1 && to[0][1] == 0 && to[0][2] == 0);
            CHECK(to[1][0] == 0 && to[1][1] < -9e29 && to[1][2] < -1e30);
            for (int i = 3; i < 9; i++) {
                CHECK(isnan(to[0][i]) && isnan(to[1][i]));
            }
            CHECK(to[0][9] == 0 && to[0][10] == 0.5 && to[0][11] == 0.5);
            CHECK(to[1][9] == -INFINITY);
            CHECK_NEAR(to[1][10], -log(2), 1e-7);
            CHECK(isnan(to[0][12]) && isnan(to[0][13]) && isnan(to[0][14]));
            plumb_close(b.context);
        }
    }
}

/* ---- cross-entropy ---- */

PLUMB_TEST(loss, cross_entropy_of_the_notes)
{
    static const double y_hat[] = {.3, .2, .1, .4}, hot[] = {0, 1, 0, 0};
    double logits[4];
    for (int i = 0; i < 4; i++) {
        logits[i] = log(y_hat[i]) + 2.5; /* a common shift is no difference */
    }
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[4][64];
        plumb_t z = constant(b.g, both[d], PLUMB_SHAPE(1, 4), logits);
        plumb_t label = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(1), (const int32_t[]){1});
        plumb_t target = constant(b.g, both[d], PLUMB_SHAPE(1, 4), hot);
        plumb_t out[4] = {plumb_softmax_cross_entropy(b.g, z, label, NULL),
                          plumb_softmax_cross_entropy_soft(b.g, z, target, NULL)};
        for (int i = 0; i < 2; i++) {
            CHECK(plumb_gradients(b.g, out[i], &z, 1, &out[2 + i]) == PLUMB_OK);
        }
        CHECK(run(&b, false, out, 4, to) == PLUMB_OK);
        for (int i = 0; i < 2; i++) {
            CHECK_NEAR(to[i][0], -log(.2), fine(both[d]));
            for (int c = 0; c < 4; c++) {
                CHECK_NEAR(to[2 + i][c], y_hat[c] - hot[c], fine(both[d]));
            }
        }
        plumb_close(b.context);
    }
}

enum { N = 6, C = 3 };
static const double some_logits[N * C] = {.5, -1, 2, 0, 0, 0, 3, 1, -2, -.3, .7, .1, 1, 2, 3, -4, 2, 1};
static const int64_t some_labels[N] = {2, 0, 1, 2, 0, 1};
static const double class_weight[C] = {1, 10, .5};

/* PyTorch's formula, straight from its documentation. */
static double torch_loss(double smoothing, int64_t ignore, plumb_reduce reduce, double *each, double *dz)
{
    double total = 0, weights = 0;
    for (int n = 0; n < N; n++) {
        double sum = 0, loss = 0, mass = 0, t[C];
        const double *z = some_logits + n * C;
        for (int c = 0; c < C; c++) {
            sum += exp(z[c]);
        }
        bool skip = some_labels[n] == ignore;
        for (int c = 0; c < C; c++) {
            t[c] = skip ? 0 : class_weight[c] * ((c == some_labels[n] ? 1 - smoothing : 0) + smoothing / C);
            loss -= t[c] * (z[c] - log(sum));
            mass += t[c];
        }
        for (int c = 0; c < C; c++) {
            dz[n * C + c] = exp(z[c]) / sum * mass - t[c];
        }
        each[n] = loss;
        total += loss;
        weights += skip ? 0 : class_weight[some_labels[n]];
    }
    for (int i = 0; i < N * C && reduce == PLUMB_REDUCE_MEAN; i++) {
        dz[i] /= weights;
    }
    return reduce == PLUMB_REDUCE_MEAN ? total / weights : total;
}

PLUMB_TEST(loss, class_weights_smoothing_and_ignored_labels_as_pytorch)
{
    for (int trial = 0; trial < 16; trial++) {
        plumb_dtype dtype = both[trial & 1];
        double smoothing = trial & 2 ? 0.2 : 0, each[N], dz[N * C], to[3][64];
        int64_t ignore = trial & 4 ? 1 : -100;
        plumb_reduce reduce = trial & 8 ? PLUMB_REDUCE_SUM : PLUMB_REDUCE_MEAN;
        struct bench b = open_bench();
        REQUIRE(b.g);
        plumb_t z = constant(b.g, dtype, PLUMB_SHAPE(N, C), some_logits);
        plumb_t labels = plumb_constant(b.g, PLUMB_I64, PLUMB_SHAPE(N), some_labels);
        plumb_loss_options o = {.size = sizeof(o),
                                .reduce = reduce,
                                .label_smoothing = smoothing,
                                .ignore_index = ignore,
                                .use_ignore_index = true,
                                .class_weights = constant(b.g, dtype, PLUMB_SHAPE(C), class_weight)};
        plumb_t out[3] = {plumb_softmax_cross_entropy(b.g, z, labels, &o)};
        CHECK(plumb_gradients(b.g, out[0], &z, 1, &out[1]) == PLUMB_OK);
        o.reduce = PLUMB_REDUCE_NONE;
        out[2] = plumb_softmax_cross_entropy(b.g, z, labels, &o);
        CHECK(run(&b, false, out, 3, to) == PLUMB_OK);
        CHECK_NEAR(to[0][0], torch_loss(smoothing, ignore, reduce, each, dz), 20 * fine(dtype));
        for (int i = 0; i < N * C; i++) {
            CHECK_NEAR(to[1][i], dz[i], 10 * fine(dtype));
        }
        for (int n = 0; n < N; n++) {
            CHECK_NEAR(to[2][n], each[n], 20 * fine(dtype));
        }
        plumb_close(b.context);
    }
}

PLUMB_TEST(loss, all_ignored_is_zero)
{
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[2][64];
        plumb_t z = constant(b.g, both[d], PLUMB_SHAPE(2, 3), some_logits);
        plumb_t labels = plumb_constant(b.g, PLUMB_I64, PLUMB_SHAPE(2), (const int64_t[]){-1, -1});
        const plumb_loss_options o = {.size = sizeof(o), .ignore_index = -1, .use_ignore_index = true};
        plumb_t out[2] = {plumb_softmax_cross_entropy(b.g, z, labels, &o)};
        CHECK(plumb_gradients(b.g, out[0], &z, 1, &out[1]) == PLUMB_OK);
        CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
        CHECK(to[0][0] == 0);
        for (int i = 0; i < 6; i++) {
            CHECK(to[1][i] == 0);
        }
        plumb_close(b.context);
    }
}

PLUMB_TEST(loss, bad_labels_name_themselves)
{
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[1][64];
        plumb_t z = constant(b.g, both[d], PLUMB_SHAPE(N, C), some_logits);
        plumb_t labels = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(N), (const int32_t[]){0, 1, 2, 12, 0, 0});
        plumb_t loss = plumb_softmax_cross_entropy(b.g, z, labels, NULL);
        CHECK(run(&b, false, &loss, 1, to) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(b.context), "label 12 at 3 is outside [0, 3)");
        plumb_close(b.context);
    }
}

/* ---- binary cross-entropy ---- */

PLUMB_TEST(loss, logistic_regression_has_gradient_a_minus_y)
{
    static const double x[] = {0, 1.5, -2, 40, -40, 1e30, -1e30}, y[] = {1, 0, 1, 1, 1, 1, 0};
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[2][64];
        plumb_t z = constant(b.g, both[d], PLUMB_SHAPE(7), x), t = constant(b.g, both[d], PLUMB_SHAPE(7), y);
        const plumb_loss_options none = {.size = sizeof(none), .reduce = PLUMB_REDUCE_NONE};
        plumb_t out[2] = {plumb_bce_with_logits(b.g, z, t, &none)};
        plumb_t mean = plumb_bce_with_logits(b.g, z, t, NULL);
        CHECK(plumb_gradients(b.g, mean, &z, 1, &out[1]) == PLUMB_OK);
        CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
        for (int i = 0; i < 7; i++) {
            double a = 1 / (1 + exp(-x[i]));
            CHECK_NEAR(to[1][i], (a - y[i]) / 7, fine(both[d]));
            if (i < 3) {
                CHECK_NEAR(to[0][i], -(y[i] * log(a) + (1 - y[i]) * log(1 - a)), fine(both[d]));
            }
        }
        CHECK_NEAR(to[0][0], log(2), fine(both[d]));
        CHECK_NEAR(to[0][3], 0, 1e-6);
        CHECK_NEAR(to[0][4], 40, 1e-5);
        CHECK(to[0][5] == 0 && to[0][6] == 0);
        plumb_close(b.context);
    }
}

PLUMB_TEST(loss, log_loss_of_probabilities)
{
    static const double p[] = {.5, .9, 0, 1, 0, 1}, y[] = {1, 0, 0, 1, 1, 0};
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[2][64];
    plumb_t x = constant(b.g, PLUMB_F32, PLUMB_SHAPE(6), p), t = constant(b.g, PLUMB_F32, PLUMB_SHAPE(6), y);
    const plumb_loss_options none = {.size = sizeof(none), .reduce = PLUMB_REDUCE_NONE};
    plumb_t out[2] = {plumb_bce(b.g, x, t, &none)}, sum = plumb_sum(b.g, out[0], NULL, 0, false);
    CHECK(plumb_gradients(b.g, sum, &x, 1, &out[1]) == PLUMB_OK);
    CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
    CHECK_NEAR(to[0][0], -log(.5), 1e-6);
    CHECK_NEAR(to[0][1], -log(.1), 1e-6);
    CHECK_NEAR(to[0][2], 0, 1e-6);
    CHECK_NEAR(to[0][3], 0, 1e-6);
    CHECK(to[0][4] > 80 && to[0][4] < 110 && to[0][5] > 80 && to[0][5] < 110);
    CHECK_NEAR(to[1][0], -2, 1e-5);
    CHECK_NEAR(to[1][1], 10, 1e-4);
    for (int i = 2; i < 6; i++) {
        CHECK(isfinite(to[1][i]));
    }
    plumb_close(b.context);
}

/* Several yes/no questions about each picture; a question without an answer counts for nothing. */
PLUMB_TEST(loss, multi_task_with_missing_labels)
{
    static const double x[] = {1, -2, .5, 3, 0, -1}, y[] = {1, 0, 1, 0, 0, 1}, mask[] = {1, 1, 0, 1, 0, 1};
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[3][64], total = 0, count = 0;
    plumb_t z = constant(b.g, PLUMB_F64, PLUMB_SHAPE(2, 3), x),
            t = constant(b.g, PLUMB_F64, PLUMB_SHAPE(2, 3), y);
    plumb_loss_options o = {.size = sizeof(o), .weights = constant(b.g, PLUMB_F64, PLUMB_SHAPE(2, 3), mask)};
    plumb_t out[3] = {plumb_bce_with_logits(b.g, z, t, &o)};
    CHECK(plumb_gradients(b.g, out[0], &z, 1, &out[1]) == PLUMB_OK);
    o.reduce = PLUMB_REDUCE_SUM;
    out[2] = plumb_bce_with_logits(b.g, z, t, &o);
    CHECK(run(&b, false, out, 3, to) == PLUMB_OK);
    for (int i = 0; i < 6; i++) {
        double a = 1 / (1 + exp(-x[i]));
        total -= mask[i] * (y[i] * log(a) + (1 - y[i]) * log(1 - a));
        count += mask[i];
    }
    CHECK_NEAR(to[0][0], total / count, 1e-14);
    CHECK_NEAR(to[2][0], total, 1e-14);
    for (int i = 0; i < 6; i++) {
        CHECK_NEAR(to[1][i], mask[i] * (1 / (1 + exp(-x[i])) - y[i]) / count, 1e-14);
    }
    plumb_close(b.context);
}

/* ---- regression ---- */

PLUMB_TEST(loss, regression_losses)
{
    static const double p[] = {1, 2, -3, 0, 5}, t[] = {1.5, 2, 1, -.2, 2}, w[] = {1, 10, 1, 2, 0};
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[8][64], square = 0, half = 0, distance = 0, huber = 0, weighted = 0;
    plumb_t x = constant(b.g, PLUMB_F64, PLUMB_SHAPE(5), p), y = constant(b.g, PLUMB_F64, PLUMB_SHAPE(5), t);
    const plumb_loss_options sum = {.size = sizeof(sum), .reduce = PLUMB_REDUCE_SUM};
    const plumb_loss_options two = {.size = sizeof(two), .delta = 2};
    plumb_loss_options heavy = {.size = sizeof(heavy),
                                .weights = constant(b.g, PLUMB_F64, PLUMB_SHAPE(5), w)};
    plumb_t out[8] = {plumb_squared_error(b.g, x, y, NULL),
                      plumb_half_squared_error(b.g, x, y, &sum),
                      plumb_absolute_error(b.g, x, y, NULL),
                      plumb_huber_error(b.g, x, y, &two),
                      plumb_rmse(b.g, x, y),
                      plumb_squared_error(b.g, x, y, &heavy)};
    heavy.weights = plumb_scalar(b.g, PLUMB_F64, 3); /* equal weights are no weights */
    out[6] = plumb_squared_error(b.g, x, y, &heavy);
    heavy.weights = plumb_full(b.g, PLUMB_F64, PLUMB_SHAPE(5), 0);
    out[7] = plumb_squared_error(b.g, x, y, &heavy);
    CHECK(run(&b, false, out, 8, to) == PLUMB_OK);
    for (int i = 0; i < 5; i++) {
        double e = p[i] - t[i], a = fabs(e);
        square += e * e / 5;
        half += e * e / 2;
        distance += a / 5;
        huber += (a <= 2 ? e * e / 2 : 2 * (a - 1)) / 5;
        weighted += w[i] * e * e / 14;
    }
    CHECK_NEAR(to[0][0], square, 1e-14);
    CHECK_NEAR(to[1][0], half, 1e-14);
    CHECK_NEAR(to[2][0], distance, 1e-14);
    CHECK_NEAR(to[3][0], huber, 1e-14);
    CHECK_NEAR(to[4][0], sqrt(square), 1e-14);
    CHECK_NEAR(to[5][0], weighted, 1e-14);
    CHECK_NEAR(to[6][0], square, 1e-14);
    CHECK(to[7][0] == 0);
    plumb_close(b.context);
}

static void check_refused(const char *part, plumb_t (*build)(plumb_graph *g))
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    CHECK(build(b.g) == PLUMB_NONE);
    CHECK(plumb_graph_status(b.g) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), part);
    plumb_close(b.context);
}

static plumb_t columns_against_vector(plumb_graph *g)
{
    return plumb_squared_error(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5, 1), 0),
                               plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0), NULL);
}

static plumb_t stretching_weights(plumb_graph *g)
{
    plumb_t x = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0);
    const plumb_loss_options o = {.size = sizeof(o),
                                  .weights = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5, 1), 1)};
    return plumb_squared_error(g, x, x, &o);
}

static plumb_t over_smoothed(plumb_graph *g)
{
    const plumb_loss_options o = {.size = sizeof(o), .label_smoothing = 1.5};
    return plumb_softmax_cross_entropy(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5, 3), 0),
                                       plumb_full(g, PLUMB_I64, PLUMB_SHAPE(5), 0), &o);
}

static plumb_t unknown_reduce(plumb_graph *g)
{
    plumb_t x = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0);
    const plumb_loss_options o = {.size = sizeof(o), .reduce = (plumb_reduce)9};
    return plumb_bce(g, x, x, &o);
}

static plumb_t dropped_all(plumb_graph *g)
{
    return plumb_dropout(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0), 1);
}
static plumb_t dropped_nan(plumb_graph *g)
{
    return plumb_dropout(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0), NAN);
}

static plumb_t flat_table(plumb_graph *g)
{
    return plumb_embedding(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(5), 0),
                           plumb_full(g, PLUMB_I64, PLUMB_SHAPE(2), 0));
}

PLUMB_TEST(loss, mistakes_are_refused)
{
    check_refused("(5, 1) and target (5)", columns_against_vector);
    check_refused("(5, 1)", stretching_weights);
    check_refused("smoothing 1.5", over_smoothed);
    check_refused("reduce 9", unknown_reduce);
    check_refused("drop", dropped_all);
    check_refused("drop", dropped_nan);
    check_refused("table", flat_table);
}

/* ---- lookup ---- */

PLUMB_TEST(loss, embedding_adds_up_duplicates)
{
    static const double table[] = {1, 2, 3, 4, 5, 6, 7, 8}, weight[] = {1, 10, 100, 1000, 2, 20};
    static const int64_t index[] = {2, 0, 2};
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[2][64];
        plumb_t words = constant(b.g, both[d], PLUMB_SHAPE(4, 2), table);
        plumb_t out[2] = {plumb_embedding(b.g, words, plumb_constant(b.g, PLUMB_I64, PLUMB_SHAPE(3), index))};
        plumb_t loss = plumb_sum(
            b.g, plumb_mul(b.g, out[0], constant(b.g, both[d], PLUMB_SHAPE(3, 2), weight)), NULL, 0, false);
        CHECK(plumb_gradients(b.g, loss, &words, 1, &out[1]) == PLUMB_OK);
        CHECK(run(&b, false, out, 2, to) == PLUMB_OK);
        static const double y[] = {5, 6, 1, 2, 5, 6}, dx[] = {100, 1000, 0, 0, 3, 30, 0, 0};
        for (int i = 0; i < 6; i++) {
            CHECK(to[0][i] == y[i]);
        }
        for (int i = 0; i < 8; i++) {
            CHECK(to[1][i] == dx[i]);
        }
        plumb_close(b.context);
    }
}

PLUMB_TEST(loss, an_index_out_of_range_names_itself)
{
    for (int d = 0; d < 2; d++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[1][64];
        plumb_t words = plumb_full(b.g, both[d], PLUMB_SHAPE(4, 2), 1);
        plumb_t y = plumb_embedding(
            b.g, words, plumb_constant(b.g, PLUMB_I64, PLUMB_SHAPE(3), (const int64_t[]){0, -4, 4}));
        CHECK(run(&b, false, &y, 1, to) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(b.context), "index 4 at 2 is outside [-4, 4)");
        plumb_close(b.context);
    }
}

/* ---- randomness ---- */

enum { MANY = 20000 };

static plumb_status run_many(struct bench *b, bool training, plumb_t out, int runs, float (*to)[MANY])
{
    plumb_state *state = plumb_state_new(b->g);
    const plumb_compile_options options = {
        .size = sizeof(options), .outputs = &out, .n_outputs = 1, .training = training, .effects = training};
    plumb_program *program = state ? plumb_compile(b->g, state, &options) : NULL;
    plumb_status status = program ? PLUMB_OK : PLUMB_BAD_INPUT;
    for (int i = 0; status == PLUMB_OK && i < runs; i++) {
        status = plumb_run(program);
        if (status == PLUMB_OK) {
            status = plumb_fetch(program, out, to[i], sizeof(to[i]));
        }
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return status;
}

PLUMB_TEST(loss, dropout_keeps_the_mean_and_draws_anew)
{
    static float y[3][MANY];
    struct bench b = open_bench();
    REQUIRE(b.g);
    plumb_t x = plumb_full(b.g, PLUMB_F32, PLUMB_SHAPE(MANY), 3);
    plumb_t dropped = plumb_dropout(b.g, x, 0.2), other = plumb_dropout(b.g, x, 0.2);
    CHECK(plumb_dropout(b.g, x, 0) == x);
    CHECK(run_many(&b, true, dropped, 2, y) == PLUMB_OK);
    CHECK(run_many(&b, true, other, 1, y + 2) == PLUMB_OK);
    double sum = 0;
    int zeros = 0, same = 0, twins = 0;
    for (int i = 0; i < MANY; i++) {
        CHECK_MSG(y[0][i] == 0 || y[0][i] == 3.75f, "element %d is %g", i, (double)y[0][i]);
        sum += (double)y[0][i];
        zeros += y[0][i] == 0;
        same += y[0][i] == y[1][i];
        twins += y[0][i] == y[2][i];
    }
    CHECK_NEAR(sum / MANY, 3, 0.05);
    CHECK_NEAR(zeros, 0.2 * MANY, 300);
    CHECK_NEAR(same, 0.68 * MANY, 400);  /* 0.8^2 + 0.2^2: another step, another mask */
    CHECK_NEAR(twins, 0.68 * MANY, 400); /* another call, another stream */
    CHECK(run_many(&b, false, dropped, 1, y) == PLUMB_OK);
    for (int i = 0; i < MANY && check_failures() < 5; i++) {
        CHECK(y[0][i] == 3);
    }
    plumb_close(b.context);
}

PLUMB_TEST(loss, dropout_goes_back_through_the_same_mask)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[2][64];
    plumb_t x = plumb_full(b.g, PLUMB_F32, PLUMB_SHAPE(64), 2);
    plumb_t out[2] = {plumb_dropout(b.g, x, 0.5)}, loss = plumb_sum(b.g, out[0], NULL, 0, false);
    CHECK(plumb_gradients(b.g, loss, &x, 1, &out[1]) == PLUMB_OK);
    CHECK(run(&b, true, out, 2, to) == PLUMB_OK);
    for (int i = 0; i < 64; i++) {
        CHECK(to[0][i] == 2 * to[1][i]);
        CHECK(to[1][i] == 0 || to[1][i] == 2);
    }
    plumb_close(b.context);
}

PLUMB_TEST(loss, random_numbers_have_their_moments)
{
    static float y[2][MANY];
    struct bench b = open_bench();
    REQUIRE(b.g);
    plumb_t draw[] = {plumb_random_uniform(b.g, PLUMB_F32, PLUMB_SHAPE(MANY), -1, 3),
                      plumb_random_normal(b.g, PLUMB_F32, PLUMB_SHAPE(MANY), 1, 2)};
    for (int k = 0; k < 2; k++) {
        double mean = 0, square = 0;
        CHECK(run_many(&b, true, draw[k], 2, y) == PLUMB_OK);
        CHECK(memcmp(y[0], y[1], sizeof(y[0])) != 0);
        for (int i = 0; i < MANY; i++) {
            mean += (double)y[0][i] / MANY;
            square += (double)y[0][i] * (double)y[0][i] / MANY;
            CHECK_MSG(k == 1 || (y[0][i] >= -1 && y[0][i] < 3), "%g is outside [-1, 3)", (double)y[0][i]);
        }
        CHECK_NEAR(mean, 1, 0.05);
        CHECK_NEAR(square - mean * mean, k == 0 ? 16.0 / 12 : 4, 0.12);
    }
    plumb_close(b.context);
}
