/* Tensors of the file: element types, shapes, and values in whichever of the format's fields they stand, in the file or beside
 * it. Exactly one field must hold them, of exactly as many elements as the shape says. */
#include "onnx/onnx.h"

static const struct {
    const char *name;
    plumb_dtype dtype;
} types[] = {{"undefined", 0}, {"float", PLUMB_F32}, {"uint8", PLUMB_U8}, {"int8", 0}, {"uint16", 0}, {"int16", 0}, {"int32", PLUMB_I32},
             {"int64", PLUMB_I64}, {"string", 0}, {"bool", PLUMB_U8}, {"float16", PLUMB_F16}, {"double", PLUMB_F64}, {"uint32", 0},
             {"uint64", 0}, {"complex64", 0}, {"complex128", 0}, {"bfloat16", PLUMB_BF16}};
#define TYPES ((int32_t)(sizeof(types) / sizeof(types[0])))
#define BOOLEAN 9

plumb_dtype plumb_onnx_dtype(int32_t type, bool *boolean)
{
    if (boolean) {
        *boolean = type == BOOLEAN;
    }
    return type >= 0 && type < TYPES ? types[type].dtype : PLUMB_NO_DTYPE;
}

const char *plumb_onnx_type_name(int32_t type)
{
    static const char *const wordy[] = {
        "element type undefined is", "element type float is", "element type uint8 is", "element type int8 is", "element type uint16 is",
        "element type int16 is", "element type int32 is", "element type int64 is", "element type string is", "element type bool is",
        "element type float16 is", "element type double is", "element type uint32 is", "element type uint64 is",
        "element type complex64 is", "element type complex128 is", "element type bfloat16 is"};
    return type >= 0 && type < TYPES ? wordy[type] : "an unknown element type is";
}

struct reading {
    const plumb_onnx *file;
    const Onnx__Tensor *t;
    const char *what;
};

static plumb_status refuse(const struct reading *r, const char *field, const char *why)
{
    return plumb_fail(r->file->context, PLUMB_BAD_INPUT, "%s: %s, %s: %s", r->file->path, r->what, field, why);
}

static plumb_status read_shape(const struct reading *r, plumb_shape *shape, int64_t *count)
{
    if (r->t->n_dims > PLUMB_MAX_RANK) {
        return refuse(r, "dims", "more than 8 dimensions");
    }
    *shape = (plumb_shape){.rank = (int)r->t->n_dims};
    for (int i = 0; i < shape->rank; i++) {
        shape->dim[i] = r->t->dims[i];
        if (shape->dim[i] < 0) {
            return refuse(r, "dims", "a negative dimension");
        }
    }
    *count = plumb_shape_count(shape);
    return *count < 0 || *count > ONNX_MAX_ELEMENTS ? refuse(r, "dims", "more than 2^31 elements") : PLUMB_OK;
}

static bool big_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 0;
}

static void raw_values(void *to, const void *from, size_t bytes, size_t size)
{
    memcpy(to, from, bytes);
    for (uint8_t *p = to; big_endian() && size > 1 && p < (uint8_t *)to + bytes; p += size) {
        for (size_t i = 0; i < size / 2; i++) {
            uint8_t swap = p[i];
            p[i] = p[size - 1 - i];
            p[size - 1 - i] = swap;
        }
    }
}

/* 32-bit fields hold small integers as numbers and 16-bit floats as their bits. */
static plumb_status narrow_values(const struct reading *r, void *to, plumb_dtype dtype, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        int32_t v = r->t->int32_data[i];
        if (dtype == PLUMB_I32) {
            ((int32_t *)to)[i] = v;
        } else if (dtype == PLUMB_U8) {
            if (v < 0 || v > 255) {
                return refuse(r, "int32_data", "a value that is no byte");
            }
            ((uint8_t *)to)[i] = (uint8_t)v;
        } else {
            if (v < 0 || v > 65535) {
                return refuse(r, "int32_data", "a value that is no 16 bits");
            }
            ((uint16_t *)to)[i] = (uint16_t)v;
        }
    }
    return PLUMB_OK;
}

static plumb_status copy_values(const struct reading *r, void *to, plumb_dtype dtype, int64_t count)
{
    const Onnx__Tensor *t = r->t;
    size_t size = plumb_dtype_size(dtype), bytes = (size_t)count * size;
    const struct {
        const char *name;
        bool there, fits;
        size_t count;
    } fields[] = {{"raw_data", t->has_raw_data, true, t->raw_data.len / size},
                  {"float_data", t->n_float_data > 0, dtype == PLUMB_F32, t->n_float_data},
                  {"int32_data", t->n_int32_data > 0, dtype != PLUMB_F32 && dtype != PLUMB_F64 && dtype != PLUMB_I64, t->n_int32_data},
                  {"int64_data", t->n_int64_data > 0, dtype == PLUMB_I64, t->n_int64_data},
                  {"double_data", t->n_double_data > 0, dtype == PLUMB_F64, t->n_double_data},
                  {"uint64_data", t->n_uint64_data > 0, false, t->n_uint64_data},
                  {"string_data", t->n_string_data > 0, false, t->n_string_data}};
    int found = -1;
    for (int i = 0; i < 7; i++) {
        if (fields[i].there && found >= 0) {
            return refuse(r, fields[i].name, "the values stand there twice");
        }
        found = fields[i].there ? i : found;
    }
    if (found < 0 || (found == 0 && bytes == 0 && t->raw_data.len == 0)) {
        return count == 0 ? PLUMB_OK : refuse(r, "raw_data", "there are no values");
    }
    if (!fields[found].fits) {
        return refuse(r, fields[found].name, "does not go with the element type");
    }
    if (fields[found].count != (size_t)count || (found == 0 && t->raw_data.len != bytes)) {
        return refuse(r, fields[found].name, "is not as long as the dimensions say");
    }
    switch (found) {
    case 0: raw_values(to, t->raw_data.data, bytes, size); return PLUMB_OK;
    case 1: memcpy(to, t->float_data, bytes); return PLUMB_OK;
    case 2: return narrow_values(r, to, dtype, count);
    case 3: memcpy(to, t->int64_data, bytes); return PLUMB_OK;
    default: memcpy(to, t->double_data, bytes); return PLUMB_OK;
    }
}

plumb_status plumb_onnx_tensor(const plumb_onnx *file, struct plumb_arena *arena, const Onnx__Tensor *tensor, const char *what,
                               struct onnx_value *value)
{
    const struct reading r = {file, tensor, what};
    int64_t count = 0;
    value->dtype = plumb_onnx_dtype(tensor->has_data_type ? tensor->data_type : 0, &value->boolean);
    if (!value->dtype) {
        return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s, data_type: %s not supported", file->path, what,
                          plumb_onnx_type_name(tensor->has_data_type ? tensor->data_type : 0));
    }
    plumb_status status = read_shape(&r, &value->shape, &count);
    bool external = tensor->has_data_location && tensor->data_location != 0;
    size_t bytes = status ? 0 : (size_t)count * plumb_dtype_size(value->dtype);
    if (!status && !external && tensor->has_raw_data && tensor->raw_data.len != bytes) {
        status = refuse(&r, "raw_data", "is not as long as the dimensions say"); /* before anything is allocated */
    }
    if (!status && !external && !tensor->has_raw_data &&
        (uint64_t)count > tensor->n_float_data + tensor->n_int32_data + tensor->n_int64_data + tensor->n_double_data) {
        status = refuse(&r, "dims", "there are fewer values than the dimensions say");
    }
    if (!status && external) {
        status = plumb_onnx_external(file, tensor, what, NULL, bytes);
    }
    void *data = status ? NULL : plumb_arena_alloc(arena, bytes + 8);
    if (!data) {
        return status ? status : PLUMB_FAILED;
    }
    status = external ? plumb_onnx_external(file, tensor, what, data, bytes) : copy_values(&r, data, value->dtype, count);
    for (int64_t i = 0; !status && value->boolean && i < count; i++) {
        ((uint8_t *)data)[i] = ((uint8_t *)data)[i] != 0;
    }
    value->data = status ? NULL : data;
    return status;
}
