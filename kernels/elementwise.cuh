/* What element-wise kernels share: when operands may be moved in packs. */
#ifndef PLUMB_ELEMENTWISE_CUH
#define PLUMB_ELEMENTWISE_CUH

#include "activation.cuh"
#include "number.cuh"

namespace {

/* Operand k may be moved N elements of `size` bytes at once. */
inline bool packs_well(const pk_walk *w, int k, size_t size, int n)
{
    return (w->stride[k][0] == 1 && aligned(w->data[k], size * (size_t)n)) ||
           (w->stride[k][0] == 0 && k < w->operands - 1);
}

} // namespace

#endif
