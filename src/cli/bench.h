/* What the benches share: timing in samples, the check before the timing, networks with random data.
 *
 * What agreement with the reference means, before a training step is timed:
 *
 * - Each op of the step is computed by the reference as well, from the inputs that it was really given, and compared
 *   over its whole output: relative to its size, within BENCH_OP in f32 and two roundings in bf16 and f16; to the
 *   size that a sum has whose terms have signs by chance, where they cancel. This is where a kernel that is wrong shows,
 *   at any depth.
 * - The loss agrees within BENCH_AGREE with the same program computed by the reference alone: it is continuous, and
 *   rounding stays rounding.
 * - Gradients from the two programs agree within BENCH_GRADIENTS only. Sums that are rounded differently let a relu open
 *   or a maximum move where its input is about 0, and then one element of a gradient is all there or all gone. In a
 *   tensor of n elements of which k flip this is sqrt(k / n) of its size: some 0.003 in ResNet-18, whose sums differ by
 *   10^-6 to 10^-5. This comparison is for what the ops cannot show, a graph or plan that is wrong, and shows at 1. In
 *   bf16 and f16, whose results are rounded to 2^-8, a part of all gates flips: resnet8-cifar differs by 0.17 (native
 *   kernels against the reference, both in bf16) and both differ from f32 by as much, resnet18-cifar by 0.5; with elu in
 *   place of relu, whose slope has no step, resnet8-cifar differs by 0.017. What is left to this comparison then is a
 *   gradient that is missing or another's. */
#ifndef PLUMB_CLI_BENCH_H
#define PLUMB_CLI_BENCH_H

#include "cli/cli.h"
#include "exec/exec.h"

#define BENCH_SAMPLES_MAX 1001
#define BENCH_PARAMETERS_MAX 512
#define BENCH_AGREE 1e-4 /* |y - r| / |r| over a tensor: sums in f32 in another order stay well below */
#define BENCH_OP 3e-5    /* of one op: 10^-6 was seen; Winograd's transforms lose another digit */
#define BENCH_GRADIENTS 0x1p-4
#define BENCH_LOSS_LOW 0x1p-6
#define BENCH_GRADIENTS_LOW 1

/* ---- timing (bench.c) ---- */

struct bench_times {
    double median, low, high; /* seconds of one step: median, 10 % and 90 % quantiles of the samples */
    int samples;
    int64_t per_sample;
};

/* One of several things that are timed in turns. */
struct bench_timed {
    plumb_status (*step)(void *user);
    plumb_status (*finish)(void *user); /* waits for the device at the end of a sample; NULL: steps do */
    void *user;
    double *seconds; /* room for the samples */
    double least;    /* seconds of a sample; 0: 0.05 */
    double lingers;  /* seconds that threads of its own may go on spinning after its turn, in the way of whoever is next */
    struct bench_times times;
};

/* A sample of each, again and again, so that what else the machine does meets all of them; each sample is as many steps
 * as take so long, which also warms up. In turns, each begins with a step that is not timed: it finds its caches and its
 * threads as the one before left them. *failed is the one that did not return PLUMB_OK. */
plumb_status bench_time(struct bench_timed *list, int count, int samples, int *failed);
double bench_median(double *values, int count); /* sorts them */
double bench_spread(const struct bench_times *times); /* (high - low) / median */
void bench_json_times(const struct bench_times *times);  /* ,"seconds":...,"samples":21 */

/* ---- what is given as a list: --batch 1,8,64 ---- */

enum { BENCH_LIST_MAX = 32 };
/* How many numbers in low to high, or words that `name` knows; 0 after refusing in one line. */
int bench_numbers(const char *command, const char *option, const char *text, double low, double high, int64_t *values);
int bench_names(const char *command, const char *option, const char *text, const char *(*name)(int index),
                const char **values);

/* ---- comparing ---- */

/* The context in which references compute: on the CPU whatever is timed, as no other device has them. */
plumb_context *bench_open_reference(const struct common_options *common, int *code);
/* `status`, with the message of the reference's context, if there is one, said in `context`. */
plumb_status bench_say(plumb_context *context, const plumb_context *reference, plumb_status status);
/* Raises *worst to |a - b| / |b| of f32 outputs of two programs, here and in the reference's context, that have run;
 * NaN sticks. */
plumb_status bench_difference(plumb_context *context, plumb_program *a, plumb_t of_a, plumb_program *b, plumb_t of_b,
                              double *worst);

/* A call of an op with its inputs as they were, on the host (bench_check.c): taken before the call runs; then the
 * reference makes outputs of its own, and what the call made is compared with them. */
struct bench_call {
    plumb_context *context; /* the reference's, which has the memory and the messages */
    const plumb_op *op;
    char name[64];
    void *attr;
    int n_in, n_out;
    plumb_view *view; /* [n_in + n_out] */
    void **memory;    /* [n_in + n_out] */
    bool computed;    /* the outputs are the reference's */
};
plumb_status bench_call_take(struct bench_call *c, plumb_context *context, const plumb_call *call);
plumb_status bench_call_reference(struct bench_call *c);
/* It may have to compute something else in place of the reference's outputs: see `computed`. */
plumb_status bench_call_compare(struct bench_call *c, const plumb_call *call, const char *implementation, double *worst);
void bench_call_free(struct bench_call *c);
/* The elements that a view reaches over, of which there may be fewer; how many of them lie before element (0, ..., 0); and
 * where element i of its elements, row by row, lies from that. */
int64_t bench_view_span(const plumb_view *view);
int64_t bench_view_first(const plumb_view *view);
int64_t bench_view_offset(const plumb_view *view, int64_t i);

/* ---- single ops ---- */

#define BENCH_INPUTS_MAX 16
#define BENCH_FORWARD "forward" /* the name of the op that was asked for, among those of its gradient */

/* An op as it is given on the command line (bench_spec.c). */
struct bench_spec {
    const char *op, *shapes, *set;
    plumb_dtype dtype; /* of inputs that are not given one */
};
struct bench_built {
    plumb_t in[BENCH_INPUTS_MAX], y;
    plumb_type type[BENCH_INPUTS_MAX];
    int n_in;
};
/* "stride=2x2,padding=1x1x1x1": what is not as when it is left out. */
const char *bench_attributes(const plumb_call *call, char *to, size_t room);
plumb_status bench_spec_build(const struct bench_spec *spec, plumb_graph *graph, struct bench_built *built);

struct bench_case_options {
    const char *names[BENCH_LIST_MAX]; /* implementations to compare, each with "@rows" or "@last" behind it or without;
                                          those that do not take the call are left out */
    int n_names;                       /* 0: the one that a program would take */
    const char *implementations;       /* as in --impl */
    const char *layout;                /* "auto": what each wants, "rows", "last", or "planned": as the call is */
    bool check;
    int samples;
    double least; /* seconds of a sample */
};
struct bench_result {
    const char *implementation, *layout; /* layout: "rows", "last", "" of what has no pictures */
    struct bench_times times;
    double difference, flops, bytes;
};
/* Checks and times a call, whose inputs are there, on its device (bench_case.c). */
plumb_status bench_case(const plumb_call *call, plumb_context *reference, const struct bench_case_options *options,
                        struct bench_result *results, int *count);

/* What the machine can do at most (bench_ceiling.c); zeroes where it is not known. */
struct bench_ceilings {
    double flops, flops_bf16, bytes; /* a second: f32 multiply-adds count two, a triad's reads and writes */
    double launch;                   /* seconds of a run of the thread pool that computes nothing */
};
plumb_status bench_measure_ceilings(plumb_context *context, struct bench_ceilings *ceilings);
double bench_peak_of(const struct bench_ceilings *ceilings, plumb_dtype dtype);

/* ---- networks (bench_net.c) ---- */

struct bench_net_options {
    const char *model, *optimizer, *precision;
    int64_t batch, classes;
    plumb_shape picture; /* rank 0: the model's own */
};

struct bench_net {
    plumb_context *context;
    struct bench_net_options options;
    plumb_model net;
    plumb_state *state;
    plumb_dataset *data;
    plumb_loader *loader;
    plumb_program *program;
    plumb_t out[BENCH_PARAMETERS_MAX + 1]; /* what is compared: the loss, then its gradients */
    int n_out;
    bool few; /* two batches of data will do */
};
plumb_status bench_net_make(struct bench_net *n, plumb_context *context, const struct bench_net_options *options);
plumb_status bench_net_data(struct bench_net *n);     /* random pictures and labels, and a loader */
plumb_status bench_net_training(struct bench_net *n); /* the program of a training step */
plumb_status bench_net_step(void *net);               /* loader, step, loss */
void bench_net_free(struct bench_net *n);

/* ---- the check of a training step (bench_agree.c) ---- */

struct bench_agreement {
    struct bench_net_options options; /* what was checked: batch and picture may be smaller than what is timed */
    double ops, loss, gradients;      /* greatest differences */
};
/* What is checked in place of `options`: them, or less where the reference would take long. */
plumb_status bench_shrink(plumb_context *context, const struct bench_net_options *options, bool full,
                          struct bench_net_options *checked);
/* Checks agreement->options and fills in the rest. */
plumb_status bench_agree(plumb_context *context, plumb_context *reference, struct bench_agreement *agreement);

/* ---- where the time goes (bench_profile.c) ---- */

/* Prints where the time of step(user), which runs `program` once, goes: the medians of so many runs. */
plumb_status bench_profile(plumb_context *context, plumb_program *program, plumb_status (*step)(void *user), void *user,
                           int runs, bool nodes, bool json);

/* "(64, 6, 28, 28) (16, 6, 5, 5) -> (64, 16, 24, 24) " */
const char *bench_shapes(const plumb_call *call, char *to, size_t room);

int command_bench_train(int argc, char **argv);
int command_bench_op(int argc, char **argv);
int command_bench_data(int argc, char **argv);
int command_bench_start(int argc, char **argv);

#endif
