/* train: a model, a data set, a recipe; a table while it runs and a folder of results afterwards.
 *
 * The defaults are the plain recipe (Adam at a constant rate), so that what is not asked for does not happen. The
 * demo (scripts/demo) adds decays and dropout, which take LeNet-5 past 90 % on Fashion-MNIST. */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

struct train_options {
    struct common_options common;
    const char *model, *data, *optimizer, *schedule, *scaling, *out, *weights, *precision, *loss_scale;
    int64_t epochs, batch, classes, expect;
    double lr, weight_decay, momentum, l2, l1, clip, drop, decay, every, warmup, scale;
};

static const char *schedule_name(int index)
{
    static const char *const names[] = {"constant",   "cosine",    "inverse",   "exponential",
                                        "sqrt_epoch", "sqrt_step", "staircase", "one_cycle"};
    return index < (int)(sizeof(names) / sizeof(names[0])) ? names[index] : NULL;
}

static const char *scaling_name(int index) /* in the order of plumb_scaling */
{
    static const char *const names[] = {"standard", "unit", "symmetric", "none"};
    return index < 4 ? names[index] : NULL;
}

static const char *optimizer_name(int index)
{
    return index < plumb_optimizer_count() ? plumb_optimizer_rule(index) : NULL;
}

static plumb_scaling scaling_of(const char *name)
{
    int rule = 0;
    while (strcmp(scaling_name(rule), name) != 0) {
        rule++;
    }
    return (plumb_scaling)rule;
}

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

static void print_header(void)
{
    printf("%5s  %9s  %10s  %9s  %9s  %8s  %8s  %8s  %6s\n", "epoch", "rate", "train loss", "train acc",
           "test loss", "test acc", "images/s", "seconds", "wait");
}

static void print_epoch(const plumb_epoch *e)
{
    printf("%5d  %9.3g  %10.4f  %9.4f  %9.4f  %8.4f  %8.0f  %8.1f  %5.1f%%\n", e->epoch, e->lr, e->train_loss,
           e->train_accuracy, e->test_loss, e->test_accuracy, e->images_per_s, e->seconds,
           100 * e->data_wait);
}

static void print_epoch_json(const plumb_epoch *e)
{
    const struct {
        const char *key;
        double value;
    } pairs[] = {{"steps", (double)e->steps},
                 {"lr", e->lr},
                 {"train_loss", e->train_loss},
                 {"train_accuracy", e->train_accuracy},
                 {"test_loss", e->test_loss},
                 {"test_accuracy", e->test_accuracy},
                 {"seconds", e->seconds},
                 {"test_seconds", e->test_seconds},
                 {"train_images_per_s", e->images_per_s},
                 {"data_wait", e->data_wait},
                 {"skipped_steps", (double)e->skipped}};
    printf("{\"epoch\":%d", e->epoch);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        printf(",\"%s\":", pairs[i].key);
        json_number(stdout, pairs[i].value);
    }
    printf("}\n");
}

static bool on_step(void *user, const plumb_progress *progress)
{
    (void)user;
    progress_show(progress);
    return !interrupted;
}

static bool on_epoch(void *user, const plumb_epoch *epoch)
{
    const struct train_options *o = user;
    progress_clear();
    (o->common.json ? print_epoch_json : print_epoch)(epoch);
    return !cli_output_lost(); /* nobody listens: stop, but keep what was reached */
}

/* ---- afterwards ---- */

struct run {
    const struct train_options *o;
    plumb_context *context;
    plumb_dataset *train, *test;
    plumb_model model;
    plumb_state *state;
    plumb_epoch *history;
    int done;
    plumb_evaluation test_result;
};

/* An early stop leaves epochs half done; the last test figures always come from the weights as they are now. */
static plumb_status evaluate_last(struct run *r)
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

static plumb_status make_folder(plumb_context *context, const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))) {
        return PLUMB_OK;
    }
    return plumb_fail(context, PLUMB_IO_ERROR, "--out %s: cannot make the folder: %s", path, strerror(errno));
}

static plumb_status write_weights(const struct run *r, const char *path)
{
    char classes[16], epochs[16], seed[32], version[32], input[72];
    const int64_t *size = r->model.input_shape.dim;
    snprintf(classes, sizeof(classes), "%d", r->model.classes);
    snprintf(epochs, sizeof(epochs), "%d", r->done);
    snprintf(seed, sizeof(seed), "%lld", (long long)r->o->common.seed);
    snprintf(input, sizeof(input), "%lld,%lld,%lld", (long long)size[0], (long long)size[1],
             (long long)size[2]);
    snprintf(version, sizeof(version), "plumb %s", plumb_version());
    const char *const metadata[] = {"model",   r->o->model,   "classes", classes, "data", r->o->data,
                                    "scaling", r->o->scaling, "epochs",  epochs,  "seed", seed,
                                    "input",   input,         "writer",  version, NULL};
    return plumb_state_save_weights(r->state, path, metadata);
}

static plumb_status write_results(const struct run *r)
{
    static const char *const names[] = {"model.safetensors", "history.csv", "curves.svg", "confusion.svg",
                                        "mistakes.png"};
    char path[4200], title[160];
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", r->o->out, names[i]);
        snprintf(title, sizeof(title), "%.40s on %.60s: test accuracy %.4f", r->o->model, r->o->data,
                 r->test_result.accuracy);
        switch (i) {
        case 0: status = write_weights(r, path); break;
        case 1: status = plumb_write_history_csv(r->context, path, r->history, r->done); break;
        case 2: status = plumb_write_curves_svg(r->context, path, title, r->history, r->done); break;
        case 3: status = plumb_write_confusion_svg(r->context, path, title, r->test, &r->test_result); break;
        default:
            status = plumb_write_mistakes_png(r->context, path, r->o->model, r->test, &r->test_result, 6, 4);
        }
    }
    return status;
}

static void print_last(const struct run *r)
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
        printf("%s: model.safetensors, history.csv, curves.svg, confusion.svg, mistakes.png\n", r->o->out);
    }
}

static plumb_status load_data(struct run *r)
{
    const plumb_dataset_options options = {.size = sizeof(options), .classes = (int)r->o->classes};
    r->train = plumb_dataset_find(r->context, r->o->data, "train", &options);
    r->test = r->train ? plumb_dataset_find(r->context, r->o->data, "test", &options) : NULL;
    return r->test ? PLUMB_OK : plumb_last_status(r->context);
}

static plumb_status build(struct run *r)
{
    const plumb_model_options options = {.size = sizeof(options),
                                         .classes = (int)r->o->classes,
                                         .input_shape = plumb_dataset_shape(r->train),
                                         .drop = r->o->drop};
    plumb_status status = plumb_model_build(r->context, r->o->model, &options, &r->model);
    if (status) {
        return status;
    }
    r->state = plumb_state_new(r->model.graph);
    r->history = plumb_zalloc(r->context, (size_t)r->o->epochs * sizeof(plumb_epoch));
    if (!r->state || !r->history) {
        return plumb_last_status(r->context);
    }
    return r->o->weights ? plumb_state_load(r->state, r->o->weights, true) : PLUMB_OK;
}

static plumb_status fit(struct run *r)
{
    const struct train_options *o = r->o;
    const plumb_optimizer optimizer = {.size = sizeof(optimizer),
                                       .rule = o->optimizer,
                                       .lr = o->lr,
                                       .weight_decay = o->weight_decay,
                                       .momentum = o->momentum,
                                       .l2 = o->l2,
                                       .l1 = o->l1,
                                       .clip_norm = o->clip,
                                       .precision = cli_precision(o->precision),
                                       .loss_scale = o->scale};
    const plumb_schedule schedule = {.size = sizeof(schedule),
                                     .rule = o->schedule,
                                     .decay = o->decay,
                                     .every = o->every,
                                     .warmup = o->warmup};
    const plumb_fit_options options = {.size = sizeof(options),
                                       .epochs = (int)o->epochs,
                                       .batch = o->batch,
                                       .seed = (uint64_t)o->common.seed,
                                       .optimizer = &optimizer,
                                       .schedule = &schedule,
                                       .scaling = scaling_of(o->scaling),
                                       .keep_scaling = o->weights != NULL,
                                       .test = r->test,
                                       .on_step = on_step,
                                       .on_epoch = on_epoch,
                                       .user = (void *)(uintptr_t)o};
    if (!o->common.json) {
        printf("%s on %s: %lld examples in batches of %lld, %s, %s rate, %s, seed %lld, %d threads\n\n",
               o->model, o->data, (long long)plumb_dataset_count(r->train), (long long)o->batch, o->optimizer,
               o->schedule, o->precision, (long long)o->common.seed, plumb_threads(r->context));
        print_header();
        fflush(stdout);
    }
    plumb_status status = plumb_fit(&r->model, r->state, r->train, &options, r->history, &r->done);
    progress_clear();
    return status;
}

static void release(struct run *r)
{
    plumb_free(r->context, r->history);
    plumb_free(r->context, r->test_result.confusion);
    plumb_free(r->context, r->test_result.predicted);
    plumb_free(r->context, r->test_result.probabilities);
    plumb_close(r->context);
}

static plumb_status run(struct run *r)
{
    plumb_status status = r->o->out ? make_folder(r->context, r->o->out) : PLUMB_OK;
    if (!status) {
        status = load_data(r);
    }
    if (!status) {
        status = build(r);
    }
    if (!status) {
        watch_signals();
        status = fit(r);
    }
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

int command_train(int argc, char **argv)
{
    struct train_options o = {.common = COMMON_DEFAULTS,
                              .model = "lenet5",
                              .data = "fashion-mnist",
                              .optimizer = "adam",
                              .schedule = "constant",
                              .scaling = "standard",
                              .precision = "f32",
                              .epochs = 15,
                              .batch = 64,
                              .classes = 10};
    const struct option_row rows[] = {
        {"model", "NAME", "the network (default lenet5)", OPTION_NAME, &o.model, 0, 0, cli_model_name},
        {"data", "SET", "fashion-mnist (default), or a folder of IDX files", OPTION_TEXT, &o.data, 0, 0,
         NULL},
        {"epochs", "N", "passes over the data (default 15)", OPTION_WHOLE, &o.epochs, 1, 100000, NULL},
        {"batch", "N", "examples in a step (default 64)", OPTION_WHOLE, &o.batch, 1, 1048576, NULL},
        {"optimizer", "RULE", "default adam", OPTION_NAME, &o.optimizer, 0, 0, optimizer_name},
        {"lr", "RATE", "learning rate (default: the optimizer's, adam 0.001)", OPTION_NUMBER, &o.lr, 1e-12,
         1e3, NULL},
        {"schedule", "RULE", "how the rate moves, default constant", OPTION_NAME, &o.schedule, 0, 0,
         schedule_name},
        {"decay", "X", "default 1 for inverse, 0.95 exponential, 0.5 staircase", OPTION_NUMBER, &o.decay,
         1e-9, 1e3, NULL},
        {"every", "EPOCHS", "of staircase (default 10)", OPTION_NUMBER, &o.every, 1e-3, 1e5, NULL},
        {"warmup", "EPOCHS", "raise the rate over the first epochs", OPTION_NUMBER, &o.warmup, 0, 1e5, NULL},
        {"weight-decay", "X", "decoupled weight decay", OPTION_NUMBER, &o.weight_decay, 0, 1e3, NULL},
        {"momentum", "X", "of momentum and nesterov (default 0.9)", OPTION_NUMBER, &o.momentum, 0, 0.999999,
         NULL},
        {"l2", "LAMBDA", "added to the gradient: lambda * W", OPTION_NUMBER, &o.l2, 0, 1e3, NULL},
        {"l1", "LAMBDA", "added to the gradient: lambda * sign(W)", OPTION_NUMBER, &o.l1, 0, 1e3, NULL},
        {"clip", "NORM", "greatest norm of all gradients together", OPTION_NUMBER, &o.clip, 1e-12, 1e12,
         NULL},
        {"drop", "X", "dropout after hidden fully connected layers", OPTION_NUMBER, &o.drop, 0, 0.99, NULL},
        {"scaling", "RULE", "of the input, from the training set, default standard", OPTION_NAME, &o.scaling,
         0, 0, scaling_name},
        {"classes", "N", "labels are below this (default 10)", OPTION_WHOLE, &o.classes, 2, 256, NULL},
        {"precision", "DTYPE", "computed in (weights stay f32), default f32", OPTION_NAME,
         &o.precision, 0, 0, cli_precision_name},
        {"loss-scale", "X", "dynamic (default with f16) or a number", OPTION_TEXT, &o.loss_scale, 0, 0, NULL},
        {"weights", "FILE", "start from these weights and their scaling", OPTION_TEXT, &o.weights, 0, 0,
         NULL},
        {"out", "DIR", "write weights, history and pictures here", OPTION_TEXT, &o.out, 0, 0, NULL},
        COMMON_ROWS(o.common),
    };
    int code = 0;
    static const char notes[] =
        "Prints a line for each epoch; with --json an object for each, and a last one with test_accuracy, "
        "test_loss,\n"
        "train_images_per_s and peak_memory_bytes. Ctrl-C finishes the step, saves and leaves with 130.\n";
    if (cli_parse(&(struct option_set){cli_command("train"), CLI_SOME(rows), NULL, notes}, argc, argv,
                  &code)) {
        return code;
    }
    if (o.loss_scale && strcmp(o.loss_scale, "dynamic") == 0) {
        o.scale = PLUMB_DYNAMIC_LOSS_SCALE;
    } else if (o.loss_scale && !cli_number(o.loss_scale, 1e-9, 1e9, &o.scale)) {
        return cli_refuse("train", "--loss-scale '%s': expected 'dynamic' or a number from 1e-9 to 1e9", o.loss_scale);
    }
    struct run r = {.o = &o, .context = cli_open(&o.common, &code)};
    if (!r.context) {
        return code;
    }
    plumb_status status = run(&r);
    code = status ? cli_fail("train", r.context, status) : interrupted ? 128 + (int)interrupted : 0;
    release(&r);
    return code;
}
