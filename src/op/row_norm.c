/* Normalisation of each example by itself: layer norm (Ba et al. 2016), group and instance norm (Wu & He 2018, Ulyanov et
 * al. 2016) and RMS norm (Zhang & Sennrich 2019). All are one computation over x (N, C, S): each example's C channels are
 * cut into groups, and the values of a group, C/groups channels of S values each, are a row with a mean and a variance of
 * its own. Layer and RMS norm have one group and S = 1; builders lay tensors out so, which moves nothing.
 *
 * Decided here:
 * - y = (x - mean) invstd scale + shift with invstd = 1 / sqrt(variance + epsilon), the biased variance; of RMS norm
 *   y = x invstd scale with invstd = 1 / sqrt(mean(x^2) + epsilon). Scale and shift are (C) or left out.
 * - Training and inference are the same. A row of one value has variance 0: y is the shift. A row of no values has mean 0,
 *   and the invstd of a zero variance.
 * - Statistics (N, groups) are f32 for bf16 and f16, otherwise of x's dtype. Scale and shift have x's dtype, or are f32 where
 *   that is bf16 or f16.
 * - C must be known while the graph is built. */
#include "op/attr.h"
#include "op/compose.h"

#include <math.h>

enum { X, SCALE, SHIFT };               /* inputs of the forward forms */
enum { Y, INVSTD, MEAN };               /* their outputs; RMS norm has no mean */
enum { B_X, B_DY, B_INVSTD, B_REST };   /* inputs of the backward form; then mean, if centred, then scale, if affine */

static bool is_centred(const plumb_op *op) { return op != &plumb_op_rms_norm; }
static int scale_at(const plumb_attr_row_norm *attr) { return attr->affine ? B_REST + attr->centred : -1; }

/* ---- shape rules ---- */

static bool is_low(plumb_dtype dtype) { return plumb_dtype_size(dtype) == 2; }

static plumb_status check_x(const plumb_infer *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    const plumb_shape *x = &q->in[X].shape;
    char text[160];
    if (plumb_need_float(q, X) || plumb_need_rank(q, X, 3))
        return PLUMB_BAD_INPUT;
    if (!(attr->epsilon >= 0) || isinf(attr->epsilon))
        return plumb_refuse(q, "epsilon %g, expected a finite number that is not negative", attr->epsilon);
    if (x->dim[1] < 0)
        return plumb_refuse(q, "input is %s, expected a known number of channels",
                            plumb_shape_text(x, text, sizeof text));
    if (attr->groups < 1 || x->dim[1] % attr->groups != 0)
        return plumb_refuse(q, "%lld groups do not divide %lld channels", (long long)attr->groups,
                            (long long)x->dim[1]);
    return PLUMB_OK;
}

/* One number for each channel, of x's dtype or f32 for narrower data; inputs first..last alike. */
static plumb_status need_channels(const plumb_infer *q, int first, int last)
{
    char text[160];
    bool wider = first <= last && is_low(q->in[X].dtype) && q->in[first].dtype == PLUMB_F32;
    for (int i = first; i <= last; i++) {
        if (plumb_need_same_dtype(q, wider ? first : X, i) || plumb_need_rank(q, i, 1))
            return PLUMB_BAD_INPUT;
        if (!plumb_dims_agree(q->in[i].shape.dim[0], q->in[X].shape.dim[1]))
            return plumb_refuse(q, "input %d has shape %s, expected one number for each of %lld channels", i,
                                plumb_shape_text(&q->in[i].shape, text, sizeof text),
                                (long long)q->in[X].shape.dim[1]);
    }
    return PLUMB_OK;
}

/* (N, groups) */
static plumb_type statistics(const plumb_infer *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    plumb_dtype dtype = q->in[X].dtype;
    return (plumb_type){.dtype = is_low(dtype) ? PLUMB_F32 : dtype,
                        .shape = PLUMB_SHAPE(q->in[X].shape.dim[0], attr->groups)};
}

static plumb_status infer_forward(plumb_infer *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    if (check_x(q) || need_channels(q, SCALE, q->n_in - 1))
        return PLUMB_BAD_INPUT;
    if ((bool)attr->centred != is_centred(q->op))
        return plumb_refuse(q, "centred=%d does not fit the op", (int)attr->centred);
    q->out[Y] = q->in[X];
    for (int i = INVSTD; i < q->n_out; i++)
        q->out[i] = statistics(q);
    return PLUMB_OK;
}

static int outputs_backward(const void *attr, int n_in)
{
    (void)n_in;
    return 1 + ((const plumb_attr_row_norm *)attr)->affine;
}

static plumb_status infer_backward(plumb_infer *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    int scale = scale_at(attr), inputs = B_REST + attr->centred + (scale >= 0);
    plumb_type row = statistics(q);
    if (check_x(q) || plumb_need_same_dtype(q, X, B_DY) || plumb_need_same_shape(q, X, B_DY))
        return PLUMB_BAD_INPUT;
    if (q->n_in != inputs || attr->affine < 0 || attr->affine > 2)
        return plumb_refuse(q, "%d inputs, expected %d", q->n_in, inputs);
    for (int i = B_INVSTD; i < B_REST + attr->centred; i++) {
        if (plumb_need_rank(q, i, 2))
            return PLUMB_BAD_INPUT;
        if (q->in[i].dtype != row.dtype || !plumb_dims_agree(q->in[i].shape.dim[0], row.shape.dim[0]) ||
            !plumb_dims_agree(q->in[i].shape.dim[1], row.shape.dim[1]))
            return plumb_refuse(q, "input %d is no statistic of %lld groups", i, (long long)attr->groups);
    }
    if (scale >= 0 && need_channels(q, scale, scale))
        return PLUMB_BAD_INPUT;
    q->out[0] = q->in[X];
    for (int i = 1; i < q->n_out; i++)
        q->out[i] = q->in[scale];
    return PLUMB_OK;
}

/* ---- compositions, over x as (N, groups, channels of a group, S) ---- */

static plumb_t grouped(plumb_graph *g, plumb_t x, int64_t groups)
{
    plumb_shape s = plumb_shape_of(g, x);
    bool open = s.dim[0] == PLUMB_UNKNOWN;
    return plumb_reshape(g, x, PLUMB_SHAPE(open ? PLUMB_INFER : s.dim[0], groups, s.dim[1] / groups,
                                           s.dim[2] == PLUMB_UNKNOWN ? PLUMB_INFER : s.dim[2]));
}

/* (N, groups) -> (N, groups, 1, 1) */
static plumb_t of_rows(plumb_graph *g, plumb_t statistic, int64_t groups)
{
    return plumb_reshape(g, statistic, PLUMB_SHAPE(PLUMB_INFER, groups, 1, 1));
}

/* (C) -> (1, groups, C/groups, 1) */
static plumb_t of_channels(plumb_graph *g, plumb_t per_c, int64_t groups)
{
    return plumb_reshape(g, per_c, PLUMB_SHAPE(1, groups, plumb_shape_of(g, per_c).dim[0] / groups, 1));
}

static plumb_t row_mean(plumb_graph *g, plumb_t x) { return plumb_mean(g, x, PLUMB_AXES(2, 3), true); }

/* What d of invstd and of the mean, those there are, make of dx; PLUMB_NONE where there are none. */
static plumb_t through_statistics(const plumb_grad *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    plumb_graph *g = q->graph;
    plumb_t y[2], dy[2], dx = PLUMB_NONE;
    int count = 0;
    if (q->dout[INVSTD] == PLUMB_NONE && (!attr->centred || q->dout[MEAN] == PLUMB_NONE))
        return PLUMB_NONE;
    plumb_t of = plumb_fresh(g, q->in[X]), x = grouped(g, plumb_as(g, of, q->out[INVSTD]), attr->groups), mean = PLUMB_NONE;
    if (attr->centred) {
        mean = row_mean(g, x);
        x = plumb_sub(g, x, mean);
    }
    for (int i = INVSTD; i < q->n_out; i++) {
        if (q->dout[i] == PLUMB_NONE)
            continue;
        plumb_t value = i == MEAN ? mean : plumb_rsqrt(g, plumb_affine(g, row_mean(g, plumb_square(g, x)), 1, attr->epsilon));
        y[count] = plumb_reshape_like(g, value, q->out[i]);
        dy[count++] = q->dout[i];
    }
    plumb_gradients_from(g, y, dy, count, &of, 1, &dx);
    return dx;
}

static plumb_status gradient_forward(plumb_grad *q)
{
    plumb_attr_row_norm attr = *(const plumb_attr_row_norm *)q->attr;
    plumb_graph *g = q->graph;
    plumb_t dx = q->want[X] ? through_statistics(q) : PLUMB_NONE, in[B_REST + 2];
    int n_in = 0;
    for (int i = 0; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    if (q->dout[Y] != PLUMB_NONE) {
        attr.affine = q->n_in - 1;
        in[n_in++] = q->in[X];
        in[n_in++] = q->dout[Y];
        for (int i = INVSTD; i < q->n_out; i++)
            in[n_in++] = q->out[i];
        if (attr.affine)
            in[n_in++] = q->in[SCALE];
        plumb_t first = plumb_emit(g, &plumb_op_row_norm_backward, &attr, in, n_in);
        dx = dx == PLUMB_NONE ? first : plumb_add(g, first, dx);
        for (int i = 1; i < q->n_in; i++)
            q->din[i] = plumb_output(g, first, i);
    }
    if (dx != PLUMB_NONE)
        q->din[X] = dx;
    return PLUMB_OK;
}

/* d = dy scale, z = (x - mean) invstd: dx = invstd (d - mean(d) - z mean(d z)), without the first mean if not centred;
 * dscale = sum(dy z), dshift = sum(dy). */
static plumb_status gradient_backward(plumb_grad *q)
{
    const plumb_attr_row_norm *attr = q->attr;
    plumb_graph *g = q->graph;
    int64_t groups = attr->groups;
    int scale = scale_at(attr);
    plumb_t in[PLUMB_COMPOSE_OPERANDS], y[3];
    for (int i = 0; i < q->n_in; i++)
        in[i] = plumb_fresh(g, q->in[i]);
    plumb_t invstd = of_rows(g, in[B_INVSTD], groups), z = grouped(g, plumb_as(g, in[B_X], in[B_INVSTD]), groups);
    plumb_t dy = grouped(g, plumb_as(g, in[B_DY], in[B_INVSTD]), groups), d = dy;
    if (scale >= 0)
        d = plumb_mul(g, d, of_channels(g, plumb_as(g, in[scale], in[B_INVSTD]), groups));
    if (attr->centred)
        z = plumb_sub(g, z, of_rows(g, in[B_REST], groups));
    z = plumb_mul(g, z, invstd);
    plumb_t rest = attr->centred ? plumb_sub(g, d, row_mean(g, d)) : d;
    rest = plumb_sub(g, rest, plumb_mul(g, z, row_mean(g, plumb_mul(g, d, z))));
    y[0] = plumb_as(g, plumb_reshape_like(g, plumb_mul(g, invstd, rest), in[B_X]), in[B_X]);
    for (int i = 1; i < q->n_out; i++) {
        plumb_t sum = plumb_sum(g, i == 1 ? plumb_mul(g, dy, z) : dy, PLUMB_AXES(0, 3), false);
        y[i] = plumb_as(g, plumb_reshape_like(g, sum, in[scale]), in[scale]);
    }
    return plumb_through(q, in, y, q->dout);
}

/* ---- facts ---- */

static int over_x(const void *attr, int output)
{
    (void)attr;
    return output == Y ? X : -1;
}

static int over_dy(const void *attr, int output)
{
    (void)attr;
    return output == 0 ? B_DY : -1;
}

/* Of a row; of the sums over examples as well. */
static double terms(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    const plumb_view *x = &call->in[X];
    double row = (double)(x->dim[1] / attr->groups) * (double)x->dim[2], channel = (double)x->dim[0] * (double)x->dim[2];
    double most = call->op == &plumb_op_row_norm_backward && channel > row ? channel : row;
    return most > 1 ? most : 1;
}

static double flops_forward(const plumb_call *call) { return 6 * (double)plumb_view_count(&call->in[X]); }
static double flops_backward(const plumb_call *call) { return 12 * (double)plumb_view_count(&call->in[X]); }

static void print_row_norm(const void *opaque, struct plumb_text *text)
{
    const plumb_attr_row_norm *a = opaque;
    plumb_text_add(text, "epsilon=%g", a->epsilon);
    if (a->groups != 1)
        plumb_text_add(text, " groups=%lld", (long long)a->groups);
}

/* ---- rows ---- */

#define FORWARD(op_name, most_in, outputs)                                                                            \
    const plumb_op plumb_op_##op_name = {                                                                             \
        .name = #op_name,                                                                                             \
        .min_in = 1,                                                                                                  \
        .max_in = (most_in),                                                                                          \
        .n_out = (outputs),                                                                                           \
        .attr_size = sizeof(plumb_attr_row_norm),                                                                     \
        .infer = infer_forward,                                                                                       \
        .gradient = gradient_forward,                                                                                 \
        .in_place = over_x,                                                                                           \
        .flops = flops_forward,                                                                                       \
        .terms = terms,                                                                                               \
        .tolerance = PLUMB_TOL_NORM,                                                                                  \
        .print = print_row_norm,                                                                                      \
        .precision = PLUMB_PRECISION_FOLLOW,                                                                          \
        .in_f32 = 0x6, /* scale, shift */                                                                             \
    };

FORWARD(layer_norm, 3, 3)
FORWARD(group_norm, 3, 3)
FORWARD(rms_norm, 2, 2)

const plumb_op plumb_op_row_norm_backward = {
    .name = "row_norm_backward",
    .min_in = 3,
    .max_in = 5,
    .attr_size = sizeof(plumb_attr_row_norm),
    .flags = PLUMB_OP_BACKWARD | PLUMB_OP_VARIADIC,
    .outputs = outputs_backward,
    .infer = infer_backward,
    .gradient = gradient_backward,
    .in_place = over_dy,
    .flops = flops_backward,
    .terms = terms,
    .tolerance = PLUMB_TOL_NORM,
    .print = print_row_norm,
    .precision = PLUMB_PRECISION_FOLLOW,
    .in_f32 = 0x1c, /* statistics, scale */
};

/* ---- builders ---- */

/* x as the op takes it, made by `laid`; the result as x lies. */
static plumb_t normalise(plumb_graph *g, const plumb_op *op, plumb_t x, plumb_t laid, plumb_t scale, plumb_t shift,
                         int64_t groups, double epsilon)
{
    plumb_attr_row_norm attr;
    plumb_t in[3] = {laid};
    int n_in = 1;
    memset(&attr, 0, sizeof attr);
    attr.groups = groups;
    attr.epsilon = plumb_chosen(epsilon, 1e-5);
    attr.centred = is_centred(op);
    if (shift != PLUMB_NONE && scale == PLUMB_NONE)
        scale = plumb_full_like(g, shift, 1);
    if (scale != PLUMB_NONE)
        in[n_in++] = plumb_reshape(g, scale, PLUMB_SHAPE(PLUMB_INFER));
    if (shift != PLUMB_NONE)
        in[n_in++] = plumb_reshape(g, shift, PLUMB_SHAPE(PLUMB_INFER));
    plumb_t y = plumb_emit(g, op, &attr, in, n_in);
    return y == PLUMB_NONE ? y : plumb_reshape_like(g, y, x);
}

/* Over dimensions axis.. of x: (rows, values, 1). `parameter` has the normalised dimensions. */
static plumb_t by_rows(plumb_graph *g, const plumb_op *op, plumb_t x, plumb_t scale, plumb_t shift, int axis, double epsilon)
{
    char a[160], b[160];
    if (plumb_graph_status(g) != PLUMB_OK || x == PLUMB_NONE)
        return plumb_poison(g, "%s: no input", op->name);
    plumb_shape shape = plumb_shape_of(g, x), rest = {0};
    const plumb_t parameter[] = {scale, shift};
    int first = axis < 0 ? axis + shape.rank : axis;
    if (first < 0 || first >= shape.rank)
        return plumb_poison(g, "%s: axis %d is outside a shape of rank %d", op->name, axis, shape.rank);
    for (int d = first; d < shape.rank; d++)
        rest.dim[rest.rank++] = shape.dim[d];
    int64_t values = plumb_shape_count(&rest);
    if (values < 0)
        return plumb_poison(g, "%s: input is %s, expected known sizes from dimension %d on", op->name,
                            plumb_shape_text(&shape, a, sizeof a), first);
    for (int i = 0; i < 2; i++) {
        plumb_shape have = parameter[i] == PLUMB_NONE ? rest : plumb_shape_of(g, parameter[i]);
        if (!plumb_shape_equal(&have, &rest))
            return plumb_poison(g, "%s: %s has shape %s, expected %s", op->name, i ? "shift" : "scale",
                                plumb_shape_text(&have, a, sizeof a), plumb_shape_text(&rest, b, sizeof b));
    }
    shape.rank = first;
    int64_t rows = plumb_shape_count(&shape);
    if (rows < 0) /* one symbol is kept: its rows are known by it */
        rows = first == 1 && shape.dim[0] != PLUMB_UNKNOWN ? shape.dim[0] : PLUMB_INFER;
    return normalise(g, op, x, plumb_reshape(g, x, PLUMB_SHAPE(rows, values, 1)), scale, shift, 1, epsilon);
}

plumb_t plumb_layer_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, int axis, double epsilon)
{
    return by_rows(g, &plumb_op_layer_norm, x, scale, shift, axis, epsilon);
}

plumb_t plumb_rms_norm(plumb_graph *g, plumb_t x, plumb_t scale, int axis, double epsilon)
{
    return by_rows(g, &plumb_op_rms_norm, x, scale, PLUMB_NONE, axis, epsilon);
}

/* groups 0: each channel is one. */
static plumb_t by_groups(plumb_graph *g, const char *what, plumb_t x, plumb_t scale, plumb_t shift, int64_t groups,
                         double epsilon)
{
    char text[160];
    if (plumb_graph_status(g) != PLUMB_OK || x == PLUMB_NONE)
        return plumb_poison(g, "%s: no input", what);
    plumb_shape shape = plumb_shape_of(g, x), places;
    if (shape.rank < 2 || shape.dim[1] < 0)
        return plumb_poison(g, "%s: input is %s, expected (N, C, ..) with a known number of channels", what,
                            plumb_shape_text(&shape, text, sizeof text));
    places = shape;
    places.dim[0] = places.dim[1] = 1;
    int64_t count = plumb_shape_count(&places), n = shape.dim[0];
    if (count < 0 && n == PLUMB_UNKNOWN)
        return plumb_poison(g, "%s: of %s neither the batch nor the sizes behind the channels are known", what,
                            plumb_shape_text(&shape, text, sizeof text));
    plumb_t laid = plumb_reshape(g, x, PLUMB_SHAPE(n == PLUMB_UNKNOWN ? PLUMB_INFER : n, shape.dim[1],
                                                   count < 0 ? PLUMB_INFER : count));
    if (groups == 0)
        groups = shape.dim[1] > 0 ? shape.dim[1] : 1;
    return normalise(g, &plumb_op_group_norm, x, laid, scale, shift, groups, epsilon);
}

plumb_t plumb_group_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, int64_t groups, double epsilon)
{
    if (groups < 1)
        return plumb_poison(g, "group_norm: %lld groups, expected at least 1", (long long)groups);
    return by_groups(g, "group_norm", x, scale, shift, groups, epsilon);
}

plumb_t plumb_instance_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, double epsilon)
{
    return by_groups(g, "instance_norm", x, scale, shift, 0, epsilon);
}
