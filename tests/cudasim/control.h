/* How a test program steers the simulator and asks it what it found. The same options may be given in the environment
 * variable CUDASIM, separated by commas: CUDASIM=order=random,seed=7,streams=lazy.
 *
 *   order=sequential|reversed|random   the order in which a block's threads, and the blocks, run
 *   seed=N                             for the random orders; printed with each report
 *   streams=eager|lazy|shuffle         when queued work runs: at once, at a synchronisation only, by chance
 *   onerror=abort|record               a fault ends the program, or is kept and the device is lost (error 719)
 *   strictexit=1|0                     a thread that has returned may not be waited for (1), or counts as come (0)
 *   watchdog=SECONDS                   longest time of one launch, of the CPU's; 0 for no limit
 *   memory=MIB                         what the device has
 *   leaks=1|0                          at exit, device memory never freed is a fault
 *   lint=FILE                          checker build: notes how the lanes of warps share memory, lint.c */
#ifndef CUDASIM_CONTROL_H
#define CUDASIM_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* false when an option is unknown; those before it hold. */
bool cudasim_set(const char *options);

/* The first fault since the last reset: a short name as "race" or "divergent-barrier"; "" when there is none. */
const char *cudasim_fault(void);
const char *cudasim_fault_text(void);
/* Forgets faults, sticky errors and injections; drops queued work. Memory stays. */
void cudasim_reset(void);

/* Failure injection: the n-th call (1 is the next) of the class fails with its usual error; 0 for never. */
enum cudasim_class {
    CUDASIM_ANY, CUDASIM_MALLOC, CUDASIM_HOST_MALLOC, CUDASIM_COPY, CUDASIM_LAUNCH, CUDASIM_STREAM, CUDASIM_EVENT,
    CUDASIM_GRAPH, CUDASIM_SYNC,
    CUDASIM_VENDOR, /* a vendor's library, fakes.h: opening it, and each of its calls that can fail */
    CUDASIM_CLASSES
};
void cudasim_fail(enum cudasim_class which, int64_t n);
bool cudasim_failed(void); /* whether the injected failure has happened */

/* The vendors' libraries are fakes (fakes.h). Which version a fake says it is, in that library's own numbering: 0 makes it
 * absent, -1 its usual one. Tests of our own kernels do without: those would not be chosen else. */
void cudasim_vendor(const char *name, int64_t version); /* "cublaslt", "cudnn"; NULL: all */
/* How often a function of theirs was called since the start, and how many of their objects are alive. */
uint64_t cudasim_vendor_calls(const char *function);
int64_t cudasim_vendor_alive(void);

/* What is alive, for leak checks: device blocks, pinned blocks, streams, events, graphs (with instantiated ones). */
typedef struct cudasim_alive {
    size_t device, pinned, streams, events, graphs, device_bytes;
} cudasim_alive;
cudasim_alive cudasim_count(void);
/* Names each device and pinned block that is alive on stderr; returns how many. */
size_t cudasim_report_leaks(void);

/* How much was simulated since the start. */
typedef struct cudasim_statistics {
    uint64_t launches, blocks, threads, switches;
} cudasim_statistics;
cudasim_statistics cudasim_work(void);

#ifdef __cplusplus
}
#endif
#endif
