/* The numbers of input scaling, over a whole set: one pass over the examples for each channel's mean and extremes, and for
 * floats a second one for the deviation. */
#include <math.h>

#include "data/dataset.h"

/* Sums over one channel of all examples. Bytes are counted per value, so their sums are exact. */
struct spread {
    double count, mean, deviation, low, high;
};

static void spread_of_counts(const int64_t *times, struct spread *out)
{
    double sum = 0, squares = 0;
    out->count = 0;
    out->low = 256;
    out->high = -1;
    for (int v = 0; v < 256; v++) {
        out->count += (double)times[v];
        sum += (double)times[v] * v;
        out->low = times[v] && v < out->low ? v : out->low;
        out->high = times[v] ? v : out->high;
    }
    out->mean = sum / out->count;
    for (int v = 0; v < 256; v++) {
        squares += (double)times[v] * (v - out->mean) * (v - out->mean);
    }
    out->deviation = sqrt(squares / out->count);
}

static plumb_status count_bytes(const struct dataset *d, int channels, struct plumb_scratch *scratch, struct spread *out)
{
    int64_t length = d->item / channels;
    int64_t *times = plumb_zalloc(d->context, (size_t)channels * 256 * sizeof(int64_t));
    if (!times) {
        return PLUMB_FAILED;
    }
    plumb_status status = PLUMB_OK;
    for (int64_t n = 0; !status && n < d->count; n++) {
        const uint8_t *x = plumb_dataset_example(d, n, scratch);
        if (!x) {
            status = plumb_fail(d->context, PLUMB_BAD_INPUT, "%s", scratch->why);
            break;
        }
        for (int c = 0; c < channels; c++) {
            int64_t *of = times + (int64_t)c * 256;
            for (int64_t i = 0; i < length; i++) {
                of[x[c * length + i]]++;
            }
        }
    }
    for (int c = 0; !status && c < channels; c++) {
        spread_of_counts(times + (int64_t)c * 256, &out[c]);
    }
    plumb_free(d->context, times);
    return status;
}

static void add_values(const void *x, plumb_dtype dtype, int64_t first, int64_t length, struct spread *s)
{
    for (int64_t i = first; i < first + length; i++) {
        double v = plumb_get(x, dtype, i);
        s->mean += v; /* divided by the count in the end */
        s->low = v < s->low ? v : s->low;
        s->high = v > s->high ? v : s->high;
    }
}

static void add_squares(const void *x, plumb_dtype dtype, int64_t first, int64_t length, struct spread *s)
{
    for (int64_t i = first; i < first + length; i++) {
        double v = plumb_get(x, dtype, i) - s->mean;
        s->deviation += v * v;
    }
}

/* Floats are in memory: there is no way to fail. */
static void sum_floats(const struct dataset *d, int channels, struct plumb_scratch *scratch, struct spread *out)
{
    int64_t length = d->item / channels;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t n = 0; n < d->count; n++) {
            const void *x = plumb_dataset_example(d, n, scratch);
            for (int c = 0; c < channels; c++) {
                (pass ? add_squares : add_values)(x, d->dtype, c * length, length, &out[c]);
            }
        }
        for (int c = 0; c < channels; c++) {
            if (pass) {
                out[c].deviation = sqrt(out[c].deviation / out[c].count);
            } else {
                out[c].mean /= out[c].count;
            }
        }
    }
}

static plumb_status spread_of(const struct dataset *d, int channels, struct spread *out)
{
    struct plumb_scratch scratch;
    plumb_status status = plumb_scratch_make(d, &scratch);
    for (int c = 0; c < channels; c++) {
        out[c] = (struct spread){
            .count = (double)d->count * (double)(d->item / channels), .low = INFINITY, .high = -INFINITY};
    }
    if (!status && d->dtype == PLUMB_U8) {
        status = count_bytes(d, channels, &scratch, out);
    } else if (!status) {
        sum_floats(d, channels, &scratch, out);
    }
    plumb_scratch_free(d, &scratch);
    return status;
}

plumb_status plumb_dataset_scaling(const plumb_dataset *dataset, plumb_scaling rule, int channels,
                                   double *shift, double *scale)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    if (!d) {
        return PLUMB_BAD_INPUT;
    }
    int64_t all = d->shape.rank > 0 ? d->shape.dim[0] : 1;
    if (!shift || !scale || channels < 1 || (channels != 1 && channels != all)) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT,
                          "data set: scaling of %d channels, the pictures have %lld", channels,
                          (long long)all);
    }
    if ((unsigned)rule > PLUMB_SCALING_NONE) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT, "data set: no such scaling rule: %d", (int)rule);
    }
    struct spread *spread = plumb_alloc(d->context, (size_t)channels * sizeof(*spread));
    plumb_status status = spread ? spread_of(d, channels, spread) : PLUMB_FAILED;
    for (int c = 0; !status && c < channels; c++) {
        const struct spread *s = &spread[c];
        double width = s->high - s->low;
        shift[c] = rule == PLUMB_SCALING_STANDARD    ? s->mean
                   : rule == PLUMB_SCALING_UNIT      ? s->low
                   : rule == PLUMB_SCALING_SYMMETRIC ? (s->low + s->high) / 2
                                                     : 0;
        scale[c] = rule == PLUMB_SCALING_STANDARD    ? s->deviation > 0 ? 1 / s->deviation : 1
                   : rule == PLUMB_SCALING_NONE      ? 1
                   : !(width > 0)                    ? 1
                   : rule == PLUMB_SCALING_SYMMETRIC ? 2 / width
                                                     : 1 / width;
    }
    plumb_free(d->context, spread);
    return status;
}
