/* The space that plumb tune searches, as given on the command line:
 *
 *   lr=1e-4:1e-1:log     numbers from a range, on a linear (default), log, below-one (1 - x is log), whole or
 *   units=16:256:whole   whole-log scale
 *   batch=32,64,128      one of several words, which are given to plumb train as they are */
#include <math.h>

#include "cli/tune.h"

static const struct {
    const char *name;
    plumb_search_scale scale;
} scales[] = {{"linear", PLUMB_SEARCH_LINEAR}, {"log", PLUMB_SEARCH_LOG},             {"below-one", PLUMB_SEARCH_BELOW_ONE},
              {"whole", PLUMB_SEARCH_WHOLE},   {"whole-log", PLUMB_SEARCH_WHOLE_LOG}};
#define SCALES (sizeof(scales) / sizeof(scales[0]))

/* "LOW:HIGH" or "LOW:HIGH:SCALE" in d->text, which is taken apart. */
static const char *read_range(struct dimension *d)
{
    char *high = strchr(d->text, ':'), *scale = high ? strchr(high + 1, ':') : NULL;
    size_t k = 0;
    if (!high) {
        return "needs LOW:HIGH, LOW:HIGH:SCALE or words with commas";
    }
    *high++ = 0;
    if (scale) {
        *scale++ = 0;
        while (k < SCALES && strcmp(scales[k].name, scale) != 0) {
            k++;
        }
    }
    if (k == SCALES) {
        return "has a scale that is none of linear, log, below-one, whole, whole-log";
    }
    d->range.scale = scales[k].scale;
    if (!cli_number(d->text, -1e15, 1e15, &d->range.low) || !cli_number(high, -1e15, 1e15, &d->range.high)) {
        return "needs two numbers";
    }
    return plumb_search_fault(&d->range);
}

static const char *read_choices(struct dimension *d)
{
    int n = 0;
    for (char *at = d->text; at;) {
        char *comma = strchr(at, ',');
        if (n == CHOICES_MOST) {
            return "has more than 32 words";
        }
        d->choice[n++] = at;
        if (comma) {
            *comma++ = 0;
        }
        if (!*at) {
            return "has an empty word";
        }
        at = comma;
    }
    d->range = (plumb_search_range){.scale = PLUMB_SEARCH_CHOICE, .high = n - 1};
    return NULL;
}

static const char *read_dimension(const char *text, struct dimension *d)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : 0;
    if (length < 1 || length >= sizeof(d->name) || strlen(text) - length > sizeof(d->text)) {
        return "is not OPTION=VALUES";
    }
    snprintf(d->name, sizeof(d->name), "%.*s", (int)length, text);
    snprintf(d->text, sizeof(d->text), "%s", equals + 1);
    static const char *const ours[] = {"json", "out", "threads", "resume"};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strcmp(d->name, ours[i]) == 0) {
            return "is set by the search itself";
        }
    }
    return strchr(d->text, ',') ? read_choices(d) : read_range(d);
}

bool tune_read_space(const struct option_list *list, struct space *space)
{
    for (int i = 0; i < list->count; i++) {
        const char *fault = read_dimension(list->item[i], &space->row[i]);
        for (int k = 0; !fault && k < i; k++) {
            fault = strcmp(space->row[k].name, space->row[i].name) == 0 ? "is given twice" : NULL;
        }
        if (fault) {
            cli_refuse("tune", "--try: '%.100s' %s", list->item[i], fault);
            return false;
        }
        space->count++;
    }
    return true;
}

const char *tune_value_text(const struct dimension *d, double value, char to[64])
{
    if (d->range.scale == PLUMB_SEARCH_CHOICE) {
        return d->choice[(int)value];
    }
    bool whole = d->range.scale == PLUMB_SEARCH_WHOLE || d->range.scale == PLUMB_SEARCH_WHOLE_LOG;
    snprintf(to, 64, whole ? "%.0f" : "%.6g", value);
    return to;
}

bool tune_keeps_dev(const char *const *option)
{
    for (; *option; option++) {
        bool split = strncmp(*option, "--split", 7) == 0;
        const char *shares = !split ? NULL : strchr(*option, '=') ? *option : option[1];
        if (strncmp(*option, "--dev", 5) == 0 || (shares && strchr(shares, '/') != strrchr(shares, '/'))) { /* of three */
            return true;
        }
    }
    return false;
}
