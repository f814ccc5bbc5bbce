/* See probe.h. */
#include "probe.h"

#include "op/op.h"

#include <math.h>
#include <stdio.h>

struct attempt {
    struct probe *probe;
    plumb_program *program;
    struct probe_result *result;
};

static bool complain(struct probe_result *result, const char *format, ...) PLUMB_PRINTF(2, 3);
static bool complain(struct probe_result *result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(result->why, sizeof(result->why), format, args);
    va_end(args);
    return false;
}

static bool loss_with(struct attempt *t, const char *name, double *values, int64_t count, int64_t index, double offset,
                      double *loss)
{
    double old = values[index];
    values[index] = old + offset;
    bool good = plumb_state_set(t->probe->state, name, values, (size_t)count * sizeof(double)) == PLUMB_OK &&
                plumb_run(t->program) == PLUMB_OK && plumb_fetch_number(t->program, t->probe->loss, loss) == PLUMB_OK;
    values[index] = old;
    return good || complain(t->result, "%s", plumb_message(t->probe->context));
}

static bool five_points(struct attempt *t, const char *name, double *values, int64_t count, int64_t index, double h,
                        double *quotient)
{
    static const double at[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    double sum = 0, loss = 0;
    for (int i = 0; i < 4; i++) {
        if (!loss_with(t, name, values, count, index, at[i] * h, &loss)) {
            return false;
        }
        sum += weight[i] * loss;
    }
    *quotient = sum / (12 * h);
    return true;
}

static bool two_points(struct attempt *t, const char *name, double *values, int64_t count, int64_t index, double h,
                       double *quotient)
{
    double low = 0, high = 0;
    if (!loss_with(t, name, values, count, index, -h, &low) || !loss_with(t, name, values, count, index, h, &high)) {
        return false;
    }
    *quotient = (high - low) / (2 * h);
    return true;
}

static double largest_of(const double *values, int64_t count)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = !(fabs(values[i]) <= largest) ? fabs(values[i]) : largest;
    }
    return largest;
}

static int64_t place_of(const double *values, int64_t count, double largest)
{
    int64_t i = 0;
    while (i < count - 1 && fabs(values[i]) != largest) {
        i++;
    }
    return i;
}

static double ratio(double difference_2, double a_2, double n_2)
{
    return difference_2 == 0 ? 0 : sqrt(difference_2) / (sqrt(a_2) + sqrt(n_2));
}

/* The error of one element, at h = 1e-3; at an eighth of it, twice, where the function bends too much for that. What
 * the rounding of the losses alone can do to the quotient is not held against the claim. */
static bool element_error(struct attempt *t, const char *name, double *values, int64_t count, int64_t i, double claim,
                          double floor, double *quotient, double *error)
{
    double h = 1e-3 * fmax(1, fabs(values[i])), loss = 0;
    if (!loss_with(t, name, values, count, i, 0, &loss)) {
        return false;
    }
    for (int attempt = 0; attempt < 3; attempt++) {
        if (!five_points(t, name, values, count, i, h, quotient)) {
            return false;
        }
        double size = fmax(fmax(fabs(claim), fabs(*quotient)), floor), noise = 8 * 0x1p-53 * fabs(loss) / h;
        *error = fabs(claim - *quotient) <= noise ? 0 : fabs(claim - *quotient) / size;
        if (*error <= PROBE_TOLERANCE) {
            break;
        }
        h /= 8;
    }
    return true;
}

/* All elements of one variable, or the largest and others by lot. */
static bool probe_variable(struct attempt *t, int which, const char *name, double *values, const double *claim,
                           int64_t count)
{
    struct probe_result *result = t->result;
    double d_2 = 0, a_2 = 0, n_2 = 0, cd_2 = 0, cn_2 = 0, worst = 0, q = 0, c = 0, error = 0;
    double largest = largest_of(claim, count);
    bool vanishes = t->probe->may_vanish[which] && largest <= 1e-9;
    double floor = vanishes ? 1 : largest;
    struct dice dice = {(uint64_t)count};
    int64_t draws = count > PROBE_ELEMENTS ? PROBE_ELEMENTS : count;
    for (int64_t k = 0; k < draws; k++) {
        int64_t i = draws == count ? k : k == 0 ? place_of(claim, count, largest) : (int64_t)(dice_next(&dice) % (uint64_t)count);
        if (!element_error(t, name, values, count, i, claim[i], floor, &q, &error) ||
            !two_points(t, name, values, count, i, 1e-7, &c)) {
            return false;
        }
        if (!(error <= PROBE_TOLERANCE)) {
            return complain(result, "%s[%lld]: claimed %.12g, quotient %.12g, error %.2g", name, (long long)i, claim[i],
                            q, error);
        }
        worst = fmax(worst, error);
        d_2 += (claim[i] - q) * (claim[i] - q);
        a_2 += claim[i] * claim[i];
        n_2 += q * q;
        cd_2 += (claim[i] - c) * (claim[i] - c);
        cn_2 += c * c;
        result->elements++;
    }
    if (vanishes) {
        return true;
    }
    if (!(sqrt(a_2) + sqrt(n_2) >= 1e-6)) {
        return complain(result, "%s: the gradient is zero, which proves nothing (declare it, or move the case)", name);
    }
    result->worst = fmax(result->worst, worst);
    result->normed = fmax(result->normed, ratio(d_2, a_2, n_2));
    result->course = fmax(result->course, ratio(cd_2, a_2, cn_2));
    if (!(ratio(d_2, a_2, n_2) <= PROBE_TOLERANCE)) {
        return complain(result, "%s: normed error %.2g", name, ratio(d_2, a_2, n_2));
    }
    return true;
}

/* The claims, computed once. */
static bool compute_claims(struct probe *probe, struct probe_result *result, double **claim)
{
    plumb_t outputs[CASE_MAX_IN];
    int n = 0;
    for (int i = 0; i < probe->n; i++) {
        if (probe->claim[i] != PLUMB_NO_GRADIENT) {
            outputs[n++] = probe->claim[i];
        }
    }
    plumb_compile_options options = {.size = sizeof(options), .outputs = outputs, .n_outputs = n, .training = true};
    plumb_program *program = n > 0 ? plumb_compile(probe->graph, probe->state, &options) : NULL;
    bool good = n == 0 || (program && plumb_run(program) == PLUMB_OK);
    for (int i = 0; good && i < probe->n; i++) {
        if (probe->claim[i] != PLUMB_NO_GRADIENT) {
            plumb_shape shape = plumb_shape_of(probe->graph, probe->variable[i]);
            size_t count = (size_t)plumb_shape_count(&shape);
            claim[i] = test_alloc(count * sizeof(double));
            good = plumb_fetch(program, probe->claim[i], claim[i], count * sizeof(double)) == PLUMB_OK;
        }
    }
    plumb_program_free(program);
    return good || complain(result, "%s", plumb_message(probe->context));
}

static bool probe_all(struct attempt *t, double **claim)
{
    struct probe *probe = t->probe;
    for (int i = 0; i < probe->n; i++) {
        const char *name = plumb_name_of(probe->graph, probe->variable[i]);
        plumb_shape shape = plumb_shape_of(probe->graph, probe->variable[i]);
        int64_t count = plumb_shape_count(&shape);
        if (!claim[i] || count == 0) {
            continue;
        }
        size_t bytes = (size_t)count * sizeof(double);
        double *values = test_alloc(bytes);
        bool good = plumb_state_get(probe->state, name, values, bytes) == PLUMB_OK &&
                    probe_variable(t, i, name, values, claim[i], count) &&
                    plumb_state_set(probe->state, name, values, bytes) == PLUMB_OK;
        free(values);
        if (!good) {
            return t->result->why[0] ? false : complain(t->result, "%s", plumb_message(probe->context));
        }
    }
    return true;
}

bool probe_run(struct probe *probe, struct probe_result *result)
{
    double *claim[CASE_MAX_IN] = {NULL};
    memset(result, 0, sizeof(*result));
    plumb_compile_options options = {.size = sizeof(options), .outputs = &probe->loss, .n_outputs = 1, .training = true};
    struct attempt t = {probe, plumb_compile(probe->graph, probe->state, &options), result};
    bool good = t.program ? compute_claims(probe, result, claim)
                          : complain(result, "%s", plumb_message(probe->context));
    good = good && probe_all(&t, claim);
    plumb_program_free(t.program);
    for (int i = 0; i < CASE_MAX_IN; i++) {
        free(claim[i]);
    }
    plumb_clear_error(probe->context);
    return good;
}
