/* Where to look for hyper-parameters: values drawn from ranges, grids over them, and ranges narrowed around what was good.
 * Pure functions: the values of a trial depend on the ranges, the seed and the trial's number alone, so a search that was
 * broken off goes on as it would have. */
#ifndef PLUMB_SEARCH_H
#define PLUMB_SEARCH_H

#include "plumb/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum plumb_search_scale {
    PLUMB_SEARCH_LINEAR = 0,
    PLUMB_SEARCH_LOG,       /* r uniform, value 10^r: rates, strengths of regularisation */
    PLUMB_SEARCH_BELOW_ONE, /* 1 - value log-uniform: momenta, betas */
    PLUMB_SEARCH_WHOLE,     /* whole numbers, each as likely */
    PLUMB_SEARCH_WHOLE_LOG, /* whole numbers, log-uniform, rounded: batches, widths */
    PLUMB_SEARCH_CHOICE     /* the number of one of several choices: low is 0, high how many there are less 1 */
} plumb_search_scale;

typedef struct plumb_search_range {
    plumb_search_scale scale;
    double low, high; /* both included */
    int steps;        /* of a grid; 0: every choice and whole number up to 8, 5 of others */
} plumb_search_range;

/* NULL, or what is wrong with a range, in words. */
PLUMB_API const char *plumb_search_fault(const plumb_search_range *range);
/* The value at a position from 0 to 1 on the range's own scale, and the position of a value. */
PLUMB_API double plumb_search_value(const plumb_search_range *range, double position);
PLUMB_API double plumb_search_position(const plumb_search_range *range, double value);

/* values[count] of a trial (from 0), drawn independently of each other. */
PLUMB_API void plumb_search_random(const plumb_search_range *ranges, int count, uint64_t seed, int64_t trial, double *values);

/* How many points the grid has (at most INT64_MAX), and the point of a trial; the last range changes fastest. */
PLUMB_API int64_t plumb_search_grid_size(const plumb_search_range *ranges, int count);
PLUMB_API void plumb_search_grid(const plumb_search_range *ranges, int count, int64_t trial, double *values);

/* The part of the range around `best` that is `share` as wide on its own scale, moved to lie inside. Choices stay. */
PLUMB_API plumb_search_range plumb_search_narrow(const plumb_search_range *range, double best, double share);

#ifdef __cplusplus
}
#endif
#endif
