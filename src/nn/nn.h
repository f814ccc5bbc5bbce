/* What the files of src/nn share: option structs read with the size their caller was compiled with, names made of
 * parts, variables of layers, and the row that a model is. */
#ifndef PLUMB_NN_H
#define PLUMB_NN_H

#include "graph/graph.h"
#include "plumb/layers.h"

/* Copies caller's options over zeroes: NULL gives all defaults; a size of 0 is that of version 0.1. */
void plumb_take_options(void *to, size_t room, const void *options);

/* "NAME.PART" as a variable of x's dtype. `rule` serves where `init` is zeroed. */
plumb_t plumb_layer_variable(plumb_graph *graph, const char *name, const char *part, plumb_dtype dtype, plumb_shape shape,
                             const plumb_init *init, plumb_init otherwise, bool frozen);
bool plumb_init_is_default(const plumb_init *init);
/* The activation's op on top of x; poisons on an unknown one. */
plumb_t plumb_activate(plumb_graph *graph, const char *name, plumb_t x, plumb_activation activation);
/* "(N, 3, 4)" of a tensor, for messages. */
const char *plumb_shape_text_of(const plumb_graph *graph, plumb_t x, char *to, size_t room);
#define PLUMB_SHAPE_ROOM 160

/* A model: one constant of this type in one file, and one row in models.h. Options come with defaults filled in. */
typedef struct plumb_model_kind {
    const char *name, *description;
    plumb_shape input_shape;
    int classes; /* that it has unless told otherwise; 0: 10 */
    plumb_activation activation;
    plumb_t (*build)(plumb_graph *graph, plumb_t x, const plumb_model_options *options); /* x (N, C, H, W) -> logits */
} plumb_model_kind;

#endif
