/* What a training can be asked for: going on from between any two batches to the same bits, steps of several batches,
 * early stopping, frozen parameters, smoothed labels, averaged weights, a length in steps, a rate and a batch looked for. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "halves.h"
#include "nets.h"
#include "train/train.h"

/* ---- going on ---- */

static const struct course {
    const char *name, *model;
    double drop;
    plumb_fit_options options;
} courses[] = {
    {"adam, dropout, by epochs", "mlp", 0.25, {.epochs = 3, .batch = 60}},
    {"momentum, accumulation with a rest, cosine, clipping",
     "mlp",
     0.25,
     {.epochs = 3,
      .batch = 40,
      .accumulate = 3,
      .optimizer = PLUMB_MOMENTUM(.lr = 0.05, .clip_norm = 0.5, .l2 = 1e-3, .per_example = true),
      .schedule = &(plumb_schedule){.size = sizeof(plumb_schedule), .rule = "cosine", .warmup = 0.5}}},
    {"f16 with a dynamic scale, accumulation",
     "mlp",
     0,
     {.steps = 10, .batch = 4, .accumulate = 3, .precision = PLUMB_F16}},
    {"augmented and mixed",
     "mlp",
     0.25,
     {.epochs = 3, .batch = 60, .augment = &(plumb_augment){.size = sizeof(plumb_augment), .crop = 1, .rotate = 5, .mixup = 0.4}}},
    {"averages, the best of the dev set, by steps",
     "logistic",
     0,
     {.steps = 13,
      .batch = 60,
      .optimizer = PLUMB_ADAMW(.lr = 0.01, .average = 0.9),
      .monitor = "dev_loss",
      .patience = 9}},
};

/* A keeper that copies a training after batch `at`, and one that puts it back. */
struct copied {
    int64_t at;
    plumb_state *state, *best; /* clones, or NULL */
    struct plumb_position position;
    plumb_epoch history[16];
    int64_t calls, better;
    bool over;
};

static plumb_status copy_after(void *user, const struct plumb_training *t, bool over)
{
    struct copied *c = user;
    c->calls++;
    c->over = over;
    if (t->position.ran == c->at) {
        c->state = plumb_state_clone(t->state);
        c->best = t->best ? plumb_state_clone(t->best) : NULL;
        c->position = t->position;
        memcpy(c->history, t->history, (size_t)t->position.epoch * sizeof(plumb_epoch));
    }
    return PLUMB_OK;
}

static plumb_status count_better(void *user, const struct plumb_training *t)
{
    struct copied *c = user;
    c->better++;
    CHECK(t->best && t->history[t->position.epoch - 1].better);
    return PLUMB_OK;
}

static plumb_status put_back(void *user, struct plumb_training *t)
{
    struct copied *c = user;
    CHECK(t->position.options == c->position.options && t->position.seed == c->position.seed);
    state_copy(t->state, c->state);
    if (c->best) {
        t->best = plumb_state_clone(t->state);
        state_copy(t->best, c->best);
    }
    t->position = c->position;
    memcpy(t->history, c->history, (size_t)c->position.epoch * sizeof(plumb_epoch));
    return PLUMB_OK;
}

/* *stop counts down. */
static bool stop_after(void *user, const plumb_progress *progress)
{
    int *left = user;
    (void)progress;
    return --*left != 0;
}

/* Trains and leaves everything open. */
static void run_course(const struct course *course, int threads, int stop, const struct plumb_keeper *keeper,
                       struct halves_bench *b, plumb_epoch *history, int *rows)
{
    REQUIRE(halves_open(b, course->model, course->drop, threads, -1));
    plumb_fit_options options = course->options;
    options.dev = b->test;
    options.workers = threads == 1 ? 0 : 3;
    options.on_step = stop_after;
    options.user = &stop;
    CHECK_MSG(plumb_fit_kept(&b->model, b->state, b->train, &options, history, rows, keeper) == PLUMB_OK, "%s: %s",
              course->name, plumb_message(b->context));
}

/* Stopped after every batch, and continued in another context with another number of threads and workers. */
static void check_course(const struct course *course)
{
    struct halves_bench whole;
    struct copied end = {.at = -1};
    plumb_epoch history[16] = {{0}}, again[16] = {{0}};
    int rows, rows_again;
    run_course(course, 1, 0, &(struct plumb_keeper){.user = &end, .after = copy_after, .better = count_better}, &whole,
               history, &rows);
    CHECK_MSG(end.calls >= 13 && end.over, "%s: %lld batches", course->name, (long long)end.calls);
    CHECK((history[0].skipped > 0) == (course->options.precision == PLUMB_F16));
    CHECK(rows == plumb_fit_epochs(whole.train, &course->options) || course->options.patience);
    for (int64_t at = 1; at < end.calls && check_failures() < 3; at++) {
        struct halves_bench first, second;
        struct copied c = {.at = at};
        run_course(course, 1, (int)at, &(struct plumb_keeper){.user = &c, .after = copy_after}, &first, again, &rows_again);
        CHECK(c.over && c.calls == at);
        run_course(course, 2, 0, &(struct plumb_keeper){.user = &c, .begin = put_back}, &second, again, &rows_again);
        const char *differs = state_difference(whole.state, second.state);
        CHECK_MSG(!differs, "%s: '%s' differs when stopped after batch %lld of %lld", course->name, differs,
                  (long long)at, (long long)end.calls);
        CHECK(rows_again == rows);
        for (int i = 0; i < rows; i++) {
            CHECK(again[i].train_loss == history[i].train_loss && again[i].dev_loss == history[i].dev_loss &&
                  again[i].better == history[i].better && again[i].skipped == history[i].skipped);
        }
        plumb_close(first.context);
        plumb_close(second.context);
    }
    plumb_close(whole.context);
}

PLUMB_TEST(training, goes_on_from_any_batch)
{
    for (size_t i = 0; i < sizeof courses / sizeof *courses; i++) {
        check_course(&courses[i]);
    }
}

/* ---- steps of several batches ---- */

/* Trains mlp without dropout; its weights, and the last row. */
static void steps_of(int64_t batch, int64_t accumulate, plumb_optimizer optimizer, float *weights, plumb_epoch *row)
{
    struct halves_bench b;
    plumb_epoch history[2];
    REQUIRE(halves_open(&b, "mlp", 0, 2, -1));
    const plumb_schedule cosine = {.size = sizeof cosine, .rule = "cosine"};
    const plumb_fit_options options = {
        .epochs = 2, .batch = batch, .accumulate = accumulate, .optimizer = &optimizer, .schedule = &cosine};
    CHECK_MSG(plumb_fit(&b.model, b.state, b.train, &options, history, NULL) == PLUMB_OK, "%s", plumb_message(b.context));
    CHECK(plumb_state_get(b.state, "fc1.weight", weights, 128 * PIXELS * sizeof(float)) == PLUMB_OK);
    *row = history[1];
    plumb_close(b.context);
}

/* The order of examples does not depend on the batch, so 4 batches of 25 are one of 100; and in batches of 40, three to a
 * step, the last step of an epoch has 60 examples, the last batch 20. */
PLUMB_TEST(training, batches_add_up_to_a_large_one)
{
    static float large[128 * PIXELS], small[128 * PIXELS], start[128 * PIXELS];
    const plumb_optimizer optimizers[] = {
        *PLUMB_SGD(.lr = 0.1),
        *PLUMB_SGD(.lr = 0.1, .l2 = 0.5, .l1 = 0.1, .per_example = true, .clip_norm = 0.2),
        *PLUMB_ADAMW(.lr = 0.01, .loss_scale = PLUMB_DYNAMIC_LOSS_SCALE, .average = 0.9),
        *PLUMB_MUON(.lr = 0.01, .l2 = 1e-3),
        *PLUMB_LAMB(.lr = 0.01)};
    for (size_t i = 0; i < sizeof optimizers / sizeof *optimizers; i++) {
        for (int ragged = 0; ragged < 2; ragged++) {
            plumb_epoch one, other;
            double most = 0, moved = 0;
            steps_of(ragged ? 120 : 100, 1, optimizers[i], large, &one);
            steps_of(ragged ? 40 : 25, ragged ? 3 : 4, optimizers[i], small, &other);
            steps_of(300, 1, *PLUMB_SGD(.lr = 1e-9), start, &one);
            for (int k = 0; k < 128 * PIXELS; k++) {
                most = fmax(most, fabs((double)large[k] - (double)small[k]));
                moved = fmax(moved, fabs((double)large[k] - (double)start[k]));
            }
            CHECK_MSG(most <= 2e-4 * moved && moved > 1e-3, "%s: weights differ by %g, and have moved by %g",
                      optimizers[i].rule, most, moved);
            CHECK(other.steps == (ragged ? 8 : 12));
        }
    }
}

/* The step's first batch is fine, its second is not: nothing is applied, and the accumulators are as after the first. */
PLUMB_TEST(training, a_bad_batch_leaves_a_step_half_done)
{
    struct halves_bench b;
    struct copied c = {.at = -1};
    double micro = -1, examples = -1;
    int64_t steps = -1, batches = -1;
    REQUIRE(halves_open(&b, "logistic", 0, 1, 7));
    plumb_fit_options options = {.epochs = 1, .batch = 30, .accumulate = 10, .scaling = PLUMB_SCALING_NONE};
    CHECK(plumb_fit_kept(&b.model, b.state, b.train, &options, NULL, NULL,
                         &(struct plumb_keeper){.user = &c, .after = copy_after}) == PLUMB_NUMERIC);
    CHECK_TEXT(plumb_message(b.context), "training: step 1 (epoch 1, batch ");
    CHECK(plumb_state_get_number(b.state, "adam/micro:", &micro) == PLUMB_OK && micro == (double)c.calls);
    CHECK(plumb_state_get_number(b.state, "adam/examples:", &examples) == PLUMB_OK && examples == 30 * micro);
    CHECK(plumb_get_steps(b.state, "adam", &steps) == PLUMB_OK && steps == 0);
    CHECK(plumb_get_accumulated(b.state, "adam", &batches) == PLUMB_OK && batches == c.calls);
    CHECK(plumb_clear_gradients(b.state, "adam") == PLUMB_OK);
    CHECK(plumb_get_accumulated(b.state, "adam", &batches) == PLUMB_OK && batches == 0);
    CHECK(plumb_set_accumulation(b.state, "adam", 0) == PLUMB_BAD_INPUT);
    plumb_close(b.context);
}

/* ---- the best weights ---- */

/* Bright halves whose labels are the other way round in `wrong` of ten. */
static plumb_dataset *contrary(plumb_context *context, int wrong)
{
    float x[100][PIXELS];
    int32_t y[100];
    for (int n = 0; n < 100; n++) {
        y[n] = n % 2;
        for (int i = 0; i < PIXELS; i++) {
            x[n][i] = (i % SIDE >= SIDE / 2) == ((n % 2 == 1) == (n / 10 >= wrong));
        }
    }
    return plumb_dataset_arrays(context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), 100, x, y, 2);
}

/* Learning the one thing makes a dev set of the other worse and worse. */
PLUMB_TEST(training, stops_early_with_the_best_weights)
{
    struct halves_bench b, one;
    plumb_epoch history[20];
    int done;
    REQUIRE(halves_open(&b, "logistic", 0, 1, -1) && halves_open(&one, "logistic", 0, 1, -1));
    plumb_fit_options options = {.epochs = 20, .optimizer = PLUMB_ADAM(.lr = 0.01), .dev = contrary(b.context, 10), .patience = 3};
    CHECK_MSG(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK, "%s", plumb_message(b.context));
    CHECK_MSG(done == 4, "%d epochs", done);
    CHECK(history[0].better && !history[1].better && !history[3].better && history[3].dev_loss > history[0].dev_loss);
    CHECK(plumb_fit(&one.model, one.state, one.train, &(plumb_fit_options){.epochs = 1, .optimizer = PLUMB_ADAM(.lr = 0.01)},
                    NULL, NULL) == PLUMB_OK);
    float best[2 * PIXELS], first[2 * PIXELS];
    CHECK(plumb_state_get(b.state, "fc1.weight", best, sizeof best) == PLUMB_OK);
    CHECK(plumb_state_get(one.state, "fc1.weight", first, sizeof first) == PLUMB_OK);
    CHECK(memcmp(best, first, sizeof best) == 0);
    plumb_close(one.context);
    plumb_close(b.context);
}

/* Looks every 5 epochs and gives up at the first that found nothing better: at epoch 10. */
PLUMB_TEST(training, looks_every_few_epochs)
{
    struct halves_bench b;
    plumb_epoch history[20];
    int done;
    REQUIRE(halves_open(&b, "logistic", 0, 1, -1));
    plumb_fit_options options = {.epochs = 20, .dev = contrary(b.context, 10), .monitor = "dev_accuracy",
                                 .check_every = 5, .patience = 1, .keep_last = true};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK);
    CHECK_MSG(done == 10 && !history[0].better && history[4].better, "%d epochs", done);
    options.min_change = 10; /* nothing gains as much, not even the training's own loss */
    options.monitor = "train_loss";
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK && done == 10);
    options.patience = 0; /* the last epoch is looked at, too */
    options.min_change = 0;
    options.epochs = 7;
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK && done == 7);
    CHECK(history[4].better && !history[5].better && history[6].better);
    options.monitor = "test_loss";
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "monitor 'test_loss' is not dev_loss");
    plumb_clear_error(b.context);
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.patience = 1}, history, &done) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "dev_loss is monitored, but there is no dev set");
    plumb_close(b.context);
}

PLUMB_TEST(training, ends_with_averaged_weights)
{
    struct halves_bench b;
    plumb_epoch history[3];
    float weights[2 * PIXELS], average[2 * PIXELS];
    plumb_evaluation e = {0};
    REQUIRE(halves_open(&b, "logistic", 0, 1, -1));
    plumb_fit_options options = {
        .epochs = 3, .dev = b.test, .optimizer = PLUMB_ADAM(.lr = 0.05, .average = PLUMB_POLYAK)};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, NULL) == PLUMB_OK);
    CHECK(plumb_state_get(b.state, "fc1.weight", weights, sizeof weights) == PLUMB_OK);
    CHECK(plumb_state_get(b.state, "adam/average:fc1.weight", average, sizeof average) == PLUMB_OK);
    CHECK(memcmp(weights, average, sizeof weights) == 0);
    CHECK(plumb_evaluate(&b.model, b.state, b.test, 0, &e) == PLUMB_OK && e.loss == history[2].dev_loss);
    plumb_close(b.context);
}

/* ---- what is trained, and how long ---- */

PLUMB_TEST(training, freezes_by_pattern)
{
    static const struct {
        const char *patterns;
        bool moves[4]; /* fc1.weight, fc1.bias, fc2.weight, fc2.bias */
    } rows[] = {{"fc1.*", {false, false, true, true}},
                {"*,!fc2*", {false, false, true, true}},
                {"*.bias", {true, false, true, false}},
                {"fc?.weight,!fc1.weight", {true, true, false, true}}};
    static const char *const names[4] = {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct halves_bench b;
        REQUIRE(halves_open(&b, "mlp", 0, 1, -1));
        plumb_state *before = plumb_state_clone(b.state);
        plumb_fit_options options = {.steps = 3, .freeze = rows[i].patterns};
        CHECK_MSG(plumb_fit(&b.model, b.state, b.train, &options, NULL, NULL) == PLUMB_OK, "%s", plumb_message(b.context));
        for (int k = 0; k < 4; k++) {
            float was[2][128 * PIXELS];
            plumb_shape shape = plumb_state_shape(b.state, names[k]);
            size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(float);
            CHECK(plumb_state_get(before, names[k], was[0], bytes) == PLUMB_OK);
            CHECK(plumb_state_get(b.state, names[k], was[1], bytes) == PLUMB_OK);
            CHECK_MSG((memcmp(was[0], was[1], bytes) != 0) == rows[i].moves[k], "%s: %s", rows[i].patterns, names[k]);
        }
        CHECK(plumb_parameters(b.model.graph, NULL, 0) == 4); /* the model is as it was */
        options.freeze = "fc1.*,conv*";
        CHECK(plumb_fit(&b.model, b.state, b.train, &options, NULL, NULL) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(b.context), "freeze 'conv*': no parameter is called so");
        plumb_close(b.context);
    }
}

/* Of logits z with smoothing s the loss is -sum q log softmax(z), q = (1 - s) one-hot + s / 2. */
PLUMB_TEST(training, smooths_labels)
{
    struct halves_bench b;
    plumb_epoch row;
    double sum = 0;
    REQUIRE(halves_open(&b, "logistic", 0, 1, -1));
    float p[2 * 300];
    int32_t predicted[300];
    plumb_evaluation e = {.probabilities = p, .predicted = predicted};
    plumb_fit_options options = {.epochs = 1, .batch = 300, .label_smoothing = 0.2};
    CHECK(plumb_fit_scaling(&b.model, b.state, b.train, PLUMB_SCALING_STANDARD) == PLUMB_OK);
    CHECK(plumb_evaluate(&b.model, b.state, b.train, 0, &e) == PLUMB_OK);
    for (int i = 0; i < 300; i++) {
        sum -= 0.9 * log((double)p[2 * i + i % 2]) + 0.1 * log((double)p[2 * i + 1 - i % 2]);
    }
    CHECK_MSG(plumb_fit(&b.model, b.state, b.train, &options, &row, NULL) == PLUMB_OK, "%s", plumb_message(b.context));
    CHECK_NEAR(row.train_loss, sum / 300, 1e-5);
    options.label_smoothing = 1;
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, &row, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "label smoothing 1 is outside [0, 1)");
    plumb_close(b.context);
}

/* A model whose logits are nothing but the picture's first pixels: where pixel 0 of class 0 and pixel 1 of class 1 are large,
 * the loss of a mixture is the entropy of its shares if its label is that mixture, and large if it is only the first one. */
PLUMB_TEST(training, mixes_labels)
{
    plumb_context *c = plumb_open(NULL);
    plumb_graph *g = plumb_graph_new(c, "pixels");
    plumb_model m = {.graph = g, .input_shape = PLUMB_SHAPE(1, 1, 2), .classes = 2};
    m.input = plumb_input(g, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1, 1, 2));
    m.label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t one = plumb_variable(g, "one", PLUMB_F32, PLUMB_SHAPE(1, 2),
                                 &(plumb_variable_options){.init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}});
    m.logits = plumb_mul(g, plumb_flatten(g, m.input, 1), one);
    m.loss = plumb_softmax_cross_entropy(g, m.logits, m.label, NULL);
    float x[200][2];
    int32_t y[200];
    for (int n = 0; n < 200; n++) {
        y[n] = n % 2;
        x[n][n % 2] = 50;
        x[n][1 - n % 2] = -50;
    }
    plumb_dataset *d = plumb_dataset_arrays(c, PLUMB_F32, m.input_shape, 200, x, y, 2);
    plumb_state *state = plumb_state_new(g);
    plumb_epoch row[3];
    for (int i = 0; i < 3; i++) { /* as they are, mixed, mixed and smoothed */
        const plumb_augment mixup = {.size = sizeof mixup, .mixup = 1};
        const plumb_fit_options options = {.epochs = 1, .batch = 200, .optimizer = PLUMB_SGD(.lr = 1e-9),
                                           .augment = i ? &mixup : NULL, .label_smoothing = i == 2 ? 0.5 : 0};
        CHECK_MSG(plumb_fit(&m, state, d, &options, &row[i], NULL) == PLUMB_OK, "%s", plumb_message(c));
    }
    /* With share s and another class the logits are +-50 (2 s - 1): the loss is that times 2 (1 - s) or 2 s, whichever is
     * wrong, about; half of the partners are of the same class, shares are uniform: E 100 |2 s - 1| min(s, 1 - s) / 2. */
    CHECK(row[0].train_loss < 1e-6);
    CHECK_NEAR(row[1].train_loss, 100 * 2 * (1.0 / 8 - 1.0 / 12) / 2, 1.2);
    CHECK(row[2].train_loss > row[1].train_loss + 5);
    plumb_close(c);
}

PLUMB_TEST(training, counts_steps)
{
    struct halves_bench b;
    plumb_epoch history[3];
    int done;
    int64_t steps;
    REQUIRE(halves_open(&b, "logistic", 0, 1, -1));
    plumb_fit_options options = {.steps = 13, .batch = 60}; /* 5 in an epoch */
    CHECK(plumb_fit_epochs(b.train, &options) == 3);
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK);
    CHECK(done == 3 && history[1].steps == 5 && history[2].steps == 3);
    CHECK(plumb_get_steps(b.state, "adam", &steps) == PLUMB_OK && steps == 13);
    options = (plumb_fit_options){.steps = 4, .batch = 60, .accumulate = 2}; /* 3 in an epoch, of 2, 2 and 1 batches */
    CHECK(plumb_fit_epochs(b.train, &options) == 2);
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK);
    CHECK(done == 2 && history[0].steps == 5 && history[1].steps == 2);
    CHECK(plumb_get_steps(b.state, "adam", &steps) == PLUMB_OK && steps == 17);
    options = (plumb_fit_options){.accumulate = -1};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_BAD_INPUT);
    plumb_close(b.context);
}

/* ---- looking for a rate and a batch ---- */

PLUMB_TEST(training, finds_a_rate)
{
    struct halves_bench b;
    enum { STEPS = 60 };
    double lr[STEPS], loss[STEPS], smooth[STEPS];
    char folder[] = "/tmp/plumb-rates-XXXXXX", path[2][64];
    struct stat st;
    REQUIRE(mkdtemp(folder) && halves_open(&b, "mlp", 0, 1, -1));
    plumb_state *before = plumb_state_clone(b.state);
    plumb_rate_search s = {.size = sizeof s, .steps = STEPS, .low = 1e-5, .high = 1e3, .lr = lr, .loss = loss, .smooth = smooth};
    plumb_fit_options options = {.batch = 50, .optimizer = PLUMB_SGD(.lr = 0.1)};
    plumb_dataset *noisy = contrary(b.context, 2); /* so that large steps do harm */
    CHECK_MSG(plumb_find_rate(&b.model, b.state, noisy, &options, &s) == PLUMB_OK, "%s", plumb_message(b.context));
    CHECK(!state_difference(before, b.state));
    CHECK_MSG(s.count > 20 && s.count < STEPS, "%d steps", s.count); /* it diverges before 1000 */
    CHECK_MSG(s.steepest > 1e-3 && s.steepest <= s.least && s.least < 300, "steepest %g, least %g", s.steepest, s.least);
    CHECK_NEAR(lr[0], 1e-5, 1e-15);
    snprintf(path[0], sizeof path[0], "%s/rates.csv", folder);
    snprintf(path[1], sizeof path[1], "%s/rates.svg", folder);
    CHECK(plumb_write_rates_csv(b.context, path[0], &s) == PLUMB_OK);
    CHECK(plumb_write_rates_svg(b.context, path[1], "rates", &s) == PLUMB_OK);
    for (int i = 0; i < 2; i++) {
        CHECK(stat(path[i], &st) == 0 && st.st_size > 500 && remove(path[i]) == 0);
    }
    s.low = -1;
    CHECK(plumb_find_rate(&b.model, b.state, noisy, &options, &s) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "rate search: 60 steps from -1");
    plumb_close(b.context);
    CHECK(rmdir(folder) == 0);
}

PLUMB_TEST(training, finds_the_largest_batch)
{
    struct halves_bench b;
    int64_t batch = 0, needed[2];
    REQUIRE(halves_open(&b, "mlp", 0, 1, -1));
    plumb_program *step = plumb_compile_training(b.model.graph, b.state, b.model.loss, PLUMB_ADAM(.skip_bad_steps = true),
                                                 &b.model.logits, 1);
    REQUIRE(step);
    for (int i = 0; i < 2; i++) {
        plumb_memory_plan plan;
        CHECK(plumb_bind(step, PLUMB_BATCH, 16 << i) == PLUMB_OK && plumb_program_memory(step, &plan) == PLUMB_OK);
        needed[i] = plan.total;
    }
    CHECK(needed[1] > needed[0]);
    CHECK(plumb_fit_largest_batch(&b.model, b.state, b.train, NULL, needed[1] - 1, 1024, &batch) == PLUMB_OK && batch == 16);
    CHECK(plumb_fit_largest_batch(&b.model, b.state, b.train, NULL, needed[1], 1024, &batch) == PLUMB_OK && batch == 32);
    CHECK(plumb_fit_largest_batch(&b.model, b.state, b.train, NULL, 1 << 30, 1024, &batch) == PLUMB_OK && batch == 256);
    CHECK(plumb_fit_largest_batch(&b.model, b.state, b.train, NULL, 1 << 30, 100, &batch) == PLUMB_OK && batch == 64);
    CHECK(plumb_fit_largest_batch(&b.model, b.state, b.train, NULL, 1000, 1024, &batch) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "batch size: one example needs ");
    plumb_close(b.context);
}

/* ---- memory that runs out ---- */

/* Everything at once, looked for and trained; PLUMB_OK only if all of it was. */
static plumb_status everything(struct counting *counting)
{
    const plumb_allocator allocator = counting_allocator(counting);
    plumb_error error = {0};
    struct halves_bench b = {.context = plumb_open(&(plumb_options){.threads = 1, .allocator = &allocator, .error = &error})};
    if (!b.context) {
        return error.status;
    }
    plumb_status status = plumb_model_build(
        b.context, "mlp", &(plumb_model_options){.input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2}, &b.model);
    b.state = status ? NULL : plumb_state_new(b.model.graph);
    b.train = b.state ? halves(b.context, 40, 1, -1, 0) : NULL;
    const plumb_augment mixup = {.size = sizeof mixup, .crop = 1, .mixup = 1};
    plumb_fit_options options = {.epochs = 2, .batch = 16, .accumulate = 2, .label_smoothing = 0.1, .freeze = "fc1.bias",
                                 .optimizer = PLUMB_ADAM(.average = 0.9), .dev = b.train, .monitor = "dev_loss",
                                 .augment = &mixup};
    plumb_rate_search search = {.size = sizeof search, .steps = 10};
    if (b.train && plumb_fit_largest_batch(&b.model, b.state, b.train, &options, 1 << 30, 16, &options.batch) == PLUMB_OK &&
        plumb_find_rate(&b.model, b.state, b.train, &options, &search) == PLUMB_OK) {
        status = plumb_fit(&b.model, b.state, b.train, &options, NULL, NULL);
        CHECK_MSG(!status == !plumb_last_status(b.context), "status %d: %s", (int)status, plumb_message(b.context));
    }
    status = plumb_last_status(b.context);
    CHECK(!status || *plumb_message(b.context));
    plumb_close(b.context);
    return status;
}

PLUMB_TEST(training, survives_every_failing_allocation)
{
    struct counting counting = {0};
    CHECK(everything(&counting) == PLUMB_OK && counting.blocks == 0);
    int64_t total = counting.calls;
    CHECK(total > 300);
    for (int64_t n = 1; n <= total && check_failures() < 5; n += 13) {
        counting = (struct counting){.fail_at = n};
        plumb_status status = everything(&counting);
        CHECK_MSG(status == PLUMB_FAILED && counting.blocks == 0, "allocation %lld of %lld fails: status %d, %lld blocks left",
                  (long long)n, (long long)total, (int)status, (long long)counting.blocks);
    }
}
