/* Dead code goes, equal nodes become one, and what depends on constants alone is computed now. One scan: a node's
 * inputs were already simplified when it is met. */
#include "pass/pass.h"

enum { FOLD_MOST = 4096 }; /* elements: larger results would only trade computing for memory */

/* Open-addressing table of nodes of the new graph, keyed by op, attributes and inputs. */
struct seen {
    int *node; /* index + 1, 0 empty */
    uint32_t room;
};

static uint64_t mix(uint64_t h, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

static bool mergeable(const plumb_op *op) { return op != &plumb_op_input && op != &plumb_op_variable; }

static uint64_t node_hash(const struct plumb_node *n)
{
    uint64_t h = mix(14695981039346656037u, &n->op, sizeof n->op);
    if (n->op == &plumb_op_constant) {
        const plumb_attr_leaf *a = n->attr;
        h = mix(h, &a->hash, sizeof a->hash);
    } else {
        h = mix(h, n->attr, n->op->attr_size);
    }
    if (n->op->flags & PLUMB_OP_COMMUTATIVE && n->n_in == 2) {
        uint32_t sorted[2] = {n->in[0], n->in[1]};
        if (sorted[0] > sorted[1]) {
            sorted[0] = n->in[1];
            sorted[1] = n->in[0];
        }
        return mix(h, sorted, sizeof sorted);
    }
    return mix(h, n->in, sizeof *n->in * (size_t)n->n_in);
}

static bool same_constant(const struct plumb_node *a, const struct plumb_node *b)
{
    const plumb_attr_leaf *x = a->attr, *y = b->attr;
    return x->hash == y->hash && x->made.dtype == y->made.dtype && plumb_shape_equal(&x->made.shape, &y->made.shape) &&
           memcmp((const void *)(uintptr_t)x->data, (const void *)(uintptr_t)y->data,
                  (size_t)plumb_shape_count(&x->made.shape) * plumb_dtype_size(x->made.dtype)) == 0;
}

static bool same_node(const struct plumb_node *a, const struct plumb_node *b)
{
    if (a->op != b->op || a->n_in != b->n_in)
        return false;
    if (a->op == &plumb_op_constant)
        return same_constant(a, b);
    if (a->op->attr_size && memcmp(a->attr, b->attr, a->op->attr_size) != 0)
        return false;
    if (memcmp(a->in, b->in, sizeof *a->in * (size_t)a->n_in) == 0)
        return true;
    return a->op->flags & PLUMB_OP_COMMUTATIVE && a->n_in == 2 && a->in[0] == b->in[1] && a->in[1] == b->in[0];
}

/* The earlier equal of the newest node of `g`, or -1 after remembering the newest. */
static int find_or_add(struct seen *seen, const struct graph *g)
{
    int newest = g->n_nodes - 1;
    const struct plumb_node *n = &g->node[newest];
    uint32_t slot = (uint32_t)node_hash(n) & (seen->room - 1);
    while (seen->node[slot]) {
        int other = seen->node[slot] - 1;
        if (same_node(&g->node[other], n))
            return other;
        slot = (slot + 1) & (seen->room - 1);
    }
    seen->node[slot] = newest + 1;
    return -1;
}

static bool all_constant(const struct graph *g, const struct plumb_node *n)
{
    for (int i = 0; i < n->n_in; i++)
        if (g->node[g->tensor[n->in[i]].node].op != &plumb_op_constant)
            return false;
    return true;
}

static plumb_view host_view(const plumb_type *type, void *data)
{
    plumb_view v = {.data = data, .dtype = type->dtype, .rank = type->shape.rank};
    memcpy(v.dim, type->shape.dim, sizeof v.dim);
    plumb_view_pack(&v);
    return v;
}

/* Replaces the newest node (one output, constant inputs) by a constant; leaves it where that is not possible. */
static plumb_status fold_newest(struct graph *g, const plumb_impl *(*reference)(const plumb_op *op), uint32_t *result)
{
    struct plumb_node *n = &g->node[g->n_nodes - 1];
    const plumb_type *type = &g->tensor[n->out].type;
    int64_t count = plumb_shape_count(&type->shape);
    const plumb_impl *impl = reference(n->op);
    plumb_view in[4], out;
    if (n->op->flags & (PLUMB_OP_LEAF | PLUMB_OP_RANDOM) || n->n_out != 1 || n->n_in > 4 || !all_constant(g, n) ||
        count < 0 || count > FOLD_MOST || !impl || impl->workspace)
        return PLUMB_OK;
    for (int i = 0; i < n->n_in; i++) {
        const plumb_attr_leaf *a = g->node[g->tensor[n->in[i]].node].attr;
        in[i] = host_view(&g->tensor[n->in[i]].type, (void *)(uintptr_t)a->data);
    }
    void *data = plumb_alloc(g->context, (size_t)count * plumb_dtype_size(type->dtype));
    if (!data)
        return PLUMB_FAILED;
    out = host_view(type, data);
    plumb_call call = {.context = g->context, .device = g->context->device, .pool = g->context->pool, .op = n->op,
                       .name = n->name, .attr = n->attr, .n_in = n->n_in, .n_out = 1, .in = in, .out = &out};
    plumb_status status = !impl->supports || impl->supports(&call) ? impl->run(&call) : PLUMB_OK;
    if (status == PLUMB_OK) {
        plumb_t id = plumb_constant(g->handle, type->dtype, type->shape, data);
        status = g->status;
        *result = plumb_index(g, id);
    }
    plumb_free(g->context, data);
    return status;
}

static plumb_status simplify_node(struct plumb_copy *copy, int index, struct seen *seen, unsigned off,
                                  const plumb_impl *(*reference)(const plumb_op *op))
{
    const struct plumb_node *n = &copy->from->node[index];
    struct graph *to = copy->to;
    plumb_status status = plumb_copy_node(copy, index);
    if (status == PLUMB_OK && !(off & PLUMB_PASS_FOLD) && n->op != &plumb_op_constant) {
        uint32_t folded = PLUMB_NO_TENSOR;
        status = fold_newest(to, reference, &folded);
        if (status == PLUMB_OK && folded != PLUMB_NO_TENSOR)
            copy->map[n->out] = folded;
    }
    if (status != PLUMB_OK || off & PLUMB_PASS_CSE || !mergeable(to->node[to->n_nodes - 1].op))
        return status;
    int twin = find_or_add(seen, to);
    for (int i = 0; twin >= 0 && i < n->n_out; i++)
        copy->map[n->out + (uint32_t)i] = to->node[twin].out + (uint32_t)i;
    return PLUMB_OK;
}

plumb_status plumb_pass_simplify(struct plumb_copy *copy, const uint32_t *roots, int n_roots, unsigned off,
                                 const plumb_impl *(*reference)(const plumb_op *op))
{
    const struct graph *from = copy->from;
    plumb_context *context = from->context;
    struct seen seen = {.room = 64};
    while (seen.room < 4u * (uint32_t)from->n_nodes)
        seen.room *= 2;
    seen.node = plumb_zalloc(context, sizeof *seen.node * seen.room);
    unsigned char *needed = plumb_alloc(context, (size_t)from->n_nodes + 1);
    plumb_status status = seen.node && needed ? PLUMB_OK : PLUMB_FAILED;
    if (status == PLUMB_OK) {
        if (off & PLUMB_PASS_DCE)
            memset(needed, 1, (size_t)from->n_nodes);
        else
            plumb_mark_needed(from, roots, n_roots, true, needed);
    }
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        if (needed[i])
            status = simplify_node(copy, i, &seen, off, reference);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(copy);
    plumb_free(context, seen.node);
    plumb_free(context, needed);
    return status;
}
