/* Cases of reductions. */
#include "cases.h"

#include <math.h>

#define ALL UINT32_MAX

static const struct form {
    plumb_shape shape;
    uint32_t axes; /* bit mask, or ALL */
    const char *label;
} forms[] = {
    {{0, {0}}, ALL, "scalar"},
    {{1, {7}}, ALL, "7"},
    {{1, {1}}, 1, "1, axis 0"},
    {{2, {3, 5}}, 1, "3x5, axis 0"},
    {{2, {3, 5}}, 2, "3x5, axis 1"},
    {{2, {3, 5}}, 0, "3x5, no axis"},
    {{2, {1, 1}}, 2, "1x1, axis 1"},
    {{3, {2, 3, 4}}, 2, "2x3x4, axis 1"},
    {{3, {2, 3, 4}}, 5, "2x3x4, axes 0 and 2"},
    {{4, {2, 3, 2, 3}}, 13, "2x3x2x3, all but channels"},
    {{5, {2, 1, 3, 2, 2}}, 22, "2x1x3x2x2, axes 1, 2, 4"},
    {{2, {5, 67}}, 2, "5x67, axis 1"},
    {{2, {67, 5}}, 1, "67x5, axis 0"},
    {{3, {0, 2, 3}}, 2, "0x2x3, axis 1"},
};

static void add_form(case_list *list, const plumb_op *op, const struct form *form, bool keep, case_input x,
                     unsigned dtypes, const char *what)
{
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof(attr));
    attr.all = form->axes == ALL;
    attr.axes = attr.all ? 0 : form->axes;
    attr.keep = keep;
    op_case one = make_case(op, &attr, "%s%s%s", form->label, keep ? ", kept" : "", what);
    one.n_in = 1;
    one.in[0] = x;
    one.dtypes = dtypes;
    one.exact = op == &plumb_op_sum;
    add_case(list, &one);
}

static void add_forms(case_list *list, const plumb_op *op, bool choice)
{
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        for (int keep = 0; keep < 2; keep++) {
            add_form(list, op, &forms[i], keep, choice ? distinct(forms[i].shape) : floats(forms[i].shape), 0,
                     "");
        }
    }
    {
        const struct form *rows = &forms[8];
        add_form(list, op, rows, false, integers(PLUMB_NO_DTYPE, rows->shape, -40, 40),
                 PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64), ", integers");
        add_form(list, op, rows, true, integers(PLUMB_NO_DTYPE, rows->shape, 1, 250), PLUMB_BIT(PLUMB_U8),
                 ", integers");
    }
}

/* Longer than a chunk of work along either side; too many elements to differentiate one by one. */
static void add_long(case_list *list, const plumb_op *op)
{
    static const struct form longer[] = {{{2, {3, 20011}}, ALL, "3x20011"},
                                         {{2, {3, 20011}}, 2, "3x20011, axis 1"},
                                         {{2, {20011, 3}}, 1, "20011x3, axis 0"},
                                         {{3, {300, 2, 70}}, 5, "300x2x70, axes 0 and 2"},
                                         {{3, {70, 300, 2}}, 2, "70x300x2, axis 1"}};
    for (size_t i = 0; i < sizeof(longer) / sizeof(*longer); i++) {
        add_form(list, op, &longer[i], false, floats(longer[i].shape), 0, "");
        list->items[list->count - 1].no_gradient = true;
    }
}

/* Summed in bf16 itself, ones stop at 256 (PyTorch #68048). */
static void add_ones(case_list *list)
{
    static const struct form ones = {{4, {1, 2, 40, 40}}, 13, "1600 ones to a channel"};
    add_form(list, &plumb_op_sum, &ones, false, integers(PLUMB_NO_DTYPE, ones.shape, 1, 1), 0, "");
    list->items[list->count - 1].no_gradient = true; /* too many elements to differentiate one by one */
}

/* Over no elements at all: sums are 0, means not a number. */
static void add_empty(case_list *list)
{
    static const struct form empty[] = {{{2, {3, 0}}, 2, "3x0, axis 1"}, {{2, {0, 3}}, ALL, "0x3, all"}};
    for (int i = 0; i < 2; i++) {
        add_form(list, &plumb_op_sum, &empty[i], false, floats(empty[i].shape), 0, "");
        list->items[list->count - 1].mostly_zero = true;
        add_form(list, &plumb_op_mean, &empty[i], true, floats(empty[i].shape), 0, "");
    }
}

/* Ties: the gradient is shared, which difference quotients cannot see; argmax takes the first. */
static void add_ties(case_list *list, const plumb_op *op, bool last)
{
    static const double tied[12] = {1, 3, 3, 2, -1, -1, -1, -1, 0, -5, 3, 3};
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof(attr));
    attr.axes = 2;
    attr.axis = 1;
    attr.last = last;
    op_case one = make_case(op, &attr, "3x4 with ties%s", last ? ", last" : "");
    one.n_in = 1;
    one.dtypes = PLUMB_FLOATS | PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(3, 4), .fill = CASE_GIVEN, .given = tied};
    one.no_gradient = true;
    one.mostly_zero = true;
    add_case(list, &one);
}

static void add_arg(case_list *list, const plumb_op *op)
{
    static const struct {
        plumb_shape shape;
        int axis;
        const char *label;
    } rows[] = {
        {{1, {7}}, 0, "7"},
        {{1, {1}}, -1, "1"},
        {{2, {6, 5}}, 0, "6x5, axis 0"},
        {{2, {6, 5}}, 1, "6x5, axis 1"},
        {{3, {2, 9, 3}}, -2, "2x9x3, axis -2"},
        {{3, {0, 4, 2}}, 1, "0x4x2, axis 1"},
        {{5, {2, 1, 3, 5, 2}}, 3, "rank 5, axis 3"},
        {{2, {2, 130}}, 1, "2x130, axis 1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (int keep = 0; keep < 2; keep++) {
            plumb_attr_reduce attr;
            memset(&attr, 0, sizeof(attr));
            attr.axis = rows[i].axis;
            attr.keep = keep;
            attr.last = i % 2;
            op_case one = make_case(op, &attr, "%s%s", rows[i].label, keep ? ", kept" : "");
            one.n_in = 1;
            one.in[0] = distinct(rows[i].shape);
            one.mostly_zero = true;
            add_case(list, &one);
        }
    }
    add_ties(list, op, false);
    add_ties(list, op, true);
}

static void add_sum_to(case_list *list)
{
    static const struct {
        plumb_shape from, to;
        const char *label;
    } rows[] = {
        {{2, {4, 3}}, {1, {3}}, "4x3 to 3"},
        {{2, {4, 3}}, {2, {4, 1}}, "4x3 to 4x1"},
        {{2, {4, 3}}, {0, {0}}, "4x3 to a scalar"},
        {{2, {4, 3}}, {2, {4, 3}}, "4x3 to 4x3"},
        {{3, {1, 4, 3}}, {2, {4, 3}}, "1x4x3 to 4x3"},
        {{4, {2, 3, 2, 3}}, {3, {3, 1, 1}}, "2x3x2x3 to 3x1x1"},
        {{5, {2, 3, 1, 2, 2}}, {4, {1, 1, 2, 1}}, "rank 5 to 1x1x2x1"},
        {{2, {0, 3}}, {1, {3}}, "0x3 to 3"},
        {{2, {67, 33}}, {1, {33}}, "67x33 to 33"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (int lent = 0; lent < 2; lent++) {
            plumb_attr_shape attr;
            memset(&attr, 0, sizeof(attr));
            attr.shape = rows[i].to;
            attr.shape.rank = lent ? -1 : attr.shape.rank;
            op_case one = make_case(&plumb_op_sum_to, &attr, "%s%s", rows[i].label, lent ? ", lent" : "");
            one.n_in = 1 + lent;
            one.in[0] = floats(rows[i].from);
            one.in[1] = floats(rows[i].to);
            one.exact = true;
            one.mostly_zero = plumb_shape_count(&rows[i].from) == 0;
            add_case(list, &one);
        }
    }
}

/* Many tensors, one number. */
static void add_many(case_list *list, int count, const double *first, const char *label)
{
    static const plumb_shape shapes[] = {{1, {6}}, {0, {0}}, {3, {2, 3, 4}}, {2, {0, 5}}, {2, {3, 67}}};
    static const plumb_op *const ops[] = {&plumb_op_all_finite, &plumb_op_sum_squares};
    for (int k = 0; k < 2; k++) {
        op_case one = make_case(ops[k], NULL, "%s", label);
        one.n_in = count;
        for (int i = 0; i < count; i++) {
            one.in[i] = floats(shapes[i % 5]);
        }
        if (first) {
            one.in[0].fill = CASE_GIVEN;
            one.in[0].given = first;
        }
        one.exact = k == 1;
        one.mostly_zero = first != NULL;
        one.no_gradient = first != NULL; /* infinite */
        add_case(list, &one);
    }
}

static void add_checks(case_list *list)
{
    static const double infinite[6] = {1, 2, INFINITY, 4, 5, 6}, minus[6] = {1, 2, 3, 4, 5, -INFINITY};
    static const double large[6] = {3e38,   2e19,  65504,
                                    -65504, 1e-30, 0}; /* infinite in the narrower dtypes */
    static const plumb_op *const ops[] = {&plumb_op_all_finite, &plumb_op_sum_squares};
    add_many(list, 1, NULL, "one tensor");
    add_many(list, 2, NULL, "two tensors");
    add_many(list, 5, NULL, "five tensors");
    add_many(list, 24, NULL, "24 tensors");
    add_many(list, 3, infinite, "an infinity");
    add_many(list, 1, minus, "minus infinity at the end");
    add_many(list, 2, large, "large numbers");
    for (int k = 0; k < 2; k++) {
        op_case one = make_case(ops[k], NULL, "two long tensors");
        one.n_in = 2;
        one.in[0] = floats(PLUMB_SHAPE(70, 300));
        one.in[1] = floats(PLUMB_SHAPE(16385));
        one.no_gradient = true; /* too many elements to differentiate one by one */
        add_case(list, &one);
        one = make_case(ops[k], NULL, "an empty tensor");
        one.n_in = 1;
        one.in[0] = floats(PLUMB_SHAPE(0, 3));
        one.mostly_zero = true;
        add_case(list, &one);
        one = make_case(ops[k], NULL, "refused: an integer tensor");
        one.expect = PLUMB_BAD_INPUT;
        one.n_in = 2;
        one.in[0] = floats(PLUMB_SHAPE(3));
        one.in[1] = integers(PLUMB_I32, PLUMB_SHAPE(3), 0, 3);
        add_case(list, &one);
    }
}

static void refuse(case_list *list, const plumb_op *op, uint32_t axes, int axis, case_input x,
                   const char *label)
{
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof(attr));
    attr.axes = axes;
    attr.axis = axis;
    op_case one = make_case(op, &attr, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 1;
    one.in[0] = x;
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    const plumb_shape six = PLUMB_SHAPE(2, 3);
    refuse(list, &plumb_op_sum, 4, 0, floats(six), "refused: axis 2 of 2");
    refuse(list, &plumb_op_mean, 2, 0, integers(PLUMB_I32, PLUMB_SHAPE(2, 0), 0, 9), "refused: of no integers");
    refuse(list, &plumb_op_argmin, 0, 1, floats(PLUMB_SHAPE(3, 0)), "refused: the least of nothing");
    refuse(list, &plumb_op_max, 2, 0, floats(PLUMB_SHAPE(3, 0)), "refused: the greatest of nothing");
    refuse(list, &plumb_op_min, 1, 0, floats(PLUMB_SHAPE(0, 3)), "refused: the least of nothing");
    refuse(list, &plumb_op_argmax, 0, 2, floats(six), "refused: axis 2 of 2");
    refuse(list, &plumb_op_argmax, 0, -3, floats(six), "refused: axis -3 of 2");
    refuse(list, &plumb_op_argmax, 0, 1, floats(PLUMB_SHAPE(3, 0)), "refused: the greatest of nothing");
    refuse(list, &plumb_op_argmax, 0, 0, floats(PLUMB_SCALAR_SHAPE), "refused: a scalar has no axis");
    static const plumb_shape wrong[] = {{2, {2, 2}}, {3, {1, 2, 3}}, {1, {2}}, {1, {-5}}};
    static const char *const label[] = {"refused: 2x3 to 2x2", "refused: 2x3 to 1x2x3", "refused: 2x3 to 2",
                                        "refused: a negative size"};
    for (int i = 0; i < 4; i++) {
        plumb_attr_shape attr;
        memset(&attr, 0, sizeof(attr));
        attr.shape = wrong[i];
        op_case one = make_case(&plumb_op_sum_to, &attr, "%s", label[i]);
        one.expect = PLUMB_BAD_INPUT;
        one.n_in = 1;
        one.in[0] = floats(six);
        add_case(list, &one);
    }
}

void cases_reduce(case_list *list)
{
    static const plumb_op *const ops[] = {&plumb_op_sum, &plumb_op_mean, &plumb_op_max, &plumb_op_min};
    for (int i = 0; i < 4; i++) {
        add_forms(list, ops[i], i >= 2);
        add_long(list, ops[i]);
    }
    add_ones(list);
    add_empty(list);
    add_ties(list, &plumb_op_max, false);
    add_ties(list, &plumb_op_min, false);
    add_arg(list, &plumb_op_argmax);
    add_arg(list, &plumb_op_argmin);
    add_sum_to(list);
    add_checks(list);
    add_refusals(list);
}
