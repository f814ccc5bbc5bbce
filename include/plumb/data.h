/* Data: sets of labelled pictures or rows of numbers, splits of them, and loaders that feed them to programs batch by
 * batch, changed at random if that is asked for.
 *
 * A set keeps the values as the file has them (bytes stay bytes). Scaling belongs to the model, so that saved weights
 * carry it; plumb_dataset_scaling computes what the model needs. The order of examples depends on (seed, epoch) only,
 * and what is drawn for an example on (seed, epoch, its index): not on threads, not on workers, not on the batch, not
 * on what ran before. */
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
    int classes;      /* every label must be below this; 0: as many as the format has (IDX: 10) or the labels need */
    int64_t expect;   /* how many examples there must be; 0: any number */
    int64_t max_bytes;/* refuse files that hold (unpacked) more than this; 0: 4 GiB */
    double max_bad;   /* greatest share of examples that are left out because they are corrupt or labelled outside the
                         classes; 0: the first ends the reading. What is left out is listed by plumb_dataset_bad. */
    const char *label;/* CSV: the column of labels, by its name or its number from 0; NULL: "label", or the last */
    bool no_header;   /* CSV: the first row is data; else it is where one of its cells is no number */
    bool coarse;      /* CIFAR-100: the 20 coarse labels instead of the 100 fine ones */
    int channels;     /* folders of pictures: 1 (grey: 0.299 R + 0.587 G + 0.114 B) or 3; 0: 3 */
    int64_t height, width; /* folders of pictures: scaled to cover this, the middle kept; 0: as the first picture, and all others
                              must be of its size */
    int64_t keep_bytes;    /* folders of pictures: decoded ones are kept in memory if all of them take at most this; else each
                              is decoded when it is asked for. 0: 1 GiB, negative: never kept */
    int64_t max_pixels;    /* refuse pictures of more; 0: 2^26 */
} plumb_dataset_options;

/* IDX files (the format of MNIST): pictures of bytes, floats or doubles (N, H, W), labels of bytes (N). A name that
 * ends in .gz means gzip, of exactly one member with nothing after it; name and content must agree. Floats must be
 * finite, the counts of pictures and labels equal, labels below `classes`. Sizes are checked against the file before
 * anything is allocated. What is refused is named as "file: offset N, field: reason". */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_idx(plumb_context *context, const char *images,
                                                            const char *labels, const plumb_dataset_options *options);

/* The binary versions of CIFAR-10 and CIFAR-100: examples are (3, 32, 32) of bytes. CIFAR-10's folder has
 * data_batch_1.bin to data_batch_5.bin and test_batch.bin, CIFAR-100's train.bin and test.bin. Class names are read from
 * batches.meta.txt or fine_label_names.txt where they are there. Two equal batches, a missing one and the test's among
 * those of training are refused. `part` is "train" or "test". */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_cifar(plumb_context *context, const char *folder,
                                                              const char *part, const plumb_dataset_options *options);

/* A table, plain or .gz: cells between commas, quoted ones between " (a " inside is doubled), rows end in LF or CR LF.
 * Cells are decimal numbers ("-1.5e3"), finite in f32; labels are whole numbers from 0. An example is (columns, 1, 1) of
 * f32, so that each column has a scale of its own. Rows of different lengths, empty cells and bytes of zero are refused. */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_csv(plumb_context *context, const char *path,
                                                            const plumb_dataset_options *options);

/* Arrays of NumPy, format 1 to 3, in C or Fortran order, of either byte order: `data` (N, ..) of bytes, floats (also of 16
 * bits) or integers, `labels` (N) or (N, 1) of integers. (N, F) becomes examples of (F, 1, 1), (N, H, W) of (1, H, W).
 * Floats must be finite; f16 becomes f32, integers wider than a byte f64. Objects are refused, never unpickled.
 * plumb_dataset_npz takes both out of an archive (numpy.savez, also compressed) by their names there; NULL, NULL: x_PART and
 * y_PART, PART_images and PART_labels, or without a part x and y, data and labels, images and labels. */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_npy(plumb_context *context, const char *data, const char *labels,
                                                            const plumb_dataset_options *options);
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_npz(plumb_context *context, const char *path, const char *data,
                                                            const char *labels, const char *part,
                                                            const plumb_dataset_options *options);

/* Pictures in a sub-folder for each class, PNG and JPEG (what a file is its first bytes decide), where the build has libpng and
 * libjpeg. Classes are the sub-folders in bytewise order of their names, examples the files in theirs; names that begin with a
 * dot are passed over. `classes_of`, if not NULL, is the folder whose sub-folders are the classes (those of training, for a test
 * set). Examples are bytes (channels, height, width): 16 bits are rounded to 8, what is transparent lies over black, EXIF's
 * orientation is applied. Sizes are read when the set is opened, pixels then or later (keep_bytes); with max_bad then, so
 * that what is left out never depends on what is asked for. Otherwise a corrupt picture that is met later ends what met it. */
PLUMB_API PLUMB_MUST_CHECK plumb_dataset *plumb_dataset_folder(plumb_context *context, const char *folder,
                                                               const char *classes_of, const plumb_dataset_options *options);

/* By name ("fashion-mnist", looked for in $PLUMB_DATA and where Debian's dataset-fashion-mnist puts it), by folder or by
 * file. `part` is "train" or "test". Folders: IDX files named as MNIST names them, plain or .gz; CIFAR's; train.csv and
 * test.csv (or .csv.gz); train.npz and test.npz; x_train.npy and y_train.npy; folders train and test of pictures. A folder of
 * pictures without these is the part "train". A .npz file may hold both parts; a CSV file, or an .npz without parts, is
 * the part "train". Content decides what a file is, not its name. */
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
/* The file that an example of a folder of pictures lies in; NULL: it lies in none of its own. */
PLUMB_API const char *plumb_dataset_file(const plumb_dataset *dataset, int64_t index);
/* One example as floats, values as stored. `bytes` is the room at `to`. */
PLUMB_API plumb_status plumb_dataset_picture(const plumb_dataset *dataset, int64_t index, float *to, size_t bytes);

/* How many examples were left out under max_bad; *list, if that is not NULL, becomes lines that name the first hundred
 * ("file: offset N, field: reason"), "" if there are none. Owned by the set. */
PLUMB_API int64_t plumb_dataset_bad(const plumb_dataset *dataset, const char **list);

typedef struct plumb_split_options {
    size_t size;
    bool stratified; /* every class is split by itself, and is within an example of its share in each part */
    uint64_t seed;   /* of which examples come where; 0: the context's */
} plumb_split_options;
/* Splits a set at random into parts[0] .. parts[count - 1] (2 to 8) with sizes as `shares`, which are positive and may have any
 * sum: {60, 20, 20}, {98, 1, 1}, {0.7, 0.3}. A part without examples is refused. The parts share the set's memory, which lasts
 * as long as one of them. On failure all of `parts` are NULL. */
PLUMB_API plumb_status plumb_dataset_split(plumb_dataset *dataset, const double *shares, int count,
                                           const plumb_split_options *options, plumb_dataset **parts);

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

/* Random changes of pictures (C, H, W), zero: none. What comes from outside a picture is `fill`. Those of places are one map,
 * so values are interpolated (bilinearly) once; mirroring and whole pixels copy them exactly. */
typedef struct plumb_augment {
    size_t size;
    bool mirror;         /* left and right exchanged in half of the cases */
    int crop;            /* moved by up to so many pixels each way: padding with `fill` and a random crop */
    double resized_crop; /* a part of the picture, of an area from this share to 1 and sides up to 4:3 apart from it, as a whole */
    double rotate;       /* by up to so many degrees either way */
    double shear;        /* rows against each other, by up to so many degrees */
    double elastic;      /* local warp (Simard et al. 2003): steps uniform in [-1, 1] times this, smoothed: pixels */
    double elastic_sigma;/* by a normal distribution of this many pixels; 0: 4 */
    double brightness;   /* values times 1 - b to 1 + b */
    double contrast;     /* distance from the picture's mean times 1 - c to 1 + c */
    double saturation;   /* of 3 channels: distance from the pixel's grey (0.299, 0.587, 0.114) times 1 - s to 1 + s */
    double hue;          /* of 3 channels: colours turned about grey by up to so many turns, at most 0.5 */
    double erase;        /* in so many cases (0 to 1) a rectangle of 2 to 33 % of the area, sides up to 3:1, becomes `fill` */
    double mixup;        /* share x + (1 - share) other, share from Beta(mixup, mixup), mixup to 1 (Zhang et al. 2018) */
    double cutmix;       /* a rectangle of another example's, its area 1 - share (Yun et al. 2019); with mixup: either */
    double fill;         /* a value as stored (0: black) */
} plumb_augment;
/* "mirror,crop=4,rotate=15" into *augment (NULL: only checked); refuses unknown names and values out of range. A `resized_crop`,
 * `erase`, `mixup` or `cutmix` without a value is 0.25, 0.5, 1 or 1. */
PLUMB_API plumb_status plumb_augment_parse(plumb_context *context, const char *text, plumb_augment *augment);

typedef struct plumb_loader_options {
    size_t size;
    int64_t batch;  /* 0: 64; more than there are examples: all of them */
    bool shuffle;
    uint64_t seed;  /* of the order and of what augmentation draws; 0: the context's */
    bool drop_last; /* leave out the last batch if it is not full */
    int workers;    /* threads that prepare the next two batches while the caller computes, at most 64; 0: none, the context's
                       threads prepare a batch when it is asked for. Batches are the same. */
    const plumb_augment *augment; /* copied; NULL: none */
    plumb_t second_label, share;  /* inputs i32 (batch) and f32 (batch) for mixed examples: the other's label, and the share of
                                     the first (1 where nothing was mixed). Needed with mixup and cutmix. */
} plumb_loader_options;

/* The loader reads the data set, which must outlive it. Workers read files through the context's I/O table (open, read,
 * close), which must bear that from several threads. */
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
