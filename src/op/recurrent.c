/* Recurrent layers over a whole sequence, one layer and one direction to an op: rnn, gru, lstm, and their backward ops.
 *
 * Decided here:
 * - Conventions are PyTorch's: x (T, N, I), weights (gates * H, I) and (gates * H, H), gates stacked in the order i, f, g, o
 *   (lstm) and r, z, n (gru), two biases or none; gru's reset gate multiplies the product with h and its bias, or, with
 *   reset_before, h itself; peepholes p (3H) let lstm's gates see its cells (Gers & Schmidhuber 2000):
 *       rnn:  h = tanh or relu (x w_ih' + b_ih + h w_hh' + b_hh)
 *       gru:  r, z = sigmoid(..); q = h w_hn' + b_hn; n = tanh(x w_in' + b_in + r q); h = (1 - z) n + z h
 *       before: q = r h; n = tanh(x w_in' + b_in + q w_hn' + b_hn)
 *       lstm: i, f, o = sigmoid(..), g = tanh(..); c = f c + i g; h = o tanh(c)
 *       peepholes: i = sigmoid(.. + p_i c), f = sigmoid(.. + p_f c) of the c before, o = sigmoid(.. + p_o c) of the new one
 *   y holds the h of every step, hT and cT the last. `reverse` goes from the last step to the first, in place: y[t] stands
 *   beside x[t], and hT is y[0].
 * - Sequence n has lengths[n] steps, the first ones of T: what lies behind is not looked at, and y, gates and cells are 0
 *   there; the last state is that after its own last step, its first on the way `reverse`, or h0 where it has none. That is
 *   what ONNX and PyTorch's packed sequences do. A length outside [0, T] is an error of the run.
 * - What the way back needs is an output too: gru's gates r, z, n (T, N, 3H) and q (T, N, H), lstm's gates (T, N, 4H) and
 *   cells (T, N, H). Programs that do not train pay for the memory only, which is reused.
 * - Gradients of y, hT and cT that nobody has are left out (`given`), not made as zeros; dx comes last and only where it is
 *   wanted (`dx`), since the first layer of a network has no use for it.
 * - Derivatives of these derivatives are those of the steps written out (recurrent_steps.c), so the number of steps must be
 *   known then.
 * - Mixed precision leaves the ops in f32: their rounding would go round the loop T times. */
#include "op/recurrent.h"

/* ---- shape rules ---- */

static int64_t times(int64_t gates, int64_t units) { return units < 0 ? PLUMB_UNKNOWN : gates * units; }

static plumb_status need(const plumb_infer *q, int input, const char *what, plumb_shape expected)
{
    char have[160], want[160];
    const plumb_shape *shape = &q->in[input].shape;
    bool agree = shape->rank == expected.rank;
    for (int d = 0; agree && d < shape->rank; d++)
        agree = plumb_dims_agree(shape->dim[d], expected.dim[d]);
    if (!agree)
        return plumb_refuse(q, "%s has shape %s, expected %s", what, plumb_shape_text(shape, have, sizeof have),
                            plumb_shape_text(&expected, want, sizeof want));
    return plumb_need_same_dtype(q, 0, input);
}

static plumb_status check_lengths(const plumb_infer *q, int input)
{
    char text[160];
    const plumb_shape *shape = &q->in[input].shape;
    if (plumb_need_index(q, input))
        return PLUMB_BAD_INPUT;
    if (shape->rank != 1 || !plumb_dims_agree(shape->dim[0], q->in[0].shape.dim[1]))
        return plumb_refuse(q, "lengths have shape %s, expected one for each sequence of the batch",
                            plumb_shape_text(shape, text, sizeof text));
    return PLUMB_OK;
}

/* x, the initial states, the weights and what else there is; *units is H. */
static plumb_status check_layer(const plumb_infer *q, const recurrent_kind *kind, int64_t *units)
{
    const plumb_attr_recurrent *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape, *w = &q->in[kind->states + 2].shape;
    char text[160];
    if (plumb_need_float(q, 0))
        return PLUMB_BAD_INPUT;
    if (x->rank != 3)
        return plumb_refuse(q, "x has shape %s, expected (time, batch, features)", plumb_shape_text(x, text, sizeof text));
    if (w->rank != 2)
        return plumb_refuse(q, "w_hh has shape %s, expected (%d * units, units)", plumb_shape_text(w, text, sizeof text),
                            kind->gates);
    if (kind->gates == 1 && attr->activation != PLUMB_ACTIVATION_TANH && attr->activation != PLUMB_ACTIVATION_RELU)
        return plumb_refuse(q, "activation %d, expected tanh or relu", attr->activation);
    if ((attr->peepholes && kind->states < 2) || (attr->reset_before && kind->gates != 3))
        return plumb_refuse(q, "%s", attr->peepholes ? "only lstm has peepholes" : "only gru has a reset gate");
    int64_t h = *units = w->dim[1], rows = times(kind->gates, h);
    plumb_shape state = PLUMB_SHAPE(x->dim[1], h);
    if (need(q, 1, "h0", state) || (kind->states > 1 && need(q, 2, "c0", state)) ||
        need(q, kind->states + 1, "w_ih", PLUMB_SHAPE(rows, x->dim[2])) ||
        need(q, kind->states + 2, "w_hh", PLUMB_SHAPE(rows, h)) ||
        (attr->peepholes && need(q, kind->states + 3, "peepholes", PLUMB_SHAPE(times(3, h)))))
        return PLUMB_BAD_INPUT;
    return attr->lengths ? check_lengths(q, plumb_recurrent_first(attr, kind->states) - 1) : PLUMB_OK;
}

static plumb_type typed(const plumb_infer *q, plumb_shape shape)
{
    return (plumb_type){.dtype = q->in[0].dtype, .shape = shape};
}

static plumb_status infer_forward(plumb_infer *q, const recurrent_kind *kind)
{
    int64_t h, t = q->in[0].shape.dim[0], n = q->in[0].shape.dim[1];
    int biases = plumb_recurrent_first(q->attr, kind->states);
    if (q->n_in != biases && q->n_in != biases + 2)
        return plumb_refuse(q, "%d inputs, expected %d, or %d with b_ih and b_hh", q->n_in, biases, biases + 2);
    if (check_layer(q, kind, &h))
        return PLUMB_BAD_INPUT;
    if (q->n_in > biases && (need(q, biases, "b_ih", PLUMB_SHAPE(times(kind->gates, h))) ||
                             need(q, biases + 1, "b_hh", PLUMB_SHAPE(times(kind->gates, h)))))
        return PLUMB_BAD_INPUT;
    q->out[0] = typed(q, PLUMB_SHAPE(t, n, h));
    for (int k = 0; k < kind->states; k++)
        q->out[1 + k] = typed(q, PLUMB_SHAPE(n, h));
    if (kind->saved > 0) {
        q->out[1 + kind->states] = typed(q, PLUMB_SHAPE(t, n, times(kind->gates, h)));
        q->out[2 + kind->states] = typed(q, PLUMB_SHAPE(t, n, h));
    }
    return PLUMB_OK;
}

static int given_count(int32_t given) { return (given & 1) + (given >> 1 & 1) + (given >> 2 & 1); }

static int outputs_backward(const void *attr, const recurrent_kind *kind)
{
    const plumb_attr_recurrent *a = attr;
    return kind->states + 2 + kind->bias_gradients + (a->peepholes != 0) + (a->dx != 0);
}

static plumb_status infer_backward(plumb_infer *q, const recurrent_kind *kind)
{
    static const char *const what[] = {"dy", "dhT", "dcT"};
    const plumb_attr_recurrent *attr = q->attr;
    const plumb_shape *x = &q->in[0].shape;
    int first = plumb_recurrent_first(attr, kind->states), at = first + 1 + kind->saved, k = 0;
    int64_t h;
    if (q->n_in < at || attr->given < 1 || attr->given >= 2 << kind->states || q->n_in != at + given_count(attr->given))
        return plumb_refuse(q, "%d inputs do not go with gradients %#x", q->n_in, (unsigned)attr->given);
    if (check_layer(q, kind, &h))
        return PLUMB_BAD_INPUT;
    plumb_shape sequence = PLUMB_SHAPE(x->dim[0], x->dim[1], h), state = PLUMB_SHAPE(x->dim[1], h);
    plumb_shape gates = PLUMB_SHAPE(x->dim[0], x->dim[1], times(kind->gates, h));
    if (need(q, first, "y", sequence) || (kind->saved > 0 && (need(q, first + 1, "gates", gates) ||
                                                              need(q, first + 2, kind->saved_name, sequence))))
        return PLUMB_BAD_INPUT;
    for (int i = 0; i < 3; i++)
        if (attr->given >> i & 1 && need(q, at++, what[i], i == 0 ? sequence : state))
            return PLUMB_BAD_INPUT;
    for (int i = 0; i < kind->states; i++)
        q->out[k++] = typed(q, state);
    q->out[k++] = q->in[kind->states + 1];
    q->out[k++] = q->in[kind->states + 2];
    for (int i = 0; i < kind->bias_gradients; i++)
        q->out[k++] = typed(q, PLUMB_SHAPE(times(kind->gates, h)));
    if (attr->peepholes)
        q->out[k++] = q->in[kind->states + 3];
    if (attr->dx)
        q->out[k] = q->in[0];
    return PLUMB_OK;
}

/* ---- gradient ---- */

static plumb_status gradient_forward(plumb_grad *q, const recurrent_kind *kind)
{
    plumb_t in[16];
    int n = 0, states = kind->states, first_bias = plumb_recurrent_first(q->attr, states);
    for (int i = 0; i < kind->saved; i++)
        if (q->dout[1 + states + i] != PLUMB_NONE) /* reached by second derivatives only */
            return recurrent_gradient_by_steps(q, kind);
    plumb_attr_recurrent attr;
    memcpy(&attr, q->attr, sizeof attr);
    attr.dx = q->want[0];
    for (int i = 0; i < first_bias; i++)
        in[n++] = q->in[i];
    in[n++] = q->out[0];
    for (int i = 0; i < kind->saved; i++)
        in[n++] = q->out[1 + states + i];
    for (int i = 0; i <= states; i++)
        if (q->dout[i] != PLUMB_NONE) {
            attr.given |= 1 << i;
            in[n++] = q->dout[i];
        }
    plumb_t first = plumb_emit(q->graph, kind->backward, &attr, in, n);
    if (first == PLUMB_NONE)
        return PLUMB_BAD_INPUT;
    for (int i = 0; i < states + 2; i++)
        q->din[1 + i] = plumb_output(q->graph, first, i);
    for (int i = 0; i < 2 && q->n_in > first_bias; i++) /* both biases are added where there is one gradient */
        q->din[first_bias + i] = plumb_output(q->graph, first, states + 2 + (i < kind->bias_gradients ? i : 0));
    if (attr.peepholes)
        q->din[states + 3] = plumb_output(q->graph, first, states + 2 + kind->bias_gradients);
    if (attr.lengths)
        q->din[first_bias - 1] = PLUMB_NO_GRADIENT;
    q->din[0] = attr.dx ? plumb_output(q->graph, first, outputs_backward(&attr, kind) - 1) : PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

/* ---- facts ---- */

static double steps_of(const plumb_call *call) { return (double)call->in[0].dim[0] * (double)call->in[0].dim[1]; }

static double weights_of(const plumb_call *call, int states)
{
    return (double)plumb_view_count(&call->in[states + 1]) + (double)plumb_view_count(&call->in[states + 2]);
}

/* The two products: what gates take besides is little, and no product. */
static double flops_forward(const plumb_call *call, const recurrent_kind *kind)
{
    return 2 * steps_of(call) * weights_of(call, kind->states);
}

/* As many for the weights' gradients as for those of x and h, or only h. */
static double flops_backward(const plumb_call *call, const recurrent_kind *kind)
{
    const plumb_attr_recurrent *attr = call->attr;
    double all = weights_of(call, kind->states);
    double back = attr->dx ? all : (double)plumb_view_count(&call->in[kind->states + 2]);
    return 2 * steps_of(call) * (all + back);
}

/* Every step adds its products' roundings to those of the steps before. */
static double terms_forward(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    return (double)(x->dim[0] + 1) * (double)(x->dim[2] + call->in[1].dim[1] + 1);
}

/* Sums over gates, steps and the batch. */
static double terms_backward(const plumb_call *call)
{
    return terms_forward(call) * 4 * (double)(call->in[0].dim[1] + 1);
}

/* Only relu has kinks, and y shows them. */
static plumb_t branch_rnn(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)in;
    return plumb_activation_branch(graph, ((const plumb_attr_recurrent *)attr)->activation, out[0]);
}

static plumb_t branch_rnn_backward(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)out;
    return plumb_activation_branch(graph, ((const plumb_attr_recurrent *)attr)->activation,
                                   in[plumb_recurrent_first(attr, recurrent_rnn.states)]);
}

static void print(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_recurrent *attr = opaque;
    plumb_text_add(text, "%s%s%s%s", attr->reverse ? "reverse" : "", attr->reset_before ? " reset before" : "",
                   attr->peepholes ? " peepholes" : "", attr->lengths ? " lengths" : "");
    plumb_print_activation(attr->activation, text);
}

/* ---- rows ---- */

const recurrent_kind recurrent_rnn = {
    .gates = 1, .states = 1, .bias_gradients = 1, .backward = &plumb_op_rnn_backward};
const recurrent_kind recurrent_gru = {.gates = 3,
                                      .states = 1,
                                      .saved = 2,
                                      .bias_gradients = 2,
                                      .saved_name = "q",
                                      .backward = &plumb_op_gru_backward};
const recurrent_kind recurrent_lstm = {.gates = 4,
                                       .states = 2,
                                       .saved = 2,
                                       .bias_gradients = 1,
                                       .saved_name = "cells",
                                       .backward = &plumb_op_lstm_backward};

#define ROWS(kind, n_states, n_saved, forward_branch, backward_branch)                                               \
    static plumb_status infer_##kind(plumb_infer *q) { return infer_forward(q, &recurrent_##kind); }                 \
    static plumb_status gradient_##kind(plumb_grad *q) { return gradient_forward(q, &recurrent_##kind); }            \
    static double flops_##kind(const plumb_call *call) { return flops_forward(call, &recurrent_##kind); }            \
    static plumb_status infer_##kind##_backward(plumb_infer *q) { return infer_backward(q, &recurrent_##kind); }     \
    static plumb_status gradient_##kind##_backward(plumb_grad *q)                                                    \
    {                                                                                                                \
        return recurrent_second_by_steps(q, &recurrent_##kind);                                                      \
    }                                                                                                                \
    static double flops_##kind##_backward(const plumb_call *call) { return flops_backward(call, &recurrent_##kind); } \
    static int outputs_##kind##_backward(const void *attr, int n_in)                                                 \
    {                                                                                                                \
        (void)n_in;                                                                                                  \
        return outputs_backward(attr, &recurrent_##kind);                                                            \
    }                                                                                                                \
    const plumb_op plumb_op_##kind = {                                                                               \
        .name = #kind,                                                                                               \
        .min_in = 3 + (n_states),                                                                                    \
        .max_in = 7 + (n_states),                                                                                    \
        .n_out = 1 + (n_states) + (n_saved),                                                                         \
        .attr_size = sizeof(plumb_attr_recurrent),                                                                   \
        .infer = infer_##kind,                                                                                       \
        .gradient = gradient_##kind,                                                                                 \
        .flops = flops_##kind,                                                                                       \
        .terms = terms_forward,                                                                                      \
        .tolerance = PLUMB_TOL_NORM,                                                                                 \
        .branch = forward_branch,                                                                                    \
        .print = print,                                                                                              \
    };                                                                                                               \
    const plumb_op plumb_op_##kind##_backward = {                                                                    \
        .name = #kind "_backward",                                                                                   \
        .min_in = 5 + (n_states) + (n_saved),                                                                        \
        .max_in = 7 + 2 * (n_states) + (n_saved),                                                                    \
        .attr_size = sizeof(plumb_attr_recurrent),                                                                   \
        .flags = PLUMB_OP_BACKWARD | PLUMB_OP_VARIADIC,                                                              \
        .outputs = outputs_##kind##_backward,                                                                        \
        .infer = infer_##kind##_backward,                                                                            \
        .gradient = gradient_##kind##_backward,                                                                      \
        .flops = flops_##kind##_backward,                                                                            \
        .terms = terms_backward,                                                                                     \
        .tolerance = PLUMB_TOL_NORM,                                                                                 \
        .branch = backward_branch,                                                                                   \
        .print = print,                                                                                              \
    };
ROWS(rnn, 1, 0, branch_rnn, branch_rnn_backward)
ROWS(gru, 1, 2, NULL, NULL)
ROWS(lstm, 2, 2, NULL, NULL)

/* ---- builders ---- */

plumb_t plumb_recurrent_state(plumb_graph *g, plumb_t state, plumb_t x, plumb_t w_hh)
{
    plumb_shape s = plumb_shape_of(g, x), w = plumb_shape_of(g, w_hh);
    if (state != PLUMB_NONE || s.rank != 3 || w.rank != 2) /* what is wrong then, the shape rule says */
        return state != PLUMB_NONE ? state : x;
    bool known = s.dim[1] != PLUMB_UNKNOWN;
    plumb_t zeros = plumb_full(g, plumb_dtype_of(g, x), PLUMB_SHAPE(known ? s.dim[1] : 1, w.dim[1]), 0);
    if (known)
        return zeros;
    plumb_t column = plumb_sum(g, plumb_full_like(g, x, 0), PLUMB_AXES(0, 2), false);
    return plumb_add(g, plumb_reshape(g, column, PLUMB_SHAPE(PLUMB_INFER, 1)), zeros);
}

/* The three gates' weights or biases from those of z and n: r's are `value`. */
static plumb_t with_reset(plumb_graph *g, plumb_t two, double value)
{
    plumb_shape shape = plumb_shape_of(g, two);
    if (shape.rank < 1 || shape.rank > 2 || shape.dim[0] < 0 || shape.dim[0] % 2 || shape.dim[shape.rank - 1] < 0)
        return two; /* what is wrong then, the shape rule says */
    shape.dim[0] /= 2;
    return plumb_concat(g, (const plumb_t[]){plumb_full(g, plumb_dtype_of(g, two), shape, value), two}, 2, 0);
}

/* Without a reset gate r is 1: sigmoid(64) is, in every dtype, to the last bit. Such a gru is for small networks; the third
 * of its products that multiplies zeros is not worth an op of its own. */
static void open_reset(plumb_graph *g, plumb_t w[4])
{
    plumb_shape shape = plumb_shape_of(g, w[1]);
    if (shape.rank == 2 && shape.dim[0] >= 0 && w[2] == PLUMB_NONE && w[3] == PLUMB_NONE)
        w[2] = w[3] = plumb_full(g, plumb_dtype_of(g, w[1]), PLUMB_SHAPE(shape.dim[0]), 0);
    for (int i = 0; i < 4; i++)
        if (w[i] != PLUMB_NONE)
            w[i] = with_reset(g, w[i], i == 2 ? 64 : 0);
}

static bool is_sound(plumb_graph *g, const plumb_op *op, const recurrent_kind *kind, const plumb_recurrent_options *o)
{
    if (o->relu && kind->gates > 1)
        plumb_poison(g, "%s: relu is an activation of rnn only", op->name);
    else if (o->reset != PLUMB_RESET_AFTER && kind->gates != 3)
        plumb_poison(g, "%s: only gru has a reset gate", op->name);
    else if (o->reset > PLUMB_RESET_NONE)
        plumb_poison(g, "gru: reset %d, expected after, before or none", (int)o->reset);
    else if (o->peepholes != PLUMB_NONE && kind->states < 2)
        plumb_poison(g, "%s: only lstm has peepholes", op->name);
    else
        return true;
    return false;
}

static plumb_t build(plumb_graph *g, const plumb_op *op, const recurrent_kind *kind, plumb_t x, const plumb_t *states,
                     const plumb_t *weights, const plumb_recurrent_options *options)
{
    plumb_recurrent_options o = {0};
    plumb_attr_recurrent attr;
    plumb_t in[10] = {x}, w[4];
    int n = 1;
    if (options)
        memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    if (!is_sound(g, op, kind, &o))
        return PLUMB_NONE;
    memcpy(w, weights, sizeof w);
    if (o.reset == PLUMB_RESET_NONE)
        open_reset(g, w);
    memset(&attr, 0, sizeof attr);
    attr.reverse = o.reverse;
    attr.activation = kind->gates > 1 ? 0 : o.relu ? PLUMB_ACTIVATION_RELU : PLUMB_ACTIVATION_TANH;
    attr.reset_before = o.reset == PLUMB_RESET_BEFORE;
    attr.peepholes = o.peepholes != PLUMB_NONE;
    attr.lengths = o.lengths != PLUMB_NONE;
    for (int i = 0; i < kind->states; i++)
        in[n++] = plumb_recurrent_state(g, states[i], x, w[1]);
    in[n++] = w[0];
    in[n++] = w[1];
    if (attr.peepholes)
        in[n++] = o.peepholes;
    if (attr.lengths)
        in[n++] = o.lengths;
    for (int i = 2; i < 4; i++)
        if (w[i] != PLUMB_NONE)
            in[n++] = w[i];
    return plumb_emit(g, op, &attr, in, n);
}

plumb_t plumb_rnn(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih, plumb_t b_hh,
                  const plumb_recurrent_options *options)
{
    return build(g, &plumb_op_rnn, &recurrent_rnn, x, &h0, (const plumb_t[]){w_ih, w_hh, b_ih, b_hh}, options);
}

plumb_t plumb_gru(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih, plumb_t b_hh,
                  const plumb_recurrent_options *options)
{
    return build(g, &plumb_op_gru, &recurrent_gru, x, &h0, (const plumb_t[]){w_ih, w_hh, b_ih, b_hh}, options);
}

plumb_t plumb_lstm(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih, plumb_t b_hh,
                   const plumb_recurrent_options *options)
{
    return build(g, &plumb_op_lstm, &recurrent_lstm, x, (const plumb_t[]){h0, c0},
                 (const plumb_t[]){w_ih, w_hh, b_ih, b_hh}, options);
}
