/* The IDX format, read as if an enemy had written it: two zero bytes, a type, a number of dimensions, the dimensions
 * as 32-bit big-endian numbers, then the data. Every claim of the header is checked against the size of the file
 * before anything is allocated, and the file must end exactly where the header says. */
#include <math.h>
#include <stdio.h>

#include "data/dataset.h"
#include "data/source.h"

static const char *const picture_field[3] = {"dimension 0 (pictures)", "dimension 1 (rows)",
                                             "dimension 2 (columns)"};
static const char *const label_field[1] = {"dimension 0 (labels)"};

static plumb_status refuse(struct plumb_source *s, int64_t offset, const char *field, const char *format, ...)
    PLUMB_PRINTF(4, 5);
static plumb_status refuse(struct plumb_source *s, int64_t offset, const char *field, const char *format, ...)
{
    char why[200];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    return plumb_fail(s->context, PLUMB_BAD_INPUT, "%s: offset %lld, %s: %s", s->path, (long long)offset,
                      field, why);
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static plumb_status read_magic(struct plumb_source *s, enum plumb_idx_role role, plumb_dtype *dtype)
{
    unsigned char m[4];
    size_t got;
    plumb_status status = plumb_source_read(s, m, 4, &got);
    if (status) {
        return status;
    }
    if (got < 4) {
        return refuse(s, (int64_t)got, "magic", "the file ends after %zu of 4 bytes", got);
    }
    if (m[0] != 0 || m[1] != 0) {
        bool reversed = m[3] == 0 && m[2] == 0;
        return refuse(s, m[0] ? 0 : 1, "magic", "is %02x %02x %02x %02x, not 00 00 type dimensions%s", m[0],
                      m[1], m[2], m[3], reversed ? " (written little-endian?)" : "");
    }
    *dtype = m[2] == 0x08 ? PLUMB_U8 : m[2] == 0x0d ? PLUMB_F32 : m[2] == 0x0e ? PLUMB_F64 : PLUMB_NO_DTYPE;
    if (!*dtype || (role == PLUMB_IDX_LABELS && *dtype != PLUMB_U8)) {
        return refuse(s, 2, "type", "is 0x%02x, expected %s", m[2],
                      role == PLUMB_IDX_LABELS ? "0x08 (bytes)"
                                               : "0x08 (bytes), 0x0d (floats) or 0x0e (doubles)");
    }
    int expected = role == PLUMB_IDX_LABELS ? 1 : 3;
    if (m[3] != expected) {
        const char *swapped = role == PLUMB_IDX_LABELS && m[3] == 3     ? " (a file of pictures?)"
                              : role == PLUMB_IDX_PICTURES && m[3] == 1 ? " (a file of labels?)"
                                                                        : "";
        return refuse(s, 3, "number of dimensions", "is %d, expected %d%s", m[3], expected, swapped);
    }
    return PLUMB_OK;
}

static plumb_status read_dimensions(struct plumb_source *s, enum plumb_idx_role role, struct plumb_idx *idx,
                                    int64_t max_bytes, int64_t *bytes)
{
    int rank = role == PLUMB_IDX_LABELS ? 1 : 3;
    const char *const *field = role == PLUMB_IDX_LABELS ? label_field : picture_field;
    *bytes = (int64_t)plumb_dtype_size(idx->dtype);
    bool fits = true;
    idx->shape.rank = rank;
    for (int d = 0; d < rank; d++) {
        unsigned char four[4];
        size_t got;
        int64_t offset = 4 + 4 * d;
        plumb_status status = plumb_source_read(s, four, 4, &got);
        if (status) {
            return status;
        }
        if (got < 4) {
            return refuse(s, offset + (int64_t)got, field[d], "the file ends inside the header");
        }
        idx->shape.dim[d] = big_endian(four);
        if (idx->shape.dim[d] == 0) {
            return refuse(s, offset, field[d], "is 0");
        }
        fits = fits && plumb_mul_size(*bytes, idx->shape.dim[d], bytes) && *bytes <= max_bytes;
        if (!fits) {
            return refuse(s, offset, field[d], "is %lld, with which the data pass the limit of %lld bytes",
                          (long long)idx->shape.dim[d], (long long)max_bytes);
        }
    }
    return PLUMB_OK;
}

static plumb_status check_size(struct plumb_source *s, int64_t header, int64_t bytes)
{
    int64_t all = header + bytes;
    if (plumb_source_may_hold(s, all)) {
        return PLUMB_OK;
    }
    if (s->gzip) {
        return refuse(s, header, "data",
                      "the header announces %lld bytes, more than a gzip file of %lld can hold",
                      (long long)bytes, (long long)s->file_bytes);
    }
    return refuse(s, all < s->file_bytes ? all : s->file_bytes, "data",
                  "the header announces %lld bytes in all, the file has %lld (%lld too %s)", (long long)all,
                  (long long)s->file_bytes,
                  (long long)(all < s->file_bytes ? s->file_bytes - all : all - s->file_bytes),
                  all < s->file_bytes ? "many" : "few");
}

/* Big-endian floats to the machine's, refusing what is not finite. */
static plumb_status convert_floats(struct plumb_source *s, struct plumb_idx *idx, int64_t bytes,
                                   int64_t header)
{
    unsigned char *p = idx->data;
    int64_t size = (int64_t)plumb_dtype_size(idx->dtype);
    for (int64_t i = 0; i < bytes / size; i++, p += size) {
        double value;
        if (size == 4) {
            union {
                uint32_t u;
                float f;
            } x = {.u = big_endian(p)};
            memcpy(p, &x.f, 4);
            value = (double)x.f;
        } else {
            union {
                uint64_t u;
                double f;
            } x = {.u = (uint64_t)big_endian(p) << 32 | big_endian(p + 4)};
            memcpy(p, &x.f, 8);
            value = x.f;
        }
        if (!isfinite(value)) {
            return refuse(s, header + i * size, "data", "is %s in picture %lld",
                          isnan(value) ? "not a number" : "infinite",
                          (long long)(i / (idx->shape.dim[1] * idx->shape.dim[2])));
        }
    }
    return PLUMB_OK;
}

static plumb_status read_all(struct plumb_source *s, enum plumb_idx_role role, int64_t max_bytes,
                             struct plumb_idx *idx)
{
    int64_t bytes = 0;
    size_t got;
    plumb_status status = read_magic(s, role, &idx->dtype);
    if (!status) {
        status = read_dimensions(s, role, idx, max_bytes, &bytes);
    }
    int64_t header = 4 + 4 * (int64_t)idx->shape.rank;
    if (!status) {
        status = check_size(s, header, bytes);
    }
    if (status) {
        return status;
    }
    idx->data = plumb_alloc(s->context, (size_t)bytes);
    if (!idx->data) {
        return PLUMB_FAILED;
    }
    status = plumb_source_read(s, idx->data, (size_t)bytes, &got);
    if (!status && (int64_t)got < bytes) {
        status = refuse(s, header + (int64_t)got, "data", "the file ends here, %lld bytes too early",
                        (long long)(bytes - (int64_t)got));
    }
    if (!status) {
        status = plumb_source_end(s, header + bytes);
    }
    if (!status && idx->dtype != PLUMB_U8) {
        status = convert_floats(s, idx, bytes, header);
    }
    return status;
}

plumb_status plumb_idx_read(plumb_context *context, const char *path, enum plumb_idx_role role,
                            int64_t max_bytes, struct plumb_idx *idx)
{
    memset(idx, 0, sizeof(*idx));
    struct plumb_source *source;
    plumb_status status = plumb_source_open(context, path, &source);
    if (status) {
        return status;
    }
    status = read_all(source, role, max_bytes, idx);
    plumb_source_close(source);
    if (status) {
        plumb_free(context, idx->data);
        idx->data = NULL;
    }
    return status;
}
