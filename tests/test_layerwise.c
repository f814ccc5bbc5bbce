/* Optimisers that look at whole parameters (LAMB, Muon), averaged weights, and penalties over the size of a batch: each against
 * loops in double written here from the formulas. The model is W (R, C) and b (3) with the loss
 * sum(k (W - t)^2) / 2 + sum(sin(b)), whose gradients are k (W - t) and cos(b). */
#include "check.h"

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

enum { MOST = 15, B = 3, STEPS = 12 };

struct model {
    int rows, columns;
    double p[MOST + B], k[MOST], t[MOST];
};

static struct model model_of(int rows, int columns)
{
    struct model m = {.rows = rows, .columns = columns};
    for (int i = 0; i < rows * columns; i++) {
        m.p[i] = 0.3 * i - 1;
        m.k[i] = 0.5 + i % 4;
        m.t[i] = i % 3 - 0.7;
    }
    for (int i = 0; i < B; i++) {
        m.p[rows * columns + i] = 0.4 * i;
    }
    return m;
}

struct run {
    plumb_context *context;
    plumb_state *state;
    plumb_program *program;
    plumb_t x;
};

/* `four`: W is of rank 4, as filters are. The batch is of no effect on the loss. */
static struct run begin(const struct model *m, const plumb_optimizer *o, bool four)
{
    int n = m->rows * m->columns;
    struct run r = {
        .context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 2, .seed = 5})};
    plumb_graph *g = plumb_graph_new(r.context, "layerwise");
    plumb_shape shape = four ? PLUMB_SHAPE(m->rows, 1, m->columns, 1) : PLUMB_SHAPE(m->rows, m->columns);
    const plumb_variable_options zero = {.size = sizeof(zero), .init = {.rule = PLUMB_INIT_CONSTANT}};
    plumb_t w = plumb_variable(g, "w", PLUMB_F64, shape, &zero), b = plumb_variable(g, "b", PLUMB_F64, PLUMB_SHAPE(B), &zero);
    plumb_t error = plumb_sub(g, w, plumb_constant(g, PLUMB_F64, shape, m->t));
    plumb_t square = plumb_mul(g, plumb_constant(g, PLUMB_F64, shape, m->k), plumb_square(g, error));
    plumb_t loss = plumb_add(g, plumb_affine(g, plumb_sum(g, square, NULL, 0, false), 0.5, 0),
                             plumb_sum(g, plumb_sin(g, b), NULL, 0, false));
    r.x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(PLUMB_BATCH));
    loss = plumb_add(g, loss, plumb_affine(g, plumb_sum(g, r.x, NULL, 0, false), 0, 0));
    r.state = plumb_state_new(g);
    r.program = plumb_compile_training(g, r.state, loss, o, NULL, 0);
    CHECK_MSG(r.program != NULL, "%s: %s", o->rule, plumb_message(r.context));
    CHECK(plumb_state_set(r.state, "w", m->p, sizeof(double) * (size_t)n) == PLUMB_OK);
    CHECK(plumb_state_set(r.state, "b", m->p + n, sizeof(double) * B) == PLUMB_OK);
    return r;
}

static void step(struct run *r, int64_t batch)
{
    static const double zeros[64];
    CHECK(plumb_feed(r->program, r->x, zeros, sizeof(double) * (size_t)batch) == PLUMB_OK);
    CHECK_MSG(plumb_run(r->program) == PLUMB_OK, "%s", plumb_message(r->context));
}

static void check_parameters(struct run *r, const struct model *m, const double *want, const char *what)
{
    double is[MOST + B];
    int n = m->rows * m->columns;
    CHECK(plumb_state_get(r->state, "w", is, sizeof(double) * (size_t)n) == PLUMB_OK);
    CHECK(plumb_state_get(r->state, "b", is + n, sizeof(double) * B) == PLUMB_OK);
    for (int i = 0; i < n + B; i++) {
        CHECK_MSG(fabs(is[i] - want[i]) <= 1e-12 * (1 + fabs(want[i])), "%s: parameter %d is %.15g, not %.15g", what, i,
                  is[i], want[i]);
    }
}

static void gradients(const struct model *m, const double *p, double *g)
{
    int n = m->rows * m->columns;
    for (int i = 0; i < n + B; i++) {
        g[i] = i < n ? m->k[i] * (p[i] - m->t[i]) : cos(p[i]);
    }
}

static double norm(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    return sqrt(sum);
}

/* Adam's direction, of moments a and s. */
static double direction(double g, double *a, double *s, double beta1, double beta2, double epsilon, int t)
{
    *a = beta1 * *a + (1 - beta1) * g;
    *s = beta2 * *s + (1 - beta2) * g * g;
    return *a / (1 - pow(beta1, t)) / (sqrt(*s / (1 - pow(beta2, t))) + epsilon);
}

PLUMB_TEST(layerwise, lamb_trace)
{
    for (int form = 0; form < 3; form++) { /* as it is; with l2; from zeros, whose ratio is 1 */
        struct model m = model_of(2, 5);
        int n = 10;
        double p[MOST + B], g[MOST + B], u[MOST + B], a[MOST + B] = {0}, s[MOST + B] = {0}, l2 = form == 1 ? 0.3 : 0;
        memset(m.p, 0, form == 2 ? sizeof(double) * 10 : 0);
        memcpy(p, m.p, sizeof(p));
        struct run r = begin(&m, PLUMB_LAMB(.lr = 0.05, .weight_decay = 0.1, .l2 = l2), form == 1);
        for (int t = 1; t <= STEPS && check_failures() == 0; t++) {
            gradients(&m, p, g);
            for (int i = 0; i < n + B; i++) {
                u[i] = direction(g[i] + (i < n ? l2 * p[i] : 0), &a[i], &s[i], 0.9, 0.999, 1e-6, t) + (i < n ? 0.1 * p[i] : 0);
            }
            double ratio = norm(p, n) > 0 ? norm(p, n) / norm(u, n) : 1;
            for (int i = 0; i < n + B; i++) {
                p[i] -= 0.05 * (i < n ? ratio : 1) * u[i];
            }
            step(&r, 2);
            check_parameters(&r, &m, p, "lamb");
        }
        plumb_close(r.context);
    }
}

/* x (rows, columns) becomes what five steps make of it; products written out on the left side only. */
static void newton_schulz(double *x, int rows, int columns)
{
    double size = norm(x, rows * columns) + 1e-7;
    for (int i = 0; i < rows * columns; i++) {
        x[i] /= size;
    }
    for (int k = 0; k < 5; k++) {
        double a[MOST][MOST], y[2][MOST];
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < rows; j++) {
                a[i][j] = 0;
                for (int c = 0; c < columns; c++) {
                    a[i][j] += x[i * columns + c] * x[j * columns + c];
                }
            }
        }
        const double *from = x; /* y[0] = A X, y[1] = A A X */
        for (int power = 0; power < 2; power++) {
            for (int i = 0; i < rows; i++) {
                for (int c = 0; c < columns; c++) {
                    y[power][i * columns + c] = 0;
                    for (int j = 0; j < rows; j++) {
                        y[power][i * columns + c] += a[i][j] * from[j * columns + c];
                    }
                }
            }
            from = y[0];
        }
        for (int i = 0; i < rows * columns; i++) {
            x[i] = 3.4445 * x[i] - 4.7750 * y[0][i] + 2.0315 * y[1][i];
        }
    }
}

PLUMB_TEST(layerwise, muon_trace)
{
    static const int sizes[][2] = {{3, 5}, {5, 3}, {3, 3}, {1, 4}};
    for (int form = 0; form < 4; form++) {
        struct model m = model_of(sizes[form][0], sizes[form][1]);
        int n = m.rows * m.columns;
        double p[MOST + B], g[MOST + B], u[MOST], v[MOST] = {0}, a[B] = {0}, s[B] = {0};
        double decay = form % 2 ? 0.05 : 0, stretch = sqrt(fmax(1, (double)m.rows / m.columns));
        memcpy(p, m.p, sizeof(p));
        struct run r = begin(&m, PLUMB_MUON(.lr = 0.04, .weight_decay = decay, .lr_others = 0.01), form == 1);
        for (int t = 1; t <= STEPS && check_failures() == 0; t++) {
            gradients(&m, p, g);
            for (int i = 0; i < n; i++) {
                v[i] = 0.95 * v[i] + 0.05 * g[i];
                u[i] = 0.05 * g[i] + 0.95 * v[i];
            }
            newton_schulz(u, m.rows, m.columns);
            for (int i = 0; i < n; i++) {
                p[i] -= 0.04 * (stretch * u[i] + decay * p[i]);
            }
            for (int i = 0; i < B; i++) {
                p[n + i] -= 0.01 * direction(g[n + i], &a[i], &s[i], 0.9, 0.95, 1e-8, t);
            }
            step(&r, 2);
            check_parameters(&r, &m, p, "muon");
        }
        plumb_close(r.context);
    }
}

PLUMB_TEST(layerwise, averages_of_weights)
{
    static const double betas[] = {0.8, PLUMB_POLYAK};
    static const char *const rules[] = {"sgd", "lamb", "muon"};
    for (int form = 0; form < 6; form++) {
        struct model m = model_of(2, 3);
        double beta = betas[form % 2], sum[6] = {0}, weights = 0, w[6], average[6];
        const plumb_optimizer o = {.size = sizeof(o), .rule = rules[form / 2], .name = "mine", .lr = 0.05, .average = beta};
        struct run r = begin(&m, &o, false);
        for (int t = 1; t <= STEPS && check_failures() == 0; t++) {
            step(&r, 1);
            CHECK(plumb_state_get(r.state, "w", w, sizeof(w)) == PLUMB_OK);
            CHECK(plumb_state_get(r.state, "mine/average:w", average, sizeof(average)) == PLUMB_OK);
            double keep = beta < 1 ? beta : 1, add = beta < 1 ? 1 - beta : 1;
            weights = keep * weights + add;
            for (int i = 0; i < 6; i++) {
                sum[i] = keep * sum[i] + add * w[i];
                CHECK_NEAR(average[i], sum[i] / weights, 1e-12);
            }
        }
        double swapped[6];
        CHECK(plumb_swap_average(r.state, "mine") == PLUMB_OK);
        CHECK(plumb_state_get(r.state, "w", swapped, sizeof(w)) == PLUMB_OK && memcmp(swapped, average, sizeof(w)) == 0);
        CHECK(plumb_swap_average(r.state, "mine") == PLUMB_OK);
        CHECK(plumb_state_get(r.state, "w", swapped, sizeof(w)) == PLUMB_OK && memcmp(swapped, w, sizeof(w)) == 0);
        CHECK(plumb_swap_average(r.state, "other") == PLUMB_BAD_INPUT);
        plumb_clear_error(r.context);
        plumb_close(r.context);
    }
    struct model m = model_of(2, 3);
    struct run r = begin(&m, PLUMB_SGD(.lr = 0.1), false);
    CHECK(plumb_swap_average(r.state, "sgd") == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(r.context), "keeps no average");
    plumb_close(r.context);
}

/* lambda / m: the same weights decay less in a larger batch; biases not at all. */
PLUMB_TEST(layerwise, penalties_over_the_batch)
{
    struct model m = model_of(2, 3);
    m.p[1] = 0; /* its sign is 0 */
    double p[MOST + B], g[MOST + B];
    memcpy(p, m.p, sizeof(p));
    struct run r = begin(&m, PLUMB_SGD(.lr = 0.1, .l2 = 0.6, .l1 = 0.2, .clip_norm = 1.5, .per_example = true), false);
    for (int t = 0; t < STEPS && check_failures() == 0; t++) {
        int batch = t % 3 * 5 + 1;
        gradients(&m, p, g);
        double scale = fmin(1, 1.5 / norm(g, 6 + B));
        for (int i = 0; i < 6 + B; i++) {
            double sign = p[i] > 0 ? 1 : p[i] < 0 ? -1 : 0, penalty = (0.6 * p[i] + 0.2 * sign) / batch;
            p[i] -= 0.1 * (scale * g[i] + (i < 6 ? penalty : 0));
        }
        step(&r, batch);
        check_parameters(&r, &m, p, "lambda / m");
    }
    plumb_close(r.context);
}
