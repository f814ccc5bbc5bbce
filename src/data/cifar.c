/* The binary versions of CIFAR-10 and CIFAR-100: records of one or two labels and 3 x 32 x 32 bytes, planes red, green, blue.
 *
 * There is no header to check, so everything else is: sizes are whole numbers of records, labels are within the classes, a
 * fine label has the same coarse one everywhere, and the batches are there, once each, none of them the test's. Python's
 * version is a pickle, which runs code as it is read: it is refused by name. Archives are not unpacked here. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/source.h"

#define PIXELS 3072
#define FILES 5
#define NAME_ROOM 64

static const struct version {
    int labels, classes, coarse;
    const char *names, *coarse_names; /* files of class names */
    const char *train[FILES], *test;
} versions[2] = {
    {1, 10, 0, "batches.meta.txt", NULL,
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"}, "test_batch.bin"},
    {2, 100, 20, "fine_label_names.txt", "coarse_label_names.txt", {"train.bin"}, "test.bin"},
};

struct reading {
    plumb_context *context;
    plumb_dataset_options o;
    const struct version *version;
    struct dataset *d;
    uint8_t coarse_of[100]; /* 1 + the coarse label that came with the fine one first; 0: not seen */
    struct plumb_bads bads;
    int64_t records, kept;
};

static bool in_folder(const char *folder, const char *name, char *path, size_t room)
{
    int n = snprintf(path, room, "%s/%s", folder, name);
    return n > 0 && (size_t)n < room && access(path, F_OK) == 0;
}

static const struct version *version_in(const char *folder, char *path, size_t room)
{
    for (int v = 0; v < 2; v++) {
        for (int f = 0; f < FILES && versions[v].train[f]; f++) {
            if (in_folder(folder, versions[v].train[f], path, room)) {
                return &versions[v];
            }
        }
        if (in_folder(folder, versions[v].test, path, room)) {
            return &versions[v];
        }
    }
    return NULL;
}

/* What lies there instead of the binary version. */
static const struct {
    const char *name, *says;
} others[] = {
    {"data_batch_1", "is Python's version, a pickle, which is never unpickled: get the binary version"},
    {"train", "is Python's version, a pickle, which is never unpickled: get the binary version"},
    {"cifar-10-batches-bin", "is the data set's folder: give that"},
    {"cifar-100-binary", "is the data set's folder: give that"},
    {"cifar-10-binary.tar.gz", "is an archive: unpack it and give the folder in it"},
    {"cifar-100-binary.tar.gz", "is an archive: unpack it and give the folder in it"},
    {"cifar-10-binary.tar", "is an archive: unpack it and give the folder in it"},
};
#define OTHERS (sizeof(others) / sizeof(others[0]))

/* Which of them, or OTHERS. `train` is one only as a file. */
static size_t other_in(const char *folder, char *path, size_t room)
{
    struct stat st;
    size_t i = 0;
    while (i < OTHERS && !(in_folder(folder, others[i].name, path, room) &&
                           (strcmp(others[i].name, "train") != 0 || (stat(path, &st) == 0 && S_ISREG(st.st_mode))))) {
        i++;
    }
    return i;
}

bool plumb_is_cifar(const char *folder)
{
    char path[4400];
    return version_in(folder, path, sizeof(path)) || other_in(folder, path, sizeof(path)) < OTHERS;
}

static plumb_status refuse_folder(plumb_context *context, const char *folder)
{
    char path[4400];
    struct stat st;
    size_t i = other_in(folder, path, sizeof(path));
    if (i < OTHERS) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: offset 0, file: %s", path, others[i].says);
    }
    if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode)) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: offset 0, file: a folder of CIFAR's .bin files is expected (archives are to be unpacked)", folder);
    }
    return plumb_fail(context, PLUMB_IO_ERROR, "%s: lacks data_batch_1.bin or train.bin", folder);
}

/* ---- records ---- */

static plumb_status check_record(struct reading *r, const char *path, int64_t offset, const uint8_t *record, bool *good)
{
    const struct version *v = r->version;
    plumb_status status = PLUMB_OK;
    uint64_t before = (uint64_t)r->bads.count;
    if (v->labels == 1) {
        if (record[0] >= v->classes) {
            status = plumb_bad(&r->bads, "%s: offset %lld, label: %d is outside 0 to %d", path, (long long)offset, record[0],
                               v->classes - 1);
        }
    } else if (record[0] >= v->coarse) {
        status = plumb_bad(&r->bads, "%s: offset %lld, coarse label: %d is outside 0 to %d", path, (long long)offset, record[0],
                           v->coarse - 1);
    } else if (record[1] >= v->classes) {
        status = plumb_bad(&r->bads, "%s: offset %lld, fine label: %d is outside 0 to %d", path, (long long)offset + 1, record[1],
                           v->classes - 1);
    } else if (r->coarse_of[record[1]] && r->coarse_of[record[1]] != record[0] + 1) {
        status = plumb_bad(&r->bads, "%s: offset %lld, coarse label: is %d, fine label %d came with %d before", path,
                           (long long)offset, record[0], record[1], r->coarse_of[record[1]] - 1);
    } else {
        r->coarse_of[record[1]] = (uint8_t)(record[0] + 1);
    }
    *good = (uint64_t)r->bads.count == before;
    return status;
}

/* Reads the records of one file behind those that are there; `d` NULL: only their checksum. */
static plumb_status read_records(struct reading *r, struct plumb_source *s, int64_t count, uint32_t *crc)
{
    uint8_t record[2 + PIXELS];
    size_t size = (size_t)(r->version->labels + PIXELS), got;
    plumb_status status = PLUMB_OK;
    for (int64_t i = 0; !status && i < count; i++) {
        bool good = false;
        status = plumb_source_read(s, record, size, &got);
        if (!status && got < size) {
            status = plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset %lld, record %lld: the file ends inside", s->path,
                                (long long)(i * (int64_t)size + (int64_t)got), (long long)i);
        }
        if (!status) {
            *crc = plumb_crc32c(*crc, record, size);
            status = r->d ? check_record(r, s->path, i * (int64_t)size, record, &good) : PLUMB_OK;
        }
        if (!status && good) {
            r->d->label8[r->kept] = record[r->o.coarse ? 0 : r->version->labels - 1];
            memcpy((uint8_t *)r->d->data + r->kept++ * PIXELS, record + r->version->labels, PIXELS);
        }
    }
    return status ? status : plumb_source_end(s, count * (int64_t)size);
}

/* The number of records from the file's size; nothing has been allocated yet. */
static plumb_status count_records(const struct reading *r, struct plumb_source *s, int64_t *count)
{
    int64_t size = r->version->labels + PIXELS, other = 3 - r->version->labels + PIXELS;
    if (s->gzip) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset 0, file: is packed, plain records are expected", s->path);
    }
    *count = s->file_bytes / size;
    if (s->file_bytes % size != 0) {
        return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset %lld, record %lld: %lld bytes are no whole number of records of %lld%s",
                          s->path, (long long)(*count * size), (long long)*count, (long long)s->file_bytes, (long long)size,
                          s->file_bytes % other == 0 ? r->version->labels == 1 ? " (CIFAR-100's?)" : " (CIFAR-10's?)" : "");
    }
    return PLUMB_OK;
}

/* Opens a file of records and says how many it has. */
static plumb_status open_records(struct reading *r, const char *path, struct plumb_source **s, int64_t *count)
{
    plumb_status status = plumb_source_open(r->context, path, s);
    if (!status) {
        status = count_records(r, *s, count);
    }
    if (status) {
        plumb_source_close(*s);
        *s = NULL;
    }
    return status;
}

/* ---- class names ---- */

static bool is_utf8(const unsigned char *p, size_t length)
{
    for (size_t i = 0; i < length;) {
        int more = p[i] < 0x80 ? 0 : (p[i] & 0xe0) == 0xc0 ? 1 : (p[i] & 0xf0) == 0xe0 ? 2 : (p[i] & 0xf8) == 0xf0 ? 3 : -1;
        if (more < 0 || p[i] < 0x20 || p[i] == 0x7f || p[i] == 0xc0 || p[i] == 0xc1 || i + (size_t)more >= length) {
            return false;
        }
        for (i++; more > 0; more--, i++) {
            if ((p[i] & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

/* Lines that end in LF, as many as classes; empty ones may follow. */
static plumb_status take_names(struct dataset *d, const char *path, const char *text, size_t bytes)
{
    int line = 0, names = 0;
    d->name_room = NAME_ROOM;
    d->names = plumb_zalloc(d->context, (size_t)d->classes * NAME_ROOM);
    if (!d->names) {
        return PLUMB_FAILED;
    }
    for (size_t at = 0; at < bytes; line++) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end ? (size_t)(end - text) - at : bytes - at;
        const char *why = length == 0 ? NULL
                          : names == d->classes ? "is one name too many"
                          : names < line ? "follows an empty line"
                          : length >= NAME_ROOM ? "is longer than 63 bytes"
                          : !is_utf8((const unsigned char *)text + at, length) ? "is no UTF-8 text (written with CR LF?)" : NULL;
        if (why) {
            return plumb_fail(d->context, PLUMB_BAD_INPUT, "%s: offset %zu, name %d: %s", path, at, line, why);
        }
        if (length > 0) {
            memcpy(d->names + (size_t)names++ * NAME_ROOM, text + at, length);
        }
        at += length + 1;
    }
    return names == d->classes ? PLUMB_OK
                               : plumb_fail(d->context, PLUMB_BAD_INPUT, "%s: offset %zu, names: there are %d, expected %d", path,
                                            bytes, names, d->classes);
}

static plumb_status read_names(struct reading *r, const char *folder)
{
    char path[4400];
    void *text = NULL;
    size_t bytes = 0;
    const char *name = r->o.coarse ? r->version->coarse_names : r->version->names;
    if (!in_folder(folder, name, path, sizeof(path))) {
        return PLUMB_OK; /* numbers will do */
    }
    plumb_status status = plumb_read_file(r->context, path, 65536, &text, &bytes);
    if (!status) {
        status = take_names(r->d, path, text, bytes);
    }
    plumb_free(r->context, text);
    return status;
}

/* ---- all of it ---- */

/* Equal files have equal checksums; unequal ones of the same size, by chance, one pair in four thousand million. */
static plumb_status refuse_twin(const struct reading *r, const char *path, const char *twin)
{
    return plumb_fail(r->context, PLUMB_BAD_INPUT, "%s: offset 0, file: has the same content as %s", path, twin);
}

static plumb_status read_files(struct reading *r, const char *folder, const char *const *names, int files, bool test)
{
    char path[4400];
    uint32_t crc[FILES + 1] = {0};
    struct plumb_source *s;
    int64_t count;
    plumb_status status = PLUMB_OK;
    for (int f = 0; !status && f < files; f++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[f]);
        status = open_records(r, path, &s, &count);
        if (!status && r->kept + count > r->records) {
            status = plumb_fail(r->context, PLUMB_BAD_INPUT, "%s: offset 0, file: grew while it was read", path);
        }
        if (!status) {
            status = read_records(r, s, count, &crc[f]);
        }
        plumb_source_close(s);
        for (int g = 0; !status && g < f; g++) {
            status = crc[g] == crc[f] ? refuse_twin(r, path, names[g]) : PLUMB_OK;
        }
    }
    if (status || test || !in_folder(folder, r->version->test, path, sizeof(path))) {
        return status;
    }
    struct reading other = {.context = r->context, .version = r->version};
    status = open_records(&other, path, &s, &count);
    if (!status) {
        status = read_records(&other, s, count, &crc[FILES]);
    }
    plumb_source_close(s);
    for (int f = 0; !status && f < files; f++) {
        status = crc[f] == crc[FILES] ? refuse_twin(r, path, names[f]) : PLUMB_OK;
    }
    return status;
}

/* Sizes first: all files are there and hold what is expected. */
static plumb_status measure(struct reading *r, const char *folder, const char *const *names, int files)
{
    char path[4400];
    int64_t bytes;
    for (int f = 0; f < files; f++) {
        struct plumb_source *s;
        int64_t count = 0;
        snprintf(path, sizeof(path), "%s/%s", folder, names[f]);
        plumb_status status = open_records(r, path, &s, &count);
        if (status) {
            return status;
        }
        plumb_source_close(s);
        r->records += count;
    }
    if (r->o.expect > 0 && r->records != r->o.expect) {
        return plumb_fail(r->context, PLUMB_BAD_INPUT, "%s: offset 0, records: there are %lld, expected %lld", path,
                          (long long)r->records, (long long)r->o.expect);
    }
    if (!plumb_mul_size(r->records, PIXELS, &bytes) || bytes > r->o.max_bytes) {
        return plumb_fail(r->context, PLUMB_BAD_INPUT, "%s: offset 0, records: %lld pass the limit of %lld bytes", path,
                          (long long)r->records, (long long)r->o.max_bytes);
    }
    return PLUMB_OK;
}

static plumb_status read_all(struct reading *r, const char *folder, bool test)
{
    const char *const *names = test ? &r->version->test : r->version->train;
    int files = test || r->version->labels == 2 ? 1 : FILES, classes = r->o.coarse ? r->version->coarse : r->version->classes;
    if (!classes || (r->o.classes && r->o.classes != classes)) {
        return plumb_fail(r->context, PLUMB_BAD_INPUT, "%s: has %d classes, %d asked for", folder,
                          classes ? classes : r->version->classes, classes ? r->o.classes : 20);
    }
    plumb_status status = measure(r, folder, names, files);
    struct dataset *d = status ? NULL : plumb_zalloc(r->context, sizeof(*d));
    if (!d) {
        return status ? status : PLUMB_FAILED;
    }
    *d = (struct dataset){.context = r->context, .dtype = PLUMB_U8, .shape = PLUMB_SHAPE(3, 32, 32), .classes = classes};
    r->d = d;
    d->data = plumb_alloc(r->context, (size_t)r->records * PIXELS);
    d->label8 = plumb_alloc(r->context, (size_t)r->records);
    if (!d->data || !d->label8) {
        return PLUMB_FAILED;
    }
    status = read_names(r, folder);
    if (!status) {
        status = read_files(r, folder, names, files, test);
    }
    d->count = r->kept;
    return status ? status : plumb_bads_settle(&r->bads, d, r->records);
}

plumb_dataset *plumb_dataset_cifar(plumb_context *context, const char *folder, const char *part,
                                   const plumb_dataset_options *options)
{
    struct reading r = {.context = context};
    char path[4400];
    if (!context || plumb_dataset_options_read(context, options, &r.o)) {
        return NULL;
    }
    if (!folder || !part || strlen(folder) > 4096 || (strcmp(part, "train") != 0 && strcmp(part, "test") != 0)) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs a folder and a part, which is \"train\" or \"test\"");
        return NULL;
    }
    r.version = version_in(folder, path, sizeof(path));
    r.bads = (struct plumb_bads){.context = context, .share = r.o.max_bad};
    plumb_status status =
        r.version ? read_all(&r, folder, strcmp(part, "test") == 0) : refuse_folder(context, folder);
    plumb_bads_free(&r.bads);
    if (status) {
        plumb_dataset_drop(r.d);
        return NULL;
    }
    return plumb_dataset_publish(r.d);
}
