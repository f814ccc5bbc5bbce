/* A plan: a program for one binding of its symbols. Bind, simplify, fuse, lay out, choose implementations, give addresses. */
#include "exec/exec.h"

/* ---- the context's arena ---- */

static void destroy_exec(plumb_context *context, void *object)
{
    struct plumb_exec *x = object;
    if (x->arena)
        context->device->table->free(context->device, x->arena);
    plumb_free(context, x);
}

struct plumb_exec *plumb_exec_of(plumb_context *context)
{
    if (!context->exec) {
        context->exec = plumb_zalloc(context, sizeof(struct plumb_exec));
        context->exec_destroy = context->exec ? destroy_exec : NULL; /* nothing to destroy if memory ran out */
    }
    return context->exec;
}

plumb_status plumb_exec_reserve(plumb_context *context, int64_t bytes)
{
    struct plumb_exec *x = plumb_exec_of(context);
    if (!x)
        return PLUMB_FAILED;
    if (bytes <= x->bytes)
        return PLUMB_OK;
    void *arena = NULL;
    plumb_device *device = context->device;
    plumb_status status = device->table->alloc(device, (size_t)bytes, &arena);
    if (status != PLUMB_OK)
        return status;
    if (x->arena)
        device->table->free(device, x->arena);
    x->arena = arena;
    x->bytes = bytes;
    x->generation++;
    return PLUMB_OK;
}

/* ---- making a plan ---- */

/* A graph on its way through the passes, with what the program knows of it by index. */
struct passage {
    struct graph *graph;     /* NULL before the first pass: the program's source */
    uint32_t *root, *input;  /* the program's outputs and inputs in it; PLUMB_NO_TENSOR where an input is not needed */
    int n_roots, n_inputs;
};

typedef plumb_status pass(struct program *p, struct plumb_copy *copy, const struct passage *at);

static plumb_status bind(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    (void)p, (void)at;
    return plumb_pass_bind(copy);
}

static plumb_status lower(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    return plumb_pass_precision(copy, at->root, at->n_roots, p->precision);
}

static plumb_status simplify(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    return plumb_pass_simplify(copy, at->root, at->n_roots, p->off, plumb_reference);
}

/* The CPU's reference is slower than the ops it would take the place of, and who forces an op wants to see it. */
static bool takes_fused(void *user, const plumb_call *call, const plumb_op *second)
{
    const struct program *p = user;
    const plumb_impl *impl = plumb_would_choose(call, p->implementations);
    return impl && impl != plumb_reference(call->op) && !plumb_is_forced(second, p->implementations);
}

static plumb_status fuse(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    const struct plumb_fuse_judge judge = {p, takes_fused};
    return plumb_pass_fuse(copy, at->root, at->n_roots, &judge);
}

/* Who wishes for other implementations gets them: no layout that they do not take is chosen. */
static const plumb_impl *choose_silently(void *user, const plumb_call *call)
{
    const char *forced = ((const struct program *)user)->implementations;
    const plumb_impl *impl = plumb_would_choose(call, forced);
    return impl && plumb_is_wished(impl, call->device, forced) ? impl : NULL;
}

static plumb_status lay_out(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    const struct plumb_layout_judge judge = {p, choose_silently};
    return plumb_pass_layout(copy, at->root, at->n_roots, p->off, &judge);
}

static plumb_status reorder(struct program *p, struct plumb_copy *copy, const struct passage *at)
{
    (void)p;
    return plumb_pass_reorder(copy, at->root, at->n_roots);
}

static void follow(const struct plumb_copy *copy, uint32_t *tensor, int count)
{
    for (int i = 0; i < count; i++)
        if (tensor[i] != PLUMB_NO_TENSOR)
            tensor[i] = copy->map[tensor[i]];
}

/* One pass: the graph takes the old one's place. */
static plumb_status through(struct program *p, struct plumb_plan *plan, pass *run, struct passage *at)
{
    struct plumb_copy copy;
    if (!plumb_copy_begin(&copy, at->graph ? at->graph : p->source, plan->symbols))
        return PLUMB_FAILED;
    plumb_status status = run(p, &copy, at);
    if (status == PLUMB_OK) {
        follow(&copy, at->root, at->n_roots);
        follow(&copy, at->input, at->n_inputs);
    } else if (copy.to->status != PLUMB_OK) {
        plumb_fail(p->context, copy.to->status, "%s", copy.to->message);
    }
    plumb_copy_end(&copy);
    if (at->graph)
        plumb_graph_free(at->graph->handle);
    at->graph = copy.to;
    return status;
}

static plumb_status transform(struct program *p, struct plumb_plan *plan)
{
    struct passage at = {.root = plan->roots, .input = plan->inputs, .n_roots = p->n_outputs, .n_inputs = p->n_inputs};
    memcpy(at.root, p->root, sizeof *at.root * (size_t)p->n_outputs);
    memcpy(at.input, p->input, sizeof *at.input * (size_t)p->n_inputs);
    plumb_status status = through(p, plan, bind, &at);
    if (status == PLUMB_OK && p->precision != PLUMB_F32)
        status = through(p, plan, lower, &at);
    if (status == PLUMB_OK)
        status = through(p, plan, simplify, &at);
    if (status == PLUMB_OK && !(p->off & PLUMB_PASS_FUSE))
        status = through(p, plan, fuse, &at);
    if (status == PLUMB_OK && !(p->off & PLUMB_PASS_REORDER))
        status = through(p, plan, reorder, &at);
    if (status == PLUMB_OK && !(p->off & PLUMB_PASS_LAYOUT) && plumb_device_minds_layouts(p->context->device))
        status = through(p, plan, lay_out, &at);
    plan->graph = at.graph; /* freed with the plan, whatever came of it */
    plan->graph_handle = at.graph ? at.graph->handle : NULL;
    return status;
}

/* The call of step i (a node, or an effect as an `assign`), with views but no addresses. */
static plumb_status make_call(struct program *p, struct plumb_plan *plan, int i, struct plumb_step *step)
{
    const struct graph *g = plan->graph;
    uint32_t effect_in[3], effect_out;
    const uint32_t *in, *out;
    uint32_t node_out[1];
    struct plumb_call *call = &step->call;
    *call = (plumb_call){.context = p->context, .device = p->context->device, .pool = p->context->pool,
                         .isa = p->context->isa};
    if (i < g->n_nodes) {
        const struct plumb_node *n = &g->node[i];
        call->op = n->op;
        call->name = n->name;
        call->attr = n->attr;
        call->n_in = n->n_in;
        call->n_out = n->n_out;
        in = n->in;
        node_out[0] = n->out;
        out = node_out;
    } else {
        const struct plumb_effect *e = &g->effect[i - g->n_nodes];
        call->op = &plumb_op_assign;
        call->name = g->node[g->tensor[e->variable].node].name;
        effect_in[0] = e->variable;
        effect_in[1] = e->value;
        effect_in[2] = e->gate;
        call->n_in = e->gate == PLUMB_NO_TENSOR ? 2 : 3;
        call->n_out = 1;
        effect_out = e->variable;
        in = effect_in;
        out = &effect_out;
    }
    size_t n = (size_t)(call->n_in + call->n_out);
    plumb_view *views = plumb_arena_alloc(&plan->arena, sizeof *views * (n + 1));
    int *buffers = plumb_arena_alloc(&plan->arena, sizeof *buffers * (n + 1));
    if (!views || !buffers)
        return PLUMB_FAILED;
    for (int k = 0; k < call->n_in; k++) {
        views[k] = plumb_layout_view(&plan->layout, in[k], NULL);
        buffers[k] = plan->layout.place[in[k]].buffer;
    }
    for (int k = 0; k < call->n_out; k++) {
        views[call->n_in + k] = plumb_layout_view(&plan->layout, out[0] + (uint32_t)k, NULL);
        buffers[call->n_in + k] = plan->layout.place[out[0] + (uint32_t)k].buffer;
    }
    call->in = views;
    call->out = views + call->n_in;
    step->in_buffer = buffers;
    step->out_buffer = buffers + call->n_in;
    return PLUMB_OK;
}

static bool runs(const struct plumb_plan *plan, int i)
{
    const struct graph *g = plan->graph;
    if (i >= g->n_nodes)
        return !plan->layout.direct[i - g->n_nodes];
    return !(g->node[i].op->flags & PLUMB_OP_LEAF) && !plan->layout.aliased[i];
}

double plumb_call_flops(const plumb_call *call)
{
    return call->op->flops ? call->op->flops(call) : (double)plumb_view_count(&call->out[0]);
}

double plumb_call_bytes(const plumb_call *call)
{
    double bytes = 0;
    for (int k = 0; k < call->n_in + call->n_out; k++)
        bytes += (double)plumb_view_count(&call->in[k]) * (double)plumb_dtype_size(call->in[k].dtype);
    return bytes;
}

static plumb_status choose_steps(struct program *p, struct plumb_plan *plan)
{
    const struct graph *g = plan->graph;
    int steps = g->n_nodes + (p->effects ? g->n_effects : 0);
    plan->step = plumb_arena_alloc(&plan->arena, sizeof *plan->step * (size_t)(steps + 1));
    if (!plan->step)
        return PLUMB_FAILED;
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < steps; i++) {
        if (!runs(plan, i))
            continue;
        struct plumb_step *step = &plan->step[plan->n_steps];
        status = make_call(p, plan, i, step);
        if (status != PLUMB_OK)
            break;
        step->impl = plumb_choose(&step->call, p->implementations);
        if (!step->impl)
            return p->context->status;
        size_t room = step->impl->workspace ? step->impl->workspace(&step->call) : 0;
        status = plumb_layout_workspace(&plan->layout, i, (int64_t)room);
        step->workspace = plan->layout.workspace[i];
        plan->flops += plumb_call_flops(&step->call);
        plan->bytes += plumb_call_bytes(&step->call);
        plan->n_steps++;
    }
    return status;
}

/* Memory that is the plan's own or the state's; arena buffers get their address before a run. */
static plumb_status give_memory(struct program *p, struct plumb_plan *plan)
{
    const struct graph *g = plan->graph;
    plumb_device *device = p->context->device;
    struct state *s = p->state ? plumb_state_get_internal(p->state) : NULL;
    plan->memory = plumb_zalloc(p->context, sizeof *plan->memory * (size_t)(plan->layout.n_buffers + 1));
    if (!plan->memory)
        return PLUMB_FAILED;
    for (int i = 0; i < plan->layout.n_buffers; i++) {
        const struct plumb_buffer *b = &plan->layout.buffer[i];
        const struct plumb_node *n = b->owner == PLUMB_NO_TENSOR ? NULL : &g->node[g->tensor[b->owner].node];
        plumb_status status = PLUMB_OK;
        if (b->memory == PLUMB_MEMORY_ARENA)
            continue;
        if (b->memory == PLUMB_MEMORY_STATE) {
            struct plumb_entry *e = s ? plumb_state_find(s, n->name) : NULL;
            if (!e)
                return plumb_fail(p->context, PLUMB_BAD_INPUT, "variable '%s' has no value: compile with a state", n->name);
            plan->memory[i] = e->memory;
            continue;
        }
        status = device->table->alloc(device, (size_t)b->bytes, &plan->memory[i]);
        if (status == PLUMB_OK && b->memory == PLUMB_MEMORY_CONSTANT)
            status = device->table->upload(device, plan->memory[i],
                                           (const void *)(uintptr_t)((const plumb_attr_leaf *)n->attr)->data,
                                           (size_t)b->bytes);
        else if (status == PLUMB_OK)
            status = device->table->fill(device, plan->memory[i], 0, (size_t)b->bytes);
        if (status != PLUMB_OK)
            return status;
    }
    return PLUMB_OK;
}

struct plumb_plan *plumb_plan_make(struct program *p, const int64_t *symbols)
{
    plumb_context *c = p->context;
    struct plumb_plan *plan = plumb_zalloc(c, sizeof *plan);
    if (!plan)
        return NULL;
    memcpy(plan->symbols, symbols, sizeof plan->symbols);
    plan->arena.context = c;
    plan->roots = plumb_arena_alloc(&plan->arena, sizeof *plan->roots * (size_t)(p->n_outputs + 1));
    plan->inputs = plumb_arena_alloc(&plan->arena, sizeof *plan->inputs * (size_t)(p->n_inputs + 1));
    plan->fed = plumb_arena_alloc(&plan->arena, (size_t)p->n_inputs + 1);
    plumb_status status = plan->roots && plan->inputs && plan->fed ? transform(p, plan) : PLUMB_FAILED;
    if (status == PLUMB_OK)
        status = plumb_layout_begin(&plan->layout, plan->graph, plan->roots, p->n_outputs, p->effects, p->off);
    if (status == PLUMB_OK)
        status = choose_steps(p, plan);
    if (status == PLUMB_OK)
        status = plumb_layout_offsets(&plan->layout, p->off, c->options.strict_memory ? PLUMB_GUARD : 0);
    if (status == PLUMB_OK && c->options.strict_memory)
        status = plumb_layout_verify(&plan->layout);
    if (status == PLUMB_OK)
        status = give_memory(p, plan);
    if (status == PLUMB_OK)
        return plan;
    plumb_plan_free(p, plan);
    return NULL;
}

/* What was captured holds addresses. */
void plumb_plan_forget_capture(struct program *p, struct plumb_plan *plan)
{
    if (plan->captured)
        p->context->device->table->capture_free(p->context->device, plan->captured);
    plan->captured = NULL;
    plan->ran = false;
}

void plumb_plan_free(struct program *p, struct plumb_plan *plan)
{
    plumb_context *c = p->context;
    plumb_plan_forget_capture(p, plan);
    for (int i = 0; plan->memory && i < plan->layout.n_buffers; i++)
        if (plan->layout.buffer[i].memory != PLUMB_MEMORY_ARENA && plan->layout.buffer[i].memory != PLUMB_MEMORY_STATE &&
            plan->memory[i])
            c->device->table->free(c->device, plan->memory[i]);
    plumb_free(c, plan->memory);
    plumb_layout_free(&plan->layout);
    plumb_graph_free(plan->graph_handle);
    plumb_arena_free(&plan->arena);
    plumb_free(c, plan);
}
