/* Cases of the ops that move elements about. */
#include "cases.h"

static void add_one(case_list *list, const plumb_op *op, const void *attr, plumb_shape x,
                    const plumb_shape *lender, const char *label)
{
    op_case one = make_case(op, attr, "%s%s", label, lender ? ", lent" : "");
    one.n_in = lender ? 2 : 1;
    one.in[0] = floats(x);
    if (lender) {
        one.in[1] = floats(*lender);
    }
    add_case(list, &one);
    if (!lender) {
        one = make_case(op, attr, "%s, integers", label);
        one.n_in = 1;
        one.in[0] = integers(PLUMB_NO_DTYPE, x, 1, 99);
        one.dtypes = PLUMB_INTS;
        add_case(list, &one);
    }
}

static void refuse(case_list *list, const plumb_op *op, const void *attr, plumb_shape x, const char *label)
{
    op_case one = make_case(op, attr, "refused: %s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 1;
    one.in[0] = floats(x);
    add_case(list, &one);
}

/* ---- to a shape ---- */

/* clang-format off */
struct change {
    plumb_shape from, to, shape_asked; /* the last: with PLUMB_INFER; rank -1: as `to` */
    const char *label;
};

static const struct change reshapes[] = {
    {{2, {3, 4}}, {1, {12}}, {-1, {0}}, "3x4 to 12"},
    {{1, {12}}, {3, {2, 3, 2}}, {-1, {0}}, "12 to 2x3x2"},
    {{3, {2, 3, 4}}, {2, {6, 4}}, {2, {-1, 4}}, "2x3x4 to ?x4"},
    {{4, {2, 3, 2, 2}}, {2, {2, 12}}, {2, {2, -1}}, "2x3x2x2 to 2x?"},
    {{0, {0}}, {3, {1, 1, 1}}, {-1, {0}}, "scalar to 1x1x1"},
    {{2, {1, 1}}, {0, {0}}, {-1, {0}}, "1x1 to a scalar"},
    {{2, {0, 3}}, {3, {5, 0, 2}}, {-1, {0}}, "0x3 to 5x0x2"},
    {{5, {2, 1, 3, 1, 2}}, {4, {1, 2, 3, 2}}, {-1, {0}}, "2x1x3x1x2 to 1x2x3x2"},
    {{3, {4, 3, 2}}, {3, {3, 4, 2}}, {-1, {0}}, "4x3x2 to 3x4x2"},
    {{2, {150, 200}}, {3, {50, 3, 200}}, {-1, {0}}, "150x200 to 50x3x200"},
};

static const struct change expands[] = {
    {{1, {3}}, {2, {4, 3}}, {-1, {0}}, "3 to 4x3"},
    {{2, {4, 1}}, {2, {4, 3}}, {-1, {0}}, "4x1 to 4x3"},
    {{0, {0}}, {2, {2, 3}}, {-1, {0}}, "scalar to 2x3"},
    {{0, {0}}, {0, {0}}, {-1, {0}}, "scalar to a scalar"},
    {{2, {2, 3}}, {2, {2, 3}}, {-1, {0}}, "2x3 to 2x3"},
    {{3, {3, 1, 1}}, {4, {2, 3, 2, 3}}, {-1, {0}}, "3x1x1 to 2x3x2x3"},
    {{2, {1, 3}}, {2, {0, 3}}, {-1, {0}}, "1x3 to 0x3"},
    {{3, {2, 1, 2}}, {5, {2, 1, 2, 3, 2}}, {-1, {0}}, "2x1x2 to rank 5"},
    {{2, {150, 1}}, {2, {150, 200}}, {-1, {0}}, "150x1 to 150x200"},
};
/* clang-format on */

static void add_changes(case_list *list, const plumb_op *op, const struct change *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        plumb_attr_shape attr;
        bool too_many = plumb_shape_count(&rows[i].to) > 1000; /* to differentiate one by one */
        memset(&attr, 0, sizeof(attr));
        attr.shape = rows[i].shape_asked.rank < 0 ? rows[i].to : rows[i].shape_asked;
        int before = list->count;
        add_one(list, op, &attr, rows[i].from, NULL, rows[i].label);
        memset(&attr, 0, sizeof(attr));
        attr.shape.rank = -1;
        add_one(list, op, &attr, rows[i].from, &rows[i].to, rows[i].label);
        for (int k = before; k < list->count; k++) {
            list->items[k].no_gradient = too_many;
            list->items[k].zero_gradient = plumb_shape_count(&rows[i].to) == 0;
        }
    }
}

static void refuse_shape(case_list *list, const plumb_op *op, plumb_shape from, plumb_shape to,
                         const char *label)
{
    plumb_attr_shape attr;
    memset(&attr, 0, sizeof(attr));
    attr.shape = to;
    refuse(list, op, &attr, from, label);
}

static void add_shape_refusals(case_list *list)
{
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(5), "3x4 to 5");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(5, -1), "3x4 to 5x?");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(-1, -1), "3x4 to ?x?");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(0, 4), PLUMB_SHAPE(0, -1), "0x4 to 0x?");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(-3, -4), "negative sizes");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(INT64_MAX, 4),
                 "a size that overflows");
    refuse_shape(list, &plumb_op_reshape, PLUMB_SHAPE(3, 4), (plumb_shape){.rank = 9}, "rank 9");
    refuse_shape(list, &plumb_op_expand, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(3, 5), "3x4 to 3x5");
    refuse_shape(list, &plumb_op_expand, PLUMB_SHAPE(3, 4), PLUMB_SHAPE(4), "3x4 to 4");
    refuse_shape(list, &plumb_op_expand, PLUMB_SHAPE(2, 3), PLUMB_SHAPE(2, 3, 1), "2x3 to 2x3x1");
}

/* ---- transpose ---- */

static plumb_attr_transpose order_of(int rank, int a, int b, int c, int d, int e)
{
    const int order[5] = {a, b, c, d, e};
    plumb_attr_transpose attr;
    memset(&attr, 0, sizeof(attr));
    attr.rank = rank;
    attr.reverse = rank < 0;
    attr.rank = rank < 0 ? 0 : rank;
    for (int i = 0; i < rank; i++) {
        attr.order[i] = order[i];
    }
    return attr;
}

static void add_transposes(case_list *list)
{
    const plumb_attr_transpose reversed = order_of(-1, 0, 0, 0, 0, 0), swap = order_of(2, 1, 0, 0, 0, 0),
                               same = order_of(2, 0, 1, 0, 0, 0), turn = order_of(3, 2, 0, 1, 0, 0),
                               last = order_of(4, 0, 2, 3, 1, 0), five = order_of(5, 4, 1, 3, 0, 2),
                               twice = order_of(2, 1, 1, 0, 0, 0), out = order_of(2, 0, 2, 0, 0, 0);
    const plumb_op *op = &plumb_op_transpose;
    add_one(list, op, &reversed, PLUMB_SCALAR_SHAPE, NULL, "scalar reversed");
    add_one(list, op, &reversed, PLUMB_SHAPE(7), NULL, "7 reversed");
    add_one(list, op, &reversed, PLUMB_SHAPE(2, 3, 4), NULL, "2x3x4 reversed");
    add_one(list, op, &swap, PLUMB_SHAPE(3, 5), NULL, "3x5");
    add_one(list, op, &swap, PLUMB_SHAPE(0, 5), NULL, "0x5");
    add_one(list, op, &swap, PLUMB_SHAPE(1, 5), NULL, "1x5");
    add_one(list, op, &same, PLUMB_SHAPE(3, 5), NULL, "3x5 in place");
    add_one(list, op, &turn, PLUMB_SHAPE(2, 3, 4), NULL, "2x3x4 by 2,0,1");
    add_one(list, op, &last, PLUMB_SHAPE(2, 3, 2, 3), NULL, "channels last");
    add_one(list, op, &five, PLUMB_SHAPE(2, 3, 1, 2, 3), NULL, "rank 5");
    int before = list->count;
    add_one(list, op, &swap, PLUMB_SHAPE(131, 150), NULL, "131x150");
    add_one(list, op, &turn, PLUMB_SHAPE(2, 18, 37), NULL, "2x18x37 by 2,0,1");
    for (int i = before; i < list->count; i++)
        list->items[i].no_gradient = true; /* too many elements to differentiate one by one */
    refuse(list, op, &twice, PLUMB_SHAPE(2, 3), "an axis twice");
    refuse(list, op, &out, PLUMB_SHAPE(2, 3), "axis 2 of 2");
    refuse(list, op, &turn, PLUMB_SHAPE(2, 3), "three axes for two");
}

/* ---- concat ---- */

static void add_concat(case_list *list, int axis, int count, const plumb_shape *parts, plumb_status expect,
                       const char *label)
{
    plumb_attr_axis attr;
    memset(&attr, 0, sizeof(attr));
    attr.axis = axis;
    for (int whole = 0; whole < (expect == PLUMB_OK ? 2 : 1); whole++) {
        op_case one = make_case(&plumb_op_concat, &attr, "%s%s", label, whole ? ", integers" : "");
        one.n_in = count;
        one.expect = expect;
        one.dtypes = whole ? PLUMB_INTS : 0;
        for (int i = 0; i < count; i++) {
            one.in[i] = whole ? integers(PLUMB_NO_DTYPE, parts[i], 1, 99) : floats(parts[i]);
            one.no_gradient =
                one.no_gradient || plumb_shape_count(&parts[i]) > 1000; /* too many to do one by one */
        }
        add_case(list, &one);
    }
}

#define PARTS(...)                                                                                           \
    (int)(sizeof((const plumb_shape[]){__VA_ARGS__}) / sizeof(plumb_shape)), (const plumb_shape[])           \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }

static void add_concats(case_list *list)
{
    add_concat(list, 0, PARTS({1, {3}}, {1, {4}}), PLUMB_OK, "3 and 4");
    add_concat(list, 0, PARTS({1, {5}}), PLUMB_OK, "5 alone");
    add_concat(list, 0, PARTS({2, {2, 3}}, {2, {1, 3}}, {2, {4, 3}}), PLUMB_OK, "rows, three parts");
    add_concat(list, -1, PARTS({2, {3, 2}}, {2, {3, 5}}), PLUMB_OK, "columns");
    add_concat(list, 1, PARTS({4, {2, 1, 2, 3}}, {4, {2, 3, 2, 3}}), PLUMB_OK, "channels");
    add_concat(list, 1, PARTS({2, {3, 0}}, {2, {3, 2}}), PLUMB_OK, "an empty part");
    add_concat(list, 0, PARTS({2, {2, 0}}, {2, {3, 0}}), PLUMB_OK, "nothing and nothing");
    add_concat(list, 2, PARTS({5, {1, 2, 1, 2, 1}}, {5, {1, 2, 2, 2, 1}}), PLUMB_OK, "rank 5");
    add_concat(list, 1, PARTS({2, {90, 100}}, {2, {90, 133}}), PLUMB_OK, "90x100 and 90x133");
    add_concat(list, 1, PARTS({1, {3}}, {1, {4}}), PLUMB_BAD_INPUT, "refused: axis 1 of 1");
    add_concat(list, 0, PARTS({2, {2, 3}}, {2, {2, 4}}), PLUMB_BAD_INPUT, "refused: other sizes differ");
    add_concat(list, 0, PARTS({2, {2, 3}}, {1, {3}}), PLUMB_BAD_INPUT, "refused: ranks differ");
    add_concat(list, 0, PARTS({0, {0}}, {0, {0}}), PLUMB_BAD_INPUT, "refused: scalars");
}

/* ---- slices ---- */

/* clang-format off */
static const struct cut {
    plumb_shape x, y; /* y: what is cut out */
    int64_t begin[5], end[5], step[5];
    const char *label;
} cuts[] = {
    {{1, {9}}, {1, {4}}, {2}, {6}, {1}, "2:6 of 9"},
    {{1, {9}}, {1, {9}}, {0}, {PLUMB_END}, {1}, "all of 9"},
    {{1, {9}}, {1, {3}}, {1}, {PLUMB_END}, {3}, "1::3 of 9"},
    {{1, {9}}, {1, {9}}, {PLUMB_END}, {PLUMB_END}, {-1}, "9 backwards"},
    {{1, {9}}, {1, {3}}, {-2}, {1}, {-2}, "-2:1:-2 of 9"},
    {{1, {9}}, {1, {0}}, {6}, {2}, {1}, "6:2 of 9, empty"},
    {{1, {9}}, {1, {5}}, {-5}, {100}, {1}, "-5:100 of 9, clipped"},
    {{1, {9}}, {1, {1}}, {4}, {PLUMB_END}, {INT64_MAX}, "a step of 2^63-1"},
    {{1, {9}}, {1, {1}}, {4}, {PLUMB_END}, {INT64_MIN}, "a step of -2^63"},
    {{2, {4, 5}}, {2, {2, 3}}, {1, 2}, {3, 5}, {1, 1}, "1:3, 2:5 of 4x5"},
    {{2, {4, 5}}, {2, {4, 2}}, {-1, 0}, {PLUMB_END, 4}, {-1, 2}, "rows backwards, 0:4:2"},
    {{2, {0, 3}}, {2, {0, 2}}, {0, 1}, {PLUMB_END, 3}, {1, 1}, "of 0x3"},
    {{4, {2, 3, 4, 4}},
     {4, {2, 1, 2, 2}},
     {0, 1, 1, 1},
     {2, 2, 3, 3},
     {1, 1, 1, 1},
     "one channel, the middle"},
    {{5, {2, 2, 1, 3, 2}},
     {5, {1, 2, 1, 2, 2}},
     {1, 0, 0, 2, 0},
     {2, 2, 1, 0, 2},
     {1, 1, 1, -1, 1},
     "rank 5"},
    {{2, {150, 200}}, {2, {150, 60}}, {0, 30}, {150, 150}, {1, 2}, "150x200, some columns"},
};
/* clang-format on */

static void add_cuts(case_list *list)
{
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        plumb_attr_slice attr;
        int before = list->count;
        memset(&attr, 0, sizeof(attr));
        attr.rank = cuts[i].x.rank;
        for (int d = 0; d < attr.rank; d++) {
            attr.begin[d] = cuts[i].begin[d];
            attr.end[d] = cuts[i].end[d];
            attr.step[d] = cuts[i].step[d];
        }
        add_one(list, &plumb_op_slice, &attr, cuts[i].x, NULL, cuts[i].label);
        attr.shape.rank = -1;
        add_one(list, &plumb_op_slice_backward, &attr, cuts[i].y, &cuts[i].x, cuts[i].label);
        attr.shape = cuts[i].x;
        add_one(list, &plumb_op_slice_backward, &attr, cuts[i].y, NULL, cuts[i].label);
        for (int k = before; k < list->count; k++) {
            list->items[k].mostly_zero = list->items[k].op == &plumb_op_slice_backward;
            list->items[k].no_gradient = plumb_shape_count(&cuts[i].x) > 1000; /* too many to do one by one */
            list->items[k].zero_gradient = plumb_shape_count(&cuts[i].y) == 0;
        }
    }
}

static void add_cut_refusals(case_list *list)
{
    plumb_attr_slice attr;
    memset(&attr, 0, sizeof(attr));
    attr.rank = 1;
    attr.end[0] = 3;
    refuse(list, &plumb_op_slice, &attr, PLUMB_SHAPE(5), "a step of 0");
    attr.step[0] = 1;
    refuse(list, &plumb_op_slice, &attr, PLUMB_SHAPE(5, 2), "one range for two dimensions");
    attr.shape = PLUMB_SHAPE(5);
    refuse(list, &plumb_op_slice_backward, &attr, PLUMB_SHAPE(4), "not what the slice cuts out");
}

void cases_shape(case_list *list)
{
    add_changes(list, &plumb_op_reshape, reshapes, sizeof(reshapes) / sizeof(*reshapes));
    add_changes(list, &plumb_op_expand, expands, sizeof(expands) / sizeof(*expands));
    add_shape_refusals(list);
    add_transposes(list);
    add_concats(list);
    add_cuts(list);
    add_cut_refusals(list);
}
