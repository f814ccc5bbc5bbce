/* Convolutions of one to three dimensions and their transposes; and how windows are read, for pooling, too. */
#include "onnx/window.h"

static plumb_status list(struct onnx_node *q, const char *name, int64_t *to, int count, int64_t low)
{
    int n = onnx_ints(q, name, to, count);
    if (n >= 0 && n != count) {
        return onnx_refuse(q, name, "has %d numbers, %d are expected", n, count);
    }
    for (int i = 0; i < n; i++) {
        if (to[i] < low || to[i] > INT32_MAX) {
            return onnx_refuse(q, name, "%lld is outside %lld to 2^31-1", (long long)to[i], (long long)low);
        }
    }
    return q->failed;
}

static plumb_status auto_pad(struct onnx_node *q, struct onnx_window *w)
{
    const char *mode = onnx_text(q, "auto_pad", "NOTSET");
    w->valid = strcmp(mode, "VALID") == 0;
    w->same_upper = strcmp(mode, "SAME_UPPER") == 0;
    w->same_lower = strcmp(mode, "SAME_LOWER") == 0;
    return w->valid || w->same_upper || w->same_lower || strcmp(mode, "NOTSET") == 0
               ? PLUMB_OK
               : onnx_refuse(q, "auto_pad", "'%.40s' is none of NOTSET, SAME_UPPER, SAME_LOWER, VALID", mode);
}

plumb_status onnx_window(struct onnx_node *q, const int64_t *kernel, bool transposed, struct onnx_window *w)
{
    plumb_shape x = onnx_shape(q, 0);
    *w = (struct onnx_window){.dims = x.rank - 2, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    if (w->dims < 1 || w->dims > 3) {
        return onnx_refuse(q, NULL, "of %d dimensions; 3 to 5 are supported", x.rank);
    }
    plumb_status status = list(q, "kernel_shape", w->kernel, w->dims, 1);
    status = status ? status : list(q, "strides", w->stride, w->dims, 1);
    status = status ? status : list(q, "dilations", w->dilation, w->dims, 1);
    status = status ? status : list(q, "pads", w->pads, 2 * w->dims, 0);
    status = status ? status : auto_pad(q, w);
    for (int i = 0; !status && i < w->dims; i++) {
        if (kernel && w->kernel[i] && w->kernel[i] != kernel[i]) {
            return onnx_refuse(q, "kernel_shape", "%lld, but the filter has %lld", (long long)w->kernel[i], (long long)kernel[i]);
        }
        w->kernel[i] = kernel ? kernel[i] : w->kernel[i];
        if (w->kernel[i] < 1) {
            return onnx_refuse(q, "kernel_shape", "is missing, or the filter has no elements");
        }
    }
    if (w->valid) {
        memset(w->pads, 0, sizeof(w->pads));
    }
    for (int i = 0; !status && !transposed && (w->same_upper || w->same_lower) && i < w->dims; i++) {
        int64_t size = x.dim[2 + i], out = (size + w->stride[i] - 1) / w->stride[i];
        int64_t all = (out - 1) * w->stride[i] + w->dilation[i] * (w->kernel[i] - 1) + 1 - size;
        if (size < 0) {
            return onnx_refuse(q, "auto_pad", "needs known sizes");
        }
        all = all < 0 ? 0 : all;
        w->pads[i] = w->same_upper ? all / 2 : all - all / 2;
        w->pads[w->dims + i] = all - w->pads[i];
    }
    return status;
}

static plumb_status conv(struct onnx_node *q)
{
    struct onnx_window w;
    plumb_shape filter = onnx_shape(q, 1);
    if (filter.rank != onnx_shape(q, 0).rank) {
        return onnx_refuse(q, NULL, "the filter has %d dimensions, x has %d", filter.rank, onnx_shape(q, 0).rank);
    }
    int64_t groups = onnx_int(q, "group", 1);
    plumb_status status = onnx_window(q, filter.dim + 2, false, &w);
    if (status || groups < 1) {
        return status ? status : onnx_refuse(q, "group", "is %lld", (long long)groups);
    }
    plumb_t x = onnx_in(q, 0), f = onnx_in(q, 1), b = onnx_in(q, 2);
    if (w.dims == 1) {
        const plumb_conv1d_options o = {.size = sizeof(o), .stride = w.stride[0], .padding = {w.pads[0], w.pads[1]},
                                        .dilation = w.dilation[0], .groups = groups};
        onnx_out(q, 0, plumb_conv1d(q->g, x, f, b, &o));
    } else if (w.dims == 2) {
        plumb_conv2d_options o = {.size = sizeof(o), .groups = groups};
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        onnx_out(q, 0, plumb_conv2d(q->g, x, f, b, &o));
    } else {
        plumb_conv3d_options o = {.size = sizeof(o), .groups = groups};
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        onnx_out(q, 0, plumb_conv3d(q->g, x, f, b, &o));
    }
    return PLUMB_OK;
}

/* Pads follow from a wanted size, and where that needs negative ones the size goes into output padding. */
static plumb_status transposed_pads(struct onnx_node *q, struct onnx_window *w, int64_t extra[3])
{
    plumb_shape x = onnx_shape(q, 0);
    int64_t wanted[3] = {0};
    plumb_status status = list(q, "output_padding", extra, w->dims, 0);
    status = status ? status : list(q, "output_shape", wanted, w->dims, 1);
    for (int i = 0; !status && i < w->dims; i++) {
        bool same = w->same_upper || w->same_lower;
        int64_t size = x.dim[2 + i];
        int64_t out = wanted[i] ? wanted[i] : same ? size * w->stride[i] : 0;
        if (!out) {
            continue;
        }
        if (size < 0) {
            return onnx_refuse(q, wanted[i] ? "output_shape" : "auto_pad", "needs known sizes");
        }
        int64_t all = w->stride[i] * (size - 1) + extra[i] + (w->kernel[i] - 1) * w->dilation[i] + 1 - out;
        if (all < 0) {
            extra[i] -= all;
            all = 0;
        }
        w->pads[i] = w->same_upper ? all / 2 : all - all / 2;
        w->pads[w->dims + i] = all - w->pads[i];
    }
    return status;
}

static plumb_status conv_transpose(struct onnx_node *q)
{
    struct onnx_window w;
    plumb_shape filter = onnx_shape(q, 1);
    int64_t groups = onnx_int(q, "group", 1), extra[3] = {0};
    if (filter.rank != onnx_shape(q, 0).rank || groups < 1) {
        return onnx_refuse(q, "group", "is below 1, or the filter has another rank than x");
    }
    plumb_status status = onnx_window(q, filter.dim + 2, true, &w);
    status = status ? status : transposed_pads(q, &w, extra);
    if (status) {
        return status;
    }
    plumb_t x = onnx_in(q, 0), f = onnx_in(q, 1), b = onnx_in(q, 2);
    if (w.dims == 1) {
        const plumb_conv_transpose1d_options o = {.size = sizeof(o), .stride = w.stride[0], .padding = {w.pads[0], w.pads[1]},
                                                  .dilation = w.dilation[0], .groups = groups, .output_padding = extra[0]};
        onnx_out(q, 0, plumb_conv_transpose1d(q->g, x, f, b, &o));
    } else if (w.dims == 2) {
        plumb_conv_transpose2d_options o = {.size = sizeof(o), .groups = groups};
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        memcpy(o.output_padding, extra, sizeof(o.output_padding));
        onnx_out(q, 0, plumb_conv_transpose2d(q->g, x, f, b, &o));
    } else {
        plumb_conv_transpose3d_options o = {.size = sizeof(o), .groups = groups};
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        memcpy(o.output_padding, extra, sizeof(o.output_padding));
        onnx_out(q, 0, plumb_conv_transpose3d(q->g, x, f, b, &o));
    }
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"Conv", 1, 0, 2, 3, conv, {NULL}, false},
    {"ConvTranspose", 1, 0, 2, 3, conv_transpose, {NULL}, false},
};
const struct onnx_family plumb_onnx_convs = {rows, sizeof(rows) / sizeof(rows[0])};
