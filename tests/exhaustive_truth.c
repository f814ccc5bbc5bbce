/* The first half of exhaustive.h: subjects, what they must come to, and how near is near enough.
 *
 * Decided here: not-a-numbers, infinities and zeros come out as the definition says, the sign of a zero included; other
 * results within the op's own bound (plumb_op.ulps, in units of half the last place), which near zero is half of the
 * least denormal; on the CPU, whose pool flushes denormals, it is the least normal number of the type computed in. */
#include "exhaustive.h"
#include "values.h"

#include <math.h>
#include <stdio.h>

#define SMOOTH TRUTH
#define R double
#define F(name) name
#define TRUTH(op, expression)                                                                                          \
    static R true_##op(R x, R a, R b)                                                                                  \
    {                                                                                                                  \
        (void)a, (void)b;                                                                                              \
        return (expression);                                                                                           \
    }                                                                                                                  \
    static void all_##op(const float *from, double *r, int64_t n, double a, double b)                                 \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            r[i] = true_##op((double)from[i], a, b);                                                                   \
        }                                                                                                              \
    }
#include "truths.h"
#undef TRUTH
#undef F
#undef R

#define R long double
#define F(name) name##l
#define TRUTH(op, expression)                                                                                          \
    static R long_##op(R x, R a, R b)                                                                                  \
    {                                                                                                                  \
        (void)a, (void)b;                                                                                              \
        return (expression);                                                                                           \
    }
#include "truths.h"
#undef TRUTH
#undef SMOOTH
#undef F
#undef R

static const struct {
    const char *name;
    truth *is;
    truths *are;
    long_truth *is_long;
    bool smooth;
} known[] = {
#define TRUTH(op, expression) {#op, true_##op, all_##op, long_##op, false},
#define SMOOTH(op, expression) {#op, true_##op, all_##op, long_##op, true},
#include "truths.h"
#undef TRUTH
#undef SMOOTH
};

/* ---- subjects ---- */

static bool is_unary(const plumb_op *op)
{
    return (op->flags & PLUMB_OP_ELEMENTWISE) && op->min_in == 1 && op->max_in == 1;
}

static bool is_new(const struct subject *list, int count, const op_case *one)
{
    for (int i = 0; i < count; i++) {
        if (list[i].op == one->op && memcmp(list[i].attr, one->attr, one->op->attr_size) == 0) {
            return false;
        }
    }
    return true;
}

static void find_truth(struct subject *subject)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(known[i].name, subject->op->name) == 0) {
            subject->is = known[i].is;
            subject->are = known[i].are;
            subject->is_long = known[i].is_long;
            subject->smooth = known[i].smooth;
        }
    }
}

struct subject *subjects(const char *filter, int *count, int *without)
{
    case_list cases = {0};
#define CASE_FAMILY(name) cases_##name(&cases);
#include "cases/families.h"
#undef CASE_FAMILY
    struct subject *list = test_alloc((size_t)(cases.count + 1) * sizeof(*list));
    *count = *without = 0;
    for (int k = 0; plumb_op_at(k); k++) {
        const plumb_op *op = plumb_op_at(k);
        int before = *count;
        if (!is_unary(op) || (filter && strcmp(op->name, filter) != 0)) {
            continue;
        }
        for (int i = 0; i < cases.count; i++) {
            const op_case *one = &cases.items[i];
            bool floats = !one->dtypes || (one->dtypes & PLUMB_FLOATS) == PLUMB_FLOATS;
            if (one->op == op && one->expect == PLUMB_OK && floats && is_new(list, *count, one)) {
                struct subject *subject = &list[(*count)++];
                subject->op = op;
                memcpy(subject->attr, one->attr, sizeof(subject->attr));
                snprintf(subject->label, sizeof(subject->label), "%s", op->attr_size ? one->label : "");
                find_truth(subject);
            }
        }
        if (*count == before) {
            printf("FAIL %s: no case tries it on floats\n", op->name);
            (*without)++;
        }
    }
    free(cases.items);
    return list;
}

/* ---- judging ---- */

double element_at(const void *data, plumb_dtype dtype, int64_t i)
{
    const unsigned char *at = (const unsigned char *)data + (size_t)i * plumb_dtype_size(dtype);
    uint32_t bits = 0;
    uint16_t low;
    if (dtype == PLUMB_F32) {
        memcpy(&bits, at, 4);
    } else if (dtype == PLUMB_BF16) {
        memcpy(&low, at, 2);
        bits = (uint32_t)low << 16;
    } else {
        return plumb_get(data, dtype, i);
    }
    int exponent = (int)(bits >> 23 & 0xff);
    double digits = bits & 0x7fffff, sign = bits >> 31 ? -1 : 1;
    if (exponent == 0xff) {
        return digits > 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent ? ldexp(digits + 0x1p23, exponent - 150) : ldexp(digits, -149));
}

static double largest(plumb_dtype dtype)
{
    return dtype == PLUMB_F16 ? 65504 : dtype == PLUMB_F64 ? 0x1.fffffffffffffp1023 : 0x1.fep127;
}

static double least_step(plumb_dtype dtype)
{
    return dtype == PLUMB_F16 ? 0x1p-24 : dtype == PLUMB_BF16 ? 0x1p-133 : dtype == PLUMB_F32 ? 0x1p-149 : 0x1p-1074;
}

/* a x + b may cancel, so its parts count: a, b, the product and the sum are rounded, |b| <= |r| + |a x|. Affine is the only
 * element-wise op of this kind. */
static double size_of(const plumb_op *op, const void *attr, double x, double r)
{
    return op->tolerance == PLUMB_TOL_NORM ? 2 * fabs(r) + 3 * fabs(((const plumb_attr_numbers *)attr)->a * x) : fabs(r);
}

bool element_is_right(const plumb_op *op, const void *attr, plumb_dtype dtype, double x, double y, double r,
                      bool denormals_off)
{
    double rounded = round_to(dtype, r);
    if (!plumb_dtype_is_float(dtype)) {
        return y == rounded;
    }
    if (isnan(r) || isnan(y)) {
        return isnan(r) && isnan(y);
    }
    if (y == rounded && (y != 0 || r != 0 || signbit(y) == signbit(r))) {
        return true;
    }
    if (isinf(rounded) || isinf(y)) {
        double edge = 0.99 * largest(dtype);
        return fabs(r) >= edge && fabs(y) >= edge && (y > 0) == (r > 0) && !isinf(r);
    }
    double halves = 1 + op->ulps;
    bool spare = dtype == PLUMB_F16 || dtype == PLUMB_F64; /* f16 is computed in f32; of f64, tests see no denormals */
    if (op->tolerance == PLUMB_TOL_EXACT || r == 0) {
        return denormals_off && !spare && r != 0 && fabs(y - r) <= 0x1p-126;
    }
    /* Else a factor of |x| <= 104 may be a denormal of f32, rounded to a multiple of 2^-149 (the gate of silu). */
    double lost = spare ? 0 : denormals_off ? 0x1p-126 : 104 * 0x1p-150;
    return fabs(y - r) <= halves * plumb_dtype_epsilon(dtype) * size_of(op, attr, x, r) + halves * least_step(dtype) / 2 + lost;
}
