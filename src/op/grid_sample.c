/* Looking pictures up at places of a grid, and the grid of an affine map (Jaderberg et al. 2015), as compositions: the elements
 * around a place are gathered, weighed and added, so that gradients to the picture and to the grid follow from those of the
 * parts.
 *
 * Decided here:
 * - Places are computed in f32 at least, whatever the picture's dtype: in bf16 there are 256 of them.
 * - What is outside is decided by element for zeros (a corner outside counts for nothing) and by place for the others, which
 *   are then limited to the picture, as PyTorch's. A place that is not a number gives one.
 * - Rounding down and to the nearest have no slope, so the grid's gradient is that of the weights. */
#include "op/forms.h"

/* One of the two coordinates of every place, and how long that side of the picture is. */
struct along {
    plumb_graph *g;
    plumb_t at; /* (N, places, 1), in elements */
    int64_t size;
};

/* Mirrored at the edges, which with align_corners are elements, else half an element beyond them. */
static plumb_t mirrored(const struct along *a, plumb_t at, bool align_corners)
{
    plumb_graph *g = a->g;
    double low = align_corners ? 0 : -0.5, span = (double)a->size - (align_corners ? 1 : 0);
    if (span <= 0)
        return plumb_affine(g, at, 0, 0);
    plumb_t into = plumb_remainder(g, plumb_affine(g, at, 1, -low), plumb_scalar(g, plumb_dtype_of(g, at), 2 * span));
    return plumb_affine(g, plumb_abs(g, plumb_affine(g, into, 1, -span)), -1, span + low);
}

/* From -1 .. 1 to elements. */
static struct along along(plumb_graph *g, plumb_t grid, int k, int64_t size, const plumb_grid_sample_options *o)
{
    struct along a = {.g = g, .size = size};
    plumb_t at = plumb_slice(g, grid, (const int64_t[]){0, 0, k}, (const int64_t[]){PLUMB_END, PLUMB_END, k + 1}, NULL);
    double last = (double)(size - 1);
    at = plumb_affine(g, at, (o->align_corners ? last : (double)size) / 2, last / 2);
    if (o->outside == PLUMB_OUTSIDE_REFLECTION)
        at = mirrored(&a, at, o->align_corners);
    a.at = o->outside == PLUMB_OUTSIDE_ZEROS ? at : plumb_clamp(g, at, 0, last);
    return a;
}

/* Of elements `at`: which of them, i64, and the weight, made 0 outside the picture. */
static plumb_t element(const struct along *a, plumb_t at, plumb_t *weight)
{
    plumb_graph *g = a->g;
    plumb_dtype dtype = plumb_dtype_of(g, at);
    plumb_t last = plumb_scalar(g, dtype, (double)(a->size - 1)), none = plumb_scalar(g, dtype, 0);
    plumb_t out = plumb_logical_or(g, plumb_less(g, at, none), plumb_less(g, last, at)); /* neither of a NaN */
    *weight = plumb_where(g, out, none, *weight);
    return plumb_cast(g, plumb_clamp(g, at, 0, (double)(a->size - 1)), PLUMB_I64);
}

/* The elements (N, places, C) of rows (N, H W, C) at row and column, weighed. */
static plumb_t weighed(plumb_graph *g, plumb_t rows, plumb_t row, plumb_t column, int64_t width, plumb_t weight)
{
    plumb_t at = plumb_add(g, plumb_mul(g, row, plumb_scalar(g, PLUMB_I64, (double)width)), column);
    plumb_t found = plumb_gather_nd(g, rows, at, 1);
    return plumb_mul(g, plumb_cast(g, found, plumb_dtype_of(g, weight)), weight);
}

static plumb_t nearest_of(plumb_graph *g, plumb_t rows, const struct along *down, const struct along *across)
{
    plumb_t weight[2] = {plumb_affine(g, down->at, 0, 1), plumb_affine(g, across->at, 0, 1)}; /* 1, or not a number */
    plumb_t row = element(down, plumb_round(g, down->at), &weight[0]);
    plumb_t column = element(across, plumb_round(g, across->at), &weight[1]);
    return weighed(g, rows, row, column, across->size, plumb_mul(g, weight[0], weight[1]));
}

/* The two elements beside each place. */
struct beside {
    plumb_t index[2], weight[2];
};

static struct beside beside(const struct along *a)
{
    struct beside b;
    plumb_t low = plumb_floor(a->g, a->at);
    b.weight[1] = plumb_sub(a->g, a->at, low);
    b.weight[0] = plumb_affine(a->g, b.weight[1], -1, 1);
    for (int k = 0; k < 2; k++)
        b.index[k] = element(a, plumb_affine(a->g, low, 1, k), &b.weight[k]);
    return b;
}

static plumb_t bilinear_of(plumb_graph *g, plumb_t rows, const struct along *down, const struct along *across)
{
    struct beside v = beside(down), h = beside(across);
    plumb_t sum = PLUMB_NONE;
    for (int k = 0; k < 4; k++) {
        plumb_t weight = plumb_mul(g, v.weight[k / 2], h.weight[k % 2]);
        plumb_t part = weighed(g, rows, v.index[k / 2], h.index[k % 2], across->size, weight);
        sum = sum == PLUMB_NONE ? part : plumb_add(g, sum, part);
    }
    return sum;
}

plumb_t plumb_grid_sample(plumb_graph *g, plumb_t x, plumb_t grid, const plumb_grid_sample_options *options)
{
    static const char what[] = "grid_sample";
    plumb_grid_sample_options o;
    plumb_shape s, places;
    char a[160], b[160];
    plumb_options_taken(&o, sizeof o, options);
    if (!plumb_takes_rank(g, what, x, 4, &s) || !plumb_takes_rank(g, what, grid, 4, &places))
        return PLUMB_NONE;
    plumb_dtype dtype = plumb_dtype_of(g, x), wide = dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32;
    if (!plumb_dims_agree(s.dim[0], places.dim[0]) || places.dim[3] != 2 || s.dim[1] < 0 || s.dim[2] < 1 || s.dim[3] < 1 ||
        places.dim[1] < 0 || places.dim[2] < 0)
        return plumb_poison(g, "%s: pictures (N, C, H, W) with an element at least and a grid (N, OH, OW, 2), of known sizes but N, "
                            "are expected, not %s and %s", what, plumb_shape_text(&s, a, sizeof a),
                            plumb_shape_text(&places, b, sizeof b));
    if (plumb_dtype_of(g, grid) != wide || !plumb_dtype_is_float(dtype))
        return plumb_poison(g, "%s: pictures of %s and a grid of %s, expected floating pictures and %s", what,
                            plumb_dtype_name(dtype), plumb_dtype_name(plumb_dtype_of(g, grid)), plumb_dtype_name(wide));
    if (o.outside < PLUMB_OUTSIDE_ZEROS || o.outside > PLUMB_OUTSIDE_REFLECTION)
        return plumb_poison(g, "%s: %d is not one of plumb_outside", what, (int)o.outside);
    plumb_t rows = plumb_transpose(g, x, (const int[]){0, 2, 3, 1});
    rows = plumb_laid(g, what, rows, PLUMB_SHAPE(s.dim[0], s.dim[2] * s.dim[3], s.dim[1]));
    grid = plumb_laid(g, what, grid, PLUMB_SHAPE(places.dim[0], places.dim[1] * places.dim[2], 2));
    if (rows == PLUMB_NONE || grid == PLUMB_NONE)
        return PLUMB_NONE;
    const struct along down = along(g, grid, 1, s.dim[2], &o), across = along(g, grid, 0, s.dim[3], &o);
    plumb_t y = o.nearest ? nearest_of(g, rows, &down, &across) : bilinear_of(g, rows, &down, &across);
    y = plumb_laid(g, what, plumb_cast(g, y, dtype), PLUMB_SHAPE(s.dim[0], places.dim[1], places.dim[2], s.dim[1]));
    return y == PLUMB_NONE ? y : plumb_transpose(g, y, (const int[]){0, 3, 1, 2});
}

plumb_t plumb_affine_grid(plumb_graph *g, plumb_t theta, int64_t height, int64_t width, bool align_corners)
{
    static const char what[] = "affine_grid";
    plumb_shape s;
    char text[160];
    if (!plumb_takes_rank(g, what, theta, 3, &s))
        return PLUMB_NONE;
    plumb_dtype dtype = plumb_dtype_of(g, theta);
    if (s.dim[1] != 2 || s.dim[2] != 3 || height < 1 || width < 1 || (dtype != PLUMB_F32 && dtype != PLUMB_F64))
        return plumb_poison(g, "%s: maps (N, 2, 3) in f32 or f64 and a size are expected, not %s in %s and %lld x %lld", what,
                            plumb_shape_text(&s, text, sizeof text), plumb_dtype_name(dtype), (long long)height,
                            (long long)width);
    const int64_t size[2] = {height, width};
    plumb_t side[2];
    for (int d = 0; d < 2; d++) { /* the places of elements' centres */
        double n = (double)size[d], step = !align_corners ? 2 / n : n > 1 ? 2 / (n - 1) : 0;
        double start = !align_corners ? 1 / n - 1 : n > 1 ? -1 : 0;
        plumb_t line = plumb_iota(g, dtype, d == 0 ? PLUMB_SHAPE(height, 1, 1) : PLUMB_SHAPE(1, width, 1), start, step);
        side[d] = plumb_expand(g, line, PLUMB_SHAPE(height, width, 1));
    }
    plumb_t all = plumb_concat(g, (plumb_t[]){side[1], side[0], plumb_full_like(g, side[0], 1)}, 3, -1);
    all = plumb_reshape(g, all, PLUMB_SHAPE(height * width, 3));
    return plumb_laid(g, what, plumb_matmul(g, all, theta, false, true), PLUMB_SHAPE(s.dim[0], height, width, 2));
}
