/* The checker's verdict on an access that the quick answers of shadow.h cannot pass: whether two accesses are ordered,
 * by barriers, by __syncwarp, by fences around atomics, by streams and events; and the reports of what is wrong.
 *
 * A block hands over what it did to another one when a thread executes __threadfence and then an atomic, and a thread of
 * the other block an atomic on the same address and then __threadfence: fences on both sides, as the memory model of
 * PTX has it. Between blocks nothing else orders. */
#include "shadow.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Blocks of the running launch in the order in which they ran, and what they handed over. */
static struct ran {
    uint64_t begin; /* stamp */
    uint64_t linear;
} *ran;
static size_t ran_count, ran_capacity;

static struct handed { /* by `block`: what it did before phase `fence`, and what `thread` (-1: any) did in it */
    uintptr_t address;
    uint64_t block, fence;
    int thread;
} *handed;
static size_t handed_count, handed_capacity;

static struct taken { /* the first `count` of the above, those of the address, by `thread` in `phase` */
    uintptr_t address;
    size_t count;
    uint64_t phase;
    int thread;
    bool fenced;
} *taken;
static size_t taken_count, taken_capacity;

static uint64_t fence_phase[1024]; /* of each thread of the block; 0 for none */
static pthread_t owner;            /* the host thread that runs the launch: others may be in host code of a kernel file */
static const cudasim_kernel *kernel_now;

static void *grown(void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return list;
    }
    *capacity = *capacity ? 2 * *capacity : 64;
    void *more = realloc(list, *capacity * size);
    if (!more) {
        abort();
    }
    return more;
}

void cudasim_verdict_launch(const cudasim_kernel *kernel)
{
    owner = pthread_self();
    kernel_now = kernel;
    ran_count = handed_count = taken_count = 0;
}

void cudasim_verdict_block(uint64_t linear)
{
    ran = grown(ran, ran_count, &ran_capacity, sizeof *ran);
    ran[ran_count++] = (struct ran){cudasim_now.block, linear};
    memset(fence_phase, 0, sizeof fence_phase);
    taken_count = 0;
}

/* ---- fences ---- */

void cudasim_fence(void)
{
    if (cudasim_now.thread < 0) {
        return;
    }
    fence_phase[cudasim_now.thread] = cudasim_now.phase;
    for (size_t i = 0; i < taken_count; i++) {
        taken[i].fenced |= taken[i].thread == cudasim_now.thread;
    }
}

/* The latest fence that comes before what this thread does now: its own, or one of another thread before a barrier. */
static void hand_over(uintptr_t address)
{
    uint64_t fence = fence_phase[cudasim_now.thread];
    int thread = cudasim_now.thread;
    for (int t = 0; t < 1024; t++) {
        const uint64_t other = t == cudasim_now.thread || fence_phase[t] >= cudasim_now.phase ? 0 : fence_phase[t];
        if (other >= fence && other) {
            fence = other;
            thread = -1;
        }
    }
    if (fence) {
        handed = grown(handed, handed_count, &handed_capacity, sizeof *handed);
        handed[handed_count++] = (struct handed){address, cudasim_now.block, fence, thread};
    }
}

static void note_atomic(uintptr_t address)
{
    taken = grown(taken, taken_count, &taken_capacity, sizeof *taken);
    taken[taken_count++] = (struct taken){address, handed_count, cudasim_now.phase, cudasim_now.thread, false};
    hand_over(address);
}

static int thread_of(uint64_t stamp) { return (int)(stamp >> STAMP_THREAD & 0x3ff); }
static uint64_t phase_of(uint64_t stamp) { return stamp >> STAMP_PHASE << STAMP_PHASE; }

static bool took(const struct handed *h, uint64_t stamp)
{
    if (stamp < h->block || (phase_of(stamp) >= h->fence && phase_of(stamp) > h->fence)) {
        return false;
    }
    return phase_of(stamp) < h->fence || h->thread < 0 || h->thread == thread_of(stamp);
}

/* Whether what another block did at `stamp` was handed over to this thread. */
static bool handed_over(uint64_t stamp)
{
    for (size_t i = 0; i < taken_count; i++) {
        const struct taken *t = &taken[i];
        if (!t->fenced || (t->thread != cudasim_now.thread && t->phase >= cudasim_now.phase)) {
            continue;
        }
        for (size_t k = 0; k < t->count; k++) {
            if (handed[k].address == t->address && took(&handed[k], stamp)) {
                return true;
            }
        }
    }
    return false;
}

/* Whether all blocks that ran before this one have handed over what they did: asked where a stamp stands for several. */
static bool all_handed_over(void)
{
    for (size_t i = 0; i + 1 < ran_count; i++) {
        if (!handed_over(ran[i].begin)) {
            return false;
        }
    }
    return true;
}

/* ---- order ---- */

static bool same_warp(uint64_t a, uint64_t b) { return thread_of(a) / 32 == thread_of(b) / 32; }

static bool ordered(uint64_t s)
{
    const uint64_t mine = cudasim_now.mine;
    if (s >= cudasim_now.launch && s & STAMP_BLOCKS && !all_handed_over()) {
        return false;
    }
    if (s >= cudasim_now.phase) {
        if (s & STAMP_WARPS || !same_warp(s, mine)) {
            return false;
        }
        return (s & STAMP_EPOCH_BITS) < (mine & STAMP_EPOCH_BITS) ||
               (thread_of(s) == thread_of(mine) && !(s & STAMP_LANES));
    }
    if (s >= cudasim_now.block) {
        return true;
    }
    if (s >= cudasim_now.launch) {
        return handed_over(s);
    }
    return cudasim_phase_ordered(s >> STAMP_PHASE);
}

/* The stamp that stands for the earlier ones and this one. */
static uint64_t combined(uint64_t s)
{
    const uint64_t mine = cudasim_now.mine;
    if (s == CELL_UNTOUCHED || ordered(s) || s < cudasim_now.launch) {
        return mine;
    }
    uint64_t flags = s & STAMP_BLOCKS;
    if (s < cudasim_now.block) {
        flags |= STAMP_BLOCKS;
    } else if (s >= cudasim_now.phase) {
        flags |= STAMP_LANES | (s & STAMP_WARPS) | (same_warp(s, mine) ? 0 : STAMP_WARPS);
    }
    return mine | flags;
}

/* ---- reports ---- */

/* "file:line", by the tool that comes with the compiler: the innermost line that is not of the simulator's header. */
static bool find_line(uint32_t pc, char *out, size_t size)
{
    char command[128], line[512];
    bool found = false;
    snprintf(command, sizeof command, "addr2line -i -e /proc/%ld/exe %#x 2>/dev/null", (long)getpid(), pc - 1);
    FILE *tool = popen(command, "r");
    while (tool && fgets(line, sizeof line, tool)) {
        const char *name = strrchr(line, '/');
        if (!found && name && line[0] != '?' && !strstr(name, "/cudasim.h:")) {
            snprintf(out, size, "%.*s", (int)strcspn(name + 1, " \n"), name + 1);
            found = true;
        }
    }
    if (tool) {
        pclose(tool);
    }
    return found;
}

static const char *source(uint32_t pc, char *out, size_t size)
{
    if (pc == PC_COPY || pc == PC_FILL) {
        snprintf(out, size, "%s", pc == PC_COPY ? "a copy" : "a fill");
    } else if (!find_line(pc, out, size)) {
        snprintf(out, size, "program+%#x", pc);
    }
    return out;
}

static const char *place(uintptr_t address, char *out, size_t size)
{
    const cudasim_block *b = cudasim_block_at((const void *)address, true);
    if (address - cudasim_now.range < CUDASIM_SHARED_SPACE) {
        snprintf(out, size, "byte %zu of shared memory", (size_t)(address - cudasim_now.range));
    } else if (b) {
        snprintf(out, size, "byte %zu of block %llu of %zu bytes", (size_t)(address - (uintptr_t)b->data),
                 (unsigned long long)b->serial, b->bytes);
    } else {
        snprintf(out, size, "%#zx", (size_t)address);
    }
    return out;
}

static const char *who(uint64_t stamp, char *out, size_t size)
{
    if (stamp < cudasim_now.launch) {
        snprintf(out, size, "by work of another stream, which no event or wait orders before this");
    } else if (stamp >= cudasim_now.block && !(stamp & STAMP_BLOCKS)) {
        const bool now = stamp >= cudasim_now.phase;
        snprintf(out, size, "by thread %d of the block%s", thread_of(stamp), now ? ", with no barrier between" : "");
    } else {
        size_t i = ran_count;
        while (i > 1 && ran[i - 1].begin > stamp) {
            i--;
        }
        snprintf(out, size, "by thread %d of block %llu%s", thread_of(stamp),
                 i ? (unsigned long long)ran[i - 1].linear : 0, stamp & STAMP_BLOCKS ? " and others" : "");
    }
    return out;
}

static const char *const doing[] = {"read", "write", "atomic"};

/* Reporting runs on the kernel's stack, and opens a program: other host threads are not heard. */
static bool silent(void) { return cudasim_lost() || !pthread_equal(owner, pthread_self()); }

static void report(const char *kind, const char *why, uintptr_t address, size_t bytes, enum access access, uint32_t pc)
{
    char at[128], from[256];
    if (!silent()) {
        cudasim_check_pause(true);
        cudasim_error(kind, "%s of %zu bytes, %s, at %s: %s", doing[access], bytes, place(address, at, sizeof at),
                      source(pc, from, sizeof from), why);
    }
}

static void race(uint64_t earlier, const char *what, uint32_t earlier_pc, uintptr_t address, unsigned bytes,
                 enum access access, uint32_t pc)
{
    char why[512], from[256], by[128];
    if (!silent()) {
        snprintf(why, sizeof why, "not ordered after the %s at %s, %s", what, source(earlier_pc, from, sizeof from),
                 who(earlier, by, sizeof by));
        report("race", why, address, bytes, access, pc);
    }
}

/* ---- verdicts ---- */

/* Nothing was written there yet: whether it is memory, and whether that is wrong. */
static bool untouched(uintptr_t address, unsigned bytes, enum access access, uint32_t pc)
{
    const bool shared = address - cudasim_now.range < CUDASIM_SHARED_SPACE;
    const cudasim_block *b = shared ? NULL : cudasim_block_at((const void *)address, false);
    if (shared ? !cudasim_shared_holds(address, bytes)
               : !b || bytes > b->bytes - (size_t)(address - (uintptr_t)b->data)) {
        report("bad-address", "no memory of this kernel", address, bytes, access, pc);
        return false;
    }
    if (access == ACCESS_WRITE || (b && b->kind != CUDASIM_DEVICE) || (cudasim_now.in_copy && !cudasim_now.to_host)) {
        return true;
    }
    report("uninitialised", "nothing was written there", address, bytes, access, pc);
    return false;
}

void cudasim_judge(cell *c, uintptr_t address, unsigned bytes, enum access access, uint32_t pc)
{
    const bool shared = address - cudasim_now.range < CUDASIM_SHARED_SPACE;
    const uint64_t from = shared ? cudasim_now.block : CELL_FIRST; /* shared memory is new in each block */
    const uint64_t w = c->write < from ? CELL_UNTOUCHED : c->write, r = c->read < from ? CELL_UNTOUCHED : c->read;
    if (w == CELL_UNTOUCHED && !untouched(address, bytes, access, pc)) {
        return;
    }
    const bool atomics = access == ACCESS_ATOMIC && w & STAMP_ATOMIC;
    if (w != CELL_UNTOUCHED && !atomics && !ordered(w)) {
        race(w, w & STAMP_ATOMIC ? "atomic" : "write", c->write_pc, address, bytes, access, pc);
    }
    if (access != ACCESS_READ && r != CELL_UNTOUCHED && !ordered(r)) {
        race(r, "read", c->read_pc, address, bytes, access, pc);
    }
    if (access == ACCESS_READ) {
        c->write = w;
        c->read = combined(r);
        c->read_pc = pc;
    } else {
        c->write = access == ACCESS_WRITE ? cudasim_now.mine : combined(w) | STAMP_ATOMIC;
        c->write_pc = pc;
        c->read = CELL_UNTOUCHED;
    }
}

void cudasim_judge_misaligned(uintptr_t address, size_t bytes, enum access access, uint32_t pc)
{
    report("misaligned", "the address is no multiple of its size", address, bytes, access, pc);
}

void cudasim_judge_atomic(uintptr_t address) { note_atomic(address); }

/* Parameters of the launch, constants of the program, and the index variables are a kernel's too. */
void cudasim_judge_outside(uintptr_t address, size_t bytes, enum access access, uint32_t pc)
{
    extern char __executable_start[], data_start[], end[];
    extern const char __start_cudasim_index[], __stop_cudasim_index[];
    if (cudasim_now.in_vendor) {
        return;
    }
    const uintptr_t image = (uintptr_t)__executable_start;
    const bool constant = address - image < (uintptr_t)data_start - image;
    if (access == ACCESS_READ &&
        (constant || address - (uintptr_t)__start_cudasim_index < (size_t)(__stop_cudasim_index - __start_cudasim_index) ||
         address - (uintptr_t)kernel_now->closure < kernel_now->closure_bytes)) {
        return;
    }
    if (cudasim_stack_of(address) >= 0) {
        report("foreign-local", "a local variable of another thread", address, bytes, access, pc);
    } else if (address - image < (uintptr_t)end - image) {
        report("host-variable", "a variable of the host program", address, bytes, access, pc);
    } else {
        report("bad-address", "no memory of the device", address, bytes, access, pc);
    }
}
