/* Where the scheduler, the queue and the memory tell the checker build what happens; in the other builds these are
 * nothing. The checker itself is in shadow.h, checker.c and verdict.c. */
#ifndef CUDASIM_CHECKER_H
#define CUDASIM_CHECKER_H

#include "inside.h"

#ifdef CUDASIM_CHECKER

enum { CUDASIM_SHARED_SPACE = 1 << 20 }; /* at the start of the range of addresses: shared memory, not device memory */

/* memory.c: the range in which all device, pinned and shared memory lies, and a block that is no more. */
void cudasim_check_range(char *range, size_t bytes);
void cudasim_check_freed(const char *data, size_t bytes);

/* fiber.c: a launch and its parts. `thread` is -1 when none runs; its stack is memory of its own. */
void cudasim_check_launch(const cudasim_kernel *kernel);
void cudasim_check_block(uint64_t linear);
void cudasim_check_barrier(void);
void cudasim_check_syncwarp(int warp);
void cudasim_check_thread(int thread, const char *stack, size_t bytes);
/* A meeting of lanes is made on one lane's stack from what lies on those of the others: nothing is checked meanwhile. */
void cudasim_check_pause(bool pause);
void *cudasim_check_shared(size_t bytes); /* NULL when there is no room */
void cudasim_check_end(void);

/* queue.c: work of a vendor's library, whose fake is compiled as kernels are: one thread that may see host memory too. */
void cudasim_check_vendor(bool begins);
/* Copies and fills, before they are made. */
void cudasim_check_copy(const char *to, const char *from, size_t bytes);
void cudasim_check_fill(const char *to, size_t bytes);

#else

static inline void cudasim_check_freed(const char *data, size_t bytes)
{
    (void)data;
    (void)bytes;
}
static inline void cudasim_check_launch(const cudasim_kernel *kernel) { (void)kernel; }
static inline void cudasim_check_block(uint64_t linear) { (void)linear; }
static inline void cudasim_check_barrier(void) {}
static inline void cudasim_check_syncwarp(int warp) { (void)warp; }
static inline void cudasim_check_thread(int thread, const char *stack, size_t bytes)
{
    (void)thread;
    (void)stack;
    (void)bytes;
}
static inline void cudasim_check_pause(bool pause) { (void)pause; }
static inline void cudasim_check_end(void) {}
static inline void cudasim_check_vendor(bool begins) { (void)begins; }
static inline void cudasim_check_copy(const char *to, const char *from, size_t bytes)
{
    (void)to;
    (void)from;
    (void)bytes;
}
static inline void cudasim_check_fill(const char *to, size_t bytes)
{
    (void)to;
    (void)bytes;
}

#endif
#endif
