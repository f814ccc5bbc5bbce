/* Reference: element-wise ops of two operands. Each function is written once for doubles and, where the op
 * takes integers, once for integers: those compute in unsigned 64 bits, so that they wrap. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

static plumb_status run_floats(const plumb_call *call, double (*f)(double a, double b))
{
    const plumb_view *a = &call->in[0], *b = &call->in[1], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_a = walk_add(&w, a), at_b = walk_add(&w, b), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_put(out, w.at[y], f(view_get(a, w.at[at_a]), view_get(b, w.at[at_b])));
    }
    return PLUMB_OK;
}

static plumb_status run_integers(const plumb_call *call, int64_t (*f)(int64_t a, int64_t b))
{
    const plumb_view *a = &call->in[0], *b = &call->in[1], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_a = walk_add(&w, a), at_b = walk_add(&w, b), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        view_put_int(out, w.at[y], f(view_get_int(a, w.at[at_a]), view_get_int(b, w.at[at_b])));
    }
    return PLUMB_OK;
}

/* Toward zero; by zero 0; the one quotient that does not fit wraps. */
static int64_t divide(int64_t a, int64_t b)
{
    if (b == 0) {
        return 0;
    }
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

/* fmod's remainder has a's sign, this one b's (Python's %). */
static double remainder_float(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t fmod_integer(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

static int64_t remainder_integer(int64_t a, int64_t b)
{
    int64_t r = fmod_integer(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t pow_integer(int64_t a, int64_t b)
{
    uint64_t result = 1, base = (uint64_t)a;
    if (b < 0) {
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    }
    for (; b > 0; b >>= 1, base *= base) {
        result *= b & 1 ? base : 1;
    }
    return (int64_t)result;
}

/* ln(e^a + e^b), of the larger and what the other adds to it. */
static double logaddexp_float(double a, double b)
{
    double high = a > b ? a : b;
    return a == b ? a + M_LN2 : isnan(a) || isnan(b) ? a + b : high + log1p(exp(-fabs(a - b)));
}

/* The numbers are widened to 64 bits, so only shifts beyond 63 need care; narrower results keep their low bits. */
static int64_t shift_left_integer(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b); }
static int64_t shift_right_integer(int64_t a, int64_t b) { return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b; }

#define ROW(op_name, float_expression, integer_expression)                                                   \
    static double op_name##_float(double a, double b) { return (float_expression); }                         \
    static int64_t op_name##_integer(int64_t a, int64_t b) { return (integer_expression); }                  \
    BOTH(op_name, PLUMB_IMPL_EXACT)
#define BOTH(op_name, which_flags)                                                                           \
    static plumb_status run_##op_name(const plumb_call *call)                                                \
    {                                                                                                        \
        return plumb_dtype_is_float(call->in[0].dtype) ? run_floats(call, op_name##_float)                   \
                                                       : run_integers(call, op_name##_integer);              \
    }                                                                                                        \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = PLUMB_ALL_DTYPES,                                                                          \
        .flags = (which_flags),                                                                              \
        .run = run_##op_name,                                                                                \
    };
#define FLOATS(op_name)                                                                                      \
    static plumb_status run_##op_name(const plumb_call *call) { return run_floats(call, op_name##_float); }  \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = PLUMB_FLOATS,                                                                              \
        .run = run_##op_name,                                                                                \
    };
#define INTEGERS(op_name, integer_expression)                                                                \
    static int64_t op_name##_int(int64_t a, int64_t b) { return (integer_expression); }                      \
    static plumb_status run_##op_name(const plumb_call *call) { return run_integers(call, op_name##_int); }  \
    const plumb_impl plumb_impl_##op_name##_ref = {                                                          \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.ref",                                                                                   \
        .dtypes = PLUMB_INTS,                                                                                \
        .flags = PLUMB_IMPL_EXACT,                                                                           \
        .run = run_##op_name,                                                                                \
    };

/* clang-format off */
ROW(add, a + b, (int64_t)((uint64_t)a + (uint64_t)b))
ROW(sub, a - b, (int64_t)((uint64_t)a - (uint64_t)b))
ROW(mul, a * b, (int64_t)((uint64_t)a * (uint64_t)b))
ROW(div, a / b, divide(a, b))
ROW(maximum, a >= b || isnan(a) ? a : b, a >= b ? a : b) /* a not-a-number on either side wins */
ROW(minimum, a <= b || isnan(a) ? a : b, a <= b ? a : b)
ROW(equal, a == b, a == b)
ROW(less, a < b, a < b)
ROW(not_equal, a != b, a != b)
ROW(less_equal, a <= b, a <= b)
ROW(logical_and, a != 0 && b != 0, a && b)
ROW(logical_or, a != 0 || b != 0, a || b)
ROW(logical_xor, (a != 0) != (b != 0), !a != !b)
INTEGERS(bitwise_and, a & b)
INTEGERS(bitwise_or, a | b)
INTEGERS(bitwise_xor, a ^ b)
INTEGERS(shift_left, shift_left_integer(a, b))
INTEGERS(shift_right, shift_right_integer(a, b))

static double pow_float(double a, double b) { return pow(a, b); }
static double fmod_float(double a, double b) { return fmod(a, b); }
static double atan2_float(double a, double b) { return atan2(a, b); }
static double prelu_float(double a, double b) { return a > 0 ? a : a * b; }
BOTH(pow, 0)
BOTH(fmod, PLUMB_IMPL_EXACT)
BOTH(remainder, PLUMB_IMPL_EXACT)
FLOATS(atan2)
FLOATS(logaddexp)
FLOATS(prelu)
/* clang-format on */

static plumb_status run_where(const plumb_call *call)
{
    const plumb_view *condition = &call->in[0], *a = &call->in[1], *b = &call->in[2], *out = &call->out[0];
    struct walk w;
    walk_begin(&w, out->rank, out->dim);
    int at_c = walk_add(&w, condition), at_a = walk_add(&w, a), at_b = walk_add(&w, b), y = walk_add(&w, out);
    for (; w.left > 0; walk_step(&w)) {
        bool first = view_get_int(condition, w.at[at_c]) != 0;
        view_copy(out, w.at[y], first ? a : b, w.at[first ? at_a : at_b]);
    }
    return PLUMB_OK;
}

const plumb_impl plumb_impl_where_ref = {
    .op = &plumb_op_where,
    .name = "cpu.ref",
    .dtypes = PLUMB_ALL_DTYPES,
    .flags = PLUMB_IMPL_EXACT,
    .run = run_where,
};
