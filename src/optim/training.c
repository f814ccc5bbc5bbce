/* The whole training step as one program, and the two numbers of an optimiser that are read and written between steps.
 *
 * The user's graph must stay as it was, so the step is built in a clone of it. Tensors keep their index in a clone, so
 * the program understands the ids of the original in feeds and fetches. */
#include "graph/graph.h"
#include "optim/rules.h"

#include <math.h>

static plumb_program *compile_clone(plumb_graph *clone, plumb_state *state, plumb_t loss,
                                    const plumb_optimizer *optimizer, const plumb_t *outputs, int n_outputs)
{
    plumb_context *context = plumb_graph_context(clone);
    struct plumb_recipe recipe;
    if (plumb_minimize(clone, plumb_id_in(clone, loss), NULL, 0, optimizer) != PLUMB_OK ||
        !plumb_recipe_read(clone, optimizer, &recipe))
        return NULL;
    plumb_t *all = plumb_alloc(context, sizeof *all * (size_t)(n_outputs + 1));
    if (!all)
        return NULL;
    all[0] = plumb_id_in(clone, loss);
    for (int i = 0; i < n_outputs; i++)
        all[i + 1] = plumb_id_in(clone, outputs[i]);
    const plumb_compile_options options = {.size = sizeof options,
                                           .outputs = all,
                                           .n_outputs = n_outputs + 1,
                                           .training = true,
                                           .effects = true,
                                           .precision = recipe.precision};
    plumb_program *program = plumb_compile(clone, state, &options);
    plumb_free(context, all);
    return program;
}

plumb_program *plumb_compile_training(plumb_graph *graph, plumb_state *state, plumb_t loss,
                                      const plumb_optimizer *optimizer, const plumb_t *outputs, int n_outputs)
{
    plumb_context *context = plumb_graph_context(graph);
    if (!context)
        return NULL;
    if (n_outputs < 0 || (n_outputs > 0 && !outputs)) {
        plumb_fail(context, PLUMB_BAD_INPUT, "compile_training: %d outputs", n_outputs);
        return NULL;
    }
    plumb_graph *clone = plumb_graph_clone_public(graph);
    if (!clone)
        return NULL;
    plumb_program *program = compile_clone(clone, state, loss, optimizer, outputs, n_outputs);
    plumb_graph_free(clone);
    return program;
}

/* ---- numbers in the state ---- */

/* "NAME/WHAT:", to be freed; NULL after recording why not. */
static char *own_name(const plumb_state *state, const char *optimizer, const char *what)
{
    plumb_context *context = state ? plumb_handle_context(state) : NULL;
    if (!context)
        return NULL;
    if (!optimizer)
        optimizer = "adam";
    struct plumb_text text = {.context = context};
    plumb_text_add(&text, "%s/%s:", optimizer, what);
    char *name = plumb_text_take(&text);
    if (name && !plumb_state_has(state, name)) {
        plumb_fail(context, PLUMB_BAD_INPUT,
                   "the state has no optimizer '%s' (it is added when its program is compiled)", optimizer);
        plumb_free(context, name);
        return NULL;
    }
    return name;
}

/* After own_name found none: what it recorded, or that there is no state or no place for the answer. */
static plumb_status why_unnamed(const plumb_state *state)
{
    plumb_context *context = state ? plumb_handle_context(state) : NULL;
    plumb_status status = context ? plumb_last_status(context) : PLUMB_OK;
    return status ? status : PLUMB_BAD_INPUT;
}

plumb_status plumb_set_lr(plumb_state *state, const char *optimizer, double lr)
{
    char *name = own_name(state, optimizer, "lr");
    if (!name)
        return why_unnamed(state);
    plumb_context *context = plumb_handle_context(state);
    plumb_status status =
        lr >= 0 && isfinite(lr)
            ? plumb_state_set_number(state, name, lr)
            : plumb_fail(context, PLUMB_BAD_INPUT, "%s: lr %g must be finite and not negative", name, lr);
    plumb_free(context, name);
    return status;
}

plumb_status plumb_get_steps(const plumb_state *state, const char *optimizer, int64_t *steps)
{
    char *name = steps ? own_name(state, optimizer, "step") : NULL;
    if (!name)
        return why_unnamed(state);
    plumb_status status = plumb_state_get(state, name, steps, sizeof *steps);
    plumb_free(plumb_handle_context(state), name);
    return status;
}

/* ---- steps of several runs ---- */

plumb_status plumb_set_accumulation(plumb_state *state, const char *optimizer, int64_t batches)
{
    char *name = own_name(state, optimizer, "accumulate");
    if (!name)
        return why_unnamed(state);
    plumb_context *context = plumb_handle_context(state);
    plumb_status status = batches > 0
                              ? plumb_state_set(state, name, &batches, sizeof batches)
                              : plumb_fail(context, PLUMB_BAD_INPUT, "%s: a step of %lld runs", name, (long long)batches);
    plumb_free(context, name);
    return status;
}

plumb_status plumb_get_accumulated(const plumb_state *state, const char *optimizer, int64_t *batches)
{
    char *name = batches ? own_name(state, optimizer, "micro") : NULL;
    if (!name)
        return why_unnamed(state);
    plumb_status status = plumb_state_get(state, name, batches, sizeof *batches);
    plumb_free(plumb_handle_context(state), name);
    return status;
}

static plumb_status set_zero(plumb_state *state, const char *name)
{
    plumb_context *context = plumb_handle_context(state);
    plumb_shape shape = plumb_state_shape(state, name);
    size_t bytes = plumb_dtype_size(plumb_state_dtype(state, name)) * (size_t)plumb_shape_count(&shape);
    void *zeros = plumb_zalloc(context, bytes + 1);
    plumb_status status = zeros ? plumb_state_set(state, name, zeros, bytes) : PLUMB_FAILED;
    plumb_free(context, zeros);
    return status;
}

plumb_status plumb_clear_gradients(plumb_state *state, const char *optimizer)
{
    static const char *const kept[] = {"sum:", "micro:", "examples:"};
    char *name = own_name(state, optimizer, "step");
    if (!name)
        return why_unnamed(state);
    plumb_context *context = plumb_handle_context(state);
    size_t own = strlen(name) - strlen("step:");
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *entry = plumb_state_name(state, i);
        bool ours = strncmp(entry, name, own) == 0;
        for (int k = 0; ours && !status && k < 3; k++)
            status = strncmp(entry + own, kept[k], strlen(kept[k])) == 0 ? set_zero(state, entry) : PLUMB_OK;
    }
    plumb_free(context, name);
    return status;
}

/* ---- averaged weights ---- */

static plumb_status swap(plumb_state *state, const char *average, const char *parameter)
{
    plumb_context *context = plumb_handle_context(state);
    plumb_shape shape = plumb_state_shape(state, average);
    size_t bytes = plumb_dtype_size(plumb_state_dtype(state, average)) * (size_t)plumb_shape_count(&shape);
    unsigned char *both = plumb_alloc(context, 2 * bytes + 1);
    if (!both)
        return PLUMB_FAILED;
    plumb_status status = plumb_state_get(state, average, both, bytes);
    status = status ? status : plumb_state_get(state, parameter, both + bytes, bytes);
    status = status ? status : plumb_state_set(state, average, both + bytes, bytes);
    status = status ? status : plumb_state_set(state, parameter, both, bytes);
    plumb_free(context, both);
    return status;
}

plumb_status plumb_swap_average(plumb_state *state, const char *optimizer)
{
    char *name = own_name(state, optimizer, "step");
    if (!name)
        return why_unnamed(state);
    plumb_context *context = plumb_handle_context(state);
    size_t own = strlen(name) - strlen("step:"), length = own + strlen("average:");
    int found = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < plumb_state_count(state) && status == PLUMB_OK; i++) {
        const char *entry = plumb_state_name(state, i);
        if (strncmp(entry, name, own) == 0 && strncmp(entry + own, "average:", length - own) == 0) {
            found++;
            status = swap(state, entry, entry + length);
        }
    }
    if (status == PLUMB_OK && found == 0)
        status = plumb_fail(context, PLUMB_BAD_INPUT, "optimizer '%.*s' keeps no average (plumb_optimizer.average)",
                            (int)own - 1, name);
    plumb_free(context, name);
    return status;
}
