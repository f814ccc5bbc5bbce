/* A data set's insides, for the readers and the loader. */
#ifndef PLUMB_DATASET_INTERNAL_H
#define PLUMB_DATASET_INTERNAL_H

#include "core/core.h"
#include "plumb/data.h"

struct plumb_folder; /* pictures in files (data/folder.h) */

struct dataset {
    plumb_context *context;
    plumb_dtype dtype;   /* u8, f32 or f64, as stored */
    plumb_shape shape;   /* of one example */
    int64_t count, item; /* examples; elements of one example */
    int classes;
    void *data;      /* (stored examples, shape...); NULL: `folder` has them */
    uint8_t *label8; /* (stored examples): one of the two */
    int32_t *label32;
    int64_t *rows;        /* [count] which of the stored examples these are; NULL: all of them */
    struct dataset *base; /* whose data, labels, names and folder these are; NULL: our own */
    int users;            /* the handle, sets that are parts of this one, loaders */
    struct plumb_folder *folder;
    const char *const *class_names; /* [classes] of known sets, or NULL: */
    char *names;                    /* [classes][name_room]; numbers where the reader gave none */
    size_t name_room;
    char *bad_list; /* lines; NULL: none */
    int64_t bad;    /* examples left out */
};

/* An array out of one IDX file. `shape` has the first dimension (how many) too. */
struct plumb_idx {
    plumb_dtype dtype;
    plumb_shape shape;
    void *data; /* plumb_alloc'ed */
};
enum plumb_idx_role { PLUMB_IDX_PICTURES, PLUMB_IDX_LABELS };
plumb_status plumb_idx_read(plumb_context *context, const char *path, enum plumb_idx_role role,
                            int64_t max_bytes, struct plumb_idx *idx);

/* ---- options ---- */

/* The caller's struct may be of another size than ours. */
static inline void plumb_read_options(void *to, size_t room, const void *options)
{
    memset(to, 0, room);
    if (options) {
        size_t size;
        memcpy(&size, options, sizeof(size));
        memcpy(to, options, size && size < room ? size : room);
    }
}
/* Data set options with max_bytes filled in; refuses a share of bad examples outside 0 to 1. */
plumb_status plumb_dataset_options_read(plumb_context *context, const plumb_dataset_options *given,
                                        plumb_dataset_options *options);

/* ---- examples that are wrong ---- */

struct plumb_bads {
    plumb_context *context;
    double share; /* that may be left out */
    int64_t count;
    char first[400];
    struct plumb_text list;
};
/* Notes a wrong example: PLUMB_OK to go on without it, or the refusal. */
plumb_status plumb_bad(struct plumb_bads *bads, const char *format, ...) PLUMB_PRINTF(2, 3);
/* When all `total` examples were seen: refuses if too many were wrong, or all. Else `d` gets the list. */
plumb_status plumb_bads_settle(struct plumb_bads *bads, struct dataset *d, int64_t total);
void plumb_bads_free(struct plumb_bads *bads);

/* ---- sets ---- */

/* Of values (of pictures in files: of their names within the folder), shape, classes, labels and order: equal sets have equal
 * hashes. */
uint64_t plumb_dataset_hash(const plumb_dataset *handle);
struct dataset *plumb_dataset_get(const plumb_dataset *handle);
/* Takes over `d` (freed on failure too) after filling in what follows from its fields. */
plumb_dataset *plumb_dataset_publish(struct dataset *d);
/* One user less; the last frees. Also for sets that were not published. */
void plumb_dataset_drop(struct dataset *d);
/* Leaves out the examples whose labels are outside the classes, as far as max_bad allows; the labels are of stored examples.
 * `where` begins the message: "%s: offset %lld, label of ...", with `first` + index * `step` as offset. */
plumb_status plumb_dataset_check_labels(struct dataset *d, struct plumb_bads *bads, const char *where, int64_t first,
                                        int64_t step);

static inline int64_t plumb_dataset_row(const struct dataset *d, int64_t index)
{
    return d->rows ? d->rows[index] : index;
}

static inline int plumb_dataset_label_at(const struct dataset *d, int64_t index)
{
    int64_t row = plumb_dataset_row(d, index);
    return d->label8 ? d->label8[row] : d->label32[row];
}

/* Where a thread that reads examples works; made by the context's thread, used by one thread at a time. */
struct plumb_scratch {
    void *picture;           /* of one example as stored, where it is decoded */
    struct plumb_decoder *decoder;
    char why[400];           /* what was wrong: "file: offset N, field: reason" */
};
plumb_status plumb_scratch_make(const struct dataset *d, struct plumb_scratch *scratch);
plumb_status plumb_scratch_make_decoder(const struct dataset *d, struct plumb_scratch *scratch); /* of sets with a folder */
void plumb_scratch_free(const struct dataset *d, struct plumb_scratch *scratch);
/* The example as stored; NULL after an error, which scratch->why tells. Touches nothing of the context. */
const void *plumb_dataset_example(const struct dataset *d, int64_t index, struct plumb_scratch *scratch);
/* The same as floats. */
bool plumb_dataset_floats(const struct dataset *d, int64_t index, struct plumb_scratch *scratch, float *to);

/* Where known sets lie and what their classes are called (data/known.c). */
const char *const *plumb_known_classes(const char *name_or_folder); /* NULL: not known */
bool plumb_is_cifar(const char *folder);

/* Streams of random numbers: apart from those of random ops, which count up from 0. */
#define PLUMB_SHUFFLE_STREAM 0x5348u
#define PLUMB_AUGMENT_STREAM 0x4155u
#define PLUMB_SPLIT_STREAM 0x5350u
/* A uniform whole number of [0, n) but for n * 2^-64. */
static inline int64_t plumb_draw_below(const uint32_t word[2], int64_t n)
{
    uint64_t draw = (uint64_t)word[0] << 32 | word[1];
    return (int64_t)(((unsigned __int128)draw * (uint64_t)n) >> 64);
}

#endif
