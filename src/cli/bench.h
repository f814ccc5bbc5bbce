/* What the two benches share: timing in samples, and comparing with the reference. */
#ifndef PLUMB_CLI_BENCH_H
#define PLUMB_CLI_BENCH_H

#include "cli/cli.h"

#define BENCH_SAMPLES_MAX 1001
/* In bf16 and f16, where an f32 sum ends near the middle of two low numbers, another order may round it to the other one,
 * and a ReLU whose input is about 0 then lets a gradient through or not: up to 0.045 of a gradient in resnet8-cifar. A
 * kernel that is wrong shows at 1. */
#define BENCH_AGREE_LOW 0x1p-3
#define BENCH_AGREE 1e-4 /* |a - r| / |r| over a tensor: sums in f32 in another order stay well below */

struct bench_times {
    double median, low, high; /* seconds of one step: median, 10 % and 90 % quantiles of the samples */
    int samples;
    int64_t per_sample;
};
plumb_status bench_time(plumb_status (*step)(void *user), void *user, int samples, struct bench_times *times);
double bench_spread(const struct bench_times *times); /* (high - low) / median */
/* Raises *worst to |a - b| / |b| of an f32 output of two programs that have run; NaN sticks. */
plumb_status bench_difference(plumb_context *context, plumb_program *a, plumb_program *b, plumb_t output,
                              double *worst);

int command_bench_op(int argc, char **argv);

#endif
