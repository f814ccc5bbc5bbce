/* Layers around the norms of rows, local response normalisation, adaptive pooling, and convolution in one dimension and
 * transposed. Variables are named and shaped as PyTorch's; of narrow x the norms' stay f32, as batch norm's do. */
#include "nn/nn.h"

static const plumb_init he = {.rule = PLUMB_INIT_HE}, ones = {.rule = PLUMB_INIT_CONSTANT, .a = 1},
                        zeros = {.rule = PLUMB_INIT_ZEROS};

/* ---- norms ---- */

struct pair {
    plumb_t scale, shift;
};

static struct pair parameters(plumb_graph *graph, const char *name, plumb_t x, plumb_shape shape, bool scale, bool shift,
                              bool frozen)
{
    struct pair p = {PLUMB_NONE, PLUMB_NONE};
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    dtype = dtype == PLUMB_BF16 || dtype == PLUMB_F16 ? PLUMB_F32 : dtype;
    if (scale)
        p.scale = plumb_layer_variable(graph, name, "weight", dtype, shape, NULL, ones, frozen);
    if (shift)
        p.shift = plumb_layer_variable(graph, name, "bias", dtype, shape, NULL, zeros, frozen);
    return p;
}

/* The last `dims` dimensions of x, which must be known; false: poisoned. */
static bool last_dims(plumb_graph *graph, const char *what, const char *name, plumb_t x, int *dims, plumb_shape *shape)
{
    char text[PLUMB_SHAPE_ROOM];
    if (plumb_graph_status(graph) != PLUMB_OK)
        return false;
    plumb_shape s = plumb_shape_of(graph, x);
    *dims = *dims ? *dims : 1;
    bool good = *dims > 0 && *dims <= s.rank;
    shape->rank = good ? *dims : 0;
    for (int d = 0; good && d < *dims; d++) {
        shape->dim[d] = s.dim[s.rank - *dims + d];
        good = shape->dim[d] >= 0;
    }
    if (!good)
        plumb_poison(graph, "%s '%s': input is %s, expected at least %d dimensions, the last of known sizes", what,
                     name ? name : "", plumb_shape_text(&s, text, sizeof text), *dims);
    return good;
}

plumb_t plumb_build_layer_norm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_layer_norm_layer_options o;
    plumb_shape shape = {0};
    plumb_take_options(&o, sizeof o, options);
    if (!last_dims(graph, "layer_norm", name, x, &o.dims, &shape))
        return PLUMB_NONE;
    struct pair p = parameters(graph, name, x, shape, !o.no_scale, !o.no_scale && !o.no_bias, o.frozen);
    plumb_name_next(graph, name);
    plumb_t y = plumb_layer_norm(graph, x, p.scale, p.shift, -o.dims, o.epsilon);
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}

plumb_t plumb_build_rms_norm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_layer_norm_layer_options o;
    plumb_shape shape = {0};
    plumb_take_options(&o, sizeof o, options);
    if (!last_dims(graph, "rms_norm", name, x, &o.dims, &shape))
        return PLUMB_NONE;
    struct pair p = parameters(graph, name, x, shape, !o.no_scale, false, o.frozen);
    plumb_name_next(graph, name);
    plumb_t y = plumb_rms_norm(graph, x, p.scale, -o.dims, o.epsilon);
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}

/* Group norm, or instance norm where `instance`. */
static plumb_t build_group(plumb_graph *graph, const char *name, plumb_t x, const void *options, bool instance)
{
    plumb_group_norm_layer_options o;
    char text[PLUMB_SHAPE_ROOM];
    plumb_take_options(&o, sizeof o, options);
    if (plumb_graph_status(graph) != PLUMB_OK)
        return PLUMB_NONE;
    plumb_shape shape = plumb_shape_of(graph, x);
    if (shape.rank < 2 || shape.dim[1] < 1)
        return plumb_poison(graph, "%s '%s': input is %s, expected (N, C, ..) with a known number of channels",
                            instance ? "instance_norm" : "group_norm", name ? name : "",
                            plumb_shape_text(&shape, text, sizeof text));
    struct pair p = parameters(graph, name, x, PLUMB_SHAPE(shape.dim[1]), !o.no_scale, !o.no_scale, o.frozen);
    plumb_name_next(graph, name);
    plumb_t y = instance ? plumb_instance_norm(graph, x, p.scale, p.shift, o.epsilon)
                         : plumb_group_norm(graph, x, p.scale, p.shift, o.groups, o.epsilon);
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}

plumb_t plumb_build_group_norm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_group(graph, name, x, options, false);
}

plumb_t plumb_build_instance_norm(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_group(graph, name, x, options, true);
}

plumb_t plumb_build_lrn(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_lrn_options o;
    plumb_take_options(&o, sizeof o, options);
    o.channels = o.channels ? o.channels : 5;
    plumb_name_next(graph, name);
    plumb_t y = plumb_lrn(graph, x, &o);
    plumb_name_next(graph, NULL);
    return y;
}

/* ---- adaptive pooling ---- */

static plumb_t build_adaptive(plumb_graph *graph, const char *name, plumb_t x, const void *options,
                              plumb_t (*op)(plumb_graph *, plumb_t, int64_t, int64_t))
{
    plumb_adaptive_pool2d_layer_options o;
    plumb_take_options(&o, sizeof o, options);
    int64_t height = o.output[0] ? o.output[0] : 1;
    plumb_name_next(graph, name);
    plumb_t y = op(graph, x, height, o.output[1] ? o.output[1] : height);
    plumb_name_next(graph, NULL);
    return y;
}

plumb_t plumb_build_adaptive_average_pool2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_adaptive(graph, name, x, options, plumb_adaptive_average_pool2d);
}

plumb_t plumb_build_adaptive_max_pool2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    return build_adaptive(graph, name, x, options, plumb_adaptive_max_pool2d);
}

/* ---- convolutions ---- */

/* What the weight's shape is made of must be sound before there is a weight. */
static bool sound(plumb_graph *graph, const char *what, const char *name, plumb_t x, int rank, int64_t filters, int64_t groups,
                  int64_t least_kernel)
{
    char text[PLUMB_SHAPE_ROOM];
    if (plumb_graph_status(graph) != PLUMB_OK)
        return false;
    plumb_shape s = plumb_shape_of(graph, x);
    if (s.rank == rank && s.dim[1] > 0 && filters > 0 && least_kernel > 0 && groups > 0 && s.dim[1] % groups == 0 &&
        filters % groups == 0)
        return true;
    plumb_poison(graph, "%s '%s': %lld filters in %lld groups, kernel at least %lld, do not fit an input of %s", what,
                 name ? name : "", (long long)filters, (long long)groups, (long long)least_kernel,
                 plumb_shape_text(&s, text, sizeof text));
    return false;
}

plumb_t plumb_build_conv1d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_conv1d_layer_options o;
    plumb_t bias = PLUMB_NONE;
    int64_t total = 0;
    plumb_take_options(&o, sizeof o, options);
    o.groups = o.groups ? o.groups : 1;
    o.dilation = o.dilation ? o.dilation : 1;
    if (!sound(graph, "conv1d", name, x, 3, o.filters, o.groups, o.kernel))
        return PLUMB_NONE;
    bool sides = o.padding_sides[0] || o.padding_sides[1];
    if ((o.padding != 0) + sides + o.same > 1 || (o.same && !plumb_mul_size(o.dilation, o.kernel - 1, &total)))
        return plumb_poison(graph, "conv1d '%s': give one of padding, padding_sides and same", name ? name : "");
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    plumb_t weight = plumb_layer_variable(graph, name, "weight", dtype,
                                          PLUMB_SHAPE(o.filters, plumb_shape_of(graph, x).dim[1] / o.groups, o.kernel),
                                          &o.init, he, o.frozen);
    if (!o.no_bias)
        bias = plumb_layer_variable(graph, name, "bias", dtype, PLUMB_SHAPE(o.filters), &o.bias_init, zeros, o.frozen);
    const plumb_conv1d_options conv = {
        .size = sizeof conv,
        .stride = o.stride,
        .padding = {o.same ? total / 2 : sides ? o.padding_sides[0] : o.padding,
                    o.same ? total - total / 2 : sides ? o.padding_sides[1] : o.padding},
        .dilation = o.dilation,
        .groups = o.groups,
    };
    plumb_name_next(graph, name);
    plumb_t y = plumb_conv1d(graph, x, weight, bias, &conv); /* (N, filters, OL) */
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}

static int64_t second(const int64_t pair[2]) { return pair[1] ? pair[1] : pair[0]; }

plumb_t plumb_build_conv_transpose2d(plumb_graph *graph, const char *name, plumb_t x, const void *options)
{
    plumb_conv_transpose2d_layer_options o;
    plumb_t bias = PLUMB_NONE;
    plumb_take_options(&o, sizeof o, options);
    o.groups = o.groups ? o.groups : 1;
    int64_t height = o.kernel[0], width = second(o.kernel);
    if (!sound(graph, "conv_transpose2d", name, x, 4, o.filters, o.groups, height < width ? height : width))
        return PLUMB_NONE;
    plumb_dtype dtype = plumb_dtype_of(graph, x);
    plumb_t weight = plumb_layer_variable(graph, name, "weight", dtype,
                                          PLUMB_SHAPE(plumb_shape_of(graph, x).dim[1], o.filters / o.groups, height, width),
                                          &o.init, he, o.frozen);
    if (!o.no_bias)
        bias = plumb_layer_variable(graph, name, "bias", dtype, PLUMB_SHAPE(o.filters), &o.bias_init, zeros, o.frozen);
    const plumb_conv_transpose2d_options conv = {
        .size = sizeof conv,
        .stride = {o.stride[0], second(o.stride)},
        .padding = {o.padding[0], o.padding[1], o.padding[0], o.padding[1]},
        .dilation = {o.dilation[0], second(o.dilation)},
        .groups = o.groups,
        .output_padding = {o.output_padding[0], o.output_padding[1]},
    };
    plumb_name_next(graph, name);
    plumb_t y = plumb_conv_transpose2d(graph, x, weight, bias, &conv); /* (N, filters, OH, OW) */
    plumb_name_next(graph, NULL);
    return plumb_activate(graph, name, y, o.activation);
}
