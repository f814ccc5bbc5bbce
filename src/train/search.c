/* Ranges of hyper-parameters and how trials are placed on them. A range maps positions from 0 to 1 onto values by its own
 * scale; drawing, grids and narrowing then work on positions alone. Random trials beat grids where few parameters matter
 * (Bergstra & Bengio 2012), because every trial tries a new value of each. */
#include <math.h>

#include "core/core.h"
#include "plumb/search.h"

#define SEARCH_STREAM 0x5452u /* apart from what else is drawn with a seed */

static bool is_whole(const plumb_search_range *r) { return r->scale >= PLUMB_SEARCH_WHOLE; }

const char *plumb_search_fault(const plumb_search_range *r)
{
    if (!(isfinite(r->low) && isfinite(r->high) && r->low <= r->high)) {
        return "needs two numbers, the lower first";
    }
    if ((r->scale == PLUMB_SEARCH_LOG || r->scale == PLUMB_SEARCH_WHOLE_LOG) && r->low <= 0) {
        return "needs numbers above 0 for a logarithmic scale";
    }
    if (r->scale == PLUMB_SEARCH_BELOW_ONE && r->high >= 1) {
        return "needs numbers below 1";
    }
    if (is_whole(r) && !(r->low == floor(r->low) && r->high == floor(r->high) && fabs(r->low) <= 1e15 && r->high <= 1e15)) {
        return "needs whole numbers";
    }
    return r->steps < 0 ? "needs a number of steps from 0 on" : NULL;
}

/* The scale that positions are linear on. */
static double scaled(const plumb_search_range *r, double value)
{
    switch (r->scale) {
    case PLUMB_SEARCH_LOG:
    case PLUMB_SEARCH_WHOLE_LOG: return log(value);
    case PLUMB_SEARCH_BELOW_ONE: return -log1p(-value);
    default: return value;
    }
}

static double inside(const plumb_search_range *r, double value) { return fmin(fmax(value, r->low), r->high); }

double plumb_search_value(const plumb_search_range *r, double position)
{
    double p = fmin(fmax(position, 0), 1);
    if (r->scale == PLUMB_SEARCH_WHOLE || r->scale == PLUMB_SEARCH_CHOICE) {
        return inside(r, r->low + floor(p * (r->high - r->low + 1))); /* each as likely, the ends too */
    }
    if (p == 0 || p == 1) {
        return p == 0 ? r->low : r->high; /* a logarithm and back would be a little off */
    }
    double low = scaled(r, r->low), at = low + p * (scaled(r, r->high) - low);
    switch (r->scale) {
    case PLUMB_SEARCH_LOG: return inside(r, exp(at));
    case PLUMB_SEARCH_WHOLE_LOG: return inside(r, floor(exp(at) + 0.5));
    case PLUMB_SEARCH_BELOW_ONE: return inside(r, -expm1(-at));
    default: return inside(r, at);
    }
}

double plumb_search_position(const plumb_search_range *r, double value)
{
    double low = scaled(r, r->low), width = scaled(r, r->high) - low, at = scaled(r, inside(r, value)) - low;
    if (r->scale == PLUMB_SEARCH_WHOLE || r->scale == PLUMB_SEARCH_CHOICE) {
        return (at + 0.5) / (width + 1); /* the middle of its share */
    }
    return width > 0 ? at / width : 0.5;
}

void plumb_search_random(const plumb_search_range *ranges, int count, uint64_t seed, int64_t trial, double *values)
{
    for (int i = 0; i < count; i++) {
        uint32_t word = plumb_random_word(seed, SEARCH_STREAM, (uint64_t)trial, i);
        values[i] = plumb_search_value(&ranges[i], plumb_uniform_of_word(word));
    }
}

static int64_t steps_of(const plumb_search_range *r)
{
    double all = r->high - r->low + 1;
    if (r->low == r->high) {
        return 1;
    }
    int64_t steps = r->steps ? r->steps : is_whole(r) && r->scale != PLUMB_SEARCH_WHOLE_LOG && all <= 8 ? (int64_t)all : 5;
    return r->scale == PLUMB_SEARCH_CHOICE ? (int64_t)all : steps;
}

int64_t plumb_search_grid_size(const plumb_search_range *ranges, int count)
{
    int64_t size = 1;
    for (int i = 0; i < count; i++) {
        if (!plumb_mul_size(size, steps_of(&ranges[i]), &size)) {
            return INT64_MAX;
        }
    }
    return size;
}

void plumb_search_grid(const plumb_search_range *ranges, int count, int64_t trial, double *values)
{
    for (int i = count - 1; i >= 0; i--) {
        int64_t steps = steps_of(&ranges[i]), at = trial % steps;
        trial /= steps;
        double position = steps > 1 ? (double)at / (double)(steps - 1) : 0.5;
        values[i] = plumb_search_value(&ranges[i], position);
    }
}

plumb_search_range plumb_search_narrow(const plumb_search_range *range, double best, double share)
{
    plumb_search_range r = *range;
    if (r.scale == PLUMB_SEARCH_CHOICE || !(share > 0 && share < 1)) {
        return r;
    }
    double from = plumb_search_position(range, best) - share / 2;
    from = from < 0 ? 0 : from > 1 - share ? 1 - share : from;
    r.low = plumb_search_value(range, from);
    r.high = plumb_search_value(range, from + share);
    return r;
}
