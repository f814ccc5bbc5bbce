/* Ops of object detection: boxes, anchors, overlaps, suppression, RoI align. Part of plumb/ops.h, which says what holds for all
 * builders. A box is four numbers in the last dimension: corners x1, y1, x2, y2, or centre x, y, width, height. */
#ifndef PLUMB_DETECTION_H
#define PLUMB_DETECTION_H

#include "plumb/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

PLUMB_API plumb_t plumb_boxes_to_corners(plumb_graph *g, plumb_t centre_boxes);
PLUMB_API plumb_t plumb_boxes_to_centre(plumb_graph *g, plumb_t corner_boxes);
/* How boxes of corners (.., 4) overlap, broadcasting, (..); for all pairs of (N, 4) and (M, 4): of (N, 1, 4) and (M, 4).
 * Intersection over union, 0 of two empty boxes; its generalisation (Rezatofighi et al. 2019); less the distance of centres,
 * and less the difference of proportions as well (Zheng et al. 2020), whose weight is a constant of the gradient. */
typedef enum plumb_overlap { PLUMB_IOU = 0, PLUMB_GIOU, PLUMB_DIOU, PLUMB_CIOU } plumb_overlap;
PLUMB_API plumb_t plumb_box_overlap(plumb_graph *g, plumb_t a, plumb_t b, plumb_overlap kind);
/* Offsets from anchors, both of corners (.., 4) (Ren et al. 2015): (dx, dy) / size, log of the ratio of sizes, times weights
 * (NULL: 1; SSD's variances are their reciprocals). Decoding limits the last two to `most` (0: no limit). */
PLUMB_API plumb_t plumb_box_encode(plumb_graph *g, plumb_t boxes, plumb_t anchors, const double weights[4]);
PLUMB_API plumb_t plumb_box_decode(plumb_graph *g, plumb_t deltas, plumb_t anchors, const double weights[4], double most);
/* YOLO (Redmon & Farhadi 2017): t (N, H, W, A, 4) and the anchors' sizes (A, 2) -> centre boxes, in fractions of the picture:
 * sigmoid(tx) from a cell's left edge, sizes times e^t. */
PLUMB_API plumb_t plumb_box_decode_cells(plumb_graph *g, plumb_t t, plumb_t sizes);
/* Its targets: centre boxes (N, M, 4) in fractions of the picture, labels i32/i64 (N, M), below 0 where there is no box, the
 * anchors' sizes (A, 2) -> (N, height, width, A, 5 + classes): 1 where an object is, in the cell of its centre at the anchor it
 * overlaps most (the first of equal ones; the last object of several), else 0 throughout; then what sigmoid(tx), sigmoid(ty),
 * tw and th should be, and its class, one-hot. Sizes of boxes must be positive. No gradient. */
PLUMB_API plumb_t plumb_box_encode_cells(plumb_graph *g, plumb_t boxes, plumb_t labels, plumb_t sizes, int64_t height,
                                         int64_t width, int64_t classes);
/* Anchors of corners, (height * width * n_sizes * n_ratios, 4): around (i + offset) * stride in each cell, of area size^2 and
 * height / width = ratio; sizes turn slower than ratios. */
PLUMB_API plumb_t plumb_anchors(plumb_graph *g, plumb_dtype dtype, int64_t height, int64_t width, double stride, double offset,
                                const double *sizes, int n_sizes, const double *ratios, int n_ratios);
typedef struct plumb_nms_options {
    size_t size;
    int64_t most;   /* selected for each class of each picture; 0: all */
    double overlap; /* boxes whose intersection over union with a better one is above this are dropped */
    double score;   /* only boxes above this are looked at */
    bool use_score;
    bool inclusive; /* drop also at the threshold */
    bool centre;    /* boxes are given by their centre; else by any two opposite corners */
} plumb_nms_options;
/* boxes (N, B, 4), scores (N, C, B) -> selection i64 (N * C * most, 3): picture, class, box, by falling score within a class,
 * of equal ones the first; behind the `count` (second output, i64 scalar) that were selected rows of -1. ONNX's
 * NonMaxSuppression. Scores that are not a number are never selected. */
PLUMB_API plumb_t plumb_non_max_suppression(plumb_graph *g, plumb_t boxes, plumb_t scores, const plumb_nms_options *options);
typedef struct plumb_roi_options {
    size_t size;
    int64_t height, width; /* bins; 0: 1 */
    double scale;          /* from boxes to elements of x; 0: 1 */
    int64_t sampling;      /* samples along each side of a bin; 0: as many as the bin is elements wide, at least */
    bool aligned;          /* elements are centred (half_pixel), and small boxes stay small; else sides are at least 1 */
    bool max;              /* the largest sample instead of the average; needs `sampling` */
} plumb_roi_options;
/* x (N, C, H, W), boxes of corners (K, 4), the picture i32/i64 (K) that each is of -> (K, C, height, width). */
PLUMB_API plumb_t plumb_roi_align(plumb_graph *g, plumb_t x, plumb_t rois, plumb_t batch, const plumb_roi_options *options);

#ifdef __cplusplus
}
#endif
#endif
