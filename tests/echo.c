/* A program that gives back what a loader feeds it, so that tests see batches as a training would. */
#include "echo.h"

#include "core/core.h"

plumb_status echo_open(plumb_context *context, plumb_shape shape, struct echo *e)
{
    plumb_shape batch = {.rank = shape.rank + 1, .dim = {PLUMB_BATCH}};
    *e = (struct echo){.item = plumb_shape_count(&shape), .graph = plumb_graph_new(context, "echo")};
    memcpy(batch.dim + 1, shape.dim, (size_t)shape.rank * sizeof(int64_t));
    e->x = plumb_input(e->graph, "x", PLUMB_F32, batch);
    e->y = plumb_input(e->graph, "y", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    e->second = plumb_input(e->graph, "second", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    e->share = plumb_input(e->graph, "share", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH));
    e->x_out = plumb_affine(e->graph, e->x, 1, 0);
    e->y_out = plumb_cast(e->graph, e->y, PLUMB_F32);
    e->second_out = plumb_cast(e->graph, e->second, PLUMB_F32);
    e->share_out = plumb_affine(e->graph, e->share, 1, 0);
    const plumb_t outputs[4] = {e->x_out, e->y_out, e->second_out, e->share_out};
    e->state = e->graph ? plumb_state_new(e->graph) : NULL;
    e->program = e->state ? plumb_compile(e->graph, e->state,
                                          &(plumb_compile_options){.outputs = outputs, .n_outputs = 4})
                          : NULL;
    return e->program ? PLUMB_OK : plumb_last_status(context);
}

void echo_close(struct echo *e)
{
    plumb_program_free(e->program);
    plumb_state_free(e->state);
    plumb_graph_free(e->graph);
}

int64_t echo_next(struct echo *e, plumb_loader *loader, float *x, float *y, float *second, float *share)
{
    int64_t count = plumb_loader_next(loader, e->program, e->x, e->y);
    if (count <= 0) {
        return count;
    }
    size_t n = (size_t)count * sizeof(float);
    plumb_status status = PLUMB_OK;
    if (!second) { /* a loader without these inputs: anything will do */
        int32_t zeros[1024] = {0};
        status = plumb_feed(e->program, e->second, zeros, n);
        status = status ? status : plumb_feed(e->program, e->share, zeros, n);
    }
    status = status ? status : plumb_run(e->program);
    status = status ? status : plumb_fetch(e->program, e->x_out, x, n * (size_t)e->item);
    status = status ? status : plumb_fetch(e->program, e->y_out, y, n);
    status = status || !second ? status : plumb_fetch(e->program, e->second_out, second, n);
    status = status || !second ? status : plumb_fetch(e->program, e->share_out, share, n);
    return status ? -1 : count;
}
