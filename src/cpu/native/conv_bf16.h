/* How convolutions of bf16 see channels-last pictures: as products by pairs (pairs.h) that read them where they lie.
 *
 * The channels of a position lie together, so two neighbours are a pair. A tile's rows are positions a constant step apart:
 * of neighbouring columns, or of the same position in several pictures, whichever fills the tiles better. All of them read
 * the same taps, those that lie inside the picture; each such tap is a segment of the sum. So nothing is copied (but where
 * the number of channels is odd), padding is neither stored nor multiplied by, and what is not finite meets just the
 * elements that the definition says. The gradient of the data is the same thing from dy. The gradient of the filter takes
 * its sums over positions instead: its pairs are pictures, two at a time, interleaved as they are read
 * (conv_filter_bf16.c). */
#ifndef PLUMB_NATIVE_CONV_BF16_H
#define PLUMB_NATIVE_CONV_BF16_H

#include "cpu/native/pairs.h"

/* One of height and width. */
typedef struct plumb_pair_axis {
    int64_t source, target, stride, dilation, before;
    int64_t taps;
    bool adjoint, flip;
} plumb_pair_axis;

/* From `source` through w to `target`; adjoint: their roles as in the gradient of the data. axis: 0 height, 1 width. */
plumb_pair_axis plumb_pair_axis_of(const plumb_attr_conv2d *attr, const plumb_view *source, const plumb_view *w,
                                   const plumb_view *target, int axis, bool adjoint);
/* The source position that the tap of a target position reads, -1: none. */
int64_t plumb_pair_source(const plumb_pair_axis *axis, int64_t target, int64_t tap);
/* Sums of a filter's gradient in f32: (part of the positions, block of input channels, of output channels: (tap, input,
 * output)). They are added in order, turned into w's order and rounded, some input channels of a block at a time. */
typedef struct plumb_filter_sums {
    const plumb_kernels *words; /* of f32 */
    plumb_convert *narrow;
    const plumb_view *dw;
    int64_t ins, outs, taps;
    int64_t in_block, out_block, in_blocks, out_blocks;
    int64_t block, turns, parts; /* elements of a block's sums; chunks of turning them */
    float *sums;
    size_t turned_at, work; /* of a worker: where what is turned lies, and bytes of all that is needed */
    char *workers;
    size_t worker; /* bytes from a worker to the next */
} plumb_filter_sums;

/* Everything but `parts` and the places, once the blocks are known. */
void plumb_filter_sums_plan(const plumb_call *call, plumb_filter_sums *s);
/* All of a block whose sums have but one part, while they are in the cache, and all blocks. */
void plumb_filter_sums_turn(const plumb_filter_sums *s, int64_t block, const float *sums, char *work);
void plumb_filter_sums_turn_all(const plumb_call *call, const plumb_filter_sums *s);

/* The way out of Winograd's forms where something is not finite. */
extern const plumb_impl plumb_impl_conv2d_bf16, plumb_impl_conv2d_backward_data_bf16,
    plumb_impl_conv2d_backward_filter_bf16;

bool plumb_pair_conv_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y);

#endif
