/* Layers that have no weights to multiply by (pooling, normalisation, dropout, activations, flatten, scaling), and
 * rows of layers. */
#include "nn/nn.h"

#include <stdio.h>

/* ---- pooling ---- */

static plumb_t build_pool(plumb_graph *graph, const char *name, plumb_t x, const void *options,
                          plumb_t (*op)(plumb_graph *, plumb_t, const plumb_pool2d_options *))
{
    plumb_pool2d_layer_options o;
    plumb_pool2d_options pool = {.size = sizeof pool};
    plumb_take_options(&o, sizeof o, options);
    bool sides = o.padding_sides[0] || o.padding_sides[1] || o.padding_sides[2] || o.padding_sides[3];
    if (sides && (o.padding[0] || o.padding[1])) {
        return plumb_poison(graph, "pooling '%s': give one of padding and padding_sides", name ? name : "");
    }
    for (int axis = 0; axis < 2; axis++) {
        pool.window[axis] = o.window[axis] ? o.window[axis] : (axis == 1 ? pool.window[0] : 2);
        pool.stride[axis] = o.stride[axis] ? o.stride[axis] : (axis == 1 ? o.stride[0] : 0);
        pool.dilation[axis] = o.dilation[axis] ? o.dilation[axis] : (axis == 1 ? o.dilation[0] : 0);
        pool.padding[axis] = sides ? o.padding_sides[axis] : o.padding[axis];
        pool.padding[axis + 2] = sides ? o.padding_sides[axis + 2] : o.padding[axis];
    }
    pool.ceil_mode = o.ceil_mode;
    pool.exclude_padding = o.exclude_padding;
    plumb_name_next(graph, name);
    plumb_t y = op(graph, x, &pool);
    plumb_name_next(graph, NULL);
    return y;
}

plumb_t plumb_build_max_pool2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_pool(graph, name, x, options, plumb_max_pool2d);
}

plumb_t plumb_build_average_pool2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_pool(graph, name, x, options, plumb_average_pool2d);
}

plumb_t plumb_build_global_average_pool(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    (void)options;
    plumb_name_next(graph, name);
    plumb_t y = plumb_global_average_pool2d(graph, x); /* (N, C, 1, 1) */
    plumb_name_next(graph, NULL);
    return plumb_flatten(graph, y, 1);
}

/* ---- normalisation ---- */

plumb_t plumb_build_batch_norm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    static const plumb_init ones = {.rule = PLUMB_INIT_CONSTANT, .a = 1}, zeros = {.rule = PLUMB_INIT_ZEROS};
    plumb_batch_norm_layer_options o;
    char text[PLUMB_SHAPE_ROOM];
    plumb_take_options(&o, sizeof o, options);
    if (plumb_graph_status(graph) != PLUMB_OK) {
        return PLUMB_NONE;
    }
    plumb_shape shape = plumb_shape_of(graph, x);
    if (shape.rank < 2 || shape.dim[1] < 1) {
        return plumb_poison(graph, "batch_norm '%s': input is %s, expected (N, C, ..) with a known number of channels",
                            name ? name : "", plumb_shape_text(&shape, text, sizeof text));
    }
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    dtype = dtype == PLUMB_BF16 || dtype == PLUMB_F16 ? PLUMB_F32 : dtype;
    plumb_shape channels = PLUMB_SHAPE(shape.dim[1]);
    plumb_t scale = plumb_layer_variable(graph, name, "weight", dtype, channels, NULL, ones, o.frozen);
    plumb_t shift = plumb_layer_variable(graph, name, "bias", dtype, channels, NULL, zeros, o.frozen);
    plumb_t mean = plumb_layer_variable(graph, name, "running_mean", dtype, channels, NULL, zeros, true);
    plumb_t var = plumb_layer_variable(graph, name, "running_var", dtype, channels, NULL, ones, true);
    const plumb_batch_norm_options norm = {.size = sizeof norm, .epsilon = o.epsilon, .momentum = o.momentum,
                                           .biased_running = o.biased_running, .fixed = o.fixed};
    plumb_name_next(graph, name);
    plumb_t y = plumb_batch_norm(graph, x, scale, shift, mean, var, &norm);
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}

plumb_t plumb_build_scaling(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    static const plumb_init ones = {.rule = PLUMB_INIT_CONSTANT, .a = 1}, zeros = {.rule = PLUMB_INIT_ZEROS};
    plumb_scaling_layer_options o;
    char text[PLUMB_SHAPE_ROOM];
    plumb_take_options(&o, sizeof o, options);
    if (plumb_graph_status(graph) != PLUMB_OK) {
        return PLUMB_NONE;
    }
    plumb_shape shape = plumb_shape_of(graph, x);
    int64_t channels = o.channels ? o.channels : shape.rank > 2 ? shape.dim[1] : 1;
    if (channels < 1 || (channels != 1 && (shape.rank < 2 || channels != shape.dim[1]))) {
        return plumb_poison(graph, "scaling '%s': %lld channels do not fit input %s", name ? name : "",
                            (long long)channels, plumb_shape_text(&shape, text, sizeof text));
    }
    plumb_shape pair = {.rank = shape.rank > 2 ? shape.rank - 1 : 1, .dim = {channels}}; /* (C, 1, ..) */
    for (int d = 1; d < pair.rank; d++) {
        pair.dim[d] = 1;
    }
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    plumb_t shift = plumb_layer_variable(graph, name, "shift", dtype, pair, NULL, zeros, true);
    plumb_t scale = plumb_layer_variable(graph, name, "scale", dtype, pair, NULL, ones, true);
    return plumb_mul(graph, plumb_sub(graph, x, shift), scale);
}

/* ---- the rest ---- */

plumb_t plumb_build_dropout(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_dropout_layer_options o;
    plumb_take_options(&o, sizeof o, options);
    if (o.drop != 0 && o.keep != 0) {
        return plumb_poison(graph, "dropout '%s': give one of drop and keep", name ? name : "");
    }
    plumb_name_next(graph, name);
    plumb_t y = plumb_dropout(graph, x, o.keep != 0 ? 1 - o.keep : o.drop);
    plumb_name_next(graph, NULL);
    return y;
}

plumb_t plumb_build_activation(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_activation_layer_options o;
    plumb_take_options(&o, sizeof o, options);
    plumb_name_next(graph, name);
    plumb_t y = plumb_activate(graph, name, x, o.activation);
    plumb_name_next(graph, NULL);
    return y;
}

plumb_t plumb_build_flatten(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    (void)options;
    plumb_name_next(graph, name);
    plumb_t y = plumb_flatten(graph, x, 1);
    plumb_name_next(graph, NULL);
    return y;
}

plumb_t plumb_sequential(plumb_graph *graph, const char *prefix, plumb_t x, const plumb_layer *layers, size_t count)
{
    bool prefixed = prefix && *prefix;
    for (size_t i = 0; i < count; i++) {
        const char *name = layers[i].name;
        char full[256];
        if (!layers[i].build) {
            return plumb_poison(graph, "sequential: layer %zu has no builder", i);
        }
        if (name && prefixed && snprintf(full, sizeof full, "%s.%s", prefix, name) >= (int)sizeof full) {
            return plumb_poison(graph, "sequential: the name of layer %zu is too long", i);
        }
        x = layers[i].build(graph, name && prefixed ? full : name, x, layers[i].options);
    }
    return x;
}
