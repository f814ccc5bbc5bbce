/* Layouts: pictures (N, C, H, W) lie channels-last where an implementation wants them so, and from there on as far as
 * implementations take either. Only strides change, so every shape, attribute and gradient stays what it was.
 *
 * Decided here, node by node:
 * - A node's pictures are channels-last if the implementation that would then be chosen wants that, or takes either and
 *   most of its pictures lie so already. Everything else is in rows.
 * - A tensor lies in one layout, that of the op that makes it, and is copied into the other at most once, before its first
 *   reader there. The copy is an ordinary op, stop_gradient.
 * - Ops without pictures (sums, reshape ..) read strides as they come, if the implementation they would get in rows takes
 *   them.
 * - What is fed, fetched, assigned and kept stays in rows.
 * Where views of tensors will lie is worked out as the planner (memory.c) will, so that what is chosen here is chosen
 * there. Where that cannot be known, nothing is made of it. */
#include "pass/pass.h"

enum { KINDS = PLUMB_CHANNELS_LAST + 1, AS_IT_LIES = KINDS };

struct lying { /* a tensor of the old graph, in the new one */
    plumb_view view;         /* how it will lie; data: the address modulo 64 */
    bool laid;               /* channels-last by this pass, or a view of what is */
    bool unknown;            /* the strides are not known */
    uint32_t version[KINDS]; /* the tensor that lies so; PLUMB_NO_TENSOR: none yet */
};

struct laying {
    struct plumb_copy *copy;
    struct plumb_arena arena;
    struct lying *at;        /* [from->n_tensors] */
    unsigned char *fetched, *assigned; /* [from->n_tensors] */
    unsigned off;
    const struct plumb_layout_judge *judge;
    plumb_view *view;        /* of the node at hand: inputs, then outputs */
    plumb_t *in;
};

/* ---- views ---- */

static plumb_view packed(const struct graph *g, uint32_t tensor, enum plumb_layout_kind layout)
{
    const plumb_type *type = &g->tensor[tensor].type;
    plumb_view v = {.dtype = type->dtype, .rank = type->shape.rank};
    memcpy(v.dim, type->shape.dim, sizeof v.dim);
    plumb_view_pack_as(&v, layout);
    return v;
}

/* Not in rows as well. */
static bool is_last(const struct lying *t)
{
    return !t->unknown && plumb_view_channels_last(&t->view) && !plumb_view_contiguous(&t->view);
}

static bool is_broadcast(const plumb_view *v)
{
    bool any = false;
    for (int d = 0; d < v->rank; d++)
        any = any || (v->dim[d] > 1 && v->stride[d] == 0);
    return any;
}

static plumb_call call_of(const struct laying *l, const struct plumb_node *n)
{
    plumb_context *c = l->copy->from->context;
    return (plumb_call){.context = c, .device = c->device, .pool = c->pool, .isa = c->isa, .op = n->op, .name = n->name,
                        .attr = n->attr, .n_in = n->n_in, .n_out = n->n_out, .in = l->view, .out = l->view + n->n_in};
}

/* Views of the node at hand, all in rows. */
static plumb_call in_rows(struct laying *l, const struct plumb_node *n)
{
    for (int k = 0; k < n->n_in; k++)
        l->view[k] = packed(l->copy->from, n->in[k], PLUMB_ROWS);
    for (int k = 0; k < n->n_out; k++)
        l->view[n->n_in + k] = packed(l->copy->from, n->out + (uint32_t)k, PLUMB_ROWS);
    return call_of(l, n);
}

/* ---- tensors ---- */

/* Tensor t as it lies in `layout`. */
static uint32_t version(struct laying *l, uint32_t t, enum plumb_layout_kind layout)
{
    struct graph *to = l->copy->to;
    uint32_t *slot = &l->at[t].version[layout];
    if (*slot != PLUMB_NO_TENSOR)
        return *slot;
    plumb_t in = plumb_id(to, l->copy->map[t]);
    const char *name = l->copy->from->node[l->copy->from->tensor[t].node].name;
    *slot = plumb_index(to, plumb_emit_named(to, &plumb_op_stop_gradient, NULL, &in, 1, name));
    if (*slot != PLUMB_NO_TENSOR) {
        to->tensor[*slot].layout = layout;
        to->tensor[*slot].packed = true;
    }
    return *slot;
}

static void settle(struct laying *l, uint32_t t, plumb_view view, bool laid)
{
    struct lying *at = &l->at[t];
    *at = (struct lying){.view = view, .laid = laid};
    for (int k = 0; k < KINDS; k++)
        at->version[k] = plumb_view_lies(&view, (enum plumb_layout_kind)k) ? l->copy->map[t] : PLUMB_NO_TENSOR;
}

/* The op's result as a view of its operand, as memory.c will decide. What is fetched is in rows, whether it is a view or
 * not; whether what is assigned is a view is left to the planner. */
static bool settle_view(struct laying *l, const struct plumb_node *n)
{
    if (!n->op->view || n->n_out != 1 || l->off & PLUMB_PASS_VIEWS || l->fetched[n->out])
        return false;
    const struct lying *source = &l->at[n->in[0]];
    plumb_view out = packed(l->copy->from, n->out, PLUMB_ROWS);
    int64_t offset = 0, size = (int64_t)plumb_dtype_size(out.dtype);
    bool unknown = source->unknown || l->assigned[n->out];
    if (!n->op->view(n->attr, &source->view, &out, &offset))
        return false;
    out.data = (void *)(uintptr_t)((((int64_t)(uintptr_t)source->view.data + offset * size) % 64 + 64) % 64);
    bool laid = source->laid;
    settle(l, n->out, out, laid);
    l->at[n->out].unknown = unknown;
    for (int k = 0; k < KINDS && unknown; k++)
        l->at[n->out].version[k] = PLUMB_NO_TENSOR;
    return true;
}

/* ---- nodes ---- */

/* Which version of operand k the node gets when its pictures are in `layout`. What is broadcast stays so in element-wise
 * ops, whose kernels walk any strides. */
static int version_for(const struct laying *l, const plumb_call *call, const struct plumb_node *n, int k,
                       enum plumb_layout_kind layout)
{
    const struct lying *at = &l->at[n->in[k]];
    if (n->op->flags & PLUMB_OP_ELEMENTWISE && is_broadcast(&at->view))
        return AS_IT_LIES;
    if (layout == PLUMB_CHANNELS_LAST && plumb_op_picture_in(call, k))
        return PLUMB_CHANNELS_LAST;
    return at->laid ? PLUMB_ROWS : AS_IT_LIES;
}

static bool becomes_last(struct laying *l, const struct plumb_node *n)
{
    int pictures = 0, last = 0;
    bool any = false;
    plumb_call call = in_rows(l, n);
    for (int k = 0; k < n->n_in; k++) {
        const struct lying *at = &l->at[n->in[k]];
        int kind = version_for(l, &call, n, k, PLUMB_CHANNELS_LAST);
        if (kind == AS_IT_LIES && at->unknown)
            return false;
        if (kind == PLUMB_CHANNELS_LAST) {
            any = true;
            last += is_last(at);
            pictures += is_last(at) || !plumb_view_channels_last(&at->view);
        }
        l->view[k] = kind == AS_IT_LIES ? at->view : packed(l->copy->from, n->in[k], (enum plumb_layout_kind)kind);
    }
    for (int k = 0; k < n->n_out; k++)
        if (plumb_op_picture_out(&call, k)) {
            any = true;
            plumb_view_pack_as(&l->view[n->n_in + k], PLUMB_CHANNELS_LAST);
        }
    const plumb_impl *impl = any ? l->judge->choose(l->judge->user, &call) : NULL;
    if (!impl)
        return false;
    return impl->flags & PLUMB_IMPL_WANTS_LAST || (impl->flags & PLUMB_IMPL_ANY_LAYOUT && last > 0 && 2 * last >= pictures);
}

/* Without pictures: are operands taken as they lie by what would be chosen in rows? */
static bool takes_strides(struct laying *l, const struct plumb_node *n)
{
    plumb_call call = in_rows(l, n);
    const plumb_impl *rows = l->judge->choose(l->judge->user, &call);
    for (int k = 0; k < n->n_in; k++)
        l->view[k] = l->at[n->in[k]].view;
    return l->judge->choose(l->judge->user, &call) == rows;
}

static plumb_status emit(struct laying *l, const struct plumb_node *n, enum plumb_layout_kind layout, bool as_it_lies)
{
    struct graph *to = l->copy->to;
    plumb_call call = in_rows(l, n); /* for the shapes */
    to->phase = n->phase;
    for (int k = 0; k < n->n_in; k++) {
        int kind = as_it_lies ? AS_IT_LIES : version_for(l, &call, n, k, layout);
        uint32_t t = kind == AS_IT_LIES ? l->copy->map[n->in[k]] : version(l, n->in[k], (enum plumb_layout_kind)kind);
        l->in[k] = t == PLUMB_NO_TENSOR ? PLUMB_NONE : plumb_id(to, t);
    }
    plumb_t out = plumb_emit_named(to, n->op, n->attr, l->in, n->n_in, n->name);
    if (out == PLUMB_NONE)
        return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
    for (int k = 0; k < n->n_out; k++) {
        uint32_t t = n->out + (uint32_t)k, made = plumb_index(to, out) + (uint32_t)k;
        bool last = layout == PLUMB_CHANNELS_LAST && plumb_op_picture_out(&call, k);
        l->copy->map[t] = made;
        to->tensor[made].layout = last ? PLUMB_CHANNELS_LAST : PLUMB_ROWS;
        settle(l, t, packed(l->copy->from, t, to->tensor[made].layout), last);
    }
    return PLUMB_OK;
}

static plumb_status lay_node(struct laying *l, int index)
{
    const struct plumb_node *n = &l->copy->from->node[index];
    if (n->n_in == 0) {
        plumb_status status = plumb_copy_node(l->copy, index);
        for (int k = 0; status == PLUMB_OK && k < n->n_out; k++)
            settle(l, n->out + (uint32_t)k, packed(l->copy->from, n->out + (uint32_t)k, PLUMB_ROWS), false);
        return status;
    }
    l->view = plumb_arena_alloc(&l->arena, sizeof *l->view * (size_t)(n->n_in + n->n_out));
    l->in = plumb_arena_alloc(&l->arena, sizeof *l->in * (size_t)n->n_in);
    if (!l->view || !l->in)
        return PLUMB_FAILED;
    if (becomes_last(l, n))
        return emit(l, n, PLUMB_CHANNELS_LAST, false);
    bool laid = false;
    for (int k = 0; k < n->n_in; k++)
        laid = laid || l->at[n->in[k]].laid;
    bool has_pictures = n->op->pictures || n->op->flags & PLUMB_OP_ELEMENTWISE;
    bool as_it_lies = !laid || n->op->view || (!has_pictures && takes_strides(l, n));
    plumb_status status = emit(l, n, PLUMB_ROWS, as_it_lies);
    if (status == PLUMB_OK)
        settle_view(l, n);
    return status;
}

/* What leaves the graph leaves it in rows. */
static plumb_status restore(struct laying *l, const uint32_t *roots, int n_roots)
{
    const struct graph *from = l->copy->from;
    struct graph *to = l->copy->to;
    for (int i = 0; i < n_roots + from->n_effects; i++) {
        uint32_t t = i < n_roots ? roots[i] : from->effect[i - n_roots].value;
        if (!l->at[t].laid)
            continue;
        to->phase = from->node[from->tensor[t].node].phase;
        uint32_t rows = version(l, t, PLUMB_ROWS);
        if (rows == PLUMB_NO_TENSOR)
            return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
        l->copy->map[t] = rows;
    }
    return plumb_copy_effects(l->copy);
}

plumb_status plumb_pass_layout(struct plumb_copy *copy, const uint32_t *roots, int n_roots, unsigned off,
                               const struct plumb_layout_judge *judge)
{
    const struct graph *from = copy->from;
    struct laying l = {.copy = copy, .arena = {.context = from->context}, .off = off, .judge = judge};
    size_t tensors = (size_t)from->n_tensors + 1;
    l.at = plumb_arena_alloc(&l.arena, sizeof *l.at * tensors);
    l.fetched = plumb_arena_alloc(&l.arena, tensors);
    l.assigned = plumb_arena_alloc(&l.arena, tensors);
    plumb_status status = l.at && l.fetched && l.assigned ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; status == PLUMB_OK && i < n_roots; i++)
        l.fetched[roots[i]] = 1;
    for (int i = 0; status == PLUMB_OK && i < from->n_effects; i++)
        l.assigned[from->effect[i].value] = 1;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        status = lay_node(&l, i);
    if (status == PLUMB_OK)
        status = restore(&l, roots, n_roots);
    plumb_arena_free(&l.arena);
    return status;
}
