/* The model zoo: parameters and multiply-adds as they were published, torchvision's names, training of every kind of
 * structure at small width in f64, convolutional forms beside cropped windows, and what is refused.
 *
 * Sources: parameters and multiply-adds of torchvision's models are those of its table of weights ("Params", "GFLOPS", of
 * which one is a multiply-add); multiply-adds of the other models are our own sums, held so that they do not move;
 * alexnet-2012 and googlenet-2014 have the parameters of their papers' architectures; the residual
 * networks for CIFAR-10 as with He's option A, 0.27 M, 0.85 M and 1.7 M in the paper; U-Net as the widely used PyTorch form
 * for one class, 31,037,633, and 65 more for the second. */
#include "check.h"
#include "core/core.h"
#include "plumb/plumb.h"

static plumb_context *open_context(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 7, .threads = 2});
}

static int64_t trained(const plumb_graph *graph)
{
    plumb_t ids[512];
    int count = plumb_parameters(graph, ids, 512);
    int64_t sum = 0;
    for (int i = 0; i < count && i < 512; i++) {
        plumb_shape shape = plumb_shape_of(graph, ids[i]);
        sum += plumb_shape_count(&shape);
    }
    return sum;
}

PLUMB_TEST(zoo, counts_are_the_published_ones)
{
    static const struct {
        const char *name;
        int64_t parameters;
        double multiply_adds; /* in 10^9, to three digits behind the point; 0: not compared */
    } rows[] = {
        {"alexnet", 61100840, 0.714},      {"alexnet-2012", 60965224, 0.724}, {"alexnet-ungrouped", 62378344, 1.135},
        {"vgg11", 132863336, 7.609},       {"vgg11-bn", 132868840, 7.609},    {"vgg13", 133047848, 11.308},
        {"vgg13-bn", 133053736, 11.308},   {"vgg16", 138357544, 15.470},      {"vgg16-bn", 138365992, 15.470},
        {"vgg19", 143667240, 19.632},      {"vgg19-bn", 143678248, 19.632},   {"resnet18", 11689512, 1.814},
        {"resnet34", 21797672, 3.664},     {"resnet50", 25557032, 4.089},     {"resnet101", 44549160, 7.801},
        {"resnet152", 60192808, 11.514},   {"resnet20-cifar-a", 269722, 0.041}, {"resnet56-cifar-a", 853018, 0.125},
        {"resnet110-cifar-a", 1727962, 0.253}, {"resnet110-cifar", 1730714, 0.253}, {"googlenet", 6624904, 1.498},
        {"googlenet-heads", 13004888, 0},  {"googlenet-2014", 6998552, 0},    {"googlenet-2014-heads", 13378280, 0},
        {"inception-v3", 23834568, 5.713}, {"inception-v3-heads", 27161264, 5.713}, {"mobilenet-v2", 3504872, 0.301},
        {"unet", 31037698, 0},
    };
    static plumb_summary_row parts[512];
    plumb_context *context = open_context();
    REQUIRE(context);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plumb_model model;
        REQUIRE(plumb_model_build(context, rows[i].name, NULL, &model) == PLUMB_OK);
        int n = plumb_summary(model.graph, model.input, model.logits, parts, 512);
        int64_t multiply_adds = 0;
        for (int k = 0; k < n && k < 512; k++)
            multiply_adds += parts[k].multiply_adds;
        CHECK_MSG(n > 0 && n <= 512, "%s: %d rows", rows[i].name, n);
        CHECK_MSG(trained(model.graph) == rows[i].parameters, "%s: %lld parameters", rows[i].name,
                  (long long)trained(model.graph));
        CHECK_MSG(rows[i].multiply_adds == 0 || fabs((double)multiply_adds / 1e9 - rows[i].multiply_adds) <= 0.0005,
                  "%s: %lld multiply-adds", rows[i].name, (long long)multiply_adds);
        plumb_graph_free(model.graph);
    }
    plumb_close(context);
}

PLUMB_TEST(zoo, variables_have_the_names_of_torchvision)
{
    static const struct {
        const char *model, *name;
        plumb_shape shape;
    } rows[] = {
        {"alexnet", "features.3.weight", PLUMB_SHAPE(192, 64, 5, 5)},
        {"alexnet", "classifier.1.weight", PLUMB_SHAPE(4096, 9216)},
        {"alexnet-2012", "features.8.weight", PLUMB_SHAPE(384, 192, 3, 3)},
        {"vgg11-bn", "features.0.bias", PLUMB_SHAPE(64)},
        {"vgg11-bn", "features.26.running_mean", PLUMB_SHAPE(512)},
        {"vgg19", "features.34.weight", PLUMB_SHAPE(512, 512, 3, 3)},
        {"resnet152", "layer3.35.conv2.weight", PLUMB_SHAPE(256, 256, 3, 3)},
        {"googlenet-heads", "inception3a.branch2.0.conv.weight", PLUMB_SHAPE(96, 192, 1, 1)},
        {"googlenet-heads", "inception5b.branch4.1.bn.running_var", PLUMB_SHAPE(128)},
        {"googlenet-heads", "aux2.fc1.weight", PLUMB_SHAPE(1024, 2048)},
        {"inception-v3-heads", "Conv2d_4a_3x3.conv.weight", PLUMB_SHAPE(192, 80, 3, 3)},
        {"inception-v3-heads", "Mixed_6c.branch7x7dbl_5.conv.weight", PLUMB_SHAPE(192, 160, 1, 7)},
        {"inception-v3-heads", "Mixed_7c.branch3x3_2b.bn.bias", PLUMB_SHAPE(384)},
        {"inception-v3-heads", "AuxLogits.conv1.conv.weight", PLUMB_SHAPE(768, 128, 5, 5)},
        {"mobilenet-v2", "features.1.conv.1.weight", PLUMB_SHAPE(16, 32, 1, 1)},
        {"mobilenet-v2", "features.17.conv.1.0.weight", PLUMB_SHAPE(960, 1, 3, 3)},
        {"mobilenet-v2", "classifier.1.weight", PLUMB_SHAPE(1000, 1280)},
        {"unet", "down4.maxpool_conv.1.double_conv.3.weight", PLUMB_SHAPE(1024, 1024, 3, 3)},
        {"unet", "up1.up.weight", PLUMB_SHAPE(1024, 512, 2, 2)},
    };
    plumb_context *context = open_context();
    REQUIRE(context);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plumb_model model;
        REQUIRE(plumb_model_build(context, rows[i].model, NULL, &model) == PLUMB_OK);
        plumb_shape shape = plumb_shape_of(model.graph, plumb_find(model.graph, rows[i].name));
        CHECK_MSG(plumb_shape_equal(&shape, &rows[i].shape), "%s: %s", rows[i].model, rows[i].name);
        plumb_graph_free(model.graph);
    }
    plumb_close(context);
}

/* ---- training ---- */

enum { EXAMPLES = 4, STEPS = 3, CLASSES = 3, PARAMETERS = 512, ROOM = 3 << 18 };

static void fill(double *x, int64_t count, uint64_t seed)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = sin(12.9898 * (double)i + (double)seed) * 1.5;
}

static bool feed(plumb_program *program, const plumb_model *m, int64_t examples)
{
    static double pictures[ROOM];
    static int32_t labels[ROOM];
    plumb_shape label = plumb_shape_of(m->graph, m->label);
    int64_t count = examples * plumb_shape_count(&m->input_shape), places = examples;
    for (int d = 1; d < label.rank; d++)
        places *= label.dim[d];
    if (count > ROOM || places > ROOM)
        return false;
    fill(pictures, count, 1);
    for (int64_t i = 0; i < places; i++)
        labels[i] = (int32_t)(i % CLASSES);
    return plumb_feed(program, m->input, pictures, (size_t)count * sizeof *pictures) == PLUMB_OK &&
           plumb_feed(program, m->label, labels, (size_t)places * sizeof *labels) == PLUMB_OK;
}

/* Every parameter has a gradient, finite and not 0 everywhere. */
static void check_gradients(plumb_context *context, const plumb_model *m, plumb_state *state, const char *name)
{
    plumb_t ids[PARAMETERS], outputs[PARAMETERS];
    int count = plumb_parameters(m->graph, ids, PARAMETERS);
    REQUIRE(count > 0 && count <= PARAMETERS);
    REQUIRE(plumb_gradients(m->graph, m->loss, ids, count, outputs) == PLUMB_OK);
    plumb_program *program = plumb_compile(m->graph, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                           .outputs = outputs, .n_outputs = count, .training = true});
    CHECK_MSG(program && feed(program, m, EXAMPLES) && plumb_run(program) == PLUMB_OK, "%s: %s", name, plumb_message(context));
    for (int i = 0; program && i < count; i++) {
        plumb_shape shape = plumb_shape_of(m->graph, ids[i]);
        size_t bytes = (size_t)plumb_shape_count(&shape) * sizeof(double);
        double *d = malloc(bytes), sum = 0;
        CHECK(d && plumb_fetch(program, outputs[i], d, bytes) == PLUMB_OK);
        for (size_t k = 0; d && k < bytes / sizeof *d; k++)
            sum += fabs(d[k]);
        CHECK_MSG(sum > 0 && isfinite(sum), "%s: gradient of %s is %g", name, plumb_name_of(m->graph, ids[i]), sum);
        free(d);
    }
    plumb_program_free(program);
}

static void check_training(plumb_context *context, const char *name, int64_t side, double lr)
{
    plumb_model m;
    const plumb_model_options options = {.size = sizeof options, .input_shape = PLUMB_SHAPE(3, side, side), .classes = CLASSES,
                                         .width = 0.125, .dtype = PLUMB_F64};
    REQUIRE(plumb_model_build(context, name, &options, &m) == PLUMB_OK);
    plumb_state *state = plumb_state_new(m.graph);
    REQUIRE(state);
    check_gradients(context, &m, state, name);
    const plumb_optimizer optimizer = {.size = sizeof optimizer, .rule = "sgd", .lr = lr};
    plumb_program *program = plumb_compile_training(m.graph, state, m.loss, &optimizer, NULL, 0);
    double loss[STEPS] = {0};
    CHECK_MSG(program && feed(program, &m, EXAMPLES), "%s: %s", name, plumb_message(context));
    for (int i = 0; program && i < STEPS; i++)
        CHECK(plumb_run(program) == PLUMB_OK && plumb_fetch(program, m.loss, &loss[i], sizeof *loss) == PLUMB_OK);
    CHECK_MSG(loss[STEPS - 1] < loss[0], "%s: loss from %g to %g", name, loss[0], loss[STEPS - 1]);
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(m.graph);
}

PLUMB_TEST(zoo, every_kind_of_structure_learns)
{
    static const struct {
        const char *name;
        int64_t side;
        double lr;
    } rows[] = {{"alexnet-2012", 67, 0.001}, {"vgg11-bn", 32, 0.001}, {"resnet50", 33, 0.01}, {"resnet20-cifar-a", 16, 0.01},
                {"googlenet-heads", 64, 0.01}, {"googlenet-2014-heads", 64, 0.01}, {"inception-v3", 75, 0.01},
                {"mobilenet-v2", 32, 0.01}, {"unet", 32, 0.01}};
    plumb_context *context = open_context();
    REQUIRE(context);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_training(context, rows[i].name, rows[i].side, rows[i].lr);
    plumb_close(context);
}

/* ---- convolutional forms ---- */

/* Logits of `examples` pictures, in f64. */
static bool logits_of(plumb_model *m, plumb_state *state, const double *pictures, int64_t examples, double *to, int64_t count)
{
    plumb_program *program = plumb_compile(m->graph, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                           .outputs = &m->logits, .n_outputs = 1});
    size_t bytes = (size_t)(examples * plumb_shape_count(&m->input_shape)) * sizeof *pictures;
    bool good = program && plumb_feed(program, m->input, pictures, bytes) == PLUMB_OK && plumb_run(program) == PLUMB_OK &&
                plumb_fetch(program, m->logits, to, (size_t)count * sizeof *to) == PLUMB_OK;
    plumb_program_free(program);
    return good;
}

/* One pass over a larger picture gives what all windows give that are cut out of it, one after the other. */
static void check_windows(plumb_context *context, const char *name, int channels)
{
    enum { WINDOW = 32, HIGH = 44, WIDE = 52, STRIDE = 4, ROWS = 4, COLUMNS = 6, OUT = 5 };
    static double picture[3 * HIGH * WIDE], window[3 * WINDOW * WINDOW];
    double all[OUT * ROWS * COLUMNS], one[OUT];
    plumb_model_options options = {.size = sizeof options, .classes = OUT, .dtype = PLUMB_F64};
    plumb_model small, large;
    REQUIRE(plumb_model_build(context, name, &options, &small) == PLUMB_OK);
    options.convolutional = true;
    options.input_shape = PLUMB_SHAPE(channels, HIGH, WIDE);
    REQUIRE(plumb_model_build(context, name, &options, &large) == PLUMB_OK);
    plumb_state *state = plumb_state_new(small.graph), *same = plumb_state_new(large.graph); /* equal: one seed, equal names */
    fill(picture, (int64_t)channels * HIGH * WIDE, 3);
    REQUIRE(state && same && logits_of(&large, same, picture, 1, all, OUT * ROWS * COLUMNS));
    for (int y = 0; y < ROWS; y++)
        for (int x = 0; x < COLUMNS; x++) {
            for (int c = 0; c < channels; c++)
                for (int r = 0; r < WINDOW; r++)
                    memcpy(window + (c * WINDOW + r) * WINDOW, picture + (c * HIGH + STRIDE * y + r) * WIDE + STRIDE * x,
                           WINDOW * sizeof *window);
            REQUIRE(logits_of(&small, state, window, 1, one, OUT));
            for (int k = 0; k < OUT; k++)
                CHECK_NEAR(all[(k * ROWS + y) * COLUMNS + x], one[k], 1e-12);
        }
    plumb_state_free(state);
    plumb_state_free(same);
}

PLUMB_TEST(zoo, a_convolutional_form_sees_every_window)
{
    plumb_context *context = open_context();
    REQUIRE(context);
    check_windows(context, "lenet5-teaching", 3);
    check_windows(context, "lenet5-classic", 1);
    static const char *const padded[] = {"alexnet", "vgg11-bn"};
    for (int i = 0; i < 2; i++) {
        plumb_model m, usual;
        plumb_model_options options = {.size = sizeof options, .classes = 7, .width = 0.125};
        REQUIRE(plumb_model_build(context, padded[i], &options, &usual) == PLUMB_OK);
        options.convolutional = true;
        options.input_shape = PLUMB_SHAPE(3, 288, 256);
        REQUIRE(plumb_model_build(context, padded[i], &options, &m) == PLUMB_OK);
        const plumb_shape expected = PLUMB_SHAPE(PLUMB_BATCH, 7, 3, 2), label = PLUMB_SHAPE(PLUMB_BATCH, 3, 2);
        plumb_shape logits = plumb_shape_of(m.graph, m.logits), given = plumb_shape_of(m.graph, m.label);
        CHECK_MSG(plumb_shape_equal(&logits, &expected) && plumb_shape_equal(&given, &label), "%s", padded[i]);
        CHECK(trained(m.graph) == trained(usual.graph));
    }
    plumb_close(context);
}

/* ---- what is refused ---- */

PLUMB_TEST(zoo, wrong_options_are_named)
{
    static const struct {
        const char *model, *says;
        plumb_model_options options;
    } rows[] = {
        {"vgg11", "model 'vgg11': width -1", {.width = -1}},
        {"vgg11", "model 'vgg11': width nan", {.width = (double)NAN}},
        {"alexnet", "model 'alexnet': dtype 5, expected f32 or f64", {.dtype = PLUMB_I32}},
        {"resnet18", "model 'resnet18': has no convolutional form", {.convolutional = true}},
        {"unet", "model 'unet': pictures are of 100 x 96, expected multiples of 16", {.input_shape = PLUMB_SHAPE(3, 100, 96)}},
        {"inception-v3", "pool2d", {.input_shape = PLUMB_SHAPE(3, 20, 20)}},
    };
    plumb_context *context = open_context();
    REQUIRE(context);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plumb_model model;
        plumb_model_options options = rows[i].options;
        options.size = sizeof options;
        CHECK(plumb_model_build(context, rows[i].model, &options, &model) == PLUMB_BAD_INPUT && !model.graph);
        CHECK_TEXT(plumb_message(context), rows[i].says);
        plumb_clear_error(context);
    }
    plumb_close(context);
}
