/* Numbers in kernels: elements are loaded, computed with in an accumulator type (f32 for f32, bf16 and f16; f64 for
 * f64; 64-bit integers for integers), and rounded once when stored. And where the elements of a walk lie. */
#ifndef PLUMB_NUMBER_CUH
#define PLUMB_NUMBER_CUH

#include "plumb_cuda.h"

#include "launch.h"

#include <math.h>

namespace {

typedef __nv_bfloat16 bf16;
typedef __half f16;

template <class T> struct number_of { typedef int64_t type; };
template <> struct number_of<float> { typedef float type; };
template <> struct number_of<double> { typedef double type; };
template <> struct number_of<bf16> { typedef float type; };
template <> struct number_of<f16> { typedef float type; };
template <class T> using number = typename number_of<T>::type;

__device__ inline float load(float x) { return x; }
__device__ inline double load(double x) { return x; }
__device__ inline float load(bf16 x) { return __bfloat162float(x); }
__device__ inline float load(f16 x) { return __half2float(x); }
__device__ inline int64_t load(int32_t x) { return x; }
__device__ inline int64_t load(int64_t x) { return x; }
__device__ inline int64_t load(uint8_t x) { return x; }

/* A double that rounds to any shorter float as the integer does: beyond 53 bits, the last that is kept says whether any
 * were dropped, so that nothing is rounded twice. */
__device__ inline double sticky(int64_t x)
{
    uint64_t size = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
    if (size >> 53 != 0) {
        size = (size >> 11 | ((size & 2047) != 0)) << 11;
    }
    return x < 0 ? -(double)size : (double)size;
}

/* store<T>(x): x rounded to nearest even, or the low bits of an integer. */
template <class T> struct stored;
template <> struct stored<float> {
    static __device__ float of(float x) { return x; }
    static __device__ float of(double x) { return (float)x; }
    static __device__ float of(int64_t x) { return (float)x; }
};
template <> struct stored<double> {
    static __device__ double of(float x) { return (double)x; }
    static __device__ double of(double x) { return x; }
    static __device__ double of(int64_t x) { return (double)x; }
};
template <> struct stored<bf16> {
    static __device__ bf16 of(float x) { return __float2bfloat16_rn(x); }
    static __device__ bf16 of(double x) { return __double2bfloat16(x); }
    static __device__ bf16 of(int64_t x) { return __double2bfloat16(sticky(x)); }
};
template <> struct stored<f16> {
    static __device__ f16 of(float x) { return __float2half_rn(x); }
    static __device__ f16 of(double x) { return __double2half(x); }
    static __device__ f16 of(int64_t x) { return __double2half(sticky(x)); }
};

/* Toward zero, saturating, not-a-number to 0: `low` and `high` are exact in double, high being one too many. */
__device__ inline int64_t clipped(double x, double low, double high, int64_t top)
{
    return x != x ? 0 : x <= low ? (int64_t)low : x >= high ? top : (int64_t)x;
}
__device__ inline int64_t clipped(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

template <> struct stored<int32_t> {
    static __device__ int32_t of(double x) { return (int32_t)clipped(x, -2147483648.0, 2147483648.0, 2147483647); }
    static __device__ int32_t of(float x) { return of((double)x); }
    static __device__ int32_t of(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }
};
template <> struct stored<int64_t> {
    static __device__ int64_t of(double x) { return clipped(x, -9223372036854775808.0, 9223372036854775808.0, INT64_MAX); }
    static __device__ int64_t of(float x) { return of((double)x); }
    static __device__ int64_t of(int64_t x) { return x; }
};
template <> struct stored<uint8_t> {
    static __device__ uint8_t of(double x) { return (uint8_t)clipped(x, 0.0, 256.0, 255); }
    static __device__ uint8_t of(float x) { return of((double)x); }
    static __device__ uint8_t of(int64_t x) { return (uint8_t)x; }
};
template <class T, class N> __device__ inline T store(N x)
{
    return stored<T>::of(x);
}

/* The mathematical functions under one name for both widths. */
#define PK_FUNCTION(name, of_float, of_double) \
    __device__ inline float name(float x) { return of_float(x); } \
    __device__ inline double name(double x) { return of_double(x); }
PK_FUNCTION(m_exp, expf, exp)
PK_FUNCTION(m_expm1, expm1f, expm1)
PK_FUNCTION(m_log, logf, log)
PK_FUNCTION(m_log1p, log1pf, log1p)
PK_FUNCTION(m_sqrt, sqrtf, sqrt)
PK_FUNCTION(m_sin, sinf, sin)
PK_FUNCTION(m_cos, cosf, cos)
PK_FUNCTION(m_erf, erff, erf)
PK_FUNCTION(m_tanh, tanhf, tanh)
PK_FUNCTION(m_abs, fabsf, fabs)
PK_FUNCTION(m_asin, asinf, asin)
PK_FUNCTION(m_acos, acosf, acos)
PK_FUNCTION(m_atan, atanf, atan)
PK_FUNCTION(m_cosh, coshf, cosh)
PK_FUNCTION(m_floor, floorf, floor)
PK_FUNCTION(m_ceil, ceilf, ceil)
PK_FUNCTION(m_rint, rintf, rint)
PK_FUNCTION(m_trunc, truncf, trunc)
#undef PK_FUNCTION

template <class N> __device__ inline bool is_nan(N x) { return x != x; }

/* ---- where elements lie ---- */

/* Offsets of the first N operands of a walk at element i. Division by 32-bit numbers where they suffice. */
template <int N> __device__ inline void walk_at(const pk_walk &w, int64_t i, int64_t *at)
{
#pragma unroll
    for (int k = 0; k < N; k++) {
        at[k] = 0;
    }
    bool narrow = w.count <= 0x7fffffff;
    for (int d = w.rank - 1; d >= 0; d--) {
        int64_t index = i;
        if (d > 0) {
            int64_t rest = narrow ? (int64_t)((uint32_t)i / (uint32_t)w.dim[d]) : i / w.dim[d];
            index = i - rest * w.dim[d];
            i = rest;
        }
#pragma unroll
        for (int k = 0; k < N; k++) {
            at[k] += index * w.stride[k][d];
        }
    }
}

/* The elements a thread visits: first, and the distance to the next. */
__device__ inline int64_t first_element() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline int64_t element_stride() { return (int64_t)gridDim.x * blockDim.x; }

enum { PK_THREADS = 256 };

/* Blocks for `count` pieces of work, one a thread; beyond the limit threads take several. */
inline unsigned blocks_for(int64_t count)
{
    int64_t blocks = (count + PK_THREADS - 1) / PK_THREADS;
    return (unsigned)(blocks > 1 << 20 ? 1 << 20 : blocks);
}

/* 16 bytes (or what N elements take) moved at once. */
template <class T, int N> struct alignas(sizeof(T) * N) pack {
    T at[N];
};

inline bool aligned(const void *memory, size_t bytes)
{
    return (uintptr_t)memory % bytes == 0;
}

/* Rows of a switch over element types: dtype_case(number, type). */
#define PK_FLOAT_CASES(dtype_case) \
    dtype_case(PK_F32, float) dtype_case(PK_F64, double) dtype_case(PK_BF16, bf16) dtype_case(PK_F16, f16)
#define PK_ALL_CASES(dtype_case) \
    PK_FLOAT_CASES(dtype_case) dtype_case(PK_I32, int32_t) dtype_case(PK_I64, int64_t) dtype_case(PK_U8, uint8_t)

} // namespace

#endif
