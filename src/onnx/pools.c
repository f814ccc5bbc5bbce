/* Pooling of one to three dimensions. ONNX counts indices of maxima through the whole tensor, plumb within a picture. */
#include "onnx/window.h"

static plumb_t whole_index(struct onnx_node *q, plumb_t index, plumb_shape x, bool columns)
{
    int64_t area = 1;
    for (int i = 2; i < x.rank; i++) {
        area *= x.dim[i];
    }
    plumb_shape planes = {.rank = x.rank, .dim = {x.dim[0], x.dim[1], 1, 1, 1}};
    if (columns && x.rank == 4) { /* w * H + h instead of h * W + w */
        plumb_t width = plumb_full(q->g, PLUMB_I64, PLUMB_SCALAR_SHAPE, (double)x.dim[3]);
        plumb_t height = plumb_full(q->g, PLUMB_I64, PLUMB_SCALAR_SHAPE, (double)x.dim[2]);
        index = plumb_add(q->g, plumb_mul(q->g, plumb_fmod(q->g, index, width), height), plumb_div(q->g, index, width));
    }
    return plumb_add(q->g, index, plumb_iota(q->g, PLUMB_I64, planes, 0, (double)area));
}

static plumb_status max_pool(struct onnx_node *q)
{
    struct onnx_window w;
    plumb_shape s = onnx_shape(q, 0);
    bool ceil_mode = onnx_int(q, "ceil_mode", 0) != 0, columns = onnx_int(q, "storage_order", 0) != 0;
    plumb_status status = onnx_window(q, NULL, false, &w);
    if (status) {
        return status;
    }
    plumb_t x = onnx_in(q, 0), index = PLUMB_NONE, y;
    if (w.dims == 1) {
        const plumb_pool1d_options o = {.size = sizeof(o), .window = w.kernel[0], .stride = w.stride[0], .padding = {w.pads[0], w.pads[1]},
                                        .dilation = w.dilation[0], .ceil_mode = ceil_mode};
        y = plumb_max_pool1d(q->g, x, &o, onnx_wants(q, 1) ? &index : NULL);
    } else if (w.dims == 2) {
        plumb_pool2d_options o = {.size = sizeof(o), .ceil_mode = ceil_mode};
        memcpy(o.window, w.kernel, sizeof(o.window));
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        y = plumb_max_pool2d(q->g, x, &o);
        index = onnx_wants(q, 1) ? plumb_output(q->g, y, 1) : PLUMB_NONE;
    } else {
        plumb_pool3d_options o = {.size = sizeof(o), .ceil_mode = ceil_mode};
        memcpy(o.window, w.kernel, sizeof(o.window));
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.dilation, w.dilation, sizeof(o.dilation));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        y = plumb_max_pool3d(q->g, x, &o, onnx_wants(q, 1) ? &index : NULL);
    }
    onnx_out(q, 0, y);
    if (onnx_wants(q, 1)) {
        if (plumb_shape_count(&s) < 0) {
            return onnx_refuse(q, NULL, "its indices need known sizes");
        }
        onnx_out(q, 1, whole_index(q, index, s, columns));
    }
    return PLUMB_OK;
}

static plumb_status average_pool(struct onnx_node *q)
{
    struct onnx_window w;
    bool ceil_mode = onnx_int(q, "ceil_mode", 0) != 0, inside = onnx_int(q, "count_include_pad", 0) == 0;
    plumb_status status = onnx_window(q, NULL, false, &w);
    for (int i = 0; !status && i < w.dims; i++) {
        if (w.dilation[i] != 1) {
            return onnx_refuse(q, "dilations", "other than 1 are not supported");
        }
    }
    if (status) {
        return status;
    }
    plumb_t x = onnx_in(q, 0);
    if (w.dims == 1) {
        const plumb_pool1d_options o = {.size = sizeof(o), .window = w.kernel[0], .stride = w.stride[0], .padding = {w.pads[0], w.pads[1]},
                                        .ceil_mode = ceil_mode, .exclude_padding = inside};
        onnx_out(q, 0, plumb_average_pool1d(q->g, x, &o));
    } else if (w.dims == 2) {
        plumb_pool2d_options o = {.size = sizeof(o), .ceil_mode = ceil_mode, .exclude_padding = inside};
        memcpy(o.window, w.kernel, sizeof(o.window));
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        onnx_out(q, 0, plumb_average_pool2d(q->g, x, &o));
    } else {
        plumb_pool3d_options o = {.size = sizeof(o), .ceil_mode = ceil_mode, .exclude_padding = inside};
        memcpy(o.window, w.kernel, sizeof(o.window));
        memcpy(o.stride, w.stride, sizeof(o.stride));
        memcpy(o.padding, w.pads, sizeof(o.padding));
        onnx_out(q, 0, plumb_average_pool3d(q->g, x, &o));
    }
    return PLUMB_OK;
}

static plumb_status lp_pool(struct onnx_node *q)
{
    struct onnx_window w;
    double p = (double)onnx_int(q, "p", 2);
    plumb_status status = onnx_window(q, NULL, false, &w);
    if (status) {
        return status;
    }
    if (w.dims != 2 || onnx_int(q, "ceil_mode", 0) != 0 || w.dilation[0] != 1 || w.dilation[1] != 1) {
        return onnx_refuse(q, NULL, "is supported of two dimensions, without ceil_mode and dilations");
    }
    plumb_pool2d_options o = {.size = sizeof(o)};
    memcpy(o.window, w.kernel, sizeof(o.window));
    memcpy(o.stride, w.stride, sizeof(o.stride));
    memcpy(o.padding, w.pads, sizeof(o.padding));
    onnx_out(q, 0, plumb_lp_pool2d(q->g, onnx_in(q, 0), p, &o));
    return PLUMB_OK;
}

/* Over all dimensions behind the channels, however many. */
static plumb_status global(struct onnx_node *q)
{
    int rank = onnx_shape(q, 0).rank, axes[PLUMB_MAX_RANK];
    for (int i = 2; i < rank; i++) {
        axes[i - 2] = i;
    }
    plumb_t x = onnx_in(q, 0);
    if (rank < 3) {
        return onnx_refuse(q, NULL, "of %d dimensions", rank);
    }
    onnx_out(q, 0, strcmp(q->row->name, "GlobalLpPool") == 0
                       ? plumb_norm(q->g, x, (double)onnx_int(q, "p", 2), axes, rank - 2, true)
                       : q->row->with.reduce(q->g, x, axes, rank - 2, true));
    return PLUMB_OK;
}

/* Indices count through the whole tensor that was pooled, so the size that it had must be known first. */
static plumb_status max_unpool(struct onnx_node *q)
{
    struct onnx_window w;
    plumb_shape x = onnx_shape(q, 0);
    plumb_status status = onnx_window(q, NULL, false, &w);
    if (status || w.dims != 2 || plumb_shape_count(&x) < 0) {
        return status ? status : onnx_refuse(q, NULL, "is supported of two dimensions of known sizes");
    }
    int64_t size[PLUMB_MAX_RANK] = {0};
    int n = 4;
    for (int i = 0; i < 2; i++) {
        size[2 + i] = (x.dim[2 + i] - 1) * w.stride[i] + w.kernel[i] - w.pads[i] - w.pads[2 + i];
    }
    int64_t counted = size[3]; /* indices are of the smallest such tensor, whatever its size shall be */
    int64_t area = size[2] * size[3], wanted[PLUMB_MAX_RANK] = {x.dim[0], x.dim[1], size[2], size[3]};
    if (onnx_has(q, 2)) {
        status = onnx_whole(q, 2, wanted, PLUMB_MAX_RANK, &n);
    }
    if (status || n != 4 || wanted[2] < size[2] || wanted[3] < size[3] || area <= 0) {
        return status ? status : onnx_refuse(q, NULL, "output_shape does not go with the windows");
    }
    plumb_t index = plumb_remainder(q->g, onnx_in(q, 1), plumb_full(q->g, PLUMB_I64, PLUMB_SCALAR_SHAPE, (double)area));
    const plumb_pool2d_options o = {.size = sizeof(o), .window = {w.kernel[0], w.kernel[1]}, .stride = {w.stride[0], w.stride[1]},
                                    .padding = {w.pads[0], w.pads[1], w.pads[2], w.pads[3]}};
    plumb_t y = plumb_max_unpool2d(q->g, onnx_in(q, 0), index, &o, (const int64_t[2]){size[2], counted});
    int64_t after[4] = {0, 0, wanted[2] - size[2], wanted[3] - size[3]}, before[4] = {0};
    onnx_out(q, 0, after[2] || after[3] ? plumb_pad(q->g, y, before, after, PLUMB_PAD_CONSTANT, 0) : y);
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"AveragePool", 1, 0, 1, 1, average_pool, {NULL}, false},
    {"GlobalAveragePool", 1, 0, 1, 1, global, {.reduce = plumb_mean}, false},
    {"GlobalLpPool", 2, 0, 1, 1, global, {NULL}, false},
    {"GlobalMaxPool", 1, 0, 1, 1, global, {.reduce = plumb_max}, false},
    {"LpPool", 2, 0, 1, 1, lp_pool, {NULL}, false},
    {"MaxPool", 1, 0, 1, 1, max_pool, {NULL}, false},
    {"MaxUnpool", 9, 0, 2, 3, max_unpool, {NULL}, false},
};
const struct onnx_family plumb_onnx_pools = {rows, sizeof(rows) / sizeof(rows[0])};
