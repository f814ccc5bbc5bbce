/* Where every tensor lies, decided offline. Views share their source's memory, outputs may take over an input that is
 * not read again, updates are computed in the variable's own memory, and the rest is packed by lifetimes, largest
 * first. Fixed addresses: a run allocates nothing. */
#include "pass/pass.h"

enum { ALIGNMENT = 64 };

struct builder {
    struct plumb_memory_layout *m;
    const struct graph *g;
    unsigned off;
    int *last;                /* [n_tensors] last step that reads the tensor or a view of it; INT32_MAX for outputs */
    unsigned char *root;      /* [n_tensors] can be fetched */
    int *effect_of;           /* [n_tensors] of a variable: its only effect, -1 none, -2 several */
};

static int add_buffer(struct plumb_memory_layout *m, struct plumb_buffer buffer)
{
    if (!plumb_grow(m->graph->context, &m->buffer, &m->buffer_room, m->n_buffers + 1, sizeof *m->buffer))
        return -1;
    m->buffer[m->n_buffers] = buffer;
    return m->n_buffers++;
}

static int64_t tensor_bytes(const struct graph *g, uint32_t t)
{
    return plumb_shape_count(&g->tensor[t].type.shape) * (int64_t)plumb_dtype_size(g->tensor[t].type.dtype);
}

plumb_view plumb_layout_view(const struct plumb_memory_layout *m, uint32_t t, void *start)
{
    const plumb_type *type = &m->graph->tensor[t].type;
    const struct plumb_place *p = &m->place[t];
    plumb_view v = {.dtype = type->dtype, .rank = type->shape.rank};
    for (int i = 0; i < v.rank; i++) {
        v.dim[i] = type->shape.dim[i];
        v.stride[i] = p->stride[i];
    }
    int64_t offset = p->offset * (int64_t)plumb_dtype_size(type->dtype);
    v.data = start ? (char *)start + offset : (void *)(uintptr_t)(offset % ALIGNMENT);
    return v;
}

static void place_whole(struct builder *b, uint32_t t, int buffer)
{
    const plumb_type *type = &b->g->tensor[t].type;
    struct plumb_place *p = &b->m->place[t];
    plumb_view v = {.rank = type->shape.rank};
    memcpy(v.dim, type->shape.dim, sizeof v.dim);
    plumb_view_pack_as(&v, b->g->tensor[t].layout);
    p->buffer = buffer;
    p->offset = 0;
    memcpy(p->stride, v.stride, sizeof p->stride);
}

/* All of its buffer, element for element where `other` lies in one of its own. */
static bool is_whole_as(const struct builder *b, uint32_t t, uint32_t other)
{
    const struct plumb_place *p = &b->m->place[t];
    plumb_view v = plumb_layout_view(b->m, t, NULL), o = plumb_layout_view(b->m, other, NULL);
    return p->offset == 0 && plumb_views_alike(&v, &o) && b->m->buffer[p->buffer].bytes == tensor_bytes(b->g, t);
}

/* ---- lifetimes ---- */

static void read_at(struct builder *b, uint32_t t, int step)
{
    if (t != PLUMB_NO_TENSOR && b->last[t] < step)
        b->last[t] = step;
}

static void find_lifetimes(struct builder *b)
{
    const struct graph *g = b->g;
    for (int t = 0; t < g->n_tensors; t++)
        b->last[t] = (int)g->tensor[t].node;
    for (int i = 0; i < b->m->n_roots; i++)
        b->last[b->m->roots[i]] = INT32_MAX;
    for (int e = 0; b->m->effects && e < g->n_effects; e++) {
        read_at(b, g->effect[e].value, g->n_nodes + e);
        read_at(b, g->effect[e].gate, g->n_nodes + e);
    }
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const struct plumb_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++)
            read_at(b, n->in[k], i);
        if (b->m->aliased[i])
            read_at(b, n->in[0], b->last[n->out]);
    }
}

/* ---- views ---- */

/* A view of a variable may be read after an effect changed the variable: what feeds an effect is copied instead. So is
 * what is fetched, in programs without effects too (another one may change the variable before), and so that the next
 * input may be fed before this one's outputs are fetched. */
static bool view_allowed(const struct builder *b, const struct plumb_node *n)
{
    const struct graph *g = b->g;
    uint32_t source = n->in[0];
    while (b->m->aliased[g->tensor[source].node])
        source = g->node[g->tensor[source].node].in[0];
    const plumb_op *op = g->node[g->tensor[source].node].op;
    if (b->root[n->out] && (op == &plumb_op_variable || op == &plumb_op_input))
        return false;
    for (int e = 0; op == &plumb_op_variable && b->m->effects && e < g->n_effects; e++)
        if (g->effect[e].value == n->out)
            return false;
    return true;
}

static void try_view(struct builder *b, int index)
{
    const struct plumb_node *n = &b->g->node[index];
    if (!n->op->view || b->off & PLUMB_PASS_VIEWS || n->n_out != 1 || !view_allowed(b, n))
        return;
    const struct plumb_place *from = &b->m->place[n->in[0]];
    plumb_view in = plumb_layout_view(b->m, n->in[0], NULL), out = {0};
    const plumb_type *type = &b->g->tensor[n->out].type;
    out.dtype = type->dtype;
    out.rank = type->shape.rank;
    memcpy(out.dim, type->shape.dim, sizeof out.dim);
    int64_t offset = 0;
    if (!n->op->view(n->attr, &in, &out, &offset))
        return;
    const struct plumb_tensor *t = &b->g->tensor[n->out];
    if ((b->root[n->out] && !plumb_view_contiguous(&out)) ||
        ((t->packed || t->layout != PLUMB_ROWS) && !plumb_view_lies(&out, t->layout)))
        return;
    struct plumb_place *p = &b->m->place[n->out];
    p->buffer = from->buffer;
    p->offset = from->offset + offset;
    memcpy(p->stride, out.stride, sizeof p->stride);
    b->m->aliased[index] = 1;
}

/* Views are found first, on provisional places (only strides matter), because lifetimes depend on them. */
static void find_views(struct builder *b)
{
    for (int i = 0; i < b->g->n_nodes; i++) {
        for (int k = 0; k < b->g->node[i].n_out; k++)
            place_whole(b, b->g->node[i].out + (uint32_t)k, 0);
        try_view(b, i);
    }
}

/* ---- buffers ---- */

/* Ops of many tensors do one after the other: what one of their outputs overwrites, none of their other operands may read. */
static bool is_read_besides(const struct builder *b, const struct plumb_node *n, int input)
{
    int buffer = b->m->place[n->in[input]].buffer;
    for (int k = 0; n->op->flags & PLUMB_OP_VARIADIC && k < n->n_in; k++)
        if (k != input && b->m->place[n->in[k]].buffer == buffer)
            return true;
    return false;
}

/* An update's output may be computed in the memory of the variable it is assigned to: if it overwrites just that
 * variable, ungated (the op itself minds `apply`), and nothing reads the old value later. */
static int direct_effect(const struct builder *b, int step, uint32_t out, uint32_t in)
{
    const struct graph *g = b->g;
    if (!b->m->effects || b->off & PLUMB_PASS_IN_PLACE || g->node[g->tensor[in].node].op != &plumb_op_variable)
        return -1;
    int e = b->effect_of[in];
    uint32_t gate = e < 0 ? PLUMB_NO_TENSOR : g->effect[e].gate;
    if (gate != PLUMB_NO_TENSOR && gate != g->node[step].in[0]) /* a gate that is not the op's own `apply` */
        return -1;
    if (e < 0 || g->effect[e].value != out || !(g->node[step].op->flags & PLUMB_OP_VARIADIC) || b->last[in] > step)
        return -1;
    return e;
}

/* What a run leaves behind, a view of it being enough, may not lie in the arena: other programs run there before it is
 * fetched. */
static bool may_overwrite(const struct builder *b, int step, uint32_t out, uint32_t in)
{
    const struct plumb_node *n = &b->g->node[step];
    const struct plumb_place *p = &b->m->place[in];
    const struct plumb_buffer *buffer = &b->m->buffer[p->buffer];
    const plumb_type *a = &b->g->tensor[in].type, *c = &b->g->tensor[out].type;
    if (b->off & PLUMB_PASS_IN_PLACE || buffer->memory != PLUMB_MEMORY_ARENA || buffer->last > step ||
        b->last[out] == INT32_MAX)
        return false;
    if (a->dtype != c->dtype || !is_whole_as(b, in, out))
        return false;
    for (int k = 0; k < n->n_in; k++) /* another operand in the same memory must be the same elements */
        if (b->m->place[n->in[k]].buffer == p->buffer && !is_whole_as(b, n->in[k], out))
            return false;
    return true;
}

static int take_over(struct builder *b, int step, int output, unsigned char *taken)
{
    const struct plumb_node *n = &b->g->node[step];
    int input = n->op->in_place ? n->op->in_place(n->attr, output) : -1;
    if (input < 0 || input >= n->n_in)
        return -1;
    uint32_t in = n->in[input], out = n->out + (uint32_t)output;
    if (is_read_besides(b, n, input))
        return -1;
    int e = direct_effect(b, step, out, in);
    if (e >= 0) {
        b->m->direct[e] = 1;
        return b->m->place[in].buffer;
    }
    int buffer = b->m->place[in].buffer;
    if (taken[buffer] || !may_overwrite(b, step, out, in))
        return -1;
    taken[buffer] = 1;
    return buffer;
}

static enum plumb_memory memory_of(const struct builder *b, const struct plumb_node *n, uint32_t out)
{
    if (n->op == &plumb_op_input)
        return PLUMB_MEMORY_INPUT;
    if (n->op == &plumb_op_variable)
        return PLUMB_MEMORY_STATE;
    if (n->op == &plumb_op_constant)
        return PLUMB_MEMORY_CONSTANT;
    return b->last[out] == INT32_MAX ? PLUMB_MEMORY_OUTPUT : PLUMB_MEMORY_ARENA;
}

static plumb_status make_buffers(struct builder *b, unsigned char *taken)
{
    const struct graph *g = b->g;
    struct plumb_memory_layout *m = b->m;
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        if (m->aliased[i]) { /* the source's final place is known now */
            m->aliased[i] = 0;
            place_whole(b, n->out, 0);
            try_view(b, i);
            continue;
        }
        memset(taken, 0, (size_t)g->n_tensors);
        for (int k = 0; k < n->n_out; k++) {
            uint32_t out = n->out + (uint32_t)k;
            int buffer = take_over(b, i, k, taken);
            if (buffer < 0)
                buffer = add_buffer(m, (struct plumb_buffer){.memory = memory_of(b, n, out), .first = i, .last = i,
                                                             .bytes = tensor_bytes(g, out), .owner = out});
            if (buffer < 0)
                return PLUMB_FAILED;
            if (m->buffer[buffer].last < b->last[out])
                m->buffer[buffer].last = b->last[out];
            place_whole(b, out, buffer);
        }
    }
    return PLUMB_OK;
}

static void find_effects(struct builder *b)
{
    for (int t = 0; t < b->g->n_tensors; t++)
        b->effect_of[t] = -1;
    for (int e = 0; b->m->effects && e < b->g->n_effects; e++) {
        int *slot = &b->effect_of[b->g->effect[e].variable];
        *slot = *slot == -1 ? e : -2;
    }
}

plumb_status plumb_layout_begin(struct plumb_memory_layout *m, const struct graph *g, const uint32_t *roots, int n_roots,
                                bool effects, unsigned off)
{
    plumb_context *c = g->context;
    size_t n = (size_t)g->n_tensors + 1, steps = (size_t)(g->n_nodes + g->n_effects) + 1;
    *m = (struct plumb_memory_layout){.context = c, .graph = g, .roots = roots, .n_roots = n_roots, .effects = effects};
    m->place = plumb_zalloc(c, sizeof *m->place * n);
    m->aliased = plumb_zalloc(c, steps);
    m->direct = plumb_zalloc(c, steps);
    m->workspace = plumb_alloc(c, sizeof *m->workspace * steps);
    struct builder b = {.m = m, .g = g, .off = off};
    b.last = plumb_alloc(c, sizeof *b.last * n);
    b.root = plumb_zalloc(c, n);
    b.effect_of = plumb_alloc(c, sizeof *b.effect_of * n);
    unsigned char *taken = plumb_alloc(c, n);
    plumb_status status = PLUMB_FAILED;
    if (m->place && m->aliased && m->direct && m->workspace && b.last && b.root && b.effect_of && taken) {
        for (size_t i = 0; i < steps; i++)
            m->workspace[i] = -1;
        for (int i = 0; i < n_roots; i++)
            b.root[roots[i]] = 1;
        find_effects(&b);
        find_views(&b);
        find_lifetimes(&b);
        status = make_buffers(&b, taken);
    }
    plumb_free(c, b.last);
    plumb_free(c, b.root);
    plumb_free(c, b.effect_of);
    plumb_free(c, taken);
    if (status != PLUMB_OK)
        plumb_layout_free(m);
    return status;
}

plumb_status plumb_layout_workspace(struct plumb_memory_layout *m, int step, int64_t bytes)
{
    if (bytes <= 0)
        return PLUMB_OK;
    m->workspace[step] = add_buffer(m, (struct plumb_buffer){.memory = PLUMB_MEMORY_ARENA, .bytes = bytes, .first = step,
                                                             .last = step, .owner = PLUMB_NO_TENSOR});
    return m->workspace[step] < 0 ? PLUMB_FAILED : PLUMB_OK;
}

void plumb_layout_free(struct plumb_memory_layout *m)
{
    plumb_context *c = m->context;
    if (!c)
        return;
    plumb_free(c, m->place);
    plumb_free(c, m->aliased);
    plumb_free(c, m->direct);
    plumb_free(c, m->workspace);
    plumb_free(c, m->buffer);
    *m = (struct plumb_memory_layout){0};
}

/* ---- offsets: greedy by size, at the lowest place free during the whole lifetime ---- */

struct slot { int64_t size; int index; };

static int larger_first(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : x->index - y->index;
}

static int64_t lowest_free(const struct plumb_memory_layout *m, const struct slot *placed, int n_placed, /* by offset */
                           const struct plumb_buffer *b, int64_t size)
{
    int64_t at = 0;
    for (int i = 0; i < n_placed; i++) {
        const struct plumb_buffer *o = &m->buffer[placed[i].index];
        if (o->last < b->first || b->last < o->first)
            continue;
        if (at + size <= o->offset)
            break;
        if (at < o->offset + placed[i].size)
            at = o->offset + placed[i].size;
    }
    return at;
}

plumb_status plumb_layout_offsets(struct plumb_memory_layout *m, unsigned off, int64_t guard)
{
    plumb_context *c = m->graph->context;
    size_t room = sizeof(struct slot) * ((size_t)m->n_buffers + 1);
    struct slot *order = plumb_alloc(c, room), *placed = plumb_alloc(c, room);
    int n = 0, n_placed = 0;
    for (int i = 0; order && i < m->n_buffers; i++)
        if (m->buffer[i].memory == PLUMB_MEMORY_ARENA)
            order[n++] = (struct slot){.index = i,
                                       .size = (m->buffer[i].bytes + guard + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT};
    bool ready = order && placed;
    if (ready)
        qsort(order, (size_t)n, sizeof *order, larger_first);
    for (int i = 0; ready && i < n; i++) {
        struct plumb_buffer *b = &m->buffer[order[i].index];
        b->offset = off & PLUMB_PASS_REUSE ? m->arena_bytes : lowest_free(m, placed, n_placed, b, order[i].size);
        if (b->offset + order[i].size > m->arena_bytes)
            m->arena_bytes = b->offset + order[i].size;
        int at = n_placed++;
        for (; at > 0 && m->buffer[placed[at - 1].index].offset > b->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = order[i];
    }
    plumb_free(c, order);
    plumb_free(c, placed);
    return ready ? PLUMB_OK : PLUMB_FAILED;
}
