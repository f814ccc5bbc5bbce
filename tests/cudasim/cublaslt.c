/* A fake of cuBLASLt: see fakes.h. */
#include "fakes.h"

#include "cuda/cublaslt_abi.h"

enum { HANDLE = 0x4c740001 };

static size_t version(void)
{
    return (size_t)cudasim_fake_version("cublaslt");
}

static plumb_lt_status create(plumb_lt_handle *handle)
{
    *handle = cudasim_fake_fails("cublasLtCreate") ? NULL : cudasim_fake_new(1, HANDLE);
    return *handle ? PLUMB_LT_SUCCESS : PLUMB_LT_ALLOC_FAILED;
}

static plumb_lt_status destroy(plumb_lt_handle handle)
{
    if (!cudasim_fake_is(handle, HANDLE)) {
        cudasim_error("bad-vendor", "cublasLtDestroy of what is no handle");
    } else {
        cudasim_fake_delete(handle);
    }
    return PLUMB_LT_SUCCESS;
}

const cudasim_fake cudasim_fake_cublaslt = {
    .name = "cublaslt",
    .soname = "libcublasLt.so",
    .version = 130100,
    .functions = {{"cublasLtGetVersion", (cudasim_any_function *)version},
                  {"cublasLtCreate", (cudasim_any_function *)create},
                  {"cublasLtDestroy", (cudasim_any_function *)destroy}},
};
