/* libFuzzer for checkpoints as bytes. Every checksum is 0 here, in the reader and in the valid file that mutations begin
 * with: a fuzzer would never guess one, and what lies behind them is what it is for. */
#include "fuzz.h"

static uint32_t fuzz_no_crc(uint32_t crc, const void *data, size_t bytes)
{
    (void)crc;
    fuzz_read(data, bytes);
    return 0;
}
#define plumb_crc32c fuzz_no_crc
#include "train/manifest.c"

static size_t base(uint8_t *to, size_t room)
{
    static const unsigned char values[16 * 8];
    const struct plumb_st_entry entries[] = {
        {"w", PLUMB_F32, PLUMB_SHAPE(2, 2), values, 16},  {"adam/step:", PLUMB_I64, PLUMB_SCALAR_SHAPE, values, 8},
        {"best:w", PLUMB_F32, PLUMB_SHAPE(2, 2), values, 16}, {PLUMB_HISTORY_NAME, PLUMB_F64, PLUMB_SHAPE(1, 14), values, 14 * 8},
    };
    static const char *const configuration[] = {"model", "mlp", "data", "x", NULL};
    const struct plumb_manifest m = {.healthy = true, .position = {.seed = 1, .epoch = 1, .ran = 5, .loss_sum = 0.5},
                                     .implementations = "cpu avx2 add=cpu.ref ", .configuration = configuration};
    plumb_context context = FUZZ_CONTEXT;
    void *data = NULL;
    size_t bytes = 0;
    return plumb_manifest_make(&context, "f", &m, entries, 4, &data, &bytes) ? 0 : fuzz_take(&context, data, bytes, to, room);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, base);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    plumb_context context = FUZZ_CONTEXT;
    struct plumb_manifest m;
    struct plumb_st_file file;
    void *copy = plumb_alloc(&context, size);
    memcpy(copy, input, size);
    if (plumb_manifest_parse(&context, "f", copy, size, &m, &file) == PLUMB_OK) {
        void *data = NULL;
        size_t bytes = 0; /* what was understood can be written again */
        FUZZ_REQUIRE(plumb_manifest_make(&context, "f", &m, file.entries, file.n_entries, &data, &bytes) == PLUMB_OK);
        plumb_free(&context, data);
    } else {
        FUZZ_REQUIRE(context.status == PLUMB_BAD_INPUT);
    }
    plumb_st_free(&context, &file);
    FUZZ_REQUIRE(context.memory_now == 0);
    return 0;
}
