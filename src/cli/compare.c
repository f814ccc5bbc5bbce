/* compare: several runs side by side. A table of what they reached, the settings in which they differ, and with --html
 * (or --svg) their curves over one another. Runs are read from the folders that train wrote. */
#include <jansson.h>
#include <math.h>

#include "cli/cli.h"
#include "io/number.h"
#include "io/svg.h"

#define RUNS_MOST WORDS_MOST

struct compare {
    plumb_context *context;
    const char *html, *svg;
    bool json;
    struct run_record runs[RUNS_MOST];
    int count;
};

/* Colours that stay apart for most eyes, and in print by their dashes (Okabe & Ito 2008, darkened). */
static const char *const colours[8] = {"#0072b2", "#c24e00", "#00795a", "#9c4a86", "#8a6d00", "#3a8fc4", "#5a5a5a", "#b3261e"};
static const char *const dashes[4] = {NULL, "7 3", "2 3", "9 3 2 3"};

/* ---- what a run reached ---- */

struct reached {
    int best_epoch, epochs;
    double best_accuracy, accuracy, loss, train_accuracy, train_loss, seconds, images_per_s;
};

static struct reached reached_by(const struct run_record *run)
{
    const plumb_epoch *last = &run->history[run->epochs - 1];
    struct reached r = {.epochs = run->epochs,
                        .best_accuracy = NAN,
                        .accuracy = last->test_accuracy,
                        .loss = last->test_loss,
                        .train_accuracy = last->train_accuracy,
                        .train_loss = last->train_loss};
    double images = 0;
    for (int i = 0; i < run->epochs; i++) {
        const plumb_epoch *e = &run->history[i];
        if (!isnan(e->test_accuracy) && !(e->test_accuracy <= r.best_accuracy)) {
            r.best_accuracy = e->test_accuracy;
            r.best_epoch = e->epoch;
        }
        r.seconds += isfinite(e->seconds) ? e->seconds : 0;
        images += isfinite(e->seconds * e->images_per_s) ? e->seconds * e->images_per_s : 0;
    }
    r.images_per_s = r.seconds > 0 ? images / r.seconds : 0;
    return r;
}

/* ---- settings ---- */

static const char *setting(const struct run_record *run, const char *key)
{
    const char *value = json_string_value(json_object_get(run->settings, key));
    return value ? value : "-";
}

/* Where a run lies, or what it is called, makes no difference between runs. */
static bool differs(const struct compare *c, const char *key)
{
    bool different = false;
    for (int i = 1; i < c->count; i++) {
        different = different || strcmp(setting(&c->runs[i], key), setting(&c->runs[0], key)) != 0;
    }
    return different && strcmp(key, "out") != 0;
}

/* Calls `tell` for every setting in which the runs differ; a key is met in the first run that has it. */
static int for_differences(const struct compare *c, void (*tell)(const struct compare *c, const char *key, void *user),
                           void *user)
{
    int n = 0;
    for (int i = 0; i < c->count; i++) {
        const char *key;
        json_t *value;
        json_object_foreach (c->runs[i].settings, key, value) {
            bool met = false;
            for (int k = 0; k < i; k++) {
                met = met || json_object_get(c->runs[k].settings, key);
            }
            if (!met && differs(c, key)) {
                n++;
                tell(c, key, user);
            }
        }
    }
    return n;
}

/* ---- on the terminal ---- */

static int longest_name(const struct compare *c)
{
    size_t longest = 3;
    for (int i = 0; i < c->count; i++) {
        size_t length = strlen(c->runs[i].path);
        longest = length > longest ? length : longest;
    }
    return (int)(longest < 60 ? longest : 60);
}

static void print_difference(const struct compare *c, const char *key, void *user)
{
    (void)user;
    printf("%-16s", key);
    for (int i = 0; i < c->count; i++) {
        printf("  %-14s", setting(&c->runs[i], key));
    }
    printf("\n");
}

static void count_difference(const struct compare *c, const char *key, void *user)
{
    (void)c, (void)key, (void)user;
}

static void print_table(const struct compare *c)
{
    int width = longest_name(c);
    printf("%-*s %7s %9s %6s %9s %10s %10s %9s %9s\n", width, "run", "epochs", "best acc", "epoch", "last acc",
           "last loss", "train acc", "seconds", "images/s");
    for (int i = 0; i < c->count; i++) {
        struct reached r = reached_by(&c->runs[i]);
        printf("%-*s %7d %9.4f %6d %9.4f %10.4f %10.4f %9.1f %9.0f\n", width, c->runs[i].path, r.epochs, r.best_accuracy,
               r.best_epoch, r.accuracy, r.loss, r.train_accuracy, r.seconds, r.images_per_s);
    }
    if (for_differences(c, count_difference, NULL) == 0) {
        printf("\nno setting differs\n");
        return;
    }
    printf("\n%-16s", "setting");
    for (int i = 0; i < c->count; i++) {
        printf("  %-14s", c->runs[i].path);
    }
    printf("\n");
    for_differences(c, print_difference, NULL);
}

static void print_difference_json(const struct compare *c, const char *key, void *user)
{
    int *n = user;
    printf("%s", (*n)++ ? "," : "");
    json_text(stdout, key);
    printf(":[");
    for (int i = 0; i < c->count; i++) {
        printf("%s", i ? "," : "");
        json_text(stdout, setting(&c->runs[i], key));
    }
    printf("]");
}

static void print_json(const struct compare *c)
{
    for (int i = 0; i < c->count; i++) {
        struct reached r = reached_by(&c->runs[i]);
        const struct {
            const char *name;
            double value;
        } numbers[] = {{"best_test_accuracy", r.best_accuracy}, {"best_epoch", r.best_epoch},
                       {"test_accuracy", r.accuracy},           {"test_loss", r.loss},
                       {"train_accuracy", r.train_accuracy},    {"train_loss", r.train_loss},
                       {"seconds", r.seconds},                  {"train_images_per_s", r.images_per_s}};
        printf("{\"run\":");
        json_text(stdout, c->runs[i].path);
        printf(",\"epochs\":%d", r.epochs);
        for (size_t k = 0; k < sizeof(numbers) / sizeof(numbers[0]); k++) {
            printf(",\"%s\":", numbers[k].name);
            json_number(stdout, numbers[k].value);
        }
        printf("}\n");
    }
    int n = 0;
    printf("{\"differences\":{");
    for_differences(c, print_difference_json, &n);
    printf("}}\n");
}

/* ---- pictures ---- */

static double field(const plumb_epoch *e, int which)
{
    const double value[4] = {e->train_loss, e->test_loss, e->train_accuracy, e->test_accuracy};
    return value[which];
}

/* One chart of a field for all runs. */
static plumb_status add_chart(const struct compare *c, struct plumb_text *svg, const char *title, int which, double left,
                              double top)
{
    struct plumb_series series[RUNS_MOST];
    int rows = 0;
    for (int i = 0; i < c->count; i++) {
        rows += c->runs[i].epochs;
    }
    double *numbers = plumb_alloc(c->context, (size_t)rows * 2 * sizeof(double)), *at = numbers;
    if (!numbers) {
        return PLUMB_FAILED;
    }
    for (int i = 0; i < c->count; i++) {
        int count = c->runs[i].epochs;
        for (int k = 0; k < count; k++) {
            at[k] = c->runs[i].history[k].epoch;
            at[count + k] = field(&c->runs[i].history[k], which);
        }
        series[i] = (struct plumb_series){NULL, colours[i % 8], at, at + count, count, dashes[i / 8]};
        at += 2 * count;
    }
    plumb_svg_chart(svg, &(struct plumb_chart){title, "epoch", left, top, 466, 330, which >= 2, series, c->count});
    plumb_free(c->context, numbers);
    return PLUMB_OK;
}

#define TOP 54
#define CHARTS_HEIGHT 668

static void add_legend(const struct compare *c, struct plumb_text *svg, double top)
{
    for (int i = 0; i < c->count; i++) {
        double x = 24 + (i % 2) * 480, y = top + i / 2 * 22;
        plumb_text_add(svg, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"3\" "
                            "stroke-dasharray=\"%s\"/>\n",
                       (int)x, (int)y - 4, (int)x + 30, (int)y - 4, colours[i % 8], i / 8 ? dashes[i / 8] : "none");
        plumb_svg_label(svg, x + 38, y, "start", 13, "#222222", c->runs[i].path);
    }
}

static plumb_status add_charts(const struct compare *c, struct plumb_text *svg, bool inline_page)
{
    static const char *const titles[4] = {"Training loss", "Test loss", "Training accuracy", "Test accuracy"};
    double top = inline_page ? 0 : TOP, height = top + CHARTS_HEIGHT + 16 + 22 * ((c->count + 1) / 2);
    if (inline_page) {
        plumb_svg_begin_inline(svg, 960, height, "Curves of all runs");
    } else {
        plumb_svg_begin(svg, 960, height, "Curves of all runs");
        plumb_svg_label(svg, 22, 34, "start", 17, "#222222", "Runs beside each other");
    }
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < 4; i++) {
        status = add_chart(c, svg, titles[i], i, i % 2 ? 484 : 8, top + (i >= 2 ? 334 : 0));
    }
    add_legend(c, svg, top + CHARTS_HEIGHT + 20);
    plumb_svg_end(svg);
    return status;
}

static plumb_status write_text(const struct compare *c, const char *path, struct plumb_text *text)
{
    size_t length = text->length;
    char *data = plumb_text_take(text);
    plumb_status status = data ? plumb_write_file(c->context, path, data, length) : PLUMB_FAILED;
    plumb_free(c->context, data);
    return status;
}

static const char page_head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
    "content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<title>Runs beside each other</title>\n<style>\n"
    ":root{color-scheme:light dark;--ink:#1c1c1c;--soft:#595959;--paper:#fff;--line:#d5d5d5}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a8a8a8;--paper:#16181a;--line:#3a3d40}}\n"
    "@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--line:#bbb}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,'DejaVu Sans',sans-serif}\n"
    "main{max-width:72rem;margin:0 auto;padding:1.5rem}svg{width:100%;height:auto;font-family:inherit}\n"
    "svg [fill='#222222']{fill:var(--ink)}svg [fill='#666666']{fill:var(--soft)}svg [stroke='#666666']{stroke:var(--soft)}"
    "svg [stroke='#dddddd']{stroke:var(--line)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;margin:1rem 0}\n"
    "th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\n"
    "th:first-child{text-align:left}tr{break-inside:avoid}\n"
    "</style>\n</head>\n<body>\n<main>\n<h1>Runs beside each other</h1>\n";

static void add_cell(struct plumb_text *html, const char *tag, const char *text)
{
    plumb_text_add(html, "<%s>", tag);
    plumb_xml_add(html, text);
    plumb_text_add(html, "</%.2s>", tag);
}

static void add_difference(const struct compare *c, const char *key, void *user)
{
    struct plumb_text *html = user;
    plumb_text_add(html, "<tr>");
    add_cell(html, "th scope=\"row\"", key);
    for (int i = 0; i < c->count; i++) {
        add_cell(html, "td", setting(&c->runs[i], key));
    }
    plumb_text_add(html, "</tr>\n");
}

static void add_results(const struct compare *c, struct plumb_text *html)
{
    static const char *const heads[] = {"run",       "epochs",         "best test accuracy", "in epoch", "last test accuracy",
                                        "last test loss", "training accuracy", "seconds",    "images/s"};
    plumb_text_add(html, "<div class=\"wide\"><table><thead><tr>");
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        add_cell(html, "th scope=\"col\"", heads[i]);
    }
    plumb_text_add(html, "</tr></thead><tbody>\n");
    for (int i = 0; i < c->count; i++) {
        struct reached r = reached_by(&c->runs[i]);
        const double value[] = {r.epochs, r.best_accuracy, r.best_epoch, r.accuracy, r.loss, r.train_accuracy, r.seconds,
                                r.images_per_s};
        static const int decimals[] = {0, 4, 0, 4, 4, 4, 1, 0};
        plumb_text_add(html, "<tr>");
        add_cell(html, "th scope=\"row\"", c->runs[i].path);
        for (int k = 0; k < 8; k++) {
            char number[PLUMB_NUMBER_ROOM];
            add_cell(html, "td", isnan(value[k]) ? "" : plumb_fixed(number, value[k], decimals[k]));
        }
        plumb_text_add(html, "</tr>\n");
    }
    plumb_text_add(html, "</tbody></table></div>\n");
}

static plumb_status write_html(const struct compare *c)
{
    struct plumb_text html = {.context = c->context};
    plumb_text_add(&html, "%s", page_head);
    add_results(c, &html);
    plumb_text_add(&html, "<h2>Curves</h2>\n");
    plumb_status status = add_charts(c, &html, true);
    plumb_text_add(&html, "<h2>Settings that differ</h2>\n");
    if (for_differences(c, count_difference, NULL) > 0) {
        plumb_text_add(&html, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">setting</th>");
        for (int i = 0; i < c->count; i++) {
            add_cell(&html, "th scope=\"col\"", c->runs[i].path);
        }
        plumb_text_add(&html, "</tr></thead><tbody>\n");
        for_differences(c, add_difference, &html);
        plumb_text_add(&html, "</tbody></table></div>\n");
    } else {
        plumb_text_add(&html, "<p>None.</p>\n");
    }
    plumb_text_add(&html, "</main>\n</body>\n</html>\n");
    plumb_status written = write_text(c, c->html, &html);
    return status ? status : written;
}

static plumb_status write_svg(const struct compare *c)
{
    struct plumb_text svg = {.context = c->context};
    plumb_status status = add_charts(c, &svg, false), written = write_text(c, c->svg, &svg);
    return status ? status : written;
}

static plumb_status compare(struct compare *c, const char *const *paths)
{
    plumb_status status = PLUMB_OK;
    for (int i = 0; !status && i < RUNS_MOST && paths[i]; i++) {
        status = cli_read_run(c->context, paths[i], &c->runs[i]);
        c->count += !status;
    }
    if (!status) {
        (c->json ? print_json : print_table)(c);
    }
    status = !status && c->svg ? write_svg(c) : status;
    return !status && c->html ? write_html(c) : status;
}

int command_compare(int argc, char **argv)
{
    const char *paths[RUNS_MOST + 1] = {NULL};
    struct compare c = {0};
    const struct option_row rows[] = {
        {"html", "FILE", "write a page with the table, the curves and the differences", OPTION_TEXT, &c.html, 0, 0, NULL},
        {"svg", "FILE", "write the curves alone", OPTION_TEXT, &c.svg, 0, 0, NULL},
        {"json", NULL, "machine-readable output, one JSON object a line", OPTION_FLAG, &c.json, 0, 0, NULL},
    };
    static const char notes[] = "RUN is a folder that plumb train --out wrote; up to 32 may be given.\n";
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("compare"), CLI_SOME(rows), paths, notes}, argc, argv,
                  &code)) {
        return code;
    }
    if (!paths[0]) {
        return cli_refuse("compare", "which runs? give the folders that plumb train --out wrote");
    }
    plumb_error error = {0};
    c.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 1, .error = &error});
    if (!c.context) {
        return cli_refuse("compare", "%s", error.message);
    }
    plumb_status status = compare(&c, paths);
    code = status ? cli_fail("compare", c.context, status) : 0;
    for (int i = 0; i < c.count; i++) {
        cli_free_run(c.context, &c.runs[i]);
    }
    plumb_close(c.context);
    return code;
}
