/* The same seed gives the same bits: for any number of threads, in every repeat, under strict memory, and whatever was
 * computed before. The whole state (weights, moments, running statistics, random key) is compared byte for byte. */
#include "check.h"
#include "plumb/graph.h"
#include "plumb/ops.h"
#include "plumb/optim.h"

enum { BATCH = 13, STEPS = 6, CLASSES = 5 };

struct net {
    plumb_t x, y, loss;
};

static plumb_t weight(plumb_graph *g, const char *name, plumb_shape shape)
{
    const plumb_variable_options he = {.size = sizeof he, .init = {.rule = PLUMB_INIT_HE}};
    return plumb_variable(g, name, PLUMB_F32, shape, &he);
}

static plumb_t filled(plumb_graph *g, const char *name, int64_t n, double value, bool frozen)
{
    const plumb_variable_options options = {.size = sizeof options, .frozen = frozen,
                                            .init = {.rule = PLUMB_INIT_CONSTANT, .a = value}};
    return plumb_variable(g, name, PLUMB_F32, PLUMB_SHAPE(n), &options);
}

/* (N, 2, 9, 9) -> conv, batch norm, ReLU, max pool -> dropout -> linear -> cross-entropy */
static struct net convolutional(plumb_graph *g)
{
    struct net n;
    n.x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 2, 9, 9));
    n.y = plumb_input(g, "y", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    const plumb_conv2d_options conv = {.size = sizeof conv, .padding = {1, 1, 1, 1}};
    const plumb_pool2d_options pool = {.size = sizeof pool, .window = {2, 2}};
    plumb_t h = plumb_conv2d(g, n.x, weight(g, "conv.weight", PLUMB_SHAPE(4, 2, 3, 3)), PLUMB_NONE, &conv);
    h = plumb_batch_norm(g, h, filled(g, "bn.weight", 4, 1, false), filled(g, "bn.bias", 4, 0, false),
                         filled(g, "bn.running_mean", 4, 0, true), filled(g, "bn.running_var", 4, 1, true), NULL);
    h = plumb_max_pool2d(g, plumb_relu(g, h), &pool);
    h = plumb_dropout(g, plumb_flatten(g, h, 1), 0.3);
    h = plumb_matmul(g, h, weight(g, "fc.weight", PLUMB_SHAPE(CLASSES, 64)), false, true);
    h = plumb_add(g, h, filled(g, "fc.bias", CLASSES, 0, false));
    n.loss = plumb_softmax_cross_entropy(g, h, n.y, NULL);
    return n;
}

/* A cheap sequence for data; quality does not matter. */
static uint32_t next(uint32_t *s) { return *s = *s * 1664525u + 1013904223u; }

struct bits {
    unsigned char *data;
    size_t bytes;
};

static struct bits state_bits(plumb_state *state)
{
    struct bits b = {0};
    for (int i = 0; i < plumb_state_count(state); i++) {
        const char *name = plumb_state_name(state, i);
        plumb_shape shape = plumb_state_shape(state, name);
        size_t bytes = plumb_dtype_size(plumb_state_dtype(state, name));
        for (int d = 0; d < shape.rank; d++)
            bytes *= (size_t)shape.dim[d];
        b.data = realloc(b.data, b.bytes + bytes);
        CHECK(plumb_state_get(state, name, b.data + b.bytes, bytes) == PLUMB_OK);
        b.bytes += bytes;
    }
    return b;
}

static struct bits train(const plumb_optimizer *optimizer, int threads, bool strict, double *first, double *last)
{
    plumb_options options = {.size = sizeof options, .seed = 7, .threads = threads, .strict_memory = strict};
    plumb_context *c = plumb_open(&options);
    plumb_graph *g = plumb_graph_new(c, "net");
    struct net n = convolutional(g);
    plumb_state *state = plumb_state_new(g);
    plumb_program *step = plumb_compile_training(g, state, n.loss, optimizer, NULL, 0);
    CHECK_MSG(step != NULL, "%s", plumb_message(c));
    uint32_t seed = 1;
    static float x[BATCH * 2 * 9 * 9];
    static int32_t y[BATCH];
    for (int i = 0; i < BATCH; i++) {
        y[i] = (int32_t)(next(&seed) >> 8) % CLASSES;
        for (int k = 0; k < 162; k++)
            x[i * 162 + k] = (float)(next(&seed) >> 8) / (float)(1 << 24) + (k % CLASSES == y[i] ? 1.0f : 0.0f);
    }
    for (int i = 0; step && i < STEPS; i++) {
        CHECK(plumb_feed(step, n.x, x, sizeof x) == PLUMB_OK);
        CHECK(plumb_feed(step, n.y, y, sizeof y) == PLUMB_OK);
        CHECK_MSG(plumb_run(step) == PLUMB_OK, "%s", plumb_message(c));
        CHECK(plumb_fetch_number(step, n.loss, i == 0 ? first : last) == PLUMB_OK);
    }
    struct bits b = state_bits(state);
    plumb_close(c);
    return b;
}

PLUMB_TEST(determinism, threads_repeats_and_strict_memory)
{
    const plumb_optimizer *optimizers[] = {
        PLUMB_ADAM(.lr = 0.01), PLUMB_MOMENTUM(.lr = 0.1, .l2 = 1e-3), PLUMB_RMSPROP(.lr = 0.01, .skip_bad_steps = true)};
    for (int o = 0; o < 3; o++) {
        double first = 0, last = 0, f, l;
        struct bits one = train(optimizers[o], 1, false, &first, &last);
        CHECK_MSG(last < first, "%s: loss went from %g to %g", optimizers[o]->rule, first, last);
        const int threads[] = {1, 2, 3, 4, 8, 2};
        for (int i = 0; i < 6; i++) {
            struct bits other = train(optimizers[o], threads[i], i == 5, &f, &l);
            CHECK_MSG(other.bytes == one.bytes && memcmp(one.data, other.data, one.bytes) == 0,
                      "%s: %d threads%s gave other bits", optimizers[o]->rule, threads[i], i == 5 ? ", strict memory" : "");
            free(other.data);
        }
        free(one.data);
    }
}

/* A product (batch, m, k) (batch, k, n), B's own order of columns transposed or not, with so many threads. */
static struct bits product(const int64_t shape[4], bool transposed, int threads)
{
    const int64_t batch = shape[0], m = shape[1], k = shape[2], n = shape[3];
    const plumb_variable_options options = {.size = sizeof options, .init = {.rule = PLUMB_INIT_NORMAL, .b = 1}};
    plumb_context *c = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .seed = 3, .threads = threads});
    plumb_graph *g = plumb_graph_new(c, "product");
    plumb_t a = plumb_variable(g, "a", PLUMB_F32, PLUMB_SHAPE(batch, m, k), &options);
    plumb_t b = plumb_variable(g, "b", PLUMB_F32, transposed ? PLUMB_SHAPE(batch, n, k) : PLUMB_SHAPE(batch, k, n), &options);
    plumb_t y = plumb_matmul(g, a, b, false, transposed);
    plumb_state *state = plumb_state_new(g);
    plumb_program *program =
        plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options), .outputs = &y, .n_outputs = 1});
    struct bits bits = {.bytes = (size_t)(batch * m * n) * sizeof(float)};
    bits.data = malloc(bits.bytes);
    for (int i = 0; program && i < 3; i++) { /* who does what differs from run to run */
        CHECK_MSG(plumb_run(program) == PLUMB_OK, "%s", plumb_message(c));
    }
    CHECK_MSG(program && plumb_fetch(program, y, bits.data, bits.bytes) == PLUMB_OK, "%s", plumb_message(c));
    plumb_close(c);
    return bits;
}

/* Every way a product is cut: B packed for all threads in several passes, or by each chunk; k in parts; dot products; rows of
 * blocks, and columns of them that end within a vector. */
PLUMB_TEST(determinism, products)
{
    static const int64_t shapes[][4] = {{1, 65, 1100, 107}, {1, 3, 8300, 19}, {9, 17, 40, 21},
                                        {2, 33, 70, 84},    {1, 64, 84, 10},  {1, 1, 3000, 130}};
    for (int i = 0; i < 12; i++) {
        struct bits one = product(shapes[i / 2], i % 2, 1);
        for (int threads = 2; threads <= 4; threads++) {
            struct bits other = product(shapes[i / 2], i % 2, threads);
            CHECK_MSG(memcmp(one.data, other.data, one.bytes) == 0, "product %d: %d threads gave other bits", i, threads);
            free(other.data);
        }
        free(one.data);
    }
}
