/* Random graphs through the executor. Whatever a graph consists of, passes and threads must not change a bit of what it
 * computes on the reference, effects come after all reads, programs of one context must not disturb each other, and
 * whoever is freed first, the rest answers with errors. PLUMB_RANDOM_GRAPHS sets how many (default 150, fewer under
 * sanitizers), from PLUMB_RANDOM_SEED (default 1) on; a failure names the seed of its graph. */
#include "check.h"
#include "random_graph.h"

enum { MOST_BYTES = 1 << 20 };

static const unsigned all_passes[] = {PLUMB_PASS_FOLD,
                                      PLUMB_PASS_CSE,
                                      PLUMB_PASS_DCE,
                                      PLUMB_PASS_IN_PLACE,
                                      PLUMB_PASS_VIEWS,
                                      PLUMB_PASS_REUSE,
                                      PLUMB_PASS_FUSE,
                                      PLUMB_PASS_LAYOUT,
                                      PLUMB_PASS_REORDER,
                                      ~0u};
static const int64_t batches[] = {3, 1, 0, 5, 2, 6, 3};
enum { PASSES = sizeof(all_passes) / sizeof(all_passes[0]), ROUNDS = sizeof(batches) / sizeof(batches[0]) };

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t first_seed(void) { return number_of("PLUMB_RANDOM_SEED", 1); }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { GRAPHS = 50 };
#else
enum { GRAPHS = 150 };
#endif
static uint64_t graphs(void) { return number_of("PLUMB_RANDOM_GRAPHS", GRAPHS); }

/* ---- one graph in one context, with its programs ---- */

struct subject {
    plumb_context *context;
    struct random_graph r;
    plumb_state *state;
    plumb_program *train, *look, *infer; /* all effects; training forms without effects; inference */
    plumb_program *still;                /* inference forms with effects */
};

static plumb_program *compile(struct subject *s, bool training, bool effects, unsigned off,
                              const char *implementations)
{
    plumb_compile_options o = {.size = sizeof(o),
                               .outputs = s->r.out,
                               .n_outputs = s->r.n_out,
                               .training = training,
                               .effects = effects,
                               .passes_off = off,
                               .implementations = implementations,
                               .max_bindings = 3,
                               .precision = s->r.kind.precision};
    return plumb_compile(s->r.g, s->state, &o);
}

static bool open_subject(struct subject *s, uint64_t seed, struct random_kind kind, unsigned off, int threads,
                         const char *implementations)
{
    memset(s, 0, sizeof(*s));
    s->context = plumb_open(&(plumb_options){
        .size = sizeof(plumb_options), .threads = threads, .seed = seed, .strict_memory = true});
    if (!s->context) {
        return false;
    }
    if (random_graph_make(&s->r, s->context, seed, kind) == PLUMB_OK &&
        (s->state = plumb_state_new(s->r.g)) != NULL) {
        s->train = compile(s, true, true, off, implementations);
        s->look = compile(s, true, false, off, implementations);
        s->infer = compile(s, false, false, off, implementations);
        s->still = compile(s, false, true, off, implementations);
    }
    if (s->train && s->look && s->infer && s->still) {
        return true;
    }
    check_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)seed, plumb_message(s->context));
    plumb_close(s->context);
    return false;
}

static size_t bytes_of(plumb_shape shape, plumb_dtype dtype)
{
    size_t bytes = plumb_dtype_size(dtype);
    for (int d = 0; d < shape.rank; d++) {
        bytes *= (size_t)shape.dim[d];
    }
    return bytes;
}

/* What was computed, byte after byte. */
struct trace {
    size_t bytes;
    bool full;
    unsigned char data[MOST_BYTES];
};

static void *room(struct trace *trace, size_t bytes)
{
    if (trace->bytes + bytes + 8 > sizeof(trace->data)) {
        trace->full = true;
        return NULL;
    }
    void *at = trace->data + trace->bytes;
    trace->bytes += (bytes + 7) / 8 * 8;
    memset((unsigned char *)trace->data + trace->bytes - 8 * (bytes > 0), 0, 8 * (bytes > 0));
    return at;
}

static plumb_status fetch_all(const struct subject *s, plumb_program *program, struct trace *trace)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < s->r.n_out; i++) {
        size_t bytes =
            bytes_of(plumb_output_shape(program, s->r.out[i]), plumb_dtype_of(s->r.g, s->r.out[i]));
        void *to = room(trace, bytes);
        status = to ? plumb_fetch(program, s->r.out[i], to, bytes) : PLUMB_OK;
    }
    return status;
}

static plumb_status add_state(const struct subject *s, struct trace *trace)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < plumb_state_count(s->state); i++) {
        const char *name = plumb_state_name(s->state, i);
        size_t bytes = bytes_of(plumb_state_shape(s->state, name), plumb_state_dtype(s->state, name));
        void *to = room(trace, bytes);
        status = to ? plumb_state_get(s->state, name, to, bytes) : PLUMB_OK;
    }
    return status;
}

/* Programs take turns at feeding, running and fetching, as they may. */
static plumb_status take_turns(struct subject *s, struct trace *trace)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; status == PLUMB_OK && i < ROUNDS; i++) {
        plumb_program *order[] = {s->look, s->train, s->infer, s->still};
        for (int p = 0; status == PLUMB_OK && p < 4; p++) {
            status = random_graph_feed(&s->r, order[p], batches[i] + (p == 2), (uint64_t)i);
        }
        for (int p = 0; status == PLUMB_OK && p < 4; p++) {
            status = plumb_run(order[p]);
        }
        for (int p = 0; status == PLUMB_OK && p < 4; p++) {
            status = fetch_all(s, order[p], trace);
        }
    }
    return status == PLUMB_OK ? add_state(s, trace) : status;
}

static bool make_trace(struct trace *trace, uint64_t seed, struct random_kind kind, unsigned off, int threads,
                       const char *implementations, bool twice)
{
    struct subject s;
    trace->bytes = 0;
    trace->full = false;
    if (!open_subject(&s, seed, kind, off, threads, implementations)) {
        return false;
    }
    plumb_status status = take_turns(&s, trace);
    for (int i = 0; twice && status == PLUMB_OK && i < 2;
         i++) { /* from the start again, with what is cached by now */
        int64_t before = plumb_memory_now(s.context);
        trace->bytes = 0;
        status = plumb_state_reset(s.state);
        status = status == PLUMB_OK ? take_turns(&s, trace) : status;
        CHECK_MSG(i == 0 || plumb_memory_now(s.context) == before, "seed %llu: memory grew from %lld to %lld",
                  (unsigned long long)seed, (long long)before, (long long)plumb_memory_now(s.context));
    }
    CHECK_MSG(status == PLUMB_OK && !trace->full, "seed %llu, passes off %x: %s", (unsigned long long)seed,
              off, plumb_message(s.context));
    plumb_close(s.context);
    return status == PLUMB_OK && !trace->full;
}

static bool same(const struct trace *a, const struct trace *b)
{
    return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static struct random_kind kind_of(uint64_t seed)
{
    return (struct random_kind){.dtype = seed % 4 == 0 ? PLUMB_F64 : PLUMB_F32, .optimised = seed % 3 != 0};
}

PLUMB_TEST(random_graphs, passes_change_no_bit)
{
    static struct trace all_on, other;
    printf("random graphs: seeds %llu to %llu\n", (unsigned long long)first_seed(),
           (unsigned long long)(first_seed() + graphs() - 1));
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() && check_failures() < 10; seed++) {
        struct random_kind kind = kind_of(seed);
        if (!make_trace(&all_on, seed, kind, 0, 1, "*=cpu.ref", false)) {
            continue;
        }
        for (int p = 0; p < PASSES; p++) {
            if (make_trace(&other, seed, kind, all_passes[p], 1, "*=cpu.ref", false)) {
                CHECK_MSG(same(&all_on, &other), "seed %llu: differs without passes %x",
                          (unsigned long long)seed, all_passes[p]);
            }
        }
    }
}

PLUMB_TEST(random_graphs, threads_and_repetition_change_no_bit)
{
    static struct trace one, three;
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() && check_failures() < 10; seed++) {
        if (make_trace(&one, seed, kind_of(seed), 0, 1, NULL, false) &&
            make_trace(&three, seed, kind_of(seed), 0, 3, NULL, true)) {
            CHECK_MSG(same(&one, &three), "seed %llu: differs with three threads", (unsigned long long)seed);
        }
    }
}

/* Whatever is lowered and cast, every shape rule must take it, and passes and threads must not matter more than before. */
PLUMB_TEST(random_graphs, low_precision_is_as_steady)
{
    static struct trace one, other;
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() / 2 && check_failures() < 10; seed++) {
        struct random_kind kind = {.dtype = PLUMB_F32, .optimised = seed % 3 != 0,
                                   .precision = seed % 2 ? PLUMB_BF16 : PLUMB_F16};
        CHECK_MSG(make_trace(&one, seed, kind, 0, 1, "*=cpu.ref", false) &&
                      make_trace(&other, seed, kind, ~0u, 1, "*=cpu.ref", false) && same(&one, &other),
                  "seed %llu: differs without passes", (unsigned long long)seed);
        CHECK_MSG(make_trace(&one, seed, kind, 0, 1, NULL, false) && make_trace(&other, seed, kind, 0, 3, NULL, true) &&
                      same(&one, &other), "seed %llu: differs with three threads", (unsigned long long)seed);
    }
}

/* ---- what effects do ---- */

/* plumb_eval says what each output, and each assigned value and gate, is before the step; the programs must agree, and
 * those without effects must leave the state alone. */
static bool evaluate(struct subject *s, plumb_t tensor, struct trace *trace)
{
    plumb_binding binding[3];
    void *memory;
    plumb_shape shape = plumb_shape_of(s->r.g, tensor);
    for (int d = 0; d < shape.rank; d++) {
        if (shape.dim[d] == PLUMB_UNKNOWN) {
            return false;
        }
        shape.dim[d] = shape.dim[d] == PLUMB_BATCH ? 3 : shape.dim[d];
    }
    size_t bytes = bytes_of(shape, plumb_dtype_of(s->r.g, tensor));
    trace->bytes = 0;
    int n = random_graph_bindings(&s->r, 3, 0, binding, &memory);
    plumb_status status = plumb_eval(s->r.g, s->state, binding, n, tensor, room(trace, bytes), bytes);
    trace->bytes = bytes;
    CHECK_MSG(status == PLUMB_OK, "seed %llu: %s", (unsigned long long)s->r.seed, plumb_message(s->context));
    free(memory);
    return status == PLUMB_OK;
}

static void check_eval(struct subject *s, uint64_t seed)
{
    static struct trace now, compiled, before, after;
    before.bytes = after.bytes = 0;
    CHECK(add_state(s, &before) == PLUMB_OK && random_graph_feed(&s->r, s->look, 3, 0) == PLUMB_OK &&
          plumb_run(s->look) == PLUMB_OK && random_graph_feed(&s->r, s->infer, 3, 0) == PLUMB_OK &&
          plumb_run(s->infer) == PLUMB_OK && add_state(s, &after) == PLUMB_OK);
    CHECK_MSG(same(&before, &after), "seed %llu: a program without effects changed the state",
              (unsigned long long)seed);
    for (int i = 0; i < s->r.n_out; i++) {
        if (evaluate(s, s->r.out[i], &now)) {
            CHECK_MSG(plumb_fetch(s->look, s->r.out[i], compiled.data, now.bytes) == PLUMB_OK &&
                          memcmp(compiled.data, now.data, now.bytes) == 0,
                      "seed %llu: output %d differs from plumb_eval", (unsigned long long)seed, i);
        }
    }
}

/* The last assign of a variable whose gate is open decides. */
static void check_assigns(struct subject *s, uint64_t seed)
{
    static struct trace value[RANDOM_ASSIGNS], gate, old[RANDOM_VARIABLES];
    bool open[RANDOM_ASSIGNS];
    static unsigned char have[MOST_BYTES];
    for (int i = 0; i < s->r.n_assigns; i++) {
        open[i] =
            s->r.assign[i].gate == PLUMB_NONE || (evaluate(s, s->r.assign[i].gate, &gate) && gate.data[0]);
        if (!evaluate(s, s->r.assign[i].value, &value[i])) {
            return;
        }
    }
    for (int v = 0; v < s->r.n_variables; v++) {
        evaluate(s, s->r.variable[v], &old[v]);
    }
    CHECK(random_graph_feed(&s->r, s->train, 3, 0) == PLUMB_OK && plumb_run(s->train) == PLUMB_OK);
    for (int v = 0; v < s->r.n_variables; v++) {
        const struct trace *want = &old[v];
        for (int i = 0; i < s->r.n_assigns; i++) {
            want = s->r.assign[i].variable == s->r.variable[v] && open[i] ? &value[i] : want;
        }
        const char *name = plumb_name_of(s->r.g, s->r.variable[v]);
        if (plumb_state_has(s->state, name)) {
            CHECK(want->bytes <= sizeof(have) &&
                  plumb_state_get(s->state, name, have, want->bytes) == PLUMB_OK);
            CHECK_MSG(memcmp(have, want->data, want->bytes) == 0,
                      "seed %llu: '%s' was assigned something else", (unsigned long long)seed, name);
        }
    }
}

PLUMB_TEST(random_graphs, effects_come_after_all_reads)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() && check_failures() < 10; seed++) {
        struct subject s;
        struct random_kind kind = {.dtype = seed % 4 == 0 ? PLUMB_F64 : PLUMB_F32};
        if (open_subject(&s, seed, kind, 0, 1, "*=cpu.ref")) {
            check_eval(&s, seed);
            check_assigns(&s, seed);
            plumb_close(s.context);
        }
    }
}

/* ---- values ---- */

static double number(const struct trace *trace, plumb_dtype dtype, size_t i)
{
    float f;
    double d;
    memcpy(&f, trace->data + i * sizeof(f) % sizeof(trace->data), sizeof(f));
    memcpy(&d, trace->data + i * sizeof(d) % sizeof(trace->data), sizeof(d));
    return dtype == PLUMB_F32 ? (double)f : d;
}

static void compare_kernels(struct subject *ref, struct subject *native, uint64_t seed)
{
    static struct trace a, b;
    for (int i = 0; i < ref->r.n_out; i++) {
        plumb_dtype dtype = plumb_dtype_of(ref->r.g, ref->r.out[i]);
        size_t bytes = bytes_of(plumb_output_shape(ref->look, ref->r.out[i]), dtype);
        CHECK(plumb_fetch(ref->look, ref->r.out[i], a.data, bytes) == PLUMB_OK &&
              plumb_fetch(native->look, native->r.out[i], b.data, bytes) == PLUMB_OK);
        for (size_t k = 0; k < bytes / plumb_dtype_size(dtype); k++) {
            double x = number(&a, dtype, k), y = number(&b, dtype, k);
            double bound = (dtype == PLUMB_F32 ? 2e-4 : 1e-11) * (1 + fabs(x));
            CHECK_MSG(fabs(x - y) <= bound, "seed %llu: output %d [%zu] is %g, on the reference %g",
                      (unsigned long long)seed, i, k, y, x);
        }
    }
}

PLUMB_TEST(random_graphs, native_kernels_agree_with_the_reference)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() && check_failures() < 10; seed++) {
        struct subject ref, native;
        struct random_kind kind = {.dtype = seed % 4 == 0 ? PLUMB_F64 : PLUMB_F32, .smooth = true};
        if (!open_subject(&ref, seed, kind, 0, 1, "*=cpu.ref")) {
            continue;
        }
        if (open_subject(&native, seed, kind, 0, 2, NULL)) {
            for (int64_t batch = 0; batch < 4; batch++) {
                bool ran = random_graph_feed(&ref.r, ref.look, batch, 0) == PLUMB_OK &&
                           plumb_run(ref.look) == PLUMB_OK &&
                           random_graph_feed(&native.r, native.look, batch, 0) == PLUMB_OK &&
                           plumb_run(native.look) == PLUMB_OK;
                CHECK_MSG(ran, "seed %llu: %s%s", (unsigned long long)seed, plumb_message(ref.context),
                          plumb_message(native.context));
                if (ran) {
                    compare_kernels(&ref, &native, seed);
                }
            }
            plumb_close(native.context);
        }
        plumb_close(ref.context);
    }
}

/* One element of a variable, moved: what becomes of the loss. */
static double loss_at(struct subject *s, plumb_program *program, const char *name, double *value,
                      size_t bytes, size_t at, double to)
{
    double loss = NAN, was = value[at];
    value[at] = to;
    bool ran = plumb_state_set(s->state, name, value, bytes) == PLUMB_OK && plumb_run(program) == PLUMB_OK &&
               plumb_fetch_number(program, s->r.loss, &loss) == PLUMB_OK;
    value[at] = was;
    CHECK(ran && plumb_state_set(s->state, name, value, bytes) == PLUMB_OK);
    return loss;
}

static void check_gradients(struct subject *s, uint64_t seed)
{
    plumb_t out[RANDOM_VARIABLES + 1];
    static double value[MOST_BYTES / sizeof(double)], gradient[MOST_BYTES / sizeof(double)];
    double h = 1e-5;
    int n = s->r.n_variables;
    plumb_status status = plumb_gradients(s->r.g, s->r.loss, s->r.variable, n, out);
    out[n] = s->r.loss;
    plumb_compile_options o = {.size = sizeof(o), .outputs = out, .n_outputs = n + 1, .training = true};
    plumb_program *program = status == PLUMB_OK ? plumb_compile(s->r.g, s->state, &o) : NULL;
    if (!program || random_graph_feed(&s->r, program, 3, 0) != PLUMB_OK) {
        check_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)seed, plumb_message(s->context));
        return;
    }
    for (int v = 0; v < n; v++) {
        const char *name = plumb_name_of(s->r.g, s->r.variable[v]);
        size_t bytes = bytes_of(plumb_shape_of(s->r.g, s->r.variable[v]), PLUMB_F64),
               count = bytes / sizeof(double);
        REQUIRE(bytes <= sizeof(value) && plumb_state_get(s->state, name, value, bytes) == PLUMB_OK &&
                plumb_run(program) == PLUMB_OK && plumb_fetch(program, out[v], gradient, bytes) == PLUMB_OK);
        for (int tries = 0; tries < 3 && count > 0; tries++) {
            size_t at = random_next(&s->r.dice) % count;
            double up = loss_at(s, program, name, value, bytes, at, value[at] + h);
            double down = loss_at(s, program, name, value, bytes, at, value[at] - h),
                   quotient = (up - down) / (2 * h);
            CHECK_MSG(fabs(quotient - gradient[at]) <= 1e-6 * (1 + fabs(quotient)),
                      "seed %llu: d/d%s[%zu] is %.10g, not %.10g", (unsigned long long)seed, name, at,
                      quotient, gradient[at]);
        }
    }
}

PLUMB_TEST(random_graphs, gradients_are_those_of_differences)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() && check_failures() < 10; seed++) {
        struct subject s;
        if (open_subject(&s, seed, (struct random_kind){.dtype = PLUMB_F64, .smooth = true}, 0, 1, NULL)) {
            check_gradients(&s, seed);
            plumb_close(s.context);
        }
    }
}

/* ---- the end ---- */

/* Everything once, on whatever is still there. */
static void touch(struct subject *s, bool graph, bool state, bool program)
{
    static struct trace any;
    plumb_binding binding[3];
    void *memory;
    double value;
    int n = random_graph_bindings(&s->r, 2, 0, binding, &memory);
    plumb_status fed = random_graph_feed(&s->r, s->train, 2, 1), ran = plumb_run(s->train);
    CHECK(program || (fed != PLUMB_OK && ran != PLUMB_OK));
    CHECK(state || ran != PLUMB_OK);
    for (int i = 0; i < s->r.n_out; i++) {
        size_t bytes =
            bytes_of(plumb_output_shape(s->train, s->r.out[i]), plumb_dtype_of(s->r.g, s->r.out[i]));
        plumb_status fetched = plumb_fetch(s->train, s->r.out[i], any.data, bytes);
        CHECK(program || fetched != PLUMB_OK);
    }
    CHECK(plumb_eval(s->r.g, s->state, binding, n, s->r.loss, any.data, plumb_dtype_size(s->r.kind.dtype)) ==
              PLUMB_OK ||
          !graph || !state);
    CHECK(plumb_fetch_number(s->train, s->r.loss, &value) == PLUMB_OK || !program || !state);
    plumb_program *again = compile(s, true, true, 0, NULL);
    CHECK((again != NULL) == (graph && state));
    plumb_program_free(again);
    plumb_memory_plan plan;
    char *text = plumb_program_text(s->train);
    CHECK((plumb_program_memory(s->train, &plan) == PLUMB_OK) == program || !state);
    plumb_text_free(s->context, text);
    plumb_state_reset(s->state);
    plumb_clear_error(s->context);
    free(memory);
}

PLUMB_TEST(random_graphs, any_order_of_freeing)
{
    for (uint64_t seed = first_seed(); seed < first_seed() + graphs() / 4 + 1 && check_failures() < 10;
         seed++) {
        struct subject s;
        if (!open_subject(&s, seed, kind_of(seed), 0, 1, NULL)) {
            continue;
        }
        bool here[3] = {true, true, true};
        touch(&s, true, true, true);
        for (int left = 1 + (int)(seed % 3), k = (int)(seed / 3 % 3), by = 1 + (int)(seed / 9 % 2); left > 0;
             left--, k += by) {
            if (k % 3 == 0) {
                plumb_graph_free(s.r.g);
            } else if (k % 3 == 1) {
                plumb_state_free(s.state);
            } else {
                plumb_program_free(s.train);
            }
            here[k % 3] = false;
            touch(&s, here[0], here[1], here[2]);
        }
        plumb_close(s.context);
    }
}

/* ---- what random graphs have found, one by one ---- */

/* A fetched view of what was computed in place, or of a variable: another program runs before it is fetched. */
PLUMB_TEST(random_graphs, fetched_views_are_not_disturbed)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    plumb_graph *g = plumb_graph_new(context, "views");
    plumb_variable_options ones = {.size = sizeof(ones), .init = {PLUMB_INIT_CONSTANT, .a = 1}};
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(4)),
            v = plumb_variable(g, "v", PLUMB_F32, PLUMB_SHAPE(4), &ones);
    plumb_t y = plumb_relu(g, plumb_affine(g, plumb_affine(g, x, 2, 0), 1, 1)),
            big = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(999), 7);
    plumb_t views[] = {plumb_reshape(g, y, PLUMB_SHAPE(2, 2)), plumb_reshape(g, v, PLUMB_SHAPE(2, 2)),
                       plumb_reshape(g, x, PLUMB_SHAPE(2, 2))};
    plumb_t disturber =
        plumb_sum(g, plumb_exp(g, plumb_mul(g, plumb_sum(g, x, NULL, 0, false), big)), NULL, 0, false);
    plumb_assign(g, v, plumb_affine(g, v, 2, 3), PLUMB_NONE);
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options o = {.size = sizeof(o), .outputs = views, .n_outputs = 3};
    plumb_program *first = plumb_compile(g, state, &o);
    o = (plumb_compile_options){.size = sizeof(o), .outputs = &disturber, .n_outputs = 1, .effects = true};
    plumb_program *second = plumb_compile(g, state, &o);
    float data[4] = {1, 2, 3, 4}, next[4] = {9, 9, 9, 9}, out[4] = {0};
    REQUIRE(first && second && plumb_feed(second, x, next, sizeof(next)) == PLUMB_OK &&
            plumb_run(second) == PLUMB_OK);
    REQUIRE(plumb_feed(first, x, data, sizeof(data)) == PLUMB_OK && plumb_run(first) == PLUMB_OK);
    REQUIRE(plumb_feed(second, x, next, sizeof(next)) == PLUMB_OK && plumb_run(second) == PLUMB_OK &&
            plumb_feed(first, x, next, sizeof(next)) == PLUMB_OK);
    CHECK(plumb_fetch(first, views[0], out, sizeof(out)) == PLUMB_OK && out[0] == 3 && out[3] == 9);
    CHECK(plumb_fetch(first, views[1], out, sizeof(out)) == PLUMB_OK && out[0] == 5 && out[3] == 5);
    CHECK(plumb_fetch(first, views[2], out, sizeof(out)) == PLUMB_OK && out[0] == 1 && out[3] == 4);
    plumb_close(context);
}

/* The second optimiser's gate holds for the first one's update too, which is then not computed in the variable. */
PLUMB_TEST(random_graphs, a_gate_closed_later_holds)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    plumb_graph *g = plumb_graph_new(context, "gates");
    plumb_variable_options ones = {.size = sizeof(ones), .init = {PLUMB_INIT_CONSTANT, .a = 1}};
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(4)),
            v = plumb_variable(g, "v", PLUMB_F32, PLUMB_SHAPE(4), &ones);
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(4), &ones);
    plumb_t fine = plumb_sum(g, plumb_square(g, v), NULL, 0, false),
            bad = plumb_sum(g, plumb_mul(g, w, x), NULL, 0, false);
    plumb_minimize(g, fine, &v, 1, PLUMB_SGD(.lr = 0.5));
    plumb_minimize(g, bad, &w, 1, PLUMB_ADAM(.skip_bad_steps = true));
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options o = {
        .size = sizeof(o), .outputs = &bad, .n_outputs = 1, .training = true, .effects = true};
    plumb_program *program = plumb_compile(g, state, &o);
    float data[4] = {1, NAN, 3, 4}, out[4] = {0};
    REQUIRE(program && plumb_feed(program, x, data, sizeof(data)) == PLUMB_OK &&
            plumb_run(program) == PLUMB_OK);
    CHECK(plumb_state_get(state, "v", out, sizeof(out)) == PLUMB_OK && out[0] == 1 && out[3] == 1);
    data[1] = 0;
    REQUIRE(plumb_feed(program, x, data, sizeof(data)) == PLUMB_OK && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_state_get(state, "v", out, sizeof(out)) == PLUMB_OK && out[0] == 0 && out[3] == 0);
    plumb_close(context);
}

/* Outside training dropout is its input: fetched, it is still what it was in the run. */
PLUMB_TEST(random_graphs, what_inference_drops_is_not_a_leaf)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    plumb_graph *g = plumb_graph_new(context, "leaf");
    plumb_variable_options ones = {.size = sizeof(ones), .init = {PLUMB_INIT_CONSTANT, .a = 1}};
    plumb_t v = plumb_variable(g, "v", PLUMB_F32, PLUMB_SHAPE(4), &ones),
            out[] = {plumb_dropout(g, v, 0.5), v};
    plumb_assign(g, v, plumb_affine(g, v, 2, 3), PLUMB_NONE);
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options o = {.size = sizeof(o), .outputs = out, .n_outputs = 2, .effects = true};
    plumb_program *program = plumb_compile(g, state, &o);
    float was[4] = {0}, is[4] = {0};
    REQUIRE(program && plumb_run(program) == PLUMB_OK);
    CHECK(plumb_fetch(program, out[0], was, sizeof(was)) == PLUMB_OK && was[0] == 1 && was[3] == 1);
    CHECK(plumb_fetch(program, out[1], is, sizeof(is)) == PLUMB_OK && is[0] == 5 && is[3] == 5);
    plumb_close(context);
}

PLUMB_TEST(random_graphs, a_variable_is_not_fetched_from_a_freed_state)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1});
    plumb_graph *g = plumb_graph_new(context, "freed");
    plumb_t v = plumb_variable(g, "v", PLUMB_F32, PLUMB_SHAPE(4), NULL),
            x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2));
    plumb_t n = plumb_input(g, "n", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH)),
            sum = plumb_sum(g, plumb_concat(g, (plumb_t[]){x, n}, 2, 0), NULL, 0, false);
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options o = {.size = sizeof(o), .outputs = &v, .n_outputs = 1};
    plumb_program *program = plumb_compile(g, state, &o);
    float data[4] = {1, 2, 3, 4}, out = 0;
    REQUIRE(program && plumb_run(program) == PLUMB_OK &&
            plumb_fetch(program, v, data, sizeof(data)) == PLUMB_OK);
    const plumb_binding binding[] = {{x, (float[]){1, 2}, 8},
                                     {n, (float[]){3, 4, 5}, 12}}; /* the size of the batch comes last */
    CHECK(plumb_eval(g, state, binding, 2, sum, &out, sizeof(out)) == PLUMB_OK && out == 15);
    plumb_state_free(state);
    CHECK(plumb_fetch(program, v, data, sizeof(data)) == PLUMB_BAD_INPUT);
    CHECK(plumb_run(program) == PLUMB_BAD_INPUT);
    plumb_close(context);
}
