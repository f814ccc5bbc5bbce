/* Tests are written once and run by two programs: Criterion's (a process per test, so a crash is one failure) and our
 * plain one (tests/runner.c), which sanitizers, valgrind and leak checks can look into: Criterion hides leaks and does
 * not run under ThreadSanitizer. Conditions are plain C and written so that a NaN fails. */
#ifndef PLUMB_TESTS_CHECK_H
#define PLUMB_TESTS_CHECK_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PLUMB_CRITERION
#include <criterion/criterion.h>
#define PLUMB_TEST(suite, name) Test(suite, name)
#else
struct check_test {
    const char *suite, *name, *file;
    int line;
    void (*run)(void);
    struct check_test *next;
};
void check_register(struct check_test *test);

#define PLUMB_TEST(suite_, name_)                                                                                     \
    static void check_run_##suite_##_##name_(void);                                                                   \
    static struct check_test check_row_##suite_##_##name_ = {                                                         \
        #suite_, #name_, __FILE__, __LINE__, check_run_##suite_##_##name_, NULL};                                     \
    __attribute__((constructor)) static void check_add_##suite_##_##name_(void)                                       \
    {                                                                                                                 \
        check_register(&check_row_##suite_##_##name_);                                                                \
    }                                                                                                                 \
    static void check_run_##suite_##_##name_(void)
#endif

/* Marks the running test as failed and goes on. */
void check_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Skips the running test (returns in the plain runner, so SKIP returns too). An unlisted skip is a failure. */
void check_skip(const char *suite_and_name, const char *file, int line, const char *reason);
/* How many checks of the running test failed: for loops that would otherwise print thousands of lines. */
int check_failures(void);

#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            check_fail(__FILE__, __LINE__, "%s", #condition);                                                         \
        }                                                                                                             \
    } while (0)

#define CHECK_MSG(condition, ...)                                                                                     \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            check_fail(__FILE__, __LINE__, __VA_ARGS__);                                                              \
        }                                                                                                             \
    } while (0)

/* As CHECK, and leaves the test function at once: for what the rest stands on. */
#define REQUIRE(condition)                                                                                            \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            check_fail(__FILE__, __LINE__, "%s", #condition);                                                         \
            return;                                                                                                   \
        }                                                                                                             \
    } while (0)

#define CHECK_NEAR(a, b, tolerance)                                                                                   \
    do {                                                                                                              \
        double check_a_ = (double)(a), check_b_ = (double)(b), check_t_ = (double)(tolerance);                        \
        if (!(check_a_ == check_b_) && !(fabs(check_a_ - check_b_) <= check_t_)) {                                    \
            check_fail(__FILE__, __LINE__, "%s = %.17g, expected %.17g within %g", #a, check_a_, check_b_, check_t_); \
        }                                                                                                             \
    } while (0)

/* `needle` is in `haystack` (a NULL haystack fails). */
#define CHECK_TEXT(haystack, needle)                                                                                  \
    do {                                                                                                              \
        const char *check_h_ = (haystack), *check_n_ = (needle);                                                      \
        if (!check_h_ || !strstr(check_h_, check_n_)) {                                                               \
            check_fail(__FILE__, __LINE__, "\"%s\" does not contain \"%s\"", check_h_ ? check_h_ : "(null)", check_n_);\
        }                                                                                                             \
    } while (0)

/* SKIP("suite/name", "no such device"): `suite/name` must be a line of tests/skips.txt. */
#define SKIP(suite_and_name, reason)                                                                                  \
    do {                                                                                                              \
        check_skip(suite_and_name, __FILE__, __LINE__, reason);                                                       \
        return;                                                                                                       \
    } while (0)

/* Seconds that all threads have computed: what limits are set to, as on a busy machine the clock on the wall runs on. */
double test_cpu_seconds(void);

#endif
