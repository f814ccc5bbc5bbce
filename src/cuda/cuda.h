/* What the files of src/cuda share: the device, how a launch is checked and remembered, views for kernels.
 *
 * An implementation is three lines: make views or a walk, call a launcher of kernels/launch.h on the device's stream,
 * return plumb_cuda_check(call, "plumb_k_name", what the launcher returned). It never waits, copies to the host or
 * allocates: a run may be captured and replayed. Memory beyond operands comes from impl->workspace. */
#ifndef PLUMB_CUDA_H
#define PLUMB_CUDA_H

#include "../kernels/launch.h"
#include "op/attr.h"

enum { PLUMB_CUDA_LAUNCHES = 8, PLUMB_CUDA_WATCHES = 256 };

struct plumb_cuda_launch { /* kept for messages: an error shows up long after the launch that caused it */
    const char *op, *kernel;
    char name[48];
    plumb_dtype dtype;
    plumb_shape shape; /* of the first output */
};

struct plumb_cuda_watch { /* whose values a kernel watches */
    const char *op, *what;
    char name[64];
};

struct plumb_cuda_block { /* device memory that lives */
    struct plumb_cuda_block *next;
    void *memory;
    size_t bytes;
};

enum plumb_cuda_vendor_index { PLUMB_CUDA_CUBLASLT, PLUMB_CUDA_CUDNN, PLUMB_CUDA_VENDORS };

struct plumb_cuda_vendor_slot { /* see vendor.h */
    bool tried;
    void *state; /* NULL: not tried, or not usable */
    char text[200];
};

struct plumb_cuda {
    plumb_device base;
    int index; /* of the GPU */
    plumb_device_info info;
    int processors;
    int64_t shared_most; /* bytes of shared memory a block may ask for */
    cudaStream_t stream;
    bool lost; /* an error after which every call of this process fails: nothing more is asked of the GPU */
    char lost_by[96]; /* what that was: whoever tried something may have kept silent about it */
    struct plumb_cuda_block *blocks;
    unsigned char *staging; /* pinned, two slots */
    cudaEvent_t slot_free[2]; /* what was last copied from the slot has arrived */
    int slot;
    pk_fault *fault, *fault_host; /* on the device; pinned */
    struct plumb_cuda_watch watch[PLUMB_CUDA_WATCHES];
    int watches;
    struct plumb_cuda_launch launch[PLUMB_CUDA_LAUNCHES];
    uint64_t launches;
    struct plumb_cuda_vendor_slot vendor[PLUMB_CUDA_VENDORS];
};

static inline struct plumb_cuda *plumb_cuda_of(const plumb_call *call)
{
    return (struct plumb_cuda *)call->device;
}

static inline cudaStream_t plumb_cuda_stream(const plumb_call *call)
{
    return plumb_cuda_of(call)->stream;
}

/* Before every piece of work: makes the GPU current for this thread; fails where it was lost. */
plumb_status plumb_cuda_enter(struct plumb_cuda *cuda);

/* capture.c: entries of the device table. */
plumb_status plumb_cuda_capture_begin(plumb_device *device);
plumb_status plumb_cuda_capture_end(plumb_device *device, void **captured);
plumb_status plumb_cuda_replay(plumb_device *device, void *captured);
void plumb_cuda_capture_free(plumb_device *device, void *captured);

/* vendor.c: the vendors' libraries; an entry of the device table, and a part of closing. */
bool plumb_cuda_library(plumb_device *device, int index, plumb_device_library *library);
void plumb_cuda_vendors_close(struct plumb_cuda *cuda);

/* Remembers the launch; on an error fails with op, kernel and shapes. */
plumb_status plumb_cuda_check(const plumb_call *call, const char *kernel, cudaError_t code);
/* The same outside ops: "cuda: " what and the launches before it. */
plumb_status plumb_cuda_fail(struct plumb_cuda *cuda, const char *what, cudaError_t code);

/* For kernels that look at values (labels, indices): the device's pk_fault and the number by which its finding will be
 * told as "op 'name': `what` 12 at 3 is outside [0, 10)". `what` is a literal. */
pk_fault *plumb_cuda_fault(const plumb_call *call);
int plumb_cuda_watch(const plumb_call *call, const char *what);
/* After the stream was waited for and `fault_host` is there. */
plumb_status plumb_cuda_fault_told(struct plumb_cuda *cuda);

pk_view plumb_cuda_view(const plumb_view *view);
/* Operands broadcast to the last one (which is written): size-1 dimensions dropped, the rest ordered by the last
 * operand's strides and merged where all operands allow it. For work that does not depend on the order. */
pk_walk plumb_cuda_walk(const plumb_view *const *operands, int count);
/* Operands (at most four) by their `axis`: what a channel has, over the other dimensions, as a walk, and the way from one
 * channel to the next. */
pk_channels plumb_cuda_channels(const plumb_view *const *operands, int count, int axis);
/* Whether the innermost dimension of all operands is made of aligned packs of `width` values; and the walk over these. */
bool plumb_cuda_packs_well(const pk_channels *v, int32_t width);
void plumb_cuda_in_packs(pk_walk *w, int32_t width);
/* matmul.c: the product that a call of matmul asks for; and the same as its transpose, Ct = Bt At. */
pk_matmul plumb_cuda_product(const plumb_call *call);
void plumb_cuda_turn(pk_matmul *p);
/* One operand, in its own order (row-major), merged where possible: for moving elements between different shapes. */
pk_walk plumb_cuda_walk_in_order(const plumb_view *view);
/* Whether a walk of two operands is a transposition, for which tiles are worth it: how it is made of them then. */
bool plumb_cuda_turned(const pk_walk *walk, pk_turn *turn);

#endif
