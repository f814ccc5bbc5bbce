/* Training: the loop around a compiled step, evaluation, and the reports people look at. */
#ifndef PLUMB_TRAIN_H
#define PLUMB_TRAIN_H

#include "plumb/data.h"
#include "plumb/layers.h"
#include "plumb/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One row of the history. Test values are NaN where there was no test set. */
typedef struct plumb_epoch {
    int epoch;     /* from 1 */
    int64_t steps; /* in this epoch */
    double lr;     /* of its last step */
    double train_loss, train_accuracy; /* means over the epoch's examples, while the weights were changing */
    double test_loss, test_accuracy;
    double seconds, test_seconds; /* training without, and evaluation alone */
    double images_per_s;          /* in training */
    double data_wait;             /* share of `seconds` in which the step waited for its batch */
    int64_t skipped;              /* of its steps, those whose gradients overflowed a dynamic loss scale */
} plumb_epoch;

/* Where an epoch stands, after each step. */
typedef struct plumb_progress {
    int epoch, epochs;   /* from 1 */
    int64_t step, steps; /* done in this epoch, of how many */
    int64_t examples;    /* seen in this epoch */
    double loss, accuracy; /* running means */
    double lr, seconds, images_per_s, data_wait;
} plumb_progress;

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
    bool (*on_step)(void *user, const plumb_progress *progress); /* false: stop after this step */
    bool (*on_epoch)(void *user, const plumb_epoch *epoch);      /* false: stop after this epoch */
    void *user;
    plumb_dtype precision;              /* of the steps and of the tests after each epoch; 0: the optimizer's */
} plumb_fit_options;

/* Trains `model` into `state`. `history` has room for the epochs (or is NULL); *done says how many were completed.
 * A loss or gradient that is not finite ends the training with PLUMB_NUMERIC: the message names the step and the first
 * tensor that went wrong, and the state is that before the step. With a dynamic loss scale (plumb_optimizer) a step whose
 * gradients overflow is skipped instead, as long as the scale can still be lowered. */
PLUMB_API plumb_status plumb_fit(const plumb_model *model, plumb_state *state, plumb_dataset *train,
                                 const plumb_fit_options *options, plumb_epoch *history, int *done);

/* Sets the model's input scaling from a data set; plumb_fit does it by itself. A model without a scaling layer is
 * left as it is. */
PLUMB_API plumb_status plumb_fit_scaling(const plumb_model *model, plumb_state *state, const plumb_dataset *train,
                                         plumb_scaling rule);

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

/* Reports, written whole or not at all. */
PLUMB_API plumb_status plumb_write_history_csv(plumb_context *context, const char *path, const plumb_epoch *history,
                                               int count);
PLUMB_API plumb_status plumb_write_curves_svg(plumb_context *context, const char *path, const char *title,
                                              const plumb_epoch *history, int count);
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
