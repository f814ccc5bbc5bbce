/* Reference: along one axis. Sums are kept in double (integers wrap at 64 bits); sorting is a merge of runs of indices by
 * the order of src/op/along.c, which lie in the workspace. */
#include "cpu/ref/fold.h"

#include <math.h>

static int normal_axis(const plumb_call *call, int axis) { return axis < 0 ? axis + call->in[0].rank : axis; }

/* ---- cumulative sums ---- */

static void scan_floats(const plumb_view *x, int64_t at, int64_t x_step, const plumb_view *y, int64_t to,
                        int64_t y_step, int64_t n, bool exclusive)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double before = sum;
        sum += view_get(x, at + i * x_step);
        view_put(y, to + i * y_step, exclusive ? before : sum);
    }
}

static void scan_integers(const plumb_view *x, int64_t at, int64_t x_step, const plumb_view *y, int64_t to,
                          int64_t y_step, int64_t n, bool exclusive)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t before = sum;
        sum += (uint64_t)view_get_int(x, at + i * x_step);
        view_put_int(y, to + i * y_step, (int64_t)(exclusive ? before : sum));
    }
}

static plumb_status run_cumsum(const plumb_call *call)
{
    const plumb_attr_scan *attr = call->attr;
    const plumb_view *x = &call->in[0], *y = &call->out[0];
    int axis = normal_axis(call, attr->axis);
    struct split s = split_by(x, y, 1u << axis, true);
    int64_t n = x->dim[axis], x_step = x->stride[axis], y_step = y->stride[axis];
    struct walk w;
    walk_begin(&w, s.kept.rank, s.kept.dim);
    int a = walk_add(&w, &s.kept), b = walk_add(&w, &s.out);
    for (; w.left > 0; walk_step(&w)) {
        int64_t last = attr->reverse && n > 0 ? n - 1 : 0, way = attr->reverse ? -1 : 1;
        (plumb_dtype_is_float(x->dtype) ? scan_floats : scan_integers)(
            x, w.at[a] + last * x_step, way * x_step, y, w.at[b] + last * y_step, way * y_step, n, attr->exclusive);
    }
    return PLUMB_OK;
}

/* ---- sorting ---- */

struct lane {
    const plumb_view *x;
    int64_t at, step;
    bool descending;
};

/* Does element i come strictly before element j, its index apart? */
static bool precedes(const struct lane *l, int64_t i, int64_t j)
{
    if (!plumb_dtype_is_float(l->x->dtype)) {
        int64_t a = view_get_int(l->x, l->at + i * l->step), b = view_get_int(l->x, l->at + j * l->step);
        return l->descending ? a > b : a < b;
    }
    double a = view_get(l->x, l->at + i * l->step), b = view_get(l->x, l->at + j * l->step);
    if (isnan(a) || isnan(b)) {
        return l->descending ? isnan(a) && !isnan(b) : !isnan(a) && isnan(b);
    }
    return l->descending ? a > b : a < b;
}

/* Sorts 0 .. n-1; returns where they lie in the end, one of the two arrays. */
static int64_t *sorted(const struct lane *l, int64_t n, int64_t *from, int64_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        from[i] = i;
    }
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t start = 0; start < n; start += 2 * run) {
            int64_t middle = start + run < n ? start + run : n, end = middle + run < n ? middle + run : n;
            int64_t i = start, j = middle;
            for (int64_t k = start; k < end; k++) {
                bool second = i == middle || (j < end && precedes(l, from[j], from[i]));
                to[k] = from[second ? j++ : i++];
            }
        }
        int64_t *other = from;
        from = to;
        to = other;
    }
    return from;
}

static size_t workspace(const plumb_call *call)
{
    int axis = normal_axis(call, ((const plumb_attr_order *)call->attr)->axis);
    return 2 * sizeof(int64_t) * (size_t)call->in[0].dim[axis];
}

static plumb_status run_order(const plumb_call *call)
{
    const plumb_attr_order *attr = call->attr;
    const plumb_view *x = &call->in[0], *values = &call->out[0], *indices = &call->out[1];
    int axis = normal_axis(call, attr->axis);
    struct split first = split_by(x, values, 1u << axis, true), second = split_by(x, indices, 1u << axis, true);
    int64_t n = x->dim[axis], k = values->dim[axis], *room = call->workspace;
    struct walk w;
    walk_begin(&w, first.kept.rank, first.kept.dim);
    int a = walk_add(&w, &first.kept), b = walk_add(&w, &first.out), c = walk_add(&w, &second.out);
    for (; w.left > 0 && n > 0; walk_step(&w)) {
        const struct lane l = {x, w.at[a], x->stride[axis], attr->descending};
        const int64_t *order = sorted(&l, n, room, room + n);
        for (int64_t i = 0; i < k; i++) {
            view_copy(values, w.at[b] + i * values->stride[axis], x, l.at + order[i] * l.step);
            view_put_int(indices, w.at[c] + i * indices->stride[axis], order[i]);
        }
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_cumsum_ref = {.op = &plumb_op_cumsum,
                                          .name = "cpu.ref",
                                          .dtypes = PLUMB_ALL_DTYPES,
                                          .flags = PLUMB_IMPL_EXACT,
                                          .run = run_cumsum};
const plumb_impl plumb_impl_sort_ref = {.op = &plumb_op_sort,
                                        .name = "cpu.ref",
                                        .dtypes = PLUMB_ALL_DTYPES,
                                        .flags = PLUMB_IMPL_EXACT,
                                        .workspace = workspace,
                                        .run = run_order};
const plumb_impl plumb_impl_top_k_ref = {.op = &plumb_op_top_k,
                                         .name = "cpu.ref",
                                         .dtypes = PLUMB_ALL_DTYPES,
                                         .flags = PLUMB_IMPL_EXACT,
                                         .workspace = workspace,
                                         .run = run_order};
