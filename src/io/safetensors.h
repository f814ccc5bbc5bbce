/* safetensors: named tensors in one file. 8 bytes of header length (little-endian), a JSON header, the data. */
#ifndef PLUMB_SAFETENSORS_H
#define PLUMB_SAFETENSORS_H

#include "core/core.h"

/* More of either is refused before the header is parsed, so that a small file cannot ask for much time or memory. */
#define PLUMB_ST_MAX_HEADER 100000000
#define PLUMB_ST_MAX_TENSORS 250000

struct plumb_st_entry {
    const char *name;
    plumb_dtype dtype;
    plumb_shape shape;
    const void *data; /* row-major, aligned to the dtype's size; little-endian as in the file */
    size_t bytes;
};

struct plumb_st_file {
    int n_entries;
    struct plumb_st_entry *entries;      /* in the order of their data */
    const struct plumb_st_entry **names; /* the same by name */
    const char **metadata;               /* key, value, ..., NULL */
    void *data;                          /* the whole file */
    struct plumb_arena arena;            /* strings, and tensors that lay unaligned */
};

/* Reads and checks everything; a file that is refused gives one line "file: field: reason" and an empty *file. Values
 * are not looked at: NaN and infinity are loaded as they are. */
plumb_status plumb_st_read(plumb_context *context, const char *path, struct plumb_st_file *file);
/* The same of bytes in memory, which are taken over (plumb_alloc'ed; also after a refusal) and overwritten. `path` is for
 * messages. */
plumb_status plumb_st_parse(plumb_context *context, const char *path, void *data, size_t bytes, struct plumb_st_file *file);
void plumb_st_free(plumb_context *context, struct plumb_st_file *file);
const struct plumb_st_entry *plumb_st_find(const struct plumb_st_file *file, const char *name); /* NULL: not there */
const char *plumb_st_metadata(const struct plumb_st_file *file, const char *key);               /* NULL: not there */

/* The bytes of a file, to be freed. Begins with the metadata, in the order given, without spaces. */
plumb_status plumb_st_make(plumb_context *context, const char *path, const struct plumb_st_entry *entries, int n,
                           const char *const *metadata, void **data, size_t *bytes);
/* Writes atomically. `metadata`: key, value, ..., NULL; may be NULL itself. What the reader would refuse is refused. */
plumb_status plumb_st_write(plumb_context *context, const char *path, const struct plumb_st_entry *entries, int n,
                            const char *const *metadata);

#endif
