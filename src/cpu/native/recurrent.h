/* The parts of recurrent layers' steps, f32: products with a matrix that is packed once (recurrent_panels.c), and what
 * happens to one example between them, for every instruction set (recurrent_cells.c). Arrays hold H elements, those that are called wide gates * H. */
#ifndef PLUMB_NATIVE_RECURRENT_H
#define PLUMB_NATIVE_RECURRENT_H

#include "cpu/native/gemm.h"

/* Forward: from x's product (wide; it lies where gates or y are to be and is overwritten), h's product (wide), the bias that
 * is still to be added (wide), and h and c before. */
typedef struct native_cell {
    const float *product, *bias, *h, *c, *peepholes; /* peepholes: of lstm (3H), may be NULL */
    float *gates, *saved, *y; /* rnn has y only */
    int64_t units;
} native_cell;

/* A gru whose reset gate comes before the product has two: NATIVE_GRU_GATES makes r, z and saved = r h, of which the product
 * that NATIVE_GRU_NEW takes is made (H, as its bias); backwards the latter comes first, and `product` of the other is the
 * gradient of r h.
 *
 * Backward: dh holds what went past the products of the step behind, `product` what went through them, dy may be NULL.
 * Leaves the gradients of x's product in da and of h's in dp (wide; only gru has two, else they are one), adds these to the
 * biases' gradients (lstm with peepholes: db_hh to theirs), and dh and dc become what goes past this step's products. */
typedef struct native_cell_back {
    const float *product, *dy, *gates, *saved, *y, *h, *c, *peepholes;
    float *dh, *dc, *da, *dp, *db_ih, *db_hh;
    int64_t units;
} native_cell_back;

typedef void native_forward(const native_cell *cell);
typedef void native_back(const native_cell_back *cell);

enum native_cell_kind { NATIVE_RNN_TANH, NATIVE_RNN_RELU, NATIVE_GRU, NATIVE_LSTM, NATIVE_GRU_GATES, NATIVE_GRU_NEW };
native_forward *plumb_native_cell(enum native_cell_kind kind, int isa);
native_back *plumb_native_cell_back(enum native_cell_kind kind, int isa);

/* B (depth, columns) as panels of `width` columns, the last one as narrow as its vectors allow. */
typedef struct native_panels {
    const plumb_kernels *kernels;
    int64_t height; /* rows of a strip */
    int64_t depth, columns, width, padded; /* padded: columns rounded up to vectors */
    int64_t step, column;                  /* strides of what is packed */
    const float *from;
    float *at;
    int32_t *full, *last; /* where row k of a panel begins */
} native_panels;

/* For products of `rows` rows; returns how many bytes the packed matrix takes. Its place may be NULL while sizes are asked. */
size_t plumb_panels_plan(native_panels *b, int isa, int64_t rows, int64_t depth, int64_t columns);
void plumb_panels_place(native_panels *b, void *memory);
void plumb_panels_pack(native_panels *b, plumb_pool *pool, const float *from, int64_t step, int64_t column);
/* to (rows, padded) = from (rows, depth) B, rows of `from` are `step` apart. `strips` has room for rows x depth. */
void plumb_panels_multiply(const native_panels *b, const float *from, int64_t step, int64_t rows, float *strips, float *to);

#endif
