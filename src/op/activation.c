/* Activations as part of other ops, and the way back through one.
 *
 * Decided here: an activation that another op may carry is monotonous, at most 1 steep, and its derivative follows from
 * its result, so the value before it need never exist. Fused forms have gradients like any op: activation_backward's
 * relatives first, then the rule of the op without its activation.
 *
 * activation_backward is what training makes of an activation over a bias: the gradient before the activation, which the
 * products read, and its sum over everything but the bias's axis, in one pass. */
#include "op/attr.h"

static const struct {
    const plumb_op *forward, *backward;
} activations[] = {
    [PLUMB_ACTIVATION_NONE] = {NULL, NULL},
    [PLUMB_ACTIVATION_RELU] = {&plumb_op_relu, &plumb_op_relu_backward},
    [PLUMB_ACTIVATION_SIGMOID] = {&plumb_op_sigmoid, &plumb_op_sigmoid_backward},
    [PLUMB_ACTIVATION_TANH] = {&plumb_op_tanh, &plumb_op_tanh_backward},
};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

int plumb_activation_of(const plumb_op *op)
{
    for (int a = 0; a < ACTIVATIONS; a++)
        if (activations[a].forward == op || activations[a].backward == op)
            return a;
    return PLUMB_ACTIVATION_NONE;
}

static bool known(int activation)
{
    return activation >= 0 && activation < ACTIVATIONS;
}

plumb_status plumb_need_activation(const plumb_infer *q, int activation)
{
    return known(activation) ? PLUMB_OK : plumb_refuse(q, "there is no activation %d", activation);
}

void plumb_print_activation(int activation, struct plumb_text *text)
{
    bool first = text->length == 0 || strchr(" [", text->data[text->length - 1]);
    if (activation != PLUMB_ACTIVATION_NONE && known(activation))
        plumb_text_add(text, "%sactivation=%s", first ? "" : " ", activations[activation].forward->name);
}

plumb_t plumb_activation_gradient(plumb_graph *graph, int activation, plumb_t y, plumb_t dy)
{
    const plumb_op *backward = activations[activation].backward;
    return backward ? plumb_emit(graph, backward, NULL, (const plumb_t[]){y, dy}, 2) : dy;
}

plumb_t plumb_activation_branch(plumb_graph *graph, int activation, plumb_t y)
{
    return activation == PLUMB_ACTIVATION_RELU ? plumb_sign(graph, y) : PLUMB_NONE;
}

/* ---- activation_backward ---- */

static plumb_status infer_backward(plumb_infer *q)
{
    const plumb_attr_activation *attr = q->attr;
    int axis = attr->axis;
    if (plumb_need_float(q, 0) || plumb_need_same_dtype(q, 0, 1) || plumb_need_same_shape(q, 0, 1) ||
        plumb_need_activation(q, attr->activation) || plumb_need_axis(q, q->in[0].shape.rank, &axis))
        return PLUMB_BAD_INPUT;
    if (attr->activation == PLUMB_ACTIVATION_NONE)
        return plumb_refuse(q, "no activation to go back through");
    q->out[0] = q->in[0];
    q->out[1] = (plumb_type){.dtype = q->in[0].dtype, .shape = {.rank = 1, .dim = {q->in[0].shape.dim[axis]}}};
    return PLUMB_OK;
}

/* What reaches dx: its own gradient, and that of dbias for every element of its channel. */
static plumb_t reaching(const plumb_grad *q)
{
    const plumb_attr_activation *attr = q->attr;
    plumb_graph *g = q->graph;
    int rank = plumb_shape_of(g, q->in[0]).rank, axis = attr->axis + (attr->axis < 0 ? rank : 0);
    if (q->dout[1] == PLUMB_NONE)
        return q->dout[0];
    plumb_shape behind = {.rank = rank - axis, .dim = {PLUMB_INFER}}; /* (channels, 1, ..): aligned at the right */
    for (int d = 1; d < behind.rank; d++)
        behind.dim[d] = 1;
    plumb_t channels = plumb_expand_like(g, plumb_reshape(g, q->dout[1], behind), q->in[0]);
    return q->dout[0] == PLUMB_NONE ? channels : plumb_add(g, q->dout[0], channels);
}

/* dx is linear in dy. By y it is dy times the second derivative of the activation over the first: of sigmoid 1 - 2 y,
 * of tanh -2 y, of relu none. */
static plumb_status gradient_backward(plumb_grad *q)
{
    const plumb_attr_activation *attr = q->attr;
    plumb_graph *g = q->graph;
    plumb_t d = reaching(q), dy = q->in[0], y = q->in[1];
    if (q->want[0])
        q->din[0] = plumb_activation_gradient(g, attr->activation, y, d);
    if (attr->activation == PLUMB_ACTIVATION_RELU)
        q->din[1] = PLUMB_NO_GRADIENT;
    else if (q->want[1])
        q->din[1] = plumb_mul(g, plumb_mul(g, d, dy),
                              plumb_affine(g, y, -2, attr->activation == PLUMB_ACTIVATION_SIGMOID ? 1 : 0));
    return PLUMB_OK;
}

static int over_dy(const void *attr, int output)
{
    (void)attr;
    return output == 0 ? 0 : -1;
}

/* The derivative times dy, added up. */
static double flops_backward(const plumb_call *call) { return 2 * (double)plumb_view_count(&call->in[0]); }

static double terms_backward(const plumb_call *call)
{
    int64_t channels = call->out[1].dim[0];
    return channels ? (double)(plumb_view_count(&call->in[0]) / channels) : 0;
}

static plumb_t branch_backward(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out)
{
    (void)out;
    return plumb_activation_branch(graph, ((const plumb_attr_activation *)attr)->activation, in[1]);
}

static void print_backward(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_activation *attr = opaque;
    plumb_print_activation(attr->activation, text);
    plumb_text_add(text, " axis=%d", attr->axis);
}

const plumb_op plumb_op_activation_backward = {
    .name = "activation_backward",
    .min_in = 2,
    .max_in = 2,
    .n_out = 2,
    .attr_size = sizeof(plumb_attr_activation),
    .flags = PLUMB_OP_BACKWARD,
    .infer = infer_backward,
    .gradient = gradient_backward,
    .in_place = over_dy,
    .flops = flops_backward,
    .terms = terms_backward,
    .tolerance = PLUMB_TOL_DOT,
    .branch = branch_backward,
    .print = print_backward,
    .precision = PLUMB_PRECISION_FOLLOW,
    .pictures = 0x3 | 0x1 << 16, /* dy, y, dx */
};
