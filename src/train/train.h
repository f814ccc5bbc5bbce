/* What the files of training share: an evaluator that is compiled once, and finding out what went wrong. */
#ifndef PLUMB_TRAIN_INTERNAL_H
#define PLUMB_TRAIN_INTERNAL_H

#include "core/core.h"
#include "plumb/train.h"

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

/* Writes to `what` the name of the first tensor of the graph (in order of computation) that is not finite for the
 * batch the loader last gave out, or says that all are. */
void plumb_find_not_finite(const plumb_model *model, plumb_state *state, const plumb_dataset *dataset,
                           const int64_t *indices, int64_t count, plumb_dtype precision, char *what, size_t room);

#endif
