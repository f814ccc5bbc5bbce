/* Recurrent layers: rows of rnn, gru or lstm ops with PyTorch's variables, stacked and in both directions.
 *
 * Decided here:
 * - Variables are named and shaped as PyTorch's, NAME.weight_ih_l0, .weight_hh_l0, .bias_ih_l0, .bias_hh_l0, then _l1 ..,
 *   with _reverse at the end for the way back, so that weights can be exchanged; they start as PyTorch's do, uniform within
 *   1 / sqrt(units). PyTorch has no peepholes: theirs are NAME.weight_peephole_l0 .. (3 units), and start as biases do.
 * - Both directions of a layer are joined along the features, forward first; the next layer is given both.
 * - Dropout is between layers, not after the last.
 * - Time comes first, as the ops want it, unless `batch_first`, which costs nothing: the ops read and gradients are written
 *   through transposed views. */
#include "nn/nn.h"
#include "op/recurrent.h"

#include <math.h>
#include <stdio.h>

typedef plumb_recurrent_layer_options options_of;

/* One of the three ops; c0 is lstm's alone. */
typedef struct recurrent {
    const char *op;
    int gates;
    bool cells;
    plumb_t (*add)(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, const plumb_t w[4], const plumb_recurrent_options *o);
} recurrent;

static plumb_t add_rnn(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, const plumb_t w[4], const plumb_recurrent_options *o)
{
    (void)c0;
    return plumb_rnn(g, x, h0, w[0], w[1], w[2], w[3], o);
}

static plumb_t add_gru(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, const plumb_t w[4], const plumb_recurrent_options *o)
{
    (void)c0;
    return plumb_gru(g, x, h0, w[0], w[1], w[2], w[3], o);
}

static plumb_t add_lstm(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, const plumb_t w[4], const plumb_recurrent_options *o)
{
    return plumb_lstm(g, x, h0, c0, w[0], w[1], w[2], w[3], o);
}

static const recurrent rnn = {"rnn", 1, false, add_rnn}, gru = {"gru", 3, false, add_gru}, lstm = {"lstm", 4, true, add_lstm};

/* ---- what the options may be ---- */

static bool is_sound(plumb_graph *g, const recurrent *kind, const char *name, plumb_t x, const options_of *o)
{
    char text[PLUMB_SHAPE_ROOM];
    plumb_shape shape = plumb_shape_of(g, x), states[2] = {plumb_shape_of(g, o->h0), plumb_shape_of(g, o->c0)};
    const int64_t rows = (int64_t)o->layers * (o->bidirectional ? 2 : 1);
    if (shape.rank != 3 || shape.dim[2] < 1)
        plumb_poison(g, "%s '%s': input is %s, expected %s with a known number of features", kind->op, name,
                     plumb_shape_text(&shape, text, sizeof text), o->batch_first ? "(N, T, features)" : "(T, N, features)");
    else if (o->units < 1 || o->layers < 1)
        plumb_poison(g, "%s '%s': %d layers of %lld units, expected at least 1 of 1", kind->op, name, o->layers,
                     (long long)o->units);
    else if (!kind->cells && (o->c0 != PLUMB_NONE || o->cells))
        plumb_poison(g, "%s '%s': only lstm has a cell state", kind->op, name);
    else if (!kind->cells && o->peepholes)
        plumb_poison(g, "%s '%s': only lstm has peepholes", kind->op, name);
    for (int i = 0; i < 2 && plumb_graph_status(g) == PLUMB_OK; i++)
        if ((i ? o->c0 : o->h0) != PLUMB_NONE &&
            (states[i].rank != 3 || states[i].dim[0] != rows || states[i].dim[2] != o->units))
            plumb_poison(g, "%s '%s': %s is %s, expected (%lld, N, %lld): layers times directions, batch, units", kind->op,
                         name, i ? "c0" : "h0", plumb_shape_text(&states[i], text, sizeof text), (long long)rows,
                         (long long)o->units);
    return plumb_graph_status(g) == PLUMB_OK;
}

/* ---- one op ---- */

/* "weight_ih_l0_reverse" of the layer */
static plumb_t variable(plumb_graph *g, const char *name, const char *part, int layer, bool reverse, plumb_dtype dtype,
                        plumb_shape shape, const plumb_init *init, const options_of *o)
{
    char full[64];
    double bound = 1 / sqrt((double)o->units);
    snprintf(full, sizeof full, "%s_l%d%s", part, layer, reverse ? "_reverse" : "");
    return plumb_layer_variable(g, name, full, dtype, shape, init,
                                (plumb_init){.rule = PLUMB_INIT_UNIFORM, .a = -bound, .b = bound}, o->frozen);
}

/* Row k of (rows, N, H) as (N, H); none of none. */
static plumb_t state_row(plumb_graph *g, plumb_t states, int64_t k, int64_t units)
{
    if (states == PLUMB_NONE)
        return PLUMB_NONE;
    plumb_t row = plumb_slice(g, states, (const int64_t[]){k, 0, 0}, (const int64_t[]){k + 1, PLUMB_END, PLUMB_END}, NULL);
    return plumb_reshape(g, row, PLUMB_SHAPE(PLUMB_INFER, units));
}

static plumb_t add_op(plumb_graph *g, const recurrent *kind, const char *name, plumb_t x, int layer, bool reverse,
                      const options_of *o)
{
    plumb_shape shape = plumb_shape_of(g, x);
    plumb_dtype dtype = plumb_dtype_of(g, x);
    int64_t wide = (kind->gates - (o->reset == PLUMB_RESET_NONE)) * o->units, row = o->bidirectional ? 2 * layer + reverse : layer;
    plumb_recurrent_options op = {.size = sizeof op, .reverse = reverse, .relu = o->relu, .reset = o->reset,
                                  .lengths = o->lengths};
    plumb_t w[4] = {PLUMB_NONE};
    w[0] = variable(g, name, "weight_ih", layer, reverse, dtype, PLUMB_SHAPE(wide, shape.dim[2]), &o->init, o);
    w[1] = variable(g, name, "weight_hh", layer, reverse, dtype, PLUMB_SHAPE(wide, o->units), &o->recurrent_init, o);
    for (int i = 0; i < 2 && !o->no_bias; i++)
        w[2 + i] = variable(g, name, i ? "bias_hh" : "bias_ih", layer, reverse, dtype, PLUMB_SHAPE(wide), &o->bias_init, o);
    if (o->peepholes)
        op.peepholes = variable(g, name, "weight_peephole", layer, reverse, dtype, PLUMB_SHAPE(3 * o->units), &o->bias_init, o);
    plumb_t h0 = plumb_recurrent_state(g, state_row(g, o->h0, row, o->units), x, w[1]), c0 = PLUMB_NONE;
    if (kind->cells)
        c0 = plumb_recurrent_state(g, state_row(g, o->c0, row, o->units), x, w[1]);
    char shown[256];
    snprintf(shown, sizeof shown, "%s.l%d%s", name ? name : "", layer, reverse ? "_reverse" : "");
    plumb_name_next(g, o->layers > 1 || o->bidirectional ? shown : name);
    plumb_t y = kind->add(g, x, h0, c0, w, &op);
    plumb_name_next(g, NULL);
    return y;
}

/* ---- all of them ---- */

/* The last states (N, H) of `count` ops as (count, N, H). */
static plumb_t stacked(plumb_graph *g, const plumb_t *ops, int count, int output, int64_t units)
{
    plumb_context *context = plumb_graph_context(g);
    plumb_t *rows = plumb_alloc(context, sizeof *rows * (size_t)count), all = PLUMB_NONE;
    for (int i = 0; rows && i < count; i++)
        rows[i] = plumb_reshape(g, plumb_output(g, ops[i], output), PLUMB_SHAPE(1, PLUMB_INFER, units));
    if (rows)
        all = plumb_concat(g, rows, count, 0);
    else
        plumb_poison(g, "out of memory");
    plumb_free(context, rows);
    return all;
}

/* What the caller asked for of the last layer's ops (one a direction), whose sequences are joined in y. */
static plumb_t result(plumb_graph *g, const options_of *o, const plumb_t *ops, int directions, plumb_t y)
{
    plumb_t last[2] = {plumb_output(g, ops[0], 1), directions > 1 ? plumb_output(g, ops[1], 1) : PLUMB_NONE};
    if (o->last)
        return directions > 1 ? plumb_concat(g, last, 2, 1) : last[0];
    return o->batch_first ? plumb_transpose(g, y, (const int[]){1, 0, 2}) : y;
}

static plumb_t build(plumb_graph *g, const recurrent *kind, const char *name, plumb_t x, const void *options)
{
    options_of o;
    plumb_take_options(&o, sizeof o, options);
    o.layers = o.layers ? o.layers : 1;
    const char *shown = name ? name : "";
    if (plumb_graph_status(g) != PLUMB_OK || !is_sound(g, kind, shown, x, &o))
        return PLUMB_NONE;
    int directions = o.bidirectional ? 2 : 1;
    plumb_context *context = plumb_graph_context(g);
    plumb_t *ops = plumb_alloc(context, sizeof *ops * (size_t)(directions * o.layers));
    if (!ops)
        return plumb_poison(g, "%s '%s': out of memory", kind->op, shown);
    plumb_t y = o.batch_first ? plumb_transpose(g, x, (const int[]){1, 0, 2}) : x;
    for (int layer = 0; layer < o.layers; layer++) {
        plumb_t *both = ops + layer * directions;
        y = layer > 0 && o.drop != 0 ? plumb_dropout(g, y, o.drop) : y;
        for (int d = 0; d < directions; d++)
            both[d] = add_op(g, kind, name, y, layer, d == 1, &o);
        y = directions > 1 ? plumb_concat(g, both, 2, 2) : both[0];
    }
    if (o.states)
        *o.states = stacked(g, ops, directions * o.layers, 1, o.units);
    if (o.cells)
        *o.cells = stacked(g, ops, directions * o.layers, 2, o.units);
    y = result(g, &o, ops + directions * (o.layers - 1), directions, y);
    plumb_free(context, ops);
    return y;
}

plumb_t plumb_build_rnn(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build(graph, &rnn, name, x, options);
}

plumb_t plumb_build_gru(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build(graph, &gru, name, x, options);
}

plumb_t plumb_build_lstm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build(graph, &lstm, name, x, options);
}
