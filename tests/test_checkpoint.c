/* Checkpoints against a world that fails: power cut after any call, any call and any allocation failing once. Whatever
 * happens, the last checkpoint that was kept is found again, or a newer one, whole; and what is found is right. The training
 * is pretended (kept.h), the disk is in memory (disk.h).
 *
 * The plain run samples; with PLUMB_LONG set (suite crash) all of it is tried. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "kept.h"

static bool is_long(void) { return getenv("PLUMB_LONG") != NULL; }

/* ---- a memory that fails once ---- */

struct ration {
    int64_t held, calls, fail_at;
};

static void *ration_alloc(void *user, size_t bytes)
{
    struct ration *r = user;
    if (++r->calls == r->fail_at) {
        return NULL;
    }
    r->held += (int64_t)bytes;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

static void ration_free(void *user, void *memory, size_t bytes)
{
    ((struct ration *)user)->held -= (int64_t)bytes;
    free(memory);
}

struct world {
    struct disk *disk;
    struct ration ration;
    struct kept kept;
    char log[4096]; /* lines of the context's log */
};

static void log_line(void *user, plumb_log_level level, const char *line)
{
    struct world *w = user;
    size_t used = strlen(w->log);
    (void)level;
    snprintf(w->log + used, sizeof(w->log) - used, "%s\n", line);
}

static bool open_world(struct world *w, const char *rule)
{
    memset(w, 0, sizeof(*w));
    w->disk = disk_new();
    const plumb_allocator allocator = {.user = &w->ration, .alloc = ration_alloc, .free = ration_free};
    const plumb_io io = disk_io(&w->disk);
    return kept_open(&w->kept, &(plumb_options){.size = sizeof(plumb_options), .threads = 1, .allocator = &allocator, .io = &io,
                                                .log = log_line, .log_user = w}, rule);
}

static void close_world(struct world *w)
{
    kept_close(&w->kept);
    CHECK(w->ration.held == 0 && disk_open_files(w->disk) == 0);
    disk_free(w->disk);
}

static void new_disk(struct world *w, struct disk *disk)
{
    disk_free(w->disk);
    w->disk = disk;
    w->log[0] = '\0';
    plumb_clear_error(w->kept.context);
}

/* Resumes and finds batch `least` or up to `most`, right. */
static int64_t check_found(struct world *w, int64_t least, int64_t most, const char *what, int64_t number)
{
    int64_t at = -1;
    plumb_status status = kept_resume(&w->kept, "run", &at);
    CHECK_MSG(!status, "%s %lld: %s", what, (long long)number, plumb_message(w->kept.context));
    CHECK_MSG(at >= least && at <= most, "%s %lld: found %lld, expected %lld to %lld", what, (long long)number, (long long)at,
              (long long)least, (long long)most);
    CHECK_MSG(status || kept_is(&w->kept, at), "%s %lld: what was found after %lld batches is wrong", what, (long long)number,
              (long long)at);
    return at;
}

/* ---- what is kept ---- */

PLUMB_TEST(checkpoint, comes_back)
{
    struct world w;
    int64_t done, at;
    REQUIRE(open_world(&w, "adam"));
    CHECK(kept_resume(&w.kept, "run", &at) == PLUMB_OK && at == 0);
    CHECK_TEXT(w.log, "run: nothing to resume, starting afresh");
    CHECK(disk_files(w.disk) == 0);
    for (int64_t n = 1; n <= 12; n += 11) {
        new_disk(&w, disk_new());
        CHECK_MSG(kept_run(&w.kept, "run", n, 3, &done) == PLUMB_OK, "%s", plumb_message(w.kept.context));
        CHECK(done == n);
        disk_sync(w.disk);
        CHECK(check_found(&w, n, n, "after", n) == n);
        CHECK_TEXT(w.log, n == 1 ? "resuming run after 1 batches (epoch 1)" : "resuming run after 12 batches (epoch 3)");
        CHECK(disk_files(w.disk) == (n < 3 ? n : 3));
    }
    close_world(&w);
}

PLUMB_TEST(checkpoint, newest_whole_one_is_taken)
{
    struct world w;
    int64_t done;
    size_t bytes;
    REQUIRE(open_world(&w, "momentum"));
    REQUIRE(kept_run(&w.kept, "run", 7, 4, &done) == PLUMB_OK);
    unsigned char *newest = (unsigned char *)(uintptr_t)disk_data(w.disk, "run/checkpoint-000000000007.safetensors", &bytes);
    REQUIRE(newest);
    newest[bytes - 4] ^= 4;
    check_found(&w, 6, 6, "damaged", 7);
    CHECK_TEXT(w.log, "skipped run/checkpoint-000000000007.safetensors: ");
    CHECK_TEXT(w.log, "checksum is wrong");
    newest[bytes - 4] ^= 4;
    /* A file named as another batch, one cut off, one that only looks like ours, one that a killed run left behind. */
    disk_put(w.disk, "run/checkpoint-000000000008.safetensors", newest, bytes);
    disk_put(w.disk, "run/checkpoint-000000000009.safetensors", newest, bytes - 1);
    disk_put(w.disk, "run/checkpoint-10.safetensors", newest, bytes);
    disk_put(w.disk, "run/checkpoint-000000000011.safetensors.tmp.123", newest, bytes / 3);
    w.log[0] = '\0';
    check_found(&w, 7, 7, "odd names", 7);
    CHECK_TEXT(w.log, "000008.safetensors: position: it holds step 7");
    CHECK_TEXT(w.log, "skipped run/checkpoint-000000000009.safetensors: ");
    CHECK(!disk_data(w.disk, "run/checkpoint-000000000011.safetensors.tmp.123", &bytes));
    CHECK(disk_data(w.disk, "run/checkpoint-10.safetensors", &bytes));
    /* Not resumed, they would be in the way. */
    CHECK(kept_run(&w.kept, "run", 1, 3, &done) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(w.kept.context), "run: has a checkpoint of 9 batches");
    close_world(&w);
}

/* What cannot be healthy is kept, never gone on from, and pushes no healthy one out. */
PLUMB_TEST(checkpoint, not_finite_is_not_healthy)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    struct world w;
    struct plumb_keeper keeper;
    REQUIRE(open_world(&w, "adam"));
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1, .keep = 2};
    int tried = 0, entries = plumb_state_count(w.kept.training.state);
    for (int e = 0; e < entries; e++) {
        const char *name = plumb_state_name(w.kept.training.state, e);
        plumb_shape shape = plumb_state_shape(w.kept.training.state, name);
        plumb_dtype dtype = plumb_state_dtype(w.kept.training.state, name);
        size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(dtype);
        for (int i = 0; plumb_dtype_is_float(dtype) && i < 3; i++, tried++) {
            _Alignas(8) unsigned char values[4096];
            new_disk(&w, disk_new());
            kept_go(&w.kept, 0);
            plumb_checkpoints *checkpoints = kept_begin(&w.kept, "run", &options, &keeper);
            REQUIRE(checkpoints);
            for (int64_t n = 1; n <= 6; n++) {
                CHECK(kept_go(&w.kept, n) == PLUMB_OK);
                if (n > 2) {
                    CHECK(plumb_state_get(w.kept.training.state, name, values, bytes) == PLUMB_OK);
                    plumb_put(values, dtype, plumb_shape_count(&shape) - 1, bad[i]);
                    CHECK(plumb_state_set(w.kept.training.state, name, values, bytes) == PLUMB_OK);
                }
                CHECK(keeper.after(keeper.user, &w.kept.training, false) == PLUMB_OK);
            }
            plumb_checkpoints_free(checkpoints);
            CHECK_TEXT(w.log, "a value is not finite: kept as unhealthy");
            CHECK(disk_files(w.disk) == 6);
            w.log[0] = '\0';
            plumb_checkpoint_options again = options;
            again.resume = true;
            kept_go(&w.kept, 0);
            checkpoints = kept_begin(&w.kept, "run", &again, &keeper);
            CHECK_MSG(checkpoints && kept_is(&w.kept, 2), "%s %d: %s", name, i, plumb_message(w.kept.context));
            CHECK_TEXT(w.log, "healthy: no, a value was not finite");
            plumb_checkpoints_free(checkpoints);
        }
    }
    CHECK(tried >= 15);
    close_world(&w);
}

/* What the disk lost without a word is seen before anything older is removed. */
PLUMB_TEST(checkpoint, what_was_written_is_read_again)
{
    struct world w;
    int64_t done;
    int lies = 0;
    REQUIRE(open_world(&w, "sgd"));
    for (int call = 1; call < 90; call++) {
        new_disk(&w, disk_new());
        disk_fail(w.disk, call, DISK_LIES, 0);
        plumb_status status = kept_run(&w.kept, "run", 4, 1, &done);
        if (status) {
            CHECK(status == PLUMB_IO_ERROR);
            CHECK_TEXT(plumb_message(w.kept.context), "what was written reads back otherwise");
            lies++;
        }
        disk_fail(w.disk, 0, DISK_FAILS, 0);
        plumb_clear_error(w.kept.context);
        check_found(&w, done, done, "lie", call);
    }
    CHECK(lies == 4);
    close_world(&w);
}

/* ---- the power goes ---- */

/* `states` times: saves, a cut after a call drawn from the seed, every second time a cut while it is resumed as well. */
static void cut_power(struct world *w, int64_t states, int keep)
{
    enum { SAVES = 7 };
    int64_t done;
    new_disk(w, disk_new());
    REQUIRE(kept_run(&w->kept, "run", SAVES, keep, &done) == PLUMB_OK);
    const int calls = disk_calls(w->disk);
    for (int64_t i = 0; i < states && check_failures() < 10; i++) {
        uint32_t word[4];
        plumb_philox(11, (uint32_t)keep, (uint64_t)i, 0, word);
        new_disk(w, disk_new());
        disk_cut(w->disk, 1 + (int)(word[0] % (uint32_t)calls));
        kept_run(&w->kept, "run", SAVES, keep, &done);
        new_disk(w, disk_survivor(w->disk, word[1]));
        if (i % 2) {
            int64_t at;
            disk_cut(w->disk, 1 + (int)(word[2] % 12));
            kept_resume(&w->kept, "run", &at);
            new_disk(w, disk_survivor(w->disk, word[3]));
        }
        check_found(w, done, done + 1, "state", i);
    }
}

PLUMB_TEST(checkpoint, survives_power_loss)
{
    struct world w;
    REQUIRE(open_world(&w, "adam"));
    for (int keep = 1; keep <= 2; keep++) {
        cut_power(&w, is_long() ? 5000 : 1000, keep);
    }
    printf("  %d states of a disk that lost power\n", 2 * (is_long() ? 5000 : 1000));
    close_world(&w);
}

/* ---- calls and allocations fail ---- */

static const struct {
    enum disk_fault fault;
    int error;
} faults[] = {{DISK_FAILS, EIO}, {DISK_FAILS, ENOSPC}, {DISK_SHORT, 0}, {DISK_INTERRUPTS, 0}, {DISK_FAILS, EDQUOT}, {DISK_FAILS, EROFS}};
#define FAULTS ((int)(sizeof(faults) / sizeof(faults[0])))

/* A run that keeps `saves`, then is resumed: call or allocation `at` fails once. False: it was not reached. */
static bool fail_one(struct world *w, int saves, int keep, int at, int fault)
{
    int64_t done, resumed = -1;
    new_disk(w, disk_new());
    disk_fail(w->disk, fault >= 0 ? at : 0, fault >= 0 ? faults[fault].fault : DISK_FAILS, fault >= 0 ? faults[fault].error : 0);
    w->ration.fail_at = fault < 0 ? w->ration.calls + at : 0;
    plumb_status status = kept_run(&w->kept, "run", saves, keep, &done), again = PLUMB_OK;
    if (!status) {
        again = kept_resume(&w->kept, "run", &resumed);
    }
    bool reached = fault < 0 ? w->ration.calls >= w->ration.fail_at : disk_failed(w->disk);
    w->ration.fail_at = 0;
    disk_fail(w->disk, 0, DISK_FAILS, 0);
    if (status || again) {
        plumb_status expected = fault < 0 ? PLUMB_FAILED : PLUMB_IO_ERROR;
        CHECK_MSG((status ? status : again) == expected, "fault %d at %d: %s: %s", fault, at,
                  plumb_status_name(status ? status : again), plumb_message(w->kept.context));
        CHECK(strlen(plumb_message(w->kept.context)) > 0);
        CHECK_MSG(fault < 0 || (faults[fault].fault != DISK_SHORT), "a short count at call %d: %s", at, plumb_message(w->kept.context));
    } else if (resumed < saves) { /* a checkpoint could not be read, and an older one was taken, aloud */
        CHECK_TEXT(w->log, "skipped ");
    }
    CHECK(disk_open_files(w->disk) == 0);
    plumb_clear_error(w->kept.context);
    check_found(w, done, done + 1, "failure", at);
    return reached;
}

PLUMB_TEST(checkpoint, every_call_and_allocation_may_fail)
{
    static const struct {
        int saves, keep;
    } runs[] = {{3, 1}, {7, 2}, {11, 3}, {6, 9}};
    struct world w;
    int points = 0;
    const int stride = is_long() ? 1 : 7;
    for (int rule = 0; rule < 2; rule++) {
        REQUIRE(open_world(&w, rule ? "adam" : "sgd"));
        for (size_t r = 0; r < sizeof(runs) / sizeof(runs[0]); r++) {
            for (int fault = -1; fault < FAULTS; fault++) {
                for (int at = 1; fail_one(&w, runs[r].saves, runs[r].keep, at, fault) && check_failures() < 10; at += stride) {
                    points++;
                }
            }
        }
        close_world(&w);
    }
    CHECK(points >= (is_long() ? 5000 : 500));
    printf("  %d failures\n", points);
}

/* ---- the real file system ---- */

PLUMB_TEST(checkpoint, folder_is_locked)
{
    char folder[] = "/tmp/plumb-checkpoint-XXXXXX", lock[64], process[64];
    struct kept k;
    struct plumb_keeper keeper;
    REQUIRE(mkdtemp(folder));
    REQUIRE(kept_open(&k, &(plumb_options){.size = sizeof(plumb_options), .threads = 1}, "sgd"));
    snprintf(lock, sizeof(lock), "%s/lock", folder);
    snprintf(process, sizeof(process), "another run is using this folder: process %ld since 2", (long)getpid());
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1};
    plumb_checkpoints *first = kept_begin(&k, folder, &options, &keeper);
    REQUIRE(first);
    CHECK(access(lock, F_OK) == 0);
    CHECK(!plumb_checkpoints_open(k.context, folder, &options));
    CHECK(plumb_last_status(k.context) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(k.context), process);
    plumb_clear_error(k.context);
    plumb_checkpoints_free(first);
    CHECK(access(lock, F_OK) != 0);
    CHECK(!plumb_checkpoint_keeper(first, &keeper)); /* stale */
    plumb_clear_error(k.context);
    /* A lock that a killed process left behind is nobody's. */
    int fd = open(lock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && close(fd) == 0);
    plumb_checkpoints *second = plumb_checkpoints_open(k.context, folder, &options);
    CHECK(second);
    kept_close(&k); /* frees, and so unlocks */
    CHECK(access(lock, F_OK) != 0);
    CHECK(rmdir(folder) == 0);
}

/* Modes are kept, links are replaced and not followed. */
PLUMB_TEST(checkpoint, files_are_replaced)
{
    char folder[] = "/tmp/plumb-checkpoint-XXXXXX", path[4][96];
    struct stat about;
    struct kept k;
    struct plumb_keeper keeper;
    REQUIRE(mkdtemp(folder));
    REQUIRE(kept_open(&k, &(plumb_options){.size = sizeof(plumb_options), .threads = 1}, "sgd"));
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/checkpoint-%012d.safetensors", folder, i + 1);
    }
    snprintf(path[3], sizeof(path[3]), "%s/elsewhere", folder);
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1};
    plumb_checkpoints *checkpoints = kept_begin(&k, folder, &options, &keeper);
    REQUIRE(checkpoints);
    int fd = open(path[3], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, "precious", 8) == 8 && close(fd) == 0 && symlink(path[3], path[1]) == 0);
    fd = open(path[0], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && close(fd) == 0 && chmod(path[0], 0640) == 0);
    for (int64_t n = 1; n <= 2; n++) {
        CHECK(kept_go(&k, n) == PLUMB_OK);
        CHECK_MSG(keeper.after(keeper.user, &k.training, false) == PLUMB_OK, "%s", plumb_message(k.context));
        CHECK(keeper.after(keeper.user, &k.training, true) == PLUMB_OK); /* nothing new: nothing is written */
    }
    CHECK(stat(path[0], &about) == 0 && (about.st_mode & 07777) == 0640);
    CHECK(lstat(path[1], &about) == 0 && S_ISREG(about.st_mode));
    CHECK(stat(path[3], &about) == 0 && about.st_size == 8);
    plumb_checkpoints_free(checkpoints);
    for (int i = 0; i < 4; i++) {
        unlink(path[i]);
    }
    kept_close(&k);
    CHECK(rmdir(folder) == 0);
}
