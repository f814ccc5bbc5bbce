/* The public gradient check: difference quotients of the loss against the analytic gradients, element by element and
 * along random directions, and the figures by which it is judged.
 *
 * Where a ReLU or a maximum switches between the points of a quotient, the quotient says nothing about the gradient.
 * Such a step is taken again with a smaller h, and given up (and counted) if that crosses the kink too. Comparisons are
 * written so that a NaN fails. */
#include "train/gradcheck.h"

#include <math.h>
#include <stdio.h>

#define RETRIES 2

/* ---- difference quotients ---- */

static plumb_status put_parameter(struct plumb_checker *c, const struct plumb_check_parameter *p)
{
    return plumb_state_set(c->state, p->name, p->value, (size_t)p->count * sizeof(double));
}

static plumb_status at_offset(struct plumb_checker *c, struct plumb_check_parameter *p, int64_t index, double offset, double *loss,
                              bool *same)
{
    double old = p->value[index];
    p->value[index] = old + offset;
    plumb_status status = put_parameter(c, p);
    p->value[index] = old;
    return status == PLUMB_OK ? plumb_checker_loss(c, loss, same) : status;
}

/* Moves all parameters by h * v, v from `signs`, and back when h is 0. */
static plumb_status along(struct plumb_checker *c, const signed char *signs, double h, double *loss, bool *same)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < c->n_parameters; i++) {
        struct plumb_check_parameter *p = &c->parameter[i];
        double *moved = plumb_alloc(c->context, (size_t)p->count * sizeof(double));
        for (int64_t k = 0; moved && k < p->count; k++) {
            moved[k] = p->value[k] + h * signs[p->first + k];
        }
        status = moved ? plumb_state_set(c->state, p->name, moved, (size_t)p->count * sizeof(double)) : PLUMB_FAILED;
        plumb_free(c->context, moved);
    }
    return status == PLUMB_OK && h != 0 ? plumb_checker_loss(c, loss, same) : status;
}

struct quotient {
    double value, noise; /* noise: what rounding of the losses alone can do */
    bool same;
};

/* The difference quotient of element `index`, or along `signs` when p is NULL. */
static plumb_status take_quotient(struct plumb_checker *c, struct plumb_check_parameter *p, int64_t index, const signed char *signs,
                                  plumb_difference method, double h, struct quotient *q)
{
    static const double at[] = {-1, 1, -2, 2}, weight[2][4] = {{-0.5, 0.5, 0, 0}, {-8. / 12, 8. / 12, 1. / 12, -1. / 12}};
    int points = method == PLUMB_DIFFERENCE_FIVE_POINT ? 4 : 2;
    double sum = 0, largest = 0, loss = 0;
    plumb_status status = PLUMB_OK;
    q->same = true;
    for (int i = 0; status == PLUMB_OK && i < points; i++) {
        status = p ? at_offset(c, p, index, at[i] * h, &loss, &q->same) : along(c, signs, at[i] * h, &loss, &q->same);
        sum += weight[method == PLUMB_DIFFERENCE_FIVE_POINT][i] * loss;
        largest = fmax(largest, fabs(loss));
    }
    q->value = sum / h;
    q->noise = 4 * 0x1p-53 * largest / h;
    return status;
}

/* As take_quotient, with smaller steps while a kink is in the way; q->same tells whether that helped. */
static plumb_status quotient_past_kinks(struct plumb_checker *c, struct plumb_check_parameter *p, int64_t index,
                                        const signed char *signs, double h, struct quotient *q)
{
    plumb_status status = take_quotient(c, p, index, signs, c->options.method, h, q);
    if (status == PLUMB_OK && !q->same) {
        c->report.kinks_retried++;
    }
    for (int i = 0; status == PLUMB_OK && !q->same && i < RETRIES; i++) {
        h /= 16;
        status = take_quotient(c, p, index, signs, c->options.method, h, q);
    }
    if (status == PLUMB_OK && !q->same) {
        c->report.kinks_left++;
    }
    return status;
}

/* ---- figures ---- */

static void count_element(struct plumb_checker *c, const struct plumb_check_parameter *p, int64_t index, const struct quotient *q)
{
    double a = p->gradient[index], difference = fabs(a - q->value);
    double size = fmax(fmax(fabs(a), fabs(q->value)), fmax(p->largest, 1e-6 * c->largest));
    double beyond = difference <= q->noise ? 0 : difference - q->noise;
    double error = beyond == 0 ? 0 : beyond / size;
    c->difference_2 += difference * difference;
    c->analytic_2 += a * a;
    c->numeric_2 += q->value * q->value;
    c->report.checked++;
    if (!(error <= c->report.worst) || c->report.worst_index < 0) {
        if (!isnan(c->report.worst)) {
            c->report.worst = error;
            c->report.worst_index = index;
            c->report.analytic = a;
            c->report.numeric = q->value;
            snprintf(c->report.worst_name, sizeof(c->report.worst_name), "%s", p->name);
        }
    }
}

static plumb_status count_course(struct plumb_checker *c, struct plumb_check_parameter *p, int64_t index)
{
    struct quotient q;
    double a = p->gradient[index];
    plumb_status status = take_quotient(c, p, index, NULL, PLUMB_DIFFERENCE_CENTRAL, 1e-7, &q);
    c->course_2[0] += (a - q.value) * (a - q.value);
    c->course_2[1] += a * a;
    c->course_2[2] += q.value * q.value;
    return status;
}

static plumb_status check_element(struct plumb_checker *c, struct plumb_check_parameter *p, int64_t index)
{
    struct quotient q;
    plumb_status status = quotient_past_kinks(c, p, index, NULL, c->step * fmax(1, fabs(p->value[index])), &q);
    if (status == PLUMB_OK && q.same) {
        count_element(c, p, index, &q);
        if (!c->options.no_course) {
            status = count_course(c, p, index);
        }
    }
    return status;
}

/* All elements, or as many as were asked for by lot: every stretch of total/samples elements gives one. */
static plumb_status check_elements(struct plumb_checker *c)
{
    int64_t total = c->report.total;
    bool all = total <= c->options.max_parameters;
    int64_t draws = all ? total : c->options.samples < total ? c->options.samples : total;
    plumb_status status = PLUMB_OK;
    int at = 0, loaded = -1;
    for (int64_t i = 0; status == PLUMB_OK && i < draws; i++) {
        int64_t from = (int64_t)((double)total * (double)i / (double)draws);
        int64_t to = (int64_t)((double)total * (double)(i + 1) / (double)draws);
        uint32_t word = plumb_random_word(c->options.seed, 1, 0, i);
        int64_t element = all ? i : from + (int64_t)(plumb_uniform_of_word(word) * (double)(to - from));
        while (element >= c->parameter[at].first + c->parameter[at].count) {
            at++;
        }
        if (loaded >= 0 && loaded != at) {
            status = put_parameter(c, &c->parameter[loaded]); /* back to where it was */
        }
        loaded = at;
        if (status == PLUMB_OK) {
            status = check_element(c, &c->parameter[at], element - c->parameter[at].first);
        }
    }
    return status == PLUMB_OK && loaded >= 0 ? put_parameter(c, &c->parameter[loaded]) : status;
}

static plumb_status check_direction(struct plumb_checker *c, int which, signed char *signs)
{
    struct quotient q;
    double dot = 0, norm = 0, root = sqrt((double)c->report.total);
    for (int i = 0; i < c->n_parameters; i++) {
        const struct plumb_check_parameter *p = &c->parameter[i];
        for (int64_t k = 0; k < p->count; k++) {
            uint32_t word = plumb_random_word(c->options.seed, 2 + (uint32_t)which, 0, p->first + k);
            signs[p->first + k] = word & 1 ? 1 : -1;
            dot += signs[p->first + k] * p->gradient[k];
            norm += p->gradient[k] * p->gradient[k];
        }
    }
    /* Along signs/root, a vector of length 1, so that a step is as long as an element's. */
    plumb_status status = quotient_past_kinks(c, NULL, 0, signs, c->step / root, &q);
    if (status == PLUMB_OK && q.same) {
        double beyond = fabs(dot - q.value) - q.noise;
        double error = beyond <= 0 ? 0 : beyond / (root * sqrt(norm));
        c->report.directions++;
        if (!(error <= c->report.direction_worst) && !isnan(c->report.direction_worst)) {
            c->report.direction_worst = error;
        }
    }
    return status;
}

static plumb_status check_directions(struct plumb_checker *c)
{
    plumb_status status = PLUMB_OK;
    signed char *signs = plumb_alloc(c->context, (size_t)c->report.total);
    if (!signs) {
        return PLUMB_FAILED;
    }
    for (int i = 0; status == PLUMB_OK && i < c->options.directions; i++) {
        status = check_direction(c, i, signs);
    }
    if (status == PLUMB_OK) {
        status = along(c, signs, 0, NULL, NULL);
    }
    plumb_free(c->context, signs);
    return status;
}

/* ---- judging ---- */

static double normed(double difference_2, double a_2, double n_2)
{
    double sum = sqrt(a_2) + sqrt(n_2);
    return difference_2 == 0 ? 0 : sqrt(difference_2) / sum;
}

static plumb_status judge(struct plumb_checker *c)
{
    plumb_gradcheck_report *r = &c->report;
    double tolerance = c->options.tolerance;
    r->normed = normed(c->difference_2, c->analytic_2, c->numeric_2);
    r->course = c->options.no_course ? NAN : normed(c->course_2[0], c->course_2[1], c->course_2[2]);
    r->status = PLUMB_FAILED;
    if (!(r->normed <= tolerance) || !(r->worst <= tolerance)) {
        return plumb_fail(c->context, PLUMB_FAILED,
                          "gradient check: '%s' at %lld: analytic %.9g, numeric %.9g; error %.2g, normed %.2g (at most %g)",
                          r->worst_name, (long long)r->worst_index, r->analytic, r->numeric, r->worst, r->normed,
                          tolerance);
    }
    if (!(r->direction_worst <= tolerance)) {
        return plumb_fail(c->context, PLUMB_FAILED, "gradient check: error %.2g along a random direction (at most %g)",
                          r->direction_worst, tolerance);
    }
    if (!(sqrt(c->analytic_2) + sqrt(c->numeric_2) >= 1e-6) || (r->zero_parameters > 0 && !c->options.allow_zero)) {
        return plumb_fail(c->context, PLUMB_FAILED, "gradient check: the gradient of '%s' is zero, which proves nothing",
                          r->zero_parameters > 0 ? r->zero_name : r->worst_name);
    }
    if (100 * r->kinks_left > r->checked + r->directions) {
        return plumb_fail(c->context, PLUMB_FAILED, "gradient check: %lld of %lld elements lie on kinks",
                          (long long)r->kinks_left, (long long)r->checked);
    }
    r->status = PLUMB_OK;
    return PLUMB_OK;
}

static void set_defaults(struct plumb_checker *c, const plumb_gradcheck_options *options)
{
    plumb_gradcheck_options *o = &c->options;
    if (options) {
        size_t size = options->size ? options->size : sizeof(*o);
        memcpy(o, options, size < sizeof(*o) ? size : sizeof(*o));
    }
    o->tolerance = o->tolerance > 0 ? o->tolerance : 1e-8;
    o->max_parameters = o->max_parameters > 0 ? o->max_parameters : 10000;
    o->samples = o->samples > 0 ? o->samples : 2000;
    o->directions = o->directions == 0 ? 20 : o->directions < 0 ? 0 : o->directions;
    c->step = o->step > 0 ? o->step : o->method == PLUMB_DIFFERENCE_FIVE_POINT ? 1e-3 : 1e-5;
    c->report.worst_index = -1;
    c->report.status = PLUMB_FAILED;
}

static plumb_status run(struct plumb_checker *c, plumb_graph *graph, plumb_state *state, plumb_t loss)
{
    plumb_status status = plumb_checker_open(c, graph, state, loss);
    if (status == PLUMB_OK) {
        status = check_elements(c);
    }
    if (status == PLUMB_OK) {
        status = check_directions(c);
    }
    return status == PLUMB_OK ? judge(c) : status;
}

plumb_status plumb_gradcheck(plumb_graph *graph, plumb_state *state, plumb_t loss, const plumb_binding *inputs,
                             int n_inputs, const plumb_gradcheck_options *options, plumb_gradcheck_report *report)
{
    plumb_context *context = plumb_graph_context(graph);
    if (!context) {
        return PLUMB_BAD_INPUT;
    }
    struct plumb_checker *c = plumb_zalloc(context, sizeof(*c));
    if (!c) {
        return PLUMB_FAILED;
    }
    c->context = context;
    c->inputs = inputs;
    c->n_inputs = inputs ? n_inputs : 0;
    set_defaults(c, options);
    plumb_status status = run(c, graph, state, loss);
    c->report.status = status;
    if (report) {
        *report = c->report;
    }
    plumb_checker_close(c);
    return status;
}
