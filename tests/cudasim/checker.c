/* The checker build. Kernels are compiled with -fsanitize=thread, which puts a call before each access to memory, and
 * linked with the functions below instead of that sanitizer's library: the accesses are those of CUDA threads, their
 * order is that of CUDA, and since all run on one CPU thread in a fixed order, what is found is found every time.
 * shadow.h has what is remembered, verdict.c what is wrong. */
#include "shadow.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct cudasim_now cudasim_now = {.stack_bytes = UINTPTR_MAX, .thread = -1};

enum { WORD = 4, MAX_ARRAYS = 64, GAP = 16 };

static int warp_epoch[32];
static bool first_block;       /* of the launch */
static const char *stack_now;
static size_t stack_now_bytes;
static struct array { /* the shared arrays of the running launch */
    uintptr_t from;
    size_t bytes;
} arrays[MAX_ARRAYS];
static int array_count;
static size_t shared_next;

extern char __executable_start[]; /* the linker's */

/* ---- accesses ---- */

static inline bool is_shared(uintptr_t offset) { return offset < CUDASIM_SHARED_SPACE; }

static void split(cell *word, cell *bytes)
{
    for (int i = 0; i < WORD; i++) {
        bytes[i] = *word;
    }
    word->write = CELL_SPLIT;
}

static inline bool quick(cell *c, bool shared, enum access access, uint32_t pc)
{
    const uint64_t read = shared ? cudasim_now.block : cudasim_now.ordered, written = shared ? CELL_FIRST : read;
    return access == ACCESS_READ ? quick_read(c, written, read, pc)
                                 : access == ACCESS_WRITE && quick_write(c, written, read, pc);
}

static void access_bytes(uintptr_t offset, unsigned count, enum access access, uint32_t pc)
{
    cell *word = &cudasim_now.words[offset / WORD];
    cell *byte = &cudasim_now.bytes[offset];
    if (word->write != CELL_SPLIT) {
        split(word, byte - offset % WORD);
    }
    for (unsigned i = 0; i < count; i++) {
        if (!quick(byte + i, is_shared(offset), access, pc)) {
            cudasim_judge(byte + i, cudasim_now.range + offset + i, 1, access, pc);
        }
    }
}

/* A word that was split and is written whole is one again: nothing that was remembered of its bytes still counts. */
static void access_split(uintptr_t offset, enum access access, uint32_t pc)
{
    access_bytes(offset, WORD, access, pc);
    if (access == ACCESS_WRITE) {
        cudasim_now.words[offset / WORD] = cudasim_now.bytes[offset];
    }
}

static inline void access_word(uintptr_t offset, enum access access, uint32_t pc)
{
    cell *c = &cudasim_now.words[offset / WORD];
    if (!quick(c, is_shared(offset), access, pc)) {
        if (c->write == CELL_SPLIT) {
            access_split(offset, access, pc);
        } else {
            cudasim_judge(c, cudasim_now.range + offset, WORD, access, pc);
        }
    }
}

static void access_any(uintptr_t offset, size_t bytes, enum access access, uint32_t pc)
{
    while (bytes) {
        size_t here = offset % WORD || bytes < WORD ? WORD - offset % WORD : WORD;
        here = here < bytes ? here : bytes;
        if (here == WORD) {
            access_word(offset, access, pc);
        } else {
            access_bytes(offset, (unsigned)here, access, pc);
        }
        offset += here;
        bytes -= here;
    }
}

static inline void access_at(const void *p, unsigned bytes, enum access access, bool aligned, const void *from)
{
    const uintptr_t address = (uintptr_t)p, offset = address - cudasim_now.range;
    if (address - cudasim_now.stack < cudasim_now.stack_bytes) {
        return;
    }
    const uint32_t pc = (uint32_t)((const char *)from - __executable_start);
    if (offset >= cudasim_now.range_bytes) {
        cudasim_judge_outside(address, bytes, access, pc);
        return;
    }
    if (__builtin_expect(cudasim_now.lint, 0)) {
        cudasim_lint_access(address, bytes, is_shared(offset), pc);
    }
    if (address % bytes) {
        if (aligned) {
            cudasim_judge_misaligned(address, bytes, access, pc);
        }
        access_any(offset, bytes, access, pc);
    } else if (bytes < WORD) {
        access_bytes(offset, bytes, access, pc);
    } else {
        for (unsigned i = 0; i < bytes; i += WORD) {
            access_word(offset + i, access, pc);
        }
    }
}

static void access_range(const void *p, size_t bytes, enum access access, const void *from)
{
    const uintptr_t address = (uintptr_t)p, offset = address - cudasim_now.range;
    if (address - cudasim_now.stack < cudasim_now.stack_bytes) {
        return;
    }
    const uint32_t pc = (uint32_t)((const char *)from - __executable_start);
    if (offset >= cudasim_now.range_bytes) {
        cudasim_judge_outside(address, bytes, access, pc);
    } else {
        access_any(offset, bytes, access, pc);
    }
}

/* ---- what compiled kernels call: the names are the compiler's ---- */

void __tsan_init(void);
void __tsan_read_range(const void *p, size_t bytes);
void __tsan_write_range(const void *p, size_t bytes);
void __tsan_init(void) {}
void __tsan_read_range(const void *p, size_t bytes) { access_range(p, bytes, ACCESS_READ, __builtin_return_address(0)); }
void __tsan_write_range(const void *p, size_t bytes) { access_range(p, bytes, ACCESS_WRITE, __builtin_return_address(0)); }

#define CALLBACK(name, size, access, aligned) \
    void name(const void *p); \
    void name(const void *p) { access_at(p, size, access, aligned, __builtin_return_address(0)); }
#define CALLBACKS(size) \
    CALLBACK(__tsan_read##size, size, ACCESS_READ, true) \
    CALLBACK(__tsan_write##size, size, ACCESS_WRITE, true) \
    CALLBACK(__tsan_unaligned_read##size, size, ACCESS_READ, false) \
    CALLBACK(__tsan_unaligned_write##size, size, ACCESS_WRITE, false)
CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)

void cudasim_atomic(const void *p, size_t bytes, const void *from)
{
    access_at(p, (unsigned)bytes, ACCESS_ATOMIC, true, from);
    if (cudasim_now.thread >= 0) {
        cudasim_judge_atomic((uintptr_t)p);
    }
}

/* ---- what the scheduler tells ---- */

static void set_mine(void)
{
    const int t = cudasim_now.thread;
    cudasim_now.mine = cudasim_now.phase;
    if (t >= 0) {
        cudasim_now.mine |= (uint64_t)warp_epoch[t / 32] << STAMP_EPOCH | (uint64_t)t << STAMP_THREAD;
    }
}

void cudasim_check_pause(bool pause)
{
    const bool off = pause || cudasim_now.thread < 0;
    cudasim_now.stack = off ? 0 : (uintptr_t)stack_now;
    cudasim_now.stack_bytes = off ? UINTPTR_MAX : stack_now_bytes;
}

void cudasim_check_thread(int thread, const char *stack, size_t bytes)
{
    cudasim_now.thread = thread;
    stack_now = stack;
    stack_now_bytes = bytes;
    cudasim_check_pause(false);
    set_mine();
}

static void begin_work(void)
{
    cudasim_now.launch = cudasim_now.block = cudasim_now.phase = STAMP_OF_PHASE(cudasim_phase);
    cudasim_now.ordered = STAMP_OF_PHASE(cudasim_ordered_phases());
    cudasim_now.ordered = cudasim_now.ordered > CELL_FIRST ? cudasim_now.ordered : CELL_FIRST;
    set_mine();
}

void cudasim_check_launch(const cudasim_kernel *kernel)
{
    if (!cudasim_range()) {
        abort();
    }
    cudasim_now.thread = -1;
    array_count = 0;
    shared_next = 0;
    first_block = true;
    cudasim_verdict_launch(kernel);
    begin_work();
}

void cudasim_check_block(uint64_t linear)
{
    cudasim_now.block = cudasim_now.phase = STAMP_OF_PHASE(++cudasim_phase);
    memset(warp_epoch, 0, sizeof warp_epoch);
    cudasim_verdict_block(linear);
    cudasim_now.lint = cudasim_lint_block(first_block);
    first_block = false;
}

void cudasim_check_barrier(void)
{
    cudasim_now.phase = STAMP_OF_PHASE(++cudasim_phase);
    memset(warp_epoch, 0, sizeof warp_epoch);
    set_mine();
}

/* Lanes that the mask leaves out count as ordered too. */
void cudasim_check_syncwarp(int warp)
{
    warp_epoch[warp] += warp_epoch[warp] < STAMP_EPOCHS - 1;
    set_mine();
}

void cudasim_check_end(void)
{
    cudasim_now.lint = false;
    array_count = 0;
    cudasim_check_thread(-1, NULL, 0);
}

/* ---- shared memory: a gap between two arrays belongs to none ---- */

void *cudasim_check_shared(size_t bytes)
{
    if (array_count == MAX_ARRAYS || shared_next + bytes + 2 * GAP > CUDASIM_SHARED_SPACE) {
        return NULL;
    }
    const uintptr_t from = cudasim_now.range + shared_next;
    arrays[array_count++] = (struct array){from, bytes};
    shared_next += (bytes + 2 * GAP - 1) / GAP * GAP;
    return (void *)from;
}

bool cudasim_shared_holds(uintptr_t address, size_t bytes)
{
    for (int i = 0; i < array_count; i++) {
        const size_t at = address - arrays[i].from;
        if (at < arrays[i].bytes && bytes <= arrays[i].bytes - at) {
            return true;
        }
    }
    return false;
}

/* ---- memory, copies, fills ---- */

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "cudasim: no addresses for the checker\n");
        abort();
    }
    return p;
}

void cudasim_check_range(char *range, size_t bytes)
{
    cudasim_now.range = (uintptr_t)range;
    cudasim_now.range_bytes = bytes;
    cudasim_now.words = reserve(bytes / WORD * sizeof(cell));
    cudasim_now.bytes = reserve(bytes * sizeof(cell));
}

/* Whole pages of a block that is no more, for its addresses are never used again. */
void cudasim_check_freed(const char *data, size_t bytes)
{
    const size_t from = (uintptr_t)data - cudasim_now.range;
    madvise(&cudasim_now.words[from / WORD], bytes / WORD * sizeof(cell), MADV_DONTNEED);
    madvise(&cudasim_now.bytes[from], bytes * sizeof(cell), MADV_DONTNEED);
}

static bool on_device(const char *p) { return (uintptr_t)p - cudasim_now.range < cudasim_now.range_bytes; }

/* What was never written stays so in its copy. */
static void copy_uninitialised(uintptr_t to, uintptr_t from, size_t bytes)
{
    for (size_t i = 0, next; i < bytes; i = next) {
        const cell *word = &cudasim_now.words[(from + i) / WORD];
        const cell *c = word->write == CELL_SPLIT ? &cudasim_now.bytes[from + i] : word;
        next = c->write != CELL_UNTOUCHED && c == word ? i + WORD - (from + i) % WORD : i + 1;
        if (c->write != CELL_UNTOUCHED) {
            continue;
        }
        cell *target = &cudasim_now.words[(to + i) / WORD];
        if (target->write != CELL_SPLIT) {
            split(target, &cudasim_now.bytes[(to + i) / WORD * WORD]);
        }
        cudasim_now.bytes[to + i].write = CELL_UNTOUCHED;
    }
}

void cudasim_check_vendor(bool begins)
{
    cudasim_now.in_vendor = begins;
    if (begins) {
        cudasim_verdict_launch(NULL);
        begin_work();
        cudasim_check_thread(0, NULL, 0);
    } else {
        cudasim_check_end();
    }
}

static void begin_transfer(bool to_host)
{
    cudasim_now.in_copy = true;
    cudasim_now.to_host = to_host;
    cudasim_verdict_launch(NULL);
    begin_work();
}

void cudasim_check_copy(const char *to, const char *from, size_t bytes)
{
    const cudasim_block *source = on_device(from) ? cudasim_block_at(from, false) : NULL;
    const cudasim_block *target = on_device(to) ? cudasim_block_at(to, false) : NULL;
    begin_transfer(!target || target->kind != CUDASIM_DEVICE);
    if (source) {
        access_any((uintptr_t)from - cudasim_now.range, bytes, ACCESS_READ, PC_COPY);
    }
    if (target) {
        access_any((uintptr_t)to - cudasim_now.range, bytes, ACCESS_WRITE, PC_COPY);
    }
    if (source && source->kind == CUDASIM_DEVICE && !cudasim_now.to_host) {
        copy_uninitialised((uintptr_t)to - cudasim_now.range, (uintptr_t)from - cudasim_now.range, bytes);
    }
    cudasim_now.in_copy = false;
}

void cudasim_check_fill(const char *to, size_t bytes)
{
    begin_transfer(false);
    access_any((uintptr_t)to - cudasim_now.range, bytes, ACCESS_WRITE, PC_FILL);
    cudasim_now.in_copy = false;
}
