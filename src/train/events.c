/* TensorBoard's event files, written by hand: records of a length, its checksum, a protobuf message, its checksum. The
 * messages are small and known (event.proto and summary.proto of TensorFlow), so fields are put down one by one.
 *
 * A file is appended to and nothing is read back: TensorBoard follows files as they grow, and it checks every record,
 * so what a crash cut short does no harm to what stands before it. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <time.h>

#include "io/png.h"
#include "plumb/report.h"
#include "train/train.h"

#define BUCKETS 30
#define MOST_BYTES (1 << 28)

struct bytes {
    plumb_context *context;
    uint8_t *data;
    int length, room;
    bool failed;
};

static void put(struct bytes *b, const void *data, size_t count)
{
    if (b->failed || count == 0) {
        return;
    }
    int64_t need = (int64_t)b->length + (int64_t)count;
    if (need > MOST_BYTES) {
        plumb_fail(b->context, PLUMB_BAD_INPUT, "events: more than %d bytes at once", MOST_BYTES);
    }
    if (need > MOST_BYTES || !plumb_grow(b->context, &b->data, &b->room, (int)need, 1)) {
        b->failed = true;
        return;
    }
    memcpy(b->data + b->length, data, count);
    b->length = (int)need;
}

static void put_little(struct bytes *b, uint64_t value, int count)
{
    uint8_t bytes[8];
    for (int i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    put(b, bytes, (size_t)count);
}

static void put_varint(struct bytes *b, uint64_t value)
{
    do {
        put_little(b, (value & 0x7f) | (value > 0x7f ? 0x80 : 0), 1);
        value >>= 7;
    } while (value);
}

/* ---- fields: their number and how they are coded come first ---- */

enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

static void put_double(struct bytes *b, int field, double value)
{
    union {
        double d;
        uint64_t u;
    } bits = {.d = value};
    put_varint(b, (uint64_t)field << 3 | FIXED64);
    put_little(b, bits.u, 8);
}

static void put_float(struct bytes *b, int field, float value)
{
    union {
        float f;
        uint32_t u;
    } bits = {.f = value};
    put_varint(b, (uint64_t)field << 3 | FIXED32);
    put_little(b, bits.u, 4);
}

static void put_whole(struct bytes *b, int field, int64_t value)
{
    put_varint(b, (uint64_t)field << 3 | VARINT);
    put_varint(b, (uint64_t)value);
}

static void put_data(struct bytes *b, int field, const void *data, size_t count)
{
    put_varint(b, (uint64_t)field << 3 | LENGTH);
    put_varint(b, count);
    put(b, data, count);
}

/* Puts `inner` as a field and empties it. */
static void put_message(struct bytes *b, int field, struct bytes *inner)
{
    b->failed = b->failed || inner->failed;
    if (!b->failed) {
        put_data(b, field, inner->data, (size_t)inner->length);
    }
    plumb_free(inner->context, inner->data);
    *inner = (struct bytes){.context = inner->context};
}

static uint32_t masked(const void *data, size_t count)
{
    uint32_t crc = plumb_crc32c(0, data, count);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* A record around `event`, which is emptied. */
static void put_record(struct bytes *file, struct bytes *event)
{
    uint8_t length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)((uint64_t)event->length >> (8 * i));
    }
    file->failed = file->failed || event->failed;
    put(file, length, 8);
    put_little(file, masked(length, 8), 4);
    if (!file->failed) {
        put(file, event->data, (size_t)event->length);
        put_little(file, masked(event->data, (size_t)event->length), 4);
    }
    plumb_free(event->context, event->data);
    *event = (struct bytes){.context = event->context};
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Event{wall_time 1, step 2, summary 5{value 1}} */
static void put_event(struct bytes *file, double wall_time, int64_t step, struct bytes *value)
{
    struct bytes summary = {.context = file->context}, event = {.context = file->context};
    put_message(&summary, 1, value);
    put_double(&event, 1, wall_time > 0 ? wall_time : now());
    put_whole(&event, 2, step);
    put_message(&event, 5, &summary);
    put_record(file, &event);
}

static void put_version(struct bytes *file)
{
    static const char version[] = "brain.Event:2";
    struct bytes event = {.context = file->context};
    put_double(&event, 1, now());
    put_data(&event, 3, version, sizeof(version) - 1);
    put_record(file, &event);
}

/* ---- the file ---- */

static int open_events(plumb_context *context, const char *path, bool *fresh)
{
    const plumb_io *io = &context->io;
    const int flags = O_WRONLY | O_APPEND | O_CLOEXEC;
    int fd;
    do {
        fd = io->open(io->user, path, flags | O_CREAT | O_EXCL, 0666);
    } while (fd < 0 && errno == EINTR);
    *fresh = fd >= 0;
    while (fd < 0 && (errno == EEXIST || errno == EINTR)) {
        errno = 0;
        fd = io->open(io->user, path, flags, 0666);
        if (fd < 0 && errno != EINTR) {
            break;
        }
    }
    return fd;
}

static bool write_all(const plumb_io *io, int fd, const uint8_t *data, int length)
{
    int done = 0;
    while (done < length) {
        int64_t n = io->write(io->user, fd, data + done, (size_t)(length - done));
        if (n < 0 && errno != EINTR) {
            return false;
        }
        done += n > 0 ? (int)n : 0;
        if (n == 0) {
            errno = EIO;
            return false;
        }
    }
    return true;
}

/* Appends what was gathered, after the version if the file is new, and frees it. */
static plumb_status append(struct bytes *events, const char *path)
{
    plumb_context *context = events->context;
    plumb_status status = events->failed ? plumb_last_status(context) : PLUMB_OK;
    struct bytes version = {.context = context};
    bool fresh = false;
    int fd = status ? -1 : open_events(context, path, &fresh);
    if (!status && fresh) {
        put_version(&version);
        status = version.failed ? PLUMB_FAILED : PLUMB_OK;
    }
    bool good = fd >= 0 && !status && write_all(&context->io, fd, version.data, version.length) &&
                write_all(&context->io, fd, events->data, events->length);
    int why = errno;
    if (fd >= 0 && context->io.close(context->io.user, fd) != 0 && good) {
        good = false;
        why = errno;
    }
    if (!status && !good) {
        status = plumb_fail(context, PLUMB_IO_ERROR, "%s: cannot append events: %s", path, strerror(why));
    }
    plumb_free(context, version.data);
    plumb_free(context, events->data);
    return status;
}

/* ---- what is recorded ---- */

plumb_status plumb_add_scalars(plumb_context *context, const char *path, const plumb_scalar_event *scalars, int count)
{
    struct bytes file = {.context = context}, value = {.context = context};
    for (int i = 0; i < count; i++) {
        put_data(&value, 1, scalars[i].tag, strlen(scalars[i].tag));
        put_float(&value, 2, (float)scalars[i].value);
        put_event(&file, scalars[i].wall_time, scalars[i].step, &value);
    }
    return append(&file, path);
}

plumb_status plumb_add_epoch(plumb_context *context, const char *path, const plumb_epoch *epoch)
{
    const struct {
        const char *tag;
        double value;
    } rows[] = {{"loss/train", epoch->train_loss},     {"loss/test", epoch->test_loss},
                {"accuracy/train", epoch->train_accuracy}, {"accuracy/test", epoch->test_accuracy},
                {"loss/dev", epoch->dev_loss},         {"accuracy/dev", epoch->dev_accuracy},
                {"learning_rate", epoch->lr},          {"speed/images_per_s", epoch->images_per_s},
                {"speed/data_wait", epoch->data_wait}};
    plumb_scalar_event scalars[sizeof(rows) / sizeof(rows[0])];
    int count = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (isfinite(rows[i].value)) {
            scalars[count++] = (plumb_scalar_event){rows[i].tag, epoch->epoch, rows[i].value, 0};
        }
    }
    return plumb_add_scalars(context, path, scalars, count);
}

/* HistogramProto{min 1, max 2, num 3, sum 4, sum_squares 5, bucket_limit 6, bucket 7}, the last two packed. */
plumb_status plumb_add_histogram(plumb_context *context, const char *path, const char *tag, int64_t step,
                                 const float *values, int64_t count)
{
    double low = INFINITY, high = -INFINITY, sum = 0, squares = 0, bucket[BUCKETS] = {0};
    int64_t finite = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(values[i])) {
            low = fmin(low, (double)values[i]);
            high = fmax(high, (double)values[i]);
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
            finite++;
        }
    }
    low = finite ? low : 0;
    high = finite ? high : 0;
    double width = (high > low ? high - low : 1) / BUCKETS;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(values[i])) {
            int at = (int)(((double)values[i] - low) / width);
            bucket[at < BUCKETS ? at : BUCKETS - 1]++;
        }
    }
    struct bytes file = {.context = context}, value = {.context = context}, histogram = value, packed = value;
    const double first[5] = {low, high, (double)finite, sum, squares};
    for (int i = 0; i < 5; i++) {
        put_double(&histogram, i + 1, first[i]);
    }
    for (int field = 6; field <= 7; field++) {
        for (int i = 0; i < BUCKETS; i++) {
            union {
                double d;
                uint64_t u;
            } bits = {.d = field == 7 ? bucket[i] : i == BUCKETS - 1 && high > low ? high : low + (i + 1) * width};
            put_little(&packed, bits.u, 8);
        }
        put_message(&histogram, field, &packed);
    }
    put_data(&value, 1, tag, strlen(tag));
    put_message(&value, 5, &histogram);
    put_event(&file, 0, step, &value);
    return append(&file, path);
}

/* Image{height 1, width 2, colorspace 3, encoded_image_string 4} */
plumb_status plumb_add_picture(plumb_context *context, const char *path, const char *tag, int64_t step, int width,
                               int height, int channels, const uint8_t *pixels)
{
    uint8_t *png;
    size_t bytes;
    plumb_status status = plumb_png_pack(context, tag, width, height, channels, pixels, &png, &bytes);
    if (status) {
        return status;
    }
    struct bytes file = {.context = context}, value = {.context = context}, image = value;
    put_whole(&image, 1, height);
    put_whole(&image, 2, width);
    put_whole(&image, 3, channels);
    put_data(&image, 4, png, bytes);
    plumb_free(context, png);
    put_data(&value, 1, tag, strlen(tag));
    put_message(&value, 4, &image);
    put_event(&file, 0, step, &value);
    return append(&file, path);
}
