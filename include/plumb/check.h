/* Gradient checking of any model: the analytic gradients against difference quotients of the loss, in f64.
 *
 * The model is checked as it trains (dropout active with the state's key, batch statistics), on a copy retyped to f64;
 * nothing in the graph or the state changes. */
#ifndef PLUMB_CHECK_H
#define PLUMB_CHECK_H

#include "plumb/program.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum plumb_difference {
    PLUMB_DIFFERENCE_CENTRAL = 0, /* (J(x+h) - J(x-h)) / 2h */
    PLUMB_DIFFERENCE_FIVE_POINT   /* (J(x-2h) - 8J(x-h) + 8J(x+h) - J(x+2h)) / 12h */
} plumb_difference;

typedef struct plumb_gradcheck_options {
    size_t size;
    const plumb_t *parameters; /* NULL: the trainable variables */
    int n_parameters;
    plumb_difference method;
    double step;            /* h, times max(1, |x|); 0: 1e-5 (central), 1e-3 (five points) */
    double tolerance;       /* 0: 1e-8 */
    int64_t max_parameters; /* every element is checked up to this many; 0: 10,000 */
    int64_t samples;        /* beyond that, so many of them by lot; 0: 2,000 */
    int directions;         /* and the derivative along so many random directions; 0: 20, negative: none */
    uint64_t seed;          /* of the lot */
    bool allow_zero;        /* accept a parameter whose whole gradient is 0 (a bias before batch normalisation) */
    bool no_course;         /* leave out the figure of central differences at 1e-7, which costs as much again */
} plumb_gradcheck_options;

/* An element's error is |analytic - numeric| beyond the rounding noise of the quotient, over the largest of both and of
 * its parameter's gradient. The normed figures are |a - n| / (|a| + |n|) over all checked elements. */
typedef struct plumb_gradcheck_report {
    plumb_status status;        /* PLUMB_OK, or PLUMB_FAILED */
    double loss;
    int64_t total, checked;     /* elements */
    double normed;
    double course;              /* the same by central differences with h = 1e-7; NaN if left out */
    double worst;               /* the largest error of an element, */
    char worst_name[128];       /* and where it is */
    int64_t worst_index;
    double analytic, numeric;
    double direction_worst;     /* the largest error along a direction, over |a| */
    int directions;
    int64_t kinks_retried;      /* steps crossed a kink (another ReLU sign, another maximum): taken again, smaller */
    int64_t kinks_left;         /* still crossing it: not counted in the figures; over 1 % fails */
    int zero_parameters;        /* parameters with a gradient of 0 */
    char zero_name[128];        /* the first of them */
} plumb_gradcheck_report;

/* `loss` is a scalar of `graph`; inputs are fed as to plumb_eval, in the graph's own dtypes. state NULL: the initial
 * values. Returns PLUMB_OK when every figure is within the tolerance, PLUMB_FAILED with a message naming the worst
 * element when not; report (may be NULL) is filled in both cases. */
PLUMB_API plumb_status plumb_gradcheck(plumb_graph *graph, plumb_state *state, plumb_t loss, const plumb_binding *inputs,
                                       int n_inputs, const plumb_gradcheck_options *options,
                                       plumb_gradcheck_report *report);

#ifdef __cplusplus
}
#endif
#endif
