/* cuBLASLt, opened: from version 12 on, whose interface cublaslt_abi.h declares. The one of the CUDA version that Plumb was
 * built with is preferred, the other serves too. */
#include "cuda/cublaslt.h"

#include <stdio.h>

enum { OLDEST = 120000 };

#if CUDART_VERSION >= 13000
static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
#else
static const char *const names[] = {"libcublasLt.so.12", "libcublasLt.so.13", NULL};
#endif

#define SYMBOL(name, result, parameters) PLUMB_CUDA_SYMBOL(plumb_lt_functions, name),
static const struct plumb_cuda_symbol symbols[] = {PLUMB_LT_FUNCTIONS(SYMBOL)};
#undef SYMBOL

static void close_cublaslt(struct plumb_cuda *cuda, void *state)
{
    struct plumb_cublaslt *lt = state;
    plumb_plans_close(&lt->plans);
    if (lt->handle) {
        lt->f.cublasLtDestroy(lt->handle);
    }
    plumb_cuda_cache_close(&lt->cache);
    plumb_cuda_library_close(&lt->library);
    plumb_free(cuda->base.context, lt);
}

static bool open_handle(struct plumb_cuda *cuda, struct plumb_cublaslt *lt, char *text, size_t room)
{
    char identity[256];
    size_t version = lt->f.cublasLtGetVersion();
    if (version < OLDEST) {
        snprintf(text, room, "%s is version %zu, too old: at least %d is needed", lt->library.file, version, OLDEST);
        return false;
    }
    plumb_lt_status status = lt->f.cublasLtCreate(&lt->handle);
    if (status != PLUMB_LT_SUCCESS) {
        lt->handle = NULL;
        snprintf(text, room, "%s %zu.%zu.%zu does not start on this device: status %d", lt->library.file, version / 10000,
                 version / 100 % 100, version % 100, status);
        return false;
    }
    snprintf(text, room, "%zu.%zu.%zu, %s", version / 10000, version / 100 % 100, version % 100, lt->library.file);
    snprintf(identity, sizeof identity, "cublaslt %zu, %s", version, cuda->info.name);
    plumb_cuda_cache_open(&lt->cache, cuda->base.context, "cublaslt", identity);
    return true;
}

static void *open_cublaslt(struct plumb_cuda *cuda, char *text, size_t room)
{
    struct plumb_cublaslt *lt = plumb_zalloc(cuda->base.context, sizeof *lt);
    if (!lt) {
        snprintf(text, room, "out of memory");
        return NULL;
    }
    lt->cache.context = cuda->base.context;
    plumb_plans_open(&lt->plans, cuda->base.context, plumb_lt_plan_free, lt);
    if (plumb_cuda_library_open(&lt->library, names, symbols, (int)(sizeof symbols / sizeof *symbols), &lt->f, text,
                                room) &&
        open_handle(cuda, lt, text, room)) {
        return lt;
    }
    close_cublaslt(cuda, lt);
    return NULL;
}

const plumb_cuda_vendor plumb_cuda_vendor_cublaslt = {
    .name = "cublaslt",
    .open = open_cublaslt,
    .close = close_cublaslt,
};
