/* Trains LeNet-5 on Fashion-MNIST for one epoch: a graph, a state, a program, a loop. */
#include <plumb/plumb.h>
#include <stdio.h>

int main(void)
{
    plumb_error error = {0};
    plumb_context *ctx = plumb_open(&(plumb_options){.seed = 1, .error = &error});
    if (!ctx)
        return fprintf(stderr, "%s\n", error.message), 1;
    plumb_dataset *clothes = plumb_dataset_find(ctx, "fashion-mnist", "train", NULL);
    plumb_loader *loader = plumb_loader_new(clothes, &(plumb_loader_options){.batch = 64, .shuffle = true});

    plumb_graph *net = plumb_graph_new(ctx, "lenet5");
    plumb_t x = plumb_input(net, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1, 28, 28));
    plumb_t y = plumb_input(net, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t h = plumb_affine(net, x, 1 / 127.5, -1); /* bytes to [-1, 1] */
    h = plumb_conv2d_layer(net, "conv1", h, .filters = 6, .kernel = {5, 5}, .padding = {2, 2}, .activation = PLUMB_RELU);
    h = plumb_max_pool2d_layer(net, "pool1", h, .window = {2, 2}); /* (N, 6, 14, 14) */
    h = plumb_conv2d_layer(net, "conv2", h, .filters = 16, .kernel = {5, 5}, .activation = PLUMB_RELU);
    h = plumb_max_pool2d_layer(net, "pool2", h, .window = {2, 2}); /* (N, 16, 5, 5) */
    h = plumb_linear_layer(net, "fc1", plumb_flatten(net, h, 1), .units = 120, .activation = PLUMB_RELU);
    h = plumb_linear_layer(net, "fc2", h, .units = 84, .activation = PLUMB_RELU);
    plumb_t loss = plumb_softmax_cross_entropy(net, plumb_linear_layer(net, "fc3", h, .units = 10), y, NULL);

    plumb_state *state = plumb_state_new(net); /* weights, moments, step */
    plumb_program *step = plumb_compile_training(net, state, loss, PLUMB_ADAM(.lr = 1e-3), NULL, 0);
    plumb_ewa average = {.beta = 0.98};
    plumb_status status = step ? PLUMB_OK : plumb_last_status(ctx);
    for (int64_t i = 1; !status && plumb_loader_next(loader, step, x, y) > 0; i++) {
        double value = 0;
        status = plumb_run(step);
        status = status ? status : plumb_fetch_number(step, loss, &value);
        value = plumb_ewa_add(&average, value);
        if (i % 100 == 0)
            printf("step %4d  loss %.3f\n", (int)i, value);
    }
    status = status ? status : plumb_state_save_weights(state, "lenet5.safetensors", NULL);
    if (plumb_last_status(ctx)) /* the first thing that was wrong, anywhere above */
        status = (fprintf(stderr, "%s\n", plumb_message(ctx)), plumb_last_status(ctx));
    plumb_close(ctx); /* frees everything */
    return (int)status;
}
