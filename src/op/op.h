/* The op table's row: everything declarative about an op, in one place. And what implementations get to see.
 *
 * An op is a `const plumb_op`: no enum, no switch. Its family's file in src/op holds its shape rule, gradient rule and
 * facts; providers (src/cpu/ref, src/cpu/native, src/cuda) hold one `const plumb_impl` per implementation. */
#ifndef PLUMB_OP_H
#define PLUMB_OP_H

#include "core/core.h"
#include "device/device.h"
#include "plumb/ops.h"

typedef struct plumb_op plumb_op;
typedef struct plumb_impl plumb_impl;

typedef struct plumb_type {
    plumb_dtype dtype;
    plumb_shape shape;
} plumb_type;

/* ---- shape rule ---- */
typedef struct plumb_infer {
    const plumb_op *op;
    const char *name; /* of the node; may be "" */
    const void *attr;
    int n_in, n_out;
    const plumb_type *in;
    plumb_type *out;        /* [n_out] to fill */
    const int64_t *symbols; /* [PLUMB_SYMBOLS] bound sizes, -1 where unbound; NULL while the graph is being built */
    plumb_context *context;
} plumb_infer;

/* "conv2d 'conv1': " + the message, recorded in the context; returns PLUMB_BAD_INPUT. */
plumb_status plumb_refuse(const plumb_infer *q, const char *format, ...) PLUMB_PRINTF(2, 3);
/* A shape with symbols replaced by their bound sizes (as is where unbound). For shapes that come from attributes. */
plumb_shape plumb_bound(const plumb_infer *q, plumb_shape shape);
/* Sizes may be symbolic (negative) while building. Equal, or not known to differ: */
static inline bool plumb_dims_agree(int64_t a, int64_t b)
{
    return a == b || a == PLUMB_UNKNOWN || b == PLUMB_UNKNOWN || ((a < 0) != (b < 0));
}
/* Common checks; each refuses with a message and returns PLUMB_BAD_INPUT. */
plumb_status plumb_need_float(const plumb_infer *q, int input);
plumb_status plumb_need_rank(const plumb_infer *q, int input, int rank);
plumb_status plumb_need_same_dtype(const plumb_infer *q, int a, int b);
plumb_status plumb_need_same_shape(const plumb_infer *q, int a, int b); /* or not known to differ */
plumb_status plumb_need_index(const plumb_infer *q, int input); /* i32 or i64 */
/* NumPy broadcasting of two shapes. */
plumb_status plumb_broadcast(const plumb_infer *q, const plumb_shape *a, const plumb_shape *b, plumb_shape *out);
/* The result shape of a PLUMB_OP_LIKE op: the lender's, or the bound shape of the attribute; refuses a malformed one. */
plumb_status plumb_lent_shape(const plumb_infer *q, plumb_shape *shape);
/* Input `input`, a gradient, has the shape that the forward op (`by`: "padding") makes, or is not known to differ. */
plumb_status plumb_need_made(const plumb_infer *q, int input, const plumb_shape *made, const char *by);
/* -rank <= axis < rank -> 0 <= *axis < rank; refuses otherwise. */
plumb_status plumb_need_axis(const plumb_infer *q, int rank, int *axis);

/* ---- gradient rule: adds ordinary ops to q->graph through the public builders ---- */
typedef struct plumb_grad {
    plumb_graph *graph;
    const plumb_op *op;
    const char *name;
    const void *attr;
    int n_in, n_out;
    const plumb_t *in, *out; /* the node's own inputs and outputs */
    const plumb_t *dout;     /* gradient of each output; PLUMB_NONE where nothing depends on it */
    const bool *want;        /* [n_in] which input gradients are needed; others may be skipped */
    plumb_t *din;            /* [n_in] to fill: a tensor, or PLUMB_NO_GRADIENT said aloud. PLUMB_NONE is an error. */
} plumb_grad;
#define PLUMB_NO_GRADIENT (~(plumb_t)0)

/* ---- other rewrites have the same form: new outputs for a node ---- */
typedef struct plumb_rewrite {
    plumb_graph *graph;
    const void *attr;
    int n_in, n_out;
    const plumb_t *in;
    plumb_t *out;
} plumb_rewrite;

/* How results may differ between implementations. u = unit roundoff of the output dtype, u_acc of the accumulator
 * (f32's for bf16/f16), K = op->terms. Bounds per element; r is the reference in f64. */
typedef enum plumb_tolerance {
    PLUMB_TOL_EXACT,  /* bitwise */
    PLUMB_TOL_SCALAR, /* |y - r| <= (1 + ulps) * u * |r| + smallest normal */
    PLUMB_TOL_DOT,    /* |y - r| <= u*|r| + 4*sqrt(K)*u_acc*R, R = the op on absolute values; with op->linear, R of
                         both forms added: no activation here is steeper than 1, and its own rounding is like u*|r| */
    PLUMB_TOL_NORM    /* |y - r| <= 8*(1 + log2 K)*u*scale, scale = max(|r|) over the output, at least max|input| */
} plumb_tolerance;

/* What mixed precision (src/pass/precision.c) does with the op. The default is the safe one. */
typedef enum plumb_precision {
    PLUMB_PRECISION_KEEP,   /* computes in f32: losses, sums, functions that lose range or digits, updates, checks */
    PLUMB_PRECISION_FOLLOW, /* computes in the dtype its data comes in: element-wise, pooling, where elements lie */
    PLUMB_PRECISION_LOWER,  /* computes in the low dtype: products and convolutions, sums accumulated in f32 */
    PLUMB_PRECISION_ADJOINT /* f32 in the forward pass; among gradients, as the adjoint of a broadcast, it follows */
} plumb_precision;

enum { /* plumb_op.flags */
    PLUMB_OP_LEAF = 1 << 0,        /* input, variable, constant: no implementation */
    PLUMB_OP_COMMUTATIVE = 1 << 1,
    PLUMB_OP_ELEMENTWISE = 1 << 2, /* each output element depends on the same element of (broadcast) inputs */
    PLUMB_OP_RANDOM = 1 << 3,      /* never merged (its stream is in attr anyway), never folded */
    PLUMB_OP_LIKE = 1 << 4,        /* the last input may be a tensor that only lends its shape; attr begins with a
                                      plumb_shape, into which bind writes it, dropping the input. How many inputs
                                      remain is op->min_in. While attr.shape.rank is -1 the lender is present. */
    PLUMB_OP_DTYPE = 1 << 5,       /* attr begins with a plumb_shape followed by a plumb_dtype (leaf and made tensors,
                                      cast): what retyping a graph to f64 changes */
    PLUMB_OP_BACKWARD = 1 << 6,    /* made by gradient rules only; shown as backward in `plumb ops` */
    PLUMB_OP_VARIADIC = 1 << 7     /* n_out = attr- or input-dependent: op->outputs() */
};

typedef struct plumb_attr_made { /* the common beginning of LIKE and DTYPE attributes */
    plumb_shape shape;
    plumb_dtype dtype;
} plumb_attr_made;

/* How a tensor of rank 4 (N, C, H, W) lies in memory. Its dimensions stay in this order, only strides differ. */
enum plumb_layout_kind { PLUMB_ROWS, PLUMB_CHANNELS_LAST /* strides H*W*C, 1, W*C, C */ };

/* A tensor as an implementation sees it. Strides are in elements, may be 0 (broadcast) or negative. */
typedef struct plumb_view {
    void *data; /* element (0, ..., 0) */
    plumb_dtype dtype;
    int rank;
    int64_t dim[PLUMB_MAX_RANK];
    int64_t stride[PLUMB_MAX_RANK];
} plumb_view;

int64_t plumb_view_count(const plumb_view *view);
/* Strides of size-1 dimensions do not matter in any of these, so a view can be row-major and channels-last. */
bool plumb_view_contiguous(const plumb_view *view);    /* row-major */
bool plumb_view_channels_last(const plumb_view *view); /* of rank 4, exactly as PLUMB_CHANNELS_LAST says */
bool plumb_view_lies(const plumb_view *view, enum plumb_layout_kind layout); /* one of these two */
bool plumb_view_dense(const plumb_view *view);         /* packed, in some order of the dimensions */
bool plumb_views_alike(const plumb_view *a, const plumb_view *b); /* same dims and strides */
void plumb_view_pack(plumb_view *view);                /* sets row-major strides from the dims, */
void plumb_view_pack_as(plumb_view *view, enum plumb_layout_kind layout); /* or those of a layout */

typedef struct plumb_call {
    plumb_context *context;
    plumb_device *device;
    plumb_pool *pool;
    int isa;
    const plumb_op *op;
    const char *name;
    const void *attr;
    int n_in, n_out;
    const plumb_view *in, *out; /* while choosing and planning, data is the address modulo 64 */
    void *workspace;            /* impl->workspace() bytes */
} plumb_call;

/* The dtype that implementations are listed by: of input op->typed, of output 0 when there is no such input. */
plumb_dtype plumb_call_dtype(const plumb_call *call);

/* An error of a run: "cross_entropy 'loss': label 12 at 3 is outside [0, 10)"; returns `status`. */
plumb_status plumb_call_fail(const plumb_call *call, plumb_status status, const char *format, ...) PLUMB_PRINTF(3, 4);

struct plumb_op {
    const char *name;
    int min_in, max_in; /* max_in -1: any number */
    int n_out;          /* ignored with PLUMB_OP_VARIADIC */
    int typed;          /* the input whose dtype implementations are listed by (0 mostly); -1: the first output */
    size_t attr_size;   /* attributes are plain data, compared and copied bytewise: zero them before filling */
    unsigned flags;
    plumb_status (*infer)(plumb_infer *q);
    plumb_status (*gradient)(plumb_grad *q); /* NULL only for ops whose outputs are never differentiable: leafs,
                                                effects, integer results; test "every op answers for every input" */
    int (*outputs)(const void *attr, int n_in);              /* VARIADIC */
    int (*in_place)(const void *attr, int output);           /* input that this output may overwrite, or -1; NULL: none.
                                                                Implementations must then work with out == in. */
    /* Zero-copy form: strides and offset (in elements) of the output into in[0]; false: a copy is needed. NULL: never. */
    bool (*view)(const void *attr, const plumb_view *in, plumb_view *out, int64_t *offset);
    plumb_status (*inference)(plumb_rewrite *q);             /* form outside training; NULL: the same */
    double (*flops)(const plumb_call *call);                 /* NULL: one per output element */
    double (*terms)(const plumb_call *call);                 /* K of the tolerance; NULL: 1 */
    plumb_tolerance tolerance;
    double ulps;                                             /* of PLUMB_TOL_SCALAR */
    void (*linear)(void *attr);                              /* takes the activation off; NULL: there never is one */
    /* Where the op has kinks: a tensor whose bytes tell which smooth branch each element is on; PLUMB_NONE where these
     * attributes make it smooth. NULL: smooth. */
    plumb_t (*branch)(plumb_graph *graph, const void *attr, const plumb_t *in, const plumb_t *out);
    plumb_precision precision;
    unsigned in_f32; /* bit k: input k stays f32 when the others are lowered (scales and statistics of a normalisation) */
    unsigned pictures; /* bit k: input k is a picture (N, C, H, W), which may lie channels-last; bit 16 + k: output k.
                          Not said of element-wise ops, where it is every operand of the result's shape. */
    void (*print)(const void *attr, struct plumb_text *text); /* attributes for plans and graph texts; NULL: nothing */
};

/* The emitter: adds a node (checked by the shape rule) and returns its first output, PLUMB_NONE after poisoning the
 * graph. Implemented by src/graph; declared here because op families build with it. Outputs have consecutive ids. */
plumb_t plumb_emit(plumb_graph *graph, const plumb_op *op, const void *attr, const plumb_t *in, int n_in);
plumb_t plumb_poison(plumb_graph *graph, const char *format, ...) PLUMB_PRINTF(2, 3); /* returns PLUMB_NONE */
uint32_t plumb_next_stream(plumb_graph *graph); /* a fresh random stream id */
plumb_t plumb_random_key(plumb_graph *graph);   /* the i64 (2) tensor {seed, step} that random ops read */
bool plumb_is_variable(const plumb_graph *graph, plumb_t tensor);

/* The table: every op, one row each in op/table.h. */
#define PLUMB_OP(name) extern const plumb_op plumb_op_##name;
#include "op/table.h"
#undef PLUMB_OP
const plumb_op *plumb_op_at(int index); /* NULL past the end */
const plumb_op *plumb_op_named(const char *name);

/* ---- implementations ---- */
enum { /* plumb_impl.flags */
    PLUMB_IMPL_EXACT = 1 << 0,      /* bitwise equal to any other exact one when all sums are exact (small integers) */
    PLUMB_IMPL_ANY_LAYOUT = 1 << 1, /* takes also calls whose pictures, outputs included, are all channels-last */
    PLUMB_IMPL_WANTS_LAST = 1 << 2  /* takes nothing but such calls, and is worth converting pictures for */
};
#define PLUMB_BIT(dtype) (1u << (dtype))
#define PLUMB_FLOATS (PLUMB_BIT(PLUMB_F32) | PLUMB_BIT(PLUMB_F64) | PLUMB_BIT(PLUMB_BF16) | PLUMB_BIT(PLUMB_F16))
#define PLUMB_INTS (PLUMB_BIT(PLUMB_I32) | PLUMB_BIT(PLUMB_I64) | PLUMB_BIT(PLUMB_U8))
#define PLUMB_ALL_DTYPES (PLUMB_FLOATS | PLUMB_INTS)

struct plumb_impl {
    const plumb_op *op;
    const char *name;   /* "cpu.ref", "cpu.native": device kind '.' provider [ '.' variant ] */
    unsigned dtypes;    /* of the typed input, see plumb_call_dtype */
    unsigned flags;
    bool (*supports)(const plumb_call *call);    /* the only precondition; NULL: always */
    size_t (*workspace)(const plumb_call *call); /* bytes; NULL: none */
    plumb_status (*run)(const plumb_call *call);
    double slack;       /* factor on the op's bound of PLUMB_TOL_DOT; 0: 1. Where it is more, the file says why. */
};

/* Do the layouts of the call's pictures agree with the implementation's flags? One without a flag for layouts gets calls
 * with row-major outputs only; inputs may have any strides then, as supports() sees fit. */
bool plumb_impl_fits(const plumb_impl *impl, const plumb_call *call);
bool plumb_op_picture_in(const plumb_call *call, int input); /* by plumb_op.pictures, or by shape if element-wise */
bool plumb_op_picture_out(const plumb_call *call, int output);

/* A provider: implementations in order of preference within it. Providers are named in src/exec/providers.c only. */
typedef struct plumb_provider {
    const char *name; /* "cpu.native" */
    const plumb_impl *const *impls;
    int count;
} plumb_provider;

#endif
