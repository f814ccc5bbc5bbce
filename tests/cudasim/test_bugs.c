/* Each planted bug is run in a process of its own, and this build must say what bugs.h promises. */
#include "control.h"
#include "samples.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct bug {
    const char *name, *options, *expected[3];
} bugs[] = {
#define BUG(name, options, plain, asan, checker) {#name, options, {plain, asan, checker}},
#include "bugs.h"
};

#if defined CUDASIM_ASAN
enum { BUILD = 1 };
#elif defined CUDASIM_CHECKER
enum { BUILD = 2 };
#else
enum { BUILD = 0 };
#endif

static const struct bug *current;

static void run_bug(void)
{
    static char report[1 << 16];
    size_t length = 0;
    ssize_t got;
    int ends[2], status;
    if (pipe(ends) != 0) {
        abort();
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        dup2(ends[1], 2);
        if (!cudasim_set(current->options)) {
            abort();
        }
        sample_bug((int)(current - bugs));
        exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], report + length, sizeof report - 1 - length)) > 0) {
        length += (size_t)got;
    }
    report[length] = 0;
    close(ends[0]);
    waitpid(child, &status, 0);
    CHECK(status != 0);
    CHECK(strstr(report, current->expected[BUILD]));
    if (!strstr(report, current->expected[BUILD])) {
        fprintf(stderr, "%s: expected \"%s\" in:\n%.2000s\n", current->name, current->expected[BUILD], report);
    }
}

void test_bugs(void)
{
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        current = &bugs[i];
        if (current->expected[BUILD]) {
            char name[128];
            snprintf(name, sizeof name, "bug %s", current->name);
            test_run(name, run_bug);
        }
    }
}
