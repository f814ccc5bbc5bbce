/* Reference updates: each rule is one line of its formula (src/op/update.c) for one element, in double. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

/* What all elements share. */
struct terms {
    const plumb_attr_update *attr;
    double lr, scale;
    double correct1, correct2; /* 1 - beta^t of Adam */
};

/* Moments a[0], a[1] are changed in place; returns the step d to subtract from the parameter. */
typedef double step_rule(const struct terms *t, double g, double *a);

static double rule_sgd(const struct terms *t, double g, double *a)
{
    (void)a;
    return t->lr * g;
}

static double rule_momentum(const struct terms *t, double g, double *a)
{
    double beta = t->attr->beta1;
    a[0] = beta * a[0] + (t->attr->classic ? g : (1 - beta) * g);
    return t->lr * a[0];
}

static double rule_nesterov(const struct terms *t, double g, double *a)
{
    a[0] = t->attr->beta1 * a[0] + t->lr * g;
    return t->lr * g + t->attr->beta1 * a[0];
}

static double rule_adagrad(const struct terms *t, double g, double *a)
{
    a[0] += g * g;
    return t->lr * g / sqrt(a[0] + t->attr->epsilon);
}

static double rule_rmsprop(const struct terms *t, double g, double *a)
{
    a[0] = t->attr->beta2 * a[0] + (1 - t->attr->beta2) * g * g;
    return t->lr * g / (sqrt(a[0]) + t->attr->epsilon);
}

static double rule_adam(const struct terms *t, double g, double *a)
{
    a[0] = t->attr->beta1 * a[0] + (1 - t->attr->beta1) * g;
    a[1] = t->attr->beta2 * a[1] + (1 - t->attr->beta2) * g * g;
    return t->lr * (a[0] / t->correct1) / (sqrt(a[1] / t->correct2) + t->attr->epsilon);
}

/* One tensor: in = p, g, moments..; out = p', moments'.. (possibly the same memory). */
static void update_tensor(const struct terms *t, step_rule *rule, const plumb_view *in, const plumb_view *out,
                          bool apply)
{
    int slots = t->attr->slots, from[4], to[3];
    struct walk w, m; /* of p, g, p'; of the moments: together they are more than one walk holds */
    walk_begin(&w, in[0].rank, in[0].dim);
    walk_begin(&m, in[0].rank, in[0].dim);
    for (int i = 0; i < 2; i++)
        from[i] = walk_add(&w, &in[i]);
    to[0] = walk_add(&w, &out[0]);
    for (int s = 0; s < slots; s++) {
        from[2 + s] = walk_add(&m, &in[2 + s]);
        to[1 + s] = walk_add(&m, &out[1 + s]);
    }
    for (; w.left > 0; walk_step(&w), walk_step(&m)) {
        if (!apply) {
            view_copy(&out[0], w.at[to[0]], &in[0], w.at[from[0]]);
            for (int s = 0; s < slots; s++)
                view_copy(&out[1 + s], m.at[to[1 + s]], &in[2 + s], m.at[from[2 + s]]);
            continue;
        }
        double p = view_get(&in[0], w.at[from[0]]), moment[2] = {0, 0};
        double sign = (p > 0) - (p < 0);
        double g = t->scale * view_get(&in[1], w.at[from[1]]) + t->attr->l2 * p + t->attr->l1 * sign;
        for (int s = 0; s < slots; s++)
            moment[s] = view_get(&in[2 + s], m.at[from[2 + s]]);
        double d = rule(t, g, moment);
        view_put(&out[0], w.at[to[0]], p - d - t->lr * t->attr->weight_decay * p);
        for (int s = 0; s < slots; s++)
            view_put(&out[1 + s], m.at[to[1 + s]], moment[s]);
    }
}

static plumb_status run(const plumb_call *call, step_rule *rule)
{
    const plumb_attr_update *attr = call->attr;
    struct terms t = {.attr = attr, .lr = view_get(&call->in[1], 0), .scale = view_get(&call->in[2], 0)};
    bool apply = *(const uint8_t *)call->in[0].data != 0;
    double count = (double)*(const int64_t *)call->in[3].data + 1;
    t.correct1 = 1 - pow(attr->beta1, count);
    t.correct2 = 1 - pow(attr->beta2, count);
    int out = 0;
    for (int in = PLUMB_UPDATE_HEAD; in < call->n_in; in += 2 + attr->slots, out += 1 + attr->slots)
        update_tensor(&t, rule, &call->in[in], &call->out[out], apply);
    return PLUMB_OK;
}

#define UPDATE_REF(name_)                                                                                    \
    static plumb_status run_##name_(const plumb_call *call) { return run(call, rule_##name_); }              \
    const plumb_impl plumb_impl_##name_##_update_ref = {.op = &plumb_op_##name_##_update,                    \
                                                        .name = "cpu.ref",                                   \
                                                        .dtypes =                                            \
                                                            PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64),     \
                                                        .run = run_##name_}

UPDATE_REF(sgd);
UPDATE_REF(momentum);
UPDATE_REF(nesterov);
UPDATE_REF(adagrad);
UPDATE_REF(rmsprop);
UPDATE_REF(adam);
