/* Cases of activation_backward: each activation over the shapes behind layers, the bias's axis first, last and between,
 * few and many elements to a channel, and what must be refused. */
#include "cases.h"

static const char *const names[] = {"none", "relu", "sigmoid", "tanh"};

static op_case back(plumb_shape shape, int activation, int axis, const char *label)
{
    plumb_attr_activation attr;
    memset(&attr, 0, sizeof attr);
    attr.activation = activation;
    attr.axis = axis;
    bool named = activation >= 0 && activation < 4;
    op_case one = make_case(&plumb_op_activation_backward, &attr, "%s, %s axis %d", label, named ? names[activation] : "?", axis);
    one.n_in = 2;
    one.in[0] = floats(shape);
    one.in[1] = floats(shape);
    return one;
}

/* y as the activation makes it: in its range, away from relu's kink. */
static void add_each(case_list *list, plumb_shape shape, int axis, bool gradient, const char *label)
{
    static const double low[] = {0, -2, 0.05, -0.95}, high[] = {0, 2, 0.95, 0.95};
    for (int activation = PLUMB_ACTIVATION_RELU; activation <= PLUMB_ACTIVATION_TANH; activation++) {
        op_case one = back(shape, activation, axis, label);
        one.in[1] = floats_in(shape, low[activation], high[activation]);
        one.in[1].use_avoid = activation == PLUMB_ACTIVATION_RELU;
        one.exact = activation == PLUMB_ACTIVATION_RELU;
        one.no_gradient = !gradient; /* too large for difference quotients */
        one.zero_gradient = plumb_shape_count(&shape) == 0 ? 3 : 0;
        one.mostly_zero = plumb_shape_count(&shape) < (activation == PLUMB_ACTIVATION_RELU ? 32 : 1); /* few may all be cut */
        add_case(list, &one);
    }
}

static void refused(case_list *list, op_case one)
{
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_activation(case_list *list)
{
    add_each(list, PLUMB_SHAPE(6, 4), 1, true, "6x4");
    add_each(list, PLUMB_SHAPE(6, 4), 0, true, "6x4");
    add_each(list, PLUMB_SHAPE(2, 3, 4, 2), 1, true, "pictures");
    add_each(list, PLUMB_SHAPE(2, 3, 4, 2), -1, true, "channels last");
    add_each(list, PLUMB_SHAPE(3, 2, 5), 2, true, "stack");
    add_each(list, PLUMB_SHAPE(9), 0, true, "one of each");
    add_each(list, PLUMB_SHAPE(1, 7), 1, true, "one row");
    add_each(list, PLUMB_SHAPE(13, 1), 1, true, "one channel");
    add_each(list, PLUMB_SHAPE(0, 5), 1, true, "no rows");
    add_each(list, PLUMB_SHAPE(4, 0, 3), 1, true, "no channels");
    add_each(list, PLUMB_SHAPE(3, 6, 28, 28), 1, false, "LeNet first");
    add_each(list, PLUMB_SHAPE(64, 120), 1, false, "LeNet 120");
    add_each(list, PLUMB_SHAPE(70, 33), 1, false, "past a vector");
    add_each(list, PLUMB_SHAPE(2, 257), 0, false, "long rows");
    add_each(list, PLUMB_SHAPE(5, 3, 1, 311), 1, false, "odd width");
    add_each(list, PLUMB_SHAPE(1100, 3), 1, false, "many rows");

    op_case ones = back(PLUMB_SHAPE(1, 2, 40, 40), PLUMB_ACTIVATION_RELU, 1, "1600 ones to a channel");
    ones.in[0] = ones.in[1] = integers(PLUMB_NO_DTYPE, ones.in[0].shape, 1, 1); /* bf16 itself would stop at 256 */
    ones.no_gradient = true;
    add_case(list, &ones);

    refused(list, back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_NONE, 1, "refused"));
    refused(list, back(PLUMB_SHAPE(3, 4), 4, 1, "refused: unknown"));
    refused(list, back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_RELU, 2, "refused: past the axes"));
    refused(list, back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_RELU, -3, "refused: before the axes"));
    refused(list, back(PLUMB_SCALAR_SHAPE, PLUMB_ACTIVATION_RELU, 0, "refused: scalar"));
    op_case one = back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_RELU, 1, "refused: shapes differ");
    one.in[1] = floats(PLUMB_SHAPE(4));
    refused(list, one);
    one = back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_RELU, 1, "refused: dtypes differ");
    one.in[1].dtype = PLUMB_F64;
    one.dtypes = PLUMB_BIT(PLUMB_F32);
    refused(list, one);
    one = back(PLUMB_SHAPE(3, 4), PLUMB_ACTIVATION_RELU, 1, "refused: integers");
    one.dtypes = PLUMB_BIT(PLUMB_I32);
    refused(list, one);
}
