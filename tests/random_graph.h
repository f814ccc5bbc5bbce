/* Random graphs for the executor's tests: a seed makes a graph, its outputs, effects and input values. */
#ifndef PLUMB_TESTS_RANDOM_GRAPH_H
#define PLUMB_TESTS_RANDOM_GRAPH_H

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

enum { RANDOM_POOL = 96, RANDOM_OUTPUTS = 6, RANDOM_ASSIGNS = 4, RANDOM_VARIABLES = 8 };

/* What a graph may consist of. Smooth ones have nothing that jumps, so that kernels may be compared within bounds and
 * gradients with difference quotients; steps and stopped gradients are left out of them. */
struct random_kind {
    plumb_dtype dtype; /* f32 or f64 */
    bool smooth;
    bool optimised; /* one or two optimisers besides the assigns */
    plumb_dtype precision; /* of its programs; 0: as written */
};

struct random_graph {
    struct random_kind kind;
    uint64_t seed, dice;
    plumb_graph *g;
    plumb_t pool[RANDOM_POOL]; /* floating tensors to build on */
    double size[RANDOM_POOL];  /* about how large their elements are */
    int n_pool;
    plumb_t variable[RANDOM_VARIABLES];
    int n_variables;
    plumb_t x, fixed, label; /* (B, ...), (2, 3), i32 (B) */
    plumb_t out[RANDOM_OUTPUTS];
    int n_out;
    plumb_t loss;
    struct {
        plumb_t variable, value, gate;
    } assign[RANDOM_ASSIGNS];
    int n_assigns;
};

uint32_t random_next(uint64_t *dice);
/* PLUMB_OK, or what the graph said when it was poisoned. The context owns the graph. */
plumb_status random_graph_make(struct random_graph *r, plumb_context *context, uint64_t seed,
                               struct random_kind kind);
/* Feeds `batch` examples that depend on the graph's seed and on `round`. */
plumb_status random_graph_feed(const struct random_graph *r, plumb_program *program, int64_t batch,
                               uint64_t round);
/* The same as bindings for plumb_eval; `memory` is freed by the caller. */
int random_graph_bindings(const struct random_graph *r, int64_t batch, uint64_t round,
                          plumb_binding binding[3], void **memory);

#endif
