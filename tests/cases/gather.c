/* Cases of gather, its adjoint and one-hot. */
#include "cases.h"

static const struct {
    const char *label;
    plumb_shape x, indices;
    int axis;
    double low, high;
    plumb_dtype dtype;
} lookups[] = {
    {"embedding", {2, {7, 4}}, {2, {3, 5}}, 0, 0, 6, PLUMB_I64},
    {"i32", {2, {7, 4}}, {1, {6}}, 0, 0, 6, PLUMB_I32},
    {"negative indices", {2, {5, 3}}, {1, {8}}, 0, -5, 4, PLUMB_I64},
    {"last axis", {3, {2, 3, 6}}, {1, {4}}, -1, -6, 5, PLUMB_I32},
    {"middle axis, table of indices", {3, {2, 5, 3}}, {2, {2, 4}}, 1, 0, 4, PLUMB_I64},
    {"scalar index", {2, {4, 3}}, {0, {0}}, 0, 2, 2, PLUMB_I64},
    {"scalar index of a vector", {1, {4}}, {0, {0}}, 0, 1, 1, PLUMB_I64},
    {"vector", {1, {9}}, {1, {20}}, 0, 0, 8, PLUMB_I32},
    {"one row, many duplicates", {2, {1, 3}}, {1, {9}}, 0, 0, 0, PLUMB_I64},
    {"no index", {2, {4, 3}}, {1, {0}}, 0, 0, 3, PLUMB_I64},
    {"empty rows", {2, {4, 0}}, {1, {3}}, 0, 0, 3, PLUMB_I64},
    {"rank 5", {5, {2, 1, 3, 2, 2}}, {1, {4}}, 2, 0, 2, PLUMB_I64},
    {"wide rows", {2, {10, 300}}, {1, {64}}, 0, 0, 9, PLUMB_I32},
    {"many rows", {2, {200, 16}}, {1, {1100}}, 0, 0, 199, PLUMB_I64},
};
enum { LOOKUPS = sizeof(lookups) / sizeof(lookups[0]) };

static plumb_attr_gather attr_of(int axis)
{
    plumb_attr_gather attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = axis;
    return attr;
}

static plumb_shape gathered(plumb_shape x, plumb_shape indices, int axis)
{
    plumb_shape y = {.rank = 0};
    axis = axis < 0 ? axis + x.rank : axis;
    for (int d = 0; d < x.rank; d++) {
        for (int k = 0; d == axis && k < indices.rank; k++) {
            y.dim[y.rank++] = indices.dim[k];
        }
        if (d != axis) {
            y.dim[y.rank++] = x.dim[d];
        }
    }
    return y;
}

static void lookup_cases(case_list *list)
{
    for (int i = 0; i < LOOKUPS; i++) {
        plumb_attr_gather attr = attr_of(lookups[i].axis);
        op_case one = make_case(&plumb_op_gather, &attr, "%s", lookups[i].label);
        one.in[one.n_in++] = floats(lookups[i].x);
        one.in[one.n_in++] = integers(lookups[i].dtype, lookups[i].indices, lookups[i].low, lookups[i].high);
        one.exact = true;
        one.zero_gradient = plumb_shape_count(&lookups[i].indices) == 0;
        one.dtypes = i < 4 ? PLUMB_ALL_DTYPES : 0;
        add_case(list, &one);

        attr.shape = lookups[i].x;
        op_case back = make_case(&plumb_op_gather_backward, &attr, "%s", lookups[i].label);
        back.in[back.n_in++] = floats(gathered(lookups[i].x, lookups[i].indices, lookups[i].axis));
        back.in[back.n_in++] = one.in[1];
        back.exact = true;
        back.mostly_zero = true; /* rows that nothing fell on */
        add_case(list, &back);
        attr.shape = (plumb_shape){.rank = -1};
        op_case lent = make_case(&plumb_op_gather_backward, &attr, "%s, lent shape", lookups[i].label);
        lent.in[lent.n_in++] = back.in[0];
        lent.in[lent.n_in++] = back.in[1];
        lent.in[lent.n_in++] = floats(lookups[i].x);
        lent.mostly_zero = true;
        if (i % 4 == 0) {
            add_case(list, &lent);
        }
    }
}

static void refuse(case_list *list, const plumb_op *op, const char *label, plumb_shape x, case_input indices,
                   int axis)
{
    plumb_attr_gather attr = attr_of(axis);
    op_case one = make_case(op, &attr, "%s", label);
    if (op == &plumb_op_gather_backward) {
        ((plumb_attr_gather *)one.attr)->shape = x;
        one.in[one.n_in++] = floats(gathered(x, indices.shape, axis));
    } else {
        one.in[one.n_in++] = floats(x);
    }
    one.in[one.n_in++] = indices;
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void lookup_refusals(case_list *list, const plumb_op *op)
{
    plumb_shape x = PLUMB_SHAPE(4, 3);
    refuse(list, op, "index at the size", x, integers(PLUMB_I64, PLUMB_SHAPE(3), 4, 4), 0);
    refuse(list, op, "index below minus the size", x, integers(PLUMB_I32, PLUMB_SHAPE(3), -5, -5), 0);
    refuse(list, op, "axis out of range", x, integers(PLUMB_I64, PLUMB_SHAPE(3), 0, 2), 2);
    refuse(list, op, "floating indices", x, floats(PLUMB_SHAPE(3)), 0);
    refuse(list, op, "nothing to look up in", PLUMB_SHAPE(0, 3), integers(PLUMB_I64, PLUMB_SHAPE(2), 0, 0),
           0);
}

static void one_hot_case(case_list *list, plumb_shape shape, int64_t classes, double low, double high)
{
    char text[128];
    plumb_attr_one_hot attr;
    memset(&attr, 0, sizeof(attr));
    attr.classes = classes;
    attr.axis = -1;
    attr.on = 1;
    for (int wide = 0; wide < 2; wide++) {
        op_case one = make_case(&plumb_op_one_hot, &attr, "%s of %lld from %g to %g, %s",
                                plumb_shape_text(&shape, text, sizeof(text)), (long long)classes, low, high,
                                wide ? "i64" : "i32");
        one.in[one.n_in++] = integers(wide ? PLUMB_I64 : PLUMB_I32, shape, low, high);
        one.dtypes = PLUMB_ALL_DTYPES;
        one.mostly_zero = true;
        one.expect = classes < 0 ? PLUMB_BAD_INPUT : PLUMB_OK;
        add_case(list, &one);
    }
}

/* ONNX's form: an axis, two values, negative indices from the end. */
static void hot_along(case_list *list, plumb_shape shape, int axis, double on, double off, plumb_status expect)
{
    char text[128];
    plumb_attr_one_hot attr;
    memset(&attr, 0, sizeof(attr));
    attr.classes = 4;
    attr.axis = axis;
    attr.from_end = 1;
    attr.on = on;
    attr.off = off;
    op_case one = make_case(&plumb_op_one_hot, &attr, "%s along %d, %g and %g", plumb_shape_text(&shape, text, sizeof(text)),
                            axis, on, off);
    one.in[one.n_in++] = integers(PLUMB_I64, shape, -6, 5);
    one.dtypes = PLUMB_ALL_DTYPES;
    one.mostly_zero = off == 0;
    one.expect = expect;
    add_case(list, &one);
}

void cases_gather(case_list *list)
{
    lookup_cases(list);
    lookup_refusals(list, &plumb_op_gather);
    lookup_refusals(list, &plumb_op_gather_backward);
    one_hot_case(list, PLUMB_SHAPE(6), 4, 0, 3);
    one_hot_case(list, PLUMB_SHAPE(2, 5), 3, -2, 4);
    one_hot_case(list, PLUMB_SCALAR_SHAPE, 5, 2, 2);
    one_hot_case(list, PLUMB_SHAPE(4), 1, 0, 0);
    one_hot_case(list, PLUMB_SHAPE(3), 0, 0, 2);
    one_hot_case(list, PLUMB_SHAPE(0), 3, 0, 2);
    one_hot_case(list, PLUMB_SHAPE(1, 2, 1, 3), 6, 0, 5);
    one_hot_case(list, PLUMB_SHAPE(4), -3, 0, 2);
    hot_along(list, PLUMB_SHAPE(2, 3), 0, 1, 0, PLUMB_OK);
    hot_along(list, PLUMB_SHAPE(2, 3), 1, 5, 2, PLUMB_OK);
    hot_along(list, PLUMB_SHAPE(2, 3), -1, 3, 1, PLUMB_OK);
    hot_along(list, PLUMB_SHAPE(2, 3, 2), -3, 7, 4, PLUMB_OK);
    hot_along(list, PLUMB_SCALAR_SHAPE, 0, 7, 4, PLUMB_OK);
    hot_along(list, PLUMB_SHAPE(2, 3), 3, 1, 0, PLUMB_BAD_INPUT);
}
