/* Costs of pictures: style transfer's (Gatys et al. 2015) and total variation.
 *
 * Decided here: all are per example, (N), so that several pictures may be optimised at once. The Gram matrix is not
 * normalised; the style cost divides by 4 C^2 (H W)^2, the content cost by 4 C H W. Total variation is made of forward
 * differences; a pixel without a neighbour on one side has no difference there. */
#include "op/loss.h"

static bool is_picture(plumb_graph *g, const char *name, plumb_t x, int64_t size[3])
{
    plumb_shape shape = plumb_shape_of(g, x);
    bool known = plumb_graph_status(g) == PLUMB_OK && shape.rank == 4;
    for (int i = 0; known && i < 3; i++) {
        size[i] = shape.dim[i + 1];
        known = size[i] > 0;
    }
    char text[160];
    if (!known)
        plumb_poison(g, "%s: input %s, expected (N, C, H, W) with known C, H and W", name,
                     plumb_shape_text(&shape, text, sizeof text));
    return known;
}

/* C x H x W <= 2^53 for any tensor that fits into memory */
static double product(const int64_t *size, int n)
{
    double all = 1;
    for (int i = 0; i < n; i++)
        all *= (double)size[i];
    return all;
}

plumb_t plumb_gram_matrix(plumb_graph *g, plumb_t x)
{
    int64_t size[3];
    if (!is_picture(g, "gram_matrix", x, size))
        return PLUMB_NONE;
    plumb_t rows = plumb_reshape(g, x, PLUMB_SHAPE(PLUMB_INFER, size[0], size[1] * size[2]));
    return plumb_matmul(g, rows, rows, false, true);
}

plumb_t plumb_content_cost(plumb_graph *g, plumb_t content, plumb_t generated)
{
    int64_t size[3];
    if (!is_picture(g, "content_cost", generated, size) || !plumb_loss_alike(g, "content_cost", generated, content))
        return PLUMB_NONE;
    plumb_t sum = plumb_sum(g, plumb_square(g, plumb_sub(g, generated, content)), PLUMB_AXES(1, 2, 3), false);
    return plumb_affine(g, sum, 1 / (4 * product(size, 3)), 0);
}

plumb_t plumb_style_cost(plumb_graph *g, plumb_t style, plumb_t generated)
{
    int64_t size[3];
    if (!is_picture(g, "style_cost", generated, size))
        return PLUMB_NONE;
    plumb_t difference = plumb_sub(g, plumb_gram_matrix(g, generated), plumb_gram_matrix(g, style));
    double all = product(size, 3);
    return plumb_affine(g, plumb_sum(g, plumb_square(g, difference), PLUMB_AXES(1, 2), false), 1 / (4 * all * all), 0);
}

/* Rows from..to and columns left..right of x; negative ones count from the end, and PLUMB_END is the end. */
static plumb_t window(plumb_graph *g, plumb_t x, int64_t from, int64_t to, int64_t left, int64_t right)
{
    return plumb_slice(g, x, (const int64_t[]){0, 0, from, left}, (const int64_t[]){PLUMB_END, PLUMB_END, to, right}, NULL);
}

static plumb_t total(plumb_graph *g, plumb_t x) { return plumb_sum(g, x, PLUMB_AXES(1, 2, 3), false); }

plumb_t plumb_total_variation(plumb_graph *g, plumb_t x, bool isotropic)
{
    int64_t size[3];
    if (!is_picture(g, "total_variation", x, size))
        return PLUMB_NONE;
    plumb_t down = plumb_sub(g, window(g, x, 1, PLUMB_END, 0, PLUMB_END), window(g, x, 0, -1, 0, PLUMB_END));
    plumb_t right = plumb_sub(g, window(g, x, 0, PLUMB_END, 1, PLUMB_END), window(g, x, 0, PLUMB_END, 0, -1));
    if (!isotropic)
        return plumb_add(g, total(g, plumb_abs(g, down)), total(g, plumb_abs(g, right)));
    plumb_t inner = plumb_add(g, plumb_square(g, window(g, down, 0, PLUMB_END, 0, -1)),
                              plumb_square(g, window(g, right, 0, -1, 0, PLUMB_END)));
    plumb_t edge = plumb_add(g, total(g, plumb_abs(g, window(g, down, 0, PLUMB_END, -1, PLUMB_END))),
                             total(g, plumb_abs(g, window(g, right, -1, PLUMB_END, 0, PLUMB_END))));
    return plumb_add(g, total(g, plumb_loss_root(g, inner)), edge);
}
