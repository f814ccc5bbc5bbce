/* Resizing by interpolation, as ONNX's Resize of opset 17 (which has no antialiasing), and its adjoint.
 *
 * Decided here:
 * - Along each dimension that changes, element o of the result is a weighted sum of up to 4 elements of x around a coordinate
 *   (plumb_resize_stencil); weights along several dimensions are multiplied. At most three dimensions change.
 * - Elements beyond the ends are those at the ends; exclude_outside leaves them out instead, the weights then sum to 1 again.
 *   What has weight 0 is not read, so a NaN there does not show.
 * - Coordinates are computed in double with a rounding after each step, so that all providers agree where one lies on a tie.
 * - `crop` (tf_crop_and_resize) reads between two fractions of each dimension; what lies outside x is `extrapolation`. */
#include "op/attr.h"

#include <math.h>

static const char *const mode_name[] = {"nearest", "linear", "cubic"};

/* ---- one dimension ---- */

static double coordinate(const plumb_attr_resize *attr, int d, int64_t n, int64_t m, double o)
{
    double scale = attr->scale[d] != 0 ? attr->scale[d] : (double)m / (double)n;
    switch (attr->coordinates) {
    case PLUMB_RESIZE_ALIGN_CORNERS: return m > 1 ? o * (double)(n - 1) / (double)(m - 1) : 0;
    case PLUMB_RESIZE_ASYMMETRIC: return o / scale;
    case PLUMB_RESIZE_CROP: {
        double start = attr->start[d] * (double)(n - 1), end = attr->end[d] * (double)(n - 1), span = end - start;
        double way = o * span;
        return m > 1 ? start + way / (double)(m - 1) : 0.5 * (start + end);
    }
    case PLUMB_RESIZE_PYTORCH_HALF_PIXEL:
        if (m <= 1)
            return 0;
        break;
    default: break;
    }
    return (o + 0.5) / scale - 0.5;
}

static double nearest(int rule, double x)
{
    switch (rule) {
    case PLUMB_RESIZE_ROUND_PREFER_CEIL: return floor(x + 0.5);
    case PLUMB_RESIZE_FLOOR: return floor(x);
    case PLUMB_RESIZE_CEIL: return ceil(x);
    default: return ceil(x - 0.5);
    }
}

/* Keys' cubic convolution (1981) at distances 1 + t, t, 1 - t, 2 - t; on an element it is that element, whatever a rounds to. */
static void cubic(double a, double t, double *weight)
{
    if (t == 0) {
        weight[0] = weight[2] = weight[3] = 0;
        weight[1] = 1;
        return;
    }
    double far_left = 1 + t, right = 1 - t, far_right = 2 - t;
    weight[0] = ((a * far_left - 5 * a) * far_left + 8 * a) * far_left - 4 * a;
    weight[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    weight[2] = ((a + 2) * right - (a + 3)) * right * right + 1;
    weight[3] = ((a * far_right - 5 * a) * far_right + 8 * a) * far_right - 4 * a;
}

void plumb_resize_stencil(const plumb_attr_resize *attr, int d, int64_t n, int64_t m, int64_t o, plumb_stencil *s)
{
    double x = coordinate(attr, d, n, m, (double)o), base = floor(x), sum = 0;
    double first = base;
    *s = (plumb_stencil){.count = 1, .weight = {1}};
    if (attr->coordinates == PLUMB_RESIZE_CROP && (x < 0 || x > (double)(n - 1))) {
        s->count = 0;
        return;
    }
    if (attr->mode == PLUMB_RESIZE_NEAREST) {
        first = nearest(attr->nearest, x);
    } else if (attr->mode == PLUMB_RESIZE_LINEAR) {
        s->count = 2;
        s->weight[0] = 1 - (x - base);
        s->weight[1] = x - base;
    } else {
        s->count = 4;
        first = base - 1;
        cubic(attr->cubic_a, x - base, s->weight);
    }
    for (int k = 0; k < s->count; k++) {
        double at = first + k;
        bool outside = at < 0 || at > (double)(n - 1);
        s->weight[k] = outside && attr->exclude_outside && attr->mode != PLUMB_RESIZE_NEAREST ? 0 : s->weight[k];
        s->at[k] = at < 0 ? 0 : at > (double)(n - 1) ? n - 1 : (int64_t)at;
        sum += s->weight[k];
    }
    for (int k = 0; k < s->count && attr->exclude_outside && sum != 0; k++)
        s->weight[k] /= sum;
}

bool plumb_resize_changes(const plumb_attr_resize *attr, int d, int64_t n, int64_t m)
{
    bool cropped = attr->coordinates == PLUMB_RESIZE_CROP && (attr->start[d] != 0 || attr->end[d] != 1);
    bool kept = attr->size[d] < 0 && attr->scale[d] == 0;
    return !kept && (n != m || cropped || (attr->scale[d] != 0 && attr->scale[d] != 1));
}

/* ---- shape rules ---- */

static plumb_status need_options(const plumb_infer *q, const plumb_shape *x)
{
    const plumb_attr_resize *attr = q->attr;
    char text[160];
    if (attr->mode < 0 || attr->mode > PLUMB_RESIZE_CUBIC || attr->coordinates < 0 ||
        attr->coordinates > PLUMB_RESIZE_CROP || attr->nearest < 0 || attr->nearest > PLUMB_RESIZE_CEIL)
        return plumb_refuse(q, "mode %d, coordinates %d, rounding %d: one of these does not exist", (int)attr->mode,
                            (int)attr->coordinates, (int)attr->nearest);
    if (attr->rank != x->rank)
        return plumb_refuse(q, "sizes of %d dimensions do not fit the shape %s", (int)attr->rank,
                            plumb_shape_text(x, text, sizeof text));
    if (attr->mode != PLUMB_RESIZE_NEAREST || q->op->flags & PLUMB_OP_BACKWARD)
        return plumb_need_float(q, 0);
    return PLUMB_OK;
}

static plumb_status resized(const plumb_infer *q, const plumb_shape *x, plumb_shape *y)
{
    const plumb_attr_resize *attr = q->attr;
    int changing = 0;
    if (need_options(q, x))
        return PLUMB_BAD_INPUT;
    *y = *x;
    for (int d = 0; d < x->rank; d++) {
        double scale = attr->scale[d], wide = floor((double)x->dim[d] * scale);
        if (!(scale >= 0) || !(scale <= 0x1p40) || attr->size[d] < -1 || !(attr->start[d] <= attr->end[d]))
            return plumb_refuse(q, "axis %d: size %lld, scale %g, from %g to %g of it", d, (long long)attr->size[d], scale,
                                attr->start[d], attr->end[d]);
        if (attr->size[d] >= 0)
            y->dim[d] = attr->size[d];
        else if (scale != 0 && scale != 1)
            y->dim[d] = x->dim[d] < 0 ? PLUMB_UNKNOWN : wide < 0x1p53 ? (int64_t)wide : -1;
        if (y->dim[d] == -1 || (x->dim[d] == 0 && y->dim[d] != 0))
            return plumb_refuse(q, "axis %d of %lld elements cannot be resized to %lld", d, (long long)x->dim[d],
                                (long long)y->dim[d]);
        changing += plumb_resize_changes(attr, d, x->dim[d], y->dim[d]);
    }
    return changing <= 3 ? PLUMB_OK : plumb_refuse(q, "%d dimensions are resized, at most 3 can be", changing);
}

static plumb_status infer_resize(plumb_infer *q)
{
    q->out[0].dtype = q->in[0].dtype;
    return resized(q, &q->in[0].shape, &q->out[0].shape);
}

static plumb_status infer_resize_backward(plumb_infer *q)
{
    plumb_shape x, y;
    if (plumb_lent_shape(q, &x) || resized(q, &x, &y) || plumb_need_made(q, 0, &y, "resizing"))
        return PLUMB_BAD_INPUT;
    q->out[0] = (plumb_type){.dtype = q->in[0].dtype, .shape = x};
    return PLUMB_OK;
}

/* ---- gradients: each is the other's, without what is extrapolated ---- */

static plumb_status resize_gradient(plumb_grad *q)
{
    plumb_attr_resize attr = *(const plumb_attr_resize *)q->attr;
    attr.shape.rank = -1;
    attr.extrapolation = 0;
    q->din[0] = plumb_emit(q->graph, &plumb_op_resize_backward, &attr, (const plumb_t[]){q->dout[0], q->in[0]}, 2);
    return PLUMB_OK;
}

static plumb_status resize_backward_gradient(plumb_grad *q)
{
    plumb_attr_resize attr = *(const plumb_attr_resize *)q->attr;
    for (int i = 1; i < q->n_in; i++)
        q->din[i] = PLUMB_NO_GRADIENT;
    memset(&attr.shape, 0, sizeof attr.shape);
    q->din[0] = plumb_emit(q->graph, &plumb_op_resize, &attr, q->dout, 1);
    return PLUMB_OK;
}

/* ---- rows ---- */

/* Terms of a sum: at most those of a stencil; of the adjoint, as many elements as lie about one. */
static double terms(const plumb_call *call)
{
    double count = 1;
    for (int d = 0; d < call->out[0].rank; d++) {
        double ratio = call->out[0].dim[d] ? (double)call->in[0].dim[d] / (double)call->out[0].dim[d] : 1;
        count *= 4 * (ratio > 1 ? ratio : 1);
    }
    return count;
}

static void print_resize(const void *attr, struct plumb_text *text)
{
    const plumb_attr_resize *a = attr;
    plumb_text_add(text, "%s", a->mode >= 0 && a->mode <= PLUMB_RESIZE_CUBIC ? mode_name[a->mode] : "?");
    for (int d = 0; d < a->rank; d++) {
        if (a->size[d] >= 0)
            plumb_text_add(text, " %lld", (long long)a->size[d]);
        else if (a->scale[d] != 0)
            plumb_text_add(text, " x%g", a->scale[d]);
    }
}

#define RESIZE_ROW(op_name, most, other_flags)                                                                        \
    const plumb_op plumb_op_##op_name = {                                                                             \
        .name = #op_name,                                                                                             \
        .min_in = 1,                                                                                                  \
        .max_in = (most),                                                                                             \
        .n_out = 1,                                                                                                   \
        .attr_size = sizeof(plumb_attr_resize),                                                                       \
        .flags = (other_flags),                                                                                       \
        .infer = infer_##op_name,                                                                                     \
        .gradient = op_name##_gradient,                                                                               \
        .terms = terms,                                                                                               \
        .tolerance = PLUMB_TOL_NORM,                                                                                  \
        .print = print_resize,                                                                                        \
        .precision = PLUMB_PRECISION_FOLLOW,                                                                          \
    };
RESIZE_ROW(resize, 1, 0)
RESIZE_ROW(resize_backward, 2, PLUMB_OP_LIKE | PLUMB_OP_BACKWARD)

plumb_t plumb_resize(plumb_graph *g, plumb_t x, const plumb_resize_options *options)
{
    plumb_resize_options o = {.size = 0};
    plumb_attr_resize attr;
    if (options)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    memset(&attr, 0, sizeof attr);
    attr.rank = plumb_shape_of(g, x).rank;
    attr.mode = (int32_t)o.mode;
    attr.coordinates = (int32_t)o.coordinates;
    attr.nearest = (int32_t)o.nearest;
    attr.exclude_outside = o.exclude_outside;
    attr.cubic_a = o.cubic_a != 0 ? o.cubic_a : -0.75;
    attr.extrapolation = o.extrapolation;
    for (int d = 0; d < attr.rank; d++) {
        attr.size[d] = o.sizes ? o.sizes[d] : -1;
        attr.scale[d] = o.scales ? o.scales[d] : 0;
        attr.start[d] = o.crop && attr.coordinates == PLUMB_RESIZE_CROP ? o.crop[d] : 0;
        attr.end[d] = o.crop && attr.coordinates == PLUMB_RESIZE_CROP ? o.crop[attr.rank + d] : 1;
    }
    return plumb_emit(g, &plumb_op_resize, &attr, &x, 1);
}
