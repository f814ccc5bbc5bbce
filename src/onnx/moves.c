/* Operators that move elements: Transpose, Concat, Split, Slice, Pad, blocks of pictures, triangles. */
#include "onnx/onnx.h"

#define MANY 64 /* what one concatenation of plumb's takes */

static plumb_status transpose(struct onnx_node *q)
{
    int64_t list[PLUMB_MAX_RANK];
    int order[PLUMB_MAX_RANK], n = onnx_ints(q, "perm", list, PLUMB_MAX_RANK), rank = onnx_shape(q, 0).rank;
    unsigned seen = 0;
    for (int i = 0; i < n && i < rank; i++) {
        order[i] = (int)(list[i] >= 0 && list[i] < rank ? list[i] : 0);
        seen |= 1u << order[i];
    }
    if (n >= 0 && (n != rank || seen != (1u << rank) - 1)) {
        return onnx_refuse(q, "perm", "is no order of %d dimensions", rank);
    }
    onnx_out(q, 0, plumb_transpose(q->g, onnx_in(q, 0), n < 0 ? NULL : order));
    return PLUMB_OK;
}

static plumb_status concat(struct onnx_node *q)
{
    int axis = onnx_axis(q, onnx_int(q, "axis", 1), onnx_shape(q, 0).rank), n = 0;
    plumb_t parts[MANY];
    for (int i = 0; axis >= 0 && i < q->n_in; i++) {
        if (n == MANY) {
            parts[0] = plumb_concat(q->g, parts, n, axis);
            n = 1;
        }
        if (!onnx_has(q, i)) {
            return onnx_refuse(q, NULL, "input %d is missing", i);
        }
        parts[n++] = onnx_in(q, i);
    }
    if (axis >= 0) {
        onnx_out(q, 0, n == 1 ? parts[0] : plumb_concat(q->g, parts, n, axis));
    }
    return PLUMB_OK;
}

static plumb_status split_sizes(struct onnx_node *q, int64_t along, int64_t *list)
{
    int n = -1;
    plumb_status status = PLUMB_OK;
    if (q->opset < 13) {
        n = onnx_ints(q, "split", list, q->n_out);
    } else if (onnx_has(q, 1)) {
        status = onnx_whole(q, 1, list, q->n_out, &n);
    }
    if (status || q->failed || along < 0) {
        return status ? status : q->failed ? q->failed : onnx_refuse(q, NULL, "splits a dimension whose size is open");
    }
    int64_t each = (along + q->n_out - 1) / q->n_out, sum = 0;
    for (int i = 0; i < q->n_out; i++) {
        list[i] = n < 0 ? each < along - sum ? each : along - sum : list[i];
        if (list[i] < 0 || list[i] > along - sum) {
            return onnx_refuse(q, "split", "the sizes are negative or add up to more than %lld", (long long)along);
        }
        sum += list[i];
    }
    return (n >= 0 && n != q->n_out) || sum != along ? onnx_refuse(q, "split", "the sizes do not add up to %lld", (long long)along)
                                                     : PLUMB_OK;
}

static plumb_status split(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int axis = onnx_axis(q, onnx_int(q, "axis", 0), x.rank);
    int64_t *list = plumb_arena_alloc(&q->build->arena, (size_t)q->n_out * sizeof(*list));
    plumb_t *parts = plumb_arena_alloc(&q->build->arena, (size_t)q->n_out * sizeof(*parts));
    if (axis < 0 || !list || !parts) {
        return q->failed ? q->failed : PLUMB_FAILED;
    }
    plumb_status status = split_sizes(q, x.dim[axis], list);
    if (!status) {
        status = plumb_split(q->g, onnx_in(q, 0), axis, list, q->n_out, parts);
    }
    for (int i = 0; !status && i < q->n_out; i++) {
        onnx_out(q, i, parts[i]);
    }
    return plumb_graph_status(q->g) ? PLUMB_OK : status; /* the graph's own words are better */
}

static plumb_status slice(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int64_t from[PLUMB_MAX_RANK], to[PLUMB_MAX_RANK], by[PLUMB_MAX_RANK];
    int64_t begin[PLUMB_MAX_RANK], end[PLUMB_MAX_RANK], step[PLUMB_MAX_RANK];
    int axes[PLUMB_MAX_RANK], n = 0, n_to = 0, n_by = 0, n_axes = 0;
    plumb_status status = PLUMB_OK;
    if (q->opset < 10) {
        n = onnx_ints(q, "starts", from, PLUMB_MAX_RANK);
        n_to = onnx_ints(q, "ends", to, PLUMB_MAX_RANK);
    } else {
        status = onnx_whole(q, 1, from, PLUMB_MAX_RANK, &n);
        status = status ? status : onnx_whole(q, 2, to, PLUMB_MAX_RANK, &n_to);
        if (!status && onnx_has(q, 4)) {
            status = onnx_whole(q, 4, by, PLUMB_MAX_RANK, &n_by);
        }
    }
    status = status ? status : onnx_axes(q, 3, 10, x.rank, axes, &n_axes);
    if (status) {
        return status;
    }
    if (n < 0 || n > x.rank || n_to != n || (n_axes >= 0 && n_axes != n) || (n_by > 0 && n_by != n)) {
        return onnx_refuse(q, NULL, "starts, ends, axes and steps do not go together");
    }
    for (int i = 0; i < x.rank; i++) {
        begin[i] = 0, end[i] = PLUMB_END, step[i] = 1;
    }
    for (int i = 0; i < n; i++) {
        int axis = n_axes < 0 ? i : axes[i];
        begin[axis] = from[i];
        step[axis] = n_by > 0 ? by[i] : 1;
        if (step[axis] == 0) {
            return onnx_refuse(q, NULL, "a step of 0");
        }
        int64_t size = x.dim[axis];
        bool through = step[axis] > 0 ? to[i] >= INT32_MAX : to[i] < 0 && (size < 0 ? to[i] <= INT32_MIN + 1 : to[i] < -size);
        end[axis] = through ? PLUMB_END : to[i]; /* before the first element, and ways to say "through the last" */
        if (begin[axis] < -((int64_t)1 << 40) || begin[axis] > (int64_t)1 << 40) {
            begin[axis] = begin[axis] < 0 ? -((int64_t)1 << 40) : (int64_t)1 << 40;
        }
    }
    onnx_out(q, 0, plumb_slice(q->g, onnx_in(q, 0), begin, end, step));
    return PLUMB_OK;
}

static plumb_status pad_mode(struct onnx_node *q, plumb_pad_mode *mode)
{
    static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
    const char *name = onnx_text(q, "mode", "constant");
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *mode = (plumb_pad_mode)i;
            return PLUMB_OK;
        }
    }
    return onnx_refuse(q, "mode", "'%.40s' is none of constant, reflect, edge, wrap", name);
}

static plumb_status pad(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    plumb_pad_mode mode = PLUMB_PAD_CONSTANT;
    int64_t pads[2 * PLUMB_MAX_RANK], before[PLUMB_MAX_RANK] = {0}, after[PLUMB_MAX_RANK] = {0};
    int n = 0, axes[PLUMB_MAX_RANK], n_axes = -1, one = 0;
    double value = q->opset < 11 ? onnx_float(q, "value", 0) : 0;
    plumb_status status = pad_mode(q, &mode);
    if (q->opset < 11) {
        n = onnx_ints(q, "pads", pads, 2 * PLUMB_MAX_RANK);
    } else {
        status = status ? status : onnx_whole(q, 1, pads, 2 * PLUMB_MAX_RANK, &n);
        if (!status && onnx_has(q, 2)) {
            status = onnx_numbers(q, 2, &value, 1, &one);
        }
        status = status ? status : onnx_axes(q, 3, 11, x.rank, axes, &n_axes);
    }
    int count = n_axes < 0 ? x.rank : n_axes;
    if (status || n != 2 * count) {
        return status ? status : onnx_refuse(q, "pads", "there are %d, for %d dimensions", n, count);
    }
    for (int i = 0; i < count; i++) {
        int axis = n_axes < 0 ? i : axes[i];
        before[axis] = pads[i];
        after[axis] = pads[count + i];
    }
    onnx_out(q, 0, plumb_pad(q->g, onnx_in(q, 0), before, after, mode, value));
    return PLUMB_OK;
}

static plumb_status depth_to_space(struct onnx_node *q)
{
    const char *mode = onnx_text(q, "mode", "DCR");
    int64_t block = onnx_int(q, "blocksize", 0);
    onnx_out(q, 0, plumb_depth_to_space(q->g, onnx_in(q, 0), block, strcmp(mode, "CRD") == 0));
    return PLUMB_OK;
}

static plumb_status space_to_depth(struct onnx_node *q)
{
    onnx_out(q, 0, plumb_space_to_depth(q->g, onnx_in(q, 0), onnx_int(q, "blocksize", 0), false));
    return PLUMB_OK;
}

static plumb_status trilu(struct onnx_node *q)
{
    bool upper = onnx_int(q, "upper", 1) != 0;
    int64_t k = 0;
    int n = 0;
    plumb_status status = onnx_has(q, 1) ? onnx_whole(q, 1, &k, 1, &n) : PLUMB_OK;
    if (!status) {
        onnx_out(q, 0, upper ? plumb_triu(q->g, onnx_in(q, 0), k) : plumb_tril(q->g, onnx_in(q, 0), k));
    }
    return status;
}

/* The first so many steps of every example backward: element (t, n) is x at (length[n] - 1 - t, n) while t is below the length. */
static plumb_status reverse_sequence(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0), n = onnx_shape(q, 1);
    int64_t time = onnx_int(q, "time_axis", 0), batch = onnx_int(q, "batch_axis", 1);
    if (x.rank < 2 || time + batch != 1 || time * batch != 0 || n.rank != 1 || plumb_shape_count(&x) < 0) {
        return onnx_refuse(q, NULL, "needs a time and a batch axis, 0 and 1 in either order, of known sizes");
    }
    plumb_shape along = {.rank = x.rank}, lengths = {.rank = x.rank};
    for (int i = 0; i < x.rank; i++) {
        along.dim[i] = i == time ? x.dim[i] : 1;
        lengths.dim[i] = i == batch ? x.dim[i] : 1;
    }
    plumb_t t = plumb_iota(q->g, PLUMB_I64, along, 0, 1);
    plumb_t length = plumb_reshape(q->g, plumb_cast(q->g, onnx_in(q, 1), PLUMB_I64), lengths);
    plumb_t back = plumb_sub(q->g, plumb_sub(q->g, length, t), plumb_full(q->g, PLUMB_I64, PLUMB_SCALAR_SHAPE, 1));
    plumb_t index = plumb_where(q->g, plumb_less(q->g, t, length), back, t);
    onnx_out(q, 0, plumb_gather_elements(q->g, onnx_in(q, 0), plumb_expand(q->g, index, x), (int)time));
    return PLUMB_OK;
}

/* The places of what is not 0 in the value of input `from`, which shapes depend on: i64 (count). */
static int64_t *places(struct onnx_node *q, int from, int64_t *count)
{
    plumb_shape c = onnx_shape(q, from);
    int64_t n = plumb_shape_count(&c);
    double *values = n < 0 || n > ONNX_FOLD_ELEMENTS ? NULL : plumb_arena_alloc(&q->build->arena, (size_t)n * sizeof(double) + 8);
    int64_t *list = values ? plumb_arena_alloc(&q->build->arena, (size_t)n * sizeof(int64_t) + 8) : NULL;
    int have = 0;
    if (!list || onnx_numbers(q, from, values, (int)n, &have)) {
        q->failed = q->failed ? q->failed : onnx_refuse(q, NULL, "needs the value of input %d", from);
        return NULL;
    }
    *count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(values[i] == 0)) {
            list[(*count)++] = i;
        }
    }
    return list;
}

static plumb_status compress(struct onnx_node *q)
{
    plumb_t x = onnx_in(q, 0);
    bool flat = !onnx_attribute(q, "axis");
    int64_t count = 0, *list = places(q, 1, &count);
    int axis = flat ? 0 : onnx_axis(q, onnx_int(q, "axis", 0), onnx_shape(q, 0).rank);
    if (!list || axis < 0) {
        return q->failed;
    }
    x = flat ? plumb_reshape(q->g, x, PLUMB_SHAPE(PLUMB_INFER)) : x;
    onnx_out(q, 0, plumb_gather(q->g, x, plumb_constant(q->g, PLUMB_I64, PLUMB_SHAPE(count), list), axis));
    return PLUMB_OK;
}

static plumb_status non_zero(struct onnx_node *q)
{
    plumb_shape x = onnx_shape(q, 0);
    int64_t count = 0, *list = places(q, 0, &count);
    int64_t *to = list ? plumb_arena_alloc(&q->build->arena, (size_t)(count * (x.rank + 1)) * sizeof(int64_t) + 8) : NULL;
    if (!to) {
        return q->failed ? q->failed : PLUMB_FAILED;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = list[i];
        for (int d = x.rank - 1; d >= 0; d--) {
            to[d * count + i] = rest % x.dim[d];
            rest /= x.dim[d];
        }
    }
    onnx_out(q, 0, plumb_constant(q->g, PLUMB_I64, PLUMB_SHAPE(x.rank, count), to));
    return PLUMB_OK;
}

static const struct onnx_row rows[] = {
    {"Compress", 9, 0, 2, 2, compress, {NULL}, false},
    {"Concat", 4, 0, 1, -1, concat, {NULL}, false},
    {"DepthToSpace", 1, 0, 1, 1, depth_to_space, {NULL}, false},
    {"NonZero", 9, 0, 1, 1, non_zero, {NULL}, false},
    {"Pad", 2, 0, 1, 4, pad, {NULL}, false},
    {"ReverseSequence", 10, 0, 2, 2, reverse_sequence, {NULL}, false},
    {"Slice", 1, 0, 1, 5, slice, {NULL}, false},
    {"SpaceToDepth", 1, 0, 1, 1, space_to_depth, {NULL}, false},
    {"Split", 2, 0, 1, 2, split, {NULL}, false},
    {"Transpose", 1, 0, 1, 1, transpose, {NULL}, false},
    {"Trilu", 14, 0, 1, 2, trilu, {NULL}, false},
};
const struct onnx_family plumb_onnx_moves = {rows, sizeof(rows) / sizeof(rows[0])};
