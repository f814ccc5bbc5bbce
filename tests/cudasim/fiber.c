/* Runs the blocks of a launch, one after the other, a block's threads as fibers on one CPU thread. A fiber runs CUDA
 * thread after CUDA thread and is only given up when one blocks, so that a kernel without barriers is a plain loop.
 * Switching is by the compiler's built-in setjmp and longjmp: they are not intercepted by AddressSanitizer, whose
 * interceptors of swapcontext and longjmp would lift the red zones of the stack that is switched to. */
#include "checker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef CUDASIM_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { MAX_THREADS = 1024, STACK = 192 << 10, PAGE = 4096 };

typedef struct fiber {
    void *jump[5];    /* where it sleeps */
    char *map;        /* guard page, then the stack */
    char *top;
    void *fake;       /* AddressSanitizer's */
    int thread;       /* the CUDA thread it runs, or -1 */
    bool started;
    struct fiber *next; /* of the idle ones */
} fiber;

enum state { UNSTARTED, RUNNING, READY, AT_BARRIER, AT_WARP, DONE };

typedef struct thread {
    enum state state;
    fiber *fiber;
    uint3 index;
    cudasim_place place;
    const char *what;
    /* at a meeting of lanes */
    unsigned mask;
    cudasim_combine combine;
    const void *in;
    void *out;
    int size, arg, width;
} thread;

/* In a section of their own: the only variables of the program that the checker lets a kernel read. */
uint3 threadIdx __attribute__((section("cudasim_index"))), blockIdx __attribute__((section("cudasim_index")));
dim3 blockDim __attribute__((section("cudasim_index"))), gridDim __attribute__((section("cudasim_index")));

static struct {
    const cudasim_kernel *kernel;
    thread threads[MAX_THREADS];
    int count, live, exited;
    int order[MAX_THREADS];  /* in which threads start and wake */
    int next_start;
    int ready[MAX_THREADS], ready_first, ready_count;
    int at_barrier, barrier_first, predicates, last_predicates;
    unsigned warp_live[MAX_THREADS / 32], warp_waiting[MAX_THREADS / 32];
    int running;             /* thread, or -1 */
    bool given_up;
} block = {.running = -1};

static fiber fibers[MAX_THREADS + 1], main_fiber = {.started = true}, *idle, *current = &main_fiber;
static int fiber_count;

/* ---- fibers ---- */

static void fiber_body(void);

#ifdef CUDASIM_ASAN
/* The bounds of the stack that runs the launch; asked once a thread, for it reads a file. */
static void main_stack(void)
{
    static _Thread_local char *bottom;
    static _Thread_local size_t size;
    if (!bottom) {
        pthread_attr_t attributes;
        void *address = NULL;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &address, &size);
        pthread_attr_destroy(&attributes);
        bottom = address;
    }
    main_fiber.map = bottom - PAGE;
    main_fiber.top = bottom + size;
}
#else
static void main_stack(void) {}
#endif

static fiber *fiber_get(void)
{
    fiber *f = idle;
    if (f) {
        idle = f->next;
        return f;
    }
    f = &fibers[fiber_count];
    f->map = mmap(NULL, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (f->map == MAP_FAILED) {
        fprintf(stderr, "cudasim: no memory for the stack of a thread\n");
        abort();
    }
    mprotect(f->map, PAGE, PROT_NONE);
    /* Stacks that begin at one place of a page would share the same few lines of the first cache. */
    f->top = f->map + PAGE + STACK - (fiber_count * 320 % 4096 & ~63);
    f->thread = -1;
    fiber_count++;
    return f;
}

static void fiber_idle(fiber *f)
{
    f->thread = -1;
    f->next = idle;
    idle = f;
}

static void enter_fiber(void)
{
#ifdef CUDASIM_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    fiber_body();
}

static void __attribute__((noinline)) leap(fiber *to)
{
    if (to->started) {
        __builtin_longjmp(to->jump, 1);
    }
    to->started = true;
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = to->map + PAGE;
    context.uc_stack.ss_size = (size_t)(to->top - (to->map + PAGE));
    context.uc_link = NULL;
    makecontext(&context, enter_fiber, 0);
    setcontext(&context);
    abort();
}

static void set_index(int t)
{
    block.running = t;
    if (t >= 0) {
        block.threads[t].state = RUNNING;
        threadIdx = block.threads[t].index;
        const fiber *f = block.threads[t].fiber;
        cudasim_check_thread(t, f->map + PAGE, (size_t)(f->top - f->map) - PAGE);
    }
}

static void __attribute__((noinline)) switch_to(fiber *to)
{
    fiber *from = current;
    cudasim_total.switches++;
#ifdef CUDASIM_ASAN
    __sanitizer_start_switch_fiber(&from->fake, to->map + PAGE, (size_t)(to->top - (to->map + PAGE)));
#endif
    current = to;
    if (__builtin_setjmp(from->jump) == 0) {
        leap(to);
    }
#ifdef CUDASIM_ASAN
    __sanitizer_finish_switch_fiber(current->fake, NULL, NULL);
#endif
}

/* The fibers of a block that was given up sleep in the midst of its threads: they begin anew. */
static void fibers_restart(void)
{
    idle = NULL;
    for (int i = fiber_count - 1; i >= 0; i--) {
#ifdef CUDASIM_ASAN
        __asan_unpoison_memory_region(fibers[i].map + PAGE, (size_t)(fibers[i].top - fibers[i].map - PAGE));
#endif
        fibers[i].started = false;
        fibers[i].fake = NULL;
        fiber_idle(&fibers[i]);
    }
}

/* ---- the block ---- */

static int take_ready(void)
{
    int t = block.ready[block.ready_first];
    block.ready_first = (block.ready_first + 1) % MAX_THREADS;
    block.ready_count--;
    return t;
}

static void make_ready(int t)
{
    block.threads[t].state = READY;
    block.ready[(block.ready_first + block.ready_count++) % MAX_THREADS] = t;
}

/* Leaves the running thread, which waits, for another. */
static void go_on(void)
{
    if (block.ready_count) {
        int t = take_ready();
        fiber *f = block.threads[t].fiber;
        set_index(t);
        if (f != current) {
            switch_to(f);
        }
        return;
    }
    if (block.next_start < block.count) {
        switch_to(fiber_get());
        return;
    }
    block.running = -1;
    switch_to(&main_fiber);
}

static void barrier_check(void);
static void warp_check(int warp);

static void run_thread(int t)
{
    thread *self = &block.threads[t];
    self->fiber = current;
    current->thread = t;
    set_index(t);
    block.kernel->invoke(block.kernel->closure);
    self->state = DONE;
    block.live--;
    block.exited++;
    block.warp_live[t / 32] &= ~(1u << t % 32);
    if (block.at_barrier) {
        barrier_check();
    }
    if (block.warp_waiting[t / 32]) {
        warp_check(t / 32);
    }
}

static void fiber_body(void)
{
    for (;;) {
        if (block.ready_count) {
            int t = take_ready();
            fiber *to = block.threads[t].fiber;
            fiber_idle(current);
            set_index(t);
            switch_to(to);
        } else if (block.next_start < block.count) {
            run_thread(block.order[block.next_start++]);
        } else {
            fiber_idle(current);
            block.running = -1;
            switch_to(&main_fiber);
        }
    }
}

static void shuffle_order(void)
{
    for (int i = 0; i < block.count; i++) {
        block.order[i] = cudasim_option.order == CUDASIM_REVERSED ? block.count - 1 - i : i;
    }
    for (int i = block.count - 1; cudasim_option.order == CUDASIM_RANDOM && i > 0; i--) {
        int j = (int)(cudasim_random() % (uint64_t)(i + 1)), swap = block.order[i];
        block.order[i] = block.order[j];
        block.order[j] = swap;
    }
}

/* ---- barriers ---- */

static void barrier_check(void)
{
    if (block.exited && cudasim_option.strict_exit) {
        const thread *waiting = &block.threads[block.barrier_first];
        cudasim_error("divergent-exit", "threads wait in %s at %s:%d, and others of the block have returned",
                      waiting->what, waiting->place.file, waiting->place.line);
    }
    if (block.at_barrier < block.live) {
        return;
    }
    block.last_predicates = block.predicates;
    block.at_barrier = block.predicates = 0;
    cudasim_check_barrier();
    if (cudasim_option.order == CUDASIM_RANDOM) { /* new threads no longer start: all have come */
        shuffle_order();
    }
    for (int i = 0; i < block.count; i++) {
        if (block.threads[block.order[i]].state == AT_BARRIER) {
            make_ready(block.order[i]);
        }
    }
}

int cudasim_barrier(const char *what, int predicate, cudasim_place place)
{
    thread *self = &block.threads[block.running];
    self->state = AT_BARRIER;
    self->place = place;
    self->what = what;
    const thread *first = &block.threads[block.barrier_first];
    if (!block.at_barrier) {
        block.barrier_first = block.running;
    } else if (first->place.line != place.line ||
               (first->place.file != place.file && strcmp(first->place.file, place.file) != 0)) {
        cudasim_error("divergent-barrier", "%s at %s:%d meets %s at %s:%d", what, place.file, place.line, first->what,
                      first->place.file, first->place.line);
    }
    block.at_barrier++;
    block.predicates += predicate != 0;
    barrier_check();
    go_on();
    return block.last_predicates;
}

/* ---- meetings of lanes ---- */

/* Runs the meeting of the lanes that wait with `mask` if all are there. */
static void warp_meet(int warp, unsigned mask)
{
    thread *lanes = &block.threads[warp * 32], *any = NULL;
    unsigned wanted = mask & block.warp_live[warp];
    if (wanted & ~block.warp_waiting[warp]) {
        return;
    }
    cudasim_meet meet = {.lanes = wanted};
    for (int i = 0; i < 32; i++) {
        if (wanted >> i & 1) {
            any = &lanes[i];
            meet.in[i] = any->in;
            meet.out[i] = any->out;
            meet.arg[i] = any->arg;
            meet.width[i] = any->width;
            meet.size = any->size;
        }
    }
    if (any && any->combine) {
        cudasim_check_pause(true);
        any->combine(&meet);
        cudasim_check_pause(false);
    } else {
        cudasim_check_syncwarp(warp);
    }
    block.warp_waiting[warp] &= ~wanted;
    for (int i = 0; i < 32; i++) {
        int lane = cudasim_option.order == CUDASIM_REVERSED ? 31 - i : i;
        if (wanted >> lane & 1) {
            make_ready(warp * 32 + lane);
        }
    }
}

/* A lane of the warp has returned: nobody may wait for it, or it counts no longer. */
static void warp_check(int warp)
{
    for (int i = 0; i < 32; i++) {
        thread *lane = &block.threads[warp * 32 + i];
        if (block.warp_waiting[warp] >> i & 1) {
            unsigned gone = lane->mask & ~block.warp_live[warp];
            int there = block.count - warp * 32;
            gone &= there >= 32 ? 0xffffffffu : (1u << there) - 1; /* lanes that never were may be named */
            if (gone && cudasim_option.strict_exit) {
                cudasim_error("exited-lane", "%s at %s:%d waits for lanes %#x, which have returned", lane->what,
                              lane->place.file, lane->place.line, gone);
            }
            warp_meet(warp, lane->mask);
        }
    }
}

static void warp_compare(const thread *self, const thread *other)
{
    if (other->combine != self->combine || other->mask != self->mask || other->size != self->size) {
        cudasim_error("divergent-warp", "%s (mask %#x) at %s:%d meets %s (mask %#x) at %s:%d", self->what, self->mask,
                      self->place.file, self->place.line, other->what, other->mask, other->place.file,
                      other->place.line);
    }
}

void cudasim_warp(const char *what, unsigned mask, cudasim_combine combine, const void *in, void *out, int size, int arg,
                  int width, cudasim_place place)
{
    int warp = block.running / 32, lane = block.running % 32;
    thread *self = &block.threads[block.running];
    if (!(mask >> lane & 1)) {
        cudasim_error("lane-not-named", "%s at %s:%d: lane %d is not in its own mask %#x", what, place.file, place.line,
                      lane, mask);
    }
    if (width < 1 || width > 32 || (width & (width - 1))) {
        cudasim_error("warp-width", "%s at %s:%d: width %d is not a power of two up to 32", what, place.file, place.line,
                      width);
    }
    self->state = AT_WARP;
    self->what = what;
    self->place = place;
    self->mask = mask;
    self->combine = combine;
    self->in = in;
    self->out = out;
    self->size = size;
    self->arg = arg;
    self->width = width;
    unsigned others = block.warp_waiting[warp] & mask;
    if (others) {
        warp_compare(self, &block.threads[warp * 32 + __builtin_ctz(others)]);
    }
    block.warp_waiting[warp] |= 1u << lane;
    if (block.exited) {
        warp_check(warp);
    }
    if (block.warp_waiting[warp] >> lane & 1) {
        warp_meet(warp, mask);
    }
    go_on();
}

/* ---- launches ---- */

static void report_deadlock(void)
{
    char list[600] = "";
    size_t length = 0;
    const char *last = NULL;
    int line = 0;
    for (int i = 0; i < block.count && length < sizeof list; i++) {
        thread *t = &block.threads[i];
        if (t->state != DONE && (t->what != last || t->place.line != line)) {
            length += (size_t)snprintf(list + length, sizeof list - length, "; thread %d in %s at %s:%d", i, t->what,
                                       t->place.file, t->place.line);
            last = t->what;
            line = t->place.line;
        }
    }
    cudasim_error("deadlock", "nothing in block (%u, %u, %u) of %s can go on%s", blockIdx.x, blockIdx.y, blockIdx.z,
                  block.kernel->name, list);
}

static void start_block(uint64_t linear)
{
    const cudasim_kernel *k = block.kernel;
    blockIdx.x = (unsigned)(linear % k->grid.x);
    blockIdx.y = (unsigned)(linear / k->grid.x % k->grid.y);
    blockIdx.z = (unsigned)(linear / k->grid.x / k->grid.y);
    block.live = block.count;
    block.exited = block.next_start = block.ready_count = block.at_barrier = block.predicates = 0;
    memset(block.warp_waiting, 0, sizeof block.warp_waiting);
    for (int i = 0; i < block.count; i++) {
        block.threads[i].state = UNSTARTED;
    }
    for (int w = 0; w * 32 < block.count; w++) {
        int lanes = block.count - w * 32;
        block.warp_live[w] = lanes >= 32 ? 0xffffffffu : (1u << lanes) - 1;
    }
    cudasim_shared_fill();
    shuffle_order();
    cudasim_check_block(linear);
    cudasim_total.blocks++;
    cudasim_total.threads += (uint64_t)block.count;
}

static void index_threads(const cudasim_kernel *k)
{
    for (int i = 0; i < block.count; i++) {
        unsigned linear = (unsigned)i;
        block.threads[i].index =
            (uint3){linear % k->block.x, linear / k->block.x % k->block.y, linear / k->block.x / k->block.y};
    }
}

static void run_block(uint64_t linear)
{
    start_block(linear);
    current = &main_fiber;
    switch_to(fiber_get());
    if (block.given_up) {
        fibers_restart();
    } else if (block.live) {
        report_deadlock(); /* outside: the main stack runs */
        fibers_restart();
    }
}

static uint64_t common_factor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void cudasim_run(const cudasim_kernel *k)
{
    uint64_t blocks = (uint64_t)k->grid.x * k->grid.y * k->grid.z;
    main_stack();
    block.kernel = k;
    block.count = (int)(k->block.x * k->block.y * k->block.z);
    block.given_up = false;
    blockDim = k->block;
    gridDim = k->grid;
    cudasim_total.launches++;
    index_threads(k);
    cudasim_check_launch(k);
    cudasim_shared_begin(k->shared);
    cudasim_watch(cudasim_option.watchdog);
    uint64_t begin = 0, step = 1;
    if (cudasim_option.order == CUDASIM_RANDOM) { /* a step with no common factor comes to every block once */
        begin = cudasim_random() % blocks;
        do {
            step = 1 + cudasim_random() % blocks;
        } while (common_factor(step, blocks) != 1);
    }
    for (uint64_t i = 0; i < blocks && !cudasim_lost(); i++) {
        uint64_t at = (uint64_t)((begin + (unsigned __int128)i * step) % blocks);
        run_block(cudasim_option.order == CUDASIM_REVERSED ? blocks - 1 - at : at);
    }
    cudasim_watch(0);
    cudasim_shared_end();
    block.kernel = NULL;
    block.running = -1;
    cudasim_check_end();
}

/* ---- what others ask ---- */

bool cudasim_inside(void) { return block.kernel && block.running >= 0; }

void cudasim_give_up(void)
{
    block.given_up = true;
    block.running = -1;
    switch_to(&main_fiber);
    abort();
}

const char *cudasim_where(char *out, size_t size)
{
    snprintf(out, size, "; kernel %s, block (%u, %u, %u), thread (%u, %u, %u)", block.kernel->name, blockIdx.x, blockIdx.y,
             blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    return out;
}

int cudasim_stack_of(uintptr_t address)
{
    for (int i = 0; i < fiber_count; i++) {
        if (address - (uintptr_t)fibers[i].map < STACK + PAGE) {
            return i;
        }
    }
    return -1;
}

bool cudasim_guard_page(const void *p)
{
    for (int i = 0; i < fiber_count; i++) {
        if ((const char *)p >= fibers[i].map && (const char *)p < fibers[i].map + PAGE) {
            return true;
        }
    }
    return false;
}
