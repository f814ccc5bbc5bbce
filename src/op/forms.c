/* Laying tensors out anew in builders, where sizes may still be symbols: forms.h. */
#include "op/forms.h"

plumb_t plumb_laid(plumb_graph *g, const char *what, plumb_t x, plumb_shape shape)
{
    int unknown = 0;
    char text[160];
    if (plumb_graph_status(g) != PLUMB_OK || x == PLUMB_NONE)
        return PLUMB_NONE;
    for (int d = 0; d < shape.rank; d++)
        if (shape.dim[d] == PLUMB_UNKNOWN) {
            shape.dim[d] = PLUMB_INFER;
            unknown++;
        }
    plumb_shape from = plumb_shape_of(g, x);
    if (unknown > 1)
        return plumb_poison(g, "%s: too many sizes of %s are not known", what, plumb_shape_text(&from, text, sizeof text));
    return plumb_reshape(g, x, shape);
}

bool plumb_takes_rank(plumb_graph *g, const char *what, plumb_t x, int rank, plumb_shape *shape)
{
    char text[160];
    if (plumb_graph_status(g) != PLUMB_OK)
        return false;
    if (x == PLUMB_NONE) {
        plumb_poison(g, "%s: no input", what);
        return false;
    }
    *shape = plumb_shape_of(g, x);
    if (shape->rank == rank)
        return true;
    plumb_poison(g, "%s: input has shape %s, expected rank %d", what, plumb_shape_text(shape, text, sizeof text), rank);
    return false;
}

int64_t plumb_dims_product(int64_t a, int64_t b)
{
    int64_t product;
    if (a == 1 || b == 1) /* a symbol stays itself */
        return a == 1 ? b : a;
    return a < 0 || b < 0 || !plumb_mul_size(a, b, &product) ? PLUMB_UNKNOWN : product;
}

void plumb_options_taken(void *to, size_t room, const void *options)
{
    memset(to, 0, room);
    if (options) {
        size_t size = *(const size_t *)options;
        memcpy(to, options, size && size < room ? size : room);
    }
}

plumb_t plumb_lifted(plumb_graph *g, const char *what, plumb_t x)
{
    plumb_shape s;
    if (!plumb_takes_rank(g, what, x, 3, &s))
        return PLUMB_NONE;
    return plumb_laid(g, what, x, PLUMB_SHAPE(s.dim[0], s.dim[1], 1, s.dim[2]));
}

plumb_t plumb_lowered(plumb_graph *g, const char *what, plumb_t y)
{
    plumb_shape s;
    if (y == PLUMB_NONE || !plumb_takes_rank(g, what, y, 4, &s))
        return PLUMB_NONE;
    return plumb_laid(g, what, y, PLUMB_SHAPE(s.dim[0], s.dim[1], s.dim[3]));
}
