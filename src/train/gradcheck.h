/* What the two halves of the gradient check share: gradcheck_model.c makes the copy in f64 and evaluates it,
 * gradcheck.c takes difference quotients and judges. */
#ifndef PLUMB_TRAIN_GRADCHECK_H
#define PLUMB_TRAIN_GRADCHECK_H

#include "plumb/check.h"

#include "graph/graph.h"

struct plumb_check_parameter {
    const char *name;
    int64_t count, first; /* elements; place of the first in the order of all */
    double *value, *gradient;
    double largest; /* of |gradient| */
};

struct plumb_checker {
    plumb_context *context;
    plumb_gradcheck_options options;
    plumb_gradcheck_report report;
    plumb_graph *graph;   /* in f64 */
    plumb_state *state;
    plumb_program *program; /* loss and branches */
    plumb_t loss, *branch;
    int n_branches;
    size_t branch_bytes;
    unsigned char *branch_base, *branch_now;
    struct plumb_check_parameter *parameter;
    int n_parameters;
    const plumb_binding *inputs;
    int n_inputs;
    double largest; /* of |gradient| over all parameters */
    double step, difference_2, analytic_2, numeric_2, course_2[3]; /* sums of squares */
};

/* Copies graph and state, finds the gradients at the state's values, makes the program that gives the loss alone. */
plumb_status plumb_checker_open(struct plumb_checker *c, plumb_graph *graph, plumb_state *state, plumb_t loss);
void plumb_checker_close(struct plumb_checker *c);
/* The loss at the state's values; *same is cleared if a kink lies between here and where the check began. */
plumb_status plumb_checker_loss(struct plumb_checker *c, double *loss, bool *same);

#endif
