/* Small networks that tests train, save, break and take apart, and an allocator that counts and fails on request. */
#ifndef PLUMB_TESTS_NETS_H
#define PLUMB_TESTS_NETS_H

#include "plumb/ops.h"
#include "plumb/optim.h"
#include "plumb/program.h"

struct net {
    plumb_graph *g;
    plumb_t x, label, out, loss;
    int64_t per_example; /* elements of x for one example */
    int classes;
};

/* PLUMB_OK, or what the graph says. The graph is freed by the caller in both cases (NULL is fine). */
typedef plumb_status (*net_builder)(plumb_context *context, struct net *net);
plumb_status net_mlp(plumb_context *context, struct net *net);   /* tanh, ReLU, dropout, cross-entropy */
plumb_status net_cnn(plumb_context *context, struct net *net);   /* convolution, batch norm, pooling, a skip */
plumb_status net_views(plumb_context *context, struct net *net); /* transpose, slice, concat, expand, reshape */

/* Feeds `batch` examples that depend on `seed` alone. */
plumb_status net_feed(const struct net *net, plumb_program *program, int batch, uint64_t seed);

/* An allocator for plumb_options. */
struct counting {
    int64_t bytes, blocks;   /* held now */
    int64_t calls;           /* allocations so far */
    int64_t fail_at;         /* this allocation fails (counted from 1); 0: none */
    bool from_there_on;      /* and all after it */
    int64_t failed;
};
plumb_allocator counting_allocator(struct counting *counting);

#endif
