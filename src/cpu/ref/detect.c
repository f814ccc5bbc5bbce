/* Reference: greedy non-maximum suppression, and RoI align by the samples of each bin, whose adjoint adds to the four elements
 * around each. What is decided about both is in src/op/detect.c. */
#include "cpu/ref/walk.h"
#include "op/attr.h"

#include <math.h>

/* ---- non-maximum suppression ---- */

struct box {
    double low[2], high[2];
};

static struct box box_at(const plumb_attr_nms *attr, const plumb_view *boxes, int64_t n, int64_t i)
{
    struct box b;
    double v[4];
    for (int k = 0; k < 4; k++)
        v[k] = view_get(boxes, n * boxes->stride[0] + i * boxes->stride[1] + k * boxes->stride[2]);
    for (int k = 0; k < 2; k++) {
        double half = v[k + 2] * 0.5;
        double one = attr->centre ? v[k] - half : v[k], other = attr->centre ? v[k] + half : v[k + 2];
        b.low[k] = one < other ? one : other;
        b.high[k] = one < other ? other : one;
    }
    return b;
}

static double side(double low, double high) { return high > low ? high - low : 0; }

/* Intersection over union; 0 where the union is nothing. */
static double overlap(const struct box *a, const struct box *b)
{
    double inner[2];
    for (int k = 0; k < 2; k++)
        inner[k] = side(a->low[k] > b->low[k] ? a->low[k] : b->low[k], a->high[k] < b->high[k] ? a->high[k] : b->high[k]);
    double shared = inner[0] * inner[1];
    double area_a = side(a->low[0], a->high[0]) * side(a->low[1], a->high[1]);
    double area_b = side(b->low[0], b->high[0]) * side(b->low[1], b->high[1]);
    double both = area_a + area_b - shared;
    return both > 0 ? shared / both : 0;
}

static bool drops(const plumb_attr_nms *attr, double value)
{
    return attr->inclusive ? value >= attr->overlap : value > attr->overlap;
}

static size_t workspace_nms(const plumb_call *call) { return (size_t)call->in[0].dim[1]; }

static plumb_status run_nms(const plumb_call *call)
{
    const plumb_attr_nms *attr = call->attr;
    const plumb_view *boxes = &call->in[0], *scores = &call->in[1], *selection = &call->out[0];
    int64_t count = boxes->dim[1], most = attr->most > 0 && attr->most < count ? attr->most : count, row = 0;
    unsigned char *gone = call->workspace;
    for (int64_t n = 0; n < scores->dim[0]; n++) {
        for (int64_t c = 0; c < scores->dim[1]; c++) {
            int64_t at = n * scores->stride[0] + c * scores->stride[1];
            for (int64_t i = 0; i < count; i++)
                gone[i] = !(view_get(scores, at + i * scores->stride[2]) > attr->score);
            for (int64_t left = most; left > 0; left--) {
                int64_t best = -1;
                for (int64_t i = 0; i < count; i++)
                    if (!gone[i] && (best < 0 || view_get(scores, at + i * scores->stride[2]) >
                                                     view_get(scores, at + best * scores->stride[2])))
                        best = i;
                if (best < 0)
                    break;
                const struct box kept = box_at(attr, boxes, n, best);
                for (int64_t i = 0; i < count; i++) {
                    const struct box other = box_at(attr, boxes, n, i);
                    gone[i] = gone[i] || i == best || drops(attr, overlap(&kept, &other));
                }
                const int64_t what[] = {n, c, best};
                for (int k = 0; k < 3; k++)
                    view_put_int(selection, row * selection->stride[0] + k * selection->stride[1], what[k]);
                row++;
            }
        }
    }
    view_put_int(&call->out[1], 0, row);
    for (; row < selection->dim[0]; row++)
        for (int k = 0; k < 3; k++)
            view_put_int(selection, row * selection->stride[0] + k * selection->stride[1], -1);
    return PLUMB_OK;
}

/* ---- RoI align ---- */

/* Along one side of a box: where it begins, how long a bin is, and how many samples a bin has. */
struct side {
    double begin, bin;
    int64_t samples;
};

static struct side side_of(const plumb_attr_roi *attr, const plumb_view *rois, int64_t k, int which, int64_t bins)
{
    double shift = attr->aligned ? 0.5 : 0;
    double begin = view_get(rois, view_offset2(rois, k, which)) * attr->scale - shift;
    double end = view_get(rois, view_offset2(rois, k, which + 2)) * attr->scale - shift, length = end - begin;
    length = !attr->aligned && length < 1 ? 1 : length;
    double bin = length / (double)bins, samples = ceil(bin);
    return (struct side){begin, bin, attr->sampling > 0 ? attr->sampling : samples > 0 && samples <= 4096 ? (int64_t)samples : 0};
}

/* The two elements beside a sample, and their weights; none of a sample too far outside. */
struct between {
    int64_t at[2];
    double weight[2];
};

static struct between sample(const struct side *s, int64_t bin, int64_t i, int64_t n)
{
    double step = s->bin / (double)s->samples, way = (double)bin * s->bin;
    double y = s->begin + way + ((double)i + 0.5) * step;
    struct between b = {{0, 0}, {0, 0}};
    if (n == 0 || !(y >= -1) || !(y <= (double)n))
        return b;
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

/* Where nothing is computed nobody looks, no kernel either. */
static plumb_status check_batch(const plumb_call *call, int64_t pictures)
{
    const plumb_view *batch = &call->in[2];
    for (int64_t k = 0; k < batch->dim[0] && plumb_view_count(&call->out[0]) > 0; k++) {
        int64_t n = view_get_int(batch, k * batch->stride[0]);
        if (n < 0 || n >= pictures)
            return plumb_call_fail(call, PLUMB_BAD_INPUT, "picture %lld at %lld is outside [0, %lld)", (long long)n,
                                   (long long)k, (long long)pictures);
    }
    return PLUMB_OK;
}

/* The samples of bin (i, j) of box k: x read and averaged, or dy's share added to `sum` (strides of `x`, packed). */
static double visit_bin(const plumb_call *call, const plumb_view *x, int64_t k, int64_t plane, int64_t i, int64_t j,
                        double *sum, double dy)
{
    const plumb_attr_roi *attr = call->attr;
    const plumb_view *rois = &call->in[1];
    struct side down = side_of(attr, rois, k, 1, attr->height), across = side_of(attr, rois, k, 0, attr->width);
    double total = 0, count = (double)(down.samples * across.samples);
    for (int64_t a = 0; a < down.samples; a++) {
        struct between v = sample(&down, i, a, x->dim[2]);
        for (int64_t b = 0; b < across.samples; b++) {
            struct between h = sample(&across, j, b, x->dim[3]);
            for (int t = 0; t < 4; t++) {
                double weight = v.weight[t / 2] * h.weight[t % 2];
                int64_t at = plane + v.at[t / 2] * x->stride[2] + h.at[t % 2] * x->stride[3];
                if (weight == 0)
                    continue;
                if (sum)
                    sum[at] += weight / count * dy;
                else
                    total += weight * view_get(x, at);
            }
        }
    }
    return count > 0 ? total / count : 0;
}

static plumb_status run_roi_align(const plumb_call *call)
{
    const plumb_view *x = &call->in[0], *batch = &call->in[2], *y = &call->out[0];
    plumb_status status = check_batch(call, x->dim[0]);
    struct walk w;
    walk_begin(&w, y->rank, y->dim);
    int to = walk_add(&w, y);
    for (; status == PLUMB_OK && w.left > 0; walk_step(&w)) {
        int64_t k = w.index[0], n = view_get_int(batch, k * batch->stride[0]);
        int64_t plane = n * x->stride[0] + w.index[1] * x->stride[1];
        view_put(y, w.at[to], visit_bin(call, x, k, plane, w.index[2], w.index[3], NULL, 0));
    }
    return status;
}

static size_t workspace_roi_align_backward(const plumb_call *call)
{
    return sizeof(double) * (size_t)plumb_view_count(&call->out[0]);
}

static plumb_status run_roi_align_backward(const plumb_call *call)
{
    const plumb_view *dy = &call->in[0], *batch = &call->in[2], *dx = &call->out[0];
    plumb_view sums = *dx;
    double *sum = sums.data = call->workspace;
    plumb_status status = check_batch(call, dx->dim[0]);
    plumb_view_pack(&sums);
    for (int64_t i = 0; i < plumb_view_count(dx); i++)
        sum[i] = 0;
    struct walk w;
    walk_begin(&w, dy->rank, dy->dim);
    int from = walk_add(&w, dy);
    for (; status == PLUMB_OK && w.left > 0; walk_step(&w)) {
        int64_t k = w.index[0], n = view_get_int(batch, k * batch->stride[0]);
        int64_t plane = n * sums.stride[0] + w.index[1] * sums.stride[1];
        visit_bin(call, &sums, k, plane, w.index[2], w.index[3], sum, view_get(dy, w.at[from]));
    }
    walk_begin(&w, dx->rank, dx->dim);
    int s = walk_add(&w, &sums), to = walk_add(&w, dx);
    for (; status == PLUMB_OK && w.left > 0; walk_step(&w))
        view_put(dx, w.at[to], sum[w.at[s]]);
    return status;
}

#define ROW(op_name, short_name, which_flags, bytes)                                                                  \
    const plumb_impl plumb_impl_##op_name##_ref = {.op = &plumb_op_##op_name,                                         \
                                                   .name = "cpu.ref",                                                 \
                                                   .dtypes = PLUMB_FLOATS,                                            \
                                                   .flags = (which_flags),                                            \
                                                   .workspace = bytes,                                                \
                                                   .run = run_##short_name};
ROW(non_max_suppression, nms, PLUMB_IMPL_EXACT, workspace_nms)
ROW(roi_align, roi_align, 0, NULL)
ROW(roi_align_backward, roi_align_backward, 0, workspace_roi_align_backward)
