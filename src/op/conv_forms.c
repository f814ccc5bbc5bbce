/* Convolution in one and three dimensions and its transposed forms, as compositions around conv2d and its adjoints.
 *
 * Decided here:
 * - One dimension is two with a height of 1: a view, so it costs nothing.
 * - Three dimensions take the depth's taps for channels: x (N, C, D, H, W) becomes one picture (C KD, H, W) for each depth of
 *   the result, of which conv2d with the filter (O, C/groups KD, KH, KW), a view of (O, C/groups, KD, KH, KW), sums all taps
 *   at once. That copies x KD times, which is little beside O products with each element, and it has every fast convolution
 *   there is, in every dtype, and its gradients; a kernel of its own would have to be made fast once more, and a sum of KD
 *   convolutions would round in between. So there is no op conv3d.
 * - A transposed convolution is the adjoint of a convolution, of the data: conv2d_backward_data. In three dimensions it is
 *   the gradient of plumb_conv3d, taken by differentiating it.
 * - Output padding enlarges the result below and to the right; what is an entire stride of it is taken off the padding there,
 *   so that the convolution of the result has the input's size again. */
#include "op/forms.h"

/* ---- one dimension: (N, C, L) as (N, C, 1, L) ---- */

plumb_t plumb_conv1d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv1d_options *options)
{
    plumb_conv1d_options o;
    plumb_options_taken(&o, sizeof o, options);
    const plumb_conv2d_options conv = {.size = sizeof conv, .stride = {1, o.stride}, .dilation = {1, o.dilation},
                                       .padding = {0, o.padding[0], 0, o.padding[1]}, .groups = o.groups, .flip = o.flip};
    x = plumb_lifted(g, "conv1d", x);
    w = plumb_lifted(g, "conv1d", w);
    return x && w ? plumb_lowered(g, "conv1d", plumb_conv2d(g, x, w, bias, &conv)) : PLUMB_NONE;
}

plumb_t plumb_conv_transpose1d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                               const plumb_conv_transpose1d_options *options)
{
    plumb_conv_transpose1d_options o;
    plumb_options_taken(&o, sizeof o, options);
    const plumb_conv_transpose2d_options conv = {
        .size = sizeof conv,
        .stride = {1, o.stride},
        .padding = {0, o.padding[0], 0, o.padding[1]},
        .dilation = {1, o.dilation},
        .groups = o.groups,
        .output_padding = {0, o.output_padding},
        .output_size = {0, o.output_size},
    };
    x = plumb_lifted(g, "conv_transpose1d", x);
    w = plumb_lifted(g, "conv_transpose1d", w);
    return x && w ? plumb_lowered(g, "conv_transpose1d", plumb_conv_transpose2d(g, x, w, bias, &conv)) : PLUMB_NONE;
}

/* ---- transposed ---- */

/* The size of the result along one axis; *after, the padding behind, loses what output padding is whole strides. */
static bool transposed_size(plumb_graph *g, const char *what, int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                            int64_t before, int64_t *after, int64_t output_padding, int64_t output_size, int64_t *result)
{
    int64_t reach, steps, least;
    if (size < 1 || kernel < 1 || stride < 1 || dilation < 1 || before < 0 || *after < 0 || output_padding < 0 ||
        output_size < 0 || !plumb_mul_size(size - 1, stride, &steps) || !plumb_mul_size(kernel - 1, dilation, &reach)) {
        plumb_poison(g, "%s: size %lld, kernel %lld, stride %lld, dilation %lld, padding %lld and %lld do not fit (sizes must be "
                     "known)", what, (long long)size, (long long)kernel, (long long)stride, (long long)dilation,
                     (long long)before, (long long)*after);
        return false;
    }
    least = steps + reach + 1 - before - *after;
    if (output_size > 0) {
        if (output_padding > 0 || output_size < least || output_size - least >= stride) {
            plumb_poison(g, "%s: output size %lld, expected %lld to %lld and no output padding", what, (long long)output_size,
                         (long long)least, (long long)(least + stride - 1));
            return false;
        }
        output_padding = output_size - least;
    }
    int64_t whole = output_padding / stride * stride;
    if (whole > *after || least + output_padding < 1) {
        plumb_poison(g, "%s: output padding %lld with stride %lld and padding %lld leaves places no input reaches, or none at "
                     "all", what, (long long)output_padding, (long long)stride, (long long)*after);
        return false;
    }
    *after -= whole;
    *result = least + output_padding;
    return true;
}

plumb_t plumb_with_channel_bias(plumb_graph *g, plumb_t y, plumb_t bias, int rank)
{
    plumb_shape shape = {.rank = rank - 1, .dim = {PLUMB_INFER}};
    for (int d = 1; d < rank - 1; d++)
        shape.dim[d] = 1;
    return bias == PLUMB_NONE || y == PLUMB_NONE ? y : plumb_add(g, y, plumb_reshape(g, bias, shape));
}

plumb_t plumb_conv_transpose2d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                               const plumb_conv_transpose2d_options *options)
{
    static const char what[] = "conv_transpose2d";
    plumb_conv_transpose2d_options o;
    plumb_attr_conv2d attr;
    plumb_shape sx, sw;
    plumb_options_taken(&o, sizeof o, options);
    memset(&attr, 0, sizeof attr);
    if (!plumb_takes_rank(g, what, x, 4, &sx) || !plumb_takes_rank(g, what, w, 4, &sw))
        return PLUMB_NONE;
    attr.groups = o.groups ? o.groups : 1;
    memcpy(attr.padding, o.padding, sizeof attr.padding);
    if (sx.dim[0] == PLUMB_UNKNOWN || sw.dim[1] < 0 || attr.groups < 1)
        return plumb_poison(g, "%s: the batch and the filters' sizes must be known, and groups at least 1", what);
    attr.shape = PLUMB_SHAPE(sx.dim[0], sw.dim[1] * attr.groups, 0, 0);
    for (int i = 0; i < 2; i++) {
        attr.stride[i] = o.stride[i] ? o.stride[i] : 1;
        attr.dilation[i] = o.dilation[i] ? o.dilation[i] : 1;
        if (!transposed_size(g, what, sx.dim[i + 2], sw.dim[i + 2], attr.stride[i], attr.dilation[i], attr.padding[i],
                             &attr.padding[i + 2], o.output_padding[i], o.output_size[i], &attr.shape.dim[i + 2]))
            return PLUMB_NONE;
    }
    plumb_t y = plumb_emit(g, &plumb_op_conv2d_backward_data, &attr, (const plumb_t[]){x, w}, 2);
    return plumb_with_channel_bias(g, y, bias, 4);
}

/* ---- three dimensions ---- */

/* x (N, D, C, H, W) with zeros before and behind its depth. */
static plumb_t depth_padded(plumb_graph *g, plumb_t x, int64_t before, int64_t after)
{
    plumb_shape s = plumb_shape_of(g, x);
    plumb_t part[3];
    int count = 0;
    if (before > 0) {
        s.dim[1] = before;
        part[count++] = plumb_full(g, plumb_dtype_of(g, x), s, 0);
    }
    part[count++] = x;
    if (after > 0) {
        s.dim[1] = after;
        part[count++] = plumb_full(g, plumb_dtype_of(g, x), s, 0);
    }
    return count == 1 ? x : plumb_concat(g, part, count, 1);
}

/* x (N, D, C, H, W) -> (N, OD, C, KD, H, W), the taps of each depth of the result */
static plumb_t depth_taps(plumb_graph *g, plumb_t x, int64_t taps, int64_t outputs, int64_t stride, int64_t dilation)
{
    enum { MOST = 64 };
    plumb_t part[MOST];
    plumb_shape s = plumb_shape_of(g, x);
    if (taps > MOST)
        return plumb_poison(g, "conv3d: a filter %lld deep, expected at most %d", (long long)taps, MOST);
    for (int64_t k = 0; k < taps; k++) {
        int64_t begin[5] = {0, k * dilation}, end[5] = {PLUMB_END, k * dilation + (outputs - 1) * stride + 1, PLUMB_END,
                                                        PLUMB_END, PLUMB_END}, step[5] = {1, stride, 1, 1, 1};
        plumb_t slice = plumb_slice(g, x, begin, end, step);
        part[k] = plumb_laid(g, "conv3d", slice, PLUMB_SHAPE(s.dim[0], outputs, s.dim[2], 1, s.dim[3], s.dim[4]));
    }
    return taps == 1 ? part[0] : plumb_concat(g, part, (int)taps, 3);
}

plumb_t plumb_conv3d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv3d_options *options)
{
    static const char what[] = "conv3d";
    plumb_conv3d_options o;
    plumb_shape sx, sw;
    plumb_options_taken(&o, sizeof o, options);
    if (!plumb_takes_rank(g, what, x, 5, &sx) || !plumb_takes_rank(g, what, w, 5, &sw))
        return PLUMB_NONE;
    int64_t stride = o.stride[0] ? o.stride[0] : 1, dilation = o.dilation[0] ? o.dilation[0] : 1, taps = sw.dim[2], reach;
    const int64_t *p = o.padding;
    for (int d = 1; d < 5; d++)
        if (sx.dim[d] < 0 || sw.dim[d] < 1)
            return plumb_poison(g, "%s: all sizes but the batch must be known, and no filter empty", what);
    if (stride < 1 || dilation < 1 || p[0] < 0 || p[3] < 0 || p[0] > INT32_MAX || p[3] > INT32_MAX ||
        !plumb_mul_size(taps - 1, dilation, &reach) || reach >= sx.dim[2] + p[0] + p[3])
        return plumb_poison(g, "%s: a filter %lld deep does not fit a depth of %lld (stride %lld, dilation %lld, padding %lld and "
                            "%lld)", what, (long long)taps, (long long)sx.dim[2], (long long)stride, (long long)dilation,
                            (long long)p[0], (long long)p[3]);
    int64_t outputs = (sx.dim[2] + p[0] + p[3] - reach - 1) / stride + 1;
    const plumb_conv2d_options conv = {.size = sizeof conv, .stride = {o.stride[1], o.stride[2]},
                                       .padding = {p[1], p[2], p[4], p[5]}, .dilation = {o.dilation[1], o.dilation[2]},
                                       .groups = o.groups};
    plumb_t t = plumb_transpose(g, x, (const int[]){0, 2, 1, 3, 4}); /* (N, D, C, H, W) */
    t = depth_taps(g, depth_padded(g, t, p[0], p[3]), taps, outputs, stride, dilation);
    t = plumb_laid(g, what, t, PLUMB_SHAPE(plumb_dims_product(sx.dim[0], outputs), sx.dim[1] * taps, sx.dim[3], sx.dim[4]));
    plumb_t filter = plumb_laid(g, what, w, PLUMB_SHAPE(sw.dim[0], sw.dim[1] * taps, sw.dim[3], sw.dim[4]));
    plumb_t y = t && filter ? plumb_conv2d(g, t, filter, bias, &conv) : PLUMB_NONE;
    if (y == PLUMB_NONE)
        return PLUMB_NONE;
    plumb_shape sy = plumb_shape_of(g, y);
    y = plumb_laid(g, what, y, PLUMB_SHAPE(sx.dim[0], outputs, sy.dim[1], sy.dim[2], sy.dim[3]));
    return plumb_transpose(g, y, (const int[]){0, 2, 1, 3, 4});
}

plumb_t plumb_conv_transpose3d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                               const plumb_conv_transpose3d_options *options)
{
    static const char what[] = "conv_transpose3d";
    plumb_conv_transpose3d_options o;
    plumb_shape sx, sw;
    plumb_options_taken(&o, sizeof o, options);
    plumb_conv3d_options conv = {.size = sizeof conv, .groups = o.groups};
    if (!plumb_takes_rank(g, what, x, 5, &sx) || !plumb_takes_rank(g, what, w, 5, &sw))
        return PLUMB_NONE;
    if (sx.dim[0] == PLUMB_UNKNOWN || sw.dim[1] < 0 || o.groups < 0)
        return plumb_poison(g, "%s: the batch and the filters' sizes must be known, and groups not negative", what);
    memcpy(conv.padding, o.padding, sizeof conv.padding);
    plumb_shape shape = PLUMB_SHAPE(sx.dim[0], sw.dim[1] * (o.groups ? o.groups : 1), 0, 0, 0);
    for (int i = 0; i < 3; i++) {
        conv.stride[i] = o.stride[i] ? o.stride[i] : 1;
        conv.dilation[i] = o.dilation[i] ? o.dilation[i] : 1;
        if (!transposed_size(g, what, sx.dim[i + 2], sw.dim[i + 2], conv.stride[i], conv.dilation[i], conv.padding[i],
                             &conv.padding[i + 3], o.output_padding[i], o.output_size[i], &shape.dim[i + 2]))
            return PLUMB_NONE;
    }
    /* The convolution is linear: its gradient does not depend on where it is taken, so nothing of `at` is computed. */
    plumb_t at = plumb_full(g, plumb_dtype_of(g, x), shape, 0), y = PLUMB_NONE;
    plumb_t forward = plumb_conv3d(g, at, w, PLUMB_NONE, &conv);
    if (forward == PLUMB_NONE || plumb_gradients_from(g, &forward, &x, 1, &at, 1, &y))
        return PLUMB_NONE;
    return plumb_with_channel_bias(g, y, bias, 5);
}
