/* Device and pinned memory. A host program that touches device memory is a fault, so device memory is closed except
 * while kernels and copies run. With AddressSanitizer each block is a heap block of its own, poisoned while closed: an
 * access beyond its end or after its end is reported with a stack trace. Otherwise blocks lie in one reserved range, a
 * page apart and never used twice, protected while closed, and the signal handler says what was touched. */
#include "checker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#ifdef CUDASIM_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define PAGE ((size_t)4096)
/* Of addresses; memory is only taken when touched. The checker needs thirty times as many. */
#ifdef CUDASIM_CHECKER
#define RANGE ((size_t)1 << 36)
#else
#define RANGE ((size_t)1 << 38)
#endif

static cudasim_block **blocks; /* by address */
static size_t block_count, block_capacity;
static uint64_t block_serial;
static size_t device_bytes;
static int open_depth;

size_t cudasim_memory_used(void) { return device_bytes; }

/* ---- the list ---- */

static size_t position(const char *p) /* of the first block that begins after p */
{
    size_t low = 0, high = block_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle]->data > p) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

cudasim_block *cudasim_block_at(const void *p, bool end)
{
    size_t i = position(p);
    if (!i) {
        return NULL;
    }
    cudasim_block *b = blocks[i - 1];
    return (size_t)((const char *)p - b->data) < b->bytes + end ? b : NULL;
}

static bool list_add(cudasim_block *b)
{
    if (block_count == block_capacity) {
        size_t capacity = block_capacity ? 2 * block_capacity : 64;
        cudasim_block **more = realloc(blocks, capacity * sizeof *more);
        if (!more) {
            return false;
        }
        blocks = more;
        block_capacity = capacity;
    }
    size_t i = position(b->data);
    memmove(blocks + i + 1, blocks + i, (block_count - i) * sizeof *blocks);
    blocks[i] = b;
    block_count++;
    return true;
}

static void list_remove(const cudasim_block *b)
{
    size_t i = position(b->data) - 1;
    memmove(blocks + i, blocks + i + 1, (block_count - i - 1) * sizeof *blocks);
    block_count--;
}

/* ---- open and closed ---- */

#ifdef CUDASIM_ASAN

static char *data_new(size_t bytes)
{
    void *data = NULL;
    return posix_memalign(&data, 256, bytes) ? NULL : data;
}

static void data_free(char *data, size_t bytes)
{
    __asan_unpoison_memory_region(data, bytes);
    free(data);
}

static void block_access(const cudasim_block *b, bool open)
{
    if (open) {
        __asan_unpoison_memory_region(b->data, b->bytes);
    } else {
        __asan_poison_memory_region(b->data, b->bytes);
    }
}

static void all_access(bool open)
{
    for (size_t i = 0; i < block_count; i++) {
        if (blocks[i]->kind == CUDASIM_DEVICE) {
            block_access(blocks[i], open);
        }
    }
}

#else

static char *range, *range_next;

#ifdef CUDASIM_CHECKER
/* Shared memory comes first: what the checker remembers of both is one array. */
static size_t range_begin(char *p)
{
    mprotect(p, CUDASIM_SHARED_SPACE, PROT_READ | PROT_WRITE);
    cudasim_check_range(p, RANGE);
    return CUDASIM_SHARED_SPACE + PAGE;
}
#else
static size_t range_begin(const char *p)
{
    (void)p;
    return 0;
}
#endif

static size_t pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

char *cudasim_range(void)
{
    if (!range) {
        char *p = mmap(NULL, RANGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            return NULL;
        }
        range = p;
        range_next = p + range_begin(p);
    }
    return range;
}

static char *data_new(size_t bytes)
{
    if (!cudasim_range() || pages(bytes) + PAGE > RANGE - (size_t)(range_next - range)) {
        return NULL;
    }
    char *data = range_next;
    range_next += pages(bytes) + PAGE;
    mprotect(data, pages(bytes), PROT_READ | PROT_WRITE);
    return data;
}

static void data_free(char *data, size_t bytes)
{
    cudasim_check_freed(data, bytes);
    mprotect(data, pages(bytes), PROT_NONE);
    madvise(data, pages(bytes), MADV_DONTNEED);
}

static void block_access(const cudasim_block *b, bool open)
{
    mprotect(b->data, pages(b->bytes), open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void all_access(bool open)
{
    for (size_t i = 0; i < block_count; i++) { /* the gaps and what was freed stay shut */
        if (blocks[i]->kind == CUDASIM_DEVICE) {
            block_access(blocks[i], open);
        }
    }
}

#endif

void cudasim_open(void)
{
    if (!open_depth++) {
        all_access(true);
    }
}

void cudasim_close(void)
{
    if (!--open_depth) {
        all_access(false);
    }
}

/* ---- blocks ---- */

cudasim_block *cudasim_block_new(size_t bytes, int kind)
{
    if (kind == CUDASIM_DEVICE && (bytes > cudasim_option.memory || device_bytes > cudasim_option.memory - bytes)) {
        return NULL;
    }
    cudasim_block *b = calloc(1, sizeof *b);
    if (!b) {
        return NULL;
    }
    b->data = data_new(bytes);
    b->bytes = bytes;
    b->kind = kind;
    b->serial = ++block_serial;
    if (!b->data || !list_add(b)) {
        if (b->data) {
            data_free(b->data, bytes);
        }
        free(b);
        return NULL;
    }
    memset(b->data, 0xFF, bytes); /* NaN, or -1: what is read before it is written shows */
    if (kind == CUDASIM_DEVICE) {
        device_bytes += bytes;
        if (!open_depth) {
            block_access(b, false);
        }
    }
    return b;
}

void cudasim_block_free(cudasim_block *b)
{
    list_remove(b);
    if (b->kind == CUDASIM_DEVICE) {
        device_bytes -= b->bytes;
    }
    data_free(b->data, b->bytes);
    free(b);
}

void cudasim_count_blocks(cudasim_alive *alive)
{
    alive->device_bytes = device_bytes;
    for (size_t i = 0; i < block_count; i++) {
        *(blocks[i]->kind == CUDASIM_PINNED ? &alive->pinned : &alive->device) += 1;
    }
}

size_t cudasim_report_leaks(void)
{
    for (size_t i = 0; i < block_count; i++) {
        fprintf(stderr, "cudasim: leak: %s memory, block %llu of %zu bytes was never freed\n",
                blocks[i]->kind == CUDASIM_PINNED ? "pinned" : "device", (unsigned long long)blocks[i]->serial,
                blocks[i]->bytes);
    }
    return block_count;
}

__attribute__((destructor)) static void leaks_at_exit(void)
{
    if (cudasim_option.leaks && cudasim_report_leaks()) {
        _exit(66);
    }
}

/* ---- signals ---- */

static void say(const char *text)
{
    if (write(2, text, strlen(text)) < 0) {
        _exit(67);
    }
}

/* By time of the CPU, so that neither a busy machine nor a stopped process looks like a launch that does not end. */
void cudasim_watch(unsigned seconds)
{
    struct itimerval timer = {.it_value.tv_sec = (time_t)seconds};
    setitimer(ITIMER_PROF, &timer, NULL);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
    char where[256];
    say("cudasim: watchdog: a launch does not end");
    if (cudasim_inside()) {
        say(cudasim_where(where, sizeof where));
    }
    say("\n");
    _exit(67);
}

#ifndef CUDASIM_ASAN
static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    char text[300], where[256] = "";
    const char *p = info->si_addr;
    if (cudasim_inside()) {
        cudasim_where(where, sizeof where);
    }
    cudasim_block *b = cudasim_block_at(p, false);
    if (b) {
        snprintf(text, sizeof text, "cudasim: host-access: host code touches device memory (block %llu, byte %zu of %zu)\n",
                 (unsigned long long)b->serial, (size_t)(p - b->data), b->bytes);
    } else if (range && p >= range && p < range_next) {
        snprintf(text, sizeof text, "cudasim: bad-address: beside device memory, or freed%s\n", where);
    } else if (cudasim_guard_page(p)) {
        snprintf(text, sizeof text, "cudasim: stack-overflow%s\n", where);
    } else {
        snprintf(text, sizeof text, "cudasim: bad-address: %p%s\n", (const void *)p, where);
    }
    say(text);
    signal(signal_number, SIG_DFL);
}

static char signal_stack[64 << 10];
#endif

__attribute__((constructor)) static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGPROF, &action, NULL);
#ifndef CUDASIM_ASAN
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&stack, NULL);
    action = (struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
#endif
}
