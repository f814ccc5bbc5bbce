/* The way back through relu goes before that through max pooling: a pooled picture has a quarter of the elements, and
 * what relu made of the others is then no longer kept.
 *
 *     dx = relu'(y) * scatter(dp, index)   becomes   dx = scatter(relu'(p) * dp, index)   where p, index = max_pool2d(y)
 *
 * Equal to the bit: each element of p is the element of y at its index, so both ask the same value on which side of zero
 * it is, and relu' multiplies by one or sets to zero. (Of sigmoid and tanh the sums where windows overlap would round
 * differently.) The sum of dx for the bias is that of the pooled one: the rest of dx is zero. */
#include "pass/pass.h"

/* Where the way back through relu finds its operands, and y; -1: not such a node. */
struct back {
    int dy, y;
};

static struct back back_of(const struct plumb_node *n)
{
    const plumb_attr_activation *attr = n->attr;
    if (n->op == &plumb_op_relu_backward)
        return (struct back){.dy = 1, .y = 0};
    if (n->op == &plumb_op_activation_backward && attr->activation == PLUMB_ACTIVATION_RELU && attr->axis == 1)
        return (struct back){.dy = 0, .y = 1};
    return (struct back){-1, -1};
}

static const struct plumb_node *maker(const struct graph *g, uint32_t tensor) { return &g->node[g->tensor[tensor].node]; }

/* The way back through pooling whose result only node n reads, and which pooled the y of n; NULL: none. */
static const struct plumb_node *pooling_before(const struct graph *g, const struct plumb_node *n, const int *reads)
{
    struct back b = back_of(n);
    if (b.dy < 0)
        return NULL;
    const struct plumb_node *scatter = maker(g, n->in[b.dy]);
    if (scatter->op != &plumb_op_max_pool2d_backward || scatter->n_in != 2 || reads[scatter->out] != 1)
        return NULL;
    const struct plumb_node *pool = maker(g, scatter->in[1]);
    bool same = pool->op == &plumb_op_max_pool2d && scatter->in[1] == pool->out + 1 && pool->in[0] == n->in[b.y];
    return same ? scatter : NULL;
}

/* Node n after the pooling `scatter`, the other way round. */
static plumb_status turn(struct plumb_copy *copy, const struct plumb_node *n, const struct plumb_node *scatter)
{
    const struct graph *from = copy->from;
    struct graph *to = copy->to;
    struct back b = back_of(n);
    plumb_t in[2], spread[2];
    in[b.dy] = plumb_id(to, copy->map[scatter->in[0]]);
    in[b.y] = plumb_id(to, copy->map[maker(from, scatter->in[1])->out]);
    to->phase = n->phase;
    plumb_t before = plumb_emit_named(to, n->op, n->attr, in, 2, n->name);
    spread[0] = before;
    spread[1] = plumb_id(to, copy->map[scatter->in[1]]);
    plumb_t after = before == PLUMB_NONE ? before : plumb_emit_named(to, scatter->op, scatter->attr, spread, 2, scatter->name);
    if (after == PLUMB_NONE)
        return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
    copy->map[n->out] = plumb_index(to, after);
    for (int k = 1; k < n->n_out; k++)
        copy->map[n->out + (uint32_t)k] = plumb_index(to, before) + (uint32_t)k;
    return PLUMB_OK;
}

/* How often each tensor is read, by whomever. */
static void count_reads(const struct graph *g, const uint32_t *roots, int n_roots, int *reads)
{
    memset(reads, 0, sizeof *reads * (size_t)g->n_tensors);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->node[i].n_in; k++)
            reads[g->node[i].in[k]]++;
    for (int i = 0; i < n_roots; i++)
        reads[roots[i]]++;
    for (int i = 0; i < g->n_effects; i++) {
        reads[g->effect[i].value]++;
        if (g->effect[i].gate != PLUMB_NO_TENSOR)
            reads[g->effect[i].gate]++;
    }
}

plumb_status plumb_pass_reorder(struct plumb_copy *copy, const uint32_t *roots, int n_roots)
{
    const struct graph *g = copy->from;
    size_t nodes = (size_t)g->n_nodes + 1;
    int *reads = plumb_alloc(g->context, sizeof *reads * ((size_t)g->n_tensors + 1));
    const struct plumb_node **scatter = plumb_zalloc(g->context, sizeof *scatter * nodes); /* to turn a node with */
    unsigned char *gone = plumb_zalloc(g->context, nodes);
    plumb_status status = reads && scatter && gone ? PLUMB_OK : PLUMB_FAILED;
    if (status == PLUMB_OK)
        count_reads(g, roots, n_roots, reads);
    for (int i = 0; status == PLUMB_OK && i < g->n_nodes; i++) {
        scatter[i] = pooling_before(g, &g->node[i], reads);
        if (scatter[i])
            gone[scatter[i] - g->node] = 1;
    }
    for (int i = 0; status == PLUMB_OK && i < g->n_nodes; i++)
        if (!gone[i])
            status = scatter[i] ? turn(copy, &g->node[i], scatter[i]) : plumb_copy_node(copy, i);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(copy);
    plumb_free(g->context, gone);
    plumb_free(g->context, scatter);
    plumb_free(g->context, reads);
    return status;
}
