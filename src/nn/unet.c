/* U-Net (Ronneberger, Fischer & Brox 2015): a class for every place of a picture. Down four times, two 3 x 3 convolutions
 * at each size, and up again by transposed convolutions of 2 x 2, each beside what the way down had of that size. Here
 * convolutions pad, so that the logits are of the picture's size, and have batch norm (the paper's do neither), which is how
 * it is mostly used; variables are named as in the widely used PyTorch form: "inc.double_conv.0.weight",
 * "down1.maxpool_conv.1.double_conv.4.bias", "up1.up.weight", "outc.conv.bias". Sides must be multiples of 16. */
#include "nn/nn.h"

#include <stdio.h>

enum { DEPTH = 4, FIRST = 64 };

/* Two convolutions with what follows them. */
static plumb_t twice(plumb_graph *g, const char *prefix, plumb_t x, int64_t filters, const plumb_model_options *o)
{
    const struct plumb_block block = {.filters = filters, .kernel = {3}, .activation = o->activation};
    x = plumb_conv_block(g, prefix, "double_conv.0", "double_conv.1", x, &block, o);
    return plumb_conv_block(g, prefix, "double_conv.3", "double_conv.4", x, &block, o);
}

static plumb_t up(plumb_graph *g, int step, plumb_t x, plumb_t beside, const plumb_model_options *o)
{
    char name[32], prefix[32];
    int64_t filters = plumb_shape_of(g, beside).dim[1];
    snprintf(name, sizeof name, "up%d.up", step);
    snprintf(prefix, sizeof prefix, "up%d.conv.", step);
    x = plumb_conv_transpose2d_layer(g, name, x, .filters = filters, .kernel = {2, 2}, .stride = {2, 2}, .init = o->init);
    x = plumb_concat(g, (const plumb_t[]){beside, x}, 2, 1);
    return twice(g, prefix, x, filters, o);
}

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    const int64_t *side = &o->input_shape.dim[1];
    plumb_t down[DEPTH];
    char name[32];
    if (side[0] % (1 << DEPTH) || side[1] % (1 << DEPTH))
        return plumb_poison(g, "model 'unet': pictures are of %lld x %lld, expected multiples of %d", (long long)side[0],
                            (long long)side[1], 1 << DEPTH);
    x = twice(g, "inc.", x, plumb_wide(o, FIRST), o);
    for (int i = 0; i < DEPTH; i++) {
        down[i] = x;
        snprintf(name, sizeof name, "down%d.maxpool_conv.0", i + 1);
        x = plumb_max_pool2d_layer(g, name, x, .window = {2, 2});
        snprintf(name, sizeof name, "down%d.maxpool_conv.1.", i + 1);
        x = twice(g, name, x, plumb_wide(o, FIRST << (i + 1)), o);
    }
    x = plumb_drop_block(g, x, o);
    for (int i = 0; i < DEPTH; i++)
        x = up(g, i + 1, x, down[DEPTH - 1 - i], o);
    return plumb_conv2d_layer(g, "outc.conv", x, .filters = o->classes, .kernel = {1}, .init = o->init);
}

const plumb_model_kind plumb_model_unet = {
    .name = "unet",
    .description = "U-Net for 256 x 256 colour pictures, a class for every place, 31,037,698 parameters for 2 classes",
    .input_shape = {.rank = 3, .dim = {3, 256, 256}},
    .classes = 2,
    .activation = PLUMB_RELU,
    .build = build,
};
