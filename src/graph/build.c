/* Building a graph: nodes are appended after their shape rule accepted them; the first refusal poisons the graph and
 * every later call returns PLUMB_NONE, so that user code needs one check at the end. */
#include "graph/graph.h"

#include <stdio.h>

static void destroy_graph(void *object)
{
    struct graph *g = object;
    plumb_context *context = g->context;
    plumb_free(context, g->node);
    plumb_free(context, g->tensor);
    plumb_free(context, g->effect);
    plumb_arena_free(&g->arena);
    plumb_free(context, g);
}

struct graph *plumb_graph_make(plumb_context *context, const char *name)
{
    struct graph *g = plumb_zalloc(context, sizeof *g);
    if (!g)
        return NULL;
    g->context = context;
    g->arena.context = context;
    g->key = PLUMB_NO_TENSOR;
    g->serial = ++context->graph_serial;
    g->origin = g->serial;
    g->message = "";
    g->next_stream = 1;
    g->name = plumb_arena_strdup(&g->arena, name ? name : "");
    g->handle = g->name ? plumb_handle_new(context, PLUMB_KIND_GRAPH, g, destroy_graph) : NULL;
    if (!g->handle) {
        destroy_graph(g);
        return NULL;
    }
    return g;
}

plumb_graph *plumb_graph_new(plumb_context *context, const char *name)
{
    if (!context)
        return NULL;
    struct graph *g = plumb_graph_make(context, name);
    return g ? g->handle : NULL;
}

struct graph *plumb_graph_get(const plumb_graph *handle) { return plumb_handle_get(handle, PLUMB_KIND_GRAPH); }
void plumb_graph_free(plumb_graph *graph) { plumb_handle_free(graph, PLUMB_KIND_GRAPH); }
plumb_context *plumb_graph_context(const plumb_graph *graph) { return graph ? plumb_handle_context(graph) : NULL; }

plumb_status plumb_graph_status(const plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    return g ? g->status : PLUMB_BAD_INPUT;
}

/* ---- poison ---- */

/* Keeps the graph's own copy of what the context's message says: the context may be cleared, the graph stays poisoned. */
static void poison_from_context(struct graph *g)
{
    g->status = g->context->status != PLUMB_OK ? g->context->status : PLUMB_FAILED;
    const char *copy = plumb_arena_strdup(&g->arena, g->context->message);
    g->message = copy ? copy : "out of memory";
}

static plumb_t out_of_memory(struct graph *g)
{
    g->status = PLUMB_FAILED;
    g->message = "out of memory while building the graph";
    return PLUMB_NONE;
}

plumb_t plumb_poison(plumb_graph *graph, const char *format, ...)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    g->status = PLUMB_BAD_INPUT;
    const char *copy = plumb_arena_strdup(&g->arena, text);
    g->message = copy ? copy : "out of memory";
    plumb_fail(g->context, PLUMB_BAD_INPUT, "%s", text);
    return PLUMB_NONE;
}

/* ---- nodes ---- */

uint32_t plumb_index(const struct graph *g, plumb_t id)
{
    uint32_t serial = (uint32_t)(id >> 32), index = (uint32_t)id;
    if (serial != g->serial || index == 0 || index > (uint32_t)g->n_tensors)
        return PLUMB_NO_TENSOR;
    return index - 1;
}

/* Runs the shape rule into `out`; on refusal the graph is poisoned. An error that was pending in the context from
 * something else stays the context's message. */
static bool run_shape_rule(struct graph *g, plumb_infer *q)
{
    plumb_context *c = g->context;
    bool pending = c->status != PLUMB_OK;
    plumb_status before = c->status;
    char message[sizeof c->message];
    if (pending) {
        memcpy(message, c->message, sizeof message);
        plumb_clear_error(c);
    }
    plumb_status status = q->op->infer(q);
    for (int i = 0; status == PLUMB_OK && i < q->n_out; i++) {
        const plumb_type *t = &q->out[i];
        int64_t count = 1;
        for (int d = 0; d < t->shape.rank; d++)
            if (t->shape.dim[d] >= 0 && !plumb_mul_size(count, t->shape.dim[d] ? t->shape.dim[d] : 1, &count))
                status = plumb_refuse(q, "the result's size overflows");
        if (status == PLUMB_OK && !plumb_mul_size(count, 8, &count))
            status = plumb_refuse(q, "the result's size overflows");
    }
    if (status != PLUMB_OK)
        poison_from_context(g);
    if (pending) {
        c->status = before;
        memcpy(c->message, message, sizeof message);
    }
    return status == PLUMB_OK;
}

static plumb_t append(struct graph *g, const plumb_op *op, const void *attr, const uint32_t *in, int n_in,
                      const char *name)
{
    int n_out = op->flags & PLUMB_OP_VARIADIC ? op->outputs(attr, n_in) : op->n_out;
    if (n_out < 1)
        return plumb_poison(g->handle, "%s: wrong number of inputs (%d)", op->name, n_in);
    plumb_type *types = plumb_alloc(g->context, sizeof *types * (size_t)(n_in + n_out));
    if (!types)
        return out_of_memory(g);
    for (int i = 0; i < n_in; i++)
        types[i] = g->tensor[in[i]].type;
    memset(types + n_in, 0, sizeof *types * (size_t)n_out);
    plumb_infer q = {.op = op, .name = name, .attr = attr, .n_in = n_in, .n_out = n_out, .in = types,
                     .out = types + n_in, .symbols = g->symbols, .context = g->context};
    if (!run_shape_rule(g, &q)) {
        plumb_free(g->context, types);
        return PLUMB_NONE;
    }
    struct plumb_node node = {.op = op, .n_in = n_in, .n_out = n_out, .out = (uint32_t)g->n_tensors, .phase = g->phase};
    node.attr = plumb_arena_alloc(&g->arena, op->attr_size ? op->attr_size : 1);
    node.in = plumb_arena_alloc(&g->arena, sizeof *in * (size_t)(n_in ? n_in : 1));
    node.name = name && *name ? plumb_arena_strdup(&g->arena, name) : "";
    bool fits = node.attr && node.in && node.name &&
                plumb_grow(g->context, &g->node, &g->node_room, g->n_nodes + 1, sizeof *g->node) &&
                plumb_grow(g->context, &g->tensor, &g->tensor_room, g->n_tensors + n_out, sizeof *g->tensor);
    if (!fits) {
        plumb_free(g->context, types);
        return out_of_memory(g);
    }
    if (op->attr_size)
        memcpy(node.attr, attr, op->attr_size);
    if (n_in)
        memcpy(node.in, in, sizeof *in * (size_t)n_in);
    for (int i = 0; i < n_out; i++)
        g->tensor[g->n_tensors + i] =
            (struct plumb_tensor){.type = types[n_in + i], .node = (uint32_t)g->n_nodes, .output = i};
    plumb_free(g->context, types);
    g->node[g->n_nodes++] = node;
    g->n_tensors += n_out;
    return plumb_id(g, node.out);
}

plumb_t plumb_emit_named(struct graph *g, const plumb_op *op, const void *attr, const plumb_t *in, int n_in,
                         const char *name)
{
    if (n_in < op->min_in || (op->max_in >= 0 && n_in > op->max_in))
        return plumb_poison(g->handle, "%s: takes %d to %d inputs, got %d", op->name, op->min_in, op->max_in, n_in);
    uint32_t few[16];
    uint32_t *index = n_in <= 16 ? few : plumb_alloc(g->context, sizeof *index * (size_t)n_in);
    if (!index)
        return out_of_memory(g);
    plumb_t result = PLUMB_NONE;
    int i = 0;
    for (; i < n_in; i++) {
        index[i] = plumb_index(g, in[i]);
        if (index[i] == PLUMB_NO_TENSOR)
            break;
    }
    if (i < n_in)
        plumb_poison(g->handle, "%s: input %d is not a tensor of this graph", op->name, i);
    else
        result = append(g, op, attr, index, n_in, name);
    if (index != few)
        plumb_free(g->context, index);
    return result;
}

plumb_t plumb_emit(plumb_graph *graph, const plumb_op *op, const void *attr, const plumb_t *in, int n_in)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    const char *name = g->next_name ? g->next_name : "";
    g->next_name = NULL;
    return plumb_emit_named(g, op, attr, in, n_in, name);
}

void plumb_name_next(plumb_graph *graph, const char *name)
{
    struct graph *g = plumb_graph_get(graph);
    if (g)
        g->next_name = name;
}

plumb_t plumb_output(plumb_graph *graph, plumb_t first, int k)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    uint32_t index = plumb_index(g, first);
    if (index == PLUMB_NO_TENSOR)
        return plumb_poison(graph, "output: not a tensor of this graph");
    const struct plumb_node *n = &g->node[g->tensor[index].node];
    if (k < 0 || k >= n->n_out)
        return plumb_poison(graph, "%s '%s': has %d outputs, output %d was asked for", n->op->name, n->name, n->n_out, k);
    return plumb_id(g, n->out + (uint32_t)k);
}

/* ---- leafs ---- */

static const struct plumb_node *find_leaf(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        if ((n->op == &plumb_op_input || n->op == &plumb_op_variable) && strcmp(n->name, name) == 0)
            return n;
    }
    return NULL;
}

static bool valid_type(plumb_graph *graph, const char *what, const char *name, plumb_dtype dtype,
                       const plumb_shape *shape, bool symbols)
{
    if (plumb_dtype_size(dtype) == 0) {
        plumb_poison(graph, "%s '%s': invalid dtype %d", what, name, (int)dtype);
        return false;
    }
    if (shape->rank < 0 || shape->rank > PLUMB_MAX_RANK) {
        plumb_poison(graph, "%s '%s': rank %d is outside 0 to %d", what, name, shape->rank, PLUMB_MAX_RANK);
        return false;
    }
    char text[160];
    int64_t bytes = (int64_t)plumb_dtype_size(dtype);
    for (int i = 0; i < shape->rank; i++) {
        int64_t d = shape->dim[i];
        if (d < 0 && !(symbols && plumb_is_symbol(d))) {
            plumb_poison(graph, "%s '%s': dimension %d of %s is negative%s", what, name, i,
                         plumb_shape_text(shape, text, sizeof text), symbols ? " and no symbol" : "");
            return false;
        }
        if (d > 0 && !plumb_mul_size(bytes, d, &bytes)) {
            plumb_poison(graph, "%s '%s': the size of %s overflows", what, name,
                         plumb_shape_text(shape, text, sizeof text));
            return false;
        }
    }
    return true;
}

plumb_t plumb_input(plumb_graph *graph, const char *name, plumb_dtype dtype, plumb_shape shape)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    if (!name || !*name)
        return plumb_poison(graph, "input: a name is needed");
    if (!valid_type(graph, "input", name, dtype, &shape, true))
        return PLUMB_NONE;
    if (find_leaf(g, name))
        return plumb_poison(graph, "input '%s': the name is taken", name);
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof attr);
    attr.made = (plumb_attr_made){.shape = shape, .dtype = dtype};
    return plumb_emit_named(g, &plumb_op_input, &attr, NULL, 0, name);
}

plumb_t plumb_variable(plumb_graph *graph, const char *name, plumb_dtype dtype, plumb_shape shape,
                       const plumb_variable_options *options)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    if (!name || !*name)
        return plumb_poison(graph, "variable: a name is needed");
    if (!valid_type(graph, "variable", name, dtype, &shape, false))
        return PLUMB_NONE;
    const struct plumb_node *old = find_leaf(g, name);
    if (old) {
        const plumb_type *t = &g->tensor[old->out].type;
        char was[160], is[160];
        if (old->op == &plumb_op_variable && t->dtype == dtype && plumb_shape_equal(&t->shape, &shape))
            return plumb_id(g, old->out);
        return plumb_poison(graph, "variable '%s': exists as %s %s, asked for as %s %s", name, plumb_dtype_name(t->dtype),
                            plumb_shape_text(&t->shape, was, sizeof was), plumb_dtype_name(dtype),
                            plumb_shape_text(&shape, is, sizeof is));
    }
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.made.shape.rank = shape.rank;
    memcpy(attr.made.shape.dim, shape.dim, sizeof shape.dim[0] * (size_t)shape.rank);
    if (options) {
        attr.init.rule = options->init.rule;
        attr.init.a = options->init.a;
        attr.init.b = options->init.b;
        attr.init.fan_in = options->init.fan_in;
        attr.init.fan_out = options->init.fan_out;
        attr.frozen = options->frozen;
    }
    if (attr.init.rule > PLUMB_INIT_ORTHOGONAL)
        return plumb_poison(graph, "variable '%s': unknown initialiser %d", name, (int)attr.init.rule);
    return plumb_emit_named(g, &plumb_op_variable, &attr, NULL, 0, name);
}

bool plumb_is_variable(const plumb_graph *graph, plumb_t tensor)
{
    struct graph *g = plumb_graph_get(graph);
    uint32_t index = g ? plumb_index(g, tensor) : PLUMB_NO_TENSOR;
    return index != PLUMB_NO_TENSOR && g->node[g->tensor[index].node].op == &plumb_op_variable;
}

int plumb_parameters(const plumb_graph *graph, plumb_t *ids, int room)
{
    struct graph *g = plumb_graph_get(graph);
    int count = 0;
    for (int i = 0; g && i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        if (n->op != &plumb_op_variable || ((const plumb_attr_leaf *)n->attr)->frozen ||
            !plumb_dtype_is_float(g->tensor[n->out].type.dtype))
            continue;
        if (ids && count < room)
            ids[count] = plumb_id(g, n->out);
        count++;
    }
    return count;
}

void plumb_set_frozen(plumb_graph *graph, plumb_t variable, bool frozen)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return;
    if (!plumb_is_variable(graph, variable)) {
        plumb_poison(graph, "set_frozen: not a variable of this graph");
        return;
    }
    ((plumb_attr_leaf *)g->node[g->tensor[plumb_index(g, variable)].node].attr)->frozen = frozen;
}

plumb_t plumb_constant(plumb_graph *graph, plumb_dtype dtype, plumb_shape shape, const void *data)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    if (!valid_type(graph, "constant", "", dtype, &shape, false))
        return PLUMB_NONE;
    int64_t count = plumb_shape_count(&shape);
    if (count > 0 && !data)
        return plumb_poison(graph, "constant: no data");
    size_t bytes = (size_t)count * plumb_dtype_size(dtype);
    void *copy = plumb_arena_alloc(&g->arena, bytes ? bytes : 1);
    if (!copy)
        return out_of_memory(g);
    if (bytes)
        memcpy(copy, data, bytes);
    uint64_t hash = 14695981039346656037u; /* FNV-1a, so that equal constants merge */
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)copy)[i]) * 1099511628211u;
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.made.shape.rank = shape.rank;
    memcpy(attr.made.shape.dim, shape.dim, sizeof shape.dim[0] * (size_t)shape.rank);
    attr.data = (uint64_t)(uintptr_t)copy;
    attr.hash = hash;
    return plumb_emit_named(g, &plumb_op_constant, &attr, NULL, 0, "");
}

plumb_t plumb_scalar(plumb_graph *graph, plumb_dtype dtype, double value)
{
    _Alignas(8) unsigned char element[8] = {0};
    if (plumb_dtype_size(dtype) == 0)
        return plumb_poison(graph, "scalar: invalid dtype %d", (int)dtype);
    plumb_put(element, dtype, 0, value);
    return plumb_constant(graph, dtype, PLUMB_SCALAR_SHAPE, element);
}

plumb_t plumb_full(plumb_graph *graph, plumb_dtype dtype, plumb_shape shape, double value)
{
    if (!valid_type(graph, "full", "", dtype, &shape, true))
        return PLUMB_NONE;
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = dtype;
    attr.made.shape.rank = shape.rank;
    memcpy(attr.made.shape.dim, shape.dim, sizeof shape.dim[0] * (size_t)shape.rank);
    attr.value = value;
    return plumb_emit(graph, &plumb_op_full, &attr, NULL, 0);
}

plumb_t plumb_full_like(plumb_graph *graph, plumb_t like, double value)
{
    plumb_attr_leaf attr;
    memset(&attr, 0, sizeof attr);
    attr.made.dtype = plumb_dtype_of(graph, like);
    attr.made.shape.rank = -1;
    attr.value = value;
    return plumb_emit(graph, &plumb_op_full, &attr, &like, 1);
}

/* ---- effects ---- */

void plumb_assign(plumb_graph *graph, plumb_t variable, plumb_t value, plumb_t gate)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return;
    uint32_t v = plumb_index(g, variable), x = plumb_index(g, value);
    uint32_t c = gate == PLUMB_NONE ? PLUMB_NO_TENSOR : plumb_index(g, gate);
    if (x != PLUMB_NO_TENSOR && plumb_is_variable(graph, value)) /* as it was before any effect: a copy */
        x = plumb_index(g, plumb_stop_gradient(graph, value));
    if (v == PLUMB_NO_TENSOR || g->node[g->tensor[v].node].op != &plumb_op_variable) {
        plumb_poison(graph, "assign: the target is not a variable of this graph");
        return;
    }
    const char *name = g->node[g->tensor[v].node].name;
    if (x == PLUMB_NO_TENSOR || (gate != PLUMB_NONE && c == PLUMB_NO_TENSOR)) {
        plumb_poison(graph, "assign '%s': the value or gate is not a tensor of this graph", name);
        return;
    }
    const plumb_type *a = &g->tensor[v].type, *b = &g->tensor[x].type;
    bool agree = a->dtype == b->dtype && a->shape.rank == b->shape.rank;
    for (int i = 0; agree && i < a->shape.rank; i++)
        agree = plumb_dims_agree(a->shape.dim[i], b->shape.dim[i]);
    if (!agree) {
        char to[160], from[160];
        plumb_poison(graph, "assign '%s': the variable is %s %s, the value %s %s", name, plumb_dtype_name(a->dtype),
                     plumb_shape_text(&a->shape, to, sizeof to), plumb_dtype_name(b->dtype),
                     plumb_shape_text(&b->shape, from, sizeof from));
        return;
    }
    if (c != PLUMB_NO_TENSOR && (g->tensor[c].type.dtype != PLUMB_U8 || g->tensor[c].type.shape.rank != 0)) {
        plumb_poison(graph, "assign '%s': the gate must be a u8 scalar", name);
        return;
    }
    if (!plumb_grow(g->context, &g->effect, &g->effect_room, g->n_effects + 1, sizeof *g->effect)) {
        out_of_memory(g);
        return;
    }
    g->effect[g->n_effects++] = (struct plumb_effect){.variable = v, .value = x, .gate = c};
}

plumb_status plumb_gate_effects(plumb_graph *graph, plumb_t gate)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return g ? g->status : PLUMB_BAD_INPUT;
    uint32_t c = plumb_index(g, gate);
    if (c == PLUMB_NO_TENSOR) {
        plumb_poison(graph, "gate: not a tensor of this graph");
        return PLUMB_BAD_INPUT;
    }
    for (int i = 0; i < g->n_effects; i++)
        if (g->effect[i].gate == PLUMB_NO_TENSOR)
            g->effect[i].gate = c;
    return PLUMB_OK;
}

/* ---- randomness ---- */

uint32_t plumb_next_stream(plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    return g ? g->next_stream++ : 0;
}

/* The key is a variable like any other, so that a captured step stays valid: its second element counts the steps. */
plumb_t plumb_random_key(plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK)
        return PLUMB_NONE;
    if (g->key != PLUMB_NO_TENSOR)
        return plumb_id(g, g->key);
    plumb_variable_options frozen = {.size = sizeof frozen, .frozen = true};
    plumb_t key = plumb_variable(graph, PLUMB_KEY_NAME, PLUMB_I64, PLUMB_SHAPE(2), &frozen);
    plumb_t one = plumb_constant(graph, PLUMB_I64, PLUMB_SHAPE(2), (const int64_t[]){0, 1});
    plumb_t next = plumb_add(graph, key, one);
    plumb_assign(graph, key, next, PLUMB_NONE);
    if (g->status == PLUMB_OK)
        g->key = plumb_index(g, key);
    return key;
}

/* ---- queries ---- */

static const struct plumb_tensor *tensor_of(const plumb_graph *graph, plumb_t id, struct graph **g)
{
    *g = plumb_graph_get(graph);
    uint32_t index = *g ? plumb_index(*g, id) : PLUMB_NO_TENSOR;
    return index == PLUMB_NO_TENSOR ? NULL : &(*g)->tensor[index];
}

plumb_shape plumb_shape_of(const plumb_graph *graph, plumb_t tensor)
{
    struct graph *g;
    const struct plumb_tensor *t = tensor_of(graph, tensor, &g);
    return t ? t->type.shape : PLUMB_SCALAR_SHAPE;
}

plumb_dtype plumb_dtype_of(const plumb_graph *graph, plumb_t tensor)
{
    struct graph *g;
    const struct plumb_tensor *t = tensor_of(graph, tensor, &g);
    return t ? t->type.dtype : PLUMB_NO_DTYPE;
}

const char *plumb_name_of(const plumb_graph *graph, plumb_t tensor)
{
    struct graph *g;
    const struct plumb_tensor *t = tensor_of(graph, tensor, &g);
    return t ? g->node[t->node].name : "";
}

plumb_t plumb_find(const plumb_graph *graph, const char *name)
{
    struct graph *g = plumb_graph_get(graph);
    const struct plumb_node *n = g && name ? find_leaf(g, name) : NULL;
    return n ? plumb_id(g, n->out) : PLUMB_NONE;
}

plumb_t plumb_named(plumb_graph *graph, plumb_t tensor, const char *name)
{
    struct graph *g;
    const struct plumb_tensor *t = tensor_of(graph, tensor, &g);
    if (!t || g->status != PLUMB_OK || !name)
        return tensor;
    struct plumb_node *n = &g->node[t->node];
    if (n->op->flags & PLUMB_OP_LEAF)
        return tensor; /* inputs and variables keep the name they are found by */
    const char *copy = plumb_arena_strdup(&g->arena, name);
    if (!copy)
        return out_of_memory(g);
    n->name = copy;
    return tensor;
}

int plumb_set_phase(plumb_graph *graph, int phase)
{
    struct graph *g = plumb_graph_get(graph);
    int old = g ? g->phase : PLUMB_PHASE_FORWARD;
    if (g)
        g->phase = phase;
    return old;
}
