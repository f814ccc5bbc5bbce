/* Threads. A run is a number of chunks, and each thread has a share of them, the same part of every run: ops that follow
 * each other mostly cut the same batch, so a thread finds what it wrote before in its own cache. Who is done with its own
 * share claims from the others', so a busy neighbour costs only its share of the CPU.
 *
 * A share's claim word holds the run's number beside how many chunks nobody has claimed. A claim succeeds only while its
 * run has unclaimed chunks, and the work is replaced only after the last chunk was done; so whoever claims has read the
 * work of that very run, and nobody need wait for a sleeping thread that has claimed nothing, which on a loaded machine
 * is most of the cost of small ops. The calling thread takes part, and could finish alone (as it does in a forked
 * child, where the others do not exist).
 *
 * Idle threads spin for some 150 microseconds, then sleep on a condition variable: steps of a program follow each other
 * faster than a sleeper wakes. With more threads than CPUs nobody spins.
 *
 * A thread that a neighbour pushed off its CPU in the middle of a chunk makes all others wait, for milliseconds: longer
 * than a small network's whole step. The caller notices, because that thread hardly used any CPU while it waited, and
 * sends it to rest for a while; the others do its share. A busy neighbour so costs the CPU that it
 * takes, and not the others' time as well. */
#include "core/inside.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SPIN_SECONDS 150e-6
#define STALL_SECONDS 200e-6 /* a wait without using the CPU that is no scheduling jitter */
#define REST_SECONDS 4e-3    /* a time slice of the scheduler's; twice as long each time it was in vain, */
#define AGAIN_SECONDS 20e-3  /* which shows within so much of its end: once is an accident, and costs little */
#define LONGEST_REST 640e-3
#define MAX_CHUNKS ((int64_t)1 << 31) /* of one round; longer runs take several */

typedef void (*chunk_body)(void *user, int64_t chunk, int worker);

struct worker {
    _Alignas(64) atomic_ullong claim; /* run number << 32 | chunks of its share that nobody has claimed */
    plumb_pool *pool;
    int index; /* 0 is whoever calls plumb_pool_run */
    pthread_t thread;
    _Atomic(double) rest; /* takes no part until then, in plumb_seconds; 0: it does */
    double rested, nap;   /* until when it rested last, and how long; these are the caller's */
    double used;          /* CPU time when the caller began to wait */
};

struct plumb_pool {
    plumb_allocator allocator;
    size_t bytes; /* of this struct with its workers */
    int size;     /* threads that take part, the caller included */
    int started;  /* worker threads to join */
    bool spin;
    pid_t process;        /* threads do not survive a fork */
    cpu_set_t cpus;       /* that the process might use when the pool was made; empty where they are too many */
    pthread_mutex_t turn; /* one run at a time */
    pthread_mutex_t lock; /* for sleeping and waking only */
    pthread_cond_t work, finished, ending;
    atomic_int last; /* worker that did the last chunk of a run for which the caller slept */
    /* The work of the current run; written by the caller between runs. */
    _Atomic(chunk_body) body;
    _Atomic(void *) user;
    atomic_llong base;   /* number of the round's first chunk */
    atomic_uint chunks;  /* of the round */
    atomic_int cpu;      /* where the caller began it */
    _Alignas(64) atomic_uint done;     /* chunks done in this round */
    _Alignas(64) atomic_uint sleepers; /* workers asleep, or about to be */
    atomic_bool caller_sleeps, stop;
    struct worker workers[]; /* [size] */
};

/* ---- floating-point mode: round to nearest, nothing traps, denormals are zero ---- */
#if defined(__x86_64__)
typedef unsigned fp_mode;
static fp_mode fp_enter(void)
{
    fp_mode old = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1f80 | 0x8040);
    return old;
}
static void fp_leave(fp_mode old)
{
    __builtin_ia32_ldmxcsr(old);
}
#elif defined(__aarch64__)
typedef uint64_t fp_mode;
static fp_mode fp_enter(void)
{
    fp_mode old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24));
    return old;
}
static void fp_leave(fp_mode old)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(old));
}
#else
typedef int fp_mode;
static fp_mode fp_enter(void)
{
    return 0;
}
static void fp_leave(fp_mode old)
{
    (void)old;
}
#endif

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

double plumb_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int plumb_cpu_count(void)
{
    /* A fixed cpu_set_t holds 1024 CPUs; larger machines refuse it and need a larger one. */
    for (int room = 1024; room <= 65536; room *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        if (!set) {
            break;
        }
        size_t bytes = CPU_ALLOC_SIZE((size_t)room);
        int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        bool larger = count == 0 && errno == EINVAL;
        CPU_FREE(set);
        if (count > 0) {
            return count;
        }
        if (!larger) {
            break;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

/* A forked child has no workers, and finds locks as they were in that moment. Asked on slow roads only. */
static bool is_forked(const plumb_pool *pool)
{
    return pool->process != getpid();
}

/* The first chunk of a worker's share. */
static uint32_t share_start(uint32_t chunks, int worker, int size)
{
    return (uint32_t)((uint64_t)chunks * (uint64_t)worker / (uint64_t)size);
}

/* Claims and does chunks of run `number` until none is left: those of its own share, then others'. */
static void take_part(plumb_pool *pool, uint32_t number, int worker)
{
    chunk_body body = atomic_load_explicit(&pool->body, memory_order_relaxed);
    void *user = atomic_load_explicit(&pool->user, memory_order_relaxed);
    int64_t base = atomic_load_explicit(&pool->base, memory_order_relaxed);
    uint32_t chunks = atomic_load_explicit(&pool->chunks, memory_order_relaxed);
    uint32_t did = 0;
    for (int i = 0; i < pool->size; i++) {
        int owner = worker + i < pool->size ? worker + i : worker + i - pool->size;
        atomic_ullong *share = &pool->workers[owner].claim;
        uint32_t end = share_start(chunks, owner + 1, pool->size);
        unsigned long long claim = atomic_load(share);
        while (claim >> 32 == number && (uint32_t)claim != 0) {
            if (atomic_compare_exchange_weak(share, &claim, claim - 1)) {
                body(user, base + (end - (uint32_t)claim), worker);
                did++;
                claim = atomic_load(share);
            }
        }
    }
    if (did && atomic_fetch_add(&pool->done, did) + did == chunks && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->lock);
        atomic_store(&pool->last, worker);
        pthread_cond_signal(&pool->finished);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* The number of the latest run: the caller's share is the last to be published. */
static uint32_t run_number(plumb_pool *pool)
{
    return (uint32_t)(atomic_load(&pool->workers[0].claim) >> 32);
}

static bool is_new(plumb_pool *pool, uint32_t seen)
{
    return run_number(pool) != seen || atomic_load(&pool->stop);
}

/* A worker that is woken may find itself on the caller's CPU while others idle, and the two would take turns there for tens
 * of milliseconds, until the system's balancing notices. (Virtual machines do this much: a halted CPU passes for taken.) So
 * a worker that meets its caller keeps off that CPU, until it meets it on another. */
static void leave_callers_cpu(const plumb_pool *pool)
{
    int cpu = atomic_load_explicit(&pool->cpu, memory_order_relaxed);
    if (pool->spin && cpu >= 0 && cpu < CPU_SETSIZE && sched_getcpu() == cpu) {
        cpu_set_t others = pool->cpus;
        CPU_CLR((size_t)cpu, &others);
        sched_setaffinity(0, sizeof(others), &others); /* where that is not allowed it stays */
    }
}

/* Waits for a run other than `seen`: awake for a moment, then asleep. */
static void await_work(plumb_pool *pool, uint32_t seen)
{
    if (pool->spin) {
        double until = plumb_seconds() + SPIN_SECONDS;
        do {
            for (int i = 0; i < 32; i++) {
                if (is_new(pool, seen)) {
                    return;
                }
                relax();
            }
        } while (plumb_seconds() < until);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1); /* before looking again: the caller looks here after publishing a run */
    while (!is_new(pool, seen)) {
        pthread_cond_wait(&pool->work, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Sleeps while it is to rest; runs do not wake it. */
static void rest(struct worker *me)
{
    plumb_pool *pool = me->pool;
    pthread_mutex_lock(&pool->lock);
    for (double left; (left = atomic_load(&me->rest) - plumb_seconds()) > 0 && !atomic_load(&pool->stop);) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)((left < LONGEST_REST ? left : LONGEST_REST) * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&pool->ending, &pool->lock, &until);
    }
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&me->rest, 0);
}

static void *work(void *argument)
{
    struct worker *me = argument;
    plumb_pool *pool = me->pool;
    uint32_t seen = 0;
    fp_enter();
    while (!atomic_load(&pool->stop)) {
        await_work(pool, seen);
        if (atomic_load(&me->rest) > 0) {
            rest(me);
        }
        leave_callers_cpu(pool);
        seen = run_number(pool);
        take_part(pool, seen, me->index);
    }
    return NULL;
}

/* CPU time of a worker so far. (The clock of the whole process lags behind by up to a tick for threads that run.) */
static double cpu_seconds(const struct worker *worker)
{
    clockid_t clock;
    struct timespec used = {0};
    if (pthread_getcpuclockid(worker->thread, &clock) == 0) {
        clock_gettime(clock, &used);
    }
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

static void send_to_rest(struct worker *worker, double now)
{
    bool again = now - worker->rested < worker->nap + AGAIN_SECONDS;
    worker->nap = !again ? REST_SECONDS : 2 * worker->nap < LONGEST_REST ? 2 * worker->nap : LONGEST_REST;
    worker->rested = now + worker->nap;
    atomic_store(&worker->rest, worker->rested);
}

static void await_end(plumb_pool *pool, uint32_t chunks)
{
    if (pool->spin) {
        double until = plumb_seconds() + SPIN_SECONDS;
        do {
            for (int i = 0; i < 32; i++) {
                if (atomic_load(&pool->done) == chunks) {
                    return;
                }
                relax();
            }
        } while (plumb_seconds() < until);
    }
    /* Always so in a forked child, where the lock may be held by a thread that does not exist. */
    if (atomic_load(&pool->done) == chunks) {
        return;
    }
    double began = plumb_seconds();
    for (int i = 1; i < pool->size; i++) {
        pool->workers[i].used = cpu_seconds(&pool->workers[i]);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->last, 0);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->done) != chunks) {
        pthread_cond_wait(&pool->finished, &pool->lock);
    }
    atomic_store(&pool->caller_sleeps, false);
    int last = atomic_load(&pool->last);
    pthread_mutex_unlock(&pool->lock);
    double ended = plumb_seconds();
    struct worker *latest = &pool->workers[last];
    if (last > 0 && ended - began > STALL_SECONDS && cpu_seconds(latest) - latest->used < (ended - began) / 2) {
        send_to_rest(latest, ended);
    }
}

/* At most MAX_CHUNKS chunks, from number `base` on. */
static void run_round(plumb_pool *pool, int64_t base, uint32_t chunks, chunk_body body, void *user)
{
    atomic_store_explicit(&pool->body, body, memory_order_relaxed);
    atomic_store_explicit(&pool->user, user, memory_order_relaxed);
    atomic_store_explicit(&pool->base, base, memory_order_relaxed);
    atomic_store_explicit(&pool->chunks, chunks, memory_order_relaxed);
    atomic_store_explicit(&pool->cpu, sched_getcpu(), memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    uint32_t number = run_number(pool) + 1;
    for (int i = pool->size - 1; i >= 0; i--) {
        uint32_t share = share_start(chunks, i + 1, pool->size) - share_start(chunks, i, pool->size);
        atomic_store(&pool->workers[i].claim, (unsigned long long)number << 32 | share);
    }
    unsigned asleep = atomic_load(&pool->sleepers);
    if (asleep && !is_forked(pool)) {
        unsigned wanted = chunks - 1; /* the caller takes one */
        pthread_mutex_lock(&pool->lock);
        if (wanted >= asleep) {
            pthread_cond_broadcast(&pool->work);
        } else {
            for (unsigned i = 0; i < wanted; i++) {
                pthread_cond_signal(&pool->work);
            }
        }
        pthread_mutex_unlock(&pool->lock);
    }
    take_part(pool, number, 0);
    await_end(pool, chunks);
}

void plumb_pool_run(plumb_pool *pool, int64_t chunks, void (*body)(void *user, int64_t chunk, int worker), void *user)
{
    if (chunks <= 0) {
        return;
    }
    fp_mode mode = fp_enter();
    bool alone = pool->size == 1 || chunks == 1;
    if (!alone && pthread_mutex_trylock(&pool->turn) != 0) {
        alone = is_forked(pool);
        if (!alone) {
            pthread_mutex_lock(&pool->turn);
        }
    }
    if (alone) {
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            body(user, chunk, 0);
        }
    } else {
        for (int64_t base = 0; base < chunks; base += MAX_CHUNKS) {
            int64_t left = chunks - base;
            run_round(pool, base, (uint32_t)(left < MAX_CHUNKS ? left : MAX_CHUNKS), body, user);
        }
        pthread_mutex_unlock(&pool->turn);
    }
    fp_leave(mode);
}

int plumb_pool_size(const plumb_pool *pool)
{
    return pool->size;
}

int64_t plumb_pool_bytes(const plumb_pool *pool)
{
    return (int64_t)pool->bytes;
}

/* Starts the workers with all signals blocked: those are for the application's own threads. */
static bool start_workers(plumb_pool *pool)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pool->size > 1) {
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (int i = 1; i < pool->size; i++) {
            struct worker *worker = &pool->workers[i];
            worker->pool = pool;
            worker->index = i;
            if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
                break;
            }
            pool->started = i;
            char name[16];
            snprintf(name, sizeof(name), "plumb-%d", i & 1023);
            pthread_setname_np(worker->thread, name);
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    return pool->started == pool->size - 1;
}

plumb_pool *plumb_pool_make(const plumb_allocator *allocator, int threads, const char **why)
{
    int cpus = plumb_cpu_count();
    int size = threads > 0 ? threads : cpus;
    size_t bytes = sizeof(plumb_pool) + (size_t)size * sizeof(struct worker);
    plumb_pool *pool = allocator->alloc(allocator->user, bytes);
    if (!pool) {
        *why = "out of memory for the thread pool";
        return NULL;
    }
    memset(pool, 0, bytes);
    pool->allocator = *allocator;
    pool->bytes = bytes;
    pool->size = size;
    pool->spin = size <= cpus;
    if (sched_getaffinity(0, sizeof(pool->cpus), &pool->cpus) != 0) {
        CPU_ZERO(&pool->cpus);
    }
    pool->process = getpid();
    pthread_mutex_init(&pool->turn, NULL); /* these allocate nothing and cannot fail with such attributes */
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pthread_condattr_t monotonic; /* whoever sets the time of day must not wake or keep a thread that rests */
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->ending, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!start_workers(pool)) {
        *why = "the operating system refused to start that many threads";
        plumb_pool_free(pool);
        return NULL;
    }
    return pool;
}

plumb_pool *plumb_pool_new(int threads)
{
    const char *why;
    return threads >= 0 && threads <= 1024 ? plumb_pool_make(&plumb_allocator_c, threads, &why) : NULL;
}

void plumb_pool_free(plumb_pool *pool)
{
    if (!pool) {
        return;
    }
    if (!is_forked(pool)) { /* in a forked child there is nobody to join */
        pthread_mutex_lock(&pool->lock);
        atomic_store(&pool->stop, true);
        pthread_cond_broadcast(&pool->work);
        pthread_cond_broadcast(&pool->ending);
        pthread_mutex_unlock(&pool->lock);
        for (int i = 1; i <= pool->started; i++) {
            pthread_join(pool->workers[i].thread, NULL);
        }
        pthread_cond_destroy(&pool->work);
        pthread_cond_destroy(&pool->finished);
        pthread_cond_destroy(&pool->ending);
        pthread_mutex_destroy(&pool->lock);
        pthread_mutex_destroy(&pool->turn);
    }
    plumb_allocator allocator = pool->allocator;
    allocator.free(allocator.user, pool, pool->bytes);
}
