/* Random tensors and dropout. Draws are plumb's own, keyed by the context's seed; the seed attribute is not looked at, for no two
 * libraries draw alike. Programs that do not train pass through dropout. */
#include "onnx/onnx.h"

static plumb_dtype dtype_of(struct onnx_node *q, plumb_dtype otherwise)
{
    int32_t type = (int32_t)onnx_int(q, "dtype", 0);
    plumb_dtype dtype = type ? plumb_onnx_dtype(type, NULL) : otherwise;
    if (!dtype) {
        q->failed = onnx_refuse(q, "dtype", "%s not supported", plumb_onnx_type_name(type));
    }
    return dtype;
}

/* What is dropped is known in training alone; the mask of programs that do not train is all true. */
static plumb_status dropout(struct onnx_node *q)
{
    double ratio = q->opset < 12 ? onnx_float(q, "ratio", 0.5) : 0.5, training = 0;
    int n = 0;
    plumb_status status = q->opset >= 12 && onnx_has(q, 1) ? onnx_numbers(q, 1, &ratio, 1, &n) : PLUMB_OK;
    if (!status && q->opset >= 12 && onnx_has(q, 2)) {
        status = onnx_numbers(q, 2, &training, 1, &n);
    }
    if (status || !(ratio >= 0 && ratio < 1)) {
        return status ? status : onnx_refuse(q, "ratio", "is outside [0, 1)");
    }
    plumb_t x = onnx_in(q, 0);
    if (training != 0 && ratio > 0) {
        return onnx_refuse(q, NULL, "training_mode: what it drops is drawn, and by each library in its own way");
    }
    onnx_out(q, 0, ratio > 0 && !(q->opset >= 12 && onnx_has(q, 2)) ? plumb_dropout(q->g, x, ratio) : x);
    if (onnx_wants(q, 1)) {
        onnx_out(q, 1, plumb_cast(q->g, plumb_full_like(q->g, x, 1), PLUMB_U8));
    }
    return PLUMB_OK;
}

static plumb_status shape_of(struct onnx_node *q, plumb_shape *shape)
{
    shape->rank = onnx_ints(q, "shape", shape->dim, PLUMB_MAX_RANK);
    int64_t count = shape->rank < 0 ? -1 : plumb_shape_count(shape);
    return count < 0 || count > ONNX_MAX_ELEMENTS ? onnx_refuse(q, "shape", "is missing or out of range") : PLUMB_OK;
}

static plumb_status draw(struct onnx_node *q)
{
    bool uniform = strncmp(q->row->name, "RandomU", 7) == 0, like = strstr(q->row->name, "Like") != NULL;
    double a = uniform ? onnx_float(q, "low", 0) : onnx_float(q, "mean", 0);
    double b = uniform ? onnx_float(q, "high", 1) : onnx_float(q, "scale", 1);
    plumb_dtype dtype = dtype_of(q, like ? onnx_dtype(q, 0) : PLUMB_F32);
    plumb_shape shape = onnx_shape(q, 0);
    plumb_status status = q->failed ? q->failed : like ? PLUMB_OK : shape_of(q, &shape);
    if (status) {
        return status;
    }
    plumb_t x = like ? plumb_full_like(q->g, plumb_cast(q->g, onnx_in(q, 0), dtype), 0) : PLUMB_NONE;
    onnx_out(q, 0, uniform ? like ? plumb_random_uniform_like(q->g, x, a, b) : plumb_random_uniform(q->g, dtype, shape, a, b)
                   : like  ? plumb_random_normal_like(q->g, x, a, b)
                           : plumb_random_normal(q->g, dtype, shape, a, b));
    return PLUMB_OK;
}

static plumb_status bernoulli(struct onnx_node *q)
{
    plumb_dtype dtype = dtype_of(q, onnx_dtype(q, 0));
    plumb_t y = plumb_bernoulli(q->g, onnx_in(q, 0));
    onnx_out(q, 0, dtype == onnx_dtype(q, 0) ? y : plumb_cast(q->g, y, dtype));
    return q->failed;
}

static const struct onnx_row rows[] = {
    {"Bernoulli", 15, 0, 1, 1, bernoulli, {NULL}, true},
    {"Dropout", 7, 0, 1, 3, dropout, {NULL}, true},
    {"RandomNormal", 1, 0, 0, 0, draw, {NULL}, true},
    {"RandomNormalLike", 1, 0, 1, 1, draw, {NULL}, true},
    {"RandomUniform", 1, 0, 0, 0, draw, {NULL}, true},
    {"RandomUniformLike", 1, 0, 1, 1, draw, {NULL}, true},
};
const struct onnx_family plumb_onnx_random = {rows, sizeof(rows) / sizeof(rows[0])};
