/* Attributes of the ops, as plain data: what builders fill, shape rules check and implementations read. Zero a struct
 * (memset) before filling it: attributes are compared bytewise. */
#ifndef PLUMB_ATTR_H
#define PLUMB_ATTR_H

#include "op/op.h"

/* input, variable, constant, full, random_*: begin with the shape and dtype of the result */
typedef struct plumb_attr_leaf {
    plumb_attr_made made;
    plumb_init init; /* variable */
    bool frozen;     /* variable */
    double value;    /* full */
    uint64_t data;   /* constant: address of the bytes, owned by the graph */
    uint64_t hash;   /* constant: of the bytes, for merging */
} plumb_attr_leaf;   /* full takes an optional lender (LIKE): min_in 0 */

typedef struct plumb_attr_numbers { double a, b; } plumb_attr_numbers; /* affine: scale, shift; leaky_relu: slope; elu:
                                                                          alpha; huber: delta; clamp: low, high */
typedef struct plumb_attr_cast { plumb_attr_made made; } plumb_attr_cast; /* made.shape unused (rank 0) */

/* sum and others: axes as a bit mask, normalised by the builder; argmax, argmin: one axis */
typedef struct plumb_attr_reduce {
    uint32_t axes;
    int32_t keep, axis;
    int32_t all;        /* every axis, whatever the rank */
    int32_t last;       /* argmax, argmin: of ties the last one */
    int32_t correction; /* variance: divides by the number of elements less this */
} plumb_attr_reduce;

typedef struct plumb_attr_scan { int32_t axis, exclusive, reverse; } plumb_attr_scan; /* cumsum */
/* sort, top_k (x) -> values, indices: k of them (sort: all, k is -1) in their order along the axis */
typedef struct plumb_attr_order { int64_t k; int32_t axis, descending; } plumb_attr_order;

typedef struct plumb_attr_shape { plumb_shape shape; } plumb_attr_shape; /* reshape, expand, sum_to (LIKE: min_in 1; rank -1 while a lender is there);
                                                                            reshape may hold one PLUMB_INFER */
void plumb_print_shape(const void *attr_shape, struct plumb_text *text); /* plumb_op.print of all of these */
typedef struct plumb_attr_transpose { int32_t order[PLUMB_MAX_RANK]; int32_t rank; int32_t reverse; } plumb_attr_transpose;
typedef struct plumb_attr_axis { int32_t axis; } plumb_attr_axis; /* concat, softmax family (may be negative; the shape rule checks, users normalise) */
typedef struct plumb_attr_slice { plumb_shape shape; /* slice_backward only (LIKE): the shape of x */
    int32_t rank; int64_t begin[PLUMB_MAX_RANK], end[PLUMB_MAX_RANK], step[PLUMB_MAX_RANK]; } plumb_attr_slice;
/* NumPy's reading of dimension d of a slice, of a tensor with `size` (>= 0) elements there: the elements start,
 * start + step, ... `count` of them. */
typedef struct plumb_range { int64_t start, step, count; } plumb_range;
plumb_range plumb_slice_range(const plumb_attr_slice *attr, int d, int64_t size);

/* What an op may do to each of its results before it stores it (activation.c). The pass `fuse` sets these; no builder
 * does. Values are part of no file. */
enum plumb_fused_activation { PLUMB_ACTIVATION_NONE, PLUMB_ACTIVATION_RELU, PLUMB_ACTIVATION_SIGMOID, PLUMB_ACTIVATION_TANH };
int plumb_activation_of(const plumb_op *op); /* that this op, or its backward form, is by itself; else none */
plumb_status plumb_need_activation(const plumb_infer *q, int activation);
void plumb_print_activation(int activation, struct plumb_text *text); /* " activation=relu"; nothing for none */
/* The gradient before the activation, from the result y and its gradient; dy itself where there is none. */
plumb_t plumb_activation_gradient(plumb_graph *graph, int activation, plumb_t y, plumb_t dy);
/* For plumb_op.branch of an op with result y: PLUMB_NONE where the activation is smooth. */
plumb_t plumb_activation_branch(plumb_graph *graph, int activation, plumb_t y);

/* activation_backward (dy, y) -> dx, dbias: through the activation, and the sum of that over all axes but `axis` */
typedef struct plumb_attr_activation { int32_t activation, axis; } plumb_attr_activation;

/* matmul (a, b[, bias (columns)]): activation(a b + bias) */
typedef struct plumb_attr_matmul { int32_t transpose_a, transpose_b, activation; } plumb_attr_matmul;

/* conv2d (x, w[, bias]): activation(conv + bias), none in the backward ops; backward_data (dy, w[, lender x]); backward_filter (x, dy[, lender w]) */
typedef struct plumb_attr_conv2d {
    plumb_shape shape; /* LIKE: shape of dx or dw in the backward ops; rank 0 in conv2d */
    int64_t stride[2], padding[4], dilation[2], groups;
    int32_t flip, activation;
} plumb_attr_conv2d;

/* max_pool2d (x) -> y, index; max_pool2d_backward (dy, index[, lender x]) -> dx; max_pool2d_select (x, index) -> y;
 * average_pool2d (x); average_pool2d_backward (dy[, lender x]) */
typedef struct plumb_attr_pool2d {
    plumb_shape shape; /* LIKE */
    int64_t window[2], stride[2], padding[4], dilation[2];
    int32_t ceil_mode, exclude_padding;
    int32_t adaptive; /* `window` holds the output's size: output o takes floor(o H / OH) .. ceil((o + 1) H / OH), and the rest is unused */
} plumb_attr_pool2d;

/* batch_norm (x, scale, shift, running_mean, running_var[, residual]) -> y, mean, invstd, new_running_mean,
 *     new_running_var: y = activation(normalised + residual), of no activation or relu;
 * batch_norm_inference (x, scale, shift, running_mean, running_var[, residual]) -> y;
 * batch_norm_backward (x, scale, mean, invstd, dy[, y]) -> dx, dscale, dshift[, dresidual]: y is there just where the
 *     activation is, and dresidual, which is dy before the activation, where `residual` says so.
 * x, y, residual and their gradients have one dtype; all that is per channel has it too, or is f32 where it is bf16 or
 * f16. Activations and residuals are written by the pass `fuse`. */
typedef struct plumb_attr_batch_norm { double epsilon, momentum; int32_t biased_running, activation, residual; } plumb_attr_batch_norm;

/* layer_norm, group_norm (x (N, C, S)[, scale (C)[, shift (C)]]) -> y, invstd (N, groups), mean (N, groups); rms_norm (x[,
 *     scale]) -> y, invstd; row_norm_backward (x, dy, invstd[, mean, if centred][, scale, if affine]) -> dx[, dscale[, dshift]]:
 *     `affine` says how many of the last two there are. */
typedef struct plumb_attr_row_norm { int64_t groups; double epsilon; int32_t centred, affine; } plumb_attr_row_norm;

/* lrn (x (N, C, S)); lrn_backward (x, dy) -> dx: over channels c - before .. c + after; scale is alpha/size */
typedef struct plumb_attr_lrn { int64_t before, after; double scale, beta, bias; } plumb_attr_lrn;

/* rnn (x, h0, w_ih, w_hh, ..[, b_ih, b_hh]) -> y, hT; gru the same -> y, hT, gates, q; lstm (x, h0, c0, w_ih, w_hh, ..[, b_ih,
 *     b_hh]) -> y, hT, cT, gates, cells; the two dots: [, peepholes (3H), of lstm][, lengths (N), i32 or i64];
 * rnn_backward (x, h0, w_ih, w_hh, .., y[, dy][, dhT]) -> dh0, dw_ih, dw_hh, db[, dx];
 * gru_backward (x, h0, w_ih, w_hh, .., y, gates, q[, dy][, dhT]) -> dh0, dw_ih, dw_hh, db_ih, db_hh[, dx];
 * lstm_backward (x, h0, c0, w_ih, w_hh, .., y, gates, cells[, dy][, dhT][, dcT]) -> dh0, dc0, dw_ih, dw_hh, db[,
 *     dpeepholes][, dx]. */
typedef struct plumb_attr_recurrent {
    int32_t reverse;
    int32_t activation; /* rnn: tanh or relu; else none */
    int32_t given, dx;  /* backward: bits 0 dy, 1 dhT, 2 dcT are there; dx is wanted */
    int32_t lengths, peepholes; /* 1: there is such an input */
    int32_t reset_before; /* gru: r multiplies h, not its product */
} plumb_attr_recurrent;
/* Where in the inputs the biases begin, or y on the way back; lengths come right before. `states`: 2 of lstm, else 1. */
static inline int plumb_recurrent_first(const plumb_attr_recurrent *attr, int states)
{
    return states + 3 + (attr->peepholes != 0) + (attr->lengths != 0);
}

/* attention (q, k, v[, mask]) -> y, lse; attention_backward (q, k, v, y, lse, dy[, mask]) -> dq, dk, dv. */
typedef struct plumb_attr_attention { double scale; int64_t causal; } plumb_attr_attention;

/* ctc_loss (log_probabilities, targets, input lengths, target lengths) -> loss; ctc_loss_backward (the same, dloss) -> dx */
typedef struct plumb_attr_ctc { int64_t blank, zero_infinity; } plumb_attr_ctc;

/* cross_entropy (logits (N, C), labels (N)[, class_weights (C)]) -> loss (N), weight (N);
 * cross_entropy_backward (logits, labels, dloss (N)[, class_weights]) -> dlogits. loss is already times the weight.
 * logarithms: the first input holds log-probabilities already, which are taken as they are. */
typedef struct plumb_attr_cross_entropy { int64_t ignore_index; int32_t use_ignore_index, logarithms; double label_smoothing; } plumb_attr_cross_entropy;

/* gather (x, indices); gather_backward (dy, indices[, lender x]) */
typedef struct plumb_attr_gather { plumb_shape shape; int32_t axis; } plumb_attr_gather;
/* from_end: negative indices count from the end. axis: of the classes in the result, -1 the last */
typedef struct plumb_attr_one_hot {
    plumb_attr_made made; /* dtype only */
    int64_t classes;
    double on, off;
    int32_t axis, from_end;
} plumb_attr_one_hot;

/* gather_elements (x, indices): axis; gather_nd (x, indices): batch; scatter_elements (x, indices, updates): axis, reduce;
 * scatter_nd (x, indices, updates): batch, reduce */
typedef struct plumb_attr_scatter { int32_t axis, batch, reduce; } plumb_attr_scatter;

/* pad (x); pad_backward (dy[, lender x]) */
typedef struct plumb_attr_pad {
    plumb_shape shape; /* LIKE: of x, pad_backward */
    int32_t rank, mode;
    int64_t before[PLUMB_MAX_RANK], after[PLUMB_MAX_RANK];
    double value;
} plumb_attr_pad;
/* Which of n elements position p stands for (0 <= p < n: itself); -1: none, it has the value. */
int64_t plumb_pad_source(int mode, int64_t p, int64_t n);

/* resize (x); resize_backward (dy[, lender x]) */
typedef struct plumb_attr_resize {
    plumb_shape shape; /* LIKE: of x, resize_backward */
    int32_t rank, mode, coordinates, nearest, exclude_outside;
    int64_t size[PLUMB_MAX_RANK];                   /* -1: by the scale */
    double scale[PLUMB_MAX_RANK];                   /* 0: result by operand; and no size: as it is */
    double start[PLUMB_MAX_RANK], end[PLUMB_MAX_RANK]; /* of PLUMB_RESIZE_CROP, else 0 and 1 */
    double cubic_a, extrapolation;
} plumb_attr_resize;
/* Along dimension d, of n elements in x and m in the result: what element o is made of; count 0: it is extrapolated. */
typedef struct plumb_stencil { int count; int64_t at[4]; double weight[4]; } plumb_stencil;
void plumb_resize_stencil(const plumb_attr_resize *attr, int d, int64_t n, int64_t m, int64_t o, plumb_stencil *s);
bool plumb_resize_changes(const plumb_attr_resize *attr, int d, int64_t n, int64_t m); /* false: o is element o */

/* non_max_suppression (boxes, scores) -> selection, count; most 0: all; roi_align (x, rois, batch), roi_align_backward (dy,
 * rois, batch[, lender x]) */
typedef struct plumb_attr_nms { int64_t most; double overlap, score; int32_t centre, inclusive; } plumb_attr_nms;
typedef struct plumb_attr_roi {
    plumb_shape shape; /* LIKE: of x, backward */
    int64_t height, width, sampling;
    double scale;
    int32_t aligned;
} plumb_attr_roi;

/* iota (): start + step * the row-major position; an optional lender as full (LIKE); triangle (x): j - i >= k if upper,
 * else <= k, in the last two dimensions */
typedef struct plumb_attr_iota { plumb_attr_made made; double start, step; } plumb_attr_iota;
typedef struct plumb_attr_triangle { int64_t k; int32_t upper; } plumb_attr_triangle;

/* dropout (x, key); bernoulli (p, key); random_uniform, random_integers, random_normal, random_bernoulli (key): a low, b high;
 * a mean, b deviation; a the probability of 1 */
typedef struct plumb_attr_random { plumb_attr_made made; uint32_t stream; double a, b; /* dropout: a = drop */ } plumb_attr_random;

/* Updates: inputs apply (u8), lr (f32 or f64 scalar), scale (scalar, multiplies every gradient), step (i64: updates
 * applied before this one), then for each tensor: p, g, slot1..; outputs for each tensor: p', slot1'... All tensors
 * of one op share a dtype (f32 or f64) which is also lr's and scale's. Where apply is 0 outputs equal inputs. */
typedef struct plumb_attr_update {
    double beta1, beta2, epsilon, weight_decay, l2, l1; /* momentum: beta1 */
    int32_t classic;
    int32_t slots; /* moments per tensor: sgd 0, momentum 1, nesterov 1, adagrad 1, rmsprop 1, adam 2 */
} plumb_attr_update;
enum { PLUMB_UPDATE_HEAD = 4 };

#endif
