/* Augmentation: what is exact is exact (nothing, mirrors, whole pixels), places are the map that was asked for, interpolation agrees
 * with one written down here, colours and mixtures are what their formulas say, and draws have the shares they should. */
#include "check.h"
#include "data/augment.h"

#define SIDE 9
#define PIXELS (SIDE * SIDE)
#define ITEM (3 * PIXELS)
#define COUNT 40

struct bench {
    plumb_context *context;
    struct dataset *set;
    plumb_augment augment;
    struct plumb_augment_work work;
    float x[COUNT][ITEM], out[ITEM];
    struct plumb_mixed mixed;
};

/* `ramp`: channel 0 says where a pixel lies across, 1 down, 2 is 1: what comes out says where it was read. Else noise. */
static bool open_bench(struct bench *b, bool ramp, plumb_augment augment)
{
    static int32_t labels[COUNT];
    for (int n = 0; n < COUNT; n++) {
        labels[n] = n;
        for (int i = 0; i < ITEM; i++) {
            int p = i % PIXELS;
            b->x[n][i] = !ramp ? (float)(plumb_random_word(1, 2, (uint64_t)n, i) >> 24)
                         : i < PIXELS ? (float)(p % SIDE) : i < 2 * PIXELS ? (float)(p / SIDE) : 1;
        }
    }
    b->context = plumb_open(&(plumb_options){.threads = 1});
    b->set = plumb_dataset_get(
        plumb_dataset_arrays(b->context, PLUMB_F32, PLUMB_SHAPE(3, SIDE, SIDE), COUNT, b->x, labels, COUNT));
    b->augment = augment;
    memset(&b->work, 0, sizeof(b->work));
    CHECK_MSG(b->set && plumb_augment_check(b->set, &b->augment) == PLUMB_OK &&
                  plumb_augment_work_make(b->set, &b->augment, &b->work) == PLUMB_OK,
              "%s", plumb_message(b->context));
    return check_failures() == 0;
}

static void close_bench(struct bench *b)
{
    plumb_augment_work_free(b->set, &b->work);
    plumb_close(b->context);
}

static void run(struct bench *b, int64_t epoch, int64_t index)
{
    b->mixed = (struct plumb_mixed){.label = (int)index, .second = (int)index, .share = 1};
    CHECK(plumb_augment_example(b->set, &b->augment, 7, epoch, index, &b->work, b->out, &b->mixed));
}

PLUMB_TEST(augment, nothing_asked_is_nothing_done)
{
    static struct bench b;
    REQUIRE(open_bench(&b, false, (plumb_augment){.rotate = 1e-300, .shear = 1e-300}));
    for (int i = 0; i < COUNT; i++) {
        run(&b, 0, i);
        CHECK(memcmp(b.out, b.x[i], sizeof(b.out)) == 0); /* rotation 0 is the identity, through the interpolation */
    }
    close_bench(&b);
}

/* Mirrored or not, moved by whole pixels: copies, with `fill` from outside. */
PLUMB_TEST(augment, mirrors_and_crops_are_exact)
{
    static struct bench b;
    int mirrored = 0, moved[5][5] = {{0}};
    REQUIRE(open_bench(&b, false, (plumb_augment){.mirror = true, .crop = 2, .fill = -7}));
    for (int epoch = 0; epoch < 50; epoch++) {
        for (int i = 0; i < COUNT; i++) {
            int found = 0;
            run(&b, epoch, i);
            for (int way = 0; way < 50; way++) {
                int mirror = way / 25, dx = way % 5 - 2, dy = way / 5 % 5 - 2, same = 0;
                for (int at = 0; at < ITEM; at++) {
                    int x = at % SIDE, y = at % PIXELS / SIDE;
                    int u = (mirror ? SIDE - 1 - x : x) + dx, v = y + dy;
                    bool inside = u >= 0 && u < SIDE && v >= 0 && v < SIDE;
                    same += b.out[at] == (inside ? b.x[i][at / PIXELS * PIXELS + v * SIDE + u] : -7);
                }
                if (same == ITEM) {
                    found++;
                    mirrored += mirror;
                    moved[dx + 2][dy + 2]++;
                }
            }
            CHECK_MSG(found == 1, "example %d of epoch %d fits %d ways", i, epoch, found);
        }
    }
    CHECK_MSG(abs(mirrored - 1000) < 112, "%d of 2000 are mirrored", mirrored); /* 5 standard deviations */
    for (int i = 0; i < 25; i++) {
        CHECK_MSG(abs(moved[i / 5][i % 5] - 80) < 45, "%d of 2000 moved by %d, %d", moved[i / 5][i % 5], i / 5 - 2, i % 5 - 2);
    }
    close_bench(&b);
}

/* Mirroring what was mirrored gives the picture back. */
PLUMB_TEST(augment, a_mirror_is_its_own_inverse)
{
    static struct bench b;
    REQUIRE(open_bench(&b, false, (plumb_augment){.mirror = true}));
    int epoch = 0;
    for (run(&b, 0, 3); memcmp(b.out, b.x[3], sizeof(b.out)) == 0; run(&b, epoch, 3)) {
        REQUIRE(epoch++ < 64);
    }
    memcpy(b.set->data, b.out, sizeof(b.out)); /* example 0 of this set is now the mirrored one */
    for (int again = 0;; again++) {
        run(&b, again, 0);
        if (memcmp(b.out, b.x[3], sizeof(b.out)) == 0) {
            break;
        }
        REQUIRE(again < 64);
    }
    close_bench(&b);
}

static double at_pixel(const float *x, int c, int row, int column)
{
    return row >= 0 && row < SIDE && column >= 0 && column < SIDE ? (double)x[c * PIXELS + row * SIDE + column] : 0;
}

static double between_pixels(const float *x, int c, double u, double v)
{
    int column = (int)floor(u), row = (int)floor(v);
    double top = at_pixel(x, c, row, column) + (u - column) * (at_pixel(x, c, row, column + 1) - at_pixel(x, c, row, column));
    double below =
        at_pixel(x, c, row + 1, column) + (u - column) * (at_pixel(x, c, row + 1, column + 1) - at_pixel(x, c, row + 1, column));
    return top + (v - row) * (below - top);
}

/* Where pixels were read, from a ramp; what they should be, by that map, from noise. */
static void check_map(const plumb_augment *augment, double low, double high, bool rigid)
{
    static struct bench ramp, noise;
    REQUIRE(open_bench(&ramp, true, *augment) && open_bench(&noise, false, *augment));
    for (int i = 0; i < COUNT; i++) {
        const int m = SIDE / 2, centre = m * SIDE + m;
        run(&ramp, 4, i);
        run(&noise, 4, i);
        /* Around the middle nothing is outside: the map's columns are differences there. */
        double xx = (double)ramp.out[centre + 1] - (double)ramp.out[centre], yx = (double)ramp.out[PIXELS + centre + 1] - (double)ramp.out[PIXELS + centre];
        double xy = (double)ramp.out[centre + SIDE] - (double)ramp.out[centre], yy = (double)ramp.out[PIXELS + centre + SIDE] - (double)ramp.out[PIXELS + centre];
        double u0 = (double)ramp.out[centre], v0 = (double)ramp.out[PIXELS + centre], area = xx * yy - xy * yx;
        CHECK_MSG(area >= low - 1e-5 && area <= high + 1e-5, "example %d: area %g", i, area);
        if (rigid) {
            CHECK_NEAR(xx * xx + yx * yx, 1, 1e-5);
            CHECK_NEAR(xx * xy + yx * yy, 0, 1e-5);
            CHECK(fabs(atan2(yx, xx)) <= 30 * 3.141593 / 180);
            CHECK_NEAR(u0, m, 1e-5);
            CHECK_NEAR(v0, m, 1e-5);
        }
        for (int p = 0; p < PIXELS; p++) {
            double u = u0 + xx * (p % SIDE - m) + xy * (p / SIDE - m), v = v0 + yx * (p % SIDE - m) + yy * (p / SIDE - m);
            for (int c = 0; c < 3; c++) {
                double expected = between_pixels(noise.x[i], c, u, v);
                CHECK_MSG(fabs((double)noise.out[c * PIXELS + p] - expected) <= 0.02, "example %d, pixel %d of %d: %g, expected %g", i,
                          p, c, (double)noise.out[c * PIXELS + p], expected);
            }
        }
    }
    close_bench(&ramp);
    close_bench(&noise);
}

PLUMB_TEST(augment, rotation_is_one) { check_map(&(plumb_augment){.rotate = 30}, 1, 1, true); }
PLUMB_TEST(augment, shear_keeps_areas) { check_map(&(plumb_augment){.shear = 30}, 1, 1, false); }
PLUMB_TEST(augment, resized_crops_have_their_area) { check_map(&(plumb_augment){.resized_crop = 0.4}, 0.4, 1, false); }
PLUMB_TEST(augment, one_map_for_all)
{
    check_map(&(plumb_augment){.mirror = true, .rotate = 20, .shear = 10, .resized_crop = 0.5}, -1, 1, false);
}

PLUMB_TEST(augment, elastic_warps_are_smooth_and_centred)
{
    static struct bench b;
    double sum = 0, squares = 0, step = 0;
    REQUIRE(open_bench(&b, true, (plumb_augment){.elastic = 10, .elastic_sigma = 2}));
    for (int i = 0; i < COUNT; i++) {
        run(&b, 0, i);
        const int m = SIDE / 2 * SIDE + SIDE / 2;
        double d = (double)b.out[m] - SIDE / 2;
        sum += d;
        squares += d * d;
        step = fmax(step, fabs((double)b.out[m + 1] - (double)b.out[m] - 1));
    }
    /* 10 / sqrt 3 / (2 sqrt(pi) 2) = 0.81 is the deviation far from borders. */
    CHECK(fabs(sum / COUNT) < 0.6 && squares / COUNT > 0.2 && squares / COUNT < 1.5 && step < 1.6);
    close_bench(&b);
}

PLUMB_TEST(augment, colours)
{
    static struct bench b;
    REQUIRE(open_bench(&b, false, (plumb_augment){.brightness = 0.5}));
    for (int i = 0; i < COUNT; i++) {
        run(&b, 1, i);
        double factor = (double)b.out[5] / (double)b.x[i][5];
        CHECK(b.x[i][5] == 0 || (factor >= 0.5 && factor <= 1.5));
        for (int k = 0; b.x[i][5] > 0 && k < ITEM; k++) {
            CHECK_NEAR(b.out[k], factor * (double)b.x[i][k], 1e-3);
        }
    }
    close_bench(&b);
    REQUIRE(open_bench(&b, false, (plumb_augment){.hue = 0.3}));
    double most = 0;
    for (int i = 0; i < COUNT; i++) { /* a turn about the line of greys keeps sums and lengths */
        run(&b, 1, i);
        for (int k = 0; k < PIXELS; k++) {
            double sum[2] = {0, 0}, length[2] = {0, 0};
            for (int c = 0; c < 3; c++) {
                double was = (double)b.x[i][c * PIXELS + k], is = (double)b.out[c * PIXELS + k];
                sum[0] += was;
                sum[1] += is;
                length[0] += was * was;
                length[1] += is * is;
                most = fmax(most, fabs(is - was));
            }
            CHECK_NEAR(sum[0], sum[1], 1e-3);
            CHECK_NEAR(length[0], length[1], 0.1);
        }
    }
    CHECK(most > 50);
    close_bench(&b);
    REQUIRE(open_bench(&b, false, (plumb_augment){.contrast = 0.5}));
    for (int i = 0; i < COUNT; i++) {
        double mean = 0, mean_out = 0;
        run(&b, 1, i);
        for (int k = 0; k < ITEM; k++) {
            mean += (double)b.x[i][k];
            mean_out += (double)b.out[k];
        }
        CHECK_NEAR(mean, mean_out, 1);
    }
    close_bench(&b);
    static struct bench grey;
    REQUIRE(open_bench(&grey, true, (plumb_augment){.saturation = 1, .hue = 0.5}));
    for (int k = 0; k < ITEM; k++) {
        ((float *)grey.set->data)[k] = (float)(k % PIXELS);
    }
    run(&grey, 0, 0);
    for (int k = 0; k < ITEM; k++) {
        CHECK_NEAR(grey.out[k], k % PIXELS, 1e-4); /* grey has no hue to turn */
    }
    close_bench(&grey);
}

PLUMB_TEST(augment, erasing)
{
    static struct bench b;
    int erased = 0;
    REQUIRE(open_bench(&b, false, (plumb_augment){.erase = 0.25, .fill = -5}));
    for (int epoch = 0; epoch < 40; epoch++) {
        for (int i = 0; i < COUNT; i++) {
            int gone[3] = {0}, left = SIDE, right = -1, top = SIDE, bottom = -1;
            run(&b, epoch, i);
            for (int k = 0; k < ITEM; k++) {
                bool out = b.out[k] == -5;
                CHECK(out || b.out[k] == b.x[i][k]);
                gone[k / PIXELS] += out;
                int x = k % SIDE, y = k % PIXELS / SIDE;
                left = out && x < left ? x : left;
                right = out && x > right ? x : right;
                top = out && y < top ? y : top;
                bottom = out && y > bottom ? y : bottom;
            }
            erased += gone[0] > 0;
            CHECK(gone[0] == gone[1] && gone[0] == gone[2]);
            CHECK(gone[0] == 0 || gone[0] == (right - left + 1) * (bottom - top + 1));
            CHECK(gone[0] <= 0.45 * PIXELS);
        }
    }
    CHECK_MSG(abs(erased - 400) < 87, "%d of 1600 are erased", erased);
    close_bench(&b);
}

PLUMB_TEST(augment, mixtures)
{
    static struct bench b;
    double sum = 0;
    int others[COUNT] = {0}, halves = 0;
    REQUIRE(open_bench(&b, false, (plumb_augment){.mixup = 1}));
    for (int epoch = 0; epoch < 50; epoch++) {
        for (int i = 0; i < COUNT; i++) {
            run(&b, epoch, i);
            CHECK(b.mixed.label == i && b.mixed.second >= 0 && b.mixed.second < COUNT);
            CHECK(b.mixed.share >= 0 && b.mixed.share <= 1);
            for (int k = 0; k < ITEM; k++) {
                double share = (double)b.mixed.share;
                CHECK_NEAR(b.out[k], share * (double)b.x[i][k] + (1 - share) * (double)b.x[b.mixed.second][k], 1e-3);
            }
            sum += (double)b.mixed.share;
            halves += b.mixed.share < 0.25f;
            others[b.mixed.second]++;
        }
    }
    CHECK_NEAR(sum / 2000, 0.5, 0.033); /* Beta(1, 1) is uniform */
    CHECK_MSG(abs(halves - 500) < 97, "%d shares of 2000 are below a quarter", halves);
    for (int i = 0; i < COUNT; i++) {
        CHECK_MSG(abs(others[i] - 50) < 36, "%d times %d", others[i], i);
    }
    close_bench(&b);
    REQUIRE(open_bench(&b, false, (plumb_augment){.cutmix = 1}));
    for (int i = 0; i < COUNT; i++) {
        int own = 0;
        run(&b, 2, i);
        for (int p = 0; p < PIXELS; p++) {
            bool same = b.out[p] == b.x[i][p] && b.out[PIXELS + p] == b.x[i][PIXELS + p];
            own += same;
            CHECK(same || b.out[p] == b.x[b.mixed.second][p]);
        }
        CHECK(b.mixed.second == i || fabs((double)b.mixed.share - (double)own / PIXELS) < 0.03);
    }
    close_bench(&b);
}

PLUMB_TEST(augment, words)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    plumb_augment a;
    CHECK(plumb_augment_parse(context, "mirror,crop=4,rotate=15.5,resized-crop,erase=0.25,mixup", &a) == PLUMB_OK);
    CHECK(a.mirror && a.crop == 4 && a.rotate == 15.5 && a.resized_crop == 0.25 && a.erase == 0.25 && a.mixup == 1 && a.cutmix == 0);
    static const char *const bad[][2] = {{"", "nothing is named"},          {"mirror,", "ends in a comma"},
                                         {"mirro", "'mirro' is unknown"},    {"mirror=2", "takes no value"},
                                         {"crop", "crop is a whole number"}, {"crop=1.5", "whole number"},
                                         {"crop=-1", "from 0"},              {"rotate=nan", "rotate is a number"},
                                         {"rotate=181", "to 180"},           {"hue=0x1", "hue is a number"},
                                         {",mirror", "'' is unknown"},       {"crop=4 ", "whole number"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_MSG(plumb_augment_parse(context, bad[i][0], &a) == PLUMB_BAD_INPUT, "'%s' was taken", bad[i][0]);
        CHECK_TEXT(plumb_message(context), bad[i][1]);
        plumb_clear_error(context);
    }
    plumb_close(context);
}
