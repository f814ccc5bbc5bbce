/* Cases of filling and of assigning. */
#include "cases.h"

#include <stdio.h>

static void add_full(case_list *list, plumb_shape shape, double value, unsigned dtypes, const char *label)
{
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.shape = shape;
    attr.value = value;
    op_case one = make_case(&plumb_op_full, &attr, "%s", label);
    one.dtypes = dtypes;
    one.mostly_zero = value == 0;
    add_case(list, &one);
}

static void add_full_like(case_list *list, plumb_shape shape, double value, const char *label)
{
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.shape.rank = -1;
    attr.value = value;
    op_case one = make_case(&plumb_op_full, &attr, "%s", label);
    one.n_in = 1;
    one.in[0] = floats(shape);
    add_case(list, &one);
}

static void add_assign(case_list *list, plumb_shape shape, int gate, unsigned dtypes, const char *label)
{
    static const double shut = 0, open = 1;
    op_case one = make_case(&plumb_op_assign, NULL, "%s", label);
    one.n_in = gate < 0 ? 2 : 3;
    one.dtypes = dtypes;
    one.no_gradient = true; /* an effect: what it stores is not part of any loss */
    for (int i = 0; i < 2; i++) {
        one.in[i] = dtypes ? integers(PLUMB_NO_DTYPE, shape, 1 + 10 * i, 9 + 10 * i) : floats(shape);
    }
    one.in[2] = (case_input){
        .shape = PLUMB_SCALAR_SHAPE, .fill = CASE_GIVEN, .given = gate ? &open : &shut, .dtype = PLUMB_U8};
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    op_case one = make_case(&plumb_op_assign, NULL, "refused: shapes differ");
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 2;
    one.in[0] = floats(PLUMB_SHAPE(2, 3));
    one.in[1] = floats(PLUMB_SHAPE(3));
    add_case(list, &one);
    one = make_case(&plumb_op_assign, NULL, "refused: dtypes differ");
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 2;
    one.in[0] = floats(PLUMB_SHAPE(3));
    one.in[1] = integers(PLUMB_I32, PLUMB_SHAPE(3), 0, 3);
    add_case(list, &one);
    one = make_case(&plumb_op_assign, NULL, "refused: gate of 2 elements");
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 3;
    one.in[0] = one.in[1] = floats(PLUMB_SHAPE(3));
    one.in[2] = integers(PLUMB_U8, PLUMB_SHAPE(2), 0, 1);
    add_case(list, &one);
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.shape.rank = 9;
    one = make_case(&plumb_op_full, &attr, "refused: rank 9");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    attr.made.shape = PLUMB_SHAPE(3, -7);
    one = make_case(&plumb_op_full, &attr, "refused: a negative size");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
    attr.made.shape = PLUMB_SHAPE(3);
    attr.made.dtype = (plumb_dtype)99;
    one = make_case(&plumb_op_full, &attr, "refused: dtype 99");
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_leaf(case_list *list)
{
    add_full(list, PLUMB_SCALAR_SHAPE, 2.5, 0, "scalar");
    add_full(list, PLUMB_SHAPE(7), -0.1, 0, "7");
    add_full(list, PLUMB_SHAPE(2, 0, 3), 1, 0, "2x0x3");
    add_full(list, PLUMB_SHAPE(2, 1, 3, 4, 5), 3, 0, "2x1x3x4x5");
    add_full(list, PLUMB_SHAPE(3, 5), 0, 0, "3x5 of zeros");
    add_full(list, PLUMB_SHAPE(3, 5), 1e30, 0, "3x5 of 1e30: infinite in f16");
    add_full(list, PLUMB_SHAPE(3, 5), 7, PLUMB_INTS, "3x5 integers");
    add_full_like(list, PLUMB_SHAPE(4, 3), 1, "like 4x3");
    add_full_like(list, PLUMB_SCALAR_SHAPE, 1, "like a scalar");
    add_full_like(list, PLUMB_SHAPE(0, 3), 1, "like 0x3");
    for (int gate = -1; gate < 2; gate++) {
        static const char *const word[] = {"no gate", "gate shut", "gate open"};
        char label[64];
        snprintf(label, sizeof(label), "2x3x4, %s", word[gate + 1]);
        add_assign(list, PLUMB_SHAPE(2, 3, 4), gate, 0, label);
        snprintf(label, sizeof(label), "scalar, %s", word[gate + 1]);
        add_assign(list, PLUMB_SCALAR_SHAPE, gate, 0, label);
        snprintf(label, sizeof(label), "0x2, %s", word[gate + 1]);
        add_assign(list, PLUMB_SHAPE(0, 2), gate, 0, label);
        snprintf(label, sizeof(label), "5 integers, %s", word[gate + 1]);
        add_assign(list, PLUMB_SHAPE(5), gate, PLUMB_INTS, label);
    }
    add_refusals(list);
}
