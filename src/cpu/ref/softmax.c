/* Reference softmax family and cross-entropy: one lane along the axis at a time, in double, any strides.
 * The conventions (NaN, ignored labels, smoothing) are decided in src/op/softmax.c. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

/* A walk over the lanes along the axis: where each begins in the first input x, the last input z (x again where there
 * is one input) and the output y. */
struct lanes {
    struct walk walk; /* over every dimension but the axis */
    int x, z, y;      /* slots in walk.at */
    int64_t n;        /* length of a lane */
    int64_t sx, sz, sy;
};

static struct lanes lanes_begin(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *z = &call->in[call->n_in - 1], *y = &call->out[0];
    int axis = ((const plumb_attr_axis *)call->attr)->axis;
    if (axis < 0)
        axis += x->rank;
    struct lanes l = {.n = x->dim[axis], .sx = x->stride[axis], .sz = z->stride[axis], .sy = y->stride[axis]};
    int64_t dim[PLUMB_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        dim[i] = i == axis ? 1 : x->dim[i];
    if (l.n == 0)
        dim[axis] = 0; /* nothing to do */
    walk_begin(&l.walk, x->rank, dim);
    l.x = walk_add(&l.walk, x);
    l.z = walk_add(&l.walk, z);
    l.y = walk_add(&l.walk, y);
    return l;
}

static double lane_get(const plumb_view *view, int64_t at, int64_t stride, int64_t i)
{
    return view_get(view, at + i * stride);
}

/* The largest element; -inf for none. A NaN may be overlooked here: it reaches the sum of exponentials anyway. */
static double lane_max(const plumb_view *x, int64_t at, int64_t stride, int64_t n)
{
    double most = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        double v = lane_get(x, at, stride, i);
        most = v > most ? v : most;
    }
    return most;
}

static double lane_sum_exp(const plumb_view *x, int64_t at, int64_t stride, int64_t n, double most)
{
    long double sum = 0; /* equal terms all round alike: the oracle sums with bits to spare */
    for (int64_t i = 0; i < n; i++)
        sum += exp(lane_get(x, at, stride, i) - most);
    return (double)sum;
}

static plumb_status run_softmax(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    for (struct lanes l = lanes_begin(call); l.walk.left > 0; walk_step(&l.walk)) {
        int64_t at = l.walk.at[l.x], to = l.walk.at[l.y];
        double most = lane_max(x, at, l.sx, l.n), sum = lane_sum_exp(x, at, l.sx, l.n, most);
        for (int64_t i = 0; i < l.n; i++)
            view_put(y, to + i * l.sy, exp(lane_get(x, at, l.sx, i) - most) / sum);
    }
    return PLUMB_OK;
}

static plumb_status run_log_softmax(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    for (struct lanes l = lanes_begin(call); l.walk.left > 0; walk_step(&l.walk)) {
        int64_t at = l.walk.at[l.x], to = l.walk.at[l.y];
        double most = lane_max(x, at, l.sx, l.n), sum = lane_sum_exp(x, at, l.sx, l.n, most),
               shift = log(sum);
        for (int64_t i = 0; i < l.n; i++)
            view_put(y, to + i * l.sy, lane_get(x, at, l.sx, i) - most - shift);
    }
    return PLUMB_OK;
}

/* dx = y (dy - sum(y dy)) */
static plumb_status run_softmax_backward(const plumb_call *call)
{
    const plumb_view *y = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    for (struct lanes l = lanes_begin(call); l.walk.left > 0; walk_step(&l.walk)) {
        int64_t at = l.walk.at[l.x], from = l.walk.at[l.z], to = l.walk.at[l.y];
        long double sum = 0;
        for (int64_t i = 0; i < l.n; i++)
            sum += (long double)lane_get(y, at, l.sx, i) * lane_get(dy, from, l.sz, i);
        for (int64_t i = 0; i < l.n; i++)
            view_put(dx, to + i * l.sy, (double)(lane_get(y, at, l.sx, i) * (lane_get(dy, from, l.sz, i) - sum)));
    }
    return PLUMB_OK;
}

/* dx = dy - exp(y) sum(dy) */
static plumb_status run_log_softmax_backward(const plumb_call *call)
{
    const plumb_view *y = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    for (struct lanes l = lanes_begin(call); l.walk.left > 0; walk_step(&l.walk)) {
        int64_t at = l.walk.at[l.x], from = l.walk.at[l.z], to = l.walk.at[l.y];
        long double sum = 0;
        for (int64_t i = 0; i < l.n; i++)
            sum += lane_get(dy, from, l.sz, i);
        for (int64_t i = 0; i < l.n; i++)
            view_put(dx, to + i * l.sy, (double)(lane_get(dy, from, l.sz, i) - exp(lane_get(y, at, l.sx, i)) * sum));
    }
    return PLUMB_OK;
}

/* 1 at the first largest; a NaN counts as largest */
static plumb_status run_hardmax(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    for (struct lanes l = lanes_begin(call); l.walk.left > 0; walk_step(&l.walk)) {
        int64_t at = l.walk.at[l.x], to = l.walk.at[l.y], best = 0;
        double most = lane_get(x, at, l.sx, 0);
        for (int64_t i = 1; i < l.n && !isnan(most); i++) {
            double v = lane_get(x, at, l.sx, i);
            if (v > most || isnan(v)) {
                most = v;
                best = i;
            }
        }
        for (int64_t i = 0; i < l.n; i++)
            view_put(y, to + i * l.sy, i == best ? 1 : 0);
    }
    return PLUMB_OK;
}

/* ---- cross-entropy ---- */

/* The label of example n: *ignored, or an error of the run if outside [0, classes). */
static plumb_status read_label(const plumb_call *call, int64_t n, int64_t *label, bool *ignored)
{
    const plumb_attr_cross_entropy *attr = call->attr;
    const plumb_view *labels = &call->in[1];
    int64_t classes = call->in[0].dim[1];
    *label = view_get_int(labels, n * labels->stride[0]);
    *ignored = attr->use_ignore_index && *label == attr->ignore_index;
    if (*ignored || (*label >= 0 && *label < classes))
        return PLUMB_OK;
    return plumb_call_fail(call, PLUMB_BAD_INPUT, "label %lld at %lld is outside [0, %lld)",
                           (long long)*label, (long long)n, (long long)classes);
}

static double class_weight(const plumb_view *weights, int64_t c)
{
    return weights ? view_get(weights, c * weights->stride[0]) : 1;
}

/* (1 - e) [c == label] + e / C */
static double target_share(const plumb_call *call, int64_t label, int64_t c)
{
    double e = ((const plumb_attr_cross_entropy *)call->attr)->label_smoothing;
    return (c == label ? 1 - e : 0) + e / (double)call->in[0].dim[1];
}

/* w[c] times that */
static double target_mass(const plumb_call *call, const plumb_view *weights, int64_t label, int64_t c)
{
    double share = target_share(call, label, c);
    return share > 0 ? share * class_weight(weights, c) : 0;
}

/* logits (N, C), labels (N)[, class weights (C)] -> loss (N), weight (N) */
static plumb_status run_cross_entropy(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *weights = call->n_in > 2 ? &call->in[2] : NULL;
    const plumb_view *loss = &call->out[0], *weight = &call->out[1];
    bool logarithms = ((const plumb_attr_cross_entropy *)call->attr)->logarithms;
    for (int64_t n = 0; n < x->dim[0]; n++) {
        int64_t label, at = n * x->stride[0], classes = x->dim[1];
        bool ignored;
        plumb_status status = read_label(call, n, &label, &ignored);
        if (status)
            return status;
        double total = 0;
        if (!ignored) {
            double most = logarithms ? 0 : lane_max(x, at, x->stride[1], classes);
            double shift = logarithms ? 0 : log(lane_sum_exp(x, at, x->stride[1], classes, most));
            for (int64_t c = 0; c < classes; c++) {
                double mass = target_mass(call, weights, label, c);
                double log_p = lane_get(x, at, x->stride[1], c) - most - shift;
                if (mass != 0 || (isnan(log_p) && (!logarithms || target_share(call, label, c) > 0)))
                    total -= mass * log_p;
            }
        }
        view_put(loss, n * loss->stride[0], total);
        view_put(weight, n * weight->stride[0], ignored ? 0 : class_weight(weights, label));
    }
    return PLUMB_OK;
}

/* logits (N, C), labels (N), dloss (N)[, class weights (C)] -> dlogits (N, C) = dloss (softmax * sum(t) - t) */
static plumb_status run_cross_entropy_backward(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *dloss = &call->in[2],
                     *weights = call->n_in > 3 ? &call->in[3] : NULL;
    const plumb_view *dx = &call->out[0];
    bool logarithms = ((const plumb_attr_cross_entropy *)call->attr)->logarithms;
    for (int64_t n = 0; n < x->dim[0]; n++) {
        int64_t label, at = n * x->stride[0], to = n * dx->stride[0], classes = x->dim[1];
        bool ignored;
        plumb_status status = read_label(call, n, &label, &ignored);
        if (status)
            return status;
        double most = 0, sum = 0, mass = 0, d = view_get(dloss, n * dloss->stride[0]);
        if (!ignored && !logarithms) {
            most = lane_max(x, at, x->stride[1], classes);
            sum = lane_sum_exp(x, at, x->stride[1], classes, most);
            for (int64_t c = 0; c < classes; c++)
                mass += target_mass(call, weights, label, c);
        }
        for (int64_t c = 0; c < classes; c++) {
            double value = 0;
            if (!ignored) {
                double push = logarithms ? 0 : exp(lane_get(x, at, x->stride[1], c) - most) / sum * mass;
                value = d * (push - target_mass(call, weights, label, c));
            }
            view_put(dx, to + c * dx->stride[1], value);
        }
    }
    return PLUMB_OK;
}

#define SOFTMAX_REF(op_name)                                                                                 \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name, .name = "cpu.ref", .dtypes = PLUMB_FLOATS, .run = run_##op_name}

SOFTMAX_REF(softmax);
SOFTMAX_REF(softmax_backward);
SOFTMAX_REF(log_softmax);
SOFTMAX_REF(log_softmax_backward);
SOFTMAX_REF(hardmax);
SOFTMAX_REF(cross_entropy);
SOFTMAX_REF(cross_entropy_backward);
