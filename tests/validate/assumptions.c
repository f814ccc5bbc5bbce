/* What the simulator takes for granted, asked of a GPU: in which order lanes, warps and blocks add, what lies where in
 * the tensor cores' fragments, how numbers are rounded. Each result is printed as a hash, and the same program linked
 * with the simulator must print the same ones.
 *
 * Bits can be compared because inputs are chosen so that a contracted multiply-add rounds as the two operations do: one
 * factor is a power of two, or all products and sums are exact. Then any difference is one of order or of place. */
#include "validate.h"

#include <math.h>

enum kind {
    WIDE,   /* in (-1, 1), 24 significant bits: sums of them depend on the order */
    POWERS, /* a sign and 2^-3 .. 2^3: products with them are exact */
    WHOLE,  /* -4 .. 4: all sums of moderate length are exact, in any order */
    NARROW, /* 12 significant bits: squares are exact, their sums are not */
    FEW,    /* 0 .. 3: many ties */
    LABEL   /* i32 in 0 .. 9 */
};

enum { OPERANDS = 3 };

struct question {
    const char *name;
    plumb_dtype dtype; /* fed as f32 and cast on the device */
    int n_in;
    enum kind kind[OPERANDS];
    plumb_shape shape[OPERANDS];
    plumb_t (*build)(plumb_graph *g, const plumb_t *in);
};

static double value_of(enum kind kind, uint32_t word)
{
    switch (kind) {
    case WIDE: return ((double)(word >> 8) - 0x7fffff.8p0) * 0x1p-23;
    case POWERS: return ldexp(word & 1 ? -1 : 1, (int)(word >> 8) % 7 - 3);
    case WHOLE: return (double)((word >> 8) % 9) - 4;
    case NARROW: return ((double)(word >> 20) - 2048) * 0x1p-11;
    case FEW: return (double)(word >> 30);
    default: return (word >> 8) % 10;
    }
}

/* ---- the questions ---- */

static plumb_t all_sum(plumb_graph *g, const plumb_t *in) { return plumb_sum(g, in[0], NULL, 0, false); }
static plumb_t rows_sum(plumb_graph *g, const plumb_t *in) { return plumb_sum(g, in[0], PLUMB_AXES(1), false); }
static plumb_t columns_sum(plumb_graph *g, const plumb_t *in) { return plumb_mean(g, in[0], PLUMB_AXES(0), false); }
static plumb_t channels_sum(plumb_graph *g, const plumb_t *in) { return plumb_sum(g, in[0], PLUMB_AXES(0, 2, 3), false); }
static plumb_t turned_sum(plumb_graph *g, const plumb_t *in)
{
    return plumb_sum_to(g, plumb_transpose(g, in[0], NULL), PLUMB_SHAPE(1031, 1));
}
static plumb_t squares(plumb_graph *g, const plumb_t *in) { return plumb_sum_squares(g, in, 2); }
static plumb_t place(plumb_graph *g, const plumb_t *in) { return plumb_argmax(g, in[0], 1, false); }
static plumb_t product(plumb_graph *g, const plumb_t *in) { return plumb_matmul(g, in[0], in[1], false, false); }
static plumb_t product_turned(plumb_graph *g, const plumb_t *in) { return plumb_matmul(g, in[0], in[1], true, true); }

static const plumb_conv2d_options same = {.size = sizeof same, .padding = {1, 1, 1, 1}},
                                  strided = {.size = sizeof strided, .stride = {2, 2}, .padding = {1, 1, 1, 1}};
static plumb_t conv(plumb_graph *g, const plumb_t *in) { return plumb_conv2d(g, in[0], in[1], PLUMB_NONE, &same); }
static plumb_t conv_stride(plumb_graph *g, const plumb_t *in) { return plumb_conv2d(g, in[0], in[1], PLUMB_NONE, &strided); }
static plumb_t conv_data(plumb_graph *g, const plumb_t *in)
{
    return plumb_conv2d_backward_data(g, in[0], in[1], in[2], &same);
}
static plumb_t conv_filter(plumb_graph *g, const plumb_t *in)
{
    return plumb_conv2d_backward_filter(g, in[0], in[1], in[2], &same);
}

static plumb_t pool_max(plumb_graph *g, const plumb_t *in)
{
    return plumb_output(g, plumb_max_pool2d(g, in[0], &(plumb_pool2d_options){.size = sizeof(plumb_pool2d_options),
                                                                              .window = {3, 3}, .stride = {2, 2}}), 1);
}
static plumb_t pool_average(plumb_graph *g, const plumb_t *in)
{
    return plumb_average_pool2d(g, in[0], &(plumb_pool2d_options){.size = sizeof(plumb_pool2d_options), .window = {2, 2}});
}
static plumb_t lookup_gradient(plumb_graph *g, const plumb_t *in)
{
    plumb_t y = plumb_embedding(g, in[0], in[1]), dx = PLUMB_NONE;
    plumb_gradients_from(g, &y, &in[2], 1, &in[0], 1, &dx);
    return dx;
}
static plumb_t uniform(plumb_graph *g, const plumb_t *in)
{
    (void)in;
    return plumb_random_uniform(g, PLUMB_F32, PLUMB_SHAPE(1003), 0, 1);
}
static plumb_t quotient(plumb_graph *g, const plumb_t *in) { return plumb_div(g, in[0], in[1]); }
static plumb_t root(plumb_graph *g, const plumb_t *in) { return plumb_sqrt(g, plumb_abs(g, in[0])); }
static plumb_t rounded(plumb_graph *g, const plumb_t *in) { return plumb_cast(g, in[0], PLUMB_F16); }
static plumb_t whole(plumb_graph *g, const plumb_t *in)
{
    return plumb_cast(g, plumb_affine(g, in[0], 1 << 20, 0), PLUMB_I32);
}

#define S(...) {.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}}
#define FLOATS(name, ...) \
    {name " f32", PLUMB_F32, __VA_ARGS__}, {name " f64", PLUMB_F64, __VA_ARGS__}, {name " bf16", PLUMB_BF16, __VA_ARGS__}, \
        {name " f16", PLUMB_F16, __VA_ARGS__}

static const struct question questions[] = {
    FLOATS("sum of all", 1, {WIDE}, {S(100003)}, all_sum),
    FLOATS("sum of rows", 1, {WIDE}, {S(257, 1031)}, rows_sum),
    FLOATS("mean of columns", 1, {WIDE}, {S(1024, 131)}, columns_sum),
    FLOATS("sum to channels", 1, {WIDE}, {S(9, 5, 31, 33)}, channels_sum),
    FLOATS("sum to, turned", 1, {WIDE}, {S(257, 1031)}, turned_sum),
    FLOATS("sum of squares", 2, {NARROW, NARROW}, {S(70001), S(33)}, squares),
    FLOATS("argmax of ties", 1, {FEW}, {S(19, 2077)}, place),
    FLOATS("matmul, order of terms", 2, {WIDE, POWERS}, {S(70, 300), S(300, 51)}, product),
    FLOATS("matmul turned, order of terms", 2, {WIDE, POWERS}, {S(300, 70), S(51, 300)}, product_turned),
    FLOATS("matmul of whole numbers, 64", 2, {WHOLE, WHOLE}, {S(64, 64), S(64, 64)}, product),
    FLOATS("matmul of whole numbers, 16 x 16 x 8", 2, {WHOLE, WHOLE}, {S(16, 16), S(16, 8)}, product),
    FLOATS("matmul of whole numbers, ragged", 2, {WHOLE, WHOLE}, {S(3, 67, 45), S(3, 45, 83)}, product),
    FLOATS("matmul turned of whole numbers, ragged", 2, {WHOLE, WHOLE}, {S(45, 67), S(83, 45)}, product_turned),
    FLOATS("matmul of whole numbers, large tiles", 2, {WHOLE, WHOLE}, {S(1024, 33), S(33, 2048)}, product),
    FLOATS("conv2d, order of terms", 2, {WIDE, POWERS}, {S(2, 7, 19, 17), S(11, 7, 3, 3)}, conv),
    FLOATS("conv2d stride 2, order of terms", 2, {WIDE, POWERS}, {S(2, 16, 15, 15), S(33, 16, 3, 3)}, conv_stride),
    FLOATS("conv2d of whole numbers", 2, {WHOLE, WHOLE}, {S(3, 16, 14, 14), S(64, 16, 3, 3)}, conv),
    FLOATS("conv2d data, order of terms", 3, {WIDE, POWERS, WIDE}, {S(2, 11, 19, 17), S(11, 7, 3, 3), S(2, 7, 19, 17)},
           conv_data),
    FLOATS("conv2d filter, order of terms", 3, {WIDE, POWERS, WIDE}, {S(9, 7, 19, 17), S(9, 11, 19, 17), S(11, 7, 3, 3)},
           conv_filter),
    FLOATS("max pool, which of ties", 1, {FEW}, {S(2, 3, 21, 19)}, pool_max),
    FLOATS("average pool", 1, {WIDE}, {S(2, 3, 20, 18)}, pool_average),
    FLOATS("lookup's gradient, order of indices", 3, {WIDE, LABEL, WIDE}, {S(10, 37), S(301), S(301, 37)}, lookup_gradient),
    FLOATS("division", 2, {WIDE, WIDE}, {S(4099), S(4099)}, quotient),
    FLOATS("square root", 1, {WIDE}, {S(4099)}, root),
    {"rounding to f16", PLUMB_F32, 1, {WIDE}, {S(4099)}, rounded},
    {"rounding to i32", PLUMB_F32, 1, {WIDE}, {S(4099)}, whole},
    {"random numbers", PLUMB_F32, 0, {WIDE}, {S(1)}, uniform},
};

/* ---- asking ---- */

static plumb_status feed_values(plumb_context *context, plumb_program *program, plumb_t input, enum kind kind,
                                const plumb_shape *shape, uint32_t stream)
{
    int64_t count = plumb_shape_count(shape);
    float *data = plumb_alloc(context, (size_t)count * sizeof *data);
    for (int64_t i = 0; data && i < count; i++) {
        double x = value_of(kind, plumb_random_word(11, stream, 0, i));
        if (kind == LABEL) {
            memcpy(&data[i], &(int32_t){(int32_t)x}, sizeof(int32_t));
        } else {
            data[i] = (float)x;
        }
    }
    plumb_status status = data ? plumb_feed(program, input, data, (size_t)count * sizeof *data) : PLUMB_FAILED;
    plumb_free(context, data);
    return status;
}

static plumb_status ask(struct validate *v, plumb_context *context, plumb_graph *g, const struct question *q)
{
    static const char *const names[OPERANDS] = {"a", "b", "c"};
    plumb_t fed[OPERANDS], in[OPERANDS];
    for (int i = 0; i < q->n_in; i++) {
        fed[i] = plumb_input(g, names[i], q->kind[i] == LABEL ? PLUMB_I32 : PLUMB_F32, q->shape[i]);
        in[i] = q->kind[i] == LABEL || q->dtype == PLUMB_F32 ? fed[i] : plumb_cast(g, fed[i], q->dtype);
    }
    plumb_t y = q->build(g, in);
    plumb_state *state = plumb_state_new(g); /* random numbers know their step from it */
    plumb_program *program = plumb_compile(g, state, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .outputs = &y, .n_outputs = 1, .training = true});
    plumb_status status = program ? PLUMB_OK : plumb_last_status(context);
    for (int i = 0; i < q->n_in && !status; i++) {
        /* an input that only lends its shape is not there any more */
        plumb_status fed_one = feed_values(context, program, fed[i], q->kind[i], &q->shape[i], (uint32_t)i);
        if (fed_one && i == 2) {
            plumb_clear_error(context);
        } else {
            status = fed_one;
        }
    }
    status = status ? status : plumb_run(program);
    plumb_shape shape = status ? (plumb_shape){.rank = 0} : plumb_output_shape(program, y);
    size_t bytes = (size_t)plumb_shape_count(&shape) * plumb_dtype_size(plumb_dtype_of(g, y));
    void *data = status ? NULL : plumb_alloc(context, bytes);
    status = status ? status : data ? plumb_fetch(program, y, data, bytes) : PLUMB_FAILED;
    if (!status) {
        validate_bits(v, q->name, data, bytes);
    }
    plumb_free(context, data);
    plumb_program_free(program);
    plumb_state_free(state);
    return status;
}

void validate_assumptions(struct validate *v)
{
    plumb_context *context = validate_open(v, v->device);
    for (size_t i = 0; context && i < sizeof questions / sizeof *questions; i++) {
        plumb_graph *g = plumb_graph_new(context, "question");
        if (ask(v, context, g, &questions[i])) {
            validate_check(v, false, questions[i].name, "%s", plumb_message(context));
            plumb_clear_error(context);
        }
        plumb_graph_free(g);
    }
    plumb_close(context);
}
