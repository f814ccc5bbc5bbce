/* Finding the first tensor that is not finite. The weights are those before the bad step (it was not applied), so the
 * step's forward pass can be run again, with every tensor kept, and read in the order of computation. */
#include <math.h>
#include <stdio.h>

#include "graph/graph.h"
#include "train/train.h"

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

static plumb_status feed(const plumb_model *model, const plumb_dataset *dataset, const int64_t *indices,
                         int64_t count, plumb_program *program)
{
    plumb_context *context = plumb_graph_context(model->graph);
    plumb_shape shape = plumb_dataset_shape(dataset);
    int64_t item = plumb_shape_count(&shape);
    float *x = plumb_alloc(context, (size_t)(count * item) * sizeof(float));
    int32_t *y = plumb_alloc(context, (size_t)count * sizeof(int32_t));
    plumb_status status = x && y ? PLUMB_OK : PLUMB_FAILED;
    for (int64_t n = 0; !status && n < count; n++) {
        status = plumb_dataset_picture(dataset, indices[n], x + n * item, (size_t)item * sizeof(float));
        y[n] = plumb_dataset_label(dataset, indices[n]);
    }
    if (!status) {
        status = plumb_feed(program, model->input, x, (size_t)(count * item) * sizeof(float));
    }
    if (!status) {
        status = plumb_feed(program, model->label, y, (size_t)count * sizeof(int32_t));
    }
    plumb_free(context, x);
    plumb_free(context, y);
    return status;
}

/* Describes tensor `t` if it is not finite. */
static bool look_at(const struct graph *g, plumb_program *program, uint32_t t, const int64_t *indices,
                    int64_t count, char *what, size_t room)
{
    plumb_t id = plumb_id(g, t);
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
        char text[128], example[64] = "";
        if (shape.rank > 0 && shape.dim[0] == count) {
            snprintf(example, sizeof(example), ", example %lld of the data set",
                     (long long)indices[bad / (elements / count)]);
        }
        snprintf(what, room, "first to be so: %s '%s' %s at element %lld%s", node->op->name, node->name,
                 plumb_shape_text(&shape, text, sizeof(text)), (long long)bad, example);
    }
    plumb_free(g->context, data);
    return bad >= 0;
}

void plumb_find_not_finite(const plumb_model *model, plumb_state *state, const plumb_dataset *dataset,
                           const int64_t *indices, int64_t count, plumb_dtype precision, char *what,
                            size_t room)
{
    const struct graph *g = plumb_graph_get(model->graph);
    snprintf(what, room, "the forward pass is finite, the backward pass is not");
    plumb_t *ids = g ? plumb_alloc(g->context, (size_t)g->n_tensors * sizeof(plumb_t)) : NULL;
    if (!ids) {
        return;
    }
    int n = 0;
    for (int t = 0; t < g->n_tensors; t++) {
        if (plumb_dtype_is_float(g->tensor[t].type.dtype)) {
            ids[n++] = plumb_id(g, (uint32_t)t);
        }
    }
    plumb_program *program = plumb_compile(
        model->graph, state,
        &(plumb_compile_options){
            .size = sizeof(plumb_compile_options), .outputs = ids, .n_outputs = n, .training = true,
                                 .precision = precision});
    if (program && feed(model, dataset, indices, count, program) == PLUMB_OK &&
        plumb_run(program) == PLUMB_OK) {
        for (int i = 0; i < n; i++) {
            if (look_at(g, program, plumb_index(g, ids[i]), indices, count, what, room)) {
                break;
            }
        }
    }
    plumb_program_free(program);
    plumb_free(g->context, ids);
}
