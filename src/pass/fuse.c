/* Fusing: where one op's result goes into another op and nowhere else, one op may make both results in one pass over
 * memory. What goes with what are the rows of pass/fusions.h; decided here is when a pair may become one:
 *
 * - no tensor disappears that anybody else reads, fetches or assigns;
 * - the new op stands where all its inputs are there already and nobody has yet asked for its outputs;
 * - somebody takes it: `takes` says so, which knows the device. Fused forms that only a reference has are not made,
 *   because separate fast ops beat one slow one.
 *
 * Nodes are not copied until all is decided: a site notes for each what has become of it. */
#include "pass/fuse.h"

struct work {
    const struct graph *g;
    plumb_context *context;
    struct plumb_arena arena;
    struct plumb_fused **site;   /* [n_nodes] what is made there; NULL: the node itself */
    unsigned char *gone;         /* [n_nodes] part of a site elsewhere */
    int *maker;                  /* [n_tensors] node where it is made */
    int *reads;                  /* [n_tensors] by nodes, */
    unsigned char *wanted;       /* [n_tensors] and whether it is fetched or assigned */
    const struct plumb_fuse_judge *judge;
    bool failed; /* out of memory */
};

static const struct plumb_fusion fusions[] = {
#define PLUMB_FUSION(first, second, function) {&plumb_op_##first, &plumb_op_##second, plumb_fuse_##function},
#include "pass/fusions.h"
#undef PLUMB_FUSION
};
enum { FUSIONS = sizeof fusions / sizeof *fusions };

static const plumb_op *op_at(const struct work *w, int node)
{
    return w->site[node] ? w->site[node]->op : w->g->node[node].op;
}

/* false: it has more inputs than a pattern handles. */
static bool view_of(const struct work *w, int node, struct plumb_fused *view)
{
    const struct plumb_node *n = &w->g->node[node];
    if (w->site[node]) {
        *view = *w->site[node];
        return true;
    }
    if (n->n_in > PLUMB_FUSED_IN || n->n_out > PLUMB_FUSED_OUT || n->op->attr_size > PLUMB_FUSED_ATTR)
        return false;
    memset(view, 0, sizeof *view);
    view->op = n->op;
    view->name = n->name;
    view->n_in = n->n_in;
    view->n_out = n->n_out;
    if (n->op->attr_size)
        memcpy(view->attr, n->attr, n->op->attr_size);
    memcpy(view->in, n->in, sizeof *n->in * (size_t)n->n_in);
    for (int k = 0; k < n->n_out; k++)
        view->out[k] = n->out + (uint32_t)k;
    return true;
}

static int count_of(const uint32_t *tensors, int n, uint32_t tensor)
{
    int count = 0;
    for (int k = 0; k < n; k++)
        count += tensors[k] == tensor;
    return count;
}

static bool has(const uint32_t *tensors, int n, uint32_t tensor) { return count_of(tensors, n, tensor) > 0; }

/* Every result of the two is made by the new op, or was for `second` alone. */
static bool nothing_is_missed(const struct work *w, const struct plumb_fusion_site *s, const struct plumb_fused *made)
{
    for (int k = 0; k < s->first->n_out; k++) {
        uint32_t t = s->first->out[k];
        if (t != PLUMB_NO_TENSOR && !has(made->out, made->n_out, t) &&
            (w->wanted[t] || w->reads[t] != count_of(s->second->in, s->second->n_in, t)))
            return false;
    }
    for (int k = 0; k < s->second->n_out; k++) {
        uint32_t t = s->second->out[k];
        if (t != PLUMB_NO_TENSOR && !has(made->out, made->n_out, t) && (w->wanted[t] || w->reads[t] > 0))
            return false;
    }
    for (int k = 0; k < made->n_in; k++)
        if (has(s->first->out, s->first->n_out, made->in[k]) || has(s->second->out, s->second->n_out, made->in[k]))
            return false;
    return true;
}

static bool reads_any(const struct work *w, int node, const struct plumb_fused *first)
{
    const uint32_t *in = w->site[node] ? w->site[node]->in : w->g->node[node].in;
    int n = w->site[node] ? w->site[node]->n_in : w->g->node[node].n_in;
    for (int k = 0; k < n && !w->gone[node]; k++)
        if (has(first->out, first->n_out, in[k]))
            return true;
    return false;
}

/* Where the new op can stand: at the second's place if nobody reads a result of the first before, at the first's if all
 * it needs is there by then; -1: nowhere. */
static int place_for(const struct work *w, int first, int second, const struct plumb_fused *of_first,
                     const struct plumb_fused *made)
{
    bool late = true, early = true;
    for (int i = first + 1; i < second && late; i++)
        late = !reads_any(w, i, of_first);
    for (int k = 0; k < made->n_in && early; k++)
        early = w->maker[made->in[k]] < first;
    return late ? second : early ? first : -1;
}

static plumb_view packed(const struct work *w, uint32_t tensor)
{
    const plumb_type *type = &w->g->tensor[tensor].type;
    plumb_view v = {.dtype = type->dtype, .rank = type->shape.rank};
    memcpy(v.dim, type->shape.dim, sizeof v.dim);
    plumb_view_pack(&v);
    return v;
}

/* Is there an implementation for it? Operands are taken to be row-major, for they have no memory yet. */
static bool taken(const struct work *w, const struct plumb_fusion_site *s, const struct plumb_fused *made)
{
    plumb_view in[PLUMB_FUSED_IN], out[PLUMB_FUSED_OUT];
    for (int k = 0; k < made->n_in; k++)
        in[k] = packed(w, made->in[k]);
    for (int k = 0; k < made->n_out; k++)
        if (made->out[k] != PLUMB_NO_TENSOR)
            out[k] = packed(w, made->out[k]);
        else
            memset(&out[k], 0, sizeof out[k]);
    plumb_call call = {.context = w->context, .device = w->context->device, .pool = w->context->pool,
                       .isa = w->context->isa, .op = made->op, .name = "", .attr = made->attr, .n_in = made->n_in,
                       .n_out = made->n_out, .in = in, .out = out};
    return w->judge->takes(w->judge->user, &call, s->second->op);
}

static void count_reads(struct work *w, const struct plumb_fused *view, int by)
{
    for (int k = 0; k < view->n_in; k++)
        w->reads[view->in[k]] += by;
}

static void settle(struct work *w, const struct plumb_fused *made, int place, int left)
{
    struct plumb_fused *kept = plumb_arena_alloc(&w->arena, sizeof *kept);
    if (!kept) {
        w->failed = true;
        return;
    }
    *kept = *made;
    count_reads(w, kept, 1);
    for (int k = 0; k < kept->n_out; k++)
        if (kept->out[k] != PLUMB_NO_TENSOR)
            w->maker[kept->out[k]] = place;
    w->site[place] = kept;
    w->gone[left] = 1;
}

/* Tries all rows on `first` before `second`. */
static bool fuse_pair(struct work *w, int first, int second, int input)
{
    struct plumb_fused a, b, made;
    for (int r = 0; r < FUSIONS; r++) {
        if (fusions[r].first != op_at(w, first) || fusions[r].second != op_at(w, second) || !view_of(w, first, &a) ||
            !view_of(w, second, &b))
            continue;
        struct plumb_fusion_site site = {.graph = w->g, .first = &a, .second = &b, .input = input};
        while (a.out[site.output] != b.in[input])
            site.output++;
        made = a;
        if (!fusions[r].fuse(&site, &made) || !nothing_is_missed(w, &site, &made) || !taken(w, &site, &made))
            continue;
        int place = place_for(w, first, second, &a, &made);
        if (place < 0)
            continue;
        made.name = *a.name ? a.name : b.name;
        count_reads(w, &a, -1);
        count_reads(w, &b, -1);
        settle(w, &made, place, place == first ? second : first);
        return true;
    }
    return false;
}

/* Whatever can be made of node i and those it reads; again, as long as something could and it stands at i. */
static void fuse_at(struct work *w, int i)
{
    struct plumb_fused view;
    bool changed = true;
    while (changed && !w->gone[i] && !w->failed) {
        changed = false;
        bool second = false;
        for (int r = 0; r < FUSIONS; r++)
            second = second || fusions[r].second == op_at(w, i);
        if (!second || !view_of(w, i, &view))
            return;
        for (int k = 0; k < view.n_in && !changed; k++)
            changed = fuse_pair(w, w->maker[view.in[k]], i, k);
    }
}

/* ---- copying what was decided ---- */

static plumb_status copy_site(struct plumb_copy *copy, const struct work *w, int node)
{
    const struct plumb_fused *made = w->site[node];
    struct graph *to = copy->to;
    plumb_t in[PLUMB_FUSED_IN];
    for (int k = 0; k < made->n_in; k++)
        in[k] = plumb_id(to, copy->map[made->in[k]]);
    to->phase = w->g->node[node].phase;
    plumb_t out = plumb_emit_named(to, made->op, made->attr, in, made->n_in, made->name);
    if (out == PLUMB_NONE)
        return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
    for (int k = 0; k < made->n_out; k++)
        if (made->out[k] != PLUMB_NO_TENSOR)
            copy->map[made->out[k]] = plumb_index(to, out) + (uint32_t)k;
    return PLUMB_OK;
}

static bool begin(struct work *w, const uint32_t *roots, int n_roots)
{
    const struct graph *g = w->g;
    size_t nodes = (size_t)g->n_nodes + 1, tensors = (size_t)g->n_tensors + 1;
    w->site = plumb_arena_alloc(&w->arena, sizeof *w->site * nodes);
    w->gone = plumb_arena_alloc(&w->arena, nodes);
    w->maker = plumb_arena_alloc(&w->arena, sizeof *w->maker * tensors);
    w->reads = plumb_arena_alloc(&w->arena, sizeof *w->reads * tensors);
    w->wanted = plumb_arena_alloc(&w->arena, tensors);
    if (!w->site || !w->gone || !w->maker || !w->reads || !w->wanted)
        return false;
    for (int t = 0; t < g->n_tensors; t++)
        w->maker[t] = (int)g->tensor[t].node;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->node[i].n_in; k++)
            w->reads[g->node[i].in[k]]++;
    for (int i = 0; i < n_roots; i++)
        w->wanted[roots[i]] = 1;
    for (int i = 0; i < g->n_effects; i++) {
        w->wanted[g->effect[i].variable] = w->wanted[g->effect[i].value] = 1;
        if (g->effect[i].gate != PLUMB_NO_TENSOR)
            w->wanted[g->effect[i].gate] = 1;
    }
    return true;
}

plumb_status plumb_pass_fuse(struct plumb_copy *copy, const uint32_t *roots, int n_roots,
                             const struct plumb_fuse_judge *judge)
{
    const struct graph *from = copy->from;
    struct work w = {.g = from, .context = from->context, .arena = {.context = from->context}, .judge = judge};
    plumb_status status = begin(&w, roots, n_roots) ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        fuse_at(&w, i);
    if (w.failed)
        status = PLUMB_FAILED;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        if (!w.gone[i])
            status = w.site[i] ? copy_site(copy, &w, i) : plumb_copy_node(copy, i);
    if (status == PLUMB_OK)
        status = plumb_copy_effects(copy);
    plumb_arena_free(&w.arena);
    return status;
}
