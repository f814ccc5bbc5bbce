/* Gradients through compositions: a rule that is rarely needed (of a backward op, of statistics) is that of the op written
 * out in simple ops over tensors equal to its own, at which the derivative is taken. */
#ifndef PLUMB_COMPOSE_H
#define PLUMB_COMPOSE_H

#include "op/op.h"

enum { PLUMB_COMPOSE_OPERANDS = 8 };

/* A tensor equal to x, at which the derivative can be taken without the paths on which x reaches the others. */
plumb_t plumb_fresh(plumb_graph *g, plumb_t x);

/* x in the dtype of `like`: the data of a composition in that of its scale, and back. */
plumb_t plumb_as(plumb_graph *g, plumb_t x, plumb_t like);

/* Fills q->din where it is wanted: gradients of the composition's outputs y[q->n_out], whose own are dy (those without one
 * are left out), to the fresh inputs. */
plumb_status plumb_through(plumb_grad *q, const plumb_t *fresh_in, const plumb_t *y, const plumb_t *dy);

/* A default where the option is 0; PLUMB_ZERO, told apart by its sign, is 0 itself. */
double plumb_chosen(double value, double standard);

#endif
