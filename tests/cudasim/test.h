/* The little that the simulator's test programs need of a harness. */
#ifndef CUDASIM_TEST_H
#define CUDASIM_TEST_H

#include <stdbool.h>
#include <stdio.h>

extern int test_wrong; /* of the running test */
void test_run(const char *name, void (*test)(void));
int test_summary(void);

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            test_wrong++; \
        } \
    } while (0)
#define OK(call) CHECK((call) == cudaSuccess)

void test_kernels(void);
void test_runtime(void);
void test_bugs(void);

#endif
