/* The loader: which examples come when, and getting them into a program's inputs.
 *
 * The order of an epoch is a Fisher-Yates shuffle drawn from Philox keyed (seed, epoch), so it is the same after a
 * resume, for any number of threads, and whatever the batch size. Bytes become floats here, unscaled: scaling is a
 * layer of the model.
 *
 * A batch is prepared in a slot, in pieces of some examples. Without workers there is one slot, and the context's threads
 * fill it when it is asked for. Workers fill two slots in turn, ahead of whoever computes: while one is fed the other is
 * prepared (a device copies what it is fed through pinned memory of its own, while the step before is still running). An
 * example depends on (seed, epoch, its index) alone, so who prepares what decides nothing.
 *
 * Workers must not touch the context, which is its owner's; errors wait in the slot until its batch is asked for. They run
 * pieces through the pool all the same, one by one, because that sets the floating-point mode that the pool's threads have. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "data/augment.h"

#define GATHER_CHUNK 8192 /* elements that one chunk gathers at least: some microseconds, and steps keep threads awake */
#define MAX_WORKERS 64

struct slot {
    int64_t epoch, batch, count;
    int64_t chunks, claimed, done;
    int64_t *indices;
    float *pictures; /* (batch, item) */
    int32_t *labels, *second;
    float *share;
    int64_t bad; /* position of the first example that could not be read; -1: none */
    char why[400];
};

struct worker {
    struct loader *loader;
    pthread_t thread;
    struct plumb_augment_work work;
};

struct loader {
    plumb_context *context;
    plumb_dataset *dataset;
    struct dataset *set; /* of which the loader is a user */
    plumb_loader_options options;
    plumb_augment augment;
    bool augments;
    int64_t count, item, batches, per_chunk;
    int64_t epoch, batch;  /* of the next call */
    int64_t ordered_epoch; /* the epoch that `order` is of; -1: none */
    int64_t *order;        /* [count] */
    int64_t *indices;      /* [options.batch] of the last batch */
    int n_slots;
    struct slot slot[2];
    int n_workers; /* places to work in: threads of ours, or as many as the pool has */
    struct worker *worker;
    /* With threads of ours, all of this under `lock`: */
    int threads; /* started */
    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    bool stop, pause;
    int busy;                          /* threads that fill a piece */
    int64_t opened, taken;             /* slots, since the last seek */
    int64_t open_epoch, open_batch;    /* of the slot that is opened next */
};

/* ---- the order ---- */

static void make_order(struct loader *l, int64_t epoch)
{
    for (int64_t i = 0; i < l->count; i++) {
        l->order[i] = i;
    }
    for (int64_t i = l->count - 1; l->options.shuffle && i > 0; i--) {
        uint32_t word[4];
        plumb_philox(l->options.seed, PLUMB_SHUFFLE_STREAM + (uint32_t)(i >> 32), (uint64_t)epoch, (uint32_t)i,
                     word);
        int64_t j = plumb_draw_below(word, i + 1);
        int64_t kept = l->order[i];
        l->order[i] = l->order[j];
        l->order[j] = kept;
    }
    l->ordered_epoch = epoch;
}

static void open_slot(struct loader *l, struct slot *s, int64_t epoch, int64_t batch)
{
    if (l->ordered_epoch != epoch) {
        make_order(l, epoch);
    }
    int64_t first = batch * l->options.batch;
    s->epoch = epoch;
    s->batch = batch;
    s->count = l->count - first < l->options.batch ? l->count - first : l->options.batch;
    s->chunks = (s->count + l->per_chunk - 1) / l->per_chunk;
    s->claimed = s->done = 0;
    s->bad = -1;
    memcpy(s->indices, l->order + first, (size_t)s->count * sizeof(int64_t));
}

/* ---- filling ---- */

struct filling {
    struct loader *loader;
    struct slot *slot;
    struct worker *worker; /* NULL: the pool says which */
    int64_t chunk;         /* for `worker` */
    int64_t bad;           /* what it found */
};

static int64_t fill_chunk(struct loader *l, struct slot *s, int64_t chunk, struct plumb_augment_work *work)
{
    int64_t begin = chunk * l->per_chunk;
    int64_t end = begin + l->per_chunk < s->count ? begin + l->per_chunk : s->count;
    for (int64_t n = begin; n < end; n++) {
        int64_t index = s->indices[n];
        float *to = s->pictures + n * l->item;
        struct plumb_mixed mixed = {.label = plumb_dataset_label_at(l->set, index), .share = 1};
        mixed.second = mixed.label;
        bool good = l->augments ? plumb_augment_example(l->set, &l->augment, l->options.seed, s->epoch, index, work, to, &mixed)
                                : plumb_dataset_floats(l->set, index, &work->scratch, to);
        if (!good) {
            return n;
        }
        s->labels[n] = mixed.label;
        s->second[n] = mixed.second;
        s->share[n] = mixed.share;
    }
    return -1;
}

static void note_bad(struct slot *s, int64_t bad, const char *why)
{
    if (bad >= 0 && (s->bad < 0 || bad < s->bad)) { /* the first of the batch, whoever met which first */
        s->bad = bad;
        snprintf(s->why, sizeof(s->why), "%s", why);
    }
}

static void run_chunk(void *user, int64_t chunk, int worker)
{
    struct filling *f = user;
    struct worker *w = f->worker ? f->worker : &f->loader->worker[worker];
    int64_t bad = fill_chunk(f->loader, f->slot, f->worker ? f->chunk : chunk, &w->work);
    if (f->worker) {
        f->bad = bad; /* noted by the thread, which takes the lock */
    } else if (bad >= 0) {
        pthread_mutex_lock(&f->loader->lock);
        note_bad(f->slot, bad, w->work.scratch.why);
        pthread_mutex_unlock(&f->loader->lock);
    }
}

/* ---- threads of ours ---- */

/* Under the lock: a slot with a piece that nobody has claimed, opening the next one where there is room for it. */
static struct slot *find_work(struct loader *l)
{
    for (int64_t q = l->taken; q < l->opened; q++) {
        if (l->slot[q & 1].claimed < l->slot[q & 1].chunks) {
            return &l->slot[q & 1];
        }
    }
    if (l->opened - l->taken >= 2) {
        return NULL;
    }
    struct slot *s = &l->slot[l->opened++ & 1];
    open_slot(l, s, l->open_epoch, l->open_batch);
    if (++l->open_batch >= l->batches) {
        l->open_epoch++;
        l->open_batch = 0;
    }
    pthread_cond_broadcast(&l->work);
    return s;
}

static void *work(void *argument)
{
    struct worker *me = argument;
    struct loader *l = me->loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        struct slot *s = l->pause ? NULL : find_work(l);
        if (!s) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        struct filling f = {.loader = l, .slot = s, .worker = me, .chunk = s->claimed++};
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        plumb_pool_run(l->context->pool, 1, run_chunk, &f);
        pthread_mutex_lock(&l->lock);
        l->busy--;
        s->done++;
        note_bad(s, f.bad, me->work.scratch.why);
        if (s->done == s->chunks || l->busy == 0) {
            pthread_cond_signal(&l->ready);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* All signals blocked: those are for the application's own threads. */
static plumb_status start_threads(struct loader *l)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (l->threads < l->options.workers &&
           pthread_create(&l->worker[l->threads].thread, NULL, work, &l->worker[l->threads]) == 0) {
        pthread_setname_np(l->worker[l->threads++].thread, "plumb-data");
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return l->threads == l->options.workers
               ? PLUMB_OK
               : plumb_fail(l->context, PLUMB_FAILED, "loader: the operating system refused to start %d workers",
                            l->options.workers);
}

static void stop_threads(struct loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->threads; i++) {
        pthread_join(l->worker[i].thread, NULL);
    }
}

/* ---- making one ---- */

static void free_loader(struct loader *l)
{
    plumb_free(l->context, l->order);
    plumb_free(l->context, l->indices);
    for (int i = 0; i < 2; i++) {
        plumb_free(l->context, l->slot[i].indices);
        plumb_free(l->context, l->slot[i].pictures);
        plumb_free(l->context, l->slot[i].labels);
        plumb_free(l->context, l->slot[i].second);
        plumb_free(l->context, l->slot[i].share);
    }
    for (int i = 0; l->worker && i < l->n_workers; i++) {
        plumb_augment_work_free(l->set, &l->worker[i].work);
    }
    plumb_free(l->context, l->worker);
    plumb_dataset_drop(l->set);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    plumb_free(l->context, l);
}

static void loader_destroy(void *object)
{
    stop_threads(object);
    free_loader(object);
}

static struct loader *loader_get(const plumb_loader *handle)
{
    return plumb_handle_get(handle, PLUMB_KIND_LOADER);
}

static plumb_status read_options(struct loader *l, const plumb_loader_options *options)
{
    plumb_loader_options *o = &l->options;
    plumb_read_options(o, sizeof(*o), options);
    o->batch = o->batch ? o->batch : 64;
    o->seed = o->seed ? o->seed : plumb_seed(l->context);
    if (o->batch < 1 || (o->drop_last && o->batch > l->count)) {
        return plumb_fail(l->context, PLUMB_BAD_INPUT, "loader: batch of %lld from %lld examples%s",
                          (long long)o->batch, (long long)l->count,
                          o->drop_last ? " without the incomplete last batch leaves nothing" : "");
    }
    if (o->workers < 0 || o->workers > MAX_WORKERS) {
        return plumb_fail(l->context, PLUMB_BAD_INPUT, "loader: %d workers, 0 to %d are possible", o->workers,
                          MAX_WORKERS);
    }
    o->batch = o->batch < l->count ? o->batch : l->count;
    l->augments = o->augment != NULL;
    plumb_read_options(&l->augment, sizeof(l->augment), o->augment);
    plumb_status status = l->augments ? plumb_augment_check(l->set, &l->augment) : PLUMB_OK;
    if (!status && (l->augment.mixup > 0 || l->augment.cutmix > 0) && (!o->second_label || !o->share)) {
        return plumb_fail(l->context, PLUMB_BAD_INPUT,
                          "loader: mixup and cutmix need the inputs second_label and share");
    }
    return status;
}

static plumb_status allocate(struct loader *l)
{
    size_t batch = (size_t)l->options.batch;
    int64_t floats = 0;
    if (!plumb_mul_size(l->options.batch, l->item * (int64_t)sizeof(float), &floats)) {
        return plumb_fail(l->context, PLUMB_BAD_INPUT, "loader: batches of %lld are too large",
                          (long long)l->options.batch);
    }
    l->n_slots = l->options.workers ? 2 : 1;
    l->n_workers = l->options.workers ? l->options.workers : plumb_pool_size(l->context->pool);
    l->order = plumb_alloc(l->context, (size_t)l->count * sizeof(int64_t));
    l->indices = plumb_alloc(l->context, batch * sizeof(int64_t));
    l->worker = plumb_zalloc(l->context, (size_t)l->n_workers * sizeof(*l->worker));
    bool all = l->order && l->indices && l->worker;
    for (int i = 0; all && i < l->n_slots; i++) {
        struct slot *s = &l->slot[i];
        s->indices = plumb_alloc(l->context, batch * sizeof(int64_t));
        s->pictures = plumb_alloc(l->context, (size_t)floats);
        s->labels = plumb_alloc(l->context, batch * sizeof(int32_t));
        s->second = plumb_alloc(l->context, batch * sizeof(int32_t));
        s->share = plumb_alloc(l->context, batch * sizeof(float));
        all = s->indices && s->pictures && s->labels && s->second && s->share;
    }
    for (int i = 0; all && i < l->n_workers; i++) {
        l->worker[i].loader = l;
        all = plumb_augment_work_make(l->set, l->augments ? &l->augment : NULL, &l->worker[i].work) == PLUMB_OK;
    }
    return all ? PLUMB_OK : PLUMB_FAILED;
}

plumb_loader *plumb_loader_new(plumb_dataset *dataset, const plumb_loader_options *options)
{
    struct dataset *d = plumb_dataset_get(dataset);
    struct loader *l = d ? plumb_zalloc(d->context, sizeof(*l)) : NULL;
    if (!l) {
        return NULL;
    }
    *l = (struct loader){.context = d->context,
                         .dataset = dataset,
                         .set = d,
                         .count = d->count,
                         .item = d->item,
                         .ordered_epoch = -1};
    d->users++;
    pthread_mutex_init(&l->lock, NULL); /* these allocate nothing and cannot fail */
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    plumb_status status = read_options(l, options);
    if (!status) {
        l->batches = l->count / l->options.batch + (!l->options.drop_last && l->count % l->options.batch != 0);
        int64_t least = !d->data ? 1 : l->augments ? GATHER_CHUNK / 8 : GATHER_CHUNK; /* decoding takes longest */
        l->per_chunk = (least + l->item - 1) / l->item;
        status = allocate(l);
    }
    if (!status && l->options.workers) {
        status = start_threads(l);
    }
    plumb_loader *handle = status ? NULL : plumb_handle_new(l->context, PLUMB_KIND_LOADER, l, loader_destroy);
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

const int64_t *plumb_loader_indices(const plumb_loader *loader)
{
    const struct loader *l = loader_get(loader);
    return l ? l->indices : NULL;
}

/* ---- batches ---- */

/* What the workers have prepared goes, unless it is what is wanted. */
static void seek_threads(struct loader *l, int64_t epoch, int64_t batch)
{
    bool past = batch >= l->batches; /* the end of an epoch is the begin of the next */
    epoch += past;
    batch = past ? 0 : batch;
    pthread_mutex_lock(&l->lock);
    const struct slot *next = &l->slot[l->taken & 1];
    bool prepared = l->opened > l->taken ? next->epoch == epoch && next->batch == batch
                                         : l->open_epoch == epoch && l->open_batch == batch;
    if (!prepared) {
        l->pause = true;
        while (l->busy > 0) {
            pthread_cond_wait(&l->ready, &l->lock);
        }
        l->opened = l->taken = 0;
        l->open_epoch = epoch;
        l->open_batch = batch;
        l->pause = false;
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
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
    if (l->threads) {
        seek_threads(l, epoch, batch);
    }
    l->epoch = epoch;
    l->batch = batch;
    return PLUMB_OK;
}

/* The batch that is next, filled. */
static struct slot *filled_slot(struct loader *l)
{
    struct slot *s = &l->slot[l->taken & 1];
    if (l->threads) {
        pthread_mutex_lock(&l->lock);
        while (l->opened == l->taken || s->done < s->chunks) {
            pthread_cond_wait(&l->ready, &l->lock);
        }
        pthread_mutex_unlock(&l->lock);
        return s;
    }
    struct filling f = {.loader = l, .slot = s};
    open_slot(l, s, l->epoch, l->batch);
    plumb_pool_run(l->context->pool, s->chunks, run_chunk, &f);
    return s;
}

static void release_slot(struct loader *l)
{
    if (l->threads) {
        pthread_mutex_lock(&l->lock);
        l->taken++;
        pthread_cond_broadcast(&l->work);
        pthread_mutex_unlock(&l->lock);
    }
}

static plumb_status feed(const struct loader *l, const struct slot *s, plumb_program *program, plumb_t input,
                         plumb_t label)
{
    size_t n = (size_t)s->count;
    const plumb_binding fed[] = {{input, s->pictures, n * (size_t)l->item * sizeof(float)},
                                 {label, s->labels, n * sizeof(int32_t)},
                                 {l->options.second_label, s->second, n * sizeof(int32_t)},
                                 {l->options.share, s->share, n * sizeof(float)}};
    plumb_status status = plumb_bind(program, PLUMB_BATCH, s->count);
    for (int i = 0; !status && i < 4; i++) {
        status = fed[i].input ? plumb_feed(program, fed[i].input, fed[i].data, fed[i].bytes) : PLUMB_OK;
    }
    return status;
}

int64_t plumb_loader_next(plumb_loader *loader, plumb_program *program, plumb_t input, plumb_t label)
{
    struct loader *l = loader_get(loader);
    if (!l || !plumb_dataset_get(l->dataset)) {
        return -1;
    }
    if (l->batch >= l->batches) {
        l->epoch++;
        l->batch = 0;
        return 0;
    }
    const struct slot *s = filled_slot(l);
    memcpy(l->indices, s->indices, (size_t)s->count * sizeof(int64_t));
    if (s->bad >= 0) {
        plumb_fail(l->context, PLUMB_BAD_INPUT, "%s (example %lld)", s->why, (long long)s->indices[s->bad]);
        return -1;
    }
    int64_t count = s->count;
    if (feed(l, s, program, input, label)) {
        return -1;
    }
    l->batch++;
    release_slot(l);
    return count;
}
