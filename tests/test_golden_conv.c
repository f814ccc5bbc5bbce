/* Golden values of convolution, pooling and batch normalisation, through the public interface: the worked
 * examples of a course, recomputed by hand, so a kernel and its reference cannot be wrong together. */
#include "check.h"
#include "plumb/plumb.h"

/* A context and a graph, evaluated tensor by tensor. */
struct bench {
    plumb_context *context;
    plumb_graph *graph;
    plumb_state *state;
};

static struct bench bench_open(void)
{
    struct bench b = {.context = plumb_open(NULL)};
    b.graph = plumb_graph_new(b.context, "golden");
    return b;
}

static void bench_close(struct bench *b) { plumb_close(b->context); }

static plumb_t picture(struct bench *b, int64_t h, int64_t w, const double *values)
{
    return plumb_constant(b->graph, PLUMB_F64, PLUMB_SHAPE(1, 1, h, w), values);
}

/* Whether `tensor` is the h x w picture `expected`, within `tolerance`. */
static bool gives(struct bench *b, plumb_t tensor, int64_t h, int64_t w, const double *expected,
                  double tolerance)
{
    double got[64] = {0};
    plumb_shape shape = plumb_shape_of(b->graph, tensor);
    if (shape.rank != 4 || shape.dim[2] != h || shape.dim[3] != w) {
        check_fail(__FILE__, __LINE__, "the result is %lld x %lld, expected %lld x %lld",
                   (long long)shape.dim[2], (long long)shape.dim[3], (long long)h, (long long)w);
        return false;
    }
    if (!b->state) {
        b->state = plumb_state_new(b->graph);
    }
    size_t bytes = (size_t)(h * w) * sizeof(double);
    if (plumb_eval(b->graph, b->state, NULL, 0, tensor, got, bytes) != PLUMB_OK) {
        check_fail(__FILE__, __LINE__, "%s", plumb_message(b->context));
        return false;
    }
    for (int64_t i = 0; i < h * w; i++) {
        if (!(fabs(got[i] - expected[i]) <= tolerance)) {
            check_fail(__FILE__, __LINE__, "element (%lld, %lld) is %g, expected %g", (long long)(i / w),
                       (long long)(i % w), got[i], expected[i]);
            return false;
        }
    }
    return true;
}

static const double six[36] = {3, 0, 1, 2, 7, 4, 1, 5, 8, 9, 3, 1, 2, 7, 2, 5, 1, 3,
                               0, 1, 3, 1, 7, 8, 4, 2, 1, 6, 2, 8, 2, 4, 5, 2, 3, 9};

PLUMB_TEST(golden_conv, vertical_edges)
{
    struct bench b = bench_open();
    static const double filter[9] = {1, 0, -1, 1, 0, -1, 1, 0, -1};
    static const double expected[16] = {-5, -4, 0, 8, -10, -2, 2, 3, 0, -2, -4, -7, -3, -2, -3, -16};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 6, 6, six), picture(&b, 3, 3, filter), PLUMB_NONE, NULL);
    CHECK(gives(&b, y, 4, 4, expected, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_conv, horizontal_edges)
{
    struct bench b = bench_open();
    static const double filter[9] = {1, 1, 1, 0, 0, 0, -1, -1, -1};
    static const double expected[16] = {-7, -11, 2, 4, 10, 17, 9, -3, 4, 5, -1, -7, -7, -6, 1, 2};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 6, 6, six), picture(&b, 3, 3, filter), PLUMB_NONE, NULL);
    CHECK(gives(&b, y, 4, 4, expected, 0));
    bench_close(&b);
}

static const double seven[49] = {2, 3, 7, 4, 6, 2, 9, 6, 6, 9, 8, 7, 4, 3, 3, 4, 8, 3, 8, 9, 7, 7, 8, 3, 6,
                                 6, 3, 4, 4, 2, 1, 8, 3, 4, 6, 3, 2, 4, 1, 9, 8, 3, 0, 1, 3, 9, 2, 1, 4};
static const double seven_filter[9] = {3, 4, 4, 1, 0, 2, -1, 0, 3};

PLUMB_TEST(golden_conv, stride_two)
{
    struct bench b = bench_open();
    static const double expected[9] = {91, 100, 88, 69, 91, 117, 44, 72, 74};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 7, 7, seven), picture(&b, 3, 3, seven_filter), PLUMB_NONE,
                             &(plumb_conv2d_options){.stride = {2, 2}});
    CHECK(gives(&b, y, 3, 3, expected, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_conv, stride_two_flipped)
{
    struct bench b = bench_open();
    static const double expected[9] = {72, 108, 115, 45, 73, 79, 34, 71, 48};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 7, 7, seven), picture(&b, 3, 3, seven_filter), PLUMB_NONE,
                             &(plumb_conv2d_options){.stride = {2, 2}, .flip = true});
    CHECK(gives(&b, y, 3, 3, expected, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_conv, one_position)
{
    struct bench b = bench_open();
    static const double x[9] = {3, 2, 1, 1, 2, 3, 1, 1, 1}, filter[9] = {-1, 0, 1, -2, 0, 2, -1, 0, 1};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 3, 3, x), picture(&b, 3, 3, filter), PLUMB_NONE, NULL);
    CHECK(gives(&b, y, 1, 1, (const double[]){2}, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_conv, five_by_five)
{
    struct bench b = bench_open();
    static const double x[25] = {1, 2, 0, 3, 1, 1, 0, 0, 2, 2, 2, 1, 2, 1, 1, 0, 0, 1, 0, 0, 1, 2, 1, 1, 1};
    static const double filter[9] = {-1, 1, 2, 1, 1, 0, -1, -2, 0};
    static const double expected[9] = {-2, -1, 3, 2, 5, 8, -2, 0, -1};
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 5, 5, x), picture(&b, 3, 3, filter), PLUMB_NONE, NULL);
    CHECK(gives(&b, y, 3, 3, expected, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_conv, bias_is_added_to_every_position)
{
    struct bench b = bench_open();
    static const double filter[9] = {1, 0, -1, 1, 0, -1, 1, 0, -1}, half = 0.5;
    static const double expected[16] = {-4.5, -3.5, 0.5,  8.5,  -9.5, -1.5, 2.5,  3.5,
                                        0.5,  -1.5, -3.5, -6.5, -2.5, -1.5, -2.5, -15.5};
    plumb_t bias = plumb_constant(b.graph, PLUMB_F64, PLUMB_SHAPE(1), &half);
    plumb_t y = plumb_conv2d(b.graph, picture(&b, 6, 6, six), picture(&b, 3, 3, filter), bias, NULL);
    CHECK(gives(&b, y, 4, 4, expected, 0));
    bench_close(&b);
}

/* out = floor((n + 2p - d (f - 1) - 1) / s) + 1, against counting the positions that fit. */
PLUMB_TEST(golden_conv, output_sizes)
{
    struct bench b = bench_open();
    for (int64_t n = 5; n <= 12; n++) {
        for (int64_t f = 1; f <= 5; f++) {
            for (int64_t rest = 0; rest < 27; rest++) {
                int64_t p = rest % 3, s = rest / 3 % 3 + 1, d = rest / 9 % 3 + 1, count = 0;
                for (int64_t at = -p; at + d * (f - 1) < n + p; at += s) {
                    count++;
                }
                if (count == 0) {
                    continue;
                }
                plumb_t x = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(1, 1, n, n + 3), 0);
                plumb_t w = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(2, 1, f, 1), 0);
                plumb_shape y =
                    plumb_shape_of(b.graph, plumb_conv2d(b.graph, x, w, PLUMB_NONE,
                                                         &(plumb_conv2d_options){.stride = {s, 1},
                                                                                 .padding = {p, 0, p, 0},
                                                                                 .dilation = {d, 1}}));
                CHECK_MSG(y.rank == 4 && y.dim[2] == count && y.dim[3] == n + 3,
                          "n=%lld f=%lld p=%lld s=%lld d=%lld: %lld, expected %lld", (long long)n,
                          (long long)f, (long long)p, (long long)s, (long long)d, (long long)y.dim[2],
                          (long long)count);
            }
        }
    }
    /* "same": p = d (f - 1) / 2 for odd f keeps the size */
    for (int64_t f = 1; f <= 7; f += 2) {
        int64_t p = (f - 1) / 2;
        plumb_t x = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(1, 1, 9, 9), 0);
        plumb_t w = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(1, 1, f, f), 0);
        plumb_shape y =
            plumb_shape_of(b.graph, plumb_conv2d(b.graph, x, w, PLUMB_NONE,
                                                 &(plumb_conv2d_options){.padding = {p, p, p, p}}));
        CHECK(y.dim[2] == 9 && y.dim[3] == 9);
    }
    /* AlexNet: 227 -> 55 by 11x11 s4, -> 27 by 3x3 s2 pooling */
    plumb_t x = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(1, 3, 227, 227), 0);
    plumb_t w = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(96, 3, 11, 11), 0);
    plumb_t y = plumb_conv2d(b.graph, x, w, PLUMB_NONE, &(plumb_conv2d_options){.stride = {4, 4}});
    CHECK(plumb_shape_of(b.graph, y).dim[2] == 55);
    y = plumb_max_pool2d(b.graph, y, &(plumb_pool2d_options){.window = {3, 3}, .stride = {2, 2}});
    CHECK(plumb_shape_of(b.graph, y).dim[2] == 27 && plumb_shape_of(b.graph, y).dim[1] == 96);
    CHECK(plumb_graph_status(b.graph) == PLUMB_OK);
    bench_close(&b);
}

static int64_t parameters(const struct bench *b)
{
    plumb_t ids[8];
    int64_t total = 0;
    int count = plumb_parameters(b->graph, ids, 8);
    for (int i = 0; i < count; i++) {
        plumb_shape shape = plumb_shape_of(b->graph, ids[i]);
        int64_t size = 1;
        for (int d = 0; d < shape.rank; d++) {
            size *= shape.dim[d];
        }
        total += size;
    }
    return total;
}

/* From 32x32x3 to 28x28x6: a fully connected layer needs 14,450,688 weights, a convolution 5*5*3*6 + 6. */
PLUMB_TEST(golden_conv, parameter_counts)
{
    struct bench b = bench_open();
    plumb_t x = plumb_input(b.graph, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 32, 32));
    plumb_t w = plumb_variable(b.graph, "w", PLUMB_F32, PLUMB_SHAPE(6, 3, 5, 5), NULL);
    plumb_t bias = plumb_variable(b.graph, "b", PLUMB_F32, PLUMB_SHAPE(6), NULL);
    plumb_shape y = plumb_shape_of(b.graph, plumb_conv2d(b.graph, x, w, bias, NULL));
    CHECK(parameters(&b) == 456);
    CHECK(y.dim[0] == PLUMB_BATCH && y.dim[1] * y.dim[2] * y.dim[3] == 4704);
    bench_close(&b);

    b = bench_open();
    x = plumb_input(b.graph, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 32, 32));
    w = plumb_variable(b.graph, "w", PLUMB_F32, PLUMB_SHAPE(3072, 4704), NULL);
    y = plumb_shape_of(b.graph, plumb_matmul(b.graph, plumb_flatten(b.graph, x, 1), w, false, false));
    CHECK(parameters(&b) == 14450688);
    CHECK(y.rank == 2 && y.dim[0] == PLUMB_BATCH && y.dim[1] == 4704);
    bench_close(&b);
}

/* ---- pooling ---- */

static const plumb_pool2d_options halves = {.window = {2, 2}, .stride = {2, 2}};

PLUMB_TEST(golden_pool, largest)
{
    struct bench b = bench_open();
    static const double x[16] = {1, 3, 2, 1, 2, 9, 1, 1, 1, 3, 2, 3, 5, 6, 1, 2};
    plumb_t y = plumb_max_pool2d(b.graph, picture(&b, 4, 4, x), &halves);
    plumb_t index = plumb_cast(b.graph, plumb_output(b.graph, y, 1), PLUMB_F64);
    CHECK(gives(&b, y, 2, 2, (const double[]){9, 2, 6, 3}, 0));
    CHECK(gives(&b, index, 2, 2, (const double[]){5, 2, 13, 11}, 0));
    bench_close(&b);
}

PLUMB_TEST(golden_pool, largest_and_average)
{
    struct bench b = bench_open();
    static const double x[16] = {1, 1, 0, 1, 1, 2, 2, 5, 1, 1, 3, 1, 0, 1, 1, 2};
    plumb_t in = picture(&b, 4, 4, x);
    plumb_t most = plumb_max_pool2d(b.graph, in, &halves), mean = plumb_average_pool2d(b.graph, in, &halves);
    plumb_t all = plumb_global_average_pool2d(b.graph, in);
    CHECK(gives(&b, most, 2, 2, (const double[]){2, 5, 1, 3}, 0));
    CHECK(gives(&b, mean, 2, 2, (const double[]){1.25, 2, .75, 1.75}, 0));
    CHECK(gives(&b, all, 1, 1, (const double[]){1.4375}, 0));
    bench_close(&b);
}

/* Stride 0 means the window. */
PLUMB_TEST(golden_pool, stride_is_the_window_unless_given)
{
    struct bench b = bench_open();
    static const double x[16] = {1, 3, 2, 1, 2, 9, 1, 1, 1, 3, 2, 3, 5, 6, 1, 2};
    plumb_t in = picture(&b, 4, 4, x);
    plumb_t y = plumb_max_pool2d(b.graph, in, &(plumb_pool2d_options){.window = {2, 2}});
    plumb_t sliding =
        plumb_max_pool2d(b.graph, in, &(plumb_pool2d_options){.window = {2, 2}, .stride = {1, 1}});
    CHECK(gives(&b, y, 2, 2, (const double[]){9, 2, 6, 3}, 0));
    CHECK(gives(&b, sliding, 3, 3, (const double[]){9, 9, 2, 9, 9, 3, 6, 6, 3}, 0));
    bench_close(&b);
}

/* The gradient goes where the maximum was, each window's share to every element of an average. */
PLUMB_TEST(golden_pool, gradients)
{
    struct bench b = bench_open();
    static const double x[16] = {1, 3, 2, 1, 2, 9, 1, 1, 1, 3, 2, 3, 5, 6, 1, 2};
    static const double of_max[16] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0};
    double of_mean[16];
    plumb_t in = plumb_variable(b.graph, "x", PLUMB_F64, PLUMB_SHAPE(1, 1, 4, 4), NULL), d = PLUMB_NONE;
    plumb_t loss = plumb_sum(b.graph, plumb_max_pool2d(b.graph, in, &halves), NULL, 0, false);
    CHECK(plumb_gradients(b.graph, loss, &in, 1, &d) == PLUMB_OK);
    loss = plumb_sum(b.graph, plumb_average_pool2d(b.graph, in, &halves), NULL, 0, false);
    plumb_t d_mean = PLUMB_NONE;
    CHECK(plumb_gradients(b.graph, loss, &in, 1, &d_mean) == PLUMB_OK);
    b.state = plumb_state_new(b.graph);
    CHECK(plumb_state_set(b.state, "x", x, sizeof x) == PLUMB_OK);
    for (int i = 0; i < 16; i++) {
        of_mean[i] = 0.25;
    }
    CHECK(gives(&b, d, 4, 4, of_max, 0));
    CHECK(gives(&b, d_mean, 4, 4, of_mean, 0));
    bench_close(&b);
}

/* ---- batch normalisation ---- */

/* scale = sqrt(var + eps) and shift = mean undo the normalisation. */
PLUMB_TEST(golden_norm, identity)
{
    struct bench b = bench_open();
    static const double zero = 0, one = 1, epsilon = 1e-5;
    double mean = 0, variance = 0;
    for (int i = 0; i < 36; i++) {
        mean += six[i] / 36;
    }
    for (int i = 0; i < 36; i++) {
        variance += (six[i] - mean) * (six[i] - mean) / 36;
    }
    double deviation = sqrt(variance + epsilon);
    plumb_t x = picture(&b, 6, 6, six);
    plumb_t scale = plumb_constant(b.graph, PLUMB_F64, PLUMB_SHAPE(1), &deviation);
    plumb_t shift = plumb_constant(b.graph, PLUMB_F64, PLUMB_SHAPE(1), &mean);
    plumb_t running_mean = plumb_constant(b.graph, PLUMB_F64, PLUMB_SHAPE(1), &zero);
    plumb_t running_var = plumb_constant(b.graph, PLUMB_F64, PLUMB_SHAPE(1), &one);
    plumb_t y = plumb_batch_norm(b.graph, x, scale, shift, running_mean, running_var, NULL);
    plumb_state *state = plumb_state_new(b.graph);
    plumb_program *program = plumb_compile(
        b.graph, state, &(plumb_compile_options){.outputs = &y, .n_outputs = 1, .training = true});
    double got[36];
    REQUIRE(program != NULL);
    CHECK(plumb_run(program) == PLUMB_OK);
    CHECK(plumb_fetch(program, y, got, sizeof got) == PLUMB_OK);
    for (int i = 0; i < 36; i++) {
        CHECK_NEAR(got[i], six[i], 1e-12);
    }
    bench_close(&b);
}

/* Two steps of training on [1, 3], [5, 7] of one feature each: the running statistics as computed by hand,
 * with the unbiased variance (2) or the biased one (1); inference then uses them. */
PLUMB_TEST(golden_norm, running_statistics)
{
    for (int biased = 0; biased < 2; biased++) {
        struct bench b = bench_open();
        plumb_variable_options ones = {.init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}, .frozen = true};
        plumb_variable_options zeros = {.frozen = true};
        plumb_t x = plumb_input(b.graph, "x", PLUMB_F64, PLUMB_SHAPE(PLUMB_BATCH, 1));
        plumb_t scale = plumb_full(b.graph, PLUMB_F64, PLUMB_SHAPE(1), 1);
        plumb_t shift = plumb_full(b.graph, PLUMB_F64, PLUMB_SHAPE(1), 0);
        plumb_t mean = plumb_variable(b.graph, "mean", PLUMB_F64, PLUMB_SHAPE(1), &zeros);
        plumb_t var = plumb_variable(b.graph, "var", PLUMB_F64, PLUMB_SHAPE(1), &ones);
        plumb_t y =
            plumb_batch_norm(b.graph, x, scale, shift, mean, var,
                             &(plumb_batch_norm_options){.epsilon = PLUMB_ZERO, .biased_running = biased});
        plumb_state *state = plumb_state_new(b.graph);
        plumb_program *train = plumb_compile(
            b.graph, state,
            &(plumb_compile_options){.outputs = &y, .n_outputs = 1, .training = true, .effects = true});
        plumb_program *use =
            plumb_compile(b.graph, state, &(plumb_compile_options){.outputs = &y, .n_outputs = 1});
        double got[2], value = 0;
        REQUIRE(train != NULL);
        REQUIRE(use != NULL);
        CHECK(plumb_feed(train, x, (const double[]){1, 3}, 2 * sizeof(double)) == PLUMB_OK);
        CHECK(plumb_run(train) == PLUMB_OK);
        CHECK(plumb_fetch(train, y, got, sizeof got) == PLUMB_OK);
        CHECK_NEAR(got[0], -1, 1e-14);
        CHECK_NEAR(got[1], 1, 1e-14);
        CHECK(plumb_feed(train, x, (const double[]){5, 7}, 2 * sizeof(double)) == PLUMB_OK);
        CHECK(plumb_run(train) == PLUMB_OK);
        double expected_mean = 0.9 * (0.1 * 2) + 0.1 * 6, batch_var = biased ? 1 : 2;
        double expected_var = 0.9 * (0.9 + 0.1 * batch_var) + 0.1 * batch_var;
        CHECK(plumb_state_get_number(state, "mean", &value) == PLUMB_OK);
        CHECK_NEAR(value, expected_mean, 1e-14);
        CHECK(plumb_state_get_number(state, "var", &value) == PLUMB_OK);
        CHECK_NEAR(value, expected_var, 1e-14);
        CHECK(plumb_feed(use, x, (const double[]){1, 3}, 2 * sizeof(double)) == PLUMB_OK);
        CHECK(plumb_run(use) == PLUMB_OK);
        CHECK(plumb_fetch(use, y, got, sizeof got) == PLUMB_OK);
        CHECK_NEAR(got[1], (3 - expected_mean) / sqrt(expected_var), 1e-14);
        bench_close(&b);
    }
}

/* One value per channel cannot be normalised: training refuses it when the batch is known, inference does
 * not mind. */
PLUMB_TEST(golden_norm, one_value_per_channel_is_refused)
{
    struct bench b = bench_open();
    plumb_t x = plumb_input(b.graph, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3));
    plumb_t one = plumb_full(b.graph, PLUMB_F32, PLUMB_SHAPE(3), 1);
    plumb_t y = plumb_named(b.graph, plumb_batch_norm(b.graph, x, one, one, one, one, NULL), "norm");
    plumb_state *state = plumb_state_new(b.graph);
    plumb_program *use =
        plumb_compile(b.graph, state, &(plumb_compile_options){.outputs = &y, .n_outputs = 1});
    plumb_program *train = plumb_compile(
        b.graph, state, &(plumb_compile_options){.outputs = &y, .n_outputs = 1, .training = true});
    float data[3] = {1, 2, 3};
    REQUIRE(use != NULL);
    REQUIRE(train != NULL);
    CHECK(plumb_feed(use, x, data, sizeof data) == PLUMB_OK && plumb_run(use) == PLUMB_OK);
    plumb_status fed = plumb_feed(train, x, data, sizeof data);
    CHECK(fed == PLUMB_BAD_INPUT || plumb_run(train) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "batch_norm 'norm': training needs more than one value per channel");
    bench_close(&b);
}

/* ---- what is wrong is said ---- */

static const char *conv_message(const plumb_conv2d_options *options, plumb_shape w, char *to, size_t room)
{
    struct bench b = bench_open();
    plumb_t x = plumb_input(b.graph, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 8, 8));
    plumb_t filter = plumb_variable(b.graph, "w", PLUMB_F32, w, NULL);
    CHECK(plumb_conv2d(b.graph, x, filter, PLUMB_NONE, options) == PLUMB_NONE);
    CHECK(plumb_graph_status(b.graph) == PLUMB_BAD_INPUT);
    snprintf(to, room, "%s", plumb_message(b.context));
    bench_close(&b);
    return to;
}

PLUMB_TEST(golden_conv, refusals_name_what_is_wrong)
{
    char text[1024];
    CHECK_TEXT(conv_message(NULL, PLUMB_SHAPE(4, 1, 3, 3), text, sizeof text),
               "conv2d: input has 3 channels, weight expects 1");
    CHECK_TEXT(conv_message(NULL, PLUMB_SHAPE(4, 3, 9, 3), text, sizeof text),
               "the filter reaches over 9, but the padded input is only 8 high");
    CHECK_TEXT(
        conv_message(&(plumb_conv2d_options){.stride = {-1, 1}}, PLUMB_SHAPE(4, 3, 3, 3), text, sizeof text),
        "stride -1 is outside 1 to");
    CHECK_TEXT(conv_message(&(plumb_conv2d_options){.padding = {0, 0, INT64_MAX, 0}}, PLUMB_SHAPE(4, 3, 3, 3),
                            text, sizeof text),
               "padding 9223372036854775807 is outside 0 to");
    CHECK_TEXT(conv_message(&(plumb_conv2d_options){.groups = 3}, PLUMB_SHAPE(4, 1, 3, 3), text, sizeof text),
               "4 filters do not divide into 3 groups");
}
