/* Cases of batch normalisation: pictures, plain features and sequences; one channel and many; few values
 * and many; the options; and sums large against their spread, where a careless variance loses everything. */
#include "cases.h"

#include <math.h>
#include <stdio.h>

struct row {
    const char *label;
    plumb_shape x;
    double epsilon, momentum; /* 0: 1e-5, 0.1 */
    bool biased, big, offset; /* offset: values around 100 */
    bool wide;                /* what is per channel is f32, the data narrower */
    bool relu, residual;
};

static const struct row *rows(int *count)
{
    static struct row all[42];
    int n = 0;
    all[n++] = (struct row){.label = "pictures", .x = PLUMB_SHAPE(3, 4, 2, 5)};
    all[n++] = (struct row){.label = "features", .x = PLUMB_SHAPE(6, 5)};
    all[n++] = (struct row){.label = "sequences", .x = PLUMB_SHAPE(3, 4, 5)};
    all[n++] = (struct row){.label = "rank 5", .x = PLUMB_SHAPE(2, 3, 2, 1, 4)};
    all[n++] = (struct row){.label = "1 channel", .x = PLUMB_SHAPE(2, 1, 3, 4)};
    all[n++] = (struct row){.label = "batch 1", .x = PLUMB_SHAPE(1, 3, 4, 5)};
    all[n++] = (struct row){.label = "1x1 pictures", .x = PLUMB_SHAPE(7, 3, 1, 1)};
    all[n++] = (struct row){.label = "two values", .x = PLUMB_SHAPE(2, 3, 1, 1), .epsilon = 0.1};
    all[n++] = (struct row){.label = "large epsilon", .x = PLUMB_SHAPE(3, 2, 3, 3), .epsilon = 0.5};
    all[n++] = (struct row){.label = "no epsilon", .x = PLUMB_SHAPE(3, 2, 3, 3), .epsilon = PLUMB_ZERO};
    all[n++] = (struct row){.label = "momentum 1", .x = PLUMB_SHAPE(4, 3, 2, 2), .momentum = 1};
    all[n++] = (struct row){.label = "momentum 0", .x = PLUMB_SHAPE(4, 3, 2, 2), .momentum = PLUMB_ZERO};
    all[n++] = (struct row){.label = "biased running", .x = PLUMB_SHAPE(4, 3, 2, 2), .biased = true};
    all[n++] = (struct row){.label = "far from zero", .x = PLUMB_SHAPE(4, 3, 3, 2), .offset = true};
    all[n++] = (struct row){.label = "far from zero, features", .x = PLUMB_SHAPE(9, 7), .offset = true};
    all[n++] = (struct row){.label = "residual block", .x = PLUMB_SHAPE(2, 16, 8, 8), .big = true};
    all[n++] = (struct row){.label = "odd sizes", .x = PLUMB_SHAPE(5, 3, 7, 13), .big = true};
    all[n++] = (struct row){.label = "wide features", .x = PLUMB_SHAPE(17, 70), .big = true};
    all[n++] = (struct row){.label = "770 examples", .x = PLUMB_SHAPE(770, 2), .big = true};
    all[n++] = (struct row){.label = "batch 0", .x = PLUMB_SHAPE(0, 3, 4, 4)};
    all[n++] = (struct row){.label = "no channels", .x = PLUMB_SHAPE(3, 0, 4, 4)};
    all[n++] = (struct row){.label = "pictures", .x = PLUMB_SHAPE(3, 4, 2, 5), .wide = true};
    all[n++] = (struct row){.label = "features", .x = PLUMB_SHAPE(6, 5), .wide = true};
    all[n++] = (struct row){.label = "far from zero", .x = PLUMB_SHAPE(4, 3, 3, 2), .offset = true, .wide = true};
    all[n++] = (struct row){.label = "odd sizes", .x = PLUMB_SHAPE(5, 3, 7, 13), .big = true, .wide = true};
    all[n++] = (struct row){.label = "batch 0", .x = PLUMB_SHAPE(0, 3, 4, 4), .wide = true};
    all[n++] = (struct row){.label = "biased running", .x = PLUMB_SHAPE(4, 3, 2, 2), .biased = true, .wide = true};
    all[n++] = (struct row){.label = "several chunks", .x = PLUMB_SHAPE(7, 20, 9, 9), .big = true, .offset = true};
    all[n++] = (struct row){.label = "several chunks", .x = PLUMB_SHAPE(5, 33, 8, 7), .big = true, .wide = true};
    static const struct row fused[] = {
        {.label = "pictures", .x = PLUMB_SHAPE(3, 4, 2, 5)}, /* these in all forms, the rest with both */
        {.label = "features", .x = PLUMB_SHAPE(6, 5)},
        {.label = "planes of 8", .x = PLUMB_SHAPE(3, 4, 2, 4)},
        {.label = "residual block", .x = PLUMB_SHAPE(2, 5, 8, 8), .big = true},
        {.label = "odd sizes", .x = PLUMB_SHAPE(5, 3, 7, 13), .big = true, .wide = true},
        {.label = "batch 0", .x = PLUMB_SHAPE(0, 3, 4, 4)},
        {.label = "several chunks", .x = PLUMB_SHAPE(7, 20, 9, 9), .big = true},
    };
    for (int i = 0; i < 7; i++) {
        for (int form = i < 3 ? 1 : 3; form < 4; form++) {
            all[n] = fused[i];
            all[n].relu = form & 1;
            all[n++].residual = form & 2;
        }
    }
    *count = n;
    return all;
}

/* Inputs first..last stay f32 while x is bf16 or f16. */
static void widen(op_case *one, const struct row *row, int first, int last)
{
    for (int i = first; row->wide && i <= last; i++) {
        one->in[i].dtype = PLUMB_F32;
        one->dtypes = PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16);
    }
}

static plumb_attr_batch_norm attr_of(const struct row *row)
{
    plumb_attr_batch_norm attr;
    memset(&attr, 0, sizeof attr);
    attr.epsilon = row->epsilon != 0 ? row->epsilon : signbit(row->epsilon) ? 0 : 1e-5;
    attr.momentum = row->momentum != 0 ? row->momentum : signbit(row->momentum) ? 0 : 0.1;
    attr.biased_running = row->biased;
    attr.activation = row->relu ? PLUMB_ACTIVATION_RELU : PLUMB_ACTIVATION_NONE;
    return attr;
}

static op_case begin(const plumb_op *op, const struct row *row)
{
    plumb_attr_batch_norm attr = attr_of(row);
    attr.residual = op == &plumb_op_batch_norm_backward && row->residual;
    op_case one = make_case(op, &attr, "%s%s%s%s", row->label, row->wide ? ", f32 channels" : "",
                            row->residual ? ", residual" : "", row->relu ? ", relu" : "");
    one.n_in = 5;
    return one;
}

/* (x, scale, shift, running_mean, running_var[, residual]) of batch_norm and batch_norm_inference */
static op_case forward(const plumb_op *op, const struct row *row)
{
    plumb_shape channels = PLUMB_SHAPE(row->x.dim[1]);
    op_case one = begin(op, row);
    one.n_in += row->residual;
    one.in[5] = floats(row->x);
    one.in[0] = row->offset ? floats_in(row->x, 99, 101) : floats(row->x);
    one.in[1] = floats_in(channels, 0.5, 2);
    one.in[2] = row->relu ? floats_in(channels, 1, 2) : floats(channels); /* not all of it 0 */
    one.in[3] = floats(channels);
    one.in[4] = floats_in(channels, 0.5, 3);
    one.no_gradient =
        row->big || row->offset; /* too large; steps in proportion to x would span its whole spread */
    one.mostly_zero = plumb_shape_count(&row->x) == 0;
    one.zero_gradient = one.mostly_zero ? 39 : 0;
    if (op == &plumb_op_batch_norm ? row->momentum == 1 : one.mostly_zero) {
        one.zero_gradient |= 24; /* the running statistics are not read */
    }
    widen(&one, row, 1, 4);
    return one;
}

/* (x, scale, mean, invstd, dy[, y]) */
static op_case backward(const struct row *row)
{
    plumb_shape channels = PLUMB_SHAPE(row->x.dim[1]);
    op_case one = begin(&plumb_op_batch_norm_backward, row);
    one.n_in += row->relu;
    one.in[5] = floats_avoiding(row->x, 0);
    one.in[0] = row->offset ? floats_in(row->x, 99, 101) : floats(row->x);
    one.in[1] = floats_in(channels, 0.5, 2);
    one.in[2] = row->offset ? floats_in(channels, 99, 101) : floats_in(channels, -0.5, 0.5);
    one.in[3] = floats_in(channels, 0.5, 1.5);
    one.in[4] = floats(row->x);
    one.no_gradient =
        row->big || row->offset; /* too large; steps in proportion to x would span its whole spread */
    one.mostly_zero = plumb_shape_count(&row->x) == 0;
    one.zero_gradient = one.mostly_zero ? 31 : 0;
    widen(&one, row, 1, 3);
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
    static const plumb_op *const forms[] = {&plumb_op_batch_norm, &plumb_op_batch_norm_inference};
    struct row plain = {.label = "", .x = PLUMB_SHAPE(3, 4, 2, 5)};
    struct row negative = {.label = "", .x = plain.x, .epsilon = -1e-5},
               steep = {.label = "", .x = plain.x, .momentum = 1.5};
    struct row no_number = {.label = "", .x = plain.x, .epsilon = (double)NAN};
    for (int i = 0; i < 2; i++) {
        op_case one = forward(forms[i], &plain);
        one.in[1].shape = PLUMB_SHAPE(5);
        refuse(list, one, "scale of another size");
        one = forward(forms[i], &plain);
        one.in[3].shape = PLUMB_SHAPE(1, 4);
        refuse(list, one, "running mean of rank 2");
        one = forward(forms[i], &plain);
        one.in[0].shape = PLUMB_SHAPE(4);
        refuse(list, one, "input of rank 1");
        one = forward(forms[i], &plain);
        one.in[4].dtype = PLUMB_F64;
        one.dtypes = PLUMB_BIT(PLUMB_F32);
        refuse(list, one, "dtypes differ");
        one = forward(forms[i], &plain);
        one.in[1].dtype = one.in[2].dtype = one.in[3].dtype = one.in[4].dtype = PLUMB_F32;
        one.dtypes = PLUMB_BIT(PLUMB_F64);
        refuse(list, one, "channels narrower than data");
        one = forward(forms[i], &plain);
        one.in[1].dtype = one.in[2].dtype = PLUMB_F32;
        one.dtypes = PLUMB_BIT(PLUMB_BF16);
        refuse(list, one, "only some channels wider");
        refuse(list, forward(forms[i], &negative), "negative epsilon");
        refuse(list, forward(forms[i], &no_number), "epsilon NaN");
        refuse(list, forward(forms[i], &steep), "momentum over 1");
    }
    struct row active = {.label = "", .x = plain.x, .relu = true, .residual = true};
    for (int i = 0; i < 2; i++) {
        op_case one = forward(forms[i], &active);
        one.in[5].shape = PLUMB_SHAPE(3, 1, 2, 5);
        refuse(list, one, "residual of another shape");
        one = forward(forms[i], &active);
        one.in[5].dtype = PLUMB_F64;
        one.dtypes = PLUMB_BIT(PLUMB_F32);
        refuse(list, one, "residual of another dtype");
        one = forward(forms[i], &active);
        ((plumb_attr_batch_norm *)one.attr)->activation = PLUMB_ACTIVATION_TANH;
        refuse(list, one, "another activation");
    }
    op_case open = backward(&active);
    open.n_in = 5;
    refuse(list, open, "no y for the activation");
    open = backward(&active);
    open.in[5].shape = PLUMB_SHAPE(3, 4, 10);
    refuse(list, open, "y of another rank");
    open = backward(&active);
    ((plumb_attr_batch_norm *)open.attr)->activation = PLUMB_ACTIVATION_NONE;
    refuse(list, open, "y without an activation");
    open.n_in = 5;
    refuse(list, open, "a residual's gradient without an activation");
    struct row single = {.label = "", .x = PLUMB_SHAPE(1, 4, 1, 1)},
               single_feature = {.label = "", .x = PLUMB_SHAPE(1, 4)};
    refuse(list, forward(&plumb_op_batch_norm, &single), "one value per channel");
    refuse(list, forward(&plumb_op_batch_norm, &single_feature), "one value per feature");
    op_case one = backward(&plain);
    one.in[4].shape = PLUMB_SHAPE(3, 4, 5, 2);
    refuse(list, one, "dy of another shape");
    one = backward(&plain);
    one.in[4].shape = PLUMB_SHAPE(3, 4, 10);
    refuse(list, one, "dy of another rank");
    one = backward(&plain);
    one.in[2].shape = PLUMB_SHAPE(3);
    refuse(list, one, "mean of another size");
}

void cases_norm(case_list *list)
{
    int count;
    const struct row *row = rows(&count);
    for (int i = 0; i < count; i++) {
        op_case one = forward(&plumb_op_batch_norm, &row[i]);
        add_case(list, &one);
        one = forward(&plumb_op_batch_norm_inference, &row[i]);
        add_case(list, &one);
        if (row[i].relu || !row[i].residual) { /* else the residual's gradient is dy */
            one = backward(&row[i]);
            add_case(list, &one);
        }
    }
    add_refusals(list);
}
