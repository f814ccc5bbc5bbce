/* The cuDNN provider's own: an op as a small graph of tensors and operations, written as plain data, and the plan that the
 * library makes of it. The bytes of a graph are its key, in the table of plans and in the cache on disk.
 *
 * cudnn_graph.c turns graphs into descriptors, cudnn_plan.c asks for engines, chooses one and runs it, cudnn.c opens the
 * library, cudnn_conv.c, cudnn_pool.c and cudnn_norm.c write graphs of calls. */
#ifndef PLUMB_CUDNN_H
#define PLUMB_CUDNN_H

#include "cuda/cudnn_abi.h"
#include "cuda/vendor.h"

enum { PLUMB_CUDNN_TENSORS = 12, PLUMB_CUDNN_OPS = 4, PLUMB_CUDNN_ROLES = 12, PLUMB_CUDNN_KNOBS = 48 };

enum plumb_cudnn_what {
    PLUMB_CUDNN_OPERAND, /* of the call */
    PLUMB_CUDNN_VIRTUAL, /* between two operations, never in memory */
    PLUMB_CUDNN_NUMBER   /* an f32 given by value */
};

typedef struct plumb_cudnn_tensor { /* number i has the unique id i + 1 */
    int64_t dim[4], stride[4];
    uint32_t dtype, alignment;
    int32_t what;
    int32_t operand; /* k: in[k]; -1 - k: out[k] */
    float number;
    int32_t unused; /* keys have no gaps */
} plumb_cudnn_tensor;

enum plumb_cudnn_kind { /* rows of cudnn_graph.c's table */
    PLUMB_CUDNN_CONV, PLUMB_CUDNN_CONV_DATA, PLUMB_CUDNN_CONV_FILTER, PLUMB_CUDNN_POINTWISE, PLUMB_CUDNN_RESAMPLE,
    PLUMB_CUDNN_RESAMPLE_BACKWARD, PLUMB_CUDNN_NORM, PLUMB_CUDNN_NORM_BACKWARD, PLUMB_CUDNN_KINDS
};

typedef struct plumb_cudnn_op {
    int32_t kind;
    uint32_t mode;    /* convolution, pointwise or resample mode */
    uint32_t compute; /* dtype of the arithmetic */
    int32_t tensor[PLUMB_CUDNN_ROLES]; /* by the kind's roles: tensor's number + 1, 0 for none */
    int32_t unused;
    int64_t before[2], after[2]; /* padding */
    int64_t stride[2], extent[2]; /* extent: dilation, or the window */
} plumb_cudnn_op;

typedef struct plumb_cudnn_graph {
    int32_t n_tensors, n_ops;
    uint32_t allow;  /* what of plumb_options.allow matters for the choice */
    int32_t unused;
    plumb_cudnn_tensor tensor[PLUMB_CUDNN_TENSORS];
    plumb_cudnn_op op[PLUMB_CUDNN_OPS];
} plumb_cudnn_graph;

typedef struct plumb_cudnn { /* the library as one device uses it */
    plumb_context *context;
    struct plumb_cudnn_api api;
    struct plumb_cuda_library library;
    size_t version;
    struct cudnnContext *handle;
    plumb_cudnn_descriptor target; /* without a device (handle NULL): the description of one, for planning */
    plumb_plans plans; /* of graphs */
    plumb_cuda_cache cache;
} plumb_cudnn;

/* ---- cudnn_graph.c ---- */

/* Descriptors that go together. */
typedef struct plumb_cudnn_bag {
    const struct plumb_cudnn_api *api;
    unsigned status; /* the first that was not success; every call after it does nothing */
    int count;
    plumb_cudnn_descriptor item[96];
} plumb_cudnn_bag;

plumb_cudnn_descriptor plumb_cudnn_new(plumb_cudnn_bag *bag, unsigned type); /* NULL after an error */
void plumb_cudnn_empty(plumb_cudnn_bag *bag);
void plumb_cudnn_set(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute, unsigned type, int64_t count,
                     const void *elements);
void plumb_cudnn_set_number(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute, unsigned type,
                            uint32_t number); /* of an enumeration */
void plumb_cudnn_set_descriptor(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d, unsigned attribute,
                                plumb_cudnn_descriptor value);
void plumb_cudnn_finalize(plumb_cudnn_bag *bag, plumb_cudnn_descriptor d);
/* The operation graph, finalised, or NULL: bag->status says why. */
plumb_cudnn_descriptor plumb_cudnn_emit(plumb_cudnn_bag *bag, const plumb_cudnn *library, const plumb_cudnn_graph *graph);

/* Writing graphs. Views are of rank up to 4, (N, C[, H[, W]]); what is missing has size 1. */
plumb_cudnn_tensor *plumb_cudnn_operand(plumb_cudnn_graph *graph, const plumb_call *call, int operand);
int plumb_cudnn_virtual(plumb_cudnn_graph *graph, int like, uint32_t dtype); /* returns its number */
int plumb_cudnn_number(plumb_cudnn_graph *graph, double value);
plumb_cudnn_op *plumb_cudnn_add(plumb_cudnn_graph *graph, enum plumb_cudnn_kind kind, uint32_t mode, uint32_t compute);
/* After all operands: their strides as the library knows layouts (size-1 dimensions as if packed), packed row-major or
 * channels-last; false where one is neither. */
bool plumb_cudnn_layouts(plumb_cudnn_graph *graph);

/* ---- cudnn_plan.c ---- */

typedef struct plumb_cudnn_choice { /* what the cache on disk holds */
    int64_t engine;
    int64_t knobs;
    struct {
        int64_t type, value;
    } knob[PLUMB_CUDNN_KNOBS];
} plumb_cudnn_choice;

typedef struct plumb_cudnn_plan {
    plumb_cudnn_bag bag;
    plumb_cudnn_descriptor plan; /* NULL: no engine does it, `reason` says why */
    plumb_cudnn_bag pack;        /* the variant pack of the last run, for the same addresses */
    const void *pointer[PLUMB_CUDNN_TENSORS + 1];
    float number[PLUMB_CUDNN_TENSORS];
    int64_t workspace;
    plumb_cudnn_choice choice;
    bool cached; /* chosen by an earlier process */
    char reason[120];
} plumb_cudnn_plan;

/* A graph of the call into `graph` (zeroed); or why there is none. */
typedef const char *(*plumb_cudnn_writer)(const plumb_call *call, plumb_cudnn_graph *graph);

/* The plan of a graph, made at the first asking; NULL only where memory is out. */
plumb_cudnn_plan *plumb_cudnn_plan_of(plumb_cudnn *library, const plumb_cudnn_graph *graph);
void plumb_cudnn_plan_free(void *library, void *plan);
/* What supports(), workspace() and run() of an implementation are. */
bool plumb_cudnn_supports(const plumb_call *call, plumb_cudnn_writer write);
size_t plumb_cudnn_workspace(const plumb_call *call, plumb_cudnn_writer write);
plumb_status plumb_cudnn_run(const plumb_call *call, plumb_cudnn_writer write);

#define PLUMB_CUDNN_IMPL(op_name, which_dtypes, which_flags, write)                                                   \
    static bool supports_##op_name(const plumb_call *call) { return plumb_cudnn_supports(call, write); }              \
    static size_t workspace_##op_name(const plumb_call *call) { return plumb_cudnn_workspace(call, write); }          \
    static plumb_status run_##op_name(const plumb_call *call) { return plumb_cudnn_run(call, write); }                \
    const plumb_impl plumb_impl_##op_name##_cudnn = {                                                                 \
        .op = &plumb_op_##op_name,                                                                                    \
        .name = "cuda.cudnn",                                                                                         \
        .dtypes = (which_dtypes),                                                                                     \
        .flags = (which_flags),                                                                                       \
        .supports = supports_##op_name,                                                                               \
        .workspace = workspace_##op_name,                                                                             \
        .run = run_##op_name,                                                                                         \
    };

#endif
