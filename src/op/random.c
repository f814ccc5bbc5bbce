/* Random ops. Each reads the key tensor {seed, step} and carries a stream id of its own; element e (row-major, whatever
 * the strides) is made of the word plumb_random_word(seed, stream, step, e). So values are equal on every device, for
 * any thread count and after a resume, and change when the step does.
 *
 * Decided here:
 * - dropout keeps an element where its uniform number is >= drop and scales it by 1/(1 - drop) ("inverted";
 *   Srivastava et al. 2014), so inference is the identity. Its gradient is dropout of dy with the same stream and
 *   key, that is, the same mask: no mask is stored. A dropped element is 0 even if x is not finite there.
 * - bernoulli is 1 where the uniform number is below p, so never for p <= 0 and always for p >= 1. random_integers is
 *   low + floor(word * (high - low) / 2^32), in whole numbers. A permutation is the stable order of random words: two
 *   equal words (n^2 / 2^33 of them are to be expected) keep their order.
 * - random_uniform is low + (high - low) u in double, rounded once; what rounds up to `high` steps down to the
 *   numbers just below it, so the interval stays half open in narrow types. random_normal is mean +
 *   deviation z, z from the shared polynomial. */
#include "op/attr.h"

#include <math.h>

static plumb_status check_key(const plumb_infer *q, int input)
{
    const plumb_type *key = &q->in[input];
    if (key->dtype == PLUMB_I64 && key->shape.rank == 1 && plumb_dims_agree(key->shape.dim[0], 2))
        return PLUMB_OK;
    char text[160];
    return plumb_refuse(q, "the key must be i64 (2), got %s %s", plumb_dtype_name(key->dtype),
                        plumb_shape_text(&key->shape, text, sizeof text));
}

static plumb_status infer_dropout(plumb_infer *q)
{
    const plumb_attr_random *attr = q->attr;
    if (plumb_need_float(q, 0) || check_key(q, 1))
        return PLUMB_BAD_INPUT;
    if (!(attr->a >= 0 && attr->a < 1))
        return plumb_refuse(q, "the probability to drop, %g, is outside [0, 1)", attr->a);
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static plumb_status check_made(plumb_infer *q, bool floats)
{
    const plumb_attr_random *attr = q->attr;
    if (check_key(q, 0))
        return PLUMB_BAD_INPUT;
    if (plumb_dtype_is_float(attr->made.dtype) != floats || attr->made.dtype == PLUMB_NO_DTYPE)
        return plumb_refuse(q, "makes %s numbers, not %s", floats ? "floating" : "whole",
                            plumb_dtype_name(attr->made.dtype));
    plumb_shape shape = plumb_bound(q, attr->made.shape);
    if (shape.rank < 0 || shape.rank > PLUMB_MAX_RANK)
        return plumb_refuse(q, "rank %d", shape.rank);
    for (int i = 0; i < shape.rank; i++)
        if (shape.dim[i] < 0 && !plumb_is_symbol(shape.dim[i]))
            return plumb_refuse(q, "dimension %d is %lld", i, (long long)shape.dim[i]);
    q->out[0] = (plumb_type){.dtype = attr->made.dtype, .shape = shape};
    return PLUMB_OK;
}

static plumb_status infer_uniform(plumb_infer *q)
{
    const plumb_attr_random *attr = q->attr;
    if (check_made(q, true))
        return PLUMB_BAD_INPUT;
    if (!(attr->a <= attr->b) || !isfinite(attr->a) || !isfinite(attr->b))
        return plumb_refuse(q, "[%g, %g) is no interval", attr->a, attr->b);
    return PLUMB_OK;
}

static plumb_status infer_normal(plumb_infer *q)
{
    const plumb_attr_random *attr = q->attr;
    if (check_made(q, true))
        return PLUMB_BAD_INPUT;
    if (!isfinite(attr->a) || !isfinite(attr->b) || attr->b < 0)
        return plumb_refuse(q, "mean %g, standard deviation %g", attr->a, attr->b);
    return PLUMB_OK;
}

static plumb_status infer_made_bernoulli(plumb_infer *q)
{
    const plumb_attr_random *attr = q->attr;
    if (check_made(q, true))
        return PLUMB_BAD_INPUT;
    if (!(attr->a >= 0 && attr->a <= 1))
        return plumb_refuse(q, "the probability %g is outside [0, 1]", attr->a);
    return PLUMB_OK;
}

static plumb_status infer_integers(plumb_infer *q)
{
    const plumb_attr_random *attr = q->attr;
    if (check_made(q, false))
        return PLUMB_BAD_INPUT;
    if (!(fabs(attr->a) <= 0x1p53) || !(attr->b > attr->a) || !(attr->b - attr->a <= 0x1p32))
        return plumb_refuse(q, "[%.0f, %.0f) must hold 1 to 2^32 whole numbers", attr->a, attr->b);
    return PLUMB_OK;
}

static plumb_status infer_bernoulli(plumb_infer *q)
{
    q->out[0] = q->in[0];
    return plumb_need_float(q, 0) || check_key(q, 1) ? PLUMB_BAD_INPUT : PLUMB_OK;
}

static plumb_status gradient_dropout(plumb_grad *q)
{
    if (q->want[0])
        q->din[0] =
            plumb_emit(q->graph, &plumb_op_dropout, q->attr, (const plumb_t[]){q->dout[0], q->in[1]}, 2);
    q->din[1] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status no_gradient(plumb_grad *q)
{
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    return PLUMB_OK;
}

static plumb_status inference_dropout(plumb_rewrite *q)
{
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static int over_x(const void *attr, int output)
{
    (void)attr;
    return output == 0 ? 0 : -1;
}

/* Ten rounds of two multiplications make four words. */
static double flops_random(const plumb_call *call) { return 10.0 * (double)plumb_view_count(&call->out[0]); }

static void print_dropout(const void *attr, struct plumb_text *text)
{
    const plumb_attr_random *a = attr;
    plumb_text_add(text, "drop=%g stream=%u", a->a, a->stream);
}

static void print_range(const void *attr, struct plumb_text *text)
{
    const plumb_attr_random *a = attr;
    plumb_text_add(text, "%g %g stream=%u", a->a, a->b, a->stream);
}

const plumb_op plumb_op_dropout = {
    .name = "dropout",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_random),
    .flags = PLUMB_OP_RANDOM,
    .infer = infer_dropout,
    .gradient = gradient_dropout,
    .in_place = over_x,
    .inference = inference_dropout,
    .flops = flops_random,
    .tolerance = PLUMB_TOL_SCALAR,
    .ulps = 2,
    .print = print_dropout,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x1 | 0x1 << 16, /* x, y */
};

#define MADE(op_name, rule, how)                                                                             \
    const plumb_op plumb_op_##op_name = {                                                                    \
        .name = #op_name,                                                                                    \
        .typed = -1,                                                                                         \
        .min_in = 1,                                                                                         \
        .max_in = 1,                                                                                         \
        .n_out = 1,                                                                                          \
        .attr_size = sizeof(plumb_attr_random),                                                              \
        .flags = PLUMB_OP_RANDOM | PLUMB_OP_DTYPE,                                                           \
        .infer = rule,                                                                                       \
        .gradient = no_gradient,                                                                             \
        .flops = flops_random,                                                                               \
        .tolerance = how,                                                                                    \
        .print = print_range,                                                                                \
    };

MADE(random_uniform, infer_uniform, PLUMB_TOL_NORM)
MADE(random_normal, infer_normal, PLUMB_TOL_NORM)
MADE(random_bernoulli, infer_made_bernoulli, PLUMB_TOL_EXACT)
MADE(random_integers, infer_integers, PLUMB_TOL_EXACT)

static plumb_t itself(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)graph;
    (void)attr;
    (void)in;
    return out[0];
}

static void print_stream(const void *attr, struct plumb_text *text)
{
    plumb_text_add(text, "stream=%u", ((const plumb_attr_random *)attr)->stream);
}

const plumb_op plumb_op_bernoulli = {
    .name = "bernoulli",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_random),
    .flags = PLUMB_OP_RANDOM,
    .infer = infer_bernoulli,
    .gradient = no_gradient,
    .flops = flops_random,
    .tolerance = PLUMB_TOL_EXACT,
    .branch = itself,
    .print = print_stream,
};

plumb_t plumb_dropout(plumb_graph *g, plumb_t x, double drop)
{
    plumb_attr_random attr;
    memset(&attr, 0, sizeof attr);
    if (drop == 0)
        return x;
    attr.stream = plumb_next_stream(g);
    attr.a = drop;
    return plumb_emit(g, &plumb_op_dropout, &attr, (const plumb_t[]){x, plumb_random_key(g)}, 2);
}

static plumb_t draw(plumb_graph *g, const plumb_op *op, plumb_dtype dtype, const plumb_shape *shape, double a,
                    double b)
{
    plumb_attr_random attr;
    memset(&attr, 0, sizeof attr);
    if (shape->rank < 0 || shape->rank > PLUMB_MAX_RANK)
        return plumb_poison(g, "%s: rank %d is outside 0 to %d", op->name, shape->rank, PLUMB_MAX_RANK);
    attr.made.dtype = dtype;
    attr.made.shape.rank = shape->rank;
    memcpy(attr.made.shape.dim, shape->dim, sizeof shape->dim[0] * (size_t)shape->rank);
    attr.stream = plumb_next_stream(g);
    attr.a = a;
    attr.b = b;
    plumb_t key = plumb_random_key(g);
    return plumb_emit(g, op, &attr, &key, 1);
}

plumb_t plumb_random_uniform(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double low, double high)
{
    return draw(g, &plumb_op_random_uniform, dtype, &shape, low, high);
}

plumb_t plumb_random_normal(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double mean,
                            double deviation)
{
    return draw(g, &plumb_op_random_normal, dtype, &shape, mean, deviation);
}

plumb_t plumb_random_bernoulli(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double p)
{
    bool is_float = plumb_dtype_is_float(dtype);
    plumb_t y = draw(g, &plumb_op_random_bernoulli, is_float ? dtype : PLUMB_F32, &shape, p, 0);
    return is_float ? y : plumb_cast(g, y, dtype);
}

plumb_t plumb_random_integers(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, int64_t low, int64_t high)
{
    return draw(g, &plumb_op_random_integers, dtype, &shape, (double)low, (double)high);
}

plumb_t plumb_random_permutation(plumb_graph *g, int64_t n)
{
    plumb_t words = plumb_random_integers(g, PLUMB_I64, PLUMB_SHAPE(n), 0, (int64_t)1 << 32);
    return plumb_argsort(g, words, 0, false);
}

plumb_t plumb_random_uniform_like(plumb_graph *g, plumb_t x, double low, double high)
{
    plumb_shape shape = plumb_shape_of(g, x);
    return draw(g, &plumb_op_random_uniform, plumb_dtype_of(g, x), &shape, low, high);
}

plumb_t plumb_random_normal_like(plumb_graph *g, plumb_t x, double mean, double deviation)
{
    plumb_shape shape = plumb_shape_of(g, x);
    return draw(g, &plumb_op_random_normal, plumb_dtype_of(g, x), &shape, mean, deviation);
}

plumb_t plumb_bernoulli(plumb_graph *g, plumb_t p)
{
    plumb_attr_random attr;
    memset(&attr, 0, sizeof attr);
    attr.stream = plumb_next_stream(g);
    return plumb_emit(g, &plumb_op_bernoulli, &attr, (const plumb_t[]){p, plumb_random_key(g)}, 2);
}
