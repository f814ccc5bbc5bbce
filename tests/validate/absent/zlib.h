/* Stands in for zlib where its header is missing, in builds made only to validate a GPU (PLUMB_BARE): every call fails,
 * so gzip files are refused and no PNG is written. */
#ifndef PLUMB_ABSENT_ZLIB_H
#define PLUMB_ABSENT_ZLIB_H

#include <stddef.h>

#define ZLIB_VERSION "none"
enum { Z_OK = 0, Z_STREAM_END = 1, Z_NEED_DICT = 2, Z_MEM_ERROR = -4, Z_NO_FLUSH = 0, Z_FINISH = 4, MAX_WBITS = 15 };

typedef void *voidpf;
typedef unsigned int uInt;
typedef unsigned long uLong, uLongf;
typedef struct z_stream {
    const unsigned char *next_in;
    unsigned char *next_out;
    uInt avail_in, avail_out;
    const char *msg;
    voidpf (*zalloc)(voidpf user, uInt items, uInt size);
    void (*zfree)(voidpf user, voidpf memory);
    voidpf opaque;
} z_stream;

static inline const char *zlibVersion(void) { return ZLIB_VERSION; }
static inline int inflateInit2(z_stream *z, int bits) { return (void)z, (void)bits, Z_MEM_ERROR; }
static inline int inflate(z_stream *z, int flush) { return (void)z, (void)flush, Z_MEM_ERROR; }
static inline int inflateEnd(z_stream *z) { return (void)z, Z_OK; }
static inline uLong compressBound(uLong bytes) { return bytes; }
static inline uLong crc32(uLong crc, const unsigned char *data, uInt bytes) { return (void)data, (void)bytes, crc; }
static inline int compress2(unsigned char *to, uLongf *packed, const unsigned char *from, uLong bytes, int level)
{
    return (void)to, (void)packed, (void)from, (void)bytes, (void)level, Z_MEM_ERROR;
}

#endif
