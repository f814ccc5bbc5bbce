/* The vendors' libraries on the simulator, where they are fakes: opened or not and why, the tables and files that keep
 * what was chosen. */
#include "check.h"
#include "control.h"
#include "cuda/vendor.h"
#include "op/attr.h"
#include "plumb/plumb.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static plumb_context *open_cuda(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1});
}

static bool nothing_left(void)
{
    cudasim_alive alive = cudasim_count();
    return alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0 && cudasim_vendor_alive() == 0;
}

/* ---- opening ---- */

static plumb_device_library ask(const char *name)
{
    plumb_context *context = open_cuda();
    plumb_device_library library = {.name = NULL};
    for (int i = 0; context && context->device->table->library(context->device, i, &library); i++) {
        if (strcmp(library.name, name) == 0) {
            break;
        }
    }
    CHECK(context && plumb_last_status(context) == PLUMB_OK);
    plumb_close(context);
    CHECK(nothing_left());
    return library;
}

PLUMB_TEST(vendor, libraries_say_what_they_are)
{
    plumb_device_library library = ask("cublaslt");
    CHECK(library.used);
    CHECK_TEXT(library.text, "13.1.0");
    cudasim_vendor("cublaslt", 0);
    library = ask("cublaslt");
    CHECK(!library.used);
    CHECK_TEXT(library.text, "libcublasLt.so.13");
    cudasim_vendor("cublaslt", 111103);
    library = ask("cublaslt");
    CHECK(!library.used);
    CHECK_TEXT(library.text, "too old");
    cudasim_vendor("cublaslt", -1);
    for (int n = 1; n <= 2; n++) { /* the opening, the handle */
        cudasim_fail(CUDASIM_VENDOR, n);
        library = ask("cublaslt");
        CHECK(!library.used && cudasim_failed());
        CHECK_TEXT(library.text, n == 1 ? "can be opened" : "does not start");
    }
    cudasim_fail(CUDASIM_VENDOR, 0);
    CHECK(ask("cublaslt").used);
}

/* ---- the table ---- */

static int destroyed;

static void count_destroyed(void *user, void *plan)
{
    destroyed++;
    plumb_free(user, plan);
}

PLUMB_TEST(vendor, plans_are_found_by_their_key)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_plans plans;
    plumb_plans_open(&plans, context, count_destroyed, context);
    destroyed = 0;
    int64_t key[3] = {0, 7, 7};
    CHECK(!plumb_plans_find(&plans, key, sizeof key));
    for (int64_t i = 0; i < 1000; i++) {
        int64_t *plan = plumb_alloc(context, sizeof *plan);
        REQUIRE(plan);
        *plan = key[0] = i;
        CHECK(plumb_plans_add(&plans, key, i % 2 ? sizeof key : sizeof key[0], plan));
    }
    int64_t before = plumb_memory_now(context);
    for (int64_t i = 0; i < 1000; i++) {
        key[0] = i;
        const int64_t *plan = plumb_plans_find(&plans, key, i % 2 ? sizeof key : sizeof key[0]);
        CHECK(plan && *plan == i);
        CHECK(!plumb_plans_find(&plans, key, i % 2 ? sizeof key[0] : sizeof key));
    }
    CHECK(plumb_memory_now(context) == before && destroyed == 0);
    key[0] = 3;
    CHECK(plumb_plans_add(&plans, key, sizeof key, plumb_alloc(context, 8)) && destroyed == 1);
    plumb_plans_close(&plans);
    CHECK(destroyed == 1001);
    plumb_close(context);
}

/* ---- the file ---- */

static char folder[64];

static void enter_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/plumb-vendor-%ld", (long)getpid());
    setenv("PLUMB_CACHE_DIR", folder, 1);
}

static void leave_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK(system(command) == 0);
    setenv("PLUMB_CACHE_DIR", "", 1);
}

static void add(const char *identity, int64_t first, int64_t count)
{
    plumb_context *context = plumb_open(NULL);
    plumb_cuda_cache cache;
    plumb_cuda_cache_open(&cache, context, "test", identity);
    for (int64_t i = first; i < first + count; i++) {
        char choice[40];
        int n = snprintf(choice, sizeof choice, "choice %lld", (long long)i);
        plumb_cuda_cache_add(&cache, &i, sizeof i, choice, (size_t)n);
    }
    plumb_cuda_cache_close(&cache);
    CHECK_MSG(plumb_last_status(context) == PLUMB_OK, "%s", plumb_message(context));
    CHECK(plumb_memory_now(context) >= 0);
    plumb_close(context);
}

/* How many of the keys 0 to 99 are there, each with the choice that belongs to it. */
static int count(const char *identity)
{
    plumb_context *context = plumb_open(NULL);
    plumb_cuda_cache cache;
    int found = 0;
    plumb_cuda_cache_open(&cache, context, "test", identity);
    for (int64_t i = 0; i < 100; i++) {
        char choice[40];
        size_t n = (size_t)snprintf(choice, sizeof choice, "choice %lld", (long long)i);
        const plumb_cuda_choice *kept = plumb_cuda_cache_find(&cache, &i, sizeof i);
        CHECK(!kept || (kept->bytes == n && memcmp(kept->data, choice, n) == 0));
        found += kept != NULL;
    }
    plumb_cuda_cache_close(&cache);
    CHECK(plumb_last_status(context) == PLUMB_OK);
    plumb_close(context);
    return found;
}

/* The one file in the folder, whole. */
static void find_file(char path[128])
{
    char command[160];
    snprintf(command, sizeof command, "ls %s/test-*.choices", folder);
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(path, 128, pipe)) {
        path[0] = '\0';
    }
    path[strcspn(path, "\n")] = '\0';
    CHECK(pipe && pclose(pipe) == 0);
}

PLUMB_TEST(vendor, choices_last)
{
    enter_folder();
    CHECK(count("one") == 0);
    add("one", 0, 10);
    CHECK(count("one") == 10 && count("two") == 0);
    add("one", 5, 20); /* adds to what is there */
    add("two", 0, 3);
    CHECK(count("one") == 25 && count("two") == 3);
    leave_folder();
    add("one", 0, 10);
    CHECK(count("one") == 0 && access(folder, F_OK) != 0);
}

PLUMB_TEST(vendor, damaged_choices_are_replaced)
{
    enter_folder();
    add("one", 0, 10);
    char path[128], image[4096], other[256];
    find_file(path);
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    size_t bytes = fread(image, 1, sizeof image, file);
    fclose(file);
    REQUIRE(bytes > 100 && bytes < sizeof image);
    for (size_t n = 0; n < 2 * bytes; n++) { /* cut short at n, or with a bit of byte n turned */
        char damaged[4096];
        memcpy(damaged, image, bytes);
        damaged[n % bytes] = (char)(damaged[n % bytes] ^ (n < bytes ? 0 : 1 << n % 8));
        file = fopen(path, "wb");
        REQUIRE(file);
        fwrite(damaged, 1, n < bytes ? n : bytes, file);
        fclose(file);
        CHECK_MSG(count("one") == 0, "damage %zu is believed", n);
    }
    add("one", 0, 4);
    CHECK(count("one") == 4);
    add("two", 0, 4); /* a foreign file under our name */
    snprintf(other, sizeof other, "cd '%s' && for f in *; do cp \"$f\" keep; done; for f in *.choices; do cp keep \"$f\"; done", folder);
    CHECK(system(other) == 0);
    CHECK(count("one") + count("two") == 4);
    leave_folder();
}

PLUMB_TEST(vendor, a_folder_that_cannot_be_used_is_no_error)
{
    enter_folder();
    FILE *file = fopen(folder, "w"); /* a file where the folder should be */
    REQUIRE(file);
    fclose(file);
    add("one", 0, 10);
    CHECK(count("one") == 0);
    leave_folder();
    setenv("PLUMB_CACHE_DIR", "/proc/plumb", 1);
    add("one", 0, 10);
    CHECK(count("one") == 0);
    setenv("PLUMB_CACHE_DIR", "", 1);
}

static void *write_some(void *first)
{
    for (int i = 0; i < 10; i++) {
        add("one", *(int64_t *)first, 10);
    }
    return NULL;
}

/* Whoever comes last wins, and takes over what it saw: the file is whole at all times. */
PLUMB_TEST(vendor, choices_written_at_the_same_time)
{
    enter_folder();
    enum { WRITERS = 4 };
    pthread_t thread[WRITERS];
    int64_t first[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        first[i] = i * 10;
        REQUIRE(pthread_create(&thread[i], NULL, write_some, &first[i]) == 0);
    }
    for (int i = 0; i < 50; i++) {
        CHECK(count("one") % 10 == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(count("one") >= 10);
    char command[128];
    snprintf(command, sizeof command, "test $(ls '%s' | wc -l) = 1", folder); /* no temporary file is left */
    CHECK(system(command) == 0);
    leave_folder();
}

/* ---- products ---- */

enum { ROWS = 5, INNER = 100, COLUMNS = 7, STACK = 3, RUNS = 4, RESULTS = STACK * 4 * 6 }; /* runs: as they come, captured,
                                                                                         replayed twice */
struct products {
    plumb_dtype dtype;
    const char *forced; /* implementations */
    unsigned allow;
    int layer; /* 0: products; else a layer with this activation (enum plumb_fused_activation) and one NaN fed */
    char plan[4096];
    float result[RUNS][RESULTS];
    plumb_error error;
};

static plumb_t variable(plumb_graph *g, const char *name, plumb_shape shape, plumb_dtype dtype)
{
    plumb_variable_options options = {.size = sizeof options, .init = {.rule = PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_cast(g, plumb_variable(g, name, PLUMB_F32, shape, &options), dtype);
}

/* A long sum, a stack times a matrix, a stack times a stack; every way of transposing. */
static plumb_t build(plumb_graph *g, plumb_t x, plumb_dtype dtype)
{
    plumb_t y = plumb_matmul(g, plumb_cast(g, x, dtype), variable(g, "w", PLUMB_SHAPE(COLUMNS, INNER), dtype), false, true);
    plumb_t s = plumb_matmul(g, variable(g, "v", PLUMB_SHAPE(STACK, 4, COLUMNS), dtype), y, false, true);
    plumb_t r = plumb_matmul(g, plumb_transpose(g, s, (const int[]){0, 2, 1}), variable(g, "q", PLUMB_SHAPE(STACK, 6, ROWS), dtype),
                             true, true);
    return plumb_cast(g, r, PLUMB_F32);
}

/* activation(x w + bias), padded with ones to as many results. */
static plumb_t build_layer(plumb_graph *g, plumb_t x, plumb_dtype dtype, int layer)
{
    plumb_t y = plumb_matmul(g, plumb_cast(g, x, dtype), variable(g, "w", PLUMB_SHAPE(COLUMNS, INNER), dtype), false, true);
    y = plumb_add(g, y, variable(g, "bias", PLUMB_SHAPE(COLUMNS), dtype));
    y = layer == PLUMB_ACTIVATION_RELU ? plumb_relu(g, y) :
        layer == PLUMB_ACTIVATION_TANH ? plumb_tanh(g, y) : plumb_sigmoid(g, y);
    y = plumb_reshape(g, plumb_cast(g, y, PLUMB_F32), PLUMB_SHAPE(ROWS * COLUMNS));
    plumb_t ones = plumb_full(g, PLUMB_F32, PLUMB_SHAPE(RESULTS - ROWS * COLUMNS), 1);
    return plumb_concat(g, (const plumb_t[]){y, ones}, 2, 0);
}

static plumb_status run_graph(plumb_context *context, struct products *p)
{
    plumb_graph *g = plumb_graph_new(context, "products");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(ROWS, INNER));
    plumb_t out = p->layer ? build_layer(g, x, p->dtype, p->layer) : build(g, x, p->dtype);
    plumb_state *state = g ? plumb_state_new(g) : NULL;
    plumb_program *program =
        state ? plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &out,
                                                                 .n_outputs = 1})
              : NULL;
    plumb_status status = program ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; i < RUNS && status == PLUMB_OK; i++) {
        float data[ROWS * INNER];
        for (int k = 0; k < ROWS * INNER; k++) {
            data[k] = (float)((k * 13 + i * 5) % 17 - 8) * 0.11f;
        }
        data[3 * INNER + 7] = p->layer ? NAN : data[3 * INNER + 7];
        status = plumb_feed(program, x, data, sizeof data);
        status = status == PLUMB_OK ? plumb_run(program) : status;
        status = status == PLUMB_OK ? plumb_fetch(program, out, p->result[i], sizeof p->result[i]) : status;
    }
    char *text = status == PLUMB_OK ? plumb_program_text(program) : NULL;
    snprintf(p->plan, sizeof p->plan, "%s", text ? text : "");
    plumb_free(context, text);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
    return status;
}

static plumb_status run_products(const char *device, struct products *p)
{
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = device, .threads = 1,
                                                         .implementations = p->forced, .allow = p->allow,
                                                         .error = &p->error});
    plumb_status status = context ? run_graph(context, p) : p->error.status;
    if (context) {
        snprintf(p->error.message, sizeof p->error.message, "%s", plumb_message(context));
    }
    plumb_close(context);
    return status;
}

static double distance(const struct products *a, const struct products *b)
{
    double worst = 0;
    for (int i = 0; i < RUNS * RESULTS; i++) {
        double d = fabs((double)a->result[i / RESULTS][i % RESULTS] - (double)b->result[i / RESULTS][i % RESULTS]);
        if (!(d <= worst)) {
            worst = d;
        }
    }
    return worst;
}

/* Row 3 is NaN in both, and nothing else in either; then it is taken out. */
static bool nan_is_in_its_row(struct products *p)
{
    bool good = true;
    for (int i = 0; i < RUNS * RESULTS; i++) {
        float *value = &p->result[i / RESULTS][i % RESULTS];
        bool is_nan = *value != *value, in_row = i % RESULTS / COLUMNS == 3;
        good = good && is_nan == in_row;
        *value = is_nan ? 0 : *value;
    }
    return good;
}

static int occurs(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)) != NULL; text++) {
        n++;
    }
    return n;
}

PLUMB_TEST(vendor, products_are_those_of_the_cpu)
{
    static const struct {
        plumb_dtype dtype;
        double bound; /* roundings of sums of about 50 that the next products carry on */
    } kinds[] = {{PLUMB_F32, 1e-4}, {PLUMB_F64, 1e-5}, {PLUMB_F16, 0.2}, {PLUMB_BF16, 2}};
    static const char *const policies[] = {"streams=eager", "streams=lazy", "streams=shuffle,seed=3"};
    for (int i = 0; i < 4; i++) {
        struct products here = {.dtype = kinds[i].dtype, .forced = "matmul=cpu.ref"};
        struct products there = {.dtype = kinds[i].dtype};
        CHECK(run_products("cpu", &here) == PLUMB_OK);
        for (int k = 0; k < 3; k++) {
            CHECK(cudasim_set(policies[k]));
            CHECK_MSG(run_products("cuda", &there) == PLUMB_OK, "%s", there.error.message);
            CHECK_MSG(distance(&here, &there) <= kinds[i].bound, "%s: they differ by %g",
                      plumb_dtype_name(kinds[i].dtype), distance(&here, &there));
            CHECK_MSG(occurs(there.plan, "cuda.cublaslt") == 3, "%s", there.plan);
            CHECK(nothing_left());
        }
        CHECK(cudasim_set("streams=eager"));
    }
}

/* The fake makes use of whatever is allowed, so what is not asked for must not show. */
PLUMB_TEST(vendor, only_what_is_allowed)
{
    struct products strict = {.dtype = PLUMB_F32}, loose = {.dtype = PLUMB_F32, .allow = PLUMB_ALLOW_TF32};
    CHECK(run_products("cuda", &strict) == PLUMB_OK && run_products("cuda", &loose) == PLUMB_OK);
    double difference = distance(&strict, &loose);
    CHECK_MSG(difference > 1e-3 && difference < 1, "tf32 differs by %g", difference);
    loose.allow = PLUMB_ALLOW_REDUCED_SUMS | PLUMB_ALLOW_NONDETERMINISTIC;
    CHECK(run_products("cuda", &loose) == PLUMB_OK && distance(&strict, &loose) == 0); /* f32 sums have f32 parts */
    strict.dtype = loose.dtype = PLUMB_BF16;
    CHECK(run_products("cuda", &strict) == PLUMB_OK && run_products("cuda", &loose) == PLUMB_OK);
    CHECK(distance(&strict, &loose) > 0);
    loose.allow = PLUMB_ALLOW_TF32;
    CHECK(run_products("cuda", &loose) == PLUMB_OK && distance(&strict, &loose) == 0);
}

PLUMB_TEST(vendor, without_the_library_our_kernels_serve)
{
    struct products here = {.dtype = PLUMB_F32}, there = {.dtype = PLUMB_F32};
    CHECK(run_products("cpu", &here) == PLUMB_OK);
    static const int64_t versions[] = {0, 111103};
    for (int i = 0; i < 2; i++) {
        cudasim_vendor("cublaslt", versions[i]);
        CHECK(run_products("cuda", &there) == PLUMB_OK && distance(&here, &there) <= 1e-4);
        CHECK(occurs(there.plan, "cuda.cublaslt") == 0 && occurs(there.plan, "cuda.native") >= 3);
        there.forced = "matmul=cuda.cublaslt"; /* an order is an order */
        CHECK(run_products("cuda", &there) == PLUMB_BAD_INPUT);
        CHECK_TEXT(there.error.message, "cuda.cublaslt does not take this call");
        there.forced = NULL;
    }
    cudasim_vendor("cublaslt", -1);
    there.forced = "*=cuda.native";
    CHECK(run_products("cuda", &there) == PLUMB_OK && occurs(there.plan, "cuda.cublaslt") == 0);
    CHECK(nothing_left());
}

/* The n-th call of the class fails, once, for n = 1, 1 + step ...: another implementation serves, or a run ends with an error. */
static void walk_failures(enum cudasim_class which, int step, int layer, const char *error, int *ended, int *served)
{
    struct products right = {.dtype = PLUMB_F32, .layer = layer}, p;
    CHECK(run_products("cpu", &right) == PLUMB_OK && nan_is_in_its_row(&right) == (layer != 0));
    for (int64_t n = 1; n < 1000; n += step) {
        p = (struct products){.dtype = PLUMB_F32, .layer = layer};
        cudasim_fail(which, n);
        plumb_status status = run_products("cuda", &p);
        bool happened = cudasim_failed();
        cudasim_reset();
        CHECK_MSG(nothing_left(), "call %d: something is left", (int)n);
        CHECK_MSG((status != PLUMB_OK) == (p.error.message[0] != '\0'), "call %d: %s", (int)n, p.error.message);
        if (status == PLUMB_OK) {
            CHECK_MSG(nan_is_in_its_row(&p) == (layer != 0) && distance(&right, &p) <= 1e-4,
                      "class %d, call %d: results differ", (int)which, (int)n);
            *served += happened;
        } else {
            CHECK_TEXT(p.error.message, error);
            ++*ended;
        }
        if (!happened || check_failures() > 3) {
            break;
        }
    }
    CHECK(run_products("cuda", &p) == PLUMB_OK);
    CHECK(nan_is_in_its_row(&p) == (layer != 0) && distance(&right, &p) <= 1e-4);
}

PLUMB_TEST(vendor, every_call_may_fail)
{
    int ended = 0, served = 0;
    walk_failures(CUDASIM_VENDOR, 1, 0, "cublasLtMatmul returned status 13", &ended, &served);
    CHECK_MSG(served > 50 && ended == 3, "%d served without, %d ended", served, ended);
    ended = 0;
    walk_failures(CUDASIM_VENDOR, 1, PLUMB_ACTIVATION_RELU, "returned status 1", &ended, &served);
    CHECK_MSG(ended == 2, "%d ended", ended); /* the bias, the product */
    walk_failures(CUDASIM_ANY, 3, PLUMB_ACTIVATION_RELU, "", &ended, &served); /* the device's tests walk all */
}

/* The second process, here a second context, asks the file. */
PLUMB_TEST(vendor, choices_are_made_once)
{
    const char *ask_for = "cublasLtMatmulAlgoGetHeuristic";
    struct products p = {.dtype = PLUMB_F32}, first;
    enter_folder();
    uint64_t before = cudasim_vendor_calls(ask_for);
    CHECK(run_products("cuda", &p) == PLUMB_OK);
    CHECK_MSG(cudasim_vendor_calls(ask_for) == before + 6, "%d queries", (int)(cudasim_vendor_calls(ask_for) - before));
    first = p;
    before = cudasim_vendor_calls(ask_for);
    CHECK(run_products("cuda", &p) == PLUMB_OK && cudasim_vendor_calls(ask_for) == before);
    CHECK(distance(&p, &first) == 0 && occurs(p.plan, "cuda.cublaslt") == 3);
    cudasim_vendor("cublaslt", 120200); /* another version has choices of its own */
    CHECK(run_products("cuda", &p) == PLUMB_OK && cudasim_vendor_calls(ask_for) == before + 6);
    cudasim_vendor("cublaslt", -1);
    p.allow = PLUMB_ALLOW_TF32; /* and so has what is allowed */
    CHECK(run_products("cuda", &p) == PLUMB_OK && cudasim_vendor_calls(ask_for) == before + 12);
    leave_folder();
}

/* A layer is one step, whoever does its activation; a NaN comes out of it, also where the library's own relu would lose it. */
PLUMB_TEST(vendor, layers_with_activations)
{
    static const struct {
        plumb_dtype dtype;
        int layer;
        bool whole; /* the library takes it as one */
        double bound;
    } layers[] = {{PLUMB_F32, PLUMB_ACTIVATION_RELU, true, 1e-4},    {PLUMB_F32, PLUMB_ACTIVATION_TANH, true, 1e-5},
                  {PLUMB_F32, PLUMB_ACTIVATION_SIGMOID, true, 1e-5}, {PLUMB_BF16, PLUMB_ACTIVATION_RELU, true, 0.1},
                  {PLUMB_BF16, PLUMB_ACTIVATION_TANH, false, 0.1},   {PLUMB_F64, PLUMB_ACTIVATION_RELU, false, 1e-5}};
    for (int i = 0; i < 6; i++) {
        struct products here = {.dtype = layers[i].dtype, .layer = layers[i].layer}, there = here;
        CHECK(run_products("cpu", &here) == PLUMB_OK && nan_is_in_its_row(&here));
        for (int version = 0; version < 2; version++) {
            cudasim_vendor("cublaslt", version ? 120400 : -1);
            CHECK_MSG(run_products("cuda", &there) == PLUMB_OK, "%s", there.error.message);
            CHECK_MSG(nan_is_in_its_row(&there), "layer %d, version %d", i, version);
            CHECK_MSG(distance(&here, &there) <= layers[i].bound, "layer %d: they differ by %g", i, distance(&here, &there));
            bool one_step = occurs(there.plan, "cuda.cublaslt") == 1 && !strstr(there.plan, " add ");
            CHECK_MSG(one_step || !layers[i].whole, "layer %d:\n%s", i, there.plan);
            CHECK(nothing_left());
        }
    }
    cudasim_vendor("cublaslt", -1);
}
