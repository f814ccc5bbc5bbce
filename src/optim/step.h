/* A training step while it is added to a graph: what minimize.c shares with rules that are composed (layerwise.c). */
#ifndef PLUMB_OPTIM_STEP_H
#define PLUMB_OPTIM_STEP_H

#include "optim/rules.h"

struct minimizer {
    plumb_graph *graph;
    plumb_context *context;
    struct plumb_recipe recipe;
    int count;
    plumb_t *parameter, *gradient; /* [count] */
    plumb_t *sum;                  /* [count] variables that gradients are added up in, where a step takes several runs */
    plumb_t *updated;              /* [count] new values of the parameters, PLUMB_NONE where there is none yet */
    plumb_dtype dtype;             /* of lr and of the norm: f64 if any parameter is */
    plumb_t loss, lr, lr_others, step, scale;
    plumb_t fine, apply;   /* u8: nothing is wrong with this run; and the step is complete, so it is applied */
    plumb_t loss_scale, good_steps; /* PLUMB_NONE where the loss is not scaled, the scale not dynamic */
    plumb_t divisor;       /* makes true gradients of `gradient`: the loss scale, or how many examples they are the sum over;
                              PLUMB_NONE: they are */
    plumb_t due;           /* u8: the last run of the step; PLUMB_NONE: each one is */
};

/* A state variable of the optimiser: "NAME/WHAT:OF" */
plumb_t plumb_step_variable(struct minimizer *m, const char *what, const char *of, plumb_dtype dtype, plumb_shape shape,
                            double value);
plumb_t plumb_step_converted(const struct minimizer *m, plumb_t x, plumb_dtype dtype); /* a cast where it takes one */
plumb_t plumb_step_gate(const struct minimizer *m);          /* for plumb_assign */
bool plumb_step_decays(const struct minimizer *m, int i);    /* whether parameter i takes part in decay, L2 and L1 */

/* layerwise.c: plumb_rule.at_once and .by_tensor */
void plumb_lamb_directions(struct minimizer *m, plumb_dtype dtype, plumb_t *in);
plumb_t plumb_lamb_tensor(struct minimizer *m, int i);
plumb_t plumb_muon_tensor(struct minimizer *m, int i);

#endif
