/* What builders of other forms (one and three dimensions, einsum) share: laying a tensor out anew while some of its sizes
 * may be symbols. Costs nothing where the tensor is packed: a reshape is a view. */
#ifndef PLUMB_FORMS_H
#define PLUMB_FORMS_H

#include "op/attr.h"

/* x with this shape. One size may be PLUMB_UNKNOWN and is inferred; with more of them the graph is poisoned in `what`'s
 * name. PLUMB_NONE where the graph is bad. */
plumb_t plumb_laid(plumb_graph *g, const char *what, plumb_t x, plumb_shape shape);

/* Checks the graph and the rank of x; false: poisoned. */
bool plumb_takes_rank(plumb_graph *g, const char *what, plumb_t x, int rank, plumb_shape *shape);

/* One dimension as two: (N, C, L) -> (N, C, 1, L), and back. */
plumb_t plumb_lifted(plumb_graph *g, const char *what, plumb_t x);
plumb_t plumb_lowered(plumb_graph *g, const char *what, plumb_t y);

/* Adds (C), or PLUMB_NONE, to y (N, C, ..) of this rank. */
plumb_t plumb_with_channel_bias(plumb_graph *g, plumb_t y, plumb_t bias, int rank);

/* a * b; PLUMB_UNKNOWN where either is not known. */
int64_t plumb_dims_product(int64_t a, int64_t b);

/* The first `size` bytes of the caller's options over zeros; all of them where size is 0. */
void plumb_options_taken(void *to, size_t room, const void *options);

#endif
