/* What a model consists of, read off the graph itself: any graph has a summary, not only those made of layers. Names
 * mark where a row begins; what has none belongs to the row before it. */
#include "nn/nn.h"

#include <stdio.h>

struct summary {
    struct graph *g;
    bool *wanted;   /* [tensors]: on the way to the output; a variable is taken off once it was counted */
    plumb_summary_row *rows;
    int room, count;
};

/* Elements of one example: a symbol counts as 1. -1 on overflow. */
static int64_t elements(const plumb_shape *shape)
{
    int64_t count = 1;
    for (int d = 0; d < shape->rank; d++) {
        if (!plumb_mul_size(count, shape->dim[d] < 0 ? 1 : shape->dim[d], &count)) {
            return -1;
        }
    }
    return count;
}

static plumb_summary_row *current_row(struct summary *s)
{
    return s->count > 0 && s->count <= s->room ? &s->rows[s->count - 1] : NULL;
}

static void begin_row(struct summary *s, const struct plumb_node *node)
{
    s->count++;
    plumb_summary_row *row = current_row(s);
    if (row) {
        *row = (plumb_summary_row){.op = node->op->name};
        snprintf(row->name, sizeof row->name, "%s", node->name);
    }
}

/* The table's own formula, for one example, counts two operations for each multiply-add. */
static int64_t multiply_adds(const struct summary *s, const struct plumb_node *node)
{
    static const plumb_op *const products[] = {&plumb_op_matmul, &plumb_op_conv2d, &plumb_op_rnn, &plumb_op_gru, &plumb_op_lstm};
    enum { OPERANDS = 8, PRODUCTS = sizeof products / sizeof *products };
    bool is_product = false;
    for (int i = 0; i < PRODUCTS; i++) {
        is_product = is_product || node->op == products[i];
    }
    if (!is_product) {
        return 0;
    }
    plumb_view view[OPERANDS];
    memset(view, 0, sizeof view);
    for (int i = 0; i < node->n_in + 1 && i < OPERANDS; i++) {
        const plumb_type *type = &s->g->tensor[i < node->n_in ? node->in[i] : node->out].type;
        view[i].dtype = type->dtype;
        view[i].rank = type->shape.rank;
        for (int d = 0; d < type->shape.rank; d++) {
            view[i].dim[d] = type->shape.dim[d] < 0 ? 1 : type->shape.dim[d];
        }
        plumb_view_pack(&view[i]);
    }
    const plumb_call call = {.context = s->g->context, .op = node->op, .name = node->name, .attr = node->attr,
                             .n_in = node->n_in, .n_out = 1, .in = view, .out = &view[node->n_in]};
    return (int64_t)(node->op->flops(&call) / 2);
}

/* Variables count where they are first used. */
static void count_variables(struct summary *s, const struct plumb_node *node)
{
    plumb_summary_row *row = current_row(s);
    for (int i = 0; row && i < node->n_in; i++) {
        const struct plumb_tensor *t = &s->g->tensor[node->in[i]];
        const struct plumb_node *from = &s->g->node[t->node];
        if (from->op == &plumb_op_variable && s->wanted[node->in[i]]) {
            bool frozen = ((const plumb_attr_leaf *)from->attr)->frozen || !plumb_dtype_is_float(t->type.dtype);
            *(frozen ? &row->frozen : &row->parameters) += elements(&t->type.shape);
            s->wanted[node->in[i]] = false;
        }
    }
}

static bool is_wanted(const struct summary *s, const struct plumb_node *node)
{
    for (int k = 0; k < node->n_out; k++) {
        if (s->wanted[node->out + (uint32_t)k]) {
            return true;
        }
    }
    return false;
}

static void add_node(struct summary *s, const struct plumb_node *node, bool is_input)
{
    bool leaf = node->op->flags & PLUMB_OP_LEAF;
    if (!is_wanted(s, node) || (leaf && !is_input)) {
        return;
    }
    if (node->name[0] && !(node->op == &plumb_op_reshape)) {
        begin_row(s, node);
    }
    plumb_summary_row *row = current_row(s);
    if (!row) {
        return;
    }
    count_variables(s, node);
    row->multiply_adds += multiply_adds(s, node);
    if (!node->op->view) {
        row->shape = s->g->tensor[node->out].type.shape;
        row->activation = elements(&row->shape);
    }
}

int plumb_summary(const plumb_graph *graph, plumb_t input, plumb_t output, plumb_summary_row *rows, int room)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g || g->status != PLUMB_OK) {
        return -1;
    }
    uint32_t first = plumb_index(g, input), last = plumb_index(g, output);
    if (first == PLUMB_NO_TENSOR || last == PLUMB_NO_TENSOR) {
        plumb_fail(g->context, PLUMB_BAD_INPUT, "summary: input or output is not a tensor of this graph");
        return -1;
    }
    struct summary s = {.g = g, .rows = rows, .room = rows ? room : 0};
    s.wanted = plumb_zalloc(g->context, (size_t)g->n_tensors);
    if (!s.wanted) {
        return -1;
    }
    s.wanted[last] = true;
    for (int n = g->n_nodes - 1; n >= 0; n--) {
        for (int i = 0; is_wanted(&s, &g->node[n]) && i < g->node[n].n_in; i++) {
            s.wanted[g->node[n].in[i]] = true;
        }
    }
    for (int n = 0; n < g->n_nodes; n++) {
        add_node(&s, &g->node[n], g->tensor[first].node == (uint32_t)n);
    }
    plumb_free(g->context, s.wanted);
    return s.count;
}
