/* libFuzzer for the PNG reader. Flipped bytes alone die at a chunk's checksum, so three of four mutants get checksums that hold. */
#include <zlib.h>

#include "picture.h"
#include "pictures.h"

#define FILE_OF(name) {name, sizeof(name)}
static const struct fuzz_input base[] = {FILE_OF(rgb_png), FILE_OF(grey_png), FILE_OF(alpha_png), FILE_OF(palette_png), FILE_OF(deep_png)};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    size = fuzz_mutate(data, size, most, seed, base, 5);
    for (size_t at = 8; seed % 4 && at + 12 <= size;) {
        uint32_t length = plumb_big32(data + at);
        if (length > size - at - 12) {
            break;
        }
        uint32_t crc = (uint32_t)crc32(0, data + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) {
            data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        at += 12 + (size_t)length;
    }
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    fuzz_decode(input, size, plumb_decode_png);
    return 0;
}
