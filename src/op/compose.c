/* Gradients through compositions of simple ops, for families whose rarer gradients are taken so: exact at any order. */
#include "op/compose.h"

#include "op/attr.h"

#include <math.h>

plumb_t plumb_fresh(plumb_graph *g, plumb_t x)
{
    plumb_attr_shape attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    return plumb_emit(g, &plumb_op_reshape, &attr, (const plumb_t[]){x, x}, 2);
}

plumb_t plumb_as(plumb_graph *g, plumb_t x, plumb_t like)
{
    plumb_dtype dtype = plumb_dtype_of(g, like);
    return dtype == plumb_dtype_of(g, x) ? x : plumb_cast(g, x, dtype);
}

plumb_status plumb_through(plumb_grad *q, const plumb_t *fresh_in, const plumb_t *y, const plumb_t *dy)
{
    plumb_t from[PLUMB_COMPOSE_OPERANDS] = {0}, seed[PLUMB_COMPOSE_OPERANDS] = {0}, wrt[PLUMB_COMPOSE_OPERANDS] = {0},
            d[PLUMB_COMPOSE_OPERANDS] = {0};
    int n_y = 0, n_wrt = 0, at[PLUMB_COMPOSE_OPERANDS];
    for (int i = 0; i < q->n_out; i++) {
        if (dy[i] == PLUMB_NONE)
            continue;
        from[n_y] = y[i];
        seed[n_y++] = dy[i];
    }
    for (int i = 0; i < q->n_in; i++) {
        if (!q->want[i])
            continue;
        at[n_wrt] = i;
        wrt[n_wrt++] = fresh_in[i];
    }
    plumb_status status = plumb_gradients_from(q->graph, from, seed, n_y, wrt, n_wrt, d);
    for (int i = 0; i < n_wrt; i++)
        q->din[at[i]] = d[i];
    return status;
}

double plumb_chosen(double value, double standard)
{
    if (value != 0)
        return value;
    return signbit(value) ? 0 : standard;
}
