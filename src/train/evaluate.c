/* Evaluation: one pass over a data set with the inference forms of the model; loss, accuracy and, where asked for,
 * the confusion matrix, predictions and probabilities. */
#include <math.h>

#include "train/train.h"

plumb_status plumb_model_check(const plumb_model *model, const plumb_state *state,
                               const plumb_dataset *dataset, const char *what)
{
    plumb_context *context = model ? plumb_graph_context(model->graph) : NULL;
    if (!context) {
        return PLUMB_BAD_INPUT;
    }
    if (!state || plumb_dataset_count(dataset) < 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: needs a state and a data set with examples", what);
    }
    if (plumb_shape_of(model->graph, model->label).rank != 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: the model has a label for every place, data sets one for a picture",
                          what);
    }
    plumb_shape shape = plumb_dataset_shape(dataset);
    if (!plumb_shape_equal(&shape, &model->input_shape)) {
        char a[128], b[128];
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: the data set has pictures of %s, the model takes %s",
                          what, plumb_shape_text(&shape, a, sizeof(a)),
                          plumb_shape_text(&model->input_shape, b, sizeof(b)));
    }
    if (plumb_dataset_classes(dataset) != model->classes) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: the data set has %d classes, the model tells %d apart", what,
                          plumb_dataset_classes(dataset), model->classes);
    }
    return PLUMB_OK;
}

int plumb_greatest(const float *row, int classes)
{
    int best = 0;
    for (int c = 1; c < classes; c++) {
        best = row[c] > row[best] ? c : best;
    }
    return best;
}

int64_t plumb_count_right(const plumb_dataset *dataset, const int64_t *indices, const float *logits,
                          int64_t count, int classes)
{
    int64_t right = 0;
    for (int64_t n = 0; n < count; n++) {
        right += plumb_greatest(logits + n * classes, classes) == plumb_dataset_label(dataset, indices[n]);
    }
    return right;
}

plumb_status plumb_evaluator_open(const plumb_model *model, plumb_state *state, plumb_dataset *dataset,
                                  int64_t batch, plumb_dtype precision, struct plumb_evaluator *e)
{
    *e = (struct plumb_evaluator){.model = model, .dataset = dataset, .batch = batch};
    plumb_status status = plumb_model_check(model, state, dataset, "evaluation");
    if (status) {
        return status;
    }
    e->context = plumb_graph_context(model->graph);
    const plumb_t outputs[2] = {model->loss, model->logits};
    e->program = plumb_compile(
        model->graph, state,
        &(plumb_compile_options){
            .size = sizeof(plumb_compile_options), .outputs = outputs, .n_outputs = 2, .precision = precision});
    e->loader = plumb_loader_new(
        dataset, &(plumb_loader_options){.size = sizeof(plumb_loader_options), .batch = batch});
    e->logits = plumb_alloc(e->context, (size_t)(batch * model->classes) * sizeof(float));
    if (!e->program || !e->loader || !e->logits) {
        plumb_evaluator_close(e);
        return plumb_last_status(e->context);
    }
    return PLUMB_OK;
}

void plumb_evaluator_close(struct plumb_evaluator *e)
{
    plumb_loader_free(e->loader);
    plumb_program_free(e->program);
    if (e->context) {
        plumb_free(e->context, e->logits);
    }
    *e = (struct plumb_evaluator){0};
}

static double softmax_sum(const float *row, int classes, int best)
{
    double sum = 0;
    for (int c = 0; c < classes; c++) {
        sum += exp((double)row[c] - (double)row[best]);
    }
    return sum;
}

void plumb_add_probabilities(const float *row, int classes, double *sum)
{
    int best = plumb_greatest(row, classes);
    double whole = softmax_sum(row, classes, best);
    for (int c = 0; c < classes; c++) {
        sum[c] += exp((double)row[c] - (double)row[best]) / whole;
    }
}

static void keep_row(plumb_evaluation *r, int64_t at, const float *row, int classes, int label)
{
    int best = plumb_greatest(row, classes);
    if (r->confusion) {
        r->confusion[(int64_t)label * classes + best]++;
    }
    if (r->predicted) {
        r->predicted[at] = best;
    }
    if (r->probabilities) {
        double sum = softmax_sum(row, classes, best);
        for (int c = 0; c < classes; c++) {
            r->probabilities[at * classes + c] = (float)(exp((double)row[c] - (double)row[best]) / sum);
        }
    }
}

plumb_status plumb_evaluator_run(struct plumb_evaluator *e, plumb_evaluation *r)
{
    int classes = e->model->classes;
    double loss_sum = 0, loss, begin = plumb_seconds();
    int64_t count, right = 0;
    plumb_status status = plumb_loader_seek(e->loader, 0, 0);
    r->count = 0;
    if (r->confusion) {
        memset(r->confusion, 0, (size_t)classes * (size_t)classes * sizeof(int64_t));
    }
    while (!status &&
           (count = plumb_loader_next(e->loader, e->program, e->model->input, e->model->label)) != 0) {
        if (count < 0) {
            return plumb_last_status(e->context);
        }
        status = plumb_run(e->program);
        if (!status) {
            status = plumb_fetch_number(e->program, e->model->loss, &loss);
        }
        if (!status) {
            status = plumb_fetch(e->program, e->model->logits, e->logits,
                                 (size_t)(count * classes) * sizeof(float));
        }
        if (status) {
            return status;
        }
        const int64_t *indices = plumb_loader_indices(e->loader);
        loss_sum += loss * (double)count;
        for (int64_t n = 0; n < count; n++) {
            int label = plumb_dataset_label(e->dataset, indices[n]);
            right += plumb_greatest(e->logits + n * classes, classes) == label;
            keep_row(r, indices[n], e->logits + n * classes, classes, label);
        }
        r->count += count;
    }
    double seconds = plumb_seconds() - begin;
    r->loss = loss_sum / (double)r->count;
    r->accuracy = (double)right / (double)r->count;
    r->images_per_s = seconds > 0 ? (double)r->count / seconds : 0;
    return status;
}

plumb_status plumb_evaluate(const plumb_model *model, plumb_state *state, plumb_dataset *dataset,
                            int64_t batch, plumb_evaluation *evaluation)
{
    struct plumb_evaluator e;
    int64_t count = plumb_dataset_count(dataset);
    batch = batch > 0 ? batch : 250; /* divides the usual test sets */
    plumb_status status = plumb_evaluator_open(model, state, dataset, batch < count ? batch : count,
                                               evaluation->precision, &e);
    if (!status) {
        status = plumb_evaluator_run(&e, evaluation);
        plumb_evaluator_close(&e);
    }
    return status;
}
