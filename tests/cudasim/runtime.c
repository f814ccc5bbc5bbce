/* The CUDA runtime's calls, over the queues of queue.c and the memory of memory.c: compiled against the toolkit's own
 * header, so that every signature is checked, and linked in place of the library. What a real runtime would leave
 * undefined is a fault here: copies beyond a block, pointers of the wrong side, memory freed twice. Every call that may
 * fail passes one gate, where the n-th can be made to. */
#include "queue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDASIM_ASAN
#include <sanitizer/asan_interface.h>
#endif

enum { FUNCTIONS = 256, SHARED_DEFAULT = 48 << 10, SHARED_MOST = 227 << 10 };

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static _Thread_local cudaError_t last_error;
static struct CUevent_st *events;
static struct CUgraph_st *graphs;
static size_t event_count, graph_count, stream_count;
static int64_t fail_in[CUDASIM_CLASSES];
static bool failed;
static struct {
    const void *function;
    int shared;
} functions[FUNCTIONS];

static void unlock(const int *held)
{
    (void)held;
    pthread_mutex_unlock(&mutex);
}

#define LOCK() \
    int held __attribute__((cleanup(unlock), unused)) = pthread_mutex_lock(&mutex); \
    cudasim_chance()

static cudaError_t fail(cudaError_t code)
{
    last_error = code;
    return code;
}

static bool hit(enum cudasim_class which)
{
    return fail_in[which] > 0 && --fail_in[which] == 0;
}

/* What a call of the class begins with. */
static cudaError_t gate(enum cudasim_class which)
{
    static const cudaError_t usual[CUDASIM_CLASSES] = {
        [CUDASIM_MALLOC] = cudaErrorMemoryAllocation,   [CUDASIM_HOST_MALLOC] = cudaErrorMemoryAllocation,
        [CUDASIM_COPY] = cudaErrorInvalidValue,         [CUDASIM_LAUNCH] = cudaErrorLaunchOutOfResources,
        [CUDASIM_STREAM] = cudaErrorInvalidValue,       [CUDASIM_EVENT] = cudaErrorInvalidResourceHandle,
        [CUDASIM_GRAPH] = cudaErrorMemoryAllocation,    [CUDASIM_SYNC] = cudaErrorUnknown,
    };
    if (cudasim_lost()) {
        return cudaErrorLaunchFailure;
    }
    bool any = hit(CUDASIM_ANY), one = hit(which);
    failed |= any || one;
    return any || one ? usual[which] : cudaSuccess;
}

#define ENTER(which) \
    LOCK(); \
    do { \
        cudaError_t code = gate(which); \
        if (code) { \
            return fail(code); \
        } \
    } while (0)

/* What a waiting call returns: the fault that queued work came to, if it did. */
static cudaError_t waited(void)
{
    return cudasim_lost() ? fail(cudaErrorLaunchFailure) : cudaSuccess;
}

/* ---- control ---- */

void cudasim_fail(enum cudasim_class which, int64_t n)
{
    LOCK();
    fail_in[which] = n;
    failed = false;
}

bool cudasim_failed(void) { return failed; }

void cudasim_reset(void)
{
    LOCK();
    for (struct CUstream_st *s = &cudasim_legacy; s; s = s->next) {
        cudasim_steps_clear(&s->steps);
    }
    cudasim_forget_fault();
    memset(fail_in, 0, sizeof fail_in);
    failed = false;
    last_error = cudaSuccess;
    cudasim_random_start(cudasim_option.seed);
}

cudasim_alive cudasim_count(void)
{
    LOCK();
    cudasim_alive alive = {.streams = stream_count, .events = event_count, .graphs = graph_count};
    cudasim_count_blocks(&alive);
    return alive;
}

/* ---- errors, the device ---- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = cudasim_lost() ? cudaErrorLaunchFailure : last_error;
    last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void) { return cudasim_lost() ? cudaErrorLaunchFailure : last_error; }

#define ERRORS(X) \
    X(cudaSuccess, "no error") \
    X(cudaErrorInvalidValue, "invalid argument") \
    X(cudaErrorMemoryAllocation, "out of memory") \
    X(cudaErrorInvalidConfiguration, "invalid configuration argument") \
    X(cudaErrorInvalidDevice, "invalid device ordinal") \
    X(cudaErrorInvalidResourceHandle, "invalid resource handle") \
    X(cudaErrorNotReady, "device not ready") \
    X(cudaErrorLaunchFailure, "unspecified launch failure") \
    X(cudaErrorLaunchOutOfResources, "too many resources requested for launch") \
    X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing") \
    X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
    X(cudaErrorStreamCaptureUnmatched, "the capture was not initiated in this stream") \
    X(cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream") \
    X(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream") \
    X(cudaErrorIllegalState, "the operation cannot be performed in the present state") \
    X(cudaErrorUnknown, "unknown error")

const char *cudaGetErrorName(cudaError_t code)
{
    switch ((int)code) {
#define X(name, text) case name: return #name;
        ERRORS(X)
#undef X
    default: return "unrecognized error code";
    }
}

const char *cudaGetErrorString(cudaError_t code)
{
    switch ((int)code) {
#define X(name, text) case name: return text;
        ERRORS(X)
#undef X
    default: return "unrecognized error code";
    }
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : fail(cudaErrorInvalidDevice); }

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) { return cudaRuntimeGetVersion(version); }
cudaError_t cudaSetDeviceFlags(unsigned flags) { return flags & 0xffff0000u ? fail(cudaErrorInvalidValue) : cudaSuccess; }

/* As a large GPU of 2022, with few multiprocessors: grids made from their number stay small. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (device != 0) {
        return fail(cudaErrorInvalidDevice);
    }
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "CUDA simulator");
    p->totalGlobalMem = cudasim_option.memory;
    p->sharedMemPerBlock = SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = SHARED_MOST;
    p->sharedMemPerMultiprocessor = SHARED_MOST + 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->totalConstMem = 65536;
    p->major = 9;
    p->multiProcessorCount = 4;
    p->l2CacheSize = 32 << 20;
    p->memoryBusWidth = 5120;
    p->concurrentKernels = p->unifiedAddressing = p->canMapHostMemory = p->streamPrioritiesSupported = 1;
    p->asyncEngineCount = 2;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    struct cudaDeviceProp p;
    cudaError_t code = cudaGetDeviceProperties(&p, device);
    if (code) {
        return code;
    }
    switch ((int)attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
    case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
    case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[2]; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = SHARED_DEFAULT; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = SHARED_MOST; break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    case cudaDevAttrComputeMode: *value = cudaComputeModeDefault; break;
    default: return fail(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *out, int size, int device)
{
    if (device != 0 || size < 13) {
        return fail(device ? cudaErrorInvalidDevice : cudaErrorInvalidValue);
    }
    snprintf(out, (size_t)size, "0000:00:00.0");
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    ENTER(CUDASIM_LAUNCH);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return cudaSuccess; /* the others only advise */
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        if (!functions[i].function || functions[i].function == function) {
            if (value < 0 || value > SHARED_MOST) {
                return fail(cudaErrorInvalidValue);
            }
            functions[i].function = function;
            functions[i].shared = value;
            return cudaSuccess;
        }
    }
    return fail(cudaErrorMemoryAllocation);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *count, const void *function, int block, size_t shared)
{
    (void)function;
    (void)shared;
    *count = block > 0 && block <= 1024 ? 2048 / block : 0;
    return *count ? cudaSuccess : fail(cudaErrorInvalidValue);
}

/* ---- streams ---- */

static struct CUstream_st *stream_of(cudaStream_t stream)
{
    return stream == 0 || stream == cudaStreamLegacy ? &cudasim_legacy : stream;
}

/* During a capture, what cannot be captured invalidates it. */
static bool breaks_capture(void)
{
    bool any = false;
    for (struct CUstream_st *s = &cudasim_legacy; s; s = s->next) {
        if (s->capture && s->origin && s->mode != cudaStreamCaptureModeRelaxed) {
            s->broken = any = true;
        }
    }
    return any;
}

/* Into the stream's capture, or its queue. Takes the step. */
static cudaError_t put(struct CUstream_st *stream, cudasim_step *step)
{
    if (stream == &cudasim_legacy) {
        for (struct CUstream_st *s = cudasim_legacy.next; s; s = s->next) {
            if (s->capture && s->blocking) {
                s->broken = true;
                cudasim_step_free(step);
                return fail(cudaErrorStreamCaptureImplicit);
            }
        }
    }
    if (!stream->capture) {
        cudasim_submit(stream, step);
        return cudaSuccess;
    }
    if (stream->broken) {
        cudasim_step_free(step);
        return fail(cudaErrorStreamCaptureInvalidated);
    }
    cudasim_step_add(&stream->capture->steps, step);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority)
{
    ENTER(CUDASIM_STREAM);
    struct CUstream_st *s = calloc(1, sizeof *s);
    if (!s) {
        return fail(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&s->steps);
    s->blocking = !(flags & cudaStreamNonBlocking);
    s->priority = priority;
    s->next = cudasim_legacy.next;
    cudasim_legacy.next = s;
    stream_count++;
    *out = s;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    return cudaStreamCreateWithPriority(out, flags, 0);
}
cudaError_t cudaStreamCreate(cudaStream_t *out) { return cudaStreamCreateWithPriority(out, cudaStreamDefault, 0); }

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    LOCK();
    struct CUstream_st **link = &cudasim_legacy.next;
    while (*link && *link != stream) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-stream", "cudaStreamDestroy of what is no stream");
        return fail(cudaErrorInvalidResourceHandle);
    }
    cudasim_drain(stream);
    *link = stream->next;
    for (struct CUevent_st *e = events; e; e = e->next) {
        if (e->stream == stream) {
            e->stream = NULL;
        }
    }
    free(stream);
    stream_count--;
    return waited();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    ENTER(CUDASIM_SYNC);
    struct CUstream_st *s = stream_of(stream);
    if (s->capture) {
        s->broken = true;
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    if (s == &cudasim_legacy) {
        for (struct CUstream_st *other = cudasim_legacy.next; other; other = other->next) {
            if (other->blocking) {
                cudasim_drain(other);
            }
        }
    }
    cudasim_drain(s);
    return waited();
}

cudaError_t cudaDeviceSynchronize(void)
{
    ENTER(CUDASIM_SYNC);
    if (breaks_capture()) {
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_drain_all();
    return waited();
}

cudaError_t cudaDeviceReset(void) { return cudaDeviceSynchronize(); }

/* A program that asks in a loop must come to an end: what was asked for runs after the answer. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    ENTER(CUDASIM_SYNC);
    bool busy = stream_of(stream)->steps.first != NULL;
    cudasim_drain(stream_of(stream));
    return busy ? cudaErrorNotReady : waited();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    ENTER(CUDASIM_LAUNCH);
    cudasim_step *step = cudasim_step_new(STEP_HOST);
    if (!step) {
        return fail(cudaErrorMemoryAllocation);
    }
    step->function = function;
    step->data = data;
    return put(stream_of(stream), step);
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    ENTER(CUDASIM_EVENT);
    struct CUevent_st *e = calloc(1, sizeof *e);
    if (!e) {
        return fail(cudaErrorMemoryAllocation);
    }
    e->timing = !(flags & cudaEventDisableTiming);
    e->references = 1;
    e->next = events;
    events = e;
    event_count++;
    *out = e;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out) { return cudaEventCreateWithFlags(out, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    LOCK();
    struct CUevent_st **link = &events;
    while (*link && *link != event) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-event", "cudaEventDestroy of what is no event");
        return fail(cudaErrorInvalidResourceHandle);
    }
    *link = event->next;
    event_count--;
    event->dead = true;
    cudasim_event_release(event);
    return cudasim_lost() ? fail(cudaErrorLaunchFailure) : cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    ENTER(CUDASIM_EVENT);
    struct CUstream_st *s = stream_of(stream);
    event->capture = s->capture;
    if (s->capture) { /* captured work runs in the order of capture, which keeps all its dependencies */
        return s->broken ? fail(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
    }
    cudasim_step *step = cudasim_step_new(STEP_RECORD);
    if (!step) {
        return fail(cudaErrorMemoryAllocation);
    }
    cudasim_drain_event(event, event->recorded); /* an earlier record in another stream comes first */
    step->event = event;
    event->references++;
    step->generation = ++event->recorded;
    event->stream = s;
    return put(s, step);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_EVENT);
    struct CUstream_st *s = stream_of(stream);
    if (event->capture) {
        if (s->capture && s->capture != event->capture) {
            s->broken = true;
            return fail(cudaErrorStreamCaptureIsolation);
        }
        s->capture = event->capture;
        return cudaSuccess;
    }
    if (s->capture) {
        s->broken = true;
        return fail(cudaErrorStreamCaptureIsolation);
    }
    cudasim_step *step = cudasim_step_new(STEP_WAIT);
    if (!step) {
        return fail(cudaErrorMemoryAllocation);
    }
    step->event = event;
    event->references++;
    step->generation = event->recorded;
    return put(s, step);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    ENTER(CUDASIM_SYNC);
    if (event->capture) {
        breaks_capture();
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_drain_event(event, event->recorded);
    return waited();
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    ENTER(CUDASIM_SYNC);
    bool busy = event->done < event->recorded;
    cudasim_drain_event(event, event->recorded);
    return busy ? cudaErrorNotReady : waited();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    ENTER(CUDASIM_EVENT);
    if (!from->timing || !to->timing || !from->recorded || !to->recorded) {
        return fail(cudaErrorInvalidResourceHandle);
    }
    if (from->done < from->recorded || to->done < to->recorded) {
        return cudaErrorNotReady;
    }
    *milliseconds = (float)(to->time - from->time);
    return cudaSuccess;
}

/* ---- memory ---- */

static cudaError_t allocate(void **out, size_t bytes, int kind)
{
    *out = NULL;
    if (!bytes) {
        return cudaSuccess;
    }
    cudasim_block *block = cudasim_block_new(bytes, kind);
    if (!block) {
        return fail(cudaErrorMemoryAllocation);
    }
    *out = block->data;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    ENTER(CUDASIM_MALLOC);
    return breaks_capture() ? fail(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_DEVICE);
}

cudaError_t cudaMallocManaged(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_MALLOC);
    return breaks_capture() ? fail(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_MANAGED);
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    ENTER(CUDASIM_HOST_MALLOC);
    return breaks_capture() ? fail(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_PINNED);
}

cudaError_t cudaMallocHost(void **out, size_t bytes) { return cudaHostAlloc(out, bytes, cudaHostAllocDefault); }

static cudaError_t release(void *p, bool pinned, const char *call)
{
    if (!p) {
        return cudaSuccess;
    }
    if (breaks_capture()) {
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    cudasim_drain_all(); /* freeing waits for the device */
    cudasim_block *block = cudasim_block_at(p, false);
    if (!block || block->data != p || (block->kind == CUDASIM_PINNED) != pinned) {
        cudasim_error("bad-free", "%s(%p): not the start of a live block of its kind", call, p);
        return fail(cudaErrorInvalidValue);
    }
    cudasim_block_free(block);
    return waited();
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
    return stream_of(stream)->capture ? fail(cudaErrorStreamCaptureUnsupported) : allocate(out, bytes, CUDASIM_DEVICE);
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
        return fail(cudaErrorInvalidValue);
    }
    cudasim_step *step = cudasim_step_new(STEP_FREE);
    if (!step) {
        return fail(cudaErrorMemoryAllocation);
    }
    step->to = p;
    return put(stream_of(stream), step);
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
        return fail(cudaErrorInvalidValue);
    }
    cudasim_step *step = cudasim_step_new(STEP_COPY);
    bool snapshot = !source && !stream->capture;
    char *kept = snapshot ? malloc(bytes * rows) : NULL;
    if (!step || (snapshot && !kept)) {
        free(step);
        free(kept);
        return fail(cudaErrorMemoryAllocation);
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
    cudaError_t code = put(stream, step);
    if (!code && !target && !stream->capture) {
        cudasim_drain(stream); /* into pageable memory: there when the call returns */
    }
    return code;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    return copy(to, 0, from, 0, bytes, 1, kind, stream_of(stream));
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    ENTER(CUDASIM_COPY);
    if (breaks_capture()) {
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    cudaError_t code = copy(to, 0, from, 0, bytes, 1, kind, &cudasim_legacy);
    cudasim_drain(&cudasim_legacy);
    return code ? code : waited();
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows,
                              enum cudaMemcpyKind kind, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    if (width > to_pitch || width > from_pitch) {
        return fail(cudaErrorInvalidValue);
    }
    return copy(to, to_pitch, from, from_pitch, width, rows, kind, stream_of(stream));
}

static cudaError_t fill(void *to, int value, size_t bytes, struct CUstream_st *stream)
{
    if (!bytes) {
        return cudaSuccess;
    }
    side(to, bytes, 1, "cudaMemset");
    cudasim_step *step = cudasim_lost() ? NULL : cudasim_step_new(STEP_FILL);
    if (!step) {
        return fail(cudasim_lost() ? cudaErrorInvalidValue : cudaErrorMemoryAllocation);
    }
    step->to = to;
    step->value = value;
    step->bytes = bytes;
    step->rows = 1;
    return put(stream, step);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    ENTER(CUDASIM_COPY);
    return fill(to, value, bytes, stream_of(stream));
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    ENTER(CUDASIM_COPY);
    return breaks_capture() ? fail(cudaErrorStreamCaptureUnsupported) : fill(to, value, bytes, &cudasim_legacy);
}

/* ---- launches ---- */

static size_t shared_limit(const void *function)
{
    for (int i = 0; i < FUNCTIONS && functions[i].function; i++) {
        if (functions[i].function == function && functions[i].shared > SHARED_DEFAULT) {
            return (size_t)functions[i].shared;
        }
    }
    return SHARED_DEFAULT;
}

static cudaError_t check_sizes(const cudasim_kernel *k)
{
    bool bad = !k->grid.x || !k->grid.y || !k->grid.z || !k->block.x || !k->block.y || !k->block.z;
    bad |= k->grid.x > 0x7fffffff || k->grid.y > 65535 || k->grid.z > 65535;
    bad |= k->block.x > 1024 || k->block.y > 1024 || k->block.z > 64;
    bad = bad || k->block.x * k->block.y * k->block.z > 1024;
    if (bad) {
        return cudaErrorInvalidConfiguration;
    }
    return k->shared > shared_limit(k->function) ? cudaErrorInvalidValue : cudaSuccess;
}

#ifdef CUDASIM_ASAN
/* A structure's word that points into host memory, or into a device block that was freed. */
static void check_struct(const cudasim_kernel *k, const char *data, size_t bytes)
{
    for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
        void *p;
        char name[64];
        void *region;
        size_t region_size;
        memcpy(&p, data + at, sizeof p);
        if ((uintptr_t)p >> 40 == 0 || (uintptr_t)p >> 47 != 0 || cudasim_block_at(p, true)) {
            continue;
        }
        const char *kind = __asan_locate_address(p, name, sizeof name, &region, &region_size);
        if (kind && (!strcmp(kind, "heap") || !strcmp(kind, "stack") || !strcmp(kind, "global"))) {
            cudasim_error("host-pointer", "launch of %s: byte %zu of a structure holds %p, of the host's %s", k->name, at, p,
                          kind);
        }
    }
}
#else
static void check_struct(const cudasim_kernel *k, const char *data, size_t bytes)
{
    (void)k;
    (void)data;
    (void)bytes;
}
#endif

static void check_arguments(const cudasim_kernel *k)
{
    for (int i = 0; i < k->pointer_count; i++) {
        if (k->pointers[i] && !cudasim_block_at(k->pointers[i], true)) {
            cudasim_error("host-pointer", "launch of %s: pointer argument %d, %p, is in no live block", k->name, i,
                          k->pointers[i]);
        }
    }
    for (int i = 0; i < k->struct_count; i++) {
        check_struct(k, k->structs[i], k->struct_bytes[i]);
    }
}

cudaError_t cudasim_launch(const cudasim_kernel *kernel, cudaStream_t stream)
{
    LOCK();
    cudaError_t code = gate(CUDASIM_LAUNCH);
    code = code ? code : check_sizes(kernel);
    if (!code) {
        check_arguments(kernel);
        code = cudasim_lost() ? cudaErrorLaunchFailure : cudaSuccess;
    }
    cudasim_step *step = code ? NULL : cudasim_step_new(STEP_KERNEL);
    cudasim_work_item *work = step ? calloc(1, sizeof *work) : NULL;
    if (!work) {
        free(step);
        kernel->destroy(kernel->closure);
        return code ? code : cudaErrorMemoryAllocation;
    }
    work->kernel = *kernel;
    work->references = 1;
    step->work = work;
    code = put(stream_of(stream), step);
    last_error = cudaSuccess; /* PLUMB_LAUNCH asks for the error, which forgets it */
    return code ? code : cudasim_lost() ? cudaErrorLaunchFailure : cudaSuccess;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    ENTER(CUDASIM_GRAPH);
    struct CUstream_st *s = stream_of(stream);
    if (s == &cudasim_legacy || s->capture) {
        return fail(s->capture ? cudaErrorIllegalState : cudaErrorStreamCaptureUnsupported);
    }
    struct CUgraph_st *graph = calloc(1, sizeof *graph);
    if (!graph) {
        return fail(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&graph->steps);
    s->capture = graph;
    s->origin = true;
    s->broken = false;
    s->mode = mode;
    return cudaSuccess;
}

static void graph_free(struct CUgraph_st *graph)
{
    cudasim_steps_clear(&graph->steps);
    free(graph);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    LOCK();
    struct CUstream_st *s = stream_of(stream);
    *out = NULL;
    if (!s->capture || !s->origin) {
        return fail(s->capture ? cudaErrorStreamCaptureUnmatched : cudaErrorIllegalState);
    }
    struct CUgraph_st *graph = s->capture;
    cudaError_t code = gate(CUDASIM_GRAPH); /* the capture ends even when this call fails */
    for (struct CUstream_st *each = &cudasim_legacy; each; each = each->next) {
        if (each->capture == graph) {
            code = !code && each->broken ? cudaErrorStreamCaptureInvalidated : code;
            each->capture = NULL;
            each->origin = each->broken = false;
        }
    }
    for (struct CUevent_st *e = events; e; e = e->next) {
        e->capture = e->capture == graph ? NULL : e->capture;
    }
    if (code) {
        graph_free(graph);
        return fail(code);
    }
    graph->next = graphs;
    graphs = graph;
    graph_count++;
    *out = graph;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    LOCK();
    const struct CUstream_st *s = stream_of(stream);
    *status = !s->capture ? cudaStreamCaptureStatusNone
              : s->broken ? cudaStreamCaptureStatusInvalidated
                          : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    LOCK();
    if (nodes) { /* only their number is known */
        return fail(cudaErrorInvalidValue);
    }
    *count = graph->steps.count;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    ENTER(CUDASIM_GRAPH);
    struct CUgraphExec_st *exec = calloc(1, sizeof *exec);
    if (!exec) {
        return fail(cudaErrorMemoryAllocation);
    }
    cudasim_steps_start(&exec->graph.steps);
    if (!cudasim_steps_copy(&exec->graph.steps, &graph->steps)) {
        cudasim_steps_clear(&exec->graph.steps);
        free(exec);
        return fail(cudaErrorMemoryAllocation);
    }
    graph_count++;
    *out = exec;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags)
{
    return cudaGraphInstantiate(out, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    (void)exec;
    (void)stream;
    ENTER(CUDASIM_GRAPH);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    ENTER(CUDASIM_LAUNCH);
    cudasim_steps steps;
    cudasim_steps_start(&steps);
    if (!cudasim_steps_copy(&steps, &exec->graph.steps)) {
        cudasim_steps_clear(&steps);
        return fail(cudaErrorMemoryAllocation);
    }
    cudaError_t code = cudaSuccess;
    for (cudasim_step *step = steps.first, *next; step; step = next) {
        next = step->next;
        cudaError_t one = put(stream_of(stream), step);
        code = code ? code : one;
    }
    return code ? code : waited();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    LOCK();
    cudasim_steps_clear(&exec->graph.steps);
    free(exec);
    graph_count--;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    LOCK();
    struct CUgraph_st **link = &graphs;
    while (*link && *link != graph) {
        link = &(*link)->next;
    }
    if (!*link) {
        cudasim_error("bad-graph", "cudaGraphDestroy of what is no graph");
        return fail(cudaErrorInvalidValue);
    }
    *link = graph->next;
    graph_free(graph);
    graph_count--;
    return cudaSuccess;
}
