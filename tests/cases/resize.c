/* Cases of resizing: every mode, coordinate and rounding; up, down and by fractions; and the adjoint. */
#include "cases.h"

#include <stdio.h>

static const char *const mode_name[] = {"nearest", "linear", "cubic"};
static const char *const coordinate_name[] = {"half", "torch half", "corners", "asymmetric", "crop"};

struct row {
    plumb_shape x;
    int64_t size[5];
    double scale[5];
    const char *label;
};

#define KEEP -1
static const struct row rows[] = {
    {{1, {5}}, {8}, {0}, "5 to 8"},
    {{1, {7}}, {3}, {0}, "7 to 3"},
    {{1, {1}}, {4}, {0}, "1 to 4"},
    {{1, {6}}, {1}, {0}, "6 to 1"},
    {{1, {4}}, {0}, {0}, "4 to 0"},
    {{1, {5}}, {KEEP}, {1.7}, "5 by 1.7"},
    {{1, {6}}, {KEEP}, {0.4}, "6 by 0.4"},
    {{1, {4}}, {6}, {1.4}, "4 to 6, said to be 1.4"},
    {{4, {2, 2, 3, 4}}, {KEEP, KEEP, 6, 8}, {0}, "pictures twice as large"},
    {{4, {1, 2, 5, 6}}, {KEEP, KEEP, 3, 4}, {0}, "pictures smaller"},
    {{4, {2, 1, 4, 3}}, {KEEP, KEEP, KEEP, KEEP}, {0, 0, 1.5, 2}, "pictures by 1.5 and 2"},
    {{4, {1, 3, 2, 3}}, {1, 3, 4, 3}, {0}, "rows only"},
    {{3, {2, 2, 4}}, {KEEP, KEEP, 7}, {0}, "rank 3"},
    {{5, {1, 2, 2, 3, 2}}, {KEEP, KEEP, 3, 2, 4}, {0}, "rank 5"},
    {{4, {0, 2, 3, 4}}, {KEEP, KEEP, 6, 8}, {0}, "no pictures"},
    {{2, {3, 4}}, {KEEP, KEEP}, {0}, "as it is"},
};
enum { ROWS = sizeof(rows) / sizeof(*rows) };

static plumb_attr_resize attr_of(const struct row *r, int mode, int coordinates)
{
    plumb_attr_resize attr;
    memset(&attr, 0, sizeof(attr));
    attr.rank = r->x.rank;
    attr.mode = mode;
    attr.coordinates = coordinates;
    attr.cubic_a = -0.75;
    for (int d = 0; d < attr.rank; d++) {
        bool changes = (r->size[d] != KEEP && r->size[d] != r->x.dim[d]) || r->scale[d] != 0;
        attr.size[d] = r->size[d];
        attr.scale[d] = r->scale[d];
        attr.start[d] = coordinates == PLUMB_RESIZE_CROP && changes ? -0.2 : 0;
        attr.end[d] = coordinates == PLUMB_RESIZE_CROP && changes ? 0.8 : 1;
    }
    return attr;
}

static plumb_shape resized(const struct row *r)
{
    plumb_shape y = r->x;
    for (int d = 0; d < y.rank; d++) {
        y.dim[d] = r->size[d] != KEEP ? r->size[d] : r->scale[d] != 0 ? (int64_t)((double)y.dim[d] * r->scale[d]) : y.dim[d];
    }
    return y;
}

static void both(case_list *list, const struct row *r, plumb_attr_resize attr, const char *how)
{
    plumb_shape y = resized(r);
    bool empty = plumb_shape_count(&y) == 0;
    op_case one = make_case(&plumb_op_resize, &attr, "%s, %s", r->label, how);
    one.n_in = 1;
    one.in[0] = floats(r->x);
    one.zero_gradient = empty;
    add_case(list, &one);
    if (attr.mode == PLUMB_RESIZE_NEAREST && attr.coordinates == PLUMB_RESIZE_HALF_PIXEL) {
        one = make_case(&plumb_op_resize, &attr, "%s, %s, integers", r->label, how);
        one.n_in = 1;
        one.in[0] = integers(PLUMB_NO_DTYPE, r->x, 1, 99);
        one.dtypes = PLUMB_INTS;
        add_case(list, &one);
    }
    attr.extrapolation = 0;
    bool lent = attr.coordinates % 2;
    attr.shape = lent ? (plumb_shape){.rank = -1} : r->x;
    op_case back = make_case(&plumb_op_resize_backward, &attr, "%s, %s%s", r->label, how, lent ? ", lent" : "");
    back.n_in = lent ? 2 : 1;
    back.in[0] = floats(y);
    back.in[1] = floats(r->x);
    back.mostly_zero = true; /* what was left out */
    back.zero_gradient = empty;
    add_case(list, &back);
}

static void every_row(case_list *list, int mode, int coordinates)
{
    char how[80];
    for (int i = 0; i < ROWS; i++) {
        plumb_attr_resize attr = attr_of(&rows[i], mode, coordinates);
        attr.nearest = i % 4;
        attr.extrapolation = coordinates == PLUMB_RESIZE_CROP ? 7 : 0;
        if (coordinates == PLUMB_RESIZE_CROP && rows[i].x.dim[0] == 1 && rows[i].x.rank == 1) {
            attr.start[0] = 0; /* of one element nothing lies beside it */
        }
        if (i % 3 != 0 || coordinates == PLUMB_RESIZE_HALF_PIXEL || mode == PLUMB_RESIZE_CUBIC) {
            snprintf(how, sizeof(how), "%s, %s", mode_name[mode], coordinate_name[coordinates]);
            both(list, &rows[i], attr, how);
        }
    }
}

static void variants(case_list *list)
{
    const struct row *up = &rows[8], *down = &rows[9], *odd = &rows[5];
    for (int rounding = 0; rounding < 4; rounding++) {
        static const char *const name[] = {"prefer floor", "prefer ceil", "floor", "ceil"};
        plumb_attr_resize attr = attr_of(up, PLUMB_RESIZE_NEAREST, PLUMB_RESIZE_HALF_PIXEL);
        attr.nearest = rounding;
        both(list, up, attr, name[rounding]);
        attr = attr_of(odd, PLUMB_RESIZE_NEAREST, PLUMB_RESIZE_ASYMMETRIC);
        attr.nearest = rounding;
        both(list, odd, attr, name[rounding]);
    }
    plumb_attr_resize attr = attr_of(up, PLUMB_RESIZE_CUBIC, PLUMB_RESIZE_HALF_PIXEL);
    attr.exclude_outside = 1;
    both(list, up, attr, "cubic without what is outside");
    attr.cubic_a = -0.5;
    both(list, up, attr, "cubic of -0.5 without what is outside");
    attr = attr_of(down, PLUMB_RESIZE_LINEAR, PLUMB_RESIZE_HALF_PIXEL);
    attr.exclude_outside = 1;
    both(list, down, attr, "linear without what is outside");
}

static void refuse(case_list *list, plumb_shape x, plumb_attr_resize attr, unsigned dtypes, const char *label)
{
    op_case one = make_case(&plumb_op_resize, &attr, "refused: %s", label);
    one.n_in = 1;
    one.in[0] = dtypes ? integers(PLUMB_NO_DTYPE, x, 1, 9) : floats(x);
    one.dtypes = dtypes;
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void refusals(case_list *list)
{
    const struct row four = {{4, {2, 2, 2, 2}}, {3, 3, 3, 3}, {0}, ""}, none = {{1, {0}}, {3}, {0}, ""};
    plumb_attr_resize attr = attr_of(&rows[0], PLUMB_RESIZE_LINEAR, 0);
    refuse(list, PLUMB_SHAPE(5), attr, PLUMB_INTS, "integers between which nothing lies");
    refuse(list, PLUMB_SHAPE(5, 2), attr, 0, "one size for two dimensions");
    refuse(list, four.x, attr_of(&four, PLUMB_RESIZE_NEAREST, 0), 0, "four dimensions at once");
    refuse(list, none.x, attr_of(&none, PLUMB_RESIZE_NEAREST, 0), 0, "something of nothing");
    attr.mode = 3;
    refuse(list, PLUMB_SHAPE(5), attr, 0, "mode 3");
    attr = attr_of(&rows[5], PLUMB_RESIZE_LINEAR, 0);
    attr.scale[0] = -1;
    refuse(list, PLUMB_SHAPE(5), attr, 0, "a negative scale");
}

void cases_resize(case_list *list)
{
    for (int mode = 0; mode < 3; mode++) {
        for (int coordinates = 0; coordinates < 5; coordinates++) {
            every_row(list, mode, coordinates);
        }
    }
    variants(list);
    refusals(list);
}
