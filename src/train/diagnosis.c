/* What the errors of people, training, train-dev, dev and test set say, read as differences between neighbours, and the
 * advice that follows. A gap counts from 2 points on, unless the caller says otherwise: 1 % after 1 % is no reason to
 * change anything, 15 % after 0 % is. */
#include <math.h>

#include "plumb/metrics.h"
#include "train/train.h"

#define DEFAULT_THRESHOLD 0.02

struct problem {
    plumb_problem problem;
    const char *name, *advice;
};
static const struct problem problems[] = {
    {PLUMB_PROBLEM_NONE, "nothing", "No gap is worth acting on. To go on, lower the error that people reach, or ask for more."},
    {PLUMB_PROBLEM_BIAS, "avoidable bias",
     "The training set itself is not learned. Train a larger model, train longer or with a better optimiser and rate, "
     "regularise less, or look for an architecture that fits the problem."},
    {PLUMB_PROBLEM_VARIANCE, "variance",
     "The training set is learned, other examples like it less well. Get more data or augment them, regularise more (L2, "
     "dropout, early stopping), or look for an architecture that fits the problem."},
    {PLUMB_PROBLEM_MISMATCH, "data mismatch",
     "Dev data differ from the training data. Look at mistakes of both to see in what, and make the training data more "
     "like them: collect such data, move part of them into training, or synthesise the difference."},
    {PLUMB_PROBLEM_DEV_FIT, "fit to the dev set",
     "Choices were tuned to the dev set. Get a larger dev set, or a new one, and keep the test set out of decisions."},
};
#define PROBLEMS ((int)(sizeof(problems) / sizeof(problems[0])))

static const struct problem *find(plumb_problem problem)
{
    int i = PROBLEMS - 1;
    while (i > 0 && problems[i].problem != problem) {
        i--;
    }
    return &problems[i];
}

const char *plumb_problem_name(plumb_problem problem) { return find(problem)->name; }
const char *plumb_problem_advice(plumb_problem problem) { return find(problem)->advice; }

double plumb_best_error(const double *human, int count)
{
    double best = NAN;
    for (int i = 0; i < count; i++) {
        best = fmin(best, human[i]);
    }
    return best;
}

static plumb_status check(plumb_context *context, const plumb_errors *e)
{
    const struct {
        const char *name;
        double value;
        bool needed;
    } rows[] = {{"human", e->human, false},
                {"train", e->train, true},
                {"train-dev", e->train_dev, false},
                {"dev", e->dev, true},
                {"test", e->test, false},
                {"threshold", e->threshold, true}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!(rows[i].value >= 0 && rows[i].value <= 1) && (rows[i].needed || !isnan(rows[i].value))) {
            return plumb_fail(context, PLUMB_BAD_INPUT, "diagnosis: the %s error %g is no fraction from 0 to 1",
                              rows[i].name, rows[i].value);
        }
    }
    return PLUMB_OK;
}

plumb_status plumb_diagnose(plumb_context *context, const plumb_errors *errors, plumb_diagnosis *diagnosis)
{
    plumb_status status = check(context, errors);
    if (status) {
        return status;
    }
    plumb_diagnosis d = {.errors = *errors};
    plumb_errors *e = &d.errors;
    e->human = isnan(e->human) ? 0 : e->human;
    e->threshold = e->threshold > 0 ? e->threshold : DEFAULT_THRESHOLD;
    d.avoidable_bias = e->train - e->human;
    d.variance = (isnan(e->train_dev) ? e->dev : e->train_dev) - e->train;
    d.mismatch = e->dev - e->train_dev;
    d.dev_fit = e->test - e->dev;
    const double gap[] = {d.avoidable_bias, d.variance, d.mismatch, d.dev_fit};
    double largest = 0;
    for (int i = 0; i < PROBLEMS - 1; i++) {
        /* 3 % - 1 % is a little more than 2 % in binary: what the errors' last digits do is no reason to act. */
        d.problems |= gap[i] > e->threshold + 1e-9 ? (unsigned)problems[i + 1].problem : 0;
        if (gap[i] > largest + 1e-12) {
            largest = gap[i];
            d.largest = problems[i + 1].problem;
        }
    }
    *diagnosis = d;
    return PLUMB_OK;
}
