/* The page: one HTML file that needs nothing else, for people who look at a training or an evaluation. What it shows is
 * a row of sections; a section that has nothing to show is not there, neither in the text nor in the contents.
 *
 * Charts keep the colours that svg.c writes, and the style sheet exchanges them in the dark, so a chart is drawn once. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "io/svg.h"
#include "train/report.h"

/* Lines are kept under what compilers promise to take as one string. */
static const char *const style[] = {
    ":root{color-scheme:light dark;--ink:#1c1c1c;--soft:#595959;--paper:#fff;--line:#d5d5d5;--card:#f5f6f7;"
    "--train:#1f77b4;--test:#b84a00;--dev:#23783f}",
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a8a8a8;--paper:#16181a;--line:#3a3d40;--card:#212427;"
    "--train:#62b0e8;--test:#ff9d5c;--dev:#6cc98c}}",
    "*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}",
    "main{max-width:72rem;margin:0 auto;padding:1.5rem}h1{font-size:1.7rem;line-height:1.2;margin:.2em 0}",
    "h2{font-size:1.25rem;margin:2.2em 0 .6em;padding-bottom:.2em;border-bottom:1px solid var(--line)}",
    "h3{font-size:1rem;margin:1.4em 0 .4em}p{max-width:46rem;margin:.5em 0}.soft,figcaption,dt{color:var(--soft)}",
    "a{color:var(--train)}nav{margin:.8em 0;font-size:.95rem}nav a{margin-right:1.1em;white-space:nowrap}",
    ".figures{display:flex;flex-wrap:wrap;gap:.7rem;margin:1.2em 0}.figures div{background:var(--card);"
    "border-radius:.5rem;padding:.55rem .9rem;min-width:8rem}",
    ".figures dt{font-size:.85rem}.figures dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}",
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));gap:1rem}",
    "svg{width:100%;height:auto;font-family:inherit}.charts svg{background:var(--card);border-radius:.5rem}",
    "svg [fill='#222222']{fill:var(--ink)}svg [fill='#666666']{fill:var(--soft)}svg [stroke='#666666']{stroke:var(--soft)}"
    "svg [stroke='#dddddd']{stroke:var(--line)}",
    "svg [stroke='#1f77b4']{stroke:var(--train)}svg [fill='#1f77b4']{fill:var(--train)}"
    "svg [stroke='#d95f02']{stroke:var(--test)}svg [fill='#d95f02']{fill:var(--test)}"
    "svg [stroke='#2a8a4a']{stroke:var(--dev)}svg [fill='#2a8a4a']{fill:var(--dev)}",
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}",
    "th,td{padding:.28rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}",
    "th{font-weight:600}th:first-child,td.text,th.text{text-align:left}caption{text-align:left;color:var(--soft);"
    "padding:.3em 0}",
    ".matrix td{text-align:center;min-width:2.7rem;border:1px solid var(--paper)}.matrix thead th{text-align:center}"
    ".matrix .high{color:#fff}.matrix .none{color:var(--soft)}",
    ".sheet{display:flex;flex-wrap:wrap;gap:.5rem}.sheet img,.strip img{image-rendering:pixelated;display:block}",
    ".sheet img{width:4.5rem;height:auto;border-radius:.2rem}figure{margin:0}.strip td{padding:.15rem .6rem}",
    ".strip img{height:2.6rem;width:auto}",
    ".mistakes{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));gap:.8rem}"
    ".mistakes figure{background:var(--card);border-radius:.5rem;padding:.6rem;break-inside:avoid}",
    ".mistakes img{width:100%;max-width:9rem;height:auto;image-rendering:pixelated;border-radius:.2rem}"
    ".mistakes figcaption{font-size:.85rem;line-height:1.35;margin-top:.3rem}.mistakes b{color:var(--ink)}",
    ".bar{display:flex;height:1.1rem;border-radius:.3rem;overflow:hidden;background:var(--card)}.bar span{display:block}"
    ".advice{border-left:.25rem solid var(--test);padding-left:.8rem}.advice b{display:inline-block}.advice b::first-letter{text-transform:uppercase}",
    "details summary{cursor:pointer}@media print{:root{--ink:#000;--soft:#444;--paper:#fff;--line:#bbb;--card:#fff;"
    "--train:#1f77b4;--test:#b84a00;--dev:#23783f}",
    "body{font-size:10.5pt}main{max-width:none;padding:0}nav{display:none}h2{break-after:avoid}"
    "section>*,figure,tr{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}",
};

/* ---- charts over the epochs ---- */

struct curve {
    const char *name, *colour, *dash;
    size_t offset; /* of a double in plumb_epoch */
};

static plumb_status add_chart(struct page *page, const char *title, bool percent, const struct curve *curves, int n)
{
    int count = page->r->epochs;
    double *column = plumb_alloc(page->context, (size_t)count * (size_t)(n + 1) * sizeof(double));
    struct plumb_series series[3] = {0};
    if (!column) {
        return PLUMB_FAILED;
    }
    bool any = false;
    for (int k = 0; k < n; k++) {
        double *y = column + (size_t)count * (size_t)(k + 1);
        bool known = false;
        for (int i = 0; i < count; i++) {
            column[i] = page->r->history[i].epoch;
            memcpy(&y[i], (const char *)&page->r->history[i] + curves[k].offset, sizeof(double));
            known = known || isfinite(y[i]);
        }
        /* A curve without a point would still stand in the legend. */
        series[k] = (struct plumb_series){known ? curves[k].name : NULL, curves[k].colour, column, y, count,
                                          curves[k].dash};
        any = any || known;
    }
    if (any) {
        plumb_svg_begin_inline(&page->html, 480, 320, title);
        plumb_svg_chart(&page->html, &(struct plumb_chart){title, "epoch", 6, 4, 468, 312, percent, series, n});
        plumb_svg_end(&page->html);
    }
    plumb_free(page->context, column);
    return PLUMB_OK;
}

#define CURVE(name, colour, dash, field) {name, colour, dash, offsetof(plumb_epoch, field)}

static plumb_status write_curves(struct page *page)
{
    static const struct curve loss[3] = {CURVE("train", TRAIN_COLOUR, NULL, train_loss),
                                         CURVE("dev", DEV_COLOUR, "2 3", dev_loss),
                                         CURVE("test", TEST_COLOUR, "7 3", test_loss)};
    static const struct curve right[3] = {CURVE("train", TRAIN_COLOUR, NULL, train_accuracy),
                                          CURVE("dev", DEV_COLOUR, "2 3", dev_accuracy),
                                          CURVE("test", TEST_COLOUR, "7 3", test_accuracy)};
    static const struct curve rate[1] = {CURVE(NULL, TRAIN_COLOUR, NULL, lr)};
    plumb_text_add(&page->html, "<div class=\"charts\">\n");
    plumb_status status = add_chart(page, "Loss", false, loss, 3);
    status = status ? status : add_chart(page, "Accuracy", true, right, 3);
    status = status ? status : add_chart(page, "Learning rate", false, rate, 1);
    plumb_text_add(&page->html, "</div>\n<p class=\"soft\">Figures of training are means over the epoch, while the "
                                "weights were changing.</p>\n");
    return status;
}

static plumb_status write_times(struct page *page)
{
    static const struct curve speed[1] = {CURVE(NULL, TRAIN_COLOUR, NULL, images_per_s)};
    static const struct curve wait[1] = {CURVE(NULL, TRAIN_COLOUR, NULL, data_wait)};
    double train = 0, test = 0, waited = 0;
    int64_t steps = 0, skipped = 0;
    for (int i = 0; i < page->r->epochs; i++) {
        const plumb_epoch *e = &page->r->history[i];
        train += e->seconds;
        test += e->test_seconds;
        waited += e->seconds * e->data_wait;
        steps += e->steps;
        skipped += e->skipped;
    }
    plumb_text_add(&page->html,
                   "<p>%s s of training in %lld steps (%s ms each), of which %s %% waiting for data; %s s of tests.",
                   NUMBER(train, 1), (long long)steps, NUMBER(steps ? 1e3 * train / (double)steps : 0, 2),
                   NUMBER(train > 0 ? 100 * waited / train : 0, 1), NUMBER(test, 1));
    if (skipped) {
        plumb_text_add(&page->html, " %lld steps were skipped, because their gradients overflowed the loss scale.",
                       (long long)skipped);
    }
    plumb_text_add(&page->html, "</p>\n<div class=\"charts\">\n");
    plumb_status status = add_chart(page, "Images a second", false, speed, 1);
    status = status ? status : add_chart(page, "Share of time waiting for data", true, wait, 1);
    plumb_text_add(&page->html, "</div>\n");
    return status;
}

static plumb_status write_history(struct page *page)
{
    static const char *const heads[] = {"epoch",        "rate",      "train loss",    "train accuracy", "dev loss",
                                        "dev accuracy", "test loss", "test accuracy", "seconds",        "images/s"};
    plumb_text_add(&page->html, "<details open><summary>%d epochs</summary><div class=\"wide\"><table><thead><tr>",
                   page->r->epochs);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        plumb_text_add(&page->html, "<th scope=\"col\">%s</th>", heads[i]);
    }
    plumb_text_add(&page->html, "</tr></thead><tbody>\n");
    for (int i = 0; i < page->r->epochs; i++) {
        const plumb_epoch *e = &page->r->history[i];
        const double value[] = {e->train_loss,   e->train_accuracy, e->dev_loss,
                                e->dev_accuracy, e->test_loss,      e->test_accuracy};
        char rate[PLUMB_NUMBER_ROOM];
        plumb_text_add(&page->html, "<tr><th scope=\"row\">%d</th><td>%s</td>", e->epoch, plumb_general(rate, e->lr, 4));
        for (int k = 0; k < 6; k++) {
            plumb_text_add(&page->html, "<td>%s</td>", isnan(value[k]) ? "" : NUMBER(value[k], 4));
        }
        plumb_text_add(&page->html, "<td>%s</td><td>%s</td></tr>\n", NUMBER(e->seconds, 1), NUMBER(e->images_per_s, 0));
    }
    plumb_text_add(&page->html, "</tbody></table></div></details>\n");
    return PLUMB_OK;
}

static plumb_status write_settings(struct page *page)
{
    const char *const *pair = page->r->settings;
    plumb_text_add(&page->html, "<div class=\"wide\"><table><tbody>\n");
    for (; pair[0] && pair[1]; pair += 2) {
        if (!*pair[1]) {
            continue;
        }
        plumb_text_add(&page->html, "<tr><th scope=\"row\">");
        plumb_xml_add(&page->html, pair[0]);
        plumb_text_add(&page->html, "</th><td class=\"text\">");
        plumb_xml_add(&page->html, pair[1]);
        plumb_text_add(&page->html, "</td></tr>\n");
    }
    plumb_text_add(&page->html, "</tbody></table></div>\n");
    return PLUMB_OK;
}

/* ---- the page ---- */

static bool has_history(const plumb_report *r) { return r->history && r->epochs > 0; }
static bool has_settings(const plumb_report *r) { return r->settings && r->settings[0]; }
static bool has_confusion(const plumb_report *r) { return r->data && r->evaluation && r->evaluation->confusion; }
static bool has_mistakes(const plumb_report *r)
{
    return r->data && r->evaluation && r->evaluation->predicted && r->evaluation->probabilities &&
           plumb_dataset_shape(r->data).rank == 3;
}
static bool has_diagnosis(const plumb_report *r) { return r->diagnosis; }
static bool has_samples(const plumb_report *r) { return r->train && plumb_dataset_shape(r->train).rank == 3; }
static bool has_model(const plumb_report *r) { return r->model; }
static bool has_state(const plumb_report *r) { return r->model && r->state; }

static const struct section {
    const char *id, *title;
    bool (*has)(const plumb_report *report);
    plumb_status (*write)(struct page *page);
} sections[] = {
    {"curves", "Curves", has_history, write_curves},
    {"diagnosis", "What to do next", has_diagnosis, plumb_report_diagnosis},
    {"confusion", "Confusion matrix", has_confusion, plumb_report_confusion},
    {"classes", "Classes", has_confusion, plumb_report_classes},
    {"mistakes", "Worst mistakes", has_mistakes, plumb_report_mistakes},
    {"samples", "Examples", has_samples, plumb_report_samples},
    {"filters", "First convolution", plumb_report_has_filters, plumb_report_filters},
    {"layers", "Layers", has_model, plumb_report_layers},
    {"memory", "Memory", has_state, plumb_report_memory},
    {"times", "Times", has_history, write_times},
    {"settings", "Settings", has_settings, write_settings},
    {"history", "History", has_history, write_history},
};
#define SECTIONS ((int)(sizeof(sections) / sizeof(sections[0])))

static void add_figure(struct page *page, const char *name, const char *value, const char *unit)
{
    plumb_text_add(&page->html, "<div><dt>%s</dt><dd>%s%s</dd></div>\n", name, value, unit);
}

static void write_figures(struct page *page)
{
    const plumb_report *r = page->r;
    plumb_text_add(&page->html, "<dl class=\"figures\">\n");
    if (r->evaluation) {
        char name[96];
        snprintf(name, sizeof(name), "%.40s accuracy", page->part);
        add_figure(page, name, NUMBER(100 * r->evaluation->accuracy, 2), " %");
        snprintf(name, sizeof(name), "%.40s loss", page->part);
        add_figure(page, name, NUMBER(r->evaluation->loss, 4), "");
        if (page->each) {
            add_figure(page, "F1, mean of classes", NUMBER(page->metrics.macro.f1, 4), "");
        }
        double top = r->data && plumb_dataset_classes(r->data) > 5 ? plumb_top_accuracy(r->data, r->evaluation, 5) : NAN;
        if (isfinite(top)) {
            add_figure(page, "among the first 5", NUMBER(100 * top, 2), " %");
        }
    }
    if (has_history(r)) {
        double seconds = 0;
        for (int i = 0; i < r->epochs; i++) {
            seconds += r->history[i].seconds + r->history[i].test_seconds;
        }
        add_figure(page, "epochs", NUMBER(r->epochs, 0), "");
        add_figure(page, "time", NUMBER(seconds < 600 ? seconds : seconds / 60, 1), seconds < 600 ? " s" : " min");
    }
    plumb_text_add(&page->html, "</dl>\n");
}

static void write_head(struct page *page, const char *title)
{
    plumb_text_add(&page->html, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                                "<meta name=\"color-scheme\" content=\"light dark\">\n"
                                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                                "style-src 'unsafe-inline'; img-src data:\">\n<title>");
    plumb_xml_add(&page->html, title);
    plumb_text_add(&page->html, "</title>\n<style>\n");
    for (size_t i = 0; i < sizeof(style) / sizeof(style[0]); i++) {
        plumb_text_add(&page->html, "%s\n", style[i]);
    }
    plumb_text_add(&page->html, "</style>\n</head>\n<body>\n<main>\n<h1>");
    plumb_xml_add(&page->html, title);
    plumb_text_add(&page->html, "</h1>\n");
}

static plumb_status write_page(struct page *page)
{
    plumb_status status = PLUMB_OK;
    write_head(page, page->r->title ? page->r->title : "Report");
    write_figures(page);
    plumb_text_add(&page->html, "<nav aria-label=\"Contents\">");
    for (int i = 0; i < SECTIONS; i++) {
        if (sections[i].has(page->r)) {
            plumb_text_add(&page->html, "<a href=\"#%s\">%s</a>\n", sections[i].id, sections[i].title);
        }
    }
    plumb_text_add(&page->html, "</nav>\n");
    for (int i = 0; !status && i < SECTIONS; i++) {
        if (sections[i].has(page->r)) {
            plumb_text_add(&page->html, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n", sections[i].id,
                           sections[i].id, sections[i].title);
            status = sections[i].write(page);
            plumb_text_add(&page->html, "</section>\n");
        }
    }
    plumb_text_add(&page->html, "<p class=\"soft\">plumb %s</p>\n</main>\n</body>\n</html>\n", plumb_version());
    return status;
}

static plumb_status count_metrics(struct page *page)
{
    int classes = plumb_dataset_classes(page->r->data);
    page->each = plumb_alloc(page->context, (size_t)classes * sizeof(*page->each));
    return page->each ? plumb_metrics_of(page->context, page->r->evaluation->confusion, classes, NULL, &page->metrics,
                                         page->each)
                      : PLUMB_FAILED;
}

plumb_status plumb_write_report_html(plumb_context *context, const char *path, const plumb_report *report)
{
    plumb_report own = {0}; /* the caller's struct may be of another size than ours */
    memcpy(&own, report, report->size && report->size < sizeof(own) ? report->size : sizeof(own));
    struct page page = {
        .context = context, .r = &own, .part = own.part ? own.part : "test", .html = {.context = context}};
    plumb_status status = PLUMB_OK;
    if (own.evaluation && own.data && own.evaluation->count > plumb_dataset_count(own.data)) {
        status = plumb_fail(context, PLUMB_BAD_INPUT, "%s: the evaluation is of %lld examples, the data set has %lld",
                            path, (long long)own.evaluation->count, (long long)plumb_dataset_count(own.data));
    }
    status = !status && has_confusion(&own) ? count_metrics(&page) : status;
    status = status ? status : write_page(&page);
    if (status) {
        plumb_free(context, page.html.data);
    } else {
        status = plumb_write_text(context, path, &page.html);
    }
    plumb_free(context, page.each);
    return status;
}
