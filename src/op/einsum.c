/* Products written as equations (einsum), and the small relatives of matmul: dot, outer, gemm. All are compositions: of views,
 * sums, matmul, and mul where nothing is summed over.
 *
 * einsum keeps a running operand, whose dimensions have labels, and takes the others in one after the other. Of two operands,
 * labels that one alone has and nobody needs later are summed first. What is left is shared and needed later (a batch), shared
 * and not needed (contracted), or of one operand (free); matmul multiplies (batch, free, contracted) by (batch, contracted,
 * free), each kind of label laid side by side. A size of 1 that meets another is dropped, for its one value stretches. */
#include "op/forms.h"

#include <stdio.h>

enum { MOST_LABELS = PLUMB_MAX_RANK, DOTS = 256 }; /* labels are letters; DOTS + k: the dots' k-th dimension from the right */

struct term {
    plumb_t t;
    int rank;
    int label[MOST_LABELS];
};

static int find(const struct term *a, int label)
{
    for (int i = 0; i < a->rank; i++)
        if (a->label[i] == label)
            return i;
    return -1;
}

static int64_t size_at(plumb_graph *g, const struct term *a, int i) { return plumb_shape_of(g, a->t).dim[i]; }

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* ---- the equation ---- */

/* Labels of one subscript, up to `end`; dots stand for `dots` dimensions, and *has_dots says whether there were
 * any. false: malformed. */
static bool read_labels(const char *from, const char *end, int dots, struct term *to, bool *has_dots)
{
    to->rank = 0;
    *has_dots = false;
    for (const char *c = from; c < end; c++) {
        if (*c == ' ')
            continue;
        if (is_letter(*c)) {
            if (to->rank == MOST_LABELS)
                return false;
            to->label[to->rank++] = *c;
            continue;
        }
        if (*has_dots || end - c < 3 || memcmp(c, "...", 3) != 0 || to->rank + dots > MOST_LABELS)
            return false;
        *has_dots = true;
        c += 2;
        for (int k = dots - 1; k >= 0; k--)
            to->label[to->rank++] = DOTS + k;
    }
    return true;
}

static plumb_t bad(plumb_graph *g, const char *equation, const char *why)
{
    return plumb_poison(g, "einsum \"%.80s\": %s", equation, why);
}

/* Subscript of operand k into *to, whose tensor has the rank `rank`; *dots grows to the most dimensions of any dots. */
static bool read_operand(plumb_graph *g, const char *equation, const char *from, const char *end, int rank, struct term *to,
                         int *dots)
{
    bool has_dots;
    struct term letters;
    if (!read_labels(from, end, 0, &letters, &has_dots) || letters.rank > rank || (!has_dots && letters.rank != rank)) {
        char why[96];
        snprintf(why, sizeof why, "\"%.*s\" does not fit an operand of rank %d", (int)(end - from > 40 ? 40 : end - from), from,
                 rank);
        bad(g, equation, why);
        return false;
    }
    int own = rank - letters.rank;
    *dots = own > *dots ? own : *dots;
    return read_labels(from, end, own, to, &has_dots);
}

/* Without "->": the dots, then what occurs once, in the order of the alphabet. */
static bool implied(const struct term *x, int count, int dots, struct term *result)
{
    result->rank = 0;
    for (int k = dots - 1; k >= 0; k--)
        result->label[result->rank++] = DOTS + k;
    for (int c = 'A'; c <= 'z'; c++) {
        int seen = 0;
        for (int k = 0; k < count; k++)
            for (int i = 0; i < x[k].rank; i++)
                seen += x[k].label[i] == c;
        if (seen == 1 && result->rank == MOST_LABELS)
            return false;
        if (seen == 1)
            result->label[result->rank++] = c;
    }
    return true;
}

/* ---- one operand ---- */

/* Dimension order[i] becomes dimension i; labels follow. */
static void reorder(plumb_graph *g, struct term *a, const int *order)
{
    struct term from = *a;
    bool same = true;
    for (int i = 0; i < a->rank; i++) {
        a->label[i] = from.label[order[i]];
        same = same && order[i] == i;
    }
    a->t = same ? a->t : plumb_transpose(g, a->t, order);
}

static plumb_t with_shape(plumb_graph *g, plumb_t x, plumb_shape shape) { return plumb_laid(g, "einsum", x, shape); }

static void drop_axis(plumb_graph *g, struct term *a, int at, bool sum)
{
    if (sum) {
        a->t = plumb_sum(g, a->t, &at, 1, false);
    } else { /* of size 1 */
        plumb_shape s = plumb_shape_of(g, a->t);
        s.rank--;
        for (int i = at; i < s.rank; i++)
            s.dim[i] = s.dim[i + 1];
        a->t = with_shape(g, a->t, s);
    }
    a->rank--;
    for (int i = at; i < a->rank; i++)
        a->label[i] = a->label[i + 1];
}

/* A label twice: its diagonal. The two dimensions go to the end, (.., n, n) is (.., n n), of which every (n + 1)-th is taken. */
static bool diagonals(plumb_graph *g, const char *equation, struct term *a)
{
    for (int i = 0; i < a->rank; i++) {
        int order[MOST_LABELS], n = 0, twin = -1;
        for (int j = i + 1; j < a->rank; j++)
            twin = a->label[j] == a->label[i] ? j : twin;
        if (twin < 0)
            continue;
        int64_t size = size_at(g, a, i);
        if (size < 0 || size != size_at(g, a, twin))
            return bad(g, equation, "a diagonal of sizes that differ or are not known"), false;
        for (int j = 0; j < a->rank; j++)
            if (j != i && j != twin)
                order[n++] = j;
        order[n++] = i;
        order[n++] = twin;
        reorder(g, a, order);
        if (a->t == PLUMB_NONE)
            return false;
        a->rank--;
        plumb_shape s = plumb_shape_of(g, a->t);
        s.rank--;
        s.dim[s.rank - 1] = size * size;
        int64_t begin[PLUMB_MAX_RANK] = {0}, end[PLUMB_MAX_RANK], step[PLUMB_MAX_RANK];
        for (int j = 0; j < s.rank; j++) {
            end[j] = PLUMB_END;
            step[j] = j == s.rank - 1 ? size + 1 : 1;
        }
        a->t = plumb_slice(g, with_shape(g, a->t, s), begin, end, step);
        i = -1; /* labels moved: from the beginning */
        if (a->t == PLUMB_NONE)
            return false;
    }
    return true;
}

/* Sums over what neither `with` (NULL: nobody) nor `kept` has. */
static void sum_unneeded(plumb_graph *g, struct term *a, const struct term *with, const struct term *kept)
{
    for (int i = a->rank - 1; i >= 0; i--)
        if (find(kept, a->label[i]) < 0 && !(with && find(with, a->label[i]) >= 0))
            drop_axis(g, a, i, true);
}

/* ---- two operands ---- */

/* Labels of a that are of a kind: shared with b or not, kept or not. */
static int labels_of(const struct term *a, const struct term *b, const struct term *kept, bool shared, bool is_kept, int *to)
{
    int n = 0;
    for (int i = 0; i < a->rank; i++)
        if ((find(b, a->label[i]) >= 0) == shared && (!shared || (find(kept, a->label[i]) >= 0) == is_kept))
            to[n++] = a->label[i];
    return n;
}

/* Sizes that meet: equal, or one of them is 1 and its label dropped. */
static bool meet_sizes(plumb_graph *g, const char *equation, struct term *a, struct term *b)
{
    for (int i = a->rank - 1; i >= 0; i--) {
        int j = find(b, a->label[i]);
        int64_t x = size_at(g, a, i), y = j < 0 ? x : size_at(g, b, j);
        if (x == y)
            continue;
        if (x == 1 || y == 1)
            drop_axis(g, x == 1 ? a : b, x == 1 ? i : j, false);
        else if (!plumb_dims_agree(x, y))
            return bad(g, equation, "sizes of one label differ"), false;
    }
    return true;
}

struct kinds {
    int batch[MOST_LABELS], inner[MOST_LABELS], a_free[MOST_LABELS], b_free[MOST_LABELS];
    int n_batch, n_inner, n_a, n_b;
};

/* a's dimensions in this order of labels. */
static void arrange(plumb_graph *g, struct term *a, const int *first, int n_first, const int *second, int n_second,
                    const int *third, int n_third)
{
    int order[MOST_LABELS], n = 0;
    for (int i = 0; i < n_first; i++)
        order[n++] = find(a, first[i]);
    for (int i = 0; i < n_second; i++)
        order[n++] = find(a, second[i]);
    for (int i = 0; i < n_third; i++)
        order[n++] = find(a, third[i]);
    reorder(g, a, order);
}

static bool ends_with(const struct term *a, const int *label, int n)
{
    for (int i = 0; i < n; i++)
        if (a->label[a->rank - n + i] != label[i])
            return false;
    return true;
}

/* a, whose dimensions are batch, n_rows and the rest, as (batch.., rows, columns). */
static plumb_t as_matrices(plumb_graph *g, const struct term *a, int n_batch, int n_rows)
{
    plumb_shape s = plumb_shape_of(g, a->t), to = {.rank = n_batch + 2};
    for (int i = 0; i < n_batch; i++)
        to.dim[i] = s.dim[i];
    to.dim[n_batch] = to.dim[n_batch + 1] = 1;
    for (int i = n_batch; i < a->rank; i++) {
        int64_t *side = &to.dim[n_batch + (i >= n_batch + n_rows)];
        *side = plumb_dims_product(*side, s.dim[i]);
    }
    return a->rank == to.rank && n_rows == 1 ? a->t : with_shape(g, a->t, to);
}

static void contract(plumb_graph *g, struct term *a, struct term *b, const struct kinds *k)
{
    plumb_shape shape = {.rank = k->n_batch + k->n_a + k->n_b};
    bool b_turned = ends_with(b, k->inner, k->n_inner) && k->n_b > 0;
    arrange(g, a, k->batch, k->n_batch, k->a_free, k->n_a, k->inner, k->n_inner);
    if (b_turned) /* as it lies: matmul turns it */
        arrange(g, b, k->batch, k->n_batch, k->b_free, k->n_b, k->inner, k->n_inner);
    else
        arrange(g, b, k->batch, k->n_batch, k->inner, k->n_inner, k->b_free, k->n_b);
    for (int i = 0; i < k->n_batch + k->n_a; i++)
        shape.dim[i] = size_at(g, a, i);
    for (int i = 0; i < k->n_b; i++)
        shape.dim[k->n_batch + k->n_a + i] = size_at(g, b, k->n_batch + (b_turned ? 0 : k->n_inner) + i);
    plumb_t left = as_matrices(g, a, k->n_batch, k->n_a);
    plumb_t right = as_matrices(g, b, k->n_batch, b_turned ? k->n_b : k->n_inner);
    if (left == PLUMB_NONE || right == PLUMB_NONE) {
        a->t = PLUMB_NONE;
        return;
    }
    a->t = plumb_matmul(g, left, right, false, b_turned);
    if (k->n_a != 1 || k->n_b != 1)
        a->t = a->t ? with_shape(g, a->t, shape) : PLUMB_NONE;
}

/* Nothing is summed: (batch, a's, 1..) times (batch, 1.., b's). */
static void spread(plumb_graph *g, struct term *a, struct term *b, const struct kinds *k)
{
    arrange(g, a, k->batch, k->n_batch, k->a_free, k->n_a, NULL, 0);
    arrange(g, b, k->batch, k->n_batch, k->b_free, k->n_b, NULL, 0);
    plumb_shape left = plumb_shape_of(g, a->t), right = plumb_shape_of(g, b->t), s = right;
    for (int i = 0; i < k->n_b; i++)
        left.dim[left.rank++] = 1;
    s.rank = k->n_batch + k->n_a + k->n_b;
    for (int i = 0; i < k->n_a; i++)
        s.dim[k->n_batch + i] = 1;
    for (int i = 0; i < k->n_b; i++)
        s.dim[k->n_batch + k->n_a + i] = right.dim[k->n_batch + i];
    plumb_t x = k->n_b > 0 ? with_shape(g, a->t, left) : a->t, y = k->n_a > 0 ? with_shape(g, b->t, s) : b->t;
    a->t = x && y ? plumb_mul(g, x, y) : PLUMB_NONE;
}

/* a := a times b, of which `kept` is needed later. */
static bool take_in(plumb_graph *g, const char *equation, struct term *a, struct term *b, const struct term *kept)
{
    struct kinds k;
    if (!meet_sizes(g, equation, a, b))
        return false;
    sum_unneeded(g, a, b, kept);
    sum_unneeded(g, b, a, kept);
    k.n_batch = labels_of(a, b, kept, true, true, k.batch);
    k.n_inner = labels_of(a, b, kept, true, false, k.inner);
    k.n_a = labels_of(a, b, kept, false, false, k.a_free);
    k.n_b = labels_of(b, a, kept, false, false, k.b_free);
    if (k.n_inner > 0 && k.n_batch + 2 > PLUMB_MAX_RANK)
        return bad(g, equation, "a product on the way has more than 8 dimensions"), false;
    if (k.n_inner > 0)
        contract(g, a, b, &k);
    else
        spread(g, a, b, &k);
    a->rank = 0;
    for (int i = 0; i < k.n_batch; i++)
        a->label[a->rank++] = k.batch[i];
    for (int i = 0; i < k.n_a; i++)
        a->label[a->rank++] = k.a_free[i];
    for (int i = 0; i < k.n_b; i++)
        a->label[a->rank++] = k.b_free[i];
    return a->t != PLUMB_NONE;
}

/* Whether the result or an operand from `first` on has the label. */
static bool needed(const struct term *x, int first, int count, const struct term *result, int label)
{
    bool is_needed = find(result, label) >= 0;
    for (int k = first; k < count; k++)
        is_needed = is_needed || find(&x[k], label) >= 0;
    return is_needed;
}

/* Of the labels of x[0] and x[k] those that are needed after them; false: more than a tensor has dimensions. */
static bool find_kept(const struct term *x, int k, int count, const struct term *result, struct term *kept)
{
    kept->rank = 0;
    for (int side = 0; side < 2; side++) {
        const struct term *t = &x[side ? k : 0];
        for (int i = 0; i < t->rank; i++) {
            if (find(kept, t->label[i]) >= 0 || !needed(x, k + 1, count, result, t->label[i]))
                continue;
            if (kept->rank == MOST_LABELS)
                return false;
            kept->label[kept->rank++] = t->label[i];
        }
    }
    return true;
}

/* ---- builders ---- */

enum { MOST_OPERANDS = 16 };

/* Fills the operands and the result from the equation. */
static bool read_equation(plumb_graph *g, const char *equation, const plumb_t *tensor, int count, struct term *x,
                          struct term *result)
{
    const char *arrow = strstr(equation, "->"), *end = arrow ? arrow : equation + strlen(equation), *from = equation;
    int dots = 0;
    bool has_dots;
    for (int k = 0; k < count; k++) {
        const char *comma = memchr(from, ',', (size_t)(end - from));
        const char *stop = k + 1 < count && comma ? comma : end;
        if ((k + 1 < count) != (comma != NULL))
            return bad(g, equation, "as many subscripts as operands, with commas between them, are expected"), false;
        x[k].t = tensor[k];
        if (!read_operand(g, equation, from, stop, plumb_shape_of(g, tensor[k]).rank, &x[k], &dots))
            return false;
        from = stop + 1;
    }
    if (!arrow)
        return implied(x, count, dots, result) || (bad(g, equation, "a result of more than 8 dimensions"), false);
    if (!read_labels(arrow + 2, equation + strlen(equation), dots, result, &has_dots))
        return bad(g, equation, "the result is malformed"), false;
    for (int i = 0; i < result->rank; i++) {
        bool known = false;
        for (int k = 0; k < count; k++)
            known = known || find(&x[k], result->label[i]) >= 0;
        if (!known || find(result, result->label[i]) != i)
            return bad(g, equation, "the result has a label twice, or one that no operand has"), false;
    }
    return true;
}

plumb_t plumb_einsum(plumb_graph *g, const char *equation, const plumb_t *tensor, int count)
{
    struct term x[MOST_OPERANDS], result, kept;
    int order[MOST_LABELS];
    if (plumb_graph_status(g) != PLUMB_OK)
        return PLUMB_NONE;
    if (!equation || count < 1 || count > MOST_OPERANDS)
        return plumb_poison(g, "einsum: %d operands, expected 1 to %d and an equation", count, MOST_OPERANDS);
    for (int k = 0; k < count; k++)
        if (tensor[k] == PLUMB_NONE)
            return bad(g, equation, "an operand is missing");
    if (!read_equation(g, equation, tensor, count, x, &result))
        return PLUMB_NONE;
    for (int k = 0; k < count; k++)
        if (!diagonals(g, equation, &x[k]))
            return PLUMB_NONE;
    for (int k = 1; k < count; k++) {
        if (!find_kept(x, k, count, &result, &kept))
            return bad(g, equation, "a product on the way has more than 8 dimensions");
        if (!take_in(g, equation, &x[0], &x[k], &kept))
            return PLUMB_NONE;
    }
    sum_unneeded(g, &x[0], NULL, &result);
    for (int i = 0; i < result.rank; i++)
        order[i] = find(&x[0], result.label[i]);
    if (x[0].t == PLUMB_NONE)
        return PLUMB_NONE;
    reorder(g, &x[0], order);
    return x[0].t;
}

plumb_t plumb_dot(plumb_graph *g, plumb_t a, plumb_t b) { return plumb_einsum(g, "i,i->", (const plumb_t[]){a, b}, 2); }
plumb_t plumb_outer(plumb_graph *g, plumb_t a, plumb_t b) { return plumb_einsum(g, "i,j->ij", (const plumb_t[]){a, b}, 2); }

plumb_t plumb_gemm(plumb_graph *g, plumb_t a, plumb_t b, plumb_t c, double alpha, double beta, bool transpose_a,
                   bool transpose_b)
{
    plumb_t y = plumb_matmul(g, a, b, transpose_a, transpose_b);
    if (alpha != 1)
        y = plumb_affine(g, y, alpha, 0);
    if (c == PLUMB_NONE || beta == 0)
        return y;
    return plumb_add(g, y, beta == 1 ? c : plumb_affine(g, c, beta, 0));
}
