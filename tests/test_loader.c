/* Loaders with workers, and splits: batches are the same for any number of workers and threads, also after seeking; parts are
 * disjoint, complete, of the size asked for, and drawn by the seed. */
#include "check.h"
#include "core/core.h"
#include "echo.h"

#define EXAMPLES 103
#define SIDE 8
#define ITEM (3 * SIDE * SIDE)

/* Colour pictures of bytes that look like noise; label i % 5. */
static plumb_dataset *make_set(plumb_context *context)
{
    uint8_t *x = malloc(EXAMPLES * ITEM);
    int32_t y[EXAMPLES];
    for (int i = 0; i < EXAMPLES * ITEM; i++) {
        x[i] = (uint8_t)(plumb_random_word(1, 2, 3, i) >> 24);
    }
    for (int i = 0; i < EXAMPLES; i++) {
        y[i] = i % 5;
    }
    plumb_dataset *set = plumb_dataset_arrays(context, PLUMB_U8, PLUMB_SHAPE(3, SIDE, SIDE), EXAMPLES, x, y, 5);
    free(x);
    return set;
}

static const plumb_augment everything = {.mirror = true, .crop = 2, .resized_crop = 0.5, .rotate = 20, .shear = 10, .elastic = 8,
                                         .elastic_sigma = 2, .brightness = 0.2, .contrast = 0.2, .saturation = 0.2, .hue = 0.1,
                                         .erase = 0.5, .mixup = 0.4, .cutmix = 1, .fill = 3};

/* A hash of `epochs` epochs from (epoch, batch) on: examples, labels, shares, order. */
static uint32_t hash_batches(int threads, int workers, const plumb_augment *augment, int64_t epoch, int64_t batch, int epochs)
{
    static float x[16 * ITEM], y[16], second[16], share[16];
    struct echo echo;
    uint32_t hash = 0;
    plumb_context *context = plumb_open(&(plumb_options){.threads = threads, .seed = 3});
    plumb_dataset *set = make_set(context);
    CHECK(echo_open(context, PLUMB_SHAPE(3, SIDE, SIDE), &echo) == PLUMB_OK);
    plumb_loader *loader =
        plumb_loader_new(set, &(plumb_loader_options){.size = sizeof(plumb_loader_options), .batch = 16, .shuffle = true,
                                                      .workers = workers, .augment = augment, .second_label = echo.second,
                                                      .share = echo.share});
    CHECK_MSG(loader, "%s", plumb_message(context));
    CHECK(plumb_loader_seek(loader, epoch, batch) == PLUMB_OK);
    while (epochs > 0) {
        int64_t count = echo_next(&echo, loader, x, y, second, share);
        CHECK_MSG(count >= 0, "%s", plumb_message(context));
        epochs = count > 0 ? epochs : count < 0 ? 0 : epochs - 1;
        for (int i = 0; count > 0 && i < 5; i++) {
            const void *parts[5] = {x, y, second, share, plumb_loader_indices(loader)};
            const size_t bytes[5] = {ITEM * sizeof(float), sizeof(float), sizeof(float), sizeof(float), sizeof(int64_t)};
            hash = plumb_crc32c(hash, parts[i], bytes[i] * (size_t)count);
        }
    }
    plumb_close(context);
    return hash;
}

PLUMB_TEST(loader, batches_do_not_depend_on_workers_or_threads)
{
    for (int kind = 0; kind < 2; kind++) {
        const plumb_augment *augment = kind ? &everything : NULL;
        uint32_t first = hash_batches(1, 0, augment, 0, 0, 2), later = hash_batches(1, 0, augment, 1, 3, 1);
        CHECK(first != later);
        for (int threads = 1; threads <= 4; threads++) {
            static const int workers[] = {0, 1, 2, 4};
            for (int w = 0; w < 4; w++) {
                CHECK_MSG(hash_batches(threads, workers[w], augment, 0, 0, 2) == first, "%d threads, %d workers, kind %d", threads,
                          workers[w], kind);
            }
        }
        CHECK(hash_batches(2, 2, augment, 1, 3, 1) == later);
    }
}

/* Seeking forth, back and to where it is, with batches prepared for elsewhere. */
PLUMB_TEST(loader, workers_follow_seeks)
{
    static float x[16 * ITEM], y[16];
    static const int64_t places[][2] = {{0, 0}, {0, 3}, {2, 6}, {0, 1}, {0, 2}, {2, 0}, {1, 7}, {2, 0}};
    struct echo echo;
    plumb_context *context = plumb_open(&(plumb_options){.threads = 2, .seed = 3});
    plumb_dataset *set = make_set(context);
    CHECK(echo_open(context, PLUMB_SHAPE(3, SIDE, SIDE), &echo) == PLUMB_OK);
    plumb_loader_options options = {.size = sizeof(options), .batch = 16, .shuffle = true};
    plumb_loader *plain = plumb_loader_new(set, &options);
    options.workers = 3;
    plumb_loader *threaded = plumb_loader_new(set, &options);
    REQUIRE(plain && threaded);
    CHECK(plumb_loader_batches(threaded) == 7);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        CHECK(plumb_loader_seek(plain, places[i][0], places[i][1]) == PLUMB_OK);
        CHECK(plumb_loader_seek(threaded, places[i][0], places[i][1]) == PLUMB_OK);
        for (int step = 0; step < 3; step++) {
            int64_t count = echo_next(&echo, plain, x, y, NULL, NULL);
            uint32_t hash = count > 0 ? plumb_crc32c(0, x, (size_t)(count * ITEM) * sizeof(float)) : 0;
            CHECK(echo_next(&echo, threaded, x, y, NULL, NULL) == count);
            if (count > 0) {
                CHECK(plumb_crc32c(0, x, (size_t)(count * ITEM) * sizeof(float)) == hash);
                CHECK(memcmp(plumb_loader_indices(plain), plumb_loader_indices(threaded), (size_t)count * sizeof(int64_t)) == 0);
            }
        }
    }
    plumb_dataset_free(set); /* the loaders keep what their threads read */
    CHECK(plumb_loader_next(threaded, echo.program, echo.x, echo.y) == -1);
    plumb_close(context);
}

PLUMB_TEST(loader, options_are_checked)
{
    static const struct {
        plumb_augment augment;
        int workers;
        const char *says;
    } bad[] = {
        {{.crop = 1}, -1, "-1 workers"},
        {{.crop = 1}, 65, "65 workers"},
        {{.crop = -1}, 0, "crop is -1"},
        {{.rotate = NAN}, 0, "rotate is nan"},
        {{.hue = 0.6}, 0, "hue is 0.6"},
        {{.mixup = 1}, 0, "need the inputs second_label and share"},
        {{.erase = 1.5}, 0, "erase is 1.5"},
    };
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    plumb_dataset *set = make_set(context);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!plumb_loader_new(set, &(plumb_loader_options){.size = sizeof(plumb_loader_options), .workers = bad[i].workers,
                                                             .augment = &bad[i].augment}));
        CHECK_TEXT(plumb_message(context), bad[i].says);
        plumb_clear_error(context);
    }
    uint8_t grey[2] = {0, 1};
    int32_t label = 0;
    plumb_dataset *row = plumb_dataset_arrays(context, PLUMB_U8, PLUMB_SHAPE(2), 1, grey, &label, 1);
    CHECK(!plumb_loader_new(row, &(plumb_loader_options){.size = sizeof(plumb_loader_options), .augment = &(plumb_augment){.crop = 1}}));
    CHECK_TEXT(plumb_message(context), "pictures (C, H, W) are needed");
    plumb_close(context);
}

/* ---- splits ---- */

/* 1000 examples that say which they are; classes 0 to 3 in the shares 1 : 2 : 3 : 4. */
static plumb_dataset *numbered(plumb_context *context)
{
    static float x[1000];
    static int32_t y[1000];
    for (int i = 0; i < 1000; i++) {
        x[i] = (float)i;
        y[i] = i % 10 < 1 ? 0 : i % 10 < 3 ? 1 : i % 10 < 6 ? 2 : 3;
    }
    return plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1), 1000, x, y, 4);
}

static void check_parts(plumb_dataset **parts, int count, const int64_t *sizes, int *part_of)
{
    for (int i = 0; i < 1000; i++) {
        part_of[i] = -1;
    }
    for (int p = 0; p < count; p++) {
        CHECK_MSG(plumb_dataset_count(parts[p]) == sizes[p], "part %d has %lld", p, (long long)plumb_dataset_count(parts[p]));
        for (int64_t i = 0; i < plumb_dataset_count(parts[p]); i++) {
            float x = -1;
            CHECK(plumb_dataset_picture(parts[p], i, &x, sizeof(x)) == PLUMB_OK && x >= 0 && x < 1000);
            int which = (int)x;
            CHECK(part_of[which] == -1 && plumb_dataset_label(parts[p], i) == (which % 10 < 1 ? 0 : which % 10 < 3 ? 1 : which % 10 < 6 ? 2 : 3));
            part_of[which] = p;
        }
    }
    for (int i = 0; i < 1000; i++) {
        CHECK(part_of[i] >= 0);
    }
}

PLUMB_TEST(loader, splits)
{
    static const struct {
        double shares[3];
        int count;
        int64_t sizes[3];
    } rows[] = {{{60, 20, 20}, 3, {600, 200, 200}}, {{70, 30}, 2, {700, 300}}, {{98, 1, 1}, 3, {980, 10, 10}},
                {{0.9, 0.1}, 2, {900, 100}},        {{1, 1, 1}, 3, {333, 334, 333}}};
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    plumb_dataset *set = numbered(context), *parts[3], *again[3];
    int first[1000], second[1000];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK(plumb_dataset_split(set, rows[i].shares, rows[i].count, NULL, parts) == PLUMB_OK);
        check_parts(parts, rows[i].count, rows[i].sizes, first);
        plumb_split_options options = {.size = sizeof(options), .seed = 5};
        CHECK(plumb_dataset_split(set, rows[i].shares, rows[i].count, &options, again) == PLUMB_OK);
        check_parts(again, rows[i].count, rows[i].sizes, second);
        CHECK(memcmp(first, second, sizeof(first)) != 0);
        options.seed = 5;
        CHECK(plumb_dataset_split(set, rows[i].shares, rows[i].count, &options, parts) == PLUMB_OK);
        check_parts(parts, rows[i].count, rows[i].sizes, first);
        CHECK(memcmp(first, second, sizeof(first)) == 0);
    }
    plumb_close(context);
}

PLUMB_TEST(loader, stratified_splits_and_parts_of_parts)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    plumb_dataset *set = numbered(context), *parts[2], *inner[2];
    const double shares[2] = {97, 3};
    CHECK(plumb_dataset_split(set, shares, 2, &(plumb_split_options){.size = sizeof(plumb_split_options), .stratified = true}, parts) ==
          PLUMB_OK);
    int64_t of_class[4] = {0};
    for (int64_t i = 0; i < plumb_dataset_count(parts[1]); i++) {
        of_class[plumb_dataset_label(parts[1], i)]++;
    }
    CHECK(of_class[0] == 3 && of_class[1] == 6 && of_class[2] == 9 && of_class[3] == 12);
    CHECK(plumb_dataset_split(parts[0], (const double[2]){90, 10}, 2, NULL, inner) == PLUMB_OK);
    CHECK(plumb_dataset_count(inner[0]) == 873 && plumb_dataset_count(inner[1]) == 97);
    plumb_dataset_free(set); /* its parts keep the memory */
    plumb_dataset_free(parts[0]);
    double shift, scale;
    CHECK(plumb_dataset_scaling(inner[1], PLUMB_SCALING_UNIT, 1, &shift, &scale) == PLUMB_OK && shift >= 0 && shift < 100);
    static const struct {
        double shares[2];
        int count;
    } bad[] = {{{1, 0}, 2}, {{1, -1}, 2}, {{1, NAN}, 2}, {{1, 1}, 1}, {{1, 1}, 9}, {{1e9, 1}, 2}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        plumb_clear_error(context);
        CHECK(plumb_dataset_split(inner[1], bad[i].shares, bad[i].count, NULL, parts) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(context), "split: ");
    }
    plumb_close(context);
}
