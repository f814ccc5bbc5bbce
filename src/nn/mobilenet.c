/* MobileNet-v2 (Sandler et al. 2018), its variables named as torchvision names them: "features.0.0.weight",
 * "features.1.conv.0.0.weight", "features.18.1.running_mean", "classifier.1.bias".
 *
 * A block widens its channels by a 1 x 1 convolution, filters each channel by itself with a 3 x 3 one, and brings them
 * together by a 1 x 1 one without activation; where shapes allow it the input is added. The first block does not widen. The
 * last convolution is not made narrower than 1280 channels, only wider. Pictures of all sizes are taken. The paper trains
 * with dropout of 0.2 before the last layer (`drop`). */
#include "nn/nn.h"

#include <stdio.h>

/* Blocks of one row of the paper's table: times as many channels inside, channels, how many, stride of the first. */
static const struct {
    int64_t widen, channels;
    int count;
    int64_t stride;
} rows[] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
#define ROWS ((int)(sizeof rows / sizeof *rows))

static plumb_t block(plumb_graph *g, int number, plumb_t x, int row, int64_t stride, const plumb_model_options *o)
{
    int64_t before = plumb_shape_of(g, x).dim[1], inside = before * rows[row].widen, after = plumb_wide(o, rows[row].channels);
    bool widens = rows[row].widen > 1;
    const struct plumb_block wide = {.filters = inside, .kernel = {1}, .activation = o->activation};
    const struct plumb_block each = {.filters = inside, .kernel = {3}, .stride = stride, .groups = inside,
                                     .activation = o->activation};
    const struct plumb_block narrow = {.filters = after, .kernel = {1}};
    char prefix[40];
    snprintf(prefix, sizeof prefix, "features.%d.conv.", number);
    plumb_t y = widens ? plumb_conv_block(g, prefix, "0.0", "0.1", x, &wide, o) : x;
    y = plumb_conv_block(g, prefix, widens ? "1.0" : "0.0", widens ? "1.1" : "0.1", y, &each, o);
    y = plumb_conv_block(g, prefix, widens ? "2" : "1", widens ? "3" : "2", y, &narrow, o);
    return stride == 1 && before == after ? plumb_add(g, x, y) : y;
}

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    const struct plumb_block stem = {.filters = plumb_wide(o, 32), .kernel = {3}, .stride = 2, .activation = o->activation};
    const struct plumb_block last = {.filters = o->width > 1 ? plumb_wide(o, 1280) : 1280, .kernel = {1},
                                     .activation = o->activation};
    int number = 1;
    x = plumb_conv_block(g, "features.0.", "0", "1", x, &stem, o);
    for (int row = 0; row < ROWS; row++)
        for (int i = 0; i < rows[row].count; i++)
            x = block(g, number++, x, row, i == 0 ? rows[row].stride : 1, o);
    x = plumb_conv_block(g, "features.18.", "0", "1", x, &last, o);
    x = plumb_drop_block(g, plumb_build_global_average_pool(g, "avgpool", x, NULL), o);
    return plumb_linear_layer(g, "classifier.1", x, .units = o->classes, .init = o->init);
}

const plumb_model_kind plumb_model_mobilenet_v2 = {
    .name = "mobilenet-v2",
    .description = "MobileNet-v2 for 224 x 224 colour pictures, 3,504,872 parameters for 1000 classes",
    .input_shape = {.rank = 3, .dim = {3, 224, 224}},
    .classes = 1000,
    .activation = PLUMB_RELU6,
    .build = build,
};
