/* Reductions, sorting and random draws against values worked out by hand or known from PyTorch 1.13, and with a batch whose
 * size is not known while the gradient is built. */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/program.h"

struct scene {
    plumb_context *context;
    plumb_graph *g;
    plumb_state *state;
};

static struct scene begin(uint64_t seed)
{
    struct scene s = {
        plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = seed}), NULL,
        NULL};
    s.g = plumb_graph_new(s.context, "scene");
    return s;
}

static bool value_of(struct scene *s, plumb_t x, void *to, size_t bytes)
{
    s->state = s->state ? s->state : plumb_state_new(s->g);
    bool good = plumb_eval(s->g, s->state, NULL, 0, x, to, bytes) == PLUMB_OK;
    CHECK_MSG(good, "%s", plumb_message(s->context));
    return good;
}

static void check_values(struct scene *s, plumb_t x, int n, const double *want, const char *what)
{
    double is[32] = {0};
    if (!value_of(s, x, is, sizeof(double) * (size_t)n)) {
        return;
    }
    for (int i = 0; i < n; i++) {
        bool same = isnan(want[i]) ? isnan(is[i]) : is[i] == want[i] || fabs(is[i] - want[i]) <= 1e-14 * fabs(want[i]);
        CHECK_MSG(same, "%s: element %d is %.17g, not %.17g", what, i, is[i], want[i]);
    }
}

#define VALUES(s, x, what, ...)                                                                                       \
    check_values(s, x, (int)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)), (const double[]){__VA_ARGS__}, what)

static plumb_t row(struct scene *s, int n, const double *values)
{
    return plumb_constant(s->g, PLUMB_F64, PLUMB_SHAPE(n), values);
}

/* The gradient of the sum of y, by x. */
static plumb_t slope(struct scene *s, plumb_t y, plumb_t x)
{
    plumb_t d = PLUMB_NONE;
    CHECK(plumb_gradients(s->g, plumb_sum(s->g, y, NULL, 0, false), &x, 1, &d) == PLUMB_OK);
    return d;
}

PLUMB_TEST(statistics, known_values)
{
    struct scene s = begin(1);
    plumb_graph *g = s.g;
    plumb_t x = row(&s, 5, (const double[]){2, 4, 4, 5, 10}), down = row(&s, 3, (const double[]){-INFINITY, -INFINITY, -INFINITY});
    VALUES(&s, plumb_variance(g, x, NULL, 0, 0, false), "biased", 7.2);
    VALUES(&s, plumb_variance(g, x, NULL, 0, 1, true), "unbiased", 9);
    VALUES(&s, plumb_deviation(g, x, NULL, 0, 1, false), "deviation", 3);
    VALUES(&s, plumb_norm(g, row(&s, 2, (const double[]){3, -4}), 2, NULL, 0, false), "L2", 5);
    VALUES(&s, plumb_norm(g, row(&s, 2, (const double[]){3, -4}), 1, NULL, 0, false), "L1", 7);
    VALUES(&s, plumb_norm(g, row(&s, 2, (const double[]){3, -4}), INFINITY, NULL, 0, false), "largest", 4);
    VALUES(&s, plumb_norm(g, row(&s, 3, (const double[]){3, 0, -4}), 0, NULL, 0, false), "number", 2);
    VALUES(&s, plumb_norm(g, row(&s, 3, (const double[]){1, -2, 2}), 3, NULL, 0, false), "L3", cbrt(17));
    VALUES(&s, plumb_log_sum_exp(g, row(&s, 2, (const double[]){1000, 1000}), NULL, 0, false), "stable", 1000 + log(2));
    VALUES(&s, plumb_log_sum_exp(g, down, NULL, 0, false), "of nothing", -INFINITY);
    VALUES(&s, plumb_cumprod(g, x, 0), "cumprod", 2, 8, 32, 160, 1600);
    VALUES(&s, plumb_cumsum(g, x, 0, true, true), "cumsum", 23, 19, 15, 10, 0);
    plumb_close(s.context);
}

/* Factors of 0 and points where a root or a logarithm has no derivative. */
PLUMB_TEST(statistics, gradients_where_they_are_hard)
{
    struct scene s = begin(1);
    plumb_graph *g = s.g;
    plumb_t two = row(&s, 4, (const double[]){3, 0, 2, 0}), one = row(&s, 3, (const double[]){3, 0, 2}),
            none = row(&s, 3, (const double[]){3, 5, 2}), flat = row(&s, 3, (const double[]){2, 2, 2}),
            zero = row(&s, 2, (const double[]){0, 0}), down = row(&s, 2, (const double[]){-INFINITY, -INFINITY});
    VALUES(&s, slope(&s, plumb_prod(g, two, NULL, 0, false), two), "two zeros", 0, 0, 0, 0);
    VALUES(&s, slope(&s, plumb_prod(g, one, NULL, 0, false), one), "a zero", 0, 6, 0);
    VALUES(&s, slope(&s, plumb_prod(g, none, NULL, 0, false), none), "no zero", 10, 6, 15);
    VALUES(&s, slope(&s, plumb_cumprod(g, one, 0), one), "cumprod", 1, 9, 0);
    VALUES(&s, slope(&s, plumb_deviation(g, flat, NULL, 0, 0, false), flat), "no spread", 0, 0, 0);
    VALUES(&s, slope(&s, plumb_norm(g, zero, 2, NULL, 0, false), zero), "no length", 0, 0);
    VALUES(&s, slope(&s, plumb_log_sum_exp(g, down, NULL, 0, false), down), "nothing", 0, 0);
    plumb_close(s.context);
}

/* As torch.sort(stable=True) and torch.topk order them. */
PLUMB_TEST(statistics, order_of_odd_numbers)
{
    struct scene s = begin(1);
    plumb_t x = row(&s, 7, (const double[]){2, NAN, -0.0, 2, 0, -INFINITY, NAN});
    const int64_t up[7] = {5, 2, 4, 0, 3, 1, 6}, down[7] = {1, 6, 0, 3, 2, 4, 5};
    int64_t is[7];
    CHECK(value_of(&s, plumb_argsort(s.g, x, 0, false), is, sizeof(is)) && memcmp(is, up, sizeof(is)) == 0);
    CHECK(value_of(&s, plumb_argsort(s.g, x, 0, true), is, sizeof(is)) && memcmp(is, down, sizeof(is)) == 0);
    plumb_t least = plumb_top_k(s.g, x, 3, 0, true);
    CHECK(value_of(&s, plumb_output(s.g, least, 1), is, 3 * sizeof(*is)) && memcmp(is, up, 3 * sizeof(*is)) == 0);
    VALUES(&s, least, "least", -INFINITY, -0.0, 0);
    plumb_t ties = row(&s, 5, (const double[]){1, 3, 3, NAN, 1});
    const struct { plumb_t x; int64_t want; } places[] = {
        {plumb_argmax(s.g, row(&s, 3, (const double[]){1, 3, 3}), 0, false), 1},
        {plumb_argmax_last(s.g, row(&s, 3, (const double[]){1, 3, 3}), 0, false), 2},
        {plumb_argmin(s.g, row(&s, 3, (const double[]){1, 3, 1}), 0, false), 0},
        {plumb_argmin_last(s.g, row(&s, 3, (const double[]){1, 3, 1}), 0, false), 2},
        {plumb_argmin(s.g, ties, 0, false), 3},
    };
    for (int i = 0; i < 5; i++) {
        CHECK(value_of(&s, places[i].x, is, sizeof(*is)) && is[0] == places[i].want);
    }
    CHECK(plumb_top_k(s.g, x, 8, 0, true) == PLUMB_NONE);
    CHECK_TEXT(plumb_message(s.context), "8 elements asked for");
    plumb_close(s.context);
}

/* sum(variance) of a batch that is bound later; and sorted rows of it. */
PLUMB_TEST(statistics, batches_of_any_size)
{
    struct scene s = begin(1);
    plumb_t x = plumb_input(s.g, "x", PLUMB_F64, PLUMB_SHAPE(PLUMB_BATCH, 2));
    plumb_t d[] = {slope(&s, plumb_variance(s.g, x, PLUMB_AXES(0), 1, false), x),
                   slope(&s, plumb_mul(s.g, plumb_sort(s.g, x, 1, false), row(&s, 2, (const double[]){3, 4})), x),
                   slope(&s, plumb_top_k(s.g, x, 1, 1, false), x)};
    s.state = plumb_state_new(s.g);
    const plumb_compile_options o = {.size = sizeof(o), .outputs = d, .n_outputs = 3, .training = true};
    plumb_program *program = plumb_compile(s.g, s.state, &o);
    CHECK_MSG(program != NULL, "%s", plumb_message(s.context));
    static const double batch[] = {1, 2, 5, 0, 3, 1};
    static const double want[3][6] = {{-2, 1, 2, -1, 0, 0}, {3, 4, 4, 3, 4, 3}, {0, 1, 1, 0, 1, 0}};
    CHECK(program && plumb_feed(program, x, batch, sizeof(batch)) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    for (int k = 0; program && k < 3; k++) {
        double is[6] = {0};
        CHECK(plumb_fetch(program, d[k], is, sizeof(is)) == PLUMB_OK);
        for (int i = 0; i < 6; i++) {
            CHECK_NEAR(is[i], want[k][i], 1e-14);
        }
    }
    plumb_t by_batch = plumb_prod(s.g, x, PLUMB_AXES(0), false), nothing = PLUMB_NONE;
    CHECK(plumb_gradients(s.g, plumb_sum(s.g, by_batch, NULL, 0, false), &x, 1, &nothing) != PLUMB_OK);
    CHECK_TEXT(plumb_message(s.context), "the derivative needs the size of axis 0");
    plumb_close(s.context);
}

PLUMB_TEST(statistics, draws_are_what_they_are_called)
{
    enum { N = 20000 };
    static float coin[N];
    static int32_t dice[N];
    static int64_t order[2][N];
    static bool seen[N];
    for (int run = 0; run < 2; run++) {
        struct scene s = begin(7);
        const plumb_shape shape = PLUMB_SHAPE(N);
        CHECK(value_of(&s, plumb_random_bernoulli(s.g, PLUMB_F32, shape, 0.3), coin, sizeof(coin)));
        CHECK(value_of(&s, plumb_random_integers(s.g, PLUMB_I32, shape, -2, 4), dice, sizeof(dice)));
        CHECK(value_of(&s, plumb_random_permutation(s.g, N), order[run], sizeof(order[run])));
        plumb_close(s.context);
    }
    double heads = 0, sides[6] = {0};
    int in_place = 0;
    for (int i = 0; i < N; i++) {
        CHECK_MSG(coin[i] == 0 || coin[i] == 1, "%g", (double)coin[i]);
        CHECK_MSG(dice[i] >= -2 && dice[i] < 4, "%d", (int)dice[i]);
        heads += (double)coin[i];
        sides[dice[i] + 2]++;
        CHECK_MSG(order[0][i] >= 0 && order[0][i] < N && !seen[order[0][i]], "%lld twice", (long long)order[0][i]);
        seen[order[0][i]] = true;
        in_place += order[0][i] == i;
    }
    /* Five standard deviations. */
    CHECK(fabs(heads - 0.3 * N) <= 5 * sqrt(0.21 * N));
    for (int i = 0; i < 6; i++) {
        CHECK(fabs(sides[i] - N / 6.0) <= 5 * sqrt(N * 5 / 36.0));
    }
    CHECK(in_place <= 10); /* one is to be expected */
    CHECK(memcmp(order[0], order[1], sizeof(order[0])) == 0);
}
