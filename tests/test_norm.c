/* Batch normalisation of bf16 and f16 data with f32 scale, shift and statistics: values, gradients and second
 * derivatives are those of f64 but for the rounding of what is stored narrow. Gradients outside training. And a residual
 * network whose norms were fused with what follows trains as one whose norms were not. */
#include "check.h"
#include "courses.h"

#include "plumb/ops.h"
#include "plumb/program.h"

enum { N = 4, C = 3, S = 5, X = N * C * S, FIRST = 5, TERMS = N * S, MOST = 3 * FIRST };

/* Multiples of 1/8 in [-2, 2], which every dtype holds. */
static plumb_t eighths(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, int seed, double offset)
{
    double values[X];
    for (int i = 0; i < X; i++)
        values[i] = (double)((i * 29 + i * i * 7 + seed * 11) % 33 - 16) / 8 + offset;
    return plumb_cast(g, plumb_constant(g, PLUMB_F64, shape, values), dtype);
}

static plumb_t weighted(plumb_graph *g, plumb_t x, int seed)
{
    plumb_t wide = plumb_cast(g, x, PLUMB_F64);
    return plumb_sum(g, plumb_mul(g, wide, eighths(g, PLUMB_F64, plumb_shape_of(g, x), seed, 0)), NULL, 0, false);
}

/* Outputs, gradients by x, scale, shift, and second derivatives by the same; f64 tensors all. `narrow[k]`: the value was
 * stored in `data` on its way. Returns how many. */
static int build(plumb_graph *g, plumb_dtype data, plumb_dtype channels, bool fixed, plumb_t *out, bool *narrow)
{
    const plumb_shape shape = PLUMB_SHAPE(N, C, S), per_channel = PLUMB_SHAPE(C);
    plumb_t wrt[] = {eighths(g, data, shape, 1, 0), eighths(g, channels, per_channel, 2, 0),
                     eighths(g, channels, per_channel, 3, 0)};
    plumb_t mean = eighths(g, channels, per_channel, 4, 0), var = eighths(g, channels, per_channel, 5, 2.5);
    plumb_t first[3], second[3];
    const plumb_batch_norm_options options = {.size = sizeof options, .fixed = fixed};
    plumb_t y = plumb_batch_norm(g, wrt[0], wrt[1], wrt[2], mean, var, &options);
    plumb_t loss = weighted(g, y, 6), again = PLUMB_NONE;
    int n = 0, outputs = fixed ? 1 : FIRST;
    for (int k = 1; k < outputs; k++)
        loss = plumb_add(g, loss, weighted(g, plumb_output(g, y, k), 6 + k));
    if (plumb_gradients(g, loss, wrt, 3, first) != PLUMB_OK)
        return 0;
    for (int i = 0; i < 3; i++)
        again = i ? plumb_add(g, again, weighted(g, first[i], 20 + i)) : weighted(g, first[i], 20);
    if (plumb_gradients(g, again, wrt, 3, second) != PLUMB_OK)
        return 0;
    for (int k = 0; k < outputs; k++, n++) {
        CHECK(plumb_dtype_of(g, plumb_output(g, y, k)) == (k ? channels : data));
        out[n] = plumb_cast(g, plumb_output(g, y, k), PLUMB_F64);
        narrow[n] = k == 0;
    }
    for (int i = 0; i < 6; i++, n++) {
        plumb_t d = i < 3 ? first[i] : second[i - 3];
        CHECK(plumb_dtype_of(g, d) == plumb_dtype_of(g, wrt[i % 3]));
        out[n] = plumb_cast(g, d, PLUMB_F64);
        narrow[n] = i % 3 == 0;
    }
    return n;
}

static int values_of(plumb_context *context, plumb_dtype data, plumb_dtype channels, bool fixed, double (*to)[X],
                     bool *narrow)
{
    plumb_t out[MOST];
    plumb_graph *g = plumb_graph_new(context, "norm");
    int n = build(g, data, channels, fixed, out, narrow);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                              .outputs = out, .n_outputs = n,
                                                                              .training = true});
    CHECK_MSG(n > 0 && program && plumb_run(program) == PLUMB_OK, "%s", plumb_message(context));
    for (int k = 0; program && k < n; k++) {
        size_t bytes = (narrow[k] ? X : C) * sizeof(double);
        CHECK_MSG(plumb_fetch(program, out[k], to[k], bytes) == PLUMB_OK, "%s", plumb_message(context));
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
    return n;
}

/* Bounds: what was stored narrow was rounded to it a few times (stored once for each of the paths that meet in it, and
 * their sum: 4 at most), all else is f32 arithmetic of TERMS terms, as in op.h's PLUMB_TOL_NORM. Were a statistic or a
 * gradient of a channel rounded to bf16, it would miss the second bound by orders of magnitude. */
static void compare(const char *what, int n, double (*got)[X], double (*expected)[X], const bool *narrow, double u)
{
    for (int k = 0; k < n; k++) {
        int count = narrow[k] ? X : C;
        double scale = 2; /* of the inputs */
        for (int i = 0; i < count; i++)
            scale = fmax(scale, fabs(expected[k][i]));
        double bound = scale * ((narrow[k] ? 4 * u : 0) + 8 * (1 + log2(TERMS)) * 0x1p-24);
        for (int i = 0; i < count; i++)
            CHECK_MSG(fabs(got[k][i] - expected[k][i]) <= bound, "%s, tensor %d, element %d: %.9g instead of %.9g",
                      what, k, i, got[k][i], expected[k][i]);
    }
}

PLUMB_TEST(norm, narrow_data_with_f32_channels)
{
    static const struct {
        plumb_dtype dtype;
        double u;
    } data[] = {{PLUMB_BF16, 0x1p-8}, {PLUMB_F16, 0x1p-11}};
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1});
    REQUIRE(context);
    for (int fixed = 0; fixed < 2; fixed++) {
        double expected[MOST][X], got[MOST][X];
        bool narrow[MOST];
        int n = values_of(context, PLUMB_F64, PLUMB_F64, fixed, expected, narrow);
        for (int i = 0; i < 2; i++) {
            CHECK(values_of(context, data[i].dtype, PLUMB_F32, fixed, got, narrow) == n);
            compare(fixed ? "fixed" : "training", n, got, expected, narrow, data[i].u);
        }
    }
    plumb_close(context);
}

/* relu(norm(x) + x) outside training, weighted and summed: gradients by x, scale and shift, one behind the other. */
static void gradients_outside_training(plumb_context *context, bool fixed, double *to)
{
    plumb_graph *g = plumb_graph_new(context, "evaluated");
    const plumb_shape per_channel = PLUMB_SHAPE(C);
    plumb_t in[5] = {eighths(g, PLUMB_F64, PLUMB_SHAPE(N, C, S), 1, 0)}, d[3];
    for (int i = 1; i < 5; i++)
        in[i] = eighths(g, PLUMB_F64, per_channel, i + 1, i == 4 ? 2.5 : 0);
    const plumb_batch_norm_options options = {.size = sizeof options, .fixed = fixed};
    plumb_t y = plumb_relu(g, plumb_add(g, plumb_batch_norm(g, in[0], in[1], in[2], in[3], in[4], &options), in[0]));
    plumb_status status = plumb_gradients(g, weighted(g, y, 6), in, 3, d);
    plumb_program *program = status ? NULL : plumb_compile(g, NULL, &(plumb_compile_options){
                                                 .size = sizeof(plumb_compile_options), .outputs = d, .n_outputs = 3});
    CHECK_MSG(program && plumb_run(program) == PLUMB_OK, "%s", plumb_message(context));
    for (int i = 0; program && i < 3; i++)
        CHECK(plumb_fetch(program, d[i], to + (i ? X + (i - 1) * C : 0), (i ? C : X) * sizeof(double)) == PLUMB_OK);
    plumb_program_free(program);
    plumb_graph_free(g);
}

/* There the statistics are constants, as in a layer that is fixed. */
PLUMB_TEST(norm, gradients_outside_training)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1});
    REQUIRE(context);
    double evaluated[X + 2 * C] = {0}, expected[X + 2 * C] = {0};
    gradients_outside_training(context, false, evaluated);
    gradients_outside_training(context, true, expected);
    double sizes[3] = {0};
    for (int i = 0; i < X + 2 * C; i++) /* sums of 20 terms of about 1 in another order */
        CHECK_MSG(fabs(evaluated[i] - expected[i]) <= 1e-13, "element %d: %.17g instead of %.17g", i, evaluated[i],
                  expected[i]);
    for (int i = 0; i < X + 2 * C; i++)
        sizes[(i >= X) + (i >= X + C)] += fabs(expected[i]);
    CHECK(sizes[0] > 0 && sizes[1] > 0 && sizes[2] > 0);
    plumb_close(context);
}

PLUMB_TEST(norm, fused_networks_train_as_others)
{
    struct course fused = {.plan = NULL}, plain = {.plan = NULL};
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = 5});
    REQUIRE(context);
    CHECK_MSG(course_run(context, &course_residual, PLUMB_F32, 0, NULL, &fused) == PLUMB_OK &&
                  course_run(context, &course_residual, PLUMB_F32, PLUMB_PASS_FUSE, NULL, &plain) == PLUMB_OK,
              "%s", plumb_message(context));
    CHECK_TEXT(plain.plan, " relu ");
    CHECK_TEXT(plain.plan, " relu_backward ");
    CHECK(fused.plan && !strstr(fused.plan, " relu ") && !strstr(fused.plan, " relu_backward "));
    for (const char *at = fused.plan; at && (at = strstr(at, " batch_norm")); at++) /* also where dy is a broadcast mean */
        CHECK(strncmp(at + 25, " cpu.native", 11) == 0);
    course_close("fused and not", &course_residual, &fused, &plain);
    course_free(&fused);
    course_free(&plain);
    plumb_close(context);
}
