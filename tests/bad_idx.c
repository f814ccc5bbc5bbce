/* The forty ways in which an IDX file can be wrong (TESTING.md's list, same numbers): each is made in a temporary
 * folder and must be refused with one line that names the file, within little memory and time. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"
#include "core/core.h"
#include "plumb/data.h"

enum how {
    PLAIN,
    SPARSE,        /* the data are a hole in the file */
    GZ,            /* well packed */
    GZ_WRONG_CRC,
    GZ_CUT,
    GZ_TWICE,      /* two members */
    GZ_HALVES,     /* one file in two members, as some packers write it: refused as well */
    GZ_JUNK,
    GZ_BOMB,       /* 100 MB of zeros follow the valid content */
    PLAIN_NAMED_GZ,
    GZ_NAMED_PLAIN,
    A_FIFO,
    A_FOLDER,
    DEV_ZERO,
    SHRINKING,     /* becomes shorter while it is read */
    FORBIDDEN,
    DANGLING,
    DISK_ERROR     /* in the middle */
};

struct bad {
    int number;
    const char *what;
    bool labels;        /* the bad one is the file of labels */
    const char *header; /* in hex */
    int64_t data;       /* bytes after it, counting up from 0 (labels: modulo 3) */
    enum how how;
    const char *says;   /* in the message */
    plumb_status status; /* 0: PLUMB_BAD_INPUT */
};

/* Valid: three pictures of 4 x 5, three labels. */
#define PICTURES "00000803 00000003 00000004 00000005"
#define LABELS "00000801 00000003"

static const struct bad bads[] = {
    {1, "empty", false, "", 0, PLAIN, "file: is empty", 0},
    {2, "one byte", false, "00", 0, PLAIN, "magic: the file ends after 1 of 4", 0},
    {3, "three bytes of magic", false, "000008", 0, PLAIN, "magic: the file ends after 3 of 4", 0},
    {4, "no dimensions", false, "00000800", 0, PLAIN, "number of dimensions: is 0, expected 3", 0},
    {5, "255 dimensions", false, "000008ff", 60, PLAIN, "number of dimensions: is 255", 0},
    {6, "four dimensions for pictures", false, "00000804 00000003 00000001 00000004 00000005", 60, PLAIN, "is 4, expected 3", 0},
    {7, "type 0x0a", false, "00000a03 00000003 00000004 00000005", 60, PLAIN, "offset 2, type: is 0x0a", 0},
    {8, "type 0x07", false, "00000703 00000003 00000004 00000005", 60, PLAIN, "offset 2, type: is 0x07", 0},
    {9, "first byte not 0", false, "01000803 00000003 00000004 00000005", 60, PLAIN, "offset 0, magic", 0},
    {10, "second byte not 0", false, "00010803 00000003 00000004 00000005", 60, PLAIN, "offset 1, magic", 0},
    {11, "little-endian magic", false, "03080000 03000000 04000000 05000000", 60, PLAIN, "little-endian", 0},
    {12, "cut in the second dimension", false, "00000803 00000003 0000", 0, PLAIN, "dimension 1 (rows): the file ends inside", 0},
    {13, "no pictures", false, "00000803 00000000 00000004 00000005", 0, PLAIN, "dimension 0 (pictures): is 0", 0},
    {14, "no rows", false, "00000803 00000003 00000000 00000005", 0, PLAIN, "dimension 1 (rows): is 0", 0},
    {15, "no columns", false, "00000803 00000003 00000004 00000000", 0, PLAIN, "dimension 2 (columns): is 0", 0},
    {16, "a dimension of 2^32 - 1", false, "00000803 ffffffff 0000001c 0000001c", 60, PLAIN, "limit", 0},
    {16, "the same, within the limit", false, "00000803 3fffffff 00000001 00000001", 60, PLAIN, "too few", 0},
    {16, "the same, packed", false, "00000803 3fffffff 00000001 00000001", 60, GZ, "more than a gzip file", 0},
    {17, "product over 2^32", false, "00000803 00010000 00000100 00000101", 60, PLAIN, "limit", 0},
    {17, "product of 2^32", false, "00000803 00010000 00000100 00000100", 0, PLAIN, "too few", 0},
    {18, "product over 2^64", false, "00000803 ffffffff ffffffff ffffffff", 60, PLAIN, "limit", 0},
    {18, "four dimensions of 2^32 - 1", false, "00000804 ffffffff ffffffff ffffffff ffffffff", 60, PLAIN, "is 4", 0},
    {19, "a byte short", false, PICTURES, 59, PLAIN, "offset 75, data", 0},
    {19, "a byte short, packed", false, PICTURES, 59, GZ, "the file ends here, 1 bytes too early", 0},
    {20, "a byte long", false, PICTURES, 61, PLAIN, "1 too many", 0},
    {20, "a byte long, packed", false, PICTURES, 61, GZ, "offset 76, data: more follows", 0},
    {21, "100 MB of zeros behind", false, PICTURES, 100000000, SPARSE, "too many", 0},
    {22, "labels given as pictures", false, LABELS, 3, PLAIN, "a file of labels?", 0},
    {23, "pictures given as labels", true, PICTURES, 60, PLAIN, "a file of pictures?", 0},
    {24, "a label fewer than pictures", true, "00000801 00000002", 2, PLAIN, "is 2, but", 0},
    {25, "labels of 255", true, LABELS, -255, PLAIN, "label of picture 0: 255 is outside 0 to 2", 0},
    {26, "a label that equals the number of classes", true, LABELS, -3, PLAIN, "offset 8, label of picture 0: 3", 0},
    {27, "floats with a NaN", false, "00000d03 00000001 00000001 00000002 3f800000 7fc00000", 0, PLAIN, "offset 20, data: is not a number", 0},
    {28, "doubles with an infinity", false, "00000e03 00000001 00000001 00000001 7ff00000 00000000", 0, PLAIN, "offset 16, data: is infinite", 0},
    {29, "gzip with a wrong checksum", false, PICTURES, 60, GZ_WRONG_CRC, "gzip: incorrect data check", 0},
    {30, "gzip cut", false, PICTURES, 60, GZ_CUT, "gzip: ends in the middle", 0},
    {31, "gzip bomb", false, PICTURES, 60, GZ_BOMB, "more follows", 0},
    {32, "two gzip members", false, PICTURES, 60, GZ_TWICE, "second gzip member", 0},
    {32, "two halves in gzip members", false, PICTURES, 60, GZ_HALVES, "too early", 0},
    {33, "junk behind gzip", false, PICTURES, 60, GZ_JUNK, "bytes follow the end of the gzip data", 0},
    {34, "plain content named .gz", false, PICTURES, 60, PLAIN_NAMED_GZ, "the name ends in .gz", 0},
    {35, "gzip without the name", false, PICTURES, 60, GZ_NAMED_PLAIN, "does not end in .gz", 0},
    {36, "FIFO", false, "", 0, A_FIFO, "a FIFO", 0},
    {37, "folder", false, "", 0, A_FOLDER, "a folder", 0},
    {38, "/dev/zero", false, "", 0, DEV_ZERO, "a device", 0},
    {39, "shrinks while it is read", false, PICTURES, 60, SHRINKING, "the file ends here", 0},
    {40, "not readable", false, PICTURES, 60, FORBIDDEN, "Permission denied", PLUMB_IO_ERROR},
    {40, "disk error", false, PICTURES, 60, DISK_ERROR, "offset 40: cannot read: Input/output error", PLUMB_IO_ERROR},
    {40, "dangling link", false, PICTURES, 60, DANGLING, "No such file", PLUMB_IO_ERROR},
};

struct bytes {
    unsigned char *data;
    size_t count;
};

static struct bytes content_of(const struct bad *b)
{
    size_t header = 0, extra = b->data > 0 && b->how != SPARSE ? (size_t)b->data : b->data < 0 ? 3 : 0;
    struct bytes out = {calloc(1, strlen(b->header) + extra + 1), 0};
    unsigned digit;
    for (const char *p = b->header; *p; p++) {
        if (*p != ' ' && sscanf((const char[3]){p[0], p[1], 0}, "%2x", &digit) == 1) {
            out.data[header++] = (unsigned char)digit;
            p++;
        }
    }
    for (size_t i = 0; i < extra; i++) {
        out.data[header + i] = (unsigned char)(b->data < 0 ? -b->data : b->labels ? (int)i % 3 : (int)i);
    }
    out.count = header + extra;
    return out;
}

/* Packs `in` and, after it, `zeros` zero bytes. */
static struct bytes pack(struct bytes in, size_t zeros)
{
    static const unsigned char nothing[65536];
    struct bytes out = {malloc(in.count + zeros / 500 + 4096), 0};
    z_stream z = {0};
    z.next_in = in.data;
    z.avail_in = (uInt)in.count;
    z.next_out = out.data;
    z.avail_out = (uInt)(in.count + zeros / 500 + 4096);
    deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    deflate(&z, Z_NO_FLUSH);
    for (; zeros > 0; zeros -= zeros < sizeof(nothing) ? zeros : sizeof(nothing)) {
        z.next_in = (unsigned char *)(uintptr_t)nothing;
        z.avail_in = (uInt)(zeros < sizeof(nothing) ? zeros : sizeof(nothing));
        deflate(&z, Z_NO_FLUSH);
    }
    deflate(&z, Z_FINISH);
    out.count = z.total_out;
    deflateEnd(&z);
    return out;
}

static void put(const char *path, const void *data, size_t count, bool append)
{
    FILE *file = fopen(path, append ? "ab" : "wb");
    if (file) {
        fwrite(data, 1, count, file);
        fclose(file);
    }
}

static void put_packed(const struct bad *b, const char *path, struct bytes content)
{
    struct bytes half = {content.data, content.count / 2}, rest = {content.data + half.count, content.count - half.count};
    struct bytes first = pack(b->how == GZ_HALVES ? half : content, b->how == GZ_BOMB ? 100000000 : 0);
    if (b->how == GZ_WRONG_CRC) {
        first.data[first.count - 8] ^= 1;
    }
    put(path, first.data, first.count - (b->how == GZ_CUT ? 12 : 0), false);
    if (b->how == GZ_TWICE) {
        put(path, first.data, first.count, true);
    }
    if (b->how == GZ_HALVES) {
        struct bytes second = pack(rest, 0);
        put(path, second.data, second.count, true);
        free(second.data);
    }
    if (b->how == GZ_JUNK) {
        put(path, "junk", 4, true);
    }
    free(first.data);
}

/* Makes the bad file; `path` comes with a base name and gets its ending. */
static void make_file(const struct bad *b, char *path, size_t room)
{
    struct bytes content = content_of(b);
    bool named_gz = (b->how >= GZ && b->how <= PLAIN_NAMED_GZ);
    snprintf(path + strlen(path), room - strlen(path), "%s", named_gz ? ".gz" : "");
    if (b->how == A_FIFO) {
        CHECK(mkfifo(path, 0600) == 0);
    } else if (b->how == A_FOLDER) {
        CHECK(mkdir(path, 0700) == 0);
    } else if (b->how == DEV_ZERO) {
        snprintf(path, room, "/dev/zero");
    } else if (b->how == DANGLING) {
        CHECK(symlink("nowhere", path) == 0);
    } else if (b->how == GZ_NAMED_PLAIN || (named_gz && b->how != PLAIN_NAMED_GZ)) {
        put_packed(b, path, content);
    } else {
        put(path, content.data, content.count, false);
        if (b->how == SPARSE) {
            CHECK(truncate(path, (off_t)content.count + (off_t)b->data) == 0);
        }
    }
    free(content.data);
}

/* POSIX files, but one refuses to open (root may read everything) and one ends after its header. */
struct twisted {
    enum how how;
    const char *path;
    int fd;
    int reads;
};

static int twisted_open(void *user, const char *path, int flags, int mode)
{
    struct twisted *t = user;
    if (t->how == FORBIDDEN && strcmp(path, t->path) == 0) {
        errno = EACCES;
        return -1;
    }
    int fd = open(path, flags, mode);
    if (strcmp(path, t->path) == 0) {
        t->fd = fd;
        t->reads = 0;
    }
    return fd;
}

static int64_t twisted_read(void *user, int fd, void *to, size_t bytes)
{
    struct twisted *t = user;
    if (t->how == DISK_ERROR && fd == t->fd && t->reads) {
        errno = EIO;
        return -1;
    }
    if ((t->how == SHRINKING || t->how == DISK_ERROR) && fd == t->fd) {
        bytes = t->reads++ ? 0 : 40;
    }
    return read(fd, to, bytes);
}

static int twisted_close(void *user, int fd)
{
    struct twisted *t = user;
    t->fd = fd == t->fd ? -1 : t->fd;
    return close(fd);
}

static void try_bad(const struct bad *b, const char *folder)
{
    char images[512], labels[512];
    const struct bad good_images = {.header = PICTURES, .data = 60}, good_labels = {.labels = true, .header = LABELS, .data = 3};
    snprintf(images, sizeof(images), "%s/images", folder);
    snprintf(labels, sizeof(labels), "%s/labels", folder);
    make_file(b->labels ? &good_images : b, images, sizeof(images));
    make_file(b->labels ? b : &good_labels, labels, sizeof(labels));
    const char *path = b->labels ? labels : images;
    struct twisted twisted = {b->how, path, -1, 0};
    const plumb_io io = {.user = &twisted, .open = twisted_open, .read = twisted_read, .close = twisted_close};
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1, .io = &io});
    REQUIRE(context);
    int64_t before = plumb_memory_now(context);
    double begin = test_cpu_seconds();
    plumb_dataset *dataset = plumb_dataset_idx(context, images, labels, &(plumb_dataset_options){.classes = 3});
    double seconds = test_cpu_seconds() - begin;
    const char *message = plumb_message(context);
    CHECK_MSG(!dataset, "%d %s: was accepted", b->number, b->what);
    CHECK_MSG(plumb_last_status(context) == (b->status ? b->status : PLUMB_BAD_INPUT), "%d %s: status %d", b->number, b->what,
              (int)plumb_last_status(context));
    CHECK_MSG(strstr(message, b->says) && strstr(message, path), "%d %s: says \"%s\", expected \"%s\"", b->number, b->what,
              message, b->says);
    CHECK_MSG(!strchr(message, '\n'), "%d %s: more than a line", b->number, b->what);
    CHECK_MSG(plumb_memory_now(context) == before, "%d %s: keeps %lld bytes", b->number, b->what,
              (long long)(plumb_memory_now(context) - before));
    CHECK_MSG(plumb_memory_peak(context) - before < 1 << 20, "%d %s: took %lld bytes", b->number, b->what,
              (long long)(plumb_memory_peak(context) - before));
    CHECK_MSG(seconds < 1, "%d %s: took %g s", b->number, b->what, seconds);
    CHECK_MSG(twisted.fd < 0, "%d %s: the file was left open", b->number, b->what);
    plumb_close(context);
    remove(labels);
    if (b->how != DEV_ZERO) {
        remove(images);
    }
}

PLUMB_TEST(data, bad_idx)
{
    char folder[] = "/tmp/plumb-idx-XXXXXX";
    bool tried[41] = {false};
    REQUIRE(mkdtemp(folder));
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        try_bad(&bads[i], folder);
        tried[bads[i].number] = true;
    }
    for (int n = 1; n <= 40; n++) {
        CHECK_MSG(tried[n], "bad input %d was not tried", n);
    }
    CHECK(rmdir(folder) == 0);
}
