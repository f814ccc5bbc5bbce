/* The loader: which examples come when, and getting them into a program's inputs.
 *
 * The order of an epoch is a Fisher-Yates shuffle drawn from Philox keyed (seed, epoch), so it is the same after a
 * resume, for any number of threads, and whatever the batch size. Bytes become floats here, unscaled: scaling is a
 * layer of the model. */
#include "data/dataset.h"

#define SHUFFLE_STREAM 0x5348u /* apart from the streams of random ops, which count up from 0 */
#define GATHER_CHUNK 8192 /* elements that one chunk gathers at least: some microseconds, and steps keep threads awake */

struct loader {
    plumb_context *context;
    plumb_dataset *dataset;
    plumb_loader_options options;
    int64_t count, item, batches;
    int64_t epoch, batch;  /* of the next call */
    int64_t ordered_epoch; /* the epoch that `order` is of; -1: none */
    int64_t *order;        /* [count] */
    int64_t *indices;      /* [options.batch] of the last batch */
    float *pictures;       /* (batch, item): staging */
    int32_t *labels;       /* (batch) */
};

static void loader_destroy(void *object)
{
    struct loader *l = object;
    plumb_free(l->context, l->order);
    plumb_free(l->context, l->indices);
    plumb_free(l->context, l->pictures);
    plumb_free(l->context, l->labels);
    plumb_free(l->context, l);
}

static struct loader *loader_get(const plumb_loader *handle)
{
    return plumb_handle_get(handle, PLUMB_KIND_LOADER);
}

plumb_loader *plumb_loader_new(plumb_dataset *dataset, const plumb_loader_options *options)
{
    struct dataset *d = plumb_dataset_get(dataset);
    if (!d) {
        return NULL;
    }
    plumb_loader_options o = options ? *options : (plumb_loader_options){0};
    o.batch = o.batch ? o.batch : 64;
    o.seed = o.seed ? o.seed : plumb_seed(d->context);
    if (o.batch < 1 || (o.drop_last && o.batch > d->count)) {
        plumb_fail(d->context, PLUMB_BAD_INPUT, "loader: batch of %lld from %lld examples%s",
                   (long long)o.batch, (long long)d->count,
                   o.drop_last ? " without the incomplete last batch leaves nothing" : "");
        return NULL;
    }
    o.batch = o.batch < d->count ? o.batch : d->count;
    struct loader *l = plumb_zalloc(d->context, sizeof(*l));
    if (!l) {
        return NULL;
    }
    *l = (struct loader){.context = d->context,
                         .dataset = dataset,
                         .options = o,
                         .count = d->count,
                         .item = d->item,
                         .ordered_epoch = -1};
    l->batches = d->count / o.batch + (!o.drop_last && d->count % o.batch != 0);
    int64_t floats = 0;
    bool fits = plumb_mul_size(o.batch, d->item * (int64_t)sizeof(float), &floats);
    l->order = plumb_alloc(l->context, (size_t)l->count * sizeof(int64_t));
    l->indices = plumb_alloc(l->context, (size_t)o.batch * sizeof(int64_t));
    l->pictures = fits ? plumb_alloc(l->context, (size_t)floats) : NULL;
    l->labels = plumb_alloc(l->context, (size_t)o.batch * sizeof(int32_t));
    plumb_loader *handle = NULL;
    if (l->order && l->indices && l->pictures && l->labels) {
        handle = plumb_handle_new(l->context, PLUMB_KIND_LOADER, l, loader_destroy);
    }
    if (!handle) {
        loader_destroy(l);
    }
    return handle;
}

void plumb_loader_free(plumb_loader *loader) { plumb_handle_free(loader, PLUMB_KIND_LOADER); }

int64_t plumb_loader_batches(const plumb_loader *loader)
{
    const struct loader *l = loader_get(loader);
    return l ? l->batches : 0;
}

plumb_status plumb_loader_seek(plumb_loader *loader, int64_t epoch, int64_t batch)
{
    struct loader *l = loader_get(loader);
    if (!l) {
        return PLUMB_BAD_INPUT;
    }
    if (epoch < 0 || batch < 0 || batch > l->batches) {
        return plumb_fail(l->context, PLUMB_BAD_INPUT,
                          "loader: no batch %lld of epoch %lld, an epoch has %lld", (long long)batch,
                          (long long)epoch, (long long)l->batches);
    }
    l->epoch = epoch;
    l->batch = batch;
    return PLUMB_OK;
}

const int64_t *plumb_loader_indices(const plumb_loader *loader)
{
    const struct loader *l = loader_get(loader);
    return l ? l->indices : NULL;
}

static void make_order(struct loader *l)
{
    for (int64_t i = 0; i < l->count; i++) {
        l->order[i] = i;
    }
    for (int64_t i = l->count - 1; l->options.shuffle && i > 0; i--) {
        uint32_t word[4];
        plumb_philox(l->options.seed, SHUFFLE_STREAM + (uint32_t)(i >> 32), (uint64_t)l->epoch, (uint32_t)i,
                     word);
        uint64_t draw = (uint64_t)word[0] << 32 | word[1];
        /* The high half of draw * (i + 1) is uniform in [0, i] but for 2^-64 * i. */
        int64_t j = (int64_t)(((unsigned __int128)draw * (uint64_t)(i + 1)) >> 64);
        int64_t kept = l->order[i];
        l->order[i] = l->order[j];
        l->order[j] = kept;
    }
    l->ordered_epoch = l->epoch;
}

struct gather {
    const struct dataset *d;
    const int64_t *indices;
    int64_t count, per_chunk; /* examples */
    float *to;
};

/* In blocks of a fixed length, which the compiler turns into vectors; this is most of what a batch costs. */
static void widen(float *restrict to, const uint8_t *restrict from, int64_t count)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (int k = 0; k < 16; k++) {
            to[i + k] = (float)from[i + k];
        }
    }
    for (; i < count; i++) {
        to[i] = (float)from[i];
    }
}

static void gather_chunk(void *user, int64_t chunk, int worker)
{
    const struct gather *q = user;
    int64_t begin = chunk * q->per_chunk;
    int64_t end = begin + q->per_chunk < q->count ? begin + q->per_chunk : q->count;
    int64_t item = q->d->item;
    (void)worker;
    for (int64_t n = begin; n < end; n++) {
        float *to = q->to + n * item;
        int64_t first = q->indices[n] * item;
        switch (q->d->dtype) {
        case PLUMB_U8: widen(to, (const uint8_t *)q->d->data + first, item); break;
        case PLUMB_F32: memcpy(to, (const float *)q->d->data + first, (size_t)item * sizeof(float)); break;
        default:
            for (int64_t i = 0; i < item; i++) {
                to[i] = (float)((const double *)q->d->data)[first + i];
            }
        }
    }
}

static void gather(struct loader *l, const struct dataset *d, int64_t count)
{
    struct gather q = {.d = d, .indices = l->indices, .count = count, .to = l->pictures};
    q.per_chunk = (GATHER_CHUNK + l->item - 1) / l->item;
    int64_t chunks = (count + q.per_chunk - 1) / q.per_chunk;
    if (chunks <= 1) {
        gather_chunk(&q, 0, 0);
    } else {
        plumb_pool_run(l->context->pool, chunks, gather_chunk, &q);
    }
}

static plumb_status feed_labels(struct loader *l, const struct dataset *d, plumb_program *program,
                                plumb_t label, int64_t count)
{
    for (int64_t n = 0; n < count; n++) {
        l->labels[n] = plumb_dataset_label_at(d, l->indices[n]);
    }
    return plumb_feed(program, label, l->labels, (size_t)count * sizeof(int32_t));
}

int64_t plumb_loader_next(plumb_loader *loader, plumb_program *program, plumb_t input, plumb_t label)
{
    struct loader *l = loader_get(loader);
    struct dataset *d = l ? plumb_dataset_get(l->dataset) : NULL;
    if (!d) {
        return -1;
    }
    if (l->batch >= l->batches) {
        l->epoch++;
        l->batch = 0;
        return 0;
    }
    if (l->ordered_epoch != l->epoch) {
        make_order(l);
    }
    int64_t first = l->batch * l->options.batch;
    int64_t count = l->count - first < l->options.batch ? l->count - first : l->options.batch;
    memcpy(l->indices, l->order + first, (size_t)count * sizeof(int64_t));
    plumb_status status = plumb_bind(program, PLUMB_BATCH, count);
    if (!status && input) {
        gather(l, d, count);
        status = plumb_feed(program, input, l->pictures, (size_t)(count * l->item) * sizeof(float));
    }
    if (!status && label) {
        status = feed_labels(l, d, program, label, count);
    }
    l->batch += status ? 0 : 1;
    return status ? -1 : count;
}
