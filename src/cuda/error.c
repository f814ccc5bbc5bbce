/* What a CUDA error means for the caller, and what is said about it. Errors come in two classes: those of one call (no
 * memory, a bad launch), after which the device works on, and those that lose the process's CUDA context (a kernel
 * that ran wild, a defect of the hardware), after which every call fails; then the device is marked lost and asked
 * nothing more. As an error may belong to an earlier launch, the last ones are named. */
#include "cuda/cuda.h"

#include <stdio.h>

static bool is_sticky(cudaError_t code)
{
    switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
#if CUDART_VERSION >= 12080 /* where it first is known */
    case cudaErrorContained:
#endif
    case cudaErrorDevicesUnavailable:
    case cudaErrorUnknown: return true;
    default: return false;
    }
}

static void tell_launches(const struct plumb_cuda *cuda, struct plumb_text *text)
{
    char shape[128];
    uint64_t count = cuda->launches < PLUMB_CUDA_LAUNCHES ? cuda->launches : PLUMB_CUDA_LAUNCHES;
    for (uint64_t i = 1; i <= count; i++) {
        const struct plumb_cuda_launch *l = &cuda->launch[(cuda->launches - i) % PLUMB_CUDA_LAUNCHES];
        plumb_text_add(text, "%s %s%s%s%s -> %s %s (%s)", i == 1 ? "; launched last:" : ",", l->op, l->name[0] ? " '" : "",
                       l->name, l->name[0] ? "'" : "", plumb_dtype_name(l->dtype),
                       plumb_shape_text(&l->shape, shape, sizeof shape), l->kernel);
    }
}

plumb_status plumb_cuda_fail(struct plumb_cuda *cuda, const char *what, cudaError_t code)
{
    if (code == cudaSuccess) {
        return PLUMB_OK;
    }
    plumb_context *context = cuda->base.context;
    cudaGetLastError(); /* an error of one call is not to be reported again by the next */
    if (code == cudaErrorMemoryAllocation) {
        return plumb_fail(context, PLUMB_FAILED, "cuda: %s: out of device memory", what);
    }
    struct plumb_text text = {.context = context};
    tell_launches(cuda, &text);
    bool sticky = is_sticky(code);
    if (sticky && !cuda->lost) {
        snprintf(cuda->lost_by, sizeof cuda->lost_by, "%s: %s", what, cudaGetErrorString(code));
        cuda->lost = true;
    }
    char *launches = plumb_text_take(&text);
    plumb_fail(context, PLUMB_DEVICE_ERROR, "cuda: %s: %s (%s)%s%s", what, cudaGetErrorString(code),
               cudaGetErrorName(code), sticky ? "; the device is lost to this process" : "", launches ? launches : "");
    plumb_free(context, launches);
    return PLUMB_DEVICE_ERROR;
}

static void remember(struct plumb_cuda *cuda, const plumb_call *call, const char *kernel)
{
    struct plumb_cuda_launch *l = &cuda->launch[cuda->launches++ % PLUMB_CUDA_LAUNCHES];
    l->op = call->op->name;
    l->kernel = kernel;
    l->name[0] = '\0';
    if (call->name) {
        strncpy(l->name, call->name, sizeof l->name - 1);
        l->name[sizeof l->name - 1] = '\0';
    }
    l->dtype = call->out[0].dtype;
    l->shape.rank = call->out[0].rank;
    memcpy(l->shape.dim, call->out[0].dim, sizeof l->shape.dim);
}

plumb_status plumb_cuda_check(const plumb_call *call, const char *kernel, cudaError_t code)
{
    struct plumb_cuda *cuda = plumb_cuda_of(call);
    remember(cuda, call, kernel);
    return code == cudaSuccess ? PLUMB_OK : plumb_cuda_fail(cuda, kernel, code);
}

/* ---- values that kernels watch ---- */

pk_fault *plumb_cuda_fault(const plumb_call *call)
{
    return plumb_cuda_of(call)->fault;
}

int plumb_cuda_watch(const plumb_call *call, const char *what)
{
    struct plumb_cuda *cuda = plumb_cuda_of(call);
    const char *name = call->name ? call->name : "";
    for (int i = 0; i < cuda->watches; i++) {
        struct plumb_cuda_watch *w = &cuda->watch[i];
        if (w->op == call->op->name && w->what == what && strncmp(w->name, name, sizeof w->name - 1) == 0) {
            return i;
        }
    }
    if (cuda->watches == PLUMB_CUDA_WATCHES) {
        return PLUMB_CUDA_WATCHES - 1; /* the last name stands for all that found no place */
    }
    struct plumb_cuda_watch *w = &cuda->watch[cuda->watches];
    w->op = call->op->name;
    w->what = what;
    strncpy(w->name, name, sizeof w->name - 1);
    return cuda->watches++;
}

plumb_status plumb_cuda_fault_told(struct plumb_cuda *cuda)
{
    pk_fault found = *cuda->fault_host;
    if (found.code == 0) {
        return PLUMB_OK;
    }
    cuda->fault_host->code = 0;
    cudaError_t code = cudaMemsetAsync(cuda->fault, 0, sizeof *cuda->fault, cuda->stream);
    if (code != cudaSuccess) {
        return plumb_cuda_fail(cuda, "clearing a fault", code);
    }
    bool known = found.watch >= 0 && found.watch < cuda->watches;
    const struct plumb_cuda_watch *w = &cuda->watch[known ? found.watch : 0];
    return plumb_fail(cuda->base.context, PLUMB_BAD_INPUT, "%s%s%s%s: %s %lld at %lld is outside [%lld, %lld)", w->op,
                      w->name[0] ? " '" : "", w->name, w->name[0] ? "'" : "", w->what, (long long)found.value,
                      (long long)found.at, (long long)found.low, (long long)found.high);
}
