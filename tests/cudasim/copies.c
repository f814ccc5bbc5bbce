/* The runtime's calls for memory: allocation, copies, fills, queries. */
#include "calls.h"

/* ---- memory ---- */

static cudaError_t allocate(void **out, size_t bytes, int kind)
{
    *out = NULL;
    if (!bytes) {
        return cudaSuccess;
    }
    cudasim_block *block = cudasim_block_new(bytes, kind);
    if (!block) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    *out = block->data;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    ENTER(CUDASIM_MALLOC);
    return cudasim_breaks_capture() ? cudasim_return(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_DEVICE);
}

cudaError_t cudaMallocManaged(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_MALLOC);
    return cudasim_breaks_capture() ? cudasim_return(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_MANAGED);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_HOST_MALLOC);
    return cudasim_breaks_capture() ? cudasim_return(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_PINNED);
}

cudaError_t cudaMallocHost(void **out, size_t bytes) { return cudaHostAlloc(out, bytes, cudaHostAllocDefault); }

static cudaError_t release(void *p, bool pinned, const char *call)
{
    if (!p) {
        return cudaSuccess;
    }
    if (cudasim_breaks_capture()) {
        return cudasim_return(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_wait_all(); /* freeing waits for the device */
    cudasim_block *block = cudasim_block_at(p, false);
    if (!block || block->data != p || (block->kind == CUDASIM_PINNED) != pinned) {
        cudasim_error("bad-free", "%s(%p): not the start of a live block of its kind", call, p);
        return cudasim_return(cudaErrorInvalidValue);
    }
    cudasim_block_free(block);
    return cudasim_waited();
}

cudaError_t cudaFree(void *p)
{
    LOCK();
    return release(p, false, "cudaFree");
}

cudaError_t cudaFreeHost(void *p)
{
    LOCK();
    return release(p, true, "cudaFreeHost");
}

/* Reserved at once, given back in the order of the stream. */
cudaError_t cudaMallocAsync(void **out, size_t bytes, cudaStream_t stream)
{
    ENTER(CUDASIM_MALLOC);
    return cudasim_stream_of(stream)->capture ? cudasim_return(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_DEVICE);
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t stream)
{
    LOCK();
    cudasim_block *block = cudasim_block_at(p, false);
    if (!p) {
        return cudaSuccess;
    }
    if (!block || block->data != p || block->kind != CUDASIM_DEVICE) {
        cudasim_error("bad-free", "cudaFreeAsync(%p): not the start of a live block", p);
        return cudasim_return(cudaErrorInvalidValue);
    }
    cudasim_step *step = cudasim_step_new(STEP_FREE);
    if (!step) {
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    step->to = p;
    return cudasim_put(cudasim_stream_of(stream), step);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    LOCK();
    *total = cudasim_option.memory;
    *free_bytes = *total - cudasim_memory_used();
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    LOCK();
    static const enum cudaMemoryType types[] = {cudaMemoryTypeDevice, cudaMemoryTypeHost, cudaMemoryTypeManaged};
    const cudasim_block *block = cudasim_block_at(p, false);
    memset(a, 0, sizeof *a);
    a->type = block ? types[block->kind] : cudaMemoryTypeUnregistered;
    a->devicePointer = block ? (void *)(uintptr_t)p : NULL;
    a->hostPointer = block && block->kind == CUDASIM_DEVICE ? NULL : (void *)(uintptr_t)p;
    return cudaSuccess;
}

/* One side of a copy: `device` says which side it should be on (-1: either). Returns its block, or NULL for pageable. */
static cudasim_block *side(const void *p, size_t bytes, int device, const char *what)
{
    cudasim_block *b = cudasim_block_at(p, false);
    bool on_device = b && b->kind != CUDASIM_PINNED;
    if (b && bytes > b->bytes - (size_t)((const char *)p - b->data)) {
        cudasim_error("copy-overrun", "%s: %zu bytes from byte %zu of block %llu, which has %zu", what, bytes,
                      (size_t)((const char *)p - b->data), (unsigned long long)b->serial, b->bytes);
    } else if (device == 1 && !on_device) {
        cudasim_error("copy-direction", "%s: %p is not in device memory", what, p);
    } else if (device == 0 && b && b->kind == CUDASIM_DEVICE) {
        cudasim_error("copy-direction", "%s: %p is in device memory, and named as the host's", what, p);
    }
    return b;
}

static cudaError_t copy(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t bytes, size_t rows,
                        enum cudaMemcpyKind kind, struct CUstream_st *stream)
{
    if (!bytes || !rows) {
        return cudaSuccess;
    }
    int to_device = kind == cudaMemcpyDefault ? -1 : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    int from_device = kind == cudaMemcpyDefault ? -1 : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    cudasim_block *source = side(from, (rows - 1) * from_pitch + bytes, from_device, "source of a copy");
    cudasim_block *target = side(to, (rows - 1) * to_pitch + bytes, to_device, "target of a copy");
    if (cudasim_lost()) {
        return cudasim_return(cudaErrorInvalidValue);
    }
    cudasim_step *step = cudasim_step_new(STEP_COPY);
    bool snapshot = !source && !stream->capture;
    char *kept = snapshot ? malloc(bytes * rows) : NULL;
    if (!step || (snapshot && !kept)) {
        free(step);
        free(kept);
        return cudasim_return(cudaErrorMemoryAllocation);
    }
    for (size_t row = 0; snapshot && row < rows; row++) {
        memcpy(kept + row * bytes, (const char *)from + row * from_pitch, bytes);
    }
    step->snapshot = kept;
    step->to = to;
    step->from = from;
    step->bytes = bytes;
    step->rows = rows;
    step->pitch_to = to_pitch;
    step->pitch_from = from_pitch;
    cudaError_t code = cudasim_put(stream, step);
    if (!code && !target && !stream->capture) {
        cudasim_wait(stream); /* into pageable memory: there when the call returns */
    }
    return code;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    return copy(to, 0, from, 0, bytes, 1, kind, cudasim_stream_of(stream));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    ENTER(CUDASIM_COPY);
    if (cudasim_breaks_capture()) {
        return cudasim_return(cudaErrorStreamCaptureUnsupported);
    }
    cudaError_t code = copy(to, 0, from, 0, bytes, 1, kind, &cudasim_legacy);
    cudasim_wait(&cudasim_legacy);
    return code ? code : cudasim_waited();
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows,
                              enum cudaMemcpyKind kind, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    if (width > to_pitch || width > from_pitch) {
        return cudasim_return(cudaErrorInvalidValue);
    }
    return copy(to, to_pitch, from, from_pitch, width, rows, kind, cudasim_stream_of(stream));
}

static cudaError_t fill(void *to, int value, size_t bytes, struct CUstream_st *stream)
{
    if (!bytes) {
        return cudaSuccess;
    }
    side(to, bytes, 1, "cudaMemset");
    cudasim_step *step = cudasim_lost() ? NULL : cudasim_step_new(STEP_FILL);
    if (!step) {
        return cudasim_return(cudasim_lost() ? cudaErrorInvalidValue : cudaErrorMemoryAllocation);
    }
    step->to = to;
    step->value = value;
    step->bytes = bytes;
    step->rows = 1;
    return cudasim_put(stream, step);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    return fill(to, value, bytes, cudasim_stream_of(stream));
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    ENTER(CUDASIM_COPY);
    return cudasim_breaks_capture() ? cudasim_return(cudaErrorStreamCaptureUnsupported) : fill(to, value, bytes, &cudasim_legacy);
}
