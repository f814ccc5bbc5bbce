/* Whole trainings: the same one twenty times, which must give the same bits, and one on the device beside one on the CPU,
 * which must agree as far as roundings allow. */
#include "validate.h"

#include <math.h>
#include <stdio.h>

enum { STEPS_MAX = 40, CLASSES = 10 };

struct training {
    const char *model;
    int64_t batch;
    int steps;
    double loss[STEPS_MAX];
    uint64_t hash;  /* of losses and of every value of the state */
    float *weights; /* all floating f32 values one after the other */
    int64_t count;
};

static plumb_status feed_batch(plumb_context *context, plumb_program *step, const plumb_model *model, int64_t batch, int at)
{
    int64_t item = plumb_shape_count(&model->input_shape), all = batch * item;
    float *x = plumb_alloc(context, (size_t)all * sizeof *x);
    int32_t *y = plumb_alloc(context, (size_t)batch * sizeof *y);
    plumb_status status = x && y ? PLUMB_OK : PLUMB_FAILED;
    if (!status) {
        for (int64_t i = 0; i < batch; i++) {
            y[i] = (int32_t)(plumb_random_word(3, 1, (uint64_t)at, i) % CLASSES);
            for (int64_t k = 0; k < item; k++) { /* noise, brighter where the class says so: there is something to learn */
                double noise = plumb_uniform_of_word(plumb_random_word(3, 2, (uint64_t)at, i * item + k));
                x[i * item + k] = (float)(noise * 0.5 + (k * CLASSES / item == y[i] ? 0.5 : 0));
            }
        }
        status = plumb_feed(step, model->input, x, (size_t)all * sizeof *x);
    }
    status = status ? status : plumb_feed(step, model->label, y, (size_t)batch * sizeof *y);
    plumb_free(context, x);
    plumb_free(context, y);
    return status;
}

/* Every value of the state into t->hash, f32 ones also into t->weights. */
static plumb_status read_state(plumb_context *context, plumb_state *state, struct training *t)
{
    int64_t room = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; i < plumb_state_count(state); i++) {
        plumb_shape shape = plumb_state_shape(state, plumb_state_name(state, i));
        room += plumb_shape_count(&shape);
    }
    t->weights = malloc((size_t)room * sizeof *t->weights);
    for (int i = 0; i < plumb_state_count(state) && !status; i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        int64_t count = plumb_shape_count(&shape);
        size_t bytes = (size_t)count * plumb_dtype_size(plumb_state_dtype(state, name));
        void *data = plumb_alloc(context, bytes);
        status = data && t->weights ? plumb_state_get(state, name, data, bytes) : PLUMB_FAILED;
        t->hash = status ? 0 : validate_hash(data, bytes, t->hash);
        if (!status && plumb_state_dtype(state, name) == PLUMB_F32 && !strchr(name, ':')) {
            memcpy(t->weights + t->count, data, bytes);
            t->count += count;
        }
        plumb_free(context, data);
    }
    return status;
}

static plumb_status train(plumb_context *context, struct training *t)
{
    plumb_model model;
    plumb_status status = plumb_model_build(context, t->model, NULL, &model);
    plumb_state *state = status ? NULL : plumb_state_new(model.graph);
    plumb_program *step = state ? plumb_compile_training(model.graph, state, model.loss,
                                                         PLUMB_MOMENTUM(.lr = 0.02, .skip_bad_steps = true), NULL, 0)
                                : NULL;
    status = step ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; i < t->steps && !status; i++) {
        status = feed_batch(context, step, &model, t->batch, i);
        status = status ? status : plumb_run(step);
        status = status ? status : plumb_fetch_number(step, model.loss, &t->loss[i]);
    }
    if (!status) {
        t->hash = validate_hash(t->loss, sizeof t->loss, 0);
        status = read_state(context, state, t);
    }
    return status;
}

static bool train_on(struct validate *v, const char *device, struct training *t)
{
    plumb_context *context = validate_open(v, device);
    bool ok = context && train(context, t) == PLUMB_OK;
    if (context && !ok) {
        validate_check(v, false, t->model, "on %s: %s", device, plumb_message(context));
    }
    plumb_close(context);
    return ok;
}

static bool known(const char *model)
{
    for (int i = 0; i < plumb_model_count(); i++) {
        if (strcmp(plumb_model_name(i), model) == 0) {
            return true;
        }
    }
    return false;
}

static const char *const models[] = {"lenet5", "mlp", "resnet18-cifar"};
enum { MODELS = sizeof models / sizeof *models };

/* On the simulator a convolution network of this size would take minutes. */
static bool tried(const struct validate *v, const char *model)
{
    return known(model) && !(v->small && strncmp(model, "resnet", 6) == 0);
}

void validate_determinism(struct validate *v)
{
    int runs = v->small ? 3 : 20;
    for (int m = 0; m < MODELS; m++) {
        struct training first = {.model = models[m], .batch = v->small ? 3 : 64, .steps = v->small ? 3 : 12};
        if (!tried(v, models[m]) || !train_on(v, v->device, &first)) {
            continue;
        }
        int differing = 0;
        for (int i = 1; i < runs; i++) {
            struct training again = {.model = models[m], .batch = first.batch, .steps = first.steps};
            differing += !train_on(v, v->device, &again) || again.hash != first.hash;
            free(again.weights);
        }
        validate_check(v, differing == 0, models[m], "%d runs of %d steps, %d of them unlike the first, bits %016llx", runs,
                       first.steps, differing, (unsigned long long)first.hash);
        free(first.weights);
    }
}

/* Sums of f32 made in another order differ by some roundings, 1e-7 each, relatively; every step of training passes the
 * differences on, so the bound grows with the steps. */
void validate_training(struct validate *v)
{
    for (int m = 0; m < MODELS; m++) {
        struct training here = {.model = models[m], .batch = v->small ? 3 : 32,
                                .steps = v->small ? 3 : strncmp(models[m], "resnet", 6) == 0 ? 3 : STEPS_MAX};
        struct training there = here;
        if (!tried(v, models[m]) || !train_on(v, "cpu", &here) || !train_on(v, v->device, &there)) {
            continue;
        }
        double worst = 0;
        for (int i = 0; i < here.steps; i++) {
            double ratio = fabs(there.loss[i] - here.loss[i]) / (1e-5 * (i + 1) * (1 + fabs(here.loss[i])));
            worst = !(ratio <= worst) ? ratio : worst;
        }
        validate_check(v, worst <= 1, models[m], "%d losses, %g to %g: difference over bound is %.3g", here.steps,
                       here.loss[0], here.loss[here.steps - 1], worst);
        double apart = 0, size = 0;
        for (int64_t i = 0; i < here.count; i++) {
            double d = (double)there.weights[i] - (double)here.weights[i];
            apart += d * d;
            size += (double)here.weights[i] * (double)here.weights[i];
        }
        double relative = sqrt(apart / size);
        validate_check(v, relative <= 1e-5 * here.steps, models[m], "%lld weights: relative distance %.3g, allowed %.3g",
                       (long long)here.count, relative, 1e-5 * here.steps);
        free(here.weights);
        free(there.weights);
    }
}
