/* Recurrent layers: what can be said of them without another implementation (that is tests/torch_oracle.py's part). A unit
 * by hand; directions, halves and transposes of a sequence; names and shapes; threads; and that they learn what only
 * something with a memory can. */
#include "check.h"
#include "plumb/plumb.h"

enum { MOST = 4096 };

static plumb_context *open_context(int threads)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 5, .threads = threads});
}

/* An initial value for everything that is no layer's. */
static plumb_t uniform(plumb_graph *g, const char *name, plumb_shape shape)
{
    plumb_variable_options options = {.size = sizeof options, .init = {.rule = PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_variable(g, name, PLUMB_F32, shape, &options);
}

/* Values of `count` tensors after one run; returns how many floats each has. */
static int64_t compute(plumb_graph *g, plumb_state *state, const plumb_t *outputs, int count, float (*to)[MOST])
{
    int64_t elements = 0;
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .outputs = outputs, .n_outputs = count});
    CHECK_MSG(program != NULL, "%s", plumb_message(plumb_graph_context(g)));
    CHECK(program && plumb_run(program) == PLUMB_OK);
    for (int i = 0; program && i < count; i++) {
        plumb_shape shape = plumb_output_shape(program, outputs[i]);
        elements = 1;
        for (int d = 0; d < shape.rank; d++)
            elements *= shape.dim[d];
        CHECK(elements <= MOST && plumb_fetch(program, outputs[i], to[i], (size_t)elements * sizeof(float)) == PLUMB_OK);
    }
    plumb_program_free(program);
    return elements;
}

static void check_equal(const float *a, const float *b, int64_t count, const char *what)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-6f)) { /* sums of another order */
            check_fail(__FILE__, __LINE__, "%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i], (double)b[i]);
            return;
        }
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* One unit, one feature, two steps, worked out from the formulas. */
PLUMB_TEST(recurrent, a_unit_by_hand)
{
    static const float x[] = {0.5f, -1}, w_ih[] = {0.3f, -0.4f, 0.8f, 0.2f}, w_hh[] = {-0.5f, 0.6f, 0.1f, 0.7f};
    static const float b_ih[] = {0.1f, 0.2f, -0.3f, 0.4f}, b_hh[] = {-0.2f, 0.3f, 0.5f, -0.1f};
    plumb_context *context = open_context(1);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "by hand");
    plumb_t in = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(2, 1, 1), x), w[3][4], y[3];
    for (int k = 0; k < 3; k++) {
        int64_t gates = k == 0 ? 1 : k + 2; /* 1, 3, 4 */
        const float *values[] = {w_ih, w_hh, b_ih, b_hh};
        for (int i = 0; i < 4; i++)
            w[k][i] = plumb_constant(g, PLUMB_F32, i < 2 ? PLUMB_SHAPE(gates, 1) : PLUMB_SHAPE(gates), values[i]);
    }
    y[0] = plumb_rnn(g, in, PLUMB_NONE, w[0][0], w[0][1], w[0][2], w[0][3], NULL);
    y[1] = plumb_gru(g, in, PLUMB_NONE, w[1][0], w[1][1], w[1][2], w[1][3], NULL);
    y[2] = plumb_lstm(g, in, PLUMB_NONE, PLUMB_NONE, w[2][0], w[2][1], w[2][2], w[2][3], NULL);
    static float got[3][MOST];
    plumb_state *state = plumb_state_new(g);
    compute(g, state, y, 3, got);
    double rnn = 0, gru = 0, lstm = 0, c = 0;
    for (int t = 0; t < 2; t++) {
        double a[4], p[4], q[4];
        for (int k = 0; k < 4; k++)
            a[k] = (double)w_ih[k] * (double)x[t] + (double)b_ih[k];
        for (int k = 0; k < 4; k++) {
            p[k] = (double)w_hh[k] * gru + (double)b_hh[k];
            q[k] = a[k] + (double)w_hh[k] * lstm + (double)b_hh[k];
        }
        rnn = tanh(a[0] + (double)w_hh[0] * rnn + (double)b_hh[0]);
        double z = sigmoid(a[1] + p[1]), n = tanh(a[2] + sigmoid(a[0] + p[0]) * p[2]);
        gru = (1 - z) * n + z * gru;
        c = sigmoid(q[1]) * c + sigmoid(q[0]) * tanh(q[2]);
        lstm = sigmoid(q[3]) * tanh(c);
        CHECK_NEAR(got[0][t], rnn, 1e-6);
        CHECK_NEAR(got[1][t], gru, 1e-6);
        CHECK_NEAR(got[2][t], lstm, 1e-6);
    }
    plumb_close(context);
}

/* The same of a gru whose reset gate comes before the product, one without, and an lstm with peepholes. */
PLUMB_TEST(recurrent, forms_by_hand)
{
    static const float x[] = {0.5f, -1}, w_ih[] = {0.3f, -0.4f, 0.8f, 0.2f}, w_hh[] = {-0.5f, 0.6f, 0.9f, 0.7f};
    static const float b_ih[] = {0.1f, 0.2f, -0.3f, 0.4f}, b_hh[] = {-0.2f, 0.3f, 0.5f, -0.1f}, peepholes[] = {0.7f, -0.9f, 0.4f};
    static const plumb_gru_reset resets[] = {PLUMB_RESET_BEFORE, PLUMB_RESET_NONE, PLUMB_RESET_AFTER};
    plumb_context *context = open_context(1);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "forms by hand");
    plumb_t in = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(2, 1, 1), x), start = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(1, 1), 0.6);
    plumb_t w[4], y[3];
    for (int k = 0; k < 3; k++) {
        plumb_recurrent_options o = {.size = sizeof o, .reset = resets[k]};
        const float *values[] = {w_ih, w_hh, b_ih, b_hh};
        for (int i = 0; i < 4; i++) { /* without a reset gate: z's and n's */
            const float *from = values[i] + (k == 1 ? 1 : 0);
            int64_t gates = k == 0 ? 3 : k == 1 ? 2 : 4;
            w[i] = plumb_constant(g, PLUMB_F32, i < 2 ? PLUMB_SHAPE(gates, 1) : PLUMB_SHAPE(gates), from);
        }
        o.peepholes = k == 2 ? plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(3), peepholes) : PLUMB_NONE;
        y[k] = k == 2 ? plumb_lstm(g, in, start, start, w[0], w[1], w[2], w[3], &o)
                      : plumb_gru(g, in, start, w[0], w[1], w[2], w[3], &o);
    }
    static float got[3][MOST];
    compute(g, plumb_state_new(g), y, 3, got);
    double before = 0.6, none = 0.6, h = 0.6, c = 0.6;
    for (int t = 0; t < 2; t++) {
        double a[4], p[3], q[4], u[4];
        for (int k = 0; k < 4; k++) {
            u[k] = (double)w_hh[k];
            a[k] = (double)w_ih[k] * (double)x[t] + (double)b_ih[k] + (double)b_hh[k];
            q[k] = a[k] + u[k] * h;
        }
        for (int k = 0; k < 3; k++)
            p[k] = (double)peepholes[k];
        double r = sigmoid(a[0] + u[0] * before), z = sigmoid(a[1] + u[1] * before);
        before = (1 - z) * tanh(a[2] + u[2] * (r * before)) + z * before;
        z = sigmoid(a[1] + u[1] * none);
        none = (1 - z) * tanh(a[2] + u[2] * none) + z * none;
        double i = sigmoid(q[0] + p[0] * c), f = sigmoid(q[1] + p[1] * c);
        c = f * c + i * tanh(q[2]);
        h = sigmoid(q[3] + p[2] * c) * tanh(c);
        CHECK_NEAR(got[0][t], before, 1e-6);
        CHECK_NEAR(got[1][t], none, 1e-6);
        CHECK_NEAR(got[2][t], h, 1e-6);
    }
    plumb_close(context);
}

/* (T, N, F) with the order of steps turned round */
static plumb_t turned(plumb_graph *g, plumb_t x)
{
    return plumb_slice(g, x, (const int64_t[]){-1, 0, 0}, (const int64_t[]){PLUMB_END, PLUMB_END, PLUMB_END},
                       (const int64_t[]){-1, 1, 1});
}

typedef plumb_t layer(plumb_graph *g, const char *name, plumb_t x, const plumb_recurrent_layer_options *options);
static plumb_t rnn_layer(plumb_graph *g, const char *name, plumb_t x, const plumb_recurrent_layer_options *options)
{
    return plumb_build_rnn(g, name, x, options);
}
static plumb_t gru_layer(plumb_graph *g, const char *name, plumb_t x, const plumb_recurrent_layer_options *options)
{
    return plumb_build_gru(g, name, x, options);
}
static plumb_t lstm_layer(plumb_graph *g, const char *name, plumb_t x, const plumb_recurrent_layer_options *options)
{
    return plumb_build_lstm(g, name, x, options);
}
static layer *const layers[] = {rnn_layer, gru_layer, lstm_layer};

/* Both directions are a layer forward and one on the turned sequence with the other weights; batch_first is a transpose;
 * `last` is where each direction ends. */
PLUMB_TEST(recurrent, directions_and_transposes)
{
    static float got[6][MOST];
    for (int k = 0; k < 3; k++) {
        plumb_context *context = open_context(2);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "directions");
        plumb_t x = uniform(g, "x", PLUMB_SHAPE(5, 3, 4));
        plumb_recurrent_layer_options o = {.size = sizeof o, .units = 6, .bidirectional = true};
        plumb_t both = layers[k](g, "both", x, &o), half[2];
        plumb_t wi = plumb_find(g, "both.weight_ih_l0_reverse"), wh = plumb_find(g, "both.weight_hh_l0_reverse");
        plumb_t bi = plumb_find(g, "both.bias_ih_l0_reverse"), bh = plumb_find(g, "both.bias_hh_l0_reverse");
        o.bidirectional = false;
        half[0] = layers[k](g, "both", x, &o); /* shares the way forward */
        half[1] = k == 0   ? plumb_rnn(g, turned(g, x), PLUMB_NONE, wi, wh, bi, bh, NULL)
                  : k == 1 ? plumb_gru(g, turned(g, x), PLUMB_NONE, wi, wh, bi, bh, NULL)
                           : plumb_lstm(g, turned(g, x), PLUMB_NONE, PLUMB_NONE, wi, wh, bi, bh, NULL);
        plumb_t ends[] = {plumb_output(g, half[0], 1), plumb_output(g, half[1], 1)};
        half[1] = turned(g, half[1]);
        o = (plumb_recurrent_layer_options){.size = sizeof o, .units = 6, .bidirectional = true, .batch_first = true};
        plumb_t swapped = layers[k](g, "both", plumb_transpose(g, x, (const int[]){1, 0, 2}), &o);
        o.last = true;
        plumb_t last = layers[k](g, "both", plumb_transpose(g, x, (const int[]){1, 0, 2}), &o);
        plumb_t sequences[] = {both, plumb_concat(g, half, 2, 2), plumb_transpose(g, swapped, (const int[]){1, 0, 2})};
        plumb_t states[] = {last, plumb_concat(g, ends, 2, 1)};
        plumb_state *state = plumb_state_new(g);
        int64_t count = compute(g, state, sequences, 3, got);
        CHECK(count == 5 * 3 * 12);
        check_equal(got[0], got[1], count, "both directions");
        check_equal(got[0], got[2], count, "batch first");
        count = compute(g, state, states, 2, got);
        CHECK(count == 3 * 12);
        check_equal(got[0], got[1], count, "last states");
        plumb_close(context);
    }
}

/* Example n alone, as long as it is. */
static plumb_t alone(plumb_graph *g, plumb_t x, int64_t n, int64_t length)
{
    return plumb_slice(g, x, (const int64_t[]){0, n, 0}, (const int64_t[]){length, n + 1, PLUMB_END}, NULL);
}

/* A batch with lengths is its examples one by one, zeros behind them, in two layers and both directions. */
PLUMB_TEST(recurrent, lengths_are_examples_alone)
{
    enum { N = 4, T = 5 };
    static const int32_t lengths[N] = {5, 1, 3, 4};
    static float got[2][MOST];
    for (int k = 0; k < 3; k++) {
        plumb_context *context = open_context(2);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "lengths");
        plumb_t x = uniform(g, "x", PLUMB_SHAPE(T, N, 3)), states, one[N], last[N], rows[N];
        plumb_recurrent_layer_options o = {.size = sizeof o, .units = 6, .layers = 2, .bidirectional = true, .states = &states,
                                           .lengths = plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(N), lengths),
                                           .reset = k == 1 ? PLUMB_RESET_BEFORE : PLUMB_RESET_AFTER, .peepholes = k == 2};
        plumb_t batch = layers[k](g, "net", x, &o), batch_states = states;
        o.lengths = PLUMB_NONE;
        for (int n = 0; n < N; n++) {
            plumb_t y = layers[k](g, "net", alone(g, x, n, lengths[n]), &o);
            plumb_t rest = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(T - lengths[n], 1, 12), 0);
            one[n] = lengths[n] < T ? plumb_concat(g, (const plumb_t[]){y, rest}, 2, 0) : y;
            last[n] = states;
            rows[n] = plumb_slice(g, batch_states, (const int64_t[]){0, n, 0}, (const int64_t[]){PLUMB_END, n + 1, PLUMB_END}, NULL);
        }
        plumb_t sequences[] = {batch, plumb_concat(g, one, N, 1)};
        plumb_t ends[] = {plumb_concat(g, rows, N, 1), plumb_concat(g, last, N, 1)};
        plumb_state *state = plumb_state_new(g);
        check_equal(got[0], got[1], compute(g, state, sequences, 2, got), "outputs");
        check_equal(got[0], got[1], compute(g, state, ends, 2, got), "last states");
        plumb_close(context);
    }
}

/* What lies behind the lengths reaches nothing, NaN neither, and a length that cannot be is an error of the run. */
PLUMB_TEST(recurrent, what_lies_behind_the_lengths)
{
    static const int32_t lengths[] = {2, 0, 3};
    for (int k = 0; k < 3; k++) {
        static float x_data[3][3][2], got[64][MOST];
        int32_t wrong[] = {3, 4, 1};
        plumb_context *context = open_context(1);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "behind");
        for (int t = 0; t < 3; t++)
            for (int n = 0; n < 3; n++)
                for (int i = 0; i < 2; i++)
                    x_data[t][n][i] = t < lengths[n] ? (float)(t - n + i) : NAN;
        plumb_t x = plumb_constant(g, PLUMB_F32, PLUMB_SHAPE(3, 3, 2), x_data), wrt[64], d[64];
        plumb_t given = plumb_input(g, "lengths", PLUMB_I32, PLUMB_SHAPE(3));
        plumb_recurrent_layer_options o = {.size = sizeof o, .units = 3, .bidirectional = true, .peepholes = k == 2,
                                           .reset = k == 1 ? PLUMB_RESET_BEFORE : PLUMB_RESET_AFTER, .lengths = given};
        plumb_t y = layers[k](g, "net", x, &o), loss = plumb_sum(g, plumb_square(g, y), NULL, 0, false);
        int count = plumb_parameters(g, wrt, 64);
        REQUIRE(plumb_gradients(g, loss, wrt, count, d) == PLUMB_OK);
        d[count++] = y;
        plumb_program *program = plumb_compile(g, plumb_state_new(g), &(plumb_compile_options){
            .size = sizeof(plumb_compile_options), .outputs = d, .n_outputs = count});
        REQUIRE(program && plumb_feed(program, given, lengths, sizeof lengths) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
        for (int i = 0; i < count; i++) {
            plumb_shape shape = plumb_output_shape(program, d[i]);
            int64_t elements = 1;
            for (int j = 0; j < shape.rank; j++)
                elements *= shape.dim[j];
            REQUIRE(elements <= MOST && plumb_fetch(program, d[i], got[i], (size_t)elements * sizeof(float)) == PLUMB_OK);
            for (int64_t j = 0; j < elements; j++)
                CHECK_MSG(isfinite(got[i][j]), "output %d of %d: element %lld", i, count, (long long)j);
        }
        CHECK(plumb_feed(program, given, wrong, sizeof wrong) == PLUMB_OK && plumb_run(program) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(context), "length 4 at 1 is outside [0, 4)");
        plumb_close(context);
    }
}

/* Dropout lies between layers: what the first leaves behind is whole, and so is all outside training. */
PLUMB_TEST(recurrent, dropout_is_between_layers)
{
    static float got[2][MOST];
    plumb_context *context = open_context(1);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "dropout");
    plumb_t x = uniform(g, "x", PLUMB_SHAPE(4, 3, 5)), states[2], y[2];
    for (int i = 0; i < 2; i++)
        y[i] = plumb_lstm_layer(g, "net", x, .units = 6, .layers = 2, .drop = i ? 0.5 : 0, .states = &states[i]);
    plumb_state *state = plumb_state_new(g);
    int64_t count = compute(g, state, y, 2, got);
    CHECK(count == 4 * 3 * 6 && memcmp(got[0], got[1], (size_t)count * sizeof(float)) == 0);
    plumb_t both[] = {states[0], states[1]};
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){
        .size = sizeof(plumb_compile_options), .outputs = both, .n_outputs = 2, .training = true});
    REQUIRE(program && plumb_run(program) == PLUMB_OK);
    for (int i = 0; i < 2; i++)
        REQUIRE(plumb_fetch(program, both[i], got[i], 2 * 18 * sizeof(float)) == PLUMB_OK);
    CHECK(memcmp(got[0], got[1], 18 * sizeof(float)) == 0 && memcmp(got[0] + 18, got[1] + 18, 18 * sizeof(float)) != 0);
    plumb_close(context);
}

/* Two halves of a sequence, the second beginning with the first's states, are the whole; in two layers. */
PLUMB_TEST(recurrent, states_carry_over)
{
    static float got[3][MOST];
    for (int k = 0; k < 3; k++) {
        plumb_context *context = open_context(2);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "halves");
        plumb_t x = uniform(g, "x", PLUMB_SHAPE(7, 9, 4)), half[2], h = PLUMB_NONE, c = PLUMB_NONE, h_all, c_all = PLUMB_NONE;
        plumb_recurrent_layer_options o = {.size = sizeof o, .units = 5, .layers = 2, .states = &h_all, .cells = k == 2 ? &c_all : NULL};
        plumb_t whole = layers[k](g, "net", x, &o);
        for (int i = 0; i < 2; i++) {
            plumb_t part = plumb_slice(g, x, (const int64_t[]){i ? 3 : 0, 0, 0},
                                       (const int64_t[]){i ? 7 : 3, PLUMB_END, PLUMB_END}, NULL);
            o.h0 = h, o.c0 = c, o.states = &h, o.cells = k == 2 ? &c : NULL;
            half[i] = layers[k](g, "net", part, &o);
        }
        plumb_t sequences[] = {whole, plumb_concat(g, half, 2, 0)}, states[] = {h_all, h}, cells[] = {c_all, c};
        plumb_state *state = plumb_state_new(g);
        int64_t count = compute(g, state, sequences, 2, got);
        CHECK(count == 7 * 9 * 5);
        check_equal(got[0], got[1], count, "halves");
        count = compute(g, state, states, 2, got);
        CHECK(count == 2 * 9 * 5);
        check_equal(got[0], got[1], count, "last h");
        if (k == 2)
            check_equal(got[0], got[1], compute(g, state, cells, 2, got), "last c");
        plumb_close(context);
    }
}

PLUMB_TEST(recurrent, variables_are_pytorchs)
{
    static const struct {
        const char *name;
        plumb_shape shape;
    } expected[] = {
        {"net.weight_ih_l0", PLUMB_SHAPE(28, 5)},         {"net.weight_hh_l0", PLUMB_SHAPE(28, 7)},
        {"net.bias_ih_l0", PLUMB_SHAPE(28)},              {"net.bias_hh_l0", PLUMB_SHAPE(28)},
        {"net.weight_ih_l0_reverse", PLUMB_SHAPE(28, 5)}, {"net.weight_ih_l1", PLUMB_SHAPE(28, 14)},
        {"net.weight_hh_l1_reverse", PLUMB_SHAPE(28, 7)}, {"net.bias_hh_l1_reverse", PLUMB_SHAPE(28)},
    };
    plumb_context *context = open_context(1);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "names");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 11, 5));
    plumb_t y = plumb_lstm_layer(g, "net", x, .units = 7, .layers = 2, .bidirectional = true, .batch_first = true, .drop = 0.5);
    plumb_shape shape = plumb_shape_of(g, y);
    CHECK(shape.rank == 3 && shape.dim[0] == PLUMB_BATCH && shape.dim[1] == 11 && shape.dim[2] == 14);
    CHECK(plumb_parameters(g, NULL, 0) == 16);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        shape = plumb_shape_of(g, plumb_find(g, expected[i].name));
        CHECK_MSG(shape.rank == expected[i].shape.rank && memcmp(shape.dim, expected[i].shape.dim, 8 * (size_t)shape.rank) == 0,
                  "%s", expected[i].name);
    }
    plumb_summary_row rows[16];
    int n = plumb_summary(g, x, y, rows, 16);
    REQUIRE(n >= 5);
    CHECK(strcmp(rows[1].name, "net.l0") == 0 && rows[1].parameters == 28 * (5 + 7 + 2));
    CHECK(rows[1].multiply_adds == 11 * 28 * (5 + 7));
    plumb_state *state = plumb_state_new(g);
    static float w[28 * 14];
    REQUIRE(state && plumb_state_get(state, "net.weight_ih_l1", w, sizeof w) == PLUMB_OK);
    float most = 0;
    for (int i = 0; i < 28 * 14; i++)
        most = fabsf(w[i]) > most ? fabsf(w[i]) : most;
    CHECK(most <= 0.378f && most >= 0.36f); /* 1 / sqrt(7) */
    plumb_close(context);
}

static void check_refusal(plumb_t (*make)(plumb_graph *g), const char *message)
{
    plumb_context *context = open_context(1);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "wrong");
    CHECK(make(g) == PLUMB_NONE && plumb_graph_status(g) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), message);
    plumb_close(context);
}

static plumb_t of_pictures(plumb_graph *g)
{
    return plumb_lstm_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4, 5)), .units = 3);
}
static plumb_t no_units(plumb_graph *g) { return plumb_gru_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .layers = 2); }
static plumb_t wrong_state(plumb_graph *g)
{
    return plumb_rnn_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5, .h0 = uniform(g, "h", PLUMB_SHAPE(2, 3, 5)));
}
static plumb_t cells_of_gru(plumb_graph *g)
{
    return plumb_gru_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5, .c0 = uniform(g, "c", PLUMB_SHAPE(1, 3, 5)));
}
static plumb_t relu_of_lstm(plumb_graph *g)
{
    return plumb_lstm_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5, .relu = true);
}
static plumb_t peepholes_of_gru(plumb_graph *g)
{
    return plumb_gru_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5, .peepholes = true);
}
static plumb_t reset_of_lstm(plumb_graph *g)
{
    return plumb_lstm_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5, .reset = PLUMB_RESET_BEFORE);
}
static plumb_t lengths_of_others(plumb_graph *g)
{
    return plumb_rnn_layer(g, "net", uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), .units = 5,
                           .lengths = plumb_input(g, "lengths", PLUMB_I32, PLUMB_SHAPE(2)));
}
static plumb_t other_features(plumb_graph *g)
{
    return plumb_lstm(g, uniform(g, "x", PLUMB_SHAPE(2, 3, 4)), PLUMB_NONE, PLUMB_NONE, uniform(g, "wi", PLUMB_SHAPE(20, 6)),
                      uniform(g, "wh", PLUMB_SHAPE(20, 5)), PLUMB_NONE, PLUMB_NONE, NULL);
}
static plumb_t steps_unknown(plumb_graph *g)
{
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 4)), dx, ddx;
    plumb_t y = plumb_lstm_layer(g, "net", x, .units = 5), loss = plumb_sum(g, plumb_square(g, y), NULL, 0, false);
    if (plumb_gradients(g, loss, &x, 1, &dx) == PLUMB_OK)
        plumb_gradients(g, plumb_sum(g, plumb_square(g, dx), NULL, 0, false), &x, 1, &ddx);
    return PLUMB_NONE;
}

PLUMB_TEST(recurrent, refusals_say_what_is_wrong)
{
    check_refusal(of_pictures, "lstm 'net': input is (2, 3, 4, 5), expected (T, N, features)");
    check_refusal(no_units, "gru 'net': 2 layers of 0 units");
    check_refusal(wrong_state, "rnn 'net': h0 is (2, 3, 5), expected (1, N, 5): layers times directions, batch, units");
    check_refusal(cells_of_gru, "gru 'net': only lstm has a cell state");
    check_refusal(relu_of_lstm, "relu is an activation of rnn only");
    check_refusal(peepholes_of_gru, "gru 'net': only lstm has peepholes");
    check_refusal(reset_of_lstm, "only gru has a reset gate");
    check_refusal(lengths_of_others, "rnn 'net': lengths have shape (2), expected one for each sequence of the batch");
    check_refusal(other_features, "lstm: w_ih has shape (20, 6), expected (20, 4)");
    check_refusal(steps_unknown, "needs a known number of steps");
}

/* A step of training in one thread and in three is the same to the bit: two layers, both ways, a batch of several chunks. */
PLUMB_TEST(recurrent, threads_change_no_bit)
{
    static float got[2][64][MOST];
    static const int threads[] = {1, 3};
    for (int k = 0; k < 3; k++) {
        int count = 0;
        for (int i = 0; i < 2; i++) {
            plumb_context *context = open_context(threads[i]);
            REQUIRE(context);
            plumb_graph *g = plumb_graph_new(context, "threads");
            plumb_t x = uniform(g, "x", PLUMB_SHAPE(6, 37, 5)), wrt[64], d[64];
            plumb_recurrent_layer_options o = {.size = sizeof o, .units = 10, .layers = 2, .bidirectional = true};
            int32_t lengths[37];
            for (int n = 0; n < 37; n++)
                lengths[n] = n % 7;
            o.lengths = k ? plumb_constant(g, PLUMB_I32, PLUMB_SHAPE(37), lengths) : PLUMB_NONE;
            o.reset = k == 1 ? PLUMB_RESET_BEFORE : PLUMB_RESET_AFTER;
            plumb_t loss = plumb_sum(g, plumb_square(g, layers[k](g, "net", x, &o)), NULL, 0, false);
            count = plumb_parameters(g, wrt, 64);
            REQUIRE(plumb_gradients(g, loss, wrt, count, d) == PLUMB_OK);
            compute(g, plumb_state_new(g), d, count, got[i]);
            plumb_close(context);
        }
        CHECK(count == 17 && memcmp(got[0], got[1], sizeof got[0]) == 0);
    }
}

/* Which of four signs came first, with noise of ten steps behind it: what h must carry to the end. */
static void make_signs(float x[64][11][5], int32_t label[64], uint32_t *random)
{
    memset(x, 0, 64 * sizeof *x);
    for (int n = 0; n < 64; n++)
        for (int t = 0; t < 11; t++) {
            *random = *random * 1664525u + 1013904223u;
            label[n] = t == 0 ? (int32_t)(*random >> 30) : label[n];
            x[n][t][t == 0 ? label[n] : 4] = t == 0 ? 1 : (float)(*random >> 8) / (1 << 23) - 1;
        }
}

PLUMB_TEST(recurrent, learns_what_came_first)
{
    for (int k = 1; k < 3; k++) {
        static float x_data[64][11][5], logits[64][4];
        int32_t labels[64];
        uint32_t random = 1;
        plumb_context *context = open_context(2);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "signs");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 11, 5));
        plumb_t label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
        plumb_recurrent_layer_options o = {.size = sizeof o, .units = 16, .batch_first = true, .last = true};
        plumb_t y = plumb_linear_layer(g, "fc", layers[k](g, "net", x, &o), .units = 4);
        plumb_t loss = plumb_softmax_cross_entropy(g, y, label, NULL);
        plumb_state *state = plumb_state_new(g);
        plumb_program *step = plumb_compile_training(g, state, loss, PLUMB_ADAM(.lr = 0.02), &y, 1);
        REQUIRE(step);
        for (int i = 0; i < 300; i++) {
            make_signs(x_data, labels, &random);
            REQUIRE(plumb_feed(step, x, x_data, sizeof x_data) == PLUMB_OK &&
                    plumb_feed(step, label, labels, sizeof labels) == PLUMB_OK && plumb_run(step) == PLUMB_OK);
        }
        REQUIRE(plumb_fetch(step, y, logits, sizeof logits) == PLUMB_OK);
        int right = 0;
        for (int n = 0; n < 64; n++) {
            int best = 0;
            for (int c = 1; c < 4; c++)
                best = logits[n][c] > logits[n][best] ? c : best;
            right += best == labels[n];
        }
        CHECK_MSG(right >= 62, "%s: %d of 64 right", k == 1 ? "gru" : "lstm", right);
        plumb_close(context);
    }
}
