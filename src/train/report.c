/* What a training leaves for people: the history as CSV, curves, confusion matrix, and a sheet of the worst mistakes. */
#include <math.h>
#include <stdio.h>

#include "io/number.h"
#include "io/png.h"
#include "io/svg.h"
#include "plumb/metrics.h"
#include "train/report.h"

plumb_status plumb_write_text(plumb_context *context, const char *path, struct plumb_text *text)
{
    size_t length = text->length;
    char *data = plumb_text_take(text);
    if (!data) {
        return PLUMB_FAILED;
    }
    plumb_status status = plumb_write_file(context, path, data, length);
    plumb_free(context, data);
    return status;
}

plumb_status plumb_write_history_csv(plumb_context *context, const char *path, const plumb_epoch *history,
                                     int count)
{
    struct plumb_text text = {.context = context};
    plumb_text_add(
        &text,
        "epoch,steps,lr,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_s,data_wait,dev_loss,"
        "dev_accuracy\n");
    for (int i = 0; i < count; i++) {
        const plumb_epoch *e = &history[i];
        const double value[10] = {e->lr,           e->train_loss,    e->train_accuracy,
                                 e->test_loss,    e->test_accuracy, e->seconds,
                                 e->images_per_s, e->data_wait,     e->dev_loss,
                                  e->dev_accuracy};
        plumb_text_add(&text, "%d,%lld", e->epoch, (long long)e->steps);
        for (int k = 0; k < 10; k++) {
            char number[PLUMB_NUMBER_ROOM];
            plumb_text_add(&text, ",%s", isnan(value[k]) ? "" : plumb_general(number, value[k], 7));
        }
        plumb_text_add(&text, "\n");
    }
    return plumb_write_text(context, path, &text);
}

void plumb_epoch_json(struct plumb_text *text, const plumb_epoch *e)
{
    const struct {
        const char *key;
        double value;
    } pairs[] = {{"steps", (double)e->steps},
                 {"lr", e->lr},
                 {"train_loss", e->train_loss},
                 {"train_accuracy", e->train_accuracy},
                 {"test_loss", e->test_loss},
                 {"test_accuracy", e->test_accuracy},
                 {"seconds", e->seconds},
                 {"test_seconds", e->test_seconds},
                 {"train_images_per_s", e->images_per_s},
                 {"data_wait", e->data_wait},
                 {"skipped_steps", (double)e->skipped},
                 {"dev_loss", e->dev_loss},
                 {"dev_accuracy", e->dev_accuracy},
                 {"better", e->better}};
    plumb_text_add(text, "{\"epoch\":%d", e->epoch);
    for (size_t k = 0; k < sizeof(pairs) / sizeof(pairs[0]); k++) {
        char number[PLUMB_NUMBER_ROOM];
        plumb_text_add(text, ",\"%s\":%s", pairs[k].key,
                       isfinite(pairs[k].value) ? plumb_general(number, pairs[k].value, 10) : "null");
    }
    plumb_text_add(text, "}\n");
}

plumb_status plumb_write_history_jsonl(plumb_context *context, const char *path, const plumb_epoch *history,
                                       int count)
{
    struct plumb_text text = {.context = context};
    for (int i = 0; i < count; i++) {
        plumb_epoch_json(&text, &history[i]);
    }
    return plumb_write_text(context, path, &text);
}

plumb_status plumb_write_curves_svg(plumb_context *context, const char *path, const char *title,
                                    const plumb_epoch *history, int count)
{
    double *column = plumb_alloc(context, (size_t)(count > 0 ? count : 1) * 5 * sizeof(double));
    if (!column) {
        return PLUMB_FAILED;
    }
    bool dev = count > 0 && !isnan(history[0].dev_loss);
    const char *other = dev ? "dev" : "test";
    double *x = column, *y[4];
    for (int k = 0; k < 4; k++) {
        y[k] = column + (size_t)count * (size_t)(k + 1);
    }
    for (int i = 0; i < count; i++) {
        x[i] = history[i].epoch;
        y[0][i] = history[i].train_loss;
        y[1][i] = dev ? history[i].dev_loss : history[i].test_loss;
        y[2][i] = history[i].train_accuracy;
        y[3][i] = dev ? history[i].dev_accuracy : history[i].test_accuracy;
    }
    const struct plumb_series loss[2] = {{"train", TRAIN_COLOUR, x, y[0], count, NULL},
                                         {other, TEST_COLOUR, x, y[1], count, NULL}};
    const struct plumb_series right[2] = {{"train", TRAIN_COLOUR, x, y[2], count, NULL},
                                          {other, TEST_COLOUR, x, y[3], count, NULL}};
    int lines = count > 0 && !isnan(y[1][0]) ? 2 : 1;
    struct plumb_text svg = {.context = context};
    plumb_svg_begin(&svg, 960, 420, title);
    plumb_svg_label(&svg, 22, 30, "start", 17, "#222222", title);
    plumb_svg_chart(&svg, &(struct plumb_chart){"Loss", "epoch", 14, 44, 460, 366, false, loss, lines});
    plumb_svg_chart(&svg, &(struct plumb_chart){"Accuracy", "epoch", 490, 44, 460, 366, true, right, lines});
    plumb_svg_end(&svg);
    plumb_free(context, column);
    return plumb_write_text(context, path, &svg);
}

plumb_status plumb_write_confusion_svg(plumb_context *context, const char *path, const char *title,
                                       const plumb_dataset *dataset, const plumb_evaluation *evaluation)
{
    int classes = plumb_dataset_classes(dataset);
    if (!evaluation || !evaluation->confusion || classes < 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: needs a data set and an evaluation with its confusion matrix", path);
    }
    const char **names = plumb_alloc(context, (size_t)classes * sizeof(*names));
    if (!names) {
        return PLUMB_FAILED;
    }
    for (int c = 0; c < classes; c++) {
        names[c] = plumb_dataset_class_name(dataset, c);
    }
    struct plumb_text svg = {.context = context};
    plumb_svg_matrix(&svg, &(struct plumb_matrix){title, evaluation->confusion, names, classes});
    plumb_free(context, names);
    return plumb_write_text(context, path, &svg);
}

/* ---- the sheet of mistakes ---- */

struct sheet {
    const plumb_dataset *dataset;
    const plumb_evaluation *e;
    int classes, columns, rows, scale, cell_width, cell_height, top;
    int channels, height, width;
    struct plumb_canvas canvas;
};

/* In letters; probabilities ("100.0%") need some too, and names beyond NAME_LETTERS are cut. */
#define NAME_LETTERS 16
static int longest_name(const plumb_dataset *dataset, int classes)
{
    size_t longest = 6;
    for (int c = 0; c < classes; c++) {
        size_t length = strlen(plumb_dataset_class_name(dataset, c));
        longest = length > longest ? length : longest;
    }
    return (int)(longest < NAME_LETTERS ? longest : NAME_LETTERS);
}

static plumb_status draw_cell(struct sheet *s, int place, int64_t index, float *picture)
{
    int left = 12 + place % s->columns * s->cell_width, top = s->top + place / s->columns * s->cell_height;
    int64_t item = (int64_t)s->channels * s->height * s->width;
    plumb_status status = plumb_dataset_picture(s->dataset, index, picture, (size_t)item * sizeof(float));
    if (status) {
        return status;
    }
    double low = 0, high = 255;
    if (plumb_dataset_dtype(s->dataset) != PLUMB_U8) {
        low = high = (double)picture[0];
        for (int64_t i = 1; i < item; i++) {
            low = fmin(low, (double)picture[i]);
            high = fmax(high, (double)picture[i]);
        }
    }
    plumb_canvas_picture(&s->canvas, left, top, s->scale, picture, s->channels, s->height, s->width, low,
                         high);
    const float *p = s->e->probabilities + index * s->classes;
    int label = plumb_dataset_label(s->dataset, index), said = s->e->predicted[index];
    const struct {
        int class;
        const char *word;
        uint32_t colour;
    } lines[2] = {{label, "is", 0x1a7a34}, {said, "said", 0xb3261e}};
    top += s->height * s->scale + 6;
    for (int k = 0; k < 2; k++) {
        char text[80], number[PLUMB_NUMBER_ROOM];
        snprintf(text, sizeof(text), "%-4s %.*s", lines[k].word, NAME_LETTERS,
                 plumb_dataset_class_name(s->dataset, lines[k].class));
        plumb_canvas_text(&s->canvas, left, top + 40 * k, 2, lines[k].colour, text);
        snprintf(text, sizeof(text), "     %s%%", plumb_fixed(number, 100 * (double)p[lines[k].class], 1));
        plumb_canvas_text(&s->canvas, left, top + 40 * k + 19, 2, 0x666666, text);
    }
    return PLUMB_OK;
}

static plumb_status draw_sheet(struct sheet *s, const char *title, int64_t *worst, float *picture)
{
    int64_t mistakes;
    int n = plumb_worst_mistakes(s->dataset, s->e, worst, s->columns * s->rows, &mistakes);
    char text[160];
    snprintf(text, sizeof(text), "%s: the %d surest of %lld mistakes in %lld", title, n, (long long)mistakes,
             (long long)s->e->count);
    plumb_canvas_text(&s->canvas, 12, 14, 2, 0x222222, text);
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < n; i++) {
        status = draw_cell(s, i, worst[i], picture);
    }
    return status;
}

plumb_status plumb_write_mistakes_png(plumb_context *context, const char *path, const char *title,
                                      const plumb_dataset *dataset, const plumb_evaluation *evaluation,
                                      int columns, int rows)
{
    plumb_shape shape = plumb_dataset_shape(dataset);
    if (!evaluation || !evaluation->predicted || !evaluation->probabilities ||
        evaluation->count > plumb_dataset_count(dataset) || columns < 1 || rows < 1 || columns > 100 ||
        rows > 100 || shape.rank != 3 || shape.dim[1] > 512 || shape.dim[2] > 512) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: needs pictures (C, H, W) up to 512 wide and an evaluation with predictions "
                          "and probabilities",
                          path);
    }
    struct sheet s = {.dataset = dataset,
                      .e = evaluation,
                      .classes = plumb_dataset_classes(dataset),
                      .columns = columns,
                      .rows = rows,
                      .channels = (int)shape.dim[0],
                      .height = (int)shape.dim[1],
                      .width = (int)shape.dim[2],
                      .top = 48};
    int side = s.height > s.width ? s.height : s.width;
    s.scale = side < 140 ? 140 / side : 1;
    int text_width = 12 * (5 + longest_name(dataset, s.classes));
    s.cell_width = (s.width * s.scale > text_width ? s.width * s.scale : text_width) + 24;
    s.cell_height = s.height * s.scale + 100;
    int64_t *worst = plumb_alloc(context, (size_t)(columns * rows) * sizeof(int64_t));
    float *picture = plumb_alloc(context, (size_t)(s.channels * s.height * s.width) * sizeof(float));
    plumb_status status = worst && picture ? PLUMB_OK : PLUMB_FAILED;
    if (!status) {
        status =
            plumb_canvas_make(context, 24 + columns * s.cell_width, s.top + rows * s.cell_height, &s.canvas);
    }
    if (!status) {
        status = draw_sheet(&s, title, worst, picture);
    }
    if (!status) {
        status = plumb_png_write(context, path, s.canvas.width, s.canvas.height, 3, s.canvas.pixels);
    }
    if (s.canvas.pixels) {
        plumb_canvas_free(&s.canvas);
    }
    plumb_free(context, worst);
    plumb_free(context, picture);
    return status;
}
