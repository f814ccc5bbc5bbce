/* Winograd's convolution F(4x4, 3x3): a tile of 6 x 6 inputs gives 4 x 4 outputs with 36 products for each pair of channels
 * instead of 144 (Winograd 1980; Lavin and Gray 2016). Along one axis a filter of three taps and a row of six elements
 * are polynomials; their values at six points are multiplied, and the four results are interpolated.
 *
 * The points are 0, +-5/8, +-3/2 and infinity. Of symmetric points, which share half of their sums, those with short
 * binary fractions were tried on normal values (64 and 256 channels): these have the least error, a root mean square
 * of 1.7 times that of a plain sum in f32, where the usual 0, +-1, +-2, infinity have 3.8 times; they cost as much.
 *
 * bf16 is widened as it is read and rounded as it is written; in between everything is f32. So its error is one rounding,
 * as that of a plain sum, and 2^-9 hides what the transforms add, which is why the transformed tiles are not bf16 as well:
 * their rounding would come out amplified (winograd.c, "Error").
 *
 * All three transforms keep channels in the vector's lanes, so pictures are channels-last and nothing is shuffled. */
#ifndef PLUMB_NATIVE_WINOGRAD_H
#define PLUMB_NATIVE_WINOGRAD_H

#include "cpu/native/gemm.h"
#include "op/op.h"

enum {
    WINOGRAD_TILE = 4,    /* side of a tile of outputs */
    WINOGRAD_SIDE = 6,    /* side of the inputs under it */
    WINOGRAD_POINTS = 36, /* pairs of points: products of a tile */
    WINOGRAD_VECTORS = 2, /* of output channels at once: a block */
    WINOGRAD_ROWS = 14    /* most tiles of any table's strip */
};

/* Where a tile's results of one block of channels go. */
typedef struct winograd_store {
    void *to;            /* channel 0 of the first output: f32, or bf16 */
    bool low;            /* bf16 */
    int64_t row, column; /* elements from an output to the one below, to its right */
    int rows, columns;   /* of the outputs that exist */
    int64_t channels;    /* at most a block */
    const float *bias;   /* [channels], may be NULL */
    bool relu;
    float *spoiled;      /* [lanes] gets a NaN where a sum, before bias and relu, is not finite */
} winograd_store;

/* m[tile][block] = (add ? m : 0) + sum over k of v(tile, k) * u[k][block], for the tiles of a strip and the first one or two
 * vectors of a block. */
typedef void winograd_product(int64_t k, const float *v, const float *u, float *m, bool add);

/* Kernels of an instruction set. A *strip* is a few tiles whose products are summed in registers at once; transformed
 * inputs lie as [vectors of channels][tiles of the strip][lanes], so that product() reads them in order. */
typedef struct winograd_kernels {
    int lanes;
    int rows; /* most tiles of a strip */
    /* A tile's inputs: from[i] are the channels at position i of its 6 x 6. Vector v of point p goes to
     * to + p*point + v*step; lanes past the channels are zero. low_input: the same from bf16. */
    void (*input)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step);
    void (*low_input)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step);
    /* `count` filters for a vector of output channels each, taps[t][lanes] one after the other; `turned`: by 180
     * degrees. Filter i at point p goes to to + p*point + i*block. */
    void (*filter)(const float *taps, int64_t count, bool turned, float *to, int64_t point);
    winograd_product *product[WINOGRAD_VECTORS][WINOGRAD_ROWS + 1]; /* [vectors - 1][tiles] */
    /* A tile's outputs, from m + p*point of every point p. */
    void (*output)(const float *m, int64_t point, const winograd_store *store);
    /* A tile's 4 x 4 of dy, bf16, to the points; otherwise as low_input. */
    void (*low_gradient)(const void *const *from, int64_t channels, float *to, int64_t point, int64_t step);
    /* Sums of products at m + p*point, so many vectors of them, to the nine taps at to + t*tap; `turned`: the last comes
     * first. spoiled: as in winograd_store. */
    void (*taps)(const float *m, int64_t point, int64_t vectors, bool turned, float *to, int64_t tap, float *spoiled);
} winograd_kernels;

const winograd_kernels *winograd_kernels_for(int isa);

/* Pairs of an output and a tap that reads no padding, along an axis whose outputs begin `before` the input. */
double winograd_taps(int64_t in, int64_t out, int64_t before);

/* Memory that will be wanted soon, asked for a little at a time between products, which leave memory idle: the positions
 * of some tiles of a picture, some bytes of each. */
typedef struct winograd_soon {
    const plumb_view *view;
    int64_t across, per_image; /* tiles of a row, of a picture */
    int64_t tile, end, channel, bytes, pace;
    int64_t place, h, w; /* within the tile; where it is, */
    const char *at;      /* and lies */
} winograd_soon;

/* Tiles [tile, tile + tiles), whose channels [channel, channel + channels) are to be asked for in so many turns. */
winograd_soon winograd_soon_of(const plumb_view *view, int64_t across, int64_t per_image, int64_t tile, int64_t tiles,
                               int64_t channel, int64_t channels, int64_t products);
void winograd_ask(winograd_soon *s);

extern const winograd_kernels winograd_kernels_portable;
#if PLUMB_NATIVE_X86
extern const winograd_kernels winograd_kernels_avx2, winograd_kernels_avx512;
#endif

#endif
