/* Numbers and memory for the cross-check and the gradient check: the values a case asks for, and buffers that lay them
 * out in every way a kernel may meet, with sentinels around and between the elements. */
#ifndef PLUMB_TESTS_VALUES_H
#define PLUMB_TESTS_VALUES_H

#include "cases.h"

/* A small generator of its own (splitmix64), so that tests do not stand on the library's randomness. */
struct dice {
    uint64_t state;
};
uint64_t dice_next(struct dice *dice);
double dice_unit(struct dice *dice); /* [0, 1) */

/* The element type of an input of a case when the case is tried in `dtype`. */
static inline plumb_dtype input_dtype(const case_input *input, plumb_dtype dtype)
{
    return input->dtype != PLUMB_NO_DTYPE ? input->dtype : dtype;
}

/* `value` as `dtype` holds it. */
double round_to(plumb_dtype dtype, double value);

/* The values `input` asks for, rounded to `dtype`: a malloc'ed array of the shape's count (at least 1). */
double *make_values(const case_input *input, plumb_dtype dtype, struct dice *dice);

/* How elements lie in memory. */
enum layout {
    LAYOUT_CONTIGUOUS,
    LAYOUT_TRANSPOSED,    /* dimensions in reverse order */
    LAYOUT_SLICED,        /* begins inside a larger tensor, every second element of the last dimension */
    LAYOUT_BROADCAST,     /* one dimension with stride 0 (inputs only); the values must be equal along it */
    LAYOUT_ODD,           /* contiguous, one element off alignment */
    LAYOUT_REVERSED,      /* negative strides */
    LAYOUT_CHANNELS_LAST, /* dimension 1 innermost */
    LAYOUT_COUNT
};
const char *layout_name(enum layout layout);

/* The dimension that LAYOUT_BROADCAST stretches, -1 if none is longer than 1. */
int broadcast_axis(const plumb_shape *shape);
/* Makes values equal along that dimension. */
void flatten_values(const plumb_shape *shape, double *values);

struct buffer {
    unsigned char *memory, *before; /* the block with its sentinels, and a copy of it as it was */
    size_t bytes;
    plumb_view view;
};
void buffer_make(struct buffer *buffer, plumb_dtype dtype, const plumb_shape *shape, enum layout layout);
void buffer_store(struct buffer *buffer, const double *values); /* and remembers the block */
void buffer_load(const struct buffer *buffer, double *values);
void buffer_poison(struct buffer *buffer);                      /* elements become a NaN no kernel makes */
int64_t buffer_poisoned(const struct buffer *buffer);           /* how many elements still are */
bool buffer_unchanged(const struct buffer *buffer);             /* all of the block */
bool buffer_guarded(const struct buffer *buffer);               /* all of the block but the elements */
bool buffer_same(const struct buffer *a, const struct buffer *b); /* elements bitwise equal */
void buffer_free(struct buffer *buffer);
void load_view(const plumb_view *view, double *values);

void *test_alloc(size_t bytes); /* aborts the test program when out of memory; zeroed */

#endif
