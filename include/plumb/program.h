/* The program: an immutable executable for one device. Compiling runs the passes (inference form, bind, precision,
 * simplify, fuse, layout, memory); running replays fixed steps over planned memory: no allocation in a steady state. */
#ifndef PLUMB_PROGRAM_H
#define PLUMB_PROGRAM_H

#include "plumb/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Passes that may be switched off; results must then agree. */
enum {
    PLUMB_PASS_FOLD = 1 << 0,    /* constant folding */
    PLUMB_PASS_CSE = 1 << 1,     /* common subexpressions */
    PLUMB_PASS_DCE = 1 << 2,     /* dead code */
    PLUMB_PASS_IN_PLACE = 1 << 3,/* outputs over inputs that are not read again */
    PLUMB_PASS_VIEWS = 1 << 4,   /* reshape, transpose, slice, expand without copying */
    PLUMB_PASS_REUSE = 1 << 5,   /* memory planned by lifetimes; off: every tensor has its own */
    PLUMB_PASS_FUSE = 1 << 6,    /* bias and activation in the product's kernel, and other neighbours as one op */
    PLUMB_PASS_LAYOUT = 1 << 7,  /* pictures channels-last where kernels want them so; fed and fetched as ever */
    PLUMB_PASS_REORDER = 1 << 8  /* the way back through relu before that through max pooling */
};

typedef struct plumb_compile_options {
    size_t size;
    const plumb_t *outputs; /* what can be read after a run */
    int n_outputs;
    bool training;          /* training forms of dropout and batch norm; else their inference forms */
    bool effects;           /* apply the graph's assigns */
    unsigned passes_off;    /* PLUMB_PASS_... */
    const char *implementations; /* as in plumb_options, for this program */
    int max_bindings;       /* compiled plans kept for different symbol sizes; 0: 4 (least recently used goes) */
    plumb_dtype precision;  /* 0, PLUMB_F32: as written. PLUMB_BF16, PLUMB_F16: products, convolutions and activations
                               that were written in f32 compute in it; losses, statistics, updates and variables stay
                               f32, and so does what is fed and fetched. */
} plumb_compile_options;

/* NULL on failure: plumb_message(context) says the first thing that was wrong. The state gains the graph's variables
 * that it lacks. The graph may change or be freed afterwards. */
PLUMB_API PLUMB_MUST_CHECK plumb_program *plumb_compile(plumb_graph *graph, plumb_state *state,
                                                        const plumb_compile_options *options);
PLUMB_API void plumb_program_free(plumb_program *program);

/* Feeds an input by copying `bytes` of host memory (row-major, the input's dtype). The first fed input of a run fixes
 * the symbols (bytes give the batch when it is the only symbol); plumb_bind sets them beforehand. */
PLUMB_API plumb_status plumb_bind(plumb_program *program, int64_t symbol, int64_t size);
PLUMB_API plumb_status plumb_feed(plumb_program *program, plumb_t input, const void *data, size_t bytes);
/* The fixed host-visible address of an input on CPU devices, to be written by the caller before a run; NULL elsewhere. */
PLUMB_API void *plumb_input_memory(plumb_program *program, plumb_t input);

PLUMB_API plumb_status plumb_run(plumb_program *program);

/* The shape (symbols bound) and value of an output after a run. */
PLUMB_API plumb_shape plumb_output_shape(plumb_program *program, plumb_t output);
PLUMB_API plumb_status plumb_fetch(plumb_program *program, plumb_t output, void *to, size_t bytes);
PLUMB_API plumb_status plumb_fetch_number(plumb_program *program, plumb_t output, double *value); /* one element */

/* One value now, node by node, on the reference where the context's device is the CPU (other devices have only their own
 * implementations), for small things and debugging: inputs come as (id, data) pairs. */
typedef struct plumb_binding {
    plumb_t input;
    const void *data;
    size_t bytes;
} plumb_binding;
PLUMB_API plumb_status plumb_eval(plumb_graph *graph, plumb_state *state, const plumb_binding *inputs, int n_inputs,
                                  plumb_t tensor, void *to, size_t bytes);

/* Bytes by purpose for the given symbol sizes (already bound ones are used when NULL), without allocating. */
typedef struct plumb_memory_plan {
    int64_t weights, gradients, moments, activations, workspace, inputs_outputs, total;
} plumb_memory_plan;
PLUMB_API plumb_status plumb_program_memory(plumb_program *program, plumb_memory_plan *plan);

/* What was decided: one line per step with op, name, implementation, shapes, memory. Free with plumb_text_free. */
PLUMB_API PLUMB_MUST_CHECK char *plumb_program_text(plumb_program *program);

/* Floating-point operations and bytes of memory traffic of one run, by the op table's formulas. */
PLUMB_API plumb_status plumb_program_cost(plumb_program *program, double *flops, double *bytes);

/* Every registered implementation, for `plumb ops`: fills `row` and returns true while index is in range. Those of the
 * CUDA plugin come last, where there is one, with or without a GPU. */
typedef struct plumb_op_row {
    const char *op, *implementation; /* "conv2d", "cpu.native" */
    const char *device;              /* "cpu", "cuda" */
    const char *provider;            /* "ref", "native", "vendor" */
    const char *dtypes;              /* "f64 f32 bf16 f16" */
    bool backward;                   /* made by gradient rules only */
    bool differentiable;
    bool exact;                      /* bitwise equal to the reference on small integers */
} plumb_op_row;
PLUMB_API bool plumb_op_list(plumb_context *context, int index, plumb_op_row *row);

#ifdef __cplusplus
}
#endif
#endif
