/* A disk in memory, as an I/O table: its calls can be made to fail, and its power can be cut after any of them. What was
 * not synced is then there, or not, or in parts, in any order: the surviving disk is drawn from a seed.
 *
 * What is promised by fsync, as POSIX file systems keep it: of a file, its contents; of a folder, its names. A sector (512
 * bytes) of unsynced contents survives whole, as zeros, or torn (garbage in its second half); names that were made or
 * removed since the folder was synced survive or do not, each by itself. */
#ifndef PLUMB_TESTS_DISK_H
#define PLUMB_TESTS_DISK_H

#include "core/core.h"

enum disk_fault { DISK_FAILS, DISK_SHORT, DISK_INTERRUPTS, DISK_LIES };

struct disk;
struct disk *disk_new(void);
void disk_free(struct disk *disk);
/* The table of the disk that *disk is at the time of a call, so that a context can outlive it. */
plumb_io disk_io(struct disk **disk);

int disk_calls(const struct disk *disk); /* so far */
/* Call number `call` (from 1, counted from the last time this was called) fails once with `error`, moves one byte only
 * (reads and writes; others go well), is interrupted, or writes something else without a word. 0: none does. */
void disk_fail(struct disk *disk, int call, enum disk_fault fault, int error);
bool disk_failed(const struct disk *disk); /* the call was reached */
/* From call number `call` on (counted likewise) nothing is done any more and everything fails. 0: the power stays. */
void disk_cut(struct disk *disk, int call);
/* What is there after the power was cut. */
struct disk *disk_survivor(const struct disk *disk, uint64_t seed);
void disk_sync(struct disk *disk); /* everything is as if synced */

int disk_open_files(const struct disk *disk);
int disk_files(const struct disk *disk); /* names */
/* The contents of a file; NULL: there is none. Owned by the disk. */
const unsigned char *disk_data(const struct disk *disk, const char *path, size_t *bytes);
void disk_put(struct disk *disk, const char *path, const void *data, size_t bytes);

#endif
