/* Random numbers as a function of (seed, stream, step, element): nothing to save, nothing to share between threads,
 * and the same everywhere. The normal distribution is made with +, -, *, / and sqrt alone, which IEEE 754 rounds
 * correctly, so its bits are equal on every device too (no library logarithm; no contraction into fused operations). */
#include "core/core.h"

#include <math.h>

void plumb_philox(uint64_t seed, uint32_t stream, uint64_t step, uint32_t block, uint32_t out[4])
{
    uint32_t c0 = block, c1 = stream, c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53 * c0;
        uint64_t p1 = (uint64_t)0xcd9e8d57 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

double plumb_uniform_of_word(uint32_t word)
{
    return (double)word * 0x1p-32;
}

/* Natural logarithm of a positive normal double: log m + e log 2 with m in [sqrt 1/2, sqrt 2), by the series of
 * 2 artanh((m - 1) / (m + 1)), whose argument is below 0.1716: 12 terms leave 2e-19. */
static double logarithm(double x)
{
    union { double f; uint64_t u; } bits = {.f = x};
    int exponent = (int)(bits.u >> 52) - 1022;
    bits.u = (bits.u & 0xfffffffffffff) | (uint64_t)1022 << 52; /* in [0.5, 1) */
    if (bits.f < 0.70710678118654752440) {
        bits.f *= 2;
        exponent--;
    }
    double s = (bits.f - 1) / (bits.f + 1);
    double square = s * s, sum = 0;
    for (int odd = 23; odd >= 1; odd -= 2) {
        sum = sum * square + 1 / (double)odd;
    }
    return 2 * s * sum + exponent * 0.69314718055994530942;
}

/* Value of the polynomial with 8 coefficients, lowest first. */
static double polynomial(const double c[8], double x)
{
    double value = c[7];
    for (int i = 6; i >= 0; i--) {
        value = value * x + c[i];
    }
    return value;
}

/* Wichura's AS 241 (PPND16), relative error about 1e-16. Its third branch, for probabilities below exp(-25), cannot be
 * reached: the least here is 2^-33. */
double plumb_normal_of_word(uint32_t word)
{
    static const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1.0,                      4.2313330701600911252e+1, 6.8718700749205790830e+2,
                                5.3941960214247511077e+3, 2.1213794301586595867e+4, 3.9307895800092710610e+4,
                                2.8729085735721942674e+4, 5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
                                3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1.0,                       2.05319162663775882187e0,  1.67638483018380384940e0,
                                6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
                                5.47593808499534494600e-4, 1.05075007164441684324e-9};
    double q = ((double)word + 0.5) * 0x1p-32 - 0.5; /* exact; never 0, never a half */
    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * polynomial(a, r) / polynomial(b, r);
    }
    double r = sqrt(-logarithm(0.5 - fabs(q))) - 1.6;
    double z = polynomial(c, r) / polynomial(d, r);
    return q < 0 ? -z : z;
}

uint64_t plumb_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
    }
    return hash;
}
