/* Zip archives as numpy writes them: entries stored or deflated, found by the central directory at the end.
 *
 * Refused: archives of several parts, encrypted entries, sizes of more than 32 bits (limits are lower), anything before,
 * between or behind that would make two readers see two archives: the directory must end where the last record begins, and
 * the local header in front of the data must say the same name. No entry becomes a file, so names are harmless. */
#include "data/zip.h"

#include <stdio.h>
#include <zlib.h>

#define END_BYTES 22
#define CENTRAL_BYTES 46
#define LOCAL_BYTES 30

static uint32_t u16(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | u16(p + 2) << 16; }

static plumb_status refuse(const struct plumb_zip *z, size_t offset, const char *field, const char *why)
{
    return plumb_fail(z->context, PLUMB_BAD_INPUT, "%s: offset %zu, %s: %s", z->path, offset, field, why);
}

/* The directory's entry at `at`, which moves behind it. */
static plumb_status read_entry(const struct plumb_zip *z, size_t *at, size_t end, struct plumb_zip_entry *e)
{
    const unsigned char *p = z->data + *at;
    if (end - *at < CENTRAL_BYTES || u32(p) != 0x02014b50) {
        return refuse(z, *at, "zip directory", "no entry begins here");
    }
    size_t name = u16(p + 28), all = CENTRAL_BYTES + name + u16(p + 30) + u16(p + 32), local = u32(p + 42);
    e->method = (int)u16(p + 10);
    e->crc = u32(p + 16);
    e->packed_bytes = u32(p + 20);
    e->bytes = u32(p + 24);
    const char *why = all > end - *at || name == 0 || name >= sizeof(e->name) ? "the entry's name or size cannot be"
                      : u16(p + 8) & 1                         ? "is encrypted"
                      : e->method != 0 && e->method != 8       ? "is packed by a method other than deflate"
                      : e->bytes == UINT32_MAX || e->packed_bytes == UINT32_MAX || local == UINT32_MAX ? "is larger than 4 GiB"
                      : e->method == 0 && e->bytes != e->packed_bytes ? "is stored in another size than its own"
                      : e->bytes / 1032 > e->packed_bytes      ? "announces more than deflate can hold"
                      : local > z->directory || z->directory - local < LOCAL_BYTES ? "lies outside the file" : NULL;
    if (why) {
        return refuse(z, *at, "zip directory", why);
    }
    const unsigned char *l = z->data + local;
    size_t header = LOCAL_BYTES + (size_t)u16(l + 26) + u16(l + 28);
    if (u32(l) != 0x04034b50 || u16(l + 26) != name || header > z->directory - local ||
        memcmp(l + LOCAL_BYTES, p + CENTRAL_BYTES, name) != 0 || u16(l + 8) != (uint32_t)e->method) {
        return refuse(z, local, "zip entry", "its own header is another than in the directory");
    }
    if (e->packed_bytes > z->directory - local - header) {
        return refuse(z, local, "zip entry", "its data do not fit in front of the directory");
    }
    memcpy(e->name, p + CENTRAL_BYTES, name);
    e->name[name] = '\0';
    e->packed = l + header;
    *at += all;
    return PLUMB_OK;
}

plumb_status plumb_zip_open(plumb_context *context, const char *path, const void *data, size_t bytes, struct plumb_zip *z)
{
    *z = (struct plumb_zip){.context = context, .path = path, .data = data, .bytes = bytes};
    const unsigned char *p = z->data;
    if (bytes < END_BYTES || u32(p) != 0x04034b50) {
        return refuse(z, 0, "zip", "does not begin as an archive does");
    }
    size_t end = bytes - END_BYTES; /* numpy writes no comment */
    if (u32(p + end) != 0x06054b50 || u16(p + end + 20) != 0) {
        return refuse(z, end, "zip", "does not end as an archive does (truncated?)");
    }
    size_t size = u32(p + end + 12);
    z->directory = u32(p + end + 16);
    z->entries = (int)u16(p + end + 10);
    if (u16(p + end + 4) || u16(p + end + 6) || u16(p + end + 8) != u16(p + end + 10) || z->directory > end ||
        end - z->directory != size) {
        return refuse(z, end, "zip", "its directory is not where it says");
    }
    size_t at = z->directory;
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < z->entries; i++) {
        struct plumb_zip_entry e;
        status = read_entry(z, &at, end, &e);
    }
    return status ? status : at == end ? PLUMB_OK : refuse(z, at, "zip directory", "has more than its entries");
}

bool plumb_zip_find(const struct plumb_zip *z, const char *name, struct plumb_zip_entry *entry)
{
    size_t at = z->directory;
    int found = 0;
    for (int i = 0; i < z->entries; i++) {
        struct plumb_zip_entry e;
        if (read_entry(z, &at, z->bytes - END_BYTES, &e)) { /* checked when the archive was opened */
            return false;
        }
        if (strcmp(e.name, name) == 0) {
            *entry = e;
            found++;
        }
    }
    return found == 1;
}

static voidpf z_alloc(voidpf context, uInt items, uInt size) { return plumb_alloc(context, (size_t)items * size); }

static void z_free(voidpf context, voidpf memory) { plumb_free(context, memory); }

static plumb_status inflate_entry(const struct plumb_zip *z, const struct plumb_zip_entry *e, unsigned char *to)
{
    z_stream s = {.zalloc = z_alloc, .zfree = z_free, .opaque = z->context};
    size_t offset = (size_t)(e->packed - z->data);
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) {
        return plumb_fail(z->context, PLUMB_FAILED, "%s: zlib cannot start: out of memory", z->path);
    }
    s.next_in = (unsigned char *)(uintptr_t)e->packed; /* zlib does not write there */
    s.avail_in = (uInt)e->packed_bytes;
    s.next_out = to;
    s.avail_out = (uInt)e->bytes;
    int code = inflate(&s, Z_FINISH);
    bool good = code == Z_STREAM_END && s.avail_in == 0 && s.avail_out == 0;
    inflateEnd(&s);
    return good                  ? PLUMB_OK
           : code == Z_MEM_ERROR ? plumb_fail(z->context, PLUMB_FAILED, "%s: zlib: out of memory", z->path)
                                 : refuse(z, offset, "zip entry", "does not unpack to the size that it says");
}

plumb_status plumb_zip_unpack(const struct plumb_zip *z, const struct plumb_zip_entry *e, size_t limit, void **data)
{
    *data = NULL;
    if (e->bytes > limit) {
        return refuse(z, (size_t)(e->packed - z->data), "zip entry", "passes the limit of bytes");
    }
    unsigned char *to = plumb_alloc(z->context, e->bytes + 1);
    if (!to) {
        return PLUMB_FAILED;
    }
    plumb_status status = PLUMB_OK;
    if (e->method == 0) {
        memcpy(to, e->packed, e->bytes);
    } else {
        status = inflate_entry(z, e, to);
    }
    if (!status && crc32(0, to, (uInt)e->bytes) != e->crc) {
        status = refuse(z, (size_t)(e->packed - z->data), "zip entry", "its checksum does not hold");
    }
    to[e->bytes] = 0;
    if (status) {
        plumb_free(z->context, to);
        return status;
    }
    *data = to;
    return PLUMB_OK;
}
