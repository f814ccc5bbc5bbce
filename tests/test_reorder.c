/* The pass `reorder`: the way back through relu goes before that through max pooling where only it reads that, and the
 * bits stay: windows that overlap, ties, zeros and NaN; not where another op reads the gradient in between. */
#include "check.h"

#include "plumb/plumb.h"

#include <math.h>

enum { N = 2, C = 3, H = 9, W = 8, ELEMENTS = N * C * H * W };

struct scene {
    plumb_context *context;
    plumb_graph *g;
    plumb_t x, filter, bias, relu, loss, out[3]; /* gradients of x and of the channels' bias; and of relu's result, if that is read */
    int n_out;
};

static bool open_scene(struct scene *s, int64_t window, int64_t stride, bool read_between)
{
    memset(s, 0, sizeof *s);
    s->context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .threads = 2, .strict_memory = true});
    s->g = s->context ? plumb_graph_new(s->context, "scene") : NULL;
    if (!s->g) {
        return false;
    }
    s->x = plumb_input(s->g, "x", PLUMB_F32, PLUMB_SHAPE(N, C, H, W));
    s->filter = plumb_input(s->g, "filter", PLUMB_F32, PLUMB_SHAPE(C, C, 1, 1));
    s->bias = plumb_input(s->g, "bias", PLUMB_F32, PLUMB_SHAPE(C));
    s->relu = plumb_relu(s->g, plumb_conv2d(s->g, s->x, s->filter, s->bias, NULL));
    plumb_t pooled = plumb_max_pool2d(s->g, s->relu,
                                      &(plumb_pool2d_options){.size = sizeof(plumb_pool2d_options),
                                                              .window = {window, window},
                                                              .stride = {stride, stride}});
    s->loss = plumb_mean(s->g, plumb_square(s->g, pooled), NULL, 0, false);
    plumb_t wrt[] = {s->x, s->bias, s->relu};
    s->n_out = read_between ? 3 : 2;
    return plumb_gradients(s->g, s->loss, wrt, s->n_out, s->out) == PLUMB_OK;
}

static void fill(float *x)
{
    static const float some[] = {0, -0.0f, 1, 1, -2, 0.5f, 3, -1, 2, 0.25f, 1};
    for (int i = 0; i < ELEMENTS; i++) {
        x[i] = i == 77 ? NAN : some[(i * 7 + i / 13) % 11];
    }
}

/* Gradients of both, one after another, into `to`; the place of the way back through pooling in the plan, counted from the
 * way back through relu: positive if it comes after that. */
static int run_scene(struct scene *s, unsigned off, float *to)
{
    static float x[ELEMENTS];
    const float bias[C] = {0, -1, 0.5f}, filter[C * C] = {1, 0, 0, 0.5f, 1, 0, 0, -1, 2};
    fill(x);
    plumb_program *program = plumb_compile(s->g, NULL,
                                           &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                    .outputs = s->out,
                                                                    .n_outputs = s->n_out,
                                                                    .training = true,
                                                                    .passes_off = off});
    bool good = program && plumb_feed(program, s->x, x, sizeof x) == PLUMB_OK &&
                plumb_feed(program, s->bias, bias, sizeof bias) == PLUMB_OK &&
                plumb_feed(program, s->filter, filter, sizeof filter) == PLUMB_OK && plumb_run(program) == PLUMB_OK &&
                plumb_fetch(program, s->out[0], to, sizeof x) == PLUMB_OK &&
                plumb_fetch(program, s->out[1], to + ELEMENTS, sizeof bias) == PLUMB_OK;
    CHECK_MSG(good, "%s", plumb_message(s->context));
    char *text = program ? plumb_program_text(program) : NULL;
    const char *pool = text ? strstr(text, "max_pool2d_backward") : NULL;
    const char *relu = text ? strstr(text, off & PLUMB_PASS_FUSE ? "relu_backward" : "activation_backward") : NULL;
    CHECK_MSG(pool && relu, "%s", text ? text : "no text");
    int distance = (int)(pool - relu);
    plumb_text_free(s->context, text);
    plumb_program_free(program);
    return distance;
}

PLUMB_TEST(reorder, pooling_comes_last_and_the_bits_stay)
{
    static float turned[ELEMENTS + C], plain[ELEMENTS + C];
    for (int i = 0; i < 4; i++) {
        struct scene s;
        unsigned off = i % 2 ? PLUMB_PASS_FUSE : 0;
        REQUIRE(open_scene(&s, i < 2 ? 2 : 3, 2, false));
        CHECK(run_scene(&s, off, turned) > 0);
        CHECK(run_scene(&s, off | PLUMB_PASS_REORDER, plain) < 0);
        CHECK(memcmp(turned, plain, sizeof(float) * ELEMENTS) == 0);
        for (int c = 0; c < C; c++) { /* zeros in between change the order of a sum */
            CHECK(fabsf(turned[ELEMENTS + c] - plain[ELEMENTS + c]) <= 1e-6f * fabsf(plain[ELEMENTS + c]) ||
                  (isnan(turned[ELEMENTS + c]) && isnan(plain[ELEMENTS + c])));
        }
        plumb_close(s.context);
    }
}

PLUMB_TEST(reorder, not_where_others_read_the_gradient)
{
    static float gradients[ELEMENTS + C];
    struct scene s;
    REQUIRE(open_scene(&s, 2, 2, true));
    CHECK(run_scene(&s, 0, gradients) < 0);
    plumb_close(s.context);
}
