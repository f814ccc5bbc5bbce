/* Several models and several views of each picture, judged together by the mean of their probabilities. Means and sums
 * go in the order of models and views, in double, so the result does not depend on threads or the size of batches (but
 * for what a batch's size changes in a model's own kernels). */
#include <math.h>

#include "plumb/metrics.h"
#include "train/train.h"

#define PADDING_MOST 64

struct ensemble {
    plumb_context *context;
    const plumb_ensemble *o;
    const plumb_dataset *dataset;
    plumb_shape shape; /* of the data set's pictures, padded */
    int64_t batch, item;
    int classes, views;
    plumb_program **programs;
    float *pictures; /* (batch, C, H, W) padded */
    float *view;     /* (batch, c, h, w) of the model with the largest */
    float *logits;   /* (batch, classes) */
    double *sums;    /* (batch, classes) of probabilities */
};

static plumb_status check(const plumb_ensemble *o, const plumb_dataset *dataset)
{
    plumb_context *context = o && o->count > 0 && o->models ? plumb_graph_context(o->models[0].graph) : NULL;
    if (!context) {
        return PLUMB_BAD_INPUT;
    }
    plumb_shape shape = plumb_dataset_shape(dataset);
    if (!o->states || plumb_dataset_count(dataset) < 1 || shape.rank != 3 || o->batch < 0) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "ensemble: needs a state for each model and a data set of pictures (C, H, W)");
    }
    if ((o->crops != 0 && o->crops != 1 && o->crops != 5) || o->padding < 0 || o->padding > PADDING_MOST) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "ensemble: crops %d (1 or 5) with a padding of %d pixels (0 to %d)", o->crops, o->padding,
                          PADDING_MOST);
    }
    for (int m = 0; m < o->count; m++) {
        const plumb_shape *in = &o->models[m].input_shape;
        if (!o->states[m] || plumb_graph_context(o->models[m].graph) != context) {
            return plumb_fail(context, PLUMB_BAD_INPUT, "ensemble: model %d has no state, or is of another context", m);
        }
        if (o->models[m].classes != plumb_dataset_classes(dataset) || in->rank != 3 || in->dim[0] != shape.dim[0] ||
            in->dim[1] > shape.dim[1] + 2 * o->padding || in->dim[2] > shape.dim[2] + 2 * o->padding) {
            char a[128], b[128];
            return plumb_fail(context, PLUMB_BAD_INPUT,
                              "ensemble: model %d takes %s and tells %d classes apart, the data set has %s and %d", m,
                              plumb_shape_text(in, a, sizeof(a)), o->models[m].classes,
                              plumb_shape_text(&shape, b, sizeof(b)), plumb_dataset_classes(dataset));
        }
    }
    return PLUMB_OK;
}

static plumb_status prepare(struct ensemble *e, plumb_dtype precision)
{
    const plumb_ensemble *o = e->o;
    int64_t count = plumb_dataset_count(e->dataset), largest = 1;
    e->shape = plumb_dataset_shape(e->dataset);
    e->shape.dim[1] += 2 * o->padding;
    e->shape.dim[2] += 2 * o->padding;
    e->item = plumb_shape_count(&e->shape);
    e->classes = o->models[0].classes;
    e->views = (o->crops == 5 ? 5 : 1) * (o->mirror ? 2 : 1);
    e->batch = o->batch ? o->batch : 250;
    e->batch = e->batch < count ? e->batch : count;
    e->programs = plumb_zalloc(e->context, (size_t)o->count * sizeof(plumb_program *));
    for (int m = 0; e->programs && m < o->count; m++) {
        int64_t item = plumb_shape_count(&o->models[m].input_shape);
        largest = item > largest ? item : largest;
        e->programs[m] = plumb_compile(o->models[m].graph, o->states[m],
                                       &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                .outputs = &o->models[m].logits,
                                                                .n_outputs = 1,
                                                                .precision = precision});
        if (!e->programs[m]) {
            return plumb_last_status(e->context);
        }
    }
    int64_t pictures, view;
    if (!plumb_mul_size(e->batch, e->item * (int64_t)sizeof(float), &pictures) ||
        !plumb_mul_size(e->batch, largest * (int64_t)sizeof(float), &view)) {
        return plumb_fail(e->context, PLUMB_BAD_INPUT, "ensemble: batches of %lld do not fit", (long long)e->batch);
    }
    e->pictures = plumb_zalloc(e->context, (size_t)pictures); /* zeros: the padding */
    e->view = plumb_alloc(e->context, (size_t)view);
    e->logits = plumb_alloc(e->context, (size_t)(e->batch * e->classes) * sizeof(float));
    e->sums = plumb_alloc(e->context, (size_t)(e->batch * e->classes) * sizeof(double));
    return e->programs && e->pictures && e->view && e->logits && e->sums ? PLUMB_OK : PLUMB_FAILED;
}

static void release(struct ensemble *e)
{
    for (int m = 0; e->programs && m < e->o->count; m++) {
        plumb_program_free(e->programs[m]);
    }
    plumb_free(e->context, e->programs);
    plumb_free(e->context, e->pictures);
    plumb_free(e->context, e->view);
    plumb_free(e->context, e->logits);
    plumb_free(e->context, e->sums);
}

/* Picture `index` into place n of the batch, row by row from the end, so that it can be read into its own place. */
static plumb_status load(struct ensemble *e, int64_t n, int64_t index)
{
    plumb_shape inner = plumb_dataset_shape(e->dataset);
    int64_t height = inner.dim[1], width = inner.dim[2], pad = e->o->padding;
    float *to = e->pictures + n * e->item;
    plumb_status status =
        plumb_dataset_picture(e->dataset, index, to, (size_t)plumb_shape_count(&inner) * sizeof(float));
    for (int64_t row = inner.dim[0] * height - 1; !status && pad && row >= 0; row--) {
        float *at = to + ((row / height * e->shape.dim[1]) + pad + row % height) * e->shape.dim[2] + pad;
        memmove(at, to + row * width, (size_t)width * sizeof(float));
    }
    /* What is not a row of the picture is padding again. */
    for (int64_t row = 0; !status && pad && row < inner.dim[0] * e->shape.dim[1]; row++) {
        float *at = to + row * e->shape.dim[2];
        int64_t y = row % e->shape.dim[1] - pad;
        if (y < 0 || y >= height) {
            memset(at, 0, (size_t)e->shape.dim[2] * sizeof(float));
        } else {
            memset(at, 0, (size_t)pad * sizeof(float));
            memset(at + pad + width, 0, (size_t)pad * sizeof(float));
        }
    }
    return status;
}

/* Cuts view `v` of `count` pictures out in the size of `in`: middle, then corners, each plain and then mirrored. */
static void cut(const struct ensemble *e, int v, const plumb_shape *in, int64_t count)
{
    int place = e->o->mirror ? v / 2 : v;
    bool mirrored = e->o->mirror && v % 2;
    int64_t free_y = e->shape.dim[1] - in->dim[1], free_x = e->shape.dim[2] - in->dim[2];
    int64_t top = place == 0 ? free_y / 2 : place > 2 ? free_y : 0;
    int64_t left = place == 0 ? free_x / 2 : place % 2 == 0 ? free_x : 0;
    float *to = e->view;
    for (int64_t plane = 0; plane < count * in->dim[0]; plane++) {
        for (int64_t y = 0; y < in->dim[1]; y++) {
            const float *from = e->pictures + (plane * e->shape.dim[1] + top + y) * e->shape.dim[2] + left;
            for (int64_t x = 0; x < in->dim[2]; x++) {
                *to++ = from[mirrored ? in->dim[2] - 1 - x : x];
            }
        }
    }
}

/* Adds what model m says about the views of the batch. */
static plumb_status ask(struct ensemble *e, int m, int64_t count)
{
    const plumb_model *model = &e->o->models[m];
    plumb_status status = PLUMB_OK;
    for (int v = 0; !status && v < e->views; v++) {
        cut(e, v, &model->input_shape, count);
        size_t bytes = (size_t)(count * plumb_shape_count(&model->input_shape)) * sizeof(float);
        status = plumb_feed(e->programs[m], model->input, e->view, bytes);
        status = status ? status : plumb_run(e->programs[m]);
        status = status ? status
                        : plumb_fetch(e->programs[m], model->logits, e->logits,
                                      (size_t)(count * e->classes) * sizeof(float));
        for (int64_t n = 0; !status && n < count; n++) {
            plumb_add_probabilities(e->logits + n * e->classes, e->classes, e->sums + n * e->classes);
        }
    }
    return status;
}

static void keep(const struct ensemble *e, plumb_evaluation *r, int64_t index, const double *sums, double *loss,
                 int64_t *right)
{
    int classes = e->classes, best = 0, label = plumb_dataset_label(e->dataset, index);
    double all = (double)e->o->count * e->views;
    for (int c = 1; c < classes; c++) {
        best = sums[c] > sums[best] ? c : best;
    }
    *right += best == label;
    *loss -= log(sums[label] / all);
    if (r->confusion) {
        r->confusion[(int64_t)label * classes + best]++;
    }
    if (r->predicted) {
        r->predicted[index] = best;
    }
    for (int c = 0; r->probabilities && c < classes; c++) {
        r->probabilities[index * classes + c] = (float)(sums[c] / all);
    }
}

static plumb_status judge(struct ensemble *e, plumb_evaluation *r)
{
    int64_t total = plumb_dataset_count(e->dataset), right = 0;
    double loss = 0, begin = plumb_seconds();
    plumb_status status = PLUMB_OK;
    if (r->confusion) {
        memset(r->confusion, 0, (size_t)e->classes * (size_t)e->classes * sizeof(int64_t));
    }
    for (int64_t first = 0; !status && first < total; first += e->batch) {
        int64_t count = total - first < e->batch ? total - first : e->batch;
        memset(e->sums, 0, (size_t)(count * e->classes) * sizeof(double));
        for (int64_t n = 0; !status && n < count; n++) {
            status = load(e, n, first + n);
        }
        for (int m = 0; !status && m < e->o->count; m++) {
            status = ask(e, m, count);
        }
        for (int64_t n = 0; !status && n < count; n++) {
            keep(e, r, first + n, e->sums + n * e->classes, &loss, &right);
        }
    }
    double seconds = plumb_seconds() - begin;
    r->count = total;
    r->loss = loss / (double)total;
    r->accuracy = (double)right / (double)total;
    r->images_per_s = seconds > 0 ? (double)total / seconds : 0;
    return status;
}

plumb_status plumb_evaluate_ensemble(const plumb_ensemble *ensemble, const plumb_dataset *dataset,
                                     plumb_evaluation *evaluation)
{
    plumb_status status = check(ensemble, dataset);
    if (status) {
        return status;
    }
    struct ensemble e = {.context = plumb_graph_context(ensemble->models[0].graph), .o = ensemble, .dataset = dataset};
    status = prepare(&e, evaluation->precision);
    status = status ? status : judge(&e, evaluation);
    release(&e);
    return status;
}
