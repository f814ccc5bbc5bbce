/* Shapes as data, and tensors made of shapes: Shape, Size, Constant, ConstantOfShape, Range, Reshape, Expand, Tile ... Their results
 * are numbers when the graph is made. */
#include "onnx/onnx.h"

#include <math.h>

/* A value that is known from here on, in memory of the build's arena. NULL after a refusal. */
static void *known(struct onnx_node *q, plumb_dtype dtype, plumb_shape shape)
{
    int64_t count = plumb_shape_count(&shape);
    if (count < 0 || count > ONNX_FOLD_ELEMENTS) {
        q->failed = onnx_refuse(q, NULL, "the result would have more than 2^20 elements");
        return NULL;
    }
    void *data = plumb_arena_alloc(&q->build->arena, (size_t)count * plumb_dtype_size(dtype) + 8);
    if (!data) {
        q->failed = PLUMB_FAILED;
        return NULL;
    }
    q->out[0] = (struct onnx_value){.dtype = dtype, .shape = shape, .data = data, .input = -1};
    return data;
}

static plumb_status open_size(struct onnx_node *q)
{
    return onnx_refuse(q, NULL, "the shape of '%.100s' is open; give the shapes of the model's inputs", q->node->input[0]);
}

static plumb_status shape(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int64_t start = onnx_int(q, "start", 0), end = onnx_int(q, "end", x.rank);
    start = start < 0 ? start + x.rank : start;
    end = end < 0 ? end + x.rank : end;
    start = start < 0 ? 0 : start > x.rank ? x.rank : start;
    end = end < start ? start : end > x.rank ? x.rank : end;
    int64_t *to = known(q, PLUMB_I64, PLUMB_SHAPE(end - start));
    for (int64_t i = start; to && i < end; i++) {
        if (x.dim[i] < 0) {
            return open_size(q);
        }
        to[i - start] = x.dim[i];
    }
    return PLUMB_OK;
}

static plumb_status size(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int64_t count = plumb_shape_count(&x), *to = count < 0 ? NULL : known(q, PLUMB_I64, PLUMB_SCALAR_SHAPE);
    if (count < 0) {
        return open_size(q);
    }
    if (to) {
        *to = count;
    }
    return PLUMB_OK;
}

/* A list of floats or whole numbers, or one of them, in `value_...`. */
static plumb_status constant_list(struct onnx_node *q)
{
    const Onnx__Attribute *f = onnx_attribute(q, "value_float"), *i = onnx_attribute(q, "value_int");
    const Onnx__Attribute *fs = onnx_attribute(q, "value_floats"), *is = onnx_attribute(q, "value_ints");
    if (f || i) {
        void *to = known(q, f ? PLUMB_F32 : PLUMB_I64, PLUMB_SCALAR_SHAPE);
        if (to && f) {
            *(float *)to = f->f;
        } else if (to) {
            *(int64_t *)to = i->i;
        }
        return PLUMB_OK;
    }
    if (!fs && !is) {
        return onnx_refuse(q, "value", "is missing, or of a kind that is not supported");
    }
    size_t n = fs ? fs->n_floats : is->n_ints;
    void *to = known(q, fs ? PLUMB_F32 : PLUMB_I64, PLUMB_SHAPE((int64_t)n));
    if (to && n) {
        memcpy(to, fs ? (const void *)fs->floats : (const void *)is->ints, n * (fs ? sizeof(float) : sizeof(int64_t)));
    }
    return PLUMB_OK;
}

static plumb_status constant(struct onnx_node *q)
{
    const Onnx__Attribute *a = onnx_attribute(q, "value");
    if (!a || !a->t) {
        return constant_list(q);
    }
    struct onnx_value value = {.input = -1};
    char what[160];
    snprintf(what, sizeof(what), "node '%.100s' (Constant)", q->node->output[0]);
    plumb_status status = plumb_onnx_tensor(q->build->file, &q->build->arena, a->t, what, &value);
    q->out[0] = value;
    return status;
}

/* Sizes from an input: a refusal where one is negative or there are too many. */
static plumb_status sizes(struct onnx_node *q, int input, plumb_shape *to)
{
    *to = (plumb_shape){0};
    plumb_status status = onnx_whole(q, input, to->dim, PLUMB_MAX_RANK, &to->rank);
    for (int i = 0; !status && i < to->rank; i++) {
        if (to->dim[i] < 0) {
            return onnx_refuse(q, NULL, "size %lld is negative", (long long)to->dim[i]);
        }
    }
    if (!status && (plumb_shape_count(to) < 0 || plumb_shape_count(to) > ONNX_MAX_ELEMENTS)) {
        return onnx_refuse(q, NULL, "the result would have more than 2^31 elements");
    }
    return status;
}

static plumb_status constant_of_shape(struct onnx_node *q)
{
    plumb_shape to;
    const Onnx__Attribute *a = onnx_attribute(q, "value");
    struct onnx_value value = {.dtype = PLUMB_F32};
    plumb_status status = sizes(q, 0, &to);
    if (!status && a && a->t) {
        status = plumb_onnx_tensor(q->build->file, &q->build->arena, a->t, "ConstantOfShape's value", &value);
        if (!status && plumb_shape_count(&value.shape) != 1) {
            return onnx_refuse(q, "value", "does not have one element");
        }
    }
    if (!status) {
        onnx_out(q, 0, plumb_full(q->g, value.dtype, to, value.data ? plumb_get(value.data, value.dtype, 0) : 0));
    }
    return status;
}

static plumb_status range(struct onnx_node *q)
{
    double from = 0, to = 0, step = 0;
    int n = 0;
    plumb_status status = onnx_numbers(q, 0, &from, 1, &n);
    status = status ? status : onnx_numbers(q, 1, &to, 1, &n);
    status = status ? status : onnx_numbers(q, 2, &step, 1, &n);
    double count = status || step == 0 ? -1 : ceil((to - from) / step);
    if (status) {
        return status;
    }
    if (step == 0 || !(count <= (double)ONNX_MAX_ELEMENTS)) {
        return onnx_refuse(q, NULL, "a step of 0, or more than 2^31 elements");
    }
    const plumb_shape shape_of = PLUMB_SHAPE(count > 0 ? (int64_t)count : 0);
    onnx_out(q, 0, plumb_iota(q->g, onnx_dtype(q, 0), shape_of, from, step));
    return PLUMB_OK;
}

/* 0 keeps a size (but with allowzero), -1 is what remains. */
static plumb_status reshape(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0), to = {0};
    bool zero = onnx_int(q, "allowzero", 0) != 0;
    plumb_status status = onnx_whole(q, 1, to.dim, PLUMB_MAX_RANK, &to.rank);
    if (status) {
        return status;
    }
    int inferred = 0;
    for (int i = 0; i < to.rank; i++) {
        if (to.dim[i] < -1 || (to.dim[i] == 0 && !zero && i >= x.rank)) {
            return onnx_refuse(q, NULL, "shape: %lld at %d", (long long)to.dim[i], i);
        }
        to.dim[i] = to.dim[i] == 0 && !zero ? x.dim[i] : to.dim[i];
        if (to.dim[i] == -1 && inferred++) {
            return onnx_refuse(q, NULL, "shape: -1 stands there twice");
        }
    }
    for (int i = 0; zero && inferred && i < to.rank; i++) {
        if (to.dim[i] == 0) {
            return onnx_refuse(q, "allowzero", "-1 and 0 together leave the shape open");
        }
    }
    onnx_out(q, 0, plumb_reshape(q->g, onnx_in(q, 0), to));
    return PLUMB_OK;
}

static plumb_status expand(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0), to;
    plumb_status status = sizes(q, 1, &to);
    if (status) {
        return status;
    }
    int rank = x.rank > to.rank ? x.rank : to.rank;
    plumb_shape full = {.rank = rank};
    for (int i = 0; i < rank; i++) { /* broadcasting goes both ways */
        int64_t a = i < rank - x.rank ? 1 : x.dim[i - (rank - x.rank)];
        int64_t b = i < rank - to.rank ? 1 : to.dim[i - (rank - to.rank)];
        full.dim[i] = b == 1 ? a : b;
    }
    onnx_out(q, 0, plumb_expand(q->g, onnx_in(q, 0), full));
    return PLUMB_OK;
}

static plumb_status tile(struct onnx_node *q)
{
    int64_t times[PLUMB_MAX_RANK] = {0};
    int n = 0;
    plumb_shape x = onnx_shape(q, 0);
    plumb_status status = onnx_whole(q, 1, times, PLUMB_MAX_RANK, &n);
    if (status) {
        return status;
    }
    int64_t count = n == x.rank ? 1 : -1;
    for (int i = 0; i < n && count >= 0; i++) {
        bool fits = times[i] >= 0 && plumb_mul_size(count, times[i], &count) && (x.dim[i] < 0 || plumb_mul_size(count, x.dim[i], &count));
        count = fits && count <= ONNX_MAX_ELEMENTS ? count : -1;
    }
    if (count < 0) {
        return onnx_refuse(q, NULL, "repeats: needs one number from 0 for each dimension, and a result within 2^31 elements");
    }
    onnx_out(q, 0, plumb_tile(q->g, onnx_in(q, 0), times));
    return PLUMB_OK;
}

static plumb_status eye_like(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int32_t type = (int32_t)onnx_int(q, "dtype", 0);
    int64_t k = onnx_int(q, "k", 0);
    plumb_dtype dtype = type ? plumb_onnx_dtype(type, NULL) : onnx_dtype(q, 0);
    if (x.rank != 2 || x.dim[0] < 0 || x.dim[1] < 0 || !dtype) {
        return onnx_refuse(q, dtype ? NULL : "dtype", "needs two dimensions of known sizes and a supported dtype");
    }
    onnx_out(q, 0, plumb_eye(q->g, dtype, x.dim[0], x.dim[1], k));
    return PLUMB_OK;
}

/* (d0 * .. * d[axis-1], the others) */
static plumb_status flatten(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0), to = PLUMB_SHAPE(1, PLUMB_INFER);
    int axis = onnx_axis(q, onnx_int(q, "axis", 1), x.rank + 1);
    int64_t axis_given = onnx_int(q, "axis", 1);
    axis = axis_given < 0 && axis >= 0 ? axis - 1 : axis; /* it counts from the end of x's dimensions, not of the places between */
    if (axis < 0) {
        return q->failed ? q->failed : onnx_refuse(q, "axis", "%lld is too small", (long long)axis_given);
    }
    bool open = false, behind = false;
    int64_t first = 1, rest = 1;
    for (int i = 0; i < x.rank; i++) {
        open |= i < axis && x.dim[i] < 0;
        behind |= i >= axis && x.dim[i] < 0;
        first *= i < axis ? x.dim[i] : 1;
        rest *= i >= axis ? x.dim[i] : 1;
    }
    if (open) {
        to = PLUMB_SHAPE(axis == 1 ? x.dim[0] : PLUMB_INFER, behind ? PLUMB_INFER : rest);
    } else {
        to = PLUMB_SHAPE(first, behind ? PLUMB_INFER : rest);
    }
    onnx_out(q, 0, plumb_reshape(q->g, onnx_in(q, 0), to));
    return PLUMB_OK;
}

static plumb_status squeeze(struct onnx_node *q)
{
    int axes[PLUMB_MAX_RANK], n = 0;
    plumb_status status = onnx_axes(q, 1, 13, onnx_shape(q, 0).rank, axes, &n);
    if (!status) {
        onnx_out(q, 0, plumb_squeeze(q->g, onnx_in(q, 0), n < 0 ? NULL : axes, n < 0 ? 0 : n));
    }
    return status;
}

static plumb_status unsqueeze(struct onnx_node *q)
{
    int64_t list[PLUMB_MAX_RANK];
    int axes[PLUMB_MAX_RANK], n = 0;
    plumb_status status = PLUMB_OK;
    if (q->opset < 13) {
        n = onnx_ints(q, "axes", list, PLUMB_MAX_RANK);
    } else {
        status = onnx_whole(q, 1, list, PLUMB_MAX_RANK, &n);
    }
    int rank = onnx_shape(q, 0).rank + n;
    if (status || n < 0 || rank > PLUMB_MAX_RANK) {
        return status ? status : onnx_refuse(q, "axes", "is missing, or there would be more than 8 dimensions");
    }
    status = onnx_axes(q, 1, 13, rank, axes, &n);
    if (!status) {
        onnx_out(q, 0, plumb_unsqueeze(q->g, onnx_in(q, 0), axes, n));
    }
    return status;
}

static const struct onnx_row rows[] = {
    {"Constant", 1, 0, 0, 0, constant, {NULL}, true},
    {"ConstantOfShape", 9, 0, 1, 1, constant_of_shape, {NULL}, false},
    {"Expand", 8, 0, 2, 2, expand, {NULL}, false},
    {"EyeLike", 9, 0, 1, 1, eye_like, {NULL}, false},
    {"Flatten", 1, 0, 1, 1, flatten, {NULL}, false},
    {"Range", 11, 0, 3, 3, range, {NULL}, false},
    {"Reshape", 5, 0, 2, 2, reshape, {NULL}, false},
    {"Shape", 1, 0, 1, 1, shape, {NULL}, true},
    {"Size", 1, 0, 1, 1, size, {NULL}, true},
    {"Squeeze", 1, 0, 1, 2, squeeze, {NULL}, false},
    {"Tile", 6, 0, 2, 2, tile, {NULL}, false},
    {"Unsqueeze", 1, 0, 1, 2, unsqueeze, {NULL}, false},
};
const struct onnx_family plumb_onnx_shapes = {rows, sizeof(rows) / sizeof(rows[0])};
