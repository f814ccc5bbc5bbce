/* Data: sets of labelled pictures held in memory, and loaders that feed them to programs batch by batch.
 *
 * A set keeps the values as the file has them (bytes stay bytes). Scaling belongs to the model, so that saved weights
 * carry it; plumb_dataset_scaling computes what the model needs. The order of examples depends on (seed, epoch) only:
 * not on threads, not on what ran before. */
#ifndef PLUMB_DATA_H
#define PLUMB_DATA_H

#include "plumb/program.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct plumb_dataset plumb_dataset;
typedef struct plumb_loader plumb_loader;

typedef struct plumb_dataset_options {
    size_t size;
    int classes;      /* every label must be below this; 0: 10, as the IDX sets of digits and clothes have */
    int64_t expect;   /* how many examples there must be; 0: any number */
    int64_t max_bytes;/* refuse files that hold (unpacked) more than this; 0: 4 GiB */
} plumb_dataset_options;

/* IDX files (the format of MNIST): pictures of bytes, floats or doubles (N, H, W), labels of bytes (N). A name that
 * ends in .gz means gzip, of exactly one member with nothing after it; name and content must agree. Floats must be
 * finite, the counts of pictures and labels equal, labels below `classes`. Sizes are checked against the file before
 * anything is allocated. What is refused is named as "file: offset N, field: reason". */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_idx(plumb_context *context, const char *images,
                                                            const char *labels, const plumb_dataset_options *options);

/* By name ("fashion-mnist", looked for in $PLUMB_DATA and where Debian's dataset-fashion-mnist puts it) or by folder.
 * `part` is "train" or "test". In the folder, files are named as MNIST names them, plain or .gz. */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_find(plumb_context *context, const char *name_or_folder,
                                                             const char *part, const plumb_dataset_options *options);
/* The folder that a known name stands for, written to `to`; false: not found on this machine (or not a known name). */
PLUMB_API bool plumb_dataset_where(const char *name, char *to, size_t room);

/* From memory: `data` is (count, shape...) of `dtype` u8, f32 or f64, row-major; `labels` (count). Both are copied. */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_arrays(plumb_context *context, plumb_dtype dtype,
                                                               plumb_shape shape, int64_t count, const void *data,
                                                               const int32_t *labels, int classes);
PLUMB_API void plumb_dataset_free(plumb_dataset *dataset);

PLUMB_API int64_t plumb_dataset_count(const plumb_dataset *dataset);
PLUMB_API plumb_shape plumb_dataset_shape(const plumb_dataset *dataset); /* of one example: (1, H, W) for IDX */
PLUMB_API plumb_dtype plumb_dataset_dtype(const plumb_dataset *dataset);
PLUMB_API int plumb_dataset_classes(const plumb_dataset *dataset);
PLUMB_API const char *plumb_dataset_class_name(const plumb_dataset *dataset, int label); /* "Sandal", or "7" */
PLUMB_API int plumb_dataset_label(const plumb_dataset *dataset, int64_t index); /* -1 outside */
/* One example as floats, values as stored. `bytes` is the room at `to`. */
PLUMB_API plumb_status plumb_dataset_picture(const plumb_dataset *dataset, int64_t index, float *to, size_t bytes);

/* y = (x - shift) * scale over the whole set, one pair for each entry of the first dimension (channel). */
typedef enum plumb_scaling {
    PLUMB_SCALING_STANDARD = 0, /* mean 0, standard deviation 1 */
    PLUMB_SCALING_UNIT,         /* minimum 0, maximum 1 */
    PLUMB_SCALING_SYMMETRIC,    /* minimum -1, maximum 1 */
    PLUMB_SCALING_NONE          /* as is: shift 0, scale 1 */
} plumb_scaling;
/* shift and scale have room for `channels` numbers, which must be the set's first dimension, or 1: all channels
 * together. A constant channel gets scale 1. */
PLUMB_API plumb_status plumb_dataset_scaling(const plumb_dataset *dataset, plumb_scaling rule, int channels,
                                             double *shift, double *scale);

typedef struct plumb_loader_options {
    size_t size;
    int64_t batch;  /* 0: 64; more than there are examples: all of them */
    bool shuffle;
    uint64_t seed;  /* of the order; 0: the context's */
    bool drop_last; /* leave out the last batch if it is not full */
} plumb_loader_options;

/* The loader reads the data set, which must outlive it. */
PLUMB_API PLUMB_MUST_CHECK plumb_loader *plumb_loader_new(plumb_dataset *dataset, const plumb_loader_options *options);
PLUMB_API void plumb_loader_free(plumb_loader *loader);
PLUMB_API int64_t plumb_loader_batches(const plumb_loader *loader); /* in an epoch */
/* Continues with batch `batch` of epoch `epoch` (both from 0). */
PLUMB_API plumb_status plumb_loader_seek(plumb_loader *loader, int64_t epoch, int64_t batch);

/* Feeds the next batch to the program's input (batch, shape...) of f32, and labels (batch) of i32;
 * PLUMB_NONE for an input the program lacks. Returns how many examples; 0 at the end of an epoch (the next call begins
 * the next epoch); -1 after an error. */
PLUMB_API int64_t plumb_loader_next(plumb_loader *loader, plumb_program *program, plumb_t input, plumb_t label);
/* Which examples of the data set the last batch held, in order; as many as plumb_loader_next returned. */
PLUMB_API const int64_t *plumb_loader_indices(const plumb_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
