/* From the user's graph to what a program computes: only what its outputs and effects need, and outside training the
 * inference form of ops that have one (dropout, batch norm). */
#include "pass/pass.h"

static void need(const struct graph *g, uint32_t tensor, unsigned char *needed)
{
    if (tensor != PLUMB_NO_TENSOR)
        needed[g->tensor[tensor].node] = 1;
}

void plumb_mark_needed(const struct graph *g, const uint32_t *roots, int n_roots, bool effects, unsigned char *needed)
{
    memset(needed, 0, (size_t)g->n_nodes);
    for (int i = 0; i < n_roots; i++)
        need(g, roots[i], needed);
    for (int i = 0; effects && i < g->n_effects; i++) {
        need(g, g->effect[i].variable, needed);
        need(g, g->effect[i].value, needed);
        need(g, g->effect[i].gate, needed);
    }
    for (int i = g->n_nodes - 1; i >= 0; i--)
        for (int k = 0; needed[i] && k < g->node[i].n_in; k++)
            need(g, g->node[i].in[k], needed);
}

static plumb_status rewrite_node(struct plumb_copy *copy, int index)
{
    const struct plumb_node *n = &copy->from->node[index];
    struct graph *to = copy->to;
    enum { MOST = 16 };
    plumb_t in[MOST], out[MOST] = {0};
    if (n->n_in > MOST || n->n_out > MOST)
        return plumb_fail(to->context, PLUMB_FAILED, "%s: too many operands to rewrite", n->op->name);
    for (int i = 0; i < n->n_in; i++)
        in[i] = plumb_id(to, copy->map[n->in[i]]);
    to->phase = n->phase;
    int before = to->n_nodes;
    plumb_rewrite q = {.graph = to->handle, .attr = n->attr, .n_in = n->n_in, .n_out = n->n_out, .in = in, .out = out};
    plumb_status status = n->op->inference(&q);
    if (status == PLUMB_OK)
        status = to->status;
    for (int i = before; i < to->n_nodes; i++)
        if (!*to->node[i].name && *n->name && !(to->node[i].op->flags & PLUMB_OP_LEAF))
            to->node[i].name = plumb_arena_strdup(&to->arena, n->name);
    for (int i = 0; i < n->n_out; i++)
        copy->map[n->out + (uint32_t)i] = plumb_index(to, out[i]);
    return status;
}

plumb_status plumb_pass_source(struct plumb_copy *copy, const uint32_t *roots, int n_roots, bool training, bool effects)
{
    const struct graph *from = copy->from;
    unsigned char *needed = plumb_alloc(from->context, (size_t)from->n_nodes + 1);
    if (!needed)
        return PLUMB_FAILED;
    plumb_mark_needed(from, roots, n_roots, effects, needed);
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++) {
        if (!needed[i])
            continue;
        if (!training && from->node[i].op->inference)
            status = rewrite_node(copy, i);
        else
            status = plumb_copy_node(copy, i);
    }
    plumb_free(from->context, needed);
    if (status == PLUMB_OK && effects)
        status = plumb_copy_effects(copy);
    return status;
}
