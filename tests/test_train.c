/* The training loop and its reports, on the brighter half (halves.h). */
#include <unistd.h>

#include "check.h"
#include "core/core.h"
#include "files.h"
#include "halves.h"

static bool open_bench(struct halves_bench *b, const char *model, int threads, int64_t bad)
{
    return halves_open(b, model, strcmp(model, "mlp") == 0 ? 0.25 : 0, threads, bad);
}

struct calls {
    int steps, epochs, stop_at_step, stop_at_epoch;
    plumb_progress last;
};

static bool on_step(void *user, const plumb_progress *progress)
{
    struct calls *c = user;
    c->last = *progress;
    return ++c->steps != c->stop_at_step;
}

static bool on_epoch(void *user, const plumb_epoch *epoch)
{
    struct calls *c = user;
    (void)epoch;
    return ++c->epochs != c->stop_at_epoch;
}

PLUMB_TEST(train, learns_and_tells)
{
    struct halves_bench b;
    plumb_epoch history[4];
    struct calls calls = {0};
    int done = -1;
    REQUIRE(open_bench(&b, "logistic", 2, -1));
    const plumb_fit_options options = {.epochs = 4,
                                       .batch = 32,
                                       .optimizer = PLUMB_ADAM(.lr = 0.02),
                                       .test = b.test,
                                       .on_step = on_step,
                                       .on_epoch = on_epoch,
                                       .user = &calls};
    plumb_status status = plumb_fit(&b.model, b.state, b.train, &options, history, &done);
    CHECK_MSG(!status, "%s", plumb_message(b.context));
    CHECK(done == 4 && calls.epochs == 4 && calls.steps == 40);
    CHECK(calls.last.step == 10 && calls.last.steps == 10 && calls.last.examples == 300);
    CHECK(history[3].epoch == 4 && history[3].steps == 10 && history[3].lr == 0.02);
    CHECK(history[3].train_loss < history[0].train_loss && history[3].test_accuracy > 0.95);
    CHECK(history[3].images_per_s > 0 && history[3].data_wait >= 0 && history[3].data_wait < 1);

    int64_t confusion[4], wrong = 0;
    int32_t predicted[101];
    float p[202];
    plumb_evaluation e = {.confusion = confusion, .predicted = predicted, .probabilities = p};
    CHECK(plumb_evaluate(&b.model, b.state, b.test, 16, &e) == PLUMB_OK);
    CHECK_NEAR(e.loss, history[3].test_loss, 1e-6);
    CHECK(e.accuracy == history[3].test_accuracy && e.count == 101);
    CHECK(confusion[0] + confusion[1] == 51 && confusion[2] + confusion[3] == 50);
    for (int i = 0; i < 101; i++) {
        CHECK_NEAR(p[2 * i] + p[2 * i + 1], 1, 1e-6);
        CHECK(p[2 * i + predicted[i]] >= 0.5f);
        wrong += predicted[i] != i % 2;
    }
    CHECK(wrong == confusion[1] + confusion[2]);
    plumb_close(b.context);
}

/* Trains an MLP with dropout and copies its weights out. */
static void train_weights(int threads, uint64_t seed, float *weights, size_t bytes)
{
    struct halves_bench b;
    REQUIRE(open_bench(&b, "mlp", threads, -1));
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = 2, .batch = 64, .seed = seed},
                    NULL, NULL) == PLUMB_OK);
    CHECK(plumb_state_get(b.state, "fc1.weight", weights, bytes) == PLUMB_OK);
    plumb_close(b.context);
}

PLUMB_TEST(train, same_seed_same_bits)
{
    static float one[128 * PIXELS], other[128 * PIXELS];
    train_weights(1, 1, one, sizeof(one));
    train_weights(2, 1, other, sizeof(other));
    CHECK(memcmp(one, other, sizeof(one)) == 0);
    train_weights(2, 2, other, sizeof(other));
    CHECK(memcmp(one, other, sizeof(one)) != 0);
}

PLUMB_TEST(train, scaling_is_of_the_training_set)
{
    struct halves_bench b;
    double expected[2], shift, scale;
    REQUIRE(open_bench(&b, "logistic", 1, -1));
    CHECK(plumb_dataset_scaling(b.train, PLUMB_SCALING_STANDARD, 1, &expected[0], &expected[1]) == PLUMB_OK);
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = 1}, NULL, NULL) == PLUMB_OK);
    CHECK(plumb_state_get_number(b.state, "scaling.shift", &shift) == PLUMB_OK);
    CHECK(plumb_state_get_number(b.state, "scaling.scale", &scale) == PLUMB_OK);
    CHECK_NEAR(shift, expected[0], 1e-7);
    CHECK_NEAR(scale, expected[1], 1e-6);
    CHECK(plumb_state_set_number(b.state, "scaling.shift", 7) == PLUMB_OK);
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = 1, .keep_scaling = true}, NULL,
                    NULL) == PLUMB_OK);
    CHECK(plumb_state_get_number(b.state, "scaling.shift", &shift) == PLUMB_OK && shift == 7);
    plumb_close(b.context);
}

PLUMB_TEST(train, rates_follow_the_schedule)
{
    static const double exponential[3] = {0.1, 0.05, 0.025}, cosine_ends[2] = {0.1, 0.01};
    struct halves_bench b;
    plumb_epoch history[3];
    REQUIRE(open_bench(&b, "logistic", 1, -1));
    CHECK(plumb_fit(&b.model, b.state, b.train,
                    &(plumb_fit_options){.epochs = 3,
                                         .optimizer = PLUMB_SGD(.lr = 0.1),
                                         .schedule = &(plumb_schedule){.rule = "exponential", .decay = 0.5}},
                    history, NULL) == PLUMB_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(history[i].lr, exponential[i], 1e-12);
    }
    CHECK(plumb_fit(&b.model, b.state, b.train,
                    &(plumb_fit_options){.epochs = 3,
                                         .optimizer = PLUMB_SGD(.lr = 0.1),
                                         .schedule = &(plumb_schedule){.rule = "cosine", .lr_end = 0.01}},
                    history, NULL) == PLUMB_OK);
    CHECK(history[0].lr < cosine_ends[0] && history[0].lr > history[1].lr && history[2].lr > cosine_ends[1]);
    CHECK(isnan(history[2].test_loss));
    CHECK(plumb_fit(&b.model, b.state, b.train,
                    &(plumb_fit_options){.schedule = &(plumb_schedule){.rule = "cosinus"}}, NULL,
                    NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "cosinus");
    plumb_close(b.context);
}

PLUMB_TEST(train, callbacks_stop)
{
    struct halves_bench b;
    struct calls calls = {.stop_at_step = 13};
    plumb_epoch history[9];
    int done;
    REQUIRE(open_bench(&b, "logistic", 1, -1));
    plumb_fit_options options = {
        .epochs = 9, .batch = 30, .on_step = on_step, .on_epoch = on_epoch, .user = &calls};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK);
    CHECK(done == 2 && calls.steps == 13 && history[1].steps == 3);
    calls = (struct calls){.stop_at_epoch = 3};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK);
    CHECK(done == 3 && calls.steps == 30);
    plumb_close(b.context);
}

PLUMB_TEST(train, stops_at_not_a_number)
{
    struct halves_bench b;
    float weights[2 * PIXELS];
    int done;
    REQUIRE(open_bench(&b, "logistic", 1, 123));
    /* Scaling would already be spoiled, so it is given. */
    plumb_fit_options options = {.epochs = 2, .batch = 50, .scaling = PLUMB_SCALING_NONE};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, NULL, &done) == PLUMB_NUMERIC);
    CHECK(done == 0);
    CHECK_TEXT(plumb_message(b.context), "training: step ");
    CHECK_TEXT(plumb_message(b.context), "the loss is not a number");
    CHECK_TEXT(plumb_message(b.context), "input 'image'");
    CHECK_TEXT(plumb_message(b.context), "example 123 of the data set");
    CHECK(plumb_state_get(b.state, "fc1.weight", weights, sizeof(weights)) == PLUMB_OK);
    for (int i = 0; i < 2 * PIXELS; i++) {
        CHECK(isfinite(weights[i]));
    }
    plumb_close(b.context);
}

PLUMB_TEST(train, stops_when_it_diverges)
{
    struct halves_bench b;
    int done;
    REQUIRE(open_bench(&b, "mlp", 1, -1));
    plumb_fit_options options = {.epochs = 3, .optimizer = PLUMB_SGD(.lr = 1e30)};
    CHECK(plumb_fit(&b.model, b.state, b.train, &options, NULL, &done) == PLUMB_NUMERIC);
    CHECK_TEXT(plumb_message(b.context), "the step was not applied");
    CHECK_TEXT(plumb_message(b.context), "first to be so");
    plumb_close(b.context);
}

/* Batches of four keep each example's share of the loss large, so that the scale of 2^16 overflows f16 at first. */
PLUMB_TEST(train, goes_on_after_an_overflow)
{
    static const plumb_dtype precision[] = {PLUMB_BF16, PLUMB_F16};
    for (int i = 0; i < 2; i++) {
        struct halves_bench b;
        plumb_epoch history[3];
        int done;
        int64_t applied = 0, steps = 0, skipped = 0;
        REQUIRE(open_bench(&b, "mlp", 1, -1));
        plumb_fit_options options = {.epochs = 3, .batch = 4, .test = b.test, .precision = precision[i]};
        CHECK_MSG(plumb_fit(&b.model, b.state, b.train, &options, history, &done) == PLUMB_OK, "%s",
                  plumb_message(b.context));
        for (int e = 0; e < done; e++) {
            steps += history[e].steps;
            skipped += history[e].skipped;
        }
        CHECK(plumb_get_steps(b.state, "adam", &applied) == PLUMB_OK && steps == 225 && applied == steps - skipped);
        CHECK(precision[i] == PLUMB_F16 ? skipped > 0 && skipped < 12 : skipped == 0);
        CHECK(done == 3 && history[2].test_accuracy > 0.9 && isfinite(history[2].train_loss));
        CHECK(plumb_state_has(b.state, "adam/loss_scale:") == (precision[i] == PLUMB_F16));
        plumb_close(b.context);
    }
}

/* The derivative of a root at 0 is no number whatever the scale: the loss is finite, the gradients never. The scale falls
 * from 2^16 to 1 in 16 steps, and the 17th ends the training. */
PLUMB_TEST(train, stops_when_no_scale_helps)
{
    for (int i = 0; i < 2; i++) {
        struct halves_bench b;
        int done;
        REQUIRE(open_bench(&b, "logistic", 1, -1));
        plumb_graph *g = b.model.graph;
        plumb_t w = plumb_find(g, "fc1.weight");
        plumb_t nothing = plumb_sqrt(g, plumb_sum(g, plumb_affine(g, w, 0, 0), NULL, 0, false));
        b.model.loss = plumb_add(g, b.model.loss, nothing);
        plumb_fit_options options = {.epochs = 4, .batch = 50, .precision = i ? PLUMB_F16 : PLUMB_F32};
        CHECK(plumb_fit(&b.model, b.state, b.train, &options, NULL, &done) == PLUMB_NUMERIC);
        CHECK_TEXT(plumb_message(b.context), i ? "step 1 (epoch 3, batch 5): a gradient is not finite even with the least loss scale"
                                               : "step 1 (epoch 1, batch 1): a gradient is not finite;");
        plumb_close(b.context);
    }
}

PLUMB_TEST(train, refuses_what_does_not_fit)
{
    struct halves_bench b;
    plumb_evaluation e = {0};
    const float x[8] = {0};
    const int32_t y[2] = {0, 1};
    REQUIRE(open_bench(&b, "logistic", 1, -1));
    plumb_dataset *narrow = plumb_dataset_arrays(b.context, PLUMB_F32, PLUMB_SHAPE(1, 2, 2), 2, x, y, 2);
    plumb_dataset *rich = plumb_dataset_arrays(b.context, PLUMB_F32, PLUMB_SHAPE(1, 2, 2), 2, x, y, 3);
    CHECK(plumb_fit(&b.model, b.state, narrow, NULL, NULL, NULL) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(b.context), "pictures of (1, 2, 2), the model takes (1, 8, 8)");
    plumb_clear_error(b.context);
    CHECK(plumb_evaluate(&b.model, b.state, rich, 0, &e) == PLUMB_BAD_INPUT);
    plumb_clear_error(b.context);
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = -1}, NULL, NULL) ==
          PLUMB_BAD_INPUT);
    plumb_clear_error(b.context);
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.batch = -1}, NULL, NULL) ==
          PLUMB_BAD_INPUT);
    CHECK(plumb_fit(NULL, b.state, b.train, NULL, NULL, NULL) == PLUMB_BAD_INPUT);
    plumb_close(b.context);
}

/* ---- reports ---- */

/* Every "<name" has its end, and no number went wrong. */
static void check_svg(const char *path, const char *title)
{
    size_t bytes;
    char *text = files_read(path, &bytes);
    int depth = 0;
    REQUIRE(text);
    CHECK_TEXT(text, title);
    CHECK(!strstr(text, "nan") && !strstr(text, "inf\""));
    for (const char *p = strstr(text, "<svg"); p && *p; p++) {
        if (p[0] == '<') {
            depth += p[1] == '/' ? -1 : 1;
        } else if (p[0] == '/' && p[1] == '>') {
            depth--;
        }
    }
    CHECK(depth == 0);
    free(text);
}

PLUMB_TEST(train, reports_are_written)
{
    struct halves_bench b;
    char folder[] = "/tmp/plumb-train-XXXXXX", path[4][80];
    static const char *const names[4] = {"history.csv", "curves.svg", "confusion.svg", "mistakes.png"};
    plumb_epoch history[2];
    size_t bytes;
    int64_t confusion[4];
    int32_t predicted[101];
    float p[202];
    plumb_evaluation e = {.confusion = confusion, .predicted = predicted, .probabilities = p};
    REQUIRE(mkdtemp(folder) && open_bench(&b, "logistic", 1, -1));
    for (int i = 0; i < 4; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/%s", folder, names[i]);
    }
    CHECK(plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = 2, .test = b.test}, history,
                    NULL) == PLUMB_OK);
    CHECK(plumb_evaluate(&b.model, b.state, b.test, 0, &e) == PLUMB_OK);
    CHECK(plumb_write_history_csv(b.context, path[0], history, 2) == PLUMB_OK);
    CHECK(plumb_write_curves_svg(b.context, path[1], "A & B < C", history, 2) == PLUMB_OK);
    CHECK(plumb_write_confusion_svg(b.context, path[2], "halves", b.test, &e) == PLUMB_OK);
    CHECK(plumb_write_mistakes_png(b.context, path[3], "halves", b.test, &e, 3, 2) == PLUMB_OK);
    CHECK_MSG(plumb_last_status(b.context) == PLUMB_OK, "%s", plumb_message(b.context));
    char *csv = files_read(path[0], &bytes);
    CHECK_TEXT(csv, "epoch,steps,lr,train_loss,train_accuracy,test_loss,test_accuracy,seconds,images_per_s,"
                    "data_wait,dev_loss,dev_accuracy\n1,5,0.001,");
    free(csv);
    check_svg(path[1], "A &amp; B &lt; C");
    check_svg(path[2], "halves");
    char *png = files_read(path[3], &bytes);
    CHECK(png && bytes > 100 && memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0);
    free(png);
    CHECK(plumb_write_history_csv(b.context, "/nonexistent/history.csv", history, 2) == PLUMB_IO_ERROR);
    plumb_close(b.context);
    for (int i = 0; i < 4; i++) {
        CHECK(remove(path[i]) == 0);
    }
    CHECK(rmdir(folder) == 0); /* no temporary file was left */
}

/* ---- memory that runs out ---- */

struct scarce {
    int64_t left; /* allocations still granted; negative: all */
    int64_t asked, held;
};

static void *scarce_alloc(void *user, size_t bytes)
{
    struct scarce *s = user;
    s->asked++;
    if (s->left == 0) {
        return NULL;
    }
    s->left -= s->left > 0;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
    s->held += memory != NULL;
    return memory;
}

static void scarce_free(void *user, void *memory, size_t bytes)
{
    struct scarce *s = user;
    (void)bytes;
    s->held -= memory != NULL;
    free(memory);
}

/* Builds, trains one epoch, evaluates and reports; OK only if everything was. */
static plumb_status whole_job(struct scarce *s, const char *folder)
{
    char path[96];
    plumb_error error = {0};
    plumb_epoch row;
    int64_t confusion[4];
    int32_t predicted[64];
    float p[128];
    plumb_evaluation e = {.confusion = confusion, .predicted = predicted, .probabilities = p};
    const plumb_allocator allocator = {s, scarce_alloc, scarce_free};
    struct halves_bench b = {
        .context = plumb_open(&(plumb_options){.threads = 1, .allocator = &allocator, .error = &error})};
    if (!b.context) {
        return error.status;
    }
    plumb_status status = plumb_model_build(
        b.context, "logistic",
        &(plumb_model_options){.input_shape = PLUMB_SHAPE(1, SIDE, SIDE), .classes = 2}, &b.model);
    b.state = status ? NULL : plumb_state_new(b.model.graph);
    b.train = b.state ? halves(b.context, 64, 1, -1, 0) : NULL;
    if (b.train &&
        plumb_fit(&b.model, b.state, b.train, &(plumb_fit_options){.epochs = 1, .test = b.train}, &row,
                  NULL) == PLUMB_OK &&
        plumb_evaluate(&b.model, b.state, b.train, 0, &e) == PLUMB_OK) {
        snprintf(path, sizeof(path), "%s/report", folder);
        status = plumb_write_history_csv(b.context, path, &row, 1);
        status = status ? status : plumb_write_curves_svg(b.context, path, "curves", &row, 1);
        status = status ? status : plumb_write_confusion_svg(b.context, path, "confusion", b.train, &e);
        status = status ? status : plumb_write_mistakes_png(b.context, path, "mistakes", b.train, &e, 2, 1);
        remove(path);
    }
    status = plumb_last_status(b.context);
    CHECK(!status || *plumb_message(b.context));
    plumb_close(b.context);
    return status;
}

PLUMB_TEST(train, survives_every_failing_allocation)
{
    char folder[] = "/tmp/plumb-oom-XXXXXX";
    struct scarce s = {.left = -1};
    REQUIRE(mkdtemp(folder));
    CHECK(whole_job(&s, folder) == PLUMB_OK && s.held == 0);
    int64_t total = s.asked;
    CHECK(total > 100);
    for (int64_t n = 0; n < total && check_failures() < 5; n++) {
        s = (struct scarce){.left = n};
        plumb_status status = whole_job(&s, folder);
        CHECK_MSG(status == PLUMB_FAILED, "allocation %lld of %lld fails: status %d", (long long)n,
                  (long long)total, (int)status);
        CHECK_MSG(s.held == 0, "allocation %lld fails: %lld blocks are left", (long long)n,
                  (long long)s.held);
    }
    CHECK_MSG(rmdir(folder) == 0, "a file was left");
}
