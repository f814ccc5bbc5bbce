/* What the files of the recurrent ops share (recurrent.c): how rnn, gru and lstm differ in shapes, and the way through
 * their steps written out, which second derivatives take (recurrent_steps.c). */
#ifndef PLUMB_OP_RECURRENT_H
#define PLUMB_OP_RECURRENT_H

#include "op/attr.h"

typedef struct recurrent_kind {
    int gates;          /* matrices stacked in a weight */
    int states;         /* h, or h and c */
    int saved;          /* outputs after y and the last states that serve the way back: gates and .. */
    int bias_gradients; /* 1: that of both biases */
    const char *saved_name;
    const plumb_op *backward;
} recurrent_kind;

extern const recurrent_kind recurrent_rnn, recurrent_gru, recurrent_lstm;

/* The state, or zeros (N, H) where none is given; where N is known only once sizes are bound, it is read off x (its zeros').
 * Layers ask before they name the op, which builders would else give to the zeros. */
plumb_t plumb_recurrent_state(plumb_graph *g, plumb_t state, plumb_t x, plumb_t w_hh);

/* Gradient rules: of a forward op whose saved outputs have gradients, and of a backward op. */
plumb_status recurrent_gradient_by_steps(plumb_grad *q, const recurrent_kind *kind);
plumb_status recurrent_second_by_steps(plumb_grad *q, const recurrent_kind *kind);

#endif
