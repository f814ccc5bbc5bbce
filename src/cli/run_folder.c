/* The folder of a run: what `plumb train --out` leaves beside the weights, and what `plumb compare` reads back.
 *
 *   report.html           everything, for people
 *   history.jsonl         a line for each epoch
 *   settings.json         the options, given or default
 *   events.out.tfevents.plumb   for TensorBoard, growing with every epoch */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define EVENTS "events.out.tfevents.plumb"
#define MOST_BYTES (64u << 20)

static const char *in_folder(char to[4200], const char *folder, const char *name)
{
    snprintf(to, 4200, "%s/%s", folder, name);
    return to;
}

plumb_status cli_make_folder(plumb_context *context, const char *option, const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))) {
        return PLUMB_OK;
    }
    return plumb_fail(context, PLUMB_IO_ERROR, "--%s %s: cannot make the folder: %s", option, path, strerror(errno));
}

plumb_status cli_log_epoch(plumb_context *context, const char *folder, const plumb_epoch *epoch)
{
    char path[4200];
    in_folder(path, folder, EVENTS);
    if (epoch->epoch == 1) {
        unlink(path); /* of an earlier training into the same folder; TensorBoard would show both as one */
    }
    return plumb_add_epoch(context, path, epoch);
}

/* ---- writing ---- */

static void add_json_text(struct plumb_text *json, const char *text)
{
    plumb_text_add(json, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        plumb_text_add(json, c == '"' || c == '\\' ? "\\%c" : c < 0x20 ? "\\u%04x" : "%c", c);
    }
    plumb_text_add(json, "\"");
}

static plumb_status write_settings(plumb_context *context, const char *path, const char *const *settings)
{
    struct plumb_text json = {.context = context};
    bool any = false;
    for (int i = 0; settings[i]; i += 2) {
        if (*settings[i + 1]) {
            plumb_text_add(&json, any ? ",\n" : "{\n");
            add_json_text(&json, settings[i]);
            plumb_text_add(&json, ": ");
            add_json_text(&json, settings[i + 1]);
            any = true;
        }
    }
    plumb_text_add(&json, any ? "\n}\n" : "{}\n");
    size_t length = json.length;
    char *data = plumb_text_take(&json);
    plumb_status status = data ? plumb_write_file(context, path, data, length) : PLUMB_FAILED;
    plumb_free(context, data);
    return status;
}

/* Histograms of the trained weights, as the last epoch left them. */
static plumb_status log_weights(plumb_context *context, const struct finished_run *run, const char *path)
{
    int count = plumb_parameters(run->model->graph, NULL, 0);
    plumb_t *ids = plumb_alloc(context, (size_t)(count > 0 ? count : 1) * sizeof(plumb_t));
    plumb_status status = ids ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; !status && i < plumb_parameters(run->model->graph, ids, count); i++) {
        const char *name = plumb_name_of(run->model->graph, ids[i]);
        plumb_shape shape = plumb_state_shape(run->state, name);
        int64_t elements = plumb_shape_count(&shape);
        if (plumb_state_dtype(run->state, name) != PLUMB_F32 || elements < 1) {
            continue;
        }
        float *values = plumb_alloc(context, (size_t)elements * sizeof(float));
        status = values ? plumb_state_get(run->state, name, values, (size_t)elements * sizeof(float)) : PLUMB_FAILED;
        status = status ? status : plumb_add_histogram(context, path, name, run->epochs, values, elements);
        plumb_free(context, values);
    }
    plumb_free(context, ids);
    return status;
}

plumb_status cli_write_run(plumb_context *context, const struct finished_run *run)
{
    char path[4200];
    plumb_diagnosis diagnosis;
    plumb_errors errors = {.human = NAN, .train = NAN, .train_dev = NAN, .dev = NAN, .test = NAN};
    if (run->epochs > 0) {
        const plumb_epoch *last = &run->history[run->epochs - 1];
        bool dev = last->dev_accuracy >= 0; /* without a dev set the test set has to do */
        errors.train = 1 - last->train_accuracy;
        errors.dev = 1 - (dev ? last->dev_accuracy : run->evaluation->accuracy);
        errors.test = dev ? 1 - run->evaluation->accuracy : NAN;
    }
    bool known = errors.train >= 0 && errors.dev >= 0; /* not after an epoch of which nothing is known */
    plumb_status status = known ? plumb_diagnose(context, &errors, &diagnosis) : PLUMB_OK;
    const plumb_report report = {.size = sizeof(report),
                                 .title = run->title,
                                 .settings = run->settings,
                                 .history = run->history,
                                 .epochs = run->epochs,
                                 .model = run->model,
                                 .state = run->state,
                                 .optimizer = run->optimizer,
                                 .batch = run->batch,
                                 .train = run->train,
                                 .data = run->test,
                                 .evaluation = run->evaluation,
                                 .diagnosis = known ? &diagnosis : NULL};
    status = status ? status : plumb_write_report_html(context, in_folder(path, run->folder, "report.html"), &report);
    status = status ? status
                    : plumb_write_history_jsonl(context, in_folder(path, run->folder, "history.jsonl"), run->history,
                                                run->epochs);
    status = status ? status : write_settings(context, in_folder(path, run->folder, "settings.json"), run->settings);
    return status ? status : log_weights(context, run, in_folder(path, run->folder, EVENTS));
}

/* ---- reading ---- */

static plumb_status parse(plumb_context *context, const char *path, size_t offset, const char *text, size_t length,
                          json_t **json)
{
    json_error_t error;
    *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!*json || !json_is_object(*json)) {
        json_decref(*json);
        size_t at = offset + (*json || error.position < 0 ? 0 : (size_t)error.position);
        plumb_fail(context, PLUMB_BAD_INPUT, "%s: offset %zu: %s", path, at,
                   *json ? "is not a JSON object" : error.text);
        *json = NULL;
        return PLUMB_BAD_INPUT;
    }
    return PLUMB_OK;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static plumb_status read_line(plumb_context *context, const char *path, size_t offset, const char *line, size_t length,
                              plumb_epoch *epoch)
{
    json_t *json;
    plumb_status status = parse(context, path, offset, line, length, &json);
    if (status) {
        return status;
    }
    double number = number_of(json, "epoch"), steps = number_of(json, "steps");
    if (!(number >= 0 && number <= 1e9 && steps >= 0 && steps <= 1e15)) {
        status = plumb_fail(context, PLUMB_BAD_INPUT, "%s: offset %zu, epoch or steps: are no numbers of a history", path,
                            offset);
    } else {
        *epoch = (plumb_epoch){.epoch = (int)number,
                               .steps = (int64_t)steps,
                               .lr = number_of(json, "lr"),
                               .train_loss = number_of(json, "train_loss"),
                               .train_accuracy = number_of(json, "train_accuracy"),
                               .test_loss = number_of(json, "test_loss"),
                               .test_accuracy = number_of(json, "test_accuracy"),
                               .seconds = number_of(json, "seconds"),
                               .test_seconds = number_of(json, "test_seconds"),
                               .images_per_s = number_of(json, "train_images_per_s"),
                               .data_wait = number_of(json, "data_wait"),
                               .dev_loss = number_of(json, "dev_loss"),
                               .dev_accuracy = number_of(json, "dev_accuracy")};
    }
    json_decref(json);
    return status;
}

static plumb_status read_history(plumb_context *context, const char *path, struct run_record *record)
{
    void *data;
    size_t bytes;
    int room = 0;
    plumb_status status = plumb_read_file(context, path, MOST_BYTES, &data, &bytes);
    if (status) {
        return status;
    }
    const char *text = data;
    for (size_t at = 0, end; !status && at < bytes; at = end + 1) {
        const char *newline = memchr(text + at, '\n', bytes - at);
        end = newline ? (size_t)(newline - text) : bytes;
        if (end == at) {
            continue;
        }
        if (!plumb_grow(context, &record->history, &room, record->epochs + 1, sizeof(plumb_epoch))) {
            status = PLUMB_FAILED;
            break;
        }
        status = read_line(context, path, at, text + at, end - at, &record->history[record->epochs]);
        record->epochs += !status;
    }
    if (!status && record->epochs == 0) {
        status = plumb_fail(context, PLUMB_BAD_INPUT, "%s: has no epochs", path);
    }
    plumb_free(context, data);
    return status;
}

plumb_status cli_read_run(plumb_context *context, const char *path, struct run_record *record)
{
    char name[4200];
    void *data = NULL;
    size_t bytes = 0;
    *record = (struct run_record){.path = path};
    plumb_status status = read_history(context, in_folder(name, path, "history.jsonl"), record);
    status = status ? status : plumb_read_file(context, in_folder(name, path, "settings.json"), MOST_BYTES, &data, &bytes);
    if (!status) {
        status = parse(context, name, 0, data, bytes, &record->settings);
    }
    plumb_free(context, data);
    if (status) {
        cli_free_run(context, record);
    }
    return status;
}

void cli_free_run(plumb_context *context, struct run_record *record)
{
    plumb_free(context, record->history);
    json_decref(record->settings);
    *record = (struct run_record){0};
}
