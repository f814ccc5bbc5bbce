/* Plugins of vendors' libraries on the CPU, where they are built: that they are used when wished for and not otherwise,
 * that results do not depend on the number of threads, and that a library's own setting is what the application made it. */
#include <dlfcn.h>

#include "check.h"
#include "device/plugin.h"
#include "exec/exec.h"
#include "nets.h"

enum { BATCH = 12, STEPS = 3 };

/* Losses of a few steps of the small convolutional network; returns how many steps of a plan `impl` computed. */
static int train(const char *impl, int threads, double loss[STEPS])
{
    char wish[64];
    snprintf(wish, sizeof wish, "*=%s", impl);
    plumb_context *c = plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .seed = 3, .threads = threads, .implementations = wish});
    struct net net;
    int used = 0;
    plumb_status status = net_cnn(c, &net);
    plumb_state *state = plumb_state_new(net.g);
    plumb_program *step = status == PLUMB_OK ? plumb_compile_training(net.g, state, net.loss, PLUMB_SGD(.lr = 0.1), NULL, 0) : NULL;
    CHECK_MSG(step != NULL, "%s", plumb_message(c));
    for (int i = 0; i < STEPS && step; i++) {
        CHECK(net_feed(&net, step, BATCH, 1 + (uint64_t)i) == PLUMB_OK && plumb_run(step) == PLUMB_OK &&
              plumb_fetch_number(step, net.loss, &loss[i]) == PLUMB_OK);
    }
    const struct plumb_plan *plan = step ? plumb_current_plan(plumb_program_get(step)) : NULL;
    for (int i = 0; plan && i < plan->n_steps; i++) {
        used += strcmp(plan->step[i].impl->name, impl) == 0;
    }
    plumb_graph_free(net.g);
    CHECK_MSG(plumb_last_status(c) == PLUMB_OK, "%s", plumb_message(c));
    plumb_close(c);
    return used;
}

/* Whether the plugin is there; where it is not there is nothing to test. */
static bool is_there(int index)
{
    plumb_context *c = plumb_open(NULL);
    bool there = plumb_addition_find(c->device, index)->plugin != NULL;
    CHECK(plumb_last_status(c) == PLUMB_OK && plumb_addition_find(c->device, index)->text[0]);
    plumb_close(c);
    return there;
}

PLUMB_TEST(vendor, bits_do_not_depend_on_threads)
{
    for (int i = 0; plumb_addition_name(i); i++) {
        char impl[32];
        double one[STEPS] = {0}, three[STEPS] = {0}, own[STEPS] = {0};
        snprintf(impl, sizeof impl, "cpu.%s", plumb_addition_name(i));
        if (!is_there(i)) {
            continue;
        }
        CHECK(train("cpu.native", 1, own) > 0);
        CHECK_MSG(train(impl, 1, one) > 0 && train(impl, 3, three) > 0, "%s computed nothing", impl);
        for (int k = 0; k < STEPS; k++) {
            CHECK_MSG(one[k] == three[k], "%s, step %d: %.17g with three threads, %.17g with one", impl, k, three[k], one[k]);
            CHECK_NEAR(one[k], own[k], 1e-4 * (1 + fabs(own[k]))); /* sums in f32 in other orders, a few steps long */
        }
    }
}

/* How many threads a library takes is the application's to say. */
PLUMB_TEST(vendor, settings_stay)
{
    static const char *const get[] = {"omp_get_max_threads", "openblas_get_num_threads"};
    static const char *const set[] = {"omp_set_num_threads", "openblas_set_num_threads"};
    static const char *const file[] = {"libdnnl.so.2", "libopenblas.so.0"};
    for (int i = 0; i < PLUMB_ADDITIONS; i++) {
        void *library = is_there(i) ? dlopen(file[i], RTLD_NOW | RTLD_NOLOAD) : NULL;
        int (*how_many)(void);
        void (*be)(int);
        double loss[STEPS];
        char impl[32];
        if (!library) {
            continue;
        }
        void *symbols[] = {dlsym(library, get[i]), dlsym(library, set[i])};
        REQUIRE(symbols[0] && symbols[1]);
        memcpy(&how_many, &symbols[0], sizeof how_many);
        memcpy(&be, &symbols[1], sizeof be);
        int before = how_many();
        snprintf(impl, sizeof impl, "cpu.%s", plumb_addition_name(i));
        be(2);
        CHECK(train(impl, 2, loss) > 0);
        CHECK_MSG(how_many() == 2, "%s: %d threads instead of 2", plumb_addition_name(i), how_many());
        be(before);
        dlclose(library);
    }
}
