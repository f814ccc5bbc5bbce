/* safetensors: what is written comes back, and each of the named bad inputs is refused in one line that says why.
 * The numbers are those of the list of bad inputs in the testing notes. */
#include "check.h"

#include <dirent.h>
#include <unistd.h>

#include "io/safetensors.h"

static bool make_folder(char folder[64])
{
    snprintf(folder, 64, "%s/plumb-test-XXXXXX", P_tmpdir);
    return mkdtemp(folder) != NULL;
}

/* Every test uses the one file "f" in its folder. */
static void remove_folder(const char *folder, const char *path)
{
    unlink(path);
    CHECK(rmdir(folder) == 0);
}

static bool write_raw(const char *path, const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    FILE *file = fopen(path, "we");
    bool good = file && fwrite(a, 1, a_bytes, file) == a_bytes && fwrite(b, 1, b_bytes, file) == b_bytes;
    return file && fclose(file) == 0 && good;
}

/* A file of a header, its true length in front, and `data` bytes 1, 2, 3, ... */
static bool write_file(const char *path, const char *header, size_t length, size_t data)
{
    unsigned char *start = malloc(8 + length), *body = malloc(data + 1);
    for (int i = 0; i < 8; i++) {
        start[i] = (unsigned char)(length >> (8 * i));
    }
    memcpy(start + 8, header, length);
    for (size_t i = 0; i < data; i++) {
        body[i] = (unsigned char)(i + 1);
    }
    bool good = write_raw(path, start, 8 + length, body, data);
    free(start);
    free(body);
    return good;
}

/* The file at `path` is refused: bad input, one line beginning with the path and containing `says`, nothing kept, and
 * within a second. */
static void check_refused(plumb_context *context, const char *path, const char *number, const char *says)
{
    struct plumb_st_file file;
    int64_t before = plumb_memory_now(context);
    double start = test_cpu_seconds();
    plumb_clear_error(context);
    plumb_status status = plumb_st_read(context, path, &file);
    CHECK_MSG(status == PLUMB_BAD_INPUT, "%s: status %d, '%s'", number, (int)status, plumb_message(context));
    CHECK_MSG(strstr(plumb_message(context), says), "%s: says '%s', not '%s'", number, plumb_message(context), says);
    CHECK_MSG(strncmp(plumb_message(context), path, strlen(path)) == 0, "%s: does not name the file", number);
    CHECK_MSG(!file.entries && !file.data && !file.n_entries, "%s: keeps something", number);
    plumb_st_free(context, &file);
    CHECK_MSG(plumb_memory_now(context) == before, "%s: leaks", number);
    CHECK_MSG(test_cpu_seconds() - start < 1, "%s: takes %g s", number, test_cpu_seconds() - start);
}

#define T(name, dtype, shape, begin, end)                                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"
#define ONE(fields) "{\"w\":{" fields "}}"
#define SHAPE(shape) ONE("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0,4]")
#define OFFSETS(offsets) ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" offsets)
#define DTYPE(dtype) ONE("\"dtype\":" dtype ",\"shape\":[1],\"data_offsets\":[0,4]")

PLUMB_TEST(safetensors, bad_headers_are_refused)
{
    static const struct {
        const char *number, *header;
        size_t data;
        const char *says;
    } rows[] = {
        {"8", "{" T("w", "F32", "2", 0, 8) "}", 0, "the data has 0 bytes"},
        {"9 space", " {" T("w", "F32", "1", 0, 4) "}", 4, "does not begin with '{'"},
        {"9 mark", "\xef\xbb\xbf{}", 0, "does not begin with '{'"},
        {"9 bracket", "[]", 0, "does not begin with '{'"},
        {"10", "{" T("\xff", "F32", "1", 0, 4) "}", 4, "header: byte"},
        {"11", "{" T("\xc0\xaf", "F32", "1", 0, 4) "}", 4, "header: byte"},
        {"12", "{" T("w\\u0000x", "F32", "1", 0, 4) "}", 4, "header: byte"},
        {"13 inside", ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],"), 4, "header: byte"},
        {"13 outside", "{" T("w", "F32", "1", 0, 4) ",}", 4, "header: byte"},
        {"14", "{/* */" T("w", "F32", "1", 0, 4) "}", 4, "header: byte"},
        {"16", "{" T("w", "F32", "1", 0, 4) "," T("w", "F32", "1", 4, 8) "}", 8, "duplicate"},
        {"17", ONE("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "duplicate"},
        {"18", "{" T("w", "F32", "1", 0, 4) "," T("\\u0077", "F32", "1", 4, 8) "}", 8, "duplicate"},
        {"19", "{" T("", "F32", "1", 0, 4) "}", 4, "name of a tensor is empty"},
        {"20", "{" T("../../x", "F32", "1", 0, 4) "}", 4, "'..'"},
        {"20 end", "{" T("a/..", "F32", "1", 0, 4) "}", 4, "'..'"},
        {"20 control", "{" T("a\\nb", "F32", "1", 0, 4) "}", 4, "control character"},
        {"22", "{" T("\\ud800", "F32", "1", 0, 4) "}", 4, "header: byte"},
        {"23", DTYPE("\"f32\""), 4, "dtype 'f32' is unknown"},
        {"24", DTYPE("\"F128\""), 4, "dtype 'F128' is unknown"},
        {"24 i8", DTYPE("\"I8\""), 4, "w: dtype I8 has no counterpart"},
        {"24 bool", DTYPE("\"BOOL\""), 4, "w: dtype BOOL has no counterpart"},
        {"25", DTYPE("32"), 4, "dtype is not a string"},
        {"25 missing", ONE("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "dtype is missing"},
        {"26", ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "w: shape is missing"},
        {"26 number", SHAPE("1"), 4, "shape is not an array"},
        {"27", SHAPE("[-1]"), 4, "dimension 0 is not a whole number"},
        {"28", SHAPE("[1.5]"), 4, "dimension 0 is not a whole number"},
        {"29", SHAPE("[1,1e2]"), 4, "dimension 1 is not a whole number"},
        {"29 text", SHAPE("[\"1\"]"), 4, "dimension 0 is not a whole number"},
        {"30", SHAPE("[9223372036854775808]"), 4, "too big integer"},
        {"31", SHAPE("[4294967296,4294967296]"), 4, "product overflows"},
        {"31 bytes", SHAPE("[4611686018427387904]"), 4, "product overflows"},
        {"31 zero", SHAPE("[0,4294967296,4294967296]"), 4, "product overflows"},
        {"32 nine", SHAPE("[1,1,1,1,1,1,1,1,1]"), 4, "shape has 9 dimensions"},
        {"33", "{" T("w", "F32", "", 0, 8) "}", 8, "span 8 bytes, but shape and dtype need 4"},
        {"34", OFFSETS("[4,0]"), 4, "not in order"},
        {"35", "{" T("a", "F32", "1", 0, 4) "," T("b", "U8", "4", 3, 7) "}", 7, "b: data_offsets begin 1 bytes in"},
        {"36", "{" T("a", "F32", "1", 0, 4) "," T("b", "U8", "4", 5, 9) "}", 9, "b: data_offsets leave a hole of"},
        {"36 first", "{" T("a", "F32", "1", 1, 5) "}", 5, "a: data_offsets leave a hole of 1"},
        {"37", "{" T("a", "F32", "2", 0, 8) "," T("z", "F32", "0", 4, 4) "}", 8, "z: data_offsets begin 4 bytes in"},
        {"37 end", "{" T("a", "U8", "2", 0, 2) "," T("z", "F32", "0", 3, 3) "}", 3, "z: data_offsets leave a hole"},
        {"38", "{" T("a", "F32", "1", 0, 4) "}", 5, "data: its last 1 bytes belong to no tensor"},
        {"38 empty", "{}", 1, "its last 1 bytes belong to no tensor"},
        {"39", "{" T("a", "F32", "1", 0, 4) "}", 3, "end at 4, but the data has 3 bytes"},
        {"39 far", OFFSETS("[9223372036854775803,9223372036854775807]"), 4, "the data has 4 bytes"},
        {"40 negative", OFFSETS("[-4,0]"), 4, "not in order"},
        {"40 float", OFFSETS("[0,4.0]"), 4, "not two whole numbers"},
        {"40 three", OFFSETS("[0,4,8]"), 4, "not two whole numbers"},
        {"40 one", OFFSETS("[4]"), 4, "not two whole numbers"},
        {"40 object", OFFSETS("{}"), 4, "not two whole numbers"},
        {"40 missing", ONE("\"dtype\":\"F32\",\"shape\":[1]"), 4, "are missing"},
        {"41", "{" T("h", "F16", "1", 0, 3) "}", 3, "span 3 bytes, but shape and dtype need 2"},
        {"41 half byte", "{" T("h", "F4", "3", 0, 2) "}", 2, "dtype F4 has no counterpart"},
        {"42 number", "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: the value of 'a' is not a string"},
        {"42 nested", "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, "the value of 'a' is not a string"},
        {"42 list", "{\"__metadata__\":[]}", 0, "__metadata__: is not an object"},
        {"field", ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1"), 4, "unknown field 'x'"},
        {"value", "{\"w\":7}", 0, "w: is not an object"},
        {"tail", "{}}", 0, "header: byte"},
        {"unfinished", "{\"w\"", 0, "header: byte"},
        {"4", "{", 0, "header: byte"},
    };
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        REQUIRE(write_file(path, rows[i].header, strlen(rows[i].header), rows[i].data));
        check_refused(context, path, rows[i].number, rows[i].says);
    }
    plumb_close(context);
    remove_folder(folder, path);
}

PLUMB_TEST(safetensors, bad_frames_are_refused)
{
    static const struct {
        const char *number;
        unsigned char bytes[16];
        size_t length;
        const char *says;
    } rows[] = {
        {"1", {0}, 0, "the file has 0"},
        {"2", {1}, 7, "the file has 7"},
        {"3", {0}, 8, "does not begin with '{'"},
        {"3 longer", {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "does not begin with '{'"},
        {"5", {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}, 10, "18446744073709551615 bytes long, but the limit"},
        {"6", {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{', '}'}, 10, "100000001 bytes long, but the limit is 100000000"},
        {"7", {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "3 bytes long, but the rest of the file has 2"},
    };
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        REQUIRE(write_raw(path, rows[i].bytes, rows[i].length, "", 0));
        check_refused(context, path, rows[i].number, rows[i].says);
    }
    /* 44: a valid file with the beginning of a ZIP archive's directory behind it. */
    static const char header[] = "{" T("a", "F32", "1", 0, 4) "}";
    REQUIRE(write_file(path, header, strlen(header), 4));
    FILE *file = fopen(path, "ae");
    REQUIRE(file && fwrite("PK\5\6", 1, 4, file) == 4 && fclose(file) == 0);
    check_refused(context, path, "44", "its last 4 bytes belong to no tensor");
    /* The folder itself, and what is not there. */
    struct plumb_st_file none;
    plumb_clear_error(context);
    CHECK(plumb_st_read(context, folder, &none) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "is a directory");
    plumb_clear_error(context);
    unlink(path);
    CHECK(plumb_st_read(context, path, &none) == PLUMB_IO_ERROR);
    plumb_close(context);
    remove_folder(folder, path);
}

/* Headers too large to write down. */
PLUMB_TEST(safetensors, huge_headers_are_refused)
{
    enum { DEEP = 100000, LONG = 10 * 1000 * 1000, MANY = 5 * 1000 * 1000, ROOM = 40 * 1000 * 1000 };
    char folder[64], path[80], *text = malloc(ROOM + 1);
    REQUIRE(make_folder(folder) && text);
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    size_t at = (size_t)sprintf(text, "{\"w\":");
    memset(text + at, '[', DEEP);
    REQUIRE(write_file(path, text, at + DEEP, 0));
    check_refused(context, path, "15", "header: byte");
    at = (size_t)sprintf(text, "{\"");
    memset(text + at, 'n', LONG);
    at += LONG;
    at += (size_t)sprintf(text + at, "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    REQUIRE(write_file(path, text, at, 4));
    check_refused(context, path, "21", "longer than 1024");
    at = (size_t)sprintf(text, "{\"w\":{\"dtype\":\"F32\",\"shape\":[");
    for (int i = 0; i < 65; i++) {
        at += (size_t)sprintf(text + at, "%s1", i ? "," : "");
    }
    at += (size_t)sprintf(text + at, "],\"data_offsets\":[0,4]}}");
    REQUIRE(write_file(path, text, at, 4));
    check_refused(context, path, "32", "65 dimensions");
    at = 1; /* counted before names are compared, so all may be the same */
    for (int i = 0; i < MANY; i++, at += 7) {
        memcpy(text + at, "\"w\":{},", 7);
    }
    text[at - 1] = '}';
    text[0] = '{';
    REQUIRE(write_file(path, text, at, 0));
    check_refused(context, path, "43", "more than 250000 tensors");
    at = (size_t)sprintf(text, "{\"w\":[0");
    for (; at < ROOM - 4; at += 2) {
        memcpy(text + at, ",0", 2);
    }
    at += (size_t)sprintf(text + at, "]}");
    REQUIRE(write_file(path, text, at, 0));
    check_refused(context, path, "43 numbers", "more than 250000 tensors");
    plumb_close(context);
    remove_folder(folder, path);
    free(text);
}

PLUMB_TEST(safetensors, a_hundred_thousand_tensors_are_fine)
{
    enum { MANY = 100000 };
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    struct plumb_st_entry *entries = calloc(MANY, sizeof(*entries));
    char (*names)[16] = calloc(MANY, sizeof(*names));
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "t%d", i);
        entries[i] = (struct plumb_st_entry){
            .name = names[i], .dtype = PLUMB_I32, .shape = PLUMB_SHAPE(1), .data = &entries[i].shape.rank, .bytes = 4};
    }
    double start = test_cpu_seconds();
    struct plumb_st_file file;
    CHECK(plumb_st_write(context, path, entries, MANY, NULL) == PLUMB_OK);
    CHECK_MSG(plumb_st_read(context, path, &file) == PLUMB_OK, "%s", plumb_message(context));
    CHECK(file.n_entries == MANY);
    for (int i = 0; i < MANY; i += 997) {
        const struct plumb_st_entry *entry = plumb_st_find(&file, names[i]);
        CHECK(entry && *(const int32_t *)entry->data == 1);
    }
    CHECK_MSG(test_cpu_seconds() - start < 10, "takes %g s", test_cpu_seconds() - start);
    plumb_st_free(context, &file);
    plumb_close(context);
    free(entries);
    free(names);
    remove_folder(folder, path);
}

/* ---- what is good ---- */

PLUMB_TEST(safetensors, comes_back_as_it_was_written)
{
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    int64_t before = plumb_memory_now(context);
    double values[6] = {1, -2, INFINITY, NAN, 5e-324, -0.0};
    uint8_t bytes[3] = {7, 8, 9};
    uint16_t half = 0x3c00;
    const struct plumb_st_entry entries[] = {
        {"bytes", PLUMB_U8, PLUMB_SHAPE(3), bytes, 3},
        {"half \"\\ \xc3\xa9", PLUMB_F16, PLUMB_SCALAR_SHAPE, &half, 2},
        {"layer/1/w:m", PLUMB_F64, PLUMB_SHAPE(2, 3), values, 48},
        {"none", PLUMB_F32, PLUMB_SHAPE(4, 0), NULL, 0},
        {"nothing", PLUMB_BF16, PLUMB_SHAPE(0), NULL, 0},
        {"pair", PLUMB_I64, PLUMB_SHAPE(1, 1, 1, 1, 1, 1, 1, 2), values, 16},
    };
    const char *const metadata[] = {"format", "plumb", "empty", "", "lines", "a\nb\"\x01", NULL};
    CHECK(plumb_st_write(context, path, entries, 6, metadata) == PLUMB_OK);
    struct plumb_st_file file;
    REQUIRE(plumb_st_read(context, path, &file) == PLUMB_OK);
    CHECK(file.n_entries == 6);
    for (int i = 0; i < 6; i++) {
        const struct plumb_st_entry *entry = plumb_st_find(&file, entries[i].name);
        REQUIRE(entry);
        CHECK(entry->dtype == entries[i].dtype && plumb_shape_equal(&entry->shape, &entries[i].shape));
        CHECK(entry->bytes == entries[i].bytes && (uintptr_t)entry->data % plumb_dtype_size(entry->dtype) == 0);
        CHECK(entry->bytes == 0 || memcmp(entry->data, entries[i].data, entry->bytes) == 0);
    }
    CHECK(!plumb_st_find(&file, "absent"));
    CHECK_TEXT(plumb_st_metadata(&file, "lines"), "a\nb\"\x01");
    CHECK(strcmp(plumb_st_metadata(&file, "empty"), "") == 0 && !plumb_st_metadata(&file, "absent"));
    CHECK(((unsigned char *)file.data)[0] % 8 == 0);
    plumb_st_free(context, &file);
    CHECK(plumb_st_write(context, path, NULL, 0, NULL) == PLUMB_OK);
    CHECK(plumb_st_read(context, path, &file) == PLUMB_OK && file.n_entries == 0 && !plumb_st_find(&file, "x"));
    CHECK(file.metadata && !file.metadata[0]);
    plumb_st_free(context, &file);
    plumb_st_free(context, &file);
    CHECK(plumb_memory_now(context) == before);
    plumb_close(context);
    remove_folder(folder, path);
}

/* Other writers do not align: any header length, an odd tensor before a wide one, any order, empty ones between. */
PLUMB_TEST(safetensors, unaligned_files_are_read)
{
    char folder[64], path[80], header[512];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    static const char tensors[] =
        T("wide", "F64", "2", 3, 19) "," T("odd", "U8", "3", 0, 3) "," T("z", "F32", "0", 3, 3);
    for (int pad = 0; pad < 70; pad++) {
        int length = snprintf(header, sizeof(header), "{%s%*s}", tensors, pad, "");
        REQUIRE(write_file(path, header, (size_t)length, 19));
        struct plumb_st_file file;
        CHECK_MSG(plumb_st_read(context, path, &file) == PLUMB_OK, "pad %d: %s", pad, plumb_message(context));
        const struct plumb_st_entry *wide = plumb_st_find(&file, "wide"), *odd = plumb_st_find(&file, "odd");
        REQUIRE(wide && odd);
        CHECK((uintptr_t)wide->data % 8 == 0);
        for (int i = 0; i < 16; i++) {
            CHECK(((const unsigned char *)wide->data)[i] == i + 4);
        }
        CHECK(memcmp(odd->data, "\1\2\3", 3) == 0);
        plumb_st_free(context, &file);
    }
    plumb_close(context);
    remove_folder(folder, path);
}

PLUMB_TEST(safetensors, what_cannot_be_read_is_not_written)
{
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    float x[2] = {1, 2};
    const struct {
        struct plumb_st_entry entries[2];
        int n;
        const char *metadata[5], *says;
    } rows[] = {
        {{{"", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "is empty"},
        {{{NULL, PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "has no name"},
        {{{"__metadata__", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "is named __metadata__"},
        {{{"a\xff", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "not UTF-8"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(1), x, 4}, {"a", PLUMB_U8, PLUMB_SHAPE(1), x, 1}}, 2, {NULL}, "two tensors"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(2), x, 4}}, 1, {NULL}, "4 bytes do not fit f32 (2)"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH), x, 4}}, 1, {NULL}, "do not fit f32 (N)"},
        {{{"a", PLUMB_NO_DTYPE, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "dtype 0 is not valid"},
        {{{"a", (plumb_dtype)99, PLUMB_SHAPE(1), x, 4}}, 1, {NULL}, "dtype 99 is not valid"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {"k", "1", "k", "2", NULL}, "two values for 'k'"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {"k", NULL}, "'k' has no value"},
        {{{"a", PLUMB_F32, PLUMB_SHAPE(1), x, 4}}, 1, {"k", "\xfe", NULL}, "is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        plumb_clear_error(context);
        plumb_status status = plumb_st_write(context, path, rows[i].entries, rows[i].n, rows[i].metadata);
        CHECK_MSG(status == PLUMB_BAD_INPUT, "row %zu: %d", i, (int)status);
        CHECK_TEXT(plumb_message(context), rows[i].says);
        CHECK(access(path, F_OK) != 0);
    }
    plumb_close(context);
    remove_folder(folder, path);
}

/* ---- memory running out ---- */

struct ration {
    int64_t held, calls, fail_at;
};

static void *ration_alloc(void *user, size_t bytes)
{
    struct ration *ration = user;
    if (++ration->calls == ration->fail_at) {
        return NULL;
    }
    ration->held += (int64_t)bytes;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}

static void ration_free(void *user, void *memory, size_t bytes)
{
    ((struct ration *)user)->held -= (int64_t)bytes;
    free(memory);
}

PLUMB_TEST(safetensors, every_allocation_may_fail)
{
    char folder[64], path[80];
    REQUIRE(make_folder(folder));
    snprintf(path, sizeof(path), "%s/f", folder);
    struct ration ration = {0};
    plumb_allocator allocator = {.user = &ration, .alloc = ration_alloc, .free = ration_free};
    plumb_context *context = plumb_open(&(plumb_options){.allocator = &allocator, .threads = 1});
    REQUIRE(context);
    static const char header[] = "{" T("odd", "U8", "3", 0, 3) "," T("wide", "F64", "2", 3, 19)
                                 ",\"__metadata__\":{\"a\":\"b\"}}";
    REQUIRE(write_file(path, header, strlen(header), 19));
    int64_t before = ration.held, points = 0;
    for (int writing = 0; writing < 2; writing++) {
        for (int64_t n = 1;; n++, points++) {
            double x[2] = {1, 2};
            const struct plumb_st_entry entry = {"x", PLUMB_F64, PLUMB_SHAPE(2), x, 16};
            const char *const metadata[] = {"a", "b", NULL};
            struct plumb_st_file file = {0};
            ration.fail_at = ration.calls + n;
            plumb_clear_error(context);
            plumb_status status = writing ? plumb_st_write(context, path, &entry, 1, metadata)
                                          : plumb_st_read(context, path, &file);
            bool reached = ration.calls >= ration.fail_at;
            ration.fail_at = 0;
            CHECK_MSG(status == (reached ? PLUMB_FAILED : PLUMB_OK), "point %lld: %d", (long long)n, (int)status);
            plumb_st_free(context, &file);
            CHECK(ration.held == before);
            if (!reached) {
                break;
            }
            CHECK_TEXT(plumb_message(context), "out of memory");
        }
    }
    CHECK(points >= 8);
    plumb_close(context);
    CHECK(ration.held == 0);
    remove_folder(folder, path);
}
