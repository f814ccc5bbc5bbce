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

/* Logits of auxiliary classifiers, whose losses are added to the model's, each times `weight`. */
struct plumb_heads {
    plumb_t logits[2];
    int count;
    double weight;
};

/* A model: one constant of this type in one file, and one row in models.h. Options come with defaults filled in. */
typedef struct plumb_model_kind {
    const char *name, *description;
    plumb_shape input_shape;
    int classes; /* that it has unless told otherwise; 0: 10 */
    plumb_activation activation;
    bool slides; /* heeds `convolutional` */
    /* x (N, C, H, W) -> logits; one of the two */
    plumb_t (*build)(plumb_graph *graph, plumb_t x, const plumb_model_options *options);
    plumb_t (*build_with_heads)(plumb_graph *graph, plumb_t x, const plumb_model_options *options, struct plumb_heads *heads);
} plumb_model_kind;

/* ---- what models are made of (blocks.c) ---- */

/* `channels` at the model's width. */
int64_t plumb_wide(const plumb_model_options *o, int64_t channels);

/* A convolution with batch norm behind it and no bias, or with a bias. Padding is half the kernel unless `valid`. Filters
 * are counted as they are, not at the model's width. */
struct plumb_block {
    int64_t filters;
    int64_t kernel[2]; /* a width of 0 is the height */
    int64_t stride;    /* 0: 1 */
    int64_t groups;    /* 0: 1 */
    plumb_activation activation;
    double epsilon; /* of the norm; 0: 1e-5 */
    bool valid, plain;
};
/* Variables are PREFIXCONV.weight, PREFIXNORM.weight and so on; norm is unused where `plain`. */
plumb_t plumb_conv_block(plumb_graph *g, const char *prefix, const char *conv, const char *norm, plumb_t x,
                         const struct plumb_block *b, const plumb_model_options *o);
/* A fully connected layer over x (N, C, H, W) or (N, features): NAME.weight (units, features). In a convolutional form over
 * all windows of x of side x side. */
plumb_t plumb_dense_block(plumb_graph *g, const char *name, plumb_t x, int64_t units, int64_t side, plumb_activation activation,
                          const plumb_model_options *o);
/* The average of side x side bins, unless x is of that size already, or windows slide over it. */
plumb_t plumb_pool_to(plumb_graph *g, plumb_t x, int64_t side, const plumb_model_options *o);
plumb_t plumb_drop_block(plumb_graph *g, plumb_t x, const plumb_model_options *o); /* dropout, where asked for */

#endif
