/* Metrics, the choice among classifiers, the diagnosis, and several models and views judged together: each against
 * figures worked out by hand or known from the literature. */
#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

/* ---- metrics ---- */

PLUMB_TEST(metrics, two_classes_by_hand)
{
    /* 40 sick (class 1): 30 found; 160 well: 20 called sick. */
    const int64_t confusion[4] = {140, 20, 10, 30};
    plumb_metrics m;
    plumb_class_metrics each[2];
    plumb_context *context = plumb_open(NULL);
    REQUIRE(plumb_metrics_of(context, confusion, 2, NULL, &m, each) == PLUMB_OK);
    CHECK(m.count == 200 && m.classes == 2);
    CHECK_NEAR(m.accuracy, 0.85, 1e-15);
    CHECK_NEAR(m.error, 0.15, 1e-15);
    CHECK_NEAR(m.weighted_error, 0.15, 1e-15);
    CHECK_NEAR(each[1].rates.precision, 0.6, 1e-15);
    CHECK_NEAR(each[1].rates.recall, 0.75, 1e-15);
    CHECK_NEAR(each[1].rates.specificity, 0.875, 1e-15);
    CHECK_NEAR(each[1].rates.f1, 2.0 / 3, 1e-15);
    CHECK_NEAR(each[0].rates.specificity, each[1].rates.recall, 1e-15);
    CHECK_NEAR(m.macro.recall, (0.75 + 0.875) / 2, 1e-15);
    CHECK_NEAR(m.weighted.recall, 0.85, 1e-15); /* always the accuracy */
    CHECK_NEAR(m.micro.precision, 0.85, 1e-15); /* so are these, with one label each */
    CHECK_NEAR(m.micro.recall, 0.85, 1e-15);
    CHECK_NEAR(m.micro.f1, 0.85, 1e-15);
    CHECK_NEAR(m.micro.specificity, 0.85, 1e-15); /* two classes: the same decisions again */
    const double weights[2] = {1, 10};
    REQUIRE(plumb_metrics_of(context, confusion, 2, weights, &m, NULL) == PLUMB_OK);
    CHECK_NEAR(m.weighted_error, (20 + 10 * 10) / (160 + 400.0), 1e-15);
    CHECK_NEAR(m.error, 0.15, 1e-15);
    plumb_close(context);
}

PLUMB_TEST(metrics, f1_of_the_course)
{
    CHECK_NEAR(plumb_f1(0.95, 0.90), 0.924, 5e-4);
    CHECK_NEAR(plumb_f1(0.98, 0.85), 0.910, 5e-4);
    CHECK(plumb_f1(0, 0) == 0);
    CHECK(isnan(plumb_f1(NAN, 1)) || plumb_f1(NAN, 1) == 0);
}

PLUMB_TEST(metrics, classes_that_do_not_occur_stay_out_of_means)
{
    /* Class 2 neither occurs nor is said; class 1 is never said. */
    const int64_t confusion[9] = {3, 0, 0, 1, 0, 0, 0, 0, 0};
    plumb_metrics m;
    plumb_class_metrics each[3];
    plumb_context *context = plumb_open(NULL);
    REQUIRE(plumb_metrics_of(context, confusion, 3, NULL, &m, each) == PLUMB_OK);
    CHECK(m.classes == 2 && each[1].rates.precision == 0 && each[1].rates.f1 == 0);
    CHECK_NEAR(m.macro.precision, 0.375, 1e-15);
    CHECK_NEAR(m.macro.f1, plumb_f1(0.75, 1) / 2, 1e-15);
    const int64_t none[4] = {0}, negative[4] = {1, -1, 0, 2};
    const double odd[2] = {1, NAN};
    CHECK(plumb_metrics_of(context, none, 2, NULL, &m, NULL) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_metrics_of(context, negative, 2, NULL, &m, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "class 0 as 1 is negative");
    plumb_clear_error(context);
    CHECK(plumb_metrics_of(context, confusion, 2, odd, &m, NULL) == PLUMB_BAD_INPUT);
    plumb_close(context);
}

static plumb_dataset *four_examples(plumb_context *context)
{
    static const float x[4] = {0, 0, 0, 0};
    static const int32_t y[4] = {0, 1, 2, 2};
    return plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1, 1, 1), 4, x, y, 3);
}

PLUMB_TEST(metrics, top_k_mistakes_and_groups)
{
    plumb_context *context = plumb_open(NULL);
    plumb_dataset *d = four_examples(context);
    float p[12] = {0.5f, 0.3f, 0.2f, /* right */
                   0.6f, 0.3f, 0.1f, /* second */
                   0.4f, 0.4f, 0.2f, /* third */
                   0.1f, 0.45f, 0.45f /* equal to class 1, which comes first */};
    int32_t predicted[4] = {0, 0, 0, 1};
    plumb_evaluation e = {.count = 4, .predicted = predicted, .probabilities = p};
    REQUIRE(d);
    CHECK_NEAR(plumb_top_accuracy(d, &e, 1), 0.25, 1e-15);
    CHECK_NEAR(plumb_top_accuracy(d, &e, 2), 0.75, 1e-15);
    CHECK_NEAR(plumb_top_accuracy(d, &e, 3), 1, 1e-15);
    p[0] = NAN;
    CHECK_NEAR(plumb_top_accuracy(d, &e, 1), 0, 1e-15); /* what is not a number is not found */
    p[0] = 0.5f;
    int64_t worst[4], mistakes;
    CHECK(plumb_worst_mistakes(d, &e, worst, 4, &mistakes) == 3 && mistakes == 3);
    CHECK(worst[0] == 1 && worst[1] == 3 && worst[2] == 2);
    CHECK(plumb_worst_mistakes(d, &e, worst, 1, NULL) == 1 && worst[0] == 1);
    const int32_t group[4] = {0, 2, 2, -1}, beyond[4] = {0, 3, 0, 0};
    double each[3], mean;
    CHECK(plumb_group_accuracy(context, d, &e, group, 3, each, &mean) == PLUMB_OK);
    CHECK(each[0] == 1 && isnan(each[1]) && each[2] == 0);
    CHECK_NEAR(mean, 0.5, 1e-15);
    CHECK(plumb_group_accuracy(context, d, &e, beyond, 3, each, &mean) == PLUMB_BAD_INPUT);
    plumb_close(context);
}

PLUMB_TEST(metrics, one_metric_to_optimise_the_others_to_satisfy)
{
    /* Accuracy and seconds of three classifiers, as in the course: 80, 95 and 1,500 ms. */
    const double values[6] = {0.90, 0.080, 0.92, 0.095, 0.95, 1.5};
    const double accuracy[2] = {1, 0}, both[2] = {1, -0.5}, most[2] = {NAN, 0.1}, least[2] = {0.93, NAN};
    CHECK(plumb_best_of(values, 3, 2, &(plumb_criterion){.weights = accuracy}) == 2);
    CHECK(plumb_best_of(values, 3, 2, &(plumb_criterion){.weights = accuracy, .most = most}) == 1);
    CHECK(plumb_best_of(values, 3, 2, &(plumb_criterion){.weights = both}) == 1);
    CHECK(plumb_best_of(values, 3, 2, &(plumb_criterion){.weights = accuracy, .most = most, .least = least}) == -1);
    const double unknown[6] = {NAN, 0.01, 0.9, NAN, 0.8, 0.05};
    CHECK(plumb_best_of(unknown, 3, 2, &(plumb_criterion){.weights = accuracy, .most = most}) == 2);
    CHECK(plumb_best_of(unknown, 3, 2, &(plumb_criterion){.weights = accuracy}) == 1); /* time is not asked for */
}

/* ---- diagnosis ---- */

static plumb_diagnosis diagnosed(double human, double train, double train_dev, double dev, double test)
{
    plumb_context *context = plumb_open(NULL);
    plumb_diagnosis d = {0};
    CHECK(plumb_diagnose(context,
                         &(plumb_errors){.human = human, .train = train, .train_dev = train_dev, .dev = dev, .test = test},
                         &d) == PLUMB_OK);
    plumb_close(context);
    return d;
}

PLUMB_TEST(diagnosis, train_and_dev_errors_of_the_course)
{
    const struct {
        double train, dev;
        unsigned problems;
        plumb_problem largest;
    } rows[] = {{0.01, 0.11, PLUMB_PROBLEM_VARIANCE, PLUMB_PROBLEM_VARIANCE},
                {0.15, 0.16, PLUMB_PROBLEM_BIAS, PLUMB_PROBLEM_BIAS},
                {0.15, 0.30, PLUMB_PROBLEM_BIAS | PLUMB_PROBLEM_VARIANCE, PLUMB_PROBLEM_BIAS},
                {0.005, 0.01, 0, PLUMB_PROBLEM_BIAS}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        plumb_diagnosis d = diagnosed(NAN, rows[i].train, NAN, rows[i].dev, NAN);
        CHECK_MSG(d.problems == rows[i].problems, "%g/%g: %u", rows[i].train, rows[i].dev, d.problems);
        CHECK(d.largest == rows[i].largest);
        CHECK(d.errors.human == 0 && isnan(d.mismatch) && isnan(d.dev_fit));
    }
}

PLUMB_TEST(diagnosis, human_level_bounds_what_is_possible)
{
    const double human[4] = {0.03, 0.01, 0.007, 0.005};
    double bayes = plumb_best_error(human, 4);
    CHECK(bayes == 0.005 && isnan(plumb_best_error(NULL, 0)));
    plumb_diagnosis d = diagnosed(bayes, 0.006, NAN, 0.008, NAN);
    CHECK_NEAR(d.avoidable_bias, 0.001, 1e-12);
    CHECK_NEAR(d.variance, 0.002, 1e-12);
    CHECK(d.largest == PLUMB_PROBLEM_VARIANCE && d.problems == 0);
    /* 15 % and 16 % are fine where people make 15 % of mistakes. */
    d = diagnosed(0.15, 0.15, NAN, 0.16, NAN);
    CHECK(d.problems == 0 && d.largest == PLUMB_PROBLEM_VARIANCE);
}

PLUMB_TEST(diagnosis, mismatch_and_fit_to_the_dev_set)
{
    plumb_diagnosis d = diagnosed(0, 0.01, 0.015, 0.10, 0.105);
    CHECK(d.problems == PLUMB_PROBLEM_MISMATCH && d.largest == PLUMB_PROBLEM_MISMATCH);
    CHECK_NEAR(d.variance, 0.005, 1e-12);
    CHECK_NEAR(d.mismatch, 0.085, 1e-12);
    d = diagnosed(0, 0.10, 0.11, 0.20, 0.30);
    CHECK(d.problems == (PLUMB_PROBLEM_BIAS | PLUMB_PROBLEM_MISMATCH | PLUMB_PROBLEM_DEV_FIT));
    CHECK_NEAR(d.dev_fit, 0.1, 1e-12);
    d = diagnosed(0.04, 0.07, 0.10, 0.06, 0.06); /* dev data easier than training data: no mismatch to act on */
    CHECK(d.problems == (PLUMB_PROBLEM_BIAS | PLUMB_PROBLEM_VARIANCE) && d.mismatch < 0);
}

PLUMB_TEST(diagnosis, refuses_and_advises)
{
    plumb_context *context = plumb_open(NULL);
    plumb_diagnosis d;
    const plumb_errors bad[] = {{.human = NAN, .train = NAN, .train_dev = NAN, .dev = 0.1, .test = NAN},
                                {.human = NAN, .train = 0.1, .train_dev = NAN, .dev = 1.5, .test = NAN},
                                {.human = -0.1, .train = 0.1, .train_dev = NAN, .dev = 0.1, .test = NAN}};
    static const char *const names[] = {"train error", "dev error", "human error"};
    for (int i = 0; i < 3; i++) {
        CHECK(plumb_diagnose(context, &bad[i], &d) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(context), names[i]);
        plumb_clear_error(context);
    }
    CHECK_TEXT(plumb_problem_advice(PLUMB_PROBLEM_BIAS), "larger model");
    CHECK_TEXT(plumb_problem_advice(PLUMB_PROBLEM_VARIANCE), "more data");
    CHECK_TEXT(plumb_problem_advice(PLUMB_PROBLEM_MISMATCH), "synthesise");
    CHECK_TEXT(plumb_problem_advice(PLUMB_PROBLEM_DEV_FIT), "larger dev set");
    CHECK_TEXT(plumb_problem_name(PLUMB_PROBLEM_NONE), "nothing");
    plumb_close(context);
}

/* E(y - f)^2 = sigma^2 + variance + bias^2, by drawing: f is a shrunken mean of n noisy values of the truth. */
PLUMB_TEST(diagnosis, expected_error_is_noise_variance_and_squared_bias)
{
    enum { RUNS = 20000, N = 4 };
    const double truth = 2, sigma = 0.5, shrink = 0.8;
    double squares = 0, sum = 0, sum_squares = 0;
    for (int r = 0; r < RUNS; r++) {
        double f = 0;
        for (int i = 0; i < N; i++) {
            f += shrink / N * (truth + sigma * plumb_normal_of_word(plumb_random_word(3, 0, (uint64_t)r, i)));
        }
        double y = truth + sigma * plumb_normal_of_word(plumb_random_word(3, 1, (uint64_t)r, 0));
        squares += (y - f) * (y - f);
        sum += f;
        sum_squares += f * f;
    }
    double mean = sum / RUNS, variance = sum_squares / RUNS - mean * mean, bias = mean - truth;
    CHECK_NEAR(bias, (shrink - 1) * truth, 0.01);
    CHECK_NEAR(variance, shrink * shrink * sigma * sigma / N, 0.002);
    CHECK_NEAR(squares / RUNS, sigma * sigma + variance + bias * bias, 0.012);
}

/* ---- several models, several views ---- */

#define SIDE 6

struct pair {
    plumb_context *context;
    plumb_model models[2];
    plumb_state *states[2];
    plumb_dataset *d;
    float x[40 * SIDE * SIDE];
    int32_t y[40];
};

/* Two networks with weights of different seeds, and random pictures. */
static bool open_pair(struct pair *p, int64_t side)
{
    p->context = plumb_open(&(plumb_options){.threads = 2, .seed = 11});
    for (int i = 0; i < 40 * SIDE * SIDE; i++) {
        p->x[i] = (float)plumb_normal_of_word(plumb_random_word(4, 0, 0, i));
    }
    for (int i = 0; i < 40; i++) {
        p->y[i] = i % 3;
    }
    for (int m = 0; m < 2; m++) {
        const plumb_model_options options = {.input_shape = PLUMB_SHAPE(1, side, side), .classes = 3};
        if (plumb_model_build(p->context, m ? "mlp" : "logistic", &options, &p->models[m]) != PLUMB_OK) {
            return false;
        }
        p->states[m] = plumb_state_new(p->models[m].graph);
    }
    /* The logistic model starts with zeros: give it weights to tell places apart. */
    float w[3 * SIDE * SIDE];
    for (int i = 0; i < 3 * SIDE * SIDE; i++) {
        w[i] = (float)plumb_normal_of_word(plumb_random_word(5, 0, 0, i));
    }
    for (int i = 0; i < plumb_state_count(p->states[0]); i++) {
        plumb_shape s = plumb_state_shape(p->states[0], plumb_state_name(p->states[0], i));
        if (s.rank == 2) {
            CHECK(plumb_state_set(p->states[0], plumb_state_name(p->states[0], i), w,
                                  (size_t)plumb_shape_count(&s) * sizeof(float)) == PLUMB_OK);
        }
    }
    p->d = plumb_dataset_arrays(p->context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), 40, p->x, p->y, 3);
    return p->states[0] && p->states[1] && p->d;
}

/* What model m alone says, of pictures in its own size. */
static void alone(struct pair *p, int m, const float *x, int64_t side, float *probabilities)
{
    plumb_dataset *d = plumb_dataset_arrays(p->context, PLUMB_F32, PLUMB_SHAPE(1, side, side), 40, x, p->y, 3);
    plumb_evaluation e = {.probabilities = probabilities};
    CHECK(plumb_evaluate(&p->models[m], p->states[m], d, 0, &e) == PLUMB_OK);
    plumb_dataset_free(d);
}

PLUMB_TEST(ensemble, is_the_mean_of_what_the_models_say)
{
    static struct pair p;
    float one[2][120], both[120];
    int64_t confusion[9];
    int32_t predicted[40];
    REQUIRE(open_pair(&p, SIDE));
    for (int m = 0; m < 2; m++) {
        alone(&p, m, p.x, SIDE, one[m]);
    }
    plumb_evaluation e = {.probabilities = both, .confusion = confusion, .predicted = predicted};
    const plumb_ensemble ensemble = {.models = p.models, .states = p.states, .count = 2, .batch = 7};
    CHECK_MSG(plumb_evaluate_ensemble(&ensemble, p.d, &e) == PLUMB_OK, "%s", plumb_message(p.context));
    double loss = 0;
    int64_t right = 0;
    for (int i = 0; i < 40; i++) {
        for (int c = 0; c < 3; c++) {
            CHECK_NEAR(both[3 * i + c], ((double)one[0][3 * i + c] + (double)one[1][3 * i + c]) / 2, 1e-6);
        }
        loss -= log((double)both[3 * i + i % 3]) / 40;
        right += predicted[i] == i % 3;
    }
    CHECK_NEAR(e.loss, loss, 1e-6);
    CHECK(e.count == 40 && e.accuracy == (double)right / 40 && confusion[0] + confusion[4] + confusion[8] == right);
    plumb_close(p.context);
}

PLUMB_TEST(ensemble, of_one_model_is_that_model)
{
    static struct pair p;
    float one[120], same[120];
    REQUIRE(open_pair(&p, SIDE));
    alone(&p, 1, p.x, SIDE, one);
    plumb_evaluation e = {.probabilities = same};
    const plumb_ensemble ensemble = {.models = p.models + 1, .states = p.states + 1, .count = 1};
    CHECK(plumb_evaluate_ensemble(&ensemble, p.d, &e) == PLUMB_OK);
    CHECK(memcmp(one, same, sizeof(one)) == 0);
    plumb_close(p.context);
}

/* Picture n cut at (top, left) to side x side out of a border of `padding` zeros, mirrored or not, by hand. */
static void cut(const struct pair *p, int padding, int64_t side, int64_t top, int64_t left, bool mirrored, float *to)
{
    for (int n = 0; n < 40; n++) {
        for (int64_t y = 0; y < side; y++) {
            for (int64_t x = 0; x < side; x++) {
                int64_t from_y = top + y - padding, from_x = left + (mirrored ? side - 1 - x : x) - padding;
                bool inside = from_y >= 0 && from_y < SIDE && from_x >= 0 && from_x < SIDE;
                to[(n * side + y) * side + x] = inside ? p->x[(n * SIDE + from_y) * SIDE + from_x] : 0;
            }
        }
    }
}

static void check_ten_crop(int64_t side, int padding)
{
    static struct pair p;
    static float view[40 * (SIDE + 4) * (SIDE + 4)];
    float one[120], ten[120];
    double sum[120] = {0};
    int64_t all = SIDE + 2 * padding, end = all - side;
    const int64_t places[5][2] = {{end / 2, end / 2}, {0, 0}, {0, end}, {end, 0}, {end, end}};
    REQUIRE(open_pair(&p, side));
    for (int v = 0; v < 10; v++) {
        cut(&p, padding, side, places[v / 2][0], places[v / 2][1], v % 2, view);
        alone(&p, 0, view, side, one);
        for (int i = 0; i < 120; i++) {
            sum[i] += (double)one[i] / 10;
        }
    }
    plumb_evaluation e = {.probabilities = ten};
    const plumb_ensemble ensemble = {.models = p.models,
                                     .states = p.states,
                                     .count = 1,
                                     .crops = 5,
                                     .mirror = true,
                                     .padding = padding,
                                     .batch = 9};
    CHECK_MSG(plumb_evaluate_ensemble(&ensemble, p.d, &e) == PLUMB_OK, "%s", plumb_message(p.context));
    for (int i = 0; i < 120; i++) {
        CHECK_NEAR(ten[i], sum[i], 1e-6);
    }
    plumb_close(p.context);
}

PLUMB_TEST(ensemble, ten_crop_of_larger_pictures) { check_ten_crop(SIDE - 2, 0); }
PLUMB_TEST(ensemble, ten_crop_of_padded_pictures) { check_ten_crop(SIDE, 2); }

PLUMB_TEST(ensemble, refuses_what_does_not_fit)
{
    static struct pair p;
    plumb_evaluation e = {0};
    REQUIRE(open_pair(&p, SIDE));
    plumb_ensemble o = {.models = p.models, .states = p.states, .count = 2, .crops = 3};
    CHECK(plumb_evaluate_ensemble(&o, p.d, &e) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(p.context), "crops 3");
    plumb_clear_error(p.context);
    o.crops = 1;
    plumb_state *states[2] = {p.states[0], NULL};
    o.states = states;
    CHECK(plumb_evaluate_ensemble(&o, p.d, &e) == PLUMB_BAD_INPUT);
    plumb_clear_error(p.context);
    o.states = p.states;
    static const float small[9] = {0};
    plumb_dataset *d = plumb_dataset_arrays(p.context, PLUMB_F32, PLUMB_SHAPE(1, 3, 3), 1, small, p.y, 3);
    CHECK(plumb_evaluate_ensemble(&o, d, &e) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(p.context), "model 0 takes (1, 6, 6)");
    CHECK(plumb_evaluate_ensemble(NULL, d, &e) == PLUMB_BAD_INPUT);
    plumb_close(p.context);
}
