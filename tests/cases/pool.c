/* Cases of pooling, from one table for max and average alike; each row also gives cases of the backward
 * forms, and the gather by index. */
#include "cases.h"

#include <math.h>

struct row {
    const char *label;
    int64_t x[4], window[2], stride[2], padding[4], dilation; /* 0: stride the window, dilation 1 */
    bool ceil, exclude, big;
    bool adaptive; /* window: how many bins */
    bool tenths; /* the average divides by something other than a power of 2: not exact */
};

/* clang-format off */
static const struct row rows[] = {
    {.label = "2x2", .x = {2, 3, 4, 6}, .window = {2, 2}},
    {.label = "2x2, odd picture", .x = {2, 2, 5, 7}, .window = {2, 2}},
    {.label = "2x2 ceil, odd picture", .x = {2, 2, 5, 7}, .window = {2, 2}, .ceil = true},
    {.label = "2x2 ceil excluding", .x = {1, 2, 5, 3}, .window = {2, 2}, .ceil = true, .exclude = true},
    {.label = "2x2 s1", .x = {2, 2, 4, 5}, .window = {2, 2}, .stride = {1, 1}},
    {.label = "3x3 s2", .x = {2, 2, 7, 9}, .window = {3, 3}, .stride = {2, 2}, .tenths = true},
    {.label = "3x3 s2 p1", .x = {2, 2, 6, 7}, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1}, .tenths = true},
    {.label = "3x3 s2 p1 excluding", .x = {1, 3, 5, 6}, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1},
     .exclude = true, .tenths = true},
    {.label = "3x3 s2 p1 ceil", .x = {1, 2, 6, 6}, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1},
     .ceil = true, .tenths = true},
    {.label = "3x3 s2 ceil excluding p1", .x = {2, 1, 6, 4}, .window = {3, 3}, .stride = {2, 2},
     .padding = {1, 1, 1, 1}, .ceil = true, .exclude = true, .tenths = true},
    {.label = "stride over window", .x = {1, 2, 8, 7}, .window = {2, 2}, .stride = {3, 3}},
    {.label = "ceil drops a window", .x = {1, 2, 5, 5}, .window = {2, 2}, .stride = {4, 4}, .padding = {1, 1, 1, 1},
     .ceil = true},
    {.label = "2x4 s1x2", .x = {2, 1, 5, 9}, .window = {2, 4}, .stride = {1, 2}},
    {.label = "asymmetric p", .x = {1, 2, 5, 4}, .window = {4, 2}, .stride = {2, 1}, .padding = {0, 1, 3, 0}},
    {.label = "asymmetric p excluding", .x = {1, 2, 5, 4}, .window = {4, 2}, .stride = {2, 1}, .padding = {3, 0, 1, 1},
     .exclude = true, .tenths = true},
    {.label = "1x1", .x = {2, 2, 3, 4}, .window = {1, 1}},
    {.label = "1x1 s2", .x = {2, 2, 5, 5}, .window = {1, 1}, .stride = {2, 2}},
    {.label = "window is the picture", .x = {2, 3, 4, 4}, .window = {4, 4}},
    {.label = "one row", .x = {2, 2, 1, 8}, .window = {1, 2}},
    {.label = "one element", .x = {3, 4, 1, 1}, .window = {1, 1}},
    {.label = "1 channel", .x = {1, 1, 6, 6}, .window = {2, 2}},
    {.label = "batch 0", .x = {0, 3, 4, 4}, .window = {2, 2}},
    {.label = "no channels", .x = {2, 0, 4, 4}, .window = {2, 2}},
    {.label = "3x3 d2", .x = {1, 2, 7, 8}, .window = {3, 3}, .stride = {1, 2}, .dilation = 2},
    {.label = "2x2 d3 p1 ceil", .x = {1, 2, 6, 7}, .window = {2, 2}, .stride = {2, 2}, .padding = {1, 1, 1, 1},
     .dilation = 3, .ceil = true},
    {.label = "LeNet first", .x = {2, 6, 28, 28}, .window = {2, 2}, .big = true},
    {.label = "LeNet second", .x = {2, 16, 10, 10}, .window = {2, 2}, .big = true},
    {.label = "AlexNet last", .x = {2, 4, 13, 13}, .window = {3, 3}, .stride = {2, 2}, .big = true, .tenths = true},
    {.label = "residual stem", .x = {1, 4, 24, 20}, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1},
     .big = true, .tenths = true},
    {.label = "2x2, wide", .x = {1, 2, 6, 70}, .window = {2, 2}, .big = true},
    {.label = "many channels", .x = {2, 70, 5, 6}, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1, 1, 1},
     .big = true, .tenths = true},
    {.label = "5x5 s1, many channels", .x = {1, 33, 6, 5}, .window = {5, 5}, .stride = {1, 1}, .padding = {2, 2, 2, 2},
     .big = true, .tenths = true},
    {.label = "3x2 bins", .x = {2, 2, 7, 5}, .window = {3, 2}, .adaptive = true, .tenths = true},
    {.label = "as many bins", .x = {1, 2, 3, 4}, .window = {3, 4}, .adaptive = true},
    {.label = "more bins than places", .x = {1, 2, 3, 2}, .window = {5, 4}, .adaptive = true, .tenths = true},
    {.label = "one bin", .x = {1, 3, 5, 3}, .window = {1, 1}, .adaptive = true, .tenths = true},
    {.label = "bins that divide", .x = {1, 2, 4, 6}, .window = {2, 3}, .adaptive = true},
    {.label = "6x6 bins of 13x13", .x = {1, 3, 13, 13}, .window = {6, 6}, .adaptive = true, .big = true, .tenths = true},
    {.label = "bins, batch 0", .x = {0, 3, 4, 5}, .window = {3, 3}, .adaptive = true},
};
/* clang-format on */

static plumb_attr_pool2d attr_of(const struct row *row)
{
    plumb_attr_pool2d attr;
    memset(&attr, 0, sizeof attr);
    for (int i = 0; i < 2; i++) {
        attr.window[i] = row->window[i];
        attr.stride[i] = row->stride[i] ? row->stride[i] : row->window[i];
        attr.dilation[i] = row->dilation ? row->dilation : 1;
    }
    memcpy(attr.padding, row->padding, sizeof attr.padding);
    attr.adaptive = row->adaptive;
    for (int i = 0; i < 2 && row->adaptive; i++)
        attr.stride[i] = 1;
    attr.ceil_mode = row->ceil;
    attr.exclude_padding = row->exclude;
    return attr;
}

static plumb_shape shape_of_x(const struct row *row)
{
    return PLUMB_SHAPE(row->x[0], row->x[1], row->x[2], row->x[3]);
}

/* Counted, not computed: windows fit as long as they end inside the padded picture, or, rounding up, as
 * long as they begin before its right padding and the one before did not reach the end. */
static int64_t positions(const struct row *row, int axis)
{
    plumb_attr_pool2d a = attr_of(row);
    if (row->adaptive)
        return row->window[axis];
    int64_t size = row->x[axis + 2], edge = size + a.padding[axis + 2],
            reach = a.dilation[axis] * (a.window[axis] - 1);
    int64_t count = 0, at = -a.padding[axis];
    for (; at + reach < edge; at += a.stride[axis]) {
        count++;
    }
    bool remainder = at - a.stride[axis] + reach < edge - 1;
    return count + (row->ceil && remainder && at < size ? 1 : 0);
}

static plumb_shape shape_of_y(const struct row *row)
{
    return PLUMB_SHAPE(row->x[0], row->x[1], positions(row, 0), positions(row, 1));
}

static void add_forward(case_list *list, const plumb_op *op, const struct row *row, case_input x,
                        const char *suffix)
{
    plumb_attr_pool2d attr = attr_of(row);
    attr.exclude_padding = op == &plumb_op_max_pool2d ? 0 : attr.exclude_padding;
    op_case one = make_case(op, &attr, "%s%s%s", row->label, row->exclude ? " e" : "", suffix);
    one.n_in = 1;
    one.in[0] = x;
    one.exact = op == &plumb_op_max_pool2d || !row->tenths;
    one.no_gradient = row->big;
    add_case(list, &one);
}

/* The largest could be anywhere: indices come from the whole plane, many of them twice. */
static case_input indices(const struct row *row)
{
    return integers(PLUMB_I64, shape_of_y(row), 0, (double)(row->x[2] * row->x[3] - 1));
}

/* As max_pool2d makes them: each in its own window, one of its taps in the picture. */
static case_input own_indices(const struct row *row)
{
    static double all[64 * 1024];
    static size_t used;
    plumb_attr_pool2d a = attr_of(row);
    plumb_shape y = shape_of_y(row);
    double *first = all + used;
    uint32_t dice = 1;
    for (int64_t plane = 0; plane < y.dim[0] * y.dim[1]; plane++) {
        for (int64_t i = 0; i < y.dim[2] * y.dim[3]; i++) {
            int64_t h = -1, w = -1;
            while (h < 0 || h >= row->x[2] || w < 0 || w >= row->x[3]) {
                int64_t tap = (int64_t)((dice = dice * 1664525u + 1013904223u) >> 8);
                if (row->adaptive) {
                    int64_t oh = i / y.dim[3], ow = i % y.dim[3], bh = oh * row->x[2] / y.dim[2], bw = ow * row->x[3] / y.dim[3];
                    h = bh + tap % (((oh + 1) * row->x[2] + y.dim[2] - 1) / y.dim[2] - bh);
                    w = bw + tap / 64 % (((ow + 1) * row->x[3] + y.dim[3] - 1) / y.dim[3] - bw);
                    continue;
                }
                h = i / y.dim[3] * a.stride[0] - a.padding[0] + tap % a.window[0] * a.dilation[0];
                w = i % y.dim[3] * a.stride[1] - a.padding[1] + tap / a.window[0] % a.window[1] * a.dilation[1];
            }
            if (used == sizeof all / sizeof *all) {
                abort();
            }
            all[used++] = (double)(h * row->x[3] + w);
        }
    }
    return (case_input){.shape = y, .dtype = PLUMB_I64, .fill = CASE_GIVEN, .given = first};
}

static void add_backward(case_list *list, const plumb_op *op, const struct row *row, bool lender, bool own)
{
    plumb_attr_pool2d attr = attr_of(row);
    plumb_shape x = shape_of_x(row);
    bool indexed = op == &plumb_op_max_pool2d_backward;
    attr.exclude_padding = indexed ? 0 : attr.exclude_padding;
    attr.shape.rank = lender ? -1 : x.rank;
    for (int d = 0; !lender && d < x.rank; d++) {
        attr.shape.dim[d] = x.dim[d];
    }
    op_case one =
        make_case(op, &attr, "%s%s%s%s", row->label, row->exclude ? " e" : "", own ? ", own" : "", lender ? ", lent shape" : "");
    one.in[one.n_in++] = floats(shape_of_y(row));
    if (indexed) {
        one.in[one.n_in++] = own ? own_indices(row) : indices(row);
    }
    if (lender) {
        one.in[one.n_in++] = floats(x);
    }
    one.exact = indexed || !row->tenths;
    one.no_gradient = row->big;
    one.mostly_zero = true; /* what no window chose or reached */
    add_case(list, &one);
}

static void add_select(case_list *list, const struct row *row)
{
    plumb_attr_pool2d attr = attr_of(row);
    op_case one = make_case(&plumb_op_max_pool2d_select, &attr, "%s", row->label);
    one.n_in = 2;
    one.in[0] = floats(shape_of_x(row));
    one.in[1] = indices(row);
    one.exact = true;
    one.no_gradient = row->big;
    add_case(list, &one);
}

/* ---- ties, NaN and infinities: which one wins ---- */

static void add_special(case_list *list)
{
    static const double nan_first[16] = {1,  (double)NAN, 3,  2,           5, (double)NAN, 0, 1,
                                         -1, -2,          -3, (double)NAN, 4, 4,           4, 4};
    static const double infinite[16] = {-INFINITY, -INFINITY, INFINITY, 1, -INFINITY, -INFINITY, 2, INFINITY,
                                        0,         -0.0,      -0.0,     0, 1e30,      -INFINITY, 3, 3};
    static const double *const given[] = {nan_first, infinite};
    const struct row square = {.label = "2x2", .x = {1, 1, 4, 4}, .window = {2, 2}};
    const struct row sliding = {
        .label = "3x3 s1 p1", .x = {1, 1, 4, 4}, .window = {3, 3}, .stride = {1, 1}, .padding = {1, 1, 1, 1}};
    for (int i = 0; i < 8; i++) {
        plumb_attr_pool2d attr = attr_of(i / 2 % 2 ? &sliding : &square);
        op_case one = make_case(&plumb_op_max_pool2d, &attr, "%s of %s%s", i / 2 % 2 ? "3x3" : "2x2",
                                i % 2 ? "infinities" : "NaN", i < 4 ? "" : ", 2 channels");
        one.n_in = 1;
        one.in[0] = floats(i < 4 ? PLUMB_SHAPE(1, 1, 4, 4) : PLUMB_SHAPE(1, 2, 2, 4));
        one.in[0].fill = CASE_GIVEN;
        one.in[0].given = given[i % 2];
        one.no_gradient = true; /* there is none at a NaN or an infinity */
        add_case(list, &one);
    }
    for (int i = 0; i < 6; i++) { /* many equal largest: the first must win */
        plumb_attr_pool2d attr = attr_of(&rows[i]);
        op_case one = make_case(&plumb_op_max_pool2d, &attr, "%s, ties", rows[i].label);
        one.n_in = 1;
        one.in[0] = integers(PLUMB_NO_DTYPE, shape_of_x(&rows[i]), 0, 2);
        one.no_gradient = true; /* a tie is a kink */
        add_case(list, &one);
    }
}

/* ---- refusals ---- */

static void refuse(case_list *list, const plumb_op *op, const plumb_attr_pool2d *attr, case_input a,
                   case_input b, int n_in, const char *label)
{
    op_case one = make_case(op, attr, "%s", label);
    one.n_in = n_in;
    one.in[0] = a;
    one.in[1] = b;
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void refuse_row(case_list *list, const struct row *row)
{
    plumb_attr_pool2d attr = attr_of(row);
    case_input x = floats(shape_of_x(row));
    refuse(list, &plumb_op_max_pool2d, &attr, x, x, 1, row->label);
    refuse(list, &plumb_op_average_pool2d, &attr, x, x, 1, row->label);
}

static void add_refusals(case_list *list)
{
    /* clang-format off */
    static const struct row bad[] = {
        {.label = "window 0", .x = {1, 2, 4, 4}, .window = {0, 2}, .stride = {1, 1}},
        {.label = "no bins", .x = {1, 2, 4, 4}, .window = {2, 0}, .adaptive = true},
        {.label = "bins of nothing", .x = {1, 2, 0, 4}, .window = {2, 2}, .adaptive = true},
        {.label = "padded bins", .x = {1, 2, 4, 4}, .window = {2, 2}, .padding = {1, 0, 0, 0}, .adaptive = true},
        {.label = "window -1", .x = {1, 2, 4, 4}, .window = {2, -1}, .stride = {1, 1}},
        {.label = "window overflows", .x = {1, 2, 4, 4}, .window = {INT64_MAX, 2}, .stride = {1, 1}},
        {.label = "stride -1", .x = {1, 2, 4, 4}, .window = {2, 2}, .stride = {1, -1}},
        {.label = "padding -1", .x = {1, 2, 4, 4}, .window = {2, 2}, .padding = {-1, 0, 0, 0}},
        {.label = "padding reaches the window", .x = {1, 2, 4, 4}, .window = {2, 2}, .padding = {0, 0, 0, 2}},
        {.label = "padding near the largest integer", .x = {1, 2, 4, 4}, .window = {2, 2},
         .padding = {INT64_MAX, 0, 0, 0}},
        {.label = "window over padded picture", .x = {1, 2, 3, 8}, .window = {6, 2}, .padding = {1, 0, 1, 0}},
        {.label = "no picture", .x = {1, 2, 0, 4}, .window = {2, 2}, .padding = {1, 0, 1, 0}},
        {.label = "dilated window misses the picture", .x = {1, 2, 1, 8}, .window = {2, 2}, .padding = {1, 0, 1, 0},
         .dilation = 2},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuse_row(list, &bad[i]);
    }
    plumb_attr_pool2d attr = attr_of(&rows[0]);
    plumb_shape x = shape_of_x(&rows[0]), y = shape_of_y(&rows[0]);
    refuse(list, &plumb_op_max_pool2d, &attr, floats(PLUMB_SHAPE(3, 4, 6)), floats(x), 1, "rank 3");
    refuse(list, &plumb_op_average_pool2d, &attr, integers(PLUMB_I32, x, 0, 3), floats(x), 1, "integers");
    attr.stride[1] = 0;
    refuse(list, &plumb_op_average_pool2d, &attr, floats(x), floats(x), 1, "stride 0");
    attr = attr_of(&rows[0]);
    attr.dilation[0] = 0;
    refuse(list, &plumb_op_max_pool2d, &attr, floats(x), floats(x), 1, "dilation 0");
    attr.dilation[0] = 2;
    refuse(list, &plumb_op_average_pool2d, &attr, floats(x), floats(x), 1, "dilated average");

    attr = attr_of(&rows[0]);
    attr.shape.rank = x.rank;
    memcpy(attr.shape.dim, x.dim, sizeof x.dim[0] * (size_t)x.rank);
    case_input dy = floats(y), other = floats(PLUMB_SHAPE(2, 3, 2, 2)), index = integers(PLUMB_I64, y, 0, 23);
    refuse(list, &plumb_op_average_pool2d_backward, &attr, other, dy, 1, "dy of another width");
    refuse(list, &plumb_op_max_pool2d_backward, &attr, other, index, 2, "dy of another width");
    refuse(list, &plumb_op_max_pool2d_backward, &attr, dy, integers(PLUMB_I64, other.shape, 0, 3), 2,
           "index of another width");
    refuse(list, &plumb_op_max_pool2d_backward, &attr, dy, integers(PLUMB_I32, y, 0, 3), 2, "index of i32");
    refuse(list, &plumb_op_max_pool2d_backward, &attr, dy, integers(PLUMB_I64, y, 24, 30), 2,
           "index past the plane");
    refuse(list, &plumb_op_max_pool2d_backward, &attr, dy, integers(PLUMB_I64, y, -3, -1), 2,
           "negative index");
    refuse(list, &plumb_op_max_pool2d_select, &attr, floats(x), integers(PLUMB_I64, y, 24, 30), 2,
           "index past the plane");
    refuse(list, &plumb_op_max_pool2d_select, &attr, floats(x), integers(PLUMB_I64, y, -3, -1), 2,
           "negative index");
    refuse(list, &plumb_op_max_pool2d_select, &attr, floats(x),
           integers(PLUMB_I64, PLUMB_SHAPE(2, 2, 2, 3), 0, 3), 2, "index of other channels");
}

void cases_pool(case_list *list)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        plumb_shape x = shape_of_x(row);
        add_forward(list, &plumb_op_max_pool2d, row, distinct(x), "");
        add_backward(list, &plumb_op_max_pool2d_backward, row, i % 2 == 0, false);
        add_backward(list, &plumb_op_max_pool2d_backward, row, i % 2 == 1, true);
        add_select(list, row);
        if (row->dilation == 0) {
            add_forward(list, &plumb_op_average_pool2d, row, floats(x), "");
            add_backward(list, &plumb_op_average_pool2d_backward, row, i % 2 == 1, false);
        }
    }
    add_special(list);
    add_refusals(list);
}
