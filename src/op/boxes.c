/* What detection needs beside its kernels, as compositions of element-wise ops: forms of boxes, overlaps (which as losses are
 * 1 minus them), offsets from anchors, targets of cells, and the anchors themselves, which are constants.
 *
 * Decided here: overlaps of boxes that cover nothing are 0, with gradient 0 through the union, rather than not a number. Sizes
 * of boxes to be encoded must be positive: a logarithm is taken of them. The weight of complete overlap's last term is a
 * constant of the gradient, as its authors have it. Of two objects in one cell with one anchor the later one stays. */
#include "op/forms.h"

#include <math.h>

/* Number k of each box, (.., 1). */
static plumb_t part(plumb_graph *g, plumb_t boxes, int k, int count)
{
    int64_t begin[PLUMB_MAX_RANK] = {0}, end[PLUMB_MAX_RANK];
    int last = plumb_shape_of(g, boxes).rank - 1;
    for (int d = 0; d < PLUMB_MAX_RANK; d++)
        end[d] = PLUMB_END;
    if (last >= 0) {
        begin[last] = k;
        end[last] = k + count;
    }
    return plumb_slice(g, boxes, begin, end, NULL);
}

/* Poisons the graph where the last dimension is not 4. */
static bool are_boxes(plumb_graph *g, const char *what, plumb_t boxes)
{
    plumb_shape shape = plumb_shape_of(g, boxes);
    bool good = shape.rank > 0 && shape.dim[shape.rank - 1] == 4;
    char text[160];
    if (!good)
        plumb_poison(g, "%s: boxes are four numbers in the last dimension, got %s", what,
                     plumb_shape_text(&shape, text, sizeof text));
    return good && plumb_graph_status(g) == PLUMB_OK;
}

static plumb_t joined(plumb_graph *g, plumb_t a, plumb_t b) { return plumb_concat(g, (plumb_t[]){a, b}, 2, -1); }

plumb_t plumb_boxes_to_corners(plumb_graph *g, plumb_t boxes)
{
    if (!are_boxes(g, "boxes_to_corners", boxes))
        return PLUMB_NONE;
    plumb_t centre = part(g, boxes, 0, 2), half = plumb_affine(g, part(g, boxes, 2, 2), 0.5, 0);
    return joined(g, plumb_sub(g, centre, half), plumb_add(g, centre, half));
}

plumb_t plumb_boxes_to_centre(plumb_graph *g, plumb_t boxes)
{
    if (!are_boxes(g, "boxes_to_centre", boxes))
        return PLUMB_NONE;
    plumb_t low = part(g, boxes, 0, 2), high = part(g, boxes, 2, 2);
    return joined(g, plumb_affine(g, plumb_add(g, low, high), 0.5, 0), plumb_sub(g, high, low));
}

/* ---- overlaps ---- */

/* The product of (.., 2) as (..). */
static plumb_t area(plumb_graph *g, plumb_t sides)
{
    plumb_t product = plumb_mul(g, part(g, sides, 0, 1), part(g, sides, 1, 1));
    return plumb_sum(g, product, PLUMB_AXES(-1), false);
}

/* a / b, 0 where b is 0 (and a with it). */
static plumb_t ratio(plumb_graph *g, plumb_t a, plumb_t b)
{
    plumb_t none = plumb_equal(g, b, plumb_full_like(g, b, 0));
    return plumb_div(g, a, plumb_where(g, none, plumb_full_like(g, b, 1), b));
}

/* The angle whose tangent is width / height, of (.., 2), as (..). */
static plumb_t slope(plumb_graph *g, plumb_t sides)
{
    return plumb_sum(g, plumb_atan2(g, part(g, sides, 0, 1), part(g, sides, 1, 1)), PLUMB_AXES(-1), false);
}

plumb_t plumb_box_overlap(plumb_graph *g, plumb_t a, plumb_t b, plumb_overlap kind)
{
    if (!are_boxes(g, "box_overlap", a) || !are_boxes(g, "box_overlap", b))
        return PLUMB_NONE;
    plumb_t low_a = part(g, a, 0, 2), high_a = part(g, a, 2, 2), low_b = part(g, b, 0, 2), high_b = part(g, b, 2, 2);
    plumb_t inner = plumb_sub(g, plumb_minimum(g, high_a, high_b), plumb_maximum(g, low_a, low_b));
    plumb_t shared = area(g, plumb_relu(g, inner));
    plumb_t areas = plumb_add(g, area(g, plumb_sub(g, high_a, low_a)), area(g, plumb_sub(g, high_b, low_b)));
    plumb_t both = plumb_sub(g, areas, shared), iou = ratio(g, shared, both);
    if (kind == PLUMB_IOU)
        return iou;
    plumb_t hull = plumb_sub(g, plumb_maximum(g, high_a, high_b), plumb_minimum(g, low_a, low_b));
    if (kind == PLUMB_GIOU) {
        plumb_t around = area(g, hull);
        return plumb_sub(g, iou, ratio(g, plumb_sub(g, around, both), around));
    }
    plumb_t apart = plumb_sub(g, plumb_add(g, low_a, high_a), plumb_add(g, low_b, high_b)); /* twice the centres' distance */
    plumb_t distance = plumb_sum(g, plumb_square(g, apart), PLUMB_AXES(-1), false);
    plumb_t diagonal = plumb_sum(g, plumb_square(g, hull), PLUMB_AXES(-1), false);
    plumb_t centred = plumb_sub(g, iou, plumb_affine(g, ratio(g, distance, diagonal), 0.25, 0));
    if (kind != PLUMB_CIOU)
        return centred;
    plumb_t turn = plumb_sub(g, slope(g, plumb_sub(g, high_a, low_a)), slope(g, plumb_sub(g, high_b, low_b)));
    plumb_t unlike = plumb_affine(g, plumb_square(g, turn), 4 / (M_PI * M_PI), 0);
    plumb_t weight = ratio(g, unlike, plumb_add(g, plumb_affine(g, iou, -1, 1), unlike));
    return plumb_sub(g, centred, plumb_mul(g, plumb_stop_gradient(g, weight), unlike));
}

/* ---- offsets from anchors ---- */

/* A (4) constant of the boxes' dtype. */
static plumb_t four(plumb_graph *g, plumb_t like, const double *weights, bool reciprocal)
{
    double value[4];
    for (int k = 0; k < 4; k++)
        value[k] = !weights ? 1 : reciprocal ? 1 / weights[k] : weights[k];
    plumb_t constant = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(4), value);
    return plumb_cast(g, constant, plumb_dtype_of(g, like));
}

plumb_t plumb_box_encode(plumb_graph *g, plumb_t boxes, plumb_t anchors, const double weights[4])
{
    plumb_t b = plumb_boxes_to_centre(g, boxes), a = plumb_boxes_to_centre(g, anchors);
    if (plumb_graph_status(g) != PLUMB_OK)
        return PLUMB_NONE;
    plumb_t size = part(g, a, 2, 2);
    plumb_t shift = plumb_div(g, plumb_sub(g, part(g, b, 0, 2), part(g, a, 0, 2)), size);
    plumb_t growth = plumb_log(g, plumb_div(g, part(g, b, 2, 2), size));
    plumb_t deltas = joined(g, shift, growth);
    return weights ? plumb_mul(g, deltas, four(g, deltas, weights, false)) : deltas;
}

plumb_t plumb_box_decode(plumb_graph *g, plumb_t deltas, plumb_t anchors, const double weights[4], double most)
{
    if (!are_boxes(g, "box_decode", deltas))
        return PLUMB_NONE;
    plumb_t a = plumb_boxes_to_centre(g, anchors), d = deltas;
    if (plumb_graph_status(g) != PLUMB_OK)
        return PLUMB_NONE;
    if (weights)
        d = plumb_mul(g, d, four(g, d, weights, true));
    plumb_t size = part(g, a, 2, 2), growth = part(g, d, 2, 2);
    if (most != 0)
        growth = plumb_clamp(g, growth, -HUGE_VAL, most);
    plumb_t centre = plumb_add(g, plumb_mul(g, part(g, d, 0, 2), size), part(g, a, 0, 2));
    return plumb_boxes_to_corners(g, joined(g, centre, plumb_mul(g, plumb_exp(g, growth), size)));
}

plumb_t plumb_box_decode_cells(plumb_graph *g, plumb_t t, plumb_t sizes)
{
    plumb_shape s = plumb_shape_of(g, t);
    plumb_dtype dtype = plumb_dtype_of(g, t);
    if (!are_boxes(g, "box_decode_cells", t))
        return PLUMB_NONE;
    if (s.rank != 5 || s.dim[1] < 1 || s.dim[2] < 1)
        return plumb_poison(g, "box_decode_cells: predictions of shape (N, H, W, A, 4) are expected, of rank %d given", s.rank);
    double h = (double)s.dim[1], w = (double)s.dim[2];
    plumb_t column = plumb_iota(g, dtype, PLUMB_SHAPE(1, s.dim[2], 1, 1), 0, 1);
    plumb_t row = plumb_iota(g, dtype, PLUMB_SHAPE(s.dim[1], 1, 1, 1), 0, 1);
    plumb_t at = plumb_sigmoid(g, part(g, t, 0, 2));
    plumb_t x = plumb_affine(g, plumb_add(g, part(g, at, 0, 1), column), 1 / w, 0);
    plumb_t y = plumb_affine(g, plumb_add(g, part(g, at, 1, 1), row), 1 / h, 0);
    plumb_t size = plumb_mul(g, plumb_exp(g, part(g, t, 2, 2)), sizes);
    return plumb_concat(g, (plumb_t[]){x, y, size}, 3, -1);
}

/* ---- targets of cells ---- */

/* i64, (.., 1): the cell that a place in [0, 1] of each box lies in, number k of it; *rest: how far into the cell. */
static plumb_t cell_of(plumb_graph *g, plumb_t boxes, int k, int64_t cells, plumb_t *rest)
{
    plumb_t at = plumb_affine(g, part(g, boxes, k, 1), (double)cells, 0);
    plumb_t cell = plumb_clamp(g, plumb_floor(g, at), 0, (double)(cells - 1));
    *rest = plumb_sub(g, at, cell);
    return plumb_cast(g, cell, PLUMB_I64);
}

/* i64 (N, M, 1): the anchor of sizes (A, 2) that overlaps each box most when both have one centre, the first of equal ones. */
static plumb_t nearest_anchor(plumb_graph *g, plumb_t sides, plumb_t sizes)
{
    plumb_t each = plumb_unsqueeze(g, sides, PLUMB_AXES(2)); /* (N, M, 1, 2) */
    plumb_t shared = area(g, plumb_minimum(g, each, sizes));
    plumb_t both = plumb_sub(g, plumb_add(g, area(g, each), area(g, sizes)), shared);
    return plumb_argmax(g, ratio(g, shared, both), 2, true);
}

static plumb_t times(plumb_graph *g, plumb_t whole, int64_t factor)
{
    return plumb_mul(g, whole, plumb_scalar(g, PLUMB_I64, (double)factor));
}

plumb_t plumb_box_encode_cells(plumb_graph *g, plumb_t boxes, plumb_t labels, plumb_t sizes, int64_t height, int64_t width,
                               int64_t classes)
{
    static const char what[] = "box_encode_cells";
    plumb_shape s = plumb_shape_of(g, boxes), anchors = plumb_shape_of(g, sizes), l = plumb_shape_of(g, labels);
    plumb_dtype dtype = plumb_dtype_of(g, boxes);
    char a[160], b[160], c[160];
    if (!are_boxes(g, what, boxes))
        return PLUMB_NONE;
    if (s.rank != 3 || s.dim[0] == PLUMB_UNKNOWN || s.dim[1] < 1 || l.rank != 2 || anchors.rank != 2 || anchors.dim[0] < 1 ||
        anchors.dim[1] != 2)
        return plumb_poison(g, "%s: boxes (N, M, 4), labels (N, M) and sizes (A, 2) are expected, not %s, %s and %s", what,
                            plumb_shape_text(&s, a, sizeof a), plumb_shape_text(&l, b, sizeof b),
                            plumb_shape_text(&anchors, c, sizeof c));
    if (height < 1 || width < 1 || classes < 0)
        return plumb_poison(g, "%s: %lld x %lld cells and %lld classes", what, (long long)height, (long long)width,
                            (long long)classes);
    int64_t n_anchors = anchors.dim[0], places = height * width * n_anchors;
    boxes = plumb_stop_gradient(g, boxes);
    labels = plumb_unsqueeze(g, plumb_cast(g, labels, PLUMB_I64), PLUMB_AXES(2));
    plumb_t x, y, sides = part(g, boxes, 2, 2), anchor = nearest_anchor(g, sides, sizes);
    plumb_t column = cell_of(g, boxes, 0, width, &x), row = cell_of(g, boxes, 1, height, &y);
    plumb_t place = plumb_add(g, times(g, plumb_add(g, times(g, row, width), column), n_anchors), anchor);
    plumb_t none = plumb_less(g, labels, plumb_scalar(g, PLUMB_I64, 0)); /* these go behind the last place */
    place = plumb_where(g, none, plumb_scalar(g, PLUMB_I64, (double)places), place);
    plumb_t picture = plumb_div(g, plumb_iota_like(g, PLUMB_I64, labels, 0, 1), plumb_scalar(g, PLUMB_I64, (double)s.dim[1]));
    plumb_t growth = plumb_log(g, plumb_div(g, sides, plumb_gather(g, sizes, plumb_squeeze(g, anchor, PLUMB_AXES(2)), 0)));
    plumb_t row_of[5] = {plumb_full_like(g, x, 1), x, y, growth};
    if (classes > 0)
        row_of[4] = plumb_one_hot(g, plumb_squeeze(g, labels, PLUMB_AXES(2)), classes, dtype);
    plumb_t rows = plumb_concat(g, row_of, classes > 0 ? 5 : 4, -1);
    plumb_t empty = plumb_full(g, dtype, PLUMB_SHAPE(s.dim[0], places + 1, 5 + classes), 0);
    plumb_t at = plumb_concat(g, (plumb_t[]){picture, place}, 2, -1), all = plumb_scatter_nd(g, empty, at, rows, PLUMB_SCATTER_NONE);
    all = plumb_slice(g, all, (const int64_t[]){0, 0, 0}, (const int64_t[]){PLUMB_END, places, PLUMB_END}, NULL);
    return plumb_laid(g, what, all, PLUMB_SHAPE(s.dim[0], height, width, n_anchors, 5 + classes));
}

/* ---- anchors ---- */

plumb_t plumb_anchors(plumb_graph *g, plumb_dtype dtype, int64_t height, int64_t width, double stride, double offset,
                      const double *sizes, int n_sizes, const double *ratios, int n_ratios)
{
    enum { ROOM = 64 };
    double box[ROOM][4];
    if (height < 0 || width < 0 || n_sizes < 1 || n_ratios < 1 || n_sizes > ROOM / n_ratios)
        return plumb_poison(g, "anchors: %lld x %lld cells of %d sizes and %d ratios, at most %d boxes a cell",
                            (long long)height, (long long)width, n_sizes, n_ratios, ROOM);
    for (int i = 0; i < n_sizes * n_ratios; i++) {
        double side = sizes[i % n_sizes], root = sqrt(ratios[i / n_sizes]);
        box[i][0] = -0.5 * side / root;
        box[i][1] = -0.5 * side * root;
        box[i][2] = 0.5 * side / root;
        box[i][3] = 0.5 * side * root;
    }
    int64_t each = (int64_t)n_sizes * n_ratios;
    plumb_t around = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(each, 4), box);
    plumb_t column = plumb_iota(g, PLUMB_F64, PLUMB_SHAPE(1, width, 1, 1), offset * stride, stride);
    plumb_t row = plumb_iota(g, PLUMB_F64, PLUMB_SHAPE(height, 1, 1, 1), offset * stride, stride);
    const plumb_shape grid = PLUMB_SHAPE(height, width, 1, 1);
    plumb_t x = plumb_expand(g, column, grid), y = plumb_expand(g, row, grid);
    plumb_t shift = plumb_concat(g, (plumb_t[]){x, y, x, y}, 4, -1);
    plumb_t boxes = plumb_cast(g, plumb_add(g, shift, around), dtype);
    return plumb_reshape(g, boxes, PLUMB_SHAPE(height * width * each, 4));
}
