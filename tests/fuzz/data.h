/* What the fuzzers of data readers share. scripts/suites/fuzz builds them with clang, from the sources they need: the context is a
 * bare one, without device and threads, and every file that is opened holds what is being tried. */
#ifndef PLUMB_TESTS_FUZZ_DATA_H
#define PLUMB_TESTS_FUZZ_DATA_H

#include <sys/mman.h>
#include <unistd.h>

#include "core/inside.h"
#include "data/folder.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            __builtin_trap();                                                                                          \
        }                                                                                                              \
    } while (0)

struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

/* A real file, since readers ask what kind it is. */
static inline int fuzz_open(void *user, const char *path, int flags, int mode)
{
    const struct fuzz_input *input = user;
    (void)path;
    (void)flags;
    (void)mode;
    int fd = memfd_create("input", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && write(fd, input->data, input->size) == (ssize_t)input->size && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static inline plumb_context fuzz_context(struct fuzz_input *input)
{
    plumb_context context = {.allocator = plumb_allocator_c, .io = plumb_io_posix};
    context.io.user = input;
    context.io.open = fuzz_open;
    return context;
}

/* A set that was made can be read and holds what it says; one that was refused left a message. Either way all memory comes back. */
static inline void fuzz_judge(plumb_context *context, plumb_dataset *handle)
{
    if (handle) {
        struct dataset *d = plumb_dataset_get(handle);
        struct plumb_scratch scratch;
        double sum = 0;
        FUZZ_REQUIRE(d->count > 0 && d->item > 0 && plumb_scratch_make(d, &scratch) == PLUMB_OK);
        for (int64_t n = 0; n < d->count; n++) {
            const void *x = plumb_dataset_example(d, n, &scratch);
            for (int64_t i = 0; i < d->item; i++) {
                sum += plumb_get(x, d->dtype, i);
            }
            int label = plumb_dataset_label_at(d, n);
            FUZZ_REQUIRE(label >= 0 && label < d->classes && plumb_dataset_class_name(handle, label)[0]);
        }
        FUZZ_REQUIRE(sum == sum);
        plumb_scratch_free(d, &scratch);
    } else {
        FUZZ_REQUIRE(context->status != PLUMB_OK && context->message[0]);
    }
    plumb_handles_close(context);
    FUZZ_REQUIRE(context->memory_now == 0);
}

/* Mutates, now and then starting over from one of the valid files. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t most, unsigned seed, const struct fuzz_input *base, unsigned bases)
{
    if (size < 2 || seed % 31 == 0) {
        const struct fuzz_input *from = &base[seed / 31 % bases];
        size = from->size < most ? from->size : most;
        memcpy(data, from->data, size);
    }
    return LLVMFuzzerMutate(data, size, most);
}

#endif
