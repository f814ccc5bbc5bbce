/* VGG-16 (Simonyan & Zisserman 2014, configuration D), its variables named as torchvision names them: "features.0.weight"
 * to "features.28.bias", "classifier.0.weight", "classifier.3.weight", "classifier.6.bias"; numbers count activations and
 * pooling as well. Thirteen 3 x 3 convolutions in five groups, each group ending with a 2 x 2 maximum, and three fully
 * connected layers. Pictures of any size of at least 32 are taken: the first fully connected layer has as many inputs as
 * there are. The paper trains with dropout of 0.5 behind the first two (`drop`); from random weights the plain form hardly
 * starts to learn (the paper began with a shallower one), which the form with batch norm does.
 *
 * The small form is the usual one for 32 x 32: batch norm behind every convolution, whose bias then would be redundant,
 * and one fully connected layer, 14,724,042 parameters. */
#include "nn/nn.h"

#include <stdio.h>

/* Filters of each convolution; 0 is pooling. */
static const int64_t row[] = {64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0};
#define ROW ((int)(sizeof row / sizeof *row))

static plumb_t features(plumb_graph *g, plumb_t x, const plumb_model_options *o, bool norm)
{
    char name[32];
    for (int i = 0, at = 0; i < ROW; i++) {
        snprintf(name, sizeof name, "features.%d", at);
        if (row[i] == 0) {
            x = plumb_max_pool2d_layer(g, name, x, .window = {2, 2});
            at++;
            continue;
        }
        x = plumb_conv2d_layer(g, name, x, .filters = row[i], .kernel = {3, 3}, .padding = {1, 1}, .no_bias = norm,
                               .init = o->init, .activation = norm ? PLUMB_LINEAR : o->activation);
        at += 2; /* the activation is one */
        if (norm) {
            snprintf(name, sizeof name, "features.%d", at++ - 1);
            x = plumb_batch_norm_layer(g, name, x, .activation = o->activation);
        }
    }
    return plumb_build_flatten(g, NULL, x, NULL);
}

static plumb_t build_vgg16(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    static const char *const names[] = {"classifier.0", "classifier.3"};
    x = features(g, x, o, false);
    for (int i = 0; i < 2; i++) {
        x = plumb_linear_layer(g, names[i], x, .units = 4096, .init = o->init, .activation = o->activation);
        x = o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
    }
    return plumb_linear_layer(g, "classifier.6", x, .units = o->classes, .init = o->init);
}

static plumb_t build_small(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    x = features(g, x, o, true);
    x = o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
    return plumb_linear_layer(g, "classifier", x, .units = o->classes, .init = o->init);
}

const plumb_model_kind plumb_model_vgg16 = {
    .name = "vgg16",
    .description = "VGG-16 for 224 x 224 colour pictures, 138,357,544 parameters for 1000 classes",
    .input_shape = {.rank = 3, .dim = {3, 224, 224}},
    .classes = 1000,
    .activation = PLUMB_RELU,
    .build = build_vgg16,
};

const plumb_model_kind plumb_model_vgg16_cifar = {
    .name = "vgg16-cifar",
    .description = "VGG-16 with batch norm for 32 x 32 colour pictures, 14,724,042 parameters",
    .input_shape = {.rank = 3, .dim = {3, 32, 32}},
    .activation = PLUMB_RELU,
    .build = build_small,
};
