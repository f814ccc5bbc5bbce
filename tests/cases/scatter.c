/* Cases of lookup and replacement by element and by tuple. */
#include "cases.h"

static const char *const reduce_name[] = {"none", "add", "mul", "max", "min"};

static plumb_attr_scatter attr_of(int axis, int batch, int reduce)
{
    plumb_attr_scatter attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = axis;
    attr.batch = batch;
    attr.reduce = reduce;
    return attr;
}

struct row {
    const char *label;
    plumb_shape x, indices, named; /* named: the shape of updates, and of what is gathered */
    int where;                     /* axis; batch */
    double low, high;
    plumb_dtype dtype;
};

static const struct row by_element[] = {
    {"rows", {2, {5, 4}}, {2, {3, 4}}, {2, {3, 4}}, 0, 0, 4, PLUMB_I64},
    {"columns, negative indices", {2, {3, 6}}, {2, {3, 5}}, {2, {3, 5}}, 1, -6, 5, PLUMB_I32},
    {"last axis", {3, {2, 3, 4}}, {3, {2, 3, 6}}, {3, {2, 3, 6}}, -1, 0, 3, PLUMB_I64},
    {"fewer than x", {3, {4, 5, 3}}, {3, {2, 4, 2}}, {3, {2, 4, 2}}, 1, 0, 4, PLUMB_I64},
    {"vector, many on few", {1, {3}}, {1, {40}}, {1, {40}}, 0, 0, 2, PLUMB_I32},
    {"all on one", {1, {4}}, {1, {7}}, {1, {7}}, 0, 2, 2, PLUMB_I64},
    {"one element", {1, {1}}, {1, {1}}, {1, {1}}, 0, 0, 0, PLUMB_I64},
    {"no index", {2, {4, 3}}, {2, {0, 3}}, {2, {0, 3}}, 0, 0, 0, PLUMB_I64},
    {"rank 5", {5, {2, 1, 3, 2, 2}}, {5, {2, 1, 4, 2, 2}}, {5, {2, 1, 4, 2, 2}}, 2, -3, 2, PLUMB_I64},
    {"longer than a tile of the sort", {2, {3, 5}}, {2, {500, 5}}, {2, {500, 5}}, 0, 0, 2, PLUMB_I32},
    {"more slots than a digit has", {1, {300}}, {1, {90}}, {1, {90}}, 0, 0, 299, PLUMB_I64},
};

static const struct row by_tuple[] = {
    {"elements of a matrix", {2, {4, 5}}, {2, {6, 2}}, {1, {6}}, 0, 0, 3, PLUMB_I64},
    {"rows of a matrix", {2, {4, 5}}, {2, {3, 1}}, {2, {3, 5}}, 0, -4, 3, PLUMB_I32},
    {"rows of a cube", {3, {3, 3, 4}}, {3, {2, 3, 2}}, {3, {2, 3, 4}}, 0, 0, 2, PLUMB_I64},
    {"planes of a cube", {3, {3, 2, 4}}, {2, {5, 1}}, {3, {5, 2, 4}}, 0, -3, 2, PLUMB_I64},
    {"one tuple", {3, {2, 2, 2}}, {1, {3}}, {0, {0}}, 0, 0, 1, PLUMB_I64},
    {"a batch", {3, {2, 4, 3}}, {3, {2, 5, 1}}, {3, {2, 5, 3}}, 1, 0, 3, PLUMB_I64},
    {"a batch of elements", {3, {2, 3, 4}}, {3, {2, 6, 2}}, {2, {2, 6}}, 1, -3, 2, PLUMB_I32},
    {"two batch dimensions", {4, {2, 2, 3, 2}}, {3, {2, 2, 1}}, {3, {2, 2, 2}}, 2, 0, 2, PLUMB_I64},
    {"no tuple", {2, {4, 3}}, {2, {0, 1}}, {2, {0, 3}}, 0, 0, 0, PLUMB_I64},
    {"empty rows", {2, {4, 0}}, {2, {3, 1}}, {2, {3, 0}}, 0, 0, 3, PLUMB_I64},
    {"many on few", {2, {2, 3}}, {2, {60, 2}}, {1, {60}}, 0, 0, 1, PLUMB_I64},
    {"rank 6", {6, {2, 1, 2, 3, 1, 2}}, {2, {5, 3}}, {4, {5, 3, 1, 2}}, 0, 0, 0, PLUMB_I64},
};

static bool large(const struct row *r)
{
    return plumb_shape_count(&r->x) > 200 || plumb_shape_count(&r->named) > 200;
}

/* Of these short vectors some index falls on each element. */
static bool everywhere(const struct row *r) { return r->x.rank == 1 && r->x.dim[0] <= 3; }

static void lookup(case_list *list, const plumb_op *op, const struct row *r, bool tuples)
{
    plumb_attr_scatter attr = tuples ? attr_of(0, r->where, 0) : attr_of(r->where, 0, 0);
    for (int whole = 0; whole < 2; whole++) {
        op_case one = make_case(op, &attr, "%s%s", r->label, whole ? ", integers" : "");
        one.n_in = 2;
        one.in[0] = whole ? integers(PLUMB_NO_DTYPE, r->x, 1, 99) : floats(r->x);
        one.in[1] = integers(r->dtype, r->indices, r->low, r->high);
        one.dtypes = whole ? PLUMB_INTS : 0;
        one.exact = !whole;
        one.no_gradient = large(r); /* too many elements to differentiate one by one */
        one.zero_gradient = plumb_shape_count(&r->named) == 0;
        add_case(list, &one);
    }
}

/* Of products no operand is near 0, and none large, so that they stay within f16. */
static case_input values_for(int reduce, plumb_shape shape)
{
    return reduce >= PLUMB_SCATTER_MAX ? distinct(shape)
           : reduce == PLUMB_SCATTER_MUL ? floats_in(shape, 0.8, 1.2)
                                         : floats(shape);
}

static void replace(case_list *list, const plumb_op *op, const struct row *r, bool tuples)
{
    for (int reduce = 0; reduce <= PLUMB_SCATTER_MIN; reduce++) {
        plumb_attr_scatter attr = tuples ? attr_of(0, r->where, reduce) : attr_of(r->where, 0, reduce);
        for (int whole = 0; whole < 2; whole++) {
            op_case one = make_case(op, &attr, "%s, %s%s", r->label, reduce_name[reduce], whole ? ", integers" : "");
            one.n_in = 3;
            one.in[0] = whole ? integers(PLUMB_NO_DTYPE, r->x, 1, 9) : values_for(reduce, r->x);
            one.in[1] = integers(r->dtype, r->indices, r->low, r->high);
            one.in[2] = whole ? integers(PLUMB_NO_DTYPE, r->named, 1, 9) : values_for(reduce, r->named);
            one.dtypes = whole ? PLUMB_INTS : 0;
            one.exact = !whole && reduce != PLUMB_SCATTER_MUL; /* products leave what is exact */
            one.no_gradient = large(r) || reduce >= PLUMB_SCATTER_MAX; /* scatter_extremes has these */
            one.mostly_zero = whole && reduce == PLUMB_SCATTER_MUL; /* u8 wraps, to 0 in the end */
            if (plumb_shape_count(&r->named) == 0) {
                one.zero_gradient = 1u << 2;
            }
            one.zero_gradient |= everywhere(r) && reduce == PLUMB_SCATTER_NONE; /* nothing of x is left */
            add_case(list, &one);
        }
    }
}

/* Which of several is the largest must not depend on steps of a difference quotient: values apart, as CASE_DISTINCT is
 * within one input only. */
static void extremes(case_list *list, const plumb_op *op, plumb_shape x, case_input indices, plumb_shape updates)
{
    static const double own[] = {0.5, -1, 2, -0.25, 1, 3}, theirs[] = {1.5, -2, 0.75, 4, -3, 1.75, 2.5, -1.5};
    for (int reduce = PLUMB_SCATTER_MAX; reduce <= PLUMB_SCATTER_MIN; reduce++) {
        plumb_attr_scatter attr = attr_of(0, 0, reduce);
        op_case one = make_case(op, &attr, "given, %s", reduce_name[reduce]);
        one.n_in = 3;
        one.in[0] = (case_input){.shape = x, .fill = CASE_GIVEN, .given = own};
        one.in[1] = indices;
        one.in[2] = (case_input){.shape = updates, .fill = CASE_GIVEN, .given = theirs};
        add_case(list, &one);
    }
}

static void products_with_zeros(case_list *list)
{
    static const double factors[] = {0, 2, 0.5, 0, 0, 3, 1.5}, places[] = {0, 0, 1, 2, 2, 2, 3}, own[] = {2, 3, 4, 0};
    plumb_attr_scatter attr = attr_of(0, 0, PLUMB_SCATTER_MUL);
    op_case one = make_case(&plumb_op_scatter_elements, &attr, "factors of 0, one and two");
    one.n_in = 3;
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(4), .fill = CASE_GIVEN, .given = own};
    one.in[1] = (case_input){.shape = PLUMB_SHAPE(7), .fill = CASE_GIVEN, .given = places, .dtype = PLUMB_I64};
    one.in[2] = (case_input){.shape = PLUMB_SHAPE(7), .fill = CASE_GIVEN, .given = factors};
    one.mostly_zero = true;
    one.no_gradient = true; /* the second derivative at zeros is not followed; test_move.c has the first */
    add_case(list, &one);
}

static void refuse(case_list *list, const plumb_op *op, const char *label, plumb_attr_scatter attr, plumb_shape x,
                   case_input indices, plumb_shape updates)
{
    op_case one = make_case(op, &attr, "refused: %s", label);
    one.n_in = op == &plumb_op_gather_elements || op == &plumb_op_gather_nd ? 2 : 3;
    one.in[0] = floats(x);
    one.in[1] = indices;
    one.in[2] = floats(updates);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void refusals(case_list *list, const plumb_op *op, bool tuples)
{
    plumb_shape x = PLUMB_SHAPE(4, 3), i = tuples ? PLUMB_SHAPE(2, 1) : PLUMB_SHAPE(2, 3), u = PLUMB_SHAPE(2, 3);
    plumb_attr_scatter plain = attr_of(0, 0, 0);
    refuse(list, op, "index at the size", plain, x, integers(PLUMB_I64, i, 4, 4), u);
    refuse(list, op, "index below minus the size", plain, x, integers(PLUMB_I32, i, -5, -5), u);
    refuse(list, op, "floating indices", plain, x, floats(i), u);
    refuse(list, op, tuples ? "batch of all" : "axis 2 of 2", attr_of(2, 2, 0), x, integers(PLUMB_I64, i, 0, 2), u);
    refuse(list, op, tuples ? "tuples of 3 for 2 axes" : "more rows than x", tuples ? plain : attr_of(1, 0, 0), x,
           integers(PLUMB_I64, tuples ? PLUMB_SHAPE(2, 3) : PLUMB_SHAPE(5, 3), 0, 1), tuples ? PLUMB_SHAPE(2) : PLUMB_SHAPE(5, 3));
    refuse(list, op, "nothing to look up in", plain, PLUMB_SHAPE(0, 3), integers(PLUMB_I64, i, 0, 0), u);
    if (op == &plumb_op_scatter_elements || op == &plumb_op_scatter_nd) {
        refuse(list, op, "updates of another shape", plain, x, integers(PLUMB_I64, i, 0, 2), PLUMB_SHAPE(3, 3));
        refuse(list, op, "reduction 5", attr_of(0, 0, 5), x, integers(PLUMB_I64, i, 0, 2), u);
    }
}

void cases_scatter(case_list *list)
{
    for (size_t i = 0; i < sizeof(by_element) / sizeof(*by_element); i++) {
        lookup(list, &plumb_op_gather_elements, &by_element[i], false);
        replace(list, &plumb_op_scatter_elements, &by_element[i], false);
    }
    for (size_t i = 0; i < sizeof(by_tuple) / sizeof(*by_tuple); i++) {
        lookup(list, &plumb_op_gather_nd, &by_tuple[i], true);
        replace(list, &plumb_op_scatter_nd, &by_tuple[i], true);
    }
    extremes(list, &plumb_op_scatter_elements, PLUMB_SHAPE(6), integers(PLUMB_I64, PLUMB_SHAPE(8), 0, 5), PLUMB_SHAPE(8));
    extremes(list, &plumb_op_scatter_nd, PLUMB_SHAPE(3, 2), integers(PLUMB_I64, PLUMB_SHAPE(4, 1), 0, 2), PLUMB_SHAPE(4, 2));
    products_with_zeros(list);
    refusals(list, &plumb_op_gather_elements, false);
    refusals(list, &plumb_op_gather_nd, true);
    refusals(list, &plumb_op_scatter_elements, false);
    refusals(list, &plumb_op_scatter_nd, true);
}
