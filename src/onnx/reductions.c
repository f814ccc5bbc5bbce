/* Reductions, what runs along an axis, softmax and products of matrices. */
#include "onnx/onnx.h"

/* Axes are an attribute until opset 12 (ReduceSum) or 17 (the others), then an input. */
static plumb_status axes_of(struct onnx_node *q, int axes[PLUMB_MAX_RANK], int *count)
{
    return onnx_axes(q, 1, strcmp(q->row->name, "ReduceSum") == 0 ? 13 : 18, onnx_shape(q, 0).rank, axes, count);
}

static plumb_status reduce(struct onnx_node *q)
{
    int axes[PLUMB_MAX_RANK], n = -1;
    bool keep = onnx_int(q, "keepdims", 1) != 0;
    plumb_status status = axes_of(q, axes, &n);
    if (status) {
        return status;
    }
    plumb_t x = onnx_in(q, 0);
    bool nothing = n <= 0 && onnx_int(q, "noop_with_empty_axes", 0) != 0;
    onnx_out(q, 0, nothing ? x : q->row->with.reduce(q->g, x, n <= 0 ? NULL : axes, n <= 0 ? 0 : n, keep));
    return PLUMB_OK;
}

static plumb_t norm2(plumb_graph *g, plumb_t x, const int *axes, int n, bool keep)
{
    return plumb_norm(g, x, 2, axes, n, keep);
}

static plumb_t log_sum(plumb_graph *g, plumb_t x, const int *axes, int n, bool keep)
{
    return plumb_log(g, plumb_sum(g, x, axes, n, keep));
}

static plumb_status arg(struct onnx_node *q)
{
    bool largest = strcmp(q->row->name, "ArgMax") == 0, last = onnx_int(q, "select_last_index", 0) != 0;
    bool keep = onnx_int(q, "keepdims", 1) != 0;
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), onnx_shape(q, 0).rank);
    if (axis < 0) {
        return q->failed;
    }
    plumb_t x = onnx_in(q, 0);
    onnx_out(q, 0, largest ? last ? plumb_argmax_last(q->g, x, axis, keep) : plumb_argmax(q->g, x, axis, keep)
                   : last  ? plumb_argmin_last(q->g, x, axis, keep)
                           : plumb_argmin(q->g, x, axis, keep));
    return PLUMB_OK;
}

static plumb_status cum_sum(struct onnx_node *q)
{
    int64_t axis = 0;
    int n = 0;
    bool exclusive = onnx_int(q, "exclusive", 0) != 0, reverse = onnx_int(q, "reverse", 0) != 0;
    plumb_status status = onnx_whole(q, 1, &axis, 1, &n);
    if (!status && onnx_axis(q, axis, onnx_shape(q, 0).rank) >= 0) {
        onnx_out(q, 0, plumb_cumsum(q->g, onnx_in(q, 0), (int)axis, exclusive, reverse));
    }
    return status;
}

static plumb_status top_k(struct onnx_node *q)
{
    int64_t k = q->opset < 10 ? onnx_int(q, "k", -1) : -1;
    int n = 0, axis = onnx_axis(q, onnx_int(q, "axis", -1), onnx_shape(q, 0).rank);
    bool largest = onnx_int(q, "largest", 1) != 0;
    plumb_status status = q->opset < 10 ? PLUMB_OK : onnx_whole(q, 1, &k, 1, &n);
    if (status || axis < 0) {
        return status ? status : q->failed;
    }
    plumb_t y = plumb_top_k(q->g, onnx_in(q, 0), k, axis, !largest);
    onnx_out(q, 0, y);
    if (onnx_wants(q, 1)) {
        onnx_out(q, 1, plumb_output(q->g, y, 1));
    }
    return PLUMB_OK;
}

/* Until opset 12 over all dimensions from `axis` on, taken as one; later along one. */
static plumb_status softmax(struct onnx_node *q)
{
    plumb_t (*along)(plumb_graph *, plumb_t, int) = strcmp(q->row->name, "Softmax") == 0      ? plumb_softmax
                                                    : strcmp(q->row->name, "LogSoftmax") == 0 ? plumb_log_softmax
                                                                                              : plumb_hardmax;
    plumb_shape s = onnx_shape(q, 0);
    int axis = onnx_axis(q, onnx_int(q, "axis", q->opset < 13 ? 1 : -1), s.rank);
    plumb_t x = onnx_in(q, 0);
    if (axis < 0) {
        return q->failed;
    }
    if (q->opset >= 13 || axis == s.rank - 1) {
        onnx_out(q, 0, along(q->g, x, axis));
        return PLUMB_OK;
    }
    plumb_shape flat = {.rank = axis + 1};
    memcpy(flat.dim, s.dim, sizeof(flat.dim));
    flat.dim[axis] = 1;
    for (int i = axis; i < s.rank; i++) {
        if (s.dim[i] < 0) {
            return onnx_refuse(q, NULL, "of opset %d over dimensions whose sizes are open", q->opset);
        }
        flat.dim[axis] *= s.dim[i];
    }
    onnx_out(q, 0, plumb_reshape_like(q->g, along(q->g, plumb_reshape(q->g, x, flat), axis), x));
    return PLUMB_OK;
}

static plumb_status matmul(struct onnx_node *q)
{
    onnx_out(q, 0, plumb_matmul(q->g, onnx_in(q, 0), onnx_in(q, 1), false, false));
    return PLUMB_OK;
}

static plumb_status gemm(struct onnx_node *q)
{
    double alpha = onnx_float(q, "alpha", 1), beta = onnx_float(q, "beta", 1);
    bool ta = onnx_int(q, "transA", 0) != 0, tb = onnx_int(q, "transB", 0) != 0;
    plumb_t a = onnx_in(q, 0), b = onnx_in(q, 1), c = onnx_in(q, 2);
    onnx_out(q, 0, plumb_gemm(q->g, a, b, c, alpha, beta, ta, tb));
    return PLUMB_OK;
}

static plumb_status einsum(struct onnx_node *q)
{
    plumb_t x[16];
    if (q->n_in > 16) {
        return onnx_refuse(q, NULL, "more than 16 operands");
    }
    for (int i = 0; i < q->n_in; i++) {
        x[i] = onnx_in(q, i);
    }
    onnx_out(q, 0, plumb_einsum(q->g, onnx_text(q, "equation", ""), x, q->n_in));
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"ArgMax", 1, 0, 1, 1, arg, {NULL}, false},
    {"ArgMin", 1, 0, 1, 1, arg, {NULL}, false},
    {"CumSum", 11, 0, 2, 2, cum_sum, {NULL}, false},
    {"Einsum", 12, 0, 1, -1, einsum, {NULL}, false},
    {"Gemm", 6, 0, 2, 3, gemm, {NULL}, false},
    {"Hardmax", 1, 0, 1, 1, softmax, {NULL}, false},
    {"LogSoftmax", 1, 0, 1, 1, softmax, {NULL}, false},
    {"MatMul", 1, 0, 2, 2, matmul, {NULL}, false},
    {"ReduceL1", 1, 0, 1, 2, reduce, {.reduce = plumb_abs_sum}, false},
    {"ReduceL2", 1, 0, 1, 2, reduce, {.reduce = norm2}, false},
    {"ReduceLogSum", 1, 0, 1, 2, reduce, {.reduce = log_sum}, false},
    {"ReduceLogSumExp", 1, 0, 1, 2, reduce, {.reduce = plumb_log_sum_exp}, false},
    {"ReduceMax", 1, 0, 1, 2, reduce, {.reduce = plumb_max}, false},
    {"ReduceMean", 1, 0, 1, 2, reduce, {.reduce = plumb_mean}, false},
    {"ReduceMin", 1, 0, 1, 2, reduce, {.reduce = plumb_min}, false},
    {"ReduceProd", 1, 0, 1, 2, reduce, {.reduce = plumb_prod}, false},
    {"ReduceSum", 1, 0, 1, 2, reduce, {.reduce = plumb_sum}, false},
    {"ReduceSumSquare", 1, 0, 1, 2, reduce, {.reduce = plumb_square_sum}, false},
    {"Softmax", 1, 0, 1, 1, softmax, {NULL}, false},
    {"TopK", 1, 0, 1, 2, top_k, {NULL}, false},
};
const struct onnx_family plumb_onnx_reductions = {rows, sizeof(rows) / sizeof(rows[0])};
