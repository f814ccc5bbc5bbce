/* Local response normalisation (Krizhevsky et al. 2012) over x (N, C, S): y = x d^-beta, d = bias + alpha/size times the sum of
 * the squares of `size` neighbouring channels; channels there are not count as 0.
 *
 * Decided here:
 * - The window of channel c is c - before .. c + after. Where size is even, PyTorch's has one more before, ONNX's one more
 *   after: both can be said. alpha is divided by size, as both do (the paper does not).
 * - Backward computes d again from x, so nothing is kept for it. Its own gradient is that of the op written out, with an
 *   average over channels. */
#include "op/compose.h"
#include "op/forms.h"

#include <math.h>

static plumb_status infer(plumb_infer *q)
{
    const plumb_attr_lrn *attr = q->attr;
    if (plumb_need_float(q, 0) || plumb_need_rank(q, 0, 3))
        return PLUMB_BAD_INPUT;
    if (attr->before < 0 || attr->after < 0 || attr->before > INT32_MAX || attr->after > INT32_MAX)
        return plumb_refuse(q, "a window of %lld channels before and %lld after", (long long)attr->before,
                            (long long)attr->after);
    if (!isfinite(attr->scale) || !isfinite(attr->beta) || !isfinite(attr->bias))
        return plumb_refuse(q, "alpha, beta and bias are expected to be finite");
    if (q->n_in > 1 && (plumb_need_same_dtype(q, 0, 1) || plumb_need_same_shape(q, 0, 1)))
        return PLUMB_BAD_INPUT;
    q->out[0] = q->in[0];
    return PLUMB_OK;
}

static plumb_status gradient(plumb_grad *q)
{
    const plumb_t in[] = {q->in[0], q->dout[0]};
    q->din[0] = plumb_emit(q->graph, &plumb_op_lrn_backward, q->attr, in, 2);
    return PLUMB_OK;
}

static plumb_t composed(plumb_graph *g, const plumb_attr_lrn *attr, plumb_t x)
{
    plumb_shape s = plumb_shape_of(g, x);
    const int64_t size = attr->before + attr->after + 1;
    const plumb_pool2d_options window = {.size = sizeof window, .window = {size, 1}, .stride = {1, 1},
                                         .padding = {attr->before, 0, attr->after, 0}};
    plumb_t squares = plumb_laid(g, "lrn", plumb_square(g, x), PLUMB_SHAPE(s.dim[0], 1, s.dim[1], s.dim[2]));
    plumb_t d = plumb_affine(g, plumb_average_pool2d(g, squares, &window), attr->scale * (double)size, attr->bias);
    d = plumb_reshape_like(g, d, x);
    return plumb_mul(g, x, plumb_pow(g, d, plumb_full_like(g, d, -attr->beta)));
}

static plumb_status gradient_backward(plumb_grad *q)
{
    plumb_t in[2], y, dx = PLUMB_NONE;
    plumb_shape s = plumb_shape_of(q->graph, q->in[0]);
    if (plumb_shape_count(&s) == 0) { /* nothing to average */
        for (int i = 0; i < 2; i++)
            q->din[i] = plumb_full_like(q->graph, q->in[i], 0);
        return PLUMB_OK;
    }
    for (int i = 0; i < 2; i++)
        in[i] = plumb_fresh(q->graph, q->in[i]);
    y = composed(q->graph, q->attr, in[0]);
    plumb_status status = plumb_gradients_from(q->graph, &y, &in[1], 1, &in[0], 1, &dx);
    return status ? status : plumb_through(q, in, &dx, q->dout);
}

/* ---- facts ---- */

static double window(const plumb_call *call)
{
    const plumb_attr_lrn *attr = call->attr;
    return (double)(attr->before + attr->after + 1);
}

static double flops(const plumb_call *call)
{
    return (2 * window(call) + 4) * (double)plumb_view_count(&call->in[0]) * call->n_in;
}

static void print_lrn(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_lrn *a = opaque;
    plumb_text_add(text, "channels=-%lld..%lld scale=%g beta=%g bias=%g", (long long)a->before, (long long)a->after, a->scale,
                   a->beta, a->bias);
}

const plumb_op plumb_op_lrn = {
    .name = "lrn",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_lrn),
    .infer = infer,
    .gradient = gradient,
    .flops = flops,
    .terms = window,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_lrn,
    .precision = PLUMB_PRECISION_FOLLOW,
};

const plumb_op plumb_op_lrn_backward = {
    .name = "lrn_backward",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_lrn),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer,
    .gradient = gradient_backward,
    .flops = flops,
    .terms = window,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_lrn,
    .precision = PLUMB_PRECISION_FOLLOW,
};

plumb_t plumb_lrn(plumb_graph *g, plumb_t x, const plumb_lrn_options *options)
{
    plumb_lrn_options o;
    plumb_attr_lrn attr;
    char text[160];
    plumb_options_taken(&o, sizeof o, options);
    memset(&attr, 0, sizeof attr);
    if (plumb_graph_status(g) != PLUMB_OK || x == PLUMB_NONE)
        return plumb_poison(g, "lrn: no input");
    plumb_shape s = plumb_shape_of(g, x), places = s;
    if (s.rank < 2 || o.channels < 1)
        return plumb_poison(g, "lrn: input is %s, expected (N, C, ..), and a window of %lld channels, expected at least 1",
                            plumb_shape_text(&s, text, sizeof text), (long long)o.channels);
    attr.before = o.longer_after ? (o.channels - 1) / 2 : o.channels / 2;
    attr.after = o.channels - 1 - attr.before;
    attr.scale = plumb_chosen(o.alpha, 1e-4) / (double)o.channels;
    attr.beta = plumb_chosen(o.beta, 0.75);
    attr.bias = plumb_chosen(o.bias, 1);
    places.dim[0] = places.dim[1] = 1;
    int64_t count = plumb_shape_count(&places);
    plumb_t laid = plumb_laid(g, "lrn", x, PLUMB_SHAPE(s.dim[0], s.dim[1], count < 0 ? PLUMB_UNKNOWN : count));
    plumb_t y = laid ? plumb_emit(g, &plumb_op_lrn, &attr, &laid, 1) : PLUMB_NONE;
    return y ? plumb_reshape_like(g, y, x) : PLUMB_NONE;
}
