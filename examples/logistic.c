/* Logistic regression from the ops up: y^ = sigmoid(w.x + b), the mean of the log loss, gradients by differentiation of
 * the graph, and plain gradient descent over the whole batch. The data are two clouds of points. */
#include <plumb/plumb.h>
#include <stdio.h>

#define POINTS 200

/* Label 1 lies around (1, 1), label 0 around (-1, -1); a small generator keeps the example the same everywhere. */
static void make_points(float x[POINTS][2], float y[POINTS][1])
{
    uint32_t random = 1;
    for (int i = 0; i < POINTS; i++) {
        y[i][0] = (float)(i % 2);
        for (int k = 0; k < 2; k++) {
            random = random * 1664525u + 1013904223u;
            x[i][k] = (i % 2 ? 1.0f : -1.0f) + 3.0f * ((float)(random >> 8) / (1 << 24) - 0.5f);
        }
    }
}

int main(void)
{
    float x_data[POINTS][2], y_data[POINTS][1], w_value[2], prediction[POINTS];
    make_points(x_data, y_data);

    plumb_error error;
    plumb_context *ctx = plumb_open(&(plumb_options){.error = &error});
    if (!ctx) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    plumb_graph *net = plumb_graph_new(ctx, "logistic");
    plumb_t x = plumb_input(net, "x", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 2));
    plumb_t y = plumb_input(net, "y", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1));
    plumb_t w = plumb_variable(net, "w", PLUMB_F32, PLUMB_SHAPE(2, 1), NULL); /* zeros: the cost is convex */
    plumb_t b = plumb_variable(net, "b", PLUMB_F32, PLUMB_SHAPE(1), NULL);
    plumb_t z = plumb_add(net, plumb_matmul(net, x, w, false, false), b);
    plumb_t cost = plumb_bce_with_logits(net, z, y, NULL); /* from logits: stable for any z */
    plumb_t probability = plumb_sigmoid(net, z);

    plumb_state *state = plumb_state_new(net);
    plumb_program *step = plumb_compile_training(net, state, cost, PLUMB_SGD(.lr = 0.5), &probability, 1);
    plumb_status status = step ? PLUMB_OK : plumb_last_status(ctx);
    for (int i = 0; !status && i <= 100; i++) {
        double value = 0;
        status = plumb_feed(step, x, x_data, sizeof x_data);
        if (!status)
            status = plumb_feed(step, y, y_data, sizeof y_data);
        if (!status)
            status = plumb_run(step);
        if (!status)
            status = plumb_fetch_number(step, cost, &value);
        if (!status && i % 20 == 0)
            printf("step %3d: cost %.4f\n", i, value);
    }
    if (!status)
        status = plumb_fetch(step, probability, prediction, sizeof prediction);
    if (!status)
        status = plumb_state_get(state, "w", w_value, sizeof w_value);
    if (status) {
        fprintf(stderr, "%s\n", plumb_message(ctx));
        plumb_close(ctx);
        return (int)status;
    }
    int right = 0;
    for (int i = 0; i < POINTS; i++)
        right += (prediction[i] > 0.5f) == (y_data[i][0] > 0.5f);
    printf("w = (%.3f, %.3f); %d of %d points on the right side\n", (double)w_value[0], (double)w_value[1], right, POINTS);
    plumb_close(ctx);
    return right > POINTS * 9 / 10 ? 0 : 1;
}
