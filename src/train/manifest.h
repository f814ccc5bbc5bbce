/* What a checkpoint's file says beside its tensors, and whether all of it may be believed. Works on bytes in memory: where
 * they lie and which of them to load is checkpoint.c's.
 *
 * A checkpoint is a safetensors file whose metadata are, in this order: "checkpoint" (the version of this format),
 * "crc32c" (of the whole file, its own digits counted as zeros), "healthy", "writer", "position", "data",
 * "implementations", "configuration_hash", "configuration.KEY" ..., "tensors" (a CRC of each tensor's name, dtype, shape
 * and values, by name). The first two stand at a fixed place, so the whole file is checked before any of it is parsed. */
#ifndef PLUMB_TRAIN_MANIFEST_H
#define PLUMB_TRAIN_MANIFEST_H

#include "io/safetensors.h"
#include "train/train.h"

#define PLUMB_CHECKPOINT_VERSION 1
#define PLUMB_HISTORY_NAME "fit/history:" /* (epochs, fields): the rows of the history so far; may hold NaN */
#define PLUMB_BEST_PREFIX "best:"         /* before the names of the best state's values */

struct plumb_manifest {
    bool healthy; /* every value is finite */
    struct plumb_position position;
    uint64_t data;                    /* plumb_dataset_hash of what was trained on */
    const char *implementations;      /* device, instruction set, and what computes each op */
    const char *const *configuration; /* key, value, ..., NULL: what has to be the same when it is resumed */
};

/* Are all values finite? Integers are. */
bool plumb_values_finite(const struct plumb_st_entry *entry);

/* The bytes of the file, to be freed. */
plumb_status plumb_manifest_make(plumb_context *context, const char *path, const struct plumb_manifest *manifest,
                                 const struct plumb_st_entry *entries, int n, void **data, size_t *bytes);

/* Checks everything that can be known without the training it belongs to. Takes `data` over, as plumb_st_parse does; the
 * texts of `manifest` live as long as `file`. `path` is for messages, which are one line "path: where: what". */
plumb_status plumb_manifest_parse(plumb_context *context, const char *path, void *data, size_t bytes,
                                  struct plumb_manifest *manifest, struct plumb_st_file *file);

#endif
