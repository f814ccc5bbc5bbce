/* Two-dimensional convolution and its adjoints as matrix products whose right operand is gathered from the picture as
 * it is needed (pk_conv of launch.h says how); nothing is unrolled in memory. The filter's gradient has few results and
 * many terms: its terms are cut into parts, which are added in order by a second kernel. */
#include "activation.cuh"
#include "tile.cuh"

namespace {

/* Where a pixel or a tap lies in B: the two are added. */
struct place {
    int64_t at, h, w;
};

__device__ inline pk_triple triple_at(const pk_triple &size, int64_t i)
{
    pk_triple t;
    if ((uint64_t)i <= 0xffffffffu && (uint64_t)size.h <= 0xffffu && (uint64_t)size.w <= 0xffffu) {
        uint32_t rest = (uint32_t)i / (uint32_t)size.w;
        t.w = (uint32_t)i - rest * (uint32_t)size.w;
        t.outer = rest / (uint32_t)size.h;
        t.h = rest - (uint32_t)t.outer * (uint32_t)size.h;
    } else {
        t.w = i % size.w;
        t.h = i / size.w % size.h;
        t.outer = i / size.w / size.h;
    }
    return t;
}

__device__ inline int64_t offset_of(const pk_triple &at, const pk_triple &stride)
{
    return at.outer * stride.outer + at.h * stride.h + at.w * stride.w;
}

__device__ inline place place_of_pixel(const pk_conv &p, const pk_triple &t)
{
    return place{t.outer * p.b_image, p.from[0] + t.h * p.pixel_step[0], p.from[1] + t.w * p.pixel_step[1]};
}

__device__ inline place place_of_tap(const pk_conv &p, const pk_triple &t)
{
    return place{t.outer * p.b_stride.outer, t.h * p.tap_step[0], t.w * p.tap_step[1]};
}

/* position / by, or -1 where that is no whole number. */
__device__ inline int64_t whole(int64_t position, int64_t by)
{
    if (by == 1 || position < 0) {
        return position;
    }
    const int64_t result = position <= 0x7fffffff && by <= 0x7fffffff
                               ? (int64_t)((uint32_t)position / (uint32_t)by)
                               : position / by;
    return result * by == position ? result : -1;
}

template <class T>
__device__ inline number<T> gathered(const pk_conv &p, int64_t first, const place &u, const place &v)
{
    const int64_t h = whole(u.h + v.h, p.divide[0]), w = whole(u.w + v.w, p.divide[1]);
    if (h < 0 || h >= p.b_size[0] || w < 0 || w >= p.b_size[1]) {
        return hole(number<T>());
    }
    return no_hole(load(((const T *)p.b)[first + u.at + v.at + h * p.b_stride.h + w * p.b_stride.w]));
}

/* FILTER: columns are taps, k are pixels, and the sums of part `split` go to `partial`. */
template <class T, int TM, int TN, bool FILTER>
__global__ void __launch_bounds__(PK_TILE_THREADS) conv_tiles(const pk_conv p, int64_t tiles, number<T> *partial)
{
    typedef number<T> N;
    PLUMB_SHARED(N, left, [PK_TILE_K][PK_SIDE * TM + PK_PAD<N>]);
    PLUMB_SHARED(N, right, [PK_TILE_K][PK_SIDE * TN + PK_PAD<N>]);
    PLUMB_SHARED(place, column_place, [PK_SIDE * TN]);
    PLUMB_SHARED(place, k_place, [PK_TILE_K]);
    PLUMB_SHARED(int64_t, k_left, [PK_TILE_K]);
    const pk_triple &column_size = FILTER ? p.taps : p.pixels, &k_size = FILTER ? p.pixels : p.taps;
    const int64_t columns = column_size.outer * column_size.h * column_size.w;
    const int64_t terms = k_size.outer * k_size.h * k_size.w;
    const int64_t across = pieces(columns, PK_SIDE * TN), down = pieces(p.rows, PK_SIDE * TM);
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int64_t column0 = tile % across * (PK_SIDE * TN), row0 = tile / across % down * (PK_SIDE * TM);
        const int64_t group = tile / across / down % p.groups, split = tile / across / down / p.groups;
        const int64_t k_begin = FILTER ? split * p.part : 0;
        const int64_t k_end = FILTER && k_begin + p.part < terms ? k_begin + p.part : terms;
        const int64_t a_first = group * p.a_group + row0 * p.a_row, b_first = group * p.b_group;
        if (threadIdx.x < PK_SIDE * TN && column0 + threadIdx.x < columns) {
            const pk_triple t = triple_at(column_size, column0 + threadIdx.x);
            column_place[threadIdx.x] = FILTER ? place_of_tap(p, t) : place_of_pixel(p, t);
        }
        N sum[TM][TN];
        clear<N, TM, TN>(sum);
        for (int64_t k0 = k_begin; k0 < k_end; k0 += PK_TILE_K) {
            if (threadIdx.x < PK_TILE_K && k0 + threadIdx.x < k_end) {
                const pk_triple t = triple_at(k_size, k0 + threadIdx.x);
                k_place[threadIdx.x] = FILTER ? place_of_pixel(p, t) : place_of_tap(p, t);
                k_left[threadIdx.x] = offset_of(t, p.a_k);
            }
            __syncthreads();
#pragma unroll
            for (int r = 0; r < TM; r++) {
                int k, line;
                slab_place<TM>(r, true, &k, &line);
                left[k][line] = row0 + line < p.rows && k0 + k < k_end
                                    ? load(((const T *)p.a)[a_first + line * p.a_row + k_left[k]])
                                    : (N)0;
            }
#pragma unroll
            for (int r = 0; r < TN; r++) {
                int k, line;
                slab_place<TN>(r, FILTER, &k, &line);
                right[k][line] = column0 + line < columns && k0 + k < k_end
                                     ? gathered<T>(p, b_first, column_place[line], k_place[k])
                                     : hole(N());
            }
            __syncthreads();
            multiply<N, TM, TN, true>(left, right, sum);
        }
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int64_t column = column0 + (int)threadIdx.x % PK_SIDE + PK_SIDE * j;
            const int64_t to = FILTER || column >= columns ? 0 : offset_of(triple_at(column_size, column), p.c_column);
#pragma unroll
            for (int i = 0; i < TM; i++) {
                const int64_t row = row0 + (int)threadIdx.x / PK_SIDE * TM + i;
                if (row >= p.rows || column >= columns) {
                    continue;
                }
                if (FILTER) {
                    partial[((split * p.groups + group) * p.rows + row) * columns + column] = sum[i][j];
                } else {
                    const T *bias = (const T *)p.bias;
                    const N start = bias ? load(bias[(group * p.rows + row) * p.bias_stride]) : (N)0;
                    ((T *)p.c)[group * p.c_group + row * p.c_row + to] = store<T>(activated(p.activation, sum[i][j] + start));
                }
            }
        }
        __syncthreads(); /* the next tile's columns are noted where this one's were */
    }
}

template <class T> __global__ void __launch_bounds__(PK_THREADS) conv_add_parts(const pk_conv p, const number<T> *partial)
{
    const int64_t taps = p.taps.outer * p.taps.h * p.taps.w, count = p.groups * p.rows * taps;
    for (int64_t i = first_element(); i < count; i += element_stride()) {
        number<T> sum = partial[i];
        for (int64_t split = 1; split < p.splits; split++) {
            sum += partial[split * count + i];
        }
        const int64_t row = i / taps;
        ((T *)p.c)[row / p.rows * p.c_group + row % p.rows * p.c_row + offset_of(triple_at(p.taps, i % taps), p.c_column)] =
            store<T>(sum);
    }
}

template <class T, int TM, int TN, bool FILTER>
cudaError_t launch_tiles(cudaStream_t stream, const pk_conv *p, number<T> *partial)
{
    const pk_triple size = FILTER ? p->taps : p->pixels;
    const int64_t tiles = pieces(p->rows, PK_SIDE * TM) * pieces(size.outer * size.h * size.w, PK_SIDE * TN) *
                          p->groups * (FILTER ? p->splits : 1);
    return tiles == 0 ? cudaSuccess
                      : PLUMB_LAUNCH((conv_tiles<T, TM, TN, FILTER>), blocks_for_tiles(tiles), PK_TILE_THREADS, 0,
                                     stream, *p, tiles, partial);
}

/* A group of few channels would leave most rows of the square tile empty. */
template <class T, bool FILTER> cudaError_t launch_fitting(cudaStream_t stream, const pk_conv *p, number<T> *partial)
{
    return p->rows <= PK_SIDE ? launch_tiles<T, 1, 4, FILTER>(stream, p, partial)
                              : launch_tiles<T, 4, 4, FILTER>(stream, p, partial);
}

template <class T> cudaError_t filter_of(cudaStream_t stream, const pk_conv *p, void *partial)
{
    const int64_t count = p->groups * p->rows * p->taps.outer * p->taps.h * p->taps.w;
    const cudaError_t code = launch_fitting<T, true>(stream, p, (number<T> *)partial);
    return code != cudaSuccess || count == 0 ? code
                                             : PLUMB_LAUNCH(conv_add_parts<T>, blocks_for(count), PK_THREADS, 0, stream,
                                                            *p, (const number<T> *)partial);
}

} // namespace

extern "C" cudaError_t plumb_k_conv2d(cudaStream_t stream, int dtype, const pk_conv *p)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return launch_fitting<T, false>(stream, p, nullptr);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t plumb_k_conv2d_filter(cudaStream_t stream, int dtype, const pk_conv *p, void *partial)
{
    switch (dtype) {
#define ROW(number_of_type, T) \
    case number_of_type: return filter_of<T>(stream, p, partial);
        PK_FLOAT_CASES(ROW)
#undef ROW
    default: return cudaErrorInvalidValue;
    }
}
