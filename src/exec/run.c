/* Running a program: feed, replay the steps, fetch. After the first run of a binding nothing is allocated. */
#include "exec/exec.h"

/* ---- the plan in use ---- */

static struct plumb_plan *find_plan(struct program *p)
{
    for (int i = 0; i < p->n_plans; i++)
        if (memcmp(p->plan[i]->symbols, p->symbols, sizeof p->symbols) == 0) {
            p->current = i;
            return p->plan[i];
        }
    return NULL;
}

static void drop_oldest(struct program *p)
{
    int oldest = 0;
    for (int i = 1; i < p->n_plans; i++)
        if (p->plan[i]->last_used < p->plan[oldest]->last_used)
            oldest = i;
    plumb_plan_free(p, p->plan[oldest]);
    p->plan[oldest] = p->plan[--p->n_plans];
}

struct plumb_plan *plumb_current_plan(struct program *p)
{
    static const char *const names[PLUMB_SYMBOLS] = {"PLUMB_BATCH", "PLUMB_TIME", "PLUMB_HEIGHT", "PLUMB_WIDTH"};
    if (p->current >= 0)
        return p->plan[p->current];
    for (int i = 0; i < PLUMB_SYMBOLS; i++)
        if (p->used[i] && p->symbols[i] < 0) {
            plumb_fail(p->context, PLUMB_BAD_INPUT, "program: %s has no size yet: feed an input or call plumb_bind", names[i]);
            return NULL;
        }
    struct plumb_plan *plan = find_plan(p);
    if (!plan) {
        plan = plumb_plan_make(p, p->symbols);
        if (!plan)
            return NULL;
        if (p->n_plans == p->max_plans)
            drop_oldest(p);
        p->plan[p->n_plans] = plan;
        p->current = p->n_plans++;
    }
    plan->last_used = ++p->clock;
    return plan;
}

plumb_status plumb_bind(plumb_program *program, int64_t symbol, int64_t size)
{
    struct program *p = plumb_program_get(program);
    if (!p)
        return PLUMB_BAD_INPUT;
    if (!plumb_is_symbol(symbol) || size < 0)
        return plumb_fail(p->context, PLUMB_BAD_INPUT, "bind: symbol %lld, size %lld", (long long)symbol, (long long)size);
    int i = plumb_symbol_index(symbol);
    if (p->used[i] && p->symbols[i] != size) {
        p->symbols[i] = size;
        p->current = -1;
    }
    return PLUMB_OK;
}

/* ---- ids ---- */

static int find_id(const struct program *p, const uint32_t *list, int count, plumb_t id)
{
    uint32_t serial = (uint32_t)(id >> 32), index = (uint32_t)id - 1;
    if (serial != p->serial && serial != p->origin)
        return -1;
    for (int i = 0; i < count; i++)
        if (list[i] == index)
            return i;
    return -1;
}

static size_t view_bytes(const plumb_view *v) { return (size_t)plumb_view_count(v) * plumb_dtype_size(v->dtype); }

/* ---- feeding ---- */

/* The symbols follow from the bytes when exactly one of the input's symbols is not bound, or the only one changed. */
static plumb_status bind_by_bytes(struct program *p, int input, size_t bytes)
{
    const struct plumb_node *n = &p->source->node[p->source->tensor[p->input[input]].node];
    const plumb_type *type = &p->source->tensor[n->out].type;
    int64_t known = (int64_t)plumb_dtype_size(type->dtype), symbol = 0;
    int symbols = 0;
    for (int d = 0; d < type->shape.rank; d++) {
        int64_t size = type->shape.dim[d];
        if (plumb_is_symbol(size)) {
            symbols++;
            symbol = size;
        } else if (!plumb_mul_size(known, size, &known)) {
            return plumb_fail(p->context, PLUMB_BAD_INPUT, "input '%s': its size overflows", n->name);
        }
    }
    char shape[160];
    if (symbols != 1)
        return PLUMB_OK; /* the size is checked against what was bound */
    if (known == 0 || bytes % (size_t)known)
        return plumb_fail(p->context, PLUMB_BAD_INPUT, "input '%s': %zu bytes are no whole number of %s %s", n->name, bytes,
                          plumb_dtype_name(type->dtype), plumb_shape_text(&type->shape, shape, sizeof shape));
    return plumb_bind(p->handle, symbol, (int64_t)(bytes / (size_t)known));
}

/* The plan's tensor for input i; NULL plan after an error. */
static struct plumb_plan *input_plan(struct program *p, int i, plumb_view *view, void **memory)
{
    struct plumb_plan *plan = plumb_current_plan(p);
    *memory = NULL;
    if (!plan || plan->inputs[i] == PLUMB_NO_TENSOR)
        return plan;
    *memory = plan->memory[plan->layout.place[plan->inputs[i]].buffer];
    *view = plumb_layout_view(&plan->layout, plan->inputs[i], *memory);
    return plan;
}

plumb_status plumb_feed(plumb_program *program, plumb_t input, const void *data, size_t bytes)
{
    struct program *p = plumb_program_get(program);
    if (!p)
        return PLUMB_BAD_INPUT;
    int i = find_id(p, p->input_id, p->n_inputs, input);
    if (i < 0) /* of this graph but not needed: nothing to do; else an error */
        return (uint32_t)(input >> 32) == p->serial || (uint32_t)(input >> 32) == p->origin
                   ? PLUMB_OK
                   : plumb_fail(p->context, PLUMB_BAD_INPUT, "feed: not an input of this program's graph");
    const char *name = p->source->node[p->source->tensor[p->input[i]].node].name;
    plumb_status status = bind_by_bytes(p, i, bytes);
    if (status != PLUMB_OK)
        return status;
    plumb_view view;
    void *memory;
    struct plumb_plan *plan = input_plan(p, i, &view, &memory);
    if (!plan)
        return p->context->status;
    if (memory) {
        char shape[160];
        plumb_shape s = {.rank = view.rank};
        memcpy(s.dim, view.dim, sizeof s.dim);
        if (bytes != view_bytes(&view))
            return plumb_fail(p->context, PLUMB_BAD_INPUT, "input '%s': is %s %s, %zu bytes, got %zu", name,
                              plumb_dtype_name(view.dtype), plumb_shape_text(&s, shape, sizeof shape), view_bytes(&view), bytes);
        if (bytes && !data)
            return plumb_fail(p->context, PLUMB_BAD_INPUT, "input '%s': no data", name);
        status = p->context->device->table->upload(p->context->device, memory, data, bytes);
    }
    if (status == PLUMB_OK)
        plan->fed[i] = 1;
    return status;
}

void *plumb_input_memory(plumb_program *program, plumb_t input)
{
    struct program *p = plumb_program_get(program);
    int i = p ? find_id(p, p->input_id, p->n_inputs, input) : -1;
    plumb_device_info info;
    if (i < 0 || p->context->device->table->info(p->context->device, &info) != PLUMB_OK || !info.host_memory)
        return NULL;
    plumb_view view;
    void *memory;
    struct plumb_plan *plan = input_plan(p, i, &view, &memory);
    if (plan)
        plan->fed[i] = 1;
    return memory;
}

/* ---- running ---- */

static void set_addresses(struct plumb_plan *plan, char *arena)
{
    for (int i = 0; i < plan->layout.n_buffers; i++)
        if (plan->layout.buffer[i].memory == PLUMB_MEMORY_ARENA)
            plan->memory[i] = arena + plan->layout.buffer[i].offset;
    int at = 0;
    const struct graph *g = plan->graph;
    for (int i = 0; i < g->n_nodes + g->n_effects && at < plan->n_steps; i++) {
        bool node = i < g->n_nodes;
        if (node ? (g->node[i].op->flags & PLUMB_OP_LEAF || plan->layout.aliased[i]) : plan->layout.direct[i - g->n_nodes])
            continue;
        struct plumb_step *step = &plan->step[at++];
        plumb_view *views = (plumb_view *)(uintptr_t)step->call.in; /* the plan's own */
        for (int k = 0; k < step->call.n_in + step->call.n_out; k++) {
            uint32_t t;
            if (node)
                t = k < step->call.n_in ? g->node[i].in[k] : g->node[i].out + (uint32_t)(k - step->call.n_in);
            else
                t = k == 1 ? g->effect[i - g->n_nodes].value
                           : k == 2 && step->call.n_in == 3 ? g->effect[i - g->n_nodes].gate
                                                            : g->effect[i - g->n_nodes].variable;
            views[k] = plumb_layout_view(&plan->layout, t, plan->memory[plan->layout.place[t].buffer]);
        }
        step->call.workspace = step->workspace >= 0 ? plan->memory[step->workspace] : NULL;
    }
}

static plumb_status ready(struct program *p, struct plumb_plan *plan)
{
    if (p->state && !plumb_state_get_internal(p->state))
        return p->context->status;
    for (int i = 0; i < p->n_inputs; i++)
        if (!plan->fed[i] && plan->inputs[i] != PLUMB_NO_TENSOR)
            return plumb_fail(p->context, PLUMB_BAD_INPUT, "run: input '%s' was not fed",
                              p->source->node[p->source->tensor[p->input[i]].node].name);
    plumb_status status = plumb_exec_reserve(p->context, plan->layout.arena_bytes);
    struct plumb_exec *x = plumb_exec_of(p->context);
    if (status == PLUMB_OK && plan->arena_generation != x->generation + 1) {
        plumb_plan_forget_capture(p, plan);
        set_addresses(plan, x->arena);
        plan->arena_generation = x->generation + 1; /* 0: never set */
    }
    return status;
}

/* Strict memory: outputs and workspaces start as NaN patterns, guards behind arena buffers must survive the step. What
 * is not arena keeps its contents unless it is a workspace. */
static plumb_status poison(const struct program *p, const struct plumb_plan *plan, int buffer, bool contents)
{
    const struct plumb_buffer *b = &plan->layout.buffer[buffer];
    plumb_device *device = p->context->device;
    char *memory = plan->memory[buffer];
    plumb_status status = PLUMB_OK;
    if (contents)
        status = device->table->fill(device, memory, 0xff, (size_t)b->bytes);
    if (status == PLUMB_OK && b->memory == PLUMB_MEMORY_ARENA)
        status = device->table->fill(device, memory + b->bytes, 0xA5, PLUMB_GUARD);
    return status;
}

static plumb_status check_guard(const struct program *p, const struct plumb_plan *plan, const struct plumb_step *step,
                                int buffer)
{
    const struct plumb_buffer *b = &plan->layout.buffer[buffer];
    plumb_device *device = p->context->device;
    unsigned char guard[PLUMB_GUARD];
    if (b->memory != PLUMB_MEMORY_ARENA)
        return PLUMB_OK;
    plumb_status status = device->table->download(device, guard, (const char *)plan->memory[buffer] + b->bytes, PLUMB_GUARD);
    if (status != PLUMB_OK)
        return status;
    for (int i = 0; i < PLUMB_GUARD; i++)
        if (guard[i] != 0xA5)
            return plumb_fail(p->context, PLUMB_FAILED, "%s '%s': %s wrote past the end of its memory", step->call.op->name,
                              step->call.name, step->impl->name);
    return PLUMB_OK;
}

static plumb_status run_strictly(const struct program *p, const struct plumb_plan *plan, const struct plumb_step *step)
{
    const plumb_call *call = &step->call;
    plumb_status status = PLUMB_OK;
    for (int k = 0; status == PLUMB_OK && k < call->n_out; k++) {
        int buffer = step->out_buffer[k];
        bool in_place = false;
        for (int j = 0; j < call->n_in; j++)
            in_place |= step->in_buffer[j] == buffer;
        status = poison(p, plan, buffer, !in_place && plan->layout.buffer[buffer].memory == PLUMB_MEMORY_ARENA);
    }
    if (status == PLUMB_OK && step->workspace >= 0)
        status = poison(p, plan, step->workspace, true);
    if (status == PLUMB_OK)
        status = step->impl->run(call);
    for (int k = 0; status == PLUMB_OK && k < call->n_out; k++)
        status = check_guard(p, plan, step, step->out_buffer[k]);
    if (status == PLUMB_OK && step->workspace >= 0)
        status = check_guard(p, plan, step, step->workspace);
    return status;
}

static plumb_status run_steps(const struct program *p, const struct plumb_plan *plan)
{
    plumb_status status = PLUMB_OK;
    plumb_device *device = p->context->device;
    bool strict = p->context->options.strict_memory, skip = false;
    for (int i = 0; status == PLUMB_OK && i < plan->n_steps; i++) {
        const struct plumb_step *step = &plan->step[i];
        if (device->table->before_run)
            status = device->table->before_run(device, step->call.op->name, &skip);
        if (status == PLUMB_OK && p->watch && p->watch->before)
            status = p->watch->before(p->watch->user, i, step);
        if (status == PLUMB_OK && !skip)
            status = strict ? run_strictly(p, plan, step) : step->impl->run(&step->call);
        if (status == PLUMB_OK && p->watch && p->watch->after)
            status = p->watch->after(p->watch->user, i, step);
    }
    return status;
}

void plumb_watch_steps(plumb_program *program, const struct plumb_watch *watch)
{
    struct program *p = plumb_program_get(program);
    if (p)
        p->watch = watch;
}

/* Captures the run instead of running it. A device that cannot is no error: its steps are run one by one for good. */
static void capture(const struct program *p, struct plumb_plan *plan)
{
    plumb_context *context = p->context;
    plumb_device *device = context->device;
    bool clean = context->status == PLUMB_OK;
    plumb_status status = device->table->capture_begin(device);
    if (status == PLUMB_OK) {
        status = run_steps(p, plan);
        plumb_status ended = device->table->capture_end(device, &plan->captured);
        if (status != PLUMB_OK && plan->captured) {
            device->table->capture_free(device, plan->captured);
            plan->captured = NULL;
        }
        status = status == PLUMB_OK ? ended : status;
    }
    plan->uncapturable = status != PLUMB_OK;
    if (plan->uncapturable) {
        plumb_log_line(context, PLUMB_LOG_WARNING, "run: not captured, steps are launched one by one: %s",
                       plumb_message(context));
        if (clean)
            plumb_clear_error(context);
    }
}

/* The first run goes step by step, so that whatever a step sets up is there; the second is captured and replayed. */
plumb_status plumb_run(plumb_program *program)
{
    struct program *p = plumb_program_get(program);
    if (!p)
        return PLUMB_BAD_INPUT;
    struct plumb_plan *plan = plumb_current_plan(p);
    plumb_status status = plan ? ready(p, plan) : p->context->status;
    if (status != PLUMB_OK)
        return status;
    plumb_device *device = p->context->device;
    bool can = device->table->replay && !p->context->options.strict_memory && !p->watch && plan->n_steps > 0;
    if (can && plan->ran && !plan->captured && !plan->uncapturable)
        capture(p, plan);
    if (plan->captured && !p->watch)
        return device->table->replay(device, plan->captured);
    status = run_steps(p, plan);
    plan->ran = status == PLUMB_OK;
    return status;
}

/* ---- fetching ---- */

static struct plumb_plan *output_view(struct program *p, plumb_t output, plumb_view *view)
{
    int i = find_id(p, p->output_id, p->n_outputs, output);
    if (i < 0) {
        plumb_fail(p->context, PLUMB_BAD_INPUT, "fetch: not an output of this program");
        return NULL;
    }
    struct plumb_plan *plan = plumb_current_plan(p);
    if (plan && p->state && !plumb_state_get_internal(p->state)) /* variables that are fetched lay in it */
        return NULL;
    if (plan)
        *view = plumb_layout_view(&plan->layout, plan->roots[i], plan->memory[plan->layout.place[plan->roots[i]].buffer]);
    return plan;
}

plumb_shape plumb_output_shape(plumb_program *program, plumb_t output)
{
    struct program *p = plumb_program_get(program);
    plumb_view v;
    plumb_shape shape = PLUMB_SCALAR_SHAPE;
    if (p && output_view(p, output, &v)) {
        shape.rank = v.rank;
        memcpy(shape.dim, v.dim, sizeof shape.dim);
    }
    return shape;
}

plumb_status plumb_fetch(plumb_program *program, plumb_t output, void *to, size_t bytes)
{
    struct program *p = plumb_program_get(program);
    if (!p)
        return PLUMB_BAD_INPUT;
    plumb_view v;
    if (!output_view(p, output, &v))
        return p->context->status;
    if (bytes != view_bytes(&v) || (bytes && !to)) {
        char text[160];
        plumb_shape s = {.rank = v.rank};
        memcpy(s.dim, v.dim, sizeof s.dim);
        return plumb_fail(p->context, PLUMB_BAD_INPUT, "fetch: the output is %s %s, %zu bytes, asked for %zu",
                          plumb_dtype_name(v.dtype), plumb_shape_text(&s, text, sizeof text), view_bytes(&v), bytes);
    }
    return p->context->device->table->download(p->context->device, to, v.data, bytes);
}

plumb_status plumb_fetch_number(plumb_program *program, plumb_t output, double *value)
{
    struct program *p = plumb_program_get(program);
    if (!p)
        return PLUMB_BAD_INPUT;
    _Alignas(8) unsigned char element[8];
    plumb_view v;
    if (!output_view(p, output, &v))
        return p->context->status;
    plumb_status status = plumb_fetch(program, output, element, plumb_dtype_size(v.dtype));
    if (status == PLUMB_OK)
        *value = plumb_get(element, v.dtype, 0);
    return status;
}

/* ---- now, on the reference ---- */

/* All symbols before the first feed, so that the order of the inputs does not matter. */
static plumb_status bind_all(struct program *p, const plumb_binding *inputs, int n_inputs)
{
    plumb_status status = PLUMB_OK;
    for (int k = 0; status == PLUMB_OK && k < n_inputs; k++) {
        int i = find_id(p, p->input_id, p->n_inputs, inputs[k].input);
        if (i >= 0)
            status = bind_by_bytes(p, i, inputs[k].bytes);
    }
    return status;
}

plumb_status plumb_eval(plumb_graph *graph, plumb_state *state, const plumb_binding *inputs, int n_inputs, plumb_t tensor,
                        void *to, size_t bytes)
{
    plumb_compile_options options = {.size = sizeof options, .outputs = &tensor, .n_outputs = 1, .training = true,
                                     .passes_off = ~0u, .implementations = "*=cpu.ref"};
    plumb_program *program = plumb_compile(graph, state, &options);
    if (!program)
        return graph && plumb_graph_context(graph) ? plumb_last_status(plumb_graph_context(graph)) : PLUMB_BAD_INPUT;
    plumb_status status = bind_all(plumb_program_get(program), inputs, n_inputs);
    for (int i = 0; status == PLUMB_OK && i < n_inputs; i++)
        status = plumb_feed(program, inputs[i].input, inputs[i].data, inputs[i].bytes);
    if (status == PLUMB_OK)
        status = plumb_run(program);
    if (status == PLUMB_OK)
        status = plumb_fetch(program, tensor, to, bytes);
    plumb_program_free(program);
    return status;
}
