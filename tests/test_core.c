/* The core: options, errors, handles, memory, shapes, numbers, random numbers, checksums. Numbers are compared with
 * independent ones: published vectors, exact midpoints, the C library's erfc. Threads are in test_pool.c, files in
 * test_file.c. */
#include "check.h"

#include "core/inside.h"

/* ---- an allocator that counts, and fails when told ---- */

struct ration {
    int64_t held, blocks, calls, fail_at; /* fail_at 0: never */
    bool from_there_on;
};

static void *ration_alloc(void *user, size_t bytes)
{
    struct ration *ration = user;
    ration->calls++;
    bool now = ration->calls == ration->fail_at || (ration->from_there_on && ration->calls > ration->fail_at);
    if (ration->fail_at && now) {
        return NULL;
    }
    ration->held += (int64_t)bytes;
    ration->blocks++;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

static void ration_free(void *user, void *memory, size_t bytes)
{
    struct ration *ration = user;
    ration->held -= (int64_t)bytes;
    ration->blocks--;
    free(memory);
}

static plumb_allocator rationed(struct ration *ration)
{
    return (plumb_allocator){.user = ration, .alloc = ration_alloc, .free = ration_free};
}

/* ---- options and errors ---- */

PLUMB_TEST(core, version_and_names)
{
    CHECK_TEXT(plumb_version(), "0.1.0");
    CHECK(strcmp(plumb_status_name(PLUMB_IO_ERROR), "i/o error") == 0);
    CHECK(strcmp(plumb_status_name((plumb_status)77), "unknown status") == 0);
    CHECK(plumb_dtype_size(PLUMB_BF16) == 2 && plumb_dtype_size((plumb_dtype)99) == 0);
    CHECK(strcmp(plumb_dtype_name(PLUMB_U8), "u8") == 0 && strcmp(plumb_dtype_name((plumb_dtype)-1), "?") == 0);
    CHECK(plumb_dtype_is_float(PLUMB_F16) && !plumb_dtype_is_float(PLUMB_I64));
    CHECK(plumb_dtype_epsilon(PLUMB_F32) == 0x1p-24 && plumb_dtype_epsilon(PLUMB_I32) == 0);
}

PLUMB_TEST(core, options_refused)
{
    plumb_error error;
    struct {
        plumb_options options;
        const char *says;
    } bad[] = {
        {{.threads = -1}, "threads must be"},
        {{.threads = 1025}, "threads must be"},
        {{.isa = "mmx"}, "isa: 'mmx' is unknown"},
        {{.implementations = "conv2d"}, "'conv2d' is not of the form"},
        {{.implementations = "conv2d="}, "is not of the form"},
        {{.implementations = "=cpu.ref"}, "is not of the form"},
        {{.implementations = "a=b=c"}, "is not of the form"},
        {{.implementations = "a=b,,c=d"}, "is not of the form"},
        {{.device = "cuda:99"}, "no CUDA device"},
        {{.device = ""}, "is unknown"},
        {{.allocator = &(plumb_allocator){0}}, "lacks alloc or free"},
        {{.size = 1}, "size is smaller"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        plumb_options options = bad[i].options;
        error = (plumb_error){0};
        options.error = &error;
        plumb_context *context = plumb_open(&options);
        CHECK_MSG(!context, "case %zu was not refused", i);
        if (options.size != 1) { /* too short to hold `error` */
            CHECK_MSG(strstr(error.message, bad[i].says), "case %zu says '%s'", i, error.message);
            CHECK_MSG(error.status != PLUMB_OK, "case %zu has no status", i);
        }
        plumb_close(context);
    }
}

PLUMB_TEST(core, options_of_other_versions)
{
    struct {
        plumb_options options;
        uint64_t later[4];
    } newer = {.options = {.size = sizeof(newer), .seed = 7, .threads = 1}};
    plumb_error error = {0};
    newer.options.error = &error;
    plumb_context *context = plumb_open(&newer.options);
    CHECK(context && plumb_seed(context) == 7);
    plumb_close(context);
    newer.later[2] = 1;
    context = plumb_open(&newer.options);
    CHECK(!context);
    CHECK_TEXT(error.message, "does not know");
    plumb_close(context);
    /* An older caller's struct ends early: what lies behind it must not be read. */
    plumb_options old = {.size = offsetof(plumb_options, threads), .seed = 9, .threads = -5, .isa = "nonsense"};
    context = plumb_open(&old);
    CHECK(context && plumb_seed(context) == 9);
    plumb_close(context);
}

PLUMB_TEST(core, implementations_of_options_come_first)
{
    setenv("PLUMB_IMPL", "matmul=cpu.ref", 1);
    plumb_context *context = plumb_open(&(plumb_options){.implementations = "conv2d=cpu.native", .threads = 1});
    REQUIRE(context);
    CHECK_TEXT(context->implementations, "conv2d=cpu.native,matmul=cpu.ref");
    plumb_close(context);
    setenv("PLUMB_IMPL", "matmul", 1);
    plumb_error error;
    CHECK(!plumb_open(&(plumb_options){.error = &error}));
    CHECK_TEXT(error.message, "PLUMB_IMPL: 'matmul'");
    unsetenv("PLUMB_IMPL");
    context = plumb_open(NULL);
    REQUIRE(context);
    CHECK(strcmp(context->implementations, "") == 0 && plumb_threads(context) == plumb_cpu_count());
    plumb_close(context);
    plumb_close(NULL);
}

PLUMB_TEST(core, isa_is_a_limit)
{
    plumb_context *context = plumb_open(&(plumb_options){.isa = "scalar", .threads = 1});
    REQUIRE(context);
    CHECK(context->isa == PLUMB_ISA_SCALAR);
    plumb_close(context);
    context = plumb_open(&(plumb_options){.isa = "avx512_bf16", .threads = 1});
    REQUIRE(context);
    CHECK(context->isa == plumb_isa_detect());
    plumb_close(context);
    CHECK(!plumb_open(&(plumb_options){.isa = "avx1024", .threads = 1}));
}

PLUMB_TEST(core, first_error_is_kept)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    CHECK(strcmp(plumb_message(context), "") == 0);
    CHECK(plumb_fail(context, PLUMB_NUMERIC, "first\nline %d", 1) == PLUMB_NUMERIC);
    CHECK(plumb_fail(context, PLUMB_FAILED, "second") == PLUMB_FAILED);
    CHECK(strcmp(plumb_message(context), "first?line 1") == 0 && plumb_last_status(context) == PLUMB_NUMERIC);
    plumb_clear_error(context);
    CHECK(plumb_last_status(context) == PLUMB_OK && strcmp(plumb_message(context), "") == 0);
    char *longer = plumb_alloc(context, 5000);
    memset(longer, 'x', 4999);
    longer[4999] = '\0';
    plumb_fail(context, PLUMB_FAILED, "%s", longer);
    CHECK(strlen(plumb_message(context)) == sizeof(context->message) - 1);
    plumb_free(context, longer);
    plumb_close(context);
}

PLUMB_TEST(core, every_allocation_of_open_may_fail)
{
    for (int mode = 0; mode < 2; mode++) {
        plumb_context *context = NULL;
        for (int64_t n = 1; !context && n < 100; n++) {
            struct ration ration = {.fail_at = n, .from_there_on = mode == 1};
            plumb_allocator allocator = rationed(&ration);
            plumb_error error = {0};
            context = plumb_open(&(plumb_options){
                .allocator = &allocator, .threads = 2, .error = &error, .implementations = "a=b", .device = "cpu"});
            if (!context) {
                CHECK_MSG(error.status == PLUMB_FAILED && strstr(error.message, "out of memory"),
                          "allocation %lld: status %d, '%s'", (long long)n, (int)error.status, error.message);
            } else {
                CHECK(n >= 5);
                CHECK(plumb_memory_now(context) == ration.held);
            }
            plumb_close(context);
            CHECK_MSG(ration.held == 0 && ration.blocks == 0, "allocation %lld leaks %lld bytes", (long long)n,
                      (long long)ration.held);
        }
        CHECK(context != NULL);
    }
}

/* ---- handles ---- */

static void count_destruction(void *object)
{
    ++*(int *)object;
}

PLUMB_TEST(core, stale_handles_are_errors)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    int destroyed = 0, other = 0;
    void *handle = plumb_handle_new(context, PLUMB_KIND_GRAPH, &destroyed, count_destruction);
    CHECK(plumb_handle_get(handle, PLUMB_KIND_GRAPH) == &destroyed);
    CHECK(plumb_handle_context(handle) == context);
    CHECK(!plumb_handle_get(NULL, PLUMB_KIND_GRAPH) && plumb_last_status(context) == PLUMB_OK);
    CHECK(!plumb_handle_get(handle, PLUMB_KIND_STATE));
    CHECK_TEXT(plumb_message(context), "another kind");
    plumb_clear_error(context);
    plumb_handle_free(handle, PLUMB_KIND_STATE);
    CHECK(destroyed == 0);
    plumb_handle_free(handle, PLUMB_KIND_GRAPH);
    plumb_handle_free(handle, PLUMB_KIND_GRAPH);
    plumb_handle_free(NULL, PLUMB_KIND_GRAPH);
    CHECK(destroyed == 1);
    CHECK(plumb_handle_context(handle) == context);
    /* Stale for thousands of reuses of every cell. */
    for (int i = 0; i < 3900; i++) {
        plumb_clear_error(context);
        void *fresh = plumb_handle_new(context, PLUMB_KIND_GRAPH, &other, count_destruction);
        CHECK(fresh && fresh != handle);
        CHECK(!plumb_handle_get(handle, PLUMB_KIND_GRAPH));
        CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
        plumb_handle_free(fresh, PLUMB_KIND_GRAPH);
    }
    CHECK(other == 3900);
    CHECK_TEXT(plumb_message(context), "stale or wrong handle");
    plumb_close(context);
    CHECK(destroyed == 1);
}

PLUMB_TEST(core, close_destroys_what_lives)
{
    struct ration ration = {0};
    plumb_allocator allocator = rationed(&ration);
    plumb_context *context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1});
    REQUIRE(context);
    int destroyed = 0;
    void *handles[200];
    for (int i = 0; i < 200; i++) {
        handles[i] = plumb_handle_new(context, PLUMB_KIND_STATE, &destroyed, count_destruction);
        CHECK(handles[i] != NULL);
    }
    for (int i = 0; i < 200; i += 3) {
        plumb_handle_free(handles[i], PLUMB_KIND_STATE);
    }
    for (int i = 0; i < 200; i++) {
        CHECK((plumb_handle_get(handles[i], PLUMB_KIND_STATE) != NULL) == (i % 3 != 0));
    }
    plumb_close(context);
    CHECK(destroyed == 200);
    CHECK(ration.held == 0);
}

PLUMB_TEST(core, handle_without_memory)
{
    struct ration ration = {0};
    plumb_allocator allocator = rationed(&ration);
    plumb_context *context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1});
    REQUIRE(context);
    int destroyed = 0;
    ration.fail_at = ration.calls + 1;
    CHECK(!plumb_handle_new(context, PLUMB_KIND_STATE, &destroyed, count_destruction));
    CHECK(destroyed == 0 && plumb_last_status(context) == PLUMB_FAILED);
    plumb_close(context);
    CHECK(ration.held == 0);
}

/* ---- memory ---- */

static void remember(void *user, plumb_log_level level, const char *line)
{
    (void)level;
    snprintf(user, 200, "%s", line);
}

PLUMB_TEST(core, memory_is_counted_and_returns_to_zero)
{
    char log[200] = "";
    struct ration ration = {0};
    plumb_allocator allocator = rationed(&ration);
    plumb_context *context =
        plumb_open(&(plumb_options){.allocator = &allocator, .threads = 2, .log = remember, .log_user = log});
    REQUIRE(context);
    int64_t before = plumb_memory_now(context);
    char *a = plumb_alloc(context, 1000), *b = plumb_zalloc(context, 0), *c = plumb_zalloc(context, 77);
    REQUIRE(a && b && c);
    CHECK(((uintptr_t)a | (uintptr_t)b | (uintptr_t)c) % 64 == 0);
    CHECK(c[0] == 0 && c[76] == 0);
    CHECK(plumb_memory_now(context) >= before + 1077 && plumb_memory_now(context) == ration.held);
    memset(a, 'a', 1000);
    a = plumb_realloc(context, a, 100000);
    REQUIRE(a);
    CHECK(a[0] == 'a' && a[999] == 'a');
    a = plumb_realloc(context, a, 10);
    REQUIRE(a);
    CHECK(a[9] == 'a');
    CHECK(plumb_memory_peak(context) >= before + 101000);
    ration.fail_at = ration.calls + 1;
    CHECK(!plumb_realloc(context, a, 20) && a[9] == 'a');
    CHECK_TEXT(plumb_message(context), "out of memory: 20 bytes");
    plumb_clear_error(context);
    CHECK(!plumb_alloc(context, SIZE_MAX) && !plumb_alloc(context, SIZE_MAX - 60));
    CHECK(plumb_last_status(context) == PLUMB_FAILED);
    plumb_free(context, a);
    plumb_free(context, b);
    plumb_free(context, c);
    plumb_free(context, NULL);
    CHECK(plumb_memory_now(context) == before);
    plumb_close(context);
    CHECK(ration.held == 0 && strcmp(log, "") == 0);
    context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1, .log = remember, .log_user = log});
    REQUIRE(context);
    void *forgotten = plumb_alloc(context, 36);
    plumb_close(context);
    CHECK_TEXT(log, "100 bytes were not freed");
    ration_free(&ration, (char *)forgotten - 64, 100);
}

PLUMB_TEST(core, arena_and_growing)
{
    struct ration ration = {0};
    plumb_allocator allocator = rationed(&ration);
    plumb_context *context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1});
    REQUIRE(context);
    struct plumb_arena arena = {.context = context};
    int64_t before = plumb_memory_now(context);
    char *pieces[300];
    for (int i = 0; i < 300; i++) {
        size_t bytes = i % 50 == 0 ? 10000 : (size_t)i;
        pieces[i] = plumb_arena_alloc(&arena, bytes);
        REQUIRE(pieces[i]);
        CHECK((uintptr_t)pieces[i] % 16 == 0);
        for (size_t k = 0; k < bytes; k++) {
            CHECK(pieces[i][k] == 0);
        }
        memset(pieces[i], i, bytes);
    }
    for (int i = 1; i < 300; i++) {
        CHECK(i % 50 == 0 || pieces[i][i - 1] == (char)i);
    }
    CHECK(strcmp(plumb_arena_strdup(&arena, "text"), "text") == 0);
    CHECK(!plumb_arena_alloc(&arena, SIZE_MAX));
    plumb_arena_free(&arena);
    CHECK(plumb_memory_now(context) == before);

    int *items = NULL, room = 0;
    for (int n = 1; n < 1000; n++) {
        REQUIRE(plumb_grow(context, &items, &room, n, sizeof(int)));
        items[n - 1] = n;
    }
    CHECK(room >= 999 && items[0] == 1 && items[998] == 999);
    ration.fail_at = ration.calls + 1;
    CHECK(!plumb_grow(context, &items, &room, room + 1, sizeof(int)) && items[998] == 999);
    ration.fail_at = 0;
    CHECK(!plumb_grow(context, &items, &room, INT32_MAX, SIZE_MAX / 4));
    plumb_free(context, items);
    plumb_close(context);
    CHECK(ration.held == 0);
}

PLUMB_TEST(core, text_grows)
{
    struct ration ration = {0};
    plumb_allocator allocator = rationed(&ration);
    plumb_context *context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1});
    REQUIRE(context);
    struct plumb_text text = {.context = context};
    for (int i = 0; i < 1000; i++) {
        plumb_text_add(&text, "%d,", i);
    }
    char *all = plumb_text_take(&text);
    REQUIRE(all);
    CHECK(strncmp(all, "0,1,2,", 6) == 0 && strlen(all) == 3890);
    plumb_free(context, all);
    all = plumb_text_take(&text);
    CHECK(all && *all == '\0');
    plumb_free(context, all);
    for (int64_t n = 1; n <= 3; n++) {
        ration.fail_at = ration.calls + n;
        plumb_text_add(&text, "%0300d", 1);
        plumb_text_add(&text, "%0900d", 1);
        CHECK(text.failed);
        CHECK(!plumb_text_take(&text));
    }
    plumb_close(context);
    CHECK(ration.held == 0);
}

/* ---- shapes ---- */

PLUMB_TEST(core, shapes)
{
    char text[128];
    int64_t product;
    plumb_shape some = PLUMB_SHAPE(PLUMB_BATCH, 3, PLUMB_UNKNOWN, 5), scalar = PLUMB_SCALAR_SHAPE;
    CHECK(strcmp(plumb_shape_text(&some, text, sizeof(text)), "(N, 3, ?, 5)") == 0);
    CHECK(strcmp(plumb_shape_text(&scalar, text, sizeof(text)), "()") == 0);
    CHECK(strcmp(plumb_shape_text(&PLUMB_SHAPE(PLUMB_TIME, PLUMB_HEIGHT, PLUMB_WIDTH, -1), text, 128), "(T, H, W, -1)")
          == 0);
    CHECK(strcmp(plumb_shape_text(&some, text, 6), "(N, 3") == 0);
    CHECK(plumb_shape_count(&some) == -1 && plumb_shape_count(&scalar) == 1);
    CHECK(plumb_shape_count(&PLUMB_SHAPE(2, 3, 4)) == 24 && plumb_shape_count(&PLUMB_SHAPE(2, 0, 4)) == 0);
    CHECK(plumb_shape_count(&PLUMB_SHAPE(2, -1)) == -1 && plumb_shape_count(&PLUMB_SHAPE(0, -1)) == -1);
    CHECK(plumb_shape_count(&PLUMB_SHAPE((int64_t)1 << 40, (int64_t)1 << 40)) == -1);
    CHECK(plumb_shape_count(&PLUMB_SHAPE(0, (int64_t)1 << 40, (int64_t)1 << 40)) == -1);
    CHECK(plumb_shape_count(&(plumb_shape){.rank = 9}) == -1 && plumb_shape_count(&(plumb_shape){.rank = -1}) == -1);
    CHECK(plumb_shape_equal(&PLUMB_SHAPE(1, 2), &PLUMB_SHAPE(1, 2)));
    CHECK(!plumb_shape_equal(&PLUMB_SHAPE(1, 2), &PLUMB_SHAPE(1, 3)));
    CHECK(!plumb_shape_equal(&PLUMB_SHAPE(1), &PLUMB_SHAPE(1, 1)));
    CHECK(plumb_mul_size(1 << 20, 1 << 20, &product) && product == (int64_t)1 << 40);
    CHECK(!plumb_mul_size(INT64_MAX, 2, &product) && !plumb_mul_size(-1, 1, &product) && product == (int64_t)1 << 40);
}

/* ---- numbers ---- */

static double wide(uint16_t bits, bool brain)
{
    return (double)(brain ? plumb_f32_of_bf16(bits) : plumb_f32_of_f16(bits));
}

static uint16_t narrow64(double value, bool brain)
{
    return brain ? plumb_bf16_of_f64(value) : plumb_f16_of_f64(value);
}

static uint16_t narrow32(float value, bool brain)
{
    return brain ? plumb_bf16_of_f32(value) : plumb_f16_of_f32(value);
}

/* Every pattern survives widening and narrowing; between every two neighbours the midpoint goes to the even one and
 * the doubles beside it to the nearer one. Together this fixes rounding everywhere. */
static void check_halves(bool brain)
{
    uint16_t infinity = brain ? 0x7f80 : 0x7c00, quiet = brain ? 0x40 : 0x200;
    int mantissa = brain ? 7 : 10, bias = brain ? 127 : 15;
    for (unsigned bits = 0; bits <= 0xffff && check_failures() < 20; bits++) {
        uint16_t sign = bits & 0x8000, rest = bits & 0x7fff, want = (uint16_t)bits;
        double value = wide((uint16_t)bits, brain);
        if (rest > infinity) {
            CHECK_MSG(isnan(value), "%04x is not NaN", bits);
            want = (uint16_t)(bits | quiet);
        } else if (rest < infinity) {
            int exponent = rest >> mantissa;
            double fraction = (rest & ((1 << mantissa) - 1)) + (exponent ? 1 << mantissa : 0);
            double exact = ldexp(fraction, (exponent ? exponent : 1) - bias - mantissa);
            CHECK_MSG(value == (sign ? -exact : exact) && signbit(value) == (sign != 0), "%04x is %a", bits, value);
        }
        uint16_t got64 = narrow64(value, brain), got32 = narrow32((float)value, brain);
        if (rest <= infinity) {
            CHECK_MSG(got64 == want && got32 == want, "%04x returns as %04x, %04x", bits, got64, got32);
        } else {
            CHECK_MSG((got64 & 0x7fff) > infinity && (got32 & 0x7fff) > infinity, "NaN %04x is lost", bits);
        }
        if (rest < infinity) {
            uint16_t next = (uint16_t)(bits + 1);
            double above = rest + 1 == infinity ? ldexp(sign ? -1 : 1, bias + 1) : wide(next, brain);
            double middle = (value + above) / 2; /* exact in double and in float */
            uint16_t even = bits & 1 ? next : (uint16_t)bits;
            double inner = nextafter(middle, value), outer = nextafter(middle, above);
            CHECK_MSG(narrow64(middle, brain) == even, "tie above %04x goes to %04x", bits, narrow64(middle, brain));
            CHECK_MSG(narrow32((float)middle, brain) == even, "float tie above %04x", bits);
            CHECK_MSG(narrow64(inner, brain) == bits, "below the tie above %04x", bits);
            CHECK_MSG(narrow64(outer, brain) == next, "over the tie above %04x", bits);
            CHECK_MSG(narrow32(nextafterf((float)middle, (float)value), brain) == bits, "float below tie %04x", bits);
            CHECK_MSG(narrow32(nextafterf((float)middle, (float)above), brain) == next, "float over tie %04x", bits);
        }
    }
    CHECK(narrow64(1e300, brain) == infinity && narrow64(-1e300, brain) == (infinity | 0x8000));
    CHECK(narrow64(5e-324, brain) == 0 && narrow64(-5e-324, brain) == 0x8000);
    CHECK(narrow64(INFINITY, brain) == infinity && narrow32(-INFINITY, brain) == (infinity | 0x8000));
    union { uint64_t u; double f; } nan64 = {.u = 0x7ff0000000000001};
    union { uint32_t u; float f; } nan32 = {.u = 0x7f800001};
    CHECK((narrow64(nan64.f, brain) & 0x7fff) > infinity && (narrow32(nan32.f, brain) & 0x7fff) > infinity);
}

PLUMB_TEST(core, f16_exhaustively)
{
    check_halves(false);
}

PLUMB_TEST(core, bf16_exhaustively)
{
    check_halves(true);
}

PLUMB_TEST(core, get_and_put)
{
    _Alignas(8) unsigned char data[64];
    for (int dtype = 1; dtype < PLUMB_DTYPE_COUNT; dtype++) {
        memset(data, 0, sizeof(data));
        plumb_put(data, (plumb_dtype)dtype, 3, 42);
        CHECK(plumb_get(data, (plumb_dtype)dtype, 3) == 42 && plumb_get(data, (plumb_dtype)dtype, 2) == 0);
        plumb_put(data, (plumb_dtype)dtype, 1, NAN);
        double back = plumb_get(data, (plumb_dtype)dtype, 1);
        CHECK(plumb_dtype_is_float((plumb_dtype)dtype) ? isnan(back) : back == 0);
    }
    struct {
        plumb_dtype dtype;
        double value, want;
    } rows[] = {
        {PLUMB_I32, 1e10, INT32_MAX}, {PLUMB_I32, -1e10, INT32_MIN}, {PLUMB_I32, 2147483647.9, INT32_MAX},
        {PLUMB_I32, -1.9, -1},        {PLUMB_U8, -3, 0},             {PLUMB_U8, 255.7, 255},
        {PLUMB_U8, 256, 255},         {PLUMB_U8, 0.9, 0},            {PLUMB_I64, 0x1p63, 0x1p63},
        {PLUMB_I64, INFINITY, 0x1p63}, {PLUMB_I64, -INFINITY, -0x1p63}, {PLUMB_I64, -0x1p63, -0x1p63},
        {PLUMB_F32, 1e300, INFINITY}, {PLUMB_F16, 65520, INFINITY},  {PLUMB_F16, 65519.99, 65504},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        plumb_put(data, rows[i].dtype, 0, rows[i].value);
        CHECK_MSG(plumb_get(data, rows[i].dtype, 0) == rows[i].want, "row %zu", i);
    }
    CHECK(plumb_get(data, PLUMB_NO_DTYPE, 0) == 0);
}

/* The vectors published with Random123 (kat_vectors, philox4x32 10). */
PLUMB_TEST(core, philox_known_answers)
{
    static const struct {
        uint64_t seed, step;
        uint32_t stream, block, want[4];
    } rows[] = {
        {0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3, 0x243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        plumb_philox(rows[i].seed, rows[i].stream, rows[i].step, rows[i].block, out);
        CHECK_MSG(memcmp(out, rows[i].want, sizeof(out)) == 0, "row %d gives %08x %08x %08x %08x", i, out[0], out[1],
                  out[2], out[3]);
        for (int k = 0; k < 4; k++) {
            CHECK(plumb_random_word(rows[i].seed, rows[i].stream, rows[i].step, (int64_t)rows[i].block * 4 + k) ==
                  out[k]);
        }
    }
}

PLUMB_TEST(core, normal_inverts_its_distribution)
{
    CHECK(plumb_uniform_of_word(0) == 0 && plumb_uniform_of_word(UINT32_MAX) < 1);
    double worst = 0, previous = -7;
    for (uint64_t i = 0; i <= 100000; i++) {
        uint32_t word = i == 100000 ? UINT32_MAX : (uint32_t)(i * 42949);
        double z = plumb_normal_of_word(word), p = ((double)word + 0.5) * 0x1p-32;
        CHECK(isfinite(z) && z > previous);
        CHECK(plumb_normal_of_word(~word) == -z);
        double tail = p < 0.5 ? p : 1 - p;
        /* A relative error e of z moves the tail by z * z * e of itself. */
        double error = fabs(erfc(fabs(z) / sqrt(2)) / 2 - tail) / tail / (1 + z * z);
        worst = !(error <= worst) ? error : worst;
        previous = z;
    }
    CHECK_MSG(worst <= 1e-15, "worst relative error %g", worst);
    for (uint32_t word = 0; word < 1000; word++) {
        CHECK(isfinite(plumb_normal_of_word(word)) && plumb_normal_of_word(word) < -4.9);
    }
    CHECK_NEAR(plumb_normal_of_word(0), -6.3379577545537877, 1e-14);
    CHECK_NEAR(plumb_normal_of_word(0xbfffffff), 0.67448975019608171, 1e-9);
}

PLUMB_TEST(core, checksums)
{
    unsigned char bytes[32];
    CHECK(plumb_crc32c(0, "123456789", 9) == 0xe3069283);
    memset(bytes, 0, 32);
    CHECK(plumb_crc32c(0, bytes, 32) == 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK(plumb_crc32c(0, bytes, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (unsigned char)i;
    }
    for (size_t cut = 0; cut <= 32; cut++) {
        CHECK(plumb_crc32c(plumb_crc32c(0, bytes, cut), bytes + cut, 32 - cut) == 0x46dd794e);
        CHECK(plumb_crc32c_by_table(plumb_crc32c(0, bytes, cut), bytes + cut, 32 - cut) == 0x46dd794e);
    }
    CHECK(plumb_hash("") == 0xcbf29ce484222325 && plumb_hash("foobar") == 0x85944171f73967e8);
}
