/* Element-wise work over tensors of any strides, brought into the simplest equivalent form: dimensions are
 * ordered by the result's strides and those that lie as one run in every operand are merged, so that most
 * work becomes one long row. Rows are handed out to threads in pieces whose number depends on shapes
 * alone. */
#ifndef PLUMB_NATIVE_STRIDED_H
#define PLUMB_NATIVE_STRIDED_H

#include "op/op.h"

enum {
    STRIDED_OPERANDS = 4,
    STRIDED_PIECE = 1 << 14, /* elements per piece of work */
    STRIDED_LEAST = 64       /* elements of a row that are not divided further, however heavy */
};

struct plumb_strided {
    int rank, operands; /* rank >= 1 after plumb_strided_simplify; the last dimension is the row */
    int64_t dim[PLUMB_MAX_RANK], count;
    int64_t weight; /* work per element of a row, 1 unless the row function does more */
    int64_t stride[STRIDED_OPERANDS][PLUMB_MAX_RANK];
};

/* Operand 0 is the result; operands are broadcast to its shape. */
void plumb_strided_begin(struct plumb_strided *s, const plumb_view *result);
void plumb_strided_add(struct plumb_strided *s, const plumb_view *operand);
void plumb_strided_simplify(struct plumb_strided *s);

/* A row, or a part of one: n elements, beginning at offset at[i] of operand i, s->stride[i][s->rank - 1]
 * apart. */
typedef void plumb_strided_row(const void *user, const struct plumb_strided *s, const int64_t *at, int64_t n);
void plumb_strided_run(plumb_pool *pool, const struct plumb_strided *s, plumb_strided_row *row,
                       const void *user);

/* Copies bit for bit, broadcasting `from` to the shape of `to`; both have one dtype. */
void plumb_strided_copy(plumb_pool *pool, const plumb_view *to, const plumb_view *from);

#endif
