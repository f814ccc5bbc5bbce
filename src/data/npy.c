/* Arrays of NumPy: the .npy format in its versions 1 to 3, alone or as entries of an .npz archive.
 *
 * The header is a literal of Python; only the one form that numpy writes is read, its three keys in any order: nothing is
 * evaluated. The data must be exactly as long as dtype and shape say. Fortran order is turned into C's as values are
 * copied. Objects and structures are refused by name. */
#include <math.h>
#include <stdio.h>

#include "data/dataset.h"
#include "data/zip.h"

struct array {
    plumb_context *context;
    const char *path, *entry; /* entry: of an archive, or "" */
    const unsigned char *file;
    size_t bytes, data; /* data: where they begin */
    char kind;          /* 'f', 'i', 'u', 'b' */
    int size;           /* bytes of an element: 1, 2, 4, 8 */
    bool big_endian, fortran;
    plumb_shape shape;
    int64_t count;
};

static plumb_status refuse(const struct array *a, size_t offset, const char *field, const char *why)
{
    return plumb_fail(a->context, PLUMB_BAD_INPUT, "%s%s%s: offset %zu, %s: %s", a->path, *a->entry ? ": " : "", a->entry, offset,
                      field, why);
}

/* ---- the header ---- */

struct text {
    const char *at, *end;
};

static void skip_blanks(struct text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) {
        t->at++;
    }
}

static bool take(struct text *t, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(t);
    if ((size_t)(t->end - t->at) < length || memcmp(t->at, word, length) != 0) {
        return false;
    }
    t->at += length;
    return true;
}

static bool take_quoted(struct text *t, char *to, size_t room)
{
    skip_blanks(t);
    if (t->at == t->end || *t->at != '\'') {
        return false;
    }
    const char *begin = t->at + 1, *end = memchr(begin, '\'', (size_t)(t->end - begin));
    if (!end || (size_t)(end - begin) >= room) {
        return false;
    }
    memcpy(to, begin, (size_t)(end - begin));
    to[end - begin] = '\0';
    t->at = end + 1;
    return true;
}

/* "(60000, 28, 28)", "(5,)", "()" */
static const char *take_shape(struct text *t, plumb_shape *shape)
{
    shape->rank = 0;
    if (!take(t, "(")) {
        return "is no tuple";
    }
    while (!take(t, ")")) {
        int64_t size = 0;
        const char *begin = t->at;
        for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
            if (size > (INT64_MAX - 9) / 10) {
                return "a dimension is beyond 2^63";
            }
            size = 10 * size + (*t->at - '0');
        }
        if (t->at == begin || shape->rank == PLUMB_MAX_RANK) {
            return t->at == begin ? "a dimension is no whole number from 0" : "has more than 8 dimensions";
        }
        shape->dim[shape->rank++] = size;
        if (!take(t, ",") && (skip_blanks(t), t->at == t->end || *t->at != ')')) {
            return "is not closed";
        }
    }
    return NULL;
}

static const char *take_descr(struct array *a, const char *descr)
{
    if (!descr[0] || !descr[1] || !descr[2] || descr[3]) {
        return "the dtype is not one of numbers";
    }
    a->big_endian = descr[0] == '>';
    a->kind = descr[1];
    a->size = descr[2] - '0';
    bool order = descr[0] == '<' || descr[0] == '>' || (descr[0] == '|' && a->size == 1);
    bool whole = (a->kind == 'i' || a->kind == 'u') && (a->size == 1 || a->size == 2 || a->size == 4 || a->size == 8);
    bool real = a->kind == 'f' && (a->size == 2 || a->size == 4 || a->size == 8);
    if (a->kind == 'O') {
        return "are Python objects, a pickle, which is never unpickled";
    }
    return order && (whole || real || (a->kind == 'b' && a->size == 1)) ? NULL : "the dtype is not f2, f4, f8, i1 to i8, u1 to u8 or b1";
}

static plumb_status read_dictionary(struct array *a, const char *text, size_t length, size_t offset)
{
    struct text t = {text, text + length};
    char word[32];
    unsigned seen = 0;
    const char *why = take(&t, "{") ? NULL : "is no dictionary";
    while (!why && !take(&t, "}")) {
        bool good = take_quoted(&t, word, sizeof(word)) && take(&t, ":");
        unsigned key = !good                                ? 0
                       : strcmp(word, "descr") == 0         ? 1u
                       : strcmp(word, "fortran_order") == 0 ? 2u
                       : strcmp(word, "shape") == 0         ? 4u
                                                            : 0;
        if (key == 0 || (seen & key)) {
            why = "has a key other than descr, fortran_order and shape, or one twice";
        } else if (key == 1) {
            why = take_quoted(&t, word, sizeof(word)) ? take_descr(a, word) : "the dtype is a structure";
        } else if (key == 2) {
            a->fortran = take(&t, "True");
            why = a->fortran || take(&t, "False") ? NULL : "fortran_order is neither True nor False";
        } else {
            why = take_shape(&t, &a->shape);
        }
        seen |= key;
        if (!why && !take(&t, ",") && (skip_blanks(&t), t.at == t.end || *t.at != '}')) {
            why = "is not closed";
        }
    }
    skip_blanks(&t);
    why = why ? why : seen != 7 ? "lacks descr, fortran_order or shape" : t.at != t.end ? "text follows the dictionary" : NULL;
    return why ? refuse(a, offset, "header", why) : PLUMB_OK;
}

static plumb_status read_header(struct array *a, int64_t max_bytes)
{
    const unsigned char *p = a->file;
    if (a->bytes < 10 || memcmp(p, "\x93NUMPY", 6) != 0) {
        return refuse(a, 0, "magic", "is not that of a .npy file");
    }
    if (p[6] < 1 || p[6] > 3 || p[7] != 0) {
        return refuse(a, 6, "version", "is not 1.0, 2.0 or 3.0");
    }
    size_t begin = p[6] == 1 ? 10 : 12;
    size_t length = (size_t)p[8] | (size_t)p[9] << 8;
    if (p[6] > 1 && a->bytes >= 12) {
        length |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    }
    if (a->bytes < begin || length > a->bytes - begin || length > 65536) {
        return refuse(a, 8, "header length", "is more than the file has, or than 65536");
    }
    plumb_status status = read_dictionary(a, (const char *)p + begin, length, begin);
    if (status) {
        return status;
    }
    a->data = begin + length;
    a->count = plumb_shape_count(&a->shape);
    int64_t bytes = 0;
    if (a->count < 0 || !plumb_mul_size(a->count, a->size, &bytes) || bytes > max_bytes) {
        return refuse(a, begin, "shape", "passes the limit of bytes");
    }
    if ((uint64_t)bytes != a->bytes - a->data) {
        return refuse(a, (uint64_t)bytes < a->bytes - a->data ? a->data + (size_t)bytes : a->bytes, "data",
                      "are not as long as dtype and shape say");
    }
    return PLUMB_OK;
}

/* ---- elements ---- */

static uint64_t bits_at(const struct array *a, int64_t index)
{
    const unsigned char *p = a->file + a->data + index * a->size;
    uint64_t bits = 0;
    for (int i = 0; i < a->size; i++) {
        bits |= (uint64_t)p[i] << 8 * (a->big_endian ? a->size - 1 - i : i);
    }
    return bits;
}

/* Whole numbers: false beyond int64. */
static bool whole_at(const struct array *a, int64_t index, int64_t *value)
{
    uint64_t bits = bits_at(a, index);
    int shift = 64 - 8 * a->size;
    *value = a->kind == 'i' ? (int64_t)(bits << shift) >> shift : (int64_t)bits;
    return a->kind == 'i' || bits <= INT64_MAX;
}

static double value_at(const struct array *a, int64_t index)
{
    int64_t whole;
    if (a->kind != 'f') {
        return whole_at(a, index, &whole) ? (double)whole : (double)bits_at(a, index);
    }
    union { uint64_t u; double f; } wide = {.u = bits_at(a, index)};
    union { uint32_t u; float f; } single = {.u = (uint32_t)wide.u};
    return a->size == 8 ? wide.f : a->size == 4 ? (double)single.f : (double)plumb_f32_of_f16((uint16_t)wide.u);
}

/* Where element `index` of the array in C order lies. */
static int64_t place_of(const struct array *a, int64_t index)
{
    int64_t place = 0, stride = 1, count = a->count;
    for (int d = 0; a->fortran && d < a->shape.rank; d++) {
        count /= a->shape.dim[d];
        place += index / count * stride;
        index %= count;
        stride *= a->shape.dim[d];
    }
    return a->fortran ? place : index;
}

static plumb_status convert(const struct array *a, plumb_dtype dtype, void *to)
{
    if (a->size == 1 && a->kind != 'i' && !a->fortran) {
        memcpy(to, a->file + a->data, (size_t)a->count);
        return PLUMB_OK;
    }
    for (int64_t i = 0; i < a->count; i++) {
        int64_t place = place_of(a, i);
        double value = value_at(a, place);
        if (!isfinite(value)) {
            return refuse(a, a->data + (size_t)(place * a->size), "data", isnan(value) ? "is not a number" : "is infinite");
        }
        plumb_put(to, dtype, i, value);
    }
    return PLUMB_OK;
}

/* ---- a set of two arrays ---- */

static plumb_status take_labels(const struct array *y, struct dataset *d, struct plumb_bads *bads, int classes)
{
    char where[300];
    int64_t greatest = 0, value;
    for (int64_t i = 0; i < y->count; i++) {
        bool fits = whole_at(y, i, &value) && value >= 0 && value < (classes ? classes : 65536);
        d->label32[i] = fits ? (int32_t)value : -1;
        greatest = fits && value > greatest ? value : greatest;
    }
    d->classes = classes ? classes : (int)greatest + 1;
    snprintf(where, sizeof(where), "%.200s%s%.60s", y->path, *y->entry ? ": " : "", y->entry);
    return plumb_dataset_check_labels(d, bads, where, (int64_t)y->data, y->size);
}

static plumb_status check_pair(const struct array *x, const struct array *y, const plumb_dataset_options *o)
{
    if (x->shape.rank < 2 || x->shape.rank > 4 || x->count < 1) {
        return refuse(x, 10, "shape", "is not (N, F), (N, H, W) or (N, C, H, W) with examples");
    }
    bool column = y->shape.rank == 2 && y->shape.dim[1] == 1;
    if (y->kind == 'f' || y->kind == 'b' || (y->shape.rank != 1 && !column)) {
        return refuse(y, 10, "labels", "are not (N) or (N, 1) of integers");
    }
    if (y->count != x->shape.dim[0]) {
        return plumb_fail(y->context, PLUMB_BAD_INPUT, "%s: offset 10, labels: there are %lld, but %lld examples", y->path,
                          (long long)y->count, (long long)x->shape.dim[0]);
    }
    if (o->expect > 0 && y->count != o->expect) {
        return plumb_fail(y->context, PLUMB_BAD_INPUT, "%s: offset 10, examples: there are %lld, expected %lld", x->path,
                          (long long)y->count, (long long)o->expect);
    }
    return PLUMB_OK;
}

static plumb_shape example_shape(const plumb_shape *all)
{
    const int64_t *n = all->dim;
    return all->rank == 2 ? PLUMB_SHAPE(n[1], 1, 1) : all->rank == 3 ? PLUMB_SHAPE(1, n[1], n[2]) : PLUMB_SHAPE(n[1], n[2], n[3]);
}

static plumb_dataset *make_set(const struct array *x, const struct array *y, const plumb_dataset_options *o)
{
    if (check_pair(x, y, o)) {
        return NULL;
    }
    struct dataset *d = plumb_zalloc(x->context, sizeof(*d));
    if (!d) {
        return NULL;
    }
    bool bytes = x->size == 1 && x->kind != 'i';
    *d = (struct dataset){.context = x->context,
                          .dtype = bytes ? PLUMB_U8 : x->kind == 'f' && x->size <= 4 ? PLUMB_F32 : PLUMB_F64,
                          .shape = example_shape(&x->shape),
                          .count = y->count};
    struct plumb_bads bads = {.context = x->context, .share = o->max_bad};
    int64_t room = 0;
    bool fits = plumb_mul_size(x->count, (int64_t)plumb_dtype_size(d->dtype), &room) && room <= o->max_bytes;
    plumb_status status = fits ? PLUMB_OK : refuse(x, x->data, "data", "pass the limit of bytes");
    d->data = status ? NULL : plumb_alloc(x->context, (size_t)room);
    d->label32 = d->data ? plumb_alloc(x->context, (size_t)y->count * sizeof(int32_t)) : NULL;
    status = d->label32 ? convert(x, d->dtype, d->data) : PLUMB_FAILED;
    if (!status) {
        status = take_labels(y, d, &bads, o->classes);
    }
    plumb_bads_free(&bads);
    if (status) {
        plumb_dataset_drop(d);
        return NULL;
    }
    return plumb_dataset_publish(d);
}

plumb_dataset *plumb_dataset_npy(plumb_context *context, const char *data, const char *labels,
                                 const plumb_dataset_options *options)
{
    plumb_dataset_options o;
    if (!context || plumb_dataset_options_read(context, options, &o)) {
        return NULL;
    }
    if (!data || !labels) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs two file names");
        return NULL;
    }
    struct array array[2];
    void *file[2] = {NULL, NULL};
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < 2; i++) {
        array[i] = (struct array){.context = context, .path = i ? labels : data, .entry = ""};
        status = plumb_read_file(context, array[i].path, (size_t)o.max_bytes, &file[i], &array[i].bytes);
        array[i].file = file[i];
        if (!status) {
            status = read_header(&array[i], o.max_bytes);
        }
    }
    plumb_dataset *set = status ? NULL : make_set(&array[0], &array[1], &o);
    plumb_free(context, file[0]);
    plumb_free(context, file[1]);
    return set;
}

/* ---- archives ---- */

/* Numpy adds .npy to the names. */
static bool find_pair(const struct plumb_zip *z, const char *data, const char *labels, struct plumb_zip_entry *entry)
{
    char name[2][256];
    snprintf(name[0], sizeof(name[0]), "%.250s.npy", data);
    snprintf(name[1], sizeof(name[1]), "%.250s.npy", labels);
    return plumb_zip_find(z, name[0], &entry[0]) && plumb_zip_find(z, name[1], &entry[1]);
}

static plumb_status find_arrays(const struct plumb_zip *z, const char *data, const char *labels, const char *part,
                                struct plumb_zip_entry *entry)
{
    static const char *const plain[][2] = {{"x", "y"}, {"X", "y"}, {"data", "labels"}, {"images", "labels"}};
    char first[64], second[64];
    if (data && labels) {
        return find_pair(z, data, labels, entry)
                   ? PLUMB_OK
                   : plumb_fail(z->context, PLUMB_BAD_INPUT, "%s: offset 0, entries: no '%.80s' and '%.80s', once each", z->path,
                                data, labels);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(first, sizeof(first), i ? "%s_images" : "x_%s", part);
        snprintf(second, sizeof(second), i ? "%s_labels" : "y_%s", part);
        if (find_pair(z, first, second, entry)) {
            return PLUMB_OK;
        }
    }
    for (size_t i = 0; strcmp(part, "train") == 0 && i < sizeof(plain) / sizeof(plain[0]); i++) {
        if (find_pair(z, plain[i][0], plain[i][1], entry)) {
            return PLUMB_OK;
        }
    }
    return plumb_fail(z->context, PLUMB_BAD_INPUT, "%s: offset 0, entries: no x_%s and y_%s, nor another usual pair of names", z->path,
                      part, part);
}

static plumb_status read_archive(plumb_context *context, const char *path, void *const file, size_t bytes, const char *const name[3],
                                 const plumb_dataset_options *o, plumb_dataset **set)
{
    struct plumb_zip z;
    struct plumb_zip_entry entry[2];
    struct array array[2];
    void *unpacked[2] = {NULL, NULL};
    plumb_status status = plumb_zip_open(context, path, file, bytes, &z);
    if (!status) {
        status = find_arrays(&z, name[0], name[1], name[2], entry);
    }
    for (int i = 0; !status && i < 2; i++) {
        array[i] = (struct array){.context = context, .path = path, .entry = entry[i].name, .bytes = entry[i].bytes};
        status = plumb_zip_unpack(&z, &entry[i], (size_t)o->max_bytes, &unpacked[i]);
        array[i].file = unpacked[i];
        if (!status) {
            status = read_header(&array[i], o->max_bytes);
        }
    }
    *set = status ? NULL : make_set(&array[0], &array[1], o);
    plumb_free(context, unpacked[0]);
    plumb_free(context, unpacked[1]);
    return status;
}

plumb_dataset *plumb_dataset_npz(plumb_context *context, const char *path, const char *data, const char *labels,
                                 const char *part, const plumb_dataset_options *options)
{
    plumb_dataset_options o;
    plumb_dataset *set = NULL;
    void *file = NULL;
    size_t bytes = 0;
    if (!context || plumb_dataset_options_read(context, options, &o)) {
        return NULL;
    }
    const char *const name[3] = {data, labels, part ? part : "train"};
    if (!path || (strcmp(name[2], "train") != 0 && strcmp(name[2], "test") != 0)) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs a file name and a part, which is \"train\" or \"test\"");
        return NULL;
    }
    if (plumb_read_file(context, path, (size_t)o.max_bytes, &file, &bytes) == PLUMB_OK) {
        read_archive(context, path, file, bytes, name, &o, &set); /* what failed is in the context */
    }
    plumb_free(context, file);
    return set;
}
