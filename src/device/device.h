/* The device layer: where memory lies and how work is ordered. A device has no ops: those are implementations
 * (op/op.h) that name the device they run on. A device that lacks a capability leaves its function NULL. */
#ifndef PLUMB_DEVICE_H
#define PLUMB_DEVICE_H

#include "core/core.h"

typedef struct plumb_device plumb_device;

#define PLUMB_DEVICE_ABI 2

typedef struct plumb_device_info {
    char name[96];        /* "AMD EPYC, 2 threads, avx512" */
    int64_t memory_total; /* bytes; 0 when unknown */
    bool host_memory;     /* its memory may be read and written by the host directly */
} plumb_device_info;

typedef struct plumb_device_library { /* that a device uses if it is there */
    const char *name;
    bool used;
    char text[200]; /* which version, or why not */
} plumb_device_library;

typedef struct plumb_device_table {
    int abi;
    const char *kind; /* "cpu": implementations with this device kind can run here ("faulty" and "null" say "cpu") */
    const char *name; /* "cpu", "null", "faulty" */
    /* `argument` is what followed the ':' in the device string, or NULL. */
    plumb_status (*open)(plumb_context *context, const char *argument, plumb_device **device);
    void (*close)(plumb_device *device);
    plumb_status (*info)(plumb_device *device, plumb_device_info *info);
    plumb_status (*alloc)(plumb_device *device, size_t bytes, void **memory); /* 64-byte aligned or better, counted */
    void (*free)(plumb_device *device, void *memory);
    plumb_status (*upload)(plumb_device *device, void *to, const void *from, size_t bytes);
    plumb_status (*download)(plumb_device *device, void *to, const void *from, size_t bytes);
    plumb_status (*copy)(plumb_device *device, void *to, const void *from, size_t bytes);
    plumb_status (*fill)(plumb_device *device, void *to, int byte, size_t bytes);
    plumb_status (*sync)(plumb_device *device);
    /* Called before each op runs; may refuse (faulty) or skip it: *skip = true (null). NULL: always run. */
    plumb_status (*before_run)(plumb_device *device, const char *op, bool *skip);
    /* Capture of a whole run and its replay; NULL: every run calls the implementations one by one. */
    plumb_status (*capture_begin)(plumb_device *device);
    plumb_status (*capture_end)(plumb_device *device, void **captured);
    plumb_status (*replay)(plumb_device *device, void *captured);
    void (*capture_free)(plumb_device *device, void *captured);
    /* Seconds between two marks on the device's own clock. */
    plumb_status (*mark)(plumb_device *device, void **event);
    plumb_status (*elapsed)(plumb_device *device, void *first, void *second, double *seconds);
    void (*mark_free)(plumb_device *device, void *event);
    /* Optional libraries, for `plumb doctor`: false past the end. NULL: none. */
    bool (*library)(plumb_device *device, int index, plumb_device_library *library);
} plumb_device_table;

struct plumb_plugin;
struct plumb_device {
    const plumb_device_table *table;
    plumb_context *context;
    const struct plumb_plugin *plugin; /* whose device this is, with providers of its own; NULL: the core's */
    struct plumb_addition *additions;  /* of plugins to the CPU's implementations; NULL: none was asked for yet */
};

/* Opens by string ("cpu", "auto", "null", "faulty:7", "cuda:1"); the context owns the device. Unknown names are refused
 * with the list of known ones; "auto" takes a GPU before the CPU and logs what it chose and why. A device asked for by
 * name is never replaced by another. */
plumb_status plumb_device_open(plumb_context *context, const char *what);
/* The registry, for `plumb doctor`: NULL past the end. */
const plumb_device_table *plumb_device_kind(int index);

extern const plumb_device_table plumb_device_cpu, plumb_device_null, plumb_device_faulty;

#endif
