/* What the cross-check counts, and how it tells. The counts lie in memory shared by the processes that share the work
 * (`--processes`): the simulator runs one kernel after the other, so two cores need two of them. */
#ifndef PLUMB_TESTS_CROSSCHECK_H
#define PLUMB_TESTS_CROSSCHECK_H

#include "trial.h"

#include <pthread.h>

enum { MAX_IMPLS = 8, MAX_OPS = 256, LEAST_CASES = 20, TOLD = 4 };

struct score { /* of one implementation of one op */
    const plumb_impl *impl;
    int64_t passed, failed, declined, exact, refused;
    int64_t lesser; /* passed again with a lesser instruction set */
    int64_t by_axis[AXIS_COUNT], by_dtype[PLUMB_DTYPE_COUNT]; /* executed */
    double worst, seconds;
    char worst_label[160];
};

struct crosscheck {
    struct score score[MAX_OPS][MAX_IMPLS + 1]; /* the last: the zero-copy form */
    int impls[MAX_OPS];
    int64_t harness_failures, mistrusted, impostors, refusals; /* refusals: by shape rules, as expected */
    case_list cases;
    double *seconds; /* that each case took */
    int next, started;
    pthread_mutex_t lock;
    const char *filter, *only, *isa, *device, *counts;
    int part, parts; /* the cases whose hash is `part` modulo `parts` */
    int slowest;     /* so many cases are named with the seconds they took */
    double heavy;    /* cases of more operations are sampled; 0: none are */
    bool verbose, exact; /* exact: only the exact values, so that counts say nothing of coverage */
};

bool crosscheck_takes(const struct crosscheck *all, const op_case *one); /* by --filter and --part */

/* Prints what came of it, writes the counts to the file of --counts, and says how to exit. */
int crosscheck_report(struct crosscheck *all, double seconds);

#endif
