/* Values by name, and how they come to be where they are needed: in the model's graph as constants or variables, on the host
 * as bytes. Nothing is put into the graph or read from the file before something uses it. */
#include "onnx/onnx.h"

static struct onnx_value **slot(struct onnx_build *b, const char *name)
{
    size_t i = (size_t)plumb_hash(name) & (b->room - 1);
    while (b->values[i] && strcmp(b->values[i]->name, name) != 0) {
        i = (i + 1) & (b->room - 1);
    }
    return &b->values[i];
}

struct onnx_value *plumb_onnx_find(struct onnx_build *b, const char *name)
{
    return *slot(b, name);
}

struct onnx_value *plumb_onnx_add(struct onnx_build *b, const char *name)
{
    struct onnx_value **at = slot(b, name);
    if (*at) {
        return NULL;
    }
    *at = plumb_arena_alloc(&b->arena, sizeof(**at));
    if (*at) {
        (*at)->name = name;
        (*at)->input = -1;
    }
    return *at;
}

plumb_status plumb_onnx_settle(struct onnx_build *b, struct onnx_value *value)
{
    if (!value->initial || value->data) {
        return PLUMB_OK;
    }
    char what[160];
    snprintf(what, sizeof(what), "initializer '%.120s'", value->name);
    plumb_status status = plumb_onnx_tensor(b->file, &b->arena, value->initial, what, value);
    value->parameter = plumb_dtype_is_float(value->dtype);
    return status;
}

/* Names with a ':' are an optimiser's; exporters write "onnx::Conv_17". */
static plumb_t variable(struct onnx_build *b, const struct onnx_value *value)
{
    struct plumb_text text = {.context = b->context};
    plumb_text_add(&text, "%s", value->name);
    for (size_t i = 0; !text.failed && i < text.length; i++) {
        text.data[i] = text.data[i] == ':' ? '.' : text.data[i];
    }
    while (!text.failed && plumb_find(b->graph, text.data)) {
        plumb_text_add(&text, "_");
    }
    char *name = plumb_text_take(&text);
    const plumb_variable_options options = {.size = sizeof(options), .frozen = b->options->frozen};
    plumb_t made = name ? plumb_variable(b->graph, name, value->dtype, value->shape, &options) : PLUMB_NONE;
    plumb_free(b->context, name);
    return made;
}

plumb_t plumb_onnx_place(struct onnx_build *b, struct onnx_value *value)
{
    if (!value->tensor && !plumb_onnx_settle(b, value)) {
        value->tensor = value->parameter ? variable(b, value) : plumb_constant(b->graph, value->dtype, value->shape, value->data);
    }
    return value->tensor;
}

plumb_state *plumb_onnx_state(struct onnx_build *b)
{
    plumb_state *state = plumb_state_new(b->graph);
    plumb_status status = state ? PLUMB_OK : PLUMB_FAILED;
    for (size_t i = 0; !status && i < b->room; i++) {
        const struct onnx_value *v = b->values[i];
        if (v && v->parameter && v->tensor) {
            status = plumb_state_set(state, plumb_name_of(b->graph, v->tensor), v->data,
                                     (size_t)plumb_shape_count(&v->shape) * plumb_dtype_size(v->dtype));
        }
    }
    if (status) {
        plumb_state_free(state);
        return NULL;
    }
    return state;
}

/* What depends on given inputs is computed from them; the graph then holds for these values. */
plumb_status plumb_onnx_evaluate(struct onnx_build *b, struct onnx_value *value)
{
    plumb_status status = plumb_onnx_settle(b, value);
    if (status || value->data) {
        return status;
    }
    int64_t count = plumb_shape_count(&value->shape);
    size_t bytes = count < 0 ? 0 : (size_t)count * plumb_dtype_size(value->dtype);
    void *data = count < 0 || count > ONNX_FOLD_ELEMENTS ? NULL : plumb_arena_alloc(&b->arena, bytes + 8);
    plumb_binding *given = plumb_arena_alloc(&b->arena, ((size_t)b->file->n_inputs + 1) * sizeof(*given));
    if (!data || !given) {
        return PLUMB_BAD_INPUT;
    }
    int n = 0;
    for (int i = 0; i < b->file->n_inputs; i++) {
        const struct onnx_value *in = b->inputs[i];
        const void *at = i < b->options->n_inputs ? b->options->inputs[i].data : NULL;
        int64_t elements = plumb_shape_count(&in->shape);
        if (!at || elements < 0) {
            continue;
        }
        given[n++] = (plumb_binding){in->tensor, at, (size_t)elements * plumb_dtype_size(in->dtype)};
        if (in == value) {
            memcpy(data, at, bytes);
            value->data = data;
            return PLUMB_OK;
        }
    }
    if (n < b->file->n_inputs) {
        return PLUMB_BAD_INPUT; /* it may depend on one that is not known */
    }
    plumb_state *state = plumb_onnx_state(b);
    status = !state ? PLUMB_FAILED : bytes ? plumb_eval(b->graph, state, given, n, value->tensor, data, bytes) : PLUMB_OK;
    plumb_state_free(state);
    value->data = status ? NULL : data;
    return status;
}
