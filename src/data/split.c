/* Splits: a set as several, drawn at random. A part is a list of examples of the set it came from, whose memory it keeps alive.
 *
 * The shuffled examples are cut at the rounded sums of the shares. Stratified, each class is shuffled and cut by itself. Within
 * a part the examples keep their order: shuffling is the loader's. */
#include <math.h>
#include <stdio.h>

#include "data/dataset.h"

#define MAX_PARTS 8

/* `part` of each example: among `count` of them, listed in `list`, drawn with numbers from `first` on. */
static void deal(int64_t *list, int64_t count, const double *until, int parts, uint64_t seed, int64_t first, uint8_t *part)
{
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t word[4];
        plumb_philox(seed, PLUMB_SPLIT_STREAM, (uint64_t)((first + i) >> 32), (uint32_t)(first + i), word);
        int64_t j = plumb_draw_below(word, i + 1), kept = list[i];
        list[i] = list[j];
        list[j] = kept;
    }
    int64_t at = 0;
    for (int p = 0; p < parts; p++) {
        int64_t end = p + 1 == parts ? count : llround(until[p] * (double)count);
        for (; at < end; at++) {
            part[list[at]] = (uint8_t)p;
        }
    }
}

static void deal_all(const struct dataset *d, const double *until, int parts, const plumb_split_options *o, int64_t *list,
                     uint8_t *part)
{
    int64_t first = 0;
    for (int c = 0; c < (o->stratified ? d->classes : 1); c++) {
        int64_t count = 0;
        for (int64_t i = 0; i < d->count; i++) {
            if (!o->stratified || plumb_dataset_label_at(d, i) == c) {
                list[count++] = i;
            }
        }
        deal(list, count, until, parts, o->seed, first, part);
        first += count;
    }
}

static plumb_dataset *make_part(struct dataset *d, const uint8_t *part, int which)
{
    int64_t count = 0;
    for (int64_t i = 0; i < d->count; i++) {
        count += part[i] == which;
    }
    if (count == 0) {
        plumb_fail(d->context, PLUMB_BAD_INPUT, "split: part %d of %lld examples is empty", which + 1, (long long)d->count);
        return NULL;
    }
    struct dataset *view = plumb_zalloc(d->context, sizeof(*view));
    if (!view) {
        return NULL;
    }
    *view = *d;
    view->base = d->base ? d->base : d;
    view->base->users++;
    view->bad_list = NULL;
    view->bad = 0;
    view->count = count;
    view->rows = plumb_alloc(d->context, (size_t)count * sizeof(int64_t));
    if (!view->rows) {
        view->users = 1;
        plumb_dataset_drop(view);
        return NULL;
    }
    for (int64_t i = 0, at = 0; i < d->count; i++) {
        if (part[i] == which) {
            view->rows[at++] = plumb_dataset_row(d, i);
        }
    }
    return plumb_dataset_publish(view);
}

static plumb_status check(plumb_context *context, const double *shares, int count, double *until)
{
    double sum = 0;
    bool good = shares && count >= 2 && count <= MAX_PARTS;
    for (int i = 0; good && i < count; i++) {
        sum += shares[i];
        until[i] = sum;
        good = shares[i] > 0 && isfinite(sum);
    }
    if (!good) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "split: needs 2 to %d positive shares", MAX_PARTS);
    }
    for (int i = 0; i < count; i++) {
        until[i] /= sum;
    }
    return PLUMB_OK;
}

plumb_status plumb_dataset_split(plumb_dataset *dataset, const double *shares, int count,
                                 const plumb_split_options *options, plumb_dataset **parts)
{
    struct dataset *d = plumb_dataset_get(dataset);
    plumb_split_options o;
    double until[MAX_PARTS];
    if (!d) {
        return PLUMB_BAD_INPUT;
    }
    plumb_read_options(&o, sizeof(o), options);
    o.seed = o.seed ? o.seed : plumb_seed(d->context);
    plumb_status status = check(d->context, shares, count, until);
    if (status || !parts) {
        return status ? status : plumb_fail(d->context, PLUMB_BAD_INPUT, "split: no place for the parts");
    }
    memset(parts, 0, (size_t)count * sizeof(parts[0]));
    int64_t *list = plumb_alloc(d->context, (size_t)d->count * sizeof(int64_t));
    uint8_t *part = plumb_alloc(d->context, (size_t)d->count);
    if (list && part) {
        deal_all(d, until, count, &o, list, part);
    } else {
        status = PLUMB_FAILED;
    }
    for (int i = 0; !status && i < count; i++) {
        parts[i] = make_part(d, part, i);
        status = parts[i] ? PLUMB_OK : plumb_last_status(d->context);
    }
    for (int i = 0; status && i < count; i++) {
        plumb_dataset_free(parts[i]);
        parts[i] = NULL;
    }
    plumb_free(d->context, list);
    plumb_free(d->context, part);
    return status;
}
