/* A probe of gradients: a loss, what it is differentiated by, and tensors that claim to be its gradients; the claim is
 * held against five-point difference quotients in f64. Who made the claim does not matter: an op's rule, a rule of a
 * rule, or a mistake planted on purpose. */
#ifndef PLUMB_TESTS_PROBE_H
#define PLUMB_TESTS_PROBE_H

#include "plumb/program.h"
#include "values.h"

#define PROBE_TOLERANCE 1e-9 /* measured: right rules stay below 1e-11, the smallest planted mistake is 1e-8 */
#define PROBE_ELEMENTS 200   /* of one tensor; beyond, by lot */

struct probe {
    plumb_context *context;
    plumb_graph *graph;
    plumb_state *state;
    plumb_t loss;
    int n;
    plumb_t variable[CASE_MAX_IN], claim[CASE_MAX_IN]; /* PLUMB_NO_GRADIENT: none is claimed */
    bool may_vanish[CASE_MAX_IN];                      /* a gradient of zero is no sign of a bad case */
};

struct probe_result {
    int64_t elements;
    double worst;  /* |claim - quotient| over the largest of both and of the claim's tensor */
    double normed; /* the worst |a - n| / (|a| + |n|) of a variable */
    double course; /* the same by central differences with h = 1e-7 */
    char why[512]; /* what is wrong; "" when nothing is */
};

bool probe_run(struct probe *probe, struct probe_result *result);

#endif
