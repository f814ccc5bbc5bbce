/* A recurrent network that reads a picture row by row, from the top to the bottom, and tells classes apart by its last
 * state: an LSTM of 128 units (Hochreiter & Schmidhuber 1997; with a forget gate) and one fully connected layer. Its
 * variables are named as PyTorch's: "lstm.weight_ih_l0", "fc.weight". Pictures of several channels are read with their
 * channels beside each other. By default rows are 64 long and 32 in number: the shape that recurrent layers are measured
 * with. */
#include "nn/nn.h"

static plumb_t build_lstm(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    const plumb_shape *one = &o->input_shape;
    x = plumb_transpose(g, x, (const int[]){0, 2, 1, 3}); /* (N, H, C, W) */
    x = plumb_reshape(g, x, PLUMB_SHAPE(PLUMB_BATCH, one->dim[1], one->dim[0] * one->dim[2]));
    x = plumb_lstm_layer(g, "lstm", x, .units = 128, .batch_first = true, .last = true);
    x = o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
    return plumb_linear_layer(g, "fc", x, .units = o->classes, .init = o->init);
}

const plumb_model_kind plumb_model_lstm = {
    .name = "lstm",
    .description = "an LSTM of 128 units over the rows of a picture, 32 of length 64 by default, 100,618 parameters",
    .input_shape = {.rank = 3, .dim = {1, 32, 64}},
    .activation = PLUMB_TANH,
    .build = build_lstm,
};
