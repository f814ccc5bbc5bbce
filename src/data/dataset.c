/* The data set as an object: taking over arrays, answering questions, and the numbers of input scaling. */
#include <math.h>
#include <stdio.h>

#include "data/dataset.h"

struct dataset *plumb_dataset_get(const plumb_dataset *handle)
{
    return plumb_handle_get(handle, PLUMB_KIND_DATASET);
}

void plumb_dataset_destroy(void *object)
{
    struct dataset *d = object;
    plumb_free(d->context, d->data);
    plumb_free(d->context, d->label8);
    plumb_free(d->context, d->label32);
    plumb_free(d->context, d->numbers);
    plumb_free(d->context, d);
}

#define NUMBER_ROOM 12

plumb_dataset *plumb_dataset_publish(struct dataset *d)
{
    d->item = plumb_shape_count(&d->shape);
    d->numbers = plumb_zalloc(d->context, (size_t)d->classes * NUMBER_ROOM);
    plumb_dataset *handle = NULL;
    if (d->numbers) {
        for (int c = 0; c < d->classes; c++) {
            snprintf(d->numbers + (size_t)c * NUMBER_ROOM, NUMBER_ROOM, "%d", c);
        }
        handle = plumb_handle_new(d->context, PLUMB_KIND_DATASET, d, plumb_dataset_destroy);
    }
    if (!handle) {
        plumb_dataset_destroy(d);
    }
    return handle;
}

static plumb_status check_pair(plumb_context *context, const char *images, const char *labels,
                               const struct plumb_idx *x, const struct plumb_idx *y,
                               const plumb_dataset_options *options, int classes)
{
    int64_t count = x->shape.dim[0];
    if (count != y->shape.dim[0]) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: offset 4, dimension 0 (labels): is %lld, but %s has %lld pictures", labels,
                          (long long)y->shape.dim[0], images, (long long)count);
    }
    if (options && options->expect > 0 && count != options->expect) {
        return plumb_fail(context, PLUMB_BAD_INPUT,
                          "%s: offset 4, dimension 0 (pictures): is %lld, expected %lld", images,
                          (long long)count, (long long)options->expect);
    }
    const uint8_t *label = y->data;
    for (int64_t i = 0; i < count; i++) {
        if (label[i] >= classes) {
            return plumb_fail(context, PLUMB_BAD_INPUT,
                              "%s: offset %lld, label of picture %lld: %d is outside 0 to %d", labels,
                              (long long)(8 + i), (long long)i, label[i], classes - 1);
        }
    }
    return PLUMB_OK;
}

plumb_dataset *plumb_dataset_idx(plumb_context *context, const char *images, const char *labels,
                                 const plumb_dataset_options *options)
{
    if (!context) {
        return NULL;
    }
    int classes = options && options->classes ? options->classes : 10;
    int64_t max_bytes = options && options->max_bytes > 0 ? options->max_bytes : (int64_t)1 << 32;
    if (!images || !labels || classes < 1 || classes > 256) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs two file names and 1 to 256 classes, got %d",
                   classes);
        return NULL;
    }
    struct plumb_idx x = {0}, y = {0};
    plumb_status status = plumb_idx_read(context, labels, PLUMB_IDX_LABELS, max_bytes, &y);
    if (!status) {
        status = plumb_idx_read(context, images, PLUMB_IDX_PICTURES, max_bytes, &x);
    }
    if (!status) {
        status = check_pair(context, images, labels, &x, &y, options, classes);
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
    return plumb_dataset_publish(d);
}

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
        plumb_dataset_destroy(d);
        return NULL;
    }
    memcpy(d->data, data, (size_t)bytes);
    memcpy(d->label32, labels, (size_t)count * sizeof(int32_t));
    return plumb_dataset_publish(d);
}

void plumb_dataset_free(plumb_dataset *dataset) { plumb_handle_free(dataset, PLUMB_KIND_DATASET); }

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
    return d->class_names ? d->class_names[label] : d->numbers + (size_t)label * NUMBER_ROOM;
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
    for (int64_t i = 0; i < d->item; i++) {
        to[i] = (float)plumb_get(d->data, d->dtype, index * d->item + i);
    }
    return PLUMB_OK;
}

/* Sums over one channel of all examples. Bytes are counted per value, so their sums are exact. */
struct spread {
    double count, mean, deviation, low, high;
};

static void spread_of_bytes(const struct dataset *d, int64_t first, int64_t length, struct spread *out)
{
    int64_t times[256] = {0};
    const uint8_t *data = d->data;
    for (int64_t n = 0; n < d->count; n++) {
        for (int64_t i = 0; i < length; i++) {
            times[data[n * d->item + first + i]]++;
        }
    }
    double sum = 0, squares = 0;
    out->count = (double)d->count * (double)length;
    out->low = 256;
    out->high = -1;
    for (int v = 0; v < 256; v++) {
        sum += (double)times[v] * v;
        out->low = times[v] && v < out->low ? v : out->low;
        out->high = times[v] ? v : out->high;
    }
    out->mean = sum / out->count;
    for (int v = 0; v < 256; v++) {
        squares += (double)times[v] * (v - out->mean) * (v - out->mean);
    }
    out->deviation = sqrt(squares / out->count);
}

static void spread_of_floats(const struct dataset *d, int64_t first, int64_t length, struct spread *out)
{
    double sum = 0, squares = 0;
    out->count = (double)d->count * (double)length;
    out->low = INFINITY;
    out->high = -INFINITY;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t n = 0; n < d->count; n++) {
            for (int64_t i = 0; i < length; i++) {
                double v = plumb_get(d->data, d->dtype, n * d->item + first + i);
                sum += pass ? 0 : v;
                squares += pass ? (v - out->mean) * (v - out->mean) : 0;
                out->low = v < out->low ? v : out->low;
                out->high = v > out->high ? v : out->high;
            }
        }
        out->mean = sum / out->count;
    }
    out->deviation = sqrt(squares / out->count);
}

plumb_status plumb_dataset_scaling(const plumb_dataset *dataset, plumb_scaling rule, int channels,
                                   double *shift, double *scale)
{
    const struct dataset *d = plumb_dataset_get(dataset);
    if (!d) {
        return PLUMB_BAD_INPUT;
    }
    int64_t all = d->shape.rank > 0 ? d->shape.dim[0] : 1;
    if (!shift || !scale || channels < 1 || (channels != 1 && channels != all)) {
        return plumb_fail(d->context, PLUMB_BAD_INPUT,
                          "data set: scaling of %d channels, the pictures have %lld", channels,
                          (long long)all);
    }
    int64_t length = d->item / channels;
    for (int c = 0; c < channels; c++) {
        struct spread s = {0};
        if (d->dtype == PLUMB_U8) {
            spread_of_bytes(d, c * length, length, &s);
        } else {
            spread_of_floats(d, c * length, length, &s);
        }
        double width = s.high - s.low;
        switch (rule) {
        case PLUMB_SCALING_STANDARD:
            shift[c] = s.mean;
            scale[c] = s.deviation > 0 ? 1 / s.deviation : 1;
            break;
        case PLUMB_SCALING_UNIT:
            shift[c] = s.low;
            scale[c] = width > 0 ? 1 / width : 1;
            break;
        case PLUMB_SCALING_SYMMETRIC:
            shift[c] = (s.low + s.high) / 2;
            scale[c] = width > 0 ? 2 / width : 1;
            break;
        case PLUMB_SCALING_NONE:
            shift[c] = 0;
            scale[c] = 1;
            break;
        default:
            return plumb_fail(d->context, PLUMB_BAD_INPUT, "data set: no such scaling rule: %d", (int)rule);
        }
    }
    return PLUMB_OK;
}
