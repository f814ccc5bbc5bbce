/* Training: the loop around a compiled step, evaluation, and the reports people look at. */
#ifndef PLUMB_TRAIN_H
#define PLUMB_TRAIN_H

#include "plumb/data.h"
#include "plumb/layers.h"
#include "plumb/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One row of the history. Values of sets that were not given are NaN. */
typedef struct plumb_epoch {
    int epoch;     /* from 1 */
    int64_t steps; /* batches of this epoch */
    double lr;     /* of its last step */
    double train_loss, train_accuracy; /* means over the epoch's examples, while the weights were changing */
    double test_loss, test_accuracy;
    double seconds, test_seconds; /* training without, and evaluation alone */
    double images_per_s;          /* in training */
    double data_wait;             /* share of `seconds` in which the step waited for its batch */
    int64_t skipped;              /* of its batches, those whose gradients overflowed a dynamic loss scale */
    double dev_loss, dev_accuracy;
    bool better;                  /* what is monitored was never better: these are the best weights so far */
} plumb_epoch;

/* Where an epoch stands, after each batch. */
typedef struct plumb_progress {
    int epoch, epochs;   /* from 1 */
    int64_t step, steps; /* batches done in this epoch, of how many */
    int64_t examples;    /* seen in this epoch */
    double loss, accuracy; /* running means */
    double lr, seconds, images_per_s, data_wait;
} plumb_progress;

/* Checkpoints: all that a training needs to go on to the bit, as "checkpoint-STEP.safetensors" in a folder: weights,
 * moments and everything else of the state, where in which epoch it stands, the history, and checksums of it all. Each is
 * written to a temporary file, synced, read again, and renamed before older ones are removed; "best.safetensors" are the
 * weights that did best so far, where the training looks for them. The folder is locked ("lock") against other runs until
 * the checkpoints are freed. */
typedef struct plumb_checkpoints plumb_checkpoints;
typedef struct plumb_checkpoint_options {
    size_t size;
    int64_t every; /* one after so many batches, counted over all epochs, and at the end; 0: none */
    int keep;      /* so many of the newest healthy ones (at most 1000); 0: 3 */
    bool resume;   /* go on from the newest that is whole and healthy; what is skipped is logged, and so is an empty folder,
                      with which the training starts afresh. Its data, options and implementations (device, instruction set)
                      have to be the same; threads may differ. false: with `every`, the folder must have none */
    const char *const *configuration; /* key, value, ..., NULL: what else has to be the same, in the user's words */
    const char *const *metadata;      /* the same, to be written into best.safetensors */
} plumb_checkpoint_options;
/* Makes the folder if need be. NULL after an error, such as another run's lock. The texts are copied. */
PLUMB_API PLUMB_MUST_CHECK plumb_checkpoints *plumb_checkpoints_open(plumb_context *context, const char *folder,
                                                                     const plumb_checkpoint_options *options);
PLUMB_API void plumb_checkpoints_free(plumb_checkpoints *checkpoints);

typedef struct plumb_fit_options {
    size_t size;
    int epochs;                         /* 0: 10 */
    int64_t batch;                      /* 0: 64 */
    uint64_t seed;                      /* of the order of examples; 0: the context's */
    const plumb_optimizer *optimizer;   /* NULL: Adam. Steps that are not finite are never applied. */
    const plumb_schedule *schedule;     /* NULL: constant. lr 0: the optimizer's; epochs 0: those of the training.
                                           Cosine, one-cycle and warm-up move with every step, others by the epoch. */
    plumb_scaling scaling;              /* computed on the training set, kept in the state with the weights */
    bool keep_scaling;                  /* the state has it already */
    plumb_dataset *test;                /* evaluated after each epoch; NULL: nothing */
    bool (*on_step)(void *user, const plumb_progress *progress); /* false: stop after this batch */
    bool (*on_epoch)(void *user, const plumb_epoch *epoch);      /* false: stop after this epoch */
    void *user;
    plumb_dtype precision;              /* of the steps and of the tests after each epoch; 0: the optimizer's */
    plumb_dataset *dev;                 /* evaluated likewise, and what choices are made by; NULL: nothing */
    int64_t steps;                      /* the length in steps (updates, or batches that were skipped) instead of epochs, the
                                           last of which may end early; 0: by epochs */
    int64_t accumulate;                 /* batches that make one step, see plumb_optimizer.accumulate; what is left at the
                                           end of an epoch makes one, too. 0: 1 */
    double label_smoothing;             /* s in [0, 1): trained is, in place of the model's loss, softmax cross-entropy with
                                           (1 - s) one-hot + s / classes; tests keep the model's */
    const char *freeze;                 /* "conv*,!conv2.bias": parameters that stay as they are, * for any characters, ? for
                                           one; later patterns win, ! takes back. NULL: none */
    const char *monitor;                /* "dev_loss", "dev_accuracy", "train_loss" or "train_accuracy": the weights where it
                                           was best are those that the state ends with. NULL: with patience dev_loss, else
                                           nothing is */
    double min_change;                  /* better by no more than this is not better */
    int check_every;                    /* epochs from one look at it to the next (the last epoch is one, too); 0: 1 */
    int patience;                       /* ends the training after so many looks in a row that found nothing better; 0: never */
    bool keep_last;                     /* ends with the last weights although others were better */
    plumb_checkpoints *checkpoints;     /* where the training is kept, and resumed from; NULL: nowhere */
    const plumb_augment *augment;       /* changes pictures of training at random; the loss of mixed examples (mixup, cutmix) is
                                           that of both labels by their shares, accuracy is by the first. NULL: none */
    int workers;                        /* threads that prepare batches, as of the loader; results do not depend on them */
} plumb_fit_options;

/* Trains `model` into `state`. `history` has room for plumb_fit_epochs rows (or is NULL); *done says how many were written.
 *
 * A loss, gradient, weight or running statistic that is not finite ends the training with PLUMB_NUMERIC: the message names
 * the step, the first tensor that went wrong, the norm of the gradients, the batch's examples and the rate, and the state is
 * that before the batch. With a dynamic loss scale (plumb_optimizer) a batch whose gradients overflow is skipped instead, as
 * long as the scale can still be lowered.
 *
 * With plumb_optimizer.average the averaged weights are what is tested and what the state ends with.
 *
 * Steps are those of one batch of batch * accumulate examples: the rate and step counts are the same, results equal but for
 * rounding, where nothing depends on a batch as a whole (batch norm does, and dropout draws for each batch). */
PLUMB_API plumb_status plumb_fit(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                                 const plumb_fit_options *options, plumb_epoch *history, int *done);

/* How many rows of history such a training has at most: its epochs. */
PLUMB_API int plumb_fit_epochs(const plumb_dataset *train, const plumb_fit_options *options);

/* Sets the model's input scaling from a data set; plumb_fit does it by itself. A model without a scaling layer is
 * left as it is. */
PLUMB_API plumb_status plumb_fit_scaling(const plumb_model *model, plumb_state *state, const plumb_dataset *train,
                                         plumb_scaling rule);

/* Looking for a rate (Smith 2017): steps at rates that rise geometrically, on a copy of the state, until the loss, averaged
 * over some ten steps, is `stop` times its least. What fits is somewhat below where it falls fastest. */
typedef struct plumb_rate_search {
    size_t size;
    double low, high;   /* of the rates; 0: 1e-7 and 10 */
    int steps;          /* from one to the other, at least 10; 0: 100 */
    double stop;        /* 0: 4 */
    double *lr, *loss, *smooth; /* found out: [steps] each, or NULL; what was not reached stays as it is */
    int count;          /* how many were reached */
    double steepest;    /* the rate where the averaged loss falls fastest by the logarithm of the rate; NaN: it never falls */
    double least;       /* the rate where it is least */
} plumb_rate_search;
PLUMB_API plumb_status plumb_find_rate(const plumb_model *model, const plumb_state *state, plumb_dataset *train,
                                       const plumb_fit_options *options, plumb_rate_search *search);

/* The greatest power of two (at most `most`) for plumb_fit_options.batch whose training step is planned to take no more than
 * `limit` bytes, weights and moments included. PLUMB_BAD_INPUT: not even one example does. */
PLUMB_API plumb_status plumb_fit_largest_batch(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                                               const plumb_fit_options *options, int64_t limit, int64_t most,
                                               int64_t *batch);

/* What evaluation finds out. Arrays that are not NULL are filled. */
typedef struct plumb_evaluation {
    int64_t count;        /* examples */
    double loss, accuracy;
    double images_per_s;
    int64_t *confusion;   /* (classes, classes): true class, predicted class */
    int32_t *predicted;   /* (count) */
    float *probabilities; /* (count, classes) */
    plumb_dtype precision;/* to be set: what is computed in, 0: f32, as written */
} plumb_evaluation;
PLUMB_API plumb_status plumb_evaluate(const plumb_model *model, plumb_state *state, plumb_dataset *dataset, int64_t batch,
                                      plumb_evaluation *evaluation);

/* Reports, written whole or not at all. Curves show the dev set where there was one, else the test set. */
PLUMB_API plumb_status plumb_write_history_csv(plumb_context *context, const char *path, const plumb_epoch *history,
                                               int count);
PLUMB_API plumb_status plumb_write_curves_svg(plumb_context *context, const char *path, const char *title,
                                              const plumb_epoch *history, int count);
/* Of a search with its arrays. */
PLUMB_API plumb_status plumb_write_rates_csv(plumb_context *context, const char *path, const plumb_rate_search *search);
PLUMB_API plumb_status plumb_write_rates_svg(plumb_context *context, const char *path, const char *title,
                                             const plumb_rate_search *search);
/* Class names are the data set's; `evaluation` needs confusion. */
PLUMB_API plumb_status plumb_write_confusion_svg(plumb_context *context, const char *path, const char *title,
                                                 const plumb_dataset *dataset, const plumb_evaluation *evaluation);
/* The mistakes made with most confidence, as a sheet of `columns` x `rows` pictures with both classes and their
 * probabilities; `evaluation` needs predicted and probabilities. */
PLUMB_API plumb_status plumb_write_mistakes_png(plumb_context *context, const char *path, const char *title,
                                                const plumb_dataset *dataset, const plumb_evaluation *evaluation,
                                                int columns, int rows);

#ifdef __cplusplus
}
#endif
#endif
