/* Ops where sizes are not known yet: what shape rules say of symbols, what builders refuse, and that
 * gradients built with a symbolic batch give, once it is bound, what the same graph of fixed size gives. And native scalar functions over all of f32. */
#include "check.h"

#include "exec/providers.h"
#include "op/attr.h"
#include "plumb/ops.h"
#include "plumb/program.h"

#define N PLUMB_BATCH
#define UNKNOWN PLUMB_UNKNOWN

static plumb_context *open_cpu(void)
{
    return plumb_open(
        &(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1});
}

static bool has_shape(plumb_graph *g, plumb_t x, plumb_shape want)
{
    plumb_shape is = plumb_shape_of(g, x);
    bool same = x != PLUMB_NONE && is.rank == want.rank;
    for (int d = 0; same && d < want.rank; d++) {
        same = is.dim[d] == want.dim[d];
    }
    return same;
}

PLUMB_TEST(ops, symbols_pass_through_shape_rules)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "symbols");
    plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(N, 6, 4));
    plumb_t row = plumb_input(g, "row", PLUMB_F32, PLUMB_SHAPE(4));
    plumb_t five = plumb_input(g, "five", PLUMB_F32, PLUMB_SHAPE(5, 6, 4));
    plumb_t picture = plumb_input(g, "picture", PLUMB_F32, PLUMB_SHAPE(N, 3, PLUMB_HEIGHT, PLUMB_WIDTH));
    CHECK(has_shape(g, plumb_add(g, x, row), PLUMB_SHAPE(N, 6, 4)));
    CHECK(has_shape(g, plumb_add(g, x, five), PLUMB_SHAPE(5, 6, 4)));
    CHECK(has_shape(g, plumb_flatten(g, x, 1), PLUMB_SHAPE(N, 24)));
    CHECK(has_shape(g, plumb_flatten(g, x, 2), PLUMB_SHAPE(UNKNOWN, 4)));
    CHECK(has_shape(g, plumb_flatten(g, x, -1), PLUMB_SHAPE(UNKNOWN, 4)));
    CHECK(has_shape(g, plumb_flatten(g, x, 0), PLUMB_SHAPE(1, UNKNOWN)));
    CHECK(has_shape(g, plumb_flatten(g, picture, 1), PLUMB_SHAPE(N, UNKNOWN)));
    CHECK(has_shape(g, plumb_reshape(g, x, PLUMB_SHAPE(N, 2, -1)), PLUMB_SHAPE(N, 2, 12)));
    CHECK(has_shape(g, plumb_reshape(g, x, PLUMB_SHAPE(-1, 8)), PLUMB_SHAPE(UNKNOWN, 8)));
    CHECK(has_shape(g, plumb_transpose(g, x, NULL), PLUMB_SHAPE(4, 6, N)));
    CHECK(has_shape(g, plumb_sum(g, x, PLUMB_AXES(-1), false), PLUMB_SHAPE(N, 6)));
    CHECK(has_shape(g, plumb_mean(g, x, PLUMB_AXES(0, 2), true), PLUMB_SHAPE(1, 6, 1)));
    CHECK(has_shape(g, plumb_argmax(g, x, -1, false), PLUMB_SHAPE(N, 6)));
    CHECK(has_shape(g, plumb_concat(g, (plumb_t[]){x, five}, 2, 0), PLUMB_SHAPE(UNKNOWN, 6, 4)));
    CHECK(has_shape(g, plumb_concat(g, (plumb_t[]){x, x}, 2, 1), PLUMB_SHAPE(N, 12, 4)));
    CHECK(has_shape(g, plumb_concat(g, (plumb_t[]){x, five}, 2, -1), PLUMB_SHAPE(5, 6, 8)));
    CHECK(has_shape(g, plumb_slice(g, x, (int64_t[]){0, 1, 0}, (int64_t[]){PLUMB_END, 3, PLUMB_END}, NULL),
                    PLUMB_SHAPE(N, 2, 4)));
    CHECK(has_shape(g, plumb_slice(g, x, (int64_t[]){1, 0, 0}, (int64_t[]){PLUMB_END, 6, 4}, NULL),
                    PLUMB_SHAPE(UNKNOWN, 6, 4)));
    CHECK(has_shape(g, plumb_sum_to(g, x, PLUMB_SHAPE(6, 1)), PLUMB_SHAPE(6, 1)));
    CHECK(has_shape(g, plumb_expand(g, row, PLUMB_SHAPE(N, 4)), PLUMB_SHAPE(N, 4)));
    CHECK(plumb_expand_like(g, x, x) == x);
    CHECK(plumb_graph_status(g) == PLUMB_OK);
    plumb_close(context);
}

PLUMB_TEST(ops, builders_say_what_is_wrong)
{
    static const struct {
        int which;
        const char *needle;
    } wrong[] = {{0, "sum: axis 2 is outside"},
                 {1, "sum: axis -2 is given twice"},
                 {2, "flatten: axis 3 is outside"},
                 {3, "do not broadcast"},
                 {4, "clamp: the range"},
                 {5, "reshape: cannot reshape"},
                 {6, "axis 7 is outside"},
                 {7, "slice: the step along axis 0"},
                 {8, "concat: axis 5"},
                 {9, "expand: a shape of rank -1"},
                 {10, "transpose: axis 1 is twice"},
                 {11, "do not broadcast"}};
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        plumb_graph *g = plumb_graph_new(context, "wrong");
        plumb_t x = plumb_input(g, "x", PLUMB_F32, PLUMB_SHAPE(2, 3));
        plumb_t batch = plumb_input(g, "batch", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH));
        plumb_t time = plumb_input(g, "time", PLUMB_F32, PLUMB_SHAPE(PLUMB_TIME));
        plumb_t y = x;
        switch (wrong[i].which) {
        case 0: y = plumb_sum(g, x, PLUMB_AXES(2), false); break;
        case 1: y = plumb_sum(g, x, PLUMB_AXES(0, -2), false); break;
        case 2: y = plumb_flatten(g, x, 3); break;
        case 3: y = plumb_add(g, x, plumb_transpose(g, x, NULL)); break;
        case 4: y = plumb_clamp(g, x, 1, 0); break;
        case 5: y = plumb_reshape(g, x, PLUMB_SHAPE(4, 2)); break;
        case 6: y = plumb_argmax(g, x, 7, false); break;
        case 7: y = plumb_slice(g, x, (int64_t[]){0, 0}, (int64_t[]){1, 1}, (int64_t[]){0, 1}); break;
        case 8: y = plumb_concat(g, &x, 1, 5); break;
        case 9: y = plumb_expand(g, x, (plumb_shape){.rank = -1}); break;
        case 10: y = plumb_transpose(g, x, (const int[]){1, 1}); break;
        default: y = plumb_mul(g, batch, time); break;
        }
        CHECK(y == PLUMB_NONE);
        CHECK(plumb_graph_status(g) == PLUMB_BAD_INPUT);
        CHECK_TEXT(plumb_message(context), wrong[i].needle);
        plumb_clear_error(context);
        plumb_graph_free(g);
    }
    plumb_close(context);
}

/* ---- gradients through symbolic sizes ---- */

/* Losses that read the batch in every way an op can; x is (N, 3, 4). */
enum { LOSSES = 15 };
static plumb_t loss_number(plumb_graph *g, int which, plumb_t x, int64_t n)
{
    plumb_t two = plumb_full(g, PLUMB_F64, PLUMB_SHAPE(2, 3, 4), 0.5), y = PLUMB_NONE;
    plumb_t first = plumb_slice(g, x, (int64_t[]){0, 0, 0}, (int64_t[]){1, PLUMB_END, PLUMB_END}, NULL);
    switch (which) {
    case 0: y = plumb_mean(g, x, PLUMB_AXES(0), false); break;
    case 1: y = plumb_mean(g, x, PLUMB_AXES(0, 2), false); break;
    case 2: y = plumb_mean(g, x, PLUMB_AXES(2), true); break;
    case 3: y = plumb_mean(g, x, NULL, 0, false); break;
    case 4: y = plumb_sum(g, x, PLUMB_AXES(1), false); break;
    case 5: y = plumb_max(g, x, PLUMB_AXES(0, 2), false); break;
    case 6: y = plumb_min(g, x, PLUMB_AXES(0), true); break;
    case 7: y = plumb_flatten(g, x, 1); break;
    case 8: y = plumb_reshape(g, x, PLUMB_SHAPE(-1, 6)); break;
    case 9: y = plumb_concat(g, (plumb_t[]){two, x, two}, 3, 0); break;
    case 10: y = plumb_mul(g, x, plumb_exp(g, first)); break;
    case 11:
        y = plumb_slice(g, x, (int64_t[]){-1, 1, 3}, (int64_t[]){PLUMB_END, 3, PLUMB_END},
                        (int64_t[]){-1, 1, -2});
        break;
    case 12: y = plumb_expand(g, plumb_mean(g, x, PLUMB_AXES(0), true), PLUMB_SHAPE(n, 3, 4)); break;
    case 13:
        y = plumb_div(g, plumb_transpose(g, x, NULL),
                      plumb_add(g, plumb_transpose(g, first, NULL),
                                plumb_full_like(g, plumb_transpose(g, x, NULL), 3)));
        break;
    default: y = plumb_sum_to(g, plumb_sub(g, plumb_square(g, x), first), PLUMB_SHAPE(3, 1)); break;
    }
    return plumb_sum(g, plumb_mul(g, y, plumb_sin(g, y)), NULL, 0, false);
}

/* The gradient of a loss by x, and of that gradient's sum of squares. `n` is PLUMB_BATCH or `batch`. */
static bool gradient_at(plumb_context *context, int which, int64_t n, int64_t batch, const double *x,
                        double *dx, double *ddx)
{
    size_t bytes = (size_t)batch * 12 * sizeof(double);
    plumb_graph *g = plumb_graph_new(context, "loss");
    plumb_t in = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(n, 3, 4)), d = PLUMB_NONE, dd = PLUMB_NONE;
    bool good = plumb_gradients(g, loss_number(g, which, in, n), &in, 1, &d) == PLUMB_OK &&
                plumb_gradients(g, plumb_sum_squares(g, &d, 1), &in, 1, &dd) == PLUMB_OK;
    plumb_state *state = plumb_state_new(g);
    plumb_program *program =
        !good ? NULL
              : plumb_compile(g, state,
                              &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                       .outputs = (plumb_t[]){d, dd},
                                                       .n_outputs = 2});
    good = program && plumb_feed(program, in, x, bytes) == PLUMB_OK && plumb_run(program) == PLUMB_OK &&
           plumb_fetch(program, d, dx, bytes) == PLUMB_OK && plumb_fetch(program, dd, ddx, bytes) == PLUMB_OK;
    plumb_program_free(program);
    plumb_state_free(state);
    plumb_graph_free(g);
    return good;
}

PLUMB_TEST(ops, gradients_through_symbolic_sizes)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    static const int64_t batches[] = {1, 2, 5};
    for (int which = 0; which < LOSSES; which++) {
        for (int b = 0; b < 3; b++) {
            double x[60], fixed[2][60], symbolic[2][60], most = 0;
            int64_t count = batches[b] * 12;
            for (int i = 0; i < count; i++) {
                x[i] = cos(1.7 * i + which) + 0.01 * i + 0.7;
            }
            CHECK_MSG(gradient_at(context, which, batches[b], batches[b], x, fixed[0], fixed[1]),
                      "loss %d, batch %d: %s", which, (int)batches[b], plumb_message(context));
            CHECK_MSG(gradient_at(context, which, PLUMB_BATCH, batches[b], x, symbolic[0], symbolic[1]),
                      "loss %d, symbolic, batch %d: %s", which, (int)batches[b], plumb_message(context));
            plumb_clear_error(context);
            for (int i = 0; i < count; i++) {
                for (int k = 0; k < 2; k++) {
                    CHECK_NEAR(symbolic[k][i], fixed[k][i], 1e-12 * (1 + fabs(fixed[k][i])));
                }
                most = fmax(most, fabs(fixed[0][i]));
            }
            CHECK_MSG(most > 0.01, "loss %d, batch %d: the gradient is nothing", which, (int)batches[b]);
        }
    }
    plumb_close(context);
}

/* Two parts of unknown size cannot be told apart again: said, not guessed. */
PLUMB_TEST(ops, concat_of_two_unknown_parts_has_no_gradient)
{
    plumb_context *context = open_cpu();
    REQUIRE(context);
    plumb_graph *g = plumb_graph_new(context, "concat");
    plumb_t x = plumb_input(g, "x", PLUMB_F64, PLUMB_SHAPE(N, 2)), d = PLUMB_NONE;
    plumb_t loss = plumb_sum(g, plumb_square(g, plumb_concat(g, (plumb_t[]){x, x}, 2, 0)), NULL, 0, false);
    CHECK(plumb_gradients(g, loss, &x, 1, &d) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(context), "unknown size along axis 0");
    plumb_close(context);
}

/* ---- scalar functions over all of f32 ---- */

enum { SAMPLES = 1 << 18 }; /* every 2^14-th number, of both signs, from the smallest to not-a-numbers */

static const plumb_impl *native_of(const plumb_op *op)
{
    int count = 0;
    const plumb_provider *const *providers = plumb_providers(&count);
    for (int p = 0; p < count; p++) {
        for (int k = 0; k < providers[p]->count; k++) {
            const plumb_impl *impl = providers[p]->impls[k];
            if (impl->op == op && strcmp(impl->name, "cpu.native") == 0) {
                return impl;
            }
        }
    }
    return NULL;
}

static plumb_status apply(plumb_context *context, const plumb_impl *impl, int isa, plumb_dtype dtype, void *x,
                          void *y)
{
    plumb_view in = {.data = x, .dtype = dtype, .rank = 1, .dim = {SAMPLES}, .stride = {1}}, out = in;
    plumb_attr_numbers attr = {.a = 1};
    out.data = y;
    plumb_call call = {.context = context,
                       .device = context->device,
                       .pool = context->pool,
                       .isa = isa,
                       .op = impl->op,
                       .name = "",
                       .attr = &attr,
                       .n_in = 1,
                       .n_out = 1,
                       .in = &in,
                       .out = &out};
    return impl->run(&call);
}

/* Denormal numbers count as 0 in native kernels: nothing is asked of them. */
static bool is_right(double x, double r, double y, double ulps)
{
    if (isnan(r) || (fabs(x) < 0x1p-126 && x != 0)) {
        return isnan(r) == isnan(y) || fabs(x) < 0x1p-126;
    }
    if (isinf((float)r) || isinf(y)) {
        return y == (double)(float)r || fabs(r) > 0x1.fffffcp127; /* rounding may go either way at the edge */
    }
    return fabs(y - r) <= (1 + ulps) * 0x1p-24 * fabs(r) + 0x1p-126;
}

PLUMB_TEST(ops, native_functions_over_all_of_f32)
{
    static const plumb_op *const ops[] = {
        &plumb_op_exp,   &plumb_op_log,    &plumb_op_log1p,      &plumb_op_expm1, &plumb_op_sqrt,
        &plumb_op_rsqrt, &plumb_op_square, &plumb_op_reciprocal, &plumb_op_erf,   &plumb_op_sigmoid,
        &plumb_op_tanh,  &plumb_op_relu,   &plumb_op_gelu,       &plumb_op_silu,  &plumb_op_softplus,
        &plumb_op_elu,   &plumb_op_sin,    &plumb_op_cos,        &plumb_op_abs,   &plumb_op_sign,
        &plumb_op_neg,   &plumb_op_huber};
    static float x[SAMPLES], y[SAMPLES];
    static double wide[SAMPLES], r[SAMPLES];
    plumb_context *context = open_cpu();
    REQUIRE(context);
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint32_t bits = i << 14 | (i * 2654435761u) >> 18;
        memcpy(&x[i], &bits, sizeof(bits));
        wide[i] = (double)x[i];
    }
    for (size_t k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
        const plumb_impl *native = native_of(ops[k]), *reference = plumb_reference(ops[k]);
        REQUIRE(native && reference);
        REQUIRE(apply(context, reference, 0, PLUMB_F64, wide, r) == PLUMB_OK);
        for (int isa = 0; isa <= context->isa; isa++) {
            int64_t wrong = 0, first = 0;
            REQUIRE(apply(context, native, isa, PLUMB_F32, x, y) == PLUMB_OK);
            for (int64_t i = 0; i < SAMPLES; i++) {
                if (!is_right(wide[i], r[i], (double)y[i], ops[k]->ulps) && wrong++ == 0) {
                    first = i;
                }
            }
            CHECK_MSG(wrong == 0, "%s, %s: %lld wrong, first %s(%.9g) = %.9g instead of %.9g", ops[k]->name,
                      plumb_isa_name(isa), (long long)wrong, ops[k]->name, wide[first], (double)y[first],
                      r[first]);
        }
    }
    plumb_close(context);
}

/* ---- layouts ---- */

static plumb_view laid_out(plumb_shape shape, const int64_t *stride)
{
    plumb_view view = {.dtype = PLUMB_F32, .rank = shape.rank};
    memcpy(view.dim, shape.dim, sizeof(view.dim));
    if (stride) {
        memcpy(view.stride, stride, sizeof(*stride) * (size_t)shape.rank);
    } else {
        plumb_view_pack(&view);
    }
    return view;
}
#define STRIDES(...) ((const int64_t[]){__VA_ARGS__})

PLUMB_TEST(ops, layouts_are_recognised)
{
    static const struct {
        plumb_shape shape;
        int64_t stride[4];
        bool rows, last, dense;
    } row[] = {
        {{4, {2, 3, 4, 5}}, {60, 20, 5, 1}, true, false, true},
        {{4, {2, 3, 4, 5}}, {60, 1, 15, 3}, false, true, true},
        {{4, {2, 3, 4, 5}}, {60, 1, 3, 12}, false, false, true},   /* columns before rows */
        {{4, {2, 3, 4, 5}}, {120, 1, 15, 3}, false, false, false}, /* every second picture */
        {{4, {2, 3, 4, 5}}, {3, 1, 0, 0}, false, false, false},    /* broadcast */
        {{4, {1, 3, 1, 1}}, {7, 1, 9, 8}, true, true, true},       /* strides of single elements do not matter */
        {{4, {2, 1, 4, 5}}, {20, 0, 5, 1}, true, true, true},      /* one channel */
        {{4, {2, 3, 1, 1}}, {3, 1, 1, 1}, true, true, true},       /* one place */
        {{4, {2, 0, 4, 5}}, {9, 9, 9, 9}, true, true, true},       /* nothing */
        {{3, {2, 3, 4}}, {12, 1, 3}, false, false, true},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        plumb_view view = laid_out(row[i].shape, row[i].stride), packed = view;
        CHECK_MSG(plumb_view_contiguous(&view) == row[i].rows && plumb_view_channels_last(&view) == row[i].last &&
                      plumb_view_dense(&view) == row[i].dense,
                  "view %zu", i);
        plumb_view_pack_as(&packed, PLUMB_CHANNELS_LAST);
        CHECK(view.rank != 4 || plumb_view_channels_last(&packed));
    }
}

PLUMB_TEST(ops, implementations_get_the_layouts_they_take)
{
    plumb_shape shape = {4, {2, 3, 4, 5}};
    plumb_view rows = laid_out(shape, NULL), last = rows, broadcast = laid_out(shape, STRIDES(3, 1, 0, 0));
    plumb_view_pack_as(&last, PLUMB_CHANNELS_LAST);
    const plumb_impl plain = {.op = &plumb_op_add}, any = {.flags = PLUMB_IMPL_ANY_LAYOUT},
                     wants = {.flags = PLUMB_IMPL_WANTS_LAST};
    const struct {
        const plumb_op *op;
        plumb_view in[2], out;
        bool plain, any, wants;
    } row[] = {
        {&plumb_op_add, {rows, rows}, rows, true, true, false},
        {&plumb_op_add, {last, last}, last, false, true, true},
        {&plumb_op_add, {last, rows}, last, false, true, true}, /* element-wise: operands as they come */
        {&plumb_op_add, {last, broadcast}, last, false, true, true},
        {&plumb_op_add, {last, last}, rows, true, true, false},
        {&plumb_op_conv2d, {last, rows}, last, false, true, true},
        {&plumb_op_conv2d, {rows, last}, last, false, false, false}, /* filters are no pictures */
        {&plumb_op_conv2d, {last, rows}, rows, true, true, false},
        {&plumb_op_conv2d_backward_filter, {last, last}, rows, true, true, true},
        {&plumb_op_conv2d_backward_filter, {last, rows}, rows, true, true, false},
        {&plumb_op_conv2d_backward_filter, {last, last}, last, false, false, false},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        plumb_call call = {.op = row[i].op, .n_in = 2, .n_out = 1, .in = row[i].in, .out = &row[i].out};
        CHECK_MSG(plumb_impl_fits(&plain, &call) == row[i].plain && plumb_impl_fits(&any, &call) == row[i].any &&
                      plumb_impl_fits(&wants, &call) == row[i].wants,
                  "call %zu", i);
    }
}
