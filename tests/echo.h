/* A program that gives back what a loader feeds it. */
#ifndef PLUMB_TESTS_ECHO_H
#define PLUMB_TESTS_ECHO_H

#include "plumb/plumb.h"

struct echo {
    plumb_graph *graph;
    plumb_state *state;
    plumb_program *program;
    plumb_t x, y, second, share, x_out, y_out, second_out, share_out;
    int64_t item;
};
plumb_status echo_open(plumb_context *context, plumb_shape shape, struct echo *echo);
void echo_close(struct echo *echo);
/* The next batch of the loader: x (count, item), labels, and what was mixed (NULL: not wanted). As plumb_loader_next. */
int64_t echo_next(struct echo *echo, plumb_loader *loader, float *x, float *y, float *second, float *share);

#endif
