/* A problem small enough to be learned in a second: which half of a picture is the brighter one; and states compared. */
#ifndef PLUMB_TESTS_HALVES_H
#define PLUMB_TESTS_HALVES_H

#include "plumb/plumb.h"

#define SIDE 8
#define PIXELS (SIDE * SIDE)

/* `count` pictures (1, 8, 8), label 1: the right half is brighter. Other streams are other pictures. The example `bad` has a
 * pixel `value`; -1: none has. */
plumb_dataset *halves(plumb_context *context, int count, uint32_t stream, int64_t bad, float value);

struct halves_bench {
    plumb_context *context;
    plumb_model model;
    plumb_state *state;
    plumb_dataset *train, *test; /* 300 and 101 examples */
};
/* A model for them; the context is the caller's to close. */
bool halves_open(struct halves_bench *b, const char *model, double drop, int threads, int64_t bad);

/* Everything of one state to another that has the same names, which may be another context's. */
void state_copy(plumb_state *to, const plumb_state *from);
/* The first value whose bits differ, NULL if none does. */
const char *state_difference(const plumb_state *a, const plumb_state *b);

#endif
