/* The inner kernels that matrix products and convolutions share, as tables chosen by element type and
 * instruction set.
 *
 * Two forms are enough. A *tile* holds rows x vectors sums in registers and walks over k: one broadcast of A
 * against a few vectors of B, whose k-th row begins at b + offset[k]. B may thus be a packed panel (offset[k]
 * = k * width), a plain matrix, or a padded image of which a convolution reads shifted windows: then nothing
 * is copied at all. A *dot* keeps k in the vector lanes, for products whose operands are both contiguous
 * along k (filter gradients, matrix times vector). Pointers are to elements of the table's type; strides and
 * offsets count elements. */
#ifndef PLUMB_NATIVE_GEMM_H
#define PLUMB_NATIVE_GEMM_H

#include "core/core.h"

enum {
    PLUMB_TILE_ROWS = 8,    /* most rows any table's tile has */
    PLUMB_TILE_VECTORS = 4, /* most vectors */
    PLUMB_DOT_ROWS = 6,
    PLUMB_DOT_COLUMNS = 4
};

/* c[i*ldc + j] = (add ? c[i*ldc + j] : 0) + sum over p < k of a[p*rows + i] * b[offset[p] + j],
 * i < rows, j < vectors * lanes. */
typedef void plumb_gemm_tile(int64_t k, const void *a, const void *b, const int32_t *offset, void *c, int64_t ldc,
                             bool add);

/* The same of operands that lie in any plain way: c[i*ldc + j] = (add ? c[i*ldc + j] : 0) + sum over p < k of
 * a[i*a_row + p*a_k] * b[p*b_row + j], i < rows, j < (vectors - 1) * lanes + tail. B is read, and may be anything, up to
 * the end of the last vector, unless the table is `masked`. */
typedef struct plumb_panel {
    int64_t k;
    const void *a, *b;
    int64_t a_row, a_k, b_row;
    void *c;
    int64_t ldc;
    int tail; /* columns of the last vector, 1 to lanes */
    bool add;
} plumb_panel;

/* c[i*ldc + j] = (add ? c[i*ldc + j] : 0) + sum over s < segments, p < length of
 * a[i*ar + s*as + p] * b[offset[j] + s*bs + p], j < 4. */
typedef struct plumb_dots {
    int64_t segments, length;
    const void *a, *b;
    int64_t ar, as, bs, offset[PLUMB_DOT_COLUMNS];
    void *c;
    int64_t ldc;
    bool add;
} plumb_dots;

/* A rectangle of elements and where it goes:
 * to[i*to_row + j*to_step] = from[i*from_row + j*from_step] (+ bias[i*bias_row]). */
typedef struct plumb_move {
    void *to;
    const void *from;
    int64_t rows, columns, to_row, to_step, from_row, from_step;
    const void *bias; /* NULL: copied bit by bit */
    int64_t bias_row;
} plumb_move;

typedef struct plumb_kernels {
    size_t size;                      /* bytes of an element */
    int lanes;                        /* elements of a vector */
    int rows;                         /* most rows of a tile */
    int vectors[PLUMB_TILE_ROWS + 1]; /* [rows]: most vectors of a tile of so many rows */
    int dot_rows;
    plumb_gemm_tile *tile[PLUMB_TILE_ROWS + 1][PLUMB_TILE_VECTORS + 1]; /* [rows][vectors], from 1 */
    bool masked; /* panels read no more of B than is used, and there are those whose last vector is half a one */
    void (*panel[2][PLUMB_TILE_ROWS + 1][PLUMB_TILE_VECTORS + 1])(const plumb_panel *panel); /* [half][rows][vectors] */
    void (*dot[PLUMB_DOT_ROWS + 1])(const plumb_dots *dots);       /* [rows], from 1 */
    void (*move)(const plumb_move *move);
    /* to[j*ld + i] = from[i*from_row + j], i < rows, j < columns: what interleaves rows into a panel */
    void (*interleave)(void *to, int64_t ld, const void *from, int64_t from_row, int64_t rows,
                       int64_t columns);
    /* to[p*width + at[s] + j] = from[offset[p] + run[s] + j], p < k, s < runs, j < at[s + 1] - at[s]: a panel
     * from runs of elements that lie alike behind every offset */
    void (*gather)(void *to, int64_t width, const void *from, const int32_t *offset, int64_t k,
                   const int32_t *run, const int32_t *at, int64_t runs);
    void (*fill)(void *to, const void *value, int64_t count); /* to[i] = *value */
    void (*add)(void *to, const void *from, int64_t count);   /* to[i] += from[i] */
    bool (*finite)(const void *x, int64_t count);             /* no infinity, no NaN */
} plumb_kernels;

/* The best table for F32 or F64 within `isa`; NULL for other types. */
const plumb_kernels *plumb_kernels_for(plumb_dtype dtype, int isa);

extern const plumb_kernels plumb_kernels_portable_f32, plumb_kernels_portable_f64;
#if defined(__x86_64__) && defined(__GNUC__)
#define PLUMB_NATIVE_X86 1
extern const plumb_kernels plumb_kernels_avx2_f32, plumb_kernels_avx2_f64;
extern const plumb_kernels plumb_kernels_avx512_f32, plumb_kernels_avx512_f64;
#endif

/* M rows in strips of nearly equal height, none above `most`: strip s begins at row s*height. */
static inline int plumb_strip_height(int64_t m, int most)
{
    int64_t strips = (m + most - 1) / most;
    return (int)(strips ? (m + strips - 1) / strips : 1);
}

static inline int64_t plumb_round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline int64_t plumb_least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t plumb_most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t plumb_parts(int64_t n, int64_t of) { return (n + of - 1) / of; }

/* Element `index` of an array whose elements have `size` bytes. */
static inline void *plumb_at(const void *base, int64_t index, size_t size)
{
    return (char *)(uintptr_t)base + index * (int64_t)size;
}

/* Bytes of an array within a workspace, so that the next one begins on a cache line of its own. */
static inline size_t plumb_lines(int64_t count, size_t size)
{
    return ((size_t)count * size + 127) / 64 * 64;
}

#endif
