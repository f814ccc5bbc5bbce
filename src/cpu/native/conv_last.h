/* How the native convolutions see channels-last pictures: as products whose operands are already there.
 *
 * A position's channels lie together, and so do the taps of one filter row. So a tile of output positions takes its sums
 * over *pieces*: a piece is a run of elements that lies alike behind each of the tile's positions, a constant step apart,
 * beside as many rows of the packed filter, whose lanes are the output's channels. Nothing is copied, and padding is not
 * multiplied by: a tap that lies outside the picture for all positions of a tile makes no piece, and a piece may leave
 * out the tile's first or last position; tiles are cut so that this is enough. What is not finite thus meets just the
 * elements that the definition says.
 *
 * The gradient of the data is the same product from dy, its strides being phases of the output: with stride s the
 * positions s apart are read through the same taps. The gradient of the filter takes sums over positions instead
 * (conv_last_filter.c); its lanes are output channels, too, so both directions of packing serve all three. */
#ifndef PLUMB_NATIVE_CONV_LAST_H
#define PLUMB_NATIVE_CONV_LAST_H

#include "cpu/native/conv.h"

enum {
    PLUMB_LAST_ROWS = 14,  /* most rows (positions, or input channels) of any table's tile */
    PLUMB_LAST_VECTORS = 4,
    PLUMB_LAST_TAPS = 16,  /* longest filter side */
    PLUMB_LAST_PHASES = 8, /* greatest stride of a data gradient */
    PLUMB_LAST_CHUNKS = 24 /* of a call, about, if there is work for so many */
};

typedef struct plumb_last_piece {
    const void *x, *w; /* as the tile's first position reads them */
    int64_t length;
    int skip; /* bit 0: the tile's first position takes no part; bit 1: the last */
} plumb_last_piece;

/* y[i*ldy + j] = (add ? y[i*ldy + j] : 0) + sum over pieces, p < length of x[i*step + p] * w[p*width + j], i < rows,
 * j < width = vectors * lanes; and the same for the positions that follow, `tiles` in all. */
typedef void plumb_last_tile(const plumb_last_piece *piece, int64_t pieces, int64_t step, int64_t tiles, void *y,
                             int64_t ldy, bool add);

/* Positions that follow each other in x and in y. */
typedef struct plumb_last_run {
    int64_t x, y, length;
} plumb_last_run;

/* dw[i*ldw + j] = (add ? dw[i*ldw + j] : 0) + sum over runs, p < length of x[run.x + p*x_step + i] *
 * y[run.y + p*y_step + j]. */
typedef struct plumb_last_outer {
    const plumb_last_run *run;
    int64_t runs;
    const void *x, *y;
    int64_t x_step, y_step;
    void *dw;
    int64_t ldw;
    bool add;
} plumb_last_outer;

/* `count` matrices of `rows` rows, at most a vector's lanes, `row` apart, and the same ones turned: column j is the vector
 * at turned + offset[j] * width. Lanes beyond rows are zeros. The next matrix is matrix_step and turned_step further. */
typedef struct plumb_last_turn {
    void *matrix, *turned;
    const void *end; /* of what may be read behind the matrix */
    int64_t rows, row, columns, width, count, matrix_step, turned_step;
    const int32_t *offset;
    int64_t parts, part; /* unturn, of one matrix, adds up so many turned ones, `part` elements apart */
} plumb_last_turn;

typedef struct plumb_last_kernels {
    int lanes;
    int rows[PLUMB_LAST_VECTORS + 1]; /* [vectors]: most rows of a tile; 0: there is none so wide */
    plumb_last_tile *tile[PLUMB_LAST_ROWS + 1][PLUMB_LAST_VECTORS + 1]; /* [rows][vectors], from 1 */
    void (*outer[PLUMB_LAST_ROWS + 1][PLUMB_LAST_VECTORS + 1])(const plumb_last_outer *outer);
    void (*turn)(const plumb_last_turn *t);
    void (*unturn)(const plumb_last_turn *t);
} plumb_last_kernels;

const plumb_last_kernels *plumb_last_kernels_for(int isa); /* of f32 */
extern const plumb_last_kernels plumb_last_portable;
#if PLUMB_NATIVE_X86
extern const plumb_last_kernels plumb_last_avx2, plumb_last_avx512;
#endif

/* One of height and width. Position j of phase f is target position j*phases + f; it reads source position
 * j*step + shift of the taps of its phase, which are first[f] to first[f + 1], by ascending shift. */
typedef struct plumb_last_axis {
    int64_t source, target, step, phases;
    int taps, first[PLUMB_LAST_PHASES + 1], tap[PLUMB_LAST_TAPS]; /* tap: which of w's */
    int64_t shift[PLUMB_LAST_TAPS];
} plumb_last_axis;

/* The packed filter: for each group and block of target channels (phase of the height, phase of the width, tap, source
 * channel, lane). Where source channels are few they are *folded*: a row of the filter, (tap, channel), counts as the
 * channels of one tap, and source rows are copied with their padding so that all columns have it. */
typedef struct plumb_last {
    const plumb_last_kernels *kernels;
    int64_t images, groups, sources, targets; /* channels of one group; folded: sources times taps of a row */
    plumb_last_axis axis[2];
    int64_t taps, depth;     /* of a filter plane; rows of a packed filter: taps times w's channels */
    int64_t pixel;           /* elements from a source position to the next */
    int64_t fold;            /* taps that are one; 1: not folded */
    int64_t width, left;     /* folded: columns of a source row; where that of column 0 begins, not above 0 */
    int64_t line;            /* folded: elements of a copied row */
    int64_t vectors, blocks; /* of a block of target channels (the last may be narrower); of a group */
    int64_t bands;           /* pieces a row of positions is cut into, each `band` wide */
    int64_t band, units;     /* units: images times target rows times bands */
} plumb_last;

/* The geometry of a call from x (NCHW dims) through w to y, `adjoint`: from y to x; forward folded if `fold` and it pays. Zeros
 * of the padding are then multiplied, so what they meet has to be finite. */
void plumb_last_plan(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y, bool adjoint,
                     bool fold, plumb_last *last);
int64_t plumb_last_span(const plumb_last_axis *axis, int64_t phase); /* positions of a phase */
/* The positions [*first, *end) of [from, to) whose source at `shift` lies inside the picture. */
void plumb_last_inside(const plumb_last_axis *axis, int64_t shift, int64_t from, int64_t to, int64_t *first, int64_t *end);
/* Where unit u lies: image, target row, and the positions [*from, *to) of phase `fw` of its columns. */
typedef struct plumb_last_unit {
    int64_t image, row, band;
} plumb_last_unit;
plumb_last_unit plumb_last_unit_at(const plumb_last *last, int64_t u);
void plumb_last_columns(const plumb_last *last, const plumb_last_unit *u, int64_t fw, int64_t *from, int64_t *to);
/* Folded: copies the source rows that a unit reads, one for each tap of the height. */
void plumb_last_copy(const plumb_last *last, const plumb_last_unit *u, const float *source, float *to);
/* offset[j] of the packed filter's rows, in w's order: of (source channel, tap) where sources are w's input channels,
 * of (tap) where they are its output channels. */
void plumb_last_offsets(const plumb_last *last, bool adjoint, int32_t *offset);

/* Shapes these kernels take and are worth their layout. */
bool plumb_last_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y,
                         bool adjoint);

#endif
