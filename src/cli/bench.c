/* bench: never times what was not checked first. A training step is compared with the same step on the reference
 * implementations (loss and every gradient), an op with the reference's result; then it is timed in samples of about a
 * tenth of a second, and the median is reported with its spread. References are the CPU's, whatever device is timed, so
 * they compute in a context of their own, which is closed before the clock starts. */
#include <math.h>

#include "cli/bench.h"

/* ---- timing ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

plumb_status bench_time(plumb_status (*step)(void *user), void *user, int samples, struct bench_times *t)
{
    double seconds[BENCH_SAMPLES_MAX];
    plumb_status status = PLUMB_OK;
    int64_t per_sample = 1;
    for (double spent = 0; !status && spent < 0.05; per_sample *= 2) { /* also warms up */
        double begin = plumb_seconds();
        for (int64_t i = 0; !status && i < per_sample; i++) {
            status = step(user);
        }
        spent = plumb_seconds() - begin;
    }
    for (int s = 0; !status && s < samples; s++) {
        double begin = plumb_seconds();
        for (int64_t i = 0; !status && i < per_sample; i++) {
            status = step(user);
        }
        seconds[s] = (plumb_seconds() - begin) / (double)per_sample;
    }
    if (!status) {
        qsort(seconds, (size_t)samples, sizeof(double), compare);
        *t = (struct bench_times){.median = seconds[samples / 2],
                                  .low = seconds[samples / 10],
                                  .high = seconds[samples - 1 - samples / 10],
                                  .samples = samples,
                                  .per_sample = per_sample};
    }
    return status;
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof(double), compare);
    return values[count / 2];
}

double bench_spread(const struct bench_times *t)
{
    return t->median > 0 ? (t->high - t->low) / t->median : 0;
}

/* ---- comparing ---- */

plumb_context *bench_open_reference(const struct common_options *common, int *code)
{
    struct common_options of_cpu = *common;
    of_cpu.device = "cpu";
    of_cpu.implementations = NULL;
    return cli_open(&of_cpu, code);
}

plumb_status bench_say(plumb_context *context, const plumb_context *reference, plumb_status status)
{
    const char *message = status && reference ? plumb_message(reference) : "";
    return *message ? plumb_fail(context, status, "reference: %s", message) : status;
}

plumb_status bench_difference(plumb_context *context, plumb_program *a, plumb_t of_a, plumb_program *b, plumb_t of_b,
                              double *worst)
{
    plumb_shape shape = plumb_output_shape(a, of_a), other = plumb_output_shape(b, of_b);
    int64_t count = plumb_shape_count(&shape);
    if (count != plumb_shape_count(&other)) {
        return plumb_fail(context, PLUMB_FAILED, "bench: the reference's result has another shape");
    }
    if (count < 1) {
        return PLUMB_OK;
    }
    float *x = plumb_alloc(context, (size_t)count * sizeof(float)),
          *y = plumb_alloc(context, (size_t)count * sizeof(float));
    plumb_status status = x && y ? plumb_fetch(a, of_a, x, (size_t)count * sizeof(float)) : PLUMB_FAILED;
    if (!status) {
        status = plumb_fetch(b, of_b, y, (size_t)count * sizeof(float));
    }
    double difference = 0, size = 0;
    for (int64_t i = 0; !status && i < count; i++) {
        double d = (double)x[i] - (double)y[i];
        difference += d * d;
        size += (double)y[i] * (double)y[i];
    }
    double relative =
        difference > 0 ? sqrt(difference / (size > 0 ? size : 1)) : difference; /* NaN stays NaN */
    if (!status && !(relative <= *worst)) {
        *worst = relative;
    }
    plumb_free(context, x);
    plumb_free(context, y);
    return status;
}

int command_bench(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "train") == 0) {
        return command_bench_train(argc - 1, argv + 1);
    }
    if (argc > 0 && strcmp(argv[0], "op") == 0) {
        return command_bench_op(argc - 1, argv + 1);
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("Usage: plumb bench train [options]\n       plumb bench op [OP] [options]\n%s\n\n"
               "plumb bench train --help and plumb bench op --help list the options.\n",
               cli_command("bench")->summary);
        return 0;
    }
    return cli_refuse("bench", "what? plumb bench train, or plumb bench op conv2d");
}
