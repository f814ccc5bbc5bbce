/* How a device that is not part of the core joins it: a plugin hands over its device table and the providers of its
 * implementations. It is linked in (libplumb-cuda.a, with -Wl,-u,plumb_plugin_cuda so that the linker takes it out of the
 * archive: the CMake target plumb_cuda_static says so by itself), or lies in a shared library of its own
 * that is opened when its device is asked for: libplumb-cuda.so, which exports the one function plumb_plugin_open.
 *
 * A plugin in a shared library carries its own copy of the core's code, which keeps no state outside the context, so
 * the two need no symbols from each other; they must only be the same version, with the same structs. */
#ifndef PLUMB_PLUGIN_H
#define PLUMB_PLUGIN_H

#include "device/device.h"

struct plumb_provider;

typedef struct plumb_plugin {
    int abi;              /* PLUMB_DEVICE_ABI */
    const char *version;  /* plumb_version() of the core it was built with */
    size_t context_bytes; /* sizeof(plumb_context) there */
    const plumb_device_table *device;
    const struct plumb_provider *const *providers; /* in order of preference */
    int n_providers;
} plumb_plugin;

#define PLUMB_PLUGIN_ENTRY "plumb_plugin_open"
typedef const plumb_plugin *plumb_plugin_entry(void);

/* Linked in, or absent: then its address is NULL. */
extern const plumb_plugin plumb_plugin_cuda __attribute__((weak));

/* The CUDA plugin, with or without a GPU; NULL: there is none, and `why` says so. A library once opened stays, because
 * contexts hold its tables. */
const plumb_plugin *plumb_plugin_find(char *why, size_t room);

#endif
