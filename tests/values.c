/* See values.h. Elements are visited by an odometer over the logical index, so nothing here shares code with the
 * kernels under test. */
#include "values.h"

#include <math.h>
#include <stdio.h>

enum { GUARD = 64 }; /* elements of sentinel before and after */

void *test_alloc(size_t bytes)
{
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) {
        fprintf(stderr, "tests: out of memory\n");
        abort();
    }
    return memory;
}

uint64_t dice_next(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double dice_unit(struct dice *dice)
{
    return (double)(dice_next(dice) >> 11) * 0x1p-53;
}

double round_to(plumb_dtype dtype, double value)
{
    uint64_t room = 0;
    plumb_put(&room, dtype, 0, value);
    return plumb_get(&room, dtype, 0);
}

/* ---- values ---- */

static void shuffle(double *values, int64_t count, struct dice *dice)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t k = (int64_t)(dice_next(dice) % (uint64_t)(i + 1));
        double swap = values[i];
        values[i] = values[k];
        values[k] = swap;
    }
}

double *make_values(const case_input *input, plumb_dtype dtype, struct dice *dice)
{
    int64_t count = plumb_shape_count(&input->shape);
    double low = input->low, high = input->high;
    double *values = test_alloc((size_t)(count > 0 ? count : 1) * sizeof(double));
    bool whole = input->fill == CASE_INTEGERS;
    if (low == 0 && high == 0 && !whole) {
        low = -2;
        high = 2;
    }
    for (int64_t i = 0; i < count; i++) {
        double value;
        if (input->fill == CASE_GIVEN) {
            value = input->given[i];
        } else if (input->fill == CASE_DISTINCT) {
            value = low + (high - low) * ((double)i + 0.5) / (double)count;
        } else if (whole) {
            value = low + floor(dice_unit(dice) * (high - low + 1));
        } else {
            value = low + dice_unit(dice) * (high - low);
        }
        if (input->use_avoid && input->fill == CASE_UNIFORM) {
            value += value >= input->avoid ? 0.02 : -0.02;
        }
        values[i] = value;
    }
    if (input->fill == CASE_DISTINCT) {
        shuffle(values, count, dice);
    }
    for (int64_t i = 0; i < count; i++) {
        values[i] = round_to(dtype, values[i]);
    }
    return values;
}

/* ---- layouts ---- */

const char *layout_name(enum layout layout)
{
    static const char *const names[LAYOUT_COUNT] = {"contiguous", "transposed", "sliced", "broadcast", "odd",
                                                    "reversed", "channels-last"};
    return names[layout];
}

int broadcast_axis(const plumb_shape *shape)
{
    int axis = -1;
    for (int d = 0; d < shape->rank; d++) {
        if (shape->dim[d] > 1 && (axis < 0 || (shape->dim[0] + shape->rank) % 2 == 0)) {
            axis = d; /* the first or the last such dimension, as the shape falls */
        }
    }
    return axis;
}

void flatten_values(const plumb_shape *shape, double *values)
{
    int axis = broadcast_axis(shape);
    int64_t inner = 1, outer = 1;
    if (axis < 0) {
        return;
    }
    for (int d = 0; d < shape->rank; d++) {
        if (d < axis) {
            outer *= shape->dim[d];
        } else if (d > axis) {
            inner *= shape->dim[d];
        }
    }
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t k = 1; k < shape->dim[axis]; k++) {
            for (int64_t i = 0; i < inner; i++) {
                values[(o * shape->dim[axis] + k) * inner + i] = values[o * shape->dim[axis] * inner + i];
            }
        }
    }
}

/* Dimensions from innermost to outermost. */
static void physical_order(enum layout layout, int rank, int *order)
{
    for (int i = 0; i < rank; i++) {
        order[i] = layout == LAYOUT_TRANSPOSED ? i : rank - 1 - i;
    }
    if (layout == LAYOUT_CHANNELS_LAST && rank >= 2) {
        int at = 1;
        order[0] = 1;
        for (int d = rank - 1; d >= 0; d--) {
            if (d != 1) {
                order[at++] = d;
            }
        }
    }
}

/* Fills view->stride; returns the elements the view spans and, in *first, where element (0, ..., 0) lies. */
static int64_t lay_out(plumb_view *view, enum layout layout, const plumb_shape *shape, int64_t *first)
{
    int order[PLUMB_MAX_RANK];
    int64_t span = 1;
    int stretched = layout == LAYOUT_BROADCAST ? broadcast_axis(shape) : -1;
    *first = 0;
    physical_order(layout, shape->rank, order);
    for (int i = 0; i < shape->rank; i++) {
        int d = order[i];
        int64_t dim = shape->dim[d];
        if (d == stretched) {
            view->stride[d] = 0;
        } else if (layout == LAYOUT_SLICED) {
            int64_t step = i == 0 ? 2 : 1;
            view->stride[d] = span * step;
            *first += span;
            span *= dim * step + 2;
        } else if (layout == LAYOUT_REVERSED) {
            view->stride[d] = -span;
            *first += dim > 0 ? (dim - 1) * span : 0;
            span *= dim;
        } else {
            view->stride[d] = span;
            span *= dim;
        }
    }
    if (layout == LAYOUT_ODD) {
        *first += 1;
        span += 1;
    }
    if (*first > span) { /* no elements, hence no span: the address must lie in the block all the same */
        *first = span;
    }
    return span;
}

/* Moves to the next logical index; false after the last. `offset` follows in elements. */
static bool step_index(const plumb_view *view, int64_t *index, int64_t *offset)
{
    for (int d = view->rank - 1; d >= 0; d--) {
        *offset += view->stride[d];
        if (++index[d] < view->dim[d]) {
            return true;
        }
        *offset -= index[d] * view->stride[d];
        index[d] = 0;
    }
    return false;
}

void load_view(const plumb_view *view, double *values)
{
    int64_t index[PLUMB_MAX_RANK] = {0}, offset = 0, at = 0;
    if (plumb_view_count(view) <= 0) {
        return;
    }
    do {
        values[at++] = plumb_get(view->data, view->dtype, offset);
    } while (step_index(view, index, &offset));
}

/* ---- buffers ---- */

void buffer_make(struct buffer *buffer, plumb_dtype dtype, const plumb_shape *shape, enum layout layout)
{
    int64_t first;
    size_t size = plumb_dtype_size(dtype);
    plumb_view *view = &buffer->view;
    memset(buffer, 0, sizeof(*buffer));
    view->dtype = dtype;
    view->rank = shape->rank;
    memcpy(view->dim, shape->dim, sizeof(view->dim));
    int64_t span = lay_out(view, layout, shape, &first);
    buffer->bytes = ((size_t)span + 2 * GUARD) * size;
    buffer->bytes = (buffer->bytes + 63) / 64 * 64;
    buffer->memory = aligned_alloc(64, buffer->bytes);
    buffer->before = test_alloc(buffer->bytes);
    if (!buffer->memory) {
        abort();
    }
    for (size_t i = 0; i < buffer->bytes; i++) {
        buffer->memory[i] = (unsigned char)(0xc5 ^ (i * 31));
    }
    memcpy(buffer->before, buffer->memory, buffer->bytes);
    view->data = buffer->memory + (size_t)(GUARD + first) * size;
}

void buffer_store(struct buffer *buffer, const double *values)
{
    const plumb_view *view = &buffer->view;
    int64_t index[PLUMB_MAX_RANK] = {0}, offset = 0, at = 0;
    if (plumb_view_count(view) > 0) {
        do {
            plumb_put(view->data, view->dtype, offset, values[at++]);
        } while (step_index(view, index, &offset));
    }
    memcpy(buffer->before, buffer->memory, buffer->bytes);
}

void buffer_load(const struct buffer *buffer, double *values)
{
    load_view(&buffer->view, values);
}

static uint64_t poison_bits(plumb_dtype dtype)
{
    switch (dtype) {
    case PLUMB_F32: return 0x7fc0deadu;
    case PLUMB_F64: return 0x7ff8dead7fc0deadu;
    case PLUMB_BF16: return 0x7fdeu;
    case PLUMB_F16: return 0x7eadu;
    default: return 0xa5a5a5a5a5a5a5a5u;
    }
}

void buffer_poison(struct buffer *buffer)
{
    const plumb_view *view = &buffer->view;
    int64_t index[PLUMB_MAX_RANK] = {0}, offset = 0;
    size_t size = plumb_dtype_size(view->dtype);
    uint64_t bits = poison_bits(view->dtype);
    if (plumb_view_count(view) > 0) {
        do {
            memcpy((unsigned char *)view->data + offset * (int64_t)size, &bits, size);
        } while (step_index(view, index, &offset));
    }
    memcpy(buffer->before, buffer->memory, buffer->bytes);
}

int64_t buffer_poisoned(const struct buffer *buffer)
{
    const plumb_view *view = &buffer->view;
    int64_t index[PLUMB_MAX_RANK] = {0}, offset = 0, count = 0;
    size_t size = plumb_dtype_size(view->dtype);
    uint64_t bits = poison_bits(view->dtype);
    if (plumb_view_count(view) > 0) {
        do {
            count += memcmp((unsigned char *)view->data + offset * (int64_t)size, &bits, size) == 0;
        } while (step_index(view, index, &offset));
    }
    return count;
}

bool buffer_unchanged(const struct buffer *buffer)
{
    return memcmp(buffer->memory, buffer->before, buffer->bytes) == 0;
}

bool buffer_guarded(const struct buffer *buffer)
{
    const plumb_view *view = &buffer->view;
    int64_t index[PLUMB_MAX_RANK] = {0}, offset = 0;
    size_t size = plumb_dtype_size(view->dtype);
    unsigned char *at = view->data, *copy = buffer->before + (at - buffer->memory);
    if (plumb_view_count(view) > 0) {
        do {
            memcpy(copy + offset * (int64_t)size, at + offset * (int64_t)size, size);
        } while (step_index(view, index, &offset));
    }
    return buffer_unchanged(buffer);
}

bool buffer_same(const struct buffer *a, const struct buffer *b)
{
    int64_t index_a[PLUMB_MAX_RANK] = {0}, index_b[PLUMB_MAX_RANK] = {0}, at_a = 0, at_b = 0;
    size_t size = plumb_dtype_size(a->view.dtype);
    if (plumb_view_count(&a->view) <= 0) {
        return true;
    }
    do {
        if (memcmp((unsigned char *)a->view.data + at_a * (int64_t)size,
                   (unsigned char *)b->view.data + at_b * (int64_t)size, size) != 0) {
            return false;
        }
        step_index(&b->view, index_b, &at_b);
    } while (step_index(&a->view, index_a, &at_a));
    return true;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->memory);
    free(buffer->before);
    memset(buffer, 0, sizeof(*buffer));
}
