/* What the cross-check does not ask of Winograd's convolutions: that an option forbids them, that what is not finite comes
 * out where the definition says although a transform mixes neighbours, that pictures cut into several stages are
 * whole, and how exact they are beside a plain sum. */
#include "check.h"
#include "exec/providers.h"
#include "op/attr.h"

#include <stdlib.h>

extern const plumb_impl plumb_impl_conv2d_winograd, plumb_impl_conv2d_backward_data_winograd, plumb_impl_conv2d_native,
    plumb_impl_conv2d_backward_data_native, plumb_impl_conv2d_bf16, plumb_impl_conv2d_backward_data_bf16,
    plumb_impl_conv2d_backward_filter_winograd, plumb_impl_conv2d_backward_filter_bf16;

static const plumb_dtype dtypes[] = {PLUMB_F32, PLUMB_BF16};

/* A convolution of pictures x (n, c, h, w) with o filters of 3 x 3 and padding 1. */
struct conv {
    plumb_context *context;
    plumb_attr_conv2d attr;
    plumb_view view[3]; /* x, filters, y */
    int64_t n, c, o, h, w;
};

static float draw(uint32_t *seed)
{
    float sum = -6;
    for (int i = 0; i < 12; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        sum += (float)(*seed >> 8) * 0x1p-24f;
    }
    return sum;
}

static plumb_view make_view(plumb_dtype dtype, int64_t a, int64_t b, int64_t h, int64_t w, enum plumb_layout_kind layout,
                            uint32_t seed)
{
    plumb_view view = {.dtype = dtype, .rank = 4, .dim = {a, b, h, w}};
    int64_t count = a * b * h * w;
    view.data = aligned_alloc(64, ((size_t)count * plumb_dtype_size(dtype) + 127) / 64 * 64);
    plumb_view_pack_as(&view, layout);
    for (int64_t i = 0; i < count; i++) {
        plumb_put(view.data, dtype, i, (double)draw(&seed));
    }
    return view;
}

static struct conv open_conv(plumb_dtype dtype, unsigned forbid, enum plumb_layout_kind layout, int64_t n, int64_t c,
                             int64_t o, int64_t h, int64_t w)
{
    struct conv conv = {.n = n, .c = c, .o = o, .h = h, .w = w};
    conv.context = plumb_open(&(plumb_options){.size = sizeof(plumb_options), .forbid = forbid, .threads = 2});
    conv.attr.stride[0] = conv.attr.stride[1] = conv.attr.dilation[0] = conv.attr.dilation[1] = conv.attr.groups = 1;
    for (int i = 0; i < 4; i++) {
        conv.attr.padding[i] = 1;
    }
    conv.view[0] = make_view(dtype, n, c, h, w, layout, 1);
    conv.view[1] = make_view(dtype, o, c, 3, 3, PLUMB_ROWS, 2);
    conv.view[2] = make_view(dtype, n, o, h, w, layout, 3);
    return conv;
}

static void close_conv(struct conv *conv)
{
    for (int i = 0; i < 3; i++) {
        free(conv->view[i].data);
    }
    plumb_close(conv->context);
}

static int64_t place(const plumb_view *view, int64_t a, int64_t b, int64_t h, int64_t w)
{
    return a * view->stride[0] + b * view->stride[1] + h * view->stride[2] + w * view->stride[3];
}

static double element(const plumb_view *view, int64_t a, int64_t b, int64_t h, int64_t w)
{
    return plumb_get(view->data, view->dtype, place(view, a, b, h, w));
}

static void put(const plumb_view *view, int64_t a, int64_t b, int64_t h, int64_t w, double value)
{
    plumb_put(view->data, view->dtype, place(view, a, b, h, w), value);
}

/* Forward, or (`data`) the gradient of x from y. */
static plumb_call call_of(const struct conv *conv, bool data, plumb_view in[2], plumb_view *out)
{
    in[0] = conv->view[data ? 2 : 0], in[1] = conv->view[1], *out = conv->view[data ? 0 : 2];
    return (plumb_call){.context = conv->context,
                        .device = conv->context->device,
                        .pool = conv->context->pool,
                        .isa = conv->context->isa,
                        .op = data ? &plumb_op_conv2d_backward_data : &plumb_op_conv2d,
                        .name = "",
                        .attr = &conv->attr,
                        .n_in = 2,
                        .n_out = 1,
                        .in = in,
                        .out = out};
}

static void run(const struct conv *conv, bool data, const plumb_impl *impl)
{
    plumb_view in[2], out;
    plumb_call call = call_of(conv, data, in, &out);
    REQUIRE(!impl->supports || impl->supports(&call));
    call.workspace = plumb_alloc(conv->context, impl->workspace ? impl->workspace(&call) : 0);
    REQUIRE(call.workspace && impl->run(&call) == PLUMB_OK);
    plumb_free(conv->context, call.workspace);
}

/* The definition, in double: padding is skipped. */
static double defined(const struct conv *conv, bool data, int64_t n, int64_t channel, int64_t h, int64_t w)
{
    const plumb_view *from = &conv->view[data ? 2 : 0], *filter = &conv->view[1];
    double sum = 0;
    for (int64_t k = 0; k < from->dim[1]; k++) {
        for (int64_t i = 0; i < 3; i++) {
            for (int64_t j = 0; j < 3; j++) {
                int64_t y = data ? h + 1 - i : h - 1 + i, x = data ? w + 1 - j : w - 1 + j;
                if (y >= 0 && y < conv->h && x >= 0 && x < conv->w) {
                    sum += element(from, n, k, y, x) *
                           element(filter, data ? k : channel, data ? channel : k, i, j);
                }
            }
        }
    }
    return sum;
}

/* The root mean square of the errors over that of the results, of every `step`-th; -1: something not finite is wrong. */
static double error_of(const struct conv *conv, bool data, int64_t step)
{
    const plumb_view *out = &conv->view[data ? 0 : 2];
    int64_t channels = out->dim[1], count = conv->n * channels * conv->h * conv->w;
    double errors = 0, sum = 0;
    for (int64_t i = 0; i < count; i += step) {
        int64_t c = i % channels, w = i / channels % conv->w, h = i / channels / conv->w % conv->h;
        int64_t n = i / channels / conv->w / conv->h;
        double r = defined(conv, data, n, c, h, w), y = element(out, n, c, h, w);
        if (isfinite(r)) {
            errors += (y - r) * (y - r), sum += r * r;
        } else if (!(isnan(r) && isnan(y)) && y != r) {
            return -1;
        }
    }
    return sqrt(errors / sum);
}

static void run_winograd(const struct conv *conv, bool data)
{
    run(conv, data, data ? &plumb_impl_conv2d_backward_data_winograd : &plumb_impl_conv2d_winograd);
}

PLUMB_TEST(winograd, forbidden)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned forbid = i % 2 ? PLUMB_FORBID_WINOGRAD : 0;
        struct conv conv = open_conv(dtypes[i / 2], forbid, PLUMB_CHANNELS_LAST, 2, 128, 128, 16, 16);
        for (int data = 0; data < 2; data++) {
            plumb_view in[2], out;
            plumb_call call = call_of(&conv, data, in, &out);
            const plumb_impl *impl = plumb_would_choose(&call, NULL);
            bool chosen = impl && strcmp(impl->name, "cpu.native.winograd") == 0;
            CHECK_MSG(chosen == !forbid, "%s was chosen", impl ? impl->name : "nothing");
        }
        close_conv(&conv);
    }
    plumb_error error = {0};
    CHECK(!plumb_open(&(plumb_options){.size = sizeof(plumb_options), .forbid = 2, .error = &error}));
    CHECK_TEXT(error.message, "forbid has a bit");
}

/* Infinities and NaN spoil what reads them and nothing else, also beside padding, where a zero is not multiplied; so do
 * numbers whose transform overflows. bf16's error is that of one rounding, 2^-9 of an element at most. */
PLUMB_TEST(winograd, not_finite)
{
    for (int i = 0; i < 20; i++) {
        int kind = i % 5, data = i / 5 % 2;
        plumb_dtype dtype = dtypes[i / 10];
        struct conv conv = open_conv(dtype, 0, PLUMB_CHANNELS_LAST, 1, 64, 64, 16, 12);
        const plumb_view *from = &conv.view[data ? 2 : 0], *filter = &conv.view[1];
        switch (kind) {
        case 0: put(from, 0, 3, 5, 6, INFINITY); break;
        case 1: put(from, 0, 63, 0, 11, NAN); break;
        case 2: put(filter, 7, 8, 0, 0, -INFINITY); break;
        case 3: put(filter, 7, 8, 2, 1, NAN); break;
        default: put(from, 0, 20, 9, 9, 3e38); break;
        }
        for (int64_t j = 0; kind == 4 && j < plumb_view_count(filter); j++) {
            plumb_put(filter->data, dtype, j, plumb_get(filter->data, dtype, j) * 0x1p-10);
        }
        run_winograd(&conv, data);
        double error = error_of(&conv, data, 1), most = dtype == PLUMB_F32 ? 1e-5 : 2e-3;
        CHECK_MSG(error >= 0 && error < most, "kind %d, %s, %s: %g", kind, plumb_dtype_name(dtype),
                  data ? "data" : "forward", error);
        close_conv(&conv);
    }
}

/* By blocks of channels, with more transformed inputs than are kept at a time; the last part is not full. */
PLUMB_TEST(winograd, stages)
{
    for (int i = 0; i < 4; i++) {
        bool data = i % 2, f32 = i < 2;
        struct conv conv = open_conv(dtypes[i / 2], 0, PLUMB_CHANNELS_LAST, 70, data ? 272 : 416, data ? 416 : 272, 7, 8);
        run_winograd(&conv, data);
        double error = error_of(&conv, data, 611);
        CHECK_MSG(error >= 0 && error < (f32 ? 4e-6 : 2e-3), "%s: %g", data ? "data" : "forward", error);
        close_conv(&conv);
    }
}

/* What the public header promises of the error, beside the form that sums plainly. Of bf16 both are one rounding of sums
 * that are exact beside it. */
PLUMB_TEST(winograd, accuracy)
{
    static const plumb_impl *const others[2][2] = {
        {&plumb_impl_conv2d_native, &plumb_impl_conv2d_backward_data_native},
        {&plumb_impl_conv2d_bf16, &plumb_impl_conv2d_backward_data_bf16},
    };
    for (int i = 0; i < 4; i++) {
        bool data = i % 2, f32 = i < 2;
        plumb_dtype dtype = dtypes[i / 2];
        struct conv conv = open_conv(dtype, 0, PLUMB_CHANNELS_LAST, 2, 128, 128, 16, 16);
        struct conv plain = open_conv(dtype, 0, f32 ? PLUMB_ROWS : PLUMB_CHANNELS_LAST, 2, 128, 128, 16, 16);
        run_winograd(&conv, data);
        run(&plain, data, others[i / 2][data]);
        double error = error_of(&conv, data, 7), beside = error_of(&plain, data, 7);
        CHECK_MSG(error > 0 && error < (f32 ? 2.2 : 1.01) * beside, "%s, %s: %g beside %g", plumb_dtype_name(dtype),
                  data ? "data" : "forward", error, beside);
        close_conv(&conv);
        close_conv(&plain);
    }
}

/* The gradient of the filter, from x and y. */
static void run_filter(const struct conv *conv, const plumb_impl *impl)
{
    plumb_view in[2] = {conv->view[0], conv->view[2]}, out = conv->view[1];
    plumb_call call = {.context = conv->context, .device = conv->context->device, .pool = conv->context->pool,
                       .isa = conv->context->isa, .op = &plumb_op_conv2d_backward_filter, .name = "",
                       .attr = &conv->attr, .n_in = 2, .n_out = 1, .in = in, .out = &out};
    REQUIRE(impl->supports(&call));
    call.workspace = plumb_alloc(conv->context, impl->workspace(&call));
    REQUIRE(call.workspace && impl->run(&call) == PLUMB_OK);
    plumb_free(conv->context, call.workspace);
}

static double filter_defined(const struct conv *conv, int64_t o, int64_t c, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t n = 0; n < conv->n; n++) {
        for (int64_t h = 0; h < conv->h; h++) {
            for (int64_t w = 0; w < conv->w; w++) {
                int64_t y = h - 1 + i, x = w - 1 + j;
                if (y >= 0 && y < conv->h && x >= 0 && x < conv->w) {
                    sum += element(&conv->view[0], n, c, y, x) * element(&conv->view[2], n, o, h, w);
                }
            }
        }
    }
    return sum;
}

/* As error_of. */
static double filter_error(const struct conv *conv, int64_t step)
{
    double errors = 0, sum = 0;
    for (int64_t i = 0; i < conv->o * conv->c * 9; i += step) {
        int64_t o = i / 9 / conv->c, c = i / 9 % conv->c, h = i / 3 % 3, w = i % 3;
        double r = filter_defined(conv, o, c, h, w), y = element(&conv->view[1], o, c, h, w);
        if (isfinite(r)) {
            errors += (y - r) * (y - r), sum += r * r;
        } else if (!(isnan(r) && isnan(y)) && y != r) {
            return -1;
        }
    }
    return sqrt(errors / sum);
}

/* The gradient of the filter in bf16: as exact as the direct form, in one part and in several, with groups of tiles and
 * blocks of channels that are not full; and by the definition where something is not finite. */
PLUMB_TEST(winograd, filter)
{
    static const int64_t shape[][5] = {{4, 72, 96, 16, 16}, {7, 200, 144, 12, 20}, {2, 330, 350, 20, 24}};
    for (int i = 0; i < 3; i++) {
        const int64_t *s = shape[i];
        struct conv conv = open_conv(PLUMB_BF16, 0, PLUMB_CHANNELS_LAST, s[0], s[1], s[2], s[3], s[4]);
        run_filter(&conv, &plumb_impl_conv2d_backward_filter_bf16);
        double beside = filter_error(&conv, 499);
        run_filter(&conv, &plumb_impl_conv2d_backward_filter_winograd);
        double error = filter_error(&conv, 499);
        CHECK_MSG(error > 0 && error < 1.01 * beside, "shape %d: %g beside %g", i, error, beside);
        close_conv(&conv);
    }
    for (int kind = 0; kind < 4; kind++) {
        struct conv conv = open_conv(PLUMB_BF16, 0, PLUMB_CHANNELS_LAST, 2, 64, 64, 16, 20);
        switch (kind) {
        case 0: put(&conv.view[0], 0, 3, 0, 6, INFINITY); break;
        case 1: put(&conv.view[0], 1, 63, 15, 19, NAN); break;
        case 2: put(&conv.view[2], 1, 7, 0, 0, -INFINITY); break;
        default: put(&conv.view[2], 0, 9, 9, 9, 3e38); break;
        }
        for (int64_t j = 0; kind == 3 && j < plumb_view_count(&conv.view[0]); j++) {
            plumb_put(conv.view[0].data, PLUMB_BF16, j, plumb_get(conv.view[0].data, PLUMB_BF16, j) * 0x1p-10);
        }
        run_filter(&conv, &plumb_impl_conv2d_backward_filter_winograd);
        double error = filter_error(&conv, 1);
        CHECK_MSG(error >= 0 && error < 2e-3, "kind %d: %g", kind, error);
        close_conv(&conv);
    }
}
