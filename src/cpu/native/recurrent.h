/* What happens to one example between the products of one step of a recurrent layer, f32, for every instruction set
 * (recurrent_cells.c). Arrays hold H elements, those that are called wide gates * H. */
#ifndef PLUMB_NATIVE_RECURRENT_H
#define PLUMB_NATIVE_RECURRENT_H

#include "core/core.h"

/* Forward: from x's product (wide; it lies where gates or y are to be and is overwritten), h's product (wide), the bias that
 * is still to be added (wide), and h and c before. */
typedef struct native_cell {
    const float *product, *bias, *h, *c;
    float *gates, *saved, *y; /* rnn has y only */
    int64_t units;
} native_cell;

/* Backward: dh holds what went past the products of the step behind, `product` what went through them, dy may be NULL.
 * Leaves the gradients of x's product in da and of h's in dp (wide; only gru has two, else they are one), adds these to the
 * biases' gradients, and dh and dc become what goes past this step's products. */
typedef struct native_cell_back {
    const float *product, *dy, *gates, *saved, *y, *h, *c;
    float *dh, *dc, *da, *dp, *db_ih, *db_hh;
    int64_t units;
} native_cell_back;

typedef void native_forward(const native_cell *cell);
typedef void native_back(const native_cell_back *cell);

enum native_cell_kind { NATIVE_RNN_TANH, NATIVE_RNN_RELU, NATIVE_GRU, NATIVE_LSTM };
native_forward *plumb_native_cell(enum native_cell_kind kind, int isa);
native_back *plumb_native_cell_back(enum native_cell_kind kind, int isa);

#endif
