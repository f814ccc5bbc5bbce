/* Entries of a zip archive that lies in memory. */
#ifndef PLUMB_DATA_ZIP_H
#define PLUMB_DATA_ZIP_H

#include "core/core.h"

struct plumb_zip {
    plumb_context *context;
    const char *path; /* for messages */
    const unsigned char *data;
    size_t bytes;
    size_t directory; /* where the central directory begins */
    int entries;
};
struct plumb_zip_entry {
    char name[256];
    const unsigned char *packed; /* within the archive */
    size_t packed_bytes, bytes;
    uint32_t crc;
    int method; /* 0 stored, 8 deflated */
};
/* Finds the central directory and checks all of it: entries within the file, methods known, sizes that can be. */
plumb_status plumb_zip_open(plumb_context *context, const char *path, const void *data, size_t bytes, struct plumb_zip *zip);
/* True if there is exactly one entry of this name. */
bool plumb_zip_find(const struct plumb_zip *zip, const char *name, struct plumb_zip_entry *entry);
/* Unpacks to memory of its own (plumb_free), followed by a byte of zero; the checksum is checked. */
plumb_status plumb_zip_unpack(const struct plumb_zip *zip, const struct plumb_zip_entry *entry, size_t limit, void **data);

#endif
