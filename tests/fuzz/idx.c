/* libFuzzer for the IDX reader: the first byte says how much of the input is the file of labels, the rest is that of pictures. */
#include <string.h>

#include "data.h"

static const uint8_t valid[] = "\13\0\0\10\1\0\0\0\3\0\1\2" "\0\0\10\3\0\0\0\3\0\0\0\1\0\0\0\2abcdef";

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, &(struct fuzz_input){valid, sizeof(valid) - 1}, 1);
}

static struct fuzz_input parts[2];

static int open_part(void *user, const char *path, int flags, int mode)
{
    (void)user;
    return fuzz_open(&parts[*path == 'x'], path, flags, mode);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1) {
        return 0;
    }
    size_t labels = input[0] < size - 1 ? input[0] : size - 1;
    parts[0] = (struct fuzz_input){input + 1, labels};
    parts[1] = (struct fuzz_input){input + 1 + labels, size - 1 - labels};
    bool gzip = labels > 1 && parts[0].data[0] == 0x1f;
    plumb_context context = fuzz_context(parts);
    context.io.open = open_part;
    plumb_dataset_options options = {.size = sizeof(options), .max_bytes = 1 << 22, .max_bad = input[0] & 1 ? 0.5 : 0};
    fuzz_judge(&context, plumb_dataset_idx(&context, size > labels + 2 && parts[1].data[0] == 0x1f ? "x.gz" : "x", gzip ? "y.gz" : "y", &options));
    return 0;
}
