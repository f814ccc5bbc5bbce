/* Reverse-mode differentiation, graph to graph: walks the nodes backwards, asks each op's gradient rule for the
 * gradients of its inputs and adds up what meets at a tensor. The result is made of ordinary ops. */
#include "graph/graph.h"

struct tape {
    struct graph *g;
    int n_nodes, n_tensors;  /* of the graph as it was */
    plumb_t *adjoint;        /* [n_tensors] */
    unsigned char *depends;  /* [n_tensors] on something in wrt */
};

static void mark_dependence(struct tape *t, const uint32_t *wrt, int count)
{
    for (int i = 0; i < count; i++)
        t->depends[wrt[i]] = 1;
    for (int i = 0; i < t->n_nodes; i++) {
        const struct plumb_node *n = &t->g->node[i];
        bool any = false;
        for (int k = 0; k < n->n_in; k++)
            any |= t->depends[n->in[k]];
        for (int k = 0; any && k < n->n_out; k++)
            t->depends[n->out + (uint32_t)k] = 1;
    }
}

static plumb_status accumulate(struct tape *t, const struct plumb_node *n, int input, plumb_t d)
{
    struct graph *g = t->g;
    uint32_t target = n->in[input], index = plumb_index(g, d);
    if (index == PLUMB_NO_TENSOR) {
        plumb_poison(g->handle, "gradients: %s '%s' has no gradient rule for input %d", n->op->name, n->name, input);
        return PLUMB_BAD_INPUT;
    }
    const plumb_type *have = &g->tensor[index].type, *want = &g->tensor[target].type;
    bool agree = have->dtype == want->dtype && have->shape.rank == want->shape.rank;
    for (int i = 0; agree && i < want->shape.rank; i++)
        agree = plumb_dims_agree(have->shape.dim[i], want->shape.dim[i]);
    if (!agree) {
        char a[160], b[160];
        plumb_poison(g->handle, "gradients: %s '%s' gave input %d of shape %s a gradient of shape %s", n->op->name,
                     n->name, input, plumb_shape_text(&want->shape, a, sizeof a),
                     plumb_shape_text(&have->shape, b, sizeof b));
        return PLUMB_BAD_INPUT;
    }
    t->adjoint[target] = t->adjoint[target] == PLUMB_NONE ? d : plumb_add(g->handle, t->adjoint[target], d);
    return g->status;
}

static plumb_status through_node(struct tape *t, int index)
{
    struct graph *g = t->g;
    const struct plumb_node n = g->node[index]; /* a copy: the array may move while the rule adds nodes */
    bool reached = false, wanted = false;
    for (int k = 0; k < n.n_out; k++)
        reached |= t->adjoint[n.out + (uint32_t)k] != PLUMB_NONE;
    for (int k = 0; k < n.n_in; k++)
        wanted |= t->depends[n.in[k]];
    if (!reached || !wanted)
        return PLUMB_OK;
    if (!n.op->gradient) {
        plumb_poison(g->handle, "gradients: %s '%s' has no gradient rule", n.op->name, n.name);
        return PLUMB_BAD_INPUT;
    }
    size_t n_ids = (size_t)(2 * n.n_in + 2 * n.n_out);
    plumb_t *ids = plumb_zalloc(g->context, sizeof *ids * n_ids + sizeof(bool) * (size_t)n.n_in);
    if (!ids)
        return PLUMB_FAILED;
    plumb_t *in = ids, *din = in + n.n_in, *out = din + n.n_in, *dout = out + n.n_out;
    bool *want = (bool *)(dout + n.n_out);
    for (int k = 0; k < n.n_in; k++) {
        in[k] = plumb_id(g, n.in[k]);
        want[k] = t->depends[n.in[k]];
    }
    for (int k = 0; k < n.n_out; k++) {
        out[k] = plumb_id(g, n.out + (uint32_t)k);
        dout[k] = t->adjoint[n.out + (uint32_t)k];
    }
    plumb_grad q = {.graph = g->handle, .op = n.op, .name = n.name, .attr = n.attr, .n_in = n.n_in, .n_out = n.n_out,
                    .in = in, .out = out, .dout = dout, .want = want, .din = din};
    plumb_status status = n.op->gradient(&q);
    if (status == PLUMB_OK)
        status = g->status;
    for (int k = 0; status == PLUMB_OK && k < n.n_in; k++)
        if (want[k] && din[k] != PLUMB_NO_GRADIENT)
            status = accumulate(t, &n, k, din[k]);
    plumb_free(g->context, ids);
    return status;
}

static plumb_status run_tape(struct tape *t, const uint32_t *y, const plumb_t *dy, int n_y, const uint32_t *wrt, int count,
                             plumb_t *d)
{
    mark_dependence(t, wrt, count);
    plumb_graph *handle = t->g->handle;
    for (int i = 0; i < n_y; i++)
        t->adjoint[y[i]] = t->adjoint[y[i]] == PLUMB_NONE ? dy[i] : plumb_add(handle, t->adjoint[y[i]], dy[i]);
    plumb_status status = t->g->status;
    for (int i = t->n_nodes - 1; status == PLUMB_OK && i >= 0; i--)
        status = through_node(t, i);
    for (int i = 0; status == PLUMB_OK && i < count; i++) {
        d[i] = t->adjoint[wrt[i]];
        if (d[i] == PLUMB_NONE)
            d[i] = plumb_full_like(handle, plumb_id(t->g, wrt[i]), 0);
        status = t->g->status;
    }
    return status;
}

static plumb_status check_ids(struct graph *g, const char *what, const plumb_t *ids, int count, uint32_t *index)
{
    for (int i = 0; i < count; i++) {
        index[i] = plumb_index(g, ids[i]);
        if (index[i] == PLUMB_NO_TENSOR) {
            plumb_poison(g->handle, "gradients: %s %d is not a tensor of this graph", what, i);
            return PLUMB_BAD_INPUT;
        }
        if (!plumb_dtype_is_float(g->tensor[index[i]].type.dtype)) {
            plumb_poison(g->handle, "gradients: %s %d is %s; only floating tensors have gradients", what, i,
                         plumb_dtype_name(g->tensor[index[i]].type.dtype));
            return PLUMB_BAD_INPUT;
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_gradients_from(plumb_graph *graph, const plumb_t *y, const plumb_t *dy, int n_y, const plumb_t *wrt,
                                  int count, plumb_t *d)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return PLUMB_BAD_INPUT;
    for (int i = 0; d && i < count; i++)
        d[i] = PLUMB_NONE;
    if (g->status != PLUMB_OK)
        return g->status;
    if (n_y < 1 || count < 1 || !y || !dy || !wrt || !d) {
        plumb_poison(graph, "gradients: nothing to differentiate");
        return PLUMB_BAD_INPUT;
    }
    struct tape t = {.g = g, .n_nodes = g->n_nodes, .n_tensors = g->n_tensors};
    size_t n = (size_t)g->n_tensors;
    t.adjoint = plumb_zalloc(g->context, sizeof *t.adjoint * n);
    t.depends = plumb_zalloc(g->context, n);
    uint32_t *index = plumb_alloc(g->context, sizeof *index * (size_t)(n_y + count));
    int phase = plumb_set_phase(graph, g->phase == PLUMB_PHASE_FORWARD ? PLUMB_PHASE_BACKWARD : g->phase);
    plumb_status status = t.adjoint && t.depends && index ? PLUMB_OK : PLUMB_FAILED;
    if (status == PLUMB_OK)
        status = check_ids(g, "output", y, n_y, index);
    if (status == PLUMB_OK)
        status = check_ids(g, "tensor", wrt, count, index + n_y);
    if (status == PLUMB_OK)
        status = run_tape(&t, index, dy, n_y, index + n_y, count, d);
    plumb_set_phase(graph, phase);
    plumb_free(g->context, t.adjoint);
    plumb_free(g->context, t.depends);
    plumb_free(g->context, index);
    return status;
}

plumb_status plumb_gradients(plumb_graph *graph, plumb_t loss, const plumb_t *wrt, int count, plumb_t *d)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return PLUMB_BAD_INPUT;
    plumb_shape shape = plumb_shape_of(graph, loss);
    char text[160];
    if (g->status == PLUMB_OK && loss != PLUMB_NONE && shape.rank != 0) {
        plumb_poison(graph, "gradients: the loss must be a scalar, it has shape %s",
                     plumb_shape_text(&shape, text, sizeof text));
        return PLUMB_BAD_INPUT;
    }
    plumb_t one = PLUMB_NONE;
    if (plumb_dtype_is_float(plumb_dtype_of(graph, loss)))
        one = plumb_scalar(graph, plumb_dtype_of(graph, loss), 1);
    return plumb_gradients_from(graph, &loss, &one, 1, wrt, count, d);
}
