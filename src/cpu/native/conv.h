/* How the native convolutions see their work: everything is a product over shifted windows of padded planes.
 *
 * An input is copied, a few rows or images at a time, into planes with the padding written out; strides
 * become phases (every s-th row and column make a plane of their own), so that each filter tap reads a plane
 * at a constant shift. A run of output positions, rows following each other at the width of the plane, then
 * is a row of a matrix that is already there: tile kernels read it at offsets, and the few positions that
 * wrap around a row's end are not stored. The gradient of the data is the same thing with dy as input: its
 * strides become phases of the output instead. */
#ifndef PLUMB_NATIVE_CONV_H
#define PLUMB_NATIVE_CONV_H

#include "cpu/native/gemm.h"
#include "op/attr.h"

enum {
    PLUMB_CONV_TAPS = 64,           /* longest filter side */
    PLUMB_CONV_PLANES = 256 * 1024, /* bytes of planes a worker should hold: they stay in the second cache */
    PLUMB_CONV_SUMS = 128 * 1024,   /* bytes of sums of a strip */
    PLUMB_CONV_SMALL = 1 << 16      /* multiplications below which a chunk is not worth splitting */
};

/* One of height and width. Plane position r of slot i holds source position r*step + slot_phase[i] + start;
 * the output position j of phase f is target position j*phases + f, and tap t adds the element of plane
 * slot[t] at j + shift[t] if f is phase[t]. */
typedef struct plumb_conv_axis {
    int64_t source, target;
    int64_t step, start;
    int64_t phases;
    int64_t span;  /* positions of phase 0, the most of any */
    int64_t reach; /* greatest shift */
    int taps, slots;
    int64_t slot_phase[PLUMB_CONV_TAPS], shift[PLUMB_CONV_TAPS],
        phase[PLUMB_CONV_TAPS]; /* taps in w's order */
    int slot[PLUMB_CONV_TAPS];
} plumb_conv_axis;

typedef struct plumb_conv {
    const plumb_kernels *kernels;
    size_t size;
    int64_t images, groups;
    int64_t sources, targets; /* channels of one group */
    plumb_conv_axis axis[2];
    const plumb_view *source, *target, *filter;
    int64_t filter_group, filter_source, filter_target; /* strides in w */
    bool padded;                                        /* some output reads padding */
    /* planes of one image or band of rows: (channels, slots, slots, height, width), set by plumb_conv_band */
    int64_t rows, bands;   /* output rows (of phase 0) of a band */
    int64_t height, width; /* of a plane */
    int64_t channel;       /* elements of a channel's planes */
} plumb_conv;

/* The geometry of a call; `adjoint`: from y to x. Planes are not cut yet. */
void plumb_conv_plan(const plumb_call *call, const plumb_view *x, const plumb_view *w, const plumb_view *y,
                     bool adjoint, plumb_conv *conv);
/* Cuts the planes into bands so that `channels` of them take about `bytes`, and `beside` more per output
 * position. */
void plumb_conv_band(plumb_conv *conv, int64_t channels, int64_t bytes, int64_t beside);
/* Fills planes with `channels` channels of an image from output row `row` on. The borders left and right are
 * not written: planes are zeroed before their first use, and where they are does not change. */
void plumb_conv_load(const plumb_conv *conv, int64_t image, int64_t channel, int64_t channels, int64_t row,
                     void *to);
/* offset[c * taps + t] of the taps of output phase (fh, fw) in w's order, c < channels; returns how many
 * taps. */
int64_t plumb_conv_taps(const plumb_conv *conv, int64_t fh, int64_t fw, int64_t channels, int32_t *offset);
int64_t plumb_conv_phase_size(const plumb_conv_axis *axis, int64_t phase);
/* Shapes and types the native convolutions take. */
bool plumb_conv_supports(const plumb_call *call, const plumb_view *x, const plumb_view *w,
                         const plumb_view *y);

/* The definition, tap by tap: padding is skipped, not multiplied. For operands that are not finite, where a
 * zero of the padding would make a NaN that no tap reads. */
enum plumb_conv_what { PLUMB_CONV_FORWARD, PLUMB_CONV_DATA, PLUMB_CONV_FILTER };
void plumb_conv_plain(const plumb_call *call, enum plumb_conv_what what);

/* The form whose vector lanes are pictures (conv_batch.c): its workspace, 0 where another form is faster. */
size_t plumb_conv_batch_workspace(const plumb_call *call, enum plumb_conv_what what);
void plumb_conv_batch_run(const plumb_call *call, enum plumb_conv_what what);

#endif
