/* Reference CTC, in double, sequence by sequence, as src/op/ctc.c says. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

typedef struct sequence {
    const plumb_call *call;
    const plumb_attr_ctc *attr;
    int64_t n, steps, labels, places, first; /* first: where its targets begin, of all or of its row */
} sequence;

static int64_t number(const plumb_view *view, int64_t n) { return view_get_int(view, n * view->stride[0]); }

static int64_t label(const sequence *q, int64_t k)
{
    const plumb_view *v = &q->call->in[1];
    return view_get_int(v, v->rank == 2 ? q->n * v->stride[0] + k * v->stride[1] : (q->first + k) * v->stride[0]);
}

/* The class of place s: blanks stand between the labels. */
static int64_t class_at(const sequence *q, int64_t s) { return s % 2 ? label(q, s / 2) : q->attr->blank; }

static double log_p(const sequence *q, int64_t t, int64_t s)
{
    const plumb_view *x = &q->call->in[0];
    return view_get(x, t * x->stride[0] + q->n * x->stride[1] + class_at(q, s) * x->stride[2]);
}

static bool may_skip(const sequence *q, int64_t s) { return s >= 2 && s % 2 && class_at(q, s) != class_at(q, s - 2); }

static double joined(double a, double b, double c)
{
    double most = a > b ? a : b;
    most = c > most ? c : most;
    return most == -INFINITY ? a + b + c : most + log(exp(a - most) + exp(b - most) + exp(c - most));
}

static plumb_status outside(const plumb_call *call, const char *what, int64_t value, int64_t at, int64_t end)
{
    return plumb_call_fail(call, PLUMB_BAD_INPUT, "%s %lld at %lld is outside [0, %lld)", what, (long long)value,
                           (long long)at, (long long)end);
}

/* Sequence n, checked; its `first` must be given. */
static plumb_status read_sequence(const plumb_call *call, int64_t n, int64_t first, sequence *q)
{
    const plumb_view *x = &call->in[0], *targets = &call->in[1];
    int64_t room = targets->rank == 2 ? targets->dim[1] : targets->dim[0] - first;
    *q = (sequence){.call = call, .attr = call->attr, .n = n, .first = first, .steps = number(&call->in[2], n),
                    .labels = number(&call->in[3], n)};
    q->places = 2 * q->labels + 1;
    if (q->steps < 0 || q->steps > x->dim[0])
        return outside(call, "input length", q->steps, n, x->dim[0] + 1);
    if (q->labels < 0 || q->labels > room)
        return outside(call, "target length", q->labels, n, room + 1);
    for (int64_t k = 0; k < q->labels; k++)
        if (label(q, k) < 0 || label(q, k) >= x->dim[2])
            return outside(call, "label", label(q, k), targets->rank == 2 ? n * targets->dim[1] + k : first + k, x->dim[2]);
    return PLUMB_OK;
}

/* to[s]: of all ways to be at place s after step t, from those after the step before. */
static void advance(const sequence *q, int64_t t, const double *before, double *to)
{
    for (int64_t s = 0; s < q->places; s++) {
        double a = t > 0 ? before[s] : s < 2 ? 0 : -INFINITY;
        double b = t > 0 && s > 0 ? before[s - 1] : -INFINITY, c = t > 0 && may_skip(q, s) ? before[s - 2] : -INFINITY;
        to[s] = joined(a, b, c) + log_p(q, t, s);
    }
}

/* ln p of the whole, from the row after the last step */
static double total(const sequence *q, const double *last)
{
    if (q->steps == 0)
        return q->labels == 0 ? 0 : -INFINITY;
    return joined(last[q->places - 1], q->labels > 0 ? last[q->places - 2] : -INFINITY, -INFINITY);
}

static int64_t most_places(const plumb_call *call)
{
    const plumb_view *targets = &call->in[1];
    return 2 * targets->dim[targets->rank - 1] + 1;
}

static size_t workspace_ctc_loss(const plumb_call *call) { return sizeof(double) * 2 * (size_t)most_places(call); }

static plumb_status run_ctc_loss(const plumb_call *call)
{
    const plumb_view *loss = &call->out[0];
    double *row[2] = {call->workspace, (double *)call->workspace + most_places(call)};
    int64_t first = 0;
    for (int64_t n = 0; n < call->in[0].dim[1]; n++) {
        sequence q;
        plumb_status status = read_sequence(call, n, first, &q);
        if (status)
            return status;
        for (int64_t t = 0; t < q.steps; t++)
            advance(&q, t, row[(t + 1) % 2], row[t % 2]);
        double value = -total(&q, row[(q.steps + 1) % 2]);
        view_put(loss, n * loss->stride[0], value == INFINITY && q.attr->zero_infinity ? 0 : value);
        first += q.labels;
    }
    return PLUMB_OK;
}

static size_t workspace_ctc_loss_backward(const plumb_call *call)
{
    return sizeof(double) * (size_t)((call->in[0].dim[0] + 3) * most_places(call) + call->in[0].dim[2]);
}

/* back[s]: of all ways from place s at step t to the end, that step's class included. */
static void retreat(const sequence *q, int64_t t, const double *behind, double *back)
{
    bool last = t == q->steps - 1;
    for (int64_t s = 0; s < q->places; s++) {
        double a = last ? (s >= q->places - 2 ? 0 : -INFINITY) : behind[s];
        double b = !last && s + 1 < q->places ? behind[s + 1] : -INFINITY;
        double c = !last && s + 2 < q->places && may_skip(q, s + 2) ? behind[s + 2] : -INFINITY;
        back[s] = joined(a, b, c) + log_p(q, t, s);
    }
}

static plumb_status run_ctc_loss_backward(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *dloss = &call->in[4], *dx = &call->out[0];
    int64_t wide = most_places(call), classes = x->dim[2], first = 0;
    double *alpha = call->workspace, *beta[2] = {alpha + x->dim[0] * wide, alpha + (x->dim[0] + 1) * wide};
    double *expected = beta[1] + wide;
    for (int64_t n = 0; n < x->dim[1]; n++) {
        sequence q;
        plumb_status status = read_sequence(call, n, first, &q);
        if (status)
            return status;
        for (int64_t t = 0; t < q.steps; t++)
            advance(&q, t, t > 0 ? alpha + (t - 1) * wide : NULL, alpha + t * wide);
        double all = total(&q, q.steps > 0 ? alpha + (q.steps - 1) * wide : NULL), d = view_get(dloss, n * dloss->stride[0]);
        bool zero = all == -INFINITY && q.attr->zero_infinity;
        for (int64_t t = x->dim[0] - 1; t >= 0; t--) {
            double *row = beta[t % 2];
            for (int64_t c = 0; c < classes; c++)
                expected[c] = all == -INFINITY && !zero && t < q.steps ? NAN : 0;
            if (t < q.steps && !zero) {
                retreat(&q, t, beta[(t + 1) % 2], row);
                for (int64_t s = 0; s < q.places; s++)
                    if (alpha[t * wide + s] != -INFINITY && row[s] != -INFINITY)
                        expected[class_at(&q, s)] += exp(alpha[t * wide + s] + row[s] - log_p(&q, t, s) - all);
            }
            for (int64_t c = 0; c < classes; c++)
                view_put(dx, t * dx->stride[0] + n * dx->stride[1] + c * dx->stride[2], t < q.steps && !zero ? -d * expected[c] : 0);
        }
        first += q.labels;
    }
    return PLUMB_OK;
}

#define ROW(op_name)                                                                                                  \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                                   \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.ref",                                                                                            \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = workspace_##op_name,                                                                             \
        .run = run_##op_name,                                                                                         \
    };
ROW(ctc_loss)
ROW(ctc_loss_backward)
