/* Reading and writing safetensors files, as strictly as the format's description: the tensors must follow each other
 * without hole or overlap from the first byte of the data to the last, so nothing can hide in a file and no two readers
 * can understand it differently. jansson parses the header; it refuses duplicate keys, bad UTF-8, NUL, deep nesting and
 * trailing text for us. */
#include "io/safetensors.h"

#include <jansson.h>
#include <stdio.h>

#define MAX_NAME 1024

static const struct {
    const char *name;
    plumb_dtype dtype; /* PLUMB_NO_DTYPE: the format has it, Plumb has not */
} st_dtypes[] = {
    {"F32", PLUMB_F32},          {"F64", PLUMB_F64},         {"BF16", PLUMB_BF16},     {"F16", PLUMB_F16},
    {"I32", PLUMB_I32},          {"I64", PLUMB_I64},         {"U8", PLUMB_U8},         {"BOOL", PLUMB_NO_DTYPE},
    {"I8", PLUMB_NO_DTYPE},      {"I16", PLUMB_NO_DTYPE},    {"U16", PLUMB_NO_DTYPE},  {"U32", PLUMB_NO_DTYPE},
    {"U64", PLUMB_NO_DTYPE},     {"F8_E4M3", PLUMB_NO_DTYPE}, {"F8_E5M2", PLUMB_NO_DTYPE},
    {"F8_E8M0", PLUMB_NO_DTYPE}, {"F6_E2M3", PLUMB_NO_DTYPE}, {"F6_E3M2", PLUMB_NO_DTYPE},
    {"F4", PLUMB_NO_DTYPE},      {"C64", PLUMB_NO_DTYPE},
};
#define ST_DTYPES (sizeof(st_dtypes) / sizeof(st_dtypes[0]))

struct reading {
    plumb_context *context;
    const char *path;
    struct plumb_st_file *file;
    const unsigned char *data; /* the tensors' bytes */
    size_t bytes;
};

/* "path: what: reason"; returns PLUMB_BAD_INPUT. */
static plumb_status PLUMB_PRINTF(4, 5)
refuse(plumb_context *context, const char *path, const char *what, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    return plumb_fail(context, PLUMB_BAD_INPUT, "%s: %.120s: %s", path, what, reason);
}

/* Names may end up in messages, listings and, by somebody's carelessness, in paths. */
static const char *wrong_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0) {
        return "the name of a tensor is empty";
    }
    if (length > MAX_NAME) {
        return "the name of a tensor is longer than 1024 bytes";
    }
    for (const char *at = name; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            return "the name of a tensor has a control character in it";
        }
        bool part = (at == name || at[-1] == '/') && at[0] == '.' && at[1] == '.';
        if (part && (at[2] == '/' || at[2] == '\0')) {
            return "the name of a tensor has '..' as a part";
        }
    }
    return NULL;
}

static plumb_status read_dtype(struct reading *r, const char *name, const json_t *value, struct plumb_st_entry *entry)
{
    const char *text = json_string_value(value);
    if (!text) {
        return refuse(r->context, r->path, name, "dtype is %s", value ? "not a string" : "missing");
    }
    for (size_t i = 0; i < ST_DTYPES; i++) {
        if (strcmp(text, st_dtypes[i].name) == 0) {
            entry->dtype = st_dtypes[i].dtype;
            return entry->dtype != PLUMB_NO_DTYPE ? PLUMB_OK :
                   refuse(r->context, r->path, name, "dtype %s has no counterpart in Plumb", text);
        }
    }
    return refuse(r->context, r->path, name, "dtype '%.40s' is unknown", text);
}

static plumb_status read_shape(struct reading *r, const char *name, const json_t *value, struct plumb_st_entry *entry)
{
    if (!json_is_array(value)) {
        return refuse(r->context, r->path, name, "shape is %s", value ? "not an array" : "missing");
    }
    if (json_array_size(value) > PLUMB_MAX_RANK) {
        return refuse(r->context, r->path, name, "shape has %zu dimensions, at most %d are possible",
                      json_array_size(value), PLUMB_MAX_RANK);
    }
    entry->shape.rank = (int)json_array_size(value);
    for (int i = 0; i < entry->shape.rank; i++) {
        const json_t *dim = json_array_get(value, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
            return refuse(r->context, r->path, name, "shape: dimension %d is not a whole number from 0 up", i);
        }
        entry->shape.dim[i] = json_integer_value(dim);
    }
    int64_t bytes, count = plumb_shape_count(&entry->shape);
    if (count < 0 || !plumb_mul_size(count, (int64_t)plumb_dtype_size(entry->dtype), &bytes)) {
        return refuse(r->context, r->path, name, "shape: its product overflows");
    }
    entry->bytes = (size_t)bytes;
    return PLUMB_OK;
}

/* The shape has been read: the offsets must say the same size. */
static plumb_status read_offsets(struct reading *r, const char *name, const json_t *value, struct plumb_st_entry *entry)
{
    const json_t *begin_json = json_array_get(value, 0), *end_json = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin_json) || !json_is_integer(end_json)) {
        return refuse(r->context, r->path, name, "data_offsets %s",
                      value ? "are not two whole numbers" : "are missing");
    }
    long long begin = json_integer_value(begin_json), end = json_integer_value(end_json);
    if (begin < 0 || end < begin) {
        return refuse(r->context, r->path, name, "data_offsets %lld to %lld are not in order", begin, end);
    }
    if ((uint64_t)end > r->bytes) {
        return refuse(r->context, r->path, name, "data_offsets end at %lld, but the data has %zu bytes", end,
                      r->bytes);
    }
    if ((uint64_t)(end - begin) != entry->bytes) {
        return refuse(r->context, r->path, name, "data_offsets span %lld bytes, but shape and dtype need %zu",
                      end - begin, entry->bytes);
    }
    entry->data = r->data + begin;
    return PLUMB_OK;
}

static plumb_status read_tensor(struct reading *r, const char *name, json_t *value)
{
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    const char *wrong = wrong_name(name);
    if (wrong) {
        return refuse(r->context, r->path, "header", "%s", wrong);
    }
    if (!json_is_object(value)) {
        return refuse(r->context, r->path, name, "is not an object");
    }
    const char *key;
    json_t *field;
    json_object_foreach (value, key, field) {
        if (strcmp(key, fields[0]) != 0 && strcmp(key, fields[1]) != 0 && strcmp(key, fields[2]) != 0) {
            return refuse(r->context, r->path, name, "has an unknown field '%.40s'", key);
        }
    }
    struct plumb_st_entry *entry = &r->file->entries[r->file->n_entries];
    *entry = (struct plumb_st_entry){.name = plumb_arena_strdup(&r->file->arena, name)};
    plumb_status status = entry->name ? PLUMB_OK : PLUMB_FAILED;
    if (status == PLUMB_OK) {
        status = read_dtype(r, name, json_object_get(value, fields[0]), entry);
    }
    if (status == PLUMB_OK) {
        status = read_shape(r, name, json_object_get(value, fields[1]), entry);
    }
    if (status == PLUMB_OK) {
        status = read_offsets(r, name, json_object_get(value, fields[2]), entry);
    }
    r->file->n_entries++;
    return status;
}

static plumb_status read_metadata(struct reading *r, json_t *value)
{
    static const char where[] = "__metadata__";
    if (!json_is_object(value)) {
        return refuse(r->context, r->path, where, "is not an object");
    }
    size_t n = 0;
    r->file->metadata = plumb_zalloc(r->context, (2 * json_object_size(value) + 1) * sizeof(char *));
    if (!r->file->metadata) {
        return PLUMB_FAILED;
    }
    const char *key;
    json_t *field;
    json_object_foreach (value, key, field) {
        if (!json_is_string(field)) {
            return refuse(r->context, r->path, where, "the value of '%.40s' is not a string", key);
        }
        r->file->metadata[n] = plumb_arena_strdup(&r->file->arena, key);
        r->file->metadata[n + 1] = plumb_arena_strdup(&r->file->arena, json_string_value(field));
        if (!r->file->metadata[n] || !r->file->metadata[n + 1]) {
            return PLUMB_FAILED;
        }
        n += 2;
    }
    return PLUMB_OK;
}

/* ---- the order of data and the order of names ---- */

static int by_data(const void *a, const void *b)
{
    const struct plumb_st_entry *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) {
        return p < q ? -1 : 1;
    }
    return x->bytes != y->bytes ? (x->bytes < y->bytes ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct plumb_st_entry *const *)a)->name, (*(const struct plumb_st_entry *const *)b)->name);
}

/* The tensors tile the data. An empty one may lie at any seam. */
static plumb_status check_tiling(struct reading *r)
{
    const unsigned char *expected = r->data;
    if (r->file->n_entries > 0) {
        qsort(r->file->entries, (size_t)r->file->n_entries, sizeof(r->file->entries[0]), by_data);
    }
    for (int i = 0; i < r->file->n_entries; i++) {
        const struct plumb_st_entry *entry = &r->file->entries[i];
        const unsigned char *begin = entry->data;
        if (begin != expected) {
            return refuse(r->context, r->path, entry->name,
                          begin < expected ? "data_offsets begin %zu bytes inside another tensor"
                                           : "data_offsets leave a hole of %zu bytes before it",
                          (size_t)(begin < expected ? expected - begin : begin - expected));
        }
        expected = begin + entry->bytes;
    }
    size_t left = (size_t)(r->data + r->bytes - expected);
    return left == 0 ? PLUMB_OK : refuse(r->context, r->path, "data", "its last %zu bytes belong to no tensor", left);
}

/* The data begins wherever the header ends. It is moved down to a multiple of 64 (over the header, which has been
 * read), so that tensors are aligned; those with an odd neighbour before them are copied out. */
static plumb_status align(struct reading *r)
{
    size_t shift = (size_t)((uintptr_t)r->data & 63);
    if (shift > 0) {
        unsigned char *file = r->file->data;
        memmove(file + (r->data - file) - shift, r->data, r->bytes);
    }
    for (int i = 0; i < r->file->n_entries; i++) {
        struct plumb_st_entry *entry = &r->file->entries[i];
        const unsigned char *data = (const unsigned char *)entry->data - shift;
        entry->data = data;
        if ((uintptr_t)data % plumb_dtype_size(entry->dtype) != 0) {
            void *copy = plumb_arena_alloc(&r->file->arena, entry->bytes);
            if (!copy) {
                return PLUMB_FAILED;
            }
            memcpy(copy, data, entry->bytes);
            entry->data = copy;
        }
    }
    return PLUMB_OK;
}

static plumb_status read_header(struct reading *r, json_t *root)
{
    struct plumb_st_file *file = r->file;
    size_t n = json_object_size(root);
    if (n > PLUMB_ST_MAX_TENSORS) {
        return refuse(r->context, r->path, "header", "more than %d tensors", PLUMB_ST_MAX_TENSORS);
    }
    file->entries = plumb_alloc(r->context, n * sizeof(file->entries[0]));
    file->names = plumb_alloc(r->context, n * sizeof(file->names[0]));
    plumb_status status = file->entries && file->names ? PLUMB_OK : PLUMB_FAILED;
    const char *key;
    json_t *value;
    json_object_foreach (root, key, value) {
        if (status == PLUMB_OK) {
            status = strcmp(key, "__metadata__") == 0 ? read_metadata(r, value) : read_tensor(r, key, value);
        }
    }
    if (status == PLUMB_OK && !file->metadata) {
        file->metadata = plumb_zalloc(r->context, sizeof(char *));
        status = file->metadata ? PLUMB_OK : PLUMB_FAILED;
    }
    if (status == PLUMB_OK) {
        status = check_tiling(r);
    }
    if (status == PLUMB_OK) {
        status = align(r);
    }
    for (int i = 0; status == PLUMB_OK && i < file->n_entries; i++) {
        file->names[i] = &file->entries[i];
    }
    if (status == PLUMB_OK && file->n_entries > 0) {
        qsort(file->names, (size_t)file->n_entries, sizeof(file->names[0]), by_name);
    }
    return status;
}

/* A parsed header takes some twenty times its text: what cannot be a header we accept is not parsed. A tensor of
 * greatest rank has 11 commas. */
static plumb_status check_amount(struct reading *r, const char *header, size_t length)
{
    size_t braces = 0, commas = 0;
    for (size_t i = 0; i < length; i++) {
        braces += header[i] == '{';
        commas += header[i] == ',';
        if (braces > PLUMB_ST_MAX_TENSORS + 2 || commas > 12 * (size_t)PLUMB_ST_MAX_TENSORS) {
            return refuse(r->context, r->path, "header", "more than %d tensors", PLUMB_ST_MAX_TENSORS);
        }
    }
    return PLUMB_OK;
}

static plumb_status read_contents(struct reading *r, size_t bytes)
{
    const unsigned char *file = r->file->data;
    uint64_t length = 0;
    if (bytes < 8) {
        return refuse(r->context, r->path, "header", "its length needs 8 bytes, but the file has %zu", bytes);
    }
    for (int i = 0; i < 8; i++) {
        length |= (uint64_t)file[i] << (8 * i);
    }
    bool fits = length <= PLUMB_ST_MAX_HEADER && length <= bytes - 8;
    if (!fits && (memcmp(file, "PK\3\4", 4) == 0 || (file[0] == 0x80 && file[1] >= 2 && file[1] <= 5))) {
        return refuse(r->context, r->path, "format", "a pickle, or an archive of them (PyTorch's .pt?), not safetensors");
    }
    if (!fits) {
        return refuse(r->context, r->path, "header", "said to be %llu bytes long, but %s %zu",
                      (unsigned long long)length,
                      length > PLUMB_ST_MAX_HEADER ? "the limit is" : "the rest of the file has",
                      length > PLUMB_ST_MAX_HEADER ? (size_t)PLUMB_ST_MAX_HEADER : bytes - 8);
    }
    const char *header = (const char *)file + 8;
    if (length == 0 || header[0] != '{') {
        return refuse(r->context, r->path, "header", "does not begin with '{'");
    }
    r->data = file + 8 + length;
    r->bytes = bytes - 8 - (size_t)length;
    plumb_status status = check_amount(r, header, (size_t)length);
    if (status != PLUMB_OK) {
        return status;
    }
    json_error_t error;
    json_t *root = json_loadb(header, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        return json_error_code(&error) == json_error_out_of_memory
                   ? plumb_fail(r->context, PLUMB_FAILED, "%s: header: out of memory", r->path)
                   : refuse(r->context, r->path, "header", "byte %d: %s", error.position, error.text);
    }
    status = read_header(r, root);
    json_decref(root);
    return status;
}

plumb_status plumb_st_parse(plumb_context *context, const char *path, void *data, size_t bytes, struct plumb_st_file *file)
{
    struct reading r = {.context = context, .path = path, .file = file};
    *file = (struct plumb_st_file){.data = data, .arena = {.context = context}};
    plumb_status status = read_contents(&r, bytes);
    if (status != PLUMB_OK) {
        plumb_st_free(context, file);
    }
    return status;
}

plumb_status plumb_st_read(plumb_context *context, const char *path, struct plumb_st_file *file)
{
    void *data;
    size_t bytes;
    *file = (struct plumb_st_file){.arena = {.context = context}};
    plumb_status status = plumb_read_file(context, path, PTRDIFF_MAX / 4, &data, &bytes);
    return status == PLUMB_OK ? plumb_st_parse(context, path, data, bytes, file) : status;
}

void plumb_st_free(plumb_context *context, struct plumb_st_file *file)
{
    plumb_free(context, file->entries);
    plumb_free(context, file->names);
    plumb_free(context, file->metadata);
    plumb_free(context, file->data);
    plumb_arena_free(&file->arena);
    *file = (struct plumb_st_file){.arena = {.context = context}};
}

const struct plumb_st_entry *plumb_st_find(const struct plumb_st_file *file, const char *name)
{
    struct plumb_st_entry wanted = {.name = name};
    const struct plumb_st_entry *key = &wanted;
    const struct plumb_st_entry *const *found =
        file->n_entries > 0 ? bsearch(&key, file->names, (size_t)file->n_entries, sizeof(key), by_name) : NULL;
    return found ? *found : NULL;
}

const char *plumb_st_metadata(const struct plumb_st_file *file, const char *key)
{
    for (int i = 0; file->metadata && file->metadata[i]; i += 2) {
        if (strcmp(file->metadata[i], key) == 0) {
            return file->metadata[i + 1];
        }
    }
    return NULL;
}

/* ---- writing ---- */

/* Appends a JSON string; false if `value` is not UTF-8 (jansson makes no string of it). */
static bool add_string(struct plumb_text *text, const char *value)
{
    json_t *string = json_string(value);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted) {
        plumb_text_add(text, "%s", quoted);
    }
    free(quoted);
    json_decref(string);
    return quoted != NULL;
}

static const char *st_name(plumb_dtype dtype)
{
    for (size_t i = 0; i < ST_DTYPES; i++) {
        if (st_dtypes[i].dtype == dtype && dtype != PLUMB_NO_DTYPE) {
            return st_dtypes[i].name;
        }
    }
    return NULL;
}

static plumb_status check_entry(plumb_context *context, const char *path, const struct plumb_st_entry *entry)
{
    const char *wrong = entry->name ? wrong_name(entry->name) : "a tensor has no name";
    if (!wrong && strcmp(entry->name, "__metadata__") == 0) {
        wrong = "a tensor is named __metadata__";
    }
    if (wrong) {
        return refuse(context, path, "header", "%s", wrong);
    }
    if (!st_name(entry->dtype)) {
        return refuse(context, path, entry->name, "dtype %d is not valid", (int)entry->dtype);
    }
    int64_t bytes, count = plumb_shape_count(&entry->shape);
    if (count < 0 || !plumb_mul_size(count, (int64_t)plumb_dtype_size(entry->dtype), &bytes) ||
        (uint64_t)bytes != entry->bytes) {
        char text[128];
        return refuse(context, path, entry->name, "%zu bytes do not fit %s %s", entry->bytes,
                      plumb_dtype_name(entry->dtype), plumb_shape_text(&entry->shape, text, sizeof(text)));
    }
    return PLUMB_OK;
}

static int by_size_of_element(const void *a, const void *b)
{
    const struct plumb_st_entry *x = *(const struct plumb_st_entry *const *)a;
    const struct plumb_st_entry *y = *(const struct plumb_st_entry *const *)b;
    size_t p = plumb_dtype_size(x->dtype), q = plumb_dtype_size(y->dtype);
    return p != q ? (p > q ? -1 : 1) : (x > y) - (x < y);
}

/* Sorts by name to see duplicates, then large elements first (so that all are aligned), else in the given order. */
static plumb_status order(plumb_context *context, const char *path, const struct plumb_st_entry **sorted, int n)
{
    if (n > 0) {
        qsort(sorted, (size_t)n, sizeof(sorted[0]), by_name);
    }
    for (int i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0) {
            return refuse(context, path, sorted[i]->name, "two tensors have this name");
        }
    }
    if (n > 0) {
        qsort(sorted, (size_t)n, sizeof(sorted[0]), by_size_of_element);
    }
    return PLUMB_OK;
}

static plumb_status add_metadata(plumb_context *context, const char *path, struct plumb_text *text,
                                 const char *const *metadata)
{
    plumb_text_add(text, "\"__metadata__\":{");
    for (int i = 0; metadata[i]; i += 2) {
        for (int j = 0; j < i; j += 2) {
            if (strcmp(metadata[i], metadata[j]) == 0) {
                return refuse(context, path, "__metadata__", "two values for '%.40s'", metadata[i]);
            }
        }
        if (!metadata[i + 1]) {
            return refuse(context, path, "__metadata__", "'%.40s' has no value", metadata[i]);
        }
        plumb_text_add(text, "%s", i > 0 ? "," : "");
        bool valid = add_string(text, metadata[i]);
        plumb_text_add(text, ":");
        if (!valid || !add_string(text, metadata[i + 1])) {
            return refuse(context, path, "__metadata__", "the text of '%.40s' is not UTF-8", metadata[i]);
        }
    }
    plumb_text_add(text, "}");
    return PLUMB_OK;
}

/* The header without its padding, and the size of the data. */
static plumb_status make_header(plumb_context *context, const char *path, const struct plumb_st_entry *const *sorted,
                                int n, const char *const *metadata, struct plumb_text *text, size_t *bytes)
{
    plumb_text_add(text, "{");
    if (metadata && metadata[0]) {
        plumb_status status = add_metadata(context, path, text, metadata);
        if (status != PLUMB_OK) {
            return status;
        }
    }
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const struct plumb_st_entry *entry = sorted[i];
        plumb_text_add(text, "%s", text->length > 1 ? "," : "");
        if (!add_string(text, entry->name)) {
            return refuse(context, path, "header", "the name of a tensor is not UTF-8");
        }
        plumb_text_add(text, ":{\"dtype\":\"%s\",\"shape\":[", st_name(entry->dtype));
        for (int d = 0; d < entry->shape.rank; d++) {
            plumb_text_add(text, "%s%lld", d > 0 ? "," : "", (long long)entry->shape.dim[d]);
        }
        if (entry->bytes > PTRDIFF_MAX / 4 - at) {
            return refuse(context, path, entry->name, "the tensors together are too large for a file");
        }
        plumb_text_add(text, "],\"data_offsets\":[%zu,%zu]}", at, at + entry->bytes);
        at += entry->bytes;
    }
    plumb_text_add(text, "}");
    *bytes = at;
    return text->failed ? PLUMB_FAILED : PLUMB_OK;
}

static plumb_status lay_out(plumb_context *context, const char *path, const struct plumb_st_entry **sorted, int n,
                            const struct plumb_text *text, size_t tensors, void **data, size_t *bytes)
{
    size_t length = (text->length + 7) & ~(size_t)7;
    if (length > PLUMB_ST_MAX_HEADER || n > PLUMB_ST_MAX_TENSORS) {
        return refuse(context, path, "header", "%zu bytes for %d tensors are more than the format allows", length, n);
    }
    unsigned char *file = plumb_alloc(context, 8 + length + tensors);
    if (!file) {
        return PLUMB_FAILED;
    }
    for (int i = 0; i < 8; i++) {
        file[i] = (unsigned char)(length >> (8 * i));
    }
    memset(file + 8, ' ', length);
    memcpy(file + 8, text->data, text->length);
    unsigned char *to = file + 8 + length;
    for (int i = 0; i < n; i++) {
        if (sorted[i]->bytes > 0) {
            memcpy(to, sorted[i]->data, sorted[i]->bytes);
        }
        to += sorted[i]->bytes;
    }
    *data = file;
    *bytes = 8 + length + tensors;
    return PLUMB_OK;
}

plumb_status plumb_st_make(plumb_context *context, const char *path, const struct plumb_st_entry *entries, int n,
                           const char *const *metadata, void **data, size_t *bytes)
{
    struct plumb_text text = {.context = context};
    size_t tensors = 0;
    *data = NULL;
    const struct plumb_st_entry **sorted = plumb_alloc(context, (size_t)n * sizeof(sorted[0]));
    plumb_status status = sorted ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; i < n && status == PLUMB_OK; i++) {
        sorted[i] = &entries[i];
        status = check_entry(context, path, &entries[i]);
    }
    if (status == PLUMB_OK) {
        status = order(context, path, sorted, n);
    }
    if (status == PLUMB_OK) {
        status = make_header(context, path, sorted, n, metadata, &text, &tensors);
    }
    if (status == PLUMB_OK) {
        status = lay_out(context, path, sorted, n, &text, tensors, data, bytes);
    }
    plumb_free(context, text.data);
    plumb_free(context, sorted);
    return status;
}

plumb_status plumb_st_write(plumb_context *context, const char *path, const struct plumb_st_entry *entries, int n,
                            const char *const *metadata)
{
    void *data;
    size_t bytes;
    plumb_status status = plumb_st_make(context, path, entries, n, metadata, &data, &bytes);
    if (status == PLUMB_OK) {
        status = plumb_write_file(context, path, data, bytes);
    }
    plumb_free(context, data);
    return status;
}
