/* Gather and scatter, one-hot, resizing, and what detection needs. */
#include "onnx/onnx.h"

static plumb_status gather(struct onnx_node *q)
{
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), onnx_shape(q, 0).rank);
    if (axis >= 0) {
        onnx_out(q, 0, plumb_gather(q->g, onnx_in(q, 0), onnx_in(q, 1), axis));
    }
    return q->failed;
}

static plumb_status gather_elements(struct onnx_node *q)
{
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), onnx_shape(q, 0).rank);
    if (axis >= 0) {
        onnx_out(q, 0, plumb_gather_elements(q->g, onnx_in(q, 0), onnx_in(q, 1), axis));
    }
    return q->failed;
}

static plumb_status gather_nd(struct onnx_node *q)
{
    int64_t batch = onnx_int(q, "batch_dims", 0);
    if (batch < 0 || batch > PLUMB_MAX_RANK) {
        return onnx_refuse(q, "batch_dims", "is %lld", (long long)batch);
    }
    onnx_out(q, 0, plumb_gather_nd(q->g, onnx_in(q, 0), onnx_in(q, 1), (int)batch));
    return PLUMB_OK;
}

static plumb_status reduction(struct onnx_node *q, plumb_scatter_reduce *reduce)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *name = onnx_text(q, "reduction", "none");
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *reduce = (plumb_scatter_reduce)i;
            return PLUMB_OK;
        }
    }
    return onnx_refuse(q, "reduction", "'%.40s' is none of none, add, mul, max, min", name);
}

static plumb_status scatter_elements(struct onnx_node *q)
{
    plumb_scatter_reduce reduce = PLUMB_SCATTER_NONE;
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), onnx_shape(q, 0).rank);
    plumb_status status = reduction(q, &reduce);
    if (!status && axis >= 0) {
        onnx_out(q, 0, plumb_scatter_elements(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2), axis, reduce));
    }
    return status;
}

static plumb_status scatter_nd(struct onnx_node *q)
{
    plumb_scatter_reduce reduce = PLUMB_SCATTER_NONE;
    plumb_status status = reduction(q, &reduce);
    if (!status) {
        onnx_out(q, 0, plumb_scatter_nd(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2), reduce));
    }
    return status;
}

/* Values are {off, on}. Indices may be of floating point; those outside leave all `off`. */
static plumb_status one_hot(struct onnx_node *q)
{
    double depth = 0, values[2] = {0};
    int n = 0, rank = onnx_shape(q, 0).rank + 1;
    plumb_status status = onnx_numbers(q, 1, &depth, 1, &n);
    status = status ? status : onnx_numbers(q, 2, values, 2, &n);
    int axis = onnx_axis(q, onnx_int(q, "axis", -1), rank);
    if (status || n != 2 || axis < 0) {
        return status ? status : onnx_refuse(q, NULL, "values: are not two, or the axis is outside");
    }
    plumb_t index = plumb_cast(q->g, onnx_in(q, 0), PLUMB_I64);
    onnx_out(q, 0, plumb_one_hot_of(q->g, index, (int64_t)depth, onnx_dtype(q, 2), axis, values[1], values[0]));
    return PLUMB_OK;
}

/* ---- Resize ---- */

static int chosen(struct onnx_node *q, const char *attribute, const char *otherwise, const char *const *names, int count)
{
    const char *name = onnx_text(q, attribute, otherwise);
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) {
            return i;
        }
    }
    q->failed = onnx_refuse(q, attribute, "'%.60s' is not supported", name);
    return -1;
}

/* Opsets 11 to 17: x, roi, scales, sizes. The axes that newer ones may name are not read. */
static plumb_status resize(struct onnx_node *q)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    bool first = q->opset < 11; /* x, scales */
    plumb_shape x = onnx_shape(q, 0);
    double scales[PLUMB_MAX_RANK] = {0}, crop[2 * PLUMB_MAX_RANK] = {0};
    int64_t sizes[PLUMB_MAX_RANK];
    int n_scales = 0, n_sizes = 0, n_crop = 0, scales_at = first ? 1 : 2;
    if (onnx_attribute(q, "axes") || strcmp(onnx_text(q, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0 ||
        onnx_int(q, "antialias", 0) != 0) {
        return onnx_refuse(q, "axes, antialias, keep_aspect_ratio_policy", "are not supported");
    }
    int mode = chosen(q, "mode", "nearest", modes, 3);
    int where = chosen(q, "coordinate_transformation_mode", first ? "asymmetric" : "half_pixel", coordinates, 5);
    int rounding = chosen(q, "nearest_mode", first ? "floor" : "round_prefer_floor", roundings, 4);
    if (q->failed) {
        return q->failed;
    }
    plumb_status status = onnx_has(q, scales_at) ? onnx_numbers(q, scales_at, scales, PLUMB_MAX_RANK, &n_scales) : PLUMB_OK;
    if (!status && !first && onnx_has(q, 3)) {
        status = onnx_whole(q, 3, sizes, PLUMB_MAX_RANK, &n_sizes);
    }
    if (!status && where == PLUMB_RESIZE_CROP && onnx_has(q, 1)) {
        status = onnx_numbers(q, 1, crop, 2 * PLUMB_MAX_RANK, &n_crop);
    }
    if (status || (n_scales != x.rank && n_sizes != x.rank) || (n_scales && n_sizes) || (n_crop && n_crop != 2 * x.rank)) {
        return status ? status : onnx_refuse(q, NULL, "needs scales or sizes, one for each dimension");
    }
    for (int i = 0; i < x.rank; i++) {
        if (n_sizes ? sizes[i] < 1 : !(scales[i] > 0 && scales[i] < 1e6)) {
            return onnx_refuse(q, n_sizes ? "sizes" : "scales", "number %d is out of range", i);
        }
    }
    const plumb_resize_options o = {.size = sizeof(o), .mode = (plumb_resize_mode)mode,
                                    .coordinates = (plumb_resize_coordinates)where, .nearest = (plumb_resize_rounding)rounding,
                                    .cubic_a = onnx_float(q, "cubic_coeff_a", -0.75), .exclude_outside = onnx_int(q, "exclude_outside", 0) != 0,
                                    .sizes = n_sizes ? sizes : NULL, .scales = n_sizes ? NULL : scales, .crop = n_crop ? crop : NULL,
                                    .extrapolation = onnx_float(q, "extrapolation_value", 0)};
    onnx_out(q, 0, plumb_resize(q->g, onnx_in(q, 0), &o));
    return PLUMB_OK;
}

static plumb_status upsample(struct onnx_node *q)
{
    double scales[PLUMB_MAX_RANK] = {0};
    int n = 0;
    plumb_status status = PLUMB_OK;
    if (q->opset < 9) {
        const Onnx__Attribute *a = onnx_attribute(q, "scales");
        for (; a && (size_t)n < a->n_floats && n < PLUMB_MAX_RANK; n++) {
            scales[n] = (double)a->floats[n];
        }
    } else {
        status = onnx_has(q, 1) ? onnx_numbers(q, 1, scales, PLUMB_MAX_RANK, &n) : PLUMB_OK;
    }
    if (status || n != onnx_shape(q, 0).rank) {
        return status ? status : onnx_refuse(q, "scales", "there is not one for each dimension");
    }
    const plumb_resize_options o = {.size = sizeof(o), .coordinates = PLUMB_RESIZE_ASYMMETRIC, .nearest = PLUMB_RESIZE_FLOOR,
                                    .mode = strcmp(onnx_text(q, "mode", "nearest"), "nearest") ? PLUMB_RESIZE_LINEAR : PLUMB_RESIZE_NEAREST,
                                    .scales = scales};
    onnx_out(q, 0, plumb_resize(q->g, onnx_in(q, 0), &o));
    return PLUMB_OK;
}

/* ---- detection ---- */

static plumb_status roi_align(struct onnx_node *q)
{
    const char *mode = onnx_text(q, "coordinate_transformation_mode", q->opset < 16 ? "output_half_pixel" : "half_pixel");
    const plumb_roi_options o = {.size = sizeof(o), .height = onnx_int(q, "output_height", 1), .width = onnx_int(q, "output_width", 1),
                                 .scale = onnx_float(q, "spatial_scale", 1), .sampling = onnx_int(q, "sampling_ratio", 0),
                                 .aligned = strcmp(mode, "half_pixel") == 0, .max = strcmp(onnx_text(q, "mode", "avg"), "max") == 0};
    onnx_out(q, 0, plumb_roi_align(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2), &o));
    return PLUMB_OK;
}

/* How many are selected is the shape of the result, so boxes and scores must be known: given, or computed from what is. */
static plumb_status non_max_suppression(struct onnx_node *q)
{
    double most = 0, overlap = 0, score = 0;
    int n = 0;
    plumb_status status = onnx_has(q, 2) ? onnx_numbers(q, 2, &most, 1, &n) : PLUMB_OK;
    status = status || !onnx_has(q, 3) ? status : onnx_numbers(q, 3, &overlap, 1, &n);
    status = status || !onnx_has(q, 4) ? status : onnx_numbers(q, 4, &score, 1, &n);
    if (status || most <= 0) {
        return status ? status : onnx_refuse(q, NULL, "selects nothing: max_output_boxes_per_class is 0");
    }
    const plumb_nms_options o = {.size = sizeof(o), .most = (int64_t)most, .overlap = overlap, .score = score, .use_score = onnx_has(q, 4),
                                 .centre = onnx_int(q, "center_point_box", 0) != 0};
    plumb_t all = plumb_non_max_suppression(q->g, onnx_in(q, 0), onnx_in(q, 1), &o);
    struct onnx_value count = {.name = "count", .dtype = PLUMB_I64, .tensor = plumb_output(q->g, all, 1), .input = -1};
    if (q->folding || plumb_graph_status(q->g) || plumb_onnx_evaluate(q->build, &count)) {
        return onnx_refuse(q, NULL, "how many boxes are selected has to be known, and depends on what is fed");
    }
    const int64_t end[2] = {*(const int64_t *)count.data, PLUMB_END}, begin[2] = {0};
    onnx_out(q, 0, plumb_slice(q->g, all, begin, end, NULL));
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"Gather", 1, 0, 2, 2, gather, {NULL}, false},
    {"GatherElements", 11, 0, 2, 2, gather_elements, {NULL}, false},
    {"GatherND", 11, 0, 2, 2, gather_nd, {NULL}, false},
    {"NonMaxSuppression", 10, 0, 2, 5, non_max_suppression, {NULL}, true},
    {"OneHot", 9, 0, 3, 3, one_hot, {NULL}, false},
    {"Resize", 10, 0, 1, 4, resize, {NULL}, false},
    {"RoiAlign", 10, 0, 3, 3, roi_align, {NULL}, false},
    {"Scatter", 9, 10, 3, 3, scatter_elements, {NULL}, false},
    {"ScatterElements", 11, 0, 3, 3, scatter_elements, {NULL}, false},
    {"ScatterND", 11, 0, 3, 3, scatter_nd, {NULL}, false},
    {"Upsample", 7, 9, 1, 2, upsample, {NULL}, false},
};
const struct onnx_family plumb_onnx_lookups = {rows, sizeof(rows) / sizeof(rows[0])};
