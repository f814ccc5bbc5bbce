/* Is the gradient check able to find mistakes? Gradients of batch normalisation and GELU are written out by hand here,
 * rightly once and with a typical mistake each; the check must accept the right ones and find every mistake. The
 * mistakes are those that the usual tolerances (1e-5 absolute, 1e-3 relative) let pass. */
#include "gradcheck.h"
#include "probe.h"

#include "op/op.h"

#include <math.h>
#include <stdio.h>

enum mistake {
    NO_MISTAKE,
    EPSILON_OMITTED,   /* in the inverse deviation of the backward pass */
    UNBIASED_VARIANCE, /* m - 1 instead of m there */
    ONE_TOO_FEW,       /* m - 1 in the mean of dy * xhat alone */
    FLOAT_ROUNDING,    /* a detour through f32 */
    TANH_GELU,         /* the derivative of the tanh approximation for the exact GELU */
    SIGN_FLIPPED,
    SHIFT_FORGOTTEN,   /* the mean of dy is not subtracted */
    TRANSPOSED_WEIGHT, /* dX = dZ W instead of dZ W^T */
    MEAN_FOR_SUM,      /* a bias gradient averaged over the batch */
    MISTAKES
};
static const char *const mistake_name[MISTAKES] = {
    "none", "epsilon omitted", "unbiased variance", "m - 1 in one term", "rounded to f32", "tanh-GELU for GELU",
    "sign flipped", "mean of dy forgotten", "weight transposed", "mean for sum"};

enum { BATCH = 24, UNITS = 4, ROWS = BATCH * UNITS };
static const double epsilon = 1e-5;

static plumb_t weights(plumb_graph *g, uint64_t seed)
{
    struct dice dice = {seed};
    double data[ROWS];
    for (int i = 0; i < ROWS; i++) {
        data[i] = 2 * dice_unit(&dice) - 1;
    }
    return plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(BATCH, UNITS), data);
}

static plumb_t mean_of_batch(plumb_graph *g, plumb_t x)
{
    return plumb_mean(g, x, PLUMB_AXES(0), true);
}

/* y = (x - mean) / sqrt(var + epsilon), loss = sum(w * y); the claim is dx with the mistake in it. */
static void build_norm(struct probe *probe, enum mistake mistake)
{
    plumb_graph *g = probe->graph;
    plumb_t x = plumb_variable(g, "x", PLUMB_F64, PLUMB_SHAPE(BATCH, UNITS), NULL), dy = weights(g, 7);
    plumb_t centred = plumb_sub(g, x, mean_of_batch(g, x));
    plumb_t variance = mean_of_batch(g, plumb_square(g, centred));
    plumb_t inverse = plumb_rsqrt(g, plumb_affine(g, variance, 1, epsilon));
    probe->loss = plumb_sum(g, plumb_mul(g, dy, plumb_mul(g, centred, inverse)), NULL, 0, false);

    plumb_t used = variance;
    if (mistake == UNBIASED_VARIANCE) {
        used = plumb_affine(g, variance, (double)BATCH / (BATCH - 1), 0);
    }
    plumb_t back = plumb_rsqrt(g, plumb_affine(g, used, 1, mistake == EPSILON_OMITTED ? 0 : epsilon));
    plumb_t xhat = plumb_mul(g, centred, back);
    plumb_t projection = mean_of_batch(g, plumb_mul(g, dy, xhat));
    if (mistake == ONE_TOO_FEW) {
        projection = plumb_affine(g, projection, (double)BATCH / (BATCH - 1), 0);
    }
    plumb_t rest = mistake == SHIFT_FORGOTTEN ? dy : plumb_sub(g, dy, mean_of_batch(g, dy));
    plumb_t dx = plumb_mul(g, plumb_sub(g, rest, plumb_mul(g, xhat, projection)), back);
    if (mistake == FLOAT_ROUNDING) {
        dx = plumb_cast(g, plumb_cast(g, dx, PLUMB_F32), PLUMB_F64);
    }
    if (mistake == SIGN_FLIPPED) {
        dx = plumb_neg(g, dx);
    }
    probe->n = 1;
    probe->variable[0] = x;
    probe->claim[0] = dx;
}

/* loss = sum(w * gelu(x)); GELU' = Phi(x) + x phi(x), or what belongs to 0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3))). */
static void build_gelu(struct probe *probe, enum mistake mistake)
{
    plumb_graph *g = probe->graph;
    plumb_t x = plumb_variable(g, "x", PLUMB_F64, PLUMB_SHAPE(BATCH, UNITS), NULL), dy = weights(g, 8), slope;
    probe->loss = plumb_sum(g, plumb_mul(g, dy, plumb_gelu(g, x)), NULL, 0, false);
    if (mistake == TANH_GELU) {
        double c = sqrt(2 / 3.14159265358979323846);
        plumb_t inner = plumb_affine(g, plumb_add(g, x, plumb_affine(g, plumb_mul(g, x, plumb_square(g, x)), 0.044715, 0)), c, 0);
        plumb_t t = plumb_tanh(g, inner);
        plumb_t dinner = plumb_affine(g, plumb_square(g, x), 3 * 0.044715 * c, c);
        plumb_t dt = plumb_mul(g, plumb_affine(g, plumb_square(g, t), -1, 1), dinner);
        slope = plumb_add(g, plumb_affine(g, t, 0.5, 0.5), plumb_affine(g, plumb_mul(g, x, dt), 0.5, 0));
    } else {
        plumb_t phi = plumb_exp(g, plumb_affine(g, plumb_square(g, x), -0.5, -0.5 * log(2 * 3.14159265358979323846)));
        plumb_t Phi = plumb_affine(g, plumb_erf(g, plumb_affine(g, x, sqrt(0.5), 0)), 0.5, 0.5);
        slope = plumb_add(g, Phi, plumb_mul(g, x, phi));
    }
    probe->n = 1;
    probe->variable[0] = x;
    probe->claim[0] = plumb_mul(g, dy, slope);
}

/* loss = sum(w * tanh(x W + b)) with a square W, so that a transposed one fits. */
static void build_dense(struct probe *probe, enum mistake mistake)
{
    plumb_graph *g = probe->graph;
    plumb_t x = plumb_variable(g, "x", PLUMB_F64, PLUMB_SHAPE(BATCH, UNITS), NULL), dy = weights(g, 9);
    plumb_t w = plumb_variable(g, "w", PLUMB_F64, PLUMB_SHAPE(UNITS, UNITS), NULL);
    plumb_t b = plumb_variable(g, "b", PLUMB_F64, PLUMB_SHAPE(UNITS), NULL);
    plumb_t a = plumb_tanh(g, plumb_add(g, plumb_matmul(g, x, w, false, false), b));
    probe->loss = plumb_sum(g, plumb_mul(g, dy, a), NULL, 0, false);
    plumb_t dz = plumb_mul(g, dy, plumb_affine(g, plumb_square(g, a), -1, 1));
    probe->n = 3;
    probe->variable[0] = x;
    probe->variable[1] = w;
    probe->variable[2] = b;
    probe->claim[0] = plumb_matmul(g, dz, w, false, mistake != TRANSPOSED_WEIGHT);
    probe->claim[1] = plumb_matmul(g, x, dz, true, false);
    probe->claim[2] = mistake == MEAN_FOR_SUM ? plumb_mean(g, dz, PLUMB_AXES(0), false)
                                              : plumb_sum(g, dz, PLUMB_AXES(0), false);
}

static void fill(plumb_state *state)
{
    struct dice dice = {5};
    double data[ROWS];
    for (int i = 0; i < plumb_state_count(state); i++) {
        plumb_shape shape = plumb_state_shape(state, plumb_state_name(state, i));
        int64_t count = plumb_shape_count(&shape);
        for (int64_t k = 0; k < count; k++) {
            data[k] = 4 * dice_unit(&dice) - 2;
        }
        if (plumb_state_set(state, plumb_state_name(state, i), data, (size_t)count * sizeof(double)) != PLUMB_OK) {
            abort();
        }
    }
}

typedef void (*builder)(struct probe *probe, enum mistake mistake);

static void check_one(struct gradcheck_count *count, plumb_context *context, const char *what, builder build,
                      enum mistake mistake)
{
    struct probe_result result;
    struct probe probe = {.context = context, .graph = plumb_graph_new(context, "planted")};
    build(&probe, mistake);
    probe.state = plumb_state_new(probe.graph);
    if (!probe.state) {
        printf("FAIL planted %s: %s\n", what, plumb_message(context));
        count->failed++;
        plumb_clear_error(context);
        plumb_graph_free(probe.graph);
        return;
    }
    fill(probe.state);
    bool accepted = probe_run(&probe, &result), right = mistake == NO_MISTAKE ? accepted : !accepted;
    bool judged = accepted || strstr(result.why, "error"); /* refused for its figures, not for another failure */
    if (right && judged) {
        count->passed++;
    } else {
        printf("FAIL planted %s, %s: %s %s\n", what, mistake_name[mistake], accepted ? "not found" : "refused", result.why);
        count->failed++;
    }
    plumb_state_free(probe.state);
    plumb_graph_free(probe.graph);
}

void check_planted(struct gradcheck_count *count)
{
    static const struct {
        const char *what;
        builder build;
        enum mistake mistake;
    } row[] = {
        {"batch norm", build_norm, NO_MISTAKE},      {"batch norm", build_norm, EPSILON_OMITTED},
        {"batch norm", build_norm, UNBIASED_VARIANCE}, {"batch norm", build_norm, ONE_TOO_FEW},
        {"batch norm", build_norm, FLOAT_ROUNDING},  {"batch norm", build_norm, SIGN_FLIPPED},
        {"batch norm", build_norm, SHIFT_FORGOTTEN}, {"GELU", build_gelu, NO_MISTAKE},
        {"GELU", build_gelu, TANH_GELU},             {"dense", build_dense, NO_MISTAKE},
        {"dense", build_dense, TRANSPOSED_WEIGHT},   {"dense", build_dense, MEAN_FOR_SUM},
    };
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1});
    int64_t before = count->passed;
    if (!context) {
        count->failed++;
        return;
    }
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        check_one(count, context, row[i].what, row[i].build, row[i].mistake);
    }
    plumb_close(context);
    printf("planted: %lld of %zu right gradients accepted or mistakes found\n", (long long)(count->passed - before),
           sizeof(row) / sizeof(row[0]));
}
