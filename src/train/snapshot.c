/* A training as the tensors of a file, and back. Decided here: every value of the state bit for bit, the weights that were
 * the best once more under "best:NAME", the history as a table of doubles. A file that belongs to another training is told
 * apart from one that is damaged: that is refused, this is skipped. */
#include "train/checkpoint.h"

#include <math.h>
#include <stdio.h>

#include "data/dataset.h"
#include "exec/exec.h"

#define MOST_LOSS_SCALE 16777216.0 /* 2^24, optim.h */

static bool is_weight(const char *name) { return strchr(name, ':') == NULL; }

/* ---- the history ---- */

static const struct {
    size_t at;
    enum { FLAG, INT, WHOLE, REAL } kind;
} columns[] = {
#define COLUMN(name, kind) {offsetof(plumb_epoch, name), kind}
    COLUMN(epoch, INT),          COLUMN(steps, WHOLE),    COLUMN(lr, REAL),          COLUMN(train_loss, REAL),
    COLUMN(train_accuracy, REAL), COLUMN(test_loss, REAL), COLUMN(test_accuracy, REAL), COLUMN(seconds, REAL),
    COLUMN(test_seconds, REAL),  COLUMN(images_per_s, REAL), COLUMN(data_wait, REAL), COLUMN(skipped, WHOLE),
    COLUMN(dev_loss, REAL),      COLUMN(dev_accuracy, REAL), COLUMN(better, FLAG),
};
#define COLUMNS ((int)(sizeof(columns) / sizeof(columns[0])))
_Static_assert(COLUMNS * 8 == sizeof(plumb_epoch), "every field of a row is kept");

static void put_row(double *to, const plumb_epoch *row)
{
    for (int i = 0; i < COLUMNS; i++) {
        const char *from = (const char *)row + columns[i].at;
        switch (columns[i].kind) {
        case FLAG: to[i] = *(const bool *)from; break;
        case INT: to[i] = *(const int *)(const void *)from; break;
        case WHOLE: to[i] = (double)*(const int64_t *)(const void *)from; break;
        default: memcpy(&to[i], from, sizeof(to[i]));
        }
    }
}

static bool is_whole(double value, double most) { return value >= 0 && value <= most && value == floor(value); }

/* What rows are made of: counts are counts. */
static bool check_row(const double *from)
{
    bool good = true;
    for (int i = 0; i < COLUMNS; i++) {
        good = good && (columns[i].kind == REAL || is_whole(from[i], columns[i].kind == FLAG ? 1 : columns[i].kind == INT ? INT32_MAX : 9e15));
    }
    return good;
}

static void get_row(plumb_epoch *row, const double *from)
{
    memset(row, 0, sizeof(*row));
    for (int i = 0; i < COLUMNS; i++) {
        char *to = (char *)row + columns[i].at;
        switch (columns[i].kind) {
        case FLAG: *(bool *)to = from[i] != 0; break;
        case INT: *(int *)(void *)to = (int)from[i]; break;
        case WHOLE: *(int64_t *)(void *)to = (int64_t)from[i]; break;
        default: memcpy(to, &from[i], sizeof(from[i]));
        }
    }
}

/* ---- what has to be the same ---- */

uint64_t plumb_training_data(const struct plumb_training *training)
{
    uint64_t hash = plumb_dataset_hash(training->train);
    return training->dev ? hash * 0x9e3779b97f4a7c15u + plumb_dataset_hash(training->dev) : hash;
}

/* "cpu avx2 conv2d=cpu.native ...": of the step on full batches. */
char *plumb_training_implementations(const struct plumb_training *training)
{
    plumb_context *context = training->context;
    struct plumb_text text = {.context = context};
    plumb_text_add(&text, "%s %s ", plumb_device_name(context), plumb_isa_name(context->isa));
    plumb_status status = plumb_bind(training->program, PLUMB_BATCH, training->examples);
    status = status ? status : plumb_program_choices(training->program, &text);
    char *taken = status ? NULL : plumb_text_take(&text);
    if (status) {
        plumb_free(context, text.data);
    }
    return taken;
}

/* ---- a training as tensors ---- */

struct body {
    plumb_context *context;
    struct plumb_st_entry *entry;
    void **memory; /* [n]: of the entries' values */
    int n;
    struct plumb_arena names;
};

static void free_body(struct body *b)
{
    for (int i = 0; i < b->n; i++) {
        plumb_free(b->context, b->memory[i]);
    }
    plumb_free(b->context, b->memory);
    plumb_free(b->context, b->entry);
    plumb_arena_free(&b->names);
}

/* The next entry, with memory for its values; NULL when there is none. */
static void *add_entry(struct body *b, const char *prefix, const char *name, plumb_dtype dtype, plumb_shape shape)
{
    size_t room = strlen(prefix) + strlen(name) + 1;
    size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(dtype);
    char *copy = plumb_arena_alloc(&b->names, room);
    void *memory = copy ? plumb_alloc(b->context, bytes) : NULL;
    if (memory) {
        snprintf(copy, room, "%s%s", prefix, name);
        b->entry[b->n] = (struct plumb_st_entry){.name = copy, .dtype = dtype, .shape = shape, .data = memory, .bytes = bytes};
        b->memory[b->n++] = memory;
    }
    return memory;
}

/* All of a state, or its weights under another name. */
static plumb_status add_state(struct body *b, const plumb_state *state, const char *prefix)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        if (!*prefix || is_weight(name)) {
            void *to = add_entry(b, prefix, name, plumb_state_dtype(state, name), plumb_state_shape(state, name));
            status = to ? plumb_state_get(state, name, to, b->entry[b->n - 1].bytes) : PLUMB_FAILED;
        }
    }
    return status;
}

static plumb_status add_history(struct body *b, const struct plumb_training *t)
{
    double *to = add_entry(b, PLUMB_HISTORY_NAME, "", PLUMB_F64, PLUMB_SHAPE(t->position.epoch, COLUMNS));
    for (int64_t i = 0; to && i < t->position.epoch; i++) {
        put_row(to + i * COLUMNS, &t->history[i]);
    }
    return to ? PLUMB_OK : PLUMB_FAILED;
}

plumb_status plumb_snapshot_make(const struct plumb_training *training, const struct plumb_identity *identity,
                                 const char *path, void **data, size_t *bytes, bool *healthy)
{
    const size_t room = 2 * (size_t)plumb_state_count(training->state) + 1;
    struct body b = {.context = training->context, .names = {.context = training->context}};
    b.entry = plumb_zalloc(b.context, room * sizeof(b.entry[0]));
    b.memory = plumb_zalloc(b.context, room * sizeof(b.memory[0]));
    plumb_status status = b.entry && b.memory ? add_state(&b, training->state, "") : PLUMB_FAILED;
    if (!status && training->best) {
        status = add_state(&b, training->best, PLUMB_BEST_PREFIX);
    }
    *healthy = true;
    for (int i = 0; i < b.n; i++) {
        *healthy = *healthy && plumb_values_finite(&b.entry[i]);
    }
    if (!status) {
        status = add_history(&b, training);
    }
    if (!status) {
        const struct plumb_manifest manifest = {.healthy = *healthy, .position = training->position, .data = identity->data,
                                                .implementations = identity->implementations,
                                                .configuration = identity->configuration};
        status = plumb_manifest_make(b.context, path, &manifest, b.entry, b.n, data, bytes);
    }
    free_body(&b);
    return status;
}

/* ---- and back ---- */

size_t plumb_snapshot_limit(const struct plumb_training *training)
{
    size_t bytes = (size_t)1 << 20, rows = (size_t)training->room;
    for (int i = 0; i < plumb_state_count(training->state); i++) {
        const char *name = plumb_state_name(training->state, i);
        plumb_shape shape = plumb_state_shape(training->state, name);
        size_t values = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(plumb_state_dtype(training->state, name));
        bytes += 2 * (values + 6 * strlen(name) + 512); /* control characters are six bytes of JSON */
    }
    return bytes + rows * COLUMNS * sizeof(double);
}

static plumb_status PLUMB_PRINTF(4, 5)
refuse(const struct plumb_training *t, const char *path, const char *what, const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    return plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: %.120s: %s", path, what, reason);
}

static const char *value_of(const char *const *pairs, const char *key)
{
    for (int i = 0; pairs[i]; i += 2) {
        if (strcmp(pairs[i], key) == 0) {
            return pairs[i + 1];
        }
    }
    return NULL;
}

static plumb_status check_configuration(const struct plumb_training *t, const char *path, const char *const *saved,
                                        const char *const *asked)
{
    for (int i = 0; asked[i]; i += 2) {
        const char *was = value_of(saved, asked[i]);
        if (!was || strcmp(was, asked[i + 1]) != 0) {
            return refuse(t, path, asked[i], "was '%.80s' and is now '%.80s': another training", was ? was : "not given", asked[i + 1]);
        }
    }
    for (int i = 0; saved[i]; i += 2) {
        if (!value_of(asked, saved[i])) {
            return refuse(t, path, saved[i], "was '%.80s' and is now not given: another training", saved[i + 1]);
        }
    }
    return PLUMB_OK;
}

static plumb_status check_identity(const struct plumb_training *t, const struct plumb_identity *identity, const char *path,
                                   const struct plumb_manifest *m)
{
    plumb_status status = check_configuration(t, path, m->configuration, identity->configuration);
    if (status) {
        return status;
    }
    if (m->data != identity->data) {
        return refuse(t, path, "data", "the examples are other ones than it was trained on");
    }
    if (m->position.options != t->position.options || m->position.seed != t->position.seed) {
        return m->position.seed != t->position.seed
                   ? refuse(t, path, "seed", "of the order of examples: differs from this training's")
                   : refuse(t, path, "options", "batch size, optimizer, rates or frozen parameters differ from this training's");
    }
    if (m->position.epoch > t->room) {
        return refuse(t, path, "epochs", "%lld have been run, this training has %d", (long long)m->position.epoch, t->room);
    }
    if (strcmp(m->implementations, identity->implementations) != 0) {
        const char *was = m->implementations, *is = identity->implementations;
        while (*was && *was == *is) {
            was++;
            is++;
        }
        while (was > m->implementations && was[-1] != ' ') {
            was--;
            is--;
        }
        return refuse(t, path, "implementations", "'%.*s' computed it, here it would be '%.*s' (--isa, --impl, --device)",
                      (int)strcspn(was, " "), was, (int)strcspn(is, " "), is);
    }
    return PLUMB_OK;
}

static plumb_status check_entry(const struct plumb_training *t, const char *path, const struct plumb_st_entry *e, const char *name)
{
    char is[160], was[160];
    plumb_shape shape = plumb_state_shape(t->state, name);
    plumb_dtype dtype = plumb_state_dtype(t->state, name);
    if (dtype == PLUMB_NO_DTYPE) {
        return refuse(t, path, e->name, "is no variable of this training");
    }
    return e->dtype == dtype && plumb_shape_equal(&e->shape, &shape) ? PLUMB_OK :
           refuse(t, path, e->name, "is %s %s, this training has %s %s", plumb_dtype_name(e->dtype),
                  plumb_shape_text(&e->shape, was, sizeof(was)), plumb_dtype_name(dtype),
                  plumb_shape_text(&shape, is, sizeof(is)));
}

/* Everything the training has, and nothing else. */
static plumb_status check_tensors(const struct plumb_training *t, const char *path, const struct plumb_st_file *file)
{
    const size_t prefix = strlen(PLUMB_BEST_PREFIX);
    int best = 0, weights = 0;
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < file->n_entries; i++) {
        const struct plumb_st_entry *e = &file->entries[i];
        bool is_best = strncmp(e->name, PLUMB_BEST_PREFIX, prefix) == 0;
        best += is_best;
        if (strcmp(e->name, PLUMB_HISTORY_NAME) != 0) {
            status = check_entry(t, path, e, is_best ? e->name + prefix : e->name);
        }
    }
    for (int i = 0; !status && i < plumb_state_count(t->state); i++) {
        const char *name = plumb_state_name(t->state, i);
        weights += is_weight(name);
        if (!plumb_st_find(file, name)) {
            status = refuse(t, path, name, "is missing");
        }
    }
    return status || best == 0 || best == weights
               ? status
               : refuse(t, path, PLUMB_BEST_PREFIX, "%d of %d weights are there", best, weights);
}

static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

/* "adam/v:conv1.weight" is a second moment, and so is "rmsprop/s:...": not negative. "momentum/v:..." is none. */
static bool is_second_moment(const struct plumb_st_file *file, const char *name)
{
    char first[1100];
    const char *colon = strchr(name, ':');
    if (!colon || colon - name < 2 || colon[-2] != '/') {
        return false;
    }
    snprintf(first, sizeof(first), "%s", name);
    first[colon - name - 1] = 'm';
    return colon[-1] == 's' || (colon[-1] == 'v' && plumb_st_find(file, first));
}

/* What a training cannot have come to. */
static plumb_status check_values(const struct plumb_training *t, const char *path, const struct plumb_st_file *file)
{
    for (int i = 0; i < file->n_entries; i++) {
        const struct plumb_st_entry *e = &file->entries[i];
        const int64_t count = plumb_shape_count(&e->shape);
        double low = -INFINITY, high = INFINITY;
        if (ends_with(e->name, "/step:") || ends_with(e->name, "/good_steps:")) {
            low = 0;
            high = 9007199254740992.0; /* 2^53 */
        } else if (ends_with(e->name, "/loss_scale:")) {
            low = PLUMB_LEAST_LOSS_SCALE;
            high = MOST_LOSS_SCALE;
        } else if (ends_with(e->name, "/lr:") || is_second_moment(file, e->name)) {
            low = 0;
        } else {
            continue;
        }
        for (int64_t k = 0; k < count; k++) {
            double value = plumb_get(e->data, e->dtype, k);
            if (!(value >= low && value <= high)) {
                return refuse(t, path, e->name, "element %lld is %g, which it cannot come to be", (long long)k, value);
            }
        }
    }
    return PLUMB_OK;
}

static plumb_status check_position(const struct plumb_training *t, const char *path, const struct plumb_manifest *m,
                                   const struct plumb_st_file *file)
{
    const struct plumb_position *p = &m->position;
    const struct plumb_st_entry *history = plumb_st_find(file, PLUMB_HISTORY_NAME);
    if (p->epoch < 0 || p->batch < 0 || p->batch > t->batches ||
        p->ran != p->epoch * t->batches + p->batch) {
        return refuse(t, path, "position", "epoch %lld and batch %lld of %lld, after %lld batches", (long long)p->epoch,
                      (long long)p->batch, (long long)t->batches, (long long)p->ran);
    }
    if (p->step < 0 || p->step > p->ran || p->steps_before < 0 || p->micro < 0 || p->micro > p->ran || p->examples < 0 ||
        p->examples > plumb_dataset_count(t->train) || p->right < 0 || p->right > p->examples || p->skipped < 0 ||
        p->skipped > p->ran || p->since < 0 || p->best_epoch < 0 || p->best_epoch > p->epoch || p->worse < 0) {
        return refuse(t, path, "position", "its counts contradict each other");
    }
    if (!history || history->dtype != PLUMB_F64 || !plumb_shape_equal(&history->shape, &PLUMB_SHAPE(p->epoch, COLUMNS))) {
        return refuse(t, path, PLUMB_HISTORY_NAME, "is not a table of %lld rows", (long long)p->epoch);
    }
    for (int64_t i = 0; i < p->epoch; i++) {
        if (!check_row((const double *)history->data + i * COLUMNS)) {
            return refuse(t, path, PLUMB_HISTORY_NAME, "row %lld is none of a history", (long long)i);
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_snapshot_check(const struct plumb_training *training, const struct plumb_identity *identity,
                                  const char *path, const struct plumb_manifest *manifest,
                                  const struct plumb_st_file *file, bool *damaged)
{
    *damaged = false;
    plumb_status status = check_identity(training, identity, path, manifest);
    status = status ? status : check_tensors(training, path, file);
    if (!status) {
        *damaged = true;
        status = check_position(training, path, manifest, file);
        status = status ? status : check_values(training, path, file);
    }
    return status;
}

plumb_status plumb_snapshot_apply(struct plumb_training *training, const struct plumb_manifest *manifest,
                                  const struct plumb_st_file *file)
{
    const size_t prefix = strlen(PLUMB_BEST_PREFIX);
    const struct plumb_st_entry *history = plumb_st_find(file, PLUMB_HISTORY_NAME);
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < file->n_entries; i++) {
        const struct plumb_st_entry *e = &file->entries[i];
        if (strncmp(e->name, PLUMB_BEST_PREFIX, prefix) == 0) {
            training->best = training->best ? training->best : plumb_state_clone(training->state);
            status = training->best ? plumb_state_set(training->best, e->name + prefix, e->data, e->bytes) : PLUMB_FAILED;
        } else if (e != history) {
            status = plumb_state_set(training->state, e->name, e->data, e->bytes);
        }
    }
    for (int64_t i = 0; !status && i < manifest->position.epoch; i++) {
        get_row(&training->history[i], (const double *)history->data + i * COLUMNS);
    }
    if (!status) {
        training->position = manifest->position;
    }
    return status;
}
