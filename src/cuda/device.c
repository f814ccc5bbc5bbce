/* An NVIDIA GPU as a device. One stream of its own orders all work of a context; nothing uses the default stream.
 *
 * Decided here: memory comes straight from cudaMalloc, because the executor allocates whole arenas and keeps them, and
 * an allocation of its own is what memory checkers can watch. Host memory is copied through two pinned slots in turn,
 * so that an upload returns before the copy has ended and callers need not know of pinned memory. After an error that
 * loses the process's CUDA context nothing more is asked of the GPU. */
#include "cuda/cuda.h"

#include <stdio.h>

enum { SLOT_BYTES = 4 << 20 };

extern const plumb_device_table plumb_device_cuda;

static struct plumb_cuda *cuda_of(plumb_device *device)
{
    return (struct plumb_cuda *)device;
}

/* Contexts of one thread may lie on different GPUs: each call says which is meant. */
plumb_status plumb_cuda_enter(struct plumb_cuda *cuda)
{
    if (cuda->lost) {
        return plumb_fail(cuda->base.context, PLUMB_DEVICE_ERROR,
                          "cuda: the device was lost by an earlier error (%s); it needs a new process", cuda->lost_by);
    }
    return plumb_cuda_fail(cuda, "choosing the device", cudaSetDevice(cuda->index));
}

/* ---- opening and closing ---- */

/* "", "0", "1", ...: which GPU. */
static plumb_status parse(plumb_context *context, const char *argument, int *index)
{
    char *end = NULL;
    long number = argument ? strtol(argument, &end, 10) : 0;
    if (argument && (*argument < '0' || *argument > '9' || *end || number > 1023)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "device: cuda:N is expected, N being a GPU's number, but got '%.100s'",
                          argument);
    }
    *index = (int)number;
    return PLUMB_OK;
}

/* What the runtime's own message leaves open: is there no driver, or one that is too old? */
static void explain(cudaError_t code, char *text, size_t room)
{
    int driver = 0, runtime = 0;
    if (code == cudaErrorInsufficientDriver && cudaDriverGetVersion(&driver) == cudaSuccess &&
        cudaRuntimeGetVersion(&runtime) == cudaSuccess) {
        if (driver == 0) {
            snprintf(text, room, "no NVIDIA driver is installed (libcuda.so.1)");
        } else {
            snprintf(text, room, "the NVIDIA driver is too old: it is for CUDA %d.%d, this build needs %d.%d", driver / 1000,
                     driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
        }
    } else if (code == cudaErrorNoDevice) {
        snprintf(text, room, "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES set?)");
    } else {
        snprintf(text, room, "%s", cudaGetErrorString(code));
    }
}

static plumb_status find_gpu(plumb_context *context, int index)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code == cudaSuccess && index >= count) {
        return plumb_fail(context, PLUMB_DEVICE_ERROR, "device: cuda:%d: no CUDA device of that number, there %s %d", index,
                          count == 1 ? "is" : "are", count);
    }
    if (code == cudaSuccess) {
        code = cudaSetDevice(index);
    }
    if (code != cudaSuccess) {
        char why[160];
        explain(code, why, sizeof why);
        cudaGetLastError();
        return plumb_fail(context, PLUMB_DEVICE_ERROR, "device: cuda:%d: no CUDA device: %s (%s)", index, why,
                          cudaGetErrorName(code));
    }
    return PLUMB_OK;
}

static plumb_status make_parts(struct plumb_cuda *cuda)
{
    cudaError_t code = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    for (int i = 0; i < 2 && code == cudaSuccess; i++) {
        code = cudaEventCreateWithFlags(&cuda->slot_free[i], cudaEventDisableTiming);
    }
    if (code == cudaSuccess) {
        code = cudaHostAlloc((void **)&cuda->staging, 2 * SLOT_BYTES, cudaHostAllocDefault);
    }
    if (code == cudaSuccess) {
        code = cudaHostAlloc((void **)&cuda->fault_host, sizeof *cuda->fault_host, cudaHostAllocDefault);
    }
    if (code == cudaSuccess) {
        memset(cuda->fault_host, 0, sizeof *cuda->fault_host);
        code = cudaMalloc((void **)&cuda->fault, sizeof *cuda->fault);
    }
    if (code == cudaSuccess) {
        code = cudaMemsetAsync(cuda->fault, 0, sizeof *cuda->fault, cuda->stream);
    }
    return plumb_cuda_fail(cuda, "opening the device", code);
}

/* Asked once: the answer never changes and takes milliseconds. */
static plumb_status describe(struct plumb_cuda *cuda)
{
    struct cudaDeviceProp properties;
    cudaError_t code = cudaGetDeviceProperties(&properties, cuda->index);
    if (code == cudaSuccess) {
        snprintf(cuda->info.name, sizeof cuda->info.name, "%.60s, sm_%d%d, %d processors", properties.name,
                 properties.major, properties.minor, properties.multiProcessorCount);
        cuda->info.memory_total = (int64_t)properties.totalGlobalMem;
        cuda->processors = properties.multiProcessorCount;
        cuda->shared_most = (int64_t)properties.sharedMemPerBlockOptin;
    }
    return plumb_cuda_fail(cuda, "asking for the device's properties", code);
}

/* Also of a device half made, and of a lost one: then the calls fail, which no longer matters. */
static void cuda_close(plumb_device *device)
{
    struct plumb_cuda *cuda = cuda_of(device);
    cudaSetDevice(cuda->index);
    if (cuda->stream) {
        cudaStreamSynchronize(cuda->stream);
    }
    plumb_cuda_vendors_close(cuda);
    while (cuda->blocks) {
        device->table->free(device, cuda->blocks->memory);
    }
    cudaFree(cuda->fault);
    cudaFreeHost(cuda->fault_host);
    cudaFreeHost(cuda->staging);
    for (int i = 0; i < 2; i++) {
        if (cuda->slot_free[i]) {
            cudaEventDestroy(cuda->slot_free[i]);
        }
    }
    if (cuda->stream) {
        cudaStreamDestroy(cuda->stream);
    }
    cudaGetLastError();
    plumb_free(device->context, cuda);
}

static plumb_status cuda_open(plumb_context *context, const char *argument, plumb_device **device)
{
    int index = 0;
    plumb_status status = parse(context, argument, &index);
    if (status == PLUMB_OK) {
        status = find_gpu(context, index);
    }
    struct plumb_cuda *cuda = status == PLUMB_OK ? plumb_zalloc(context, sizeof *cuda) : NULL;
    if (!cuda) {
        return status == PLUMB_OK ? PLUMB_FAILED : status;
    }
    cuda->base.table = &plumb_device_cuda;
    cuda->base.context = context;
    cuda->index = index;
    status = make_parts(cuda);
    if (status == PLUMB_OK) {
        status = describe(cuda);
    }
    if (status != PLUMB_OK) {
        cuda_close(&cuda->base);
        return status;
    }
    *device = &cuda->base;
    return PLUMB_OK;
}

static plumb_status cuda_info(plumb_device *device, plumb_device_info *info)
{
    *info = cuda_of(device)->info;
    return PLUMB_OK;
}

/* ---- memory ---- */

static void count_bytes(plumb_context *context, int64_t bytes)
{
    context->memory_now += bytes;
    if (context->memory_now > context->memory_peak) {
        context->memory_peak = context->memory_now;
    }
}

static plumb_status cuda_alloc(plumb_device *device, size_t bytes, void **memory)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    struct plumb_cuda_block *block = status == PLUMB_OK ? plumb_alloc(device->context, sizeof *block) : NULL;
    if (!block) {
        return status == PLUMB_OK ? PLUMB_FAILED : status;
    }
    block->bytes = bytes ? bytes : 1; /* nothing has an address too */
    cudaError_t code = cudaMalloc(&block->memory, block->bytes);
    if (code != cudaSuccess) {
        plumb_free(device->context, block);
        if (code == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            return plumb_fail(device->context, PLUMB_FAILED, "cuda: out of device memory: %zu bytes wanted, %lld held",
                              bytes, (long long)device->context->memory_now);
        }
        return plumb_cuda_fail(cuda, "allocating", code);
    }
    count_bytes(device->context, (int64_t)block->bytes);
    block->next = cuda->blocks;
    cuda->blocks = block;
    *memory = block->memory;
    return PLUMB_OK;
}

/* What is freed may still be in use by work that was queued: it is waited for. */
static void cuda_free(plumb_device *device, void *memory)
{
    struct plumb_cuda *cuda = cuda_of(device);
    for (struct plumb_cuda_block **at = &cuda->blocks; memory && *at; at = &(*at)->next) {
        struct plumb_cuda_block *block = *at;
        if (block->memory == memory) {
            *at = block->next;
            cudaSetDevice(cuda->index);
            cudaStreamSynchronize(cuda->stream);
            cudaFree(memory);
            count_bytes(device->context, -(int64_t)block->bytes);
            plumb_free(device->context, block);
            return;
        }
    }
}

/* The slot whose turn it is, once what was last copied from it has arrived. */
static cudaError_t next_slot(struct plumb_cuda *cuda, unsigned char **slot)
{
    cuda->slot = 1 - cuda->slot;
    *slot = cuda->staging + (size_t)cuda->slot * SLOT_BYTES;
    return cudaEventSynchronize(cuda->slot_free[cuda->slot]);
}

static plumb_status cuda_upload(plumb_device *device, void *to, const void *from, size_t bytes)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    cudaError_t code = cudaSuccess;
    for (size_t done = 0; status == PLUMB_OK && code == cudaSuccess && done < bytes; done += SLOT_BYTES) {
        size_t part = bytes - done < SLOT_BYTES ? bytes - done : SLOT_BYTES;
        unsigned char *slot;
        code = next_slot(cuda, &slot);
        if (code == cudaSuccess) {
            memcpy(slot, (const char *)from + done, part);
            code = cudaMemcpyAsync((char *)to + done, slot, part, cudaMemcpyHostToDevice, cuda->stream);
        }
        if (code == cudaSuccess) {
            code = cudaEventRecord(cuda->slot_free[cuda->slot], cuda->stream);
        }
    }
    return status == PLUMB_OK ? plumb_cuda_fail(cuda, "uploading", code) : status;
}

/* Waits for the stream; what kernels found wrong comes along. */
static plumb_status finish(struct plumb_cuda *cuda, const char *what)
{
    cudaError_t code = cudaMemcpyAsync(cuda->fault_host, cuda->fault, sizeof *cuda->fault, cudaMemcpyDeviceToHost,
                                       cuda->stream);
    if (code == cudaSuccess) {
        code = cudaStreamSynchronize(cuda->stream);
    }
    return code == cudaSuccess ? plumb_cuda_fault_told(cuda) : plumb_cuda_fail(cuda, what, code);
}

static plumb_status cuda_download(plumb_device *device, void *to, const void *from, size_t bytes)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    for (size_t done = 0; status == PLUMB_OK && done < bytes; done += SLOT_BYTES) {
        size_t part = bytes - done < SLOT_BYTES ? bytes - done : SLOT_BYTES;
        unsigned char *slot;
        cudaError_t code = next_slot(cuda, &slot);
        if (code == cudaSuccess) {
            code = cudaMemcpyAsync(slot, (const char *)from + done, part, cudaMemcpyDeviceToHost, cuda->stream);
        }
        status = code == cudaSuccess ? finish(cuda, "downloading") : plumb_cuda_fail(cuda, "downloading", code);
        if (status == PLUMB_OK) {
            memcpy((char *)to + done, slot, part);
        }
    }
    return status;
}

static plumb_status cuda_copy(plumb_device *device, void *to, const void *from, size_t bytes)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    if (status == PLUMB_OK && bytes > 0) {
        status = plumb_cuda_fail(cuda, "copying",
                                 cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream));
    }
    return status;
}

static plumb_status cuda_fill(plumb_device *device, void *to, int byte, size_t bytes)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    if (status == PLUMB_OK && bytes > 0) {
        status = plumb_cuda_fail(cuda, "filling", cudaMemsetAsync(to, byte, bytes, cuda->stream));
    }
    return status;
}

static plumb_status cuda_sync(plumb_device *device)
{
    struct plumb_cuda *cuda = cuda_of(device);
    plumb_status status = plumb_cuda_enter(cuda);
    return status == PLUMB_OK ? finish(cuda, "waiting for the stream") : status;
}

/* Threads that run ops are the caller's: the GPU must be chosen in each. */
static plumb_status cuda_before_run(plumb_device *device, const char *op, bool *skip)
{
    (void)op;
    *skip = false;
    return plumb_cuda_enter(cuda_of(device));
}

/* ---- marks ---- */

static plumb_status cuda_mark(plumb_device *device, void **event)
{
    struct plumb_cuda *cuda = cuda_of(device);
    cudaEvent_t mark = NULL;
    plumb_status status = plumb_cuda_enter(cuda);
    if (status == PLUMB_OK) {
        cudaError_t code = cudaEventCreate(&mark);
        if (code == cudaSuccess) {
            code = cudaEventRecord(mark, cuda->stream);
        }
        status = plumb_cuda_fail(cuda, "marking a time", code);
    }
    if (status != PLUMB_OK && mark) {
        cudaEventDestroy(mark);
        mark = NULL;
    }
    *event = mark;
    return status;
}

static plumb_status cuda_elapsed(plumb_device *device, void *first, void *second, double *seconds)
{
    struct plumb_cuda *cuda = cuda_of(device);
    float milliseconds = 0;
    plumb_status status = plumb_cuda_enter(cuda);
    if (status == PLUMB_OK) {
        cudaError_t code = cudaEventSynchronize(second);
        if (code == cudaSuccess) {
            code = cudaEventElapsedTime(&milliseconds, first, second);
        }
        status = plumb_cuda_fail(cuda, "measuring a time", code);
    }
    *seconds = (double)milliseconds * 1e-3;
    return status;
}

static void cuda_mark_free(plumb_device *device, void *event)
{
    (void)device;
    if (event) {
        cudaEventDestroy(event);
    }
}

const plumb_device_table plumb_device_cuda = {
    .abi = PLUMB_DEVICE_ABI,
    .kind = "cuda",
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .sync = cuda_sync,
    .before_run = cuda_before_run,
    .capture_begin = plumb_cuda_capture_begin,
    .capture_end = plumb_cuda_capture_end,
    .replay = plumb_cuda_replay,
    .capture_free = plumb_cuda_capture_free,
    .mark = cuda_mark,
    .elapsed = cuda_elapsed,
    .mark_free = cuda_mark_free,
    .library = plumb_cuda_library,
};
