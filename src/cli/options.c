/* One table per command says what it takes: the same rows parse the arguments and print the help. Numbers are read
 * strictly and independently of the locale (the command never sets one): "12x", "1e99", "0x10", "+3" and "nan" are
 * refused with the range that was expected. */
#include <errno.h>
#include <math.h>

#include "cli/cli.h"
#include "io/number.h"

/* ---- numbers ---- */

/* Digits, one point, an exponent where `real`; a leading minus. Nothing else. */
static bool well_formed(const char *p, bool real)
{
    int digits = 0;
    p += *p == '-';
    for (; *p >= '0' && *p <= '9'; p++) {
        digits++;
    }
    if (real && *p == '.') {
        for (p++; *p >= '0' && *p <= '9'; p++) {
            digits++;
        }
    }
    if (real && digits > 0 && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '-' || *p == '+';
        digits = 0;
        for (; *p >= '0' && *p <= '9'; p++) {
            digits++;
        }
    }
    return digits > 0 && *p == 0;
}

bool cli_whole(const char *text, double low, double high, int64_t *value)
{
    if (!well_formed(text, false)) {
        return false;
    }
    errno = 0;
    long long read = strtoll(text, NULL, 10);
    if (errno || !((double)read >= low && (double)read <= high)) {
        return false;
    }
    *value = read;
    return true;
}

bool cli_number(const char *text, double low, double high, double *value)
{
    if (!well_formed(text, true)) {
        return false;
    }
    double read = strtod(text, NULL);
    if (!isfinite(read) || !(read >= low && read <= high)) {
        return false;
    }
    *value = read;
    return true;
}

/* ---- did you mean ---- */

#define WORD_MAX 63

/* Levenshtein's distance; words beyond WORD_MAX letters are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX) {
        return n + m;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t insert = row[j - 1] + 1, drop = row[j] + 1;
            row[j] = insert < drop ? insert : drop;
            row[j] = row[j] < change ? row[j] : change;
        }
    }
    return row[m];
}

const char *cli_nearest(const char *word, const char *(*name)(const void *user, int index), const void *user)
{
    const char *best = NULL;
    size_t best_distance = 4, length = strlen(word);
    for (int i = 0; name(user, i); i++) {
        size_t d = distance(word, name(user, i));
        if (d < best_distance && d * 2 <= length) {
            best = name(user, i);
            best_distance = d;
        }
    }
    return best;
}

static const char *name_of_row(const void *user, int index)
{
    const struct option_set *set = user;
    return index < set->count ? set->rows[index].name : index == set->count ? "help" : NULL;
}

static const char *name_of_value(const void *user, int index)
{
    const struct option_row *row = user;
    return row->names(index);
}

/* ---- help ---- */

static void print_help(const struct option_set *set)
{
    printf("Usage: plumb %s%s%s [options]\n%s\n\n", set->command->name, *set->command->argument ? " " : "",
           set->command->argument, set->command->summary);
    for (int i = 0; i < set->count; i++) {
        const struct option_row *row = &set->rows[i];
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", row->name, row->argument ? " " : "",
                 row->argument ? row->argument : "");
        printf("  %-22s %s", left, row->help);
        for (int k = 0; row->kind == OPTION_NAME && row->names(k); k++) {
            printf("%s%s", k ? ", " : ": ", row->names(k));
        }
        printf("\n");
    }
    printf("  %-22s %s\n", "--help", "this text");
    if (set->notes) {
        printf("\n%s", set->notes);
    }
    printf("\nExit codes: 0 ok, 1 failed, 2 bad input, 3 device, 4 numeric, 5 input/output.\n");
}

/* ---- parsing ---- */

static int refuse_value(const struct option_set *set, const struct option_row *row, const char *text)
{
    if (row->kind == OPTION_NAME) {
        const char *near = cli_nearest(text, name_of_value, row);
        return cli_refuse(set->command->name, "--%s: '%s' is not known%s%s%s (plumb %s --help lists what is)",
                          row->name, text, near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                          set->command->name);
    }
    return cli_refuse(set->command->name, "--%s: '%s' is not a %s from %.10g to %.10g", row->name, text,
                      row->kind == OPTION_WHOLE ? "whole number" : "number", row->low, row->high);
}

static int take_value(const struct option_set *set, const struct option_row *row, const char *text)
{
    switch (row->kind) {
    case OPTION_TEXT:
        if (!*text || strlen(text) > 4096) {
            return cli_refuse(set->command->name, "--%s: needs a value of 1 to 4096 characters", row->name);
        }
        *(const char **)row->to = text;
        return 0;
    case OPTION_LIST: {
        struct option_list *list = row->to;
        if (!*text || strlen(text) > 4096 || list->count == OPTION_LIST_MOST) {
            return cli_refuse(set->command->name, "--%s: takes %d values of 1 to 4096 characters at most", row->name,
                              OPTION_LIST_MOST);
        }
        list->item[list->count++] = text;
        return 0;
    }
    case OPTION_WHOLE:
        return cli_whole(text, row->low, row->high, row->to) ? 0 : refuse_value(set, row, text);
    case OPTION_NUMBER:
        return cli_number(text, row->low, row->high, row->to) ? 0 : refuse_value(set, row, text);
    case OPTION_NAME:
        for (int i = 0; row->names(i); i++) {
            if (strcmp(row->names(i), text) == 0) {
                *(const char **)row->to = row->names(i);
                return 0;
            }
        }
        return refuse_value(set, row, text);
    default: *(bool *)row->to = true; return 0;
    }
}

/* One option at argv[*at], which begins with "--"; moves *at past its value. */
static int take_option(const struct option_set *set, int argc, char **argv, int *at, bool *seen)
{
    const char *word = argv[*at] + 2, *value = strchr(word, '=');
    size_t length = value ? (size_t)(value - word) : strlen(word);
    for (int i = 0; i < set->count; i++) {
        const struct option_row *row = &set->rows[i];
        if (strlen(row->name) != length || memcmp(row->name, word, length) != 0) {
            continue;
        }
        if (seen[i] && row->kind != OPTION_LIST) {
            return cli_refuse(set->command->name, "--%s: given twice", row->name);
        }
        seen[i] = true;
        if (!row->argument) {
            return value ? cli_refuse(set->command->name, "--%s: takes no value", row->name)
                         : take_value(set, row, "");
        }
        if (!value && *at + 1 >= argc) {
            return cli_refuse(set->command->name, "--%s: %s is missing", row->name, row->argument);
        }
        return take_value(set, row, value ? value + 1 : argv[++*at]);
    }
    char bare[WORD_MAX + 1];
    snprintf(bare, sizeof(bare), "%.*s", (int)(length < WORD_MAX ? length : WORD_MAX), word);
    const char *near = cli_nearest(bare, name_of_row, set);
    return cli_refuse(set->command->name, "unknown option --%s%s%s%s", bare, near ? " (did you mean --" : "",
                      near ? near : "", near ? "?)" : "");
}

int cli_parse(const struct option_set *set, int argc, char **argv, int *code)
{
    bool seen[OPTIONS_MOST] = {false}, only_words = false;
    int words = 0, most = !set->positional ? 0 : strstr(set->command->argument, "...") ? WORDS_MOST : 1;
    for (int at = 0; at < argc; at++) {
        const char *word = argv[at];
        if (!only_words && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(set);
            *code = 0;
            return 1;
        }
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(word, "--", 2) == 0) {
            *code = take_option(set, argc, argv, &at, seen);
        } else if (!only_words && word[0] == '-' && word[1]) {
            *code = cli_refuse(set->command->name, "unknown option %s (options begin with --)", word);
        } else if (words < most) {
            set->positional[words++] = word;
        } else {
            *code = cli_refuse(set->command->name, "unexpected argument '%s'", word);
        }
        if (*code) {
            return 1;
        }
    }
    return 0;
}

/* ---- what was asked for, in words ---- */

/* "" for what was not given and has no default, as a number of 0 that could not have been given. */
static char *value_text(const struct option_row *row)
{
    char number[PLUMB_NUMBER_ROOM];
    if (row->low > 0 && ((row->kind == OPTION_WHOLE && *(const int64_t *)row->to == 0) ||
                         (row->kind == OPTION_NUMBER && *(const double *)row->to == 0))) {
        return strdup("");
    }
    switch (row->kind) {
    case OPTION_FLAG: return strdup(*(const bool *)row->to ? "yes" : "no");
    case OPTION_WHOLE: snprintf(number, sizeof(number), "%lld", (long long)*(const int64_t *)row->to); return strdup(number);
    case OPTION_NUMBER: /* as it was typed, if that says it all */
        return strdup(strtod(plumb_general(number, *(const double *)row->to, 15), NULL) == *(const double *)row->to
                          ? number
                          : plumb_general(number, *(const double *)row->to, 17));
    case OPTION_LIST: return strdup(((const struct option_list *)row->to)->count ? *((const struct option_list *)row->to)->item : "");
    default: return strdup(*(const char *const *)row->to ? *(const char *const *)row->to : "");
    }
}

char **cli_settings(const struct option_row *rows, int count, const char *const *without)
{
    char **settings = calloc(2 * (size_t)count + 1, sizeof(settings[0]));
    int n = 0;
    bool good = settings != NULL;
    for (int i = 0; good && i < count; i++) {
        bool wanted = true;
        for (int k = 0; without[k]; k++) {
            wanted = wanted && strcmp(rows[i].name, without[k]) != 0;
        }
        if (wanted) {
            settings[n] = strdup(rows[i].name);
            settings[n + 1] = settings[n] ? value_text(&rows[i]) : NULL;
            good = settings[n + 1] != NULL;
            n += 2;
        }
    }
    if (!good) {
        cli_settings_free(settings);
    }
    return good ? settings : NULL;
}

void cli_settings_free(char **settings)
{
    for (int i = 0; settings && settings[i]; i++) {
        free(settings[i]);
    }
    free(settings);
}
