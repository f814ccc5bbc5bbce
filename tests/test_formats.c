/* Readers of data sets: what is read is what was written, by hand, by numpy and by Pillow; names, splits of rows and classes; what
 * is left out under max_bad. What must be refused is in bad_tables.c, bad_cifar.c and bad_pictures.c. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "core/core.h"
#include "files.h"
#include "io/png.h"
#include "numpy_npz.h"
#include "pictures.h"
#include "plumb/plumb.h"

static plumb_context *open_context(void) { return plumb_open(&(plumb_options){.threads = 2}); }

static void check_row(const plumb_dataset *d, int64_t index, int label, int count, const float *expected)
{
    float x[64] = {0};
    CHECK_MSG(plumb_dataset_label(d, index) == label, "example %lld: label %d", (long long)index, plumb_dataset_label(d, index));
    CHECK(plumb_dataset_picture(d, index, x, (size_t)count * sizeof(float)) == PLUMB_OK);
    for (int i = 0; i < count; i++) {
        CHECK_MSG(x[i] == expected[i], "example %lld, value %d: %g, expected %g", (long long)index, i, (double)x[i], (double)expected[i]);
    }
}

#define ROW(...) (int)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)), (const float[]){__VA_ARGS__}

/* ---- CSV ---- */

PLUMB_TEST(formats, csv)
{
    static const struct {
        const char *text;
        plumb_dataset_options options;
        float first[2], second[2];
        int labels[2], classes;
    } rows[] = {
        {"1,2,0\n3,4,1\n", {0}, {1, 2}, {3, 4}, {0, 1}, 2},
        {"a,b,label\n1,2,0\n3,4,1", {0}, {1, 2}, {3, 4}, {0, 1}, 2},
        {"label,a,b\r\n2,1,2\r\n0,3,4\r\n", {0}, {1, 2}, {3, 4}, {2, 0}, 3},
        {"\xef\xbb\xbf\"a, \"\"quoted\"\"\",what,b\n-1.5e1,1,+.25\n0,0,5.\n", {.label = "what"}, {-15, 0.25f}, {0, 5}, {1, 0}, 2},
        {"\"1\",\"2\",\"7\"\n3,4,0\n", {.label = "2", .classes = 9}, {1, 2}, {3, 4}, {7, 0}, 9},
        {"5,1,2\n6,3,4\n", {.label = "0", .no_header = true}, {1, 2}, {3, 4}, {5, 6}, 7},
        {"x,y,\"multi\nline\"\n1,2,0\n3,4,1\n", {0}, {1, 2}, {3, 4}, {0, 1}, 2},
    };
    char folder[64];
    files_begin(folder);
    plumb_context *context = open_context();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        plumb_dataset *d = plumb_dataset_csv(context, files_put(folder, "t.csv", rows[i].text, 0), &rows[i].options);
        CHECK_MSG(d, "%zu: %s", i, plumb_message(context));
        plumb_shape shape = plumb_dataset_shape(d);
        CHECK(plumb_dataset_count(d) == 2 && plumb_dataset_classes(d) == rows[i].classes && shape.rank == 3 && shape.dim[0] == 2);
        check_row(d, 0, rows[i].labels[0], 2, rows[i].first);
        check_row(d, 1, rows[i].labels[1], 2, rows[i].second);
    }
    plumb_close(context);
    files_end(folder);
}

PLUMB_TEST(formats, bad_rows_are_left_out)
{
    const char *list = NULL;
    char folder[64];
    files_begin(folder);
    plumb_context *context = open_context();
    const char *path = files_put(folder, "t.csv", "a,b,label\n1,2,0\n3,x,1\n5,6,1\n7,8\n9,10,0\n", 0);
    plumb_dataset *d = plumb_dataset_csv(context, path, &(plumb_dataset_options){.size = sizeof(plumb_dataset_options), .max_bad = 0.4});
    REQUIRE(d);
    CHECK(plumb_dataset_count(d) == 3 && plumb_dataset_bad(d, &list) == 2);
    CHECK_TEXT(list, "offset 16, line 3, column 1: 'x' is no number\n");
    CHECK_TEXT(list, "offset 28, line 5: 2 cells, the first row has 3\n");
    check_row(d, 1, 1, ROW(5, 6));
    CHECK(!plumb_dataset_csv(context, path, &(plumb_dataset_options){.size = sizeof(plumb_dataset_options), .max_bad = 0.39}));
    CHECK_TEXT(plumb_message(context), "column 1: 'x' is no number (one of 2 bad ones among 5, max_bad allows a share of 0.39)");
    plumb_clear_error(context);
    /* IDX: the second label of three is outside. */
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 10, 11, 12}, labels[] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 99, 2};
    const char *x = files_put(folder, "x", images, sizeof(images)), *y = files_put(folder, "y", labels, sizeof(labels));
    d = plumb_dataset_idx(context, x, y, &(plumb_dataset_options){.size = sizeof(plumb_dataset_options), .max_bad = 0.5});
    REQUIRE(d);
    CHECK(plumb_dataset_count(d) == 2 && plumb_dataset_bad(d, NULL) == 1);
    check_row(d, 0, 1, ROW(10));
    check_row(d, 1, 2, ROW(12));
    CHECK(!plumb_dataset_idx(context, x, y, &(plumb_dataset_options){.size = sizeof(plumb_dataset_options), .max_bad = 2}));
    CHECK_TEXT(plumb_message(context), "max_bad is 2");
    plumb_close(context);
    files_end(folder);
}

/* ---- arrays of NumPy ---- */

/* A .npy file of the given version; the header is padded as numpy pads it. Returns its size. */
static size_t make_npy(unsigned char *to, int version, const char *header, const void *data, size_t bytes)
{
    size_t begin = version == 1 ? 10 : 12, length = (begin + strlen(header) + 64) / 64 * 64 - begin;
    memcpy(to, "\x93NUMPY", 6);
    to[6] = (unsigned char)version;
    to[7] = to[10] = to[11] = 0;
    to[8] = (unsigned char)length;
    to[9] = (unsigned char)(length >> 8);
    memset(to + begin, ' ', length);
    memcpy(to + begin, header, strlen(header));
    to[begin + length - 1] = '\n';
    memcpy(to + begin + length, data, bytes);
    return begin + length + bytes;
}

PLUMB_TEST(formats, npy)
{
    static const uint8_t u1[6] = {1, 2, 3, 4, 5, 6}, y1[2] = {1, 0};
    static const float f4[6] = {1, 2, 3, 4, 5, 6};
    static const double f8[6] = {1, 2, 3, 4, 5, 6};
    static const uint16_t f2[6] = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
    static const int64_t i8[6] = {1, 2, 3, 4, 5, 6};
    static const uint8_t big[12] = {0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6};
    static const int8_t i1[6] = {1, 2, 3, 4, 5, 6};
    static const float fortran[6] = {1, 4, 2, 5, 3, 6};
    static const struct {
        int version;
        const char *header;
        const void *data;
        size_t bytes;
        plumb_dtype dtype;
    } rows[] = {
        {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", u1, 6, PLUMB_U8},
        {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", f4, 24, PLUMB_F32},
        {3, "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }", f8, 48, PLUMB_F64},
        {1, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }", f2, 12, PLUMB_F32},
        {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 3), }", i8, 48, PLUMB_F64},
        {1, "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 3), }", big, 12, PLUMB_F64},
        {1, "{'descr': '|i1', 'fortran_order': False, 'shape': (2, 3), }", i1, 6, PLUMB_F64},
        {1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", fortran, 24, PLUMB_F32},
        {1, "{'shape': (2, 1, 3), 'fortran_order': True, 'descr': '<f4'}", fortran, 24, PLUMB_F32},
        {1, "{'descr':'<f4','fortran_order':False,'shape':(2,3,1,1)}", f4, 24, PLUMB_F32},
    };
    char folder[64];
    unsigned char file[400];
    files_begin(folder);
    plumb_context *context = open_context();
    files_put(folder, "y.npy", file, make_npy(file, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", y1, 2));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t bytes = make_npy(file, rows[i].version, rows[i].header, rows[i].data, rows[i].bytes);
        plumb_dataset *d = plumb_dataset_npy(context, files_put(folder, "x.npy", file, bytes), files_name(folder, "y.npy"), NULL);
        CHECK_MSG(d, "%zu: %s", i, plumb_message(context));
        CHECK_MSG(plumb_dataset_dtype(d) == rows[i].dtype, "%zu: %s", i, plumb_dtype_name(plumb_dataset_dtype(d)));
        check_row(d, 0, 1, ROW(1, 2, 3));
        check_row(d, 1, 0, ROW(4, 5, 6));
    }
    plumb_close(context);
    files_end(folder);
}

PLUMB_TEST(formats, npz_from_numpy)
{
    char folder[64];
    files_begin(folder);
    plumb_context *context = open_context();
    const char *path = files_put(folder, "set.npz", numpy_npz, sizeof(numpy_npz));
    plumb_dataset *train = plumb_dataset_find(context, path, "train", NULL), *test = plumb_dataset_find(context, path, "test", NULL);
    CHECK_MSG(train && test, "%s", plumb_message(context));
    CHECK(plumb_dataset_classes(train) == 3 && plumb_dataset_classes(test) == 2);
    check_row(train, 0, 2, ROW(0, .25f, .5f, .75f));
    check_row(train, 2, 1, ROW(2, 2.25f, 2.5f, 2.75f));
    check_row(test, 1, 1, ROW(4, 5, 6, 7));
    check_row(test, 2, 0, ROW(8, 9, 10, 11));
    CHECK(plumb_dataset_npz(context, path, "x_test", "y_train", NULL, NULL));
    CHECK(!plumb_dataset_npz(context, path, "x_test", "labels", NULL, NULL));
    CHECK_TEXT(plumb_message(context), "no 'x_test' and 'labels'");
    plumb_close(context);
    files_end(folder);
}

/* ---- CIFAR ---- */

static const char *put_records(const char *folder, const char *name, int labels, int count, int seed)
{
    size_t size = (size_t)(labels + 3072);
    unsigned char *file = malloc(size * (size_t)count);
    for (int i = 0; i < count; i++) {
        memset(file + (size_t)i * size, seed + i, size);
        file[(size_t)i * size] = (unsigned char)(i % (labels == 1 ? 10 : 20));
        if (labels == 2) {
            file[(size_t)i * size + 1] = (unsigned char)(i % 20 * 5);
        }
    }
    const char *path = files_put(folder, name, file, size * (size_t)count);
    free(file);
    return path;
}

PLUMB_TEST(formats, cifar)
{
    char folder[64], name[32];
    files_begin(folder);
    plumb_context *context = open_context();
    for (int i = 1; i <= 5; i++) {
        snprintf(name, sizeof(name), "ten/data_batch_%d.bin", i);
        put_records(folder, name, 1, 12, 20 * i);
    }
    put_records(folder, "ten/test_batch.bin", 1, 7, 200);
    files_put(folder, "ten/batches.meta.txt", "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n", 0);
    put_records(folder, "hundred/train.bin", 2, 40, 10);
    put_records(folder, "hundred/test.bin", 2, 30, 100);
    plumb_dataset *train = plumb_dataset_find(context, files_name(folder, "ten"), "train", NULL);
    plumb_dataset *test = plumb_dataset_find(context, files_name(folder, "ten"), "test", NULL);
    CHECK_MSG(train && test, "%s", plumb_message(context));
    plumb_shape shape = plumb_dataset_shape(train);
    CHECK(plumb_dataset_count(train) == 60 && plumb_dataset_count(test) == 7 && plumb_dataset_classes(train) == 10);
    CHECK(shape.rank == 3 && shape.dim[0] == 3 && shape.dim[1] == 32 && shape.dim[2] == 32);
    CHECK_TEXT(plumb_dataset_class_name(train, 9), "truck");
    float x[3072];
    CHECK(plumb_dataset_picture(train, 25, x, sizeof(x)) == PLUMB_OK && x[0] == 61 && x[3071] == 61 && plumb_dataset_label(train, 25) == 1);
    train = plumb_dataset_find(context, files_name(folder, "hundred"), "train", NULL);
    CHECK_MSG(plumb_dataset_classes(train) == 100 && plumb_dataset_label(train, 23) == 15, "%s", plumb_message(context));
    plumb_dataset_options coarse = {.size = sizeof(coarse), .coarse = true, .expect = 30};
    test = plumb_dataset_cifar(context, files_name(folder, "hundred"), "test", &coarse);
    CHECK_MSG(plumb_dataset_classes(test) == 20 && plumb_dataset_label(test, 23) == 3, "%s", plumb_message(context));
    CHECK(!plumb_dataset_cifar(context, files_name(folder, "ten"), "test", &(plumb_dataset_options){.coarse = true}));
    plumb_close(context);
    files_end(folder);
}

/* ---- folders of pictures ---- */

#define PICTURE(name) {#name, name, sizeof(name), name##_pixels}

static const struct picture {
    const char *name;
    const unsigned char *file;
    size_t bytes;
    const unsigned char *pixels;
} pictures[] = {PICTURE(rgb_png),  PICTURE(grey_png),  PICTURE(alpha_png),        PICTURE(palette_png), PICTURE(deep_png), PICTURE(holes_png),
                PICTURE(rgb_jpeg), PICTURE(grey_jpeg), PICTURE(progressive_jpeg), PICTURE(cmyk_jpeg),   PICTURE(turned_jpeg)};

/* The most that any value differs from Pillow's. */
static int difference(const plumb_dataset *d, int64_t index, const unsigned char *pixels, int height, int width)
{
    float x[3 * 96];
    int most = 0;
    CHECK(plumb_dataset_picture(d, index, x, sizeof(x)) == PLUMB_OK);
    for (int i = 0; i < height * width; i++) {
        for (int c = 0; c < 3; c++) {
            int off = abs((int)x[c * height * width + i] - (int)pixels[3 * i + c]);
            most = off > most ? off : most;
        }
    }
    return most;
}

PLUMB_TEST(formats, pictures_are_those_that_pillow_reads)
{
    char folder[64], name[64];
    for (size_t i = 0; i < sizeof(pictures) / sizeof(pictures[0]); i++) {
        const struct picture *p = &pictures[i];
        bool turned = strcmp(p->name, "turned_jpeg") == 0;
        files_begin(folder);
        plumb_context *context = open_context();
        snprintf(name, sizeof(name), "class/%s", i % 2 ? "wrong.png" : "wrong.jpg"); /* names decide nothing */
        files_put(folder, name, p->file, p->bytes);
        for (int keep = -1; keep <= 1; keep += 2) {
            plumb_dataset_options options = {.size = sizeof(options), .keep_bytes = keep < 0 ? -1 : 0};
            plumb_dataset *d = plumb_dataset_folder(context, folder, NULL, &options);
            if (!d && strstr(plumb_message(context), "this build has no")) {
                plumb_clear_error(context);
                continue;
            }
            CHECK_MSG(d, "%s: %s", p->name, plumb_message(context));
            plumb_shape shape = plumb_dataset_shape(d);
            CHECK(shape.dim[0] == 3 && shape.dim[1] == (turned ? 12 : 8) && shape.dim[2] == (turned ? 8 : 12));
            int off = difference(d, 0, p->pixels, (int)shape.dim[1], (int)shape.dim[2]);
            CHECK_MSG(off <= (strstr(p->name, "jpeg") ? 2 : 0), "%s: off by %d", p->name, off);
        }
        plumb_close(context);
        files_end(folder);
    }
}

/* Both ways of holding pictures, sorted classes, sizes made equal, a corrupt one left out, parts of the set. */
PLUMB_TEST(formats, folders)
{
    char folder[64];
    const char *list;
    uint8_t pixels[16 * 16 * 3];
    files_begin(folder);
    plumb_context *context = open_context();
    memset(pixels, 77, sizeof(pixels));
    for (int part = 0; part < 2; part++) {
        for (int i = 0; i < 6; i++) {
            char name[64];
            snprintf(name, sizeof(name), "%s/%s/%d", part ? "test" : "train", i % 2 ? "cat" : "ant", i);
            const char *path = files_put(folder, name, "x", 0);
            CHECK(plumb_png_write(context, path, 16, i == 5 ? 8 : 16, 3, pixels) == PLUMB_OK);
        }
    }
    files_put(folder, "train/bee/wrong", "not a picture", 0);
    files_put(folder, "train/.hidden/x", "x", 0);
    files_put(folder, "train/cat/.hidden", "x", 0);
    CHECK(!plumb_dataset_find(context, folder, "train", NULL));
    if (strstr(plumb_message(context), "this build has no")) {
        plumb_close(context);
        files_end(folder);
        return;
    }
    CHECK_TEXT(plumb_message(context), "train/bee/wrong: offset 0, file: is neither PNG nor JPEG");
    plumb_clear_error(context);
    CHECK(!plumb_dataset_find(context, folder, "test", NULL));
    CHECK_TEXT(plumb_message(context), "cat/5: offset 0, size: is 16 x 8, the first picture is 16 x 16");
    plumb_clear_error(context);
    for (int keep = -1; keep <= 1; keep += 2) {
        plumb_dataset_options options = {.size = sizeof(options), .max_bad = 0.2, .height = 6, .width = 4, .channels = 1, .keep_bytes = keep};
        plumb_dataset *d = plumb_dataset_find(context, folder, "train", &options), *parts[2];
        CHECK_MSG(d, "%s", plumb_message(context));
        plumb_shape shape = plumb_dataset_shape(d);
        CHECK(plumb_dataset_count(d) == 6 && plumb_dataset_classes(d) == 3 && plumb_dataset_bad(d, &list) == 1);
        CHECK_TEXT(list, "neither PNG nor JPEG");
        CHECK_TEXT(plumb_dataset_class_name(d, 1), "bee");
        CHECK(plumb_dataset_label(d, 0) == 0 && plumb_dataset_label(d, 3) == 2 && shape.dim[0] == 1 && shape.dim[1] == 6);
        CHECK_TEXT(plumb_dataset_file(d, 4), "/train/cat/3");
        check_row(d, 5, 2, ROW(77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77, 77));
        CHECK(plumb_dataset_split(d, (const double[2]){2, 1}, 2, NULL, parts) == PLUMB_OK);
        plumb_dataset_free(d);
        double shift, scale;
        CHECK(plumb_dataset_scaling(parts[0], PLUMB_SCALING_STANDARD, 1, &shift, &scale) == PLUMB_OK && shift == 77);
        CHECK(plumb_dataset_file(parts[0], 0));
    }
    plumb_close(context);
    files_end(folder);
}

/* A file that goes wrong after the set was opened ends what meets it, with its name; the same with workers. */
PLUMB_TEST(formats, pictures_that_change)
{
    char folder[64], name[32];
    uint8_t pixels[8 * 8 * 3] = {0};
    files_begin(folder);
    plumb_context *context = open_context();
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "a/%02d.png", i);
        CHECK(plumb_png_write(context, files_put(folder, name, "x", 0), 8, 8, 3, pixels) == PLUMB_OK);
    }
    plumb_dataset *d = plumb_dataset_folder(context, folder, NULL,
                                            &(plumb_dataset_options){.size = sizeof(plumb_dataset_options), .keep_bytes = -1});
    if (!d && strstr(plumb_message(context), "this build has no")) {
        plumb_close(context);
        files_end(folder);
        return;
    }
    REQUIRE(d);
    CHECK(truncate(files_name(folder, "a/13.png"), 60) == 0);
    CHECK(truncate(files_name(folder, "a/14.png"), 60) == 0);
    plumb_graph *g = plumb_graph_new(context, "g");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 8, 8)), out = plumb_affine(g, x, 1, 0);
    plumb_state *state = plumb_state_new(g);
    plumb_program *p = plumb_compile(g, state, &(plumb_compile_options){.outputs = &out, .n_outputs = 1});
    for (int workers = 0; workers <= 2; workers++) {
        plumb_loader *l = plumb_loader_new(d, &(plumb_loader_options){.size = sizeof(plumb_loader_options), .batch = 10, .workers = workers});
        CHECK(plumb_loader_next(l, p, x, PLUMB_NONE) == 10);
        CHECK(plumb_loader_next(l, p, x, PLUMB_NONE) == -1);
        CHECK_TEXT(plumb_message(context), "a/13.png: offset 57, PNG chunk: the file ends before IEND (example 13)");
        plumb_clear_error(context);
        plumb_loader_free(l);
    }
    plumb_close(context);
    files_end(folder);
}
