/* Losses at their edges, through graphs: values known by hand, everything ignored or masked, labels that are no classes,
 * nothing at all. Beside PyTorch they stand in torch_losses.py. */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/program.h"

struct bench {
    plumb_context *context;
    plumb_graph *g;
};

static struct bench open_bench(void)
{
    struct bench b = {.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu"})};
    b.g = b.context ? plumb_graph_new(b.context, "losses") : NULL;
    return b;
}

static plumb_t f64(plumb_graph *g, plumb_shape shape, const double *values) { return plumb_constant(g, PLUMB_F64, shape, values); }

/* A loss of `wrt` and its gradient. */
static plumb_status run(struct bench *b, plumb_t loss, plumb_t wrt, double *value, double *gradient, size_t count)
{
    plumb_t out[2] = {loss, PLUMB_NONE};
    plumb_status status = plumb_gradients(b->g, loss, &wrt, 1, &out[1]);
    plumb_state *state = plumb_state_new(b->g);
    const plumb_compile_options options = {.size = sizeof(options), .outputs = out, .n_outputs = 2};
    plumb_program *program = status == PLUMB_OK ? plumb_compile(b->g, state, &options) : NULL;
    status = program ? plumb_run(program) : PLUMB_BAD_INPUT;
    if (status == PLUMB_OK) {
        status = plumb_fetch(program, out[0], value, sizeof *value);
    }
    if (status == PLUMB_OK) {
        status = plumb_fetch(program, out[1], gradient, count * sizeof *gradient);
    }
    plumb_program_free(program);
    plumb_state_free(state);
    return status;
}

static const double logs[] = {-0.1, -2, -3, -4, -0.5, -1, -0.7, -INFINITY, -0.69, -1, -2, -3};

PLUMB_TEST(losses, positions_are_examples)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double value, d[12];
    plumb_t x = f64(b.g, PLUMB_SHAPE(1, 3, 4), logs); /* classes lie four apart */
    plumb_t labels = plumb_constant(b.g, PLUMB_I64, PLUMB_SHAPE(1, 4), (const int64_t[]){0, 1, -1, 2});
    const plumb_loss_options o = {.size = sizeof(o), .use_ignore_index = true, .ignore_index = -1};
    CHECK(run(&b, plumb_nll(b.g, x, labels, &o), x, &value, d, 12) == PLUMB_OK);
    CHECK_NEAR(value, (0.1 + 1 + 3) / 3, 1e-15);
    for (int i = 0; i < 12; i++) {
        CHECK_NEAR(d[i], i == 0 || i == 5 || i == 11 ? -1.0 / 3 : 0, 1e-15);
    }
    plumb_close(b.context);
}

PLUMB_TEST(losses, nothing_left_is_zero)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double value = 1, d[12];
    plumb_t x = f64(b.g, PLUMB_SHAPE(4, 3), logs), wide = f64(b.g, PLUMB_SHAPE(2, 6), logs);
    plumb_t labels = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(4), (const int32_t[]){7, 7, 7, 7});
    plumb_t targets = plumb_full_like(b.g, wide, 7);
    plumb_t apart = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(2), (const int32_t[]){0, 1});
    const plumb_loss_options o = {.size = sizeof(o), .use_ignore_index = true, .ignore_index = 7};
    const plumb_t losses[] = {plumb_nll(b.g, x, labels, &o), plumb_softmax_focal(b.g, x, labels, &o),
                              plumb_multi_margin(b.g, x, labels, &o), plumb_hinge(b.g, wide, targets, &o),
                              plumb_smooth_l1(b.g, wide, targets, &o)};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        CHECK(run(&b, losses[i], i < 3 ? x : wide, &value, d, 12) == PLUMB_OK);
        CHECK(value == 0);
        for (int e = 0; e < 12; e++) {
            CHECK(d[e] == 0 || i == 1 || i == 2); /* those two look at every score, and one is -inf */
        }
    }
    plumb_t pair = f64(b.g, PLUMB_SHAPE(2, 2), (const double[]){1, 2, 3, 5});
    CHECK(run(&b, plumb_triplet_hard(b.g, pair, apart, NULL), pair, &value, d, 4) == PLUMB_OK); /* no positives */
    CHECK(value == 0 && d[0] == 0 && d[3] == 0);
    CHECK(run(&b, plumb_triplet_semi_hard(b.g, pair, apart, NULL), pair, &value, d, 4) == PLUMB_OK);
    CHECK(value == 0 && d[0] == 0 && d[3] == 0);
    plumb_close(b.context);
}

PLUMB_TEST(losses, labels_that_are_no_classes)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double value, d[12];
    plumb_t x = f64(b.g, PLUMB_SHAPE(4, 3), logs);
    plumb_t labels = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(4), (const int32_t[]){0, 1, 3, 0});
    const plumb_t losses[] = {plumb_nll(b.g, x, labels, NULL), plumb_softmax_focal(b.g, x, labels, NULL),
                              plumb_multi_margin(b.g, x, labels, NULL), plumb_perplexity(b.g, x, labels, NULL)};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        CHECK(run(&b, losses[i], x, &value, d, 12) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(b.context), "label 3 at 2 is outside [0, 3)");
        plumb_clear_error(b.context);
    }
    plumb_close(b.context);
}

PLUMB_TEST(losses, by_hand)
{
    struct bench b = open_bench();
    REQUIRE(b.g);
    double value, d[12];
    static const double four[] = {0.5, 0.5, 0.5, 0.5};
    plumb_t uniform = plumb_log(b.g, f64(b.g, PLUMB_SHAPE(1, 4), four));
    plumb_t label = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(1), (const int32_t[]){2});
    CHECK(run(&b, plumb_perplexity(b.g, uniform, label, NULL), uniform, &value, d, 4) == PLUMB_OK);
    CHECK_NEAR(value, 4, 1e-14);
    /* anchor at 0, positive at 3, negative at 4: 9 - 16 + margin 10 */
    plumb_t a = f64(b.g, PLUMB_SHAPE(1, 1), (const double[]){0}), p = f64(b.g, PLUMB_SHAPE(1, 1), (const double[]){3});
    plumb_t n = f64(b.g, PLUMB_SHAPE(1, 1), (const double[]){4});
    const plumb_loss_options o = {.size = sizeof(o), .squared = true, .margin = 10};
    CHECK(run(&b, plumb_triplet(b.g, a, p, n, &o), a, &value, d, 1) == PLUMB_OK);
    CHECK(value == 3 && d[0] == 2);
    /* 0 and 2, 3 and 10: of 3 and 10 nothing is beyond, and the farthest is 0; the other pairs have a negative far enough */
    plumb_t line = f64(b.g, PLUMB_SHAPE(4, 1), (const double[]){0, 2, 3, 10});
    plumb_t twos = plumb_constant(b.g, PLUMB_I32, PLUMB_SHAPE(4), (const int32_t[]){0, 0, 1, 1});
    CHECK(run(&b, plumb_triplet_semi_hard(b.g, line, twos, NULL), line, &value, d, 4) == PLUMB_OK);
    const double slope[] = {0.25, 0, -0.5, 0.25};
    CHECK_NEAR(value, (1 + 7 - 3) / 4.0, 1e-14);
    for (int i = 0; i < 4; i++) {
        CHECK_NEAR(d[i], slope[i], 1e-14);
    }
    /* a target of probability 0 costs nothing, whatever was predicted */
    plumb_t q = f64(b.g, PLUMB_SHAPE(2), (const double[]){-INFINITY, -1}), t = f64(b.g, PLUMB_SHAPE(2), (const double[]){0, 1});
    const plumb_loss_options sum = {.size = sizeof(sum), .reduce = PLUMB_REDUCE_SUM};
    CHECK(run(&b, plumb_kl_divergence(b.g, q, t, &sum), q, &value, d, 2) == PLUMB_OK);
    CHECK(value == 1 && d[0] == 0 && d[1] == -1);
    /* 2 x 2 picture 0 1 / 3 7: right 1 and 4, down 3 and 6 */
    plumb_t x = f64(b.g, PLUMB_SHAPE(1, 1, 2, 2), (const double[]){0, 1, 3, 7});
    plumb_t variation = plumb_sum(b.g, plumb_total_variation(b.g, x, true), NULL, 0, false);
    CHECK(run(&b, variation, x, &value, d, 4) == PLUMB_OK);
    CHECK_NEAR(value, sqrt(10) + 4 + 6, 1e-14);
    plumb_t flat = plumb_full_like(b.g, x, 2);
    CHECK(run(&b, plumb_sum(b.g, plumb_total_variation(b.g, flat, true), NULL, 0, false), flat, &value, d, 4) == PLUMB_OK);
    CHECK(value == 0 && d[0] == 0 && d[3] == 0);
    plumb_close(b.context);
}

PLUMB_TEST(losses, shapes_that_do_not_fit)
{
    for (int i = 0; i < 10; i++) {
        struct bench b = open_bench();
        REQUIRE(b.g);
        plumb_t x = f64(b.g, PLUMB_SHAPE(2, 3, 2), logs), flat = f64(b.g, PLUMB_SHAPE(4, 3), logs);
        plumb_t labels = plumb_full(b.g, PLUMB_I32, PLUMB_SHAPE(2, 3), 0);
        plumb_t made = i == 0   ? plumb_hinge(b.g, x, flat, NULL)
                       : i == 1 ? plumb_triplet(b.g, flat, flat, x, NULL)
                       : i == 2 ? plumb_contrastive(b.g, flat, flat, flat, NULL)
                       : i == 3 ? plumb_gram_matrix(b.g, x)
                       : i == 4 ? plumb_cosine_embedding(b.g, flat, flat, flat, NULL)
                       : i == 5 ? plumb_triplet_hard(b.g, flat, flat, NULL)
                       : i == 6 ? plumb_total_variation(b.g, flat, false)
                       : i == 7 ? plumb_nll(b.g, x, labels, NULL)
                       : i == 8 ? plumb_triplet_semi_hard(b.g, flat, flat, NULL)
                                : plumb_pairwise_distance(b.g, x, flat, false);
        CHECK(made == PLUMB_NONE && plumb_graph_status(b.g) == PLUMB_BAD_INPUT);
        plumb_close(b.context);
    }
}
