/* The optimisers' table: one row per rule. An optimiser is its row plus numbers; nothing else knows rules by name. */
#ifndef PLUMB_OPTIM_RULES_H
#define PLUMB_OPTIM_RULES_H

#include "op/attr.h"
#include "plumb/optim.h"

#define PLUMB_OPTIM_SLOTS 2

struct minimizer;

struct plumb_rule {
    const char *name;
    const plumb_op *op;
    int slots;
    const char *slot[PLUMB_OPTIM_SLOTS]; /* moments live in the state as "NAME/slot:PARAMETER" */
    double lr;                           /* defaults, where the caller's field is 0 */
    double beta1, beta2, epsilon, weight_decay;
    bool uses_momentum; /* beta1 comes from plumb_optimizer.momentum */
    /* Composed of ops rather than one (layerwise.c). by_tensor: this takes each parameter it is asked about, once the step is
     * known, and returns its new value, or PLUMB_NONE for those that `op` is for. */
    plumb_t (*by_tensor)(struct minimizer *m, int i);
    /* Before that, over all parameters of a dtype at once. */
    void (*at_once)(struct minimizer *m, plumb_dtype dtype, plumb_t *in);
    double momentum; /* where beta1 is Adam's and there is one, too */
};

/* An optimiser with its defaults filled in and its numbers checked. */
struct plumb_recipe {
    const struct plumb_rule *rule;
    const char *name;
    double lr, clip_norm;
    double loss_scale;        /* 0: none; PLUMB_DYNAMIC_LOSS_SCALE */
    int64_t loss_scale_every;
    plumb_dtype precision;
    bool decay_all, skip_bad_steps, per_example;
    double average, momentum, lr_others;
    int64_t accumulate; /* 1: every run is a step */
    plumb_attr_update attr;
};

const struct plumb_rule *plumb_rule_at(int index); /* NULL past the end */
/* Poisons the graph, saying what is wrong, and returns false if the optimiser makes no sense. */
bool plumb_recipe_read(plumb_graph *graph, const plumb_optimizer *optimizer, struct plumb_recipe *recipe);

#endif
