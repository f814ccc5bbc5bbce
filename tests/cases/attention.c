/* Cases of attention: tiles that are full and that are not, one of everything, more keys than queries and fewer, wide values,
 * masks of both kinds stretched along every dimension, causal ones, rows that see nothing, nothing at all. On the way back
 * y and lse need not belong to the rest: they are inputs like any other. */
#include "cases.h"

#include <math.h>
#include <stdio.h>

enum mask { NO_MASK, ADDED, HIDDEN };

static const struct attention {
    const char *label;
    int64_t n, h, t, s, d, e;
    double scale;
    bool causal;
    enum mask mask;
    int64_t mask_dim[4]; /* 0: the full size */
    bool big;            /* in f32 and f64 only, and not for the gradient check: it would take minutes */
} sizes[] = {
    {"one of each", 1, 1, 1, 1, 1, 1, 1, false, NO_MASK, {0}, false},
    {"two keys", 1, 1, 1, 2, 3, 2, 0.5, false, NO_MASK, {0}, false},
    {"few", 2, 2, 3, 4, 2, 3, 0.7, false, NO_MASK, {0}, false},
    {"more queries", 1, 2, 5, 2, 3, 1, 1, false, NO_MASK, {0}, false},
    {"negative scale", 1, 1, 3, 3, 2, 2, -0.5, false, NO_MASK, {0}, false},
    {"causal", 1, 2, 4, 4, 2, 2, 0.6, true, NO_MASK, {0}, false},
    {"causal, more keys", 1, 1, 3, 5, 2, 2, 0.6, true, NO_MASK, {0}, false},
    {"causal, more queries", 1, 1, 5, 3, 2, 2, 0.6, true, NO_MASK, {0}, false},
    {"added", 2, 1, 3, 4, 2, 2, 0.8, false, ADDED, {0}, false},
    {"added to all heads", 2, 2, 3, 3, 2, 2, 0.8, false, ADDED, {1, 1, 0, 0}, false},
    {"added to keys", 2, 2, 2, 3, 2, 2, 0.8, false, ADDED, {0, 1, 1, 0}, false},
    {"added to queries, causal", 1, 2, 3, 3, 2, 2, 0.8, true, ADDED, {1, 0, 0, 1}, false},
    {"hidden", 2, 2, 3, 5, 2, 2, 0.8, false, HIDDEN, {0}, false},
    {"hidden keys", 3, 1, 2, 6, 2, 2, 0.8, false, HIDDEN, {0, 1, 1, 0}, false},
    {"hidden, causal", 1, 2, 4, 5, 2, 2, 0.8, true, HIDDEN, {1, 1, 0, 0}, false},
    {"ragged tiles", 1, 2, 19, 37, 35, 21, 0.17, false, NO_MASK, {0}, true},
    {"ragged tiles, causal", 2, 1, 35, 33, 16, 16, 0.25, true, NO_MASK, {0}, true},
    {"ragged tiles, hidden", 1, 1, 21, 67, 8, 17, 0.35, false, HIDDEN, {0}, true},
    {"ragged tiles, added", 1, 2, 18, 40, 9, 5, 0.3, true, ADDED, {1, 0, 0, 0}, true},
    {"wide", 1, 1, 3, 5, 140, 150, 0.08, false, NO_MASK, {0}, true},
    {"many keys", 1, 1, 2, 300, 4, 3, 0.5, false, NO_MASK, {0}, true},
    {"many rows", 1, 1, 150, 6, 4, 3, 0.5, false, HIDDEN, {1, 1, 1, 0}, true},
    {"no batch", 0, 2, 3, 4, 2, 3, 1, false, NO_MASK, {0}, false},
    {"no queries", 2, 1, 0, 4, 2, 3, 1, false, NO_MASK, {0}, false},
    {"no keys", 1, 2, 3, 0, 2, 3, 1, false, NO_MASK, {0}, false},
    {"no features", 1, 2, 3, 4, 0, 3, 1, false, NO_MASK, {0}, false},
    {"no values", 1, 2, 3, 4, 2, 0, 1, true, NO_MASK, {0}, false},
};

static plumb_attr_attention attr_of(const struct attention *a)
{
    plumb_attr_attention attr;
    memset(&attr, 0, sizeof attr);
    attr.scale = a->scale;
    attr.causal = a->causal;
    return attr;
}

static void add_mask(op_case *one, const struct attention *a)
{
    plumb_shape shape = PLUMB_SHAPE(a->n, a->h, a->t, a->s);
    for (int d = 0; d < 4; d++)
        shape.dim[d] = a->mask_dim[d] ? a->mask_dim[d] : shape.dim[d];
    if (a->mask == ADDED)
        one->in[one->n_in++] = floats(shape);
    if (a->mask == HIDDEN)
        one->in[one->n_in++] = integers(PLUMB_U8, shape, 0, 2);
}

static void common(op_case *one, const struct attention *a)
{
    bool empty = a->n * a->h * a->t * a->s * a->d * a->e == 0;
    one->no_gradient = a->big || a->s == 0 || (a->causal && a->mask == HIDDEN); /* rows that see nothing: lse is infinite */
    one->dtypes = a->big ? PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64) : 0;
    one->mostly_zero = empty;
    one->zero_gradient = empty ? ~0u : 0;
}

static op_case forward(const struct attention *a)
{
    plumb_attr_attention attr = attr_of(a);
    op_case one = make_case(&plumb_op_attention, &attr, "%s", a->label);
    one.in[0] = floats(PLUMB_SHAPE(a->n, a->h, a->t, a->d));
    one.in[1] = floats(PLUMB_SHAPE(a->n, a->h, a->s, a->d));
    one.in[2] = floats(PLUMB_SHAPE(a->n, a->h, a->s, a->e));
    one.n_in = 3;
    add_mask(&one, a);
    common(&one, a);
    return one;
}

/* lse is f32 beside bf16 and f16: a case of its own. */
static op_case backward_in(const struct attention *a, bool low)
{
    plumb_attr_attention attr = attr_of(a);
    op_case one = make_case(&plumb_op_attention_backward, &attr, "%s%s", a->label, low ? ", low" : ""), from = forward(a);
    memcpy(one.in, from.in, sizeof *one.in * 3);
    one.in[3] = floats(PLUMB_SHAPE(a->n, a->h, a->t, a->e));
    one.in[4] = floats_in(PLUMB_SHAPE(a->n, a->h, a->t), 1, 4);
    one.in[4].dtype = low ? PLUMB_F32 : 0;
    one.in[5] = floats(PLUMB_SHAPE(a->n, a->h, a->t, a->e));
    one.n_in = 6;
    add_mask(&one, a);
    common(&one, a);
    one.dtypes = low ? PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16) : PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64);
    return one;
}

static op_case backward(const struct attention *a) { return backward_in(a, false); }

static void refuse(case_list *list, op_case one, const char *label)
{
    snprintf(one.label, sizeof one.label, "%s", label);
    one.expect = PLUMB_BAD_INPUT;
    one.dtypes = PLUMB_BIT(PLUMB_F32);
    add_case(list, &one);
}

static void add_refusals(case_list *list, op_case (*make)(const struct attention *), int mask)
{
    op_case one = make(&sizes[2]);
    one.in[0].shape = PLUMB_SHAPE(3, 2);
    refuse(list, one, "q of rank 2");
    one = make(&sizes[2]);
    one.in[1].shape.dim[3]++;
    refuse(list, one, "k of other features");
    one = make(&sizes[2]);
    one.in[2].shape.dim[2]++;
    refuse(list, one, "v of other keys");
    one = make(&sizes[2]);
    one.in[1].dtype = PLUMB_F64;
    refuse(list, one, "dtypes differ");
    one = make(&sizes[8]);
    one.in[mask].shape.dim[3]++;
    refuse(list, one, "mask of other keys");
    one = make(&sizes[8]);
    one.in[mask].dtype = PLUMB_I32;
    refuse(list, one, "mask of i32");
    one = make(&sizes[2]);
    ((plumb_attr_attention *)one.attr)->scale = NAN;
    refuse(list, one, "no scale");
}

void cases_attention(case_list *list)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        op_case one = forward(&sizes[i]);
        add_case(list, &one);
        for (int low = 0; low < 2 && !(low && sizes[i].big); low++) {
            one = backward_in(&sizes[i], low);
            add_case(list, &one);
        }
    }
    /* queries 0 and 2 see nothing; query 1 one key */
    static const double seen[] = {0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1}, added[] = {-INFINITY, -INFINITY, 0, -INFINITY, 1, 2};
    static const struct attention blind = {"hides whole rows", 1, 1, 4, 3, 2, 2, 1, false, HIDDEN, {0}, false};
    static const struct attention lowered = {"minus infinity", 1, 1, 3, 2, 2, 2, 1, false, ADDED, {0}, false};
    for (int back = 0; back < 2; back++) {
        op_case one = back ? backward(&blind) : forward(&blind);
        one.in[one.n_in - 1] = (case_input){.shape = PLUMB_SHAPE(1, 1, 4, 3), .fill = CASE_GIVEN, .given = seen, .dtype = PLUMB_U8};
        one.no_gradient = true; /* lse is +inf in two rows, from which no difference can be taken */
        add_case(list, &one);
        one = back ? backward(&lowered) : forward(&lowered);
        one.in[one.n_in - 1] = (case_input){.shape = PLUMB_SHAPE(1, 1, 3, 2), .fill = CASE_GIVEN, .given = added};
        one.no_gradient = true;
        add_case(list, &one);
        add_refusals(list, back ? backward : forward, back ? 6 : 3);
    }
}
