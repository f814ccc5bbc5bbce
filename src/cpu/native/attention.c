/* Attention in f32, forward and back, without the T x S matrix: a group of queries meets all keys of its head at once, so
 * scores take a group's rows and no more, and a row's softmax is the plain one. The products are gemm.h's tiles over keys
 * and values packed into panels.
 *
 * Forward, a chunk is BLOCK queries of a head, whose keys and values are packed again for each of them (a hundredth of the
 * work). Back, a chunk is a whole head, for the gradients of its keys and values are sums over all its queries: with fewer
 * heads (of all examples) than threads, some threads have nothing to do. Cuts depend on shapes alone. */
#include "cpu/native/functions.h"
#include "cpu/native/gemm.h"
#include "op/attr.h"

enum { BLOCK = 128, GROUP = 32, GROUP_BACK = 64, FEW_KEYS = 1024 };

/* B (depth, columns) as panels of `width` columns, the last one as narrow as its vectors allow. */
typedef struct panels {
    int64_t depth, columns, width, padded;
    float *at;
    int32_t *full, *last; /* where row k of a panel begins */
} panels;

typedef struct work {
    const plumb_call *call;
    const plumb_kernels *kernels;
    const plumb_view *mask; /* NULL: none */
    int64_t heads, queries, keys, features, values, group, blocks, rows; /* rows: of a strip */
    float scale;
    bool causal;
    size_t bytes; /* of a worker's room */
} work;

/* A worker's room; how large it is comes of laying it out at NULL. */
typedef struct room {
    panels keys, values, keys_back, values_back, q, dy;
    float *scores, *weights, *strip, *result, *dk, *dv;
} room;

/* One head. */
typedef struct head {
    const work *w;
    int64_t n, h;
    bool finite; /* else weights of 0 meet what may be a NaN, and are left out one by one */
    room r;
} head;

typedef struct arena { char *base; size_t used; } arena;

static void *take(arena *a, int64_t count)
{
    void *taken = a->base ? a->base + a->used : NULL;
    a->used += plumb_lines(count, sizeof(float));
    return taken;
}

/* ---- rows of scores ---- */

/* What a row of the mask adds or hides. */
typedef struct mask_row {
    const float *added;
    const uint8_t *seen;
    int64_t step;
} mask_row;

NATIVE_INLINE void masked(float *s, int64_t n, float scale, mask_row m)
{
    NATIVE_LOOP
    for (int64_t j = 0; j < n; j++)
        s[j] *= scale;
    if (m.added) {
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            s[j] += m.added[j * m.step];
    }
    if (m.seen) {
        NATIVE_LOOP
        for (int64_t j = 0; j < n; j++)
            s[j] = m.seen[j * m.step] ? s[j] : -INFINITY;
    }
}

/* s becomes e^(s - most); returns 1 / sum, or 0 of a row that sees nothing, and lse. */
NATIVE_INLINE float softmax_row(float *s, int64_t n, float scale, mask_row m, float *lse)
{
    float lane[NATIVE_LANES], most = -INFINITY, sum = 0;
    masked(s, n, scale, m);
    for (int l = 0; l < NATIVE_LANES; l++)
        lane[l] = -INFINITY;
    int64_t i = 0;
    for (; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++)
            lane[l] = s[i + l] > lane[l] ? s[i + l] : lane[l];
    for (; i < n; i++)
        most = s[i] > most ? s[i] : most;
    float wide = native_max_join(lane);
    most = wide > most ? wide : most;
    bool blind = most == -INFINITY; /* unless there is a NaN, which is overlooked until here */
    for (i = 0; i < n && blind; i++)
        blind = s[i] == -INFINITY;
    if (blind) {
        memset(s, 0, sizeof *s * (size_t)n);
        *lse = INFINITY;
        return 0;
    }
    for (int l = 0; l < NATIVE_LANES; l++)
        lane[l] = 0;
    for (i = 0; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++) {
            s[i + l] = native_exp(s[i + l] - most);
            lane[l] += s[i + l];
        }
    for (; i < n; i++) {
        s[i] = native_exp(s[i] - most);
        sum += s[i];
    }
    sum += native_sum_join(lane);
    *lse = most + logf(sum);
    return 1 / sum;
}

/* s becomes the weights, and d, which is dy v', their scores' gradients times the scale. */
NATIVE_INLINE void back_row(float *s, float *d, int64_t n, float scale, mask_row m, float lse, float delta)
{
    masked(s, n, scale, m);
    NATIVE_LOOP
    for (int64_t j = 0; j < n; j++) {
        s[j] = s[j] == -INFINITY ? 0 : native_exp(s[j] - lse);
        d[j] = s[j] == 0 ? 0 : s[j] * (d[j] - delta) * scale;
    }
}

NATIVE_INLINE float dot_row(const float *a, const float *b, int64_t n)
{
    float lane[NATIVE_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + NATIVE_LANES <= n; i += NATIVE_LANES)
        for (int l = 0; l < NATIVE_LANES; l++)
            lane[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        sum += a[i] * b[i];
    return native_sum_join(lane) + sum;
}

#define ROWS(isa, TARGET)                                                                                             \
    TARGET static float softmax_##isa(float *s, int64_t n, float scale, mask_row m, float *lse)                       \
    {                                                                                                                 \
        return softmax_row(s, n, scale, m, lse);                                                                      \
    }                                                                                                                 \
    TARGET static void back_##isa(float *s, float *d, int64_t n, float scale, mask_row m, float lse, const float *dy, \
                                  const float *y, int64_t values)                                                     \
    {                                                                                                                 \
        back_row(s, d, n, scale, m, lse, dot_row(dy, y, values));                                                     \
    }
NATIVE_EACH_ISA(ROWS)

/* ---- panels and products ---- */

static panels lay_out_panels(const work *w, arena *a, int64_t depth, int64_t columns)
{
    panels p = {.depth = depth, .columns = columns};
    p.width = (int64_t)w->kernels->vectors[w->rows] * w->kernels->lanes;
    p.padded = plumb_round_up(columns, w->kernels->lanes);
    p.at = take(a, depth * p.padded);
    p.full = take(a, depth);
    p.last = take(a, depth);
    for (int64_t k = 0, rest = p.padded % p.width; k < depth && a->base; k++) {
        p.full[k] = (int32_t)(k * p.width);
        p.last[k] = (int32_t)(k * rest);
    }
    return p;
}

/* B's rows or, turned, its columns lie `row` apart; `depth` of them are packed. */
static void pack_panels(const work *w, const panels *p, const float *from, int64_t row, int64_t depth, bool turned)
{
    for (int64_t j = 0; j < p->columns; j += p->width) {
        int64_t columns = plumb_least(p->width, p->columns - j), width = plumb_least(p->width, p->padded - j);
        float *to = p->at + j * p->depth;
        if (columns < width)
            memset(to, 0, sizeof *to * (size_t)(depth * width));
        if (turned)
            w->kernels->interleave(to, width, from + j * row, row, columns, depth);
        else
            w->kernels->move(&(plumb_move){.to = to, .from = from + j, .rows = depth, .columns = columns, .to_row = width,
                                           .to_step = 1, .from_row = row, .from_step = 1});
    }
}

/* c (high, ld) (+)= strip B over `depth` rows of B and its first `columns` columns; the strip is high rows interleaved. */
static void strip_product(const work *w, const panels *p, const float *strip, int64_t high, int64_t depth, int64_t columns,
                          float *c, int64_t ld, bool add)
{
    for (int64_t j = 0; j < plumb_least(p->padded, plumb_round_up(columns, w->kernels->lanes)); j += p->width) {
        int64_t width = plumb_least(p->width, p->padded - j);
        w->kernels->tile[high][width / w->kernels->lanes](depth, strip, p->at + j * p->depth,
                                                          width == p->width ? p->full : p->last, c + j, ld, add);
    }
}

/* c = A B, A's rows lie `row` apart. */
static void product(const head *t, const panels *p, const float *a, int64_t row, int64_t rows, int64_t depth,
                    int64_t columns, float *c, int64_t ld)
{
    const work *w = t->w;
    for (int64_t i = 0; i < rows; i += w->rows) {
        int64_t high = plumb_least(w->rows, rows - i);
        w->kernels->interleave(t->r.strip, high, a + i * row, row, high, depth);
        strip_product(w, p, t->r.strip, high, depth, columns, c + i * ld, ld, false);
    }
}

/* c += A B or, turned, A' B, but for A's zeros: c (rows, columns), sums over `depth` rows of B. */
static void sparse_product(const float *a, int64_t row, int64_t step, const float *b, int64_t b_row, int64_t rows,
                           int64_t depth, int64_t columns, float *c, int64_t ld)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < depth; k++) {
            float weight = a[i * row + k * step];
            for (int64_t j = 0; j < columns && weight != 0; j++)
                c[i * ld + j] += weight * b[k * b_row + j];
        }
}

/* c = A B, A's rows lie `row` apart, B's, which was packed to `p`, in `from`. */
static void weighted(const head *t, const panels *p, const plumb_view *from, const float *b, const float *a, int64_t row,
                     int64_t rows, int64_t depth, float *c)
{
    if (t->finite) {
        product(t, p, a, row, rows, depth, p->columns, c, p->padded);
        return;
    }
    memset(c, 0, sizeof *c * (size_t)(rows * p->padded));
    sparse_product(a, row, 1, b, from->stride[2], rows, depth, p->columns, c, p->padded);
}

/* c += A' B, A (depth, rows) with rows of `row` elements. */
static void add_turned(const head *t, const panels *p, const plumb_view *from, const float *b, const float *a, int64_t row,
                       int64_t rows, int64_t depth, float *c)
{
    const work *w = t->w;
    if (!t->finite) {
        sparse_product(a, 1, row, b, from->stride[2], rows, depth, p->columns, c, p->padded);
        return;
    }
    for (int64_t i = 0; i < rows; i += w->rows) {
        int64_t high = plumb_least(w->rows, rows - i);
        w->kernels->move(&(plumb_move){.to = t->r.strip, .from = a + i, .rows = depth, .columns = high, .to_row = high,
                                       .to_step = 1, .from_row = row, .from_step = 1});
        strip_product(w, p, t->r.strip, high, depth, p->columns, c + i * p->padded, p->padded, true);
    }
}

/* ---- what is where ---- */

static work begin(const plumb_call *call, int mask, int64_t group)
{
    const plumb_view *in = call->in;
    const plumb_attr_attention *attr = call->attr;
    work w = {.call = call, .kernels = plumb_kernels_for(PLUMB_F32, call->isa), .heads = in[0].dim[1],
              .queries = in[0].dim[2], .keys = in[1].dim[2], .features = in[0].dim[3], .values = in[2].dim[3],
              .scale = (float)attr->scale, .causal = attr->causal != 0, .mask = call->n_in > mask ? &in[mask] : NULL};
    w.group = group;
    w.rows = w.kernels->rows;
    w.blocks = plumb_parts(w.queries, BLOCK);
    return w;
}

static int64_t larger(int64_t a, int64_t b, int64_t c) { return plumb_most(plumb_most(a, b), c); }

static room lay_out(const work *w, bool back, arena *a)
{
    room r = {.keys = lay_out_panels(w, a, w->features, w->keys)};
    int64_t wide = plumb_round_up(plumb_most(w->features, w->values), w->kernels->lanes);
    r.scores = take(a, w->group * r.keys.padded);
    r.strip = take(a, w->rows * larger(w->keys, w->features, plumb_most(w->values, w->group)));
    r.result = take(a, w->group * wide);
    if (!back) {
        r.values = lay_out_panels(w, a, w->keys, w->values);
        return r;
    }
    r.weights = take(a, w->group * r.keys.padded);
    r.values_back = lay_out_panels(w, a, w->values, w->keys);
    r.keys_back = lay_out_panels(w, a, w->keys, w->features);
    r.q = lay_out_panels(w, a, w->group, w->features);
    r.dy = lay_out_panels(w, a, w->group, w->values);
    r.dk = take(a, w->keys * r.q.padded);
    r.dv = take(a, w->keys * r.dy.padded);
    return r;
}

static head head_of(const work *w, bool back, int64_t index, int worker)
{
    arena a = {.base = (char *)w->call->workspace + w->bytes * (size_t)worker};
    return (head){.w = w, .n = index / w->heads, .h = index % w->heads, .r = lay_out(w, back, &a)};
}

static float *rows_of(const head *t, const plumb_view *view, int64_t row)
{
    return (float *)view->data + t->n * view->stride[0] + t->h * view->stride[1] + row * view->stride[2];
}

static mask_row mask_of(const head *t, int64_t i)
{
    const plumb_view *m = t->w->mask;
    const int64_t at[3] = {t->n, t->h, i};
    int64_t where = 0;
    if (!m)
        return (mask_row){.step = 0};
    for (int d = 0; d < 3; d++)
        where += m->dim[d] == 1 ? 0 : at[d] * m->stride[d];
    mask_row row = {.step = m->dim[3] == 1 ? 0 : m->stride[3]};
    if (m->dtype == PLUMB_U8)
        row.seen = (const uint8_t *)m->data + where;
    else
        row.added = (const float *)m->data + where;
    return row;
}

/* How many keys query i sees, but for the mask. */
static int64_t seen_by(const work *w, int64_t i) { return w->causal ? plumb_least(i + 1, w->keys) : w->keys; }

static void clear_from(float *row, int64_t from, int64_t to)
{
    if (from < to)
        memset(row + from, 0, sizeof *row * (size_t)(to - from));
}

static bool all_finite(const head *t, const plumb_view *view)
{
    bool finite = true;
    for (int64_t i = 0; i < view->dim[2] && finite; i++)
        finite = t->w->kernels->finite(rows_of(t, view, i), view->dim[3]);
    return finite;
}

/* ---- forward ---- */

static void forward_group(const head *t, int64_t first, int64_t count)
{
    const work *w = t->w;
    const room *r = &t->r;
    const plumb_view *q = &w->call->in[0], *v = &w->call->in[2], *y = &w->call->out[0], *lse = &w->call->out[1];
    int64_t keys = seen_by(w, first + count - 1), ld = r->keys.padded, wide = r->values.padded;
    float inverse[GROUP];
    product(t, &r->keys, rows_of(t, q, first), q->stride[2], count, w->features, keys, r->scores, ld);
    for (int64_t i = 0; i < count; i++) {
        float *s = r->scores + i * ld;
        int64_t seen = seen_by(w, first + i);
        inverse[i] = NATIVE_PICK(softmax, w->call->isa)(s, seen, w->scale, mask_of(t, first + i), rows_of(t, lse, first + i));
        clear_from(s, seen, keys);
    }
    weighted(t, &r->values, v, rows_of(t, v, 0), r->scores, ld, count, keys, r->result);
    for (int64_t i = 0; i < count; i++) {
        float *to = rows_of(t, y, first + i), *from = r->result + i * wide;
        for (int64_t e = 0; e < w->values; e++)
            to[e] = inverse[i] == 0 ? 0 : from[e] * inverse[i];
    }
}

static void forward_chunk(void *user, int64_t chunk, int worker)
{
    const work *w = user;
    head t = head_of(w, false, chunk / w->blocks, worker);
    const plumb_view *k = &w->call->in[1], *v = &w->call->in[2];
    int64_t first = chunk % w->blocks * BLOCK, end = plumb_least(first + BLOCK, w->queries);
    pack_panels(w, &t.r.keys, rows_of(&t, k, 0), k->stride[2], w->features, true);
    pack_panels(w, &t.r.values, rows_of(&t, v, 0), v->stride[2], w->keys, false);
    t.finite = all_finite(&t, v);
    for (int64_t i = first; i < end; i += w->group)
        forward_group(&t, i, plumb_least(w->group, end - i));
}

static plumb_status run_attention(const plumb_call *call)
{
    work w = begin(call, 3, GROUP);
    arena a = {.base = NULL};
    lay_out(&w, false, &a);
    w.bytes = a.used;
    plumb_pool_run(call->pool, call->in[0].dim[0] * w.heads * w.blocks, forward_chunk, &w);
    return PLUMB_OK;
}

static size_t workspace_attention(const plumb_call *call)
{
    work w = begin(call, 3, GROUP);
    arena a = {.base = NULL};
    lay_out(&w, false, &a);
    return a.used * (size_t)plumb_pool_size(call->pool);
}

/* ---- backward ---- */

static void backward_group(const head *t, int64_t first, int64_t count)
{
    const work *w = t->w;
    const room *r = &t->r;
    const plumb_view *in = w->call->in, *q = &in[0], *k = &in[1], *y = &in[3], *lse = &in[4], *dy = &in[5], *dq = &w->call->out[0];
    int64_t keys = seen_by(w, first + count - 1), ld = r->keys.padded, wide = r->keys_back.padded;
    product(t, &r->keys, rows_of(t, q, first), q->stride[2], count, w->features, keys, r->scores, ld);
    product(t, &r->values_back, rows_of(t, dy, first), dy->stride[2], count, w->values, keys, r->weights, ld);
    for (int64_t i = 0; i < count; i++) {
        float *p = r->scores + i * ld, *ds = r->weights + i * ld;
        int64_t seen = seen_by(w, first + i);
        NATIVE_PICK(back, w->call->isa)(p, ds, seen, w->scale, mask_of(t, first + i), *rows_of(t, lse, first + i),
                                        rows_of(t, dy, first + i), rows_of(t, y, first + i), w->values);
        clear_from(p, seen, keys);
        clear_from(ds, seen, keys);
    }
    weighted(t, &r->keys_back, k, rows_of(t, k, 0), r->weights, ld, count, keys, r->result);
    for (int64_t i = 0; i < count; i++)
        memcpy(rows_of(t, dq, first + i), r->result + i * wide, sizeof(float) * (size_t)w->features);
    pack_panels(w, &r->q, rows_of(t, q, first), q->stride[2], count, false);
    pack_panels(w, &r->dy, rows_of(t, dy, first), dy->stride[2], count, false);
    add_turned(t, &r->q, q, rows_of(t, q, first), r->weights, ld, keys, count, r->dk);
    add_turned(t, &r->dy, dy, rows_of(t, dy, first), r->scores, ld, keys, count, r->dv);
}

static void write_rows(const head *t, const plumb_view *to, const float *from, int64_t row)
{
    for (int64_t j = 0; j < to->dim[2]; j++)
        memcpy(rows_of(t, to, j), from + j * row, sizeof *from * (size_t)to->dim[3]);
}

static void backward_chunk(void *user, int64_t chunk, int worker)
{
    const work *w = user;
    head t = head_of(w, true, chunk, worker);
    const plumb_view *k = &w->call->in[1], *v = &w->call->in[2];
    pack_panels(w, &t.r.keys, rows_of(&t, k, 0), k->stride[2], w->features, true);
    pack_panels(w, &t.r.values_back, rows_of(&t, v, 0), v->stride[2], w->values, true);
    pack_panels(w, &t.r.keys_back, rows_of(&t, k, 0), k->stride[2], w->keys, false);
    t.finite = all_finite(&t, &w->call->in[0]) && all_finite(&t, k) && all_finite(&t, v) && all_finite(&t, &w->call->in[5]);
    memset(t.r.dk, 0, sizeof(float) * (size_t)(w->keys * t.r.q.padded));
    memset(t.r.dv, 0, sizeof(float) * (size_t)(w->keys * t.r.dy.padded));
    for (int64_t i = 0; i < w->queries; i += w->group)
        backward_group(&t, i, plumb_least(w->group, w->queries - i));
    write_rows(&t, &w->call->out[1], t.r.dk, t.r.q.padded);
    write_rows(&t, &w->call->out[2], t.r.dv, t.r.dy.padded);
}

static work begin_backward(const plumb_call *call)
{
    return begin(call, 6, call->in[1].dim[2] > FEW_KEYS ? GROUP : GROUP_BACK);
}

static plumb_status run_attention_backward(const plumb_call *call)
{
    work w = begin_backward(call);
    arena a = {.base = NULL};
    lay_out(&w, true, &a);
    w.bytes = a.used;
    plumb_pool_run(call->pool, call->in[0].dim[0] * w.heads, backward_chunk, &w);
    return PLUMB_OK;
}

static size_t workspace_attention_backward(const plumb_call *call)
{
    work w = begin_backward(call);
    arena a = {.base = NULL};
    lay_out(&w, true, &a);
    return a.used * (size_t)plumb_pool_size(call->pool);
}

/* ---- rows ---- */

/* Rows of features are runs; there are some of everything. */
static bool supports(const plumb_call *call)
{
    bool good = true;
    for (int i = 0; i < call->n_in; i++) {
        bool mask = i == (call->op == &plumb_op_attention ? 3 : 6);
        const plumb_view *x = &call->in[i];
        good = good && (x->rank != 4 || mask || (x->dim[3] > 0 && x->dim[2] > 0 && (x->stride[3] == 1 || x->dim[3] == 1)));
    }
    for (int k = 0; k < call->n_out; k++)
        good = good && plumb_view_contiguous(&call->out[k]);
    return good;
}

#define ROW(op_name)                                                                                                  \
    const plumb_impl plumb_impl_##op_name##_native = {                                                                \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cpu.native",                                                                                         \
        .dtypes = PLUMB_BIT(PLUMB_F32),                                                                               \
        .supports = supports,                                                                                         \
        .workspace = workspace_##op_name,                                                                             \
        .run = run_##op_name,                                                                                         \
    };
ROW(attention)
ROW(attention_backward)
