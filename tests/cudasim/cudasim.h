/* CUDA's device language for g++: index variables, barriers, shuffles, votes, atomics and intrinsics as functions of the
 * simulator, so that kernels compile unchanged. Types and the half and bfloat16 arithmetic come from the toolkit's own
 * headers, whose host side rounds as the device does. Included through kernels/plumb_cuda.h. */
#ifndef CUDASIM_CUDASIM_H
#define CUDASIM_CUDASIM_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "sim.h"

#undef __shared__
#undef __launch_bounds__
#undef __forceinline__
#define __shared__ plumb_kernels_use_PLUMB_SHARED /* a raw one would be static: it does not compile */
#define __launch_bounds__(...)
#define __forceinline__ inline
#ifndef __noinline__
#define __noinline__ __attribute__((noinline))
#endif

/* Written at each switch of threads, hence not const. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

#define CUDASIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define CUDASIM_AT cudasim_place{file, line}

/* ---- barriers and fences ---- */

static inline void __syncthreads(CUDASIM_HERE) { cudasim_barrier("__syncthreads", 0, CUDASIM_AT); }
static inline int __syncthreads_count(int p, CUDASIM_HERE) { return cudasim_barrier("__syncthreads_count", p, CUDASIM_AT); }
static inline int __syncthreads_or(int p, CUDASIM_HERE)
{
    return cudasim_barrier("__syncthreads_or", p, CUDASIM_AT) > 0;
}
static inline int __syncthreads_and(int p, CUDASIM_HERE)
{
    return cudasim_barrier("__syncthreads_and", !p, CUDASIM_AT) == 0;
}
/* Memory is in order here: a fence that is missing shows in the checker build, and on a GPU. */
static inline void __threadfence() { CUDASIM_TELL_FENCE(); }
static inline void __threadfence_system() { CUDASIM_TELL_FENCE(); }
static inline void __threadfence_block() {}
static inline void __syncwarp(unsigned mask = 0xffffffffu, CUDASIM_HERE)
{
    cudasim_warp("__syncwarp", mask, nullptr, nullptr, nullptr, 0, 0, 32, CUDASIM_AT);
}

/* ---- shuffles, votes, matches, reductions of a warp ---- */

namespace cudasim {

/* Lane `lane` gets the value of `from`; a lane that is not there gives 0xFF.. (undefined on a GPU). */
inline void give(const cudasim_meet *m, int lane, int from)
{
    if (m->in[from]) {
        memcpy(m->out[lane], m->in[from], (size_t)m->size);
    } else {
        memset(m->out[lane], 0xFF, (size_t)m->size);
    }
}

template <class F> inline void each_lane(const cudasim_meet *m, F &&f)
{
    for (int lane = 0; lane < 32; lane++) {
        if (m->lanes >> lane & 1) {
            f(lane);
        }
    }
}

/* `arg` of each lane is its source lane, its delta or its xor mask; a segment has `width` lanes. */
enum shuffle { IDX, UP, DOWN, XOR };
template <int kind> inline void shuffle_lanes(const cudasim_meet *m)
{
    each_lane(m, [&](int lane) {
        const int width = m->width[lane], base = lane & ~(width - 1), arg = m->arg[lane];
        int from = lane;
        if (kind == IDX) {
            from = base + (arg & (width - 1));
        } else if (kind == UP) {
            from = lane - arg < base ? lane : lane - arg;
        } else if (kind == DOWN) {
            from = lane + arg >= base + width ? lane : lane + arg;
        } else {
            from = (lane ^ arg) >= base + width ? lane : lane ^ arg;
        }
        give(m, lane, from);
    });
}

template <class T> inline T shuffle_value(const char *what, cudasim_combine combine, unsigned mask, T v, int arg,
                                          int width, cudasim_place place)
{
    static_assert(std::is_trivially_copyable<T>::value && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8),
                  "shuffles move 2, 4 or 8 bytes");
    T out;
    cudasim_warp(what, mask, combine, &v, &out, (int)sizeof(T), arg, width, place);
    return out;
}

inline unsigned ballot(const cudasim_meet *m)
{
    unsigned bits = 0;
    each_lane(m, [&](int lane) { bits |= (unsigned)(m->arg[lane] != 0) << lane; });
    return bits;
}

inline void tell_all(const cudasim_meet *m, unsigned value)
{
    each_lane(m, [&](int lane) { memcpy(m->out[lane], &value, sizeof value); });
}

inline void combine_ballot(const cudasim_meet *m) { tell_all(m, ballot(m)); }
inline void combine_any(const cudasim_meet *m) { tell_all(m, ballot(m) != 0); }
inline void combine_all(const cudasim_meet *m) { tell_all(m, ballot(m) == m->lanes); }

inline unsigned vote(const char *what, cudasim_combine combine, unsigned mask, int predicate, cudasim_place place)
{
    unsigned out = 0;
    cudasim_warp(what, mask, combine, &predicate, &out, (int)sizeof out, predicate, 32, place);
    return out;
}

inline void combine_match_any(const cudasim_meet *m)
{
    each_lane(m, [&](int lane) {
        unsigned same = 0;
        each_lane(m, [&](int other) {
            same |= (unsigned)(memcmp(m->in[lane], m->in[other], (size_t)m->size) == 0) << other;
        });
        memcpy(m->out[lane], &same, sizeof same);
    });
}

template <class T, int kind> inline void combine_reduce(const cudasim_meet *m)
{
    bool first = true;
    T total = 0;
    each_lane(m, [&](int lane) {
        T v;
        memcpy(&v, m->in[lane], sizeof v);
        if (first) {
            total = v;
        } else if (kind == 0) {
            total = (T)(total + v);
        } else if (kind == 1) {
            total = v < total ? v : total;
        } else if (kind == 2) {
            total = v > total ? v : total;
        } else {
            total = (T)(kind == 3 ? total & v : kind == 4 ? total | v : total ^ v);
        }
        first = false;
    });
    each_lane(m, [&](int lane) { memcpy(m->out[lane], &total, sizeof total); });
}

} // namespace cudasim

template <class T> inline T __shfl_sync(unsigned mask, T v, int source, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle_value("__shfl_sync", cudasim::shuffle_lanes<cudasim::IDX>, mask, v, source, width, CUDASIM_AT);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle_value("__shfl_up_sync", cudasim::shuffle_lanes<cudasim::UP>, mask, v, (int)delta, width,
                                  CUDASIM_AT);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle_value("__shfl_down_sync", cudasim::shuffle_lanes<cudasim::DOWN>, mask, v, (int)delta, width,
                                  CUDASIM_AT);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32, CUDASIM_HERE)
{
    return cudasim::shuffle_value("__shfl_xor_sync", cudasim::shuffle_lanes<cudasim::XOR>, mask, v, lanes, width,
                                  CUDASIM_AT);
}

static inline unsigned __ballot_sync(unsigned mask, int p, CUDASIM_HERE)
{
    return cudasim::vote("__ballot_sync", cudasim::combine_ballot, mask, p, CUDASIM_AT);
}
static inline int __any_sync(unsigned mask, int p, CUDASIM_HERE)
{
    return (int)cudasim::vote("__any_sync", cudasim::combine_any, mask, p, CUDASIM_AT);
}
static inline int __all_sync(unsigned mask, int p, CUDASIM_HERE)
{
    return (int)cudasim::vote("__all_sync", cudasim::combine_all, mask, p, CUDASIM_AT);
}
template <class T> inline unsigned __match_any_sync(unsigned mask, T v, CUDASIM_HERE)
{
    unsigned out = 0;
    cudasim_warp("__match_any_sync", mask, cudasim::combine_match_any, &v, &out, (int)sizeof v, 0, 32, CUDASIM_AT);
    return out;
}

#define CUDASIM_REDUCE(T, name, kind) \
    static inline T name(unsigned mask, T v, CUDASIM_HERE) \
    { \
        T out; \
        cudasim_warp(#name, mask, cudasim::combine_reduce<T, kind>, &v, &out, (int)sizeof v, 0, 32, CUDASIM_AT); \
        return out; \
    }
CUDASIM_REDUCE(int, __reduce_add_sync, 0)
CUDASIM_REDUCE(unsigned, __reduce_add_sync, 0)
CUDASIM_REDUCE(int, __reduce_min_sync, 1)
CUDASIM_REDUCE(unsigned, __reduce_min_sync, 1)
CUDASIM_REDUCE(int, __reduce_max_sync, 2)
CUDASIM_REDUCE(unsigned, __reduce_max_sync, 2)
CUDASIM_REDUCE(unsigned, __reduce_and_sync, 3)
CUDASIM_REDUCE(unsigned, __reduce_or_sync, 4)
CUDASIM_REDUCE(unsigned, __reduce_xor_sync, 5)
#undef CUDASIM_REDUCE

/* ---- atomics: threads never run at once, so a plain step is one ---- */

#define CUDASIM_ATOMIC(T, name, expression) \
    CUDASIM_UNSEEN static inline T name(T *address, T v) \
    { \
        CUDASIM_TELL_ATOMIC(address); \
        const T old = *address; \
        *address = (T)(expression); \
        return old; \
    }
#define CUDASIM_ATOMIC_CAS(T) \
    CUDASIM_UNSEEN static inline T atomicCAS(T *address, T compare, T v) \
    { \
        CUDASIM_TELL_ATOMIC(address); \
        const T old = *address; \
        *address = old == compare ? v : old; \
        return old; \
    }
#define CUDASIM_ATOMIC_BITS(T) \
    CUDASIM_ATOMIC(T, atomicMin, v < old ? v : old) \
    CUDASIM_ATOMIC(T, atomicMax, v > old ? v : old) \
    CUDASIM_ATOMIC(T, atomicAnd, old & v) \
    CUDASIM_ATOMIC(T, atomicOr, old | v) \
    CUDASIM_ATOMIC(T, atomicXor, old ^ v) \
    CUDASIM_ATOMIC(T, atomicExch, v) \
    CUDASIM_ATOMIC_CAS(T)
CUDASIM_ATOMIC_BITS(int)
CUDASIM_ATOMIC_BITS(unsigned)
CUDASIM_ATOMIC_BITS(unsigned long long)
CUDASIM_ATOMIC_CAS(unsigned short)
CUDASIM_ATOMIC(int, atomicAdd, (unsigned)old + (unsigned)v) /* wraps, as the device's does */
CUDASIM_ATOMIC(int, atomicSub, (unsigned)old - (unsigned)v)
CUDASIM_ATOMIC(unsigned, atomicAdd, old + v)
CUDASIM_ATOMIC(unsigned, atomicSub, old - v)
CUDASIM_ATOMIC(unsigned, atomicInc, old >= v ? 0 : old + 1)
CUDASIM_ATOMIC(unsigned, atomicDec, old == 0 || old > v ? v : old - 1)
CUDASIM_ATOMIC(unsigned long long, atomicAdd, old + v)
CUDASIM_ATOMIC(float, atomicAdd, old + v)
CUDASIM_ATOMIC(double, atomicAdd, old + v)
CUDASIM_ATOMIC(float, atomicExch, v)
#undef CUDASIM_ATOMIC
#undef CUDASIM_ATOMIC_CAS
#undef CUDASIM_ATOMIC_BITS

/* ---- cached loads and stores, plain here ---- */

#define CUDASIM_LOAD(name) template <class T> inline T name(const T *p) { return *p; }
CUDASIM_LOAD(__ldg)
CUDASIM_LOAD(__ldcg)
CUDASIM_LOAD(__ldca)
CUDASIM_LOAD(__ldcs)
CUDASIM_LOAD(__ldlu)
CUDASIM_LOAD(__ldcv)
#undef CUDASIM_LOAD
#define CUDASIM_STORE(name) template <class T> inline void name(T *p, T v) { *p = v; }
CUDASIM_STORE(__stwb)
CUDASIM_STORE(__stcg)
CUDASIM_STORE(__stcs)
CUDASIM_STORE(__stwt)
#undef CUDASIM_STORE

/* ---- bits ---- */

namespace cudasim {
template <class To, class From> inline To bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
} // namespace cudasim

static inline int __float_as_int(float v) { return cudasim::bits<int>(v); }
static inline unsigned __float_as_uint(float v) { return cudasim::bits<unsigned>(v); }
static inline float __int_as_float(int v) { return cudasim::bits<float>(v); }
static inline float __uint_as_float(unsigned v) { return cudasim::bits<float>(v); }
static inline long long __double_as_longlong(double v) { return cudasim::bits<long long>(v); }
static inline double __longlong_as_double(long long v) { return cudasim::bits<double>(v); }
static inline int __double2hiint(double v) { return (int)(cudasim::bits<unsigned long long>(v) >> 32); }
static inline int __double2loint(double v) { return (int)cudasim::bits<unsigned long long>(v); }
static inline double __hiloint2double(int hi, int lo)
{
    return cudasim::bits<double>((unsigned long long)(unsigned)hi << 32 | (unsigned)lo);
}
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline unsigned __brev(unsigned v)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++) {
        r |= (v >> i & 1) << (31 - i);
    }
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }

/* ---- arithmetic: the exact forms; the fast forms (__expf and the like) are exact here, so tolerances are the GPU's ---- */

#define CUDASIM_TWO(T, name, expression) static inline T name(T a, T b) { return expression; }
#define CUDASIM_ONE(T, name, expression) static inline T name(T a) { return expression; }
CUDASIM_TWO(float, __fadd_rn, a + b)
CUDASIM_TWO(float, __fsub_rn, a - b)
CUDASIM_TWO(float, __fmul_rn, a * b)
CUDASIM_TWO(float, __fdiv_rn, a / b)
CUDASIM_TWO(float, __fdividef, a / b)
CUDASIM_TWO(float, fdividef, a / b)
CUDASIM_TWO(double, __dadd_rn, a + b)
CUDASIM_TWO(double, __dsub_rn, a - b)
CUDASIM_TWO(double, __dmul_rn, a * b)
CUDASIM_TWO(double, __ddiv_rn, a / b)
CUDASIM_ONE(float, __frcp_rn, 1.0f / a)
CUDASIM_ONE(float, __fsqrt_rn, sqrtf(a))
CUDASIM_ONE(float, __frsqrt_rn, (float)(1.0 / sqrt((double)a)))
CUDASIM_ONE(double, __dsqrt_rn, sqrt(a))
CUDASIM_ONE(double, __drcp_rn, 1.0 / a)
CUDASIM_ONE(float, __saturatef, a > 0 ? (a < 1 ? a : 1.0f) : 0.0f) /* NaN gives 0, as on the device */
CUDASIM_ONE(double, rsqrt, 1.0 / sqrt(a))
CUDASIM_ONE(float, rsqrt, (float)(1.0 / sqrt((double)a)))
#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 42) /* newer ones have it */
CUDASIM_ONE(float, rsqrtf, (float)(1.0 / sqrt((double)a)))
#endif
#undef CUDASIM_ONE
#undef CUDASIM_TWO
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
/* The C library has names of its own with two underscores: hence macros. */
#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __sincosf sincosf

static inline int __float2int_rn(float v) { return (int)rintf(v); }
static inline int __float2int_rz(float v) { return (int)v; }
static inline int __float2int_rd(float v) { return (int)floorf(v); }
static inline int __float2int_ru(float v) { return (int)ceilf(v); }
static inline long long __double2ll_rn(double v) { return (long long)rint(v); }
static inline float __int2float_rn(int v) { return (float)v; }
static inline float __uint2float_rn(unsigned v) { return (float)v; }
static inline float __double2float_rn(double v) { return (float)v; }
static inline double __int2double_rn(int v) { return v; }

#define CUDASIM_MINMAX(T) \
    static inline T min(T a, T b) { return a < b ? a : b; } \
    static inline T max(T a, T b) { return a > b ? a : b; }
CUDASIM_MINMAX(int)
CUDASIM_MINMAX(unsigned)
CUDASIM_MINMAX(long)
CUDASIM_MINMAX(unsigned long)
CUDASIM_MINMAX(long long)
CUDASIM_MINMAX(unsigned long long)
#undef CUDASIM_MINMAX
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

/* What the toolkit's headers give to the device only. */
static inline __half __hfma(__half a, __half b, __half c)
{
    return __double2half((double)__half2float(a) * (double)__half2float(b) + (double)__half2float(c));
}
static inline __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c)
{
    return __double2bfloat16((double)__bfloat162float(a) * (double)__bfloat162float(b) + (double)__bfloat162float(c));
}

/* ---- launches ---- */

namespace cudasim {

template <class... P> struct closure {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> arguments;

    static void invoke(void *self)
    {
        closure *c = static_cast<closure *>(self);
        std::apply(c->kernel, c->arguments);
    }
    static void destroy(void *self) { delete static_cast<closure *>(self); }
};

struct argument_list {
    const void *pointer[64], *structure[64];
    size_t bytes[64];
    int pointers, structures;

    template <class T> void add(const T &argument)
    {
        if constexpr (std::is_pointer<T>::value) {
            pointer[pointers++] = (const void *)argument; /* of a volatile one too */
        } else if constexpr (std::is_class<T>::value) {
            structure[structures] = &argument;
            bytes[structures++] = sizeof argument;
        }
    }
};

/* The arguments become what the kernel's parameters are before they are kept, as in a real launch. */
template <class... P, class... A>
cudaError_t launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   A &&...arguments)
{
    static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
    static_assert(sizeof...(P) <= 64, "at most 64 parameters");
    auto *c = new closure<P...>{kernel, std::tuple<std::decay_t<P>...>(std::forward<A>(arguments)...)};
    argument_list list{};
    std::apply([&](const auto &...each) { (list.add(each), ...); }, c->arguments);
    cudasim_kernel k{};
    k.name = name;
    k.invoke = closure<P...>::invoke;
    k.destroy = closure<P...>::destroy;
    k.closure = c;
    k.closure_bytes = sizeof *c;
    k.function = reinterpret_cast<const void *>(kernel);
    k.grid = grid;
    k.block = block;
    k.shared = shared;
    k.pointers = list.pointer;
    k.pointer_count = list.pointers;
    k.structs = list.structure;
    k.struct_bytes = list.bytes;
    k.struct_count = list.structures;
    return cudasim_launch(&k, stream);
}

} // namespace cudasim

#undef CUDASIM_HERE
#undef CUDASIM_AT

#endif
