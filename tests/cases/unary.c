/* Cases of the element-wise ops of one operand and of their backward forms. */
#include "cases.h"

#include <math.h>

/* The last is longer than a chunk of work: threads share it, and it is not differentiated element by
 * element. */
static const plumb_shape shapes[] = {{0, {0}},     {1, {7}},       {2, {1, 1}},
                                     {2, {3, 0}},  {3, {2, 3, 4}}, {5, {2, 1, 3, 2, 1}},
                                     {4, {2, 3, 2, 4}}, {2, {3, 45}}, {1, {33001}}};
enum { SHAPES = sizeof(shapes) / sizeof(*shapes) };
static const char *const shape_label[SHAPES] = {"scalar", "7",         "1x1",  "3x0",
                                                "2x3x4",  "2x1x3x2x1", "2x3x2x4", "3x45", "33001"};

static bool flat_somewhere(const plumb_op *op)
{
    return op == &plumb_op_relu || op == &plumb_op_clamp || op == &plumb_op_relu_backward ||
           op == &plumb_op_elu_backward || op == &plumb_op_clamp_backward;
}

/* kink: the point to stay away from, NAN for none. */
static void add_shapes(case_list *list, const plumb_op *op, const void *attr, double low, double high,
                       double kink, const char *label)
{
    for (int i = 0; i < SHAPES; i++) {
        op_case one = make_case(op, attr, "%s%s%s", shape_label[i], label[0] ? ", " : "", label);
        one.n_in = op->min_in;
        one.in[0] = floats_in(shapes[i], low, high);
        if (!isnan(kink)) {
            one.in[0].use_avoid = true;
            one.in[0].avoid = kink;
        }
        one.in[1] = floats(shapes[i]);
        one.exact = op == &plumb_op_neg || op == &plumb_op_abs;
        one.mostly_zero =
            op == &plumb_op_relu || op == &plumb_op_relu_backward || op == &plumb_op_clamp_backward;
        /* too many elements to differentiate one by one; or one alone, which may lie where the op is flat */
        one.no_gradient = i == SHAPES - 1 || (flat_somewhere(op) && plumb_shape_count(&shapes[i]) == 1);
        add_case(list, &one);
    }
}

static void add_numbers(case_list *list, const plumb_op *op, double a, double b, double low, double high,
                        double kink, const char *label)
{
    plumb_attr_numbers attr;
    memset(&attr, 0, sizeof(attr));
    attr.a = a;
    attr.b = b;
    add_shapes(list, op, &attr, low, high, kink, label);
}

/* Values at which formulas break: zeros of both signs, tiny, huge. `given` has 8. */
static void add_given(case_list *list, const plumb_op *op, const double *given, const char *label)
{
    op_case one = make_case(op, NULL, "%s", label);
    one.n_in = 1;
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(8), .fill = CASE_GIVEN, .given = given};
    one.no_gradient = true; /* saturated: the quotient of differences sees nothing there */
    one.mostly_zero = true;
    add_case(list, &one);
}

static void add_smooth(case_list *list)
{
    static const struct {
        const plumb_op *op;
        double low, high;
    } rows[] = {
        {&plumb_op_neg, -2, 2},      {&plumb_op_exp, -3, 3},         {&plumb_op_log, 0.2, 5},
        {&plumb_op_log1p, -0.7, 4},  {&plumb_op_sqrt, 0.2, 5},       {&plumb_op_rsqrt, 0.2, 5},
        {&plumb_op_square, -3, 3},   {&plumb_op_reciprocal, 0.3, 3}, {&plumb_op_sin, -6, 6},
        {&plumb_op_cos, -6, 6},      {&plumb_op_erf, -2, 2},         {&plumb_op_sigmoid, -6, 6},
        {&plumb_op_tanh, -3, 3},     {&plumb_op_gelu, -4, 4},        {&plumb_op_silu, -5, 5},
        {&plumb_op_softplus, -6, 6}, {&plumb_op_expm1, -3, 3},       {&plumb_op_tan, -1.2, 1.2},
        {&plumb_op_asin, -0.9, 0.9}, {&plumb_op_acos, -0.9, 0.9},    {&plumb_op_atan, -5, 5},
        {&plumb_op_sinh, -3, 3},     {&plumb_op_cosh, -3, 3},        {&plumb_op_asinh, -5, 5},
        {&plumb_op_acosh, 1.3, 6},   {&plumb_op_atanh, -0.9, 0.9},   {&plumb_op_erfc, -2, 2},
        {&plumb_op_gelu_tanh, -4, 4}, {&plumb_op_mish, -5, 5},
    };
    static const double wide[8] = {0, -0.0, 1e-6, -1e-6, 20, -20, 80, -80};
    static const double wider[8] = {300, -300, 60000, -60000, 9, -9, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        add_shapes(list, rows[i].op, NULL, rows[i].low, rows[i].high, NAN, "");
        if (rows[i].op != &plumb_op_sin && rows[i].op != &plumb_op_cos) {
            add_given(list, rows[i].op, wide, "zeros, tiny, large");
            add_given(list, rows[i].op, wider, "huge and infinite");
        }
    }
}

static void add_kinked(case_list *list)
{
    static const double edges[8] = {0, -0.0, 1e-6, -1e-6, 300, -300, INFINITY, -INFINITY};
    add_shapes(list, &plumb_op_abs, NULL, -2, 2, 0, "");
    add_shapes(list, &plumb_op_sign, NULL, -2, 2, 0, "");
    add_shapes(list, &plumb_op_relu, NULL, -2, 2, 0, "");
    add_given(list, &plumb_op_abs, edges, "edges");
    add_given(list, &plumb_op_sign, edges, "edges");
    add_given(list, &plumb_op_relu, edges, "edges");
    add_numbers(list, &plumb_op_affine, 2, -0.5, -2, 2, NAN, "2x-0.5");
    add_numbers(list, &plumb_op_affine, -0.1, 0.3, -2, 2, NAN, "-0.1x+0.3");
    add_numbers(list, &plumb_op_leaky_relu, 0.01, 0, -2, 2, 0, "slope 0.01");
    add_numbers(list, &plumb_op_leaky_relu, -0.5, 0, -2, 2, 0, "slope -0.5");
    add_numbers(list, &plumb_op_elu, 1, 0, -3, 3, 0, "alpha 1");
    add_numbers(list, &plumb_op_elu, 0.3, 0, -3, 3, 0, "alpha 0.3");
    add_numbers(list, &plumb_op_huber, 1, 0, -3, 3, 1, "delta 1");
    add_numbers(list, &plumb_op_huber, 0.25, 0, -3, 3, 0.25, "delta 0.25");
    add_numbers(list, &plumb_op_clamp, -0.7, 1.1, -2, 2, 1.1, "-0.7 to 1.1");
    add_numbers(list, &plumb_op_clamp, -INFINITY, 0.3, -2, 2, 0.3, "at most 0.3");
}

static void add_rounding(case_list *list)
{
    static const plumb_op *const ops[] = {&plumb_op_floor, &plumb_op_ceil, &plumb_op_round, &plumb_op_trunc};
    static const double halves[8] = {0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.484375, -0.0};
    static const double large[8] = {2047, -1023.5, 60000, -60000, INFINITY, -INFINITY, 1e-6, -1e-6};
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        add_shapes(list, ops[i], NULL, -5, 5, NAN, "");
        add_given(list, ops[i], halves, "halves");
        add_given(list, ops[i], large, "large, infinite, tiny");
    }
}

/* Integers of both signs and at their limits, where they wrap. */
static void add_whole(case_list *list, const plumb_op *op, double a, double b, const char *label)
{
    static const double limits[] = {-2147483648.0, 2147483647, 0, -1};
    plumb_attr_numbers attr;
    memset(&attr, 0, sizeof(attr));
    attr.a = a;
    attr.b = b;
    op_case one = make_case(op, &attr, "whole numbers%s", label);
    one.n_in = 1;
    one.dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
    one.in[0] = integers(PLUMB_NO_DTYPE, PLUMB_SHAPE(2, 3, 5), -40, 40);
    add_case(list, &one);
    one = make_case(op, &attr, "whole numbers, not negative%s", label);
    one.n_in = 1;
    one.dtypes = PLUMB_INTS;
    one.in[0] = integers(PLUMB_NO_DTYPE, PLUMB_SHAPE(7, 5), 0, 250);
    add_case(list, &one);
    one = make_case(op, &attr, "i32 at its limits%s", label);
    one.n_in = 1;
    one.dtypes = PLUMB_BIT(PLUMB_I32);
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(4), .fill = CASE_GIVEN, .given = limits};
    one.mostly_zero = true;
    add_case(list, &one);
}

static void add_integers(case_list *list)
{
    add_whole(list, &plumb_op_neg, 0, 0, "");
    add_whole(list, &plumb_op_abs, 0, 0, "");
    add_whole(list, &plumb_op_sign, 0, 0, "");
    add_whole(list, &plumb_op_square, 0, 0, "");
    add_whole(list, &plumb_op_clamp, -3, 17, ", -3 to 17");
    add_whole(list, &plumb_op_clamp, 2.5, 100.7, ", 2.5 to 100.7");
    add_whole(list, &plumb_op_clamp, -INFINITY, 5, ", at most 5");
    add_whole(list, &plumb_op_clamp, 5, INFINITY, ", at least 5");
}

static void add_backward(case_list *list)
{
    add_shapes(list, &plumb_op_sigmoid_backward, NULL, 0.05, 0.95, NAN, "");
    add_shapes(list, &plumb_op_tanh_backward, NULL, -0.95, 0.95, NAN, "");
    add_shapes(list, &plumb_op_relu_backward, NULL, -2, 2, 0, "");
    add_numbers(list, &plumb_op_leaky_relu_backward, 0.01, 0, -2, 2, 0, "slope 0.01");
    add_numbers(list, &plumb_op_elu_backward, 0.3, 0, -3, 3, 0, "alpha 0.3");
    add_numbers(list, &plumb_op_clamp_backward, -1.5, 1.5, -2, 2, 1.5, "-1.5 to 1.5");
}

static void add_casts(case_list *list)
{
    static const plumb_dtype to[] = {PLUMB_F32, PLUMB_F64, PLUMB_BF16, PLUMB_F16,
                                     PLUMB_I32, PLUMB_I64, PLUMB_U8};
    static const double odd[8] = {0.5, -0.5, 1.5, -1.5, 300, -300, 3e9, -3e9};
    for (size_t i = 0; i < sizeof(to) / sizeof(*to); i++) {
        plumb_attr_cast attr;
        memset(&attr, 0, sizeof(attr));
        attr.made.dtype = to[i];
        op_case one = make_case(&plumb_op_cast, &attr, "3x5 to %s", plumb_dtype_name(to[i]));
        one.n_in = 1;
        one.in[0] = floats_in(PLUMB_SHAPE(3, 5), -50, 50);
        one.mostly_zero = true;
        one.no_gradient = !plumb_dtype_is_float(to[i]); /* integers have none */
        add_case(list, &one);
        one = make_case(&plumb_op_cast, &attr, "2x3x4x5 to %s", plumb_dtype_name(to[i]));
        one.n_in = 1;
        one.in[0] = floats_in(PLUMB_SHAPE(2, 3, 4, 5), -50, 50);
        one.mostly_zero = true;
        one.no_gradient = !plumb_dtype_is_float(to[i]);
        add_case(list, &one);
        one = make_case(&plumb_op_cast, &attr, "halves and too large, to %s", plumb_dtype_name(to[i]));
        one.n_in = 1;
        one.in[0] = (case_input){.shape = PLUMB_SHAPE(8), .fill = CASE_GIVEN, .given = odd};
        one.mostly_zero = true;
        one.no_gradient = true; /* 3e9 has no usable difference quotient */
        add_case(list, &one);
        one = make_case(&plumb_op_cast, &attr, "integers 2x0x3, 1 to 9, to %s", plumb_dtype_name(to[i]));
        one.n_in = 1;
        one.dtypes = PLUMB_INTS;
        one.in[0] = integers(PLUMB_NO_DTYPE, PLUMB_SHAPE(2, 0, 3), 1, 9);
        add_case(list, &one);
        one = make_case(&plumb_op_cast, &attr, "integers 4x3x2, 0 to 255, to %s", plumb_dtype_name(to[i]));
        one.n_in = 1;
        one.dtypes = PLUMB_INTS;
        one.in[0] = integers(PLUMB_NO_DTYPE, PLUMB_SHAPE(4, 3, 2), 0, 255);
        add_case(list, &one);
    }
}

/* Pictures and truth values become numbers. */
static void add_bytes(case_list *list)
{
    static const plumb_shape bytes[] = {{0, {0}}, {1, {9}}, {4, {2, 3, 5, 4}}, {2, {33, 1000}}};
    plumb_attr_cast attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.dtype = PLUMB_F32;
    for (int i = 0; i < 4; i++) {
        op_case one = make_case(&plumb_op_cast, &attr, "bytes to f32, shape %d", i);
        one.n_in = 1;
        one.dtypes = PLUMB_BIT(PLUMB_U8);
        one.in[0] = integers(PLUMB_NO_DTYPE, bytes[i], 0, 255);
        add_case(list, &one);
    }
}

static void add_stop(case_list *list)
{
    add_shapes(list, &plumb_op_stop_gradient, NULL, -2, 2, NAN, "");
    op_case one = make_case(&plumb_op_stop_gradient, NULL, "3x4 integers");
    one.n_in = 1;
    one.dtypes = PLUMB_INTS;
    one.in[0] = integers(PLUMB_NO_DTYPE, PLUMB_SHAPE(3, 4), 1, 99);
    add_case(list, &one);
}

static void refuse(case_list *list, const plumb_op *op, double a, double b, const char *label, case_input x,
                   case_input dy)
{
    plumb_attr_numbers attr;
    memset(&attr, 0, sizeof(attr));
    attr.a = a;
    attr.b = b;
    op_case one = make_case(op, &attr, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = op->min_in;
    one.in[0] = x;
    one.in[1] = dy;
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    const case_input x = floats(PLUMB_SHAPE(2, 3)), whole = integers(PLUMB_I32, PLUMB_SHAPE(2, 3), 0, 9);
    refuse(list, &plumb_op_exp, 0, 0, "refused: integers", whole, x);
    refuse(list, &plumb_op_relu, 0, 0, "refused: integers", whole, x);
    refuse(list, &plumb_op_huber, 0, 0, "refused: delta 0", x, x);
    refuse(list, &plumb_op_huber, NAN, 0, "refused: delta not a number", x, x);
    refuse(list, &plumb_op_clamp, 2, 1, "refused: an empty range", x, x);
    refuse(list, &plumb_op_clamp, NAN, 1, "refused: a bound not a number", x, x);
    refuse(list, &plumb_op_clamp, 0.25, 0.75, "refused: a range without integers", whole, x);
    refuse(list, &plumb_op_clamp, 256, 300, "refused: a range without bytes", integers(PLUMB_U8, PLUMB_SHAPE(3), 0, 9), x);
    refuse(list, &plumb_op_round, 0, 0, "refused: integers", whole, x);
    refuse(list, &plumb_op_clamp_backward, 2, 1, "refused: an empty range", x, x);
    refuse(list, &plumb_op_relu_backward, 0, 0, "refused: shapes differ", x, floats(PLUMB_SHAPE(3)));
    refuse(list, &plumb_op_tanh_backward, 0, 0, "refused: dtypes differ", x, whole);
    plumb_attr_cast attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.dtype = (plumb_dtype)42;
    op_case one = make_case(&plumb_op_cast, &attr, "refused: dtype 42");
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = 1;
    one.in[0] = x;
    add_case(list, &one);
}

void cases_unary(case_list *list)
{
    add_smooth(list);
    add_kinked(list);
    add_rounding(list);
    add_integers(list);
    add_backward(list);
    add_casts(list);
    add_bytes(list);
    add_stop(list);
    add_refusals(list);
}
