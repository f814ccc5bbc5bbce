/* Cases of numbers in a row and of triangles. */
#include "cases.h"

static void numbers(case_list *list, plumb_shape shape, double start, double step, unsigned dtypes, const char *label)
{
    plumb_attr_iota attr;
    memset(&attr, 0, sizeof(attr));
    attr.made.shape = shape;
    attr.start = start;
    attr.step = step;
    op_case one = make_case(&plumb_op_iota, &attr, "%s", label);
    one.dtypes = dtypes;
    add_case(list, &one);
    attr.made.shape = (plumb_shape){.rank = -1};
    one = make_case(&plumb_op_iota, &attr, "like %s", label);
    one.dtypes = dtypes;
    one.n_in = 1;
    one.in[0] = dtypes ? integers(PLUMB_NO_DTYPE, shape, 1, 9) : floats(shape);
    add_case(list, &one);
}

static void triangle(case_list *list, plumb_shape x, int64_t k, plumb_status expect)
{
    char text[128];
    for (int upper = 0; upper < 2; upper++) {
        plumb_attr_triangle attr;
        memset(&attr, 0, sizeof(attr));
        attr.k = k;
        attr.upper = upper;
        for (int whole = 0; whole < 2; whole++) {
            op_case one = make_case(&plumb_op_triangle, &attr, "%s %s %lld%s", plumb_shape_text(&x, text, sizeof(text)),
                                    upper ? "upper" : "lower", (long long)k, whole ? ", integers" : "");
            one.n_in = 1;
            one.in[0] = whole ? integers(PLUMB_NO_DTYPE, x, 1, 99) : floats(x);
            one.dtypes = whole ? PLUMB_INTS : 0;
            one.mostly_zero = true;
            one.expect = expect;
            one.no_gradient = plumb_shape_count(&x) > 500; /* too many elements to differentiate one by one */
            int64_t rows = x.rank > 1 ? x.dim[x.rank - 2] : 0, columns = x.rank > 1 ? x.dim[x.rank - 1] : 0;
            one.zero_gradient = plumb_shape_count(&x) == 0 || (upper ? k >= columns : k <= -rows);
            add_case(list, &one);
        }
    }
}

void cases_arrange(case_list *list)
{
    numbers(list, PLUMB_SHAPE(7), 0, 1, 0, "7 from 0");
    numbers(list, PLUMB_SHAPE(5), -1.5, 0.25, 0, "5 from -1.5 by 0.25");
    numbers(list, PLUMB_SHAPE(3, 4), 10, -0.1, 0, "3x4 from 10 by -0.1");
    numbers(list, PLUMB_SHAPE(2, 1, 3, 2, 2), 1, 3, 0, "rank 5");
    numbers(list, PLUMB_SCALAR_SHAPE, 4, 1, 0, "a scalar");
    numbers(list, PLUMB_SHAPE(0, 3), 4, 1, 0, "0x3");
    numbers(list, PLUMB_SHAPE(30, 20), 1, 1e-3, 0, "30x20 by 0.001");
    numbers(list, PLUMB_SHAPE(9), 3, 2, PLUMB_INTS, "9 odd integers");
    numbers(list, PLUMB_SHAPE(6), 250, -40, PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64), "6 down from 250");
    triangle(list, PLUMB_SHAPE(4, 4), 0, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(3, 5), 1, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(5, 3), -2, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(2, 3, 4), 0, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(2, 1, 2, 3, 3), 2, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(1, 1), 0, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(3, 4), 9, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(3, 4), -9, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(0, 4), 0, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(3, 0), 0, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(33, 40), 3, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(3, 4), INT64_MAX, PLUMB_OK);
    triangle(list, PLUMB_SHAPE(5), 0, PLUMB_BAD_INPUT);
}
