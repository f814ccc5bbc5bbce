/* The CUDA runtime's calls: control from tests, errors, the device, launches; streams.c, copies.c and graphs.c have the
 * others. They are compiled against the toolkit's own header, so that every signature is checked, and linked in place of
 * the library. What a real runtime would leave undefined is a fault here: copies beyond a block, pointers of the wrong
 * side, memory freed twice. */
#include "calls.h"

enum { FUNCTIONS = 256, SHARED_DEFAULT = 48 << 10, SHARED_MOST = 227 << 10 };

pthread_mutex_t cudasim_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
_Thread_local cudaError_t cudasim_last_error;
struct cudasim_counts cudasim_counts;
static int64_t fail_in[CUDASIM_CLASSES];
static bool failed;
static struct {
    const void *function;
    int shared;
} functions[FUNCTIONS];

void cudasim_unlock(const int *held)
{
    (void)held;
    pthread_mutex_unlock(&cudasim_mutex);
}

cudaError_t cudasim_return(cudaError_t code)
{
    cudasim_last_error = code;
    return code;
}

static bool hit(enum cudasim_class which)
{
    return fail_in[which] > 0 && --fail_in[which] == 0;
}

cudaError_t cudasim_gate(enum cudasim_class which)
{
    static const cudaError_t usual[CUDASIM_CLASSES] = {
        [CUDASIM_MALLOC] = cudaErrorMemoryAllocation,   [CUDASIM_HOST_MALLOC] = cudaErrorMemoryAllocation,
        [CUDASIM_COPY] = cudaErrorInvalidValue,         [CUDASIM_LAUNCH] = cudaErrorLaunchOutOfResources,
        [CUDASIM_STREAM] = cudaErrorInvalidValue,       [CUDASIM_EVENT] = cudaErrorInvalidResourceHandle,
        [CUDASIM_GRAPH] = cudaErrorMemoryAllocation,    [CUDASIM_SYNC] = cudaErrorUnknown,
        [CUDASIM_VENDOR] = cudaErrorUnknown,
    };
    if (cudasim_lost()) {
        return cudaErrorLaunchFailure;
    }
    bool any = hit(CUDASIM_ANY), one = hit(which);
    failed |= any || one;
    return any || one ? usual[which] : cudaSuccess;
}

cudaError_t cudasim_waited(void)
{
    return cudasim_lost() ? cudasim_return(cudaErrorLaunchFailure) : cudaSuccess;
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
    cudasim_last_error = cudaSuccess;
    cudasim_random_start(cudasim_option.seed);
}

cudasim_alive cudasim_count(void)
{
    LOCK();
    cudasim_alive alive = {.streams = cudasim_counts.streams, .events = cudasim_counts.events, .graphs = cudasim_counts.graphs};
    cudasim_count_blocks(&alive);
    return alive;
}

/* ---- errors, the device ---- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t code = cudasim_lost() ? cudaErrorLaunchFailure : cudasim_last_error;
    cudasim_last_error = cudaSuccess;
    return code;
}

cudaError_t cudaPeekAtLastError(void) { return cudasim_lost() ? cudaErrorLaunchFailure : cudasim_last_error; }

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

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudasim_return(cudaErrorInvalidDevice); }

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
cudaError_t cudaSetDeviceFlags(unsigned flags) { return flags & 0xffff0000u ? cudasim_return(cudaErrorInvalidValue) : cudaSuccess; }

/* As a large GPU of 2022, with few multiprocessors: grids made from their number stay small. */
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    if (device != 0) {
        return cudasim_return(cudaErrorInvalidDevice);
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
    default: return cudasim_return(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *out, int size, int device)
{
    if (device != 0 || size < 13) {
        return cudasim_return(device ? cudaErrorInvalidDevice : cudaErrorInvalidValue);
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
                return cudasim_return(cudaErrorInvalidValue);
            }
            functions[i].function = function;
            functions[i].shared = value;
            return cudaSuccess;
        }
    }
    return cudasim_return(cudaErrorMemoryAllocation);
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *count, const void *function, int block, size_t shared)
{
    (void)function;
    (void)shared;
    *count = block > 0 && block <= 1024 ? 2048 / block : 0;
    return *count ? cudaSuccess : cudasim_return(cudaErrorInvalidValue);
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
/* A structure's word that points into host memory, or into a device block that was freed. A small i32 (a rank, a flag)
 * beside padding in which the upper half of some address was left looks like the beginning of a region of the heap; no
 * allocation lies there, so only what is inside of one counts. */
static void check_struct(const cudasim_kernel *k, const char *data, size_t bytes)
{
    for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
        void *p;
        char name[64];
        void *region = NULL;
        size_t region_size = 0;
        memcpy(&p, data + at, sizeof p);
        uint32_t low = (uint32_t)(uintptr_t)p; /* 0: nothing begins at a multiple of 4 GiB */
        if (low == 0 || (uintptr_t)p >> 40 == 0 || (uintptr_t)p >> 47 != 0 || cudasim_block_at(p, true)) {
            continue;
        }
        const char *kind = __asan_locate_address(p, name, sizeof name, &region, &region_size);
        bool inside = (uintptr_t)p >= (uintptr_t)region && (uintptr_t)p - (uintptr_t)region < region_size;
        if (kind && inside && (!strcmp(kind, "heap") || !strcmp(kind, "stack") || !strcmp(kind, "global"))) {
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
    cudaError_t code = cudasim_gate(CUDASIM_LAUNCH);
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
    code = cudasim_put(cudasim_stream_of(stream), step);
    cudasim_last_error = cudaSuccess; /* PLUMB_LAUNCH asks for the error, which forgets it */
    return code ? code : cudasim_lost() ? cudaErrorLaunchFailure : cudaSuccess;
}
