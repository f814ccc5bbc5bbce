/* Reference random ops: the counter is the row-major position, whatever the strides, so a walk counts along. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

struct draw {
    uint64_t seed, step;
    uint32_t stream;
};

/* The key (2) = {seed, step} may be strided like any input. */
static struct draw draw_begin(const plumb_call *call, const plumb_view *key)
{
    const int64_t *k = key->data;
    return (struct draw){.seed = (uint64_t)k[0],
                         .step = (uint64_t)k[key->stride[0]],
                         .stream = ((const plumb_attr_random *)call->attr)->stream};
}

static uint32_t draw_word(const struct draw *d, int64_t element)
{
    return plumb_random_word(d->seed, d->stream, d->step, element);
}

static plumb_status run_dropout(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    double drop = ((const plumb_attr_random *)call->attr)->a, scale = 1 / (1 - drop);
    struct draw d = draw_begin(call, &call->in[1]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int a = walk_add(&w, x), b = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++) {
        bool keep = plumb_uniform_of_word(draw_word(&d, e)) >= drop;
        view_put(y, w.at[b], keep ? view_get(x, w.at[a]) * scale : 0);
    }
    return PLUMB_OK;
}

static plumb_status run_random_uniform(const plumb_call *call)
{
    const plumb_attr_random *attr = call->attr;
    const plumb_view *y = &call->out[0];
    double low = attr->a, high = attr->b;
    double below = fmax(low, high - 1.5 * plumb_dtype_epsilon(y->dtype) *
                                        fabs(high)); /* a number of y's type or two down */
    struct draw d = draw_begin(call, &call->in[0]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int at = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++) {
        view_put(y, w.at[at], low + (high - low) * plumb_uniform_of_word(draw_word(&d, e)));
        if (view_get(y, w.at[at]) >= high)
            view_put(y, w.at[at], below);
    }
    return PLUMB_OK;
}

static plumb_status run_random_normal(const plumb_call *call)
{
    const plumb_attr_random *attr = call->attr;
    const plumb_view *y = &call->out[0];
    struct draw d = draw_begin(call, &call->in[0]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int at = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++)
        view_put(y, w.at[at], attr->a + attr->b * plumb_normal_of_word(draw_word(&d, e)));
    return PLUMB_OK;
}

/* Words below p * 2^32, compared exactly. */
static plumb_status run_random_bernoulli(const plumb_call *call)
{
    const plumb_view *y = &call->out[0];
    double p = ((const plumb_attr_random *)call->attr)->a;
    struct draw d = draw_begin(call, &call->in[0]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int at = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++)
        view_put(y, w.at[at], plumb_uniform_of_word(draw_word(&d, e)) < p ? 1 : 0);
    return PLUMB_OK;
}

static plumb_status run_random_integers(const plumb_call *call)
{
    const plumb_attr_random *attr = call->attr;
    const plumb_view *y = &call->out[0];
    uint64_t range = (uint64_t)(attr->b - attr->a);
    struct draw d = draw_begin(call, &call->in[0]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int at = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++)
        view_put_int(y, w.at[at], (int64_t)attr->a + (int64_t)(draw_word(&d, e) * range >> 32));
    return PLUMB_OK;
}

static plumb_status run_bernoulli(const plumb_call *call)
{
    const plumb_view *p = &call->in[0], *y = &call->out[0];
    struct draw d = draw_begin(call, &call->in[1]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int a = walk_add(&w, p), b = walk_add(&w, y);
    for (int64_t e = 0; w.left > 0; walk_step(&w), e++) {
        double chance = view_get(p, w.at[a]);
        double one = plumb_uniform_of_word(draw_word(&d, e)) < chance ? 1 : 0;
        view_put(y, w.at[b], isnan(chance) ? chance : one);
    }
    return PLUMB_OK;
}

#define ROW(op_name, which_dtypes)                                                                           \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name, .name = "cpu.ref", .dtypes = (which_dtypes), .run = run_##op_name};

ROW(dropout, PLUMB_FLOATS)
ROW(random_uniform, PLUMB_FLOATS)
ROW(random_normal, PLUMB_FLOATS)
ROW(random_bernoulli, PLUMB_FLOATS)
ROW(random_integers, PLUMB_INTS)
ROW(bernoulli, PLUMB_FLOATS)
