/* The graph: a computation described as ops over typed shapes. Building never fails loudly: a bad node poisons its
 * graph, later calls return PLUMB_NONE, and compiling (or plumb_graph_status) reports the *first* error. So user code
 * reads straight down and checks once. */
#ifndef PLUMB_GRAPH_H
#define PLUMB_GRAPH_H

#include "plumb/context.h"

#ifdef __cplusplus
extern "C" {
#endif

PLUMB_API PLUMB_MUST_CHECK plumb_graph *plumb_graph_new(plumb_context *context, const char *name);
PLUMB_API void plumb_graph_free(plumb_graph *graph);
PLUMB_API plumb_status plumb_graph_status(const plumb_graph *graph); /* PLUMB_OK, or why it is poisoned */
PLUMB_API plumb_context *plumb_graph_context(const plumb_graph *graph);

/* Queries. A poisoned or foreign id gives rank 0, PLUMB_NO_DTYPE, "". */
PLUMB_API plumb_shape plumb_shape_of(const plumb_graph *graph, plumb_t tensor);
PLUMB_API plumb_dtype plumb_dtype_of(const plumb_graph *graph, plumb_t tensor);
PLUMB_API const char *plumb_name_of(const plumb_graph *graph, plumb_t tensor);
PLUMB_API plumb_t plumb_find(const plumb_graph *graph, const char *name); /* input or variable by name, or none */

/* Names the op that made `tensor`; error messages, plans and summaries then use the name. Returns the tensor. */
PLUMB_API plumb_t plumb_named(plumb_graph *graph, plumb_t tensor, const char *name);

/* What is fed at each run. Dimensions may be symbolic (PLUMB_BATCH ...). Names are unique in the graph. */
PLUMB_API plumb_t plumb_input(plumb_graph *graph, const char *name, plumb_dtype dtype, plumb_shape shape);

/* How a variable starts. Values depend on (seed, variable name) only, not on the order of creation.
 * Sources: He et al. 2015 (He), Glorot & Bengio 2010 (Xavier), Saxe et al. 2014 (orthogonal). */
typedef enum plumb_init_rule {
    PLUMB_INIT_ZEROS = 0,
    PLUMB_INIT_CONSTANT,      /* a */
    PLUMB_INIT_NORMAL,        /* mean a, standard deviation b */
    PLUMB_INIT_UNIFORM,       /* in [a, b) */
    PLUMB_INIT_HE,            /* N(0, 2/fan_in) */
    PLUMB_INIT_XAVIER,        /* N(0, 1/fan_in) */
    PLUMB_INIT_GLOROT,        /* N(0, 2/(fan_in + fan_out)) */
    PLUMB_INIT_HE_UNIFORM,    /* U(-r, r), r = sqrt(6/fan_in) */
    PLUMB_INIT_GLOROT_UNIFORM,/* U(-r, r), r = sqrt(6/(fan_in + fan_out)) */
    PLUMB_INIT_ORTHOGONAL     /* rows (or columns) orthonormal, times a (0: 1) */
} plumb_init_rule;

typedef struct plumb_init {
    plumb_init_rule rule;
    double a, b;
    int64_t fan_in, fan_out; /* 0: read off the shape: (O, I, ...) has fan_in I*..., fan_out O*... */
} plumb_init;

/* A variable: a named tensor whose value lives in a plumb_state, shared by every program that uses that state.
 * Any tensor may be one (weights, an image to optimise, running statistics). Shapes must be concrete. Asking again for
 * a name that exists returns the same tensor if dtype and shape agree (weight sharing), else poisons. */
typedef struct plumb_variable_options {
    size_t size;
    plumb_init init;
    bool frozen; /* not among the default parameters that training changes (running statistics, scaling, frozen layer) */
} plumb_variable_options;
PLUMB_API plumb_t plumb_variable(plumb_graph *graph, const char *name, plumb_dtype dtype, plumb_shape shape,
                                 const plumb_variable_options *options);

/* The trainable variables, in order of creation. Returns how many; fills at most `room`. */
PLUMB_API int plumb_parameters(const plumb_graph *graph, plumb_t *ids, int room);
PLUMB_API void plumb_set_frozen(plumb_graph *graph, plumb_t variable, bool frozen);

/* `data` (shape's elements in row-major order, of `dtype`) is copied into the graph. */
PLUMB_API plumb_t plumb_constant(plumb_graph *graph, plumb_dtype dtype, plumb_shape shape, const void *data);
PLUMB_API plumb_t plumb_scalar(plumb_graph *graph, plumb_dtype dtype, double value);
PLUMB_API plumb_t plumb_full(plumb_graph *graph, plumb_dtype dtype, plumb_shape shape, double value);
PLUMB_API plumb_t plumb_full_like(plumb_graph *graph, plumb_t like, double value);

/* The effect `variable := value`, applied after every read of the run, in program order, by programs compiled with
 * effects (training). `gate`, if not PLUMB_NONE, is a u8 scalar: where it is 0 the variable keeps its value. */
PLUMB_API void plumb_assign(plumb_graph *graph, plumb_t variable, plumb_t value, plumb_t gate);

/* Graph-to-graph differentiation: fills d[i] with the id of d(loss)/d(wrt[i]), of wrt's shape and dtype, made of
 * ordinary ops (so it can be differentiated again). `loss` must be a floating scalar. A tensor the loss does not depend
 * on gets zeros. */
PLUMB_API plumb_status plumb_gradients(plumb_graph *graph, plumb_t loss, const plumb_t *wrt, int count, plumb_t *d);
/* The same from several outputs at once, seeded with `dy` (the product dyT * J). */
PLUMB_API plumb_status plumb_gradients_from(plumb_graph *graph, const plumb_t *y, const plumb_t *dy, int n_y,
                                            const plumb_t *wrt, int count, plumb_t *d);

/* Text (one line per node) or Graphviz DOT of the graph; malloc'ed by the context, free with plumb_text_free. */
PLUMB_API PLUMB_MUST_CHECK char *plumb_graph_text(const plumb_graph *graph);
PLUMB_API PLUMB_MUST_CHECK char *plumb_graph_dot(const plumb_graph *graph);
PLUMB_API void plumb_text_free(plumb_context *context, char *text);

#ifdef __cplusplus
}
#endif
#endif
