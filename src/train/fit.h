/* What the files of the training loop share: fit.c runs it, prepare.c makes it ready, choose.c tests and keeps what is
 * best. */
#ifndef PLUMB_TRAIN_FIT_H
#define PLUMB_TRAIN_FIT_H

#include "train/train.h"

struct fit {
    struct plumb_training t;
    const plumb_model *model;
    plumb_dataset *train;
    plumb_fit_options options;
    plumb_optimizer optimizer;
    plumb_schedule schedule;
    const char *name;       /* of the optimizer in the state */
    bool smooth;            /* the rate moves with every step */
    bool dynamic;           /* the loss scale is, */
    int64_t growth;         /* and doubles after so many good batches in a row */
    int64_t batches, steps; /* in an epoch */
    int64_t end_epoch, end_batch; /* where the training ends: after so many epochs and then so many batches */
    plumb_graph *graph;     /* what is trained: the model's, or a clone with other frozen variables and loss */
    plumb_t loss;           /* of it, as its program knows it */
    plumb_augment augment;  /* zero: none */
    plumb_t second_label, share; /* inputs of its loss where examples are mixed */
    plumb_program *program;
    plumb_loader *loader;
    float *logits;          /* (batch, classes) */
    struct plumb_evaluator dev, test;
    bool stop;              /* a callback said so */
    bool early;             /* nothing becomes better any more */
};

/* prepare.c. Reads and checks the options; nothing is made yet. */
plumb_status plumb_fit_read(struct fit *f, const plumb_fit_options *options);
/* The program, the loader and the evaluators, the input's scaling, the first position. */
plumb_status plumb_fit_prepare(struct fit *f);
void plumb_fit_release(struct fit *f);
/* The same without evaluators, scaling and history: for whoever only wants to know something of the step. */
plumb_status plumb_fit_compile(struct fit *f, plumb_state *state);
int64_t plumb_fit_batch(const struct fit *f); /* examples in a batch */

/* choose.c. Evaluates and fills in the row, on averaged weights where there are any; keeps the best ones, stops early. */
plumb_status plumb_fit_judge(struct fit *f, plumb_epoch *row);
/* The weights that the training is to end with. */
plumb_status plumb_fit_settle(struct fit *f);
bool plumb_fit_monitors(const char *name); /* whether this can be monitored */

/* The loss scale of the state. */
plumb_status plumb_fit_scale(const struct fit *f, double *scale);

#endif
