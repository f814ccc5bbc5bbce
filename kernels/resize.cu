/* Resizing by a thread for each element of the result, over the stencils of at most three dimensions; and its adjoint, where
 * each element of x looks for the elements that are made of it. Coordinates do not fall, so these are a range along each
 * dimension, found by bisection: nothing is scattered and sums have one order. src/op/resize.c decides what is computed; the
 * arithmetic of coordinates is rounded after each step here too, never fused. */
#include "place.cuh"

namespace {

struct stencil {
    int count;
    int64_t at[4];
    double weight[4];
};

__device__ inline double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double add(double a, double b) { return __dadd_rn(a, b); }

__device__ inline double coordinate(const pk_resize &r, const pk_resize_axis &a, int64_t o)
{
    double last = (double)(a.n - 1);
    switch (r.coordinates) {
    case PK_RESIZE_ALIGN_CORNERS: return a.m > 1 ? mul((double)o, last) / (double)(a.m - 1) : 0;
    case PK_RESIZE_ASYMMETRIC: return (double)o / a.scale;
    case PK_RESIZE_CROP: {
        double start = mul(a.start, last), end = mul(a.end, last);
        return a.m > 1 ? add(start, mul((double)o, add(end, -start)) / (double)(a.m - 1)) : mul(0.5, add(start, end));
    }
    case PK_RESIZE_PYTORCH_HALF_PIXEL:
        if (a.m <= 1) {
            return 0;
        }
        break;
    default: break;
    }
    return add(((double)o + 0.5) / a.scale, -0.5);
}

__device__ inline double nearest(int rule, double x)
{
    switch (rule) {
    case PK_RESIZE_ROUND_PREFER_CEIL: return floor(add(x, 0.5));
    case PK_RESIZE_FLOOR: return floor(x);
    case PK_RESIZE_CEIL: return ceil(x);
    default: return ceil(add(x, -0.5));
    }
}

/* Keys' cubic at distances below and above 1. */
__device__ inline double near_weight(double a, double t) { return ((a + 2) * t - (a + 3)) * t * t + 1; }
__device__ inline double far_weight(double a, double t) { return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a; }

/* The first element of the stencil, which may lie outside. */
__device__ inline double first_of(const pk_resize &r, double x)
{
    return r.mode == PK_RESIZE_NEAREST ? nearest(r.nearest, x) : floor(x) - (r.mode == PK_RESIZE_CUBIC ? 1 : 0);
}

__device__ inline void stencil_at(const pk_resize &r, const pk_resize_axis &a, int64_t o, stencil *s)
{
    double x = coordinate(r, a, o), t = x - floor(x), first = first_of(r, x), sum = 0, last = (double)(a.n - 1);
    s->count = r.mode == PK_RESIZE_NEAREST ? 1 : r.mode == PK_RESIZE_LINEAR ? 2 : 4;
    if (r.coordinates == PK_RESIZE_CROP && (x < 0 || x > last)) {
        s->count = 0;
    }
    for (int k = 0; k < s->count; k++) {
        double at = first + k;
        double weight = r.mode == PK_RESIZE_NEAREST  ? 1
                        : r.mode == PK_RESIZE_LINEAR ? (k == 0 ? 1 - t : t)
                        : t == 0                     ? (k == 1 ? 1 : 0)
                        : k == 0                     ? far_weight(r.cubic_a, 1 + t)
                        : k == 1                     ? near_weight(r.cubic_a, t)
                        : k == 2                     ? near_weight(r.cubic_a, 1 - t)
                                                     : far_weight(r.cubic_a, 2 - t);
        bool outside = at < 0 || at > last;
        s->weight[k] = outside && r.exclude_outside ? 0 : weight;
        s->at[k] = at < 0 ? 0 : at > last ? a.n - 1 : (int64_t)at;
        sum += s->weight[k];
    }
    for (int k = 0; k < s->count && r.exclude_outside && sum != 0; k++) {
        s->weight[k] /= sum;
    }
}

/* Where the dimensions that do not change lie in x. */
__device__ inline int64_t kept(const pk_resize &r, const pk_view &v, const int64_t *index)
{
    int64_t at = offset_of(v, index);
    for (int k = 0; k < r.axes; k++) {
        at -= index[r.axis[k].dim] * v.stride[r.axis[k].dim];
    }
    return at;
}

/* Moves bits where one element has all the weight. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) resize_nearest(const pk_resize r, const T outside, int64_t count)
{
    const T *x = (const T *)r.x.data;
    T *y = (T *)r.y.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK];
        split(r.y, i, index);
        int64_t from = kept(r, r.x, index);
        bool inside = true;
        for (int k = 0; k < r.axes; k++) {
            stencil s;
            stencil_at(r, r.axis[k], index[r.axis[k].dim], &s);
            inside = inside && s.count > 0;
            from += s.count > 0 ? s.at[0] * r.x.stride[r.axis[k].dim] : 0;
        }
        y[offset_of(r.y, index)] = inside ? x[from] : outside;
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) resize(const pk_resize r, const T outside, int64_t count)
{
    const T *x = (const T *)r.x.data;
    T *y = (T *)r.y.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK], stride[3] = {0, 0, 0};
        stencil s[3];
        split(r.y, i, index);
        int64_t from = kept(r, r.x, index);
        for (int k = 0; k < 3; k++) {
            s[k] = {1, {0}, {1}};
            if (k < r.axes) {
                stencil_at(r, r.axis[k], index[r.axis[k].dim], &s[k]);
                stride[k] = r.x.stride[r.axis[k].dim];
            }
        }
        number<T> sum = 0;
        for (int a = 0; a < s[0].count; a++) {
            for (int b = 0; b < s[1].count; b++) {
                for (int c = 0; c < s[2].count; c++) {
                    double weight = s[0].weight[a] * s[1].weight[b] * s[2].weight[c];
                    if (weight != 0) {
                        int64_t at = from + s[0].at[a] * stride[0] + s[1].at[b] * stride[1] + s[2].at[c] * stride[2];
                        sum += (number<T>)weight * load(x[at]);
                    }
                }
            }
        }
        bool inside = s[0].count * s[1].count * s[2].count > 0;
        y[offset_of(r.y, index)] = inside ? store<T>(sum) : outside;
    }
}

/* ---- the adjoint ---- */

/* The first element of the result whose stencil begins at `first` or later. */
__device__ inline int64_t first_from(const pk_resize &r, const pk_resize_axis &a, double first)
{
    int64_t low = 0, high = a.m;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (first_of(r, coordinate(r, a, middle)) < first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Elements of the result that may be made of element i, which at the ends stands for what lies beyond. */
__device__ inline void made_of(const pk_resize &r, const pk_resize_axis &a, int64_t i, int64_t *begin, int64_t *end)
{
    int taps = r.mode == PK_RESIZE_NEAREST ? 1 : r.mode == PK_RESIZE_LINEAR ? 2 : 4;
    *begin = i == 0 ? 0 : first_from(r, a, (double)(i - taps + 1));
    *end = i == a.n - 1 ? a.m : first_from(r, a, (double)(i + 1));
}

__device__ inline double weight_in(const pk_resize &r, const pk_resize_axis &a, int64_t o, int64_t i)
{
    stencil s;
    stencil_at(r, a, o, &s);
    double weight = 0;
    for (int k = 0; k < s.count; k++) {
        weight += s.at[k] == i ? s.weight[k] : 0;
    }
    return weight;
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) resize_backward(const pk_resize r, int64_t count)
{
    const T *dy = (const T *)r.y.data;
    T *dx = (T *)r.x.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK], begin[3] = {0, 0, 0}, end[3] = {1, 1, 1}, stride[3] = {0, 0, 0}, own[3] = {0, 0, 0};
        split(r.x, i, index);
        int64_t from = kept(r, r.y, index);
        for (int k = 0; k < r.axes; k++) {
            own[k] = index[r.axis[k].dim];
            stride[k] = r.y.stride[r.axis[k].dim];
            made_of(r, r.axis[k], own[k], &begin[k], &end[k]);
        }
        number<T> sum = 0;
        for (int64_t a = begin[0]; a < end[0]; a++) {
            double wa = r.axes > 0 ? weight_in(r, r.axis[0], a, own[0]) : 1;
            for (int64_t b = begin[1]; wa != 0 && b < end[1]; b++) {
                double wb = r.axes > 1 ? wa * weight_in(r, r.axis[1], b, own[1]) : wa;
                for (int64_t c = begin[2]; wb != 0 && c < end[2]; c++) {
                    double wc = r.axes > 2 ? wb * weight_in(r, r.axis[2], c, own[2]) : wb;
                    sum += wc != 0 ? (number<T>)wc * load(dy[from + a * stride[0] + b * stride[1] + c * stride[2]]) : 0;
                }
            }
        }
        dx[offset_of(r.x, index)] = store<T>(sum);
    }
}

template <class T> cudaError_t nearest_of(cudaStream_t stream, const pk_resize *r, int64_t count)
{
    return PLUMB_LAUNCH(resize_nearest<T>, blocks_for(count), PK_THREADS, 0, stream, *r, store<T>(r->extrapolation), count);
}

template <class T> cudaError_t resize_of(cudaStream_t stream, const pk_resize *r, int64_t count)
{
    return PLUMB_LAUNCH(resize<T>, blocks_for(count), PK_THREADS, 0, stream, *r, store<T>(r->extrapolation), count);
}

} // namespace

extern "C" cudaError_t plumb_k_resize(cudaStream_t stream, const pk_resize *r)
{
    int64_t count = count_of(r->y);
    if (count == 0) {
        return cudaSuccess;
    }
    if (r->mode == PK_RESIZE_NEAREST) {
        switch (r->y.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return nearest_of<T>(stream, r, count);
            PK_ALL_CASES(ROW)
#undef ROW
        default: return cudaErrorInvalidValue;
        }
    }
    switch (r->y.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return resize_of<T>(stream, r, count);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_resize_backward(cudaStream_t stream, const pk_resize *r)
{
    int64_t count = count_of(r->x);
    if (count == 0) {
        return cudaSuccess;
    }
    switch (r->y.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(resize_backward<T>, blocks_for(count), PK_THREADS, 0, stream, *r, count);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
