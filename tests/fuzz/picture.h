/* One picture in memory through a decoder, and made an example of. */
#ifndef PLUMB_TESTS_FUZZ_PICTURE_H
#define PLUMB_TESTS_FUZZ_PICTURE_H

#include <stdlib.h>

#include "data.h"

static inline void fuzz_decode(const uint8_t *input, size_t size, bool (*decode)(struct plumb_decoder *decoder, char *why))
{
    int64_t width = 0, height = 0;
    if (!plumb_picture_size(input, size, &width, &height) || width < 1 || height < 1 || width > (1 << 16) / height) {
        return; /* refused before anything is decoded */
    }
    int64_t side = width > height ? width : height;
    uint8_t example[3 * 7 * 5];
    char why[PLUMB_WHY_ROOM] = "";
    struct plumb_decoder d = {.file_bytes = size, .pixel_room = (size_t)(width * height) * 4, .arena_room = PLUMB_PNG_ARENA((size_t)side)};
    d.file = malloc(size); /* of its size exactly, so that a byte too far is seen */
    d.pixels = malloc(d.pixel_room);
    d.arena = malloc(d.arena_room);
    d.row = malloc((size_t)side * 3 * sizeof(float));
    memcpy(d.file, input, size);
    if (decode(&d, why)) {
        FUZZ_REQUIRE(d.width >= 1 && d.height >= 1 && d.width * d.height <= width * height && d.orientation >= 1 && d.orientation <= 8);
        FUZZ_REQUIRE((d.channels == 1 || d.channels == 3) && d.width <= side && d.height <= side);
        plumb_fit_pixels(&d, size & 1 ? 1 : 3, 7, 5, example);
    } else {
        FUZZ_REQUIRE(why[0]);
    }
    free(d.file);
    free(d.pixels);
    free(d.arena);
    free(d.row);
}

#endif
