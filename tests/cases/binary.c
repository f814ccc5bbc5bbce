/* Cases of the element-wise ops of two operands, and of where. */
#include "cases.h"

#include <math.h>

/* Pairs of shapes: equal, broadcast in every way, empty, of all ranks; the last two are long enough for
 * vectors with remainders. */
static const struct pair {
    plumb_shape a, b;
    const char *label;
} pairs[] = {
    {{2, {2, 3}}, {2, {2, 3}}, "2x3, 2x3"},
    {{0, {0}}, {0, {0}}, "scalars"},
    {{0, {0}}, {2, {3, 2}}, "scalar, 3x2"},
    {{1, {5}}, {0, {0}}, "5, scalar"},
    {{3, {4, 1, 3}}, {2, {2, 1}}, "4x1x3, 2x1"},
    {{2, {0, 3}}, {2, {1, 3}}, "0x3, 1x3"},
    {{2, {1, 1}}, {1, {1}}, "1x1, 1"},
    {{5, {2, 1, 3, 1, 2}}, {3, {3, 4, 1}}, "2x1x3x1x2, 3x4x1"},
    {{4, {2, 3, 2, 3}}, {4, {1, 3, 1, 1}}, "2x3x2x3, channels"},
    {{4, {2, 5, 2, 3}}, {4, {2, 5, 2, 3}}, "2x5x2x3 twice"},
    {{4, {2, 5, 1, 1}}, {4, {2, 5, 2, 3}}, "a number for each plane, 2x5x2x3"},
    {{2, {3, 67}}, {1, {67}}, "3x67, row of 67"},
    {{2, {67, 1}}, {2, {1, 3}}, "column of 67, row of 3"},
};

static void add_pair(case_list *list, const plumb_op *op, const struct pair *pair, case_input a, case_input b)
{
    op_case one = make_case(op, NULL, "%s", pair->label);
    bool chooses = op == &plumb_op_maximum || op == &plumb_op_minimum || op == &plumb_op_prelu ||
                   op == &plumb_op_fmod || op == &plumb_op_remainder;
    bool single = plumb_shape_count(&pair->a) == 1 || plumb_shape_count(&pair->b) == 1;
    one.n_in = 2;
    one.zero_gradient = plumb_shape_count(&pair->a) == 0 ? 2 : 0; /* b is stretched over nothing */
    one.no_gradient = chooses && single;                          /* a single element may never be chosen */
    one.in[0] = a;
    one.in[1] = b;
    one.exact = op == &plumb_op_add || op == &plumb_op_sub || op == &plumb_op_mul;
    add_case(list, &one);
}

static void add_pairs(case_list *list, const plumb_op *op, double low_a, double high_a, double low_b,
                      double high_b)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        add_pair(list, op, &pairs[i], floats_in(pairs[i].a, low_a, high_a),
                 floats_in(pairs[i].b, low_b, high_b));
    }
}

/* Longer than a chunk of work, so that threads share it: too many elements to differentiate one by one. */
static void add_long(case_list *list, const plumb_op *op)
{
    op_case one = make_case(op, NULL, "3x13001, long rows");
    one.n_in = 2;
    one.in[0] = floats(PLUMB_SHAPE(3, 13001));
    one.in[1] = floats_in(PLUMB_SHAPE(3, 1), 1, 2);
    one.no_gradient = true;
    add_case(list, &one);
}

/* u8 cannot hold negatives: those are tried on the wider integers. */
static void add_integers(case_list *list, const plumb_op *op)
{
    const plumb_shape shape = PLUMB_SHAPE(3, 5), row = PLUMB_SHAPE(5);
    op_case one = make_case(op, NULL, "integers with signs and zeros");
    one.n_in = 2;
    one.dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
    one.in[0] = integers(PLUMB_NO_DTYPE, shape, -20, 20);
    one.in[1] = integers(PLUMB_NO_DTYPE, row, -3, 3);
    one.mostly_zero = true;
    add_case(list, &one);
    one = make_case(op, NULL, "integers, not negative");
    one.n_in = 2;
    one.dtypes = PLUMB_INTS;
    one.in[0] = integers(PLUMB_NO_DTYPE, shape, 0, 200);
    one.in[1] = integers(PLUMB_NO_DTYPE, shape, 0, 3);
    one.mostly_zero = true;
    add_case(list, &one);
}

/* Wrapping, division by zero and the quotient that does not fit. */
static void add_extremes(case_list *list, const plumb_op *op)
{
    static const double a[] = {2147483647, -2147483648.0, -2147483648.0, 7, -7, 0};
    static const double b[] = {2147483647, -1, 2, 0, 2, 0};
    op_case one = make_case(op, NULL, "i32 at its limits");
    one.n_in = 2;
    one.dtypes = PLUMB_BIT(PLUMB_I32);
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(6), .fill = CASE_GIVEN, .given = a};
    one.in[1] = (case_input){.shape = PLUMB_SHAPE(6), .fill = CASE_GIVEN, .given = b};
    one.mostly_zero = true;
    add_case(list, &one);
}

/* Small whole numbers, so that equality happens. */
static void add_comparisons(case_list *list, const plumb_op *op)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        op_case one = make_case(op, NULL, "%s", pairs[i].label);
        one.n_in = 2;
        one.in[0] = integers(PLUMB_NO_DTYPE, pairs[i].a, -2, 2);
        one.in[1] = integers(PLUMB_NO_DTYPE, pairs[i].b, -2, 2);
        one.mostly_zero = true;
        add_case(list, &one);
    }
    add_integers(list, op);
}

static void add_edges(case_list *list, const plumb_op *op, const double *a, const double *b, const char *label)
{
    op_case one = make_case(op, NULL, "%s", label);
    one.n_in = 2;
    one.in[0] = (case_input){.shape = PLUMB_SHAPE(9), .fill = CASE_GIVEN, .given = a};
    one.in[1] = (case_input){.shape = PLUMB_SHAPE(9), .fill = CASE_GIVEN, .given = b};
    one.no_gradient = true; /* quotients of differences see nothing there */
    one.mostly_zero = true;
    add_case(list, &one);
}

static void add_more(case_list *list)
{
    static const double a[9] = {0, -0.0, 0, 1, -1, INFINITY, -INFINITY, INFINITY, 5};
    static const double b[9] = {0, 0, -0.0, 0, -0.0, INFINITY, -INFINITY, -2, INFINITY};
    static const double p[9] = {-3.5, 3.5, -3.5, 3.5, 7, -7, 60000, -5, 5};
    static const double q[9] = {2, -2, -2, 2, 7, 7, 0.125, INFINITY, -INFINITY};
    static const plumb_op *const ops[] = {&plumb_op_fmod, &plumb_op_remainder};
    for (int i = 0; i < 2; i++) {
        add_pairs(list, ops[i], -5, 5, 0.7, 3);
        add_long(list, ops[i]);
        add_integers(list, ops[i]);
        add_extremes(list, ops[i]);
        add_edges(list, ops[i], a, b, "zeros and infinities");
        add_edges(list, ops[i], p, q, "signs and infinities");
    }
    add_pairs(list, &plumb_op_atan2, -2, 2, 0.3, 2);
    add_long(list, &plumb_op_atan2);
    add_edges(list, &plumb_op_atan2, a, b, "zeros and infinities");
    add_pairs(list, &plumb_op_logaddexp, -3, 3, -3, 3);
    add_long(list, &plumb_op_logaddexp);
    add_edges(list, &plumb_op_logaddexp, a, b, "zeros and infinities");
    add_edges(list, &plumb_op_logaddexp, p, q, "far apart");
    add_pairs(list, &plumb_op_prelu, -2, 2, -0.5, 0.5);
    add_long(list, &plumb_op_prelu);
    add_edges(list, &plumb_op_prelu, a, p, "zeros and infinities");
}

/* Shapes in all ways of broadcasting; shifts by too much, and by less than nothing where there are signs. */
static void add_bits(case_list *list)
{
    static const plumb_op *const ops[] = {&plumb_op_bitwise_and, &plumb_op_bitwise_or, &plumb_op_bitwise_xor,
                                          &plumb_op_shift_left, &plumb_op_shift_right};
    static const double a[9] = {1, -1, 5, -5, 2147483647, -2147483648.0, -2147483648.0, 3, -3};
    static const double b[9] = {31, 31, 32, 32, 1, 1, 63, -1, 64};
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        bool shifts = k >= 3;
        for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
            op_case one = make_case(ops[k], NULL, "%s", pairs[i].label);
            one.n_in = 2;
            one.dtypes = PLUMB_INTS;
            one.in[0] = integers(PLUMB_NO_DTYPE, pairs[i].a, 0, 255);
            one.in[1] = integers(PLUMB_NO_DTYPE, pairs[i].b, 0, shifts ? 9 : 255);
            one.mostly_zero = true;
            add_case(list, &one);
        }
        add_integers(list, ops[k]);
        add_extremes(list, ops[k]);
        op_case one = make_case(ops[k], NULL, "signs and far shifts");
        one.n_in = 2;
        one.dtypes = PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64);
        one.in[0] = (case_input){.shape = PLUMB_SHAPE(9), .fill = CASE_GIVEN, .given = a};
        one.in[1] = (case_input){.shape = PLUMB_SHAPE(9), .fill = CASE_GIVEN, .given = b};
        one.mostly_zero = true;
        add_case(list, &one);
    }
}

static void add_where(case_list *list)
{
    static const struct triple {
        plumb_shape condition, a, b;
        const char *label;
        unsigned dtypes;
    } triples[] = {
        {{2, {3, 4}}, {2, {3, 4}}, {2, {3, 4}}, "3x4", 0},
        {{0, {0}}, {1, {5}}, {1, {5}}, "scalar condition", 0},
        {{1, {9}}, {0, {0}}, {0, {0}}, "two scalars", 0},
        {{2, {4, 1}}, {1, {3}}, {3, {2, 1, 1}}, "broadcast three ways", 0},
        {{2, {0, 2}}, {1, {2}}, {0, {0}}, "0x2", 0},
        {{5, {1, 2, 1, 2, 3}}, {4, {2, 3, 2, 1}}, {1, {3}}, "rank 5", 0},
        {{2, {3, 45}}, {2, {3, 45}}, {1, {45}}, "3x45, a row", 0},
        {{4, {2, 3, 4, 2}}, {4, {2, 3, 4, 2}}, {4, {1, 3, 1, 1}}, "2x3x4x2, channels", 0},
        {{2, {3, 4}}, {2, {3, 4}}, {2, {3, 4}}, "3x4 integers", PLUMB_INTS},
    };
    for (size_t i = 0; i < sizeof(triples) / sizeof(*triples); i++) {
        op_case one = make_case(&plumb_op_where, NULL, "%s", triples[i].label);
        one.n_in = 3;
        one.dtypes = triples[i].dtypes;
        one.in[0] = integers(PLUMB_U8, triples[i].condition, 0, 1);
        one.in[1] = one.dtypes ? integers(PLUMB_NO_DTYPE, triples[i].a, 1, 99) : floats(triples[i].a);
        one.in[2] = one.dtypes ? integers(PLUMB_NO_DTYPE, triples[i].b, 1, 99) : floats(triples[i].b);
        one.zero_gradient = plumb_shape_count(&triples[i].condition) == 0 ? 6 : 0;
        /* a condition of one element leaves a or b out altogether */
        one.no_gradient = one.dtypes != 0 || triples[i].condition.rank == 0;
        add_case(list, &one);
    }
}

static void refuse(case_list *list, const plumb_op *op, const char *label, case_input a, case_input b,
                   case_input c)
{
    op_case one = make_case(op, NULL, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.n_in = op->min_in;
    one.in[0] = a;
    one.in[1] = b;
    one.in[2] = c;
    add_case(list, &one);
}

static void add_refusals(case_list *list)
{
    const plumb_shape six = PLUMB_SHAPE(2, 3);
    const case_input x = floats(six), none = {.dtype = PLUMB_NO_DTYPE};
    refuse(list, &plumb_op_add, "refused: 2x3 and 2", x, floats(PLUMB_SHAPE(2)), none);
    refuse(list, &plumb_op_add, "refused: an integer beside a float", x, integers(PLUMB_I32, six, 0, 1),
           none);
    refuse(list, &plumb_op_atan2, "refused: integers", integers(PLUMB_I32, six, 1, 3),
           integers(PLUMB_I32, six, 1, 3), none);
    refuse(list, &plumb_op_bitwise_and, "refused: floats", x, x, none);
    refuse(list, &plumb_op_shift_left, "refused: two dtypes", integers(PLUMB_I32, six, 1, 3),
           integers(PLUMB_U8, six, 1, 3), none);
    refuse(list, &plumb_op_less, "refused: 2x3 and 3x2", x, floats(PLUMB_SHAPE(3, 2)), none);
    refuse(list, &plumb_op_where, "refused: a float condition", x, x, x);
    refuse(list, &plumb_op_where, "refused: a and b of two dtypes", integers(PLUMB_U8, six, 0, 1), x,
           integers(PLUMB_U8, six, 0, 1));
    refuse(list, &plumb_op_where, "refused: a condition of another shape",
           integers(PLUMB_U8, PLUMB_SHAPE(4), 0, 1), x, x);
}

void cases_binary(case_list *list)
{
    static const plumb_op *const arithmetic[] = {&plumb_op_add, &plumb_op_sub,     &plumb_op_mul,
                                                 &plumb_op_div, &plumb_op_maximum, &plumb_op_minimum};
    for (size_t i = 0; i < sizeof(arithmetic) / sizeof(*arithmetic); i++) {
        bool divides = arithmetic[i] == &plumb_op_div;
        add_pairs(list, arithmetic[i], -2, 2, divides ? 0.5 : -2, 2);
        add_long(list, arithmetic[i]);
        add_integers(list, arithmetic[i]);
        add_extremes(list, arithmetic[i]);
    }
    add_pairs(list, &plumb_op_pow, 0.5, 2, -2, 2);
    add_integers(list, &plumb_op_pow);
    add_extremes(list, &plumb_op_pow);
    add_more(list);
    add_bits(list);
    add_comparisons(list, &plumb_op_logical_and);
    add_comparisons(list, &plumb_op_logical_or);
    add_comparisons(list, &plumb_op_logical_xor);
    add_comparisons(list, &plumb_op_not_equal);
    add_comparisons(list, &plumb_op_equal);
    add_comparisons(list, &plumb_op_less);
    add_comparisons(list, &plumb_op_less_equal);
    add_where(list);
    add_refusals(list);
}
