/* Opens a model: reads the file, looks at its bytes, has protobuf-c unpack them within a limit of memory, and checks what
 * holds for the whole model: versions, opsets, names of inputs and outputs. */
#include "onnx/onnx.h"

#define MAX_FILE ((size_t)1 << 31) /* protobuf's own limit */
#define MAX_DIMENSION ((int64_t)1 << 40)

/* protobuf-c keeps structs larger than the bytes that stand for them: a file of empty messages must not grow without bound. */
static void *unpack_alloc(void *user, size_t bytes)
{
    plumb_onnx *file = user;
    if (bytes > MAX_FILE || file->held + (int64_t)bytes > file->limit) {
        return NULL;
    }
    file->held += (int64_t)bytes;
    return plumb_alloc(file->context, bytes);
}

static void unpack_free(void *user, void *memory)
{
    plumb_free(((plumb_onnx *)user)->context, memory);
}

static void destroy(void *object)
{
    plumb_onnx *file = object;
    if (file->model) {
        onnx__model__free_unpacked(file->model, &file->allocator);
    }
    plumb_free(file->context, file->path);
    plumb_free(file->context, (void *)file->inputs);
    plumb_free(file->context, file->ids);
    plumb_free(file->context, file);
}

static plumb_status refuse(const plumb_onnx *file, const char *field, const char *why)
{
    return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s: %s", file->path, field, why);
}

static plumb_status unpack(plumb_onnx *file)
{
    void *data = NULL;
    size_t bytes = 0, offset = 0;
    plumb_status status = plumb_read_file(file->context, file->path, MAX_FILE, &data, &bytes);
    if (status) {
        return status;
    }
    const char *why = bytes ? plumb_onnx_scan(data, bytes, &offset) : "is empty";
    if (why) {
        status = plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: offset %zu: %s; no ONNX model", file->path, offset, why);
    } else {
        file->limit = ((int64_t)1 << 25) + 3 * (int64_t)bytes;
        file->model = onnx__model__unpack(&file->allocator, bytes, data);
        status = file->model ? PLUMB_OK : refuse(file, "model", "does not unpack: a field has another type than ONNX gives it");
    }
    plumb_free(file->context, data);
    return status;
}

static plumb_status check_versions(plumb_onnx *file)
{
    const Onnx__Model *m = file->model;
    char text[128];
    file->ir = m->has_ir_version ? m->ir_version : 0;
    if (file->ir < 1 || file->ir > 12) {
        snprintf(text, sizeof(text), "is %lld; 1 to 12 are read", (long long)file->ir);
        return refuse(file, "ir_version", text);
    }
    file->opset = 0;
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSet *set = m->opset_import[i];
        if (set->domain && *set->domain && strcmp(set->domain, "ai.onnx") != 0) {
            continue; /* nodes of other domains are refused one by one */
        }
        if (file->opset) {
            return refuse(file, "opset_import", "the domain ai.onnx stands there twice");
        }
        file->opset = set->has_version ? set->version : 0;
        if (file->opset < 1 || file->opset > ONNX_NEWEST) {
            snprintf(text, sizeof(text), "opset %lld; 1 to %d are read, as far as their operators go", (long long)file->opset, ONNX_NEWEST);
            return refuse(file, "opset_import", text);
        }
    }
    return m->n_opset_import ? PLUMB_OK : refuse(file, "opset_import", "is missing");
}

static bool is_initialiser(const Onnx__Graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (graph->initializer[i]->name && strcmp(graph->initializer[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static plumb_status read_port(const plumb_onnx *file, const Onnx__ValueInfo *info, plumb_onnx_port *port, const char *role)
{
    *port = (plumb_onnx_port){.name = info->name ? info->name : "", .shape = {.rank = -1}};
    const Onnx__TensorType *type = info->type ? info->type->tensor_type : NULL;
    port->dtype = type ? plumb_onnx_dtype(type->elem_type, &port->boolean) : PLUMB_NO_DTYPE;
    if (!port->dtype) {
        return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s '%s': %s not supported", file->path, role, port->name,
                          type ? plumb_onnx_type_name(type->elem_type) : "a type that is no tensor, which is");
    }
    if (!type->shape) {
        return PLUMB_OK;
    }
    if (type->shape->n_dim > PLUMB_MAX_RANK) {
        return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s '%s': has %zu dimensions, 8 are supported", file->path, role,
                          port->name, type->shape->n_dim);
    }
    port->shape.rank = (int)type->shape->n_dim;
    for (int i = 0; i < port->shape.rank; i++) {
        const Onnx__Dimension *d = type->shape->dim[i];
        if (d->has_dim_value && (d->dim_value < 0 || d->dim_value > MAX_DIMENSION)) {
            return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s '%s': dimension %d is %lld", file->path, role, port->name, i,
                              (long long)d->dim_value);
        }
        port->shape.dim[i] = d->has_dim_value ? d->dim_value : PLUMB_UNKNOWN;
    }
    return PLUMB_OK;
}

static plumb_status check_ports(plumb_onnx *file)
{
    const Onnx__Graph *graph = file->model->graph;
    if (!graph) {
        return refuse(file, "graph", "is missing");
    }
    if (graph->n_output == 0) {
        return refuse(file, "graph", "has no outputs");
    }
    if (graph->n_sparse_initializer) {
        return refuse(file, "sparse_initializer", "is not supported");
    }
    if (graph->n_input > 65536 || graph->n_output > 65536) {
        return refuse(file, "graph", "has more than 65536 inputs or outputs");
    }
    file->inputs = plumb_alloc(file->context, (graph->n_input + 1) * sizeof(*file->inputs));
    file->ids = plumb_zalloc(file->context, (graph->n_input + graph->n_output) * sizeof(plumb_t));
    if (!file->inputs || !file->ids) {
        return PLUMB_FAILED;
    }
    plumb_onnx_port port;
    plumb_status status = PLUMB_OK;
    for (size_t i = 0; !status && i < graph->n_input; i++) {
        const Onnx__ValueInfo *info = graph->input[i];
        if (!info->name || !*info->name) {
            return refuse(file, "graph.input", "one has no name");
        }
        if (!is_initialiser(graph, info->name)) {
            file->inputs[file->n_inputs++] = info;
            status = read_port(file, info, &port, "input");
        }
    }
    for (size_t i = 0; !status && i < graph->n_output; i++) {
        const Onnx__ValueInfo *info = graph->output[i];
        if (!info->name || !*info->name) {
            return refuse(file, "graph.output", "one has no name");
        }
        status = read_port(file, info, &port, "output");
    }
    return status;
}

plumb_onnx *plumb_onnx_open(plumb_context *context, const char *path)
{
    if (!context) {
        return NULL;
    }
    plumb_onnx *file = plumb_zalloc(context, sizeof(*file));
    if (!file) {
        return NULL;
    }
    file->context = context;
    file->allocator = (ProtobufCAllocator){unpack_alloc, unpack_free, file};
    file->path = plumb_strdup(context, path ? path : "");
    plumb_status status = file->path ? unpack(file) : PLUMB_FAILED;
    status = status ? status : check_versions(file);
    status = status ? status : check_ports(file);
    file->handle = status ? NULL : plumb_handle_new(context, PLUMB_KIND_OTHER, file, destroy);
    if (!file->handle) {
        destroy(file);
        return NULL;
    }
    return file->handle;
}

void plumb_onnx_free(plumb_onnx *file)
{
    plumb_handle_free(file, PLUMB_KIND_OTHER);
}

plumb_onnx *plumb_onnx_get(const plumb_onnx *handle)
{
    return plumb_handle_get(handle, PLUMB_KIND_OTHER);
}

int plumb_onnx_inputs(const plumb_onnx *handle)
{
    const plumb_onnx *file = plumb_onnx_get(handle);
    return file ? file->n_inputs : 0;
}

int plumb_onnx_outputs(const plumb_onnx *handle)
{
    const plumb_onnx *file = plumb_onnx_get(handle);
    return file ? (int)file->model->graph->n_output : 0;
}

plumb_status plumb_onnx_input(const plumb_onnx *handle, int index, plumb_onnx_port *port)
{
    const plumb_onnx *file = plumb_onnx_get(handle);
    return file && port && index >= 0 && index < file->n_inputs ? read_port(file, file->inputs[index], port, "input") : PLUMB_BAD_INPUT;
}

plumb_status plumb_onnx_output(const plumb_onnx *handle, int index, plumb_onnx_port *port)
{
    const plumb_onnx *file = plumb_onnx_get(handle);
    return file && port && index >= 0 && index < (int)file->model->graph->n_output
               ? read_port(file, file->model->graph->output[index], port, "output")
               : PLUMB_BAD_INPUT;
}
