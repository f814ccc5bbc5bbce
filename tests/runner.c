/* What a check does when it fails, for both test programs, and the main function of the plain one: it runs every test
 * in this one process, then asks the leak sanitizer (if there is one) and the operating system what was left behind.
 *
 *     plumb-tests-plain [--list] [suite | suite/name]...
 *
 * Closing line: "N passed, N failed, N skipped". Fails on any failure, on a skip that tests/skips.txt does not list,
 * and when no test ran. */
#include "check.h"

#include <dirent.h>
#include <stdarg.h>
#include <time.h>

#ifndef PLUMB_TESTS_DIR
#define PLUMB_TESTS_DIR "tests"
#endif

static int failures; /* of the running test */

/* Is `suite_and_name` in tests/skips.txt? */
static bool skip_is_listed(const char *suite_and_name)
{
    const char *folder = getenv("PLUMB_TESTS_DIR");
    char path[1024], line[512];
    snprintf(path, sizeof(path), "%s/skips.txt", folder ? folder : PLUMB_TESTS_DIR);
    FILE *file = fopen(path, "re");
    bool found = false;
    size_t length = strlen(suite_and_name);
    while (file && !found && fgets(line, sizeof(line), file)) {
        found = strncmp(line, suite_and_name, length) == 0 && line[length] == ':';
    }
    if (file) {
        fclose(file);
    }
    return found;
}

int check_failures(void)
{
    return failures;
}

double test_cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#ifdef PLUMB_CRITERION

void check_fail(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    failures++;
    cr_expect(false, "%s:%d: %s", file, line, text);
}

void check_skip(const char *suite_and_name, const char *file, int line, const char *reason)
{
    if (skip_is_listed(suite_and_name)) {
        cr_skip("%s", reason);
    }
    check_fail(file, line, "skipped (%s), but %s is not in skips.txt", reason, suite_and_name);
}

#else

static struct check_test *tests;
static bool skipped;

/* Present when the program was linked with a leak sanitizer. */
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

void check_register(struct check_test *test)
{
    test->next = tests;
    tests = test;
}

void check_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    failures++;
    fprintf(stderr, "  %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void check_skip(const char *suite_and_name, const char *file, int line, const char *reason)
{
    if (!skip_is_listed(suite_and_name)) {
        check_fail(file, line, "skipped (%s), but %s is not in skips.txt", reason, suite_and_name);
        return;
    }
    skipped = true;
    printf("skip %s: %s\n", suite_and_name, reason);
}

static int open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

static int by_place(const void *a, const void *b)
{
    const struct check_test *x = *(const struct check_test *const *)a, *y = *(const struct check_test *const *)b;
    int order = strcmp(x->suite, y->suite);
    if (order == 0) {
        order = strcmp(x->file, y->file);
    }
    return order != 0 ? order : x->line - y->line;
}

/* No filter, or one of them is the suite or "suite/name". */
static bool is_wanted(const struct check_test *test, int count, char **filters)
{
    size_t length = strlen(test->suite);
    for (int i = 0; i < count; i++) {
        if (strncmp(filters[i], test->suite, length) == 0 &&
            (filters[i][length] == '\0' ||
             (filters[i][length] == '/' && strcmp(filters[i] + length + 1, test->name) == 0))) {
            return true;
        }
    }
    return count == 0;
}

/* Once a leak is found it is found after every later test too, so only the first is told. */
static void run_one(const struct check_test *test)
{
    static bool leak_known;
    struct timespec from, to;
    int files = open_files();
    failures = 0;
    skipped = false;
    clock_gettime(CLOCK_MONOTONIC, &from);
    test->run();
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (open_files() != files) {
        check_fail(test->file, test->line, "%d files open after the test, %d before", open_files(), files);
    }
    if (!leak_known && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) {
        check_fail(test->file, test->line, "memory was leaked (see above)");
        leak_known = true;
    }
    double seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    if (failures) {
        fprintf(stderr, "FAIL %s/%s (%d)\n", test->suite, test->name, failures);
    } else if (seconds > 5) {
        printf("slow %s/%s: %.1f s\n", test->suite, test->name, seconds);
    }
}

struct tally {
    int passed, failed, skipped;
};

static void count_one(struct tally *tally)
{
    tally->failed += failures > 0;
    tally->skipped += failures == 0 && skipped;
    tally->passed += failures == 0 && !skipped;
}

static void print_tally(const char *suite, const struct tally *tally)
{
    if (tally->passed + tally->failed + tally->skipped > 0) {
        printf("%-24s %4d passed, %d failed, %d skipped\n", suite, tally->passed, tally->failed, tally->skipped);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    int count = 0, at = 0;
    for (struct check_test *test = tests; test; test = test->next) {
        count++;
    }
    struct check_test **all = calloc((size_t)count + 1, sizeof(struct check_test *));
    if (!all) {
        return 1;
    }
    for (struct check_test *test = tests; test; test = test->next) {
        all[at++] = test;
    }
    qsort(all, (size_t)count, sizeof(struct check_test *), by_place);
    bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
    struct tally total = {0, 0, 0}, suite = {0, 0, 0};
    for (int i = 0; i < count; i++) {
        if (list) {
            printf("%s/%s\n", all[i]->suite, all[i]->name);
        } else if (is_wanted(all[i], argc - 1, argv + 1)) {
            run_one(all[i]);
            count_one(&suite);
            count_one(&total);
        }
        if (i + 1 == count || strcmp(all[i]->suite, all[i + 1]->suite) != 0) {
            print_tally(all[i]->suite, &suite);
            memset(&suite, 0, sizeof(suite));
        }
    }
    free(all);
    if (list) {
        return 0;
    }
    printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped);
    return total.failed > 0 || total.passed == 0;
}

#endif
