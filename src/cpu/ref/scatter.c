/* Reference lookup and replacement by element and by tuple. Each place of the indices names an element or a row of x; values
 * are joined in double, integers in 64 bits, in row-major order of the indices. Decided in src/op/scatter.c. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

/* x's dimensions that a place names, one index each: `k` of them from dimension `first`. A place is the indices' dimensions
 * without the components of a tuple. */
struct naming {
    const plumb_attr_scatter *attr;
    const plumb_view *indices;
    bool tuples;
    int first, k, places;
};

static struct naming naming_of(const plumb_call *call)
{
    const plumb_attr_scatter *attr = call->attr;
    const plumb_view *indices = &call->in[1];
    struct naming n = {.attr = attr, .indices = indices, .k = 1, .places = indices->rank};
    n.tuples = call->op == &plumb_op_gather_nd || call->op == &plumb_op_scatter_nd;
    n.first = attr->axis < 0 ? attr->axis + indices->rank : attr->axis;
    if (n.tuples) {
        n.places = indices->rank - 1;
        n.k = (int)indices->dim[n.places];
        n.first = attr->batch;
    }
    return n;
}

/* Where in a tensor of x's shape the row named at `place` begins; an error if an index is outside. */
static plumb_status row_at(const plumb_call *call, const struct naming *n, const plumb_view *x, const int64_t *place,
                           int64_t *row)
{
    int64_t at = 0, position = 0;
    *row = 0;
    for (int d = 0; d < n->places; d++) {
        at += place[d] * n->indices->stride[d];
        position = position * n->indices->dim[d] + place[d];
        bool own = n->tuples ? d < n->attr->batch : d != n->first;
        *row += own ? place[d] * x->stride[d] : 0;
    }
    for (int j = 0; j < n->k; j++) {
        int64_t size = x->dim[n->first + j], stride = n->tuples ? n->indices->stride[n->places] : 0;
        int64_t i = view_get_int(n->indices, at + j * stride);
        if (i < -size || i >= size)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "index %lld at %lld is outside [%lld, %lld)", (long long)i,
                                   (long long)(position * n->k + j), (long long)-size, (long long)size);
        *row += (i < 0 ? i + size : i) * x->stride[n->first + j];
    }
    return PLUMB_OK;
}

/* The dimensions of a row: those of x behind what a tuple names; a single element otherwise. The same of y or updates, which
 * come behind the places. */
static plumb_view row_part(const plumb_view *whole, int first)
{
    plumb_view row = *whole;
    row.rank = whole->rank - first;
    for (int d = 0; d < row.rank; d++) {
        row.dim[d] = whole->dim[first + d];
        row.stride[d] = whole->stride[first + d];
    }
    return row;
}

/* Goes through places and the elements of their rows: `visit` gets an offset in x's shape and one in the other tensor. All
 * indices are checked before the first visit. */
static plumb_status each(const plumb_call *call, const plumb_view *x, const plumb_view *other,
                         void (*visit)(const plumb_call *call, int64_t at_x, int64_t at_other))
{
    struct naming n = naming_of(call);
    const plumb_view row_x = row_part(x, n.tuples ? n.first + n.k : x->rank), row_y = row_part(other, n.places);
    plumb_status status = PLUMB_OK;
    for (int pass = 0; pass < 2 && status == PLUMB_OK; pass++) {
        struct walk w, inner;
        walk_begin(&w, n.places, n.indices->dim);
        for (; w.left > 0 && status == PLUMB_OK; walk_step(&w)) {
            int64_t from = 0, to = 0;
            status = row_at(call, &n, x, w.index, &from);
            for (int d = 0; d < n.places; d++)
                to += w.index[d] * other->stride[d];
            walk_begin(&inner, row_x.rank, row_x.dim);
            int a = walk_add(&inner, &row_x), b = walk_add(&inner, &row_y);
            for (; pass == 1 && inner.left > 0; walk_step(&inner))
                visit(call, from + inner.at[a], to + inner.at[b]);
        }
    }
    return status;
}

static void look_up(const plumb_call *call, int64_t from, int64_t to)
{
    view_copy(&call->out[0], to, &call->in[0], from);
}

static plumb_status run_gather(const plumb_call *call) { return each(call, &call->in[0], &call->out[0], look_up); }

/* ---- scatter: in the workspace, 8 bytes an element ---- */

static size_t workspace_scatter(const plumb_call *call) { return 8 * (size_t)plumb_view_count(&call->out[0]); }

static plumb_view joined_view(const plumb_call *call)
{
    plumb_view v = call->out[0];
    v.data = call->workspace;
    v.dtype = plumb_dtype_is_float(v.dtype) ? PLUMB_F64 : PLUMB_I64;
    plumb_view_pack(&v);
    return v;
}

static double join(double a, double b, int reduce)
{
    switch (reduce) {
    case PLUMB_SCATTER_ADD: return a + b;
    case PLUMB_SCATTER_MUL: return a * b;
    case PLUMB_SCATTER_MAX: return b > a || b != b ? b : a;
    case PLUMB_SCATTER_MIN: return b < a || b != b ? b : a;
    default: return b;
    }
}

static int64_t join_int(int64_t a, int64_t b, int reduce)
{
    switch (reduce) {
    case PLUMB_SCATTER_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case PLUMB_SCATTER_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case PLUMB_SCATTER_MAX: return b > a ? b : a;
    case PLUMB_SCATTER_MIN: return b < a ? b : a;
    default: return b;
    }
}

static void put(const plumb_call *call, int64_t at, int64_t from)
{
    int reduce = ((const plumb_attr_scatter *)call->attr)->reduce;
    const plumb_view *updates = &call->in[2];
    if (plumb_dtype_is_float(updates->dtype)) {
        double *to = (double *)call->workspace + at;
        *to = join(*to, view_get(updates, from), reduce);
    } else {
        int64_t *to = (int64_t *)call->workspace + at;
        *to = join_int(*to, view_get_int(updates, from), reduce);
    }
}

static plumb_status run_scatter(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *y = &call->out[0], joined = joined_view(call);
    bool is_float = plumb_dtype_is_float(x->dtype);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int from = walk_add(&w, x), at = walk_add(&w, &joined), to = walk_add(&w, y);
    for (struct walk v = w; v.left > 0; walk_step(&v)) {
        if (is_float)
            view_put(&joined, v.at[at], view_get(x, v.at[from]));
        else
            view_put_int(&joined, v.at[at], view_get_int(x, v.at[from]));
    }
    plumb_status status = each(call, &joined, &call->in[2], put);
    for (; status == PLUMB_OK && w.left > 0; walk_step(&w)) {
        if (is_float)
            view_put(y, w.at[to], view_get(&joined, w.at[at]));
        else
            view_put_int(y, w.at[to], view_get_int(&joined, w.at[at]));
    }
    return status;
}

#define ROW(op_name, function, ...)                                                                                   \
    const plumb_impl plumb_impl_##op_name##_ref = {.op = &plumb_op_##op_name,                                         \
                                                   .name = "cpu.ref",                                                 \
                                                   .dtypes = PLUMB_ALL_DTYPES,                                        \
                                                   .flags = PLUMB_IMPL_EXACT,                                         \
                                                   .run = function,                                                   \
                                                   __VA_ARGS__};
ROW(gather_elements, run_gather, .workspace = NULL)
ROW(gather_nd, run_gather, .workspace = NULL)
ROW(scatter_elements, run_scatter, .workspace = workspace_scatter)
ROW(scatter_nd, run_scatter, .workspace = workspace_scatter)
