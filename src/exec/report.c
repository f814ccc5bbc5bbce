/* What a program decided, for people: memory by purpose, cost, the list of steps, the registry. */
#include "device/plugin.h"
#include "exec/exec.h"

#include <stdio.h>

static int64_t live_at(const struct plumb_memory_layout *m, int step)
{
    int64_t sum = 0;
    for (int i = 0; i < m->n_buffers; i++)
        if (m->buffer[i].memory == PLUMB_MEMORY_ARENA && m->buffer[i].first <= step && step <= m->buffer[i].last)
            sum += m->buffer[i].bytes;
    return sum;
}

/* The arena is split by what is alive at its fullest step; what packing wastes counts as activations. */
static void split_arena(const struct plumb_memory_layout *m, plumb_memory_plan *plan)
{
    const struct graph *g = m->graph;
    int worst = 0;
    int64_t most = -1;
    for (int i = 0; i < g->n_nodes + g->n_effects; i++) {
        int64_t live = live_at(m, i);
        if (live > most) {
            most = live;
            worst = i;
        }
    }
    for (int i = 0; i < m->n_buffers; i++) {
        const struct plumb_buffer *b = &m->buffer[i];
        if (b->memory != PLUMB_MEMORY_ARENA || b->first > worst || b->last < worst)
            continue;
        if (b->owner == PLUMB_NO_TENSOR)
            plan->workspace += b->bytes;
        else if (g->node[g->tensor[b->owner].node].phase != PLUMB_PHASE_FORWARD)
            plan->gradients += b->bytes;
    }
    plan->activations = m->arena_bytes - plan->workspace - plan->gradients;
}

plumb_status plumb_program_memory(plumb_program *program, plumb_memory_plan *memory)
{
    struct program *p = plumb_program_get(program);
    struct plumb_plan *plan = p ? plumb_current_plan(p) : NULL;
    memset(memory, 0, sizeof *memory);
    if (!plan)
        return p ? p->context->status : PLUMB_BAD_INPUT;
    const struct plumb_memory_layout *m = &plan->layout;
    for (int i = 0; i < m->n_buffers; i++) {
        const struct plumb_buffer *b = &m->buffer[i];
        if (b->memory == PLUMB_MEMORY_STATE) {
            const char *name = plan->graph->node[plan->graph->tensor[b->owner].node].name;
            *(strchr(name, ':') ? &memory->moments : &memory->weights) += b->bytes;
        } else if (b->memory != PLUMB_MEMORY_ARENA) {
            memory->inputs_outputs += b->bytes;
        }
    }
    split_arena(m, memory);
    memory->total = memory->weights + memory->gradients + memory->moments + memory->activations + memory->workspace +
                    memory->inputs_outputs;
    return PLUMB_OK;
}

plumb_status plumb_program_cost(plumb_program *program, double *flops, double *bytes)
{
    struct program *p = plumb_program_get(program);
    struct plumb_plan *plan = p ? plumb_current_plan(p) : NULL;
    if (!plan)
        return p ? p->context->status : PLUMB_BAD_INPUT;
    *flops = plan->flops;
    *bytes = plan->bytes;
    return PLUMB_OK;
}

plumb_status plumb_program_choices(plumb_program *program, struct plumb_text *text)
{
    struct program *p = plumb_program_get(program);
    struct plumb_plan *plan = p ? plumb_current_plan(p) : NULL;
    if (!plan)
        return p ? p->context->status : PLUMB_BAD_INPUT;
    for (int i = 0; i < plan->n_steps; i++) {
        const struct plumb_step *s = &plan->step[i];
        char pair[160];
        snprintf(pair, sizeof pair, " %s=%s ", s->call.op->name, s->impl->name);
        if (!text->data || !strstr(text->data, pair))
            plumb_text_add(text, "%s", pair + (text->length > 0 && text->data[text->length - 1] == ' '));
    }
    return text->failed ? PLUMB_FAILED : PLUMB_OK;
}

/* How it lies, where not in rows. */
static const char *lies(const plumb_view *view)
{
    return plumb_view_contiguous(view) ? "" : plumb_view_channels_last(view) ? " last" : "~";
}

/* "last": channels-last; ~: strided in any other way. */
static void add_views(struct plumb_text *text, const plumb_view *views, int count)
{
    for (int i = 0; i < count && i < 6; i++) {
        char shape[160];
        plumb_shape s = {.rank = views[i].rank};
        memcpy(s.dim, views[i].dim, sizeof s.dim);
        plumb_text_add(text, "%s%s %s%s", i ? ", " : "", plumb_dtype_name(views[i].dtype),
                       plumb_shape_text(&s, shape, sizeof shape), lies(&views[i]));
    }
    if (count > 6)
        plumb_text_add(text, ", ... %d in all", count);
}

/* " [activation=relu]"; nothing of ops whose attributes say nothing. */
static void add_attributes(struct plumb_text *text, const plumb_call *call)
{
    size_t before = text->length;
    if (!call->op->print || !call->attr)
        return;
    plumb_text_add(text, " [");
    size_t start = text->length;
    call->op->print(call->attr, text);
    if (text->length > start)
        plumb_text_add(text, "]");
    else if (!text->failed)
        text->data[text->length = before] = 0;
}

char *plumb_program_text(plumb_program *program)
{
    struct program *p = plumb_program_get(program);
    struct plumb_plan *plan = p ? plumb_current_plan(p) : NULL;
    if (!plan)
        return NULL;
    struct plumb_text text = {.context = p->context};
    for (int i = 0; i < plan->n_steps; i++) {
        const struct plumb_step *s = &plan->step[i];
        plumb_text_add(&text, "%3d %-24s %-15s %-16s ", i, s->call.op->name, s->impl->name, s->call.name);
        add_views(&text, s->call.in, s->call.n_in);
        plumb_text_add(&text, " -> ");
        add_views(&text, s->call.out, s->call.n_out);
        const struct plumb_buffer *b = &plan->layout.buffer[s->out_buffer[0]];
        if (b->memory == PLUMB_MEMORY_ARENA)
            plumb_text_add(&text, " @%lld", (long long)b->offset);
        if (s->workspace >= 0)
            plumb_text_add(&text, " workspace %lld", (long long)plan->layout.buffer[s->workspace].bytes);
        add_attributes(&text, &s->call);
        plumb_text_add(&text, "\n");
    }
    plumb_memory_plan m;
    if (plumb_program_memory(program, &m) == PLUMB_OK)
        plumb_text_add(&text, "memory in bytes: weights %lld, gradients %lld, moments %lld, activations %lld, "
                              "workspace %lld, inputs and outputs %lld, total %lld\n",
                       (long long)m.weights, (long long)m.gradients, (long long)m.moments, (long long)m.activations,
                       (long long)m.workspace, (long long)m.inputs_outputs, (long long)m.total);
    return plumb_text_take(&text);
}

/* ---- the registry ---- */

static const char *dtypes_text(unsigned mask)
{
    /* One text for each set of dtypes, in the order of their values. */
#define WITH_F32(text) text, " f32" text
#define WITH_F64(text) WITH_F32(text), WITH_F32(" f64" text)
#define WITH_BF16(text) WITH_F64(text), WITH_F64(" bf16" text)
#define WITH_F16(text) WITH_BF16(text), WITH_BF16(" f16" text)
#define WITH_I32(text) WITH_F16(text), WITH_F16(" i32" text)
#define WITH_I64(text) WITH_I32(text), WITH_I32(" i64" text)
#define WITH_U8(text) WITH_I64(text), WITH_I64(" u8" text)
    static const char *const texts[] = {WITH_U8("")};
    const char *text = texts[(mask & PLUMB_ALL_DTYPES) >> PLUMB_F32];
    return *text ? text + 1 : "none";
}

/* Provider p of the core, then of what plugins add to the CPU, then of the plugin of a device (also where no GPU would let
 * it open). NULL past the end. */
static const plumb_provider *listed_provider(plumb_context *context, int p)
{
    int count, added = 0;
    char why[512];
    const plumb_provider *const *list = plumb_providers(&count);
    if (p < count)
        return list[p];
    for (p -= count; plumb_added_provider(context->device, added); added++)
        if (added == p)
            return plumb_added_provider(context->device, added);
    const plumb_plugin *plugin = plumb_plugin_find(why, sizeof why);
    return plugin && p - added < plugin->n_providers ? plugin->providers[p - added] : NULL;
}

bool plumb_op_list(plumb_context *context, int index, plumb_op_row *row)
{
    const plumb_provider *provider;
    for (int p = 0; (provider = listed_provider(context, p)) != NULL; p++) {
        if (index >= provider->count) {
            index -= provider->count;
            continue;
        }
        const plumb_impl *impl = provider->impls[index];
        const char *dot = strchr(provider->name, '.');
        *row = (plumb_op_row){.op = impl->op->name, .implementation = impl->name,
                              .device = strncmp(impl->name, "cuda.", 5) == 0 ? "cuda" : "cpu",
                              .provider = dot ? dot + 1 : provider->name, .dtypes = dtypes_text(impl->dtypes),
                              .backward = (impl->op->flags & PLUMB_OP_BACKWARD) != 0,
                              .differentiable = impl->op->gradient != NULL,
                              .exact = (impl->flags & PLUMB_IMPL_EXACT) != 0};
        return true;
    }
    return false;
}
