/* A training that was stopped, or killed, and goes on, ends as the one that was not: every value of the state and every row
 * of the history to the bit, from any batch, with any number of threads and workers. Four recipes, which between them have all
 * that there is to keep: moments, accumulated gradients, a moving loss scale, dropout, changed pictures, averages, a dev set
 * and its best weights.
 *
 * The plain run samples; with PLUMB_LONG set (suite crash) every recipe is stopped after every batch, and killed 100 times. */
#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

#define SIDE 5
#define PIXELS (SIDE * SIDE)
#define EXAMPLES 125
#define BATCH 10
#define BATCHES 13 /* in an epoch */
#define EPOCHS 4
#define ALL (BATCHES * EPOCHS)
#define ROOM (1 << 18)

static bool is_long(void) { return getenv("PLUMB_LONG") != NULL; }

static const struct recipe {
    const char *name;
    double drop;
    plumb_optimizer optimizer;
    plumb_fit_options fit;
} recipes[] = {
    {"adam", 0, {.rule = "adam"}, {.schedule = &(plumb_schedule){.rule = "cosine"}}},
    {"accumulated", 0, {.rule = "momentum", .lr = 0.05, .clip_norm = 1}, {.accumulate = 3}},
    {"f16", 0, {.rule = "adam", .loss_scale_every = 5, .precision = PLUMB_F16}, {.schedule = NULL}},
    {"averaged", 0.3, {.rule = "rmsprop", .average = 0.9},
     {.monitor = "dev_loss", .patience = 9, .augment = &(plumb_augment){.mirror = true, .crop = 1, .mixup = 0.5}}},
};
#define RECIPES ((int)(sizeof(recipes) / sizeof(recipes[0])))

/* ---- one training ---- */

static plumb_dataset *halves(plumb_context *context, int count, uint32_t stream)
{
    float x[EXAMPLES * PIXELS];
    int32_t y[EXAMPLES];
    for (int n = 0; n < count; n++) {
        y[n] = n % 2;
        for (int i = 0; i < PIXELS; i++) {
            double bright = (i % SIDE >= SIDE / 2) == (y[n] == 1) ? 1 : 0;
            x[n * PIXELS + i] = (float)(bright + plumb_normal_of_word(plumb_random_word(9, stream, 0, (int64_t)n * PIXELS + i)));
        }
    }
    return plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), count, x, y, 2);
}

struct calls {
    int64_t ran, stop_at;
    int to; /* a pipe that is told of every batch; -1: none */
};

static bool on_step(void *user, const plumb_progress *progress)
{
    struct calls *c = user;
    c->ran = (int64_t)(progress->epoch - 1) * BATCHES + progress->step;
    if (c->to >= 0 && write(c->to, &c->ran, sizeof(c->ran)) != sizeof(c->ran)) {
        _exit(9);
    }
    return c->ran != c->stop_at;
}

/* What a training came to. */
struct outcome {
    unsigned char *bytes;
    size_t count;
};

static void add(struct outcome *o, const void *data, size_t bytes)
{
    if (o->count + bytes <= ROOM) {
        memcpy(o->bytes + o->count, data, bytes);
    }
    o->count += bytes;
}

static void collect(struct outcome *o, const plumb_state *state, const plumb_epoch *history, int done)
{
    static unsigned char value[ROOM];
    o->count = 0;
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(plumb_state_dtype(state, name));
        CHECK(bytes <= ROOM && plumb_state_get(state, name, value, bytes) == PLUMB_OK);
        add(o, value, bytes);
    }
    for (int i = 0; i < done; i++) { /* all but what a clock said */
        const double row[] = {history[i].epoch, (double)history[i].steps, history[i].lr, history[i].train_loss,
                              history[i].train_accuracy, history[i].test_loss, history[i].test_accuracy, (double)history[i].skipped};
        add(o, row, sizeof(row));
    }
    CHECK(o->count <= ROOM);
}

/* Trains in a context of its own. `folder` NULL: nothing is kept. */
static plumb_status train(const struct recipe *r, int threads, const char *folder, int64_t every, bool resume, struct calls *calls,
                          struct outcome *outcome)
{
    plumb_epoch history[EPOCHS];
    int done = 0;
    plumb_model model;
    plumb_context *context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = threads, .seed = 3});
    const plumb_model_options shape = {.size = sizeof(shape), .input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2, .drop = r->drop};
    plumb_status status = plumb_model_build(context, "mlp", &shape, &model);
    plumb_state *state = status ? NULL : plumb_state_new(model.graph);
    plumb_dataset *data = halves(context, EXAMPLES, 1), *other = halves(context, 40, 2);
    plumb_fit_options options = r->fit;
    options.epochs = EPOCHS;
    options.batch = BATCH;
    options.optimizer = &r->optimizer;
    options.test = other;
    options.dev = r->fit.monitor ? other : NULL;
    options.on_step = on_step;
    options.user = calls;
    options.workers = threads * 2 % 3; /* 2, 1, 0 */
    if (folder) {
        const plumb_checkpoint_options keep = {.size = sizeof(keep), .every = every, .resume = resume};
        options.checkpoints = plumb_checkpoints_open(context, folder, &keep);
        status = options.checkpoints ? status : plumb_last_status(context);
    }
    status = status ? status : plumb_fit(&model, state, data, &options, history, &done);
    CHECK_MSG(!status, "%s: %s", r->name, plumb_message(context));
    if (outcome && !status) {
        collect(outcome, state, history, done);
    }
    plumb_close(context);
    return status;
}

static void empty(const char *folder)
{
    char path[512];
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof(path), "%s/%.255s", folder, entry->d_name);
        unlink(path);
    }
    if (directory) {
        closedir(directory);
    }
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->count == b->count && a->count <= ROOM && memcmp(a->bytes, b->bytes, a->count) == 0;
}

/* ---- stopped ---- */

/* Stopped after `at` batches and resumed, and once more on the way; threads differ every time. */
static void stop_and_resume(const struct recipe *r, const char *folder, int64_t at, int64_t second, const struct outcome *expected,
                            struct outcome *got)
{
    struct calls calls = {.stop_at = at, .to = -1};
    empty(folder);
    REQUIRE(train(r, 1 + (int)(at % 3), folder, 1000, false, &calls, NULL) == PLUMB_OK);
    CHECK_MSG(calls.ran == at, "%s: stopped after %lld of %lld", r->name, (long long)calls.ran, (long long)at);
    if (second > at) {
        calls = (struct calls){.stop_at = second, .to = -1};
        REQUIRE(train(r, 1 + (int)(second % 2), folder, 1000, true, &calls, NULL) == PLUMB_OK);
        CHECK(calls.ran == second);
    }
    calls = (struct calls){.to = -1};
    REQUIRE(train(r, 2, folder, 1000, true, &calls, got) == PLUMB_OK);
    CHECK_MSG(same(expected, got), "%s: stopped after %lld and %lld batches, it ends otherwise", r->name, (long long)at, (long long)second);
}

PLUMB_TEST(resume, ends_as_if_never_stopped)
{
    char folder[] = "/tmp/plumb-resume-XXXXXX";
    struct outcome expected = {malloc(ROOM), 0}, got = {malloc(ROOM), 0};
    int stops = 0;
    REQUIRE(mkdtemp(folder) && expected.bytes && got.bytes);
    for (int i = 0; i < RECIPES; i++) {
        struct calls calls = {.to = -1};
        REQUIRE(train(&recipes[i], 1, NULL, 0, false, &calls, &expected) == PLUMB_OK);
        CHECK(calls.ran == ALL);
        REQUIRE(train(&recipes[i], 3, NULL, 0, false, &calls, &got) == PLUMB_OK);
        CHECK_MSG(same(&expected, &got), "%s: depends on threads", recipes[i].name);
        for (int64_t at = is_long() ? 1 : 1 + i; at < ALL && check_failures() < 5; at += is_long() ? 1 : 16, stops++) {
            stop_and_resume(&recipes[i], folder, at, at % 2 && at + 7 < ALL ? at + 1 + at % 7 : 0, &expected, &got);
        }
    }
    printf("  %d stops\n", stops);
    CHECK(stops >= (is_long() ? 200 : 12));
    empty(folder);
    CHECK(rmdir(folder) == 0);
    free(expected.bytes);
    free(got.bytes);
}

/* ---- killed ---- */

struct killing {
    const struct recipe *recipe;
    const char *folder;
    struct outcome *got;
    uint64_t draws;
    int64_t least;   /* what the next process must find at least */
    int64_t beyond;  /* and cannot have got past */
    int kills, in_save;
};

#define EVERY 3

static uint32_t draw(struct killing *k, uint32_t below)
{
    return (uint32_t)(((uint64_t)plumb_random_word(77, 1, 0, (int64_t)k->draws++) * below) >> 32);
}

/* The other process. */
static void child(const struct killing *k, int to, int threads)
{
    struct calls calls = {.to = to};
    _exit(train(k->recipe, threads, k->folder, EVERY, true, &calls, NULL) == PLUMB_OK ? 0 : 1);
}

static void wait_microseconds(int64_t microseconds)
{
    struct timespec time = {microseconds / 1000000, microseconds % 1000000 * 1000};
    nanosleep(&time, NULL);
}

/* Kills it somewhere: after a batch after which it saves, or after any time; or listens to its end. */
static void listen(struct killing *k, int from, pid_t pid)
{
    bool in_save = draw(k, 2) == 0;
    int64_t wait_for = in_save ? EVERY * (1 + (int64_t)draw(k, 4)) : 0, heard = 0, ran;
    int64_t begin = -1, last = -1;
    if (!in_save) {
        wait_microseconds(draw(k, 60000));
    }
    while (in_save && read(from, &ran, sizeof(ran)) == sizeof(ran)) {
        begin = begin < 0 ? ran - 1 : begin;
        last = ran;
        heard++;
        if (heard >= wait_for && ran % EVERY == 0) {
            wait_microseconds(draw(k, 900));
            break;
        }
    }
    kill(pid, SIGKILL);
    while (read(from, &ran, sizeof(ran)) == sizeof(ran)) { /* what it still said */
        begin = begin < 0 ? ran - 1 : begin;
        last = ran;
    }
    if (begin >= 0) {
        CHECK_MSG(begin >= k->least && begin <= k->beyond, "%s: went on after %lld batches, expected %lld to %lld", k->recipe->name,
                  (long long)begin, (long long)k->least, (long long)k->beyond);
        k->least = last > 0 ? (last - 1) / EVERY * EVERY : 0;
        k->least = k->least < begin ? begin : k->least; /* what it began from is still there */
        k->beyond = last;
        k->kills++;
        k->in_save += in_save;
    }
}

/* Runs it to its end and compares. */
static void finish(struct killing *k, const struct outcome *expected)
{
    struct calls calls = {.to = -1};
    REQUIRE(train(k->recipe, 2, k->folder, EVERY, true, &calls, k->got) == PLUMB_OK);
    CHECK_MSG(same(expected, k->got), "%s: killed on the way, it ends otherwise", k->recipe->name);
    empty(k->folder);
    k->least = k->beyond = 0;
}

static void kill_one(struct killing *k)
{
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child(k, ends[1], 1 + (int)(k->draws % 2));
    }
    close(ends[1]);
    if (pid > 0) {
        listen(k, ends[0], pid);
        waitpid(pid, NULL, 0);
    }
    close(ends[0]);
    CHECK(pid > 0);
}

PLUMB_TEST(resume, ends_as_if_never_killed)
{
    char folder[] = "/tmp/plumb-killed-XXXXXX";
    struct outcome expected = {malloc(ROOM), 0}, got = {malloc(ROOM), 0};
    REQUIRE(mkdtemp(folder) && expected.bytes && got.bytes);
    int kills = 0, in_save = 0, wanted = is_long() ? 25 : 4;
    for (int i = 0; i < RECIPES; i++) {
        struct killing k = {.recipe = &recipes[i], .folder = folder, .got = &got, .draws = (uint64_t)i << 20};
        struct calls calls = {.to = -1};
        REQUIRE(train(&recipes[i], 1, NULL, 0, false, &calls, &expected) == PLUMB_OK);
        for (int rounds = 0; k.kills < wanted && rounds < 20 * wanted && check_failures() < 5; rounds++) {
            kill_one(&k);
            if (k.beyond >= ALL - EVERY || rounds % 4 == 3) {
                finish(&k, &expected);
            }
        }
        finish(&k, &expected);
        CHECK(k.kills >= wanted);
        kills += k.kills;
        in_save += k.in_save;
    }
    printf("  %d kills, %d of them while it saved\n", kills, in_save);
    CHECK(rmdir(folder) == 0);
    free(expected.bytes);
    free(got.bytes);
}
