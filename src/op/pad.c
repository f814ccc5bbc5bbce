/* Padding, and cropping as padding by a negative number of elements.
 *
 * Decided here: along each dimension the result shows positions -before .. size + after - 1 of x. Those outside x are
 * `value`, or stand for an element of x: mirrored about the first and the last one, which are not repeated, the nearest
 * one, or as though x went on periodically. Reflection goes on beyond a second edge, as NumPy's; of a single element it
 * is that element. What is cropped on one side is still there to be mirrored on the other (PyTorch). A dimension without
 * elements can be padded with `value` only.
 *
 * The adjoint of padding with a value is cropping, which needs no op of its own; that of the other modes adds up what
 * every element stood for. */
#include "op/attr.h"

static const char *const mode_name[] = {"constant", "reflect", "edge", "wrap"};

static int64_t modulo(int64_t a, int64_t n) { return a % n < 0 ? a % n + n : a % n; }

int64_t plumb_pad_source(int mode, int64_t p, int64_t n)
{
    if (p >= 0 && p < n)
        return p;
    if (mode == PLUMB_PAD_CONSTANT)
        return -1;
    if (mode == PLUMB_PAD_EDGE || n == 1)
        return p < 0 ? 0 : n - 1;
    if (mode == PLUMB_PAD_WRAP)
        return modulo(p, n);
    int64_t period = 2 * (n - 1), q = modulo(p, period);
    return q < n ? q : period - q;
}

/* The shape of x when it is padded. */
static plumb_status padded(const plumb_infer *q, const plumb_shape *x, plumb_shape *y)
{
    enum { MOST = 1 << 30 }; /* sums of three such sizes are far from overflow */
    const plumb_attr_pad *attr = q->attr;
    char text[160];
    plumb_shape_text(x, text, sizeof text);
    if (attr->mode < PLUMB_PAD_CONSTANT || attr->mode > PLUMB_PAD_WRAP)
        return plumb_refuse(q, "mode %d is not one of plumb_pad_mode", (int)attr->mode);
    if (attr->rank != x->rank)
        return plumb_refuse(q, "paddings of %d dimensions do not fit the shape %s", (int)attr->rank, text);
    *y = *x;
    for (int d = 0; d < x->rank; d++) {
        int64_t before = attr->before[d], after = attr->after[d], n = x->dim[d];
        int64_t bound = (int64_t)MOST << 20;
        if (before > bound || before < -bound || after > bound || after < -bound)
            return plumb_refuse(q, "axis %d is padded by %lld and %lld", d, (long long)before, (long long)after);
        if (before == 0 && after == 0)
            continue;
        if (n >= 0 && n + before + after < 0)
            return plumb_refuse(q, "axis %d of shape %s has no %lld elements to crop", d, text,
                                (long long)-(before + after));
        if (n == 0 && attr->mode != PLUMB_PAD_CONSTANT && before + after > 0)
            return plumb_refuse(q, "axis %d of shape %s has no element to pad with (mode %s)", d, text,
                                mode_name[attr->mode]);
        y->dim[d] = n < 0 ? PLUMB_UNKNOWN : n + before + after;
    }
    return PLUMB_OK;
}

static plumb_status infer_pad(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    return padded(q, &q->in[0].shape, &q->out[0].shape);
}

static plumb_status infer_pad_backward(plumb_infer *q)
{
    plumb_shape x, y;
    if (plumb_lent_shape(q, &x) || padded(q, &x, &y) || plumb_need_float(q, 0) || plumb_need_made(q, 0, &y, "padding"))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

/* ---- gradients ---- */

static plumb_status pad_gradient(plumb_grad *q)
{
    plumb_attr_pad attr = *(const plumb_attr_pad *)q->attr;
    if (attr.mode == PLUMB_PAD_CONSTANT) {
        for (int d = 0; d < attr.rank; d++) {
            attr.before[d] = -attr.before[d];
            attr.after[d] = -attr.after[d];
        }
        attr.value = 0;
        q->din[0] = plumb_emit(q->graph, &plumb_op_pad, &attr, q->dout, 1);
    } else {
        attr.shape.rank = -1;
        q->din[0] =
            plumb_emit(q->graph, &plumb_op_pad_backward, &attr, (const plumb_t[]){q->dout[0], q->in[0]}, 2);
    }
    return PLUMB_OK;
}

static plumb_status pad_backward_gradient(plumb_grad *q)
{
    plumb_attr_pad attr = *(const plumb_attr_pad *)q->attr;
    for (int i = 1; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    memset(&attr.shape, 0, sizeof attr.shape);
    attr.value = 0;
    q->din[0] = plumb_emit(q->graph, &plumb_op_pad, &attr, q->dout, 1);
    return PLUMB_OK;
}

/* ---- rows ---- */

static double no_flops(const plumb_call *call)
{
    (void)call;
    return 0;
}

static double flops_sums(const plumb_call *call) { return (double)plumb_view_count(&call->in[0]); }

/* What one element may stand for, at most. */
static double terms_sums(const plumb_call *call)
{
    double terms = 1;
    for (int d = 0; d < call->out[0].rank; d++)
        terms *= call->in[0].dim[d] > call->out[0].dim[d] ? (double)call->in[0].dim[d] : 2;
    return terms;
}

static void print_pad(const void *attr, struct plumb_text *text)
{
    const plumb_attr_pad *a = attr;
    for (int d = 0; d < a->rank; d++)
        plumb_text_add(text, "%s%lld+%lld", d ? "," : "", (long long)a->before[d], (long long)a->after[d]);
    plumb_text_add(text, " %s", a->mode >= 0 && a->mode <= PLUMB_PAD_WRAP ? mode_name[a->mode] : "?");
    if (a->mode == PLUMB_PAD_CONSTANT)
        plumb_text_add(text, "=%g", a->value);
}

const plumb_op plumb_op_pad = {
    .name = "pad",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pad),
    .infer = infer_pad,
    .gradient = pad_gradient,
    .flops = no_flops,
    .tolerance = PLUMB_TOL_EXACT,
    .print = print_pad,
    .precision = PLUMB_PRECISION_FOLLOW,
};

const plumb_op plumb_op_pad_backward = {
    .name = "pad_backward",
    .min_in = 1,
    .max_in = 2,
    .n_out = 1,
    .attr_size = sizeof(plumb_attr_pad),
    .flags = PLUMB_OP_LIKE | PLUMB_OP_BACKWARD,
    .infer = infer_pad_backward,
    .gradient = pad_backward_gradient,
    .flops = flops_sums,
    .terms = terms_sums,
    .tolerance = PLUMB_TOL_DOT,
    .print = print_pad,
    .precision = PLUMB_PRECISION_FOLLOW,
};

plumb_t plumb_pad(plumb_graph *g, plumb_t x, const int64_t *before, const int64_t *after, plumb_pad_mode mode,
                  double value)
{
    plumb_attr_pad attr;
    memset(&attr, 0, sizeof attr);
    attr.rank = plumb_shape_of(g, x).rank;
    attr.mode = (int32_t)mode;
    attr.value = mode == PLUMB_PAD_CONSTANT ? value : 0;
    for (int d = 0; d < attr.rank; d++) {
        attr.before[d] = before ? before[d] : 0;
        attr.after[d] = after ? after[d] : 0;
    }
    return plumb_emit(g, &plumb_op_pad, &attr, &x, 1);
}
