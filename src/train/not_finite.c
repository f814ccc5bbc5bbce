/* Finding the first tensor that is not finite. The state is that before the bad batch (it was not applied), so the batch can
 * be run again, with every tensor kept, and read in the order of computation: first forward, and only if all is well there,
 * with the gradients, which takes more memory. */
#include <math.h>
#include <stdio.h>

#include "graph/graph.h"
#include "train/train.h"

enum { EXAMPLES_TOLD = 8 };

static void say(struct plumb_culprit *c, const char *format, ...) PLUMB_PRINTF(2, 3);
static void say(struct plumb_culprit *c, const char *format, ...)
{
    size_t used = strlen(c->text);
    va_list args;
    va_start(args, format);
    vsnprintf(c->text + used, c->room - used, format, args);
    va_end(args);
}

/* Index of the first value that is not finite, or -1. */
static int64_t first_bad(const void *data, plumb_dtype dtype, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(plumb_get(data, dtype, i))) {
            return i;
        }
    }
    return -1;
}

/* Describes tensor `t` if it is not finite. */
static bool look_at(const struct graph *g, plumb_program *program, plumb_t id, struct plumb_culprit *c)
{
    uint32_t t = plumb_index(g, id);
    plumb_shape shape = plumb_output_shape(program, id);
    plumb_dtype dtype = g->tensor[t].type.dtype;
    int64_t elements = plumb_shape_count(&shape);
    void *data = elements > 0 ? plumb_alloc(g->context, (size_t)elements * plumb_dtype_size(dtype)) : NULL;
    if (!data) {
        return false;
    }
    int64_t bad = -1;
    if (plumb_fetch(program, id, data, (size_t)elements * plumb_dtype_size(dtype)) == PLUMB_OK) {
        bad = first_bad(data, dtype, elements);
    }
    if (bad >= 0) {
        const struct plumb_node *node = &g->node[g->tensor[t].node];
        char text[128];
        say(c, "first to be so: %s '%s' %s at element %lld", node->op->name, node->name,
            plumb_shape_text(&shape, text, sizeof(text)), (long long)bad);
        if (shape.rank > 0 && shape.dim[0] == c->count) {
            say(c, ", example %lld of the data set",
                (long long)plumb_loader_indices(c->loader)[bad / (elements / c->count)]);
        }
    }
    plumb_free(g->context, data);
    return bad >= 0;
}

/* Adds the floating tensors of `graph` from number `first` on to the list, which has room for them all. */
static int list_floats(const struct graph *g, int first, plumb_t *ids)
{
    int n = 0;
    for (int t = first; t < g->n_tensors; t++) {
        if (plumb_dtype_is_float(g->tensor[t].type.dtype)) {
            ids[n++] = plumb_id(g, (uint32_t)t);
        }
    }
    return n;
}

/* Runs the batch with `n` tensors kept; NULL if it cannot be done. */
static plumb_program *run_again(const plumb_model *model, struct plumb_culprit *c, plumb_graph *graph, const plumb_t *ids,
                                int n)
{
    const plumb_compile_options options = {.size = sizeof(options),
                                           .outputs = ids,
                                           .n_outputs = n,
                                           .training = true,
                                           .precision = c->precision};
    plumb_program *program = plumb_compile(graph, c->state, &options);
    if (program && plumb_loader_seek(c->loader, c->epoch, c->batch) == PLUMB_OK &&
        plumb_loader_next(c->loader, program, model->input, model->label) == c->count && plumb_run(program) == PLUMB_OK) {
        return program;
    }
    plumb_program_free(program);
    return NULL;
}

static void look_forward(const plumb_model *model, struct plumb_culprit *c)
{
    const struct graph *g = plumb_graph_get(c->graph);
    plumb_t *ids = g ? plumb_alloc(g->context, (size_t)(g->n_tensors + 1) * sizeof(*ids)) : NULL;
    int n = ids ? list_floats(g, 0, ids) : 0;
    plumb_program *program = n > 0 ? run_again(model, c, c->graph, ids, n) : NULL;
    for (int i = 0; program && i < n && !c->forward; i++) {
        c->forward = look_at(g, program, ids[i], c);
    }
    plumb_program_free(program);
    if (g) {
        plumb_free(g->context, ids);
    }
}

/* Appends the gradients to the clone; the norm of them all, or none. */
static plumb_t add_gradients(plumb_graph *clone, plumb_t loss)
{
    plumb_context *context = plumb_graph_context(clone);
    int n = plumb_parameters(clone, NULL, 0);
    plumb_t *of = plumb_alloc(context, (size_t)(n + 1) * 2 * sizeof(*of)), norm = PLUMB_NONE;
    if (of && n > 0) {
        plumb_parameters(clone, of, n);
        if (plumb_gradients(clone, plumb_id_in(clone, loss), of, n, of + n) == PLUMB_OK) {
            for (int i = 0; i < n; i++) {
                of[i] = plumb_cast(clone, of[n + i], PLUMB_F64);
            }
            norm = plumb_sqrt(clone, plumb_sum_squares(clone, of, n));
        }
    }
    plumb_free(context, of);
    return norm;
}

static void look_back(const plumb_model *model, struct plumb_culprit *c)
{
    plumb_graph *clone = plumb_graph_clone_public(c->graph);
    struct graph *g = plumb_graph_get(clone);
    int first = g ? g->n_tensors : 0;
    plumb_t norm = g ? add_gradients(clone, c->loss) : PLUMB_NONE;
    plumb_t *ids = norm ? plumb_alloc(g->context, (size_t)(g->n_tensors + 1) * sizeof(*ids)) : NULL;
    int n = ids && !c->forward ? list_floats(g, first, ids) : 0; /* the last one is the norm */
    if (ids && c->forward) {
        ids[n++] = norm;
    }
    plumb_program *program = ids ? run_again(model, c, clone, ids, n) : NULL;
    bool found = c->forward;
    for (int i = 0; program && i < n && !found; i++) {
        found = look_at(g, program, ids[i], c);
    }
    double value = NAN;
    if (!found) {
        say(c, "the forward pass is finite, the backward pass is not");
    }
    if (program && plumb_fetch_number(program, norm, &value) == PLUMB_OK) {
        say(c, "; gradient norm %.6g", fabs(value)); /* no sign of a NaN */
    }
    plumb_program_free(program);
    if (g) {
        plumb_free(g->context, ids);
    }
    plumb_graph_free(clone);
}

void plumb_find_not_finite(const plumb_model *model, struct plumb_culprit *c)
{
    plumb_context *context = plumb_graph_context(model->graph);
    bool clean = plumb_last_status(context) == PLUMB_OK;
    c->text[0] = 0;
    look_forward(model, c);
    look_back(model, c);
    if (clean) { /* what could not be looked at must not stand before what is to be told */
        plumb_clear_error(context);
    }
    const int64_t *indices = plumb_loader_indices(c->loader);
    say(c, "; examples");
    for (int64_t i = 0; i < c->count && i < EXAMPLES_TOLD; i++) {
        say(c, "%s %lld", i ? "," : "", (long long)indices[i]);
    }
    if (c->count > EXAMPLES_TOLD) {
        say(c, " and %lld more", (long long)(c->count - EXAMPLES_TOLD));
    }
}
