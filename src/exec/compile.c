/* From graph and state to program: what is computed is fixed here; sizes, memory and implementations are fixed per
 * binding of the symbols (plan.c), at once when there are no symbols. */
#include "exec/exec.h"

static void destroy_program(void *object)
{
    struct program *p = object;
    plumb_context *c = p->context;
    for (int i = 0; i < p->n_plans; i++)
        plumb_plan_free(p, p->plan[i]);
    plumb_graph_free(p->source_handle);
    plumb_free(c, p->plan);
    plumb_free(c, p->output_id);
    plumb_free(c, p->input_id);
    plumb_free(c, p->root);
    plumb_free(c, p->input);
    plumb_free(c, p->implementations);
    plumb_free(c, p);
}

struct program *plumb_program_get(const plumb_program *handle) { return plumb_handle_get(handle, PLUMB_KIND_PROGRAM); }
void plumb_program_free(plumb_program *program) { plumb_handle_free(program, PLUMB_KIND_PROGRAM); }

static struct program *make_program(plumb_context *context)
{
    struct program *p = plumb_zalloc(context, sizeof *p);
    if (!p)
        return NULL;
    p->context = context;
    p->current = -1;
    for (int i = 0; i < PLUMB_SYMBOLS; i++)
        p->symbols[i] = -1;
    p->handle = plumb_handle_new(context, PLUMB_KIND_PROGRAM, p, destroy_program);
    if (!p->handle) {
        plumb_free(context, p);
        return NULL;
    }
    return p;
}

static plumb_status take_options(struct program *p, const struct graph *g, const plumb_compile_options *o)
{
    plumb_context *c = p->context;
    p->serial = g->serial;
    p->origin = g->origin;
    p->effects = o->effects;
    p->off = o->passes_off;
    p->precision = o->precision == PLUMB_NO_DTYPE ? PLUMB_F32 : o->precision;
    p->max_plans = o->max_bindings > 0 ? o->max_bindings : 4;
    p->n_outputs = o->n_outputs;
    if (o->n_outputs < 0 || (o->n_outputs > 0 && !o->outputs))
        return plumb_fail(c, PLUMB_BAD_INPUT, "compile: %d outputs, but no list of them", o->n_outputs);
    if (o->n_outputs == 0 && (!o->effects || g->n_effects == 0))
        return plumb_fail(c, PLUMB_BAD_INPUT, "compile: nothing to compute: no outputs and no effects");
    const char *own = o->implementations ? o->implementations : "", *all = c->implementations ? c->implementations : "";
    struct plumb_text text = {.context = c};
    plumb_text_add(&text, "%s%s%s", own, *own && *all ? "," : "", all); /* the program's choices come first */
    p->implementations = plumb_text_take(&text);
    p->output_id = plumb_alloc(c, sizeof(uint32_t) * (size_t)(o->n_outputs + 1));
    p->root = plumb_alloc(c, sizeof(uint32_t) * (size_t)(o->n_outputs + 1));
    p->plan = plumb_zalloc(c, sizeof *p->plan * (size_t)p->max_plans);
    if (!p->implementations || !p->output_id || !p->root || !p->plan)
        return PLUMB_FAILED;
    for (int i = 0; i < o->n_outputs; i++) {
        p->output_id[i] = plumb_index(g, o->outputs[i]);
        if (p->output_id[i] == PLUMB_NO_TENSOR)
            return plumb_fail(c, PLUMB_BAD_INPUT, "compile: output %d is not a tensor of this graph", i);
    }
    return plumb_check_forced(c, p->implementations);
}

static plumb_status note_inputs(struct program *p, const struct graph *g, const uint32_t *map)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        n += g->node[i].op == &plumb_op_input;
    p->input_id = plumb_alloc(p->context, sizeof *p->input_id * (size_t)(n + 1));
    p->input = plumb_alloc(p->context, sizeof *p->input * (size_t)(n + 1));
    if (!p->input_id || !p->input)
        return PLUMB_FAILED;
    for (int i = 0; i < g->n_nodes; i++) {
        const struct plumb_node *node = &g->node[i];
        if (node->op != &plumb_op_input || map[node->out] == PLUMB_NO_TENSOR)
            continue;
        p->input_id[p->n_inputs] = node->out;
        p->input[p->n_inputs++] = map[node->out];
        const plumb_shape *shape = &g->tensor[node->out].type.shape;
        for (int d = 0; d < shape->rank; d++)
            if (plumb_is_symbol(shape->dim[d]))
                p->used[plumb_symbol_index(shape->dim[d])] = true;
    }
    return PLUMB_OK;
}

/* An output whose inference form is its own input (dropout) would be that variable or input itself, and show what was
 * assigned or fed since: it becomes a copy. */
static uint32_t own_value(const struct graph *g, uint32_t output, struct graph *to, uint32_t root)
{
    const plumb_op *op = to->node[to->tensor[root].node].op;
    bool leaf = op == &plumb_op_variable || op == &plumb_op_input;
    if (!leaf || g->node[g->tensor[output].node].op == op)
        return root;
    return plumb_index(to, plumb_stop_gradient(to->handle, plumb_id(to, root)));
}

static plumb_status make_source(struct program *p, const struct graph *g, const plumb_compile_options *o)
{
    struct plumb_copy copy;
    if (!plumb_copy_begin(&copy, g, NULL))
        return PLUMB_FAILED;
    plumb_status status = plumb_pass_source(&copy, p->output_id, p->n_outputs, o->training, o->effects);
    p->source = copy.to;
    p->source_handle = copy.to->handle;
    if (status != PLUMB_OK && copy.to->status != PLUMB_OK)
        plumb_fail(p->context, status, "%s", copy.to->message);
    for (int i = 0; status == PLUMB_OK && i < p->n_outputs; i++) {
        p->root[i] = copy.map[p->output_id[i]];
        if (p->root[i] == PLUMB_NO_TENSOR)
            status = plumb_fail(p->context, PLUMB_BAD_INPUT, "compile: output %d exists in training only", i);
        else
            p->root[i] = own_value(g, p->output_id[i], copy.to, p->root[i]);
        if (status == PLUMB_OK && p->root[i] == PLUMB_NO_TENSOR)
            status = PLUMB_FAILED;
    }
    if (status == PLUMB_OK)
        status = note_inputs(p, g, copy.map);
    plumb_copy_end(&copy);
    return status;
}

static plumb_status add_variables(struct program *p, plumb_state *state)
{
    bool needed = false;
    for (int i = 0; i < p->source->n_nodes; i++)
        needed |= p->source->node[i].op == &plumb_op_variable;
    p->state = state;
    if (!needed)
        return PLUMB_OK;
    struct state *s = plumb_state_get_internal(state);
    if (!s)
        return plumb_fail(p->context, PLUMB_BAD_INPUT, "compile: the graph has variables, so a state is needed");
    if (s->context != p->context)
        return plumb_fail(p->context, PLUMB_BAD_INPUT, "compile: the state belongs to another context");
    for (int i = 0; i < p->source->n_nodes; i++) {
        const struct plumb_node *n = &p->source->node[i];
        if (n->op == &plumb_op_variable && !plumb_state_add(s, n->name, n->attr))
            return p->context->status;
    }
    return PLUMB_OK;
}

plumb_program *plumb_compile(plumb_graph *graph, plumb_state *state, const plumb_compile_options *options)
{
    struct graph *g = plumb_graph_get(graph);
    if (!g)
        return NULL;
    plumb_context *c = g->context;
    if (g->status != PLUMB_OK) { /* the first thing that was wrong with the graph, whatever was said since */
        plumb_clear_error(c);
        plumb_fail(c, g->status, "%s", g->message);
        return NULL;
    }
    if (!options) {
        plumb_fail(c, PLUMB_BAD_INPUT, "compile: no options");
        return NULL;
    }
    struct program *p = make_program(c);
    if (!p)
        return NULL;
    plumb_compile_options o = {0}; /* the caller's struct may be of another size than ours: what it lacks is default */
    memcpy(&o, options, options->size && options->size < sizeof o ? options->size : sizeof o);
    plumb_status status = take_options(p, g, &o);
    if (status == PLUMB_OK)
        status = make_source(p, g, &o);
    if (status == PLUMB_OK)
        status = plumb_precision_check(p->source, p->precision);
    if (status == PLUMB_OK)
        status = add_variables(p, state);
    bool symbolic = false;
    for (int i = 0; i < PLUMB_SYMBOLS; i++)
        symbolic |= p->used[i];
    if (status == PLUMB_OK && !symbolic && !plumb_current_plan(p))
        status = PLUMB_FAILED;
    if (status == PLUMB_OK)
        return p->handle;
    plumb_program_free(p->handle);
    return NULL;
}
