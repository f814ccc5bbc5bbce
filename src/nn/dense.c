/* Layers whose weight multiplies: linear and conv2d. The weight comes first and its shape follows from x, so a wrong
 * input is refused here, by the layer's name, before any variable exists. */
#include "nn/nn.h"

static const plumb_init he = {.rule = PLUMB_INIT_HE}, zeros = {.rule = PLUMB_INIT_ZEROS};

plumb_t plumb_build_linear(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_linear_layer_options o;
    char text[PLUMB_SHAPE_ROOM];
    plumb_take_options(&o, sizeof o, options);
    if (plumb_graph_status(graph) != PLUMB_OK) {
        return PLUMB_NONE;
    }
    plumb_shape shape = plumb_shape_of(graph, x);
    if (shape.rank < 2 || shape.dim[shape.rank - 1] < 1) {
        return plumb_poison(graph, "linear '%s': input is %s, expected (N, features) with a known number of features",
                            name ? name : "", plumb_shape_text(&shape, text, sizeof text));
    }
    if (o.units < 1) {
        return plumb_poison(graph, "linear '%s': %lld units, expected at least 1", name ? name : "", (long long)o.units);
    }
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    plumb_t weight = plumb_layer_variable(graph, name, "weight", dtype,
                                          PLUMB_SHAPE(o.units, shape.dim[shape.rank - 1]), &o.init, he, o.frozen);
    plumb_name_next(graph, name);
    plumb_t y = plumb_matmul(graph, x, weight, false, true); /* (.., units) */
    plumb_name_next(graph, NULL);
    if (!o.no_bias) {
        y = plumb_add(graph, y, plumb_layer_variable(graph, name, "bias", dtype, PLUMB_SHAPE(o.units), &o.bias_init,
                                                     zeros, o.frozen));
    }
    return plumb_activate(graph, name, y, o.activation);
}

/* ---- conv2d ---- */

static void width_as_height(int64_t pair[2], int64_t otherwise)
{
    if (pair[0] == 0) {
        pair[0] = otherwise;
    }
    if (pair[1] == 0) {
        pair[1] = pair[0];
    }
}

/* Fills to = {top, left, bottom, right}; poisons when more than one way was used to say it. */
static bool conv_padding(plumb_graph *graph, const char *name, const plumb_conv2d_layer_options *o, int64_t to[4])
{
    bool pair = o->padding[0] || o->padding[1], sides = false;
    for (int i = 0; i < 4; i++) {
        to[i] = o->padding_sides[i];
        sides |= o->padding_sides[i] != 0;
    }
    if (pair + sides + o->same > 1) {
        plumb_poison(graph, "conv2d '%s': give one of padding, padding_sides and same", name);
        return false;
    }
    for (int axis = 0; axis < 2; axis++) {
        int64_t total = 0;
        if (o->same && !plumb_mul_size(o->dilation[axis], o->kernel[axis] - 1, &total)) {
            plumb_poison(graph, "conv2d '%s': a kernel of %lld with dilation %lld is too large", name,
                         (long long)o->kernel[axis], (long long)o->dilation[axis]);
            return false;
        }
        if (!sides) {
            to[axis] = o->same ? total / 2 : o->padding[axis];
            to[axis + 2] = o->same ? total - total / 2 : o->padding[axis];
        }
    }
    return true;
}

/* What the weight's shape is made of must be sound before there is a weight. */
static bool conv_options_are_sound(plumb_graph *graph, const char *name, plumb_shape x,
                                   const plumb_conv2d_layer_options *o)
{
    char text[PLUMB_SHAPE_ROOM];
    if (x.rank != 4 || x.dim[1] < 1) {
        plumb_poison(graph, "conv2d '%s': input is %s, expected (N, C, H, W) with a known number of channels", name,
                     plumb_shape_text(&x, text, sizeof text));
    } else if (o->filters < 1 || o->kernel[0] < 1 || o->kernel[1] < 1) {
        plumb_poison(graph, "conv2d '%s': %lld filters of %lld x %lld, expected at least 1 of 1 x 1", name,
                     (long long)o->filters, (long long)o->kernel[0], (long long)o->kernel[1]);
    } else if (o->groups < 1 || x.dim[1] % o->groups != 0 || o->filters % o->groups != 0) {
        plumb_poison(graph, "conv2d '%s': %lld groups must divide both %lld channels and %lld filters", name,
                     (long long)o->groups, (long long)x.dim[1], (long long)o->filters);
    }
    return plumb_graph_status(graph) == PLUMB_OK;
}

plumb_t plumb_build_conv2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_conv2d_layer_options o;
    plumb_conv2d_options conv = {.size = sizeof conv};
    plumb_take_options(&o, sizeof o, options);
    if (plumb_graph_status(graph) != PLUMB_OK) {
        return PLUMB_NONE;
    }
    const char *shown = name ? name : "";
    plumb_shape shape = plumb_shape_of(graph, x);
    width_as_height(o.kernel, 0);
    width_as_height(o.stride, 1);
    width_as_height(o.dilation, 1);
    o.groups = o.groups ? o.groups : 1;
    if (!conv_options_are_sound(graph, shown, shape, &o) || !conv_padding(graph, shown, &o, conv.padding)) {
        return PLUMB_NONE;
    }
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    plumb_t bias = PLUMB_NONE;
    plumb_t weight = plumb_layer_variable(graph, name, "weight", dtype,
                                          PLUMB_SHAPE(o.filters, shape.dim[1] / o.groups, o.kernel[0], o.kernel[1]),
                                          &o.init, he, o.frozen);
    if (!o.no_bias) {
        bias = plumb_layer_variable(graph, name, "bias", dtype, PLUMB_SHAPE(o.filters), &o.bias_init, zeros, o.frozen);
    }
    memcpy(conv.stride, o.stride, sizeof conv.stride);
    memcpy(conv.dilation, o.dilation, sizeof conv.dilation);
    conv.groups = o.groups;
    plumb_name_next(graph, name);
    plumb_t y = plumb_conv2d(graph, x, weight, bias, &conv); /* (N, filters, OH, OW) */
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}
