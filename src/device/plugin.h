/* How a device that is not part of the core joins it, and implementations that need a vendor's library: a plugin hands over
 * its device table and the providers of its implementations. The device is linked in (libplumb-cuda.a, with -Wl,-u,plumb_plugin_cuda so that the linker takes it out of the
 * archive: the CMake target plumb_cuda_static says so by itself), or lies in a shared library of its own
 * that is opened when its device is asked for: libplumb-cuda.so, which exports the one function plumb_plugin_open. What adds
 * to the CPU always lies in a library of its own.
 *
 * A plugin in a shared library carries its own copy of the core's code, which keeps no state outside the context, so
 * the two need no symbols from each other; they must only be of one build: the same version, and the same hash of all structs they share. */
#ifndef PLUMB_PLUGIN_H
#define PLUMB_PLUGIN_H

#include "device/device.h"

struct plumb_provider;

#define PLUMB_PLUGIN_ABI 3 /* of this struct, by which all else is compared */

typedef struct plumb_plugin {
    int abi;              /* PLUMB_PLUGIN_ABI */
    const char *version;  /* plumb_version() of the core it was built with */
    const char *(*hash)(void); /* plumb_shared_hash, the plugin's own copy */
    const plumb_device_table *device;
    const struct plumb_provider *const *providers; /* in order of preference */
    int n_providers;
    /* Of an addition, whose `device` is NULL. What the calls of one context need; NULL: it is of no use here. `text` is
     * the version of the library behind it, or why it is of no use. */
    void *(*open)(plumb_context *context, char *text, size_t room);
    void (*close)(void *state);
} plumb_plugin;

/* A hash of the sources that define the structs which the core shares with plugins (src/op/shared.c, above the device layer
 * because ops and their attributes are among them). */
const char *plumb_shared_hash(void);

#define PLUMB_PLUGIN_ENTRY "plumb_plugin_open"
typedef const plumb_plugin *plumb_plugin_entry(void);

/* Linked in, or absent: then its address is NULL. */
extern const plumb_plugin plumb_plugin_cuda __attribute__((weak));

/* ---- additions: plugins without a device, which bring a vendor's implementations to the CPU ---- */

/* In the order in which they are asked. Each lies in a library of its own, libplumb-NAME.so, found as the CUDA plugin is. */
enum { PLUMB_ADDITIONS = 2 };
typedef struct plumb_addition {
    bool sought;
    const plumb_plugin *plugin; /* NULL: not to be had, or of no use */
    void *state;
    char text[200]; /* which version, or why not */
} plumb_addition;

const char *plumb_addition_name(int index); /* "onednn"; NULL past the end */
/* Opened when first asked for, so that whoever uses none does not wait for one to be mapped; NULL where memory has run out.
 * What hinders one is no error: the context's stays as it was. */
const plumb_addition *plumb_addition_find(plumb_device *device, int index);
/* What `plugin` opened for this context. */
void *plumb_addition_state(const plumb_device *device, const plumb_plugin *plugin);
void plumb_additions_close(plumb_device *device);

/* ---- */

/* The CUDA plugin, with or without a GPU; NULL: there is none, and `why` says so. A library once opened stays, because
 * contexts hold its tables. */
const plumb_plugin *plumb_plugin_find(char *why, size_t room);

#endif
