/* cuDNN, opened: version 9, whose backend API cudnn_abi.h declares. A handle needs a GPU and is bound to the device's
 * stream once; the library's own workspace is never used, plans have theirs. */
#include "cuda/cudnn.h"

#include <stdio.h>

static const char *const names[] = {"libcudnn.so.9", NULL};

#define SYMBOL(name) PLUMB_CUDA_SYMBOL(struct plumb_cudnn_api, name)
static const struct plumb_cuda_symbol symbols[] = {
    SYMBOL(cudnnGetVersion),
    SYMBOL(cudnnGetErrorString),
    SYMBOL(cudnnCreate),
    SYMBOL(cudnnDestroy),
    SYMBOL(cudnnSetStream),
    SYMBOL(cudnnBackendCreateDescriptor),
    SYMBOL(cudnnBackendDestroyDescriptor),
    SYMBOL(cudnnBackendFinalize),
    SYMBOL(cudnnBackendSetAttribute),
    SYMBOL(cudnnBackendGetAttribute),
    SYMBOL(cudnnBackendExecute),
};

static void close_cudnn(struct plumb_cuda *cuda, void *state)
{
    plumb_cudnn *library = state;
    plumb_plans_close(&library->plans);
    plumb_cuda_cache_close(&library->cache);
    if (library->handle) {
        library->api.cudnnDestroy(library->handle);
    }
    plumb_cuda_library_close(&library->library);
    plumb_free(cuda->base.context, library);
}

static bool open_handle(struct plumb_cuda *cuda, plumb_cudnn *library, char *text, size_t room)
{
    char identity[256], number[48];
    size_t version = library->api.cudnnGetVersion();
    library->version = version;
    snprintf(number, sizeof number, "%zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
    if (version < CD_OLDEST || version >= CD_NEXT) {
        snprintf(text, room, "%s is version %s, but 9 is needed", library->library.file,
                 version < CD_OLDEST ? "8 or older" : number);
        return false;
    }
    unsigned status = library->api.cudnnCreate(&library->handle);
    if (status != CD_SUCCESS) {
        library->handle = NULL;
    } else {
        status = library->api.cudnnSetStream(library->handle, cuda->stream);
    }
    if (status != CD_SUCCESS) {
        snprintf(text, room, "%s %s does not start on this device: %.80s", library->library.file, number,
                 library->api.cudnnGetErrorString(status));
        return false;
    }
    snprintf(text, room, "%s, %s", number, library->library.file);
    snprintf(identity, sizeof identity, "cudnn %zu, %s", version, cuda->info.name);
    plumb_cuda_cache_open(&library->cache, library->context, "cudnn", identity);
    return true;
}

static void *open_cudnn(struct plumb_cuda *cuda, char *text, size_t room)
{
    plumb_cudnn *library = plumb_zalloc(cuda->base.context, sizeof *library);
    if (!library) {
        snprintf(text, room, "out of memory");
        return NULL;
    }
    library->context = library->cache.context = cuda->base.context;
    plumb_plans_open(&library->plans, library->context, plumb_cudnn_plan_free, library);
    if (plumb_cuda_library_open(&library->library, names, symbols, (int)(sizeof symbols / sizeof *symbols), &library->api,
                                text, room) &&
        open_handle(cuda, library, text, room)) {
        return library;
    }
    close_cudnn(cuda, library);
    return NULL;
}

const plumb_cuda_vendor plumb_cuda_vendor_cudnn = {
    .name = "cudnn",
    .open = open_cudnn,
    .close = close_cudnn,
};
