/* How a kernel reads indices, and notes that a value of its input is wrong: one thread, the first to come, describes what it found. Who
 * that is where several are wrong depends on the hardware; that there is one does not. */
#ifndef PLUMB_FAULT_CUH
#define PLUMB_FAULT_CUH

#include "plumb_cuda.h"

#include "launch.h"

namespace {

__device__ inline void note_fault(pk_fault *fault, int32_t watch, int64_t at, int64_t value, int64_t low, int64_t high)
{
    if (atomicCAS(&fault->code, 0, 1) != 0) {
        return;
    }
    fault->watch = watch;
    fault->at = at;
    fault->value = value;
    fault->low = low;
    fault->high = high;
}

__device__ inline int64_t index_at(const void *indices, int32_t dtype, int64_t at)
{
    return dtype == PK_I32 ? ((const int32_t *)indices)[at] : ((const int64_t *)indices)[at];
}

__device__ inline bool within(int64_t index, int64_t n) { return index >= -n && index < n; }

} // namespace

#endif
