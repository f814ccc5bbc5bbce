/* Turns the library's views into what kernels take: plain views, and walks whose dimensions were dropped, ordered and
 * merged here, once per launch, so that most kernels see rank 1. */
#include "cuda/cuda.h"

pk_view plumb_cuda_view(const plumb_view *view)
{
    pk_view v = {.data = view->data, .dtype = (int32_t)view->dtype, .rank = view->rank};
    memcpy(v.dim, view->dim, sizeof v.dim);
    memcpy(v.stride, view->stride, sizeof v.stride);
    return v;
}

static void swap_dims(pk_walk *w, int a, int b)
{
    int64_t dim = w->dim[a];
    w->dim[a] = w->dim[b];
    w->dim[b] = dim;
    for (int i = 0; i < w->operands; i++) {
        int64_t stride = w->stride[i][a];
        w->stride[i][a] = w->stride[i][b];
        w->stride[i][b] = stride;
    }
}

/* Largest strides of the written operand first: what it holds side by side is then visited side by side. */
static void order(pk_walk *w)
{
    const int64_t *stride = w->stride[w->operands - 1];
    for (int d = 1; d < w->rank; d++) {
        for (int k = d; k > 0 && llabs(stride[k - 1]) < llabs(stride[k]); k--) {
            swap_dims(w, k - 1, k);
        }
    }
}

/* Dimension d continues d + 1 for every operand: one step of d is dim[d + 1] steps of d + 1. */
static bool continues(const pk_walk *w, int d)
{
    for (int i = 0; i < w->operands; i++) {
        if (w->stride[i][d] != w->stride[i][d + 1] * w->dim[d + 1]) {
            return false;
        }
    }
    return true;
}

static void merge(pk_walk *w)
{
    for (int d = w->rank - 2; d >= 0; d--) {
        if (!continues(w, d)) {
            continue;
        }
        w->dim[d] *= w->dim[d + 1];
        for (int i = 0; i < w->operands; i++) {
            w->stride[i][d] = w->stride[i][d + 1];
        }
        for (int k = d + 1; k + 1 < w->rank; k++) {
            w->dim[k] = w->dim[k + 1];
            for (int i = 0; i < w->operands; i++) {
                w->stride[i][k] = w->stride[i][k + 1];
            }
        }
        w->rank--;
    }
}

static pk_walk unmerged(const plumb_view *const *operands, int count)
{
    const plumb_view *out = operands[count - 1];
    pk_walk w = {.count = plumb_view_count(out), .operands = count};
    for (int i = 0; i < count; i++) {
        w.data[i] = operands[i]->data;
    }
    for (int d = 0; d < out->rank; d++) {
        if (out->dim[d] == 1) {
            continue;
        }
        for (int i = 0; i < count; i++) {
            int at = d - (out->rank - operands[i]->rank);
            w.stride[i][w.rank] = at >= 0 && operands[i]->dim[at] != 1 ? operands[i]->stride[at] : 0;
        }
        w.dim[w.rank++] = out->dim[d];
    }
    return w;
}

pk_walk plumb_cuda_walk(const plumb_view *const *operands, int count)
{
    pk_walk w = unmerged(operands, count);
    order(&w);
    merge(&w);
    return w;
}

static void drop_dim(pk_walk *w, int d)
{
    w->count /= w->dim[d];
    w->rank--;
    for (int k = d; k < w->rank; k++) {
        w->dim[k] = w->dim[k + 1];
        for (int i = 0; i < w->operands; i++) {
            w->stride[i][k] = w->stride[i][k + 1];
        }
    }
}

bool plumb_cuda_turned(const pk_walk *w, pk_turn *turn)
{
    enum { LEAST = 16 }; /* of both sides: tiles of narrower ones would be mostly empty */
    int last = w->rank - 1, row = last - 1;
    while (row >= 0 && (w->stride[0][row] != 1 || w->dim[row] < LEAST))
        row--;
    if (row < 0 || w->count == 0 || w->dim[last] < LEAST || w->stride[1][last] != 1 || w->stride[0][last] == 0)
        return false;
    *turn = (pk_turn){
        .rest = *w,
        .rows = w->dim[row],
        .columns = w->dim[last],
        .x_row = w->stride[0][row],
        .x_column = w->stride[0][last],
        .y_row = w->stride[1][row],
        .y_column = w->stride[1][last],
    };
    drop_dim(&turn->rest, last);
    drop_dim(&turn->rest, row);
    return true;
}

pk_walk plumb_cuda_walk_in_order(const plumb_view *view)
{
    pk_walk w = unmerged(&view, 1);
    merge(&w);
    return w;
}

/* ---- by channels ---- */

static plumb_view one_channel(const plumb_view *view, int axis)
{
    plumb_view part = *view;
    part.rank--;
    for (int d = axis; d < part.rank; d++) {
        part.dim[d] = view->dim[d + 1];
        part.stride[d] = view->stride[d + 1];
    }
    return part;
}

pk_channels plumb_cuda_channels(const plumb_view *const *operands, int count, int axis)
{
    plumb_view part[PK_WALK_OPERANDS];
    const plumb_view *parts[PK_WALK_OPERANDS];
    pk_channels v = {.step = {0}};
    for (int i = 0; i < count; i++) {
        part[i] = one_channel(operands[i], axis);
        parts[i] = &part[i];
        v.step[i] = operands[i]->stride[axis];
    }
    v.walk = plumb_cuda_walk(parts, count);
    return v;
}

bool plumb_cuda_packs_well(const pk_channels *v, int32_t width)
{
    const pk_walk *w = &v->walk;
    bool good = w->rank > 0 && w->dim[w->rank - 1] % width == 0;
    for (int k = 0; good && k < w->operands; k++) {
        good = (uintptr_t)w->data[k] % 16 == 0 && v->step[k] % width == 0 && w->stride[k][w->rank - 1] == 1;
        for (int d = 0; good && d < w->rank - 1; d++) {
            good = w->stride[k][d] % width == 0;
        }
    }
    return good;
}

void plumb_cuda_in_packs(pk_walk *w, int32_t width)
{
    w->count /= width;
    w->dim[w->rank - 1] /= width;
    for (int k = 0; k < w->operands; k++) {
        w->stride[k][w->rank - 1] *= width;
    }
}
