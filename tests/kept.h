/* A training that is only pretended: a small network's state, which at batch n holds values that follow from n, so that
 * what comes out of a checkpoint can be told from what should. For tests of keeping that need no learning. */
#ifndef PLUMB_TESTS_KEPT_H
#define PLUMB_TESTS_KEPT_H

#include "check.h"
#include "train/checkpoint.h"

#define KEPT_BATCHES 5 /* in an epoch */
#define KEPT_EPOCHS 8

struct kept {
    plumb_context *context;
    plumb_model model;
    plumb_dataset *data;
    struct plumb_training training;
    plumb_epoch history[KEPT_EPOCHS];
};

/* Optimizer: "adam" or another rule, f16's loss scale with it. */
bool kept_open(struct kept *k, const plumb_options *options, const char *rule);
void kept_close(struct kept *k);
/* As the training is after n batches (n 0: before the first one). */
plumb_status kept_go(struct kept *k, int64_t n);
/* Whether all of it is as kept_go(n) leaves it. */
bool kept_is(struct kept *k, int64_t n);

/* Opens `folder`, and what comes of begin(): *at is where the training then stands. NULL after an error. */
plumb_checkpoints *kept_begin(struct kept *k, const char *folder, const plumb_checkpoint_options *options,
                              struct plumb_keeper *keeper);
/* Begins afresh and keeps batches 1 to n. *done: the last that was kept for sure. */
plumb_status kept_run(struct kept *k, const char *folder, int64_t n, int keep, int64_t *done);
/* Resumes; *at is where. */
plumb_status kept_resume(struct kept *k, const char *folder, int64_t *at);

#endif
