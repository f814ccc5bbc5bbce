/* The windows of convolutions and pooling: kernel, strides, dilations and pads of one to three dimensions, with auto_pad. */
#ifndef PLUMB_ONNX_WINDOW_H
#define PLUMB_ONNX_WINDOW_H

#include "onnx/onnx.h"

struct onnx_window {
    int dims; /* 1 to 3 */
    int64_t kernel[3], stride[3], dilation[3], pads[6]; /* pads: all befores, then all afters */
    bool valid, same_upper, same_lower;
};
/* Reads the attributes for input 0. kernel: what the filter has, or NULL where the attribute must say it. `transposed`: auto_pad
 * then is left to the caller. */
plumb_status onnx_window(struct onnx_node *q, const int64_t *kernel, bool transposed, struct onnx_window *w);

#endif
