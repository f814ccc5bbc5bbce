/* The report's pictures, each a small PNG within the page: examples of the classes, the worst mistakes, the filters of
 * the first convolution and what they make of one example. Pictures larger than a thumbnail are averaged down, or pages
 * of photographs would take many megabytes. */
#include <math.h>
#include <stdio.h>

#include "graph/graph.h"
#include "io/png.h"
#include "io/svg.h"
#include "train/report.h"

#define THUMB 128      /* pixels, at most */
#define PER_CLASS 12
#define CLASSES_MOST 40
#define MISTAKES 24
#define FILTERS 64

static void add_base64(struct plumb_text *html, const uint8_t *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[129];
    int n = 0;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        line[n++] = digits[v >> 18 & 63];
        line[n++] = digits[v >> 12 & 63];
        line[n++] = left > 1 ? digits[v >> 6 & 63] : '=';
        line[n++] = left > 2 ? digits[v & 63] : '=';
        if (n == 128 || left <= 3) {
            line[n] = 0;
            plumb_text_add(html, "%s", line);
            n = 0;
        }
    }
}

/* An image of (planes, height, width) floats, `low` black and `high` white; of planes other than 3 the first is shown. */
static plumb_status add_image(struct page *page, const float *x, const plumb_shape *shape, double low, double high,
                              const char *alt)
{
    int planes = shape->dim[0] == 3 ? 3 : 1;
    int64_t height = shape->dim[1], width = shape->dim[2], side = height > width ? height : width;
    int64_t shrink = (side + THUMB - 1) / THUMB, h = (height + shrink - 1) / shrink, w = (width + shrink - 1) / shrink;
    double factor = high > low ? 255 / (high - low) : 0;
    uint8_t *pixels = plumb_alloc(page->context, (size_t)(h * w * planes)), *png = NULL;
    size_t bytes = 0;
    if (!pixels) {
        return PLUMB_FAILED;
    }
    for (int64_t i = 0; i < h * w * planes; i++) {
        int64_t top = i / planes / w * shrink, left = i / planes % w * shrink;
        double sum = 0, n = 0;
        for (int64_t y = top; y < top + shrink && y < height; y++) {
            for (int64_t c = left; c < left + shrink && c < width; c++, n++) {
                sum += (double)x[(i % planes * height + y) * width + c];
            }
        }
        double v = (sum / n - low) * factor;
        pixels[i] = (uint8_t)(v > 0 ? v < 255 ? lrint(v) : 255 : 0); /* NaN is black */
    }
    plumb_status status = plumb_png_pack(page->context, "report", (int)w, (int)h, planes, pixels, &png, &bytes);
    plumb_free(page->context, pixels);
    if (!status) {
        plumb_text_add(&page->html, "<img width=\"%lld\" height=\"%lld\" alt=\"", (long long)w, (long long)h);
        plumb_xml_add(&page->html, alt);
        plumb_text_add(&page->html, "\" src=\"data:image/png;base64,");
        add_base64(&page->html, png, bytes);
        plumb_text_add(&page->html, "\">");
        plumb_free(page->context, png);
    }
    return status;
}

static void limits(const float *x, int64_t count, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        *low = fmin(*low, (double)x[i]);
        *high = fmax(*high, (double)x[i]);
    }
}

/* An example of a data set: bytes as they are, others from their own least to their greatest value. */
static plumb_status add_example(struct page *page, const plumb_dataset *d, int64_t index, const char *alt)
{
    plumb_shape shape = plumb_dataset_shape(d);
    size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(float);
    float *x = plumb_alloc(page->context, bytes);
    plumb_status status = x ? plumb_dataset_picture(d, index, x, bytes) : PLUMB_FAILED;
    double low = 0, high = 255;
    if (!status && plumb_dataset_dtype(d) != PLUMB_U8) {
        limits(x, plumb_shape_count(&shape), &low, &high);
    }
    status = status ? status : add_image(page, x, &shape, low, high, alt);
    plumb_free(page->context, x);
    return status;
}

plumb_status plumb_report_samples(struct page *page)
{
    const plumb_dataset *d = page->r->train;
    int classes = plumb_dataset_classes(d);
    plumb_status status = PLUMB_OK;
    plumb_text_add(&page->html, "<p class=\"soft\">The first training examples of %s, as they are stored.</p>\n"
                                "<div class=\"wide\"><table class=\"strip\"><tbody>\n",
                   classes > CLASSES_MOST ? "the first classes" : "each class");
    for (int c = 0; !status && c < classes && c < CLASSES_MOST; c++) {
        plumb_text_add(&page->html, "<tr><th scope=\"row\">");
        plumb_xml_add(&page->html, plumb_dataset_class_name(d, c));
        plumb_text_add(&page->html, "</th><td><div class=\"sheet\" style=\"flex-wrap:nowrap\">");
        int shown = 0;
        for (int64_t i = 0; !status && i < plumb_dataset_count(d) && shown < PER_CLASS; i++) {
            if (plumb_dataset_label(d, i) == c) {
                status = add_example(page, d, i, "");
                shown++;
            }
        }
        plumb_text_add(&page->html, "%s</div></td></tr>\n", shown ? "" : "<span class=\"soft\">none</span>");
    }
    plumb_text_add(&page->html, "</tbody></table></div>\n");
    return status;
}

static void add_verdict(struct page *page, const char *word, int class, double p)
{
    plumb_text_add(&page->html, "%s <b>", word);
    plumb_xml_add(&page->html, plumb_dataset_class_name(page->r->data, class));
    plumb_text_add(&page->html, "</b> (%s&#160;%%)", NUMBER(100 * p, 1));
}

plumb_status plumb_report_mistakes(struct page *page)
{
    const plumb_dataset *d = page->r->data;
    const plumb_evaluation *e = page->r->evaluation;
    int classes = plumb_dataset_classes(d);
    int64_t worst[MISTAKES], mistakes;
    plumb_status status = PLUMB_OK;
    int n = plumb_worst_mistakes(d, e, worst, MISTAKES, &mistakes);
    plumb_text_add(&page->html, "<p class=\"soft\">%lld of %lld examples are wrong; these are the %d wrong ones it was surest "
                                "of. The number is the example's index in the %.40s set.</p>\n<div class=\"mistakes\">\n",
                   (long long)mistakes, (long long)e->count, n, page->part);
    for (int i = 0; !status && i < n; i++) {
        char alt[64];
        const float *p = e->probabilities + worst[i] * classes;
        int label = plumb_dataset_label(d, worst[i]), said = e->predicted[worst[i]];
        snprintf(alt, sizeof(alt), "example %lld", (long long)worst[i]);
        plumb_text_add(&page->html, "<figure>");
        status = add_example(page, d, worst[i], alt);
        plumb_text_add(&page->html, "<figcaption>%lld: ", (long long)worst[i]);
        add_verdict(page, "is", label, (double)p[label]);
        add_verdict(page, "<br>said", said, (double)p[said]);
        plumb_text_add(&page->html, "</figcaption></figure>\n");
    }
    plumb_text_add(&page->html, "</div>\n");
    return status;
}

/* ---- the first convolution ---- */

/* The first conv2d whose filter is a variable: -1 if there is none. */
static int first_convolution(const struct graph *g)
{
    for (int n = 0; g && n < g->n_nodes; n++) {
        const struct plumb_node *node = &g->node[n];
        if (strcmp(node->op->name, "conv2d") == 0 && node->n_in > 1) {
            const struct plumb_node *filter = &g->node[g->tensor[node->in[1]].node];
            return strcmp(filter->op->name, "variable") == 0 ? n : -1;
        }
    }
    return -1;
}

bool plumb_report_has_filters(const plumb_report *r)
{
    return r->model && r->state && first_convolution(plumb_graph_get(r->model->graph)) >= 0;
}

/* What comes of the convolution by bias, norm and activation: nodes that follow it and keep its shape. */
static uint32_t activated(const struct graph *g, int convolution)
{
    uint32_t t = g->node[convolution].out;
    for (int n = convolution + 1, hops = 0; n < g->n_nodes && hops < 3; n++) {
        const struct plumb_node *node = &g->node[n];
        if (node->n_in > 0 && node->in[0] == t && node->phase == PLUMB_PHASE_FORWARD) {
            if (!plumb_shape_equal(&g->tensor[node->out].type.shape, &g->tensor[t].type.shape) ||
                strcmp(node->op->name, "conv2d") == 0) {
                break;
            }
            t = node->out;
            hops++;
        }
    }
    return t;
}

/* A sheet of (count, planes, height, width), all on one scale or each on its own. */
static plumb_status add_sheet(struct page *page, const float *x, int64_t count, const plumb_shape *one, bool own,
                              const char *label)
{
    plumb_shape shape = *one;
    int64_t item = plumb_shape_count(&shape);
    double low, high;
    plumb_status status = PLUMB_OK;
    limits(x, count * item, &low, &high);
    plumb_text_add(&page->html, "<div class=\"sheet\" role=\"img\" aria-label=\"%s\">\n", label);
    for (int64_t i = 0; !status && i < count && i < FILTERS; i++) {
        if (own) {
            limits(x + i * item, item, &low, &high);
        }
        status = add_image(page, x + i * item, &shape, low, high, "");
    }
    plumb_text_add(&page->html, "</div>\n");
    return status;
}

static plumb_status write_filters(struct page *page, const char *name)
{
    plumb_shape shape = plumb_state_shape(page->r->state, name);
    plumb_dtype dtype = plumb_state_dtype(page->r->state, name);
    int64_t count = plumb_shape_count(&shape);
    if (shape.rank != 4 || count < 1 || dtype != PLUMB_F32) {
        return PLUMB_OK;
    }
    float *x = plumb_alloc(page->context, (size_t)count * sizeof(float));
    plumb_status status = x ? plumb_state_get(page->r->state, name, x, (size_t)count * sizeof(float)) : PLUMB_FAILED;
    if (!status) {
        const plumb_shape one = PLUMB_SHAPE(shape.dim[1], shape.dim[2], shape.dim[3]);
        plumb_text_add(&page->html, "<h3>Filters</h3>\n<p class=\"soft\">");
        plumb_xml_add(&page->html, name);
        plumb_text_add(&page->html, ": %lld of %lld x %lld%s, dark to bright from the least to the greatest weight.</p>\n",
                       (long long)shape.dim[0], (long long)shape.dim[2], (long long)shape.dim[3],
                       shape.dim[1] == 1 || shape.dim[1] == 3 ? "" : ", their first channel");
        status = add_sheet(page, x, shape.dim[0], &one, false, "filters of the first convolution");
    }
    plumb_free(page->context, x);
    return status;
}

/* Runs the model on one example of the data. */
static plumb_status compute_maps(struct page *page, plumb_t t, const plumb_dataset *d, float **maps, plumb_shape *shape)
{
    const plumb_model *m = page->r->model;
    plumb_shape in = plumb_dataset_shape(d);
    size_t bytes = (size_t)plumb_shape_count(&in) * sizeof(float);
    plumb_program *program = plumb_compile(
        m->graph, page->r->state,
        &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &t, .n_outputs = 1});
    float *x = program ? plumb_alloc(page->context, bytes) : NULL;
    plumb_status status = x ? plumb_dataset_picture(d, 0, x, bytes) : plumb_last_status(page->context);
    status = status ? status : plumb_bind(program, PLUMB_BATCH, 1);
    status = status ? status : plumb_feed(program, m->input, x, bytes);
    status = status ? status : plumb_run(program);
    if (!status) {
        *shape = plumb_output_shape(program, t);
        int64_t count = plumb_shape_count(shape);
        *maps = plumb_alloc(page->context, (size_t)(count > 0 ? count : 1) * sizeof(float));
        status = *maps ? plumb_fetch(program, t, *maps, (size_t)count * sizeof(float)) : PLUMB_FAILED;
    }
    plumb_program_free(program);
    plumb_free(page->context, x);
    return status;
}

static plumb_status write_maps(struct page *page, const struct graph *g, int convolution)
{
    const plumb_dataset *d = page->r->data ? page->r->data : page->r->train;
    plumb_shape in = plumb_dataset_shape(d), shape = {0};
    float *maps = NULL;
    if (!d || !plumb_shape_equal(&in, &page->r->model->input_shape)) {
        return PLUMB_OK;
    }
    plumb_status status = compute_maps(page, plumb_id(g, activated(g, convolution)), d, &maps, &shape);
    if (!status && shape.rank == 4) {
        const plumb_shape one = PLUMB_SHAPE(1, shape.dim[2], shape.dim[3]);
        plumb_text_add(&page->html, "<h3>Feature maps</h3>\n<p class=\"soft\">What they make of the first example of the "
                                    "%s set, each on a scale of its own:</p>\n<div class=\"sheet\">",
                       page->r->data ? page->part : "training");
        status = add_example(page, d, 0, "the example itself");
        plumb_text_add(&page->html, "</div><br>\n");
        status = status ? status : add_sheet(page, maps, shape.dim[1], &one, true, "feature maps of the first convolution");
    }
    plumb_free(page->context, maps);
    return status;
}

plumb_status plumb_report_filters(struct page *page)
{
    const struct graph *g = plumb_graph_get(page->r->model->graph);
    int convolution = first_convolution(g);
    const struct plumb_node *filter = &g->node[g->tensor[g->node[convolution].in[1]].node];
    plumb_status status = write_filters(page, filter->name);
    return status ? status : write_maps(page, g, convolution);
}
