/* How layers read options, name their variables and choose activations: the conventions of src/nn in one place. */
#include "nn/nn.h"

#include <stdio.h>

void plumb_take_options(void *to, size_t room, const void *options)
{
    memset(to, 0, room);
    if (options) {
        size_t size = *(const size_t *)options;
        memcpy(to, options, size && size < room ? size : room);
    }
}

const char *plumb_shape_text_of(const plumb_graph *graph, plumb_t x, char *to, size_t room)
{
    plumb_shape shape = plumb_shape_of(graph, x);
    return plumb_shape_text(&shape, to, room);
}

bool plumb_init_is_default(const plumb_init *init)
{
    return init->rule == PLUMB_INIT_ZEROS && init->a == 0 && init->b == 0 && init->fan_in == 0 && init->fan_out == 0;
}

plumb_t plumb_layer_variable(plumb_graph *graph, const char *name, const char *part, plumb_dtype dtype, plumb_shape shape,
                             const plumb_init *init, plumb_init otherwise, bool frozen)
{
    char full[256];
    if (!name || !*name) {
        return plumb_poison(graph, "a layer with variables (%s) needs a name", part);
    }
    if (snprintf(full, sizeof full, "%s.%s", name, part) >= (int)sizeof full) {
        return plumb_poison(graph, "layer name '%.40s...' is too long", name);
    }
    plumb_variable_options options = {.size = sizeof options, .frozen = frozen};
    options.init = init && !plumb_init_is_default(init) ? *init : otherwise;
    return plumb_variable(graph, full, dtype, shape, &options);
}

/* ---- activations: one row each ---- */

static plumb_t leaky(plumb_graph *g, plumb_t x) { return plumb_leaky_relu(g, x, 0); }
static plumb_t elu(plumb_graph *g, plumb_t x) { return plumb_elu(g, x, 0); }
static plumb_t relu6(plumb_graph *g, plumb_t x) { return plumb_clamp(g, x, 0, 6); }

static const struct {
    const char *name;
    plumb_t (*op)(plumb_graph *g, plumb_t x);
} activations[PLUMB_ACTIVATION_COUNT] = {
    [PLUMB_LINEAR] = {"linear", NULL},        [PLUMB_RELU] = {"relu", plumb_relu},
    [PLUMB_LEAKY_RELU] = {"leaky_relu", leaky}, [PLUMB_SIGMOID] = {"sigmoid", plumb_sigmoid},
    [PLUMB_TANH] = {"tanh", plumb_tanh},      [PLUMB_ELU] = {"elu", elu},
    [PLUMB_GELU] = {"gelu", plumb_gelu},      [PLUMB_SILU] = {"silu", plumb_silu},
    [PLUMB_SOFTPLUS] = {"softplus", plumb_softplus}, [PLUMB_RELU6] = {"relu6", relu6},
};

static bool is_activation(plumb_activation a) { return (unsigned)a < PLUMB_ACTIVATION_COUNT; }

const char *plumb_activation_name(plumb_activation activation)
{
    return is_activation(activation) ? activations[activation].name : NULL;
}

plumb_t plumb_activate(plumb_graph *graph, const char *name, plumb_t x, plumb_activation activation)
{
    if (!is_activation(activation)) {
        return plumb_poison(graph, "layer '%s': unknown activation %d", name ? name : "", (int)activation);
    }
    return activations[activation].op ? activations[activation].op(graph, x) : x;
}
