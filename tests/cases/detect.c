/* Cases of non-maximum suppression, of RoI align and its adjoint. */
#include "cases.h"

static void suppress(case_list *list, int64_t n, int64_t c, int64_t boxes, plumb_attr_nms attr, bool whole, const char *label)
{
    op_case one = make_case(&plumb_op_non_max_suppression, &attr, "%lldx%lldx%lld, %s%s", (long long)n, (long long)c,
                            (long long)boxes, label, whole ? ", whole numbers" : "");
    plumb_shape of_boxes = PLUMB_SHAPE(n, boxes, 4), of_scores = PLUMB_SHAPE(n, c, boxes);
    one.n_in = 2;
    one.in[0] = whole ? integers(PLUMB_NO_DTYPE, of_boxes, 0, 6) : floats_in(of_boxes, 0, 4);
    one.in[1] = whole ? integers(PLUMB_NO_DTYPE, of_scores, 0, 5) : floats_in(of_scores, 0, 1);
    one.mostly_zero = true; /* numbers of the first picture, class and box */
    add_case(list, &one);
}

static void suppressions(case_list *list)
{
    static const struct {
        plumb_attr_nms attr;
        const char *label;
    } ways[] = {
        {{0, 0.5, -1, 0, 0}, "all"},
        {{3, 0.5, -1, 0, 0}, "three"},
        {{2, 0.1, 0.4, 0, 1}, "two above 0.4, at 0.1"},
        {{5, 0.3, -1, 1, 0}, "by centre"},
        {{0, 0, 2, 0, 1}, "none overlaps"},
        {{4, 1, 0.25, 1, 0}, "none is dropped"},
    };
    for (int i = 0; i < 6; i++) {
        for (int whole = 0; whole < 2; whole++) {
            suppress(list, 1, 1, 9, ways[i].attr, whole, ways[i].label);
            suppress(list, 2, 3, 6, ways[i].attr, whole, ways[i].label);
        }
    }
    suppress(list, 1, 2, 300, ways[1].attr, false, "more boxes than threads");
    suppress(list, 1, 1, 1, ways[0].attr, false, "one box");
    suppress(list, 2, 2, 0, ways[0].attr, false, "no boxes");
    suppress(list, 0, 2, 3, ways[0].attr, false, "no pictures");
    suppress(list, 2, 0, 3, ways[0].attr, false, "no classes");
}

/* Boxes of corners within and beyond 8 x 8 elements; the last two empty and turned about. */
static const double corners[] = {1,   1,   5, 4,    0.5, 2.25, 7.5, 6, -2, -1.5, 3, 3,
                                 4.3, 3.1, 9, 10.5, 2,   2,    2,   2, 5,  5,    4, 3};
static const double pictures[] = {0, 1, 1, 0, 1, 0};

struct align {
    plumb_shape x;
    int64_t boxes, height, width, sampling;
    double scale;
    int aligned;
    const char *label;
};

static const struct align aligns[] = {
    {{4, {2, 2, 8, 8}}, 6, 2, 2, 2, 1, 0, "2x2 of 2"},
    {{4, {2, 2, 8, 8}}, 6, 2, 2, 2, 1, 1, "2x2 of 2, aligned"},
    {{4, {2, 1, 8, 8}}, 6, 3, 2, 0, 1, 0, "3x2, samples by size"},
    {{4, {2, 1, 8, 8}}, 5, 3, 2, 0, 1, 1, "3x2, samples by size, aligned"},
    {{4, {2, 3, 4, 4}}, 4, 2, 3, 1, 0.5, 1, "half the scale"},
    {{4, {2, 1, 16, 15}}, 4, 2, 2, 3, 2, 0, "twice the scale"},
    {{4, {2, 2, 1, 1}}, 3, 1, 1, 2, 1, 0, "pictures of one element"},
    {{4, {2, 2, 0, 0}}, 6, 2, 4, 2, 1, 0, "pictures of nothing"},
    {{4, {2, 2, 3, 0}}, 6, 2, 2, 0, 1, 1, "pictures of no columns"},
    {{4, {2, 2, 8, 8}}, 0, 2, 2, 2, 1, 0, "no boxes"},
    {{4, {2, 0, 8, 8}}, 3, 2, 2, 2, 1, 0, "no channels"},
    {{4, {2, 2, 5, 8}}, 2, 1, 4, 4, 1, 1, "1x4 of 4"},
    {{4, {2, 2, 8, 8}}, 1, 7, 7, 2, 1, 1, "7x7 of one box"},
};

static void align_case(case_list *list, const struct align *a, bool wide)
{
    plumb_attr_roi attr;
    memset(&attr, 0, sizeof(attr));
    attr.height = a->height;
    attr.width = a->width;
    attr.sampling = a->sampling;
    attr.scale = a->scale;
    attr.aligned = a->aligned;
    case_input rois = {.shape = PLUMB_SHAPE(a->boxes, 4), .fill = CASE_GIVEN, .given = corners};
    case_input batch = {.shape = PLUMB_SHAPE(a->boxes), .fill = CASE_GIVEN, .given = pictures,
                        .dtype = wide ? PLUMB_I64 : PLUMB_I32};
    plumb_shape y = PLUMB_SHAPE(a->boxes, a->x.dim[1], a->height, a->width);
    op_case one = make_case(&plumb_op_roi_align, &attr, "%s%s", a->label, wide ? "" : ", i32");
    one.n_in = 3;
    one.in[0] = floats(a->x);
    one.in[1] = rois;
    one.in[2] = batch;
    one.zero_gradient = (plumb_shape_count(&y) == 0 || plumb_shape_count(&a->x) == 0 ? 1 : 0) | 1u << 1;
    one.mostly_zero = plumb_shape_count(&a->x) == 0;
    add_case(list, &one);
    for (int lent = 0; lent < 2; lent++) {
        attr.shape = lent ? (plumb_shape){.rank = -1} : a->x;
        op_case back = make_case(&plumb_op_roi_align_backward, &attr, "%s%s%s", a->label, wide ? "" : ", i32",
                                 lent ? ", lent" : "");
        back.n_in = 3 + lent;
        back.in[0] = floats(y);
        back.in[1] = rois;
        back.in[2] = batch;
        back.in[3] = floats(a->x);
        back.mostly_zero = true; /* elements in no box */
        back.zero_gradient = one.zero_gradient;
        add_case(list, &back);
    }
}

static void refuse(case_list *list, const plumb_op *op, const void *attr, case_input a, case_input b, case_input c, int n,
                   const char *label)
{
    op_case one = make_case(op, attr, "refused: %s", label);
    one.n_in = n;
    one.in[0] = a;
    one.in[1] = b;
    one.in[2] = c;
    one.expect = PLUMB_BAD_INPUT;
    add_case(list, &one);
}

static void refusals(case_list *list)
{
    plumb_attr_nms nms;
    plumb_attr_roi roi;
    memset(&nms, 0, sizeof(nms));
    memset(&roi, 0, sizeof(roi));
    roi.height = roi.width = 2;
    roi.scale = 1;
    case_input boxes = floats(PLUMB_SHAPE(2, 5, 4)), scores = floats(PLUMB_SHAPE(2, 3, 5)), none = floats(PLUMB_SHAPE(1));
    refuse(list, &plumb_op_non_max_suppression, &nms, boxes, floats(PLUMB_SHAPE(2, 3, 6)), none, 2, "other scores");
    refuse(list, &plumb_op_non_max_suppression, &nms, floats(PLUMB_SHAPE(2, 5, 5)), scores, none, 2, "boxes of five");
    nms.most = -1;
    refuse(list, &plumb_op_non_max_suppression, &nms, boxes, scores, none, 2, "minus one box");
    case_input x = floats(PLUMB_SHAPE(2, 1, 4, 4)), rois = floats(PLUMB_SHAPE(3, 4));
    refuse(list, &plumb_op_roi_align, &roi, x, rois, integers(PLUMB_I64, PLUMB_SHAPE(3), 2, 2), 3, "a picture too many");
    refuse(list, &plumb_op_roi_align, &roi, x, rois, integers(PLUMB_I32, PLUMB_SHAPE(3), -1, -1), 3, "picture -1");
    refuse(list, &plumb_op_roi_align, &roi, x, rois, integers(PLUMB_I64, PLUMB_SHAPE(2), 0, 0), 3, "two pictures for three");
    roi.height = 0;
    refuse(list, &plumb_op_roi_align, &roi, x, rois, integers(PLUMB_I64, PLUMB_SHAPE(3), 0, 0), 3, "no bins");
}

void cases_detect(case_list *list)
{
    suppressions(list);
    for (size_t i = 0; i < sizeof(aligns) / sizeof(*aligns); i++) {
        align_case(list, &aligns[i], true);
        align_case(list, &aligns[i], false);
    }
    refusals(list);
}
