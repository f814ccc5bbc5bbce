/* The three parts of the gradient check program. */
#ifndef PLUMB_TESTS_GRADCHECK_H
#define PLUMB_TESTS_GRADCHECK_H

#include <stdbool.h>
#include <stdint.h>

struct gradcheck_count {
    int64_t passed, failed;
};

/* Every op, every input, four layouts (gradcheck.c). */
void check_ops(struct gradcheck_count *count, const char *filter, int threads, bool verbose);
/* Mistakes planted in hand-written gradients, all of which must be found (planted.c). */
void check_planted(struct gradcheck_count *count);
/* Whole models through the public plumb_gradcheck (gradmodels.c). */
void check_models(struct gradcheck_count *count);

#endif
