/* What the models of several files are made of: convolutions with what follows them, fully connected layers that may slide
 * over a picture, and the rule by which channels become more or fewer.
 *
 * Decided here:
 * - A width makes channels multiples of 8, never less than 90 % of what was asked for (Sandler et al. 2018, the reference
 *   implementation of MobileNet-v2); all channels of the models are multiples of 8, so a width of 1 changes none.
 * - A fully connected layer that slides keeps its weight as (units, features) and multiplies by a view of it: files of
 *   weights do not know whether it slides. */
#include "nn/nn.h"

#include <stdio.h>

static const plumb_init he = {.rule = PLUMB_INIT_HE}, zeros = {.rule = PLUMB_INIT_ZEROS};

int64_t plumb_wide(const plumb_model_options *o, int64_t channels)
{
    double exact = (double)channels * (o->width > 0 ? o->width : 1);
    int64_t most = (int64_t)((exact + 4) / 8) * 8;
    most = most < 8 ? 8 : most;
    return (double)most < 0.9 * exact ? most + 8 : most;
}

plumb_t plumb_conv_block(plumb_graph *g, const char *prefix, const char *conv, const char *norm, plumb_t x,
                         const struct plumb_block *b, const plumb_model_options *o)
{
    char name[96];
    int64_t width = b->kernel[1] ? b->kernel[1] : b->kernel[0];
    snprintf(name, sizeof name, "%s%s", prefix, conv);
    x = plumb_conv2d_layer(g, name, x, .filters = b->filters, .kernel = {b->kernel[0], width}, .stride = {b->stride, b->stride},
                           .padding = {b->valid ? 0 : b->kernel[0] / 2, b->valid ? 0 : width / 2}, .groups = b->groups,
                           .no_bias = !b->plain, .init = o->init, .activation = b->plain ? b->activation : PLUMB_LINEAR);
    snprintf(name, sizeof name, "%s%s", prefix, norm);
    return b->plain ? x : plumb_batch_norm_layer(g, name, x, .epsilon = b->epsilon, .activation = b->activation);
}

static plumb_t slide(plumb_graph *g, const char *name, plumb_t x, int64_t units, int64_t side, const plumb_model_options *o)
{
    plumb_shape shape = plumb_shape_of(g, x);
    plumb_dtype dtype = plumb_dtype_of(g, x);
    int64_t channels = shape.rank == 4 ? shape.dim[1] : 1;
    plumb_t weight = plumb_layer_variable(g, name, "weight", dtype, PLUMB_SHAPE(units, channels * side * side), &o->init, he, false);
    plumb_t bias = plumb_layer_variable(g, name, "bias", dtype, PLUMB_SHAPE(units), NULL, zeros, false);
    weight = plumb_reshape(g, weight, PLUMB_SHAPE(units, channels, side, side));
    plumb_name_next(g, name);
    plumb_t y = plumb_conv2d(g, x, weight, bias, &(plumb_conv2d_options){.size = sizeof(plumb_conv2d_options)});
    plumb_name_next(g, NULL);
    return y;
}

plumb_t plumb_dense_block(plumb_graph *g, const char *name, plumb_t x, int64_t units, int64_t side, plumb_activation activation,
                          const plumb_model_options *o)
{
    if (o->convolutional)
        return plumb_activate(g, name, slide(g, name, x, units, side, o), activation);
    x = plumb_shape_of(g, x).rank > 2 ? plumb_build_flatten(g, NULL, x, NULL) : x;
    return plumb_linear_layer(g, name, x, .units = units, .init = o->init, .activation = activation);
}

plumb_t plumb_pool_to(plumb_graph *g, plumb_t x, int64_t side, const plumb_model_options *o)
{
    plumb_shape shape = plumb_shape_of(g, x);
    if (o->convolutional || (shape.rank == 4 && shape.dim[2] == side && shape.dim[3] == side))
        return x;
    return plumb_adaptive_average_pool2d_layer(g, "avgpool", x, .output = {side, side});
}

plumb_t plumb_drop_block(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
}
