/* Pictures out of files: what a thread needs for it, and the two decoders, each of which may be missing from a build.
 *
 * A decoder touches nothing of the context, so that workers may run it. It is given the file in memory and writes 8-bit
 * pixels, rows from the top, one or three channels beside each other: 16 bits are rounded to 8, palettes looked up, what
 * is transparent lies over black, CMYK becomes RGB. */
#ifndef PLUMB_DATA_DECODE_H
#define PLUMB_DATA_DECODE_H

#include "data/dataset.h"

struct plumb_decoder {
    unsigned char *file; /* [file_room]: the file */
    size_t file_room, file_bytes;
    uint8_t *pixels; /* [pixel_room] */
    size_t pixel_room;
    unsigned char *arena; /* [arena_room]: libpng's memory */
    size_t arena_room, arena_used;
    float *row; /* [row_room]: a row that is being resized */
    size_t row_room;
    /* What came out: */
    int64_t width, height;
    int channels;
    int orientation; /* EXIF's, 1 to 8: how to turn what was stored */
};

enum plumb_picture_kind { PLUMB_NO_PICTURE, PLUMB_PNG, PLUMB_JPEG };
/* By the first bytes, never by the name. */
enum plumb_picture_kind plumb_picture_kind(const unsigned char *file, size_t bytes);
/* Width and height as the file stores them, from its first bytes; false: they are not among these. */
bool plumb_picture_size(const unsigned char *file, size_t bytes, int64_t *width, int64_t *height);

/* False with the reason ("offset N, field: reason") in why[300]. */
bool plumb_decode_png(struct plumb_decoder *decoder, char *why);
bool plumb_decode_jpeg(struct plumb_decoder *decoder, char *why);

static inline uint32_t plumb_big32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#define PLUMB_WHY_ROOM 300
#define PLUMB_PNG_ARENA(width) ((size_t)(524288 + 64 * ((width) + 64))) /* libpng's structs, zlib's window, rows of 8 bytes a pixel */

#endif
