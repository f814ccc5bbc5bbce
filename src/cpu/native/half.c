/* bf16 and f16 on the CPU: operands are widened to f32 in the workspace, the f32 kernel of this provider does the work, and
 * its results are rounded once. So a product or a convolution of low operands sums in f32, and costs what the f32 kernel
 * costs and two passes over its operands more. Products of bf16 and channels-last convolutions
 * of it do not come here: pairs.h has kernels for them.
 *
 * Decided here:
 * - Listed are the ops that mixed precision lowers (plumb_op.precision), but those that have kernels for low operands of
 *   their own (elementwise.c, norm_columns.c ..); what else is written in a low dtype falls to the reference.
 * - Operands of other dtypes (indices, the f32 scale of a normalisation) are handed on as they are.
 * - Rounding an f32 result that was itself rounded is as good as rounding once for sums, products, quotients and roots of
 *   two low operands: f32 has more than twice the digits and two (Figueroa 1995).
 * - Conversions: half.h. */
#include "cpu/native/half.h"
#include "cpu/native/strided.h"

extern const plumb_provider plumb_provider_cpu_native;

/* ---- rows: (y, their stride, x, their stride, count) ---- */

#define ROWS(isa, TARGET, function, result, operand)                                                                  \
    TARGET static void function##_##isa(void *y_, int64_t to, const void *x_, int64_t from, int64_t count)            \
    {                                                                                                                 \
        const operand *x = x_;                                                                                        \
        result *y = y_;                                                                                               \
        if (to == 1 && from == 1) {                                                                                   \
            NATIVE_LOOP                                                                                               \
            for (int64_t i = 0; i < count; i++) {                                                                     \
                y[i] = function(x[i]);                                                                                \
            }                                                                                                         \
            return;                                                                                                   \
        }                                                                                                             \
        for (int64_t i = 0; i < count; i++) {                                                                         \
            y[i * to] = function(x[i * from]);                                                                        \
        }                                                                                                             \
    }
#define EACH_ROW(isa, TARGET)                                                                                         \
    ROWS(isa, TARGET, widen_bf16, float, uint16_t)                                                                    \
    ROWS(isa, TARGET, widen_f16, float, uint16_t)                                                                     \
    ROWS(isa, TARGET, narrow_bf16, uint16_t, float)                                                                   \
    ROWS(isa, TARGET, narrow_f16, uint16_t, float)
NATIVE_EACH_ISA(EACH_ROW)

static bool is_low(plumb_dtype dtype) { return dtype == PLUMB_BF16 || dtype == PLUMB_F16; }

plumb_convert *plumb_convert_for(plumb_dtype to, plumb_dtype from, int isa)
{
    if (is_low(from))
        return from == PLUMB_BF16 ? NATIVE_PICK(widen_bf16, isa) : NATIVE_PICK(widen_f16, isa);
    return to == PLUMB_BF16 ? NATIVE_PICK(narrow_bf16, isa) : NATIVE_PICK(narrow_f16, isa);
}

/* ---- tensors ---- */

struct conversion {
    plumb_convert *row;
    char *to;
    const char *from;
    int64_t to_size, from_size;
};

static void convert_row(const void *user, const struct plumb_strided *s, const int64_t *at, int64_t n)
{
    const struct conversion *c = user;
    c->row(c->to + at[0] * c->to_size, s->stride[0][s->rank - 1], c->from + at[1] * c->from_size,
           s->stride[1][s->rank - 1], n);
}

/* One of the two is f32, the other low; shapes are equal. */
static void convert_tensor(const plumb_call *call, const plumb_view *to, const plumb_view *from)
{
    struct conversion c = {.row = plumb_convert_for(to->dtype, from->dtype, call->isa), .to = to->data, .from = from->data,
                           .to_size = (int64_t)plumb_dtype_size(to->dtype),
                           .from_size = (int64_t)plumb_dtype_size(from->dtype)};
    struct plumb_strided s;
    plumb_strided_begin(&s, to);
    plumb_strided_add(&s, from);
    plumb_strided_simplify(&s);
    plumb_strided_run(call->pool, &s, convert_row, &c);
}

static bool cast_supports(const plumb_call *call)
{
    plumb_dtype from = call->in[0].dtype, to = call->out[0].dtype;
    return (from == PLUMB_F32 && is_low(to)) || (is_low(from) && to == PLUMB_F32);
}

static plumb_status cast_run(const plumb_call *call)
{
    convert_tensor(call, &call->out[0], &call->in[0]);
    return PLUMB_OK;
}

/* ---- the f32 call inside ---- */

enum { OPERANDS = 8 };

struct widened {
    const plumb_impl *inner;
    plumb_call call;
    plumb_view in[OPERANDS], out[OPERANDS];
    size_t bytes; /* of the workspace: f32 operands, then what the f32 kernel wants */
};

static size_t aligned(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* The f32 twin of a low operand at the workspace's next place, channels-last if that is; dimensions that are broadcast
 * stay so. */
static plumb_view twin(struct widened *w, const plumb_view *low)
{
    plumb_view packed = *low, wide;
    packed.dtype = PLUMB_F32;
    for (int d = 0; d < packed.rank; d++)
        if (packed.stride[d] == 0)
            packed.dim[d] = packed.dim[d] > 0;
    plumb_view_pack_as(&packed, plumb_view_channels_last(low) ? PLUMB_CHANNELS_LAST : PLUMB_ROWS);
    wide = packed;
    for (int d = 0; d < wide.rank; d++) {
        wide.dim[d] = low->dim[d];
        wide.stride[d] = low->stride[d] == 0 ? 0 : packed.stride[d];
    }
    wide.data = w->call.workspace ? (char *)w->call.workspace + w->bytes : NULL;
    w->bytes += aligned((size_t)plumb_view_count(&packed) * sizeof(float));
    return wide;
}

/* One whose sums are plain: bf16 and f16 are promised sums rounded once. */
static const plumb_impl *find_inner(const plumb_call *call)
{
    const plumb_provider *provider = &plumb_provider_cpu_native;
    for (int i = 0; i < provider->count; i++) {
        const plumb_impl *impl = provider->impls[i];
        if (impl->op == call->op && impl->dtypes & PLUMB_BIT(PLUMB_F32) && impl->slack <= 1 &&
            plumb_impl_fits(impl, call) &&
            (!impl->supports || impl->supports(call)))
            return impl;
    }
    return NULL;
}

static bool widen(const plumb_call *call, struct widened *w)
{
    memset(w, 0, sizeof *w);
    if (call->n_in > OPERANDS || call->n_out > OPERANDS)
        return false;
    w->call = *call;
    for (int i = 0; i < call->n_in; i++)
        w->in[i] = is_low(call->in[i].dtype) ? twin(w, &call->in[i]) : call->in[i];
    for (int i = 0; i < call->n_out; i++)
        w->out[i] = is_low(call->out[i].dtype) ? twin(w, &call->out[i]) : call->out[i];
    w->call.in = w->in;
    w->call.out = w->out;
    w->inner = find_inner(&w->call);
    return w->inner != NULL;
}

static bool supports(const plumb_call *call)
{
    struct widened w;
    return widen(call, &w);
}

static size_t workspace(const plumb_call *call)
{
    struct widened w;
    return widen(call, &w) ? w.bytes + (w.inner->workspace ? w.inner->workspace(&w.call) : 0) : 0;
}

/* Without its broadcast dimensions, in which all elements are one. */
static plumb_view once(const plumb_view *view)
{
    plumb_view one = *view;
    for (int d = 0; d < one.rank; d++)
        if (one.stride[d] == 0)
            one.dim[d] = one.dim[d] > 0;
    return one;
}

static plumb_status run(const plumb_call *call)
{
    struct widened w;
    if (!widen(call, &w))
        return plumb_call_fail(call, PLUMB_FAILED, "no f32 kernel for the widened operands");
    for (int i = 0; i < call->n_in; i++) {
        plumb_view to = once(&w.in[i]), from = once(&call->in[i]);
        if (is_low(call->in[i].dtype))
            convert_tensor(call, &to, &from);
    }
    w.call.workspace = (char *)call->workspace + w.bytes;
    plumb_status status = w.inner->run(&w.call);
    for (int i = 0; status == PLUMB_OK && i < call->n_out; i++)
        if (is_low(call->out[i].dtype))
            convert_tensor(call, &call->out[i], &w.out[i]);
    return status;
}

const plumb_impl plumb_impl_cast_half = {
    .op = &plumb_op_cast,
    .name = "cpu.native.half",
    .dtypes = PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16),
    .flags = PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT,
    .supports = cast_supports,
    .run = cast_run,
};

#define HALF(op_name, which_flags)                                                                                    \
    const plumb_impl plumb_impl_##op_name##_half = {                                                                  \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.native.half",                                                                                    \
        .dtypes = PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16),                                                       \
        .flags = (which_flags),                                                                                       \
        .supports = supports,                                                                                         \
        .workspace = workspace,                                                                                       \
        .run = run,                                                                                                   \
    };
HALF(matmul, PLUMB_IMPL_EXACT)
HALF(attention, 0)
HALF(attention_backward, 0)
HALF(conv2d, PLUMB_IMPL_EXACT)
HALF(conv2d_backward_data, PLUMB_IMPL_EXACT)
HALF(conv2d_backward_filter, PLUMB_IMPL_EXACT)
HALF(max_pool2d, PLUMB_IMPL_EXACT)
HALF(max_pool2d_backward, PLUMB_IMPL_EXACT)
HALF(max_pool2d_select, PLUMB_IMPL_EXACT)
HALF(average_pool2d, PLUMB_IMPL_EXACT)
HALF(average_pool2d_backward, PLUMB_IMPL_EXACT)
HALF(gather_backward, PLUMB_IMPL_EXACT)
HALF(activation_backward, PLUMB_IMPL_EXACT | PLUMB_IMPL_ANY_LAYOUT)
HALF(sum, PLUMB_IMPL_EXACT)
HALF(max, PLUMB_IMPL_EXACT)
HALF(min, PLUMB_IMPL_EXACT)
HALF(sum_to, PLUMB_IMPL_EXACT)
HALF(mean, 0)
HALF(batch_norm, 0)
HALF(batch_norm_inference, 0)
HALF(batch_norm_backward, 0)
HALF(layer_norm, 0)
HALF(group_norm, 0)
HALF(rms_norm, 0)
HALF(row_norm_backward, 0)
HALF(dropout, 0)
