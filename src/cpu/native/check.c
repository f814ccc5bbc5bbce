/* The two checks over many f32 tensors that training steps are gated by. Every tensor is cut into pieces of
 * CHUNK elements; each piece leaves one double in the workspace, and those are added in order. */
#include "cpu/native/vector.h"
#include "op/attr.h"

enum { CHUNK = 1 << 14, BLOCK = 256 };

/* ---- pieces ---- */

NATIVE_INLINE double sum_squares_piece(const float *x, int64_t n)
{
    double total = 0;
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) { /* squares of f32 are exact in double and cannot overflow there */
        double lane[NATIVE_LANES] = {0};
        for (int k = 0; k < BLOCK; k += NATIVE_LANES) {
            for (int l = 0; l < NATIVE_LANES; l++) {
                lane[l] += (double)x[i + k + l] * (double)x[i + k + l];
            }
        }
        for (int half = NATIVE_LANES / 2; half > 0; half /= 2) {
            for (int l = 0; l < half; l++) {
                lane[l] += lane[l + half];
            }
        }
        total += lane[0];
    }
    for (; i < n; i++) {
        total += (double)x[i] * (double)x[i];
    }
    return total;
}

/* How many elements have all bits of the exponent set. */
NATIVE_INLINE double all_finite_piece(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad += (bits & 0x7f800000u) == 0x7f800000u;
    }
    return (double)bad;
}

typedef double piece_kernel(const float *x, int64_t n);

#define PIECES(isa, TARGET)                                                                                  \
    TARGET static double sum_squares_##isa(const float *x, int64_t n) { return sum_squares_piece(x, n); }    \
    TARGET static double all_finite_##isa(const float *x, int64_t n) { return all_finite_piece(x, n); }
NATIVE_EACH_ISA(PIECES)

/* ---- work ---- */

struct work {
    const plumb_call *call;
    piece_kernel *kernel;
    double *partial;
};

static int64_t pieces_of(const plumb_view *x) { return (plumb_view_count(x) + CHUNK - 1) / CHUNK; }

static int64_t pieces_of_all(const plumb_call *call)
{
    int64_t pieces = 0;
    for (int i = 0; i < call->n_in; i++) {
        pieces += pieces_of(&call->in[i]);
    }
    return pieces;
}

static void run_piece(void *user, int64_t chunk, int worker)
{
    const struct work *w = user;
    const plumb_view *x = w->call->in;
    int64_t piece = chunk;
    (void)worker;
    while (piece >= pieces_of(x)) {
        piece -= pieces_of(x++);
    }
    int64_t left = plumb_view_count(x) - piece * CHUNK;
    w->partial[chunk] = w->kernel((const float *)x->data + piece * CHUNK, left < CHUNK ? left : CHUNK);
}

static double run(const plumb_call *call, piece_kernel *kernel)
{
    struct work w = {.call = call, .kernel = kernel, .partial = call->workspace};
    int64_t pieces = pieces_of_all(call);
    double total = 0;
    plumb_pool_run(call->pool, pieces, run_piece, &w);
    for (int64_t i = 0; i < pieces; i++) {
        total += w.partial[i];
    }
    return total;
}

static plumb_status run_sum_squares(const plumb_call *call)
{
    *(float *)call->out[0].data = (float)run(call, NATIVE_PICK(sum_squares, call->isa));
    return PLUMB_OK;
}

static plumb_status run_all_finite(const plumb_call *call)
{
    *(uint8_t *)call->out[0].data = run(call, NATIVE_PICK(all_finite, call->isa)) == 0;
    return PLUMB_OK;
}

static bool supports(const plumb_call *call)
{
    bool plain = true;
    for (int i = 0; i < call->n_in; i++) {
        plain = plain && call->in[i].dtype == PLUMB_F32 && plumb_view_contiguous(&call->in[i]);
    }
    return plain;
}

static size_t workspace(const plumb_call *call) { return (size_t)pieces_of_all(call) * sizeof(double); }

#define ROW(op_name)                                                                                         \
    const plumb_impl plumb_impl_##op_name##_native = {                                                       \
        .op = &plumb_op_##op_name,                                                                           \
        .name = "cpu.native",                                                                                \
        .dtypes = PLUMB_BIT(PLUMB_F32),                                                                      \
        .flags = PLUMB_IMPL_EXACT,                                                                           \
        .supports = supports,                                                                                \
        .workspace = workspace,                                                                              \
        .run = run_##op_name,                                                                                \
    };

ROW(sum_squares)
ROW(all_finite)
