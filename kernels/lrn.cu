/* Local response normalisation, one thread for each element: neighbours in a warp are neighbouring places of one channel. The
 * way back first writes each channel's term of the sums, which a second kernel adds over the windows that reach a channel. */
#include "number.cuh"

namespace {

__device__ inline float m_pow(float x, float y) { return powf(x, y); }
__device__ inline double m_pow(double x, double y) { return pow(x, y); }

struct element {
    int64_t n, c, s;
};
__device__ inline element element_at(const pk_lrn &p, int64_t i)
{
    const int64_t rest = i / p.s;
    return {rest / p.channels, rest % p.channels, i - rest * p.s};
}

template <class T> __device__ inline T &at(const pk_volume &v, int64_t n, int64_t c, int64_t s)
{
    return ((T *)v.data)[n * v.stride[0] + c * v.stride[1] + s * v.stride[2]];
}

template <class T> __device__ inline number<T> denominator(const pk_lrn &p, const element &e)
{
    const int64_t first = e.c > p.before ? e.c - p.before : 0, end = e.c + p.after < p.channels ? e.c + p.after + 1 : p.channels;
    number<T> sum = 0;
    for (int64_t c = first; c < end; c++) {
        const number<T> x = load(at<const T>(p.x, e.n, c, e.s));
        sum += x * x;
    }
    return (number<T>)p.bias + (number<T>)p.scale * sum;
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) lrn(const pk_lrn p)
{
    for (int64_t i = first_element(); i < p.n * p.channels * p.s; i += element_stride()) {
        const element e = element_at(p, i);
        const number<T> d = denominator<T>(p, e);
        at<T>(p.y, e.n, e.c, e.s) = store<T>(load(at<const T>(p.x, e.n, e.c, e.s)) * m_pow(d, (number<T>)-p.beta));
    }
}

/* dy x d^(-beta - 1) */
template <class T> __global__ void __launch_bounds__(PK_THREADS) lrn_terms(const pk_lrn p)
{
    for (int64_t i = first_element(); i < p.n * p.channels * p.s; i += element_stride()) {
        const element e = element_at(p, i);
        const number<T> d = denominator<T>(p, e), x = load(at<const T>(p.x, e.n, e.c, e.s));
        ((number<T> *)p.terms)[i] = load(at<const T>(p.dy, e.n, e.c, e.s)) * x * m_pow(d, (number<T>)(-p.beta - 1));
    }
}

/* dx = dy d^-beta - 2 scale beta x sum of terms */
template <class T> __global__ void __launch_bounds__(PK_THREADS) lrn_backward(const pk_lrn p)
{
    typedef number<T> N;
    for (int64_t i = first_element(); i < p.n * p.channels * p.s; i += element_stride()) {
        const element e = element_at(p, i);
        const int64_t first = e.c > p.after ? e.c - p.after : 0,
                      end = e.c + p.before < p.channels ? e.c + p.before + 1 : p.channels;
        const N d = denominator<T>(p, e), x = load(at<const T>(p.x, e.n, e.c, e.s));
        N sum = 0;
        for (int64_t c = first; c < end; c++) {
            sum += ((const N *)p.terms)[i + (c - e.c) * p.s];
        }
        const N through = load(at<const T>(p.dy, e.n, e.c, e.s)) * m_pow(d, (N)-p.beta);
        at<T>(p.y, e.n, e.c, e.s) = store<T>(through - (N)(2 * p.scale * p.beta) * x * sum);
    }
}

template <class T> cudaError_t forward_of(cudaStream_t stream, const pk_lrn *p)
{
    const int64_t count = p->n * p->channels * p->s;
    return count == 0 ? cudaSuccess : PLUMB_LAUNCH(lrn<T>, blocks_for(count), PK_THREADS, 0, stream, *p);
}

template <class T> cudaError_t backward_of(cudaStream_t stream, const pk_lrn *p)
{
    const int64_t count = p->n * p->channels * p->s;
    if (count == 0) {
        return cudaSuccess;
    }
    const cudaError_t code = PLUMB_LAUNCH(lrn_terms<T>, blocks_for(count), PK_THREADS, 0, stream, *p);
    return code != cudaSuccess ? code : PLUMB_LAUNCH(lrn_backward<T>, blocks_for(count), PK_THREADS, 0, stream, *p);
}

} // namespace

#define FORWARD(code, type) case code: return forward_of<type>(stream, p);
#define BACKWARD(code, type) case code: return backward_of<type>(stream, p);
#define LAUNCHER(name, dtype_case)                                                               \
    extern "C" cudaError_t name(cudaStream_t stream, int dtype, const pk_lrn *p)                 \
    {                                                                                            \
        switch (dtype) {                                                                         \
            PK_FLOAT_CASES(dtype_case)                                                           \
        default: return cudaErrorInvalidValue;                                                   \
        }                                                                                        \
    }
LAUNCHER(plumb_k_lrn, FORWARD)
LAUNCHER(plumb_k_lrn_backward, BACKWARD)
