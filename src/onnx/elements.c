/* Element-wise operators of one operand, with what parameters they take. */
#include "onnx/onnx.h"

#include <math.h>

static plumb_status unary(struct onnx_node *q)
{
    onnx_out(q, 0, q->row->with.one(q->g, onnx_in(q, 0)));
    return PLUMB_OK;
}

static plumb_t same(plumb_graph *g, plumb_t x)
{
    (void)g;
    return x;
}

static double nonzero(double value) /* zero in place of a default */
{
    return value == 0 ? PLUMB_ZERO : value;
}

static plumb_status elu(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 1);
    onnx_out(q, 0, alpha == 0 ? plumb_relu(q->g, onnx_in(q, 0)) : plumb_elu(q->g, onnx_in(q, 0), alpha));
    return PLUMB_OK;
}

static plumb_status celu(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 1);
    if (alpha == 0) {
        return onnx_refuse(q, "alpha", "is 0");
    }
    onnx_out(q, 0, plumb_celu(q->g, onnx_in(q, 0), alpha));
    return PLUMB_OK;
}

/* gamma x where x is positive, else gamma alpha (e^x - 1). */
static plumb_status selu(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 1.67326319217681884765625), gamma = onnx_float(q, "gamma", 1.05070102214813232421875);
    plumb_t x = onnx_in(q, 0);
    onnx_out(q, 0, plumb_affine(q->g, alpha == 0 ? plumb_relu(q->g, x) : plumb_elu(q->g, x, alpha), gamma, 0));
    return PLUMB_OK;
}

static plumb_status leaky_relu(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 0.01);
    onnx_out(q, 0, plumb_leaky_relu(q->g, onnx_in(q, 0), nonzero(alpha)));
    return PLUMB_OK;
}

static plumb_status hard_sigmoid(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", (double)0.2f), beta = onnx_float(q, "beta", 0.5);
    onnx_out(q, 0, plumb_hard_sigmoid(q->g, onnx_in(q, 0), alpha, beta));
    return PLUMB_OK;
}

static plumb_status thresholded_relu(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 1);
    onnx_out(q, 0, plumb_thresholded_relu(q->g, onnx_in(q, 0), alpha));
    return PLUMB_OK;
}

static plumb_status shrink(struct onnx_node *q)
{
    double threshold = onnx_float(q, "lambd", 0.5), bias = onnx_float(q, "bias", 0);
    onnx_out(q, 0, plumb_shrink(q->g, onnx_in(q, 0), threshold, bias));
    return PLUMB_OK;
}

static plumb_status gelu(struct onnx_node *q)
{
    bool rough = strcmp(onnx_text(q, "approximate", "none"), "tanh") == 0;
    onnx_out(q, 0, rough ? plumb_gelu_tanh(q->g, onnx_in(q, 0)) : plumb_gelu(q->g, onnx_in(q, 0)));
    return PLUMB_OK;
}

static plumb_status is_inf(struct onnx_node *q)
{
    bool negative = onnx_int(q, "detect_negative", 1) != 0, positive = onnx_int(q, "detect_positive", 1) != 0;
    onnx_out(q, 0, plumb_is_inf(q->g, onnx_in(q, 0), positive, negative));
    return PLUMB_OK;
}


/* Limits are attributes until opset 10, then inputs of which either may be left out. */
static plumb_status clip(struct onnx_node *q)
{
    plumb_t x = onnx_in(q, 0);
    if (q->opset < 11) {
        double low = onnx_float(q, "min", -INFINITY), high = onnx_float(q, "max", INFINITY);
        onnx_out(q, 0, plumb_clamp(q->g, x, low, high));
    } else {
        plumb_t low = onnx_in(q, 1), high = onnx_in(q, 2);
        onnx_out(q, 0, low || high ? plumb_clamp_between(q->g, x, low, high) : x);
    }
    return PLUMB_OK;
}

static void cast_to(struct onnx_node *q, plumb_dtype to, bool boolean)
{
    plumb_t x = onnx_in(q, 0);
    onnx_out(q, 0, boolean ? plumb_not_equal(q->g, x, plumb_full_like(q->g, x, 0))
                           : onnx_dtype(q, 0) == to ? x : plumb_cast(q->g, x, to));
    q->out[0].boolean = boolean;
}

static plumb_status cast(struct onnx_node *q)
{
    int32_t type = (int32_t)onnx_int(q, "to", 0);
    bool boolean = false;
    plumb_dtype to = plumb_onnx_dtype(type, &boolean);
    if (!to) {
        return onnx_refuse(q, "to", "%s not supported", plumb_onnx_type_name(type));
    }
    cast_to(q, to, boolean);
    return PLUMB_OK;
}

static plumb_status cast_like(struct onnx_node *q)
{
    cast_to(q, onnx_dtype(q, 1), q->in[1]->boolean);
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"Abs", 6, 0, 1, 1, unary, {plumb_abs}, false},
    {"Acos", 7, 0, 1, 1, unary, {plumb_acos}, false},
    {"Acosh", 9, 0, 1, 1, unary, {plumb_acosh}, false},
    {"Asin", 7, 0, 1, 1, unary, {plumb_asin}, false},
    {"Asinh", 9, 0, 1, 1, unary, {plumb_asinh}, false},
    {"Atan", 7, 0, 1, 1, unary, {plumb_atan}, false},
    {"Atanh", 9, 0, 1, 1, unary, {plumb_atanh}, false},
    {"BitwiseNot", 18, 0, 1, 1, unary, {plumb_bitwise_not}, false},
    {"Cast", 6, 0, 1, 1, cast, {NULL}, false},
    {"CastLike", 15, 0, 2, 2, cast_like, {NULL}, false},
    {"Ceil", 6, 0, 1, 1, unary, {plumb_ceil}, false},
    {"Celu", 12, 0, 1, 1, celu, {NULL}, false},
    {"Clip", 6, 0, 1, 3, clip, {NULL}, false},
    {"Cos", 7, 0, 1, 1, unary, {plumb_cos}, false},
    {"Cosh", 9, 0, 1, 1, unary, {plumb_cosh}, false},
    {"Elu", 6, 0, 1, 1, elu, {NULL}, false},
    {"Erf", 9, 0, 1, 1, unary, {plumb_erf}, false},
    {"Exp", 6, 0, 1, 1, unary, {plumb_exp}, false},
    {"Floor", 6, 0, 1, 1, unary, {plumb_floor}, false},
    {"Gelu", 20, 0, 1, 1, gelu, {NULL}, false},
    {"HardSigmoid", 6, 0, 1, 1, hard_sigmoid, {NULL}, false},
    {"HardSwish", 14, 0, 1, 1, unary, {plumb_hard_swish}, false},
    {"Identity", 1, 0, 1, 1, unary, {same}, false},
    {"IsInf", 10, 0, 1, 1, is_inf, {NULL}, false},
    {"IsNaN", 9, 0, 1, 1, unary, {plumb_is_nan}, false},
    {"LeakyRelu", 6, 0, 1, 1, leaky_relu, {NULL}, false},
    {"Log", 6, 0, 1, 1, unary, {plumb_log}, false},
    {"Mish", 18, 0, 1, 1, unary, {plumb_mish}, false},
    {"Neg", 6, 0, 1, 1, unary, {plumb_neg}, false},
    {"Not", 1, 0, 1, 1, unary, {plumb_logical_not}, false},
    {"Reciprocal", 6, 0, 1, 1, unary, {plumb_reciprocal}, false},
    {"Relu", 6, 0, 1, 1, unary, {plumb_relu}, false},
    {"Round", 11, 0, 1, 1, unary, {plumb_round}, false},
    {"Selu", 6, 0, 1, 1, selu, {NULL}, false},
    {"Shrink", 9, 0, 1, 1, shrink, {NULL}, false},
    {"Sigmoid", 6, 0, 1, 1, unary, {plumb_sigmoid}, false},
    {"Sign", 9, 0, 1, 1, unary, {plumb_sign}, false},
    {"Sin", 7, 0, 1, 1, unary, {plumb_sin}, false},
    {"Sinh", 9, 0, 1, 1, unary, {plumb_sinh}, false},
    {"Softplus", 1, 0, 1, 1, unary, {plumb_softplus}, false},
    {"Softsign", 1, 0, 1, 1, unary, {plumb_softsign}, false},
    {"Sqrt", 6, 0, 1, 1, unary, {plumb_sqrt}, false},
    {"Tan", 7, 0, 1, 1, unary, {plumb_tan}, false},
    {"Tanh", 6, 0, 1, 1, unary, {plumb_tanh}, false},
    {"ThresholdedRelu", 10, 0, 1, 1, thresholded_relu, {NULL}, false},
};
const struct onnx_family plumb_onnx_elements = {rows, sizeof(rows) / sizeof(rows[0])};
