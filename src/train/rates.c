/* Two questions before a training: which rate, and which batch.
 *
 * Decided here: the search for a rate runs on a clone of the state, so it leaves nothing behind. The loss is averaged with
 * beta 0.9 and its bias corrected; the slope is taken over neighbours of that average, and never where it is already past its
 * least. A batch is judged by the plan of its step alone: nothing is allocated for it. */
#include <math.h>
#include <stdio.h>

#include "io/number.h"
#include "io/svg.h"
#include "train/fit.h"

#define LOSS_COLOUR "#9ecae1"
#define SMOOTH_COLOUR "#1f77b4"

enum { SEARCH_STEPS = 100, SLOPE_REACH = 2 };

static plumb_status read_search(plumb_context *context, const plumb_rate_search *given, plumb_rate_search *s)
{
    *s = (plumb_rate_search){0};
    memcpy(s, given, given->size && given->size < sizeof(*s) ? given->size : sizeof(*s));
    s->low = s->low != 0 ? s->low : 1e-7;
    s->high = s->high != 0 ? s->high : 10;
    s->steps = s->steps ? s->steps : SEARCH_STEPS;
    s->stop = s->stop != 0 ? s->stop : 4;
    if (!(s->low > 0 && s->low < s->high && s->high <= 1e6) || s->steps < 10 || s->steps > 1000000 || !(s->stop > 1)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "rate search: %d steps from %g to %g, until %g times the least loss",
                          s->steps, s->low, s->high, s->stop);
    }
    return PLUMB_OK;
}

/* One step; NaN in *loss if the batch was not fit to be applied. */
static plumb_status try_rate(struct fit *f, double lr, double *loss)
{
    double sum = 0;
    int64_t examples = 0;
    plumb_status status = plumb_set_lr(f->t.state, f->name, lr);
    for (int64_t k = 0; !status && k < f->options.accumulate; k++) {
        double value = 0;
        int64_t count = 0;
        while (count == 0) { /* 0: an epoch ended */
            count = plumb_loader_next(f->loader, f->program, f->model->input, f->model->label);
        }
        status = count < 0 ? plumb_last_status(f->t.context) : plumb_run(f->program);
        status = status ? status : plumb_fetch_number(f->program, f->loss, &value);
        sum += value * (double)count;
        examples += count;
    }
    *loss = sum / (double)examples;
    return status;
}

/* Where the average falls fastest before its least value. */
static void read_curve(plumb_rate_search *s, const double *lr, const double *smooth)
{
    int least = 0;
    double slope = 0;
    s->steepest = s->least = NAN;
    for (int i = 1; i < s->count; i++) {
        least = smooth[i] < smooth[least] ? i : least;
    }
    for (int i = SLOPE_REACH; i + SLOPE_REACH < s->count && i <= least; i++) {
        double here = (smooth[i + SLOPE_REACH] - smooth[i - SLOPE_REACH]) /
                      log(lr[i + SLOPE_REACH] / lr[i - SLOPE_REACH]);
        if (here < slope) {
            slope = here;
            s->steepest = lr[i];
        }
    }
    s->least = s->count > 0 ? lr[least] : NAN;
}

static plumb_status search(struct fit *f, plumb_rate_search *s, double *lr, double *smooth)
{
    plumb_ewa average = {.beta = 0.9};
    double least = INFINITY;
    plumb_status status = plumb_loader_seek(f->loader, 0, 0);
    while (!status && s->count < s->steps) {
        int i = s->count;
        double loss = NAN;
        lr[i] = s->low * pow(s->high / s->low, (double)i / (double)(s->steps - 1));
        status = try_rate(f, lr[i], &loss);
        if (status || !isfinite(loss)) {
            break;
        }
        smooth[i] = plumb_ewa_add(&average, loss);
        least = smooth[i] < least ? smooth[i] : least;
        if (s->loss) {
            s->loss[i] = loss;
        }
        s->count++;
        if (smooth[i] > s->stop * least) {
            break;
        }
    }
    read_curve(s, lr, smooth);
    for (int i = 0; i < s->count; i++) {
        if (s->lr) {
            s->lr[i] = lr[i];
        }
        if (s->smooth) {
            s->smooth[i] = smooth[i];
        }
    }
    return status;
}

plumb_status plumb_find_rate(const plumb_model *model, const plumb_state *state, plumb_dataset *train,
                             const plumb_fit_options *options, plumb_rate_search *given)
{
    struct fit f = {.model = model, .train = train};
    plumb_rate_search s;
    plumb_status status = plumb_model_check(model, state, train, "rate search");
    if (status) {
        return status;
    }
    status = plumb_fit_read(&f, options);
    status = status ? status : read_search(f.t.context, given, &s);
    if (status) {
        return status;
    }
    plumb_state *own = plumb_state_clone(state);
    double *lr = plumb_alloc(f.t.context, (size_t)s.steps * 2 * sizeof(double));
    status = own && lr ? plumb_fit_compile(&f, own) : plumb_last_status(f.t.context);
    if (!status && !f.options.keep_scaling) {
        status = plumb_fit_scaling(model, own, train, f.options.scaling);
    }
    s.count = 0;
    if (!status) {
        status = search(&f, &s, lr, lr + s.steps);
        given->count = s.count;
        given->steepest = s.steepest;
        given->least = s.least;
    }
    plumb_fit_release(&f);
    plumb_free(f.t.context, lr);
    plumb_state_free(own);
    return status;
}

/* ---- the greatest batch ---- */

plumb_status plumb_fit_largest_batch(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                                     const plumb_fit_options *options, int64_t limit, int64_t most, int64_t *batch)
{
    struct fit f = {.model = model, .train = train};
    plumb_status status = plumb_model_check(model, state, train, "batch size");
    status = status ? status : plumb_fit_read(&f, options);
    status = status ? status : plumb_fit_compile(&f, state);
    if (!f.t.context) {
        return status;
    }
    int64_t count = plumb_dataset_count(train), needed = 0;
    most = most < count ? most : count;
    *batch = 0;
    for (int64_t n = 1; !status && n <= most; n *= 2) {
        plumb_memory_plan plan = {0};
        status = plumb_bind(f.program, PLUMB_BATCH, n);
        status = status ? status : plumb_program_memory(f.program, &plan);
        needed = n == 1 ? plan.total : needed;
        if (!(plan.total <= limit)) {
            break;
        }
        *batch = status ? *batch : n;
    }
    if (!status && *batch == 0) {
        status = plumb_fail(f.t.context, PLUMB_BAD_INPUT,
                            "batch size: one example needs %lld bytes in training, %lld are allowed", (long long)needed,
                            (long long)limit);
    }
    plumb_fit_release(&f);
    return status;
}

/* ---- for people ---- */

static plumb_status check_search(plumb_context *context, const char *path, const plumb_rate_search *s)
{
    return s && s->lr && s->loss && s->smooth && s->count > 0
               ? PLUMB_OK
               : plumb_fail(context, PLUMB_BAD_INPUT, "%s: needs a search for a rate with its arrays", path);
}

plumb_status plumb_write_rates_csv(plumb_context *context, const char *path, const plumb_rate_search *s)
{
    plumb_status status = check_search(context, path, s);
    if (status) {
        return status;
    }
    struct plumb_text text = {.context = context};
    plumb_text_add(&text, "lr,loss,smoothed_loss\n");
    for (int i = 0; i < s->count; i++) {
        char number[3][PLUMB_NUMBER_ROOM];
        plumb_text_add(&text, "%s,%s,%s\n", plumb_general(number[0], s->lr[i], 7),
                       plumb_general(number[1], s->loss[i], 7), plumb_general(number[2], s->smooth[i], 7));
    }
    return plumb_write_text(context, path, &text);
}

plumb_status plumb_write_rates_svg(plumb_context *context, const char *path, const char *title,
                                   const plumb_rate_search *s)
{
    plumb_status status = check_search(context, path, s);
    double *x = status ? NULL : plumb_alloc(context, (size_t)s->count * sizeof(double));
    if (!x) {
        return status ? status : PLUMB_FAILED;
    }
    for (int i = 0; i < s->count; i++) {
        x[i] = log10(s->lr[i]);
    }
    const struct plumb_series lines[2] = {{"each step", LOSS_COLOUR, x, s->loss, s->count, NULL},
                                          {"averaged", SMOOTH_COLOUR, x, s->smooth, s->count, NULL}};
    char number[2][PLUMB_NUMBER_ROOM], found[160];
    struct plumb_text svg = {.context = context};
    plumb_svg_begin(&svg, 720, 440, title);
    plumb_svg_label(&svg, 22, 30, "start", 17, "#222222", title);
    plumb_svg_chart(&svg, &(struct plumb_chart){"Loss", "rate, as a power of ten", 14, 62, 690, 366, false, lines, 2});
    if (isnan(s->steepest)) {
        snprintf(found, sizeof(found), "the loss never falls");
    } else {
        snprintf(found, sizeof(found), "falls fastest at %s, least at %s", plumb_general(number[0], s->steepest, 3),
                 plumb_general(number[1], s->least, 3));
    }
    plumb_svg_label(&svg, 22, 52, "start", 13, "#555555", found);
    plumb_svg_end(&svg);
    plumb_free(context, x);
    return plumb_write_text(context, path, &svg);
}
