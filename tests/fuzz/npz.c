/* libFuzzer for arrays of NumPy: as an archive, where one in four inputs gets a checksum that holds, or as .npy files, when it
 * begins as one. */
#include <zlib.h>

#include "data.h"
#include "numpy_npz.h"

#define HEADER "\x93NUMPY\1\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }" \
               "                                                          \n"
static const uint8_t array[] = HEADER "\0\1";
static const struct fuzz_input base[] = {{numpy_npz, sizeof(numpy_npz)}, {array, sizeof(array) - 1}};

static void put32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

/* The directory's first entry is said to be stored, of the size that lies there, with its checksum. */
static void mend(uint8_t *data, size_t size)
{
    const uint8_t *end = size > 22 ? data + size - 22 : NULL;
    size_t at = end ? (size_t)end[16] | (size_t)end[17] << 8 : 0;
    if (!end || at + 68 > size || data[at] != 'P') {
        return;
    }
    size_t header = 30 + (size_t)data[26] + data[28], bytes = data[at + 20] | (size_t)data[at + 21] << 8;
    if (header + bytes > size) {
        return;
    }
    data[8] = data[9] = data[at + 10] = data[at + 11] = 0;
    put32(data + at + 24, (uint32_t)bytes);
    put32(data + at + 20, (uint32_t)bytes);
    put32(data + at + 16, (uint32_t)crc32(0, data + header, (uInt)bytes));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    size = fuzz_mutate(data, size, most, seed, base, 2);
    if (seed % 4 == 0) {
        mend(data, size);
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    struct fuzz_input file = {input, size};
    plumb_context context = fuzz_context(&file);
    plumb_dataset_options options = {.size = sizeof(options), .max_bytes = 1 << 22};
    fuzz_judge(&context, size > 0 && input[0] == 0x93 ? plumb_dataset_npy(&context, "x.npy", "y.npy", &options)
                                                      : plumb_dataset_npz(&context, "t.npz", NULL, NULL, size & 1 ? "test" : "train", &options));
    return 0;
}
