/* One example, changed at random: for the loader. */
#ifndef PLUMB_DATA_AUGMENT_H
#define PLUMB_DATA_AUGMENT_H

#include "data/dataset.h"

struct plumb_mixed {
    int label, second;
    float share; /* of the first */
};

/* Where a thread works. */
struct plumb_augment_work {
    struct plumb_scratch scratch;
    float *from, *other; /* [item]; NULL where nothing is augmented */
    float *field;        /* [4][height * width] of elastic warps; NULL without */
    double *kernel;      /* [2 * radius + 1] of their smoothing */
    int radius;
};
/* augment NULL: room to read examples only. */
plumb_status plumb_augment_work_make(const struct dataset *d, const plumb_augment *augment, struct plumb_augment_work *work);
void plumb_augment_work_free(const struct dataset *d, struct plumb_augment_work *work);

/* Refuses what cannot be done to the set's pictures; fills in defaults. */
plumb_status plumb_augment_check(const struct dataset *d, plumb_augment *augment);

/* Example `index` as floats, changed as (seed, epoch, index) say; `mixed` comes with its own label twice and a share of 1.
 * False after an error: work->scratch.why. Touches nothing of the context. */
bool plumb_augment_example(const struct dataset *d, const plumb_augment *augment, uint64_t seed, int64_t epoch,
                           int64_t index, struct plumb_augment_work *work, float *to, struct plumb_mixed *mixed);

#endif
