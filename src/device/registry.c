/* The devices there are, and how a device string chooses one: "kind" or "kind:argument". Devices that need what a
 * machine may not have come from plugins: see device/plugin.h. */
#include "device/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

/* "auto" takes the first that opens; those after `automatic` are for tests and are only taken by name. */
static const plumb_device_table *const devices[] = {&plumb_device_cpu, &plumb_device_null, &plumb_device_faulty};
static const int automatic = 1;

#define DEVICES ((int)(sizeof(devices) / sizeof(devices[0])))
#define KNOWN "cpu, auto, null, faulty:N, cuda:N"

const plumb_device_table *plumb_device_kind(int index)
{
    return index >= 0 && index < DEVICES ? devices[index] : NULL;
}

/* ---- plugins ---- */

/* The folder of this library's own file (of the program's, where it is linked in), without the last '/'. */
static bool own_folder(char *folder, size_t room)
{
    Dl_info here;
    if (!dladdr((const void *)(uintptr_t)plumb_device_open, &here) || !here.dli_fname) {
        return false;
    }
    if (strchr(here.dli_fname, '/')) {
        snprintf(folder, room, "%s", here.dli_fname);
    } else { /* a program found through PATH: its own name says nothing of where it lies */
        ssize_t length = readlink("/proc/self/exe", folder, room - 1);
        if (length <= 0) {
            return false;
        }
        folder[length] = '\0';
    }
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = '\0';
    }
    return slash != NULL;
}

/* In the folder PLUMB_PLUGINS; else beside the library, in ../lib seen from a program, and where the loader looks. The
 * first that is there is the one: were another tried after it, nobody would learn why it cannot be opened. */
static void *open_library(const char *library)
{
    static const char *const places[] = {"", "/../lib"};
    char folder[1024], path[1200];
    const char *named = getenv("PLUMB_PLUGINS");
    if (named && *named) {
        snprintf(path, sizeof path, "%.1024s/%s", named, library);
        return dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    bool placed = own_folder(folder, sizeof folder);
    for (size_t i = 0; placed && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s/%s", folder, places[i], library);
        if (access(path, R_OK) == 0) {
            return dlopen(path, RTLD_NOW | RTLD_LOCAL);
        }
    }
    return dlopen(library, RTLD_NOW | RTLD_LOCAL);
}

/* Why a library could not be opened; `hint` where no file of its name was found. */
static void tell_why(const char *library, const char *hint, char *why, size_t room)
{
    const char *reason = dlerror();
    size_t length = strlen(library);
    bool absent = reason && strncmp(reason, library, length) == 0 && strncmp(reason + length, ": ", 2) == 0;
    snprintf(why, room, "the plugin %s cannot be opened: %.300s%s", library,
             !reason ? "unknown reason" : absent ? reason + length + 2 : reason, absent ? hint : "");
}

/* The plugin in a library, if it is of this very Plumb. */
static const plumb_plugin *plugin_in(const char *library, const char *hint, char *why, size_t room)
{
    void *handle = open_library(library);
    void *symbol = handle ? dlsym(handle, PLUMB_PLUGIN_ENTRY) : NULL;
    if (!symbol) {
        tell_why(library, hint, why, room);
        return NULL;
    }
    plumb_plugin_entry *entry;
    memcpy(&entry, &symbol, sizeof entry);
    const plumb_plugin *plugin = entry();
    if (plugin->abi != PLUMB_PLUGIN_ABI || strcmp(plugin->version, plumb_version()) != 0) {
        snprintf(why, room, "%s is of Plumb %.20s, abi %d; this is %s, abi %d", library, plugin->version, plugin->abi,
                 plumb_version(), PLUMB_PLUGIN_ABI);
        return NULL;
    }
    if (strcmp(plugin->hash(), plumb_shared_hash()) != 0) {
        snprintf(why, room, "%s is of another build (%.20s) than this Plumb (%s): build both together", library,
                 plugin->hash(), plumb_shared_hash());
        return NULL;
    }
    return plugin;
}

const plumb_plugin *plumb_plugin_find(char *why, size_t room)
{
    return &plumb_plugin_cuda ? &plumb_plugin_cuda
                              : plugin_in("libplumb-cuda.so", " (it is built with -DPLUMB_CUDA=ON)", why, room);
}

/* ---- additions ---- */

static const char *const additions[PLUMB_ADDITIONS] = {"onednn", "openblas"};

const char *plumb_addition_name(int index)
{
    return index >= 0 && index < PLUMB_ADDITIONS ? additions[index] : NULL;
}

const plumb_addition *plumb_addition_find(plumb_device *device, int index)
{
    plumb_context *context = device->context;
    if (!device->additions) {
        device->additions = plumb_zalloc(context, PLUMB_ADDITIONS * sizeof *device->additions);
    }
    plumb_addition *addition = device->additions ? &device->additions[index] : NULL;
    if (!addition || addition->sought) {
        return addition;
    }
    char library[32];
    bool clean = context->status == PLUMB_OK;
    addition->sought = true;
    snprintf(library, sizeof library, "libplumb-%s.so", additions[index]);
    addition->plugin = plugin_in(library, " (it is built where the library's headers are)", addition->text,
                                 sizeof addition->text);
    if (addition->plugin) {
        addition->state = addition->plugin->open(context, addition->text, sizeof addition->text);
        addition->plugin = addition->state ? addition->plugin : NULL;
        plumb_log_line(context, PLUMB_LOG_DEBUG, "%s: %s", additions[index], addition->text);
    }
    if (clean) {
        plumb_clear_error(context);
    }
    return addition;
}

void *plumb_addition_state(const plumb_device *device, const plumb_plugin *plugin)
{
    for (int i = 0; device->additions && i < PLUMB_ADDITIONS; i++) {
        if (device->additions[i].plugin == plugin) {
            return device->additions[i].state;
        }
    }
    return NULL;
}

void plumb_additions_close(plumb_device *device)
{
    for (int i = 0; device->additions && i < PLUMB_ADDITIONS; i++) {
        if (device->additions[i].plugin) {
            device->additions[i].plugin->close(device->additions[i].state);
        }
    }
    plumb_free(device->context, device->additions);
    device->additions = NULL;
}

static plumb_status open_plugin(plumb_context *context, const char *what, const char *argument)
{
    char why[512];
    const plumb_plugin *plugin = plumb_plugin_find(why, sizeof why);
    if (!plugin) {
        return plumb_fail(context, PLUMB_DEVICE_ERROR, "device: '%.100s': no CUDA device: %s", what, why);
    }
    plumb_status status = plugin->device->open(context, argument, &context->device);
    if (status == PLUMB_OK) {
        context->device->plugin = plugin;
    }
    return status;
}

static plumb_status open_automatic(plumb_context *context)
{
    if (open_plugin(context, "cuda", NULL) == PLUMB_OK) {
        plumb_log_line(context, PLUMB_LOG_INFO, "device: auto chose cuda");
        return PLUMB_OK;
    }
    char why[600];
    const char *reason = strstr(plumb_message(context), "no CUDA device");
    snprintf(why, sizeof why, "%.590s", reason ? reason : plumb_message(context));
    plumb_status status = PLUMB_DEVICE_ERROR;
    for (int i = 0; i < automatic && !context->device; i++) {
        plumb_clear_error(context);
        status = devices[i]->open(context, NULL, &context->device);
    }
    if (status == PLUMB_OK) {
        plumb_log_line(context, PLUMB_LOG_INFO, "device: auto chose %s (%s)", context->device->table->name, why);
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
        return open_plugin(context, name, argument);
    }
    return plumb_fail(context, PLUMB_BAD_INPUT, "device: '%.100s' is unknown; known are " KNOWN, name);
}
