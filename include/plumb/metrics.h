/* Judging a classifier: metrics of its confusion matrix, a choice among several by one metric and constraints on the
 * others, what the errors of the parts of the data say about bias, variance and mismatch, and the joint judgement of
 * several models on several views of each picture.
 *
 * Errors, accuracies and rates are fractions from 0 to 1. Functions without a context have no state and may be called
 * from any thread; the others follow the context's rule: one thread at a time. */
#ifndef PLUMB_METRICS_H
#define PLUMB_METRICS_H

#include "plumb/train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- metrics of a confusion matrix -- */

/* One class against all others. Where nothing is there to divide by, the rate is 0.
 *   precision    right / predicted            recall  right / examples
 *   specificity  of the examples of other classes, the share that was not said to be of this one
 *   f1           2 precision recall / (precision + recall)                          (van Rijsbergen 1979) */
typedef struct plumb_rates {
    double precision, recall, specificity, f1;
} plumb_rates;

typedef struct plumb_class_metrics {
    int64_t examples, predicted, right; /* truly of the class, said to be, both */
    plumb_rates rates;
} plumb_class_metrics;

typedef struct plumb_metrics {
    int64_t count;         /* examples */
    int classes;           /* that have examples or were predicted; the means are over these */
    double accuracy, error;
    double weighted_error; /* sum of w over the mistakes / sum of w; w by the true class. Without weights the error */
    plumb_rates macro;     /* plain mean over the classes, */
    plumb_rates weighted;  /* mean weighted by their examples, */
    plumb_rates micro;     /* and of all decisions "this class or not" counted together */
} plumb_metrics;

/* `confusion` is (classes, classes): true class, predicted class, as plumb_evaluate fills it. `weights` [classes] says
 * what a mistake on an example of each true class costs, e.g. 10 for the costly one; NULL: 1. `each` [classes] may be
 * NULL. Negative counts or weights, and a matrix without examples, are refused. */
PLUMB_API plumb_status plumb_metrics_of(plumb_context *context, const int64_t *confusion, int classes,
                                        const double *weights, plumb_metrics *metrics, plumb_class_metrics *each);
PLUMB_API double plumb_f1(double precision, double recall); /* 0 where both are */

/* Share of the examples whose label is among the k most probable classes (of equal ones the lower number comes first,
 * as in `predicted`). Needs evaluation->probabilities; NaN without them. */
PLUMB_API double plumb_top_accuracy(const plumb_dataset *dataset, const plumb_evaluation *evaluation, int k);

/* Accuracy of each group of examples, and the plain mean over the groups that have any: a small group counts as much as
 * a large one. `group` [count] numbers the group of each example, below `groups`; negative: of none. `each` [groups] is
 * NaN for empty groups, and may be NULL. Needs evaluation->predicted. */
PLUMB_API plumb_status plumb_group_accuracy(plumb_context *context, const plumb_dataset *dataset,
                                            const plumb_evaluation *evaluation, const int32_t *group, int groups,
                                            double *each, double *mean);

/* The mistakes made with the highest probabilities, highest first (equal ones in the order of the data set): fills
 * `worst` with at most `room` indices of examples and returns how many; *mistakes (may be NULL) counts all. Needs
 * predicted and probabilities. */
PLUMB_API int plumb_worst_mistakes(const plumb_dataset *dataset, const plumb_evaluation *evaluation, int64_t *worst,
                                   int room, int64_t *mistakes);

/* -- one metric to optimise, the others to satisfy -- */
typedef struct plumb_criterion {
    size_t size;
    const double *weights;      /* [metrics]: what is made large is the sum of weights * metrics. Accuracy - 0.5 * time
                                   is {1, -0.5}; an error has a negative weight. */
    const double *least, *most; /* [metrics]: bounds, both included; NULL: none; NaN: none for this metric */
} plumb_criterion;
/* The best of `candidates` rows of `values` (candidates, metrics) that keep all bounds, the first of equal ones; -1 if
 * none does. A row with a NaN where a weight or bound reads it is not taken. */
PLUMB_API int plumb_best_of(const double *values, int candidates, int metrics, const plumb_criterion *criterion);

/* -- diagnosis: what to do next -- */

/* NaN: not known. `train` and `dev` must be known; a missing `human` counts as 0, perfection. `train_dev` is of examples
 * like the training set's that were not trained on, and tells variance from mismatch where dev data come from elsewhere. */
typedef struct plumb_errors {
    double human; /* the least that people reach, alone or together: the best estimate of what is possible at all */
    double train, train_dev, dev, test;
    double threshold; /* a gap above this is worth acting on; 0: 0.02 */
} plumb_errors;

typedef enum plumb_problem {
    PLUMB_PROBLEM_NONE = 0,
    PLUMB_PROBLEM_BIAS = 1,     /* train - human: what a larger or better trained model could gain */
    PLUMB_PROBLEM_VARIANCE = 2, /* train_dev (dev, where that is not known) - train */
    PLUMB_PROBLEM_MISMATCH = 4, /* dev - train_dev */
    PLUMB_PROBLEM_DEV_FIT = 8   /* test - dev: decisions were tuned to the dev set */
} plumb_problem;

typedef struct plumb_diagnosis {
    plumb_errors errors;   /* as given; human 0 if it was not */
    double avoidable_bias, variance, mismatch, dev_fit; /* the gaps; NaN where an error of theirs is not known */
    unsigned problems;     /* those whose gap is above the threshold, or'ed */
    plumb_problem largest; /* of all gaps, also below the threshold; of equal ones the earlier; none if none is above 0 */
} plumb_diagnosis;

/* Errors outside 0 to 1 are refused, as are unknown ones that are needed. */
PLUMB_API plumb_status plumb_diagnose(plumb_context *context, const plumb_errors *errors, plumb_diagnosis *diagnosis);
/* The best estimate of the least possible error: the smallest of people's errors. NaN for none. */
PLUMB_API double plumb_best_error(const double *human, int count);
PLUMB_API const char *plumb_problem_name(plumb_problem problem);   /* "avoidable bias"; "nothing" for none */
PLUMB_API const char *plumb_problem_advice(plumb_problem problem); /* what helps, in a sentence or two */

/* -- several models, several views -- */

/* The probabilities of an example are the mean over all models and views, in double precision. A view is a cut-out of
 * the picture in the size that the model takes, from a picture of the data set with `padding` zeros around. Data sets
 * may have larger pictures than the models take. The usual "10-crop" is crops 5 with mirror (Krizhevsky et al. 2012). */
typedef struct plumb_ensemble {
    size_t size;
    const plumb_model *models;  /* [count] of one context, with the same channels and classes */
    plumb_state *const *states; /* [count] */
    int count;
    int crops;    /* 0, 1: the middle; 5: the four corners, too */
    bool mirror;  /* each also mirrored, left to right */
    int padding;  /* pixels on each side, 0 to 64 */
    int64_t batch;/* pictures at a time; 0: 250 */
} plumb_ensemble;
/* Fills `evaluation` as plumb_evaluate does; the loss is the mean of -ln of the label's mean probability. */
PLUMB_API plumb_status plumb_evaluate_ensemble(const plumb_ensemble *ensemble, const plumb_dataset *dataset,
                                               plumb_evaluation *evaluation);

#ifdef __cplusplus
}
#endif
#endif
