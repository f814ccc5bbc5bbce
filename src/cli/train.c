/* train: a model, a data set, a recipe (train_options.c); a table while it runs and a folder of results afterwards. The demo
 * (scripts/demo) adds decays and dropout, which take LeNet-5 past 90 % on Fashion-MNIST. */
#include <signal.h>
#include <unistd.h>

#include "cli/train.h"
#include "train/train.h"

/* ---- Ctrl-C: once finishes the step and saves, twice leaves at once ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    if (interrupted) {
        _exit(128 + number);
    }
    interrupted = number;
}

static void watch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- while it runs ---- */

static void print_header(bool dev)
{
    printf("%5s  %9s  %10s  %9s  %9s  %8s  %8s  %8s  %6s\n", "epoch", "rate", "train loss", "train acc",
           dev ? "dev loss" : "test loss", dev ? "dev acc" : "test acc", "images/s", "seconds", "wait");
}

/* A star: the best so far of what is monitored. */
static void print_epoch(const struct train_options *o, const plumb_epoch *e)
{
    bool dev = o->set.has_dev;
    printf("%5d  %9.3g  %10.4f  %9.4f  %9.4f  %8.4f  %8.0f  %8.1f  %5.1f%%%s\n", e->epoch, e->lr, e->train_loss,
           e->train_accuracy, dev ? e->dev_loss : e->test_loss, dev ? e->dev_accuracy : e->test_accuracy,
           e->images_per_s, e->seconds, 100 * e->data_wait, e->better ? " *" : "");
}

static void print_epoch_json(plumb_context *context, const plumb_epoch *epoch)
{
    struct plumb_text line = {.context = context};
    plumb_epoch_json(&line, epoch);
    char *text = plumb_text_take(&line);
    if (text) {
        fputs(text, stdout);
    }
    plumb_free(context, text);
}

static bool on_step(void *user, const plumb_progress *progress)
{
    (void)user;
    progress_show(progress);
    return !interrupted;
}

static bool on_epoch(void *user, const plumb_epoch *epoch)
{
    const struct train_run *r = user;
    progress_clear();
    if (r->o->common.json) {
        print_epoch_json(r->context, epoch);
    } else {
        print_epoch(r->o, epoch);
    }
    if (r->o->out && cli_log_epoch(r->context, r->o->out, epoch) != PLUMB_OK) {
        return false;
    }
    return !cli_output_lost(); /* nobody listens: stop, but keep what was reached */
}

/* ---- afterwards ---- */

/* An early stop leaves epochs half done; the last test figures always come from the weights as they are now. */
static plumb_status evaluate_last(struct train_run *r)
{
    int64_t count = plumb_dataset_count(r->test);
    size_t classes = (size_t)r->model.classes;
    r->test_result.confusion = plumb_alloc(r->context, classes * classes * sizeof(int64_t));
    r->test_result.predicted = plumb_alloc(r->context, (size_t)count * sizeof(int32_t));
    r->test_result.probabilities = plumb_alloc(r->context, (size_t)count * classes * sizeof(float));
    if (!r->test_result.confusion || !r->test_result.predicted || !r->test_result.probabilities) {
        return PLUMB_FAILED;
    }
    r->test_result.precision = cli_precision(r->o->precision);
    return plumb_evaluate(&r->model, r->state, r->test, 0, &r->test_result);
}

/* What the files of weights say of themselves: key, value, ..., NULL. */
struct description {
    char classes[16], epochs[16], seed[32], version[32], input[72];
    const char *pairs[17];
};

static void describe(const struct train_run *r, struct description *d)
{
    const int64_t *size = r->model.input_shape.dim;
    snprintf(d->classes, sizeof(d->classes), "%d", r->model.classes);
    snprintf(d->epochs, sizeof(d->epochs), "%d", r->done);
    snprintf(d->seed, sizeof(d->seed), "%lld", (long long)r->o->common.seed);
    snprintf(d->input, sizeof(d->input), "%lld,%lld,%lld", (long long)size[0], (long long)size[1], (long long)size[2]);
    snprintf(d->version, sizeof(d->version), "plumb %s", plumb_version());
    const char *const pairs[] = {"model",   r->o->model,   "classes", d->classes, "data", r->o->set.data,
                                 "scaling", r->o->scaling, "seed",    d->seed,    "input", d->input,
                                 "writer",  d->version,    r->done ? "epochs" : NULL, d->epochs, NULL};
    memcpy(d->pairs, pairs, sizeof(pairs));
}

/* Takes the folder, before anything is computed. */
static plumb_status open_folder(struct train_run *r)
{
    const struct train_options *o = r->o;
    struct description d;
    describe(r, &d);
    const plumb_checkpoint_options options = {.size = sizeof(options),
                                              .every = o->save_every * o->accumulate,
                                              .keep = (int)o->keep,
                                              .resume = o->resume,
                                              .configuration = (const char *const *)o->settings,
                                              .metadata = d.pairs};
    r->checkpoints = plumb_checkpoints_open(r->context, o->out, &options);
    return r->checkpoints ? PLUMB_OK : plumb_last_status(r->context);
}

static plumb_status write_weights(const struct train_run *r, const char *path)
{
    struct description d;
    describe(r, &d);
    return plumb_state_save_weights(r->state, path, d.pairs);
}

static plumb_status write_results(const struct train_run *r)
{
    static const char *const names[] = {"final.safetensors", "history.csv", "curves.svg", "confusion.svg",
                                        "mistakes.png"};
    char path[4200], title[160];
    plumb_status status = PLUMB_OK;
    snprintf(title, sizeof(title), "%.40s on %.60s: test accuracy %.4f", r->o->model, r->o->set.data,
             r->test_result.accuracy);
    for (int i = 0; !status && i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", r->o->out, names[i]);
        switch (i) {
        case 0: status = write_weights(r, path); break;
        case 1: status = plumb_write_history_csv(r->context, path, r->history, r->done); break;
        case 2: status = plumb_write_curves_svg(r->context, path, title, r->history, r->done); break;
        case 3: status = plumb_write_confusion_svg(r->context, path, title, r->test, &r->test_result); break;
        default:
            status = plumb_write_mistakes_png(r->context, path, r->o->model, r->test, &r->test_result, 6, 4);
        }
    }
    const struct finished_run finished = {.folder = r->o->out,
                                          .title = title,
                                          .settings = (const char *const *)r->o->shown,
                                          .model = &r->model,
                                          .state = r->state,
                                          .train = r->train,
                                          .test = r->test,
                                          .history = r->history,
                                          .epochs = r->done,
                                          .evaluation = &r->test_result,
                                          .optimizer = &r->recipe.optimizer,
                                          .batch = r->recipe.fit.batch};
    return status ? status : cli_write_run(r->context, &finished);
}

static void print_last(const struct train_run *r)
{
    double images = 0, seconds = 0;
    for (int i = 0; i < r->done; i++) {
        images += r->history[i].images_per_s * r->history[i].seconds;
        seconds += r->history[i].seconds;
    }
    double rate = seconds > 0 ? images / seconds : 0;
    if (r->o->common.json) {
        printf("{\"done\":true,\"model\":");
        json_text(stdout, r->o->model);
        printf(",\"epochs\":%d,\"test_accuracy\":", r->done);
        json_number(stdout, r->test_result.accuracy);
        printf(",\"test_loss\":");
        json_number(stdout, r->test_result.loss);
        printf(",\"train_images_per_s\":");
        json_number(stdout, rate);
        printf(",\"peak_memory_bytes\":%lld,\"threads\":%d,\"seconds\":",
               (long long)plumb_memory_peak(r->context), plumb_threads(r->context));
        json_number(stdout, seconds);
        printf(",\"out\":");
        if (r->o->out) {
            json_text(stdout, r->o->out);
        } else {
            printf("null");
        }
        printf("}\n");
        return;
    }
    char memory[32];
    print_bytes(memory, plumb_memory_peak(r->context));
    printf("\ntest accuracy %.4f, test loss %.4f, %.0f images/s in training, %s of memory at most\n",
           r->test_result.accuracy, r->test_result.loss, rate, memory);
    if (r->o->out) {
        printf("%s: report.html, final.safetensors, history.csv and .jsonl, pictures, TensorBoard events\n", r->o->out);
    }
}

static plumb_status load_data(struct train_run *r)
{
    return cli_load_data(r->context, &r->o->set, (int)r->o->classes, &r->train, &r->dev, &r->test);
}

static plumb_status build(struct train_run *r)
{
    const plumb_model_options options = {.size = sizeof(options),
                                         .classes = plumb_dataset_classes(r->train),
                                         .input_shape = plumb_dataset_shape(r->train),
                                         .drop = r->o->drop};
    plumb_status status = plumb_model_build(r->context, r->o->model, &options, &r->model);
    if (status) {
        return status;
    }
    r->state = plumb_state_new(r->model.graph);
    if (!r->state) {
        return plumb_last_status(r->context);
    }
    return r->o->weights ? plumb_state_load(r->state, r->o->weights, true) : PLUMB_OK;
}

/* The recipe as far as it depends on model and data. */
static plumb_status settle(struct train_run *r)
{
    plumb_fit_options *fit = &r->recipe.fit;
    plumb_status status = train_recipe_make(r->context, r->o, &r->recipe);
    fit->dev = r->dev;
    fit->test = r->dev ? NULL : r->test;
    fit->on_step = on_step;
    fit->on_epoch = on_epoch;
    fit->checkpoints = r->o->save_every || r->o->resume ? r->checkpoints : NULL;
    fit->user = r;
    if (!status && r->o->memory > 0) {
        status = plumb_fit_largest_batch(&r->model, r->state, r->train, fit, r->o->memory, 1048576, &fit->batch);
    }
    size_t rows = (size_t)plumb_fit_epochs(r->train, fit) + 1;
    r->history = status ? NULL : plumb_zalloc(r->context, rows * sizeof(plumb_epoch));
    return status || r->history ? status : PLUMB_FAILED;
}

static plumb_status fit(struct train_run *r)
{
    const struct train_options *o = r->o;
    if (!o->common.json) {
        printf("%s on %s: %lld examples in batches of %lld", o->model, o->set.data,
               (long long)plumb_dataset_count(r->train), (long long)r->recipe.fit.batch);
        if (o->accumulate > 1) {
            printf(", %lld to a step", (long long)o->accumulate);
        }
        printf(", %s, %s rate, %s, seed %lld, %d threads\n\n", o->optimizer, o->schedule, o->precision,
               (long long)o->common.seed, plumb_threads(r->context));
        print_header(o->set.has_dev);
        fflush(stdout);
    }
    plumb_status status = plumb_fit(&r->model, r->state, r->train, &r->recipe.fit, r->history, &r->done);
    progress_clear();
    return status ? status : plumb_last_status(r->context); /* what keeping an epoch's figures met */
}

static void release(struct train_run *r)
{
    plumb_free(r->context, r->history);
    plumb_free(r->context, r->test_result.confusion);
    plumb_free(r->context, r->test_result.predicted);
    plumb_free(r->context, r->test_result.probabilities);
    plumb_close(r->context);
}

static plumb_status train(struct train_run *r)
{
    watch_signals();
    plumb_status status = fit(r);
    if (!status) {
        status = evaluate_last(r);
    }
    if (!status && r->o->out) {
        status = write_results(r);
    }
    if (!status) {
        print_last(r);
    }
    return status;
}

static plumb_status run(struct train_run *r)
{
    plumb_status status = load_data(r);
    if (!status) {
        status = build(r);
    }
    if (!status && r->o->out) {
        status = open_folder(r);
    }
    if (!status) {
        status = settle(r);
    }
    if (!status) {
        status = r->o->find_lr ? train_find_rate(r) : train(r);
    }
    return status;
}

int command_train(int argc, char **argv)
{
    struct train_options o;
    int code = 0;
    if (!train_options_read(&o, argc, argv, &code)) {
        return code;
    }
    struct train_run r = {.o = &o, .context = cli_open(&o.common, &code)};
    if (!r.context) {
        train_options_free(&o);
        return code;
    }
    plumb_status status = run(&r);
    code = status ? cli_fail("train", r.context, status) : interrupted ? 128 + (int)interrupted : 0;
    release(&r);
    train_options_free(&o);
    return code;
}
