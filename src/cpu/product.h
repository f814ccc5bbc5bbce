/* Where the products of a batch find their operands: the same for every implementation of matmul on the CPU. */
#ifndef PLUMB_CPU_PRODUCT_H
#define PLUMB_CPU_PRODUCT_H

#include "op/op.h"

/* Offset in elements of what product `index` of output `c` (..., m, n) reads of `view` (..., rows, columns): leading
 * dimensions are broadcast. */
static inline int64_t plumb_product_offset(const plumb_view *c, const plumb_view *view, int64_t index)
{
    int64_t offset = 0;
    for (int d = c->rank - 3; d >= 0; d--) {
        int dv = d - (c->rank - view->rank);
        if (dv >= 0 && view->dim[dv] != 1)
            offset += index % c->dim[d] * view->stride[dv];
        index /= c->dim[d];
    }
    return offset;
}

#endif
