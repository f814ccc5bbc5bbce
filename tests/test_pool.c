/* The thread pool: every chunk once, results that do not depend on how many threads there are, sharing between
 * contexts, the floating-point mode. Run under ThreadSanitizer these are also the race tests. */
#include "check.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/core.h"

#define CHUNKS 997

struct marks {
    int size;
    atomic_int seen[CHUNKS];
    atomic_int outside; /* worker numbers out of range */
};

static void mark(void *user, int64_t chunk, int worker)
{
    struct marks *marks = user;
    atomic_fetch_add(&marks->seen[chunk], 1);
    if (worker < 0 || worker >= marks->size) {
        atomic_fetch_add(&marks->outside, 1);
    }
}

PLUMB_TEST(pool, every_chunk_once)
{
    static const int sizes[] = {1, 2, 3, 8};
    static const int64_t chunks[] = {0, 1, 2, 3, 16, CHUNKS};
    for (int i = 0; i < 4; i++) {
        plumb_pool *pool = plumb_pool_new(sizes[i]);
        REQUIRE(pool);
        CHECK(plumb_pool_size(pool) == sizes[i]);
        struct marks marks = {.size = sizes[i]};
        int wanted[CHUNKS] = {0};
        for (int round = 0; round < 300; round++) {
            int64_t n = chunks[round % 6];
            plumb_pool_run(pool, n, mark, &marks);
            for (int64_t k = 0; k < n; k++) {
                wanted[k]++;
            }
            if (round % 50 == 0) {
                usleep(300); /* long enough that the workers have gone to sleep */
            }
        }
        for (int k = 0; k < CHUNKS; k++) {
            CHECK(atomic_load(&marks.seen[k]) == wanted[k]);
        }
        CHECK(atomic_load(&marks.outside) == 0);
        plumb_pool_run(pool, -5, mark, &marks);
        plumb_pool_free(pool);
    }
    plumb_pool_free(NULL);
    CHECK(!plumb_pool_new(-1) && !plumb_pool_new(1025));
}

/* The pattern all kernels follow: a partial sum per chunk, combined in order. */
struct sums {
    const float *values;
    int64_t count;
    float partial[64];
};

static void sum_chunk(void *user, int64_t chunk, int worker)
{
    struct sums *sums = user;
    float sum = 0;
    for (int64_t i = chunk * sums->count / 64; i < (chunk + 1) * sums->count / 64; i++) {
        sum += sums->values[i];
    }
    sums->partial[chunk] = sum;
    (void)worker;
}

PLUMB_TEST(pool, sums_do_not_depend_on_threads)
{
    static float values[100000];
    float first = 0;
    for (int i = 0; i < 100000; i++) {
        values[i] = (float)plumb_normal_of_word(plumb_random_word(1, 2, 3, i));
    }
    for (int threads = 1; threads <= 8; threads++) {
        plumb_pool *pool = plumb_pool_new(threads);
        REQUIRE(pool);
        for (int repeat = 0; repeat < 3; repeat++) {
            struct sums sums = {.values = values, .count = 100000};
            plumb_pool_run(pool, 64, sum_chunk, &sums);
            float sum = 0;
            for (int i = 0; i < 64; i++) {
                sum += sums.partial[i];
            }
            first = threads == 1 && repeat == 0 ? sum : first;
            CHECK(memcmp(&sum, &first, sizeof(sum)) == 0);
        }
        plumb_pool_free(pool);
    }
}

struct sharer {
    plumb_pool *pool;
    int64_t total;
    int wrong;
};

static void add_one(void *user, int64_t chunk, int worker)
{
    ((int64_t *)user)[chunk]++;
    (void)worker;
}

static void *share(void *argument)
{
    struct sharer *me = argument;
    plumb_context *context = plumb_open(&(plumb_options){.pool = me->pool});
    int64_t counts[20] = {0};
    for (int round = 0; context && round < 500; round++) {
        plumb_pool_run(context->pool, 1 + round % 20, add_one, counts);
    }
    for (int i = 0; i < 20; i++) {
        me->total += counts[i];
    }
    me->wrong += !context;
    plumb_close(context);
    return NULL;
}

PLUMB_TEST(pool, shared_by_contexts_in_threads)
{
    plumb_pool *pool = plumb_pool_new(3);
    REQUIRE(pool);
    struct sharer sharers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        sharers[i] = (struct sharer){.pool = pool};
        REQUIRE(pthread_create(&threads[i], NULL, share, &sharers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(sharers[i].total == 5250 && sharers[i].wrong == 0);
    }
    plumb_pool_free(pool);
}

#if defined(__x86_64__)
struct tiny {
    volatile float denormal;
    _Atomic int kept; /* chunks in which a denormal survived, or rounding was not to nearest */
};

static void multiply_tiny(void *user, int64_t chunk, int worker)
{
    struct tiny *tiny = user;
    volatile float product = tiny->denormal * 0.5f, one = 1.0f, step = 0x1p-24f;
    if (product != 0 || one + step != 1.0f) {
        atomic_fetch_add(&tiny->kept, 1);
    }
    (void)chunk;
    (void)worker;
}

PLUMB_TEST(pool, denormals_are_flushed_inside_only)
{
    for (int threads = 1; threads <= 3; threads++) {
        plumb_pool *pool = plumb_pool_new(threads);
        REQUIRE(pool);
        struct tiny tiny = {.denormal = 1e-40f};
        fesetround(FE_UPWARD);
        for (int64_t chunks = 1; chunks < 100; chunks += 7) {
            plumb_pool_run(pool, chunks, multiply_tiny, &tiny);
        }
        CHECK(fegetround() == FE_UPWARD);
        fesetround(FE_TONEAREST);
        volatile float outside = tiny.denormal * 0.5f;
        CHECK(outside > 0);
        CHECK(atomic_load(&tiny.kept) == 0);
        plumb_pool_free(pool);
    }
}
#endif

PLUMB_TEST(pool, works_in_a_forked_child)
{
    plumb_pool *pool = plumb_pool_new(32);
    REQUIRE(pool);
    for (int time = 0; time < 50; time++) { /* one of many workers that wake or go to sleep may hold the lock */
        int64_t counts[50] = {0};
        plumb_pool_run(pool, 50, add_one, counts);
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            plumb_pool_run(pool, 50, add_one, counts); /* the other threads do not exist here */
            int good = 1;
            for (int i = 0; i < 50; i++) {
                good &= counts[i] == 2;
            }
            plumb_pool_free(pool);
            _exit(good ? 0 : 1);
        }
        int status = -1;
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    plumb_pool_free(pool);
}

struct turns {
    atomic_int by_caller, by_others;
    bool stall; /* others go off their CPU in the middle of a chunk */
};

static void take_turn(void *user, int64_t chunk, int worker)
{
    struct turns *turns = user;
    (void)chunk;
    atomic_fetch_add(worker ? &turns->by_others : &turns->by_caller, 1);
    usleep(worker && turns->stall ? 2000 : 50);
}

/* Chunks done by others in a run of 16. */
static int others_in_a_run(plumb_pool *pool, bool stall)
{
    struct turns turns = {.stall = stall};
    plumb_pool_run(pool, 16, take_turn, &turns);
    CHECK(atomic_load(&turns.by_caller) + atomic_load(&turns.by_others) == 16);
    return atomic_load(&turns.by_others);
}

PLUMB_TEST(pool, who_stalls_rests_for_a_while)
{
    plumb_pool *pool = plumb_pool_new(2);
    REQUIRE(pool);
    bool rested = false, back = false;
    for (int i = 0; i < 200 && !rested; i++) {
        rested = others_in_a_run(pool, true) > 0 && others_in_a_run(pool, false) == 0;
    }
    CHECK_MSG(rested, "a thread that sleeps in its chunks takes part all the time");
    for (int i = 0; i < 20000 && !back; i++) { /* some 800 microseconds each: much longer than any rest */
        back = others_in_a_run(pool, false) > 0;
    }
    CHECK_MSG(back, "a thread that stalled once never comes back");
    for (int i = 0; i < 3; i++) {
        others_in_a_run(pool, true);
    }
    plumb_pool_free(pool); /* also while it rests */
}

static void note_thread(void *user, int64_t chunk, int worker)
{
    atomic_int *thread = user;
    if (worker) {
        atomic_store(thread, gettid());
    }
    usleep(50);
    (void)chunk;
}

PLUMB_TEST(pool, who_meets_the_caller_on_its_cpu_leaves_it)
{
    plumb_pool *pool = plumb_pool_new(2);
    REQUIRE(pool);
    atomic_int thread = 0;
    for (int i = 0; i < 20000 && !atomic_load(&thread); i++) {
        plumb_pool_run(pool, 8, note_thread, &thread);
    }
    cpu_set_t before, here, now;
    bool apart = plumb_cpu_count() < 2; /* there is nowhere to go */
    REQUIRE(atomic_load(&thread) && sched_getaffinity(0, sizeof(before), &before) == 0);
    CPU_ZERO(&here);
    CPU_SET((size_t)sched_getcpu(), &here);
    CHECK(sched_setaffinity(0, sizeof(here), &here) == 0 && sched_setaffinity(atomic_load(&thread), sizeof(here), &here) == 0);
    for (int i = 0; i < 20000 && !apart; i++) {
        plumb_pool_run(pool, 8, note_thread, &thread);
        apart = sched_getaffinity(atomic_load(&thread), sizeof(now), &now) == 0 && !CPU_EQUAL(&now, &here);
    }
    CHECK_MSG(apart, "the threads share a CPU for good");
    CHECK(sched_setaffinity(0, sizeof(before), &before) == 0);
    plumb_pool_free(pool);
}
