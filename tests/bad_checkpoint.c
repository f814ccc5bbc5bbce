/* The forty-four ways in which a checkpoint can be wrong (TESTING.md's list, same numbers; what that says of manifests in
 * files of their own is said here of the one file, and of a random state, which Plumb has none of, of the position). Each is
 * alone in its folder and must be refused with one line that names the file, in little time and memory, the training left
 * as it was; a few must not hinder. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk.h"
#include "kept.h"

#define STEP 7
#define PATH "run/checkpoint-000000000007.safetensors"
#define FIXED "{\"__metadata__\":{\"checkpoint\":\"1\",\"crc32c\":\""

struct good {
    struct disk *disk;
    struct kept kept;
    unsigned char *data; /* of a good checkpoint */
    size_t bytes;
};

static bool open_good(struct good *g, const char *rule)
{
    int64_t done;
    size_t bytes;
    memset(g, 0, sizeof(*g));
    g->disk = disk_new();
    const plumb_io io = disk_io(&g->disk);
    if (!kept_open(&g->kept, &(plumb_options){.size = sizeof(plumb_options), .threads = 1, .io = &io}, rule) ||
        kept_run(&g->kept, "run", STEP, 1, &done) != PLUMB_OK) {
        return false;
    }
    const unsigned char *data = disk_data(g->disk, PATH, &bytes);
    g->data = data ? malloc(bytes + 1) : NULL;
    g->bytes = bytes;
    if (g->data) {
        memcpy(g->data, data, bytes);
    }
    return g->data != NULL;
}

static void close_good(struct good *g)
{
    kept_close(&g->kept);
    disk_free(g->disk);
    free(g->data);
}

static void try_bytes(struct good *g, const void *data, size_t bytes, int number, const char *says)
{
    int64_t at;
    disk_free(g->disk);
    g->disk = disk_new();
    disk_put(g->disk, PATH, data, bytes);
    plumb_clear_error(g->kept.context);
    double begin = test_cpu_seconds();
    int64_t before = plumb_memory_now(g->kept.context);
    plumb_status status = kept_resume(&g->kept, "run", &at);
    const char *message = plumb_message(g->kept.context);
    CHECK_MSG(status == PLUMB_BAD_INPUT, "%d: %s, at %lld: %s", number, plumb_status_name(status), (long long)at, message);
    CHECK_MSG(strncmp(message, PATH ": ", strlen(PATH ": ")) == 0 && !strchr(message, '\n'), "%d: says \"%s\"", number, message);
    CHECK_MSG(strstr(message, says), "%d: says \"%s\", expected \"%s\"", number, message, says);
    CHECK_MSG(kept_is(&g->kept, 0), "%d: the training was changed", number);
    CHECK_MSG(test_cpu_seconds() - begin < 1, "%d: took %g s", number, test_cpu_seconds() - begin);
    CHECK_MSG(plumb_memory_now(g->kept.context) <= before, "%d: keeps memory", number);
    CHECK_MSG(plumb_memory_peak(g->kept.context) < (64 << 20) + 2 * (int64_t)bytes, "%d: takes memory", number);
}

/* Writes the file's checksum again, over whatever it is now. */
static void sign(unsigned char *data, size_t bytes)
{
    char digits[9];
    size_t at = 8 + strlen(FIXED);
    memcpy(data + at, "00000000", 8);
    snprintf(digits, sizeof(digits), "%08x", (unsigned)plumb_crc32c(0, data, bytes));
    memcpy(data + at, digits, 8);
}

/* ---- bytes ---- */

PLUMB_TEST(checkpoint, bad_frames)
{
    struct good g;
    REQUIRE(open_good(&g, "adam"));
    unsigned char *copy = malloc(g.bytes + 64);
    size_t header = 0;
    for (int i = 0; i < 8; i++) {
        header |= (size_t)g.data[i] << (8 * i);
    }
    CHECK(memcmp(g.data + 8, FIXED, strlen(FIXED)) == 0);
    try_bytes(&g, "", 0, 1, "the file has 0");
    memcpy(copy, g.data, g.bytes);
    copy[9] = 'X';
    try_bytes(&g, copy, g.bytes, 2, "header: ");
    for (int version = 0; version < 10; version += 2) { /* 3, 4 */
        memcpy(copy, g.data, g.bytes);
        copy[8 + strlen("{\"__metadata__\":{\"checkpoint\":\"")] = (unsigned char)('0' + version);
        try_bytes(&g, copy, g.bytes, version ? 3 : 4, "this plumb reads version 1");
    }
    for (size_t i = 0; i < 64; i++) {
        try_bytes(&g, g.data, i * g.bytes / 64, 5, "");
    }
    for (size_t i = 0; i < 8 + header && check_failures() < 10; i++) {
        memcpy(copy, g.data, g.bytes);
        copy[i] ^= (unsigned char)(1 << (i % 8));
        try_bytes(&g, copy, g.bytes, 6, "");
    }
    /* 7: of each tensor one bit; the message says of which. */
    struct plumb_manifest m;
    struct plumb_st_file file;
    void *again = plumb_alloc(g.kept.context, g.bytes);
    memcpy(again, g.data, g.bytes);
    plumb_clear_error(g.kept.context);
    REQUIRE(plumb_manifest_parse(g.kept.context, PATH, again, g.bytes, &m, &file) == PLUMB_OK);
    size_t at = 8 + header;
    for (int i = 0; i < file.n_entries; at += file.entries[i++].bytes) {
        char says[200];
        if (file.entries[i].bytes > 0) {
            memcpy(copy, g.data, g.bytes);
            copy[at + file.entries[i].bytes / 2] ^= 16;
            snprintf(says, sizeof(says), "%.120s: its checksum is wrong", file.entries[i].name);
            try_bytes(&g, copy, g.bytes, 7, says);
        }
    }
    plumb_st_free(g.kept.context, &file);
    memcpy(copy, g.data, g.bytes);
    memcpy(copy + 8 + strlen(FIXED), "00000000", 8);
    try_bytes(&g, copy, g.bytes, 7, "header: the file's checksum is wrong");
    static const unsigned char zip[12] = "PK\3\4\24\0\0\0\10\10", pickle[12] = "\200\2\212\nl\374\234F\371 j";
    try_bytes(&g, zip, sizeof(zip), 40, "PyTorch's .pt?");
    try_bytes(&g, pickle, sizeof(pickle), 40, "PyTorch's .pt?");
    free(copy);
    close_good(&g);
}

/* The texts of the header changed in place, to others of the same length, and signed. */
PLUMB_TEST(checkpoint, bad_headers)
{
    static const struct {
        int number;
        const char *from, *to, *says;
    } rows[] = {
        {9, "\"adam/m:fc1.weight\"", "\"adam/v:fc1.weight\"", "duplicate"},
        {10, "\"healthy\":\"yes\",\"writer\":\"plumb", "\"writer\":\"yes\",\"healthy\":\"plumb", "healthy: is neither yes nor no"},
        {10, "\"healthy\":\"yes\"", "\"healthy\":\"oui\"", "healthy: is neither yes nor no"},
        {11, "\"adam/m:fc1.weight\"", "\"adam/M:fc1.weight\"", "its checksum is wrong"},
        {22, "position\":\"seed=", "position\":\"sead=", "position: is not what"},
        {22, "ran=7", "ran=+", "position: is not what"},
        {22, " batch=2", "  batch=", "position: is not what"},
        {16, "\"configuration.model\":\"logistic\"", "\"configuration.model\":\"logistik\"", "configuration_hash: is not"},
        {33, "\"implementations\"", "\"__metadata_more\"", "'__metadata_more' is none of a checkpoint's"},
        {33, "\"data\":\"", "\"dato\":\"", "'dato' is none of a checkpoint's"},
        {33, "\"tensors\":\"", "\"tensers\":\"", "tensors: their checksums are missing"},
    };
    struct good g;
    REQUIRE(open_good(&g, "adam"));
    unsigned char *copy = malloc(g.bytes);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        memcpy(copy, g.data, g.bytes);
        unsigned char *at = memmem(copy, g.bytes, rows[i].from, strlen(rows[i].from));
        CHECK_MSG(at && strlen(rows[i].from) == strlen(rows[i].to), "row %zu: not found", i);
        if (at) {
            memcpy(at, rows[i].to, strlen(rows[i].to));
            sign(copy, g.bytes);
            try_bytes(&g, copy, g.bytes, rows[i].number, rows[i].says);
        }
    }
    free(copy);
    close_good(&g);
}

/* ---- meaning: what is written is consistent, but cannot be, or is of another training ---- */

struct edit {
    struct plumb_manifest m;
    struct plumb_st_entry *entry;
    int n;
    double values[64];
};

static struct plumb_st_entry *entry_of(struct edit *e, const char *name)
{
    for (int i = 0; i < e->n; i++) {
        if (strcmp(e->entry[i].name, name) == 0) {
            return &e->entry[i];
        }
    }
    return NULL;
}

static void remove_entry(struct edit *e, const char *name)
{
    *entry_of(e, name) = e->entry[e->n - 1];
    e->n--;
}

/* The first element of an entry becomes `value`. */
static void put_first(struct edit *e, const char *name, double value)
{
    struct plumb_st_entry *entry = entry_of(e, name);
    if (entry && entry->bytes <= sizeof(e->values)) {
        memcpy(e->values, entry->data, entry->bytes);
        plumb_put(e->values, entry->dtype, 0, value);
        entry->data = e->values;
    }
}

#define EDIT(name, code)                                                                                               \
    static void name(struct edit *e) { code; }
EDIT(no_section, remove_entry(e, PLUMB_HISTORY_NAME))
EDIT(extra, e->entry[e->n] = *entry_of(e, "fc1.bias"); e->entry[e->n++].name = "fc2.bias")
EDIT(missing, remove_entry(e, "fc1.bias"))
EDIT(transposed, plumb_shape *s = &entry_of(e, "fc1.weight")->shape; int64_t d = s->dim[0]; s->dim[0] = s->dim[1]; s->dim[1] = d)
EDIT(retyped, entry_of(e, "fc1.weight")->dtype = PLUMB_I32)
EDIT(half_best, remove_entry(e, "best:fc1.bias"))
static const char *const other_model[] = {"model", "mlp", "data", "a b\n\"c\"", NULL};
static const char *const no_data[] = {"model", "logistic", NULL};
static const char *const more[] = {"model", "logistic", "data", "a b\n\"c\"", "drop", "0.5", NULL};
EDIT(model, e->m.configuration = other_model)
EDIT(not_given, e->m.configuration = no_data)
EDIT(given, e->m.configuration = more)
EDIT(options, e->m.position.options++)
EDIT(seed, e->m.position.seed++)
EDIT(step_negative, put_first(e, "adam/step:", -1))
EDIT(step_huge, put_first(e, "adam/step:", 9.3e18))
EDIT(v_negative, put_first(e, "adam/v:fc1.bias", -1e-30))
EDIT(m_nan, put_first(e, "adam/m:fc1.bias", NAN))
EDIT(weight_infinite, put_first(e, "fc1.bias", INFINITY))
EDIT(lr_negative, put_first(e, "adam/lr:", -0.5))
EDIT(epoch_beyond, e->m.position.epoch = KEPT_EPOCHS + 1)
EDIT(epoch_negative, e->m.position.epoch = -1)
EDIT(batch_beyond, e->m.position.batch = KEPT_BATCHES + 1)
EDIT(examples_beyond, e->m.position.examples = 11)
EDIT(right_beyond, e->m.position.right = 10)
EDIT(other_data, e->m.data++)
EDIT(scale_zero, put_first(e, "adam/loss_scale:", 0))
EDIT(scale_nan, put_first(e, "adam/loss_scale:", NAN))
EDIT(scale_huge, put_first(e, "adam/loss_scale:", 1e30))
EDIT(schedule_off, e->m.position.batch--)
EDIT(other_step, e->m.position.ran += KEPT_BATCHES; e->m.position.epoch++)
EDIT(device, e->m.implementations = "cuda:8 avx2 ")
EDIT(unhealthy, e->m.healthy = false)
EDIT(history_short, entry_of(e, PLUMB_HISTORY_NAME)->shape.dim[0] = 0; entry_of(e, PLUMB_HISTORY_NAME)->bytes = 0)
EDIT(history_odd, memcpy(e->values, entry_of(e, PLUMB_HISTORY_NAME)->data, entry_of(e, PLUMB_HISTORY_NAME)->bytes);
     e->values[0] = 1.5; entry_of(e, PLUMB_HISTORY_NAME)->data = e->values)

PLUMB_TEST(checkpoint, bad_meanings)
{
    static const struct {
        int number;
        void (*edit)(struct edit *);
        const char *says;
    } rows[] = {
        {8, no_section, "fit/history:: is not a table of 1 rows"},
        {8, history_short, "fit/history:: is not a table of 1 rows"},
        {8, history_odd, "fit/history:: row 0 is none of a history"},
        {12, extra, "fc2.bias: is no variable of this training"},
        {13, missing, "fc1.bias: is missing"},
        {13, half_best, "best:: 3 of 4 weights are there"},
        {14, transposed, "fc1.weight: is f32 (16, 2), this training has f32 (2, 16)"},
        {15, retyped, "fc1.weight: is i32 (2, 16), this training has f32 (2, 16)"},
        {16, model, "model: was 'mlp' and is now 'logistic': another training"},
        {16, not_given, "data: was 'not given' and is now 'a b"},
        {16, given, "drop: was '0.5' and is now not given"},
        {17, options, "options: batch size, optimizer, rates or frozen parameters differ"},
        {17, seed, "seed: of the order of examples: differs"},
        {18, step_negative, "adam/step:: element 0 is -1"},
        {18, step_huge, "adam/step:: element 0 is 9.2"},
        {19, v_negative, "adam/v:fc1.bias: element 0 is -1e-30"},
        {20, m_nan, "adam/m:fc1.bias: a value is not finite, though the file is called healthy"},
        {21, weight_infinite, "fc1.bias: a value is not finite, though the file is called healthy"},
        {21, unhealthy, "healthy: no"},
        {23, epoch_beyond, "epochs: 9 have been run, this training has 8"},
        {23, epoch_negative, "position: epoch -1"},
        {24, batch_beyond, "position: epoch 1 and batch 6 of 5"},
        {24, examples_beyond, "position: its counts contradict each other"},
        {24, right_beyond, "position: its counts contradict each other"},
        {25, other_data, "data: the examples are other ones"},
        {26, scale_zero, "adam/loss_scale:: element 0 is 0"},
        {26, scale_nan, "adam/loss_scale:: a value is not finite"},
        {26, scale_huge, "adam/loss_scale:: element 0 is 1e+30"},
        {27, schedule_off, "position: epoch 1 and batch 1 of 5, after 7 batches"},
        {27, lr_negative, "adam/lr:: element 0 is -0.5"},
        {28, device, "implementations: 'cuda:8' computed it, here it would be 'cpu'"},
        {32, other_step, "position: it holds step 12"},
    };
    struct good g;
    REQUIRE(open_good(&g, "adam"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct plumb_st_file file;
        struct plumb_st_entry entries[64];
        struct edit e = {.entry = entries};
        void *again = plumb_alloc(g.kept.context, g.bytes), *data;
        size_t bytes;
        memcpy(again, g.data, g.bytes);
        plumb_clear_error(g.kept.context);
        REQUIRE(plumb_manifest_parse(g.kept.context, PATH, again, g.bytes, &e.m, &file) == PLUMB_OK);
        e.n = file.n_entries;
        memcpy(entries, file.entries, (size_t)e.n * sizeof(entries[0]));
        rows[i].edit(&e);
        CHECK(plumb_manifest_make(g.kept.context, PATH, &e.m, e.entry, e.n, &data, &bytes) == PLUMB_OK);
        plumb_st_free(g.kept.context, &file);
        try_bytes(&g, data, bytes, rows[i].number, rows[i].says);
        plumb_free(g.kept.context, data);
    }
    close_good(&g);
}

/* 11: the names of two tensors of equal shape, exchanged in the header: every checksum but theirs holds. */
PLUMB_TEST(checkpoint, swapped_names)
{
    struct good g;
    REQUIRE(open_good(&g, "adam"));
    unsigned char *m = memmem(g.data, g.bytes, "\"adam/m:fc1.bias\":{", 19), *v = memmem(g.data, g.bytes, "\"adam/v:fc1.bias\":{", 19);
    REQUIRE(m && v);
    m[6] = 'v';
    v[6] = 'm';
    sign(g.data, g.bytes);
    try_bytes(&g, g.data, g.bytes, 11, "fc1.bias: its checksum is wrong");
    close_good(&g);
}

/* ---- the world around ---- */

/* 34 to 37: each call of a save refused by the operating system, the way it would. */
PLUMB_TEST(checkpoint, bad_disks)
{
    static const struct {
        int number, error;
        const char *says;
    } rows[] = {{34, ENOSPC, "No space left"}, {35, EROFS, "Read-only"}, {36, EDQUOT, "quota"}, {37, EXDEV, "cross-device"}};
    struct good g;
    struct plumb_keeper keeper;
    REQUIRE(open_good(&g, "adam"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool refused = false;
        for (int call = 1; call < 20 && !refused; call++) {
            int64_t at;
            const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1, .resume = true};
            disk_free(g.disk);
            g.disk = disk_new();
            plumb_clear_error(g.kept.context);
            CHECK(kept_go(&g.kept, 0) == PLUMB_OK);
            plumb_checkpoints *c = kept_begin(&g.kept, "run", &options, &keeper);
            REQUIRE(c);
            CHECK(kept_go(&g.kept, 1) == PLUMB_OK && keeper.after(keeper.user, &g.kept.training, false) == PLUMB_OK);
            CHECK(kept_go(&g.kept, 2) == PLUMB_OK);
            disk_fail(g.disk, call, DISK_FAILS, rows[i].error);
            if (keeper.after(keeper.user, &g.kept.training, false) != PLUMB_OK) {
                CHECK(plumb_last_status(g.kept.context) == PLUMB_IO_ERROR);
                refused = call >= 8 || rows[i].number != 37; /* the rename is among the last calls */
                CHECK_MSG(strcasestr(plumb_message(g.kept.context), rows[i].says), "%d: says \"%s\"", rows[i].number,
                          plumb_message(g.kept.context));
            }
            plumb_checkpoints_free(c);
            plumb_clear_error(g.kept.context);
            plumb_checkpoint_options again = options;
            c = kept_begin(&g.kept, "run", &again, &keeper);
            at = g.kept.training.position.ran;
            CHECK_MSG(c && at >= 1 && kept_is(&g.kept, at), "%d: the old one is lost: %s", rows[i].number, plumb_message(g.kept.context));
            plumb_checkpoints_free(c);
        }
        CHECK_MSG(refused, "%d: was never refused", rows[i].number);
    }
    close_good(&g);
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "we");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0);
}

/* Resumes from the real folder; the error's message must have `says`, or without one it is at `step`. */
static void try_folder(struct kept *k, const char *folder, int number, int64_t step, const char *says)
{
    int64_t at;
    double begin = test_cpu_seconds();
    plumb_clear_error(k->context);
    plumb_status status = kept_resume(k, folder, &at);
    if (says) {
        CHECK_MSG(status == PLUMB_BAD_INPUT && strstr(plumb_message(k->context), says),
                  "%d: %s: \"%s\"", number, plumb_status_name(status), plumb_message(k->context));
    } else {
        CHECK_MSG(status == PLUMB_OK && at == step, "%d: at %lld: %s", number, (long long)at, plumb_message(k->context));
    }
    CHECK_MSG(test_cpu_seconds() - begin < 1, "%d: took %g s", number, test_cpu_seconds() - begin);
}

PLUMB_TEST(checkpoint, bad_folders)
{
    char folder[64] = "/tmp/plumb-checkpoint-XXXXXX", own[96], seven[160], three[160], left[200];
    struct good g;
    struct kept k;
    int64_t peak;
    REQUIRE(mkdtemp(folder) && open_good(&g, "adam"));
    REQUIRE(kept_open(&k, &(plumb_options){.size = sizeof(plumb_options), .threads = 1}, "adam"));
    snprintf(own, sizeof(own), "%s/a \"b\"\n\xc3\xa9", folder); /* 43 */
    snprintf(seven, sizeof(seven), "%s/checkpoint-%012d.safetensors", own, STEP);
    snprintf(three, sizeof(three), "%s/checkpoint-%012d.safetensors", own, 3);
    snprintf(left, sizeof(left), "%s.tmp.1", seven);
    REQUIRE(mkdir(own, 0700) == 0);
    write_file(left, g.data, g.bytes);
    try_folder(&k, own, 30, 0, NULL);
    CHECK(access(left, F_OK) != 0);
    write_file(left, g.data, g.bytes / 2);
    write_file(seven, g.data, g.bytes);
    try_folder(&k, own, 29, STEP, NULL);
    int64_t done;
    unlink(seven);
    CHECK(kept_run(&k, own, 3, 1, &done) == PLUMB_OK);
    write_file(seven, g.data, g.bytes);
    const struct timespec ancient[2] = {{1, 0}, {1, 0}};
    CHECK(utimensat(AT_FDCWD, seven, ancient, 0) == 0);
    try_folder(&k, own, 42, STEP, NULL);
    unlink(three);
    unlink(seven);
    CHECK(symlink("nowhere", seven) == 0);
    try_folder(&k, own, 31, 0, "symbolic link");
    unlink(seven);
    CHECK(symlink("/etc/passwd", seven) == 0);
    try_folder(&k, own, 38, 0, "symbolic link");
    unlink(seven);
    CHECK(mkfifo(seven, 0600) == 0);
    try_folder(&k, own, 38, 0, "is a FIFO");
    unlink(seven);
    write_file(seven, g.data, g.bytes);
    CHECK(truncate(seven, (off_t)5 << 30) == 0);
    peak = plumb_memory_peak(k.context);
    try_folder(&k, own, 44, 0, "bytes long, at most");
    CHECK(plumb_memory_peak(k.context) < peak + (1 << 20));
    unlink(seven);
    const plumb_checkpoint_options options = {.size = sizeof(options), .every = 1};
    plumb_clear_error(k.context);
    plumb_checkpoints *holder = plumb_checkpoints_open(k.context, own, &options);
    CHECK(holder);
    try_folder(&k, own, 41, 0, "another run is using this folder: process ");
    plumb_checkpoints_free(holder);
    kept_close(&k);
    close_good(&g);
    CHECK(rmdir(own) == 0 && rmdir(folder) == 0);
}

/* 44: a million tensors of nothing: refused before it is parsed. */
PLUMB_TEST(checkpoint, bad_million)
{
    enum { MANY = 1000000 };
    struct good g;
    REQUIRE(open_good(&g, "sgd"));
    char *text = malloc(MANY * 8 + 64);
    size_t at = 8 + (size_t)sprintf(text + 8, FIXED "00000000\"}");
    for (int i = 0; i < MANY; i++, at += 7) {
        memcpy(text + at, ",\"w\":{}", 7);
    }
    text[at++] = '}';
    for (int i = 0; i < 8; i++) {
        text[i] = (char)((at - 8) >> (8 * i));
    }
    sign((unsigned char *)text, at);
    struct plumb_manifest m;
    struct plumb_st_file file;
    void *copy = plumb_alloc(g.kept.context, at);
    memcpy(copy, text, at);
    double begin = test_cpu_seconds();
    plumb_clear_error(g.kept.context);
    CHECK(plumb_manifest_parse(g.kept.context, PATH, copy, at, &m, &file) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(g.kept.context), "more than 250000 tensors");
    CHECK(test_cpu_seconds() - begin < 1);
    try_bytes(&g, text, at, 44, "longer than the ");
    free(text);
    close_good(&g);
}
