/* LeNet-5 (LeCun et al. 1998) in three sizes. All three are conv, pool, conv, pool, 120, 84, classes; they differ in
 * input, first filters, padding and in what the text calls modern: ReLU with max pooling, or tanh with averages.
 * The second convolution sees every map of the first (a full C3). */
#include "nn/nn.h"

struct lenet5 {
    int64_t filters, padding; /* of conv1 */
    plumb_layer_builder *pool;
};

static plumb_t build(plumb_graph *g, plumb_t x, const plumb_model_options *o, const struct lenet5 *size)
{
    const plumb_pool2d_layer_options half = {.size = sizeof half, .window = {2, 2}};
    x = plumb_conv2d_layer(g, "conv1", x, .filters = size->filters, .kernel = {5, 5}, .init = o->init,
                           .padding = {size->padding, size->padding}, .activation = o->activation);
    x = size->pool(g, "pool1", x, &half);
    x = plumb_conv2d_layer(g, "conv2", x, .filters = 16, .kernel = {5, 5}, .init = o->init, .activation = o->activation);
    x = size->pool(g, "pool2", x, &half);
    x = plumb_drop_block(g, plumb_dense_block(g, "fc1", x, 120, 5, o->activation, o), o);
    x = plumb_drop_block(g, plumb_dense_block(g, "fc2", x, 84, 1, o->activation, o), o);
    return plumb_dense_block(g, "fc3", x, o->classes, 1, PLUMB_LINEAR, o);
}

static plumb_t build_lenet5(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct lenet5){.filters = 6, .padding = 2, .pool = plumb_build_max_pool2d});
}

static plumb_t build_classic(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct lenet5){.filters = 6, .padding = 0, .pool = plumb_build_average_pool2d});
}

static plumb_t build_teaching(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    return build(g, x, o, &(struct lenet5){.filters = 8, .padding = 0, .pool = plumb_build_max_pool2d});
}

const plumb_model_kind plumb_model_lenet5 = {
    .name = "lenet5",
    .description = "LeNet-5 for 28 x 28: ReLU, max pooling, 61,706 parameters",
    .input_shape = {.rank = 3, .dim = {1, 28, 28}},
    .activation = PLUMB_RELU,
    .slides = true,
    .build = build_lenet5,
};

const plumb_model_kind plumb_model_lenet5_classic = {
    .name = "lenet5-classic",
    .description = "LeNet-5 as in 1998: 32 x 32, tanh, average pooling, 61,706 parameters",
    .input_shape = {.rank = 3, .dim = {1, 32, 32}},
    .activation = PLUMB_TANH,
    .slides = true,
    .build = build_classic,
};

const plumb_model_kind plumb_model_lenet5_teaching = {
    .name = "lenet5-teaching",
    .description = "LeNet-5 for 32 x 32 colour pictures with 8 first filters: ReLU, max pooling",
    .input_shape = {.rank = 3, .dim = {3, 32, 32}},
    .activation = PLUMB_RELU,
    .slides = true,
    .build = build_teaching,
};
