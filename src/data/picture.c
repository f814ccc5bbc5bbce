/* One picture file: reading it whole into a thread's own room, telling by its first bytes what it is, how large the picture is,
 * and having it decoded. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "data/folder.h"

enum plumb_picture_kind plumb_picture_kind(const unsigned char *file, size_t bytes)
{
    return bytes >= 8 && memcmp(file, "\x89PNG\r\n\x1a\n", 8) == 0 ? PLUMB_PNG
           : bytes >= 3 && memcmp(file, "\xff\xd8\xff", 3) == 0    ? PLUMB_JPEG
                                                                   : PLUMB_NO_PICTURE;
}

/* Start of frame: 0xc0 to 0xcf but for the tables and the reserved one among them. */
static bool is_frame(unsigned marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

bool plumb_picture_size(const unsigned char *p, size_t bytes, int64_t *width, int64_t *height)
{
    if (plumb_picture_kind(p, bytes) == PLUMB_PNG) {
        if (bytes < 24) {
            return false;
        }
        *width = plumb_big32(p + 16);
        *height = plumb_big32(p + 20);
        return true;
    }
    for (size_t at = 2; plumb_picture_kind(p, bytes) == PLUMB_JPEG && at + 9 <= bytes && p[at] == 0xff;) {
        unsigned length = (unsigned)p[at + 2] << 8 | p[at + 3];
        if (p[at + 1] == 0xff) { /* a fill byte */
            at++;
        } else if (is_frame(p[at + 1])) {
            *height = p[at + 5] << 8 | p[at + 6];
            *width = p[at + 7] << 8 | p[at + 8];
            return true;
        } else {
            at += 2 + (length < 2 ? bytes : length);
        }
    }
    return false;
}

plumb_status plumb_decoder_make(const struct plumb_folder *f, struct plumb_decoder **decoder)
{
    struct plumb_decoder *d = plumb_zalloc(f->context, sizeof(*d));
    *decoder = d;
    if (!d) {
        return PLUMB_FAILED;
    }
    d->file_room = (size_t)f->max_file;
    d->pixel_room = (size_t)f->max_pixels * 4; /* alpha, or black */
    d->arena_room = PLUMB_PNG_ARENA((size_t)f->max_side);
    d->row_room = (size_t)f->max_side * 3;
    d->file = plumb_alloc(f->context, d->file_room);
    d->pixels = plumb_alloc(f->context, d->pixel_room);
    d->arena = plumb_alloc(f->context, d->arena_room);
    d->row = plumb_alloc(f->context, d->row_room * sizeof(float));
    return d->file && d->pixels && d->arena && d->row ? PLUMB_OK : PLUMB_FAILED;
}

void plumb_decoder_free(const struct plumb_folder *f, struct plumb_decoder *d)
{
    if (d) {
        plumb_free(f->context, d->file);
        plumb_free(f->context, d->pixels);
        plumb_free(f->context, d->arena);
        plumb_free(f->context, d->row);
        plumb_free(f->context, d);
    }
}

/* The file into the decoder's room, which it must fit. */
static bool read_file(const struct plumb_folder *f, const char *path, struct plumb_decoder *d, char *why)
{
    const plumb_io *io = &f->context->io;
    int fd = io->open(io->user, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    if (fd < 0) {
        snprintf(why, PLUMB_WHY_ROOM, "offset 0, file: cannot open: %s", strerror(errno));
        return false;
    }
    int64_t n = 0;
    d->file_bytes = 0;
    while (d->file_bytes < d->file_room) {
        n = io->read(io->user, fd, d->file + d->file_bytes, d->file_room - d->file_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 || (size_t)n > d->file_room - d->file_bytes) {
            break;
        }
        d->file_bytes += (size_t)n;
    }
    int error = errno;
    io->close(io->user, fd);
    if (n < 0) {
        snprintf(why, PLUMB_WHY_ROOM, "offset %zu, file: cannot read: %s", d->file_bytes, strerror(error));
    }
    return n >= 0;
}

bool plumb_folder_decode(const struct plumb_folder *f, int64_t index, struct plumb_decoder *d, uint8_t *to, char *why)
{
    char reason[PLUMB_WHY_ROOM] = "offset 0, file: is neither PNG nor JPEG";
    const char *path = f->text + f->name[index];
    bool good = read_file(f, path, d, reason);
    if (good) {
        enum plumb_picture_kind kind = plumb_picture_kind(d->file, d->file_bytes);
        good = kind == PLUMB_PNG    ? plumb_decode_png(d, reason)
               : kind == PLUMB_JPEG ? plumb_decode_jpeg(d, reason)
                                    : false;
    }
    bool turned = good && d->orientation > 4;
    int64_t width = turned ? d->height : d->width, height = turned ? d->width : d->height;
    if (good && !f->resize && (width != f->width || height != f->height)) {
        snprintf(reason, sizeof(reason), "offset 0, size: is %lld x %lld, the first picture is %lld x %lld (give a height and a width)",
                 (long long)width, (long long)height, (long long)f->width, (long long)f->height);
        good = false;
    }
    if (good) {
        plumb_fit_pixels(d, f->channels, f->height, f->width, to);
    } else {
        snprintf(why, 400, "%.200s%s: %.190s", strlen(path) > 200 ? "..." : "", strlen(path) > 200 ? path + strlen(path) - 197 : path,
                 reason);
    }
    return good;
}
