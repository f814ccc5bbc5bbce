/* The device that runs nothing: graphs are compiled and planned for the CPU, every op is skipped, an allocation is a token
 * however large it claims to be, and what is read back is zeros. For plans of what would not fit, dry runs, and measuring
 * what the runtime itself costs. */
#include "device/device.h"

static plumb_status null_open(plumb_context *context, const char *argument, plumb_device **device)
{
    if (argument) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "device: null takes no argument, but got '%.100s'", argument);
    }
    plumb_status status = plumb_device_cpu.open(context, NULL, device);
    if (status == PLUMB_OK) {
        (*device)->table = &plumb_device_null;
    }
    return status;
}

static void null_close(plumb_device *device)
{
    plumb_device_cpu.close(device);
}

static plumb_status null_info(plumb_device *device, plumb_device_info *info)
{
    *info = (plumb_device_info){.name = "nothing (plans, runs no op)", .host_memory = false};
    (void)device;
    return PLUMB_OK;
}

enum { TOKEN = 64 }; /* bytes: nobody looks inside, but addresses must differ */

static plumb_status null_alloc(plumb_device *device, size_t bytes, void **memory)
{
    (void)bytes;
    *memory = plumb_alloc(device->context, TOKEN);
    return *memory ? PLUMB_OK : PLUMB_FAILED;
}

static void null_free(plumb_device *device, void *memory)
{
    plumb_free(device->context, memory);
}

static plumb_status null_move(plumb_device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    (void)to;
    (void)from;
    (void)bytes;
    return PLUMB_OK;
}

static plumb_status null_download(plumb_device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    (void)from;
    if (bytes) {
        memset(to, 0, bytes);
    }
    return PLUMB_OK;
}

static plumb_status null_fill(plumb_device *device, void *to, int byte, size_t bytes)
{
    (void)device;
    (void)to;
    (void)byte;
    (void)bytes;
    return PLUMB_OK;
}

static plumb_status null_sync(plumb_device *device)
{
    (void)device;
    return PLUMB_OK;
}

static plumb_status null_before_run(plumb_device *device, const char *op, bool *skip)
{
    (void)device;
    (void)op;
    *skip = true;
    return PLUMB_OK;
}

const plumb_device_table plumb_device_null = {
    .abi = PLUMB_DEVICE_ABI,
    .kind = "cpu",
    .name = "null",
    .open = null_open,
    .close = null_close,
    .info = null_info,
    .alloc = null_alloc,
    .free = null_free,
    .upload = null_move,
    .download = null_download,
    .copy = null_move,
    .fill = null_fill,
    .sync = null_sync,
    .before_run = null_before_run,
};
