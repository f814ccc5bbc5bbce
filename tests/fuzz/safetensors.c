/* libFuzzer for the safetensors reader. Byte flips alone die at the length or the first quote, so mutations begin with a
 * valid file and often make its length fit again. */
#include "fuzz.h"

static size_t base(uint8_t *to, size_t room)
{
    static const unsigned char values[64] = {1};
    const struct plumb_st_entry entries[] = {
        {"a", PLUMB_F64, PLUMB_SHAPE(2, 2), values, 32},  {"b.c:", PLUMB_I64, PLUMB_SCALAR_SHAPE, values, 8},
        {"d", PLUMB_BF16, PLUMB_SHAPE(3, 0), values, 0},  {"e\xc3\xa9", PLUMB_F32, PLUMB_SHAPE(1, 1, 2), values, 8},
        {"f\"", PLUMB_U8, PLUMB_SHAPE(3), values, 3},
    };
    const char *const metadata[] = {"key", "value\n", NULL};
    plumb_context context = FUZZ_CONTEXT;
    void *data = NULL;
    size_t bytes = 0;
    return plumb_st_make(&context, "f", entries, 5, metadata, &data, &bytes) ? 0 : fuzz_take(&context, data, bytes, to, room);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, base);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    plumb_context context = FUZZ_CONTEXT;
    struct plumb_st_file file;
    void *copy = plumb_alloc(&context, size);
    memcpy(copy, input, size);
    if (plumb_st_parse(&context, "f", copy, size, &file) == PLUMB_OK) {
        for (int i = 0; i < file.n_entries; i++) { /* what it says is there can be read */
            const struct plumb_st_entry *e = &file.entries[i];
            fuzz_read(e->data, e->bytes);
            FUZZ_REQUIRE((uintptr_t)e->data % plumb_dtype_size(e->dtype) == 0 && plumb_st_find(&file, e->name) == e);
        }
    } else {
        FUZZ_REQUIRE(context.status == PLUMB_BAD_INPUT);
    }
    plumb_st_free(&context, &file);
    FUZZ_REQUIRE(context.memory_now == 0);
    return 0;
}
