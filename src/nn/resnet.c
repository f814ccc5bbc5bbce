/* Residual networks for small pictures (He et al. 2015), their variables named as torchvision names those of its residual
 * networks: "conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "fc.bias".
 *
 * The stem is one 3 x 3 convolution of stride 1 without pooling, as pictures of 32 x 32 are small already. A block is two
 * 3 x 3 convolutions, each with batch norm, around which the input is added; the first block of every stage but the first
 * halves the picture and doubles the channels. Where shapes change the input goes through a 1 x 1 convolution with batch
 * norm (He's option B: resnet20-cifar then has 272,474 parameters; with option A, zeros for the new channels, it would
 * have 269,722). All pictures, of any size and number of channels, are good as input. */
#include "nn/nn.h"

#include <stdio.h>

struct resnet {
    int64_t filters; /* of the stem and the first stage */
    int stages, blocks; /* blocks in each stage */
};

static plumb_t conv_norm(plumb_graph *g, const char *conv, const char *norm, plumb_t x, const plumb_conv2d_layer_options *c,
                         plumb_activation activation)
{
    return plumb_batch_norm_layer(g, norm, plumb_build_conv2d(g, conv, x, c), .activation = activation);
}

/* Two 3 x 3 convolutions and the way around them: (N, C, H, W) -> (N, filters, H / stride, W / stride). */
static plumb_t block(plumb_graph *g, const char *name, plumb_t x, int64_t filters, int64_t stride,
                     const plumb_model_options *o)
{
    static const char *const parts[] = {"conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1"};
    char full[6][64];
    for (int i = 0; i < 6; i++)
        snprintf(full[i], sizeof full[i], "%s.%s", name, parts[i]);
    plumb_conv2d_layer_options conv = {.size = sizeof conv, .filters = filters, .kernel = {3, 3}, .padding = {1, 1},
                                       .stride = {stride, stride}, .no_bias = true, .init = o->init};
    plumb_t y = conv_norm(g, full[0], full[1], x, &conv, o->activation);
    conv.stride[0] = conv.stride[1] = 1;
    y = conv_norm(g, full[2], full[3], y, &conv, PLUMB_LINEAR);
    if (stride != 1 || plumb_shape_of(g, x).dim[1] != filters) {
        conv = (plumb_conv2d_layer_options){.size = sizeof conv, .filters = filters, .kernel = {1, 1},
                                            .stride = {stride, stride}, .no_bias = true, .init = o->init};
        x = conv_norm(g, full[4], full[5], x, &conv, PLUMB_LINEAR);
    }
    return plumb_activate(g, name, plumb_add(g, y, x), o->activation);
}

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct resnet *size)
{
    const plumb_conv2d_layer_options stem = {.size = sizeof stem, .filters = size->filters, .kernel = {3, 3},
                                             .padding = {1, 1}, .no_bias = true, .init = o->init};
    x = conv_norm(g, "conv1", "bn1", x, &stem, o->activation);
    for (int stage = 0; stage < size->stages; stage++) {
        for (int i = 0; i < size->blocks; i++) {
            char name[32];
            snprintf(name, sizeof name, "layer%d.%d", stage + 1, i);
            x = block(g, name, x, size->filters << stage, stage > 0 && i == 0 ? 2 : 1, o);
        }
    }
    x = plumb_build_global_average_pool(g, "avgpool", x, NULL);
    x = o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
    return plumb_linear_layer(g, "fc", x, .units = o->classes, .init = o->init);
}

static plumb_t build_resnet18(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct resnet){.filters = 64, .stages = 4, .blocks = 2});
}

static plumb_t build_resnet20(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct resnet){.filters = 16, .stages = 3, .blocks = 3});
}

static plumb_t build_resnet8(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct resnet){.filters = 16, .stages = 3, .blocks = 1});
}

const plumb_model_kind plumb_model_resnet18_cifar = {
    .name = "resnet18-cifar",
    .description = "ResNet-18 with a 3 x 3 stem for 32 x 32 colour pictures, 11,173,962 parameters",
    .input_shape = {.rank = 3, .dim = {3, 32, 32}},
    .activation = PLUMB_RELU,
    .build = build_resnet18,
};

const plumb_model_kind plumb_model_resnet20_cifar = {
    .name = "resnet20-cifar",
    .description = "ResNet-20 for 32 x 32 colour pictures, projections where shapes change, 272,474 parameters",
    .input_shape = {.rank = 3, .dim = {3, 32, 32}},
    .activation = PLUMB_RELU,
    .build = build_resnet20,
};

const plumb_model_kind plumb_model_resnet8_cifar = {
    .name = "resnet8-cifar",
    .description = "the same with one block in each stage, 78,042 parameters",
    .input_shape = {.rank = 3, .dim = {3, 32, 32}},
    .activation = PLUMB_RELU,
    .build = build_resnet8,
};
