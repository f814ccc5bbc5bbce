/* Recurrent layers over a sequence, f32.
 *
 * x's products are one matrix product over the whole sequence, and so are the weights' gradients and dx; what is left to the
 * steps is the product with w_hh. That matrix is packed once for a call, and the batch is cut into chunks of a few examples:
 * a thread takes a chunk through all the steps, w_hh staying in its second cache, and never waits for another. The cut
 * depends on shapes alone; sums over chunks (the biases' gradients) are taken in the chunks' order. */
#include "cpu/native/gemm.h"
#include "cpu/native/recurrent.h"
#include "op/attr.h"

extern const plumb_impl plumb_impl_matmul_native;

enum {
    CACHED = 1 << 17, /* elements of w_hh that stay in the second cache: then a chunk is one strip of examples, */
    FEW_CHUNKS = 4    /* and else, w_hh being read once for each chunk and step, there are only so many */
};

/* B (depth, columns) as panels of `width` columns, the last one as narrow as its vectors allow. */
typedef struct panels {
    const plumb_kernels *kernels;
    int64_t depth, columns, width, padded; /* padded: columns rounded up to vectors */
    int64_t step, column;                  /* strides of what is packed */
    const float *from;
    float *at;
    int32_t *full, *last; /* where row k of a panel begins */
} panels;

typedef struct sequence {
    const plumb_call *call;
    const plumb_attr_recurrent *attr;
    int gates, states;
    enum native_cell_kind kind;
    int64_t steps, batch, features, units, wide;
    int64_t height, chunk, chunks; /* examples of a strip, of a chunk */
    panels b;
    float *h0, *c0, *bias;              /* forward, packed */
    float *y, *gates_at, *saved;        /* forward; gates_at: x's products first; y where there are no gates */
    const plumb_view *y_in, *gates_in, *saved_in, *dy, *dh, *dc; /* backward; NULL: there is none */
    float *da, *dp, *before, *x, *db;   /* backward: (T, N, wide) twice, h before each step, x, sums of each chunk */
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

static void lay_out_panels(sequence *s, arena *a, int64_t depth, int64_t columns)
{
    panels *b = &s->b;
    b->kernels = plumb_kernels_for(PLUMB_F32, s->call->isa);
    s->height = plumb_strip_height(s->batch, b->kernels->rows);
    b->depth = depth, b->columns = columns;
    b->width = (int64_t)b->kernels->vectors[s->height] * b->kernels->lanes;
    b->padded = plumb_round_up(columns, b->kernels->lanes);
    b->at = floats(a, depth * b->padded);
    b->full = take(a, plumb_lines(depth, sizeof(int32_t)));
    b->last = take(a, plumb_lines(depth, sizeof(int32_t)));
    int64_t strips = plumb_parts(s->batch, s->height);
    s->chunk = s->height * (depth * columns <= CACHED ? 1 : plumb_parts(strips, FEW_CHUNKS));
    s->chunks = plumb_parts(s->batch, s->chunk);
}

static void pack_panel(void *user, int64_t index, int worker)
{
    const panels *b = user;
    int64_t j = index * b->width, columns = plumb_least(b->width, b->columns - j);
    int64_t width = plumb_least(b->width, b->padded - j);
    const float *from = b->from + j * b->column;
    float *to = b->at + j * b->depth;
    (void)worker;
    if (columns < width)
        memset(to, 0, sizeof(float) * (size_t)(b->depth * width));
    if (b->step == 1 && b->column != 1)
        b->kernels->interleave(to, width, from, b->column, columns, b->depth);
    else
        b->kernels->move(&(plumb_move){.to = to, .from = from, .rows = b->depth, .columns = columns, .to_row = width,
                                       .to_step = 1, .from_row = b->step, .from_step = b->column});
}

static void pack_panels(sequence *s, const float *from, int64_t step, int64_t column)
{
    panels *b = &s->b;
    int64_t rest = b->padded % b->width;
    b->from = from, b->step = step, b->column = column;
    for (int64_t k = 0; k < b->depth; k++) {
        b->full[k] = (int32_t)(k * b->width);
        b->last[k] = (int32_t)(k * rest);
    }
    plumb_pool_run(s->call->pool, plumb_parts(b->columns, b->width), pack_panel, b);
}

/* to (rows, padded) = from (rows, depth) B. `strips` has room for as many elements as `from`. */
static void multiply(const sequence *s, const float *from, int64_t rows, float *strips, float *to)
{
    const panels *b = &s->b;
    for (int64_t i = 0; i < rows; i += s->height) {
        int64_t high = plumb_least(s->height, rows - i);
        b->kernels->interleave(strips + i * b->depth, high, from + i * b->depth, b->depth, high, b->depth);
    }
    for (int64_t j = 0; j < b->padded; j += b->width) {
        int64_t width = plumb_least(b->width, b->padded - j);
        for (int64_t i = 0; i < rows; i += s->height)
            b->kernels->tile[plumb_least(s->height, rows - i)][width / b->kernels->lanes](
                b->depth, strips + i * b->depth, b->at + j * b->depth, width == b->width ? b->full : b->last,
                to + i * b->padded + j, b->padded, false);
    }
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

enum { SPARES = 4 }; /* rows of H; gates take as many more as they are */

/* Strips of a chunk's examples, the product's result, and spare rows. */
static void lay_out_work(sequence *s, arena *a)
{
    s->strips_bytes = plumb_lines(s->chunk * s->b.depth, sizeof(float));
    s->work_bytes = s->strips_bytes + plumb_lines(s->chunk * s->b.padded, sizeof(float)) +
                    plumb_lines(SPARES * s->units + s->wide, sizeof(float));
    s->work = take(a, s->work_bytes * (size_t)plumb_pool_size(s->call->pool));
}

/* ---- forward ---- */

static void plan_forward(const plumb_call *call, sequence *s, arena *a)
{
    const plumb_view *out = call->out;
    begin(call, s);
    lay_out_panels(s, a, s->units, s->wide);
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
    const plumb_view *w = s->call->in + s->states + 1;
    plumb_view to = {.data = s->gates_at, .dtype = PLUMB_F32, .rank = 3, .dim = {s->steps, s->batch, s->wide}};
    plumb_view_pack(&to);
    return product(s, &s->call->in[0], &w[0], s->call->n_in > s->states + 3 ? &w[2] : NULL, to, false, true);
}

static void forward_chunk(void *user, int64_t chunk, int worker)
{
    const sequence *s = user;
    const int64_t first = chunk * s->chunk, rows = plumb_least(s->chunk, s->batch - first), H = s->units;
    float *strips = (float *)(void *)(s->work + s->work_bytes * (size_t)worker);
    float *to = (float *)(void *)((char *)strips + s->strips_bytes);
    native_forward *cell = plumb_native_cell(s->kind, s->call->isa);
    const float *h = s->h0 + first * H, *c = s->c0 ? s->c0 + first * H : NULL;
    for (int64_t i = 0; i < s->steps; i++) {
        int64_t at = step_at(s, i) * s->batch + first;
        multiply(s, h, rows, strips, to);
        for (int64_t r = 0; r < rows; r++, at++) {
            native_cell w = {.product = to + r * s->b.padded, .bias = s->bias, .h = h + r * H, .y = s->y + at * H, .units = H};
            w.gates = s->gates_at + at * s->wide;
            w.saved = s->saved ? s->saved + at * H : NULL;
            w.c = c ? c + r * H : NULL;
            cell(&w);
        }
        h = s->y + (at - rows) * H;
        c = c ? s->saved + (at - rows) * H : NULL;
    }
    memcpy((float *)s->call->out[1].data + first * H, h, sizeof(float) * (size_t)(rows * H));
    if (c)
        memcpy((float *)s->call->out[2].data + first * H, c, sizeof(float) * (size_t)(rows * H));
}

static plumb_status run_forward(const plumb_call *call)
{
    sequence s;
    arena a = {.base = call->workspace};
    plan_forward(call, &s, &a);
    const plumb_view *w = call->in + s.states + 2;
    plumb_status status = multiply_x(&s);
    if (status != PLUMB_OK)
        return status;
    pack_panels(&s, w->data, w->stride[1], w->stride[0]);
    for (int64_t n = 0; n < s.batch; n++) {
        copy_row(s.h0 + n * s.units, &call->in[1], 0, n);
        if (s.c0)
            copy_row(s.c0 + n * s.units, &call->in[2], 0, n);
    }
    for (int64_t j = 0; j < s.wide; j++)
        s.bias[j] = call->n_in > s.states + 3 ? ((const float *)w[2].data)[j * w[2].stride[0]] : 0;
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

static void plan_backward(const plumb_call *call, sequence *s, arena *a)
{
    begin(call, s);
    int64_t all = call->in[0].dim[0] * s->batch;
    const plumb_view *in = call->in + s->states + 3;
    s->y_in = in++;
    s->gates_in = s->gates > 1 ? in++ : NULL;
    s->saved_in = s->gates > 1 ? in++ : NULL;
    s->dy = s->attr->given & 1 ? in++ : NULL;
    s->dh = s->attr->given & 2 ? in++ : NULL;
    s->dc = s->attr->given & 4 ? in : NULL;
    lay_out_panels(s, a, s->wide, s->units);
    s->da = floats(a, all * s->wide);
    s->dp = s->kind == NATIVE_GRU ? floats(a, all * s->wide) : s->da;
    s->before = floats(a, all * s->units);
    s->x = is_matrix(&call->in[0]) ? NULL : floats(a, all * s->features);
    s->db = floats(a, 2 * s->chunks * s->wide);
    lay_out_work(s, a);
    s->product_work = take(a, 0);
}

/* What needs all steps: dw_ih, dw_hh, dx. */
static plumb_status sums(sequence *s)
{
    const plumb_view *x = &s->call->in[0], *w = s->call->in + s->states + 1, *out = s->call->out + s->states;
    int64_t all = s->steps * s->batch;
    plumb_view da = matrix(s->da, all, s->wide), dp = matrix(s->dp, all, s->wide), h = matrix(s->before, all, s->units);
    plumb_view rows = matrix(s->x, all, s->features);
    if (is_matrix(x)) {
        rows.data = x->data;
        rows.stride[0] = s->batch > 1 ? x->stride[1] : x->stride[0];
        rows.stride[1] = x->stride[2];
    }
    plumb_status status = product(s, &da, &rows, NULL, out[0], true, false);
    if (status == PLUMB_OK)
        status = product(s, &dp, &h, NULL, out[1], true, false);
    if (status == PLUMB_OK && s->attr->dx)
        status = product(s, &da, &w[0], NULL, matrix(out[s->kind == NATIVE_GRU ? 4 : 3].data, all, s->features), false,
                         false);
    return status;
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
            float *h = s->before + (t * s->batch + n) * H;
            if (i > 0)
                copy_row(h, s->y_in, step_at(s, i - 1), n);
            else
                copy_row(h, &call->in[1], 0, n);
            if (s->x)
                copy_row(s->x + (t * s->batch + n) * s->features, &call->in[0], t, n);
        }
}

static void backward_chunk(void *user, int64_t chunk, int worker)
{
    const sequence *s = user;
    const int64_t first = chunk * s->chunk, rows = plumb_least(s->chunk, s->batch - first), H = s->units;
    float *strips = (float *)(void *)(s->work + s->work_bytes * (size_t)worker);
    float *product = (float *)(void *)((char *)strips + s->strips_bytes), *spare = product + s->chunk * s->b.padded;
    native_back *cell = plumb_native_cell_back(s->kind, s->call->isa);
    float *dh = (float *)s->call->out[0].data + first * H, *dc = s->states > 1 ? (float *)s->call->out[1].data + first * H : NULL;
    native_cell_back w = {.units = H, .db_ih = s->db + 2 * chunk * s->wide, .db_hh = s->db + (2 * chunk + 1) * s->wide};
    begin_chunk(s, first, rows);
    memset(w.db_ih, 0, sizeof(float) * (size_t)(2 * s->wide));
    memset(product, 0, sizeof(float) * (size_t)(rows * s->b.padded));
    for (int64_t i = s->steps - 1; i >= 0; i--) {
        int64_t t = step_at(s, i), at = t * s->batch + first, before = i > 0 ? step_at(s, i - 1) : 0;
        for (int64_t r = 0, n = first; r < rows; r++, n++, at++) {
            w.product = product + r * s->b.padded;
            w.dy = s->dy ? row(s->dy, t, n, spare) : NULL;
            w.y = row(s->y_in, t, n, spare + H);
            w.saved = s->saved_in ? row(s->saved_in, t, n, spare + 2 * H) : NULL;
            w.c = s->states > 1 ? row(i > 0 ? s->saved_in : &s->call->in[2], before, n, spare + 3 * H) : NULL;
            w.gates = s->gates_in ? row(s->gates_in, t, n, spare + SPARES * H) : NULL;
            w.h = s->before + at * H;
            w.dh = dh + r * H, w.dc = dc ? dc + r * H : NULL;
            w.da = s->da + at * s->wide, w.dp = s->dp + at * s->wide;
            cell(&w);
        }
        multiply(s, s->dp + (at - rows) * s->wide, rows, strips, product);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < H; j++)
            dh[r * H + j] += product[r * s->b.padded + j];
}

/* The chunks' sums into the biases' gradients. */
static void add_biases(const sequence *s)
{
    for (int which = 0; which < (s->kind == NATIVE_GRU ? 2 : 1); which++) {
        float *db = s->call->out[s->states + 2 + which].data;
        memset(db, 0, sizeof(float) * (size_t)s->wide);
        for (int64_t c = 0; c < s->chunks; c++)
            for (int64_t j = 0; j < s->wide; j++)
                db[j] += s->db[(2 * c + which) * s->wide + j];
    }
}

static plumb_status run_backward(const plumb_call *call)
{
    sequence s;
    arena a = {.base = call->workspace};
    plan_backward(call, &s, &a);
    const plumb_view *w = call->in + s.states + 2;
    pack_panels(&s, w->data, w->stride[0], w->stride[1]);
    plumb_pool_run(call->pool, s.chunks, backward_chunk, &s);
    add_biases(&s);
    return sums(&s);
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
