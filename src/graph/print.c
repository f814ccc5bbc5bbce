/* A graph as text, one line per node, and as Graphviz DOT. */
#include "graph/graph.h"

static void add_tensor(struct plumb_text *text, const struct graph *g, uint32_t index)
{
    char shape[160];
    const plumb_type *t = &g->tensor[index].type;
    plumb_text_add(text, "%%%u %s %s", index, plumb_dtype_name(t->dtype), plumb_shape_text(&t->shape, shape, sizeof shape));
}

static void add_node(struct plumb_text *text, const struct graph *g, const struct plumb_node *n)
{
    for (int i = 0; i < n->n_out; i++) {
        if (i)
            plumb_text_add(text, ", ");
        add_tensor(text, g, n->out + (uint32_t)i);
    }
    plumb_text_add(text, " = %s", n->op->name);
    if (*n->name)
        plumb_text_add(text, " '%s'", n->name);
    plumb_text_add(text, "(");
    for (int i = 0; i < n->n_in; i++)
        plumb_text_add(text, "%s%%%u", i ? ", " : "", n->in[i]);
    plumb_text_add(text, ")");
    if (n->op->print) {
        plumb_text_add(text, " ");
        n->op->print(n->attr, text);
    }
}

char *plumb_graph_text(const plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return NULL;
    struct plumb_text text = {.context = g->context};
    plumb_text_add(&text, "graph '%s'%s%s\n", g->name, g->status == PLUMB_OK ? "" : " poisoned: ", g->message);
    for (int i = 0; i < g->n_nodes; i++) {
        add_node(&text, g, &g->node[i]);
        plumb_text_add(&text, "\n");
    }
    for (int i = 0; i < g->n_effects; i++) {
        const struct plumb_effect *e = &g->effect[i];
        plumb_text_add(&text, "'%s' := %%%u", g->node[g->tensor[e->variable].node].name, e->value);
        if (e->gate != PLUMB_NO_TENSOR)
            plumb_text_add(&text, " where %%%u", e->gate);
        plumb_text_add(&text, "\n");
    }
    return plumb_text_take(&text);
}

static void add_quoted(struct plumb_text *text, const char *string)
{
    for (; *string; string++)
        plumb_text_add(text, *string == '"' || *string == '\\' ? "\\%c" : "%c", *string);
}

char *plumb_graph_dot(const plumb_graph *graph)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return NULL;
    struct plumb_text text = {.context = g->context};
    plumb_text_add(&text, "digraph plumb {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        plumb_text_add(&text, "  n%d [label=\"%s", i, n->op->name);
        if (*n->name) {
            plumb_text_add(&text, "\\n");
            add_quoted(&text, n->name);
        }
        plumb_text_add(&text, "\"%s];\n", n->op->flags & PLUMB_OP_LEAF ? ", style=filled, fillcolor=\"#e8eef7\"" : "");
        for (int k = 0; k < n->n_in; k++) {
            char shape[160];
            const struct plumb_tensor *t = &g->tensor[n->in[k]];
            plumb_text_add(&text, "  n%u -> n%d [label=\"%s\"];\n", t->node, i,
                           plumb_shape_text(&t->type.shape, shape, sizeof shape));
        }
    }
    plumb_text_add(&text, "}\n");
    return plumb_text_take(&text);
}

void plumb_text_free(plumb_context *context, char *text)
{
    if (context)
        plumb_free(context, text);
}
