/* After an epoch: what the sets say, whether it is the best so far, and whether there is any point in going on.
 *
 * Decided here:
 * - Where averages of the weights are kept they are what is tested, kept as the best and left at the end; training itself
 *   goes on with its own weights.
 * - The best weights lie in a second state. They are all that is not an optimiser's, running statistics too.
 * - Nothing is better than not a number, and not a number is better than nothing. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "train/fit.h"

static const struct measure {
    const char *name;
    size_t at; /* in plumb_epoch */
    bool rises;
} measures[] = {{"dev_loss", offsetof(plumb_epoch, dev_loss), false},
                {"dev_accuracy", offsetof(plumb_epoch, dev_accuracy), true},
                {"train_loss", offsetof(plumb_epoch, train_loss), false},
                {"train_accuracy", offsetof(plumb_epoch, train_accuracy), true}};

static const struct measure *find_measure(const char *name)
{
    for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
        if (strcmp(measures[i].name, name) == 0) {
            return &measures[i];
        }
    }
    return NULL;
}

bool plumb_fit_monitors(const char *name) { return find_measure(name) != NULL; }

/* ---- weights from one state to another ---- */

static plumb_status copy_value(plumb_state *to, const char *name, const plumb_state *from, const char *source)
{
    plumb_context *c = plumb_handle_context(to);
    plumb_shape shape = plumb_state_shape(from, source);
    size_t bytes = plumb_dtype_size(plumb_state_dtype(from, source)) * (size_t)plumb_shape_count(&shape);
    void *data = plumb_alloc(c, bytes + 1);
    plumb_status status = data ? plumb_state_get(from, source, data, bytes) : PLUMB_FAILED;
    status = status ? status : plumb_state_set(to, name, data, bytes);
    plumb_free(c, data);
    return status;
}

static plumb_status copy_weights(plumb_state *to, const plumb_state *from)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < plumb_state_count(from); i++) {
        const char *name = plumb_state_name(from, i);
        status = strchr(name, ':') ? PLUMB_OK : copy_value(to, name, from, name);
    }
    return status;
}

static bool has_average(const struct fit *f)
{
    return f->optimizer.average != 0 && f->t.position.steps_before + f->t.position.step > 0;
}

/* The averages in the place of the parameters; the averages stay as they are. */
static plumb_status take_averages(struct fit *f)
{
    char prefix[96];
    int length = snprintf(prefix, sizeof(prefix), "%s/average:", f->name);
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < plumb_state_count(f->t.state); i++) {
        const char *name = plumb_state_name(f->t.state, i);
        if (strncmp(name, prefix, (size_t)length) == 0) {
            status = copy_value(f->t.state, name + length, f->t.state, name);
        }
    }
    return status;
}

plumb_status plumb_fit_settle(struct fit *f)
{
    if (f->t.best && !f->options.keep_last) {
        return copy_weights(f->t.state, f->t.best);
    }
    return has_average(f) ? take_averages(f) : PLUMB_OK;
}

/* ---- judging an epoch ---- */

static plumb_status keep_best(struct fit *f)
{
    if (f->t.best) {
        return copy_weights(f->t.best, f->t.state);
    }
    f->t.best = plumb_state_clone(f->t.state);
    return f->t.best ? PLUMB_OK : plumb_last_status(f->t.context);
}

static plumb_status consider(struct fit *f, plumb_epoch *row)
{
    struct plumb_position *p = &f->t.position;
    const struct measure *m = find_measure(f->options.monitor);
    if (row->epoch % f->options.check_every != 0 && row->epoch != f->t.room) {
        return PLUMB_OK;
    }
    double value;
    memcpy(&value, (const char *)row + m->at, sizeof(value));
    double gain = m->rises ? value - p->best : p->best - value;
    row->better = p->best_epoch == 0 ? !isnan(value) : gain > f->options.min_change;
    if (!row->better) {
        p->worse++;
        f->early = f->options.patience > 0 && p->worse >= f->options.patience;
        return PLUMB_OK;
    }
    p->best = value;
    p->best_epoch = row->epoch;
    p->worse = 0;
    return keep_best(f);
}

static plumb_status test(struct plumb_evaluator *evaluator, double *loss, double *accuracy)
{
    plumb_evaluation e = {0};
    plumb_status status = plumb_evaluator_run(evaluator, &e);
    *loss = e.loss;
    *accuracy = e.accuracy;
    return status;
}

plumb_status plumb_fit_judge(struct fit *f, plumb_epoch *row)
{
    bool averaged = has_average(f);
    double before = plumb_seconds();
    plumb_status status = averaged ? plumb_swap_average(f->t.state, f->name) : PLUMB_OK;
    if (status) {
        return status;
    }
    if (f->options.dev) {
        status = test(&f->dev, &row->dev_loss, &row->dev_accuracy);
    }
    if (!status && f->options.test) {
        status = test(&f->test, &row->test_loss, &row->test_accuracy);
    }
    row->test_seconds = plumb_seconds() - before;
    if (!status && f->options.monitor) {
        status = consider(f, row);
    }
    plumb_status back = averaged ? plumb_swap_average(f->t.state, f->name) : PLUMB_OK;
    return status ? status : back;
}
