/* What may be asked of augmentation: names, defaults and ranges in one table, for the words of a command line and for the
 * struct of a program alike. */
#include <math.h>
#include <stdio.h>

#include "data/augment.h"
#include "io/number.h"

enum kind { KIND_FLAG, KIND_WHOLE, KIND_NUMBER };
static const struct row {
    const char *name;
    size_t offset;
    enum kind kind;
    double low, high; /* low 0: may be 0, which is none */
    double otherwise; /* without "=value"; 0: a value is needed */
} rows[] = {
    {"mirror", offsetof(plumb_augment, mirror), KIND_FLAG, 0, 1, 1},
    {"crop", offsetof(plumb_augment, crop), KIND_WHOLE, 0, 10000, 0},
    {"resized-crop", offsetof(plumb_augment, resized_crop), KIND_NUMBER, 0, 1, 0.25},
    {"rotate", offsetof(plumb_augment, rotate), KIND_NUMBER, 0, 180, 0},
    {"shear", offsetof(plumb_augment, shear), KIND_NUMBER, 0, 80, 0},
    {"elastic", offsetof(plumb_augment, elastic), KIND_NUMBER, 0, 10000, 0},
    {"elastic-sigma", offsetof(plumb_augment, elastic_sigma), KIND_NUMBER, 0, 100, 0},
    {"brightness", offsetof(plumb_augment, brightness), KIND_NUMBER, 0, 1, 0},
    {"contrast", offsetof(plumb_augment, contrast), KIND_NUMBER, 0, 1, 0},
    {"saturation", offsetof(plumb_augment, saturation), KIND_NUMBER, 0, 1, 0},
    {"hue", offsetof(plumb_augment, hue), KIND_NUMBER, 0, 0.5, 0},
    {"erase", offsetof(plumb_augment, erase), KIND_NUMBER, 0, 1, 0.5},
    {"mixup", offsetof(plumb_augment, mixup), KIND_NUMBER, 0, 1, 1},
    {"cutmix", offsetof(plumb_augment, cutmix), KIND_NUMBER, 0, 1, 1},
    {"fill", offsetof(plumb_augment, fill), KIND_NUMBER, -1e30, 1e30, 0},
};
#define ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

static double get(const plumb_augment *a, const struct row *row)
{
    const char *at = (const char *)a + row->offset;
    double value;
    int whole;
    bool flag;
    switch (row->kind) {
    case KIND_FLAG: memcpy(&flag, at, sizeof(flag)); return flag;
    case KIND_WHOLE: memcpy(&whole, at, sizeof(whole)); return whole;
    default: memcpy(&value, at, sizeof(value)); return value;
    }
}

static void set(plumb_augment *a, const struct row *row, double value)
{
    char *at = (char *)a + row->offset;
    int whole = (int)value;
    bool flag = value != 0;
    switch (row->kind) {
    case KIND_FLAG: memcpy(at, &flag, sizeof(flag)); break;
    case KIND_WHOLE: memcpy(at, &whole, sizeof(whole)); break;
    default: memcpy(at, &value, sizeof(value));
    }
}

static bool in_range(const struct row *row, double value)
{
    return value >= row->low && value <= row->high && (row->kind == KIND_NUMBER || value == floor(value));
}

static plumb_status refuse_name(plumb_context *context, const char *word, size_t length)
{
    char list[256] = "";
    for (int i = 0; i < ROWS; i++) {
        strcat(strcat(list, i ? ", " : ""), rows[i].name); /* all of them fit */
    }
    return plumb_fail(context, PLUMB_BAD_INPUT, "augment: '%.*s' is unknown; there are %s", (int)(length < 40 ? length : 40), word,
                      list);
}

static plumb_status parse_word(plumb_context *context, const char *word, size_t length, plumb_augment *a)
{
    const char *equals = memchr(word, '=', length);
    size_t name = equals ? (size_t)(equals - word) : length;
    for (int i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (strlen(row->name) != name || memcmp(row->name, word, name) != 0) {
            continue;
        }
        double value = row->otherwise;
        bool good = equals ? row->kind != KIND_FLAG && plumb_number(equals + 1, length - name - 1, &value) : value > 0;
        if (!good || !in_range(row, value)) {
            return plumb_fail(context, PLUMB_BAD_INPUT, row->kind == KIND_FLAG ? "augment: %s takes no value"
                                                                               : "augment: %s is a %snumber from %g to %g",
                              row->name, row->kind == KIND_WHOLE ? "whole " : "", row->low, row->high);
        }
        set(a, row, value);
        return PLUMB_OK;
    }
    return refuse_name(context, word, length);
}

plumb_status plumb_augment_parse(plumb_context *context, const char *text, plumb_augment *augment)
{
    plumb_augment a = {.size = sizeof(a)};
    plumb_status status = text && *text ? PLUMB_OK : plumb_fail(context, PLUMB_BAD_INPUT, "augment: nothing is named");
    while (!status && *text) {
        size_t length = strcspn(text, ",");
        status = parse_word(context, text, length, &a);
        text += length;
        text += *text == ',' && text[1];
        if (!status && *text == ',') {
            status = plumb_fail(context, PLUMB_BAD_INPUT, "augment: ends in a comma");
        }
    }
    if (!status && augment) {
        *augment = a;
    }
    return status;
}

plumb_status plumb_augment_check(const struct dataset *d, plumb_augment *a)
{
    char text[128];
    if (d->shape.rank != 3) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT, "augment: examples are %s, pictures (C, H, W) are needed",
                          plumb_shape_text(&d->shape, text, sizeof(text)));
    }
    for (int i = 0; i < ROWS; i++) {
        if (!in_range(&rows[i], get(a, &rows[i]))) {
            return plumb_fail(d->context, PLUMB_BAD_INPUT, "augment: %s is %g, expected %g to %g", rows[i].name,
                              get(a, &rows[i]), rows[i].low, rows[i].high);
        }
    }
    if ((a->saturation > 0 || a->hue > 0) && d->shape.dim[0] != 3) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT, "augment: saturation and hue need 3 channels, there are %lld",
                          (long long)d->shape.dim[0]);
    }
    a->elastic_sigma = a->elastic_sigma > 0 ? a->elastic_sigma : 4;
    return PLUMB_OK;
}
