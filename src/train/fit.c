/* The training loop: shuffled batches through one compiled step, a moving learning rate, a look at the sets after every epoch,
 * and a stop at the first batch that is not finite.
 *
 * Between two batches a training is its state and a plumb_position, nothing else; whoever keeps the two (plumb_keeper) can
 * go on from there to the bit. So nothing here remembers anything of the past that is not in the position.
 *
 * With a dynamic loss scale some batches overflow by design: they are skipped on the device, the scale goes down, and only
 * one that is bad with the scale at its least ends the training. A loss that is not finite always does: no scale can mend
 * the forward pass. With accumulation a step takes several batches; the accumulators are in the state. A skipped batch
 * never happened: the step goes on with the next.
 *
 * The step is compiled so that it applies nothing when its loss, a gradient or a weight is not finite; so the state left
 * behind by a numeric stop is the last good one, and it can be examined to say what went wrong. */
#include <math.h>
#include <stdio.h>

#include "optim/rules.h"
#include "train/checkpoint.h"
#include "train/fit.h"

static plumb_status stop_not_finite(struct fit *f, int64_t count, double loss)
{
    const struct plumb_position *p = &f->t.position;
    char what[512];
    struct plumb_culprit culprit = {.graph = f->graph,
                                    .loss = f->loss,
                                    .state = f->t.state,
                                    .loader = f->loader,
                                    .epoch = p->epoch,
                                    .batch = p->batch,
                                    .count = count,
                                    .precision = f->optimizer.precision,
                                    .text = what,
                                    .room = sizeof(what)};
    plumb_find_not_finite(f->model, &culprit);
    const char *kind = isnan(loss)       ? "the loss is not a number"
                       : isinf(loss)     ? "the loss is infinite"
                       : culprit.forward ? "a value is not finite, though the loss is"
                       : f->dynamic      ? "a gradient is not finite even with the least loss scale"
                                         : "a gradient is not finite";
    return plumb_fail(f->t.context, PLUMB_NUMERIC,
                      "training: step %lld (epoch %lld, batch %lld): %s; %s; rate %.6g; the step was not applied",
                      (long long)(p->step + 1), (long long)(p->epoch + 1), (long long)(p->batch + 1), kind, what, p->lr);
}

/* Whether a batch that was not taken is the loss scale's doing: the scale was not at its least. */
static bool overflowed(struct fit *f)
{
    struct plumb_position *p = &f->t.position;
    double scale = 0;
    if (!f->dynamic || plumb_fit_scale(f, &scale) != PLUMB_OK) {
        return false;
    }
    bool could_fall = p->loss_scale > PLUMB_LEAST_LOSS_SCALE || p->since >= f->growth;
    p->loss_scale = scale;
    p->since = 0;
    return could_fall;
}

/* Batches of the running epoch, which may be the training's last and shorter. */
static int64_t batches_here(const struct fit *f)
{
    return f->t.position.epoch == f->end_epoch ? f->end_batch : f->batches;
}

static bool complete(const struct fit *f)
{
    const struct plumb_position *p = &f->t.position;
    return p->epoch > f->end_epoch || (p->epoch == f->end_epoch && p->batch >= f->end_batch);
}

/* The rate of the step under way, and how many batches it takes: an epoch's last step may have fewer. */
static plumb_status set_step(struct fit *f, int64_t *length)
{
    struct plumb_position *p = &f->t.position;
    int64_t each = f->options.accumulate, left = batches_here(f) - p->batch;
    int64_t before = p->batch > p->micro ? (p->batch - p->micro) / each : 0; /* steps of this epoch */
    double place = (double)p->epoch + (f->smooth ? (double)before / (double)f->steps : 0);
    *length = p->micro + left < each ? p->micro + left : each;
    p->lr = plumb_schedule_lr(&f->schedule, place, p->step);
    plumb_status status = plumb_set_lr(f->t.state, f->name, p->lr);
    if (!status && each > 1) {
        status = plumb_set_accumulation(f->t.state, f->name, *length);
    }
    return status;
}

/* Whether the batch was taken: the step was applied, or there is one batch more in the accumulators. */
static plumb_status look_back(struct fit *f, int64_t length, bool *taken)
{
    struct plumb_position *p = &f->t.position;
    bool last = p->micro + 1 >= length;
    int64_t applied = 0, micro = 0;
    plumb_status status = plumb_get_steps(f->t.state, f->name, &applied);
    if (!status && f->options.accumulate > 1) {
        status = plumb_get_accumulated(f->t.state, f->name, &micro);
    }
    *taken = applied == p->steps_before + p->step + last && micro == (last ? 0 : p->micro + 1);
    return status;
}

/* Runs the step on the batch that was fed and checks that it was taken. */
static plumb_status run_step(struct fit *f, int64_t count, double *loss)
{
    struct plumb_position *p = &f->t.position;
    int64_t length = 1;
    bool taken = false;
    plumb_status status = set_step(f, &length);
    if (!status) {
        status = plumb_run(f->program);
    }
    if (!status) {
        status = plumb_fetch_number(f->program, f->loss, loss);
    }
    if (!status) {
        status = plumb_fetch(f->program, f->model->logits, f->logits,
                             (size_t)(count * f->model->classes) * sizeof(float));
    }
    if (!status) {
        status = look_back(f, length, &taken);
    }
    if (status) {
        return status;
    }
    bool good = isfinite(*loss) && taken;
    if (!good && !(isfinite(*loss) && overflowed(f))) {
        return stop_not_finite(f, count, *loss);
    }
    if (good) {
        bool last = p->micro + 1 >= length;
        p->step += last;
        p->micro = last ? 0 : p->micro + 1;
        p->since++;
    }
    p->skipped += !good;
    return PLUMB_OK;
}

static void tell(struct fit *f)
{
    const struct plumb_position *p = &f->t.position;
    const plumb_progress now = {.epoch = (int)p->epoch + 1,
                                .epochs = f->t.room,
                                .step = p->batch,
                                .steps = batches_here(f),
                                .examples = p->examples,
                                .loss = p->loss_sum / (double)p->examples,
                                .accuracy = (double)p->right / (double)p->examples,
                                .lr = p->lr,
                                .seconds = p->seconds,
                                .images_per_s = p->seconds > 0 ? (double)p->examples / p->seconds : 0,
                                .data_wait = p->seconds > 0 ? p->waited / p->seconds : 0};
    f->stop = f->options.on_step && !f->options.on_step(f->options.user, &now);
}

static plumb_status run_batch(struct fit *f)
{
    struct plumb_position *p = &f->t.position;
    double begin = plumb_seconds(), loss = 0;
    plumb_status status = p->batch == 0 ? plumb_loader_seek(f->loader, p->epoch, 0) : PLUMB_OK;
    int64_t count = status ? -1 : plumb_loader_next(f->loader, f->program, f->model->input, f->model->label);
    double waited = plumb_seconds() - begin;
    if (count < 0) {
        return plumb_last_status(f->t.context);
    }
    status = run_step(f, count, &loss);
    if (status) {
        return status;
    }
    p->loss_sum += loss * (double)count;
    p->right += plumb_count_right(f->train, plumb_loader_indices(f->loader), f->logits, count, f->model->classes);
    p->examples += count;
    p->batch++;
    p->ran++;
    p->waited += waited;
    p->seconds += plumb_seconds() - begin;
    tell(f);
    return PLUMB_OK;
}

/* The row of an epoch, whole or not, with its tests. */
static plumb_status write_row(struct fit *f)
{
    const struct plumb_position *p = &f->t.position;
    plumb_epoch *row = &f->t.history[p->epoch];
    *row = (plumb_epoch){.epoch = (int)p->epoch + 1,
                         .steps = p->batch,
                         .lr = p->lr,
                         .train_loss = p->loss_sum / (double)p->examples,
                         .train_accuracy = (double)p->right / (double)p->examples,
                         .test_loss = NAN,
                         .test_accuracy = NAN,
                         .seconds = p->seconds,
                         .images_per_s = p->seconds > 0 ? (double)p->examples / p->seconds : 0,
                         .data_wait = p->seconds > 0 ? p->waited / p->seconds : 0,
                         .skipped = p->skipped,
                         .dev_loss = NAN,
                         .dev_accuracy = NAN};
    plumb_status status = plumb_fit_judge(f, row);
    if (!status && !f->stop) {
        f->stop = f->options.on_epoch && !f->options.on_epoch(f->options.user, row);
    }
    return status;
}

static void next_epoch(struct plumb_position *p)
{
    p->epoch++;
    p->batch = p->examples = p->right = p->skipped = 0;
    p->loss_sum = p->seconds = p->waited = 0;
}

static bool over(const struct fit *f) { return f->stop || f->early || complete(f); }

static plumb_status go(struct fit *f, const struct plumb_keeper *keeper)
{
    struct plumb_position *p = &f->t.position;
    plumb_status status = plumb_loader_seek(f->loader, p->epoch, p->batch);
    f->early = f->options.patience > 0 && p->worse >= f->options.patience; /* it had stopped already */
    while (!status && !over(f)) {
        status = run_batch(f);
        bool whole = p->batch == f->batches;
        if (!status && whole) {
            status = write_row(f);
            next_epoch(p);
        }
        if (!status && whole && p->best_epoch == p->epoch && keeper->better) {
            status = keeper->better(keeper->user, &f->t);
        }
        if (!status && keeper->after) {
            status = keeper->after(keeper->user, &f->t, over(f));
        }
    }
    return status;
}

plumb_status plumb_fit_kept(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                            const plumb_fit_options *options, plumb_epoch *history, int *done,
                            const struct plumb_keeper *keeper)
{
    struct fit f = {.model = model, .t.state = state, .train = train};
    int rows = 0;
    if (done) {
        *done = 0;
    }
    plumb_status status = plumb_model_check(model, state, train, "training");
    if (status) {
        return status;
    }
    status = plumb_fit_read(&f, options);
    struct plumb_keeper own;
    if (!status && f.options.checkpoints) {
        status = plumb_checkpoint_keeper(f.options.checkpoints, &own) ? PLUMB_OK : PLUMB_BAD_INPUT;
        keeper = &own;
    }
    if (!status) {
        status = plumb_fit_prepare(&f);
    }
    if (!status && keeper->begin) {
        status = keeper->begin(keeper->user, &f.t);
    }
    if (!status) {
        status = go(&f, keeper);
        rows = (int)f.t.position.epoch;
    }
    if (!status && f.t.position.batch > 0) { /* stopped within an epoch, or at so many steps */
        status = write_row(&f);
        rows += !status;
    }
    if (!status) {
        status = plumb_fit_settle(&f);
    }
    if (history && rows > 0) {
        memcpy(history, f.t.history, (size_t)rows * sizeof(*history));
    }
    if (done) {
        *done = rows;
    }
    plumb_fit_release(&f);
    return status;
}

plumb_status plumb_fit(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                       const plumb_fit_options *options, plumb_epoch *history, int *done)
{
    return plumb_fit_kept(model, state, train, options, history, done, &(struct plumb_keeper){0});
}
