/* What C sees of the kernels: plain structs of numbers and one C function per launcher. It stands on its own, so that
 * kernels know nothing of the library and the library nothing of C++.
 *
 * Rules: a launcher computes grid and block, launches on the stream it is given and returns what the launch returned;
 * it allocates nothing, waits for nothing and keeps nothing, so it may be captured. A launch over no elements is
 * cudaSuccess without a launch. Structs are passed by const pointer and copied to the kernel by value. */
#ifndef PLUMB_LAUNCH_H
#define PLUMB_LAUNCH_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PK_MAX_RANK 8

/* Element types: the numbers of plumb_dtype. */
enum { PK_F32 = 1, PK_F64 = 2, PK_BF16 = 3, PK_F16 = 4, PK_I32 = 5, PK_I64 = 6, PK_U8 = 7 };

/* A tensor as in plumb_view: strides are in elements, may be 0 or negative. */
typedef struct pk_view {
    void *data; /* element (0, ..., 0) */
    int32_t dtype, rank;
    int64_t dim[PK_MAX_RANK], stride[PK_MAX_RANK];
} pk_view;

/* Up to four operands visited together over one index space (row-major order, in elements). The last operand is the
 * one that is written. Made by plumb_cuda_walk, which merges and orders dimensions: an element-wise walk over packed
 * memory has rank 1. */
#define PK_WALK_OPERANDS 4
typedef struct pk_walk {
    void *data[PK_WALK_OPERANDS];
    int64_t count;
    int32_t rank, operands;
    int64_t dim[PK_MAX_RANK];
    int64_t stride[PK_WALK_OPERANDS][PK_MAX_RANK];
} pk_walk;

/* Where a kernel notes that a value of its input is wrong (a label, an index): the first to find code 0 writes. The
 * device reads it when results are fetched, and says so with the op's name. `watch` is plumb_cuda_watch's number. */
typedef struct pk_fault {
    int32_t code, watch;
    int64_t at, value, low, high; /* the value at element `at` is outside [low, high) */
} pk_fault;

/* ---- unary.cu, binary.cu ---- */
enum pk_unary {
    PK_AFFINE, PK_NEG, PK_ABS, PK_SIGN, PK_EXP, PK_EXPM1, PK_LOG, PK_LOG1P, PK_SQRT, PK_RSQRT, PK_SQUARE,
    PK_RECIPROCAL, PK_SIN, PK_COS, PK_ERF, PK_SIGMOID, PK_TANH, PK_RELU, PK_LEAKY_RELU, PK_ELU, PK_GELU, PK_SILU,
    PK_SOFTPLUS, PK_HUBER, PK_CLAMP, PK_TAN, PK_ASIN, PK_ACOS, PK_ATAN, PK_SINH, PK_COSH, PK_ASINH, PK_ACOSH, PK_ATANH,
    PK_FLOOR, PK_CEIL, PK_ROUND, PK_TRUNC, PK_ERFC, PK_GELU_TANH, PK_MISH
};
enum pk_binary {
    PK_ADD, PK_SUB, PK_MUL, PK_DIV, PK_MAXIMUM, PK_MINIMUM, PK_EQUAL, PK_LESS, PK_LESS_EQUAL, PK_POW,
    PK_SIGMOID_BACKWARD, PK_TANH_BACKWARD, PK_RELU_BACKWARD, PK_LEAKY_RELU_BACKWARD, PK_ELU_BACKWARD, PK_CLAMP_BACKWARD,
    PK_FMOD, PK_REMAINDER, PK_ATAN2, PK_LOGADDEXP, PK_PRELU, PK_NOT_EQUAL, PK_LOGICAL_AND, PK_LOGICAL_OR, PK_LOGICAL_XOR,
    PK_BITWISE_AND, PK_BITWISE_OR, PK_BITWISE_XOR, PK_SHIFT_LEFT, PK_SHIFT_RIGHT
};
/* x -> y of one floating dtype, or, of neg, abs, sign, square and clamp, of one integer dtype; a and b are the op's
 * numbers. */
cudaError_t plumb_k_unary(cudaStream_t stream, enum pk_unary what, int dtype, double a, double b, const pk_walk *w);
/* Two operands -> y; PK_ATAN2, PK_LOGADDEXP, PK_PRELU and the backward forms (from, dy) take floating dtypes only,
 * PK_BITWISE_.. and PK_SHIFT_.. integers only; comparisons and PK_LOGICAL_.. write u8. */
cudaError_t plumb_k_binary(cudaStream_t stream, enum pk_binary what, int dtype, double a, double b, const pk_walk *w);
/* condition (u8), a, b -> y, elements of `size` bytes. */
cudaError_t plumb_k_where(cudaStream_t stream, int size, const pk_walk *w);
cudaError_t plumb_k_cast(cudaStream_t stream, int from, int to, const pk_walk *w);

/* ---- shape.cu ---- */
/* `value`, rounded to the element type, everywhere. One operand. */
cudaError_t plumb_k_fill(cudaStream_t stream, int dtype, double value, const pk_walk *w);
/* Element i of one walk to element i of the other: both go in order, their shapes may differ. Elements of `size` bytes. */
cudaError_t plumb_k_move(cudaStream_t stream, int size, const pk_walk *from, const pk_walk *to);
/* A copy whose source lies side by side along its rows and whose target along its columns, as a transposition's does.
 * `rest`: the other dimensions, two operands. Made by plumb_cuda_turned. */
typedef struct pk_turn {
    pk_walk rest;
    int64_t rows, columns, x_row, x_column, y_row, y_column;
} pk_turn;
cudaError_t plumb_k_turn(cudaStream_t stream, int size, const pk_turn *t);

/* ---- reduce.cu ---- */
enum pk_fold {
    PK_SUM, PK_MEAN, PK_MAX, PK_MIN, PK_ARGMAX, PK_ARGMAX_LAST, PK_ARGMIN, PK_ARGMIN_LAST, PK_SUM_SQUARES,
    PK_ALL_FINITE, PK_PROD, PK_ABS_SUM, PK_SQUARE_SUM, PK_VARIANCE, PK_LOG_SUM_EXP, PK_ANY, PK_ALL
};
enum { PK_FOLD_SLOT = 24 }; /* bytes that one partial result may take */
/* kept: two operands, x without the dimensions that are reduced, and y. gone: one operand, those dimensions of x
 * (data unused). They are cut into `chunks`. With one chunk and no `partial` y is written; else the partial result of
 * chunk c for kept element k goes to place first + k * chunks + c of `partial`. columns: neighbours among the kept
 * elements lie side by side, or little is reduced; else a block works on each kept element. */
cudaError_t plumb_k_fold(cudaStream_t stream, enum pk_fold what, int dtype, const pk_walk *kept, const pk_walk *gone,
                         int columns, int64_t chunks, void *partial, int64_t first, int64_t count);
/* Joins `chunks` partial results of each kept element in a fixed tree. Both: `count` is what a mean and a variance divide
 * by. */
cudaError_t plumb_k_fold_finish(cudaStream_t stream, enum pk_fold what, int dtype, const pk_walk *kept, int64_t count,
                                int64_t chunks, const void *partial);

/* ---- along.cu ---- */
/* Cumulative sums. x, y without the axis, and along it n elements. */
typedef struct pk_scan {
    pk_walk walk;
    int64_t n, x_step, y_step;
    int32_t exclusive, reverse;
} pk_scan;
cudaError_t plumb_k_scan(cudaStream_t stream, int dtype, const pk_scan *s);
/* The first k of n elements in their order, and where they were: x, values, indices (i64) without the axis. */
typedef struct pk_order {
    pk_walk walk;
    int64_t n, k, step[3];
    void *workspace; /* plumb_k_order_bytes(walk.count, n) */
    int32_t descending;
} pk_order;
size_t plumb_k_order_bytes(int64_t lanes, int64_t n);
cudaError_t plumb_k_order(cudaStream_t stream, int dtype, const pk_order *o);

/* ---- softmax.cu ---- */
enum pk_softmax { PK_SOFTMAX, PK_SOFTMAX_BACKWARD, PK_LOG_SOFTMAX, PK_LOG_SOFTMAX_BACKWARD, PK_HARDMAX };
/* x, z, y without the axis (z: the second input, or x again), and along the axis n elements, `step` apart in each. */
typedef struct pk_lanes {
    pk_walk walk;
    int64_t n, step[3];
} pk_lanes;
cudaError_t plumb_k_softmax(cudaStream_t stream, enum pk_softmax what, int dtype, const pk_lanes *l);
/* Of smoothing e: a label's class has share `hit` = 1 - e + e / C of the target, the others `miss` = e / C. */
typedef struct pk_cross_entropy {
    pk_view logits, labels;  /* (N, C), (N) of i32 or i64 */
    pk_view weights;         /* (C); data NULL: all 1 */
    pk_view dloss;           /* (N), of the backward form */
    pk_view out, weight;     /* loss and weight (N); backward: dlogits (N, C) and none */
    double hit, miss;
    int64_t ignore;
    pk_fault *fault;
    int32_t watch, use_ignore, logarithms; /* logarithms: logits are log-probabilities */
} pk_cross_entropy;
cudaError_t plumb_k_cross_entropy(cudaStream_t stream, const pk_cross_entropy *c);
cudaError_t plumb_k_cross_entropy_backward(cudaStream_t stream, const pk_cross_entropy *c);

/* ---- gather.cu ---- */
/* Moves elements of `size` bytes. w: indices, x (both with stride 0 where they do not move), the index's row-major
 * position (no data), y. `step` is x's stride along the axis of n elements; indices count from the end if negative. */
typedef struct pk_gather {
    pk_walk w;
    int64_t n, step;
    pk_walk indices; /* in order */
    pk_fault *fault;
    int32_t watch, index_dtype;
} pk_gather;
cudaError_t plumb_k_gather(cudaStream_t stream, int size, const pk_gather *g);
/* w: dy without the indices' dimensions, the coordinate along the axis (no data), dx. `part`: the strides of dy's
 * dimensions that came from the indices, in order. The sums of one element are made in the order of the indices. */
typedef struct pk_gather_backward {
    pk_walk w, part, indices;
    int64_t n;
    void *workspace; /* plumb_k_gather_backward_bytes(indices, n) */
    pk_fault *fault;
    int32_t watch, index_dtype;
} pk_gather_backward;
size_t plumb_k_gather_backward_bytes(int64_t indices, int64_t n);
cudaError_t plumb_k_gather_backward(cudaStream_t stream, int dtype, const pk_gather_backward *g);
/* w: indices (stride 0 along the classes), the class (no data), y. `wrap` is added to negative indices. */
cudaError_t plumb_k_one_hot(cudaStream_t stream, int index_dtype, int dtype, int64_t wrap, double on, double off,
                            const pk_walk *w);

/* ---- scatter.cu ---- */
/* Tuples of k indices, `component` apart, name rows of x along k dimensions of n[] elements. */
typedef struct pk_tuples {
    const void *indices;
    int64_t component, n[PK_MAX_RANK], step[PK_MAX_RANK]; /* what one step along each of the k dimensions is worth */
    pk_fault *fault;
    int32_t k, watch, index_dtype;
} pk_tuples;
/* Moves elements of `size` bytes. w: the tuple, x (both with stride 0 where they do not move), the row-major position of
 * the tuple's first component (no data), y; tuples.step: x's strides. */
typedef struct pk_gather_nd {
    pk_walk w, places; /* places: tuples in order, for when there is nothing to move; two operands, the second without data */
    pk_tuples tuples;
} pk_gather_nd;
cudaError_t plumb_k_gather_nd(cudaStream_t stream, int size, const pk_gather_nd *g);
enum pk_scatter_reduce { PK_SCATTER_NONE, PK_SCATTER_ADD, PK_SCATTER_MUL, PK_SCATTER_MAX, PK_SCATTER_MIN };
/* Rows of x have numbers, their slots. places: tuples in order: the tuple, the part of the slot that the tuple's own place
 * gives (no data), the order (no data); tuples.step: what each index adds to the slot. w: x, slot (no data), the offset
 * within a row of updates (no data), y. part: the updates' rows, by tuple, in order. */
typedef struct pk_scatter {
    pk_walk places, w, part;
    pk_tuples tuples;
    const void *updates;
    int64_t slots;
    void *workspace; /* plumb_k_scatter_bytes(tuples) */
    int32_t reduce;
} pk_scatter;
size_t plumb_k_scatter_bytes(int64_t tuples);
cudaError_t plumb_k_scatter(cudaStream_t stream, int dtype, const pk_scatter *s);

/* ---- pad.cu ---- */
enum pk_pad_mode { PK_PAD_CONSTANT, PK_PAD_REFLECT, PK_PAD_EDGE, PK_PAD_WRAP };
typedef struct pk_pad { /* y is the padded one; backward: they are dx and dy */
    pk_view x, y;
    int64_t before[PK_MAX_RANK];
    int32_t mode;
} pk_pad;
cudaError_t plumb_k_pad(cudaStream_t stream, const pk_pad *p, double value);
cudaError_t plumb_k_pad_backward(cudaStream_t stream, const pk_pad *p);

/* ---- resize.cu ---- */
enum pk_resize_mode { PK_RESIZE_NEAREST, PK_RESIZE_LINEAR, PK_RESIZE_CUBIC };
enum pk_resize_coordinates {
    PK_RESIZE_HALF_PIXEL, PK_RESIZE_PYTORCH_HALF_PIXEL, PK_RESIZE_ALIGN_CORNERS, PK_RESIZE_ASYMMETRIC, PK_RESIZE_CROP
};
enum pk_resize_rounding { PK_RESIZE_ROUND_PREFER_FLOOR, PK_RESIZE_ROUND_PREFER_CEIL, PK_RESIZE_FLOOR, PK_RESIZE_CEIL };
typedef struct pk_resize_axis { /* a dimension that changes, from n elements to m */
    int64_t n, m;
    double scale, start, end;
    int32_t dim;
} pk_resize_axis;
typedef struct pk_resize { /* y is the resized one; backward: they are dx and dy */
    pk_view x, y;
    pk_resize_axis axis[3];
    int32_t axes, mode, coordinates, nearest, exclude_outside;
    double cubic_a, extrapolation;
} pk_resize;
cudaError_t plumb_k_resize(cudaStream_t stream, const pk_resize *r);
cudaError_t plumb_k_resize_backward(cudaStream_t stream, const pk_resize *r);

/* ---- detect.cu ---- */
/* boxes (N, B, 4), scores (N, C, B) -> selection (N * C * most, 3), count; by centre or corners; see src/op/detect.c. */
typedef struct pk_nms {
    pk_view boxes, scores, selection;
    int64_t *count;
    void *workspace; /* plumb_k_nms_bytes(N * C, B, most) */
    int64_t most;
    double overlap, score;
    int32_t centre, inclusive;
} pk_nms;
size_t plumb_k_nms_bytes(int64_t classes, int64_t boxes, int64_t most);
cudaError_t plumb_k_nms(cudaStream_t stream, int dtype, const pk_nms *p);
typedef struct pk_roi { /* backward: x and y are dx and dy */
    pk_view x, rois, batch, y;
    double scale;
    int64_t sampling;
    void *workspace; /* backward: plumb_k_roi_align_backward_bytes */
    pk_fault *fault;
    int32_t watch, aligned;
} pk_roi;
cudaError_t plumb_k_roi_align(cudaStream_t stream, int dtype, const pk_roi *r);
size_t plumb_k_roi_align_backward_bytes(int64_t rois, int64_t bins_h, int64_t h, int64_t bins_w, int64_t w);
cudaError_t plumb_k_roi_align_backward(cudaStream_t stream, int dtype, const pk_roi *r);

/* ---- arrange.cu ---- */
/* start + step * position; w: the position (no data), y. */
cudaError_t plumb_k_iota(cudaStream_t stream, int dtype, double start, double step, const pk_walk *w);
/* Elements of `size` bytes where column - row >= k (upper) or <= k, else zeros. w: column - row (no data), x, y. */
cudaError_t plumb_k_triangle(cudaStream_t stream, int size, int64_t k, int upper, const pk_walk *w);

/* ---- random.cu ---- */
enum pk_random { PK_DROPOUT, PK_UNIFORM, PK_NORMAL, PK_BERNOULLI, PK_BERNOULLI_OF, PK_INTEGERS };
/* Element e, in row-major order, is made of word e % 4 of block e / 4. Dropout keeps words >= `least` and multiplies by
 * a; uniform is a + b u, `below` where that rounds to `high` or more; normal is a + b z; Bernoulli is 1 for words below
 * `least` (or below x's element times 2^32); integers are a + word * least / 2^32. */
typedef struct pk_random_of {
    pk_walk x, y;       /* in order; x of dropout */
    const int64_t *key; /* {seed, step}, `key_step` apart */
    int64_t key_step;
    uint64_t least;
    double a, b, high, below;
    uint32_t stream;
} pk_random_of;
cudaError_t plumb_k_random(cudaStream_t stream, enum pk_random what, int dtype, const pk_random_of *r);

/* ---- update.cu ---- */
enum pk_update { PK_SGD, PK_MOMENTUM, PK_NESTEROV, PK_ADAGRAD, PK_RMSPROP, PK_ADAM };
enum { PK_UPDATE_TENSORS = 40, PK_UPDATE_OPERANDS = 7 };
typedef struct pk_update_rule {
    const uint8_t *apply;
    const void *lr, *scale; /* of the tensors' dtype */
    const int64_t *step;
    double beta1, beta2, epsilon, weight_decay, l2, l1;
    int32_t classic;
} pk_update_rule;
/* p, g, two moments, then p' and the two new moments; unused ones are NULL. Outputs are their inputs or apart. */
typedef struct pk_update_tensors { /* packed alike */
    int32_t tensors;
    int64_t count[PK_UPDATE_TENSORS];
    void *data[PK_UPDATE_TENSORS][PK_UPDATE_OPERANDS];
} pk_update_tensors;
typedef struct pk_update_strided { /* one tensor, any strides */
    void *data[PK_UPDATE_OPERANDS];
    int64_t count;
    int32_t rank;
    int64_t dim[PK_MAX_RANK], stride[PK_UPDATE_OPERANDS][PK_MAX_RANK];
} pk_update_strided;
cudaError_t plumb_k_update(cudaStream_t stream, enum pk_update what, int dtype, const pk_update_rule *rule,
                           const pk_update_tensors *t);
cudaError_t plumb_k_update_strided(cudaStream_t stream, enum pk_update what, int dtype, const pk_update_rule *rule,
                                   const pk_update_strided *t);

/* What a kernel does to each result before it stores it: the numbers of plumb_fused_activation. */
enum pk_activation { PK_NO_ACTIVATION, PK_ACTIVATION_RELU, PK_ACTIVATION_SIGMOID, PK_ACTIVATION_TANH };

/* ---- matmul.cu ---- */
/* C[row][column] = activation(sum over k of A[row][k] B[k][column] + bias) for every element of a batch. */
typedef struct pk_matmul {
    pk_walk batch; /* a, b, c over the leading dimensions */
    int64_t rows, columns, inner;
    int64_t a_row, a_inner, b_inner, b_column, c_row, c_column; /* strides */
    const void *bias;                /* NULL: none */
    int64_t bias_row, bias_column;   /* strides; one of them is 0 */
    int32_t activation;
} pk_matmul;
cudaError_t plumb_k_matmul(cudaStream_t stream, int dtype, const pk_matmul *p);

/* ---- conv.cu ---- */
/* Sizes of, an index into or strides over (image, height, width) of pixels, (channel, height, width) of taps. */
typedef struct pk_triple {
    int64_t outer, h, w;
} pk_triple;

/* A convolution or one of its adjoints as one product for each group,
 *
 *     C[row][column] = activation(sum over k of A[row][k] B(column, k) (+ bias[row])),
 *
 * in which pixels are columns and taps are k, or, for the filter's gradient, the other way round. B is gathered: the
 * element at h = (from[0] + pixel.h pixel_step[0] + tap.h tap_step[0]) / divide[0], w alike, of channel tap.outer of
 * image pixel.outer; where that is no whole number, or outside [0, b_size), there is none. */
typedef struct pk_conv {
    const void *a, *b, *bias; /* bias: NULL for none */
    void *c;
    int64_t groups, rows;
    pk_triple pixels, taps; /* sizes */
    int64_t a_group, a_row, b_group, b_image, c_group, c_row, bias_stride;
    pk_triple a_k;      /* strides of A along what k is made of */
    pk_triple b_stride; /* channel, h, w */
    pk_triple c_column; /* strides of C along what a column is made of */
    int64_t b_size[2], from[2], pixel_step[2], tap_step[2], divide[2];
    int64_t splits, part; /* the filter's gradient: k is cut into `splits` parts of `part`, a multiple of 16 */
    int32_t activation;   /* of the forward product */
} pk_conv;
cudaError_t plumb_k_conv2d(cudaStream_t stream, int dtype, const pk_conv *p);
/* `partial`: splits x groups x rows x taps accumulators (f64 for f64, else f32). */
cudaError_t plumb_k_conv2d_filter(cudaStream_t stream, int dtype, const pk_conv *p, void *partial);

/* ---- pool.cu ---- */
enum pk_pool { PK_MAX_POOL, PK_MAX_POOL_BACKWARD, PK_MAX_POOL_SELECT, PK_AVERAGE_POOL, PK_AVERAGE_POOL_BACKWARD };
/* x (n, c, h, w) is dx in the backward forms, y (n, c, oh, ow) is dy; index (i64) is shaped as y. */
typedef struct pk_pooling {
    void *x, *y;
    int64_t *index;
    int64_t x_stride[4], y_stride[4], index_stride[4];
    int64_t n, c, h, w, oh, ow;
    int64_t window[2], step[2], padding[4], dilation[2];
    int32_t exclude_padding, watch;
    int32_t adaptive; /* windows are bins, oh by ow of them */
    pk_fault *fault;    /* where an index may be wrong */
    int32_t *elsewhere; /* n x c; PK_MAX_POOL_BACKWARD: whether some index of the plane is outside its window */
} pk_pooling;
cudaError_t plumb_k_pool2d(cudaStream_t stream, enum pk_pool what, int dtype, const pk_pooling *p);

/* ---- norm.cu ---- */
typedef struct pk_vector { /* one number for each channel */
    void *data;
    int64_t stride;
} pk_vector;
/* The values of channel 0 of some operands, and the way from a channel to the next. */
typedef struct pk_channels {
    pk_walk walk;
    int64_t step[PK_WALK_OPERANDS];
} pk_channels;
/* A channel has count / width packs of `width` values that lie side by side; walks are over packs. They are cut into
 * `chunks` pieces of `chunk` packs, at least one, which a block reduces or writes each. */
typedef struct pk_norm {
    pk_channels read;  /* what is reduced: x; backward: x, dy, y and where dy before relu is left (or x for both) */
    pk_channels write; /* x, residual (or x), y; backward: x, dy before relu, dx */
    int64_t channels, count, chunks, chunk;
    pk_vector scale, shift, mean, spread; /* mean and spread: the running ones; backward: of the batch, 1/deviation */
    pk_vector out[4]; /* mean, 1/deviation, new running mean and variance; backward: dscale, dshift */
    double epsilon, momentum;
    int32_t biased_running;
    int32_t vectors; /* element type of what is per channel: that of the values, or PK_F32 for bf16 and f16 */
    int32_t width;   /* 1, or 16 bytes of values */
    int32_t relu, residual;
    void *partial; /* channels x (chunks + 1) x 2 accumulators (f64 for f64, else f32) */
} pk_norm;
/* The most values of `size` bytes that may lie in a pack. */
#define PK_NORM_PACK(size) (16 / (int32_t)(size))
cudaError_t plumb_k_batch_norm(cudaStream_t stream, int dtype, const pk_norm *p);
cudaError_t plumb_k_batch_norm_inference(cudaStream_t stream, int dtype, const pk_norm *p);
cudaError_t plumb_k_batch_norm_backward(cudaStream_t stream, int dtype, const pk_norm *p);

/* ---- row_norm.cu ---- */
typedef struct pk_volume { /* (N, C, S) */
    void *data;
    int64_t stride[3];
} pk_volume;
typedef struct pk_matrix {
    void *data;
    int64_t stride[2];
} pk_matrix;
/* n examples of groups * channels channels of s values; a row is a group's. Sums over examples are cut into chunks of
 * `per_chunk` examples. What is NULL is left out. */
typedef struct pk_row_norm {
    pk_volume x, dy, y;       /* y: dx in the backward form */
    pk_vector scale, shift;   /* backward: dscale and dshift are where these sums go */
    pk_vector dscale, dshift;
    pk_matrix invstd, mean;   /* (n, groups), f64 for f64, else f32; mean NULL: not centred */
    int64_t n, groups, channels, s, chunks, per_chunk;
    double epsilon;
    int32_t vectors; /* element type of scale and shift and their gradients */
    void *partial;   /* chunks x channels x 2 accumulators (f64 for f64, else f32) */
} pk_row_norm;
cudaError_t plumb_k_row_norm(cudaStream_t stream, int dtype, const pk_row_norm *p);
cudaError_t plumb_k_row_norm_backward(cudaStream_t stream, int dtype, const pk_row_norm *p);

/* ---- lrn.cu ---- */
typedef struct pk_lrn {
    pk_volume x, dy, y; /* y: dx in the backward form; dy unused in the other */
    int64_t n, channels, s, before, after;
    double scale, beta, bias;
    void *terms; /* backward: an accumulator for each element (f64 for f64, else f32) */
} pk_lrn;
cudaError_t plumb_k_lrn(cudaStream_t stream, int dtype, const pk_lrn *p);
cudaError_t plumb_k_lrn_backward(cudaStream_t stream, int dtype, const pk_lrn *p);

/* ---- recurrent.cu ---- */
/* A gru whose reset gate comes before the product takes two launches a step: PK_GRU_GATES makes r, z and r h (`saved`), of
 * which the host makes the product that PK_GRU_NEW takes; backwards PK_GRU_NEW comes first. */
enum pk_recurrent { PK_RNN, PK_GRU, PK_LSTM, PK_GRU_GATES, PK_GRU_NEW };
/* One element for each example and column. data NULL: there is none. */
typedef struct pk_rows {
    void *data;
    int64_t row, column; /* strides */
} pk_rows;
/* One element for each step, example and column. */
typedef struct pk_steps {
    void *data;
    int64_t step, row, column; /* strides */
} pk_steps;
/* One step: gates (of rnn: y) hold x's product and become the gates; `product` is h's, its bias not yet added. Examples whose
 * length is at most `t` get zeros; the others' new h and c go into the states, too, where there are such. */
typedef struct pk_cell {
    enum pk_recurrent kind;
    int32_t activation; /* of rnn */
    int64_t batch, units, t;
    const int64_t *lengths; /* NULL: all have this step */
    pk_rows product, bias, h, c, gates, saved, y; /* bias: row unused; saved: q of gru, the cells of lstm */
    pk_rows peepholes, state_h, state_c;          /* lstm's, row unused; may be what h and c are */
} pk_cell;
cudaError_t plumb_k_cell(cudaStream_t stream, int dtype, const pk_cell *p);
/* The way back: dh is what went past the products of the step behind, `product` what went through them (none at first), and
 * they and dy are added up. Writes da and dp, the gradients of x's and h's products (one memory but for gru), and in place
 * dh and dc before. `product` of PK_GRU_GATES is the gradient of r h, of the same step. */
typedef struct pk_cell_back {
    enum pk_recurrent kind;
    int32_t activation;
    int64_t batch, units, t, behind; /* steps: this one and that behind it */
    const int64_t *lengths;
    pk_rows product, dy, gates, saved, y, h, c, dh, dc, da, dp, peepholes;
} pk_cell_back;
cudaError_t plumb_k_cell_back(cudaStream_t stream, int dtype, const pk_cell_back *p);
/* All steps in one launch, for weights of h that a block can keep in its shared memory (plumb_k_kept_bytes): it takes `rows`
 * examples from the first step to the last. `one` is the step as above, but for what lies at steps: that is found from the
 * tensors here. Its h and c are those before the first step, or the kept states; `product` has room for (batch, gates * units),
 * of a gru in two launches a step r's and z's columns come first. `w` is w_hh. */
typedef struct pk_sequence {
    pk_cell one;
    pk_steps gates, saved, y;
    pk_rows w;
    int64_t steps, rows;
    int32_t reverse, wide; /* wide: gates * units */
} pk_sequence;
cudaError_t plumb_k_sequence(cudaStream_t stream, int dtype, const pk_sequence *p);
/* The way back alike. cells: c before each step; data NULL: `saved` of the step before, and at last one.c. After it
 * one.product holds what the first step's products pass on. */
typedef struct pk_sequence_back {
    pk_cell_back one;
    pk_steps dy, gates, saved, y, before, cells, da, dp;
    pk_rows w;
    int64_t steps, rows;
    int32_t reverse, wide;
} pk_sequence_back;
cudaError_t plumb_k_sequence_back(cudaStream_t stream, int dtype, const pk_sequence_back *p);
int64_t plumb_k_kept_bytes(int dtype, int64_t wide, int64_t units);
/* to (packed) at step t = from at step t + shift; `start`, or 0 without one, where the sequence has no such step; 0 where it
 * has no step t. The tensors begin with step `first`; without a shift `to` may be `from`. */
typedef struct pk_shift {
    pk_steps from;
    pk_rows start;
    void *to;
    const int64_t *lengths; /* NULL: all have all steps */
    int64_t steps, first, batch, columns;
    int32_t shift;
} pk_shift;
cudaError_t plumb_k_shift(cudaStream_t stream, int dtype, const pk_shift *p);
/* to[n] = the n-th length, which must be in [0, steps]; one that is not is noted, and the nearest that is taken. */
typedef struct pk_lengths {
    const void *from;
    int32_t dtype, watch;
    int64_t stride, batch, steps;
    int64_t *to;
    pk_fault *fault;
} pk_lengths;
cudaError_t plumb_k_lengths(cudaStream_t stream, const pk_lengths *p);
/* Gradients of lstm's peepholes, to (3 units): sums over all steps of the gates' gradients times the cells. */
typedef struct pk_peepholes {
    const void *da;    /* packed (T, N, 4 units) */
    const void *before; /* packed (T, N, units): the cells before each step */
    pk_steps cells;
    void *to;
    const int64_t *lengths;
    int64_t steps, batch, units;
} pk_peepholes;
cudaError_t plumb_k_peepholes(cudaStream_t stream, int dtype, const pk_peepholes *p);
/* to[column] = the sum of from's rows, in their order; `to` is packed */
cudaError_t plumb_k_column_sums(cudaStream_t stream, int dtype, const pk_rows *from, void *to, int64_t rows, int64_t columns);

/* ---- attention.cu ---- */
typedef struct pk_heads { /* (N, H, rows, features); lse has no features */
    void *data;
    int64_t stride[4];
} pk_heads;
/* Strides of a mask are 0 where it stretches; data NULL: none. delta: N x H x T accumulators of the way back. */
typedef struct pk_attention {
    pk_heads q, k, v, mask, y, lse, dy, dq, dk, dv;
    int64_t batch, heads, queries, keys, features, values;
    double scale;
    void *delta;
    int32_t causal, mask_is_u8;
} pk_attention;
cudaError_t plumb_k_attention(cudaStream_t stream, int dtype, const pk_attention *p);
cudaError_t plumb_k_attention_backward(cudaStream_t stream, int dtype, const pk_attention *p);

/* ---- ctc.cu ---- */
/* x (T, N, C), targets (N, S) or (total), lengths and losses (N).
 * places: 2 S + 1. */
typedef struct pk_ctc {
    pk_view x, targets, steps, lengths, loss, dloss, dx;
    int64_t places, blank;
    void *rows; /* loss: N x 2 x places accumulators; back: N x (T + 2) x places */
    pk_fault *fault;
    int32_t zero_infinity, watch_label, watch_steps, watch_length;
} pk_ctc;
cudaError_t plumb_k_ctc_loss(cudaStream_t stream, const pk_ctc *p);
cudaError_t plumb_k_ctc_loss_backward(cudaStream_t stream, const pk_ctc *p);

/* ---- activation.cu ---- */
/* dx = dy times the activation's derivative where its result is y, and dbias, the sum of dx over each channel. A channel's
 * elements are cut into `chunks` pieces of `chunk` packs of `width` elements. */
typedef struct pk_back {
    pk_channels at; /* dy, y, dx */
    pk_vector dbias;
    int64_t channels, count, chunks, chunk; /* count: packs of a channel */
    int32_t activation, width;
    int32_t across; /* neighbours in memory are channels, not elements of one; width is 1 */
    void *partial;  /* channels x chunks accumulators (f64 for f64, else f32); unused where chunks is 1 */
} pk_back;
cudaError_t plumb_k_activation_backward(cudaStream_t stream, int dtype, const pk_back *p);

#ifdef __cplusplus
}
#endif
#endif
