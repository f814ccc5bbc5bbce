/* The ops: each function adds one op (or a short composition) to the graph and returns the id of its first output.
 *
 * Shapes are written beside the parameters. Unless said otherwise, operands have one floating dtype (f64, f32, bf16,
 * f16), results have it too, sums are accumulated in at least f32, and NaN propagates. Broadcasting follows NumPy:
 * shapes are aligned at the right, dimensions of size 1 stretch. Axes may be negative (counted from the end). */
#ifndef PLUMB_OPS_H
#define PLUMB_OPS_H

#include "plumb/detection.h"
#include "plumb/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -- element-wise, two operands, broadcasting; add, sub, mul, div, pow, fmod, remainder, maximum, minimum, comparisons and
 *    logical ops take integers too (which wrap; by zero 0) -- */
PLUMB_API plumb_t plumb_add(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_sub(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_mul(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_div(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_pow(plumb_graph *g, plumb_t a, plumb_t b);     /* a^b; integers to a negative power: toward zero */
PLUMB_API plumb_t plumb_fmod(plumb_graph *g, plumb_t a, plumb_t b);      /* a - b trunc(a / b): a's sign, exact */
PLUMB_API plumb_t plumb_remainder(plumb_graph *g, plumb_t a, plumb_t b); /* a - b floor(a / b): b's sign, as Python's % */
PLUMB_API plumb_t plumb_atan2(plumb_graph *g, plumb_t a, plumb_t b);     /* the angle of the point (b, a) */
PLUMB_API plumb_t plumb_logaddexp(plumb_graph *g, plumb_t a, plumb_t b); /* ln(e^a + e^b) */
PLUMB_API plumb_t plumb_prelu(plumb_graph *g, plumb_t x, plumb_t slope); /* x > 0 ? x : slope x; slopes (C, 1, 1) for (N, C, H, W) */
PLUMB_API plumb_t plumb_maximum(plumb_graph *g, plumb_t a, plumb_t b); /* ties: the gradient goes to a */
PLUMB_API plumb_t plumb_minimum(plumb_graph *g, plumb_t a, plumb_t b); /* ties: the gradient goes to a */
PLUMB_API plumb_t plumb_equal(plumb_graph *g, plumb_t a, plumb_t b);   /* u8; comparisons with NaN are 0 */
PLUMB_API plumb_t plumb_less(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_less_equal(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_greater(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_greater_equal(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_not_equal(plumb_graph *g, plumb_t a, plumb_t b); /* 1 with NaN, as IEEE 754 says */
PLUMB_API plumb_t plumb_logical_and(plumb_graph *g, plumb_t a, plumb_t b); /* u8 0 or 1; any dtype, true unless zero */
PLUMB_API plumb_t plumb_logical_or(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_logical_xor(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_logical_not(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_bitwise_and(plumb_graph *g, plumb_t a, plumb_t b); /* integers */
PLUMB_API plumb_t plumb_bitwise_or(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_bitwise_xor(plumb_graph *g, plumb_t a, plumb_t b);
PLUMB_API plumb_t plumb_bitwise_not(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_shift_left(plumb_graph *g, plumb_t a, plumb_t bits);  /* integers; bits < 0 or too many: all out */
PLUMB_API plumb_t plumb_shift_right(plumb_graph *g, plumb_t a, plumb_t bits); /* signed integers keep their sign */
PLUMB_API plumb_t plumb_clamp_between(plumb_graph *g, plumb_t x, plumb_t low, plumb_t high); /* either may be PLUMB_NONE; high wins */
PLUMB_API plumb_t plumb_where(plumb_graph *g, plumb_t condition_u8, plumb_t a, plumb_t b); /* condition ? a : b */

/* -- element-wise, one operand; neg, abs, sign, square, clamp take integers too -- */
PLUMB_API plumb_t plumb_affine(plumb_graph *g, plumb_t x, double scale, double shift); /* scale*x + shift */
PLUMB_API plumb_t plumb_neg(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_abs(plumb_graph *g, plumb_t x);  /* gradient sign(x), 0 at 0 */
PLUMB_API plumb_t plumb_sign(plumb_graph *g, plumb_t x); /* -1, 0, 1; gradient 0 */
PLUMB_API plumb_t plumb_exp(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_expm1(plumb_graph *g, plumb_t x); /* e^x - 1, accurate near 0 */
PLUMB_API plumb_t plumb_log(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_log1p(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_sqrt(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_rsqrt(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_square(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_reciprocal(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_sin(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_cos(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_tan(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_asin(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_acos(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_atan(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_sinh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_cosh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_asinh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_acosh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_atanh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_floor(plumb_graph *g, plumb_t x); /* gradient 0, as of ceil, round, trunc */
PLUMB_API plumb_t plumb_ceil(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_round(plumb_graph *g, plumb_t x); /* halves to the even neighbour */
PLUMB_API plumb_t plumb_trunc(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_exp2(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_log2(plumb_graph *g, plumb_t x);  /* ln(x) / ln 2 */
PLUMB_API plumb_t plumb_log10(plumb_graph *g, plumb_t x); /* ln(x) / ln 10 */
PLUMB_API plumb_t plumb_is_nan(plumb_graph *g, plumb_t x); /* u8, as the next two */
PLUMB_API plumb_t plumb_is_finite(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_is_inf(plumb_graph *g, plumb_t x, bool positive, bool negative); /* of these signs */
PLUMB_API plumb_t plumb_erf(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_erfc(plumb_graph *g, plumb_t x); /* 1 - erf(x), accurate in the tail */
PLUMB_API plumb_t plumb_sigmoid(plumb_graph *g, plumb_t x);                /* 1/(1 + e^-x) */
PLUMB_API plumb_t plumb_tanh(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_relu(plumb_graph *g, plumb_t x);                   /* gradient 0 at 0 */
PLUMB_API plumb_t plumb_leaky_relu(plumb_graph *g, plumb_t x, double slope); /* slope 0: 0.01; slope at 0 */
PLUMB_API plumb_t plumb_elu(plumb_graph *g, plumb_t x, double alpha);      /* alpha 0: 1 */
PLUMB_API plumb_t plumb_gelu(plumb_graph *g, plumb_t x);                   /* exact, with erf (Hendrycks & Gimpel 2016) */
PLUMB_API plumb_t plumb_gelu_tanh(plumb_graph *g, plumb_t x);              /* its approximation, x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) */
PLUMB_API plumb_t plumb_silu(plumb_graph *g, plumb_t x);                   /* x * sigmoid(x) */
PLUMB_API plumb_t plumb_mish(plumb_graph *g, plumb_t x);                   /* x tanh(softplus(x)) (Misra 2019) */
PLUMB_API plumb_t plumb_selu(plumb_graph *g, plumb_t x);                   /* 1.0507 elu(x, 1.6733) */
PLUMB_API plumb_t plumb_celu(plumb_graph *g, plumb_t x, double alpha);     /* alpha elu(x / alpha, 1); alpha 0: 1 */
PLUMB_API plumb_t plumb_softsign(plumb_graph *g, plumb_t x);               /* x / (1 + |x|) */
PLUMB_API plumb_t plumb_hard_sigmoid(plumb_graph *g, plumb_t x, double alpha, double beta); /* alpha x + beta within [0, 1] (PyTorch: 1/6, 0.5; ONNX's default: 0.2, 0.5) */
PLUMB_API plumb_t plumb_hard_swish(plumb_graph *g, plumb_t x);             /* x hard_sigmoid(x, 1/6, 0.5) */
PLUMB_API plumb_t plumb_thresholded_relu(plumb_graph *g, plumb_t x, double alpha); /* x > alpha ? x : 0 */
PLUMB_API plumb_t plumb_shrink(plumb_graph *g, plumb_t x, double threshold, double bias); /* 0 where |x| <= threshold, else x - bias sign(x): hard: bias 0; soft: bias threshold */
PLUMB_API plumb_t plumb_log_sigmoid(plumb_graph *g, plumb_t x);
PLUMB_API plumb_t plumb_softplus(plumb_graph *g, plumb_t x);               /* ln(1 + e^x), stable */
PLUMB_API plumb_t plumb_huber(plumb_graph *g, plumb_t x, double delta);    /* x^2/2 inside |x|<=delta, else delta(|x|-delta/2) */
PLUMB_API plumb_t plumb_clamp(plumb_graph *g, plumb_t x, double low, double high); /* gradient 1 where low<=x<=high */
PLUMB_API plumb_t plumb_cast(plumb_graph *g, plumb_t x, plumb_dtype to);   /* rounded once, to even; to an integer: toward zero, saturating, NaN to 0. Truth values: not_equal to 0 */
PLUMB_API plumb_t plumb_stop_gradient(plumb_graph *g, plumb_t x);          /* x, with gradient 0 */

/* -- reductions over `axes` (NULL, 0: all); keep: leave size-1 dimensions. sum, mean, max, min, prod, abs_sum and
 *    square_sum take integers too: sums and products wrap, a mean is the sum (64 bits) divided toward zero. Over no
 *    elements: sums 0, prod 1, mean and variance NaN, log_sum_exp -infinity, any 0, all 1; max, min, argmax, argmin and
 *    means of integers are refused. -- */
PLUMB_API plumb_t plumb_sum(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
PLUMB_API plumb_t plumb_mean(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
PLUMB_API plumb_t plumb_max(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep); /* gradient shared equally by ties */
PLUMB_API plumb_t plumb_min(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
PLUMB_API plumb_t plumb_prod(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep); /* its gradient, right with zeros, needs known sizes along the axes */
PLUMB_API plumb_t plumb_abs_sum(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);    /* the L1 norm; gradient sign(x), 0 at 0 */
PLUMB_API plumb_t plumb_square_sum(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
/* sum |x - mean|^2 / (n - correction), stable: correction 0 is the biased variance, 1 the unbiased one; n <= correction: NaN
 * or infinity. The deviation is its root, with gradient 0 where it is 0. */
PLUMB_API plumb_t plumb_variance(plumb_graph *g, plumb_t x, const int *axes, int n_axes, int correction, bool keep);
PLUMB_API plumb_t plumb_deviation(plumb_graph *g, plumb_t x, const int *axes, int n_axes, int correction, bool keep);
/* (sum |x|^p)^(1/p); p infinite: the largest (smallest) |x|; 0: how many are not 0. Gradient 0 where the norm is 0. */
PLUMB_API plumb_t plumb_norm(plumb_graph *g, plumb_t x, double p, const int *axes, int n_axes, bool keep);
PLUMB_API plumb_t plumb_log_sum_exp(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep); /* ln sum e^x, shifted by the maximum; of -infinities alone: -infinity, gradient 0 */
PLUMB_API plumb_t plumb_any(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep); /* u8: is any not 0? NaN is not 0; every dtype */
PLUMB_API plumb_t plumb_all(plumb_graph *g, plumb_t x, const int *axes, int n_axes, bool keep);
PLUMB_API plumb_t plumb_argmax(plumb_graph *g, plumb_t x, int axis, bool keep); /* i64, the first of ties; NaN wins */
PLUMB_API plumb_t plumb_argmin(plumb_graph *g, plumb_t x, int axis, bool keep);
PLUMB_API plumb_t plumb_argmax_last(plumb_graph *g, plumb_t x, int axis, bool keep); /* the last of ties */
PLUMB_API plumb_t plumb_argmin_last(plumb_graph *g, plumb_t x, int axis, bool keep);
/* -- along one axis. The order is PyTorch's: NaN after everything else, -0 equal to 0, and among equals the lower index first
 *    whichever the direction (stable), on every device. sort and top_k: values, second output i64 indices; any dtype. -- */
PLUMB_API plumb_t plumb_cumsum(plumb_graph *g, plumb_t x, int axis, bool exclusive, bool reverse); /* exclusive: without the element itself; integers wrap */
PLUMB_API plumb_t plumb_cumprod(plumb_graph *g, plumb_t x, int axis); /* the axis' size must be known; a composition of log2(n) products */
PLUMB_API plumb_t plumb_sort(plumb_graph *g, plumb_t x, int axis, bool descending);
PLUMB_API plumb_t plumb_argsort(plumb_graph *g, plumb_t x, int axis, bool descending);
PLUMB_API plumb_t plumb_top_k(plumb_graph *g, plumb_t x, int64_t k, int axis, bool smallest); /* in their order; k <= size */
#define PLUMB_AXES(...) (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* -- shape -- */
PLUMB_API plumb_t plumb_reshape(plumb_graph *g, plumb_t x, plumb_shape to); /* one dimension may be PLUMB_INFER */
PLUMB_API plumb_t plumb_reshape_like(plumb_graph *g, plumb_t x, plumb_t like);
PLUMB_API plumb_t plumb_flatten(plumb_graph *g, plumb_t x, int axis); /* (d0..) -> (d0*..*d[axis-1], rest); axis>=1 keeps a symbolic batch only for axis 1 */
PLUMB_API plumb_t plumb_transpose(plumb_graph *g, plumb_t x, const int *order); /* output dim i is input dim order[i]; NULL: reversed */
PLUMB_API plumb_t plumb_expand(plumb_graph *g, plumb_t x, plumb_shape to);      /* broadcast to a shape */
PLUMB_API plumb_t plumb_expand_like(plumb_graph *g, plumb_t x, plumb_t like);
PLUMB_API plumb_t plumb_sum_to(plumb_graph *g, plumb_t x, plumb_shape to);      /* the adjoint of expand: sums the stretched dims */
PLUMB_API plumb_t plumb_sum_to_like(plumb_graph *g, plumb_t x, plumb_t like);
PLUMB_API plumb_t plumb_concat(plumb_graph *g, const plumb_t *x, int count, int axis);
/* begin/end/step per dimension of x, NumPy's rules (negatives count from the end, clipped; step may be negative; end
 * PLUMB_END: through the last in step's direction). NULL step: all 1. */
#define PLUMB_END INT64_MAX
PLUMB_API plumb_t plumb_slice(plumb_graph *g, plumb_t x, const int64_t *begin, const int64_t *end, const int64_t *step);
/* Compositions of these. Axes: NULL: all (squeeze: those of size 1). */
PLUMB_API plumb_t plumb_squeeze(plumb_graph *g, plumb_t x, const int *axes, int n_axes);
PLUMB_API plumb_t plumb_unsqueeze(plumb_graph *g, plumb_t x, const int *axes, int n_axes); /* axes of the result */
PLUMB_API plumb_t plumb_stack(plumb_graph *g, const plumb_t *x, int count, int axis);      /* at most 64 */
/* parts[count]; sizes NULL: equal, but for the last, which is what remains. */
PLUMB_API plumb_status plumb_split(plumb_graph *g, plumb_t x, int axis, const int64_t *sizes, int count, plumb_t *parts);
PLUMB_API plumb_status plumb_unstack(plumb_graph *g, plumb_t x, int axis, int count, plumb_t *parts);
PLUMB_API plumb_t plumb_flip(plumb_graph *g, plumb_t x, const int *axes, int n_axes);
PLUMB_API plumb_t plumb_roll(plumb_graph *g, plumb_t x, int64_t shift, int axis); /* element i goes to i + shift, around the end */
PLUMB_API plumb_t plumb_tile(plumb_graph *g, plumb_t x, const int64_t *times);    /* of every axis; 0: nothing is left */
/* (N, C, H, W): blocks of pictures to channels and back. channels_first: a channel's block lies together (ONNX CRD, PyTorch
 * pixel_shuffle), else the channels of each place in the block (DCR, TensorFlow). */
PLUMB_API plumb_t plumb_depth_to_space(plumb_graph *g, plumb_t x, int64_t block, bool channels_first);
PLUMB_API plumb_t plumb_space_to_depth(plumb_graph *g, plumb_t x, int64_t block, bool channels_first);
/* Of the last two dimensions, elements with column - row >= k (triu) or <= k (tril); the others are 0. */
PLUMB_API plumb_t plumb_triu(plumb_graph *g, plumb_t x, int64_t k);
PLUMB_API plumb_t plumb_tril(plumb_graph *g, plumb_t x, int64_t k);
/* Numbers: start + step * the row-major position; arange: from start up to, without, end (ceil((end - start) / step) of them);
 * linspace: count from start to end; eye: ones where column - row is k. */
PLUMB_API plumb_t plumb_iota(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double start, double step);
PLUMB_API plumb_t plumb_iota_like(plumb_graph *g, plumb_dtype dtype, plumb_t like, double start, double step);
PLUMB_API plumb_t plumb_arange(plumb_graph *g, plumb_dtype dtype, double start, double end, double step);
PLUMB_API plumb_t plumb_linspace(plumb_graph *g, plumb_dtype dtype, double start, double end, int64_t count);
PLUMB_API plumb_t plumb_eye(plumb_graph *g, plumb_dtype dtype, int64_t rows, int64_t columns, int64_t k);
/* `before` and `after` elements more along each dimension of x (NULL: none), fewer where they are negative; any dtype. What
 * lies outside x is `value`, or what it stands for: mirrored about the first and last element (again and again, as NumPy;
 * these are not repeated), the nearest, or x over and over. What is cropped on one side can still be mirrored on the
 * other. A dimension without elements takes only the mode for constants. */
typedef enum plumb_pad_mode { PLUMB_PAD_CONSTANT = 0, PLUMB_PAD_REFLECT, PLUMB_PAD_EDGE, PLUMB_PAD_WRAP } plumb_pad_mode;
PLUMB_API plumb_t plumb_pad(plumb_graph *g, plumb_t x, const int64_t *before, const int64_t *after, plumb_pad_mode mode,
                            double value);

/* -- resizing: ONNX Resize of opset 17. Size and scale of every dimension of x, of which at most three change: a size of -1
 *    follows from the scale, floor(size * scale); a scale of 0 from the sizes; neither: as it is. Nearest takes any dtype.
 *    PyTorch's interpolate: nearest: ASYMMETRIC and FLOOR; bilinear, bicubic: HALF_PIXEL, or ALIGN_CORNERS. -- */
typedef enum plumb_resize_mode { PLUMB_RESIZE_NEAREST = 0, PLUMB_RESIZE_LINEAR, PLUMB_RESIZE_CUBIC } plumb_resize_mode;
typedef enum plumb_resize_coordinates { /* of element o of the result, in x */
    PLUMB_RESIZE_HALF_PIXEL = 0,        /* (o + 1/2) / scale - 1/2 */
    PLUMB_RESIZE_PYTORCH_HALF_PIXEL,    /* the same, but 0 where the result has one element */
    PLUMB_RESIZE_ALIGN_CORNERS,         /* o (n - 1) / (m - 1) */
    PLUMB_RESIZE_ASYMMETRIC,            /* o / scale */
    PLUMB_RESIZE_CROP                   /* evenly between two fractions of n - 1 (tf_crop_and_resize) */
} plumb_resize_coordinates;
typedef enum plumb_resize_rounding {
    PLUMB_RESIZE_ROUND_PREFER_FLOOR = 0, PLUMB_RESIZE_ROUND_PREFER_CEIL, PLUMB_RESIZE_FLOOR, PLUMB_RESIZE_CEIL
} plumb_resize_rounding;
typedef struct plumb_resize_options {
    size_t size;
    plumb_resize_mode mode;
    plumb_resize_coordinates coordinates;
    plumb_resize_rounding nearest;
    double cubic_a;        /* 0: -0.75 */
    bool exclude_outside;  /* linear, cubic: elements beyond the ends have no weight, instead of being those at the ends */
    const int64_t *sizes;  /* a number for each dimension of x; NULL: all -1 */
    const double *scales;  /* the same; NULL: all 0 */
    const double *crop;    /* CROP: where to start in each dimension, then where to end, as fractions; NULL: 0 and 1 */
    double extrapolation;  /* CROP: of what lies outside x */
} plumb_resize_options;
PLUMB_API plumb_t plumb_resize(plumb_graph *g, plumb_t x, const plumb_resize_options *options);

/* -- sampling (Jaderberg et al. 2015): x (N, C, H, W) looked up at grid (N, OH, OW, 2), places (across, down) between -1 and 1,
 *    which are the edges of the outermost elements or, with align_corners, their centres -> (N, C, OH, OW). Places outside
 *    read 0, the nearest edge, or what is mirrored at the edges. Gradients to x and, but for nearest, to the grid. The grid is
 *    f32 (f64 for f64). A composition: corners are gathered and weighed, four tensors of the result's size. -- */
typedef enum plumb_outside { PLUMB_OUTSIDE_ZEROS = 0, PLUMB_OUTSIDE_BORDER, PLUMB_OUTSIDE_REFLECTION } plumb_outside;
typedef struct plumb_grid_sample_options {
    size_t size;
    bool nearest; /* halves to the even neighbour; else bilinear */
    plumb_outside outside;
    bool align_corners;
} plumb_grid_sample_options;
PLUMB_API plumb_t plumb_grid_sample(plumb_graph *g, plumb_t x, plumb_t grid, const plumb_grid_sample_options *options);
/* The grid of an affine map, theta (N, 2, 3), f32 or f64: places of the result (across, down, 1) -> places in x. */
PLUMB_API plumb_t plumb_affine_grid(plumb_graph *g, plumb_t theta, int64_t height, int64_t width, bool align_corners);

/* -- linear algebra -- */
/* op(a) * op(b) over the last two dimensions, (.., M, K) x (.., K, N) -> (.., M, N); leading dimensions broadcast.
 * transpose_x swaps that operand's last two dimensions. A vector is a row (a) or a column (b), and its dimension is dropped
 * from the result, as NumPy's; transposing it changes nothing. */
PLUMB_API plumb_t plumb_matmul(plumb_graph *g, plumb_t a, plumb_t b, bool transpose_a, bool transpose_b);

PLUMB_API plumb_t plumb_dot(plumb_graph *g, plumb_t a, plumb_t b);   /* (K), (K) -> scalar */
PLUMB_API plumb_t plumb_outer(plumb_graph *g, plumb_t a, plumb_t b); /* (M), (N) -> (M, N) */
/* alpha op(a) op(b) + beta c, c broadcast to the product, or none; beta 0: c is not read */
PLUMB_API plumb_t plumb_gemm(plumb_graph *g, plumb_t a, plumb_t b, plumb_t c, double alpha, double beta, bool transpose_a,
                             bool transpose_b);
/* Einstein's sums, NumPy's notation: "bij,bjk->bik". A letter for each dimension; what the result does not name is summed; a
 * letter twice in one operand is its diagonal; "..." are dimensions that broadcast; without "->" the result has the letters
 * that occur once, in their order. Operands are taken in from the left, two at a time, by matmul where a sum is left to take
 * and mul where not; nothing searches for a better order. Sizes of 1 stretch. */
PLUMB_API plumb_t plumb_einsum(plumb_graph *g, const char *equation, const plumb_t *x, int count);

/* -- convolution: cross-correlation, x (N, C, H, W), w (O, C/groups, KH, KW), bias (O) or none -> (N, O, OH, OW),
 *    OH = floor((H + top + bottom - dilation*(KH-1) - 1) / stride) + 1 -- */
typedef struct plumb_conv2d_options {
    size_t size;
    int64_t stride[2];   /* 0: 1; height, width */
    int64_t padding[4];  /* top, left, bottom, right; negative is refused */
    int64_t dilation[2]; /* 0: 1 */
    int64_t groups;      /* 0: 1 */
    bool flip;           /* rotate the filter by 180 degrees: convolution in the mathematical sense */
} plumb_conv2d_options;
PLUMB_API plumb_t plumb_conv2d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv2d_options *options);
/* Its adjoints, ordinary ops: dx from dy (x lends its shape), dw from x and dy (w lends its shape). */
PLUMB_API plumb_t plumb_conv2d_backward_data(plumb_graph *g, plumb_t dy, plumb_t w, plumb_t like_x, const plumb_conv2d_options *options);
PLUMB_API plumb_t plumb_conv2d_backward_filter(plumb_graph *g, plumb_t x, plumb_t dy, plumb_t like_w, const plumb_conv2d_options *options);

/* Other forms, of these: x (N, C, L) and w (O, C/groups, K); x (N, C, D, H, W) and w (O, C/groups, KD, KH, KW), all sizes but the
 * batch known. Three dimensions have no op of their own: the depth's taps become channels of conv2d. */
typedef struct plumb_conv1d_options {
    size_t size;
    int64_t stride;     /* 0: 1 */
    int64_t padding[2]; /* before, after */
    int64_t dilation;   /* 0: 1 */
    int64_t groups;     /* 0: 1 */
    bool flip;
} plumb_conv1d_options;
PLUMB_API plumb_t plumb_conv1d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv1d_options *options);
typedef struct plumb_conv3d_options {
    size_t size;
    int64_t stride[3];   /* 0: 1; depth, height, width */
    int64_t padding[6];  /* front, top, left, back, bottom, right */
    int64_t dilation[3]; /* 0: 1 */
    int64_t groups;      /* 0: 1 */
} plumb_conv3d_options;
PLUMB_API plumb_t plumb_conv3d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias, const plumb_conv3d_options *options);
/* Transposed ("fractionally strided", "deconvolution"): the adjoint of the convolution with these options, x (N, C, H, W), w (C,
 * O/groups, KH, KW), bias (O) or none -> (N, O, OH, OW), OH = (H - 1) * stride - top - bottom + dilation*(KH-1) + 1 +
 * output_padding; or output_size instead of output_padding, of the sizes whose convolution has height H. The input's sizes
 * must be known, but for a symbolic batch. Output padding of a stride or more must lie within the padding below it. */
typedef struct plumb_conv_transpose2d_options {
    size_t size;
    int64_t stride[2], padding[4], dilation[2], groups; /* as in plumb_conv2d_options */
    int64_t output_padding[2];
    int64_t output_size[2]; /* 0: follows from the others */
} plumb_conv_transpose2d_options;
PLUMB_API plumb_t plumb_conv_transpose2d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                                         const plumb_conv_transpose2d_options *options);
typedef struct plumb_conv_transpose1d_options {
    size_t size;
    int64_t stride, padding[2], dilation, groups, output_padding, output_size;
} plumb_conv_transpose1d_options;
PLUMB_API plumb_t plumb_conv_transpose1d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                                         const plumb_conv_transpose1d_options *options);
typedef struct plumb_conv_transpose3d_options {
    size_t size;
    int64_t stride[3], padding[6], dilation[3], groups, output_padding[3], output_size[3];
} plumb_conv_transpose3d_options;
PLUMB_API plumb_t plumb_conv_transpose3d(plumb_graph *g, plumb_t x, plumb_t w, plumb_t bias,
                                         const plumb_conv_transpose3d_options *options);

/* -- pooling, x (N, C, H, W) -- */
typedef struct plumb_pool2d_options {
    size_t size;
    int64_t window[2];
    int64_t stride[2];   /* 0: the window */
    int64_t padding[4];  /* top, left, bottom, right; each below the window */
    int64_t dilation[2]; /* max pooling only; 0: 1 */
    bool ceil_mode;      /* round the output size up; a window that starts in the right padding is dropped */
    bool exclude_padding;/* average: divide by the elements inside x only (PyTorch count_include_pad=False) */
} plumb_pool2d_options;
PLUMB_API plumb_t plumb_max_pool2d(plumb_graph *g, plumb_t x, const plumb_pool2d_options *options); /* second output: i64 index within H*W of the (first) maximum */
PLUMB_API plumb_t plumb_average_pool2d(plumb_graph *g, plumb_t x, const plumb_pool2d_options *options);
PLUMB_API plumb_t plumb_global_average_pool2d(plumb_graph *g, plumb_t x); /* (N, C, 1, 1) */
PLUMB_API plumb_t plumb_global_max_pool2d(plumb_graph *g, plumb_t x);     /* gradient shared equally by ties */
/* (sum of |x|^p)^(1/p) over each window, padding counting as 0, also what ceil_mode adds (where PyTorch scales the sum up);
 * p > 0. Its gradient is 0 where the result is 0. */
PLUMB_API plumb_t plumb_lp_pool2d(plumb_graph *g, plumb_t x, double p, const plumb_pool2d_options *options);
PLUMB_API plumb_t plumb_global_lp_pool2d(plumb_graph *g, plumb_t x, double p);
/* Into height x width bins, of rows floor(i H / height) .. ceil((i + 1) H / height) - 1, as PyTorch's. */
PLUMB_API plumb_t plumb_adaptive_average_pool2d(plumb_graph *g, plumb_t x, int64_t height, int64_t width);
PLUMB_API plumb_t plumb_adaptive_max_pool2d(plumb_graph *g, plumb_t x, int64_t height, int64_t width); /* second output as max_pool2d's */
/* x and index (N, C, OH, OW) of a max pooling with these options -> (N, C, H, W): each value where its index within H*W says, 0
 * elsewhere; values of one place are added. output_size (H, W), NULL or 0: the smallest that makes such a pooling. */
PLUMB_API plumb_t plumb_max_unpool2d(plumb_graph *g, plumb_t x, plumb_t index, const plumb_pool2d_options *options,
                                     const int64_t output_size[2]);
/* x (N, C, L) and x (N, C, D, H, W). index NULL, or where to write the i64 index of the (first) maximum within L, within
 * D*H*W. */
typedef struct plumb_pool1d_options {
    size_t size;
    int64_t window, stride, padding[2], dilation; /* as in plumb_pool2d_options */
    bool ceil_mode, exclude_padding;
} plumb_pool1d_options;
typedef struct plumb_pool3d_options {
    size_t size;
    int64_t window[3], stride[3]; /* depth, height, width */
    int64_t padding[6];           /* front, top, left, back, bottom, right */
    int64_t dilation[3];
    bool ceil_mode, exclude_padding;
} plumb_pool3d_options;
PLUMB_API plumb_t plumb_max_pool1d(plumb_graph *g, plumb_t x, const plumb_pool1d_options *options, plumb_t *index);
PLUMB_API plumb_t plumb_average_pool1d(plumb_graph *g, plumb_t x, const plumb_pool1d_options *options);
PLUMB_API plumb_t plumb_max_pool3d(plumb_graph *g, plumb_t x, const plumb_pool3d_options *options, plumb_t *index);
PLUMB_API plumb_t plumb_average_pool3d(plumb_graph *g, plumb_t x, const plumb_pool3d_options *options);
PLUMB_API plumb_t plumb_adaptive_average_pool1d(plumb_graph *g, plumb_t x, int64_t length);
PLUMB_API plumb_t plumb_adaptive_max_pool1d(plumb_graph *g, plumb_t x, int64_t length, plumb_t *index);
PLUMB_API plumb_t plumb_output(plumb_graph *g, plumb_t first, int k);     /* the k-th output of the op that made `first` */

/* -- normalisation over every dimension but the channel (dimension 1), Ioffe & Szegedy 2015: the biased variance
 *    normalises; running := (1 - momentum) * running + momentum * batch, with the unbiased variance m/(m-1) unless
 *    `biased_running`. Programs that do not train use the running statistics instead, as constants of their gradients
 *    (gradients of gradients are those of training, unless `fixed`). One value per channel is refused: its variance says
 *    nothing. No values at all (an empty batch) leave the running statistics as they are. -- */
typedef struct plumb_batch_norm_options {
    size_t size;
    double epsilon;  /* 0: 1e-5; PLUMB_ZERO: none */
    double momentum; /* 0: 0.1; PLUMB_ZERO: running statistics stay */
    bool biased_running;
    bool fixed;      /* always use the running statistics (frozen layer) */
} plumb_batch_norm_options;
/* scale, shift, running_mean, running_var: (C), of x's dtype, or all f32 where x is bf16 or f16. The new running
 * statistics are assigned by training programs when the running tensors are variables. */
PLUMB_API plumb_t plumb_batch_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, plumb_t running_mean,
                                   plumb_t running_var, const plumb_batch_norm_options *options);

/* -- normalisation of each example by itself: y = (x - mean) / sqrt(variance + epsilon) * scale + shift, the biased variance
 *    over some of its values. scale and shift: PLUMB_NONE, or of x's dtype, or f32 where x is bf16 or f16. epsilon 0: 1e-5,
 *    PLUMB_ZERO: none. Statistics are f32 at least. A mean over one value is that value (y is the shift). -- */
/* Over dimensions axis.. (Ba et al. 2016); scale and shift have these dimensions, whose sizes must be known. */
PLUMB_API plumb_t plumb_layer_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, int axis, double epsilon);
/* x / sqrt(mean(x^2) + epsilon) * scale (Zhang & Sennrich 2019), otherwise as layer_norm. */
PLUMB_API plumb_t plumb_rms_norm(plumb_graph *g, plumb_t x, plumb_t scale, int axis, double epsilon);
/* x (N, C, ..): over C/groups neighbouring channels and all that is behind them (Wu & He 2018); scale and shift (C). */
PLUMB_API plumb_t plumb_group_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, int64_t groups, double epsilon);
/* The same with every channel a group (Ulyanov et al. 2016). */
PLUMB_API plumb_t plumb_instance_norm(plumb_graph *g, plumb_t x, plumb_t scale, plumb_t shift, double epsilon);

/* -- local response normalisation (Krizhevsky et al. 2012), x (N, C, ..): x / (bias + alpha/channels * sum of the squares of
 *    `channels` neighbouring channels)^beta. An even window has one channel more before (PyTorch), or after (ONNX). -- */
typedef struct plumb_lrn_options {
    size_t size;
    int64_t channels;
    double alpha, beta, bias; /* 0: 1e-4, 0.75, 1; PLUMB_ZERO: 0 */
    bool longer_after;
} plumb_lrn_options;
PLUMB_API plumb_t plumb_lrn(plumb_graph *g, plumb_t x, const plumb_lrn_options *options);

/* -- recurrent layers over a sequence x (T, N, I), one layer and direction to an op, as PyTorch's: weights (gates*H, I) and
 *    (gates*H, H), gates in the order i, f, g, o (lstm) and r, z, n (gru); biases (gates*H), both or neither (PLUMB_NONE);
 *    initial states (N, H), PLUMB_NONE: zeros. The first output is y (T, N, H), the h of every step; plumb_output gives the
 *    last states, 1: hT, 2 (lstm): cT, (N, H). Derivatives of derivatives need T to be known. -- */
typedef enum plumb_gru_reset { /* h = (1 - z) n + z h; what the reset gate r does to the h in n */
    PLUMB_RESET_AFTER = 0,     /* n = tanh(w_in x + b_in + r (w_hn h + b_hn)): PyTorch, cuDNN; ONNX's linear_before_reset = 1 */
    PLUMB_RESET_BEFORE,        /* n = tanh(w_in x + b_in + w_hn (r h) + b_hn): Cho et al. 2014, ONNX's linear_before_reset = 0 */
    PLUMB_RESET_NONE           /* n = tanh(w_in x + b_in + w_hn h + b_hn), the simplified form: gates z, n only, 2*H rows */
} plumb_gru_reset;
typedef struct plumb_recurrent_options {
    size_t size;
    bool reverse; /* from the last step to the first: y[t] stands beside x[t], hT is y[0] */
    bool relu;    /* rnn only: instead of tanh */
    plumb_gru_reset reset; /* gru only. With an update gate that weighs the new state, 1 - z, negate z's weights and biases */
    plumb_t lengths;   /* (N), i32 or i64: the first so many steps of a sequence are its own; y is 0 behind, the last states
                          are those of its own last step, `reverse` begins there. Outside [0, T]: an error of the run */
    plumb_t peepholes; /* lstm only: (3*H), for i, f, o: times c is added inside the gate, o's being the new c */
} plumb_recurrent_options;
PLUMB_API plumb_t plumb_rnn(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih, plumb_t b_hh,
                            const plumb_recurrent_options *options);
PLUMB_API plumb_t plumb_gru(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih, plumb_t b_hh,
                            const plumb_recurrent_options *options);
PLUMB_API plumb_t plumb_lstm(plumb_graph *g, plumb_t x, plumb_t h0, plumb_t c0, plumb_t w_ih, plumb_t w_hh, plumb_t b_ih,
                             plumb_t b_hh, const plumb_recurrent_options *options);

/* -- attention (Vaswani et al. 2017): y = softmax(scale q k' + mask) v over the keys, q (N, H, T, D), k (N, H, S, D), v
 *    (N, H, S, E) -> y (N, H, T, E); plumb_output 1: the logarithm of each row's sum of exponentials (N, H, T), f32 for bf16
 *    and f16. The T x S weights are never stored, forward or backward; second derivatives and the gradient of an additive
 *    mask do store them. Dropout of weights is left to compositions. -- */
typedef struct plumb_attention_options {
    size_t size;
    double scale; /* 0: 1 / sqrt(D) */
    bool causal;  /* query i sees keys 0 .. i */
    plumb_t mask; /* broadcastable to (N, H, T, S): u8, 0 hides a key, or of q's dtype, added. A query that sees no key (all
                     its scores are -inf) has y and gradients 0, and lse +inf, where PyTorch's softmax gives NaN. */
} plumb_attention_options;
PLUMB_API plumb_t plumb_attention(plumb_graph *g, plumb_t q, plumb_t k, plumb_t v, const plumb_attention_options *options);

/* -- softmax family, along one axis, shifted by the maximum so that it cannot overflow. Minus infinity has probability 0;
 *    beside an infinity, or where there is nothing but minus infinities, there is none: all of the lane is NaN (hardmax takes
 *    the first of the largest). -- */
PLUMB_API plumb_t plumb_softmax(plumb_graph *g, plumb_t x, int axis);
PLUMB_API plumb_t plumb_log_softmax(plumb_graph *g, plumb_t x, int axis);
PLUMB_API plumb_t plumb_hardmax(plumb_graph *g, plumb_t x, int axis); /* one-hot of argmax; gradient 0 */

/* -- losses. `reduce` of PLUMB_REDUCE_MEAN averages over examples (all but nothing else); with weights the weighted
 *    mean divides by the sum of weights. weights: PLUMB_NONE or broadcastable to the per-element loss. -- */
typedef enum plumb_reduce { PLUMB_REDUCE_MEAN = 0, PLUMB_REDUCE_SUM, PLUMB_REDUCE_NONE } plumb_reduce;
typedef struct plumb_loss_options {
    size_t size;
    plumb_reduce reduce;
    plumb_t weights;       /* per example (cross-entropy: (N)), or broadcastable to the per-element loss */
    plumb_t class_weights; /* cross-entropy: (C) */
    int64_t ignore_index;  /* cross-entropy: this label counts for nothing */
    bool use_ignore_index;
    double label_smoothing;/* cross-entropy: in [0, 1) */
    double delta;          /* Huber, smooth L1; 0: 1 */
    plumb_t pos_weight;    /* bce_with_logits: factor of the positive part, broadcastable to the logits */
    double margin;         /* 0: 1, cosine_embedding: 0; PLUMB_ZERO: none */
    bool squared;          /* triplets: of squared distances; hinge, multi_margin: the square */
    double gamma;          /* focal; 0: 2; PLUMB_ZERO: cross-entropy itself */
    double alpha;          /* focal_with_logits: weight alpha of positives, 1 - alpha of negatives; 0: both 1 */
    bool log_targets;      /* kl_divergence: targets are logarithms, too */
} plumb_loss_options;
/* Losses of integer labels: logits (N, C, d1, ..), labels i32 or i64 (N, d1, ..), each position d1, .. an example. A label
 * outside [0, C) is an error of the run, unless ignored. When every label is ignored the mean and its gradient are 0 (in
 * PyTorch NaN). The loss of NONE is shaped as the labels. */
PLUMB_API plumb_t plumb_softmax_cross_entropy(plumb_graph *g, plumb_t logits, plumb_t labels, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_nll(plumb_graph *g, plumb_t log_probabilities, plumb_t labels, const plumb_loss_options *options); /* negative log-likelihood */
PLUMB_API plumb_t plumb_softmax_focal(plumb_graph *g, plumb_t logits, plumb_t labels, const plumb_loss_options *options);  /* (1-p)^gamma (-ln p), Lin et al. 2017 */
PLUMB_API plumb_t plumb_perplexity(plumb_graph *g, plumb_t logits, plumb_t labels, const plumb_loss_options *options);     /* exp(mean cross-entropy) */
/* Hinge loss among classes, scores (N, C): mean over the C classes of max(0, margin - s[label] + s[c]), 0 for c = label. */
PLUMB_API plumb_t plumb_multi_margin(plumb_graph *g, plumb_t scores, plumb_t labels, const plumb_loss_options *options);
/* logits and targets (N, C, d1, ..), targets a distribution over C (one-hot or soft); loss (N, d1, ..). */
PLUMB_API plumb_t plumb_softmax_cross_entropy_soft(plumb_graph *g, plumb_t logits, plumb_t targets, const plumb_loss_options *options);
/* Element by element, prediction and target of one shape; with use_ignore_index a target that equals ignore_index is
 * missing: it has loss and weight 0. */
PLUMB_API plumb_t plumb_bce_with_logits(plumb_graph *g, plumb_t logits, plumb_t targets, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_bce(plumb_graph *g, plumb_t probabilities, plumb_t targets, const plumb_loss_options *options); /* "log loss" */
PLUMB_API plumb_t plumb_squared_error(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options);      /* (p-t)^2 */
PLUMB_API plumb_t plumb_half_squared_error(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options); /* (p-t)^2/2 */
PLUMB_API plumb_t plumb_absolute_error(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_huber_error(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_smooth_l1(plumb_graph *g, plumb_t prediction, plumb_t target, const plumb_loss_options *options); /* Huber / delta; PLUMB_ZERO: |p-t| */
PLUMB_API plumb_t plumb_focal_with_logits(plumb_graph *g, plumb_t logits, plumb_t targets, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_hinge(plumb_graph *g, plumb_t scores, plumb_t targets, const plumb_loss_options *options); /* max(0, margin - s t), t of -1 and 1 */
/* t (ln t - ln p), 0 where t is 0. Sum over a distribution and average over examples for the divergence itself: MEAN
 * averages over all elements, as in PyTorch. */
PLUMB_API plumb_t plumb_kl_divergence(plumb_graph *g, plumb_t log_probabilities, plumb_t targets, const plumb_loss_options *options);
/* Embeddings, features along the last dimension, a loss for each vector or pair (Schroff et al. 2015, Hermans et al. 2017,
 * Hadsell et al. 2006): max(0, margin + d(anchor, positive) - d(anchor, negative)); the same of each anchor's farthest
 * positive and nearest negative in a batch of embeddings (N, D) with labels (N), where anchors without either count for
 * nothing; semi-hard, of every pair of one label and the nearest negative that is farther than the positive, or else the
 * farthest one, a loss (N, N) by anchor and positive (takes N^3 numbers of memory); (t d^2 + (1 - t) max(0, margin - d)^2) / 2
 * with t 1 for `same` (..), 0 for others. */
PLUMB_API plumb_t plumb_triplet(plumb_graph *g, plumb_t anchor, plumb_t positive, plumb_t negative, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_triplet_hard(plumb_graph *g, plumb_t embeddings, plumb_t labels, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_triplet_semi_hard(plumb_graph *g, plumb_t embeddings, plumb_t labels, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_contrastive(plumb_graph *g, plumb_t a, plumb_t b, plumb_t same, const plumb_loss_options *options);
PLUMB_API plumb_t plumb_pairwise_distance(plumb_graph *g, plumb_t a, plumb_t b, bool squared); /* (N, D), (M, D) -> (N, M) */
PLUMB_API plumb_t plumb_cosine_similarity(plumb_graph *g, plumb_t a, plumb_t b, int axis);      /* 0 of a zero vector */
/* 1 - cos where the target (..) is 1, max(0, cos - margin) where it is -1; a and b (.., D) */
PLUMB_API plumb_t plumb_cosine_embedding(plumb_graph *g, plumb_t a, plumb_t b, plumb_t targets, const plumb_loss_options *options);
/* Pictures (N, C, H, W) -> (N): style transfer's costs (Gatys et al. 2015), sum (a-b)^2 / (4 C H W) and the same of Gram
 * matrices / (4 C^2 (H W)^2), where the style picture may be of another size; total variation, the sum of |differences| to
 * the neighbours below and at the right, or isotropic of their length. */
PLUMB_API plumb_t plumb_gram_matrix(plumb_graph *g, plumb_t x); /* -> (N, C, C), A A' of A (C, H W) */
PLUMB_API plumb_t plumb_content_cost(plumb_graph *g, plumb_t content, plumb_t generated);
PLUMB_API plumb_t plumb_style_cost(plumb_graph *g, plumb_t style, plumb_t generated);
PLUMB_API plumb_t plumb_total_variation(plumb_graph *g, plumb_t x, bool isotropic);
/* Connectionist temporal classification (Graves et al. 2006): log_probabilities (T, N, C); targets (N, S), or all behind each
 * other (total); input lengths (N), at most T; target lengths (N); all i32 or i64. MEAN divides each loss by its target's
 * length (at least 1), then averages, as PyTorch does. What cannot be read in so few steps has loss +inf and gradient NaN,
 * or both 0. A label or length that cannot be is an error of the run. */
typedef struct plumb_ctc_options {
    size_t size;
    int64_t blank; /* its class */
    bool zero_infinity;
    plumb_reduce reduce;
} plumb_ctc_options;
PLUMB_API plumb_t plumb_ctc_loss(plumb_graph *g, plumb_t log_probabilities, plumb_t targets, plumb_t input_lengths,
                                 plumb_t target_lengths, const plumb_ctc_options *options);
/* Adversarial training from logits (Goodfellow et al. 2014): -mean ln D(real) - mean ln(1 - D(fake)); the generator's
 * -mean ln D(fake), or where saturating mean ln(1 - D(fake)). */
PLUMB_API plumb_t plumb_gan_discriminator(plumb_graph *g, plumb_t real_logits, plumb_t fake_logits);
PLUMB_API plumb_t plumb_gan_generator(plumb_graph *g, plumb_t fake_logits, bool saturating);
PLUMB_API plumb_t plumb_rmse(plumb_graph *g, plumb_t prediction, plumb_t target); /* a metric: sqrt(mean (p-t)^2) */

/* -- lookup -- */
PLUMB_API plumb_t plumb_embedding(plumb_graph *g, plumb_t table, plumb_t indices); /* (V, D), i32/i64 (..) -> (.., D) */
PLUMB_API plumb_t plumb_gather(plumb_graph *g, plumb_t x, plumb_t indices, int axis); /* NumPy take; negative indices count from the end */
PLUMB_API plumb_t plumb_one_hot(plumb_graph *g, plumb_t indices, int64_t classes, plumb_dtype dtype); /* (..) -> (.., classes); outside: all 0 */
/* ONNX OneHot: the classes are dimension `axis` of the result; negative indices count from the end; outside: all `off`. */
PLUMB_API plumb_t plumb_one_hot_of(plumb_graph *g, plumb_t indices, int64_t classes, plumb_dtype dtype, int axis, double on,
                                   double off);
/* An index for every element, of any dtype: y[i][j] = x[indices[i][j]][j] for axis 0. The indices have x's rank and, but for
 * the axis, at most its sizes. */
PLUMB_API plumb_t plumb_gather_elements(plumb_graph *g, plumb_t x, plumb_t indices, int axis);
/* Tuples of indices, (batch.., places.., k): x (batch.., n1 .. nk, rest..) -> (batch.., places.., rest..). */
PLUMB_API plumb_t plumb_gather_nd(plumb_graph *g, plumb_t x, plumb_t indices, int batch);
/* x with updates where gather_elements or gather_nd (of batch 0) would look. Several on one element are taken in row-major
 * order of the indices: the last one stays, or all are joined with x's own value. Integers wrap around. Gradients of largest
 * and smallest are shared equally by ties. */
typedef enum plumb_scatter_reduce {
    PLUMB_SCATTER_NONE = 0, PLUMB_SCATTER_ADD, PLUMB_SCATTER_MUL, PLUMB_SCATTER_MAX, PLUMB_SCATTER_MIN
} plumb_scatter_reduce;
PLUMB_API plumb_t plumb_scatter_elements(plumb_graph *g, plumb_t x, plumb_t indices, plumb_t updates, int axis,
                                         plumb_scatter_reduce reduce);
PLUMB_API plumb_t plumb_scatter_nd(plumb_graph *g, plumb_t x, plumb_t indices, plumb_t updates, plumb_scatter_reduce reduce);

/* -- random: keyed (seed, stream, step, element), so equal on every device, thread count and after resume; each call
 *    gets a stream of its own. Training programs draw anew each step; inference programs pass x through dropout. -- */
PLUMB_API plumb_t plumb_dropout(plumb_graph *g, plumb_t x, double drop); /* inverted; drop in [0, 1) */
PLUMB_API plumb_t plumb_random_uniform(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double low, double high);
PLUMB_API plumb_t plumb_random_normal(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double mean, double deviation);
PLUMB_API plumb_t plumb_random_bernoulli(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, double p); /* 1 with probability p, else 0 */
PLUMB_API plumb_t plumb_random_integers(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, int64_t low, int64_t high); /* i32, i64, u8 in [low, high); high - low <= 2^32, |low| <= 2^53 */
PLUMB_API plumb_t plumb_random_permutation(plumb_graph *g, int64_t n); /* i64 (n): 0 .. n-1, shuffled by sorting 32-bit random keys */
PLUMB_API plumb_t plumb_random_uniform_like(plumb_graph *g, plumb_t x, double low, double high); /* of x's dtype and shape */
PLUMB_API plumb_t plumb_random_normal_like(plumb_graph *g, plumb_t x, double mean, double deviation);
PLUMB_API plumb_t plumb_bernoulli(plumb_graph *g, plumb_t p); /* 1 with the element's probability, else 0; NaN stays; no gradient */

/* -- checks -- */
PLUMB_API plumb_t plumb_all_finite(plumb_graph *g, const plumb_t *x, int count); /* u8 scalar */
PLUMB_API plumb_t plumb_sum_squares(plumb_graph *g, const plumb_t *x, int count); /* f32 (f64 for f64) scalar over many tensors */

#ifdef __cplusplus
}
#endif
#endif
