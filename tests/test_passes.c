/* Each pass may be switched off and must then agree: bitwise on the reference, and on the chosen implementations
 * bitwise where a pass only moves memory, within rounding where it changes which kernel sees what. And the memory plan,
 * judged by two who did not make it: the library's own verifier, and a plain look at who lives where and when. */
#include "check.h"
#include "nets.h"

#include "exec/exec.h"

enum { STEPS = 3, ROOM = 4096 };
static const net_builder builders[] = {net_mlp, net_cnn, net_views};
static const char *const builder_names[] = {"mlp", "cnn", "views"};
static const struct {
    unsigned bits;
    const char *name;
} passes[] = {{PLUMB_PASS_FOLD, "fold"},   {PLUMB_PASS_CSE, "cse"},     {PLUMB_PASS_DCE, "dce"},
              {PLUMB_PASS_IN_PLACE, "in place"}, {PLUMB_PASS_VIEWS, "views"}, {PLUMB_PASS_REUSE, "reuse"},
              {PLUMB_PASS_FUSE, "fuse"}, {PLUMB_PASS_LAYOUT, "layout"}, {PLUMB_PASS_REORDER, "reorder"},
              {~0u, "all"},              {PLUMB_PASS_IN_PLACE | PLUMB_PASS_VIEWS, "both"}};
enum { PASSES = sizeof(passes) / sizeof(passes[0]) };

/* What three training steps and a forward run come to: losses, outputs, every value of the state. */
struct trace {
    size_t bytes;
    float data[ROOM];
};

static bool add(struct trace *trace, const void *data, size_t bytes)
{
    if (trace->bytes + bytes > sizeof(trace->data)) {
        check_fail(__FILE__, __LINE__, "the trace is full");
        return false;
    }
    memcpy((char *)trace->data + trace->bytes, data, bytes);
    trace->bytes += (bytes + 3) / 4 * 4;
    return true;
}

static plumb_status run_once(struct trace *trace, const struct net *net, plumb_program *program, int step, bool loss_too)
{
    float out[64], loss;
    size_t bytes = (size_t)(6 * net->classes) * sizeof(float);
    plumb_status status = net_feed(net, program, 6, (uint64_t)step);
    if (status == PLUMB_OK) {
        status = plumb_run(program);
    }
    if (status == PLUMB_OK) {
        status = plumb_fetch(program, net->out, out, bytes);
    }
    if (status == PLUMB_OK && loss_too) {
        status = plumb_fetch(program, net->loss, &loss, sizeof(loss));
        add(trace, &loss, sizeof(loss));
    }
    add(trace, out, bytes);
    return status;
}

static void add_state(struct trace *trace, const plumb_state *state)
{
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        if (plumb_state_dtype(state, name) == PLUMB_F32) {
            float value[512];
            size_t bytes = sizeof(float);
            for (int d = 0; d < shape.rank; d++) {
                bytes *= (size_t)shape.dim[d];
            }
            CHECK(bytes <= sizeof(value) && plumb_state_get(state, name, value, bytes) == PLUMB_OK);
            add(trace, value, bytes);
        }
    }
}

/* The whole story with some passes off. */
static bool make_trace(struct trace *trace, net_builder build, unsigned off, const char *implementations, bool strict)
{
    plumb_context *context = plumb_open(&(plumb_options){
        .size = sizeof(plumb_options), .threads = 1, .seed = 5, .strict_memory = strict});
    struct net net;
    memset(trace, 0, sizeof(*trace));
    plumb_status status = context ? build(context, &net) : PLUMB_FAILED;
    plumb_state *state = status == PLUMB_OK ? plumb_state_new(net.g) : NULL;
    plumb_compile_options options = {.size = sizeof(options), .outputs = &net.out, .n_outputs = 1, .passes_off = off,
                                     .implementations = implementations};
    plumb_program *forward = state ? plumb_compile(net.g, state, &options) : NULL;
    if (status == PLUMB_OK) {
        status = plumb_minimize(net.g, net.loss, NULL, 0, PLUMB_ADAM(.lr = 0.01, .l2 = 0.01));
    }
    plumb_t both[] = {net.out, net.loss};
    options.outputs = both;
    options.n_outputs = 2;
    options.training = options.effects = true;
    plumb_program *train = status == PLUMB_OK && forward ? plumb_compile(net.g, state, &options) : NULL;
    status = train ? PLUMB_OK : PLUMB_FAILED;
    for (int step = 0; status == PLUMB_OK && step < STEPS; step++) {
        status = run_once(trace, &net, train, step, true);
    }
    if (status == PLUMB_OK) {
        status = run_once(trace, &net, forward, 9, false);
        add_state(trace, state);
    }
    CHECK_MSG(status == PLUMB_OK, "%s", context ? plumb_message(context) : "no context");
    plumb_close(context);
    return status == PLUMB_OK;
}

static double worst_difference(const struct trace *a, const struct trace *b)
{
    double worst = a->bytes == b->bytes ? 0 : INFINITY;
    for (size_t i = 0; i < a->bytes / sizeof(float); i++) {
        double difference = fabs((double)a->data[i] - (double)b->data[i]) / (1 + fabs((double)a->data[i]));
        worst = !(difference <= worst) ? difference : worst;
    }
    return worst;
}

static void compare_all(const char *implementations, double tolerance, unsigned exact_for)
{
    static struct trace all_on, some_off;
    for (size_t n = 0; n < sizeof(builders) / sizeof(builders[0]); n++) {
        if (!make_trace(&all_on, builders[n], 0, implementations, false)) {
            continue;
        }
        CHECK(all_on.bytes > 100 && isfinite(all_on.data[0]) && all_on.data[0] > 0.1f);
        for (int p = 0; p < PASSES; p++) {
            if (!make_trace(&some_off, builders[n], passes[p].bits, implementations, false)) {
                continue;
            }
            bool moves_memory = !(passes[p].bits & ~exact_for);
            double worst = worst_difference(&all_on, &some_off), bound = moves_memory ? 0 : tolerance;
            CHECK_MSG(worst <= bound, "%s without %s: differs by %g", builder_names[n], passes[p].name, worst);
        }
    }
}

PLUMB_TEST(passes, agree_on_the_reference)
{
    compare_all("*=cpu.ref", 0, 0);
}

PLUMB_TEST(passes, agree_on_the_chosen_implementations)
{
    compare_all(NULL, 2e-5, PLUMB_PASS_DCE | PLUMB_PASS_CSE | PLUMB_PASS_REUSE);
}

PLUMB_TEST(passes, strict_memory_changes_nothing)
{
    static struct trace plain, strict;
    for (size_t n = 0; n < sizeof(builders) / sizeof(builders[0]); n++) {
        if (make_trace(&plain, builders[n], 0, NULL, false) && make_trace(&strict, builders[n], 0, NULL, true)) {
            CHECK_MSG(plain.bytes == strict.bytes && memcmp(plain.data, strict.data, plain.bytes) == 0, "%s differs",
                      builder_names[n]);
        }
    }
}

/* ---- the memory plan ---- */

/* Two buffers of the arena that are alive at one step share no byte, and all lie inside it. */
static int count_clashes(const struct plumb_memory_layout *m)
{
    int clashes = 0;
    for (int i = 0; i < m->n_buffers; i++) {
        const struct plumb_buffer *a = &m->buffer[i];
        if (a->memory != PLUMB_MEMORY_ARENA || a->bytes == 0) {
            continue;
        }
        clashes += a->offset < 0 || a->offset % 64 != 0 || a->offset + a->bytes > m->arena_bytes;
        for (int k = 0; k < i; k++) {
            const struct plumb_buffer *b = &m->buffer[k];
            bool together = a->first <= b->last && b->first <= a->last;
            bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            clashes += b->memory == PLUMB_MEMORY_ARENA && b->bytes > 0 && together && overlap;
        }
    }
    return clashes;
}

/* Every tensor a step reads lies in a buffer that is alive then. */
static int count_dead_reads(const struct plumb_memory_layout *m)
{
    int dead = 0;
    for (int i = 0; i < m->graph->n_nodes; i++) {
        const struct plumb_node *node = &m->graph->node[i];
        for (int k = 0; k < node->n_in && !m->aliased[i]; k++) {
            int buffer = m->place[node->in[k]].buffer;
            if (buffer >= 0 && m->place[node->out].buffer >= 0 && m->buffer[buffer].memory == PLUMB_MEMORY_ARENA) {
                dead += i < m->buffer[buffer].first || i > m->buffer[buffer].last;
            }
        }
    }
    return dead;
}

static struct plumb_plan *training_plan(plumb_context *context, net_builder build, unsigned off)
{
    struct net net;
    if (build(context, &net) != PLUMB_OK || plumb_minimize(net.g, net.loss, NULL, 0, PLUMB_ADAM()) != PLUMB_OK) {
        return NULL;
    }
    plumb_state *state = plumb_state_new(net.g);
    plumb_compile_options options = {.size = sizeof(options), .outputs = &net.loss, .n_outputs = 1, .training = true,
                                     .effects = true, .passes_off = off};
    plumb_program *program = state ? plumb_compile(net.g, state, &options) : NULL;
    if (!program || plumb_bind(program, PLUMB_BATCH, 6) != PLUMB_OK) {
        return NULL;
    }
    return plumb_current_plan(plumb_program_get(program));
}

PLUMB_TEST(passes, memory_plans_are_sound)
{
    for (size_t n = 0; n < sizeof(builders) / sizeof(builders[0]); n++) {
        for (int p = -1; p < PASSES; p++) {
            plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
            REQUIRE(context);
            struct plumb_plan *plan = training_plan(context, builders[n], p < 0 ? 0 : passes[p].bits);
            if (plan) {
                CHECK_MSG(plumb_layout_verify(&plan->layout) == PLUMB_OK, "%s: %s", builder_names[n], plumb_message(context));
                CHECK_MSG(count_clashes(&plan->layout) == 0, "%s: buffers overlap", builder_names[n]);
                CHECK_MSG(count_dead_reads(&plan->layout) == 0, "%s: a step reads what is dead", builder_names[n]);
            } else {
                check_fail(__FILE__, __LINE__, "%s", plumb_message(context));
            }
            plumb_close(context);
        }
    }
}

/* Moves each buffer of the arena over another that is alive with it: the verifier must find most of these (it looks at
 * what is read, and what nobody reads any more may be overwritten). */
PLUMB_TEST(passes, the_verifier_finds_broken_plans)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    REQUIRE(context);
    struct plumb_plan *plan = training_plan(context, net_cnn, 0);
    REQUIRE(plan);
    struct plumb_memory_layout *m = &plan->layout;
    int broken = 0, found = 0;
    for (int i = 0; i < m->n_buffers; i++) {
        for (int k = 0; k < m->n_buffers; k++) {
            struct plumb_buffer *a = &m->buffer[i], *b = &m->buffer[k];
            if (i == k || a->memory != PLUMB_MEMORY_ARENA || b->memory != PLUMB_MEMORY_ARENA || a->owner == PLUMB_NO_TENSOR ||
                b->owner == PLUMB_NO_TENSOR || a->bytes == 0 || b->bytes < a->bytes || a->first > b->last ||
                b->first > a->last || a->first == b->first) {
                continue;
            }
            int64_t offset = a->offset;
            a->offset = b->offset;
            broken++;
            found += plumb_layout_verify(m) != PLUMB_OK;
            plumb_clear_error(context);
            a->offset = offset;
        }
    }
    CHECK(plumb_layout_verify(m) == PLUMB_OK);
    CHECK_MSG(broken > 50 && found >= broken * 95 / 100, "%d of %d broken plans found", found, broken);
    plumb_close(context);
}

/* Reuse is worth its code: the plan by lifetimes is well below the sum of all tensors. */
PLUMB_TEST(passes, reuse_saves_memory)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    REQUIRE(context);
    struct plumb_plan *with = training_plan(context, net_cnn, 0), *without = training_plan(context, net_cnn, PLUMB_PASS_REUSE);
    REQUIRE(with && without);
    CHECK_MSG(with->layout.arena_bytes < without->layout.arena_bytes * 3 / 4, "%lld of %lld bytes",
              (long long)with->layout.arena_bytes, (long long)without->layout.arena_bytes);
    plumb_close(context);
}
