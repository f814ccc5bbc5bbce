/* Reference: further reductions (src/op/statistics.c), in double; integers wrap at 64 bits. */
#include "cpu/ref/fold.h"

#include <math.h>

#define FOLD(name, type, first, get, join)                                                                   \
    static type name(const plumb_view *part)                                                                 \
    {                                                                                                        \
        type total = first;                                                                                  \
        struct walk w;                                                                                       \
        walk_begin(&w, part->rank, part->dim);                                                               \
        for (int at = walk_add(&w, part); w.left > 0; walk_step(&w)) {                                       \
            type x = (type)get(part, w.at[at]);                                                              \
            total = join;                                                                                    \
        }                                                                                                    \
        return total;                                                                                        \
    }

FOLD(product, double, 1, view_get, total * x)
FOLD(absolute, double, 0, view_get, total + fabs(x))
FOLD(squares, double, 0, view_get, total + x * x)
FOLD(greatest, double, -INFINITY, view_get, isnan(total) || total >= x ? total : x)
FOLD(wrapped_product, uint64_t, 1, view_get_int, total * x)
FOLD(wrapped_absolute, uint64_t, 0, view_get_int, total + ((int64_t)x < 0 ? 0 - x : x))
FOLD(wrapped_squares, uint64_t, 0, view_get_int, total + x * x)

static int64_t integer_product(const plumb_view *part) { return (int64_t)wrapped_product(part); }

static int64_t integer_absolute(const plumb_view *part) { return (int64_t)wrapped_absolute(part); }

static int64_t integer_squares(const plumb_view *part) { return (int64_t)wrapped_squares(part); }

/* sum += x, with what rounding takes from it kept in *low (Kahan 1965): equal terms err alike, so that thousands of them
 * would be too far off to judge others in f64. */
static void add_exactly(double *sum, double *low, double x)
{
    double term = x + *low, total = *sum + term;
    *low = term - (total - *sum);
    *sum = total;
}

/* The sum of (x - mean)^2: two passes. */
static double scatter(const plumb_view *part)
{
    struct walk w;
    double sum[2] = {0, 0}, low[2] = {0, 0}, mean = 0;
    for (int pass = 0; pass < 2; pass++) {
        walk_begin(&w, part->rank, part->dim);
        for (int at = walk_add(&w, part); w.left > 0; walk_step(&w)) {
            double x = view_get(part, w.at[at]);
            add_exactly(&sum[pass], &low[pass], pass ? (x - mean) * (x - mean) : x);
        }
        mean = sum[0] / (double)plumb_view_count(part);
    }
    return sum[1];
}

static double log_sum_exp(const plumb_view *part)
{
    double most = greatest(part), total = 0;
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    if (!isfinite(most)) {
        return most;
    }
    for (int at = walk_add(&w, part); w.left > 0; walk_step(&w)) {
        total += exp(view_get(part, w.at[at]) - most);
    }
    return most + log(total);
}

static int64_t count_true(const plumb_view *part)
{
    int64_t count = 0;
    bool is_float = plumb_dtype_is_float(part->dtype);
    struct walk w;
    walk_begin(&w, part->rank, part->dim);
    for (int at = walk_add(&w, part); w.left > 0; walk_step(&w)) {
        count += is_float ? view_get(part, w.at[at]) != 0 : view_get_int(part, w.at[at]) != 0;
    }
    return count;
}

static int64_t any_true(const plumb_view *part) { return count_true(part) > 0; }

static int64_t all_true(const plumb_view *part) { return count_true(part) == plumb_view_count(part); }

static plumb_status run(const plumb_call *call, double (*of_floats)(const plumb_view *part),
                        int64_t (*of_integers)(const plumb_view *part))
{
    struct split s = split_axes(call);
    return plumb_dtype_is_float(s.out.dtype) ? fold_floats(&s, of_floats) : fold_integers(&s, of_integers);
}

/* Divided before it is rounded to the result's type. */
static plumb_status run_variance(const plumb_call *call)
{
    struct split s = split_axes(call);
    struct walk w;
    plumb_view part = s.gone;
    size_t size = plumb_dtype_size(part.dtype);
    int64_t divisor = plumb_view_count(&part) - ((const plumb_attr_reduce *)call->attr)->correction;
    walk_begin(&w, s.kept.rank, s.kept.dim);
    int x = walk_add(&w, &s.kept), y = walk_add(&w, &s.out);
    for (; w.left > 0; walk_step(&w)) {
        part.data = (char *)s.gone.data + w.at[x] * (int64_t)size;
        view_put(&s.out, w.at[y], scatter(&part) / (double)(divisor > 0 ? divisor : 0));
    }
    return PLUMB_OK;
}

#define ROW(op_name, which_dtypes, which_flags, floats, integers)                                            \
    static plumb_status run_##op_name(const plumb_call *call) { return run(call, floats, integers); }        \
    const plumb_impl plumb_impl_##op_name##_ref = {.op = &plumb_op_##op_name,                                \
                                                   .name = "cpu.ref",                                        \
                                                   .dtypes = (which_dtypes),                                 \
                                                   .flags = (which_flags),                                   \
                                                   .run = run_##op_name};

ROW(prod, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT, product, integer_product)
ROW(abs_sum, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT, absolute, integer_absolute)
ROW(square_sum, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT, squares, integer_squares)
ROW(log_sum_exp, PLUMB_FLOATS, 0, log_sum_exp, NULL)
ROW(any, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT, NULL, any_true)
ROW(all, PLUMB_ALL_DTYPES, PLUMB_IMPL_EXACT, NULL, all_true)

const plumb_impl plumb_impl_variance_ref = {
    .op = &plumb_op_variance, .name = "cpu.ref", .dtypes = PLUMB_FLOATS, .run = run_variance};
