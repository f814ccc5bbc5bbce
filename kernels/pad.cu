/* Padding by a thread for each element of the result; and its adjoint, where each element of x finds the positions that
 * stand for it: along one dimension these are at most two runs of equal steps, so nothing is scattered and sums have one
 * order. What the modes mean is decided in src/op/pad.c. */
#include "place.cuh"

namespace {

__device__ inline int64_t source(int mode, int64_t p, int64_t n)
{
    if (p >= 0 && p < n) {
        return p;
    }
    if (mode == PK_PAD_CONSTANT) {
        return -1;
    }
    if (mode == PK_PAD_EDGE || n == 1) {
        return p < 0 ? 0 : n - 1;
    }
    if (mode == PK_PAD_WRAP) {
        return modulo(p, n);
    }
    int64_t period = 2 * (n - 1), q = modulo(p, period);
    return q < n ? q : period - q;
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) pad(const pk_pad p, const T value, int64_t count)
{
    const T *x = (const T *)p.x.data;
    T *y = (T *)p.y.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK], from = 0;
        split(p.y, i, index);
        int64_t to = offset_of(p.y, index);
        bool inside = true;
        for (int d = 0; d < p.x.rank; d++) {
            int64_t k = source(p.mode, index[d] - p.before[d], p.x.dim[d]);
            inside = inside && k >= 0;
            from += k * p.x.stride[d];
        }
        y[to] = inside ? x[from] : value;
    }
}

/* ---- the adjoint ---- */

struct run {
    int64_t first, step, count;
};

/* Positions p in [low, high) that are r modulo m. */
__device__ inline run congruent(int64_t r, int64_t m, int64_t low, int64_t high)
{
    int64_t first = low + modulo(r - low, m);
    return {first, m, first < high ? (high - 1 - first) / m + 1 : 0};
}

/* The positions in [low, high) that stand for element i of n. */
__device__ inline void stand_ins(int mode, int64_t i, int64_t n, int64_t low, int64_t high, run *runs)
{
    runs[1] = {0, 1, 0};
    if (mode == PK_PAD_CONSTANT || mode == PK_PAD_EDGE || n == 1) {
        bool open = mode != PK_PAD_CONSTANT;
        int64_t first = i == 0 && open ? low : i, end = i == n - 1 && open ? high : i + 1;
        first = first < low ? low : first;
        end = end > high ? high : end;
        runs[0] = {first, 1, end > first ? end - first : 0};
    } else if (mode == PK_PAD_WRAP) {
        runs[0] = congruent(i, n, low, high);
    } else {
        runs[0] = congruent(i, 2 * (n - 1), low, high);
        if (i > 0 && i < n - 1) {
            runs[1] = congruent(-i, 2 * (n - 1), low, high);
        }
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) pad_backward(const pk_pad p, int64_t count)
{
    const T *dy = (const T *)p.y.data;
    T *dx = (T *)p.x.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK], terms = 1;
        run runs[PK_MAX_RANK][2];
        split(p.x, i, index);
        for (int d = 0; d < p.x.rank; d++) {
            stand_ins(p.mode, index[d], p.x.dim[d], -p.before[d], p.y.dim[d] - p.before[d], runs[d]);
            terms *= runs[d][0].count + runs[d][1].count;
        }
        number<T> sum = 0;
        for (int64_t t = 0; t < terms; t++) {
            int64_t rest = t, at = 0;
            for (int d = p.x.rank - 1; d >= 0; d--) {
                int64_t both = runs[d][0].count + runs[d][1].count, k = rest % both;
                rest /= both;
                const run &r = runs[d][k < runs[d][0].count ? 0 : 1];
                k -= k < runs[d][0].count ? 0 : runs[d][0].count;
                at += (r.first + k * r.step + p.before[d]) * p.y.stride[d];
            }
            sum += load(dy[at]);
        }
        dx[offset_of(p.x, index)] = store<T>(sum);
    }
}

template <class T> cudaError_t pad_of(cudaStream_t stream, const pk_pad *p, double value)
{
    int64_t count = count_of(p->y);
    return count == 0 ? cudaSuccess
                      : PLUMB_LAUNCH(pad<T>, blocks_for(count), PK_THREADS, 0, stream, *p, store<T>(value), count);
}

} // namespace

extern "C" cudaError_t plumb_k_pad(cudaStream_t stream, const pk_pad *p, double value)
{
    switch (p->y.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return pad_of<T>(stream, p, value);
        PK_ALL_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_pad_backward(cudaStream_t stream, const pk_pad *p)
{
    int64_t count = count_of(p->x);
    if (count == 0) {
        return cudaSuccess;
    }
    switch (p->y.dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return PLUMB_LAUNCH(pad_backward<T>, blocks_for(count), PK_THREADS, 0, stream, *p, count);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
