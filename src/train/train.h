/* What the files of training share: where a training stands and who keeps it, an evaluator that is compiled once, and
 * finding out what went wrong. */
#ifndef PLUMB_TRAIN_INTERNAL_H
#define PLUMB_TRAIN_INTERNAL_H

#include "core/core.h"
#include "plumb/train.h"

/* ---- where a training stands ----
 *
 * Between two batches a training is its state (weights, moments, statistics, accumulators, loss scale, averages, the random
 * key) and this: plain numbers, so that whoever keeps both can go on to the bit. The order of examples follows from seed
 * and epoch. */
struct plumb_position {
    uint64_t seed;             /* of the order of examples */
    uint64_t options;          /* a hash of what decides the course (prepare.c); one of other options cannot go on */
    int64_t epoch;             /* completed */
    int64_t batch;             /* of the running epoch, run */
    int64_t ran;               /* batches in all */
    int64_t step;              /* updates applied by this training, */
    int64_t steps_before;      /* and by others to this state before */
    int64_t micro;             /* batches in the accumulators, of the step that is under way */
    int64_t examples, right, skipped; /* of the running epoch */
    double loss_sum, lr;              /* likewise; the last step's rate */
    double seconds, waited;           /* spent in the running epoch, and in it for batches */
    double loss_scale;         /* a dynamic one after the last skipped batch, */
    int64_t since;             /* so many good ones ago */
    double best;               /* of what is monitored, */
    int64_t best_epoch;        /* found there; 0: nothing was yet */
    int64_t worse;             /* checks since then */
};

struct plumb_training {
    plumb_context *context;
    plumb_state *state;
    plumb_state *best;         /* its weights were the best ones; NULL: there are none yet */
    struct plumb_position position;
    plumb_epoch *history;      /* [position.epoch] */
    int room;                  /* of history: all epochs that there will be */
    plumb_dataset *train, *dev; /* dev: NULL if nothing is decided by one */
    plumb_program *program;    /* of a batch */
    int64_t batches, examples; /* in an epoch, and in a batch that is full */
};

/* Who keeps a training (checkpoint.c). What returns an error ends the training with it; each may be NULL. */
struct plumb_keeper {
    void *user;
    /* Before the first batch, when the state has all its variables and position.seed and .options say what is asked for: may
     * put state, best, position and history where a training stood between two batches. */
    plumb_status (*begin)(void *user, struct plumb_training *training);
    /* Between two batches; at the end of an epoch its tests are in the history. The last call has `over` set: a callback
     * stopped the training, or it is complete; the weights are not yet exchanged for the best or averaged ones. */
    plumb_status (*after)(void *user, const struct plumb_training *training, bool over);
    /* training->best has just become better (before `after` of that batch). */
    plumb_status (*better)(void *user, const struct plumb_training *training);
};

plumb_status plumb_fit_kept(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                            const plumb_fit_options *options, plumb_epoch *history, int *done,
                            const struct plumb_keeper *keeper);

/* ---- evaluation ---- */

/* A forward program with its loader. */
struct plumb_evaluator {
    plumb_context *context;
    const plumb_model *model;
    plumb_dataset *dataset;
    plumb_program *program;
    plumb_loader *loader;
    int64_t batch;
    float *logits; /* (batch, classes) */
};
plumb_status plumb_evaluator_open(const plumb_model *model, plumb_state *state, plumb_dataset *dataset,
                                  int64_t batch, plumb_dtype precision, struct plumb_evaluator *evaluator);
plumb_status plumb_evaluator_run(struct plumb_evaluator *evaluator, plumb_evaluation *result);
void plumb_evaluator_close(struct plumb_evaluator *evaluator);

/* The model, state and data set must fit together; says in words what does not. */
plumb_status plumb_model_check(const plumb_model *model, const plumb_state *state,
                               const plumb_dataset *dataset, const char *what);
/* How many rows of (count, classes) have their greatest value at the example's label. */
int64_t plumb_count_right(const plumb_dataset *dataset, const int64_t *indices, const float *logits,
                          int64_t count, int classes);
int plumb_greatest(const float *row, int classes);
/* Adds softmax(row), worked out in double, to sum [classes]. */
void plumb_add_probabilities(const float *row, int classes, double *sum);

/* Writes the text to a file, whole or not at all, and frees it (report.c). */
plumb_status plumb_write_text(plumb_context *context, const char *path, struct plumb_text *text);

/* ---- what went wrong ---- */

struct plumb_culprit {
    plumb_graph *graph;  /* that is trained, */
    plumb_t loss;        /* its loss, */
    plumb_state *state;  /* as it was before the batch */
    plumb_loader *loader;
    int64_t epoch, batch, count; /* the batch, as the loader knows it */
    plumb_dtype precision;
    bool forward;        /* found out: the forward pass is to blame */
    char *text;          /* likewise: the first tensor, in order of computation, that is not finite; the norm of the
                            gradients; the batch's examples */
    size_t room;
};
void plumb_find_not_finite(const plumb_model *model, struct plumb_culprit *culprit);

/* An epoch as a line of JSON: of history.jsonl and of `plumb train --json`. */
void plumb_epoch_json(struct plumb_text *text, const plumb_epoch *epoch);

#endif
