/* Reference recurrent layers: everything is unpacked into doubles, then step by step, example by example, as the formulas
 * of src/op/recurrent.c say. The three kinds share the sequence and the products; a cell is what happens between them. */
#include <math.h>

#include "cpu/ref/activate.h"
#include "cpu/ref/unpack.h"

typedef struct layer {
    const plumb_attr_recurrent *attr;
    int64_t steps, batch, features, units, wide; /* wide: gates * units */
    const double *x, *h0, *c0, *w_ih, *w_hh, *b_ih, *b_hh; /* as the op's inputs; NULL: there is none */
    const double *peepholes, *lengths;
    double *y, *gates, *saved;                             /* saved: q of gru, cells of lstm */
    double *a, *p;                                         /* (wide): of x and of h, or their gradients */
    double *dpeepholes;
    double *next;                                          /* unused workspace */
} layer;

/* One example's step: where its elements lie in (T, N, ..). */
typedef struct place {
    const double *h, *c;       /* before: (H) */
    double *y, *gates, *saved; /* of this step */
} place;

/* ---- tensors ---- */

static double *room(layer *l, int64_t count)
{
    double *taken = l->next;
    l->next += count + 1;
    memset(taken, 0, sizeof(double) * (size_t)count);
    return taken;
}

static double *load(layer *l, const plumb_view *view)
{
    double *taken = room(l, plumb_view_count(view));
    unpack(view, 0, 0, taken);
    return taken;
}

static size_t workspace(const plumb_call *call)
{
    int64_t count = 64 + 20 * call->in[1].dim[1]; /* the ends of rooms; a, p and gradients of biases, four gates, peepholes */
    for (int i = 0; i < call->n_in; i++)
        count += 2 * plumb_view_count(&call->in[i]) + 1;
    for (int k = 0; k < call->n_out; k++)
        count += plumb_view_count(&call->out[k]) + 1;
    return sizeof(double) * (size_t)count;
}

/* x, initial states and weights; `states` is 2 with c0. */
static layer begin(const plumb_call *call, int states)
{
    const plumb_view *in = call->in;
    layer l = {.attr = call->attr, .steps = in[0].dim[0], .batch = in[0].dim[1], .features = in[0].dim[2],
               .units = in[1].dim[1], .wide = in[states + 2].dim[0], .next = call->workspace};
    l.x = load(&l, &in[0]);
    l.h0 = load(&l, &in[1]);
    l.c0 = states > 1 ? load(&l, &in[2]) : NULL;
    l.w_ih = load(&l, &in[states + 1]);
    l.w_hh = load(&l, &in[states + 2]);
    l.peepholes = l.attr->peepholes ? load(&l, &in[states + 3]) : NULL;
    l.lengths = l.attr->lengths ? load(&l, &in[plumb_recurrent_first(l.attr, states) - 1]) : NULL;
    l.a = room(&l, l.wide);
    l.p = room(&l, l.wide);
    return l;
}

/* The i-th step in the order they are taken. */
static int64_t step_at(const layer *l, int64_t i) { return l->attr->reverse ? l->steps - 1 - i : i; }

static bool is_there(const layer *l, int64_t t, int64_t n) { return !l->lengths || (double)t < l->lengths[n]; }

/* Of a step that is there. */
static place place_of(const layer *l, int64_t i, int64_t n)
{
    bool goes_on = i > 0 && is_there(l, step_at(l, i - 1), n);
    int64_t at = step_at(l, i) * l->batch + n, before = goes_on ? step_at(l, i - 1) * l->batch + n : 0;
    place w = {.h = goes_on ? l->y + before * l->units : l->h0 + n * l->units, .y = l->y + at * l->units};
    if (l->gates) {
        w.gates = l->gates + at * l->wide;
        w.saved = l->saved + at * l->units;
    }
    if (l->c0)
        w.c = goes_on ? l->saved + before * l->units : l->c0 + n * l->units;
    return w;
}

static plumb_status check_lengths(const plumb_call *call, const layer *l)
{
    for (int64_t n = 0; l->lengths && n < l->batch; n++)
        if (!(l->lengths[n] >= 0 && l->lengths[n] <= (double)l->steps))
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "length %lld at %lld is outside [0, %lld)", (long long)l->lengths[n],
                                   (long long)n, (long long)l->steps + 1);
    return PLUMB_OK;
}

/* ---- forward ---- */

/* to = w v + bias */
static void affine(const double *w, const double *v, const double *bias, int64_t rows, int64_t columns, double *to)
{
    for (int64_t j = 0; j < rows; j++) {
        double sum = 0;
        for (int64_t k = 0; k < columns; k++)
            sum += w[j * columns + k] * v[k];
        to[j] = bias ? sum + bias[j] : sum;
    }
}

typedef void cell(const layer *l, const place *w);

/* Of a sequence (T, N, H): each example's last one, or where it started. */
static const double *endings(layer *l, const double *sequence, const double *start)
{
    double *ends = room(l, l->batch * l->units);
    for (int64_t n = 0; n < l->batch; n++) {
        int64_t length = l->lengths ? (int64_t)l->lengths[n] : l->steps, last = l->attr->reverse ? 0 : length - 1;
        const double *end = length > 0 ? sequence + (last * l->batch + n) * l->units : start + n * l->units;
        memcpy(ends + n * l->units, end, sizeof(double) * (size_t)l->units);
    }
    return ends;
}

static plumb_status forward(const plumb_call *call, int states, cell *step)
{
    layer l = begin(call, states);
    int biases = plumb_recurrent_first(l.attr, states);
    if (check_lengths(call, &l))
        return PLUMB_BAD_INPUT;
    if (call->n_in > biases) {
        l.b_ih = load(&l, &call->in[biases]);
        l.b_hh = load(&l, &call->in[biases + 1]);
    }
    l.y = room(&l, plumb_view_count(&call->out[0]));
    if (call->n_out > states + 1) {
        l.gates = room(&l, plumb_view_count(&call->out[states + 1]));
        l.saved = room(&l, plumb_view_count(&call->out[states + 2]));
    }
    for (int64_t i = 0; i < l.steps; i++)
        for (int64_t n = 0; n < l.batch; n++) {
            if (!is_there(&l, step_at(&l, i), n))
                continue; /* what there is to write is 0 */
            place w = place_of(&l, i, n);
            affine(l.w_ih, l.x + (step_at(&l, i) * l.batch + n) * l.features, l.b_ih, l.wide, l.features, l.a);
            affine(l.w_hh, w.h, l.b_hh, l.wide, l.units, l.p);
            step(&l, &w);
        }
    pack(&call->out[0], 0, 0, l.y);
    pack(&call->out[1], 0, 0, endings(&l, l.y, l.h0));
    if (states > 1)
        pack(&call->out[2], 0, 0, endings(&l, l.saved, l.c0));
    if (l.gates) {
        pack(&call->out[states + 1], 0, 0, l.gates);
        pack(&call->out[states + 2], 0, 0, l.saved);
    }
    return PLUMB_OK;
}

static double sigmoid(double x) { return activated(PLUMB_ACTIVATION_SIGMOID, x); }

static void rnn_cell(const layer *l, const place *w)
{
    for (int64_t j = 0; j < l->units; j++)
        w->y[j] = activated(l->attr->activation, l->a[j] + l->p[j]);
}

static void gru_cell(const layer *l, const place *w)
{
    double *r = w->gates, *z = r + l->units, *n = z + l->units;
    for (int64_t j = 0, H = l->units; j < H; j++) {
        r[j] = sigmoid(l->a[j] + l->p[j]);
        z[j] = sigmoid(l->a[H + j] + l->p[H + j]);
        w->saved[j] = l->attr->reset_before ? r[j] * w->h[j] : l->p[2 * H + j];
    }
    if (l->attr->reset_before)
        affine(l->w_hh + 2 * l->units * l->units, w->saved, l->b_hh ? l->b_hh + 2 * l->units : NULL, l->units, l->units,
               l->p + 2 * l->units);
    for (int64_t j = 0, H = l->units; j < H; j++) {
        n[j] = tanh(l->a[2 * H + j] + (l->attr->reset_before ? l->p[2 * H + j] : r[j] * w->saved[j]));
        w->y[j] = (1 - z[j]) * n[j] + z[j] * w->h[j];
    }
}

/* What peephole k adds to its gate. */
static double peep(const layer *l, int k, int64_t j, double c)
{
    return l->peepholes ? l->peepholes[k * l->units + j] * c : 0;
}

static void lstm_cell(const layer *l, const place *w)
{
    double *i = w->gates, *f = i + l->units, *g = f + l->units, *o = g + l->units;
    for (int64_t j = 0, H = l->units; j < H; j++) {
        i[j] = sigmoid(l->a[j] + l->p[j] + peep(l, 0, j, w->c[j]));
        f[j] = sigmoid(l->a[H + j] + l->p[H + j] + peep(l, 1, j, w->c[j]));
        g[j] = tanh(l->a[2 * H + j] + l->p[2 * H + j]);
        w->saved[j] = f[j] * w->c[j] + i[j] * g[j];
        o[j] = sigmoid(l->a[3 * H + j] + l->p[3 * H + j] + peep(l, 2, j, w->saved[j]));
        w->y[j] = o[j] * tanh(w->saved[j]);
    }
}

/* ---- backward ---- */

/* From dh and dc behind the step: l->a and l->p become the gradients of the two products, dh what went past them, dc that
 * of the c before. */
typedef void cell_back(const layer *l, const place *w, double *dh, double *dc);

struct sums { /* what the backward op returns, in its order but for the states */
    double *dw_ih, *dw_hh, *db_ih, *db_hh, *dx;
};

/* Of l->a and l->p of one example's step: sums of the weights' gradients, dx, and dh before. Where r comes before the
 * product, that one's factor is r h, and the cell has passed its gradient on. */
static void absorb(const layer *l, const double *x, const place *w, const struct sums *to, double *dx, double *dh)
{
    for (int64_t j = 0; j < l->wide; j++) {
        bool inside = l->attr->reset_before && j >= 2 * l->units;
        const double *h = inside ? w->saved : w->h;
        for (int64_t k = 0; k < l->features; k++) {
            to->dw_ih[j * l->features + k] += l->a[j] * x[k];
            dx[k] += l->a[j] * l->w_ih[j * l->features + k];
        }
        for (int64_t k = 0; k < l->units; k++) {
            to->dw_hh[j * l->units + k] += l->p[j] * h[k];
            dh[k] += inside ? 0 : l->p[j] * l->w_hh[j * l->units + k];
        }
        to->db_ih[j] += l->a[j];
        to->db_hh[j] += l->p[j];
    }
}

static plumb_status backward(const plumb_call *call, int states, int saved, cell_back *step)
{
    layer l = begin(call, states);
    const plumb_view *in = call->in + plumb_recurrent_first(l.attr, states), *out = call->out;
    if (check_lengths(call, &l))
        return PLUMB_BAD_INPUT;
    l.y = load(&l, in++);
    l.gates = saved ? load(&l, in++) : NULL;
    l.saved = saved ? load(&l, in++) : NULL;
    const double *dy = l.attr->given & 1 ? load(&l, in++) : NULL;
    double *dh = l.attr->given & 2 ? load(&l, in++) : room(&l, l.batch * l.units);
    double *dc = l.attr->given & 4 ? load(&l, in) : room(&l, l.batch * l.units);
    struct sums to = {room(&l, l.wide * l.features), room(&l, l.wide * l.units), room(&l, l.wide), room(&l, l.wide),
                      room(&l, l.steps * l.batch * l.features)};
    l.dpeepholes = room(&l, 3 * l.units);
    for (int64_t i = l.steps - 1; i >= 0; i--)
        for (int64_t n = 0; n < l.batch; n++) {
            int64_t at = step_at(&l, i) * l.batch + n;
            if (!is_there(&l, step_at(&l, i), n))
                continue;
            place w = place_of(&l, i, n);
            double *dh_n = dh + n * l.units;
            for (int64_t k = 0; dy && k < l.units; k++)
                dh_n[k] += dy[at * l.units + k];
            step(&l, &w, dh_n, dc + n * l.units);
            absorb(&l, l.x + at * l.features, &w, &to, to.dx + at * l.features, dh_n);
        }
    pack(out++, 0, 0, dh);
    if (states > 1)
        pack(out++, 0, 0, dc);
    pack(out++, 0, 0, to.dw_ih);
    pack(out++, 0, 0, to.dw_hh);
    pack(out++, 0, 0, to.db_ih);
    if (call->op == &plumb_op_gru_backward)
        pack(out++, 0, 0, to.db_hh);
    if (l.attr->peepholes)
        pack(out++, 0, 0, l.dpeepholes);
    if (l.attr->dx)
        pack(out, 0, 0, to.dx);
    return PLUMB_OK;
}

static void rnn_back(const layer *l, const place *w, double *dh, double *dc)
{
    (void)dc;
    for (int64_t j = 0; j < l->units; j++) {
        l->a[j] = l->p[j] = activated_backward(l->attr->activation, w->y[j], dh[j]);
        dh[j] = 0;
    }
}

static void gru_back(const layer *l, const place *w, double *dh, double *dc)
{
    const double *r = w->gates, *z = r + l->units, *n = z + l->units;
    (void)dc;
    for (int64_t j = 0, H = l->units; j < H; j++) {
        double dn = activated_backward(PLUMB_ACTIVATION_TANH, n[j], dh[j] * (1 - z[j]));
        l->a[2 * H + j] = dn;
        l->p[2 * H + j] = l->attr->reset_before ? dn : dn * r[j];
        l->a[j] = l->p[j] = activated_backward(PLUMB_ACTIVATION_SIGMOID, r[j], dn * w->saved[j]);
        l->a[H + j] = l->p[H + j] = activated_backward(PLUMB_ACTIVATION_SIGMOID, z[j], dh[j] * (w->h[j] - n[j]));
        dh[j] *= z[j];
    }
    for (int64_t j = 0, H = l->units; l->attr->reset_before && j < H; j++) {
        double dq = 0; /* of r h */
        for (int64_t k = 0; k < H; k++)
            dq += l->a[2 * H + k] * l->w_hh[(2 * H + k) * H + j];
        l->a[j] = l->p[j] = activated_backward(PLUMB_ACTIVATION_SIGMOID, r[j], dq * w->h[j]);
        dh[j] += dq * r[j];
    }
}

static void lstm_back(const layer *l, const place *w, double *dh, double *dc)
{
    const double *i = w->gates, *f = i + l->units, *g = f + l->units, *o = g + l->units;
    for (int64_t j = 0, H = l->units; j < H; j++) {
        double squashed = tanh(w->saved[j]);
        double d_o = activated_backward(PLUMB_ACTIVATION_SIGMOID, o[j], dh[j] * squashed);
        double d = dc[j] + activated_backward(PLUMB_ACTIVATION_TANH, squashed, dh[j] * o[j]) + peep(l, 2, j, d_o);
        l->a[j] = activated_backward(PLUMB_ACTIVATION_SIGMOID, i[j], d * g[j]);
        l->a[H + j] = activated_backward(PLUMB_ACTIVATION_SIGMOID, f[j], d * w->c[j]);
        l->a[2 * H + j] = activated_backward(PLUMB_ACTIVATION_TANH, g[j], d * i[j]);
        l->a[3 * H + j] = d_o;
        dc[j] = d * f[j] + peep(l, 0, j, l->a[j]) + peep(l, 1, j, l->a[H + j]);
        dh[j] = 0;
        l->dpeepholes[j] += l->a[j] * w->c[j];
        l->dpeepholes[H + j] += l->a[H + j] * w->c[j];
        l->dpeepholes[2 * H + j] += d_o * w->saved[j];
    }
    memcpy(l->p, l->a, sizeof(double) * (size_t)l->wide);
}

/* ---- rows ---- */

#define ROWS(kind, states, saved)                                                                                     \
    static plumb_status run_##kind(const plumb_call *call)                                                            \
    {                                                                                                                 \
        return forward(call, states, kind##_cell);                                                                    \
    }                                                                                                                 \
    static plumb_status run_##kind##_backward(const plumb_call *call)                                                 \
    {                                                                                                                 \
        return backward(call, states, saved, kind##_back);                                                            \
    }                                                                                                                 \
    const plumb_impl plumb_impl_##kind##_ref = {                                                                      \
        .op = &plumb_op_##kind,                                                                                       \
        .name = "cpu.ref",                                                                                            \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = workspace,                                                                                       \
        .run = run_##kind,                                                                                            \
    };                                                                                                                \
    const plumb_impl plumb_impl_##kind##_backward_ref = {                                                             \
        .op = &plumb_op_##kind##_backward,                                                                            \
        .name = "cpu.ref",                                                                                            \
        .dtypes = PLUMB_FLOATS,                                                                                       \
        .workspace = workspace,                                                                                       \
        .run = run_##kind##_backward,                                                                                 \
    };
ROWS(rnn, 1, 0)
ROWS(gru, 1, 2)
ROWS(lstm, 2, 2)
