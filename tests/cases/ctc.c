/* Cases of CTC: steps to spare and none, repeated labels, empty targets, all blanks, padded targets and those behind each
 * other, either end of the classes as the blank, lengths that vary, what cannot be read, nothing at all. Log-probabilities
 * need not sum to one. */
#include "cases.h"

#include <stdio.h>

static const struct ctc {
    const char *label;
    int64_t steps, n, classes, labels, blank;
    bool zero_infinity, joined;
    double targets[8], input[4], lengths[4];
    bool infinite; /* some cannot be read */
    bool single;   /* there is one way to read each: second derivatives are 0 */
} rows[] = {
    {"one step", 1, 1, 2, 1, 0, false, false, {1}, {1}, {1}, false, true},
    {"two sequences", 4, 2, 3, 2, 0, false, false, {1, 2, 2, 1}, {4, 4}, {2, 2}, false, false},
    {"repeated", 5, 1, 3, 3, 0, false, false, {1, 1, 2}, {5}, {3}, false, false},
    {"repeated, no step to spare", 3, 1, 3, 2, 0, false, false, {2, 2}, {3}, {2}, false, true},
    {"empty target", 3, 2, 4, 2, 0, false, false, {3, 1, 2, 2}, {3, 3}, {0, 2}, false, true},
    {"all empty", 3, 2, 3, 0, 0, false, false, {0}, {3, 2}, {0, 0}, false, true},
    {"last class blank", 5, 2, 4, 2, 3, false, false, {0, 2, 1, 1}, {5, 4}, {2, 2}, false, false},
    {"middle blank", 4, 1, 5, 2, 2, false, false, {4, 0}, {4}, {2}, false, false},
    {"lengths vary", 6, 3, 4, 2, 0, false, false, {1, 2, 3, 9, 2, 1}, {6, 4, 3}, {2, 1, 2}, false, false},
    {"behind each other", 5, 3, 4, 6, 0, false, true, {1, 2, 3, 2, 1, 9}, {5, 4, 3}, {2, 1, 2}, false, false},
    {"cannot be read", 3, 2, 3, 3, 0, false, false, {1, 1, 2, 1, 2, 2}, {3, 3}, {3, 1}, true, false},
    {"cannot be read, 0", 3, 2, 3, 3, 0, true, false, {1, 1, 2, 1, 2, 2}, {3, 3}, {3, 1}, true, false},
    {"no input", 3, 2, 3, 1, 0, true, false, {1, 2}, {0, 3}, {1, 1}, true, false},
    {"no input, no target", 3, 2, 3, 1, 0, false, false, {1, 2}, {0, 3}, {0, 1}, false, false},
    {"many steps", 40, 2, 3, 4, 0, false, false, {1, 2, 2, 1, 2, 1, 1, 2}, {40, 33}, {4, 3}, false, false},
    {"many classes", 3, 1, 300, 2, 299, false, false, {17, 250}, {3}, {2}, false, false},
    {"one class", 3, 1, 1, 0, 0, false, false, {0}, {3}, {0}, false, true},
    {"no sequences", 3, 0, 3, 2, 0, false, false, {0}, {0}, {0}, false, false},
};

static op_case make(const plumb_op *op, const struct ctc *c, plumb_dtype index)
{
    plumb_attr_ctc attr;
    memset(&attr, 0, sizeof attr);
    attr.blank = c->blank;
    attr.zero_infinity = c->zero_infinity;
    op_case one = make_case(op, &attr, "%s, %s", c->label, index == PLUMB_I32 ? "i32" : "i64");
    plumb_shape targets = c->joined ? PLUMB_SHAPE(c->labels) : PLUMB_SHAPE(c->n, c->labels), each = PLUMB_SHAPE(c->n);
    one.in[0] = floats_in(PLUMB_SHAPE(c->steps, c->n, c->classes), -3, -0.2);
    one.in[1] = (case_input){.shape = targets, .fill = CASE_GIVEN, .given = c->targets, .dtype = index};
    one.in[2] = (case_input){.shape = each, .fill = CASE_GIVEN, .given = c->input, .dtype = PLUMB_I32};
    one.in[3] = (case_input){.shape = each, .fill = CASE_GIVEN, .given = c->lengths, .dtype = index};
    one.n_in = 4;
    if (op == &plumb_op_ctc_loss_backward)
        one.in[one.n_in++] = floats(each);
    one.mostly_zero = true; /* classes of no target have the gradient 0 */
    one.no_gradient = c->infinite || c->joined; /* inf - inf; second derivatives need padding */
    if (op == &plumb_op_ctc_loss)
        one.no_gradient = c->infinite;
    one.zero_gradient = c->n == 0 ? ~0u : c->single && op == &plumb_op_ctc_loss_backward ? 1 : 0;
    return one;
}

static const struct ctc wrong[] = {
    {"label 3 of 3", 4, 2, 3, 2, 0, false, false, {1, 2, 2, 3}, {4, 4}, {2, 2}, false, false},
    {"five steps of four", 4, 2, 3, 2, 0, false, false, {1, 2, 2, 1}, {4, 5}, {2, 2}, false, false},
    {"-1 labels", 4, 2, 3, 2, 0, false, false, {1, 2, 2, 1}, {4, 4}, {2, -1}, false, false},
    {"three labels of two", 4, 2, 3, 2, 0, false, false, {1, 2, 2, 1}, {4, 4}, {3, 2}, false, false},
    {"blank 3 of 3", 4, 2, 3, 2, 3, false, false, {1, 2, 2, 1}, {4, 4}, {2, 2}, false, false},
};

static void refuse(case_list *list, const plumb_op *op, const struct ctc *c)
{
    op_case one = make(op, c, PLUMB_I64);
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

void cases_ctc(case_list *list)
{
    const plumb_op *const ops[] = {&plumb_op_ctc_loss, &plumb_op_ctc_loss_backward};
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (int wide = 0; wide < 2 && !(k == 1 && rows[i].joined); wide++) { /* no second derivative; torch_sequences.py */
                op_case one = make(ops[k], &rows[i], wide ? PLUMB_I64 : PLUMB_I32);
                if (i == 9 || i == 10)
                    one.dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64);
                add_case(list, &one);
            }
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
            refuse(list, ops[k], &wrong[i]);
        op_case one = make(ops[k], &rows[1], PLUMB_I32);
        snprintf(one.label, sizeof one.label, "lengths of others");
        one.in[3].shape.dim[0]++;
        one.expect = PLUMB_BAD_INPUT;
        add_case(list, &one);
    }
}
