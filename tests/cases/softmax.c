/* Cases of the softmax family and of the cross-entropy of integer labels. */
#include "cases.h"

#include <math.h>

static plumb_attr_axis along(int axis)
{
    plumb_attr_axis attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = axis;
    return attr;
}

static const struct {
    plumb_shape shape;
    int axis;
} lanes[] = {
    {{1, {4}}, 0},          {{2, {3, 5}}, 1},          {{2, {3, 5}}, 0},      {{2, {7, 1}}, 1},
    {{2, {1, 1}}, 0},       {{3, {2, 3, 4}}, -1},      {{3, {2, 3, 4}}, 1},   {{3, {2, 3, 4}}, -3},
    {{4, {2, 3, 2, 5}}, 1}, {{5, {2, 1, 3, 2, 2}}, 2}, {{2, {0, 4}}, 1},      {{2, {4, 0}}, 1},
    {{2, {3, 100}}, 1},     {{2, {2, 1000}}, 1},       {{3, {2, 5, 130}}, 1}, {{4, {1, 17, 3, 3}}, 1},
    {{2, {2, 1100}}, 1},
};
enum { LANES = sizeof(lanes) / sizeof(lanes[0]) };

static bool one_element_lane(int i)
{
    int axis = lanes[i].axis < 0 ? lanes[i].axis + lanes[i].shape.rank : lanes[i].axis;
    return lanes[i].shape.dim[axis] == 1;
}

static op_case lane_case(const plumb_op *op, int i, const char *note)
{
    char shape[128];
    plumb_attr_axis attr = along(lanes[i].axis);
    return make_case(op, &attr, "%s axis %d%s", plumb_shape_text(&lanes[i].shape, shape, sizeof(shape)),
                     lanes[i].axis, note);
}

static void refuse_axis(case_list *list, const plumb_op *op, plumb_shape shape, int axis)
{
    plumb_attr_axis attr = along(axis);
    op_case one = make_case(op, &attr, "rank %d, axis %d", shape.rank, axis);
    for (int i = 0; i < op->min_in; i++) {
        one.in[one.n_in++] = floats(shape);
    }
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void forward_cases(case_list *list, const plumb_op *op)
{
    for (int i = 0; i < LANES; i++) {
        op_case one = lane_case(op, i, "");
        one.in[one.n_in++] = op == &plumb_op_hardmax ? distinct(lanes[i].shape) : floats(lanes[i].shape);
        one.zero_gradient = one_element_lane(i); /* probability 1 whatever the logit */
        one.mostly_zero = op == &plumb_op_hardmax || one_element_lane(i); /* whose logarithm is 0 */
        add_case(list, &one);
    }
    static const double far[] = {1e4, -1e4, 0, 1, 2, 3, -6e4, -6e4, -6e4, -1e4, 1e4, 5};
    op_case one = lane_case(op, 1, " far apart");
    one.in[one.n_in++] = (case_input){.shape = PLUMB_SHAPE(4, 3), .fill = CASE_GIVEN, .given = far};
    one.mostly_zero = true;
    one.no_gradient = true; /* saturated: the quotients are all zero */
    add_case(list, &one);
    refuse_axis(list, op, PLUMB_SHAPE(2, 3), 2);
    refuse_axis(list, op, PLUMB_SHAPE(2, 3), -3);
    refuse_axis(list, op, PLUMB_SCALAR_SHAPE, 0);
    op_case whole = lane_case(op, 1, " of integers");
    whole.in[whole.n_in++] = integers(PLUMB_I32, PLUMB_SHAPE(3, 5), 0, 9);
    whole.expect = PLUMB_BAD_INPUT;
    add_case(list, &whole);
}

/* Minus infinity is probability 0, or none at all where there is nothing else; infinity has no softmax (not a number). Lanes
 * of 5, one way or the other, and longer than a vector. */
static void infinite_cases(case_list *list, const plumb_op *op)
{
    static const double short_[] = {-INFINITY, 0,         1,  -INFINITY, 2, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY,
                                    INFINITY,  3,         -1, -INFINITY, 0, INFINITY,  INFINITY,  1,         2,         -2,
                                    -INFINITY, -INFINITY, 4,  -INFINITY, -INFINITY};
    static double long_[4 * 70];
    for (int i = 0; i < 4 * 70; i++) {
        long_[i] = i / 70 == 1 || (i * 7 / 3 + i / 70) % 3 == 0 ? -INFINITY : (i % 11) / 4.0;
    }
    long_[2 * 70 + 40] = INFINITY;
    for (int way = 0; way < 3; way++) {
        plumb_attr_axis attr = along(way != 0);
        op_case one = make_case(op, &attr, "infinities%s", way == 0 ? ", axis 0" : way == 1 ? "" : ", 70 classes");
        one.in[one.n_in++] = (case_input){.shape = way < 2 ? PLUMB_SHAPE(5, 5) : PLUMB_SHAPE(4, 70), .fill = CASE_GIVEN,
                                          .given = way < 2 ? short_ : long_};
        one.mostly_zero = true;
        one.no_gradient = true; /* there is none at an infinity */
        add_case(list, &one);
    }
}

static void backward_cases(case_list *list, const plumb_op *op, double low, double high)
{
    for (int i = 0; i < LANES; i++) {
        op_case one = lane_case(op, i, "");
        one.in[one.n_in++] = floats_in(lanes[i].shape, low, high);
        one.in[one.n_in++] = floats(lanes[i].shape);
        add_case(list, &one);
    }
    refuse_axis(list, op, PLUMB_SHAPE(2, 3), 2);
    op_case one = lane_case(op, 1, " against another shape");
    one.in[one.n_in++] = floats(PLUMB_SHAPE(3, 5));
    one.in[one.n_in++] = floats(PLUMB_SHAPE(3, 4));
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

/* ---- cross-entropy ---- */

static const struct {
    const char *label;
    int64_t n, classes, ignore;
    bool use_ignore, weighted;
    double smoothing;
    plumb_dtype labels;
} entropies[] = {
    {"plain", 5, 4, 0, false, false, 0, PLUMB_I32},
    {"i64 labels", 6, 7, 0, false, false, 0, PLUMB_I64},
    {"one class", 3, 1, 0, false, false, 0, PLUMB_I64},
    {"one example", 1, 9, 0, false, false, 0, PLUMB_I32},
    {"no example", 0, 4, 0, false, false, 0, PLUMB_I64},
    {"class weights", 6, 5, 0, false, true, 0, PLUMB_I64},
    {"smoothing", 6, 5, 0, false, false, 0.1, PLUMB_I32},
    {"smoothing, class weights", 6, 5, 0, false, true, 0.3, PLUMB_I64},
    {"ignore a class", 9, 3, 1, true, false, 0, PLUMB_I64},
    {"ignore a class, class weights", 9, 3, 2, true, true, 0, PLUMB_I32},
    {"ignore a class, smoothing, class weights", 9, 3, 0, true, true, 0.2, PLUMB_I64},
    {"100 classes", 4, 100, 0, false, false, 0, PLUMB_I32},
    {"1000 classes", 2, 1000, 0, false, false, 0.1, PLUMB_I64},
    {"1100 classes", 2, 1100, 0, false, false, 0, PLUMB_I32},
    {"50 examples", 50, 10, -100, true, true, 0.05, PLUMB_I64},
};
enum { ENTROPIES = sizeof(entropies) / sizeof(entropies[0]) };

static plumb_attr_cross_entropy entropy_attr(bool use_ignore, int64_t ignore, double smoothing)
{
    plumb_attr_cross_entropy attr;
    memset(&attr, 0, sizeof(attr));
    attr.use_ignore_index = use_ignore;
    attr.ignore_index = use_ignore ? ignore : 0;
    attr.label_smoothing = smoothing;
    return attr;
}

/* logits, labels, dloss for the backward op */
static void add_inputs(op_case *one, int64_t n, case_input labels, int64_t classes)
{
    one->in[one->n_in++] = floats(PLUMB_SHAPE(n, classes));
    one->in[one->n_in++] = labels;
    if (one->op == &plumb_op_cross_entropy_backward) {
        one->in[one->n_in++] = floats(PLUMB_SHAPE(n));
    }
}

static op_case entropy_case(const plumb_op *op, int i, bool logarithms)
{
    plumb_attr_cross_entropy attr =
        entropy_attr(entropies[i].use_ignore, entropies[i].ignore, entropies[i].smoothing);
    attr.logarithms = logarithms;
    op_case one = make_case(op, &attr, "%s%s", entropies[i].label, logarithms ? ", logarithms" : "");
    int64_t classes = entropies[i].classes;
    add_inputs(&one, entropies[i].n,
               integers(entropies[i].labels, PLUMB_SHAPE(entropies[i].n), 0, (double)classes - 1), classes);
    if (entropies[i].weighted) {
        one.in[one.n_in++] = floats_in(PLUMB_SHAPE(classes), 0.2, 3);
    }
    if (logarithms) { /* all but a label's class are as nothing; the way back does not depend on them */
        one.mostly_zero = op == &plumb_op_cross_entropy_backward || entropies[i].use_ignore;
        one.zero_gradient = op == &plumb_op_cross_entropy_backward ? 1 : 0;
        return one;
    }
    if (classes == 1) { /* softmax is 1 whatever the logit: nothing moves */
        one.zero_gradient = 7;
        one.mostly_zero = true;
    }
    return one;
}

static void entropy_refusals(case_list *list, const plumb_op *op)
{
    static const double label_4[] = {0, 3, 4, 1}, below[] = {0, -1, 2, 1}, skipped[] = {-7, -7, -7, -7};
    const double *const given[] = {label_4, below};
    for (int i = 0; i < 2; i++) {
        for (int wide = 0; wide < 2; wide++) {
            plumb_attr_cross_entropy attr = entropy_attr(true, -100, 0);
            op_case one = make_case(op, &attr, "label %s, %s", i ? "-1" : "4 of 4", wide ? "i64" : "i32");
            case_input labels = {.shape = PLUMB_SHAPE(4),
                                 .fill = CASE_GIVEN,
                                 .given = given[i],
                                 .dtype = wide ? PLUMB_I64 : PLUMB_I32};
            add_inputs(&one, 4, labels, 4);
            one.expect = PLUMB_BAD_INPUT;
            add_case(list, &one);
        }
    }
    plumb_attr_cross_entropy attr = entropy_attr(true, -7, 0.1);
    op_case one = make_case(op, &attr, "all ignored");
    add_inputs(
        &one, 4,
        (case_input){.shape = PLUMB_SHAPE(4), .fill = CASE_GIVEN, .given = skipped, .dtype = PLUMB_I64}, 3);
    one.zero_gradient = 7;
    one.mostly_zero = true;
    add_case(list, &one);
    attr = entropy_attr(false, 0, 1.0);
    one = make_case(op, &attr, "smoothing 1");
    add_inputs(&one, 4, integers(PLUMB_I64, PLUMB_SHAPE(4), 0, 2), 3);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    attr = entropy_attr(false, 0, 0);
    one = make_case(op, &attr, "five labels for four examples");
    add_inputs(&one, 4, integers(PLUMB_I64, PLUMB_SHAPE(5), 0, 2), 3);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    one = make_case(op, &attr, "floating labels");
    add_inputs(&one, 4, floats(PLUMB_SHAPE(4)), 3);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    one = make_case(op, &attr, "four weights for three classes");
    add_inputs(&one, 4, integers(PLUMB_I64, PLUMB_SHAPE(4), 0, 2), 3);
    one.in[one.n_in++] = floats(PLUMB_SHAPE(4));
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_softmax(case_list *list)
{
    forward_cases(list, &plumb_op_softmax);
    forward_cases(list, &plumb_op_log_softmax);
    forward_cases(list, &plumb_op_hardmax);
    infinite_cases(list, &plumb_op_softmax);
    infinite_cases(list, &plumb_op_log_softmax);
    infinite_cases(list, &plumb_op_hardmax);
    backward_cases(list, &plumb_op_softmax_backward, 0, 1);
    backward_cases(list, &plumb_op_log_softmax_backward, -3, 0);
    for (int i = 0; i < ENTROPIES; i++) {
        for (int logarithms = 0; logarithms < 2; logarithms++) {
            op_case one = entropy_case(&plumb_op_cross_entropy, i, logarithms),
                    back = entropy_case(&plumb_op_cross_entropy_backward, i, logarithms);
            add_case(list, &one);
            add_case(list, &back);
        }
    }
    entropy_refusals(list, &plumb_op_cross_entropy);
    entropy_refusals(list, &plumb_op_cross_entropy_backward);
}
