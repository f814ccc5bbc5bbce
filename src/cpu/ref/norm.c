/* Reference batch normalisation: the values of one channel after the other are unpacked into doubles; mean
 * and variance are taken in two passes. */
#include <math.h>

#include "cpu/ref/activate.h"
#include "cpu/ref/unpack.h"
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* The part of a view (N, C, ..) that is channel c: (N, ..). */
static plumb_view channel_of(const plumb_view *view, int64_t c)
{
    plumb_view part = *view;
    part.data = (char *)view->data + c * view->stride[1] * (int64_t)plumb_dtype_size(view->dtype);
    part.rank--;
    for (int d = 1; d < part.rank; d++) {
        part.dim[d] = view->dim[d + 1];
        part.stride[d] = view->stride[d + 1];
    }
    return part;
}

static int64_t load_channel(const plumb_view *view, int64_t c, double *to)
{
    plumb_view part = channel_of(view, c);
    return unpack(&part, 0, 0, to);
}

static void store_channel(const plumb_view *view, int64_t c, const double *from)
{
    plumb_view part = channel_of(view, c);
    pack(&part, 0, 0, from);
}

static double number(const plumb_view *per_channel, int64_t c)
{
    return view_get(per_channel, c * per_channel->stride[0]);
}

static void put_number(const plumb_view *per_channel, int64_t c, double value)
{
    view_put(per_channel, c * per_channel->stride[0], value);
}

static size_t values_per_channel(const plumb_view *x)
{
    size_t count = 1;
    for (int d = 0; d < x->rank; d++)
        count *= d == 1 ? 1 : (size_t)x->dim[d];
    return count;
}

static size_t one_channel(const plumb_call *call)
{
    return sizeof(double) * (1 + values_per_channel(&call->in[0]));
}
static size_t two_channels(const plumb_call *call) { return 2 * one_channel(call); }
static size_t three_channels(const plumb_call *call) { return 3 * one_channel(call); }

/* y = activation(scale ((x - mean) invstd) + shift + residual) of the m values of channel c */
static void store_normalised(const plumb_call *call, int64_t c, int64_t m, double *values, double mean, double invstd)
{
    const plumb_attr_batch_norm *attr = call->attr;
    double *residual = call->n_in > 5 ? values + 1 + m : NULL;
    double scale = number(&call->in[1], c), shift = number(&call->in[2], c);
    if (residual)
        load_channel(&call->in[5], c, residual);
    for (int64_t i = 0; i < m; i++) {
        double y = scale * ((values[i] - mean) * invstd) + shift;
        values[i] = activated(attr->activation, residual ? y + residual[i] : y);
    }
    store_channel(&call->out[0], c, values);
}

static plumb_status run_batch_norm(const plumb_call *call)
{
    const plumb_attr_batch_norm *attr = call->attr;
    const plumb_view *x = &call->in[0];
    double *values = call->workspace;
    for (int64_t c = 0; c < x->dim[1]; c++) {
        int64_t m = load_channel(x, c, values);
        double mean = 0, variance = 0, rate = attr->momentum;
        double running_mean = number(&call->in[3], c), running_var = number(&call->in[4], c);
        if (m == 1)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "training needs more than one value per channel");
        for (int64_t i = 0; i < m; i++)
            mean += values[i] / (double)m;
        double rest = 0; /* what rounding left: without it equal values would have a variance */
        for (int64_t i = 0; i < m; i++)
            rest += values[i] - mean;
        mean += m > 0 ? rest / (double)m : 0;
        for (int64_t i = 0; i < m; i++)
            variance += (values[i] - mean) * (values[i] - mean) / (double)m;
        double invstd = 1 / sqrt(variance + attr->epsilon);
        store_normalised(call, c, m, values, mean, invstd);
        put_number(&call->out[1], c, mean);
        put_number(&call->out[2], c, invstd);
        double observed = attr->biased_running ? variance : variance * (double)m / (double)(m - 1);
        put_number(&call->out[3], c, m == 0 ? running_mean : (1 - rate) * running_mean + rate * mean);
        put_number(&call->out[4], c, m == 0 ? running_var : (1 - rate) * running_var + rate * observed);
    }
    return PLUMB_OK;
}

static plumb_status run_inference(const plumb_call *call)
{
    const plumb_attr_batch_norm *attr = call->attr;
    const plumb_view *x = &call->in[0];
    double *values = call->workspace;
    for (int64_t c = 0; c < x->dim[1]; c++) {
        int64_t m = load_channel(x, c, values);
        double invstd = 1 / sqrt(number(&call->in[4], c) + attr->epsilon);
        store_normalised(call, c, m, values, number(&call->in[3], c), invstd);
    }
    return PLUMB_OK;
}

/* d: dy of the m values of channel c before the activation, for which `y` has room. */
static void load_gradient(const plumb_call *call, int64_t c, int64_t m, double *d, double *y)
{
    const plumb_attr_batch_norm *attr = call->attr;
    load_channel(&call->in[4], c, d);
    if (call->n_in > 5)
        load_channel(&call->in[5], c, y);
    for (int64_t i = 0; i < m && call->n_in > 5; i++)
        d[i] = activated_backward(attr->activation, y[i], d[i]);
    if (attr->residual)
        store_channel(&call->out[3], c, d);
}

/* dx = scale invstd (d - mean(d) - z mean(d z)), dscale = sum(d z), dshift = sum(d), z = (x - mean) invstd */
static plumb_status run_backward(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    double *z = call->workspace, *d = z + 1 + values_per_channel(x), *y = d + 1 + values_per_channel(x);
    for (int64_t c = 0; c < x->dim[1]; c++) {
        int64_t m = load_channel(x, c, z);
        load_gradient(call, c, m, d, y);
        double scale = number(&call->in[1], c), mean = number(&call->in[2], c),
               invstd = number(&call->in[3], c);
        double dscale = 0, dshift = 0;
        for (int64_t i = 0; i < m; i++) {
            z[i] = (z[i] - mean) * invstd;
            dscale += d[i] * z[i];
            dshift += d[i];
        }
        for (int64_t i = 0; i < m; i++)
            d[i] = scale * invstd * (d[i] - dshift / (double)m - z[i] * (dscale / (double)m));
        store_channel(&call->out[0], c, d);
        put_number(&call->out[1], c, dscale);
        put_number(&call->out[2], c, dshift);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_batch_norm_ref = {
    .op = &plumb_op_batch_norm,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = two_channels,
    .run = run_batch_norm,
};

const plumb_impl plumb_impl_batch_norm_inference_ref = {
    .op = &plumb_op_batch_norm_inference,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = two_channels,
    .run = run_inference,
};

const plumb_impl plumb_impl_batch_norm_backward_ref = {
    .op = &plumb_op_batch_norm_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = three_channels,
    .run = run_backward,
};
