/* From the nodes of a file to a graph of plumb's ops: one pass over the nodes in the file's order, which must be one in which
 * every value is made before it is used. What depends on known values alone is computed on the way, see onnx.h. */
#include "onnx/onnx.h"


static plumb_status refuse(const struct onnx_build *b, const char *what, const char *name, const char *why)
{
    return plumb_fail(b->context, PLUMB_BAD_INPUT, "%s: %s '%s': %s", b->file->path, what, name, why);
}

/* ---- inputs ---- */

struct symbols {
    const char *names[PLUMB_SYMBOLS];
    int count;
};

/* A symbol for an open dimension: equal names are equal sizes. 0: there are too many. */
static int64_t symbol(struct symbols *s, const char *name)
{
    for (int i = 0; *name && i < s->count; i++) {
        if (strcmp(s->names[i], name) == 0) {
            return PLUMB_BATCH - i;
        }
    }
    if (s->count == PLUMB_SYMBOLS) {
        return 0;
    }
    s->names[s->count] = name;
    return PLUMB_BATCH - s->count++;
}

static plumb_status open_shape(struct onnx_build *b, const Onnx__ValueInfo *info, struct symbols *symbols, plumb_onnx_port *port)
{
    if (port->shape.rank < 0) {
        return refuse(b, "input", port->name, "the file does not say its shape; it has to be given");
    }
    for (int i = 0; i < port->shape.rank; i++) {
        const char *name = info->type->tensor_type->shape->dim[i]->dim_param;
        if (port->shape.dim[i] == PLUMB_UNKNOWN) {
            port->shape.dim[i] = symbol(symbols, name ? name : "");
        }
        if (port->shape.dim[i] == 0 && info->type->tensor_type->shape->dim[i]->has_dim_value == 0) {
            return refuse(b, "input", port->name, "the model has more than 4 open dimensions; shapes have to be given");
        }
    }
    return PLUMB_OK;
}

static plumb_status given_shape(struct onnx_build *b, int index, plumb_onnx_port *port)
{
    const plumb_shape given = b->options->inputs[index].shape;
    bool fits = given.rank >= 0 && given.rank <= PLUMB_MAX_RANK && (port->shape.rank < 0 || given.rank == port->shape.rank);
    for (int i = 0; fits && i < given.rank; i++) {
        fits = (given.dim[i] >= 0 || plumb_is_symbol(given.dim[i])) &&
               (port->shape.rank < 0 || port->shape.dim[i] < 0 || given.dim[i] < 0 || given.dim[i] == port->shape.dim[i]);
    }
    if (!fits) {
        char is[160], wanted[160];
        return plumb_fail(b->context, PLUMB_BAD_INPUT, "%s: input '%s': is given as %s, the model takes %s", b->file->path, port->name,
                          plumb_shape_text(&given, is, sizeof(is)), plumb_shape_text(&port->shape, wanted, sizeof(wanted)));
    }
    port->shape = given;
    return PLUMB_OK;
}

static plumb_status add_inputs(struct onnx_build *b)
{
    struct symbols symbols = {.count = 0};
    b->inputs = plumb_arena_alloc(&b->arena, ((size_t)b->file->n_inputs + 1) * sizeof(*b->inputs));
    if (!b->inputs) {
        return PLUMB_FAILED;
    }
    if (b->options->inputs && b->options->n_inputs != b->file->n_inputs) {
        return plumb_fail(b->context, PLUMB_BAD_INPUT, "%s: takes %d inputs, %d are given", b->file->path, b->file->n_inputs,
                          b->options->n_inputs);
    }
    for (int i = 0; i < b->file->n_inputs; i++) {
        plumb_onnx_port port;
        plumb_status status = plumb_onnx_input(b->file->handle, i, &port);
        status = status ? status
                 : b->options->inputs ? given_shape(b, i, &port)
                                      : open_shape(b, b->file->inputs[i], &symbols, &port);
        struct onnx_value *value = status ? NULL : plumb_onnx_add(b, port.name);
        if (!value) {
            return status ? status : refuse(b, "input", port.name, "the name stands there twice");
        }
        *value = (struct onnx_value){.name = port.name, .dtype = port.dtype, .shape = port.shape, .boolean = port.boolean, .input = i};
        value->tensor = plumb_input(b->graph, port.name, port.dtype, port.shape);
        b->file->ids[i] = value->tensor;
        b->inputs[i] = value;
    }
    return plumb_graph_status(b->graph);
}

static plumb_status add_initialisers(struct onnx_build *b, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const Onnx__Tensor *t = graph->initializer[i];
        struct onnx_value *value = t->name && *t->name ? plumb_onnx_add(b, t->name) : NULL;
        if (!value) {
            return refuse(b, "initializer", t->name ? t->name : "", "has no name, or one that stands there twice");
        }
        value->initial = t;
    }
    return PLUMB_OK;
}

/* ---- nodes ---- */

static const struct onnx_family *const families[] = {
#define ONNX_FAMILY(name) &plumb_onnx_##name,
    ONNX_FAMILIES
#undef ONNX_FAMILY
};
#define FAMILIES ((int)(sizeof(families) / sizeof(families[0])))

static const struct onnx_row *row_at(int index)
{
    for (int f = 0; f < FAMILIES; f++) {
        if (index < families[f]->count) {
            return &families[f]->rows[index];
        }
        index -= families[f]->count;
    }
    return NULL;
}

bool plumb_onnx_operator_at(int index, plumb_onnx_operator *row)
{
    const struct onnx_row *r = index < 0 ? NULL : row_at(index);
    if (r && row) {
        *row = (plumb_onnx_operator){r->name, r->since, r->until ? r->until : ONNX_NEWEST};
    }
    return r != NULL;
}

static plumb_status find_row(struct onnx_node *q)
{
    if (q->node->domain && *q->node->domain && strcmp(q->node->domain, "ai.onnx") != 0) {
        return onnx_refuse(q, NULL, "operators of the domain '%.100s' are not supported", q->node->domain);
    }
    const struct onnx_row *other = NULL;
    for (int i = 0; (q->row = row_at(i)) != NULL; i++) {
        if (strcmp(q->row->name, q->node->op_type) != 0) {
            continue;
        }
        if (q->opset >= q->row->since && (!q->row->until || q->opset <= q->row->until)) {
            break;
        }
        other = q->row;
    }
    if (q->row) {
        return PLUMB_OK;
    }
    return other ? onnx_refuse(q, NULL, "its form of opset %d is not supported", q->opset)
                 : onnx_refuse(q, NULL, "this operator is not supported");
}

static plumb_status find_inputs(struct onnx_node *q)
{
    const Onnx__Node *node = q->node;
    if (node->n_input > 65536 || node->n_output > 65536 || node->n_output == 0) {
        return onnx_refuse(q, NULL, "has no outputs, or more inputs or outputs than are read");
    }
    q->n_in = (int)node->n_input;
    q->n_out = (int)node->n_output;
    q->in = plumb_arena_alloc(&q->build->arena, (node->n_input + 1) * sizeof(*q->in));
    q->out = plumb_arena_alloc(&q->build->arena, node->n_output * sizeof(*q->out));
    if (!q->in || !q->out) {
        return PLUMB_FAILED;
    }
    for (int i = 0; i < q->n_in; i++) {
        q->in[i] = *node->input[i] ? plumb_onnx_find(q->build, node->input[i]) : NULL;
        if (*node->input[i] && !q->in[i]) {
            return onnx_refuse(q, NULL, "input '%s' is made by nothing before it", node->input[i]);
        }
        plumb_status status = q->in[i] ? plumb_onnx_settle(q->build, q->in[i]) : PLUMB_OK;
        if (status) {
            return status;
        }
    }
    for (int i = 0; i < q->row->min_in; i++) {
        if (!onnx_has(q, i)) {
            return onnx_refuse(q, NULL, "input %d is missing", i);
        }
    }
    return q->row->max_in >= 0 && q->n_in > q->row->max_in ? onnx_refuse(q, NULL, "has %d inputs, at most %d are read", q->n_in, q->row->max_in)
                                                           : PLUMB_OK;
}

/* Everything it reads is known, and nothing of it is to be trained. */
static bool is_known(const struct onnx_node *q)
{
    for (int i = 0; i < q->n_in; i++) {
        if (q->in[i] && (!q->in[i]->data || q->in[i]->parameter || q->in[i]->input >= 0)) {
            return false;
        }
    }
    return q->n_in > 0 && !q->row->unfolded;
}

static plumb_status type_outputs(struct onnx_node *q)
{
    for (int i = 0; i < q->n_out; i++) {
        struct onnx_value *out = &q->out[i];
        if (!onnx_wants(q, i)) {
            continue;
        }
        if (!out->data && !out->tensor) {
            return onnx_refuse(q, NULL, "output %d is not supported", i);
        }
        if (!out->data) {
            out->dtype = plumb_dtype_of(q->g, out->tensor);
            out->shape = plumb_shape_of(q->g, out->tensor);
        }
        int64_t count = plumb_shape_count(&out->shape);
        bool open = false;
        for (int d = 0; d < out->shape.rank; d++) {
            open |= out->shape.dim[d] < 0;
        }
        if (!open && (count < 0 || count > ONNX_MAX_ELEMENTS)) {
            return onnx_refuse(q, NULL, "output %d would have more than 2^31 elements", i);
        }
    }
    return PLUMB_OK;
}

/* In a graph of its own, evaluated at once. *folded false: too large, or not to be known without more. */
static plumb_status fold(struct onnx_node *q, bool *folded)
{
    q->g = plumb_graph_new(q->context, "fold");
    q->folding = true;
    plumb_status status = q->g ? onnx_done(q, q->row->build(q)) : PLUMB_FAILED;
    status = status ? status : type_outputs(q);
    *folded = true;
    for (int i = 0; !status && i < q->n_out; i++) {
        *folded &= !onnx_wants(q, i) || q->out[i].data || plumb_shape_count(&q->out[i].shape) <= ONNX_FOLD_ELEMENTS;
    }
    plumb_state *state = status || !*folded ? NULL : plumb_state_new(q->g);
    for (int i = 0; state && !status && i < q->n_out; i++) {
        struct onnx_value *out = &q->out[i];
        if (!onnx_wants(q, i) || out->data) {
            continue;
        }
        size_t bytes = (size_t)plumb_shape_count(&out->shape) * plumb_dtype_size(out->dtype);
        void *data = plumb_arena_alloc(&q->build->arena, bytes + 8);
        status = !data ? PLUMB_FAILED : bytes ? plumb_eval(q->g, state, NULL, 0, out->tensor, data, bytes) : PLUMB_OK;
        out->data = data;
        out->tensor = PLUMB_NONE;
    }
    plumb_state_free(state);
    plumb_graph_free(q->g);
    return status;
}

static plumb_status translate(struct onnx_node *q)
{
    bool folded = false;
    plumb_status status = is_known(q) ? fold(q, &folded) : PLUMB_OK;
    if (status || folded) {
        return status;
    }
    memset(q->out, 0, (size_t)q->n_out * sizeof(*q->out));
    q->g = q->build->graph;
    q->folding = false;
    status = onnx_done(q, q->row->build(q));
    status = status ? status : type_outputs(q);
    plumb_t first = status ? PLUMB_NONE : q->out[0].tensor;
    for (int i = 0; i < q->n_in; i++) { /* what goes through unchanged keeps its name */
        first = q->in[i] && q->in[i]->tensor == first ? PLUMB_NONE : first;
    }
    if (first && q->node->name && *q->node->name) {
        plumb_named(q->g, first, q->node->name);
    }
    return status;
}

static plumb_status add_node(struct onnx_build *b, const Onnx__Node *node)
{
    struct onnx_node q = {.build = b, .context = b->context, .g = b->graph, .opset = (int)b->file->opset, .node = node};
    if (!node->op_type || !*node->op_type) {
        return refuse(b, "node", node->name ? node->name : "", "has no op_type");
    }
    plumb_status status = find_row(&q);
    status = status ? status : find_inputs(&q);
    status = status ? status : translate(&q);
    for (int i = 0; !status && i < q.n_out; i++) {
        struct onnx_value *value = onnx_wants(&q, i) ? plumb_onnx_add(b, node->output[i]) : NULL;
        if (onnx_wants(&q, i) && !value) {
            return onnx_refuse(&q, NULL, "output '%s' is made twice", node->output[i]);
        }
        if (value) {
            *value = q.out[i];
            value->name = node->output[i];
            value->input = -1;
        }
    }
    return status;
}

/* ---- the whole ---- */

static plumb_status add_outputs(struct onnx_build *b, const Onnx__Graph *graph)
{
    for (size_t i = 0; i < graph->n_output; i++) {
        struct onnx_value *value = plumb_onnx_find(b, graph->output[i]->name);
        if (!value) {
            return refuse(b, "output", graph->output[i]->name, "is made by no node");
        }
        plumb_t tensor = plumb_onnx_place(b, value);
        if (tensor && (value->input >= 0 || value->parameter)) {
            tensor = plumb_stop_gradient(b->graph, tensor); /* outputs are made by ops */
        }
        b->file->ids[(size_t)b->file->n_inputs + i] = tensor;
        if (!tensor) {
            return plumb_last_status(b->context);
        }
        plumb_onnx_port port;
        plumb_status status = plumb_onnx_output(b->file->handle, (int)i, &port);
        if (!status && port.dtype != value->dtype) {
            return plumb_fail(b->context, PLUMB_BAD_INPUT, "%s: output '%s': comes out as %s, the file says %s", b->file->path,
                              value->name, plumb_dtype_name(value->dtype), plumb_dtype_name(port.dtype));
        }
    }
    return PLUMB_OK;
}

static plumb_status count_values(struct onnx_build *b, const Onnx__Graph *graph)
{
    size_t count = graph->n_initializer + graph->n_input;
    for (size_t i = 0; i < graph->n_node; i++) {
        count += graph->node[i]->n_output;
    }
    for (b->room = 16; b->room < 2 * count;) {
        b->room *= 2;
    }
    b->values = plumb_arena_alloc(&b->arena, b->room * sizeof(struct onnx_value *));
    return b->values ? PLUMB_OK : PLUMB_FAILED;
}

static plumb_status import(struct onnx_build *b)
{
    const Onnx__Graph *graph = b->file->model->graph;
    b->graph = plumb_graph_new(b->context, graph->name && *graph->name ? graph->name : "onnx");
    plumb_status status = b->graph ? count_values(b, graph) : PLUMB_FAILED;
    status = status ? status : add_initialisers(b, graph);
    status = status ? status : add_inputs(b);
    for (size_t i = 0; !status && i < graph->n_node; i++) {
        status = add_node(b, graph->node[i]);
    }
    return status ? status : add_outputs(b, graph);
}

plumb_status plumb_onnx_build(plumb_onnx *handle, const plumb_onnx_options *options, plumb_onnx_model *model)
{
    static const plumb_onnx_options defaults = {.size = sizeof(defaults)};
    plumb_onnx *file = plumb_onnx_get(handle);
    if (!file || !model) {
        return PLUMB_BAD_INPUT;
    }
    *model = (plumb_onnx_model){.graph = NULL};
    struct onnx_build b = {.file = file, .context = file->context, .options = options ? options : &defaults};
    b.arena.context = file->context;
    plumb_status status = import(&b);
    plumb_state *state = status ? NULL : plumb_onnx_state(&b);
    if (!status && !state) {
        status = plumb_last_status(file->context);
    }
    plumb_arena_free(&b.arena);
    if (status) {
        plumb_graph_free(b.graph);
        return status;
    }
    *model = (plumb_onnx_model){b.graph, state, file->ids, file->ids + file->n_inputs};
    return PLUMB_OK;
}
