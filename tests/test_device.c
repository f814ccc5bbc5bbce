/* Devices: how strings choose them, that null runs nothing, and that faulty fails exactly the call it was told to. */
#include "check.h"

#include "device/device.h"

static void remember(void *user, plumb_log_level level, const char *line)
{
    (void)level;
    snprintf(user, 200, "%s", line);
}

static plumb_context *open_device(const char *device, plumb_error *error)
{
    return plumb_open(&(plumb_options){.device = device, .threads = 1, .error = error});
}

PLUMB_TEST(device, chosen_by_string)
{
    static const struct {
        const char *string, *name;
    } good[] = {{NULL, "cpu"},        {"cpu", "cpu"},         {"auto", "cpu"},      {"null", "null"},
                {"faulty", "faulty"}, {"faulty:7", "faulty"}, {"faulty:7+", "faulty"}};
    static const struct {
        const char *string, *says;
        plumb_status status;
    } bad[] = {
        {"gpu", "'gpu' is unknown; known are cpu, auto, null, faulty", PLUMB_BAD_INPUT},
        {"cp", "is unknown", PLUMB_BAD_INPUT},
        {"cpux", "is unknown", PLUMB_BAD_INPUT},
        {":", "is unknown", PLUMB_BAD_INPUT},
        {"auto:1", "is unknown", PLUMB_BAD_INPUT},
        {"cpu:1", "takes no argument", PLUMB_BAD_INPUT},
        {"null:", "takes no argument", PLUMB_BAD_INPUT},
        {"faulty:", "faulty:N", PLUMB_BAD_INPUT},
        {"faulty:+", "faulty:N", PLUMB_BAD_INPUT},
        {"faulty:-1", "faulty:N", PLUMB_BAD_INPUT},
        {"faulty:3x", "faulty:N", PLUMB_BAD_INPUT},
        {"faulty:99999999999999999999", "faulty:N", PLUMB_BAD_INPUT},
        {"cuda", "no CUDA device", PLUMB_DEVICE_ERROR},
        {"cuda:1", "no CUDA device", PLUMB_DEVICE_ERROR},
    };
    plumb_error error;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        plumb_context *context = open_device(good[i].string, &error);
        CHECK_MSG(context && strcmp(plumb_device_name(context), good[i].name) == 0, "row %zu: %s", i, error.message);
        CHECK(error.status == PLUMB_OK && !*error.message);
        plumb_close(context);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!open_device(bad[i].string, &error));
        CHECK_MSG(error.status == bad[i].status, "row %zu: %d", i, (int)error.status);
        CHECK_TEXT(error.message, bad[i].says);
    }
    CHECK(plumb_device_kind(0) == &plumb_device_cpu && !plumb_device_kind(-1) && !plumb_device_kind(3));
}

PLUMB_TEST(device, auto_says_what_it_chose)
{
    char log[200] = "";
    plumb_context *context =
        plumb_open(&(plumb_options){.device = "auto", .log = remember, .log_user = log, .threads = 1});
    REQUIRE(context);
    CHECK_TEXT(log, "auto chose cpu");
    plumb_close(context);
}

PLUMB_TEST(device, tables_are_complete)
{
    for (int i = 0; plumb_device_kind(i); i++) {
        const plumb_device_table *table = plumb_device_kind(i);
        CHECK(table->abi == PLUMB_DEVICE_ABI && strcmp(table->kind, "cpu") == 0);
        CHECK(table->open && table->close && table->info && table->alloc && table->free && table->upload);
        CHECK(table->download && table->copy && table->fill && table->sync);
        plumb_context *context = open_device(table->name, NULL);
        REQUIRE(context);
        plumb_device *device = context->device;
        bool real = table != &plumb_device_null; /* null claims memory and holds none */
        CHECK(device->table == table && device->context == context);
        plumb_device_info info;
        CHECK(table->info(device, &info) == PLUMB_OK && info.name[0] && info.host_memory == real);
        int64_t before = plumb_memory_now(context);
        void *memory, *other;
        REQUIRE(table->alloc(device, 1000, &memory) == PLUMB_OK && table->alloc(device, 0, &other) == PLUMB_OK);
        CHECK((uintptr_t)memory % 64 == 0 && other);
        CHECK(!real || (plumb_memory_now(context) >= before + 1000 && plumb_memory_peak(context) >= before + 1000));
        char host[1000], back[1000] = {0};
        memset(host, 'h', sizeof(host));
        CHECK(table->upload(device, memory, host, 1000) == PLUMB_OK);
        CHECK(table->fill(device, memory, 'f', 10) == PLUMB_OK);
        CHECK(table->copy(device, (char *)memory + 20, memory, 10) == PLUMB_OK);
        CHECK(table->sync(device) == PLUMB_OK && table->download(device, back, memory, 1000) == PLUMB_OK);
        CHECK(back[0] == (real ? 'f' : 0));
        CHECK(!real || (back[10] == 'h' && back[20] == 'f' && back[30] == 'h' && back[999] == 'h'));
        CHECK(table->copy(device, NULL, NULL, 0) == PLUMB_OK && table->fill(device, NULL, 0, 0) == PLUMB_OK);
        table->free(device, memory);
        table->free(device, other);
        table->free(device, NULL);
        if (table->mark) {
            void *first, *second;
            double seconds = -1;
            REQUIRE(table->mark(device, &first) == PLUMB_OK && table->mark(device, &second) == PLUMB_OK);
            CHECK(table->elapsed(device, first, second, &seconds) == PLUMB_OK && seconds >= 0 && seconds < 60);
            table->mark_free(device, first);
            table->mark_free(device, second);
        }
        CHECK(plumb_memory_now(context) == before);
        CHECK(!real || (table->alloc(device, SIZE_MAX / 2 + 5, &memory) == PLUMB_FAILED && !memory));
        plumb_close(context);
    }
}

PLUMB_TEST(device, null_runs_nothing)
{
    plumb_context *context = open_device("null", NULL);
    REQUIRE(context);
    bool skip = false;
    CHECK(context->device->table->before_run(context->device, "matmul", &skip) == PLUMB_OK && skip);
    int64_t before = plumb_memory_now(context);
    char host[100];
    void *memory;
    REQUIRE(context->device->table->alloc(context->device, (size_t)1 << 50, &memory) == PLUMB_OK); /* a claim, no memory */
    CHECK(plumb_memory_now(context) - before < 1000);
    memset(host, 1, sizeof(host));
    CHECK(context->device->table->upload(context->device, memory, host, sizeof(host)) == PLUMB_OK);
    CHECK(context->device->table->download(context->device, host, memory, sizeof(host)) == PLUMB_OK);
    for (size_t i = 0; i < sizeof(host); i++) {
        CHECK(host[i] == 0);
    }
    context->device->table->free(context->device, memory);
    plumb_close(context);
}

/* One of each call that may fail, in this order; returns how many said OK, and which did not first. */
#define CALLS 10
static int use(plumb_context *context, int *first_failure)
{
    plumb_device *device = context->device;
    const plumb_device_table *table = device->table;
    plumb_device_info info;
    char host[16] = {0};
    void *memory = NULL, *event = NULL;
    double seconds;
    bool skip = true, good[CALLS];
    good[0] = table->info(device, &info) == PLUMB_OK;
    good[1] = table->alloc(device, 16, &memory) == PLUMB_OK;
    void *safe = good[1] ? memory : host;
    good[2] = table->upload(device, safe, host, 16) == PLUMB_OK;
    good[3] = table->fill(device, safe, 1, 16) == PLUMB_OK;
    good[4] = table->copy(device, safe, safe, 16) == PLUMB_OK;
    good[5] = table->before_run(device, "conv2d", &skip) == PLUMB_OK && !skip;
    good[6] = table->sync(device) == PLUMB_OK;
    good[7] = table->download(device, host, safe, 16) == PLUMB_OK;
    good[8] = table->mark(device, &event) == PLUMB_OK;
    double zero = 0;
    void *mark = good[8] ? event : &zero;
    good[9] = table->elapsed(device, mark, mark, &seconds) == PLUMB_OK;
    table->mark_free(device, event);
    table->free(device, memory);
    int sum = 0;
    *first_failure = -1;
    for (int i = CALLS - 1; i >= 0; i--) {
        sum += good[i];
        *first_failure = good[i] ? *first_failure : i;
    }
    return sum;
}

PLUMB_TEST(device, faulty_fails_the_nth_call)
{
    static const char *const names[CALLS] = {"info",       "alloc", "upload",   "fill", "copy",
                                             "run conv2d", "sync",  "download", "mark", "elapsed"};
    int first;
    plumb_context *context = open_device("faulty:0", NULL);
    REQUIRE(context);
    CHECK(use(context, &first) == CALLS);
    plumb_close(context);
    for (int n = 1; n <= CALLS + 1; n++) {
        for (int onward = 0; onward < 2; onward++) {
            char device[32], want[64];
            snprintf(device, sizeof(device), "faulty:%d%s", n, onward ? "+" : "");
            context = open_device(device, NULL);
            REQUIRE(context);
            int good = use(context, &first);
            CHECK_MSG(good == (n > CALLS ? CALLS : onward ? n - 1 : CALLS - 1), "%s: %d good", device, good);
            CHECK(first == (n > CALLS ? -1 : n - 1));
            if (n <= CALLS) {
                snprintf(want, sizeof(want), "call %d (%s)", n, names[n - 1]);
                CHECK(plumb_last_status(context) == PLUMB_DEVICE_ERROR);
                CHECK_TEXT(plumb_message(context), want);
            }
            plumb_close(context);
        }
    }
}
