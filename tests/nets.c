/* See nets.h. */
#include "nets.h"

#include <stdlib.h>
#include <string.h>

/* ---- networks ---- */

static plumb_t weight(plumb_graph *g, const char *name, plumb_shape shape, plumb_init_rule rule)
{
    plumb_variable_options options = {.size = sizeof(options), .init = {.rule = rule, .a = 1, .b = 0.1}};
    if (rule == PLUMB_INIT_NORMAL) {
        options.init.a = 0;
    }
    return plumb_variable(g, name, PLUMB_F32, shape, &options);
}

static plumb_t frozen(plumb_graph *g, const char *name, plumb_shape shape, double value)
{
    plumb_variable_options options = {
        .size = sizeof(options), .init = {.rule = PLUMB_INIT_CONSTANT, .a = value}, .frozen = true};
    return plumb_variable(g, name, PLUMB_F32, shape, &options);
}

static plumb_status begin(plumb_context *context, struct net *net, const char *name, plumb_shape example, int classes)
{
    memset(net, 0, sizeof(*net));
    net->g = plumb_graph_new(context, name);
    if (!net->g) {
        return plumb_last_status(context);
    }
    plumb_shape shape = {.rank = example.rank + 1, .dim = {PLUMB_BATCH}};
    net->per_example = 1;
    net->classes = classes;
    for (int d = 0; d < example.rank; d++) {
        shape.dim[d + 1] = example.dim[d];
        net->per_example *= example.dim[d];
    }
    net->x = plumb_input(net->g, "x", PLUMB_F32, shape);
    net->label = plumb_input(net->g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    return plumb_graph_status(net->g);
}

static plumb_status finish(struct net *net, plumb_t logits)
{
    net->out = plumb_softmax(net->g, logits, -1);
    net->loss = plumb_softmax_cross_entropy(net->g, logits, net->label, NULL);
    return plumb_graph_status(net->g);
}

plumb_status net_mlp(plumb_context *context, struct net *net)
{
    plumb_status status = begin(context, net, "mlp", PLUMB_SHAPE(12), 5);
    plumb_graph *g = net->g;
    if (status != PLUMB_OK) {
        return status;
    }
    plumb_t h = plumb_matmul(g, net->x, weight(g, "fc1.weight", PLUMB_SHAPE(16, 12), PLUMB_INIT_GLOROT), false, true);
    h = plumb_dropout(g, plumb_tanh(g, plumb_add(g, h, weight(g, "fc1.bias", PLUMB_SHAPE(16), PLUMB_INIT_NORMAL))), 0.2);
    h = plumb_matmul(g, h, weight(g, "fc2.weight", PLUMB_SHAPE(10, 16), PLUMB_INIT_HE), false, true);
    h = plumb_relu(g, plumb_add(g, h, weight(g, "fc2.bias", PLUMB_SHAPE(10), PLUMB_INIT_NORMAL)));
    return finish(net, plumb_matmul(g, h, weight(g, "fc3.weight", PLUMB_SHAPE(5, 10), PLUMB_INIT_GLOROT), false, true));
}

plumb_status net_cnn(plumb_context *context, struct net *net)
{
    plumb_status status = begin(context, net, "cnn", PLUMB_SHAPE(2, 8, 8), 4);
    plumb_graph *g = net->g;
    if (status != PLUMB_OK) {
        return status;
    }
    plumb_conv2d_options same = {.size = sizeof(same), .padding = {1, 1, 1, 1}};
    plumb_pool2d_options pool = {.size = sizeof(pool), .window = {2, 2}};
    plumb_t h = plumb_conv2d(g, net->x, weight(g, "c1.weight", PLUMB_SHAPE(6, 2, 3, 3), PLUMB_INIT_HE), PLUMB_NONE, &same);
    h = plumb_batch_norm(g, h, weight(g, "bn.scale", PLUMB_SHAPE(6), PLUMB_INIT_CONSTANT),
                         weight(g, "bn.shift", PLUMB_SHAPE(6), PLUMB_INIT_NORMAL), frozen(g, "bn.mean", PLUMB_SHAPE(6), 0),
                         frozen(g, "bn.var", PLUMB_SHAPE(6), 1), NULL);
    plumb_t skip = plumb_max_pool2d(g, plumb_relu(g, h), &pool);
    h = plumb_conv2d(g, skip, weight(g, "c2.weight", PLUMB_SHAPE(6, 6, 3, 3), PLUMB_INIT_HE),
                     weight(g, "c2.bias", PLUMB_SHAPE(6), PLUMB_INIT_NORMAL), &same);
    h = plumb_average_pool2d(g, plumb_gelu(g, plumb_add(g, h, skip)), &pool);
    h = plumb_flatten(g, h, 1);
    return finish(net, plumb_matmul(g, h, weight(g, "fc.weight", PLUMB_SHAPE(24, 4), PLUMB_INIT_GLOROT), false, false));
}

plumb_status net_views(plumb_context *context, struct net *net)
{
    plumb_status status = begin(context, net, "views", PLUMB_SHAPE(6, 4), 3);
    plumb_graph *g = net->g;
    const int swap[] = {0, 2, 1};
    const int64_t begin_at[] = {0, 0, 1}, end_at[] = {PLUMB_END, PLUMB_END, PLUMB_END}, step[] = {1, 1, 2};
    const int64_t back_begin[] = {0, 0, -1}, back_end[] = {PLUMB_END, PLUMB_END, PLUMB_END}, back_step[] = {1, 1, -1};
    if (status != PLUMB_OK) {
        return status;
    }
    plumb_t t = plumb_transpose(g, net->x, swap);                             /* (N, 4, 6) */
    plumb_t odd = plumb_slice(g, t, begin_at, end_at, step);                  /* (N, 4, 3) */
    plumb_t reversed = plumb_slice(g, odd, back_begin, back_end, back_step);  /* (N, 4, 3) */
    plumb_t twice[] = {plumb_mul(g, odd, reversed), plumb_sub(g, odd, plumb_affine(g, reversed, 2, 1))};
    plumb_t both = plumb_concat(g, twice, 2, 1);                              /* (N, 8, 3) */
    plumb_t gain = plumb_reshape(g, weight(g, "gain", PLUMB_SHAPE(8), PLUMB_INIT_CONSTANT), PLUMB_SHAPE(8, 1));
    both = plumb_mul(g, both, plumb_expand(g, gain, PLUMB_SHAPE(8, 3)));
    plumb_t same = plumb_add(g, plumb_exp(g, plumb_affine(g, both, 0.1, 0)), plumb_exp(g, plumb_affine(g, both, 0.1, 0)));
    plumb_t flat = plumb_flatten(g, plumb_add(g, both, plumb_mul(g, same, plumb_affine(g, plumb_full(g, PLUMB_F32, PLUMB_SHAPE(3), 2), 0.5, -0.5))), 1);
    plumb_t h = plumb_silu(g, plumb_matmul(g, flat, weight(g, "w1", PLUMB_SHAPE(24, 7), PLUMB_INIT_GLOROT), false, false));
    return finish(net, plumb_matmul(g, h, weight(g, "w2", PLUMB_SHAPE(7, 3), PLUMB_INIT_GLOROT), false, false));
}

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

plumb_status net_feed(const struct net *net, plumb_program *program, int batch, uint64_t seed)
{
    size_t count = (size_t)(net->per_example * batch);
    float *x = malloc(count * sizeof(float));
    int32_t *label = malloc((size_t)batch * sizeof(int32_t));
    plumb_status status = PLUMB_FAILED;
    if (x && label) {
        for (size_t i = 0; i < count; i++) {
            x[i] = (float)next(&seed) * 0x1p-30f - 1;
        }
        for (int i = 0; i < batch; i++) {
            label[i] = (int32_t)(next(&seed) % (uint32_t)net->classes);
        }
        status = plumb_feed(program, net->x, x, count * sizeof(float));
        if (status == PLUMB_OK) {
            status = plumb_feed(program, net->label, label, (size_t)batch * sizeof(int32_t));
        }
    }
    free(x);
    free(label);
    return status;
}

/* ---- the allocator ---- */

static void *count_alloc(void *user, size_t bytes)
{
    struct counting *c = user;
    c->calls++;
    if (c->fail_at > 0 && (c->from_there_on ? c->calls >= c->fail_at : c->calls == c->fail_at)) {
        c->failed++;
        return NULL;
    }
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64 + (bytes == 0 ? 64 : 0));
    if (memory) {
        c->bytes += (int64_t)bytes;
        c->blocks++;
    }
    return memory;
}

static void count_free(void *user, void *memory, size_t bytes)
{
    struct counting *c = user;
    if (memory) {
        c->bytes -= (int64_t)bytes;
        c->blocks--;
    }
    free(memory);
}

plumb_allocator counting_allocator(struct counting *counting)
{
    return (plumb_allocator){.user = counting, .alloc = count_alloc, .free = count_free};
}
