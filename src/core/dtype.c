/* Facts about element types, names of status codes, and reading or writing one element as a double: the slow, general
 * road that tests, printing and reference kernels take, so that no other file needs a switch over dtypes. */
#include "core/core.h"

#define VERSION_TEXT_(x) #x
#define VERSION_TEXT(x) VERSION_TEXT_(x)

static const struct {
    const char *name;
    size_t size;
    bool is_float;
    double epsilon; /* unit roundoff */
} dtypes[PLUMB_DTYPE_COUNT] = {
    [PLUMB_NO_DTYPE] = {"?", 0, false, 0},
    [PLUMB_F32] = {"f32", 4, true, 0x1p-24},
    [PLUMB_F64] = {"f64", 8, true, 0x1p-53},
    [PLUMB_BF16] = {"bf16", 2, true, 0x1p-8},
    [PLUMB_F16] = {"f16", 2, true, 0x1p-11},
    [PLUMB_I32] = {"i32", 4, false, 0},
    [PLUMB_I64] = {"i64", 8, false, 0},
    [PLUMB_U8] = {"u8", 1, false, 0},
};

static const char *const status_names[] = {
    [PLUMB_OK] = "ok",
    [PLUMB_FAILED] = "failed",
    [PLUMB_BAD_INPUT] = "bad input",
    [PLUMB_DEVICE_ERROR] = "device error",
    [PLUMB_NUMERIC] = "numeric error",
    [PLUMB_IO_ERROR] = "i/o error",
};

/* An enum may hold any number a caller put there: everything invalid is treated as PLUMB_NO_DTYPE. */
static unsigned valid(plumb_dtype dtype)
{
    unsigned index = (unsigned)dtype;
    return index < PLUMB_DTYPE_COUNT ? index : PLUMB_NO_DTYPE;
}

const char *plumb_version(void)
{
    return VERSION_TEXT(PLUMB_VERSION_MAJOR) "." VERSION_TEXT(PLUMB_VERSION_MINOR) "."
           VERSION_TEXT(PLUMB_VERSION_PATCH);
}

const char *plumb_status_name(plumb_status status)
{
    unsigned index = (unsigned)status;
    return index < sizeof(status_names) / sizeof(status_names[0]) ? status_names[index] : "unknown status";
}

size_t plumb_dtype_size(plumb_dtype dtype)
{
    return dtypes[valid(dtype)].size;
}

const char *plumb_dtype_name(plumb_dtype dtype)
{
    return dtypes[valid(dtype)].name;
}

bool plumb_dtype_is_float(plumb_dtype dtype)
{
    return dtypes[valid(dtype)].is_float;
}

double plumb_dtype_epsilon(plumb_dtype dtype)
{
    return dtypes[valid(dtype)].epsilon;
}

double plumb_get(const void *data, plumb_dtype dtype, int64_t index)
{
    switch (dtype) {
    case PLUMB_F32:
        return (double)((const float *)data)[index];
    case PLUMB_F64:
        return ((const double *)data)[index];
    case PLUMB_BF16:
        return (double)plumb_f32_of_bf16(((const uint16_t *)data)[index]);
    case PLUMB_F16:
        return (double)plumb_f32_of_f16(((const uint16_t *)data)[index]);
    case PLUMB_I32:
        return (double)((const int32_t *)data)[index];
    case PLUMB_I64:
        return (double)((const int64_t *)data)[index];
    case PLUMB_U8:
        return (double)((const uint8_t *)data)[index];
    case PLUMB_NO_DTYPE:
    case PLUMB_DTYPE_COUNT:
        break;
    }
    return 0;
}

/* Toward zero, saturating, NaN to 0. `beyond` is the first double past `high` (high itself may not be a double). */
static int64_t integer_of(double value, int64_t low, double beyond, int64_t high)
{
    if (value >= beyond) {
        return high;
    }
    if (value <= (double)low) {
        return low;
    }
    return value == value ? (int64_t)value : 0;
}

void plumb_put(void *data, plumb_dtype dtype, int64_t index, double value)
{
    switch (dtype) {
    case PLUMB_F32:
        ((float *)data)[index] = (float)value;
        return;
    case PLUMB_F64:
        ((double *)data)[index] = value;
        return;
    case PLUMB_BF16:
        ((uint16_t *)data)[index] = plumb_bf16_of_f64(value);
        return;
    case PLUMB_F16:
        ((uint16_t *)data)[index] = plumb_f16_of_f64(value);
        return;
    case PLUMB_I32:
        ((int32_t *)data)[index] = (int32_t)integer_of(value, INT32_MIN, 0x1p31, INT32_MAX);
        return;
    case PLUMB_I64:
        ((int64_t *)data)[index] = integer_of(value, INT64_MIN, 0x1p63, INT64_MAX);
        return;
    case PLUMB_U8:
        ((uint8_t *)data)[index] = (uint8_t)integer_of(value, 0, 0x1p8, UINT8_MAX);
        return;
    case PLUMB_NO_DTYPE:
    case PLUMB_DTYPE_COUNT:
        return;
    }
}
