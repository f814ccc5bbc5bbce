/* How two ops become one: what a pattern is given, and what it answers. Patterns are rows of pass/fusions.h; each is a
 * function in a file of its ops (fuse_product.c ..), and the engine (fuse.c) checks everything that all have in common. */
#ifndef PLUMB_FUSE_H
#define PLUMB_FUSE_H

#include "pass/pass.h"

enum { PLUMB_FUSED_IN = 12, PLUMB_FUSED_OUT = 8, PLUMB_FUSED_ATTR = 256 };

/* A node as it stands: of the graph, or already made of several. Tensors are those of the graph before the pass. */
struct plumb_fused {
    const plumb_op *op;
    const char *name; /* the engine gives the new op the first one's, or the second's where that has none */
    _Alignas(16) unsigned char attr[PLUMB_FUSED_ATTR];
    int n_in, n_out;
    uint32_t in[PLUMB_FUSED_IN], out[PLUMB_FUSED_OUT]; /* out: PLUMB_NO_TENSOR where the new op makes more than was there */
};

/* `second` reads first->out[output] as its input `input` (and perhaps elsewhere). */
struct plumb_fusion_site {
    const struct graph *graph;
    const struct plumb_fused *first, *second;
    int output, input;
};
static inline const plumb_type *plumb_fused_type(const struct plumb_fusion_site *site, uint32_t tensor)
{
    return &site->graph->tensor[tensor].type;
}

/* A row: ops that follow each other, and the function that makes one op of them. It begins with *made = *first and
 * changes that: op, attributes, inputs, and which of the tensors that the two made the new op makes. false: not this
 * pair. Whether the tensors that are made no longer have other readers, where the new op can stand, and whether an
 * implementation takes it, is the engine's business. */
struct plumb_fusion {
    const plumb_op *first, *second;
    bool (*fuse)(const struct plumb_fusion_site *site, struct plumb_fused *made);
};

#define PLUMB_FUSION(first, second, function) \
    bool plumb_fuse_##function(const struct plumb_fusion_site *site, struct plumb_fused *made);
#include "pass/fusions.h"
#undef PLUMB_FUSION

#endif
