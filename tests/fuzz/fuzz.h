/* What the fuzzers of files with a JSON header share. scripts/suites/fuzz builds them with clang, from the sources they
 * need: the context is a bare one, without device and threads. */
#ifndef PLUMB_TESTS_FUZZ_H
#define PLUMB_TESTS_FUZZ_H

#include "core/inside.h"
#include "io/safetensors.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define FUZZ_CONTEXT ((plumb_context){.allocator = plumb_allocator_c, .io = plumb_io_posix})
#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            __builtin_trap();                                                                                          \
        }                                                                                                              \
    } while (0)

static inline void fuzz_read(const void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        (void)((const volatile unsigned char *)data)[i];
    }
}

/* Copies what was made to `to` and frees it. */
static inline size_t fuzz_take(plumb_context *context, void *data, size_t bytes, uint8_t *to, size_t room)
{
    size_t count = bytes < room ? bytes : room;
    memcpy(to, data, count);
    plumb_free(context, data);
    return count;
}

/* Mutates, now and then starting over from a valid file; of three results two get a length of the header that ends at a
 * brace. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t most, unsigned seed, size_t (*base)(uint8_t *to, size_t room))
{
    if (size < 16 || seed % 61 == 0) {
        size = base(data, most);
    }
    size = LLVMFuzzerMutate(data, size, most);
    if (seed % 3 && size > 8) {
        size_t end = size;
        while (end > 9 && data[end - 1] != '}') {
            end--;
        }
        for (int i = 0; i < 8; i++) {
            data[i] = (uint8_t)((end - 8) >> (8 * i));
        }
    }
    return size;
}

#endif
