/* Cases of the random ops. Their keys are inputs, so a case always draws the same numbers. */
#include "cases.h"

#include <math.h>

static const double keys[][2] = {{1, 0}, {42, 7}, {-3, 1e9}, {9e15, 12345678901.0}};

static case_input key(int i)
{
    return (case_input){
        .shape = PLUMB_SHAPE(2), .fill = CASE_GIVEN, .given = keys[i % 4], .dtype = PLUMB_I64};
}

static const plumb_shape shapes[] = {
    {0, {0}},
    {1, {1}},
    {1, {7}},
    {2, {3, 5}},
    {3, {2, 3, 4}},
    {4, {2, 3, 4, 5}},
    {5, {1, 2, 3, 2, 2}},
    {2, {0, 4}},
    {1, {1000}},
    {2, {33, 517}},
};
enum { SHAPES = sizeof(shapes) / sizeof(shapes[0]) };

static plumb_attr_random numbers(uint32_t stream, double a, double b)
{
    plumb_attr_random attr;
    memset(&attr, 0, sizeof(attr));
    attr.stream = stream;
    attr.a = a;
    attr.b = b;
    return attr;
}

static void dropout_cases(case_list *list)
{
    static const double drops[] = {0.5, 0, 0.2, 0.75, 0.99};
    for (int i = 0; i < SHAPES; i++) {
        char text[128];
        double drop = drops[i % 5];
        plumb_attr_random attr = numbers((uint32_t)i * 1000003, drop, 0);
        op_case one = make_case(&plumb_op_dropout, &attr, "%s drop %g",
                                plumb_shape_text(&shapes[i], text, sizeof(text)), drop);
        one.in[one.n_in++] = floats(shapes[i]);
        one.in[one.n_in++] = key(i);
        one.mostly_zero = drop >= 0.5;
        /* Where all of it, or of the sample that is probed, may be dropped, the gradient is 0 and proves nothing. */
        one.no_gradient = drop > 0.9 || (plumb_shape_count(&shapes[i]) < 5 && drop > 0.1);
        add_case(list, &one);
    }
    static const double bad[] = {1, -0.1, 1.5};
    for (int i = 0; i < 3; i++) {
        plumb_attr_random attr = numbers(1, bad[i], 0);
        op_case one = make_case(&plumb_op_dropout, &attr, "drop %g", bad[i]);
        one.in[one.n_in++] = floats(PLUMB_SHAPE(4));
        one.in[one.n_in++] = key(0);
        one.expect = PLUMB_BAD_INPUT;
        add_case(list, &one);
    }
    plumb_attr_random attr = numbers(1, 0.5, 0);
    op_case one = make_case(&plumb_op_dropout, &attr, "key of three");
    one.in[one.n_in++] = floats(PLUMB_SHAPE(4));
    one.in[one.n_in++] = integers(PLUMB_I64, PLUMB_SHAPE(3), 0, 9);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

/* An output of its own shape; its dtype is the varied one. */
static void made_case(case_list *list, const plumb_op *op, plumb_shape shape, int i, double a, double b,
                      plumb_status expect)
{
    char text[128];
    plumb_attr_random attr = numbers((uint32_t)i + 5, a, b);
    attr.made.shape = shape;
    op_case one = make_case(op, &attr, "%s %g %g", plumb_shape_text(&shape, text, sizeof(text)), a, b);
    one.in[one.n_in++] = key(i);
    one.mostly_zero = a == b || (a == 0 && b == 0);
    one.expect = expect;
    add_case(list, &one);
}

static void bernoulli_cases(case_list *list)
{
    static const double chances[] = {0.5, 0, 1, 0.25, 0.9};
    static const double given[7] = {0, 1, NAN, 0.5, -3, 2, INFINITY};
    for (int i = 0; i < SHAPES; i++) {
        char text[128];
        plumb_attr_random attr = numbers((uint32_t)i * 77777, 0, 0);
        op_case one = make_case(&plumb_op_bernoulli, &attr, "%s", plumb_shape_text(&shapes[i], text, sizeof(text)));
        one.in[one.n_in++] = floats_in(shapes[i], 0, 1);
        one.in[one.n_in++] = key(i);
        one.mostly_zero = true;
        add_case(list, &one);
        made_case(list, &plumb_op_random_bernoulli, shapes[i], i, chances[i % 5], 0, PLUMB_OK);
        list->items[list->count - 1].mostly_zero = true;
    }
    plumb_attr_random attr = numbers(9, 0, 0);
    op_case one = make_case(&plumb_op_bernoulli, &attr, "no probabilities, and not a number");
    one.in[one.n_in++] = (case_input){.shape = PLUMB_SHAPE(7), .fill = CASE_GIVEN, .given = given};
    one.in[one.n_in++] = key(3);
    one.mostly_zero = true;
    add_case(list, &one);
    made_case(list, &plumb_op_random_bernoulli, PLUMB_SHAPE(3), 0, 1.5, 0, PLUMB_BAD_INPUT);
    made_case(list, &plumb_op_random_bernoulli, PLUMB_SHAPE(3), 0, -0.5, 0, PLUMB_BAD_INPUT);
}

static void integer_cases(case_list *list)
{
    static const double ranges[][2] = {{0, 10}, {-5, 5}, {7, 8}, {0, 256}, {0, 1}};
    for (int i = 0; i < SHAPES; i++) {
        made_case(list, &plumb_op_random_integers, shapes[i], i, ranges[i % 5][0], ranges[i % 5][1], PLUMB_OK);
        list->items[list->count - 1].dtypes = PLUMB_INTS;
        list->items[list->count - 1].mostly_zero = true;
    }
    made_case(list, &plumb_op_random_integers, PLUMB_SHAPE(40), 3, -0x1p53, -0x1p53 + 0x1p32, PLUMB_OK);
    list->items[list->count - 1].dtypes = PLUMB_BIT(PLUMB_I64);
    made_case(list, &plumb_op_random_integers, PLUMB_SHAPE(3), 0, 5, 5, PLUMB_BAD_INPUT);
    list->items[list->count - 1].dtypes = PLUMB_INTS;
    made_case(list, &plumb_op_random_integers, PLUMB_SHAPE(3), 0, 0, 0x1p33, PLUMB_BAD_INPUT);
    list->items[list->count - 1].dtypes = PLUMB_INTS;
}

void cases_random(case_list *list)
{
    static const double ranges[][2] = {{0, 1}, {-2, 3}, {100, 101}, {5, 5}, {-1e-3, 1e-3}};
    static const double normals[][2] = {{0, 1}, {3, 0.5}, {-10, 4}, {2, 0}, {0, 1e-2}};
    dropout_cases(list);
    bernoulli_cases(list);
    integer_cases(list);
    for (int i = 0; i < SHAPES; i++) {
        made_case(list, &plumb_op_random_uniform, shapes[i], i, ranges[i % 5][0], ranges[i % 5][1], PLUMB_OK);
        made_case(list, &plumb_op_random_normal, shapes[i], i, normals[i % 5][0], normals[i % 5][1],
                  PLUMB_OK);
    }
    made_case(list, &plumb_op_random_uniform, PLUMB_SHAPE(3), 0, 2, 1, PLUMB_BAD_INPUT);
    made_case(list, &plumb_op_random_normal, PLUMB_SHAPE(3), 0, 0, -1, PLUMB_BAD_INPUT);
    made_case(list, &plumb_op_random_uniform, PLUMB_SHAPE(3, -7), 0, 0, 1, PLUMB_BAD_INPUT);
    made_case(list, &plumb_op_random_normal, PLUMB_SHAPE(3, -7), 0, 0, 1, PLUMB_BAD_INPUT);
}
