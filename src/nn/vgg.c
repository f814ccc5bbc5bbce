/* VGG (Simonyan & Zisserman 2014, configurations A, B, D and E), variables named as torchvision names them:
 * "features.0.weight", "classifier.0.weight", "classifier.3.weight", "classifier.6.bias"; numbers count batch norm,
 * activations and pooling as well. Five groups of 3 x 3 convolutions, each ending with a 2 x 2 maximum, and three fully
 * connected layers. Pictures of other sizes than 224 x 224, of at least 32, come to 7 x 7 places by averages, as in
 * torchvision, so weights serve every size. The paper trains with dropout of 0.5 behind the first two fully connected
 * layers (`drop`); from random weights the plain forms hardly start to learn (the paper began with a shallower one), which
 * those with batch norm do.
 *
 * The small form is the usual one for 32 x 32: batch norm behind every convolution, whose bias then is left out as
 * redundant (torchvision's forms with batch norm keep it), and one fully connected layer, 14,724,042 parameters. */
#include "nn/nn.h"

#include <stdio.h>

enum { GROUPS = 5, SIDE = 7 };

struct vgg {
    int layers[GROUPS]; /* convolutions in each group */
    bool norm, small;
};

static plumb_t features(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct vgg *size)
{
    static const int64_t filters[GROUPS] = {64, 128, 256, 512, 512};
    char conv[32], norm[32];
    int at = 0;
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; i < size->layers[group]; i++) {
            snprintf(conv, sizeof conv, "features.%d", at);
            snprintf(norm, sizeof norm, "features.%d", at + 1);
            x = plumb_conv2d_layer(g, conv, x, .filters = plumb_wide(o, filters[group]), .kernel = {3, 3}, .padding = {1, 1},
                                   .no_bias = size->small, .init = o->init,
                                   .activation = size->norm ? PLUMB_LINEAR : o->activation);
            x = size->norm ? plumb_batch_norm_layer(g, norm, x, .activation = o->activation) : x;
            at += size->norm ? 3 : 2; /* the activation is one */
        }
        snprintf(conv, sizeof conv, "features.%d", at++);
        x = plumb_max_pool2d_layer(g, conv, x, .window = {2, 2});
    }
    return x;
}

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct vgg *size)
{
    static const char *const names[] = {"classifier.0", "classifier.3"};
    x = features(g, x, o, size);
    if (size->small)
        return plumb_dense_block(g, "classifier", plumb_drop_block(g, x, o), o->classes, 1, PLUMB_LINEAR, o);
    x = plumb_pool_to(g, x, SIDE, o);
    for (int i = 0; i < 2; i++)
        x = plumb_drop_block(g, plumb_dense_block(g, names[i], x, plumb_wide(o, 4096), i ? 1 : SIDE, o->activation, o), o);
    return plumb_dense_block(g, "classifier.6", x, o->classes, 1, PLUMB_LINEAR, o);
}

/* ---- the models: what differs, and its row ---- */

#define VGG(symbol, given_name, side, of_classes, text, ...)                                                          \
    static plumb_t build_##symbol(plumb_graph *g, plumb_t x, const plumb_model_options *o)                            \
    {                                                                                                                 \
        return build(g, x, o, &(struct vgg){__VA_ARGS__});                                                            \
    }                                                                                                                 \
    const plumb_model_kind plumb_model_##symbol = {                                                                   \
        .name = given_name,                                                                                           \
        .description = text,                                                                                          \
        .input_shape = {.rank = 3, .dim = {3, side, side}},                                                           \
        .classes = of_classes,                                                                                        \
        .activation = PLUMB_RELU,                                                                                     \
        .slides = true,                                                                                               \
        .build = build_##symbol,                                                                                      \
    };

VGG(vgg11, "vgg11", 224, 1000, "VGG-11 for 224 x 224 colour pictures, 132,863,336 parameters for 1000 classes",
    .layers = {1, 1, 2, 2, 2})
VGG(vgg11_bn, "vgg11-bn", 224, 1000, "the same with batch norm, 132,868,840 parameters", .layers = {1, 1, 2, 2, 2}, .norm = true)
VGG(vgg13, "vgg13", 224, 1000, "VGG-13 for 224 x 224 colour pictures, 133,047,848 parameters", .layers = {2, 2, 2, 2, 2})
VGG(vgg13_bn, "vgg13-bn", 224, 1000, "the same with batch norm, 133,053,736 parameters", .layers = {2, 2, 2, 2, 2}, .norm = true)
VGG(vgg16, "vgg16", 224, 1000, "VGG-16 for 224 x 224 colour pictures, 138,357,544 parameters for 1000 classes",
    .layers = {2, 2, 3, 3, 3})
VGG(vgg16_bn, "vgg16-bn", 224, 1000, "the same with batch norm, 138,365,992 parameters", .layers = {2, 2, 3, 3, 3}, .norm = true)
VGG(vgg19, "vgg19", 224, 1000, "VGG-19 for 224 x 224 colour pictures, 143,667,240 parameters", .layers = {2, 2, 4, 4, 4})
VGG(vgg19_bn, "vgg19-bn", 224, 1000, "the same with batch norm, 143,678,248 parameters", .layers = {2, 2, 4, 4, 4}, .norm = true)
VGG(vgg16_cifar, "vgg16-cifar", 32, 10, "VGG-16 with batch norm for 32 x 32 colour pictures, 14,724,042 parameters",
    .layers = {2, 2, 3, 3, 3}, .norm = true, .small = true)
