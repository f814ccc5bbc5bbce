/* Products of bf16 whose elements come in pairs: two neighbours along the dimension that is summed over lie in 32 bits,
 * and one step of a tile multiplies both and adds them to f32 sums. That is what vdpbf16ps does, at twice the rate of f32's
 * multiply-add; where the processor lacks it the same tiles widen each half and multiply in f32, at f32's rate.
 *
 * Decided here:
 * - One tile serves products, convolutions and filter gradients: one side (a) is broadcast, 32 bits at a time, from any
 *   address; the other (b) is a panel, packed in the order in which it is read. A sum has segments, each with its own
 *   places in a and b: taps of a filter, or rows of a picture. So padding is never read, and nothing has to be skipped by
 *   multiplying with zero, which would make a NaN of an infinity.
 * - Where the number of elements is odd the last one is paired with zero on both sides.
 * - Sums are f32 and rounded once, after bias and activation. vdpbf16ps takes denormals as zero, as f32 kernels do inside
 *   the pool's threads; rounding keeps denormals and NaN (half.h). */
#ifndef PLUMB_NATIVE_PAIRS_H
#define PLUMB_NATIVE_PAIRS_H

#include "cpu/native/epilogue.h"
#include "cpu/native/gemm.h"
#include "cpu/native/half.h"

enum {
    PLUMB_PAIR_ROWS = 6,
    PLUMB_PAIR_VECTORS = 4,
    PLUMB_PAIR_SEGMENTS = 128, /* most segments of a sum */
    PLUMB_PAIR_WIDTH = 64      /* most columns of a panel in any table */
};

/* c[i*ldc + j] = (add ? c[i*ldc + j] : 0) + sum over s < segments, p < length of the two products of the pairs at
 * a + a_at[s] + i*a_row + p*a_step and b + b_at[s] + p*b_step + 4*j; all but ldc in bytes. */
typedef struct plumb_pairs {
    int64_t segments, length;
    const char *a, *b;
    const int64_t *a_at, *b_at;
    int64_t a_row, a_step, b_step;
    float *c;
    int64_t ldc;
    bool add;
    uint16_t *y;       /* NULL: sums go to c. Else they go to y, bf16 and rows y_row apart, through bias and relu. Sums are */
    int64_t y_row;     /* no denormals, so that vcvtneps2bf16, which makes zeros of those, rounds them as the core does. */
    const float *bias; /* NULL: none */
    bool relu;
} plumb_pairs;

typedef struct plumb_pair_kernels {
    int lanes, rows, vectors; /* columns of a vector; most rows and vectors of a tile */
    void (*tile[PLUMB_PAIR_ROWS + 1][PLUMB_PAIR_VECTORS + 1])(const plumb_pairs *pairs); /* [rows][vectors], from 1 */
    /* to[j] = the pair low[j], high[j]; NULL high: zeros */
    void (*interleave)(uint32_t *to, const uint16_t *low, const uint16_t *high, int64_t count);
    /* to[j*count + i] = the pair from[j*line + i], from[j*line + count + i], j < lines, i < count */
    void (*couple)(uint32_t *to, const uint16_t *from, int64_t line, int64_t lines, int64_t count);
} plumb_pair_kernels;

const plumb_pair_kernels *plumb_pair_kernels_for(int isa);

/* What follows the sums: bias, activation, the one rounding. */
typedef struct plumb_pair_finish {
    const plumb_pair_kernels *kernels;
    plumb_epilogue *epilogue; /* NULL: none */
    plumb_convert *narrow;
    const float *bias;   /* NULL: none; of column 0 */
    bool relu, in_tiles; /* in_tiles: tiles can do it all */
} plumb_pair_finish;

plumb_pair_finish plumb_pair_finish_for(const plumb_call *call, int activation, bool bias);
/* A tile of so many rows of so many columns, `column` being the first, through `finish` to y, whose rows are `row` apart.
 * pairs->c has room for PLUMB_PAIR_ROWS * PLUMB_PAIR_WIDTH sums. */
void plumb_pair_tile(const plumb_pair_finish *finish, plumb_pairs *pairs, int64_t rows, int64_t columns, int64_t column,
                     uint16_t *y, int64_t row);
/* A bias as f32. */
void plumb_pair_bias(const plumb_call *call, const plumb_view *bias, float *to);

#endif
