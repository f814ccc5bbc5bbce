/* Reference attention: one head of one example at a time, unpacked into doubles, row by row, as src/op/attention.c says. */
#include "cpu/ref/unpack.h"
#include "op/attr.h"

#include <math.h>

typedef struct head {
    const plumb_call *call;
    const plumb_attr_attention *attr;
    const plumb_view *mask; /* NULL: none */
    int64_t queries, keys, features, values, n, h;
    double *q, *k, *v, *y, *dy, *dq, *dk, *dv, *row, *back; /* row, back: one number for each key */
} head;

static size_t workspace(const plumb_call *call)
{
    int64_t t = call->in[0].dim[2], d = call->in[0].dim[3], s = call->in[1].dim[2], e = call->in[2].dim[3];
    return sizeof(double) * (size_t)(2 * (t + s) * (d + e) + t * e + 2 * s + 16);
}

static double *room(double **next, int64_t count)
{
    double *taken = *next;
    *next += count;
    return taken;
}

static head begin(const plumb_call *call, int mask)
{
    head a = {.call = call, .attr = call->attr, .mask = call->n_in > mask ? &call->in[mask] : NULL};
    double *next = call->workspace;
    a.queries = call->in[0].dim[2], a.features = call->in[0].dim[3];
    a.keys = call->in[1].dim[2], a.values = call->in[2].dim[3];
    a.q = room(&next, a.queries * a.features), a.dq = room(&next, a.queries * a.features);
    a.k = room(&next, a.keys * a.features), a.dk = room(&next, a.keys * a.features);
    a.v = room(&next, a.keys * a.values), a.dv = room(&next, a.keys * a.values);
    a.y = room(&next, a.queries * a.values), a.dy = room(&next, a.queries * a.values);
    a.row = room(&next, a.keys), a.back = room(&next, a.keys);
    return a;
}

static int64_t plane(const head *a, const plumb_view *view) { return a->n * view->stride[0] + a->h * view->stride[1]; }

static double score(const head *a, int64_t i, int64_t j)
{
    double sum = 0;
    if (a->attr->causal && j > i)
        return -INFINITY;
    for (int64_t d = 0; d < a->features; d++)
        sum += a->q[i * a->features + d] * a->k[j * a->features + d];
    sum *= a->attr->scale;
    if (!a->mask)
        return sum;
    const plumb_view *m = a->mask;
    const int64_t at[4] = {a->n, a->h, i, j};
    int64_t where = 0;
    for (int d = 0; d < 4; d++)
        where += m->dim[d] == 1 ? 0 : at[d] * m->stride[d];
    double value = plumb_get(m->data, m->dtype, where);
    return m->dtype != PLUMB_U8 ? sum + value : value != 0 ? sum : -INFINITY;
}

static void forward_row(head *a, int64_t i, double *lse)
{
    double most = -INFINITY, total = 0, *y = a->y + i * a->values;
    for (int64_t j = 0; j < a->keys; j++) {
        a->row[j] = score(a, i, j);
        most = a->row[j] > most || isnan(a->row[j]) ? a->row[j] : most;
    }
    memset(y, 0, sizeof *y * (size_t)a->values);
    *lse = INFINITY;
    if (most == -INFINITY)
        return;
    for (int64_t j = 0; j < a->keys; j++)
        total += a->row[j] = exp(a->row[j] - most);
    for (int64_t j = 0; j < a->keys; j++)
        for (int64_t e = 0; e < a->values && a->row[j] != 0; e++)
            y[e] += a->row[j] / total * a->v[j * a->values + e];
    *lse = most + log(total);
}

static plumb_status run_attention(const plumb_call *call)
{
    head a = begin(call, 3);
    const plumb_view *in = call->in, *y = &call->out[0], *lse = &call->out[1];
    for (a.n = 0; a.n < in[0].dim[0]; a.n++)
        for (a.h = 0; a.h < in[0].dim[1]; a.h++) {
            unpack(&in[0], 2, plane(&a, &in[0]), a.q);
            unpack(&in[1], 2, plane(&a, &in[1]), a.k);
            unpack(&in[2], 2, plane(&a, &in[2]), a.v);
            for (int64_t i = 0; i < a.queries; i++) {
                double value;
                forward_row(&a, i, &value);
                plumb_put(lse->data, lse->dtype, plane(&a, lse) + i * lse->stride[2], value);
            }
            pack(y, 2, plane(&a, y), a.y);
        }
    return PLUMB_OK;
}

/* What query i adds to the gradients. */
static void backward_row(head *a, int64_t i, double lse)
{
    const double *dy = a->dy + i * a->values, *y = a->y + i * a->values, *q = a->q + i * a->features;
    double delta = 0, *dq = a->dq + i * a->features, scale = a->attr->scale;
    for (int64_t e = 0; e < a->values; e++)
        delta += dy[e] * y[e];
    for (int64_t j = 0; j < a->keys; j++) {
        const double *v = a->v + j * a->values, *k = a->k + j * a->features;
        double s = score(a, i, j), p = exp(s - lse), dp = 0, *dv = a->dv + j * a->values, *dk = a->dk + j * a->features;
        if (s == -INFINITY)
            continue;
        for (int64_t e = 0; e < a->values; e++) {
            dp += dy[e] * v[e];
            dv[e] += p * dy[e];
        }
        double ds = p * (dp - delta) * scale;
        for (int64_t d = 0; d < a->features; d++) {
            dq[d] += ds * k[d];
            dk[d] += ds * q[d];
        }
    }
}

static plumb_status run_attention_backward(const plumb_call *call)
{
    head a = begin(call, 6);
    const plumb_view *in = call->in, *out = call->out, *lse = &call->in[4];
    double *const to[] = {a.q, a.k, a.v, a.y, NULL, a.dy}, *const gradient[] = {a.dq, a.dk, a.dv};
    for (a.n = 0; a.n < in[0].dim[0]; a.n++)
        for (a.h = 0; a.h < in[0].dim[1]; a.h++) {
            for (int i = 0; i < 6; i++)
                if (i != 4)
                    unpack(&in[i], 2, plane(&a, &in[i]), to[i]);
            for (int i = 0; i < 3; i++)
                memset(gradient[i], 0, sizeof(double) * (size_t)(out[i].dim[2] * out[i].dim[3]));
            for (int64_t i = 0; i < a.queries; i++)
                backward_row(&a, i, plumb_get(lse->data, lse->dtype, plane(&a, lse) + i * lse->stride[2]));
            for (int i = 0; i < 3; i++)
                pack(&out[i], 2, plane(&a, &out[i]), gradient[i]);
        }
    return PLUMB_OK;
}

#define ROW(op_name)                                                                                                  \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                                   \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.ref",                                                                                            \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = workspace,                                                                                       \
        .run = run_##op_name,                                                                                         \
    };
ROW(attention)
ROW(attention_backward)
