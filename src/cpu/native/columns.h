/* Pictures that lie channels-last, and rows of features: a matrix of positions by channels, whose lanes are channels.
 *
 * What is done to each channel is written out as a pattern of `width` numbers: the channels once, or several times over
 * where they are few, so that loops along the pattern are long and, where that is possible, end with a vector. A stretch
 * of the matrix is then so many patterns one after the other, and a part of one at the very end.
 *
 * Work is cut into chunks of whole patterns by the shape alone. A chunk that makes sums has accumulators of its own; eight
 * patterns' terms are added in f32, as a tree, and go to a double, so rounding grows neither with rows nor with chunks. */
#ifndef PLUMB_NATIVE_COLUMNS_H
#define PLUMB_NATIVE_COLUMNS_H

#include "cpu/native/vector.h"
#include "op/op.h"

enum { COLUMNS_TREE = 8 };

struct columns {
    int64_t rows, channels;
    int64_t width, per_chunk; /* elements of the pattern, of a chunk: the latter is a multiple of the former */
    int64_t count, chunks;
};

NATIVE_INLINE float columns_tree(const float *term)
{
    return ((term[0] + term[1]) + (term[2] + term[3])) + ((term[4] + term[5]) + (term[6] + term[7]));
}

static inline struct columns columns_of(int64_t rows, int64_t channels)
{
    enum { LEAST_WIDTH = 256, MOST_WIDTH = 1024, LEAST_CHUNK = 1 << 13, MOST_CHUNK = 1 << 17, CHUNKS = 64, LEAST_ROWS = 64 };
    struct columns m = {.rows = rows, .channels = channels, .width = channels, .count = rows * channels};
    if (m.count == 0)
        return m;
    int64_t whole = 16; /* copies that make a multiple of 16 lanes */
    for (int64_t c = channels; whole > 1 && c % 2 == 0; c /= 2)
        whole /= 2;
    if (channels < LEAST_WIDTH && whole * channels <= MOST_WIDTH)
        m.width = (LEAST_WIDTH + whole * channels - 1) / (whole * channels) * whole * channels;
    int64_t wish = m.count / CHUNKS, trees = COLUMNS_TREE * m.width;
    wish = wish < MOST_CHUNK ? wish : MOST_CHUNK;
    wish = wish > LEAST_CHUNK ? wish : LEAST_CHUNK;
    wish = wish > LEAST_ROWS * channels ? wish : LEAST_ROWS * channels; /* sums of a chunk cost less than their join */
    m.per_chunk = (wish + trees - 1) / trees * trees;
    m.chunks = (m.count + m.per_chunk - 1) / m.per_chunk;
    return m;
}

/* Does the tensor lie so? Rows of features, pictures channels-last, row-major ones of a single position, or nothing. */
static inline bool columns_fit(const plumb_view *view)
{
    int64_t step = view->rank > 1 ? view->dim[1] : 0;
    bool fits = view->rank > 1;
    for (int d = view->rank - 1; d >= 0; d--) {
        if (d == 1)
            fits = fits && (view->dim[1] == 1 || view->stride[1] == 1);
        else {
            fits = fits && (view->dim[d] == 1 || view->stride[d] == step);
            step *= view->dim[d];
        }
    }
    return fits || plumb_view_count(view) == 0;
}

static inline int64_t columns_rows(const plumb_view *view)
{
    int64_t rows = 1;
    for (int d = 0; d < view->rank; d++)
        rows *= d == 1 ? 1 : view->dim[d];
    return rows;
}

/* The first copy of the channels, repeated. */
static inline void columns_repeat(const struct columns *m, float *pattern)
{
    for (int64_t j = m->channels; j < m->width; j++)
        pattern[j] = pattern[j - m->channels];
}

/* Sums of all copies, into the first. */
NATIVE_INLINE void columns_fold(const struct columns *m, double *sums)
{
    for (int64_t at = m->channels; at < m->width; at += m->channels) {
        NATIVE_LOOP
        for (int64_t c = 0; c < m->channels; c++)
            sums[c] += sums[at + c];
    }
}

static inline int64_t columns_end(const struct columns *m, int64_t chunk)
{
    return (chunk + 1) * m->per_chunk < m->count ? (chunk + 1) * m->per_chunk : m->count;
}

#endif
