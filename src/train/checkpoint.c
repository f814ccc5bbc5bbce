/* A folder of checkpoints. Decided here:
 *
 * - They are named by how many batches had been run, never by a clock, and looked at from the newest to the oldest. One
 *   that is damaged, unhealthy, a link, or not what its name says is skipped, and that is said; one of another training
 *   (options, data, model, implementations) is refused, because the older ones would be of that, too.
 * - A checkpoint is written to a temporary file, synced, read again, renamed, and its folder synced, before an older one is
 *   removed. Only files older than the `keep` newest that this run itself has saved or loaded are removed: what nobody has
 *   verified is no reason to remove anything.
 * - A state with a value that is not finite is saved as what it is, unhealthy, for whoever looks for the reason. It counts
 *   for nothing when older ones are removed, and nothing goes on from it.
 * - Nothing is changed before everything was checked: a refused file leaves the training as it was. */
#include "train/checkpoint.h"

#include <stdio.h>

#define NAME_BEGINS "checkpoint-"
#define NAME_ENDS ".safetensors"
#define NAME_DIGITS 12
#define MOST_KEPT 1000

struct checkpoints {
    plumb_context *context;
    struct plumb_arena arena; /* the texts below */
    const char *folder;
    const char *const *metadata;
    struct plumb_identity identity;
    char *implementations;    /* in the identity, which does not own it */
    struct plumb_lock lock;
    int64_t every;
    int keep;
    bool resume;
    int64_t last;             /* saved or loaded; -1: none */
    int64_t good[MOST_KEPT];  /* saved or loaded by this run, whole and healthy, oldest first */
    int n_good;
};

/* ---- opening ---- */

static void destroy(void *object)
{
    struct checkpoints *c = object;
    plumb_unlock_folder(c->context, &c->lock);
    plumb_free(c->context, c->implementations);
    plumb_arena_free(&c->arena);
    plumb_free(c->context, c);
}

static struct checkpoints *get(plumb_checkpoints *handle) { return plumb_handle_get(handle, PLUMB_KIND_CHECKPOINTS); }

void plumb_checkpoints_free(plumb_checkpoints *checkpoints) { plumb_handle_free(checkpoints, PLUMB_KIND_CHECKPOINTS); }

/* Key, value, ..., NULL, copied. */
static bool copy_pairs(struct plumb_arena *arena, const char *const *from, const char *const **to)
{
    size_t n = 0;
    while (from && from[n]) {
        n++;
    }
    const char **copy = plumb_arena_alloc(arena, (n + 1) * sizeof(copy[0]));
    bool good = copy != NULL;
    for (size_t i = 0; good && i < n; i++) {
        copy[i] = plumb_arena_strdup(arena, from[i]);
        good = copy[i] != NULL;
    }
    *to = copy;
    return good;
}

static plumb_status set_up(struct checkpoints *c, const char *folder, const plumb_checkpoint_options *o)
{
    if (!folder || !*folder || o->every < 0 || o->keep < 0 || o->keep > MOST_KEPT) {
        return plumb_fail(c->context, PLUMB_BAD_INPUT, "checkpoints in '%.200s': every %lld steps, %d kept; at least 0, at most %d kept",
                          folder ? folder : "", (long long)o->every, o->keep, MOST_KEPT);
    }
    c->every = o->every;
    c->keep = o->keep ? o->keep : 3;
    c->resume = o->resume;
    c->folder = plumb_arena_strdup(&c->arena, folder);
    if (!c->folder || !copy_pairs(&c->arena, o->configuration, &c->identity.configuration) ||
        !copy_pairs(&c->arena, o->metadata, &c->metadata)) {
        return PLUMB_FAILED;
    }
    plumb_status status = plumb_make_folder(c->context, folder);
    return status ? status : plumb_lock_folder(c->context, folder, &c->lock);
}

plumb_checkpoints *plumb_checkpoints_open(plumb_context *context, const char *folder, const plumb_checkpoint_options *options)
{
    plumb_checkpoint_options own = {.size = sizeof(own)}; /* the caller's struct may be of another size than ours */
    if (options) {
        memcpy(&own, options, options->size && options->size < sizeof(own) ? options->size : sizeof(own));
    }
    struct checkpoints *c = context ? plumb_zalloc(context, sizeof(*c)) : NULL;
    if (!c) {
        return NULL;
    }
    *c = (struct checkpoints){.context = context, .arena = {.context = context}, .lock = {.fd = -1}, .last = -1};
    plumb_checkpoints *handle = NULL;
    if (set_up(c, folder, &own) == PLUMB_OK) {
        handle = plumb_handle_new(context, PLUMB_KIND_CHECKPOINTS, c, destroy);
    }
    if (!handle) {
        destroy(c);
    }
    return handle;
}

/* ---- what is in the folder ---- */

/* "checkpoint-000000000042.safetensors": 42; otherwise -1. */
static int64_t step_of(const char *name)
{
    int64_t step = 0;
    const char *at = name + strlen(NAME_BEGINS);
    if (strncmp(name, NAME_BEGINS, strlen(NAME_BEGINS)) != 0 || strlen(at) != NAME_DIGITS + strlen(NAME_ENDS) ||
        strspn(at, "0123456789") != NAME_DIGITS || strcmp(at + NAME_DIGITS, NAME_ENDS) != 0) {
        return -1;
    }
    for (int i = 0; i < NAME_DIGITS; i++) {
        step = step * 10 + (at[i] - '0');
    }
    return step;
}

/* A file of ours that a killed run did not get to rename. */
static bool is_left_over(const char *name)
{
    return strncmp(name, NAME_BEGINS, strlen(NAME_BEGINS)) == 0 && strstr(name, NAME_ENDS ".tmp.") != NULL;
}

struct listing {
    plumb_context *context;
    int64_t *step; /* newest first, once it is sorted */
    int n, room;
    char **left;   /* names of files left over */
    int n_left, left_room;
    bool failed;
};

static void add_name(void *to, const char *name)
{
    struct listing *l = to;
    int64_t step = step_of(name);
    if (!l->failed && step >= 0) {
        l->failed = !plumb_grow(l->context, &l->step, &l->room, l->n + 1, sizeof(l->step[0]));
        if (!l->failed) {
            l->step[l->n++] = step;
        }
    } else if (!l->failed && is_left_over(name)) {
        l->failed = !plumb_grow(l->context, &l->left, &l->left_room, l->n_left + 1, sizeof(l->left[0]));
        char *copy = l->failed ? NULL : plumb_strdup(l->context, name);
        l->failed = !copy;
        if (copy) {
            l->left[l->n_left++] = copy;
        }
    }
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static void free_listing(struct listing *l)
{
    for (int i = 0; i < l->n_left; i++) {
        plumb_free(l->context, l->left[i]);
    }
    plumb_free(l->context, l->left);
    plumb_free(l->context, l->step);
}

/* To be freed also after an error. */
static plumb_status list(const struct checkpoints *c, struct listing *l)
{
    *l = (struct listing){.context = c->context};
    plumb_status status = plumb_list_folder(c->context, c->folder, add_name, l);
    status = status ? status : l->failed ? PLUMB_FAILED : PLUMB_OK;
    if (!status && l->n > 0) {
        qsort(l->step, (size_t)l->n, sizeof(l->step[0]), newest_first);
    }
    return status;
}

static char *path_of(const struct checkpoints *c, int64_t step)
{
    struct plumb_text text = {.context = c->context};
    plumb_text_add(&text, "%s/" NAME_BEGINS "%0*lld" NAME_ENDS, c->folder, NAME_DIGITS, (long long)step);
    return plumb_text_take(&text);
}

/* What cannot be removed now may be removed later, and hurts nobody: no reason to end a training. */
static void try_remove(const struct checkpoints *c, char *path)
{
    if (path && plumb_remove_file(c->context, path) != PLUMB_OK) {
        plumb_log_line(c->context, PLUMB_LOG_WARNING, "%s", plumb_message(c->context));
    }
    plumb_clear_error(c->context);
    plumb_free(c->context, path);
}

/* ---- saving ---- */

static void remember(struct checkpoints *c, int64_t step)
{
    c->last = step;
    if (c->n_good > 0 && c->good[c->n_good - 1] == step) {
        return;
    }
    if (c->n_good == c->keep) {
        memmove(c->good, c->good + 1, (size_t)(c->n_good - 1) * sizeof(c->good[0]));
        c->n_good--;
    }
    c->good[c->n_good++] = step;
}

/* Removes what is older than the newest `keep` verified ones. */
static plumb_status rotate(const struct checkpoints *c)
{
    struct listing l;
    if (c->n_good < c->keep) {
        return PLUMB_OK;
    }
    plumb_status status = list(c, &l);
    for (int i = l.n - 1; !status && i >= 0; i--) {
        if (l.step[i] < c->good[0]) {
            try_remove(c, path_of(c, l.step[i]));
        }
    }
    free_listing(&l);
    return status;
}

static plumb_status save(struct checkpoints *c, const struct plumb_training *training)
{
    void *data = NULL;
    size_t bytes = 0;
    bool healthy = false;
    char *path = path_of(c, training->position.ran);
    plumb_status status =
        path ? plumb_snapshot_make(training, &c->identity, path, &data, &bytes, &healthy) : PLUMB_FAILED;
    if (!status) {
        status = plumb_write_verified(c->context, path, data, bytes);
    }
    if (!status && healthy) {
        remember(c, training->position.ran);
        status = rotate(c);
    } else if (!status) {
        c->last = training->position.ran;
        plumb_log_line(c->context, PLUMB_LOG_WARNING, "%s: a value is not finite: kept as unhealthy", path);
    }
    plumb_free(c->context, data);
    plumb_free(c->context, path);
    return status;
}

/* ---- loading ---- */

/* One file. *skip: whatever is wrong with it is this file's own and says nothing against an older one. */
static plumb_status load(struct checkpoints *c, struct plumb_training *training, int64_t step, bool *skip)
{
    struct plumb_manifest manifest = {0};
    struct plumb_st_file file = {0};
    void *data = NULL;
    size_t bytes = 0;
    char *path = path_of(c, step);
    plumb_status status = path ? plumb_read_no_link(c->context, path, plumb_snapshot_limit(training), &data, &bytes) : PLUMB_FAILED;
    if (!status) {
        status = plumb_manifest_parse(c->context, path, data, bytes, &manifest, &file);
    }
    *skip = status != PLUMB_FAILED; /* memory that ran out is nobody's fault here */
    if (!status && manifest.position.ran != step) {
        status = plumb_fail(c->context, PLUMB_BAD_INPUT, "%s: position: it holds step %lld", path, (long long)manifest.position.ran);
    } else if (!status && !manifest.healthy) {
        status = plumb_fail(c->context, PLUMB_BAD_INPUT, "%s: healthy: no, a value was not finite", path);
    } else if (!status) {
        status = plumb_snapshot_check(training, &c->identity, path, &manifest, &file, skip);
    }
    if (!status) {
        *skip = false;
        status = plumb_snapshot_apply(training, &manifest, &file);
    }
    plumb_st_free(c->context, &file);
    plumb_free(c->context, path);
    return status;
}

/* From the newest to the oldest. When none will do, the newest's reason is the error; none at all is no error. */
static plumb_status load_newest(struct checkpoints *c, struct plumb_training *training, const struct listing *l)
{
    char first[sizeof(c->context->message)] = "";
    plumb_status why = PLUMB_OK;
    for (int i = 0; i < l->n; i++) {
        bool skip = false;
        plumb_status status = load(c, training, l->step[i], &skip);
        if (!status) {
            remember(c, l->step[i]);
            plumb_log_line(c->context, PLUMB_LOG_INFO, "resuming %s after %lld batches (epoch %lld)", c->folder,
                           (long long)l->step[i], (long long)training->position.epoch + 1);
            return PLUMB_OK;
        }
        if (!skip) {
            return status;
        }
        if (!why) {
            why = status;
            snprintf(first, sizeof(first), "%s", plumb_message(c->context));
        }
        if (i + 1 < l->n) {
            plumb_log_line(c->context, PLUMB_LOG_WARNING, "skipped %s", plumb_message(c->context));
        }
        plumb_clear_error(c->context);
    }
    if (!why) {
        plumb_log_line(c->context, PLUMB_LOG_INFO, "%s: nothing to resume, starting afresh", c->folder);
    }
    return why ? plumb_fail(c->context, why, "%s", first) : PLUMB_OK;
}

/* ---- keeping a training ---- */

static plumb_status begin(void *user, struct plumb_training *training)
{
    struct checkpoints *c = user;
    struct listing l;
    plumb_free(c->context, c->implementations);
    c->n_good = 0;
    c->last = -1;
    c->identity.data = plumb_training_data(training);
    c->identity.implementations = c->implementations = plumb_training_implementations(training);
    plumb_status status = c->implementations ? list(c, &l) : plumb_last_status(c->context);
    if (!c->implementations) {
        return status;
    }
    for (int i = 0; !status && i < l.n_left; i++) {
        struct plumb_text path = {.context = c->context};
        plumb_text_add(&path, "%s/%s", c->folder, l.left[i]);
        try_remove(c, plumb_text_take(&path));
    }
    if (!status && c->resume) {
        status = load_newest(c, training, &l);
    } else if (!status && c->every > 0 && l.n > 0) {
        status = plumb_fail(c->context, PLUMB_BAD_INPUT,
                            "%s: has a checkpoint of %lld batches; resume that training, or begin this one in another folder",
                            c->folder, (long long)l.step[0]);
    }
    free_listing(&l);
    return status;
}

static plumb_status after(void *user, const struct plumb_training *training, bool over)
{
    struct checkpoints *c = user;
    int64_t ran = training->position.ran;
    bool due = c->every > 0 && ran != c->last && (over || ran % c->every == 0);
    return due ? save(c, training) : PLUMB_OK;
}

static plumb_status better(void *user, const struct plumb_training *training)
{
    struct checkpoints *c = user;
    struct plumb_text path = {.context = c->context};
    if (c->every == 0) {
        return PLUMB_OK;
    }
    plumb_text_add(&path, "%s/best.safetensors", c->folder);
    char *text = plumb_text_take(&path);
    plumb_status status = text ? plumb_state_save_weights(training->best, text, c->metadata) : PLUMB_FAILED;
    plumb_free(c->context, text);
    return status;
}

bool plumb_checkpoint_keeper(plumb_checkpoints *checkpoints, struct plumb_keeper *keeper)
{
    struct checkpoints *c = get(checkpoints);
    *keeper = (struct plumb_keeper){.user = c, .begin = begin, .after = after, .better = better};
    return c != NULL;
}
