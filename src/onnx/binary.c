/* Element-wise operators of two and more operands, which broadcast as NumPy's do; until opset 6 by attributes. */
#include "onnx/onnx.h"

/* Opset 6: the second operand's dimensions are those of the first from `axis` on; its last ones where there is no axis. */
static plumb_t second(struct onnx_node *q)
{
    plumb_t b = onnx_in(q, 1);
    if (q->opset >= 7 || onnx_int(q, "broadcast", 0) == 0 || !onnx_attribute(q, "axis")) {
        return b;
    }
    plumb_shape a = onnx_shape(q, 0), to = onnx_shape(q, 1);
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), a.rank + (a.rank == 0));
    if (axis < 0 || axis + to.rank > a.rank) {
        q->failed = onnx_refuse(q, "axis", "the second operand reaches beyond the first");
        return PLUMB_NONE;
    }
    while (to.rank < a.rank - axis) {
        to.dim[to.rank++] = 1;
    }
    return plumb_reshape(q->g, b, to);
}

static plumb_status binary(struct onnx_node *q)
{
    plumb_t b = second(q);
    onnx_out(q, 0, q->row->with.two(q->g, onnx_in(q, 0), b));
    return PLUMB_OK;
}

/* The result has the base's type, whatever the exponent's is. */
static plumb_status power(struct onnx_node *q)
{
    plumb_dtype base = onnx_dtype(q, 0), exponent = onnx_dtype(q, 1);
    plumb_t a = onnx_in(q, 0), b = second(q);
    if (base == exponent) {
        onnx_out(q, 0, plumb_pow(q->g, a, b));
    } else if (plumb_dtype_is_float(base) || !plumb_dtype_is_float(exponent)) {
        onnx_out(q, 0, plumb_pow(q->g, a, plumb_cast(q->g, b, base)));
    } else {
        plumb_t y = plumb_pow(q->g, plumb_cast(q->g, a, PLUMB_F64), plumb_cast(q->g, b, PLUMB_F64));
        onnx_out(q, 0, plumb_cast(q->g, y, base));
    }
    return PLUMB_OK;
}

static plumb_status mod(struct onnx_node *q)
{
    bool c_like = onnx_int(q, "fmod", 0) != 0;
    plumb_t a = onnx_in(q, 0), b = onnx_in(q, 1);
    if (!c_like && plumb_dtype_is_float(onnx_dtype(q, 0))) {
        return onnx_refuse(q, "fmod", "has to be 1 for floating point");
    }
    onnx_out(q, 0, c_like ? plumb_fmod(q->g, a, b) : plumb_remainder(q->g, a, b));
    return PLUMB_OK;
}

static plumb_status bit_shift(struct onnx_node *q)
{
    const char *direction = onnx_text(q, "direction", "");
    bool left = strcmp(direction, "LEFT") == 0;
    if (!left && strcmp(direction, "RIGHT") != 0) {
        return onnx_refuse(q, "direction", "'%.40s' is neither LEFT nor RIGHT", direction);
    }
    plumb_t a = onnx_in(q, 0), b = onnx_in(q, 1);
    onnx_out(q, 0, left ? plumb_shift_left(q->g, a, b) : plumb_shift_right(q->g, a, b));
    return PLUMB_OK;
}

static plumb_status several(struct onnx_node *q)
{
    plumb_t y = onnx_in(q, 0);
    for (int i = 1; i < q->n_in; i++) {
        y = q->row->with.two(q->g, y, onnx_in(q, i));
    }
    onnx_out(q, 0, y);
    return PLUMB_OK;
}

static plumb_status mean(struct onnx_node *q)
{
    several(q);
    onnx_out(q, 0, plumb_affine(q->g, q->out[0].tensor, 1.0 / q->n_in, 0));
    return PLUMB_OK;
}

static plumb_status where(struct onnx_node *q)
{
    onnx_out(q, 0, plumb_where(q->g, onnx_in(q, 0), onnx_in(q, 1), onnx_in(q, 2)));
    return PLUMB_OK;
}

/* A slope of one dimension belongs to the channels where it does not fit the last dimension, as in opset 6. */
static plumb_status prelu(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0), slope = onnx_shape(q, 1);
    plumb_t s = onnx_in(q, 1);
    if (slope.rank == 1 && x.rank > 2 && x.dim[1] == slope.dim[0] && (q->opset < 7 || slope.dim[0] != x.dim[x.rank - 1])) {
        while (slope.rank < x.rank - 1) {
            slope.dim[slope.rank++] = 1;
        }
        s = plumb_reshape(q->g, s, slope);
    }
    onnx_out(q, 0, plumb_prelu(q->g, onnx_in(q, 0), s));
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"Add", 6, 0, 2, 2, binary, {.two = plumb_add}, false},
    {"And", 1, 0, 2, 2, binary, {.two = plumb_logical_and}, false},
    {"BitShift", 11, 0, 2, 2, bit_shift, {NULL}, false},
    {"BitwiseAnd", 18, 0, 2, 2, binary, {.two = plumb_bitwise_and}, false},
    {"BitwiseOr", 18, 0, 2, 2, binary, {.two = plumb_bitwise_or}, false},
    {"BitwiseXor", 18, 0, 2, 2, binary, {.two = plumb_bitwise_xor}, false},
    {"Div", 6, 0, 2, 2, binary, {.two = plumb_div}, false},
    {"Equal", 1, 0, 2, 2, binary, {.two = plumb_equal}, false},
    {"Greater", 1, 0, 2, 2, binary, {.two = plumb_greater}, false},
    {"GreaterOrEqual", 12, 0, 2, 2, binary, {.two = plumb_greater_equal}, false},
    {"Less", 1, 0, 2, 2, binary, {.two = plumb_less}, false},
    {"LessOrEqual", 12, 0, 2, 2, binary, {.two = plumb_less_equal}, false},
    {"Max", 6, 0, 1, -1, several, {.two = plumb_maximum}, false},
    {"Mean", 6, 0, 1, -1, mean, {.two = plumb_add}, false},
    {"Min", 6, 0, 1, -1, several, {.two = plumb_minimum}, false},
    {"Mod", 10, 0, 2, 2, mod, {NULL}, false},
    {"Mul", 6, 0, 2, 2, binary, {.two = plumb_mul}, false},
    {"Or", 1, 0, 2, 2, binary, {.two = plumb_logical_or}, false},
    {"PRelu", 6, 0, 2, 2, prelu, {NULL}, false},
    {"Pow", 1, 0, 2, 2, power, {NULL}, false},
    {"Sub", 6, 0, 2, 2, binary, {.two = plumb_sub}, false},
    {"Sum", 6, 0, 1, -1, several, {.two = plumb_add}, false},
    {"Where", 9, 0, 3, 3, where, {NULL}, false},
    {"Xor", 1, 0, 2, 2, binary, {.two = plumb_logical_xor}, false},
};
const struct onnx_family plumb_onnx_binary = {rows, sizeof(rows) / sizeof(rows[0])};
