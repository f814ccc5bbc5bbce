/* The options of `plumb train`: the table, what cannot be together, and what they mean to the library. The defaults are the
 * plain recipe (Adam at a constant rate), so that what is not asked for does not happen. */
#include "cli/train.h"

static const char *schedule_name(int index)
{
    static const char *const names[] = {"constant",  "cosine",    "inverse",   "exponential", "sqrt_epoch",
                                        "sqrt_step", "staircase", "one_cycle", "manual"};
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

static const char *lambda_scale_name(int index)
{
    static const char *const names[] = {"plain", "batch", "course"};
    return index < 3 ? names[index] : NULL;
}

static const char *monitor_name(int index)
{
    static const char *const names[] = {"dev_loss", "dev_accuracy", "train_loss", "train_accuracy"};
    return index < 4 ? names[index] : NULL;
}

static plumb_scaling scaling_of(const char *name)
{
    int rule = 0;
    while (strcmp(scaling_name(rule), name) != 0) {
        rule++;
    }
    return (plumb_scaling)rule;
}

/* ---- values that are more than a number ---- */

/* "512MiB", "2GiB", "1000000" */
static bool read_bytes(const char *text, int64_t *bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    char number[32];
    size_t length = strspn(text, "0123456789");
    int64_t value = 0;
    int shift = text[length] ? -1 : 0;
    for (int i = 0; i < 4; i++) {
        shift = strcmp(text + length, units[i]) == 0 ? 10 * (i + 1) : shift;
    }
    if (length < 1 || length >= sizeof(number) || shift < 0) {
        return false;
    }
    memcpy(number, text, length);
    number[length] = 0;
    if (!cli_whole(number, 1, 9e15, &value) || (double)value * (double)(1LL << shift) > 9e15) {
        return false;
    }
    *bytes = value << shift;
    return true;
}

/* "0.1,0.01,0.001" */
static bool read_rates(struct train_options *o)
{
    for (const char *at = o->rates_text; *at || at == o->rates_text;) {
        char number[64];
        size_t length = strcspn(at, ",");
        if (length >= sizeof(number) || o->n_rates == TRAIN_RATES_MOST) {
            return false;
        }
        memcpy(number, at, length);
        number[length] = 0;
        if (!cli_number(number, 0, 1e3, &o->rates[o->n_rates])) {
            return false;
        }
        o->n_rates++;
        at += length;
        if (*at == ',' && !*++at) {
            return false;
        }
    }
    return o->n_rates > 0;
}

static int read_texts(struct train_options *o)
{
    if (o->batch_text && strcmp(o->batch_text, "auto") == 0) {
        o->batch = 0;
    } else if (o->batch_text && !cli_whole(o->batch_text, 1, 1048576, &o->batch)) {
        return cli_refuse("train", "--batch: '%s' is not a whole number from 1 to 1048576, nor 'auto'", o->batch_text);
    }
    if (o->memory_text && !read_bytes(o->memory_text, &o->memory)) {
        return cli_refuse("train", "--memory: '%s' is not like 512MiB, 2GiB or a number of bytes", o->memory_text);
    }
    if (o->loss_scale_text && strcmp(o->loss_scale_text, "dynamic") == 0) {
        o->loss_scale = PLUMB_DYNAMIC_LOSS_SCALE;
    } else if (o->loss_scale_text && !cli_number(o->loss_scale_text, 1e-9, 1e9, &o->loss_scale)) {
        return cli_refuse("train", "--loss-scale '%s': expected 'dynamic' or a number from 1e-9 to 1e9",
                          o->loss_scale_text);
    }
    if (o->average_text && strcmp(o->average_text, "polyak") == 0) {
        o->average = PLUMB_POLYAK;
    } else if (o->average_text && (!cli_number(o->average_text, 0, 0.9999999, &o->average) || o->average == 0)) {
        return cli_refuse("train", "--average '%s': expected 'polyak' or a number above 0 and below 1", o->average_text);
    }
    if (o->rates_text && !read_rates(o)) {
        return cli_refuse("train", "--rates: '%s' is not a list of at most %d numbers from 0 to 1000 with commas between",
                          o->rates_text, TRAIN_RATES_MOST);
    }
    return 0;
}

/* What one option says of another. */
static int check_together(struct train_options *o)
{
    bool automatic = o->batch == 0, manual = strcmp(o->schedule, "manual") == 0;
    if (!o->out && (o->save_every || o->keep || o->resume)) {
        return cli_refuse("train", "--%s: checkpoints lie in --out DIR", o->resume ? "resume" : o->keep ? "keep" : "save-every");
    }
    if (o->find_lr && (o->save_every || o->resume)) {
        return cli_refuse("train", "--find-lr: trains nothing that could be kept or resumed");
    }
    if (o->keep && !o->save_every) {
        return cli_refuse("train", "--keep: says how many checkpoints of --save-every stay");
    }
    if (o->epochs && o->steps) {
        return cli_refuse("train", "--epochs and --steps: the length is given twice");
    }
    if (automatic != (o->memory > 0)) {
        return cli_refuse("train", automatic ? "--batch auto: give the memory it may take with --memory SIZE"
                                             : "--memory: limits --batch auto only");
    }
    if (manual != (o->n_rates > 0)) {
        return cli_refuse("train", manual ? "--schedule manual: give the rate of each epoch with --rates LIST"
                                          : "--rates: these are for --schedule manual");
    }
    if (manual && o->lr != 0) {
        return cli_refuse("train", "--lr and --rates: the rate is given twice");
    }
    if ((o->check_every || o->min_change != 0) && !o->patience && !o->monitor) {
        return cli_refuse("train", "--%s: is about what --monitor names", o->check_every ? "check-every" : "min-change");
    }
    if (!o->monitor && o->patience) {
        o->monitor = "dev_loss";
    }
    if (o->monitor && strncmp(o->monitor, "dev", 3) == 0 && !o->set.has_dev) {
        return cli_refuse("train", "--%s: %s is of a dev set; keep a part of the training set for it with --dev SHARE",
                          o->patience ? "patience" : "monitor", o->monitor);
    }
    o->epochs = o->epochs || o->steps ? o->epochs : 15;
    return 0;
}

bool train_options_read(struct train_options *o, int argc, char **argv, int *code)
{
    *o = (struct train_options){.common = COMMON_DEFAULTS,
                                .model = "lenet5",
                                .set = {.data = "fashion-mnist"},
                                .optimizer = "adam",
                                .schedule = "constant",
                                .scaling = "standard",
                                .precision = "f32",
                                .lambda_scale = "plain",
                                .batch = 64,
                                .accumulate = 1};
    const struct option_row rows[] = {
        {"model", "NAME", "the network (default lenet5)", OPTION_NAME, &o->model, 0, 0, cli_model_name},
        {"data", "SET", DATA_KINDS, OPTION_TEXT, &o->set.data, 0, 0, NULL},
        {"split", "SHARES", "of the training part at random: train/test like 70/30, or train/dev/test like 60/20/20", OPTION_TEXT,
         &o->set.split, 0, 0, NULL},
        DATA_ROWS(o->set),
        {"dev", "SHARE", "part of the training set that is kept back, for choices: tested after each epoch, the test set at the end",
         OPTION_NUMBER, &o->set.dev, 1e-6, 0.9, NULL},
        {"augment", "LIST", "random changes of training's pictures, like mirror,crop=4,rotate=15; also resized_crop, shear, "
         "elastic, brightness, contrast, saturation, hue, erase, mixup, cutmix", OPTION_TEXT, &o->augment, 0, 0, NULL},
        {"workers", "N", "threads that prepare batches (default 0: those that compute)", OPTION_WHOLE, &o->workers, 0, 64,
         NULL},
        {"epochs", "N", "passes over the data (default 15)", OPTION_WHOLE, &o->epochs, 1, 100000, NULL},
        {"steps", "N", "the length in steps instead", OPTION_WHOLE, &o->steps, 1, 1000000000, NULL},
        {"batch", "N", "examples at a time (default 64); auto: the greatest power of two within --memory", OPTION_TEXT,
         &o->batch_text, 0, 0, NULL},
        {"memory", "SIZE", "that a step is planned to take at most, like 2GiB", OPTION_TEXT, &o->memory_text, 0, 0, NULL},
        {"accumulate", "N", "batches that make one step (default 1)", OPTION_WHOLE, &o->accumulate, 1, 1000000, NULL},
        {"optimizer", "RULE", "default adam", OPTION_NAME, &o->optimizer, 0, 0, optimizer_name},
        {"lr", "RATE", "learning rate (default: the optimizer's, adam 0.001)", OPTION_NUMBER, &o->lr, 1e-12, 1e3, NULL},
        {"find-lr", NULL, "only look for a rate: steps at rising rates, the curve goes to --out", OPTION_FLAG, &o->find_lr,
         0, 0, NULL},
        {"schedule", "RULE", "how the rate moves, default constant", OPTION_NAME, &o->schedule, 0, 0, schedule_name},
        {"rates", "LIST", "of manual: the rate of each epoch, like 0.1,0.01; the last one stays", OPTION_TEXT,
         &o->rates_text, 0, 0, NULL},
        {"decay", "X", "default 1 for inverse, 0.95 exponential, 0.5 staircase", OPTION_NUMBER, &o->decay, 1e-9, 1e3,
         NULL},
        {"every", "EPOCHS", "of staircase (default 10)", OPTION_NUMBER, &o->every, 1e-3, 1e5, NULL},
        {"k", "X", "of sqrt_epoch and sqrt_step: rate * k / root (default 1)", OPTION_NUMBER, &o->k, 1e-9, 1e9, NULL},
        {"lr-end", "RATE", "where cosine and one_cycle end (default 0)", OPTION_NUMBER, &o->lr_end, 0, 1e3, NULL},
        {"warmup", "EPOCHS", "raise the rate over the first epochs", OPTION_NUMBER, &o->warmup, 0, 1e5, NULL},
        {"weight-decay", "X", "decoupled weight decay", OPTION_NUMBER, &o->weight_decay, 0, 1e3, NULL},
        {"momentum", "X", "of momentum and nesterov (default 0.9)", OPTION_NUMBER, &o->momentum, 0, 0.999999, NULL},
        {"l2", "LAMBDA", "added to the gradient of weights: lambda * W", OPTION_NUMBER, &o->l2, 0, 1e3, NULL},
        {"l1", "LAMBDA", "added to the gradient of weights: lambda * sign(W)", OPTION_NUMBER, &o->l1, 0, 1e3, NULL},
        {"lambda-scale", "RULE", "plain (default); batch: both over the examples m of a step; course: l2 / m, l1 / 2m",
         OPTION_NAME, &o->lambda_scale, 0, 0, lambda_scale_name},
        {"clip", "NORM", "greatest norm of all gradients together", OPTION_NUMBER, &o->clip, 1e-12, 1e12, NULL},
        {"drop", "X", "dropout after hidden fully connected layers", OPTION_NUMBER, &o->drop, 0, 0.99, NULL},
        {"label-smoothing", "X", "share of the loss that all classes have alike", OPTION_NUMBER, &o->smoothing, 0, 0.99,
         NULL},
        {"freeze", "PATTERNS", "parameters that stay as they are, like 'conv*,!conv2.bias' (! takes back)", OPTION_TEXT,
         &o->freeze, 0, 0, NULL},
        {"average", "BETA", "test and save averages of the weights: over some 1 / (1 - BETA) steps, or polyak: all",
         OPTION_TEXT, &o->average_text, 0, 0, NULL},
        {"monitor", "WHAT", "keep the weights where this was best", OPTION_NAME, &o->monitor, 0, 0, monitor_name},
        {"patience", "N", "stop after N looks that found nothing better (monitors dev_loss)", OPTION_WHOLE, &o->patience, 1,
         100000, NULL},
        {"check-every", "EPOCHS", "from one look to the next (default 1)", OPTION_WHOLE, &o->check_every, 1, 100000, NULL},
        {"min-change", "X", "better by no more than this is not better", OPTION_NUMBER, &o->min_change, 0, 1e6, NULL},
        {"keep-last", NULL, "end with the last weights, not the best", OPTION_FLAG, &o->keep_last, 0, 0, NULL},
        {"scaling", "RULE", "of the input, from the training set, default standard", OPTION_NAME, &o->scaling, 0, 0,
         scaling_name},
        {"classes", "N", "labels are below this (default: as many as the data have)", OPTION_WHOLE, &o->classes, 2, 65536, NULL},
        {"precision", "DTYPE", "computed in (weights stay f32), default f32", OPTION_NAME, &o->precision, 0, 0,
         cli_precision_name},
        {"loss-scale", "X", "dynamic (default with f16) or a number", OPTION_TEXT, &o->loss_scale_text, 0, 0, NULL},
        {"weights", "FILE", "start from these weights and their scaling", OPTION_TEXT, &o->weights, 0, 0, NULL},
        {"out", "DIR", "write weights, history and pictures here", OPTION_TEXT, &o->out, 0, 0, NULL},
        {"save-every", "STEPS", "keep a checkpoint in --out after so many steps, and at the end", OPTION_WHOLE, &o->save_every,
         1, 1000000000, NULL},
        {"keep", "N", "checkpoints, the newest (default 3)", OPTION_WHOLE, &o->keep, 1, 1000, NULL},
        {"resume", NULL, "go on from the newest whole checkpoint in --out; none there: start afresh", OPTION_FLAG, &o->resume,
         0, 0, NULL},
        COMMON_ROWS(o->common),
    };
    static const char notes[] =
        "Prints a line for each epoch; with --json an object for each, and a last one with test_accuracy, "
        "test_loss,\n"
        "train_images_per_s and peak_memory_bytes. Ctrl-C finishes the step, saves and leaves with 130; a second one leaves\n"
        "at once. --resume goes on to the bit: every option but lengths, threads and workers has to be as before.\n";
    if (cli_parse(&(struct option_set){cli_command("train"), CLI_SOME(rows), NULL, notes}, argc, argv, code)) {
        return false;
    }
    *code = read_texts(o);
    if (!*code && cli_check_data("train", &o->set, code)) {
        *code = check_together(o);
    }
    if (!*code) { /* lengths, places and looks do not decide where a step leads; the batch is said in numbers by the library */
        static const char *const without[] = {"epochs", "steps", "batch", "memory", "find-lr", "patience", "check-every",
                                              "keep-last", "out", "save-every", "keep", "resume", "device", "threads", "workers", "impl",
                                              "isa", "json", NULL};
        static const char *const unseen[] = {"json", NULL};
        o->settings = cli_settings(CLI_SOME(rows), without);
        o->shown = cli_settings(CLI_SOME(rows), unseen);
        *code = o->settings && o->shown ? 0 : PLUMB_FAILED;
    }
    return !*code;
}

void train_options_free(struct train_options *o)
{
    cli_settings_free(o->settings);
    cli_settings_free(o->shown);
}

plumb_status train_recipe_make(plumb_context *context, const struct train_options *o, struct train_recipe *r)
{
    bool course = strcmp(o->lambda_scale, "course") == 0;
    r->optimizer = (plumb_optimizer){.size = sizeof(r->optimizer),
                                     .rule = o->optimizer,
                                     .lr = o->lr,
                                     .weight_decay = o->weight_decay,
                                     .momentum = o->momentum,
                                     .l2 = o->l2,
                                     .l1 = course ? o->l1 / 2 : o->l1,
                                     .per_example = strcmp(o->lambda_scale, "plain") != 0,
                                     .clip_norm = o->clip,
                                     .precision = cli_precision(o->precision),
                                     .loss_scale = o->loss_scale,
                                     .average = o->average};
    r->schedule = (plumb_schedule){.size = sizeof(r->schedule),
                                   .rule = o->schedule,
                                   .decay = o->decay,
                                   .k = o->k,
                                   .lr_end = o->lr_end,
                                   .every = o->every,
                                   .warmup = o->warmup,
                                   .values = o->n_rates ? o->rates : NULL,
                                   .n_values = o->n_rates};
    r->fit = (plumb_fit_options){.size = sizeof(r->fit),
                                 .epochs = (int)o->epochs,
                                 .steps = o->steps,
                                 .batch = o->batch,
                                 .accumulate = o->accumulate,
                                 .seed = (uint64_t)o->common.seed,
                                 .optimizer = &r->optimizer,
                                 .schedule = &r->schedule,
                                 .scaling = scaling_of(o->scaling),
                                 .keep_scaling = o->weights != NULL,
                                 .label_smoothing = o->smoothing,
                                 .freeze = o->freeze,
                                 .monitor = o->monitor,
                                 .min_change = o->min_change,
                                 .check_every = (int)o->check_every,
                                 .patience = (int)o->patience,
                                 .keep_last = o->keep_last,
                                 .augment = o->augment ? &r->augment : NULL,
                                 .workers = (int)o->workers};
    return o->augment ? plumb_augment_parse(context, o->augment, &r->augment) : PLUMB_OK;
}
