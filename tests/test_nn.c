/* Layers, initialisers, models and summaries: the counts and sizes of the literature, statistics of initial weights, the
 * symmetry that zero weights cannot break, and what is said about wrong input. */
#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

static plumb_context *open_context(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 7, .threads = 2});
}

/* ---- models ---- */

struct expected_row {
    const char *name;
    int64_t activation, parameters, multiply_adds;
};

static void check_summary(const char *model_name, const struct expected_row *expected, int count, int64_t total)
{
    plumb_context *context = open_context();
    plumb_model model;
    REQUIRE(context);
    plumb_status status = plumb_model_build(context, model_name, NULL, &model);
    CHECK_MSG(status == PLUMB_OK, "%s: %s", model_name, plumb_message(context));
    plumb_summary_row rows[32];
    int n = status == PLUMB_OK ? plumb_summary(model.graph, model.input, model.logits, rows, 32) : 0;
    int64_t parameters = 0;
    CHECK_MSG(n == count, "%s: %d rows, expected %d", model_name, n, count);
    for (int i = 0; i < n && i < count; i++) {
        CHECK_MSG(strcmp(rows[i].name, expected[i].name) == 0, "%s row %d: '%s'", model_name, i, rows[i].name);
        CHECK_MSG(rows[i].activation == expected[i].activation, "%s '%s': activation %lld", model_name, rows[i].name,
                  (long long)rows[i].activation);
        CHECK_MSG(rows[i].parameters == expected[i].parameters, "%s '%s': parameters %lld", model_name, rows[i].name,
                  (long long)rows[i].parameters);
        CHECK_MSG(rows[i].multiply_adds == expected[i].multiply_adds, "%s '%s': multiply-adds %lld", model_name,
                  rows[i].name, (long long)rows[i].multiply_adds);
        parameters += rows[i].parameters;
    }
    CHECK_MSG(parameters == total, "%s: %lld parameters", model_name, (long long)parameters);
    plumb_close(context);
}

PLUMB_TEST(nn, lenet5_has_61706_parameters)
{
    static const struct expected_row rows[] = {
        {"image", 784, 0, 0},     {"conv1", 4704, 156, 117600},  {"pool1", 1176, 0, 0},
        {"conv2", 1600, 2416, 240000}, {"pool2", 400, 0, 0},     {"fc1", 120, 48120, 48000},
        {"fc2", 84, 10164, 10080}, {"fc3", 10, 850, 840},
    };
    check_summary("lenet5", rows, 8, 61706);
}

PLUMB_TEST(nn, classic_lenet5_has_61706_parameters)
{
    static const struct expected_row rows[] = {
        {"image", 1024, 0, 0},    {"conv1", 4704, 156, 117600},  {"pool1", 1176, 0, 0},
        {"conv2", 1600, 2416, 240000}, {"pool2", 400, 0, 0},     {"fc1", 120, 48120, 48000},
        {"fc2", 84, 10164, 10080}, {"fc3", 10, 850, 840},
    };
    check_summary("lenet5-classic", rows, 8, 61706);
}

PLUMB_TEST(nn, teaching_lenet5_has_the_sizes_of_the_course)
{
    static const struct expected_row rows[] = {
        {"image", 3072, 0, 0},    {"conv1", 6272, 608, 470400},  {"pool1", 1568, 0, 0},
        {"conv2", 1600, 3216, 320000}, {"pool2", 400, 0, 0},     {"fc1", 120, 48120, 48000},
        {"fc2", 84, 10164, 10080}, {"fc3", 10, 850, 840},
    };
    check_summary("lenet5-teaching", rows, 8, 62958);
}

PLUMB_TEST(nn, fully_connected_models)
{
    static const struct expected_row mlp[] = {{"image", 784, 0, 0}, {"fc1", 128, 100480, 100352}, {"fc2", 10, 1290, 1280}};
    static const struct expected_row logistic[] = {{"image", 784, 0, 0}, {"fc1", 10, 7850, 7840}};
    check_summary("mlp", mlp, 3, 101770);
    check_summary("logistic", logistic, 2, 7850);
}

struct expected_variable {
    const char *name;
    plumb_shape shape;
};

static void check_variables(const plumb_graph *graph, const struct expected_variable *variables, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        plumb_shape shape = plumb_shape_of(graph, plumb_find(graph, variables[k].name));
        CHECK_MSG(plumb_shape_equal(&shape, &variables[k].shape), "%s", variables[k].name);
    }
}

/* Parameters, variables and rows of a summary, and the shapes that `output` has for pictures of another size. */
static void check_counts(plumb_context *context, const char *name, int64_t expected, int variables, int rows_expected,
                         const struct expected_variable *some, size_t count)
{
    plumb_model model;
    plumb_summary_row rows[256];
    int64_t parameters = 0;
    REQUIRE(plumb_model_build(context, name, NULL, &model) == PLUMB_OK);
    int n = plumb_summary(model.graph, model.input, model.logits, rows, 256);
    for (int k = 0; k < n; k++)
        parameters += rows[k].parameters;
    CHECK_MSG(parameters == expected && n == rows_expected, "%s: %lld parameters in %d rows", name, (long long)parameters, n);
    CHECK_MSG(plumb_parameters(model.graph, NULL, 0) == variables, "%s: %d variables", name,
              plumb_parameters(model.graph, NULL, 0));
    check_variables(model.graph, some, count);
    plumb_graph_free(model.graph);
}

/* The counts of the literature, and torchvision's names with their shapes. */
PLUMB_TEST(nn, residual_networks_have_the_usual_parameters)
{
    static const struct expected_variable variables[] = {
        {"conv1.weight", PLUMB_SHAPE(64, 3, 3, 3)},
        {"bn1.weight", PLUMB_SHAPE(64)},
        {"bn1.bias", PLUMB_SHAPE(64)},
        {"bn1.running_mean", PLUMB_SHAPE(64)},
        {"bn1.running_var", PLUMB_SHAPE(64)},
        {"layer1.0.conv1.weight", PLUMB_SHAPE(64, 64, 3, 3)},
        {"layer2.0.conv1.weight", PLUMB_SHAPE(128, 64, 3, 3)},
        {"layer2.0.downsample.0.weight", PLUMB_SHAPE(128, 64, 1, 1)},
        {"layer2.0.downsample.1.running_var", PLUMB_SHAPE(128)},
        {"layer4.1.bn2.bias", PLUMB_SHAPE(512)},
        {"fc.weight", PLUMB_SHAPE(10, 512)},
        {"fc.bias", PLUMB_SHAPE(10)},
    };
    static const struct expected_variable deep[] = {
        {"conv1.weight", PLUMB_SHAPE(64, 3, 7, 7)},
        {"layer1.0.downsample.0.weight", PLUMB_SHAPE(256, 64, 1, 1)},
        {"layer1.2.conv1.weight", PLUMB_SHAPE(64, 256, 1, 1)},
        {"layer3.5.conv2.weight", PLUMB_SHAPE(256, 256, 3, 3)},
        {"layer4.0.conv3.weight", PLUMB_SHAPE(2048, 512, 1, 1)},
        {"layer4.2.bn3.running_mean", PLUMB_SHAPE(2048)},
        {"fc.weight", PLUMB_SHAPE(1000, 2048)},
    };
    plumb_context *context = open_context();
    REQUIRE(context);
    check_counts(context, "resnet18-cifar", 11173962, 62, 43, variables, 12);
    check_counts(context, "resnet8-cifar", 78042, 29, 21, NULL, 0);
    check_counts(context, "resnet20-cifar", 272474, 65, 45, NULL, 0);
    check_counts(context, "resnet32-cifar", 466906, 101, 69, NULL, 0);
    check_counts(context, "resnet56-cifar", 855770, 173, 117, NULL, 0);
    check_counts(context, "resnet18", 11689512, 62, 44, NULL, 0);
    check_counts(context, "resnet50", 25557032, 161, 110, deep, 7);
    plumb_close(context);
}

PLUMB_TEST(nn, vgg16_and_the_lstm_have_the_usual_parameters)
{
    static const struct expected_variable large[] = {
        {"features.0.weight", PLUMB_SHAPE(64, 3, 3, 3)},       {"features.7.weight", PLUMB_SHAPE(128, 128, 3, 3)},
        {"features.17.bias", PLUMB_SHAPE(512)},                {"features.28.weight", PLUMB_SHAPE(512, 512, 3, 3)},
        {"classifier.0.weight", PLUMB_SHAPE(4096, 25088)},     {"classifier.3.weight", PLUMB_SHAPE(4096, 4096)},
        {"classifier.6.bias", PLUMB_SHAPE(1000)},
    };
    static const struct expected_variable small[] = {
        {"features.0.weight", PLUMB_SHAPE(64, 3, 3, 3)}, {"features.1.running_var", PLUMB_SHAPE(64)},
        {"features.40.weight", PLUMB_SHAPE(512, 512, 3, 3)}, {"features.41.weight", PLUMB_SHAPE(512)},
        {"classifier.weight", PLUMB_SHAPE(10, 512)},
    };
    plumb_context *context = open_context();
    REQUIRE(context);
    check_counts(context, "vgg16", 138357544, 32, 22, large, 7);
    check_counts(context, "vgg16-cifar", 14724042, 41, 33, small, 5);
    check_counts(context, "lstm", 100618, 6, 3, NULL, 0);
    plumb_close(context);
}

/* What a network for pictures of 224 x 224 makes of its own size, stage by stage, and of another one. */
PLUMB_TEST(nn, large_networks_halve_the_picture_five_times)
{
    static const struct {
        const char *row;
        int64_t channels, side;
    } stages[] = {{"conv1", 64, 112},     {"maxpool", 64, 56},        {"layer1.2.conv3", 256, 56},
                  {"layer2.0.conv1", 128, 56}, {"layer2.3.conv3", 512, 28}, {"layer3.5.conv3", 1024, 14},
                  {"layer4.2.conv3", 2048, 7}};
    plumb_context *context = open_context();
    REQUIRE(context);
    const plumb_model_options options = {.size = sizeof options, .classes = 7, .input_shape = PLUMB_SHAPE(1, 96, 64)};
    plumb_model model;
    plumb_summary_row rows[256];
    REQUIRE(plumb_model_build(context, "resnet50", NULL, &model) == PLUMB_OK);
    int n = plumb_summary(model.graph, model.input, model.logits, rows, 256), found = 0;
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < 7; i++) {
            if (strcmp(rows[k].name, stages[i].row) == 0) {
                found++;
                CHECK_MSG(rows[k].shape.dim[1] == stages[i].channels && rows[k].shape.dim[2] == stages[i].side, "%s",
                          stages[i].row);
            }
        }
    }
    CHECK(found == 7);
    plumb_graph_free(model.graph);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"resnet18", "resnet50", "vgg16"};
        REQUIRE(plumb_model_build(context, names[i], &options, &model) == PLUMB_OK);
        plumb_shape logits = plumb_shape_of(model.graph, model.logits);
        CHECK(logits.dim[1] == 7 && model.classes == 7);
        plumb_graph_free(model.graph);
    }
    plumb_close(context);
}

PLUMB_TEST(nn, every_model_builds_and_gives_class_scores)
{
    plumb_context *context = open_context();
    REQUIRE(context);
    CHECK(plumb_model_count() >= 5);
    for (int i = 0; i < plumb_model_count(); i++) {
        plumb_model model;
        plumb_shape of_table = plumb_model_input_shape(i);
        CHECK(plumb_model_description(i)[0] != '\0');
        plumb_status status = plumb_model_build(context, plumb_model_name(i), NULL, &model);
        CHECK_MSG(status == PLUMB_OK, "%s: %s", plumb_model_name(i), plumb_message(context));
        plumb_shape logits = plumb_shape_of(model.graph, model.logits);
        CHECK((logits.rank == 2 || logits.rank == 4) && logits.dim[0] == PLUMB_BATCH && logits.dim[1] == model.classes);
        CHECK(plumb_shape_of(model.graph, model.loss).rank == 0);
        CHECK(memcmp(&of_table, &model.input_shape, sizeof of_table) == 0);
        plumb_graph_free(model.graph);
    }
    CHECK(plumb_model_name(-1) == NULL && plumb_model_name(plumb_model_count()) == NULL);
    plumb_close(context);
}

PLUMB_TEST(nn, model_options_are_heard)
{
    static const int64_t units[] = {50, 20};
    plumb_context *context = open_context();
    plumb_model model;
    REQUIRE(context);
    plumb_status status = plumb_model_build(context, "mlp", &(plumb_model_options){.size = sizeof(plumb_model_options),
                                            .input_shape = PLUMB_SHAPE(3, 4, 5), .classes = 7, .units = units, .n_units = 2,
                                            .drop = 0.5, .no_scaling = true}, &model);
    REQUIRE(status == PLUMB_OK);
    CHECK(plumb_find(model.graph, "scaling.shift") == PLUMB_NONE);
    CHECK(plumb_shape_of(model.graph, plumb_find(model.graph, "fc1.weight")).dim[1] == 60);
    CHECK(plumb_shape_of(model.graph, plumb_find(model.graph, "fc2.weight")).dim[0] == 20);
    CHECK(plumb_shape_of(model.graph, plumb_find(model.graph, "fc3.bias")).dim[0] == 7);
    CHECK(plumb_parameters(model.graph, NULL, 0) == 6);
    plumb_close(context);
}

/* ---- what is said about wrong input ---- */

static void check_refused(plumb_context *context, plumb_graph *graph, const char *message)
{
    CHECK(plumb_graph_status(graph) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), message);
    plumb_graph_free(graph);
    plumb_clear_error(context);
}

PLUMB_TEST(nn, wrong_input_is_named_by_layer)
{
    plumb_context *context = open_context();
    REQUIRE(context);
    for (int which = 0; which < 8; which++) {
        static const char *const messages[] = {
            "linear 'fc1': input is (7), expected (N, features)",
            "linear 'fc1': 0 units",
            "conv2d 'conv1': input is (N, 784), expected (N, C, H, W)",
            "conv2d 'conv1': 2 groups must divide both 3 channels and 6 filters",
            "conv2d 'conv1': the filter reaches over 9, but the padded input is only 8",
            "conv2d 'conv1': give one of padding, padding_sides and same",
            "variable 'fc1.weight': exists as f32 (4, 5), asked for as f32 (4, 6)",
            "batch_norm 'bn1': input is (7)",
        };
        plumb_graph *g = plumb_graph_new(context, "wrong");
        plumb_t row = plumb_input(g, "row", PLUMB_F32, PLUMB_SHAPE(7));
        plumb_t flat = plumb_input(g, "flat", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 784));
        plumb_t five = plumb_input(g, "five", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 5));
        plumb_t six = plumb_input(g, "six", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 6));
        plumb_t picture = plumb_input(g, "picture", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 8, 8));
        plumb_t y = PLUMB_NONE;
        switch (which) {
        case 0: y = plumb_linear_layer(g, "fc1", row, .units = 3); break;
        case 1: y = plumb_linear_layer(g, "fc1", flat); break;
        case 2: y = plumb_conv2d_layer(g, "conv1", flat, .filters = 6, .kernel = {5, 5}); break;
        case 3: y = plumb_conv2d_layer(g, "conv1", picture, .filters = 6, .kernel = {5, 5}, .groups = 2); break;
        case 4: y = plumb_conv2d_layer(g, "conv1", picture, .filters = 6, .kernel = {9, 9}); break;
        case 5: y = plumb_conv2d_layer(g, "conv1", picture, .filters = 6, .kernel = {3}, .padding = {1, 1}, .same = true); break;
        case 6:
            plumb_linear_layer(g, "fc1", five, .units = 4);
            y = plumb_linear_layer(g, "fc1", six, .units = 4);
            break;
        default: y = plumb_batch_norm_layer(g, "bn1", row); break;
        }
        CHECK(y == PLUMB_NONE);
        check_refused(context, g, messages[which]);
    }
    plumb_close(context);
}

PLUMB_TEST(nn, wrong_models_are_refused)
{
    plumb_context *context = open_context();
    plumb_model model;
    REQUIRE(context);
    CHECK(plumb_model_build(context, "lenet6", NULL, &model) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "model 'lenet6' is unknown; there are logistic, mlp, lenet5, lenet5-classic");
    CHECK(model.graph == NULL);
    plumb_clear_error(context);
    CHECK(plumb_model_build(context, NULL, NULL, &model) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    plumb_model_options small = {.size = sizeof small, .input_shape = PLUMB_SHAPE(1, 4, 4)};
    CHECK(plumb_model_build(context, "lenet5", &small, &model) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "conv2d 'conv2'");
    CHECK(model.graph == NULL);
    plumb_clear_error(context);
    plumb_model_options one_class = {.size = sizeof one_class, .classes = 1};
    CHECK(plumb_model_build(context, "mlp", &one_class, &model) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "1 classes");
    plumb_close(context);
}

/* ---- layers ---- */

PLUMB_TEST(nn, padding_can_be_said_in_three_ways)
{
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "padding");
    REQUIRE(g);
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 2, 11, 12));
    const plumb_t y[] = {
        plumb_conv2d_layer(g, "a", x, .filters = 4, .kernel = {5, 5}, .padding = {2, 1}),
        plumb_conv2d_layer(g, "b", x, .filters = 4, .kernel = {5, 5}, .padding_sides = {1, 2, 3, 4}),
        plumb_conv2d_layer(g, "c", x, .filters = 4, .kernel = {4, 3}, .same = true),
        plumb_conv2d_layer(g, "d", x, .filters = 4, .kernel = {3}, .stride = {2}, .same = true),
        plumb_conv2d_layer(g, "e", x, .filters = 4, .kernel = {3}, .dilation = {2}, .same = true, .groups = 2),
        plumb_max_pool2d_layer(g, "f", x),
        plumb_average_pool2d_layer(g, "g", x, .window = {3}, .stride = {2}, .padding_sides = {1, 0, 0, 1}),
    };
    static const int64_t sides[][2] = {{11, 10}, {11, 14}, {11, 12}, {6, 6}, {11, 12}, {5, 6}, {5, 6}};
    CHECK_MSG(plumb_graph_status(g) == PLUMB_OK, "%s", plumb_message(context));
    for (size_t i = 0; i < sizeof y / sizeof *y; i++) {
        plumb_shape shape = plumb_shape_of(g, y[i]);
        CHECK_MSG(shape.rank == 4 && shape.dim[2] == sides[i][0] && shape.dim[3] == sides[i][1],
                  "layer %zu gives %lld x %lld", i, (long long)shape.dim[2], (long long)shape.dim[3]);
    }
    plumb_close(context);
}

PLUMB_TEST(nn, sequential_prefixes_names_and_shares_variables)
{
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "rows");
    REQUIRE(g);
    const plumb_layer layers[] = {
        PLUMB_LAYER(conv2d, "conv1", .filters = 8, .kernel = {5, 5}, .no_bias = true),
        PLUMB_LAYER(batch_norm, "bn1", .activation = PLUMB_RELU),
        PLUMB_POOL_LAYER(max, "pool1", .window = {2, 2}),
        PLUMB_LAYER(dropout, NULL, .keep = 0.75),
        PLUMB_PLAIN_LAYER(global_average_pool, NULL),
        PLUMB_LAYER(linear, "fc1", .units = 10),
        PLUMB_LAYER(activation, NULL, .activation = PLUMB_TANH),
    };
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 3, 32, 32));
    plumb_t y = plumb_sequential(g, "trunk", x, layers, sizeof layers / sizeof *layers);
    CHECK_MSG(plumb_graph_status(g) == PLUMB_OK, "%s", plumb_message(context));
    CHECK(plumb_shape_of(g, y).rank == 2 && plumb_shape_of(g, y).dim[1] == 10);
    static const char *const names[] = {"trunk.conv1.weight", "trunk.bn1.weight",       "trunk.bn1.bias",
                                        "trunk.bn1.running_var", "trunk.bn1.running_mean", "trunk.fc1.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        CHECK_MSG(plumb_find(g, names[i]) != PLUMB_NONE, "%s", names[i]);
    }
    CHECK(plumb_find(g, "trunk.conv1.bias") == PLUMB_NONE);
    int before = plumb_parameters(g, NULL, 0);
    CHECK(before == 5);
    plumb_sequential(g, "trunk", x, layers, sizeof layers / sizeof *layers);
    CHECK(plumb_parameters(g, NULL, 0) == before);
    plumb_sequential(g, NULL, x, layers, sizeof layers / sizeof *layers);
    CHECK(plumb_find(g, "fc1.weight") != PLUMB_NONE);
    plumb_close(context);
}

PLUMB_TEST(nn, scaling_layer_computes_what_it_says)
{
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "scaling");
    REQUIRE(g);
    plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(1, 2, 1, 2));
    plumb_t y = plumb_scaling_layer(g, "scaling", x);
    plumb_state *state = plumb_state_new(g);
    REQUIRE(state);
    CHECK(plumb_parameters(g, NULL, 0) == 0);
    const double in[4] = {10, 20, 30, 40}, shift[2] = {10, 30}, scale[2] = {0.5, -2};
    static const double expected[2][4] = {{10, 20, 30, 40}, {0, 5, 0, -20}};
    const plumb_binding feed = {x, in, sizeof in};
    for (int round = 0; round < 2; round++) {
        double out[4] = {0};
        CHECK(plumb_eval(g, state, &feed, 1, y, out, sizeof out) == PLUMB_OK);
        for (int i = 0; i < 4; i++) {
            CHECK_NEAR(out[i], expected[round][i], 0);
        }
        CHECK(plumb_state_set(state, "scaling.shift", shift, sizeof shift) == PLUMB_OK);
        CHECK(plumb_state_set(state, "scaling.scale", scale, sizeof scale) == PLUMB_OK);
    }
    plumb_close(context);
}

/* ---- initialisers ---- */

static void check_spread(plumb_init init, double mean, double deviation)
{
    enum { ROWS = 300, COLUMNS = 200, COUNT = ROWS * COLUMNS };
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "init");
    plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(1, COLUMNS));
    plumb_linear_layer(g, "fc", x, .units = ROWS, .init = init);
    plumb_state *state = plumb_state_new(g);
    double *w = calloc(COUNT, sizeof *w);
    if (state && w && plumb_state_get(state, "fc.weight", w, COUNT * sizeof *w) == PLUMB_OK) {
        double sum = 0, squares = 0;
        for (int i = 0; i < COUNT; i++) {
            sum += w[i];
        }
        for (int i = 0; i < COUNT; i++) {
            squares += (w[i] - sum / COUNT) * (w[i] - sum / COUNT);
        }
        /* five standard errors of each statistic */
        CHECK_NEAR(sum / COUNT, mean, 5 * deviation / sqrt(COUNT));
        CHECK_NEAR(sqrt(squares / COUNT), deviation, 5 * deviation / sqrt(2.0 * COUNT));
    } else {
        check_fail(__FILE__, __LINE__, "rule %d: %s", (int)init.rule, plumb_message(context));
    }
    free(w);
    plumb_close(context);
}

PLUMB_TEST(nn, initialisers_have_the_spread_they_promise)
{
    const double in = 200, out = 300;
    check_spread((plumb_init){PLUMB_INIT_ZEROS, 0, 0, 0, 0}, 0, sqrt(2 / in)); /* left out: He */
    check_spread((plumb_init){PLUMB_INIT_CONSTANT, 0, 0, 0, 0}, 0, 0);
    check_spread((plumb_init){PLUMB_INIT_CONSTANT, 0.25, 0, 0, 0}, 0.25, 0);
    check_spread((plumb_init){PLUMB_INIT_NORMAL, 0, 0.01, 0, 0}, 0, 0.01);
    check_spread((plumb_init){PLUMB_INIT_NORMAL, 3, 2, 0, 0}, 3, 2);
    check_spread((plumb_init){PLUMB_INIT_UNIFORM, -1, 3, 0, 0}, 1, 4 / sqrt(12));
    check_spread((plumb_init){PLUMB_INIT_HE, 0, 0, 0, 0}, 0, sqrt(2 / in));
    check_spread((plumb_init){PLUMB_INIT_HE, 0, 0, 50, 0}, 0, sqrt(2 / 50.0));
    check_spread((plumb_init){PLUMB_INIT_XAVIER, 0, 0, 0, 0}, 0, sqrt(1 / in));
    check_spread((plumb_init){PLUMB_INIT_GLOROT, 0, 0, 0, 0}, 0, sqrt(2 / (in + out)));
    check_spread((plumb_init){PLUMB_INIT_HE_UNIFORM, 0, 0, 0, 0}, 0, sqrt(2 / in));
    check_spread((plumb_init){PLUMB_INIT_GLOROT_UNIFORM, 0, 0, 0, 0}, 0, sqrt(2 / (in + out)));
}

PLUMB_TEST(nn, orthogonal_rows_or_columns_are_orthonormal)
{
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "orthogonal");
    REQUIRE(g);
    static const int64_t sizes[][2] = {{12, 30}, {30, 12}, {16, 16}};
    for (int which = 0; which < 3; which++) {
        int64_t rows = sizes[which][0], columns = sizes[which][1];
        int64_t n = rows < columns ? rows : columns, length = rows < columns ? columns : rows;
        char name[16];
        double w[30 * 30] = {0};
        snprintf(name, sizeof name, "w%d", which);
        plumb_variable(g, name, PLUMB_F64, PLUMB_SHAPE(rows, columns),
                       &(plumb_variable_options){.size = sizeof(plumb_variable_options),
                                                 .init = {.rule = PLUMB_INIT_ORTHOGONAL, .a = 2}});
        plumb_state *state = plumb_state_new(g);
        REQUIRE(state && plumb_state_get(state, name, w, (size_t)(rows * columns) * sizeof *w) == PLUMB_OK);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = 0; j < n; j++) {
                double dot = 0;
                for (int64_t k = 0; k < length; k++) {
                    dot += rows <= columns ? w[i * columns + k] * w[j * columns + k] : w[k * columns + i] * w[k * columns + j];
                }
                CHECK_NEAR(dot, i == j ? 4 : 0, 1e-12);
            }
        }
        plumb_state_free(state);
    }
    plumb_close(context);
}

PLUMB_TEST(nn, weights_depend_on_seed_and_name_only)
{
    plumb_context *context = open_context();
    REQUIRE(context);
    float w[3][20];
    for (int order = 0; order < 2; order++) {
        plumb_graph *g = plumb_graph_new(context, "order");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(1, 4));
        if (order == 1) {
            plumb_linear_layer(g, "other", x, .units = 3);
        }
        plumb_linear_layer(g, "fc", x, .units = 5);
        plumb_linear_layer(g, "twin", x, .units = 5);
        plumb_state *state = plumb_state_new(g);
        REQUIRE(state && plumb_state_get(state, "fc.weight", w[order], sizeof w[order]) == PLUMB_OK);
        REQUIRE(plumb_state_get(state, "twin.weight", w[2], sizeof w[2]) == PLUMB_OK);
    }
    CHECK(memcmp(w[0], w[1], sizeof w[0]) == 0);
    CHECK(memcmp(w[0], w[2], sizeof w[0]) != 0);
    plumb_close(context);
}

/* ---- symmetry ---- */

enum { EXAMPLES = 8, FEATURES = 5, HIDDEN = 4 };

/* Trains a small net and returns how far its hidden units have come apart: the largest difference of a weight of the
 * first layer between the first unit and any other. */
static double hidden_units_apart(plumb_init init)
{
    plumb_context *context = open_context();
    plumb_graph *g = plumb_graph_new(context, "symmetry");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(EXAMPLES, FEATURES));
    plumb_t label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(EXAMPLES));
    plumb_t h = plumb_linear_layer(g, "fc1", x, .units = HIDDEN, .init = init, .activation = PLUMB_TANH);
    plumb_t loss = plumb_softmax_cross_entropy(g, plumb_linear_layer(g, "fc2", h, .units = 2, .init = init), label, NULL);
    plumb_state *state = plumb_state_new(g);
    plumb_program *step = plumb_compile_training(g, state, loss, PLUMB_SGD(.lr = 0.5), NULL, 0);
    float in[EXAMPLES][FEATURES], w[HIDDEN][FEATURES];
    int32_t labels[EXAMPLES];
    double apart = NAN;
    for (int n = 0; n < EXAMPLES; n++) {
        labels[n] = n % 3 == 0;
        for (int f = 0; f < FEATURES; f++) {
            in[n][f] = sinf((float)(1 + n * FEATURES + f));
        }
    }
    plumb_status status = step ? PLUMB_OK : PLUMB_FAILED;
    for (int i = 0; i < 20 && status == PLUMB_OK; i++) {
        status = plumb_feed(step, x, in, sizeof in);
        status = status ? status : plumb_feed(step, label, labels, sizeof labels);
        status = status ? status : plumb_run(step);
    }
    if (status == PLUMB_OK && plumb_state_get(state, "fc1.weight", w, sizeof w) == PLUMB_OK) {
        apart = 0;
        for (int unit = 1; unit < HIDDEN; unit++) {
            for (int f = 0; f < FEATURES; f++) {
                apart = fmax(apart, fabs((double)w[unit][f] - (double)w[0][f]));
            }
        }
    }
    CHECK_MSG(status == PLUMB_OK, "%s", plumb_message(context));
    plumb_close(context);
    return apart;
}

PLUMB_TEST(nn, equal_weights_stay_equal_and_random_ones_do_not)
{
    CHECK_NEAR(hidden_units_apart((plumb_init){PLUMB_INIT_CONSTANT, 0, 0, 0, 0}), 0, 0);
    CHECK_NEAR(hidden_units_apart((plumb_init){PLUMB_INIT_CONSTANT, 0.3, 0, 0, 0}), 0, 0);
    double apart = hidden_units_apart((plumb_init){PLUMB_INIT_XAVIER, 0, 0, 0, 0});
    CHECK_MSG(apart > 0.05, "random units came apart by %g", apart);
}
