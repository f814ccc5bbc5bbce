/* The CUDA device of the library, on the simulator: memory, copies, marks, programs that are captured and replayed.
 * Nothing may be left behind, on the device or pinned. Calls that fail: test_failures.c. */
#include "check.h"
#include "control.h"
#include "device/device.h"
#include "nets.h"
#include "plumb/plumb.h"

#include <pthread.h>

/* What this program tests are our own kernels. */
__attribute__((constructor)) static void without_vendors(void)
{
    cudasim_vendor(NULL, 0);
}

static plumb_context *open_on(const char *device, plumb_error *error)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = device, .threads = 1, .error = error});
}

static bool nothing_left(void)
{
    cudasim_alive alive = cudasim_count();
    return alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0;
}

PLUMB_TEST(cuda, opens_by_number)
{
    plumb_error error;
    plumb_context *context = open_on("cuda", &error);
    REQUIRE(context);
    plumb_device_info info;
    CHECK_TEXT(plumb_device_name(context), "cuda");
    CHECK(context->device->table->info(context->device, &info) == PLUMB_OK && info.memory_total > 0 && !info.host_memory);
    CHECK(info.name[0] != '\0');
    plumb_close(context);
    CHECK(!open_on("cuda:99", &error) && error.status == PLUMB_DEVICE_ERROR);
    CHECK_TEXT(error.message, "no CUDA device of that number");
    CHECK(!open_on("cuda:first", &error) && error.status == PLUMB_BAD_INPUT);
    CHECK_TEXT(error.message, "'first'");
    context = open_on("auto", &error);
    REQUIRE(context);
    CHECK_TEXT(plumb_device_name(context), "cuda");
    plumb_close(context);
    CHECK(nothing_left());
}

/* Longer than both staging slots, so that they are used again. */
PLUMB_TEST(cuda, copies)
{
    enum { BYTES = (9 << 20) + 5 };
    plumb_context *context = open_on("cuda", NULL);
    REQUIRE(context);
    plumb_device *device = context->device;
    const plumb_device_table *table = device->table;
    unsigned char *host = malloc(BYTES), *back = malloc(BYTES);
    void *a = NULL, *b = NULL, *first = NULL, *second = NULL;
    int64_t before = plumb_memory_now(context);
    CHECK(table->alloc(device, BYTES, &a) == PLUMB_OK && table->alloc(device, BYTES, &b) == PLUMB_OK);
    CHECK(plumb_memory_now(context) - before >= 2 * (int64_t)BYTES);
    for (int i = 0; i < BYTES; i++) {
        host[i] = (unsigned char)(i * 7 + i / 251);
    }
    CHECK(table->mark(device, &first) == PLUMB_OK);
    CHECK(table->upload(device, a, host, BYTES) == PLUMB_OK);
    CHECK(table->fill(device, b, 0x5a, BYTES) == PLUMB_OK);
    CHECK(table->copy(device, (char *)b + 1, (char *)a + 1, BYTES - 2) == PLUMB_OK);
    CHECK(table->mark(device, &second) == PLUMB_OK && table->sync(device) == PLUMB_OK);
    double seconds = -1;
    CHECK(table->elapsed(device, first, second, &seconds) == PLUMB_OK && seconds >= 0);
    CHECK(table->download(device, back, b, BYTES) == PLUMB_OK);
    CHECK(back[0] == 0x5a && back[BYTES - 1] == 0x5a && memcmp(back + 1, host + 1, BYTES - 2) == 0);
    table->mark_free(device, first);
    table->mark_free(device, second);
    table->free(device, a);
    table->free(device, NULL);
    table->free(device, b);
    CHECK(plumb_memory_now(context) == before);
    CHECK(table->alloc(device, 1, &a) == PLUMB_OK); /* left for closing */
    plumb_close(context);
    free(host);
    free(back);
    CHECK(nothing_left());
}

PLUMB_TEST(cuda, out_of_memory_is_survived)
{
    plumb_context *context = open_on("cuda", NULL);
    REQUIRE(context);
    void *memory = NULL;
    CHECK(context->device->table->alloc(context->device, (size_t)1 << 50, &memory) == PLUMB_FAILED);
    CHECK_TEXT(plumb_message(context), "out of device memory");
    plumb_clear_error(context);
    CHECK(context->device->table->alloc(context->device, 100, &memory) == PLUMB_OK);
    plumb_close(context);
    CHECK(nothing_left());
}

/* ---- programs ---- */

enum { ROWS = 6, COLUMNS = 10 };

/* mean over columns of relu(x * w + 0.5), six rows at most. */
static plumb_status run_program(plumb_context *context, int runs, float *rows)
{
    plumb_graph *g = plumb_graph_new(context, "small");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, COLUMNS));
    plumb_variable_options options = {.size = sizeof options, .init = {.rule = PLUMB_INIT_CONSTANT, .a = -1.5}};
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SHAPE(COLUMNS), &options);
    plumb_t y = plumb_relu(g, plumb_affine(g, plumb_mul(g, x, w), 1, 0.5));
    plumb_t out = plumb_sum_to(g, plumb_transpose(g, y, NULL), PLUMB_SHAPE(1, PLUMB_BATCH));
    plumb_state *state = g ? plumb_state_new(g) : NULL;
    plumb_program *program = state ? plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                                     .outputs = &out, .n_outputs = 1})
                                   : NULL;
    plumb_status status = program ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; i < runs && status == PLUMB_OK; i++) {
        float data[ROWS * COLUMNS];
        for (int k = 0; k < ROWS * COLUMNS; k++) {
            data[k] = (float)((k * 13 + i * 5) % 17 - 8) * 0.25f;
        }
        status = plumb_feed(program, x, data, sizeof data);
        status = status == PLUMB_OK ? plumb_run(program) : status;
        status = status == PLUMB_OK ? plumb_fetch(program, out, rows + i * ROWS, ROWS * sizeof(float)) : status;
    }
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
    return status;
}

enum { RUNS = 4 }; /* one by one, captured, replayed twice */

PLUMB_TEST(cuda, programs_are_replayed)
{
    float here[RUNS * ROWS], there[RUNS * ROWS];
    plumb_context *cpu = open_on("cpu", NULL), *cuda = open_on("cuda", NULL);
    REQUIRE(cpu && cuda);
    CHECK(run_program(cpu, RUNS, here) == PLUMB_OK);
    CHECK_MSG(run_program(cuda, RUNS, there) == PLUMB_OK, "%s", plumb_message(cuda));
    for (int i = 0; i < RUNS * ROWS; i++) {
        CHECK_NEAR(there[i], here[i], 1e-5);
    }
    plumb_close(cpu);
    plumb_close(cuda);
    CHECK(nothing_left());
}

static plumb_t drawn(plumb_graph *g, const char *name, plumb_shape shape)
{
    plumb_variable_options options = {.size = sizeof options, .init = {PLUMB_INIT_UNIFORM, .a = -1, .b = 1}};
    return plumb_variable(g, name, PLUMB_F32, shape, &options);
}

/* One kernel in place of two or three computes what they did. */
PLUMB_TEST(cuda, fused_kernels_keep_every_bit)
{
    float plain[1024], fused[1024];
    plumb_context *context = open_on("cuda", NULL);
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "layers");
    plumb_t x = drawn(g, "x", PLUMB_SHAPE(3, 2, 7, 6)), y[3];
    y[0] = plumb_tanh(g, plumb_conv2d(g, x, drawn(g, "f", PLUMB_SHAPE(5, 2, 3, 3)), drawn(g, "c", PLUMB_SHAPE(5)), NULL));
    y[1] = plumb_matmul(g, plumb_reshape(g, y[0], PLUMB_SHAPE(3, 100)), drawn(g, "w", PLUMB_SHAPE(100, 9)), false, false);
    y[1] = plumb_relu(g, plumb_add(g, y[1], drawn(g, "b", PLUMB_SHAPE(9))));
    y[2] = plumb_sigmoid(g, plumb_matmul(g, y[1], drawn(g, "v", PLUMB_SHAPE(4, 9)), false, true));
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options options = {.size = sizeof options, .outputs = y, .n_outputs = 3};
    plumb_program *one = plumb_compile(g, state, &options);
    options.passes_off = PLUMB_PASS_FUSE;
    plumb_program *many = plumb_compile(g, state, &options);
    REQUIRE(one && many && plumb_run(one) == PLUMB_OK && plumb_run(many) == PLUMB_OK);
    char *text = plumb_program_text(one);
    CHECK(text && strstr(text, "activation=tanh") && strstr(text, "activation=relu") && strstr(text, "activation=sigmoid"));
    plumb_text_free(context, text);
    for (int i = 0; i < 3; i++) {
        plumb_shape shape = plumb_output_shape(one, y[i]);
        size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(float);
        REQUIRE(bytes <= sizeof plain && plumb_fetch(one, y[i], fused, bytes) == PLUMB_OK &&
                plumb_fetch(many, y[i], plain, bytes) == PLUMB_OK);
        CHECK_MSG(memcmp(plain, fused, bytes) == 0, "result %d differs", i);
    }
    plumb_close(context);
    CHECK(nothing_left());
}

/* Strict memory goes through the device's own fill and download. */
PLUMB_TEST(cuda, strict_memory)
{
    float rows[RUNS * ROWS];
    plumb_context *context = plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1, .strict_memory = true});
    REQUIRE(context);
    CHECK_MSG(run_program(context, RUNS, rows) == PLUMB_OK, "%s", plumb_message(context));
    plumb_close(context);
    CHECK(nothing_left());
}
