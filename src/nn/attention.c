/* Multi-head attention with PyTorch's variables.
 *
 * Decided here:
 * - NAME.in_proj_weight (3 E, E) and NAME.in_proj_bias (3 E) hold the projections of queries, keys and values one behind the
 *   other; where keys or values have other features than x, the weights are NAME.q_proj_weight, .k_proj_weight and
 *   .v_proj_weight, as in PyTorch. NAME.out_proj.weight (E, E), NAME.out_proj.bias (E).
 * - The weights are cut, not the products: their parts lie behind each other and are read where they are.
 * - Heads are views: the op reads and writes (N, H, T, D) through strides of (T, N, E) or (N, T, E). */
#include "nn/nn.h"

#include <math.h>

typedef plumb_attention_layer_options options_of;

enum { QUERY, KEY, VALUE, PARTS };

static bool is_sound(plumb_graph *g, const char *name, const plumb_shape *shapes, const options_of *o)
{
    char text[160];
    int64_t embed = shapes[QUERY].dim[2];
    for (int i = 0; i < PARTS && plumb_graph_status(g) == PLUMB_OK; i++)
        if (shapes[i].rank != 3 || shapes[i].dim[2] < 1)
            plumb_poison(g, "attention '%s': input is %s, expected (%s, features) with a known number of features", name,
                         plumb_shape_text(&shapes[i], text, sizeof text), o->batch_first ? "N, time" : "time, N");
    if (plumb_graph_status(g) == PLUMB_OK && (o->heads < 1 || embed % o->heads != 0))
        plumb_poison(g, "attention '%s': %lld heads must divide %lld features", name, (long long)o->heads, (long long)embed);
    return plumb_graph_status(g) == PLUMB_OK;
}

/* Rows k * count .. of x. */
static plumb_t rows(plumb_graph *g, plumb_t x, int64_t k, int64_t count)
{
    const int64_t begin[2] = {k * count, 0}, end[2] = {(k + 1) * count, PLUMB_END};
    return plumb_slice(g, x, begin, end, NULL);
}

static void projections(plumb_graph *g, const char *name, const plumb_t *in, const plumb_shape *shapes, const options_of *o,
                        plumb_t *weight)
{
    static const char *const names[] = {"q_proj_weight", "k_proj_weight", "v_proj_weight"};
    const plumb_init even = {.rule = PLUMB_INIT_GLOROT_UNIFORM};
    int64_t embed = shapes[QUERY].dim[2];
    plumb_dtype dtype = plumb_dtype_of(g, in[QUERY]);
    bool alike = shapes[KEY].dim[2] == embed && shapes[VALUE].dim[2] == embed;
    plumb_t all = alike ? plumb_layer_variable(g, name, "in_proj_weight", dtype, PLUMB_SHAPE(PARTS * embed, embed), &o->init,
                                               even, o->frozen)
                        : PLUMB_NONE;
    for (int i = 0; i < PARTS; i++)
        weight[i] = alike ? rows(g, all, i, embed)
                          : plumb_layer_variable(g, name, names[i], dtype, PLUMB_SHAPE(embed, shapes[i].dim[2]), &o->init, even,
                                                 o->frozen);
}

/* (T, N, E) or (N, T, E) -> (N, heads, T, E / heads), and back */
static plumb_t split(plumb_graph *g, plumb_t x, const options_of *o)
{
    plumb_shape shape = plumb_shape_of(g, x);
    shape.dim[3] = shape.dim[2] / o->heads;
    shape.dim[2] = o->heads;
    shape.rank = 4;
    return plumb_transpose(g, plumb_reshape(g, x, shape), o->batch_first ? (const int[]){0, 2, 1, 3} : (const int[]){1, 2, 0, 3});
}

static plumb_t join(plumb_graph *g, plumb_t y, const options_of *o)
{
    plumb_t x = plumb_transpose(g, y, o->batch_first ? (const int[]){0, 2, 1, 3} : (const int[]){2, 0, 1, 3});
    plumb_shape shape = plumb_shape_of(g, x);
    shape.dim[2] *= shape.dim[3];
    shape.rank = 3;
    return plumb_reshape(g, x, shape);
}

plumb_t plumb_build_attention(plumb_graph *g, const char *name, plumb_t x, const void *options)
{
    options_of o;
    plumb_take_options(&o, sizeof o, options);
    const plumb_init none = {.rule = PLUMB_INIT_ZEROS};
    const plumb_t in[PARTS] = {x, o.keys != PLUMB_NONE ? o.keys : x,
                               o.values != PLUMB_NONE ? o.values : o.keys != PLUMB_NONE ? o.keys : x};
    plumb_shape shapes[PARTS];
    plumb_t weight[PARTS], part[PARTS], bias = PLUMB_NONE;
    for (int i = 0; i < PARTS; i++)
        shapes[i] = plumb_shape_of(g, in[i]);
    if (plumb_graph_status(g) != PLUMB_OK || !is_sound(g, name ? name : "", shapes, &o))
        return PLUMB_NONE;
    plumb_dtype dtype = plumb_dtype_of(g, x);
    int64_t embed = shapes[QUERY].dim[2];
    double bound = 1 / sqrt((double)embed);
    projections(g, name, in, shapes, &o, weight);
    if (!o.no_bias)
        bias = plumb_layer_variable(g, name, "in_proj_bias", dtype, PLUMB_SHAPE(PARTS * embed), &o.bias_init, none, o.frozen);
    for (int i = 0; i < PARTS; i++) {
        part[i] = plumb_matmul(g, in[i], weight[i], false, true);
        if (bias != PLUMB_NONE)
            part[i] = plumb_add(g, part[i], plumb_slice(g, bias, &(int64_t){i * embed}, &(int64_t){(i + 1) * embed}, NULL));
        part[i] = split(g, part[i], &o);
    }
    plumb_attention_options attention = {.size = sizeof attention, .causal = o.causal, .mask = o.mask};
    plumb_name_next(g, name);
    plumb_t y = join(g, plumb_attention(g, part[QUERY], part[KEY], part[VALUE], &attention), &o);
    plumb_name_next(g, NULL);
    y = plumb_matmul(g, y,
                     plumb_layer_variable(g, name, "out_proj.weight", dtype, PLUMB_SHAPE(embed, embed), &o.out_init,
                                          (plumb_init){.rule = PLUMB_INIT_UNIFORM, .a = -bound, .b = bound}, o.frozen),
                     false, true);
    if (o.no_bias)
        return y;
    return plumb_add(g, y, plumb_layer_variable(g, name, "out_proj.bias", dtype, PLUMB_SHAPE(embed), &o.bias_init, none, o.frozen));
}
