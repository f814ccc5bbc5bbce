/* A network with random pictures, as bench trains it: the same values by seed and name in every context. */
#include "cli/bench.h"

#define EXAMPLES 60000                         /* of Fashion-MNIST: what gathering costs depends on how far it reaches */
#define MEMORY_OF_PICTURES ((int64_t)64 << 20) /* bytes at most, unless two batches take more */
#define PATTERN 1048573                        /* bytes of random numbers, a prime number of them, over and over */

static int64_t examples(int64_t batch, int64_t item, bool few)
{
    int64_t room = MEMORY_OF_PICTURES / item, all = room < EXAMPLES ? room : EXAMPLES;
    return few || all < 2 * batch ? 2 * batch : all / batch * batch;
}

static void fill(const struct bench_net *n, uint8_t *x, int64_t bytes, int32_t *y, int64_t count)
{
    uint64_t seed = plumb_seed(n->context);
    for (int64_t i = 0; i < bytes; i++) {
        x[i] = i < PATTERN ? (uint8_t)(plumb_random_word(seed, 0x6264u, 0, i) >> 24) : x[i - PATTERN];
    }
    for (int64_t i = 0; i < count; i++) {
        y[i] = (int32_t)(plumb_random_word(seed, 0x6264u, 1, i) % (uint32_t)n->net.classes);
    }
}

plumb_status bench_net_data(struct bench_net *n)
{
    int64_t batch = n->options.batch, item = plumb_shape_count(&n->net.input_shape), all = 0;
    if (!plumb_mul_size(batch, 2 * item, &all) || all > (int64_t)1 << 32) {
        return plumb_fail(n->context, PLUMB_BAD_INPUT, "bench: a batch of %lld pictures is too large", (long long)batch);
    }
    int64_t count = examples(batch, item, n->few);
    uint8_t *x = plumb_alloc(n->context, (size_t)(count * item));
    int32_t *y = plumb_alloc(n->context, (size_t)count * sizeof(int32_t));
    if (x && y) {
        fill(n, x, count * item, y, count);
        n->data = plumb_dataset_arrays(n->context, PLUMB_U8, n->net.input_shape, count, x, y, n->net.classes);
    }
    plumb_free(n->context, x);
    plumb_free(n->context, y);
    const plumb_loader_options options = {.size = sizeof(options), .batch = batch, .shuffle = true};
    n->loader = n->data ? plumb_loader_new(n->data, &options) : NULL;
    return n->loader ? plumb_fit_scaling(&n->net, n->state, n->data, PLUMB_SCALING_STANDARD)
                     : plumb_last_status(n->context);
}

plumb_status bench_net_make(struct bench_net *n, plumb_context *context, const struct bench_net_options *options)
{
    *n = (struct bench_net){.context = context, .options = *options};
    const plumb_model_options model = {
        .size = sizeof(model), .classes = (int)options->classes, .input_shape = options->picture};
    plumb_status status = plumb_model_build(context, options->model, &model, &n->net);
    if (!status) {
        n->state = plumb_state_new(n->net.graph);
        status = n->state ? PLUMB_OK : plumb_last_status(context);
    }
    return status;
}

void bench_net_free(struct bench_net *n)
{
    plumb_program_free(n->program);
    plumb_loader_free(n->loader);
    plumb_dataset_free(n->data);
    plumb_state_free(n->state);
    plumb_graph_free(n->net.graph);
    *n = (struct bench_net){0};
}

plumb_status bench_net_training(struct bench_net *n)
{
    plumb_program_free(n->program);
    n->program = plumb_compile_training(n->net.graph, n->state, n->net.loss,
                                        &(plumb_optimizer){.size = sizeof(plumb_optimizer),
                                                           .rule = n->options.optimizer,
                                                           .precision = cli_precision(n->options.precision)},
                                        &n->net.logits, 1);
    return n->program ? PLUMB_OK : plumb_last_status(n->context);
}

plumb_status bench_net_step(void *user)
{
    struct bench_net *n = user;
    int64_t count = plumb_loader_next(n->loader, n->program, n->net.input, n->net.label);
    if (count == 0) {
        count = plumb_loader_next(n->loader, n->program, n->net.input, n->net.label);
    }
    double loss;
    plumb_status status = count < 0 ? plumb_last_status(n->context) : plumb_run(n->program);
    return status ? status : plumb_fetch_number(n->program, n->net.loss, &loss);
}
