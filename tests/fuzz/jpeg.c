/* libFuzzer for the JPEG reader. */
#include "picture.h"
#include "pictures.h"

#define FILE_OF(name) {name, sizeof(name)}
static const struct fuzz_input base[] = {FILE_OF(rgb_jpeg), FILE_OF(grey_jpeg), FILE_OF(progressive_jpeg), FILE_OF(cmyk_jpeg), FILE_OF(turned_jpeg)};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, base, 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    fuzz_decode(input, size, plumb_decode_jpeg);
    return 0;
}
