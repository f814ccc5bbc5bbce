/* Reference normalisation of rows (src/op/row_norm.c): the values of one row after the other are unpacked into doubles;
 * mean and variance are taken in two passes. */
#include <math.h>

#include "cpu/ref/unpack.h"
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* Row r of x (N, C, S), of `groups` in each example: a view (C/groups, S). */
static plumb_view row_of(const plumb_view *x, int64_t groups, int64_t r)
{
    plumb_view part = {.dtype = x->dtype, .rank = 2, .dim = {x->dim[1] / groups, x->dim[2]},
                       .stride = {x->stride[1], x->stride[2]}};
    int64_t at = r / groups * x->stride[0] + r % groups * part.dim[0] * x->stride[1];
    part.data = (char *)x->data + at * (int64_t)plumb_dtype_size(x->dtype);
    return part;
}

static int64_t load_row(const plumb_view *x, int64_t groups, int64_t r, double *to)
{
    plumb_view part = row_of(x, groups, r);
    return unpack(&part, 0, 0, to);
}

static void store_row(const plumb_view *x, int64_t groups, int64_t r, const double *from)
{
    plumb_view part = row_of(x, groups, r);
    pack(&part, 0, 0, from);
}

static double channel(const plumb_view *v, int64_t c) { return view_get(v, c * v->stride[0]); }
static double statistic(const plumb_view *v, int64_t groups, int64_t r)
{
    return view_get(v, view_offset2(v, r / groups, r % groups));
}
static void put_statistic(const plumb_view *v, int64_t groups, int64_t r, double value)
{
    view_put(v, view_offset2(v, r / groups, r % groups), value);
}

static size_t values_of_row(const plumb_call *call)
{
    const plumb_view *x = &call->in[0];
    return (size_t)(x->dim[1] / ((const plumb_attr_row_norm *)call->attr)->groups * x->dim[2]);
}
static size_t one_row(const plumb_call *call) { return sizeof(double) * (1 + values_of_row(call)); }
static size_t two_rows_and_channels(const plumb_call *call)
{
    return 2 * (one_row(call) + sizeof(double) * (size_t)call->in[0].dim[1]);
}

static double mean_of(const double *x, int64_t m)
{
    double mean = 0, rest = 0; /* what rounding left: without it equal values would have a variance */
    for (int64_t i = 0; i < m; i++)
        mean += x[i] / (double)m;
    for (int64_t i = 0; i < m; i++)
        rest += x[i] - mean;
    return m > 0 ? mean + rest / (double)m : 0;
}

static plumb_status run_forward(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    const plumb_view *x = &call->in[0];
    int64_t groups = attr->groups, channels = x->dim[1] / groups, s = x->dim[2];
    double *values = call->workspace;
    for (int64_t r = 0; r < x->dim[0] * groups; r++) {
        int64_t m = load_row(x, groups, r, values);
        double mean = attr->centred ? mean_of(values, m) : 0, square = 0;
        for (int64_t i = 0; i < m; i++) {
            values[i] -= mean;
            square += values[i] * values[i] / (double)m;
        }
        double invstd = 1 / sqrt(square + attr->epsilon);
        for (int64_t i = 0; i < m; i++) {
            int64_t c = r % groups * channels + i / s;
            values[i] *= invstd;
            if (call->n_in > 1)
                values[i] *= channel(&call->in[1], c);
            if (call->n_in > 2)
                values[i] += channel(&call->in[2], c);
        }
        store_row(&call->out[0], groups, r, values);
        put_statistic(&call->out[1], groups, r, invstd);
        if (attr->centred)
            put_statistic(&call->out[2], groups, r, mean);
    }
    return PLUMB_OK;
}

/* d = dy scale, z = (x - mean) invstd: dx = invstd (d - mean(d) - z mean(d z)), dscale = sum(dy z), dshift = sum(dy) */
static plumb_status run_backward(const plumb_call *call)
{
    const plumb_attr_row_norm *attr = call->attr;
    const plumb_view *x = &call->in[0], *scale = attr->affine ? &call->in[3 + attr->centred] : NULL;
    int64_t groups = attr->groups, channels = x->dim[1] / groups, s = x->dim[2];
    double *z = call->workspace, *d = z + 1 + values_of_row(call), *dscale = d + 1 + values_of_row(call),
           *dshift = dscale + x->dim[1];
    memset(dscale, 0, 2 * sizeof *dscale * (size_t)x->dim[1]);
    for (int64_t r = 0; r < x->dim[0] * groups; r++) {
        int64_t m = load_row(x, groups, r, z);
        double invstd = statistic(&call->in[2], groups, r);
        double mean = attr->centred ? statistic(&call->in[3], groups, r) : 0, sum = 0, weighted = 0;
        load_row(&call->in[1], groups, r, d);
        for (int64_t i = 0; i < m; i++) {
            int64_t c = r % groups * channels + i / s;
            z[i] = (z[i] - mean) * invstd;
            dscale[c] += d[i] * z[i];
            dshift[c] += d[i];
            d[i] *= scale ? channel(scale, c) : 1;
            sum += d[i] / (double)m;
            weighted += d[i] * z[i] / (double)m;
        }
        for (int64_t i = 0; i < m; i++)
            d[i] = invstd * (d[i] - (attr->centred ? sum : 0) - z[i] * weighted);
        store_row(&call->out[0], groups, r, d);
    }
    for (int i = 1; i < call->n_out; i++)
        for (int64_t c = 0; c < x->dim[1]; c++)
            view_put(&call->out[i], c * call->out[i].stride[0], i == 1 ? dscale[c] : dshift[c]);
    return PLUMB_OK;
}

#define ROW(op_name, which_workspace, which_run)                                                                      \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                                   \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.ref",                                                                                            \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = which_workspace,                                                                                 \
        .run = which_run,                                                                                             \
    };

ROW(layer_norm, one_row, run_forward)
ROW(group_norm, one_row, run_forward)
ROW(rms_norm, one_row, run_forward)
ROW(row_norm_backward, two_rows_and_channels, run_backward)
