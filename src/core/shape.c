/* Shapes: counting without overflow, comparing, printing. Symbols are negative and never counted. */
#include "core/core.h"

#include <stdio.h>

bool plumb_mul_size(int64_t a, int64_t b, int64_t *product)
{
    int64_t result;
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &result)) {
        return false;
    }
    *product = result;
    return true;
}

int64_t plumb_shape_count(const plumb_shape *shape)
{
    if (shape->rank < 0 || shape->rank > PLUMB_MAX_RANK) {
        return -1;
    }
    /* The other dimensions must multiply without overflow even beside a 0: strides are such products. */
    int64_t count = 1;
    bool empty = false;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 0) {
            empty = true;
        } else if (!plumb_mul_size(count, shape->dim[i], &count)) {
            return -1;
        }
    }
    return empty ? 0 : count;
}

bool plumb_shape_equal(const plumb_shape *a, const plumb_shape *b)
{
    if (a->rank != b->rank || a->rank < 0 || a->rank > PLUMB_MAX_RANK) {
        return false;
    }
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i]) {
            return false;
        }
    }
    return true;
}

const char *plumb_shape_text(const plumb_shape *shape, char *to, size_t room)
{
    static const char symbols[PLUMB_SYMBOLS][2] = {"N", "T", "H", "W"};
    if (room == 0) {
        return to;
    }
    if (shape->rank < 0 || shape->rank > PLUMB_MAX_RANK) {
        snprintf(to, room, "(rank %d)", shape->rank);
        return to;
    }
    size_t at = 0;
    for (int i = 0; i <= shape->rank && at < room; i++) {
        int n;
        const char *before = i == 0 ? "(" : i < shape->rank ? ", " : "";
        if (i == shape->rank) {
            n = snprintf(to + at, room - at, "%s)", before);
        } else if (plumb_is_symbol(shape->dim[i])) {
            n = snprintf(to + at, room - at, "%s%s", before, symbols[plumb_symbol_index(shape->dim[i])]);
        } else if (shape->dim[i] == PLUMB_UNKNOWN) {
            n = snprintf(to + at, room - at, "%s?", before);
        } else {
            n = snprintf(to + at, room - at, "%s%lld", before, (long long)shape->dim[i]);
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return to;
}
