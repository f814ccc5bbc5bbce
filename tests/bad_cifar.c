/* The forty ways in which CIFAR's binary files can be wrong (TESTING.md's list, same numbers). Each is refused with one line that
 * names the file, within little memory and time; the three of them that are only worth a look (class names absent, pictures all
 * zero, labels all one class) and the one that is a matter of two sets (36) are accepted here, and `plumb data doctor` tells. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "core/core.h"
#include "files.h"
#include "plumb/data.h"

#define RECORD 3073
#define RECORD100 3074

enum what {
    SIZE,       /* of data_batch_1.bin */
    BYTE,       /* `value` at `at` of data_batch_1.bin */
    TEST_BYTE,  /* the same in the test's */
    SIZE100,    /* of train.bin, CIFAR-100 */
    BYTE100,
    TWICE,      /* data_batch_2.bin is data_batch_1.bin */
    MISSING,    /* data_batch_3.bin */
    TEST_AMONG, /* data_batch_4.bin is the test's */
    EXPECT,     /* `value` records are expected */
    PICKLE,
    ARCHIVE,    /* `text` instead of the folder's files */
    NAMES,      /* `text` is batches.meta.txt; NULL: it is absent */
    LONG_NAME,
    ZEROS,      /* all pictures */
    ONE_CLASS,
    IN_TEST,    /* a picture of the test among train */
    HUGE_FILE,  /* 2^31 bytes and some */
    EIO_INSIDE,
    A_FOLDER
};

#define TEN "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"

static const struct bad {
    int number;
    enum what what;
    int64_t at;
    int value;
    const char *text;
    const char *says; /* NULL: is accepted */
    plumb_status status;
} bads[] = {
    {1, SIZE, 0, 0, NULL, "file: is empty", 0},
    {2, SIZE, 3072, 0, NULL, "record 0: 3072 bytes are no whole number of records of 3073", 0},
    {3, SIZE, 3074, 0, NULL, "no whole number of records of 3073 (CIFAR-100's?)", 0},
    {4, SIZE, RECORD + 600, 0, NULL, "offset 3073, record 1", 0},
    {5, SIZE, RECORD + 1, 0, NULL, "offset 3073, record 1", 0},
    {6, BYTE, RECORD, 10, NULL, "offset 3073, label: 10 is outside 0 to 9", 0},
    {7, BYTE, 0, 255, NULL, "offset 0, label: 255 is outside 0 to 9", 0},
    {7, TEST_BYTE, 0, 255, NULL, "test_batch.bin: offset 0, label: 255", 0},
    {8, SIZE, 2 * RECORD100, 0, NULL, "(CIFAR-100's?)", 0},
    {9, SIZE100, 3 * RECORD, 0, NULL, "(CIFAR-10's?)", 0},
    {10, BYTE100, RECORD100, 20, NULL, "offset 3074, coarse label: 20 is outside 0 to 19", 0},
    {11, BYTE100, 1, 100, NULL, "offset 1, fine label: 100 is outside 0 to 99", 0},
    {12, BYTE100, 0, 7, NULL, "coarse label: is 0, fine label 0 came with 7 before", 0},
    {13, EXPECT, 0, 16, NULL, "there are 15, expected 16", 0},
    {14, EXPECT, 0, 14, NULL, "there are 15, expected 14", 0},
    {15, TWICE, 0, 0, NULL, "data_batch_2.bin: offset 0, file: has the same content as data_batch_1.bin", 0},
    {16, MISSING, 0, 0, NULL, "data_batch_3.bin: cannot open: No such file", PLUMB_IO_ERROR},
    {17, TEST_AMONG, 0, 0, NULL, "test_batch.bin: offset 0, file: has the same content as data_batch_4.bin", 0},
    {18, PICKLE, 0, 0, NULL, "data_batch_1: offset 0, file: is Python's version, a pickle, which is never unpickled", 0},
    {19, ARCHIVE, 0, 0, "cifar-10-binary.tar.gz", "is an archive: unpack it", 0},
    {20, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0}, /* archives are never unpacked here, so what */
    {21, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0}, /* lies in them, 20 to 27, does not matter */
    {22, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0},
    {23, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0},
    {24, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0},
    {25, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0},
    {26, ARCHIVE, 0, 0, "cifar-10-binary.tar", "is an archive: unpack it", 0},
    {27, ARCHIVE, 0, 0, "cifar-100-binary.tar.gz", "is an archive: unpack it", 0},
    {28, NAMES, 0, 0, NULL, NULL, 0},
    {29, NAMES, 0, 0, "a\nb\nc\nd\ne\nf\ng\nh\ni\n", "batches.meta.txt: offset 18, names: there are 9, expected 10", 0},
    {30, NAMES, 0, 0, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", "batches.meta.txt: offset 20, name 10: is one name too many", 0},
    {31, LONG_NAME, 0, 10000000, NULL, "at most 65536 are allowed", 0},
    {31, LONG_NAME, 0, 64, NULL, "offset 0, name 0: is longer than 63 bytes", 0},
    {32, NAMES, 0, 0, "a\nb\xff\nc\nd\ne\nf\ng\nh\ni\nj\n", "offset 2, name 1: is no UTF-8 text", 0},
    {33, NAMES, 0, 0, "a\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nj\r\n", "(written with CR LF?)", 0},
    {34, NAMES, 0, 0, "a\nb\n\nc\nd\ne\nf\ng\nh\ni\nj\n", "offset 5, name 3: follows an empty line", 0},
    {35, ZEROS, 0, 0, NULL, NULL, 0},
    {36, IN_TEST, 0, 0, NULL, NULL, 0},
    {37, ONE_CLASS, 0, 0, NULL, NULL, 0},
    {38, HUGE_FILE, 0, 0, NULL, "no whole number of records", 0},
    {38, HUGE_FILE, 1, 0, NULL, "pass the limit of 1000000000 bytes", 0},
    {39, EIO_INSIDE, 0, 0, NULL, "data_batch_1.bin: offset 4000: cannot read: Input/output error", PLUMB_IO_ERROR},
    {40, A_FOLDER, 0, 0, NULL, "data_batch_1.bin: offset 0, file: is a folder", 0},
};

/* Three records a file, all different; CIFAR-100's have the fine labels 0, 5, 0. */
static void put_batch(const char *folder, const char *name, int seed, int64_t size, int64_t at, int value, bool plain)
{
    static unsigned char file[3 * RECORD100 + 100];
    bool hundred = strcmp(name, "train.bin") == 0 || strcmp(name, "test.bin") == 0;
    int record = hundred ? RECORD100 : RECORD;
    for (int i = 0; i < (int)sizeof(file); i++) {
        file[i] = (unsigned char)(plain ? 0 : seed + i / 7);
    }
    for (int i = 0; i < 3; i++) {
        file[i * record] = (unsigned char)(hundred ? i % 2 : plain ? 4 : (seed + i) % 10);
        file[i * record + 1] = (unsigned char)(hundred ? i % 2 * 5 : plain ? 0 : seed);
    }
    if (at >= 0) {
        file[at] = (unsigned char)value;
    }
    const char *path = files_put(folder, name, file, size > 0 && size < (int64_t)sizeof(file) ? (size_t)size : 3 * (size_t)record);
    if (size == 0 || size >= (int64_t)sizeof(file)) {
        CHECK(truncate(path, (off_t)size) == 0);
    }
}

static void make_ten(const struct bad *b, const char *folder)
{
    char name[32], *text;
    for (int i = 1; i <= 5; i++) {
        int64_t size = -1;
        snprintf(name, sizeof(name), "data_batch_%d.bin", i);
        if (i == 1 && b->what == SIZE) {
            size = b->at;
        } else if (i == 1 && b->what == HUGE_FILE) {
            size = ((int64_t)1 << 31) / RECORD * RECORD + RECORD + (b->at ? 0 : 5);
        }
        if (i == 1 && b->what == A_FOLDER) {
            CHECK(mkdir(files_name(folder, name), 0700) == 0);
        } else if (!(i == 3 && b->what == MISSING)) {
            int seed = i == 2 && b->what == TWICE ? 10 : i == 4 && b->what == TEST_AMONG ? 77 : 10 * i;
            put_batch(folder, name, seed + (b->what == ONE_CLASS ? i : 0), size, i == 1 && b->what == BYTE ? b->at : b->what == ZEROS ? i : -1,
                      b->what == ZEROS ? i : b->value, b->what == ZEROS || b->what == ONE_CLASS);
        }
    }
    if (b->what == ONE_CLASS) { /* plain files are equal: one value tells them apart */
        for (int i = 1; i <= 5; i++) {
            snprintf(name, sizeof(name), "data_batch_%d.bin", i);
            put_batch(folder, name, 0, -1, 9, i, true);
        }
    }
    put_batch(folder, "test_batch.bin", 77, -1, b->what == TEST_BYTE ? b->at : -1, b->value, false);
    if (b->what == LONG_NAME) {
        text = malloc((size_t)b->value + 1);
        memset(text, 'n', (size_t)b->value);
        text[b->value] = '\n';
        files_put(folder, "batches.meta.txt", text, (size_t)b->value + 1);
        free(text);
    } else if (b->what != NAMES || b->text) {
        files_put(folder, "batches.meta.txt", b->what == NAMES ? b->text : TEN, 0);
    }
}

struct failing {
    int fd, reads;
};

static int failing_open(void *user, const char *path, int flags, int mode)
{
    struct failing *f = user;
    int fd = open(path, flags, mode);
    f->fd = strstr(path, "data_batch_1") ? fd : f->fd;
    return fd;
}

static int64_t failing_read(void *user, int fd, void *to, size_t bytes)
{
    struct failing *f = user;
    if (fd != f->fd) {
        return read(fd, to, bytes);
    }
    errno = EIO;
    return f->reads++ % 2 ? -1 : read(fd, to, 4000); /* each opening begins with a read that succeeds */
}

static int failing_close(void *user, int fd)
{
    struct failing *f = user;
    f->fd = fd == f->fd ? -1 : f->fd;
    return close(fd);
}

static void try_bad(const struct bad *b)
{
    char folder[64];
    files_begin(folder);
    if (b->what == ARCHIVE || b->what == PICKLE) {
        files_put(folder, b->text ? b->text : "data_batch_1", "\x80\x02}q", 4);
    } else if (b->what == SIZE100 || b->what == BYTE100) {
        put_batch(folder, "train.bin", 3, b->what == SIZE100 ? b->at : -1, b->what == BYTE100 ? b->at : -1, b->value, false);
    } else {
        make_ten(b, folder);
    }
    struct failing failing = {.fd = -1};
    const plumb_io io = {.user = &failing, .open = failing_open, .read = failing_read, .close = failing_close};
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1, .io = b->what == EIO_INSIDE ? &io : NULL});
    plumb_dataset_options options = {.size = sizeof(options), .max_bytes = 1000000000, .expect = b->what == EXPECT ? b->value : 0};
    int64_t before = plumb_memory_now(context);
    double begin = test_cpu_seconds();
    plumb_dataset *d = plumb_dataset_find(context, folder, b->what == TEST_BYTE ? "test" : "train", &options);
    double seconds = test_cpu_seconds() - begin;
    const char *message = plumb_message(context);
    CHECK_MSG(!d == !!b->says, "%d: %s", b->number, d ? "was accepted" : message);
    if (b->says) {
        CHECK_MSG(plumb_last_status(context) == (b->status ? b->status : PLUMB_BAD_INPUT), "%d: status %d", b->number,
                  (int)plumb_last_status(context));
        CHECK_MSG(strstr(message, b->says) && strstr(message, folder) && !strchr(message, '\n'), "%d: says \"%s\", expected \"%s\"",
                  b->number, message, b->says);
        CHECK_MSG(plumb_memory_now(context) == before, "%d: keeps memory", b->number);
    }
    CHECK_MSG(plumb_memory_peak(context) - before < 1 << 20, "%d: took %lld bytes", b->number,
              (long long)(plumb_memory_peak(context) - before));
    CHECK_MSG(seconds < 1, "%d: took %g s", b->number, seconds);
    plumb_close(context);
    files_end(folder);
}

PLUMB_TEST(formats, bad_cifar)
{
    bool tried[41] = {false};
    for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
        try_bad(&bads[i]);
        tried[bads[i].number] = true;
    }
    for (int n = 1; n <= 40; n++) {
        CHECK_MSG(tried[n], "bad input %d was not tried", n);
    }
}
