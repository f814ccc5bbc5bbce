/* The devices there are, and how a device string chooses one: "kind" or "kind:argument". */
#include "device/device.h"

/* "auto" takes the first that opens; those after `automatic` are for tests and are only taken by name. */
static const plumb_device_table *const devices[] = {&plumb_device_cpu, &plumb_device_null, &plumb_device_faulty};
static const int automatic = 1;

#define DEVICES ((int)(sizeof(devices) / sizeof(devices[0])))
#define KNOWN "cpu, auto, null, faulty:N"

const plumb_device_table *plumb_device_kind(int index)
{
    return index >= 0 && index < DEVICES ? devices[index] : NULL;
}

static plumb_status open_automatic(plumb_context *context)
{
    plumb_status status = PLUMB_DEVICE_ERROR;
    for (int i = 0; i < automatic && !context->device; i++) {
        plumb_clear_error(context);
        status = devices[i]->open(context, NULL, &context->device);
    }
    if (status == PLUMB_OK) {
        plumb_log_line(context, PLUMB_LOG_INFO, "device: auto chose %s", context->device->table->name);
    }
    return status;
}

plumb_status plumb_device_open(plumb_context *context, const char *what)
{
    const char *name = what ? what : "cpu";
    size_t length = strcspn(name, ":");
    const char *argument = name[length] ? name + length + 1 : NULL;
    if (strcmp(name, "auto") == 0) {
        return open_automatic(context);
    }
    for (int i = 0; i < DEVICES; i++) {
        if (strlen(devices[i]->name) == length && memcmp(devices[i]->name, name, length) == 0) {
            return devices[i]->open(context, argument, &context->device);
        }
    }
    if (length == 4 && memcmp(name, "cuda", 4) == 0) {
        return plumb_fail(context, PLUMB_DEVICE_ERROR,
                          "device: '%.100s': this build has no CUDA device; known are " KNOWN, name);
    }
    return plumb_fail(context, PLUMB_BAD_INPUT, "device: '%.100s' is unknown; known are " KNOWN, name);
}
