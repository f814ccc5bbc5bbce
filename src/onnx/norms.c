/* Normalisations. Running statistics of a batch norm are state, but none that an optimiser changes. */
#include "onnx/onnx.h"

static double nonzero(double value)
{
    return value == 0 ? PLUMB_ZERO : value;
}

/* As ONNX defines it, with its own second and third output: y, running mean and variance after the batch. */
static plumb_status trained_batch_norm(struct onnx_node *q, double epsilon, double momentum)
{
    plumb_shape s = onnx_shape(q, 0), channel = {.rank = s.rank};
    int axes[PLUMB_MAX_RANK], n = 0;
    for (int i = 0; i < s.rank; i++) {
        channel.dim[i] = i == 1 ? s.dim[1] : 1;
        if (i != 1) {
            axes[n++] = i;
        }
    }
    plumb_t x = onnx_in(q, 0), p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = onnx_in(q, 1 + i);
    }
    plumb_t mean = plumb_mean(q->g, x, axes, n, true), variance = plumb_variance(q->g, x, axes, n, 0, true);
    plumb_t scale = plumb_mul(q->g, plumb_rsqrt(q->g, plumb_affine(q->g, variance, 1, epsilon)), plumb_reshape(q->g, p[0], channel));
    onnx_out(q, 0, plumb_add(q->g, plumb_mul(q->g, plumb_sub(q->g, x, mean), scale), plumb_reshape(q->g, p[1], channel)));
    for (int i = 0; i < 2; i++) {
        plumb_t batch = plumb_reshape(q->g, i ? variance : mean, PLUMB_SHAPE(s.dim[1]));
        onnx_out(q, 1 + i, plumb_add(q->g, plumb_affine(q->g, p[2 + i], momentum, 0), plumb_affine(q->g, batch, 1 - momentum, 0)));
    }
    return PLUMB_OK;
}

static plumb_status batch_norm(struct onnx_node *q)
{
    double epsilon = onnx_float(q, "epsilon", (double)1e-5f), momentum = onnx_float(q, "momentum", (double)0.9f);
    if (!(epsilon >= 0) || !(momentum >= 0 && momentum <= 1)) {
        return onnx_refuse(q, epsilon >= 0 ? "momentum" : "epsilon", "is out of range");
    }
    if (onnx_shape(q, 0).rank < 2) {
        return onnx_refuse(q, NULL, "x has no channels");
    }
    if (q->opset >= 14 && onnx_int(q, "training_mode", 0) != 0) {
        return trained_batch_norm(q, epsilon, momentum);
    }
    if (onnx_wants(q, 1)) {
        return onnx_refuse(q, NULL, "further outputs belong to training_mode");
    }
    plumb_t x = onnx_in(q, 0), scale = onnx_in(q, 1), shift = onnx_in(q, 2), mean = onnx_in(q, 3), variance = onnx_in(q, 4);
    for (int i = 3; !q->folding && i < 5; i++) {
        if (q->in[i]->parameter) {
            plumb_set_frozen(q->g, q->in[i]->tensor, true);
        }
    }
    bool state = q->in[3]->parameter && q->in[4]->parameter && !q->folding;
    const plumb_batch_norm_options o = {.size = sizeof(o), .epsilon = nonzero(epsilon), .momentum = nonzero(1 - momentum),
                                        .biased_running = true, .fixed = !state};
    onnx_out(q, 0, plumb_batch_norm(q->g, x, scale, shift, mean, variance, &o));
    return PLUMB_OK;
}

static plumb_status instance_norm(struct onnx_node *q)
{
    double epsilon = onnx_float(q, "epsilon", (double)1e-5f);
    onnx_out(q, 0, plumb_instance_norm(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2), nonzero(epsilon)));
    return PLUMB_OK;
}

static plumb_status group_norm(struct onnx_node *q)
{
    double epsilon = onnx_float(q, "epsilon", (double)1e-5f);
    int64_t groups = onnx_int(q, "num_groups", 0);
    onnx_out(q, 0, plumb_group_norm(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2), groups, nonzero(epsilon)));
    return PLUMB_OK;
}

static plumb_status layer_norm(struct onnx_node *q)
{
    double epsilon = onnx_float(q, "epsilon", (double)1e-5f);
    plumb_shape s = onnx_shape(q, 0);
    int axis = onnx_axis(q, onnx_int(q, "axis", -1), s.rank), axes[PLUMB_MAX_RANK];
    if (axis < 0) {
        return q->failed;
    }
    plumb_t x = onnx_in(q, 0);
    onnx_out(q, 0, plumb_layer_norm(q->g, x, onnx_in(q, 1), onnx_in(q, 2), axis, nonzero(epsilon)));
    for (int i = axis; i < s.rank; i++) {
        axes[i - axis] = i;
    }
    if (onnx_wants(q, 1)) {
        onnx_out(q, 1, plumb_mean(q->g, x, axes, s.rank - axis, true));
    }
    if (onnx_wants(q, 2)) {
        plumb_t variance = plumb_variance(q->g, x, axes, s.rank - axis, 0, true);
        onnx_out(q, 2, plumb_rsqrt(q->g, plumb_affine(q->g, variance, 1, epsilon)));
    }
    return PLUMB_OK;
}

static plumb_status lrn(struct onnx_node *q)
{
    const plumb_lrn_options o = {.size = sizeof(o), .channels = onnx_int(q, "size", 0), .longer_after = true,
                                 .alpha = nonzero(onnx_float(q, "alpha", 1e-4)), .beta = nonzero(onnx_float(q, "beta", 0.75)),
                                 .bias = nonzero(onnx_float(q, "bias", 1))};
    onnx_out(q, 0, plumb_lrn(q->g, onnx_in(q, 0), &o));
    return PLUMB_OK;
}

/* (x - mean) / deviation over the axes, default 0, 2, 3. */
static plumb_status mean_variance(struct onnx_node *q)
{
    int axes[PLUMB_MAX_RANK] = {0, 2, 3}, n = -1;
    plumb_status status = onnx_axes(q, 1, ONNX_NEWEST + 1, onnx_shape(q, 0).rank, axes, &n);
    if (status) {
        return status;
    }
    n = n < 0 ? 3 : n;
    plumb_t x = onnx_in(q, 0), mean = plumb_mean(q->g, x, axes, n, true);
    plumb_t deviation = plumb_affine(q->g, plumb_deviation(q->g, x, axes, n, 0, true), 1, 1e-9);
    onnx_out(q, 0, plumb_div(q->g, plumb_sub(q->g, x, mean), deviation));
    return PLUMB_OK;
}

static plumb_status lp_norm(struct onnx_node *q)
{
    double p = (double)onnx_int(q, "p", 2);
    int axis = onnx_axis(q, onnx_int(q, "axis", -1), onnx_shape(q, 0).rank);
    if (axis < 0) {
        return q->failed;
    }
    plumb_t x = onnx_in(q, 0);
    onnx_out(q, 0, plumb_div(q->g, x, plumb_norm(q->g, x, p, PLUMB_AXES(axis), true)));
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"BatchNormalization", 6, 0, 5, 5, batch_norm, {NULL}, false},
    {"GroupNormalization", 21, 0, 3, 3, group_norm, {NULL}, false},
    {"InstanceNormalization", 6, 0, 3, 3, instance_norm, {NULL}, false},
    {"LRN", 1, 0, 1, 1, lrn, {NULL}, false},
    {"LayerNormalization", 17, 0, 2, 3, layer_norm, {NULL}, false},
    {"LpNormalization", 1, 0, 1, 1, lp_norm, {NULL}, false},
    {"MeanVarianceNormalization", 9, 0, 1, 1, mean_variance, {NULL}, false},
};
const struct onnx_family plumb_onnx_norms = {rows, sizeof(rows) / sizeof(rows[0])};
