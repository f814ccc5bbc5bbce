/* Cases of local response normalisation: windows of one channel, odd and even, longer before and longer after, wider than there
 * are channels; strong and weak; and the constants of AlexNet. */
#include "cases.h"

#include <math.h>
#include <stdio.h>

struct row {
    const char *label;
    int64_t x[3]; /* (N, C, S) */
    int64_t before, after;
    double scale, beta, bias;
};

static const struct row rows[] = {
    {"5 channels", {2, 7, 6}, 2, 2, 0.2, 0.75, 1},
    {"3 channels", {1, 4, 5}, 1, 1, 0.3, 0.75, 1},
    {"even, longer before", {2, 5, 3}, 2, 1, 0.25, 0.75, 1},
    {"even, longer after", {2, 5, 3}, 1, 2, 0.25, 0.75, 1},
    {"one channel of a window", {2, 3, 4}, 0, 0, 1, 0.5, 1},
    {"one channel", {3, 1, 4}, 2, 2, 0.5, 0.75, 2},
    {"wider than channels", {2, 3, 4}, 4, 4, 0.1, 0.75, 1},
    {"AlexNet", {1, 12, 5}, 2, 2, 1e-4, 0.75, 2},
    {"strong", {1, 6, 5}, 1, 1, 3, 1.5, 0.5},
    {"beta 1", {1, 6, 5}, 1, 1, 0.5, 1, 1},
    {"beta 0", {1, 4, 3}, 1, 1, 0.5, 0, 1},
    {"negative beta", {1, 4, 3}, 1, 1, 0.5, -0.5, 1},
    {"no alpha", {1, 4, 3}, 1, 1, 0, 0.75, 3},
    {"many places", {1, 3, 300}, 1, 1, 0.5, 0.75, 1},
    {"many channels", {1, 70, 5}, 2, 2, 0.2, 0.75, 1},
    {"batch 0", {0, 3, 4}, 1, 1, 0.5, 0.75, 1},
    {"no channels", {2, 0, 4}, 1, 1, 0.5, 0.75, 1},
    {"no places", {2, 3, 0}, 1, 1, 0.5, 0.75, 1},
};

static op_case make(const plumb_op *op, const struct row *row)
{
    plumb_attr_lrn attr;
    memset(&attr, 0, sizeof attr);
    attr.before = row->before;
    attr.after = row->after;
    attr.scale = row->scale;
    attr.beta = row->beta;
    attr.bias = row->bias;
    plumb_shape x = PLUMB_SHAPE(row->x[0], row->x[1], row->x[2]);
    op_case one = make_case(op, &attr, "%s", row->label);
    one.n_in = op->min_in;
    one.in[0] = one.in[1] = floats(x);
    one.mostly_zero = plumb_shape_count(&x) == 0;
    one.no_gradient = one.mostly_zero || plumb_shape_count(&x) > 200; /* nothing to differentiate; too many to */
    if (op == &plumb_op_lrn_backward && row->scale > 0 && row->scale < 1e-3)
        one.no_gradient = true; /* dx hardly depends on x: differences of it are mostly rounding */
    if (op == &plumb_op_lrn_backward && (row->beta == 0 || row->scale == 0))
        one.zero_gradient = 1; /* linear in x: dx does not depend on it */
    return one;
}

static void refuse(case_list *list, op_case one, const char *label)
{
    snprintf(one.label, sizeof one.label, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_lrn(case_list *list)
{
    static const struct row negative = {"", {1, 3, 2}, -1, 1, 1, 0.75, 1}, no_number = {"", {1, 3, 2}, 1, 1, 1, (double)NAN, 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        op_case one = make(&plumb_op_lrn, &rows[i]);
        add_case(list, &one);
        one = make(&plumb_op_lrn_backward, &rows[i]);
        add_case(list, &one);
    }
    refuse(list, make(&plumb_op_lrn, &negative), "negative window");
    refuse(list, make(&plumb_op_lrn, &no_number), "beta NaN");
    op_case one = make(&plumb_op_lrn, &rows[0]);
    one.in[0].shape = PLUMB_SHAPE(7, 6);
    refuse(list, one, "rank 2");
    one = make(&plumb_op_lrn_backward, &rows[0]);
    one.in[1].shape = PLUMB_SHAPE(2, 6, 7);
    refuse(list, one, "dy of another shape");
}
