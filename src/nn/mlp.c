/* Models of fully connected layers over the flattened picture: multinomial logistic regression (no hidden layer) and the
 * multi-layer perceptron. */
#include "nn/nn.h"

#include <stdio.h>

/* The logistic model may start at 0: its loss is convex. Random values would only add noise to the first steps. */
static plumb_t build_logistic(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    const plumb_init from_zero = {.rule = PLUMB_INIT_CONSTANT, .a = 0};
    x = plumb_build_flatten(g, NULL, x, NULL);
    return plumb_linear_layer(g, "fc1", x, .units = o->classes,
                              .init = plumb_init_is_default(&o->init) ? from_zero : o->init);
}

static plumb_t build_mlp(plumb_graph *g, plumb_t x, const plumb_model_options *o)
{
    char name[32];
    x = plumb_build_flatten(g, NULL, x, NULL);
    for (int i = 0; i < o->n_units; i++) {
        snprintf(name, sizeof name, "fc%d", i + 1);
        x = plumb_linear_layer(g, name, x, .units = o->units[i], .init = o->init, .activation = o->activation);
        x = o->drop > 0 ? plumb_dropout(g, x, o->drop) : x;
    }
    snprintf(name, sizeof name, "fc%d", o->n_units + 1);
    return plumb_linear_layer(g, name, x, .units = o->classes, .init = o->init);
}

const plumb_model_kind plumb_model_logistic = {
    .name = "logistic",
    .description = "multinomial logistic regression on the flattened picture",
    .input_shape = {.rank = 3, .dim = {1, 28, 28}},
    .activation = PLUMB_LINEAR,
    .build = build_logistic,
};

const plumb_model_kind plumb_model_mlp = {
    .name = "mlp",
    .description = "fully connected, 784-128-10 unless told otherwise, ReLU",
    .input_shape = {.rank = 3, .dim = {1, 28, 28}},
    .activation = PLUMB_RELU,
    .build = build_mlp,
};
