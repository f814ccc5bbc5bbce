/* Files that tests of readers make: in a folder that is removed with all that is in it. */
#ifndef PLUMB_TESTS_FILES_H
#define PLUMB_TESTS_FILES_H

#include <stddef.h>

/* A fresh folder under /tmp; `to` has room for 64 characters. */
void files_begin(char *to);
void files_end(const char *folder);
/* Writes `bytes` (text if `bytes` is 0) to folder/name, whose sub-folders are made. Returns the whole name, which lasts until
 * the eighth call from here. */
const char *files_put(const char *folder, const char *name, const void *data, size_t bytes);
const char *files_name(const char *folder, const char *name);

/* The whole file, a zero behind it, to be freed; NULL: it is not there. */
char *files_read(const char *path, size_t *bytes);

#endif
