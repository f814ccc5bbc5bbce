/* Building graphs: handles that outlive their objects, poison and its first error, messages, shapes (symbolic ones
 * too), gradients of costs a user writes, effects. */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

static plumb_context *open_cpu(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1});
}

static plumb_t scalar_variable(plumb_graph *g, const char *name, double value)
{
    plumb_variable_options options = {.size = sizeof(options), .init = {.rule = PLUMB_INIT_CONSTANT, .a = value}};
    return plumb_variable(g, name, PLUMB_F64, PLUMB_SCALAR_SHAPE, &options);
}

static double eval_number(plumb_graph *g, plumb_state *state, plumb_t tensor)
{
    double value = NAN;
    return plumb_eval(g, state, NULL, 0, tensor, &value, sizeof(value)) == PLUMB_OK ? value : NAN;
}

/* ---- handles ---- */

PLUMB_TEST(graph, stale_handles_are_errors)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "first");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3));
    CHECK(x != PLUMB_NONE);
    plumb_state *state = plumb_state_new(g);
    CHECK(state != NULL);
    plumb_graph_free(g);
    CHECK(plumb_graph_status(g) == PLUMB_BAD_INPUT);
    CHECK(plumb_relu(g, x) == PLUMB_NONE);
    CHECK_TEXT(plumb_message(context), "handle");
    plumb_clear_error(context);
    plumb_graph_free(g); /* twice: nothing */
    CHECK(plumb_state_new(g) == NULL);
    plumb_clear_error(context);
    plumb_state_free(state);
    CHECK(plumb_state_reset(state) == PLUMB_BAD_INPUT);
    CHECK(plumb_state_count(state) <= 0);
    plumb_state_free(state);
    plumb_close(context);
}

PLUMB_TEST(graph, handles_of_the_wrong_kind_are_errors)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "g");
    plumb_state *state = plumb_state_new(g);
    CHECK(plumb_graph_status((plumb_graph *)(void *)state) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_run((plumb_program *)(void *)g) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_run(NULL) == PLUMB_BAD_INPUT);
    CHECK(plumb_graph_status(NULL) == PLUMB_BAD_INPUT);
    CHECK(plumb_relu(NULL, 1) == PLUMB_NONE);
    plumb_close(context);
    plumb_close(NULL);
}

PLUMB_TEST(graph, a_handle_is_not_revived_by_reuse)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *old = plumb_graph_new(context, "old");
    plumb_graph_free(old);
    for (int i = 0; i < 40; i++) {
        plumb_graph *fresh = plumb_graph_new(context, "fresh");
        CHECK(plumb_graph_status(fresh) == PLUMB_OK);
        CHECK(plumb_graph_status(old) == PLUMB_BAD_INPUT);
        plumb_clear_error(context);
        plumb_graph_free(fresh);
    }
    plumb_close(context);
}

/* ---- poison ---- */

PLUMB_TEST(graph, poison_spreads_and_the_first_error_wins)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "bad");
    plumb_t a = plumb_input(g, "a", PLUMB_F32, PLUMB_SHAPE(2, 3)), b = plumb_input(g, "b", PLUMB_F32, PLUMB_SHAPE(4, 5));
    plumb_t c = plumb_matmul(g, a, b, false, false);
    CHECK(c == PLUMB_NONE);
    CHECK(plumb_relu(g, c) == PLUMB_NONE);
    CHECK(plumb_add(g, a, b) == PLUMB_NONE);
    CHECK(plumb_relu(g, a) == PLUMB_NONE); /* the whole graph is poisoned */
    CHECK(plumb_graph_status(g) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "matmul");
    CHECK_TEXT(plumb_message(context), "(2, 3)");
    CHECK_TEXT(plumb_message(context), "(4, 5)");
    plumb_clear_error(context);
    plumb_compile_options options = {.size = sizeof(options), .outputs = &a, .n_outputs = 1};
    CHECK(plumb_compile(g, NULL, &options) == NULL);
    CHECK_TEXT(plumb_message(context), "matmul");
    plumb_clear_error(context);
    plumb_t d;
    CHECK(plumb_gradients(g, a, &a, 1, &d) == PLUMB_BAD_INPUT);
    CHECK(d == PLUMB_NONE);
    CHECK(plumb_shape_of(g, c).rank == 0);
    CHECK(plumb_dtype_of(g, c) == PLUMB_NO_DTYPE);
    CHECK(strcmp(plumb_name_of(g, c), "") == 0);
    plumb_close(context);
}

PLUMB_TEST(graph, foreign_ids_are_refused)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "one"), *h = plumb_graph_new(context, "two");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2));
    CHECK(plumb_shape_of(h, x).rank == 0);
    CHECK(plumb_relu(h, x) == PLUMB_NONE);
    CHECK(plumb_graph_status(h) == PLUMB_BAD_INPUT);
    CHECK(plumb_graph_status(g) == PLUMB_OK);
    CHECK_TEXT(plumb_message(context), "relu");
    CHECK(plumb_relu(g, 999999) == PLUMB_NONE);
    plumb_close(context);
}

/* Each builder call is wrong in one way; the message names the op and what was given. */
PLUMB_TEST(graph, messages_name_op_and_shapes)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (int i = 0; i < 9; i++) {
        plumb_graph *g = plumb_graph_new(context, "messages");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3, 8, 8)), i32 = plumb_input(g, "i", PLUMB_I32, PLUMB_SHAPE(2));
        plumb_t w = plumb_input(g, "w", PLUMB_F32, PLUMB_SHAPE(4, 1, 3, 3)), v = plumb_input(g, "v", PLUMB_F32, PLUMB_SHAPE(5));
        plumb_conv2d_options strange = {.size = sizeof(strange), .padding = {-1, 0, 0, 0}};
        plumb_pool2d_options none = {.size = sizeof(none)};
        const char *words[2] = {"", ""};
        switch (i) {
        case 0: plumb_conv2d(g, x, w, PLUMB_NONE, NULL), words[0] = "conv2d", words[1] = "3"; break;
        case 1: plumb_add(g, x, v), words[0] = "add", words[1] = "(5)"; break;
        case 2: plumb_exp(g, i32), words[0] = "exp", words[1] = "i32"; break;
        case 3: plumb_conv2d(g, x, w, PLUMB_NONE, &strange), words[0] = "conv2d"; break;
        case 4: plumb_max_pool2d(g, x, &none), words[0] = "max_pool2d", words[1] = "window"; break;
        case 5: plumb_reshape(g, v, PLUMB_SHAPE(2, 3)), words[0] = "reshape", words[1] = "(2, 3)"; break;
        case 6: plumb_softmax(g, v, 3), words[0] = "softmax", words[1] = "3"; break;
        case 7: plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(1)), words[0] = "x"; break;
        default: plumb_softmax_cross_entropy(g, v, i32, NULL), words[0] = "cross_entropy"; break;
        }
        CHECK_MSG(plumb_graph_status(g) == PLUMB_BAD_INPUT, "call %d was accepted", i);
        CHECK_TEXT(plumb_message(context), words[0]);
        CHECK_TEXT(plumb_message(context), words[1]);
        plumb_clear_error(context);
        plumb_graph_free(g);
    }
    plumb_close(context);
}

PLUMB_TEST(graph, names_appear_in_messages)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "named");
    plumb_t x = plumb_input(g, "pixels", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3));
    plumb_t h = plumb_named(g, plumb_relu(g, x), "first");
    CHECK(strcmp(plumb_name_of(g, h), "first") == 0);
    CHECK(plumb_find(g, "pixels") == x);
    CHECK(plumb_find(g, "nothing") == PLUMB_NONE);
    char *text = plumb_graph_text(g), *dot = plumb_graph_dot(g);
    CHECK_TEXT(text, "pixels");
    CHECK_TEXT(text, "relu");
    CHECK_TEXT(text, "first");
    CHECK_TEXT(dot, "digraph");
    plumb_text_free(context, text);
    plumb_text_free(context, dot);
    plumb_close(context);
}

/* ---- shapes ---- */

static void check_shape(const plumb_graph *g, plumb_t x, plumb_shape expected, const char *what)
{
    plumb_shape shape = plumb_shape_of(g, x);
    bool same = shape.rank == expected.rank;
    for (int d = 0; same && d < shape.rank; d++) {
        same = shape.dim[d] == expected.dim[d];
    }
    CHECK_MSG(same, "%s: wrong shape", what);
}

PLUMB_TEST(graph, shapes_are_inferred)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "shapes");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 9, 8));
    plumb_t w = plumb_input(g, "w", PLUMB_F32, PLUMB_SHAPE(6, 3, 3, 3)), r = plumb_input(g, "r", PLUMB_F32, PLUMB_SHAPE(9, 1));
    plumb_conv2d_options same = {.size = sizeof(same), .padding = {1, 1, 1, 1}, .stride = {2, 2}};
    plumb_pool2d_options pool = {.size = sizeof(pool), .window = {2, 2}, .ceil_mode = true};
    check_shape(g, plumb_conv2d(g, x, w, PLUMB_NONE, &same), PLUMB_SHAPE(PLUMB_BATCH, 6, 5, 4), "conv2d");
    check_shape(g, plumb_max_pool2d(g, x, &pool), PLUMB_SHAPE(PLUMB_BATCH, 3, 5, 4), "max_pool2d");
    check_shape(g, plumb_add(g, x, r), PLUMB_SHAPE(PLUMB_BATCH, 3, 9, 8), "add");
    check_shape(g, plumb_sum(g, x, PLUMB_AXES(-1, 1), false), PLUMB_SHAPE(PLUMB_BATCH, 9), "sum");
    check_shape(g, plumb_mean(g, x, PLUMB_AXES(0), true), PLUMB_SHAPE(1, 3, 9, 8), "mean");
    check_shape(g, plumb_flatten(g, x, 1), PLUMB_SHAPE(PLUMB_BATCH, 216), "flatten");
    check_shape(g, plumb_transpose(g, r, NULL), PLUMB_SHAPE(1, 9), "transpose");
    check_shape(g, plumb_global_average_pool2d(g, x), PLUMB_SHAPE(PLUMB_BATCH, 3, 1, 1), "global_average_pool2d");
    check_shape(g, plumb_matmul(g, plumb_flatten(g, x, 1), plumb_input(g, "m", PLUMB_F32, PLUMB_SHAPE(7, 216)), false, true),
                PLUMB_SHAPE(PLUMB_BATCH, 7), "matmul");
    plumb_t both[] = {r, r};
    check_shape(g, plumb_concat(g, both, 2, -1), PLUMB_SHAPE(9, 2), "concat");
    check_shape(g, plumb_argmax(g, x, 1, false), PLUMB_SHAPE(PLUMB_BATCH, 9, 8), "argmax");
    CHECK(plumb_dtype_of(g, plumb_argmax(g, x, 1, false)) == PLUMB_I64);
    CHECK(plumb_dtype_of(g, plumb_equal(g, x, x)) == PLUMB_U8);
    int64_t begin[] = {8, 0}, end[] = {PLUMB_END, 1}, step[] = {-2, 1};
    check_shape(g, plumb_slice(g, r, begin, end, step), PLUMB_SHAPE(5, 1), "slice");
    CHECK(plumb_graph_status(g) == PLUMB_OK);
    plumb_close(context);
}

/* One program serves every batch size, and says so when bytes do not fit. */
PLUMB_TEST(graph, symbolic_batch_is_bound_by_feeding)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "batch");
    plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(PLUMB_BATCH, 2));
    plumb_t y = plumb_sum(g, plumb_square(g, x), PLUMB_AXES(1), false), m = plumb_mean(g, x, NULL, 0, false);
    plumb_t outputs[] = {y, m};
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options options = {.size = sizeof(options), .outputs = outputs, .n_outputs = 2};
    plumb_program *program = plumb_compile(g, state, &options);
    REQUIRE(program);
    double data[20], result[10], mean;
    for (int i = 0; i < 20; i++) {
        data[i] = i;
    }
    const int sizes[] = {1, 5, 3, 10, 2, 7, 1, 5};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        size_t n = (size_t)sizes[k];
        CHECK(plumb_feed(program, x, data, n * 2 * sizeof(double)) == PLUMB_OK);
        CHECK(plumb_run(program) == PLUMB_OK);
        CHECK(plumb_output_shape(program, y).dim[0] == (int64_t)n);
        CHECK(plumb_fetch(program, y, result, n * sizeof(double)) == PLUMB_OK);
        for (size_t i = 0; i < n; i++) {
            CHECK_NEAR(result[i], data[2 * i] * data[2 * i] + data[2 * i + 1] * data[2 * i + 1], 0);
        }
        CHECK(plumb_fetch_number(program, m, &mean) == PLUMB_OK);
        CHECK_NEAR(mean, (2 * (double)n - 1) / 2, 1e-15);
    }
    CHECK(plumb_feed(program, x, data, 3 * sizeof(double)) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "x");
    plumb_close(context);
}

/* ---- gradients ---- */

PLUMB_TEST(graph, a_cost_a_user_writes)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "3(a+bc)");
    plumb_t v[] = {scalar_variable(g, "a", 5), scalar_variable(g, "b", 3), scalar_variable(g, "c", 2)}, d[3];
    plumb_t j = plumb_affine(g, plumb_add(g, v[0], plumb_mul(g, v[1], v[2])), 3, 0);
    CHECK(plumb_gradients(g, j, v, 3, d) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    REQUIRE(state);
    CHECK_NEAR(eval_number(g, state, j), 33, 0);
    CHECK_NEAR(eval_number(g, state, d[0]), 3, 0);
    CHECK_NEAR(eval_number(g, state, d[1]), 6, 0);
    CHECK_NEAR(eval_number(g, state, d[2]), 9, 0);
    plumb_close(context);
}

PLUMB_TEST(graph, gradients_of_gradients)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "x^4");
    plumb_t x = scalar_variable(g, "x", 2), d1, d2, d3;
    CHECK(plumb_gradients(g, plumb_square(g, plumb_square(g, x)), &x, 1, &d1) == PLUMB_OK);
    CHECK(plumb_gradients(g, d1, &x, 1, &d2) == PLUMB_OK);
    CHECK(plumb_gradients(g, d2, &x, 1, &d3) == PLUMB_OK);
    plumb_state *state = plumb_state_new(g);
    REQUIRE(state);
    CHECK_NEAR(eval_number(g, state, d1), 32, 0);
    CHECK_NEAR(eval_number(g, state, d2), 48, 0);
    CHECK_NEAR(eval_number(g, state, d3), 48, 0);
    plumb_close(context);
}

PLUMB_TEST(graph, gradients_of_what_does_not_matter_are_zero)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "apart");
    plumb_t x = scalar_variable(g, "x", 2), y = scalar_variable(g, "y", 4), d[3];
    plumb_t w = plumb_variable(g, "w", PLUMB_F64, PLUMB_SHAPE(2, 3), NULL);
    plumb_t wrt[] = {x, y, w};
    plumb_t hidden = plumb_mul(g, x, plumb_stop_gradient(g, y));
    CHECK(plumb_gradients(g, hidden, wrt, 3, d) == PLUMB_OK);
    check_shape(g, d[2], PLUMB_SHAPE(2, 3), "gradient of w");
    plumb_state *state = plumb_state_new(g);
    REQUIRE(state);
    CHECK_NEAR(eval_number(g, state, d[0]), 4, 0);
    CHECK_NEAR(eval_number(g, state, d[1]), 0, 0);
    double zeros[6] = {1, 1, 1, 1, 1, 1};
    CHECK(plumb_eval(g, state, NULL, 0, d[2], zeros, sizeof(zeros)) == PLUMB_OK);
    for (int i = 0; i < 6; i++) {
        CHECK(zeros[i] == 0);
    }
    plumb_close(context);
}

PLUMB_TEST(graph, gradients_refuse_what_has_none)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (int i = 0; i < 3; i++) {
        plumb_graph *g = plumb_graph_new(context, "refused");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(3)), k = plumb_input(g, "k", PLUMB_I32, PLUMB_SHAPE(3)), d;
        plumb_t loss = i == 0 ? x : plumb_sum(g, x, NULL, 0, false), wrt = i == 1 ? k : i == 2 ? PLUMB_NONE : x;
        CHECK_MSG(plumb_gradients(g, loss, &wrt, 1, &d) == PLUMB_BAD_INPUT, "call %d was accepted", i);
        CHECK_TEXT(plumb_message(context), "gradients");
        plumb_clear_error(context);
        plumb_graph_free(g);
    }
    plumb_close(context);
}

/* w^2 - 10 w + 25 has its minimum at 5. */
PLUMB_TEST(graph, a_parabola_is_minimised)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "parabola");
    plumb_t w = scalar_variable(g, "w", 0);
    plumb_t loss = plumb_affine(g, plumb_sub(g, plumb_square(g, w), plumb_affine(g, w, 10, 0)), 1, 25);
    plumb_state *state = plumb_state_new(g);
    plumb_program *step = plumb_compile_training(g, state, loss, PLUMB_SGD(.lr = 0.1), NULL, 0);
    REQUIRE(step);
    double value = 0, first = 0;
    for (int i = 0; i < 200; i++) {
        CHECK(plumb_run(step) == PLUMB_OK);
        if (i == 0) {
            CHECK(plumb_fetch_number(step, loss, &first) == PLUMB_OK);
        }
    }
    CHECK_NEAR(first, 25, 0);
    CHECK(plumb_state_get_number(state, "w", &value) == PLUMB_OK);
    CHECK_NEAR(value, 5, 1e-12);
    plumb_close(context);
}

/* ---- effects ---- */

PLUMB_TEST(graph, effects_come_after_reads_and_may_be_gated)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "effects");
    plumb_t a = scalar_variable(g, "a", 1), b = scalar_variable(g, "b", 10), gate = plumb_input(g, "gate", PLUMB_U8, PLUMB_SCALAR_SHAPE);
    plumb_assign(g, a, b, PLUMB_NONE); /* a swap: both read before both are written */
    plumb_assign(g, b, a, gate);
    plumb_t sum = plumb_add(g, a, b);
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options options = {.size = sizeof(options), .outputs = &sum, .n_outputs = 1, .training = true, .effects = true};
    plumb_program *program = plumb_compile(g, state, &options);
    options.effects = false;
    plumb_program *pure = plumb_compile(g, state, &options);
    REQUIRE(program && pure);
    const uint8_t open = 1, shut = 0;
    double va = 0, vb = 0, s = 0;
    CHECK(plumb_feed(program, gate, &open, 1) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_fetch_number(program, sum, &s) == PLUMB_OK);
    CHECK(plumb_state_get_number(state, "a", &va) == PLUMB_OK);
    CHECK(plumb_state_get_number(state, "b", &vb) == PLUMB_OK);
    CHECK(s == 11 && va == 10 && vb == 1);
    CHECK(plumb_feed(program, gate, &shut, 1) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_state_get_number(state, "a", &va) == PLUMB_OK && plumb_state_get_number(state, "b", &vb) == PLUMB_OK);
    CHECK(va == 1 && vb == 1);
    CHECK(plumb_run(pure) == PLUMB_OK);
    CHECK(plumb_state_get_number(state, "a", &va) == PLUMB_OK && va == 1);
    plumb_close(context);
}

PLUMB_TEST(graph, variables_are_shared_by_name)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "shared");
    plumb_t a = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(2), NULL);
    CHECK(plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(2), NULL) == a);
    CHECK(plumb_parameters(g, NULL, 0) == 1);
    plumb_set_frozen(g, a, true);
    CHECK(plumb_parameters(g, NULL, 0) == 0);
    CHECK(plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(3), NULL) == PLUMB_NONE);
    CHECK_TEXT(plumb_message(context), "'w'");
    plumb_close(context);
}

/* Initial values depend on seed and name alone. */
PLUMB_TEST(graph, initial_values_do_not_depend_on_order)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    float one[8], two[8];
    plumb_variable_options he = {.size = sizeof(he), .init = {.rule = PLUMB_INIT_HE}};
    for (int order = 0; order < 2; order++) {
        plumb_graph *g = plumb_graph_new(context, "order");
        plumb_variable(g, order ? "u" : "v", PLUMB_F32, PLUMB_SHAPE(2, 4), &he);
        plumb_variable(g, order ? "v" : "u", PLUMB_F32, PLUMB_SHAPE(2, 4), &he);
        plumb_state *state = plumb_state_new(g);
        CHECK(plumb_state_get(state, "v", order ? two : one, sizeof(one)) == PLUMB_OK);
        float u[8];
        CHECK(plumb_state_get(state, "u", u, sizeof(u)) == PLUMB_OK && memcmp(u, order ? two : one, sizeof(u)) != 0);
    }
    CHECK(memcmp(one, two, sizeof(one)) == 0);
    plumb_close(context);
}
