/* Folders of pictures: listing, looking at every file's size, and having pixels decoded now or later.
 *
 * Order is by the bytes of names, so it is the same everywhere. Every file is opened once to learn its size in bytes and pixels: what threads need to decode any of
 * them is allocated from that before the first is decoded, and workers allocate nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "data/folder.h"

#define MAX_FILE ((int64_t)1 << 28) /* of one picture */
#define LOOK 65536                  /* bytes that usually have the size */
#define MAX_NAME 4096

void plumb_folder_free(struct plumb_folder *f)
{
    if (f) {
        plumb_free(f->context, f->text);
        plumb_free(f->context, f->name);
        plumb_free(f->context, f);
    }
}

/* ---- names ---- */

struct names {
    plumb_context *context;
    struct plumb_arena arena;
    const char **name;
    int count, room;
};

static int by_bytes(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void free_names(struct names *n)
{
    plumb_arena_free(&n->arena);
    plumb_free(n->context, n->name);
}

struct listing {
    struct names *names;
    const char *folder;
    bool folders;
    plumb_status status;
};

static void take_name(void *to, const char *name)
{
    struct listing *l = to;
    struct names *n = l->names;
    char path[MAX_NAME + 300];
    snprintf(path, sizeof(path), "%s/%s", l->folder, name);
    if (l->status || name[0] == '.' || is_folder(path) != l->folders) {
        return;
    }
    char *copy = plumb_arena_strdup(&n->arena, name);
    if (!copy || !plumb_grow(n->context, &n->name, &n->room, n->count + 1, sizeof(*n->name))) {
        l->status = PLUMB_FAILED;
    } else {
        n->name[n->count++] = copy;
    }
}

/* What lies in `folder`, sorted: its folders, or what is none. */
static plumb_status list_names(plumb_context *context, const char *folder, bool folders, struct names *n)
{
    *n = (struct names){.context = context, .arena = {.context = context}};
    struct listing l = {.names = n, .folder = folder, .folders = folders};
    if (strlen(folder) >= MAX_NAME || context->io.list(context->io.user, folder, take_name, &l) != 0) {
        return plumb_fail(context, PLUMB_IO_ERROR, "%.200s: cannot list the folder: %s", folder, strerror(errno));
    }
    if (n->count > 1) {
        qsort(n->name, (size_t)n->count, sizeof(*n->name), by_bytes);
    }
    return l.status;
}

static void notice_folder(void *to, const char *name)
{
    struct listing *l = to;
    char path[MAX_NAME + 300];
    snprintf(path, sizeof(path), "%s/%s", l->folder, name);
    l->folders = l->folders || (name[0] != '.' && is_folder(path));
}

bool plumb_has_folders(plumb_context *context, const char *folder)
{
    struct listing l = {.folder = folder};
    return strlen(folder) < MAX_NAME && context->io.list(context->io.user, folder, notice_folder, &l) == 0 && l.folders;
}

/* ---- opening ---- */

struct opening {
    plumb_context *context;
    plumb_dataset_options o;
    struct plumb_folder *f;
    struct dataset *d;
    struct plumb_bads bads;
    struct plumb_text text;
    int64_t room, seen; /* files that there is room for; that were seen, bad ones too */
    unsigned char *look;
};

/* The first `bytes` of a regular file, or fewer; its size. */
static const char *look_at(const struct opening *w, const char *path, unsigned char *to, size_t bytes, size_t *got, int64_t *size)
{
    plumb_io *io = &w->context->io;
    struct stat st;
    int fd = io->open(io->user, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    const char *why = fd < 0 ? strerror(errno) : fstat(fd, &st) != 0 ? "cannot inspect" : !S_ISREG(st.st_mode) ? "is not a regular file" : NULL;
    *got = 0;
    while (!why && *got < bytes) {
        int64_t n = io->read(io->user, fd, to + *got, bytes - *got);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        why = n < 0 ? strerror(errno) : NULL;
        if (n <= 0 || (size_t)n > bytes - *got) {
            break;
        }
        *got += (size_t)n;
    }
    if (fd >= 0) {
        io->close(io->user, fd);
    }
    *size = why ? 0 : (int64_t)st.st_size;
    return why;
}

static plumb_status bad_file(struct opening *w, const char *path, const char *why)
{
    size_t length = strlen(path);
    return plumb_bad(&w->bads, "%s%s: offset 0, %s", length > 200 ? "..." : "", length > 200 ? path + length - 197 : path, why);
}

/* How large the picture is; *good is false if the file is left out. */
static plumb_status measure(struct opening *w, const char *path, bool *good)
{
    size_t got;
    int64_t size, width = 0, height = 0, limit = w->o.max_pixels > 0 ? w->o.max_pixels : (int64_t)1 << 26;
    const char *why = look_at(w, path, w->look, LOOK, &got, &size);
    char text[160];
    *good = false;
    if (why || size > MAX_FILE || plumb_picture_kind(w->look, got) == PLUMB_NO_PICTURE) {
        snprintf(text, sizeof(text), "file: %s", why                   ? why
                                                 : got == 0            ? "is empty"
                                                 : size > MAX_FILE     ? "is larger than 256 MiB"
                                                                       : "is neither PNG nor JPEG");
        return bad_file(w, path, text);
    }
    bool found = plumb_picture_size(w->look, got, &width, &height);
    if (!found && size > (int64_t)got) { /* behind something large, such as a preview */
        unsigned char *all = plumb_alloc(w->context, (size_t)size);
        if (!all) {
            return PLUMB_FAILED;
        }
        why = look_at(w, path, all, (size_t)size, &got, &size);
        found = !why && plumb_picture_size(all, got, &width, &height);
        plumb_free(w->context, all);
    }
    if (!found || width < 1 || height < 1 || width > limit / height) {
        snprintf(text, sizeof(text), found ? "size: %lld x %lld pixels, 1 to %lld are allowed" : "header: has no size of a picture",
                 (long long)width, (long long)height, (long long)limit);
        return bad_file(w, path, text);
    }
    struct plumb_folder *f = w->f;
    int64_t side = width > height ? width : height;
    f->max_file = size > f->max_file ? size : f->max_file;
    f->max_pixels = width * height > f->max_pixels ? width * height : f->max_pixels;
    f->max_side = side > f->max_side ? side : f->max_side;
    *good = true;
    return PLUMB_OK;
}

static plumb_status make_room(struct opening *w)
{
    if (w->f->files < w->room) {
        return PLUMB_OK;
    }
    int64_t room = w->room ? 2 * w->room : 256;
    int64_t *name = plumb_realloc(w->context, w->f->name, (size_t)room * sizeof(*name));
    w->f->name = name ? name : w->f->name;
    int32_t *labels = name ? plumb_realloc(w->context, w->d->label32, (size_t)room * sizeof(*labels)) : NULL;
    w->d->label32 = labels ? labels : w->d->label32;
    w->room = labels ? room : w->room;
    return labels ? PLUMB_OK : PLUMB_FAILED;
}

static plumb_status take_class(struct opening *w, const char *folder, const char *name, int label)
{
    char path[MAX_NAME + 600];
    struct names files;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    plumb_status status = list_names(w->context, path, false, &files);
    for (int i = 0; !status && i < files.count; i++) {
        bool good;
        snprintf(path, sizeof(path), "%s/%s/%s", folder, name, files.name[i]);
        w->seen++;
        status = measure(w, path, &good);
        if (!status && good) {
            status = make_room(w);
        }
        if (!status && good) {
            w->d->label32[w->f->files] = label;
            w->f->name[w->f->files++] = (int64_t)w->text.length;
            plumb_text_add(&w->text, "%s%c", path, 0);
            status = w->text.failed ? PLUMB_FAILED : PLUMB_OK;
        }
    }
    free_names(&files);
    return status;
}

static plumb_status name_classes(struct dataset *d, const struct names *classes)
{
    size_t room = 2;
    for (int c = 0; c < classes->count; c++) {
        size_t need = strlen(classes->name[c]) + 1;
        room = need > room ? need : room;
    }
    d->classes = classes->count;
    d->name_room = room;
    d->names = plumb_zalloc(d->context, (size_t)classes->count * room);
    for (int c = 0; d->names && c < classes->count; c++) {
        memcpy(d->names + (size_t)c * room, classes->name[c], strlen(classes->name[c]));
    }
    return d->names ? PLUMB_OK : PLUMB_FAILED;
}

/* Files of every class, in order; sub-folders that are no classes are refused. */
static plumb_status take_classes(struct opening *w, const char *folder, const struct names *classes)
{
    struct names own;
    plumb_status status = list_names(w->context, folder, true, &own);
    if (!status && (classes->count < 1 || classes->count > 65536 || (w->o.classes && w->o.classes != classes->count))) {
        status = plumb_fail(w->context, PLUMB_BAD_INPUT, "%.200s: offset 0, classes: there are %d sub-folders, expected %s%d", folder,
                            classes->count, w->o.classes ? "" : "at least ", w->o.classes ? w->o.classes : 1);
    }
    for (int i = 0; !status && i < own.count; i++) {
        const char *const *known = bsearch(&own.name[i], classes->name, (size_t)classes->count, sizeof(own.name[i]), by_bytes);
        status = known ? take_class(w, folder, own.name[i], (int)(known - classes->name))
                       : plumb_fail(w->context, PLUMB_BAD_INPUT, "%.200s: offset 0, classes: '%.100s' is not one of training", folder,
                                    own.name[i]);
    }
    free_names(&own);
    return status;
}

/* ---- decoding all of it now ---- */

struct decoding {
    struct opening *w;
    struct plumb_scratch *scratch; /* [threads] */
    uint8_t *to;                   /* NULL: only to see whether it can be done */
    char (*why)[400];              /* [threads][..] of the block */
    int64_t first, item;
    uint8_t *bad; /* [block] */
};

#define BLOCK 64 /* files between two looks at what went wrong */

static void decode_one(void *user, int64_t chunk, int worker)
{
    struct decoding *q = user;
    struct plumb_scratch *s = &q->scratch[worker];
    int64_t index = q->first + chunk;
    uint8_t *to = q->to ? q->to + index * q->item : s->picture;
    q->bad[chunk] = !plumb_folder_decode(q->w->f, index, s->decoder, to, q->why[chunk]);
}

static plumb_status decode_blocks(struct opening *w, struct decoding *q, int64_t *kept)
{
    struct dataset *d = w->d;
    plumb_status status = PLUMB_OK;
    for (q->first = 0; !status && q->first < d->count; q->first += BLOCK) {
        int64_t n = d->count - q->first < BLOCK ? d->count - q->first : BLOCK;
        plumb_pool_run(w->context->pool, n, decode_one, q);
        for (int64_t i = 0; !status && i < n; i++) {
            status = q->bad[i] ? plumb_bad(&w->bads, "%s", q->why[i]) : PLUMB_OK;
            if (!q->bad[i]) {
                d->rows[(*kept)++] = q->first + i;
            }
        }
    }
    return status;
}

static plumb_status decode_all(struct opening *w, bool keep)
{
    struct dataset *d = w->d;
    int threads = plumb_pool_size(w->context->pool);
    int64_t kept = 0;
    struct decoding q = {.w = w, .item = plumb_shape_count(&d->shape)};
    q.scratch = plumb_zalloc(w->context, (size_t)threads * sizeof(*q.scratch));
    q.why = plumb_alloc(w->context, BLOCK * sizeof(*q.why));
    q.bad = plumb_alloc(w->context, BLOCK);
    q.to = keep ? plumb_alloc(w->context, (size_t)(d->count * q.item)) : NULL;
    d->data = q.to;
    d->rows = plumb_alloc(w->context, (size_t)d->count * sizeof(int64_t));
    plumb_status status = q.scratch && q.why && q.bad && d->rows && (q.to || !keep) ? PLUMB_OK : PLUMB_FAILED;
    d->item = q.item;
    for (int i = 0; !status && i < threads; i++) {
        status = plumb_scratch_make_decoder(d, &q.scratch[i]);
    }
    if (!status) {
        status = decode_blocks(w, &q, &kept);
    }
    d->count = kept;
    for (int i = 0; q.scratch && i < threads; i++) {
        plumb_scratch_free(d, &q.scratch[i]);
    }
    plumb_free(w->context, q.scratch);
    plumb_free(w->context, q.why);
    plumb_free(w->context, q.bad);
    return status;
}

/* The size of examples: as asked for, or the first picture's. */
static plumb_status settle_size(struct opening *w)
{
    struct plumb_folder *f = w->f;
    const plumb_dataset_options *o = &w->o;
    bool asked = o->height > 0 && o->width > 0;
    if ((o->height != 0 || o->width != 0) && (!asked || o->height > 65536 || o->width > 65536)) {
        return plumb_fail(w->context, PLUMB_BAD_INPUT, "data set: pictures of %lld x %lld", (long long)o->width, (long long)o->height);
    }
    f->channels = o->channels ? o->channels : 3;
    f->resize = true; /* the first one as it is comes out of a decoder that does not mind sizes */
    f->height = asked ? o->height : 0;
    f->width = asked ? o->width : 0;
    if (asked) {
        return PLUMB_OK;
    }
    struct plumb_decoder *decoder;
    char why[400];
    uint8_t *pixel = plumb_alloc(w->context, 3);
    plumb_status status = plumb_decoder_make(f, &decoder);
    f->height = f->width = 1;
    for (int64_t i = 0; !status && pixel && i < f->files; i++) {
        if (plumb_folder_decode(f, i, decoder, pixel, why)) {
            bool turned = decoder->orientation > 4;
            f->height = turned ? decoder->width : decoder->height;
            f->width = turned ? decoder->height : decoder->width;
            f->resize = false;
            break;
        }
        status = w->o.max_bad > 0 ? PLUMB_OK : plumb_fail(w->context, PLUMB_BAD_INPUT, "%s", why);
    }
    plumb_decoder_free(f, decoder);
    plumb_free(w->context, pixel);
    return pixel ? status : PLUMB_FAILED;
}

static plumb_status open_files(struct opening *w, const char *folder, const struct names *classes)
{
    int64_t bytes = 0;
    plumb_status status = take_classes(w, folder, classes);
    if (!status) {
        status = name_classes(w->d, classes);
    }
    w->d->count = w->f->files;
    if (!status && w->o.expect > 0 && w->seen != w->o.expect) {
        return plumb_fail(w->context, PLUMB_BAD_INPUT, "%.200s: offset 0, pictures: there are %lld, expected %lld", folder,
                          (long long)w->seen, (long long)w->o.expect);
    }
    if (!status && w->f->files == 0 && w->bads.count == 0) {
        return plumb_fail(w->context, PLUMB_BAD_INPUT, "%.200s: offset 0, pictures: there are none", folder);
    }
    if (!status && w->f->files > 0) {
        w->f->text = plumb_text_take(&w->text);
        status = w->f->text ? settle_size(w) : PLUMB_FAILED;
    }
    if (!status && w->f->files > 0) {
        w->d->shape = PLUMB_SHAPE(w->f->channels, w->f->height, w->f->width);
        bool fits = plumb_mul_size(w->f->height * w->f->width * w->f->channels, w->f->files, &bytes);
        int64_t limit = w->o.keep_bytes ? w->o.keep_bytes : (int64_t)1 << 30;
        bool keep = fits && bytes <= limit && bytes <= w->o.max_bytes;
        status = keep || w->o.max_bad > 0 ? decode_all(w, keep) : PLUMB_OK;
    }
    return status ? status : plumb_bads_settle(&w->bads, w->d, w->seen);
}

plumb_dataset *plumb_dataset_folder(plumb_context *context, const char *folder, const char *classes_of,
                                    const plumb_dataset_options *options)
{
    struct opening w = {.context = context, .text = {.context = context}};
    struct names classes;
    if (!context || plumb_dataset_options_read(context, options, &w.o)) {
        return NULL;
    }
    if (!folder || (w.o.channels != 0 && w.o.channels != 1 && w.o.channels != 3)) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs a folder, and 1 or 3 channels, got %d", w.o.channels);
        return NULL;
    }
    w.bads = (struct plumb_bads){.context = context, .share = w.o.max_bad};
    w.d = plumb_zalloc(context, sizeof(*w.d));
    w.f = w.d ? plumb_zalloc(context, sizeof(*w.f)) : NULL;
    w.look = w.f ? plumb_alloc(context, LOOK) : NULL;
    if (w.d) {
        *w.d = (struct dataset){.context = context, .dtype = PLUMB_U8, .folder = w.f};
    }
    if (w.f) {
        w.f->context = context;
    }
    plumb_status status = PLUMB_FAILED;
    if (w.look) {
        status = list_names(context, classes_of ? classes_of : folder, true, &classes);
        status = status ? status : open_files(&w, folder, &classes);
        free_names(&classes);
    }
    plumb_free(context, w.look);
    plumb_free(context, w.text.data);
    plumb_bads_free(&w.bads);
    if (status) {
        plumb_dataset_drop(w.d);
        return NULL;
    }
    return plumb_dataset_publish(w.d);
}
