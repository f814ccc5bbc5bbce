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
bool plumb_pair_conv_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y);

#endif
