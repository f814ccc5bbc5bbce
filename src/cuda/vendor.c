/* The vendors' libraries of a device: opened when the first op asks, so that programs that use none do not wait for
 * hundreds of megabytes to be mapped; and the list of them that `plumb doctor` tells. */
#include "cuda/vendor.h"

static const plumb_cuda_vendor *const vendors[PLUMB_CUDA_VENDORS] = {
    [PLUMB_CUDA_CUBLASLT] = &plumb_cuda_vendor_cublaslt,
    [PLUMB_CUDA_CUDNN] = &plumb_cuda_vendor_cudnn,
};

void *plumb_cuda_vendor_state(struct plumb_cuda *cuda, enum plumb_cuda_vendor_index which)
{
    struct plumb_cuda_vendor_slot *slot = &cuda->vendor[which];
    if (!slot->tried && !cuda->lost) {
        plumb_context *context = cuda->base.context;
        bool clean = context->status == PLUMB_OK;
        slot->tried = true;
        cudaSetDevice(cuda->index); /* the library takes the GPU that is current */
        slot->state = vendors[which]->open(cuda, slot->text, sizeof slot->text);
        plumb_log_line(context, PLUMB_LOG_DEBUG, "cuda: %s: %s", vendors[which]->name, slot->text);
        if (clean) {
            plumb_clear_error(context);
        }
    }
    return slot->state;
}

plumb_status plumb_cuda_vendor_check(const plumb_call *call, const char *function, int status)
{
    cudaError_t code = status ? cudaGetLastError() : cudaSuccess;
    plumb_status told = plumb_cuda_check(call, function, code);
    if (!status || told != PLUMB_OK) {
        return told;
    }
    return plumb_call_fail(call, PLUMB_DEVICE_ERROR, "%s returned status %d", function, status);
}

void plumb_cuda_vendors_close(struct plumb_cuda *cuda)
{
    for (int i = 0; i < PLUMB_CUDA_VENDORS; i++) {
        if (cuda->vendor[i].state) {
            vendors[i]->close(cuda, cuda->vendor[i].state);
        }
        cuda->vendor[i].state = NULL;
    }
}

bool plumb_cuda_library(plumb_device *device, int index, plumb_device_library *library)
{
    struct plumb_cuda *cuda = (struct plumb_cuda *)device;
    if (index < 0 || index >= PLUMB_CUDA_VENDORS) {
        return false;
    }
    library->name = vendors[index]->name;
    library->used = plumb_cuda_vendor_state(cuda, (enum plumb_cuda_vendor_index)index) != NULL;
    memcpy(library->text, cuda->vendor[index].text, sizeof library->text);
    return true;
}
