/* What the files of `plumb train` share: its options as they were read, and what they mean to the library. */
#ifndef PLUMB_CLI_TRAIN_H
#define PLUMB_CLI_TRAIN_H

#include "cli/cli.h"

enum { TRAIN_RATES_MOST = 1000 };

struct train_options {
    struct common_options common;
    struct data_options set;
    const char *model, *optimizer, *schedule, *scaling, *out, *weights, *precision;
    const char *batch_text, *memory_text, *loss_scale_text, *average_text, *rates_text; /* as given, or NULL */
    const char *lambda_scale, *freeze, *monitor, *augment;
    int64_t save_every, keep, epochs, steps, batch, memory, accumulate, classes, check_every, patience, workers;
    double lr, lr_end, weight_decay, momentum, l2, l1, clip, drop, decay, k, every, warmup, loss_scale, average, smoothing,
        min_change;
    double rates[TRAIN_RATES_MOST];
    int n_rates;
    bool find_lr, keep_last, resume;
    char **settings; /* key, value, ..., NULL: what decides the course, as given; to be freed */
    char **shown;    /* all of them, for people; likewise */
};

/* Reads them; false: the program is done and *code is its exit code. */
void train_options_free(struct train_options *o);
bool train_options_read(struct train_options *o, int argc, char **argv, int *code);

/* What a training is asked for; the pointers within lead to what lies beside. */
struct train_recipe {
    plumb_optimizer optimizer;
    plumb_schedule schedule;
    plumb_fit_options fit;
    plumb_augment augment;
};
plumb_status train_recipe_make(plumb_context *context, const struct train_options *o, struct train_recipe *recipe);

/* ---- a run (train.c) ---- */
struct train_run {
    const struct train_options *o;
    struct train_recipe recipe;
    plumb_context *context;
    plumb_dataset *train, *dev, *test; /* dev: NULL without one */
    plumb_model model;
    plumb_state *state;
    plumb_checkpoints *checkpoints; /* with --out: locks it, and keeps what is asked for */
    plumb_epoch *history;
    int done;
    plumb_evaluation test_result;
};

/* train_rates.c: --find-lr. Looks for a rate, prints what was found, writes the curve to --out. */
plumb_status train_find_rate(struct train_run *r);

#endif
