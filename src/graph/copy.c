/* Copying graph to graph: clones, bound copies and retyped copies. Passes are built on these. */
#include "graph/graph.h"

bool plumb_copy_begin(struct plumb_copy *copy, const struct graph *from, const int64_t *symbols)
{
    *copy = (struct plumb_copy){.from = from};
    copy->map = plumb_alloc(from->context, sizeof *copy->map * (size_t)(from->n_tensors + 1));
    copy->to = copy->map ? plumb_graph_make(from->context, from->name) : NULL;
    if (!copy->to) {
        plumb_free(from->context, copy->map);
        copy->map = NULL;
        return false;
    }
    for (int i = 0; i < from->n_tensors; i++)
        copy->map[i] = PLUMB_NO_TENSOR;
    copy->to->symbols = symbols;
    copy->to->next_stream = from->next_stream;
    return true;
}

void plumb_copy_end(struct plumb_copy *copy)
{
    if (copy->from)
        plumb_free(copy->from->context, copy->map);
    copy->map = NULL;
    if (copy->to)
        copy->to->symbols = NULL;
}

/* A constant's bytes belong to its graph: give the copy its own. */
static plumb_t copy_constant(struct plumb_copy *copy, const struct plumb_node *n)
{
    const plumb_attr_leaf *a = n->attr;
    return plumb_constant(copy->to->handle, a->made.dtype, a->made.shape, (const void *)(uintptr_t)a->data);
}

plumb_status plumb_copy_node_as(struct plumb_copy *copy, int node, const void *attr, int n_in)
{
    const struct plumb_node *n = &copy->from->node[node];
    struct graph *to = copy->to;
    to->phase = n->phase;
    plumb_t out = PLUMB_NONE;
    if (n->op == &plumb_op_constant) {
        out = copy_constant(copy, n);
    } else if (n->op == &plumb_op_input) {
        const plumb_attr_leaf *a = n->attr;
        out = plumb_input(to->handle, n->name, a->made.dtype, a->made.shape);
    } else {
        plumb_t few[16];
        plumb_t *in = n_in <= 16 ? few : plumb_alloc(to->context, sizeof *in * (size_t)n_in);
        for (int i = 0; in && i < n_in; i++)
            in[i] = copy->map[n->in[i]] == PLUMB_NO_TENSOR ? PLUMB_NONE : plumb_id(to, copy->map[n->in[i]]);
        if (in)
            out = plumb_emit_named(to, n->op, attr, in, n_in, n->name);
        if (in != few)
            plumb_free(to->context, in);
    }
    if (out == PLUMB_NONE)
        return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
    for (int i = 0; i < n->n_out; i++)
        copy->map[n->out + (uint32_t)i] = plumb_index(to, out) + (uint32_t)i;
    return PLUMB_OK;
}

plumb_status plumb_copy_node(struct plumb_copy *copy, int node)
{
    return plumb_copy_node_as(copy, node, copy->from->node[node].attr, copy->from->node[node].n_in);
}

plumb_status plumb_copy_effects(struct plumb_copy *copy)
{
    const struct graph *from = copy->from;
    struct graph *to = copy->to;
    for (int i = 0; i < from->n_effects; i++) {
        const struct plumb_effect *e = &from->effect[i];
        plumb_assign(to->handle, plumb_id(to, copy->map[e->variable]), plumb_id(to, copy->map[e->value]),
                     e->gate == PLUMB_NO_TENSOR ? PLUMB_NONE : plumb_id(to, copy->map[e->gate]));
    }
    if (from->key != PLUMB_NO_TENSOR)
        to->key = copy->map[from->key];
    return to->status;
}

/* The whole graph, index for index, so that ids carry over by their low bits. */
struct graph *plumb_graph_clone(const struct graph *from, uint32_t **map)
{
    struct plumb_copy copy;
    if (!plumb_copy_begin(&copy, from, NULL))
        return NULL;
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        status = plumb_copy_node(&copy, i);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(&copy);
    struct graph *to = copy.to;
    to->phase = from->phase;
    to->origin = from->origin;
    if (map && status == PLUMB_OK) {
        *map = copy.map;
        copy.map = NULL;
    }
    plumb_copy_end(&copy);
    if (status != PLUMB_OK) {
        plumb_fail(from->context, status, "%s", to->message);
        plumb_graph_free(to->handle);
        return NULL;
    }
    return to;
}

plumb_graph *plumb_graph_clone_public(plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return NULL;
    if (g->status != PLUMB_OK) {
        plumb_fail(g->context, g->status, "%s", g->message);
        return NULL;
    }
    struct graph *to = plumb_graph_clone(g, NULL);
    return to ? to->handle : NULL;
}

plumb_t plumb_id_in(plumb_graph *clone, plumb_t original)
{
    struct graph *g = plumb_graph_get(clone);
    uint32_t low = (uint32_t)original;
    if (!g || low == 0 || low > (uint32_t)g->n_tensors)
        return PLUMB_NONE;
    return plumb_id(g, low - 1);
}

static plumb_t retyped_constant(struct graph *to, const plumb_attr_leaf *a, plumb_dtype dtype)
{
    int64_t count = plumb_shape_count(&a->made.shape);
    void *data = plumb_alloc(to->context, (size_t)count * plumb_dtype_size(dtype));
    if (!data)
        return PLUMB_NONE;
    for (int64_t i = 0; i < count; i++)
        plumb_put(data, dtype, i, plumb_get((const void *)(uintptr_t)a->data, a->made.dtype, i));
    plumb_t made = plumb_constant(to->handle, dtype, a->made.shape, data);
    plumb_free(to->context, data);
    return made;
}

static plumb_status retype_node(struct plumb_copy *copy, int node, plumb_dtype from, plumb_dtype to)
{
    const struct plumb_node *n = &copy->from->node[node];
    plumb_attr_made *made = n->op->flags & PLUMB_OP_DTYPE ? n->attr : NULL;
    if (!made || made->dtype != from)
        return plumb_copy_node(copy, node);
    if (n->op == &plumb_op_constant) {
        plumb_t id = retyped_constant(copy->to, n->attr, to);
        if (id == PLUMB_NONE)
            return PLUMB_FAILED;
        copy->map[n->out] = plumb_index(copy->to, id);
        return PLUMB_OK;
    }
    made->dtype = to; /* the attribute is copied by the emitter: lend it the new dtype for the moment */
    plumb_status status = plumb_copy_node(copy, node);
    made->dtype = from;
    return status;
}

plumb_graph *plumb_graph_retype(plumb_graph *graph, plumb_dtype from, plumb_dtype to)
{
    struct graph *g = plumb_graph_get(graph);
    struct plumb_copy copy;
    if (!g)
        return NULL;
    if (g->status != PLUMB_OK) {
        plumb_fail(g->context, g->status, "%s", g->message);
        return NULL;
    }
    if (!plumb_copy_begin(&copy, g, NULL))
        return NULL;
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < g->n_nodes; i++)
        status = retype_node(&copy, i, from, to);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(&copy);
    struct graph *made = copy.to;
    made->origin = g->origin;
    plumb_copy_end(&copy);
    if (status == PLUMB_OK)
        return made->handle;
    plumb_fail(g->context, status, "%s", made->message);
    plumb_graph_free(made->handle);
    return NULL;
}
