/* What the forms of batch norm share: what a channel's statistics come to. norm.c has row-major planes, norm_columns.c
 * channels-last pictures and rows of features. */
#ifndef PLUMB_NATIVE_NORM_H
#define PLUMB_NATIVE_NORM_H

#include "op/attr.h"

/* What is done to every element of a channel: y = (x - centre) factor + shift, or dx = dy factor + (x -
 * centre) slope + shift. */
struct norm_line {
    float centre, factor, slope, shift;
};

/* Channel c of m values, of this mean and biased variance: stores its statistics, and says what makes y. */
struct norm_line plumb_norm_finish(const plumb_call *call, int64_t c, int64_t m, double mean, double variance);
/* y by the running statistics. */
struct norm_line plumb_norm_running(const plumb_call *call, int64_t c);
/* The sums of dy and of dy (x - mean): stores the gradients of shift and scale, and says what makes dx. */
struct norm_line plumb_norm_finish_backward(const plumb_call *call, int64_t c, int64_t m, double sum, double weighted);

/* Channels in lanes: f32 or bf16, what is per channel f32. */
bool plumb_norm_columns_supports(const plumb_call *call);
size_t plumb_norm_columns_workspace(const plumb_call *call);
plumb_status plumb_norm_columns_training(const plumb_call *call);
plumb_status plumb_norm_columns_inference(const plumb_call *call);
plumb_status plumb_norm_columns_backward(const plumb_call *call);

#endif
