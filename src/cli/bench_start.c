/* bench start: how long it takes from the start of a process to the end of its first training step of LeNet-5, seen from
 * outside: the command starts itself again and again, and reads when the other one says it is there. All clocks are the
 * machine's monotonic one, so the parts can be told apart. And what has to be loaded for it: the size of this command
 * without symbols, the library included. */
#include <elf.h>
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"

enum { PARTS = 6 };
static const char *const parts[PARTS] = {"process", "context", "network", "data", "program", "step"};

struct bench_start {
    struct common_options common;
    int64_t samples, batch;
    bool child;
};

/* ---- the other process ---- */

/* Writes the seconds at which each part was done. */
static int first_step(const struct bench_start *b, double entered)
{
    double at[PARTS] = {entered};
    int code = 0;
    const struct bench_net_options options = {.model = "lenet5", .optimizer = "adam", .precision = "f32", .batch = b->batch};
    plumb_context *context = cli_open(&b->common, &code);
    if (!context) {
        return code;
    }
    struct bench_net net;
    at[1] = plumb_seconds();
    plumb_status status = bench_net_make(&net, context, &options);
    at[2] = plumb_seconds();
    net.few = true;
    status = status ? status : bench_net_data(&net);
    at[3] = plumb_seconds();
    status = status ? status : bench_net_training(&net);
    at[4] = plumb_seconds();
    status = status ? status : bench_net_step(&net);
    at[5] = plumb_seconds();
    for (int i = 0; !status && i < PARTS; i++) {
        printf("%.9f%s", at[i], i + 1 < PARTS ? " " : "\n");
    }
    fflush(stdout);
    code = status ? cli_fail("bench start", context, status) : 0;
    plumb_close(context);
    return code;
}

/* ---- this one ---- */

/* One process: seconds from its start to each part. */
static bool start_once(char **arguments, double to[PARTS])
{
    int ends[2], status = 0;
    pid_t child = -1;
    char line[256] = "";
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0) {
        return false;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    double begin = plumb_seconds();
    int failed = posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    bool read = !failed && from && fgets(line, sizeof(line), from);
    if (from) {
        fclose(from);
    }
    while (!failed && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    char *at = line;
    for (int i = 0; read && i < PARTS; i++) {
        to[i] = strtod(at, &at) - begin;
    }
    return read && status == 0;
}

/* Bytes of the file that are loaded: what is left when symbols are stripped. 0: not known. */
static int64_t loaded_size(const char *path)
{
    Elf64_Ehdr head;
    Elf64_Shdr section;
    int64_t bytes = 0;
    FILE *file = fopen(path, "rb");
    if (file && fread(&head, sizeof(head), 1, file) == 1 && memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 &&
        head.e_ident[EI_CLASS] == ELFCLASS64 && fseek(file, (long)head.e_shoff, SEEK_SET) == 0) {
        for (int i = 0; i < head.e_shnum && fread(&section, sizeof(section), 1, file) == 1; i++) {
            bytes += section.sh_flags & SHF_ALLOC && section.sh_type != SHT_NOBITS ? (int64_t)section.sh_size : 0;
        }
    }
    if (file) {
        fclose(file);
    }
    return bytes;
}

static void print_start(const struct bench_start *b, double (*seconds)[BENCH_SAMPLES_MAX])
{
    int n = (int)b->samples;
    double median[PARTS], low, high;
    for (int i = 0; i < PARTS; i++) {
        median[i] = bench_median(seconds[i], n);
    }
    low = seconds[PARTS - 1][n / 10];
    high = seconds[PARTS - 1][n - 1 - n / 10];
    char size[32];
    int64_t bytes = loaded_size("/proc/self/exe");
    if (b->common.json) {
        printf("{\"bench\":\"start\",\"model\":\"lenet5\",\"batch\":%lld", (long long)b->batch);
        printf(",\"seconds\":%.6g,\"seconds_low\":%.6g,\"seconds_high\":%.6g,\"samples\":%d", median[PARTS - 1], low, high, n);
        for (int i = 0; i < PARTS; i++) {
            printf(",\"until_%s\":%.6g", parts[i], median[i]);
        }
        printf(",\"loaded_bytes\":%lld}\n", (long long)bytes);
        return;
    }
    print_bytes(size, bytes);
    printf("from the start of a process to the end of the first step of LeNet-5, batch %lld: %.2f ms (%.2f to %.2f, %d "
           "processes)\n",
           (long long)b->batch, 1e3 * median[PARTS - 1], 1e3 * low, 1e3 * high, n);
    for (int i = 0; i < PARTS; i++) {
        printf("    %-10s %8.2f ms\n", parts[i], 1e3 * (median[i] - (i ? median[i - 1] : 0)));
    }
    printf("this command, the library included, loads %s\n", size);
}

int command_bench_start(int argc, char **argv)
{
    double entered = plumb_seconds();
    struct bench_start b = {.common = COMMON_DEFAULTS, .samples = 21, .batch = 64};
    const struct option_row rows[] = {
        {"samples", "N", "processes (default 21)", OPTION_WHOLE, &b.samples, 3, BENCH_SAMPLES_MAX, NULL},
        {"batch", "N", "examples in the step (default 64)", OPTION_WHOLE, &b.batch, 1, 65536, NULL},
        {"first-step", NULL, "only do it, once, and tell when what was done", OPTION_FLAG, &b.child, 0, 0, NULL},
        COMMON_ROWS(b.common),
    };
    static const struct command self = {"bench start", "", "Times processes until their first training step is done.", NULL};
    static double seconds[PARTS][BENCH_SAMPLES_MAX];
    int code = 0;
    if (cli_parse(&(struct option_set){&self, CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    if (b.child) {
        return first_step(&b, entered);
    }
    char **arguments = calloc((size_t)argc + 5, sizeof(*arguments));
    if (!arguments) {
        return cli_refuse("bench start", "out of memory");
    }
    char *const first[] = {"plumb", "bench", "start", "--first-step"};
    memcpy(arguments, first, sizeof(first));
    for (int i = 0; i < argc; i++) {
        arguments[4 + i] = argv[i];
    }
    for (int s = 0; !code && s < b.samples; s++) {
        double to[PARTS];
        if (!start_once(arguments, to)) {
            code = cli_refuse("bench start", "the process that was started failed");
        }
        for (int i = 0; !code && i < PARTS; i++) {
            seconds[i][s] = to[i];
        }
    }
    free(arguments);
    if (!code) {
        print_start(&b, seconds);
    }
    return code;
}
