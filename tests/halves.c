/* The brighter half, and states compared. */
#include "halves.h"

#include "check.h"
#include "core/core.h"

plumb_dataset *halves(plumb_context *context, int count, uint32_t stream, int64_t bad, float value)
{
    float *x = malloc((size_t)count * PIXELS * sizeof(float));
    int32_t *y = malloc((size_t)count * sizeof(int32_t));
    for (int n = 0; x && y && n < count; n++) {
        y[n] = n % 2;
        for (int i = 0; i < PIXELS; i++) {
            double bright = (i % SIDE >= SIDE / 2) == (y[n] == 1) ? 1 : 0;
            double noise = plumb_normal_of_word(plumb_random_word(9, stream, 0, (int64_t)n * PIXELS + i));
            x[n * PIXELS + i] = (float)(bright + 0.7 * noise);
        }
    }
    if (bad >= 0) {
        x[bad * PIXELS + 5] = value;
    }
    plumb_dataset *d = plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), count, x, y, 2);
    free(x);
    free(y);
    return d;
}

bool halves_open(struct halves_bench *b, const char *model, double drop, int threads, int64_t bad)
{
    b->context = plumb_open(&(plumb_options){.threads = threads, .seed = 5});
    plumb_status status = plumb_model_build(
        b->context, model,
        &(plumb_model_options){.input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2, .drop = drop}, &b->model);
    CHECK_MSG(!status, "%s", plumb_message(b->context));
    b->state = plumb_state_new(b->model.graph);
    b->train = halves(b->context, 300, 1, bad, NAN);
    b->test = halves(b->context, 101, 2, -1, 0);
    return !status && b->state && b->train && b->test;
}

static size_t bytes_of(const plumb_state *state, const char *name)
{
    plumb_shape shape = plumb_state_shape(state, name);
    return plumb_dtype_size(plumb_state_dtype(state, name)) * (size_t)plumb_shape_count(&shape);
}

void state_copy(plumb_state *to, const plumb_state *from)
{
    for (int i = 0; i < plumb_state_count(from); i++) {
        const char *name = plumb_state_name(from, i);
        size_t bytes = bytes_of(from, name);
        void *data = malloc(bytes + 1);
        CHECK(data && plumb_state_get(from, name, data, bytes) == PLUMB_OK);
        CHECK_MSG(plumb_state_set(to, name, data, bytes) == PLUMB_OK, "%s", name);
        free(data);
    }
}

const char *state_difference(const plumb_state *a, const plumb_state *b)
{
    const char *differs = plumb_state_count(a) == plumb_state_count(b) ? NULL : "the number of values";
    for (int i = 0; !differs && i < plumb_state_count(a); i++) {
        const char *name = plumb_state_name(a, i);
        size_t bytes = bytes_of(a, name);
        unsigned char *x = malloc(2 * bytes + 1);
        bool same = x && plumb_state_has(b, name) && bytes_of(b, name) == bytes &&
                    plumb_state_get(a, name, x, bytes) == PLUMB_OK &&
                    plumb_state_get(b, name, x + bytes, bytes) == PLUMB_OK && memcmp(x, x + bytes, bytes) == 0;
        free(x);
        differs = same ? NULL : name;
    }
    return differs;
}
