/* The passes: graph to graph, then graph to memory plan. Each can be switched off (program.h) and must then agree. */
#ifndef PLUMB_PASS_H
#define PLUMB_PASS_H

#include "graph/graph.h"
#include "plumb/program.h"

/* Which tensors are needed: roots, and everything they are computed from. needed[] has n_nodes entries. */
void plumb_mark_needed(const struct graph *g, const uint32_t *roots, int n_roots, bool effects, unsigned char *needed);

/* inference.c: copies what `roots` (and effects) need; outside training, ops take their inference form. */
plumb_status plumb_pass_source(struct plumb_copy *copy, const uint32_t *roots, int n_roots, bool training, bool effects);
/* bind.c: symbols become sizes, tensors that only lend their shape are let go. copy->to's symbols must be set. */
plumb_status plumb_pass_bind(struct plumb_copy *copy);
/* precision.c: what is written in f32 computes in `low` (bf16 or f16) where that is safe, between casts; f32 and what was
 * not written as f32 stay. `roots` and effects keep their dtype. */
plumb_status plumb_pass_precision(struct plumb_copy *copy, const uint32_t *roots, int n_roots, plumb_dtype low);
plumb_status plumb_precision_check(const struct graph *g, plumb_dtype precision); /* refuses what makes no sense */
/* simplify.c: dead code, common subexpressions, constant folding (by `reference`, which gives an op's reference). */
plumb_status plumb_pass_simplify(struct plumb_copy *copy, const uint32_t *roots, int n_roots, unsigned off,
                                 const plumb_impl *(*reference)(const plumb_op *op));
/* fuse.c: neighbours become one op where the judge would have it: is there an implementation for `call` that is worth
 * giving up the op `second` for? */
struct plumb_fuse_judge {
    void *user;
    bool (*takes)(void *user, const plumb_call *call, const plumb_op *second);
};
plumb_status plumb_pass_fuse(struct plumb_copy *copy, const uint32_t *roots, int n_roots,
                             const struct plumb_fuse_judge *judge);

/* reorder.c: the way back through relu before that through max pooling, on fewer elements. */
plumb_status plumb_pass_reorder(struct plumb_copy *copy, const uint32_t *roots, int n_roots);
/* layout.c: pictures lie channels-last where the judge's choice for a call says that this is worth it. */
struct plumb_layout_judge {
    void *user;
    const plumb_impl *(*choose)(void *user, const plumb_call *call); /* NULL: none */
};
plumb_status plumb_pass_layout(struct plumb_copy *copy, const uint32_t *roots, int n_roots, unsigned off,
                               const struct plumb_layout_judge *judge);

/* ---- memory (memory.c) ---- */
enum plumb_memory { PLUMB_MEMORY_ARENA, PLUMB_MEMORY_INPUT, PLUMB_MEMORY_STATE, PLUMB_MEMORY_CONSTANT, PLUMB_MEMORY_OUTPUT };

struct plumb_buffer {
    enum plumb_memory memory;
    int64_t bytes, offset; /* offset in the arena (ARENA only) */
    int first, last;       /* steps at which it is alive, both included */
    uint32_t owner;        /* tensor that made it; PLUMB_NO_TENSOR for a workspace */
};

struct plumb_place { /* where a tensor lies */
    int buffer;          /* -1: nowhere (not computed) */
    int64_t offset;      /* elements from the buffer's start */
    int64_t stride[PLUMB_MAX_RANK];
};

/* Steps are the nodes by index, then the effects in order (step n_nodes + e). */
struct plumb_memory_layout {
    plumb_context *context;
    const struct graph *graph;
    const uint32_t *roots; /* outputs that can be fetched */
    int n_roots;
    bool effects;
    struct plumb_place *place;  /* [n_tensors] */
    unsigned char *aliased;     /* [n_nodes] the node is a view: nothing runs */
    unsigned char *direct;      /* [n_effects] the value is computed in the variable's memory: nothing runs */
    struct plumb_buffer *buffer;
    int n_buffers, buffer_room;
    int *workspace;             /* [n_nodes + n_effects] buffer or -1 */
    int64_t arena_bytes;
};

plumb_status plumb_layout_begin(struct plumb_memory_layout *m, const struct graph *g, const uint32_t *roots, int n_roots,
                                bool effects, unsigned off);
plumb_status plumb_layout_workspace(struct plumb_memory_layout *m, int step, int64_t bytes);
plumb_status plumb_layout_offsets(struct plumb_memory_layout *m, unsigned off, int64_t guard); /* guard bytes behind each buffer */
void plumb_layout_free(struct plumb_memory_layout *m);
plumb_view plumb_layout_view(const struct plumb_memory_layout *m, uint32_t tensor, void *buffer_start);
/* verify.c: replays the steps on an ownership map of the memory, knowing nothing of how the plan was made: every read
 * must find what its producer wrote. Fails with a message naming the step. */
plumb_status plumb_layout_verify(const struct plumb_memory_layout *m);

#endif
