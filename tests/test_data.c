/* Data sets and loaders: what is read is what was written, the order of examples depends on seed and epoch alone, and
 * scaling has the numbers of the training set. */
#include <unistd.h>
#include <zlib.h>

#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

static void put_file(const char *path, const void *data, size_t count)
{
    size_t length = strlen(path);
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0) {
        gzFile file = gzopen(path, "wb");
        CHECK(file && gzwrite(file, data, (unsigned)count) == (int)count);
        CHECK(gzclose(file) == Z_OK);
        return;
    }
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, count, file) == count);
    if (file) {
        fclose(file);
    }
}

/* Three pictures of 2 x 2 counting from 10, labels 2 0 1. */
static const unsigned char small_images[28] = {0, 0, 8,  3,  0,  0,  0,  3,  0,  0,  0,  2,  0,  0,
                                               0, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
static const unsigned char small_labels[11] = {0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 1};

static void check_small(plumb_dataset *d)
{
    float x[4];
    REQUIRE(d);
    plumb_shape shape = plumb_dataset_shape(d);
    CHECK(plumb_dataset_count(d) == 3 && plumb_dataset_classes(d) == 10);
    CHECK(shape.rank == 3 && shape.dim[0] == 1 && shape.dim[1] == 2 && shape.dim[2] == 2);
    CHECK(plumb_dataset_label(d, 0) == 2 && plumb_dataset_label(d, 1) == 0 && plumb_dataset_label(d, 2) == 1);
    CHECK(plumb_dataset_label(d, 3) == -1 && plumb_dataset_label(d, -1) == -1);
    CHECK(plumb_dataset_picture(d, 2, x, sizeof(x)) == PLUMB_OK && x[0] == 18 && x[3] == 21);
}

PLUMB_TEST(data, idx_plain_and_packed)
{
    char folder[] = "/tmp/plumb-data-XXXXXX", images[2][80], labels[2][80];
    REQUIRE(mkdtemp(folder));
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    for (int packed = 0; packed < 2; packed++) {
        snprintf(images[packed], 80, "%s/train-images-idx3-ubyte%s", folder, packed ? ".gz" : "");
        snprintf(labels[packed], 80, "%s/train-labels-idx1-ubyte%s", folder, packed ? ".gz" : "");
        put_file(images[packed], small_images, sizeof(small_images));
        put_file(labels[packed], small_labels, sizeof(small_labels));
        plumb_dataset *d = plumb_dataset_idx(context, images[packed], labels[packed], NULL);
        check_small(d);
        CHECK(plumb_dataset_dtype(d) == PLUMB_U8);
        CHECK_TEXT(plumb_dataset_class_name(d, 7), "7");
        CHECK(strcmp(plumb_dataset_class_name(d, 10), "") == 0);
        plumb_dataset_free(d);
    }
    check_small(plumb_dataset_find(context, folder, "train", NULL));
    CHECK(!plumb_dataset_find(context, folder, "test", NULL));
    CHECK_TEXT(plumb_message(context), "t10k-images-idx3-ubyte");
    CHECK(plumb_last_status(context) == PLUMB_IO_ERROR);
    plumb_clear_error(context);
    CHECK(!plumb_dataset_idx(context, images[0], labels[0], &(plumb_dataset_options){.expect = 4}));
    CHECK_TEXT(plumb_message(context), "is 3, expected 4");
    plumb_clear_error(context);
    CHECK(!plumb_dataset_idx(context, images[0], labels[0], &(plumb_dataset_options){.max_bytes = 11}));
    CHECK_TEXT(plumb_message(context), "limit of 11");
    plumb_close(context);
    for (int packed = 0; packed < 2; packed++) {
        remove(images[packed]);
        remove(labels[packed]);
    }
    CHECK(rmdir(folder) == 0);
}

PLUMB_TEST(data, idx_floats)
{
    static const unsigned char floats[24] = {0, 0, 0x0d, 3, 0,    0,    0, 1, 0,    0,    0, 1,
                                             0, 0, 0,    2, 0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0};
    static const unsigned char doubles[24] = {0, 0, 0x0e, 3, 0,    0,    0, 1, 0, 0, 0, 1,
                                              0, 0, 0,    1, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0};
    static const unsigned char label[9] = {0, 0, 8, 1, 0, 0, 0, 1, 9};
    char images[] = "/tmp/plumb-imagesXXXXXX", labels[] = "/tmp/plumb-labelsXXXXXX";
    int fd[2] = {mkstemp(images), mkstemp(labels)};
    REQUIRE(fd[0] >= 0 && fd[1] >= 0);
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    float x[2];
    put_file(labels, label, sizeof(label));
    put_file(images, floats, sizeof(floats));
    plumb_dataset *d = plumb_dataset_idx(context, images, labels, NULL);
    CHECK(plumb_dataset_dtype(d) == PLUMB_F32);
    CHECK(plumb_dataset_picture(d, 0, x, sizeof(x)) == PLUMB_OK && x[0] == 1 && x[1] == -2.5f);
    put_file(images, doubles, sizeof(doubles));
    d = plumb_dataset_idx(context, images, labels, NULL);
    CHECK(plumb_dataset_dtype(d) == PLUMB_F64);
    CHECK(plumb_dataset_picture(d, 0, x, sizeof(float)) == PLUMB_OK && x[0] == 0.5f);
    plumb_close(context);
    close(fd[0]);
    close(fd[1]);
    remove(images);
    remove(labels);
}

PLUMB_TEST(data, names)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    CHECK(!plumb_dataset_find(context, "no-such-set", "train", NULL));
    CHECK_TEXT(plumb_message(context), "neither a known name (fashion-mnist) nor a folder or file");
    CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(!plumb_dataset_find(context, "fashion-mnist", "dev", NULL));
    CHECK_TEXT(plumb_message(context), "\"train\" or \"test\"");
    plumb_close(context);
}

PLUMB_TEST(data, fashion_mnist)
{
    char folder[256];
    if (!plumb_dataset_where("fashion-mnist", folder, sizeof(folder))) {
        SKIP("data/fashion_mnist", "the package dataset-fashion-mnist is not installed");
    }
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    plumb_dataset *test = plumb_dataset_find(context, "fashion-mnist", "test", NULL);
    REQUIRE(test);
    double shift, scale;
    int64_t of_class[10] = {0};
    CHECK(plumb_dataset_count(test) == 10000);
    CHECK_TEXT(plumb_dataset_class_name(test, 5), "Sandal");
    for (int64_t i = 0; i < 10000; i++) {
        of_class[plumb_dataset_label(test, i)]++;
    }
    for (int c = 0; c < 10; c++) {
        CHECK(of_class[c] == 1000);
    }
    CHECK(plumb_dataset_scaling(test, PLUMB_SCALING_STANDARD, 1, &shift, &scale) == PLUMB_OK);
    CHECK_NEAR(shift / 255, 0.28685, 1e-4); /* the figures commonly given for this set */
    CHECK_NEAR(1 / scale / 255, 0.35244, 1e-4);
    plumb_close(context);
}

PLUMB_TEST(data, arrays_are_checked)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    const float x[4] = {1, 2, 3, 4};
    const int32_t y[2] = {0, 1}, outside[2] = {0, 2}, negative[2] = {-1, 0};
    const struct {
        plumb_dtype dtype;
        plumb_shape shape;
        int64_t count;
        const void *data;
        const int32_t *labels;
        int classes;
        const char *says;
    } bad[] = {
        {PLUMB_I32, PLUMB_SHAPE(2), 2, x, y, 2, "dtype is i32"},
        {PLUMB_F32, PLUMB_SHAPE(2), 0, x, y, 2, "at least one example"},
        {PLUMB_F32, PLUMB_SHAPE(0), 2, x, y, 2, "cannot be"},
        {PLUMB_F32, PLUMB_SHAPE(-1), 2, x, y, 2, "cannot be"},
        {PLUMB_F32, PLUMB_SHAPE(2), INT64_MAX / 4, x, y, 2, "cannot be"},
        {PLUMB_F32, PLUMB_SHAPE(2), 2, NULL, y, 2, "needs data"},
        {PLUMB_F32, PLUMB_SHAPE(2), 2, x, outside, 2, "label 2 of example 1"},
        {PLUMB_F32, PLUMB_SHAPE(2), 2, x, negative, 2, "label -1"},
        {PLUMB_F32, {.rank = 9}, 2, x, y, 2, "cannot be"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        plumb_clear_error(context);
        CHECK(!plumb_dataset_arrays(context, bad[i].dtype, bad[i].shape, bad[i].count, bad[i].data,
                                    bad[i].labels, bad[i].classes));
        CHECK_TEXT(plumb_message(context), bad[i].says);
        CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
    }
    plumb_clear_error(context);
    plumb_dataset *d = plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(2), 2, x, y, 2);
    REQUIRE(d);
    plumb_dataset_free(d);
    CHECK(plumb_dataset_count(d) == 0); /* a stale handle is an error, not a crash */
    CHECK(plumb_last_status(context) == PLUMB_BAD_INPUT);
    plumb_close(context);
}

PLUMB_TEST(data, scaling)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    /* Two channels of two pixels, three examples: channel 0 is 0..5, channel 1 always 7. */
    const uint8_t bytes[12] = {0, 1, 7, 7, 2, 3, 7, 7, 4, 5, 7, 7};
    const int32_t y[3] = {0, 1, 0};
    double real[12], shift[2], scale[2];
    for (int i = 0; i < 12; i++) {
        real[i] = bytes[i];
    }
    for (int k = 0; k < 2; k++) {
        plumb_dataset *d = plumb_dataset_arrays(context, k ? PLUMB_F64 : PLUMB_U8, PLUMB_SHAPE(2, 1, 2), 3,
                                                k ? (const void *)real : (const void *)bytes, y, 2);
        CHECK(plumb_dataset_scaling(d, PLUMB_SCALING_STANDARD, 2, shift, scale) == PLUMB_OK);
        CHECK_NEAR(shift[0], 2.5, 1e-12);
        CHECK_NEAR(scale[0], 1 / sqrt(17.5 / 6), 1e-12);
        CHECK(shift[1] == 7 && scale[1] == 1); /* a constant channel keeps its scale */
        CHECK(plumb_dataset_scaling(d, PLUMB_SCALING_UNIT, 2, shift, scale) == PLUMB_OK);
        CHECK(shift[0] == 0 && scale[0] == 0.2);
        CHECK(plumb_dataset_scaling(d, PLUMB_SCALING_SYMMETRIC, 1, shift, scale) == PLUMB_OK);
        CHECK(shift[0] == 3.5 && scale[0] == 2.0 / 7);
        CHECK(plumb_dataset_scaling(d, PLUMB_SCALING_NONE, 1, shift, scale) == PLUMB_OK && shift[0] == 0 &&
              scale[0] == 1);
        CHECK(plumb_dataset_scaling(d, PLUMB_SCALING_UNIT, 3, shift, scale) == PLUMB_BAD_INPUT);
        plumb_clear_error(context);
    }
    plumb_close(context);
}

/* ---- loaders ---- */

#define EXAMPLES 103

struct bench {
    plumb_context *context;
    plumb_dataset *data;
    plumb_graph *graph;
    plumb_state *state;
    plumb_t x, y, x_out, y_out;
    plumb_program *program;
};

/* Examples whose two bytes are (i, 255 - i) and whose label is i % 5; the program gives its inputs back. */
static bool open_bench(struct bench *b, int threads)
{
    uint8_t x[2 * EXAMPLES];
    int32_t y[EXAMPLES];
    for (int i = 0; i < EXAMPLES; i++) {
        x[2 * i] = (uint8_t)i;
        x[2 * i + 1] = (uint8_t)(255 - i);
        y[i] = i % 5;
    }
    b->context = plumb_open(&(plumb_options){.threads = threads, .seed = 3});
    b->data = plumb_dataset_arrays(b->context, PLUMB_U8, PLUMB_SHAPE(2), EXAMPLES, x, y, 5);
    b->graph = plumb_graph_new(b->context, "echo");
    b->x = plumb_input(b->graph, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 2));
    b->y = plumb_input(b->graph, "y", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    b->x_out = plumb_affine(b->graph, b->x, 2, 1);
    b->y_out = plumb_cast(b->graph, b->y, PLUMB_F32);
    const plumb_t outputs[2] = {b->x_out, b->y_out};
    b->state = plumb_state_new(b->graph);
    b->program =
        plumb_compile(b->graph, b->state, &(plumb_compile_options){.outputs = outputs, .n_outputs = 2});
    CHECK_MSG(b->program, "%s", plumb_message(b->context));
    return b->program != NULL;
}

PLUMB_TEST(data, loader_feeds_what_it_says)
{
    struct bench b;
    float x[2 * 10], y[10];
    REQUIRE(open_bench(&b, 2));
    plumb_loader *loader = plumb_loader_new(b.data, &(plumb_loader_options){.batch = 10, .shuffle = true});
    REQUIRE(loader);
    CHECK(plumb_loader_batches(loader) == 11);
    int times[EXAMPLES] = {0};
    int64_t count, batches = 0;
    while ((count = plumb_loader_next(loader, b.program, b.x, b.y)) > 0) {
        const int64_t *indices = plumb_loader_indices(loader);
        CHECK(plumb_run(b.program) == PLUMB_OK);
        CHECK(plumb_fetch(b.program, b.x_out, x, (size_t)count * 2 * sizeof(float)) == PLUMB_OK);
        CHECK(plumb_fetch(b.program, b.y_out, y, (size_t)count * sizeof(float)) == PLUMB_OK);
        for (int64_t n = 0; n < count; n++) {
            int64_t i = indices[n];
            times[i]++;
            CHECK(x[2 * n] == (float)(2 * i + 1) && x[2 * n + 1] == (float)(2 * (255 - i) + 1) &&
                  y[n] == (float)(i % 5));
        }
        batches++;
    }
    CHECK(count == 0 && batches == 11);
    for (int i = 0; i < EXAMPLES; i++) {
        CHECK(times[i] == 1);
    }
    plumb_close(b.context);
}

/* The order of one epoch as a list. */
static void read_order(const struct bench *b, int64_t batch, uint64_t seed, int64_t epoch, int64_t *order)
{
    plumb_loader *loader =
        plumb_loader_new(b->data, &(plumb_loader_options){.batch = batch, .shuffle = true, .seed = seed});
    int64_t count, at = 0;
    CHECK(plumb_loader_seek(loader, epoch, 0) == PLUMB_OK);
    while ((count = plumb_loader_next(loader, b->program, b->x, b->y)) > 0) {
        memcpy(order + at, plumb_loader_indices(loader), (size_t)count * sizeof(int64_t));
        at += count;
    }
    CHECK(at == EXAMPLES);
    plumb_loader_free(loader);
}

PLUMB_TEST(data, order_depends_on_seed_and_epoch_only)
{
    struct bench b;
    int64_t first[EXAMPLES], other[EXAMPLES];
    for (int threads = 1; threads <= 2; threads++) {
        REQUIRE(open_bench(&b, threads));
        read_order(&b, 10, 1, 5, threads == 1 ? first : other);
        if (threads == 2) {
            CHECK(memcmp(first, other, sizeof(first)) == 0);
        }
        read_order(&b, 7, 1, 5, other); /* whatever the batch */
        CHECK(memcmp(first, other, sizeof(first)) == 0);
        read_order(&b, 10, 1, 6, other);
        CHECK(memcmp(first, other, sizeof(first)) != 0);
        read_order(&b, 10, 2, 5, other);
        CHECK(memcmp(first, other, sizeof(first)) != 0);
        plumb_close(b.context);
    }
}

PLUMB_TEST(data, loader_continues_and_drops)
{
    struct bench b;
    int64_t order[EXAMPLES];
    REQUIRE(open_bench(&b, 1));
    read_order(&b, 10, 3, 2, order);
    plumb_loader *loader =
        plumb_loader_new(b.data, &(plumb_loader_options){.batch = 10, .shuffle = true, .drop_last = true});
    CHECK(plumb_loader_batches(loader) == 10);
    CHECK(plumb_loader_seek(loader, 2, 9) == PLUMB_OK); /* the seed is the context's, 3 */
    CHECK(plumb_loader_next(loader, b.program, b.x, b.y) == 10);
    CHECK(memcmp(plumb_loader_indices(loader), order + 90, 10 * sizeof(int64_t)) == 0);
    CHECK(plumb_loader_next(loader, b.program, b.x, b.y) == 0);  /* the last three are left out */
    CHECK(plumb_loader_next(loader, b.program, b.x, b.y) == 10); /* and the next epoch begins */
    CHECK(plumb_loader_seek(loader, 0, 11) == PLUMB_BAD_INPUT);
    plumb_clear_error(b.context);
    CHECK(!plumb_loader_new(b.data, &(plumb_loader_options){.batch = 104, .drop_last = true}));
    plumb_clear_error(b.context);
    CHECK(!plumb_loader_new(b.data, &(plumb_loader_options){.batch = -1}));
    plumb_clear_error(b.context);
    plumb_dataset_free(b.data);
    CHECK(plumb_loader_next(loader, b.program, b.x, b.y) == -1); /* its data set is gone */
    plumb_close(b.context);
}
