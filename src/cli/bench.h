/* What the two benches share: timing in samples, and comparing with the reference. */
#ifndef PLUMB_CLI_BENCH_H
#define PLUMB_CLI_BENCH_H

#include "cli/cli.h"
#include "exec/exec.h"

#define BENCH_SAMPLES_MAX 1001
/* In bf16 and f16, where an f32 sum ends near the middle of two low numbers, another order may round it to the other one,
 * and a ReLU whose input is about 0 then lets a gradient through or not: up to 0.17 of a gradient in resnet8-cifar with
 * random pictures. What speaks for it: with 16 of them the native bf16 kernels differ from the reference by 0.17 at most
 * (0.11 in the median of the tensors), but both differ from f32 by as much (0.19 and 0.21; 0.12), and the logits by 0.003;
 * with elu in place of relu, whose slope has no step, gradients differ by 0.017 at most (0.01). The bound is above what
 * either differs from f32 by; a kernel that is wrong shows at 1. */
#define BENCH_AGREE_LOW 0x1p-2
#define BENCH_AGREE 1e-4 /* |a - r| / |r| over a tensor: sums in f32 in another order stay well below */

struct bench_times {
    double median, low, high; /* seconds of one step: median, 10 % and 90 % quantiles of the samples */
    int samples;
    int64_t per_sample;
};
plumb_status bench_time(plumb_status (*step)(void *user), void *user, int samples, struct bench_times *times);
double bench_median(double *values, int count); /* sorts them */
double bench_spread(const struct bench_times *times); /* (high - low) / median */
/* The context in which references compute: on the CPU whatever is timed, as no other device has them. */
plumb_context *bench_open_reference(const struct common_options *common, int *code);
/* Raises *worst to |a - b| / |b| of f32 outputs of two programs, here and in the reference's context, that have run;
 * NaN sticks. */
plumb_status bench_difference(plumb_context *context, plumb_program *a, plumb_t of_a, plumb_program *b, plumb_t of_b,
                              double *worst);
/* `status`, with the message of the reference's context, if there is one, said in `context`. */
plumb_status bench_say(plumb_context *context, const plumb_context *reference, plumb_status status);

/* Prints where the time of step(user), which runs `program` once, goes: the medians of so many runs. */
plumb_status bench_profile(plumb_context *context, plumb_program *program, plumb_status (*step)(void *user), void *user,
                           int runs, bool nodes, bool json);

int command_bench_train(int argc, char **argv);
int command_bench_op(int argc, char **argv);

#endif
