/* A random descriptor of an op: how it is bred from cases (descriptor.c), for opfuzz.c, which runs it. */
#ifndef PLUMB_TESTS_OPFUZZ_H
#define PLUMB_TESTS_OPFUZZ_H

#include "trial.h"

struct opfuzz_cases { /* of one op */
    const op_case *items;
    int count;
};

struct descriptor {
    op_case one;
    plumb_dtype dtype;
    enum trial_values values;
    struct arrangement how;
    int isa;
};

void descriptor_make(struct descriptor *d, const struct opfuzz_cases *cases, struct dice *dice);
/* Once the types are known: few enough elements and operations to be tried. */
bool descriptor_is_small(const struct trial *trial, double most_operations);
/* Outputs lie over inputs only where the op allows that. */
void descriptor_fit_in_place(const struct trial *trial, struct descriptor *d);
/* Makes it simpler, in the way number `step`, which may change nothing; false past the last. */
bool descriptor_shrink(struct descriptor *d, int step);
/* One line: op, dtype, shapes with layouts, attributes as words that are not 0. */
void descriptor_text(const struct descriptor *d, char *to, size_t room);

#endif
