/* What the checker build remembers of each byte of device and shared memory, and the quick answers.
 *
 * For each word of four bytes there is a cell with the last write and the last reads; a word that is touched in smaller
 * pieces has four more cells, one a byte, until it is written whole again. Both lie in reserved ranges, so that the place
 * of a cell is arithmetic. An access is remembered as a stamp: who, and when. The phase (clock.h) is new for each
 * launch, block and time between two barriers, and blocks run one after the other, so that the order of two accesses
 * is mostly a comparison of two numbers. */
#ifndef CUDASIM_SHADOW_H
#define CUDASIM_SHADOW_H

#include "checker.h"
#include "clock.h"

/* A stamp from its low end: flags, thread of the block, __syncwarp's seen since the barrier, phase. */
enum { STAMP_THREAD = 4, STAMP_EPOCH = 14, STAMP_PHASE = 26, STAMP_EPOCHS = 1 << (STAMP_PHASE - STAMP_EPOCH) };
enum { /* flags: a read, or an atomic, that stands for several, of which no two are ordered */
    STAMP_ATOMIC = 1,
    STAMP_LANES = 2, /* of this warp, since its last __syncwarp */
    STAMP_WARPS = 4, /* of this block, since its last barrier */
    STAMP_BLOCKS = 8 /* of this launch */
};
#define STAMP_WARP_BITS ((uint64_t)0x1f << STAMP_THREAD | 0xf)                       /* what differs within a warp */
#define STAMP_EPOCH_BITS ((uint64_t)(STAMP_EPOCHS - 1) << STAMP_EPOCH)
#define STAMP_OF_PHASE(phase) ((uint64_t)(phase) << STAMP_PHASE)

/* No stamp is as small as these. */
enum { CELL_UNTOUCHED, CELL_SPLIT, CELL_FIRST };

typedef struct cell {
    uint64_t write, read;         /* stamps; CELL_UNTOUCHED is 0, CELL_SPLIT in `write` sends to the cells of the bytes */
    uint32_t write_pc, read_pc;   /* return addresses, as offsets into the program */
} cell;

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_ATOMIC };
enum { PC_COPY = 1, PC_FILL }; /* in place of an address */

extern struct cudasim_now {
    uintptr_t stack, stack_bytes;  /* of the running thread; all addresses while nothing is checked */
    uintptr_t range, range_bytes;
    uint64_t mine;                 /* the stamp of an access that is made now */
    uint64_t phase, block, launch; /* stamps of their beginnings */
    uint64_t ordered;              /* stamps before this one come before this launch */
    cell *words, *bytes;
    int thread;
    bool in_copy, to_host;         /* a copy or a fill, no kernel; its target is the host's */
    bool lint;                     /* lint.c looks at this block */
    bool in_vendor;                /* work of a vendor's library */
} cudasim_now;

/* ---- quick answers: true where the access is in order and remembered ---- */

/* The stamp is of this block before its last barrier, or under `limit`. */
static inline bool stamp_before(uint64_t s, uint64_t limit)
{
    return s - CELL_FIRST < limit - CELL_FIRST ||
           (s - cudasim_now.block < cudasim_now.phase - cudasim_now.block && !(s & STAMP_BLOCKS));
}

static inline bool stamp_mine(uint64_t s)
{
    return ((s ^ cudasim_now.mine) & ~(STAMP_EPOCH_BITS | STAMP_ATOMIC)) == 0;
}

/* A read that changes nothing: made already, or by so many that one more does not matter. */
static inline bool read_known(uint64_t r)
{
    const uint64_t differs = r ^ cudasim_now.mine;
    return differs == 0 || (differs >> STAMP_PHASE == 0 && r & STAMP_WARPS) ||
           ((differs & ~STAMP_WARP_BITS) == 0 && r & STAMP_LANES) || (r & STAMP_BLOCKS && r >= cudasim_now.launch);
}

/* `written`, `read`: limits under which stamps are in order; for shared memory, what other blocks wrote is not there. */
static inline bool quick_read(cell *c, uint64_t written, uint64_t read, uint32_t pc)
{
    if (!stamp_before(c->write, written) && !stamp_mine(c->write)) {
        return false;
    }
    if (read_known(c->read)) {
        return true;
    }
    if (c->read && !stamp_before(c->read, read) && !stamp_mine(c->read)) {
        return false;
    }
    c->read = cudasim_now.mine;
    c->read_pc = pc;
    return true;
}

static inline bool quick_write(cell *c, uint64_t written, uint64_t read, uint32_t pc)
{
    if ((!stamp_before(c->write, written) && !stamp_mine(c->write)) ||
        (c->read && !stamp_before(c->read, read) && !stamp_mine(c->read))) {
        return false;
    }
    c->write = cudasim_now.mine;
    c->write_pc = pc;
    c->read = CELL_UNTOUCHED;
    return true;
}

/* ---- verdict.c: the slow answers ---- */

/* Judges an access to the `bytes` (1 or 4) that a cell stands for, and remembers it. */
void cudasim_judge(cell *c, uintptr_t address, unsigned bytes, enum access access, uint32_t pc);
/* An access outside device and shared memory. */
void cudasim_judge_outside(uintptr_t address, size_t bytes, enum access access, uint32_t pc);
void cudasim_judge_misaligned(uintptr_t address, size_t bytes, enum access access, uint32_t pc);
void cudasim_judge_atomic(uintptr_t address); /* that it was made: what fences before and after hand over */
/* Begins: forgets the fences of an earlier launch, or of an earlier block. */
void cudasim_verdict_launch(const cudasim_kernel *kernel);
void cudasim_verdict_block(uint64_t linear);

/* ---- lint.c ---- */

void cudasim_lint_access(uintptr_t address, unsigned bytes, bool shared, uint32_t pc);
bool cudasim_lint_block(bool first_of_launch); /* one begins; whether its accesses are wanted */

/* The shared arrays of the launch, for addresses: whether all bytes lie in one. */
bool cudasim_shared_holds(uintptr_t address, size_t bytes);

#endif
