/* binary16 and bfloat16 by integer arithmetic alone: the result cannot depend on the processor's rounding or
 * denormal mode, and a double is rounded once (through f32 it would be rounded twice, and wrongly at ties). */
#include "core/core.h"

static uint64_t bits_of_f64(double value)
{
    union { double f; uint64_t u; } x = {.f = value};
    return x.u;
}

static uint32_t bits_of_f32(float value)
{
    union { float f; uint32_t u; } x = {.f = value};
    return x.u;
}

/* The bits of a double rounded to nearest even into 1 sign, `exponent_bits` and `mantissa_bits`, 16 together. */
static uint16_t narrow(uint64_t bits, int exponent_bits, int mantissa_bits)
{
    uint64_t sign = bits >> 63 << 15;
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t mantissa = bits & 0xfffffffffffff;
    uint64_t infinity = (((uint64_t)1 << exponent_bits) - 1) << mantissa_bits;
    if (exponent == 0x7ff) {
        uint64_t quiet = mantissa ? (uint64_t)1 << (mantissa_bits - 1) | mantissa >> (52 - mantissa_bits) : 0;
        return (uint16_t)(sign | infinity | quiet);
    }
    if (exponent == 0) {
        return (uint16_t)sign; /* a double's own denormals are far below half of any 16-bit denormal */
    }
    int bias = (1 << (exponent_bits - 1)) - 1;
    int biased = exponent - 1023 + bias;
    mantissa |= (uint64_t)1 << 52;
    int shift = 52 - mantissa_bits;
    if (biased <= 0) { /* denormal: more bits go, and the exponent field is 0 */
        shift += 1 - biased;
        biased = 1;
        if (shift > 54) {
            return (uint16_t)sign;
        }
    }
    uint64_t kept = mantissa >> shift;
    uint64_t rest = mantissa & (((uint64_t)1 << shift) - 1);
    uint64_t half = (uint64_t)1 << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1)) ? 1 : 0;
    /* kept has its leading 1 (if any) at mantissa_bits: adding it to exponent - 1 carries into the exponent field. */
    uint64_t value = ((uint64_t)(biased - 1) << mantissa_bits) + kept;
    return (uint16_t)(sign | (value < infinity ? value : infinity));
}

/* Widening the bits of a float into those of a double without the floating-point unit (which may flush denormals). */
static uint64_t widen(uint32_t bits)
{
    uint64_t sign = (uint64_t)(bits >> 31) << 63;
    uint64_t exponent = bits >> 23 & 0xff;
    uint64_t mantissa = bits & 0x7fffff;
    if (exponent == 0xff) {
        return sign | (uint64_t)0x7ff << 52 | mantissa << 29;
    }
    if (exponent == 0) {
        if (!mantissa) {
            return sign;
        }
        exponent = 1;
        while (!(mantissa & 0x800000)) {
            mantissa <<= 1;
            exponent--; /* wraps below zero and back by the bias */
        }
        mantissa &= 0x7fffff;
    }
    return sign | (exponent + 1023 - 127) << 52 | mantissa << 29;
}

uint16_t plumb_f16_of_f32(float value)
{
    return narrow(widen(bits_of_f32(value)), 5, 10);
}

uint16_t plumb_f16_of_f64(double value)
{
    return narrow(bits_of_f64(value), 5, 10);
}

uint16_t plumb_bf16_of_f32(float value)
{
    uint32_t bits = bits_of_f32(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40); /* rounding could carry a NaN into infinity */
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t plumb_bf16_of_f64(double value)
{
    return narrow(bits_of_f64(value), 8, 7);
}

float plumb_f32_of_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t mantissa = half & 0x3ff;
    union { uint32_t u; float f; } x;
    if (exponent == 0x1f) {
        x.u = sign | 0x7f800000 | mantissa << 13 | (mantissa ? 0x400000 : 0);
    } else if (exponent != 0) {
        x.u = sign | (exponent + 127 - 15) << 23 | mantissa << 13;
    } else if (mantissa == 0) {
        x.u = sign;
    } else {
        exponent = 127 - 14;
        while (!(mantissa & 0x400)) {
            mantissa <<= 1;
            exponent--;
        }
        x.u = sign | exponent << 23 | (mantissa & 0x3ff) << 13;
    }
    return x.f;
}
