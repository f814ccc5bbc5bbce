/* Reductions of f32: sum (of squares, of absolute values), mean, max, min over any axes, the adjoint of broadcasting.
 *
 * The operand's dimensions are merged where they can be and divided into those that stay and those that go;
 * the one that lies innermost in memory decides the form. If it goes, a result is a sum of rows, kept in
 * double; if it stays, a strip of up to STRIP neighbouring results is accumulated row upon row. Long
 * reductions are cut into parts whose number depends on the shape alone; their results lie in the workspace
 * and are joined in order. */
#include "cpu/native/vector.h"
#include "op/attr.h"

#include <math.h>

enum { STRIP = 256, PIECE = 1 << 12, CHUNK = 1 << 15, MOST_PARTS = 64, BLOCK = 256 };

struct dims {
    int rank;
    /* sizes; strides in operand and result */
    int64_t dim[PLUMB_MAX_RANK], x[PLUMB_MAX_RANK], y[PLUMB_MAX_RANK];
    int64_t count;
};

/* How to reduce: `stay` and `go` are the outer dimensions, in front of the innermost one of n elements x_step
 * apart. */
struct plan {
    struct dims stay, go;
    int64_t n, x_step, y_step;
    bool rows;      /* the innermost dimension goes */
    int64_t strips; /* of the innermost dimension, if it stays; else 1 */
    int64_t pieces; /* of the innermost dimension, if it goes; else 1 */
    int64_t units;  /* results, or strips of results */
    int64_t steps;  /* rows, or pieces of rows, that make one unit */
    int64_t parts;  /* of a unit's steps, each a chunk of its own */
    int64_t per_chunk;
    double terms; /* elements behind one result */
};

/* ---- the plan ---- */

static int64_t magnitude(int64_t value) { return value < 0 ? -value : value; }

static void add_dim(struct dims *to, int64_t dim, int64_t x, int64_t y)
{
    int last = to->rank - 1;
    to->count *= dim;
    if (last >= 0 && to->x[last] == x * dim && to->y[last] == y * dim) {
        to->dim[last] *= dim;
        to->x[last] = x;
        to->y[last] = y;
        return;
    }
    to->dim[to->rank] = dim;
    to->x[to->rank] = x;
    to->y[to->rank++] = y;
}

/* Which dimensions of the operand go, and the result's stride along those that stay (0 along the others). */
static uint32_t map_dims(const plumb_call *call, int64_t *y)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    uint32_t gone = 0;
    bool aligned = call->op == &plumb_op_sum_to;
    int shift = x->rank - out->rank, next = 0;
    if (!aligned) {
        const plumb_attr_reduce *attr = call->attr;
        gone = attr->all ? (1u << x->rank) - 1u : attr->axes;
        aligned = attr->keep;
    } else {
        for (int d = 0; d < x->rank; d++) {
            gone |= d < shift || out->dim[d - shift] != x->dim[d] ? 1u << d : 0;
        }
    }
    for (int d = 0; d < x->rank; d++) {
        y[d] = gone >> d & 1 ? 0 : out->stride[aligned ? d - shift : next++];
    }
    return gone;
}

static void choose_sizes(struct plan *p)
{
    int64_t width = p->rows ? 1 : p->n < STRIP ? p->n : STRIP;
    p->strips = p->rows ? 1 : (p->n + STRIP - 1) / STRIP;
    p->pieces = p->rows ? (p->n + PIECE - 1) / PIECE : 1;
    p->units = p->stay.count * p->strips;
    p->steps = p->go.count * p->pieces;
    p->terms = (double)p->go.count * (double)(p->rows ? p->n : 1);
    int64_t work = p->rows ? p->go.count * p->n : p->go.count * width;
    p->parts = work / CHUNK < 1 ? 1 : work / CHUNK < MOST_PARTS ? work / CHUNK : MOST_PARTS;
    p->parts = p->parts < p->steps ? p->parts : p->steps > 0 ? p->steps : 1;
    p->per_chunk = p->parts > 1 || work >= CHUNK ? 1 : CHUNK / (work > 0 ? work : 1);
}

static void make_plan(const plumb_call *call, struct plan *p)
{
    const plumb_view *x = &call->in[0];
    int64_t y[PLUMB_MAX_RANK];
    uint32_t gone = map_dims(call, y);
    int order[PLUMB_MAX_RANK], rank = 0;
    memset(p, 0, sizeof *p);
    p->stay.count = p->go.count = p->n = 1;
    for (int d = 0; d < x->rank; d++) { /* by the operand's strides, the largest first */
        int at = rank;
        if (x->dim[d] == 1) {
            continue;
        }
        for (; at > 0 && magnitude(x->stride[order[at - 1]]) < magnitude(x->stride[d]); at--) {
            order[at] = order[at - 1];
        }
        order[at] = d;
        rank++;
    }
    p->rows = rank == 0 || gone >> order[rank - 1] & 1;
    for (int i = 0; i < rank; i++) {
        int d = order[i];
        add_dim(gone >> d & 1 ? &p->go : &p->stay, x->dim[d], x->stride[d], y[d]);
    }
    if (rank > 0) { /* the innermost is the last of its kind */
        struct dims *of = p->rows ? &p->go : &p->stay;
        int last = --of->rank;
        p->n = of->dim[last];
        p->x_step = of->x[last];
        p->y_step = of->y[last];
        of->count = 1;
        for (int d = 0; d < last; d++) {
            of->count *= of->dim[d];
        }
    }
    choose_sizes(p);
}

static int64_t offset_of(const struct dims *dims, const int64_t *stride, int64_t index)
{
    int64_t offset = 0;
    for (int d = dims->rank - 1; d >= 0; d--) {
        offset += index % dims->dim[d] * stride[d];
        index /= dims->dim[d];
    }
    return offset;
}

/* ---- kernels: of a row of n elements, and of a strip of `width` results over `count` rows ---- */

NATIVE_INLINE float later(float a, float b, bool smaller) /* not-a-number stays, and wins */
{
    return (smaller ? b < a : b > a) || b != b ? (a != a ? a : b) : a;
}

enum taken { ITSELF, ABSOLUTE, SQUARE };

NATIVE_INLINE float made_of(float x, enum taken what) { return what == SQUARE ? x * x : what == ABSOLUTE ? fabsf(x) : x; }

NATIVE_INLINE double sum_row_of(const float *x, int64_t step, int64_t n, enum taken what)
{
    double total = 0;
    if (step != 1) {
        for (int64_t i = 0; i < n; i++) {
            total += (double)made_of(x[i * step], what);
        }
        return total;
    }
    int64_t i = 0;
    while (i + NATIVE_LANES <= n) { /* short f32 sums, joined in double */
        float lane[NATIVE_LANES] = {0};
        int64_t end = n - i < BLOCK ? n : i + BLOCK;
        for (; i + NATIVE_LANES <= end; i += NATIVE_LANES) {
            for (int l = 0; l < NATIVE_LANES; l++) {
                lane[l] += made_of(x[i + l], what);
            }
        }
        total += (double)native_sum_join(lane);
    }
    for (; i < n; i++) {
        total += (double)made_of(x[i], what);
    }
    return total;
}

NATIVE_INLINE double sum_row(const float *x, int64_t step, int64_t n) { return sum_row_of(x, step, n, ITSELF); }

NATIVE_INLINE double abs_sum_row(const float *x, int64_t step, int64_t n) { return sum_row_of(x, step, n, ABSOLUTE); }

NATIVE_INLINE double square_sum_row(const float *x, int64_t step, int64_t n) { return sum_row_of(x, step, n, SQUARE); }

NATIVE_INLINE double extremum_row(const float *x, int64_t step, int64_t n, bool smaller)
{
    float best = x[0];
    int64_t i = 0;
    if (step == 1 && n >= NATIVE_LANES) {
        float lane[NATIVE_LANES];
        memcpy(lane, x, sizeof lane);
        for (i = NATIVE_LANES; i + NATIVE_LANES <= n; i += NATIVE_LANES) {
            for (int l = 0; l < NATIVE_LANES; l++) {
                lane[l] = later(lane[l], x[i + l], smaller);
            }
        }
        for (int l = 0; l < NATIVE_LANES; l++) {
            best = later(best, lane[l], smaller);
        }
    }
    for (; i < n; i++) {
        best = later(best, x[i * step], smaller);
    }
    return (double)best;
}

NATIVE_INLINE double max_row(const float *x, int64_t step, int64_t n)
{
    return extremum_row(x, step, n, false);
}

NATIVE_INLINE double min_row(const float *x, int64_t step, int64_t n)
{
    return extremum_row(x, step, n, true);
}

#define STRIP_KERNEL(name, expression)                                                                       \
    NATIVE_INLINE void name##_strip(float *acc, const float *x, int64_t step, int width, int64_t row_step,   \
                                    int64_t count)                                                           \
    {                                                                                                        \
        for (int64_t r = 0; r < count; r++, x += row_step) {                                                 \
            if (step == 1) {                                                                                 \
                NATIVE_LOOP                                                                                  \
                for (int j = 0; j < width; j++) {                                                            \
                    float a = acc[j], b = x[j];                                                              \
                    acc[j] = expression;                                                                     \
                }                                                                                            \
            } else {                                                                                         \
                for (int j = 0; j < width; j++) {                                                            \
                    float a = acc[j], b = x[j * step];                                                       \
                    acc[j] = expression;                                                                     \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }
STRIP_KERNEL(sum, a + b)
STRIP_KERNEL(abs_sum, a + fabsf(b))
STRIP_KERNEL(square_sum, a + b * b)
STRIP_KERNEL(max, later(a, b, false))
STRIP_KERNEL(min, later(a, b, true))

typedef double row_kernel(const float *x, int64_t step, int64_t n);
typedef void strip_kernel(float *acc, const float *x, int64_t step, int width, int64_t row_step,
                          int64_t count);

#define KERNELS(name, isa, TARGET)                                                                           \
    TARGET static double name##_rows_##isa(const float *x, int64_t step, int64_t n)                          \
    {                                                                                                        \
        return name##_row(x, step, n);                                                                       \
    }                                                                                                        \
    TARGET static void name##_strips_##isa(float *acc, const float *x, int64_t step, int width,              \
                                           int64_t row_step, int64_t count)                                  \
    {                                                                                                        \
        name##_strip(acc, x, step, width, row_step, count);                                                  \
    }
#define ALL_KERNELS(isa, TARGET)                                                                             \
    KERNELS(sum, isa, TARGET)                                                                                \
    KERNELS(abs_sum, isa, TARGET)                                                                            \
    KERNELS(square_sum, isa, TARGET)                                                                         \
    KERNELS(max, isa, TARGET)                                                                                \
    KERNELS(min, isa, TARGET)
NATIVE_EACH_ISA(ALL_KERNELS)

/* ---- work ---- */

enum kind { SUM, MAX, MIN };

struct work {
    struct plan p;
    enum kind kind;
    row_kernel *row;
    strip_kernel *strip;
    const float *x;
    float *y;
    double *partial; /* [unit][part][width], NULL: parts is 1 */
    double scale;    /* 1, or one over the terms */
    int width;       /* of the widest strip; 1 for rows */
};

static double join(enum kind kind, double a, double b)
{
    return kind == SUM ? a + b : (double)later((float)a, (float)b, kind == MIN);
}

/* Steps [begin, end) of a result: pieces of rows. At least one unless the operand is empty. */
static double reduce_rows(const struct work *w, const float *x, int64_t begin, int64_t end)
{
    const struct plan *p = &w->p;
    double total = 0;
    for (int64_t t = begin; t < end; t++) {
        int64_t from = t % p->pieces * PIECE, n = p->n - from < PIECE ? p->n - from : PIECE;
        double part = w->row(x + offset_of(&p->go, p->go.x, t / p->pieces) + from * p->x_step, p->x_step, n);
        total = t == begin ? part : join(w->kind, total, part);
    }
    return total;
}

/* Steps [begin, end) of a strip: whole rows. Sums are kept in f32 over BLOCK rows, joined in double. */
static void reduce_strip(const struct work *w, const float *x, int width, int64_t begin, int64_t end,
                         double *total)
{
    const struct plan *p = &w->p;
    float acc[STRIP];
    for (int j = 0; j < width; j++) {
        total[j] = 0; /* of nothing */
    }
    int last = p->go.rank - 1;
    int64_t run = last >= 0 ? p->go.dim[last] : 1, row_step = last >= 0 ? p->go.x[last] : 0;
    for (int64_t t = begin; t < end;) {
        int64_t left = run - t % run, count = end - t < left ? end - t : left;
        const float *row = x + offset_of(&p->go, p->go.x, t);
        count = count < BLOCK ? count : BLOCK;
        for (int j = 0; j < width; j++) {
            acc[j] = w->kind == SUM ? 0 : row[j * p->x_step];
        }
        w->strip(acc, row, p->x_step, width, row_step, count);
        for (int j = 0; j < width; j++) {
            total[j] = t == begin ? (double)acc[j] : join(w->kind, total[j], (double)acc[j]);
        }
        t += count;
    }
}

static int strip_width(const struct plan *p, int64_t column)
{
    return p->rows ? 1 : (int)(p->n - column < STRIP ? p->n - column : STRIP);
}

/* What `total` holds becomes results `column` and following of the outer index. */
static void store(const struct work *w, int64_t outer, int64_t column, int width, const double *total)
{
    const struct plan *p = &w->p;
    float *y = w->y + offset_of(&p->stay, p->stay.y, outer) + column * p->y_step;
    for (int j = 0; j < width; j++) {
        y[j * p->y_step] = (float)(total[j] * w->scale);
    }
}

static void reduce_unit(const struct work *w, int64_t unit, int64_t part)
{
    const struct plan *p = &w->p;
    int64_t begin = part * p->steps / p->parts, end = (part + 1) * p->steps / p->parts;
    int64_t outer = unit / p->strips, column = unit % p->strips * STRIP;
    int width = strip_width(p, column);
    const float *x = w->x + offset_of(&p->stay, p->stay.x, outer) + (p->rows ? 0 : column * p->x_step);
    double total[STRIP];
    if (p->rows) {
        total[0] = reduce_rows(w, x, begin, end);
    } else {
        reduce_strip(w, x, width, begin, end, total);
    }
    if (w->partial) {
        memcpy(w->partial + (unit * p->parts + part) * w->width, total, (size_t)width * sizeof *total);
    } else {
        store(w, outer, column, width, total);
    }
}

static void reduce_chunk(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    (void)worker;
    if (w->p.parts > 1) {
        reduce_unit(w, chunk / w->p.parts, chunk % w->p.parts);
        return;
    }
    for (int64_t unit = chunk * w->p.per_chunk; unit < w->p.units && unit < (chunk + 1) * w->p.per_chunk;
         unit++) {
        reduce_unit(w, unit, 0);
    }
}

static void join_parts(void *user, int64_t unit, int worker)
{
    const struct work *w = user;
    const struct plan *p = &w->p;
    int64_t column = unit % p->strips * STRIP;
    int width = strip_width(p, column);
    double *total = w->partial + unit * p->parts * w->width; /* the first part */
    (void)worker;
    for (int64_t k = 1; k < p->parts; k++) {
        for (int j = 0; j < width; j++) {
            total[j] = join(w->kind, total[j], total[k * w->width + j]);
        }
    }
    store(w, unit / p->strips, column, width, total);
}

static int width_of(const struct plan *p) { return p->rows ? 1 : (int)(p->n < STRIP ? p->n : STRIP); }

static size_t workspace(const plumb_call *call)
{
    struct plan p;
    make_plan(call, &p);
    return p.parts > 1 ? (size_t)(p.units * p.parts * width_of(&p)) * sizeof(double) : 0;
}

static plumb_status reduce(const plumb_call *call, enum kind kind, row_kernel *row, strip_kernel *strip,
                           bool mean)
{
    struct work w = {
        .kind = kind, .row = row, .strip = strip, .x = call->in[0].data, .y = call->out[0].data, .scale = 1};
    make_plan(call, &w.p);
    w.width = width_of(&w.p);
    if (mean) {
        w.scale = 1 / w.p.terms;
    }
    if (w.p.parts > 1) {
        w.partial = call->workspace;
        plumb_pool_run(call->pool, w.p.units * w.p.parts, reduce_chunk, &w);
        plumb_pool_run(call->pool, w.p.units, join_parts, &w);
    } else {
        plumb_pool_run(call->pool, (w.p.units + w.p.per_chunk - 1) / w.p.per_chunk, reduce_chunk, &w);
    }
    return PLUMB_OK;
}

#define RUN(op_name, kind, kernel, mean)                                                                     \
    static plumb_status run_##op_name(const plumb_call *call)                                                \
    {                                                                                                        \
        return reduce(call, kind, NATIVE_PICK(kernel##_rows, call->isa),                                     \
                      NATIVE_PICK(kernel##_strips, call->isa), mean);                                        \
    }                                                                                                        \
    const plumb_impl plumb_impl_##op_name##_native = {                                                       \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.native",                                                                                \
        .dtypes = PLUMB_BIT(PLUMB_F32),                                                                      \
        .flags = PLUMB_IMPL_EXACT,                                                                           \
        .workspace = workspace,                                                                              \
        .run = run_##op_name,                                                                                \
    };

RUN(sum, SUM, sum, false)
RUN(mean, SUM, sum, true)
RUN(max, MAX, max, false)
RUN(min, MIN, min, false)
RUN(sum_to, SUM, sum, false)
RUN(abs_sum, SUM, abs_sum, false)
RUN(square_sum, SUM, square_sum, false)
