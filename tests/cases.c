/* The little vocabulary that the case files in tests/cases are written in. */
#include "cases.h"

#include <stdarg.h>
#include <stdio.h>

void add_case(case_list *list, const op_case *one)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 256;
        list->items = realloc(list->items, (size_t)list->room * sizeof(op_case));
        if (!list->items) {
            fprintf(stderr, "cases: out of memory\n");
            abort();
        }
    }
    list->items[list->count++] = *one;
}

op_case make_case(const plumb_op *op, const void *attr, const char *label, ...)
{
    op_case one;
    va_list args;
    memset(&one, 0, sizeof(one));
    one.op = op;
    va_start(args, label);
    vsnprintf(one.label, sizeof(one.label), label, args);
    va_end(args);
    if (op->attr_size > sizeof(one.attr)) {
        fprintf(stderr, "cases: the attributes of %s do not fit\n", op->name);
        abort();
    }
    if (attr && op->attr_size > 0) {
        memcpy(one.attr, attr, op->attr_size);
    }
    return one;
}

case_input floats_in(plumb_shape shape, double low, double high)
{
    case_input input;
    memset(&input, 0, sizeof(input));
    input.shape = shape;
    input.fill = CASE_UNIFORM;
    input.low = low;
    input.high = high;
    return input;
}

case_input floats(plumb_shape shape)
{
    return floats_in(shape, -2, 2);
}

case_input floats_avoiding(plumb_shape shape, double avoid)
{
    case_input input = floats(shape);
    input.use_avoid = true;
    input.avoid = avoid;
    return input;
}

case_input distinct(plumb_shape shape)
{
    case_input input = floats(shape);
    input.fill = CASE_DISTINCT;
    return input;
}

case_input integers(plumb_dtype dtype, plumb_shape shape, double low, double high)
{
    case_input input = floats_in(shape, low, high);
    input.fill = CASE_INTEGERS;
    input.dtype = dtype;
    return input;
}
