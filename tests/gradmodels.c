/* Whole models through the public gradient check: every parameter up to 10,000, beyond that 2,000 by lot and 20 random
 * directions; central differences with h = 1e-5, at most 1e-8; the figure of the course (1e-7) is printed beside it.
 * Also: what the check itself must say about a cube, a wrong gradient and a gradient that is zero. */
#include "gradcheck.h"
#include "values.h"

#include "plumb/check.h"
#include "plumb/layers.h"

#include <math.h>
#include <stdio.h>

enum { MAX_INPUT = 4 * 3 * 32 * 32 };

struct net {
    plumb_context *context;
    plumb_graph *g;
    plumb_t image, label, loss;
    plumb_shape image_shape;
    int classes;
    bool soft; /* labels are floats of the output's shape */
};

static plumb_t variable(struct net *n, const char *layer, const char *what, plumb_shape shape, plumb_init_rule rule)
{
    char name[64];
    snprintf(name, sizeof(name), "%s.%s", layer, what);
    plumb_variable_options options = {.size = sizeof(options), .init = {.rule = rule, .a = 0, .b = 0.3}};
    if (rule == PLUMB_INIT_CONSTANT) {
        options.init.a = 1;
    }
    return plumb_variable(n->g, name, PLUMB_F32, shape, &options);
}

static plumb_t dense(struct net *n, const char *name, plumb_t x, int64_t in, int64_t out)
{
    plumb_t w = variable(n, name, "weight", PLUMB_SHAPE(out, in), PLUMB_INIT_GLOROT);
    plumb_t b = variable(n, name, "bias", PLUMB_SHAPE(out), PLUMB_INIT_NORMAL);
    return plumb_add(n->g, plumb_matmul(n->g, x, w, false, true), b);
}

static plumb_t conv(struct net *n, const char *name, plumb_t x, int64_t in, int64_t out, int64_t window, int64_t pad)
{
    plumb_t w = variable(n, name, "weight", PLUMB_SHAPE(out, in, window, window), PLUMB_INIT_HE);
    plumb_t b = variable(n, name, "bias", PLUMB_SHAPE(out), PLUMB_INIT_NORMAL);
    plumb_conv2d_options options = {.size = sizeof(options), .padding = {pad, pad, pad, pad}};
    return plumb_conv2d(n->g, x, w, b, &options);
}

static plumb_t norm(struct net *n, const char *name, plumb_t x, int64_t channels)
{
    plumb_t scale = variable(n, name, "scale", PLUMB_SHAPE(channels), PLUMB_INIT_CONSTANT);
    plumb_t shift = variable(n, name, "shift", PLUMB_SHAPE(channels), PLUMB_INIT_NORMAL);
    plumb_t mean = variable(n, name, "mean", PLUMB_SHAPE(channels), PLUMB_INIT_ZEROS);
    plumb_t var = variable(n, name, "var", PLUMB_SHAPE(channels), PLUMB_INIT_CONSTANT);
    plumb_set_frozen(n->g, mean, true);
    plumb_set_frozen(n->g, var, true);
    return plumb_batch_norm(n->g, x, scale, shift, mean, var, NULL);
}

static plumb_t pool(struct net *n, plumb_t x, bool max)
{
    plumb_pool2d_options options = {.size = sizeof(options), .window = {2, 2}};
    return max ? plumb_max_pool2d(n->g, x, &options) : plumb_average_pool2d(n->g, x, &options);
}

static void image(struct net *n, plumb_shape shape, int classes)
{
    n->image_shape = shape;
    n->classes = classes;
    shape.dim[0] = PLUMB_BATCH;
    n->image = plumb_input(n->g, "image", PLUMB_F32, shape);
    n->label = plumb_input(n->g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
}

static void logistic(struct net *n)
{
    n->image_shape = PLUMB_SHAPE(8, 12);
    n->soft = true;
    n->image = plumb_input(n->g, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 12));
    n->label = plumb_input(n->g, "label", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1));
    n->loss = plumb_bce_with_logits(n->g, dense(n, "only", n->image, 12, 1), n->label, NULL);
}

static void mlp(struct net *n)
{
    image(n, PLUMB_SHAPE(8, 20), 10);
    plumb_t h = plumb_tanh(n->g, dense(n, "fc1", n->image, 20, 16));
    h = plumb_relu(n->g, dense(n, "fc2", h, 16, 12));
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "fc3", h, 12, 10), n->label, NULL);
}

static void mlp_dropout(struct net *n)
{
    image(n, PLUMB_SHAPE(8, 20), 10);
    plumb_t h = plumb_dropout(n->g, plumb_relu(n->g, dense(n, "fc1", n->image, 20, 32)), 0.5);
    h = plumb_gelu(n->g, dense(n, "fc2", h, 32, 12));
    plumb_t penalty = plumb_affine(n->g, plumb_sum(n->g, plumb_square(n->g, plumb_find(n->g, "fc1.weight")), NULL, 0, false), 0.01, 0);
    n->loss = plumb_add(n->g, plumb_softmax_cross_entropy(n->g, dense(n, "fc3", h, 12, 10), n->label, NULL), penalty);
}

/* LeNet-5 with full C3 and average pooling: 61,706 parameters. */
static void lenet(struct net *n)
{
    image(n, PLUMB_SHAPE(2, 1, 32, 32), 10);
    plumb_t h = pool(n, plumb_tanh(n->g, conv(n, "c1", n->image, 1, 6, 5, 0)), false);
    h = pool(n, plumb_tanh(n->g, conv(n, "c3", h, 6, 16, 5, 0)), false);
    h = plumb_flatten(n->g, plumb_tanh(n->g, conv(n, "c5", h, 16, 120, 5, 0)), 1);
    h = plumb_tanh(n->g, dense(n, "f6", h, 120, 84));
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "output", h, 84, 10), n->label, NULL);
}

/* The teaching variant on 32x32x3: 62,958 parameters, ReLU and max pooling. */
static void lenet_teaching(struct net *n)
{
    image(n, PLUMB_SHAPE(2, 3, 32, 32), 10);
    plumb_t h = pool(n, plumb_relu(n->g, conv(n, "c1", n->image, 3, 8, 5, 0)), true);
    h = pool(n, plumb_relu(n->g, conv(n, "c2", h, 8, 16, 5, 0)), true);
    h = plumb_flatten(n->g, h, 1);
    h = plumb_relu(n->g, dense(n, "fc3", h, 400, 120));
    h = plumb_relu(n->g, dense(n, "fc4", h, 120, 84));
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "softmax", h, 84, 10), n->label, NULL);
}

/* A residual block with batch normalisation: the biases before it have the gradient zero. */
static void cnn_norm(struct net *n)
{
    image(n, PLUMB_SHAPE(4, 2, 8, 8), 5);
    plumb_t h = plumb_relu(n->g, norm(n, "bn1", conv(n, "c1", n->image, 2, 6, 3, 1), 6));
    plumb_t skip = h;
    h = plumb_relu(n->g, norm(n, "bn2", conv(n, "c2", h, 6, 6, 3, 1), 6));
    h = norm(n, "bn3", conv(n, "c3", h, 6, 6, 3, 1), 6);
    h = plumb_global_average_pool2d(n->g, plumb_relu(n->g, plumb_add(n->g, h, skip)));
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "fc", plumb_flatten(n->g, h, 1), 6, 5), n->label, NULL);
}

/* Pictures as sequences of five steps: two layers in both directions, and one kind on top of another; time second. */
static void lstms(struct net *n)
{
    image(n, PLUMB_SHAPE(6, 20), 5);
    plumb_t h = plumb_reshape(n->g, n->image, PLUMB_SHAPE(PLUMB_INFER, 5, 4));
    h = plumb_lstm_layer(n->g, "lstm", h, .units = 5, .layers = 2, .bidirectional = true, .batch_first = true, .last = true);
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "fc", h, 10, 5), n->label, NULL);
}

static void grus(struct net *n)
{
    image(n, PLUMB_SHAPE(6, 20), 5);
    plumb_t h = plumb_reshape(n->g, n->image, PLUMB_SHAPE(PLUMB_INFER, 5, 4)), state;
    h = plumb_gru_layer(n->g, "gru", h, .units = 5, .batch_first = true, .layers = 2, .drop = 0.2, .states = &state);
    h = plumb_rnn_layer(n->g, "rnn", h, .units = 5, .batch_first = true, .no_bias = true, .last = true);
    h = plumb_add(n->g, h, plumb_sum(n->g, state, PLUMB_AXES(0), false));
    n->loss = plumb_softmax_cross_entropy(n->g, dense(n, "fc", h, 5, 5), n->label, NULL);
}

/* ---- running one ---- */

struct feed {
    float *image;
    float soft[64];
    int32_t label[64];
    plumb_binding binding[2];
};

static void make_feed(struct feed *feed, const struct net *n)
{
    struct dice dice = {11};
    int64_t count = plumb_shape_count(&n->image_shape), batch = n->image_shape.dim[0];
    feed->image = test_alloc((size_t)count * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        feed->image[i] = (float)(2 * dice_unit(&dice) - 1);
    }
    for (int64_t i = 0; i < batch; i++) {
        feed->soft[i] = (float)(i % 2);
        feed->label[i] = n->classes > 0 ? (int32_t)(dice_next(&dice) % (uint64_t)n->classes) : 0;
    }
    feed->binding[0] = (plumb_binding){n->image, feed->image, (size_t)count * sizeof(float)};
    feed->binding[1] = (plumb_binding){n->label, n->soft ? (const void *)feed->soft : feed->label, (size_t)batch * 4};
}

static void print_report(const char *name, const plumb_gradcheck_report *r)
{
    printf("%-16s %6lld of %6lld parameters, normed %.1e, worst %.1e, %d directions %.1e, course %.1e, "
           "kinks %lld retried %lld left\n",
           name, (long long)r->checked, (long long)r->total, r->normed, r->worst, r->directions, r->direction_worst,
           r->course, (long long)r->kinks_retried, (long long)r->kinks_left);
}

static void tell(struct gradcheck_count *count, bool good, const char *name, const char *why)
{
    count->passed += good;
    count->failed += !good;
    if (!good) {
        printf("FAIL model %s: %s\n", name, why);
    }
}

static void check_net(struct gradcheck_count *count, const char *name, void (*build)(struct net *n),
                      plumb_gradcheck_options options, int64_t parameters)
{
    struct net n = {.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 3})};
    struct feed feed;
    plumb_gradcheck_report report;
    if (!n.context) {
        tell(count, false, name, "no context");
        return;
    }
    n.g = plumb_graph_new(n.context, name);
    build(&n);
    make_feed(&feed, &n);
    plumb_state *state = plumb_state_new(n.g);
    options.size = sizeof(options);
    plumb_status status = plumb_gradcheck(n.g, state, n.loss, feed.binding, 2, &options, &report);
    tell(count, status == PLUMB_OK, name, plumb_message(n.context));
    print_report(name, &report);
    tell(count, report.total == parameters, name, "the number of parameters is another");
    tell(count, options.no_course || report.course <= 1e-7, name, "the figure of the course is off");
    free(feed.image);
    plumb_close(n.context);
}

/* ---- what the check says of itself ---- */

/* f = x^3 at 1 with h = 0.01 gives 3.0001. */
static void check_cube(struct gradcheck_count *count, plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "cube");
    plumb_variable_options one = {.size = sizeof(one), .init = {.rule = PLUMB_INIT_CONSTANT, .a = 1}};
    plumb_t x = plumb_variable(g, "theta", PLUMB_F32, PLUMB_SCALAR_SHAPE, &one);
    plumb_t loss = plumb_mul(g, x, plumb_square(g, x));
    plumb_gradcheck_report report;
    plumb_gradcheck_options options = {.size = sizeof(options), .step = 0.01};
    plumb_status status = plumb_gradcheck(g, NULL, loss, NULL, 0, &options, &report);
    tell(count, status == PLUMB_FAILED, "cube", "h = 0.01 must be too coarse for 1e-8");
    tell(count, fabs(report.numeric - 3.0001) <= 1e-12 && report.analytic == 3, "cube", "3.0001 and 3 expected");
    plumb_clear_error(context);
    options.method = PLUMB_DIFFERENCE_FIVE_POINT;
    status = plumb_gradcheck(g, NULL, loss, NULL, 0, &options, &report);
    tell(count, status == PLUMB_OK, "cube, five points", plumb_message(context));
    plumb_clear_error(context);
    plumb_graph_free(g);
}

/* stop_gradient hides half of the derivative: the check must find that, and name the parameter. */
static void check_wrong(struct gradcheck_count *count, plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "wrong");
    plumb_variable_options normal = {.size = sizeof(normal), .init = {.rule = PLUMB_INIT_NORMAL, .b = 1}};
    plumb_t a = plumb_variable(g, "right", PLUMB_F32, PLUMB_SHAPE(3), &normal);
    plumb_t b = plumb_variable(g, "wrong", PLUMB_F32, PLUMB_SHAPE(4), &normal);
    plumb_t loss = plumb_add(g, plumb_sum(g, plumb_square(g, a), NULL, 0, false),
                             plumb_sum(g, plumb_mul(g, b, plumb_stop_gradient(g, b)), NULL, 0, false));
    plumb_gradcheck_report report;
    plumb_status status = plumb_gradcheck(g, NULL, loss, NULL, 0, NULL, &report);
    tell(count, status == PLUMB_FAILED && strcmp(report.worst_name, "wrong") == 0, "wrong", "not found");
    tell(count, strstr(plumb_message(context), "'wrong'") != NULL, "wrong", plumb_message(context));
    tell(count, fabs(report.numeric - 2 * report.analytic) <= 1e-6, "wrong", "twice as much expected");
    plumb_clear_error(context);
    plumb_graph_free(g);
}

/* A gradient of zero proves nothing, unless it is said to be right. */
static void check_zero(struct gradcheck_count *count, plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "zero");
    plumb_variable_options normal = {.size = sizeof(normal), .init = {.rule = PLUMB_INIT_NORMAL, .b = 1}};
    plumb_t a = plumb_variable(g, "used", PLUMB_F64, PLUMB_SHAPE(3), &normal);
    plumb_variable(g, "idle", PLUMB_F64, PLUMB_SHAPE(2), &normal);
    plumb_t loss = plumb_sum(g, plumb_square(g, a), NULL, 0, false);
    plumb_gradcheck_report report;
    plumb_gradcheck_options options = {.size = sizeof(options)};
    plumb_status status = plumb_gradcheck(g, NULL, loss, NULL, 0, &options, &report);
    tell(count, status == PLUMB_FAILED && strcmp(report.zero_name, "idle") == 0, "zero", "not found");
    plumb_clear_error(context);
    options.allow_zero = true;
    status = plumb_gradcheck(g, NULL, loss, NULL, 0, &options, &report);
    tell(count, status == PLUMB_OK && report.zero_parameters == 1, "zero, allowed", plumb_message(context));
    plumb_clear_error(context);
    plumb_graph_free(g);
}

/* At a kink no step helps: |x| at 0 is left out and, being all there is, fails; away from it steps past it are. */
static void check_kinks(struct gradcheck_count *count, plumb_context *context)
{
    plumb_graph *g = plumb_graph_new(context, "kinks");
    plumb_variable_options zero = {.size = sizeof(zero)};
    plumb_t x = plumb_variable(g, "x", PLUMB_F64, PLUMB_SHAPE(3), &zero);
    plumb_t loss = plumb_sum(g, plumb_mul(g, plumb_relu(g, x), plumb_affine(g, x, 1, 1)), NULL, 0, false);
    const double values[] = {5e-6, 1, 2}; /* within h = 1e-5 of the kink, outside h/16 */
    plumb_state *state = plumb_state_new(g);
    plumb_gradcheck_report report;
    plumb_gradcheck_options options = {.size = sizeof(options), .directions = -1, .tolerance = 1e-7};
    bool set = state && plumb_state_set(state, "x", values, sizeof(values)) == PLUMB_OK;
    plumb_status status = plumb_gradcheck(g, state, loss, NULL, 0, &options, &report);
    tell(count, set && status == PLUMB_OK && report.kinks_retried == 1 && report.kinks_left == 0, "kinks",
         plumb_message(context));
    plumb_clear_error(context);
    status = plumb_gradcheck(g, NULL, loss, NULL, 0, &options, &report);
    tell(count, status == PLUMB_FAILED && report.kinks_left == 3, "on kinks", "must fail: every element is on a kink");
    plumb_clear_error(context);
    plumb_state_free(state);
    plumb_graph_free(g);
}

void check_models(struct gradcheck_count *count)
{
    plumb_context *context = plumb_open(NULL);
    plumb_gradcheck_options plain = {.no_course = false}, zeros = {.allow_zero = true};
    if (!context) {
        count->failed++;
        return;
    }
    check_cube(count, context);
    check_wrong(count, context);
    check_zero(count, context);
    check_kinks(count, context);
    plumb_close(context);
    check_net(count, "logistic", logistic, plain, 13);
    check_net(count, "mlp", mlp, plain, 20 * 16 + 16 + 16 * 12 + 12 + 12 * 10 + 10);
    check_net(count, "mlp, dropout", mlp_dropout, plain, 20 * 32 + 32 + 32 * 12 + 12 + 12 * 10 + 10);
    check_net(count, "cnn, batch norm", cnn_norm, zeros, 2 * 54 + 6 + 2 * (36 * 9 + 6) + 6 * 6 + 35);
    check_net(count, "lstms", lstms, plain, 2 * 20 * (4 + 5 + 2) + 2 * 20 * (10 + 5 + 2) + 55);
    check_net(count, "grus, rnn", grus, plain, 15 * (4 + 5 + 2) + 15 * (5 + 5 + 2) + 5 * (5 + 5) + 30);
    check_net(count, "lenet-5", lenet, plain, 61706);
    check_net(count, "teaching lenet", lenet_teaching, plain, 62958);
}
