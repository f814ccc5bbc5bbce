/* The graph's insides, for passes and the executor. Nodes are in topological order by construction (a node's inputs
 * exist before it), so a pass is one scan that copies into a new graph. */
#ifndef PLUMB_GRAPH_INTERNAL_H
#define PLUMB_GRAPH_INTERNAL_H

#include "op/attr.h"

struct plumb_node {
    const plumb_op *op;
    void *attr;      /* op->attr_size bytes in the arena */
    const char *name;/* "" if none */
    int n_in, n_out;
    uint32_t *in;    /* tensor indices */
    uint32_t out;    /* index of the first output; the others follow */
    int phase;       /* enum plumb_phase: for the memory report */
};

enum plumb_phase { PLUMB_PHASE_FORWARD, PLUMB_PHASE_BACKWARD, PLUMB_PHASE_UPDATE };

struct plumb_tensor {
    plumb_type type;
    uint32_t node;
    int32_t output; /* which output of the node */
    enum plumb_layout_kind layout; /* how it lies if it has memory of its own; set by the pass `layout`, the last one */
    bool packed;    /* it does lie so: its op is no view where that would give it other strides */
};

struct plumb_effect { /* variable := value where gate */
    uint32_t variable, value, gate; /* tensor indices; gate PLUMB_NO_TENSOR if none */
};
#define PLUMB_NO_TENSOR UINT32_MAX

struct graph {
    plumb_context *context;
    plumb_graph *handle;
    uint32_t serial;
    uint32_t origin;     /* serial of the graph this one was cloned from (tensor indices agree), or its own */
    struct plumb_arena arena;
    const char *name;
    plumb_status status; /* first error, */
    const char *message; /* and what it said */
    int phase;           /* given to the nodes being added */
    struct plumb_node *node;
    int n_nodes, node_room;
    struct plumb_tensor *tensor;
    int n_tensors, tensor_room;
    struct plumb_effect *effect;
    int n_effects, effect_room;
    uint32_t next_stream;
    const char *next_name; /* of the next op, set by plumb_name_next */
    uint32_t key; /* tensor index of the random key variable, or PLUMB_NO_TENSOR */
    const int64_t *symbols; /* when building a bound copy: passed to shape rules */
};

struct graph *plumb_graph_get(const plumb_graph *handle); /* NULL: stale */
struct graph *plumb_graph_make(plumb_context *context, const char *name);
static inline plumb_t plumb_id(const struct graph *g, uint32_t tensor)
{
    return ((plumb_t)g->serial << 32) | ((plumb_t)tensor + 1);
}
/* The tensor index behind an id, or PLUMB_NO_TENSOR if it is not of this graph. */
uint32_t plumb_index(const struct graph *g, plumb_t id);

/* plumb_emit for a node that has a name from the start, so that its shape rule's errors can use it. */
plumb_t plumb_emit_named(struct graph *g, const plumb_op *op, const void *attr, const plumb_t *in, int n_in,
                         const char *name);

/* Names the next op that a public builder adds, before its shape rule runs: a layer's errors then say which layer. NULL
 * takes it back (a builder may have refused before it added anything). `name` is borrowed. */
void plumb_name_next(plumb_graph *graph, const char *name);

/* Copying graph to graph. map[old tensor index] = new tensor index. */
struct plumb_copy {
    const struct graph *from;
    struct graph *to;
    uint32_t *map; /* [from->n_tensors], PLUMB_NO_TENSOR where not copied */
};
bool plumb_copy_begin(struct plumb_copy *copy, const struct graph *from, const int64_t *symbols);
plumb_status plumb_copy_node(struct plumb_copy *copy, int node);   /* as is, inputs mapped */
/* The same with other attributes and only the first n_in inputs. */
plumb_status plumb_copy_node_as(struct plumb_copy *copy, int node, const void *attr, int n_in);
plumb_status plumb_copy_effects(struct plumb_copy *copy);
void plumb_copy_end(struct plumb_copy *copy);                      /* frees the map only */
struct graph *plumb_graph_clone(const struct graph *from, uint32_t **map); /* whole; map malloc'ed by plumb_alloc if asked for */

/* Handles of clones, for code that works through the public builders. Indices (low 32 bits of ids) stay the same. */
plumb_graph *plumb_graph_clone_public(plumb_graph *graph);
/* A clone in which every tensor of dtype `from` has dtype `to` (gradient checks: f32 to f64). */
plumb_graph *plumb_graph_retype(plumb_graph *graph, plumb_dtype from, plumb_dtype to);
/* The tensor of `clone` that has the index of `original`. */
plumb_t plumb_id_in(plumb_graph *clone, plumb_t original);
/* Sets the gate of every effect that has none. */
plumb_status plumb_gate_effects(plumb_graph *graph, plumb_t gate);
/* The phase of nodes added from now on; returns the previous one. */
int plumb_set_phase(plumb_graph *graph, int phase);

#define PLUMB_KEY_NAME "random:key" /* the i64 (2) variable {seed, step} that random ops read */

#endif
