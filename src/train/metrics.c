/* Metrics of a classification, from the confusion matrix or the probabilities, and the choice among several classifiers
 * by one metric and bounds on the rest. Where a rate has nothing to divide by it is 0, so that means stay finite; classes
 * that neither occur nor are predicted stay out of the means. */
#include <math.h>

#include "plumb/metrics.h"
#include "train/train.h"

static double share(double part, double whole) { return whole > 0 ? part / whole : 0; }

double plumb_f1(double precision, double recall) { return share(2 * precision * recall, precision + recall); }

static plumb_rates rates_of(double right, double examples, double predicted, double count)
{
    plumb_rates r = {.precision = share(right, predicted), .recall = share(right, examples)};
    /* Of the others, those that were not called so: all others less the wrongly called. */
    r.specificity = share(count - examples - (predicted - right), count - examples);
    r.f1 = plumb_f1(r.precision, r.recall);
    return r;
}

static void add_rates(plumb_rates *sum, const plumb_rates *r, double weight)
{
    sum->precision += weight * r->precision;
    sum->recall += weight * r->recall;
    sum->specificity += weight * r->specificity;
    sum->f1 += weight * r->f1;
}

static plumb_status check_matrix(plumb_context *context, const int64_t *confusion, int classes,
                                 const double *weights, int64_t *count)
{
    if (!confusion || classes < 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "metrics: need a confusion matrix of 1 class or more");
    }
    *count = 0;
    for (int64_t i = 0; i < (int64_t)classes * classes; i++) {
        if (confusion[i] < 0) {
            return plumb_fail(context, PLUMB_BAD_INPUT, "metrics: the count of class %lld as %lld is negative",
                              (long long)(i / classes), (long long)(i % classes));
        }
        *count += confusion[i];
    }
    for (int c = 0; weights && c < classes; c++) {
        if (!(weights[c] >= 0 && isfinite(weights[c]))) {
            return plumb_fail(context, PLUMB_BAD_INPUT, "metrics: the weight of class %d is %g", c, weights[c]);
        }
    }
    return *count ? PLUMB_OK : plumb_fail(context, PLUMB_BAD_INPUT, "metrics: the confusion matrix is empty");
}

plumb_status plumb_metrics_of(plumb_context *context, const int64_t *confusion, int classes,
                              const double *weights, plumb_metrics *metrics, plumb_class_metrics *each)
{
    plumb_metrics m = {0};
    double cost = 0, most = 0;
    int64_t right = 0;
    plumb_status status = check_matrix(context, confusion, classes, weights, &m.count);
    if (status) {
        return status;
    }
    for (int c = 0; c < classes; c++) {
        plumb_class_metrics one = {.right = confusion[(int64_t)c * classes + c]};
        for (int k = 0; k < classes; k++) {
            one.examples += confusion[(int64_t)c * classes + k];
            one.predicted += confusion[(int64_t)k * classes + c];
        }
        one.rates = rates_of((double)one.right, (double)one.examples, (double)one.predicted, (double)m.count);
        double weight = weights ? weights[c] : 1;
        cost += weight * (double)(one.examples - one.right);
        most += weight * (double)one.examples;
        right += one.right;
        if (one.examples || one.predicted) {
            m.classes++;
            add_rates(&m.macro, &one.rates, 1);
            add_rates(&m.weighted, &one.rates, (double)one.examples / (double)m.count);
        }
        if (each) {
            each[c] = one;
        }
    }
    const plumb_rates sum = m.macro;
    m.macro = (plumb_rates){0};
    add_rates(&m.macro, &sum, 1.0 / m.classes);
    m.accuracy = (double)right / (double)m.count;
    m.error = (double)(m.count - right) / (double)m.count;
    m.weighted_error = share(cost, most);
    /* Together every example is asked once for each class that occurs. */
    double asked = (double)m.count * m.classes;
    m.micro = rates_of((double)right, (double)m.count, (double)m.count, asked);
    *metrics = m;
    return PLUMB_OK;
}

double plumb_top_accuracy(const plumb_dataset *dataset, const plumb_evaluation *evaluation, int k)
{
    int classes = plumb_dataset_classes(dataset);
    if (!evaluation || !evaluation->probabilities || evaluation->count < 1 ||
        evaluation->count > plumb_dataset_count(dataset)) {
        return NAN;
    }
    int64_t among = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        const float *p = evaluation->probabilities + i * classes;
        int label = plumb_dataset_label(dataset, i), before = 0;
        for (int c = 0; c < classes; c++) {
            before += c != label && !(p[c] < p[label] || (p[c] == p[label] && c > label)); /* NaN is before */
        }
        among += before < k;
    }
    return (double)among / (double)evaluation->count;
}

int plumb_worst_mistakes(const plumb_dataset *dataset, const plumb_evaluation *evaluation, int64_t *worst, int room,
                         int64_t *mistakes)
{
    int classes = plumb_dataset_classes(dataset), n = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < evaluation->count; i++) {
        int said = evaluation->predicted[i];
        if (said == plumb_dataset_label(dataset, i)) {
            continue;
        }
        count++;
        int at = n < room ? n++ : room;
        float sure = evaluation->probabilities[i * classes + said];
        while (at > 0 &&
               sure > evaluation->probabilities[worst[at - 1] * classes + evaluation->predicted[worst[at - 1]]]) {
            if (at < room) {
                worst[at] = worst[at - 1];
            }
            at--;
        }
        if (at < room) {
            worst[at] = i;
        }
    }
    if (mistakes) {
        *mistakes = count;
    }
    return n;
}

plumb_status plumb_group_accuracy(plumb_context *context, const plumb_dataset *dataset,
                                  const plumb_evaluation *evaluation, const int32_t *group, int groups,
                                  double *each, double *mean)
{
    if (!evaluation || !evaluation->predicted || !group || groups < 1 ||
        evaluation->count > plumb_dataset_count(dataset)) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "groups: need an evaluation of the data set with predictions, and 1 group or more");
    }
    int64_t *count = plumb_zalloc(context, (size_t)groups * 2 * sizeof(int64_t)), *right = count + groups;
    if (!count) {
        return PLUMB_FAILED;
    }
    plumb_status status = PLUMB_OK;
    for (int64_t i = 0; !status && i < evaluation->count; i++) {
        if (group[i] >= groups) {
            status = plumb_fail(context, PLUMB_BAD_INPUT, "groups: example %lld is of group %d, there are %d",
                                (long long)i, (int)group[i], groups);
        } else if (group[i] >= 0) {
            count[group[i]]++;
            right[group[i]] += evaluation->predicted[i] == plumb_dataset_label(dataset, i);
        }
    }
    int met = 0;
    double sum = 0;
    for (int g = 0; !status && g < groups; g++) {
        double accuracy = count[g] ? (double)right[g] / (double)count[g] : NAN;
        met += count[g] > 0;
        sum += count[g] ? accuracy : 0;
        if (each) {
            each[g] = accuracy;
        }
    }
    if (!status) {
        *mean = met ? sum / met : NAN;
    }
    plumb_free(context, count);
    return status;
}

/* Whether a value keeps its bounds; an unknown value keeps none. */
static bool keeps(const plumb_criterion *c, int metric, double value)
{
    double least = c->least ? c->least[metric] : NAN, most = c->most ? c->most[metric] : NAN;
    return (isnan(least) || value >= least) && (isnan(most) || value <= most);
}

int plumb_best_of(const double *values, int candidates, int metrics, const plumb_criterion *criterion)
{
    int best = -1;
    double best_score = NAN;
    for (int i = 0; i < candidates; i++) {
        double score = 0;
        bool taken = true;
        for (int k = 0; k < metrics; k++) {
            double value = values[(int64_t)i * metrics + k], weight = criterion->weights[k];
            taken = taken && keeps(criterion, k, value);
            score += weight != 0 ? weight * value : 0;
        }
        if (taken && !isnan(score) && (best < 0 || score > best_score)) {
            best = i;
            best_score = score;
        }
    }
    return best;
}
