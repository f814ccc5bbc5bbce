/* The plugin libplumb-onednn.so: what it brings, and what a context keeps of it. */
#include "cpu/onednn/onednn.h"

#include <stdio.h>

/* Of the OpenMP that oneDNN was linked with, found as it found it; without one oneDNN has no threads either. */
extern int omp_get_max_threads(void) __attribute__((weak));
extern void omp_set_num_threads(int count) __attribute__((weak));

int plumb_dnnl_hold_threads(void)
{
    int before = omp_get_max_threads ? omp_get_max_threads() : 1;
    if (before != 1) {
        omp_set_num_threads(1);
    }
    return before;
}

void plumb_dnnl_release_threads(int held)
{
    if (held != 1) {
        omp_set_num_threads(held);
    }
}

static void *open_state(plumb_context *context, char *text, size_t room)
{
    const dnnl_version_t *version = dnnl_version();
    if (version->major != DNNL_VERSION_MAJOR) {
        snprintf(text, room, "the library is oneDNN %d.%d.%d, the plugin was built for %d", version->major, version->minor,
                 version->patch, DNNL_VERSION_MAJOR);
        return NULL;
    }
    if (version->cpu_runtime != DNNL_RUNTIME_SEQ &&
        (version->cpu_runtime != DNNL_RUNTIME_OMP || !omp_get_max_threads || !omp_set_num_threads)) {
        snprintf(text, room, "oneDNN %d.%d.%d has threads that cannot be held to one (it takes OpenMP's, or none)",
                 version->major, version->minor, version->patch);
        return NULL;
    }
    plumb_dnnl *dnnl = plumb_zalloc(context, sizeof *dnnl);
    if (!dnnl || dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0) != dnnl_success) {
        snprintf(text, room, "oneDNN does not start");
        plumb_free(context, dnnl);
        return NULL;
    }
    dnnl->context = context;
    plumb_plans_open(&dnnl->jobs, context, plumb_dnnl_job_destroy, dnnl);
    snprintf(text, room, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
    return dnnl;
}

static void close_state(void *state)
{
    plumb_dnnl *dnnl = state;
    plumb_plans_close(&dnnl->jobs);
    dnnl_engine_destroy(dnnl->engine);
    plumb_free(dnnl->context, dnnl);
}

extern const plumb_impl plumb_impl_conv2d_onednn, plumb_impl_conv2d_backward_data_onednn,
    plumb_impl_conv2d_backward_filter_onednn, plumb_impl_matmul_onednn;

static const plumb_impl *const impls[] = {&plumb_impl_conv2d_onednn, &plumb_impl_conv2d_backward_data_onednn,
                                          &plumb_impl_conv2d_backward_filter_onednn, &plumb_impl_matmul_onednn};
static const plumb_provider provider = {"cpu.vendor", impls, (int)(sizeof impls / sizeof *impls)};
static const plumb_provider *const providers[] = {&provider};
static const plumb_plugin plugin = {
    .abi = PLUMB_PLUGIN_ABI,
    .version = PLUMB_VENDOR_VERSION,
    .hash = plumb_shared_hash,
    .providers = providers,
    .n_providers = 1,
    .open = open_state,
    .close = close_state,
};

plumb_dnnl *plumb_dnnl_of(const plumb_call *call)
{
    return plumb_addition_state(call->device, &plugin);
}

PLUMB_API const plumb_plugin *plumb_plugin_open(void);

const plumb_plugin *plumb_plugin_open(void)
{
    return &plugin;
}
