/* What pooling's kernels share: the work of one call on row-major planes, the kernels written by hand for tiles of two by
 * two, and what channels-last pictures need. */
#ifndef PLUMB_NATIVE_POOL_H
#define PLUMB_NATIVE_POOL_H

#include "op/attr.h"

#include <stdatomic.h>

struct pool_work {
    const plumb_attr_pool2d *attr;
    const float *from;    /* x, or dy in the backward forms */
    const int64_t *index; /* of the backward form of max, and of select */
    float *to;            /* y, or dx */
    int64_t *index_out;   /* of max */
    const float *wide;    /* [ow]: extents of the windows that an average divides by, left to right */
    int64_t h, w, oh, ow; /* x's (or dx's) plane, y's (or dy's) plane */
    int64_t planes, per_chunk;
    bool tiles; /* 2x2 windows side by side, none over the edge */
    bool avx512;
    atomic_bool bad_index;
    void (*kernel)(struct pool_work *t, int64_t plane);
};

/* How far the window of output o reaches, by which an average divides. */
float plumb_pool_extent(const plumb_attr_pool2d *attr, int axis, int64_t o, int64_t size);
plumb_status plumb_pool_bad_index(const plumb_call *call, int64_t h, int64_t w);

/* Channels in lanes, f32 or bf16. */
bool plumb_pool_columns_supports(const plumb_call *call);
size_t plumb_pool_columns_workspace(const plumb_call *call);
plumb_status plumb_pool_columns_max(const plumb_call *call);
plumb_status plumb_pool_columns_max_backward(const plumb_call *call);
plumb_status plumb_pool_columns_average(const plumb_call *call);
plumb_status plumb_pool_columns_average_backward(const plumb_call *call);

/* One plane of max pooling over tiles, written by hand for AVX-512, and its backward form. The latter
 * returns false if an index points out of its own tile; the plane is then to be done another way. */
#if defined(__x86_64__)
void plumb_max_tiles_avx512(struct pool_work *t, int64_t plane);
bool plumb_max_backward_tiles_avx512(struct pool_work *t, int64_t plane);
#else
static inline void plumb_max_tiles_avx512(struct pool_work *t, int64_t plane) { (void)t, (void)plane; }
static inline bool plumb_max_backward_tiles_avx512(struct pool_work *t, int64_t plane)
{
    return (void)t, (void)plane, false;
}
#endif

#endif
