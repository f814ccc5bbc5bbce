/* The steps of recurrent ops written out as simple ops, of which derivatives of any order are known: what second
 * derivatives take. It is slow and needs memory for each step; the number of steps must be known. */
#include "op/recurrent.h"

typedef struct steps {
    plumb_graph *g;
    const plumb_attr_recurrent *attr;
    const recurrent_kind *kind;
    int64_t count, batch, units, features; /* batch: PLUMB_INFER where it is not known */
    plumb_t lengths, peepholes; /* (N, 1), (3H); PLUMB_NONE: there are none */
} steps;

/* ---- tensors of one step ---- */

/* Elements from..to of the axis of x. */
static plumb_t part(plumb_graph *g, plumb_t x, int axis, int64_t from, int64_t to)
{
    int64_t begin[3] = {0, 0, 0}, end[3] = {PLUMB_END, PLUMB_END, PLUMB_END};
    begin[axis] = from;
    end[axis] = to;
    return plumb_slice(g, x, begin, end, NULL);
}

/* (T, N, width) -> (N, width) */
static plumb_t at(const steps *s, plumb_t x, int64_t t, int64_t width)
{
    return plumb_reshape(s->g, part(s->g, x, 0, t, t + 1), PLUMB_SHAPE(s->batch, width));
}

/* (N, gates * H) -> gate k, (N, H) */
static plumb_t gate(const steps *s, plumb_t x, int k) { return part(s->g, x, 1, k * s->units, (k + 1) * s->units); }

static plumb_t zeros(const steps *s, plumb_t like, plumb_shape shape)
{
    return plumb_full(s->g, plumb_dtype_of(s->g, like), shape, 0);
}

/* T tensors (N, width) -> (T, N, width) */
static plumb_t stacked(const steps *s, plumb_t *each, int64_t width, plumb_t like)
{
    if (s->count == 0)
        return zeros(s, like, PLUMB_SHAPE(0, s->batch, width));
    for (int64_t t = 0; t < s->count; t++)
        each[t] = plumb_reshape(s->g, each[t], PLUMB_SHAPE(1, s->batch, width));
    return plumb_concat(s->g, each, (int)s->count, 0);
}

static plumb_t total(plumb_graph *g, plumb_t sum, plumb_t x) { return sum == PLUMB_NONE ? x : plumb_add(g, sum, x); }

static plumb_t minus_from_1(plumb_graph *g, plumb_t x) { return plumb_affine(g, x, -1, 1); }
/* x (1 - y^2) and x y (1 - y) */
static plumb_t past_tanh(plumb_graph *g, plumb_t x, plumb_t y) { return plumb_mul(g, x, minus_from_1(g, plumb_square(g, y))); }
static plumb_t past_sigmoid(plumb_graph *g, plumb_t x, plumb_t y)
{
    return plumb_mul(g, x, plumb_mul(g, y, minus_from_1(g, y)));
}

/* x where sequences have step t, `other` where they do not. */
static plumb_t here(const steps *s, int64_t t, plumb_t x, plumb_t other)
{
    if (s->lengths == PLUMB_NONE || x == PLUMB_NONE)
        return x;
    plumb_t is = plumb_less(s->g, plumb_full_like(s->g, s->lengths, (double)t), s->lengths);
    return plumb_where(s->g, is, x, other);
}

static plumb_t here_or_0(const steps *s, int64_t t, plumb_t x)
{
    return s->lengths == PLUMB_NONE || x == PLUMB_NONE ? x : here(s, t, x, plumb_full_like(s->g, x, 0));
}

static plumb_t product(const steps *s, plumb_t x, plumb_t w, plumb_t bias)
{
    plumb_t y = plumb_matmul(s->g, x, w, false, true);
    return bias == PLUMB_NONE ? y : plumb_add(s->g, y, bias);
}

/* ---- one step of each kind ---- */

/* a: x's part of the gates, p: h's, (N, gates * H); h and c before; the weights of h and their bias. Fills what is after,
 * and what is saved. */
typedef struct step_forward { plumb_t a, p, h, c, w, bias, gates, saved; } step_forward;
/* What was saved, h and c before, y, and dh, dc behind the step. Fills da, dp, what of dh went past the products, and dc
 * before. */
typedef struct step_back { plumb_t w, gates, saved, h, c, y, dh, dc, da, dp, past; } step_back;

static void forward_rnn(const steps *s, step_forward *f)
{
    plumb_t sum = plumb_add(s->g, f->a, f->p);
    f->h = s->attr->activation == PLUMB_ACTIVATION_RELU ? plumb_relu(s->g, sum) : plumb_tanh(s->g, sum);
}

static void back_rnn(const steps *s, step_back *b)
{
    b->da = b->dp = plumb_activation_gradient(s->g, s->attr->activation, b->y, b->dh);
}

static void forward_gru(const steps *s, step_forward *f)
{
    plumb_graph *g = s->g;
    plumb_t r = plumb_sigmoid(g, plumb_add(g, gate(s, f->a, 0), gate(s, f->p, 0)));
    plumb_t z = plumb_sigmoid(g, plumb_add(g, gate(s, f->a, 1), gate(s, f->p, 1)));
    plumb_t of_h;
    if (s->attr->reset_before) {
        f->saved = plumb_mul(g, r, f->h);
        of_h = product(s, f->saved, part(g, f->w, 0, 2 * s->units, 3 * s->units),
                       f->bias != PLUMB_NONE ? part(g, f->bias, 0, 2 * s->units, 3 * s->units) : PLUMB_NONE);
    } else {
        f->saved = gate(s, f->p, 2);
        of_h = plumb_mul(g, r, f->saved);
    }
    plumb_t n = plumb_tanh(g, plumb_add(g, gate(s, f->a, 2), of_h));
    f->h = plumb_add(g, n, plumb_mul(g, z, plumb_sub(g, f->h, n)));
    f->gates = plumb_concat(g, (const plumb_t[]){r, z, n}, 3, 1);
}

static void back_gru(const steps *s, step_back *b)
{
    plumb_graph *g = s->g;
    plumb_t r = gate(s, b->gates, 0), z = gate(s, b->gates, 1), n = gate(s, b->gates, 2);
    plumb_t dn = past_tanh(g, plumb_mul(g, b->dh, minus_from_1(g, z)), n);
    plumb_t dz = past_sigmoid(g, plumb_mul(g, b->dh, plumb_sub(g, b->h, n)), z);
    b->past = plumb_mul(g, b->dh, z);
    if (s->attr->reset_before) {
        plumb_t dq = plumb_matmul(g, dn, part(g, b->w, 0, 2 * s->units, 3 * s->units), false, false);
        plumb_t dr = past_sigmoid(g, plumb_mul(g, dq, b->h), r);
        b->da = b->dp = plumb_concat(g, (const plumb_t[]){dr, dz, dn}, 3, 1);
        b->past = plumb_add(g, b->past, plumb_mul(g, dq, r));
        return;
    }
    plumb_t dr = past_sigmoid(g, plumb_mul(g, dn, b->saved), r);
    b->da = plumb_concat(g, (const plumb_t[]){dr, dz, dn}, 3, 1);
    b->dp = plumb_concat(g, (const plumb_t[]){dr, dz, plumb_mul(g, dn, r)}, 3, 1);
}

/* sum + p_k c, of peephole k */
static plumb_t peep(const steps *s, int k, plumb_t sum, plumb_t c)
{
    if (s->peepholes == PLUMB_NONE)
        return sum;
    return plumb_add(s->g, sum, plumb_mul(s->g, part(s->g, s->peepholes, 0, k * s->units, (k + 1) * s->units), c));
}

static void forward_lstm(const steps *s, step_forward *f)
{
    plumb_graph *g = s->g;
    plumb_t sum = plumb_add(g, f->a, f->p);
    plumb_t i = plumb_sigmoid(g, peep(s, 0, gate(s, sum, 0), f->c));
    plumb_t forget = plumb_sigmoid(g, peep(s, 1, gate(s, sum, 1), f->c)), cell = plumb_tanh(g, gate(s, sum, 2));
    f->saved = f->c = plumb_add(g, plumb_mul(g, forget, f->c), plumb_mul(g, i, cell));
    plumb_t o = plumb_sigmoid(g, peep(s, 2, gate(s, sum, 3), f->c));
    f->h = plumb_mul(g, o, plumb_tanh(g, f->c));
    f->gates = plumb_concat(g, (const plumb_t[]){i, forget, cell, o}, 4, 1);
}

static void back_lstm(const steps *s, step_back *b)
{
    plumb_graph *g = s->g;
    plumb_t i = gate(s, b->gates, 0), forget = gate(s, b->gates, 1);
    plumb_t cell = gate(s, b->gates, 2), o = gate(s, b->gates, 3), squashed = plumb_tanh(g, b->saved);
    plumb_t d_o = past_sigmoid(g, plumb_mul(g, b->dh, squashed), o);
    plumb_t dc = peep(s, 2, total(g, b->dc, past_tanh(g, plumb_mul(g, b->dh, o), squashed)), d_o);
    const plumb_t d[] = {past_sigmoid(g, plumb_mul(g, dc, cell), i), past_sigmoid(g, plumb_mul(g, dc, b->c), forget),
                         past_tanh(g, plumb_mul(g, dc, i), cell), d_o};
    b->da = b->dp = plumb_concat(g, d, 4, 1);
    b->dc = peep(s, 1, peep(s, 0, plumb_mul(g, dc, forget), d[0]), d[1]);
}

static const struct {
    void (*forward)(const steps *s, step_forward *f);
    void (*back)(const steps *s, step_back *b);
} cells[] = {[1] = {forward_rnn, back_rnn}, [3] = {forward_gru, back_gru}, [4] = {forward_lstm, back_lstm}};

/* ---- whole sequences ---- */

/* The forward op's outputs from its inputs. `room`: 3 T ids. */
static void compose_forward(const steps *s, const plumb_t *in, int n_in, plumb_t *out, plumb_t *room)
{
    int states = s->kind->states;
    const plumb_t *w = in + 1 + states;
    int first = plumb_recurrent_first(s->attr, states);
    bool biased = n_in > first;
    plumb_t *y = room, *gates = y + s->count, *saved = gates + s->count;
    step_forward f = {.h = in[1], .c = states > 1 ? in[2] : PLUMB_NONE, .w = w[1]};
    f.bias = biased ? in[first + 1] : PLUMB_NONE;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t t = s->attr->reverse ? s->count - 1 - i : i;
        plumb_t h = f.h, c = f.c;
        f.a = product(s, at(s, in[0], t, s->features), w[0], biased ? in[first] : PLUMB_NONE);
        f.p = product(s, f.h, w[1], f.bias);
        cells[s->kind->gates].forward(s, &f);
        y[t] = here_or_0(s, t, f.h);
        gates[t] = here_or_0(s, t, f.gates);
        saved[t] = here_or_0(s, t, f.saved);
        f.h = here(s, t, f.h, h);
        f.c = here(s, t, f.c, c);
    }
    out[0] = stacked(s, y, s->units, in[0]);
    out[1] = f.h;
    if (states > 1)
        out[2] = f.c;
    if (s->kind->saved > 0) {
        out[1 + states] = stacked(s, gates, s->kind->gates * s->units, in[0]);
        out[2 + states] = stacked(s, saved, s->units, in[0]);
    }
}

/* Sums over the batch, and over the steps by adding up. */
static void add_weights(const steps *s, plumb_t x, const step_back *b, plumb_t *out)
{
    plumb_graph *g = s->g;
    plumb_t *dw = out + s->kind->states;
    dw[0] = total(g, dw[0], plumb_matmul(g, b->da, x, true, false));
    plumb_t of_h = plumb_matmul(g, b->dp, b->h, true, false);
    if (s->attr->reset_before) {
        plumb_t dn = part(g, b->dp, 1, 2 * s->units, 3 * s->units);
        of_h = plumb_concat(g, (const plumb_t[]){part(g, of_h, 0, 0, 2 * s->units), plumb_matmul(g, dn, b->saved, true, false)},
                            2, 0);
    }
    dw[1] = total(g, dw[1], of_h);
    dw[2] = total(g, dw[2], plumb_sum(g, b->da, PLUMB_AXES(0), false));
    if (s->kind->bias_gradients > 1)
        dw[3] = total(g, dw[3], plumb_sum(g, b->dp, PLUMB_AXES(0), false));
    if (s->peepholes != PLUMB_NONE) {
        const plumb_t d[] = {plumb_mul(g, gate(s, b->da, 0), b->c), plumb_mul(g, gate(s, b->da, 1), b->c),
                             plumb_mul(g, gate(s, b->da, 3), b->saved)};
        dw[3] = total(g, dw[3], plumb_sum(g, plumb_concat(g, d, 3, 1), PLUMB_AXES(0), false));
    }
}

/* The gradient of h before, from that of h's products and what went past them. */
static plumb_t past_products(const steps *s, const step_back *b)
{
    plumb_t d = b->dp, w = b->w;
    if (s->attr->reset_before) {
        d = part(s->g, d, 1, 0, 2 * s->units);
        w = part(s->g, w, 0, 0, 2 * s->units);
    }
    return total(s->g, b->past, plumb_matmul(s->g, d, w, false, false));
}

/* The backward op's outputs from its inputs. `room`: T ids. */
static void compose_backward(const steps *s, const plumb_t *in, plumb_t *out, plumb_t *room)
{
    plumb_graph *g = s->g;
    int states = s->kind->states, saved = s->kind->saved, first = plumb_recurrent_first(s->attr, states);
    int next = first + 1 + saved, sums = 2 + s->kind->bias_gradients + (s->attr->peepholes != 0);
    int64_t wide = s->kind->gates * s->units;
    const plumb_t *w = in + 1 + states, y = in[first];
    plumb_t dy = s->attr->given & 1 ? in[next++] : PLUMB_NONE, dh = s->attr->given & 2 ? in[next++] : PLUMB_NONE;
    step_back b = {.w = w[1], .dc = s->attr->given & 4 ? in[next] : PLUMB_NONE};
    for (int k = 0; k < sums && s->count == 0; k++)
        out[states + k] = k < 2                             ? plumb_full_like(g, w[k], 0)
                          : k < 2 + s->kind->bias_gradients ? zeros(s, y, PLUMB_SHAPE(wide))
                                                            : plumb_full_like(g, s->peepholes, 0);
    for (int64_t i = s->count - 1; i >= 0; i--) {
        int64_t t = s->attr->reverse ? s->count - 1 - i : i, before = s->attr->reverse ? t + 1 : t - 1;
        b.y = at(s, y, t, s->units);
        b.h = i > 0 ? here(s, before, at(s, y, before, s->units), in[1]) : in[1];
        if (saved > 0) {
            b.gates = at(s, in[first + 1], t, wide);
            b.saved = at(s, in[first + 2], t, s->units);
        }
        if (states > 1)
            b.c = i > 0 ? here(s, before, at(s, in[first + 2], before, s->units), in[2]) : in[2];
        dh = dh != PLUMB_NONE ? dh : plumb_full_like(g, in[1], 0);
        plumb_t dc = b.dc != PLUMB_NONE || states < 2 ? b.dc : plumb_full_like(g, in[2], 0);
        b.dh = dy != PLUMB_NONE ? plumb_add(g, dh, at(s, dy, t, s->units)) : dh;
        b.past = PLUMB_NONE;
        cells[s->kind->gates].back(s, &b);
        b.da = here_or_0(s, t, b.da);
        b.dp = here_or_0(s, t, b.dp);
        b.dc = here(s, t, b.dc, dc);
        add_weights(s, at(s, in[0], t, s->features), &b, out);
        room[t] = plumb_matmul(g, b.da, w[0], false, false);
        dh = here(s, t, past_products(s, &b), dh);
    }
    out[0] = dh != PLUMB_NONE ? dh : plumb_full_like(g, in[1], 0);
    if (states > 1)
        out[1] = b.dc != PLUMB_NONE ? b.dc : plumb_full_like(g, in[2], 0);
    if (s->attr->dx)
        out[states + sums] = stacked(s, room, s->features, in[0]);
}

/* ---- gradient rules ---- */

/* A tensor equal to x, at which the derivative can be taken without the paths on which x reaches the others. */
static plumb_t fresh(plumb_graph *g, plumb_t x)
{
    plumb_attr_shape attr;
    memset(&attr, 0, sizeof attr);
    attr.shape.rank = -1;
    return plumb_emit(g, &plumb_op_reshape, &attr, (const plumb_t[]){x, x}, 2);
}

static plumb_status through(plumb_grad *q, const recurrent_kind *kind, bool backward)
{
    enum { MOST = 16 };
    plumb_graph *g = q->graph;
    plumb_context *context = plumb_graph_context(g);
    plumb_shape x = plumb_shape_of(g, q->in[0]), h = plumb_shape_of(g, q->in[1]);
    bool known = x.dim[1] >= 0 || plumb_is_symbol(x.dim[1]);
    steps s = {.g = g, .attr = q->attr, .kind = kind, .count = x.dim[0], .batch = known ? x.dim[1] : PLUMB_INFER,
               .units = h.dim[1], .features = x.dim[2]};
    plumb_t in[MOST], out[MOST] = {0}, y[MOST], dy[MOST], wrt[MOST], d[MOST];
    int n_y = 0, n_wrt = 0, from[MOST], lengths = s.attr->lengths ? plumb_recurrent_first(s.attr, kind->states) - 1 : -1;
    if (s.count < 0 || s.units < 0 || s.features < 0) {
        char text[160];
        plumb_poison(g, "%s '%s': a derivative of its derivative needs a known number of steps, units and features; x is %s",
                     q->op->name, q->name, plumb_shape_text(&x, text, sizeof text));
        return PLUMB_BAD_INPUT;
    }
    plumb_t *room = plumb_zalloc(context, sizeof *room * (3 * (size_t)s.count + 1));
    if (!room)
        return PLUMB_FAILED;
    for (int i = 0; i < q->n_in; i++)
        in[i] = i == lengths ? q->in[i] : fresh(g, q->in[i]);
    s.lengths = lengths > 0 ? plumb_reshape(g, in[lengths], PLUMB_SHAPE(s.batch, 1)) : PLUMB_NONE;
    s.peepholes = s.attr->peepholes ? in[kind->states + 3] : PLUMB_NONE;
    if (backward)
        compose_backward(&s, in, out, room);
    else
        compose_forward(&s, in, q->n_in, out, room);
    plumb_free(context, room);
    for (int i = 0; i < q->n_out; i++)
        if (q->dout[i] != PLUMB_NONE) {
            y[n_y] = out[i];
            dy[n_y++] = q->dout[i];
        }
    for (int i = 0; i < q->n_in; i++)
        if (i == lengths) {
            q->din[i] = PLUMB_NO_GRADIENT;
        } else if (q->want[i]) {
            from[n_wrt] = i;
            wrt[n_wrt++] = in[i];
        }
    plumb_status status = plumb_gradients_from(g, y, dy, n_y, wrt, n_wrt, d);
    for (int i = 0; i < n_wrt; i++)
        q->din[from[i]] = d[i];
    return status;
}

plumb_status recurrent_gradient_by_steps(plumb_grad *q, const recurrent_kind *kind) { return through(q, kind, false); }
plumb_status recurrent_second_by_steps(plumb_grad *q, const recurrent_kind *kind) { return through(q, kind, true); }
