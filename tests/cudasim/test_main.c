/* Runs the tests of the simulator; the last line is the count. */
#include "control.h"
#include "test.h"

int test_wrong;
static int passed, bad;

void test_run(const char *name, void (*test)(void))
{
    test_wrong = 0;
    test();
    cudasim_alive alive = cudasim_count();
    if (cudasim_fault()[0]) {
        fprintf(stderr, "%s: fault %s: %s\n", name, cudasim_fault(), cudasim_fault_text());
        test_wrong++;
    }
    if (alive.device || alive.pinned) {
        cudasim_report_leaks();
        test_wrong++;
    }
    passed += !test_wrong;
    bad += test_wrong != 0;
    if (test_wrong) {
        printf("FAILED %s\n", name);
        fflush(stdout);
    }
}

int test_summary(void)
{
    printf("%d passed, %d failed, 0 skipped\n", passed, bad);
    fflush(stdout);
    return bad != 0;
}

int main(void)
{
    test_kernels();
    test_runtime();
    test_bugs();
    return test_summary();
}
