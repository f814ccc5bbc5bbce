/* The activations that other ops carry, for the references. */
#ifndef PLUMB_REF_ACTIVATE_H
#define PLUMB_REF_ACTIVATE_H

#include "op/attr.h"

#include <math.h>

static inline double activated(int activation, double x)
{
    switch (activation) {
    case PLUMB_ACTIVATION_RELU: return x > 0 || isnan(x) ? x : 0;
    case PLUMB_ACTIVATION_SIGMOID: return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); /* neither overflows */
    case PLUMB_ACTIVATION_TANH: return tanh(x);
    default: return x;
    }
}

/* dy times the activation's derivative where its result is y. */
static inline double activated_backward(int activation, double y, double dy)
{
    switch (activation) {
    case PLUMB_ACTIVATION_RELU: return y > 0 || isnan(y) ? dy : 0;
    case PLUMB_ACTIVATION_SIGMOID: return dy * y * (1 - y);
    case PLUMB_ACTIVATION_TANH: return dy * ((1 - y) * (1 + y));
    default: return dy;
    }
}

#endif
