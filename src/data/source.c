/* Reading hostile files: one stream for plain and gzip content, so that the formats above check sizes in one way.
 *
 * Decided here: only regular files (a FIFO would block, a device never ends); gzip by zlib, of exactly one member and
 * nothing after it, because a second member or trailing bytes mean the file is not what its maker checked; name and
 * content must agree about gzip, because a mismatch is nearly always a download gone wrong. Files are read, never
 * mapped, so a file that shrinks meanwhile is a short read and not a signal. */
#include "data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char *kind_of_file(mode_t mode)
{
    if (S_ISDIR(mode)) {
        return "a folder";
    }
    if (S_ISFIFO(mode)) {
        return "a FIFO";
    }
    if (S_ISCHR(mode) || S_ISBLK(mode)) {
        return "a device";
    }
    return "not a regular file";
}

static voidpf z_alloc(voidpf context, uInt items, uInt size)
{
    return plumb_alloc(context, (size_t)items * size);
}

static void z_free(voidpf context, voidpf memory) { plumb_free(context, memory); }

/* Moves what waits to the front and reads more behind it. */
static plumb_status refill(struct plumb_source *s)
{
    if (s->begin > 0) {
        memmove(s->buffer, s->buffer + s->begin, s->end - s->begin);
        s->end -= s->begin;
        s->begin = 0;
    }
    while (!s->at_end && s->end < sizeof(s->buffer)) {
        plumb_io *io = &s->context->io;
        int64_t n = io->read(io->user, s->fd, s->buffer + s->end, sizeof(s->buffer) - s->end);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || n > (int64_t)(sizeof(s->buffer) - s->end)) {
            return plumb_fail(s->context, PLUMB_IO_ERROR, "%s: offset %lld: cannot read: %s", s->path,
                              (long long)s->taken, strerror(errno));
        }
        s->at_end = n == 0;
        s->end += (size_t)n;
        s->taken += n;
    }
    return PLUMB_OK;
}

static bool ends_in_gz(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".gz") == 0;
}

static plumb_status look_at_file(struct plumb_source *s)
{
    struct stat st;
    if (fstat(s->fd, &st) != 0) {
        return plumb_fail(s->context, PLUMB_IO_ERROR, "%s: cannot inspect: %s", s->path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset 0, file: is %s, a regular file is needed",
                          s->path, kind_of_file(st.st_mode));
    }
    s->file_bytes = (int64_t)st.st_size;
    if (refill(s)) {
        return PLUMB_IO_ERROR;
    }
    if (s->end == 0) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset 0, file: is empty", s->path);
    }
    s->gzip = s->end >= 2 && s->buffer[0] == 0x1f && s->buffer[1] == 0x8b;
    if (s->gzip != ends_in_gz(s->path)) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset 0, file: %s", s->path,
                          s->gzip
                              ? "the content is gzip, but the name does not end in .gz (rename or unpack it)"
                              : "the name ends in .gz, but the content is not gzip (rename or pack it)");
    }
    if (s->gzip) {
        s->z.zalloc = z_alloc;
        s->z.zfree = z_free;
        s->z.opaque = s->context;
        if (inflateInit2(&s->z, 16 + MAX_WBITS) != Z_OK) {
            s->gzip = false; /* nothing to end */
            return plumb_fail(s->context, PLUMB_FAILED, "%s: zlib cannot start: out of memory", s->path);
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_source_open(plumb_context *context, const char *path, struct plumb_source **source)
{
    *source = NULL;
    struct plumb_source *s = plumb_zalloc(context, sizeof(*s));
    if (!s) {
        return PLUMB_FAILED;
    }
    s->context = context;
    s->path = path;
    /* O_NONBLOCK: opening a FIFO nobody writes to must not wait for ever. */
    s->fd = context->io.open(context->io.user, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    if (s->fd < 0) {
        plumb_status status =
            plumb_fail(context, PLUMB_IO_ERROR, "%s: cannot open: %s", path, strerror(errno));
        plumb_free(context, s);
        return status;
    }
    plumb_status status = look_at_file(s);
    if (status) {
        plumb_source_close(s);
        return status;
    }
    *source = s;
    return PLUMB_OK;
}

void plumb_source_close(struct plumb_source *s)
{
    if (!s) {
        return;
    }
    if (s->gzip) {
        inflateEnd(&s->z);
    }
    s->context->io.close(s->context->io.user, s->fd);
    plumb_free(s->context, s);
}

static plumb_status read_plain(struct plumb_source *s, unsigned char *to, size_t bytes, size_t *got)
{
    while (*got < bytes) {
        if (s->begin == s->end) {
            if (refill(s)) {
                return PLUMB_IO_ERROR;
            }
            if (s->begin == s->end) {
                break;
            }
        }
        size_t n = s->end - s->begin < bytes - *got ? s->end - s->begin : bytes - *got;
        memcpy(to + *got, s->buffer + s->begin, n);
        s->begin += n;
        *got += n;
    }
    return PLUMB_OK;
}

static plumb_status gzip_refuse(struct plumb_source *s, int code)
{
    const char *why = code == Z_MEM_ERROR   ? "out of memory"
                      : s->z.msg            ? s->z.msg
                      : code == Z_NEED_DICT ? "a preset dictionary is needed"
                                            : "ends in the middle (truncated?)";
    return plumb_fail(s->context, code == Z_MEM_ERROR ? PLUMB_FAILED : PLUMB_BAD_INPUT,
                      "%s: offset %lld unpacked, gzip: %s", s->path, (long long)s->delivered, why);
}

static plumb_status read_gzip(struct plumb_source *s, unsigned char *to, size_t bytes, size_t *got)
{
    while (*got < bytes && !s->unpacked_all) {
        if (s->begin == s->end && refill(s)) {
            return PLUMB_IO_ERROR;
        }
        size_t room = bytes - *got < (1u << 30) ? bytes - *got : (1u << 30);
        s->z.next_in = s->buffer + s->begin;
        s->z.avail_in = (uInt)(s->end - s->begin);
        s->z.next_out = to + *got;
        s->z.avail_out = (uInt)room;
        int code = inflate(&s->z, Z_NO_FLUSH);
        size_t made = room - s->z.avail_out;
        s->begin = s->end - s->z.avail_in;
        *got += made;
        s->delivered += (int64_t)made; /* so that the message has the offset */
        if (code == Z_STREAM_END) {
            s->unpacked_all = true;
        } else if (code != Z_OK) {
            return gzip_refuse(s, code);
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_source_read(struct plumb_source *s, void *to, size_t bytes, size_t *got)
{
    *got = 0;
    if (s->gzip) {
        return read_gzip(s, to, bytes, got);
    }
    plumb_status status = read_plain(s, to, bytes, got);
    s->delivered += (int64_t)*got;
    return status;
}

plumb_status plumb_source_end(struct plumb_source *s, int64_t expected)
{
    unsigned char extra;
    size_t got;
    plumb_status status =
        plumb_source_read(s, &extra, 1, &got); /* for gzip this also checks length and checksum */
    if (status) {
        return status;
    }
    if (got > 0) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT,
                          "%s: offset %lld, data: more follows than the header announces", s->path,
                          (long long)expected);
    }
    if (s->begin == s->end && refill(s)) {
        return PLUMB_IO_ERROR;
    }
    if (s->begin < s->end) {
        bool member =
            s->end - s->begin >= 2 && s->buffer[s->begin] == 0x1f && s->buffer[s->begin + 1] == 0x8b;
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset %lld packed, gzip: %s", s->path,
                          (long long)(s->taken - (int64_t)(s->end - s->begin)),
                          member ? "a second gzip member follows, one is expected (unpack and pack it again)"
                                 : "bytes follow the end of the gzip data");
    }
    return PLUMB_OK;
}

bool plumb_source_may_hold(const struct plumb_source *s, int64_t bytes)
{
    /* Deflate cannot expand more than 1032 to 1 (a 258-byte match in two bits). */
    return s->gzip ? bytes / 1032 <= s->file_bytes : bytes == s->file_bytes;
}
