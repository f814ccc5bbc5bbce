/* Any cost a program can write down can be minimised: J(w) = w^2 - 10 w + 25 has its least value 0 at w = 5. The
 * gradient 2w - 10 is found by differentiating the graph. */
#include <math.h>
#include <plumb/plumb.h>
#include <stdio.h>

int main(void)
{
    plumb_error error;
    plumb_context *ctx = plumb_open(&(plumb_options){.error = &error});
    if (!ctx) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    plumb_graph *g = plumb_graph_new(ctx, "cost");
    plumb_t w = plumb_variable(g, "w", PLUMB_F32, PLUMB_SCALAR_SHAPE, NULL); /* starts at 0 */
    plumb_t cost = plumb_add(g, plumb_square(g, w), plumb_affine(g, w, -10, 25));
    plumb_t gradient = PLUMB_NONE;
    plumb_status status = plumb_gradients(g, cost, &w, 1, &gradient);

    plumb_state *state = plumb_state_new(g);
    plumb_program *step = plumb_compile_training(g, state, cost, PLUMB_SGD(.lr = 0.1), &gradient, 1);
    double at = 0, value = 0, slope = 0;
    for (int i = 0; step && !status && i < 100; i++) {
        status = plumb_state_get_number(state, "w", &at);
        if (!status)
            status = plumb_run(step);
        if (!status)
            status = plumb_fetch_number(step, cost, &value);
        if (!status)
            status = plumb_fetch_number(step, gradient, &slope);
        if (!status && (i < 3 || i == 99))
            printf("step %2d: w %.5f, J(w) %.5f, dJ/dw %.5f\n", i, at, value, slope);
    }
    if (!step || status) {
        fprintf(stderr, "%s\n", plumb_message(ctx));
        plumb_close(ctx);
        return 1;
    }
    plumb_close(ctx);
    return fabs(at - 5) < 1e-4 ? 0 : 1;
}
