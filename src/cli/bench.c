/* bench: never times what was not checked first (bench.h says how), and times what is to be compared in turns. References
 * are the CPU's, whatever device is timed, so they compute in a context of their own, which is closed before the clock
 * starts. Medians are reported with their spread. */
#include <math.h>
#include <time.h>

#include "cli/bench.h"

/* ---- timing ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
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

/* So many steps; the seconds of all of them. */
static plumb_status spend(const struct bench_timed *t, int64_t steps, double *seconds)
{
    plumb_status status = PLUMB_OK;
    double begin = plumb_seconds();
    for (int64_t i = 0; !status && i < steps; i++) {
        status = t->step(t->user);
    }
    status = status || !t->finish ? status : t->finish(t->user);
    *seconds = plumb_seconds() - begin;
    return status;
}

/* Until its threads sleep. */
static void leave(const struct bench_timed *t)
{
    struct timespec pause = {.tv_nsec = (long)(t->lingers * 1e9)};
    if (t->lingers > 0) {
        nanosleep(&pause, NULL);
    }
}

static plumb_status warm_up(struct bench_timed *t)
{
    double seconds = 0;
    plumb_status status = spend(t, 1, &seconds); /* the first one prepares much that the others find */
    t->times.per_sample = 1;
    for (; !status; t->times.per_sample *= 2) {
        status = spend(t, t->times.per_sample, &seconds);
        if (seconds >= (t->least > 0 ? t->least : 0.05)) {
            break;
        }
    }
    leave(t);
    return status;
}

/* One sample of the turns. */
static plumb_status take_turn(const struct bench_timed *t, bool alone, double *seconds)
{
    double begun;
    plumb_status status = alone ? PLUMB_OK : spend(t, 1, &begun);
    status = status ? status : spend(t, t->times.per_sample, seconds);
    *seconds /= (double)t->times.per_sample;
    leave(t);
    return status;
}

plumb_status bench_time(struct bench_timed *list, int count, int samples, int *failed)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < count; i++) {
        *failed = i;
        status = warm_up(&list[i]);
    }
    for (int s = 0; s < samples; s++) {
        for (int i = 0; !status && i < count; i++) {
            *failed = i;
            status = take_turn(&list[i], count == 1, &list[i].seconds[s]);
        }
    }
    for (int i = 0; !status && i < count; i++) {
        struct bench_times *t = &list[i].times;
        t->median = bench_median(list[i].seconds, samples);
        t->low = list[i].seconds[samples / 10];
        t->high = list[i].seconds[samples - 1 - samples / 10];
        t->samples = samples;
    }
    return status;
}

void bench_json_times(const struct bench_times *t)
{
    printf(",\"seconds\":");
    json_number(stdout, t->median);
    printf(",\"seconds_low\":");
    json_number(stdout, t->low);
    printf(",\"seconds_high\":");
    json_number(stdout, t->high);
    printf(",\"samples\":%d", t->samples);
}

/* ---- lists ---- */

/* The next word of "a,b,c"; the rest, or NULL where there is none. */
static const char *next_word(const char *text, char word[64])
{
    size_t length = strcspn(text, ",");
    snprintf(word, 64, "%.*s", (int)(length < 64 ? length : 63), text);
    return text[length] ? text + length + 1 : NULL;
}

int bench_numbers(const char *command, const char *option, const char *text, double low, double high, int64_t *values)
{
    char word[64];
    int count = 0;
    while (text) {
        text = next_word(text, word);
        if (count == BENCH_LIST_MAX) {
            return cli_refuse(command, "--%s: more than %d numbers", option, BENCH_LIST_MAX), 0;
        }
        if (!cli_whole(word, low, high, &values[count++])) {
            return cli_refuse(command, "--%s: '%s' is not a whole number from %.10g to %.10g", option, word, low, high), 0;
        }
    }
    return count;
}

static const char *name_at(const void *user, int index)
{
    const char *(*const *name)(int index) = user;
    return (*name)(index);
}

int bench_names(const char *command, const char *option, const char *text, const char *(*name)(int index),
                const char **values)
{
    char word[64];
    int count = 0;
    while (text) {
        int i = 0;
        text = next_word(text, word);
        while (name(i) && strcmp(name(i), word) != 0) {
            i++;
        }
        if (!name(i)) {
            const char *near = cli_nearest(word, name_at, &name);
            return cli_refuse(command, "--%s: '%s' is not known%s%s%s (plumb %s --help lists what is)", option, word,
                              near ? "; did you mean " : "", near ? near : "", near ? "?" : "", command),
                   0;
        }
        if (count == BENCH_LIST_MAX) {
            return cli_refuse(command, "--%s: more than %d names", option, BENCH_LIST_MAX), 0;
        }
        values[count++] = name(i);
    }
    return count;
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
    return *message ? plumb_fail(context, status, "bench: %s", message) : status;
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
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } benches[] = {{"train", command_bench_train},
                   {"op", command_bench_op},
                   {"data", command_bench_data},
                   {"start", command_bench_start}};
    for (int i = 0; argc > 0 && i < 4; i++) {
        if (strcmp(argv[0], benches[i].name) == 0) {
            return benches[i].run(argc - 1, argv + 1);
        }
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        printf("Usage: plumb bench train [options]\n       plumb bench op [OP] [options]\n"
               "       plumb bench data [options]\n       plumb bench start [options]\n%s\n\n"
               "plumb bench train --help and so on list the options.\n",
               cli_command("bench")->summary);
        return 0;
    }
    return cli_refuse("bench", "what? plumb bench train, op, data or start");
}
