/* A data set's insides, for the readers and the loader. */
#ifndef PLUMB_DATASET_INTERNAL_H
#define PLUMB_DATASET_INTERNAL_H

#include "core/core.h"
#include "plumb/data.h"

struct dataset {
    plumb_context *context;
    plumb_dtype dtype;   /* u8, f32 or f64, as stored */
    plumb_shape shape;   /* of one example */
    int64_t count, item; /* examples; elements of one example */
    int classes;
    void *data;      /* (count, shape...) */
    uint8_t *label8; /* (count): one of the two */
    int32_t *label32;
    const char *const *class_names; /* [classes], or NULL: numbers */
    char *numbers; /* "0\0001\000...": texts of numbers where class_names is NULL, 12 bytes each */
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

struct dataset *plumb_dataset_get(const plumb_dataset *handle);
/* Takes over `d` (freed on failure too) after filling in what follows from its fields. */
plumb_dataset *plumb_dataset_publish(struct dataset *d);
void plumb_dataset_destroy(void *object);

static inline int plumb_dataset_label_at(const struct dataset *d, int64_t index)
{
    return d->label8 ? d->label8[index] : d->label32[index];
}

/* Where known sets lie and what their classes are called (data/known.c). */
const char *const *plumb_known_classes(const char *name_or_folder); /* NULL: not known */

#endif
