/* Pooling in one and three dimensions, over everything, and by powers, as compositions of two-dimensional pooling.
 *
 * Decided here:
 * - One dimension is two with a height of 1: a view.
 * - Three dimensions are pooled in two steps, each plane first and then the depth of what comes out. Windows are boxes, so
 *   maxima, their first places and an average's divisors are those of the box. The index is computed where it is asked for.
 * - Powers are pooled as averages times the window, whose padding counts as zeros; where rounding up makes windows reach
 *   further, zeros are put there first. A root has no slope at 0: the gradient there is 0, where a window holds nothing but
 *   zeros. */
#include "op/forms.h"

#include <math.h>

/* ---- one dimension: (N, C, L) as (N, C, 1, L) ---- */

static plumb_pool2d_options flat_options(const plumb_pool1d_options *options)
{
    plumb_pool1d_options o;
    plumb_options_taken(&o, sizeof o, options);
    return (plumb_pool2d_options){.size = sizeof(plumb_pool2d_options), .window = {1, o.window}, .stride = {1, o.stride},
                                  .padding = {0, o.padding[0], 0, o.padding[1]}, .dilation = {1, o.dilation},
                                  .ceil_mode = o.ceil_mode, .exclude_padding = o.exclude_padding};
}

/* What a pooling made of a lifted x, and its index. */
static plumb_t both_lowered(plumb_graph *g, const char *what, plumb_t y, plumb_t *index)
{
    if (index)
        *index = y == PLUMB_NONE ? PLUMB_NONE : plumb_lowered(g, what, plumb_output(g, y, 1));
    return plumb_lowered(g, what, y);
}

plumb_t plumb_max_pool1d(plumb_graph *g, plumb_t x, const plumb_pool1d_options *options, plumb_t *index)
{
    const plumb_pool2d_options o = flat_options(options);
    x = plumb_lifted(g, "max_pool1d", x);
    return both_lowered(g, "max_pool1d", x ? plumb_max_pool2d(g, x, &o) : PLUMB_NONE, index);
}

plumb_t plumb_average_pool1d(plumb_graph *g, plumb_t x, const plumb_pool1d_options *options)
{
    const plumb_pool2d_options o = flat_options(options);
    x = plumb_lifted(g, "average_pool1d", x);
    return both_lowered(g, "average_pool1d", x ? plumb_average_pool2d(g, x, &o) : PLUMB_NONE, NULL);
}

plumb_t plumb_adaptive_average_pool1d(plumb_graph *g, plumb_t x, int64_t length)
{
    x = plumb_lifted(g, "adaptive_average_pool1d", x);
    return both_lowered(g, "adaptive_average_pool1d", x ? plumb_adaptive_average_pool2d(g, x, 1, length) : PLUMB_NONE, NULL);
}

plumb_t plumb_adaptive_max_pool1d(plumb_graph *g, plumb_t x, int64_t length, plumb_t *index)
{
    x = plumb_lifted(g, "adaptive_max_pool1d", x);
    return both_lowered(g, "adaptive_max_pool1d", x ? plumb_adaptive_max_pool2d(g, x, 1, length) : PLUMB_NONE, index);
}

/* ---- three dimensions ---- */

struct steps {
    plumb_pool2d_options plane, depth;
    plumb_shape x;
};

static bool steps_of(plumb_graph *g, const char *what, plumb_t x, const plumb_pool3d_options *options, struct steps *s)
{
    plumb_pool3d_options o;
    char text[160];
    plumb_options_taken(&o, sizeof o, options);
    if (!plumb_takes_rank(g, what, x, 5, &s->x))
        return false;
    for (int d = 1; d < 5; d++)
        if (s->x.dim[d] < 0) {
            plumb_poison(g, "%s: input is %s, expected all sizes but the batch to be known", what,
                         plumb_shape_text(&s->x, text, sizeof text));
            return false;
        }
    s->plane = (plumb_pool2d_options){.size = sizeof s->plane, .window = {o.window[1], o.window[2]},
                                      .stride = {o.stride[1], o.stride[2]},
                                      .padding = {o.padding[1], o.padding[2], o.padding[4], o.padding[5]},
                                      .dilation = {o.dilation[1], o.dilation[2]}, .ceil_mode = o.ceil_mode,
                                      .exclude_padding = o.exclude_padding};
    s->depth = (plumb_pool2d_options){.size = sizeof s->depth, .window = {o.window[0], 1}, .stride = {o.stride[0], 1},
                                      .padding = {o.padding[0], 0, o.padding[3], 0}, .dilation = {o.dilation[0], 1},
                                      .ceil_mode = o.ceil_mode, .exclude_padding = o.exclude_padding};
    return true;
}

/* (N, C, D, H, W) -> (N, C D, H, W) */
static plumb_t as_planes(plumb_graph *g, const char *what, plumb_t x, const plumb_shape *s)
{
    return plumb_laid(g, what, x, PLUMB_SHAPE(s->dim[0], s->dim[1] * s->dim[2], s->dim[3], s->dim[4]));
}

/* Of planes (N, C D, OH, OW) -> (N, C, D, OH OW) */
static plumb_t as_depths(plumb_graph *g, const char *what, plumb_t planes, const plumb_shape *x)
{
    plumb_shape p = plumb_shape_of(g, planes);
    return plumb_laid(g, what, planes, PLUMB_SHAPE(x->dim[0], x->dim[1], x->dim[2], p.dim[2] * p.dim[3]));
}

/* (N, C, OD, OH OW) -> (N, C, OD, OH, OW), of these planes */
static plumb_t as_volumes(plumb_graph *g, const char *what, plumb_t y, plumb_t planes)
{
    plumb_shape s = plumb_shape_of(g, y), p = plumb_shape_of(g, planes);
    return plumb_laid(g, what, y, PLUMB_SHAPE(s.dim[0], s.dim[1], s.dim[2], p.dim[2], p.dim[3]));
}

/* Where the maximum of the depth's pooling came from, d (OH OW) + j, and where that plane's maximum j of depth d lay, in one
 * index within D H W. Indices are below 2^53, so f64 holds them. */
static plumb_t whole_index(plumb_graph *g, const struct steps *s, plumb_t planes, plumb_t depth)
{
    plumb_attr_pool2d attr;
    memset(&attr, 0, sizeof attr);
    plumb_t inside = plumb_cast(g, as_depths(g, "max_pool3d", plumb_output(g, planes, 1), &s->x), PLUMB_F64);
    plumb_t at = plumb_output(g, depth, 1);
    double area = (double)plumb_shape_of(g, inside).dim[3];
    inside = plumb_emit(g, &plumb_op_max_pool2d_select, &attr, (const plumb_t[]){inside, at}, 2);
    plumb_t d = plumb_affine(g, plumb_cast(g, at, PLUMB_F64), 1 / area, 0.5 / area); /* halves keep clear of whole numbers */
    d = plumb_cast(g, plumb_cast(g, d, PLUMB_I64), PLUMB_F64);
    return plumb_cast(g, plumb_add(g, plumb_affine(g, d, (double)(s->x.dim[3] * s->x.dim[4]), 0), inside), PLUMB_I64);
}

plumb_t plumb_max_pool3d(plumb_graph *g, plumb_t x, const plumb_pool3d_options *options, plumb_t *index)
{
    static const char what[] = "max_pool3d";
    struct steps s;
    if (index)
        *index = PLUMB_NONE;
    if (!steps_of(g, what, x, options, &s))
        return PLUMB_NONE;
    plumb_t planes = plumb_max_pool2d(g, as_planes(g, what, x, &s.x), &s.plane);
    plumb_t depth = planes ? plumb_max_pool2d(g, as_depths(g, what, planes, &s.x), &s.depth) : PLUMB_NONE;
    if (depth == PLUMB_NONE)
        return PLUMB_NONE;
    if (index)
        *index = as_volumes(g, what, whole_index(g, &s, planes, depth), planes);
    return as_volumes(g, what, depth, planes);
}

plumb_t plumb_average_pool3d(plumb_graph *g, plumb_t x, const plumb_pool3d_options *options)
{
    static const char what[] = "average_pool3d";
    struct steps s;
    if (!steps_of(g, what, x, options, &s))
        return PLUMB_NONE;
    plumb_t planes = plumb_average_pool2d(g, as_planes(g, what, x, &s.x), &s.plane);
    plumb_t depth = planes ? plumb_average_pool2d(g, as_depths(g, what, planes, &s.x), &s.depth) : PLUMB_NONE;
    return depth ? as_volumes(g, what, depth, planes) : PLUMB_NONE;
}

/* ---- everything, and powers ---- */

plumb_t plumb_global_max_pool2d(plumb_graph *g, plumb_t x)
{
    plumb_shape s;
    return plumb_takes_rank(g, "global_max_pool2d", x, 4, &s) ? plumb_max(g, x, PLUMB_AXES(2, 3), true) : PLUMB_NONE;
}

static plumb_t powers(plumb_graph *g, plumb_t x, double p)
{
    if (p == 2)
        return plumb_square(g, x);
    x = plumb_abs(g, x);
    return p == 1 ? x : plumb_pow(g, x, plumb_full_like(g, x, p));
}

/* Where the sum is 0 the root is taken of 1, and the result made 0. */
static plumb_t root(plumb_graph *g, plumb_t sum, double p)
{
    if (p == 1)
        return sum;
    plumb_t zero = plumb_full_like(g, sum, 0), none = plumb_equal(g, sum, zero);
    plumb_t safe = plumb_where(g, none, plumb_full_like(g, sum, 1), sum);
    safe = p == 2 ? plumb_sqrt(g, safe) : plumb_pow(g, safe, plumb_full_like(g, sum, 1 / p));
    return plumb_where(g, none, zero, safe);
}

static bool good_power(plumb_graph *g, const char *what, double p)
{
    if (p > 0 && !isinf(p))
        return true;
    plumb_poison(g, "%s: p is %g, expected a finite number over 0", what, p);
    return false;
}

/* x with the zeros below and at the right that windows of ceil_mode reach into, so that these are whole; takes ceil_mode off. */
static plumb_t with_zeros(plumb_graph *g, plumb_t x, plumb_pool2d_options *o, const plumb_shape *s)
{
    int64_t after[4] = {0};
    char text[160];
    o->ceil_mode = false;
    for (int i = 0; i < 2; i++) {
        int64_t size = s->dim[i + 2], window = o->window[i], stride = o->stride[i] ? o->stride[i] : window;
        int64_t rest = size + o->padding[i] + o->padding[i + 2] - window;
        if (size < 0)
            return plumb_poison(g, "lp_pool2d: input is %s, ceil_mode needs height and width to be known",
                                plumb_shape_text(s, text, sizeof text));
        if (stride < 1 || rest < 0 || rest % stride == 0)
            continue; /* what cannot be, average_pool2d refuses */
        int64_t last = (rest / stride + 1) * stride;
        after[i + 2] = last < size + o->padding[i] ? last - rest : 0; /* none begins in the padding */
    }
    return plumb_pad(g, x, NULL, after, PLUMB_PAD_CONSTANT, 0);
}

plumb_t plumb_lp_pool2d(plumb_graph *g, plumb_t x, double p, const plumb_pool2d_options *options)
{
    plumb_pool2d_options o;
    plumb_shape s;
    plumb_options_taken(&o, sizeof o, options);
    if (!plumb_takes_rank(g, "lp_pool2d", x, 4, &s) || !good_power(g, "lp_pool2d", p))
        return PLUMB_NONE;
    o.exclude_padding = false;
    x = powers(g, x, p);
    if (o.ceil_mode && !(x = with_zeros(g, x, &o, &s)))
        return PLUMB_NONE;
    plumb_t mean = plumb_average_pool2d(g, x, &o);
    return mean ? root(g, plumb_affine(g, mean, (double)o.window[0] * (double)o.window[1], 0), p) : PLUMB_NONE;
}

plumb_t plumb_global_lp_pool2d(plumb_graph *g, plumb_t x, double p)
{
    plumb_shape s;
    if (!plumb_takes_rank(g, "global_lp_pool2d", x, 4, &s) || !good_power(g, "global_lp_pool2d", p))
        return PLUMB_NONE;
    return root(g, plumb_sum(g, powers(g, x, p), PLUMB_AXES(2, 3), true), p);
}
