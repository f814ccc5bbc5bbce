/* The journal of a search, DIR/journal.jsonl: one line of JSON for every trial that was settled, written out to the disk
 * before the next is begun. Trials are drawn from the seed and their number, so the values in it are for people; what
 * was running when the search was killed is simply run again. A line cut short by the kill is dropped. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli/tune.h"

static const char *const states[] = {"waiting", "running", "done", "stopped", "failed"};

const char *tune_state_name(enum trial_state state) { return states[state]; }

static void journal_path(const struct search *s, char to[4200]) { snprintf(to, 4200, "%s/journal.jsonl", s->folder); }

/* Appends a line and waits until it lies on the disk. */
static plumb_status append(const struct search *s, const char *line, size_t length)
{
    char path[4200];
    journal_path(s, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    bool good = fd >= 0;
    for (size_t done = 0; good && done < length;) {
        ssize_t n = write(fd, line + done, length - done);
        good = n > 0 || (n < 0 && errno == EINTR);
        done += n > 0 ? (size_t)n : 0;
    }
    good = good && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0) {
        close(fd);
    }
    return good ? PLUMB_OK : plumb_fail(s->context, PLUMB_IO_ERROR, "%s: %s", path, strerror(why));
}

static plumb_status append_stream(const struct search *s, FILE *stream, char **text, size_t *length)
{
    bool good = fclose(stream) == 0;
    plumb_status status = good ? append(s, *text, *length) : plumb_fail(s->context, PLUMB_FAILED, "journal: out of memory");
    free(*text);
    return status;
}

plumb_status tune_journal_add(const struct search *s, int index)
{
    const struct trial *t = &s->trial[index];
    char *text = NULL, room[64];
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    if (!to) {
        return plumb_fail(s->context, PLUMB_FAILED, "journal: out of memory");
    }
    fprintf(to, "{\"trial\":%d,\"state\":\"%s\",\"score\":", index, states[t->state]);
    json_number(to, t->score);
    fprintf(to, ",\"seconds\":");
    json_number(to, t->seconds);
    fprintf(to, ",\"memory\":");
    json_number(to, t->memory);
    fprintf(to, ",\"settings\":{");
    for (int i = 0; !t->is_default && i < s->space.count; i++) {
        fprintf(to, "%s", i ? "," : "");
        json_text(to, s->space.row[i].name);
        fprintf(to, ":");
        json_text(to, tune_value_text(&s->space.row[i], t->value[i], room));
    }
    fprintf(to, "},\"values\":[");
    for (int i = 0; i < s->space.count; i++) {
        fprintf(to, "%s%.17g", i ? "," : "", t->value[i]);
    }
    fprintf(to, "],\"best\":[");
    for (int e = 0; e < t->epochs; e++) {
        fprintf(to, "%s", e ? "," : "");
        json_number(to, (double)t->best[e]);
    }
    fprintf(to, "]}\n");
    return append_stream(s, to, &text, &length);
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Takes a settled trial over. False: the line is none of ours. */
static bool take_line(struct search *s, const json_t *json)
{
    double index = number_of(json, "trial");
    const char *state = json_string_value(json_object_get(json, "state"));
    const json_t *values = json_object_get(json, "values"), *best = json_object_get(json, "best");
    int k = TRIAL_DONE;
    if (!(index >= 0 && index < TRIALS_MOST) || !state || json_array_size(values) != (size_t)s->space.count ||
        json_array_size(best) > EPOCHS_MOST) {
        return false;
    }
    while (k <= TRIAL_FAILED && strcmp(states[k], state) != 0) {
        k++;
    }
    if (k > TRIAL_FAILED || (int)index >= s->count) {
        return k <= TRIAL_FAILED; /* fewer trials are wanted now than there were */
    }
    struct trial *t = &s->trial[(int)index];
    t->state = (enum trial_state)k;
    t->score = number_of(json, "score");
    t->seconds = number_of(json, "seconds");
    t->memory = number_of(json, "memory");
    t->epochs = (int)json_array_size(best);
    for (int i = 0; i < s->space.count; i++) {
        const json_t *value = json_array_get(values, (size_t)i);
        t->value[i] = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(t->value[i] >= s->space.row[i].range.low && t->value[i] <= s->space.row[i].range.high)) {
            return false;
        }
    }
    for (int e = 0; e < t->epochs; e++) {
        const json_t *value = json_array_get(best, (size_t)e);
        t->best[e] = (float)(json_is_number(value) ? json_number_value(value) : NAN);
    }
    return true;
}

/* What the kill cut short is no line; it is taken away, or the next one would be glued to it. */
static plumb_status drop_tail(const struct search *s, const char *path, size_t whole)
{
    return truncate(path, (off_t)whole) == 0
               ? PLUMB_OK
               : plumb_fail(s->context, PLUMB_IO_ERROR, "%s: %s", path, strerror(errno));
}

plumb_status tune_journal_open(struct search *s, const char *head)
{
    char path[4200];
    void *data = NULL;
    size_t bytes = 0, at = 0;
    journal_path(s, path);
    if (access(path, F_OK) != 0) {
        return append(s, head, strlen(head));
    }
    plumb_status status = plumb_read_file(s->context, path, 256u << 20, &data, &bytes);
    const char *text = data;
    while (!status && at < bytes) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        if (!newline) {
            status = drop_tail(s, path, at);
            break;
        }
        size_t length = (size_t)(newline - text) - at;
        json_error_t error;
        json_t *json = at ? json_loadb(text + at, length, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (at == 0 && (length + 1 != strlen(head) || memcmp(text, head, length + 1) != 0)) {
            status = plumb_fail(s->context, PLUMB_BAD_INPUT,
                                "%s: is of another search; give the same options, or another --out", path);
        } else if (at && (!json_is_object(json) || !take_line(s, json))) {
            status = plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset %zu: is no trial of this search", path, at);
        }
        json_decref(json);
        at += length + 1;
    }
    plumb_free(s->context, data);
    if (!status && at == 0) { /* nothing but a head cut short */
        return append(s, head, strlen(head));
    }
    return status;
}

bool tune_await(const char *folder)
{
    char path[4300];
    snprintf(path, sizeof(path), "%s/lock", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC), locked = -1;
    for (int i = 0; fd >= 0 && i < 100 && (locked = flock(fd, LOCK_SH | LOCK_NB)) != 0; i++) {
        usleep(100000);
    }
    if (fd >= 0) {
        close(fd);
    }
    if (fd >= 0 && locked != 0) {
        fprintf(stderr, "%s: another run is using this folder\n", folder);
    }
    return fd < 0 || locked == 0;
}
