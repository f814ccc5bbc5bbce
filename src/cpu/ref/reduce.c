/* Reference: reductions. A result element is found by walking the part of the operand that it stands for, in
 * row-major order: `kept` are the dimensions that remain, `gone` those that are reduced. Sums are kept in
 * double. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

/* The operand split in two, and the result without the size-1 dimensions that the reduction left. */
struct split {
    plumb_view kept, gone, out;
};

static void append(plumb_view *to, const plumb_view *from, int d)
{
    to->dim[to->rank] = from->dim[d];
    to->stride[to->rank++] = from->stride[d];
}

/* kept_place: result dimension d - shift is operand dimension d; otherwise reduced dimensions were left
 * out. */
static struct split split_by(const plumb_view *x, const plumb_view *out, uint32_t axes, bool kept_place)
{
    struct split s = {.kept = *x, .gone = *x, .out = *out};
    int shift = x->rank - out->rank, next = 0;
    s.kept.rank = s.gone.rank = s.out.rank = 0;
    for (int d = 0; d < x->rank; d++) {
        if (axes >> d & 1) {
            append(&s.gone, x, d);
        } else {
            append(&s.kept, x, d);
            append(&s.out, out, kept_place ? d - shift : next++);
        }
    }
    return s;
}

static struct split split_axes(const plumb_call *call)
{
    const plumb_attr_reduce *attr = call->attr;
    uint32_t axes = attr->all ? (1u << call->in[0].rank) - 1u : attr->axes;
    return split_by(&call->in[0], &call->out[0], axes, attr->keep);
}

/* Calls fold(start of the part, its dimensions) for every result element and stores what it returns. */
static plumb_status fold_floats(const struct split *s, double (*fold)(const plumb_view *part))
{
    struct walk w;
    plumb_view part = s->gone;
    size_t size = plumb_dtype_size(part.dtype);
    walk_begin(&w, s->kept.rank, s->kept.dim);
    int x = walk_add(&w, &s->kept), y = walk_add(&w, &s->out);
    for (; w.left > 0; walk_step(&w)) {
        part.data = (char *)s->gone.data + w.at[x] * (int64_t)size;
        view_put(&s->out, w.at[y], fold(&part));
    }
    return PLUMB_OK;
}

static plumb_status fold_integers(const struct split *s, int64_t (*fold)(const plumb_view *part))
{
    struct walk w;
    plumb_view part = s->gone;
    size_t size = plumb_dtype_size(part.dtype);
    walk_begin(&w, s->kept.rank, s->kept.dim);
    int x = walk_add(&w, &s->kept), y = walk_add(&w, &s->out);
    for (; w.left > 0; walk_step(&w)) {
        part.data = (char *)s->gone.data + w.at[x] * (int64_t)size;
        view_put_int(&s->out, w.at[y], fold(&part));
    }
    return PLUMB_OK;
}

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

/* Of one dimension; integers are compared as integers. */
static int64_t argmax_of(const plumb_view *part)
{
    int64_t best = 0;
    for (int64_t i = 1; i < part->dim[0]; i++) {
        int64_t here = i * part->stride[0], there = best * part->stride[0];
        bool wins = plumb_dtype_is_float(part->dtype)
                        ? beats(view_get(part, here), view_get(part, there), false)
                        : view_get_int(part, here) > view_get_int(part, there);
        best = wins ? i : best;
    }
    return best;
}

static plumb_status run_sum(const plumb_call *call)
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, sum_of) : fold_integers(&s, integer_sum_of);
}

static plumb_status run_mean(const plumb_call *call)
{
    struct split s = split_axes(call);
    return fold_floats(&s, mean_of);
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

static plumb_status run_argmax(const plumb_call *call)
{
    const plumb_attr_reduce *attr = call->attr;
    int axis = attr->axis + (attr->axis < 0 ? call->in[0].rank : 0);
    struct split s = split_by(&call->in[0], &call->out[0], 1u << axis, attr->keep);
    return fold_integers(&s, argmax_of);
}

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
ROW(mean, PLUMB_FLOATS, 0)
ROW(max, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(min, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(argmax, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(sum_to, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT)
ROW(all_finite, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
ROW(sum_squares, PLUMB_FLOATS, PLUMB_IMPL_EXACT)
