/* Checkpoints as bytes. Decided here: one file rather than a body and a manifest beside it, so that one rename makes both
 * and they cannot disagree; a checksum over all of it at a fixed place, looked at before anything is parsed; one for each
 * tensor, so that a damaged file says where; nothing in the manifest that is not expected.
 *
 * Numbers of the position are written as integers, or as the bits of a double, in hexadecimal: exact, and the same in
 * every locale. What was read is written again and compared, so there is one way to write each. */
#include "train/manifest.h"

#include <stdio.h>

#define FIXED "{\"__metadata__\":{\"checkpoint\":\"" /* what the header begins with */
#define CRC_KEY "\",\"crc32c\":\""

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

bool plumb_values_finite(const struct plumb_st_entry *entry)
{
    const size_t width = plumb_dtype_size(entry->dtype);
    const size_t count = width ? entry->bytes / width : 0;
    const uint64_t exponent = entry->dtype == PLUMB_F64   ? 0x7ff0000000000000u
                              : entry->dtype == PLUMB_F32 ? 0x7f800000u
                              : entry->dtype == PLUMB_F16 ? 0x7c00u
                                                          : 0x7f80u;
    bool finite = true;
    for (size_t i = 0; finite && plumb_dtype_is_float(entry->dtype) && i < count; i++) {
        uint64_t bits = 0; /* little-endian, as the whole file */
        memcpy(&bits, (const char *)entry->data + i * width, width);
        finite = (bits & exponent) != exponent;
    }
    return finite;
}

/* ---- the position ---- */

struct field {
    const char *name;
    size_t at;
    bool real; /* a double; otherwise an int64_t */
};
#define WHOLE(name) {#name, offsetof(struct plumb_position, name), false}
#define REAL(name) {#name, offsetof(struct plumb_position, name), true}
static const struct field fields[] = {
    WHOLE(seed),     WHOLE(options), WHOLE(epoch),    WHOLE(batch), WHOLE(ran),     WHOLE(step),     WHOLE(steps_before),
    WHOLE(micro),    WHOLE(examples), WHOLE(right),   WHOLE(skipped), REAL(loss_sum), REAL(lr),      REAL(seconds),
    REAL(waited),    REAL(loss_scale), WHOLE(since),  REAL(best),   WHOLE(best_epoch), WHOLE(worse),
};
_Static_assert(sizeof(fields) / sizeof(fields[0]) * 8 == sizeof(struct plumb_position), "every field is kept");
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

/* "epoch=3 step=17 loss_sum=3ff0000000000000". */
static void write_position(const struct plumb_position *position, struct plumb_text *text)
{
    for (size_t i = 0; i < FIELDS; i++) {
        const char *from = (const char *)position + fields[i].at;
        uint64_t bits;
        memcpy(&bits, from, sizeof(bits));
        plumb_text_add(text, "%s%s=", i > 0 ? " " : "", fields[i].name);
        if (fields[i].real) {
            plumb_text_add(text, "%016llx", (unsigned long long)bits);
        } else {
            plumb_text_add(text, "%lld", (long long)bits);
        }
    }
}

/* PLUMB_BAD_INPUT, without a message, of anything but what write_position writes. */
static plumb_status read_position(plumb_context *context, const char *text, struct plumb_position *position)
{
    const char *at = text;
    memset(position, 0, sizeof(*position));
    for (size_t i = 0; i < FIELDS; i++) {
        size_t length = strlen(fields[i].name);
        at += i > 0 && *at == ' ';
        if (strncmp(at, fields[i].name, length) != 0 || at[length] != '=') {
            return PLUMB_BAD_INPUT;
        }
        char *end;
        uint64_t bits = fields[i].real ? strtoull(at + length + 1, &end, 16) : (uint64_t)strtoll(at + length + 1, &end, 10);
        memcpy((char *)position + fields[i].at, &bits, sizeof(bits));
        at = end;
    }
    struct plumb_text again = {.context = context};
    write_position(position, &again);
    plumb_status status = again.failed ? PLUMB_FAILED : strcmp(again.data, text) == 0 ? PLUMB_OK : PLUMB_BAD_INPUT;
    plumb_free(context, again.data);
    return status;
}

/* ---- checksums ---- */

static uint32_t tensor_crc(const struct plumb_st_entry *entry)
{
    char shape[160];
    const char *dtype = plumb_dtype_name(entry->dtype);
    plumb_shape_text(&entry->shape, shape, sizeof(shape));
    uint32_t crc = plumb_crc32c(0, entry->name, strlen(entry->name) + 1);
    crc = plumb_crc32c(crc, dtype, strlen(dtype) + 1);
    crc = plumb_crc32c(crc, shape, strlen(shape) + 1);
    return entry->bytes > 0 ? plumb_crc32c(crc, entry->data, entry->bytes) : crc;
}

/* Eight digits and a space for each. */
static void add_crc(struct plumb_text *text, const struct plumb_st_entry *entry)
{
    plumb_text_add(text, "%08x ", (unsigned)tensor_crc(entry));
}

/* Of a file whose eight digits at `at` count as zeros. */
static uint32_t file_crc(const unsigned char *data, size_t bytes, size_t at)
{
    uint32_t crc = plumb_crc32c(0, data, at);
    crc = plumb_crc32c(crc, "00000000", 8);
    return plumb_crc32c(crc, data + at + 8, bytes - at - 8);
}

static uint64_t configuration_hash(const char *const *pairs)
{
    uint64_t hash = plumb_hash("");
    for (int i = 0; pairs && pairs[i]; i++) {
        hash = (hash ^ plumb_hash(pairs[i])) * 0x100000001b3u; /* depends on the order, and on where a text ends */
    }
    return hash;
}

/* ---- making ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct plumb_st_entry *const *)a)->name, (*(const struct plumb_st_entry *const *)b)->name);
}

static char *crcs_of(plumb_context *context, const struct plumb_st_entry *entries, int n)
{
    struct plumb_text text = {.context = context};
    const struct plumb_st_entry **sorted = plumb_alloc(context, (size_t)n * sizeof(sorted[0]));
    for (int i = 0; sorted && i < n; i++) {
        sorted[i] = &entries[i];
    }
    if (sorted && n > 0) {
        qsort(sorted, (size_t)n, sizeof(sorted[0]), by_name);
    }
    plumb_text_add(&text, "%s", "");
    for (int i = 0; sorted && i < n; i++) {
        add_crc(&text, sorted[i]);
    }
    text.failed = text.failed || !sorted;
    plumb_free(context, sorted);
    return plumb_text_take(&text);
}

/* The pairs of the metadata, in an arena; NULL when out of memory. */
static const char **pairs_of(struct plumb_arena *arena, const struct plumb_manifest *m, const char *position, const char *tensors)
{
    char version[16], writer[64], data[24], hash[24];
    size_t n = 0, at = 0;
    while (m->configuration && m->configuration[n]) {
        n += 2;
    }
    snprintf(version, sizeof(version), "%d", PLUMB_CHECKPOINT_VERSION);
    snprintf(writer, sizeof(writer), "plumb %s", plumb_version());
    snprintf(data, sizeof(data), "%016llx", (unsigned long long)m->data);
    snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)configuration_hash(m->configuration));
    const char *const before[][2] = {{"checkpoint", version}, {"crc32c", "00000000"},
                                     {"healthy", m->healthy ? "yes" : "no"}, {"writer", writer},
                                     {"position", position}, {"data", data},
                                     {"implementations", m->implementations ? m->implementations : ""},
                                     {"configuration_hash", hash}};
    const char **pairs = plumb_arena_alloc(arena, (2 * sizeof(before) / sizeof(before[0]) + n + 3) * sizeof(pairs[0]));
    bool good = pairs != NULL;
    for (size_t i = 0; good && i < sizeof(before) / sizeof(before[0]); i++) {
        pairs[at] = before[i][0];
        pairs[at + 1] = plumb_arena_strdup(arena, before[i][1]);
        good = pairs[at + 1] != NULL;
        at += 2;
    }
    for (size_t i = 0; good && i < n; i += 2) {
        size_t room = strlen(m->configuration[i]) + sizeof("configuration.");
        char *key = plumb_arena_alloc(arena, room);
        good = key != NULL;
        if (good) {
            snprintf(key, room, "configuration.%s", m->configuration[i]);
            pairs[at++] = key;
            pairs[at++] = m->configuration[i + 1];
        }
    }
    if (good) {
        pairs[at] = "tensors";
        pairs[at + 1] = tensors;
        pairs[at + 2] = NULL;
    }
    return good ? pairs : NULL;
}

plumb_status plumb_manifest_make(plumb_context *context, const char *path, const struct plumb_manifest *manifest,
                                 const struct plumb_st_entry *entries, int n, void **data, size_t *bytes)
{
    struct plumb_arena arena = {.context = context};
    struct plumb_text position = {.context = context};
    write_position(&manifest->position, &position);
    char *at = plumb_text_take(&position), *tensors = crcs_of(context, entries, n);
    const char **pairs = at && tensors ? pairs_of(&arena, manifest, at, tensors) : NULL;
    *data = NULL;
    plumb_status status = pairs ? plumb_st_make(context, path, entries, n, pairs, data, bytes) : PLUMB_FAILED;
    if (!status) {
        char digits[9], version[16];
        size_t where = 8 + strlen(FIXED) + (size_t)snprintf(version, sizeof(version), "%d", PLUMB_CHECKPOINT_VERSION) + strlen(CRC_KEY);
        snprintf(digits, sizeof(digits), "%08x", (unsigned)file_crc(*data, *bytes, where));
        memcpy((char *)*data + where, digits, 8);
    }
    plumb_free(context, at);
    plumb_free(context, tensors);
    plumb_arena_free(&arena);
    return status;
}

/* ---- reading ---- */

/* The fixed beginning: whether this is a checkpoint, of this version, and whether its checksum holds. *digits is where its
 * own stand. */
static plumb_status check_frame(plumb_context *context, const char *path, const unsigned char *data, size_t bytes, bool *whole)
{
    const size_t fixed = strlen(FIXED), key = strlen(CRC_KEY);
    if (bytes < 8 + fixed || memcmp(data + 8, FIXED, fixed) != 0) {
        return PLUMB_OK; /* whatever it is, the safetensors reader says what is wrong with it, or the manifest is missing */
    }
    size_t at = 8 + fixed, digits = 0;
    long version = 0;
    while (at + digits < bytes && digits < 6 && data[at + digits] >= '0' && data[at + digits] <= '9') {
        version = version * 10 + (data[at + digits++] - '0');
    }
    if (digits > 0 && version != PLUMB_CHECKPOINT_VERSION) {
        return refuse(context, path, "checkpoint", "its format is version %ld, this plumb reads version %d", version,
                      PLUMB_CHECKPOINT_VERSION);
    }
    at += digits;
    if (digits == 0 || at + key + 8 > bytes || memcmp(data + at, CRC_KEY, key) != 0) {
        return refuse(context, path, "checkpoint", "version and checksum are not where they belong");
    }
    char expected[9];
    snprintf(expected, sizeof(expected), "%08x", (unsigned)file_crc(data, bytes, at + key));
    *whole = memcmp(data + at + key, expected, 8) == 0;
    return PLUMB_OK;
}

static plumb_status check_tensors(plumb_context *context, const char *path, const struct plumb_st_file *file)
{
    const char *crcs = plumb_st_metadata(file, "tensors");
    if (!crcs || strlen(crcs) != (size_t)file->n_entries * 9) {
        return refuse(context, path, "tensors", "%s", crcs ? "not a checksum for each" : "their checksums are missing");
    }
    for (int i = 0; i < file->n_entries; i++) {
        char expected[10];
        snprintf(expected, sizeof(expected), "%08x ", (unsigned)tensor_crc(file->names[i]));
        if (memcmp(crcs + (size_t)i * 9, expected, 9) != 0) {
            return refuse(context, path, file->names[i]->name, "its checksum is wrong: the file is damaged");
        }
    }
    return PLUMB_OK;
}

static bool read_hex(const char *text, uint64_t *value)
{
    bool good = text && strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
    *value = good ? strtoull(text, NULL, 16) : 0;
    return good;
}

static plumb_status read_configuration(plumb_context *context, const char *path, struct plumb_manifest *m,
                                       struct plumb_st_file *file)
{
    static const char *const known[] = {"checkpoint", "crc32c", "healthy", "writer", "position", "data",
                                        "implementations", "configuration_hash", "tensors"};
    const size_t prefix = strlen("configuration.");
    size_t n = 0, at = 0;
    while (file->metadata[n]) {
        n++;
    }
    const char **pairs = plumb_arena_alloc(&file->arena, (n + 1) * sizeof(pairs[0]));
    if (!pairs) {
        return PLUMB_FAILED;
    }
    for (size_t i = 0; i < n; i += 2) {
        const char *key = file->metadata[i];
        bool is_known = false;
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
            is_known = is_known || strcmp(key, known[k]) == 0;
        }
        if (strncmp(key, "configuration.", prefix) == 0) {
            pairs[at++] = key + prefix;
            pairs[at++] = file->metadata[i + 1];
        } else if (!is_known) {
            return refuse(context, path, "__metadata__", "'%.40s' is none of a checkpoint's", key);
        }
    }
    m->configuration = pairs;
    return PLUMB_OK;
}

static plumb_status read_manifest(plumb_context *context, const char *path, struct plumb_manifest *m, struct plumb_st_file *file)
{
    const char *healthy = plumb_st_metadata(file, "healthy"), *position = plumb_st_metadata(file, "position");
    uint64_t hash = 0;
    plumb_status status = read_configuration(context, path, m, file);
    if (status) {
        return status;
    }
    if (!healthy || (strcmp(healthy, "yes") != 0 && strcmp(healthy, "no") != 0)) {
        return refuse(context, path, "healthy", "is neither yes nor no");
    }
    m->healthy = strcmp(healthy, "yes") == 0;
    status = position ? read_position(context, position, &m->position) : PLUMB_BAD_INPUT;
    if (status) {
        return status == PLUMB_FAILED ? status
                                      : refuse(context, path, "position", "is %s", position ? "not what this plumb writes" : "missing");
    }
    if (!read_hex(plumb_st_metadata(file, "data"), &m->data)) {
        return refuse(context, path, "data", "is not a hash of 16 digits");
    }
    if (!read_hex(plumb_st_metadata(file, "configuration_hash"), &hash) || hash != configuration_hash(m->configuration)) {
        return refuse(context, path, "configuration_hash", "is not that of the configuration");
    }
    m->implementations = plumb_st_metadata(file, "implementations");
    if (!m->implementations || !plumb_st_metadata(file, "writer")) {
        return refuse(context, path, "__metadata__", "'%s' is missing", m->implementations ? "writer" : "implementations");
    }
    for (int i = 0; m->healthy && i < file->n_entries; i++) {
        if (strcmp(file->entries[i].name, PLUMB_HISTORY_NAME) != 0 && !plumb_values_finite(&file->entries[i])) {
            return refuse(context, path, file->entries[i].name, "a value is not finite, though the file is called healthy");
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_manifest_parse(plumb_context *context, const char *path, void *data, size_t bytes,
                                  struct plumb_manifest *manifest, struct plumb_st_file *file)
{
    bool whole = false;
    *manifest = (struct plumb_manifest){0};
    *file = (struct plumb_st_file){.arena = {.context = context}};
    plumb_status status = check_frame(context, path, data, bytes, &whole);
    if (status) {
        plumb_free(context, data);
        return status;
    }
    status = plumb_st_parse(context, path, data, bytes, file);
    if (!status && !plumb_st_metadata(file, "checkpoint")) {
        status = refuse(context, path, "__metadata__", "'checkpoint' is missing: these may be weights, but no checkpoint");
    }
    if (!status) {
        status = check_tensors(context, path, file);
    }
    if (!status && !whole) {
        status = refuse(context, path, "header", "the file's checksum is wrong: it is damaged");
    }
    if (!status) {
        status = read_manifest(context, path, manifest, file);
    }
    if (status) {
        plumb_st_free(context, file);
        *manifest = (struct plumb_manifest){0};
    }
    return status;
}
