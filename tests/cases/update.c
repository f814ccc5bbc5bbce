/* Cases of the optimisers' updates: groups of tensors, with and without every attribute, skipped steps, step counts. */
#include "cases.h"

#include <stdio.h>

static const struct {
    const plumb_op *op;
    int slots;
    double beta1, beta2, epsilon;
    int classic;
} rules[] = {
    {&plumb_op_sgd_update, 0, 0, 0, 0, 0},           {&plumb_op_momentum_update, 1, 0.9, 0, 0, 0},
    {&plumb_op_momentum_update, 1, 0.8, 0, 0, 1},    {&plumb_op_nesterov_update, 1, 0.9, 0, 0, 0},
    {&plumb_op_adagrad_update, 1, 0, 0, 1e-8, 0},    {&plumb_op_rmsprop_update, 1, 0, 0.9, 1e-8, 0},
    {&plumb_op_adam_update, 2, 0.9, 0.999, 1e-8, 0}, {&plumb_op_adam_update, 2, 0, 0.5, 1e-3, 0},
};
enum { RULES = sizeof(rules) / sizeof(rules[0]) };

static const double zero = 0, one_ = 1, seven = 7, thousand = 1000;

static case_input scalar(plumb_dtype dtype, const double *value)
{
    return (case_input){.shape = PLUMB_SCALAR_SHAPE, .fill = CASE_GIVEN, .given = value, .dtype = dtype};
}

struct variation {
    const char *label;
    const double *apply, *step;
    double weight_decay, l2, l1;
    int tensors;
    plumb_shape shape[4];
    bool fresh; /* moments at zero, as before the first step */
};

static const struct variation variations[] = {
    {"one tensor", &one_, &zero, 0, 0, 0, 1, {{2, {3, 5}}}, false},
    {"first step", &one_, &zero, 0, 0, 0, 1, {{1, {9}}}, true},
    {"four tensors", &one_, &seven, 0, 0, 0, 4, {{2, {4, 3}}, {1, {4}}, {0, {0}}, {4, {2, 3, 2, 2}}}, false},
    {"decay, l2, l1", &one_, &seven, 0.1, 0.05, 0.02, 2, {{2, {4, 3}}, {1, {1}}}, false},
    {"late", &one_, &thousand, 0.01, 0, 0, 2, {{3, {2, 3, 4}}, {1, {0}}}, false},
    {"not applied", &zero, &seven, 0.1, 0.1, 0.1, 2, {{2, {4, 3}}, {1, {7}}}, false},
    {"empty, then pieces", &one_, &seven, 0, 0.1, 0, 3, {{1, {0}}, {2, {9, 2000}}, {1, {3}}}, false},
};
enum { VARIATIONS = sizeof(variations) / sizeof(variations[0]) };

static op_case update_case(int r, const struct variation *v)
{
    plumb_attr_update attr;
    memset(&attr, 0, sizeof(attr));
    attr.beta1 = rules[r].beta1;
    attr.beta2 = rules[r].beta2;
    attr.epsilon = rules[r].epsilon;
    attr.classic = rules[r].classic;
    attr.slots = rules[r].slots;
    attr.weight_decay = v->weight_decay;
    attr.l2 = v->l2;
    attr.l1 = v->l1;
    op_case one = make_case(rules[r].op, &attr, "%s, rule %d", v->label, r);
    one.dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64);
    one.in[one.n_in++] = scalar(PLUMB_U8, v->apply);
    one.in[one.n_in++] = floats_in(PLUMB_SCALAR_SHAPE, 0.01, 0.5);
    one.in[one.n_in++] = floats_in(PLUMB_SCALAR_SHAPE, 0.5, 1);
    one.in[one.n_in++] = scalar(PLUMB_I64, v->step);
    for (int t = 0; t < v->tensors; t++) {
        one.in[one.n_in++] = floats_avoiding(v->shape[t], 0); /* p: l1 has a kink at 0 */
        one.in[one.n_in++] = floats_avoiding(v->shape[t], 0); /* g: a first step is g / |g| */
        for (int s = 0; s < rules[r].slots; s++) {
            bool square = rules[r].epsilon > 0 && s == rules[r].slots - 1;
            double low = v->fresh ? 0 : square ? 0.1 : -2, high = v->fresh ? 1e-30 : 2;
            one.in[one.n_in++] = floats_in(v->shape[t], low, high);
        }
    }
    return one;
}

static void refuse(case_list *list, int r, const char *label, int input, case_input instead, double beta1)
{
    op_case one = update_case(r, &variations[0]);
    snprintf(one.label, sizeof(one.label), "%s, rule %d", label, r);
    if (input >= 0) {
        one.in[input] = instead;
    }
    if (beta1 > 0) {
        ((plumb_attr_update *)one.attr)->beta1 = beta1;
    }
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_update(case_list *list)
{
    for (int r = 0; r < RULES; r++) {
        for (int i = 0; i < VARIATIONS; i++) {
            op_case one = update_case(r, &variations[i]);
            add_case(list, &one);
        }
        refuse(list, r, "gradient of another shape", PLUMB_UPDATE_HEAD + 1, floats(PLUMB_SHAPE(5, 3)), 0);
        refuse(list, r, "step is floating", 3, floats(PLUMB_SCALAR_SHAPE), 0);
        refuse(list, r, "lr is a vector", 1, floats(PLUMB_SHAPE(1)), 0);
        refuse(list, r, "beta1 is 1", -1, floats(PLUMB_SCALAR_SHAPE), 1);
        op_case one = update_case(r, &variations[0]);
        snprintf(one.label, sizeof(one.label), "one tensor too many, rule %d", r);
        one.in[one.n_in++] = floats(PLUMB_SHAPE(3, 5));
        one.expect = PLUMB_BAD_INPUT;
        add_case(list, &one);
    }
}
