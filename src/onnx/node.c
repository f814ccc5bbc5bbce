/* What builder functions read a node with: inputs, attributes, axes; and how they refuse one. */
#include "onnx/onnx.h"

#include <math.h>

plumb_status onnx_refuse(const struct onnx_node *q, const char *attribute, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const char *name = q->node->name && *q->node->name ? q->node->name : q->node->n_output ? q->node->output[0] : "";
    return plumb_fail(q->context, PLUMB_BAD_INPUT, "%s: node '%s' (%s)%s%s: %s", q->build->file->path, name, q->node->op_type,
                      attribute ? ", " : "", attribute ? attribute : "", text);
}

/* ---- inputs and outputs ---- */

bool onnx_has(const struct onnx_node *q, int input)
{
    return input < q->n_in && q->in[input];
}

plumb_t onnx_in(struct onnx_node *q, int input)
{
    if (!onnx_has(q, input)) {
        return PLUMB_NONE;
    }
    struct onnx_value *value = q->in[input];
    plumb_t tensor = q->folding ? plumb_constant(q->g, value->dtype, value->shape, value->data) : plumb_onnx_place(q->build, value);
    if (!tensor && !q->failed) {
        q->failed = plumb_last_status(q->context) ? plumb_last_status(q->context) : PLUMB_FAILED;
    }
    return tensor;
}

plumb_shape onnx_shape(const struct onnx_node *q, int input)
{
    return onnx_has(q, input) ? q->in[input]->shape : (plumb_shape){0};
}

plumb_dtype onnx_dtype(const struct onnx_node *q, int input)
{
    return onnx_has(q, input) ? q->in[input]->dtype : PLUMB_NO_DTYPE;
}

bool onnx_wants(const struct onnx_node *q, int output)
{
    return output < q->n_out && *q->node->output[output];
}

void onnx_out(struct onnx_node *q, int output, plumb_t tensor)
{
    if (output < q->n_out) {
        q->out[output].tensor = tensor;
    }
}

/* ---- values ---- */

static plumb_status known(struct onnx_node *q, int input, int room, int *count)
{
    if (!onnx_has(q, input)) {
        return onnx_refuse(q, NULL, "input %d is missing", input);
    }
    struct onnx_value *value = q->in[input];
    if (!value->data && plumb_onnx_evaluate(q->build, value)) {
        return onnx_refuse(q, NULL, "the value of input %d, '%s', is needed to know shapes, and depends on what is fed", input,
                           value->name);
    }
    int64_t elements = plumb_shape_count(&value->shape);
    if (elements > room) {
        return onnx_refuse(q, NULL, "input %d has %lld elements, at most %d are expected", input, (long long)elements, room);
    }
    *count = (int)elements;
    return PLUMB_OK;
}

plumb_status onnx_whole(struct onnx_node *q, int input, int64_t *to, int room, int *count)
{
    plumb_status status = known(q, input, room, count);
    for (int i = 0; !status && i < *count; i++) {
        const struct onnx_value *v = q->in[input];
        to[i] = v->dtype == PLUMB_I64 ? ((const int64_t *)v->data)[i] : (int64_t)plumb_get(v->data, v->dtype, i);
    }
    return status;
}

plumb_status onnx_numbers(struct onnx_node *q, int input, double *to, int room, int *count)
{
    plumb_status status = known(q, input, room, count);
    for (int i = 0; !status && i < *count; i++) {
        to[i] = plumb_get(q->in[input]->data, q->in[input]->dtype, i);
    }
    return status;
}

/* ---- attributes ---- */

enum { KIND_FLOAT = 1, KIND_INT = 2, KIND_STRING = 3 };

const Onnx__Attribute *onnx_attribute(const struct onnx_node *q, const char *name)
{
    for (size_t i = 0; i < q->node->n_attribute; i++) {
        if (q->node->attribute[i]->name && strcmp(q->node->attribute[i]->name, name) == 0) {
            return q->node->attribute[i];
        }
    }
    return NULL;
}

static void wrong_kind(struct onnx_node *q, const char *name, const char *kind)
{
    q->failed = onnx_refuse(q, name, "is no %s", kind);
}

int64_t onnx_int(struct onnx_node *q, const char *name, int64_t otherwise)
{
    const Onnx__Attribute *a = onnx_attribute(q, name);
    if (a && !a->has_i && a->has_type && a->type != KIND_INT) {
        wrong_kind(q, name, "whole number");
        return otherwise;
    }
    return a ? a->has_i ? a->i : 0 : otherwise;
}

double onnx_float(struct onnx_node *q, const char *name, double otherwise)
{
    const Onnx__Attribute *a = onnx_attribute(q, name);
    if (a && !a->has_f && a->has_type && a->type != KIND_FLOAT) {
        wrong_kind(q, name, "number");
        return otherwise;
    }
    return a ? a->has_f ? (double)a->f : 0 : otherwise;
}

const char *onnx_text(struct onnx_node *q, const char *name, const char *otherwise)
{
    const Onnx__Attribute *a = onnx_attribute(q, name);
    if (!a) {
        return otherwise;
    }
    if (!a->has_s && a->has_type && a->type != KIND_STRING) {
        wrong_kind(q, name, "text");
        return otherwise;
    }
    char *text = plumb_arena_alloc(&q->build->arena, a->s.len + 1); /* zeroed, so it ends */
    if (text && a->s.len) {
        memcpy(text, a->s.data, a->s.len);
    }
    return text ? text : otherwise;
}

int onnx_ints(struct onnx_node *q, const char *name, int64_t *to, int room)
{
    const Onnx__Attribute *a = onnx_attribute(q, name);
    if (!a) {
        return -1;
    }
    if (a->n_ints > (size_t)room) {
        q->failed = onnx_refuse(q, name, "has %zu numbers, at most %d are expected", a->n_ints, room);
        return -1;
    }
    for (size_t i = 0; i < a->n_ints; i++) {
        to[i] = a->ints[i];
    }
    return (int)a->n_ints;
}

int onnx_axis(struct onnx_node *q, int64_t axis, int rank)
{
    if (axis < -rank || axis >= rank) {
        q->failed = onnx_refuse(q, "axis", "%lld is outside %d to %d", (long long)axis, -rank, rank - 1);
        return -1;
    }
    return (int)(axis < 0 ? axis + rank : axis);
}

plumb_status onnx_axes(struct onnx_node *q, int input, int by_input, int rank, int axes[PLUMB_MAX_RANK], int *count)
{
    int64_t list[PLUMB_MAX_RANK];
    plumb_status status = PLUMB_OK;
    unsigned seen = 0;
    *count = -1;
    if (q->opset < by_input) {
        *count = onnx_ints(q, "axes", list, PLUMB_MAX_RANK);
    } else if (onnx_has(q, input)) {
        status = onnx_whole(q, input, list, PLUMB_MAX_RANK, count);
    }
    for (int i = 0; !status && i < *count; i++) {
        axes[i] = onnx_axis(q, list[i], rank);
        if (axes[i] < 0 || (seen & (1u << axes[i]))) {
            return axes[i] < 0 ? q->failed : onnx_refuse(q, "axes", "%lld stands there twice", (long long)list[i]);
        }
        seen |= 1u << axes[i];
    }
    return status ? status : q->failed;
}

plumb_status onnx_done(struct onnx_node *q, plumb_status status)
{
    status = status ? status : q->failed;
    if (status || !plumb_graph_status(q->g)) {
        return status;
    }
    char text[768];
    snprintf(text, sizeof(text), "%s", plumb_message(q->context));
    status = plumb_graph_status(q->g);
    if (status == PLUMB_BAD_INPUT) {
        plumb_clear_error(q->context);
        onnx_refuse(q, NULL, "%s", text);
    }
    return status;
}
