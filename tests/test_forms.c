/* Builders of other forms: values by hand; symbolic batches pass through, for every layer too, and can be differentiated; what
 * is refused, and how. tests/torch_forms.py compares their values and gradients with PyTorch's. */
#include "check.h"

#include "plumb/layers.h"
#include "plumb/ops.h"
#include "plumb/program.h"
#include "plumb/state.h"

#define N PLUMB_BATCH

static plumb_context *open_cpu(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1});
}

static plumb_t ladder(plumb_graph *g, plumb_shape shape)
{
    double values[512];
    int64_t count = 1;
    for (int d = 0; d < shape.rank; d++)
        count *= shape.dim[d];
    for (int64_t i = 0; i < count && i < 512; i++)
        values[i] = (double)(i + 1);
    return plumb_constant(g, PLUMB_F64, shape, values);
}

/* What y holds, `count` numbers. */
static void expect(plumb_graph *g, plumb_context *context, plumb_t y, const double *want, int count, const char *what)
{
    double got[64] = {0};
    plumb_state *state = plumb_state_new(g);
    const plumb_compile_options options = {.size = sizeof options, .outputs = &y, .n_outputs = 1};
    plumb_program *program = state ? plumb_compile(g, state, &options) : NULL;
    bool ran = program && plumb_run(program) == PLUMB_OK &&
               plumb_fetch(program, y, got, sizeof *got * (size_t)count) == PLUMB_OK;
    CHECK_MSG(ran, "%s: %s", what, plumb_message(context));
    for (int i = 0; ran && i < count; i++)
        CHECK_MSG(fabs(got[i] - want[i]) <= 1e-12, "%s: %d is %.17g, expected %.17g", what, i, got[i], want[i]);
}

/* 1 where x is not a number, as f64 */
static plumb_t is_lost(plumb_graph *g, plumb_t x) { return plumb_cast(g, plumb_is_nan(g, x), PLUMB_F64); }

PLUMB_TEST(forms, values_by_hand)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "hand");
    plumb_t three = ladder(g, PLUMB_SHAPE(1, 3)), five = ladder(g, PLUMB_SHAPE(1, 1, 5)), square = ladder(g, PLUMB_SHAPE(2, 2));
    const double third = sqrt(1.5), lengths[] = {1 / sqrt(14. / 3), 2 / sqrt(14. / 3), 3 / sqrt(14. / 3)};
    expect(g, context, plumb_layer_norm(g, three, PLUMB_NONE, PLUMB_NONE, -1, PLUMB_ZERO), (double[]){-third, 0, third}, 3,
           "layer_norm");
    expect(g, context, plumb_rms_norm(g, three, PLUMB_NONE, 1, PLUMB_ZERO), lengths, 3, "rms_norm");
    /* bins 0 1 | 1 2 3 | 3 4 */
    expect(g, context, plumb_adaptive_average_pool1d(g, five, 3), (double[]){1.5, 3, 4.5}, 3, "adaptive average");
    expect(g, context, plumb_adaptive_max_pool1d(g, five, 3, NULL), (double[]){2, 4, 5}, 3, "adaptive max");
    /* each input times (1, 10), two apart */
    plumb_t filter = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 2), (double[]){1, 10});
    const plumb_conv_transpose1d_options two = {.size = sizeof two, .stride = 2, .output_padding = 1};
    expect(g, context, plumb_conv_transpose1d(g, ladder(g, PLUMB_SHAPE(1, 1, 3)), filter, PLUMB_NONE, &two),
           (double[]){1, 10, 2, 20, 3, 30, 0}, 7, "conv_transpose1d");
    expect(g, context, plumb_einsum(g, "ii", &square, 1), (double[]){5}, 1, "trace");
    expect(g, context, plumb_einsum(g, "ii->i", &square, 1), (double[]){1, 4}, 2, "diagonal");
    expect(g, context, plumb_einsum(g, "ij,jk->ik", (const plumb_t[]){square, square}, 2), (double[]){7, 10, 15, 22}, 4, "product");
    expect(g, context, plumb_gemm(g, square, square, square, 1, -1, false, true), (double[]){4, 9, 8, 21}, 4, "gemm");
    /* one channel: x / (1 + 1 x^2)^1 */
    const plumb_lrn_options lrn = {.size = sizeof lrn, .channels = 1, .alpha = 1, .beta = 1};
    expect(g, context, plumb_lrn(g, three, &lrn), (double[]){0.5, 0.4, 0.3}, 3, "lrn");
    plumb_close(context);
}

PLUMB_TEST(forms, pictures_looked_up_by_hand)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "places");
    const double quiet = NAN, across[] = {-1, -1, 1, 1, 0, 0, 0.5, -3, quiet, 0}; /* pairs: across, down */
    plumb_t x = ladder(g, PLUMB_SHAPE(1, 1, 2, 2)); /* 1 2 / 3 4 */
    plumb_t grid = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 4, 2), across);
    plumb_t lost = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 1, 2), across + 8);
    plumb_grid_sample_options o = {.size = sizeof o, .align_corners = true};
    expect(g, context, plumb_grid_sample(g, x, grid, &o), (double[]){1, 4, 2.5, 0}, 4, "corners are elements");
    expect(g, context, is_lost(g, plumb_grid_sample(g, x, lost, &o)), (double[]){1}, 1, "nowhere");
    o.outside = PLUMB_OUTSIDE_BORDER;
    expect(g, context, plumb_grid_sample(g, x, grid, &o), (double[]){1, 4, 2.5, 1.75}, 4, "the border");
    o.outside = PLUMB_OUTSIDE_REFLECTION; /* -3 is one element above the first: down again at 1 */
    expect(g, context, plumb_grid_sample(g, x, grid, &o), (double[]){1, 4, 2.5, 3.75}, 4, "mirrored");
    o = (plumb_grid_sample_options){.size = sizeof o};
    expect(g, context, plumb_grid_sample(g, x, grid, &o), (double[]){0.25, 1, 2.5, 0}, 4, "corners are edges");
    o.nearest = true;
    expect(g, context, plumb_grid_sample(g, x, grid, &o), (double[]){1, 0, 1, 0}, 4, "the nearest"); /* 1.5 to 2 */
    expect(g, context, is_lost(g, plumb_grid_sample(g, x, lost, &o)), (double[]){1}, 1, "nowhere, nearest");
    const double turn[] = {0, 1, 0.5, -1, 0, 0};
    plumb_t theta = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 2, 3), turn);
    expect(g, context, plumb_affine_grid(g, theta, 1, 2, true), (double[]){0.5, 1, 0.5, -1}, 4, "turned");
    expect(g, context, plumb_affine_grid(g, theta, 2, 1, false), (double[]){0, 0, 1, 0}, 4, "turned, edges");
    plumb_close(context);
}

/* Rounding up, windows reach over zeros: 3 4 | 5, then 1 .. 4 of a square beside its last column. */
PLUMB_TEST(forms, powers_of_windows_that_reach_over_the_edge)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "ceil");
    plumb_pool2d_options o = {.size = sizeof o, .window = {1, 2}, .ceil_mode = true};
    plumb_t line = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 1, 3), (double[]){3, 4, 5});
    expect(g, context, plumb_lp_pool2d(g, line, 2, &o), (double[]){5, 5}, 2, "p = 2");
    o = (plumb_pool2d_options){.size = sizeof o, .window = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .ceil_mode = true};
    expect(g, context, plumb_lp_pool2d(g, ladder(g, PLUMB_SHAPE(1, 1, 2, 2)), 1, &o), (double[]){1, 2, 3, 4}, 4, "p = 1, padded");
    expect(g, context, plumb_lp_pool2d(g, ladder(g, PLUMB_SHAPE(1, 1, 3, 1)), 1, &o), (double[]){1, 5}, 2, "p = 1, none in the padding");
    plumb_close(context);
}

PLUMB_TEST(forms, cells_of_objects_by_hand)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "cells");
    /* one picture of 1 x 2 cells with two anchors: an object in each cell, and none */
    const double boxes[] = {0.25, 0.5, 0.2, 0.4, 0.8, 0.25, 0.5, 0.5, 9, 9, 0, 0}, anchors[] = {0.2, 0.4, 0.5, 1};
    plumb_t b = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 3, 4), boxes);
    plumb_t l = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(1, 3), (const int32_t[]){1, 0, -1});
    plumb_t sizes = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(2, 2), anchors);
    const double cells[28] = {1, 0.5, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                              0, 0, 0, 0, 0, 0, 0, 1, 0.6, 0.25, 0, log(0.5), 1, 0};
    expect(g, context, plumb_box_encode_cells(g, b, l, sizes, 1, 2, 2), cells, 28, "cells");
    /* of one centre and one proportion there is no third term; of another the angles differ */
    plumb_t a = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(2, 4), (double[]){0, 0, 4, 2, 0, 0, 2, 2});
    plumb_t c = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(2, 4), (double[]){1, 0.5, 3, 1.5, 0, 0, 2, 1});
    double unlike = 4 / (M_PI * M_PI) * (atan(2) - atan(1)) * (atan(2) - atan(1));
    expect(g, context, plumb_box_overlap(g, a, c, PLUMB_CIOU),
           (double[]){0.25, 0.5 - 0.25 * 1 / 8.0 - unlike * unlike / (0.5 + unlike)}, 2, "complete overlap");
    plumb_close(context);
}

/* A root's slope at 0 is taken for 0, not for a NaN. */
PLUMB_TEST(forms, powers_of_zeros_have_a_gradient)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "zeros");
    plumb_t x = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 1, 4), (double[]){0, 0, 3, 4}), dx = PLUMB_NONE;
    const plumb_pool2d_options window = {.size = sizeof window, .window = {1, 2}};
    plumb_t y = plumb_lp_pool2d(g, x, 2, &window);
    expect(g, context, y, (double[]){0, 5}, 2, "lp_pool2d");
    CHECK(plumb_gradients(g, plumb_sum(g, y, NULL, 0, false), &x, 1, &dx) == PLUMB_OK);
    expect(g, context, dx, (double[]){0, 0, 0.6, 0.8}, 4, "its gradient");
    plumb_close(context);
}

PLUMB_TEST(forms, layers_take_a_symbolic_batch)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "layers");
    plumb_t line = plumb_input(g, "line", PLUMB_F32, PLUMB_SHAPE(N, 4, 9)), variables[24];
    plumb_t volume = plumb_input(g, "volume", PLUMB_F32, PLUMB_SHAPE(N, 2, 4, 5, 5));
    plumb_t h = plumb_conv1d_layer(g, "conv1", line, .filters = 6, .kernel = 3, .same = true, .stride = 2);
    h = plumb_layer_norm_layer(g, "norm1", h, .activation = PLUMB_RELU);
    h = plumb_group_norm_layer(g, "norm2", h, .groups = 3);
    h = plumb_reshape(g, h, PLUMB_SHAPE(N, 6, 5, 1));
    h = plumb_conv_transpose2d_layer(g, "up", h, .filters = 3, .kernel = {3}, .stride = {2}, .padding = {1, 1}, .output_padding = {1, 1});
    CHECK(plumb_shape_of(g, h).dim[2] == 10 && plumb_shape_of(g, h).dim[3] == 2 && plumb_shape_of(g, h).dim[0] == N);
    h = plumb_instance_norm_layer(g, "norm3", h, .epsilon = 1e-3);
    h = plumb_lrn_layer(g, "lrn", h, .channels = 3);
    h = plumb_adaptive_max_pool2d_layer(g, "pool", h, .output = {3, 2});
    h = plumb_adaptive_average_pool2d_layer(g, "pool2", h, .output = {2});
    h = plumb_rms_norm_layer(g, "norm4", h, .dims = 2);
    const plumb_conv3d_options conv = {.size = sizeof conv, .padding = {1, 1, 1, 1, 1, 1}, .stride = {2, 1, 1}};
    plumb_t filter = plumb_variable(g, "filter", PLUMB_F32, PLUMB_SHAPE(3, 2, 3, 3, 3),
                                    &(plumb_variable_options){.size = sizeof(plumb_variable_options), .init = {.rule = PLUMB_INIT_HE}});
    plumb_t v = plumb_conv3d(g, volume, filter, PLUMB_NONE, &conv);
    const plumb_pool3d_options pool = {.size = sizeof pool, .window = {2, 2, 2}};
    v = plumb_max_pool3d(g, v, &pool, NULL);
    plumb_t loss = plumb_add(g, plumb_mean(g, h, NULL, 0, false), plumb_mean(g, v, NULL, 0, false));
    REQUIRE(plumb_graph_status(g) == PLUMB_OK);
    static const char *const names[] = {"conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
                                        "up.weight", "up.bias", "norm3.weight", "norm3.bias", "norm4.weight", "filter"};
    plumb_t out[1 + 12] = {loss};
    for (int i = 0; i < 12; i++) {
        variables[i] = plumb_find(g, names[i]);
        CHECK_MSG(variables[i] != PLUMB_NONE, "no variable %s", names[i]);
    }
    REQUIRE(plumb_gradients(g, loss, variables, 12, out + 1) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    const plumb_compile_options options = {.size = sizeof options, .outputs = out, .n_outputs = 13, .training = true};
    plumb_program *program = state ? plumb_compile(g, state, &options) : NULL;
    CHECK_MSG(program, "%s", plumb_message(context));
    float values[512];
    for (int i = 0; i < 512; i++)
        values[i] = (float)((i * 37) % 19 - 9) / 9;
    for (int batch = 1; program && batch <= 2; batch++) {
        double number = NAN;
        bool ran = plumb_bind(program, N, batch) == PLUMB_OK && plumb_feed(program, line, values, sizeof(float) * (size_t)batch * 36) == PLUMB_OK &&
                   plumb_feed(program, volume, values, sizeof(float) * (size_t)batch * 200) == PLUMB_OK && plumb_run(program) == PLUMB_OK &&
                   plumb_fetch_number(program, loss, &number) == PLUMB_OK;
        CHECK_MSG(ran, "%s", plumb_message(context));
        CHECK(isfinite(number));
    }
    plumb_close(context);
}

PLUMB_TEST(forms, builders_say_what_is_wrong)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (int i = 0; i < 8; i++) {
        plumb_graph *g = plumb_graph_new(context, "wrong");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(N, 4, 6)), w = plumb_input(g, "w", PLUMB_F32, PLUMB_SHAPE(4, 2, 3)), y = x;
        const plumb_conv_transpose1d_options far = {.size = sizeof far, .stride = 2, .output_size = 20};
        const char *needle = "";
        switch (i) {
        case 0: y = plumb_layer_norm(g, x, w, PLUMB_NONE, 1, 0), needle = "layer_norm: scale has shape"; break;
        case 1: y = plumb_group_norm(g, x, PLUMB_NONE, PLUMB_NONE, 3, 0), needle = "3 groups do not divide 4 channels"; break;
        case 2: y = plumb_conv_transpose1d(g, x, w, PLUMB_NONE, &far), needle = "output size 20, expected 13 to 14"; break;
        case 3: y = plumb_einsum(g, "ij->i", &x, 1), needle = "does not fit an operand of rank 3"; break;
        case 4: y = plumb_einsum(g, "ijk->z", &x, 1), needle = "one that no operand has"; break;
        case 5: y = plumb_adaptive_average_pool1d(g, x, 0), needle = "window 0 is outside"; break;
        case 6: y = plumb_conv3d(g, x, w, PLUMB_NONE, NULL), needle = "conv3d: input has shape"; break;
        default: y = plumb_global_lp_pool2d(g, plumb_reshape(g, x, PLUMB_SHAPE(N, 4, 2, 3)), 0), needle = "p is 0";
        }
        CHECK(y == PLUMB_NONE);
        CHECK_TEXT(plumb_message(context), needle);
        plumb_clear_error(context);
    }
    plumb_close(context);
}
