/* The cells of recurrent layers (recurrent.h). Each gate is a loop of its own: the arrays lie in the first cache, and a loop
 * with one function in it keeps its constants in registers. */
#include "cpu/native/recurrent.h"
#include "cpu/native/functions.h"

/* to = function(to + product + bias) */
#define GATE(function, to, from)                                                                                      \
    do {                                                                                                              \
        float *gate = (to);                                                                                           \
        const float *part = w->product + (from), *shift = w->bias + (from);                                           \
        NATIVE_LOOP for (int64_t j = 0; j < H; j++) gate[j] = function(gate[j] + part[j] + shift[j]);                 \
    } while (0)

NATIVE_INLINE float native_relu(float x) { return x <= 0 ? 0 : x; }

NATIVE_INLINE void forward_rnn_tanh(const native_cell *w)
{
    const int64_t H = w->units;
    GATE(native_tanh, w->y, 0);
}

NATIVE_INLINE void forward_rnn_relu(const native_cell *w)
{
    const int64_t H = w->units;
    GATE(native_relu, w->y, 0);
}

NATIVE_INLINE void forward_gru(const native_cell *w)
{
    const int64_t H = w->units;
    const float *r = w->gates, *z = r + H, *h = w->h, *last = w->product + 2 * H, *bias = w->bias + 2 * H;
    float *n = w->gates + 2 * H, *q = w->saved, *y = w->y;
    GATE(native_sigmoid, w->gates, 0);
    GATE(native_sigmoid, w->gates + H, H);
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        float hidden = last[j] + bias[j], new = native_tanh(n[j] + r[j] * hidden);
        q[j] = hidden;
        n[j] = new;
        y[j] = (1 - z[j]) * new + z[j] * h[j];
    }
}

NATIVE_INLINE void forward_gru_gates(const native_cell *w)
{
    const int64_t H = w->units;
    const float *r = w->gates, *h = w->h;
    float *q = w->saved;
    GATE(native_sigmoid, w->gates, 0);
    GATE(native_sigmoid, w->gates + H, H);
    NATIVE_LOOP for (int64_t j = 0; j < H; j++) q[j] = r[j] * h[j];
}

NATIVE_INLINE void forward_gru_new(const native_cell *w)
{
    const int64_t H = w->units;
    const float *z = w->gates + H, *n = z + H, *h = w->h;
    float *y = w->y;
    GATE(native_tanh, w->gates + 2 * H, 0);
    NATIVE_LOOP for (int64_t j = 0; j < H; j++) y[j] = (1 - z[j]) * n[j] + z[j] * h[j];
}

/* to += peephole c */
NATIVE_INLINE void peep(float *to, const float *peephole, const float *c, int64_t H)
{
    NATIVE_LOOP for (int64_t j = 0; j < H; j++) to[j] += peephole[j] * c[j];
}

NATIVE_INLINE void forward_lstm(const native_cell *w)
{
    const int64_t H = w->units;
    const float *i = w->gates, *f = i + H, *g = f + H, *o = g + H, *before = w->c, *p = w->peepholes;
    float *c = w->saved, *y = w->y;
    if (p) {
        peep(w->gates, p, before, H);
        peep(w->gates + H, p + H, before, H);
    }
    GATE(native_sigmoid, w->gates, 0);
    GATE(native_sigmoid, w->gates + H, H);
    GATE(native_tanh, w->gates + 2 * H, 2 * H);
    NATIVE_LOOP for (int64_t j = 0; j < H; j++) c[j] = f[j] * before[j] + i[j] * g[j];
    if (p)
        peep(w->gates + 3 * H, p + 2 * H, c, H);
    GATE(native_sigmoid, w->gates + 3 * H, 3 * H);
    NATIVE_LOOP for (int64_t j = 0; j < H; j++) y[j] = o[j] * native_tanh(c[j]);
}

/* dh: all that reaches this step's h */
NATIVE_INLINE void gather(const native_cell_back *w)
{
    const float *product = w->product, *dy = w->dy;
    float *dh = w->dh;
    const int64_t H = w->units;
    if (dy) {
        NATIVE_LOOP for (int64_t j = 0; j < H; j++) dh[j] = dh[j] + product[j] + dy[j];
    } else {
        NATIVE_LOOP for (int64_t j = 0; j < H; j++) dh[j] = dh[j] + product[j];
    }
}

NATIVE_INLINE float past_tanh(float y, float dy) { return dy * ((1 - y) * (1 + y)); }
NATIVE_INLINE float past_sigmoid(float y, float dy) { return dy * y * (1 - y); }

NATIVE_INLINE void back_rnn_tanh(const native_cell_back *w)
{
    const float *y = w->y;
    float *dh = w->dh, *da = w->da, *db = w->db_ih;
    gather(w);
    NATIVE_LOOP
    for (int64_t j = 0; j < w->units; j++) {
        da[j] = past_tanh(y[j], dh[j]);
        db[j] += da[j];
        dh[j] = 0;
    }
}

NATIVE_INLINE void back_rnn_relu(const native_cell_back *w)
{
    const float *y = w->y;
    float *dh = w->dh, *da = w->da, *db = w->db_ih;
    gather(w);
    NATIVE_LOOP
    for (int64_t j = 0; j < w->units; j++) {
        da[j] = y[j] <= 0 ? 0 : dh[j];
        db[j] += da[j];
        dh[j] = 0;
    }
}

NATIVE_INLINE void back_gru(const native_cell_back *w)
{
    const int64_t H = w->units;
    const float *r = w->gates, *z = r + H, *n = z + H, *q = w->saved, *h = w->h;
    float *dh = w->dh, *dr = w->da, *dz = dr + H, *dn = dz + H, *pr = w->dp, *pz = pr + H, *pn = pz + H;
    gather(w);
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        float d_n = past_tanh(n[j], dh[j] * (1 - z[j])), d_z = past_sigmoid(z[j], dh[j] * (h[j] - n[j]));
        float d_r = past_sigmoid(r[j], d_n * q[j]);
        dr[j] = pr[j] = d_r;
        dz[j] = pz[j] = d_z;
        dn[j] = d_n;
        pn[j] = d_n * r[j];
        dh[j] *= z[j];
    }
    const float *da = w->da, *dp = w->dp;
    float *db_ih = w->db_ih, *db_hh = w->db_hh;
    NATIVE_LOOP
    for (int64_t j = 0; j < 3 * H; j++) {
        db_ih[j] += da[j];
        db_hh[j] += dp[j];
    }
}

NATIVE_INLINE void back_gru_new(const native_cell_back *w)
{
    const int64_t H = w->units;
    const float *z = w->gates + H, *n = z + H, *h = w->h;
    float *dh = w->dh, *dz = w->da + H, *dn = dz + H;
    gather(w);
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        dn[j] = past_tanh(n[j], dh[j] * (1 - z[j]));
        dz[j] = past_sigmoid(z[j], dh[j] * (h[j] - n[j]));
        dh[j] *= z[j];
    }
}

NATIVE_INLINE void back_gru_gates(const native_cell_back *w)
{
    const int64_t H = w->units;
    const float *r = w->gates, *h = w->h, *dq = w->product;
    float *dh = w->dh, *da = w->da, *db_ih = w->db_ih, *db_hh = w->db_hh;
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        da[j] = past_sigmoid(r[j], dq[j] * h[j]);
        dh[j] += dq[j] * r[j];
    }
    NATIVE_LOOP
    for (int64_t j = 0; j < 3 * H; j++) {
        db_ih[j] += da[j];
        db_hh[j] += da[j];
    }
}

/* What a gate that sees the cells adds to their gradient, and to its peephole's. */
NATIVE_INLINE void peep_back(const native_cell_back *w, const float *gate, int which, const float *c, float *dc)
{
    const int64_t H = w->units;
    const float *p = w->peepholes + which * H;
    float *dp = w->db_hh + which * H;
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        dc[j] += p[j] * gate[j];
        dp[j] += gate[j] * c[j];
    }
}

NATIVE_INLINE void back_lstm(const native_cell_back *w)
{
    const int64_t H = w->units;
    const float *i = w->gates, *f = i + H, *g = f + H, *o = g + H, *c = w->saved, *before = w->c, *d_h = w->dh;
    float *dc = w->dc, *di = w->da, *df = di + H, *dg = df + H, *d_o = dg + H, *dh = w->dh, *db = w->db_ih;
    gather(w);
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        float squashed = native_tanh(c[j]);
        dc[j] += past_tanh(squashed, d_h[j] * o[j]);
        d_o[j] = past_sigmoid(o[j], d_h[j] * squashed);
    }
    if (w->peepholes)
        peep_back(w, d_o, 2, c, dc);
    NATIVE_LOOP
    for (int64_t j = 0; j < H; j++) {
        float d = dc[j];
        di[j] = past_sigmoid(i[j], d * g[j]);
        df[j] = past_sigmoid(f[j], d * before[j]);
        dg[j] = past_tanh(g[j], d * i[j]);
        dc[j] = d * f[j];
        dh[j] = 0;
    }
    if (w->peepholes) {
        peep_back(w, di, 0, before, dc);
        peep_back(w, df, 1, before, dc);
    }
    NATIVE_LOOP
    for (int64_t j = 0; j < 4 * H; j++)
        db[j] += di[j];
}

#define EACH_ISA(isa, TARGET)                                                                                         \
    TARGET static void rnn_tanh_##isa(const native_cell *w) { forward_rnn_tanh(w); }                                  \
    TARGET static void rnn_relu_##isa(const native_cell *w) { forward_rnn_relu(w); }                                  \
    TARGET static void gru_##isa(const native_cell *w) { forward_gru(w); }                                            \
    TARGET static void lstm_##isa(const native_cell *w) { forward_lstm(w); }                                          \
    TARGET static void gru_gates_##isa(const native_cell *w) { forward_gru_gates(w); }                                \
    TARGET static void gru_new_##isa(const native_cell *w) { forward_gru_new(w); }                                    \
    TARGET static void gru_gates_back_##isa(const native_cell_back *w) { back_gru_gates(w); }                         \
    TARGET static void gru_new_back_##isa(const native_cell_back *w) { back_gru_new(w); }                             \
    TARGET static void rnn_tanh_back_##isa(const native_cell_back *w) { back_rnn_tanh(w); }                           \
    TARGET static void rnn_relu_back_##isa(const native_cell_back *w) { back_rnn_relu(w); }                           \
    TARGET static void gru_back_##isa(const native_cell_back *w) { back_gru(w); }                                     \
    TARGET static void lstm_back_##isa(const native_cell_back *w) { back_lstm(w); }
NATIVE_EACH_ISA(EACH_ISA)

native_forward *plumb_native_cell(enum native_cell_kind kind, int isa)
{
    native_forward *const cells[] = {NATIVE_PICK(rnn_tanh, isa), NATIVE_PICK(rnn_relu, isa), NATIVE_PICK(gru, isa),
                                     NATIVE_PICK(lstm, isa), NATIVE_PICK(gru_gates, isa), NATIVE_PICK(gru_new, isa)};
    return cells[kind];
}

native_back *plumb_native_cell_back(enum native_cell_kind kind, int isa)
{
    native_back *const cells[] = {NATIVE_PICK(rnn_tanh_back, isa), NATIVE_PICK(rnn_relu_back, isa),
                                  NATIVE_PICK(gru_back, isa), NATIVE_PICK(lstm_back, isa),
                                  NATIVE_PICK(gru_gates_back, isa), NATIVE_PICK(gru_new_back, isa)};
    return cells[kind];
}
