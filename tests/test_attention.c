/* Attention and CTC at their edges, through graphs: rows that see nothing, what cannot be read, lengths and labels that
 * cannot be; values known by hand. Beside PyTorch they stand in torch_sequences.py. */
#include "check.h"

#include "plumb/layers.h"
#include "plumb/program.h"

struct bench {
    plumb_context *context;
    plumb_graph *g;
};

static struct bench open_bench(void)
{
    struct bench b = {.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu"})};
    b.g = b.context ? plumb_graph_new(b.context, "attention") : NULL;
    return b;
}

/* Element e of output k goes to to[k][e]; all are f64. */
static plumb_status run(struct bench *b, const plumb_t *outputs, int n, double (*to)[16])
{
    plumb_state *state = plumb_state_new(b->g);
    const plumb_compile_options options = {.size = sizeof(options), .outputs = outputs, .n_outputs = n};
    plumb_program *program = plumb_compile(b->g, state, &options);
    plumb_status status = program ? plumb_run(program) : PLUMB_BAD_INPUT;
    for (int k = 0; status == PLUMB_OK && k < n; k++) {
        plumb_shape shape = plumb_output_shape(program, outputs[k]);
        size_t count = 1;
        for (int d = 0; d < shape.rank; d++) {
            count *= (size_t)shape.dim[d];
        }
        status = plumb_fetch(program, outputs[k], to[k], sizeof(double) * count);
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return status;
}

static plumb_t f64(plumb_graph *g, plumb_shape shape, const double *values) { return plumb_constant(g, PLUMB_F64, shape, values); }

PLUMB_TEST(attention, by_hand)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[2][16];
    plumb_t q = f64(b.g, PLUMB_SHAPE(1, 1, 2, 1), (const double[]){1, 2});
    plumb_t k = f64(b.g, PLUMB_SHAPE(1, 1, 2, 1), (const double[]){0, log(3)});
    plumb_t v = f64(b.g, PLUMB_SHAPE(1, 1, 2, 2), (const double[]){4, 8, 8, 0});
    plumb_t y = plumb_attention(b.g, q, k, v, NULL), out[2] = {y, plumb_output(b.g, y, 1)};
    CHECK(run(&b, out, 2, to) == PLUMB_OK);
    CHECK_NEAR(to[0][0], 4 * 0.25 + 8 * 0.75, 1e-14); /* weights 1 : 3, then 1 : 9 */
    CHECK_NEAR(to[0][1], 8 * 0.25, 1e-14);
    CHECK_NEAR(to[0][2], 4 * 0.1 + 8 * 0.9, 1e-14);
    CHECK_NEAR(to[0][3], 8 * 0.1, 1e-14);
    CHECK_NEAR(to[1][0], log(4), 1e-14);
    CHECK_NEAR(to[1][1], log(10), 1e-14);
    plumb_close(b.context);
}

PLUMB_TEST(attention, rows_that_see_nothing)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[5][16];
    static const double x[] = {1, -2, 0.5, 3};
    plumb_t q = f64(b.g, PLUMB_SHAPE(1, 1, 2, 2), x), k = f64(b.g, PLUMB_SHAPE(1, 1, 2, 2), x), v = f64(b.g, PLUMB_SHAPE(1, 1, 2, 2), x);
    plumb_t mask = plumb_constant(b.g, PLUMB_U8, PLUMB_SHAPE(2, 1), (const uint8_t[]){0, 1});
    const plumb_attention_options o = {.size = sizeof(o), .mask = mask};
    plumb_t y = plumb_attention(b.g, q, k, v, &o), out[5] = {y, plumb_output(b.g, y, 1)}, wrt[] = {q, k, v};
    CHECK(plumb_gradients(b.g, plumb_sum(b.g, plumb_square(b.g, y), NULL, 0, false), wrt, 3, out + 2) == PLUMB_OK);
    CHECK(run(&b, out, 5, to) == PLUMB_OK);
    CHECK(to[0][0] == 0 && to[0][1] == 0 && isfinite(to[0][2]) && to[0][2] != 0);
    CHECK(to[1][0] == INFINITY && isfinite(to[1][1]));
    CHECK(to[2][0] == 0 && to[2][1] == 0);
    for (int i = 2; i < 5; i++) {
        for (int e = 0; e < 4; e++) {
            CHECK(isfinite(to[i][e]));
        }
    }
    plumb_close(b.context);
}

PLUMB_TEST(attention, layer_says_what_does_not_fit)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    plumb_t x = plumb_input(b.g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 5, 6));
    CHECK(plumb_attention_layer(b.g, "a", x, .heads = 4, .batch_first = true) == PLUMB_NONE);
    CHECK_TEXT(plumb_message(b.context), "attention 'a': 4 heads must divide 6 features");
    plumb_close(b.context);
    b = open_bench();
    REQUIRE(b.g);
    x = plumb_input(b.g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 5, 6));
    plumb_shape y = plumb_shape_of(b.g, plumb_attention_layer(b.g, "a", x, .heads = 3, .batch_first = true, .causal = true));
    CHECK(y.rank == 3 && y.dim[0] == PLUMB_BATCH && y.dim[1] == 5 && y.dim[2] == 6);
    plumb_close(b.context);
}

/* Three steps, a blank and one label, all equally likely: of eight ways one is blank throughout, and "a-a" reads "aa". */
PLUMB_TEST(ctc, by_hand)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double to[2][16];
    plumb_t log_p = plumb_full(b.g, PLUMB_F64, PLUMB_SHAPE(3, 3, 2), log(0.5));
    plumb_t targets = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(3, 2), (const int32_t[]){1, 7, 1, 1, 7, 7});
    plumb_t steps = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(3), (const int32_t[]){3, 3, 3});
    plumb_t lengths = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(3), (const int32_t[]){1, 2, 0});
    const plumb_ctc_options none = {.size = sizeof(none), .reduce = PLUMB_REDUCE_NONE};
    plumb_t out[2] = {plumb_ctc_loss(b.g, log_p, targets, steps, lengths, &none),
                      plumb_ctc_loss(b.g, log_p, targets, steps, lengths, NULL)};
    CHECK(run(&b, out, 2, to) == PLUMB_OK);
    CHECK_NEAR(to[0][0], -log(6.0 / 8), 1e-14);
    CHECK_NEAR(to[0][1], -log(1.0 / 8), 1e-14);
    CHECK_NEAR(to[0][2], -log(1.0 / 8), 1e-14);
    CHECK_NEAR(to[1][0], (to[0][0] + to[0][1] / 2 + to[0][2]) / 3, 1e-14);
    plumb_close(b.context);
}

PLUMB_TEST(ctc, what_cannot_be)
{
    static const char *const told[] = {"input length 4 at 1 is outside [0, 4)", "target length 3 at 0 is outside [0, 3)",
                                       "label 2 at 1 is outside [0, 2)"};
    for (int i = 0; i < 3; i++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[1][16];
        plumb_t log_p = plumb_full(b.g, PLUMB_F64, PLUMB_SHAPE(3, 2, 2), log(0.5));
        plumb_t targets = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(2, 2), (const int32_t[]){1, i == 2 ? 2 : 1, 1, 1});
        plumb_t steps = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(2), (const int32_t[]){3, i == 0 ? 4 : 3});
        plumb_t lengths = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(2), (const int32_t[]){i == 1 ? 3 : 2, 1});
        plumb_t loss = plumb_ctc_loss(b.g, log_p, targets, steps, lengths, NULL);
        CHECK(run(&b, &loss, 1, to) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(b.context), told[i]);
        plumb_close(b.context);
    }
}

PLUMB_TEST(ctc, what_cannot_be_read)
{
    for (int zero = 0; zero < 2; zero++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        double to[2][16];
        plumb_t log_p = plumb_full(b.g, PLUMB_F64, PLUMB_SHAPE(2, 1, 2), log(0.5));
        plumb_t targets = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(1, 2), (const int32_t[]){1, 1});
        plumb_t two = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(1), (const int32_t[]){2});
        const plumb_ctc_options o = {.size = sizeof(o), .zero_infinity = zero, .reduce = PLUMB_REDUCE_SUM};
        plumb_t out[2] = {plumb_ctc_loss(b.g, log_p, targets, two, two, &o)};
        CHECK(plumb_gradients(b.g, out[0], &log_p, 1, &out[1]) == PLUMB_OK);
        CHECK(run(&b, out, 2, to) == PLUMB_OK);
        CHECK(to[0][0] == (zero ? 0 : INFINITY));
        for (int e = 0; e < 4; e++) {
            CHECK(zero ? to[1][e] == 0 : isnan(to[1][e]));
        }
        plumb_close(b.context);
    }
}
