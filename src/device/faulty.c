/* The device that fails on request, so that every error path behind a device call can be walked by a test:
 * "faulty:7" is a cpu device whose seventh call that may fail does fail, once; "faulty:7+" fails from there on;
 * "faulty" and "faulty:0" never fail. Opening is not counted. */
#include "device/device.h"

struct faulty {
    plumb_device base;
    int64_t calls, fail_at;
    bool from_there_on;
};

static struct faulty *faulty_of(plumb_device *device)
{
    return (struct faulty *)device;
}

/* Counts one call; says no when its turn has come. */
static plumb_status gate(plumb_device *device, const char *call, const char *detail)
{
    struct faulty *faulty = faulty_of(device);
    faulty->calls++;
    bool fails = faulty->fail_at > 0 && (faulty->from_there_on ? faulty->calls >= faulty->fail_at
                                                               : faulty->calls == faulty->fail_at);
    if (!fails) {
        return PLUMB_OK;
    }
    return plumb_fail(device->context, PLUMB_DEVICE_ERROR, "faulty device: call %lld (%s%s%s) fails as it was asked to",
                      (long long)faulty->calls, call, *detail ? " " : "", detail);
}

static plumb_status parse(plumb_context *context, const char *argument, struct faulty *faulty)
{
    const char *at = argument ? argument : "0";
    int64_t number = 0;
    bool fits = *at != '\0';
    for (; *at >= '0' && *at <= '9' && fits; at++) {
        fits = plumb_mul_size(number, 10, &number) && number <= INT64_MAX - 10;
        number += *at - '0';
    }
    faulty->from_there_on = strcmp(at, "+") == 0;
    if (!fits || (*at != '\0' && !faulty->from_there_on) || at == argument) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "device: faulty:N or faulty:N+ is expected, N being the call that fails, but got '%.100s'",
                          argument);
    }
    faulty->fail_at = number;
    return PLUMB_OK;
}

static plumb_status faulty_open(plumb_context *context, const char *argument, plumb_device **device)
{
    struct faulty parsed = {.base = {.table = &plumb_device_faulty, .context = context}};
    plumb_status status = parse(context, argument, &parsed);
    if (status != PLUMB_OK) {
        return status;
    }
    struct faulty *faulty = plumb_alloc(context, sizeof(*faulty));
    if (!faulty) {
        return PLUMB_FAILED;
    }
    *faulty = parsed;
    *device = &faulty->base;
    return PLUMB_OK;
}

static void faulty_close(plumb_device *device)
{
    plumb_free(device->context, faulty_of(device));
}

static plumb_status faulty_info(plumb_device *device, plumb_device_info *info)
{
    plumb_status status = gate(device, "info", "");
    return status == PLUMB_OK ? plumb_device_cpu.info(device, info) : status;
}

static plumb_status faulty_alloc(plumb_device *device, size_t bytes, void **memory)
{
    *memory = NULL;
    plumb_status status = gate(device, "alloc", "");
    return status == PLUMB_OK ? plumb_device_cpu.alloc(device, bytes, memory) : status;
}

static void faulty_free(plumb_device *device, void *memory)
{
    plumb_device_cpu.free(device, memory);
}

static plumb_status faulty_upload(plumb_device *device, void *to, const void *from, size_t bytes)
{
    plumb_status status = gate(device, "upload", "");
    return status == PLUMB_OK ? plumb_device_cpu.upload(device, to, from, bytes) : status;
}

static plumb_status faulty_download(plumb_device *device, void *to, const void *from, size_t bytes)
{
    plumb_status status = gate(device, "download", "");
    return status == PLUMB_OK ? plumb_device_cpu.download(device, to, from, bytes) : status;
}

static plumb_status faulty_copy(plumb_device *device, void *to, const void *from, size_t bytes)
{
    plumb_status status = gate(device, "copy", "");
    return status == PLUMB_OK ? plumb_device_cpu.copy(device, to, from, bytes) : status;
}

static plumb_status faulty_fill(plumb_device *device, void *to, int byte, size_t bytes)
{
    plumb_status status = gate(device, "fill", "");
    return status == PLUMB_OK ? plumb_device_cpu.fill(device, to, byte, bytes) : status;
}

static plumb_status faulty_sync(plumb_device *device)
{
    plumb_status status = gate(device, "sync", "");
    return status == PLUMB_OK ? plumb_device_cpu.sync(device) : status;
}

static plumb_status faulty_before_run(plumb_device *device, const char *op, bool *skip)
{
    *skip = false;
    return gate(device, "run", op);
}

static plumb_status faulty_mark(plumb_device *device, void **event)
{
    *event = NULL;
    plumb_status status = gate(device, "mark", "");
    return status == PLUMB_OK ? plumb_device_cpu.mark(device, event) : status;
}

static plumb_status faulty_elapsed(plumb_device *device, void *first, void *second, double *seconds)
{
    plumb_status status = gate(device, "elapsed", "");
    return status == PLUMB_OK ? plumb_device_cpu.elapsed(device, first, second, seconds) : status;
}

static void faulty_mark_free(plumb_device *device, void *event)
{
    plumb_device_cpu.mark_free(device, event);
}

const plumb_device_table plumb_device_faulty = {
    .abi = PLUMB_DEVICE_ABI,
    .kind = "cpu",
    .name = "faulty",
    .open = faulty_open,
    .close = faulty_close,
    .info = faulty_info,
    .alloc = faulty_alloc,
    .free = faulty_free,
    .upload = faulty_upload,
    .download = faulty_download,
    .copy = faulty_copy,
    .fill = faulty_fill,
    .sync = faulty_sync,
    .before_run = faulty_before_run,
    .mark = faulty_mark,
    .elapsed = faulty_elapsed,
    .mark_free = faulty_mark_free,
};
