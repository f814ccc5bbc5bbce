/* The CPU as a device: its memory is host memory, counted by the context, and work is done when a call returns, so there
 * is nothing to order. These functions look at nothing of the device but its context, which lets null and faulty use
 * them for devices of their own. */
#include "device/device.h"

#include <stdio.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

static plumb_status cpu_open(plumb_context *context, const char *argument, plumb_device **device)
{
    if (argument) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "device: cpu takes no argument, but got '%.100s'", argument);
    }
    plumb_device *cpu = plumb_zalloc(context, sizeof(*cpu));
    if (!cpu) {
        return PLUMB_FAILED;
    }
    cpu->table = &plumb_device_cpu;
    cpu->context = context;
    *device = cpu;
    return PLUMB_OK;
}

static void cpu_close(plumb_device *device)
{
    plumb_free(device->context, device);
}

/* The processor's own name for itself, without the blanks around it. */
static void brand(char name[49])
{
    memcpy(name, "CPU", 4);
#if defined(__x86_64__) || defined(__i386__)
    unsigned words[12];
    if ((unsigned)__get_cpuid_max(0x80000000, NULL) < 0x80000004) {
        return;
    }
    for (unsigned i = 0; i < 3; i++) {
        __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    }
    char text[49];
    memcpy(text, words, 48);
    text[48] = '\0';
    const char *start = text + strspn(text, " ");
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == ' ') {
        length--;
    }
    if (length > 0) {
        memcpy(name, start, length);
        name[length] = '\0';
    }
#endif
}

static plumb_status cpu_info(plumb_device *device, plumb_device_info *info)
{
    char name[49];
    brand(name);
    int threads = plumb_pool_size(device->context->pool);
    memset(info, 0, sizeof(*info));
    snprintf(info->name, sizeof(info->name), "%s, %d thread%s, %s", name, threads, threads == 1 ? "" : "s",
             plumb_isa_name(device->context->isa));
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    info->memory_total = pages > 0 && page > 0 ? (int64_t)pages * page : 0;
    info->host_memory = true;
    return PLUMB_OK;
}

static plumb_status cpu_alloc(plumb_device *device, size_t bytes, void **memory)
{
    *memory = plumb_alloc(device->context, bytes);
    return *memory ? PLUMB_OK : PLUMB_FAILED;
}

static void cpu_free(plumb_device *device, void *memory)
{
    plumb_free(device->context, memory);
}

static plumb_status cpu_move(plumb_device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    if (bytes > 0) {
        memmove(to, from, bytes);
    }
    return PLUMB_OK;
}

static plumb_status cpu_fill(plumb_device *device, void *to, int byte, size_t bytes)
{
    (void)device;
    if (bytes > 0) {
        memset(to, byte, bytes);
    }
    return PLUMB_OK;
}

static plumb_status cpu_sync(plumb_device *device)
{
    (void)device;
    return PLUMB_OK;
}

static plumb_status cpu_mark(plumb_device *device, void **event)
{
    double *seconds = plumb_alloc(device->context, sizeof(*seconds));
    *event = seconds;
    if (!seconds) {
        return PLUMB_FAILED;
    }
    *seconds = plumb_seconds();
    return PLUMB_OK;
}

static plumb_status cpu_elapsed(plumb_device *device, void *first, void *second, double *seconds)
{
    (void)device;
    *seconds = *(const double *)second - *(const double *)first;
    return PLUMB_OK;
}

static void cpu_mark_free(plumb_device *device, void *event)
{
    plumb_free(device->context, event);
}

const plumb_device_table plumb_device_cpu = {
    .abi = PLUMB_DEVICE_ABI,
    .kind = "cpu",
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_move,
    .download = cpu_move,
    .copy = cpu_move,
    .fill = cpu_fill,
    .sync = cpu_sync,
    .mark = cpu_mark,
    .elapsed = cpu_elapsed,
    .mark_free = cpu_mark_free,
};
