/* Ranges of hyper-parameters: their scales, draws, grids and narrowing. */
#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

static const plumb_search_range ranges[] = {{.low = -1, .high = 3},
                                     {.scale = PLUMB_SEARCH_LOG, .low = 1e-4, .high = 1},
                                     {.scale = PLUMB_SEARCH_BELOW_ONE, .low = 0.9, .high = 0.999},
                                     {.scale = PLUMB_SEARCH_WHOLE, .low = 50, .high = 100},
                                     {.scale = PLUMB_SEARCH_WHOLE_LOG, .low = 16, .high = 256},
                                     {.scale = PLUMB_SEARCH_CHOICE, .high = 2}};
enum { RANGES = sizeof(ranges) / sizeof(ranges[0]) };

PLUMB_TEST(search, scales_reach_from_end_to_end)
{
    for (int i = 0; i < RANGES; i++) {
        CHECK(!plumb_search_fault(&ranges[i]));
        CHECK(plumb_search_value(&ranges[i], 0) == ranges[i].low && plumb_search_value(&ranges[i], 1) == ranges[i].high);
        for (double p = 0; p < 1; p += 0.0625) {
            double value = plumb_search_value(&ranges[i], p);
            CHECK(value >= ranges[i].low && value <= ranges[i].high);
            CHECK_NEAR(plumb_search_value(&ranges[i], plumb_search_position(&ranges[i], value)), value, 1e-9);
        }
    }
    CHECK_NEAR(plumb_search_value(&ranges[1], 0.5), 1e-2, 1e-12);  /* r = -2 */
    CHECK_NEAR(plumb_search_value(&ranges[2], 0.5), 0.99, 1e-12);  /* 1 - beta = 10^-2 */
    CHECK(plumb_search_value(&ranges[4], 0.5) == 64);
}

PLUMB_TEST(search, draws_cover_each_scale_evenly_and_never_change)
{
    enum { TRIALS = 6000 };
    static double value[TRIALS][RANGES];
    double again[RANGES], other[RANGES];
    for (int t = 0; t < TRIALS; t++) {
        plumb_search_random(ranges, RANGES, 7, t, value[t]);
    }
    for (int i = 0; i < RANGES; i++) {
        double below[4] = {0};
        for (int t = 0; t < TRIALS; t++) {
            double p = plumb_search_position(&ranges[i], value[t][i]);
            for (int k = 0; k < 4; k++) {
                below[k] += p < (k + 1) * 0.25 ? 1.0 / TRIALS : 0;
            }
        }
        bool rough = ranges[i].scale == PLUMB_SEARCH_CHOICE; /* three places only */
        for (int k = 0; !rough && k < 4; k++) {
            CHECK_MSG(fabs(below[k] - (k + 1) * 0.25) < 0.03, "range %d: %g below %g", i, below[k], (k + 1) * 0.25);
        }
    }
    double third[3] = {0};
    for (int t = 0; t < TRIALS; t++) {
        third[(int)value[t][5]] += 1.0 / TRIALS;
    }
    for (int k = 0; k < 3; k++) {
        CHECK_NEAR(third[k], 1.0 / 3, 0.03);
    }
    plumb_search_random(ranges, RANGES, 7, 1234, again);
    plumb_search_random(ranges, RANGES, 8, 1234, other);
    CHECK(memcmp(again, value[1234], sizeof(again)) == 0 && memcmp(again, other, sizeof(again)) != 0);
}

PLUMB_TEST(search, grids_have_every_point_once)
{
    const plumb_search_range grid[3] = {{.scale = PLUMB_SEARCH_LOG, .low = 1e-3, .high = 1e-1, .steps = 3},
                                 {.scale = PLUMB_SEARCH_CHOICE, .high = 1},
                                 {.scale = PLUMB_SEARCH_WHOLE, .low = 2, .high = 4}};
    REQUIRE(plumb_search_grid_size(grid, 3) == 18);
    double point[18][3];
    for (int i = 0; i < 18; i++) {
        plumb_search_grid(grid, 3, i, point[i]);
        for (int k = 0; k < i; k++) {
            CHECK(memcmp(point[i], point[k], sizeof(point[i])) != 0);
        }
    }
    CHECK(point[0][2] == 2 && point[1][2] == 3 && point[2][2] == 4 && point[3][1] == 1);
    CHECK_NEAR(point[6][0], 1e-2, 1e-12);
    const plumb_search_range wide[1] = {{.low = 0, .high = 1}};
    CHECK(plumb_search_grid_size(wide, 1) == 5);
}

PLUMB_TEST(search, narrowing_keeps_the_best_inside)
{
    for (int i = 0; i < RANGES; i++) {
        for (double p = 0; p <= 1; p += 0.125) {
            double best = plumb_search_value(&ranges[i], p);
            plumb_search_range r = plumb_search_narrow(&ranges[i], best, 0.25);
            CHECK(!plumb_search_fault(&r) && r.low >= ranges[i].low && r.high <= ranges[i].high);
            CHECK_MSG(best >= r.low - 1e-9 && best <= r.high + 1e-9, "range %d: %g outside %g to %g", i, best, r.low, r.high);
        }
    }
    plumb_search_range r = plumb_search_narrow(&ranges[1], 1e-2, 0.5);
    CHECK_NEAR(r.low, 1e-3, 1e-9);
    CHECK_NEAR(r.high, 1e-1, 1e-9);
}

PLUMB_TEST(search, faults_are_named)
{
    const plumb_search_range bad[] = {{.low = 2, .high = 1},
                               {.low = NAN, .high = 1},
                               {.scale = PLUMB_SEARCH_LOG, .low = 0, .high = 1},
                               {.scale = PLUMB_SEARCH_BELOW_ONE, .low = 0.5, .high = 1},
                               {.scale = PLUMB_SEARCH_WHOLE, .low = 0.5, .high = 4},
                               {.low = 0, .high = 1, .steps = -1}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_MSG(plumb_search_fault(&bad[i]), "%zu", i);
    }
}
