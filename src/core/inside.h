/* What the files of src/core share among themselves and nobody else needs. */
#ifndef PLUMB_CORE_INSIDE_H
#define PLUMB_CORE_INSIDE_H

#include "core/core.h"

extern const plumb_allocator plumb_allocator_c; /* the C library's */
extern const plumb_io plumb_io_posix;
/* Does the table's open give real file descriptors? A table of the caller's may number its files as it likes. */
static inline bool plumb_io_is_real(const plumb_context *context) { return context->io.open == plumb_io_posix.open; }

/* Adds to the bytes held and keeps the peak. */
static inline void plumb_count(plumb_context *context, int64_t bytes)
{
    context->memory_now += bytes;
    if (context->memory_now > context->memory_peak) {
        context->memory_peak = context->memory_now;
    }
}

/* A pool from an allocator; *why says what was missing when NULL comes back. */
plumb_pool *plumb_pool_make(const plumb_allocator *allocator, int threads, const char **why);
int64_t plumb_pool_bytes(const plumb_pool *pool);

/* plumb_crc32c where the processor has no instruction for it; here to be compared with that. */
uint32_t plumb_crc32c_by_table(uint32_t crc, const void *data, size_t bytes);

/* Destroys every live object, newest first, and then the cells themselves. */
void plumb_handles_close(plumb_context *context);

#endif
