/* Losses of embeddings: how near vectors lie that belong together, and how far apart others.
 *
 * Decided here:
 * - Distances of pairs are computed from differences, with PyTorch's 1e-6 added to each where they are not squared, so
 *   that equal vectors have a gradient. Distances of all pairs of a batch are |a|^2 + |b|^2 - 2 a b, one product instead
 *   of N x N x D differences, never below 0; where that is 0 its root has the gradient 0.
 * - Mining takes an anchor's examples by label. What has no positive or no negative counts for nothing. Semi-hard mining
 *   compares every pair with every negative, which is N x N x N numbers for a batch of N.
 * - Cosines are of norms that are at least 1e-8 (PyTorch), so that a zero vector has cosine and gradient 0. */
#include "op/loss.h"

#include <math.h>

static const double apart = 1e-6, least_norm = 1e-8;

static plumb_t last_sum(plumb_graph *g, plumb_t x) { return plumb_sum(g, x, PLUMB_AXES(-1), false); }

static plumb_t distance(plumb_graph *g, plumb_t a, plumb_t b, bool squared)
{
    plumb_t difference = plumb_sub(g, a, b);
    if (squared)
        return last_sum(g, plumb_square(g, difference));
    return plumb_loss_root(g, last_sum(g, plumb_square(g, plumb_affine(g, difference, 1, apart))));
}

static bool has_features(plumb_graph *g, const char *name, plumb_t x, int least, int most)
{
    plumb_shape shape = plumb_shape_of(g, x);
    char text[160];
    if (plumb_graph_status(g) == PLUMB_OK && shape.rank >= least && shape.rank <= most)
        return true;
    plumb_poison(g, "%s: input %s has another rank than expected, features lie along the last dimension", name,
                 plumb_shape_text(&shape, text, sizeof text));
    return false;
}

plumb_t plumb_triplet(plumb_graph *g, plumb_t anchor, plumb_t positive, plumb_t negative, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    if (!plumb_loss_reduces(g, "triplet", o.reduce) || !has_features(g, "triplet", anchor, 1, PLUMB_MAX_RANK) ||
        !plumb_loss_alike(g, "triplet", positive, anchor) || !plumb_loss_alike(g, "triplet", negative, anchor))
        return PLUMB_NONE;
    plumb_t gap = plumb_sub(g, distance(g, anchor, positive, o.squared), distance(g, anchor, negative, o.squared));
    plumb_t loss = plumb_relu(g, plumb_affine(g, gap, 1, plumb_loss_default(o.margin, 1)));
    return plumb_loss_reduced(g, loss, o.weights, o.reduce);
}

plumb_t plumb_contrastive(plumb_graph *g, plumb_t a, plumb_t b, plumb_t same, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    if (!plumb_loss_reduces(g, "contrastive", o.reduce) || !has_features(g, "contrastive", a, 1, PLUMB_MAX_RANK) ||
        !plumb_loss_alike(g, "contrastive", a, b))
        return PLUMB_NONE;
    plumb_t squared = distance(g, a, b, true), d = plumb_loss_root(g, squared);
    if (!plumb_loss_alike(g, "contrastive", d, same))
        return PLUMB_NONE;
    plumb_t near = plumb_square(g, plumb_relu(g, plumb_affine(g, d, -1, plumb_loss_default(o.margin, 1))));
    plumb_t sum = plumb_add(g, plumb_mul(g, same, squared), plumb_mul(g, plumb_affine(g, same, -1, 1), near));
    return plumb_loss_reduced(g, plumb_affine(g, sum, 0.5, 0), o.weights, o.reduce);
}

plumb_t plumb_pairwise_distance(plumb_graph *g, plumb_t a, plumb_t b, bool squared)
{
    if (!has_features(g, "pairwise_distance", a, 2, 2) || !has_features(g, "pairwise_distance", b, 2, 2))
        return PLUMB_NONE;
    plumb_t rows = plumb_sum(g, plumb_square(g, a), PLUMB_AXES(1), true);
    plumb_t columns = plumb_reshape(g, last_sum(g, plumb_square(g, b)), PLUMB_SHAPE(1, PLUMB_INFER));
    plumb_t twice = plumb_affine(g, plumb_matmul(g, a, b, false, true), -2, 0);
    plumb_t d = plumb_relu(g, plumb_add(g, plumb_add(g, rows, columns), twice));
    return squared ? d : plumb_loss_root(g, d);
}

/* (N, N), u8: of one label; and how many of the row are, and are not */
typedef struct pairs { plumb_t distance, same, alike, others; } pairs;

static bool find_pairs(plumb_graph *g, const char *name, plumb_t x, plumb_t labels, bool squared, pairs *to)
{
    plumb_shape embeddings = plumb_shape_of(g, x), shape = plumb_shape_of(g, labels);
    if (!has_features(g, name, x, 2, 2))
        return false;
    if (shape.rank != 1 || !plumb_dims_agree(shape.dim[0], embeddings.dim[0])) {
        char first[160], second[160];
        plumb_poison(g, "%s: embeddings %s and labels %s, expected (N, features) and (N)", name,
                     plumb_shape_text(&embeddings, first, sizeof first), plumb_shape_text(&shape, second, sizeof second));
        return false;
    }
    plumb_t column = plumb_reshape(g, labels, PLUMB_SHAPE(PLUMB_INFER, 1)), row = plumb_reshape(g, labels, PLUMB_SHAPE(1, PLUMB_INFER));
    to->distance = plumb_pairwise_distance(g, x, x, squared);
    to->same = plumb_equal(g, column, row);
    plumb_t one = plumb_cast(g, to->same, plumb_dtype_of(g, x));
    to->alike = last_sum(g, one);
    to->others = last_sum(g, plumb_affine(g, one, -1, 1));
    return true;
}

/* 1 where x > least, of x's dtype */
static plumb_t beyond(plumb_graph *g, plumb_t x, double least)
{
    return plumb_cast(g, plumb_less(g, plumb_full_like(g, x, least), x), plumb_dtype_of(g, x));
}

plumb_t plumb_triplet_hard(plumb_graph *g, plumb_t embeddings, plumb_t labels, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    pairs p;
    if (!plumb_loss_reduces(g, "triplet_hard", o.reduce) ||
        !find_pairs(g, "triplet_hard", embeddings, labels, o.squared, &p))
        return PLUMB_NONE;
    plumb_t none = plumb_full_like(g, p.distance, 0), far = plumb_full_like(g, p.distance, INFINITY);
    plumb_t positive = plumb_max(g, plumb_where(g, p.same, p.distance, none), PLUMB_AXES(1), false);
    plumb_t negative = plumb_min(g, plumb_where(g, p.same, far, p.distance), PLUMB_AXES(1), false);
    plumb_t loss = plumb_relu(g, plumb_affine(g, plumb_sub(g, positive, negative), 1, plumb_loss_default(o.margin, 1)));
    plumb_t counts = plumb_mul(g, beyond(g, p.alike, 1), beyond(g, p.others, 0)); /* an anchor is its own first positive */
    return plumb_loss_reduced(g, loss, plumb_loss_product(g, counts, o.weights), o.reduce);
}

plumb_t plumb_triplet_semi_hard(plumb_graph *g, plumb_t embeddings, plumb_t labels, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    pairs p;
    if (!plumb_loss_reduces(g, "triplet_semi_hard", o.reduce) ||
        !find_pairs(g, "triplet_semi_hard", embeddings, labels, o.squared, &p))
        return PLUMB_NONE;
    /* (anchor, positive, 1) beside (anchor, 1, negative) */
    plumb_t to_positive = plumb_unsqueeze(g, p.distance, PLUMB_AXES(2)), to_negative = plumb_unsqueeze(g, p.distance, PLUMB_AXES(1));
    plumb_t alike = plumb_unsqueeze(g, p.same, PLUMB_AXES(1)), beside = plumb_less_equal(g, to_negative, to_positive);
    plumb_t all = plumb_expand_like(g, to_negative, beside), far = plumb_full_like(g, all, INFINITY);
    plumb_t nearest = plumb_min(g, plumb_where(g, plumb_logical_or(g, alike, beside), far, all), PLUMB_AXES(2), false);
    plumb_t none = plumb_full_like(g, p.distance, 0);
    plumb_t farthest = plumb_max(g, plumb_where(g, p.same, none, p.distance), PLUMB_AXES(1), true); /* where none is beyond */
    plumb_t is_beyond = plumb_is_finite(g, nearest);
    plumb_t negative = plumb_where(g, is_beyond, nearest, plumb_expand_like(g, farthest, nearest));
    plumb_t loss = plumb_relu(g, plumb_affine(g, plumb_sub(g, p.distance, negative), 1, plumb_loss_default(o.margin, 1)));
    plumb_t itself = plumb_equal(g, plumb_iota_like(g, PLUMB_I64, p.distance, 0, 1),
                                 plumb_transpose(g, plumb_iota_like(g, PLUMB_I64, p.distance, 0, 1), NULL));
    plumb_t counts = plumb_cast(g, plumb_logical_and(g, p.same, plumb_logical_not(g, itself)), plumb_dtype_of(g, p.distance));
    counts = plumb_mul(g, counts, plumb_unsqueeze(g, beyond(g, p.others, 0), PLUMB_AXES(1)));
    return plumb_loss_reduced(g, loss, plumb_loss_product(g, counts, o.weights), o.reduce);
}

plumb_t plumb_cosine_similarity(plumb_graph *g, plumb_t a, plumb_t b, int axis)
{
    if (!plumb_loss_alike(g, "cosine_similarity", a, b))
        return PLUMB_NONE;
    plumb_t product = plumb_sum(g, plumb_mul(g, a, b), &axis, 1, false), x[] = {a, b};
    for (int i = 0; i < 2; i++) {
        plumb_t norm = plumb_sum(g, plumb_square(g, x[i]), &axis, 1, false);
        product = plumb_mul(g, product, plumb_rsqrt(g, plumb_clamp(g, norm, least_norm * least_norm, INFINITY)));
    }
    return product;
}

plumb_t plumb_cosine_embedding(plumb_graph *g, plumb_t a, plumb_t b, plumb_t targets, const plumb_loss_options *options)
{
    const plumb_loss_options o = plumb_loss_read(options);
    if (!plumb_loss_reduces(g, "cosine_embedding", o.reduce))
        return PLUMB_NONE;
    plumb_t cosine = plumb_cosine_similarity(g, a, b, -1);
    if (!plumb_loss_alike(g, "cosine_embedding", cosine, targets))
        return PLUMB_NONE;
    plumb_t positive = plumb_less(g, plumb_full_like(g, targets, 0), targets);
    plumb_t loss = plumb_where(g, positive, plumb_affine(g, cosine, -1, 1), plumb_relu(g, plumb_affine(g, cosine, 1, -o.margin)));
    return plumb_loss_reduced(g, loss, o.weights, o.reduce);
}
