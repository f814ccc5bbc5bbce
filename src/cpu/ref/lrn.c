/* Reference local response normalisation (src/op/lrn.c): one example's place after the other, its channels in doubles. */
#include <math.h>

#include "cpu/ref/unpack.h"
#include "op/attr.h"

/* d of each channel, and the sums of t over the windows that reach a channel. */
static void denominators(const plumb_attr_lrn *attr, const double *x, int64_t channels, double *d)
{
    for (int64_t c = 0; c < channels; c++) {
        int64_t first = c > attr->before ? c - attr->before : 0, end = c + attr->after + 1;
        double sum = 0;
        for (int64_t k = first; k < end && k < channels; k++)
            sum += x[k] * x[k];
        d[c] = attr->bias + attr->scale * sum;
    }
}

static size_t workspace(const plumb_call *call) { return sizeof(double) * 4 * (size_t)(1 + call->in[0].dim[1]); }

/* Where the channels of place s of example n begin. */
static int64_t start(const plumb_view *v, int64_t n, int64_t s) { return n * v->stride[0] + s * v->stride[2]; }

static plumb_status run(const plumb_call *call)
{
    const plumb_attr_lrn *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    int64_t channels = x->dim[1];
    double *values = call->workspace, *d = values + channels;
    for (int64_t i = 0; i < x->dim[0] * x->dim[2]; i++) {
        int64_t n = i / x->dim[2], s = i % x->dim[2];
        unpack_row(x, start(x, n, s), x->stride[1], channels, values);
        denominators(attr, values, channels, d);
        for (int64_t c = 0; c < channels; c++)
            values[c] *= pow(d[c], -attr->beta);
        pack_row(y, start(y, n, s), y->stride[1], channels, values);
    }
    return PLUMB_OK;
}

/* dx = dy d^-beta - 2 scale beta x sum(dy x d^(-beta - 1)), over the windows that reach the channel */
static plumb_status run_backward(const plumb_call *call)
{
    const plumb_attr_lrn *attr = call->attr;
    const plumb_view *x = &call->in[0], *dy = &call->in[1], *dx = &call->out[0];
    int64_t channels = x->dim[1];
    double *values = call->workspace, *d = values + channels, *slope = d + channels, *t = slope + channels;
    for (int64_t i = 0; i < x->dim[0] * x->dim[2]; i++) {
        int64_t n = i / x->dim[2], s = i % x->dim[2];
        unpack_row(x, start(x, n, s), x->stride[1], channels, values);
        unpack_row(dy, start(dy, n, s), dy->stride[1], channels, slope);
        denominators(attr, values, channels, d);
        for (int64_t c = 0; c < channels; c++) {
            t[c] = slope[c] * values[c] * pow(d[c], -attr->beta - 1);
            slope[c] *= pow(d[c], -attr->beta);
        }
        for (int64_t c = 0; c < channels; c++) {
            int64_t first = c > attr->after ? c - attr->after : 0, end = c + attr->before + 1;
            double sum = 0;
            for (int64_t k = first; k < end && k < channels; k++)
                sum += t[k];
            slope[c] -= 2 * attr->scale * attr->beta * values[c] * sum;
        }
        pack_row(dx, start(dx, n, s), dx->stride[1], channels, slope);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_lrn_ref = {
    .op = &plumb_op_lrn,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace,
    .run = run,
};

const plumb_impl plumb_impl_lrn_backward_ref = {
    .op = &plumb_op_lrn_backward,
    .name = "cpu.ref",
    .dtypes = PLUMB_FLOATS,
    .workspace = workspace,
    .run = run_backward,
};
