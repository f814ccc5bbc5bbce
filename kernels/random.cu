/* Random numbers as a function of (seed, stream, step, element), equal bit for bit to src/core/random.c: the same
 * Philox and the same polynomials in double, every operation rounded by itself (no contraction into fused ones). A
 * thread makes the four elements of a Philox block. Seed and step are read from device memory, so that a captured run
 * draws new numbers when it is replayed. */
#include "number.cuh"

namespace {

struct words {
    uint32_t at[4];
};

/* Philox4x32-10 */
__device__ inline words philox(uint64_t seed, uint32_t stream, uint64_t step, uint32_t block)
{
    uint32_t c0 = block, c1 = stream, c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
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
    return {{c0, c1, c2, c3}};
}

__device__ inline double times(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double plus(double a, double b) { return __dadd_rn(a, b); }
__device__ inline double over(double a, double b) { return __ddiv_rn(a, b); }

__device__ inline double uniform_of(uint32_t word) { return times((double)word, 0x1p-32); }

/* Natural logarithm of a positive normal double, as in src/core/random.c. */
__device__ inline double logarithm(double x)
{
    uint64_t bits = (uint64_t)__double_as_longlong(x);
    int exponent = (int)(bits >> 52) - 1022;
    double m = __longlong_as_double((long long)((bits & 0xfffffffffffff) | (uint64_t)1022 << 52));
    if (m < 0.70710678118654752440) {
        m = times(m, 2);
        exponent--;
    }
    double s = over(plus(m, -1), plus(m, 1));
    double square = times(s, s), sum = 0;
#pragma unroll
    for (int odd = 23; odd >= 1; odd -= 2) {
        sum = plus(times(sum, square), 1 / (double)odd);
    }
    return plus(times(times(2, s), sum), times(exponent, 0.69314718055994530942));
}

/* With 8 coefficients, lowest first. */
__device__ inline double polynomial(const double (&c)[8], double x)
{
    double value = c[7];
#pragma unroll
    for (int i = 6; i >= 0; i--) {
        value = plus(times(value, x), c[i]);
    }
    return value;
}

/* The inverse of the normal distribution function, as in src/core/random.c. */
__device__ inline double normal_of(uint32_t word)
{
    const double a[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                         1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                         3.3430575583588128105e+4, 2.5090809287301226727e+3};
    const double b[8] = {1.0,                      4.2313330701600911252e+1, 6.8718700749205790830e+2,
                         5.3941960214247511077e+3, 2.1213794301586595867e+4, 3.9307895800092710610e+4,
                         2.8729085735721942674e+4, 5.2264952788528545610e+3};
    const double c[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
                         3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
                         2.27238449892691845833e-2, 7.74545014278341407640e-4};
    const double d[8] = {1.0,                       2.05319162663775882187e0,  1.67638483018380384940e0,
                         6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
                         5.47593808499534494600e-4, 1.05075007164441684324e-9};
    double q = plus(times(plus((double)word, 0.5), 0x1p-32), -0.5); /* exact */
    if (fabs(q) <= 0.425) {
        double r = plus(0.180625, -times(q, q));
        return over(times(q, polynomial(a, r)), polynomial(b, r));
    }
    double r = plus(__dsqrt_rn(-logarithm(plus(0.5, -fabs(q)))), -1.6);
    double z = over(polynomial(c, r), polynomial(d, r));
    return q < 0 ? -z : z;
}

/* ---- from words to elements ---- */

struct op_dropout { /* a dropped element is 0 whatever it was; the product is rounded once */
    static constexpr bool reads = true;
    template <class T> static __device__ T of(const pk_random_of &r, uint32_t word, T x)
    {
        return store<T>(word >= r.least ? times((double)load(x), r.a) : 0.0);
    }
};

struct op_uniform {
    static constexpr bool reads = false;
    template <class T> static __device__ T of(const pk_random_of &r, uint32_t word, T)
    {
        T y = store<T>(plus(r.a, times(r.b, uniform_of(word))));
        return (double)load(y) >= r.high ? store<T>(r.below) : y;
    }
};

struct op_normal {
    static constexpr bool reads = false;
    template <class T> static __device__ T of(const pk_random_of &r, uint32_t word, T)
    {
        return store<T>(plus(r.a, times(r.b, normal_of(word))));
    }
};

struct op_bernoulli {
    static constexpr bool reads = false;
    template <class T> static __device__ T of(const pk_random_of &r, uint32_t word, T)
    {
        return store<T>(word < r.least ? 1.0 : 0.0);
    }
};

struct op_bernoulli_of {
    static constexpr bool reads = true;
    template <class T> static __device__ T of(const pk_random_of &, uint32_t word, T p)
    {
        double chance = (double)load(p);
        return is_nan(chance) ? p : store<T>(uniform_of(word) < chance ? 1.0 : 0.0);
    }
};

struct op_integers {
    static constexpr bool reads = false;
    template <class T> static __device__ T of(const pk_random_of &r, uint32_t word, T)
    {
        return store<T>((int64_t)r.a + (int64_t)(word * r.least >> 32));
    }
};

/* Packed: the four elements of a block lie side by side and are moved together. */
template <class T, class Op, bool packed> __global__ void __launch_bounds__(PK_THREADS) draw(const pk_random_of r)
{
    uint64_t seed = (uint64_t)r.key[0], step = (uint64_t)r.key[r.key_step];
    int64_t count = r.y.count, blocks = (count + 3) / 4;
    const T *x = (const T *)r.x.data[0];
    T *y = (T *)r.y.data[0];
    for (int64_t block = first_element(); block < blocks; block += element_stride()) {
        words w = philox(seed, r.stream, step, (uint32_t)block);
        if (packed && 4 * block + 4 <= count) {
            pack<T, 4> to = {};
            if (Op::reads) {
                to = ((const pack<T, 4> *)x)[block];
            }
#pragma unroll
            for (int k = 0; k < 4; k++) {
                to.at[k] = Op::of(r, w.at[k], to.at[k]);
            }
            ((pack<T, 4> *)y)[block] = to;
            continue;
        }
#pragma unroll
        for (int k = 0; k < 4; k++) {
            int64_t e = 4 * block + k, from[1], to[1];
            if (e < count) {
                walk_at<1>(r.y, e, to);
                T element = {};
                if (Op::reads) {
                    walk_at<1>(r.x, e, from);
                    element = x[from[0]];
                }
                y[to[0]] = Op::of(r, w.at[k], element);
            }
        }
    }
}

template <class T> bool lies_packed(const pk_walk *w)
{
    return w->rank <= 1 && (w->rank == 0 || w->stride[0][0] == 1) && aligned(w->data[0], 4 * sizeof(T));
}

template <class T, class Op> cudaError_t draw_of(cudaStream_t stream, const pk_random_of *r)
{
    unsigned blocks = blocks_for((r->y.count + 3) / 4);
    if (lies_packed<T>(&r->y) && (!Op::reads || lies_packed<T>(&r->x))) {
        return PLUMB_LAUNCH((draw<T, Op, true>), blocks, PK_THREADS, 0, stream, *r);
    }
    return PLUMB_LAUNCH((draw<T, Op, false>), blocks, PK_THREADS, 0, stream, *r);
}

template <class T> cudaError_t random_of(cudaStream_t stream, enum pk_random what, const pk_random_of *r)
{
    switch (what) {
    case PK_DROPOUT: return draw_of<T, op_dropout>(stream, r);
    case PK_UNIFORM: return draw_of<T, op_uniform>(stream, r);
    case PK_NORMAL: return draw_of<T, op_normal>(stream, r);
    case PK_BERNOULLI: return draw_of<T, op_bernoulli>(stream, r);
    case PK_BERNOULLI_OF: return draw_of<T, op_bernoulli_of>(stream, r);
    case PK_INTEGERS: break;
    }
    return cudaErrorInvalidValue;
}

} // namespace

extern "C" cudaError_t plumb_k_random(cudaStream_t stream, enum pk_random what, int dtype, const pk_random_of *r)
{
    if (r->y.count == 0) {
        return cudaSuccess;
    }
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return random_of<T>(stream, what, r);
        PK_FLOAT_CASES(ROW)
#undef ROW
#define ROW(number_of_type, T) \
    case number_of_type: return what == PK_INTEGERS ? draw_of<T, op_integers>(stream, r) : cudaErrorInvalidValue;
        ROW(PK_I32, int32_t) ROW(PK_I64, int64_t) ROW(PK_U8, uint8_t)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
