/* Many networks in one process: memory does not grow, handles are used again, a steady state allocates nothing, and
 * closing the context returns every byte, whatever was left open. */
#include "check.h"
#include "nets.h"

#include <stdio.h>
#include <unistd.h>

/* A sanitizer keeps freed memory aside and counts leaks itself; then resident memory says nothing. */
#if defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int64_t resident_bytes(void)
{
    if (SANITIZED) {
        return 0;
    }
    long pages = 0, ignored = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%ld %ld", &ignored, &pages) != 2) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static plumb_status train(plumb_context *context, net_builder build, int steps, bool tidy)
{
    struct net net;
    plumb_status status = build(context, &net);
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_program *step = state ? plumb_compile_training(net.g, state, net.loss, PLUMB_ADAM(), NULL, 0) : NULL;
    status = step ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; status == PLUMB_OK && i < steps; i++) {
        status = net_feed(&net, step, 4, (uint64_t)i);
        if (status == PLUMB_OK) {
            status = plumb_run(step);
        }
    }
    if (tidy) {
        plumb_program_free(step);
        plumb_state_free(state);
        plumb_graph_free(net.g);
    }
    return status;
}

PLUMB_TEST(leak, a_thousand_networks_in_one_context)
{
    struct counting counting = {.bytes = 0};
    plumb_allocator allocator = counting_allocator(&counting);
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .allocator = &allocator});
    REQUIRE(context);
    int64_t bytes = 0, blocks = 0, resident = 0, known = 0;
    for (int i = 0; i < 1000; i++) {
        if (i == 100) { /* handles' cells and the arena have settled */
            bytes = counting.bytes;
            blocks = counting.blocks;
            known = plumb_memory_now(context);
            resident = resident_bytes();
        }
        CHECK(train(context, i % 2 ? net_mlp : net_cnn, 2, true) == PLUMB_OK);
    }
    CHECK_MSG(counting.bytes == bytes && counting.blocks == blocks, "grown by %lld bytes, %lld blocks",
              (long long)(counting.bytes - bytes), (long long)(counting.blocks - blocks));
    CHECK(plumb_memory_now(context) == known);
    CHECK_MSG(resident_bytes() - resident <= 1 << 20, "resident memory grew by %lld bytes",
              (long long)(resident_bytes() - resident));
    plumb_close(context);
    CHECK(counting.bytes == 0 && counting.blocks == 0);
}

/* Nothing is freed but the context. */
PLUMB_TEST(leak, closing_frees_what_was_left)
{
    struct counting counting = {.bytes = 0};
    plumb_allocator allocator = counting_allocator(&counting);
    for (int i = 0; i < 20; i++) {
        plumb_context *context = plumb_open(
            &(plumb_options){.size = sizeof(plumb_options), .threads = 1 + i % 3, .allocator = &allocator});
        REQUIRE(context);
        CHECK(train(context, net_cnn, 1, false) == PLUMB_OK && train(context, net_mlp, 1, false) == PLUMB_OK);
        plumb_close(context);
        CHECK_MSG(counting.bytes == 0 && counting.blocks == 0, "%lld bytes left", (long long)counting.bytes);
    }
}

PLUMB_TEST(leak, a_steady_state_allocates_nothing)
{
    struct counting counting = {.bytes = 0};
    plumb_allocator allocator = counting_allocator(&counting);
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 2, .allocator = &allocator});
    REQUIRE(context);
    const net_builder builders[] = {net_mlp, net_cnn, net_views};
    for (int n = 0; n < 3; n++) {
        struct net net;
        REQUIRE(builders[n](context, &net) == PLUMB_OK);
        plumb_state *state = plumb_state_new(net.g);
        plumb_program *step = plumb_compile_training(net.g, state, net.loss, PLUMB_ADAM(.clip_norm = 1), NULL, 0);
        REQUIRE(step);
        int64_t calls = 0;
        for (int i = 0; i < 1000; i++) {
            double loss = NAN;
            if (i == 2) {
                calls = counting.calls;
            }
            CHECK(net_feed(&net, step, 4, (uint64_t)i) == PLUMB_OK && plumb_run(step) == PLUMB_OK);
            CHECK(plumb_fetch_number(step, net.loss, &loss) == PLUMB_OK && isfinite(loss));
        }
        CHECK_MSG(counting.calls == calls, "%lld allocations in 998 steps", (long long)(counting.calls - calls));
    }
    plumb_close(context);
    CHECK(counting.blocks == 0);
}

/* Contexts come and go, also such as never opened. */
PLUMB_TEST(leak, contexts_come_and_go)
{
    int64_t resident = 0;
    for (int i = 0; i < 300; i++) {
        if (i == 30) {
            resident = resident_bytes();
        }
        plumb_error error;
        plumb_context *context = plumb_open(&(plumb_options){
            .size = sizeof(plumb_options), .threads = i % 4, .device = i % 5 ? "cpu" : "nowhere", .error = &error});
        CHECK((context != NULL) == (i % 5 != 0));
        if (!context) {
            CHECK_TEXT(error.message, "nowhere");
        }
        plumb_close(context);
    }
    CHECK(resident_bytes() - resident <= 1 << 20);
}
