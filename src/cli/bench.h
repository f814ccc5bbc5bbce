/* What the two benches share: timing in samples, and comparing with the reference. */
#ifndef PLUMB_CLI_BENCH_H
#define PLUMB_CLI_BENCH_H

#include "cli/cli.h"

#define BENCH_SAMPLES_MAX 1001
/* Where an f32 sum ends near the middle of two low numbers, another order may round it to the other one: here and there an
 * activation is off by 2^-7 (bf16) or 2^-10 (f16) of itself. */
#define BENCH_AGREE_BF16 0x1p-6
#define BENCH_AGREE_F16 0x1p-9
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
