/* Cases of what works along one axis: every axis, directions, ties, not-a-number, infinities, sizes beyond a tile. */
#include "cases.h"

#include <math.h>

static const struct form {
    plumb_shape shape;
    int axis;
    const char *label;
} forms[] = {
    {{1, {7}}, 0, "7"},
    {{1, {1}}, -1, "1"},
    {{2, {6, 5}}, 0, "6x5, axis 0"},
    {{2, {6, 5}}, 1, "6x5, axis 1"},
    {{3, {2, 9, 3}}, -2, "2x9x3, axis -2"},
    {{3, {0, 4, 2}}, 1, "0x4x2, axis 1"},
    {{3, {2, 0, 2}}, 1, "2x0x2, axis 1"},
    {{6, {2, 1, 3, 5, 1, 2}}, 3, "rank 6, axis 3"},
    {{2, {3, 64}}, 1, "3x64, axis 1"},
    {{2, {130, 3}}, 0, "130x3, axis 0"},
    {{2, {2, 300}}, 1, "2x300, axis 1"},
};
enum { FORMS = sizeof(forms) / sizeof(*forms) };
static const struct form longer[] = {{{2, {2, 2500}}, 1, "2x2500, axis 1"}, {{2, {1025, 2}}, 0, "1025x2, axis 0"}};

static op_case scan_case(const struct form *form, int exclusive, int reverse, const char *what)
{
    plumb_attr_scan attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = form->axis;
    attr.exclusive = exclusive;
    attr.reverse = reverse;
    op_case one = make_case(&plumb_op_cumsum, &attr, "%s%s%s%s", form->label, exclusive ? ", exclusive" : "",
                            reverse ? ", reverse" : "", what);
    one.n_in = 1;
    one.in[0] = floats(form->shape);
    one.exact = true;
    one.mostly_zero = exclusive; /* over one element there is nothing before it */
    return one;
}

static void add_cumsum(case_list *list)
{
    static const double odd[12] = {1, INFINITY, 2, -INFINITY, NAN, 1, 2, 3, 1, 2, 3, INFINITY};
    for (int i = 0; i < FORMS; i++) {
        for (int way = 0; way < 4; way++) {
            op_case one = scan_case(&forms[i], way / 2, way % 2, "");
            /* The last (or the only) element counts for nothing. */
            one.zero_gradient = way / 2 && forms[i].shape.dim[0] == 1 && forms[i].shape.rank == 1;
            add_case(list, &one);
        }
    }
    for (int i = 0; i < 2; i++) {
        op_case one = scan_case(&longer[i], i, 1 - i, "");
        one.no_gradient = true; /* too many elements to differentiate one by one */
        add_case(list, &one);
        one = scan_case(&longer[i], 1 - i, i, ", integers");
        one.in[0] = integers(PLUMB_NO_DTYPE, longer[i].shape, 0, 9);
        one.dtypes = PLUMB_INTS;
        add_case(list, &one);
    }
    const struct form given = {{2, {3, 4}}, 1, "3x4, axis 1"};
    for (int way = 0; way < 4; way++) {
        op_case one = scan_case(&given, way / 2, way % 2, ", infinite");
        one.in[0] = (case_input){.shape = given.shape, .fill = CASE_GIVEN, .given = odd};
        one.no_gradient = true;
        one.exact = false;
        add_case(list, &one);
    }
    op_case one = scan_case(&(struct form){{1, {3}}, 1, "refused: axis 1 of 1"}, 0, 0, "");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    one = scan_case(&(struct form){{0, {0}}, 0, "refused: a scalar"}, 0, 0, "");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static op_case order_case(const plumb_op *op, const struct form *form, int64_t k, bool descending, const char *what)
{
    plumb_attr_order attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = form->axis;
    attr.k = k;
    attr.descending = descending;
    op_case one = make_case(op, &attr, "%s%s, k %lld%s", form->label, descending ? ", descending" : "", (long long)k, what);
    one.n_in = 1;
    one.in[0] = distinct(form->shape);
    one.dtypes = PLUMB_FLOATS;
    one.mostly_zero = k == 0 || k == 1; /* the first index may be 0 */
    one.zero_gradient = k == 0;
    return one;
}

static int64_t size_of(const struct form *form)
{
    return form->shape.dim[form->axis < 0 ? form->axis + form->shape.rank : form->axis];
}

static void add_order(case_list *list, const plumb_op *op)
{
    static const double odd[16] = {NAN, 1, INFINITY, -INFINITY, 0, -0.0, 0, -0.0, 2, NAN, NAN, 2, -3, -3, 5, -3};
    bool all = op == &plumb_op_sort;
    for (int way = 0; way < 2; way++) {
        for (int i = 0; i < FORMS; i++) {
            int64_t n = size_of(&forms[i]);
            op_case one = order_case(op, &forms[i], all ? -1 : n > 0 ? (n + 1 + way) / 2 : 0, way, "");
            one.mostly_zero = one.mostly_zero || n < 2;
            add_case(list, &one);
            one = order_case(op, &forms[i], all ? -1 : n, 1 - way, ", ties");
            one.in[0] = integers(PLUMB_NO_DTYPE, forms[i].shape, 0, 3);
            one.dtypes = PLUMB_ALL_DTYPES;
            one.no_gradient = true; /* tied elements change places */
            one.mostly_zero = true;
            add_case(list, &one);
        }
        for (int i = 0; i < 2; i++) {
            op_case one = order_case(op, &longer[i], all ? -1 : 100, way, "");
            one.in[0] = integers(PLUMB_NO_DTYPE, longer[i].shape, -120 * (i == 0), 120);
            one.dtypes = i ? PLUMB_ALL_DTYPES : PLUMB_FLOATS | PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
            one.no_gradient = true; /* tied, and too many */
            add_case(list, &one);
        }
        const struct form given = {{2, {2, 8}}, 1, "2x8, axis 1"};
        op_case one = order_case(op, &given, all ? -1 : 5, way, ", not a number, zeros, ties");
        one.in[0] = (case_input){.shape = given.shape, .fill = CASE_GIVEN, .given = odd};
        one.no_gradient = true;
        one.mostly_zero = true;
        add_case(list, &one);
    }
    op_case one = order_case(op, &(struct form){{1, {3}}, 0, "refused: 4 of 3"}, 4, false, "");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    one = order_case(op, &(struct form){{0, {0}}, 0, "refused: a scalar"}, -1, false, "");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    if (!all) {
        one = order_case(op, &forms[3], 0, true, ", none");
        add_case(list, &one);
    }
}

void cases_along(case_list *list)
{
    add_cumsum(list);
    add_order(list, &plumb_op_sort);
    add_order(list, &plumb_op_top_k);
}
