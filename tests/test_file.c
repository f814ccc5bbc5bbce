/* Reading and writing files: what the operating system may do to us, through an I/O table that cuts calls short,
 * interrupts them, or makes the N-th one fail. A failed write must leave the old file whole and nothing else. */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"

/* ---- a folder of its own for each test ---- */

static bool make_folder(char folder[64])
{
    snprintf(folder, 64, "%s/plumb-test-XXXXXX", P_tmpdir);
    return mkdtemp(folder) != NULL;
}

static int files_in(const char *folder)
{
    int count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        count += entry->d_name[0] != '.';
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}

static void remove_folder(const char *folder)
{
    char path[512];
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (directory) {
        closedir(directory);
    }
    CHECK(rmdir(folder) == 0);
}

static const char *in(const char *folder, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

/* ---- an I/O table with moods ---- */

struct mood {
    int calls, fail_at, error; /* fail_at 0: never */
    bool short_counts;         /* at most 3 bytes a call */
    bool interrupt;            /* every other call that can be is interrupted */
    const char *failed;        /* which call failed */
};

static bool fails(struct mood *mood, const char *call)
{
    mood->calls++;
    if (mood->calls == mood->fail_at) {
        mood->failed = call;
        errno = mood->error;
        return true;
    }
    return false;
}

static bool interrupted(struct mood *mood)
{
    errno = EINTR;
    return mood->interrupt && mood->calls % 2 == 1;
}

static int mood_open(void *user, const char *path, int flags, int mode)
{
    return fails(user, "open") || interrupted(user) ? -1 : open(path, flags, (mode_t)mode);
}

static int64_t mood_read(void *user, int fd, void *to, size_t bytes)
{
    struct mood *mood = user;
    size_t most = mood->short_counts && bytes > 3 ? 3 : bytes;
    return fails(mood, "read") || interrupted(mood) ? -1 : read(fd, to, most);
}

static int64_t mood_write(void *user, int fd, const void *from, size_t bytes)
{
    struct mood *mood = user;
    size_t most = mood->short_counts && bytes > 3 ? 3 : bytes;
    return fails(mood, "write") || interrupted(mood) ? -1 : write(fd, from, most);
}

static int mood_sync(void *user, int fd)
{
    return fails(user, "sync") || interrupted(user) ? -1 : fsync(fd);
}

static int mood_close(void *user, int fd)
{
    int result = close(fd); /* as on Linux: closed, whatever it says */
    return fails(user, "close") ? -1 : result;
}

static int mood_rename(void *user, const char *from, const char *to)
{
    return fails(user, "rename") ? -1 : rename(from, to);
}

static int mood_unlink(void *user, const char *path)
{
    return fails(user, "unlink") ? -1 : unlink(path);
}

static plumb_context *open_in_mood(struct mood *mood)
{
    plumb_io io = {.user = mood, .open = mood_open, .read = mood_read, .write = mood_write, .sync = mood_sync,
                   .close = mood_close, .rename = mood_rename, .unlink = mood_unlink};
    return plumb_open(&(plumb_options){.io = &io, .threads = 1});
}

static bool holds(plumb_context *context, const char *path, const char *text)
{
    void *data;
    size_t bytes;
    bool same = plumb_read_file(context, path, 1000, &data, &bytes) == PLUMB_OK && bytes == strlen(text) &&
                strcmp(data, text) == 0;
    plumb_free(context, data);
    return same;
}

/* ---- tests ---- */

PLUMB_TEST(file, writes_and_reads)
{
    char folder[64], path[128];
    REQUIRE(make_folder(folder));
    in(folder, "a b\n\xc3\xa9", path);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    CHECK(plumb_write_file(context, path, "first", 5) == PLUMB_OK);
    CHECK(holds(context, path, "first"));
    CHECK(chmod(path, 0640) == 0);
    CHECK(plumb_write_file(context, path, "second one", 10) == PLUMB_OK);
    CHECK(holds(context, path, "second one"));
    struct stat about;
    CHECK(stat(path, &about) == 0 && (about.st_mode & 0777) == 0640);
    CHECK(plumb_write_file(context, path, NULL, 0) == PLUMB_OK && holds(context, path, ""));
    CHECK(files_in(folder) == 1);
    /* A size that is no guide: files of /proc say 0. */
    void *data;
    size_t bytes;
    CHECK(plumb_read_file(context, "/proc/self/status", 1 << 20, &data, &bytes) == PLUMB_OK && bytes > 0);
    CHECK_TEXT(data, "VmRSS");
    plumb_free(context, data);
    plumb_close(context);
    remove_folder(folder);
}

PLUMB_TEST(file, large_files_and_limits)
{
    char folder[64], path[128];
    REQUIRE(make_folder(folder));
    in(folder, "large", path);
    struct mood mood = {0};
    plumb_context *plain = plumb_open(&(plumb_options){.threads = 1}), *context = open_in_mood(&mood);
    REQUIRE(plain && context);
    size_t size = 300001;
    unsigned char *pattern = malloc(size);
    for (size_t i = 0; i < size; i++) {
        pattern[i] = (unsigned char)(i * 7 + i / 251);
    }
    CHECK(plumb_write_file(plain, path, pattern, size) == PLUMB_OK);
    for (int i = 0; i < 2; i++) { /* with and without a stat beforehand */
        plumb_context *c = i ? context : plain;
        void *data;
        size_t bytes;
        CHECK(plumb_read_file(c, path, size, &data, &bytes) == PLUMB_OK);
        CHECK(data && bytes == size && memcmp(data, pattern, size) == 0 && ((char *)data)[size] == 0);
        plumb_free(c, data);
        CHECK(plumb_read_file(c, path, size - 1, &data, &bytes) == PLUMB_BAD_INPUT && !data && bytes == 0);
        CHECK_TEXT(plumb_message(c), "300000");
        plumb_clear_error(c);
    }
    free(pattern);
    plumb_close(context);
    plumb_close(plain);
    remove_folder(folder);
}

PLUMB_TEST(file, refuses_what_is_no_file)
{
    char folder[64], fifo[128], missing[128], below[128], loop[128];
    REQUIRE(make_folder(folder));
    CHECK(mkfifo(in(folder, "fifo", fifo), 0600) == 0);
    CHECK(symlink("loop", in(folder, "loop", loop)) == 0);
    in(folder, "missing", missing);
    in(folder, "missing/below", below);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    struct {
        const char *path, *read_says, *write_says;
        plumb_status read, write;
    } rows[] = {
        {folder, "is a directory", "is a directory", PLUMB_BAD_INPUT, PLUMB_BAD_INPUT},
        {fifo, "is a FIFO", "is a FIFO", PLUMB_BAD_INPUT, PLUMB_BAD_INPUT},
        {"/dev/zero", "is a device", "is a device", PLUMB_BAD_INPUT, PLUMB_BAD_INPUT},
        {below, "No such file", "cannot open its folder", PLUMB_IO_ERROR, PLUMB_IO_ERROR},
        {"", "No such file", "cannot rename", PLUMB_IO_ERROR, PLUMB_IO_ERROR},
        {missing, "No such file", NULL, PLUMB_IO_ERROR, PLUMB_OK},
        {loop, "cannot open", NULL, PLUMB_IO_ERROR, PLUMB_OK},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        void *data;
        size_t bytes;
        plumb_clear_error(context);
        CHECK_MSG(plumb_read_file(context, rows[i].path, 100, &data, &bytes) == rows[i].read && !data, "read %zu", i);
        CHECK_TEXT(plumb_message(context), rows[i].read_says);
        CHECK(strncmp(plumb_message(context), rows[i].path, strlen(rows[i].path)) == 0);
        plumb_clear_error(context);
        plumb_status status = plumb_write_file(context, rows[i].path, "x", 1);
        CHECK_MSG(status == rows[i].write, "write %zu: %s", i, plumb_message(context));
        if (rows[i].write_says) {
            CHECK_TEXT(plumb_message(context), rows[i].write_says);
        }
    }
    CHECK(files_in(folder) == 3);
    plumb_close(context);
    remove_folder(folder);
}

PLUMB_TEST(file, short_and_interrupted_calls)
{
    char folder[64], path[128];
    REQUIRE(make_folder(folder));
    struct mood mood = {.short_counts = true, .interrupt = true};
    plumb_context *context = open_in_mood(&mood);
    REQUIRE(context);
    CHECK(plumb_write_file(context, in(folder, "f", path), "a text of some length", 21) == PLUMB_OK);
    CHECK(holds(context, path, "a text of some length"));
    CHECK(mood.calls > 30);
    plumb_close(context);
    remove_folder(folder);
}

PLUMB_TEST(file, every_call_of_a_write_may_fail)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EACCES};
    char folder[64], path[128];
    REQUIRE(make_folder(folder));
    in(folder, "f", path);
    struct mood mood = {0};
    plumb_context *plain = plumb_open(&(plumb_options){.threads = 1}), *context = open_in_mood(&mood);
    REQUIRE(plain && context);
    int points = 0;
    for (int e = 0; e < 4; e++) {
        for (int n = 1;; n++, points++) {
            REQUIRE(plumb_write_file(plain, path, "old", 3) == PLUMB_OK);
            mood = (struct mood){.fail_at = n, .error = errors[e], .short_counts = true};
            plumb_clear_error(context);
            int64_t before = plumb_memory_now(context);
            plumb_status status = plumb_write_file(context, path, "new text", 8);
            if (!mood.failed) {
                CHECK(status == PLUMB_OK && holds(plain, path, "new text"));
                break;
            }
            bool renamed = holds(plain, path, "new text");
            CHECK_MSG(renamed || holds(plain, path, "old"), "call %d (%s): neither old nor new", n, mood.failed);
            CHECK_MSG(files_in(folder) == 1, "call %d (%s): leaves a file behind", n, mood.failed);
            CHECK(plumb_memory_now(context) == before);
            /* Only the folder's own sync and close come after the rename. */
            bool last_close = renamed && strcmp(mood.failed, "close") == 0;
            CHECK_MSG(!renamed || last_close || strcmp(mood.failed, "sync") == 0, "call %d (%s)", n, mood.failed);
            CHECK_MSG(status == (last_close ? PLUMB_OK : PLUMB_IO_ERROR), "call %d (%s): %d", n, mood.failed,
                      (int)status);
            if (!last_close) {
                CHECK_TEXT(plumb_message(context), path);
                CHECK_TEXT(plumb_message(context), strerror(errors[e]));
            }
        }
    }
    CHECK(points >= 4 * 9);
    plumb_close(context);
    plumb_close(plain);
    remove_folder(folder);
}

PLUMB_TEST(file, every_call_of_a_read_may_fail)
{
    char folder[64], path[128];
    REQUIRE(make_folder(folder));
    in(folder, "f", path);
    struct mood mood = {0};
    plumb_context *context = open_in_mood(&mood);
    REQUIRE(context);
    REQUIRE(plumb_write_file(context, path, "0123456789", 10) == PLUMB_OK);
    for (int n = 1;; n++) {
        void *data;
        size_t bytes;
        mood = (struct mood){.fail_at = n, .error = EIO, .short_counts = true};
        plumb_clear_error(context);
        plumb_status status = plumb_read_file(context, path, 100, &data, &bytes);
        bool harmless = !mood.failed || strcmp(mood.failed, "close") == 0;
        CHECK_MSG(status == (harmless ? PLUMB_OK : PLUMB_IO_ERROR) && (data != NULL) == harmless, "call %d", n);
        plumb_free(context, data);
        if (!mood.failed) {
            CHECK(n > 6);
            break;
        }
    }
    plumb_close(context);
    remove_folder(folder);
}

PLUMB_TEST(file, a_killed_run_left_its_temporary_file)
{
    char folder[64], path[128], left[200];
    REQUIRE(make_folder(folder));
    in(folder, "f", path);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    snprintf(left, sizeof(left), "%s.tmp.%ld", path, (long)getpid());
    REQUIRE(plumb_write_file(context, left, "half", 4) == PLUMB_OK);
    CHECK(plumb_write_file(context, path, "whole", 5) == PLUMB_OK);
    CHECK(holds(context, path, "whole") && holds(context, left, "half") && files_in(folder) == 2);
    plumb_close(context);
    remove_folder(folder);
}

static int64_t count_down(void *user, int fd, void *to, size_t bytes)
{
    int *left = user;
    (void)fd;
    if (*left == 0) {
        return 0;
    }
    --*left;
    memset(to, 'x', bytes);
    return (int64_t)bytes;
}

static int open_nothing(void *user, const char *path, int flags, int mode)
{
    (void)user;
    (void)path;
    (void)flags;
    (void)mode;
    return 1 << 20;
}

static int close_nothing(void *user, int fd)
{
    (void)user;
    (void)fd;
    return 0;
}

PLUMB_TEST(file, tables_may_number_files_as_they_like)
{
    int left = 3;
    plumb_io io = {.user = &left, .open = open_nothing, .read = count_down, .close = close_nothing};
    plumb_context *context = plumb_open(&(plumb_options){.io = &io, .threads = 1});
    REQUIRE(context);
    void *data;
    size_t bytes;
    CHECK(plumb_read_file(context, "nowhere", SIZE_MAX / 4, &data, &bytes) == PLUMB_OK);
    CHECK(data && bytes >= 3 << 16 && ((char *)data)[bytes - 1] == 'x');
    plumb_free(context, data);
    plumb_close(context);
}
