/* The report's tables: confusion matrix, classes, layers, memory, and the diagnosis with its advice. The matrix is a
 * table and no picture, so that it can be read aloud, searched and copied. */
#include <math.h>
#include <stdio.h>

#include "io/svg.h"
#include "train/report.h"

#define MATRIX_MOST 40   /* classes; beyond that only the pairs that are confused most are listed */
#define PAIRS 10
#define ROWS_MOST 1024

static void add_bytes(struct plumb_text *html, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    plumb_text_add(html, "%s %s", NUMBER(value, unit ? 1 : 0), units[unit]);
}

/* "61,706" */
static void add_count(struct plumb_text *html, int64_t count)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long)count);
    for (int i = 0; i < n; i++) {
        bool gap = i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-';
        plumb_text_add(html, "%s%c", gap ? "," : "", digits[i]);
    }
}

/* ---- confusion ---- */

static void matrix_row(struct page *page, int row, int classes)
{
    const int64_t *counts = page->r->evaluation->confusion + (int64_t)row * classes;
    int64_t examples = page->each[row].examples;
    plumb_text_add(&page->html, "<tr><th scope=\"row\">");
    plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, row));
    plumb_text_add(&page->html, "</th>");
    for (int c = 0; c < classes; c++) {
        double part = examples ? (double)counts[c] / (double)examples : 0;
        double depth = sqrt(part); /* so that few mistakes show */
        if (counts[c] == 0) {
            plumb_text_add(&page->html, "<td class=\"none\">0</td>");
            continue;
        }
        /* What is right is blue, what is wrong orange, over the page's own colour. */
        plumb_text_add(&page->html, "<td%s style=\"background:rgba(%s,%s)\">%lld</td>", depth > 0.6 ? " class=\"high\"" : "",
                       c == row ? "22,92,150" : "178,74,0", NUMBER(0.08 + 0.92 * depth, 2), (long long)counts[c]);
    }
    plumb_text_add(&page->html, "<td>%s %%</td></tr>\n", NUMBER(100 * page->each[row].rates.recall, 1));
}

static void write_matrix(struct page *page, int classes)
{
    plumb_text_add(&page->html, "<div class=\"wide\"><table class=\"matrix\"><caption>Rows: true class. Columns: predicted. "
                                "Last: share of the row that is right.</caption>\n<thead><tr><th></th>");
    for (int c = 0; c < classes; c++) {
        plumb_text_add(&page->html, "<th scope=\"col\">");
        plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, c));
        plumb_text_add(&page->html, "</th>");
    }
    plumb_text_add(&page->html, "<th scope=\"col\">right</th></tr></thead><tbody>\n");
    for (int row = 0; row < classes; row++) {
        matrix_row(page, row, classes);
    }
    plumb_text_add(&page->html, "</tbody></table></div>\n");
}

static void write_pairs(struct page *page, int classes)
{
    const int64_t *counts = page->r->evaluation->confusion;
    int64_t worst[PAIRS];
    int n = 0;
    for (int64_t i = 0; i < (int64_t)classes * classes; i++) {
        if (i / classes == i % classes || counts[i] == 0) {
            continue;
        }
        int at = n < PAIRS ? n++ : PAIRS;
        while (at > 0 && counts[i] > counts[worst[at - 1]]) {
            if (at < PAIRS) {
                worst[at] = worst[at - 1];
            }
            at--;
        }
        if (at < PAIRS) {
            worst[at] = i;
        }
    }
    plumb_text_add(&page->html, n ? "<h3>Confused most often</h3>\n<ul>\n" : "<p>Nothing was confused.</p>\n");
    for (int i = 0; i < n; i++) {
        int is = (int)(worst[i] / classes), said = (int)(worst[i] % classes);
        plumb_text_add(&page->html, "<li>%lld of %lld ", (long long)counts[worst[i]], (long long)page->each[is].examples);
        plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, is));
        plumb_text_add(&page->html, " taken for ");
        plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, said));
        plumb_text_add(&page->html, "</li>\n");
    }
    plumb_text_add(&page->html, n ? "</ul>\n" : "");
}

plumb_status plumb_report_confusion(struct page *page)
{
    int classes = plumb_dataset_classes(page->r->data);
    if (classes <= MATRIX_MOST) {
        write_matrix(page, classes);
    }
    write_pairs(page, classes);
    return PLUMB_OK;
}

static void add_rates(struct plumb_text *html, const plumb_rates *r)
{
    plumb_text_add(html, "<td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", NUMBER(r->precision, 4),
                   NUMBER(r->recall, 4), NUMBER(r->specificity, 4), NUMBER(r->f1, 4));
}

plumb_status plumb_report_classes(struct page *page)
{
    const struct {
        const char *name;
        const plumb_rates *rates;
    } means[] = {{"mean of classes", &page->metrics.macro},
                 {"mean by examples", &page->metrics.weighted},
                 {"all decisions together", &page->metrics.micro}};
    plumb_text_add(&page->html, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">class</th><th scope=\"col\">examples"
                                "</th><th scope=\"col\">right</th><th scope=\"col\">precision</th><th scope=\"col\">recall"
                                "</th><th scope=\"col\">specificity</th><th scope=\"col\">F1</th></tr></thead><tbody>\n");
    for (int c = 0; c < plumb_dataset_classes(page->r->data); c++) {
        plumb_text_add(&page->html, "<tr><th scope=\"row\">");
        plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, c));
        plumb_text_add(&page->html, "</th><td>%lld</td><td>%lld</td>", (long long)page->each[c].examples,
                       (long long)page->each[c].right);
        add_rates(&page->html, &page->each[c].rates);
    }
    plumb_text_add(&page->html, "</tbody><tfoot>\n");
    for (size_t i = 0; i < sizeof(means) / sizeof(means[0]); i++) {
        plumb_text_add(&page->html, "<tr><th scope=\"row\">%s</th><td></td><td></td>", means[i].name);
        add_rates(&page->html, means[i].rates);
    }
    plumb_text_add(&page->html, "</tfoot></table></div>\n");
    return PLUMB_OK;
}

/* ---- layers and memory ---- */

static void layer_row(struct plumb_text *html, const plumb_summary_row *row, int64_t sum[2])
{
    char shape[160];
    plumb_text_add(html, "<tr><th scope=\"row\">");
    plumb_xml_add(html, row->name);
    plumb_text_add(html, "</th><td class=\"text\">%s</td><td class=\"text\">%s</td><td>", row->op,
                   plumb_shape_text(&row->shape, shape, sizeof(shape)));
    add_count(html, row->activation);
    plumb_text_add(html, "</td><td>");
    add_count(html, row->parameters);
    plumb_text_add(html, "</td><td>");
    add_count(html, row->multiply_adds);
    plumb_text_add(html, "</td></tr>\n");
    sum[0] += row->parameters;
    sum[1] += row->multiply_adds;
}

plumb_status plumb_report_layers(struct page *page)
{
    const plumb_model *m = page->r->model;
    plumb_summary_row *rows = plumb_alloc(page->context, ROWS_MOST * sizeof(*rows));
    int count = rows ? plumb_summary(m->graph, m->input, m->logits, rows, ROWS_MOST) : -1;
    int64_t sum[2] = {0};
    if (count < 0) {
        plumb_free(page->context, rows);
        return plumb_last_status(page->context);
    }
    plumb_text_add(&page->html, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">layer</th><th scope=\"col\" "
                                "class=\"text\">op</th><th scope=\"col\" class=\"text\">output</th><th scope=\"col\">"
                                "activation</th><th scope=\"col\">parameters</th><th scope=\"col\">multiply-adds</th></tr>"
                                "</thead><tbody>\n");
    for (int i = 0; i < count && i < ROWS_MOST; i++) {
        layer_row(&page->html, &rows[i], sum);
    }
    plumb_text_add(&page->html, "</tbody><tfoot><tr><th scope=\"row\">together</th><td></td><td></td><td></td><td>");
    add_count(&page->html, sum[0]);
    plumb_text_add(&page->html, "</td><td>");
    add_count(&page->html, sum[1]);
    plumb_text_add(&page->html, "</td></tr></tfoot></table></div>\n");
    plumb_free(page->context, rows);
    return PLUMB_OK;
}

static plumb_status plan(const struct page *page, int64_t batch, plumb_memory_plan *memory)
{
    const plumb_report *r = page->r;
    const plumb_t outputs[2] = {r->model->loss, r->model->logits};
    plumb_program *program =
        r->optimizer ? plumb_compile_training(r->model->graph, r->state, r->model->loss, r->optimizer,
                                              &r->model->logits, 1)
                     : plumb_compile(r->model->graph, r->state,
                                     &(plumb_compile_options){
                                         .size = sizeof(plumb_compile_options), .outputs = outputs, .n_outputs = 2});
    plumb_status status = program ? plumb_bind(program, PLUMB_BATCH, batch) : plumb_last_status(page->context);
    status = status ? status : plumb_program_memory(program, memory);
    plumb_program_free(program);
    return status;
}

plumb_status plumb_report_memory(struct page *page)
{
    static const char *const colours[] = {"#1f77b4", "#b84a00", "#4c8c2b", "#8c5bb5", "#a0801a", "#7a7a7a"};
    int64_t batch = page->r->batch ? page->r->batch : 64;
    plumb_memory_plan m;
    plumb_status status = plan(page, batch, &m);
    if (status) {
        return status;
    }
    const struct {
        const char *name;
        int64_t bytes;
    } parts[] = {{"weights", m.weights},         {"gradients", m.gradients}, {"moments", m.moments},
                 {"activations", m.activations}, {"workspace", m.workspace}, {"inputs and outputs", m.inputs_outputs}};
    plumb_text_add(&page->html, "<p>A %s step of %lld examples is planned at ",
                   page->r->optimizer ? "training" : "prediction", (long long)batch);
    add_bytes(&page->html, m.total);
    plumb_text_add(&page->html, ".</p>\n<div class=\"bar\" aria-hidden=\"true\">");
    for (int i = 0; i < 6; i++) {
        plumb_text_add(&page->html, "<span style=\"flex:%s 0 0;background:%s\"></span>",
                       NUMBER((double)parts[i].bytes / (m.total > 0 ? (double)m.total : 1), 4), colours[i]);
    }
    plumb_text_add(&page->html, "</div>\n<div class=\"wide\"><table><tbody>\n");
    for (int i = 0; i < 6; i++) {
        plumb_text_add(&page->html, "<tr><th scope=\"row\"><span style=\"color:%s\" aria-hidden=\"true\">&#9632;</span> %s"
                                    "</th><td>", colours[i], parts[i].name);
        add_bytes(&page->html, parts[i].bytes);
        plumb_text_add(&page->html, "</td></tr>\n");
    }
    plumb_text_add(&page->html, "</tbody></table></div>\n");
    return PLUMB_OK;
}

/* ---- diagnosis ---- */

static void add_error_row(struct plumb_text *html, const char *name, double error, const char *gap_name, double gap)
{
    if (!isnan(error)) {
        plumb_text_add(html, "<tr><th scope=\"row\">%s</th><td>%s %%</td><td class=\"text\">", name, NUMBER(100 * error, 2));
        if (gap_name && !isnan(gap)) {
            plumb_text_add(html, "%s %s points", gap_name, NUMBER(100 * gap, 2));
        }
        plumb_text_add(html, "</td></tr>\n");
    }
}

plumb_status plumb_report_diagnosis(struct page *page)
{
    const plumb_diagnosis *d = page->r->diagnosis;
    const plumb_errors *e = &d->errors;
    struct plumb_text *html = &page->html;
    plumb_text_add(html, "<div class=\"wide\"><table><thead><tr><th scope=\"col\">error of</th><th scope=\"col\">share</th><th scope=\"col\" "
                         "class=\"text\">gap</th></tr></thead><tbody>\n");
    add_error_row(html, "people, or perfection", e->human, NULL, NAN);
    add_error_row(html, "training", e->train, "avoidable bias", d->avoidable_bias);
    add_error_row(html, "train-dev", e->train_dev, "variance", d->variance);
    add_error_row(html, "dev", e->dev, isnan(e->train_dev) ? "variance" : "data mismatch",
                  isnan(e->train_dev) ? d->variance : d->mismatch);
    add_error_row(html, "test", e->test, "fit to the dev set", d->dev_fit);
    plumb_text_add(html, "</tbody></table></div>\n");
    if (!d->problems) {
        plumb_text_add(html, "<p class=\"advice\">%s</p>\n", plumb_problem_advice(PLUMB_PROBLEM_NONE));
    }
    /* The largest first: it is where most can be gained. */
    for (int round = 0; round < 2; round++) {
        for (unsigned p = 1; p <= PLUMB_PROBLEM_DEV_FIT; p *= 2) {
            if ((d->problems & p) && ((plumb_problem)p == d->largest) == (round == 0)) {
                plumb_text_add(html, "<p class=\"advice\"><b>%s.</b> %s</p>\n", plumb_problem_name((plumb_problem)p),
                               plumb_problem_advice((plumb_problem)p));
            }
        }
    }
    return PLUMB_OK;
}
