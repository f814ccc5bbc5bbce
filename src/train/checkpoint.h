/* A folder of checkpoints: which there are, saving, loading the newest that is whole, and what is thrown away when
 * (checkpoint.c); and a training as the tensors of one file (snapshot.c). What a file says besides is manifest.h's. */
#ifndef PLUMB_TRAIN_CHECKPOINT_H
#define PLUMB_TRAIN_CHECKPOINT_H

#include "train/manifest.h"

/* Those who keep a training in `checkpoints`, for plumb_fit_kept; false: stale or NULL. */
bool plumb_checkpoint_keeper(plumb_checkpoints *checkpoints, struct plumb_keeper *keeper);

/* What has to be the same when a training is resumed, besides its options. */
struct plumb_identity {
    uint64_t data;                    /* plumb_training_data */
    const char *implementations;      /* plumb_training_implementations */
    const char *const *configuration; /* key, value, ..., NULL: in the user's words */
};
uint64_t plumb_training_data(const struct plumb_training *training);
char *plumb_training_implementations(const struct plumb_training *training); /* plumb_free; NULL after an error */

/* The file's bytes, to be freed. *healthy: all values are finite. */
plumb_status plumb_snapshot_make(const struct plumb_training *training, const struct plumb_identity *identity,
                                 const char *path, void **data, size_t *bytes, bool *healthy);
size_t plumb_snapshot_limit(const struct plumb_training *training); /* bytes that no file of this training can exceed */
/* Does the file belong to this training, and can it be as it says? *damaged: it does, but it cannot. */
plumb_status plumb_snapshot_check(const struct plumb_training *training, const struct plumb_identity *identity,
                                  const char *path, const struct plumb_manifest *manifest,
                                  const struct plumb_st_file *file, bool *damaged);
/* Puts the training where the file says; it has been checked. */
plumb_status plumb_snapshot_apply(struct plumb_training *training, const struct plumb_manifest *manifest,
                                  const struct plumb_st_file *file);

#endif
