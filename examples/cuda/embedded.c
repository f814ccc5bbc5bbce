/* A program that carries the CUDA device in itself (CMake target plumb_cuda_static) and so needs no plugin beside it:
 * doubles eight numbers on the GPU. Where no GPU can be used it says why and ends with code 3. */
#include <plumb/plumb.h>
#include <stdio.h>

int main(void)
{
    float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    plumb_error error = {0};
    plumb_context *ctx = plumb_open(&(plumb_options){.device = "cuda", .error = &error});
    if (!ctx)
        return fprintf(stderr, "%s\n", error.message), (int)error.status;
    plumb_graph *g = plumb_graph_new(ctx, "double");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(8)), y = plumb_affine(g, x, 2, 0);
    plumb_program *program = plumb_compile(g, NULL, &(plumb_compile_options){.outputs = &y, .n_outputs = 1});
    plumb_status status = program ? plumb_feed(program, x, numbers, sizeof numbers) : plumb_last_status(ctx);
    status = status ? status : plumb_run(program);
    status = status ? status : plumb_fetch(program, y, numbers, sizeof numbers);
    if (status)
        fprintf(stderr, "%s\n", plumb_message(ctx));
    else
        printf("on %s: %g %g .. %g\n", plumb_device_name(ctx), numbers[0], numbers[1], numbers[7]);
    plumb_close(ctx);
    return (int)status;
}
