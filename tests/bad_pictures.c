/* The fifty-six ways in which a PNG or JPEG can be wrong (TESTING.md's list, same numbers), made out of pictures that Pillow wrote.
 * Each is refused with one line that names the file, within little memory and time, but for those of the list that are well defined:
 * 23, 31 (chunks that say nothing of pixels are passed over), 51, 53 and 54 are read. */
#include <sys/stat.h>
#include <zlib.h>

#include "check.h"
#include "core/core.h"
#include "files.h"
#include "pictures.h"
#include "plumb/data.h"

struct bytes {
    unsigned char at[400000];
    size_t count;
};

static void add(struct bytes *b, const void *data, size_t count)
{
    memcpy(b->at + b->count, data, count);
    b->count += count;
}

static void put32(unsigned char *p, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (unsigned char)(value >> (24 - 8 * i));
    }
}

/* ---- PNG ---- */

static void chunk(struct bytes *b, const char *type, const void *data, size_t count)
{
    unsigned char frame[4];
    put32(frame, (uint32_t)count);
    add(b, frame, 4);
    size_t from = b->count;
    add(b, type, 4);
    add(b, data, count);
    put32(frame, (uint32_t)crc32(0, b->at + from, (uInt)count + 4));
    add(b, frame, 4);
}

static void header(struct bytes *b, uint32_t width, uint32_t height, int depth, int colour, int filter, int interlace)
{
    unsigned char h[13] = {0};
    put32(h, width);
    put32(h + 4, height);
    h[8] = (unsigned char)depth;
    h[9] = (unsigned char)colour;
    h[11] = (unsigned char)filter;
    h[12] = (unsigned char)interlace;
    chunk(b, "IHDR", h, 13);
}

/* `rows` rows of `row` bytes of `value`, each with its filter byte, packed; `change`: 1 spoils the header of zlib, 2 its checksum. */
static size_t pack(unsigned char *to, int rows, int row, int filter, int value, int change)
{
    static unsigned char raw[4096];
    uLongf packed = 4096;
    for (int y = 0; y < rows; y++) {
        raw[y * (row + 1)] = (unsigned char)filter;
        memset(raw + y * (row + 1) + 1, value, (size_t)row);
    }
    CHECK(compress2(to, &packed, raw, (uLong)(rows * (row + 1)), 9) == Z_OK);
    to[0] ^= change == 1 ? 0x0f : 0;
    to[packed - 1] ^= change == 2 ? 1 : 0;
    return packed;
}

static void make_png(int number, struct bytes *b)
{
    unsigned char data[4096], palette[771] = {0}, zeros[16] = {0};
    int row = 6, rows = 2, depth = 8, colour = 2, filter = 0, interlace = 0, filter_byte = 0, value = 3, change = 0;
    uint32_t width = 2, height = 2;
    add(b, "\x89PNG\r\n\x1a\n", 8);
    switch (number) {
    case 2: b->at[4] = '\n'; break;
    case 6: width = 0; break;
    case 7: height = 0; break;
    case 8: width = height = 0x7fffffff; break;
    case 9: width = height = 65535, depth = 1, colour = 0; break;
    case 10: depth = 3, colour = 0, row = 1; break;
    case 11: colour = 5; break;
    case 12: depth = 16, colour = 3, row = 4; break;
    case 13: interlace = 2; break;
    case 14: filter = 1; break;
    case 15: filter_byte = 5; break;
    case 18: rows = 1; break;
    case 19: rows = 3; break;
    case 20: change = 1; break;
    case 21: change = 2; break;
    case 26: case 27: case 28: case 30: colour = 3, row = 2; break;
    case 29: width = height = 1, interlace = 1, depth = 16, row = 6, rows = 3; break; /* too much for one pixel */
    default: break;
    }
    value = number == 28 ? 9 : number == 30 || number == 27 ? 0 : value;
    if (number == 1) {
        return;
    }
    if (number == 4) {
        chunk(b, "IHDR", "\0\0\0\2\0\0\0\2\10\2\0\0", 12);
    } else if (number != 3) {
        header(b, width, height, depth, colour, filter, interlace);
    }
    if (number == 5) {
        header(b, width, height, depth, colour, filter, interlace);
    }
    if (number == 24) {
        add(b, "\xff\xff\xff\xffIDAT", 8);
    }
    if (number == 25) {
        chunk(b, "ABCD", zeros, 4);
    }
    if (number == 27 || number == 28 || number == 30) {
        chunk(b, "PLTE", palette, number == 27 ? 771 : 6);
    }
    if (number == 30) {
        chunk(b, "tRNS", zeros, 3);
    }
    if (number == 32) {
        chunk(b, "acTL", "\0\0\0\1\0\0\0\0", 8);
    }
    if (number == 23) {
        chunk(b, "tEXt", "a\0b", 3);
        b->at[b->count - 1] ^= 1;
    }
    if (number == 31) { /* 100 MB of zeros in a comment */
        static unsigned char text[200000], block[65536];
        z_stream z = {.next_out = text + 3, .avail_out = sizeof(text) - 3};
        memcpy(text, "a\0", 3);
        deflateInit(&z, 9);
        for (int i = 0; i < 1600; i++) {
            z.next_in = block;
            z.avail_in = sizeof(block);
            deflate(&z, i == 1599 ? Z_FINISH : Z_NO_FLUSH);
        }
        deflateEnd(&z);
        chunk(b, "zTXt", text, z.total_out + 3);
        chunk(b, "iCCP", text, z.total_out + 3);
    }
    size_t packed = pack(data, rows, row, filter_byte, value, change);
    if (number == 17) {
        chunk(b, "IDAT", data, 5);
        chunk(b, "tEXt", "a\0b", 3);
        chunk(b, "IDAT", data + 5, packed - 5);
    } else if (number != 16) {
        chunk(b, "IDAT", data, packed);
    }
    if (number == 22) {
        b->at[b->count - 1] ^= 1;
    }
    if (number != 33) {
        chunk(b, "IEND", data, 0);
    }
    if (number == 34) {
        add(b, "junk", 4);
    }
}

/* ---- JPEG ---- */

/* Where marker `code` begins in a JPEG, up to the scan. */
static size_t marker(const struct bytes *b, int code)
{
    for (size_t at = 2; at + 4 < b->count;) {
        if (b->at[at + 1] == code) {
            return at;
        }
        at += 2 + (size_t)(b->at[at + 2] << 8 | b->at[at + 3]);
    }
    return 0;
}

static void insert(struct bytes *b, size_t at, const void *data, size_t count)
{
    memmove(b->at + at + count, b->at + at, b->count - at);
    memcpy(b->at + at, data, count);
    b->count += count;
}

static void drop_marker(struct bytes *b, int code)
{
    for (size_t at; (at = marker(b, code)) != 0;) {
        size_t count = 2 + (size_t)(b->at[at + 2] << 8 | b->at[at + 3]);
        memmove(b->at + at, b->at + at + count, b->count - at - count);
        b->count -= count;
    }
}

/* The last scan of a progressive picture again and again. */
static void repeat_scans(struct bytes *b)
{
    size_t from = b->count - 2;
    while (!(b->at[from] == 0xff && b->at[from + 1] == 0xda)) {
        from--;
    }
    size_t count = b->count - 2 - from;
    for (int i = 0; i < 5000 && b->count + count < sizeof(b->at); i++) {
        insert(b, b->count - 2, b->at + from, count);
    }
}

static void make_jpeg(int number, struct bytes *b)
{
    if (number == 51) {
        add(b, cmyk_jpeg, sizeof(cmyk_jpeg));
    } else if (number == 48) {
        add(b, progressive_jpeg, sizeof(progressive_jpeg));
        repeat_scans(b);
    } else if (number == 53) {
        add(b, turned_jpeg, sizeof(turned_jpeg));
    } else if (number == 52) {
        add(b, grey_jpeg, sizeof(grey_jpeg)); /* of two blocks, between which a restart is missing */
    } else {
        add(b, rgb_jpeg, sizeof(rgb_jpeg));
    }
    size_t frame = marker(b, 0xc0), tables = marker(b, 0xc4), quanta = marker(b, 0xdb);
    switch (number) {
    case 35: b->count = 2; break;
    case 36: b->count -= 2; break;
    case 37: b->at[frame + 7] = b->at[frame + 8] = 0; break;
    case 38: memset(b->at + frame + 5, 0xff, 4); break;
    case 39: b->at[frame + 5] = b->at[frame + 6] = 0; insert(b, b->count - 2, "\xff\xdc\0\4\0\10", 6); break;
    case 40: b->at[frame + 11] = 0x44; b->at[frame + 14] = 0x13; break;
    case 41: b->at[frame + 13] = b->at[frame + 10]; break;
    case 42: b->at[frame + 11] = 0; break;
    case 43: drop_marker(b, 0xc4); break;
    case 44: memset(b->at + tables + 5, 0xff, 16); break;
    case 45: b->at[quanta + 4] = 7; break;
    case 46: b->at[quanta + 2] = 0; b->at[quanta + 3] = 1; break;
    case 47: b->at[quanta + 2] = b->at[quanta + 3] = 0xff; break;
    case 49: b->at[frame + 1] = 0xc9; break;
    case 50: b->at[frame + 4] = 12; break;
    case 52: insert(b, frame, "\xff\xdd\0\4\0\1", 6); break;
    default: break;
    }
}

/* ---- trying ---- */

static void try_file(int number, const struct bytes *b, const char *name, bool good)
{
    char folder[64], path[80];
    files_begin(folder);
    snprintf(path, sizeof(path), "class/%s", name);
    files_put(folder, path, b->at, b->count);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    int64_t before = plumb_memory_now(context);
    double begin = test_cpu_seconds();
    plumb_dataset *d = plumb_dataset_folder(context, folder, NULL, NULL);
    double seconds = test_cpu_seconds() - begin;
    const char *message = plumb_message(context);
    if (strstr(message, "this build has no")) {
        plumb_close(context);
        files_end(folder);
        return;
    }
    CHECK_MSG(!d != good, "%d: %s", number, d ? "was accepted" : message);
    if (!good) {
        CHECK_MSG(plumb_last_status(context) == PLUMB_BAD_INPUT && strstr(message, path) && strstr(message, "offset ") && !strchr(message, '\n'),
                  "%d: says \"%s\"", number, message);
        CHECK_MSG(plumb_memory_now(context) == before, "%d: keeps memory", number);
    }
    CHECK_MSG(plumb_memory_peak(context) - before < 4 << 20, "%d: took %lld bytes", number,
              (long long)(plumb_memory_peak(context) - before));
    CHECK_MSG(seconds < 1, "%d: took %g s", number, seconds);
    plumb_close(context);
    files_end(folder);
}

PLUMB_TEST(formats, bad_pictures)
{
    static struct bytes b;
    for (int number = 1; number <= 55; number++) {
        b.count = 0;
        if (number == 54) {
            add(&b, rgb_png, sizeof(rgb_png));
        } else if (number == 55) {
            add(&b, "<html><body>404</body></html>", 29);
        } else if (number <= 34) {
            make_png(number, &b);
        } else {
            make_jpeg(number, &b);
        }
        try_file(number, &b, number < 35 ? "x.png" : "x.jpg", number == 23 || number == 31 || number == 51 || number == 53 || number == 54);
    }
    for (int part = 1; part < 50; part++) { /* 56: cut at every fiftieth */
        for (int kind = 0; kind < 2; kind++) {
            const unsigned char *file = kind ? rgb_jpeg : rgb_png;
            b.count = 0;
            add(&b, file, (kind ? sizeof(rgb_jpeg) : sizeof(rgb_png)) * (size_t)part / 50);
            try_file(5600 + part, &b, "x", false);
        }
    }
}
