/* Recurrent layers over a sequence, f32.
 *
 * x's products are one matrix product over the whole sequence, and so are the weights' gradients and dx; what is left to the
 * steps is the product with w_hh (or two, where a gru's reset gate comes between). That matrix is packed once for a call, and
 * the batch is cut into chunks of a few examples: a thread takes a chunk through all the steps, w_hh staying in its second
 * cache, and never waits for another. The cut depends on shapes alone; sums over chunks (the biases' gradients) are taken in
 * the chunks' order. Examples that have fewer steps are masked, not left out. */
#include "cpu/native/gemm.h"
#include "cpu/native/recurrent.h"
#include "op/attr.h"

extern const plumb_impl plumb_impl_matmul_native;

enum {
    CACHED = 1 << 17, /* elements of w_hh that stay in the second cache: then a chunk is one strip of examples, */
    FEW_CHUNKS = 4    /* and else, w_hh being read once for each chunk and step, there are only so many */
};

typedef struct sequence {
    const plumb_call *call;
    const plumb_attr_recurrent *attr;
    int gates, states;
    enum native_cell_kind kind;
    int64_t steps, batch, features, units, wide;
    int64_t chunk, chunks; /* examples of a chunk */
    native_panels b[2];                      /* all of w_hh; or that of gates r and z, and that of n */
    int64_t *lengths;                   /* NULL: there are none */
    float *peepholes, *h0, *c0, *bias;  /* packed; but for peepholes forward only */
    float *y, *gates_at, *saved;        /* forward; gates_at: x's products first; y where there are no gates */
    const plumb_view *y_in, *gates_in, *saved_in, *dy, *dh, *dc; /* backward; NULL: there is none */
    float *da, *dp, *before, *x, *q, *db; /* backward: (T, N, wide) twice, h before each step, x and `saved` where they must be
                                             packed, sums of each chunk */
    char *work;                         /* each worker's */
    size_t work_bytes, strips_bytes, product_bytes;
    void *product_work;
} sequence;

/* ---- the workspace: sizes first, pointers where there is one ---- */

typedef struct arena { char *base; size_t used; } arena;

static void *take(arena *a, size_t bytes)
{
    void *taken = a->base ? a->base + a->used : NULL;
    a->used += bytes;
    return taken;
}

static float *floats(arena *a, int64_t count) { return take(a, plumb_lines(count, sizeof(float))); }

/* ---- the product with w_hh ---- */

static void lay_out_panels(sequence *s, arena *a, native_panels *b, int64_t depth, int64_t columns)
{
    size_t bytes = plumb_panels_plan(b, s->call->isa, s->batch, depth, columns);
    plumb_panels_place(b, take(a, bytes));
}

/* w_hh, by rows (of gates) or by columns. */
static void lay_out_weights(sequence *s, arena *a, bool backward)
{
    int64_t H = s->units, all = s->attr->reset_before ? 2 * H : s->wide;
    lay_out_panels(s, a, &s->b[0], backward ? all : H, backward ? H : all);
    if (s->attr->reset_before)
        lay_out_panels(s, a, &s->b[1], H, H);
    int64_t height = s->b[0].height, strips = plumb_parts(s->batch, height);
    s->chunk = height * (H * s->wide <= CACHED ? 1 : plumb_parts(strips, FEW_CHUNKS));
    s->chunks = plumb_parts(s->batch, s->chunk);
}

/* Gates are w_hh's rows, and its columns on the way back. */
static void pack_weights(sequence *s, bool backward)
{
    const plumb_view *w = &s->call->in[s->states + 2];
    int64_t gate = w->stride[0], unit = w->stride[1];
    for (int i = 0; i < (s->attr->reset_before ? 2 : 1); i++)
        plumb_panels_pack(&s->b[i], s->call->pool, (const float *)w->data + i * 2 * s->units * gate, backward ? gate : unit,
                          backward ? unit : gate);
}

/* ---- products over the whole sequence ---- */

static plumb_view matrix(float *data, int64_t rows, int64_t columns)
{
    plumb_view view = {.data = data, .dtype = PLUMB_F32, .rank = 2, .dim = {rows, columns}};
    plumb_view_pack(&view);
    return view;
}

/* c = a b (+ bias); grows product_bytes to what that takes, and computes it where there is memory. */
static plumb_status product(sequence *s, const plumb_view *a, const plumb_view *b, const plumb_view *bias, plumb_view c,
                            bool transpose_a, bool transpose_b)
{
    plumb_view in[3] = {*a, *b};
    plumb_attr_matmul attr;
    memset(&attr, 0, sizeof attr);
    attr.transpose_a = transpose_a;
    attr.transpose_b = transpose_b;
    if (bias)
        in[2] = *bias;
    plumb_call call = *s->call;
    call.op = &plumb_op_matmul;
    call.attr = &attr;
    call.n_in = bias ? 3 : 2, call.n_out = 1;
    call.in = in, call.out = &c;
    call.workspace = s->product_work;
    size_t bytes = plumb_impl_matmul_native.workspace(&call);
    s->product_bytes = bytes > s->product_bytes ? bytes : s->product_bytes;
    return s->product_work ? plumb_impl_matmul_native.run(&call) : PLUMB_OK;
}

/* ---- rows of operands ---- */

/* count elements at (t, n) of a view (T, N, count); n alone of (N, count) */
static const float *source(const plumb_view *view, int64_t t, int64_t n)
{
    int64_t at = view->rank == 3 ? t * view->stride[0] + n * view->stride[1] : n * view->stride[0];
    return (const float *)view->data + at;
}

static void copy_row(float *to, const plumb_view *view, int64_t t, int64_t n)
{
    const float *from = source(view, t, n);
    int64_t count = view->dim[view->rank - 1], step = view->stride[view->rank - 1];
    if (step == 1)
        memcpy(to, from, sizeof(float) * (size_t)count);
    else
        for (int64_t j = 0; j < count; j++)
            to[j] = from[j * step];
}

/* The same where it lies, or copied to `to`. */
static const float *row(const plumb_view *view, int64_t t, int64_t n, float *to)
{
    if (view->stride[view->rank - 1] == 1)
        return source(view, t, n);
    copy_row(to, view, t, n);
    return to;
}

static int64_t step_at(const sequence *s, int64_t i) { return s->attr->reverse ? s->steps - 1 - i : i; }

/* ---- both ways ---- */

static void begin(const plumb_call *call, sequence *s)
{
    const plumb_view *x = &call->in[0];
    memset(s, 0, sizeof *s);
    s->call = call;
    s->attr = call->attr;
    s->steps = x->dim[0], s->batch = x->dim[1], s->features = x->dim[2], s->units = call->in[1].dim[1];
    bool lstm = call->op == &plumb_op_lstm || call->op == &plumb_op_lstm_backward;
    bool gru = call->op == &plumb_op_gru || call->op == &plumb_op_gru_backward;
    s->states = lstm ? 2 : 1;
    s->gates = lstm ? 4 : gru ? 3 : 1;
    s->wide = s->gates * s->units;
    bool relu = s->attr->activation == PLUMB_ACTIVATION_RELU;
    s->kind = lstm ? NATIVE_LSTM : gru ? NATIVE_GRU : relu ? NATIVE_RNN_RELU : NATIVE_RNN_TANH;
}

/* What comes behind states, weights, peepholes and lengths. */
static const plumb_view *rest(const sequence *s) { return s->call->in + plumb_recurrent_first(s->attr, s->states); }

static void lay_out_options(sequence *s, arena *a)
{
    s->lengths = s->attr->lengths ? take(a, plumb_lines(s->batch, sizeof(int64_t))) : NULL;
    s->peepholes = s->attr->peepholes ? floats(a, 3 * s->units) : NULL;
}

/* Packs them; a length that cannot be is an error. */
static plumb_status take_options(const sequence *s)
{
    const plumb_view *lengths = rest(s) - 1, *peepholes = &s->call->in[s->states + 3];
    for (int64_t j = 0; s->peepholes && j < 3 * s->units; j++)
        s->peepholes[j] = ((const float *)peepholes->data)[j * peepholes->stride[0]];
    for (int64_t n = 0; s->lengths && n < s->batch; n++) {
        int64_t at = n * lengths->stride[0];
        int64_t length = lengths->dtype == PLUMB_I32 ? ((const int32_t *)lengths->data)[at] : ((const int64_t *)lengths->data)[at];
        if (length < 0 || length > s->steps)
            return plumb_call_fail(s->call, PLUMB_BAD_INPUT, "length %lld at %lld is outside [0, %lld)", (long long)length,
                                   (long long)n, (long long)s->steps + 1);
        s->lengths[n] = length;
    }
    return PLUMB_OK;
}

static bool is_there(const sequence *s, int64_t t, int64_t n) { return !s->lengths || t < s->lengths[n]; }

enum { SPARES = 4 }; /* rows of H; gates take as many more as they are */

/* Strips of a chunk's examples, the product's result (in front the other one's), and spare rows. */
static void lay_out_work(sequence *s, arena *a)
{
    s->strips_bytes = plumb_lines(s->chunk * s->b[0].depth, sizeof(float)) + plumb_lines(s->chunk * s->b[1].padded, sizeof(float));
    s->work_bytes = s->strips_bytes + plumb_lines(s->chunk * s->b[0].padded, sizeof(float)) +
                    plumb_lines(SPARES * s->units + s->wide, sizeof(float));
    s->work = take(a, s->work_bytes * (size_t)plumb_pool_size(s->call->pool));
}

static float *second_product(const sequence *s, float *strips)
{
    return (float *)(void *)((char *)strips + plumb_lines(s->chunk * s->b[0].depth, sizeof(float)));
}

/* ---- forward ---- */

static void plan_forward(const plumb_call *call, sequence *s, arena *a)
{
    const plumb_view *out = call->out;
    begin(call, s);
    lay_out_weights(s, a, false);
    lay_out_options(s, a);
    s->h0 = floats(a, s->batch * s->units);
    s->c0 = s->states > 1 ? floats(a, s->batch * s->units) : NULL;
    s->bias = floats(a, s->wide);
    lay_out_work(s, a);
    s->y = out[0].data;
    s->gates_at = s->gates > 1 ? out[s->states + 1].data : s->y;
    s->saved = s->gates > 1 ? out[s->states + 2].data : NULL;
    s->product_work = take(a, 0);
}

/* x's products with b_ih, where gates or y are to be. */
static plumb_status multiply_x(sequence *s)
{
    const plumb_view *w = s->call->in + s->states + 1, *biases = rest(s);
    plumb_view to = {.data = s->gates_at, .dtype = PLUMB_F32, .rank = 3, .dim = {s->steps, s->batch, s->wide}};
    plumb_view_pack(&to);
    return product(s, &s->call->in[0], w, s->call->n_in > biases - s->call->in ? biases : NULL, to, false, true);
}

/* A chunk's step between products: cells of those examples that have it, zeros for the others. */
static void forward_rows(const sequence *s, native_cell w, enum native_cell_kind kind, int64_t t, int64_t first, int64_t rows,
                         int64_t padded)
{
    native_forward *cell = plumb_native_cell(kind, s->call->isa);
    const int64_t H = s->units;
    int64_t at = t * s->batch + first;
    const native_cell of_first = w;
    for (int64_t r = 0; r < rows; r++, at++) {
        w.product = of_first.product + r * padded;
        w.h = of_first.h + r * H;
        w.c = of_first.c ? of_first.c + r * H : NULL;
        w.y = s->y + at * H;
        w.gates = s->gates_at + at * s->wide;
        w.saved = s->saved ? s->saved + at * H : NULL;
        if (is_there(s, t, first + r)) {
            cell(&w);
            continue;
        }
        memset(w.y, 0, sizeof(float) * (size_t)H);
        memset(w.gates, 0, sizeof(float) * (size_t)s->wide);
        if (w.saved)
            memset(w.saved, 0, sizeof(float) * (size_t)H);
    }
}

/* Of examples with lengths of their own the states lie in hT and cT all the way. */
static void keep_states(const sequence *s, int64_t t, int64_t first, int64_t rows)
{
    const int64_t H = s->units;
    for (int64_t n = first; n < first + rows; n++)
        if (is_there(s, t, n))
            for (int k = 0; k < s->states; k++)
                memcpy((float *)s->call->out[1 + k].data + n * H, (k ? s->saved : s->y) + (t * s->batch + n) * H,
                       sizeof(float) * (size_t)H);
}

static void forward_chunk(void *user, int64_t chunk, int worker)
{
    const sequence *s = user;
    const int64_t first = chunk * s->chunk, rows = plumb_least(s->chunk, s->batch - first), H = s->units;
    const size_t bytes = sizeof(float) * (size_t)(rows * H);
    float *strips = (float *)(void *)(s->work + s->work_bytes * (size_t)worker);
    float *to = (float *)(void *)((char *)strips + s->strips_bytes), *to_new = second_product(s, strips);
    float *end[] = {(float *)s->call->out[1].data + first * H, s->c0 ? (float *)s->call->out[2].data + first * H : NULL};
    const float *h = s->h0 + first * H, *c = s->c0 ? s->c0 + first * H : NULL;
    if (s->lengths) {
        h = memcpy(end[0], h, bytes);
        c = c ? memcpy(end[1], c, bytes) : NULL;
    }
    for (int64_t i = 0; i < s->steps; i++) {
        int64_t t = step_at(s, i), at = t * s->batch + first;
        native_cell w = {.product = to, .bias = s->bias, .h = h, .c = c, .peepholes = s->peepholes, .units = H};
        plumb_panels_multiply(&s->b[0], h, H, rows, strips, to);
        forward_rows(s, w, s->attr->reset_before ? NATIVE_GRU_GATES : s->kind, t, first, rows, s->b[0].padded);
        if (s->attr->reset_before) {
            plumb_panels_multiply(&s->b[1], s->saved + at * H, H, rows, strips, to_new);
            w.product = to_new, w.bias += 2 * H;
            forward_rows(s, w, NATIVE_GRU_NEW, t, first, rows, s->b[1].padded);
        }
        if (s->lengths) {
            keep_states(s, t, first, rows);
        } else {
            h = s->y + at * H;
            c = c ? s->saved + at * H : NULL;
        }
    }
    if (!s->lengths) {
        memcpy(end[0], h, bytes);
        if (c)
            memcpy(end[1], c, bytes);
    }
}

static plumb_status run_forward(const plumb_call *call)
{
    sequence s;
    arena a = {.base = call->workspace};
    plan_forward(call, &s, &a);
    const plumb_view *biases = rest(&s);
    plumb_status status = take_options(&s);
    if (status == PLUMB_OK)
        status = multiply_x(&s);
    if (status != PLUMB_OK)
        return status;
    pack_weights(&s, false);
    for (int64_t n = 0; n < s.batch; n++) {
        copy_row(s.h0 + n * s.units, &call->in[1], 0, n);
        if (s.c0)
            copy_row(s.c0 + n * s.units, &call->in[2], 0, n);
    }
    for (int64_t j = 0; j < s.wide; j++)
        s.bias[j] = call->n_in > biases - call->in ? ((const float *)biases[1].data)[j * biases[1].stride[0]] : 0;
    plumb_pool_run(call->pool, s.chunks, forward_chunk, &s);
    return PLUMB_OK;
}

static size_t workspace_forward(const plumb_call *call)
{
    sequence s;
    arena a = {0};
    plan_forward(call, &s, &a);
    multiply_x(&s);
    return a.used + s.product_bytes;
}

/* ---- backward ---- */

/* (T, N, I) as (T N, I), where steps follow each other as examples do. */
static bool is_matrix(const plumb_view *x)
{
    return x->dim[0] == 1 || x->dim[1] == 1 || x->stride[0] == x->dim[1] * x->stride[1];
}

/* Behind lengths may be anything, and the sums take zeros. */
static bool copies_x(const sequence *s) { return s->attr->lengths || !is_matrix(&s->call->in[0]); }
static bool copies_q(const sequence *s) { return s->attr->reset_before && (s->attr->lengths || !is_matrix(s->saved_in)); }

static void plan_backward(const plumb_call *call, sequence *s, arena *a)
{
    begin(call, s);
    int64_t all = call->in[0].dim[0] * s->batch;
    const plumb_view *in = rest(s);
    s->y_in = in++;
    s->gates_in = s->gates > 1 ? in++ : NULL;
    s->saved_in = s->gates > 1 ? in++ : NULL;
    s->dy = s->attr->given & 1 ? in++ : NULL;
    s->dh = s->attr->given & 2 ? in++ : NULL;
    s->dc = s->attr->given & 4 ? in : NULL;
    lay_out_weights(s, a, true);
    lay_out_options(s, a);
    s->da = floats(a, all * s->wide);
    s->dp = s->kind == NATIVE_GRU && !s->attr->reset_before ? floats(a, all * s->wide) : s->da;
    s->before = floats(a, all * s->units);
    s->x = copies_x(s) ? floats(a, all * s->features) : NULL;
    s->q = copies_q(s) ? floats(a, all * s->units) : NULL;
    s->db = floats(a, 2 * s->chunks * s->wide);
    lay_out_work(s, a);
    s->product_work = take(a, 0);
}

/* (T, N, ..) with the batch's steps below each other, where it lies or in its packed copy. */
static plumb_view as_matrix(const sequence *s, const plumb_view *x, bool copied, float *copy)
{
    plumb_view rows = matrix(copy, s->steps * s->batch, x->dim[2]);
    if (!copied) {
        rows.data = x->data;
        rows.stride[0] = s->batch > 1 ? x->stride[1] : x->stride[0];
        rows.stride[1] = x->stride[2];
    }
    return rows;
}

static plumb_view part(plumb_view view, int axis, int64_t first, int64_t count)
{
    if (view.data) /* none while sizes are asked */
        view.data = (float *)view.data + first * view.stride[axis];
    view.dim[axis] = count;
    return view;
}

/* dw_hh; where a gru's r comes before the product, n's part of it has a factor of its own. */
static plumb_status sums_of_h(sequence *s, const plumb_view *to)
{
    int64_t all = s->steps * s->batch, H = s->units;
    plumb_view dp = matrix(s->dp, all, s->wide), h = matrix(s->before, all, H);
    if (!s->attr->reset_before)
        return product(s, &dp, &h, NULL, *to, true, false);
    plumb_view q = as_matrix(s, s->saved_in, copies_q(s), s->q), gates = part(dp, 1, 0, 2 * H), n = part(dp, 1, 2 * H, H);
    plumb_status status = product(s, &gates, &h, NULL, part(*to, 0, 0, 2 * H), true, false);
    return status == PLUMB_OK ? product(s, &n, &q, NULL, part(*to, 0, 2 * H, H), true, false) : status;
}

/* What needs all steps: dw_ih, dw_hh, dx. */
static plumb_status sums(sequence *s)
{
    const plumb_view *x = &s->call->in[0], *w = s->call->in + s->states + 1, *out = s->call->out + s->states;
    int64_t all = s->steps * s->batch;
    plumb_view da = matrix(s->da, all, s->wide), rows = as_matrix(s, x, copies_x(s), s->x);
    plumb_status status = product(s, &da, &rows, NULL, out[0], true, false);
    if (status == PLUMB_OK)
        status = sums_of_h(s, &out[1]);
    if (status == PLUMB_OK && s->attr->dx)
        status = product(s, &da, w, NULL, matrix(s->call->out[s->call->n_out - 1].data, all, s->features), false, false);
    return status;
}

/* Does example n have the step before the i-th? */
static bool goes_on(const sequence *s, int64_t i, int64_t n) { return i > 0 && is_there(s, step_at(s, i - 1), n); }

static void copy_or_clear(float *to, const plumb_view *view, int64_t t, int64_t n, bool copies)
{
    if (copies)
        copy_row(to, view, t, n);
    else
        memset(to, 0, sizeof(float) * (size_t)view->dim[view->rank - 1]);
}

/* A step's rows of the examples that do not have it become zeros: it was 0 that a product multiplied, but NaN may come of it. */
static void clear_missing(const sequence *s, int64_t t, int64_t first, int64_t rows, float *data, int64_t columns)
{
    for (int64_t r = 0; s->lengths && r < rows; r++)
        if (!is_there(s, t, first + r))
            memset(data + r * columns, 0, sizeof(float) * (size_t)columns);
}

/* The chunk's rows of what the sums take, and of the gradients that come from behind. */
static void begin_chunk(const sequence *s, int64_t first, int64_t rows)
{
    const plumb_call *call = s->call;
    const int64_t H = s->units;
    for (int64_t n = first; n < first + rows; n++) {
        float *dh = (float *)call->out[0].data + n * H, *dc = s->states > 1 ? (float *)call->out[1].data + n * H : NULL;
        memset(dh, 0, sizeof(float) * (size_t)H);
        if (s->dh)
            copy_row(dh, s->dh, 0, n);
        if (dc)
            memset(dc, 0, sizeof(float) * (size_t)H);
        if (s->dc)
            copy_row(dc, s->dc, 0, n);
    }
    for (int64_t i = 0; i < s->steps; i++)
        for (int64_t n = first, t = step_at(s, i); n < first + rows; n++) {
            int64_t at = t * s->batch + n;
            if (goes_on(s, i, n))
                copy_or_clear(s->before + at * H, s->y_in, step_at(s, i - 1), n, is_there(s, t, n));
            else
                copy_or_clear(s->before + at * H, &call->in[1], 0, n, is_there(s, t, n));
            if (s->x)
                copy_or_clear(s->x + at * s->features, &call->in[0], t, n, is_there(s, t, n));
            if (s->q)
                copy_or_clear(s->q + at * H, s->saved_in, t, n, is_there(s, t, n));
        }
}

/* A chunk's step between products; what comes from behind an example's steps passes. */
static void backward_rows(const sequence *s, native_cell_back w, enum native_cell_kind kind, int64_t i, int64_t first,
                          int64_t rows, int64_t padded, float *spare)
{
    native_back *cell = plumb_native_cell_back(kind, s->call->isa);
    const int64_t H = s->units, t = step_at(s, i);
    int64_t at = t * s->batch + first;
    const native_cell_back of_first = w;
    for (int64_t n = first; n < first + rows; n++, at++) {
        w.product = of_first.product + (n - first) * padded;
        w.dh = of_first.dh + (n - first) * H;
        w.dc = of_first.dc ? of_first.dc + (n - first) * H : NULL;
        w.da = s->da + at * s->wide, w.dp = s->dp + at * s->wide;
        if (!is_there(s, t, n)) {
            for (int64_t j = 0; kind != NATIVE_GRU_GATES && j < H; j++)
                w.dh[j] += w.product[j];
            memset(w.da, 0, sizeof(float) * (size_t)s->wide);
            memset(w.dp, 0, sizeof(float) * (size_t)s->wide);
            continue;
        }
        w.dy = s->dy ? row(s->dy, t, n, spare) : NULL;
        w.y = row(s->y_in, t, n, spare + H);
        w.saved = s->saved_in ? row(s->saved_in, t, n, spare + 2 * H) : NULL;
        if (s->states > 1)
            w.c = goes_on(s, i, n) ? row(s->saved_in, step_at(s, i - 1), n, spare + 3 * H)
                                   : row(&s->call->in[2], 0, n, spare + 3 * H);
        w.gates = s->gates_in ? row(s->gates_in, t, n, spare + SPARES * H) : NULL;
        w.h = s->before + at * H;
        cell(&w);
    }
}

static void backward_chunk(void *user, int64_t chunk, int worker)
{
    const sequence *s = user;
    const int64_t first = chunk * s->chunk, rows = plumb_least(s->chunk, s->batch - first), H = s->units;
    float *strips = (float *)(void *)(s->work + s->work_bytes * (size_t)worker);
    float *product = (float *)(void *)((char *)strips + s->strips_bytes), *spare = product + s->chunk * s->b[0].padded;
    float *of_q = second_product(s, strips);
    float *dh = (float *)s->call->out[0].data + first * H, *dc = s->states > 1 ? (float *)s->call->out[1].data + first * H : NULL;
    native_cell_back w = {.units = H, .product = product, .dh = dh, .dc = dc, .peepholes = s->peepholes,
                          .db_ih = s->db + 2 * chunk * s->wide, .db_hh = s->db + (2 * chunk + 1) * s->wide};
    begin_chunk(s, first, rows);
    memset(w.db_ih, 0, sizeof(float) * (size_t)(2 * s->wide));
    memset(product, 0, sizeof(float) * (size_t)(rows * s->b[0].padded));
    for (int64_t i = s->steps - 1; i >= 0; i--) {
        const float *dp = s->dp + (step_at(s, i) * s->batch + first) * s->wide;
        backward_rows(s, w, s->attr->reset_before ? NATIVE_GRU_NEW : s->kind, i, first, rows, s->b[0].padded, spare);
        if (s->attr->reset_before) {
            native_cell_back gates = w;
            gates.product = of_q;
            plumb_panels_multiply(&s->b[1], dp + 2 * H, s->wide, rows, strips, of_q);
            backward_rows(s, gates, NATIVE_GRU_GATES, i, first, rows, s->b[1].padded, spare);
        }
        plumb_panels_multiply(&s->b[0], dp, s->wide, rows, strips, product);
        clear_missing(s, step_at(s, i), first, rows, product, s->b[0].padded);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < H; j++)
            dh[r * H + j] += product[r * s->b[0].padded + j];
}

/* The chunks' sums into the gradients of biases and peepholes. */
static void add_biases(const sequence *s)
{
    for (int which = 0; which < (s->kind == NATIVE_GRU || s->peepholes ? 2 : 1); which++) {
        float *db = s->call->out[s->states + 2 + which].data;
        int64_t count = which && s->peepholes ? 3 * s->units : s->wide;
        memset(db, 0, sizeof(float) * (size_t)count);
        for (int64_t c = 0; c < s->chunks; c++)
            for (int64_t j = 0; j < count; j++)
                db[j] += s->db[(2 * c + which) * s->wide + j];
    }
}

static plumb_status run_backward(const plumb_call *call)
{
    sequence s;
    arena a = {.base = call->workspace};
    plan_backward(call, &s, &a);
    if (take_options(&s))
        return PLUMB_BAD_INPUT;
    pack_weights(&s, true);
    plumb_pool_run(call->pool, s.chunks, backward_chunk, &s);
    add_biases(&s);
    plumb_status status = sums(&s);
    for (int64_t t = 0; s.attr->dx && t < s.steps; t++)
        clear_missing(&s, t, 0, s.batch, (float *)call->out[call->n_out - 1].data + t * s.batch * s.features, s.features);
    return status;
}

static size_t workspace_backward(const plumb_call *call)
{
    sequence s;
    arena a = {0};
    plan_backward(call, &s, &a);
    sums(&s);
    return a.used + s.product_bytes;
}

/* ---- what is taken ---- */

/* Operands of any strides, results packed, something of everything. */
static bool supports(const plumb_call *call)
{
    sequence s;
    begin(call, &s);
    for (int k = 0; k < call->n_out; k++)
        if (!plumb_view_contiguous(&call->out[k]))
            return false;
    double most = (double)s.wide * (double)plumb_most(s.units, 64);
    return s.steps > 0 && s.batch > 0 && s.features > 0 && s.units > 0 && most < INT32_MAX;
}

#define ROWS(kind)                                                                                                    \
    const plumb_impl plumb_impl_##kind##_native = {                                                                   \
        .op = &plumb_op_##kind,                                                                                       \
        .name = "cpu.native",                                                                                         \
        .dtypes = PLUMB_BIT(PLUMB_F32),                                                                               \
        .supports = supports,                                                                                         \
        .workspace = workspace_forward,                                                                               \
        .run = run_forward,                                                                                           \
    };                                                                                                                \
    const plumb_impl plumb_impl_##kind##_backward_native = {                                                          \
        .op = &plumb_op_##kind##_backward,                                                                            \
        .name = "cpu.native",                                                                                         \
        .dtypes = PLUMB_BIT(PLUMB_F32),                                                                               \
        .supports = supports,                                                                                         \
        .workspace = workspace_backward,                                                                              \
        .run = run_backward,                                                                                          \
    };
ROWS(rnn)
ROWS(gru)
ROWS(lstm)
