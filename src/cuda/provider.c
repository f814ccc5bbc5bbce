/* The providers of the CUDA device: cuda.vendor, which calls cuBLASLt and cuDNN where they are installed and take the
 * call, and after it cuda.native: for every op kernels of our own, which need nothing but the CUDA runtime. And the plugin
 * that hands them and the device to the core. */
#include "cuda/cuda.h"
#include "device/plugin.h"

#define PLUMB_IMPL(op, suffix) extern const plumb_impl plumb_impl_##op##_##suffix;
#include "cuda/list.h"
#include "cuda/vendor_list.h"
#undef PLUMB_IMPL

static const plumb_impl *const impls[] = {
#define PLUMB_IMPL(op, suffix) &plumb_impl_##op##_##suffix,
#include "cuda/list.h"
#undef PLUMB_IMPL
};

const plumb_provider plumb_provider_cuda_native = {
    .name = "cuda.native",
    .impls = impls,
    .count = (int)(sizeof impls / sizeof *impls),
};

static const plumb_impl *const vendor_impls[] = {
#define PLUMB_IMPL(op, suffix) &plumb_impl_##op##_##suffix,
#include "cuda/vendor_list.h"
#undef PLUMB_IMPL
    NULL,
};

const plumb_provider plumb_provider_cuda_vendor = {
    .name = "cuda.vendor",
    .impls = vendor_impls,
    .count = (int)(sizeof vendor_impls / sizeof *vendor_impls) - 1,
};

extern const plumb_device_table plumb_device_cuda;
static const plumb_provider *const providers[] = {&plumb_provider_cuda_vendor, &plumb_provider_cuda_native};

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const plumb_plugin plumb_plugin_cuda = {
    .abi = PLUMB_PLUGIN_ABI,
    .version = TEXT(PLUMB_VERSION_MAJOR) "." TEXT(PLUMB_VERSION_MINOR) "." TEXT(PLUMB_VERSION_PATCH),
    .hash = plumb_shared_hash,
    .device = &plumb_device_cuda,
    .providers = providers,
    .n_providers = (int)(sizeof providers / sizeof *providers),
};

PLUMB_API const plumb_plugin *plumb_plugin_open(void);

const plumb_plugin *plumb_plugin_open(void)
{
    return &plumb_plugin_cuda;
}
