/* Cases of conv2d and its two adjoints, from one table: every row is a convolution and gives a case of
 * each of the three ops, the forward one without and with bias and activation, the backward ones with the result's shape
 * in the attributes and lent by a tensor. */
#include "cases.h"

#include <stdio.h>

struct row {
    const char *label;
    int64_t x[4], o, k[2];                        /* x (N, C, H, W), o filters of k */
    int64_t stride, padding[4], dilation, groups; /* 0: 1, 0, 1, 1 */
    int64_t stride_w, dilation_w;                 /* 0: as the other axis */
    bool flip, big;                               /* big: too large for difference quotients */
    bool sparse;                                  /* dx or y is mostly zeros */
    bool filter;                                  /* there for the filter's gradient: forward once */
};

/* clang-format off */
static const struct row rows[] = {
    {.label = "3x3", .x = {2, 3, 5, 6}, .o = 4, .k = {3, 3}},
    {.label = "3x3 p1", .x = {2, 3, 5, 4}, .o = 4, .k = {3, 3}, .padding = {1, 1, 1, 1}},
    {.label = "3x3 s2 p1", .x = {2, 2, 6, 7}, .o = 3, .k = {3, 3}, .stride = 2, .padding = {1, 1, 1, 1}},
    {.label = "3x3 s1x2", .x = {1, 2, 5, 7}, .o = 3, .k = {3, 3}, .stride = 1, .stride_w = 2},
    {.label = "3x3 d2", .x = {1, 2, 7, 6}, .o = 3, .k = {3, 3}, .dilation = 2, .padding = {1, 1, 1, 1}},
    {.label = "3x2 d1x3 s2", .x = {2, 2, 6, 8}, .o = 2, .k = {3, 2}, .stride = 2, .dilation = 1, .dilation_w = 3},
    {.label = "2x2 d3", .x = {1, 2, 6, 7}, .o = 3, .k = {2, 2}, .dilation = 3},
    {.label = "4x4 d2 p2", .x = {1, 1, 7, 8}, .o = 2, .k = {4, 4}, .dilation = 2, .padding = {2, 2, 2, 2}},
    {.label = "1x1", .x = {2, 5, 3, 4}, .o = 6, .k = {1, 1}},
    {.label = "1x1 s2", .x = {2, 3, 5, 4}, .o = 4, .k = {1, 1}, .stride = 2, .sparse = true},
    {.label = "1x1 p1", .x = {1, 2, 3, 3}, .o = 2, .k = {1, 1}, .padding = {1, 1, 1, 1}},
    {.label = "5x5 p2", .x = {1, 2, 6, 5}, .o = 3, .k = {5, 5}, .padding = {2, 2, 2, 2}},
    {.label = "7x7 s2 p3", .x = {1, 1, 9, 8}, .o = 2, .k = {7, 7}, .stride = 2, .padding = {3, 3, 3, 3}},
    {.label = "stride over kernel", .x = {1, 2, 8, 9}, .o = 3, .k = {2, 2}, .stride = 3, .sparse = true},
    {.label = "stride over picture", .x = {2, 2, 4, 5}, .o = 2, .k = {2, 2}, .stride = 9, .sparse = true},
    {.label = "asymmetric p", .x = {1, 2, 4, 5}, .o = 3, .k = {3, 3}, .padding = {0, 1, 2, 0}},
    {.label = "asymmetric p s2", .x = {2, 2, 5, 4}, .o = 2, .k = {3, 3}, .stride = 2, .padding = {2, 0, 1, 3}},
    {.label = "p over kernel", .x = {1, 2, 3, 2}, .o = 2, .k = {2, 3}, .padding = {4, 3, 3, 4}, .sparse = true},
    {.label = "groups 2", .x = {2, 4, 5, 4}, .o = 6, .k = {3, 3}, .groups = 2, .padding = {1, 1, 1, 1}},
    {.label = "groups 3 s2", .x = {1, 6, 5, 6}, .o = 3, .k = {3, 2}, .groups = 3, .stride = 2},
    {.label = "depthwise", .x = {2, 4, 5, 5}, .o = 4, .k = {3, 3}, .groups = 4, .padding = {1, 1, 1, 1}},
    {.label = "depthwise x2", .x = {1, 3, 5, 4}, .o = 6, .k = {3, 3}, .groups = 3},
    {.label = "1 channel", .x = {1, 1, 6, 6}, .o = 1, .k = {3, 3}},
    {.label = "1x1 picture", .x = {3, 4, 1, 1}, .o = 5, .k = {1, 1}},
    {.label = "kernel is the picture", .x = {3, 2, 4, 5}, .o = 3, .k = {4, 5}},
    {.label = "one column", .x = {2, 2, 7, 1}, .o = 3, .k = {3, 1}, .padding = {1, 0, 1, 0}},
    {.label = "one row", .x = {2, 2, 1, 9}, .o = 3, .k = {1, 5}, .padding = {0, 2, 0, 2}},
    {.label = "high and narrow", .x = {1, 2, 11, 3}, .o = 2, .k = {3, 3}, .padding = {0, 1, 0, 1}},
    {.label = "batch 0", .x = {0, 3, 5, 5}, .o = 4, .k = {3, 3}, .sparse = true},
    {.label = "batch 3", .x = {3, 2, 4, 4}, .o = 2, .k = {2, 2}},
    {.label = "no input channels", .x = {2, 0, 4, 4}, .o = 2, .k = {3, 3}, .sparse = true},
    {.label = "no filters", .x = {2, 2, 4, 4}, .o = 0, .k = {3, 3}, .sparse = true},
    {.label = "3x3 flip", .x = {2, 3, 5, 6}, .o = 2, .k = {3, 3}, .flip = true},
    {.label = "2x3 flip s2 p1", .x = {1, 2, 6, 5}, .o = 3, .k = {2, 3}, .flip = true, .stride = 2, .padding = {1, 1, 1, 1}},
    {.label = "flip groups 2 d2", .x = {1, 4, 6, 6}, .o = 4, .k = {2, 2}, .flip = true, .groups = 2, .dilation = 2},
    {.label = "LeNet first", .x = {2, 1, 28, 28}, .o = 6, .k = {5, 5}, .padding = {2, 2, 2, 2}, .big = true},
    {.label = "LeNet second", .x = {2, 6, 14, 14}, .o = 16, .k = {5, 5}, .big = true},
    {.label = "teaching LeNet first", .x = {1, 3, 32, 32}, .o = 8, .k = {5, 5}, .big = true},
    {.label = "residual 3x3", .x = {2, 16, 8, 8}, .o = 16, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "residual shortcut", .x = {2, 16, 8, 8}, .o = 32, .k = {1, 1}, .stride = 2, .big = true, .sparse = true},
    {.label = "more pictures than lanes", .x = {19, 3, 6, 5}, .o = 7, .k = {3, 2}, .padding = {1, 0, 0, 1}, .big = true},
    {.label = "lanes of pictures, groups", .x = {16, 4, 4, 5}, .o = 6, .k = {3, 3}, .groups = 2, .padding = {1, 1, 1, 1}, .flip = true, .big = true},
    {.label = "small pictures, many filters", .x = {5, 8, 4, 4}, .o = 24, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "small pictures, odd wide channels", .x = {13, 17, 4, 5}, .o = 35, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "small pictures s2", .x = {7, 16, 5, 4}, .o = 32, .k = {3, 3}, .stride = 2, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "large picture, few channels of many filters", .x = {1, 3, 20, 19}, .o = 66, .k = {5, 5}, .stride = 2, .stride_w = 3, .padding = {2, 2, 2, 2}, .flip = true, .big = true},
    {.label = "wide rows", .x = {2, 10, 3, 39}, .o = 16, .k = {3, 3}, .dilation = 2, .padding = {2, 2, 2, 2}, .big = true},
    {.label = "wide filter columns", .x = {3, 9, 6, 6}, .o = 17, .k = {1, 1}, .big = true},
    /* where Winograd's form is chosen: many channels, some past whole vectors, and every kind of border */
    {.label = "winograd p1", .x = {1, 40, 16, 16}, .o = 32, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "winograd p0", .x = {2, 32, 13, 10}, .o = 40, .k = {3, 3}, .big = true},
    {.label = "winograd uneven", .x = {2, 41, 11, 14}, .o = 60, .k = {3, 3}, .padding = {0, 1, 2, 2}, .big = true},
    {.label = "winograd flip", .x = {3, 50, 8, 7}, .o = 53, .k = {3, 3}, .padding = {2, 2, 0, 1}, .flip = true, .big = true},
    {.label = "winograd many tiles", .x = {3, 62, 16, 15}, .o = 32, .k = {3, 3}, .padding = {1, 2, 1, 0}, .big = true},
    {.label = "winograd 4x4", .x = {6, 64, 4, 4}, .o = 64, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "winograd 7x7", .x = {4, 64, 7, 7}, .o = 32, .k = {3, 3}, .padding = {1, 1, 1, 1}, .flip = true, .big = true},
    {.label = "winograd narrow", .x = {2, 33, 20, 8}, .o = 64, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    /* and for the gradient of the filter, in bf16 */
    {.label = "winograd filter p0", .x = {2, 40, 18, 18}, .o = 64, .k = {3, 3}, .big = true, .filter = true},
    {.label = "winograd filter p1", .x = {1, 36, 24, 28}, .o = 50, .k = {3, 3}, .padding = {1, 1, 1, 1}, .flip = true, .big = true, .filter = true},
    {.label = "winograd filter, pictures", .x = {4, 33, 12, 16}, .o = 64, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true, .filter = true},
    {.label = "winograd filter flip", .x = {2, 48, 18, 18}, .o = 48, .k = {3, 3}, .flip = true, .big = true, .filter = true},
    {.label = "winograd filter, one picture", .x = {1, 33, 26, 26}, .o = 64, .k = {3, 3}, .big = true, .filter = true},
    {.label = "winograd filter uneven", .x = {2, 50, 18, 17}, .o = 64, .k = {3, 3}, .big = true, .filter = true},
    {.label = "winograd filter, padded above", .x = {1, 40, 29, 26}, .o = 64, .k = {3, 3}, .padding = {1, 0, 0, 0}, .big = true, .filter = true},
    {.label = "odd widths", .x = {1, 5, 9, 23}, .o = 9, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    /* what kernels over channels-last pictures take: channels that fill vectors */
    {.label = "wide 3x3 p1", .x = {2, 32, 6, 9}, .o = 32, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "wide, rows of many tiles", .x = {1, 16, 2, 33}, .o = 48, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "wide, seven columns", .x = {2, 24, 7, 7}, .o = 88, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "wide 3x3 s2 p1", .x = {2, 17, 8, 7}, .o = 35, .k = {3, 3}, .stride = 2, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "wide 3x3 s3x2", .x = {1, 16, 9, 10}, .o = 20, .k = {3, 3}, .stride = 3, .stride_w = 2, .padding = {1, 0, 1, 2}, .big = true},
    {.label = "wide 5x5 p2", .x = {1, 18, 6, 17}, .o = 16, .k = {5, 5}, .padding = {2, 2, 2, 2}, .big = true},
    {.label = "wide 3x3 d2 flip", .x = {1, 20, 9, 8}, .o = 33, .k = {3, 3}, .dilation = 2, .padding = {2, 2, 1, 2}, .flip = true, .big = true},
    {.label = "wide 2x3 s2 d1x3 flip", .x = {2, 16, 6, 13}, .o = 16, .k = {2, 3}, .stride = 2, .dilation = 1, .dilation_w = 3, .padding = {0, 2, 0, 1}, .flip = true, .big = true},
    {.label = "wide groups 2", .x = {1, 48, 5, 6}, .o = 38, .k = {3, 3}, .groups = 2, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "wide 1x1", .x = {3, 36, 10, 11}, .o = 40, .k = {1, 1}, .big = true},
    {.label = "wide 1x1 s2", .x = {2, 32, 7, 6}, .o = 16, .k = {1, 1}, .stride = 2, .big = true, .sparse = true},
    {.label = "wide p over kernel", .x = {1, 16, 3, 2}, .o = 16, .k = {2, 3}, .padding = {4, 3, 3, 4}, .big = true, .sparse = true},
    {.label = "stem 7x7 s2 p3", .x = {1, 3, 18, 37}, .o = 32, .k = {7, 7}, .stride = 2, .padding = {3, 3, 3, 3}, .big = true},
    {.label = "few filters of many channels", .x = {2, 40, 5, 4}, .o = 5, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "deep 3x3 p1", .x = {2, 260, 4, 3}, .o = 64, .k = {3, 3}, .padding = {1, 1, 1, 1}, .big = true},
    {.label = "one row beyond a band", .x = {1, 16, 1, 270}, .o = 16, .k = {1, 3}, .padding = {0, 1, 0, 1}, .big = true},
};
/* clang-format on */

static plumb_attr_conv2d attr_of(const struct row *row)
{
    plumb_attr_conv2d attr;
    memset(&attr, 0, sizeof attr);
    attr.stride[0] = row->stride ? row->stride : 1;
    attr.stride[1] = row->stride_w ? row->stride_w : attr.stride[0];
    attr.dilation[0] = row->dilation ? row->dilation : 1;
    attr.dilation[1] = row->dilation_w ? row->dilation_w : attr.dilation[0];
    memcpy(attr.padding, row->padding, sizeof attr.padding);
    attr.groups = row->groups ? row->groups : 1;
    attr.flip = row->flip;
    return attr;
}

/* Counted, not computed: how many positions of the filter fit. */
static int64_t positions(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t stride,
                         int64_t dilation)
{
    int64_t count = 0;
    for (int64_t at = -before; at + dilation * (kernel - 1) < size + after; at += stride) {
        count++;
    }
    return count;
}

static void shapes_of(const struct row *row, plumb_shape *x, plumb_shape *w, plumb_shape *y)
{
    plumb_attr_conv2d a = attr_of(row);
    *x = PLUMB_SHAPE(row->x[0], row->x[1], row->x[2], row->x[3]);
    *w = PLUMB_SHAPE(row->o, row->x[1] / a.groups, row->k[0], row->k[1]);
    *y = PLUMB_SHAPE(row->x[0], row->o,
                     positions(row->x[2], a.padding[0], a.padding[2], row->k[0], a.stride[0], a.dilation[0]),
                     positions(row->x[3], a.padding[1], a.padding[3], row->k[1], a.stride[1], a.dilation[1]));
}

/* Nothing depends on the inputs of a result without elements. */
static unsigned all_zero(const plumb_shape *result) { return plumb_shape_count(result) == 0 ? 7 : 0; }

static void add_forward(case_list *list, const struct row *row, bool bias, int activation)
{
    static const char *const names[] = {"", ", relu", ", sigmoid", ", tanh"};
    plumb_attr_conv2d attr = attr_of(row);
    plumb_shape x, w, y;
    shapes_of(row, &x, &w, &y);
    attr.activation = activation;
    op_case one = make_case(&plumb_op_conv2d, &attr, "%s%s%s", row->label, bias ? ", bias" : "", names[activation]);
    one.n_in = bias ? 3 : 2;
    one.in[0] = floats(x);
    one.in[1] = floats(w);
    one.in[2] = floats(PLUMB_SHAPE(row->o));
    one.exact = activation <= PLUMB_ACTIVATION_RELU;
    one.no_gradient = row->big;
    one.mostly_zero = row->sparse;
    one.zero_gradient = all_zero(&y);
    add_case(list, &one);
}

/* What the result's shape comes from: the attributes, or a tensor that lends it. */
static void add_backward(case_list *list, const plumb_op *op, const struct row *row, bool lender)
{
    plumb_attr_conv2d attr = attr_of(row);
    plumb_shape x, w, y;
    shapes_of(row, &x, &w, &y);
    bool data = op == &plumb_op_conv2d_backward_data;
    plumb_shape result = data ? x : w;
    attr.shape.rank = lender ? -1 : result.rank;
    for (int d = 0; !lender && d < result.rank; d++) {
        attr.shape.dim[d] = result.dim[d];
    }
    op_case one = make_case(op, &attr, "%s%s", row->label, lender ? ", lent shape" : "");
    one.n_in = lender ? 3 : 2;
    one.in[0] = floats(data ? y : x);
    one.in[1] = floats(data ? w : y);
    one.in[2] = floats(result);
    one.exact = true;
    one.no_gradient = row->big;
    one.mostly_zero = row->sparse;
    one.zero_gradient = all_zero(&result);
    add_case(list, &one);
}

/* ---- refusals ---- */

static void refuse(case_list *list, const struct row *row, const char *label)
{
    plumb_attr_conv2d attr = attr_of(row);
    plumb_shape x = PLUMB_SHAPE(row->x[0], row->x[1], row->x[2], row->x[3]);
    op_case one = make_case(&plumb_op_conv2d, &attr, "%s", label);
    one.n_in = 2;
    one.in[0] = floats(x);
    one.in[1] = floats(PLUMB_SHAPE(row->o, row->x[1] / attr.groups, row->k[0], row->k[1]));
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

/* A valid convolution with one attribute set to a value it must not have. */
static void refuse_attr(case_list *list, size_t field, int64_t value, const char *label)
{
    static const plumb_op *const ops[] = {&plumb_op_conv2d, &plumb_op_conv2d_backward_data,
                                          &plumb_op_conv2d_backward_filter};
    for (int i = 0; i < 3; i++) {
        plumb_attr_conv2d attr = attr_of(&rows[0]);
        plumb_shape x, w, y;
        shapes_of(&rows[0], &x, &w, &y);
        if (i > 0) {
            attr.shape = i == 1 ? x : w;
        }
        memcpy((char *)&attr + field, &value, sizeof value);
        op_case one = make_case(ops[i], &attr, "%s", label);
        one.n_in = 2;
        one.in[0] = floats(i == 1 ? y : x);
        one.in[1] = floats(i == 2 ? y : w);
        one.expect = PLUMB_BAD_INPUT;
        add_case(list, &one);
    }
}

static void refuse_shapes(case_list *list, const plumb_op *op, plumb_shape a, plumb_shape b, plumb_shape c,
                          int n_in, const char *label)
{
    plumb_attr_conv2d attr = attr_of(&rows[0]);
    attr.shape.rank = op == &plumb_op_conv2d ? 0 : -1;
    op_case one = make_case(op, &attr, "%s", label);
    one.n_in = n_in;
    one.in[0] = floats(a);
    one.in[1] = floats(b);
    one.in[2] = floats(c);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void refuse_activation(case_list *list, const plumb_op *op, int activation)
{
    plumb_attr_conv2d attr = attr_of(&rows[0]);
    plumb_shape x, w, y;
    shapes_of(&rows[0], &x, &w, &y);
    attr.activation = activation;
    if (op != &plumb_op_conv2d) {
        attr.shape = op == &plumb_op_conv2d_backward_data ? x : w;
    }
    op_case one = make_case(op, &attr, "activation %d", activation);
    one.n_in = 2;
    one.in[0] = floats(op == &plumb_op_conv2d_backward_data ? y : x);
    one.in[1] = floats(op == &plumb_op_conv2d_backward_filter ? y : w);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    /* clang-format off */
    static const struct row bad[] = {
        {.label = "filter higher than padded picture", .x = {1, 2, 3, 9}, .o = 2, .k = {6, 3}, .padding = {1, 1, 1, 1}},
        {.label = "filter wider than picture", .x = {1, 2, 9, 3}, .o = 2, .k = {3, 4}},
        {.label = "dilated filter larger than picture", .x = {1, 2, 6, 6}, .o = 2, .k = {3, 3}, .dilation = 3},
        {.label = "no picture", .x = {1, 2, 0, 6}, .o = 2, .k = {3, 3}},
        {.label = "empty filter", .x = {1, 2, 6, 6}, .o = 2, .k = {0, 3}},
        {.label = "groups do not divide filters", .x = {1, 4, 6, 6}, .o = 3, .k = {3, 3}, .groups = 2},
        {.label = "groups do not divide channels", .x = {1, 5, 6, 6}, .o = 4, .k = {3, 3}, .groups = 2},
        {.label = "dilation overflows", .x = {1, 2, 6, 6}, .o = 2, .k = {3, 3}, .dilation = INT64_MAX / 2},
    };
    /* clang-format on */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        refuse(list, &bad[i], bad[i].label);
    }
    static const struct {
        const char *label;
        size_t field;
        int64_t value;
    } wrong[] = {
        {"stride 0", offsetof(plumb_attr_conv2d, stride[0]), 0},
        {"stride -1", offsetof(plumb_attr_conv2d, stride[1]), -1},
        {"stride over 2^31", offsetof(plumb_attr_conv2d, stride[1]), INT64_MAX},
        {"dilation 0", offsetof(plumb_attr_conv2d, dilation[0]), 0},
        {"dilation -2", offsetof(plumb_attr_conv2d, dilation[1]), -2},
        {"groups 0", offsetof(plumb_attr_conv2d, groups), 0},
        {"groups -1", offsetof(plumb_attr_conv2d, groups), -1},
        {"groups overflow", offsetof(plumb_attr_conv2d, groups), INT64_MAX},
        {"padding -1", offsetof(plumb_attr_conv2d, padding[2]), -1},
        {"padding near the largest integer", offsetof(plumb_attr_conv2d, padding[0]), INT64_MAX - 2},
        {"padding over 2^31", offsetof(plumb_attr_conv2d, padding[3]), (int64_t)1 << 32},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        refuse_attr(list, wrong[i].field, wrong[i].value, wrong[i].label);
    }
    refuse_activation(list, &plumb_op_conv2d, 4);
    refuse_activation(list, &plumb_op_conv2d, -1);
    refuse_activation(list, &plumb_op_conv2d_backward_data, PLUMB_ACTIVATION_RELU);
    refuse_activation(list, &plumb_op_conv2d_backward_filter, PLUMB_ACTIVATION_TANH);
    const plumb_op *forward = &plumb_op_conv2d, *data = &plumb_op_conv2d_backward_data;
    const plumb_op *filter = &plumb_op_conv2d_backward_filter;
    plumb_shape x = PLUMB_SHAPE(2, 3, 5, 6), w = PLUMB_SHAPE(4, 3, 3, 3), y = PLUMB_SHAPE(2, 4, 3, 4);
    plumb_shape none = PLUMB_SCALAR_SHAPE;
    refuse_shapes(list, forward, x, PLUMB_SHAPE(4, 1, 3, 3), none, 2, "channels differ");
    refuse_shapes(list, forward, PLUMB_SHAPE(3, 5, 6), w, none, 2, "picture of rank 3");
    refuse_shapes(list, forward, x, PLUMB_SHAPE(4, 27), none, 2, "filter of rank 2");
    refuse_shapes(list, forward, x, w, PLUMB_SHAPE(3), 3, "bias of another size");
    refuse_shapes(list, forward, x, w, PLUMB_SHAPE(1, 4), 3, "bias of rank 2");
    refuse_shapes(list, data, y, w, PLUMB_SHAPE(2, 3, 6, 6), 3, "dy of another height");
    refuse_shapes(list, data, PLUMB_SHAPE(1, 4, 3, 4), w, x, 3, "dy of another batch");
    refuse_shapes(list, data, y, w, PLUMB_SHAPE(2, 90), 3, "dx of rank 2");
    refuse_shapes(list, filter, x, PLUMB_SHAPE(2, 5, 3, 4), w, 3, "dy of other channels");
    refuse_shapes(list, filter, x, y, PLUMB_SHAPE(4, 3, 3, 2), 3, "dw of another width");
    refuse_shapes(list, filter, x, y, PLUMB_SHAPE(108), 3, "dw of rank 1");
}

void cases_conv(case_list *list)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add_forward(list, &rows[i], true, PLUMB_ACTIVATION_RELU + (int)i % 3);
        if (!rows[i].filter) {
            add_forward(list, &rows[i], false, PLUMB_ACTIVATION_NONE);
            add_forward(list, &rows[i], true, PLUMB_ACTIVATION_NONE);
            add_forward(list, &rows[i], false, PLUMB_ACTIVATION_RELU + (int)(i + 1) % 3);
        }
        add_backward(list, &plumb_op_conv2d_backward_data, &rows[i], i % 3 == 0);
        add_backward(list, &plumb_op_conv2d_backward_filter, &rows[i], i % 3 == 1);
    }
    add_refusals(list);
}
