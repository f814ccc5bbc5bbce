/* Cases of the further reductions: the shapes and axes of sums, factors that are 0, infinities, integers, nothing at all. */
#include "cases.h"

#include <math.h>
#include <stdio.h>

#define ALL UINT32_MAX

struct form {
    plumb_shape shape;
    uint32_t axes; /* bit mask, or ALL */
    const char *label;
};

static const struct form forms[] = {
    {{0, {0}}, ALL, "scalar"},
    {{1, {7}}, ALL, "7"},
    {{1, {1}}, 1, "1, axis 0"},
    {{2, {3, 5}}, 1, "3x5, axis 0"},
    {{2, {3, 5}}, 2, "3x5, axis 1"},
    {{2, {3, 5}}, 0, "3x5, no axis"},
    {{3, {2, 3, 4}}, 2, "2x3x4, axis 1"},
    {{3, {2, 3, 4}}, 5, "2x3x4, axes 0 and 2"},
    {{4, {2, 3, 2, 3}}, 13, "2x3x2x3, all but channels"},
    {{6, {2, 1, 3, 1, 2, 2}}, 42, "2x1x3x1x2x2, axes 1, 3, 5"},
    {{2, {5, 67}}, 2, "5x67, axis 1"},
    {{2, {67, 5}}, 1, "67x5, axis 0"},
    {{3, {0, 2, 3}}, 2, "0x2x3, axis 1"},
};

static const struct form longer[] = {{{2, {3, 20011}}, ALL, "3x20011"},
                                     {{2, {2, 9001}}, 2, "2x9001, axis 1"},
                                     {{2, {9001, 3}}, 1, "9001x3, axis 0"},
                                     {{3, {300, 2, 70}}, 5, "300x2x70, axes 0 and 2"}};

static const struct row {
    const plumb_op *op;
    int correction;
    double low, high;    /* of the elements */
    bool integers;       /* takes them, too */
    bool exact;
} rows[] = {
    {&plumb_op_prod, 0, 0.5, 1.5, true, false},       {&plumb_op_abs_sum, 0, -2, 2, true, true},
    {&plumb_op_square_sum, 0, -2, 2, true, true},     {&plumb_op_variance, 0, -2, 2, false, false},
    {&plumb_op_variance, 1, 98, 102, false, false},   {&plumb_op_log_sum_exp, 0, -2, 2, false, false},
    {&plumb_op_log_sum_exp, 0, -300, 300, false, false},
};
enum { ROWS = sizeof(rows) / sizeof(*rows), FORMS = sizeof(forms) / sizeof(*forms) };

static op_case case_of(const plumb_op *op, const struct form *form, bool keep, int correction, const char *what)
{
    plumb_attr_reduce attr;
    memset(&attr, 0, sizeof(attr));
    attr.all = form->axes == ALL;
    attr.axes = attr.all ? 0 : form->axes;
    attr.keep = keep;
    attr.correction = correction;
    op_case one = make_case(op, &attr, "%s%s%s", form->label, keep ? ", kept" : "", what);
    one.n_in = 1;
    return one;
}

/* How many elements stand behind a result. */
static int64_t reduced(const struct form *form)
{
    int64_t n = 1;
    for (int d = 0; d < form->shape.rank; d++) {
        n *= form->axes == ALL || form->axes >> d & 1 ? form->shape.dim[d] : 1;
    }
    return n;
}

static void add_forms(case_list *list, int r)
{
    const struct row *row = &rows[r];
    char what[64];
    snprintf(what, sizeof(what), ", %g to %g, correction %d", row->low, row->high, row->correction);
    for (int i = 0; i < FORMS; i++) {
        for (int keep = 0; keep < 2; keep++) {
            op_case one = case_of(row->op, &forms[i], keep, row->correction, what);
            one.in[0] = row->op == &plumb_op_abs_sum ? floats_avoiding(forms[i].shape, 0)
                                                     : floats_in(forms[i].shape, row->low, row->high);
            one.exact = row->exact;
            /* One element has no spread, and less than one to divide by. */
            one.mostly_zero = row->op == &plumb_op_variance && reduced(&forms[i]) == 1;
            one.no_gradient = one.mostly_zero || row->high == 300; /* e^-300 hides from a quotient */
            if (row->correction > 0 && reduced(&forms[i]) == 1) {
                continue; /* tried below */
            }
            add_case(list, &one);
        }
    }
    for (size_t i = 0; i < sizeof(longer) / sizeof(*longer); i++) {
        bool product = row->op == &plumb_op_prod;
        op_case one = case_of(row->op, &longer[i], false, row->correction, what);
        one.in[0] = product ? floats_in(longer[i].shape, 0.999, 1.001)
                            : floats_in(longer[i].shape, row->low, row->high);
        one.dtypes = product ? PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64) : 0; /* others have no such numbers */
        one.no_gradient = true; /* too many elements to differentiate one by one */
        add_case(list, &one);
    }
    if (row->integers) {
        op_case one = case_of(row->op, &forms[7], false, 0, ", integers");
        one.in[0] = integers(PLUMB_NO_DTYPE, forms[7].shape, -3, 3);
        one.dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
        one.mostly_zero = true; /* a factor 0 */
        add_case(list, &one);
        one = case_of(row->op, &forms[10], true, 0, ", wrapping");
        one.in[0] = integers(PLUMB_NO_DTYPE, forms[10].shape, 1, 250);
        one.dtypes = PLUMB_INTS;
        one.mostly_zero = true; /* products wrap to 0 */
        add_case(list, &one);
    }
}

/* Where values are infinite no difference quotient is a number. */
static void add_given(case_list *list, const plumb_op *op, const double *values, bool keep, bool smooth, const char *label)
{
    static const struct form form = {{2, {3, 4}}, 2, "3x4, axis 1"};
    op_case one = case_of(op, &form, keep, 0, label);
    one.in[0] = (case_input){.shape = form.shape, .fill = CASE_GIVEN, .given = values};
    one.dtypes = PLUMB_FLOATS;
    one.mostly_zero = true;
    one.no_gradient = !smooth;
    add_case(list, &one);
}

/* No zero, one, two zeros in a row; infinities of both signs alone and mixed; NaN. */
static void add_values(case_list *list)
{
    static const double zeros[12] = {1.5, 2, -1, 0.5, 2, 0, -1.5, 1, 0, 2, 0, 3};
    static const double infinite[12] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, 1, INFINITY,
                                        -INFINITY, 2,         -INFINITY, 3,         3, -INFINITY};
    static const double none[12] = {NAN, 1, 2, 3, 1, 2, INFINITY, NAN, 0, -0.0, NAN, 0};
    for (int keep = 0; keep < 2; keep++) {
        add_given(list, &plumb_op_prod, zeros, keep, true, ", zeros");
        for (int r = 0; r < ROWS; r++) {
            if (r == 0 || rows[r].op != rows[r - 1].op) {
                add_given(list, rows[r].op, infinite, keep, false, ", infinite");
                add_given(list, rows[r].op, none, keep, false, ", not a number");
            }
        }
    }
}

/* Over no elements, and a variance over fewer than its correction. */
static void add_empty(case_list *list)
{
    static const struct form empty[] = {{{2, {3, 0}}, 2, "3x0, axis 1"}, {{2, {0, 3}}, ALL, "0x3, all"}};
    static const plumb_op *const ops[] = {&plumb_op_prod,        &plumb_op_abs_sum, &plumb_op_square_sum,
                                          &plumb_op_log_sum_exp, &plumb_op_any,     &plumb_op_all,
                                          &plumb_op_variance};
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 7; k++) {
            op_case one = case_of(ops[k], &empty[i], i == 0, 0, "");
            one.in[0] = floats(empty[i].shape);
            one.mostly_zero = true;
            add_case(list, &one);
        }
    }
    for (int n = 1; n < 3; n++) {
        const struct form few = {{2, {3, n}}, 2, n == 1 ? "3x1, axis 1" : "3x2, axis 1"};
        op_case one = case_of(&plumb_op_variance, &few, false, n, ", correction as many");
        one.in[0] = floats(few.shape);
        one.no_gradient = true; /* infinite or none */
        add_case(list, &one);
    }
}

static void add_truths(case_list *list, const plumb_op *op)
{
    static const double bits[12] = {0, 0, 0, 0, 1, 3, 2, 1, 0, 0, 5, 0};
    static const double odd[12] = {NAN, 0, 0, -0.0, NAN, 1, NAN, 2, 0, 0, 0, -0.0};
    for (int i = 0; i < FORMS; i++) {
        for (int sparse = 0; sparse < 2; sparse++) {
            op_case one = case_of(op, &forms[i], sparse, 0, sparse ? ", sparse" : "");
            one.in[0] = integers(PLUMB_NO_DTYPE, forms[i].shape, 0, sparse ? 1 : 6);
            one.dtypes = PLUMB_ALL_DTYPES;
            one.mostly_zero = true;
            add_case(list, &one);
        }
    }
    add_given(list, op, bits, false, false, ", bits");
    static const struct form rows_of_many = {{2, {2, 9001}}, 2, "2x9001, axis 1"};
    op_case one = case_of(op, &rows_of_many, false, 0, "");
    one.in[0] = integers(PLUMB_NO_DTYPE, rows_of_many.shape, op == &plumb_op_all, 2);
    one.mostly_zero = true;
    add_case(list, &one);
    add_given(list, op, odd, true, false, ", not a number");
}

static void refuse(case_list *list, const plumb_op *op, uint32_t axes, case_input x, const char *label)
{
    const struct form form = {x.shape, axes, label};
    op_case one = case_of(op, &form, false, 0, "");
    one.in[0] = x;
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_statistics(case_list *list)
{
    for (int r = 0; r < ROWS; r++) {
        add_forms(list, r);
    }
    add_values(list);
    add_empty(list);
    add_truths(list, &plumb_op_any);
    add_truths(list, &plumb_op_all);
    refuse(list, &plumb_op_prod, 4, floats(PLUMB_SHAPE(2, 3)), "refused: axis 2 of 2");
    refuse(list, &plumb_op_any, 8, floats(PLUMB_SHAPE(2, 3)), "refused: axis 3 of 2");
    refuse(list, &plumb_op_variance, 1, integers(PLUMB_I32, PLUMB_SHAPE(3), 0, 9), "refused: spread of integers");
    refuse(list, &plumb_op_log_sum_exp, 1, integers(PLUMB_I64, PLUMB_SHAPE(3), 0, 9), "refused: integers");
}
