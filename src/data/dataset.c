/* The data set as an object: taking over arrays, answering questions, examples left out, and reading single examples. */
#include <stdio.h>

#include "data/folder.h"

struct dataset *plumb_dataset_get(const plumb_dataset *handle)
{
    return plumb_handle_get(handle, PLUMB_KIND_DATASET);
}

void plumb_dataset_drop(struct dataset *d)
{
    if (!d || --d->users > 0) {
        return;
    }
    if (d->base) {
        plumb_dataset_drop(d->base);
    } else {
        plumb_free(d->context, d->data);
        plumb_free(d->context, d->label8);
        plumb_free(d->context, d->label32);
        plumb_free(d->context, d->names);
        plumb_free(d->context, d->bad_list);
        plumb_folder_free(d->folder);
    }
    plumb_free(d->context, d->rows);
    plumb_free(d->context, d);
}

static void destroy(void *object) { plumb_dataset_drop(object); }

#define NUMBER_ROOM 12

plumb_dataset *plumb_dataset_publish(struct dataset *d)
{
    d->item = plumb_shape_count(&d->shape);
    d->users = 1;
    if (!d->names) {
        d->name_room = NUMBER_ROOM;
        d->names = plumb_zalloc(d->context, (size_t)d->classes * NUMBER_ROOM);
        for (int c = 0; d->names && c < d->classes; c++) {
            snprintf(d->names + (size_t)c * NUMBER_ROOM, NUMBER_ROOM, "%d", c);
        }
    }
    plumb_dataset *handle =
        d->names ? plumb_handle_new(d->context, PLUMB_KIND_DATASET, d, destroy) : NULL;
    if (!handle) {
        plumb_dataset_drop(d);
    }
    return handle;
}

plumb_status plumb_dataset_options_read(plumb_context *context, const plumb_dataset_options *given,
                                        plumb_dataset_options *options)
{
    plumb_read_options(options, sizeof(*options), given);
    options->max_bytes = options->max_bytes > 0 ? options->max_bytes : (int64_t)1 << 32;
    if (!(options->max_bad >= 0 && options->max_bad <= 1)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set: max_bad is %g, a share from 0 to 1 is expected",
                          options->max_bad);
    }
    if (options->classes < 0) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set: %d classes", options->classes);
    }
    return PLUMB_OK;
}

/* ---- examples that are wrong ---- */

#define LISTED 100

plumb_status plumb_bad(struct plumb_bads *bads, const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (bads->share <= 0) {
        return plumb_fail(bads->context, PLUMB_BAD_INPUT, "%s", line);
    }
    if (bads->count == 0) {
        snprintf(bads->first, sizeof(bads->first), "%s", line);
    }
    if (bads->count < LISTED) {
        bads->list.context = bads->context;
        plumb_text_add(&bads->list, "%s\n", line);
    }
    bads->count++;
    return bads->list.failed ? PLUMB_FAILED : PLUMB_OK;
}

plumb_status plumb_bads_settle(struct plumb_bads *bads, struct dataset *d, int64_t total)
{
    if (bads->count == 0) {
        return PLUMB_OK;
    }
    if ((double)bads->count > bads->share * (double)total || bads->count == total) {
        return plumb_fail(bads->context, PLUMB_BAD_INPUT, "%s (one of %lld bad ones among %lld, max_bad allows a share of %g)",
                          bads->first, (long long)bads->count, (long long)total, bads->share);
    }
    d->bad = bads->count;
    d->bad_list = plumb_text_take(&bads->list);
    return d->bad_list ? PLUMB_OK : PLUMB_FAILED;
}

void plumb_bads_free(struct plumb_bads *bads)
{
    plumb_free(bads->context, bads->list.data);
    bads->list.data = NULL;
}

plumb_status plumb_dataset_check_labels(struct dataset *d, struct plumb_bads *bads, const char *where, int64_t first,
                                        int64_t step)
{
    int64_t kept = 0, total = d->count;
    plumb_status status = PLUMB_OK;
    for (int64_t i = 0; !status && i < total; i++) {
        int label = plumb_dataset_label_at(d, i);
        if (label < 0 || label >= d->classes) {
            status = plumb_bad(bads, "%s: offset %lld, label of picture %lld: %d is outside 0 to %d", where,
                               (long long)(first + i * step), (long long)i, label, d->classes - 1);
        }
    }
    if (status || bads->count == 0) {
        return status;
    }
    d->rows = plumb_alloc(d->context, (size_t)total * sizeof(int64_t));
    if (!d->rows) {
        return PLUMB_FAILED;
    }
    for (int64_t i = 0; i < total; i++) {
        int label = d->label8 ? d->label8[i] : d->label32[i];
        if (label >= 0 && label < d->classes) {
            d->rows[kept++] = i;
        }
    }
    d->count = kept;
    return plumb_bads_settle(bads, d, total);
}

int64_t plumb_dataset_bad(const plumb_dataset *dataset, const char **list)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    if (list) {
        *list = d && d->bad_list ? d->bad_list : "";
    }
    return d ? d->bad : 0;
}

/* ---- single examples ---- */

plumb_status plumb_scratch_make_decoder(const struct dataset *d, struct plumb_scratch *scratch)
{
    *scratch = (struct plumb_scratch){.picture = plumb_alloc(d->context, (size_t)d->item)};
    return scratch->picture ? plumb_decoder_make(d->folder, &scratch->decoder) : PLUMB_FAILED;
}

plumb_status plumb_scratch_make(const struct dataset *d, struct plumb_scratch *scratch)
{
    *scratch = (struct plumb_scratch){0};
    return d->data ? PLUMB_OK : plumb_scratch_make_decoder(d, scratch);
}

void plumb_scratch_free(const struct dataset *d, struct plumb_scratch *scratch)
{
    plumb_free(d->context, scratch->picture);
    plumb_decoder_free(d->folder, scratch->decoder);
}

const void *plumb_dataset_example(const struct dataset *d, int64_t index, struct plumb_scratch *scratch)
{
    int64_t row = plumb_dataset_row(d, index);
    if (!d->data) {
        return plumb_folder_decode(d->folder, row, scratch->decoder, scratch->picture, scratch->why) ? scratch->picture : NULL;
    }
    return (const char *)d->data + (size_t)(row * d->item) * plumb_dtype_size(d->dtype);
}

const char *plumb_dataset_file(const plumb_dataset *dataset, int64_t index)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    bool inside = d && d->folder && index >= 0 && index < d->count;
    return inside ? d->folder->text + d->folder->name[plumb_dataset_row(d, index)] : NULL;
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef float floats16 __attribute__((vector_size(64), aligned(4), may_alias));

/* In vectors written out, since this is most of what a batch costs and the file is compiled to be small. */
static void widen(float *restrict to, const uint8_t *restrict from, int64_t count)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        bytes16 x;
        memcpy(&x, from + i, sizeof(x));
        *(floats16 *)(void *)(to + i) = __builtin_convertvector(x, floats16);
    }
    for (; i < count; i++) {
        to[i] = (float)from[i];
    }
}

bool plumb_dataset_floats(const struct dataset *d, int64_t index, struct plumb_scratch *scratch, float *to)
{
    const void *from = plumb_dataset_example(d, index, scratch);
    if (!from) {
        return false;
    }
    switch (d->dtype) {
    case PLUMB_U8: widen(to, from, d->item); break;
    case PLUMB_F32: memcpy(to, from, (size_t)d->item * sizeof(float)); break;
    default:
        for (int64_t i = 0; i < d->item; i++) {
            to[i] = (float)((const double *)from)[i];
        }
    }
    return true;
}

/* ---- IDX ---- */

static plumb_status check_pair(plumb_context *context, const char *images, const char *labels,
                               const struct plumb_idx *x, const struct plumb_idx *y,
                               const plumb_dataset_options *options)
{
    int64_t count = x->shape.dim[0];
    if (count != y->shape.dim[0]) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: offset 4, dimension 0 (labels): is %lld, but %s has %lld pictures", labels,
                          (long long)y->shape.dim[0], images, (long long)count);
    }
    if (options->expect > 0 && count != options->expect) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: offset 4, dimension 0 (pictures): is %lld, expected %lld", images,
                          (long long)count, (long long)options->expect);
    }
    return PLUMB_OK;
}

plumb_dataset *plumb_dataset_idx(plumb_context *context, const char *images, const char *labels,
                                 const plumb_dataset_options *options)
{
    plumb_dataset_options o;
    if (!context || plumb_dataset_options_read(context, options, &o)) {
        return NULL;
    }
    int classes = o.classes ? o.classes : 10;
    if (!images || !labels || classes > 256) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs two file names and 1 to 256 classes, got %d",
                   classes);
        return NULL;
    }
    struct plumb_idx x = {0}, y = {0};
    plumb_status status = plumb_idx_read(context, labels, PLUMB_IDX_LABELS, o.max_bytes, &y);
    if (!status) {
        status = plumb_idx_read(context, images, PLUMB_IDX_PICTURES, o.max_bytes, &x);
    }
    if (!status) {
        status = check_pair(context, images, labels, &x, &y, &o);
    }
    struct dataset *d = status ? NULL : plumb_zalloc(context, sizeof(*d));
    if (!d) {
        plumb_free(context, x.data);
        plumb_free(context, y.data);
        return NULL;
    }
    *d = (struct dataset){.context = context,
                          .dtype = x.dtype,
                          .count = x.shape.dim[0],
                          .classes = classes,
                          .shape = PLUMB_SHAPE(1, x.shape.dim[1], x.shape.dim[2]),
                          .data = x.data,
                          .label8 = y.data};
    struct plumb_bads bads = {.context = context, .share = o.max_bad};
    status = plumb_dataset_check_labels(d, &bads, labels, 8, 1);
    plumb_bads_free(&bads);
    if (status) {
        plumb_dataset_drop(d);
        return NULL;
    }
    return plumb_dataset_publish(d);
}

/* ---- arrays ---- */

static plumb_status check_arrays(plumb_context *context, plumb_dtype dtype, const plumb_shape *shape,
                                 int64_t count, const void *data, const int32_t *labels, int classes,
                                 int64_t *bytes)
{
    char text[128];
    int64_t item = shape->rank >= 0 && shape->rank < PLUMB_MAX_RANK ? plumb_shape_count(shape) : -1;
    if (!data || !labels || count < 1 || classes < 1) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "data set: needs data, labels, at least one example and one class");
    }
    if (dtype != PLUMB_U8 && dtype != PLUMB_F32 && dtype != PLUMB_F64) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set: dtype is %s, expected u8, f32 or f64",
                          plumb_dtype_name(dtype));
    }
    if (item < 1 || !plumb_mul_size(item, count, bytes) ||
        !plumb_mul_size(*bytes, (int64_t)plumb_dtype_size(dtype), bytes)) {
        return plumb_fail(
            context, PLUMB_BAD_INPUT, "data set: %lld examples of shape %s cannot be", (long long)count,
            shape->rank < 0 || shape->rank > PLUMB_MAX_RANK ? "?"
                                                            : plumb_shape_text(shape, text, sizeof(text)));
    }
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0 || labels[i] >= classes) {
            return plumb_fail(context, PLUMB_BAD_INPUT,
                              "data set: label %d of example %lld is outside 0 to %d", labels[i],
                              (long long)i, classes - 1);
        }
    }
    return PLUMB_OK;
}

plumb_dataset *plumb_dataset_arrays(plumb_context *context, plumb_dtype dtype, plumb_shape shape,
                                    int64_t count, const void *data, const int32_t *labels, int classes)
{
    int64_t bytes = 0;
    if (!context || check_arrays(context, dtype, &shape, count, data, labels, classes, &bytes)) {
        return NULL;
    }
    struct dataset *d = plumb_zalloc(context, sizeof(*d));
    if (!d) {
        return NULL;
    }
    *d = (struct dataset){
        .context = context, .dtype = dtype, .shape = shape, .count = count, .classes = classes};
    d->data = plumb_alloc(context, (size_t)bytes);
    d->label32 = plumb_alloc(context, (size_t)count * sizeof(int32_t));
    if (!d->data || !d->label32) {
        plumb_dataset_drop(d);
        return NULL;
    }
    memcpy(d->data, data, (size_t)bytes);
    memcpy(d->label32, labels, (size_t)count * sizeof(int32_t));
    return plumb_dataset_publish(d);
}

/* ---- questions ---- */

void plumb_dataset_free(plumb_dataset *dataset) { plumb_handle_free(dataset, PLUMB_KIND_DATASET); }

/* "class/picture.png": what of a file's name does not depend on where the folder is. */
static const char *within(const char *path)
{
    const char *name = strrchr(path, '/');
    while (name && name > path && name[-1] != '/') {
        name--;
    }
    return name ? name : path;
}

uint64_t plumb_dataset_hash(const plumb_dataset *handle)
{
    const struct dataset *d = plumb_dataset_get(handle);
    if (!d) {
        return 0;
    }
    char text[256], shape[160];
    snprintf(text, sizeof(text), "%s %s %lld %d", plumb_dtype_name(d->dtype), plumb_shape_text(&d->shape, shape, sizeof(shape)),
             (long long)d->count, d->classes);
    const size_t bytes = (size_t)d->item * plumb_dtype_size(d->dtype);
    uint32_t values = 0, labels = plumb_crc32c(0, text, strlen(text));
    for (int64_t i = 0; i < d->count; i++) {
        const int32_t label = plumb_dataset_label_at(d, i); /* however wide they are kept */
        const int64_t row = plumb_dataset_row(d, i);
        const char *name = d->data ? NULL : within(d->folder->text + d->folder->name[row]);
        values = name ? plumb_crc32c(values, name, strlen(name) + 1) : plumb_crc32c(values, (const char *)d->data + (size_t)row * bytes, bytes);
        labels = plumb_crc32c(labels, &label, sizeof(label));
    }
    return (uint64_t)values << 32 | labels;
}

int64_t plumb_dataset_count(const plumb_dataset *dataset)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    return d ? d->count : 0;
}

plumb_shape plumb_dataset_shape(const plumb_dataset *dataset)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    return d ? d->shape : PLUMB_SCALAR_SHAPE;
}

plumb_dtype plumb_dataset_dtype(const plumb_dataset *dataset)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    return d ? d->dtype : PLUMB_NO_DTYPE;
}

int plumb_dataset_classes(const plumb_dataset *dataset)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    return d ? d->classes : 0;
}

const char *plumb_dataset_class_name(const plumb_dataset *dataset, int label)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    if (!d || label < 0 || label >= d->classes) {
        return "";
    }
    return d->class_names ? d->class_names[label] : d->names + (size_t)label * d->name_room;
}

int plumb_dataset_label(const plumb_dataset *dataset, int64_t index)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    return d && index >= 0 && index < d->count ? plumb_dataset_label_at(d, index) : -1;
}

plumb_status plumb_dataset_picture(const plumb_dataset *dataset, int64_t index, float *to, size_t bytes)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    if (!d) {
        return PLUMB_BAD_INPUT;
    }
    if (index < 0 || index >= d->count || !to || bytes != (size_t)d->item * sizeof(float)) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT,
                          "data set: picture %lld of %lld into %zu bytes, one has %lld floats",
                          (long long)index, (long long)d->count, bytes, (long long)d->item);
    }
    struct plumb_scratch scratch;
    plumb_status status = plumb_scratch_make(d, &scratch);
    if (!status && !plumb_dataset_floats(d, index, &scratch, to)) {
        status = plumb_fail(d->context, PLUMB_BAD_INPUT, "%s", scratch.why);
    }
    plumb_scratch_free(d, &scratch);
    return status;
}
