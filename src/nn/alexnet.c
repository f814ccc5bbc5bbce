/* AlexNet (Krizhevsky et al. 2012), its variables named as torchvision names those of its AlexNet: "features.0.weight",
 * "classifier.6.bias"; numbers count activations, pooling and dropout as well.
 *
 * `alexnet` is torchvision's, of 64, 192, 384, 256 and 256 filters (Krizhevsky 2014). Pictures of other sizes come to 6 x 6
 * places by averages, as there, so weights serve every size. `alexnet-2012` is the first one, for 227 x 227: 96, 256, 384,
 * 384 and 256 filters, the second, fourth and fifth layer in two groups (there: two GPUs), local response normalisation
 * behind the first two, whose alpha of 1e-4 is for each of its five channels. `alexnet-ungrouped` is the same without
 * groups and normalisation, as it is taught. The papers train with dropout of 0.5 before the fully connected layers
 * (`drop`). */
#include "nn/nn.h"

#include <stdio.h>

enum { LAYERS = 5, SIDE = 6 };

struct alexnet {
    int64_t filters[LAYERS], groups[LAYERS], first_padding;
    bool local_norm;
};

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct alexnet *size)
{
    static const int64_t kernel[] = {11, 5, 3, 3, 3}, stride[] = {4, 1, 1, 1, 1}, padding[] = {0, 2, 1, 1, 1};
    static const int at[] = {0, 3, 6, 8, 10}, pool_at[] = {2, 5, 0, 0, 12};
    char name[32];
    for (int i = 0; i < LAYERS; i++) {
        int64_t around = i == 0 ? size->first_padding : padding[i];
        snprintf(name, sizeof name, "features.%d", at[i]);
        x = plumb_conv2d_layer(g, name, x, .filters = plumb_wide(o, size->filters[i]), .kernel = {kernel[i], kernel[i]},
                               .stride = {stride[i], stride[i]}, .padding = {around, around}, .groups = size->groups[i],
                               .init = o->init, .activation = o->activation);
        if (i < 2 && size->local_norm && !o->no_local_norm)
            x = plumb_lrn_layer(g, i ? "norm2" : "norm1", x, .channels = 5, .alpha = 5e-4, .beta = 0.75, .bias = 2);
        snprintf(name, sizeof name, "features.%d", pool_at[i]);
        x = pool_at[i] ? plumb_max_pool2d_layer(g, name, x, .window = {3, 3}, .stride = {2, 2}) : x;
    }
    x = plumb_drop_block(g, plumb_pool_to(g, x, SIDE, o), o);
    x = plumb_drop_block(g, plumb_dense_block(g, "classifier.1", x, plumb_wide(o, 4096), SIDE, o->activation, o), o);
    x = plumb_dense_block(g, "classifier.4", x, plumb_wide(o, 4096), 1, o->activation, o);
    return plumb_dense_block(g, "classifier.6", x, o->classes, 1, PLUMB_LINEAR, o);
}

#define ALEXNET(symbol, given_name, side, text, ...)                                                                  \
    static plumb_t build_##symbol(plumb_graph *g, plumb_t x, const plumb_model_options *o)                            \
    {                                                                                                                 \
        return build(g, x, o, &(struct alexnet){__VA_ARGS__});                                                        \
    }                                                                                                                 \
    const plumb_model_kind plumb_model_##symbol = {                                                                   \
        .name = given_name,                                                                                           \
        .description = text,                                                                                          \
        .input_shape = {.rank = 3, .dim = {3, side, side}},                                                           \
        .classes = 1000,                                                                                              \
        .activation = PLUMB_RELU,                                                                                     \
        .slides = true,                                                                                               \
        .build = build_##symbol,                                                                                      \
    };

ALEXNET(alexnet, "alexnet", 224, "AlexNet as torchvision has it, for 224 x 224 colour pictures, 61,100,840 parameters",
        .filters = {64, 192, 384, 256, 256}, .first_padding = 2)
ALEXNET(alexnet_2012, "alexnet-2012", 227, "AlexNet as in 2012, in two groups, with local response normalisation, 60,965,224 parameters",
        .filters = {96, 256, 384, 384, 256}, .groups = {1, 2, 1, 2, 2}, .local_norm = true)
ALEXNET(alexnet_ungrouped, "alexnet-ungrouped", 227, "the same without groups and normalisation, 62,378,344 parameters",
        .filters = {96, 256, 384, 384, 256})
