/* Cases of padding in every mode, of cropping, and of the adjoint. */
#include "cases.h"

static const char *const mode_name[] = {"constant", "reflect", "edge", "wrap"};

static const struct row {
    plumb_shape x;
    int64_t before[6], after[6];
    unsigned modes; /* for which there is a result */
    const char *label;
} rows[] = {
    {{1, {5}}, {2}, {3}, 15, "5 by 2 and 3"},
    {{1, {5}}, {0}, {0}, 15, "5 by nothing"},
    {{1, {4}}, {9}, {7}, 15, "4 by more than once around"},
    {{1, {1}}, {3}, {2}, 15, "1 by 3 and 2"},
    {{1, {6}}, {-2}, {3}, 15, "6, cropped and padded"},
    {{1, {6}}, {4}, {-3}, 15, "6, padded and cropped"},
    {{1, {6}}, {-2}, {-1}, 15, "6, cropped"},
    {{1, {6}}, {-3}, {-3}, 15, "6, cropped to nothing"},
    {{1, {3}}, {-5}, {7}, 15, "3, cropped past its end"},
    {{1, {0}}, {2}, {1}, 1, "nothing by 2 and 1"},
    {{2, {0, 3}}, {0, 1}, {0, 2}, 15, "0x3, the other axis"},
    {{0, {0}}, {0}, {0}, 15, "a scalar"},
    {{2, {3, 4}}, {1, 2}, {2, 1}, 15, "3x4 all around"},
    {{2, {3, 4}}, {-1, 3}, {2, -1}, 15, "3x4, cropped and padded"},
    {{4, {2, 2, 3, 3}}, {0, 0, 1, 1}, {0, 0, 1, 1}, 15, "pictures by 1"},
    {{4, {1, 3, 4, 5}}, {0, 0, 2, 3}, {0, 0, 1, 2}, 15, "pictures by 2, 3, 1, 2"},
    {{5, {1, 2, 2, 3, 2}}, {0, 1, 1, 0, 1}, {1, 0, 1, 1, 0}, 15, "rank 5"},
    {{6, {1, 2, 1, 2, 1, 3}}, {0, 1, 0, 0, 1, 1}, {0, 0, 0, 1, 0, 1}, 15, "rank 6"},
    {{2, {40, 70}}, {3, 5}, {2, 4}, 15, "40x70"},
};

static plumb_attr_pad attr_of(const struct row *r, int mode, double value)
{
    plumb_attr_pad attr;
    memset(&attr, 0, sizeof(attr));
    attr.rank = r->x.rank;
    attr.mode = mode;
    attr.value = value;
    memcpy(attr.before, r->before, sizeof(r->before));
    memcpy(attr.after, r->after, sizeof(r->after));
    return attr;
}

static plumb_shape padded(const struct row *r)
{
    plumb_shape y = r->x;
    for (int d = 0; d < y.rank; d++) {
        y.dim[d] += r->before[d] + r->after[d];
    }
    return y;
}

static void forward(case_list *list, const struct row *r, int mode)
{
    plumb_attr_pad attr = attr_of(r, mode, mode == PLUMB_PAD_CONSTANT ? 3 : 0);
    plumb_shape y = padded(r);
    for (int whole = 0; whole < 2; whole++) {
        op_case one = make_case(&plumb_op_pad, &attr, "%s, %s%s", r->label, mode_name[mode], whole ? ", integers" : "");
        one.n_in = 1;
        one.in[0] = whole ? integers(PLUMB_NO_DTYPE, r->x, 1, 99) : floats(r->x);
        one.dtypes = whole ? PLUMB_INTS : 0;
        one.exact = !whole;
        one.no_gradient = plumb_shape_count(&y) > 500; /* too many elements to differentiate one by one */
        one.zero_gradient = plumb_shape_count(&y) == 0 ||
                            (mode == PLUMB_PAD_CONSTANT && r->x.rank == 1 && r->before[0] <= -r->x.dim[0]);
        add_case(list, &one);
    }
}

static void backward(case_list *list, const struct row *r, int mode)
{
    plumb_attr_pad attr = attr_of(r, mode, 0);
    plumb_shape y = padded(r);
    for (int lent = 0; lent < 2; lent++) {
        attr.shape = lent ? (plumb_shape){.rank = -1} : r->x;
        op_case one = make_case(&plumb_op_pad_backward, &attr, "%s, %s%s", r->label, mode_name[mode], lent ? ", lent" : "");
        one.n_in = 1 + lent;
        one.in[0] = floats(y);
        one.in[1] = floats(r->x);
        one.exact = true;
        one.mostly_zero = true; /* what was cropped */
        one.no_gradient = plumb_shape_count(&y) > 500;
        one.zero_gradient = plumb_shape_count(&y) == 0 || plumb_shape_count(&r->x) == 0 ||
                            (mode == PLUMB_PAD_CONSTANT && r->x.rank == 1 && r->before[0] <= -r->x.dim[0]);
        add_case(list, &one);
    }
}

static void refuse(case_list *list, plumb_shape x, int rank, int64_t before, int64_t after, int mode, const char *label)
{
    plumb_attr_pad attr;
    memset(&attr, 0, sizeof(attr));
    attr.rank = rank;
    attr.mode = mode;
    attr.before[0] = before;
    attr.after[0] = after;
    op_case one = make_case(&plumb_op_pad, &attr, "refused: %s", label);
    one.n_in = 1;
    one.in[0] = floats(x);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_pad(case_list *list)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (int mode = 0; mode < 4; mode++) {
            if (rows[i].modes >> mode & 1) {
                forward(list, &rows[i], mode);
                backward(list, &rows[i], mode);
            }
        }
    }
    for (int mode = 1; mode < 4; mode++) {
        refuse(list, PLUMB_SHAPE(0, 2), 2, 1, 0, mode, mode_name[mode]);
    }
    refuse(list, PLUMB_SHAPE(4), 1, -3, -2, PLUMB_PAD_CONSTANT, "more cropped than there is");
    refuse(list, PLUMB_SHAPE(4, 2), 1, 1, 1, PLUMB_PAD_CONSTANT, "one axis for two");
    refuse(list, PLUMB_SHAPE(4), 1, 1, 1, 4, "mode 4");
    refuse(list, PLUMB_SHAPE(4), 1, INT64_MAX, 1, PLUMB_PAD_CONSTANT, "a size that overflows");
}
