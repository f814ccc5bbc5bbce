/* Functions of f32 computed in double, which compilers can put into vectors: no branches, no tables, no calls. Within 2^-30 of
 * the truth relative to it, so that rounding to f32 is all that is lost. Polynomials of erf and erfc are least-squares fits at
 * Chebyshev's points, made for this file.
 *
 * Where the truth is known without computing, arguments are limited instead of results chosen: e^700 is infinite in f32 and
 * e^-700 is 0. A NaN passes, because comparisons with it do not hold. */
#ifndef PLUMB_NATIVE_WIDE_H
#define PLUMB_NATIVE_WIDE_H

#include "cpu/native/vector.h"

#include <math.h>

NATIVE_INLINE double wide_within(double x, double low, double high)
{
    x = x > high ? high : x;
    return x < low ? low : x;
}

/* e^x = 2^n (1 + q): x = n ln 2 + r, |r| <= ln 2 / 2, q = e^r - 1 by Taylor's series, right to a number near 0 as well. */
struct wide_exp {
    double n, power, q;
};

NATIVE_INLINE struct wide_exp wide_exp_of(double x)
{
    const double magic = 0x1.8p52; /* n is read off the low bits */
    union {
        double f;
        uint64_t u;
    } shifted = {.f = wide_within(x, -700, 700) * M_LOG2E + magic}, power;
    double n = shifted.f - magic, r = wide_within(x, -700, 700) - n * M_LN2, q = 1 / 3628800.0;
    q = q * r + 1 / 362880.0;
    q = q * r + 1 / 40320.0;
    q = q * r + 1 / 5040.0;
    q = q * r + 1 / 720.0;
    q = q * r + 1 / 120.0;
    q = q * r + 1 / 24.0;
    q = q * r + 1 / 6.0;
    q = q * r + 0.5;
    q = q * r + 1;
    power.u = (shifted.u << 52) + 0x3ff0000000000000u;
    return (struct wide_exp){n, power.f, q * r};
}

NATIVE_INLINE double wide_exp(double x)
{
    struct wide_exp e = wide_exp_of(x);
    return e.power * e.q + e.power;
}

NATIVE_INLINE double wide_expm1(double x)
{
    struct wide_exp e = wide_exp_of(x);
    return e.n == 0 ? e.q : e.power * e.q + (e.power - 1); /* -0 stays */
}

/* ln(1 + z) for z in [0, 1]: 2 artanh(s), s = z / (2 + z). */
NATIVE_INLINE double wide_log1p(double z)
{
    double s = z / (2 + z), t = s * s;
    double p = 0.24397570929462806;
    p = p * t + 0.21397546847700644;
    p = p * t + 0.28620305487508585;
    p = p * t + 0.3999870737952379;
    p = p * t + 0.66666679079674263;
    p = p * t + 1.9999999998078393;
    return s * p;
}

/* erfc(a) of a >= 0: e^(-a^2) t P(t), t = 1 / (1 + a / 2). Beyond 26, 0 in f32, it may be anything as small. */
NATIVE_INLINE double wide_erfc_of(double a)
{
    a = a > 26 ? 26 : a;
    double t = 1 / (1 + 0.5 * a), u = t - 0.6;
    double p = 0.031289589999276279;
    p = p * u + 0.0018000807950648301;
    p = p * u - 0.049041551183945105;
    p = p * u + 0.02578816365910188;
    p = p * u + 0.041129634063774442;
    p = p * u - 0.06698106488990542;
    p = p * u - 0.010064481570225372;
    p = p * u + 0.11328392364685488;
    p = p * u - 0.037767286518417043;
    p = p * u - 0.20779968098758447;
    p = p * u + 0.068686154088936663;
    p = p * u + 0.59147030486979313;
    p = p * u + 0.80258865597079498;
    p = p * u + 0.58522449004274846;
    return wide_exp(-a * a) * (t * p);
}

NATIVE_INLINE double wide_erfc(double x)
{
    double tail = wide_erfc_of(fabs(x));
    return x < 0 ? 2 - tail : tail;
}

/* Near 0 an odd polynomial. */
NATIVE_INLINE double wide_erf(double x)
{
    double a = fabs(x), z = a > 0.7 ? 0.49 : x * x, tail = 1 - wide_erfc_of(a);
    double p = 9.7577222837663989e-05;
    p = p * z - 0.00083985114887398461;
    p = p * z + 0.0052190317215038522;
    p = p * z - 0.026865324344781012;
    p = p * z + 0.11283784730884286;
    p = p * z - 0.37612638688520517;
    p = p * z + 1.1283791670845971;
    return a < 0.7 ? x * p : x < 0 ? -tail : tail;
}

/* A shut gate gives 0 even where x is infinite. */
NATIVE_INLINE double wide_gated(double x, double gate) { return (x < -1000 ? -1000 : x) * gate; }

NATIVE_INLINE double wide_sigmoid(double x) { return 1 / (1 + wide_exp(-x)); }

/* tanh(ln(1 + e^x)), which is n / (n + 2) with n = e^x (e^x + 2) */
NATIVE_INLINE double wide_mish_gate(double x)
{
    double e = wide_exp(x > 40 ? 40 : x), n = e * (e + 2);
    return n / (n + 2);
}

NATIVE_INLINE double wide_softplus(double x) { return (x < 0 ? 0 : x) + wide_log1p(wide_exp(-fabs(x))); }

#endif
