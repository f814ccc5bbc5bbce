/* Non-maximum suppression by a block for each class of each picture; RoI align by a thread for each bin; its adjoint by a
 * thread for each element of x, which adds up the bins it has a weight in: weights of rows and of columns are multiplied, so
 * they are tables, made first. No float atomics; src/op/detect.c decides what is computed. */
#include "fault.cuh"
#include "place.cuh"

namespace {

__device__ inline double mul(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double add(double a, double b) { return __dadd_rn(a, b); }

/* ---- non-maximum suppression ---- */

struct box {
    double low[2], high[2];
};

template <class T> __device__ inline box box_at(const pk_nms &p, int64_t n, int64_t i)
{
    const T *boxes = (const T *)p.boxes.data;
    box b;
    double v[4];
    for (int k = 0; k < 4; k++) {
        v[k] = (double)load(boxes[n * p.boxes.stride[0] + i * p.boxes.stride[1] + k * p.boxes.stride[2]]);
    }
    for (int k = 0; k < 2; k++) {
        double half = mul(v[k + 2], 0.5);
        double one = p.centre ? add(v[k], -half) : v[k], other = p.centre ? add(v[k], half) : v[k + 2];
        b.low[k] = one < other ? one : other;
        b.high[k] = one < other ? other : one;
    }
    return b;
}

__device__ inline double side(double low, double high) { return high > low ? high - low : 0; }

__device__ inline double overlap(const box &a, const box &b)
{
    double inner[2];
    for (int k = 0; k < 2; k++) {
        inner[k] = side(a.low[k] > b.low[k] ? a.low[k] : b.low[k], a.high[k] < b.high[k] ? a.high[k] : b.high[k]);
    }
    double shared = mul(inner[0], inner[1]);
    double area_a = mul(side(a.low[0], a.high[0]), side(a.low[1], a.high[1]));
    double area_b = mul(side(b.low[0], b.high[0]), side(b.low[1], b.high[1]));
    double both = add(add(area_a, area_b), -shared);
    return both > 0 ? shared / both : 0;
}

/* Of the workspace: how many each class selected, which, and what is gone. */
__device__ __host__ inline int64_t *chosen_in(void *workspace, int64_t classes) { return (int64_t *)workspace + classes; }
__device__ __host__ inline unsigned char *gone_in(void *workspace, int64_t classes, int64_t most)
{
    return (unsigned char *)((int64_t *)workspace + classes * (1 + most));
}

/* The better of two by score, then by place; place -1 is none. */
__device__ inline bool better(double a, int64_t i, double b, int64_t j)
{
    return i >= 0 && (j < 0 || a > b || (a == b && i < j));
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) select_boxes(const pk_nms p, int64_t classes)
{
    PLUMB_SHARED(double, score, [PK_THREADS]);
    PLUMB_SHARED(long long, place, [PK_THREADS]);
    const T *scores = (const T *)p.scores.data;
    const int64_t boxes = p.scores.dim[2], n_classes = p.scores.dim[1];
    for (int64_t k = blockIdx.x; k < classes; k += gridDim.x) {
        int64_t n = k / n_classes, at = n * p.scores.stride[0] + (k % n_classes) * p.scores.stride[1], count = 0;
        unsigned char *gone = gone_in(p.workspace, classes, p.most) + k * boxes;
        for (int64_t i = threadIdx.x; i < boxes; i += PK_THREADS) {
            gone[i] = !((double)load(scores[at + i * p.scores.stride[2]]) > p.score);
        }
        while (count < p.most) {
            double mine = 0;
            int64_t best = -1;
            for (int64_t i = threadIdx.x; i < boxes; i += PK_THREADS) {
                double s = (double)load(scores[at + i * p.scores.stride[2]]);
                if (!gone[i] && better(s, i, mine, best)) {
                    mine = s;
                    best = i;
                }
            }
            score[threadIdx.x] = mine;
            place[threadIdx.x] = best;
            __syncthreads();
            for (int half = PK_THREADS / 2; half > 0; half /= 2) {
                int other = (int)threadIdx.x + half;
                if ((int)threadIdx.x < half && better(score[other], place[other], score[threadIdx.x], place[threadIdx.x])) {
                    score[threadIdx.x] = score[other];
                    place[threadIdx.x] = place[other];
                }
                __syncthreads();
            }
            best = place[0];
            __syncthreads();
            if (best < 0) {
                break;
            }
            const box kept = box_at<T>(p, n, best);
            for (int64_t i = threadIdx.x; i < boxes; i += PK_THREADS) {
                double value = gone[i] ? 0 : overlap(kept, box_at<T>(p, n, i));
                gone[i] = gone[i] || i == best || (p.inclusive ? value >= p.overlap : value > p.overlap);
            }
            if (threadIdx.x == 0) {
                chosen_in(p.workspace, classes)[k * p.most + count] = best;
            }
            count++;
        }
        if (threadIdx.x == 0) {
            ((int64_t *)p.workspace)[k] = count;
        }
    }
}

/* Rows of the classes move together; behind them is -1. */
__global__ void __launch_bounds__(PK_THREADS) list_selected(const pk_nms p, int64_t classes)
{
    const int64_t *counts = (const int64_t *)p.workspace, *chosen = chosen_in(p.workspace, classes);
    int64_t *to = (int64_t *)p.selection.data, rows = classes * p.most;
    const int64_t n_classes = p.scores.dim[1], down = p.selection.stride[0], across = p.selection.stride[1];
    for (int64_t i = first_element(); i < rows || i == 0; i += element_stride()) {
        int64_t own = rows > 0 ? i / p.most : 0, before = 0, total = 0;
        for (int64_t k = 0; k < classes; k++) {
            before += k < own ? counts[k] : 0;
            total += counts[k];
        }
        if (i == 0) {
            *p.count = total;
        }
        if (rows > 0 && i - own * p.most < counts[own]) {
            int64_t row = before + i - own * p.most;
            to[row * down] = own / n_classes;
            to[row * down + across] = own % n_classes;
            to[row * down + 2 * across] = chosen[i];
        }
        for (int k = 0; k < 3 && i >= total && i < rows; k++) {
            to[i * down + k * across] = -1;
        }
    }
}

/* ---- RoI align ---- */

struct edge {
    double begin, bin;
    int64_t samples;
};

template <class T> __device__ inline edge edge_of(const pk_roi &r, int64_t k, int which, int64_t bins)
{
    const T *rois = (const T *)r.rois.data;
    double shift = r.aligned ? 0.5 : 0;
    double first = (double)load(rois[k * r.rois.stride[0] + which * r.rois.stride[1]]);
    double last = (double)load(rois[k * r.rois.stride[0] + (which + 2) * r.rois.stride[1]]);
    double begin = add(mul(first, r.scale), -shift), length = add(add(mul(last, r.scale), -shift), -begin);
    length = !r.aligned && length < 1 ? 1 : length;
    double bin = length / (double)bins, samples = ceil(bin);
    return {begin, bin, r.sampling > 0 ? r.sampling : samples > 0 && samples <= 4096 ? (int64_t)samples : 0};
}

struct between {
    int64_t at[2];
    double weight[2];
};

__device__ inline between sample(const edge &s, int64_t bin, int64_t i, int64_t n)
{
    double step = s.bin / (double)s.samples;
    double y = add(add(s.begin, mul((double)bin, s.bin)), mul((double)i + 0.5, step));
    between b = {{0, 0}, {0, 0}};
    if (n == 0 || !(y >= -1) || !(y <= (double)n)) {
        return b;
    }
    y = y < 0 ? 0 : y;
    b.at[0] = (int64_t)y;
    if (b.at[0] >= n - 1) {
        b.at[0] = b.at[1] = n - 1;
        b.weight[0] = 1;
        return b;
    }
    b.at[1] = b.at[0] + 1;
    b.weight[1] = y - (double)b.at[0];
    b.weight[0] = 1 - b.weight[1];
    return b;
}

/* The picture of box k; -1 after noting one that there is not. */
__device__ inline int64_t picture_of(const pk_roi &r, int64_t k)
{
    int64_t n = index_at(r.batch.data, r.batch.dtype, k * r.batch.stride[0]);
    if (n >= 0 && n < r.x.dim[0]) {
        return n;
    }
    note_fault(r.fault, r.watch, k, n, 0, r.x.dim[0]);
    return -1;
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) roi_align(const pk_roi r, int64_t count)
{
    const T *x = (const T *)r.x.data;
    T *y = (T *)r.y.data;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK];
        split(r.y, i, index);
        int64_t n = picture_of(r, index[0]), plane = n * r.x.stride[0] + index[1] * r.x.stride[1];
        edge down = edge_of<T>(r, index[0], 1, r.y.dim[2]), across = edge_of<T>(r, index[0], 0, r.y.dim[3]);
        number<T> sum = 0;
        for (int64_t a = 0; n >= 0 && a < down.samples; a++) {
            between v = sample(down, index[2], a, r.x.dim[2]);
            for (int64_t b = 0; b < across.samples; b++) {
                between h = sample(across, index[3], b, r.x.dim[3]);
                for (int t = 0; t < 4; t++) {
                    double weight = v.weight[t / 2] * h.weight[t % 2];
                    if (weight != 0) {
                        sum += (number<T>)weight *
                               load(x[plane + v.at[t / 2] * r.x.stride[2] + h.at[t % 2] * r.x.stride[3]]);
                    }
                }
            }
        }
        int64_t samples = down.samples * across.samples;
        number<T> mean = samples > 0 ? sum / (number<T>)samples : 0;
        y[offset_of(r.y, index)] = store<T>(n < 0 ? (number<T>)NAN : mean);
    }
}

/* table[(k * bins + bin) * n + i]: the weight of element i in a bin along one side, divided by the samples. */
template <class T>
__global__ void __launch_bounds__(PK_THREADS) weigh(const pk_roi r, int which, int64_t bins, int64_t n, double *table, int64_t count)
{
    for (int64_t e = first_element(); e < count; e += element_stride()) {
        int64_t i = e % n, bin = e / n % bins, k = e / n / bins;
        edge s = edge_of<T>(r, k, which, bins);
        double sum = 0;
        for (int64_t a = 0; a < s.samples; a++) {
            between b = sample(s, bin, a, n);
            sum += (b.at[0] == i ? b.weight[0] : 0) + (b.at[1] == i ? b.weight[1] : 0);
        }
        table[e] = s.samples > 0 ? sum / (double)s.samples : 0;
    }
}

template <class T>
__global__ void __launch_bounds__(PK_THREADS)
    roi_align_backward(const pk_roi r, const double *down, const double *across, int64_t count)
{
    const T *dy = (const T *)r.y.data;
    T *dx = (T *)r.x.data;
    const int64_t rows = r.y.dim[2], columns = r.y.dim[3], h = r.x.dim[2], w = r.x.dim[3];
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        int64_t index[PK_MAX_RANK];
        split(r.x, i, index);
        number<T> sum = 0;
        for (int64_t k = 0; k < r.y.dim[0]; k++) {
            int64_t from = k * r.y.stride[0] + index[1] * r.y.stride[1];
            bool own = picture_of(r, k) == index[0];
            for (int64_t a = 0; own && a < rows; a++) {
                double weight = down[(k * rows + a) * h + index[2]];
                for (int64_t b = 0; weight != 0 && b < columns; b++) {
                    double both = weight * across[(k * columns + b) * w + index[3]];
                    sum += both != 0 ? (number<T>)both * load(dy[from + a * r.y.stride[2] + b * r.y.stride[3]]) : 0;
                }
            }
        }
        dx[offset_of(r.x, index)] = store<T>(sum);
    }
}

template <class T> cudaError_t nms_of(cudaStream_t stream, const pk_nms *p, int64_t classes)
{
    cudaError_t code = cudaSuccess;
    if (classes > 0) {
        unsigned blocks = (unsigned)(classes > 1 << 20 ? 1 << 20 : classes);
        code = PLUMB_LAUNCH(select_boxes<T>, blocks, PK_THREADS, 0, stream, *p, classes);
    }
    int64_t rows = classes * p->most;
    return code != cudaSuccess
               ? code
               : PLUMB_LAUNCH(list_selected, blocks_for(rows > 0 ? rows : 1), PK_THREADS, 0, stream, *p, classes);
}

template <class T> cudaError_t roi_align_of(cudaStream_t stream, const pk_roi *r)
{
    int64_t count = count_of(r->y);
    return count == 0 ? cudaSuccess : PLUMB_LAUNCH(roi_align<T>, blocks_for(count), PK_THREADS, 0, stream, *r, count);
}

template <class T> cudaError_t roi_align_backward_of(cudaStream_t stream, const pk_roi *r)
{
    int64_t count = count_of(r->x), h = r->x.dim[2], w = r->x.dim[3], boxes = r->y.dim[0];
    int64_t tall = boxes * r->y.dim[2] * h, wide = boxes * r->y.dim[3] * w;
    double *down = (double *)r->workspace, *across = down + tall;
    if (count == 0) {
        return cudaSuccess;
    }
    cudaError_t code = cudaSuccess;
    if (boxes > 0) {
        code = PLUMB_LAUNCH(weigh<T>, blocks_for(tall), PK_THREADS, 0, stream, *r, 1, r->y.dim[2], h, down, tall);
        if (code == cudaSuccess) {
            code = PLUMB_LAUNCH(weigh<T>, blocks_for(wide), PK_THREADS, 0, stream, *r, 0, r->y.dim[3], w, across, wide);
        }
    }
    return code != cudaSuccess
               ? code
               : PLUMB_LAUNCH(roi_align_backward<T>, blocks_for(count), PK_THREADS, 0, stream, *r, down, across, count);
}

} // namespace

extern "C" size_t plumb_k_nms_bytes(int64_t classes, int64_t boxes, int64_t most)
{
    return (size_t)classes * ((size_t)(1 + most) * sizeof(int64_t) + (size_t)boxes);
}

extern "C" size_t plumb_k_roi_align_backward_bytes(int64_t rois, int64_t bins_h, int64_t h, int64_t bins_w, int64_t w)
{
    return (size_t)rois * (size_t)(bins_h * h + bins_w * w) * sizeof(double);
}

#define BY_FLOAT(call) \
    switch (dtype) { \
        PK_FLOAT_CASES(call) \
    default: return cudaErrorInvalidValue; \
    }

extern "C" cudaError_t plumb_k_nms(cudaStream_t stream, int dtype, const pk_nms *p)
{
    int64_t classes = p->scores.dim[0] * p->scores.dim[1];
#define ROW(number_of_type, T) \
    case number_of_type: return nms_of<T>(stream, p, classes);
    BY_FLOAT(ROW)
#undef ROW
}

extern "C" cudaError_t plumb_k_roi_align(cudaStream_t stream, int dtype, const pk_roi *r)
{
#define ROW(number_of_type, T) \
    case number_of_type: return roi_align_of<T>(stream, r);
    BY_FLOAT(ROW)
#undef ROW
}

extern "C" cudaError_t plumb_k_roi_align_backward(cudaStream_t stream, int dtype, const pk_roi *r)
{
#define ROW(number_of_type, T) \
    case number_of_type: return roi_align_backward_of<T>(stream, r);
    BY_FLOAT(ROW)
#undef ROW
}
