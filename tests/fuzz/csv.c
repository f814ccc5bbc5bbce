/* libFuzzer for the CSV reader; the first byte chooses options. */
#include "data.h"

static const uint8_t table[] = "\0a,\"b \"\"c\"\"\",label\r\n1,-2.5e3,0\r\n\"3\",.5,1\r\n", plain[] = "\1""1,2,0\n3,4,1\n5,6,2\n";
static const struct fuzz_input base[] = {{table, sizeof(table) - 1}, {plain, sizeof(plain) - 1}};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, base, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct fuzz_input file = {input + 1, size - 1};
    plumb_context context = fuzz_context(&file);
    plumb_dataset_options options = {.size = sizeof(options), .max_bytes = 1 << 22, .no_header = input[0] & 1,
                                     .max_bad = input[0] & 2 ? 0.5 : 0, .label = input[0] & 4 ? "a" : NULL};
    fuzz_judge(&context, plumb_dataset_csv(&context, size > 2 && input[1] == 0x1f && input[2] == 0x8b ? "t.csv.gz" : "t.csv", &options));
    return 0;
}
