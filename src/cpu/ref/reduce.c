/* Reference: reductions. Sums are kept in double. */
#include "cpu/ref/fold.h"

#include <math.h>

static double sum_of(const plumb_view *part)
{
    double sum = 0;
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    int x = walk_add(&w, part);
    for (; w.left > 0; walk_step(&w)) {
        sum += view_get(part, w.at[x]);
    }
    return sum;
}

static int64_t integer_sum_of(const plumb_view *part)
{
    uint64_t sum = 0;
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    int x = walk_add(&w, part);
    for (; w.left > 0; walk_step(&w)) {
        sum += (uint64_t)view_get_int(part, w.at[x]);
    }
    return (int64_t)sum;
}

static int64_t integer_mean_of(const plumb_view *part) { return integer_sum_of(part) / plumb_view_count(part); }

static double mean_of(const plumb_view *part) { return sum_of(part) / (double)plumb_view_count(part); }

/* Does `value` take the place of the extremum found so far? Not-a-number does, and is not replaced. */
static bool beats(double value, double best, bool smaller)
{
    return !isnan(best) && (isnan(value) || (smaller ? value < best : value > best));
}

static double extremum_of(const plumb_view *part, bool smaller)
{
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    int x = walk_add(&w, part);
    double best = view_get(part, w.at[x]);
    for (; w.left > 0; walk_step(&w)) {
        double value = view_get(part, w.at[x]);
        best = beats(value, best, smaller) ? value : best;
    }
    return best;
}

static int64_t integer_extremum_of(const plumb_view *part, bool smaller)
{
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    int x = walk_add(&w, part);
    int64_t best = view_get_int(part, w.at[x]);
    for (; w.left > 0; walk_step(&w)) {
        int64_t value = view_get_int(part, w.at[x]);
        best = (smaller ? value < best : value > best) ? value : best;
    }
    return best;
}

static double max_of(const plumb_view *part) { return extremum_of(part, false); }

static double min_of(const plumb_view *part) { return extremum_of(part, true); }

static int64_t integer_max_of(const plumb_view *part) { return integer_extremum_of(part, false); }

static int64_t integer_min_of(const plumb_view *part) { return integer_extremum_of(part, true); }

/* Of one dimension; integers are compared as integers. A later one must be better, or as good if the last is wanted. */
static int64_t place_of(const plumb_view *part, bool smaller, bool last)
{
    int64_t best = 0;
    for (int64_t i = 1; i < part->dim[0]; i++) {
        int64_t here = i * part->stride[0], there = best * part->stride[0];
        bool wins, ties;
        if (plumb_dtype_is_float(part->dtype)) {
            double a = view_get(part, here), b = view_get(part, there);
            wins = beats(a, b, smaller);
            ties = a == b || (isnan(a) && isnan(b));
        } else {
            int64_t a = view_get_int(part, here), b = view_get_int(part, there);
            wins = smaller ? a < b : a > b;
            ties = a == b;
        }
        best = wins || (ties && last) ? i : best;
    }
    return best;
}

static int64_t first_max(const plumb_view *part) { return place_of(part, false, false); }

static int64_t last_max(const plumb_view *part) { return place_of(part, false, true); }

static int64_t first_min(const plumb_view *part) { return place_of(part, true, false); }

static int64_t last_min(const plumb_view *part) { return place_of(part, true, true); }

static plumb_status run_sum(const plumb_call *call)
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, sum_of) : fold_integers(&s, integer_sum_of);
}

static plumb_status run_mean(const plumb_call *call)
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, mean_of) : fold_integers(&s, integer_mean_of);
}

static plumb_status run_max(const plumb_call *call)
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, max_of) : fold_integers(&s, integer_max_of);
}

static plumb_status run_min(const plumb_call *call)
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, min_of) : fold_integers(&s, integer_min_of);
}

static plumb_status run_place(const plumb_call *call, int64_t (*first)(const plumb_view *part),
                              int64_t (*last)(const plumb_view *part))
{
    const plumb_attr_reduce *attr = call->attr;
    int axis = attr->axis + (attr->axis < 0 ? call->in[0].rank : 0);
    struct split s = split_by(&call->in[0], &call->out[0], 1u << axis, attr->keep);
    return fold_integers(&s, attr->last ? last : first);
}

static plumb_status run_argmax(const plumb_call *call) { return run_place(call, first_max, last_max); }

static plumb_status run_argmin(const plumb_call *call) { return run_place(call, first_min, last_min); }

static plumb_status run_sum_to(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *out = &call->out[0];
    int shift = x->rank - out->rank;
    uint32_t axes = 0;
    for (int d = 0; d < x->rank; d++) {
        axes |= d < shift || out->dim[d - shift] != x->dim[d] ? 1u << d : 0;
    }
    struct split s = split_by(x, out, axes, true);
    return plumb_dtype_is_float(out->dtype) ? fold_floats(&s, sum_of) : fold_integers(&s, integer_sum_of);
}

/* ---- over many tensors ---- */

static double sum_squares_of(const plumb_view *x)
{
    double sum = 0;
    struct walk w;
    walk_begin(&w, x->rank, x->dim);
    int at = walk_add(&w, x);
    for (; w.left > 0; walk_step(&w)) {
        double value = view_get(x, w.at[at]);
        sum += value * value;
    }
    return sum;
}

static bool all_finite_in(const plumb_view *x)
{
    struct walk w;
    walk_begin(&w, x->rank, x->dim);
    int at = walk_add(&w, x);
    for (; w.left > 0; walk_step(&w)) {
        if (!isfinite(view_get(x, w.at[at]))) {
            return false;
        }
    }
    return true;
}

static plumb_status run_sum_squares(const plumb_call *call)
{
    double sum = 0;
    for (int i = 0; i < call->n_in; i++) {
        sum += sum_squares_of(&call->in[i]);
    }
    view_put(&call->out[0], 0, sum);
    return PLUMB_OK;
}

static plumb_status run_all_finite(const plumb_call *call)
{
    bool finite = true;
    for (int i = 0; finite && i < call->n_in; i++) {
        finite = all_finite_in(&call->in[i]);
    }
    view_put_int(&call->out[0], 0, finite);
    return PLUMB_OK;
}

#define ROW(op_name, which_dtypes, which_flags)                                                              \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = (which_dtypes),                                                                            \
        .flags = (which_flags),                                                                              \
        .run = run_##op_name,                                                                                \
    };

ROW(sum, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(mean, PLUMB_ALL_DTYPES, 0)
ROW(max, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(min, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(argmax, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(argmin, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(sum_to, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(all_finite, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
ROW(sum_squares, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
