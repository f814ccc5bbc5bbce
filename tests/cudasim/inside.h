/* What the scheduler, the fake runtime and the memory share; neither kernels nor tests see it. */
#ifndef CUDASIM_INSIDE_H
#define CUDASIM_INSIDE_H

#include "control.h"
#include "sim.h"

enum cudasim_order { CUDASIM_SEQUENTIAL, CUDASIM_REVERSED, CUDASIM_RANDOM };
enum cudasim_streams { CUDASIM_EAGER, CUDASIM_LAZY, CUDASIM_SHUFFLE };

typedef struct cudasim_options {
    enum cudasim_order order;
    enum cudasim_streams streams;
    uint64_t seed;
    bool record, strict_exit, leaks;
    unsigned watchdog;
    size_t memory;
    char lint[256]; /* a file */
} cudasim_options;

extern cudasim_options cudasim_option;
extern cudasim_statistics cudasim_total;

/* ---- report.c ---- */

/* Reports a fault: ends the program, or keeps it and loses the device. Inside a kernel it does not return: the block is
 * given up. */
void cudasim_error(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool cudasim_lost(void); /* a fault was recorded */
uint64_t cudasim_random(void);
void cudasim_random_start(uint64_t seed);
void cudasim_forget_fault(void);

/* ---- fiber.c ---- */

/* Runs a launch to its end, or to its first fault. */
void cudasim_run(const cudasim_kernel *kernel);
bool cudasim_inside(void);              /* a kernel's thread is running */
void cudasim_give_up(void);             /* leaves the running block; only inside */
int cudasim_stack_of(uintptr_t address); /* a number of the thread's stack that it lies in, or -1 */
bool cudasim_guard_page(const void *p); /* below a fiber's stack */
/* For reports: where the running thread is. */
const char *cudasim_where(char *out, size_t size);

/* ---- shared.c ---- */

void cudasim_watch(unsigned seconds); /* a launch begins, that may take so long; 0: it has ended */
void cudasim_shared_begin(size_t bytes); /* of a launch, which asks for so much at once */
void cudasim_shared_fill(void);          /* of a block */
void cudasim_shared_end(void);

/* ---- memory.c ---- */

enum { CUDASIM_DEVICE, CUDASIM_PINNED, CUDASIM_MANAGED };

typedef struct cudasim_block {
    char *data;
    size_t bytes;
    int kind; /* as above */
    uint64_t serial;
} cudasim_block;

char *cudasim_range(void); /* where all memory lies, but in the asan build; NULL when there are no addresses */
cudasim_block *cudasim_block_new(size_t bytes, int kind); /* filled with 0xFF; NULL when the device is full */
void cudasim_block_free(cudasim_block *block);
/* The live block that p lies in (`end` allows one past it), or NULL. */
cudasim_block *cudasim_block_at(const void *p, bool end);
/* Opens device memory to this program: kernels and copies run between the two; they nest. */
size_t cudasim_memory_used(void);
void cudasim_count_blocks(cudasim_alive *alive);
void cudasim_open(void);
void cudasim_close(void);


#endif
