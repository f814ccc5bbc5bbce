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
};

struct plumb_tensor {
    plumb_type type;
    uint32_t node;
    int32_t output; /* which output of the node */
};

struct plumb_effect { /* variable := value where gate */
    uint32_t variable, value, gate; /* tensor indices; gate PLUMB_NO_TENSOR if none */
};
#define PLUMB_NO_TENSOR UINT32_MAX

struct graph {
    plumb_context *context;
    plumb_graph *handle;
    uint32_t serial;
    struct plumb_arena arena;
    const char *name;
    plumb_status status; /* first error */
    struct plumb_node *node;
    int n_nodes, node_room;
    struct plumb_tensor *tensor;
    int n_tensors, tensor_room;
    struct plumb_effect *effect;
    int n_effects, effect_room;
    uint32_t next_stream;
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

/* Copying graph to graph. map[old tensor index] = new tensor index. */
struct plumb_copy {
    const struct graph *from;
    struct graph *to;
    uint32_t *map; /* [from->n_tensors], PLUMB_NO_TENSOR where not copied */
};
bool plumb_copy_begin(struct plumb_copy *copy, const struct graph *from, const int64_t *symbols);
plumb_status plumb_copy_node(struct plumb_copy *copy, int node);   /* as is, inputs mapped */
plumb_status plumb_copy_effects(struct plumb_copy *copy);
void plumb_copy_end(struct plumb_copy *copy);                      /* frees the map only */
struct graph *plumb_graph_clone(const struct graph *from, uint32_t **map); /* whole; map malloc'ed by plumb_alloc if asked for */

/* Reverse-mode differentiation inside one graph (pass/differentiate.c); tensor ids as in the public function. */
#endif
