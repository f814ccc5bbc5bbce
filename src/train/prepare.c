/* Before the first batch: the options become a step's program, a loader, evaluators, and a hash that says what the course of
 * the training depends on.
 *
 * Decided here:
 * - What is frozen and a loss of smoothed or mixed labels are changes to a clone of the model's graph, so the model is left as it was.
 * - The length is a number of batches: of whole epochs, or of as many as the steps take. A batch that a loss scale skips
 *   counts, so where a training ends can be told beforehand.
 * - The hash leaves out the length, so that a training can be continued beyond its end, unless the rate depends on it. */
#include <math.h>
#include <stdio.h>

#include "graph/graph.h"
#include "optim/rules.h"
#include "train/fit.h"

enum { EPOCHS_MOST = 10000000 };

plumb_status plumb_fit_scaling(const plumb_model *model, plumb_state *state, const plumb_dataset *train,
                               plumb_scaling rule)
{
    static const char *const names[2] = {"scaling.shift", "scaling.scale"};
    if (!plumb_state_has(state, names[0]) || !plumb_state_has(state, names[1])) {
        return PLUMB_OK;
    }
    plumb_context *context = plumb_graph_context(model->graph);
    plumb_shape shape = plumb_state_shape(state, names[0]);
    plumb_dtype dtype = plumb_state_dtype(state, names[0]);
    int64_t channels = plumb_shape_count(&shape);
    if (channels < 1 || channels > 1 << 20) { /* the columns of a table are channels */
        return plumb_fail(context, PLUMB_BAD_INPUT, "scaling: a layer of %lld channels", (long long)channels);
    }
    double *value = plumb_alloc(context, (size_t)channels * 2 * sizeof(double));
    void *stored = plumb_alloc(context, (size_t)channels * sizeof(double));
    plumb_status status =
        value && stored ? plumb_dataset_scaling(train, rule, (int)channels, value, value + channels) : PLUMB_FAILED;
    for (int i = 0; !status && i < 2; i++) {
        for (int64_t c = 0; c < channels; c++) {
            plumb_put(stored, dtype, c, value[i * channels + c]);
        }
        status = plumb_state_set(state, names[i], stored, (size_t)channels * plumb_dtype_size(dtype));
    }
    plumb_free(context, stored);
    plumb_free(context, value);
    return status;
}

/* ---- what was asked for ---- */

int64_t plumb_fit_batch(const struct fit *f)
{
    int64_t count = plumb_dataset_count(f->train), batch = f->options.batch ? f->options.batch : 64;
    return batch < count ? batch : count;
}

static plumb_status check_numbers(const struct fit *f)
{
    const plumb_fit_options *o = &f->options;
    plumb_context *c = f->t.context;
    if (o->epochs < 0 || o->batch < 0 || o->steps < 0) {
        return plumb_fail(c, PLUMB_BAD_INPUT, "training: %d epochs or %lld steps with batches of %lld", o->epochs,
                          (long long)o->steps, (long long)o->batch);
    }
    if (o->accumulate < 0) {
        return plumb_fail(c, PLUMB_BAD_INPUT, "training: steps of %lld batches", (long long)o->accumulate);
    }
    if (!(o->label_smoothing >= 0 && o->label_smoothing < 1)) {
        return plumb_fail(c, PLUMB_BAD_INPUT, "training: label smoothing %g is outside [0, 1)", o->label_smoothing);
    }
    if (o->patience < 0 || o->check_every < 0 || !(o->min_change >= 0)) {
        return plumb_fail(c, PLUMB_BAD_INPUT, "training: a patience of %d, checks every %d epochs, a change of %g",
                          o->patience, o->check_every, o->min_change);
    }
    if (o->monitor && !plumb_fit_monitors(o->monitor)) {
        return plumb_fail(c, PLUMB_BAD_INPUT,
                          "training: monitor '%s' is not dev_loss, dev_accuracy, train_loss or train_accuracy",
                          o->monitor);
    }
    if (o->monitor && strncmp(o->monitor, "dev", 3) == 0 && !o->dev) {
        return plumb_fail(c, PLUMB_BAD_INPUT, "training: %s is monitored, but there is no dev set", o->monitor);
    }
    return PLUMB_OK;
}

/* Whole epochs, or those that hold so many steps. */
static void read_length(struct fit *f)
{
    int64_t batch = plumb_fit_batch(f), count = plumb_dataset_count(f->train);
    int64_t each = f->options.accumulate;
    f->batches = count / batch + (count % batch != 0);
    f->steps = f->batches / each + (f->batches % each != 0);
    f->end_epoch = f->options.epochs ? f->options.epochs : 10;
    f->end_batch = 0;
    if (f->options.steps > 0) {
        f->end_epoch = f->options.steps / f->steps;
        f->end_batch = f->options.steps % f->steps * each;
    }
    f->t.room = (int)(f->end_epoch + (f->end_batch > 0));
}

static void read_schedule(struct fit *f)
{
    const plumb_schedule *given = f->options.schedule;
    f->schedule = (plumb_schedule){0};
    if (given) { /* the caller's struct may be of another size than ours */
        size_t all = sizeof(f->schedule);
        memcpy(&f->schedule, given, given->size && given->size < all ? given->size : all);
    }
    f->schedule.size = sizeof(f->schedule);
    if (f->schedule.epochs == 0) {
        f->schedule.epochs = (double)f->end_epoch + (double)f->end_batch / (double)f->batches;
    }
    const char *rule = f->schedule.rule ? f->schedule.rule : "constant";
    f->smooth = strcmp(rule, "cosine") == 0 || strcmp(rule, "one_cycle") == 0 || f->schedule.warmup > 0;
}

static void read_optimizer(struct fit *f)
{
    const plumb_optimizer *given = f->options.optimizer;
    f->optimizer = (plumb_optimizer){0};
    if (given) {
        size_t all = sizeof(f->optimizer);
        memcpy(&f->optimizer, given, given->size && given->size < all ? given->size : all);
    }
    f->optimizer.size = sizeof(f->optimizer);
    f->optimizer.skip_bad_steps = true;
    f->optimizer.precision = f->options.precision ? f->options.precision : f->optimizer.precision;
    f->optimizer.accumulate = f->options.accumulate > 1 ? f->options.accumulate : 0;
    f->name = f->optimizer.name ? f->optimizer.name : f->optimizer.rule ? f->optimizer.rule : "adam";
}

static void read_augment(struct fit *f)
{
    const plumb_augment *given = f->options.augment;
    if (given) {
        size_t all = sizeof(f->augment);
        memcpy(&f->augment, given, given->size && given->size < all ? given->size : all);
    }
    f->augment.size = sizeof(f->augment);
}

plumb_status plumb_fit_read(struct fit *f, const plumb_fit_options *options)
{
    plumb_fit_options *o = &f->options;
    *o = (plumb_fit_options){.size = sizeof(*o)};
    if (options) { /* the caller's struct may be of another size than ours */
        memcpy(o, options, options->size && options->size < sizeof(*o) ? options->size : sizeof(*o));
    }
    f->t.context = plumb_graph_context(f->model->graph);
    o->monitor = o->monitor ? o->monitor : o->patience ? "dev_loss" : NULL;
    plumb_status status = check_numbers(f);
    if (status) {
        return status;
    }
    o->accumulate = o->accumulate ? o->accumulate : 1;
    o->check_every = o->check_every ? o->check_every : 1;
    o->seed = o->seed ? o->seed : plumb_seed(f->t.context);
    read_length(f);
    if (f->end_epoch >= EPOCHS_MOST) {
        return plumb_fail(f->t.context, PLUMB_BAD_INPUT, "training: %lld epochs, at most %d are kept a history of",
                          (long long)f->end_epoch, EPOCHS_MOST);
    }
    read_schedule(f);
    read_optimizer(f);
    read_augment(f);
    return PLUMB_OK;
}

int plumb_fit_epochs(const plumb_dataset *train, const plumb_fit_options *options)
{
    struct fit f = {.train = (plumb_dataset *)(uintptr_t)train};
    if (options) {
        memcpy(&f.options, options,
               options->size && options->size < sizeof(f.options) ? options->size : sizeof(f.options));
    }
    f.options.accumulate = f.options.accumulate > 0 ? f.options.accumulate : 1;
    bool sensible = plumb_dataset_count(train) > 0 && f.options.batch >= 0 && f.options.epochs >= 0;
    if (sensible) {
        read_length(&f);
    }
    return f.t.room;
}

/* ---- the hash ---- */

static void mix(uint64_t *hash, const void *data, size_t bytes) /* FNV-1a */
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) {
        *hash = (*hash ^ p[i]) * 0x100000001b3u;
    }
}

static void mix_number(uint64_t *hash, double value) { mix(hash, &value, sizeof(value)); }

static void mix_text(uint64_t *hash, const char *text) { mix(hash, text ? text : "", text ? strlen(text) + 1 : 1); }

static uint64_t hash_options(const struct fit *f)
{
    const plumb_fit_options *o = &f->options;
    const plumb_optimizer *p = &f->optimizer;
    const plumb_schedule *s = &f->schedule;
    const double numbers[] = {
        (double)plumb_fit_batch(f), (double)plumb_dataset_count(f->train), (double)o->accumulate, o->label_smoothing,
        p->lr, p->momentum, p->classic, p->beta1, p->beta2, p->epsilon, p->weight_decay, p->l2, p->l1, p->decay_all,
        p->clip_norm, p->precision, p->loss_scale, (double)p->loss_scale_every, p->per_example, p->average, p->lr_others,
        s->lr, s->lr_end, s->decay, s->k, s->every, s->warmup, f->smooth ? s->epochs : 0};
    const plumb_augment *a = &f->augment;
    const double changes[] = {a->mirror,   a->crop,          a->resized_crop, a->rotate,     a->shear, a->elastic,
                              a->elastic_sigma, a->brightness, a->contrast,   a->saturation, a->hue,   a->erase,
                              a->mixup,    a->cutmix,        a->fill};
    uint64_t hash = 0xcbf29ce484222325u;
    mix(&hash, numbers, sizeof(numbers));
    mix(&hash, changes, sizeof(changes));
    for (int i = 0; i < s->n_values; i++) {
        mix_number(&hash, s->values[i]);
    }
    mix_text(&hash, f->name);
    mix_text(&hash, p->rule);
    mix_text(&hash, s->rule);
    mix_text(&hash, o->freeze);
    return hash;
}

/* ---- what is trained ---- */

/* Whether the pattern of `length` characters fits the name: * stands for any characters, ? for one. */
static bool fits(const char *pattern, size_t length, const char *name)
{
    const char *end = pattern + length, *star = NULL, *from = NULL;
    while (*name) {
        if (pattern < end && *pattern == '*') {
            star = ++pattern;
            from = name;
        } else if (pattern < end && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++from;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*') {
        pattern++;
    }
    return pattern == end;
}

static plumb_status freeze(struct fit *f)
{
    plumb_context *c = f->t.context;
    int n = plumb_parameters(f->graph, NULL, 0);
    plumb_t *id = plumb_alloc(c, (size_t)(n + 1) * sizeof(*id));
    if (!id) {
        return PLUMB_FAILED;
    }
    plumb_parameters(f->graph, id, n);
    plumb_status status = PLUMB_OK;
    for (const char *at = f->options.freeze; !status && *at;) {
        size_t length = strcspn(at, ","), back = *at == '!';
        int found = 0;
        for (int i = 0; i < n; i++) {
            if (fits(at + back, length - back, plumb_name_of(f->graph, id[i]))) {
                plumb_set_frozen(f->graph, id[i], !back);
                found++;
            }
        }
        if (!found) {
            status = plumb_fail(c, PLUMB_BAD_INPUT, "training: freeze '%.*s': no parameter is called so",
                                (int)(length < 100 ? length : 100), at);
        }
        at += length;
        at += *at == ',';
    }
    plumb_free(c, id);
    return status;
}

/* Programs know the ids of the graph that theirs was cloned from, and clones count on from there. */
static plumb_t known(const struct fit *f, plumb_t of_clone) { return (f->model->loss >> 32 << 32) | (uint32_t)of_clone; }

static bool mixes(const struct fit *f) { return f->augment.mixup > 0 || f->augment.cutmix > 0; }

/* Cross-entropy with smoothed labels; of mixed examples, share * that of the label + (1 - share) * that of the other. */
static void change_loss(struct fit *f)
{
    plumb_graph *g = f->graph;
    plumb_t logits = plumb_id_in(g, f->model->logits), label = plumb_id_in(g, f->model->label);
    plumb_loss_options options = {.size = sizeof(options), .label_smoothing = f->options.label_smoothing};
    plumb_t loss;
    if (mixes(f)) {
        plumb_t second = plumb_input(g, "second_label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
        plumb_t share = plumb_input(g, "share", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH));
        options.reduce = PLUMB_REDUCE_NONE;
        plumb_t one = plumb_softmax_cross_entropy(g, logits, label, &options);
        plumb_t other = plumb_softmax_cross_entropy(g, logits, second, &options);
        loss = plumb_add(g, other, plumb_mul(g, share, plumb_sub(g, one, other)));
        loss = plumb_mean(g, loss, NULL, 0, false);
        f->second_label = known(f, second);
        f->share = known(f, share);
    } else {
        loss = plumb_softmax_cross_entropy(g, logits, label, &options);
    }
    f->loss = known(f, loss); /* if it could not be made, compiling says why */
}

static plumb_status choose_graph(struct fit *f)
{
    f->graph = f->model->graph;
    f->loss = f->model->loss;
    bool changes_loss = f->options.label_smoothing > 0 || mixes(f);
    if (!f->options.freeze && !changes_loss) {
        return PLUMB_OK;
    }
    f->graph = plumb_graph_clone_public(f->model->graph);
    plumb_status status = f->graph ? PLUMB_OK : plumb_last_status(f->t.context);
    if (!status && f->options.freeze) {
        status = freeze(f);
    }
    if (!status && changes_loss) {
        change_loss(f);
    }
    return status;
}

plumb_status plumb_fit_scale(const struct fit *f, double *scale)
{
    char entry[96];
    snprintf(entry, sizeof(entry), "%s/loss_scale:", f->name);
    return plumb_state_get_number(f->t.state, entry, scale);
}

plumb_status plumb_fit_compile(struct fit *f, plumb_state *state)
{
    f->t.state = state;
    plumb_status status = choose_graph(f);
    if (status) {
        return status;
    }
    f->program = plumb_compile_training(f->graph, state, f->loss, &f->optimizer, &f->model->logits, 1);
    if (!f->program) {
        return plumb_last_status(f->t.context);
    }
    struct plumb_recipe recipe; /* the program was compiled from it: it makes sense */
    plumb_recipe_read(f->graph, &f->optimizer, &recipe);
    f->dynamic = recipe.loss_scale == PLUMB_DYNAMIC_LOSS_SCALE;
    f->growth = recipe.loss_scale_every;
    if (f->schedule.lr == 0) { /* a rate that nobody gave is the rule's own */
        f->schedule.lr = recipe.lr;
    }
    if (isnan(plumb_schedule_lr(&f->schedule, 0, 0))) {
        return plumb_fail(f->t.context, PLUMB_BAD_INPUT, "training: the schedule '%s' is not known or gives no rate",
                          f->schedule.rule ? f->schedule.rule : "constant");
    }
    int64_t batch = plumb_fit_batch(f);
    f->loader = plumb_loader_new(f->train, &(plumb_loader_options){.size = sizeof(plumb_loader_options),
                                                                   .batch = batch,
                                                                   .shuffle = true,
                                                                   .seed = f->options.seed,
                                                                   .workers = f->options.workers,
                                                                   .augment = f->options.augment ? &f->augment : NULL,
                                                                   .second_label = f->second_label,
                                                                   .share = f->share});
    f->logits = plumb_alloc(f->t.context, (size_t)(batch * f->model->classes) * sizeof(float));
    return f->loader && f->logits ? PLUMB_OK : plumb_last_status(f->t.context);
}

static plumb_status open_evaluator(struct fit *f, plumb_dataset *set, struct plumb_evaluator *evaluator)
{
    int64_t count = set ? plumb_dataset_count(set) : 0;
    return set ? plumb_evaluator_open(f->model, f->t.state, set, count < 250 ? count : 250, f->optimizer.precision,
                                      evaluator)
               : PLUMB_OK;
}

plumb_status plumb_fit_prepare(struct fit *f)
{
    const plumb_fit_options *o = &f->options;
    struct plumb_position *p = &f->t.position;
    plumb_status status = plumb_fit_compile(f, f->t.state);
    if (!status && !o->keep_scaling) {
        status = plumb_fit_scaling(f->model, f->t.state, f->train, o->scaling);
    }
    f->t.train = f->train;
    f->t.dev = o->dev;
    f->t.program = f->program;
    f->t.batches = f->batches;
    f->t.examples = plumb_fit_batch(f);
    p->seed = o->seed;
    p->options = hash_options(f);
    if (!status) {
        status = plumb_get_steps(f->t.state, f->name, &p->steps_before);
    }
    if (!status) { /* another training may have left a step half done */
        status = plumb_clear_gradients(f->t.state, f->name);
    }
    if (!status && f->dynamic) {
        status = plumb_fit_scale(f, &p->loss_scale);
    }
    if (!status) {
        status = open_evaluator(f, o->dev, &f->dev);
    }
    if (!status) {
        status = open_evaluator(f, o->test, &f->test);
    }
    f->t.history = status ? NULL : plumb_zalloc(f->t.context, (size_t)(f->t.room + 1) * sizeof(plumb_epoch));
    return status || f->t.history ? status : PLUMB_FAILED;
}

void plumb_fit_release(struct fit *f)
{
    plumb_evaluator_close(&f->dev);
    plumb_evaluator_close(&f->test);
    plumb_loader_free(f->loader);
    plumb_program_free(f->program);
    if (f->graph != f->model->graph) {
        plumb_graph_free(f->graph);
    }
    plumb_state_free(f->t.best);
    plumb_free(f->t.context, f->t.history);
    plumb_free(f->t.context, f->logits);
}
