/* A file read as a stream of bytes, plain or unpacked from gzip on the way; bounded memory whatever the file says. */
#ifndef PLUMB_DATA_SOURCE_H
#define PLUMB_DATA_SOURCE_H

#include <zlib.h>

#include "core/core.h"

#define PLUMB_SOURCE_BUFFER 65536

struct plumb_source {
    plumb_context *context;
    const char *path;
    int fd;
    bool gzip;
    bool unpacked_all;  /* gzip: the member's end was reached, its checksum held */
    bool at_end;        /* the file itself gave no more bytes */
    int64_t file_bytes; /* as the file system says */
    int64_t delivered;  /* unpacked bytes handed out so far: the offset that messages name */
    int64_t taken;      /* bytes read from the file */
    z_stream z;
    size_t begin, end; /* bytes waiting in buffer */
    unsigned char buffer[PLUMB_SOURCE_BUFFER];
};

/* Refuses what is not a regular file, unreadable or empty, and a name and content that disagree about gzip. */
plumb_status plumb_source_open(plumb_context *context, const char *path, struct plumb_source **source);
/* Reads up to `bytes`; *got is smaller only at the end. */
plumb_status plumb_source_read(struct plumb_source *source, void *to, size_t bytes, size_t *got);
/* Checks that nothing follows: neither data, nor a second gzip member, nor junk. */
plumb_status plumb_source_end(struct plumb_source *source, int64_t expected);
/* False if a file of this size cannot hold so many bytes, judged without reading it. */
bool plumb_source_may_hold(const struct plumb_source *source, int64_t bytes);
void plumb_source_close(struct plumb_source *source);

#endif
