/* What the files of losses share (loss.c): how options are read, what is refused, and how a loss per element or example
 * becomes a number. */
#ifndef PLUMB_OP_LOSS_H
#define PLUMB_OP_LOSS_H

#include "op/attr.h"

/* The caller's struct may be of another size than ours: what it lacks is default. */
plumb_loss_options plumb_loss_read(const plumb_loss_options *options);
double plumb_loss_default(double value, double otherwise); /* `otherwise` where it is 0, 0 where it is PLUMB_ZERO */
/* These poison the graph and return false. */
bool plumb_loss_reduces(plumb_graph *g, const char *loss, plumb_reduce reduce);
bool plumb_loss_alike(plumb_graph *g, const char *loss, plumb_t a, plumb_t b); /* of one shape, and a sound graph */

/* total / weight, and 0 where the weight is 0 (total is 0 then) */
plumb_t plumb_loss_weighted_mean(plumb_graph *g, plumb_t total, plumb_t weight);
/* `loss` per element or example; `weight`, if any, is stretched to its shape (which refuses to stretch the loss instead). */
plumb_t plumb_loss_reduced(plumb_graph *g, plumb_t loss, plumb_t weight, plumb_reduce reduce);
plumb_t plumb_loss_product(plumb_graph *g, plumb_t a, plumb_t b); /* of which one or both may be PLUMB_NONE: 1 */

/* The square root, with the gradient 0 at 0 instead of infinity. */
plumb_t plumb_loss_root(plumb_graph *g, plumb_t x);
/* x^power for x in [0, 1]; at 0 its gradient is finite for any power. */
plumb_t plumb_loss_power(plumb_graph *g, plumb_t x, double power);

#endif
