/* Pooling, one thread for each element that is written. The backward forms gather: an element of dx adds, in their
 * order, the gradients of the windows that took it, so nothing is added to memory and results do not depend on timing.
 *
 * The indices of the maximum nearly always lie in their windows, but the op does not demand it. A first kernel finds
 * the planes where one does not; only there all windows are searched. */
#include "fault.cuh"
#include "number.cuh"

namespace {

struct window { /* rows top, top + dilation, .. < bottom; columns alike; all inside the picture */
    int64_t top, bottom, left, right;
    int64_t divisor; /* of the average */
};

__device__ inline void clip(const pk_pooling &p, int axis, int64_t o, int64_t size, int64_t *begin, int64_t *end,
                            int64_t *padded)
{
    if (p.adaptive) {
        *begin = o * size / p.window[axis];
        *end = ((o + 1) * size + p.window[axis] - 1) / p.window[axis];
        *padded = *end - *begin;
        return;
    }
    const int64_t start = o * p.step[axis] - p.padding[axis], dilation = p.dilation[axis];
    const int64_t stop = start + dilation * (p.window[axis] - 1) + 1, edge = size + p.padding[axis + 2];
    *padded = (stop < edge ? stop : edge) - start;
    *begin = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
    *end = stop < size ? stop : size;
}

__device__ inline window window_at(const pk_pooling &p, int64_t oh, int64_t ow)
{
    window at;
    int64_t high, wide;
    clip(p, 0, oh, p.h, &at.top, &at.bottom, &high);
    clip(p, 1, ow, p.w, &at.left, &at.right, &wide);
    at.divisor = p.exclude_padding ? (at.bottom - at.top) * (at.right - at.left) : high * wide;
    return at;
}

/* The outputs whose windows reach over position `at` of an axis: [*first, *end). */
__device__ inline void reached_by(const pk_pooling &p, int axis, int64_t at, int64_t outputs, int64_t *first, int64_t *end)
{
    if (p.adaptive) { /* o H / OH < at + 1 and (o + 1) H / OH > at, without the roundings */
        const int64_t size = axis == 0 ? p.h : p.w;
        *first = at * outputs / size;
        *end = ((at + 1) * outputs + size - 1) / size;
        return;
    }
    const int64_t padded = at + p.padding[axis], reach = p.dilation[axis] * (p.window[axis] - 1) + 1;
    *first = padded < reach ? 0 : (padded - reach) / p.step[axis] + 1;
    *end = padded / p.step[axis] + 1 < outputs ? padded / p.step[axis] + 1 : outputs;
}

/* Element i, in row-major order, of (n, c, rows, columns). */
struct element {
    int64_t n, c, row, column;
};
__device__ inline element element_at(const pk_pooling &p, int64_t rows, int64_t columns, int64_t i)
{
    element e;
    if (i <= 0x7fffffff && rows <= 0x7fffffff && columns <= 0x7fffffff && p.c <= 0x7fffffff) {
        uint32_t rest = (uint32_t)i / (uint32_t)columns;
        e.column = (uint32_t)i - rest * (uint32_t)columns;
        const uint32_t plane = rest / (uint32_t)rows;
        e.row = rest - plane * (uint32_t)rows;
        e.n = plane / (uint32_t)p.c;
        e.c = plane - (uint32_t)e.n * (uint32_t)p.c;
    } else {
        const int64_t plane = i / columns / rows;
        e.column = i % columns;
        e.row = i / columns % rows;
        e.n = plane / p.c;
        e.c = plane % p.c;
    }
    return e;
}

__device__ inline int64_t plane_at(const int64_t *stride, const element &e) { return e.n * stride[0] + e.c * stride[1]; }
__device__ inline int64_t offset_at(const int64_t *stride, const element &e)
{
    return plane_at(stride, e) + e.row * stride[2] + e.column * stride[3];
}

/* Tells of a wrong index, and gives -1 for it. */
__device__ inline int64_t checked_index(const pk_pooling &p, int64_t at, int64_t value)
{
    if (value >= 0 && value < p.h * p.w) {
        return value;
    }
    note_fault(p.fault, p.watch, at, value, 0, p.h * p.w);
    return -1;
}

/* The first of the largest, a NaN counting as larger than any number. */
template <class T> __global__ void __launch_bounds__(PK_THREADS) max_pool(const pk_pooling p)
{
    const int64_t count = p.n * p.c * p.oh * p.ow;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        const element e = element_at(p, p.oh, p.ow, i);
        const window at = window_at(p, e.row, e.column);
        const T *x = (const T *)p.x + plane_at(p.x_stride, e);
        T best = x[at.top * p.x_stride[2] + at.left * p.x_stride[3]];
        int64_t best_at = at.top * p.w + at.left;
        for (int64_t h = at.top; h < at.bottom; h += p.dilation[0]) {
            for (int64_t w = at.left; w < at.right; w += p.dilation[1]) {
                const T value = x[h * p.x_stride[2] + w * p.x_stride[3]];
                if (load(value) > load(best) || (is_nan(load(value)) && !is_nan(load(best)))) {
                    best = value;
                    best_at = h * p.w + w;
                }
            }
        }
        ((T *)p.y)[offset_at(p.y_stride, e)] = best;
        p.index[offset_at(p.index_stride, e)] = best_at;
    }
}

/* One block for a plane (or several): does an index point out of its window? */
__global__ void __launch_bounds__(PK_THREADS) find_elsewhere(const pk_pooling p)
{
    const int64_t area = p.oh * p.ow;
    for (int64_t plane = blockIdx.x; plane < p.n * p.c; plane += gridDim.x) {
        int found = 0;
        for (int64_t i = threadIdx.x; i < area; i += blockDim.x) {
            const element e = element_at(p, p.oh, p.ow, plane * area + i);
            const int64_t at = checked_index(p, plane * area + i, p.index[offset_at(p.index_stride, e)]);
            int64_t first, end;
            if (at >= 0) {
                reached_by(p, 0, at / p.w, p.oh, &first, &end);
                found |= e.row < first || e.row >= end;
                reached_by(p, 1, at % p.w, p.ow, &first, &end);
                found |= e.column < first || e.column >= end;
            }
        }
        found = __syncthreads_or(found);
        if (threadIdx.x == 0) {
            p.elsewhere[plane] = found;
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) max_pool_backward(const pk_pooling p)
{
    const int64_t count = p.n * p.c * p.h * p.w;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        const element e = element_at(p, p.h, p.w, i);
        const int64_t here = e.row * p.w + e.column;
        const T *dy = (const T *)p.y + plane_at(p.y_stride, e);
        const int64_t *index = p.index + plane_at(p.index_stride, e);
        int64_t top = 0, bottom = p.oh, left = 0, right = p.ow;
        if (!p.elsewhere[e.n * p.c + e.c]) {
            reached_by(p, 0, e.row, p.oh, &top, &bottom);
            reached_by(p, 1, e.column, p.ow, &left, &right);
        }
        number<T> sum = 0;
        for (int64_t h = top; h < bottom; h++) {
            for (int64_t w = left; w < right; w++) {
                if (index[h * p.index_stride[2] + w * p.index_stride[3]] == here) {
                    sum += load(dy[h * p.y_stride[2] + w * p.y_stride[3]]);
                }
            }
        }
        ((T *)p.x)[offset_at(p.x_stride, e)] = store<T>(sum);
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) max_pool_select(const pk_pooling p)
{
    const int64_t count = p.n * p.c * p.oh * p.ow;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        const element e = element_at(p, p.oh, p.ow, i);
        const int64_t at = checked_index(p, i, p.index[offset_at(p.index_stride, e)]);
        const T *x = (const T *)p.x + plane_at(p.x_stride, e);
        if (at >= 0) {
            ((T *)p.y)[offset_at(p.y_stride, e)] = x[at / p.w * p.x_stride[2] + at % p.w * p.x_stride[3]];
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) average_pool(const pk_pooling p)
{
    const int64_t count = p.n * p.c * p.oh * p.ow;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        const element e = element_at(p, p.oh, p.ow, i);
        const window at = window_at(p, e.row, e.column);
        const T *x = (const T *)p.x + plane_at(p.x_stride, e);
        number<T> sum = 0;
        for (int64_t h = at.top; h < at.bottom; h++) {
            for (int64_t w = at.left; w < at.right; w++) {
                sum += load(x[h * p.x_stride[2] + w * p.x_stride[3]]);
            }
        }
        ((T *)p.y)[offset_at(p.y_stride, e)] = store<T>(sum / (number<T>)at.divisor);
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) average_pool_backward(const pk_pooling p)
{
    const int64_t count = p.n * p.c * p.h * p.w;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        const element e = element_at(p, p.h, p.w, i);
        const T *dy = (const T *)p.y + plane_at(p.y_stride, e);
        int64_t top, bottom, left, right;
        reached_by(p, 0, e.row, p.oh, &top, &bottom);
        reached_by(p, 1, e.column, p.ow, &left, &right);
        number<T> sum = 0;
        for (int64_t h = top; h < bottom; h++) {
            for (int64_t w = left; w < right; w++) {
                sum += load(dy[h * p.y_stride[2] + w * p.y_stride[3]]) / (number<T>)window_at(p, h, w).divisor;
            }
        }
        ((T *)p.x)[offset_at(p.x_stride, e)] = store<T>(sum);
    }
}

template <class T> cudaError_t pool_of(cudaStream_t stream, enum pk_pool what, const pk_pooling *p)
{
    const bool backward = what == PK_MAX_POOL_BACKWARD || what == PK_AVERAGE_POOL_BACKWARD;
    const int64_t count = p->n * p->c * (backward ? p->h * p->w : p->oh * p->ow);
    const unsigned blocks = blocks_for(count);
    if (count == 0) {
        return cudaSuccess;
    }
    switch (what) {
    case PK_MAX_POOL: return PLUMB_LAUNCH(max_pool<T>, blocks, PK_THREADS, 0, stream, *p);
    case PK_MAX_POOL_BACKWARD: {
        const int64_t planes = p->n * p->c;
        const cudaError_t code = PLUMB_LAUNCH(find_elsewhere, (unsigned)(planes > 1 << 20 ? 1 << 20 : planes),
                                              PK_THREADS, 0, stream, *p);
        return code != cudaSuccess ? code
                                   : PLUMB_LAUNCH(max_pool_backward<T>, blocks, PK_THREADS, 0, stream, *p);
    }
    case PK_MAX_POOL_SELECT: return PLUMB_LAUNCH(max_pool_select<T>, blocks, PK_THREADS, 0, stream, *p);
    case PK_AVERAGE_POOL: return PLUMB_LAUNCH(average_pool<T>, blocks, PK_THREADS, 0, stream, *p);
    case PK_AVERAGE_POOL_BACKWARD: return PLUMB_LAUNCH(average_pool_backward<T>, blocks, PK_THREADS, 0, stream, *p);
    }
    return cudaErrorInvalidValue;
}

} // namespace

extern "C" cudaError_t plumb_k_pool2d(cudaStream_t stream, enum pk_pool what, int dtype, const pk_pooling *p)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return pool_of<T>(stream, what, p);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
