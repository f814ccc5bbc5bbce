/* What the lint of the checker build looks at (docs/CUDASIM.md): ops and their gradients at sizes at which a kernel has
 * whole warps and more than one block, laid out as they usually are. Values are checked elsewhere. */
#include "check.h"
#include "control.h"
#include "plumb/plumb.h"

static plumb_t normal(plumb_graph *g, plumb_dtype dtype, plumb_shape shape)
{
    return plumb_random_normal(g, dtype, shape, 0, 1);
}

/* Our own kernels are looked at, not those of the vendors' libraries. */
static plumb_context *open_device(void)
{
    cudasim_vendor(NULL, 0);
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1});
}

typedef void building(plumb_graph *g, plumb_dtype dtype, plumb_t *out, int *count);

static void run(building *build, plumb_dtype dtype)
{
    plumb_t out[16];
    int count = 0;
    plumb_context *context = open_device();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "lint");
    build(g, dtype, out, &count);
    plumb_state *state = plumb_state_new(g);
    plumb_compile_options options = {.size = sizeof options, .outputs = out, .n_outputs = count, .training = true};
    plumb_program *program = plumb_compile(g, state, &options);
    CHECK_MSG(program && plumb_run(program) == PLUMB_OK, "%s", plumb_message(context));
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
    plumb_close(context);
}

#define BUILD(name) static void name(plumb_graph *g, plumb_dtype dtype, plumb_t *out, int *count)
#define OUT(value) out[(*count)++] = (value)

BUILD(elementwise)
{
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(64, 200)), row = normal(g, dtype, PLUMB_SHAPE(200));
    plumb_t column = normal(g, dtype, PLUMB_SHAPE(64, 1));
    OUT(plumb_gelu(g, x));
    OUT(plumb_mul(g, plumb_add(g, x, row), column));
    OUT(plumb_where(g, plumb_less(g, x, row), x, column));
    OUT(plumb_cast(g, x, PLUMB_I32));
    OUT(plumb_dropout(g, x, 0.5));
    OUT(plumb_expand(g, column, PLUMB_SHAPE(64, 200)));
}

BUILD(moving)
{
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(96, 160)), y = normal(g, dtype, PLUMB_SHAPE(4, 8, 30, 40));
    plumb_t both[] = {x, plumb_affine(g, x, 2, 1)};
    int64_t begin[] = {8, 32}, end[] = {72, 128}, step[] = {1, 1};
    OUT(plumb_transpose(g, x, NULL));
    OUT(plumb_affine(g, plumb_transpose(g, x, NULL), 2, 0));
    OUT(plumb_transpose(g, y, (int[]){0, 2, 3, 1}));
    OUT(plumb_transpose(g, plumb_transpose(g, y, (int[]){0, 2, 3, 1}), (int[]){1, 0, 2, 3}));
    OUT(plumb_concat(g, both, 2, 0));
    OUT(plumb_concat(g, both, 2, 1));
    OUT(plumb_slice(g, x, begin, end, step));
}

BUILD(reductions)
{
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(48, 40, 96));
    for (int axis = 0; axis < 3; axis++) {
        OUT(plumb_sum(g, x, &axis, 1, false));
        OUT(plumb_argmax(g, x, axis, false));
    }
    OUT(plumb_max(g, x, (int[]){0, 1, 2}, 3, false));
    OUT(plumb_mean(g, x, (int[]){0, 2}, 2, false));
    OUT(plumb_sum_squares(g, &x, 1));
    OUT(plumb_all_finite(g, &x, 1));
}

BUILD(lanes)
{
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(96, 128)), few = normal(g, dtype, PLUMB_SHAPE(512, 10)), d[3];
    plumb_t labels = plumb_cast(g, plumb_random_uniform(g, PLUMB_F32, PLUMB_SHAPE(96), 0, 127), PLUMB_I32);
    plumb_t sources[] = {x, few};
    plumb_t loss = plumb_softmax_cross_entropy(g, x, labels, NULL);
    loss = plumb_add(g, loss, plumb_mean(g, plumb_square(g, plumb_softmax(g, few, 1)), NULL, 0, false));
    loss = plumb_add(g, loss, plumb_mean(g, plumb_square(g, plumb_log_softmax(g, x, 0)), NULL, 0, false));
    if (plumb_gradients(g, loss, sources, 2, d) == PLUMB_OK) {
        OUT(d[0]);
        OUT(d[1]);
    }
    OUT(loss);
}

BUILD(products)
{
    plumb_t a = normal(g, dtype, PLUMB_SHAPE(96, 80)), b = normal(g, dtype, PLUMB_SHAPE(80, 128));
    plumb_t c = normal(g, dtype, PLUMB_SHAPE(96, 128)), one = normal(g, dtype, PLUMB_SHAPE(2, 96, 48));
    plumb_t two = normal(g, dtype, PLUMB_SHAPE(2, 48, 64));
    OUT(plumb_matmul(g, a, b, false, false));
    OUT(plumb_matmul(g, a, c, true, false));
    OUT(plumb_matmul(g, c, b, false, true));
    OUT(plumb_matmul(g, one, two, false, false));
}

BUILD(pictures)
{
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(2, 16, 20, 20)), w = normal(g, dtype, PLUMB_SHAPE(24, 16, 3, 3));
    plumb_t first = normal(g, dtype, PLUMB_SHAPE(6, 1, 5, 5)), grey = normal(g, dtype, PLUMB_SHAPE(2, 1, 28, 28));
    plumb_t bias = normal(g, dtype, PLUMB_SHAPE(24)), sources[] = {x, w, bias, first, grey}, d[5];
    plumb_conv2d_options strided = {.size = sizeof strided, .stride = {2, 2}, .padding = {1, 1, 1, 1}};
    plumb_pool2d_options two = {.size = sizeof two, .window = {2, 2}};
    plumb_t y = plumb_conv2d(g, x, w, bias, NULL), z = plumb_conv2d(g, x, w, bias, &strided);
    plumb_t pooled = plumb_max_pool2d(g, plumb_relu(g, y), &two);
    plumb_t loss = plumb_mean(g, plumb_square(g, plumb_average_pool2d(g, pooled, &two)), NULL, 0, false);
    loss = plumb_add(g, loss, plumb_mean(g, plumb_square(g, z), NULL, 0, false));
    loss = plumb_add(g, loss, plumb_mean(g, plumb_square(g, plumb_conv2d(g, grey, first, PLUMB_NONE, NULL)), NULL, 0, false));
    if (plumb_gradients(g, loss, sources, 5, d) == PLUMB_OK) {
        for (int i = 0; i < 5; i++) {
            OUT(d[i]);
        }
    }
}

BUILD(norms)
{
    plumb_dtype of = dtype == PLUMB_F64 ? PLUMB_F64 : PLUMB_F32;
    plumb_t x = normal(g, dtype, PLUMB_SHAPE(8, 6, 14, 14)), scale = normal(g, of, PLUMB_SHAPE(6));
    plumb_t shift = normal(g, of, PLUMB_SHAPE(6)), mean = normal(g, of, PLUMB_SHAPE(6));
    plumb_t variance = plumb_square(g, mean), sources[] = {x, scale, shift}, d[3];
    plumb_batch_norm_options fixed = {.size = sizeof fixed, .fixed = true};
    plumb_t y = plumb_relu(g, plumb_batch_norm(g, x, scale, shift, mean, variance, NULL));
    plumb_t loss = plumb_mean(g, plumb_square(g, y), NULL, 0, false);
    if (plumb_gradients(g, loss, sources, 3, d) == PLUMB_OK) {
        for (int i = 0; i < 3; i++) {
            OUT(d[i]);
        }
    }
    OUT(plumb_batch_norm(g, x, scale, shift, mean, variance, &fixed));
}

BUILD(indexed)
{
    plumb_t table = normal(g, dtype, PLUMB_SHAPE(100, 64)), d;
    plumb_t at = plumb_cast(g, plumb_random_uniform(g, PLUMB_F32, PLUMB_SHAPE(300), 0, 99), PLUMB_I32);
    plumb_t rows = plumb_embedding(g, table, at);
    OUT(rows);
    OUT(plumb_one_hot(g, at, 40, dtype));
    if (plumb_gradients(g, plumb_sum(g, plumb_square(g, rows), NULL, 0, false), &table, 1, &d) == PLUMB_OK) {
        OUT(d);
    }
}

#define LINT(name) \
    PLUMB_TEST(lint, name) \
    { \
        run(name, PLUMB_F32); \
        run(name, PLUMB_BF16); \
        run(name, PLUMB_F64); \
    }
LINT(elementwise)
LINT(moving)
LINT(reductions)
LINT(lanes)
LINT(products)
LINT(pictures)
LINT(norms)
LINT(indexed)

static void train(const plumb_optimizer *optimizer, const char *name)
{
    enum { BATCH = 6 };
    static float pictures[BATCH * 28 * 28];
    static const int32_t labels[BATCH] = {3, 0, 7, 1, 1, 9};
    for (int i = 0; i < BATCH * 28 * 28; i++) {
        pictures[i] = (float)((i * 37 + i / 29 * 11) % 256) / 255;
    }
    plumb_context *context = open_device();
    plumb_model model;
    REQUIRE(context && plumb_model_build(context, name, NULL, &model) == PLUMB_OK);
    plumb_state *state = plumb_state_new(model.graph);
    plumb_program *step = plumb_compile_training(model.graph, state, model.loss, optimizer, NULL, 0);
    CHECK(step && plumb_feed(step, model.input, pictures, sizeof pictures) == PLUMB_OK);
    CHECK(plumb_feed(step, model.label, labels, sizeof labels) == PLUMB_OK);
    CHECK_MSG(plumb_run(step) == PLUMB_OK, "%s", plumb_message(context));
    plumb_close(context);
}

PLUMB_TEST(lint, training)
{
    train(PLUMB_MOMENTUM(.lr = 0.05, .skip_bad_steps = true), "lenet5");
    train(PLUMB_ADAM(.lr = 0.001), "mlp");
}
