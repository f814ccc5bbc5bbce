/* PNG with nothing but zlib: one IHDR, one IDAT, one IEND; rows unfiltered, which for small sheets costs little. */
#include "io/png.h"

#include <zlib.h>

static void big_endian(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

/* Length, type, data, checksum over type and data. Returns where the next chunk begins. */
static uint8_t *put_chunk(uint8_t *at, const char *type, const uint8_t *data, uint32_t bytes)
{
    big_endian(at, bytes);
    memcpy(at + 4, type, 4);
    if (bytes > 0) {
        memmove(at + 8, data, bytes);
    }
    big_endian(at + 8 + bytes, (uint32_t)crc32(0, at + 4, bytes + 4));
    return at + 12 + bytes;
}

static plumb_status pack(plumb_context *context, const char *what, uint32_t width, uint32_t height, int channels,
                         const uint8_t *pixels, uint8_t **packed_file, size_t *bytes)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', 0x0d, 0x0a, 0x1a, 0x0a};
    size_t row = (size_t)width * (size_t)channels, raw_bytes = (row + 1) * height;
    uLong bound = compressBound((uLong)raw_bytes);
    uint8_t *raw = plumb_alloc(context, raw_bytes);
    uint8_t *file = plumb_alloc(context, bound + 128);
    plumb_status status = raw && file ? PLUMB_OK : PLUMB_FAILED;
    if (!status) {
        for (size_t y = 0; y < height; y++) {
            raw[y * (row + 1)] = 0; /* no filter */
            memcpy(raw + y * (row + 1) + 1, pixels + y * row, row);
        }
        uint8_t header[13] = {0};
        big_endian(header, width);
        big_endian(header + 4, height);
        header[8] = 8;
        header[9] = channels == 3 ? 2 : 0;
        memcpy(file, signature, 8);
        uint8_t *at = put_chunk(file + 8, "IHDR", header, 13);
        uLongf packed = bound;
        if (compress2(at + 8, &packed, raw, (uLong)raw_bytes, 9) != Z_OK) {
            status = plumb_fail(context, PLUMB_FAILED, "%s: zlib could not pack the picture", what);
        } else {
            at = put_chunk(at, "IDAT", at + 8, (uint32_t)packed);
            at = put_chunk(at, "IEND", NULL, 0);
            *packed_file = file;
            *bytes = (size_t)(at - file);
        }
    }
    plumb_free(context, raw);
    if (status) {
        plumb_free(context, file);
    }
    return status;
}

plumb_status plumb_png_pack(plumb_context *context, const char *what, int width, int height, int channels,
                            const uint8_t *pixels, uint8_t **file, size_t *bytes)
{
    *file = NULL;
    if (width < 1 || height < 1 || width > 32767 || height > 32767 || (channels != 1 && channels != 3)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: a picture of %d x %d x %d cannot be written", what,
                          width, height, channels);
    }
    return pack(context, what, (uint32_t)width, (uint32_t)height, channels, pixels, file, bytes);
}

plumb_status plumb_png_write(plumb_context *context, const char *path, int width, int height, int channels,
                             const uint8_t *pixels)
{
    uint8_t *file;
    size_t bytes;
    plumb_status status = plumb_png_pack(context, path, width, height, channels, pixels, &file, &bytes);
    if (!status) {
        status = plumb_write_file(context, path, file, bytes);
        plumb_free(context, file);
    }
    return status;
}
