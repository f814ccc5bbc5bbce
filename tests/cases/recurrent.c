/* Cases of recurrent layers: one step and many (which a GPU may take in one launch), batches that fill strips and leave some
 * over, sizes that do not fill vectors, both directions, with biases and without, nothing at all; lengths of all, none and
 * some of the steps, gru's reset gate before the product, lstm's peepholes; and on the way back every set of gradients that
 * may be missing. Weights are small enough that a rounding does not grow from step to step. */
#include "cases.h"

#include <stdio.h>

struct size {
    const char *label;
    int64_t steps, batch, features, units;
    bool reverse, unbiased, big; /* big: in f32 and f64 only, and not for the gradient check: either would take minutes */
    const double *lengths;       /* NULL: none */
};

static const double some[] = {3, 1, 2}, none_or_all[] = {0, 3}, ones[] = {1, 1, 1}, zeros[] = {0, 0}, four_or_two[] = {4, 2};
static const double many[] = {5, 3, 0, 1, 2, 5, 4, 4, 3};

static const struct size sizes[] = {
    {"one of each", 1, 1, 1, 1, false, false, false, NULL},
    {"one step", 1, 3, 4, 2, false, false, false, NULL},
    {"two steps, one unit", 2, 1, 1, 1, false, false, false, NULL},
    {"three steps back, one unit", 3, 2, 1, 1, true, true, false, NULL},
    {"two steps", 2, 1, 2, 2, false, false, false, NULL},
    {"two steps back", 2, 1, 2, 2, true, false, false, NULL},
    {"few units", 3, 2, 3, 2, false, false, false, NULL},
    {"few units back", 3, 2, 3, 2, true, false, false, NULL},
    {"no biases", 3, 2, 2, 3, false, true, false, NULL},
    {"no biases back", 2, 3, 2, 3, true, true, false, NULL},
    {"one vector", 2, 6, 5, 16, false, false, true, NULL},
    {"ragged", 3, 7, 5, 19, true, false, true, NULL},
    {"many examples", 2, 27, 3, 9, false, false, true, NULL},
    {"wide", 2, 4, 18, 35, false, false, true, NULL},
    {"long", 11, 2, 4, 6, false, true, true, NULL},
    {"lengths", 3, 3, 2, 2, false, false, false, some},
    {"lengths back", 3, 3, 2, 2, true, false, false, some},
    {"lengths of nothing back", 3, 2, 2, 2, true, false, false, none_or_all},
    {"lengths of one step", 2, 3, 1, 2, false, false, false, ones},
    {"four steps, lengths", 4, 2, 2, 2, false, false, false, four_or_two},
    {"five steps back", 5, 2, 1, 3, true, false, false, NULL},
    {"many lengths", 5, 9, 5, 19, false, false, true, many},
    {"many lengths back", 5, 9, 3, 17, true, true, true, many},
    {"no steps", 0, 2, 3, 4, false, false, false, NULL},
    {"no steps, lengths", 0, 2, 3, 4, false, false, false, zeros},
    {"no examples", 2, 0, 3, 4, false, false, false, NULL},
    {"no features", 2, 3, 0, 4, false, false, false, NULL},
    {"no units", 2, 3, 2, 0, false, false, false, NULL},
};

struct kind {
    const plumb_op *forward, *backward;
    int gates, states, saved;
    int activation;
    const char *label;
    int form; /* 1: gru's reset before the product, lstm's peepholes */
};

static const struct kind kinds[] = {
    {&plumb_op_rnn, &plumb_op_rnn_backward, 1, 1, 0, PLUMB_ACTIVATION_TANH, "tanh", 0},
    {&plumb_op_rnn, &plumb_op_rnn_backward, 1, 1, 0, PLUMB_ACTIVATION_RELU, "relu", 0},
    {&plumb_op_gru, &plumb_op_gru_backward, 3, 1, 2, 0, "", 0},
    {&plumb_op_lstm, &plumb_op_lstm_backward, 4, 2, 2, 0, "", 0},
    {&plumb_op_gru, &plumb_op_gru_backward, 3, 1, 2, 0, "reset before", 1},
    {&plumb_op_lstm, &plumb_op_lstm_backward, 4, 2, 2, 0, "peepholes", 1},
};

static case_input weight(plumb_shape shape) { return floats_in(shape, -0.5, 0.5); }

/* x, states and weights */
static int add_layer(op_case *one, const struct kind *kind, const struct size *s)
{
    int n = 0;
    one->in[n++] = floats(PLUMB_SHAPE(s->steps, s->batch, s->features));
    for (int i = 0; i < kind->states; i++)
        one->in[n++] = floats_in(PLUMB_SHAPE(s->batch, s->units), -1, 1);
    one->in[n++] = weight(PLUMB_SHAPE(kind->gates * s->units, s->features));
    one->in[n++] = weight(PLUMB_SHAPE(kind->gates * s->units, s->units));
    if (kind->form && kind->states > 1)
        one->in[n++] = weight(PLUMB_SHAPE(3 * s->units));
    if (s->lengths)
        one->in[n++] = (case_input){.shape = PLUMB_SHAPE(s->batch), .fill = CASE_GIVEN, .given = s->lengths,
                                    .dtype = s->reverse ? PLUMB_I64 : PLUMB_I32};
    return n;
}

static plumb_attr_recurrent attr_of(const struct kind *kind, const struct size *s)
{
    plumb_attr_recurrent attr;
    memset(&attr, 0, sizeof attr);
    attr.reverse = s->reverse;
    attr.activation = kind->activation;
    attr.lengths = s->lengths != NULL;
    attr.peepholes = kind->form && kind->states > 1;
    attr.reset_before = kind->form && kind->gates == 3;
    return attr;
}

static bool is_empty(const struct size *s) { return s->steps == 0 || s->batch == 0 || s->features == 0 || s->units == 0; }

static op_case forward(const struct kind *kind, const struct size *s)
{
    plumb_attr_recurrent attr = attr_of(kind, s);
    op_case one = make_case(kind->forward, &attr, "%s %s", s->label, kind->label);
    one.n_in = add_layer(&one, kind, s);
    for (int i = 0; i < 2 && !s->unbiased; i++)
        one.in[one.n_in++] = weight(PLUMB_SHAPE(kind->gates * s->units));
    one.no_gradient = s->big;
    one.dtypes = s->big ? PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64) : 0;
    one.mostly_zero = is_empty(s) || s->lengths || kind->activation == PLUMB_ACTIVATION_RELU;
    one.zero_gradient = is_empty(s) ? ~0u : 0;
    return one;
}

/* `given`: which of dy, dhT, dcT there are. What was saved need not belong together: it is an input like any other. */
static op_case backward(const struct kind *kind, const struct size *s, int given, bool dx)
{
    plumb_attr_recurrent attr = attr_of(kind, s);
    attr.given = given;
    attr.dx = dx;
    op_case one = make_case(kind->backward, &attr, "%s %s given %d%s", s->label, kind->label, given, dx ? " dx" : "");
    int n = add_layer(&one, kind, s);
    plumb_shape sequence = PLUMB_SHAPE(s->steps, s->batch, s->units), state = PLUMB_SHAPE(s->batch, s->units);
    one.in[n++] = kind->activation == PLUMB_ACTIVATION_RELU ? floats_avoiding(sequence, 0) : floats_in(sequence, -0.9, 0.9);
    if (kind->saved) {
        one.in[n++] = floats_in(PLUMB_SHAPE(s->steps, s->batch, kind->gates * s->units), 0.1, 0.9);
        one.in[n++] = floats(sequence);
    }
    for (int i = 0; i < 3; i++)
        if (given >> i & 1)
            one.in[n++] = floats(i == 0 ? sequence : state);
    one.n_in = n;
    one.no_gradient = s->big;
    one.dtypes = s->big ? PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64) : 0;
    one.mostly_zero = is_empty(s) || s->lengths || kind->activation == PLUMB_ACTIVATION_RELU;
    one.zero_gradient = is_empty(s) ? ~0u : 0;
    if (((s->steps == 1 || s->lengths == ones) && kind->gates > 1) ||
        (s->lengths == ones && kind->activation == PLUMB_ACTIVATION_RELU))
        one.zero_gradient |= 1u << plumb_recurrent_first(&attr, kind->states); /* the h before is h0 */
    if (!dx)
        one.zero_gradient |= 1u << (kind->states + 1); /* w_ih has no part in the rest */
    return one;
}

static void refuse(case_list *list, op_case one, const char *label)
{
    snprintf(one.label, sizeof one.label, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.dtypes = PLUMB_BIT(PLUMB_F32);
    add_case(list, &one);
}

/* By the shape rule, and while running. */
static void add_wrong_lengths(case_list *list, const struct kind *kind)
{
    static const double long_one[] = {3, 4, 2}, negative[] = {-1, 3, 2};
    struct size s = {"", 3, 3, 2, 2, .lengths = some};
    int at = kind->states + 3 + (kind->form && kind->states > 1);
    op_case one = forward(kind, &s);
    one.in[at].shape.dim[0]--;
    refuse(list, one, "lengths of another batch");
    one = forward(kind, &s);
    one.in[at].dtype = 0;
    refuse(list, one, "lengths are no indices");
    s.lengths = long_one;
    one = forward(kind, &s);
    refuse(list, one, "longer than all steps");
    one = backward(kind, &s, 1, true);
    refuse(list, one, "longer than all steps, back");
    s.lengths = negative;
    one = forward(kind, &s);
    refuse(list, one, "a negative length");
}

static void add_refusals(case_list *list, const struct kind *kind)
{
    const struct size *s = &sizes[6];
    int w = kind->states + 1;
    op_case one = forward(kind, s);
    one.in[0].shape = PLUMB_SHAPE(6, 3);
    refuse(list, one, "x of rank 2");
    one = forward(kind, s);
    one.in[1].shape = PLUMB_SHAPE(s->batch, s->units + 1);
    refuse(list, one, "h0 of other units");
    one = forward(kind, s);
    one.in[w].shape.dim[0]++;
    refuse(list, one, "w_ih of other rows");
    one = forward(kind, s);
    one.in[w].shape.dim[1]++;
    refuse(list, one, "w_ih of other features");
    one = forward(kind, s);
    one.in[w + 1].shape = PLUMB_SHAPE(kind->gates * s->units);
    refuse(list, one, "w_hh of rank 1");
    one = forward(kind, s);
    one.in[one.n_in - 1].shape.dim[0]--;
    refuse(list, one, "b_hh of another size");
    one = forward(kind, s);
    one.n_in--;
    refuse(list, one, "one bias");
    one = forward(kind, s);
    ((plumb_attr_recurrent *)one.attr)->lengths = 1;
    refuse(list, one, "no lengths");
    one = forward(kind, s);
    *(kind->states > 1 ? &((plumb_attr_recurrent *)one.attr)->reset_before : &((plumb_attr_recurrent *)one.attr)->peepholes) = 1;
    one.in[one.n_in++] = weight(PLUMB_SHAPE(kind->gates * s->units));
    refuse(list, one, "another kind's form");
    one = forward(kind, s);
    one.in[w].dtype = PLUMB_F64;
    refuse(list, one, "dtypes differ");
    one = backward(kind, s, 3, true);
    one.in[one.n_in - 1].shape.dim[0]++;
    refuse(list, one, "dhT of another batch");
    one = backward(kind, s, 1, true);
    one.n_in--;
    refuse(list, one, "no dy");
    one = backward(kind, s, 1, false);
    one.in[kind->states + 3].shape.dim[0]++;
    refuse(list, one, "y of other steps");
    add_wrong_lengths(list, kind);
    if (kind->activation) {
        one = forward(kind, s);
        ((plumb_attr_recurrent *)one.attr)->activation = PLUMB_ACTIVATION_SIGMOID;
        refuse(list, one, "another activation");
    }
}

/* Relu's long ones are tanh's, and so are its lengths; what gru and lstm have in other forms shows in a few sizes. */
static bool adds_nothing(const struct kind *kind, const struct size *s)
{
    if (kind->activation == PLUMB_ACTIVATION_RELU)
        return (s->big && s->steps > 2) || (s->lengths && s->lengths != some);
    return kind->form && s->steps < 3 && !s->lengths && !(s->steps == 1 && s->batch > 1);
}

void cases_recurrent(case_list *list)
{
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int all = kinds[k].states > 1 ? 7 : 3;
            if (adds_nothing(&kinds[k], &sizes[i]))
                continue;
            op_case one = forward(&kinds[k], &sizes[i]);
            add_case(list, &one);
            one = backward(&kinds[k], &sizes[i], all, true);
            add_case(list, &one);
            for (int given = 1; given < all && (i == 6 || i == 7); given++) {
                one = backward(&kinds[k], &sizes[i], given, given & 1);
                add_case(list, &one);
            }
        }
        if (kinds[k].activation != PLUMB_ACTIVATION_RELU && !kinds[k].form)
            add_refusals(list, &kinds[k]);
    }
}
