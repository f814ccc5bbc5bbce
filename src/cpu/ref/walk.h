/* How reference kernels visit tensors: a walk goes over the index space of one shape in row-major order and
 * keeps, for up to WALK_VIEWS views of any strides, the offset of the current element. Views of lower rank or
 * with dimensions of size 1 are broadcast to the walked shape, as NumPy does.
 *
 *     struct walk w;
 *     walk_begin(&w, out->rank, out->dim);
 *     int a = walk_add(&w, &call->in[0]), y = walk_add(&w, out);
 *     for (; w.left > 0; walk_step(&w)) {
 *         view_put(out, w.at[y], f(view_get(&call->in[0], w.at[a])));
 *     }
 *
 * w.index[] is the current position. A walk over no elements ends at once; over rank 0 it visits one
 * element. */
#ifndef PLUMB_REF_WALK_H
#define PLUMB_REF_WALK_H

#include "op/op.h"

#define WALK_VIEWS 6

struct walk {
    int rank, views;
    int64_t dim[PLUMB_MAX_RANK], index[PLUMB_MAX_RANK];
    int64_t stride[WALK_VIEWS][PLUMB_MAX_RANK];
    int64_t at[WALK_VIEWS]; /* offset, in elements from view->data, of the current element of each view */
    int64_t left;           /* elements still to visit, the current one included */
};

static inline void walk_begin(struct walk *w, int rank, const int64_t *dim)
{
    memset(w, 0, sizeof *w);
    w->rank = rank;
    w->left = 1;
    for (int d = 0; d < rank; d++) {
        w->dim[d] = dim[d];
        w->left *= dim[d];
    }
}

/* Adds a view, starting at offset 0; returns its place in w->at. */
static inline int walk_add(struct walk *w, const plumb_view *view)
{
    int slot = w->views++, shift = w->rank - view->rank;
    for (int d = 0; d < view->rank; d++) {
        w->stride[slot][d + shift] = view->dim[d] == 1 ? 0 : view->stride[d];
    }
    return slot;
}

static inline void walk_step(struct walk *w)
{
    w->left--;
    for (int d = w->rank - 1; d >= 0; d--) {
        w->index[d]++;
        for (int v = 0; v < w->views; v++) {
            w->at[v] += w->stride[v][d];
        }
        if (w->index[d] < w->dim[d]) {
            return;
        }
        for (int v = 0; v < w->views; v++) {
            w->at[v] -= w->stride[v][d] * w->dim[d];
        }
        w->index[d] = 0;
    }
}

/* Offset of the element at `index` (view->rank numbers). */
static inline int64_t view_offset(const plumb_view *view, const int64_t *index)
{
    int64_t offset = 0;
    for (int d = 0; d < view->rank; d++) {
        offset += index[d] * view->stride[d];
    }
    return offset;
}

/* The same for the ranks that kernels write out by hand. */
static inline int64_t view_offset2(const plumb_view *view, int64_t i, int64_t j)
{
    return i * view->stride[0] + j * view->stride[1];
}

static inline int64_t view_offset4(const plumb_view *view, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return n * view->stride[0] + c * view->stride[1] + h * view->stride[2] + w * view->stride[3];
}

static inline double view_get(const plumb_view *view, int64_t offset)
{
    return plumb_get(view->data, view->dtype, offset);
}

static inline void view_put(const plumb_view *view, int64_t offset, double value)
{
    plumb_put(view->data, view->dtype, offset, value);
}

/* Integer elements without the detour through double, which would lose bits of i64. Of integer views only. */
static inline int64_t view_get_int(const plumb_view *view, int64_t offset)
{
    switch (view->dtype) {
    case PLUMB_I32: return ((const int32_t *)view->data)[offset];
    case PLUMB_I64: return ((const int64_t *)view->data)[offset];
    default: return ((const uint8_t *)view->data)[offset];
    }
}

/* Keeps the low bits, as C's unsigned conversion: integer arithmetic wraps. */
static inline void view_put_int(const plumb_view *view, int64_t offset, int64_t value)
{
    switch (view->dtype) {
    case PLUMB_I32: ((int32_t *)view->data)[offset] = (int32_t)(uint32_t)(uint64_t)value; break;
    case PLUMB_I64: ((int64_t *)view->data)[offset] = value; break;
    default: ((uint8_t *)view->data)[offset] = (uint8_t)value; break;
    }
}

/* Copies one element of any dtype (both views have the same), bit for bit. */
static inline void view_copy(const plumb_view *to, int64_t to_offset, const plumb_view *from,
                             int64_t from_offset)
{
    size_t size = plumb_dtype_size(to->dtype);
    memcpy((char *)to->data + to_offset * (int64_t)size,
           (const char *)from->data + from_offset * (int64_t)size, size);
}

#endif
