/* A training that is only pretended. */
#include "kept.h"

#define SIDE 4

static plumb_dataset *make_data(plumb_context *context)
{
    float x[KEPT_BATCHES * 2 * SIDE * SIDE];
    int32_t y[KEPT_BATCHES * 2];
    for (int i = 0; i < KEPT_BATCHES * 2 * SIDE * SIDE; i++) {
        x[i] = (float)(i % 7);
    }
    for (int i = 0; i < KEPT_BATCHES * 2; i++) {
        y[i] = i % 2;
    }
    return plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), KEPT_BATCHES * 2, x, y, 2);
}

bool kept_open(struct kept *k, const plumb_options *options, const char *rule)
{
    memset(k, 0, sizeof(*k));
    k->context = plumb_open(options);
    if (!k->context) {
        return false;
    }
    const plumb_optimizer optimizer = {.size = sizeof(optimizer), .rule = rule, .loss_scale = PLUMB_DYNAMIC_LOSS_SCALE};
    const plumb_model_options shape = {.size = sizeof(shape), .input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2};
    struct plumb_training *t = &k->training;
    plumb_status status = plumb_model_build(k->context, "logistic", &shape, &k->model);
    k->data = make_data(k->context);
    t->context = k->context;
    t->state = status ? NULL : plumb_state_new(k->model.graph);
    t->program = t->state ? plumb_compile_training(k->model.graph, t->state, k->model.loss, &optimizer, NULL, 0) : NULL;
    t->history = k->history;
    t->room = KEPT_EPOCHS;
    t->train = t->dev = k->data;
    t->batches = KEPT_BATCHES;
    t->examples = 2;
    CHECK_MSG(t->program && k->data, "%s", plumb_message(k->context));
    return t->program && k->data;
}

void kept_close(struct kept *k) { plumb_close(k->context); }

/* The value of element `i` of entry `e` after n batches: as small as moments are, one of them negative. */
static double value_of(const char *name, int64_t e, int64_t i, int64_t n)
{
    return strstr(name, "/step:") ? (double)n : strstr(name, "loss_scale:") ? 1024 : strchr(name, ':') ? (double)(n + i + e) :
           (double)((n * 31 + e * 7 + i) % 101) - 50;
}

static plumb_status set_all(plumb_state *state, int64_t n)
{
    _Alignas(8) unsigned char values[4096];
    plumb_status status = PLUMB_OK;
    for (int e = 0; !status && e < plumb_state_count(state); e++) {
        const char *name = plumb_state_name(state, e);
        plumb_shape shape = plumb_state_shape(state, name);
        plumb_dtype dtype = plumb_state_dtype(state, name);
        int64_t count = plumb_shape_count(&shape);
        for (int64_t i = 0; i < count; i++) {
            plumb_put(values, dtype, i, value_of(name, e, i, n));
        }
        status = plumb_state_set(state, name, values, (size_t)count * plumb_dtype_size(dtype));
    }
    return status;
}

static bool all_are(plumb_state *state, int64_t n, bool weights)
{
    _Alignas(8) unsigned char values[4096];
    bool same = true;
    for (int e = 0; same && e < plumb_state_count(state); e++) {
        const char *name = plumb_state_name(state, e);
        plumb_shape shape = plumb_state_shape(state, name);
        plumb_dtype dtype = plumb_state_dtype(state, name);
        int64_t count = plumb_shape_count(&shape);
        if (weights && strchr(name, ':')) {
            continue;
        }
        same = plumb_state_get(state, name, values, (size_t)count * plumb_dtype_size(dtype)) == PLUMB_OK;
        for (int64_t i = 0; same && i < count; i++) {
            same = plumb_get(values, dtype, i) == value_of(name, e, i, n);
        }
    }
    return same;
}

static struct plumb_position position_of(int64_t n)
{
    return (struct plumb_position){.seed = 0xfedcba9876543210u, .options = 77, .epoch = n / KEPT_BATCHES,
                                   .batch = n % KEPT_BATCHES, .ran = n, .step = n, .examples = n % KEPT_BATCHES * 2,
                                   .right = n % KEPT_BATCHES % 2, .loss_sum = 0.1 * (double)n, .lr = 1e-3, .loss_scale = 1024,
                                   .best = -0.5, .best_epoch = n / KEPT_BATCHES};
}

static plumb_epoch row_of(int64_t epoch)
{
    return (plumb_epoch){.epoch = (int)epoch + 1, .steps = KEPT_BATCHES, .lr = 0.5, .train_loss = 1.0 / (double)(epoch + 3),
                         .seconds = 1};
}

plumb_status kept_go(struct kept *k, int64_t n)
{
    struct plumb_training *t = &k->training;
    plumb_status status = set_all(t->state, n);
    for (int64_t i = 0; i < n / KEPT_BATCHES; i++) {
        k->history[i] = row_of(i);
    }
    if (!status && n >= KEPT_BATCHES) { /* the best weights were those of the first epoch */
        t->best = t->best ? t->best : plumb_state_clone(t->state);
        status = t->best ? set_all(t->best, KEPT_BATCHES) : plumb_last_status(k->context);
    } else {
        plumb_state_free(t->best);
        t->best = NULL;
    }
    t->position = position_of(n);
    return status;
}

bool kept_is(struct kept *k, int64_t n)
{
    const struct plumb_training *t = &k->training;
    const struct plumb_position expected = position_of(n);
    bool same = memcmp(&t->position, &expected, sizeof(expected)) == 0 && all_are(t->state, n, false) &&
                (t->best != NULL) == (n >= KEPT_BATCHES) && (!t->best || all_are(t->best, KEPT_BATCHES, true));
    for (int64_t i = 0; same && i < n / KEPT_BATCHES; i++) {
        const plumb_epoch row = row_of(i), *is = &k->history[i];
        same = is->epoch == row.epoch && is->steps == row.steps && is->train_loss == row.train_loss && is->lr == row.lr;
    }
    return same;
}

plumb_checkpoints *kept_begin(struct kept *k, const char *folder, const plumb_checkpoint_options *options,
                              struct plumb_keeper *keeper)
{
    plumb_checkpoints *checkpoints = plumb_checkpoints_open(k->context, folder, options);
    if (!checkpoints || !plumb_checkpoint_keeper(checkpoints, keeper) ||
        keeper->begin(keeper->user, &k->training) != PLUMB_OK) {
        plumb_checkpoints_free(checkpoints);
        return NULL;
    }
    return checkpoints;
}

plumb_status kept_run(struct kept *k, const char *folder, int64_t n, int keep, int64_t *done)
{
    static const char *const configuration[] = {"model", "logistic", "data", "a b\n\"c\"", NULL};
    struct plumb_keeper keeper;
    *done = 0;
    plumb_status status = kept_go(k, 0);
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1, .keep = keep, .configuration = configuration};
    plumb_checkpoints *checkpoints = status ? NULL : kept_begin(k, folder, &options, &keeper);
    status = checkpoints ? PLUMB_OK : plumb_last_status(k->context);
    for (int64_t i = 1; !status && i <= n; i++) {
        status = kept_go(k, i);
        status = status ? status : keeper.after(keeper.user, &k->training, false);
        *done = status ? *done : i;
    }
    plumb_checkpoints_free(checkpoints);
    return status;
}

plumb_status kept_resume(struct kept *k, const char *folder, int64_t *at)
{
    static const char *const configuration[] = {"model", "logistic", "data", "a b\n\"c\"", NULL};
    struct plumb_keeper keeper;
    plumb_status status = kept_go(k, 0);
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1, .resume = true, .configuration = configuration};
    plumb_checkpoints *checkpoints = status ? NULL : kept_begin(k, folder, &options, &keeper);
    *at = checkpoints ? k->training.position.ran : -1;
    status = checkpoints ? PLUMB_OK : plumb_last_status(k->context);
    plumb_checkpoints_free(checkpoints);
    return status;
}
