/* Mixed precision: a bound graph written in f32, forward or with its gradients, becomes one whose products, convolutions
 * and the activations between them are bf16 or f16 (Micikevicius et al., "Mixed Precision Training", ICLR 2018).
 *
 * Decided here:
 * - What an op does is in its row (plumb_op.precision): it computes low, or in f32, or in the dtype that its data comes
 *   in. The rows follow PyTorch's autocast where that has an opinion, so that results can be compared.
 * - Nothing declared changes: variables stay f32 (they are the master weights; their casts are ops), inputs are fed and
 *   outputs fetched in the dtype they were written with, effects write what the variable is. Tensors that the user made
 *   bf16, f16 or an integer are left alone.
 * - A tensor has one natural dtype, that of the op that makes it, and is cast at most once into the other, from there: a
 *   cast of a cast would lose digits, two casts would do the work twice.
 * - An op that follows is low if some of its data is and all the rest is low or constant during a step: a bias is rounded
 *   to meet its activations, while a target that was fed is not, and the comparison with it is f32. In the forward pass
 *   what is computed from variables and constants alone counts with them; among gradients it does not, since there it
 *   grows with the loss scale.
 * - Scalars are never low: they cost nothing, and losses and their scale need the range.
 * - Gradients of weights come out of their op low, sums accumulated in f32 or wider, and are cast for the update. That is
 *   what autocast does, too; the rounding is one in 2^8 (bf16) or 2^11 (f16) of each gradient's element.
 * - Random tensors keep their dtype, and dropout's mask does not depend on its data's: precision changes no draw. */
#include "pass/pass.h"

struct lowering {
    struct plumb_copy *copy;
    plumb_dtype low;
    uint32_t *other;       /* [from->n_tensors] the copy in the dtype that is not natural, PLUMB_NO_TENSOR if none yet */
    unsigned char *steady; /* [from->n_nodes] computed from variables and constants alone */
};

static bool is_f32(const struct graph *g, uint32_t tensor) { return g->tensor[tensor].type.dtype == PLUMB_F32; }

/* Tensor `t` of the old graph, written as f32, as `dtype` in the new one. */
static uint32_t version(struct lowering *l, uint32_t t, plumb_dtype dtype)
{
    struct graph *to = l->copy->to;
    uint32_t natural = l->copy->map[t];
    if (to->tensor[natural].type.dtype == dtype)
        return natural;
    if (l->other[t] == PLUMB_NO_TENSOR) {
        const struct plumb_node *maker = &l->copy->from->node[l->copy->from->tensor[t].node];
        plumb_attr_cast attr;
        memset(&attr, 0, sizeof attr);
        attr.made.dtype = dtype;
        plumb_t in = plumb_id(to, natural);
        l->other[t] = plumb_index(to, plumb_emit_named(to, &plumb_op_cast, &attr, &in, 1, maker->name));
    }
    return l->other[t];
}

/* Input k of the node is f32 as written, and no parameter that stays so. */
static bool is_data(const struct graph *g, const struct plumb_node *n, int k)
{
    return is_f32(g, n->in[k]) && !(k < 32 && n->op->in_f32 >> k & 1);
}

static bool follows_low(const struct lowering *l, const struct plumb_node *n)
{
    const struct graph *from = l->copy->from;
    bool any = false, scalars = true;
    for (int k = 0; k < n->n_out; k++)
        scalars = scalars && from->tensor[n->out + (uint32_t)k].type.shape.rank == 0;
    for (int k = 0; k < n->n_in; k++) {
        if (!is_data(from, n, k))
            continue;
        bool low = l->copy->to->tensor[l->copy->map[n->in[k]]].type.dtype == l->low;
        if (!low && !l->steady[from->tensor[n->in[k]].node])
            return false;
        any = any || low;
    }
    return any && !scalars;
}

static plumb_dtype computes_in(const struct lowering *l, const struct plumb_node *n)
{
    plumb_precision how = n->op->precision;
    if (how == PLUMB_PRECISION_ADJOINT)
        how = n->phase == PLUMB_PHASE_FORWARD ? PLUMB_PRECISION_KEEP : PLUMB_PRECISION_FOLLOW;
    bool low = how == PLUMB_PRECISION_LOWER || (how == PLUMB_PRECISION_FOLLOW && follows_low(l, n));
    return low ? l->low : PLUMB_F32;
}

static bool is_steady(const struct lowering *l, const struct plumb_node *n)
{
    if (n->n_in == 0)
        return n->op != &plumb_op_input;
    if (n->op->flags & PLUMB_OP_RANDOM || n->phase != PLUMB_PHASE_FORWARD)
        return false;
    for (int k = 0; k < n->n_in; k++)
        if (!l->steady[l->copy->from->tensor[n->in[k]].node])
            return false;
    return true;
}

static plumb_status lower_node(struct lowering *l, int index)
{
    const struct graph *from = l->copy->from;
    const struct plumb_node *n = &from->node[index];
    l->steady[index] = is_steady(l, n);
    if (n->n_in == 0)
        return plumb_copy_node(l->copy, index);
    struct graph *to = l->copy->to;
    plumb_t *in = plumb_alloc(to->context, sizeof *in * (size_t)n->n_in);
    if (!in)
        return PLUMB_FAILED;
    plumb_dtype dtype = computes_in(l, n);
    to->phase = n->phase;
    for (int k = 0; k < n->n_in; k++) {
        uint32_t t = n->in[k];
        plumb_dtype wanted = is_data(from, n, k) ? dtype : PLUMB_F32;
        uint32_t as = is_f32(from, t) ? version(l, t, wanted) : l->copy->map[t];
        in[k] = as == PLUMB_NO_TENSOR ? PLUMB_NONE : plumb_id(to, as);
    }
    plumb_t out = plumb_emit_named(to, n->op, n->attr, in, n->n_in, n->name);
    plumb_free(to->context, in);
    if (out == PLUMB_NONE)
        return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
    for (int k = 0; k < n->n_out; k++)
        l->copy->map[n->out + (uint32_t)k] = plumb_index(to, out) + (uint32_t)k;
    return PLUMB_OK;
}

/* What leaves the graph leaves it as it was written. */
static plumb_status restore(struct lowering *l, const uint32_t *roots, int n_roots)
{
    const struct graph *from = l->copy->from;
    struct graph *to = l->copy->to;
    for (int i = 0; i < n_roots + from->n_effects; i++) {
        uint32_t t = i < n_roots ? roots[i] : from->effect[i - n_roots].value;
        if (!is_f32(from, t) || is_f32(to, l->copy->map[t]))
            continue;
        to->phase = from->node[from->tensor[t].node].phase;
        uint32_t f32 = version(l, t, PLUMB_F32);
        if (f32 == PLUMB_NO_TENSOR)
            return to->status != PLUMB_OK ? to->status : PLUMB_FAILED;
        l->copy->map[t] = f32;
    }
    return plumb_copy_effects(l->copy);
}

plumb_status plumb_pass_precision(struct plumb_copy *copy, const uint32_t *roots, int n_roots, plumb_dtype low)
{
    const struct graph *from = copy->from;
    plumb_context *context = from->context;
    struct lowering l = {.copy = copy, .low = low};
    l.other = plumb_alloc(context, sizeof *l.other * (size_t)(from->n_tensors + 1));
    l.steady = plumb_zalloc(context, (size_t)from->n_nodes + 1);
    plumb_status status = l.other && l.steady ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; status == PLUMB_OK && i < from->n_tensors; i++)
        l.other[i] = PLUMB_NO_TENSOR;
    for (int i = 0; status == PLUMB_OK && i < from->n_nodes; i++)
        status = lower_node(&l, i);
    if (status == PLUMB_OK)
        status = restore(&l, roots, n_roots);
    plumb_free(context, l.other);
    plumb_free(context, l.steady);
    return status;
}

plumb_status plumb_precision_check(const struct graph *g, plumb_dtype precision)
{
    const char *name = plumb_dtype_name(precision);
    if (precision == PLUMB_NO_DTYPE || precision == PLUMB_F32)
        return PLUMB_OK;
    if (precision != PLUMB_BF16 && precision != PLUMB_F16)
        return plumb_fail(g->context, PLUMB_BAD_INPUT, "precision %s: must be f32, bf16 or f16", name);
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *n = &g->node[i];
        for (int k = 0; k < n->n_in; k++)
            if (n->op->precision == PLUMB_PRECISION_LOWER && g->tensor[n->in[k]].type.dtype == PLUMB_F64)
                return plumb_fail(g->context, PLUMB_BAD_INPUT,
                                  "precision %s: %s '%s' is written in f64; only what is written in f32 can be lowered",
                                  name, n->op->name, n->name);
    }
    return PLUMB_OK;
}
