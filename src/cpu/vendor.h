/* What the plugins of vendors' libraries on the CPU share: whether a library may use threads of its own, how work is cut
 * where it may not, and a product as libraries want it.
 *
 * Decided here: a library computes one chunk on one thread, our pool runs the chunks, and chunks are cut by shapes alone.
 * So no two pools of threads fight, and results do not depend on the number of threads as long as the library's do not on
 * one. With PLUMB_ALLOW_VENDOR_THREADS a call is one chunk, which the library cuts as it likes. */
#ifndef PLUMB_CPU_VENDOR_H
#define PLUMB_CPU_VENDOR_H

#include "cpu/product.h"
#include "op/attr.h"

#define PLUMB_TEXT_OF(number) #number
#define PLUMB_TEXT(number) PLUMB_TEXT_OF(number)
#define PLUMB_VENDOR_VERSION                                                                                          \
    PLUMB_TEXT(PLUMB_VERSION_MAJOR) "." PLUMB_TEXT(PLUMB_VERSION_MINOR) "." PLUMB_TEXT(PLUMB_VERSION_PATCH)

static inline bool plumb_vendor_threads(const plumb_call *call)
{
    return (call->context->options.allow & PLUMB_ALLOW_VENDOR_THREADS) != 0;
}

/* Chunks of equal size: the largest divisor of `count` that is at most `most`. */
static inline int64_t plumb_vendor_parts(const plumb_call *call, int64_t count, int64_t most)
{
    int64_t parts = plumb_vendor_threads(call) ? 1 : most;
    while (parts > 1 && (count < parts || count % parts)) {
        parts--;
    }
    return parts;
}

/* The product of a call of matmul: C (m, n), row-major, = A (m, k) times B (k, n), `batch` times. */
typedef struct plumb_vendor_product {
    int64_t batch, m, n, k, a_row, a_k, b_k, b_column;
} plumb_vendor_product;

static inline plumb_vendor_product plumb_vendor_product_of(const plumb_call *call)
{
    const plumb_attr_matmul *attr = call->attr;
    const plumb_view *a = &call->in[0], *b = &call->in[1], *c = &call->out[0];
    int am = a->rank - 2 + !!attr->transpose_a, ak = a->rank - 1 - !!attr->transpose_a;
    int bk = b->rank - 2 + !!attr->transpose_b, bn = b->rank - 1 - !!attr->transpose_b;
    plumb_vendor_product p = {.batch = 1,
                              .m = a->dim[am],
                              .n = b->dim[bn],
                              .k = a->dim[ak],
                              .a_row = a->stride[am],
                              .a_k = a->stride[ak],
                              .b_k = b->stride[bk],
                              .b_column = b->stride[bn]};
    for (int d = 0; d < c->rank - 2; d++) {
        p.batch *= c->dim[d];
    }
    return p;
}

/* Where batch element `index` has its operand: leading dimensions are broadcast. */
static inline const void *plumb_vendor_operand(const plumb_call *call, const plumb_view *view, int64_t index)
{
    const int64_t offset = plumb_product_offset(&call->out[0], view, index);
    return (const char *)view->data + offset * (int64_t)plumb_dtype_size(view->dtype);
}

#endif
