/* How the reference kernels of dense ops meet any dtype and any strides without paying for it in their
 * inner loops: a part of a view is copied into plain rows of doubles, the arithmetic runs there, and
 * results are copied back. */
#ifndef PLUMB_REF_UNPACK_H
#define PLUMB_REF_UNPACK_H

#include "op/op.h"

static inline void unpack_row(const plumb_view *view, int64_t at, int64_t stride, int64_t count, double *to)
{
    if (view->dtype == PLUMB_F32) {
        const float *from = (const float *)view->data + at;
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i * stride];
    } else if (view->dtype == PLUMB_F64) {
        const double *from = (const double *)view->data + at;
        for (int64_t i = 0; i < count; i++)
            to[i] = from[i * stride];
    } else {
        for (int64_t i = 0; i < count; i++)
            to[i] = plumb_get(view->data, view->dtype, at + i * stride);
    }
}

static inline void pack_row(const plumb_view *view, int64_t at, int64_t stride, int64_t count,
                            const double *from)
{
    if (view->dtype == PLUMB_F32) {
        float *to = (float *)view->data + at;
        for (int64_t i = 0; i < count; i++)
            to[i * stride] = (float)from[i];
    } else if (view->dtype == PLUMB_F64) {
        double *to = (double *)view->data + at;
        for (int64_t i = 0; i < count; i++)
            to[i * stride] = from[i];
    } else {
        for (int64_t i = 0; i < count; i++)
            plumb_put(view->data, view->dtype, at + i * stride, from[i]);
    }
}

/* Copies what begins at element offset `at` and runs over the dimensions `first`.. of the view, in
 * row-major order. Returns how many numbers that were. */
static inline int64_t unpack(const plumb_view *view, int first, int64_t at, double *to)
{
    if (first >= view->rank - 1) {
        int64_t count = first == view->rank - 1 ? view->dim[first] : 1;
        unpack_row(view, at, first == view->rank - 1 ? view->stride[first] : 0, count, to);
        return count;
    }
    int64_t done = 0;
    for (int64_t i = 0; i < view->dim[first]; i++)
        done += unpack(view, first + 1, at + i * view->stride[first], to + done);
    return done;
}

static inline int64_t pack(const plumb_view *view, int first, int64_t at, const double *from)
{
    if (first >= view->rank - 1) {
        int64_t count = first == view->rank - 1 ? view->dim[first] : 1;
        pack_row(view, at, first == view->rank - 1 ? view->stride[first] : 0, count, from);
        return count;
    }
    int64_t done = 0;
    for (int64_t i = 0; i < view->dim[first]; i++)
        done += pack(view, first + 1, at + i * view->stride[first], from + done);
    return done;
}

#endif
