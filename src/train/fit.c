/* The training loop: shuffled batches through one compiled step, a moving learning rate, test metrics after every
 * epoch, and a stop at the first step that is not finite.
 *
 * With a dynamic loss scale some steps overflow by design: they are skipped on the device, the scale goes down, and only
 * a step that is bad with the scale at its least ends the training. A loss that is not finite always does: no scale can
 * mend the forward pass.
 *
 * The step is compiled so that it applies nothing when its loss or a gradient is not finite; so the state left behind
 * by a numeric stop is the last good one, and it can be examined to say what went wrong. */
#include <math.h>
#include <stdio.h>

#include "optim/rules.h"
#include "train/train.h"

struct fit {
    plumb_context *context;
    const plumb_model *model;
    plumb_state *state;
    plumb_dataset *train;
    const plumb_fit_options *options;
    plumb_optimizer optimizer;
    plumb_schedule schedule;
    const char *name; /* of the optimizer in the state */
    bool smooth;      /* the rate moves with every step */
    int epochs;
    plumb_program *program;
    plumb_loader *loader;
    struct plumb_evaluator test;
    bool has_test;
    float *logits;
    int64_t steps_before; /* applied steps the state already had */
    int64_t steps;        /* of this training, applied */
    bool dynamic;         /* the loss scale is, */
    double loss_scale;    /* and was this after the last skipped step, */
    int64_t since;        /* so many good steps ago; */
    int64_t growth;       /* after so many in a row it doubles */
    bool stop;            /* a callback said so */
};

plumb_status plumb_fit_scaling(const plumb_model *model, plumb_state *state, const plumb_dataset *train,
                               plumb_scaling rule)
{
    static const char *const names[2] = {"scaling.shift", "scaling.scale"};
    double value[2][4];
    if (!plumb_state_has(state, names[0]) || !plumb_state_has(state, names[1])) {
        return PLUMB_OK;
    }
    plumb_context *context = plumb_graph_context(model->graph);
    plumb_shape shape = plumb_state_shape(state, names[0]);
    plumb_dtype dtype = plumb_state_dtype(state, names[0]);
    int64_t channels = plumb_shape_count(&shape);
    if (channels < 1 || channels > 4) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "scaling: a layer of %lld channels, 1 to 4 can be set",
                          (long long)channels);
    }
    plumb_status status = plumb_dataset_scaling(train, rule, (int)channels, value[0], value[1]);
    for (int i = 0; !status && i < 2; i++) {
        _Alignas(8) unsigned char stored[4 * 8];
        for (int64_t c = 0; c < channels; c++) {
            plumb_put(stored, dtype, c, value[i][c]);
        }
        status = plumb_state_set(state, names[i], stored, (size_t)channels * plumb_dtype_size(dtype));
    }
    return status;
}

/* A rate that nobody gave is the rule's own default, which compiling has put into the state. */
static plumb_status settle_rate(struct fit *f)
{
    char entry[96];
    plumb_status status = PLUMB_OK;
    if (f->schedule.lr == 0) {
        f->schedule.lr = f->optimizer.lr;
    }
    if (f->schedule.lr == 0) {
        snprintf(entry, sizeof(entry), "%s/lr:", f->name);
        status = plumb_state_get_number(f->state, entry, &f->schedule.lr);
    }
    if (!status && isnan(plumb_schedule_lr(&f->schedule, 0, 0))) {
        return plumb_fail(f->context, PLUMB_BAD_INPUT,
                          "training: the schedule '%s' is not known or gives no rate",
                          f->schedule.rule ? f->schedule.rule : "constant");
    }
    return status;
}

static plumb_status get_loss_scale(const struct fit *f, double *scale)
{
    char entry[96];
    snprintf(entry, sizeof(entry), "%s/loss_scale:", f->name);
    return plumb_state_get_number(f->state, entry, scale);
}

static plumb_status prepare(struct fit *f)
{
    const plumb_fit_options *o = f->options;
    int64_t count = plumb_dataset_count(f->train);
    int64_t batch = o->batch ? o->batch : 64;
    batch = batch < count ? batch : count;
    f->program = plumb_compile_training(f->model->graph, f->state, f->model->loss, &f->optimizer,
                                        &f->model->logits, 1);
    f->loader = plumb_loader_new(f->train, &(plumb_loader_options){.size = sizeof(plumb_loader_options),
                                                                   .batch = batch,
                                                                   .shuffle = true,
                                                                   .seed = o->seed});
    f->logits = plumb_alloc(f->context, (size_t)(batch * f->model->classes) * sizeof(float));
    if (!f->program || !f->loader || !f->logits) {
        return plumb_last_status(f->context);
    }
    plumb_status status = settle_rate(f);
    if (status) {
        return status;
    }
    status = o->keep_scaling ? PLUMB_OK : plumb_fit_scaling(f->model, f->state, f->train, o->scaling);
    if (!status) {
        status = plumb_get_steps(f->state, f->name, &f->steps_before);
    }
    struct plumb_recipe recipe; /* the program was compiled from it: it makes sense */
    plumb_recipe_read(f->model->graph, &f->optimizer, &recipe);
    f->dynamic = recipe.loss_scale == PLUMB_DYNAMIC_LOSS_SCALE;
    f->growth = recipe.loss_scale_every;
    if (!status && f->dynamic) {
        status = get_loss_scale(f, &f->loss_scale);
    }
    if (!status && o->test) {
        int64_t tests = plumb_dataset_count(o->test);
        status = plumb_evaluator_open(f->model, f->state, o->test, tests < 250 ? tests : 250,
                                      f->optimizer.precision, &f->test);
        f->has_test = !status;
    }
    return status;
}

static plumb_status stop_not_finite(struct fit *f, int epoch, int64_t batch, int64_t count, double loss)
{
    char what[256];
    plumb_find_not_finite(f->model, f->state, f->train, plumb_loader_indices(f->loader), count,
                          f->optimizer.precision, what, sizeof(what));
    return plumb_fail(f->context, PLUMB_NUMERIC,
                      "training: step %lld (epoch %d, batch %lld): %s; %s; the step was not applied",
                      (long long)(f->steps + 1), epoch, (long long)batch,
                      isfinite(loss) ? f->dynamic ? "a gradient is not finite even with the least loss scale"
                                                  : "a gradient is not finite"
                      : isnan(loss)  ? "the loss is not a number"
                                     : "the loss is infinite",
                      what);
}

/* Whether a step that was not applied is the loss scale's doing: the scale was not at its least. */
static bool overflowed(struct fit *f)
{
    double scale = 0;
    if (!f->dynamic || get_loss_scale(f, &scale) != PLUMB_OK) {
        return false;
    }
    bool could_fall = f->loss_scale > PLUMB_LEAST_LOSS_SCALE || f->since >= f->growth;
    f->loss_scale = scale;
    f->since = 0;
    return could_fall;
}

/* Runs the step on the batch that was fed and checks that it was applied. */
static plumb_status run_step(struct fit *f, int epoch, int64_t count, plumb_progress *p, double *loss)
{
    double position = f->smooth ? epoch + (double)p->step / (double)p->steps : epoch;
    p->lr = plumb_schedule_lr(&f->schedule, position, f->steps);
    plumb_status status = plumb_set_lr(f->state, f->name, p->lr);
    if (!status) {
        status = plumb_run(f->program);
    }
    if (!status) {
        status = plumb_fetch_number(f->program, f->model->loss, loss);
    }
    if (!status) {
        status = plumb_fetch(f->program, f->model->logits, f->logits,
                             (size_t)(count * f->model->classes) * sizeof(float));
    }
    int64_t applied = 0;
    if (!status) {
        status = plumb_get_steps(f->state, f->name, &applied);
    }
    bool good = isfinite(*loss) && applied == f->steps_before + f->steps + 1;
    if (!status && !good && !(isfinite(*loss) && overflowed(f))) {
        status = stop_not_finite(f, epoch + 1, p->step + 1, count, *loss);
    }
    f->steps += !status && good;
    f->since += good;
    return status;
}

static plumb_status run_epoch(struct fit *f, int epoch, plumb_epoch *row)
{
    plumb_progress p = {.epoch = epoch + 1, .epochs = f->epochs, .steps = plumb_loader_batches(f->loader)};
    double loss_sum = 0, waited = 0, begin = plumb_seconds();
    int64_t right = 0, before_epoch = f->steps;
    plumb_status status = plumb_loader_seek(f->loader, epoch, 0);
    while (!status && !f->stop && p.step < p.steps) {
        double before = plumb_seconds(), loss = 0;
        int64_t count = plumb_loader_next(f->loader, f->program, f->model->input, f->model->label);
        waited += plumb_seconds() - before;
        if (count < 0) {
            return plumb_last_status(f->context);
        }
        status = run_step(f, epoch, count, &p, &loss);
        if (status) {
            return status;
        }
        loss_sum += loss * (double)count;
        right +=
            plumb_count_right(f->train, plumb_loader_indices(f->loader), f->logits, count, f->model->classes);
        p.step++;
        p.examples += count;
        p.seconds = plumb_seconds() - begin;
        p.loss = loss_sum / (double)p.examples;
        p.accuracy = (double)right / (double)p.examples;
        p.images_per_s = p.seconds > 0 ? (double)p.examples / p.seconds : 0;
        p.data_wait = p.seconds > 0 ? waited / p.seconds : 0;
        f->stop = f->options->on_step && !f->options->on_step(f->options->user, &p);
    }
    *row = (plumb_epoch){.epoch = p.epoch,
                         .steps = p.step,
                         .lr = p.lr,
                         .train_loss = p.loss,
                         .train_accuracy = p.accuracy,
                         .test_loss = NAN,
                         .test_accuracy = NAN,
                         .seconds = p.seconds,
                         .images_per_s = p.images_per_s,
                         .data_wait = p.data_wait,
                         .skipped = p.step - (f->steps - before_epoch)};
    if (!status && f->has_test) {
        plumb_evaluation e = {0};
        double before = plumb_seconds();
        status = plumb_evaluator_run(&f->test, &e);
        row->test_seconds = plumb_seconds() - before;
        row->test_loss = e.loss;
        row->test_accuracy = e.accuracy;
    }
    return status;
}

static void read_options(struct fit *f)
{
    const plumb_fit_options *o = f->options;
    f->epochs = o->epochs ? o->epochs : 10;
    f->optimizer = (plumb_optimizer){0};
    if (o->optimizer) { /* the caller's struct may be of another size than ours */
        size_t size = o->optimizer->size, all = sizeof(f->optimizer);
        memcpy(&f->optimizer, o->optimizer, size && size < all ? size : all);
    }
    f->optimizer.size = sizeof(f->optimizer);
    f->optimizer.skip_bad_steps = true;
    f->optimizer.precision = o->precision ? o->precision : f->optimizer.precision;
    f->name = f->optimizer.name ? f->optimizer.name : f->optimizer.rule ? f->optimizer.rule : "adam";
    f->schedule = o->schedule ? *o->schedule : (plumb_schedule){.size = sizeof(plumb_schedule)};
    f->schedule.epochs = f->schedule.epochs != 0 ? f->schedule.epochs : f->epochs;
    const char *rule = f->schedule.rule ? f->schedule.rule : "constant";
    f->smooth = strcmp(rule, "cosine") == 0 || strcmp(rule, "one_cycle") == 0 || f->schedule.warmup > 0;
}

plumb_status plumb_fit(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                       const plumb_fit_options *options, plumb_epoch *history, int *done)
{
    plumb_fit_options own = {.size = sizeof(own)}; /* the caller's struct may be of another size than ours */
    if (options) {
        memcpy(&own, options, options->size && options->size < sizeof(own) ? options->size : sizeof(own));
    }
    struct fit f = {.model = model, .state = state, .train = train, .options = &own};
    if (done) {
        *done = 0;
    }
    plumb_status status = plumb_model_check(model, state, train, "training");
    if (status) {
        return status;
    }
    f.context = plumb_graph_context(model->graph);
    read_options(&f);
    if (f.options->epochs < 0 || f.options->batch < 0) {
        return plumb_fail(f.context, PLUMB_BAD_INPUT, "training: %d epochs with batches of %lld",
                          f.options->epochs, (long long)f.options->batch);
    }
    status = prepare(&f);
    for (int epoch = 0; !status && !f.stop && epoch < f.epochs; epoch++) {
        plumb_epoch row;
        status = run_epoch(&f, epoch, &row);
        if (!status) {
            if (history) {
                history[epoch] = row;
            }
            if (done) {
                *done = epoch + 1;
            }
            f.stop = f.stop || (f.options->on_epoch && !f.options->on_epoch(f.options->user, &row));
        }
    }
    plumb_evaluator_close(&f.test);
    plumb_loader_free(f.loader);
    plumb_program_free(f.program);
    plumb_free(f.context, f.logits);
    return status;
}
