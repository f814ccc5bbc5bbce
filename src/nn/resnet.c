/* Residual networks (He et al. 2015), their variables named as torchvision names those of its residual networks:
 * "conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "fc.bias".
 *
 * For pictures of 224 x 224 the stem is a 7 x 7 convolution of stride 2 and a 3 x 3 maximum of stride 2. For small ones it
 * is one 3 x 3 convolution of stride 1, as pictures of 32 x 32 are small already. A basic block is two 3 x 3
 * convolutions, each with batch norm, around which the input is added; a bottleneck is a 1 x 1 convolution to fewer
 * channels, a 3 x 3 one, and a 1 x 1 one to four times as many. The first block of every stage but the first halves the
 * picture and doubles the channels; in bottlenecks the 3 x 3 convolution has the stride, as in torchvision and in most
 * published measurements ("v1.5"; the paper's 1 x 1 had it). Where shapes change the input goes through a 1 x 1
 * convolution with batch norm (He's option B: resnet20-cifar then has 272,474 parameters), or, in the models that end in
 * "-a", every other element goes on with zeros for the new channels, half before and half behind (option A, as in the
 * paper's measurements on CIFAR-10: 269,722). All pictures, of any size and number of channels, are good as input. */
#include "nn/nn.h"

#include <stdio.h>

enum { STAGES_MAX = 4, WIDENING = 4 /* of a bottleneck's last convolution */ };

struct resnet {
    int64_t filters; /* of the stem and the first stage */
    bool large;      /* pictures: the stem of 7 x 7 */
    bool bottleneck;
    bool thin;       /* option A where shapes change */
    int blocks[STAGES_MAX]; /* in each stage; 0: there is none */
};

/* Option A: (N, C, H, W) -> (N, filters, H / 2, W / 2) */
static plumb_t thinned(plumb_graph *g, plumb_t x, int64_t filters)
{
    const int64_t begin[4] = {0}, end[4] = {PLUMB_END, PLUMB_END, PLUMB_END, PLUMB_END}, step[4] = {1, 1, 2, 2};
    int64_t more = filters - plumb_shape_of(g, x).dim[1];
    const int64_t before[4] = {0, more / 2}, after[4] = {0, more - more / 2};
    return plumb_pad(g, plumb_slice(g, x, begin, end, step), before, after, PLUMB_PAD_CONSTANT, 0);
}

/* (N, C, H, W) -> (N, filters, H / stride, W / stride), of a bottleneck WIDENING times as many. */
static plumb_t block(plumb_graph *g, const char *name, plumb_t x, int64_t filters, int64_t stride,
                     const struct resnet *size, const plumb_model_options *o)
{
    const struct plumb_block basic[] = {{.filters = filters, .kernel = {3}, .stride = stride, .activation = o->activation},
                                        {.filters = filters, .kernel = {3}}};
    const struct plumb_block narrow[] = {{.filters = filters, .kernel = {1}, .activation = o->activation},
                                         {.filters = filters, .kernel = {3}, .stride = stride, .activation = o->activation},
                                         {.filters = filters * WIDENING, .kernel = {1}}};
    static const char *const conv[] = {"conv1", "conv2", "conv3"}, *const norm[] = {"bn1", "bn2", "bn3"};
    const struct plumb_block *units = size->bottleneck ? narrow : basic;
    const int n = size->bottleneck ? 3 : 2;
    const struct plumb_block around = {.filters = units[n - 1].filters, .kernel = {1}, .stride = stride};
    char prefix[40];
    snprintf(prefix, sizeof prefix, "%s.", name);
    plumb_t y = x;
    for (int i = 0; i < n; i++)
        y = plumb_conv_block(g, prefix, conv[i], norm[i], y, &units[i], o);
    if (stride != 1 || plumb_shape_of(g, x).dim[1] != around.filters)
        x = size->thin ? thinned(g, x, around.filters)
                       : plumb_conv_block(g, prefix, "downsample.0", "downsample.1", x, &around, o);
    return plumb_activate(g, name, plumb_add(g, y, x), o->activation);
}

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct resnet *size)
{
    const int64_t filters = plumb_wide(o, size->filters);
    const struct plumb_block stem = {.filters = filters, .kernel = {size->large ? 7 : 3}, .stride = size->large ? 2 : 1,
                                     .activation = o->activation};
    x = plumb_conv_block(g, "", "conv1", "bn1", x, &stem, o);
    if (size->large)
        x = plumb_max_pool2d_layer(g, "maxpool", x, .window = {3, 3}, .stride = {2, 2}, .padding = {1, 1});
    for (int stage = 0; stage < STAGES_MAX; stage++) {
        for (int i = 0; i < size->blocks[stage]; i++) {
            char name[32];
            snprintf(name, sizeof name, "layer%d.%d", stage + 1, i);
            x = block(g, name, x, filters << stage, stage > 0 && i == 0 ? 2 : 1, size, o);
        }
    }
    x = plumb_build_global_average_pool(g, "avgpool", x, NULL);
    x = plumb_drop_block(g, x, o);
    return plumb_linear_layer(g, "fc", x, .units = o->classes, .init = o->init);
}

/* ---- the models: what differs, and its row ---- */

#define RESNET(symbol, given_name, text, side, of_classes, ...)                                                       \
    static plumb_t build_##symbol(plumb_graph *g, plumb_t x, const plumb_model_options *o)                            \
    {                                                                                                                 \
        return build(g, x, o, &(struct resnet){__VA_ARGS__});                                                         \
    }                                                                                                                 \
    const plumb_model_kind plumb_model_##symbol = {                                                                   \
        .name = given_name,                                                                                           \
        .description = text,                                                                                          \
        .input_shape = {.rank = 3, .dim = {3, side, side}},                                                           \
        .classes = of_classes,                                                                                        \
        .activation = PLUMB_RELU,                                                                                     \
        .build = build_##symbol,                                                                                      \
    };

RESNET(resnet18, "resnet18", "ResNet-18 for 224 x 224 colour pictures, 11,689,512 parameters for 1000 classes", 224, 1000,
       .filters = 64, .large = true, .blocks = {2, 2, 2, 2})
RESNET(resnet34, "resnet34", "ResNet-34 for 224 x 224 colour pictures, 21,797,672 parameters", 224, 1000, .filters = 64,
       .large = true, .blocks = {3, 4, 6, 3})
RESNET(resnet50, "resnet50", "ResNet-50 (v1.5) for 224 x 224 colour pictures, 25,557,032 parameters for 1000 classes", 224,
       1000, .filters = 64, .large = true, .bottleneck = true, .blocks = {3, 4, 6, 3})
RESNET(resnet101, "resnet101", "ResNet-101 for 224 x 224 colour pictures, 44,549,160 parameters", 224, 1000, .filters = 64,
       .large = true, .bottleneck = true, .blocks = {3, 4, 23, 3})
RESNET(resnet152, "resnet152", "ResNet-152 for 224 x 224 colour pictures, 60,192,808 parameters", 224, 1000, .filters = 64,
       .large = true, .bottleneck = true, .blocks = {3, 8, 36, 3})
RESNET(resnet18_cifar, "resnet18-cifar", "ResNet-18 with a 3 x 3 stem for 32 x 32 colour pictures, 11,173,962 parameters",
       32, 10, .filters = 64, .blocks = {2, 2, 2, 2})
RESNET(resnet8_cifar, "resnet8-cifar", "a residual network for 32 x 32, one block in each of three stages, 78,042 parameters",
       32, 10, .filters = 16, .blocks = {1, 1, 1})
RESNET(resnet20_cifar, "resnet20-cifar",
       "ResNet-20 for 32 x 32 colour pictures, projections where shapes change, 272,474 parameters", 32, 10, .filters = 16,
       .blocks = {3, 3, 3})
RESNET(resnet32_cifar, "resnet32-cifar", "the same with five blocks in each stage, 466,906 parameters", 32, 10,
       .filters = 16, .blocks = {5, 5, 5})
RESNET(resnet56_cifar, "resnet56-cifar", "the same with nine blocks in each stage, 855,770 parameters", 32, 10,
       .filters = 16, .blocks = {9, 9, 9})
RESNET(resnet110_cifar, "resnet110-cifar", "the same with eighteen blocks in each stage, 1,730,714 parameters", 32, 10,
       .filters = 16, .blocks = {18, 18, 18})
RESNET(resnet20_cifar_a, "resnet20-cifar-a", "ResNet-20 for 32 x 32 with zeros for new channels, 269,722 parameters", 32, 10,
       .filters = 16, .thin = true, .blocks = {3, 3, 3})
RESNET(resnet56_cifar_a, "resnet56-cifar-a", "the same with nine blocks in each stage, 853,018 parameters", 32, 10,
       .filters = 16, .thin = true, .blocks = {9, 9, 9})
RESNET(resnet110_cifar_a, "resnet110-cifar-a", "the same with eighteen blocks in each stage, 1,727,962 parameters", 32, 10,
       .filters = 16, .thin = true, .blocks = {18, 18, 18})
