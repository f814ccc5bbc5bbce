/* A copy in which the innermost dimension of each tensor is another one. */
#ifndef PLUMB_NATIVE_TRANSPOSE_H
#define PLUMB_NATIVE_TRANSPOSE_H

#include "op/op.h"

/* Dimension a lies side by side in `to`, dimension b in `from`; strides in elements. The others may have any. */
struct plumb_transpose {
    void *to;
    const void *from;
    int64_t size; /* of an element, in bytes */
    int64_t a, from_a, b, to_b; /* none of them empty */
    int rank;
    int64_t dim[PLUMB_MAX_RANK], to_stride[PLUMB_MAX_RANK], from_stride[PLUMB_MAX_RANK];
};
void plumb_transpose_run(plumb_pool *pool, const struct plumb_transpose *t);

#endif
