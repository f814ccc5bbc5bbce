/* Tables and arrays that are wrong: each is refused with one line that names the file and the place. */
#include "check.h"
#include "core/core.h"
#include "files.h"
#include "numpy_npz.h"
#include "plumb/data.h"

static void refused(plumb_context *context, int number, plumb_dataset *d, const char *says)
{
    const char *message = plumb_message(context);
    CHECK_MSG(!d, "%d: was accepted, expected \"%s\"", number, says);
    CHECK_MSG(strstr(message, says) && !strchr(message, '\n'), "%d: says \"%s\", expected \"%s\"", number, message, says);
    CHECK_MSG(plumb_last_status(context) == PLUMB_BAD_INPUT, "%d: status %d", number, (int)plumb_last_status(context));
    plumb_clear_error(context);
}

PLUMB_TEST(formats, bad_csv)
{
    static const struct {
        const char *text;
        int bytes; /* 0: a string */
        plumb_dataset_options options;
        const char *says;
    } rows[] = {
        {"a,b,label\n", 0, {0}, "offset 10, rows: there are none"},
        {"\n", 0, {0}, "columns: there is 1"},
        {"1\n2\n", 0, {0}, "columns: there is 1"},
        {"1,2,0\n3,4\n", 0, {0}, "offset 6, line 2: 2 cells, the first row has 3"},
        {"1,2,0\n3,4,1,5\n", 0, {0}, "offset 6, line 2: 4 cells"},
        {"1,2,0\n\n3,4,1\n", 0, {0}, "line 2: 1 cells"},
        {"1,2,0\n3,,1\n", 0, {0}, "line 2, column 1: '' is empty"},
        {"1,2,0\n3,x,1\n", 0, {0}, "offset 6, line 2, column 1: 'x' is no number"},
        {"1,2,0\n3, 4,1\n", 0, {0}, "' 4' is no number"},
        {"1,2,0\n3,4 ,1\n", 0, {0}, "'4 ' is no number"},
        {"1,2,0\n3,nan,1\n", 0, {0}, "'nan' is no number"},
        {"1,2,0\n3,inf,1\n", 0, {0}, "'inf' is no number"},
        {"1,2,0\n3,0x4,1\n", 0, {0}, "'0x4' is no number"},
        {"1,2,0\n3,1e,1\n", 0, {0}, "'1e' is no number"},
        {"1,2,0\n3,.,1\n", 0, {0}, "'.' is no number"},
        {"1,2,0\n3,1e39,1\n", 0, {0}, "'1e39' is beyond the range of f32"},
        {"1,2,0\n3,1e400,1\n", 0, {0}, "beyond the range"},
        {"1,2,0\n3,4,1.5\n", 0, {0}, "column 2: '1.5' the label is no whole number"},
        {"1,2,0\n3,4,-1\n", 0, {0}, "'-1' the label is no whole number within the classes"},
        {"1,2,0\n3,4,65536\n", 0, {0}, "'65536' the label"},
        {"1,2,0\n3,4,3\n", 0, {.classes = 3}, "'3' the label"},
        {"1,2,0\n3,4,cat\n", 0, {0}, "'cat' is no number"},
        {"1,2,0\n\"3,4,1\n", 0, {0}, "the file ends inside a quoted cell"},
        {"1,2,0\n\"3\"4,4,1\n", 0, {0}, "text follows a quoted cell"},
        {"1,2,0\n3\"3,4,1\n", 0, {0}, "a quote inside a cell that does not begin with one"},
        {"1,2,0\r3,4,1\r", 0, {0}, "a carriage return that no line feed follows"},
        {"1,2\0,0\n", 8, {0}, "offset 3, line 1, column 1: a byte of zero"},
        {"\xff\xfe" "1\0,\0", 6, {0}, "is UTF-16"},
        {"a,b,c\n1,2,0\n", 0, {.label = "d"}, "no column is called 'd', nor is that a number below 3"},
        {"a,b,c\n1,2,0\n", 0, {.label = "3"}, "no column is called '3'"},
        {"a,b,c\n1,2,0\n", 0, {.label = "-1"}, "no column is called '-1'"},
        {"a,b,c\n1,2,0\n", 0, {.no_header = true}, "line 1, column 0: 'a' is no number"},
        {"1,2,0\n3,4,1\n", 0, {.expect = 3}, "there are 2, expected 3"},
        {"1,2,0\n3,4,1\n", 0, {.max_bytes = 8}, "line 2"},
        {"PK\3\4zip", 7, {0}, "columns: there is 1"},
    };
    char folder[64], *large = malloc(5000);
    files_begin(folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *path = files_put(folder, "t.csv", rows[i].text, (size_t)rows[i].bytes);
        const char *says = rows[i].options.max_bytes ? "pass the limit of 8 bytes" : rows[i].says;
        refused(context, (int)i, plumb_dataset_csv(context, path, &rows[i].options), says);
    }
    memset(large, '1', 4999);
    large[0] = '"';
    refused(context, 100, plumb_dataset_csv(context, files_put(folder, "t.csv", large, 5000), NULL), "longer than 4096 bytes");
    free(large);
    CHECK(plumb_memory_now(context) < 200000);
    plumb_close(context);
    files_end(folder);
}

/* One array of 2 x 3 bytes behind `header`; `version` and `length` as given, -1: right. */
static size_t make_npy(unsigned char *to, int version, const char *header, int length, int data)
{
    size_t bytes = strlen(header);
    memcpy(to, "\x93NUMPY", 6);
    to[6] = (unsigned char)version;
    to[7] = 0;
    to[8] = (unsigned char)(length < 0 ? (int)bytes : length);
    to[9] = (unsigned char)(length < 0 ? 0 : length >> 8);
    memcpy(to + 10, header, bytes);
    memset(to + 10 + bytes, 1, (size_t)data);
    return 10 + bytes + (size_t)data;
}

PLUMB_TEST(formats, bad_npy)
{
    static const struct {
        int version, length, data;
        const char *header, *says;
    } rows[] = {
        {0, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", "offset 6, version"},
        {4, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", "offset 6, version"},
        {1, 9999, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", "offset 8, header length"},
        {1, -1, 5, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", "data: are not as long as"},
        {1, -1, 7, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}", "data: are not as long as"},
        {1, -1, 6, "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", "dtype is not one of numbers"},
        {1, -1, 6, "{'descr': '|O8', 'fortran_order': False, 'shape': (2, 3)}", "a pickle, which is never unpickled"},
        {1, -1, 6, "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}", "dtype is not f2"},
        {1, -1, 6, "{'descr': '|S1', 'fortran_order': False, 'shape': (2, 3)}", "dtype is not f2"},
        {1, -1, 6, "{'descr': '<f3', 'fortran_order': False, 'shape': (2, 3)}", "dtype is not f2"},
        {1, -1, 6, "{'descr': '|f4', 'fortran_order': False, 'shape': (2, 3)}", "dtype is not f2"},
        {1, -1, 6, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", "dtype is a structure"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': 0, 'shape': (2, 3)}", "neither True nor False"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 3)}", "no whole number from 0"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2.0, 3)}", "is not closed"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': 6}", "is no tuple"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3", "is not closed"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,6)}", "more than 8 dimensions"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 3)}", "beyond 2^63"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904)}", "passes the limit"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 2)}", "passes the limit"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3)}", "or one twice"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False}", "lacks descr"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)} x", "text follows"},
        {1, -1, 6, "['descr']", "is no dictionary"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (6,)}", "is not (N, F)"},
        {1, -1, 0, "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 3)}", "with examples"},
        {1, -1, 6, "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2)}", "there are 2, but 3 examples"},
        {1, -1, 0, "{__import__('os').system('true')}", "has a key other than"},
    };
    char folder[64];
    unsigned char file[400];
    files_begin(folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    const char *good = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3)}";
    files_put(folder, "y.npy", file, make_npy(file, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", -1, 2));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        files_put(folder, "x.npy", file, make_npy(file, rows[i].version, rows[i].header, rows[i].length, rows[i].data));
        refused(context, (int)i, plumb_dataset_npy(context, files_name(folder, "x.npy"), files_name(folder, "y.npy"), NULL), rows[i].says);
    }
    size_t bytes = make_npy(file, 1, good, -1, 6);
    for (size_t cut = 1; cut < bytes; cut++) { /* every shorter file */
        files_put(folder, "x.npy", file, cut);
        refused(context, 1000 + (int)cut, plumb_dataset_npy(context, files_name(folder, "x.npy"), files_name(folder, "y.npy"), NULL), "offset");
    }
    bytes = make_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}", -1, 8);
    memcpy(file + bytes - 4, (const float[]){NAN}, 4);
    files_put(folder, "x.npy", file, bytes);
    refused(context, 50, plumb_dataset_npy(context, files_name(folder, "x.npy"), files_name(folder, "y.npy"), NULL), "data: is not a number");
    files_put(folder, "x.npy", file, make_npy(file, 1, good, -1, 6));
    files_put(folder, "y.npy", file, make_npy(file, 1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2,)}", -1, 4));
    refused(context, 51, plumb_dataset_npy(context, files_name(folder, "x.npy"), files_name(folder, "y.npy"), NULL), "of integers");
    plumb_close(context);
    files_end(folder);
}

/* Every archive that is cut, and every one with a byte changed that matters, is refused or reads the same. */
PLUMB_TEST(formats, bad_npz)
{
    char folder[64];
    files_begin(folder);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    plumb_dataset_free(plumb_dataset_npz(context, files_put(folder, "t.npz", numpy_npz, sizeof(numpy_npz)), NULL, NULL, "train", NULL));
    int64_t before = plumb_memory_now(context); /* with room for handles */
    int taken = 0;
    for (size_t cut = 1; cut < sizeof(numpy_npz); cut++) {
        const char *path = files_put(folder, "t.npz", numpy_npz, cut);
        refused(context, (int)cut, plumb_dataset_npz(context, path, NULL, NULL, "train", NULL), "offset");
    }
    for (size_t at = 0; at < sizeof(numpy_npz); at++) {
        unsigned char file[sizeof(numpy_npz)];
        memcpy(file, numpy_npz, sizeof(file));
        file[at] ^= 0x41;
        const char *path = files_put(folder, "t.npz", file, sizeof(file));
        plumb_dataset *d = plumb_dataset_npz(context, path, NULL, NULL, "train", NULL);
        taken += d != NULL; /* what no reader looks at: times, versions, the entries of the other part */
        CHECK_MSG(d || !strchr(plumb_message(context), '\n'), "%zu: more than a line", at);
        plumb_dataset_free(d);
        plumb_clear_error(context);
        CHECK_MSG(plumb_memory_now(context) == before, "%zu: keeps memory", at);
    }
    CHECK_MSG(taken < (int)sizeof(numpy_npz) * 3 / 4, "%d of %zu changes went unnoticed", taken, sizeof(numpy_npz));
    plumb_close(context);
    files_end(folder);
}
