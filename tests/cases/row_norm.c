/* Cases of the norms of rows: layer, group, instance and RMS norm; rows of one value, of few and of many, about as many as
 * a warp or a block has threads and one more; values far from zero, equal values, and rows enough to be summed in pieces.
 * dlib's LayerNorm had gradients that were wrong at shapes its tests did not have (dlib #2902): hence the many. */
#include "cases.h"

#include <math.h>
#include <stdio.h>

struct row {
    const char *label;
    plumb_shape x; /* (N, C, S) */
    int64_t groups; /* 0: 1 */
    double epsilon; /* 0: 1e-5 */
    bool offset, big; /* values around 100; too large for the gradient check */
    bool same;        /* equal values: the variance is 0 */
};

static const struct row rows[] = {
    {.label = "rows", .x = PLUMB_SHAPE(4, 6, 1)},
    {.label = "one value", .x = PLUMB_SHAPE(5, 1, 1)},
    {.label = "two values", .x = PLUMB_SHAPE(6, 2, 1), .epsilon = 0.1},
    {.label = "one row", .x = PLUMB_SHAPE(1, 7, 1)},
    {.label = "8 values", .x = PLUMB_SHAPE(9, 8, 1)},
    {.label = "9 values", .x = PLUMB_SHAPE(8, 9, 1)},
    {.label = "33 values", .x = PLUMB_SHAPE(3, 33, 1), .big = true},
    {.label = "257 values", .x = PLUMB_SHAPE(2, 257, 1), .big = true},
    {.label = "1025 values", .x = PLUMB_SHAPE(2, 1025, 1), .big = true},
    {.label = "many rows", .x = PLUMB_SHAPE(131, 5, 1), .big = true},
    {.label = "many rows of 40", .x = PLUMB_SHAPE(97, 40, 1), .big = true},
    {.label = "large epsilon", .x = PLUMB_SHAPE(3, 5, 1), .epsilon = 2},
    {.label = "no epsilon", .x = PLUMB_SHAPE(3, 5, 1), .epsilon = PLUMB_ZERO},
    {.label = "far from zero", .x = PLUMB_SHAPE(4, 12, 1), .offset = true},
    {.label = "equal values", .x = PLUMB_SHAPE(3, 11, 1), .same = true},
    {.label = "no rows", .x = PLUMB_SHAPE(0, 4, 1)},
    {.label = "no values", .x = PLUMB_SHAPE(3, 0, 1)},
    {.label = "all in one", .x = PLUMB_SHAPE(2, 3, 4)},
    {.label = "places of 17", .x = PLUMB_SHAPE(2, 3, 17)},
    {.label = "groups of 2", .x = PLUMB_SHAPE(3, 4, 5), .groups = 2},
    {.label = "groups of 3, no places behind", .x = PLUMB_SHAPE(3, 12, 1), .groups = 4},
    {.label = "every channel", .x = PLUMB_SHAPE(2, 3, 6), .groups = 3},
    {.label = "every channel, one value", .x = PLUMB_SHAPE(2, 3, 1), .groups = 3},
    {.label = "pictures", .x = PLUMB_SHAPE(2, 6, 49), .groups = 3, .big = true},
    {.label = "every channel, far from zero", .x = PLUMB_SHAPE(2, 3, 70), .groups = 3, .big = true, .offset = true},
    {.label = "many examples", .x = PLUMB_SHAPE(67, 4, 3), .groups = 2, .big = true},
    {.label = "no examples", .x = PLUMB_SHAPE(0, 4, 3), .groups = 2},
    {.label = "no places", .x = PLUMB_SHAPE(2, 4, 0), .groups = 2},
};

static plumb_attr_row_norm attr_of(const struct row *row)
{
    plumb_attr_row_norm attr;
    memset(&attr, 0, sizeof attr);
    attr.groups = row->groups ? row->groups : 1;
    attr.epsilon = row->epsilon != 0 ? row->epsilon : signbit(row->epsilon) ? 0 : 1e-5;
    return attr;
}

static case_input data(const struct row *row)
{
    return row->same ? floats_in(row->x, 3.3, 3.3) : row->offset ? floats_in(row->x, 99, 101) : floats(row->x);
}

/* Parameters stay f32 while x is bf16 or f16. */
static void widen(op_case *one, int first, int last)
{
    for (int i = first; i <= last; i++)
        one->in[i].dtype = PLUMB_F32;
    one->dtypes = PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16);
}

static void finish(op_case *one, const struct row *row)
{
    /* Steps in proportion to x would span its whole spread; where all values are equal the curve is too sharp for them. */
    one->no_gradient = row->big || row->offset || row->same;
    one->mostly_zero = plumb_shape_count(&row->x) == 0 || row->same || row->x.dim[1] / (row->groups ? row->groups : 1) * row->x.dim[2] == 1;
    if (plumb_shape_count(&row->x) == 0)
        one->zero_gradient = 31;
}

/* (x[, scale[, shift]]) */
static op_case forward(const plumb_op *op, const struct row *row, int affine, bool wide)
{
    plumb_attr_row_norm attr = attr_of(row);
    plumb_shape channels = PLUMB_SHAPE(row->x.dim[1]);
    attr.centred = op != &plumb_op_rms_norm;
    op_case one = make_case(op, &attr, "%s, %d parameters%s", row->label, affine, wide ? " in f32" : "");
    one.n_in = 1 + affine;
    one.in[0] = data(row);
    one.in[1] = floats_in(channels, 0.5, 2);
    one.in[2] = floats_in(channels, 0.5, 1.5); /* not 0, where a row of one value leaves nothing else */
    finish(&one, row);
    if (attr.centred && row->x.dim[1] / attr.groups * row->x.dim[2] == 1)
        one.zero_gradient |= 2; /* y is the shift; the mean is x */
    if (wide)
        widen(&one, 1, affine);
    return one;
}

/* (x, dy, invstd[, mean][, scale]) */
static op_case backward(const struct row *row, bool centred, int affine, bool wide)
{
    plumb_attr_row_norm attr = attr_of(row);
    plumb_shape channels = PLUMB_SHAPE(row->x.dim[1]), statistics = PLUMB_SHAPE(row->x.dim[0], attr.groups);
    attr.centred = centred;
    attr.affine = affine;
    op_case one = make_case(&plumb_op_row_norm_backward, &attr, "%s%s, %d parameters%s", row->label,
                            centred ? "" : ", not centred", affine, wide ? " in f32" : "");
    int n = 3;
    one.in[0] = data(row);
    one.in[1] = floats(row->x);
    one.in[2] = floats_in(statistics, 0.5, 1.5);
    if (centred)
        one.in[n++] = row->same ? floats_in(statistics, 3, 3.5) : row->offset ? floats_in(statistics, 99, 101) : floats_in(statistics, -0.5, 0.5);
    if (affine)
        one.in[n++] = floats_in(channels, 0.5, 2);
    one.n_in = n;
    finish(&one, row);
    one.mostly_zero = plumb_shape_count(&row->x) == 0;
    one.dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64);
    if (wide)
        widen(&one, 2, n - 1);
    return one;
}

static void refuse(case_list *list, op_case one, const char *label)
{
    snprintf(one.label, sizeof one.label, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    const struct row plain = {.label = "", .x = PLUMB_SHAPE(3, 4, 5), .groups = 2};
    const struct row odd = {.label = "", .x = plain.x, .groups = 3}, negative = {.label = "", .x = plain.x, .epsilon = -1};
    op_case one = forward(&plumb_op_group_norm, &odd, 2, false);
    refuse(list, one, "groups that do not divide");
    refuse(list, forward(&plumb_op_layer_norm, &negative, 1, false), "negative epsilon");
    one = forward(&plumb_op_group_norm, &plain, 2, false);
    one.in[2].shape = PLUMB_SHAPE(2);
    refuse(list, one, "shift of another size");
    one = forward(&plumb_op_rms_norm, &plain, 1, false);
    one.in[1].shape = PLUMB_SHAPE(4, 1);
    refuse(list, one, "scale of rank 2");
    one = forward(&plumb_op_layer_norm, &plain, 2, false);
    one.in[0].shape = PLUMB_SHAPE(3, 4);
    refuse(list, one, "input of rank 2");
    one = forward(&plumb_op_group_norm, &plain, 2, false);
    one.in[1].dtype = one.in[2].dtype = PLUMB_F32;
    one.dtypes = PLUMB_BIT(PLUMB_F64);
    refuse(list, one, "parameters narrower than data");
    one = backward(&plain, true, 2, false);
    one.in[2].shape = PLUMB_SHAPE(3, 4);
    refuse(list, one, "statistics of other groups");
    one = backward(&plain, true, 2, false);
    one.n_in = 4;
    refuse(list, one, "no scale");
    one = backward(&plain, true, 1, false);
    one.in[1].shape = PLUMB_SHAPE(3, 5, 4);
    refuse(list, one, "dy of another shape");
}

void cases_row_norm(case_list *list)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        /* All forms of parameters are met, each by a third of the rows. */
        int affine = (int)((i + 2) % 3);
        bool single = row->groups == 0;
        op_case one = forward(single ? &plumb_op_layer_norm : &plumb_op_group_norm, row, affine, false);
        add_case(list, &one);
        if (single) {
            one = forward(&plumb_op_rms_norm, row, affine > 0, false);
            if (row->same) /* not centred: nothing is small */
                one.mostly_zero = false;
            if (plumb_shape_count(&row->x) > 0)
                one.zero_gradient = 0;
            add_case(list, &one);
        }
        one = backward(row, true, affine, false);
        add_case(list, &one);
        one = backward(row, false, affine > 0, false);
        add_case(list, &one);
        if (i % 2 == 0) {
            if (affine) {
                one = forward(single ? &plumb_op_layer_norm : &plumb_op_group_norm, row, affine, true);
                add_case(list, &one);
            }
            one = backward(row, i % 4 == 0, i % 4 == 0 ? affine : affine > 0, true);
            add_case(list, &one);
        }
    }
    add_refusals(list);
}
